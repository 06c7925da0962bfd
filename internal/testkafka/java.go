package testkafka

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"

	"github.com/headwater-data/headwater/internal/fault"
)

// JVM is a running Java program that does not outlive this process.
type JVM struct {
	command *exec.Cmd
	done    chan struct{} // closed when it has ended
	err     error         // how it ended; set before done closes
	log     string

	mu      sync.Mutex // a process that has been waited for may have given its number to another
	running bool
}

// StartJVM starts a class with the archives of a folder on its class path; standard output and errors are appended to the log.
func StartJVM(archives, log string, options []string, class string, arguments ...string) (*JVM, error) {
	java, err := findJava()
	if err != nil {
		return nil, err
	}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close() // the child has its own
	all := append([]string{"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-cp", filepath.Join(archives, "*")}, options...)
	command := exec.Command(java, append(append(all, class), arguments...)...)
	command.Dir = filepath.Dir(log)
	command.Stdout, command.Stderr = out, out
	command.SysProcAttr = endsWithParent()
	j := &JVM{command: command, done: make(chan struct{}), log: log, running: true}
	started := make(chan error)
	go func() {
		// The kernel kills the child when the thread that started it ends: this one stays for as long as the child does.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := command.Start()
		started <- err
		if err != nil {
			return
		}
		// Waiting has two halves, so that nobody signals a number that is free again.
		err = command.Wait()
		j.mu.Lock()
		j.running, j.err = false, err
		j.mu.Unlock()
		close(j.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", class, err)
	}
	return j, nil
}

// RunJava runs a class to its end.
func RunJava(ctx context.Context, archives, log string, options []string, class string, arguments ...string) error {
	j, err := StartJVM(archives, log, options, class, arguments...)
	if err != nil {
		return err
	}
	select {
	case <-j.done:
	case <-ctx.Done():
		j.Kill()
		return ctx.Err()
	}
	if j.err != nil {
		return fmt.Errorf("%s: %w: %s", class, j.err, j.logged())
	}
	return nil
}

func findJava() (string, error) {
	if home := os.Getenv("JAVA_HOME"); home != "" {
		if path, err := exec.LookPath(filepath.Join(home, "bin", "java")); err == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath("java")
	if err != nil {
		return "", fault.Environment(errors.New("java is not installed: install a Java runtime, 17 or newer (Debian: apt-get install openjdk-17-jre-headless), or set JAVA_HOME"))
	}
	return path, nil
}

// Done is closed when the program has ended.
func (j *JVM) Done() <-chan struct{} { return j.done }

// Signal sends a signal; one to a program that has ended does nothing.
func (j *JVM) Signal(s syscall.Signal) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.running {
		_ = j.command.Process.Signal(s) // it may just have ended
	}
}

// Kill ends the program as kill -9 does and waits for its end.
func (j *JVM) Kill() {
	j.Signal(syscall.SIGKILL)
	<-j.done
}

func (j *JVM) logged() string {
	text, err := os.ReadFile(j.log)
	if err != nil {
		return err.Error()
	}
	return tail(string(text), 30)
}
