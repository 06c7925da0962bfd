package file

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/headwater-data/headwater/connectors"
)

var compoundFile = []byte{0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1}

// workbook is an open XLSX file: the parts of it that tell how sheets are read.
type workbook struct {
	c          *content
	parts      map[string]*zip.File
	sheets     []sheetPart // in the order of the tabs
	dates      []dateKind  // by style
	system1904 bool
	strings    *sharedStrings // nil when there are none
	stringPart string
}

type sheetPart struct {
	name   string
	part   string
	hidden bool
}

func openWorkbook(ctx context.Context, c *content) (*workbook, error) {
	r, err := c.readerAt(ctx)
	if err != nil {
		return nil, err
	}
	if startsWith(r, compoundFile) {
		return nil, connectors.Permanent(fmt.Errorf("%s: %s", c.place, compoundRefusal(r)))
	}
	z, err := openZip(r, r.Size())
	if err != nil {
		return nil, connectors.Permanent(fmt.Errorf("%s: not a spreadsheet (.xlsx), or cut short: %w", c.place, err))
	}
	w := &workbook{c: c, parts: map[string]*zip.File{}}
	for _, f := range z.File {
		w.parts[strings.ToLower(strings.TrimPrefix(strings.ReplaceAll(f.Name, `\`, "/"), "/"))] = f
	}
	if err := w.load(ctx); err != nil {
		return nil, err
	}
	return w, nil
}

// compoundRefusal tells a password from an old format; both come in the same container.
func compoundRefusal(r io.ReaderAt) string {
	head := make([]byte, 1<<20)
	n, _ := r.ReadAt(head, 0) // a short read is fine: it is only looked at
	var name []byte
	for _, u := range utf16.Encode([]rune("EncryptedPackage")) {
		name = binary.LittleEndian.AppendUint16(name, u)
	}
	if bytes.Contains(head[:n], name) {
		return "the spreadsheet is protected with a password: deliver it without"
	}
	return "is an old binary spreadsheet (.xls), or one with a password: " + saveAsXLSX
}

// damaged names the part of the workbook where something is wrong.
func (w *workbook) damaged(part string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return connectors.Permanent(fmt.Errorf("%s: spreadsheet part %s: %w", w.c.place, part, err))
}

// open returns a part's XML.
func (w *workbook) open(ctx context.Context, part string) (io.Reader, error) {
	f := w.parts[strings.ToLower(part)]
	if f == nil {
		return nil, w.damaged(part, errors.New("is missing"))
	}
	if err := checkMember(f); err != nil {
		return nil, w.damaged(part, err)
	}
	r, err := f.Open()
	if err != nil {
		return nil, w.damaged(part, err)
	}
	return contextReader{ctx, &boundedReader{r: r, bounds: w.c.bounds, packed: int64(f.CompressedSize64)}}, nil
}

// each calls f for each start tag of a part.
func (w *workbook) each(ctx context.Context, part string, f func(x *xmlScanner) error) error {
	r, err := w.open(ctx, part)
	if err != nil {
		return err
	}
	x := newXMLScanner(r)
	for {
		kind, err := x.next()
		if err == io.EOF {
			return nil
		}
		if err == nil && kind == xmlStart {
			err = f(x)
		}
		if err != nil {
			return w.damaged(part, err)
		}
	}
}

// relation is what one part says of another.
type relation struct{ kind, target string }

// topRelations lists what the package as a whole refers to.
const topRelations = "_rels/.rels"

// relationsOf names the part that lists what another part refers to.
func relationsOf(part string) string {
	return path.Join(path.Dir(part), "_rels", path.Base(part)+".rels")
}

// relations reads a list of references, by id; their targets are relative to the folder of what refers.
func (w *workbook) relations(ctx context.Context, list string) (map[string]relation, error) {
	found := map[string]relation{}
	err := w.each(ctx, list, func(x *xmlScanner) error {
		if string(x.name) != "Relationship" {
			return nil
		}
		values, err := texts(x, "Id", "Type", "Target")
		if err != nil {
			return err
		}
		target := values[2]
		if strings.HasPrefix(target, "/") {
			target = strings.TrimPrefix(target, "/")
		} else {
			target = path.Join(path.Dir(path.Dir(list)), target)
		}
		found[values[0]] = relation{kind: path.Base(values[1]), target: target}
		return nil
	})
	return found, err
}

// texts returns attributes of a start tag as strings, "" for those that are not there.
func texts(x *xmlScanner, names ...string) ([]string, error) {
	values := make([]string, len(names))
	for i, name := range names {
		v, err := x.attr(name)
		if err != nil {
			return nil, err
		}
		values[i] = string(v)
	}
	return values, nil
}

func (w *workbook) load(ctx context.Context) error {
	main := "xl/workbook.xml"
	if w.parts[topRelations] != nil {
		top, err := w.relations(ctx, topRelations)
		if err != nil {
			return err
		}
		for _, r := range top {
			if r.kind == "officeDocument" {
				main = r.target
			}
		}
	}
	relations, err := w.relations(ctx, relationsOf(main))
	if err != nil {
		return err
	}
	err = w.each(ctx, main, func(x *xmlScanner) error {
		switch string(x.name) {
		case "workbookPr":
			v, err := texts(x, "date1904")
			w.system1904 = err == nil && (v[0] == "1" || v[0] == "true")
			return err
		case "sheet":
			v, err := texts(x, "name", "id", "state")
			if err != nil {
				return err
			}
			if r := relations[v[1]]; r.kind == "worksheet" {
				w.sheets = append(w.sheets, sheetPart{name: v[0], part: r.target, hidden: v[2] == "hidden" || v[2] == "veryHidden"})
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, r := range relations {
		switch r.kind {
		case "styles":
			if err := w.loadStyles(ctx, r.target); err != nil {
				return err
			}
		case "sharedStrings":
			w.stringPart = r.target
		}
	}
	return nil
}

// loadStyles learns which styles show dates.
func (w *workbook) loadStyles(ctx context.Context, part string) error {
	formats := map[string]dateKind{}
	inCells := false
	return w.each(ctx, part, func(x *xmlScanner) error {
		switch string(x.name) {
		case "numFmt":
			v, err := texts(x, "numFmtId", "formatCode")
			if err != nil {
				return err
			}
			formats[v[0]] = formatDate(v[1])
		case "cellXfs":
			inCells = true
		case "cellStyles", "dxfs", "cellStyleXfs":
			inCells = false
		case "xf":
			if !inCells {
				return nil
			}
			v, err := texts(x, "numFmtId")
			if err != nil {
				return err
			}
			kind, own := formats[v[0]]
			if id, err := strconv.Atoi(v[0]); err == nil && !own {
				kind = builtinDate(id)
			}
			w.dates = append(w.dates, kind)
		}
		return nil
	})
}

// choose returns the sheets that the option names, in the order of the tabs; without it the first visible one.
func (w *workbook) choose(names Strings) ([]sheetPart, error) {
	if len(names) == 0 {
		for _, s := range w.sheets {
			if !s.hidden {
				return []sheetPart{s}, nil
			}
		}
	}
	wanted := make([]bool, len(w.sheets))
	for _, name := range names {
		matched := false
		for i, s := range w.sheets {
			if s.name == name {
				wanted[i], matched = true, true
			}
		}
		if n, err := strconv.Atoi(name); !matched && err == nil && n >= 1 && n <= len(w.sheets) {
			wanted[n-1], matched = true, true
		}
		for i, s := range w.sheets {
			if !matched && doublestar.MatchUnvalidated(name, s.name) {
				wanted[i] = true
			}
		}
	}
	var chosen []sheetPart
	var all []string
	for i, s := range w.sheets {
		if wanted[i] {
			chosen = append(chosen, s)
		}
		all = append(all, strconv.Quote(s.name))
	}
	if len(chosen) == 0 {
		return nil, connectors.Permanent(fmt.Errorf("%s: no sheet is named %s; there are: %s", w.c.place, strings.Join(names, ", "), strings.Join(all, ", ")))
	}
	return chosen, nil
}

// xlsxReader reads the chosen sheets of a workbook one after the other.
type xlsxReader struct {
	book   *workbook
	o      *Options
	env    connectors.Environment
	sheets []sheetPart
	at     int // sheet being read
	sheet  *sheetReader
	rows   *rowsBuilder
	row    int64 // number of the last row taken into a batch
	after  int64 // rows up to here have been delivered before
	// pending is the row that did not fit the last batch, held by the sheet's reader.
	pending bool
	failed  error // why the next sheet cannot be read; told after the rows of the one before
}

func openXLSX(ctx context.Context, c *content, o *Options, env connectors.Environment, after position) (decoder, error) {
	book, err := openWorkbook(ctx, c)
	if err != nil {
		return nil, err
	}
	r := &xlsxReader{book: book, o: o, env: env, at: after.Sheet, after: after.Row}
	if r.sheets, err = book.choose(o.Sheet); err != nil {
		return nil, err
	}
	if len(o.Sheet) == 0 && len(book.sheets) > 1 {
		env.Logger.Info("only the first visible sheet is read; name others with the option sheet", "file", c.place, "sheet", r.sheets[0].name, "sheets", len(book.sheets))
	}
	if err := book.loadStrings(ctx); err != nil {
		return nil, err
	}
	if r.at >= len(r.sheets) {
		return nil, connectors.Permanent(fmt.Errorf("%s: the cursor stands at sheet %d of %d", c.place, r.at+1, len(r.sheets)))
	}
	return r, r.open(ctx)
}

// open begins the sheet at r.at.
func (r *xlsxReader) open(ctx context.Context) error {
	if r.rows != nil {
		r.rows.release()
	}
	sheet, names, err := r.book.openSheet(ctx, r.sheets[r.at], r.o)
	if err != nil {
		return err
	}
	r.sheet, r.rows = sheet, newRowsBuilder(r.env.Allocator, names)
	r.row = r.after
	return nil
}

func (r *xlsxReader) Close() error {
	if r.rows != nil {
		r.rows.release()
	}
	return nil
}

func (r *xlsxReader) next(ctx context.Context) (piece, error) {
	if r.failed != nil {
		return piece{}, r.failed
	}
	for {
		s := r.sheet
		if !r.pending {
			ok, err := s.next()
			if err != nil {
				return piece{}, err
			}
			if !ok {
				out := r.take(r.at == len(r.sheets)-1)
				if out.last {
					return out, nil
				}
				r.at, r.after = r.at+1, 0
				r.failed = r.open(ctx)
				out.pos = position{Sheet: r.at}
				if out.record.NumRows() > 0 || len(out.rejects) > 0 {
					return out, nil
				}
				out.record.Release()
				if r.failed != nil {
					return piece{}, r.failed
				}
				continue
			}
			if s.row <= r.after {
				continue
			}
		}
		r.pending = false
		cells, used, fault := s.values(len(r.rows.columns))
		if fault != nil {
			raw := s.raw()
			if r.rows.full(len(raw) + len(fault.reason)) {
				r.pending = true
				return r.take(false), nil
			}
			r.rows.reject(connectors.Reject{Row: s.row, Column: fault.column, Rule: fault.rule, Reason: fault.reason, Raw: raw})
			r.row = s.row
			continue
		}
		if r.rows.full(used) {
			r.pending = true
			return r.take(false), nil
		}
		for i, c := range cells {
			if c == nil {
				r.rows.columns[i].appendNull(r.rows.mem)
			} else {
				r.rows.columns[i].append(r.rows.mem, s.mem[c.text.from:c.text.to])
			}
		}
		r.rows.endRow(s.row, used)
		r.row = s.row
	}
}

func (r *xlsxReader) take(last bool) piece {
	record, rejects := r.rows.take()
	return piece{record: record, rejects: rejects, place: r.book.c.place + "!" + r.sheets[r.at].name, last: last,
		pos: position{Sheet: r.at, Row: r.row}}
}
