package embedded

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/headwater-data/headwater/internal/fault"
)

// childEnv marks a process as an embedded server and holds its instructions (childSpec). Acquire sets it for the process
// that it starts, MaybeServe looks for it.
const childEnv = "HEADWATER_EMBEDDED_SERVER"

// The files that a server inherits, after the standard three.
const (
	starterFD   = 3 // a pipe that ends when the starter's lease does
	messagesFD  = 4 // a pipe to the starter, for messages
	startLockFD = 5 // start.lock, locked; kept until the server answers
)

// attachTimeout bounds how long a server may take to greet; it does so at once when it lives.
const attachTimeout = 5 * time.Second

// childSpec is what a server is told by its starter.
type childSpec struct {
	Kind  Kind          `json:"kind"`
	Dir   string        `json:"dir"`
	Grace time.Duration `json:"grace"`
	Wait  time.Duration `json:"wait"` // for a predecessor to end
}

// message is one line, as JSON, from a server to a holder of a lease. The first with Ready or Error is the last.
type message struct {
	Stage string     `json:"stage,omitempty"` // progress of the start
	Done  int64      `json:"done,omitempty"`
	Total int64      `json:"total,omitempty"`
	Ready *published `json:"ready,omitempty"` // the lease is held from here on
	Error string     `json:"error,omitempty"` // the server cannot start
}

// Lease keeps an embedded server alive. Its methods may be called from any goroutine.
type Lease struct {
	kind     Kind
	dir      string // the server's folder
	endpoint Endpoint
	hold     io.Closer     // closing it gives the lease back
	lost     chan struct{} // closed when the server died first
	closed   chan struct{} // closed by Close
	watching chan struct{} // closed when nobody reads the connection any more
	once     sync.Once
	closeErr error
}

// Endpoint is where the server is found. It stays the same for the life of the lease.
func (l *Lease) Endpoint() Endpoint { return l.endpoint }

// Lost is closed when the server has died under the lease; Acquire again then. Closing the lease does not close it.
func (l *Lease) Lost() <-chan struct{} { return l.lost }

// Err says, once the lease is lost, what can be known about why: a LostError. Until then it returns nil. Whatever was asked
// of the server may be asked again after Acquire (fault.KindTransient).
func (l *Lease) Err() error {
	select {
	case <-l.lost:
		logFile := filepath.Join(l.dir, logName)
		return fault.Transient(&LostError{Kind: l.kind, PID: l.endpoint.PID, LogFile: logFile, LogTail: tail(logFile, 12)})
	default:
		return nil
	}
}

// Close gives the lease back. When it was the last one, the server ends after its grace; Close does not wait for that.
// Closing twice does nothing.
func (l *Lease) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.closeErr = l.hold.Close()
		<-l.watching
		reap()
	})
	return l.closeErr
}

// newLease makes a lease of a connection on which the server's greeting has been read.
func newLease(dir string, kind Kind, endpoint Endpoint, messages io.Reader, hold io.Closer) *Lease {
	l := &Lease{dir: dir, kind: kind, endpoint: endpoint, hold: hold, lost: make(chan struct{}), closed: make(chan struct{}), watching: make(chan struct{})}
	go func() {
		defer close(l.watching)
		_, _ = io.Copy(io.Discard, messages) // ends, with whatever error, when either side is gone
		select {
		case <-l.closed:
		default:
			close(l.lost)
		}
	}()
	return l
}

// attach takes a lease on the server that was published last, or returns nil when it cannot: nobody was, it is gone, or it
// is just ending.
func attach(ctx context.Context, dir string, kind Kind) *Lease {
	p, err := readPublished(dir)
	if err != nil {
		return nil
	}
	dialer := net.Dialer{Timeout: attachTimeout}
	conn, err := dialer.DialContext(ctx, "unix", p.Socket)
	if err != nil {
		return nil
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) }) // when it fails, the timeout remains
	defer stop()
	if err := conn.SetReadDeadline(time.Now().Add(attachTimeout)); err == nil {
		var m message
		messages := bufio.NewReader(conn)
		if m, err = readMessage(messages); err == nil && m.Ready != nil {
			if endpoint, err := m.Ready.endpoint(dir, kind); err == nil && stop() && conn.SetReadDeadline(time.Time{}) == nil {
				return newLease(dir, kind, endpoint, messages, conn)
			}
		}
	}
	_ = conn.Close() // nothing was written
	return nil
}

