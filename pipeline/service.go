package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/pipeline/schedule"
	"github.com/headwater-data/headwater/warehouse"
)

// ServeOptions for Serve.
type ServeOptions struct {
	// Grace is how long the work under way may take to come to its end once the context has ended. Defaults to 30 s.
	Grace time.Duration
}

// DefaultGrace is ServeOptions' grace.
const DefaultGrace = 30 * time.Second

// ErrCutShort says that the service's grace was over before its work was done. Nothing is lost: the next one goes on from
// there.
var ErrCutShort = errors.New("the grace period ended before the work under way did; the next start or run goes on from there")

// Serve keeps the project going until ctx ends: it reads each source by its schedule, the sources beside each other and each
// in one run at a time, loads continuously, does runs that other processes ask for (Ask), and writes the run history. It holds
// the project's run lock; where another service does, it returns ErrServed.
//
// A source that fails is tried again by its schedule and stops no other. A server that is away is waited for.
//
// When ctx ends, nothing new begins, runs under way stop at their next batch, and what is in Kafka is loaded. Serve then returns
// nil; ErrCutShort when that took longer than the grace.
func (s *Session) Serve(ctx context.Context, opts ServeOptions) error {
	if opts.Grace <= 0 {
		opts.Grace = DefaultGrace
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	v, err := s.newService()
	if err != nil {
		return err
	}
	if err := v.recall(ctx); err != nil {
		return err
	}
	listener, remove, err := listenControl(s.project.State)
	if err != nil {
		return fault.Environment(fmt.Errorf("open the control socket: %w", err))
	}
	defer remove()
	return v.serve(ctx, opts.Grace, listener)
}

// service is a project being served.
type service struct {
	session   *Session
	log       *slog.Logger
	works     *Works
	runners   map[string]*runner // by source
	began     time.Time
	seats     chan struct{} // one for each source that may be read at a time
	replaying chan struct{} // filled while quarantined rows are replayed
	board     board

	// The three lives end in this order.
	soft context.Context // while anything new may begin
	read context.Context // while what is being read may be written
	hard context.Context // while anything may go on
}

// runner is one source's part of a service.
type runner struct {
	source *project.Source
	plan   schedule.Plan
	slot   chan struct{} // filled while a run of the source is under way: there is one at a time
	news   chan struct{} // has something when last was changed by somebody else than the schedule

	mu       sync.Mutex
	last     schedule.Last
	recorded time.Time     // when a run was last entered in the history
	waiting  int           // how many want a run of their own
	enough   chan struct{} // closed to end the following that is under way; nil when there is none
}

// followFor is how long a continuous source whose news can be waited for is followed in one run, if nobody wants another one: the
// history has what it brought at the run's end.
const followFor = 10 * time.Minute

// follow returns a channel that is closed when a following that begins now is to end. The caller calls done when it has.
func (r *runner) follow() (enough <-chan struct{}, done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	mine := make(chan struct{})
	r.enough = mine
	if r.waiting > 0 {
		r.release()
	}
	timer := time.AfterFunc(followFor, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.enough == mine {
			r.release()
		}
	})
	return mine, func() {
		timer.Stop()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.enough = nil
	}
}

// release ends the following that is under way. The caller holds the lock.
func (r *runner) release() {
	if r.enough != nil {
		close(r.enough)
		r.enough = nil
	}
}

// wait says that somebody wants a run of his own, until the returned function is called.
func (r *runner) wait() (over func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting++
	r.release()
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.waiting--
	}
}

func (s *Session) newService() (*service, error) {
	v := &service{session: s, log: s.opts.Logger, runners: map[string]*runner{}, replaying: make(chan struct{}, 1), seats: make(chan struct{}, max(1, s.project.Limits.Readers))}
	for _, source := range s.project.Sources() {
		plan, err := schedule.Compile(schedule.Spec(source.Schedule))
		if err != nil {
			return nil, fault.Usage(fmt.Errorf("source %s: %w", source.Name, err))
		}
		v.runners[source.Name] = &runner{source: source, plan: plan, slot: make(chan struct{}, 1), news: make(chan struct{}, 1)}
	}
	return v, nil
}

// historyDepth is how many of a source's runs are looked at: those that were cut short or failed by hand are passed over.
const historyDepth = 100

