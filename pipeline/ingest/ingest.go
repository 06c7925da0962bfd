// Package ingest brings source data into Kafka: it reads a source's shards from their cursors, prepares each batch (projection,
// rules on personal fields, masking) and writes it to the shard's partition, with the cursor in the same record.
//
// Use: make an Ingester, run Serve in a goroutine of its own for as long as the process may write, and call Ingest for each
// pass over a source, from any goroutine. Ingest returns when all that the source had has been written, or when it cannot go on.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/pipeline/message"
	"github.com/headwater-data/headwater/pipeline/topic"
)

// Config is what an Ingester needs.
type Config struct {
	Client      *topic.Client
	Index       *Index
	Group       string   // consumer group that decides who may write which partition (W1)
	Topics      []string // all raw topics of the project
	Checkpoints Checkpoints
	Allocator   memory.Allocator
	Logger      *slog.Logger
	Writer      string // who we are, for people
	Parallel    int    // shards read at a time; defaults to 2
	// Progress is told what has been read and written, as it happens. It may be nil; it must not block.
	Progress func(source string, read, written int64)
}

// Preparer makes a source batch fit to leave the process: only named columns, personal fields checked and masked. Rejects are
// rows that broke a rule on a personal field. The caller releases the record. *transform.Mapping is one.
type Preparer interface {
	Ingress(ctx context.Context, rec arrow.Record) (kept arrow.Record, rejects []connectors.Reject, err error)
}

// needy is a Preparer that knows which columns the mapping behind it reads.
type needy interface {
	// Missing returns those that the schema lacks, sorted.
	Missing(schema *arrow.Schema) []string
}

// Job is one pass over one source.
type Job struct {
	Source   string
	Topic    string
	Run      string
	Reader   connectors.Source
	Streams  map[string]Preparer // by stream name; a stream that is not here is not read
	Personal map[string]bool     // streams with personal fields: the raw bytes of unreadable rows stay here
	Replay   bool                // rows come from the quarantine: their columns say nothing of the source's
	// Enough, unless it is nil, lets the pass go on until it is closed, when Follows says that it can.
	Enough <-chan struct{}
	Tries  int // of a source in a row that brought nothing, before the shard is given up until the next pass; defaults to 5
}

// Follows reports whether the news of all of a source's streams can be waited for: while one is, no other would be read again.
func Follows(source connectors.Source, streams map[string]Preparer) bool {
	f, ok := source.(connectors.Follower)
	for name := range streams {
		ok = ok && f.Follows(name)
	}
	return ok && len(streams) > 0
}

// Result says what a pass did.
type Result struct {
	Shards    int
	Read      int64 // rows read, rejects included
	Written   int64 // rows in written batches, rejects included
	Rejected  int64
	Batches   int64
	Bytes     int64
	Elsewhere int              // shards whose partition another process holds
	Changes   []string         // how streams' columns changed since they were last read
	Missing   []string         // columns that mappings read and streams do not have: their rows will be quarantined
	Counted   map[string]int64 // shard -> the source's own count, where it can count
	Ends      map[End]int64    // offset after the newest record that this pass wrote
}

// End names a partition.
type End struct {
	Topic     string
	Partition int
}

// Ingester holds partitions and writes them.
type Ingester struct {
	cfg       Config
	lookEvery time.Duration

	mu      sync.Mutex
	held    map[End]*holding
	current context.Context // of the generation that held belongs to
	changed chan struct{}   // closed when held changes
}

type holding struct {
	*Partition
	once  sync.Mutex
	ready bool
}

// New makes an Ingester.
func New(cfg Config) *Ingester {
	if cfg.Parallel == 0 {
		cfg.Parallel = 2
	}
	return &Ingester{cfg: cfg, lookEvery: lookEvery, changed: make(chan struct{})}
}

