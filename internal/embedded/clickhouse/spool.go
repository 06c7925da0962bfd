package clickhouse

import (
	"bytes"
	"io"
	"os"
	"sync"
	"sync/atomic"
)

const (
	// spoolMemoryBytes is how much of all bodies and held-back results together stays in memory; the rest goes to files. It
	// holds two large inserts: writing those to a file and reading them back costs as much as all else that this process does
	// with them before the engine sees them.
	spoolMemoryBytes = 192 << 20
	// spoolPiece is how much memory is taken at a time.
	spoolPiece = 1 << 20
	// spoolMaxBytes bounds one body.
	spoolMaxBytes = 16 << 30
)

// spool holds bytes that must be complete before they are used. As long as there is room they stay in memory; others go to a
// file without a name, which the system removes when the process ends, however it ends.
type spool struct {
	folder string
	pieces [][]byte // full ones, and the one that is being filled
	file   *os.File // what came after the pieces
	size   int64
}

var (
	spoolInMemory atomic.Int64 // bytes of pieces of all spools
	spoolPieces   = sync.Pool{New: func() any { return new([spoolPiece]byte) }}
)

// room returns memory to write to, nil when there is no more of it.
func (s *spool) room() []byte {
	if s.file != nil {
		return nil
	}
	if n := len(s.pieces); n > 0 && len(s.pieces[n-1]) < spoolPiece {
		last := s.pieces[n-1]
		return last[len(last):spoolPiece]
	}
	if spoolInMemory.Add(spoolPiece) > spoolMemoryBytes {
		spoolInMemory.Add(-spoolPiece)
		return nil
	}
	piece := spoolPieces.Get().(*[spoolPiece]byte)
	s.pieces = append(s.pieces, piece[:0])
	return piece[:]
}

// took says how much of the room was written to.
func (s *spool) took(n int) {
	last := len(s.pieces) - 1
	s.pieces[last] = s.pieces[last][:len(s.pieces[last])+n]
	s.size += int64(n)
}

func (s *spool) overflow() error {
	if s.file != nil {
		return nil
	}
	file, err := os.CreateTemp(s.folder, "body-*")
	if err != nil {
		return err
	}
	s.file = file
	return os.Remove(file.Name())
}

func (s *spool) tooLarge(more int) error {
	if s.size+int64(more) <= spoolMaxBytes {
		return nil
	}
	return exception(codeTooLarge, "The body is larger than %d bytes", int64(spoolMaxBytes))
}

func (s *spool) Write(p []byte) (int, error) {
	if err := s.tooLarge(len(p)); err != nil {
		return 0, err
	}
	written := 0
	for written < len(p) {
		if room := s.room(); room != nil {
			n := copy(room, p[written:])
			s.took(n)
			written += n
			continue
		}
		if err := s.overflow(); err != nil {
			return written, err
		}
		n, err := s.file.Write(p[written:])
		written += n
		s.size += int64(n)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// ReadFrom takes in all of r, straight into memory while there is room.
func (s *spool) ReadFrom(r io.Reader) (int64, error) {
	before := s.size
	for {
		room := s.room()
		if room == nil {
			break
		}
		n, err := r.Read(room)
		s.took(n)
		if err == io.EOF {
			return s.size - before, nil
		}
		if err != nil {
			return s.size - before, err
		}
	}
	if err := s.overflow(); err != nil {
		return s.size - before, err
	}
	_, err := io.CopyBuffer(struct{ io.Writer }{s}, r, make([]byte, 256<<10))
	return s.size - before, err
}

// reader reads everything from the beginning. The spool is not written to afterwards.
func (s *spool) reader() (io.Reader, error) {
	readers := make([]io.Reader, 0, len(s.pieces)+1)
	for _, p := range s.pieces {
		readers = append(readers, bytes.NewReader(p))
	}
	if s.file != nil {
		if _, err := s.file.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		readers = append(readers, s.file)
	}
	return io.MultiReader(readers...), nil
}

// close gives back what the spool holds. Nobody reads it any more. Closing twice is harmless.
func (s *spool) close() {
	for _, p := range s.pieces {
		spoolPieces.Put((*[spoolPiece]byte)(p[:spoolPiece]))
		spoolInMemory.Add(-spoolPiece)
	}
	s.pieces = nil
	if s.file != nil {
		_ = s.file.Close() // it has no name and nobody reads it any more
		s.file = nil
	}
}
