package schemas

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
)

// Title names something to people.
type Title struct {
	Zh string `yaml:"zh" json:"zh" required:"true" desc:"Chinese title."`
	En string `yaml:"en" json:"en" required:"true" desc:"English title."`
}

// The sensitivity of a field, from open to secret (GB/T 35273; Zhejiang's DB33/T 2351 levels L1 to L4 map onto them).
const (
	Public            = "public"
	Internal          = "internal"
	Personal          = "personal"
	SensitivePersonal = "sensitive-personal"
)

// Severities of rules.
const (
	SeverityError   = "error"   // the row is quarantined
	SeverityWarning = "warning" // the row is loaded and flagged with the rule's name
)

// Field is one field of a standard schema.
type Field struct {
	Name        string `yaml:"name" json:"name" required:"true" desc:"Name of the field: lower-case letters, digits and underscores."`
	Title       Title  `yaml:"title" json:"title" required:"true" desc:"Name for people."`
	Description string `yaml:"description" json:"description" required:"true" desc:"What the value says, in one or two sentences."`
	Type        Type   `yaml:"type" json:"type" required:"true" desc:"string, int64, float64, decimal(18,4), bool, date, timestamp(ZONE), code(LIST), region or array(TYPE)."`
	Unit        string `yaml:"unit,omitempty" json:"unit,omitempty" desc:"Unit of the value, such as 元 or km."`
	Required    bool   `yaml:"required,omitempty" json:"required,omitempty" desc:"A record without a value breaks the rule required."`
	Key         bool   `yaml:"key,omitempty" json:"key,omitempty" desc:"The field is part of the business key: a later record with the same key replaces an earlier one."`
	// Default stands in for a missing value. It is a string, int64, float64 or bool as the type needs (dates, timestamps
	// and decimals as text); nil when there is none.
	Default     any    `yaml:"default,omitempty" json:"default,omitempty" desc:"Value in place of a missing one."`
	Rules       []Rule `yaml:"rules,omitempty" json:"rules,omitempty" desc:"What a value must satisfy."`
	Sensitivity string `yaml:"sensitivity,omitempty" json:"sensitivity,omitempty" enum:"public,internal,personal,sensitive-personal" desc:"public, internal (default), personal or sensitive-personal. Personal fields are hashed or masked before Kafka."`
}

// Nullable reports whether the field may have no value in a good record. Key fields and fields with a default always have
// one; an array without a value is empty.
func (f Field) Nullable() bool {
	return !f.Required && !f.Key && f.Default == nil && f.Type.Kind != KindArray
}

// IsPersonal reports whether the field's values must not leave the department's process in clear.
func (f Field) IsPersonal() bool {
	return f.Sensitivity == Personal || f.Sensitivity == SensitivePersonal
}

// Rule is one condition on a field, or, with Expr, on the whole record.
type Rule struct {
	Name     string   `yaml:"name,omitempty" json:"name,omitempty" desc:"Stable name under which broken rows are counted. Defaults to FIELD.range, FIELD.past, FIELD.pattern, FIELD.one_of or FIELD.check; required beside expr."`
	Severity string   `yaml:"severity,omitempty" json:"severity,omitempty" enum:"error,warning" desc:"error (default: the row is quarantined) or warning (loaded and flagged)."`
	Min      *float64 `yaml:"min,omitempty" json:"min,omitempty" desc:"Smallest number allowed."`
	Max      *float64 `yaml:"max,omitempty" json:"max,omitempty" desc:"Largest number allowed."`
	MinDate  string   `yaml:"min_date,omitempty" json:"min_date,omitempty" desc:"First day allowed, YYYY-MM-DD."`
	MaxDate  string   `yaml:"max_date,omitempty" json:"max_date,omitempty" desc:"Last day allowed, YYYY-MM-DD."`
	Past     bool     `yaml:"past,omitempty" json:"past,omitempty" desc:"The time may not lie after the moment at which the row was read. A day more is let pass, because clocks and zones differ."`
	Pattern  string   `yaml:"pattern,omitempty" json:"pattern,omitempty" desc:"Regular expression (RE2) that the text must match."`
	OneOf    []string `yaml:"one_of,omitempty" json:"one_of,omitempty" desc:"The texts allowed."`
	Check    string   `yaml:"check,omitempty" json:"check,omitempty" enum:"uscc,org-code,resident-id" desc:"Check digit that must be right: uscc (GB 32100), org-code (GB 11714) or resident-id (GB 11643)."`
	Expr     string   `yaml:"expr,omitempty" json:"expr,omitempty" desc:"On the schema's own rules: expression over the record's fields; true means that the rule is broken."`
	Message  string   `yaml:"message,omitempty" json:"message,omitempty" desc:"What to tell people."`
}

