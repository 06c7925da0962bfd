package schemas_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/headwater-data/headwater/internal/problem"
	"github.com/headwater-data/headwater/schemas"
)

func TestSetKeepsItsBytes(t *testing.T) {
	t.Parallel()
	set, problems := schemas.Load(schemas.Standard(), schemas.File{Name: "wide.yaml", Data: []byte(wideYAML)})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for name, s := range map[string]*schemas.Set{"standard": schemas.Standard(), "extended": set, "imported": set.WithRegions(importSmall(t)), "empty": {}} {
		first, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back schemas.Set
		if err := json.Unmarshal(first, &back); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		second, err := json.Marshal(&back)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first, second) {
			t.Errorf("%s: other bytes after a round trip:\n%s", name, cmp.Diff(string(first), string(second)))
		}
		for _, schema := range s.Names() {
			want, _ := s.Schema(schema)
			got, _ := back.Schema(schema)
			if !reflect.DeepEqual(want.Fields, got.Fields) || want.CreateTable("x") != got.CreateTable("x") {
				t.Errorf("%s: schema %s differs after a round trip", name, schema)
			}
			if _, err := got.JSONSchema(); err != nil {
				t.Errorf("%s: schema %s has lost its code lists: %v", name, schema, err)
			}
		}
		if !slices.EqualFunc(s.Regions().All(), back.Regions().All(), func(a, b schemas.Region) bool { return reflect.DeepEqual(a, b) }) {
			t.Errorf("%s: regions differ after a round trip", name)
		}
	}
}

func TestDamagedSetIsRefused(t *testing.T) {
	t.Parallel()
	data, err := json.Marshal(schemas.Standard())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ old, new, want string }{
		"a type that is none":    {`"type":"float64"`, `"type":"float12"`, "is no type"},
		"a list that is gone":    {`"list":"feed"`, `"list":"food"`, `no code list "feed"`},
		"a code twice":           {`"code":"direct"`, `"code":"manual"`, `code "manual" is there twice`},
		"a region with bad days": {`"to":"2021-04-09"`, `"to":"2021-04-39"`, "330102"},
		"cut short":              {`}`, ``, "read schema set"},
	} {
		var set schemas.Set
		err := set.UnmarshalJSON(bytes.Replace(data, []byte(c.old), []byte(c.new), 1))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	if n := len((&schemas.Set{}).Regions().All()); n != 0 {
		t.Errorf("an empty set has %d regions", n)
	}
}

func TestDefaultsKeepTheirGoTypes(t *testing.T) {
	t.Parallel()
	for field, want := range map[string]any{"many": "7", "share": float64(1), "done": false, "level": "city", "since": "2021-01-01"} {
		if f, _ := wide(t).Field(field); f.Default != want {
			t.Errorf("%s: got %T %v, want %T %v", field, f.Default, f.Default, want, want)
		}
	}
}

func TestSetIsNotChangedByItsWithMethods(t *testing.T) {
	t.Parallel()
	set := schemas.Standard()
	list := &schemas.CodeList{Name: "extra", Title: schemas.Title{Zh: "另", En: "Extra"}, Codes: []schemas.Code{{Code: "a", Title: schemas.Title{Zh: "甲", En: "A"}}}}
	more := set.WithCodeList(list)
	if _, ok := set.CodeList("extra"); ok {
		t.Error("the set itself has the list")
	}
	if got, ok := more.CodeList("extra"); !ok || got != list {
		t.Error("the new set lacks the list")
	}
	schema := &schemas.Schema{Name: "own", Version: 1, Lineage: true, Title: schemas.Title{Zh: "己", En: "Own"}, Description: "Built in Go.",
		Fields: []schemas.Field{{Name: "id", Title: schemas.Title{Zh: "号", En: "Id"}, Description: "Number.", Key: true, Type: schemas.Type{Kind: schemas.KindCode, List: "extra"}}}}
	if _, err := set.WithSchema(schema); err == nil || !strings.Contains(err.Error(), `no code list "extra"`) {
		t.Errorf("got %v, want the missing list", err)
	}
	with, err := more.WithSchema(schema)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := with.Schema("own"); !ok || got.Fields[0].Sensitivity != schemas.Internal {
		t.Error("the schema is not there, or not normal")
	}
	if schema.Fields[0].Sensitivity != "" {
		t.Error("the caller's schema was changed")
	}
}

func load(t *testing.T, files ...string) (*schemas.Set, problem.List) {
	t.Helper()
	var list []schemas.File
	for i, f := range files {
		list = append(list, schemas.File{Name: string(rune('a'+i)) + ".yaml", Data: []byte(f)})
	}
	return schemas.Load(schemas.Standard(), list...)
}

