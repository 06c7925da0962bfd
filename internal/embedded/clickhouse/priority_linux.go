package clickhouse

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// mergeNice is the niceness of the threads that merge parts. The engine shares a small machine with the pipeline that fills it:
// what somebody waits for comes first, and merging gets what is left, which is at least a tenth of a processor's time.
const mergeNice = 10

// yieldMerges lowers the priority of the engine's merging threads and reports whether it found them. They start with the first
// table.
func yieldMerges() bool {
	names, err := filepath.Glob("/proc/self/task/*/comm")
	if err != nil {
		return false
	}
	found := false
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil || !bytes.HasPrefix(text, []byte("MergeMutate")) {
			continue // it has ended, or it is another one
		}
		id, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err != nil {
			continue
		}
		// In Linux a priority is a thread's. Where it is refused, merges go on as they were.
		found = syscall.Setpriority(syscall.PRIO_PROCESS, id, mergeNice) == nil || found
	}
	return found
}