// Serve keeps membership in the ingest group until ctx ends, then enters what is not indexed and leaves the group. An index that
// may not be written is an error then, though everything is written: without it, every start reads the whole log.
func (i *Ingester) Serve(ctx context.Context) error {
	for {
		err := i.member(ctx)
		if ctx.Err() != nil || !fault.IsTransient(err) {
			return err
		}
		i.cfg.Logger.Warn("waiting for the broker's consumer groups", "group", i.cfg.Group, "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// member is one membership. It ends with ctx, or when the group could not be asked: kafka-go would join again by itself, beside
// the member that it has left behind.
func (i *Ingester) member(ctx context.Context) error {
	i.cfg.Client.Evict(ctx, i.cfg.Group)
	group, err := i.cfg.Client.Join(i.cfg.Group, i.cfg.Topics)
	if err != nil {
		return err
	}
	defer func() {
		if err := group.Close(); err != nil {
			i.cfg.Logger.Warn("leaving the ingest group", "error", err)
		}
	}()
	for {
		gen, err := group.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		ended := make(chan struct{})
		var unindexed error // set before ended closes
		gen.Start(func(gctx context.Context) {
			defer close(ended)
			life, stop := context.WithCancel(ctx)
			defer stop()
			defer context.AfterFunc(gctx, stop)()
			i.hold(life, gen)
			i.watch(life)
			if ctx.Err() != nil && gctx.Err() == nil {
				unindexed = i.release()
			}
			i.lose()
		})
		<-ended
		if ctx.Err() != nil {
			return unindexed
		}
	}
}

// lookEvery is how often the log of each partition held is compared with the one that its writer knows (W6).
const lookEvery = 5 * time.Second

// watch looks at the held partitions until ctx ends. One whose log is another one is taken over anew by its next user.
func (i *Ingester) watch(ctx context.Context) {
	tick := time.NewTicker(i.lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		i.mu.Lock()
		held := maps.Clone(i.held)
		i.mu.Unlock()
		for end, h := range held {
			switch err := h.Look(ctx); {
			case errors.Is(err, ErrDemoted):
				i.reclaim(end)
			case err != nil && ctx.Err() == nil:
				i.cfg.Logger.Debug("the log could not be looked at", "topic", end.Topic, "partition", end.Partition, "error", err)
			}
		}
	}
}

// releaseTimeout bounds the last writing of the index on the way out.
const releaseTimeout = 5 * time.Second

// release returns what an operator must mend; anything else is worth a line and no more.
func (i *Ingester) release() (err error) {
	i.mu.Lock()
	held := slices.Collect(maps.Values(i.held))
	i.mu.Unlock()
	ctx, stop := context.WithTimeout(context.Background(), releaseTimeout)
	defer stop()
	for _, h := range held {
		if rerr := h.Release(ctx); fault.KindOf(rerr) == fault.KindEnvironment {
			err = rerr // the same for all of them
		} else if rerr != nil {
			i.cfg.Logger.Warn("the index could not be written; a later writer reads more of the log", "topic", h.topic, "partition", h.partition, "error", rerr)
		}
	}
	return err
}

// hold takes the generation's partitions; each is claimed when it is first written.
func (i *Ingester) hold(ctx context.Context, gen *topic.Generation) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.held, i.current = map[End]*holding{}, ctx
	for name, partitions := range gen.Assignments {
		for _, p := range partitions {
			i.held[End{name, p}] = &holding{Partition: &Partition{
				client: i.cfg.Client, index: i.cfg.Index, checkpoints: i.cfg.Checkpoints, topic: name, partition: p,
				writer: i.cfg.Writer, log: i.cfg.Logger, indexed: time.Now(),
			}}
		}
	}
	i.tell()
}

// lose gives up the generation's partitions.
func (i *Ingester) lose() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.held, i.current = nil, nil
	i.tell()
}

// tell wakes whoever waits for partitions. The caller holds the lock.
func (i *Ingester) tell() {
	close(i.changed)
	i.changed = make(chan struct{})
}

// partition waits until the group has assigned partitions and returns the one asked for, claimed and recovered, with the
// context of the generation. It returns nil when another process holds it.
func (i *Ingester) partition(ctx context.Context, end End) (*Partition, context.Context, error) {
	for {
		i.mu.Lock()
		h, current, changed := i.held[end], i.current, i.changed
		i.mu.Unlock()
		if current != nil && current.Err() == nil {
			if h == nil {
				return nil, nil, nil
			}
			return i.takeOver(ctx, h, current)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

func (i *Ingester) takeOver(ctx context.Context, h *holding, generation context.Context) (*Partition, context.Context, error) {
	h.once.Lock()
	defer h.once.Unlock()
	if !h.ready {
		if err := h.TakeOver(ctx); err != nil {
			return nil, nil, err
		}
		h.ready = true
	}
	return h.Partition, generation, nil
}

// reclaim makes the next user of the partition claim it again.
func (i *Ingester) reclaim(end End) {
	i.mu.Lock()
	h := i.held[end]
	i.mu.Unlock()
	if h != nil {
		h.once.Lock()
		h.ready = false
		h.once.Unlock()
	}
}

// Ingest reads everything that the source has beyond its cursors and returns when it is written. A shard that fails does not
// stop the others; their errors are joined.
func (i *Ingester) Ingest(ctx context.Context, job Job) (Result, error) {
	if job.Tries == 0 {
		job.Tries = 5
	}
	pass := &pass{Ingester: i, job: job, result: Result{Ends: map[End]int64{}, Counted: map[string]int64{}}}
	streams, err := job.Reader.Streams(ctx)
	if err != nil {
		return pass.result, fmt.Errorf("source %s: list streams: %w", job.Source, err)
	}
	var partitions int
	if err := i.await(ctx, func() error {
		if err := i.cfg.Index.Refresh(ctx); err != nil {
			return err
		}
		partitions, err = i.cfg.Client.Partitions(ctx, job.Topic)
		return err
	}); err != nil {
		return pass.result, err
	}
	var errs []error
	if job.Enough != nil && Follows(job.Reader, job.Streams) {
		pass.follower = job.Reader.(connectors.Follower)
	}
	var g errgroup.Group
	g.SetLimit(i.cfg.Parallel)
	if pass.follower != nil {
		g.SetLimit(-1) // none comes to an end to make room for another
	}
	for _, s := range streams {
		prepare, ok := job.Streams[s.Name]
		if !ok {
			continue
		}
		shards := []connectors.Stream{s}
		if sharder, ok := job.Reader.(connectors.Sharder); ok {
			if shards, err = sharder.Shards(ctx, s.Name); err != nil {
				pass.fail(&errs, fmt.Errorf("source %s: list shards of %s: %w", job.Source, s.Name, err))
				continue
			}
		}
		for _, shard := range shards {
			g.Go(func() error {
				if err := pass.shard(ctx, shard, prepare, partitions); err != nil {
					pass.fail(&errs, place(job.Source, shard, err))
				}
				return nil
			})
		}
	}
	if err := g.Wait(); err != nil {
		return pass.result, err
	}
	return pass.result, errors.Join(errs...)
}

// place says where an error happened. Connectors name the shard themselves in what they say about it.
func place(source string, s connectors.Stream, err error) error {
	if s.Shard != "" && strings.HasPrefix(err.Error(), s.Shard) {
		return fmt.Errorf("source %s, stream %s: %w", source, s.Name, err)
	}
	return fmt.Errorf("source %s, stream %s: %w", source, s, err)
}

// await repeats what asks the broker until it answers, with backoff, and says so. Only the end of ctx, or an error that waiting
// does not mend, ends it.
func (i *Ingester) await(ctx context.Context, ask func() error) error {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		err := ask()
		if err == nil || !fault.IsTransient(err) {
			return err
		}
		i.cfg.Logger.Warn("waiting for the broker", "wait", wait.String(), "error", err)
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(wait):
		}
	}
}

type pass struct {
	*Ingester
	job      Job
	follower connectors.Follower // nil: what is there is read
	mu       sync.Mutex
	result   Result
	changed  map[string]bool
}

func (p *pass) fail(errs *[]error, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*errs = append(*errs, err)
}

func (p *pass) shard(ctx context.Context, s connectors.Stream, prepare Preparer, partitions int) error {
	key := ShardKey(p.job.Source, s.Name, s.Shard)
	h := fnv.New32a()
	h.Write([]byte(key))
	var number int
	if err := p.await(ctx, func() (err error) {
		number, err = p.cfg.Index.Partition(ctx, p.job.Topic, key, int(h.Sum32()%uint32(partitions)))
		return err
	}); err != nil {
		return err
	}
	if number >= partitions {
		return fault.Environment(fmt.Errorf("its rows were in partition %d of %s, which has only %d partitions now: the topic was created again; remove the project's index topic to start over", number, p.job.Topic, partitions))
	}
	end := End{p.job.Topic, number}
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 200*time.Millisecond, 30*time.Second
	for failures := 0; ; {
		var partition *Partition
		var generation context.Context
		var written, unwritten int64
		// A broker that is away is waited for: the tries are for the source.
		err := p.await(ctx, func() (err error) {
			partition, generation, err = p.partition(ctx, end)
			return err
		})
		if err == nil && partition == nil {
			p.mu.Lock()
			p.result.Elsewhere++
			p.mu.Unlock()
			return nil
		}
		if err == nil {
			written, unwritten, err = p.read(ctx, generation, s, prepare, partition, end)
		}
		if written > 0 {
			failures = 0
			wait.Reset()
		}
		switch {
		case err == nil:
			p.mu.Lock()
			p.result.Shards++
			p.mu.Unlock()
			return p.count(ctx, s)
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrDemoted):
			p.reclaim(end)
			p.unread(unwritten)
			continue
		case generation != nil && generation.Err() != nil:
			p.unread(unwritten)
			continue
		case !fault.IsTransient(err) || failures+1 >= p.job.Tries:
			p.reclaim(end)
			return err
		}
		failures++
		p.unread(unwritten)
		d := wait.NextBackOff()
		p.cfg.Logger.Warn("reading stopped; trying again from the last cursor", "source", p.job.Source, "stream", s.String(), "wait", d.String(), "error", err)
		p.reclaim(end)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(d):
		}
	}
}

