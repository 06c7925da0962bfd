package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/transform"

	"github.com/headwater-data/headwater/connectors"
)

// What a text turned out to be. The names stand in cursors: never change them.
const (
	encASCII   = "ascii"       // found to be ASCII throughout, without NUL
	encChecked = "utf-8-valid" // found to be valid UTF-8 throughout, without NUL
	encUTF8    = "utf-8"       // UTF-8 that may have faults: rows are checked as they are read
	encGB18030 = "gb18030"
)

var (
	bomUTF8    = []byte{0xef, 0xbb, 0xbf}
	bomUTF16LE = []byte{0xff, 0xfe}
	bomUTF16BE = []byte{0xfe, 0xff}
	bomGB18030 = []byte{0x84, 0x31, 0x95, 0x33}
)

// replacement is U+FFFD, which the GB18030 decoder writes for what it cannot decode.
var replacement = []byte("\ufffd")

// text is content decoded to UTF-8, without a byte order mark.
type text struct {
	c        *content
	r        io.Reader
	encoding string
	bom      int64 // bytes before the text
}

// openText opens content as text. known is what an earlier read of the same content decided; "" decides now.
func (c *content) openText(ctx context.Context, configured, known string) (*text, error) {
	t := &text{c: c, encoding: known}
	r, err := c.open()
	if err != nil {
		return nil, err
	}
	head := make([]byte, 4)
	n, err := io.ReadFull(r, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, c.fail("read", err)
	}
	// io.ReadFull makes io.ErrUnexpectedEOF of a short but whole file, and a gzip cut short wraps the same error.
	if errors.Is(err, io.ErrUnexpectedEOF) && err != io.ErrUnexpectedEOF {
		return nil, c.fail("read", err)
	}
	head = head[:n]
	marked := ""
	switch {
	case bytes.HasPrefix(head, bomUTF8):
		marked, t.bom = encUTF8, int64(len(bomUTF8))
	case bytes.HasPrefix(head, bomGB18030):
		marked, t.bom = encGB18030, int64(len(bomGB18030))
	case bytes.HasPrefix(head, bomUTF16LE), bytes.HasPrefix(head, bomUTF16BE):
		return nil, connectors.Permanent(fmt.Errorf("%s: is UTF-16: save it as UTF-8", c.place))
	}
	if t.encoding == "" {
		switch {
		case marked != "":
			t.encoding = marked
		case configured == "utf-8":
			t.encoding = encUTF8
		case configured == "gb18030", configured == "gbk", configured == "gb2312":
			t.encoding = encGB18030
		default:
			if t.encoding, err = c.detect(ctx); err != nil {
				return nil, err
			}
		}
	}
	return t, t.seek(ctx, 0)
}

// clean reports that the text needs no checks for invalid bytes and NUL.
func (t *text) clean() bool { return t.encoding == encASCII || t.encoding == encChecked }

// seek moves to a byte offset of the decoded text: at once in a plain file, else by reading up to it.
func (t *text) seek(ctx context.Context, offset int64) error {
	r, err := t.c.open()
	if err != nil {
		return err
	}
	skip := t.bom
	if t.encoding != encGB18030 {
		skip += offset
		offset = 0
	}
	if s, ok := r.(io.Seeker); ok {
		_, err = s.Seek(skip, io.SeekStart)
	} else {
		err = discard(ctx, r, skip)
	}
	if err == nil && t.encoding == encGB18030 {
		r = transform.NewReader(r, simplifiedchinese.GB18030.NewDecoder())
		err = discard(ctx, r, offset)
	}
	if err != nil {
		return t.c.fail("read", err)
	}
	t.r = contextReader{ctx, r}
	return nil
}

