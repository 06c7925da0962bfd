package transform

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/secret"
	"github.com/headwater-data/headwater/schemas"
	"github.com/headwater-data/headwater/schemas/checkdigit"
)

// Fault is something wrong with a mapping.
type Fault struct {
	Source, Stream string
	Path           []any // below the stream's YAML node, such as ["map", "fields", "value", "from"]
	Message        string
	Fix            string // what to do; may be empty
}

func (f Fault) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s/%s: ", f.Source, f.Stream)
	for i, p := range f.Path {
		if i > 0 {
			b.WriteByte('.')
		}
		fmt.Fprint(&b, p)
	}
	b.WriteString(": " + f.Message)
	if f.Fix != "" {
		b.WriteString(" (" + f.Fix + ")")
	}
	return b.String()
}

// Options are the surroundings of a Program.
type Options struct {
	// Allocator is used for all columns. Defaults to Go's heap.
	Allocator memory.Allocator
	// Keys returns the key of that name for `mask: hash`. It is asked once for each name while compiling. Without it a
	// Program can apply mappings to batches that Ingress has masked, but Ingress of a stream with hashed fields fails: a
	// loader needs no keys.
	Keys func(name string) (secret.Value, error)
	// Hashing says which key hashes where a mapping names none, and how.
	Hashing Hashing
}

// Program is a compiled Shape. It is immutable and safe for use from several goroutines.
type Program struct {
	streams map[streamName]*Mapping
}

type streamName struct{ source, stream string }

// Stream returns the mapping of a stream.
func (p *Program) Stream(source, stream string) (*Mapping, bool) {
	m, ok := p.streams[streamName{source, stream}]
	return m, ok
}

// Check lists everything that is wrong with the mappings of a shape. columns holds the known columns of streams, under
// "source/stream"; for others a stream's SourceColumns are used, and without either, names of columns are not checked.
func Check(shape *Shape, columns map[string]*arrow.Schema) []Fault {
	var faults []Fault
	for i := range shape.Streams {
		s := &shape.Streams[i]
		c := newCompiler(shape, s, columns[s.Source+"/"+s.Stream])
		c.compile()
		faults = append(faults, c.faults...)
	}
	return faults
}

// Compile compiles the mappings of a shape. The error, of kind usage, names every fault that Check would.
func Compile(shape *Shape, opts Options) (*Program, error) {
	if opts.Allocator == nil {
		opts.Allocator = memory.DefaultAllocator
	}
	p := &Program{streams: map[streamName]*Mapping{}}
	keys := map[string]secret.Value{}
	var faults []Fault
	var errs []error
	for i := range shape.Streams {
		s := &shape.Streams[i]
		c := newCompiler(shape, s, nil)
		m := c.compile()
		faults = append(faults, c.faults...)
		if len(c.faults) > 0 {
			continue
		}
		m.mem = opts.Allocator
		for _, masked := range m.masked {
			if masked.kind != "hash" {
				continue
			}
			if masked.key == "" {
				masked.key = cmp.Or(opts.Hashing.Newest, DefaultKey)
			}
			masked.algorithm = opts.Hashing.algorithm(masked.key)
			if opts.Keys == nil {
				continue
			}
			if _, ok := keys[masked.key]; !ok {
				value, err := opts.Keys(masked.key)
				if err == nil && !value.IsSet() {
					err = errors.New("the key is empty")
				}
				if err != nil {
					errs = append(errs, fault.Usage(fmt.Errorf("key %q for hashing field %s of %s/%s: %w", masked.key, masked.plan.field.Name, s.Source, s.Stream, err)))
					continue
				}
				keys[masked.key] = value
			}
			masked.secret = keys[masked.key]
		}
		var err error
		if m.version, err = versionOf(shape, s); err != nil {
			return nil, err
		}
		p.streams[streamName{s.Source, s.Stream}] = m
	}
	for _, f := range faults {
		errs = append(errs, errors.New(f.String()))
	}
	if len(errs) > 0 {
		return nil, fault.Usage(errors.Join(errs...))
	}
	return p, nil
}

// versionOf names what shapes a stream's records: its mapping, schema, code lists and lookups. Regions are left out: they
// change every year, and then every stream would seem to have changed; the shape's hash has them.
func versionOf(shape *Shape, s *StreamShape) (string, error) {
	schema, _ := shape.Set.Schema(s.Map.Schema)
	var lists []*schemas.CodeList
	for _, f := range schema.Fields {
		t := f.Type
		if t.Kind == schemas.KindArray {
			t = *t.Elem
		}
		if list, ok := shape.Set.CodeList(t.List); ok && t.Kind == schemas.KindCode {
			lists = append(lists, list)
		}
	}
	encoded, err := json.Marshal(struct {
		Stream     *StreamShape
		Schema     *schemas.Schema
		Lists      []*schemas.CodeList
		Indicators []string
	}{s, schema, lists, shape.Indicators})
	if err != nil {
		return "", fmt.Errorf("version of the mapping of %s/%s: %w", s.Source, s.Stream, err)
	}
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:])[:12], nil
}

// compiler compiles one stream's mapping and collects what is wrong with it.
type compiler struct {
	shape  *Shape
	stream *StreamShape
	known  map[string]arrow.DataType // columns of the source; nil when unknown; types may be nil
	faults []Fault

	m       *Mapping
	schema  *schemas.Schema
	dates   days
	public  map[string][]any // columns that are read in clear -> where
	private map[string][]any // columns of personal fields -> where
}

func newCompiler(shape *Shape, stream *StreamShape, columns *arrow.Schema) *compiler {
	c := &compiler{shape: shape, stream: stream, public: map[string][]any{}, private: map[string][]any{}}
	switch {
	case columns != nil:
		c.known = map[string]arrow.DataType{}
		for _, f := range columns.Fields() {
			c.known[f.Name] = f.Type
		}
	case len(stream.SourceColumns) > 0:
		c.known = map[string]arrow.DataType{}
		for name := range stream.SourceColumns {
			c.known[name] = nil
		}
	}
	return c
}

func (c *compiler) fault(path []any, fix, format string, args ...any) {
	c.faults = append(c.faults, Fault{Source: c.stream.Source, Stream: c.stream.Stream, Path: slices.Clone(path), Message: fmt.Sprintf(format, args...), Fix: fix})
}

