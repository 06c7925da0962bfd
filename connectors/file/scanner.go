package file

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"unicode/utf8"
)

// dialect says how rows and fields of a text are told apart.
type dialect struct {
	delimiter []byte
	quote     byte // 0: none
	comment   []byte
	maxRow    int
	rules     string // what the names of broken rules begin with
}

// scanner cuts a text into rows and fields without copying: what it gives points into its own buffer and is valid until the
// next call. It follows RFC 4180, takes a bare LF as a line end too, takes a quote inside an unquoted field as it stands,
// and passes over rows in which every field is empty and unquoted.
//
// A fault costs one line: after a row that cannot be read, the scanner goes on at the line after the one where the row began,
// so that an unclosed quote does not swallow the rows behind it.
type scanner struct {
	src io.Reader
	dialect
	clean   bool // the text is known to be valid UTF-8 without NUL
	decoded bool // U+FFFD in the text stands for bytes that could not be decoded

	buf  []byte
	r, w int // buf[r:w] is unread
	off  int64
	line int64 // 0-based line of buf[r]
	eof  bool

	// buf[:checked] has been looked at for invalid bytes; rows that begin before dirty have to be looked at one by one.
	checked, dirty int

	// the row that was found last
	start     int64 // offset
	startLine int64 // 1-based
	raw       []byte
	fields    [][]byte
	quoted    []bool
	unescaped []byte
	spans     []span
}

const scanBlock = 256 << 10

func newScanner(src io.Reader, d dialect) *scanner {
	return &scanner{src: src, dialect: d, buf: make([]byte, scanBlock)}
}

// at moves the scanner to the text that src now gives, which begins at an offset and 0-based line.
func (s *scanner) at(src io.Reader, offset, line int64) {
	s.src, s.off, s.line = src, offset, line
	s.r, s.w, s.checked, s.dirty, s.eof = 0, 0, 0, 0, false
}

// rowFault is why a row could not be read.
type rowFault struct {
	rule   string
	column int // as connectors.Reject.Column
	reason string
}

// more reads another block behind what is unread. It returns false at the end of the text.
func (s *scanner) more() (bool, error) {
	if s.eof {
		return false, nil
	}
	if s.r > 0 {
		copy(s.buf, s.buf[s.r:s.w])
		s.w -= s.r
		s.checked, s.dirty = max(0, s.checked-s.r), max(0, s.dirty-s.r)
		s.r = 0
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
			s.check()
			return n > 0, nil
		}
	}
}

// check looks at the new whole lines at once, which costs far less than looking at each row.
func (s *scanner) check() {
	if s.clean || s.decoded {
		return
	}
	end := s.w
	if !s.eof {
		end = s.checked + bytes.LastIndexByte(s.buf[s.checked:s.w], '\n') + 1
	}
	if block := s.buf[s.checked:end]; bytes.IndexByte(block, 0) >= 0 || !utf8.Valid(block) {
		s.dirty = end
	}
	s.checked = end
}

// next finds the next row. ok is false at the end of the text. With a fault, raw holds what was found of the row.
func (s *scanner) next() (fault *rowFault, ok bool, err error) {
	for {
		nl, err := s.findLine()
		if err != nil {
			return nil, false, err
		}
		if nl < 0 && s.r == s.w {
			return nil, false, nil
		}
		s.start, s.startLine = s.off, s.line+1
		end := nl
		if nl < 0 {
			end = s.w
		}
		if end-s.r > s.maxRow {
			fault, err := s.tooLong(nl)
			return fault, true, err
		}
		line := trimCR(s.buf[s.r:end])
		switch {
		case len(line) == 0, len(s.comment) > 0 && bytes.HasPrefix(line, s.comment):
			s.advance(nl, end)
			continue
		case s.quote != 0 && bytes.IndexByte(line, s.quote) >= 0:
			if s.splitQuoted(line) {
				s.raw = line
				from := s.r
				s.advance(nl, end)
				return s.inspect(from), true, nil
			}
			if fault, err = s.quotedRow(); err != nil {
				return nil, false, err
			}
			if fault == nil {
				fault = s.inspect(s.r - int(s.off-s.start))
			}
			return fault, true, nil
		default:
			s.raw = line
			from, empty := s.r, s.split(line)
			s.advance(nl, end)
			if empty {
				continue
			}
			return s.inspect(from), true, nil
		}
	}
}