// recall learns from the run history when each source was last read. Runs that the history still shows as running are of
// processes that were killed, as we hold the lock: they are entered as stopped.
func (v *service) recall(ctx context.Context) error {
	for _, r := range v.runners {
		runs, err := awaitServer(ctx, v.log, "the warehouse", func() ([]warehouse.Run, error) {
			runs, err := v.session.warehouse.RunsOf(ctx, r.source.Name, historyDepth)
			if err != nil {
				return nil, err
			}
			for _, run := range runs {
				if run.Outcome != warehouse.RunRunning {
					continue
				}
				run.Outcome, run.FinishedAt, run.Error = warehouse.RunStopped, time.Now(), "its process ended without a word"
				v.log.Warn("a run was cut short", "source", run.Source, "run", run.Run, "instance", run.Instance)
				if err := v.session.warehouse.WriteRun(ctx, run); err != nil {
					return nil, err
				}
			}
			return runs, nil
		})
		if err != nil {
			return fmt.Errorf("read the run history of source %s: %w", r.source.Name, err)
		}
		r.last = lastOf(runs)
	}
	return nil
}

// lastOf finds what a schedule needs to know in a source's history, newest first. A run by hand that failed was its caller's
// to see to: it neither counts as a run nor is it tried again.
func lastOf(runs []warehouse.Run) schedule.Last {
	var last schedule.Last
	for _, run := range runs {
		switch run.Outcome {
		case warehouse.RunDone:
		case warehouse.RunFailed:
			if !scheduled(run.Trigger) {
				continue
			}
		default:
			last.Cut = last.Cut || scheduled(run.Trigger)
			continue
		}
		last.Started, last.Ended = run.StartedAt, run.FinishedAt
		last.Failed, last.Attempt = run.Outcome == warehouse.RunFailed, int(max(1, run.Attempt))
		return last
	}
	return last
}

func scheduled(trigger string) bool {
	switch schedule.Trigger(trigger) {
	case schedule.OnTime, schedule.CatchUp, schedule.Retry:
		return true
	}
	return false
}

// serve runs until ctx ends or the works fail, and brings what is under way to its end within the grace. It closes the
// listener.
func (v *service) serve(ctx context.Context, grace time.Duration, listener net.Listener) error {
	outside := context.WithoutCancel(ctx)
	soft, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	read, stopReading := context.WithCancel(outside)
	defer stopReading()
	hard, cut := context.WithCancelCause(outside)
	defer cut(nil)
	v.soft, v.read, v.hard = soft, read, hard

	v.began = time.Now()
	v.works = v.session.Start(hard, v.session.project.Limits.FlushWait, v.board.set)
	// A part that failed for good ends the service: whoever started it is told, and may start it again.
	defer context.AfterFunc(v.works.failed, func() {
		stop(errWorksFailed)
		stopReading()
		cut(errWorksFailed)
	})()

	var conversations, sources sync.WaitGroup
	conversations.Go(func() { v.control(listener) })
	for _, r := range v.runners {
		sources.Go(func() { v.look(r) })
	}
	v.log.Info("serving", "project", v.session.project.Name, "sources", len(v.runners), "scheduled", v.countScheduled(), "control", listener.Addr().String())

	<-soft.Done()
	v.log.Info("stopping", "grace", grace.String())
	if err := listener.Close(); err != nil {
		v.log.Warn("closing the control socket", "error", err)
	}
	// A run whose source or broker does not answer has half of the grace; the rest is for loading what was read.
	half := time.AfterFunc(grace/2, stopReading)
	defer half.Stop()
	whole := time.AfterFunc(grace, func() { cut(ErrCutShort) })
	defer whole.Stop()
	sources.Wait()
	conversations.Wait()

	failed := errors.Is(context.Cause(soft), errWorksFailed)
	err := v.works.Finish(hard)
	switch {
	case failed:
		v.log.Error("stopped, as a part of the service failed", "error", err)
		return err
	case errors.Is(context.Cause(hard), ErrCutShort):
		v.log.Warn("stopped before the work was done", "error", err)
		return ErrCutShort
	case err != nil:
		// Partitions that had stopped loading before; it was said when they did, and each run of their sources failed.
		v.log.Warn("stopped with partitions that do not load", "error", err)
		return nil
	}
	v.log.Info("stopped", "served", time.Since(v.began).Round(time.Second).String())
	return nil
}

var errWorksFailed = errors.New("a part of the service failed")

func (v *service) countScheduled() int {
	n := 0
	for _, r := range v.runners {
		if !r.source.Schedule.IsZero() {
			n++
		}
	}
	return n
}

// longestWait bounds how long a runner sleeps without looking at the clock: clocks are set and machines sleep.
const longestWait = time.Minute

