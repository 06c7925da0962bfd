package file

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/headwater-data/headwater/connectors"
)

func TestJSONRows(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 8) + "1" + strings.Repeat("}", 8)
	many := make([]string, 0, maxRecordColumns+1)
	for i := range maxRecordColumns + 1 {
		many = append(many, fmt.Sprintf(`"c%d":1`, i))
	}
	cases := []struct {
		name    string
		file    string // defaults to a.jsonl
		content string
		options Options
		columns []string
		rows    []string
		rejects []string
		reason  string
		err     string
	}{
		{name: "nested objects and short arrays become columns, numbers keep their digits", content: `{"a":{"b":1.50,"c":[10,20]},"d":true,"e":null,"f":""}` + "\n" + `{"d":12345678901234567890}`,
			columns: []string{"a.b", "a.c.0", "a.c.1", "d", "e", "f"}, rows: []string{"1: 1.50|10|20|true|∅|", "2: ∅|∅|∅|12345678901234567890|∅|∅"}},
		{name: "arrays of arrays, long arrays and empty ones stay JSON", content: `{"a":[[1,2]],"b":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17],"c":[],"d":{}}`,
			columns: []string{"a", "b", "c", "d"}, rows: []string{"1: [[1,2]]|[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]|[]|{}"}},
		{name: "what is too deep stays JSON", content: deep, columns: []string{"a.a.a.a.a.a"}, rows: []string{`1: {"a":{"a":1}}`}},
		{name: "arrays of objects are spread out too", content: `{"a":[{"x":1},{"x":2}]}`, columns: []string{"a.0.x", "a.1.x"}, rows: []string{"1: 1|2"}},
		{name: "a broken line is rejected and reading goes on", content: "{\"a\":1}\n{\"a\":\n{\"a\":2} x\n[1\n{\"a\":3}\n",
			columns: []string{"a"}, rows: []string{"1: 1", "5: 3"}, rejects: []string{"2 json.syntax", "3 json.syntax", "4 json.syntax"}},
		{name: "a line that is no object is rejected", content: "5\n\"x\"\n{\"a\":1}\n", columns: []string{"a"}, rows: []string{"3: 1"}, rejects: []string{"1 json.record", "2 json.record"}},
		{name: "two values for one column are rejected", content: `{"a.b":1,"a":{"b":2}}` + "\n" + `{"a":1,"a":2}` + "\n" + `{"a":3}` + "\n" + `{"a":4,"a":4}` + "\n" + `{"a":5}`,
			columns: []string{"a"}, rows: []string{"3: 3", "5: 5"}, rejects: []string{"1 json.duplicate", "2 json.duplicate", "4 json.duplicate"}},
		{name: "too many columns are rejected", content: "{" + strings.Join(many, ",") + "}\n{\"a\":1}", columns: []string{"a"}, rows: []string{"2: 1"}, rejects: []string{"1 json.columns"}},
		{name: "invalid UTF-8 is rejected", content: "{\"a\":\"x\xff\"}\n{\"a\":\"杭\"}\n", columns: []string{"a"}, rows: []string{"2: 杭"}, rejects: []string{"1 utf8"}, reason: "line 1, character 8: byte 0xFF at offset 7"},
		{name: "a line that is too long is rejected", content: `{"a":"` + strings.Repeat("x", 200) + `"}` + "\n" + `{"a":1}`, options: Options{MaxRowBytes: 64}, columns: []string{"a"}, rows: []string{"2: 1"}, rejects: []string{"1 json.size"}},
		{name: "blank lines are not rows", content: "\n{\"a\":1}\n  \n\r\n{\"a\":2}\n", columns: []string{"a"}, rows: []string{"2: 1", "5: 2"}},
		{name: "declared columns are always there, and first", content: `{"b":1,"c":2}`, options: Options{Columns: []string{"a", "b"}}, columns: []string{"a", "b", "c"}, rows: []string{"1: ∅|1|2"}},
		{name: "reserved names are renamed", content: `{"_id":1,"_":2,"":3}`, columns: []string{"id_", "column_2", "column_3"}, rows: []string{"1: 1|2|3"}},
		{name: "GB18030", content: string(gb18030(`{"名称":"杭州"}`)), columns: []string{"名称"}, rows: []string{"1: 杭州"}},
		{name: "no lines, no rows", content: ""},

		{name: "an array of objects", file: "a.json", content: ` [ {"a":1} , {"a":2} ] `, columns: []string{"a"}, rows: []string{"1: 1", "2: 2"}},
		{name: "an object is one record", file: "a.json", content: `{"a":1,"b":{"c":2}}`, columns: []string{"a", "b.c"}, rows: []string{"1: 1|2"}},
		{name: "GeoJSON", file: "a.geojson", content: `{"type":"FeatureCollection","crs":{"x":[1,{"features":0}]},"features":[{"geometry":{"coordinates":[120.1,30.2]},"properties":{"aqi":"-;"}}],"after":[{}]}`,
			columns: []string{"geometry.coordinates.0", "geometry.coordinates.1", "properties.aqi"}, rows: []string{"1: 120.1|30.2|-;"}},
		{name: "records by a path", file: "a.json", content: `{"code":0,"data":{"n":1,"items":[{"a":1}]},"x":1}`, options: Options{Records: "data.items"}, columns: []string{"a"}, rows: []string{"1: 1"}},
		{name: "a path that is not there is told with what is", file: "a.json", content: `{"code":0,"data":{"n":1}}`, options: Options{Records: "data.items"}, err: `there is no "data.items": the object has "n"`},
		{name: "a bad record is rejected and the next one read", file: "a.json", content: `[{"a":1},{"a" 2},5,{"a":3}]`, columns: []string{"a"}, rows: []string{"1: 1", "4: 3"}, rejects: []string{"2 json.syntax", "3 json.record"}},
		{name: "a record that is too long is rejected", file: "a.json", content: `[{"a":"` + strings.Repeat("x", 200_000) + `"},{"a":3}]`, options: Options{MaxRowBytes: 64}, columns: []string{"a"}, rows: []string{"2: 3"}, rejects: []string{"1 json.size"}},
		{name: "invalid UTF-8 in a record", file: "a.json", content: "[{\"a\":\"\xff\"},{\"a\":\"杭州\"}]", columns: []string{"a"}, rows: []string{"2: 杭州"}, rejects: []string{"1 utf8"}},
		{name: "an empty array has no rows", file: "a.json", content: `[]`},
		{name: "a document cut short is told", file: "a.json", content: `[{"a":1},{"a":2}`, err: "a.json: JSON: line 1, offset 16: the document is cut short"},
		{name: "a document cut short behind its records is told", file: "a.json", content: `{"features":[{"a":1}],"x":`, options: Options{Records: "features"}, err: "cut short"},
		{name: "brackets that do not match are told", file: "a.json", content: `[{"a":[1}]`, err: `'}', which does not close '['`},
		{name: "text behind the document is told", file: "a.json", content: `[] []`, err: "after the end of the document"},
		{name: "an empty document is told", file: "a.json", content: ``, err: "cut short"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.file == "" {
				c.file = "a.jsonl"
			}
			p := newProject(t)
			p.write(c.file, []byte(c.content))
			c.options.Path = Strings{c.file}
			r := p.read(p.open(c.options), c.file, nil)
			if c.err != "" {
				if r.err == nil || !strings.Contains(r.err.Error(), c.err) {
					t.Errorf("got error %v, want one with %q", r.err, c.err)
				}
				return
			}
			if r.err != nil {
				t.Fatal(r.err)
			}
			diff(t, "columns", r.columns, c.columns)
			diff(t, "rows", r.rows, c.rows)
			diff(t, "rejects", r.rejects, c.rejects)
			if c.reason != "" && !strings.Contains(strings.Join(r.reasons, "\n"), c.reason) {
				t.Errorf("reasons %q lack %q", r.reasons, c.reason)
			}
		})
	}
}

