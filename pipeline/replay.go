package pipeline

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
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

// replayShard is the shard that carries replayed rows of a stream. No connector names a shard so: theirs are paths and tables.
const replayShard = "~quarantine"

// ReplayOptions select what Replay sends again.
type ReplayOptions struct {
	Source string   `json:"source,omitempty"`
	IDs    []string `json:"ids,omitempty"` // as the quarantine shows them; none means all open rows of the source, or of all
	Rule   string   `json:"rule,omitempty"`
	// Edits change columns of rows before they are sent again; the rows are those that they name. Values of personal columns come in
	// clear and leave this process masked.
	Edits    []Edit   `json:"edits,omitempty"`
	By       string   `json:"by,omitempty"` // who asks for it; defaults to this process
	Why      string   `json:"why,omitempty"`
	Progress Progress `json:"-"`
}

// Edit gives one column of a quarantined row another value.
type Edit struct {
	ID     string  `json:"id"`
	Column string  `json:"column"`
	Value  *string `json:"value"` // nil is null
}

// ReplayReport says what a replay did.
type ReplayReport struct {
	*Report
	Replayed     int64         // rows sent again
	Unreplayable int64         // open rows that hold no columns: they could not be read, and only the source can send them again
	Rows         []ReplayedRow // what became of the rows that were named one by one
}

// ReplayedRow is what became of one row.
type ReplayedRow struct {
	ID      string
	To      string   // where the row went
	Before  bool     // by an earlier replay
	Again   bool     // it is in quarantine anew, as To
	Rules   []string // that it broke then
	Reasons []string
}

// Replay appends quarantined rows as new batches that name them, under the present mapping, and waits until they are loaded. A
// row that breaks no rule any more is loaded with its first place in the source's order, so that a later correction still
// wins; one that does is quarantined anew, with its edits. Either way the old entry is closed, once: a row that is named twice, by
// two replays or after a kill, is counted as a duplicate. Where a service has the project, it is asked to do it (AskReplay).
func (s *Session) Replay(ctx context.Context, opts ReplayOptions) (*ReplayReport, error) {
	if opts.Source != "" {
		if _, err := s.project.Source(opts.Source); err != nil {
			return nil, err
		}
	}
	unlock, err := s.lock(ctx)
	for errors.Is(err, ErrServed) {
		if report, err := AskReplay(ctx, s.project, opts); !errors.Is(err, ErrNotServed) {
			return report, err
		}
		unlock, err = s.lock(ctx) // the service has just ended
	}
	if err != nil {
		return nil, err
	}
	defer unlock()
	works := s.Start(ctx, 0, opts.Progress)
	report, err := works.replay(ctx, opts)
	return report, errors.Join(err, works.Stop())
}

