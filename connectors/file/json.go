package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/headwater-data/headwater/connectors"
)

// maxSpread is the longest array whose elements become columns of their own (geometry.coordinates.0).
const maxSpread = 16

// maxRecordColumns bounds the columns that one record, or one batch, may have.
const maxRecordColumns = 1000

// jsonReader reads a JSON document record by record.
type jsonReader struct {
	text    *text
	stream  *jsonStream
	flat    flattener
	rows    *recordBuilder
	place   string
	depth   int
	maxRow  int
	array   bool // the records are the elements of an array
	first   bool // none has been passed yet
	done    bool
	row     int64 // records passed
	start   position
	pending bool
	raw     []byte
	fault   *rowFault
}

func openJSON(ctx context.Context, c *content, o *Options, env connectors.Environment, after position) (decoder, error) {
	t, err := c.openText(ctx, o.Encoding, after.Encoding)
	if err != nil {
		return nil, err
	}
	r := &jsonReader{
		text: t, place: c.place, maxRow: o.maxRowBytes(), first: true,
		flat: flattener{maxDepth: o.maxDepth()}, rows: newRecordBuilder(env.Allocator, o.Columns),
	}
	records := o.Records
	if records == "" && strings.EqualFold(path.Ext(strings.TrimSuffix(strings.ToLower(c.name), ".gz")), ".geojson") {
		records = "features"
	}
	var names []string
	if records != "" {
		names = strings.Split(records, ".")
	}
	r.depth = len(names)
	if after.Offset > 0 {
		if err := t.seek(ctx, after.Offset); err != nil {
			return nil, err
		}
		r.stream = newJSONStream(t.r)
		r.stream.off, r.stream.line, r.row = after.Offset, after.Line, after.Row
		r.array, r.first = true, true // the cursor stands right before a record
		return r, nil
	}
	r.stream = newJSONStream(t.r)
	if r.array, err = r.stream.find(names); err != nil {
		return nil, r.fail(err)
	}
	return r, nil
}

func (r *jsonReader) fail(err error) error {
	if _, ok := errors.AsType[*syntaxError](err); ok {
		return connectors.Permanent(fmt.Errorf("%s: JSON: %w", r.place, err))
	}
	return r.text.c.fail("read", err)
}

func (r *jsonReader) Close() error {
	r.rows.release()
	return nil
}

// record cuts the next record out of the document. ok is false when there are no more.
func (r *jsonReader) record() (ok bool, err error) {
	s := r.stream
	if r.done {
		return false, nil
	}
	if r.array {
		b, err := s.peek()
		if err != nil {
			return false, err
		}
		if b == ']' {
			s.take(1)
			r.done = true
			return false, s.finish(r.depth)
		}
		if !r.first {
			if err := s.expect(','); err != nil {
				return false, err
			}
			if _, err := s.peek(); err != nil {
				return false, err
			}
		}
	} else if _, err := s.peek(); err != nil {
		return false, err
	}
	r.first = false
	r.start = position{Offset: s.off, Line: s.line, Row: r.row, Encoding: r.text.encoding}
	raw, tooLong, err := s.value(r.maxRow)
	if err != nil {
		return false, err
	}
	r.row++
	r.raw, r.fault = raw, nil
	where := fmt.Sprintf("record %d (line %d, offset %d)", r.row, r.start.Line+1, r.start.Offset)
	switch {
	case tooLong:
		r.fault = &rowFault{"json.size", 0, fmt.Sprintf("%s is longer than %d bytes (max_row_bytes)", where, r.maxRow)}
	case !r.text.clean():
		r.fault = inspectJSON(raw, r.text.encoding, where, r.start.Offset)
	}
	if r.fault == nil {
		if r.fault = r.flat.flatten(raw); r.fault != nil {
			r.fault.reason = where + ": " + r.fault.reason
		}
	}
	if !r.array {
		// The record stays valid: nothing more is read from the stream than its end.
		r.raw = append([]byte(nil), raw...)
		r.done = true
		return true, s.finish(r.depth)
	}
	return true, nil
}