func at(path []any, more ...any) []any { return append(slices.Clone(path), more...) }

// compile returns the mapping; it is usable only if there are no faults.
func (c *compiler) compile() *Mapping {
	spec := &c.stream.Map
	schema, ok := c.shape.Set.Schema(spec.Schema)
	if !ok {
		c.fault([]any{"map", "schema"}, suggest(spec.Schema, c.shape.Set.Names()), "there is no schema %q", bounded(spec.Schema, 60))
		return nil
	}
	c.schema = schema
	if r := c.shape.Set.Regions(); r != nil {
		c.dates = regionDays(r)
	}
	m := &Mapping{source: c.stream.Source, stream: c.stream.Stream, schema: schema, arrow: schema.Arrow(), fields: make([]*fieldPlan, len(schema.Fields)), kept: map[string]bool{}}
	c.m = m

	c.unpivot()
	names := slices.Sorted(maps.Keys(spec.Fields))
	for _, name := range names {
		if schema.FieldIndex(name) < 0 {
			c.fault([]any{"map", "fields", name}, suggest(name, fieldNames(schema)), "schema %s has no field %q", schema.Name, bounded(name, 60))
		}
	}
	for i, f := range schema.Fields {
		fs, declared := spec.Fields[f.Name]
		if c.m.unpivot != nil && c.m.unpivot.into == i {
			continue // compiled once for each column
		}
		path := []any{"map", "fields", f.Name}
		if !declared {
			m.fields[i] = c.undeclared(i, f)
			continue
		}
		m.fields[i] = c.field(path, i, f, fs, c.unitOf(""))
	}
	c.members()
	c.dating()
	c.order()
	c.special()
	c.filters()
	c.rules()
	c.keep()
	c.privacy()
	if len(c.faults) == 0 {
		c.constants()
	}
	return m
}

func fieldNames(s *schemas.Schema) []string {
	var names []string
	for _, f := range s.Fields {
		names = append(names, f.Name)
	}
	return names
}

// undeclared is the plan of a field that the mapping does not name: its default, or null.
func (c *compiler) undeclared(i int, f schemas.Field) *fieldPlan {
	p := c.plan(i, f)
	filled := c.m.unpivot != nil && c.m.unpivot.always(i)
	if p.required && p.fallback == nil && !filled && !c.isMember(f.Name) {
		what := "required"
		if f.Key {
			what = "part of the key"
		}
		c.fault([]any{"map", "fields"}, "add "+f.Name+" to fields", "field %q is %s and has no default, but the mapping does not fill it", f.Name, what)
	}
	return p
}

// isMember reports whether a region's member takes the field.
func (c *compiler) isMember(field string) bool {
	for _, fs := range c.stream.Map.Fields {
		if fs.Region != nil && fs.Region.Member == field {
			return true
		}
	}
	return false
}

// plan is what follows from the field alone.
func (c *compiler) plan(i int, f schemas.Field) *fieldPlan {
	p := &fieldPlan{field: f, index: i, grainOf: -1, datedBy: -1, perTick: 1000}
	p.required = f.Required || f.Key && f.Default == nil
	p.number = numberReader{column: bareUnit, target: bareUnit, bare: one}
	p.zone, p.fieldTZ = shanghai(), shanghai()
	if f.Type.Kind == schemas.KindTimestamp {
		p.perTick = perSecond(f.Type.Arrow().(*arrow.TimestampType).Unit)
		if f.Type.Zone != "" {
			if zone, err := time.LoadLocation(f.Type.Zone); err == nil {
				p.zone, p.fieldTZ = zone, zone
			}
		}
	}
	path := []any{"map", "fields", f.Name}
	switch f.Type.Kind {
	case schemas.KindCode:
		if list, ok := c.shape.Set.CodeList(f.Type.List); ok {
			p.list = newCodePlan(list, nil)
		} else {
			c.fault(path, "add the code list", "the code list %q of field %q does not exist", f.Type.List, f.Name)
			p.list = newCodePlan(&schemas.CodeList{Name: f.Type.List}, nil)
		}
	case schemas.KindRegion:
		if r := c.shape.Set.Regions(); r == nil || r.Len() == 0 {
			c.fault(path, "import a list of regions: headwater reference import FILE", "the project has no regions for field %q", f.Name)
		}
		p.region = &regionPlan{regions: c.shape.Set.Regions(), member: -1, dates: c.dates}
	case schemas.KindArray:
		p.element = c.plan(i, schemas.Field{Name: f.Name, Title: f.Title, Type: *f.Type.Elem, Unit: f.Unit, Sensitivity: f.Sensitivity, Key: f.Key})
		p.element.required = false
	}
	for _, r := range f.Rules {
		rule, err := compileRule(r)
		if err != nil {
			c.fault(path, "", "rule %q of schema %s cannot be used: %v", r.Name, c.schema.Name, err)
			continue
		}
		p.rules = append(p.rules, rule)
		p.longID = p.longID || r.Check == checkdigit.NameResidentID || r.Check == checkdigit.NameCreditCode
	}
	if f.Name == "indicator" && f.Type.Kind == schemas.KindString && c.schema.Name != "indicator" && len(c.shape.Indicators) > 0 {
		p.rules = append(p.rules, indicatorRule(c.shape.Indicators))
	}
	if f.Default != nil {
		text, null, ok := constantText(f.Default)
		if !ok || null {
			c.fault(path, "", "the default of field %q in schema %s has no text form", f.Name, c.schema.Name)
		} else if problem := p.setFallback(text); problem != "" {
			c.fault(path, "", "the default of field %q in schema %s: %s", f.Name, c.schema.Name, problem)
		}
	}
	return p
}

func indicatorRule(codes []string) fieldRule {
	r := fieldRule{name: "indicator.unknown", oneOf: map[string]struct{}{}, shown: "the project's indicators"}
	for _, code := range codes {
		r.oneOf[code] = struct{}{}
	}
	return r
}