// findLine returns the index in buf of the line feed that ends the line at r, or -1 when the text ends without one or the
// line is too long.
func (s *scanner) findLine() (int, error) {
	from := s.r
	for {
		if i := bytes.IndexByte(s.buf[from:s.w], '\n'); i >= 0 {
			return from + i, nil
		}
		if s.w-s.r > s.maxRow {
			return -1, nil
		}
		searched := s.w - s.r
		got, err := s.more()
		if err != nil || !got {
			return -1, err
		}
		from = s.r + searched
	}
}

// advance moves behind the line that ends at nl, or at the text's end.
func (s *scanner) advance(nl, end int) {
	if nl >= 0 {
		end = nl + 1
		s.line++
	}
	s.off += int64(end - s.r)
	s.r = end
}

// split cuts a line without quotes into fields and reports whether all are empty.
func (s *scanner) split(line []byte) (empty bool) {
	fields := s.fields[:0]
	s.quoted = s.quoted[:0]
	size := len(line)
	if len(s.delimiter) > 1 {
		for {
			i := bytes.Index(line, s.delimiter)
			if i < 0 {
				break
			}
			fields = append(fields, line[:i])
			line = line[i+len(s.delimiter):]
		}
		s.fields = append(fields, line)
		return size == (len(s.fields)-1)*len(s.delimiter)
	}
	// Fields are short, so that eight bytes at a time, with no call for each field, are faster than bytes.IndexByte.
	const low, high = 0x7f7f7f7f7f7f7f7f, 0x8080808080808080
	d := s.delimiter[0]
	pattern := uint64(d) * 0x0101010101010101
	from, i := 0, 0
	for ; i+8 <= size; i += 8 {
		w := binary.LittleEndian.Uint64(line[i:]) ^ pattern
		// The high bit of each byte that is zero. (The shorter formula also marks a 1 above a zero, which here is ",-".)
		for m := ^((w&low + low) | w) & high; m != 0; m &= m - 1 {
			at := i + bits.TrailingZeros64(m)/8
			fields = append(fields, line[from:at])
			from = at + 1
		}
	}
	for ; i < size; i++ {
		if line[i] == d {
			fields = append(fields, line[from:i])
			from = i + 1
		}
	}
	s.fields = append(fields, line[from:])
	return size == len(s.fields)-1
}

// splitQuoted cuts a line whose quoted fields hold neither line ends nor quotes; it returns false for all others.
func (s *scanner) splitQuoted(line []byte) bool {
	if len(s.delimiter) != 1 {
		return false
	}
	s.fields, s.quoted = s.fields[:0], s.quoted[:0]
	d := s.delimiter[0]
	for {
		if len(line) > 0 && line[0] == s.quote {
			i := bytes.IndexByte(line[1:], s.quote) + 1
			if i == 0 || i+1 < len(line) && line[i+1] != d {
				return false
			}
			s.fields, s.quoted = append(s.fields, line[1:i]), append(s.quoted, true)
			if i+1 == len(line) {
				return true
			}
			line = line[i+2:]
			continue
		}
		i := bytes.IndexByte(line, d)
		if i < 0 {
			s.fields, s.quoted = append(s.fields, line), append(s.quoted, false)
			return true
		}
		s.fields, s.quoted = append(s.fields, line[:i]), append(s.quoted, false)
		line = line[i+1:]
	}
}

// span is a field of a row that has quotes, relative to the row's beginning.
type span struct {
	from, to        int
	quoted, escaped bool
}

