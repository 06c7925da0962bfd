package file

import (
	"archive/zip"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/internal/fault"
)

func TestChangedFile(t *testing.T) {
	p := newProject(t)
	p.write("a.csv", []byte("a,b\n1,2\n3,4\n"))
	src := p.open(Options{Path: Strings{"a.csv"}})
	first := p.read(src, "a.csv", nil)
	diff(t, "first content replaces, so that what a lost cursor left is gone", first.replaces, []bool{true})

	again := p.read(src, "a.csv", first.cursor())
	diff(t, "nothing new yields nothing", len(again.cursors), 0)

	p.write("a.csv", []byte("a,b\n1,2\n3,4\n"))
	for range 2 {
		touched := p.read(src, "a.csv", first.cursor())
		diff(t, "a touched file is not read again", len(touched.cursors), 0)
	}

	p.now = p.now.Add(-time.Hour) // the clock goes back
	p.write("a.csv", []byte("a,b\n3,5\n"))
	second := p.read(src, "a.csv", first.cursor())
	diff(t, "the changed content is read whole", second.rows, []string{"2: 3|5"})
	diff(t, "its last batch replaces", second.replaces, []bool{true})
	if !second.at[0].After(first.at[0]) {
		t.Errorf("a later content is extracted at %v, not after %v", second.at[0], first.at[0])
	}

	p.write("a.csv", []byte("a,b\n"))
	third := p.read(src, "a.csv", second.cursor())
	diff(t, "a content without rows still replaces", third.replaces, []bool{true})
	diff(t, "its columns are there", third.columns, []string{"a", "b"})
	diff(t, "it has no rows", len(third.rows), 0)
}

// TestFileThatBecameEmpty empties a file that has brought rows: a program that writes it anew does that first, so the rows stay
// until the file has something again, unless the source says that empty means gone.
func TestFileThatBecameEmpty(t *testing.T) {
	for _, c := range []struct {
		name, file, before, after string
		options                   Options
		taken                     bool
		err                       string
	}{
		{name: "JSON Lines without a byte", file: "a.jsonl", before: "{\"a\":1}\n", err: "allow_empty"},
		{name: "JSON Lines of a mark and blank lines", file: "a.jsonl", before: "{\"a\":1}\n", after: "\ufeff\r\n \n", err: "allow_empty"},
		{name: "JSON Lines in a gzip", file: "a.jsonl.gz", before: "{\"a\":1}\n", err: "allow_empty"},
		{name: "a CSV with declared columns", file: "a.csv", before: "1\n", options: Options{Columns: []string{"a"}}, err: "allow_empty"},
		{name: "a CSV without its header", file: "a.csv", before: "a\n1\n", err: "allow_empty"},
		{name: "a JSON document", file: "a.json", before: `[{"a":1}]`, err: "allow_empty"},
		{name: "a JSON document that says that there are none", file: "a.json", before: `[{"a":1}]`, after: "[]", taken: true},
		{name: "JSON Lines, declared", file: "a.jsonl", before: "{\"a\":1}\n", options: Options{AllowEmpty: true}, taken: true},
		{name: "a CSV with declared columns, declared", file: "a.csv", before: "1\n", options: Options{Columns: []string{"a"}, AllowEmpty: true}, taken: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newProject(t)
			write := func(content string) {
				data := []byte(content)
				if strings.HasSuffix(c.file, ".gz") {
					data = gzipped(data)
				}
				p.write(c.file, data)
			}
			write(c.before)
			c.options.Path = Strings{c.file}
			src := p.open(c.options)
			first := p.read(src, c.file, nil)
			diff(t, "rows before", len(first.rows), 1)
			write(c.after)
			second := p.read(src, c.file, first.cursor())
			if c.taken {
				if second.err != nil {
					t.Fatal(second.err)
				}
				diff(t, "it replaces", second.replaces, []bool{true})
				return
			}
			if !connectors.IsTransient(second.err) || !strings.Contains(second.err.Error(), c.err) {
				t.Fatalf("got %v, want a transient error with %q", second.err, c.err)
			}
			diff(t, "nothing is yielded", len(second.cursors), 0)

			write(c.before + "\n\n") // blank lines say nothing in any of the formats
			third := p.read(src, c.file, first.cursor())
			if third.err != nil {
				t.Fatal(third.err)
			}
			diff(t, "what is delivered next is read", third.replaces, []bool{true})
		})
	}
}

