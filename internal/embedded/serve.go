package embedded

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// MaybeServe must be the first call of main, and of TestMain in tests that use Acquire. In a process that Acquire started
// it serves and exits when the last lease is gone; in any other it returns at once.
func MaybeServe() {
	spec := os.Getenv(childEnv)
	if spec == "" {
		return
	}
	if err := serveSpec(spec); err != nil {
		os.Exit(1) // the reason stands in the log
	}
	os.Exit(0)
}

func serveSpec(text string) error {
	for fd := starterFD; fd <= startLockFD; fd++ {
		syscall.CloseOnExec(fd)
	}
	var spec childSpec
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", childEnv, err)
		return err
	}
	syscall.Umask(0o077)
	// What the server writes goes to the file that its starter opened for it; what it is written by others, too.
	log := slog.New(slog.NewTextHandler(&boundedLog{file: os.Stderr, path: filepath.Join(spec.Dir, logName)}, nil))
	log = log.With("server", string(spec.Kind), "pid", os.Getpid())

	starter := os.NewFile(starterFD, "starter")
	messages := os.NewFile(messagesFD, "messages")
	startLock := os.NewFile(startLockFD, "start lock")
	if starter == nil || messages == nil || startLock == nil {
		log.Error("started without the files that a starter hands over")
		return errors.New("no inherited files")
	}
	s := &supervisor{spec: spec, log: log, starter: starter, messages: messages, startLock: startLock}
	err := s.serve()
	if err != nil {
		log.Error("embedded server failed", "error", err)
		_ = writeMessage(messages, message{Error: err.Error()}) // the starter may be gone
	}
	return err
}

// supervisor runs a server in this process for as long as somebody holds a lease on it.
type supervisor struct {
	spec childSpec
	log  *slog.Logger

	starter   *os.File // ends when the starter's lease does
	messages  *os.File // to the starter
	startLock *os.File // until the server is ready
	socket    string   // where it gives leases; "" until it does

	users users
}

func (s *supervisor) serve() (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	signal.Ignore(syscall.SIGHUP)

	s.users.grace = s.spec.Grace
	s.users.gone = make(chan struct{})
	s.users.join()
	go func() {
		_, _ = io.Copy(io.Discard, s.starter) // ends, with whatever error, when the starter's lease does
		s.users.leave()
	}()

	lock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }() // the process ends anyway

	// What stands there is of a server that has ended.
	defer func() {
		if s.owns(lock) {
			err = errors.Join(err, unpublish(s.spec.Dir))
		} else if filepath.Dir(s.socket) != s.spec.Dir {
			removeSocket(s.socket)
		}
	}()
	if err := unpublish(s.spec.Dir); err != nil {
		return err
	}
	j, err := s.prepare()
	if err != nil {
		return err
	}
	ready := make(chan struct{})
	j.ready = sync.OnceFunc(func() { close(ready) })

	serving, stopServing := context.WithCancel(ctx)
	defer stopServing()
	ended := make(chan error, 1)
	go func() { ended <- run(serving, s.spec.Kind, j) }()

	select {
	case <-ready:
	case err := <-ended:
		return err
	case <-s.users.gone: // nobody waits for it any more
		stopServing()
		return <-ended
	}
	leases, err := s.publish(j.listener.Addr().String())
	if err != nil {
		stopServing()
		return errors.Join(err, <-ended)
	}
	s.log.Info("embedded server answers", "addr", j.listener.Addr().String())

	select {
	case err = <-ended:
		err = fmt.Errorf("it stopped while it was used: %w", cmp.Or(err, errors.New("for no reason that it gave")))
		_ = leases.Close() // the process ends anyway
		return err
	case <-s.users.gone:
		s.log.Info("embedded server ends: nobody uses it")
	case <-ctx.Done():
		s.log.Info("embedded server ends: asked to by a signal")
	}
	// First the door, so that whoever comes now starts a server of their own, which waits for this one's lock.
	err = leases.Close()
	stopServing()
	return errors.Join(err, <-ended)
}

// lock makes this process the only server of its folder. A predecessor that is just ending is waited for.
func (s *supervisor) lock(ctx context.Context) (*os.File, error) {
	inUse := errors.New("another server holds it")
	if p, err := readPublished(s.spec.Dir); err == nil {
		inUse = fmt.Errorf("another server holds it and gives no leases: if process %d is one, end it", p.PID)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.spec.Wait, inUse)
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-s.users.gone: // nobody waits for this server any more
			cancel()
		case <-stop:
		}
	}()
	return lockFile(ctx, filepath.Join(s.spec.Dir, lockName))
}

// owns reports whether the folder is still the one that was locked: one that was removed under the server and made again has, or will
// have, a server of its own, whose door is not this one's to close.
func (s *supervisor) owns(lock *os.File) bool {
	held, err := lock.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(filepath.Join(s.spec.Dir, lockName))
	return err == nil && os.SameFile(held, there)
}

