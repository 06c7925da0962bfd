package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/segmentio/kafka-go"
	"go.uber.org/goleak"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/internal/embedded/broker/brokertest"
	"github.com/headwater-data/headwater/internal/testkafka"
	"github.com/headwater-data/headwater/pipeline/message"
	"github.com/headwater-data/headwater/pipeline/topic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testkafka.EndShared(m)) }

type noLedger struct{}

func (noLedger) Known(context.Context, string, int) (*Known, error) { return nil, nil }

// testLog is one project's broker side.
type testLog struct {
	client  *topic.Client
	mem     *memory.CheckedAllocator
	topic   string
	group   string
	restart func(t *testing.T) // kills the broker, or ends it, and starts it again
}

// onBoth runs a test on the embedded broker and on Apache Kafka.
func onBoth(t *testing.T, test func(t *testing.T, l *testLog)) {
	t.Run("embedded", func(t *testing.T) {
		b := brokertest.Start(t)
		cfg := topic.Config{Addresses: []string{b.Addr}, User: b.User, Password: b.Password, Mechanism: b.Mechanism.Name()}
		test(t, openLog(t, cfg, func(*testing.T) { b.Restart() }))
	})
	t.Run("Apache Kafka", func(t *testing.T) {
		c := testkafka.Shared(t)
		test(t, openLog(t, topic.Config{Addresses: c.Addresses()}, func(t *testing.T) {
			c.Brokers[0].Kill()
			if err := c.Brokers[0].Start(t.Context()); err != nil {
				t.Error(err)
			}
		}))
	})
}

func openLog(t *testing.T, cfg topic.Config, restart func(*testing.T)) *testLog {
	cfg.SessionTimeout, cfg.Partitions = 6*time.Second, 2
	client, err := topic.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	t.Cleanup(func() { mem.AssertSize(t, 0) })
	name := strings.ToLower(strings.NewReplacer("/", ".", "#", ".").Replace(t.Name())) // the tests share Apache Kafka
	l := &testLog{client: client, mem: mem, topic: "raw." + name, group: "ingest." + name, restart: restart}
	if err := client.Ensure(t.Context(), topic.Spec{Name: l.topic}, l.index().Spec()); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *testLog) index() *Index { return OpenIndex(l.client, "cursors."+l.topic) }

func (l *testLog) ingester(t *testing.T) *Ingester { return l.with(t, noLedger{}) }

func (l *testLog) with(t *testing.T, checkpoints Checkpoints) *Ingester {
	i := New(Config{
		Client: l.client, Index: l.index(), Group: l.group, Topics: []string{l.topic}, Checkpoints: checkpoints,
		Allocator: l.mem, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Writer: t.Name(),
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- i.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return i
}

// numbers is a source of shards that count upwards; its cursor is the last number.
type numbers struct {
	mem    memory.Allocator
	shards map[string]int
	step   int
	hook   func(shard string, n int) error // before each batch
}

func (s *numbers) Streams(context.Context) ([]connectors.Stream, error) {
	return []connectors.Stream{{Name: "n"}}, nil
}

func (s *numbers) Shards(context.Context, string) ([]connectors.Stream, error) {
	var out []connectors.Stream
	for name := range s.shards {
		out = append(out, connectors.Stream{Name: "n", Shard: name})
	}
	slices.SortFunc(out, func(a, b connectors.Stream) int { return len(a.Shard) - len(b.Shard) })
	return out, nil
}

func (s *numbers) Close() error { return nil }

func (s *numbers) Read(ctx context.Context, stream connectors.Stream, after connectors.Cursor) iter.Seq2[connectors.Batch, error] {
	return func(yield func(connectors.Batch, error) bool) {
		start := 0
		if after != nil {
			var err error
			if start, err = strconv.Atoi(string(after)); err != nil {
				yield(connectors.Batch{}, err)
				return
			}
		}
		for n := start; n < s.shards[stream.Shard]; {
			if s.hook != nil {
				if err := s.hook(stream.Shard, n); err != nil {
					yield(connectors.Batch{}, err)
					return
				}
			}
			end := min(n+s.step, s.shards[stream.Shard])
			b := array.NewInt64Builder(s.mem)
			for i := n; i < end; i++ {
				b.Append(int64(i))
			}
			col := b.NewArray()
			b.Release()
			rec := array.NewRecord(arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64}}, nil), []arrow.Array{col}, int64(end-n))
			col.Release()
			ok := yield(connectors.Batch{Record: rec, Place: stream.Shard, Cursor: connectors.Cursor(strconv.Itoa(end)), ExtractedAt: time.UnixMicro(1)}, nil)
			rec.Release()
			if !ok {
				return
			}
			n = end
		}
	}
}