const head = "schema: own\nversion: 1\ntitle: { zh: 己, en: Own }\ndescription: One thing.\n"
const idField = "  - { name: id, title: { zh: 号, en: Id }, description: d, type: string, key: true }\n"

func TestLoadReportsEverythingWithItsPlace(t *testing.T) {
	t.Parallel()
	field := func(rest string) string {
		return head + "fields:\n" + idField + "  - { name: x, title: { zh: 某, en: X }, description: d, " + rest + " }\n"
	}
	record := func(rule string) string { return head + "fields:\n" + idField + "rules:\n  - " + rule + "\n" }
	for name, c := range map[string]struct {
		file string
		want []string
	}{
		"neither schema nor list":           {"title: x\n", []string{"a.yaml:", "neither a schema nor a code list"}},
		"broken YAML":                       {"schema: [\n", []string{"a.yaml:"}},
		"an unknown key":                    {head + "fieldz: []\n", []string{"a.yaml:5:1: unknown field", `did you mean "fields"`}},
		"no type like that":                 {field("type: varchar"), []string{"a.yaml:7:", `"varchar" is no type`, "decimal(18,4)"}},
		"a list that is not there":          {field("type: code(colour)"), []string{`there is no code list "colour"`, "a.yaml:7:"}},
		"a name with capitals":              {strings.Replace(head, "own", "Own", 1) + "fields:\n" + idField, []string{"a.yaml:1:1:", `"Own" is no name`}},
		"no key":                            {head + "fields:\n" + strings.Replace(idField, ", key: true", "", 1), []string{"no field is part of the key"}},
		"two fields of a name":              {head + "fields:\n" + idField + idField, []string{`a.yaml:7:`, `two fields "id"`}},
		"a fraction as key":                 {field("type: float64, key: true"), []string{"a float64 cannot be part of the key"}},
		"a personal number":                 {field("type: int64, sensitivity: personal"), []string{"a keyed hash"}},
		"a default of another type":         {field("type: int64, default: many"), []string{"the default does not fit type int64"}},
		"a default that is no code":         {field("type: code(grain), default: decade"), []string{`no code of list "grain"`}},
		"a default that is no date":         {field(`type: date, default: "2021-02-30"`), []string{"does not fit type date"}},
		"a default with too many digits":    {field(`type: "decimal(4,2)", default: "123.4"`), []string{"does not fit type decimal(4,2)"}},
		"a range on a text":                 {field("type: string, rules: [{ min: 1 }]"), []string{"min and max are for numbers"}},
		"a range that is empty":             {field("type: int64, rules: [{ min: 2, max: 1 }]"), []string{"nothing can pass"}},
		"a date that is none":               {field("type: date, rules: [{ min_date: 2021-13-01 }]"), []string{`"2021-13-01" is no date`}},
		"a pattern that is none":            {field(`type: string, rules: [{ pattern: "(" }]`), []string{"no regular expression"}},
		"a check that is none":              {field("type: string, rules: [{ check: luhn }]"), []string{"must be one of: uscc, org-code, resident-id"}},
		"two conditions in one rule":        {field("type: string, rules: [{ pattern: a, one_of: [a] }]"), []string{"2 conditions"}},
		"no condition":                      {field("type: string, rules: [{ message: hm }]"), []string{"0 conditions"}},
		"an expression on a field":          {field(`type: string, rules: [{ expr: "x != 1" }]`), []string{"rule of the whole record"}},
		"two rules of a name":               {field(`type: string, rules: [{ pattern: a }, { pattern: b }]`), []string{`two rules "x.pattern"`}},
		"a rule without a name":             {record(`{ expr: "id != nil" }`), []string{"the rule has no name"}},
		"an expression that cannot be read": {record(`{ name: r, expr: "id ==" }`), []string{"cannot be read", "a.yaml:8:"}},
		"a time that is no time":            {head + "time: id\nfields:\n" + idField, []string{`field "id" is a string`}},
		"a partition outside the key":       {head + "time: x\npartition_by: year\nfields:\n" + idField + "  - { name: x, title: { zh: 某, en: X }, description: d, type: date }\n", []string{"part of the key"}},
		"an order without a key field":      {head + "order: [x]\nfields:\n" + idField, []string{"does not hold exactly the key fields"}},
		"a table of Headwater's own":        {strings.Replace(head, "own", "ledger", 1) + "fields:\n" + idField, []string{"a table of Headwater's own"}},
		"no lineage":                        {head + "lineage: false\nfields:\n" + idField, []string{"a.yaml:5:1:", "leave lineage out"}},
		"a standard schema broken":          {strings.Replace(head, "own", "target", 1) + "fields:\n" + idField, []string{"differs from the standard schema target: the key was"}},
		"a code twice":                      {"list: l\ntitle: { zh: 单, en: L }\ndescription: d\ncodes:\n  - { code: a, title: { zh: 甲, en: A } }\n  - { code: a, title: { zh: 乙, en: B } }\n", []string{"a.yaml:6:", `code "a" is there twice`}},
		"a title that is another's code":    {"list: l\ntitle: { zh: 单, en: L }\ndescription: d\ncodes:\n  - { code: a, title: { zh: 甲, en: A } }\n  - { code: b, title: { zh: 甲, en: B } }\n", []string{`"甲" means "a" already`}},
		"a standard list cut short":         {"list: feed\ntitle: { zh: 单, en: L }\ndescription: d\ncodes:\n  - { code: manual, title: { zh: 手工, en: Manual } }\n", []string{"lacks the standard codes direct, source"}},
	} {
		_, problems := load(t, c.file)
		for _, want := range c.want {
			if !strings.Contains(problems.Error(), want) {
				t.Errorf("%s: got\n%v\nwant %q", name, problems, want)
			}
		}
	}
	_, problems := load(t, field("type: varchar"), head, "list: l\n")
	files := map[string]bool{}
	for _, p := range problems {
		files[p.File] = true
	}
	if len(files) != 3 {
		t.Errorf("problems of %d files, want of 3: %v", len(files), problems)
	}
	_, problems = load(t, head+"fields:\n"+idField, head+"fields:\n"+idField)
	if !strings.Contains(problems.Error(), "schema own is defined in a.yaml already") {
		t.Errorf("got %v", problems)
	}
}

