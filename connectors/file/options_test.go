package file

import (
	"archive/zip"
	"strings"
	"testing"
	"time"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/internal/yamlfile"
)

func TestOptionsFromYAML(t *testing.T) {
	cases := []struct {
		name, yaml string
		want       Options
	}{
		{"one path, one header row, one sheet by number", "path: data/*.xlsx\nheader: 3\nsheet: 2\n", Options{Path: Strings{"data/*.xlsx"}, Header: HeaderRows{3}, Sheet: Strings{"2"}}},
		{"lists", "path: [a.csv, b.csv]\nheader: [3, 4]\nsheet: [1月, 2月]\nsettle: 30s\n", Options{Path: Strings{"a.csv", "b.csv"}, Header: HeaderRows{3, 4}, Sheet: Strings{"1月", "2月"}, Settle: 30 * time.Second}},
		{"no header", "path: a.csv\nheader: 0\ndelimiter: \"\\t\"\n", Options{Path: Strings{"a.csv"}, Header: HeaderRows{0}, Delimiter: "\t"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			options := Definition().Stream()
			if _, problems := yamlfile.Decode("source.yaml", []byte(c.yaml), options); len(problems) > 0 {
				t.Fatal(problems)
			}
			diff(t, "options", *options.(*Options), c.want)
			if faults := options.(*Options).check("s"); len(faults) > 0 {
				t.Error(faults)
			}
		})
	}
	_, problems := yamlfile.Decode("source.yaml", []byte("path: {a: 1}\nheader: [x]\n"), Definition().Stream())
	if len(problems) != 2 {
		t.Errorf("wrong types gave %v", problems)
	}
}

func TestOptionFaults(t *testing.T) {
	cases := []struct {
		name    string
		options Options
		want    string // "option: part of the message or fix"
	}{
		{"no path", Options{}, "path: no path"},
		{"an unfinished glob", Options{Path: Strings{"data/[a"}}, "path: not a valid glob"},
		{"an extension that says nothing", Options{Path: Strings{"data/a.txt"}}, "path: set format"},
		{"an unknown format", Options{Path: Strings{"a"}, Format: "xml"}, "format: csv, jsonl, json, xlsx, parquet"},
		{"an unknown encoding", Options{Path: Strings{"a.csv"}, Encoding: "big5"}, "encoding: unknown encoding"},
		{"append for a spreadsheet", Options{Path: Strings{"a"}, Format: "xlsx", OnChange: "append"}, "on_change: csv and jsonl only"},
		{"an empty file where nothing is deleted", Options{Path: Strings{"a"}, OnChange: "merge", AllowEmpty: true}, "allow_empty: on_change: replace alone"},
		{"header rows that fall", Options{Path: Strings{"a.csv"}, Header: HeaderRows{4, 3}}, "header: rise"},
		{"a header among skipped rows", Options{Path: Strings{"a.csv"}, Header: HeaderRows{2}, SkipRows: 2}, "header: leave skip_rows out"},
		{"a delimiter of two characters", Options{Path: Strings{"a.csv"}, Delimiter: ";;"}, "delimiter: one character"},
		{"quote and delimiter alike", Options{Path: Strings{"a.csv"}, Delimiter: "'", Quote: "'"}, "quote: the same"},
		{"rows larger than a batch", Options{Path: Strings{"a.csv"}, MaxRowBytes: 5 << 20}, "max_row_bytes: 64 to 4194304"},
		{"a column twice", Options{Path: Strings{"a.csv"}, Columns: []string{"a", "a"}}, "columns: there twice"},
	}
	d := Definition()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			streams := map[string]any{"s": &c.options}
			faults := d.Check(d.Config(), streams)
			option, text, _ := strings.Cut(c.want, ": ")
			if len(faults) != 1 || faults[0].Stream != "s" || faults[0].Path[0] != option || !strings.Contains(faults[0].Message+" "+faults[0].Fix, text) {
				t.Errorf("got %+v, want %s", faults, c.want)
			}
			if _, err := d.Open(connectors.Environment{Dir: t.TempDir()}, d.Config(), streams); err == nil {
				t.Error("opened in spite of it")
			}
		})
	}
}

// FuzzMemberNames: no panic; a name that is taken is UTF-8, relative, and leads nowhere but down.
func FuzzMemberNames(f *testing.F) {
	for _, name := range []string{"a.csv", "../a", `..\a`, "/a", "C:\\a", "a/../../b", "\xb5\xd8\xc7\xf8.csv", "a\x00b", "\x81\x5c..\\x", "./a", "a//b/"} {
		f.Add(name, true)
		f.Add(name, false)
	}
	f.Fuzz(func(t *testing.T, name string, nonUTF8 bool) {
		got, err := memberName(&zip.File{FileHeader: zip.FileHeader{Name: name, NonUTF8: nonUTF8}})
		if err != nil {
			return
		}
		if got != strings.ToValidUTF8(got, "") || got == "" || strings.HasPrefix(got, "/") || strings.ContainsAny(got, "\\\x00") {
			t.Errorf("%q was taken as %q", name, got)
		}
		for part := range strings.SplitSeq(got, "/") {
			if part == ".." {
				t.Errorf("%q was taken as %q", name, got)
			}
		}
	})
}
