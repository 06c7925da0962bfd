package topic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"
	"go.uber.org/goleak"

	"github.com/headwater-data/headwater/internal/embedded/broker/brokertest"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/secret"
	"github.com/headwater-data/headwater/internal/testkafka"
	"github.com/headwater-data/headwater/pipeline/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testkafka.EndShared(m)) }

// server is a broker under test: the embedded one, or Apache Kafka.
type server struct {
	address, user string
	password      secret.Value
	createTopic   func(name string, partitions int, settings ...string)
}

func onBoth(t *testing.T, test func(t *testing.T, s server)) {
	t.Run("embedded", func(t *testing.T) { test(t, embedded(t)) })
	t.Run("Apache Kafka", func(t *testing.T) {
		t.Parallel()
		c := testkafka.Shared(t)
		test(t, server{address: c.Addresses()[0], createTopic: func(name string, partitions int, settings ...string) {
			if err := c.CreateTopic(t.Context(), name, partitions, settings...); err != nil {
				t.Fatal(err)
			}
		}})
	})
}

func embedded(t *testing.T) server {
	b := brokertest.Start(t)
	return server{address: b.Addr, user: b.User, password: b.Password, createTopic: b.CreateTopic}
}

func open(t *testing.T, s server) *Client {
	t.Helper()
	c, err := Open(Config{Addresses: []string{s.address}, User: s.user, Password: s.password, Mechanism: "scram-sha-256", Partitions: 1, SessionTimeout: time.Second})
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
	onBoth(t, topicsAreMadeCheckedAndRefused)
}

func topicsAreMadeCheckedAndRefused(t *testing.T, b server) {
	c := open(t, b)
	specs := []Spec{{Name: "made"}, {Name: "index", Partitions: 1, Compact: true}}
	for range 2 { // the second time they are there
		if err := c.Ensure(t.Context(), specs...); err != nil {
			t.Fatal(err)
		}
	}
	b.createTopic("small", 1, "max.message.bytes", "1000")
	err := c.Ensure(t.Context(), Spec{Name: "small"})
	if fault.KindOf(err) != fault.KindEnvironment || !strings.Contains(err.Error(), "max.message.bytes=16777216") {
		t.Errorf("got %v", err)
	}
	b.createTopic("compacted", 1, "cleanup.policy", "compact", "max.message.bytes", "16777216")
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
	onBoth(t, recordsReadBackAndMissingOffsetsAreNamed)
}

func recordsReadBackAndMissingOffsetsAreNamed(t *testing.T, b server) {
	c := open(t, b)
	if err := c.Ensure(t.Context(), Spec{Name: "read"}); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		offset, err := c.Append(t.Context(), "read", 0, Record{Value: []byte(fmt.Sprint(i)), Headers: []message.Field{{Key: "k", Value: []byte{byte(i)}}}})
		if err != nil || offset != int64(i) {
			t.Fatalf("offset %d, %v", offset, err)
		}
	}
	page, err := c.Read(t.Context(), "read", 0, 2, 1<<20, time.Second)
	if err != nil || len(page.Records) != 3 || page.Next != 5 || string(page.Records[0].Value) != "2" || page.Records[0].Headers[0].Value[0] != 2 {
		t.Fatalf("%+v, %v", page, err)
	}
	if page, err = c.Read(t.Context(), "read", 0, 5, 1<<20, time.Millisecond); err != nil || len(page.Records) != 0 {
		t.Errorf("%+v, %v", page, err)
	}
	_, err = c.Read(t.Context(), "read", 0, 9, 1<<20, time.Millisecond)
	if out, ok := errors.AsType[*OutOfRangeError](err); !ok || out.End != 5 {
		t.Errorf("got %v", err)
	}
	if _, err := c.Append(t.Context(), "read", 0, Record{Value: make([]byte, message.MaxValueBytes+1)}); !Refused(err) {
		t.Errorf("a record that is too large: %v", err)
	}
}

func TestACommitOfAPastGenerationIsFenced(t *testing.T) { // L1
	onBoth(t, aCommitOfAPastGenerationIsFenced)
}

