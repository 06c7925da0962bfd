package schemas

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/expr-lang/expr/parser"

	"github.com/headwater-data/headwater/schemas/checkdigit"
)

// fault is one thing that is wrong with a schema or code list; path leads to it below the document's root.
type fault struct {
	path    []any
	message string
	fix     string
}

type faults []fault

func (f faults) Error() string {
	lines := make([]string, len(f))
	for i, one := range f {
		lines[i] = fmt.Sprintf("%s: %s", pathText(one.path), one.message)
		if one.fix != "" {
			lines[i] += " (" + one.fix + ")"
		}
	}
	return strings.Join(lines, "\n")
}

func pathText(path []any) string {
	var b strings.Builder
	for _, p := range path {
		switch p := p.(type) {
		case int:
			fmt.Fprintf(&b, "[%d]", p)
		default:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			fmt.Fprint(&b, p)
		}
	}
	return b.String()
}

func (f *faults) add(path []any, message, fix string) {
	*f = append(*f, fault{slices.Clone(path), message, fix})
}

var (
	namePattern   = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
	codePattern   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)
	nameFix       = "use a lower-case letter, then lower-case letters, digits and underscores, at most 63"
	sensitivities = []string{Public, Internal, Personal, SensitivePersonal}
	severities    = []string{SeverityError, SeverityWarning}
)

// maxFields bounds a schema: every field is a column of a table and a buffer of every batch.
const maxFields = 500

// check lists everything that is wrong with a normalised schema.
func (s *Schema) check(lists map[string]*CodeList) faults {
	var out faults
	if !namePattern.MatchString(s.Name) {
		out.add([]any{"schema"}, fmt.Sprintf("%q is no name for a schema", clip(s.Name)), nameFix)
	}
	if s.Version < 1 {
		out.add([]any{"version"}, "the version must be 1 or more", "")
	}
	checkTitle(&out, []any{"title"}, s.Title)
	if strings.TrimSpace(s.Description) == "" {
		out.add([]any{"description"}, "the description is missing", "say what one record stands for")
	}
	if len(s.Fields) == 0 {
		out.add([]any{"fields"}, "the schema has no fields", "")
	}
	if len(s.Fields) > maxFields {
		out.add([]any{"fields"}, fmt.Sprintf("%d fields are more than the %d allowed", len(s.Fields), maxFields), "split the schema")
	}
	seen := map[string]bool{}
	rules := map[string]bool{}
	keys := []string{}
	for i, f := range s.Fields {
		path := []any{"fields", i}
		if seen[f.Name] {
			out.add(at(path, "name"), fmt.Sprintf("there are two fields %q", f.Name), "rename one")
		}
		seen[f.Name] = true
		if f.Key {
			keys = append(keys, f.Name)
		}
		f.check(&out, path, lists)
		for j, r := range f.Rules {
			r.checkOnField(&out, at(path, "rules", j), f)
			if rules[r.Name] {
				out.add(at(path, "rules", j), fmt.Sprintf("there are two rules %q", r.Name), "give one another name")
			}
			rules[r.Name] = true
		}
	}
	for j, r := range s.Rules {
		path := []any{"rules", j}
		r.checkOnRecord(&out, path)
		if rules[r.Name] {
			out.add(path, fmt.Sprintf("there are two rules %q", r.Name), "give one another name")
		}
		rules[r.Name] = true
	}
	if len(s.Fields) > 0 && len(keys) == 0 {
		out.add([]any{"fields"}, "no field is part of the key", "mark the fields that tell records apart with key: true")
	}
	s.checkTable(&out, keys)
	return out
}

func at(path []any, more ...any) []any { return append(slices.Clone(path), more...) }

func (s *Schema) checkTable(out *faults, keys []string) {
	if s.Time != "" {
		f, ok := s.Field(s.Time)
		switch {
		case !ok:
			out.add([]any{"time"}, fmt.Sprintf("there is no field %q", clip(s.Time)), "name a date or timestamp field")
		case f.Type.Kind != KindDate && f.Type.Kind != KindTimestamp:
			out.add([]any{"time"}, fmt.Sprintf("field %q is a %s", s.Time, f.Type), "name a date or timestamp field")
		}
	}
	switch s.PartitionBy {
	case "":
	case "year":
		// Rows that replace each other must meet in one partition, or both stay.
		if !slices.Contains(keys, s.Time) {
			out.add([]any{"partition_by"}, "the table can only be split by a time that is part of the key", "set time to a key field, or leave partition_by out")
		}
	default:
		out.add([]any{"partition_by"}, fmt.Sprintf("%q is not known", clip(s.PartitionBy)), "write year or leave it out")
	}
	if len(s.Order) > 0 {
		sorted := slices.Sorted(slices.Values(s.Order))
		if !slices.Equal(sorted, slices.Sorted(slices.Values(keys))) {
			out.add([]any{"order"}, "order does not hold exactly the key fields", "list each key field once: "+strings.Join(keys, ", "))
		}
	}
}

