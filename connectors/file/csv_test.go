package file

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

// scanned is all that a scanner says of a text.
func scanned(src io.Reader, maxRow int) (rows [][]string, faults []string, err error) {
	s := newScanner(src, dialect{delimiter: []byte(","), quote: '"', maxRow: maxRow, rules: "csv"})
	for {
		fault, ok, err := s.next()
		if err != nil || !ok {
			return rows, faults, err
		}
		if fault != nil {
			faults = append(faults, fmt.Sprintf("%d %s", s.startLine, fault.rule))
			continue
		}
		row := []string{fmt.Sprint(s.startLine)}
		for _, f := range s.fields {
			row = append(row, string(f))
		}
		rows = append(rows, row)
	}
}

// FuzzScanner: no panic; rows, faults and line numbers do not depend on how the bytes arrive; and a text in which
// encoding/csv finds no fault gives the same rows here (it counts as rows those whose fields are all empty, and makes CRLF in
// quotes LF).
func FuzzScanner(f *testing.F) {
	for _, seed := range []string{"a,b\n1,2\n", "\"a\"\"b\",\"c\nd\"\r\n,\n\n\"\"", "\"open\n1,2\n", "\"a\"x,1\n2,3", "a\r", "\"a\"\r\nb"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		rows, faults, err := scanned(bytes.NewReader(text), 200)
		if err != nil {
			t.Fatal(err)
		}
		slowRows, slowFaults, err := scanned(iotest.OneByteReader(bytes.NewReader(text)), 200)
		if err != nil || !reflect.DeepEqual(rows, slowRows) || !reflect.DeepEqual(faults, slowFaults) {
			t.Errorf("at once %q %q, byte by byte %q %q, %v", rows, faults, slowRows, slowFaults, err)
		}
		if len(faults) > 0 || len(text) > 200 {
			return
		}
		oracle := csv.NewReader(bytes.NewReader(text))
		oracle.FieldsPerRecord = -1
		var want [][]string
		for {
			record, err := oracle.Read()
			if err == io.EOF {
				break
			}
			if err != nil {
				return // it refuses quotes within unquoted fields
			}
			line, _ := oracle.FieldPos(0)
			want = append(want, append([]string{fmt.Sprint(line)}, record...))
		}
		normal := func(rows [][]string) (out [][]string) {
			for _, row := range rows {
				empty := true
				row = append([]string(nil), row...)
				for i := range row[1:] {
					row[i+1] = strings.ReplaceAll(row[i+1], "\r\n", "\n")
					empty = empty && row[i+1] == ""
				}
				if !empty {
					out = append(out, row)
				}
			}
			return out
		}
		if got, want := normal(rows), normal(want); !reflect.DeepEqual(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestScannerTellsReadErrors(t *testing.T) {
	broken := errors.New("the disk is gone")
	src := io.MultiReader(strings.NewReader("a,b\n1,\"2\n"), iotest.ErrReader(broken))
	rows, _, err := scanned(src, 1<<20)
	if !errors.Is(err, broken) || len(rows) != 1 {
		t.Errorf("got %d rows and error %v", len(rows), err)
	}
	rows, faults, err := scanned(iotest.DataErrReader(strings.NewReader("a,b\n1,2")), 1<<20)
	if err != nil || len(rows) != 2 || len(faults) != 0 {
		t.Errorf("got %q, %q, %v", rows, faults, err)
	}
}

func TestDetectedEncodings(t *testing.T) {
	pad := strings.Repeat("x", 256<<10-1) // so that a character lies across two blocks
	cases := []struct {
		name    string
		content []byte
		want    string
	}{
		{"ASCII", []byte("a,b\n"), encASCII},
		{"nothing", nil, encASCII},
		{"UTF-8", []byte("杭州"), encChecked},
		{"UTF-8 across blocks", []byte(pad + "杭州"), encChecked},
		{"UTF-8 with NUL is checked row by row", []byte("杭\x00"), encUTF8},
		{"GB18030", gb18030("杭州"), encGB18030},
		{"GB18030 behind much ASCII", append([]byte(pad), gb18030("杭州,宁波\n")...), encGB18030},
		{"GB18030 of four bytes", gb18030("a㐀,𠀀\n"), encGB18030},
		{"UTF-8 with a fault in the middle", []byte("杭州市,宁波\n" + "温\xff州\n"), encUTF8},
		{"UTF-8 cut short", []byte("杭州市,宁\n温\xe5\xb7"), encUTF8},
		{"GB18030 with a fault in the middle", append(gb18030("杭州市,宁波\n"), "\xff\n"...), encGB18030},
		{"ASCII with one byte that is neither", []byte("abc\xff\n"), encUTF8},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := newProject(t)
			p.write("a.csv", c.content)
			src := p.open(Options{Path: Strings{"a.csv"}})
			p.shards(src)
			e, o, err := src.find(t.Context(), stream("a.csv"))
			if err != nil {
				t.Fatal(err)
			}
			content, err := openContent(e, o)
			if err != nil {
				t.Fatal(err)
			}
			defer content.Close()
			got, err := content.detect(t.Context())
			if err != nil || got != c.want {
				t.Errorf("got %s, %v; want %s", got, err, c.want)
			}
		})
	}
}
