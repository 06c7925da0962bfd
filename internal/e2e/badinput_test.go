package e2e

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
)

// source writes a source with one stream of observations; read is what stands in its read option.
func (p *project) source(t *testing.T, name, read string) {
	t.Helper()
	p.write(t, "sources/"+name+".yaml", sourceYAML(name, read))
}

func sourceYAML(name, read string) string {
	return fmt.Sprintf(`source: %s
title: %[1]s
owner: test
connector: file
streams:
  - name: rows
    read: %s
    map:
      schema: observation
      fields:
        indicator: {value: T}
        region: {from: region, region: {within: "330000"}}
        subject: subject
        grain: {value: day}
        feed: {value: source}
        period: {from: day, parse: date}
        value: {from: value, parse: number}
`, name, read)
}

const figureHeader = "region,subject,day,value\n"

// lines gives so many good rows, whose subjects begin with the name.
func lines(name string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "上城区,%s%d,2024-01-%02d,%d\n", name, i+1, i%28+1, i+1)
	}
	return b.String()
}

// summary is the run's table, by source.
func summary(t *testing.T, r result) map[string]map[string]string {
	t.Helper()
	var rows []map[string]any
	dec := json.NewDecoder(strings.NewReader(r.out))
	dec.UseNumber()
	if err := dec.Decode(&rows); err != nil {
		t.Fatalf("%v\n%s\n%s", err, r.out, r.err)
	}
	out := map[string]map[string]string{}
	for _, row := range rows {
		line := map[string]string{}
		for k, v := range row {
			line[k] = fmt.Sprint(v)
		}
		out[line["source"]] = line
	}
	return out
}

// says fails unless the command's messages hold every text.
func says(t *testing.T, r result, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(r.err, text) {
			t.Errorf("nothing says %q:\n%s", text, r.err)
		}
	}
}

func code(t *testing.T, r result, want int) {
	t.Helper()
	if r.code != want {
		t.Errorf("exit code %d, want %d\n%s\n%s", r.code, want, r.out, r.err)
	}
}

const badYAML = `project: bad
broker: {partitions: 2, session: 1s}
limits: {readers: 2}
`

// expectedLine is what the run's table must say of a source.
type expectedLine struct {
	source, outcome           string
	read, loaded, quarantined int
}

func (e expectedLine) check(t *testing.T, table map[string]map[string]string) {
	t.Helper()
	line, ok := table[e.source]
	if !ok {
		t.Errorf("the summary has no source %s", e.source)
		return
	}
	got := fmt.Sprintln(line["outcome"], line["read"], line["extracted"], line["loaded"], line["quarantined"], line["balanced"])
	if want := fmt.Sprintln(e.outcome, e.read, e.read, e.loaded, e.quarantined, "yes"); got != want {
		t.Errorf("%s: outcome, read, extracted, loaded, quarantined, balanced: %swant %s", e.source, got, want)
	}
}

// quarantinedRow is a row of the quarantine as a query shows it.
type quarantinedRow struct{ place, row, rule, reason, raw string }

func (p *project) quarantined(t *testing.T, source string) []quarantinedRow {
	t.Helper()
	var out []quarantinedRow
	for _, r := range p.query(t, "SELECT place, toString(row) AS row, arrayStringConcat(rules, ' ') AS rules, arrayStringConcat(reasons, '; ') AS reasons, raw FROM quarantine FINAL WHERE status = 'open' AND source = '"+source+"' ORDER BY place, quarantine.row") {
		out = append(out, quarantinedRow{fmt.Sprint(r["place"]), fmt.Sprint(r["row"]), fmt.Sprint(r["rules"]), fmt.Sprint(r["reasons"]), fmt.Sprint(r["raw"])})
	}
	return out
}

func (p *project) expectQuarantined(t *testing.T, source string, want ...quarantinedRow) {
	t.Helper()
	got := p.quarantined(t, source)
	if len(got) != len(want) {
		t.Errorf("%s: quarantine holds %+v, want %+v", source, got, want)
		return
	}
	for i := range want {
		if want[i].raw == "" {
			got[i].raw = ""
		}
		if got[i] != want[i] {
			t.Errorf("%s: quarantine holds %+v, want %+v", source, got[i], want[i])
		}
	}
}