func TestMergeReadsWholeAndReplacesNothing(t *testing.T) {
	p := newProject(t)
	p.write("a.csv", []byte("a\n1\n"))
	src := p.open(Options{Path: Strings{"a.csv"}, OnChange: "merge"})
	first := p.read(src, "a.csv", nil)
	p.write("a.csv", []byte("a\n1\n2\n"))
	second := p.read(src, "a.csv", first.cursor())
	diff(t, "rows", second.rows, []string{"2: 1", "3: 2"})
	diff(t, "replaces", append(first.replaces, second.replaces...), []bool{false, false})
}

func TestAppend(t *testing.T) {
	cases := []struct {
		name, before, after string
		rows                []string
		err                 string
	}{
		{name: "only what was added is read", before: "a\n1\n", after: "a\n1\n2\n", rows: []string{"3: 2"}},
		{name: "a last line that had no end may get one", before: "a\n1", after: "a\n1\n2", rows: []string{"3: 2"}},
		{name: "text in another encoding after ASCII alone is found", before: "a\n1\n", after: "a\n1\n" + string(gb18030("杭州\n")), rows: []string{"3: 杭州"}},
		{name: "a last line that became longer is refused", before: "a\n1", after: "a\n12\n", err: "has become longer"},
		{name: "a change in what was read is refused", before: "a\n1\n", after: "a\n9\n2\n", err: "the content that was read before changed"},
		{name: "a shorter file is refused", before: "a\n1\n", after: "a\n", err: "became shorter"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := newProject(t)
			src := p.open(Options{Path: Strings{"a.csv"}, OnChange: "append"})
			p.write("a.csv", []byte(c.before))
			first := p.read(src, "a.csv", nil)
			p.write("a.csv", []byte(c.after))
			second := p.read(src, "a.csv", first.cursor())
			if c.err != "" {
				if second.err == nil || !strings.Contains(second.err.Error(), c.err) || !strings.Contains(second.err.Error(), "on_change") {
					t.Fatalf("got error %v, want one with %q", second.err, c.err)
				}
				return
			}
			if second.err != nil {
				t.Fatal(second.err)
			}
			diff(t, "rows", second.rows, c.rows)
			for _, replaces := range append(first.replaces, second.replaces...) {
				if replaces {
					t.Error("append must never replace")
				}
			}
		})
	}
}

// TestFileThatChangesWhileRead changes the file between two batches: what was read is no content that ever was, so it must
// not replace anything, and the next try must read the new content.
func TestFileThatChangesWhileRead(t *testing.T) {
	p := newProject(t)
	var content strings.Builder
	content.WriteString("a\n")
	for i := range 2 * connectors.MaxBatchRows {
		fmt.Fprintf(&content, "%d\n", i)
	}
	p.write("a.csv", []byte(content.String()))
	src := p.open(Options{Path: Strings{"a.csv"}})
	var cursor connectors.Cursor
	var err error
	for b, e := range src.Read(context.Background(), connectors.Stream{Name: "s", Shard: "a.csv"}, nil) {
		if err = e; e != nil {
			break
		}
		if b.Replaces {
			t.Error("a content that changed while it was read must not replace")
		}
		if cursor = b.Cursor; b.Record.NumRows() > 0 {
			p.write("a.csv", []byte("a\nx\n"))
		}
	}
	if !connectors.IsTransient(err) || !strings.Contains(err.Error(), "while it was read") {
		t.Fatalf("got error %v, want a transient one", err)
	}
	next := p.read(src, "a.csv", cursor)
	diff(t, "the new content", next.rows, []string{"2: x"})
	diff(t, "replaces", next.replaces, []bool{true})
}

func TestSettle(t *testing.T) {
	p := newProject(t)
	p.write("a.csv", []byte("a\n1\n"))
	src := p.open(Options{Path: Strings{"a.csv"}, Settle: time.Minute})
	if r := p.read(src, "a.csv", nil); len(r.cursors) != 0 || r.err != nil {
		t.Errorf("a file that changed a moment ago gave %d batches and error %v", len(r.cursors), r.err)
	}
	if !strings.Contains(p.log.String(), "left for the next pass") {
		t.Errorf("the log does not say that the file is left: %s", p.log.String())
	}
	p.now = p.now.Add(2 * time.Minute)
	diff(t, "rows once it has settled", p.read(src, "a.csv", nil).rows, []string{"2: 1"})
}