// look reads one source by its schedule for as long as anything may begin.
func (v *service) look(r *runner) {
	announced := time.Time{}
	for {
		now := time.Now()
		o, ok := r.plan.Next(r.known(), v.began, now)
		wait := longestWait
		if ok {
			wait = min(wait, max(0, o.At.Sub(now)))
			if o.At.After(now.Add(longestWait)) && !o.At.Equal(announced) {
				v.log.Info("next run", "source", r.source.Name, "at", o.At.In(v.session.project.Zone).Format(time.RFC3339), "trigger", string(o.Trigger))
				announced = o.At
			}
		}
		if !ok || wait > 0 {
			select {
			case <-v.soft.Done():
				return
			case <-r.news:
			case <-time.After(wait):
			}
			continue
		}
		select {
		case r.slot <- struct{}{}:
		case <-v.soft.Done():
			return
		}
		// Somebody may have had it read while we waited for our turn.
		if again, ok := r.plan.Next(r.known(), v.began, time.Now()); ok && !again.At.After(time.Now()) && v.soft.Err() == nil {
			v.pass(v.soft, r, NewRunID(), string(again.Trigger), again.Attempt)
		}
		<-r.slot
		if v.soft.Err() != nil {
			return
		}
	}
}

func (r *runner) known() schedule.Last {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// command does a run that was asked for, and tells news of it. When asked ends, it is stopped at its next batch.
func (v *service) command(asked context.Context, sources []*project.Source, trigger string, news *news) *Report {
	if trigger == "" || scheduled(trigger) {
		trigger = "command"
	}
	report := &Report{Run: NewRunID(), Began: time.Now(), Sources: make([]SourceReport, len(sources))}
	v.log.Info("a run was asked for", "run", report.Run, "sources", len(sources))
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, source := range sources {
		wg.Go(func() {
			r := v.runners[source.Name]
			select {
			case r.slot <- struct{}{}:
			default:
				news.note(fmt.Sprintf("a run of %s is under way; this one follows it", source.Name))
				over := r.wait()
				defer over()
				select {
				case r.slot <- struct{}{}:
				case <-asked.Done():
					report.Sources[i] = SourceReport{Source: source.Name, Title: source.Title, Err: fmt.Errorf("source %s: %w", source.Name, errStopped)}
					return
				}
			}
			defer func() { <-r.slot }()
			ended := v.board.follow(source.Name, news.progress)
			defer ended()
			one := v.pass(asked, r, report.Run, trigger, 1)
			report.Sources[i] = one.Sources[0]
			mu.Lock()
			for _, err := range one.LoadErrs {
				if !slices.ContainsFunc(report.LoadErrs, func(e error) bool { return e.Error() == err.Error() }) { // of a topic that sources share
					report.LoadErrs = append(report.LoadErrs, err)
				}
			}
			mu.Unlock()
			select {
			case r.news <- struct{}{}:
			default:
			}
		})
	}
	wg.Wait()
	report.Took = time.Since(report.Began)
	return report
}

// pass does one run of one source: it reads until reading ends, waits until everything is loaded, and writes the history. The
// caller holds the source's slot.
func (v *service) pass(reading context.Context, r *runner, run, trigger string, attempt int) *Report {
	source := r.source
	report := &Report{Run: run, Began: time.Now(), Sources: []SourceReport{{Source: source.Name, Title: source.Title}}}
	select {
	case v.seats <- struct{}{}:
	case <-reading.Done():
		report.Sources[0].Err = fmt.Errorf("source %s: %w", source.Name, errStopped)
		return report
	}
	seated := true
	report.Began = time.Now()
	log := v.log.With("source", source.Name, "run", run)
	log.Debug("run begins", "trigger", trigger, "attempt", attempt)
	if !source.Schedule.Continuous {
		v.enter(log, report, trigger, attempt)
	}
	// Waiting for a broker that is away is no try of the source.
	if _, err := awaitServer(reading, log, "the broker", func() (int, error) { return v.session.client.Partitions(reading, source.Topic) }); err != nil && reading.Err() == nil {
		report.Sources[0].Err = err
	} else {
		report.Sources[0] = v.ingest(reading, r, run, trigger, func() {
			if seated {
				seated = false
				<-v.seats // who waits for news must not keep others from reading
			}
		})
	}
	if seated {
		<-v.seats
	}
	// Also when everything has ended meanwhile: then it says so, and the run is not entered as done.
	report.LoadErrs = v.works.drain(v.hard, []*project.Source{source})
	report.Took = time.Since(report.Began)
	v.conclude(log, r, report, trigger, attempt)
	return report
}

// ingest reads a source for a run. One that is read continuously is followed, where it can be; follows is told when it is.
func (v *service) ingest(reading context.Context, r *runner, run, trigger string, follows func()) SourceReport {
	if !r.source.Schedule.Continuous || !scheduled(trigger) {
		return v.works.ingest(v.read, reading, r.source, run)
	}
	enough, done := r.follow()
	defer done()
	return v.works.follow(v.read, reading, r.source, run, enough, follows)
}

// enter writes that a run has begun, so that a killed process leaves a trace of it. It is not waited for: reading can go on
// while the warehouse is away.
func (v *service) enter(log *slog.Logger, report *Report, trigger string, attempt int) {
	ctx, stop := context.WithTimeout(v.hard, 5*time.Second)
	defer stop()
	err := v.session.warehouse.WriteRun(ctx, warehouse.Run{
		Run: report.Run, Source: report.Sources[0].Source, Trigger: trigger, Instance: writerName(), StartedAt: report.Began, Outcome: warehouse.RunRunning, Attempt: int64(attempt),
	})
	if err != nil {
		log.Warn("the beginning of the run is not in the history", "error", err)
	}
}

// idleRecord is how often a continuous source with nothing new is entered in the history.
const idleRecord = time.Minute

// lastWords is how long the history may take after everything else was cut short.
const lastWords = 5 * time.Second

// conclude writes how the run ended: into the history, the log, and what the schedule knows.
func (v *service) conclude(log *slog.Logger, r *runner, report *Report, trigger string, attempt int) {
	one := &report.Sources[0]
	// A source whose rows are in Kafka but cannot be loaded now because everything ends was stopped, not wrong.
	if v.hard.Err() != nil && one.Err == nil && len(report.LoadErrs) > 0 {
		one.Err, report.LoadErrs = fmt.Errorf("source %s: %w", r.source.Name, errStopped), nil
	}
	err := report.Err()
	stopped := errors.Is(one.Err, context.Canceled)
	idle := err == nil && one.Messages == 0

	r.mu.Lock()
	switch {
	case stopped:
		r.last.Cut = r.last.Cut || scheduled(trigger)
	case err != nil && !scheduled(trigger): // see lastOf
	default:
		r.last = schedule.Last{Started: report.Began, Ended: time.Now(), Failed: err != nil, Attempt: attempt, Idle: idle}
	}
	last := r.last
	silent := r.source.Schedule.Continuous && scheduled(trigger) && one.Messages == 0 && (stopped || idle && time.Since(r.recorded) < idleRecord)
	if !silent {
		r.recorded = time.Now()
	}
	r.mu.Unlock()
	if silent {
		return
	}

	ctx, stop := context.WithCancel(context.WithoutCancel(v.hard))
	defer stop()
	defer context.AfterFunc(v.hard, func() {
		words, done := context.WithTimeout(ctx, lastWords)
		defer done()
		<-words.Done()
		stop()
	})()
	if _, err := awaitServer(ctx, log, "the warehouse", func() (struct{}, error) {
		return struct{}{}, v.works.record(ctx, report, trigger, int64(attempt))
	}); err != nil {
		log.Error("the run is not in the history", "error", err)
	}

	attrs := []any{"trigger", trigger, "attempt", attempt, "read", one.Read, "in_kafka", one.Written, "loaded", one.Account.Loaded, "duplicate", one.Account.Duplicate,
		"quarantined", one.Account.Quarantined, "filtered", one.Account.Filtered, "held", one.Account.Held, "took", report.Took.Round(time.Millisecond).String()}
	switch {
	case stopped:
		log.Info("run stopped; the next one goes on from there", attrs...)
	case err != nil:
		if o, ok := r.plan.Next(last, v.began, time.Now()); ok {
			attrs = append(attrs, "next", o.At.In(v.session.project.Zone).Format(time.RFC3339), "next_trigger", string(o.Trigger))
		}
		log.Error("run failed", append(attrs, "error", oneLine(err))...)
	default:
		log.Info("run done", attrs...)
	}
}

// oneLine is an error's text for a log line.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// board holds each source's newest counts since the service began, and tells those who follow a source how far it has come
// since they do.
type board struct {
	mu        sync.Mutex
	counts    map[string]Counts
	followers map[string]func(Counts) // by source: there is one run of a source at a time
}

func (b *board) set(source string, c Counts) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.counts == nil {
		b.counts = map[string]Counts{}
	}
	b.counts[source] = c
	if tell := b.followers[source]; tell != nil {
		tell(c)
	}
}

// follow tells a source's counts from now on until ended is called. Tell must not block.
func (b *board) follow(source string, tell Progress) (ended func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.counts[source]
	if b.followers == nil {
		b.followers = map[string]func(Counts){}
	}
	b.followers[source] = func(c Counts) { tell(source, c.less(before)) }
	tell(source, Counts{})
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.followers, source)
	}
}

func (c Counts) less(before Counts) Counts {
	return Counts{
		Read: c.Read - before.Read, InKafka: c.InKafka - before.InKafka, Loaded: c.Loaded - before.Loaded, Duplicate: c.Duplicate - before.Duplicate,
		Quarantined: c.Quarantined - before.Quarantined, Filtered: c.Filtered - before.Filtered, Held: c.Held - before.Held,
	}
}