func checkTitle(out *faults, path []any, t Title) {
	if strings.TrimSpace(t.Zh) == "" {
		out.add(path, "the Chinese title is missing", "add zh")
	}
	if strings.TrimSpace(t.En) == "" {
		out.add(path, "the English title is missing", "add en")
	}
}

func (f Field) check(out *faults, path []any, lists map[string]*CodeList) {
	if !namePattern.MatchString(f.Name) {
		out.add(at(path, "name"), fmt.Sprintf("%q is no name for a field", clip(f.Name)), nameFix)
	}
	checkTitle(out, at(path, "title"), f.Title)
	if strings.TrimSpace(f.Description) == "" {
		out.add(at(path, "description"), "the description is missing", "say what the value means: it becomes the column's comment")
	}
	if !slices.Contains(sensitivities, f.Sensitivity) {
		out.add(at(path, "sensitivity"), fmt.Sprintf("%q is not known", clip(f.Sensitivity)), "write public, internal, personal or sensitive-personal")
	}
	if !f.checkType(out, at(path, "type"), lists) {
		return
	}
	if f.IsPersonal() && f.Type.Kind != KindString {
		out.add(at(path, "type"), fmt.Sprintf("a personal field is kept as a keyed hash, which is no %s", f.Type), "make it a string, or not personal")
	}
	if f.Key && (f.Type.Kind == KindFloat64 || f.Type.Kind == KindArray) {
		out.add(at(path, "key"), fmt.Sprintf("a %s cannot be part of the key", f.Type.Kind), "fractions do not compare exactly and arrays do not sort")
	}
	if f.Default != nil {
		if message := f.checkDefault(lists); message != "" {
			out.add(at(path, "default"), message, "")
		}
	}
}

func (f Field) checkType(out *faults, path []any, lists map[string]*CodeList) bool {
	parsed, err := ParseType(f.Type.String())
	if err != nil || !parsed.Equal(f.Type) {
		out.add(path, fmt.Sprintf("%q is no type", clip(f.Type.String())), "write one of "+typeForms)
		return false
	}
	t := f.Type
	if t.Kind == KindArray {
		t = *t.Elem
	}
	if t.Kind == KindCode {
		if _, ok := lists[t.List]; !ok {
			out.add(path, fmt.Sprintf("there is no code list %q", t.List), "add a file with list: "+t.List)
			return false
		}
	}
	return true
}

func (f Field) checkDefault(lists map[string]*CodeList) string {
	misfit := fmt.Sprintf("the default does not fit type %s", f.Type)
	switch v := f.Default.(type) {
	case string:
		switch f.Type.Kind {
		case KindString:
			return ""
		case KindRegion:
			if regionCode.MatchString(v) {
				return ""
			}
		case KindCode:
			if _, ok := lists[f.Type.List].Code(v); ok {
				return ""
			}
			return fmt.Sprintf("the default is no code of list %q", f.Type.List)
		case KindDate:
			if _, err := time.Parse(time.DateOnly, v); err == nil {
				return ""
			}
		case KindTimestamp:
			if _, err := time.Parse("2006-01-02 15:04:05", v); err == nil {
				return ""
			}
			return misfit + "; write it as 2021-01-01 00:00:00"
		case KindDecimal:
			if fitsDecimal(v, f.Type.Precision, f.Type.Scale) {
				return ""
			}
		}
	case int64:
		if f.Type.Kind == KindInt64 {
			return ""
		}
	case float64:
		if f.Type.Kind == KindFloat64 && !math.IsInf(v, 0) && !math.IsNaN(v) {
			return ""
		}
	case bool:
		if f.Type.Kind == KindBool {
			return ""
		}
	}
	return misfit
}

var decimalText = regexp.MustCompile(`^-?([0-9]+)(?:\.([0-9]+))?$`)

func fitsDecimal(text string, precision, scale int) bool {
	m := decimalText.FindStringSubmatch(text)
	return m != nil && len(strings.TrimLeft(m[1], "0")) <= precision-scale && len(m[2]) <= scale
}

