package schemas_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/headwater-data/headwater/schemas"
)

func TestCompare(t *testing.T) {
	t.Parallel()
	base := func() *schemas.Schema {
		field := func(name, kind string) schemas.Field {
			parsed, err := schemas.ParseType(kind)
			if err != nil {
				t.Fatal(err)
			}
			return schemas.Field{Name: name, Title: schemas.Title{Zh: "某", En: name}, Description: "d", Type: parsed, Sensitivity: schemas.Internal}
		}
		id := field("id", "string")
		id.Key = true
		when := field("at", "timestamp")
		when.Key = true
		amount := field("amount", "decimal(10,2)")
		amount.Required, amount.Unit = true, "元"
		count := field("count", "int64")
		grain := field("grain", "code(grain)")
		word := field("word", "string")
		word.Default = ""
		tags := field("tags", "array(code(grain))")
		return &schemas.Schema{Name: "x", Version: 2, Title: schemas.Title{Zh: "某", En: "X"}, Description: "d", Lineage: true, Time: "at",
			Fields: []schemas.Field{id, when, amount, count, grain, word, tags}}
	}
	edit := func(change func(s *schemas.Schema)) *schemas.Schema {
		s := base()
		s.Version++
		change(s)
		return s
	}
	kind := func(text string) schemas.Type {
		parsed, err := schemas.ParseType(text)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	fresh := schemas.Field{Name: "fresh", Title: schemas.Title{Zh: "新", En: "Fresh"}, Description: "d", Type: kind("string"), Sensitivity: schemas.Internal}

	for name, c := range map[string]struct {
		to       *schemas.Schema
		changes  []string // kind:field
		breaking string
	}{
		"nothing":                                {base(), nil, ""},
		"only the version":                       {edit(func(*schemas.Schema) {}), []string{"table:"}, ""},
		"a new field that may be empty":          {edit(func(s *schemas.Schema) { s.Fields = append(s.Fields, fresh) }), []string{"add:fresh", "table:"}, ""},
		"a new field in front":                   {edit(func(s *schemas.Schema) { s.Fields = append([]schemas.Field{fresh}, s.Fields...) }), []string{"add:fresh", "table:"}, ""},
		"a new field without raising version":    {edit(func(s *schemas.Schema) { s.Fields = append(s.Fields, fresh); s.Version = 2 }), []string{"add:fresh"}, "raise it"},
		"a new required field":                   {edit(func(s *schemas.Schema) { f := fresh; f.Required = true; s.Fields = append(s.Fields, f) }), []string{"table:"}, "fresh is new and required"},
		"a new required field with a default":    {edit(func(s *schemas.Schema) { f := fresh; f.Required, f.Default = true, "-"; s.Fields = append(s.Fields, f) }), []string{"add:fresh", "table:"}, ""},
		"a new key field":                        {edit(func(s *schemas.Schema) { f := fresh; f.Key = true; s.Fields = append(s.Fields, f) }), []string{"table:"}, "the key was (id, at) and would be (id, at, fresh)"},
		"a field gone":                           {edit(func(s *schemas.Schema) { s.Fields = slices.Delete(s.Fields, 3, 4) }), []string{"table:"}, "field count (某) would be gone"},
		"a wider decimal":                        {edit(func(s *schemas.Schema) { s.Fields[2].Type = kind("decimal(18,4)") }), []string{"type:amount", "table:"}, ""},
		"a decimal with fewer whole digits":      {edit(func(s *schemas.Schema) { s.Fields[2].Type = kind("decimal(10,4)") }), []string{"table:"}, "does not hold every value"},
		"a whole number as long decimal":         {edit(func(s *schemas.Schema) { s.Fields[3].Type = kind("decimal(19,0)") }), []string{"type:count", "table:"}, ""},
		"a whole number as fraction":             {edit(func(s *schemas.Schema) { s.Fields[3].Type = kind("float64") }), []string{"table:"}, "count was int64 and would be float64"},
		"a code as text":                         {edit(func(s *schemas.Schema) { s.Fields[4].Type = kind("string") }), []string{"type:grain", "table:"}, ""},
		"a text as code":                         {edit(func(s *schemas.Schema) { s.Fields[5].Type = kind("code(grain)") }), []string{"table:"}, "word was string"},
		"codes in a list as text":                {edit(func(s *schemas.Schema) { s.Fields[6].Type = kind("array(string)") }), []string{"type:tags", "table:"}, ""},
		"another zone":                           {edit(func(s *schemas.Schema) { s.Fields[1].Type = kind("timestamp(UTC)") }), []string{"table:"}, "at was timestamp"},
		"a wider type of a key":                  {edit(func(s *schemas.Schema) { s.Fields[0].Type = kind("region") }), []string{"table:"}, "id was string"},
		"required no more":                       {edit(func(s *schemas.Schema) { s.Fields[2].Required = false }), []string{"type:amount", "table:"}, ""},
		"required now":                           {edit(func(s *schemas.Schema) { s.Fields[3].Required = true }), []string{"table:"}, "count could be empty"},
		"another default":                        {edit(func(s *schemas.Schema) { s.Fields[5].Default = "-" }), []string{"default:word", "table:"}, ""},
		"another unit":                           {edit(func(s *schemas.Schema) { s.Fields[2].Unit = "万元" }), []string{"table:"}, `was in "元" and would be in "万元"`},
		"another title":                          {edit(func(s *schemas.Schema) { s.Fields[2].Title.Zh = "额" }), []string{"comment:amount", "table:"}, ""},
		"another rule":                           {edit(func(s *schemas.Schema) { s.Fields[2].Rules = []schemas.Rule{{Name: "r", Pattern: "a"}} }), []string{"rules:amount", "table:"}, ""},
		"another rule of the record":             {edit(func(s *schemas.Schema) { s.Rules = []schemas.Rule{{Name: "r", Expr: "false"}} }), []string{"rules:", "table:"}, ""},
		"personal now":                           {edit(func(s *schemas.Schema) { s.Fields[5].Sensitivity = schemas.Personal }), []string{"table:"}, "word was internal and would be personal"},
		"public now":                             {edit(func(s *schemas.Schema) { s.Fields[5].Sensitivity = schemas.Public }), []string{"table:"}, ""},
		"another sorting order":                  {edit(func(s *schemas.Schema) { s.Order = []string{"at", "id"} }), []string{"table:"}, "the key was (id, at) and would be (at, id)"},
		"history now":                            {edit(func(s *schemas.Schema) { s.History = true }), []string{"table:"}, "history was false"},
		"no lineage":                             {edit(func(s *schemas.Schema) { s.Lineage = false }), []string{"table:"}, "lineage was true"},
		"split by year now":                      {edit(func(s *schemas.Schema) { s.PartitionBy = "year" }), []string{"table:"}, `would be split by "year" of "at"`},
		"an older version":                       {edit(func(s *schemas.Schema) { s.Version = 1 }), []string{"table:"}, "version 1 is older"},
		"another schema":                         {edit(func(s *schemas.Schema) { s.Name = "y" }), nil, "different schemas"},
		"two breaks at once are both reported":   {edit(func(s *schemas.Schema) { s.Fields[2].Unit = "万元"; s.Fields[3].Required = true }), []string{"table:"}, "count could be empty"},
		"a break and a change are both reported": {edit(func(s *schemas.Schema) { s.Fields[2].Unit = "万元"; s.Fields = append(s.Fields, fresh) }), []string{"add:fresh", "table:"}, "万元"},
	} {
		changes, breaking := schemas.Compare(base(), c.to)
		var got []string
		for _, one := range changes {
			got = append(got, string(one.Kind)+":"+one.Field)
			if one.Text == "" {
				t.Errorf("%s: %s says nothing", name, one.Kind)
			}
			if wantColumn := one.Kind != schemas.ChangeTable && one.Field != ""; wantColumn != (one.Column.Name == one.Field && one.Field != "") {
				t.Errorf("%s: %s of %q has the column %+v", name, one.Kind, one.Field, one.Column)
			}
		}
		if !slices.Equal(got, c.changes) {
			t.Errorf("%s: changes %v, want %v", name, got, c.changes)
		}
		if all := strings.Join(breaking, "\n"); (c.breaking == "") != (all == "") || !strings.Contains(all, c.breaking) {
			t.Errorf("%s: breaking %q, want %q", name, all, c.breaking)
		}
	}
}

func TestAnAddedColumnIsDefinedAsInItsTable(t *testing.T) {
	t.Parallel()
	for _, s := range everySchema(t) {
		statement := s.CreateTable("x")
		for _, f := range s.Fields {
			if definition := f.Column().Definition(); !strings.Contains(statement, "    "+definition) {
				t.Errorf("%s: %q is not in the table", s.Name, definition)
			}
		}
	}
}
