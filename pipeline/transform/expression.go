package transform

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"

	"github.com/headwater-data/headwater/schemas"
	"github.com/headwater-data/headwater/schemas/coordinates"
)

// expression is a compiled expression. Expressions see rows as texts (col["name"], nil when there is no value), whatever the
// column's type, so that they say the same of a row when it is replayed from the quarantine; number() and date() read texts
// as the mapping does. They know no clock, no randomness and no order that changes from run to run.
type expression struct {
	program *vm.Program
	text    string
	columns []string // of the source row, in order of first use
	dynamic bool     // col[…] stands with something else than a literal
	fields  []int    // of the record
}

// maxExpression bounds an expression's text.
const maxExpression = 4096

// forbidden are builtins whose result depends on the clock or on the order of a map.
var forbidden = []string{"now", "keys", "values", "toPairs", "timezone", "date"}

func shanghai() *time.Location {
	zone, err := time.LoadLocation(schemas.DefaultZone)
	if err != nil {
		panic(err) // the zones are part of the program
	}
	return zone
}

func expressionOptions(env map[string]any) []expr.Option {
	reader := numberReader{liberal: true, column: bareUnit, target: bareUnit, bare: one}
	zone := shanghai()
	options := []expr.Option{
		expr.Env(env),
		expr.MaxNodes(1000),
		expr.Function("number", func(params ...any) (any, error) {
			text, ok := params[0].(string)
			if !ok {
				return nil, nil
			}
			n, problem := reader.read(trim([]byte(text)))
			if problem != "" {
				return nil, errors.New(quoted(text) + " " + problem)
			}
			f, ok := n.float64()
			if !ok {
				return nil, errors.New(quoted(text) + " is larger than a float64 holds")
			}
			return f, nil
		}, new(func(string) float64)),
		expr.Function("date", func(params ...any) (any, error) {
			text, ok := params[0].(string)
			if !ok {
				return nil, nil
			}
			m, problem := purposeDatetime.read(trim([]byte(text)), nil)
			if problem == "" && m.year == 0 {
				problem = "names no year"
			}
			if problem != "" {
				return nil, errors.New(quoted(text) + " " + problem)
			}
			at := zone
			if m.hasOffset {
				at = time.FixedZone("", int(m.offset))
			}
			return time.Date(int(m.year), time.Month(m.month), int(m.day), int(m.hour), int(m.min), int(m.sec), int(m.nanos), at).In(zone), nil
		}, new(func(string) time.Time)),
	}
	// Positions of a stated system in another one, by which the two functions differ: expr has no pairs.
	for name, pick := range map[string]func(x, y float64) float64{
		"to_longitude": func(x, _ float64) float64 { return x },
		"to_latitude":  func(_, y float64) float64 { return y },
	} {
		options = append(options, expr.Function(name, func(params ...any) (any, error) {
			x, okX := asFloat(params[0])
			y, okY := asFloat(params[1])
			from, okFrom := params[2].(string)
			to, okTo := params[3].(string)
			if !okX || !okY || !okFrom || !okTo {
				return nil, nil
			}
			x, y, err := coordinates.Convert(x, y, from, to)
			if err != nil {
				return nil, err
			}
			return pick(x, y), nil
		}, new(func(x, y float64, from, to string) float64)))
	}
	for _, name := range forbidden {
		options = append(options, expr.DisableBuiltin(name))
	}
	return options
}

// asFloat reads what an expression gives as a number; nil has none.
func asFloat(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case int:
		return float64(v), true
	}
	return 0, false
}

// columnFinder finds col["…"] in a syntax tree. When patching, it turns each into a variable of its own, which the virtual
// machine reads much faster than an element of a map.
type columnFinder struct {
	columns  []string
	literals []string
	dynamic  bool
	patch    bool
}

// variable is how the virtual machine knows a column; no expression can spell it.
func variable(column string) string { return "col\x00" + column }