// unread takes rows out of the count that were read but not written, as they are read again.
func (p *pass) unread(rows int64) {
	p.mu.Lock()
	p.result.Read -= rows
	p.mu.Unlock()
	p.progress(-rows, 0)
}

func (p *pass) count(ctx context.Context, s connectors.Stream) error {
	c, ok := p.job.Reader.(connectors.Counter)
	if !ok {
		return nil
	}
	n, err := c.Count(ctx, s)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil // it can count other shards, not this one
	}
	if err != nil {
		return fmt.Errorf("count: %w", err)
	}
	p.mu.Lock()
	p.result.Counted[s.String()] = n
	p.mu.Unlock()
	return nil
}

type parcel struct {
	header message.Header
	value  []byte
}

// read runs two goroutines: one reads, prepares and encodes, the other writes the batch before. When reading fails, what was
// read before is still written; when writing fails, reading stops. It returns how many of the rows it read are written, and are not.
func (p *pass) read(ctx, generation context.Context, s connectors.Stream, prepare Preparer, partition *Partition, end End) (written, unwritten int64, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(generation, stop)()
	after, epoch := partition.Cursor(ShardKey(p.job.Source, s.Name, s.Shard))
	parcels := make(chan parcel, 1)
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	var rows int64 // read; the channel's close hands it over
	readErr := make(chan error, 1)
	var stored atomic.Pointer[connectors.Cursor]
	batches := func() iter.Seq2[connectors.Batch, error] { return p.job.Reader.Read(reading, s, after) }
	if p.follower != nil {
		batches = func() iter.Seq2[connectors.Batch, error] {
			return p.follower.Follow(reading, s, after, connectors.Following{Enough: p.job.Enough, Stored: func() connectors.Cursor {
				if c := stored.Load(); c != nil {
					return *c
				}
				return nil
			}})
		}
	}
	go func() {
		defer close(parcels)
		var err error
		rows, err = p.feed(reading, s, batches(), prepare, parcels)
		readErr <- err
	}()
	var writeErr error
	for out := range parcels {
		if writeErr != nil {
			continue
		}
		if writeErr = p.deliver(ctx, partition, epoch, end, out); writeErr != nil {
			stopReading()
			continue
		}
		written += int64(out.header.Rows + out.header.Rejects)
		cursor := connectors.Cursor(out.header.Cursor)
		stored.Store(&cursor)
	}
	if err := <-readErr; writeErr == nil {
		return written, rows - written, err
	}
	return written, rows - written, writeErr
}

