package file

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/headwater-data/headwater/connectors"
)

const (
	maxSheetColumns = 16384   // what a sheet can have
	maxMerges       = 1 << 20 // merged ranges that are held
	maxCellText     = 1 << 20 // bytes; a cell can have 32,767 characters
)

// merge is a merged range; rows and columns are 1-based and inclusive.
type merge struct {
	top, bottom int64
	left, right int
	cell        sheetCell // what its first cell holds
	text        []byte
}

// sheetCell is one cell of the row that was read last.
type sheetCell struct {
	column int // 1-based
	text   span
	null   bool
	fault  *rowFault
}

// sheetReader reads the rows of one sheet.
type sheetReader struct {
	book   *workbook
	part   string
	x      *xmlScanner
	merges []merge // not begun yet, by their first row
	active []merge // that reach to the present row
	fill   int64   // merged ranges are filled up to this row
	// headerEnd is the last row of a header that was named. Up to there a row that only merged ranges reach into is not empty.
	headerEnd int64

	ended bool
	row   int64
	cells []sheetCell // of the row, by column
	mem   []byte
	slots []*sheetCell
}

// openSheet begins a sheet and reads its header.
func (w *workbook) openSheet(ctx context.Context, sheet sheetPart, o *Options) (*sheetReader, []string, error) {
	s := &sheetReader{book: w, part: sheet.part}
	headless := o.Header.none() || o.Header == nil && len(o.Columns) > 0
	switch {
	case o.FillMerged:
		s.fill = 1 << 40
	case headless:
	case o.Header == nil:
		s.fill = int64(o.SkipRows) + 1000 // the header is the first row that is not empty
	default:
		s.headerEnd = int64(o.Header[len(o.Header)-1])
		s.fill = s.headerEnd
	}
	var err error
	if s.fill > 0 {
		if s.merges, err = w.readMerges(ctx, sheet.part, s.fill); err != nil {
			return nil, nil, err
		}
	}
	r, err := w.open(ctx, sheet.part)
	if err != nil {
		return nil, nil, err
	}
	s.x = newXMLScanner(r)
	if err := s.begin(ctx); err != nil {
		return nil, nil, w.damaged(sheet.part, err)
	}
	place := w.c.place + "!" + sheet.name
	names, err := s.header(place, o, headless)
	if err != nil {
		return nil, nil, err
	}
	if !o.FillMerged {
		s.merges, s.active = nil, nil
	}
	return s, names, nil
}

// begin moves to the first row.
func (s *sheetReader) begin(ctx context.Context) error {
	for {
		kind, err := s.x.next()
		if err == io.EOF {
			return errors.New("has no rows element (sheetData)")
		}
		if err != nil {
			return err
		}
		if kind == xmlStart && string(s.x.name) == "sheetData" {
			return nil
		}
	}
}

// header reads up to the last header row and returns the names of the columns.
func (s *sheetReader) header(place string, o *Options, headless bool) ([]string, error) {
	fail := func(format string, args ...any) error {
		return connectors.Permanent(fmt.Errorf("%s: %s", place, fmt.Sprintf(format, args...)))
	}
	if headless {
		if len(o.Columns) > 0 {
			s.pass(int64(o.SkipRows))
			return columnNames(o.Columns), nil
		}
		return nil, fail("a sheet without a header row needs the option columns")
	}
	wanted := o.Header
	var found [][]string
	for len(wanted) == 0 || len(found) < len(wanted) {
		ok, err := s.next()
		if err != nil {
			return nil, err
		}
		if !ok {
			if len(wanted) == 0 {
				return nil, fail("there is no header row: the sheet is empty")
			}
			return nil, fail("header row %d is not there: the sheet ends before it", wanted[len(found)])
		}
		if s.row <= int64(o.SkipRows) {
			continue
		}
		if len(wanted) == 0 {
			wanted = HeaderRows{int(s.row)}
		}
		want := int64(wanted[len(found)])
		if s.row < want {
			continue
		}
		if s.row > want {
			return nil, fail("header row %d is empty", want)
		}
		var row []string
		for _, c := range s.cells {
			if c.fault != nil {
				return nil, fail("header row %d: %s", s.row, c.fault.reason)
			}
			for len(row) < c.column {
				row = append(row, "")
			}
			row[c.column-1] = string(s.mem[c.text.from:c.text.to])
		}
		found = append(found, row)
	}
	names := joinHeader(found, false)
	for len(names) > 0 && strings.TrimSpace(names[len(names)-1]) == "" {
		names = names[:len(names)-1]
	}
	if len(o.Columns) > 0 {
		if len(o.Columns) != len(names) {
			return nil, fail("the header has %d columns, but the option columns names %d", len(names), len(o.Columns))
		}
		names = o.Columns
	}
	if len(names) > maxColumns {
		return nil, fail("%d columns; at most %d are read", len(names), maxColumns)
	}
	return columnNames(names), nil
}

