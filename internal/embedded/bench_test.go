package embedded_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/headwater-data/headwater/internal/embedded"
	"github.com/headwater-data/headwater/internal/embedded/broker"
)

// residentMiB is the memory of a process, now and at its highest, where the system tells.
func residentMiB(pid int) (now, peak float64) {
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return 0, 0
	}
	field := func(name string) float64 {
		_, rest, found := bytes.Cut(raw, []byte(name+":"))
		if !found {
			return 0
		}
		kib, err := strconv.ParseFloat(string(bytes.Fields(rest)[0]), 64)
		if err != nil {
			return 0
		}
		return kib / 1024
	}
	return field("VmRSS"), field("VmHWM")
}

// BenchmarkBrokerProcess sends messages of 4 MiB through a broker in its own process, reads them, kills the broker, and
// starts it again on what it kept. It tells the broker's memory after each step.
func BenchmarkBrokerProcess(b *testing.B) {
	ctx := context.Background()
	dir := b.TempDir()
	open := func() (*embedded.Lease, *kafka.Client, func()) {
		lease, err := embedded.Acquire(ctx, dir, embedded.Broker, embedded.Options{Grace: time.Millisecond})
		if err != nil {
			b.Fatal(err)
		}
		e := lease.Endpoint()
		transport, err := broker.Transport(e.User, e.Password)
		if err != nil {
			b.Fatal(err)
		}
		return lease, &kafka.Client{Addr: kafka.TCP(e.Addr), Transport: transport}, transport.CloseIdleConnections
	}
	lease, c, done := open()
	if _, err := c.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: "bulk", NumPartitions: 4, ReplicationFactor: 1,
		ConfigEntries: []kafka.ConfigEntry{{ConfigName: "max.message.bytes", ConfigValue: "16777216"}}}}}); err != nil {
		b.Fatal(err)
	}
	value := make([]byte, 4<<20)
	for i := range value {
		value[i] = byte(rand.Uint32())
	}
	sent := 0
	b.SetBytes(int64(len(value)))
	start := time.Now()
	for b.Loop() {
		res, err := c.Produce(ctx, &kafka.ProduceRequest{Topic: "bulk", Partition: sent % 4, RequiredAcks: kafka.RequireAll,
			Records: kafka.NewRecordReader(kafka.Record{Value: kafka.NewBytes(value)})})
		if err != nil || res.Error != nil {
			b.Fatal(err, res)
		}
		sent++
	}
	b.ReportMetric(float64(sent*4)/time.Since(start).Seconds(), "produceMiB/s")
	now, peak := residentMiB(lease.Endpoint().PID)
	b.ReportMetric(now, "producedMiB")
	b.ReportMetric(peak, "producedPeakMiB")

	start = time.Now()
	for i := range sent {
		res, err := c.Fetch(ctx, &kafka.FetchRequest{Topic: "bulk", Partition: i % 4, Offset: int64(i / 4), MinBytes: 1, MaxBytes: 1 << 20, MaxWait: time.Second})
		if err != nil || res.Error != nil {
			b.Fatal(err, res)
		}
		r, err := res.Records.ReadRecord()
		if err != nil {
			b.Fatal(err)
		}
		if v, err := kafka.ReadAll(r.Value); err != nil || len(v) != len(value) {
			b.Fatal(err, len(v))
		}
	}
	b.ReportMetric(float64(sent*4)/time.Since(start).Seconds(), "fetchMiB/s")
	now, _ = residentMiB(lease.Endpoint().PID)
	b.ReportMetric(now, "fetchedMiB")

	if err := syscall.Kill(lease.Endpoint().PID, syscall.SIGKILL); err != nil {
		b.Fatal(err)
	}
	<-lease.Lost()
	if err := lease.Close(); err != nil {
		b.Fatal(err)
	}
	done()
	start = time.Now()
	lease, _, done = open()
	defer done()
	b.ReportMetric(time.Since(start).Seconds(), "restartSeconds")
	now, peak = residentMiB(lease.Endpoint().PID)
	b.ReportMetric(now, "restartedMiB")
	b.ReportMetric(peak, "restartedPeakMiB")
	if err := lease.Close(); err != nil {
		b.Fatal(err)
	}
	for {
		if _, runs, err := embedded.Running(dir, embedded.Broker); err != nil {
			b.Fatal(err)
		} else if !runs {
			return
		}
	}
}
