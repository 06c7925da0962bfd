package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/internal/crash"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/pipeline/ingest"
	"github.com/headwater-data/headwater/warehouse"
)

// ResetOptions select the cursors that Reset sets back. Source is required.
type ResetOptions struct {
	Source string
	Stream string  // "" for all of the source
	Shard  *string // nil for all; the empty shard is that of a stream which is not split
	By     string
	Why    string
}

// Reset sets cursors back to the beginning, so that the next run reads again whatever the source still has. A cursor lives in
// the newest valid batch of its shard, so a reset is such a batch: one without rows and with an empty cursor, written as any
// other is. Nothing doubles by reading again: rows replace those with their keys. It returns the shards that it set back; those
// that stand at the beginning already are passed over, so that it may be repeated.
func (s *Session) Reset(ctx context.Context, opts ResetOptions) ([]warehouse.Shard, error) {
	source, err := s.project.Source(opts.Source)
	if err != nil {
		return nil, err
	}
	unlock, err := s.lock(ctx)
	if errors.Is(err, ErrServed) {
		// A run under way there would write its own cursor behind the reset.
		return nil, fault.Environment(fmt.Errorf("headwater start serves this project and may be reading the source: stop it, reset, and start it again: %w", err))
	}
	if err != nil {
		return nil, err
	}
	defer unlock()
	works := s.Start(ctx, 0, nil)
	done, err := works.reset(ctx, source, opts)
	return done, errors.Join(err, works.Stop())
}

func (w *Works) reset(ctx context.Context, source *project.Source, opts ResetOptions) ([]warehouse.Shard, error) {
	s := w.session
	// What is in Kafka is loaded first: the ledger then names every shard that has a cursor.
	if errs := w.drain(ctx, []*project.Source{source}); len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	reader, err := s.resettable(ctx, source, opts)
	if err != nil {
		return nil, err
	}
	run := NewRunID()
	target := source.Name
	if opts.Stream != "" {
		target += "/" + opts.Stream
	}
	if opts.Shard != nil {
		target += " " + *opts.Shard
	}
	entry := warehouse.AuditEntry{Who: cmp.Or(opts.By, writerName()), Command: "cursor reset", TargetKind: "cursor", Target: target, Why: opts.Why, Details: warehouse.AuditDetails(map[string]any{"run": run})}
	var done []warehouse.Shard
	err = s.warehouse.Audited(ctx, entry, func(e *warehouse.AuditEntry) error {
		crash.Point("reset-asked")
		err := w.writeResets(ctx, source, reader, run)
		if err == nil {
			err = errors.Join(w.drain(ctx, []*project.Source{source})...)
		}
		names := []string{}
		for _, shard := range reader.given {
			done = append(done, warehouse.Shard{Source: source.Name, Stream: shard.Name, Shard: shard.Shard})
			names = append(names, shard.String())
		}
		slices.Sort(names)
		const shown = 100
		details := map[string]any{"run": run, "shards": len(names), "names": names[:min(shown, len(names))]}
		e.Details = warehouse.AuditDetails(details)
		crash.Point("reset-done")
		return err
	})
	slices.SortFunc(done, func(a, b warehouse.Shard) int {
		return cmp.Or(cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Shard, b.Shard))
	})
	return done, err
}

// resettable finds the shards whose cursors can be set back. What is in Kafka must have been loaded.
func (s *Session) resettable(ctx context.Context, source *project.Source, opts ResetOptions) (*resetSource, error) {
	known, err := s.warehouse.Shards(ctx, source.Name)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	reader := &resetSource{mem: s.opts.Allocator, at: now, shards: map[string][]string{}}
	for _, k := range known {
		if k.Shard == replayShard || opts.Stream != "" && k.Stream != opts.Stream || opts.Shard != nil && k.Shard != *opts.Shard {
			continue
		}
		if k.ExtractedAt.After(now) {
			// Read again, the content would look older than what is there, and lose against it.
			return nil, fault.Environment(fmt.Errorf("%s/%s %s was read at %s by the clock of then, and this machine's clock says %s: set the clock right first",
				k.Source, k.Stream, k.Shard, k.ExtractedAt.In(s.project.Zone).Format(time.RFC3339), now.In(s.project.Zone).Format(time.RFC3339)))
		}
		reader.shards[k.Stream] = append(reader.shards[k.Stream], k.Shard)
	}
	if len(reader.shards) == 0 {
		return nil, fault.Usage(fmt.Errorf("source %s has read no such shard; headwater cursor list %s shows what it has", source.Name, source.Name))
	}
	return reader, nil
}

// writeResets writes the batches that set cursors back.
func (w *Works) writeResets(ctx context.Context, source *project.Source, reader *resetSource, run string) error {
	job := ingest.Job{Source: source.Name, Topic: source.Topic, Run: run, Reader: reader, Streams: map[string]ingest.Preparer{}, Replay: true}
	for stream := range reader.shards {
		job.Streams[stream] = asQuarantined{}
	}
	result, err := w.Ingester.Ingest(ctx, job)
	if err == nil && result.Elsewhere > 0 {
		err = fault.Environment(fmt.Errorf("%d shards are read by another process: stop it first", result.Elsewhere))
	}
	return err
}

// resetSource delivers for each shard that has been read one batch without rows, behind which the shard's cursor is at the
// beginning.
type resetSource struct {
	mem    memory.Allocator
	at     time.Time
	shards map[string][]string // by stream

	mu    sync.Mutex
	given []connectors.Stream
}

func (r *resetSource) Streams(context.Context) ([]connectors.Stream, error) {
	var out []connectors.Stream
	for name := range r.shards {
		out = append(out, connectors.Stream{Name: name})
	}
	slices.SortFunc(out, func(a, b connectors.Stream) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

func (r *resetSource) Shards(_ context.Context, stream string) ([]connectors.Stream, error) {
	var out []connectors.Stream
	for _, shard := range r.shards[stream] {
		out = append(out, connectors.Stream{Name: stream, Shard: shard})
	}
	return out, nil
}

func (r *resetSource) Close() error { return nil }

func (r *resetSource) Read(_ context.Context, s connectors.Stream, after connectors.Cursor) iter.Seq2[connectors.Batch, error] {
	return func(yield func(connectors.Batch, error) bool) {
		if after == nil {
			return
		}
		b := array.NewRecordBuilder(r.mem, arrow.NewSchema([]arrow.Field{{Name: connectors.ColumnRow, Type: arrow.PrimitiveTypes.Int64}}, nil))
		defer b.Release()
		rec := b.NewRecord()
		defer rec.Release()
		r.mu.Lock()
		if !slices.Contains(r.given, s) { // it comes again where the partition is claimed anew
			r.given = append(r.given, s)
		}
		r.mu.Unlock()
		yield(connectors.Batch{Record: rec, Place: "cursor reset", ExtractedAt: r.at}, nil)
	}
}
