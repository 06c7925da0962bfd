package pipeline

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/pipeline/ingest"
	"github.com/headwater-data/headwater/pipeline/load"
	"github.com/headwater-data/headwater/pipeline/verify"
	"github.com/headwater-data/headwater/warehouse"
)

// VerifyOptions say what Verify compares.
type VerifyOptions struct {
	Source   string
	Streams  []string  // none means all
	From, To time.Time // days, both inclusive; zero means no bound
	Rate     int64     // rows that are read from the source in a second at most; 0 means no limit
	Limit    int       // differing keys that are kept for people; 0 means all
	Repair   bool
	By, Why  string // of a repair: who asks for it, defaults to this process, and their words
	Progress Progress
}

// VerifyReport says what Verify found.
type VerifyReport struct {
	Source, Title string
	Tables        []*verify.Table
	Keys          []verify.Difference // at most Limit, in the order of table and key
	// Of a repair: how it ended, and how many of the keys that were mended differ still.
	Repair  *Report
	Mended  int
	Left    int // differing keys that were too many for one repair
	Still   []verify.Difference
	Took    time.Duration
	ReadAll int64 // rows read from the source, all passes together
}

// Equal reports whether source and warehouse agree, after the repair if there was one.
func (r *VerifyReport) Equal() bool {
	differ := false
	unmendable := false
	for _, t := range r.Tables {
		differ = differ || !t.Equal()
		unmendable = unmendable || t.Unaccounted > 0 || t.Unresolved > 0
	}
	if r.Repair != nil {
		return len(r.Still) == 0 && r.Left == 0 && !unmendable
	}
	return !differ
}

// maxMended is how many keys one repair mends. What is beyond it is left to the next.
const maxMended = 200_000

// verifier compares one source.
type verifier struct {
	project *project.Project
	source  *project.Source
	opts    VerifyOptions
	reader  connectors.Source
	verify  verify.Options
	report  *VerifyReport
	found   []verify.Difference // for the repair
}

// Verify compares what a source has with what the warehouse shows of it. It needs no lock and no broker; what is loaded while it
// reads may look like a difference.
func Verify(ctx context.Context, p *project.Project, w *warehouse.Warehouse, opts VerifyOptions, o Options) (report *VerifyReport, err error) {
	o.defaults()
	v, err := newVerifier(ctx, p, w, opts, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, v.reader.Close()) }()
	began := time.Now()
	err = v.compare(ctx)
	v.report.Took = time.Since(began)
	return v.report, err
}

func newVerifier(ctx context.Context, p *project.Project, w *warehouse.Warehouse, opts VerifyOptions, o Options) (*verifier, error) {
	source, err := p.Source(opts.Source)
	if err != nil {
		return nil, err
	}
	ready, err := w.Ready(ctx)
	if err != nil {
		return nil, err
	}
	if !ready {
		return nil, fault.Environment(warehouse.ErrMissingDatabase)
	}
	shaping, err := Shape(p, o.Allocator)
	if err != nil {
		return nil, err
	}
	v := &verifier{project: p, source: source, opts: opts, report: &VerifyReport{Source: source.Name, Title: source.Title}}
	v.verify = verify.Options{Source: source.Name, Warehouse: w, From: opts.From, To: opts.To, Found: v.note}
	keeps := p.KeepsGone(source)
	for _, name := range opts.Streams {
		if !slices.ContainsFunc(source.Streams, func(s project.Stream) bool { return s.Name == name }) {
			return nil, fault.Usage(fmt.Errorf("source %s has no stream %q", source.Name, name))
		}
	}
	tables := map[string]bool{}
	for _, s := range source.Streams {
		mapping, ok := shaping.Program.Stream(source.Name, s.Name)
		if !ok {
			return nil, fault.Permanent(fmt.Errorf("source %s: stream %s has no mapping: a fault of the program", source.Name, s.Name))
		}
		if len(opts.Streams) == 0 || slices.Contains(opts.Streams, s.Name) {
			tables[mapping.Schema().Name] = true
		}
		if (!opts.From.IsZero() || !opts.To.IsZero()) && mapping.Schema().Time == "" {
			return nil, fault.Usage(fmt.Errorf("stream %s goes into %s, whose rows have no day: leave --day, --from and --to out", s.Name, mapping.Schema().Name))
		}
		v.verify.Streams = append(v.verify.Streams, &verify.Stream{Name: s.Name, Mapping: mapping, Keeps: keeps[s.Name]})
	}
	// Streams that fill one table are compared together: which of them has a key is not the table's to say.
	v.verify.Streams = slices.DeleteFunc(v.verify.Streams, func(s *verify.Stream) bool { return !tables[s.Mapping.Schema().Name] })
	v.reader, err = p.OpenSource(ctx, source.Name, connectors.Environment{Dir: p.Dir, Allocator: o.Allocator, Logger: o.Logger.With("source", source.Name), Now: time.Now})
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", source.Name, err)
	}
	v.verify.Scanner = &verify.Scanner{Reader: v.reader, Rate: opts.Rate, Progress: func(rows int64) {
		v.report.ReadAll += rows
		if opts.Progress != nil {
			opts.Progress(source.Name, Counts{Read: v.report.ReadAll})
		}
	}}
	return v, nil
}

