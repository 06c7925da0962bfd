package transform

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/headwater-data/headwater/schemas"
)

func paths(faults []Fault) []string {
	var out []string
	for _, f := range faults {
		var parts []string
		for _, p := range f.Path {
			parts = append(parts, fmt.Sprint(p))
		}
		out = append(out, strings.Join(parts, ".")+": "+f.Message)
	}
	return out
}

// rest are the fields of an observation that a case is not about.
const rest = `
    indicator: { value: X }
    region: r
    period: p
    value: v
`

func TestCheckReportsFaultsWithPathAndReason(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name    string
		mapping string
		want    []string // beginnings of path: message
	}{
		{"an unknown schema", "map: { schema: observatoin, fields: {} }", []string{`map.schema: there is no schema "observatoin"`}},
		{"an unknown field", observation(rest + "    valeu: x\n"), []string{`map.fields.valeu: schema observation has no field "valeu"`}},
		{"missing fields, all at once", "map: { schema: observation, fields: { value: v } }", []string{
			`map.fields: field "indicator" is part of the key`, `map.fields: field "region" is part of the key`, `map.fields: field "grain" is part of the key`,
			`map.fields: field "period" is part of the key`, `map.fields: field "feed" is part of the key`}},
		{"a field filled twice", observation(strings.Replace(rest, "value: v", "value: { from: v, expr: '1' }", 1)), []string{`map.fields.value: field "value" is filled in several ways: from, expr`}},
		{"a field filled by nothing", observation(strings.Replace(rest, "value: v", "value: { parse: number }", 1)), []string{`map.fields.value: nothing says where field "value" comes from`}},
		{"an unknown column", observation(strings.Replace(rest, "value: v", "value: vv", 1)), []string{`map.fields.value.from: the source has no column "vv"`}},
		{"one of Headwater's own columns", observation(rest + "    note: _row\n"), []string{`map.fields.note.from: "_row" is one of Headwater's own columns`}},
		{"unknown columns everywhere", observation(strings.NewReplacer("value: v", "value: { coalesce: [v, x1] }", "region: r", "region: { region: { codes: [x2], names: [r, x3] } }").Replace(rest)+
			"    note: { concat: { columns: [x4, v] } }\n    subject: { split: { column: x5, separator: '/', part: 1 } }\n    level: { expr: 'col[\"x6\"]' }\n", "filter: [{ name: f, when: 'col[\"x7\"] == nil' }]\nkeep: [x8]\n"),
			[]string{"map.fields.region.region.codes.0: ", "map.fields.region.region.names.1: ", "map.fields.subject.split.column: ", "map.fields.value.coalesce.1: ",
				"map.fields.level.expr: ", "map.fields.note.concat.columns.0: ", "filter.0.when: ", "keep.0: "}},
		{"a column that cannot be read", observation(strings.Replace(rest, "value: v", "value: blob", 1)), []string{`map.fields.value.from: column "blob" is binary`}},
		{"a bad expression, with its position", observation(strings.Replace(rest, "value: v", `value: { expr: 'col["v"] +' }`, 1)), []string{"map.fields.value.expr: the expression is wrong at line 1, column 10"}},
		{"an expression that mixes types", observation(strings.Replace(rest, "value: v", `value: { expr: 'col["v"] * 2' }`, 1)), []string{"map.fields.value.expr: the expression is wrong at line 1, column 10: invalid operation: * (mismatched types string and int)"}},
		{"an expression that asks for the time", observation(strings.Replace(rest, "value: v", `value: { expr: 'now().Year()' }`, 1)), []string{"map.fields.value.expr: the expression is wrong at line 1, column 1: unknown name now"}},
		{"an expression over the order of a map", observation(rest + "    note: { expr: 'keys({\"a\": 1})[0]' }\n"), []string{"map.fields.note.expr: "}},
		{"a filter that is no condition", observation(rest, "filter: [{ name: f, when: 'col[\"v\"]' }, { name: f, when: 'true' }, { name: '', when: 'true' }]\n"), []string{"filter.0.when: the expression is wrong: expected bool", `filter.1.name: there are two filters "f"`, "filter.2.name: the filter has no name"}},
		{"a rule over an unknown field", observation(rest, "  rules: [{ name: a, when: valeu > 1 }, { name: a, when: 'true', severity: fatal }]\n"), []string{"map.rules.0.when: the expression is wrong at line 1, column 1: unknown name valeu", `map.rules.1.name: there is a rule "a"`, `map.rules.1.severity: "fatal" is no severity`}},
		{"a way to read that does not fit", observation(strings.Replace(rest, "value: v", "value: { from: v, parse: date }", 1)), []string{`map.fields.value.parse: field "value" is a float64, which parse: date does not give`}},
		{"an unknown way to read", observation(strings.Replace(rest, "value: v", "value: { from: v, parse: numbr }", 1)), []string{`map.fields.value.parse: "numbr" is no way to read text`}},
		{"bad layouts and zones", observation(strings.Replace(rest, "period: p", "period: { from: p, layout: [YY-MM-DD, 'HH:mm'], zone: Peking }", 1)), []string{`map.fields.period.layout.0: "YY-MM-DD" is no date layout: the year must be written YYYY`, "map.fields.period.layout.1: ", `map.fields.period.zone: "Peking" is no time zone`}},
		{"a unit that cannot be converted", observation(strings.Replace(rest, "value: v", "value: { from: v, unit: 万元 }", 1) + "    unit: { value: 个 }\n"), []string{"map.fields.value.unit: 万元 cannot be converted to 个"}},
		{"a unit without one to convert to", observation(strings.Replace(rest, "value: v", "value: { from: v, unit: 万元 }", 1)), []string{`map.fields.value.unit: field "value" has no unit to which 万元 could be converted`}},
		{"a text that is no unit", observation(strings.Replace(rest, "value: v", "value: { from: v, unit: '12以上' }", 1) + "    unit: { value: 个 }\n"), []string{`map.fields.value.unit: "12以上" is no unit`}},
		{"a scale that is none", observation(strings.Replace(rest, "value: v", "value: { from: v, scale: -1 }", 1)), []string{"map.fields.value.scale: -1 is no factor"}},
		{"codes that are not in the list", observation(rest + "    level: { from: v, codes: { 市: city, 省: provnice } }\n"), []string{`map.fields.level.codes.省: "provnice" is no code of the list level`}},
		{"constants that do not fit", strings.Replace(observation(strings.Replace(rest, "region: r", `region: { value: "330199" }`, 1)), "value: month", "value: monthly", 1), []string{`map.fields.region.value: the constant for field "region" cannot be used`, `map.fields.grain.value: the constant for field "grain" cannot be used: “monthly”`}},
		{"a default that does not fit", observation(strings.Replace(rest, "value: v", "value: { from: v, default: 零 }", 1)), []string{"map.fields.value.default: the default does not fit float64"}},
		{"region settings on another field", observation(rest + "    note: { from: v, region: {} }\n"), []string{`map.fields.note.region: field "note" is a string, not a region`}},
		{"wrong region settings", observation(strings.Replace(rest, "region: r", `region: { from: r, region: { within: "999999", on: value, member: nobody, aliases: { 甲: "1" } } }`, 1)), []string{
			`map.fields.region.region.within: "999999" is no region`, `map.fields.region.region.aliases.甲: "1" is no region`, `map.fields.region.region.member: schema observation has no field "nobody"`, `map.fields.region.region.on: field "value" is a float64`}},
		{"a member that is filled twice", observation(strings.Replace(rest, "region: r", "region: { from: r, region: { member: subject } }", 1) + "    subject: v\n"), []string{`map.fields.region.region.member: field "subject" is filled both by the region and by itself`}},
		{"unpivot beside from", observation(strings.Replace(rest, "indicator: { value: X }", "", 1), "  unpivot: { columns: { v: A } }\n"), []string{`map.fields.value: field "value" is filled by unpivot`}},
		{"unpivot into nothing, by nothing", observation(strings.Replace(rest, "    value: v\n", "", 1), "  unpivot: { columns: { v: A }, into: vlaue }\n"), []string{`map.unpivot.into: schema observation has no field "vlaue"`, `map.fields: field "value" is required`}},
		{"unpivot with wrong constants", observation(strings.NewReplacer("    value: v\n", "", "    indicator: { value: X }\n", "").Replace(rest), "  unpivot: { columns: { v: { indicator: A, grian: day, value: 1 }, x: { indicator: B, level: town hall } } }\n"), []string{
			"map.unpivot.columns.v.grian: ", "map.unpivot.columns.v.value: ", `map.fields.value.from: the source has no column "x"`}},
		{"a field that unpivot and fields both fill", observation(strings.Replace(rest, "    value: v\n", "", 1), "  unpivot: { columns: { v: A } }\n"), []string{`map.fields.indicator: field "indicator" is filled by every column of unpivot`}},
		{"a lookup without its table", observation(rest + "    note: { from: v, lookup: { file: no.csv, key: a, value: b } }\n"), []string{`map.fields.note.lookup.file: the lookup table "no.csv" is not there`}},
		{"a lookup without its columns", observation(rest + "    note: { from: v, lookup: { file: t.csv, key: a, value: c } }\n"), []string{`map.fields.note.lookup.value: the lookup table "t.csv" has no column "c"`}},
		{"a lookup with two answers", observation(rest + "    note: { from: v, lookup: { file: twice.csv, key: a, value: b } }\n"), []string{`map.fields.note.lookup.file: the lookup table "twice.csv" has two values for “1” in row 3`}},
		{"an unknown mask", observation(rest + "    note: { from: s, mask: blur }\n"), []string{`map.fields.note.mask: "blur" is no mask`}},
		{"a mask on a number", observation(strings.Replace(rest, "value: v", "value: { from: v, mask: hash }", 1)), []string{`map.fields.value.mask: field "value" is a float64; only texts can be masked`}},
		{"a column that is personal and read in clear", observation(rest + "    note: { from: s, mask: name }\n    subject: s\n"), []string{`map.fields.subject.from: column "s" holds personal values and is read in clear here`}},
		{"a column that is personal and filtered on", observation(rest+"    note: { from: s, mask: name }\n", "filter: [{ name: f, when: 'col[\"s\"] == nil' }]\n"), []string{`filter.0.when: column "s" holds personal values`}},
		{"a personal part of a value that is kept in clear", observation(rest+"    note: { concat: { columns: [s, v2] }, mask: name }\n", "keep: [s]\n"), []string{`keep.0: column "s" holds personal values and would be kept in clear`}},
		{"two personal fields of one column", observation(rest + "    note: { from: s, mask: name }\n    subject: { from: s, mask: hash }\n"), []string{`map.fields.note: column "s" fills two personal fields, subject and note`}},
		{"a rule over a masked field", observation(rest+"    note: { from: s, mask: name }\n", "  rules: [{ name: r, when: 'note == \"张三\"' }]\n"), []string{`map.rules.0.when: field "note" is masked before this rule sees it`}},
		{"a split that says nothing", observation(rest + "    note: { split: { column: v, separator: '', part: 0 } }\n"), []string{"map.fields.note.split.separator: ", "map.fields.note.split.part: "}},
	}
	columns := arrow.NewSchema([]arrow.Field{{Name: "r", Type: arrow.BinaryTypes.String}, {Name: "p", Type: arrow.BinaryTypes.String}, {Name: "v", Type: arrow.BinaryTypes.String},
		{Name: "v2", Type: arrow.BinaryTypes.String}, {Name: "s", Type: arrow.BinaryTypes.String}, {Name: "blob", Type: arrow.BinaryTypes.Binary}}, nil)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			shape := shapeOf(t, c.mapping)
			shape.Streams[0].Lookups = map[string]Table{"t.csv": {Columns: []string{"a", "b"}}, "twice.csv": {Columns: []string{"a", "b"}, Rows: [][]string{{"1", "x"}, {"1", "y"}}}}
			faults := Check(shape, map[string]*arrow.Schema{"s/t": columns})
			got := paths(faults)
			missing := slices.Clone(c.want)
			for _, g := range got {
				i := slices.IndexFunc(missing, func(w string) bool { return strings.HasPrefix(g, w) })
				if i < 0 {
					t.Errorf("unexpected: %s", g)
					continue
				}
				missing = slices.Delete(missing, i, i+1)
			}
			if len(missing) > 0 {
				t.Errorf("not reported: %q\nreported: %q", missing, got)
			}
			if c.name == "an unknown field" && faults[0].Fix != `did you mean "value"?` {
				t.Errorf("fix: %q", faults[0].Fix)
			}
			onlyColumns := !slices.ContainsFunc(c.want, func(w string) bool { return !strings.Contains(w, "the source has no column") })
			if _, err := Compile(shape, Options{Keys: testKeys}); err == nil && !onlyColumns && c.name != "unknown columns everywhere" && c.name != "a column that cannot be read" {
				t.Error("what Check refuses compiles")
			}
		})
	}
}

