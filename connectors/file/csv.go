package file

import (
	"bytes"
	"context"
	"fmt"

	"github.com/headwater-data/headwater/connectors"
)

// csvReader reads a text as rows of separated fields.
type csvReader struct {
	text    *text
	scan    *scanner
	rows    *rowsBuilder
	place   string
	ragged  bool
	pending bool // the scanner holds a row that did not fit the last batch
	fault   *rowFault
}

func openCSV(ctx context.Context, c *content, o *Options, env connectors.Environment, after position) (decoder, error) {
	t, err := c.openText(ctx, o.Encoding, after.Encoding)
	if err != nil {
		return nil, err
	}
	r := &csvReader{text: t, place: c.place, ragged: o.Ragged, scan: newScanner(t.r, dialect{
		delimiter: []byte(o.delimiter(c.name)), quote: o.quote(), comment: []byte(o.Comment), maxRow: o.maxRowBytes(), rules: "csv",
	})}
	r.scan.clean, r.scan.decoded = t.clean(), t.encoding == encGB18030
	names, err := r.header(o)
	if err != nil {
		return nil, err
	}
	if len(names) > maxColumns {
		return nil, connectors.Permanent(fmt.Errorf("%s: %d columns; at most %d are read: is the delimiter right?", c.place, len(names), maxColumns))
	}
	r.rows = newRowsBuilder(env.Allocator, names)
	if after.Offset > 0 { // also when that is where the scanner stands: it may hold a row already
		if err := t.seek(ctx, after.Offset); err != nil {
			return nil, err
		}
		r.scan.at(t.r, after.Offset, after.Line)
		r.pending = false
	}
	return r, nil
}

// header reads up to the first row of content and returns the columns' names.
func (r *csvReader) header(o *Options) ([]string, error) {
	if o.Header.none() || o.Header == nil && len(o.Columns) > 0 {
		return r.withoutHeader(o)
	}
	wanted := o.Header
	if wanted == nil {
		wanted = HeaderRows{0} // the first row that is not empty
	}
	var found [][]string
	for len(found) < len(wanted) {
		fault, ok, err := r.scan.next()
		if err != nil {
			return nil, r.text.c.fail("read", err)
		}
		if !ok && r.scan.off == 0 {
			return nil, connectors.Permanent(fmt.Errorf("%s: the file is empty: deliver it again, with its header at least", r.place))
		}
		if !ok {
			return nil, r.headerError(wanted[len(found)], "the file ends before it")
		}
		line := r.scan.startLine
		if line <= int64(o.SkipRows) || line < int64(wanted[len(found)]) {
			continue
		}
		if len(found) == 0 && wanted[0] > 0 && line > int64(wanted[0]) {
			return nil, r.headerError(wanted[0], fmt.Sprintf("the row is empty or part of another row; the next one begins on line %d", line))
		}
		if fault != nil {
			return nil, r.headerError(int(line), fault.reason)
		}
		if bytes.IndexByte(r.scan.raw, '\r') >= 0 && len(r.scan.quoted) == 0 {
			return nil, r.headerError(int(line), "its lines end in CR alone, as old Macintosh programs wrote them: save it with CRLF or LF")
		}
		row := make([]string, len(r.scan.fields))
		for i, f := range r.scan.fields {
			row[i] = string(f)
		}
		found = append(found, row)
	}
	names := joinHeader(found, true)
	if len(o.Columns) > 0 {
		if len(o.Columns) != len(names) {
			return nil, connectors.Permanent(fmt.Errorf("%s: the header has %d columns, but the option columns names %d", r.place, len(names), len(o.Columns)))
		}
		names = o.Columns
	}
	return columnNames(names), nil
}

func (r *csvReader) headerError(row int, what string) error {
	where := "header row"
	if row > 0 {
		where = fmt.Sprintf("header row %d", row)
	}
	return connectors.Permanent(fmt.Errorf("%s: %s: %s", r.place, where, what))
}

// withoutHeader passes over the title rows; without configured names it numbers the columns of the first row.
func (r *csvReader) withoutHeader(o *Options) ([]string, error) {
	for {
		fault, ok, err := r.scan.next()
		if err != nil {
			return nil, r.text.c.fail("read", err)
		}
		if ok && r.scan.startLine <= int64(o.SkipRows) {
			continue
		}
		if ok {
			r.pending, r.fault = true, fault
		}
		if len(o.Columns) > 0 {
			return columnNames(o.Columns), nil
		}
		if fault != nil {
			return nil, r.headerError(int(r.scan.startLine), fault.reason)
		}
		if !ok {
			return nil, nil
		}
		return columnNames(make([]string, len(r.scan.fields))), nil
	}
}

func (r *csvReader) Close() error {
	r.rows.release()
	return nil
}

// next fills a batch.
func (r *csvReader) next(ctx context.Context) (piece, error) {
	columns := r.rows.columns
	for {
		if !r.pending {
			fault, ok, err := r.scan.next()
			if err != nil {
				return piece{}, r.text.c.fail("read", err)
			}
			if !ok {
				return r.take(r.scan.off, r.scan.line, true), nil
			}
			r.fault = fault
		}
		r.pending = false
		fields := r.scan.fields
		if r.fault == nil && len(fields) != len(columns) {
			fields, r.fault = r.fit(fields)
		}
		if r.rows.full(len(r.scan.raw)) {
			r.pending = true
			return r.take(r.scan.start, r.scan.startLine-1, false), nil
		}
		if r.fault != nil {
			r.rows.reject(connectors.Reject{Row: r.scan.startLine, Column: r.fault.column, Rule: r.fault.rule, Reason: r.fault.reason, Raw: excerpt(r.scan.raw)})
			continue
		}
		quoted := r.scan.quoted
		for i, f := range fields {
			if len(f) == 0 && (i >= len(quoted) || !quoted[i]) {
				columns[i].appendNull(r.rows.mem)
			} else {
				columns[i].append(r.rows.mem, f)
			}
		}
		for i := len(fields); i < len(columns); i++ {
			columns[i].appendNull(r.rows.mem)
		}
		r.rows.endRow(r.scan.startLine, len(r.scan.raw))
	}
}

// fit says what to do with a row that has too many or too few fields.
func (r *csvReader) fit(fields [][]byte) ([][]byte, *rowFault) {
	want := len(r.rows.columns)
	if r.ragged {
		surplus := -1
		for i := want; i < len(fields) && surplus < 0; i++ {
			if len(fields[i]) > 0 {
				surplus = i
			}
		}
		if surplus < 0 {
			return fields[:min(len(fields), want)], nil
		}
	}
	column := min(len(fields), want) + 1
	return fields, &rowFault{"csv.fields", column, fmt.Sprintf("line %d: %d fields, expected %d", r.scan.startLine, len(fields), want)}
}

func (r *csvReader) take(offset, line int64, last bool) piece {
	record, rejects := r.rows.take()
	return piece{record: record, rejects: rejects, place: r.place, last: last,
		pos: position{Offset: offset, Line: line, Encoding: r.text.encoding}}
}
