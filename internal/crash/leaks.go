//go:build faults

package crash

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.uber.org/goleak"
)

// Watch remembers which descriptors are open; what it returns tells, when the work is over, which came and stayed, and which
// goroutines did.
func Watch() func() error {
	before := goleak.IgnoreCurrent()
	open := map[string]bool{}
	for _, d := range descriptors() {
		open[d] = true
	}
	return func() error {
		err := goleak.Find(before)
		for _, d := range descriptors() {
			if !open[d] {
				err = errors.Join(err, fmt.Errorf("a descriptor was left open: %s", d))
			}
		}
		return err
	}
}

// descriptors lists this process's, as "number target"; the runtime's own poller is none of the program's.
func descriptors() []string {
	const folder = "/proc/self/fd"
	entries, err := os.ReadDir(folder)
	if err != nil {
		panic("crash: " + err.Error())
	}
	var out []string
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(folder, e.Name()))
		if err != nil || strings.HasPrefix(target, "anon_inode:") || strings.HasPrefix(target, "/proc/") {
			continue // the folder itself, which is closed by now
		}
		out = append(out, e.Name()+" "+target)
	}
	return out
}