type asIs struct{}

func (asIs) Ingress(_ context.Context, rec arrow.Record) (arrow.Record, []connectors.Reject, error) {
	rec.Retain()
	return rec, nil, nil
}

func (l *testLog) job(s *numbers) Job {
	return Job{Source: "numbers", Topic: l.topic, Run: "r", Reader: s, Streams: map[string]Preparer{"n": asIs{}}, Tries: 3}
}

// valid reads the log as a loader would and returns the numbers of the valid batches by shard.
func (l *testLog) valid(t *testing.T) map[string][]int64 {
	out := map[string][]int64{}
	for p := range 2 {
		first, next, err := l.client.Bounds(t.Context(), l.topic, p)
		if err != nil {
			t.Fatal(err)
		}
		state := message.Origin()
		for at := first; at < next; {
			page, err := l.client.Read(t.Context(), l.topic, p, at, 1<<20, time.Second)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page.Records {
				at = r.Offset + 1
				h, err := message.Parse(r.Headers)
				if errors.Is(err, message.ErrForeign) {
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				var verdict message.Verdict
				if state, verdict = state.Step(h, r.Offset); verdict == message.Gap {
					t.Fatalf("gap at %d", r.Offset)
				} else if verdict != message.Valid {
					continue
				}
				rec, _, err := message.Decode(memory.DefaultAllocator, h, r.Value)
				if err != nil {
					t.Fatal(err)
				}
				out[h.Shard] = append(out[h.Shard], rec.Column(0).(*array.Int64).Int64Values()...)
				rec.Release()
			}
		}
	}
	return out
}

func (l *testLog) mustCount(t *testing.T, shards map[string]int) {
	t.Helper()
	got := l.valid(t)
	for name, n := range shards {
		if len(got[name]) != n {
			t.Errorf("shard %s: %d numbers in the log, want %d", name, len(got[name]), n)
		}
		for i, v := range got[name] {
			if v != int64(i) {
				t.Fatalf("shard %s: number %d stands where %d should", name, v, i)
			}
		}
	}
}

func TestEveryRowIsWrittenOnceAndASecondPassReadsOnlyWhatIsNew(t *testing.T) {
	onBoth(t, everyRowIsWrittenOnceAndASecondPassReadsOnlyWhatIsNew)
}

func everyRowIsWrittenOnceAndASecondPassReadsOnlyWhatIsNew(t *testing.T, l *testLog) {
	shards := map[string]int{"a": 1000, "bb": 500, "ccc": 7}
	src := &numbers{mem: l.mem, shards: shards, step: 100}
	i := l.ingester(t)
	r, err := i.Ingest(t.Context(), l.job(src))
	if err != nil || r.Read != 1507 || r.Written != 1507 || r.Shards != 3 {
		t.Fatalf("%+v, %v", r, err)
	}
	l.mustCount(t, shards)
	shards["a"], shards["dddd"] = 1100, 3
	if r, err = i.Ingest(t.Context(), l.job(src)); err != nil || r.Written != 103 {
		t.Fatalf("%+v, %v", r, err)
	}
	l.mustCount(t, shards)
}

// awaited is a source of numbers whose news are waited for.
type awaited struct {
	*numbers
	more   chan int // how many there are by now
	stored chan connectors.Cursor
}

func (s *awaited) Follows(string) bool { return true }

func (s *awaited) Follow(ctx context.Context, stream connectors.Stream, after connectors.Cursor, f connectors.Following) iter.Seq2[connectors.Batch, error] {
	return func(yield func(connectors.Batch, error) bool) {
		for {
			for b, err := range s.Read(ctx, stream, after) {
				after = b.Cursor
				if !yield(b, err) || err != nil {
					return
				}
			}
			select {
			case n := <-s.more:
				s.shards[stream.Shard] = n
				s.stored <- f.Stored()
			case <-f.Enough:
				return
			case <-ctx.Done():
				yield(connectors.Batch{}, ctx.Err())
				return
			}
		}
	}
}

func TestASourceIsFollowedUntilThereIsEnough(t *testing.T) {
	onBoth(t, aSourceIsFollowedUntilThereIsEnough)
}

func aSourceIsFollowedUntilThereIsEnough(t *testing.T, l *testLog) {
	src := &awaited{numbers: &numbers{mem: l.mem, shards: map[string]int{"a": 10}, step: 10}, more: make(chan int), stored: make(chan connectors.Cursor)}
	i := l.ingester(t)
	job, enough := l.job(src.numbers), make(chan struct{})
	job.Reader, job.Enough = src, enough
	type outcome struct {
		Result
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		r, err := i.Ingest(t.Context(), job)
		done <- outcome{r, err}
	}()
	// What is stored is told in the end, and nothing that is not.
	deadline := time.After(time.Minute)
	for told := ""; told != "30"; {
		for _, n := range []int{20, 30} {
			select {
			case src.more <- n:
				told = string(<-src.stored)
			case o := <-done:
				t.Fatalf("it ended before anybody had enough: %+v", o)
			case <-deadline:
				t.Fatalf("the last batch is not said to be stored, but %q", told)
			}
			if told != "" && told != "10" && told != "20" && told != "30" {
				t.Fatalf("%q is said to be stored", told)
			}
		}
	}
	close(enough)
	if o := <-done; o.err != nil || o.Written != 30 || o.Shards != 1 {
		t.Fatalf("%+v", o)
	}
	l.mustCount(t, map[string]int{"a": 30})
	job.Enough = nil // read as any other source
	src.shards["a"] = 40
	if r, err := i.Ingest(t.Context(), job); err != nil || r.Written != 10 {
		t.Fatalf("%+v, %v", r, err)
	}
	l.mustCount(t, map[string]int{"a": 40})
}

func TestANewOwnerGoesOnWhereTheLogEndsWithOrWithoutIndex(t *testing.T) {
	onBoth(t, aNewOwnerGoesOnWhereTheLogEndsWithOrWithoutIndex)
}

func aNewOwnerGoesOnWhereTheLogEndsWithOrWithoutIndex(t *testing.T, l *testLog) {
	shards := map[string]int{"a": 1000}
	stopAt := errors.New("killed")
	src := &numbers{mem: l.mem, shards: shards, step: 10, hook: func(_ string, n int) error {
		if n == 300 {
			return connectors.Permanent(stopAt)
		}
		return nil
	}}
	t.Run("first owner stops in the middle", func(t *testing.T) {
		if _, err := l.ingester(t).Ingest(t.Context(), l.job(src)); !errors.Is(err, stopAt) {
			t.Fatal(err)
		}
	})
	src.hook = nil
	t.Run("second owner goes on", func(t *testing.T) {
		if r, err := l.ingester(t).Ingest(t.Context(), l.job(src)); err != nil || r.Written != 700 {
			t.Fatalf("%+v, %v", r, err)
		}
	})
	l.mustCount(t, shards)
}

func TestATransientErrorIsTriedAgainFromTheLastCursor(t *testing.T) {
	onBoth(t, aTransientErrorIsTriedAgainFromTheLastCursor)
}

func aTransientErrorIsTriedAgainFromTheLastCursor(t *testing.T, l *testLog) {
	shards := map[string]int{"a": 400}
	failures := 0
	src := &numbers{mem: l.mem, shards: shards, step: 100, hook: func(_ string, n int) error {
		if n == 200 && failures < 2 {
			failures++
			return connectors.Transient(io.ErrUnexpectedEOF)
		}
		return nil
	}}
	r, err := l.ingester(t).Ingest(t.Context(), l.job(src))
	if err != nil || r.Written != 400 || failures != 2 {
		t.Fatalf("%+v, %v, %d failures", r, err, failures)
	}
	l.mustCount(t, shards)
}

func TestAStalledWriterThatWakesWritesNothingThatCounts(t *testing.T) {
	onBoth(t, aStalledWriterThatWakesWritesNothingThatCounts)
}

func aStalledWriterThatWakesWritesNothingThatCounts(t *testing.T, l *testLog) {
	partition := func() *Partition {
		p := &Partition{client: l.client, index: l.index(), checkpoints: noLedger{}, topic: l.topic, log: slog.New(slog.DiscardHandler), indexed: time.Now()}
		if err := p.TakeOver(t.Context()); err != nil {
			t.Fatal(err)
		}
		return p
	}
	write := func(p *Partition, from, to int) error {
		_, epoch := p.Cursor(ShardKey("numbers", "n", "a"))
		src := &numbers{mem: l.mem, shards: map[string]int{"a": to}, step: 1000}
		for b, err := range src.Read(t.Context(), connectors.Stream{Name: "n", Shard: "a"}, connectors.Cursor(strconv.Itoa(from))) {
			if err != nil {
				return err
			}
			value, err := message.Encode(l.mem, b.Record, nil)
			if err != nil {
				return err
			}
			if _, err := p.Write(t.Context(), epoch, message.Header{Source: "numbers", Stream: "n", Shard: "a", Cursor: b.Cursor, Rows: int(b.Record.NumRows()), ExtractedAt: b.ExtractedAt}, value); err != nil {
				return err
			}
		}
		return nil
	}
	stalled := partition()
	if err := write(stalled, 0, 10); err != nil {
		t.Fatal(err)
	}
	owner := partition()
	if err := write(owner, 10, 20); err != nil {
		t.Fatal(err)
	}
	if err := write(stalled, 10, 15); !errors.Is(err, ErrDemoted) {
		t.Fatalf("the stalled writer got %v", err)
	}
	if err := write(owner, 20, 30); err != nil {
		t.Fatal(err)
	}
	if err := stalled.TakeOver(t.Context()); err != nil {
		t.Fatal(err)
	}
	if cursor, _ := stalled.Cursor(ShardKey("numbers", "n", "a")); string(cursor) != "30" {
		t.Fatalf("the stalled writer goes on at %q", cursor)
	}
	l.mustCount(t, map[string]int{"a": 30})
}

// away is a server that does not answer the first few times.
type away struct {
	mu    sync.Mutex
	times int
}

func (a *away) Known(context.Context, string, int) (*Known, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.times == 0 {
		return nil, nil
	}
	a.times--
	return nil, connectors.Transient(io.ErrUnexpectedEOF)
}

// The tries are the source's: neither servers that stay away for longer, nor a source that breaks off often but gets on, use them up.
func TestTriesAreForASourceThatBringsNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, l *testLog) {
		shards := map[string]int{"a": 600}
		broke := map[int]bool{}
		src := &numbers{mem: l.mem, shards: shards, step: 100, hook: func(_ string, n int) error {
			if broke[n] {
				return nil
			}
			broke[n] = true
			return connectors.Transient(io.ErrUnexpectedEOF)
		}}
		i := l.with(t, &away{times: 4})
		r, err := i.Ingest(t.Context(), l.job(src))
		if err != nil || r.Written != 600 || len(broke) != 6 {
			t.Fatalf("%+v, %v, broke off at %v", r, err, broke)
		}
		l.mustCount(t, shards)

		src.shards["a"] = 700
		src.hook = func(string, int) error { return connectors.Transient(io.ErrUnexpectedEOF) }
		// By the same one: a second member of the group may be given the other partition, and has nothing to read then.
		if _, err := i.Ingest(t.Context(), l.job(src)); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("a source that brings nothing: %v", err)
		}
	})
}

