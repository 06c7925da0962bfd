package pipeline

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/pipeline/ingest"
	"github.com/headwater-data/headwater/warehouse"
)

// replayShard is the shard that carries replayed rows of a stream. No connector names a shard so: theirs are paths and tables.
const replayShard = "~quarantine"

// ReplayOptions select what Replay sends again.
type ReplayOptions struct {
	Source   string
	IDs      []string // as the quarantine shows them; none means all open rows of the source, or of all
	Rule     string
	Progress Progress
}

// ReplayReport says what a replay did.
type ReplayReport struct {
	*Report
	Replayed     int64 // rows sent again
	Unreplayable int64 // open rows that hold no columns: they could not be read, and only the source can send them again
}

// Replay appends quarantined rows as new batches that name them, under the present mapping, and waits until they are loaded. A
// row that breaks no rule any more is loaded with its first place in the source's order, so that a later correction still
// wins; one that does is quarantined anew. Either way the old entry is closed, once: a row that is named twice, by two replays
// or after a kill, is counted as a duplicate.
func (s *Session) Replay(ctx context.Context, opts ReplayOptions) (*ReplayReport, error) {
	if opts.Source != "" {
		if _, err := s.project.Source(opts.Source); err != nil {
			return nil, err
		}
	}
	unlock, err := s.lock(ctx)
	if errors.Is(err, ErrServed) {
		return nil, fault.Environment(fmt.Errorf("headwater start serves this project and is the only one that may write: stop it, replay, and start it again: %w", err))
	}
	if err != nil {
		return nil, err
	}
	defer unlock()
	works := s.Start(ctx, 0, opts.Progress)
	report, err := works.replay(ctx, opts)
	return report, errors.Join(err, works.Stop())
}

func (w *Works) replay(ctx context.Context, opts ReplayOptions) (*ReplayReport, error) {
	s := w.session
	// What an earlier replay wrote and did not see loaded is loaded first, so that it is not sent again.
	if errs := w.drain(ctx, s.project.Sources()); len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	ids := opts.IDs
	if len(ids) == 0 {
		ids = nil // an empty list would select nothing
	}
	rows, err := s.warehouse.Quarantined(ctx, warehouse.QuarantineFilter{Source: opts.Source, Rule: opts.Rule, IDs: ids, Status: warehouse.QuarantineOpen})
	if err != nil {
		return nil, err
	}
	out := &ReplayReport{Report: &Report{Run: NewRunID(), Began: time.Now()}}
	bySource := map[string]*replaySource{}
	for _, r := range rows {
		if r.Columns == "" || r.Columns == "{}" {
			out.Unreplayable++
			continue
		}
		src, ok := bySource[r.Source]
		if !ok {
			src = &replaySource{mem: s.opts.Allocator, run: out.Run, streams: map[string][]warehouse.QuarantineRow{}}
			bySource[r.Source] = src
		}
		src.streams[r.Stream] = append(src.streams[r.Stream], r)
		out.Replayed++
	}
	for _, source := range s.project.Sources() {
		src, ok := bySource[source.Name]
		if !ok {
			continue
		}
		began := time.Now()
		job := ingest.Job{Source: source.Name, Topic: source.Topic, Run: out.Run, Reader: src, Streams: map[string]ingest.Preparer{}, Replay: true}
		for stream := range src.streams {
			job.Streams[stream] = asQuarantined{}
		}
		result, err := w.Ingester.Ingest(ctx, job)
		out.Sources = append(out.Sources, SourceReport{
			Source: source.Name, Title: source.Title, Read: result.Read, Written: result.Written, Shards: result.Shards,
			Messages: result.Batches, Bytes: result.Bytes, Elsewhere: result.Elsewhere, Err: err, Took: time.Since(began),
		})
		if ctx.Err() == nil {
			out.LoadErrs = append(out.LoadErrs, w.drain(ctx, []*project.Source{source})...)
		}
	}
	recording, stop := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer stop()
	out.Took = time.Since(out.Began)
	err = w.record(recording, out.Report, "replay", 1)
	return out, errors.Join(out.Err(), err, ctx.Err())
}

// asQuarantined lets rows pass as they are: what the quarantine keeps was projected and masked before it first reached Kafka.
type asQuarantined struct{}

func (asQuarantined) Ingress(_ context.Context, rec arrow.Record) (arrow.Record, []connectors.Reject, error) {
	rec.Retain()
	return rec, nil, nil
}

// replaySource reads quarantined rows of one source as a connector reads a system. Its cursor is the replay itself: another
// replay finds what is still open.
type replaySource struct {
	mem     memory.Allocator
	run     string
	streams map[string][]warehouse.QuarantineRow
}