// note keeps what is shown and what is mended. Keys come in no order, so that more than is shown is kept until the end; of very
// many the first that were found are shown.
func (v *verifier) note(d verify.Difference) {
	if len(v.found) < maxMended {
		v.found = append(v.found, d)
		return
	}
	v.report.Left++
}

func (v *verifier) compare(ctx context.Context) (err error) {
	if v.report.Tables, err = verify.Run(ctx, v.verify); err != nil {
		return fmt.Errorf("verify %s: %w", v.source.Name, err)
	}
	slices.SortFunc(v.found, byKey)
	shown := v.found
	if v.opts.Limit > 0 && len(shown) > v.opts.Limit {
		shown = shown[:v.opts.Limit]
	}
	v.report.Keys = slices.Clone(shown)
	return nil
}

func byKey(a, b verify.Difference) int {
	switch {
	case a.Table < b.Table:
		return -1
	case a.Table > b.Table:
		return 1
	case a.Segment != b.Segment:
		return int(int64(a.Segment) - int64(b.Segment))
	case a.Key < b.Key:
		return -1
	}
	return 1
}

// Verify compares as the function of that name does and, with Repair, mends what differs: rows that are missing or different are
// read from the source again and written as a new batch, keys that the source does not have are marked as gone, all through
// Kafka and the loader, each exactly once. Then those keys are compared again. It holds the run lock for as long.
func (s *Session) Verify(ctx context.Context, opts VerifyOptions) (report *VerifyReport, err error) {
	if !opts.Repair {
		return Verify(ctx, s.project, s.warehouse.Warehouse, opts, s.opts)
	}
	unlock, err := s.lock(ctx)
	if errors.Is(err, ErrServed) {
		return nil, fault.Environment(fmt.Errorf("headwater start serves this project and is the only one that may write: stop it, repair, and start it again: %w", err))
	}
	if err != nil {
		return nil, err
	}
	defer unlock()
	began := time.Now()
	v, err := newVerifier(ctx, s.project, s.warehouse.Warehouse, opts, s.opts)
	if err != nil {
		return nil, err
	}
	defer func() {
		v.report.Took = time.Since(began)
		err = errors.Join(err, v.reader.Close())
	}()
	works := s.Start(ctx, 0, opts.Progress)
	err = works.mend(ctx, v)
	return v.report, errors.Join(err, works.Stop())
}

func (w *Works) mend(ctx context.Context, v *verifier) error {
	s := w.session
	// What waits in Kafka is loaded first, an earlier repair's rows among it.
	if errs := w.drain(ctx, []*project.Source{v.source}); len(errs) > 0 {
		return errors.Join(errs...)
	}
	if err := v.compare(ctx); err != nil {
		return err
	}
	v.report.Repair = &Report{Run: NewRunID(), Began: time.Now()}
	if len(v.found) == 0 {
		return nil
	}
	reader := &mendSource{v: v, mem: s.opts.Allocator, run: v.report.Repair.Run, at: time.Now(), streams: map[string]*mending{}}
	for _, d := range v.found {
		m := reader.streams[d.Stream]
		if m == nil {
			m = &mending{rows: map[warehouse.KeyHash]verify.Difference{}}
			reader.streams[d.Stream] = m
		}
		if d.Kind == verify.Extra {
			m.gone = append(m.gone, d)
		} else {
			m.rows[d.KeyHash] = d
		}
	}
	job := ingest.Job{Source: v.source.Name, Topic: v.source.Topic, Run: reader.run, Reader: reader, Streams: map[string]ingest.Preparer{}, Replay: true}
	for name := range reader.streams {
		job.Streams[name] = asQuarantined{} // they were projected and masked when they were read
	}
	entry := warehouse.AuditEntry{Who: cmp.Or(v.opts.By, writerName()), Command: "verify --repair", TargetKind: "source", Target: v.source.Name, Why: v.opts.Why,
		Details: warehouse.AuditDetails(map[string]any{"run": reader.run, "keys": len(v.found)})}
	if err := s.warehouse.Audited(ctx, entry, func(*warehouse.AuditEntry) error { return w.writeMended(ctx, v, job) }); err != nil {
		return err
	}
	v.report.Mended = len(v.found)
	var err error
	if v.report.Still, err = verify.Recheck(ctx, v.verify, v.found); err != nil {
		return err
	}
	slices.SortFunc(v.report.Still, byKey)
	v.report.Mended -= len(v.report.Still)
	return nil
}