// prepare gathers what the server needs. The caller holds the lock.
func (s *supervisor) prepare() (job, error) {
	j := job{dir: filepath.Join(s.spec.Dir, dataName), log: s.log}
	j.progress = func(stage string, done, total int64) {
		_ = writeMessage(s.messages, message{Stage: stage, Done: done, Total: total}) // the starter may be gone
	}
	var err error
	if j.password, err = ensurePassword(s.spec.Dir, passwordName); err != nil {
		return job{}, err
	}
	if s.spec.Kind == Warehouse {
		if j.readerPassword, err = ensurePassword(s.spec.Dir, readerPasswordName); err != nil {
			return job{}, err
		}
	}
	if err := os.MkdirAll(j.dir, 0o700); err != nil {
		return job{}, err
	}
	j.listener, err = listenAgain(s.spec.Dir)
	return j, err
}

// listenAgain listens on the loopback address that the last server of this folder had, so that its clients find the new
// one, or on another when it is taken.
func listenAgain(dir string) (net.Listener, error) {
	if p, err := readPublished(dir); err == nil {
		if host, _, err := net.SplitHostPort(p.Addr); err == nil && net.ParseIP(host).IsLoopback() {
			if listener, err := net.Listen("tcp", p.Addr); err == nil {
				return listener, nil
			}
		}
	}
	return net.Listen("tcp", "127.0.0.1:0")
}

// publish opens the server to leases and tells where it is.
func (s *supervisor) publish(addr string) (net.Listener, error) {
	socket, err := socketPath(s.spec.Dir)
	if err != nil {
		return nil, err
	}
	leases, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, err
	}
	leases.SetUnlinkOnClose(false) // unpublish removes it, where it is still ours
	s.socket = socket
	p := published{Addr: addr, PID: os.Getpid(), Socket: socket}
	if err := p.write(s.spec.Dir); err != nil {
		return nil, errors.Join(err, leases.Close())
	}
	go s.accept(leases, p)
	// The starter may be gone; its lease is then, too.
	_ = writeMessage(s.messages, message{Ready: &p})
	return leases, s.startLock.Close()
}

// socketPath is where the server takes leases: in its folder, or, when that path is too long for a socket's address (104
// bytes on some systems, with the zero at its end), in a private temporary folder of its own.
func socketPath(dir string) (string, error) {
	const maxPath = 103
	path := filepath.Join(dir, socketName)
	if len(path) <= maxPath {
		return path, nil
	}
	for _, parent := range []string{os.TempDir(), "/tmp"} {
		if len(filepath.Join(parent, socketFolder+"0123456789", socketName)) > maxPath {
			continue
		}
		private, err := os.MkdirTemp(parent, socketFolder) // mode 0700
		if err != nil {
			return "", err
		}
		return filepath.Join(private, socketName), nil
	}
	return "", fmt.Errorf("the paths of %s and of the folder for temporary files are too long for a socket (%d bytes): set TMPDIR to a shorter one", dir, maxPath)
}

// socketFolder begins the names of the temporary folders for sockets.
const socketFolder = "headwater-lease-"

// removeSocket removes a socket, and its folder when it has one of its own. What cannot be removed is in nobody's way.
func removeSocket(path string) {
	if filepath.Base(path) != socketName {
		return
	}
	_ = os.Remove(path)
	if strings.HasPrefix(filepath.Base(filepath.Dir(path)), socketFolder) {
		_ = os.Remove(filepath.Dir(path)) // only when it is empty
	}
}

// accept gives leases until the listener closes.
func (s *supervisor) accept(leases net.Listener, p published) {
	for {
		conn, err := leases.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Too many open files, most likely: others can still be served.
			s.log.Warn("embedded server could not give a lease", "error", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		if !s.users.join() {
			_ = conn.Close() // it is ending; whoever asked sees that and starts another
			return
		}
		go func() {
			defer s.users.leave()
			defer func() { _ = conn.Close() }() // nothing to lose
			if err := writeMessage(conn, message{Ready: &p}); err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, conn) // ends, with whatever error, when the holder is gone
		}()
	}
}

// users counts who holds a lease. When the last one has left and nobody came within grace, gone is closed and nobody can
// join any more.
type users struct {
	grace time.Duration
	gone  chan struct{}

	mu    sync.Mutex
	count int
	ended bool
	idle  *time.Timer
}

func (u *users) join() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended {
		return false
	}
	u.count++
	if u.idle != nil {
		u.idle.Stop()
	}
	return true
}

func (u *users) leave() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.count--
	if u.count > 0 {
		return
	}
	u.idle = time.AfterFunc(u.grace, func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		// A timer that has fired cannot be stopped: somebody may have come meanwhile.
		if u.count == 0 && !u.ended {
			u.ended = true
			close(u.gone)
		}
	})
}