// FuzzJSONStream: no panic, no value beyond its limit; the records of an array that Go's own decoder can read are those found
// here, however the bytes arrive.
func FuzzJSONStream(f *testing.F) {
	f.Add([]byte(`[{"a":"x\"]"},[1],2,"s",null]`))
	f.Add([]byte(`[1`))
	f.Fuzz(func(t *testing.T, document []byte) {
		records := func(s *jsonStream) (found []string, err error) {
			array, err := s.find(nil)
			if err != nil || !array {
				return nil, fmt.Errorf("no array: %w", err)
			}
			for first := true; ; first = false {
				b, err := s.peek()
				if err != nil {
					return found, err
				}
				if b == ']' {
					s.take(1)
					return found, s.finish(0)
				}
				if !first {
					if err := s.expect(','); err != nil {
						return found, err
					}
				}
				raw, tooLong, err := s.value(1000)
				if err != nil {
					return found, err
				}
				if len(raw) > 1000 && !tooLong {
					t.Errorf("a value of %d bytes", len(raw))
				}
				found = append(found, string(raw))
			}
		}
		got, err := records(newJSONStream(bytes.NewReader(document)))
		slow, slowErr := records(newJSONStream(iotest.OneByteReader(bytes.NewReader(document))))
		if !reflect.DeepEqual(got, slow) || (err == nil) != (slowErr == nil) {
			t.Errorf("at once %q, %v; byte by byte %q, %v", got, err, slow, slowErr)
		}
		var want []json.RawMessage
		if json.Unmarshal(document, &want) != nil || want == nil || len(document) > 1000 {
			return
		}
		if err != nil || len(got) != len(want) {
			t.Fatalf("got %d records and error %v, want %d", len(got), err, len(want))
		}
		for i := range want {
			if got[i] != string(want[i]) {
				t.Errorf("record %d is %q, want %q", i, got[i], want[i])
			}
		}
	})
}

