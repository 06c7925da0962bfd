// Package embeddedtest helps tests that start embedded servers in folders of their own.
package embeddedtest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gofrs/flock"
)

// Ended waits, when the test ends, until the servers of a state folder have put away what they keep, each of which holds a lock for as
// long: otherwise they would write into the folder while it is being removed. Call it after t.TempDir made the folder.
func Ended(t testing.TB, state string) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second) // the test's own has ended
		defer cancel()
		for _, server := range []string{"broker", "warehouse"} {
			name := filepath.Join(state, server, "lock")
			if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
				continue
			}
			lock := flock.New(name)
			if _, err := lock.TryLockContext(ctx, 50*time.Millisecond); err != nil {
				t.Errorf("the embedded %s does not end: %v", server, err)
			}
			if err := lock.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}