// setFallback reads a default by the field's type alone: defaults are written in the field's own terms.
func (p *fieldPlan) setFallback(text string) (problem string) {
	if text == "" && p.field.Type.Kind == schemas.KindString {
		p.fallback = &fallback{}
		return ""
	}
	if p.field.Type.Kind == schemas.KindArray {
		return "an array cannot have a default"
	}
	plain := *p
	plain.fallback, plain.required, plain.nulls, plain.codes, plain.lookup, plain.textual = nil, false, words{}, nil, nil, false
	plain.number, plain.purpose, plain.layouts, plain.year, plain.secret = numberReader{column: bareUnit, target: bareUnit, bare: one}, purposeCanonical, nil, nil, false
	plain.datedBy, plain.grainOf, plain.rules = -1, -1, nil
	if p.list != nil {
		plain.list = newCodePlan(p.list.list, nil)
	}
	arr, problem := plain.once(text)
	if problem != "" {
		return problem
	}
	defer arr.Release()
	out := &fallback{text: text}
	switch a := arr.(type) {
	case *array.Float64:
		out.float = a.Value(0)
	case *array.Int64:
		out.whole = a.Value(0)
	case *array.Date32:
		out.whole = int64(a.Value(0))
	case *array.Timestamp:
		out.whole = int64(a.Value(0))
	case *array.Decimal128:
		out.decimal = a.Value(0)
	case *array.Boolean:
		if a.Value(0) {
			out.whole = 1
		}
	case *array.String:
		out.text = a.Value(0)
	case *array.Dictionary:
		out.text = a.Dictionary().(*array.String).Value(a.GetValueIndex(0))
	}
	p.fallback = out
	return ""
}

// once casts one text on Go's heap, while compiling. The caller releases the array.
func (p *fieldPlan) once(text string) (arr arrow.Array, problem string) {
	b := &batch{mem: memory.NewGoAllocator(), n: 1, s: newScratch()}
	cell := array.NewStringBuilder(b.mem)
	defer cell.Release()
	cell.Append(text)
	one := cell.NewArray()
	defer one.Release()
	arr = p.cast(b, one)
	p.judge(b, arr)
	if len(b.breaks) > 0 {
		arr.Release()
		return nil, b.breaks[0].Message
	}
	if arr.IsNull(0) {
		arr.Release()
		return nil, quoted(text) + " is empty"
	}
	return arr, ""
}

// unitOf is the unit in which the field value is kept when the field itself has none: that of the constant field unit. text
// overrides it (an unpivot's own constant).
func (c *compiler) unitOf(text string) string {
	if text != "" {
		return text
	}
	if f, ok := c.schema.Field("unit"); ok && f.Type.Kind == schemas.KindString {
		if fs, ok := c.stream.Map.Fields["unit"]; ok {
			if s, ok := fs.Value.(string); ok {
				return s
			}
		}
	}
	return ""
}

// column notes that a column is read at a path, and checks that it is there.
func (c *compiler) column(path []any, name string, private bool) {
	switch {
	case name == "":
		c.fault(path, "", "the name of the column is empty")
		return
	case strings.HasPrefix(name, "_"):
		c.fault(path, "", "%q is one of Headwater's own columns; columns of a source whose names begin with _ are read as %s_", bounded(name, 60), strings.TrimLeft(name, "_"))
		return
	}
	if private {
		if _, ok := c.private[name]; !ok {
			c.private[name] = path
		}
	} else if _, ok := c.public[name]; !ok {
		c.public[name] = path
	}
	c.m.need(name)
	c.checkKnown(path, name)
}

func (c *compiler) checkKnown(path []any, name string) {
	if c.known == nil {
		return
	}
	t, ok := c.known[name]
	if !ok {
		c.fault(path, suggest(name, slices.Sorted(maps.Keys(c.known))), "the source has no column %q", bounded(name, 60))
		return
	}
	if t != nil && !hasText(t) {
		c.fault(path, "let the connector give it as text", "column %q is %s, which cannot be read as a value", bounded(name, 60), t)
	}
}

// field compiles a FieldSpec. unitText is the unit of the field's value if the field has none of its own.
func (c *compiler) field(path []any, i int, f schemas.Field, fs FieldSpec, unitText string) *fieldPlan {
	p := c.plan(i, f)
	private := f.IsPersonal() || fs.Mask != ""
	p.secret = private
	c.source(path, p, &fs, private)
	c.reading(path, p, &fs, unitText)
	if p.region != nil || fs.Region != nil {
		c.region(path, p, &fs)
	}
	if fs.Lookup != nil {
		c.lookup(at(path, "lookup"), p, fs.Lookup, fs.Default != nil)
	}
	if fs.Codes != nil {
		c.codes(at(path, "codes"), p, fs)
	}
	if fs.Default != nil {
		text, null, ok := constantText(fs.Default)
		switch {
		case !ok || null:
			c.fault(at(path, "default"), "write a text, a number or true or false", "the default is no plain value")
		default:
			if problem := p.setFallback(text); problem != "" {
				c.fault(at(path, "default"), "write it as the field keeps it", "the default does not fit %s: %s", f.Type, problem)
			}
		}
	}
	if private {
		c.mask(path, p, &fs)
	}
	p.textual = p.codes != nil || p.lookup != nil || p.nulls.meansNumbers()
	if p.element != nil {
		element := *p.element
		element.number, element.purpose, element.layouts, element.zone, element.liberal, element.secret = p.number, p.purpose, p.layouts, p.zone, p.liberal, p.secret
		if p.list != nil {
			element.list = p.list
		}
		p.element = &element
	}
	return p
}

// meansNumbers reports whether a null word could be the text of a typed cell: -999, NaN, 1900-01-01, false.
func (w *words) meansNumbers() bool {
	for word := range w.set {
		if word == "" {
			continue
		}
		if c := word[0]; c >= '0' && c <= '9' || c == '+' || c == '-' && len(word) > 1 && word[1] >= '0' && word[1] <= '9' {
			return true
		}
		switch word {
		case "NaN", "+Inf", "-Inf", "true", "false":
			return true
		}
	}
	return false
}