func TestABrokerThatGoesAwayAndComesBackLosesNothing(t *testing.T) {
	onBoth(t, aBrokerThatGoesAwayAndComesBackLosesNothing)
}

func aBrokerThatGoesAwayAndComesBackLosesNothing(t *testing.T, l *testLog) {
	shards := map[string]int{"a": 600}
	var once sync.Once
	src := &numbers{mem: l.mem, shards: shards, step: 20, hook: func(_ string, n int) error {
		if n == 300 {
			once.Do(func() { l.restart(t) })
		}
		return nil
	}}
	if r, err := l.ingester(t).Ingest(t.Context(), l.job(src)); err != nil {
		t.Fatalf("%+v, %v", r, err)
	}
	l.mustCount(t, shards)
}

// idle is a writer that has written all that its source has, and looks at its partition every so often.
type idle struct {
	*testLog
	broker *brokertest.Broker
	*Ingester
	source *numbers
	end    End      // the partition that it writes
	held   *holding // of it
}

func newIdle(t *testing.T) *idle {
	b := brokertest.Start(t)
	l := openLog(t, topic.Config{Addresses: []string{b.Addr}, User: b.User, Password: b.Password, Mechanism: b.Mechanism.Name()}, nil)
	i := New(Config{
		Client: l.client, Index: l.index(), Group: l.group, Topics: []string{l.topic}, Checkpoints: noLedger{},
		Allocator: l.mem, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Writer: t.Name(),
	})
	i.lookEvery = 20 * time.Millisecond
	w := &idle{testLog: l, broker: b, Ingester: i, source: &numbers{mem: l.mem, shards: map[string]int{"a": 40}, step: 20}}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- i.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	w.mustWrite(t)
	w.end = End{l.topic, 0}
	if _, next, err := l.client.Bounds(ctx, l.topic, 0); err != nil {
		t.Fatal(err)
	} else if next == 0 {
		w.end.Partition = 1
	}
	i.mu.Lock()
	w.held = i.held[w.end]
	i.mu.Unlock()
	return w
}