func (r *replaySource) Streams(context.Context) ([]connectors.Stream, error) {
	var out []connectors.Stream
	for name := range r.streams {
		out = append(out, connectors.Stream{Name: name})
	}
	slices.SortFunc(out, func(a, b connectors.Stream) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

func (r *replaySource) Shards(_ context.Context, stream string) ([]connectors.Stream, error) {
	return []connectors.Stream{{Name: stream, Shard: replayShard}}, nil
}

func (r *replaySource) Close() error { return nil }

// maxReplayBatch is small: what the quarantine keeps of a row may be long.
const maxReplayBatch = 2048

type replayCursor struct {
	Run  string `json:"run"`
	Done int    `json:"done"` // rows of the stream that are written
}

func (r *replaySource) Read(ctx context.Context, s connectors.Stream, after connectors.Cursor) iter.Seq2[connectors.Batch, error] {
	return func(yield func(connectors.Batch, error) bool) {
		var cursor replayCursor
		if after != nil {
			if err := json.Unmarshal(after, &cursor); err != nil {
				yield(connectors.Batch{}, fmt.Errorf("read the replay's cursor: %w", err))
				return
			}
		}
		if cursor.Run != r.run {
			cursor = replayCursor{Run: r.run}
		}
		rows := r.streams[s.Name]
		for cursor.Done < len(rows) {
			if err := ctx.Err(); err != nil {
				yield(connectors.Batch{}, err)
				return
			}
			end := min(cursor.Done+maxReplayBatch, len(rows))
			b, err := r.batch(rows[cursor.Done:end])
			if err != nil {
				yield(connectors.Batch{}, err)
				return
			}
			cursor.Done = end
			if b.Cursor, err = json.Marshal(cursor); err != nil {
				b.Record.Release()
				yield(connectors.Batch{}, err)
				return
			}
			ok := yield(b, nil)
			b.Record.Release()
			if !ok {
				return
			}
		}
	}
}

// batch makes one batch of quarantined rows: their columns as text, and what says where each one first stood.
func (r *replaySource) batch(rows []warehouse.QuarantineRow) (connectors.Batch, error) {
	values := make([]map[string]*string, len(rows))
	var names []string
	for i, row := range rows {
		if err := json.Unmarshal([]byte(row.Columns), &values[i]); err != nil {
			return connectors.Batch{}, fmt.Errorf("quarantined row %s: its columns are not what the quarantine writes: %w", row.ID(), err)
		}
		for name := range values[i] {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	var fields []arrow.Field
	for _, name := range names {
		fields = append(fields, arrow.Field{Name: name, Type: arrow.BinaryTypes.String, Nullable: true})
	}
	fields = append(fields,
		arrow.Field{Name: "_row", Type: arrow.PrimitiveTypes.Int64},
		arrow.Field{Name: "_version", Type: arrow.PrimitiveTypes.Uint64},
		arrow.Field{Name: "_extracted_at", Type: arrow.PrimitiveTypes.Int64},
		arrow.Field{Name: "_place", Type: arrow.BinaryTypes.String},
		arrow.Field{Name: "_shard", Type: arrow.BinaryTypes.String},
		arrow.Field{Name: "_quarantine", Type: arrow.BinaryTypes.String})
	b := array.NewRecordBuilder(r.mem, arrow.NewSchema(fields, nil))
	defer b.Release()
	n := len(names)
	newest := time.Time{}
	for i, row := range rows {
		for j, name := range names {
			if v := values[i][name]; v != nil {
				b.Field(j).(*array.StringBuilder).Append(*v)
			} else {
				b.Field(j).AppendNull()
			}
		}
		b.Field(n).(*array.Int64Builder).Append(int64(row.Row))
		b.Field(n + 1).(*array.Uint64Builder).Append(uint64(max(row.Version, 0)))
		// The version has the microseconds of the time of extraction, which the quarantine's own column rounds: a row that looks
		// older than its content would be taken for one that the content no longer has.
		b.Field(n + 2).(*array.Int64Builder).Append(row.Version)
		b.Field(n + 3).(*array.StringBuilder).Append(row.Place)
		b.Field(n + 4).(*array.StringBuilder).Append(row.Shard)
		b.Field(n + 5).(*array.StringBuilder).Append(row.ID())
		if at := time.UnixMicro(row.Version).UTC(); at.After(newest) {
			newest = at
		}
	}
	return connectors.Batch{Record: b.NewRecord(), Place: "quarantine", ExtractedAt: newest}, nil
}