// source compiles where the values come from.
func (c *compiler) source(path []any, p *fieldPlan, fs *FieldSpec, private bool) {
	var given []string
	add := func(name string, present bool) {
		if present {
			given = append(given, name)
		}
	}
	add("from", fs.From != "")
	add("value", fs.Value != nil)
	add("coalesce", fs.Coalesce != nil)
	add("concat", fs.Concat != nil)
	add("split", fs.Split != nil)
	add("expr", fs.Expr != "")
	ownColumns := fs.Region != nil && (len(fs.Region.Codes) > 0 || len(fs.Region.Names) > 0)
	switch {
	case len(given) > 1:
		c.fault(path, "keep one of them", "field %q is filled in several ways: %s", p.field.Name, strings.Join(given, ", "))
	case len(given) == 0 && !ownColumns:
		if fs.Default == nil {
			c.fault(path, "add from, value, coalesce, concat, split or expr", "nothing says where field %q comes from", p.field.Name)
		}
	}
	p.nulls = newWords(fs.Null)
	s := &p.source
	switch {
	case fs.From != "":
		s.kind, s.columns = sourceColumn, []string{fs.From}
		c.column(at(path, "from"), fs.From, private)
	case fs.Value != nil:
		s.kind = sourceConstant
		text, null, ok := constantText(fs.Value)
		if !ok {
			c.fault(at(path, "value"), "write a text, a number, true or false", "the constant is no plain value")
		}
		s.constant, s.null = text, null
	case fs.Coalesce != nil:
		s.kind, s.columns = sourceCoalesce, fs.Coalesce
		if len(fs.Coalesce) == 0 {
			c.fault(at(path, "coalesce"), "", "coalesce names no columns")
		}
		for k, name := range fs.Coalesce {
			c.column(at(path, "coalesce", k), name, private)
		}
	case fs.Concat != nil:
		s.kind, s.columns, s.separator = sourceConcat, fs.Concat.Columns, fs.Concat.Separator
		if len(fs.Concat.Columns) == 0 {
			c.fault(at(path, "concat", "columns"), "", "concat names no columns")
		}
		for k, name := range fs.Concat.Columns {
			c.column(at(path, "concat", "columns", k), name, private)
		}
	case fs.Split != nil:
		s.kind, s.columns, s.separator, s.part = sourceSplit, []string{fs.Split.Column}, fs.Split.Separator, fs.Split.Part
		c.column(at(path, "split", "column"), fs.Split.Column, private)
		if fs.Split.Separator == "" {
			c.fault(at(path, "split", "separator"), "", "split needs the text between the parts")
		}
		if fs.Split.Part == 0 {
			c.fault(at(path, "split", "part"), "1 is the first, -1 the last", "split needs the number of the part")
		}
	case fs.Expr != "":
		s.kind = sourceExpression
		e, problem := compileRow(fs.Expr, false)
		if problem != "" {
			c.fault(at(path, "expr"), "", "%s", problem)
			break
		}
		s.expr = e
		c.expressionColumns(at(path, "expr"), e, private)
		if !e.dynamic {
			s.columns = e.columns
		}
	}
	p.column = strings.Join(p.source.columns, ", ")
}

func (c *compiler) expressionColumns(path []any, e *expression, private bool) {
	for _, name := range e.columns {
		if e.dynamic {
			// Only a text in the expression that may name a column.
			c.m.maybe(name)
			if private {
				c.private[name] = path
			} else {
				c.public[name] = path
			}
			continue
		}
		c.column(path, name, private)
	}
}

// reading compiles how text is read.
func (c *compiler) reading(path []any, p *fieldPlan, fs *FieldSpec, unitText string) {
	kind := p.field.Type.Kind
	if kind == schemas.KindArray {
		kind = p.field.Type.Elem.Kind
	}
	numeric := kind == schemas.KindFloat64 || kind == schemas.KindInt64 || kind == schemas.KindDecimal
	temporal := kind == schemas.KindDate || kind == schemas.KindTimestamp
	fits := true
	switch fs.Parse {
	case "":
	case "number":
		fits = numeric
		p.number.liberal = true
	case "bool":
		fits = kind == schemas.KindBool
		p.liberal = true
	case "date", "datetime", "month", "period":
		fits = temporal
		p.purpose = map[string]purpose{"date": purposeDate, "datetime": purposeDatetime, "month": purposeMonth, "period": purposePeriod}[fs.Parse]
	default:
		c.fault(at(path, "parse"), suggest(fs.Parse, []string{"number", "date", "datetime", "month", "period", "bool"}), "%q is no way to read text", bounded(fs.Parse, 40))
	}
	if !fits {
		c.fault(at(path, "parse"), "leave parse out or map to another field", "field %q is a %s, which parse: %s does not give", p.field.Name, p.field.Type, fs.Parse)
	}
	for k, text := range fs.Layout {
		l, problem := compileLayout(text)
		if problem != "" {
			c.fault(at(path, "layout", k), "write it with YYYY, M or MM, D or DD, H or HH, m or mm, s or ss; or excel", "%q is no date layout: %s", bounded(text, 60), problem)
		}
		p.layouts = append(p.layouts, l)
	}
	if len(fs.Layout) > 0 && !temporal {
		c.fault(at(path, "layout"), "", "field %q is a %s; layouts are for dates and times", p.field.Name, p.field.Type)
	}
	if fs.Zone != "" {
		zone, err := time.LoadLocation(fs.Zone)
		switch {
		case err != nil || fs.Zone == "Local":
			c.fault(at(path, "zone"), "write one such as Asia/Shanghai or UTC", "%q is no time zone", bounded(fs.Zone, 60))
		case !temporal:
			c.fault(at(path, "zone"), "", "field %q is a %s and has no zone", p.field.Name, p.field.Type)
		default:
			p.zone = zone
		}
	}
	if fs.Year != nil {
		if !temporal {
			c.fault(at(path, "year"), "", "field %q is a %s; year is for dates", p.field.Name, p.field.Type)
		}
		year := *fs.Year
		if year.Parse == "" {
			year.Parse = "number"
		}
		p.year = c.field(at(path, "year"), p.index, schemas.Field{Name: p.field.Name, Type: schemas.Type{Kind: schemas.KindInt64}, Unit: "年", Key: p.field.Key}, year, "")
		p.year.rules, p.year.required = nil, false
		if p.column == "" {
			p.column = p.year.column
		} else if p.year.column != "" {
			p.column += ", " + p.year.column
		}
	}
	if (fs.Scale != 0 || fs.Unit != "") && !numeric {
		key := "scale"
		if fs.Unit != "" {
			key = "unit"
		}
		c.fault(at(path, key), "", "field %q is a %s; scale and unit are for numbers", p.field.Name, p.field.Type)
		return
	}
	if numeric {
		c.units(path, p, fs, unitText)
	}
}