// FuzzFlatten: no panic; an object that Go's own decoder can read, without repeated names, is read here too, and its
// top-level scalars are there.
func FuzzFlatten(f *testing.F) {
	f.Add([]byte(`{"a":{"b":[1,"x",null]},"c":[[]],"d":{}}`))
	f.Fuzz(func(t *testing.T, record []byte) {
		fl := flattener{maxDepth: 4}
		fault := fl.flatten(record)
		if fault != nil {
			return
		}
		if !json.Valid(record) {
			t.Errorf("%q was read, but is not valid", record)
		}
		for _, c := range fl.cells {
			if c.path.to > len(fl.mem) || c.text.to > len(fl.mem) {
				t.Error("a cell beyond the memory")
			}
		}
	})
}

// FuzzCursor: no panic, and what decodes encodes to the same again.
func FuzzCursor(f *testing.F) {
	f.Add([]byte(`{"v":1,"hash":"xxh64:0","size":3,"mtime":1,"at":5,"pos":{"offset":3}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeCursor(connectors.Cursor(b))
		if err != nil || c == nil {
			return
		}
		again, err := c.encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := decodeCursor(again)
		if err != nil || *back != *c {
			t.Errorf("%+v became %+v, %v", c, back, err)
		}
	})
}

func TestForeignCursorsAreRefused(t *testing.T) {
	p := newProject(t)
	p.write("a.csv", []byte("a\n1\n"))
	src := p.open(Options{Path: Strings{"a.csv"}})
	for _, cursor := range []string{"x", "{}", `{"v":2,"hash":"x"}`, `{"v":1,"hash":"x","pos":{"offset":-1}}`, `{"v":1}`} {
		if r := p.read(src, "a.csv", connectors.Cursor(cursor)); r.err == nil || len(r.cursors) > 0 || connectors.IsTransient(r.err) {
			t.Errorf("cursor %q gave %d batches and error %v", cursor, len(r.cursors), r.err)
		}
	}
}
