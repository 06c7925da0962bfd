package file

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/text/encoding/simplifiedchinese"

	"github.com/headwater-data/headwater/connectors"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// project is a folder with files, and a clock.
type project struct {
	t   *testing.T
	dir string
	mem *memory.CheckedAllocator
	now time.Time
	log bytes.Buffer
}

func newProject(t *testing.T) *project {
	p := &project{t: t, dir: t.TempDir(), mem: memory.NewCheckedAllocator(memory.NewGoAllocator()), now: time.Now()}
	t.Cleanup(func() { p.mem.AssertSize(t, 0) })
	return p
}

// write puts a file into the project. Each write has a later time than the one before, however coarse the file system's is.
func (p *project) write(name string, content []byte) {
	p.t.Helper()
	full := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(full, content, 0o600); err != nil {
		p.t.Fatal(err)
	}
	p.now = p.now.Add(time.Second)
	if err := os.Chtimes(full, p.now, p.now); err != nil {
		p.t.Fatal(err)
	}
}

func (p *project) open(o Options) *Source {
	p.t.Helper()
	src, err := open(connectors.Environment{
		Dir: p.dir, Allocator: p.mem, Logger: slog.New(slog.NewTextHandler(&p.log, nil)), Now: func() time.Time { return p.now },
	}, map[string]any{"s": &o})
	if err != nil {
		p.t.Fatal(err)
	}
	return src
}

// reading is what one Read gave.
type reading struct {
	columns  []string
	rows     []string // "line: value|value", ∅ for null
	rejects  []string // "line rule"
	raws     []string
	reasons  []string
	places   []string
	cursors  []connectors.Cursor
	replaces []bool
	at       []time.Time
	err      error
}

func (r *reading) cursor() connectors.Cursor {
	if len(r.cursors) == 0 {
		return nil
	}
	return r.cursors[len(r.cursors)-1]
}

func (p *project) read(src *Source, shard string, after connectors.Cursor) *reading {
	return p.readContext(context.Background(), src, shard, after)
}

func (p *project) readContext(ctx context.Context, src *Source, shard string, after connectors.Cursor) *reading {
	p.t.Helper()
	r := &reading{}
	for b, err := range src.Read(ctx, connectors.Stream{Name: "s", Shard: shard}, after) {
		if err != nil {
			r.err = err
			continue
		}
		r.columns = nil
		rowColumn := -1
		for i, f := range b.Record.Schema().Fields() {
			if f.Name == connectors.ColumnRow {
				rowColumn = i
				continue
			}
			r.columns = append(r.columns, f.Name)
		}
		for row := range int(b.Record.NumRows()) {
			var values []string
			for i, column := range b.Record.Columns() {
				if i == rowColumn {
					continue
				}
				if column.IsNull(row) {
					values = append(values, "∅")
				} else {
					values = append(values, column.ValueStr(row))
				}
			}
			r.rows = append(r.rows, fmt.Sprintf("%d: %s", b.Record.Column(rowColumn).(*array.Int64).Value(row), strings.Join(values, "|")))
		}
		for _, reject := range b.Rejects {
			r.rejects = append(r.rejects, fmt.Sprintf("%d %s", reject.Row, reject.Rule))
			r.raws = append(r.raws, string(reject.Raw))
			r.reasons = append(r.reasons, reject.Reason)
		}
		r.places = append(r.places, b.Place)
		r.cursors = append(r.cursors, b.Cursor)
		r.replaces = append(r.replaces, b.Replaces)
		r.at = append(r.at, b.ExtractedAt)
	}
	return r
}

func (p *project) shards(src *Source) []string {
	p.t.Helper()
	shards, err := src.Shards(context.Background(), "s")
	if err != nil {
		p.t.Fatal(err)
	}
	var names []string
	for _, s := range shards {
		names = append(names, s.Shard)
	}
	return names
}