// units compiles the change from the column's unit to the field's.
func (c *compiler) units(path []any, p *fieldPlan, fs *FieldSpec, unitText string) {
	target := p.field.Unit
	if target == "" && p.field.Name == "value" {
		target = unitText
	}
	known := true
	if target != "" {
		u, ok := parseUnit(target)
		if !ok {
			known = false
			u = bareUnit
		}
		p.number.target, p.number.column = u, u
	}
	f := one
	if fs.Unit != "" {
		u, ok := parseUnit(fs.Unit)
		switch {
		case !ok:
			c.fault(at(path, "unit"), "write one such as 万元, %, km² or µg/m³", "%q is no unit", bounded(fs.Unit, 40))
		case target == "":
			c.fault(at(path, "unit"), "set the field unit to a constant, or use scale", "field %q has no unit to which %s could be converted", p.field.Name, fs.Unit)
		case !known:
			c.fault(at(path, "unit"), "use scale", "the unit %q of field %q is not understood", bounded(target, 40), p.field.Name)
		default:
			var same bool
			if f, same = convert(u, p.number.target); !same {
				c.fault(at(path, "unit"), "name the column's unit, or use scale", "%s cannot be converted to %s, the unit of field %q", fs.Unit, target, p.field.Name)
			}
			p.number.column = u
		}
	}
	if fs.Scale != 0 {
		scale, ok := factorOf(fs.Scale)
		if !ok {
			c.fault(at(path, "scale"), "write a positive number such as 10000", "%v is no factor", fs.Scale)
		} else if f, ok = f.by(scale); !ok {
			c.fault(at(path, "scale"), "", "unit and scale together are no usable factor")
		}
		p.number.scaled = ok && !scale.isOne()
	}
	p.number.bare = f
	p.number.prepare(target)
}

// region compiles how the region is found.
func (c *compiler) region(path []any, p *fieldPlan, fs *FieldSpec) {
	if fs.Region == nil {
		return
	}
	path = at(path, "region")
	if p.region == nil {
		c.fault(path, "map it to a region field", "field %q is a %s, not a region", p.field.Name, p.field.Type)
		return
	}
	r := fs.Region
	plan := *p.region
	plan.codes, plan.names, plan.within = r.Codes, r.Names, r.Within
	if p.source.kind == sourceColumn && len(plan.names) == 0 {
		plan.names = []string{fs.From}
	} else if p.source.kind != sourceNone && (len(plan.codes) > 0 || len(plan.names) > 0) {
		c.fault(path, "name the columns in codes and names alone", "field %q names its columns twice", p.field.Name)
	}
	for k, name := range r.Codes {
		c.column(at(path, "codes", k), name, false)
	}
	for k, name := range r.Names {
		c.column(at(path, "names", k), name, false)
	}
	if fs.Codes != nil || fs.Lookup != nil {
		c.fault(path, "translate the names with aliases", "a region with codes or lookup beside it is not read by them")
	}
	if regions := plan.regions; regions != nil {
		if r.Within != "" {
			if _, ok := regions.At(r.Within, time.Time{}); !ok {
				c.fault(at(path, "within"), "write a 6-digit code such as 330000", "%q is no region", bounded(r.Within, 40))
			}
		}
		for _, name := range slices.Sorted(maps.Keys(r.Aliases)) {
			if _, ok := regions.At(r.Aliases[name], time.Time{}); !ok {
				c.fault(at(path, "aliases", name), "write a 6-digit code such as 330100, or import the regions that have it", "%q is no region", bounded(r.Aliases[name], 40))
			}
		}
	}
	plan.aliases = map[string]string{}
	for name, code := range r.Aliases {
		plan.aliases[string(trim([]byte(name)))] = code
	}
	if p.source.kind == sourceNone || p.source.kind == sourceColumn {
		p.source.kind = sourceRegion
		p.source.columns = slices.Concat(plan.codes, plan.names)
		p.column = strings.Join(p.source.columns, ", ")
	}
	p.region = &plan
}

// members connects regions with the fields that take their members.
func (c *compiler) members() {
	for _, p := range c.m.fields {
		if p == nil || p.region == nil {
			continue
		}
		fs := c.stream.Map.Fields[p.field.Name]
		if fs.Region == nil || fs.Region.Member == "" {
			continue
		}
		path := []any{"map", "fields", p.field.Name, "region", "member"}
		k := c.schema.FieldIndex(fs.Region.Member)
		switch {
		case k < 0:
			c.fault(path, suggest(fs.Region.Member, fieldNames(c.schema)), "schema %s has no field %q", c.schema.Name, bounded(fs.Region.Member, 60))
		case c.schema.Fields[k].Type.Kind != schemas.KindString || c.schema.Fields[k].IsPersonal():
			c.fault(path, "name a text field that is not personal", "field %q cannot take the name of a part of a region", fs.Region.Member)
		case c.m.fields[k] == nil || c.m.fields[k].source.kind != sourceNone:
			c.fault(path, "leave "+fs.Region.Member+" out of fields", "field %q is filled both by the region and by itself", fs.Region.Member)
		case p.source.kind != sourceRegion:
			c.fault(path, "name the columns in names", "a member needs the region's names to come from columns")
		default:
			region := *p.region
			region.member = k
			p.region = &region
			c.m.fields[k].source.kind = sourceMember
			c.m.fields[k].column = p.column
		}
	}
}