func (p *pass) feed(ctx context.Context, s connectors.Stream, batches iter.Seq2[connectors.Batch, error], prepare Preparer, parcels chan<- parcel) (rows int64, err error) {
	for b, err := range batches {
		if err != nil {
			return rows, err
		}
		rows += b.Record.NumRows() + int64(len(b.Rejects))
		out, err := p.pack(ctx, s, b, prepare)
		if err != nil {
			return rows, err
		}
		select {
		case parcels <- out:
		case <-ctx.Done():
			return rows, ctx.Err()
		}
	}
	return rows, nil
}

func (p *pass) deliver(ctx context.Context, partition *Partition, epoch int64, end End, out parcel) error {
	offset, err := partition.Write(ctx, epoch, out.header, out.value)
	if err != nil {
		return err
	}
	rows := int64(out.header.Rows + out.header.Rejects)
	p.mu.Lock()
	p.result.Written += rows
	p.result.Rejected += int64(out.header.Rejects)
	p.result.Batches++
	p.result.Bytes += int64(len(out.value))
	p.result.Ends[end] = max(p.result.Ends[end], offset+1)
	p.mu.Unlock()
	p.progress(0, rows)
	return nil
}

func (p *pass) progress(read, written int64) {
	if p.cfg.Progress != nil {
		p.cfg.Progress(p.job.Source, read, written)
	}
}