// checkOnField checks a rule that stands on a field.
func (r Rule) checkOnField(out *faults, path []any, f Field) {
	r.checkCommon(out, path)
	if r.Expr != "" {
		out.add(at(path, "expr"), "an expression is a rule of the whole record", "move it to the schema's own rules")
		return
	}
	conditions := 0
	kind := f.Type.Kind
	if r.Min != nil || r.Max != nil {
		conditions++
		if kind != KindInt64 && kind != KindFloat64 && kind != KindDecimal {
			out.add(path, fmt.Sprintf("min and max are for numbers, and %s is a %s", f.Name, f.Type), "")
		}
		if r.Min != nil && r.Max != nil && *r.Min > *r.Max {
			out.add(path, "min is greater than max: nothing can pass", "")
		}
	}
	if r.MinDate != "" || r.MaxDate != "" {
		conditions++
		if kind != KindDate && kind != KindTimestamp {
			out.add(path, fmt.Sprintf("min_date and max_date are for dates, and %s is a %s", f.Name, f.Type), "")
		}
		for _, side := range []struct{ key, text string }{{"min_date", r.MinDate}, {"max_date", r.MaxDate}} {
			if side.text == "" {
				continue
			}
			if _, err := time.Parse(time.DateOnly, side.text); err != nil {
				out.add(at(path, side.key), fmt.Sprintf("%q is no date", clip(side.text)), "write it as 2021-04-09")
			}
		}
		if r.MinDate != "" && r.MaxDate != "" && r.MinDate > r.MaxDate {
			out.add(path, "min_date is after max_date: nothing can pass", "")
		}
	}
	if r.Past {
		conditions++
		if kind != KindDate && kind != KindTimestamp {
			out.add(at(path, "past"), fmt.Sprintf("past is for dates, and %s is a %s", f.Name, f.Type), "")
		}
	}
	text := kind == KindString
	if r.Pattern != "" {
		conditions++
		if !text {
			out.add(at(path, "pattern"), fmt.Sprintf("a pattern is for text, and %s is a %s", f.Name, f.Type), "")
		}
		if _, err := regexp.Compile(r.Pattern); err != nil {
			out.add(at(path, "pattern"), "the pattern is no regular expression: "+err.Error(), "")
		}
	}
	if len(r.OneOf) > 0 {
		conditions++
		if !text {
			out.add(at(path, "one_of"), fmt.Sprintf("one_of is for text, and %s is a %s", f.Name, f.Type), "")
		}
	}
	if r.Check != "" {
		conditions++
		if !text {
			out.add(at(path, "check"), fmt.Sprintf("check digits are for text, and %s is a %s", f.Name, f.Type), "")
		}
		if !slices.Contains(checkdigit.Names(), r.Check) {
			out.add(at(path, "check"), fmt.Sprintf("%q is no check digit", clip(r.Check)), "write one of "+strings.Join(checkdigit.Names(), ", "))
		}
	}
	if conditions != 1 {
		out.add(path, fmt.Sprintf("the rule says %d conditions", conditions), "write one condition a rule: a range of numbers, a range of dates, past, pattern, one_of or check")
	}
}

// checkOnRecord checks a rule of the schema itself.
func (r Rule) checkOnRecord(out *faults, path []any) {
	r.checkCommon(out, path)
	if r.Name == "" {
		out.add(path, "the rule has no name", "rows that break it are counted under its name")
	}
	if r.Min != nil || r.Max != nil || r.MinDate != "" || r.MaxDate != "" || r.Past || r.Pattern != "" || len(r.OneOf) > 0 || r.Check != "" {
		out.add(path, "a rule of the whole record is an expression", "move the other conditions to the field")
	}
	if strings.TrimSpace(r.Expr) == "" {
		out.add(at(path, "expr"), "the expression is missing", "")
		return
	}
	if _, err := parser.Parse(r.Expr); err != nil {
		out.add(at(path, "expr"), "the expression cannot be read: "+firstLine(err.Error()), "")
	}
}

func (r Rule) checkCommon(out *faults, path []any) {
	if !slices.Contains(severities, r.Severity) {
		out.add(at(path, "severity"), fmt.Sprintf("%q is not known", clip(r.Severity)), "write error or warning")
	}
	if r.Name != "" && !codePattern.MatchString(r.Name) {
		out.add(at(path, "name"), fmt.Sprintf("%q is no name for a rule", clip(r.Name)), "use letters, digits, dots, dashes and underscores")
	}
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// check lists everything that is wrong with a code list.
func (l *CodeList) check() faults {
	var out faults
	if !namePattern.MatchString(l.Name) {
		out.add([]any{"list"}, fmt.Sprintf("%q is no name for a code list", clip(l.Name)), nameFix)
	}
	checkTitle(&out, []any{"title"}, l.Title)
	if len(l.Codes) == 0 {
		out.add([]any{"codes"}, "the list has no codes", "")
	}
	meaning := map[string]string{}
	for i, c := range l.Codes {
		path := []any{"codes", i}
		if fold(c.Code) != c.Code || c.Code == "" || len(c.Code) > 63 {
			out.add(at(path, "code"), fmt.Sprintf("%q is no code", clip(c.Code)), "write 1 to 63 bytes without surrounding space or full-width forms")
		}
		if _, ok := meaning[c.Code]; ok {
			out.add(at(path, "code"), fmt.Sprintf("code %q is there twice", clip(c.Code)), "")
		}
		meaning[c.Code] = c.Code
		checkTitle(&out, at(path, "title"), c.Title)
		for _, side := range []struct{ key, text string }{{"from", c.From}, {"to", c.To}} {
			if _, err := time.Parse(time.DateOnly, side.text); side.text != "" && err != nil {
				out.add(at(path, side.key), fmt.Sprintf("%q is no date", clip(side.text)), "write it as 2021-04-09")
			}
		}
		if c.From != "" && c.To != "" && c.From >= c.To {
			out.add(at(path, "to"), "the code ends before it begins", "")
		}
	}
	for i, c := range l.Codes {
		for _, form := range c.forms() {
			if other, ok := meaning[form]; ok && other != c.Code {
				out.add([]any{"codes", i}, fmt.Sprintf("%q means %q already", clip(form), clip(other)), "a text may mean one code only")
				continue
			}
			meaning[form] = c.Code
		}
	}
	return out
}
