package schemas_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/headwater-data/headwater/schemas"
)

// forms writes down once more, apart from the code, what each type is in Arrow, ClickHouse and JSON.
func forms(f schemas.Field) (arrowType, clickhouse, jsonType string) {
	lowCardinality := "dictionary<values=utf8, indices=int32, ordered=false>"
	switch k := f.Type.Kind; k {
	case schemas.KindString:
		return "utf8", "String", "string"
	case schemas.KindInt64:
		return "int64", "Int64", "integer"
	case schemas.KindFloat64:
		return "float64", "Float64", "number"
	case schemas.KindDecimal:
		return fmt.Sprintf("decimal(%d, %d)", f.Type.Precision, f.Type.Scale), fmt.Sprintf("Decimal(%d, %d)", f.Type.Precision, f.Type.Scale), "string"
	case schemas.KindBool:
		return "bool", "Bool", "boolean"
	case schemas.KindDate:
		return "date32", "Date32", "string"
	case schemas.KindTimestamp:
		return "timestamp[ms, tz=" + f.Type.Zone + "]", "DateTime64(3, '" + f.Type.Zone + "')", "string"
	case schemas.KindCode, schemas.KindRegion:
		return lowCardinality, "LowCardinality(String)", "string"
	case schemas.KindArray:
		switch f.Type.Elem.Kind {
		case schemas.KindCode, schemas.KindRegion:
			return "list<item: utf8>", "Array(LowCardinality(String))", "array"
		}
		return "list<item: utf8>", "Array(String)", "array"
	default:
		panic(k)
	}
}

// wide is a schema with every type that a file can name, required, optional and with default.
func wide(t *testing.T) *schemas.Schema {
	t.Helper()
	set, problems := schemas.Load(schemas.Standard(), schemas.File{Name: "wide.yaml", Data: []byte(wideYAML)})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	s, _ := set.Schema("wide")
	return s
}

const wideYAML = `schema: wide
version: 1
title: { zh: 宽表, en: Wide }
description: Every type there is.
order: [day, id]
fields:
  - { name: id, title: { zh: 号, en: Id }, description: d, type: string, key: true }
  - { name: day, title: { zh: 日, en: Day }, description: d, type: date, key: true }
  - { name: amount, title: { zh: 额, en: Amount }, description: d, type: "decimal(18,4)", unit: 元, required: true }
  - { name: many, title: { zh: 多, en: Many }, description: d, type: "decimal(38,0)", default: 7 }
  - { name: share, title: { zh: 比, en: Share }, description: d, type: float64, default: 1, rules: [{ min: 0, max: 1 }] }
  - { name: count, title: { zh: 数, en: Count }, description: d, type: int64, rules: [{ min: 0 }, { name: count.large, max: 1000, severity: warning }] }
  - { name: done, title: { zh: 毕, en: Done }, description: d, type: bool, default: false }
  - { name: at, title: { zh: 时, en: At }, description: d, type: timestamp(UTC), default: "2021-01-01 00:00:00" }
  - { name: since, title: { zh: 始, en: Since }, description: d, type: date, default: "2021-01-01", rules: [{ min_date: "1990-01-01" }] }
  - { name: grain, title: { zh: 粒, en: Grain }, description: d, type: code(grain) }
  - { name: place, title: { zh: 地, en: Place }, description: d, type: region, default: "330000" }
  - { name: level, title: { zh: 级, en: Level }, description: d, type: code(level), default: city }
  - { name: word, title: { zh: 词, en: Word }, description: "it's a \\ word", type: string, rules: [{ one_of: [a, b] }] }
  - { name: form, title: { zh: 式, en: Form }, description: d, type: string, rules: [{ pattern: "^[a-z]+$" }] }
  - { name: company, title: { zh: 企, en: Company }, description: d, type: string, rules: [{ check: uscc }] }
  - { name: tags, title: { zh: 签, en: Tags }, description: d, type: array(string) }
  - { name: grains, title: { zh: 粒, en: Grains }, description: d, type: array(code(grain)) }
rules:
  - { name: share.done, expr: "done && share < 1", message: done means all }
`

func everySchema(t *testing.T) []*schemas.Schema {
	all := []*schemas.Schema{wide(t)}
	set := schemas.Standard()
	for _, name := range set.Names() {
		s, _ := set.Schema(name)
		all = append(all, s)
	}
	return all
}