func aCommitOfAPastGenerationIsFenced(t *testing.T, b server) {
	c := open(t, b)
	if err := c.Ensure(t.Context(), Spec{Name: "fenced"}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	next := func() (*Group, *Generation) {
		g, err := c.Join("g", []string{"fenced"})
		if err != nil {
			t.Fatal(err)
		}
		return g, await(t, ctx, g)
	}
	first, old := next()
	if err := c.Commit(ctx, old, "fenced", 0, 3, "where"); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, now := next()
	defer second.Close()
	if err := c.Commit(ctx, old, "fenced", 0, 9, "late"); !errors.Is(err, ErrFenced) {
		t.Errorf("a past generation: %v", err)
	}
	offset, metadata, ok, err := c.Committed(ctx, "g", "fenced", 0)
	if err != nil || !ok || offset != 3 || metadata != "where" {
		t.Errorf("%d %q %t %v", offset, metadata, ok, err)
	}
	if err := c.Commit(ctx, now, "fenced", 0, 4, ""); err != nil {
		t.Error(err)
	}
	if _, _, ok, err := c.Committed(ctx, "nobody", "fenced", 0); ok || err != nil {
		t.Errorf("an unknown group: %t, %v", ok, err)
	}
}

// await waits for a generation, as long as the broker only asks for patience.
func await(t *testing.T, ctx context.Context, g *Group) *Generation {
	t.Helper()
	for {
		gen, err := g.Next(ctx)
		if err == nil {
			return gen
		}
		if !fault.IsTransient(err) {
			t.Fatal(err)
		}
	}
}

// TestAKilledMemberIsNotWaitedFor: the session is longer than the test may take.
func TestAKilledMemberIsNotWaitedFor(t *testing.T) { onBoth(t, aKilledMemberIsNotWaitedFor) }

func aKilledMemberIsNotWaitedFor(t *testing.T, s server) {
	const session = 5 * time.Minute
	client := func(instance string) *Client {
		c, err := Open(Config{Addresses: []string{s.address}, User: s.user, Password: s.password, Mechanism: "scram-sha-256", Partitions: 1, SessionTimeout: session, ClientID: "test", Instance: instance})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	ctx, stop := context.WithTimeout(t.Context(), session/5)
	defer stop()
	ours, others := client("ours"), client("others")
	if err := ours.Ensure(ctx, Spec{Name: "killed"}); err != nil {
		t.Fatal(err)
	}
	join := func(c *Client) (*Group, *Generation) {
		t.Helper()
		c.Evict(ctx, "killed")
		g, err := c.Join("killed", []string{"killed"})
		if err != nil {
			t.Fatal(err)
		}
		return g, await(t, ctx, g)
	}
	// One that was killed sends nothing more, and does not leave: a request to join, as a process of its own would send it.
	dead := &Generation{Group: "killed", Member: s.joinAndDie(t, ctx, ours, "killed"), ID: 1}
	others.Evict(ctx, "killed")
	if answer, err := ours.kafka.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{"killed"}}); err != nil || len(answer.Groups[0].Members) != 1 {
		t.Fatalf("another instance's eviction touched the member: %+v, %v", answer, err)
	}
	g, gen := join(ours)
	defer g.Close()
	if len(gen.Assignments["killed"]) != 1 {
		t.Errorf("the next process got %v", gen.Assignments)
	}
	if err := ours.Commit(ctx, dead, "killed", 0, 9, "late"); !errors.Is(err, ErrFenced) {
		t.Errorf("the dead one's commit: %v", err)
	}
	if err := ours.Commit(ctx, gen, "killed", 0, 1, ""); err != nil {
		t.Error(err)
	}
}

