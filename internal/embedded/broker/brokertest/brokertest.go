// Package brokertest gives tests a broker of their own, in their process.
//
// A test that must see the broker die by kill -9 uses embedded.Acquire, which runs it in a process.
package brokertest

import (
	"bytes"
	"context"
	"crypto/rand"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/headwater-data/headwater/internal/embedded/broker"
	"github.com/headwater-data/headwater/internal/secret"
)

// Broker is a broker on a temporary folder. It stops at the end of its test, before the folder is removed.
type Broker struct {
	Addr     string // host:port; stays the same through Stop and Restart
	User     string
	Password secret.Value
	// Transport connects kafka-go Clients and Writers. Its idle connections are closed with the test.
	Transport *kafka.Transport
	// Mechanism is the login for what takes a kafka.Dialer: ConsumerGroup and Reader.
	Mechanism sasl.Mechanism

	t       testing.TB
	options Options
	mu      sync.Mutex
	running *broker.Broker // nil while stopped
}

// Options for StartWith. The zero value is what Start takes.
type Options struct {
	// Sync makes acknowledged writes reach the disk first; see broker.Config.
	Sync bool
	// Dir holds the broker's log. Defaults to a temporary folder of the test.
	Dir string
}

// Start starts a broker; it fails the test when it cannot.
func Start(t testing.TB) *Broker {
	t.Helper()
	return StartWith(t, Options{})
}

// StartWith is Start for tests with wishes.
func StartWith(t testing.TB, options Options) *Broker {
	t.Helper()
	if options.Dir == "" {
		options.Dir = t.TempDir()
	}
	b := &Broker{t: t, options: options, User: "headwater", Password: secret.New(rand.Text()), Addr: "127.0.0.1:0"}
	var err error
	if b.Mechanism, err = broker.Mechanism(b.User, b.Password); err != nil {
		t.Fatal(err)
	}
	if b.Transport, err = broker.Transport(b.User, b.Password); err != nil {
		t.Fatal(err)
	}
	b.start()
	t.Cleanup(func() {
		b.Stop()
		b.Transport.CloseIdleConnections()
	})
	return b
}

func (b *Broker) start() {
	b.t.Helper()
	listener, err := net.Listen("tcp", b.Addr)
	if err != nil {
		b.t.Fatalf("listen for the test's broker: %v", err)
	}
	running, err := broker.Open(broker.Config{
		Dir: b.options.Dir, Listener: listener, User: b.User, Password: b.Password, Sync: b.options.Sync,
		Logger: slog.New(slog.NewTextHandler(testLog{b.t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running, b.Addr = running, running.Addr()
}

// Stop ends the broker in good order; its clients see their connections close. Stopping a stopped broker does nothing.
func (b *Broker) Stop() {
	b.t.Helper()
	b.mu.Lock()
	running := b.running
	b.running = nil
	b.mu.Unlock()
	if running == nil {
		return
	}
	// Or the transport's next request would go into a connection that the broker has closed.
	defer b.Transport.CloseIdleConnections()
	if err := running.Close(); err != nil {
		b.t.Errorf("the test's broker lost something: %v", err)
	}
}

// Restart stops the broker, if it runs, and starts it on the same data and address.
func (b *Broker) Restart() {
	b.t.Helper()
	b.Stop()
	b.start()
}

// Client is a kafka-go client of the broker.
func (b *Broker) Client() *kafka.Client {
	return &kafka.Client{Addr: kafka.TCP(b.Addr), Transport: b.Transport, Timeout: 30 * time.Second}
}

// Dialer is for what does not take a Transport: kafka-go's ConsumerGroup and Reader.
func (b *Broker) Dialer() *kafka.Dialer {
	return &kafka.Dialer{SASLMechanism: b.Mechanism, Timeout: 10 * time.Second, DualStack: true}
}

// CreateTopic creates a topic with settings given as name, value, name, value.
func (b *Broker) CreateTopic(topic string, partitions int, settings ...string) {
	b.t.Helper()
	config := kafka.TopicConfig{Topic: topic, NumPartitions: partitions, ReplicationFactor: 1}
	for i := 0; i+1 < len(settings); i += 2 {
		config.ConfigEntries = append(config.ConfigEntries, kafka.ConfigEntry{ConfigName: settings[i], ConfigValue: settings[i+1]})
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	res, err := b.Client().CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{config}})
	if err == nil {
		err = res.Errors[topic]
	}
	if err != nil {
		b.t.Fatalf("create topic %q: %v", topic, err)
	}
}

// DeleteRecords moves the partition's log start to offset, as retention does; its last record always stays.
func (b *Broker) DeleteRecords(topic string, partition int32, offset int64) {
	b.t.Helper()
	info := b.Cluster().PartitionInfo(topic, partition)
	if info == nil {
		b.t.Fatalf("topic %q has no partition %d", topic, partition)
	}
	if err := b.Cluster().DeleteRecords(topic, partition, min(offset, info.HighWatermark-1)); err != nil {
		b.t.Fatalf("delete records of topic %q partition %d before offset %d: %v", topic, partition, offset, err)
	}
}

// Cluster is the kfake underneath, for tests that tell it to misbehave (ControlKey, Fault) or ask it about groups. It
// changes with every Restart. It fails the test when the broker is stopped.
func (b *Broker) Cluster() *kfake.Cluster {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running == nil {
		b.t.Fatal("the test's broker is stopped")
	}
	return b.running.Cluster()
}

// testLog writes a broker's log into its test's.
type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(string(bytes.TrimRight(p, "\n")))
	return len(p), nil
}
