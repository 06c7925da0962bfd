package pipeline

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"go.uber.org/goleak"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/internal/embedded"
	"github.com/headwater-data/headwater/internal/embedded/embeddedtest"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/pipeline/schedule"
	"github.com/headwater-data/headwater/warehouse"
)

func TestMain(m *testing.M) {
	embedded.MaybeServe()
	goleak.VerifyTestMain(m)
}

// tap is a source that a test turns on and off. Its cursor is how many of its batches were read; a batch is one row.
type tap struct {
	mu      sync.Mutex
	batches int           // that there are
	hold    chan struct{} // unless nil, Read waits before its last batch until it is closed or the context ends
	fail    error         // what Read ends with
	reading int           // Reads under way
	most    int           // Reads that were under way at a time
	entered chan struct{} // told, if there is room, when Read waits
	follows bool          // its news can be waited for
	more    chan struct{} // told when batches has grown while somebody waits
}

func (t *tap) set(change func(t *tap)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(t)
}

func (t *tap) Streams(context.Context) ([]connectors.Stream, error) {
	return []connectors.Stream{{Name: "rows"}}, nil
}

func (t *tap) Close() error { return nil }

type opened struct {
	*tap
	name string
	mem  memory.Allocator
}

func (o *opened) Read(ctx context.Context, _ connectors.Stream, after connectors.Cursor) iter.Seq2[connectors.Batch, error] {
	return func(yield func(connectors.Batch, error) bool) {
		o.mu.Lock()
		o.reading++
		o.most = max(o.most, o.reading)
		total, hold, fail := o.batches, o.hold, o.fail
		o.mu.Unlock()
		defer o.set(func(t *tap) { t.reading-- })
		from := 0
		if len(after) > 0 {
			if _, err := fmt.Sscan(string(after), &from); err != nil {
				yield(connectors.Batch{}, err)
				return
			}
		}
		for i := from; i < total; i++ {
			if hold != nil && i == total-1 {
				select {
				case o.entered <- struct{}{}:
				default:
				}
				select {
				case <-hold:
				case <-ctx.Done():
					yield(connectors.Batch{}, ctx.Err())
					return
				}
			}
			rec := o.row(i)
			more := yield(connectors.Batch{Record: rec, Place: "tap", Cursor: connectors.Cursor(fmt.Sprint(i + 1)), ExtractedAt: time.UnixMicro(int64(1_790_000_000_000_000 + i))}, nil)
			rec.Release()
			if !more {
				return
			}
		}
		if fail != nil {
			yield(connectors.Batch{}, fail)
		}
	}
}

func (o *opened) Follows(string) bool { return o.follows }

func (o *opened) Follow(ctx context.Context, stream connectors.Stream, after connectors.Cursor, f connectors.Following) iter.Seq2[connectors.Batch, error] {
	return func(yield func(connectors.Batch, error) bool) {
		for {
			for b, err := range o.Read(ctx, stream, after) {
				after = b.Cursor
				if !yield(b, err) || err != nil {
					return
				}
			}
			select {
			case o.entered <- struct{}{}:
			default:
			}
			select {
			case <-o.more:
			case <-f.Enough:
				return
			case <-ctx.Done():
				yield(connectors.Batch{}, ctx.Err())
				return
			}
		}
	}
}

func (o *opened) row(i int) arrow.Record {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "region", Type: arrow.BinaryTypes.String}, {Name: "subject", Type: arrow.BinaryTypes.String},
		{Name: "day", Type: arrow.BinaryTypes.String}, {Name: "value", Type: arrow.BinaryTypes.String},
	}, nil)
	b := array.NewRecordBuilder(o.mem, schema)
	defer b.Release()
	for c, text := range []string{"上城区", fmt.Sprintf("%s-%d", o.name, i), "2024-03-01", fmt.Sprint(i)} {
		b.Field(c).(*array.StringBuilder).Append(text)
	}
	return b.NewRecord()
}

// bench is a project of taps.
type bench struct {
	dir  string
	taps map[string]*tap
	log  *watch
}

