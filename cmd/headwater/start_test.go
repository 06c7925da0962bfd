package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gofrs/flock"
)

// serversEnded waits until the project's embedded servers have put away what they keep, each of which holds a lock for as
// long: otherwise they would write into the folder while it is being removed.
func serversEnded(t *testing.T, dir string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second) // the test's own has ended
	defer cancel()
	for _, server := range []string{"broker", "warehouse"} {
		name := filepath.Join(dir, ".headwater", server, "lock")
		if _, err := os.Stat(name); err != nil {
			continue // it never ran
		}
		lock := flock.New(name)
		if _, err := lock.TryLockContext(ctx, 50*time.Millisecond); err != nil {
			t.Errorf("the embedded %s does not end: %v", server, err)
		}
		if err := lock.Close(); err != nil {
			t.Error(err)
		}
	}
}

// startProject makes a project whose one source has three rows and is read every hour. A flush waits as long as given.
func startProject(t *testing.T, flushWait string) string {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() { serversEnded(t, dir) })
	for name, text := range map[string]string{
		"headwater.yaml": "project: served\nbroker: {partitions: 1, session: 1s}\nlimits: {flush_wait: " + flushWait + "}\n",
		"indicators/t.yaml": `indicator: T
title: {zh: 试验, en: Test}
unit: 个
direction: up
aggregation: sum
time_aggregation: sum
grain: day
levels: [county]
description: For tests.
`,
		"sources/figures.yaml": `source: figures
owner: test
connector: file
schedule: {every: 1h}
streams:
  - name: rows
    read: {path: data/figures.csv}
    map:
      schema: observation
      fields:
        indicator: {value: T}
        region: {from: region, region: {within: "330000"}}
        subject: subject
        grain: {value: day}
        feed: {value: source}
        period: {from: day, parse: date}
        value: {from: value, parse: number}
`,
		"data/figures.csv": "region,subject,day,value\n上城区,a,2024-03-01,1\n西湖区,b,2024-03-01,2\n滨江区,c,2024-03-01,3\n",
	} {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// started is a running headwater start.
type started struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan map[string]any // its log
	log   *strings.Builder
}

func start(t *testing.T, dir string, args ...string) *started {
	t.Helper()
	// testscript.Main has put the program on the path.
	s := &started{t: t, cmd: exec.Command("headwater", append([]string{"start", "--log-format", "json", "--project", dir}, args...)...), lines: make(chan map[string]any, 1000), log: &strings.Builder{}}
	pipe, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.lines)
		scanner := bufio.NewScanner(pipe)
		for scanner.Scan() {
			var line map[string]any
			if json.Unmarshal(scanner.Bytes(), &line) == nil {
				s.lines <- line
			}
		}
	}()
	t.Cleanup(func() {
		if s.cmd.ProcessState == nil {
			_ = s.cmd.Process.Kill() // it may have ended
			s.code()
		}
	})
	return s
}

// await waits for a log line with that message.
func (s *started) await(message string) map[string]any {
	s.t.Helper()
	ctx, stop := context.WithTimeout(s.t.Context(), time.Minute)
	defer stop()
	for {
		select {
		case line, ok := <-s.lines:
			if !ok {
				s.t.Fatalf("the program ended without %q:\n%s", message, s.log)
			}
			raw, err := json.Marshal(line)
			if err != nil {
				s.t.Fatal(err)
			}
			s.log.Write(append(raw, '\n'))
			if line["msg"] == message {
				return line
			}
		case <-ctx.Done():
			s.t.Fatalf("%q was not said:\n%s", message, s.log)
		}
	}
}

func (s *started) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// code waits for the program's end and returns its exit code, -1 when it was killed.
func (s *started) code() int {
	for range s.lines { // the pipe must be read before Wait closes it
	}
	_ = s.cmd.Wait() // the state tells
	return s.cmd.ProcessState.ExitCode()
}

