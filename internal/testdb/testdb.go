// Package testdb starts real PostgreSQL and MariaDB servers for tests, from Debian's packages, which it fetches into the cache
// folder and unpacks there. Nothing is installed and nothing runs as root.
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(testdb.Tests{M: m}) }
//
//	func TestReading(t *testing.T) {
//		db := testdb.Postgres(t).Database(t) // the package's server; a database of the test's own
//	}
//
// Servers listen on the loopback only, with TLS under an authority of their own, keep nothing safe (fsync is off) and are set up for
// change data capture: PostgreSQL with wal_level=logical, MariaDB with a binlog of whole rows and GTIDs. They end with the test
// binary, however that ends.
package testdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Server is a server of a test's, or of all tests of a package.
type Server struct {
	Host     string
	Port     int
	User     string // may do everything
	Password string
	CA       string // file with the certificate of the authority that signed the server's

	kind *kind
	dir  string
	in   install

	mu      sync.Mutex
	process *process
	paused  []int
}

// Database is a database on a server, of one test.
type Database struct {
	*Server
	Name string
	*sql.DB
}

// kind is what differs between the servers.
type kind struct {
	name     string
	server   string // name of the server's program
	packages func(ctx context.Context) ([]string, error)
	program  func(in install, name string) (string, error)
	// prepare makes the server's data in s.dir.
	prepare func(ctx context.Context, s *Server) error
	args    func(s *Server) []string
	stop    syscall.Signal // a quick and orderly end
	open    func(s *Server, database string) (*sql.DB, error)
	quote   func(name string) string
	drop    func(name string) string
}

// Addr is host:port.
func (s *Server) Addr() string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }

// startTimeout bounds the making of a server's data and its start: machines that run tests are busy.
const startTimeout = 3 * time.Minute

var shared struct {
	sync.Mutex
	servers map[*kind]*Server
}

// TB is what a test must be able to do; those of package testing can. That one is not imported, because programs start servers, too,
// and would carry it with them.
type TB interface {
	Helper()
	Context() context.Context
	Cleanup(func())
	Error(args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// Tests stops the servers that a package's tests share once they are done. Run it in TestMain.
type Tests struct{ M interface{ Run() int } }

// Run runs the tests and then stops the shared servers.
func (t Tests) Run() int {
	code := t.M.Run()
	shared.Lock()
	defer shared.Unlock()
	for k, s := range shared.servers {
		if err := s.close(); err != nil {
			fmt.Fprintln(os.Stderr, "testdb:", err)
			code = max(code, 1)
		}
		delete(shared.servers, k)
	}
	return code
}

// Postgres returns the PostgreSQL server that the package's tests share.
func Postgres(t TB) *Server { return share(t, postgres) }

// MariaDB returns the MariaDB server that the package's tests share.
func MariaDB(t TB) *Server { return share(t, mariadb) }

// OwnPostgres starts a PostgreSQL server for a test that stops, kills or breaks it.
func OwnPostgres(t TB) *Server { return own(t, postgres) }

// OwnMariaDB starts a MariaDB server for a test that stops, kills or breaks it.
func OwnMariaDB(t TB) *Server { return own(t, mariadb) }

func share(t TB, k *kind) *Server {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if s := shared.servers[k]; s != nil {
		return s
	}
	s, err := start(t.Context(), k)
	if err != nil {
		t.Fatalf("start %s: %v", k.name, err)
	}
	if shared.servers == nil {
		shared.servers = map[*kind]*Server{}
	}
	shared.servers[k] = s
	return s
}

func own(t TB, k *kind) *Server {
	t.Helper()
	s, err := start(t.Context(), k)
	if err != nil {
		t.Fatalf("start %s: %v", k.name, err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Start starts a PostgreSQL or MariaDB server outside of tests, such as for a benchmark. The caller calls the function that it
// returns when the server is no longer needed.
func Start(ctx context.Context, name string) (*Server, func() error, error) {
	for _, k := range []*kind{postgres, mariadb} {
		if k.name == name {
			s, err := start(ctx, k)
			if err != nil {
				return nil, nil, err
			}
			return s, s.close, nil
		}
	}
	return nil, nil, fmt.Errorf("no such kind of server: %q", name)
}

func start(ctx context.Context, k *kind) (s *Server, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTimeout)
	defer cancel()
	in, err := fetch(ctx, k)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "testdb-"+k.name+"-")
	if err != nil {
		return nil, err
	}
	s = &Server{Host: "127.0.0.1", User: "headwater_admin", Password: "adm1n-s3cret", kind: k, dir: dir, in: in}
	half := s
	defer func() {
		if err != nil {
			err = errors.Join(err, half.close())
		}
	}()
	if s.in, err = stage(in, dir); err != nil {
		return nil, err
	}
	if err := s.certificates(); err != nil {
		return nil, err
	}
	if err := s.give(dir); err != nil {
		return nil, err
	}
	if err := k.prepare(ctx, s); err != nil {
		return nil, err
	}
	// The port is free now; another process may take it before the server does, so a start that fails is tried with another one.
	for try := 0; ; try++ {
		if s.Port, err = freePort(); err != nil {
			return nil, err
		}
		if err = s.begin(ctx); err == nil || try == 4 || ctx.Err() != nil {
			return s, err
		}
	}
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}

// begin starts the server's process and waits until it takes statements.
func (s *Server) begin(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		return errors.New("the server runs already")
	}
	path, err := s.kind.program(s.in, s.kind.server)
	if err != nil {
		return err
	}
	p, err := s.launch(path, s.kind.args(s)...)
	if err != nil {
		return err
	}
	db, err := s.kind.open(s, "")
	if err != nil {
		return errors.Join(err, p.end(syscall.SIGKILL))
	}
	defer db.Close()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := db.PingContext(ctx)
		if err == nil {
			s.process = p
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended at once: %w\n%s", s.kind.server, p.err, s.log())
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%s does not answer: %w\n%s", s.kind.server, err, s.log()), p.end(syscall.SIGKILL))
		case <-tick.C:
		}
	}
}

// Start starts the server again after Stop or Kill, at the same address over the same data.
func (s *Server) Start(t TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	if err := s.begin(ctx); err != nil {
		t.Fatal(err)
	}
}

// Stop ends the server in order; open connections are told.
func (s *Server) Stop(t TB) { t.Helper(); s.finish(t, s.kind.stop) }

// Kill ends the server as a loss of power would, but for the disk.
func (s *Server) Kill(t TB) { t.Helper(); s.finish(t, syscall.SIGKILL) }

func (s *Server) finish(t TB, signal syscall.Signal) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		t.Fatal("the server does not run")
	}
	if err := s.process.end(signal); err != nil {
		t.Fatal(err)
	}
	s.process, s.paused = nil, nil
}

