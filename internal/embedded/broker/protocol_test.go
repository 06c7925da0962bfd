package broker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/headwater-data/headwater/internal/embedded/broker"
	"github.com/headwater-data/headwater/internal/embedded/broker/brokertest"
	"github.com/headwater-data/headwater/internal/secret"
)

// These tests say, with the client that Headwater uses, what its protocol expects of a broker (PROTOCOL.md in the design).

const patience = time.Minute

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func produce(t *testing.T, b *brokertest.Broker, topic string, records ...kafka.Record) int64 {
	t.Helper()
	res, err := b.Client().Produce(testContext(t), &kafka.ProduceRequest{Topic: topic, RequiredAcks: kafka.RequireAll, Records: kafka.NewRecordReader(records...)})
	if err == nil {
		err = res.Error
	}
	if err != nil {
		t.Fatal(err)
	}
	return res.BaseOffset
}

func record(key, value string, headers ...kafka.Header) kafka.Record {
	r := kafka.Record{Value: kafka.NewBytes([]byte(value)), Headers: headers}
	if key != "" {
		r.Key = kafka.NewBytes([]byte(key))
	}
	return r
}

type got struct {
	offset     int64
	key, value string
	headers    []kafka.Header
}

// fetch reads a partition from offset to its end.
func fetch(t *testing.T, b *brokertest.Broker, topic string, offset int64) []got {
	t.Helper()
	var all []got
	for {
		res, err := b.Client().Fetch(testContext(t), &kafka.FetchRequest{Topic: topic, Offset: offset, MinBytes: 1, MaxBytes: 16 << 20, MaxWait: time.Second})
		if err == nil {
			err = res.Error
		}
		if err != nil {
			t.Fatal(err)
		}
		for {
			r, err := res.Records.ReadRecord()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if r.Offset < offset {
				continue // a fetch begins with a whole batch
			}
			all = append(all, got{offset: r.Offset, key: text(t, r.Key), value: text(t, r.Value), headers: r.Headers})
			offset = r.Offset + 1
		}
		if offset >= res.HighWatermark {
			return all
		}
	}
}

func text(t *testing.T, b kafka.Bytes) string {
	t.Helper()
	if b == nil {
		return ""
	}
	raw, err := kafka.ReadAll(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func offsets(t *testing.T, b *brokertest.Broker, topic string) (first, next int64) {
	t.Helper()
	res, err := b.Client().ListOffsets(testContext(t), &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{
		topic: {kafka.FirstOffsetOf(0), kafka.LastOffsetOf(0)}}})
	if err != nil {
		t.Fatal(err)
	}
	p := res.Topics[topic][0]
	if p.Error != nil {
		t.Fatal(p.Error)
	}
	return p.FirstOffset, p.LastOffset
}

func commit(t *testing.T, b *brokertest.Broker, group, member string, generation int, topic string, offset int64, metadata string) error {
	t.Helper()
	res, err := b.Client().OffsetCommit(testContext(t), &kafka.OffsetCommitRequest{GroupID: group, MemberID: member, GenerationID: generation,
		Topics: map[string][]kafka.OffsetCommit{topic: {{Partition: 0, Offset: offset, Metadata: metadata}}}})
	if err != nil {
		t.Fatal(err)
	}
	return res.Topics[topic][0].Error
}

func committed(t *testing.T, b *brokertest.Broker, group, topic string) (int64, string) {
	t.Helper()
	res, err := b.Client().OffsetFetch(testContext(t), &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: {0}}})
	if err == nil {
		err = res.Error
	}
	if err != nil {
		t.Fatal(err)
	}
	p := res.Topics[topic][0]
	if p.Error != nil {
		t.Fatal(p.Error)
	}
	return p.CommittedOffset, p.Metadata
}

func newGroup(t *testing.T, b *brokertest.Broker, id, topic string) *kafka.ConsumerGroup {
	t.Helper()
	g, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{ID: id, Brokers: []string{b.Addr}, Dialer: b.Dialer(), Topics: []string{topic},
		HeartbeatInterval: 100 * time.Millisecond, SessionTimeout: 6 * time.Second, RebalanceTimeout: 6 * time.Second, JoinGroupBackoff: 100 * time.Millisecond,
		StartOffset: kafka.FirstOffset})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

func nextGeneration(t *testing.T, g *kafka.ConsumerGroup) *kafka.Generation {
	t.Helper()
	ctx := testContext(t)
	for {
		gen, err := g.Next(ctx)
		if err == nil {
			return gen
		}
		// What the group met meanwhile (a coordinator that restarts, a rebalance) it tells once and goes on.
		if ctx.Err() != nil {
			t.Fatalf("no generation: %v", err)
		}
	}
}