// Schema is the agreed form of one kind of record. Schemas of a Set are shared: do not change them.
type Schema struct {
	Name        string `yaml:"schema" json:"schema" required:"true" desc:"Name of the schema and of its table."`
	Version     int    `yaml:"version" json:"version" required:"true" desc:"Version of the schema, from 1; raised with every change."`
	Title       Title  `yaml:"title" json:"title" required:"true" desc:"Name for people."`
	Description string `yaml:"description" json:"description" required:"true" desc:"What one record stands for."`
	// History keeps every version of a record: the version is part of the table's key.
	History bool `yaml:"history,omitempty" json:"history,omitempty" desc:"Keep earlier values, so that figures can be shown as they were known on a day."`
	// Lineage says that the table's rows come through the pipeline and carry where they came from. Without it the table
	// is Headwater's own. Files that say nothing mean true.
	Lineage     bool     `yaml:"lineage,omitempty" json:"lineage" desc:"Rows carry where they came from (default true). False for Headwater's own tables."`
	Time        string   `yaml:"time,omitempty" json:"time,omitempty" desc:"Field that dates the record."`
	PartitionBy string   `yaml:"partition_by,omitempty" json:"partition_by,omitempty" enum:"year" desc:"year splits the table by the year of the time field, which must be part of the key."`
	Order       []string `yaml:"order,omitempty" json:"order,omitempty" desc:"The key fields in the order in which the table is sorted. Defaults to the order of the fields."`
	Fields      []Field  `yaml:"fields" json:"fields" required:"true" desc:"The fields in order."`
	Rules       []Rule   `yaml:"rules,omitempty" json:"rules,omitempty" desc:"Rules over the whole record."`

	lists map[string]*CodeList // of the set that holds the schema; nil outside one
}

// TableName is the name of the schema's table.
func (s *Schema) TableName() string { return s.Name }

// Field returns the field of that name.
func (s *Schema) Field(name string) (Field, bool) {
	if i := s.FieldIndex(name); i >= 0 {
		return s.Fields[i], true
	}
	return Field{}, false
}

// FieldIndex returns the position of the field in Fields and in the Arrow schema, or -1.
func (s *Schema) FieldIndex(name string) int {
	return slices.IndexFunc(s.Fields, func(f Field) bool { return f.Name == name })
}

// Key returns the names of the key fields in the table's sorting order, without the version.
func (s *Schema) Key() []string {
	if len(s.Order) > 0 {
		return slices.Clone(s.Order)
	}
	var key []string
	for _, f := range s.Fields {
		if f.Key {
			key = append(key, f.Name)
		}
	}
	return key
}

// Arrow returns the Arrow schema of the schema's own fields, in order, without system columns and metadata.
func (s *Schema) Arrow() *arrow.Schema { return arrow.NewSchema(arrowFields(s.Fields), nil) }

func arrowFields(fields []Field) []arrow.Field {
	out := make([]arrow.Field, len(fields))
	for i, f := range fields {
		out[i] = arrow.Field{Name: f.Name, Type: f.Type.Arrow(), Nullable: f.Nullable()}
	}
	return out
}

// UnmarshalJSON reads what json.Marshal wrote and gives the default the Go type that the field's type needs.
func (f *Field) UnmarshalJSON(data []byte) error {
	type plain Field // without this method
	var raw struct {
		plain
		Default json.RawMessage `json:"default"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	*f = Field(raw.plain)
	if len(raw.Default) == 0 || string(raw.Default) == "null" {
		return nil
	}
	var value any
	switch f.Type.Kind {
	case KindInt64:
		value = new(int64)
	case KindFloat64:
		value = new(float64)
	case KindBool:
		value = new(bool)
	default:
		value = new(string)
	}
	if err := json.Unmarshal(raw.Default, value); err != nil {
		return fmt.Errorf("default of field %q: %w", f.Name, err)
	}
	switch v := value.(type) {
	case *int64:
		f.Default = *v
	case *float64:
		f.Default = *v
	case *bool:
		f.Default = *v
	case *string:
		f.Default = *v
	}
	return nil
}

// Normalize fills in what a schema may leave out: rule names and severities, sensitivities, and the Go type of defaults.
// Schemas of a Set are normal. It is for schemas that are built in Go.
func (s *Schema) Normalize() {
	for i := range s.Fields {
		f := &s.Fields[i]
		f.Sensitivity = cmp.Or(f.Sensitivity, Internal)
		f.Default = normalDefault(f.Type.Kind, f.Default)
		for j := range f.Rules {
			r := &f.Rules[j]
			r.Severity = cmp.Or(r.Severity, SeverityError)
			if r.Name == "" {
				r.Name = f.Name + "." + r.kind()
			}
		}
	}
	for i := range s.Rules {
		s.Rules[i].Severity = cmp.Or(s.Rules[i].Severity, SeverityError)
	}
}

// kind names the condition of a field's rule.
func (r Rule) kind() string {
	switch {
	case r.Check != "":
		return "check"
	case r.Past:
		return "past"
	case r.Pattern != "":
		return "pattern"
	case len(r.OneOf) > 0:
		return "one_of"
	}
	return "range"
}

// normalDefault brings what a YAML file or Go code gives into the one Go type of the kind; what does not fit stays as it is
// and is found by validation.
func normalDefault(kind Kind, value any) any {
	var whole int64
	var isWhole bool
	switch v := value.(type) {
	case int:
		whole, isWhole = int64(v), true
	case int64:
		whole, isWhole = v, true
	case uint64:
		if v <= 1<<63-1 {
			whole, isWhole = int64(v), true
		}
	}
	switch {
	case kind == KindInt64 && isWhole:
		return whole
	case kind == KindFloat64 && isWhole:
		return float64(whole)
	case kind == KindDecimal && isWhole:
		return fmt.Sprint(whole)
	}
	if f, ok := value.(float64); ok && kind == KindDecimal {
		return fmt.Sprint(f)
	}
	return value
}