// writeMended brings the rows of a repair into the warehouse and accounts for them.
func (w *Works) writeMended(ctx context.Context, v *verifier, job ingest.Job) error {
	result, err := w.Ingester.Ingest(ctx, job)
	report := v.report.Repair
	report.Sources = append(report.Sources, SourceReport{
		Source: v.source.Name, Title: v.source.Title, Read: result.Read, Written: result.Written, Shards: result.Shards,
		Messages: result.Batches, Bytes: result.Bytes, Elsewhere: result.Elsewhere, Err: err, Took: time.Since(report.Began),
	})
	if ctx.Err() == nil {
		report.LoadErrs = w.drain(ctx, []*project.Source{v.source})
	}
	recording, stop := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer stop()
	report.Took = time.Since(report.Began)
	return errors.Join(report.Err(), w.record(recording, report, "repair", 1), ctx.Err())
}

// mendShard is the shard that carries what a repair writes. No connector names a shard so: theirs are paths and tables.
const mendShard = "~repair"

// mending is what is mended of one stream.
type mending struct {
	rows map[warehouse.KeyHash]verify.Difference
	gone []verify.Difference
}

// mendSource reads the rows that are missing or different from the source again, as a connector of its own whose cursor is the
// repair itself: another one finds what still differs.
type mendSource struct {
	v       *verifier
	mem     memory.Allocator
	run     string
	at      time.Time
	streams map[string]*mending
}

func (m *mendSource) Streams(context.Context) ([]connectors.Stream, error) {
	var out []connectors.Stream
	for _, name := range slices.Sorted(maps.Keys(m.streams)) {
		out = append(out, connectors.Stream{Name: name})
	}
	return out, nil
}

func (m *mendSource) Shards(_ context.Context, stream string) ([]connectors.Stream, error) {
	return []connectors.Stream{{Name: stream, Shard: mendShard}}, nil
}

func (m *mendSource) Close() error { return nil }

// errEnough ends a scan whose caller wants no more.
var errEnough = errors.New("enough")

// Read yields the stream's rows in the order of the source, and then the keys that are gone. Rows that an earlier attempt of the
// same repair has written are passed over.
func (m *mendSource) Read(ctx context.Context, s connectors.Stream, after connectors.Cursor) iter.Seq2[connectors.Batch, error] {
	return func(yield func(connectors.Batch, error) bool) {
		var written replayCursor
		if after != nil {
			if err := json.Unmarshal(after, &written); err != nil {
				yield(connectors.Batch{}, fmt.Errorf("read the repair's cursor: %w", err))
				return
			}
		}
		if written.Run != m.run {
			written = replayCursor{Run: m.run}
		}
		done := 0
		send := func(rec arrow.Record, place string) error {
			n := int(rec.NumRows())
			if done += n; done <= written.Done {
				return nil
			}
			cursor, err := json.Marshal(replayCursor{Run: m.run, Done: done})
			if err != nil {
				return err
			}
			if !yield(connectors.Batch{Record: rec, Place: place, Cursor: cursor, ExtractedAt: m.at}, nil) {
				return errEnough
			}
			return nil
		}
		if err := m.read(ctx, s.Name, send); err != nil && !errors.Is(err, errEnough) {
			yield(connectors.Batch{}, err)
		}
	}
}

