package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/headwater-data/headwater/internal/embedded"
	"github.com/headwater-data/headwater/internal/embedded/broker"
)

// writer sends numbered records to a partition of its own and commits how far it came, until the broker dies.
type writer struct {
	name  string
	topic string
	sent  int
	// What the broker has acknowledged: values by offset, and the newest commit.
	values    map[int64]string
	committed int64
}

func (w *writer) write(ctx context.Context, c *kafka.Client, acknowledged *atomic.Int64) {
	for {
		w.sent++
		// Every fourth record spans many pages, so that kills meet half-written batches.
		value := fmt.Sprintf("%s/%d/", w.name, w.sent)
		if w.sent%4 == 0 {
			value += strings.Repeat("x", 1+rand.IntN(2<<20))
		}
		res, err := c.Produce(ctx, &kafka.ProduceRequest{Topic: w.topic, RequiredAcks: kafka.RequireAll,
			Records: kafka.NewRecordReader(kafka.Record{Value: kafka.NewBytes([]byte(value)), Headers: []kafka.Header{{Key: "n", Value: []byte(fmt.Sprint(w.sent))}}})})
		if err != nil || res.Error != nil {
			return
		}
		w.values[res.BaseOffset] = value
		acknowledged.Add(1)
		// Metadata as long as it may be: its entry in the log spans pages as well.
		commit, err := c.OffsetCommit(ctx, &kafka.OffsetCommitRequest{GroupID: "g-" + w.topic, GenerationID: -1,
			Topics: map[string][]kafka.OffsetCommit{w.topic: {{Offset: res.BaseOffset, Metadata: metadataOf(res.BaseOffset)}}}})
		if err != nil || commit.Topics[w.topic][0].Error != nil {
			return
		}
		w.committed = res.BaseOffset
	}
}

func metadataOf(offset int64) string {
	return strings.Repeat(fmt.Sprintf("%08d", offset), 500)
}

// check compares what the broker holds with what it acknowledged. It may hold more: what it was killed before acknowledging.
func (w *writer) check(t *testing.T, c *kafka.Client) {
	t.Helper()
	held := make(map[int64]string)
	for offset := int64(0); ; {
		res, err := c.Fetch(testContext(t), &kafka.FetchRequest{Topic: w.topic, Offset: offset, MinBytes: 1, MaxBytes: 4 << 20, MaxWait: 10 * time.Millisecond})
		if err == nil {
			err = res.Error
		}
		if err != nil {
			t.Fatal(err)
		}
		for {
			r, err := res.Records.ReadRecord()
			if err != nil {
				break
			}
			v, err := kafka.ReadAll(r.Value)
			if err != nil {
				t.Fatal(err)
			}
			held[r.Offset] = string(v)
			offset = r.Offset + 1
			if n := strings.Split(string(v), "/")[1]; len(r.Headers) != 1 || string(r.Headers[0].Value) != n {
				t.Errorf("%s: record %s has headers %v", w.topic, n, r.Headers)
			}
		}
		if offset >= res.HighWatermark {
			if int64(len(held)) != res.HighWatermark {
				t.Errorf("%s: got %d records for %d offsets", w.topic, len(held), res.HighWatermark)
			}
			break
		}
	}
	for offset, want := range w.values {
		if held[offset] != want {
			t.Errorf("%s: offset %d was acknowledged and holds %.40q, want %.40q", w.topic, offset, held[offset], want)
		}
	}
	res, err := c.OffsetFetch(testContext(t), &kafka.OffsetFetchRequest{GroupID: "g-" + w.topic, Topics: map[string][]int{w.topic: {0}}})
	if err == nil {
		err = res.Error
	}
	if err != nil {
		t.Fatal(err)
	}
	got := res.Topics[w.topic][0]
	if got.CommittedOffset < w.committed || (got.CommittedOffset >= 0 && got.Metadata != metadataOf(got.CommittedOffset)) {
		t.Errorf("%s: got commit %d with metadata %.20q, want at least %d with its own", w.topic, got.CommittedOffset, got.Metadata, w.committed)
	}
	w.committed = got.CommittedOffset
}