// dating finds, for fields whose meaning depends on a day, the field that has it.
func (c *compiler) dating() {
	rowLevel := func(name string) int {
		k := c.schema.FieldIndex(name)
		if k < 0 || c.m.fields[k] == nil || c.m.unpivot != nil && c.m.unpivot.sets(k) {
			return -1
		}
		return k
	}
	grainField := -1
	for k, f := range c.schema.Fields {
		if f.Type.Kind == schemas.KindCode && f.Type.List == "grain" {
			grainField = k
		}
	}
	for i, p := range c.m.fields {
		if p == nil {
			continue
		}
		fs := c.stream.Map.Fields[p.field.Name]
		if p.purpose == purposePeriod {
			c.periodGrain(p, grainField)
		}
		on := c.schema.Time
		if fs.Region != nil && fs.Region.On != "" {
			on = fs.Region.On
			path := []any{"map", "fields", p.field.Name, "region", "on"}
			k := c.schema.FieldIndex(on)
			if k < 0 {
				c.fault(path, suggest(on, fieldNames(c.schema)), "schema %s has no field %q", c.schema.Name, bounded(on, 60))
				continue
			}
			if kind := c.schema.Fields[k].Type.Kind; kind != schemas.KindDate && kind != schemas.KindTimestamp {
				c.fault(path, "name a date or timestamp field", "field %q is a %s", on, c.schema.Fields[k].Type)
				continue
			}
		}
		if on == "" || len(p.codeDays()) == 0 || i == grainField {
			continue
		}
		if k := rowLevel(on); k >= 0 && k != i {
			p.datedBy = k
		}
	}
	if u := c.m.unpivot; u != nil {
		for k := range u.columns {
			if p := u.columns[k].value; p != nil && p.purpose == purposePeriod {
				c.periodGrain(p, grainField)
			}
		}
	}
}

// periodGrain finds how long the periods are that a field names.
func (c *compiler) periodGrain(p *fieldPlan, grainField int) {
	if grainField < 0 {
		return
	}
	if u := c.m.unpivot; u != nil && u.sets(grainField) {
		return
	}
	g := c.m.fields[grainField]
	if g == nil {
		return
	}
	switch g.source.kind {
	case sourceConstant:
		if m := g.code([]byte(g.source.constant), time.Time{}); m.rule == "" {
			p.grain = parseRecordGrain(m.value)
		}
	case sourceNone:
		if g.fallback != nil {
			p.grain = parseRecordGrain(g.fallback.text)
		}
	default:
		p.grainOf = grainField
	}
}

// order sorts the fields so that what others depend on comes first.
func (c *compiler) order() {
	rank := func(p *fieldPlan) int {
		switch {
		case p.source.kind == sourceMember:
			return 3
		case p.datedBy >= 0:
			return 2
		case p.grainOf >= 0:
			return 1
		}
		return 0
	}
	for i, p := range c.m.fields {
		if p == nil {
			continue
		}
		if c.m.unpivot != nil && c.m.unpivot.always(i) {
			continue
		}
		c.m.order = append(c.m.order, i)
	}
	slices.SortStableFunc(c.m.order, func(a, b int) int { return rank(c.m.fields[a]) - rank(c.m.fields[b]) })
}

// lookup compiles a lookup.
func (c *compiler) lookup(path []any, p *fieldPlan, l *LookupSpec, lenient bool) {
	table, ok := c.stream.Lookups[l.File]
	if !ok {
		c.fault(at(path, "file"), "put the file into the project", "the lookup table %q is not there", bounded(l.File, 100))
		return
	}
	column := func(key, name string) int {
		k := slices.Index(table.Columns, name)
		if k < 0 {
			c.fault(at(path, key), suggest(name, table.Columns), "the lookup table %q has no column %q", bounded(l.File, 100), bounded(name, 60))
		}
		return k
	}
	key, value := column("key", l.Key), column("value", l.Value)
	if key < 0 || value < 0 {
		return
	}
	p.lookup, p.lenient = make(map[string]string, len(table.Rows)), lenient
	for i, row := range table.Rows {
		if key >= len(row) || value >= len(row) {
			c.fault(at(path, "file"), "give every row as many values as there are columns", "row %d of the lookup table %q is too short", i+2, bounded(l.File, 100))
			return
		}
		k, v := string(trim([]byte(row[key]))), string(trim([]byte(row[value])))
		if k == "" {
			continue
		}
		if before, ok := p.lookup[k]; ok && before != v {
			c.fault(at(path, "file"), "keep one of them", "the lookup table %q has two values for %s in row %d", bounded(l.File, 100), quoted(k), i+2)
			return
		}
		p.lookup[k] = v
	}
}

// codes compiles translations.
func (c *compiler) codes(path []any, p *fieldPlan, fs FieldSpec) {
	table := make(map[string]string, len(fs.Codes))
	for from, to := range fs.Codes {
		table[string(trim([]byte(from)))] = to
	}
	if p.field.Type.Kind == schemas.KindRegion {
		c.fault(path, "use region with aliases", "field %q is a region; codes are for code lists and texts", p.field.Name)
		return
	}
	list := p.list
	if p.element != nil {
		list = p.element.list
	}
	if list == nil || fs.Lookup != nil {
		p.codes = table
		return
	}
	for _, from := range slices.Sorted(maps.Keys(fs.Codes)) {
		if _, ok := list.list.Code(fs.Codes[from]); !ok {
			c.fault(at(path, from), suggest(fs.Codes[from], codesOf(list.list)), "%q is no code of the list %s", bounded(fs.Codes[from], 40), list.list.Name)
		}
	}
	translated := newCodePlan(list.list, table)
	if p.element != nil {
		element := *p.element
		element.list = translated
		p.element = &element
		return
	}
	p.list = translated
}

func codesOf(l *schemas.CodeList) []string {
	var codes []string
	for _, code := range l.Codes {
		codes = append(codes, code.Code)
	}
	return codes
}