// loaded gives the source's current rows as "subject=value …".
func (p *project) loaded(t *testing.T, source string) string {
	t.Helper()
	return p.one(t, "SELECT arrayStringConcat(arraySort(groupArray(concat(subject, '=', toString(value)))), ' ') FROM observation_current WHERE source = '"+source+"'")
}

// parquetFile makes a Parquet file of figures; the values are of the type that parse gives them.
func parquetFile(t *testing.T, name string, valueType arrow.DataType, values []string, columns ...string) []byte {
	t.Helper()
	fields := []arrow.Field{{Name: "region", Type: arrow.BinaryTypes.String}, {Name: "subject", Type: arrow.BinaryTypes.String}, {Name: "day", Type: arrow.BinaryTypes.String}, {Name: "value", Type: valueType}}
	for _, c := range columns {
		fields = append(fields, arrow.Field{Name: c, Type: arrow.BinaryTypes.String, Nullable: true})
	}
	b := array.NewRecordBuilder(memory.NewGoAllocator(), arrow.NewSchema(fields, nil))
	defer b.Release()
	for i, v := range values {
		b.Field(0).(*array.StringBuilder).Append("上城区")
		b.Field(1).(*array.StringBuilder).Append(name + strconv.Itoa(i+1))
		b.Field(2).(*array.StringBuilder).Append("2024-01-02")
		if err := b.Field(3).AppendValueFromString(v); err != nil {
			t.Fatal(err)
		}
		for c := range columns {
			b.Field(4 + c).AppendNull()
		}
	}
	rec := b.NewRecord()
	defer rec.Release()
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(rec.Schema(), &out, parquet.NewWriterProperties(), pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(rec); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zipFile(t *testing.T, members ...[2]string) string {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, m := range members {
		w, err := z.Create(m[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(m[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestBadInputIsNamedAndHarmsNothingElse has one project with every kind of broken source and file, beside a good one.
func TestBadInputIsNamedAndHarmsNothingElse(t *testing.T) {
	t.Parallel()
	p := newProject(t, map[string]string{"headwater.yaml": badYAML, "indicators/t.yaml": indicatorYAML})
	// Sources whose configuration is broken.
	p.write(t, "sources/x-yaml.yaml", "source: x-yaml\nowner: test\nstreams: [\n  - name: rows\n")
	p.write(t, "sources/x-connector.yaml", strings.Replace(sourceYAML("x-connector", "{path: data/good.csv}"), "connector: file", "connector: fil", 1))
	p.write(t, "sources/x-field.yaml", strings.Replace(sourceYAML("x-field", "{path: data/good.csv}"), "subject: subject", "subjekt: subject", 1))
	// Files that are broken.
	p.source(t, "good", "{path: data/good.csv}")
	p.write(t, "data/good.csv", figureHeader+lines("g", 10))
	p.source(t, "crowded", "{path: data/crowded.csv}")
	p.write(t, "data/crowded.csv", figureHeader+lines("c", 3)+"上城区,c4,2024-01-04,4,5,6\n上城区,c5,2024-01-05\n"+strings.Replace(lines("c", 6), lines("c", 5), "", 1))
	p.source(t, "bytes", "{path: data/bytes.csv}")
	p.write(t, "data/bytes.csv", figureHeader+lines("b", 3)+"上城区,b\x80\xff4,2024-01-04,4\n"+strings.Replace(lines("b", 5), lines("b", 4), "", 1))
	p.source(t, "gone", "{path: data/gone.csv}")
	p.source(t, "denied", "{path: data/denied.csv}")
	p.write(t, "data/denied.csv", figureHeader+lines("d", 2))
	p.source(t, "cut", "{path: data/cut.parquet}")
	whole := parquetFile(t, "p", arrow.PrimitiveTypes.Float64, []string{"1", "2", "3"})
	p.write(t, "data/cut.parquet", string(whole[:len(whole)-100]))
	p.source(t, "climbing", "{path: data/climbing.zip}")
	p.write(t, "data/climbing.zip", zipFile(t, [2]string{"../../climbed.csv", figureHeader + lines("e", 1)}, [2]string{"inside.csv", figureHeader + lines("z", 2)}))
	p.source(t, "empty", "{path: data/empty.csv}")
	p.write(t, "data/empty.csv", "")
	p.source(t, "header", "{path: data/header.csv}")
	p.write(t, "data/header.csv", figureHeader)
	p.write(t, "sources/column.yaml", strings.Replace(sourceYAML("column", "{path: data/column.csv}"), "from: value", "from: amount", 1))
	p.write(t, "data/column.csv", figureHeader+lines("m", 2))
	deny(t, filepath.Join(p.dir, "data/denied.csv"))

	problems := []string{
		"sources/x-connector.yaml:4:1: unknown connector \"fil\" (did you mean \"file\"? headwater connectors lists all)\n",
		"sources/x-field.yaml:13:9: schema observation has no field \"subjekt\" (did you mean \"subject\"?)\n",
		"sources/x-yaml.yaml:3:10: not valid YAML: sequence end token ']' not found\n",
	}
	checked := p.run(t, nil, "check")
	code(t, checked, 2)
	says(t, checked, append(problems, "headwater: 3 problems in the configuration\n")...)

	r := p.runWithoutRights(t, "run", "--json")
	code(t, r, 1)
	table := summary(t, r)
	says(t, r, problems...)
	says(t, r, "left out for 3 problems in the configuration (headwater check): sources/x-connector.yaml, sources/x-field.yaml, sources/x-yaml.yaml\n")
	for _, test := range []struct {
		name string
		line expectedLine
		said string
		rows []quarantinedRow
	}{
		{name: "a good source beside them is loaded", line: expectedLine{"good", "done", 10, 10, 0}},
		{name: "rows with too many or too few fields", line: expectedLine{"crowded", "done", 6, 4, 2}, rows: []quarantinedRow{
			{"data/crowded.csv", "5", "csv.fields", "line 5: 6 fields, expected 4", "上城区,c4,2024-01-04,4,5,6"},
			{"data/crowded.csv", "6", "csv.fields", "line 6: 3 fields, expected 4", "上城区,c5,2024-01-05"},
		}},
		{name: "bytes that are no UTF-8 in the middle", line: expectedLine{"bytes", "done", 5, 4, 1}, rows: []quarantinedRow{
			{"data/bytes.csv", "5", "utf8", "line 5, character 6: byte 0x80 at offset 114 is not UTF-8", ""},
		}},
		{name: "a file that is not there", line: expectedLine{"gone", "failed", 0, 0, 0}, said: "source gone, stream rows: data/gone.csv: no such file or folder\n"},
		{name: "a file that may not be read", line: expectedLine{"denied", "failed", 0, 0, 0}, said: "source denied, stream rows: data/denied.csv: permission denied: give the account that runs Headwater the right to read it\n"},
		{name: "a Parquet file cut short", line: expectedLine{"cut", "failed", 0, 0, 0}, said: "source cut, stream rows: data/cut.parquet: the Parquet file is cut short: its footer is missing after 713 bytes\n"},
		{name: "a zip with paths that climb out", line: expectedLine{"climbing", "failed", 2, 2, 0},
			said: "source climbing, stream rows: data/climbing.zip!../../climbed.csv: the member's name leads out of the archive (..): it is refused as unsafe; look at who sent the archive\n"},
		{name: "an empty file", line: expectedLine{"empty", "failed", 0, 0, 0}, said: "source empty, stream rows: data/empty.csv: the file is empty: deliver it again, with its header at least\n"},
		{name: "a file with nothing but its header", line: expectedLine{"header", "done", 0, 0, 0}},
		{name: "a mapping that reads a column that is not there", line: expectedLine{"column", "done", 2, 0, 2}, said: "column: rows were quarantined for lack of columns that the mapping reads: rows: amount\n", rows: []quarantinedRow{
			{"data/column.csv", "2", "schema.column-missing", `the source has no column "amount", which the mapping reads`, ""},
			{"data/column.csv", "3", "schema.column-missing", `the source has no column "amount", which the mapping reads`, ""},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.line.check(t, table)
			if test.said != "" {
				says(t, r, test.said)
			}
			p.expectQuarantined(t, test.line.source, test.rows...)
		})
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(p.dir), "climbed.csv")); err == nil {
		t.Error("a member of a zip was written outside of the project")
	}
	p.balanced(t)

	// Each by itself, for its exit code.
	r = p.run(t, nil, "run", "x-field")
	code(t, r, 2)
	says(t, r, problems[1])
	r = p.run(t, nil, "run", "gone")
	code(t, r, 1)
	r = p.runWithoutRights(t, "run", "denied")
	code(t, r, 3)

	// Mended, what was missing comes, and nothing comes twice.
	for _, name := range []string{"x-yaml", "x-connector", "x-field"} {
		if err := os.Remove(filepath.Join(p.dir, "sources", name+".yaml")); err != nil {
			t.Fatal(err)
		}
	}
	allow(t, filepath.Join(p.dir, "data/denied.csv"))
	p.write(t, "data/gone.csv", figureHeader+lines("o", 1))
	p.write(t, "data/cut.parquet", string(whole))
	p.write(t, "data/climbing.zip", zipFile(t, [2]string{"inside.csv", figureHeader + lines("z", 2)}))
	p.write(t, "data/empty.csv", figureHeader+lines("f", 1))
	r = p.run(t, nil, "run", "--json", "--strict")
	code(t, r, 0)
	table = summary(t, r)
	for _, line := range []expectedLine{{"good", "done", 0, 0, 0}, {"gone", "done", 1, 1, 0}, {"denied", "done", 2, 2, 0}, {"cut", "done", 3, 3, 0}, {"climbing", "done", 0, 0, 0}, {"empty", "done", 1, 1, 0}} {
		line.check(t, table)
	}
	if got := p.one(t, "SELECT concat(toString(count()), ' ', toString(uniqExact(subject))) FROM observation"); got != "27 27" {
		t.Errorf("rows, subjects: %s, want 27 27", got)
	}
	p.balanced(t)
}

// TestASourceThatIsNotAsYesterday: what the file connector and the mapping make of files that changed in every way.
func TestASourceThatIsNotAsYesterday(t *testing.T) {
	t.Parallel()
	p := newProject(t, map[string]string{"headwater.yaml": badYAML, "indicators/t.yaml": indicatorYAML})
	for _, name := range []string{"added", "removed", "retyped", "touched", "rewritten", "growing", "gone"} {
		p.source(t, name, "{path: data/"+name+".csv}")
		p.write(t, "data/"+name+".csv", figureHeader+lines(name, 3))
	}
	p.source(t, "growing", "{path: data/growing.csv, on_change: append}")
	p.source(t, "folder", "{path: data/folder}")
	p.write(t, "data/folder/1.csv", figureHeader+lines("one", 1))
	p.write(t, "data/folder/2.csv", figureHeader+lines("two", 1))
	for _, name := range []string{"typed", "wider"} {
		p.source(t, name, "{path: data/"+name+".parquet}")
		p.write(t, "data/"+name+".parquet", string(parquetFile(t, name, arrow.PrimitiveTypes.Float64, []string{"1", "2"})))
	}
	p.must(t, "run", "--strict")
	p.balanced(t)

	// The next day.
	p.write(t, "data/added.csv", "region,subject,day,value,extra\n上城区,added1,2024-01-01,1,x\n上城区,added2,2024-01-02,20,y\n上城区,added4,2024-01-04,4,\n")
	p.write(t, "data/removed.csv", "region,subject,day\n上城区,removed1,2024-01-01\n上城区,removed9,2024-01-09\n")
	p.write(t, "data/retyped.csv", figureHeader+"上城区,retyped1,2024-01-01,one\n上城区,retyped2,2024-01-02,two\n")
	p.write(t, "data/typed.parquet", string(parquetFile(t, "typed", arrow.BinaryTypes.String, []string{"one", "two"})))
	p.write(t, "data/wider.parquet", string(parquetFile(t, "wider", arrow.PrimitiveTypes.Float64, []string{"1", "2"}, "extra")))
	p.write(t, "data/growing.csv", figureHeader+lines("growing", 5))
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(filepath.Join(p.dir, "data/touched.csv"), later, later); err != nil {
		t.Fatal(err)
	}
	p.write(t, "data/rewritten.new", figureHeader+lines("rewritten", 3))
	for _, err := range []error{
		os.Rename(filepath.Join(p.dir, "data/rewritten.new"), filepath.Join(p.dir, "data/rewritten.csv")),
		os.Remove(filepath.Join(p.dir, "data/gone.csv")), os.Remove(filepath.Join(p.dir, "data/folder/1.csv")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	r := p.run(t, nil, "run", "--json")
	code(t, r, 1)
	table := summary(t, r)
	for _, test := range []struct {
		name string
		line expectedLine
		said []string
		rows []quarantinedRow
		want string // current rows
	}{
		{name: "a column was added: loaded and noted", line: expectedLine{"added", "done", 3, 3, 0}, want: "added1=1 added2=20 added4=4",
			said: []string{"added: columns changed since the last run: rows: added extra\n"}},
		{name: "a nullable column was added to Parquet: loaded and noted", line: expectedLine{"wider", "done", 2, 2, 0}, want: "wider1=1 wider2=2",
			said: []string{"wider: columns changed since the last run: rows: added extra\n"}},
		{name: "a column was removed: quarantined and flagged, and yesterday's rows stay", line: expectedLine{"removed", "done", 2, 0, 2}, want: "removed1=1 removed2=2 removed3=3",
			said: []string{"removed: columns changed since the last run: rows: removed value\n", "removed: rows were quarantined for lack of columns that the mapping reads: rows: value\n"},
			rows: []quarantinedRow{
				{"data/removed.csv", "2", "schema.column-missing", `the source has no column "value", which the mapping reads`, ""},
				{"data/removed.csv", "3", "schema.column-missing", `the source has no column "value", which the mapping reads`, ""},
			}},
		{name: "values became text: quarantined, and yesterday's rows stay", line: expectedLine{"retyped", "done", 2, 0, 2}, want: "retyped1=1 retyped2=2 retyped3=3",
			rows: []quarantinedRow{
				{"data/retyped.csv", "2", "parse.number", "“one” is not a number", ""},
				{"data/retyped.csv", "3", "parse.number", "“two” is not a number", ""},
			}},
		{name: "a column of Parquet changed its type: quarantined and flagged, and yesterday's rows stay", line: expectedLine{"typed", "done", 2, 0, 2}, want: "typed1=1 typed2=2",
			said: []string{"typed: columns changed since the last run: rows: value was float64, is utf8\n"},
			rows: []quarantinedRow{
				{"data/typed.parquet", "1", "parse.number", "“one” is not a number", ""},
				{"data/typed.parquet", "2", "parse.number", "“two” is not a number", ""},
			}},
		{name: "a file that was only touched brings nothing", line: expectedLine{"touched", "done", 0, 0, 0}, want: "touched1=1 touched2=2 touched3=3"},
		{name: "a file that was replaced by the same brings nothing", line: expectedLine{"rewritten", "done", 0, 0, 0}, want: "rewritten1=1 rewritten2=2 rewritten3=3"},
		{name: "of a file that grows only what was added is read", line: expectedLine{"growing", "done", 2, 2, 0}, want: "growing1=1 growing2=2 growing3=3 growing4=4 growing5=5"},
		{name: "a file that is gone is told, and its rows stay", line: expectedLine{"gone", "failed", 0, 0, 0}, want: "gone1=1 gone2=2 gone3=3",
			said: []string{"source gone, stream rows: data/gone.csv: no such file or folder\n"}},
		{name: "a file that is gone from a folder takes no row away", line: expectedLine{"folder", "done", 0, 0, 0}, want: "one1=1 two1=1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.line.check(t, table)
			says(t, r, test.said...)
			p.expectQuarantined(t, test.line.source, test.rows...)
			if got := p.loaded(t, test.line.source); got != test.want {
				t.Errorf("current rows: %s, want %s", got, test.want)
			}
		})
	}
	p.balanced(t)

	// The day after, the department has put it right: the new content replaces both what was loaded and what was quarantined.
	for _, name := range []string{"removed", "retyped"} {
		p.write(t, "data/"+name+".csv", figureHeader+lines(name, 2))
	}
	p.write(t, "data/growing.csv", figureHeader+"上城区,other,2024-01-01,1\n"+lines("growing", 6))
	r = p.run(t, nil, "run", "--json")
	code(t, r, 1)
	table = summary(t, r)
	for _, name := range []string{"removed", "retyped"} {
		expectedLine{name, "done", 2, 2, 0}.check(t, table)
		p.expectQuarantined(t, name)
		if got, want := p.loaded(t, name), name+"1=1 "+name+"2=2"; got != want {
			t.Errorf("current rows: %s, want %s", got, want)
		}
	}
	says(t, r, "source growing, stream rows: data/growing.csv: the content that was read before changed, but on_change is append: set on_change: replace, or deliver the file with its old content first\n")
	p.balanced(t)
}
