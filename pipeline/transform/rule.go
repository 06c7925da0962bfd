package transform

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/headwater-data/headwater/schemas"
	"github.com/headwater-data/headwater/schemas/checkdigit"
)

// fieldRule is a compiled condition on one field.
type fieldRule struct {
	name     string
	warning  bool
	message  string
	min, max *float64
	first    int64 // days since 1970, inclusive; with dated
	last     int64
	dated    bool
	past     bool // not after the moment of reading
	pattern  *regexp.Regexp
	oneOf    map[string]struct{}
	shown    string // the texts allowed, for messages
	check    string
}

func compileRule(r schemas.Rule) (fieldRule, error) {
	out := fieldRule{name: r.Name, warning: r.Severity == schemas.SeverityWarning, message: r.Message, min: r.Min, max: r.Max, check: r.Check, past: r.Past}
	if r.Pattern != "" {
		re, err := regexp.Compile(r.Pattern)
		if err != nil {
			return out, err
		}
		out.pattern = re
	}
	if len(r.OneOf) > 0 {
		out.oneOf = map[string]struct{}{}
		for _, text := range r.OneOf {
			out.oneOf[text] = struct{}{}
		}
		out.shown = bounded(strings.Join(r.OneOf, ", "), 200)
	}
	if r.MinDate != "" || r.MaxDate != "" {
		out.dated, out.first, out.last = true, int64(firstDay), int64(lastDay)
		for _, bound := range []struct {
			text string
			day  *int64
		}{{r.MinDate, &out.first}, {r.MaxDate, &out.last}} {
			if bound.text == "" {
				continue
			}
			t, err := time.Parse(time.DateOnly, bound.text)
			if err != nil {
				return out, err
			}
			*bound.day = t.Unix() / 86400
		}
	}
	return out, nil
}

// verdict says what is wrong with a text; "" when nothing is.
func (r *fieldRule) verdict(text string) string {
	switch {
	case r.pattern != nil && !r.pattern.MatchString(text):
		return "does not have the form " + r.pattern.String()
	case r.check != "":
		if err := checkdigit.Verify(r.check, text); err != nil {
			return "is no valid identifier: " + err.Error()
		}
	case r.oneOf != nil:
		if _, ok := r.oneOf[text]; !ok {
			return "is not one of " + r.shown
		}
	}
	return ""
}

// judge applies a field's rules to its column.
func (p *fieldPlan) judge(b *batch, arr arrow.Array) {
	for r := range p.rules {
		p.judgeOne(b, &p.rules[r], arr)
	}
}

func (p *fieldPlan) broken(b *batch, r *fieldRule, i int, value []byte, problem string) {
	if r.warning {
		b.warn(p, i, r.name)
		return
	}
	if r.message != "" {
		problem = "breaks the rule: " + r.message
	}
	b.failValue(p, i, r.name, value, problem)
}

func (p *fieldPlan) judgeOne(b *batch, r *fieldRule, arr arrow.Array) {
	switch a := arr.(type) {
	case *array.Float64:
		for i, v := range a.Float64Values() {
			if (r.min != nil && v < *r.min || r.max != nil && v > *r.max) && a.IsValid(i) {
				p.broken(b, r, i, appendFloat(nil, v, 64), r.outside())
			}
		}
	case *array.Int64:
		for i, v := range a.Int64Values() {
			if (r.min != nil && float64(v) < *r.min || r.max != nil && float64(v) > *r.max) && a.IsValid(i) {
				p.broken(b, r, i, strconv.AppendInt(nil, v, 10), r.outside())
			}
		}
	case *array.Decimal128:
		scale := a.DataType().(*arrow.Decimal128Type).Scale
		for i := range a.Len() {
			if a.IsNull(i) {
				continue
			}
			if v := a.Value(i).ToFloat64(scale); r.min != nil && v < *r.min || r.max != nil && v > *r.max {
				p.broken(b, r, i, appendDecimal(nil, a.Value(i).BigInt(), scale), r.outside())
			}
		}
	case *array.Date32:
		if last, known := b.lastMoment(); r.past && known {
			for i, v := range a.Date32Values() {
				if int64(v)*86400 > last && a.IsValid(i) && !b.gone(i) {
					p.broken(b, r, i, appendDate(nil, int32(v)), "lies after the row was read")
				}
			}
		}
		for i, v := range a.Date32Values() {
			if r.dated && (int64(v) < r.first || int64(v) > r.last) && a.IsValid(i) {
				p.broken(b, r, i, appendDate(nil, int32(v)), r.outsideDates())
			}
		}
	case *array.Timestamp:
		unit := a.DataType().(*arrow.TimestampType)
		if last, known := b.lastMoment(); r.past && known {
			for i, v := range a.TimestampValues() {
				if int64(v) > last*p.perTick && a.IsValid(i) && !b.gone(i) {
					p.broken(b, r, i, appendTimestamp(nil, int64(v), unit, p.fieldTZ), "lies after the row was read")
				}
			}
		}
		if !r.dated {
			return
		}
		clock := b.s.clock(p.fieldTZ)
		first, last := clock.utc(r.first*86400)*p.perTick, clock.utc((r.last+1)*86400)*p.perTick
		for i, v := range a.TimestampValues() {
			if (int64(v) < first || int64(v) >= last) && a.IsValid(i) {
				p.broken(b, r, i, appendTimestamp(nil, int64(v), unit, p.fieldTZ), r.outsideDates())
			}
		}
	case *array.String:
		p.judgeTexts(b, r, a)
	case *array.Dictionary:
		values := a.Dictionary().(*array.String)
		problems, any := make([]string, values.Len()), false
		for i := range problems {
			problems[i] = r.verdict(values.Value(i))
			any = any || problems[i] != ""
		}
		for i := 0; any && i < a.Len(); i++ {
			if a.IsNull(i) {
				continue
			}
			if at := a.GetValueIndex(i); problems[at] != "" {
				p.broken(b, r, i, []byte(values.Value(at)), problems[at])
			}
		}
	}
}

// judgeTexts looks at each distinct text once, as far as neighbours are equal or few.
func (p *fieldPlan) judgeTexts(b *batch, r *fieldRule, a *array.String) {
	const remembered = 4096
	known := map[string]string{}
	last, lastProblem, first := "", "", true
	for i := range a.Len() {
		if a.IsNull(i) {
			continue
		}
		text := a.Value(i)
		if first || text != last {
			problem, ok := known[text]
			if !ok {
				problem = r.verdict(text)
				if len(known) < remembered {
					known[text] = problem
				}
			}
			last, lastProblem, first = text, problem, false
		}
		if lastProblem != "" && !(text == "" && p.fallback != nil && p.fallback.text == "") {
			p.broken(b, r, i, []byte(text), lastProblem)
		}
	}
}

func (r *fieldRule) outside() string {
	switch {
	case r.min != nil && r.max != nil:
		return fmt.Sprintf("is not between %s and %s", plainFloat(*r.min), plainFloat(*r.max))
	case r.min != nil:
		return "is below " + plainFloat(*r.min)
	}
	return "is above " + plainFloat(*r.max)
}

func (r *fieldRule) outsideDates() string {
	return fmt.Sprintf("is not between %s and %s", appendDate(nil, int32(r.first)), appendDate(nil, int32(r.last)))
}

func plainFloat(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