// mustWrite ingests, and expects that all of the source is written.
func (w *idle) mustWrite(t *testing.T) {
	t.Helper()
	if r, err := w.Ingest(t.Context(), w.job(w.source)); err != nil || r.Written != 40 {
		t.Fatalf("%+v, %v", r, err)
	}
}

func TestATopicThatIsCreatedAgainUnderAWriterThatIsIdle(t *testing.T) { // W6
	w := newIdle(t)
	resp, err := w.broker.Client().DeleteTopics(t.Context(), &kafka.DeleteTopicsRequest{Topics: []string{w.topic}})
	if err = errors.Join(err, resp.Errors[w.topic]); err != nil {
		t.Fatal(err)
	}
	w.broker.CreateTopic(w.topic, 2)
	// The writer has nothing to write; it must notice all the same.
	w.held.mustNotice(t)
	w.mustWrite(t)
	w.mustCount(t, w.source.shards)
}

// mustNotice waits until the writer is to take its partition over anew.
func (h *holding) mustNotice(t *testing.T) {
	for noticed := false; !noticed; {
		h.once.Lock()
		noticed = !h.ready
		h.once.Unlock()
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(time.Millisecond):
		}
	}
}

func (h *holding) epoch() int64 {
	_, epoch := h.Cursor("")
	return epoch
}