// start starts the server and returns the lease that it is born with. starting is the locked start.lock.
func start(ctx context.Context, dir string, kind Kind, opts Options, starting *os.File) (*Lease, error) {
	executable, err := os.Executable()
	if err != nil {
		return nil, err
	}
	spec, err := json.Marshal(childSpec{Kind: kind, Dir: dir, Grace: opts.Grace, Wait: opts.StartTimeout / 2})
	if err != nil {
		return nil, err
	}
	log, err := openLog(filepath.Join(dir, logName))
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the server has its own
	starter, hold, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	messagesOut, messagesIn, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, starter.Close(), hold.Close())
	}
	link := pipes{hold: hold, messages: messagesOut}

	// For whoever looks at the list of processes; the server does not read it.
	cmd := exec.Command(executable, "embedded-"+string(kind), dir)
	cmd.Env = append(os.Environ(), childEnv+"="+string(spec))
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{starter, messagesIn, starting}
	// A session of its own: neither ctrl-C in the starter's terminal nor its closing reaches the server.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	if err := errors.Join(err, starter.Close(), messagesIn.Close()); err != nil {
		return nil, errors.Join(err, link.Close())
	}

	lease, err := awaitReady(ctx, dir, kind, opts, link)
	if err != nil {
		return nil, errors.Join(err, link.Close(), giveUp(ctx, cmd, err))
	}
	adopt(cmd)
	return lease, nil
}

// errGone says that the server's process ended before it was ready.
var errGone = errors.New("its process ended")

// awaitReady reads the messages of a starting server until it is ready.
func awaitReady(ctx context.Context, dir string, kind Kind, opts Options, link pipes) (*Lease, error) {
	stop := context.AfterFunc(ctx, func() { _ = link.messages.SetReadDeadline(time.Unix(1, 0)) }) // when it fails, the timeout remains
	defer stop()
	messages := bufio.NewReader(link.messages)
	for {
		if err := link.messages.SetReadDeadline(time.Now().Add(opts.StartTimeout)); err != nil {
			return nil, err
		}
		if ctx.Err() != nil { // it may have ended before the deadline was set
			return nil, context.Cause(ctx)
		}
		m, err := readMessage(messages)
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, io.EOF):
			return nil, errGone
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, fmt.Errorf("it was not ready after %v: %w", opts.StartTimeout, err)
		case err != nil:
			return nil, err
		case m.Error != "":
			return nil, errors.New(m.Error)
		case m.Ready == nil:
			opts.Progress(m.Stage, m.Done, m.Total)
			continue
		}
		endpoint, err := m.Ready.endpoint(dir, kind)
		if err != nil {
			return nil, err
		}
		if !stop() {
			return nil, context.Cause(ctx)
		}
		if err := link.messages.SetReadDeadline(time.Time{}); err != nil {
			return nil, err
		}
		return newLease(dir, kind, endpoint, messages, link), nil
	}
}

// giveUp sees to it that a server that did not start leaves nothing behind, and returns how its process ended if it did so
// by itself.
func giveUp(ctx context.Context, cmd *exec.Cmd, cause error) error {
	if ctx.Err() != nil {
		// It ends by itself: its starter's lease is gone.
		adopt(cmd)
		return nil
	}
	if errors.Is(cause, os.ErrDeadlineExceeded) {
		if err := cmd.Process.Kill(); err != nil {
			return err
		}
		_ = cmd.Wait() // "signal: killed" is no news
		return nil
	}
	return cmd.Wait()
}

// pipes is the connection between a server and its starter.
type pipes struct{ hold, messages *os.File }

func (p pipes) Close() error { return errors.Join(p.hold.Close(), p.messages.Close()) }

func readMessage(r *bufio.Reader) (message, error) {
	var m message
	line, err := r.ReadBytes('\n')
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(line, &m); err != nil {
		return m, fmt.Errorf("read what the server says: %w", err)
	}
	return m, nil
}

func writeMessage(w io.Writer, m message) error {
	line, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = w.Write(append(line, '\n'))
	return err
}

// children are the servers that this process started and has not yet seen the end of. A server may outlive its starter's
// interest in it, so that nobody waits for it; its remains are collected at the next occasion.
var children struct {
	sync.Mutex
	pids map[int]struct{}
}

func adopt(cmd *exec.Cmd) {
	children.Lock()
	defer children.Unlock()
	if children.pids == nil {
		children.pids = make(map[int]struct{})
	}
	children.pids[cmd.Process.Pid] = struct{}{}
	_ = cmd.Process.Release() // frees memory; cannot fail on unix
}

// reap collects what remains of servers that have ended.
func reap() {
	children.Lock()
	defer children.Unlock()
	for pid := range children.pids {
		var status syscall.WaitStatus
		ended, err := syscall.Wait4(pid, &status, syscall.WNOHANG, nil)
		if ended == pid || errors.Is(err, syscall.ECHILD) {
			delete(children.pids, pid)
		}
	}
}