func diff(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func gb18030(s string) []byte {
	b, err := simplifiedchinese.GB18030.NewEncoder().String(s)
	if err != nil {
		panic(err)
	}
	return []byte(b)
}

func gzipped(content []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(content)
	if err := errors.Join(err, w.Close()); err != nil {
		panic(err)
	}
	return b.Bytes()
}

type member struct {
	name    string
	content []byte
	change  func(*zip.FileHeader)
}

func zipped(members ...member) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, m := range members {
		h := &zip.FileHeader{Name: m.name, Method: zip.Deflate}
		if m.change != nil {
			m.change(h)
		}
		w, err := z.CreateHeader(h)
		if err == nil {
			_, err = w.Write(m.content)
		}
		if err != nil {
			panic(err)
		}
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func TestCSVRows(t *testing.T) {
	cases := []struct {
		name    string
		content []byte
		options Options
		columns []string
		rows    []string
		rejects []string
		err     string
	}{
		{name: "plain rows are numbered by their lines", content: []byte("a,b\n1,2\n3,4\n"),
			columns: []string{"a", "b"}, rows: []string{"2: 1|2", "3: 3|4"}},
		{name: "CRLF and a last line without an end", content: []byte("a,b\r\n1,2\r\n3,4"),
			columns: []string{"a", "b"}, rows: []string{"2: 1|2", "3: 3|4"}},
		{name: "an empty field is null, a quoted empty one is an empty text", content: []byte("a,b,c\n,\"\",x\n"),
			columns: []string{"a", "b", "c"}, rows: []string{"2: ∅||x"}},
		{name: "quotes, delimiters and line ends inside quotes", content: []byte("a,b\n\"x,y\",\"say \"\"hi\"\"\"\n\"two\nlines\",2\nz,3\n"),
			columns: []string{"a", "b"}, rows: []string{`2: x,y|say "hi"`, "3: two\nlines|2", "5: z|3"}},
		{name: "a quote within an unquoted field stands as it is", content: []byte("a,b\n5\" pipe,2\n"),
			columns: []string{"a", "b"}, rows: []string{`2: 5" pipe|2`}},
		{name: "wholly empty rows are not rows", content: []byte("a,b\n\n,\n1,2\n\r\n,\r\n"),
			columns: []string{"a", "b"}, rows: []string{"4: 1|2"}},
		{name: "too many and too few fields are rejected and reading goes on", content: []byte("a,b\n1,2,3\n4\n5,6\n"),
			columns: []string{"a", "b"}, rows: []string{"4: 5|6"}, rejects: []string{"2 csv.fields", "3 csv.fields"}},
		{name: "ragged fills with nulls and drops empty surplus", content: []byte("a,b\n1\n2,3,,\n4,5,6\n"), options: Options{Ragged: true},
			columns: []string{"a", "b"}, rows: []string{"2: 1|∅", "3: 2|3"}, rejects: []string{"4 csv.fields"}},
		{name: "an unclosed quote costs one line", content: []byte("a,b\n\"1,2\n3,4\n5,6\n"),
			columns: []string{"a", "b"}, rows: []string{"3: 3|4", "4: 5|6"}, rejects: []string{"2 csv.quote"}},
		{name: "text behind a closing quote costs one line", content: []byte("a,b\n\"1\"x,2\n3,4\n"),
			columns: []string{"a", "b"}, rows: []string{"3: 3|4"}, rejects: []string{"2 csv.quote"}},
		{name: "an unclosed quote is given up after max_row_bytes", content: []byte("a,b\n\"1,2\n" + strings.Repeat("3,4\n", 50)), options: Options{MaxRowBytes: 64},
			columns: []string{"a", "b"}, rows: slices.Collect(func(yield func(string) bool) {
				for i := range 50 {
					if !yield(fmt.Sprintf("%d: 3|4", i+3)) {
						return
					}
				}
			}), rejects: []string{"2 csv.size"}},
		{name: "a line longer than max_row_bytes costs one line", content: []byte("a,b\n" + strings.Repeat("x", 300_000) + ",2\n3,4\n"), options: Options{MaxRowBytes: 100},
			columns: []string{"a", "b"}, rows: []string{"3: 3|4"}, rejects: []string{"2 csv.size"}},
		{name: "invalid UTF-8 in the middle costs one row", content: []byte("名称,值\n杭州,1\n宁\xff波,2\n温州,3\n"),
			columns: []string{"名称", "值"}, rows: []string{"2: 杭州|1", "4: 温州|3"}, rejects: []string{"3 utf8"}},
		{name: "a NUL byte costs one row", content: []byte("a,b\n1,2\n3\x00,4\n5,6\n"),
			columns: []string{"a", "b"}, rows: []string{"2: 1|2", "4: 5|6"}, rejects: []string{"3 csv.nul"}},
		{name: "UTF-8 with a byte order mark", content: []byte("\ufeff代码,名称\n110000,北京市\n"),
			columns: []string{"代码", "名称"}, rows: []string{"2: 110000|北京市"}},
		{name: "GB18030 without a mark is found by validity", content: gb18030("代码,名称\n110000,北京市\n330000,浙江省㐀\n"),
			columns: []string{"代码", "名称"}, rows: []string{"2: 110000|北京市", "3: 330000|浙江省㐀"}},
		{name: "the label gb2312 is read as gb18030", content: gb18030("名称\n喆\n"), options: Options{Encoding: "gb2312"},
			columns: []string{"名称"}, rows: []string{"2: 喆"}},
		{name: "bytes that are not GB18030 cost one row", content: slices.Concat(gb18030("名称,值\n杭州市,1\n"), []byte("\x81\xff,2\n"), gb18030("宁波市,3\n")),
			columns: []string{"名称", "值"}, rows: []string{"2: 杭州市|1", "4: 宁波市|3"}, rejects: []string{"3 gb18030"}},
		{name: "UTF-16 is refused with what to do", content: []byte("\xff\xfea\x00,\x00"), err: "save it as UTF-8"},
		{name: "title rows and a header by its line", content: []byte("某局月报,,\n单位：万元,,\n地区,金额\n杭州,1\n"), options: Options{Header: HeaderRows{3}},
			columns: []string{"地区", "金额"}, rows: []string{"4: 杭州|1"}},
		{name: "a header of two rows is filled to the right and joined", content: []byte("表1\n地区,2020年,,备注\n,计划,完成,\n杭州,1,2,x\n"), options: Options{Header: HeaderRows{2, 3}},
			columns: []string{"地区", "2020年-计划", "2020年-完成", "备注"}, rows: []string{"4: 杭州|1|2|x"}},
		{name: "skip_rows passes over titles and the first row that is not empty is the header", content: []byte("标题\n\n地区,金额\n杭州,1\n"), options: Options{SkipRows: 1},
			columns: []string{"地区", "金额"}, rows: []string{"4: 杭州|1"}},
		{name: "columns stand in for a missing header", content: []byte("杭州,1\n"), options: Options{Columns: []string{"地区", "金额"}},
			columns: []string{"地区", "金额"}, rows: []string{"1: 杭州|1"}},
		{name: "columns replace the header's names", content: []byte("a,b\n杭州,1\n"), options: Options{Header: HeaderRows{1}, Columns: []string{"地区", "金额"}},
			columns: []string{"地区", "金额"}, rows: []string{"2: 杭州|1"}},
		{name: "without header and names, columns are numbered", content: []byte("杭州,1\n"), options: Options{Header: HeaderRows{0}},
			columns: []string{"column_1", "column_2"}, rows: []string{"1: 杭州|1"}},
		{name: "names are made fit: reserved, double, empty, with line breaks", content: []byte("_x,金额,金额,,\"完成\n率\",__,_row\n1,2,3,4,5,6,7\n"),
			columns: []string{"x_", "金额", "金额_2", "column_4", "完成率", "column_6", "row_"}, rows: []string{"3: 1|2|3|4|5|6|7"}},
		{name: "another delimiter, quote and comments", content: []byte("# made by x\na;b\n'1;2';3\n#4;5\n"), options: Options{Delimiter: ";", Quote: "'", Comment: "#"},
			columns: []string{"a", "b"}, rows: []string{"3: 1;2|3"}},
		{name: "quotes can be switched off", content: []byte("a,b\n\"1,2\"\n"), options: Options{Quote: "none"},
			columns: []string{"a", "b"}, rows: []string{`2: "1|2"`}},
		{name: "the full-width comma of a GBK file", content: gb18030("地区，值\n杭州，1\n\"宁，波\"，2\n"), options: Options{Delimiter: "，"},
			columns: []string{"地区", "值"}, rows: []string{"2: 杭州|1", "3: 宁，波|2"}},
		{name: "a file with nothing but its header has no rows", content: []byte("a,b\n"), columns: []string{"a", "b"}},
		{name: "an empty file is told", content: nil, err: "the file is empty"},
		{name: "a header that is not there is told", content: []byte("a,b\n1,2\n"), options: Options{Header: HeaderRows{5}}, err: "header row 5: the file ends before it"},
		{name: "an empty header row is told", content: []byte("t\n\na,b\n1,2\n"), options: Options{Header: HeaderRows{2}}, err: "header row 2: the row is empty"},
		{name: "names that do not match the header's number are told", content: []byte("a,b\n"), options: Options{Header: HeaderRows{1}, Columns: []string{"x"}}, err: "header has 2 columns, but the option columns names 1"},
		{name: "line ends of CR alone are told", content: []byte("a,b\r1,2\r"), err: "CR alone"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for form, stored := range map[string][]byte{"a.csv": c.content, "a.csv.gz": gzipped(c.content)} {
				p := newProject(t)
				p.write(form, stored)
				c.options.Path = Strings{form}
				r := p.read(p.open(c.options), form, nil)
				if c.err != "" {
					if r.err == nil || !strings.Contains(r.err.Error(), c.err) || !strings.HasPrefix(r.err.Error(), form+": ") {
						t.Errorf("%s: got error %v, want one with %q that names the file", form, r.err, c.err)
					}
					continue
				}
				if r.err != nil {
					t.Fatal(r.err)
				}
				diff(t, form+" columns", r.columns, c.columns)
				diff(t, form+" rows", r.rows, c.rows)
				diff(t, form+" rejects", r.rejects, c.rejects)
			}
		})
	}
}

func stream(shard string) connectors.Stream { return connectors.Stream{Name: "s", Shard: shard} }
