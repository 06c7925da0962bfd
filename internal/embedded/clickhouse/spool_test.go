package clickhouse

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"testing/iotest"
)

// The tests of this file share the memory that all spools share, so they do not run side by side with others.

func randomBytes(n int) []byte {
	source := rand.NewChaCha8([32]byte{1})
	b := make([]byte, n)
	_, _ = source.Read(b) // never fails
	return b
}

func TestSpoolsGiveBackWhatTheyTookIn(t *testing.T) {
	before := spoolInMemory.Load()
	for name, c := range map[string]struct {
		size     int
		occupied int64 // of the memory that spools share
	}{
		"nothing":                        {0, 0},
		"a byte":                         {1, 0},
		"a piece":                        {spoolPiece, 0},
		"a piece and a byte":             {spoolPiece + 1, 0},
		"as it is when memory is full":   {3 * spoolPiece, spoolMemoryBytes},
		"where memory ends half-way":     {3*spoolPiece + 5, spoolMemoryBytes - spoolPiece},
		"a byte when memory is occupied": {1, spoolMemoryBytes},
	} {
		content := randomBytes(c.size)
		for how, fill := range map[string]func(s *spool) error{
			"copied": func(s *spool) error { _, err := io.Copy(s, struct{ io.Reader }{bytes.NewReader(content)}); return err },
			"read half by half": func(s *spool) error {
				_, err := io.Copy(s, iotest.HalfReader(struct{ io.Reader }{bytes.NewReader(content)}))
				return err
			},
			"written": func(s *spool) error {
				for rest := content; len(rest) > 0; {
					n := min(len(rest), 100_003)
					if _, err := s.Write(rest[:n]); err != nil {
						return err
					}
					rest = rest[n:]
				}
				return nil
			},
		} {
			folder := t.TempDir()
			spoolInMemory.Add(c.occupied)
			s := &spool{folder: folder}
			if err := fill(s); err != nil {
				t.Fatalf("%s, %s: %v", name, how, err)
			}
			for range 2 { // what is held can be read again
				r, err := s.reader()
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(r)
				if err != nil || !bytes.Equal(got, content) {
					t.Errorf("%s, %s: got %d bytes (%v), want %d", name, how, len(got), err, len(content))
				}
			}
			if s.size != int64(c.size) {
				t.Errorf("%s, %s: size is %d, want %d", name, how, s.size, c.size)
			}
			s.close()
			s.close()
			spoolInMemory.Add(-c.occupied)
			if left := spoolInMemory.Load() - before; left != 0 {
				t.Fatalf("%s, %s: %d bytes of the shared memory are not given back", name, how, left)
			}
			if files, err := os.ReadDir(folder); err != nil || len(files) > 0 {
				t.Errorf("%s, %s: files are left: %v, %v", name, how, files, err)
			}
		}
	}
}

func TestASpoolReportsWhatItsReaderReports(t *testing.T) {
	s := &spool{folder: t.TempDir()}
	defer s.close()
	if _, err := io.Copy(s, io.MultiReader(bytes.NewReader(randomBytes(10)), iotest.ErrReader(io.ErrUnexpectedEOF))); err != io.ErrUnexpectedEOF {
		t.Errorf("got %v, want %v", err, io.ErrUnexpectedEOF)
	}
}
