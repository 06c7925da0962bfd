// Package embedded runs the servers that a project needs when it has none: a broker and a warehouse, for first use and
// tests. Each serves one project, from the project's state folder, in a process of its own.
//
// Acquire attaches to a project's server and starts it when it does not run. The server lives as long as somebody holds a
// Lease on it, in any process, and ends shortly after the last one is gone, however it went: a lease is a connection, and
// the kernel closes the connections of a process that was killed.
//
// The server is the calling program itself, started again: its main must call MaybeServe first, and so must TestMain in
// tests that call Acquire.
//
// What a server leaves in <state folder>/<kind>, all of it readable by its owner alone:
//
//	lock           held by the server while it lives
//	start.lock     held while a server is being started
//	endpoint.json  address and process id of the server that runs or ran last
//	password       random, made once
//	log, log.1     what the server said, at most 2 MiB
//	data/          what it keeps
package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/secret"
)

// Kind says which server is meant.
type Kind string

// The servers that can be embedded.
const (
	Broker    Kind = "broker"    // Kafka, by package broker; clients log in as broker.Mechanism says
	Warehouse Kind = "warehouse" // ClickHouse's HTTP interface, by package clickhouse
)

// user is the name under which clients log in to embedded servers.
const user = "headwater"

// Endpoint is where a server is found and how to log in.
type Endpoint struct {
	Addr     string // host:port on the loopback interface
	User     string
	Password secret.Value
	// ReaderPassword lets the user "reader" into a warehouse, for reading only. Brokers have none.
	ReaderPassword secret.Value
	PID            int // the server's process
}

// Options for Acquire. The zero value is ready to use.
type Options struct {
	// Progress hears of what makes a start slow, such as a download: a stage, and how much of it is done, in bytes. A total of
	// 0 means that it is not known. It is called from Acquire's goroutine.
	Progress func(stage string, done, total int64)
	// Logger hears when a server is started. Defaults to discarding. The server itself writes into its own log.
	Logger *slog.Logger
	// StartTimeout bounds how long a server may take to start without any progress. Defaults to one minute.
	StartTimeout time.Duration
	// Grace is how long a server that this call starts waits for the next user after its last one has left. Defaults to one
	// second.
	Grace time.Duration
}

func (o Options) withDefaults() Options {
	if o.Progress == nil {
		o.Progress = func(string, int64, int64) {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.StartTimeout == 0 {
		o.StartTimeout = time.Minute
	}
	if o.Grace == 0 {
		o.Grace = time.Second
	}
	return o
}

// StartError says that a server did not start. Its text ends with the last lines of the server's log. Acquire marks it as
// something that an operator must mend (fault.KindEnvironment).
type StartError struct {
	Kind    Kind
	LogFile string
	LogTail string // the last lines of LogFile
	Err     error
}

func (e *StartError) Error() string {
	text := fmt.Sprintf("start embedded %s: %v (log: %s)", e.Kind, e.Err, e.LogFile)
	if e.LogTail != "" {
		text += "; its last lines:\n" + e.LogTail
	}
	return text
}

func (e *StartError) Unwrap() error { return e.Err }

// LostError says that a server died under a lease. Its text ends with the last lines of the server's log.
type LostError struct {
	Kind    Kind
	PID     int
	LogFile string
	LogTail string // the last lines of LogFile
}

func (e *LostError) Error() string {
	text := fmt.Sprintf("embedded %s (process %d) died (log: %s)", e.Kind, e.PID, e.LogFile)
	if e.LogTail != "" {
		text += "; its last lines:\n" + e.LogTail
	}
	return text
}

// ErrNotServing is returned by Acquire in a process that Acquire started: its main does not call MaybeServe, and would
// start itself for ever.
var ErrNotServing = errors.New("this program was started as an embedded server but does not serve: call embedded.MaybeServe first in main or TestMain")

// Acquire attaches to the server of that kind of the project with this state folder, and starts it first when it does not
// run. It returns when the server answers. When ctx ends before that, the attempt is given up, and a server that nobody
// else uses ends. The caller closes the lease.
//
// After a Lease is lost, Acquire again: it starts the server on the same data and, if it can, on the same address.
func Acquire(ctx context.Context, stateDir string, kind Kind, opts Options) (*Lease, error) {
	opts = opts.withDefaults()
	if kind != Broker && kind != Warehouse {
		return nil, fmt.Errorf("acquire embedded server: there is no kind %q", kind)
	}
	if os.Getenv(childEnv) != "" {
		return nil, ErrNotServing
	}
	dir, err := prepareFolder(stateDir, kind)
	if err != nil {
		return nil, fmt.Errorf("prepare the folder of the embedded %s: %w", kind, err)
	}
	reap()

	if lease := attach(ctx, dir, kind); lease != nil {
		return lease, nil
	}
	// Only one process starts a server at a time; the others wait here and then find it running.
	starting, err := lockFile(ctx, filepath.Join(dir, startLockName))
	if err != nil {
		return nil, fmt.Errorf("wait for another process that starts the embedded %s: %w", kind, err)
	}
	defer func() { _ = starting.Close() }() // only read from; closing releases the lock
	if lease := attach(ctx, dir, kind); lease != nil {
		return lease, nil
	}
	opts.Logger.Info("starting embedded server", "kind", string(kind), "dir", dir)
	lease, err := start(ctx, dir, kind, opts, starting)
	if err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("start embedded %s: %w", kind, context.Cause(ctx))
		}
		logFile := filepath.Join(dir, logName)
		return nil, fault.Environment(&StartError{Kind: kind, LogFile: logFile, LogTail: tail(logFile, 12), Err: err})
	}
	opts.Logger.Info("embedded server runs", "kind", string(kind), "addr", lease.endpoint.Addr, "pid", lease.endpoint.PID)
	return lease, nil
}

// Running tells whether a server of that kind runs for the project, without keeping it alive. It says so from when the
// server answers until it has put away what it keeps. The endpoint is the zero value when none runs.
func Running(stateDir string, kind Kind) (Endpoint, bool, error) {
	reap()
	dir := filepath.Join(stateDir, string(kind))
	held, err := isLocked(filepath.Join(dir, lockName))
	if err != nil || !held {
		return Endpoint{}, false, err
	}
	published, err := readPublished(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && published.Socket == "" {
		return Endpoint{}, false, nil // it is just starting
	}
	if err != nil {
		return Endpoint{}, false, err
	}
	endpoint, err := published.endpoint(dir, kind)
	if err != nil {
		return Endpoint{}, false, err
	}
	return endpoint, true, nil
}