func TestArrowClickHouseAndJSONAgreeFieldByField(t *testing.T) {
	t.Parallel()
	for _, s := range everySchema(t) {
		arrowSchema, columns := s.Arrow(), s.Columns()
		data, err := s.JSONSchema()
		if err != nil {
			t.Fatal(err)
		}
		var document struct {
			Properties map[string]struct {
				Type any    `json:"type"`
				Unit string `json:"x-unit"`
			} `json:"properties"`
			Required []string `json:"required"`
			Order    []string `json:"x-order"`
		}
		if err := json.Unmarshal(data, &document); err != nil {
			t.Fatal(err)
		}
		if arrowSchema.NumFields() != len(s.Fields) || len(document.Properties) != len(s.Fields) || len(columns) != len(s.Fields)+len(s.System()) {
			t.Errorf("%s: %d fields, but %d in Arrow, %d in JSON, %d columns", s.Name, len(s.Fields), arrowSchema.NumFields(), len(document.Properties), len(columns))
			continue
		}
		for i, f := range s.Fields {
			where := s.Name + "." + f.Name
			wantArrow, wantColumn, wantJSON := forms(f)
			a, c, j := arrowSchema.Field(i), columns[i], document.Properties[f.Name]
			if a.Name != f.Name || c.Name != f.Name || document.Order[i] != f.Name {
				t.Errorf("%s: stands as %s in Arrow, %s in ClickHouse, %s in JSON", where, a.Name, c.Name, document.Order[i])
			}
			if got := strings.ReplaceAll(a.Type.String(), ", nullable", ""); got != wantArrow {
				t.Errorf("%s: Arrow type %s, want %s", where, got, wantArrow)
			}
			bare := c.Type
			nullable := strings.Contains(bare, "Nullable(")
			if nullable {
				bare = strings.Replace(strings.Replace(bare, "Nullable(", "", 1), ")", "", 1)
			}
			if bare != wantColumn {
				t.Errorf("%s: column type %s, want %s", where, c.Type, wantColumn)
			}
			if a.Nullable != nullable || nullable != f.Nullable() {
				t.Errorf("%s: nullable is %t in Arrow, %t in ClickHouse, %t in the field", where, a.Nullable, nullable, f.Nullable())
			}
			types := fmt.Sprint(j.Type)
			if !strings.Contains(types, wantJSON) {
				t.Errorf("%s: JSON type %s, want %s", where, types, wantJSON)
			}
			if mayBeNull := f.Nullable() || f.Default != nil || f.Type.Kind == schemas.KindArray && !f.Required; mayBeNull != strings.Contains(types, "null") {
				t.Errorf("%s: JSON type %s, may be null %t", where, types, mayBeNull)
			}
			if required := (f.Required || f.Key) && f.Default == nil; required != slices.Contains(document.Required, f.Name) {
				t.Errorf("%s: required %t, in JSON %v", where, required, document.Required)
			}
			if j.Unit != f.Unit || f.Unit != "" && !strings.Contains(c.Comment, f.Unit) {
				t.Errorf("%s: unit %q is %q in JSON and the comment is %q", where, f.Unit, j.Unit, c.Comment)
			}
			if !strings.Contains(c.Comment, f.Title.Zh) || !strings.Contains(c.Comment, f.Title.En) || !strings.Contains(c.Comment, f.Description) {
				t.Errorf("%s: comment %q", where, c.Comment)
			}
			if f.Key && (nullable || (f.Default != nil) != (c.Default != "")) {
				t.Errorf("%s: key column %s default %q", where, c.Type, c.Default)
			}
		}
	}
}

// The Arrow schema must be one that records can be built with.
func TestRecordsCanBeBuilt(t *testing.T) {
	t.Parallel()
	for _, s := range everySchema(t) {
		mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
		builder := array.NewRecordBuilder(mem, s.Arrow())
		for _, field := range builder.Fields() {
			field.AppendEmptyValue()
		}
		rec := builder.NewRecord()
		if rec.NumRows() != 1 {
			t.Errorf("%s: %d rows", s.Name, rec.NumRows())
		}
		rec.Release()
		builder.Release()
		mem.AssertSize(t, 0)
	}
}

