package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// runWithoutRights is run for a user who may not read everything.
func (p *project) runWithoutRights(t *testing.T, args ...string) result {
	t.Helper()
	c := p.command(args...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	startWithoutRights(t, c)
	err := c.Wait()
	r := result{out: out.String(), err: errs.String()}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		r.code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return r
}

func deny(t *testing.T, path string) {
	t.Helper()
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
}

func allow(t *testing.T, path string) {
	t.Helper()
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
}

// process is a command that goes on while the test does something else.
type process struct {
	command *exec.Cmd
	out     bytes.Buffer
	done    chan struct{}
	code    int

	mu    sync.Mutex
	said  strings.Builder
	heard chan struct{} // closed when more was said
}

// start starts a command. It is interrupted at the end of the test, if it still runs.
func (p *project) start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	b := &process{command: p.command(args...), done: make(chan struct{}), heard: make(chan struct{})}
	b.command.Env = append(b.command.Env, env...)
	b.command.Stdout = &b.out
	errs, err := b.command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(b.done)
		lines := bufio.NewReader(errs)
		for {
			line, err := lines.ReadString('\n')
			b.mu.Lock()
			b.said.WriteString(line)
			close(b.heard)
			b.heard = make(chan struct{})
			b.mu.Unlock()
			if err != nil {
				break
			}
		}
		err := b.command.Wait()
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			b.code = exit.ExitCode()
		} else if err != nil {
			b.code = -1
		}
	}()
	t.Cleanup(func() { b.end(t, syscall.SIGINT) })
	return b
}

// end sends the signal, unless the process has ended, and returns what it said and how it ended.
func (b *process) end(t *testing.T, signal syscall.Signal) result {
	t.Helper()
	select {
	case <-b.done:
	default:
		if err := b.command.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
	}
	return b.wait(t)
}

// patience bounds every waiting for a process: it is only there so that a hanging program fails the test that it hangs in.
const patience = 2 * time.Minute

func (b *process) wait(t *testing.T) result {
	t.Helper()
	select {
	case <-b.done:
	case <-time.After(patience):
		_ = b.command.Process.Kill() // the test fails anyway
		<-b.done
		t.Errorf("the program did not end:\n%s", b.said.String())
	}
	return result{out: b.out.String(), err: b.said.String(), code: b.code}
}

// await waits until the process has said the text.
func (b *process) await(t *testing.T, text string) {
	t.Helper()
	late := time.After(patience)
	for {
		b.mu.Lock()
		said, heard := b.said.String(), b.heard
		b.mu.Unlock()
		if strings.Contains(said, text) {
			return
		}
		select {
		case <-heard:
			continue
		case <-b.done:
			if strings.Contains(b.said.String(), text) {
				return
			}
			t.Fatalf("the program ended with code %d and did not say %q:\n%s", b.code, text, said)
		case <-late:
			t.Fatalf("the program did not say %q:\n%s", text, said)
		}
	}
}
