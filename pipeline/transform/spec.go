package transform

// Spec is a mapping as declared in a source's YAML under `map:`: how one stream's columns become one standard schema's
// records. Yaml keys are the field tags; `desc` tags feed the reference page and the editor's schema.
type Spec struct {
	Schema  string               `yaml:"schema" json:"schema" desc:"Name of the standard schema that the stream is mapped to."`
	Version *FieldSpec           `yaml:"version,omitempty" json:"version,omitempty" desc:"The source's own order of a row (a whole number, or a time, which counts in microseconds). Defaults to the time of extraction. Not allowed where a stream's new content replaces the old."`
	Deleted *FieldSpec           `yaml:"deleted,omitempty" json:"deleted,omitempty" desc:"A true value marks the record as gone (a tombstone column)."`
	Fields  map[string]FieldSpec `yaml:"fields" json:"fields" desc:"How each field of the schema is filled. Fields left out take the schema's default or null."`
	Unpivot *UnpivotSpec         `yaml:"unpivot,omitempty" json:"unpivot,omitempty" desc:"Makes several records of one row: one for each named column."`
	Rules   []RuleSpec           `yaml:"rules,omitempty" json:"rules,omitempty" desc:"Rules of this stream beside those of the schema."`
}

// FilterSpec leaves rows out by a stated rule; they are counted as filtered under its name.
type FilterSpec struct {
	Name string `yaml:"name" json:"name" desc:"Stable name under which the rows are counted."`
	When string `yaml:"when" json:"when" desc:"Expression over the source row, col[\"name\"] (always text, nil when empty); rows for which it is true are left out. A row of which it cannot be told because a column has no value stays."`
}

// RuleSpec is a rule of the mapping, over the finished record.
type RuleSpec struct {
	Name     string `yaml:"name" json:"name" desc:"Stable name of the rule."`
	When     string `yaml:"when" json:"when" desc:"Expression over the record's fields (by their names); true means that the rule is broken. A rule that cannot be judged because a field is null is not broken."`
	Message  string `yaml:"message,omitempty" json:"message,omitempty" desc:"What to tell people."`
	Severity string `yaml:"severity,omitempty" json:"severity,omitempty" desc:"error (default: the row is quarantined) or warning (loaded and flagged)."`
}

// FieldSpec fills one field. Exactly one of From, Value, Coalesce, Concat, Split, Expr says where the value comes from; a
// region may name its columns itself. Then, in this order: blanks at both ends are cut and null words taken out, codes and
// lookup translate, the text is read (Parse, Layout, Zone, Year, Scale, Unit) or, for regions, resolved; a null becomes the
// Default; the field's rules are checked; personal values are masked. A bare string in YAML is short for {from: …}.
type FieldSpec struct {
	From     string      `yaml:"from,omitempty" json:"from,omitempty" desc:"Source column."`
	Value    any         `yaml:"value,omitempty" json:"value,omitempty" desc:"A constant."`
	Coalesce []string    `yaml:"coalesce,omitempty" json:"coalesce,omitempty" desc:"The first of these columns that is not null (after the null words)."`
	Concat   *ConcatSpec `yaml:"concat,omitempty" json:"concat,omitempty" desc:"Several columns joined into one text."`
	Split    *SplitSpec  `yaml:"split,omitempty" json:"split,omitempty" desc:"One part of a column's text."`
	Expr     string      `yaml:"expr,omitempty" json:"expr,omitempty" desc:"An expression over the source row in expr-lang: col[\"name\"] is the text of a column, nil when it has none; number(text) and date(text) read it. Null when it cannot be evaluated because a column has no value. Runs per row, some ten times slower than the others; prefer those."`

	Null   []string          `yaml:"null,omitempty" json:"null,omitempty" desc:"Words that mean null, such as NA, -, /, 无. Compared after trimming."`
	Parse  string            `yaml:"parse,omitempty" json:"parse,omitempty" desc:"How text is read: number (thousands separators, 万, 亿, %, the field's unit), date, datetime, month, period (of the length that the record's grain says), bool. Defaults to what the field's type needs, in its canonical form only: 2021-03-05, 2021-03-05T08:30:00, 1234.5, true."`
	Layout []string          `yaml:"layout,omitempty" json:"layout,omitempty" desc:"Date layouts such as YYYY年M月D日 (YYYY, M, MM, D, DD, H, HH, m, mm, s, ss, SSS, Z) or excel, excel1904, unix, unix_ms for numbers; tried in order before the built-in forms."`
	Zone   string            `yaml:"zone,omitempty" json:"zone,omitempty" desc:"Time zone of texts without one. Defaults to the field's zone."`
	Year   *FieldSpec        `yaml:"year,omitempty" json:"year,omitempty" desc:"Where a date without a year (3月5日, 一季度) takes it from."`
	Scale  float64           `yaml:"scale,omitempty" json:"scale,omitempty" desc:"Factor that the parsed number is multiplied by, such as 10000 for a column in 万. Exact, without binary rounding. A cell that brings a factor of its own (6.08万) is then refused."`
	Unit   string            `yaml:"unit,omitempty" json:"unit,omitempty" desc:"Unit of the column where it differs from the field's, such as 万元; converted, or refused by check if it cannot be. The field value of a schema that leaves its unit open is converted to the constant of the field unit."`
	Codes  map[string]string `yaml:"codes,omitempty" json:"codes,omitempty" desc:"Translation of the source's values into the code list's. A value that is in neither breaks the rule code.unknown."`
	Region *RegionSpec       `yaml:"region,omitempty" json:"region,omitempty" desc:"Region normalisation: names, short names, old or long codes to the 6-digit code that holds on the row's date."`
	Lookup *LookupSpec       `yaml:"lookup,omitempty" json:"lookup,omitempty" desc:"The value found under this one in a small CSV table of the project."`
	Mask   string            `yaml:"mask,omitempty" json:"mask,omitempty" desc:"hash or hash:KEY (a hash under the key of that name, by default the newest one, whose name stands before the hash), phone, name, id or drop. Defaults to hash for fields whose sensitivity is personal or sensitive-personal. Done before Kafka."`

	Default any `yaml:"default,omitempty" json:"default,omitempty" desc:"Value in place of null."`
}