func TestRecordsComeBackAsTheyWereSent(t *testing.T) {
	b := brokertest.Start(t)
	b.CreateTopic("headwater.raw.科技局", 2)
	header := []kafka.Header{{Key: "cursor", Value: []byte{0, 1, 0xff}}, {Key: "rows", Value: []byte("3")}}
	if offset := produce(t, b, "headwater.raw.科技局", record("a", "一", header...)); offset != 0 {
		t.Errorf("got offset %d for the first record", offset)
	}
	if offset := produce(t, b, "headwater.raw.科技局", record("b", "二"), record("", "三")); offset != 1 {
		t.Errorf("got offset %d for the second batch, want that of its first record, 1", offset)
	}
	check := func(when string) {
		t.Helper()
		all := fetch(t, b, "headwater.raw.科技局", 0)
		if len(all) != 3 || all[0].value != "一" || all[2].value != "三" || all[1].offset != 1 {
			t.Fatalf("%s: got %+v", when, all)
		}
		if h := all[0].headers; len(h) != 2 || h[0].Key != "cursor" || !bytes.Equal(h[0].Value, []byte{0, 1, 0xff}) {
			t.Errorf("%s: got headers %v", when, h)
		}
	}
	check("at once")
	b.Restart()
	check("after a restart")
	if first, next := offsets(t, b, "headwater.raw.科技局"); first != 0 || next != 3 {
		t.Errorf("got offsets [%d, %d), want [0, 3)", first, next)
	}
}

func TestMessagesOfEightMebibytesPassAndLargerThanTheTopicAllowsDoNot(t *testing.T) {
	b := brokertest.Start(t)
	b.CreateTopic("big", 1, "max.message.bytes", "16777216", "retention.ms", "1000000", "cleanup.policy", "delete")
	want := strings.Repeat("海量", 8<<20/6)
	produce(t, b, "big", record("", want))
	if all := fetch(t, b, "big", 0); len(all) != 1 || all[0].value != want {
		t.Errorf("got %d records", len(all))
	}
	res, err := b.Client().Produce(testContext(t), &kafka.ProduceRequest{Topic: "big", RequiredAcks: kafka.RequireAll,
		Records: kafka.NewRecordReader(kafka.Record{Value: kafka.NewBytes(make([]byte, 17<<20))})})
	if err != nil || !errors.Is(res.Error, kafka.MessageSizeTooLarge) {
		t.Errorf("got %v, %v for 17 MiB, want %v", res, err, kafka.MessageSizeTooLarge)
	}

	described, err := b.Client().DescribeConfigs(testContext(t), &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{{
		ResourceType: kafka.ResourceTypeTopic, ResourceName: "big", ConfigNames: []string{"max.message.bytes", "retention.ms"}}}})
	if err != nil {
		t.Fatal(err)
	}
	settings := make(map[string]string)
	for _, e := range described.Resources[0].ConfigEntries {
		settings[e.ConfigName] = e.ConfigValue
	}
	if settings["max.message.bytes"] != "16777216" || settings["retention.ms"] != "1000000" {
		t.Errorf("got settings %v", settings)
	}
}

func TestTopicsAreNeverCreatedByAccident(t *testing.T) {
	b := brokertest.Start(t)
	res, err := b.Client().Produce(testContext(t), &kafka.ProduceRequest{Topic: "typo", RequiredAcks: kafka.RequireAll, Records: kafka.NewRecordReader(record("", "x"))})
	if err == nil {
		err = res.Error
	}
	if err == nil {
		t.Error("a record was taken for a topic that nobody created")
	}
	if b.Cluster().TopicInfo("typo") != nil {
		t.Error("the topic exists")
	}
}

func TestCommitsKeepTheirMetadata(t *testing.T) {
	b := brokertest.Start(t)
	b.CreateTopic("topic", 1)
	if err := commit(t, b, "loaders", "", -1, "topic", 7, `{"b":12,"hash":"质量"}`); err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"at once", "after a restart"} {
		if offset, metadata := committed(t, b, "loaders", "topic"); offset != 7 || metadata != `{"b":12,"hash":"质量"}` {
			t.Errorf("%s: got %d, %q", when, offset, metadata)
		}
		b.Restart()
	}
	if offset, _ := committed(t, b, "others", "topic"); offset != -1 {
		t.Errorf("got %d for a group that never committed, want -1", offset)
	}
}