// TestRetentionThatEatsBesideAWriterThatIsIdle is rule W8: the loader has loaded nothing, and what is left is void behind its gap.
func TestRetentionThatEatsBesideAWriterThatIsIdle(t *testing.T) {
	w := newIdle(t)
	before := w.held.epoch()
	w.broker.DeleteRecords(w.topic, int32(w.end.Partition), 1) // the claim; the batches are still there
	// The writer has nothing to write; it must notice all the same, and claim again.
	w.held.mustNotice(t)
	w.mustWrite(t)
	if after := w.held.epoch(); after <= before {
		t.Errorf("the rows were read again under the claim at %d, which is gone; the one before was at %d", after, before)
	}
}

func TestARowThatFitsNoMessageIsRejectedByHashAndSize(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	b := array.NewStringBuilder(mem)
	big := make([]byte, oversized+1)
	for i, s := range []string{"x", string(big), "y"} {
		b.Append(s + fmt.Sprint(i))
	}
	col := b.NewArray()
	b.Release()
	rec := array.NewRecord(arrow.NewSchema([]arrow.Field{{Name: "s", Type: arrow.BinaryTypes.String}}, nil), []arrow.Array{col}, 3)
	col.Release()
	defer rec.Release()
	fits, rejects := withoutOversized(mem, rec, "f.csv")
	defer fits.Release()
	if fits.NumRows() != 2 || fits.Column(0).(*array.String).Value(1) != "y2" || len(rejects) != 1 || rejects[0].Rule != "row.too-large" {
		t.Errorf("%v, %+v", fits, rejects)
	}
}
