package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/internal/clock"
	"github.com/headwater-data/headwater/internal/crash"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/pipeline/ingest"
	"github.com/headwater-data/headwater/pipeline/load"
	"github.com/headwater-data/headwater/warehouse"
)

// Counts is how far a source is in a run, in rows since it began.
type Counts struct {
	Read, InKafka, Loaded, Duplicate, Quarantined, Filtered, Held int64
}

// Progress is told each source's newest counts. It must not block.
type Progress func(source string, c Counts)

// SourceReport says what a run did with one source.
type SourceReport struct {
	Source, Title string
	Read          int64 // rows read from the source in this run
	Written       int64 // of these, in Kafka
	Shards        int
	Rejected      int64             // rows that could not be read
	Messages      int64             // batches written
	Bytes         int64             // of them
	Account       warehouse.Balance // what the ledger says of the run's rows
	Changes       []string          // how the source's columns changed
	Missing       []string          // columns that mappings read and the source lacks, by stream: rows without them are quarantined
	Counted       map[string]int64  // the source's own counts, by shard
	Elsewhere     int               // shards that another process reads
	Took          time.Duration
	Err           error
}

// Report says what a run did.
type Report struct {
	Run      string
	Began    time.Time
	Took     time.Duration
	Sources  []SourceReport
	LoadErrs []error // partitions that stopped
}

// Err joins what went wrong.
func (r *Report) Err() error {
	var errs []error
	for _, s := range r.Sources {
		errs = append(errs, s.Err)
	}
	return errors.Join(append(errs, r.LoadErrs...)...)
}

// Quarantined is how many rows of the run are in quarantine.
func (r *Report) Quarantined() int64 {
	n := int64(0)
	for _, s := range r.Sources {
		n += s.Account.Quarantined
	}
	return n
}

// tally adds up what ingest and load tell, per source.
type tally struct {
	mu     sync.Mutex
	counts map[string]Counts
	tell   Progress
}

func (t *tally) add(source string, change func(c *Counts)) {
	if t.tell == nil {
		return
	}
	t.mu.Lock()
	c := t.counts[source]
	change(&c)
	t.counts[source] = c
	t.mu.Unlock()
	t.tell(source, c)
}

// Works is a session's running parts: the ingester and the loader, from Start to Stop.
type Works struct {
	session  *Session
	Ingester *ingest.Ingester
	Loader   *load.Service
	stop     context.CancelFunc
	release  context.CancelFunc // ends the ingester alone
	group    *errgroup.Group
	failed   context.Context // ends when a part has failed
}

// Start runs the ingester and the loader until Stop. The caller has the run lock, which is what says that members of an earlier
// process are dead. Linger is how long a flush waits for more rows.
func (s *Session) Start(ctx context.Context, linger time.Duration, progress Progress) *Works {
	w, serving := s.startWriting(ctx, linger, progress)
	w.group.Go(func() error { return w.Loader.Serve(serving) })
	w.group.Go(func() error { return w.keepFigures(serving) })
	return w
}

// figuresEvery is how long figures wait to be put together while sources are followed. When that takes long they wait longer: it gets
// a fifth of the time.
const figuresEvery = 5 * time.Second

// keepFigures puts figures together while there is always something new, until ctx ends.
func (w *Works) keepFigures(ctx context.Context) error {
	wait := figuresEvery
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		began := time.Now()
		if err := w.putTogether(ctx); err != nil && ctx.Err() == nil {
			w.session.opts.Logger.Warn("figures are not put together yet; the marks stay", "error", err)
		}
		wait = max(figuresEvery, 4*time.Since(began))
	}
}

// putTogether brings the kept figures up to what is loaded.
func (w *Works) putTogether(ctx context.Context) error {
	began := time.Now()
	n, err := w.session.warehouse.Refresh(ctx)
	if n > 0 {
		w.session.opts.Logger.Debug("figures were put together", "periods", n, "took", time.Since(began).Round(time.Millisecond).String())
	}
	if errors.Is(err, warehouse.ErrTurnTaken) {
		w.session.opts.Logger.Warn("another process puts figures together; what was loaded now shows in them when it, or the next run, has done so")
		return nil
	}
	if err != nil {
		return fmt.Errorf("what was loaded is there, but not in the figures yet: %w", err)
	}
	return nil
}

