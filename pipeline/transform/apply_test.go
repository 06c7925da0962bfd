package transform

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/internal/secret"
	"github.com/headwater-data/headwater/internal/yamlfile"
	"github.com/headwater-data/headwater/schemas"
)

// testStream is a stream as a source's YAML declares it, as far as it is this package's.
type testStream struct {
	Map    Spec         `yaml:"map"`
	Filter []FilterSpec `yaml:"filter,omitempty"`
	Keep   []string     `yaml:"keep,omitempty"`
}

// shapeOf makes a shape of one stream "s/t" from YAML.
func shapeOf(t testing.TB, text string) *Shape {
	t.Helper()
	var s testStream
	if _, problems := yamlfile.Decode("test.yaml", []byte(text), &s); len(problems) > 0 {
		t.Fatalf("yaml: %v", problems)
	}
	return &Shape{Set: schemas.Standard(), Streams: []StreamShape{{Source: "s", Stream: "t", Map: s.Map, Filter: s.Filter, Keep: s.Keep}}}
}

func testKeys(name string) (secret.Value, error) { return secret.New("key-" + name), nil }

// mappingOf compiles the stream of shapeOf.
func mappingOf(t testing.TB, mem memory.Allocator, shape *Shape) *Mapping {
	t.Helper()
	p, err := Compile(shape, Options{Allocator: mem, Keys: testKeys})
	if err != nil {
		t.Fatal(err)
	}
	m, ok := p.Stream("s", "t")
	if !ok {
		t.Fatal("no stream s/t")
	}
	return m
}

// checked is an allocator that fails the test if anything is not released.
func checked(t testing.TB) *memory.CheckedAllocator {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	t.Cleanup(func() { mem.AssertSize(t, 0) })
	return mem
}

const null = "␀"

// table makes a record of text columns; the first line names them, null stands for null.
func table(t testing.TB, mem memory.Allocator, lines ...string) arrow.Record {
	t.Helper()
	names := strings.Split(lines[0], "|")
	var fields []arrow.Field
	for _, n := range names {
		fields = append(fields, arrow.Field{Name: n, Type: arrow.BinaryTypes.String, Nullable: true})
	}
	b := array.NewRecordBuilder(mem, arrow.NewSchema(fields, nil))
	defer b.Release()
	for _, line := range lines[1:] {
		cells := strings.Split(line, "|")
		if len(cells) != len(names) {
			t.Fatalf("%q has %d cells, want %d", line, len(cells), len(names))
		}
		for i, c := range cells {
			if c == null {
				b.Field(i).AppendNull()
			} else {
				b.Field(i).(*array.StringBuilder).Append(c)
			}
		}
	}
	rec := b.NewRecord()
	t.Cleanup(rec.Release)
	return rec
}

// lines writes the named columns of records as text, one line a record.
func lines(rec arrow.Record, names ...string) []string {
	out := make([]string, rec.NumRows())
	for i := range out {
		var cells []string
		for _, n := range names {
			arr := columnOf(rec, n)
			cell := null
			if arr.IsValid(i) {
				t, ok := newTexts(arr)
				if !ok {
					panic(arr.DataType().String())
				}
				b, _ := t.at(i)
				cell = string(b)
			}
			cells = append(cells, cell)
		}
		out[i] = strings.Join(cells, "|")
	}
	return out
}

func apply(t testing.TB, m *Mapping, rec arrow.Record) *Result {
	t.Helper()
	r, err := m.Apply(context.Background(), rec, ApplyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Release)
	accounted(t, rec, r)
	return r
}

// accounted checks that every row ends in exactly one of loaded, quarantined and filtered.
func accounted(t testing.TB, rec arrow.Record, r *Result) {
	t.Helper()
	fate := make([]string, rec.NumRows())
	put := func(row uint32, what string) {
		if fate[row] != "" && fate[row] != what {
			t.Errorf("row %d is both %s and %s", row, fate[row], what)
		}
		fate[row] = what
	}
	for i, row := range r.Row {
		if i > 0 && row < r.Row[i-1] {
			t.Errorf("rows go down at record %d", i)
		}
		put(row, "loaded")
	}
	seen := map[uint32]bool{}
	for _, q := range r.Quarantined {
		if seen[q.Row] {
			t.Errorf("row %d is quarantined twice", q.Row)
		}
		seen[q.Row] = true
		if len(q.Breaks) == 0 {
			t.Errorf("row %d is quarantined without a reason", q.Row)
		}
		put(q.Row, "quarantined")
	}
	for _, f := range r.Filtered {
		if seen[f.Row] {
			t.Errorf("row %d is filtered twice", f.Row)
		}
		seen[f.Row] = true
		put(f.Row, "filtered")
	}
	for row, f := range fate {
		if f == "" {
			t.Errorf("row %d is lost", row)
		}
	}
	if int(r.Records.NumRows()) != len(r.Row) {
		t.Errorf("%d records, %d rows", r.Records.NumRows(), len(r.Row))
	}
}

// broken lists the quarantined rows as "row: rule field, …".
func broken(r *Result) []string {
	var out []string
	for _, q := range r.Quarantined {
		var rules []string
		for _, b := range q.Breaks {
			rules = append(rules, strings.TrimSpace(b.Rule+" "+b.Field))
		}
		out = append(out, fmt.Sprintf("%d: %s", q.Row, strings.Join(rules, ", ")))
	}
	return out
}

func TestApplyMapsARow(t *testing.T) {
	mem := checked(t)
	m := mappingOf(t, mem, shapeOf(t, `
map:
  schema: observation
  fields:
    indicator: { value: LV-FACTORY }
    region: { from: 地区, region: { within: "330000" } }
    period: { from: 日期, parse: date }
    value: { from: 数量, parse: number }
    subject: 站点
    grain: { value: day }
    feed: { value: direct }
    unit: { value: 个 }
`))
	rec := table(t, mem, "地区|日期|数量|站点",
		"杭州市|2021年3月5日|6.08万个|甲",
		"下城区|2021-05-01|1,498.9|乙",
		"江干区|2021-05-01|x|"+null)
	r := apply(t, m, rec)
	for _, l := range lines(r.Records, "indicator", "region", "period", "value", "subject", "grain", "feed", "unit", "member", "note") {
		t.Log(l)
	}
	t.Log(r.Flags, broken(r))
	for _, q := range r.Quarantined {
		t.Log(q, string(q.Columns))
	}
}