func TestLoadTakesSchemasBeforeTheirLists(t *testing.T) {
	t.Parallel()
	set, problems := load(t,
		head+"fields:\n"+strings.Replace(idField, "type: string", "type: code(colour)", 1),
		"list: colour\ntitle: { zh: 色, en: Colour }\ndescription: d\ncodes:\n  - { code: red, title: { zh: 红, en: Red }, aliases: [赤] }\n")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if s, ok := set.Schema("own"); !ok || !s.Lineage {
		t.Error("the schema is not there, or has no lineage")
	}
	if set.Regions() == nil {
		t.Error("the regions are gone")
	}
}

func TestProjectMayWidenAStandardSchema(t *testing.T) {
	t.Parallel()
	set, problems := load(t, `schema: hotline_case
version: 2
title: { zh: 工单, en: Case }
description: One case.
time: opened_at
fields:
`+fieldsOf(t, "hotline_case")+"  - { name: urgency, title: { zh: 紧急程度, en: Urgency }, description: How urgent it is., type: int64 }\n")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	s, _ := set.Schema("hotline_case")
	if _, ok := s.Field("urgency"); !ok {
		t.Error("the field is not there")
	}
}

// fieldsOf writes the fields of a standard schema as YAML, by way of JSON, which is YAML.
func fieldsOf(t *testing.T, name string) string {
	t.Helper()
	s, _ := schemas.Standard().Schema(name)
	var b strings.Builder
	for _, f := range s.Fields {
		line, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString("  - " + string(line) + "\n")
	}
	return b.String()
}

func TestCodeListFindsCodesByTitleAndAlias(t *testing.T) {
	t.Parallel()
	list, ok := schemas.Standard().CodeList("grain")
	if !ok {
		t.Fatal("no list grain")
	}
	for text, want := range map[string]string{"month": "month", "月": "month", " 月度 ": "month", "Month": "month", "ｍｏｎｔｈ": "month", "旬": "xun"} {
		if c, ok := list.Find(text); !ok || c.Code != want {
			t.Errorf("%q: got %q, want %q", text, c.Code, want)
		}
	}
	for _, text := range []string{"", "世纪", "MONTHS"} {
		if c, ok := list.Find(text); ok {
			t.Errorf("%q: got %q, want nothing", text, c.Code)
		}
	}
}

func TestCodesAreValidForATime(t *testing.T) {
	t.Parallel()
	c := schemas.Code{Code: "a", From: "2020-01-01", To: "2021-04-09"}
	for on, want := range map[string]bool{"2019-12-31": false, "2020-01-01": true, "2021-04-08": true, "2021-04-09": false, "": false} {
		if got := c.Valid(day(t, on)); got != want {
			t.Errorf("on %q: got %t, want %t", on, got, want)
		}
	}
	if !(schemas.Code{Code: "b"}).Valid(time.Time{}) {
		t.Error("a code without bounds is not valid")
	}
}

