package yamlfile

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/headwater-data/headwater/internal/problem"
	"github.com/headwater-data/headwater/internal/secret"
)

var (
	nodeType     = reflect.TypeFor[Node]()
	secretType   = reflect.TypeFor[secret.Value]()
	durationType = reflect.TypeFor[time.Duration]()
)

// decode decodes v into the value that into points to; into being no non-nil pointer is a programmer's mistake.
func (d *Document) decode(v *value, into any, references *References) problem.List {
	target := reflect.ValueOf(into)
	if target.Kind() != reflect.Pointer || target.IsNil() {
		panic(fmt.Sprintf("yamlfile: decode into %T, need a pointer", into))
	}
	w := walker{doc: d, references: references}
	if v.kind == kindNull && target.Elem().Kind() == reflect.Struct && target.Elem().Type() != nodeType {
		v = &value{kind: kindMap, line: v.line, col: v.col} // an empty file misses its required keys
	}
	w.walk(v, target.Elem(), v.line, v.col)
	w.problems.Sort()
	return w.problems
}

type walker struct {
	doc        *Document
	references *References
	problems   problem.List
	visits     int // values decoded so far, of maxVisits
	stopped    bool
}

func (w *walker) fail(line, col int, message, fix string) {
	w.problems = append(w.problems, problem.Problem{File: w.doc.file, Line: line, Column: col, Message: message, Fix: fix})
}

func (w *walker) wrongType(v *value, want string) {
	fix := ""
	if v.kind == kindText && v.quoted && (want == "a number" || want == "a whole number" || want == "true or false") {
		fix = "remove the quotes"
	} else if want == "a list" && v.kind != kindMap {
		fix = "write it in brackets: [a, b]"
	}
	w.fail(v.line, v.col, "need "+want+", found "+v.kind.String(), fix)
}

