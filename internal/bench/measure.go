package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

const (
	sideEngine   = "engine"
	sidePipeline = "pipeline"
)

// order is what a child process measures.
type order struct {
	Side, Format, File string
	Rows               int
	Dir                string // empty folder for the child
	Profile            string // beginning of the names of the profiles' files; "" for none

	Server *serverOrder `json:",omitempty"` // of a measurement beside a database
}

// measurement is what came of an order.
type measurement struct {
	Seconds      float64 // from the order to load until everything is in the table
	CPU          float64 // processor seconds of the process meanwhile
	BrokerCPU    float64
	WarehouseCPU float64
	PeakMB       float64 // highest resident memory of the process
	Landed       string  // what stands in the table, in short

	// Of databases.
	Rows                   int64   // read, or written to Kafka
	ServerCPU              float64 // processor seconds of the database server
	LagP50, LagP99, LagMax float64 // milliseconds
}

// orderVariable hands the order to a child.
const orderVariable = "HEADWATER_BENCH_ORDER"

// measure runs an order in a process of its own, so that its memory and processor time are its own.
func measure(ctx context.Context, o order) (m measurement, err error) {
	if o.Dir, err = os.MkdirTemp("", "headwater-bench-run-"); err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(o.Dir)) }()
	if o.Profile != "" {
		if err := os.MkdirAll(filepath.Dir(o.Profile), 0o700); err != nil {
			return m, err
		}
	}
	text, err := json.Marshal(o)
	if err != nil {
		return m, err
	}
	self, err := os.Executable()
	if err != nil {
		return m, err
	}
	child := exec.CommandContext(ctx, self)
	child.Cancel = func() error { return child.Process.Signal(os.Interrupt) }
	child.WaitDelay = 30 * time.Second
	child.Env = append(os.Environ(), orderVariable+"="+string(text))
	child.Stderr = os.Stderr
	out, err := child.Output()
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(out, &m)
}

// maybeMeasure does what this process was started for, if it was started by measure.
func maybeMeasure() {
	text := os.Getenv(orderVariable)
	if text == "" {
		return
	}
	// Servers that this process starts are itself, too, and have no order.
	_ = os.Unsetenv(orderVariable) // fails for impossible names only
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := carryOut(ctx, text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func carryOut(ctx context.Context, text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	load, ok := map[string]func(context.Context, order) (measurement, error){
		sideEngine: loadWithEngine, sidePipeline: loadWithPipeline,
		sideCopy: copyOut, sideSelect: selectAll, sideConnector: ingestTable, sideBacklog: ingestBacklog, sideLag: followSteadily,
	}[o.Side]
	if !ok {
		return fmt.Errorf("nobody measures %q", o.Side)
	}
	m, err := load(ctx, o)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(m)
}

// landed asks the table what it holds, so that two loads can be compared: how many rows, and a sum of hashes of their content.
func landed(table string) string {
	return "SELECT count(), sum(cityHash64(indicator, region, member, subject, grain, period, feed, value, unit, level)), sum(_row), countIf(_source = 'bench' AND _extracted_at > 0) FROM " + table
}

// alive reports whether a process runs; one that has ended and was not waited for does not.
func alive(pid int) bool {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	fields := bytes.Fields(raw[bytes.LastIndexByte(raw, ')')+1:])
	return len(fields) > 0 && !bytes.Equal(fields[0], []byte("Z"))
}

// used is the processor time of a process so far, in seconds.
func used(pid int) (float64, error) { return processorTime(pid, 11, 13) }

// usedByAll is the processor time of a process and of its children, those that have ended and those that live.
func usedByAll(pid int) (float64, error) {
	total, err := processorTime(pid, 11, 15)
	if err != nil {
		return 0, err
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0, err
	}
	for _, child := range bytes.Fields(children) {
		n, err := strconv.Atoi(string(child))
		if err != nil {
			return 0, err
		}
		spent, err := processorTime(n, 11, 15)
		if errors.Is(err, os.ErrNotExist) {
			continue // it has ended meanwhile
		}
		if err != nil {
			return 0, err
		}
		total += spent
	}
	return total, nil
}

// processorTime adds up fields of a process's times: its own in user and system mode, and those of children that have ended.
func processorTime(pid, from, to int) (float64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name, in parentheses, may hold anything; the times are the 12th to 15th field after it.
	fields := bytes.Fields(raw[bytes.LastIndexByte(raw, ')')+1:])
	if len(fields) < to {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	const ticksPerSecond = 100 // of /proc, on every Linux
	total := 0.0
	for _, field := range fields[from:to] {
		ticks, err := strconv.ParseFloat(string(field), 64)
		if err != nil {
			return 0, err
		}
		total += ticks / ticksPerSecond
	}
	return total, nil
}

// peakMB is the highest resident memory of this process, in units of 1024² bytes.
func peakMB() (float64, error) {
	raw, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	_, rest, found := bytes.Cut(raw, []byte("VmHWM:"))
	fields := bytes.Fields(rest)
	if !found || len(fields) == 0 {
		return 0, errors.New("/proc/self/status tells no VmHWM")
	}
	kib, err := strconv.ParseFloat(string(fields[0]), 64)
	return kib / 1024, err
}