func TestCommitMetadataThatKafkaRefusesIsRefused(t *testing.T) {
	b := brokertest.Start(t)
	b.CreateTopic("topic", 1)
	if err := commit(t, b, "g", "", -1, "topic", 1, strings.Repeat("x", 4096)); err != nil {
		t.Errorf("got %v for 4096 bytes", err)
	}
	if err := commit(t, b, "g", "", -1, "topic", 2, strings.Repeat("x", 4097)); !errors.Is(err, kafka.OffsetMetadataTooLarge) {
		t.Errorf("got %v for 4097 bytes, want %v", err, kafka.OffsetMetadataTooLarge)
	}
	if err := commit(t, b, "g", "", -1, "topic", 3, "\xff"); !errors.Is(err, kafka.InvalidRequest) {
		t.Errorf("got %v for metadata that is no UTF-8, want %v", err, kafka.InvalidRequest)
	}
	if offset, _ := committed(t, b, "g", "topic"); offset != 1 {
		t.Errorf("got offset %d after the refused commits, want 1", offset)
	}
}

func TestAGenerationFencesTheOnesBeforeIt(t *testing.T) {
	b := brokertest.Start(t)
	b.CreateTopic("topic", 1)
	old := nextGeneration(t, newGroup(t, b, "loaders", "topic"))
	if err := commit(t, b, "loaders", old.MemberID, int(old.ID), "topic", 1, "first"); err != nil {
		t.Fatalf("commit of the current generation: %v", err)
	}
	// Somebody else joins: the group has another generation, of which the old one is told by its heartbeat.
	newer := nextGeneration(t, newGroup(t, b, "loaders", "topic"))
	if newer.ID <= old.ID {
		t.Errorf("got generation %d after %d", newer.ID, old.ID)
	}
	if err := commit(t, b, "loaders", old.MemberID, int(old.ID), "topic", 2, "stale"); !errors.Is(err, kafka.IllegalGeneration) {
		t.Errorf("got %v for a commit of a past generation, want %v", err, kafka.IllegalGeneration)
	}
	if err := commit(t, b, "loaders", "nobody", int(newer.ID), "topic", 2, "stranger"); !errors.Is(err, kafka.UnknownMemberId) {
		t.Errorf("got %v for a commit of a stranger, want %v", err, kafka.UnknownMemberId)
	}
	if offset, metadata := committed(t, b, "loaders", "topic"); offset != 1 || metadata != "first" {
		t.Errorf("got %d, %q, want what the first generation committed", offset, metadata)
	}
}

func TestGenerationsGrowThroughRestarts(t *testing.T) {
	b := brokertest.Start(t)
	b.CreateTopic("topic", 1)
	g := newGroup(t, b, "loaders", "topic")
	before := nextGeneration(t, g)
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	b.Restart()
	after := nextGeneration(t, newGroup(t, b, "loaders", "topic"))
	if after.ID <= before.ID {
		t.Errorf("got generation %d after %d", after.ID, before.ID)
	}
	if err := commit(t, b, "loaders", before.MemberID, int(before.ID), "topic", 5, "late"); err == nil {
		t.Error("a commit of a generation before the restart was taken")
	}
}

func TestOnlyTheOwnerGetsIn(t *testing.T) {
	b := brokertest.Start(t)
	for _, c := range []struct {
		name, user string
		password   secret.Value
	}{
		{"a wrong password", b.User, secret.New("guess")},
		{"an unknown user", "admin", b.Password},
		{"no password", b.User, secret.New("")},
	} {
		t.Run(c.name, func(t *testing.T) {
			transport, err := broker.Transport(c.user, c.password)
			if err != nil {
				t.Fatal(err)
			}
			defer transport.CloseIdleConnections()
			_, err = (&kafka.Client{Addr: kafka.TCP(b.Addr), Transport: transport}).Metadata(testContext(t), &kafka.MetadataRequest{})
			if err == nil {
				t.Error("got in")
			}
		})
	}
	t.Run("without a login", func(t *testing.T) {
		transport := &kafka.Transport{}
		defer transport.CloseIdleConnections()
		_, err := (&kafka.Client{Addr: kafka.TCP(b.Addr), Transport: transport}).Metadata(testContext(t), &kafka.MetadataRequest{})
		if err == nil {
			t.Error("got in")
		}
	})
}

func TestARestartedBrokerTakesANewPassword(t *testing.T) {
	dir := t.TempDir()
	first := brokertest.StartWith(t, brokertest.Options{Dir: dir})
	first.CreateTopic("topic", 1)
	first.Stop()
	second := brokertest.StartWith(t, brokertest.Options{Dir: dir})
	if first.Password.Reveal() == second.Password.Reveal() {
		t.Fatal("two brokers of a test have the same password")
	}
	if offset := produce(t, second, "topic", record("", "x")); offset != 0 {
		t.Errorf("got offset %d", offset)
	}
}

