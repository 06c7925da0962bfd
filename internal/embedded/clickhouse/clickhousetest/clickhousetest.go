// Package clickhousetest starts embedded warehouses for tests, each in a child process: the engine is one to a process, and
// a process with an engine in it is not what a test wants to be.
//
// The child is the test binary itself, started again with an environment variable that this package's init looks for, so a
// test needs nothing but Start. A child ends when the test binary ends, however that ends.
package clickhousetest

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headwater-data/headwater/internal/embedded/clickhouse"
	"github.com/headwater-data/headwater/internal/secret"
)

// Server is a running warehouse.
type Server struct {
	Addr           string // host:port of the HTTP interface
	User, Password string
	ReaderPassword string // of the user "reader"
}

// childVariable tells the test binary to be a server.
const childVariable = "HEADWATER_CLICKHOUSETEST_CHILD"

// order is what a child is told on its standard input, which then stays open as its lifeline.
type order struct {
	Dir, User, Password, ReaderPassword string
	MaxMemoryBytes                      int64
	Remove                              bool // remove Dir at the end
	Grants                              []string
	Filters                             []clickhouse.Filter
}

func init() {
	if os.Getenv(childVariable) == "" {
		return
	}
	if err := child(); err != nil {
		fmt.Fprintln(os.Stderr, "embedded warehouse:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func child() error {
	input := bufio.NewReader(os.Stdin)
	line, err := input.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read order: %w", err)
	}
	var o order
	if err := json.Unmarshal(line, &o); err != nil {
		return fmt.Errorf("read order: %w", err)
	}
	if o.Remove {
		defer func() { _ = os.RemoveAll(o.Dir) }() // nobody is left to tell
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, input) // the end of the lifeline, whatever ended it
		stop()
	}()
	engine, err := clickhouse.Fetch(ctx, nil)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	return clickhouse.Serve(ctx, clickhouse.Config{
		Dir: o.Dir, Engine: engine, User: o.User, Password: secret.New(o.Password), ReaderPassword: secret.New(o.ReaderPassword),
		Listener: listener, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)), MaxMemoryBytes: o.MaxMemoryBytes, Grants: o.Grants, Filters: o.Filters,
	})
}

var shared struct {
	sync.Mutex
	process *Process
}

// Start returns the warehouse of this test binary, starting it for the first caller. Tests share it: each makes a database
// of its own, for example with Database.
func Start(t testing.TB) Server {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.process == nil {
		dir, err := os.MkdirTemp("", "headwater-clickhouse-")
		if err != nil {
			t.Fatalf("start embedded warehouse: %v", err)
		}
		process, err := start(order{Dir: dir, Remove: true})
		if err != nil {
			t.Fatalf("start embedded warehouse: %v", err)
		}
		shared.process = process
	}
	return shared.process.Server
}

var databases atomic.Int64

// Database makes an empty database for one test and drops it when the test ends.
func (s Server) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test_%d_%d", os.Getpid(), databases.Add(1))
	s.Exec(t, "CREATE DATABASE "+name)
	t.Cleanup(func() { s.Exec(t, "DROP DATABASE IF EXISTS "+name+" SYNC") })
	return name
}

// Exec runs a statement as the user who may write and returns the answer's text; an error ends the test.
func (s Server) Exec(t testing.TB, sql string) string {
	t.Helper()
	status, body := s.ask(t, sql)
	if status != http.StatusOK {
		t.Fatalf("%s: %d: %s", sql, status, body)
	}
	return body
}

// Try runs a statement as the user who may write and returns the answer's text, also when it is an error's.
func (s Server) Try(t testing.TB, sql string) string {
	t.Helper()
	_, body := s.ask(t, sql)
	return body
}

func (s Server) ask(t testing.TB, sql string) (status int, body string) {
	t.Helper()
	request, err := http.NewRequest(http.MethodPost, "http://"+s.Addr+"/", strings.NewReader(sql))
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	request.SetBasicAuth(s.User, s.Password)
	request.Close = true // no connection stays behind for a leak detector to find
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s: %s: %v", sql, response.Status, err)
	}
	return response.StatusCode, string(text)
}

