package transform

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

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

// observation is a mapping of the demo's kind; extra lines stand below map.
func observation(fields string, extra ...string) string {
	return `
map:
  schema: observation
  fields:
    grain: { value: month }
    feed: { value: direct }
` + fields + strings.Join(extra, "")
}

const plainFields = `
    indicator: { value: LV-FACTORY }
    region: { from: 地区, region: { within: "330000" } }
    period: { from: 月份, parse: period }
    value: { from: 数量, parse: number, 'null': [—, /, 无] }
`

func TestApply(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name    string
		mapping string
		lookups map[string]Table
		rows    []string
		show    []string
		want    []string
		broken  []string
		flags   [][]string
		filter  []string
	}{
		{
			name:    "fields, constants and defaults fill a record",
			mapping: observation(plainFields + "    subject: 站点\n    unit: { value: 个 }\n"),
			rows:    []string{"地区|月份|数量|站点", "杭州市|2021年3月|6.08万个| 甲　", "缙云|202104|1,498|" + null},
			show:    []string{"indicator", "region", "member", "subject", "grain", "period", "feed", "value", "unit", "note"},
			want:    []string{"LV-FACTORY|330100||甲|month|2021-03-01T00:00:00+08:00|direct|60800|个|␀", "LV-FACTORY|331122|||month|2021-04-01T00:00:00+08:00|direct|1498|个|␀"},
		},
		{
			name:    "a row lists every rule that it breaks",
			mapping: observation(plainFields),
			rows:    []string{"地区|月份|数量", "合计|十三月|约100", "杭州|2021-03|5"},
			show:    []string{"region", "value"},
			want:    []string{"330100|5"},
			broken:  []string{"0: region.unknown region, parse.period period, parse.number value"},
		},
		{
			name:    "a null in a required field breaks required",
			mapping: observation(plainFields),
			rows:    []string{"地区|月份|数量", "杭州|2021-03|—", "杭州|2021-03|0", "|2021-03|1"},
			show:    []string{"value"},
			want:    []string{"0"},
			broken:  []string{"0: required value", "2: required region"},
		},
		{
			name:    "regions are resolved by the row's date",
			mapping: observation(plainFields),
			rows: []string{"地区|月份|数量", "江干区|2021-03|1", "下城区|2021-03|2", "下城区|2021-05|3", "江干区|2021-05|4", "杭州市上城区|2021-05|5",
				"330104|2021-03|6", "330103000000|2021-06|7", "3.30102E+17|2021-03|8"},
			show:   []string{"region", "value"},
			want:   []string{"330104|1", "330103|2", "330105|3", "330102|5", "330104|6", "330105|7"},
			broken: []string{"3: region.ambiguous region", "7: region.damaged region"},
			flags:  [][]string{nil, nil, {"region.inexact"}, nil, nil, {"region.inexact"}},
		},
		{
			name: "what is no region becomes a member of the region above it",
			mapping: observation(`
    indicator: { value: X }
    region:
      region: { codes: [码, 省码], names: [名, 省, 国], member: member, aliases: { 中国: "330000", 高新区: "330108" } }
    period: { from: 月份 , parse: month }
    value: v
`),
			rows: []string{"码|名|省码|省|国|月份|v", "330100|杭州市|330000|浙江省|中国|2021-03|1", "3300y1|境外输入|330000|浙江省|中国|2021-03|2",
				"|省十里丰监狱|330000|浙江省|中国|2021-03|3", "||330000|浙江省|中国|2021-03|4", "|||" + null + "|中国|2021-03|5", "|高新区|330000|浙江省|中国|2021-03|6",
				"|西湖区||浙江省|中国|2021-03|7", "|||||2021-03|8", "|外星||外星|外星|2021-03|9", "|杭州市本级|330000|浙江省|中国|2021-03|10"},
			show:   []string{"region", "member", "value"},
			want:   []string{"330100||1", "330000|境外输入|2", "330000|省十里丰监狱|3", "330000||4", "330000||5", "330108||6", "330106||7", "330100|杭州市本级|10"},
			broken: []string{"7: required region", "8: region.unknown region"},
		},
		{
			name:    "filters leave rows out, also ones that break rules",
			mapping: observation(plainFields, "filter:\n  - { name: subtotal, when: 'col[\"地区\"] in [\"合计\", \"小计\"]' }\n  - { name: note, when: '(col[\"地区\"] ?? \"\") startsWith \"注\"' }\n"),
			rows:    []string{"地区|月份|数量", "合计|x|y", "杭州|2021-03|5", "注：数据|" + null + "|" + null, null + "|2021-03|1"},
			show:    []string{"value"},
			want:    []string{"5"},
			broken:  []string{"3: required region"},
			filter:  []string{"0 subtotal", "2 note"},
		},
		{
			name: "unpivot makes a record of each cell that is not null",
			mapping: observation(`
    region: { from: 地区 }
    period: { from: 月份, parse: month }
    value: { parse: number, 'null': [NA] }
    unit: { value: µg/m³ }
`, `
  unpivot:
    columns: { PM: AIR-PM25, O3: AIR-O3 }
`),
			rows:   []string{"地区|月份|PM|O3", "330102|2021-03|35|160", "330105|2021-03|NA|80", "330106|2021-03|NA|", "330108|2021-03|x|1", "330109|2021-03|x|y"},
			show:   []string{"region", "indicator", "value", "unit"},
			want:   []string{"330102|AIR-O3|160|µg/m³", "330102|AIR-PM25|35|µg/m³", "330105|AIR-O3|80|µg/m³"},
			broken: []string{"3: parse.number value", "4: parse.number value, parse.number value"},
			filter: []string{"2 unpivot.empty"},
		},
		{
			name: "unpivot's constants may differ, and units are converted for each column",
			mapping: observation(`
    region: 地区
    period: { from: 月份, parse: month }
    value: { parse: number, unit: µg/m³ }
    subject: 站
`, `
  unpivot:
    columns:
      CO: { indicator: AIR-CO, unit: mg/m³, level: city }
      O3: { indicator: AIR-O3, unit: µg/m³, subject: 固定 }
`),
			rows: []string{"地区|月份|CO|O3|站", "330102|2021-03|300|80|甲"},
			show: []string{"indicator", "value", "unit", "level", "subject"},
			want: []string{"AIR-CO|0.3|mg/m³|city|甲", "AIR-O3|80|µg/m³|␀|固定"},
		},
		{
			name: "unpivot keeps nulls when told, with the default",
			mapping: observation(`
    region: 地区
    period: { from: 月份, parse: month }
    value: { default: 0 }
`, `
  unpivot:
    keep_null: true
    columns: { a: A, b: B }
`),
			rows: []string{"地区|月份|a|b", "330102|2021-03||2"},
			show: []string{"indicator", "value"},
			want: []string{"A|0", "B|2"},
		},
		{
			name: "rules over records: errors quarantine, warnings flag, nulls decide nothing",
			mapping: observation(plainFields+`
    numerator: 分子
    denominator: 分母
`, `
  rules:
    - { name: ratio.over, when: numerator > denominator, message: more than all }
    - { name: value.large, when: value >= 100, severity: warning }
    - { name: ratio.parts, when: (numerator == nil) != (denominator == nil) }
`),
			rows:   []string{"地区|月份|数量|分子|分母", "杭州|2021-03|1|3|2", "杭州|2021-03|100|1|2", "杭州|2021-03|1||", "杭州|2021-03|1|3|", "杭州|2021-03|x|3|2"},
			show:   []string{"value"},
			want:   []string{"100", "1"},
			broken: []string{"0: ratio.over", "3: ratio.parts", "4: parse.number value, ratio.over"},
			flags:  [][]string{{"value.large"}, nil},
		},
		{
			name: "coalesce, concat, split and expressions make values of several columns",
			mapping: observation(`
    indicator: { coalesce: [甲, 乙], 'null': [无] }
    region: { split: { column: 路径, separator: "/", part: -1 } }
    period: { concat: { columns: [年, 月], separator: "-" }, parse: month, layout: [YYYY-M] }
    value: { expr: 'number(col["a"]) / number(col["b"])' }
    subject: { split: { column: 路径, separator: "/", part: 4 } }
    note: { expr: 'col["甲"] ?? "none"' }
`),
			rows: []string{"甲|乙|路径|年|月|a|b", "无|I2|33/3301/330102|2021|3|1,000|4", "I1||330105|2021|12|1|" + null, "I3||330105|2021|12|x|1", "|无|33/|2021|13|1|0", "I4||330106|2021|1|2|8"},
			show: []string{"indicator", "region", "period", "value", "subject", "note"},
			want: []string{"I2|330102|2021-03-01T00:00:00+08:00|250||无", "I4|330106|2021-01-01T00:00:00+08:00|0.25||I4"},
			broken: []string{"1: required value", "2: expr.failed value",
				"3: required indicator, required region, parse.month period, parse.number value"},
		},
		{
			name: "codes, titles, aliases and lookups translate",
			mapping: observation(`
    indicator: { from: 项目, lookup: { file: items.csv, key: 项目, value: 指标 } }
    subject: { from: 项目, lookup: { file: items.csv, key: 项目, value: 对象 } }
    region: 地区
    period: { from: 月份, parse: month }
    value: v
    level: { from: 级, codes: { 市级: city, "１": province } }
    note: { from: 级, codes: { 市级: 甲, 1: 乙, county: 丙, 州: 丁 } }
`),
			lookups: map[string]Table{"items.csv": {Columns: []string{"项目", "指标", "对象"}, Rows: [][]string{{"阳光工厂", "LV-FACTORY", ""}, {" 厨房 ", "LV-BANQUET", "乡镇"}}}},
			rows:    []string{"项目|地区|月份|v|级", "阳光工厂|330102|2021-03|1|市级", "厨房|330102|2021-03|2|county", "市场|330102|2021-03|3|州", "厨房|330102|2021-03|4|１"},
			show:    []string{"indicator", "subject", "level", "note"},
			want:    []string{"LV-FACTORY||city|甲", "LV-BANQUET|乡镇|county|丙", "LV-BANQUET|乡镇|province|乙"},
			broken:  []string{"2: lookup.unknown indicator, lookup.unknown subject, code.unknown level"},
		},
		{
			name: "dates take their year from elsewhere",
			mapping: observation(`
    indicator: { value: X }
    region: 地区
    period: { from: 日, parse: period, year: { from: 年度 } }
    value: v
`),
			rows:   []string{"地区|日|年度|v", "330102|3月5日|2021年|1", "330102|一季度|2021|2", "330102|1-3月|２０２１|3", "330102|3月|x|4", "330102|2020年3月||5", "330102|4月|" + null + "|6"},
			show:   []string{"period", "value"},
			want:   []string{"2021-03-01T00:00:00+08:00|1", "2021-03-01T00:00:00+08:00|3", "2020-03-01T00:00:00+08:00|5"},
			broken: []string{"1: parse.period period", "3: parse.number period, parse.period period", "5: parse.period period"},
		},
		{
			name: "the 29th of February needs a leap year",
			mapping: observation(`
    indicator: { value: X }
    region: 地区
    period: { from: 日, parse: date, year: { from: 年 } }
    value: v
`),
			rows:   []string{"地区|日|年|v", "330102|2月29日|2020|1", "330102|2月29日|2021|2"},
			show:   []string{"period"},
			want:   []string{"2020-02-29T00:00:00+08:00"},
			broken: []string{"1: parse.date period"},
		},
		{
			name: "the grain of each row says where its period starts",
			mapping: `
map:
  schema: observation
  fields:
    indicator: { value: X }
    region: 地区
    grain: { from: 粒度, codes: { 月: month, 季: quarter } }
    period: { from: 期, parse: period }
    feed: { value: direct }
    value: v
`,
			rows:   []string{"地区|粒度|期|v", "330102|月|2021年1-3月|1", "330102|季|2021年1-3月|2", "330102|季|2021年3月|3", "330102|月|2021Q1|4", "330102|旬|2021年3月下旬|5"},
			show:   []string{"grain", "period", "value"},
			want:   []string{"month|2021-03-01T00:00:00+08:00|1", "quarter|2021-01-01T00:00:00+08:00|2", "quarter|2021-01-01T00:00:00+08:00|3", "xun|2021-03-21T00:00:00+08:00|5"},
			broken: []string{"3: parse.period period"},
		},
		{
			name: "implausible dates and spreadsheets' numbers are refused unless declared",
			mapping: observation(`
    indicator: { value: X }
    region: 地区
    period: { from: 日, parse: date }
    value: v
`),
			rows:   []string{"地区|日|v", "330102|44260|1", "330102|1021-03-05|2", "330102|2521-03-05|3", "330102|21-03-05|4", "330102|2150-01-01|5"},
			show:   []string{"value"},
			broken: []string{"0: parse.date period", "1: date.implausible period", "2: date.implausible period", "3: parse.date period", "4: period.plausible period"},
		},
		{
			name: "spreadsheets' day numbers are read when declared",
			mapping: observation(`
    indicator: { value: X }
    region: 地区
    period: { from: 日, parse: date, layout: [excel] }
    value: v
`),
			rows:   []string{"地区|日|v", "330102|44260|1", "330102|44260.5|2", "330102|60|3", "330102|2021年3月6日|4"},
			show:   []string{"period", "value"},
			want:   []string{"2021-03-05T00:00:00+08:00|1", "2021-03-05T12:00:00+08:00|2", "2021-03-06T00:00:00+08:00|4"},
			broken: []string{"2: parse.date period"},
		},
		{
			name:    "long numbers that a spreadsheet damaged are not taken for texts",
			mapping: observation(plainFields + "    subject: 编号\n"),
			rows:    []string{"地区|月份|数量|编号", "杭州|2021-03|1|3.30102E+17", "杭州|2021-03|1.5e2|330102199001010011", "杭州|2021-03|1|3E+17", "杭州|2021-03|1|E+17"},
			show:    []string{"subject", "value"},
			want:    []string{"330102199001010011|150", "E+17|1"},
			broken:  []string{"0: text.damaged subject", "2: text.damaged subject"},
		},
		{
			name:    "columns that the mapping does not know are ignored",
			mapping: observation(plainFields),
			rows:    []string{"地区|新列|月份|数量", "杭州|x|2021-03|1"},
			show:    []string{"value"},
			want:    []string{"1"},
		},
		{
			name:    "rows of a batch without a needed column are all quarantined",
			mapping: observation(plainFields + "    numerator: 分子\n"),
			rows:    []string{"地区|月份|分子", "杭州|2021-03|1", "x|2021-03|2"},
			broken:  []string{"0: schema.column-missing value", "1: region.unknown region, schema.column-missing value"},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			mem := checked(t)
			shape := shapeOf(t, c.mapping)
			shape.Streams[0].Lookups = c.lookups
			r := apply(t, mappingOf(t, mem, shape), table(t, mem, c.rows...))
			if len(c.show) > 0 {
				if got := lines(r.Records, c.show...); !slices.Equal(got, c.want) {
					t.Errorf("records:\n got %q\nwant %q", got, c.want)
				}
			} else if r.Records.NumRows() > 0 {
				t.Errorf("%d records", r.Records.NumRows())
			}
			if got := broken(r); !slices.Equal(got, c.broken) {
				t.Errorf("broken:\n got %q\nwant %q\n%v", got, c.broken, r.Quarantined)
			}
			if !slices.EqualFunc(r.Flags, c.flags, slices.Equal[[]string]) {
				t.Errorf("flags: got %q, want %q", r.Flags, c.flags)
			}
			var filtered []string
			for _, f := range r.Filtered {
				filtered = append(filtered, fmt.Sprintf("%d %s", f.Row, f.Rule))
			}
			if !slices.Equal(filtered, c.filter) {
				t.Errorf("filtered: got %q, want %q", filtered, c.filter)
			}
		})
	}
}