// oversized is the size above which a single row is taken out of its batch: twice this still fits a message.
const oversized = message.MaxValueBytes/2 - (64 << 10)

func (p *pass) pack(ctx context.Context, s connectors.Stream, b connectors.Batch, prepare Preparer) (parcel, error) {
	if len(b.Cursor) > connectors.MaxCursorBytes {
		return parcel{}, fault.Permanent(fmt.Errorf("the connector's cursor has %d bytes; at most %d fit a message", len(b.Cursor), connectors.MaxCursorBytes))
	}
	if !p.job.Replay {
		p.noteColumns(ctx, s, b.Record.Schema())
	}
	p.noteMissing(s, b.Record.Schema(), prepare)
	rows := b.Record.NumRows() + int64(len(b.Rejects))
	p.mu.Lock()
	p.result.Read += rows
	p.mu.Unlock()
	p.progress(rows, 0)
	rejects := b.Rejects
	if p.job.Personal[s.Name] {
		// What could not be read cannot be masked field by field.
		rejects = slices.Clone(rejects)
		for i := range rejects {
			rejects[i].Raw = nil
			rejects[i].Reason += " (the row is not kept: the stream has personal fields)"
		}
	}
	kept, more, err := prepare.Ingress(ctx, b.Record)
	if err != nil {
		return parcel{}, fmt.Errorf("prepare rows of %s: %w", b.Place, err)
	}
	defer func() { kept.Release() }()
	rejects = append(rejects[:len(rejects):len(rejects)], more...)
	value, err := message.Encode(p.cfg.Allocator, kept, rejects)
	if err != nil {
		return parcel{}, err
	}
	if len(value) > message.MaxValueBytes-(64<<10) {
		fits, big := withoutOversized(p.cfg.Allocator, kept, b.Place)
		kept.Release()
		kept = fits
		rejects = append(rejects, big...)
		if value, err = message.Encode(p.cfg.Allocator, kept, rejects); err != nil {
			return parcel{}, err
		}
		if len(value) > message.MaxValueBytes-(64<<10) {
			return parcel{}, fault.Permanent(fmt.Errorf("a batch of %d rows from %s has %d bytes and fits no message: the connector must cut batches at %d bytes", kept.NumRows(), b.Place, len(value), connectors.MaxBatchBytes))
		}
	}
	return parcel{
		header: message.Header{
			Source: p.job.Source, Stream: s.Name, Shard: s.Shard, Cursor: b.Cursor,
			Rows: int(kept.NumRows()), Rejects: len(rejects), Place: b.Place, ExtractedAt: b.ExtractedAt, Replaces: b.Replaces,
			Run: p.job.Run, Fingerprint: message.Fingerprint(kept.Schema()),
		},
		value: value,
	}, nil
}