// Loaders of different versions write the same tables: these columns never change.
func TestLineageIsFrozen(t *testing.T) {
	t.Parallel()
	const label = "dictionary<values=utf8, indices=int32, ordered=false>"
	want := []struct{ name, arrow, clickhouse string }{
		{"_version", "uint64", "UInt64"}, {"_deleted", "uint8", "UInt8"},
		{"_source", label, "LowCardinality(String)"}, {"_stream", label, "LowCardinality(String)"}, {"_shard", label, "LowCardinality(String)"},
		{"_place", label, "LowCardinality(String)"}, {"_row", "uint64", "UInt64"}, {"_topic", label, "LowCardinality(String)"},
		{"_partition", "int32", "Int32"}, {"_incarnation", label, "LowCardinality(String)"}, {"_offset", "int64", "Int64"}, {"_index", "uint32", "UInt32"},
		{"_run", label, "LowCardinality(String)"}, {"_mapping", label, "LowCardinality(String)"},
		{"_extracted_at", "timestamp[us, tz=UTC]", "DateTime64(6, 'UTC')"}, {"_flags", "list<item: utf8>", "Array(LowCardinality(String))"},
	}
	lineage := schemas.Lineage()
	if len(lineage) != len(want) {
		t.Fatalf("got %d columns, want %d", len(lineage), len(want))
	}
	for i, f := range lineage {
		c := f.Column()
		if f.Name != want[i].name || f.Type.Arrow().String() != want[i].arrow || c.Type != want[i].clickhouse {
			t.Errorf("column %d: got %s %s %s, want %v", i, f.Name, f.Type.Arrow(), c.Type, want[i])
		}
	}
	lineage[0].Name = "changed"
	if schemas.Lineage()[0].Name != "_version" {
		t.Error("the caller's copy is the package's own")
	}
}

func TestEveryStandardFieldHasTitlesAndDescription(t *testing.T) {
	t.Parallel()
	set := schemas.Standard()
	for _, name := range set.Names() {
		s, _ := set.Schema(name)
		for _, f := range append(s.System(), s.Fields...) {
			if f.Title.Zh == "" || f.Title.En == "" || len(f.Description) < 10 {
				t.Errorf("%s.%s: title %v, description %q", name, f.Name, f.Title, f.Description)
			}
			if strings.IndexFunc(f.Title.Zh, func(r rune) bool { return r > 0x2E80 }) < 0 {
				t.Errorf("%s.%s: %q is not Chinese", name, f.Name, f.Title.Zh)
			}
		}
	}
}