// pass makes the reader leave out the first rows.
func (s *sheetReader) pass(rows int64) { s.row = -rows }

// next reads the next row that is not wholly empty.
func (s *sheetReader) next() (ok bool, err error) {
	skip := int64(0)
	if s.row < 0 {
		skip, s.row = -s.row, 0
	}
	for {
		ok, err := s.readRow()
		if err != nil {
			return false, s.book.damaged(s.part, err)
		}
		if !ok {
			return false, nil
		}
		empty := s.empty()
		if len(s.merges)+len(s.active) > 0 {
			s.fillMerged()
		}
		if s.row <= s.headerEnd {
			empty = s.empty()
		}
		if !empty && s.row > skip {
			return true, nil
		}
	}
}

// empty reports whether no cell of the row holds anything.
func (s *sheetReader) empty() bool {
	for _, c := range s.cells {
		if c.fault != nil || c.text.from < c.text.to {
			return false
		}
	}
	return true
}

// readRow reads a row's cells.
func (s *sheetReader) readRow() (bool, error) {
	if s.ended {
		return false, nil
	}
	x := s.x
	for {
		kind, err := x.next()
		if err != nil {
			return false, eofIsCut(err)
		}
		if kind == xmlEnd && string(x.name) == "sheetData" {
			s.ended = true
			// Read to the end, so that a part that is cut short or has a wrong checksum is noticed.
			for err == nil {
				_, err = x.next()
			}
			if err == io.EOF {
				err = nil
			}
			return false, err
		}
		if kind == xmlStart && string(x.name) == "row" {
			break
		}
	}
	number, err := x.attr("r")
	if err != nil {
		return false, err
	}
	row := s.row + 1
	if number != nil {
		n, err := strconv.ParseInt(string(number), 10, 32)
		if err != nil || n <= s.row {
			return false, x.fault("row number %q after row %d", number, s.row)
		}
		row = n
	}
	s.row = row
	s.cells, s.mem = s.cells[:0], s.mem[:0]
	for {
		kind, err := x.next()
		if err != nil {
			return false, eofIsCut(err)
		}
		switch {
		case kind == xmlEnd:
			return true, nil
		case kind == xmlStart && string(x.name) == "c":
			if err := s.readCell(); err != nil {
				return false, err
			}
		case kind == xmlStart:
			if err := x.skip(); err != nil {
				return false, err
			}
		}
	}
}

