package file

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/encoding/simplifiedchinese"

	"github.com/headwater-data/headwater/connectors"
)

// preflight writes what is found as "what level: text; fix".
func (p *project) preflight(o Options) []string {
	p.t.Helper()
	list, err := p.open(o).Preflight(context.Background())
	if err != nil {
		p.t.Fatal(err)
	}
	var out []string
	for _, f := range list {
		if f.Stream != "s" {
			p.t.Errorf("%+v is of no stream", f)
		}
		out = append(out, strings.TrimSuffix(fmt.Sprintf("%s %s: %s; %s", f.What, f.Level, f.Text, f.Fix), "; "))
	}
	return out
}

func TestPreflightTellsWhatFilesAre(t *testing.T) {
	t.Parallel()
	gb := func(text string) []byte {
		b, err := simplifiedchinese.GB18030.NewEncoder().Bytes([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var packed bytes.Buffer
	z := zip.NewWriter(&packed)
	for name, text := range map[string]string{"a.csv": "区县,值\n上城区,1\n", "readme.txt": "x"} {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	var gz bytes.Buffer
	g := gzip.NewWriter(&gz)
	if _, err := g.Write([]byte("a\n1\n")); err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	var parquet bytes.Buffer
	if err := madeParquet(&parquet, 3); err != nil {
		t.Fatal(err)
	}
	utf := []byte("区县,值\n上城区,1\n")
	for _, c := range []struct {
		name  string
		files map[string][]byte
		order []string // in which files are written; the last one is the newest
		o     Options
		want  []string // beginnings of lines, in this order; all of them
	}{
		{"one file", map[string][]byte{"d/a.csv": utf}, nil, Options{Path: Strings{"d"}}, []string{
			"files ok: 1 file, 23 bytes; the newest is d/a.csv of 20", "columns ok: d/a.csv has 2 columns: 区县, 值", "encoding ok: d/a.csv is UTF-8",
		}},
		{"two encodings, and other columns in the older file", map[string][]byte{"d/a.csv": gb("区县,数值\n上城区,1\n"), "d/b.csv": utf, "d/c.csv": []byte("\ufeff区县,值\n")}, []string{"d/a.csv", "d/c.csv", "d/b.csv"}, Options{Path: Strings{"d/*"}}, []string{
			"files ok: 3 files", "columns note: d/a.csv has other columns than d/b.csv: it lacks 值 and has 数值; map both names", "columns ok: d/b.csv has 2 columns", "encoding ok: d/a.csv is GB18030; d/b.csv, as 1 more, is UTF-8",
		}},
		{"bytes that are of no encoding", map[string][]byte{"d/a.csv": []byte("a\nx\xffy\n区\n")}, nil, Options{Path: Strings{"d"}}, []string{
			"files ok", "encoding note: d/a.csv is neither whole UTF-8 nor GB18030; rows with such bytes go to the quarantine", "rows note: d/a.csv: 1 of the first 2 rows would go to the quarantine; the first is row 2: ", "columns ok",
		}},
		{"an archive, and a packed file", map[string][]byte{"d/a.zip": packed.Bytes(), "d/b.csv.gz": gz.Bytes()}, []string{"d/b.csv.gz", "d/a.zip"}, Options{Path: Strings{"d"}}, []string{
			"files ok: 2 files, ", "archives ok: 1 zip with 1 member to read", "columns note: d/b.csv.gz has other columns than d/a.zip!a.csv", "columns ok: d/a.zip!a.csv has 2", "encoding ok: d/b.csv.gz is ASCII; d/a.zip!a.csv is UTF-8",
		}},
		{"what is refused", map[string][]byte{"d/a.xls": []byte("x"), "d/b.zip": []byte("x"), "d/c.csv": nil, "d/e.csv": utf}, []string{"d/a.xls", "d/b.zip", "d/c.csv", "d/e.csv"}, Options{Path: Strings{"d"}}, []string{
			"read fault: d/a.xls: spreadsheets of this kind are not read: save it as .xlsx", "read fault: d/b.zip: not a whole zip file", "files ok: 4 files", "read fault: d/c.csv: the file is empty", "columns ok: d/e.csv", "encoding ok: d/e.csv",
		}},
		{"many that are refused", map[string][]byte{"d/1.xls": nil, "d/2.xls": nil, "d/3.xls": nil, "d/4.xls": nil, "d/5.xls": nil, "d/6.xls": nil, "d/7.xls": nil}, nil, Options{Path: Strings{"d"}}, []string{
			"read fault: d/1", "read fault: d/2", "read fault: d/3", "read fault: d/4", "read fault: d/5", "files ok: 7 files, 0 bytes", "read fault: 2 files more cannot be read; see to the ones above first",
		}},
		{"none", map[string][]byte{"d/a.txt": utf}, nil, Options{Path: Strings{"d/*.csv"}}, []string{"files note: no file matches d/*.csv now; nothing, if files are still to come"}},
		{"no folder", nil, nil, Options{Path: Strings{"nosuch/*.csv"}}, []string{"files fault: nosuch/*.csv: no such file or folder"}},
		{"no such file", nil, nil, Options{Path: Strings{"nosuch.csv"}}, []string{"read fault: nosuch.csv: no such file or folder"}},
		{"a file that has just changed", map[string][]byte{"d/a.csv": utf}, nil, Options{Path: Strings{"d"}, Settle: time.Minute}, []string{"files ok", "settle note: 1 file changed within the last 1m0s; nothing: a later run reads them"}},
		{"append for a format that cannot", map[string][]byte{"d/a.json": []byte("[]")}, nil, Options{Path: Strings{"d"}, OnChange: "append"}, []string{"read fault: d/a.json: on_change: append works with csv and jsonl only", "files ok"}},
		{"a format that brings its types", map[string][]byte{"d/a.parquet": parquet.Bytes()}, nil, Options{Path: Strings{"d"}}, []string{"files ok", "columns ok: d/a.parquet has "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newProject(t)
			if c.order == nil {
				for name := range c.files {
					p.write(name, c.files[name])
				}
			}
			for _, name := range c.order {
				p.write(name, c.files[name])
			}
			got := p.preflight(c.o)
			for i, line := range got {
				if i >= len(c.want) || !strings.HasPrefix(line, c.want[i]) {
					t.Errorf("line %d is %s", i+1, line)
				}
			}
			if len(got) != len(c.want) {
				t.Errorf("%d lines, want %d:\n%s", len(got), len(c.want), strings.Join(got, "\n"))
			}
		})
	}
}

func TestPreflightDoesNotLookIntoEverything(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	for i := range lookedFiles + 3 {
		p.write(fmt.Sprintf("d/%02d.csv", i), []byte("a\n1\n"))
	}
	// Larger than what is looked into, and of no bytes on the disk. It is the newest.
	p.write("d/large.csv", nil)
	if err := os.Truncate(filepath.Join(p.dir, "d/large.csv"), lookedFirst+1); err != nil {
		t.Fatal(err)
	}
	p.now = p.now.Add(time.Second)
	if err := os.Chtimes(filepath.Join(p.dir, "d/large.csv"), p.now, p.now); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(p.preflight(Options{Path: Strings{"d"}}), "\n")
	for _, want := range []string{"files ok: 24 files, 2048.0 MiB; the newest is d/large.csv", "files note: 4 files not looked into", "encoding ok: d/22.csv, as 19 more, is ASCII"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}

func TestPreflightMovesNothing(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.write("a.csv", []byte("a\n1\n"))
	src := p.open(Options{Path: Strings{"a.csv"}})
	if _, err := src.Preflight(t.Context()); err != nil {
		t.Fatal(err)
	}
	rows := 0
	for b, err := range src.Read(t.Context(), connectors.Stream{Name: "s", Shard: "a.csv"}, nil) {
		if err != nil {
			t.Fatal(err)
		}
		rows += int(b.Record.NumRows())
	}
	if rows != 1 {
		t.Errorf("%d rows after a preflight, want 1", rows)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := src.Preflight(ctx); err == nil {
		t.Error("a preflight whose context is cancelled has no error")
	}
}