// headwater runs a command that must succeed and returns what it wrote.
func headwater(t *testing.T, dir string, args ...string) (out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command("headwater", append(args, "--project", dir)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("headwater %s: %v\n%s\n%s", strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), stderr.String()
}

func wantThreeRows(t *testing.T, dir string) {
	t.Helper()
	out, _ := headwater(t, dir, "query", "--format", "csv", "SELECT count(), uniqExact(subject), toInt64(sum(value)) FROM observation")
	if !strings.Contains(out, "3,3,6") {
		t.Errorf("rows, subjects, sum:\n%s", out)
	}
}

func TestStartServesUntilASignalAndRunGoesToIt(t *testing.T) {
	t.Parallel()
	dir := startProject(t, "50ms")
	s := start(t, dir)
	line := s.await("run done")
	if line["source"] != "figures" || line["trigger"] != "schedule" || line["loaded"] != 3.0 || line["run"] == "" {
		t.Errorf("the run's line: %v", line)
	}
	file := filepath.Join(dir, "data", "figures.csv")
	if err := os.WriteFile(file, []byte("region,subject,day,value\n上城区,a,2024-03-01,1\n西湖区,b,2024-03-01,2\n滨江区,c,2024-03-01,4\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, errs := headwater(t, dir, "run", "--json", "--log-format", "json")
	if !strings.Contains(strings.Join(strings.Fields(out), ""), `"read":3`) || !strings.Contains(errs, `"loaded":3`) || strings.Contains(errs, "waiting") {
		t.Errorf("run beside start:\n%s\n%s", out, errs)
	}
	if line := s.await("run done"); line["trigger"] != "command" {
		t.Errorf("the run's line: %v", line)
	}
	second := start(t, dir)
	if code := second.code(); code != exitEnvironment {
		t.Errorf("a second start ended with %d, want %d", code, exitEnvironment)
	}
	s.signal(syscall.SIGTERM)
	s.await("stopped")
	if code := s.code(); code != exitDone {
		t.Errorf("exit code %d, want %d", code, exitDone)
	}
}

func TestStartWithoutGraceIsAMistake(t *testing.T) {
	t.Parallel()
	s := start(t, startProject(t, "1s"), "--grace", "0s")
	if code := s.code(); code != exitUsage {
		t.Errorf("exit code %d, want %d", code, exitUsage)
	}
}

func TestASecondSignalEndsStartAtOnceAndTheNextRunGoesOn(t *testing.T) {
	t.Parallel()
	dir := startProject(t, "1h") // the rows wait in Kafka
	s := start(t, dir, "--grace", "1h")
	s.await("serving")
	awaitBatch(t, dir)
	thaw := freezeWarehouse(t, dir) // the rows cannot be loaded now
	defer thaw()
	s.signal(syscall.SIGINT)
	s.await("stopping")
	s.signal(syscall.SIGTERM)
	if code := s.code(); code != exitSignal+int(syscall.SIGTERM) {
		t.Errorf("exit code %d, want %d", code, exitSignal+int(syscall.SIGTERM))
	}
	thaw()
	headwater(t, dir, "run")
	wantThreeRows(t, dir)
}

// freezeWarehouse stops the embedded warehouse as SIGSTOP does; it goes on when the returned function is called.
func freezeWarehouse(t *testing.T, dir string) (thaw func()) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, ".headwater", "warehouse", "endpoint.json"))
	if err != nil {
		t.Fatal(err)
	}
	var endpoint struct {
		PID int `json:"pid"`
	}
	if err := json.Unmarshal(raw, &endpoint); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(endpoint.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	return func() { _ = syscall.Kill(endpoint.PID, syscall.SIGCONT) } // it may have ended
}

func TestStartWhoseGraceIsOverEndsByItsSignal(t *testing.T) {
	t.Parallel()
	dir := startProject(t, "1h")
	s := start(t, dir, "--grace", "300ms")
	s.await("serving")
	awaitBatch(t, dir)
	thaw := freezeWarehouse(t, dir) // for longer than the grace lasts
	defer thaw()
	time.AfterFunc(3*time.Second, thaw)
	s.signal(syscall.SIGTERM)
	s.await("stopped before the work was done")
	if code := s.code(); code != exitSignal+int(syscall.SIGTERM) {
		t.Errorf("exit code %d, want %d", code, exitSignal+int(syscall.SIGTERM))
	}
	headwater(t, dir, "run")
	wantThreeRows(t, dir)
}

func TestAKilledStartLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	dir := startProject(t, "1h")
	s := start(t, dir)
	s.await("serving")
	awaitBatch(t, dir)
	s.signal(syscall.SIGKILL)
	if code := s.code(); code != -1 {
		t.Errorf("exit code %d of a killed process", code)
	}
	headwater(t, dir, "run")
	wantThreeRows(t, dir)
	next := start(t, dir)
	next.await("a run was cut short")
	next.await("serving")
	next.signal(syscall.SIGTERM)
	if code := next.code(); code != exitDone {
		t.Errorf("exit code %d, want %d", code, exitDone)
	}
	wantThreeRows(t, dir)
	out, _ := headwater(t, dir, "query", "--format", "csv", "SELECT outcome, count() FROM run FINAL GROUP BY outcome ORDER BY outcome")
	if strings.Contains(out, "running") || !strings.Contains(out, "stopped") {
		t.Errorf("history:\n%s", out)
	}
}

// awaitBatch waits until the broker's log has a batch in it.
func awaitBatch(t *testing.T, dir string) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	for ctx.Err() == nil {
		found := false
		_ = filepath.WalkDir(filepath.Join(dir, ".headwater", "broker"), func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() && !found {
				raw, err := os.ReadFile(path)
				found = err == nil && bytes.Contains(raw, []byte("figures.csv"))
			}
			return nil // files come and go while the server works
		})
		if found {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond): // another process's files are polled: there is no event to wait for
		}
	}
	t.Fatal("no batch came into Kafka")
}