func (f *columnFinder) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.StringNode:
		f.literals = append(f.literals, n.Value)
	case *ast.MemberNode:
		root, ok := n.Node.(*ast.IdentifierNode)
		if !ok || root.Value != "col" {
			return
		}
		name, ok := n.Property.(*ast.StringNode)
		if !ok {
			f.dynamic = true
			return
		}
		if !slices.Contains(f.columns, name.Value) {
			f.columns = append(f.columns, name.Value)
		}
		if f.patch {
			ast.Patch(node, &ast.IdentifierNode{Value: variable(name.Value)})
		}
	}
}

// compileRow compiles an expression over the source row. problem is "" when it is good.
func compileRow(text string, asBool bool) (e *expression, problem string) {
	if problem = tooLong(text); problem != "" {
		return nil, problem
	}
	tree, err := parser.Parse(text)
	if err != nil {
		return nil, expressionProblem(err)
	}
	finder := &columnFinder{}
	ast.Walk(&tree.Node, finder)
	e = &expression{text: text, columns: finder.columns, dynamic: finder.dynamic}
	if e.dynamic {
		// Which columns are meant shows only at run time: any that a literal names.
		for _, literal := range finder.literals {
			if !slices.Contains(e.columns, literal) {
				e.columns = append(e.columns, literal)
			}
		}
	}
	env := map[string]any{"col": map[string]string{}}
	for _, c := range finder.columns {
		env[variable(c)] = ""
	}
	options := append(expressionOptions(env), expr.Patch(&columnFinder{patch: true}))
	if asBool {
		options = append(options, expr.AsBool())
	}
	e.program, err = expr.Compile(text, options...)
	if err != nil {
		return nil, expressionProblem(err)
	}
	return e, ""
}

// compileRecord compiles an expression over the finished record.
func compileRecord(text string, schema *schemas.Schema) (e *expression, problem string) {
	if problem = tooLong(text); problem != "" {
		return nil, problem
	}
	tree, err := parser.Parse(text)
	if err != nil {
		return nil, expressionProblem(err)
	}
	names := &nameFinder{}
	ast.Walk(&tree.Node, names)
	e = &expression{text: text}
	env := map[string]any{}
	for i, f := range schema.Fields {
		switch f.Type.Kind {
		case schemas.KindInt64:
			env[f.Name] = int64(0)
		case schemas.KindFloat64, schemas.KindDecimal:
			env[f.Name] = float64(0)
		case schemas.KindBool:
			env[f.Name] = false
		case schemas.KindDate, schemas.KindTimestamp:
			env[f.Name] = time.Time{}
		case schemas.KindArray:
			env[f.Name] = []string{}
		default:
			env[f.Name] = ""
		}
		if names.used[f.Name] {
			e.fields = append(e.fields, i)
		}
	}
	e.program, err = expr.Compile(text, append(expressionOptions(env), expr.AsBool())...)
	if err != nil {
		return nil, expressionProblem(err)
	}
	return e, ""
}

type nameFinder struct{ used map[string]bool }

func (f *nameFinder) Visit(node *ast.Node) {
	if n, ok := (*node).(*ast.IdentifierNode); ok {
		if f.used == nil {
			f.used = map[string]bool{}
		}
		f.used[n.Value] = true
	}
}

func tooLong(text string) string {
	if len(text) > maxExpression {
		return fmt.Sprintf("the expression is longer than %d bytes", maxExpression)
	}
	return ""
}

// expressionProblem says what is wrong and where, without the excerpt that expr would add.
func expressionProblem(err error) string {
	var at *file.Error
	if errors.As(err, &at) {
		return fmt.Sprintf("the expression is wrong at line %d, column %d: %s", at.Line, at.Column+1, strings.ReplaceAll(at.Message, "col\x00", "col "))
	}
	return "the expression is wrong: " + err.Error()
}

// machine runs one expression again and again.
type machine struct {
	vm  vm.VM
	env map[string]any
	col map[string]any
}