func TestMessagesShowTheValueAndWhereItStood(t *testing.T) {
	t.Parallel()
	mem := checked(t)
	m := mappingOf(t, mem, shapeOf(t, observation(plainFields, "keep: [备注]\n")))
	r := apply(t, m, table(t, mem, "备注|地区|月份|数量|别的", "说\"明|杭州|2021-03|"+strings.Repeat("长", 300)+"|x"))
	if len(r.Quarantined) != 1 || len(r.Quarantined[0].Breaks) != 1 {
		t.Fatalf("%v", r.Quarantined)
	}
	q := r.Quarantined[0]
	want := Break{Rule: "parse.number", Field: "value", Column: "数量", Message: "“" + strings.Repeat("长", 200) + "…” is not a number"}
	if q.Breaks[0] != want {
		t.Errorf("got %+v, want %+v", q.Breaks[0], want)
	}
	if got, want := string(q.Columns), `{"备注":"说\"明","地区":"杭州","月份":"2021-03","数量":"`+strings.Repeat("长", 300)+`"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestDeletedRowsNeedOnlyTheirKey(t *testing.T) {
	t.Parallel()
	mem := checked(t)
	m := mappingOf(t, mem, shapeOf(t, observation(plainFields)))
	rec := withColumn(t, mem, table(t, mem, "地区|月份|数量", "杭州|2021-03|1", "杭州|2021-04|", "杭州|x|2", "宁波|2021-05|x", "宁波|2021-06|"), "_deleted", boolColumn(mem, false, true, true, true, false))
	r := apply(t, m, rec)
	if got, want := lines(r.Records, "region", "period", "value"), []string{"330100|2021-03-01T00:00:00+08:00|1", "330100|2021-04-01T00:00:00+08:00|0", "330200|2021-05-01T00:00:00+08:00|0"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if want := []bool{false, true, true}; !slices.Equal(r.Deleted, want) {
		t.Errorf("deleted: got %v, want %v", r.Deleted, want)
	}
	if got, want := broken(r), []string{"2: parse.period period", "4: required value"}; !slices.Equal(got, want) {
		t.Errorf("broken: got %q, want %q", got, want)
	}
	if got := r.Records.Column(m.Schema().FieldIndex("value")).NullN(); got != 0 {
		t.Errorf("%d nulls in a column that knows none", got)
	}
}

func TestADeletedRowDeletesEveryRecordThatItMayHaveMade(t *testing.T) {
	t.Parallel()
	mem := checked(t)
	m := mappingOf(t, mem, shapeOf(t, observation(`
    region: 地区
    period: { from: 月份, parse: month }
`, `
  unpivot: { columns: { a: A, b: B } }
  deleted: { from: 删除, parse: bool }
`)))
	r := apply(t, m, table(t, mem, "地区|月份|a|b|删除", "330102|2021-03|||是", "330105|2021-03|1||否", "330106|2021-03|1||也许"))
	if got, want := lines(r.Records, "region", "indicator"), []string{"330102|A", "330102|B", "330105|A"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if want := []bool{true, true, false}; !slices.Equal(r.Deleted, want) {
		t.Errorf("deleted: got %v, want %v", r.Deleted, want)
	}
	if got, want := broken(r), []string{"2: parse.bool deleted"}; !slices.Equal(got, want) {
		t.Errorf("broken: got %q, want %q", got, want)
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, version string
		column        []string
		want          []uint64
		broken        []string
	}{
		{"whole numbers are versions as they are", "{ from: v }", []string{"7", "18446744073709551615"}, []uint64{7, 1<<64 - 1}, nil},
		{"times are microseconds", "{ from: v }", []string{"2021-03-05T08:00:00.5+08:00", "2021-03-05 08:00:00"}, []uint64{1614902400500000, 1614902400000000}, nil},
		{"times in other forms are parsed", "{ from: v, parse: datetime }", []string{"2021年3月5日 8时", "20210305"}, []uint64{1614902400000000, 1614873600000000}, nil},
		{"what is neither breaks a rule", "{ from: v }", []string{"x", ""}, nil, []string{"0: version.invalid version", "1: version.invalid version"}},
		{"an impossible time breaks a rule", "{ from: v, parse: datetime }", []string{"昨天", "2021-03-05"}, []uint64{1614873600000000}, []string{"0: parse.datetime version"}},
		{"a missing time breaks a rule", "{ from: v, parse: datetime }", []string{"", "1960-01-01"}, nil, []string{"0: version.invalid version", "1: version.invalid version"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			mem := checked(t)
			m := mappingOf(t, mem, shapeOf(t, observation(plainFields, "  version: "+c.version+"\n")))
			rows := []string{"地区|月份|数量|v"}
			for _, v := range c.column {
				rows = append(rows, "杭州|2021-03|1|"+v)
			}
			r := apply(t, m, table(t, mem, rows...))
			if !slices.Equal(r.Version, c.want) {
				t.Errorf("got %v, want %v", r.Version, c.want)
			}
			if got := broken(r); !slices.Equal(got, c.broken) {
				t.Errorf("broken: got %q, want %q", got, c.broken)
			}
		})
	}
	t.Run("the connector's version counts where the mapping has none", func(t *testing.T) {
		t.Parallel()
		mem := checked(t)
		m := mappingOf(t, mem, shapeOf(t, observation(plainFields)))
		base := table(t, mem, "地区|月份|数量", "杭州|2021-03|1", "杭州|x|1", "杭州|2021-04|1")
		b := array.NewUint64Builder(mem)
		defer b.Release()
		b.AppendValues([]uint64{5, 6, 7}, nil)
		r := apply(t, m, withColumn(t, mem, base, "_version", b.NewArray()))
		if want := []uint64{5, 7}; !slices.Equal(r.Version, want) {
			t.Errorf("got %v, want %v", r.Version, want)
		}
		if got := string(r.Quarantined[0].Columns); got != `{"地区":"杭州","月份":"x","数量":"1","_version":"6"}` {
			t.Errorf("the quarantined row does not carry its version: %s", got)
		}
		if r := apply(t, m, base); r.Version != nil {
			t.Errorf("versions out of nowhere: %v", r.Version)
		}
	})
}

// withColumn adds a column to a record and takes the column over.
func withColumn(t testing.TB, mem memory.Allocator, rec arrow.Record, name string, column arrow.Array) arrow.Record {
	t.Helper()
	fields := append(slices.Clone(rec.Schema().Fields()), arrow.Field{Name: name, Type: column.DataType(), Nullable: true})
	out := array.NewRecord(arrow.NewSchema(fields, nil), append(slices.Clone(rec.Columns()), column), rec.NumRows())
	column.Release()
	t.Cleanup(out.Release)
	return out
}

func boolColumn(mem memory.Allocator, values ...bool) arrow.Array {
	b := array.NewBooleanBuilder(mem)
	defer b.Release()
	b.AppendValues(values, nil)
	return b.NewArray()
}

func TestUnknownIndicatorsAreBroken(t *testing.T) {
	t.Parallel()
	mem := checked(t)
	shape := shapeOf(t, observation(strings.Replace(plainFields, "{ value: LV-FACTORY }", "指标", 1)))
	shape.Indicators = []string{"LV-FACTORY"}
	r := apply(t, mappingOf(t, mem, shape), table(t, mem, "指标|地区|月份|数量", "LV-FACTORY|杭州|2021-03|1", "LV-FACTROY|杭州|2021-03|1"))
	if got, want := broken(r), []string{"1: indicator.unknown indicator"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A figure of a period that had not begun when its row was read is no figure. Whoever maps the rows again later comes to the same,
// and a record that is there may always be taken away.
func TestAFigureOfAPeriodInTheFutureIsBroken(t *testing.T) {
	t.Parallel()
	mem := checked(t)
	m := mappingOf(t, mem, shapeOf(t, observation(plainFields)))
	rec := withColumn(t, mem, table(t, mem, "地区|月份|数量", "杭州|2021-06|1", "杭州|2021-07|2", "杭州|2021-08|3", "杭州|2031-06|4"), "_deleted", boolColumn(mem, false, false, false, true))
	for readAt, want := range map[string][]string{
		"2021-06-30T15:59:00Z": {"2: period.future period"}, // July begins in a minute, and clocks differ by more
		"2021-06-30T02:00:00Z": {"2: period.future period"},
		"2021-06-29T15:59:00Z": {"1: period.future period", "2: period.future period"},
		"2021-08-01T00:00:00Z": nil,
		"":                     nil, // nobody knows when
	} {
		at, err := time.Parse(time.RFC3339, cmp.Or(readAt, "0001-01-01T00:00:00Z"))
		if err != nil {
			t.Fatal(err)
		}
		r, err := m.Apply(t.Context(), rec, ApplyOptions{ReadAt: at})
		if err != nil {
			t.Fatal(err)
		}
		accounted(t, rec, r)
		if got := broken(r); !slices.Equal(got, want) {
			t.Errorf("read at %s: got %q, want %q", readAt, got, want)
		}
		if len(want) > 0 {
			if got, want := r.Quarantined[0].Breaks[0].Message, "breaks the rule: no figure is known before its period begins"; !strings.Contains(got, want) {
				t.Errorf("read at %s: %q does not say %q", readAt, got, want)
			}
		}
		r.Release()
	}
}

func TestSlicedRecordsAreReadFromTheirStart(t *testing.T) {
	t.Parallel()
	mem := checked(t)
	m := mappingOf(t, mem, shapeOf(t, observation(plainFields+"    subject: 站点\n    numerator: n\n")))
	rec := table(t, mem, "地区|月份|数量|站点|n", "x|x|x|x|x", "杭州|2021-03|1|甲|"+null, "宁波|2021-04|2|"+null+"|7", "y|y|y|y|y")
	part := rec.NewSlice(1, 3)
	defer part.Release()
	r := apply(t, m, part)
	if got, want := lines(r.Records, "region", "value", "subject", "numerator"), []string{"330100|1|甲|␀", "330200|2||7"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestEmptyBatches(t *testing.T) {
	t.Parallel()
	mem := checked(t)
	for _, mapping := range []string{observation(plainFields), observation("    region: 地区\n    period: 月份\n", "  unpivot: { columns: { 数量: A } }\n")} {
		m := mappingOf(t, mem, shapeOf(t, mapping))
		if r := apply(t, m, table(t, mem, "地区|月份|数量")); r.Records.NumRows() != 0 || !r.Records.Schema().Equal(m.Schema().Arrow()) {
			t.Errorf("%v", r.Records)
		}
	}
}

func TestArrays(t *testing.T) {
	t.Parallel()
	mem := checked(t)
	shape := shapeOf(t, `
map:
  schema: everything
  fields:
    id: id
    tags: a
    numbers: { from: b, parse: number }
    grains: { from: c, codes: { 月: month } }
`)
	shape.Set = everything(t)
	r := apply(t, mappingOf(t, mem, shape), table(t, mem, "id|a|b|c", "1|甲、乙；丙|1,000;2|月、day", "2|[\"a;b\",null,\"c\"]|[3]|[]", "3|||", "4|[1|x|光年", "5|[[1]]|1.5|day"))
	if got, want := lines(r.Records, "tags", "numbers", "grains"), []string{`["甲","乙","丙"]|["1000","2"]|["month","day"]`, `["a;b","c"]|["3"]|[]`, `[]|[]|[]`}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := broken(r), []string{"3: parse.array tags, parse.number numbers, code.unknown grains", "4: parse.array tags, cast.whole numbers"}; !slices.Equal(got, want) {
		t.Errorf("broken: got %q, want %q", got, want)
	}
}
