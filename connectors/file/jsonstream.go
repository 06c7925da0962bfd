package file

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// maxNesting bounds how deep a JSON document may be nested; what bounds it in other parsers, too.
const maxNesting = 10_000

// jsonStream cuts values out of a JSON document by its structure alone (brackets and strings), holding no more than one
// value of a bounded length. Whether a value is proper JSON inside is for whoever parses it: so one bad record in an array
// is found by itself and does not end the document.
type jsonStream struct {
	src  io.Reader
	buf  []byte
	r, w int
	keep int // beginning of the value being cut out; -1 when none is
	off  int64
	line int64 // 0-based line of buf[r]
	eof  bool

	nesting []byte
}

func newJSONStream(src io.Reader) *jsonStream {
	return &jsonStream{src: src, buf: make([]byte, 64<<10), keep: -1}
}

// syntaxError says where a document breaks so that nothing behind can be trusted.
type syntaxError struct {
	Line   int64 // 1-based
	Offset int64 // of the decoded text
	What   string
}

func (e *syntaxError) Error() string {
	return fmt.Sprintf("line %d, offset %d: %s", e.Line, e.Offset, e.What)
}

func (s *jsonStream) fault(format string, args ...any) error {
	return &syntaxError{Line: s.line + 1, Offset: s.off, What: fmt.Sprintf(format, args...)}
}

// more reads behind what is unread; false at the end.
func (s *jsonStream) more() (bool, error) {
	if s.eof {
		return false, nil
	}
	from := s.r
	if s.keep >= 0 {
		from = s.keep
		s.keep = 0
	}
	if from > 0 {
		s.w = copy(s.buf, s.buf[from:s.w])
		s.r -= from
	}
	if s.w == len(s.buf) {
		s.buf = append(s.buf, make([]byte, len(s.buf))...)
	}
	for {
		n, err := s.src.Read(s.buf[s.w:])
		s.w += n
		if err == io.EOF {
			s.eof = true
		} else if err != nil {
			return false, err
		}
		if n > 0 || s.eof {
			return n > 0, nil
		}
	}
}

// take moves over n bytes.
func (s *jsonStream) take(n int) {
	s.line += int64(bytes.Count(s.buf[s.r:s.r+n], newline))
	s.off += int64(n)
	s.r += n
}

// peek passes over white space and returns the next byte; 0 at the end.
func (s *jsonStream) peek() (byte, error) {
	for {
		i := s.r
		for i < s.w && (s.buf[i] == ' ' || s.buf[i] == '\n' || s.buf[i] == '\r' || s.buf[i] == '\t') {
			i++
		}
		s.take(i - s.r)
		if i < s.w {
			return s.buf[i], nil
		}
		if got, err := s.more(); err != nil || !got {
			return 0, err
		}
	}
}

// expect passes over one byte of structure.
func (s *jsonStream) expect(want byte) error {
	b, err := s.peek()
	switch {
	case err != nil:
		return err
	case b == 0 && s.r == s.w:
		return s.fault("the document is cut short: expected %q", want)
	case b != want:
		return s.fault("found %q, expected %q", b, want)
	}
	s.take(1)
	return nil
}

// value cuts out the value that follows. It points into the buffer until the next call. A value of more than limit bytes is
// passed over, and only its beginning is returned.
func (s *jsonStream) value(limit int) (raw []byte, tooLong bool, err error) {
	if b, err := s.peek(); err != nil {
		return nil, false, err
	} else if b == 0 && s.r == s.w {
		return nil, false, s.fault("the document is cut short: a value is missing")
	}
	s.keep = s.r
	defer func() { s.keep = -1 }()
	var head []byte
	length := 0
	step := func(n int) {
		s.take(n)
		length += n
		if length > limit && head == nil {
			head = excerpt(s.buf[s.keep:s.r])
			s.keep = -1
		}
	}
	s.nesting = s.nesting[:0]
	for {
		if s.r == s.w {
			got, err := s.more()
			if err != nil {
				return nil, false, err
			}
			if !got {
				if len(s.nesting) > 0 || length == 0 {
					return nil, false, s.fault("the document is cut short within a value")
				}
				break
			}
		}
		rest := s.buf[s.r:s.w]
		switch c := rest[0]; c {
		case '{', '[':
			if len(s.nesting) == maxNesting {
				return nil, false, s.fault("nested deeper than %d", maxNesting)
			}
			s.nesting = append(s.nesting, c)
			step(1)
		case '}', ']':
			if len(s.nesting) == 0 {
				if length > 0 { // the end of what holds a number or literal
					return s.cut(head)
				}
				return nil, false, s.fault("found %q where a value is expected", c)
			}
			open := s.nesting[len(s.nesting)-1]
			if open == '{' && c != '}' || open == '[' && c != ']' {
				return nil, false, s.fault("found %q, which does not close %q", c, open)
			}
			s.nesting = s.nesting[:len(s.nesting)-1]
			step(1)
			if len(s.nesting) == 0 {
				return s.cut(head)
			}
		case '"':
			step(1)
			if err := s.text(step); err != nil {
				return nil, false, err
			}
			if len(s.nesting) == 0 {
				return s.cut(head)
			}
		default:
			if len(s.nesting) == 0 && (c == ',' || c == ':' || c == ' ' || c == '\n' || c == '\r' || c == '\t') {
				if length == 0 {
					return nil, false, s.fault("found %q where a value is expected", c)
				}
				return s.cut(head)
			}
			n := 1
			if len(s.nesting) > 0 {
				if n = bytes.IndexAny(rest, `{}[]"`); n < 0 {
					n = len(rest)
				}
			}
			step(n)
		}
	}
	return s.cut(head)
}