func (s *scratch) machine(e *expression) *machine {
	m := s.machines[e]
	if m == nil {
		m = &machine{env: make(map[string]any, len(e.columns)+len(e.fields)+1)}
		s.machines[e] = m
	}
	return m
}

// rowReader feeds a row's columns to an expression.
type rowReader struct {
	m       *machine
	e       *expression
	cells   []texts
	names   []string
	last    []string // what each variable holds, so that repeated values are not boxed again
	primed  []bool
	nothing bool // of the row last loaded: some column has no value
}

func (b *batch) rowReader(e *expression) *rowReader {
	r := &rowReader{m: b.s.machine(e), e: e, last: make([]string, len(e.columns)), primed: make([]bool, len(e.columns))}
	for _, name := range e.columns {
		column := columnOf(b.rec, name)
		if column == nil {
			column = array.NewNull(b.n) // a literal that only looks like a column; missing ones were found before
		}
		t, ok := newTexts(column)
		if !ok {
			t, _ = newTexts(array.NewNull(b.n))
		}
		r.cells = append(r.cells, t)
		r.names = append(r.names, variable(name))
	}
	if e.dynamic {
		r.m.col = map[string]any{}
		r.m.env["col"] = r.m.col
	}
	return r
}

func (r *rowReader) load(i int) {
	r.nothing = false
	var none words
	for c := range r.cells {
		text, ok := r.cells[c].value(i, &none)
		if !ok {
			r.m.env[r.names[c]] = nil
			r.primed[c] = false
			r.nothing = true
			if r.e.dynamic {
				delete(r.m.col, r.e.columns[c])
			}
			continue
		}
		if r.primed[c] && r.last[c] == view(text) {
			continue
		}
		r.last[c] = string(text)
		r.primed[c] = true
		r.m.env[r.names[c]] = r.last[c]
		if r.e.dynamic {
			r.m.col[r.e.columns[c]] = r.last[c]
		}
	}
}

func (r *rowReader) run() (any, error) { return r.m.vm.Run(r.e.program, r.m.env) }

// close lets go of the row's texts.
func (r *rowReader) close() {
	clear(r.m.env)
	r.m.col = nil
}

// express evaluates a field's expression for every row as text. An expression that fails because a column has no value has
// none itself.
func (b *batch) express(p *fieldPlan) arrow.Array {
	out := array.NewStringBuilder(b.mem)
	defer out.Release()
	out.Reserve(b.n)
	r := b.rowReader(p.source.expr)
	defer r.close()
	var buf []byte
	for i := range b.n {
		if b.skip != nil && b.skip[i] {
			out.AppendNull()
			continue
		}
		r.load(i)
		value, err := r.run()
		if err != nil {
			out.AppendNull()
			if !r.nothing {
				p.failExpression(b, i, err)
			}
			continue
		}
		switch v := value.(type) {
		case string:
			out.Append(v)
		case float64:
			buf = appendFloat(buf[:0], v, 64)
			out.Append(view(buf))
		default:
			text, null, ok := expressionText(value)
			switch {
			case !ok:
				out.AppendNull()
				p.failExpression(b, i, fmt.Errorf("gives a %T, which is no plain value", value))
			case null:
				out.AppendNull()
			default:
				out.Append(text)
			}
		}
	}
	return out.NewArray()
}

func expressionText(value any) (text string, null, ok bool) {
	if list, isList := value.([]string); isList {
		elements := make([]any, len(list))
		for i, e := range list {
			elements[i] = e
		}
		value = elements
	}
	return constantText(value)
}

// failExpression breaks expr.failed; that the row then has no value is no second break.
func (p *fieldPlan) failExpression(b *batch, i int, err error) {
	if b.settled == nil {
		b.settled = map[int]struct{}{}
	}
	b.settled[i] = struct{}{}
	if p.secret {
		b.fail(p, i, "expr.failed", "the expression cannot be evaluated for this row")
		return
	}
	b.fail(p, i, "expr.failed", "the expression cannot be evaluated: "+runError(err))
}