func TestShards(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "x.csv"), []byte("a\n1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name    string
		options Options
		shards  []string
	}{
		{name: "a folder means the files directly in it whose format is known", options: Options{Path: Strings{"data"}},
			shards: []string{"data/a.csv", "data/b.CSV.gz", "data/old.xls", "data/z.zip!in/c.jsonl", "data/z.zip!地区.csv"}},
		{name: "a glob with ** crosses folders", options: Options{Path: Strings{"data/**/*.csv"}}, shards: []string{"data/a.csv", "data/sub/d.csv"}},
		{name: "several paths, each file once", options: Options{Path: Strings{"data/a.csv", "data/*.csv"}}, shards: []string{"data/a.csv"}},
		{name: "members by glob", options: Options{Path: Strings{"data/z.zip"}, Member: "*.csv"}, shards: []string{"data/z.zip!地区.csv"}},
		{name: "a file that is named but not there is a shard that says so", options: Options{Path: Strings{"data/none.csv"}}, shards: []string{"data/none.csv"}},
		{name: "an absolute path outside keeps its name", options: Options{Path: Strings{filepath.Join(outside, "x.csv")}}, shards: []string{filepath.ToSlash(filepath.Join(outside, "x.csv"))}},
	}
	p := newProject(t)
	for _, name := range []string{"data/a.csv", "data/b.CSV.gz", "data/readme.md", "data/c.csv.part", "data/~$a.xlsx", "data/.hidden.csv", "data/old.xls", "data/sub/d.csv"} {
		p.write(name, []byte("a\n1\n"))
	}
	gbkName := string(gb18030("地区.csv"))
	p.write("data/z.zip", zipped(
		member{name: gbkName, content: []byte("a\n1\n"), change: func(h *zip.FileHeader) { h.NonUTF8 = true }},
		member{name: "in/", change: func(h *zip.FileHeader) { h.Method = zip.Store }}, member{name: `in\c.jsonl`, content: []byte(`{"a":1}`)},
		member{name: "__MACOSX/._c.csv"}, member{name: "notes.txt"},
	))
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			src := p.open(c.options)
			diff(t, "shards", p.shards(src), c.shards)
			diff(t, "shards are stable", p.shards(src), c.shards)
		})
	}
}

