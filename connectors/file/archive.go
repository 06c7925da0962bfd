package file

import (
	"archive/zip"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/klauspost/compress/flate"
	"golang.org/x/text/encoding/simplifiedchinese"

	"github.com/headwater-data/headwater/connectors"
)

// maxMembers bounds the directory of a zip, which is held in memory.
const maxMembers = 100_000

// memberID finds a member again when the archive is opened later.
type memberID struct {
	index int
	name  string // decoded
}

// openZip reads the directory of an archive.
func openZip(r io.ReaderAt, size int64) (*zip.Reader, error) {
	z, err := zip.NewReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("not a whole zip file (%d bytes): %w", size, err)
	}
	if len(z.File) > maxMembers {
		return nil, fmt.Errorf("zip has %d members; at most %d are read", len(z.File), maxMembers)
	}
	z.RegisterDecompressor(zip.Deflate, func(r io.Reader) io.ReadCloser { return flate.NewReader(r) })
	return z, nil
}

// members lists the shards that a zip holds. An archive that cannot be read is one shard that says so.
func (s *Source) members(archive entry, o *Options) []entry {
	broken := func(err error) []entry {
		archive.err = connectors.Permanent(fmt.Errorf("%s: %w", archive.shard, err))
		return []entry{archive}
	}
	f, err := os.Open(archive.path)
	if err != nil {
		archive.err = unreadable(archive.shard, err)
		return []entry{archive}
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		archive.err = unreadable(archive.shard, err)
		return []entry{archive}
	}
	z, err := openZip(f, info.Size())
	if err != nil {
		return broken(err)
	}

	var entries []entry
	var unpacked uint64
	names := map[string]int{}
	for i, m := range z.File {
		name, err := memberName(m)
		base := path.Base(name)
		if strings.HasSuffix(name, "/") || err == nil && (unfinished(base) || strings.HasPrefix(name, "__MACOSX/")) {
			continue
		}
		if err == nil {
			k := kindOf(name)
			switch {
			case o.Member != "" && !doublestar.MatchUnvalidated(o.Member, name) && !doublestar.MatchUnvalidated(o.Member, base):
				continue
			case o.Member == "" && o.Format == "" && k.format == "" && !k.zip && k.refusal == "":
				continue
			}
		}
		unpacked += m.UncompressedSize64
		e := entry{
			shard: archive.shard + "!" + strings.ToValidUTF8(name, "\ufffd"), path: archive.path, name: base,
			member: &memberID{index: i, name: name},
		}
		if names[name]++; names[name] > 1 {
			e.shard = fmt.Sprintf("%s#%d", e.shard, names[name])
			err = fmt.Errorf("the zip has %d members of this name", names[name])
		}
		if err == nil {
			err = checkMember(m)
		}
		if err != nil {
			e.err = connectors.Permanent(fmt.Errorf("%s: %w", e.shard, err))
		}
		entries = append(entries, e.withFormat(o))
	}
	switch {
	case len(entries) == 0 && o.Member != "":
		return broken(fmt.Errorf("no member matches %q", o.Member))
	case len(entries) == 0:
		return broken(fmt.Errorf("none of its %d members has a known format", len(z.File)))
	}
	// Members that share their packed bytes are each within bounds and together a bomb, so the sum counts too.
	if err := o.bounds().check(int64(min(unpacked, 1<<62)), info.Size()); err != nil {
		return broken(err)
	}
	return entries
}

// memberName decodes and checks the name of a member. Without the UTF-8 flag, the name is UTF-8 if it is valid as that (as
// macOS writes it), else GB18030 (as Chinese Windows writes it).
func memberName(m *zip.File) (string, error) {
	name := m.Name
	if m.NonUTF8 && !utf8.ValidString(name) {
		decoded, err := simplifiedchinese.GB18030.NewDecoder().String(name)
		if err != nil || strings.ContainsRune(decoded, utf8.RuneError) {
			return name, fmt.Errorf("the member's name is neither UTF-8 nor GB18030")
		}
		name = decoded
	}
	if !utf8.ValidString(name) {
		return name, fmt.Errorf("the member's name is marked as UTF-8 but is not")
	}
	return checkName(strings.ReplaceAll(name, `\`, "/")) // Windows programs write backslashes
}

// checkName refuses names that lead out of the archive. Nothing is ever written under a member's name, but whoever sends
// such an archive is to be looked at. Its other members are read.
func checkName(name string) (string, error) {
	switch {
	case name == "":
		return name, fmt.Errorf("the member has no name")
	case strings.ContainsRune(name, 0):
		return name, fmt.Errorf("the member's name holds a NUL byte")
	case strings.HasPrefix(name, "/"), len(name) > 1 && name[1] == ':':
		return name, fmt.Errorf("the member's name is an absolute path: it is refused as unsafe; look at who sent the archive")
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return name, fmt.Errorf("the member's name leads out of the archive (..): it is refused as unsafe; look at who sent the archive")
		}
	}
	return path.Clean(name) + trailingSlash(name), nil
}

func trailingSlash(name string) string {
	if strings.HasSuffix(name, "/") {
		return "/"
	}
	return ""
}

const encryptedFlag = 0x1

// checkMember refuses members that cannot be unpacked.
func checkMember(m *zip.File) error {
	switch {
	case m.Flags&encryptedFlag != 0:
		return fmt.Errorf("the member is encrypted: deliver the archive without a password")
	case m.Method != zip.Store && m.Method != zip.Deflate:
		return fmt.Errorf("the member is packed with method %d; only stored (0) and deflate (8) are read", m.Method)
	}
	return nil
}

// bounds limit what compressed content may unpack to.
type bounds struct{ maxBytes, maxRatio int64 }

func (o *Options) bounds() bounds {
	b := bounds{maxBytes: o.MaxUnzippedBytes, maxRatio: o.MaxUnzipRatio}
	if b.maxBytes == 0 {
		b.maxBytes = defaultMaxUnzipped
	}
	if b.maxRatio == 0 {
		b.maxRatio = defaultMaxRatio
	}
	return b
}

// check returns an error when unpacked bytes from packed ones are too many to be honest.
func (b bounds) check(unpacked, packed int64) error {
	switch {
	case unpacked > b.maxBytes:
		return fmt.Errorf("unpacks to more than %d bytes: refused as a possible zip bomb (max_unzipped_bytes)", b.maxBytes)
	case unpacked > ratioFreeBytes && unpacked/b.maxRatio > packed:
		return fmt.Errorf("unpacks to more than %d times its %d bytes: refused as a possible zip bomb (max_unzip_ratio)", b.maxRatio, packed)
	}
	return nil
}

// boundedReader counts what is unpacked, whatever the headers promised.
type boundedReader struct {
	r      io.Reader
	bounds bounds
	packed int64
	n      int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.n += int64(n)
	if over := b.bounds.check(b.n, b.packed); over != nil {
		return n, over
	}
	return n, err
}