func runError(err error) string {
	var at *file.Error
	if errors.As(err, &at) {
		return bounded(at.Message, 200)
	}
	return bounded(err.Error(), 200)
}

// recordReader feeds a record's fields to an expression.
type recordReader struct {
	m       *machine
	e       *expression
	set     []func(i int) any // nil for a constant, which is set once
	nothing []bool            // constants that are null
	missing bool              // of the record last loaded: some field is null
}

func (b *batch) recordReader(e *expression, schema *schemas.Schema, columns []vector) *recordReader {
	r := &recordReader{m: b.s.machine(e), e: e}
	for _, f := range e.fields {
		get := cellReader(columns[f].arr)
		if columns[f].constant && columns[f].arr.Len() > 0 {
			value := get(0)
			r.m.env[schema.Fields[f].Name] = value
			r.set = append(r.set, nil)
			r.nothing = append(r.nothing, value == nil)
			continue
		}
		r.set = append(r.set, get)
		r.nothing = append(r.nothing, false)
	}
	return r
}

// constant reports whether the expression says the same of every record.
func (r *recordReader) constant() bool {
	return !slices.ContainsFunc(r.set, func(f func(int) any) bool { return f != nil })
}

func (r *recordReader) load(schema *schemas.Schema, i int) {
	r.missing = false
	for k, get := range r.set {
		if get == nil {
			r.missing = r.missing || r.nothing[k]
			continue
		}
		value := get(i)
		r.m.env[schema.Fields[r.e.fields[k]].Name] = value
		r.missing = r.missing || value == nil
	}
}

// judge reports whether the rule is broken. A rule that cannot be judged because a field is null is not broken.
func (r *recordReader) judge() (broken bool, err error) {
	value, err := r.m.vm.Run(r.e.program, r.m.env)
	if err != nil {
		if r.missing {
			return false, nil
		}
		return false, err
	}
	broken, _ = value.(bool)
	return broken, nil
}

func (r *recordReader) close() { clear(r.m.env) }

// cellReader reads cells of a standard column as expressions see them.
func cellReader(arr arrow.Array) func(i int) any {
	get := func(i int) any { return nil }
	switch a := arr.(type) {
	case *array.Float64:
		get = func(i int) any { return a.Value(i) }
	case *array.Int64:
		get = func(i int) any { return a.Value(i) }
	case *array.Boolean:
		get = func(i int) any { return a.Value(i) }
	case *array.String:
		get = func(i int) any { return a.Value(i) }
	case *array.Decimal128:
		scale := a.DataType().(*arrow.Decimal128Type).Scale
		get = func(i int) any { return a.Value(i).ToFloat64(scale) }
	case *array.Date32:
		zone := shanghai()
		get = func(i int) any {
			year, month, day := civil(int32(a.Value(i)))
			return time.Date(int(year), time.Month(month), int(day), 0, 0, 0, 0, zone)
		}
	case *array.Timestamp:
		unit := a.DataType().(*arrow.TimestampType)
		zone := zoneOf(unit)
		get = func(i int) any {
			seconds, rest := floorDiv(int64(a.Value(i)), perSecond(unit.Unit))
			return time.Unix(seconds, rest*(1e9/perSecond(unit.Unit))).In(zone)
		}
	case *array.Dictionary:
		values := a.Dictionary().(*array.String)
		boxed := make([]any, values.Len())
		for i := range boxed {
			boxed[i] = values.Value(i)
		}
		get = func(i int) any { return boxed[a.GetValueIndex(i)] }
	case *array.List:
		if values, ok := a.ListValues().(*array.String); ok {
			get = func(i int) any {
				from, to := a.ValueOffsets(i)
				list := make([]string, 0, to-from)
				for j := from; j < to; j++ {
					list = append(list, values.Value(int(j)))
				}
				return list
			}
		}
	}
	if arr.NullN() == 0 {
		return get
	}
	return func(i int) any {
		if arr.IsNull(i) {
			return nil
		}
		return get(i)
	}
}
