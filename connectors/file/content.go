package file

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cespare/xxhash/v2"
	kflate "github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"

	"github.com/headwater-data/headwater/connectors"
)

// content is one open file or member, as stored and as unpacked. It is used by one goroutine.
type content struct {
	file   *os.File
	size   int64 // bytes as stored: of the file, or of the packed member
	mtime  int64 // ns
	member *zip.File
	gzip   bool
	bounds bounds
	place  string // for people
	name   string // whose extension tells the format
	temps  []*tempFile
}

// openContent opens what an entry names. The caller closes it.
func openContent(e entry, o *Options) (*content, error) {
	f, err := os.Open(e.path)
	if err != nil {
		return nil, unreadable(e.shard, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("is not a regular file")
	}
	if err != nil {
		return nil, errors.Join(unreadable(e.shard, err), f.Close())
	}
	c := &content{file: f, size: info.Size(), mtime: info.ModTime().UnixNano(), gzip: e.gzip, bounds: o.bounds(), place: e.shard, name: e.name}
	if e.member != nil {
		if err := c.openMember(e.member); err != nil {
			return nil, errors.Join(connectors.Permanent(fmt.Errorf("%s: %w", e.shard, err)), f.Close())
		}
	}
	return c, nil
}

// openMember finds the member again by its name: the archive may have been written anew since it was listed.
func (c *content) openMember(id *memberID) error {
	z, err := openZip(c.file, c.size)
	if err != nil {
		return err
	}
	if id.index < len(z.File) {
		if name, err := memberName(z.File[id.index]); err == nil && name == id.name {
			c.member = z.File[id.index]
		}
	}
	for _, m := range z.File {
		if c.member != nil {
			break
		}
		if name, err := memberName(m); err == nil && name == id.name {
			c.member = m
		}
	}
	if c.member == nil {
		return errors.New("the member is no longer in the zip")
	}
	if err := checkMember(c.member); err != nil {
		return err
	}
	c.size = int64(c.member.CompressedSize64)
	return nil
}

func (c *content) Close() error {
	var errs []error
	for _, t := range c.temps {
		errs = append(errs, t.Close())
	}
	return errors.Join(append(errs, c.file.Close())...)
}

// hash returns a hash of the first n bytes as stored; n is at most size.
func (c *content) hash(ctx context.Context, n int64) (string, error) {
	var r io.Reader = io.NewSectionReader(c.file, 0, n)
	if c.member != nil {
		raw, err := c.member.OpenRaw()
		if err != nil {
			return "", c.fail("read member", err)
		}
		r = io.LimitReader(raw, n)
	}
	h := xxhash.New()
	if c.member != nil {
		fmt.Fprintf(h, "%d %d %08x ", c.member.Method, c.member.UncompressedSize64, c.member.CRC32)
	}
	got, err := io.CopyBuffer(h, contextReader{ctx, r}, make([]byte, 256<<10))
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err != nil:
		return "", c.fail("read", err)
	case got < n:
		return "", connectors.Transient(fmt.Errorf("%s: became shorter while it was read", c.place))
	}
	return fmt.Sprintf("xxh64:%016x", h.Sum64()), nil
}

// open returns the unpacked bytes. The reader is valid until the content is closed.
func (c *content) open() (io.Reader, error) {
	var r io.Reader = io.NewSectionReader(c.file, 0, c.size)
	if c.member != nil {
		m, err := c.member.Open()
		if err != nil {
			return nil, c.fail("unpack", err)
		}
		r = &boundedReader{r: m, bounds: c.bounds, packed: c.size}
	}
	if c.gzip {
		packed := &countingReader{r: r}
		z, err := gzip.NewReader(packed)
		if err != nil {
			return nil, c.fail("not a gzip file", err)
		}
		r = &boundedReader{r: &gzipReader{z: z, packed: packed}, bounds: c.bounds, packed: c.size}
	}
	return r, nil
}