func TestLoadIndicators(t *testing.T) {
	t.Parallel()
	load := func(files ...schemas.File) ([]schemas.Indicator, problem.List) {
		measures, problems := schemas.LoadMeasures(schemas.Standard(), files, nil)
		return measures.Indicators, problems
	}
	got, problems := load(
		schemas.File{Name: "a.yaml", Data: []byte("indicator: LV-FACTORY\ntitle: { zh: 阳光工厂, en: Factories }\nunit: 家\naggregation: sum\ntime_aggregation: last\nlevels: [county, city]\n")},
		schemas.File{Name: "b.yaml", Data: []byte("indicator: RATE\ntitle: { zh: 率, en: Rate }\naggregation: ratio\n")},
	)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	want := []schemas.Indicator{
		{Code: "LV-FACTORY", Title: schemas.Title{Zh: "阳光工厂", En: "Factories"}, Unit: "家", Direction: "up", Aggregation: "sum", TimeAggregation: "last", Grain: "month", Levels: []string{"county", "city"}},
		{Code: "RATE", Title: schemas.Title{Zh: "率", En: "Rate"}, Direction: "up", Aggregation: "ratio", TimeAggregation: "ratio", Grain: "month", Levels: []string{"county"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	declared := func(regions, time string) string {
		return "indicator: X\ntitle: { zh: 某, en: X }\naggregation: " + regions + "\ntime_aggregation: " + time + "\n"
	}
	for _, file := range []string{declared("sum", "last"), declared("ratio", "last"), declared("none", "none"), declared("mean", "sum"), declared("max", "max")} {
		if got, problems := load(schemas.File{Name: "x.yaml", Data: []byte(file)}); len(got) != 1 || len(problems) > 0 {
			t.Errorf("%s: got %v, %v", file, got, problems)
		}
	}
	for name, c := range map[string]struct{ file, want string }{
		"an aggregation that is none": {"indicator: X\ntitle: { zh: 某, en: X }\naggregation: median\n", "x.yaml:3:14: must be one of: sum, ratio"},
		"a level that is none":        {"indicator: X\ntitle: { zh: 某, en: X }\naggregation: sum\nlevels: [contry]\n", "x.yaml:4:"},
		"no title":                    {"indicator: X\naggregation: sum\n", `"title" is missing`},
		"a code with a space":         {"indicator: X Y\ntitle: { zh: 某, en: X }\naggregation: sum\n", "x.yaml:1:1:"},
		"an unknown key":              {"indicator: X\ntitle: { zh: 某, en: X }\naggregation: sum\nunits: 家\n", `did you mean "unit"`},
		"a ratio averaged over time":  {declared("ratio", "mean"), "x.yaml:4:1: aggregation ratio and time_aggregation mean contradict each other: a ratio is made of sums of its parts"},
		"a ratio added up over time":  {declared("ratio", "sum"), "x.yaml:4:1: "},
		"a bare percentage averaged":  {declared("none", "mean"), "x.yaml:4:1: aggregation none and time_aggregation mean contradict each other: a percentage without its parts"},
		"a sum that becomes a ratio":  {declared("sum", "ratio"), "x.yaml:4:1: "},
		"distinct counts added up":    {declared("distinct", "sum"), "would count twice"},
		"worst classes averaged":      {declared("max", "mean"), "no quantity that adds up"},
		"a level twice":               {"indicator: X\ntitle: { zh: 某, en: X }\naggregation: sum\nlevels: [county, city, county]\n", "x.yaml:4:24: level county is there twice"},
	} {
		got, problems := load(schemas.File{Name: "x.yaml", Data: []byte(c.file)})
		if len(got) > 0 || !strings.Contains(problems.Error(), c.want) {
			t.Errorf("%s: got %v, %v, want %q", name, got, problems, c.want)
		}
	}
	twice := []byte("indicator: X\ntitle: { zh: 某, en: X }\naggregation: sum\n")
	if _, problems := load(schemas.File{Name: "a.yaml", Data: twice}, schemas.File{Name: "b.yaml", Data: twice}); !strings.Contains(problems.Error(), "b.yaml:1:1: indicator X is defined in a.yaml already") {
		t.Errorf("got %v", problems)
	}
}

// Whatever a project's file holds: no panic, and either problems or a set whose bytes survive a round trip.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(wideYAML))
	f.Add([]byte("list: l\ntitle: { zh: 单, en: L }\ndescription: d\ncodes:\n  - { code: a, title: { zh: 甲, en: A } }\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, problems := schemas.Load(schemas.Standard().WithRegions(nil), schemas.File{Name: "f.yaml", Data: data})
		if len(problems) > 0 {
			return
		}
		first, err := json.Marshal(set)
		if err != nil {
			t.Fatal(err)
		}
		var back schemas.Set
		if err := json.Unmarshal(first, &back); err != nil {
			t.Fatal(err)
		}
		if second, err := json.Marshal(&back); err != nil || !bytes.Equal(first, second) {
			t.Fatalf("other bytes after a round trip, %v", err)
		}
		for _, name := range set.Names() {
			s, _ := set.Schema(name)
			if _, err := s.JSONSchema(); err != nil {
				t.Fatal(err)
			}
			s.CreateTable("x")
		}
	})
}