// startWriting is Start without the loader, which is there but does not serve: what is written stays in Kafka.
func (s *Session) startWriting(ctx context.Context, linger time.Duration, progress Progress) (w *Works, serving context.Context) {
	w = s.newWorks(linger, progress)
	ctx, w.stop = context.WithCancel(ctx)
	w.group, w.failed = errgroup.WithContext(ctx)
	serving = w.failed
	writing, release := context.WithCancel(serving)
	w.release = release
	w.group.Go(func() error { return w.Ingester.Serve(writing) })
	return w, serving
}

// newWorks makes the parts; nothing runs yet.
func (s *Session) newWorks(linger time.Duration, progress Progress) *Works {
	t := &tally{counts: map[string]Counts{}, tell: progress}
	w := &Works{session: s}
	s.warehouse.SetInstance(s.instance)
	w.Ingester = ingest.New(ingest.Config{
		Client: s.client, Index: s.index, Group: ingestGroup(s.project), Topics: s.topics, Checkpoints: checkpoints{s.warehouse.Warehouse},
		Allocator: s.opts.Allocator, Logger: s.opts.Logger, Writer: writerName(), Parallel: s.project.Limits.Readers,
		Progress: func(source string, read, written int64) {
			t.add(source, func(c *Counts) { c.Read += read; c.InKafka += written })
		},
	})
	w.Loader = load.New(load.Config{
		Client: s.client, Warehouse: s.warehouse.Warehouse, Group: loadGroup(s.project), Topics: s.topics,
		Shaping: s.shaping, Compile: s.compile, Tables: s.tables(), OnGap: s.onGap(),
		Allocator: s.opts.Allocator, Logger: s.opts.Logger, Limits: load.Limits{Records: s.project.Limits.FlushRows, Bytes: s.project.Limits.InFlightMiB << 20, Linger: linger},
		Progress: func(source string, add load.Counts) {
			t.add(source, func(c *Counts) {
				c.Loaded += add.Loaded
				c.Duplicate += add.Duplicate
				c.Quarantined += add.Quarantined
				c.Filtered += add.Filtered
				c.Held += add.Held
			})
		},
	})
	return w
}

// ingestGroup is the consumer group that decides who may write which partition.
func ingestGroup(p *project.Project) string { return p.TopicPrefix() + p.Name + ".ingest" }

// Finish lets the work under way come to its end: nothing more is written, and what is in Kafka is loaded; then it stops as
// Stop does. When ctx ends first, loading is cut short there; the next loader repeats exactly the flush that was under way.
// No Pass may be running. The errors of partitions that had stopped loading are among those returned.
func (w *Works) Finish(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(w.failed, cancel)()
	w.release()
	errs := w.drain(ctx, w.session.project.Sources())
	return errors.Join(append(errs, w.Stop())...)
}

// Stop ends ingester and loader at once and returns what made them fail, if anything did.
func (w *Works) Stop() error {
	w.release()
	w.stop()
	return w.group.Wait()
}

// loadGroup is the consumer group whose committed offsets say how far the project's topics are loaded.
func loadGroup(p *project.Project) string { return p.TopicPrefix() + p.Name + ".load" }

func (s *Session) tables() []string {
	var out []string
	set := s.project.Set()
	for _, name := range set.Names() {
		if schema, ok := set.Schema(name); ok && schema.Lineage {
			out = append(out, schema.TableName())
		}
	}
	return out
}

// onGap says for each topic whether all of its sources go on after a gap.
func (s *Session) onGap() map[string]bool {
	out := map[string]bool{}
	for _, source := range s.project.Sources() {
		before, seen := out[source.Topic]
		out[source.Topic] = source.ContinueOnGap && (before || !seen)
	}
	for _, source := range s.project.LeftOut() {
		if !source.ContinueOnGap {
			out[source.Topic] = false // it is not there to be read again
		}
	}
	return out
}