// blank reports that the unpacked content has nothing but a byte order mark, spaces and line ends. It reads up to the first
// byte that is something.
func (c *content) blank(ctx context.Context) (bool, error) {
	r, err := c.open()
	if err != nil {
		return false, err
	}
	text := bufio.NewReader(contextReader{ctx, r})
	// Less than three bytes are an error of Peek's and no mark; reading on meets the same error.
	if mark, err := text.Peek(3); err == nil && string(mark) == "\ufeff" {
		if _, err := text.Discard(len(mark)); err != nil {
			return false, c.fail("read", err)
		}
	}
	for {
		b, err := text.ReadByte()
		if err == io.EOF {
			return true, nil
		}
		if err != nil {
			return false, c.fail("read", err)
		}
		if b != ' ' && b != '\t' && b != '\r' && b != '\n' {
			return false, nil
		}
	}
}

// compressed reports whether stored and unpacked bytes differ, so that an offset cannot be sought.
func (c *content) compressed() bool { return c.gzip || c.member != nil }

// readerAt returns the unpacked content for formats that need to jump about in it. Compressed content goes to a temporary
// file first, which is gone with the content.
func (c *content) readerAt(ctx context.Context) (*io.SectionReader, error) {
	if !c.compressed() {
		return io.NewSectionReader(c.file, 0, c.size), nil
	}
	r, err := c.open()
	if err != nil {
		return nil, err
	}
	t, err := c.temp()
	if err != nil {
		return nil, err
	}
	n, err := io.CopyBuffer(t, contextReader{ctx, r}, make([]byte, 256<<10))
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, c.fail("unpack", err)
	}
	return io.NewSectionReader(t, 0, n), nil
}

// temp makes a temporary file that lives as long as the content.
func (c *content) temp() (*tempFile, error) {
	t, err := newTempFile()
	if err != nil {
		return nil, err
	}
	c.temps = append(c.temps, t)
	return t, nil
}

// fail names the place and the operation. Damage is permanent: reading the same bytes again gives the same.
func (c *content) fail(op string, err error) error {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, zip.ErrChecksum):
		return connectors.Permanent(fmt.Errorf("%s: %s: the content does not have the checksum that the zip promises: it is damaged", c.place, op))
	case errors.Is(err, io.ErrUnexpectedEOF):
		return connectors.Permanent(fmt.Errorf("%s: %s: cut short: %w", c.place, op, err))
	}
	if flateErr(err) {
		return connectors.Permanent(fmt.Errorf("%s: %s: damaged: %w", c.place, op, err))
	}
	return fmt.Errorf("%s: %s: %w", c.place, op, err)
}

func flateErr(err error) bool {
	if _, ok := errors.AsType[flate.CorruptInputError](err); ok {
		return true
	}
	_, ok := errors.AsType[kflate.CorruptInputError](err)
	return ok
}

// gzipReader adds to gzip's errors where they happened.
type gzipReader struct {
	z      *gzip.Reader
	packed *countingReader
	n      int64
}

func (g *gzipReader) Read(p []byte) (int, error) {
	n, err := g.z.Read(p)
	g.n += int64(n)
	switch {
	case err == nil || err == io.EOF:
		return n, err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return n, fmt.Errorf("gzip cut short after %d packed and %d unpacked bytes: %w", g.packed.n, g.n, err)
	case errors.Is(err, gzip.ErrChecksum):
		return n, fmt.Errorf("gzip checksum is wrong after %d unpacked bytes: the content is damaged: %w", g.n, err)
	}
	return n, fmt.Errorf("gzip is damaged after %d packed and %d unpacked bytes: %w", g.packed.n, g.n, err)
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// contextReader ends a long copy when the context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// tempFile is a temporary file that is gone when it is closed, or, where the system allows it, when the process ends in any way.
type tempFile struct {
	*os.File
	name string // "" when it is unlinked already
}

func newTempFile() (*tempFile, error) {
	f, err := os.CreateTemp("", "headwater-*")
	if err != nil {
		return nil, fmt.Errorf("make a temporary file: %w", err)
	}
	t := &tempFile{File: f, name: f.Name()}
	if os.Remove(t.name) == nil {
		t.name = ""
	}
	return t, nil
}

func (t *tempFile) Close() error {
	err := t.File.Close()
	if t.name != "" {
		err = errors.Join(err, os.Remove(t.name))
	}
	return err
}

// startsWith reports whether the unpacked head of r begins with magic, without moving it.
func startsWith(r io.ReaderAt, magic []byte) bool {
	head := make([]byte, len(magic))
	n, err := r.ReadAt(head, 0)
	return n == len(head) && (err == nil || err == io.EOF) && bytes.Equal(head, magic)
}