func TestWhatCannotBeRead(t *testing.T) {
	whole := gzipped([]byte("a,b\n" + strings.Repeat("1,2\n", 10_000)))
	damagedZip := zipped(member{name: "a.csv", content: []byte("a\n12345678\n"), change: func(h *zip.FileHeader) { h.Method = zip.Store }})
	damagedZip[strings.Index(string(damagedZip), "12345678")] = 'X'
	bomb := zipped(member{name: "a.csv", content: make([]byte, ratioFreeBytes+1)})
	cases := []struct {
		name    string
		file    string
		content []byte
		shard   string
		options Options
		err     string
		kind    fault.Kind
	}{
		{name: "a file that is not there", file: "other.csv", shard: "a.csv", err: "no such file"},
		{name: "a gzip cut short", file: "a.csv.gz", content: whole[:len(whole)-20], shard: "a.csv.gz", err: "gzip cut short after"},
		{name: "a gzip with a wrong checksum", file: "a.csv.gz", content: append(whole[:len(whole)-8:len(whole)-8], 1, 2, 3, 4, 5, 6, 7, 8), shard: "a.csv.gz", err: "checksum is wrong"},
		{name: "what is no gzip", file: "a.csv.gz", content: []byte("a\n1\n"), shard: "a.csv.gz", err: "not a gzip file"},
		{name: "what is no zip", file: "a.zip", content: []byte("PK\x03\x04"), shard: "a.zip", err: "not a whole zip file"},
		{name: "a member with a wrong checksum", file: "a.zip", content: damagedZip, shard: "a.zip!a.csv", err: "checksum"},
		{name: "a member that leads out", file: "a.zip", content: zipped(member{name: "../a.csv"}), shard: "a.zip!../a.csv", err: "refused as unsafe"},
		{name: "a member that leads out with backslashes", file: "a.zip", content: zipped(member{name: `x\..\..\a.csv`}), shard: `a.zip!x/../../a.csv`, err: "refused as unsafe"},
		{name: "a member with an absolute name", file: "a.zip", content: zipped(member{name: "/etc/a.csv"}), shard: "a.zip!/etc/a.csv", err: "absolute path"},
		{name: "a member with a drive", file: "a.zip", content: zipped(member{name: `C:\a.csv`}), shard: "a.zip!C:/a.csv", err: "absolute path"},
		{name: "an encrypted member", file: "a.zip", content: zipped(member{name: "a.csv", change: func(h *zip.FileHeader) { h.Flags |= encryptedFlag }}), shard: "a.zip!a.csv", err: "encrypted"},
		{name: "two members of one name", file: "a.zip", content: zipped(member{name: "a.csv", content: []byte("a\n")}, member{name: "a.csv"}), shard: "a.zip!a.csv#2", err: "2 members of this name"},
		{name: "a zip inside a zip", file: "a.zip", content: zipped(member{name: "b.zip"}), shard: "a.zip!b.zip", err: "zip inside a zip"},
		{name: "a zip without anything to read", file: "a.zip", content: zipped(member{name: "b.txt"}), shard: "a.zip", err: "none of its 1 members"},
		{name: "a zip bomb", file: "a.zip", content: bomb, shard: "a.zip", err: "zip bomb"},
		{name: "an archive of another kind", file: "a.rar", content: []byte("x"), shard: "a.rar", err: "use zip or gzip"},
		{name: "an old spreadsheet", file: "a.xls", content: compoundFile, shard: "a.xls", err: "save it as .xlsx"},
		{name: "an old spreadsheet under a new name", file: "a.xlsx", content: append(compoundFile, make([]byte, 600)...), shard: "a.xlsx", err: "old binary spreadsheet"},
		{name: "a spreadsheet with a password", file: "a.xlsx", content: append(append([]byte(nil), compoundFile...), []byte("....E\x00n\x00c\x00r\x00y\x00p\x00t\x00e\x00d\x00P\x00a\x00c\x00k\x00a\x00g\x00e\x00")...), shard: "a.xlsx", err: "password"},
		{name: "text under the name of a spreadsheet", file: "a.xlsx", content: []byte("<html>"), shard: "a.xlsx", err: "not a spreadsheet"},
		{name: "what is no Parquet", file: "a.parquet", content: []byte("a,b"), shard: "a.parquet", err: "is not a Parquet file"},
		{name: "a Parquet file cut short", file: "a.parquet", content: []byte("PAR1" + strings.Repeat("x", 100)), shard: "a.parquet", err: "cut short"},
		{name: "append for a format without an end", file: "a.json", content: []byte("[]"), shard: "a.json", options: Options{OnChange: "append"}, err: "append works with csv and jsonl only", kind: fault.KindUsage},
		{name: "a shard of no file", file: "a.csv", content: []byte("a\n"), shard: "b.csv", options: Options{Path: Strings{"*.csv"}}, err: "no such file"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := newProject(t)
			p.write(c.file, c.content)
			p.write("good.csv", []byte("a\n1\n"))
			if c.options.Path == nil {
				c.options.Path = Strings{strings.SplitN(c.shard, "!", 2)[0], "good.csv"}
			}
			src := p.open(c.options)
			p.shards(src)
			r := p.read(src, c.shard, nil)
			if r.err == nil || !strings.Contains(r.err.Error(), c.err) || !strings.HasPrefix(r.err.Error(), c.shard) {
				t.Fatalf("got error %v, want one with %q that names %s", r.err, c.err, c.shard)
			}
			if got := fault.KindOf(r.err); got != c.kind {
				t.Errorf("error %v is of kind %v, want %v", r.err, got, c.kind)
			}
			for _, replaces := range r.replaces {
				if replaces {
					t.Error("a content that could not be read must not replace")
				}
			}
			if good := p.read(src, "good.csv", nil); good.err != nil && c.options.OnChange == "" {
				t.Errorf("another file is harmed: %v", good.err)
			}
		})
	}
}