// inspectJSON looks for bytes that are no text. (JSON itself allows no NUL.)
func inspectJSON(raw []byte, encoding, where string, offset int64) *rowFault {
	if encoding == encGB18030 {
		if i := bytes.Index(raw, replacement); i >= 0 {
			return &rowFault{"gb18030", utf8.RuneCount(raw[:i]) + 1, where + ": bytes that are not GB18030"}
		}
		return nil
	}
	if i := invalidUTF8(raw); i >= 0 {
		return &rowFault{"utf8", utf8.RuneCount(raw[:i]) + 1, fmt.Sprintf("%s: byte 0x%02X at offset %d is not UTF-8", where, raw[i], offset+int64(i))}
	}
	return nil
}

func (r *jsonReader) next(ctx context.Context) (piece, error) {
	for {
		if !r.pending {
			ok, err := r.record()
			if err != nil {
				return piece{}, r.fail(err)
			}
			if !ok {
				s := r.stream
				return r.rows.piece(r.place, position{Offset: s.off, Line: s.line, Row: r.row, Encoding: r.text.encoding}, true), nil
			}
		}
		r.pending = false
		fits, fault := r.rows.add(&r.flat, r.fault, r.row, r.raw)
		if !fits {
			r.pending, r.fault = true, fault
			return r.rows.piece(r.place, r.start, false), nil
		}
	}
}

// jsonlReader reads a text with a JSON record on each line.
type jsonlReader struct {
	text    *text
	scan    *scanner
	flat    flattener
	rows    *recordBuilder
	place   string
	pending bool
	fault   *rowFault
}

func openJSONL(ctx context.Context, c *content, o *Options, env connectors.Environment, after position) (decoder, error) {
	t, err := c.openText(ctx, o.Encoding, after.Encoding)
	if err != nil {
		return nil, err
	}
	if after.Offset > 0 {
		if err := t.seek(ctx, after.Offset); err != nil {
			return nil, err
		}
	}
	r := &jsonlReader{
		text: t, place: c.place, flat: flattener{maxDepth: o.maxDepth()}, rows: newRecordBuilder(env.Allocator, o.Columns),
		// A line without a line feed is one field: the scanner only cuts lines here.
		scan: newScanner(t.r, dialect{delimiter: newline, maxRow: o.maxRowBytes(), rules: "json"}),
	}
	r.scan.clean, r.scan.decoded = t.clean(), t.encoding == encGB18030
	r.scan.at(t.r, after.Offset, after.Line)
	return r, nil
}

func (r *jsonlReader) Close() error {
	r.rows.release()
	return nil
}

func (r *jsonlReader) next(ctx context.Context) (piece, error) {
	for {
		if !r.pending {
			fault, ok, err := r.scan.next()
			if err != nil {
				return piece{}, r.text.c.fail("read", err)
			}
			if !ok {
				return r.rows.piece(r.place, position{Offset: r.scan.off, Line: r.scan.line, Encoding: r.text.encoding}, true), nil
			}
			if fault == nil && len(bytes.TrimSpace(r.scan.raw)) == 0 {
				continue
			}
			if fault == nil {
				if fault = r.flat.flatten(r.scan.raw); fault != nil {
					fault.reason = fmt.Sprintf("line %d: %s", r.scan.startLine, fault.reason)
				}
			}
			r.fault = fault
		}
		r.pending = false
		fits, fault := r.rows.add(&r.flat, r.fault, r.scan.startLine, r.scan.raw)
		if !fits {
			r.pending, r.fault = true, fault
			return r.rows.piece(r.place, position{Offset: r.scan.start, Line: r.scan.startLine - 1, Encoding: r.text.encoding}, false), nil
		}
	}
}

// cell is one value of a flattened record: a column's path and its text, both in the flattener's own memory.
type cell struct {
	path, text span
	null       bool
}

// flattener spreads a record out into columns: {"a":{"b":1}} has the column a.b, ["x","y"] the columns 0 and 1. Numbers keep
// their digits, true and false are text. What is nested too deep, a long array and an array of arrays stay JSON text.
type flattener struct {
	maxDepth int

	cells []cell
	mem   []byte // paths and texts of the record
	path  []byte
	used  int // bytes of text
}