// Process is a warehouse of one test alone, which may kill it.
type Process struct {
	Server
	command  *exec.Cmd
	lifeline io.Closer
	log      string
}

// StartIn starts a warehouse on a folder, which stays when it ends. It is stopped when the test ends, if it still runs.
func StartIn(t testing.TB, dir string) *Process {
	t.Helper()
	return startFor(t, order{Dir: dir})
}

func startFor(t testing.TB, o order) *Process {
	t.Helper()
	p, err := start(o)
	if err != nil {
		t.Fatalf("start embedded warehouse in %s: %v", o.Dir, err)
	}
	t.Cleanup(func() {
		if p.command.ProcessState == nil {
			_ = p.command.Process.Kill() // it may have ended meanwhile
			_ = p.command.Wait()         // killed, which is an error to Wait
		}
		_ = p.lifeline.Close() // closed already when Stop was called
	})
	return p
}

// StartWith starts a warehouse on a folder whose user has exactly those rights and sees only the rows that the filters let
// through (see clickhouse.Config). It is stopped when the test ends, if it still runs.
func StartWith(t testing.TB, dir string, grants []string, filters ...clickhouse.Filter) *Process {
	t.Helper()
	return startFor(t, order{Dir: dir, Grants: grants, Filters: filters})
}

// TryIn says why a warehouse does not start on a folder, nil if it does.
func TryIn(dir string) error {
	p, err := start(order{Dir: dir})
	if err != nil {
		return err
	}
	_ = p.lifeline.Close() // the child ends
	return p.command.Wait()
}

// Pid is the child's process id.
func (p *Process) Pid() int { return p.command.Process.Pid }

// Kill ends the child as kill -9 does and waits until it is gone.
func (p *Process) Kill(t testing.TB) {
	t.Helper()
	if err := p.command.Process.Kill(); err != nil {
		t.Fatalf("kill embedded warehouse: %v", err)
	}
	_ = p.command.Wait() // killed, which is an error to Wait
}

// Stop lets the child end in order and waits for it.
func (p *Process) Stop(t testing.TB) {
	t.Helper()
	_ = p.lifeline.Close()
	if err := p.command.Wait(); err != nil {
		log, _ := os.ReadFile(p.log)
		t.Fatalf("stop embedded warehouse: %v\n%s", err, log)
	}
}

// logs numbers the children's logs, so that one child does not write over another's.
var logs atomic.Int64

func start(o order) (_ *Process, err error) {
	if o.User == "" {
		o.User, o.Password, o.ReaderPassword = "headwater", rand.Text(), rand.Text()
	}
	line, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	logFile, err := os.Create(filepath.Join(o.Dir, fmt.Sprintf("child-%d.log", logs.Add(1))))
	if err != nil {
		return nil, err
	}
	defer logFile.Close()
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	command := exec.Command(self)
	command.Env = append(os.Environ(), childVariable+"=1")
	command.Stderr = logFile
	// Pipes of our own: exec's would keep goroutines that a leak detector finds.
	childInput, input, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	output, childOutput, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer output.Close()
	command.Stdin, command.Stdout = childInput, childOutput
	if err := command.Start(); err != nil {
		return nil, err
	}
	_ = childInput.Close()  // the child has its own
	_ = childOutput.Close() // the child has its own
	p := &Process{command: command, lifeline: input, log: logFile.Name()}
	defer func() {
		if err != nil {
			_ = input.Close() // the child ends
			_ = command.Wait()
			log, _ := os.ReadFile(p.log)
			err = fmt.Errorf("%w\n%s", err, log)
		}
	}()
	if _, err := input.Write(append(line, '\n')); err != nil {
		return nil, err
	}
	address, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("the child ended before it had an address: %w", err)
	}
	p.Server = Server{Addr: strings.TrimSpace(address), User: o.User, Password: o.Password, ReaderPassword: o.ReaderPassword}
	return p, p.await()
}

// await waits until the child answers. Its listener exists before its engine is open, so the connection itself waits.
func (p *Process) await() error {
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + p.Addr + "/ping")
	if err != nil {
		return err
	}
	return response.Body.Close()
}