// mask compiles how a personal field is hidden.
func (c *compiler) mask(path []any, p *fieldPlan, fs *FieldSpec) {
	declared := fs.Mask
	if declared == "" {
		declared = "hash"
	}
	kind, key, problem := parseMask(declared)
	if problem != "" {
		c.fault(at(path, "mask"), "write hash, hash:KEY, phone, name, id or drop", "%s", problem)
		return
	}
	if p.field.Type.Kind != schemas.KindString {
		c.fault(at(path, "mask"), "", "field %q is a %s; only texts can be masked", p.field.Name, p.field.Type)
		return
	}
	if p.source.kind == sourceConstant || p.source.kind == sourceNone {
		return // nothing personal in a constant
	}
	if kind == "drop" && p.required {
		c.fault(at(path, "mask"), "hash it instead", "field %q is required and cannot be dropped", p.field.Name)
	}
	name := fs.From
	if name == "" {
		name = "_masked_" + p.field.Name
	}
	for _, other := range c.m.masked {
		if other.column == name {
			c.fault(path, "fill one field with it", "column %q fills two personal fields, %s and %s", name, other.plan.field.Name, p.field.Name)
		}
	}
	c.m.masked = append(c.m.masked, &maskedColumn{plan: p, column: name, kind: kind, key: key})
}

// special compiles version and deleted.
func (c *compiler) special() {
	spec := &c.stream.Map
	if v := spec.Version; v != nil {
		fs := *v
		path := []any{"map", "version"}
		field := schemas.Field{Name: "version", Type: schemas.Type{Kind: schemas.KindTimestamp, Precision: 6}, Key: true}
		// A version may be a number too, so reading is decided by what the texts are.
		c.m.versions = c.field(path, -1, field, fs, "")
		c.m.versions.required = false // a missing version has a rule of its own
		if fs.Mask != "" {
			c.fault(at(path, "mask"), "", "the version cannot be masked")
		}
	}
	if d := spec.Deleted; d != nil {
		path := []any{"map", "deleted"}
		c.m.tombstone = c.field(path, -1, schemas.Field{Name: "deleted", Type: schemas.Type{Kind: schemas.KindBool}, Key: true}, *d, "")
		c.m.tombstone.required = false
		if d.Mask != "" {
			c.fault(at(path, "mask"), "", "the deletion mark cannot be masked")
		}
	}
}

// filters compiles the filters.
func (c *compiler) filters() {
	seen := map[string]bool{}
	for i, f := range c.stream.Filter {
		path := []any{"filter", i}
		if f.Name == "" {
			c.fault(at(path, "name"), "name it: rows are counted under the name", "the filter has no name")
		}
		if seen[f.Name] {
			c.fault(at(path, "name"), "rename one", "there are two filters %q", bounded(f.Name, 60))
		}
		seen[f.Name] = true
		e, problem := compileRow(f.When, true)
		if problem != "" {
			c.fault(at(path, "when"), "", "%s", problem)
			continue
		}
		c.expressionColumns(at(path, "when"), e, false)
		c.m.filters = append(c.m.filters, filter{name: f.Name, when: e})
	}
}

// rules compiles the rules over records.
func (c *compiler) rules() {
	taken := map[string]bool{}
	for _, f := range c.schema.Fields {
		for _, r := range f.Rules {
			taken[r.Name] = true
		}
	}
	for _, r := range c.schema.Rules {
		taken[r.Name] = true
		e, problem := compileRecord(r.Expr, c.schema)
		if problem != "" {
			c.fault([]any{"map", "schema"}, "", "rule %q of schema %s: %s", r.Name, c.schema.Name, problem)
			continue
		}
		c.m.rules = append(c.m.rules, recordRule{name: r.Name, warning: r.Severity == schemas.SeverityWarning, message: r.Message, when: e})
	}
	for i, r := range c.stream.Map.Rules {
		path := []any{"map", "rules", i}
		switch {
		case r.Name == "":
			c.fault(at(path, "name"), "name it: broken rows are counted under the name", "the rule has no name")
		case taken[r.Name]:
			c.fault(at(path, "name"), "rename it", "there is a rule %q already", bounded(r.Name, 60))
		}
		taken[r.Name] = true
		switch r.Severity {
		case "", schemas.SeverityError, schemas.SeverityWarning:
		default:
			c.fault(at(path, "severity"), "write error or warning", "%q is no severity", bounded(r.Severity, 40))
		}
		e, problem := compileRecord(r.When, c.schema)
		if problem != "" {
			c.fault(at(path, "when"), "", "%s", problem)
			continue
		}
		for _, f := range e.fields {
			if field := c.schema.Fields[f]; field.IsPersonal() || c.stream.Map.Fields[field.Name].Mask != "" {
				c.fault(at(path, "when"), "put a rule on the field into the schema", "field %q is masked before this rule sees it", field.Name)
			}
		}
		c.m.rules = append(c.m.rules, recordRule{name: r.Name, warning: r.Severity == schemas.SeverityWarning, message: r.Message, when: e})
	}
}

// keep notes the columns that travel although the mapping does not read them.
func (c *compiler) keep() {
	for i, name := range c.stream.Keep {
		path := []any{"keep", i}
		if strings.HasPrefix(name, "_") {
			c.fault(path, "leave it out", "%q is one of Headwater's own columns, which are kept anyway", bounded(name, 60))
			continue
		}
		c.checkKnown(path, name)
		c.m.kept[name] = true
	}
}

// privacy checks that no column is read both in clear and as personal, and takes personal ones that are not masked in their
// own place out of what is kept.
func (c *compiler) privacy() {
	inPlace := map[string]bool{}
	for _, masked := range c.m.masked {
		inPlace[masked.column] = true
		if masked.kind == "drop" {
			inPlace[masked.column] = false
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.private)) {
		if path, ok := c.public[name]; ok {
			c.fault(path, "use it in one place only", "column %q holds personal values and is read in clear here", bounded(name, 60))
		}
		if !inPlace[name] {
			if c.m.kept[name] && slices.Contains(c.stream.Keep, name) {
				c.fault([]any{"keep", slices.Index(c.stream.Keep, name)}, "leave it out", "column %q holds personal values and would be kept in clear", bounded(name, 60))
			}
			delete(c.m.kept, name)
		}
	}
	for _, masked := range c.m.masked {
		if masked.kind != "drop" {
			c.m.kept[masked.column] = true
		}
	}
}

