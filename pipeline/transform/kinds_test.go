package transform

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/schemas"
)

// ruled is a schema whose fields are all required and have rules of each kind.
func ruled(t testing.TB) *schemas.Set {
	t.Helper()
	title := schemas.Title{Zh: "x", En: "x"}
	field := func(name, kind string, rules ...schemas.Rule) schemas.Field {
		typ, err := schemas.ParseType(kind)
		if err != nil {
			t.Fatal(err)
		}
		return schemas.Field{Name: name, Title: title, Description: name, Type: typ, Required: true, Rules: rules}
	}
	number := func(f float64) *float64 { return &f }
	id := field("id", "string")
	id.Key = true
	list := &schemas.CodeList{Name: "state", Title: title, Description: "x", Codes: []schemas.Code{
		{Code: "old", Title: schemas.Title{Zh: "旧", En: "Old"}, To: "2021-04-01"},
		{Code: "new", Title: schemas.Title{Zh: "新", En: "New"}, From: "2021-04-01"},
	}}
	s := &schemas.Schema{Name: "ruled", Version: 1, Title: title, Description: "x", Lineage: true, Time: "day", Fields: []schemas.Field{
		id,
		field("text", "string", schemas.Rule{Pattern: "^[a-z]+$"}),
		field("choice", "string", schemas.Rule{OneOf: []string{"a", "b"}, Severity: "warning"}),
		field("unit_code", "string", schemas.Rule{Check: "uscc", Message: "the code is not a credit code"}),
		field("whole", "int64", schemas.Rule{Min: number(0), Max: number(10)}),
		field("fraction", "float64", schemas.Rule{Min: number(-1.5)}),
		field("amount", "decimal(9,2)", schemas.Rule{Max: number(100)}),
		field("flag", "bool"),
		field("day", "date", schemas.Rule{MinDate: "2021-01-01", MaxDate: "2021-12-31"}),
		field("moment", "timestamp", schemas.Rule{MinDate: "2021-01-01"}),
		field("state", "code(state)"),
		field("place", "region"),
		{Name: "tags", Title: title, Description: "x", Type: schemas.Type{Kind: schemas.KindArray, Elem: &schemas.Type{Kind: schemas.KindString}}},
	}}
	set, err := schemas.Standard().WithCodeList(list).WithSchema(s)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

const ruledMapping = `
map:
  schema: ruled
  fields:
    id: id
    text: text
    choice: choice
    unit_code: unit_code
    whole: whole
    fraction: fraction
    amount: amount
    flag: flag
    day: day
    moment: moment
    state: state
    place: { value: "330103" }
    tags: tags
`

const ruledHeader = "id|text|choice|unit_code|whole|fraction|amount|flag|day|moment|state|tags"

func ruledMap(t testing.TB, mem memory.Allocator, extra string) *Mapping {
	shape := shapeOf(t, ruledMapping+extra)
	shape.Set = ruled(t)
	return mappingOf(t, mem, shape)
}

func TestRulesOfEveryKind(t *testing.T) {
	t.Parallel()
	mem := checked(t)
	m := ruledMap(t, mem, "")
	r := apply(t, m, table(t, mem, ruledHeader,
		"1|abc|a|91350200MA2YJ1XR9G|10|-1.5|100.00|true|2021-03-31|2021-01-01T00:00:00|旧|甲、乙",
		"2|ABC|c|91350203M0001QAY9B|11|-1.6|100.01|true|2022-01-01|2020-12-31T23:59:59|旧|甲乙",
		"3|abc|c|91350200MA2YJ1XR9G|0|0|0|false|2021-04-01|2021-01-01T00:00:00|new|",
		"4|abc|a|91350200MA2YJ1XR9G|0|0|0|false|2021-04-01|2021-01-01T00:00:00|old|甲"))
	// The constant region is resolved by each row's own date.
	want := []string{"1|abc|10|-1.5|100.00|true|2021-03-31|old|330103", "3|abc|0|0|0.00|false|2021-04-01|new|330103"}
	if got := lines(r.Records, "id", "text", "whole", "fraction", "amount", "flag", "day", "state", "place"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := broken(r), []string{
		"1: text.pattern text, unit_code.check unit_code, whole.range whole, fraction.range fraction, amount.range amount, day.range day, moment.range moment, code.expired state",
		"3: code.expired state"}; !slices.Equal(got, want) {
		t.Errorf("broken:\n got %q\nwant %q", got, want)
	}
	if got, want := fmt.Sprint(r.Flags), "[[] [choice.one_of]]"; got != want {
		t.Errorf("flags: got %s, want %s", got, want)
	}
	var messages []string
	for _, b := range r.Quarantined[0].Breaks {
		messages = append(messages, b.Message)
	}
	wantMessages := []string{"“ABC” does not have the form ^[a-z]+$", "“91350203M0001QAY9B” breaks the rule: the code is not a credit code", "“11” is not between 0 and 10", "“-1.6” is below -1.5", "“100.01” is above 100",
		"“2022-01-01” is not between 2021-01-01 and 2021-12-31", "“2020-12-31T23:59:59+08:00” is not between 2021-01-01 and 2199-12-31", "“旧” was not valid on the row's date"}
	if !slices.Equal(messages, wantMessages) {
		t.Errorf("messages:\n got %q\nwant %q", messages, wantMessages)
	}
}

func TestIdentifiersThatASpreadsheetCutAreDamaged(t *testing.T) {
	t.Parallel()
	mem := checked(t)
	r := apply(t, mappingOf(t, mem, shapeOf(t, hotline)), table(t, mem, "工单编号|区县|受理时间|电话|姓名|证件号码|标题|正文",
		"330199199001010000|西湖区|2021-03-05|||330199199001010000||", "2|西湖区|2021-03-05|||3.30199E+17||", "3|西湖区|2021-03-05|||330199199001010011||"))
	if got, want := broken(r), []string{"0: text.damaged caller_id", "1: text.damaged caller_id"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAConstantRegionIsResolvedByTheRowsDate(t *testing.T) {
	t.Parallel()
	mem := checked(t)
	m := mappingOf(t, mem, shapeOf(t, observation(`
    indicator: { value: X }
    region: { value: "330103" }
    period: { from: p, parse: date }
    value: v
`)))
	r := apply(t, m, table(t, mem, "p|v", "2021-04-08|1", "2021-04-09|2", "2020-01-01|3"))
	if got, want := lines(r.Records, "region", "value"), []string{"330103|1", "330105|2", "330103|3"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := fmt.Sprint(r.Flags), "[[] [region.inexact] []]"; got != want {
		t.Errorf("flags: got %s, want %s", got, want)
	}
}

func TestDeletedRowsFillColumnsThatKnowNoNull(t *testing.T) {
	t.Parallel()
	mem := checked(t)
	m := ruledMap(t, mem, "  deleted: { from: gone, parse: bool }\n")
	r := apply(t, m, table(t, mem, ruledHeader+"|gone", "1|||||||||||[1|1", "2|abc|a|91350200MA2YJ1XR9G|1|1|1|true|2021-03-31|2021-03-31T00:00:00|旧|甲|0"))
	for c, f := range m.Schema().Fields {
		if n := r.Records.Column(c).NullN(); n > 0 {
			t.Errorf("%d nulls in %s", n, f.Name)
		}
	}
	if got, want := lines(r.Records, "id", "text", "whole", "amount", "flag", "state", "tags")[0], "1||0|0.00|false||[]"; got != want {
		t.Errorf("got %q, want %q (%q)", got, want, broken(r))
	}
}

// typedRecord is a batch in the types that the everything schema keeps.
func typedRecord(t *testing.T, mem memory.Allocator, set *schemas.Set, nulls bool) arrow.Record {
	t.Helper()
	schema, _ := set.Schema("everything")
	var fields []arrow.Field
	for _, f := range schema.Fields[:9] {
		fields = append(fields, arrow.Field{Name: f.Name, Type: f.Type.Arrow(), Nullable: true})
	}
	b := array.NewRecordBuilder(mem, arrow.NewSchema(fields, nil))
	defer b.Release()
	for i := range 3 {
		for c, f := range fields {
			text := []string{fmt.Sprint("id", i), "甲", fmt.Sprint(i), fmt.Sprint(float64(i) / 2), "12.3400", "3.5", "true", "2021-03-05", "2021-03-05T08:00:00+08:00"}[c]
			if nulls && i == 1 && f.Name != "id" {
				b.Field(c).AppendNull()
				continue
			}
			if err := b.Field(c).AppendValueFromString(text); err != nil {
				t.Fatal(err)
			}
		}
	}
	rec := b.NewRecord()
	t.Cleanup(rec.Release)
	return rec
}

func everythingMap(t *testing.T, mem memory.Allocator, set *schemas.Set, suffix string) *Mapping {
	t.Helper()
	text := "map:\n  schema: everything\n  fields:\n"
	for _, f := range []string{"id", "text", "whole", "fraction", "amount", "area", "flag", "day", "moment"} {
		text += fmt.Sprintf("    %s: { from: %s%s }\n", f, f, strings.ReplaceAll(suffix, "FIELD", f))
	}
	shape := shapeOf(t, text)
	shape.Set = set
	return mappingOf(t, mem, shape)
}

func TestColumnsOfTheRightTypePassWithoutACopy(t *testing.T) {
	t.Parallel()
	mem := checked(t)
	set := everything(t)
	for _, nulls := range []bool{false, true} {
		rec := typedRecord(t, mem, set, nulls)
		r := apply(t, everythingMap(t, mem, set, ""), rec)
		for i := range rec.NumCols() {
			name := rec.ColumnName(int(i))
			in, out := rec.Column(int(i)), columnOf(r.Records, name)
			if in.Data().Buffers()[1] != out.Data().Buffers()[1] {
				t.Errorf("%s was copied", name)
			}
		}
	}
}

func TestDefaultsFillTypedNulls(t *testing.T) {
	t.Parallel()
	mem := checked(t)
	set := everything(t)
	defaults := map[string]string{"id": "x", "text": "无", "whole": "7", "fraction": "1.5", "amount": "9.99", "area": "2", "flag": "true", "day": "1999-12-31", "moment": "1999-12-31T00:00:00"}
	text := "map:\n  schema: everything\n  fields:\n"
	for f, d := range defaults {
		text += fmt.Sprintf("    %s: { from: %s, default: '%s' }\n", f, f, d)
	}
	shape := shapeOf(t, text+"    grain: { value: null, default: 月 }\n    place: { default: '330100' }\n")
	shape.Set = set
	m := mappingOf(t, mem, shape)
	want := "id1|无|7|1.5|9.9900|2|true|1999-12-31|1999-12-31T00:00:00+08:00|month|330100"
	typed := apply(t, m, typedRecord(t, mem, set, true))
	if got := lines(typed.Records, "id", "text", "whole", "fraction", "amount", "area", "flag", "day", "moment", "grain", "place")[1]; got != want {
		t.Errorf("typed: got %q, want %q", got, want)
	}
	texts := apply(t, m, asText(t, mem, typedRecord(t, mem, set, true)))
	if got := lines(texts.Records, "id", "text", "whole", "fraction", "amount", "area", "flag", "day", "moment", "grain", "place")[1]; got != want {
		t.Errorf("text: got %q, want %q", got, want)
	}
}

func TestRequiredTypedNullsAreBroken(t *testing.T) {
	t.Parallel()
	mem := checked(t)
	base := everything(t)
	schema, _ := base.Schema("everything")
	strict := *schema
	strict.Fields = slices.Clone(schema.Fields)
	for i := range 9 {
		strict.Fields[i].Required = true
	}
	set, err := base.WithSchema(&strict)
	if err != nil {
		t.Fatal(err)
	}
	r := apply(t, everythingMap(t, mem, set, ""), typedRecord(t, mem, set, true))
	want := "1: required text, required whole, required fraction, required amount, required area, required flag, required day, required moment"
	if got := broken(r); len(got) != 1 || got[0] != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestValuesThatTheWarehouseCannotHoldAreBroken(t *testing.T) {
	t.Parallel()
	mem := checked(t)
	set := everything(t)
	rec := table(t, mem, "id|text|whole|fraction|amount|area|flag|day|moment",
		"a|x|9223372036854775808|1e400|99999999999999.99995|1|maybe|1899-12-31|2200-01-01T00:00:00",
		"b|x|1.5|nan|1e14|1|1|0001-01-01|9999-12-31T23:59:59Z",
		"c|x|1|1|99999999999999.99994|1|TRUE|2199-12-31|1900-01-01T00:00:00")
	r := apply(t, everythingMap(t, mem, set, ""), rec)
	want := []string{"0: cast.range whole, cast.range fraction, cast.range amount, parse.bool flag, date.implausible day, date.implausible moment",
		"1: cast.whole whole, parse.number fraction, cast.range amount, parse.bool flag, date.implausible day, date.implausible moment"}
	if got := broken(r); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := lines(r.Records, "id", "amount", "day", "moment"), []string{"c|99999999999999.9999|2199-12-31|1899-12-31T15:54:17Z"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestExpressions(t *testing.T) {
	t.Parallel()
	cases := []struct{ name, expr, want, broken string }{
		{name: "a text", expr: `col["a"] + "-" + col["b"]`, want: "1,234-2021年3月5日"},
		{name: "a number", expr: `number(col["a"]) / 2`, want: "617"},
		{name: "a whole number", expr: `len(col["b"]) + 1`, want: "10"},
		{name: "true or false", expr: `col["a"] startsWith "1"`, want: "true"},
		{name: "a time", expr: `date(col["b"])`, want: "2021-03-05T00:00:00+08:00"},
		{name: "a time with an offset", expr: `date("2021-03-05T00:00:00Z").Hour()`, want: "8"},
		{name: "a list", expr: `split("x,y", ",")`, want: `["x","y"]`},
		{name: "nothing", expr: `nil`, want: null},
		{name: "a position in another system", expr: `string(to_longitude(number("116.404"), number("39.915"), "wgs84", "gcj02")) + " " + string(to_latitude(116.404, 39.915, "wgs84", "gcj02"))`, want: "116.41024449916938 39.91640428150164"},
		{name: "a position that is not there", expr: `to_longitude(number(col["none"]), number("39.915"), "bd09", "wgs84")`, want: null},
		{name: "a position of a system that nobody knows", expr: `to_latitude(116.404, 39.915, "mars", "wgs84")`, broken: "the expression cannot be evaluated: coordinate system \"mars\" is not known; there are wgs84, cgcs2000, gcj02, bd09"},
		{name: "a position of a system that is not stated", expr: `to_latitude(116.404, 39.915, col["none"], "wgs84")`, want: null},
		{name: "a column without a value is nil", expr: `col["none"] == nil ? "nil" : "text"`, want: "nil"},
		{name: "a column without a value makes nothing", expr: `upper(col["none"])`, want: null},
		{name: "columns by computed names", expr: `join(map(["a", "none", "missing"], col[#] ?? "-"), "|")`, want: "1,234|-|-"},
		{name: "the values of a loop", expr: `sum(map(1..3, # * 2))`, want: "12"},
		{name: "a condition", expr: `let n = number(col["a"]); n > 1000 ? "many" : "few"`, want: "many"},
		{name: "what is no number", expr: `number(col["b"])`, broken: "the expression cannot be evaluated: “2021年3月5日” has \"年3月5日\" after the number, which is no unit"},
		{name: "what is no date", expr: `date(col["a"])`, broken: "the expression cannot be evaluated: “1,234” is not a date such as 2021年3月5日 or 2021-03-05"},
		{name: "a map is no value", expr: `{"a": 1}`, broken: "the expression cannot be evaluated: gives a map[string]interface {}, which is no plain value"},
		{name: "an expression that would fill the memory", expr: `len(map(1..100000000, #))`, broken: "the expression cannot be evaluated: memory budget exceeded"},
		{name: "an index out of range", expr: `split(col["a"], ",")[5]`, broken: "the expression cannot be evaluated: index out of range: 5 (array length is 2)"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			mem := checked(t)
			shape := shapeOf(t, fmt.Sprintf("map: { schema: everything, fields: { id: { value: x }, text: { expr: '%s' } } }", strings.ReplaceAll(c.expr, "'", "''")))
			shape.Set = everything(t)
			r := apply(t, mappingOf(t, mem, shape), table(t, mem, "a|b|none", "1,234|2021年3月5日|"))
			if c.broken != "" {
				if len(r.Quarantined) != 1 || r.Quarantined[0].Breaks[0].Rule != "expr.failed" || r.Quarantined[0].Breaks[0].Message != c.broken {
					t.Errorf("%v", r.Quarantined)
				}
				return
			}
			if got := lines(r.Records, "text"); len(got) != 1 || got[0] != c.want {
				t.Errorf("got %q, want %q (%v)", got, c.want, r.Quarantined)
			}
		})
	}
}

func TestComputedColumnNamesAreKept(t *testing.T) {
	t.Parallel()
	mem := checked(t)
	shape := shapeOf(t, `map: { schema: everything, fields: { id: { value: x }, text: { expr: 'col[["a", "b"][0]]' } } }`)
	shape.Set = everything(t)
	kept, _ := ingress(t, mappingOf(t, mem, shape), table(t, mem, "a|b|c", "1|2|3"))
	if got := kept.Schema().NumFields(); got != 2 {
		t.Errorf("kept %s", kept.Schema())
	}
}

func TestRecordRulesSeeEveryKind(t *testing.T) {
	t.Parallel()
	mem := checked(t)
	set := everything(t)
	text := "map:\n  schema: everything\n  fields:\n"
	for _, f := range []string{"id", "text", "whole", "fraction", "amount", "flag", "day", "moment", "grain", "tags"} {
		text += fmt.Sprintf("    %s: %s\n", f, f)
	}
	shape := shapeOf(t, text+`
  rules:
    - { name: whole, when: whole > 5 }
    - { name: amount, when: amount > 5.5 }
    - { name: flag, when: flag }
    - { name: days, when: moment < day, severity: warning }
    - { name: grain, when: 'grain == "year"' }
    - { name: tags, when: '"x" in tags' }
    - { name: text, when: 'text matches "^[0-9]+$"' }
    - { name: year, when: 'day.Year() < 2000' }
    - { name: fails, when: 'whole % (whole - whole) == 1' }
`)
	shape.Set = set
	r := apply(t, mappingOf(t, mem, shape), table(t, mem, "id|text|whole|fraction|amount|flag|day|moment|grain|tags",
		"1|12|6|1|5.51|true|2021-03-05|2021-03-04T23:59:59|year|a、x",
		"2|||||||||",
		"3|a||1|5.5|false|2021-03-05|2021-03-04T23:59:59|month|a",
		"4|a|||||1999-01-01|||"))
	if got, want := broken(r), []string{"0: whole, amount, flag, grain, tags, text, fails", "3: year"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := fmt.Sprint(r.Flags), "[[] [days]]"; got != want {
		t.Errorf("flags: got %s, want %s", got, want)
	}
}

func TestMemoriesOfDistinctValuesAreBounded(t *testing.T) {
	t.Parallel()
	mem := checked(t)
	m := mappingOf(t, mem, shapeOf(t, observation(plainFields)))
	s := newScratch()
	for round := range 5 {
		b := array.NewStringBuilder(mem)
		n := 40_000
		for i := range n {
			b.Append(fmt.Sprintf("镇%d-%d", round, i))
		}
		column := b.NewArray()
		b.Release()
		s.begin()
		p := m.fields[m.schema.FieldIndex("region")]
		work := &batch{m: m, mem: mem, n: n, s: s}
		k := columnKeys(p, column)
		out := p.distinctColumn(work, n, nil, nil, k, func([]byte, time.Time) meaning { return meaning{value: "330100"} }, nil)
		out.Release()
		column.Release()
	}
	if s.size > maxRemembered+40_000 {
		t.Errorf("%d values remembered", s.size)
	}
	s.generation = math.MaxUint32
	s.begin()
	if s.nextGeneration() != 1 || s.size != 0 {
		t.Errorf("generation %d with %d values", s.generation, s.size)
	}
}

func TestTheProgramKnowsItsStreams(t *testing.T) {
	t.Parallel()
	p, err := Compile(shapeOf(t, observation(plainFields)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := p.Stream("s", "other"); ok {
		t.Error("a stream out of nowhere")
	}
	m, _ := p.Stream("s", "t")
	if m.FanOut() != 1 || m.Personal() || m.Schema().Name != "observation" {
		t.Errorf("fan-out %d, personal %v", m.FanOut(), m.Personal())
	}
	r, err := m.Apply(context.Background(), array.NewRecord(arrow.NewSchema(nil, nil), nil, 0), ApplyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r.Release()
}