// newBench makes a project with a source for each name, read by its schedule (YAML).
func newBench(t *testing.T, limits string, sources map[string]string) *bench {
	t.Helper()
	b := &bench{dir: t.TempDir(), taps: map[string]*tap{}, log: &watch{t: t, changed: make(chan struct{})}}
	embeddedtest.Ended(t, filepath.Join(b.dir, ".headwater"))
	b.write(t, "headwater.yaml", "project: served\nbroker: {partitions: 1, session: 1s}\nlimits: {"+limits+"}\n")
	b.write(t, "indicators/t.yaml", `indicator: T
title: {zh: 试验, en: Test}
unit: 个
direction: up
aggregation: sum
time_aggregation: sum
grain: day
levels: [county]
description: For tests.
`)
	for name, when := range sources {
		b.taps[name] = &tap{entered: make(chan struct{}, 1)}
		b.write(t, "sources/"+name+".yaml", "source: "+name+`
owner: test
connector: tap
config: {tap: `+name+`}
`+when+`
streams:
  - name: rows
    map:
      schema: observation
      fields:
        indicator: {value: T}
        region: {from: region, region: {within: "330000"}}
        subject: subject
        grain: {value: day}
        feed: {value: source}
        period: {from: day, parse: date}
        value: {from: value, parse: number}
`)
	}
	return b
}

func (b *bench) write(t *testing.T, name, text string) {
	t.Helper()
	file := filepath.Join(b.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// tapConfig names the tap of a source.
type tapConfig struct {
	Tap string `yaml:"tap" required:"true"`
}

func (b *bench) load(t *testing.T) *project.Project {
	t.Helper()
	r := &connectors.Registry{}
	r.Register(connectors.Definition{
		Name: "tap", Title: "A source of the tests",
		Config: func() any { return &tapConfig{} },
		Stream: func() any { return &struct{}{} },
		Open: func(env connectors.Environment, config any, _ map[string]any) (connectors.Source, error) {
			name := config.(*tapConfig).Tap
			return &opened{tap: b.taps[name], name: name, mem: env.Allocator}, nil
		},
	})
	p, problems := project.Load(b.dir, r)
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	return p
}

// open opens a session that the test closes.
func (b *bench) open(t *testing.T) *Session {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	s, err := Open(t.Context(), b.load(t), Options{Allocator: mem, Logger: slog.New(b.log)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		mem.AssertSize(t, 0)
	})
	return s
}

// serving is a service under test.
type serving struct {
	session *Session
	stop    context.CancelFunc
	ended   chan error
}

// serve starts a service and waits until it serves.
func (b *bench) serve(t *testing.T, grace time.Duration) *serving {
	t.Helper()
	s := &serving{session: b.open(t), ended: make(chan error, 1)}
	b.start(t, s, grace)
	b.log.await("serving")
	return s
}

func (b *bench) start(t *testing.T, s *serving, grace time.Duration) {
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	s.stop = stop
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.ended <- s.session.Serve(ctx, ServeOptions{Grace: grace})
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
}

// end stops the service and returns what it ended with.
func (s *serving) end() error {
	s.stop()
	return <-s.ended
}

// watch is the log as events to wait for.
type watch struct {
	t       *testing.T
	mu      sync.Mutex
	lines   []string
	seen    int // lines before this one were waited for
	changed chan struct{}
}

func (w *watch) Enabled(context.Context, slog.Level) bool { return true }

func (w *watch) Handle(_ context.Context, r slog.Record) error {
	var line strings.Builder
	line.WriteString(r.Message)
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&line, " %s=%v", a.Key, a.Value)
		return true
	})
	w.add(line.String())
	return nil
}

func (w *watch) add(line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, line)
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *watch) WithAttrs(attrs []slog.Attr) slog.Handler {
	var text strings.Builder
	for _, a := range attrs {
		fmt.Fprintf(&text, "%s=%v ", a.Key, a.Value)
	}
	return &derived{watch: w, attrs: text.String()}
}

func (w *watch) WithGroup(string) slog.Handler { return w }

type derived struct {
	*watch
	attrs string
}

func (d *derived) Handle(_ context.Context, r slog.Record) error {
	line := r.Message + " " + d.attrs
	r.Attrs(func(a slog.Attr) bool {
		line += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		return true
	})
	d.add(line)
	return nil
}

func (d *derived) WithAttrs(attrs []slog.Attr) slog.Handler {
	inner := d.watch.WithAttrs(attrs).(*derived)
	inner.attrs = d.attrs + inner.attrs
	return inner
}

// has reports whether there is a line that has all the parts.
func (w *watch) has(parts ...string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.lines, func(line string) bool {
		return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) })
	})
}

