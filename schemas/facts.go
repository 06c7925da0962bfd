package schemas

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/headwater-data/headwater/internal/yamlfile"
)

// Facts says how an indicator is counted from the records of a standard schema, at each level anew. What is counted so is in
// the view indicator_fact of the warehouse, beside what is reported.
type Facts struct {
	Schema  string   `yaml:"schema" json:"schema" required:"true" desc:"Standard schema of the records."`
	Time    string   `yaml:"time" json:"time" required:"true" desc:"Field that says which period a record belongs to."`
	Region  string   `yaml:"region,omitempty" json:"region,omitempty" desc:"Field that says which region a record belongs to (default region)."`
	Measure string   `yaml:"measure,omitempty" json:"measure,omitempty" enum:"count,sum,max,distinct" desc:"What of the records: count (default), or sum, max or distinct of field."`
	Field   string   `yaml:"field,omitempty" json:"field,omitempty" desc:"Field that is summed, looked through for its largest value, or whose different values are counted."`
	Where   []string `yaml:"where,omitempty" json:"where,omitempty" desc:"Conditions, all of which a record must meet: FIELD OP VALUE, FIELD OP FIELD (=, !=, <, <=, >, >=), FIELD is present, FIELD is absent."`
	Of      []string `yaml:"of,omitempty" json:"of,omitempty" desc:"Of a ratio, the conditions of the records that it is a part of; [] means all of them. A record that where lets count must meet these too."`

	where, of []Condition
}

// Conditions are those of the records that count, and of those that a ratio is a part of.
func (f *Facts) Conditions() (where, of []Condition) { return f.where, f.of }

// Condition is one condition on a record.
type Condition struct {
	Field Field
	Op    string // =, !=, <, <=, >, >=, present or absent
	Value string // of comparisons with a value
	Other *Field // of comparisons with a field
}