func (m *mendSource) read(ctx context.Context, name string, send func(rec arrow.Record, place string) error) error {
	todo := m.streams[name]
	left := maps.Clone(todo.rows)
	i := slices.IndexFunc(m.v.verify.Streams, func(s *verify.Stream) bool { return s.Name == name })
	if i >= 0 && len(left) > 0 {
		err := m.v.verify.Scanner.Scan(ctx, m.v.verify.Streams[i:i+1], func(b *verify.Batch) (bool, error) {
			rec, err := m.choose(b, left)
			if err != nil || rec == nil {
				return true, err
			}
			defer rec.Release()
			return len(left) > 0, send(rec, b.Place)
		})
		if err != nil {
			return err
		}
		// What has changed in the source since it was compared is left to its next run.
	}
	for part := range slices.Chunk(todo.gone, maxReplayBatch) {
		rec := m.tombstones(part)
		err := send(rec, "verify")
		rec.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// version of a record that takes the place of what the warehouse has: above it, and otherwise as if it had been read now, or
// where its source says. A later word of the source must still win.
func (m *mendSource) version(d verify.Difference) uint64 {
	version := d.SourceVersion
	if version == 0 {
		version = uint64(m.at.UnixMicro())
	}
	if d.Version > 0 {
		version = max(version, d.Version+1)
	}
	return version
}

// choose takes the rows out of a batch that are to be written, and out of left. It returns nil when there are none.
func (m *mendSource) choose(b *verify.Batch, left map[warehouse.KeyHash]verify.Difference) (arrow.Record, error) {
	var rows []uint32
	var versions []uint64
	var keys []string
	for i := range b.Records() {
		key := b.Key(i)
		hash, name := warehouse.HashKey(key), load.MendedKey(key)
		d, ok := left[hash]
		if !ok || d.Shard != b.Shard || d.Hash != b.Hash(i) {
			continue
		}
		delete(left, hash)
		row, version := b.Result.Row[i], m.version(d)
		if n := len(rows); n > 0 && rows[n-1] == row { // another record of the same row
			versions[n-1] = max(versions[n-1], version)
			keys[n-1] += " " + name
			continue
		}
		rows, versions, keys = append(rows, row), append(versions, version), append(keys, name)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	taken, err := load.TakeRows(m.mem, b.Kept, rows)
	if err != nil {
		return nil, err
	}
	defer taken.Release()
	shards, places := make([]string, len(rows)), make([]string, len(rows))
	for i := range rows {
		shards[i], places[i] = b.Shard, b.Place
	}
	fields, columns := taken.Schema().Fields(), taken.Columns()
	more, added := m.origins(versions, shards, places)
	if b.Stream.Mapping.FanOut() > 1 {
		meant := array.NewStringBuilder(m.mem)
		defer meant.Release()
		meant.AppendValues(keys, nil)
		more, added = append(more, arrow.Field{Name: load.ColumnMendedKeys, Type: arrow.BinaryTypes.String}), append(added, meant.NewArray())
	}
	defer func() {
		for _, c := range added {
			c.Release()
		}
	}()
	return array.NewRecord(arrow.NewSchema(append(slices.Clone(fields), more...), nil), append(slices.Clone(columns), added...), int64(len(rows))), nil
}

// tombstones names keys that are gone.
func (m *mendSource) tombstones(found []verify.Difference) arrow.Record {
	keys := array.NewStringBuilder(m.mem)
	defer keys.Release()
	versions, shards, places := make([]uint64, len(found)), make([]string, len(found)), make([]string, len(found))
	for i, d := range found {
		keys.Append(d.Key)
		versions[i], shards[i], places[i] = m.version(d), d.Shard, "verify"
	}
	fields, columns := m.origins(versions, shards, places)
	fields = append([]arrow.Field{{Name: load.ColumnGone, Type: arrow.BinaryTypes.String}}, fields...)
	columns = append([]arrow.Array{keys.NewArray()}, columns...)
	defer func() {
		for _, c := range columns {
			c.Release()
		}
	}()
	return array.NewRecord(arrow.NewSchema(fields, nil), columns, int64(len(found)))
}

// origins makes the columns that say what the rows are. The caller releases the arrays.
func (m *mendSource) origins(versions []uint64, shards, places []string) ([]arrow.Field, []arrow.Array) {
	version, at := array.NewUint64Builder(m.mem), array.NewInt64Builder(m.mem)
	shard, place := array.NewStringBuilder(m.mem), array.NewStringBuilder(m.mem)
	builders := []array.Builder{version, at, shard, place}
	for i := range versions {
		version.Append(versions[i])
		at.Append(m.at.UnixMicro())
		shard.Append(shards[i])
		place.Append(places[i])
	}
	fields := []arrow.Field{
		{Name: load.ColumnMended, Type: arrow.PrimitiveTypes.Uint64}, {Name: "_extracted_at", Type: arrow.PrimitiveTypes.Int64},
		{Name: "_shard", Type: arrow.BinaryTypes.String}, {Name: "_place", Type: arrow.BinaryTypes.String},
	}
	var columns []arrow.Array
	for _, b := range builders {
		columns = append(columns, b.NewArray())
		b.Release()
	}
	return fields, columns
}
