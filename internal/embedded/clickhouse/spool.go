package clickhouse

import (
	"bytes"
	"io"
	"os"
)

const (
	// spoolMemoryBytes is how much of a body or of a held-back result stays in memory; the rest goes to a file.
	spoolMemoryBytes = 4 << 20
	// spoolMaxBytes bounds one body.
	spoolMaxBytes = 16 << 30
)

// spool holds bytes that must be complete before they are used. Small ones stay in memory; large ones go to a file without a
// name, which the system removes when the process ends, however it ends.
type spool struct {
	folder string
	memory bytes.Buffer
	file   *os.File
	size   int64
}

func (s *spool) Write(p []byte) (int, error) {
	if s.size+int64(len(p)) > spoolMaxBytes {
		return 0, exception(codeTooLarge, "The body is larger than %d bytes", int64(spoolMaxBytes))
	}
	if s.file == nil && s.memory.Len()+len(p) <= spoolMemoryBytes {
		s.size += int64(len(p))
		return s.memory.Write(p)
	}
	if s.file == nil {
		file, err := os.CreateTemp(s.folder, "body-*")
		if err != nil {
			return 0, err
		}
		s.file = file
		if err := os.Remove(file.Name()); err != nil {
			return 0, err
		}
	}
	n, err := s.file.Write(p)
	s.size += int64(n)
	return n, err
}

// reader reads everything from the beginning. The spool is not written to afterwards.
func (s *spool) reader() (io.Reader, error) {
	held := bytes.NewReader(s.memory.Bytes())
	if s.file == nil {
		return held, nil
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return io.MultiReader(held, s.file), nil
}

func (s *spool) close() {
	if s.file != nil {
		_ = s.file.Close() // it has no name and nobody reads it any more
		s.file = nil
	}
}