// readCell reads the cell whose start tag was read last.
func (s *sheetReader) readCell() error {
	x := s.x
	cell := sheetCell{column: 1}
	if n := len(s.cells); n > 0 {
		cell.column = s.cells[n-1].column + 1
	}
	ref, err := x.attr("r")
	if err != nil {
		return err
	}
	if ref != nil {
		column, _, ok := cellReference(ref)
		if !ok || column < cell.column {
			return x.fault("cell reference %q", ref)
		}
		cell.column = column
	}
	if cell.column > maxSheetColumns {
		return x.fault("more than %d columns", maxSheetColumns)
	}
	style := 0
	if v, err := x.attr("s"); err != nil {
		return err
	} else if v != nil {
		if style, err = strconv.Atoi(string(v)); err != nil {
			return x.fault("style %q", v)
		}
	}
	v, err := x.attr("t")
	if err != nil {
		return err
	}
	var kind [16]byte
	kindLength := copy(kind[:], v)

	from := len(s.mem)
	hasValue, hasFormula := false, false
	for {
		token, err := x.next()
		if err != nil {
			return eofIsCut(err)
		}
		if token == xmlEnd {
			break
		}
		if token != xmlStart {
			continue
		}
		switch string(x.name) {
		case "v":
			hasValue = true
			s.mem, err = x.content(s.mem)
		case "is":
			hasValue = true
			s.mem, err = x.richText(s.mem)
		case "f":
			hasFormula = true
			err = x.skip()
		default:
			err = x.skip()
		}
		if err != nil {
			return err
		}
	}
	cell.text = span{from: from, to: len(s.mem)}
	switch {
	case !hasValue && hasFormula:
		cell.fault = &rowFault{"xlsx.formula", cell.column, fmt.Sprintf("cell %s%d: a formula without a stored result: open the file in a spreadsheet program and save it", columnLetters(cell.column), s.row)}
	case !hasValue:
		cell.null = true
	default:
		if err := s.convert(&cell, string(kind[:kindLength]), style); err != nil {
			return err
		}
	}
	if !cell.null || cell.fault != nil {
		s.cells = append(s.cells, cell)
	}
	return nil
}

// convert turns what is stored into the cell's text, by its type and style.
func (s *sheetReader) convert(cell *sheetCell, kind string, style int) error {
	stored := s.mem[cell.text.from:cell.text.to]
	replace := func(text []byte) {
		s.mem = append(s.mem[:cell.text.from], text...)
		cell.text.to = len(s.mem)
	}
	switch kind {
	case "s":
		index, err := strconv.ParseInt(string(bytes.TrimSpace(stored)), 10, 64)
		if err != nil {
			return s.x.fault("shared text %q", stored)
		}
		if s.book.strings == nil {
			return s.x.fault("a cell refers to a shared text, but the workbook has none")
		}
		s.mem = s.mem[:cell.text.from]
		if s.mem, err = s.book.strings.appendTo(s.mem, index); err != nil {
			return err
		}
		cell.text.to = len(s.mem)
	case "str":
		replace(unescapeX(stored))
	case "inlineStr", "e", "d":
	case "b":
		text := []byte("false")
		if string(bytes.TrimSpace(stored)) == "1" {
			text = []byte("true")
		}
		replace(text)
	case "", "n":
		number := bytes.TrimSpace(stored)
		if len(number) == 0 {
			cell.null = true
			return nil
		}
		if style >= 0 && style < len(s.book.dates) && s.book.dates[style] != noDate {
			text, err := serialText(string(number), s.book.dates[style], s.book.system1904)
			if err != nil {
				cell.fault = &rowFault{"xlsx.date", cell.column, fmt.Sprintf("cell %s%d: %v", columnLetters(cell.column), s.row, err)}
				return nil
			}
			replace([]byte(text))
			return nil
		}
		replace(append([]byte(nil), number...))
	default:
		return s.x.fault("cell type %q", kind)
	}
	return nil
}

// fillMerged gives the cells of merged ranges the value of the range's first cell.
func (s *sheetReader) fillMerged() {
	for len(s.merges) > 0 && s.merges[0].top <= s.row {
		m := s.merges[0]
		s.merges = s.merges[1:]
		for _, c := range s.cells {
			if m.top == s.row && c.column == m.left {
				m.cell = c
				m.text = append([]byte(nil), s.mem[c.text.from:c.text.to]...)
			}
		}
		if m.cell.column > 0 { // else its first cell is empty
			s.active = append(s.active, m)
		}
	}
	s.active = slices.DeleteFunc(s.active, func(m merge) bool { return m.bottom < s.row })
	if s.row > s.fill {
		return
	}
	for _, m := range s.active {
		for column := m.left; column <= m.right; column++ {
			if s.row != m.top || column != m.left {
				s.put(column, m)
			}
		}
	}
}