// walk decodes v into target; keyLine and keyCol are where the key stands that holds v.
func (w *walker) walk(v *value, target reflect.Value, keyLine, keyCol int) {
	if w.stopped || v.kind == kindBroken {
		return
	}
	if w.visits++; w.visits > maxVisits {
		w.stopped = true
		w.fail(v.line, v.col, fmt.Sprintf("more than %d values after aliases are expanded", maxVisits), "use fewer aliases")
		return
	}
	t := target.Type()
	switch t {
	case nodeType:
		target.Set(reflect.ValueOf(Node{doc: w.doc, v: v, line: keyLine, col: keyCol, references: w.references}))
		return
	case secretType:
		w.secret(v, target)
		return
	case durationType:
		w.duration(v, target)
		return
	}
	if v.kind == kindNull { // an empty value leaves the default
		return
	}
	if own, ok := target.Addr().Interface().(unmarshaler); ok {
		w.own(v, own)
		return
	}
	if t.Kind() == reflect.Pointer {
		if target.IsNil() {
			target.Set(reflect.New(t.Elem()))
		}
		w.walk(v, target.Elem(), keyLine, keyCol)
		return
	}
	if v.kind != kindList && v.kind != kindMap && w.scalarHook(v, target) {
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		w.structure(v, target)
	case reflect.Map:
		w.mapping(v, target)
	case reflect.Slice:
		if v.kind != kindList {
			w.wrongType(v, "a list")
			return
		}
		out := reflect.MakeSlice(t, len(v.items), len(v.items))
		for i, item := range v.items {
			if item.kind == kindNull && t.Elem().Kind() != reflect.Interface && t.Elem().Kind() != reflect.Pointer {
				w.fail(item.line, item.col, "this entry of the list is empty", `remove it, or write "" or a quoted word`)
				continue
			}
			w.walk(item, out.Index(i), item.line, item.col)
		}
		target.Set(out)
	case reflect.Interface:
		if out := w.open(v); out != nil {
			target.Set(reflect.ValueOf(out))
		}
	case reflect.String:
		if v.kind == kindList || v.kind == kindMap {
			w.wrongType(v, "a text")
			return
		}
		target.SetString(w.expand(v))
	case reflect.Bool:
		if v.kind != kindBool {
			w.wrongType(v, "true or false")
			return
		}
		target.SetBool(strings.EqualFold(v.text, "true"))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		i, ok := w.integer(v)
		if ok && target.OverflowInt(i) {
			w.fail(v.line, v.col, "the number is too large", "")
		} else if ok {
			target.SetInt(i)
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		i, ok := w.integer(v)
		if ok && (i < 0 || target.OverflowUint(uint64(i))) {
			w.fail(v.line, v.col, "the number is negative or too large", "")
		} else if ok {
			target.SetUint(uint64(i))
		}
	case reflect.Float32, reflect.Float64:
		if v.kind != kindInt && v.kind != kindFloat {
			w.wrongType(v, "a number")
			return
		}
		f, ok := parseFloat(v.text)
		if !ok {
			w.fail(v.line, v.col, "not a number", "write it with a point and without thousands separators")
			return
		}
		target.SetFloat(f)
	default:
		panic(fmt.Sprintf("yamlfile: cannot decode into %s", t))
	}
}

// scalarHook lets the target's own type read a bare scalar, if it can.
func (w *walker) scalarHook(v *value, target reflect.Value) bool {
	switch own := target.Addr().Interface().(type) {
	case Shorthand:
		if !own.UnmarshalShorthand(w.expand(v)) {
			w.fail(v.line, v.col, "this text cannot stand here", "")
		}
		return true
	case encoding.TextUnmarshaler:
		if err := own.UnmarshalText([]byte(w.expand(v))); err != nil {
			w.fail(v.line, v.col, err.Error(), "")
		}
		return true
	}
	return false
}

// unmarshaler is implemented by types of several forms, such as one text or a list of them: they decode what is there into
// values of their choice. It is the same interface as that of common YAML libraries.
type unmarshaler interface {
	UnmarshalYAML(decode func(into any) error) error
}

// errWithin stands for problems that have been noted already.
var errWithin = errors.New("see the problems noted")

func (w *walker) own(v *value, own unmarshaler) {
	before := len(w.problems)
	err := own.UnmarshalYAML(func(into any) error {
		w.problems = w.problems[:before] // only the last attempt counts
		w.walk(v, reflect.ValueOf(into).Elem(), v.line, v.col)
		if len(w.problems) > before {
			return errWithin
		}
		return nil
	})
	switch {
	case err == nil: // what it tried in vain and then read otherwise is no problem
		w.problems = w.problems[:before]
	case errors.Is(err, errWithin):
	default:
		w.problems = w.problems[:before]
		w.fail(v.line, v.col, err.Error(), "")
	}
}

type field struct {
	name     string
	index    []int
	required bool
	enum     []string
}

// fields lists the keys of a struct type by its tags.
func fields(t reflect.Type) []field {
	var out []field
	for _, f := range reflect.VisibleFields(t) {
		if !f.IsExported() || len(f.Index) > 1 && !inlinedPath(t, f.Index) {
			continue
		}
		name, inline := key(f)
		if name == "-" || inline {
			continue
		}
		fd := field{name: name, index: f.Index, required: f.Tag.Get("required") == "true"}
		if e := f.Tag.Get("enum"); e != "" {
			fd.enum = strings.Split(e, ",")
		}
		out = append(out, fd)
	}
	return out
}

// key returns the YAML key of a struct field, "-" for one that has none, and whether its fields belong to the outer struct.
func key(f reflect.StructField) (name string, inline bool) {
	name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	if slices.Contains(strings.Split(options, ","), "inline") {
		return "", true
	}
	if name == "" {
		if f.Anonymous && f.Type.Kind() == reflect.Struct {
			return "", true
		}
		name = strings.ToLower(f.Name)
	}
	return name, false
}

func inlinedPath(t reflect.Type, index []int) bool {
	for i := 1; i < len(index); i++ {
		f := t.FieldByIndex(index[:i])
		if _, inline := key(f); !inline || f.Type.Kind() != reflect.Struct {
			return false
		}
	}
	return true
}

func (w *walker) structure(v *value, target reflect.Value) {
	if v.kind != kindMap {
		w.wrongType(v, "a map")
		return
	}
	known := fields(target.Type())
	names := make([]string, len(known))
	for i, f := range known {
		names[i] = f.name
	}
	given := map[string]bool{}
	for _, e := range v.entries {
		i := slices.Index(names, e.key)
		if i < 0 {
			w.fail(e.line, e.col, "unknown field "+showKey(e.key), hint(e.key, names))
			if meant := Suggest(e.key, names); meant != "" && !given[meant] {
				given[meant] = true // one word about it is enough
			}
			continue
		}
		f := known[i]
		given[e.key] = given[e.key] || !e.value.empty()
		w.walk(e.value, target.FieldByIndex(f.index), e.line, e.col)
		if len(f.enum) > 0 && e.value.kind != kindNull {
			w.enum(e.value, target.FieldByIndex(f.index), f.enum)
		}
	}
	for i, f := range known {
		if field := target.FieldByIndex(f.index); field.Type() == nodeType && !slices.ContainsFunc(v.entries, func(e entry) bool { return e.key == known[i].name }) {
			// What is missing in a part that is not there is missing here.
			field.Set(reflect.ValueOf(Node{doc: w.doc, line: v.line, col: v.col, references: w.references}))
		}
		if f.required && !given[f.name] {
			line, col := v.line, v.col
			for _, e := range v.entries {
				if e.key == f.name {
					line, col = e.line, e.col
				}
			}
			w.fail(line, col, fmt.Sprintf("%q is missing or empty", f.name), "give it a value")
		}
	}
}

// empty is what a required key may not be.
func (v *value) empty() bool {
	switch v.kind {
	case kindNull:
		return true
	case kindText:
		return v.text == ""
	case kindList:
		return len(v.items) == 0
	}
	return false
}

func (w *walker) enum(v *value, got reflect.Value, allowed []string) {
	switch got.Kind() {
	case reflect.String:
		if v.kind != kindMap && v.kind != kindList && !slices.Contains(allowed, got.String()) {
			fix := ""
			if s := Suggest(got.String(), allowed); s != "" {
				fix = fmt.Sprintf("did you mean %q?", s)
			}
			w.fail(v.line, v.col, "must be one of: "+strings.Join(allowed, ", "), fix)
		}
	case reflect.Slice:
		for i, item := range v.items {
			if i < got.Len() {
				w.enum(item, got.Index(i), allowed)
			}
		}
	}
}

func hint(word string, known []string) string {
	if s := Suggest(word, known); s != "" {
		return fmt.Sprintf("did you mean %q?", s)
	}
	if len(known) == 0 {
		return "there is nothing to set here"
	}
	return "known here: " + strings.Join(known, ", ")
}

func (w *walker) mapping(v *value, target reflect.Value) {
	if v.kind != kindMap {
		w.wrongType(v, "a map")
		return
	}
	t := target.Type()
	if t.Key().Kind() != reflect.String {
		panic(fmt.Sprintf("yamlfile: cannot decode into %s: keys must be texts", t))
	}
	out := reflect.MakeMapWithSize(t, len(v.entries))
	for _, e := range v.entries {
		element := reflect.New(t.Elem()).Elem()
		if e.value.kind == kindNull && t.Elem().Kind() == reflect.String {
			w.fail(e.line, e.col, showKey(e.key)+" has no value", `write "" for an empty text`)
			continue
		}
		w.walk(e.value, element, e.line, e.col)
		out.SetMapIndex(reflect.ValueOf(e.key).Convert(t.Key()), element)
	}
	target.Set(out)
}

// open decodes into the types that a field of type any takes.
func (w *walker) open(v *value) any {
	switch v.kind {
	case kindList:
		out := make([]any, len(v.items))
		for i, item := range v.items {
			w.walk(item, reflect.ValueOf(&out[i]).Elem(), item.line, item.col)
		}
		return out
	case kindMap:
		out := make(map[string]any, len(v.entries))
		for _, e := range v.entries {
			var element any
			w.walk(e.value, reflect.ValueOf(&element).Elem(), e.line, e.col)
			out[e.key] = element
		}
		return out
	case kindBool:
		return strings.EqualFold(v.text, "true")
	case kindInt:
		// 010000 is a code and no octal number: it stays the text that was written.
		if i, ok := parseInt(v.text); ok && !leadingZero(v.text) {
			return i
		}
		return v.text
	case kindFloat:
		if f, ok := parseFloat(v.text); ok && !leadingZero(v.text) {
			return f
		}
		return v.text
	case kindText:
		return w.expand(v)
	}
	return nil
}

func (w *walker) integer(v *value) (int64, bool) {
	if v.kind != kindInt {
		w.wrongType(v, "a whole number")
		return 0, false
	}
	if leadingZero(v.text) {
		w.fail(v.line, v.col, "a whole number may not begin with 0", "remove the zero; a code goes in quotes")
		return 0, false
	}
	i, ok := parseInt(v.text)
	if !ok {
		w.fail(v.line, v.col, "the number is too large", "")
	}
	return i, ok
}

func leadingZero(text string) bool {
	text = strings.TrimLeft(text, "+-")
	return len(text) > 1 && text[0] == '0' && text[1] >= '0' && text[1] <= '9'
}

func parseInt(text string) (int64, bool) {
	i, err := strconv.ParseInt(strings.ReplaceAll(text, "_", ""), 0, 64)
	return i, err == nil
}

func parseFloat(text string) (float64, bool) {
	switch strings.ToLower(strings.TrimPrefix(text, "+")) {
	case ".inf":
		return math.Inf(1), true
	case "-.inf":
		return math.Inf(-1), true
	case ".nan":
		return math.NaN(), true
	}
	text = strings.ReplaceAll(text, "_", "")
	if i, err := strconv.ParseInt(text, 0, 64); err == nil {
		return float64(i), true
	}
	f, err := strconv.ParseFloat(text, 64)
	return f, err == nil
}

// duration reads 90s, 1h30m, 7d; a bare 0 is allowed too.
func (w *walker) duration(v *value, target reflect.Value) {
	if v.kind == kindNull {
		return
	}
	if v.kind == kindList || v.kind == kindMap {
		w.wrongType(v, "a duration")
		return
	}
	text := w.expand(v)
	days := time.Duration(0)
	if n, rest, ok := strings.Cut(text, "d"); ok {
		i, err := strconv.ParseInt(n, 10, 32)
		if err != nil || i < 0 || i > 36500 {
			w.fail(v.line, v.col, "not a duration", "write it as 90s, 15m, 1h30m or 7d")
			return
		}
		days = time.Duration(i) * 24 * time.Hour
		if text = rest; text == "" {
			text = "0"
		}
	}
	parsed, err := time.ParseDuration(text)
	if err != nil {
		w.fail(v.line, v.col, "not a duration", "write it as 90s, 15m, 1h30m or 7d")
		return
	}
	target.SetInt(int64(days + parsed))
}

func (w *walker) secret(v *value, target reflect.Value) {
	if v.kind == kindNull {
		return
	}
	if v.kind == kindList || v.kind == kindMap {
		w.wrongType(v, "a reference to a secret")
		return
	}
	r, whole := ParseReference(v.text)
	if !whole || r.HasDefault {
		w.fail(v.line, v.col, "a secret may not stand in the file", "write ${env:NAME} or ${file:PATH} and keep the secret there")
		return
	}
	text := v.text // not resolved: a placeholder that is set, so that checks for presence pass
	if w.references != nil && w.references.Secret != nil {
		var err error
		if text, err = w.references.Secret(r); err != nil {
			w.fail(v.line, v.col, err.Error(), "")
			return
		}
	}
	target.Set(reflect.ValueOf(secret.New(text)))
}
