package embedded

import (
	"io"
	"os"
	"sync"
)

// maxLogBytes bounds a server's log; as much again is kept of what came before, in log.1.
const maxLogBytes = 1 << 20

// openLog opens a server's log for appending.
func openLog(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
}

// boundedLog writes to a log that others (the runtime, a library) write to as well, through the same file, and keeps it
// short. It cannot rename the file, which the others would follow: it copies and truncates.
type boundedLog struct {
	mu   sync.Mutex
	file *os.File // opened for appending, by openLog
	path string
}

func (l *boundedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := l.file.Write(p)
	if err != nil {
		return n, err
	}
	if info, err := l.file.Stat(); err == nil && info.Mode().IsRegular() && info.Size() > maxLogBytes {
		return n, l.turn(info.Size())
	}
	return n, nil
}

// turn keeps the end of the log as log.1 and begins it anew.
func (l *boundedLog) turn(size int64) error {
	last, err := io.ReadAll(io.NewSectionReader(l.file, max(0, size-maxLogBytes), maxLogBytes))
	if err != nil {
		return err
	}
	if err := writeFile(l.path+".1", last); err != nil {
		return err
	}
	return l.file.Truncate(0)
}