// RunOptions for Run.
type RunOptions struct {
	Sources  []string // names; none means all
	Trigger  string   // who asked: "command", "schedule", "demo"; defaults to command
	Progress Progress
	// Note is told what people should know, once, when a service does the run. It may be nil; it must not block.
	Note func(text string)
}

// Run does one complete pass over the sources: what they have beyond their cursors is read, and everything in their topics is
// loaded. The report is there even when an error is. Where a service has the project, it is asked to do the run (Ask).
func (s *Session) Run(ctx context.Context, opts RunOptions) (*Report, error) {
	sources, err := s.sources(opts.Sources)
	if err != nil {
		return nil, err
	}
	unlock, err := s.lock(ctx)
	for errors.Is(err, ErrServed) {
		if report, err := Ask(ctx, s.project, opts); !errors.Is(err, ErrNotServed) {
			return report, err
		}
		unlock, err = s.lock(ctx) // the service has just ended
	}
	if err != nil {
		return nil, err
	}
	defer unlock()
	works := s.Start(ctx, 0, opts.Progress)
	report, err := works.Pass(ctx, sources, opts.Trigger)
	return report, errors.Join(err, works.Stop())
}

func (s *Session) sources(names []string) ([]*project.Source, error) {
	if len(names) == 0 {
		return s.project.Sources(), nil
	}
	var out []*project.Source
	for _, name := range names {
		source, err := s.project.Source(name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(out, source) {
			out = append(out, source)
		}
	}
	return out, nil
}

// Pass ingests the sources and waits until everything in their topics is loaded.
func (w *Works) Pass(ctx context.Context, sources []*project.Source, trigger string) (*Report, error) {
	asked := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(w.failed, cancel)()
	s := w.session
	report := &Report{Run: NewRunID(), Began: time.Now(), Sources: make([]SourceReport, len(sources))}
	var g errgroup.Group
	g.SetLimit(max(1, s.project.Limits.Readers))
	for i, source := range sources {
		g.Go(func() error {
			report.Sources[i] = w.ingest(ctx, nil, source, report.Run)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return report, err
	}
	report.LoadErrs = w.drain(ctx, sources)
	if asked.Err() != nil && len(report.LoadErrs) > 0 { // what is in Kafka and not loaded because the run was ended was stopped, not wrong
		for i := range report.Sources {
			if r := &report.Sources[i]; r.Err == nil {
				r.Err = fmt.Errorf("source %s: %w", r.Source, errStopped)
			}
		}
		report.LoadErrs = nil
	}
	// What was done is recorded even when the run was cut short.
	recording, stop := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer stop()
	report.Took = time.Since(report.Began)
	err := w.record(recording, report, trigger, 1)
	return report, errors.Join(report.Err(), err, ctx.Err())
}

// ingest reads what the source has and writes it to Kafka. Unless reading is nil, the end of it stops the source at its next
// batch: what was read is still written. The end of ctx stops everything at once.
func (w *Works) ingest(ctx, reading context.Context, source *project.Source, run string) SourceReport {
	return w.follow(ctx, reading, source, run, nil, nil)
}

// follow is ingest that, unless enough is nil, waits for the news of a source where that can be done, until enough is closed. It
// tells follows when it does.
func (w *Works) follow(ctx, reading context.Context, source *project.Source, run string, enough <-chan struct{}, follows func()) (out SourceReport) {
	s := w.session
	began := time.Now()
	out = SourceReport{Source: source.Name, Title: source.Title}
	defer func() { out.Took = time.Since(began) }()
	reader, err := s.project.OpenSource(ctx, source.Name, connectors.Environment{
		Dir: s.project.Dir, Allocator: s.opts.Allocator, Logger: s.opts.Logger.With("source", source.Name), Now: clock.Now,
	})
	if err != nil {
		out.Err = fmt.Errorf("source %s: %w", source.Name, err)
		return out
	}
	defer func() { out.Err = errors.Join(out.Err, reader.Close()) }()
	if reading != nil {
		reader = until(reading, reader)
	}
	job := ingest.Job{Source: source.Name, Topic: source.Topic, Run: run, Reader: reader, Streams: map[string]ingest.Preparer{}, Personal: map[string]bool{}}
	for _, stream := range source.Streams {
		mapping, ok := s.shaping.Program.Stream(source.Name, stream.Name)
		if !ok {
			out.Err = fault.Permanent(fmt.Errorf("source %s: stream %s has no mapping: a fault of the program", source.Name, stream.Name))
			return out
		}
		job.Streams[stream.Name] = mapping
		job.Personal[stream.Name] = mapping.Personal()
	}
	if enough != nil && ingest.Follows(reader, job.Streams) {
		job.Enough = enough
		follows()
	}
	result, err := w.Ingester.Ingest(ctx, job)
	out.Read, out.Written, out.Shards, out.Elsewhere = result.Read, result.Written, result.Shards, result.Elsewhere
	out.Rejected, out.Messages, out.Bytes = result.Rejected, result.Batches, result.Bytes
	out.Changes, out.Missing, out.Counted, out.Err = result.Changes, result.Missing, result.Counted, err
	if err != nil && reading != nil && reading.Err() != nil {
		out.Err = fmt.Errorf("source %s: %w", source.Name, errStopped) // once, not for each shard
	}
	return out
}

// drain waits until the sources' topics are loaded up to where they end now, and figures are put together.
func (w *Works) drain(ctx context.Context, sources []*project.Source) []error {
	s := w.session
	var mu sync.Mutex
	var errs []error
	var g errgroup.Group
	topics := map[string]bool{}
	for _, source := range sources {
		topics[source.Topic] = true
	}
	for _, name := range slices.Sorted(maps.Keys(topics)) {
		partitions, err := awaitServer(ctx, s.opts.Logger, "the broker", func() (int, error) { return s.client.Partitions(ctx, name) })
		if err != nil {
			return append(errs, err)
		}
		for p := range partitions {
			g.Go(func() error {
				next, err := awaitServer(ctx, s.opts.Logger, "the broker", func() (int64, error) {
					_, next, err := s.client.Bounds(ctx, name, p)
					return next, err
				})
				if err == nil && next > 0 {
					err = w.Loader.Wait(ctx, name, p, next)
				}
				if err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
				return nil
			})
		}
	}
	if err := g.Wait(); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return errs
	}
	crash.Point("loaded")
	if _, err := awaitServer(ctx, s.opts.Logger, "the warehouse", func() (struct{}, error) { return struct{}{}, w.putTogether(ctx) }); err != nil {
		errs = append(errs, err)
	}
	return errs
}

// record reads the run's account from the ledger and writes the run's history.
func (w *Works) record(ctx context.Context, report *Report, trigger string, attempt int64) error {
	s := w.session
	if trigger == "" {
		trigger = "command"
	}
	lines, err := s.warehouse.Balance(ctx, warehouse.BalanceFilter{Scope: "run", Run: report.Run})
	if err != nil {
		return fmt.Errorf("read the run's account: %w", err)
	}
	accounts := map[string]warehouse.Balance{}
	for _, l := range lines {
		accounts[l.Source] = l
	}
	for i := range report.Sources {
		r := &report.Sources[i]
		r.Account = accounts[r.Source]
		run := warehouse.Run{
			Run: report.Run, Source: r.Source, Trigger: trigger, Instance: writerName(), StartedAt: report.Began, FinishedAt: report.Began.Add(report.Took),
			Attempt: attempt, Outcome: warehouse.RunDone, Shards: int64(r.Shards), Extracted: r.Written, Rejected: r.Rejected, Messages: r.Messages, Bytes: r.Bytes,
			Changes: strings.Join(r.Changes, "\n"),
		}
		switch {
		case r.Err != nil && errors.Is(r.Err, context.Canceled):
			run.Outcome, run.Error = warehouse.RunStopped, r.Err.Error()
		case r.Err != nil:
			run.Outcome, run.Error = warehouse.RunFailed, r.Err.Error()
		case len(report.LoadErrs) > 0:
			run.Outcome, run.Error = warehouse.RunFailed, errors.Join(report.LoadErrs...).Error()
		}
		if err := s.warehouse.WriteRun(ctx, run); err != nil {
			return fmt.Errorf("write the run's history: %w", err)
		}
	}
	return nil
}
