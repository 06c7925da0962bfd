package pipeline

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/headwater-data/headwater/internal/fault"
)

// lock takes the project's run lock: one process at a time ingests and loads a project from this state folder. It waits for
// the one that has it, and says so.
func (s *Session) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(s.project.State, 0o700); err != nil {
		return nil, fault.Environment(err)
	}
	lock := flock.New(filepath.Join(s.project.State, "run.lock"))
	held, err := lock.TryLock()
	if err == nil && !held {
		s.opts.Logger.Warn("another headwater process is running this project; waiting for it to end", "lock", lock.Path())
		held, err = lock.TryLockContext(ctx, 250*time.Millisecond)
	}
	if err != nil || !held {
		return nil, fault.Environment(fmt.Errorf("take the project's run lock %s: %w", lock.Path(), err))
	}
	return func() {
		if err := lock.Unlock(); err != nil {
			s.opts.Logger.Warn("releasing the run lock", "error", err)
		}
	}, nil
}