// joinAndDie makes a member that never says anything again, and returns its id.
func (s server) joinAndDie(t *testing.T, ctx context.Context, c *Client, group string) string {
	t.Helper()
	member := ""
	for {
		answer, err := c.kafka.JoinGroup(ctx, &kafka.JoinGroupRequest{GroupID: group, MemberID: member, SessionTimeout: c.cfg.SessionTimeout, RebalanceTimeout: c.cfg.SessionTimeout, ProtocolType: "consumer",
			Protocols: []kafka.GroupProtocol{{Name: "range", Metadata: kafka.GroupProtocolSubscription{Topics: []string{"killed"}}}}})
		if err == nil {
			err = answer.Error
		}
		switch {
		case err == nil:
			sync, err := c.kafka.SyncGroup(ctx, &kafka.SyncGroupRequest{GroupID: group, GenerationID: answer.GenerationID, MemberID: answer.MemberID, ProtocolType: "consumer", ProtocolName: "range",
				Assignments: []kafka.SyncGroupRequestAssignment{{MemberID: answer.MemberID, Assignment: kafka.GroupProtocolAssignment{AssignedPartitions: map[string][]int{"killed": {0}}}}}})
			if err == nil {
				err = sync.Error
			}
			if err != nil {
				t.Fatal(err)
			}
			return answer.MemberID
		case errors.Is(err, kafka.MemberIDRequired):
			member = answer.MemberID
		case !fault.IsTransient(Classify(err)):
			t.Fatal(err)
		}
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	b := embedded(t)
	const planted = "not-the-password"
	b.password = secret.New(planted)
	wrong := open(t, b)
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

// TestMarkersOfTransactionsHaveAPlaceInTheLog: somebody else's transactions leave records that clients hide. A reader that did not
// see them would wait for ever at one that ends the log.
func TestMarkersOfTransactionsHaveAPlaceInTheLog(t *testing.T) {
	onBoth(t, markersOfTransactionsHaveAPlace)
}

func markersOfTransactionsHaveAPlace(t *testing.T, s server) {
	c := open(t, s)
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	if err := c.Ensure(ctx, Spec{Name: "marked"}); err != nil {
		t.Fatal(err)
	}
	options := []kgo.Opt{kgo.SeedBrokers(s.address), kgo.TransactionalID("somebody"), kgo.DefaultProduceTopic("marked")}
	if s.user != "" {
		options = append(options, kgo.SASL(scram.Auth{User: s.user, Pass: s.password.Reveal()}.AsSha256Mechanism()))
	}
	somebody, err := kgo.NewClient(options...)
	if err != nil {
		t.Fatal(err)
	}
	defer somebody.Close()
	transaction := func(end kgo.TransactionEndTry) {
		t.Helper()
		if err := somebody.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := somebody.ProduceSync(ctx, &kgo.Record{Value: []byte("theirs")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := somebody.EndTransaction(ctx, end); err != nil {
			t.Fatal(err)
		}
	}
	transaction(kgo.TryCommit)
	transaction(kgo.TryAbort)
	if _, err := c.Append(ctx, "marked", 0, Record{Value: []byte("ours")}); err != nil {
		t.Fatal(err)
	}
	transaction(kgo.TryCommit)
	for _, from := range []int64{0, 4, 5, 6} {
		at := from
		for tries := 0; at < 7; tries++ {
			page, err := c.Read(ctx, "marked", 0, at, 1<<20, time.Second)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page.Records {
				if r.Offset != at {
					t.Fatalf("from %d: record %d where %d should be", from, r.Offset, at)
				}
				at++
			}
			if tries == 20 {
				t.Fatalf("from %d: the reader stands at %d of %d", from, at, page.Next)
			}
		}
	}
}

// A login that the broker refuses at first is a mistake in the configuration; one that it refuses for a while after it took it is
// waited for.
func TestALoginThatWasTakenBeforeIsWaitedFor(t *testing.T) {
	b := brokertest.Start(t)
	c := open(t, server{address: b.Addr, user: b.User, password: b.Password})
	if err := c.Ensure(t.Context(), Spec{Name: "logins"}); err != nil {
		t.Fatal(err)
	}
	var refusing atomic.Bool
	b.Cluster().ControlKey(int16(kmsg.SASLAuthenticate), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		b.Cluster().KeepControl()
		if !refusing.Load() {
			return nil, nil, false
		}
		resp := kreq.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		resp.ErrorCode = kerr.SaslAuthenticationFailed.Code
		return resp, nil, true
	})
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	kindOfNext := func() fault.Kind {
		t.Helper()
		refusing.Store(true)
		g, err := c.Join("logins", []string{"logins"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = g.Next(ctx)
		refusing.Store(false)
		if err == nil {
			t.Fatal("a refused login joined a group")
		}
		if err := g.Close(); err != nil {
			t.Log(err)
		}
		return fault.KindOf(err)
	}
	if kind := kindOfNext(); kind != fault.KindEnvironment {
		t.Errorf("before any membership: kind %d", kind)
	}
	g, err := c.Join("logins", []string{"logins"})
	if err != nil {
		t.Fatal(err)
	}
	await(t, ctx, g)
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if kind := kindOfNext(); kind != fault.KindTransient {
		t.Errorf("after a membership: kind %d", kind)
	}
}
