package topic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"go.uber.org/goleak"

	"github.com/headwater-data/headwater/internal/embedded/broker/brokertest"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/secret"
	"github.com/headwater-data/headwater/pipeline/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, b *brokertest.Broker, password secret.Value) *Client {
	t.Helper()
	c, err := Open(Config{Addresses: []string{b.Addr}, User: b.User, Password: password, Mechanism: "scram-sha-256", Partitions: 1, SessionTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestTopicsAreMadeCheckedAndRefused(t *testing.T) {
	b := brokertest.Start(t)
	c := open(t, b, b.Password)
	specs := []Spec{{Name: "raw"}, {Name: "index", Partitions: 1, Compact: true}}
	for range 2 { // the second time they are there
		if err := c.Ensure(t.Context(), specs...); err != nil {
			t.Fatal(err)
		}
	}
	b.CreateTopic("small", 1, "max.message.bytes", "1000")
	err := c.Ensure(t.Context(), Spec{Name: "small"})
	if fault.KindOf(err) != fault.KindEnvironment || !strings.Contains(err.Error(), "max.message.bytes=16777216") {
		t.Errorf("got %v", err)
	}
	b.CreateTopic("compacted", 1, "cleanup.policy", "compact", "max.message.bytes", "16777216")
	if err := c.Ensure(t.Context(), Spec{Name: "compacted"}); fault.KindOf(err) != fault.KindEnvironment {
		t.Errorf("a compacted raw topic was accepted: %v", err)
	}
}

func TestReplicatedTopicsMustKeepWhatTheyAcknowledge(t *testing.T) { // W7
	for _, test := range []struct {
		name, value         string
		replicated, compact bool
		want                string
	}{
		{"min.insync.replicas", "1", true, false, "2"},
		{"min.insync.replicas", "2", true, false, ""},
		{"min.insync.replicas", "1", false, false, ""},
		{"unclean.leader.election.enable", "true", true, false, "false"},
		{"unclean.leader.election.enable", "True", true, true, "false"},
		{"unclean.leader.election.enable", "false", true, false, ""},
		{"unclean.leader.election.enable", "true", false, false, ""},
		{"max.message.bytes", "1000", false, false, "16777216"},
		{"max.message.bytes", "16777216", false, false, ""},
		{"cleanup.policy", "compact,delete", false, false, "delete"},
		{"cleanup.policy", "compact", false, true, ""},
	} {
		if got := wanted(test.name, test.value, test.replicated, test.compact); got != test.want {
			t.Errorf("%+v: got %q", test, got)
		}
	}
}

func TestRecordsReadBackAndMissingOffsetsAreNamed(t *testing.T) {
	b := brokertest.Start(t)
	c := open(t, b, b.Password)
	if err := c.Ensure(t.Context(), Spec{Name: "raw"}); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		offset, err := c.Append(t.Context(), "raw", 0, Record{Value: []byte(fmt.Sprint(i)), Headers: []message.Field{{Key: "k", Value: []byte{byte(i)}}}})
		if err != nil || offset != int64(i) {
			t.Fatalf("offset %d, %v", offset, err)
		}
	}
	page, err := c.Read(t.Context(), "raw", 0, 2, 1<<20, time.Second)
	if err != nil || len(page.Records) != 3 || page.Next != 5 || string(page.Records[0].Value) != "2" || page.Records[0].Headers[0].Value[0] != 2 {
		t.Fatalf("%+v, %v", page, err)
	}
	if page, err = c.Read(t.Context(), "raw", 0, 5, 1<<20, time.Millisecond); err != nil || len(page.Records) != 0 {
		t.Errorf("%+v, %v", page, err)
	}
	_, err = c.Read(t.Context(), "raw", 0, 9, 1<<20, time.Millisecond)
	if out, ok := errors.AsType[*OutOfRangeError](err); !ok || out.End != 5 {
		t.Errorf("got %v", err)
	}
	if _, err := c.Append(t.Context(), "raw", 0, Record{Value: make([]byte, message.MaxValueBytes+1)}); !Refused(err) {
		t.Errorf("a record that is too large: %v", err)
	}
}

func TestACommitOfAPastGenerationIsFenced(t *testing.T) { // L1
	b := brokertest.Start(t)
	c := open(t, b, b.Password)
	if err := c.Ensure(t.Context(), Spec{Name: "raw"}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	next := func() (*Group, *Generation) {
		g, err := c.Join("g", []string{"raw"})
		if err != nil {
			t.Fatal(err)
		}
		gen, err := g.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return g, gen
	}
	first, old := next()
	if err := c.Commit(ctx, old, "raw", 0, 3, "where"); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, now := next()
	defer second.Close()
	if err := c.Commit(ctx, old, "raw", 0, 9, "late"); !errors.Is(err, ErrFenced) {
		t.Errorf("a past generation: %v", err)
	}
	offset, metadata, ok, err := c.Committed(ctx, "g", "raw", 0)
	if err != nil || !ok || offset != 3 || metadata != "where" {
		t.Errorf("%d %q %t %v", offset, metadata, ok, err)
	}
	if err := c.Commit(ctx, now, "raw", 0, 4, ""); err != nil {
		t.Error(err)
	}
	if _, _, ok, err := c.Committed(ctx, "nobody", "raw", 0); ok || err != nil {
		t.Errorf("an unknown group: %t, %v", ok, err)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	b := brokertest.Start(t)
	const planted = "not-the-password"
	wrong := open(t, b, secret.New(planted))
	err := wrong.Ensure(t.Context(), Spec{Name: "raw"})
	// The embedded broker closes the connection on a wrong password without a word; Kafka says so.
	if err == nil || !strings.Contains(err.Error(), "broker.user") || strings.Contains(err.Error(), planted) {
		t.Errorf("a wrong password: %v", err)
	}
	for name, c := range map[string]struct {
		err  error
		want fault.Kind
	}{
		"a lost connection":       {io.ErrUnexpectedEOF, fault.KindTransient},
		"a leader that moved":     {kafka.NotLeaderForPartition, fault.KindTransient},
		"a right that is missing": {kafka.TopicAuthorizationFailed, fault.KindEnvironment},
		"a record too large":      {kafka.MessageSizeTooLarge, fault.KindPermanent},
		"a cancelled context":     {context.Canceled, fault.KindPermanent},
	} {
		if got := fault.KindOf(Classify(c.err)); got != c.want {
			t.Errorf("%s: kind %d, want %d", name, got, c.want)
		}
	}
	if _, err := Open(Config{}); fault.KindOf(err) != fault.KindUsage {
		t.Errorf("no address: %v", err)
	}
}