func TestSuggestion(t *testing.T) {
	t.Parallel()
	schemas := []string{"clue", "hotline_case", "innovation_case", "issue"}
	for text, want := range map[string]string{
		"isue":    `did you mean "issue"?`,
		"case":    `did you mean "hotline_case" or "innovation_case"?`, // not "clue", which is as near by letters
		"Hotline": `did you mean "hotline_case"?`,
		"permit":  "there are clue, hotline_case, innovation_case, issue",
		"":        "there are clue, hotline_case, innovation_case, issue",
	} {
		if got := suggest(text, schemas); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestCheckKnowsColumnsOfTheLastRun(t *testing.T) {
	t.Parallel()
	shape := shapeOf(t, observation(rest))
	shape.Streams[0].SourceColumns = map[string]string{"r": "utf8", "p": "utf8", "V": "utf8"}
	got := Check(shape, nil)
	if len(got) != 1 || got[0].Fix != `did you mean "V"?` {
		t.Errorf("%v", got)
	}
	shape.Streams[0].SourceColumns = nil
	if got := Check(shape, nil); len(got) > 0 {
		t.Errorf("%v", got)
	}
}

func TestShapesKeepTheirBytes(t *testing.T) {
	t.Parallel()
	shape := shapeOf(t, observation(strings.Replace(rest, "value: v", "value: { from: v, scale: 0.001, default: 7 }", 1)+"    note: { value: 330100000000000001 }\n    subject: { from: s, codes: { 甲: A, 乙: <B> } }\n",
		"  unpivot:\n    into: numerator\n    by: unit\n    columns: { n: 2021, m: { unit: 1.5 } }\nkeep: [k]\n"))
	shape.Indicators = []string{"X"}
	shape.Streams[0].Lookups = map[string]Table{"a.csv": {Columns: []string{"k"}, Rows: [][]string{{"v"}}}}
	first, err := shape.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	again, err := UnmarshalShape(first)
	if err != nil {
		t.Fatal(err)
	}
	second, err := again.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if string(first) != string(second) || len(Hash(first)) != 16 {
		t.Errorf("%s\n%s", first, second)
	}
	a, b := mappingOf(t, checked(t), shape), mappingOf(t, checked(t), again)
	if a.Version() != b.Version() || len(a.Version()) != 12 {
		t.Errorf("versions %q and %q", a.Version(), b.Version())
	}
	mem := checked(t)
	rec := table(t, mem, "r|p|v|s|n|m", "330102|2021-03-05|5|甲|1|2", "330102|2021-03-05||丙|1|2")
	x, y := apply(t, a, rec), apply(t, b, rec)
	names := []string{"value", "note", "subject", "unit", "numerator"}
	if got, want := lines(y.Records, names...), lines(x.Records, names...); !slices.Equal(got, want) || len(got) != 2 {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := broken(y), []string{"1: code.unknown subject"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	other := shapeOf(t, observation(rest))
	if v := mappingOf(t, checked(t), other).Version(); v == a.Version() {
		t.Error("another mapping has the same version")
	}
	if _, err := UnmarshalShape([]byte("{")); err == nil {
		t.Error("a broken shape is read")
	}
}

func TestLookupTablesAreRead(t *testing.T) {
	t.Parallel()
	got, err := ReadTable(strings.NewReader("\ufeff项目 ,指标\n阳光工厂,\"LV,1\"\n"))
	if err != nil || !slices.Equal(got.Columns, []string{"项目", "指标"}) || !slices.Equal(got.Rows[0], []string{"阳光工厂", "LV,1"}) {
		t.Errorf("%v, %v", got, err)
	}
	for name, text := range map[string]string{"empty": "", "not UTF-8": "\xcf\xee\n", "a row too short": "a,b\n1\n", "too many rows": "a\n" + strings.Repeat("1\n", MaxTableRows+1)} {
		if _, err := ReadTable(strings.NewReader(text)); err == nil {
			t.Errorf("%s: read", name)
		}
	}
}

func TestAProjectWithoutRegionsIsAFault(t *testing.T) {
	t.Parallel()
	shape := shapeOf(t, observation(rest))
	shape.Set = shape.Set.WithRegions(nil)
	if got := paths(Check(shape, nil)); len(got) == 0 || !strings.Contains(got[0], "no regions") {
		t.Errorf("%q", got)
	}
	var _ *schemas.Set = shape.Set
}