// put sets a cell of the present row that is empty so far.
func (s *sheetReader) put(column int, m merge) {
	i, there := slices.BinarySearchFunc(s.cells, column, func(c sheetCell, column int) int { return cmp.Compare(c.column, column) })
	if there && s.cells[i].text.from < s.cells[i].text.to {
		return
	}
	from := len(s.mem)
	s.mem = append(s.mem, m.text...)
	cell := sheetCell{column: column, text: span{from: from, to: len(s.mem)}, fault: m.cell.fault}
	if there {
		s.cells[i] = cell
	} else {
		s.cells = slices.Insert(s.cells, i, cell)
	}
}

// values returns the row's cells by column, nil for nulls, and the bytes of their texts.
func (s *sheetReader) values(width int) (_ []*sheetCell, used int, _ *rowFault) {
	s.slots = append(s.slots[:0], make([]*sheetCell, width)...)
	for i := range s.cells {
		c := &s.cells[i]
		if c.fault != nil {
			return nil, 0, c.fault
		}
		text := s.mem[c.text.from:c.text.to]
		if c.column > width {
			if len(text) == 0 {
				continue
			}
			return nil, 0, &rowFault{"xlsx.fields", c.column, fmt.Sprintf("cell %s%d holds a value, but the header ends at column %s", columnLetters(c.column), s.row, columnLetters(max(width, 1)))}
		}
		if bad := invalidUTF8(text); bad >= 0 {
			return nil, 0, &rowFault{"utf8", c.column, fmt.Sprintf("cell %s%d: byte 0x%02X is not UTF-8", columnLetters(c.column), s.row, text[bad])}
		}
		used += len(text)
		if used > connectors.MaxBatchBytes/2 {
			return nil, 0, &rowFault{"xlsx.size", c.column, fmt.Sprintf("row %d is longer than %d bytes", s.row, connectors.MaxBatchBytes/2)}
		}
		s.slots[c.column-1] = c
	}
	return s.slots, used, nil
}

// raw shows the row for a reject: its cells between tabs.
func (s *sheetReader) raw() []byte {
	var out []byte
	for i, c := range s.cells {
		if i > 0 {
			out = append(out, '\t')
		}
		out = append(out, s.mem[c.text.from:c.text.to]...)
		if len(out) > maxRaw {
			break
		}
	}
	return excerpt(out)
}

// content appends the text of the element whose start tag was read last.
func (x *xmlScanner) content(dst []byte) ([]byte, error) {
	depth, from := len(x.lengths), len(dst)
	for {
		kind, err := x.next()
		switch {
		case err != nil:
			return dst, eofIsCut(err)
		case kind == xmlEnd && len(x.lengths) < depth:
			return dst, nil
		case kind == xmlText:
			if dst = append(dst, x.text...); len(dst)-from > maxCellText {
				return dst, x.fault("a text is longer than %d bytes", maxCellText)
			}
		}
	}
}

// richText appends the text of a shared or inline string: of its runs, without the phonetic ones.
func (x *xmlScanner) richText(dst []byte) ([]byte, error) {
	depth, from := len(x.lengths), len(dst)
	for {
		kind, err := x.next()
		switch {
		case err != nil:
			return dst, eofIsCut(err)
		case kind == xmlEnd && len(x.lengths) < depth:
			return append(dst[:from], unescapeX(dst[from:])...), nil
		case kind == xmlStart && string(x.name) == "t":
			if dst, err = x.content(dst); err != nil {
				return dst, err
			}
		case kind == xmlStart && string(x.name) == "rPh":
			if err := x.skip(); err != nil {
				return dst, err
			}
		}
	}
}

// unescapeX resolves _xHHHH_, with which spreadsheets write characters that XML cannot hold. The result may be the argument.
func unescapeX(text []byte) []byte {
	i := bytes.Index(text, []byte("_x"))
	if i < 0 {
		return text
	}
	out := append([]byte(nil), text[:i]...)
	for text = text[i:]; len(text) > 0; {
		if len(text) >= 7 && text[0] == '_' && text[1] == 'x' && text[6] == '_' {
			if code, err := strconv.ParseUint(string(text[2:6]), 16, 16); err == nil && utf8.ValidRune(rune(code)) {
				out = utf8.AppendRune(out, rune(code))
				text = text[7:]
				continue
			}
		}
		out = append(out, text[0])
		text = text[1:]
	}
	return out
}