// quotedRow reads a row that has a quote somewhere in its first line; it may go on over several lines. Places are kept
// relative to the row's beginning, because the buffer moves when more is read.
func (s *scanner) quotedRow() (*rowFault, error) {
	s.spans = s.spans[:0]
	p := 0
	for {
		var end bool
		var fault *rowFault
		var err error
		for s.r+p == s.w { // what the field begins with may be in the next block
			got, err := s.more()
			if err != nil {
				return nil, err
			}
			if !got {
				break
			}
		}
		if s.r+p < s.w && s.buf[s.r+p] == s.quote {
			p, end, fault, err = s.quotedField(p)
		} else {
			p, end, fault, err = s.bareField(p)
		}
		if err != nil {
			return nil, err
		}
		if fault == nil && p > s.maxRow {
			fault = s.sizeFault()
		}
		if fault != nil {
			return fault, s.giveUp()
		}
		if end {
			break
		}
	}

	last := s.spans[len(s.spans)-1]
	rawEnd := last.to
	if last.quoted {
		rawEnd++
	}
	s.raw = s.buf[s.r : s.r+rawEnd]
	if cap(s.unescaped) < rawEnd { // so that appending below never moves it
		s.unescaped = make([]byte, 0, rawEnd)
	}
	s.unescaped, s.fields, s.quoted = s.unescaped[:0], s.fields[:0], s.quoted[:0]
	for _, f := range s.spans {
		v := s.raw[f.from:f.to]
		if f.escaped {
			from := len(s.unescaped)
			for {
				i := bytes.IndexByte(v, s.quote)
				if i < 0 {
					break
				}
				s.unescaped = append(s.unescaped, v[:i+1]...)
				v = v[i+2:] // each quote inside is there twice
			}
			s.unescaped = append(s.unescaped, v...)
			v = s.unescaped[from:]
		}
		s.fields = append(s.fields, v)
		s.quoted = append(s.quoted, f.quoted)
	}
	s.line += int64(bytes.Count(s.buf[s.r:s.r+p], newline))
	s.off += int64(p)
	s.r += p
	return nil, nil
}

var newline = []byte{'\n'}

// quotedField reads the field whose opening quote is at p. It returns where the next field begins, or, with end, the next row.
func (s *scanner) quotedField(p int) (next int, end bool, fault *rowFault, err error) {
	p++
	f := span{from: p, quoted: true}
	for {
		i := bytes.IndexByte(s.buf[s.r+p:s.w], s.quote)
		if i < 0 || s.r+p+i+1 == s.w && !s.eof {
			if s.w-s.r > s.maxRow {
				return p, false, s.sizeFault(), nil
			}
			got, err := s.more()
			if err != nil {
				return p, false, nil, err
			}
			if !got && i < 0 {
				return p, false, &rowFault{s.rules + ".quote", len(s.spans) + 1, fmt.Sprintf("the quote that opens field %d is not closed before the end of the file", len(s.spans)+1)}, nil
			}
			continue
		}
		p += i + 1
		if s.r+p < s.w && s.buf[s.r+p] == s.quote {
			f.escaped = true
			p++
			continue
		}
		break
	}
	f.to = p - 1
	s.spans = append(s.spans, f)
	for s.w-s.r-p < max(len(s.delimiter), 2) { // enough to see what follows
		got, err := s.more()
		if err != nil {
			return p, false, nil, err
		}
		if !got {
			break
		}
	}
	rest := s.buf[s.r+p : s.w]
	switch {
	case len(rest) == 0, len(rest) == 1 && rest[0] == '\r':
		return p + len(rest), true, nil, nil
	case rest[0] == '\n':
		return p + 1, true, nil, nil
	case len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n':
		return p + 2, true, nil, nil
	case bytes.HasPrefix(rest, s.delimiter):
		return p + len(s.delimiter), false, nil, nil
	}
	return p, false, &rowFault{s.rules + ".quote", len(s.spans), fmt.Sprintf("text follows the closing quote of field %d; a quote inside a quoted field must be doubled", len(s.spans))}, nil
}