// UnmarshalShorthand accepts a bare scalar in YAML as the name of a source column.
func (f *FieldSpec) UnmarshalShorthand(scalar string) bool {
	*f = FieldSpec{From: scalar}
	return true
}

// ConcatSpec joins columns; nulls are left out.
type ConcatSpec struct {
	Columns   []string `yaml:"columns" json:"columns" desc:"Columns in order."`
	Separator string   `yaml:"separator,omitempty" json:"separator,omitempty" desc:"Text between them. Defaults to nothing."`
}

// SplitSpec takes one part of a text.
type SplitSpec struct {
	Column    string `yaml:"column" json:"column" desc:"Column to split."`
	Separator string `yaml:"separator" json:"separator" desc:"Text between the parts."`
	Part      int    `yaml:"part" json:"part" desc:"Which part: 1 is the first, -1 the last. A part that is not there is null."`
}

// RegionSpec resolves the finest region that a row names. Columns are listed from the finest level to the coarsest, and a
// coarser one narrows the search for a finer name.
type RegionSpec struct {
	Codes   []string          `yaml:"codes,omitempty" json:"codes,omitempty" desc:"Columns that hold codes, finest first. A code that is no region's falls back on the name."`
	Names   []string          `yaml:"names,omitempty" json:"names,omitempty" desc:"Columns that hold names, finest first. Defaults to the field's own from."`
	Within  string            `yaml:"within,omitempty" json:"within,omitempty" desc:"Code of the region in which names are sought, such as 330000."`
	On      string            `yaml:"on,omitempty" json:"on,omitempty" desc:"Field of the record whose date says which code held. Defaults to the schema's period or event time."`
	Member  string            `yaml:"member,omitempty" json:"member,omitempty" desc:"Field that takes a finest name which is no region (a development zone, 境外输入); the record then belongs to the region above it. Without it such a row breaks region.unknown."`
	Aliases map[string]string `yaml:"aliases,omitempty" json:"aliases,omitempty" desc:"Names of this source's own and the codes that they mean. Win over the reference."`
}

// LookupSpec finds a value in a table that belongs to the mapping.
type LookupSpec struct {
	File  string `yaml:"file" json:"file" desc:"CSV (UTF-8, with header) in the project, at most 100,000 rows."`
	Key   string `yaml:"key" json:"key" desc:"Column to look in."`
	Value string `yaml:"value" json:"value" desc:"Column to take."`
}

// UnpivotSpec makes one record per entry of Columns from each row.
type UnpivotSpec struct {
	Columns  map[string]any `yaml:"columns" json:"columns" desc:"Source column -> value for the By field (a text), or a map of field: constant."`
	By       string         `yaml:"by,omitempty" json:"by,omitempty" desc:"Field that takes the column's value from Columns. Defaults to indicator."`
	Into     string         `yaml:"into,omitempty" json:"into,omitempty" desc:"Field that takes the cell; its FieldSpec in fields says how it is read (its from is left out). Defaults to value."`
	KeepNull bool           `yaml:"keep_null,omitempty" json:"keep_null,omitempty" desc:"Make a record of a null cell too. Without it null cells make no record, and a row whose cells are all null is filtered as unpivot.empty."`
}