func compile(t *testing.T, s *schemas.Schema) *jsonschema.Schema {
	t.Helper()
	data, err := s.JSONSchema()
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("schema.json", document); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

func TestJSONSchemasAreValidAndJudge(t *testing.T) {
	t.Parallel()
	for _, s := range everySchema(t) {
		compile(t, s)
	}
	observation, _ := schemas.Standard().Schema("observation")
	for name, c := range map[string]struct {
		schema *schemas.Schema
		record string
		good   bool
	}{
		"a whole observation":          {observation, `{"indicator":"LV-FACTORY","region":"330102","grain":"month","period":"2021-04-01T00:00:00+08:00","feed":"direct","value":6}`, true},
		"with nulls":                   {observation, `{"indicator":"LV-FACTORY","region":"330102","grain":"month","period":"2021-04-01T00:00:00+08:00","feed":"direct","value":6,"level":null,"note":null,"member":null}`, true},
		"without a value":              {observation, `{"indicator":"LV-FACTORY","region":"330102","grain":"month","period":"2021-04-01T00:00:00+08:00","feed":"direct"}`, false},
		"a null value":                 {observation, `{"indicator":"LV-FACTORY","region":"330102","grain":"month","period":"2021-04-01T00:00:00+08:00","feed":"direct","value":null}`, false},
		"a name for a region":          {observation, `{"indicator":"LV-FACTORY","region":"上城区","grain":"month","period":"2021-04-01T00:00:00+08:00","feed":"direct","value":6}`, false},
		"a grain that is none":         {observation, `{"indicator":"LV-FACTORY","region":"330102","grain":"decade","period":"2021-04-01T00:00:00+08:00","feed":"direct","value":6}`, false},
		"a day for a moment":           {observation, `{"indicator":"LV-FACTORY","region":"330102","grain":"month","period":"2021-04-01","feed":"direct","value":6}`, false},
		"an unknown field":             {observation, `{"indicator":"LV-FACTORY","region":"330102","grain":"month","period":"2021-04-01T00:00:00+08:00","feed":"direct","value":6,"wert":6}`, false},
		"wide, all kinds":              {wide(t), `{"id":"1","day":"2021-04-09","amount":"12.5","share":0.5,"count":3,"grain":null,"tags":["a"],"grains":["day"],"word":"a","form":"abc"}`, true},
		"wide, a number for a decimal": {wide(t), `{"id":"1","day":"2021-04-09","amount":12.5}`, true},
		"wide, too many digits":        {wide(t), `{"id":"1","day":"2021-04-09","amount":"12.34567"}`, false},
		"wide, out of range":           {wide(t), `{"id":"1","day":"2021-04-09","amount":"1","share":1.5}`, false},
		"wide, beyond a warning":       {wide(t), `{"id":"1","day":"2021-04-09","amount":"1","count":2000}`, true},
		"wide, below zero":             {wide(t), `{"id":"1","day":"2021-04-09","amount":"1","count":-1}`, false},
		"wide, not one of":             {wide(t), `{"id":"1","day":"2021-04-09","amount":"1","word":"c"}`, false},
		"wide, null passes one_of":     {wide(t), `{"id":"1","day":"2021-04-09","amount":"1","word":null,"form":null}`, true},
		"wide, not the pattern":        {wide(t), `{"id":"1","day":"2021-04-09","amount":"1","form":"ABC"}`, false},
		"wide, a list of other codes":  {wide(t), `{"id":"1","day":"2021-04-09","amount":"1","grains":["decade"]}`, false},
		"wide, 30 February":            {wide(t), `{"id":"1","day":"2021-02-30","amount":"1"}`, false},
	} {
		record, err := jsonschema.UnmarshalJSON(strings.NewReader(c.record))
		if err != nil {
			t.Fatal(err)
		}
		if err := compile(t, c.schema).Validate(record); (err == nil) != c.good {
			t.Errorf("%s: got %v, want good=%t", name, err, c.good)
		}
	}
}

func TestCodeFieldsNeedASetForJSONSchema(t *testing.T) {
	t.Parallel()
	s := &schemas.Schema{Name: "x", Version: 1, Fields: []schemas.Field{{Name: "grain", Type: schemas.Type{Kind: schemas.KindCode, List: "grain"}, Key: true}}}
	if _, err := s.JSONSchema(); err == nil || !strings.Contains(err.Error(), `code list "grain" is not known`) {
		t.Errorf("got %v", err)
	}
}

func TestTableOfTheWideSchema(t *testing.T) {
	t.Parallel()
	golden(t, "wide.sql", wide(t).CreateTable("it's `mine`")+"\n")
}

func TestParseType(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"string": "string", "decimal(18,4)": "decimal(18,4)", "decimal( 38 , 0 )": "decimal(38,0)", "timestamp": "timestamp(Asia/Shanghai)",
		"timestamp(UTC)": "timestamp(UTC)", "code(grain)": "code(grain)", "array(code(grain))": "array(code(grain))", " region ": "region",
	} {
		got, err := schemas.ParseType(text)
		if err != nil || got.String() != want {
			t.Errorf("%q: got %s, %v, want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                     "is no type",
		"varchar":              "is no type",
		"string(5)":            "takes nothing in brackets",
		"decimal":              "decimal needs",
		"decimal(39,2)":        "decimal needs",
		"decimal(5,6)":         "decimal needs",
		"timestamp(Mars)":      "no time zone",
		"timestamp()":          "no time zone",
		"timestamp(Local)":     "no time zone",
		"code":                 "code needs",
		"code(Gr ain)":         "code needs",
		"array(array(string))": "cannot hold arrays",
		"array":                "elements of the array",
		"uint64":               "is no type",
		"label":                "is no type",
	} {
		if got, err := schemas.ParseType(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %s, %v, want %q", text, got, err, want)
		}
	}
}

// What parses prints as something that parses to the same, and has a type in Arrow and ClickHouse.
func FuzzParseType(f *testing.F) {
	for _, seed := range []string{"string", "decimal(18,4)", "timestamp(Asia/Shanghai)", "code(grain)", "array(string)", "array(array(", "decimal(-1,0)", "timestamp(../../etc)"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := schemas.ParseType(text)
		if err != nil {
			return
		}
		again, err := schemas.ParseType(got.String())
		if err != nil || !again.Equal(got) {
			t.Fatalf("%q gives %s, which gives %s, %v", text, got, again, err)
		}
		if got.Arrow() == nil || got.ClickHouse(true) == "" || !arrow.TypeEqual(got.Arrow(), again.Arrow()) {
			t.Fatalf("%q: %v", text, got.Arrow())
		}
	})
}
