package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// xmlScanner reads the XML of a spreadsheet's parts as a stream of tags and texts, without copying and without building
// anything. It knows as much of XML as those parts use: no document type (and so no entities of its own), UTF-8 only, prefixes
// are cut off. Go's own decoder takes ten times as long, most of the time that a large sheet takes.
type xmlScanner struct {
	src  io.Reader
	buf  []byte
	r, w int
	off  int64
	eof  bool
	// fragment says that the text begins in the middle of a document: closing tags are not matched.
	fragment bool

	kind      xmlKind
	name      []byte // local name of a tag; valid until the next token
	attrs     []byte
	text      []byte // of a text, entities resolved
	selfClose bool   // the start tag is its own end; an end token follows
	scratch   []byte
	open      []byte // names of open elements, one behind the other
	lengths   []int
}

type xmlKind int

const (
	xmlEnd   xmlKind = iota + 1 // </name>
	xmlStart                    // <name …>
	xmlText
)

const (
	maxTag   = 1 << 20 // longest tag with its attributes
	maxDepth = 256
)

func newXMLScanner(src io.Reader) *xmlScanner {
	return &xmlScanner{src: src, buf: make([]byte, 64<<10)}
}

func (x *xmlScanner) fault(format string, args ...any) error {
	return fmt.Errorf("offset %d: %s", x.off, fmt.Sprintf(format, args...))
}

var errXMLCut = errors.New("the XML is cut short")

func (x *xmlScanner) more() (bool, error) {
	if x.eof {
		return false, nil
	}
	if x.r > 0 {
		x.w = copy(x.buf, x.buf[x.r:x.w])
		x.r = 0
	}
	if x.w == len(x.buf) {
		if len(x.buf) >= 2*maxTag {
			return false, x.fault("a tag is longer than %d bytes", maxTag)
		}
		x.buf = append(x.buf, make([]byte, len(x.buf))...)
	}
	for {
		n, err := x.src.Read(x.buf[x.w:])
		x.w += n
		if err == io.EOF {
			x.eof = true
		} else if err != nil {
			return false, err
		}
		if n > 0 || x.eof {
			return n > 0, nil
		}
	}
}

// until returns the length of what stands before mark, reading as much as is needed.
func (x *xmlScanner) until(from int, mark string) (int, error) {
	for {
		if i := bytes.Index(x.buf[x.r+from:x.w], []byte(mark)); i >= 0 {
			return from + i, nil
		}
		searched := max(from, x.w-x.r-len(mark)+1)
		got, err := x.more()
		if err != nil {
			return 0, err
		}
		if !got {
			return 0, errXMLCut
		}
		from = searched
	}
}

func (x *xmlScanner) take(n int) {
	x.off += int64(n)
	x.r += n
}

// next reads a token. At the end of the document the error is io.EOF.
func (x *xmlScanner) next() (xmlKind, error) {
	if x.selfClose {
		x.selfClose = false
		return x.end()
	}
	for {
		if x.r == x.w {
			if got, err := x.more(); err != nil {
				return 0, err
			} else if !got {
				if len(x.lengths) > 0 {
					return 0, errXMLCut
				}
				return 0, io.EOF
			}
		}
		if x.buf[x.r] != '<' {
			return x.characters()
		}
		for x.w-x.r < 9 && !x.eof {
			if _, err := x.more(); err != nil {
				return 0, err
			}
		}
		head := x.buf[x.r:x.w]
		switch {
		case bytes.HasPrefix(head, []byte("<![CDATA[")):
			n, err := x.until(9, "]]>")
			if err != nil {
				return 0, err
			}
			x.text = x.buf[x.r+9 : x.r+n]
			x.take(n + 3)
			if len(x.text) == 0 {
				continue
			}
			x.kind = xmlText
			return x.kind, nil
		case bytes.HasPrefix(head, []byte("<!--")):
			if err := x.pass(4, "-->"); err != nil {
				return 0, err
			}
		case bytes.HasPrefix(head, []byte("<?")):
			if err := x.pass(2, "?>"); err != nil {
				return 0, err
			}
		case bytes.HasPrefix(head, []byte("<!")):
			return 0, x.fault("a document type is declared, which spreadsheets never do: refused as unsafe")
		case bytes.HasPrefix(head, []byte("</")):
			return x.endTag()
		default:
			return x.startTag()
		}
	}
}

// pass skips a comment or instruction, however long, without holding it.
func (x *xmlScanner) pass(from int, mark string) error {
	x.take(from)
	for {
		if i := bytes.Index(x.buf[x.r:x.w], []byte(mark)); i >= 0 {
			x.take(i + len(mark))
			return nil
		}
		x.take(max(0, x.w-x.r-len(mark)+1))
		got, err := x.more()
		if err != nil {
			return err
		}
		if !got {
			return errXMLCut
		}
	}
}

func (x *xmlScanner) startTag() (xmlKind, error) {
	// A > may stand inside an attribute's quotes.
	p, quote := 1, byte(0)
	for {
		if x.r+p == x.w {
			got, err := x.more()
			if err != nil {
				return 0, err
			}
			if !got {
				return 0, errXMLCut
			}
		}
		c := x.buf[x.r+p]
		if quote != 0 {
			if c == quote {
				quote = 0
			}
		} else if c == '"' || c == '\'' {
			quote = c
		} else if c == '>' {
			break
		} else if c == '<' {
			return 0, x.fault("a tag begins within a tag")
		}
		p++
	}
	tag := x.buf[x.r+1 : x.r+p]
	if n := len(tag); n > 0 && tag[n-1] == '/' {
		x.selfClose = true
		tag = tag[:n-1]
	}
	end := bytes.IndexAny(tag, " \t\r\n")
	if end < 0 {
		end = len(tag)
	}
	x.name, x.attrs = local(tag[:end]), tag[end:]
	if len(x.name) == 0 {
		return 0, x.fault("a tag without a name")
	}
	if len(x.lengths) == maxDepth {
		return 0, x.fault("elements are nested deeper than %d", maxDepth)
	}
	x.open = append(x.open, x.name...)
	x.lengths = append(x.lengths, len(x.name))
	x.take(p + 1)
	x.kind = xmlStart
	return x.kind, nil
}