// await waits for a line that has all the parts, among those that came after the line that was waited for last.
func (w *watch) await(parts ...string) string {
	w.t.Helper()
	deadline := time.After(time.Minute)
	for {
		w.mu.Lock()
		for i := w.seen; i < len(w.lines); i++ {
			if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(w.lines[i], part) }) {
				w.seen = i + 1
				defer w.mu.Unlock()
				return w.lines[i]
			}
		}
		changed := w.changed
		w.mu.Unlock()
		select {
		case <-changed:
		case <-deadline:
			w.mu.Lock()
			defer w.mu.Unlock()
			w.t.Fatalf("no line with %q in the log:\n%s", parts, strings.Join(w.lines, "\n"))
		}
	}
}

// again makes await look at all lines again.
func (w *watch) again() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = 0
}

// history is how a source's runs ended, oldest first: "schedule done", …
func history(t *testing.T, s *Session, source string) []string {
	t.Helper()
	runs, err := s.warehouse.RunsOf(t.Context(), source, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range slices.Backward(runs) {
		out = append(out, r.Trigger+" "+r.Outcome)
	}
	return out
}

func wantHistory(t *testing.T, s *Session, source string, want ...string) {
	t.Helper()
	if got := history(t, s, source); !slices.Equal(got, want) {
		t.Errorf("runs of %s: %q, want %q", source, got, want)
	}
}

// wantRows checks that the warehouse has exactly the first n rows of a source, each once, and that the ledger balances.
func wantRows(t *testing.T, s *Session, source string, n int) {
	t.Helper()
	sql := fmt.Sprintf("SELECT concat(toString(count()), ' ', toString(uniqExact(subject)), ' ', toString(toInt64(sum(value)))) FROM observation WHERE _source = '%s'", source)
	rows, err := s.warehouse.Query(t.Context(), sql, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for row, err := range rows.All() {
		if err != nil {
			t.Fatal(err)
		}
		if got, want := row[0].Text(), fmt.Sprint(n, n, n*(n-1)/2); got != want {
			t.Errorf("rows, subjects, sum of %s: %s, want %s", source, got, want)
		}
	}
	lines, err := s.warehouse.Balance(t.Context(), warehouse.BalanceFilter{Scope: "source", Source: source})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		if l.Difference != 0 {
			t.Errorf("the ledger of %s does not balance: %+v", source, l)
		}
	}
}

const (
	hourly     = "schedule: {every: 1h}"
	continuous = "schedule: {continuous: true}"
	byHand     = ""
	quick      = "flush_wait: 50ms"
)

func TestSourcesAreReadByTheirSchedulesAndAFailingOneStopsNoOther(t *testing.T) {
	t.Parallel()
	b := newBench(t, quick, map[string]string{"always": continuous, "hourly": hourly, "broken": "schedule: {every: 1h, retries: 2}", "manual": byHand})
	b.taps["always"].batches, b.taps["hourly"].batches, b.taps["manual"].batches = 1, 2, 3
	b.taps["broken"].fail = errors.New("the office is closed")
	s := b.serve(t, time.Minute)
	for _, name := range []string{"always", "hourly"} {
		b.log.again()
		b.log.await("run done", "source="+name, "trigger=schedule")
	}
	b.log.again()
	b.log.await("run failed", "source=broken", "next_trigger=retry", "the office is closed")
	b.taps["always"].set(func(t *tap) { t.batches = 5 })
	b.log.await("run done", "source=always", "read=4", "loaded=4")
	if err := s.end(); err != nil {
		t.Error("a service that was stopped in order:", err)
	}
	wantRows(t, s.session, "always", 5)
	wantRows(t, s.session, "hourly", 2)
	wantHistory(t, s.session, "always", "schedule done", "schedule done")
	wantHistory(t, s.session, "hourly", "schedule done")
	wantHistory(t, s.session, "broken", "schedule failed")
	wantHistory(t, s.session, "manual")
}

// A source whose news can be waited for is read in one run until somebody asks for another one, and takes no reader's place.
func TestASourceIsFollowedUntilSomebodyAsksForARun(t *testing.T) {
	t.Parallel()
	b := newBench(t, quick+", readers: 1", map[string]string{"followed": continuous, "hourly": hourly})
	followed := b.taps["followed"]
	followed.follows, followed.more, followed.batches = true, make(chan struct{}), 1
	b.taps["hourly"].batches = 2
	s := b.serve(t, time.Minute)
	b.log.await("run done", "source=hourly", "read=2")
	<-followed.entered // what was there has been read
	for n := 2; n <= 4; n++ {
		followed.set(func(t *tap) { t.batches = n })
		followed.more <- struct{}{}
		<-followed.entered // it has been read without another run
	}
	if b.log.has("run done", "source=followed") {
		t.Error("a run ended although nobody asked for another one")
	}
	report, err := Ask(t.Context(), b.load(t), RunOptions{Sources: []string{"followed"}})
	if err != nil || report.Err() != nil {
		t.Fatal(err, report)
	}
	b.log.again()
	b.log.await("run done", "source=followed", "trigger=schedule", "read=4", "loaded=4")
	b.log.await("run done", "source=followed", "trigger=command", "read=0")
	<-followed.entered // it is followed again
	followed.set(func(t *tap) { t.batches = 6 })
	followed.more <- struct{}{}
	<-followed.entered
	if err := s.end(); err != nil {
		t.Error("a service that was stopped in order:", err)
	}
	wantRows(t, s.session, "followed", 6)
	wantRows(t, s.session, "hourly", 2)
}

func TestWhatADowntimeMissedIsDoneOnce(t *testing.T) {
	t.Parallel()
	now := time.Now()
	daily := fmt.Sprintf(`schedule: {cron: "%d %d * * *", zone: UTC}`, now.Add(-time.Hour).UTC().Minute(), now.Add(-time.Hour).UTC().Hour())
	b := newBench(t, quick, map[string]string{"missed": daily, "punctual": daily, "cut": daily, "killed": daily, "failed": daily, "fresh": daily})
	for _, tap := range b.taps {
		tap.batches = 1
	}
	s := &serving{session: b.open(t), ended: make(chan error, 1)}
	for _, r := range []warehouse.Run{
		{Source: "missed", Trigger: "schedule", Outcome: warehouse.RunDone, StartedAt: now.Add(-75 * time.Hour)},
		{Source: "punctual", Trigger: "command", Outcome: warehouse.RunDone, StartedAt: now.Add(-30 * time.Minute)},
		{Source: "cut", Trigger: "schedule", Outcome: warehouse.RunStopped, StartedAt: now.Add(-30 * time.Minute)},
		{Source: "killed", Trigger: "schedule", Outcome: warehouse.RunRunning, StartedAt: now.Add(-30 * time.Minute)},
		{Source: "failed", Trigger: "retry", Outcome: warehouse.RunFailed, StartedAt: now.Add(-30 * time.Minute), Attempt: 2},
	} {
		r.Run = NewRunID()
		if r.Outcome != warehouse.RunRunning {
			r.FinishedAt = r.StartedAt.Add(time.Minute)
		}
		if err := s.session.warehouse.WriteRun(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	b.start(t, s, time.Minute)
	for name, trigger := range map[string]string{"missed": "catch-up", "cut": "catch-up", "killed": "catch-up", "failed": "retry"} {
		b.log.again()
		b.log.await("run done", "source="+name, "trigger="+trigger)
	}
	if err := s.end(); err != nil {
		t.Fatal(err)
	}
	wantHistory(t, s.session, "missed", "schedule done", "catch-up done")
	wantHistory(t, s.session, "punctual", "command done")
	wantHistory(t, s.session, "cut", "schedule stopped", "catch-up done")
	wantHistory(t, s.session, "killed", "schedule stopped", "catch-up done")
	wantHistory(t, s.session, "failed", "retry failed", "retry done")
	wantHistory(t, s.session, "fresh")
}

func TestARunThatIsAskedForFollowsTheOneUnderWay(t *testing.T) {
	t.Parallel()
	b := newBench(t, quick, map[string]string{"slow": hourly, "other": byHand})
	slow := b.taps["slow"]
	slow.batches, slow.hold, b.taps["other"].batches = 3, make(chan struct{}), 4
	s := b.serve(t, time.Minute)
	<-slow.entered
	var mu sync.Mutex
	newest := map[string]Counts{}
	notes := make(chan string, 10)
	type answer struct {
		report *Report
		err    error
	}
	answered := make(chan answer, 1)
	go func() {
		report, err := Ask(context.WithoutCancel(t.Context()), b.load(t), RunOptions{
			Note: func(text string) { notes <- text },
			Progress: func(source string, c Counts) {
				mu.Lock()
				defer mu.Unlock()
				newest[source] = c
			},
		})
		answered <- answer{report, err}
	}()
	if note := <-notes; !strings.Contains(note, "slow is under way") {
		t.Errorf("note %q", note)
	}
	b.log.await("run done", "source=other", "trigger=command")
	slow.set(func(t *tap) { t.batches = 4 }) // comes in while it is being read
	close(slow.hold)
	a := <-answered
	if a.err != nil {
		t.Fatal(a.err)
	}
	if len(a.report.Sources) != 2 || a.report.Run == "" {
		t.Fatalf("report %+v", a.report)
	}
	for _, r := range a.report.Sources {
		want := map[string]int64{"slow": 1, "other": 4}[r.Source]
		if r.Read != want || r.Account.Loaded != want || r.Account.Run != a.report.Run || r.Err != nil {
			t.Errorf("%s: %+v, want %d rows", r.Source, r, want)
		}
	}
	mu.Lock()
	if got, want := newest["other"], (Counts{Read: 4, InKafka: 4, Loaded: 4}); got != want {
		t.Errorf("counts of other: %+v, want %+v", got, want)
	}
	mu.Unlock()
	if err := s.end(); err != nil {
		t.Fatal(err)
	}
	slow.set(func(tap *tap) {
		if tap.most != 1 {
			t.Errorf("%d runs of one source at a time", tap.most)
		}
	})
	wantHistory(t, s.session, "slow", "schedule done", "command done")
	wantRows(t, s.session, "slow", 4)
	wantRows(t, s.session, "other", 4)
}

func TestAStoppedServiceLoadsWhatWasReadAndTheNextOneGoesOn(t *testing.T) {
	t.Parallel()
	b := newBench(t, quick, map[string]string{"slow": hourly})
	slow := b.taps["slow"]
	slow.batches, slow.hold = 5, make(chan struct{})
	s := b.serve(t, time.Minute)
	<-slow.entered
	if err := s.end(); err != nil {
		t.Fatal(err)
	}
	wantHistory(t, s.session, "slow", "schedule stopped")
	wantRows(t, s.session, "slow", 4)
	close(slow.hold)
	b.log.again()
	next := b.serve(t, time.Minute)
	b.log.again()
	b.log.await("run done", "source=slow", "trigger=catch-up", "read=1")
	if err := next.end(); err != nil {
		t.Fatal(err)
	}
	wantHistory(t, next.session, "slow", "schedule stopped", "catch-up done")
	wantRows(t, next.session, "slow", 5)
}

func TestAServiceWhoseGraceIsOverSaysSoAndNothingIsLost(t *testing.T) {
	t.Parallel()
	// Rows wait for others to be flushed with them, and the source for its fourth batch, until the grace is over.
	b := newBench(t, "flush_wait: 1h", map[string]string{"slow": hourly})
	slow := b.taps["slow"]
	slow.batches, slow.hold = 4, make(chan struct{})
	s := b.serve(t, time.Nanosecond)
	<-slow.entered
	for next := int64(0); next < 4; { // a claim and three batches
		var err error
		if _, next, err = s.session.client.Bounds(t.Context(), "headwater.raw.test", 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.end(); !errors.Is(err, ErrCutShort) {
		t.Fatalf("ended with %v, want %v", err, ErrCutShort)
	}
	wantHistory(t, s.session, "slow", "schedule stopped")
	close(slow.hold)
	if _, err := s.session.Run(t.Context(), RunOptions{}); err != nil {
		t.Fatal(err)
	}
	wantRows(t, s.session, "slow", 4)
}

func TestOneServiceHasAProjectAndRunsGoToIt(t *testing.T) {
	t.Parallel()
	b := newBench(t, quick, map[string]string{"manual": byHand})
	b.taps["manual"].batches = 2
	if _, err := Ask(t.Context(), b.load(t), RunOptions{}); !errors.Is(err, ErrNotServed) {
		t.Errorf("without a service: %v, want %v", err, ErrNotServed)
	}
	s := b.serve(t, time.Minute)
	if !Served(b.load(t)) {
		t.Error("nobody is said to serve")
	}
	second := b.open(t)
	if err := second.Serve(t.Context(), ServeOptions{}); !errors.Is(err, ErrServed) {
		t.Errorf("a second service: %v, want %v", err, ErrServed)
	}
	report, err := second.Run(t.Context(), RunOptions{Trigger: "schedule"})
	if err != nil || report.Sources[0].Account.Loaded != 2 {
		t.Fatalf("%+v %v", report, err)
	}
	if _, err := Ask(t.Context(), b.load(t), RunOptions{Sources: []string{"manul"}}); fault.KindOf(err) != fault.KindUsage || !strings.Contains(err.Error(), `did you mean "manual"`) {
		t.Errorf("a source that is not there: %v", err)
	}
	b.taps["manual"].set(func(t *tap) { t.fail = fault.Environment(errors.New("no right to read")) })
	report, err = Ask(t.Context(), b.load(t), RunOptions{})
	if err == nil || fault.KindOf(err) != fault.KindEnvironment || !strings.Contains(err.Error(), "no right to read") || report == nil {
		t.Errorf("a run that fails: %v %+v", err, report)
	}
	if err := s.end(); err != nil {
		t.Fatal(err)
	}
	if Served(b.load(t)) {
		t.Error("somebody is said to serve")
	}
	// What is asked for by name of a schedule is a command all the same.
	wantHistory(t, s.session, "manual", "command done", "command failed")
}

func TestARunIsStoppedWhenTheOneWhoAskedLeaves(t *testing.T) {
	t.Parallel()
	b := newBench(t, quick, map[string]string{"slow": byHand})
	slow := b.taps["slow"]
	slow.batches, slow.hold = 2, make(chan struct{})
	s := b.serve(t, time.Minute)
	ctx, leave := context.WithCancel(t.Context())
	answered := make(chan error, 1)
	go func() {
		_, err := Ask(ctx, b.load(t), RunOptions{})
		answered <- err
	}()
	<-slow.entered
	leave()
	if err := <-answered; !errors.Is(err, context.Canceled) {
		t.Errorf("the one who left got %v", err)
	}
	b.log.await("run stopped", "source=slow")
	if err := s.end(); err != nil {
		t.Fatal(err)
	}
	wantHistory(t, s.session, "slow", "command stopped")
	wantRows(t, s.session, "slow", 1)
}

func TestLastOf(t *testing.T) {
	t.Parallel()
	at := func(hour int) time.Time { return time.Date(2024, 3, 1, hour, 0, 0, 0, time.UTC) }
	run := func(hour int, trigger, outcome string, attempt int64) warehouse.Run {
		return warehouse.Run{StartedAt: at(hour), FinishedAt: at(hour + 1), Trigger: trigger, Outcome: outcome, Attempt: attempt}
	}
	for _, c := range []struct {
		name string
		runs []warehouse.Run // newest first
		want schedule.Last
	}{
		{"no history", nil, schedule.Last{}},
		{"a run", []warehouse.Run{run(8, "schedule", "done", 1)}, schedule.Last{Started: at(8), Ended: at(9), Attempt: 1}},
		{"a run by hand counts", []warehouse.Run{run(8, "command", "done", 1), run(6, "schedule", "failed", 2)}, schedule.Last{Started: at(8), Ended: at(9), Attempt: 1}},
		{"a retry that failed", []warehouse.Run{run(8, "retry", "failed", 2), run(6, "schedule", "failed", 1)}, schedule.Last{Started: at(8), Ended: at(9), Failed: true, Attempt: 2}},
		{"a run by hand that failed does not count", []warehouse.Run{run(8, "command", "failed", 1), run(6, "schedule", "done", 1)}, schedule.Last{Started: at(6), Ended: at(7), Attempt: 1}},
		{"a run that was cut short after one that was not", []warehouse.Run{run(8, "schedule", "stopped", 1), run(6, "schedule", "done", 1)}, schedule.Last{Started: at(6), Ended: at(7), Attempt: 1, Cut: true}},
		{"a run by hand that was cut short is its caller's", []warehouse.Run{run(8, "command", "stopped", 1), run(6, "schedule", "done", 1)}, schedule.Last{Started: at(6), Ended: at(7), Attempt: 1}},
		{"what was cut short before a run is made up for by it", []warehouse.Run{run(8, "command", "done", 1), run(6, "schedule", "stopped", 1)}, schedule.Last{Started: at(8), Ended: at(9), Attempt: 1}},
		{"a first run that was killed", []warehouse.Run{run(8, "catch-up", "running", 1)}, schedule.Last{Cut: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := lastOf(c.runs); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}
