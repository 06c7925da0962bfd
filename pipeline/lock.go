package pipeline

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/headwater-data/headwater/internal/fault"
)

// ErrServed says that a service has the project: ask it to do what is to be done (Ask).
var ErrServed = errors.New("headwater start already serves this project")

// lockInterval is how often the run lock is tried while another process has it.
const lockInterval = 250 * time.Millisecond

// lock takes the project's run lock: one process at a time ingests and loads a project from this state folder. It waits for
// the one that has it, and says so; when that one is a service, which keeps it, it returns ErrServed.
func (s *Session) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(s.project.State, 0o700); err != nil {
		return nil, fault.Environment(err)
	}
	lock := flock.New(filepath.Join(s.project.State, "run.lock"))
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Close())
		}
	}()
	for waiting := false; ; waiting = true {
		held, err := lock.TryLock()
		if err != nil {
			return nil, fault.Environment(fmt.Errorf("take the project's run lock %s: %w", lock.Path(), err))
		}
		if held {
			break
		}
		if served(s.project.State) {
			return nil, ErrServed
		}
		if !waiting {
			s.opts.Logger.Warn("another headwater process is running this project; waiting for it to end", "lock", lock.Path())
		}
		select {
		case <-ctx.Done():
			return nil, fault.Environment(fmt.Errorf("take the project's run lock %s: %w", lock.Path(), ctx.Err()))
		case <-time.After(lockInterval):
		}
	}
	return func() {
		if err := lock.Unlock(); err != nil {
			s.opts.Logger.Warn("releasing the run lock", "error", err)
		}
	}, nil
}

// instanceOf returns the state folder's own name, made once: by it the broker's groups tell the members that processes of this
// folder are, or were, from others. Several processes may ask at the same time.
func instanceOf(state string) (string, error) {
	name := filepath.Join(state, "instance")
	for range 2 {
		text, err := os.ReadFile(name)
		if err == nil {
			instance := strings.TrimSpace(string(text))
			if !instanceName.MatchString(instance) {
				return "", fmt.Errorf("%s is damaged: delete it", name)
			}
			return instance, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if err := makeInstance(state, name); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", err
		}
	}
	return "", fmt.Errorf("%s vanishes", name)
}

var instanceName = regexp.MustCompile(`^[A-Z2-7]{26}$`)

// makeInstance writes the name whole before it is there, and never over another.
func makeInstance(state, name string) error {
	if err := os.MkdirAll(state, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(state, ".instance-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // it has its name by then, or is of no use
	_, err = f.WriteString(rand.Text() + "\n")
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Link(f.Name(), name)
}