// named lists the rows that are asked for one by one, each once.
func (o ReplayOptions) named() []string {
	var ids []string
	for _, id := range o.IDs {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for _, e := range o.Edits {
		if !slices.Contains(ids, e.ID) {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

func (o ReplayOptions) command() string {
	if len(o.Edits) > 0 {
		return "quarantine repair"
	}
	return "quarantine replay"
}

func (w *Works) replay(ctx context.Context, opts ReplayOptions) (*ReplayReport, error) {
	s := w.session
	opts.By = cmp.Or(opts.By, writerName())
	// What an earlier replay wrote and did not see loaded is loaded first, so that it is not sent again.
	if errs := w.drain(ctx, s.project.Sources()); len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	ids := opts.named()
	for _, id := range ids {
		if _, err := warehouse.ParseQuarantineID(id); err != nil {
			return nil, fault.Usage(err)
		}
	}
	filter := warehouse.QuarantineFilter{Source: opts.Source, Rule: opts.Rule, Status: warehouse.QuarantineOpen}
	if len(ids) > 0 {
		filter = warehouse.QuarantineFilter{IDs: ids}
	}
	rows, err := s.warehouse.Quarantined(ctx, filter)
	if err != nil {
		return nil, err
	}
	out := &ReplayReport{Report: &Report{Run: NewRunID(), Began: time.Now()}}
	closed, err := alreadyReplayed(rows, ids, opts)
	if err != nil {
		return nil, err
	}
	rows = slices.DeleteFunc(rows, func(r warehouse.QuarantineRow) bool { return r.Status != warehouse.QuarantineOpen })
	bySource := map[string]*replaySource{}
	for _, r := range rows {
		values, err := s.edited(ctx, r, opts.Edits)
		if err != nil {
			return nil, err
		}
		if values == nil {
			out.Unreplayable++
			continue
		}
		src, ok := bySource[r.Source]
		if !ok {
			src = &replaySource{mem: s.opts.Allocator, run: out.Run, by: opts.By, why: opts.Why, streams: map[string][]replayRow{}}
			bySource[r.Source] = src
		}
		src.streams[r.Stream] = append(src.streams[r.Stream], replayRow{r, values})
		out.Replayed++
	}
	if len(rows) == 0 && len(closed) == 0 {
		return out, nil
	}
	entry := warehouse.AuditEntry{
		Who: opts.By, Command: opts.command(), TargetKind: "quarantine", Target: targetOf(rows, closed), Why: opts.Why,
		Details: warehouse.AuditDetails(opts.details(out, len(closed))),
	}
	err = s.warehouse.Audited(ctx, entry, func(e *warehouse.AuditEntry) error {
		crash.Point("replay-asked")
		err := w.sendAgain(ctx, out, bySource)
		if err == nil {
			out.Rows, err = w.became(ctx, ids, closed)
		}
		details := opts.details(out, len(closed))
		for _, source := range out.Sources {
			details[source.Source] = map[string]any{"loaded": source.Account.Loaded, "quarantined": source.Account.Quarantined, "filtered": source.Account.Filtered, "duplicate": source.Account.Duplicate}
		}
		e.Details = warehouse.AuditDetails(details)
		crash.Point("replay-done")
		return err
	})
	return out, err
}

// details are what the audit says of a replay: which columns were changed, never their values.
func (o ReplayOptions) details(r *ReplayReport, before int) map[string]any {
	columns := map[string][]string{}
	for _, e := range o.Edits {
		columns[e.ID] = append(columns[e.ID], e.Column)
	}
	d := map[string]any{"run": r.Run, "rows": r.Replayed}
	if len(columns) > 0 {
		d["columns"] = columns
	}
	if before > 0 {
		d["done_before"] = before
	}
	if o.Rule != "" {
		d["rule"] = o.Rule
	}
	if o.Source != "" {
		d["source"] = o.Source
	}
	return d
}

// targetOf names the rows that a change is about, as far as people would read them.
func targetOf(rows []warehouse.QuarantineRow, more []string) string {
	const shown = 20
	var ids []string
	for _, r := range rows {
		ids = append(ids, r.ID())
	}
	ids = append(ids, more...)
	if n := len(ids) - shown; n > 0 {
		ids = append(ids[:shown], fmt.Sprintf("and %d more", n))
	}
	return strings.Join(ids, " ")
}

// alreadyReplayed returns the rows among those asked for by name that were replayed already: by this very command, cut short or
// repeated. Any other row that is not open, or not there, is an error.
func alreadyReplayed(rows []warehouse.QuarantineRow, ids []string, opts ReplayOptions) ([]string, error) {
	var closed []string
	for _, id := range ids {
		i := slices.IndexFunc(rows, func(r warehouse.QuarantineRow) bool { return r.ID() == id })
		switch {
		case i < 0:
			return nil, fault.Usage(fmt.Errorf("no row %s is in quarantine; headwater quarantine list --status all shows what is", id))
		case rows[i].Status == warehouse.QuarantineOpen:
		case rows[i].Status == warehouse.QuarantineReplayed && (len(opts.Edits) == 0 || rows[i].StatusBy == opts.By && rows[i].StatusWhy == opts.Why):
			closed = append(closed, id)
		default:
			return nil, fault.Usage(fmt.Errorf("row %s is %s already (by %s); nothing was changed", id, rows[i].Status, cmp.Or(rows[i].StatusBy, "somebody")))
		}
	}
	return closed, nil
}

// edited gives the columns with which a row is sent again, nil when it has none: it could not be read at all.
func (s *Session) edited(ctx context.Context, r warehouse.QuarantineRow, edits []Edit) (map[string]*string, error) {
	changes := map[string]*string{}
	for _, e := range edits {
		if e.ID != r.ID() {
			continue
		}
		if _, twice := changes[e.Column]; twice {
			return nil, fault.Usage(fmt.Errorf("row %s: column %q is set twice", r.ID(), e.Column))
		}
		changes[e.Column] = e.Value
	}
	var values map[string]*string
	if r.Columns != "" && r.Columns != "{}" {
		if err := json.Unmarshal([]byte(r.Columns), &values); err != nil {
			return nil, fmt.Errorf("quarantined row %s: its columns are not what the quarantine writes: %w", r.ID(), err)
		}
	}
	if len(changes) == 0 {
		return values, nil
	}
	mapping, ok := s.shaping.Program.Stream(r.Source, r.Stream)
	if !ok {
		return nil, fault.Usage(fmt.Errorf("row %s: the project knows no stream %s of source %s any more", r.ID(), r.Stream, r.Source))
	}
	refused := ""
	if values == nil && mapping.Personal() {
		// A row that broke a rule on a personal field was refused before Kafka and is kept as Ingress left it.
		if err := json.Unmarshal([]byte(r.Raw), &values); err != nil {
			values = nil // what a connector could not read, or cut short
		}
		refused = strings.Join(r.Reasons, "; ")
	}
	if values == nil {
		return nil, fault.Usage(fmt.Errorf("row %s could not be read at all and has no columns to change: mend it at its source and run that again", r.ID()))
	}
	values, err := mapping.Edit(ctx, values, changes, refused)
	if err != nil {
		return nil, fmt.Errorf("row %s: %w", r.ID(), err)
	}
	return values, nil
}

// sendAgain writes the rows to Kafka and waits until they are loaded.
func (w *Works) sendAgain(ctx context.Context, out *ReplayReport, bySource map[string]*replaySource) error {
	s := w.session
	if len(bySource) == 0 {
		return nil
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
	err := w.record(recording, out.Report, "replay", 1)
	return errors.Join(out.Err(), err, ctx.Err())
}

// became looks up what the rows that were named have become.
func (w *Works) became(ctx context.Context, ids, before []string) ([]ReplayedRow, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	rows, err := w.session.warehouse.Quarantined(ctx, warehouse.QuarantineFilter{IDs: ids})
	if err != nil {
		return nil, err
	}
	var out []ReplayedRow
	var to []string
	for _, r := range rows {
		if r.ReplayedTo != "" {
			out = append(out, ReplayedRow{ID: r.ID(), To: r.ReplayedTo, Before: slices.Contains(before, r.ID())})
			to = append(to, r.ReplayedTo)
		}
	}
	if len(to) == 0 {
		return out, nil
	}
	again, err := w.session.warehouse.Quarantined(ctx, warehouse.QuarantineFilter{IDs: to})
	if err != nil {
		return nil, err
	}
	for _, r := range again {
		for i := range out {
			if out[i].To == r.ID() {
				out[i].Again, out[i].Rules, out[i].Reasons = true, r.Rules, r.Reasons
			}
		}
	}
	return out, nil
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
	by, why string
	streams map[string][]replayRow
}

// replayRow is a quarantined row with the columns that it is sent again with.
type replayRow struct {
	warehouse.QuarantineRow
	values map[string]*string
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
			b := r.batch(rows[cursor.Done:end])
			cursor.Done = end
			var err error
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
func (r *replaySource) batch(rows []replayRow) connectors.Batch {
	var names []string
	for _, row := range rows {
		for name := range row.values {
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
		arrow.Field{Name: "_quarantine", Type: arrow.BinaryTypes.String},
		arrow.Field{Name: "_status_by", Type: arrow.BinaryTypes.String},
		arrow.Field{Name: "_status_why", Type: arrow.BinaryTypes.String})
	b := array.NewRecordBuilder(r.mem, arrow.NewSchema(fields, nil))
	defer b.Release()
	n := len(names)
	newest := time.Time{}
	for _, row := range rows {
		for j, name := range names {
			if v := row.values[name]; v != nil {
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
		b.Field(n + 6).(*array.StringBuilder).Append(r.by)
		b.Field(n + 7).(*array.StringBuilder).Append(r.why)
		if at := time.UnixMicro(row.Version).UTC(); at.After(newest) {
			newest = at
		}
	}
	return connectors.Batch{Record: b.NewRecord(), Place: "quarantine", ExtractedAt: newest}
}