func TestOffsetsNeverStartAgain(t *testing.T) {
	b := brokertest.Start(t)
	b.CreateTopic("topic", 1)
	for i := range 5 {
		produce(t, b, "topic", record("", fmt.Sprint(i)))
	}
	// kafka-go cannot ask for this; franz-go can.
	admin, err := kgo.NewClient(kgo.SeedBrokers(b.Addr), kgo.SASL(scram.Auth{User: b.User, Pass: b.Password.Reveal()}.AsSha256Mechanism()))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	req := kmsg.NewDeleteRecordsRequest()
	req.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: "topic", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: 0, Offset: -1}}}}
	res, err := req.RequestWith(testContext(t), admin)
	if err != nil {
		t.Fatal(err)
	}
	if p := res.Topics[0].Partitions[0]; p.ErrorCode != 0 || p.LowWatermark != 4 {
		t.Fatalf("delete all records: got %+v, want low watermark 4: the last record stays", p)
	}
	for _, when := range []string{"at once", "after a restart"} {
		if first, next := offsets(t, b, "topic"); first != 4 || next != 5 {
			t.Errorf("%s: got offsets [%d, %d), want [4, 5)", when, first, next)
		}
		b.Restart()
	}
	if offset := produce(t, b, "topic", record("", "next")); offset != 5 {
		t.Errorf("got offset %d, want 5", offset)
	}
}

// A member that dies while it waits for the answer to its join is dismissed when its session is over, and what was assigned to
// it goes to those who live.
func TestAMemberThatDiesWhileItIsAnsweredIsDismissed(t *testing.T) {
	b := brokertest.Start(t)
	b.CreateTopic("topic", 2)
	login := kgo.SASL(scram.Auth{User: b.User, Pass: b.Password.Reveal()}.AsSha256Mechanism())
	alive, err := kgo.NewClient(kgo.SeedBrokers(b.Addr), login, kgo.ConsumerGroup("group"), kgo.ConsumeTopics("topic"),
		kgo.Balancers(kgo.RangeBalancer()), kgo.SessionTimeout(time.Second), kgo.HeartbeatInterval(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close()
	assigned := func(members, partitions int) {
		t.Helper()
		if _, err := b.Cluster().WaitGroupInfo(testContext(t), "group", func(g *kfake.GroupInfo) bool {
			return g != nil && g.State == "Stable" && len(g.Members) == members && g.NumAssigned() == 2 && slices.ContainsFunc(g.Members, func(m kfake.GroupMember) bool { return m.NumAssigned() == partitions })
		}); err != nil {
			t.Fatal(err)
		}
	}
	assigned(1, 2)
	dying, err := kgo.NewClient(kgo.SeedBrokers(b.Addr), login)
	if err != nil {
		t.Fatal(err)
	}
	join := kmsg.NewJoinGroupRequest()
	join.Group, join.SessionTimeoutMillis, join.RebalanceTimeoutMillis, join.ProtocolType = "group", 1000, 30000, "consumer"
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Topics = []string{"topic"}
	protocol := kmsg.NewJoinGroupRequestProtocol()
	protocol.Name, protocol.Metadata = "range", meta.AppendTo(nil)
	join.Protocols = []kmsg.JoinGroupRequestProtocol{protocol}
	first, err := join.RequestWith(testContext(t), dying)
	if err != nil {
		t.Fatal(err)
	}
	join.MemberID = first.MemberID
	gone := make(chan struct{})
	// The dying member's connection is closed when the broker has its join and before the others have joined again.
	b.Cluster().ControlKey(int16(kmsg.JoinGroup), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		b.Cluster().KeepControl()
		if req := kreq.(*kmsg.JoinGroupRequest); req.MemberID != join.MemberID {
			b.Cluster().SleepControl(func() { <-gone })
		}
		return nil, nil, false
	})
	go func() {
		_, _ = join.RequestWith(context.Background(), dying) // it gets no answer
	}()
	if _, err := b.Cluster().WaitGroupInfo(testContext(t), "group", func(g *kfake.GroupInfo) bool { return g != nil && g.State == "PreparingRebalance" }); err != nil {
		t.Fatal(err)
	}
	dying.Close()
	close(gone)
	assigned(2, 1) // the dead one has one of the two
	assigned(1, 2)
}