// noteColumns tells the operator, once a pass and stream, that the stream's columns are others than when it was last read.
func (p *pass) noteColumns(ctx context.Context, s connectors.Stream, schema *arrow.Schema) {
	fields := make([]string, 0, schema.NumFields())
	for _, f := range schema.Fields() {
		if !strings.HasPrefix(f.Name, "_") {
			fields = append(fields, f.Name+"\x1d"+f.Type.String())
		}
	}
	now := strings.Join(fields, "\x1e")
	p.mu.Lock()
	if p.changed == nil {
		p.changed = map[string]bool{}
	}
	known := p.changed[s.Name]
	p.changed[s.Name] = true
	p.mu.Unlock()
	if known {
		return
	}
	before := p.cfg.Index.Columns(p.job.Source, s.Name)
	if before == now {
		return
	}
	if before != "" {
		change := describeChange(s.Name, before, now)
		p.cfg.Logger.Warn("the source's columns have changed", "source", p.job.Source, "stream", s.Name, "change", change)
		p.mu.Lock()
		p.result.Changes = append(p.result.Changes, change)
		p.mu.Unlock()
	}
	if err := p.cfg.Index.SetColumns(ctx, p.job.Source, s.Name, now); err != nil {
		p.cfg.Logger.Warn("the stream's columns could not be recorded", "source", p.job.Source, "stream", s.Name, "error", err)
	}
}

// noteMissing tells the operator, once a pass, stream and set of columns, that rows lack what their mapping reads.
func (p *pass) noteMissing(s connectors.Stream, schema *arrow.Schema, prepare Preparer) {
	n, ok := prepare.(needy)
	if !ok {
		return
	}
	missing := n.Missing(schema)
	if len(missing) == 0 {
		return
	}
	note := s.Name + ": " + strings.Join(missing, ", ")
	p.mu.Lock()
	said := slices.Contains(p.result.Missing, note)
	if !said {
		p.result.Missing = append(p.result.Missing, note)
	}
	p.mu.Unlock()
	if !said {
		p.cfg.Logger.Warn("columns that the mapping reads are not there; rows without them are quarantined", "source", p.job.Source, "stream", s.String(), "missing", missing)
	}
}

func describeChange(stream, before, now string) string {
	parse := func(text string) map[string]string {
		m := map[string]string{}
		for _, f := range strings.Split(text, "\x1e") {
			name, typ, _ := strings.Cut(f, "\x1d")
			m[name] = typ
		}
		return m
	}
	old, new := parse(before), parse(now)
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(old)) {
		switch typ, ok := new[name]; {
		case !ok:
			parts = append(parts, "removed "+name)
		case typ != old[name]:
			parts = append(parts, fmt.Sprintf("%s was %s, is %s", name, old[name], typ))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(new)) {
		if _, ok := old[name]; !ok {
			parts = append(parts, "added "+name)
		}
	}
	if len(parts) == 0 {
		parts = []string{"order of columns"}
	}
	return stream + ": " + strings.Join(parts, ", ")
}