func discard(ctx context.Context, r io.Reader, n int64) error {
	_, err := io.CopyN(io.Discard, contextReader{ctx, r}, n)
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// detect decides between UTF-8 and GB18030 by validity alone: valid UTF-8 is UTF-8; what is not is GB18030, unless GB18030
// fails even earlier, for then the text is UTF-8 with a fault in it. Statistics are never asked.
func (c *content) detect(ctx context.Context) (string, error) {
	r, err := c.open()
	if err != nil {
		return "", err
	}
	var check utf8Check
	if _, err := io.CopyBuffer(&check, contextReader{ctx, r}, make([]byte, 256<<10)); err != nil && !errors.Is(err, errInvalid) {
		return "", c.fail("read", err)
	}
	invalidAt, valid := check.end()
	if valid {
		switch {
		case check.nul:
			return encUTF8, nil
		case !check.high:
			return encASCII, nil
		}
		return encChecked, nil
	}
	if r, err = c.open(); err != nil {
		return "", err
	}
	limited := io.LimitReader(contextReader{ctx, r}, invalidAt+utf8.UTFMax)
	further, err := gb18030Reaches(limited, invalidAt)
	if err != nil {
		return "", c.fail("read", err)
	}
	if further {
		return encGB18030, nil
	}
	return encUTF8, nil
}

var errInvalid = errors.New("invalid UTF-8")

// utf8Check is a writer that looks for the first byte that is not UTF-8.
type utf8Check struct {
	n     int64 // bytes found valid
	carry []byte
	nul   bool
	high  bool
	bad   bool
}

func (u *utf8Check) Write(p []byte) (int, error) {
	size := len(p)
	u.nul = u.nul || bytes.IndexByte(p, 0) >= 0
	for len(u.carry) > 0 && len(p) > 0 {
		u.carry = append(u.carry, p[0])
		p = p[1:]
		if utf8.FullRune(u.carry) {
			if r, n := utf8.DecodeRune(u.carry); r == utf8.RuneError && n <= 1 {
				u.bad = true
				return 0, errInvalid
			}
			u.n += int64(len(u.carry))
			u.carry = u.carry[:0]
		}
	}
	if cut := incompleteTail(p); cut < len(p) {
		u.carry = append(u.carry, p[cut:]...)
		p = p[:cut]
	}
	if at := invalidUTF8(p); at >= 0 {
		u.n += int64(at)
		u.bad = true
		return 0, errInvalid
	}
	u.high = u.high || !isASCII(p) || len(u.carry) > 0
	u.n += int64(len(p))
	return size, nil
}

// end returns where the first invalid byte is, or that all were valid.
func (u *utf8Check) end() (at int64, valid bool) { return u.n, !u.bad && len(u.carry) == 0 }

// incompleteTail returns where a character begins that goes on beyond p, or len(p).
func incompleteTail(p []byte) int {
	for i := len(p) - 1; i >= 0 && i >= len(p)-utf8.UTFMax; i-- {
		if utf8.RuneStart(p[i]) {
			if !utf8.FullRune(p[i:]) {
				return i
			}
			break
		}
	}
	return len(p)
}

// invalidUTF8 returns the index of the first byte that is not UTF-8, or -1.
func invalidUTF8(p []byte) int {
	if utf8.Valid(p) {
		return -1
	}
	for i := 0; i < len(p); {
		if p[i] < utf8.RuneSelf {
			i++
			continue
		}
		r, n := utf8.DecodeRune(p[i:])
		if r == utf8.RuneError && n <= 1 {
			return i
		}
		i += n
	}
	return -1
}

func isASCII(p []byte) bool {
	for len(p) >= 8 {
		if (p[0]|p[1]|p[2]|p[3]|p[4]|p[5]|p[6]|p[7])&0x80 != 0 {
			return false
		}
		p = p[8:]
	}
	for _, b := range p {
		if b >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// gb18030Reaches reports whether r decodes as GB18030 without a fault up to beyond the byte at.
func gb18030Reaches(r io.Reader, at int64) (bool, error) {
	decoder := simplifiedchinese.GB18030.NewDecoder()
	src, dst := make([]byte, 0, 64<<10), make([]byte, 128<<10)
	var base int64 // offset of src
	for {
		n, err := r.Read(src[len(src):cap(src)])
		src = src[:len(src)+n]
		if err != nil && err != io.EOF {
			return false, err
		}
		end := err == io.EOF
		nDst, nSrc, terr := decoder.Transform(dst, src, end)
		if k := bytes.Index(dst[:nDst], replacement); k >= 0 {
			// Decode again, only up to the fault, to learn how many bytes stand before it.
			decoder.Reset()
			_, before, _ := decoder.Transform(dst[:k], src, end)
			return base+int64(before) > at, nil
		}
		if terr != nil && terr != transform.ErrShortSrc && terr != transform.ErrShortDst {
			return false, terr
		}
		base += int64(nSrc)
		src = src[:copy(src, src[nSrc:])]
		if end && len(src) == 0 || base > at {
			return true, nil
		}
	}
}
