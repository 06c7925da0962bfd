package broker_test

import (
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/headwater-data/headwater/internal/embedded/broker"
	"github.com/headwater-data/headwater/internal/embedded/broker/brokertest"
	"github.com/headwater-data/headwater/internal/secret"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// open opens a broker without brokertest around it.
func open(t *testing.T, dir string) (*broker.Broker, *kafka.Client) {
	t.Helper()
	password := secret.New(rand.Text())
	b, err := broker.Open(broker.Config{Dir: dir, Listener: listen(t), User: "headwater", Password: password})
	if err != nil {
		t.Fatal(err)
	}
	transport, err := broker.Transport("headwater", password)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.CloseIdleConnections)
	return b, &kafka.Client{Addr: kafka.TCP(b.Addr()), Transport: transport}
}

func TestRetentionDeletesOldSegmentsAndKeepsTheNextOffset(t *testing.T) {
	dir := t.TempDir()
	b, _ := open(t, dir)
	week := 7 * 24 * time.Hour
	topics := map[string]map[string]string{
		"short":   {"retention.ms": "3600000", "segment.bytes": "1000"},
		"long":    {"retention.ms": "-1", "segment.bytes": "1000"},
		"default": {"segment.bytes": "1000"},
		"cursors": {"cleanup.policy": "compact", "retention.ms": "3600000", "segment.bytes": "1000"},
	}
	for topic, settings := range topics {
		if err := b.Cluster().CreateTopic(topic, 1, settings); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b, c := open(t, dir)
	for topic := range topics {
		for range 10 {
			res, err := c.Produce(t.Context(), &kafka.ProduceRequest{Topic: topic, RequiredAcks: kafka.RequireAll,
				Records: kafka.NewRecordReader(record("key", strings.Repeat("x", 400)))})
			if err != nil || res.Error != nil {
				t.Fatal(err, res)
			}
		}
	}
	for _, step := range []struct {
		after time.Duration
		want  map[string]int64 // log start; a segment holds three records
	}{
		{time.Minute, map[string]int64{"short": 0, "long": 0, "default": 0, "cursors": 0}},
		{2 * time.Hour, map[string]int64{"short": 9, "long": 0, "default": 0, "cursors": 0}},
		{2 * week, map[string]int64{"short": 9, "long": 0, "default": 9, "cursors": 0}},
	} {
		if err := broker.Clean(b, t.Context(), time.Now().Add(step.after)); err != nil {
			t.Fatal(err)
		}
		for topic, want := range step.want {
			if info := b.Cluster().PartitionInfo(topic, 0); info.LogStartOffset != want || info.HighWatermark != 10 {
				t.Errorf("%s after %v: got [%d, %d), want [%d, 10)", topic, step.after, info.LogStartOffset, info.HighWatermark, want)
			}
		}
	}
	killed, _ := open(t, asKilled(t, dir))
	if info := killed.Cluster().PartitionInfo("short", 0); info.LogStartOffset != 9 || info.HighWatermark != 10 {
		t.Errorf("after a kill: got [%d, %d), want [9, 10)", info.LogStartOffset, info.HighWatermark)
	}
	for _, b := range []*broker.Broker{b, killed} {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}

// kfake answers a commit that it could not write down as if it had.
func TestACommitThatCannotBeKeptIsNotAcknowledged(t *testing.T) {
	dir := t.TempDir()
	b, c := open(t, dir)
	if err := b.Cluster().CreateTopic("topic", 1, nil); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "groups.log")
	if err := os.RemoveAll(log); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(log, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := c.OffsetCommit(testContext(t), &kafka.OffsetCommitRequest{GroupID: "g", GenerationID: -1,
		Topics: map[string][]kafka.OffsetCommit{"topic": {{Offset: 3}}}}); err == nil {
		t.Error("the commit was acknowledged")
	}
	select {
	case <-b.Failed():
	case <-testContext(t).Done():
		t.Fatal("the broker has not noticed")
	}
	if err := b.Close(); err == nil || !strings.Contains(err.Error(), "groups.log") {
		t.Errorf("got %v from Close, want what went wrong with groups.log", err)
	}
}

func TestStrangeConnectionsDoNotDisturbTheBroker(t *testing.T) {
	b := brokertest.Start(t)
	b.CreateTopic("topic", 1)
	for name, bytes := range map[string]string{
		"a browser":                  "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
		"a request of two gigabytes": "\x7f\xff\xff\xff\x00\x00",
		"an unknown request":         "\x00\x00\x00\x20\x27\x0f\x00\x00\x00\x00\x00\x00",
		"a torn request":             "\x00\x00\x00\x20\x00\x03",
	} {
		conn, err := net.Dial("tcp", b.Addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, bytes); err != nil {
			t.Fatal(err)
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if answer, err := io.ReadAll(conn); len(answer) > 0 {
			t.Errorf("%s: got answer %q, %v", name, answer, err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	produce(t, b, "topic", record("", "x"))
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	notAFolder := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(notAFolder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	newer := t.TempDir()
	if err := os.WriteFile(filepath.Join(newer, "meta.json"), []byte(`{"version":99}`), 0o600); err != nil {
		t.Fatal(err)
	}
	password := secret.New("p")
	for _, c := range []struct {
		name, want string
		config     broker.Config
	}{
		{"a password is required", "Password", broker.Config{Dir: t.TempDir(), User: "u"}},
		{"a folder is required", "Dir", broker.Config{User: "u", Password: password}},
		{"a file is no folder", "not a directory", broker.Config{Dir: notAFolder, User: "u", Password: password}},
		{"the log of a newer version is not touched", "newer", broker.Config{Dir: newer, User: "u", Password: password}},
	} {
		c.config.Listener = listen(t)
		_, err := broker.Open(c.config)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q in it", c.name, err, c.want)
		}
		if err := c.config.Listener.(*net.TCPListener).SetDeadline(time.Now().Add(time.Second)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: the listener is still open", c.name)
		}
		if _, err := c.config.Listener.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: the listener is still open", c.name)
		}
	}
}