// Pause stops the server's processes without ending them: connections stay open and nothing answers.
func (s *Server) Pause(t TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		t.Fatal("the server does not run")
	}
	s.paused = append(s.process.children(), s.process.command.Process.Pid)
	for _, pid := range s.paused {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err)
		}
	}
}

// Resume lets a paused server go on.
func (s *Server) Resume(t TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resume()
}

func (s *Server) resume() {
	for _, pid := range s.paused {
		_ = syscall.Kill(pid, syscall.SIGCONT) // it may have ended
	}
	s.paused = nil
}

func (s *Server) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resume()
	var err error
	if s.process != nil {
		err = s.process.end(syscall.SIGKILL) // what it has is removed anyway
		s.process = nil
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// Open opens a database as the user who may do everything; "" is the server's own. The caller closes it.
func (s *Server) Open(database string) (*sql.DB, error) { return s.kind.open(s, database) }

// PID is the server's process, 0 while it is stopped. PostgreSQL's has a child for each connection.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return 0
	}
	return s.process.command.Process.Pid
}

func (s *Server) log() string {
	text, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4000):])
}

var databases atomic.Int64

// Database makes a database that is dropped at the end of the test.
func (s *Server) Database(t TB) *Database {
	t.Helper()
	name := fmt.Sprintf("t%d", databases.Add(1))
	s.admin(t, t.Context(), "CREATE DATABASE "+s.kind.quote(name))
	t.Cleanup(func() {
		s.mu.Lock()
		up := s.process != nil
		s.mu.Unlock()
		if up {
			s.admin(t, context.WithoutCancel(t.Context()), s.kind.drop(name))
		}
	})
	db, err := s.kind.open(s, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return &Database{Server: s, Name: name, DB: db}
}

func (s *Server) admin(t TB, ctx context.Context, statement string) {
	t.Helper()
	db, err := s.kind.open(s, "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// Do runs statements and fails the test when one fails.
func (d *Database) Do(t TB, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := d.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%.200s: %v", statement, err)
		}
	}
}

// output runs a program of the server's to its end.
func (s *Server) output(ctx context.Context, input, path string, args ...string) (string, error) {
	c := s.command(ctx, path, args...)
	c.Stdin = strings.NewReader(input)
	// The thread may not end before the program does, or the program ends with it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	out, err := c.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", filepath.Base(path), err, out)
	}
	return string(out), nil
}

// find returns a program of the unpacked packages.
func find(in install, pattern string) (string, error) {
	found, err := filepath.Glob(filepath.Join(in.root, pattern))
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%d programs %s in %s", len(found), pattern, in.root)
	}
	return found[0], nil
}

// process is a running server.
type process struct {
	command *exec.Cmd
	ended   chan struct{}
	err     error // how it ended; read after ended is closed
}

// launch starts a program of the server's. It dies with this process: the kernel kills it when the thread that started it ends, and
// that thread is kept until it has ended by itself.
func (s *Server) launch(path string, args ...string) (*process, error) {
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	p := &process{command: s.command(context.Background(), path, args...), ended: make(chan struct{})}
	p.command.Stdout, p.command.Stderr = log, log
	begun := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.ended)
		err := p.command.Start()
		err = errors.Join(err, log.Close())
		begun <- err
		if err == nil {
			p.err = p.command.Wait()
		}
	}()
	if err := <-begun; err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// end sends the signal and waits until the server's processes are gone.
func (p *process) end(signal syscall.Signal) error {
	children := p.children()
	if err := p.command.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	select {
	case <-p.ended:
	case <-limit.C:
		return errors.Join(fmt.Errorf("%s does not end after %v", p.command.Path, signal), p.command.Process.Kill())
	}
	// Children of a killed PostgreSQL notice that it is gone and end; a new one refuses to start before they have.
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for _, pid := range children {
		for alive(pid) {
			select {
			case <-tick.C:
			case <-limit.C:
				return fmt.Errorf("process %d of %s does not end", pid, p.command.Path)
			}
		}
	}
	return nil
}

func alive(pid int) bool {
	state, _, err := stat(pid)
	return err == nil && state != "Z"
}

func (p *process) children() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if _, parent, err := stat(pid); err == nil && parent == p.command.Process.Pid {
			out = append(out, pid)
		}
	}
	return out
}

func stat(pid int) (state string, parent int, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0, err
	}
	_, rest, ok := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 2 {
		return "", 0, fmt.Errorf("/proc/%d/stat: not understood", pid)
	}
	parent, err = strconv.Atoi(fields[1])
	return fields[0], parent, err
}