func TestNothingAcknowledgedIsLostWhenTheBrokerIsKilled(t *testing.T) {
	dir := stateFolder(t)
	writers := make([]*writer, 3)
	for i := range writers {
		writers[i] = &writer{name: fmt.Sprint(i), topic: fmt.Sprintf("raw.%d", i), values: make(map[int64]string), committed: -1}
	}
	const rounds = 6
	for round := range rounds {
		lease := acquire(t, dir)
		c := client(t, lease.Endpoint())
		for _, w := range writers {
			if round == 0 {
				createTopic(t, c, w.topic, kafka.ConfigEntry{ConfigName: "max.message.bytes", ConfigValue: "16777216"})
			} else {
				w.check(t, c)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		var acknowledged atomic.Int64
		var wait sync.WaitGroup
		for _, w := range writers {
			wait.Go(func() { w.write(ctx, c, &acknowledged) })
		}
		// The kill comes at a point keyed on progress, and a little later each time.
		goal, pause := int64(20+rand.IntN(20)), time.NewTicker(time.Millisecond)
		for acknowledged.Load() < goal && ctx.Err() == nil {
			<-pause.C
		}
		pause.Stop()
		if err := syscall.Kill(lease.Endpoint().PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-lease.Lost()
		wait.Wait()
		cancel()
		if err := lease.Close(); err != nil {
			t.Error(err)
		}
	}
	c := client(t, acquire(t, dir).Endpoint())
	total := 0
	for _, w := range writers {
		w.check(t, c)
		total += len(w.values)
	}
	log, err := os.ReadFile(filepath.Join(dir, "broker", "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d records acknowledged in %d lives; the kills tore %d batches and %d commits", total, rounds,
		strings.Count(string(log), "corrupt bytes"), strings.Count(string(log), "cut an entry"))
}

func TestAKilledBrokerStillFencesThePastGeneration(t *testing.T) {
	dir := stateFolder(t)
	lease := acquire(t, dir)
	createTopic(t, client(t, lease.Endpoint()), "topic")
	before := generation(t, lease.Endpoint(), nil)
	if err := syscall.Kill(lease.Endpoint().PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-lease.Lost()

	endpoint := acquire(t, dir).Endpoint()
	c := client(t, endpoint)
	late := func() error {
		res, err := c.OffsetCommit(testContext(t), &kafka.OffsetCommitRequest{GroupID: "loaders", MemberID: before.MemberID, GenerationID: int(before.ID),
			Topics: map[string][]kafka.OffsetCommit{"topic": {{Offset: 9, Metadata: "late"}}}})
		if err != nil {
			t.Fatal(err)
		}
		return res.Topics["topic"][0].Error
	}
	// The group has no members until somebody joins again.
	if err := late(); !errors.Is(err, kafka.IllegalGeneration) {
		t.Errorf("got %v for a commit of the generation before the kill, want %v", err, kafka.IllegalGeneration)
	}
	generation(t, endpoint, func(after *kafka.Generation) {
		if after.ID <= before.ID {
			t.Errorf("got generation %d after %d", after.ID, before.ID)
		}
		if err := late(); !errors.Is(err, kafka.UnknownMemberId) {
			t.Errorf("got %v for a commit of a member before the kill, want %v", err, kafka.UnknownMemberId)
		}
	})
}

// generation joins the group "loaders", calls during while it is a member, and leaves.
func generation(t *testing.T, e embedded.Endpoint, during func(*kafka.Generation)) *kafka.Generation {
	t.Helper()
	mechanism, err := broker.Mechanism(e.User, e.Password)
	if err != nil {
		t.Fatal(err)
	}
	g, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{ID: "loaders", Brokers: []string{e.Addr}, Topics: []string{"topic"},
		Dialer: &kafka.Dialer{SASLMechanism: mechanism, Timeout: 10 * time.Second}, SessionTimeout: 6 * time.Second, JoinGroupBackoff: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}()
	gen, err := g.Next(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if during != nil {
		during(gen)
	}
	return gen
}