func (s *jsonStream) cut(head []byte) ([]byte, bool, error) {
	if head != nil {
		return head, true, nil
	}
	return s.buf[s.keep:s.r], false, nil
}

// text passes over a string whose opening quote has been passed.
func (s *jsonStream) text(step func(int)) error {
	for {
		rest := s.buf[s.r:s.w]
		q := bytes.IndexByte(rest, '"')
		if q < 0 {
			q = len(rest)
		}
		if b := bytes.IndexByte(rest[:q], '\\'); b >= 0 && b+1 < len(rest) {
			step(b + 2)
			continue
		} else if b >= 0 {
			step(b) // the escaped byte is not here yet: keep the backslash
		} else if q < len(rest) {
			step(q + 1)
			return nil
		} else {
			step(q)
		}
		got, err := s.more()
		if err != nil {
			return err
		}
		if !got {
			return s.fault("the document is cut short within a text")
		}
	}
}

// maxKey bounds the names of an object on the way to the records.
const maxKey = 64 << 10

// find moves to the records: behind the bracket of the array that the path names, or before the single value that is there.
func (s *jsonStream) find(path []string) (array bool, err error) {
	for i, want := range path {
		b, err := s.peek()
		if err != nil {
			return false, err
		}
		if b != '{' {
			return false, s.fault("the path to the records, %q, needs an object here, found %s", strings.Join(path, "."), kindName(b))
		}
		s.take(1)
		if err := s.member(want, path[:i+1]); err != nil {
			return false, err
		}
	}
	b, err := s.peek()
	if err != nil {
		return false, err
	}
	if b == '[' {
		s.take(1)
		return true, nil
	}
	return false, nil
}

// member moves to the value of a name in the object whose brace has been passed.
func (s *jsonStream) member(want string, path []string) error {
	var seen []string
	for first := true; ; first = false {
		b, err := s.peek()
		if err != nil {
			return err
		}
		if b == '}' {
			return s.fault("there is no %q: the object has %s", strings.Join(path, "."), strings.Join(seen, ", "))
		}
		if !first {
			if err := s.expect(','); err != nil {
				return err
			}
		}
		name, err := s.name()
		if err != nil {
			return err
		}
		if name == want {
			return nil
		}
		if len(seen) < 20 {
			seen = append(seen, strconv.Quote(name[:min(len(name), 64)]))
		}
		if _, _, err := s.value(0); err != nil {
			return err
		}
	}
}

// name reads a member's name and the colon behind it.
func (s *jsonStream) name() (string, error) {
	b, err := s.peek()
	if err != nil {
		return "", err
	}
	if b != '"' {
		return "", s.fault("found %s, expected a name", kindName(b))
	}
	raw, tooLong, err := s.value(maxKey)
	if err != nil {
		return "", err
	}
	if tooLong {
		return "", s.fault("a name is longer than %d bytes", maxKey)
	}
	name, err := unquote(nil, raw)
	if err != nil {
		return "", s.fault("a name is not a JSON text: %v", err)
	}
	return string(name), s.expect(':')
}

// finish reads what stands behind the records, up to the end, so that a document that is cut short is noticed. depth is how
// many objects the records are in.
func (s *jsonStream) finish(depth int) error {
	for range depth {
		for {
			b, err := s.peek()
			if err != nil {
				return err
			}
			if b == '}' {
				s.take(1)
				break
			}
			if err := s.expect(','); err != nil {
				return err
			}
			if _, err := s.name(); err != nil {
				return err
			}
			if _, _, err := s.value(0); err != nil {
				return err
			}
		}
	}
	b, err := s.peek()
	if err != nil {
		return err
	}
	if b != 0 || s.r < s.w {
		return s.fault("found %q after the end of the document", b)
	}
	return nil
}

func kindName(b byte) string {
	switch {
	case b == 0:
		return "the end"
	case b == '{':
		return "an object"
	case b == '[':
		return "an array"
	case b == '"':
		return "a text"
	case b == '-', '0' <= b && b <= '9':
		return "a number"
	case slices.Contains([]byte("tfn"), b):
		return "true, false or null"
	}
	return fmt.Sprintf("%q", b)
}