// flatten reads one record; the cells are valid until the next call.
func (f *flattener) flatten(raw []byte) *rowFault {
	f.cells, f.mem, f.path, f.used = f.cells[:0], f.mem[:0], f.path[:0], 0
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || raw[0] != '{' && raw[0] != '[' {
		found := "nothing"
		if len(raw) > 0 {
			found = kindName(raw[0])
		}
		return &rowFault{"json.record", 0, "found " + found + ", expected an object"}
	}
	d := jsontext.NewDecoder(bytes.NewBuffer(raw), jsontext.AllowDuplicateNames(true))
	err := f.container(d, 0)
	if err == nil {
		if _, err = d.ReadToken(); err == io.EOF {
			return nil
		} else if err == nil {
			err = errors.New("text follows the record")
		}
	}
	if errors.Is(err, errTooManyColumns) {
		return &rowFault{"json.columns", 0, err.Error()}
	}
	column := 0
	if at := d.InputOffset(); at <= int64(len(raw)) {
		column = utf8.RuneCount(raw[:at]) + 1
	}
	if se, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		column = utf8.RuneCount(raw[:min(se.ByteOffset, int64(len(raw)))]) + 1
		err = se.Err
	}
	return &rowFault{"json.syntax", column, fmt.Sprintf("character %d: %v", column, err)}
}

var errTooManyColumns = fmt.Errorf("the record spreads out into more than %d columns", maxRecordColumns)

// container spreads out the object or array that follows, whose members are at the given depth.
func (f *flattener) container(d *jsontext.Decoder, depth int) error {
	open, err := d.ReadToken()
	if err != nil {
		return err
	}
	object := open.Kind() == '{'
	prefix := len(f.path)
	for i := 0; d.PeekKind() != '}' && d.PeekKind() != ']'; i++ {
		f.path = f.path[:prefix]
		if depth > 0 {
			f.path = append(f.path, '.')
		}
		if object {
			name, err := d.ReadValue()
			if err != nil {
				return err
			}
			if f.path, err = unquote(f.path, name); err != nil {
				return err
			}
		} else {
			f.path = strconv.AppendInt(f.path, int64(i), 10)
		}
		if err := f.value(d, depth+1); err != nil {
			return err
		}
	}
	f.path = f.path[:prefix]
	_, err = d.ReadToken()
	return err
}

// value adds the value that follows under the present path.
func (f *flattener) value(d *jsontext.Decoder, depth int) error {
	if d.PeekKind() == '{' && depth < f.maxDepth {
		// An empty object has no member to show that it was there.
		before := len(f.cells)
		if err := f.container(d, depth); err != nil {
			return err
		}
		if len(f.cells) == before {
			return f.add([]byte("{}"), false)
		}
		return nil
	}
	raw, err := d.ReadValue()
	if err != nil {
		return err
	}
	switch raw.Kind() {
	case 'n':
		return f.add(nil, true)
	case '"':
		from := len(f.mem)
		if f.mem, err = unquote(f.mem, raw); err != nil {
			return err
		}
		return f.addText(span{from: from, to: len(f.mem)}, false)
	case '[':
		if depth < f.maxDepth && spreads(raw) {
			return f.container(jsontext.NewDecoder(bytes.NewBuffer(raw), jsontext.AllowDuplicateNames(true)), depth)
		}
	}
	return f.add(raw, false)
}

func (f *flattener) add(text []byte, null bool) error {
	from := len(f.mem)
	f.mem = append(f.mem, text...)
	return f.addText(span{from: from, to: len(f.mem)}, null)
}

func (f *flattener) addText(text span, null bool) error {
	if len(f.cells) == maxRecordColumns {
		return errTooManyColumns
	}
	from := len(f.mem)
	f.mem = append(f.mem, f.path...)
	f.cells = append(f.cells, cell{path: span{from: from, to: len(f.mem)}, text: text, null: null})
	f.used += text.to - text.from
	return nil
}

// spreads reports whether an array's elements become columns: it is short, not empty, and holds no arrays.
func spreads(raw []byte) bool {
	d := jsontext.NewDecoder(bytes.NewBuffer(raw), jsontext.AllowDuplicateNames(true))
	if _, err := d.ReadToken(); err != nil {
		return false
	}
	n := 0
	for ; d.PeekKind() != ']'; n++ {
		if d.PeekKind() == '[' || n == maxSpread || d.SkipValue() != nil {
			return false
		}
	}
	return n > 0
}