// bareField reads the unquoted field at p.
func (s *scanner) bareField(p int) (next int, end bool, fault *rowFault, err error) {
	searched := p
	for {
		nl := bytes.IndexByte(s.buf[s.r+searched:s.w], '\n')
		stop := s.w - s.r
		if nl >= 0 {
			stop = searched + nl
		}
		if i := bytes.Index(s.buf[s.r+p:s.r+stop], s.delimiter); i >= 0 {
			s.spans = append(s.spans, span{from: p, to: p + i})
			return p + i + len(s.delimiter), false, nil, nil
		}
		if nl >= 0 {
			f := span{from: p, to: p + len(trimCR(s.buf[s.r+p:s.r+stop]))}
			s.spans = append(s.spans, f)
			return stop + 1, true, nil, nil
		}
		if s.w-s.r > s.maxRow {
			return p, false, s.sizeFault(), nil
		}
		searched = stop
		got, err := s.more()
		if err != nil {
			return p, false, nil, err
		}
		if !got {
			s.spans = append(s.spans, span{from: p, to: p + len(trimCR(s.buf[s.r+p:s.w]))})
			return s.w - s.r, true, nil, nil
		}
	}
}

func (s *scanner) sizeFault() *rowFault {
	return &rowFault{s.rules + ".size", 0, fmt.Sprintf("the row is longer than %d bytes (max_row_bytes): is a quote in it not closed?", s.maxRow)}
}

// giveUp goes on at the line after the one where the row began.
func (s *scanner) giveUp() error {
	nl, err := s.findLine()
	if err != nil {
		return err
	}
	end := nl
	if nl < 0 {
		end = s.w
	}
	s.raw = trimCR(s.buf[s.r:end])
	s.advance(nl, end)
	return nil
}

// tooLong passes over a line that is longer than a row may be. Only its beginning is held.
func (s *scanner) tooLong(nl int) (*rowFault, error) {
	s.raw = excerpt(s.buf[s.r:s.w])
	if nl >= 0 {
		s.raw = excerpt(s.buf[s.r:nl])
	}
	for nl < 0 {
		s.off += int64(s.w - s.r)
		s.r = s.w
		got, err := s.more()
		if err != nil {
			return nil, err
		}
		if !got {
			return s.sizeFault(), nil
		}
		if i := bytes.IndexByte(s.buf[s.r:s.w], '\n'); i >= 0 {
			nl = s.r + i
		}
	}
	s.advance(nl, nl)
	return s.sizeFault(), nil
}

// inspect looks for bytes in the row that are no text.
func (s *scanner) inspect(from int) *rowFault {
	switch {
	case s.clean:
		return nil
	case s.decoded:
		if i := bytes.Index(s.raw, replacement); i >= 0 {
			column := utf8.RuneCount(s.raw[:i]) + 1
			return &rowFault{"gb18030", column, fmt.Sprintf("line %d, character %d: bytes that are not GB18030", s.startLine, column)}
		}
	case from >= s.dirty && s.r <= s.checked:
		return nil
	default:
		if i := invalidUTF8(s.raw); i >= 0 {
			column := utf8.RuneCount(s.raw[:i]) + 1
			return &rowFault{"utf8", column, fmt.Sprintf("line %d, character %d: byte 0x%02X at offset %d is not UTF-8", s.startLine, column, s.raw[i], s.start+int64(i))}
		}
	}
	if i := bytes.IndexByte(s.raw, 0); i >= 0 {
		column := utf8.RuneCount(s.raw[:i]) + 1
		return &rowFault{s.rules + ".nul", column, fmt.Sprintf("line %d, character %d: a NUL byte", s.startLine, column)}
	}
	return nil
}

func trimCR(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		return line[:n-1]
	}
	return line
}
