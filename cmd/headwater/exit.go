package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/problem"
)

// The exit codes, as the root command's help states them.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitEnvironment = 3
	exitQuarantined = 4
	exitSignal      = 128 // plus the signal's number
)

// exitCode sorts an error into an exit code; it is the only place that does.
func exitCode(err error) int {
	if err == nil {
		return exitDone
	}
	if s, ok := errors.AsType[*signalError](err); ok {
		return exitSignal + int(s.signal)
	}
	if _, ok := errors.AsType[*strictError](err); ok {
		return exitQuarantined
	}
	if _, ok := errors.AsType[problem.List](err); ok {
		return exitUsage
	}
	switch fault.KindOf(err) {
	case fault.KindUsage:
		return exitUsage
	case fault.KindEnvironment, fault.KindTransient: // what would pass by itself was waited for
		return exitEnvironment
	}
	return exitFailed
}

// strictError says that all was done but rows were quarantined, and --strict was given.
type strictError struct{ rows int64 }

func (e *strictError) Error() string {
	if e.rows == 1 {
		return "1 row was quarantined (--strict)"
	}
	return fmt.Sprintf("%d rows were quarantined (--strict)", e.rows)
}

// reportedError stands for an error that its command has already shown in a form of its own; the exit code remains.
type reportedError struct{ err error }

func (e *reportedError) Error() string { return e.err.Error() }
func (e *reportedError) Unwrap() error { return e.err }

// signalError is the cause of a context that a signal has ended.
type signalError struct{ signal syscall.Signal }

func (e *signalError) Error() string { return "ended by signal: " + e.signal.String() }

// withSignals ends the context at the first SIGINT or SIGTERM, with a signalError as its cause, and the process at the second.
// A command that was cut short returns context.Cause of its context. Call stop when the command has ended.
func withSignals(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		select {
		case s := <-signals:
			cancel(&signalError{signalNumber(s)})
		case <-done:
			return
		}
		select {
		case s := <-signals:
			os.Exit(exitSignal + int(signalNumber(s)))
		case <-done:
		}
	})
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		running.Wait()
		cancel(nil)
	}
}

func signalNumber(s os.Signal) syscall.Signal {
	if n, ok := s.(syscall.Signal); ok {
		return n
	}
	return syscall.SIGTERM
}
