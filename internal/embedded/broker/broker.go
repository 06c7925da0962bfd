// Package broker is the embedded broker: a persistent Kafka for one project, for first use and tests.
//
// It runs franz-go's kfake over a folder and adds what kfake leaves out and a project needs: it keeps what it has
// acknowledged through kill -9, refuses strangers, bounds what a connection may make it allocate, and cleans old records
// without ever losing a partition's next offset. Open starts a broker in this process; package embedded runs it in a
// process of its own, which is what programs want: kfake answers all requests one after another.
//
// What differs from Apache Kafka, and matters to whoever builds on it:
//   - One node, no replication; acks of any kind mean "written to the operating system" (to the disk with Config.Sync).
//   - Compaction happens when the broker starts, never while it runs; a batch of which one record is still the newest of
//     its key stays whole.
//   - Retention deletes whole segments, judged by when they were last written, and never a partition's last segment;
//     DeleteRecords never deletes a partition's last record.
//   - After kill -9, records below a log start that DeleteRecords moved may come back, and groups come back without
//     members: a member's next heartbeat or commit is refused, and it joins again under a higher generation.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater-data/headwater/internal/secret"
)

// The sizes that a broker of Apache Kafka has by default, or that Headwater's topics need.
const (
	// segmentBytes is small because kfake reads whole segments, all partitions at a time, when it starts.
	segmentBytes = 16 << 20
	// maxRequestBytes is Kafka's socket.request.max.bytes.
	maxRequestBytes = 100 << 20
	// maxCommitMetadataBytes is Kafka's offset.metadata.max.bytes.
	maxCommitMetadataBytes = 4096
	// cleanInterval is how often retention is applied.
	cleanInterval = 10 * time.Minute
)

// Config says what a broker serves, and to whom.
type Config struct {
	// Dir holds the broker's log; it is created with mode 0700. Only one broker may use it at a time: the caller sees to that.
	Dir string
	// Listener takes the broker's connections and gives its advertised address, so it must not listen on a wildcard.
	// The broker owns it: it is closed when Open fails and when the broker closes.
	Listener net.Listener
	// User and Password are the only credentials that the broker accepts, by SCRAM-SHA-256. Both are required.
	User     string
	Password secret.Value
	// Sync makes every acknowledged write reach the disk before its answer, so that it survives a power cut and not only
	// the end of the process.
	Sync bool
	// Logger receives what an operator acts on. Defaults to discarding.
	Logger *slog.Logger
}

// Broker is a running broker. Its methods may be called from any goroutine.
type Broker struct {
	cfg     Config
	log     *slog.Logger
	cluster *kfake.Cluster

	failOnce sync.Once
	failed   chan struct{} // closed when something acknowledged could not be kept
	failure  error         // why; set before failed closes

	silence silence

	stopWatch context.CancelFunc
	watching  sync.WaitGroup
	closeOnce sync.Once
	closeErr  error
}

// Open mends what the last end of the broker left behind in cfg.Dir, loads it and serves it. It returns when clients are
// being answered.
func Open(cfg Config) (*Broker, error) {
	b := &Broker{cfg: cfg, log: cfg.Logger, failed: make(chan struct{}), silence: silence{groups: map[string]*heard{}}}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	if cfg.Listener == nil {
		return nil, errors.New("open embedded broker: Listener is required")
	}
	if err := b.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open embedded broker in %s: %w", cfg.Dir, err), ignoreClosed(cfg.Listener.Close()))
	}
	ctx, stop := context.WithCancel(context.Background())
	b.stopWatch = stop
	b.watching.Go(func() { b.cleanEvery(ctx, cleanInterval) })
	if err := b.dismissEvery(ctx, silentInterval); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func (b *Broker) open() error {
	if b.cfg.Dir == "" || b.cfg.User == "" || !b.cfg.Password.IsSet() {
		return errors.New("broker: Config needs Dir, User and Password")
	}
	if err := os.MkdirAll(b.cfg.Dir, 0o700); err != nil {
		return err
	}
	if err := mend(b.cfg.Dir, b.log); err != nil {
		return err
	}
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.ClusterID("headwater-embedded"),
		kfake.DataDir(b.cfg.Dir),
		kfake.DefaultNumPartitions(1),
		kfake.ListenFn(func(string, string) (net.Listener, error) {
			return &guardedListener{Listener: b.cfg.Listener, broker: b}, nil
		}),
		// Kafka's default of six seconds is for networks; here a shorter one shows a dead member sooner to those who ask for it.
		kfake.GroupMinSessionTimeout(time.Second),
		// SCRAM and not PLAIN: kfake lets any unknown user in by PLAIN with an empty password.
		kfake.EnableSASL(),
		kfake.Superuser("SCRAM-SHA-256", b.cfg.User, b.cfg.Password.Reveal()),
		kfake.WithLogger(logAdapter{b}),
		kfake.BrokerConfigs(map[string]string{
			"log.segment.bytes": fmt.Sprint(segmentBytes),
			// kfake's own cleaner forgets the next offset of a partition that it empties, and loses a compacted
			// partition when it is killed in the middle. It never runs: ten years, as large as its timers bear.
			"log.cleaner.backoff.ms": fmt.Sprint(10 * 365 * 24 * time.Hour.Milliseconds()),
			// A project may rest for months between two looks at it.
			"offsets.retention.minutes": fmt.Sprint(int64(10 * 365 * 24 * time.Hour / time.Minute)),
		}),
	}
	if b.cfg.Sync {
		opts = append(opts, kfake.SyncWrites())
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		return err
	}
	b.cluster = cluster
	cluster.ControlKey(int16(kmsg.OffsetCommit), b.checkCommit)
	cluster.ControlKey(int16(kmsg.OffsetFetch), b.fetchOfNewGroup)
	cluster.ControlKey(int16(kmsg.DeleteRecords), b.keepLastRecord)
	cluster.ControlKey(int16(kmsg.JoinGroup), b.joins)
	cluster.ControlKey(int16(kmsg.SyncGroup), b.beats)
	cluster.ControlKey(int16(kmsg.Heartbeat), b.beats)
	return nil
}

// Addr is the address that clients connect to, as host:port.
func (b *Broker) Addr() string { return b.cfg.Listener.Addr().String() }

// Cluster gives tests the kfake underneath, to misbehave as told (kfake.Cluster.ControlKey, Fault) or to be asked about
// groups and partitions. Do not Close it.
func (b *Broker) Cluster() *kfake.Cluster { return b.cluster }

// Failed is closed when the broker could not keep something it had to acknowledge (disk full, folder gone). From then on
// it answers nobody; Close it. Close then returns the reason.
func (b *Broker) Failed() <-chan struct{} { return b.failed }

// Close stops serving and writes a snapshot that makes the next Open quick. It returns the first thing that went wrong
// with what the broker had to keep. Closing twice returns the same.
func (b *Broker) Close() error {
	b.closeOnce.Do(func() {
		b.stopWatch()
		b.watching.Wait()
		b.cluster.Close()
		select {
		case <-b.failed:
			b.closeErr = b.failure
		default:
		}
	})
	return b.closeErr
}

func (b *Broker) fail(err error) {
	b.failOnce.Do(func() {
		b.failure = err
		b.log.Error("embedded broker cannot keep what it acknowledges", "error", err)
		close(b.failed)
	})
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func partitionsDir(dir string) string { return filepath.Join(dir, "partitions") }