// cellReference reads "AB12"; the row is 0 when there is none.
func cellReference(ref []byte) (column int, row int64, ok bool) {
	i := 0
	for i < len(ref) && ref[i] >= 'A' && ref[i] <= 'Z' && i < 4 {
		column = column*26 + int(ref[i]-'A') + 1
		i++
	}
	if i == 0 {
		return 0, 0, false
	}
	if i == len(ref) {
		return column, 0, true
	}
	row, err := strconv.ParseInt(string(ref[i:]), 10, 32)
	return column, row, err == nil && row > 0
}

func columnLetters(column int) string {
	var letters []byte
	for ; column > 0; column = (column - 1) / 26 {
		letters = append(letters, byte('A'+(column-1)%26))
	}
	slices.Reverse(letters)
	return string(letters)
}

// readMerges returns the merged ranges that begin at or above the last row, ordered by their first one. They stand behind the
// rows in the file, so the rows are passed over first, looking for nothing but their end.
func (w *workbook) readMerges(ctx context.Context, part string, last int64) ([]merge, error) {
	r, err := w.open(ctx, part)
	if err != nil {
		return nil, err
	}
	rest, err := behindRows(r)
	if err != nil || rest == nil {
		if err != nil {
			err = w.damaged(part, err)
		}
		return nil, err
	}
	x := newXMLScanner(rest)
	x.fragment = true
	var merges []merge
	for {
		kind, err := x.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, w.damaged(part, err)
		}
		if kind != xmlStart || string(x.name) != "mergeCell" {
			continue
		}
		ref, err := x.attr("ref")
		if err != nil {
			return nil, w.damaged(part, err)
		}
		from, to, found := bytes.Cut(ref, []byte{':'})
		if !found {
			continue // one cell
		}
		left, top, ok1 := cellReference(from)
		right, bottom, ok2 := cellReference(to)
		if !ok1 || !ok2 || top == 0 || bottom < top || right < left || right > maxSheetColumns {
			return nil, w.damaged(part, x.fault("merged range %q", ref))
		}
		if top > last {
			continue
		}
		if len(merges) == maxMerges {
			return nil, w.damaged(part, fmt.Errorf("more than %d merged ranges", maxMerges))
		}
		merges = append(merges, merge{top: top, bottom: bottom, left: left, right: right})
	}
	slices.SortFunc(merges, func(a, b merge) int { return cmp.Or(cmp.Compare(a.top, b.top), cmp.Compare(a.left, b.left)) })
	return merges, nil
}

// behindRows returns what follows the closing tag of sheetData, nil when there is none. In text, a < is always escaped, so
// that "</sheetData" cannot be anything else; a prefix may stand between (</x:sheetData>).
func behindRows(r io.Reader) (io.Reader, error) {
	word := []byte("sheetData")
	buf := make([]byte, 0, 128<<10)
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err != nil && err != io.EOF {
			return nil, err
		}
		from := 0
		for {
			i := bytes.Index(buf[from:], word)
			if i < 0 {
				break
			}
			i += from
			from = i + len(word)
			open := bytes.LastIndexByte(buf[:i], '<')
			if open < 0 || i-open > 64 || open+1 >= i || buf[open+1] != '/' {
				continue
			}
			if end := bytes.IndexByte(buf[from:], '>'); end >= 0 {
				return io.MultiReader(bytes.NewReader(append([]byte(nil), buf[from+end+1:]...)), r), nil
			}
		}
		if err == io.EOF {
			return nil, nil
		}
		// Keep what may be the beginning of the tag.
		keep := min(len(buf), 128)
		buf = buf[:copy(buf, buf[len(buf)-keep:])]
	}
}