func (x *xmlScanner) endTag() (xmlKind, error) {
	n, err := x.until(2, ">")
	if err != nil {
		return 0, err
	}
	name := local(bytes.TrimRight(x.buf[x.r+2:x.r+n], " \t\r\n"))
	if len(x.lengths) == 0 {
		if !x.fragment {
			return 0, x.fault("</%s> closes nothing", name)
		}
		x.name, x.kind = name, xmlEnd
		x.take(n + 1)
		return x.kind, nil
	}
	if opened := x.open[len(x.open)-x.lengths[len(x.lengths)-1]:]; !bytes.Equal(opened, name) {
		return 0, x.fault("</%s> closes <%s>", name, opened)
	}
	x.take(n + 1)
	return x.end()
}

// end pops the innermost open element.
func (x *xmlScanner) end() (xmlKind, error) {
	last := len(x.lengths) - 1
	from := len(x.open) - x.lengths[last]
	x.name = x.open[from:] // stays as it is until the next start tag
	x.open, x.lengths = x.open[:from], x.lengths[:last]
	x.kind = xmlEnd
	return x.kind, nil
}

// characters reads text up to the next tag, or as much of it as the buffer holds.
func (x *xmlScanner) characters() (xmlKind, error) {
	n := bytes.IndexByte(x.buf[x.r:x.w], '<')
	for n < 0 && !x.eof && x.w-x.r < 32<<10 {
		if _, err := x.more(); err != nil {
			return 0, err
		}
		n = bytes.IndexByte(x.buf[x.r:x.w], '<')
	}
	if n < 0 {
		n = x.w - x.r
		// Keep an entity or a character that goes on in the next block.
		if amp := bytes.LastIndexByte(x.buf[x.r:x.w], '&'); !x.eof && amp > 0 && n-amp < 16 {
			n = amp
		} else if cut := incompleteTail(x.buf[x.r : x.r+n]); !x.eof && cut > 0 {
			n = cut
		}
	}
	raw := x.buf[x.r : x.r+n]
	text, err := x.unescape(raw)
	if err != nil {
		return 0, err
	}
	x.text = text
	x.take(n)
	x.kind = xmlText
	return x.kind, nil
}

// unescape resolves entities; the result points into raw or the scratch buffer.
func (x *xmlScanner) unescape(raw []byte) ([]byte, error) {
	amp := bytes.IndexByte(raw, '&')
	if amp < 0 {
		return raw, nil
	}
	out := x.scratch[:0]
	for {
		out = append(out, raw[:amp]...)
		raw = raw[amp:]
		semi := bytes.IndexByte(raw, ';')
		if semi < 2 || semi > 12 {
			return nil, x.fault("an & that begins no entity")
		}
		switch entity := string(raw[1:semi]); entity {
		case "lt":
			out = append(out, '<')
		case "gt":
			out = append(out, '>')
		case "amp":
			out = append(out, '&')
		case "quot":
			out = append(out, '"')
		case "apos":
			out = append(out, '\'')
		default:
			code, err := uint64(0), error(nil)
			switch {
			case entity[0] != '#':
				err = errors.New("unknown")
			case len(entity) > 1 && entity[1] == 'x':
				code, err = strconv.ParseUint(entity[2:], 16, 32)
			default:
				code, err = strconv.ParseUint(entity[1:], 10, 32)
			}
			if err != nil || code == 0 || !utf8.ValidRune(rune(code)) {
				return nil, x.fault("unknown entity &%s;", entity)
			}
			out = utf8.AppendRune(out, rune(code))
		}
		raw = raw[semi+1:]
		if amp = bytes.IndexByte(raw, '&'); amp < 0 {
			x.scratch = append(out, raw...)
			return x.scratch, nil
		}
	}
}

// attr returns an attribute of the start tag by its local name; nil when it is not there. It is valid until the next call.
func (x *xmlScanner) attr(name string) ([]byte, error) {
	rest := x.attrs
	for {
		rest = bytes.TrimLeft(rest, " \t\r\n")
		eq := bytes.IndexByte(rest, '=')
		if eq < 0 {
			return nil, nil
		}
		key := local(bytes.TrimRight(rest[:eq], " \t\r\n"))
		rest = bytes.TrimLeft(rest[eq+1:], " \t\r\n")
		if len(rest) == 0 || rest[0] != '"' && rest[0] != '\'' {
			return nil, x.fault("attribute %s has no quotes", key)
		}
		end := bytes.IndexByte(rest[1:], rest[0]) + 1
		if end == 0 {
			return nil, x.fault("attribute %s is not closed", key)
		}
		if string(key) == name {
			return x.unescape(rest[1:end])
		}
		rest = rest[end+1:]
	}
}

// skip passes over the element whose start tag was read last.
func (x *xmlScanner) skip() error {
	depth := len(x.lengths)
	for {
		kind, err := x.next()
		if err != nil {
			return eofIsCut(err)
		}
		if kind == xmlEnd && len(x.lengths) < depth {
			return nil
		}
	}
}

func eofIsCut(err error) error {
	if err == io.EOF {
		return errXMLCut
	}
	return err
}

func local(name []byte) []byte {
	if i := bytes.IndexByte(name, ':'); i >= 0 {
		return name[i+1:]
	}
	return name
}