// constants tries the constants, so that a wrong one is a fault and not a broken rule in every row.
func (c *compiler) constants() {
	try := func(path []any, p *fieldPlan) {
		if p == nil || p.source.kind != sourceConstant {
			return
		}
		if p.source.null || p.source.constant == "" {
			if p.required && p.fallback == nil {
				c.fault(path, "", "field %q needs a value", p.field.Name)
			}
			return
		}
		once := *p
		once.datedBy, once.grainOf = -1, -1
		if once.year != nil {
			return
		}
		arr, problem := once.once(p.source.constant)
		if problem != "" {
			c.fault(path, "", "the constant for field %q cannot be used: %s", p.field.Name, problem)
			return
		}
		arr.Release()
	}
	for _, p := range c.m.fields {
		if p != nil {
			try([]any{"map", "fields", p.field.Name, "value"}, p)
		}
	}
	if u := c.m.unpivot; u != nil {
		for _, column := range u.columns {
			for _, k := range slices.Sorted(maps.Keys(column.constants)) {
				p := column.constants[k]
				try(at([]any{"map", "unpivot", "columns", column.name}, p.field.Name), p)
			}
		}
	}
}

// unpivot compiles the unpivot, but for the plans that depend on other fields.
func (c *compiler) unpivot() {
	u := c.stream.Map.Unpivot
	if u == nil {
		return
	}
	path := []any{"map", "unpivot"}
	by, into := u.By, u.Into
	if by == "" {
		by = "indicator"
	}
	if into == "" {
		into = "value"
	}
	plan := &unpivotPlan{into: c.schema.FieldIndex(into), keepNull: u.KeepNull}
	c.m.unpivot = plan
	if plan.into < 0 {
		c.fault(at(path, "into"), suggest(into, fieldNames(c.schema)), "schema %s has no field %q", c.schema.Name, bounded(into, 60))
		return
	}
	if len(u.Columns) == 0 {
		c.fault(at(path, "columns"), "name the columns that become records", "unpivot names no columns")
	}
	intoField := c.schema.Fields[plan.into]
	fs := c.stream.Map.Fields[into]
	if fs.From != "" || fs.Value != nil || fs.Coalesce != nil || fs.Concat != nil || fs.Split != nil || fs.Expr != "" {
		c.fault([]any{"map", "fields", into}, "leave out where it comes from and keep how it is read", "field %q is filled by unpivot", into)
		fs.From, fs.Value, fs.Coalesce, fs.Concat, fs.Split, fs.Expr = "", nil, nil, nil, nil, ""
	}
	if intoField.IsPersonal() || fs.Mask != "" {
		c.fault(at(path, "into"), "", "field %q is personal and cannot be filled by unpivot", into)
		return
	}
	constants := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(u.Columns)) {
		columnPath := at(path, "columns", name)
		values := map[string]any{}
		switch v := u.Columns[name].(type) {
		case map[string]any:
			values = v
		case map[any]any:
			for k, value := range v {
				values[fmt.Sprint(k)] = value
			}
		default:
			if _, null, ok := constantText(v); !ok || null {
				c.fault(columnPath, "write a text, or a map of field: constant", "column %q has no value for %s", bounded(name, 60), by)
				continue
			}
			values[by] = v
		}
		column := unpivotColumn{name: name, constants: map[int]*fieldPlan{}}
		for _, field := range slices.Sorted(maps.Keys(values)) {
			k := c.schema.FieldIndex(field)
			switch {
			case k < 0:
				c.fault(at(columnPath, field), suggest(field, fieldNames(c.schema)), "schema %s has no field %q", c.schema.Name, bounded(field, 60))
				continue
			case k == plan.into:
				c.fault(at(columnPath, field), "", "field %q takes the cell", field)
				continue
			case c.schema.Fields[k].IsPersonal():
				c.fault(at(columnPath, field), "", "field %q is personal", field)
				continue
			}
			constants[field] = true
			column.constants[k] = c.field(at(columnPath, field), k, c.schema.Fields[k], FieldSpec{Value: values[field]}, "")
		}
		unitText := ""
		if s, ok := values["unit"].(string); ok {
			unitText = s
		}
		cell := fs
		cell.From = name
		column.value = c.field([]any{"map", "fields", into}, plan.into, intoField, cell, c.unitOf(unitText))
		if !u.KeepNull {
			column.value.required = false // null cells make no record
		}
		plan.columns = append(plan.columns, column)
	}
	for field := range constants {
		plan.constants = append(plan.constants, c.schema.FieldIndex(field))
	}
	slices.Sort(plan.constants)
	if _, ok := c.schema.Field(by); !ok && u.By != "" {
		c.fault(at(path, "by"), suggest(by, fieldNames(c.schema)), "schema %s has no field %q", c.schema.Name, bounded(by, 60))
	}
	for _, k := range plan.constants {
		name := c.schema.Fields[k].Name
		every := true
		for _, column := range plan.columns {
			every = every && column.constants[k] != nil
		}
		_, declared := c.stream.Map.Fields[name]
		if every && declared {
			c.fault([]any{"map", "fields", name}, "leave it out of fields", "field %q is filled by every column of unpivot", name)
		}
	}
}

// suggest names what was probably meant.
func suggest(text string, known []string) string {
	best, distance := "", 1+len([]rune(text))/3
	for _, k := range known {
		if d := editDistance(strings.ToLower(text), strings.ToLower(k)); d <= distance && (best == "" || d < distance) {
			best, distance = k, d
		}
	}
	if distance > 1 || best == "" { // another name may have the text as one of its words
		var having []string
		for _, k := range known {
			if slices.Contains(strings.Split(strings.ToLower(k), "_"), strings.ToLower(text)) {
				having = append(having, strconv.Quote(k))
			}
		}
		if 0 < len(having) && len(having) <= 5 {
			return fmt.Sprintf("did you mean %s?", strings.Join(having, " or "))
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf("did you mean %q?", best)
	case len(known) == 0:
		return ""
	case len(known) > 30:
		return fmt.Sprintf("there are %d, such as %s", len(known), strings.Join(known[:10], ", "))
	}
	return "there are " + strings.Join(known, ", ")
}

func editDistance(a, b string) int {
	x, y := []rune(a), []rune(b)
	if len(x) > 100 || len(y) > 100 {
		return 1 << 20
	}
	row := make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i, r := range x {
		diagonal := row[0]
		row[0] = i + 1
		for j, s := range y {
			cost := diagonal
			if r != s {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(y)]
}