// unquote appends the text of a JSON string.
func unquote(dst, raw []byte) ([]byte, error) { return jsontext.AppendUnquote(dst, raw) }

// recordBuilder collects flattened records. The columns of a batch are those that were declared and then those of its
// records, in the order in which they first appear.
type recordBuilder struct {
	rows     *rowsBuilder
	declared []string
	index    map[string]int // path to column
	taken    map[string]bool
	seen     []int64 // row (1-based in batch) that last gave the column a value
}

func newRecordBuilder(mem memory.Allocator, declared []string) *recordBuilder {
	b := &recordBuilder{rows: newRowsBuilder(mem, nil), declared: declared}
	b.clear()
	return b
}

func (b *recordBuilder) clear() {
	b.rows.names, b.rows.columns, b.rows.schema = nil, nil, nil
	b.index, b.taken, b.seen = map[string]int{}, map[string]bool{}, nil
	for _, name := range b.declared {
		b.column([]byte(name))
	}
}

// column returns the place of a path's column, making it when it is not there.
func (b *recordBuilder) column(path []byte) int {
	if i, ok := b.index[string(path)]; ok {
		return i
	}
	i := len(b.rows.names)
	name := columnNames([]string{string(path)})[0]
	if unreserved(string(path)) == "" {
		name = fmt.Sprintf("column_%d", i+1)
	}
	unique := name
	for n := 2; b.taken[unique]; n++ {
		unique = fmt.Sprintf("%s_%d", name, n)
	}
	b.index[string(path)], b.taken[unique] = i, true
	b.rows.names = append(b.rows.names, unique)
	b.rows.columns = append(b.rows.columns, textColumn{})
	b.seen = append(b.seen, 0)
	return i
}

// add puts a record, or its fault, into the batch. It returns false, and leaves the batch as it is, when there is no room.
func (b *recordBuilder) add(f *flattener, fault *rowFault, row int64, raw []byte) (fits bool, _ *rowFault) {
	if fault == nil {
		fault = b.duplicate(f)
	}
	if fault != nil {
		if b.rows.full(min(len(raw), maxRaw) + len(fault.reason)) {
			return false, fault
		}
		b.rows.reject(connectors.Reject{Row: row, Column: fault.column, Rule: fault.rule, Reason: fault.reason, Raw: excerpt(raw)})
		return true, nil
	}
	fresh := 0
	for _, c := range f.cells {
		if _, ok := b.index[string(f.mem[c.path.from:c.path.to])]; !ok {
			fresh++
		}
	}
	n := b.rows.rows.n
	columns := len(b.rows.names) + fresh
	// Each new column also takes an offset for every row before.
	if b.rows.full(f.used+fresh*(n+1)*4) || n > 0 && columns > maxRecordColumns {
		return false, nil
	}
	for _, c := range f.cells {
		i := b.column(f.mem[c.path.from:c.path.to])
		column := &b.rows.columns[i]
		column.appendNulls(b.rows.mem, n)
		if c.null {
			column.appendNull(b.rows.mem)
		} else {
			column.append(b.rows.mem, f.mem[c.text.from:c.text.to])
		}
	}
	b.rows.endRow(row, f.used+fresh*n*4)
	return true, nil
}

// duplicate finds two values for one column in a record: {"a.b":1,"a":{"b":2}}, or a name that is there twice.
func (b *recordBuilder) duplicate(f *flattener) *rowFault {
	row := int64(b.rows.rows.n + 1)
	var fresh [][]byte
	for _, c := range f.cells {
		path := f.mem[c.path.from:c.path.to]
		i, ok := b.index[string(path)]
		twice := ok && b.seen[i] == row
		if ok {
			b.seen[i] = row
		} else {
			for _, other := range fresh {
				twice = twice || bytes.Equal(other, path)
			}
			fresh = append(fresh, path)
		}
		if twice {
			for i := range b.seen {
				b.seen[i] = 0
			}
			return &rowFault{"json.duplicate", 0, fmt.Sprintf("the record has two values for %q", path)}
		}
	}
	return nil
}

func (b *recordBuilder) piece(place string, pos position, last bool) piece {
	record, rejects := b.rows.take()
	b.clear()
	return piece{record: record, rejects: rejects, place: place, pos: pos, last: last}
}

func (b *recordBuilder) release() { b.rows.release() }