func TestSymbolicLinks(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "x.csv"), []byte("a\n1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newProject(t)
	p.write("data/a.csv", []byte("a\n1\n"))
	for link, target := range map[string]string{
		"data/inside.csv": filepath.Join(p.dir, "data/a.csv"), "data/outside.csv": filepath.Join(outside, "x.csv"), "data/loop": filepath.Join(p.dir, "data"),
		"linked": outside,
	} {
		if err := os.Symlink(target, filepath.Join(p.dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	src := p.open(Options{Path: Strings{"data/**/*.csv"}})
	diff(t, "shards", p.shards(src), []string{"data/a.csv", "data/inside.csv", "data/outside.csv"})
	diff(t, "a link within the project is followed", p.read(src, "data/inside.csv", nil).rows, []string{"2: 1"})
	for _, c := range []struct{ path, shard string }{{"data/outside.csv", "data/outside.csv"}, {"linked/*.csv", "linked/x.csv"}, {"linked/x.csv", "linked/x.csv"}} {
		if r := p.read(p.open(Options{Path: Strings{c.path}}), c.shard, nil); r.err == nil || !strings.Contains(r.err.Error(), "leads out of the project") {
			t.Errorf("%s: got error %v, want a refusal", c.path, r.err)
		}
	}
	absolute := filepath.Join(p.dir, "linked") // what an absolute path reaches is meant, even through a link of its own
	for _, path := range []string{filepath.Join(outside, "x.csv"), outside, absolute} {
		src := p.open(Options{Path: Strings{path}})
		shards := p.shards(src)
		if r := p.read(src, shards[0], nil); r.err != nil || len(r.rows) != 1 {
			t.Errorf("%s: got %d rows and error %v", path, len(r.rows), r.err)
		}
	}
}

// TestResumeEverywhere reads every format from every cursor and wants exactly the rows that followed, under the same time.
func TestResumeEverywhere(t *testing.T) {
	const n = 30_000
	for name, content := range bigFiles(t, n) {
		if raceDetector && strings.Count(name, ".") > 1 {
			continue // packed
		}
		t.Run(name, func(t *testing.T) {
			p := newProject(t)
			p.write(name, content)
			src := p.open(Options{Path: Strings{name}})
			shard := p.shards(src)[0]
			all := p.read(src, shard, nil)
			if all.err != nil {
				t.Fatal(all.err)
			}
			if len(all.rows) != n || len(all.cursors) < 3 {
				t.Fatalf("%d rows in %d batches", len(all.rows), len(all.cursors))
			}
			for i, cursor := range all.cursors {
				if len(cursor) > connectors.MaxCursorBytes {
					t.Errorf("cursor of %d bytes", len(cursor))
				}
				rest := p.read(src, shard, cursor)
				if rest.err != nil {
					t.Fatal(rest.err)
				}
				if i == len(all.cursors)-1 {
					diff(t, "rows after the last cursor", len(rest.cursors), 0)
					continue
				}
				if len(rest.rows) == 0 || rest.rows[0] != all.rows[len(all.rows)-len(rest.rows)] || rest.rows[len(rest.rows)-1] != all.rows[n-1] {
					t.Fatalf("after cursor %d the rows are not those that followed", i)
				}
				diff(t, "rows behind the cursor", len(rest.rows)+rowsUpTo(src, shard, i), n)
				diff(t, "time of the content", rest.at[0], all.at[0])
			}
		})
	}
}

// TestResumeAfterTheFirstRow: without a header, the first row is looked at before it is known where reading goes on.
func TestResumeAfterTheFirstRow(t *testing.T) {
	p := newProject(t)
	large := strings.Repeat("x", 3<<20)
	p.write("a.csv", []byte("1,"+large+"\n2,"+large+"\n"))
	src := p.open(Options{Path: Strings{"a.csv"}, Header: HeaderRows{0}, MaxRowBytes: 4 << 20})
	all := p.read(src, "a.csv", nil)
	if len(all.cursors) != 2 {
		t.Fatalf("%d batches, error %v", len(all.cursors), all.err)
	}
	rest := p.read(src, "a.csv", all.cursors[0])
	if len(rest.rows) != 1 || !strings.HasPrefix(rest.rows[0], "2: 2|") {
		t.Errorf("%d rows after the first", len(rest.rows))
	}
}

func rowsUpTo(src *Source, shard string, batch int) (rows int) {
	i := 0
	for b, err := range src.Read(context.Background(), connectors.Stream{Name: "s", Shard: shard}, nil) {
		if err != nil || i > batch {
			break
		}
		rows += int(b.Record.NumRows())
		i++
	}
	return rows
}