// Used lists the fields that the figure depends on, in order.
func (f *Facts) Used() []string {
	var out []string
	add := func(name string) {
		if name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	add(f.Time)
	add(f.Region)
	add(f.Field)
	for _, c := range slices.Concat(f.where, f.of) {
		add(c.Field.Name)
		if c.Other != nil {
			add(c.Other.Name)
		}
	}
	return out
}

// counts tells which aggregations over regions a measure fits.
var counts = map[string][]string{"count": {"sum", "ratio"}, "sum": {"sum", "ratio"}, "max": {"max"}, "distinct": {"distinct"}}

// facts checks that there are the records and fields that an indicator is counted from, and that units agree.
func (l *measureLoader) facts(out *faults, one Indicator) {
	f := one.Facts
	schema, ok := l.set.Schema(f.Schema)
	if !ok || !schema.Lineage {
		fix := "name a schema of the data dictionary"
		if s := yamlfile.Suggest(f.Schema, l.set.Names()); s != "" {
			fix = fmt.Sprintf("did you mean %q?", s)
		}
		out.add([]any{"facts", "schema"}, fmt.Sprintf("there is no schema %q to count", clip(f.Schema)), fix)
		return
	}
	if time, ok := schema.lookUp(out, f.Time, "facts", "time"); ok && time.Type.Kind != KindDate && time.Type.Kind != KindTimestamp {
		out.add([]any{"facts", "time"}, fmt.Sprintf("field %q is a %s", time.Name, time.Type), "name a date or timestamp field")
	}
	if region, ok := schema.lookUp(out, f.Region, "facts", "region"); ok && region.Type.Kind != KindRegion {
		out.add([]any{"facts", "region"}, fmt.Sprintf("field %q is a %s", region.Name, region.Type), "name a region field")
	}
	if one.Grain == "hour" {
		out.add([]any{"grain"}, "records are counted by days and longer periods", "use day")
	}
	if how := counts[f.Measure]; !slices.Contains(how, one.Aggregation) {
		out.add([]any{"facts", "measure"}, fmt.Sprintf("a %s of records and aggregation %s do not go together", f.Measure, one.Aggregation), "aggregation can be "+strings.Join(how, " or "))
	}
	switch {
	case f.Measure == "count" && f.Field != "":
		out.add([]any{"facts", "field"}, "records are counted, whatever their fields", "remove it, or choose another measure")
	case f.Measure != "count" && f.Field == "":
		out.add([]any{"facts"}, fmt.Sprintf("measure %s needs a field", f.Measure), "")
	case f.Measure != "count":
		field, ok := schema.lookUp(out, f.Field, "facts", "field")
		if !ok {
			break
		}
		if number := field.Type.isNumber(); !number && f.Measure != "distinct" || field.Type.Kind == KindArray {
			out.add([]any{"facts", "field"}, fmt.Sprintf("field %q is a %s", field.Name, field.Type), "name a number")
		}
		// What is summed keeps its unit; a ratio or a count has another one than what it is made of.
		if f.Measure != "distinct" && one.Aggregation != "ratio" && field.Unit != "" && field.Unit != one.Unit {
			out.add([]any{"unit"}, fmt.Sprintf("the indicator's unit is %q and that of %s.%s is %q", one.Unit, schema.Name, field.Name, field.Unit), "use the field's unit")
		}
	}
	if (one.Aggregation == "ratio") != (f.Of != nil) {
		out.add([]any{"facts"}, "of says what a ratio is a part of, and only a ratio has it", "write of: [] for all records")
	}
	for _, part := range []struct {
		key   string
		texts []string
		into  *[]Condition
	}{{"where", f.Where, &f.where}, {"of", f.Of, &f.of}} {
		for i, text := range part.texts {
			if c, ok := l.condition(out, schema, text, "facts", part.key, i); ok {
				*part.into = append(*part.into, c)
			}
		}
	}
}

func (t Type) isNumber() bool {
	return t.Kind == KindInt64 || t.Kind == KindFloat64 || t.Kind == KindDecimal
}

// lookUp finds a field that may be counted by, or says which there are. All indicators are counted in one view, and who may not read
// one field that it reads could read none of them: personal fields are left out.
func (s *Schema) lookUp(out *faults, name string, path ...any) (Field, bool) {
	f, ok := s.Field(name)
	if !ok {
		names := make([]string, len(s.Fields))
		for i, f := range s.Fields {
			names[i] = f.Name
		}
		fix := "its fields are " + strings.Join(names, ", ")
		if near := yamlfile.Suggest(name, names); near != "" {
			fix = fmt.Sprintf("did you mean %q?", near)
		}
		out.add(path, fmt.Sprintf("the schema %s has no field %q", s.Name, clip(name)), fix)
	} else if f.IsPersonal() {
		out.add(path, fmt.Sprintf("the field %s is %s: who may not read it could read no indicator that is counted from records", name, f.Sensitivity), "count by another field")
		return f, false
	}
	return f, ok
}

var conditionForm = regexp.MustCompile(`^\s*([a-z][a-z0-9_]*)\s*(=|!=|<=|>=|<|>|\bis\b)\s*(.*?)\s*$`)

// condition reads one condition and checks it against the schema.
func (l *measureLoader) condition(out *faults, schema *Schema, text string, path ...any) (Condition, bool) {
	m := conditionForm.FindStringSubmatch(text)
	if m == nil || m[3] == "" || m[2] == "is" && m[3] != "present" && m[3] != "absent" {
		out.add(path, fmt.Sprintf("%q is no condition", clip(text)), "write FIELD = VALUE, FIELD <= FIELD, FIELD is present or the like")
		return Condition{}, false
	}
	field, ok := schema.lookUp(out, m[1], path...)
	if !ok {
		return Condition{}, false
	}
	c := Condition{Field: field, Op: m[2], Value: m[3]}
	if field.Type.Kind == KindArray {
		out.add(path, fmt.Sprintf("field %q is a %s, which has no one value", field.Name, field.Type), "use another field")
		return c, false
	}
	if m[2] == "is" {
		c.Op, c.Value = m[3], ""
		return c, true
	}
	if other, ok := schema.Field(m[3]); ok {
		if kind := other.Type.Kind; kind != field.Type.Kind && !(other.Type.isNumber() && field.Type.isNumber()) {
			out.add(path, fmt.Sprintf("%s is a %s and %s a %s", field.Name, field.Type, other.Name, other.Type), "compare fields of one type")
			return c, false
		}
		c.Other, c.Value = &other, ""
		return c, true
	}
	wrong := ""
	switch field.Type.Kind {
	case KindCode:
		list, _ := l.set.CodeList(field.Type.List)
		if code, ok := list.Find(c.Value); ok {
			c.Value = code.Code
		} else {
			wrong = "one of " + codesOf(list)
		}
	case KindInt64, KindFloat64, KindDecimal:
		if _, err := strconv.ParseFloat(c.Value, 64); err != nil {
			wrong = "a number or a field"
		}
	case KindDate, KindTimestamp:
		if _, err := time.Parse(time.DateOnly, c.Value); err != nil {
			wrong = "a day, as 2021-04-09, or a field"
		}
	case KindBool:
		if c.Value != "true" && c.Value != "false" {
			wrong = "true or false"
		}
	}
	if wrong != "" {
		out.add(path, fmt.Sprintf("%q is no value of %s", clip(c.Value), field.Name), "write "+wrong)
		return c, false
	}
	if (field.Type.Kind == KindCode || field.Type.Kind == KindBool || field.Type.Kind == KindString || field.Type.Kind == KindRegion) && c.Op != "=" && c.Op != "!=" {
		out.add(path, fmt.Sprintf("a %s has no order", field.Type.Kind), "use = or !=")
		return c, false
	}
	return c, true
}

func codesOf(list *CodeList) string {
	names := make([]string, len(list.Codes))
	for i, c := range list.Codes {
		names[i] = c.Code
	}
	return strings.Join(names, ", ")
}
