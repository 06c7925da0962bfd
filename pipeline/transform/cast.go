package transform

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/decimal128"

	"github.com/headwater-data/headwater/schemas"
)

// fieldPlan is a compiled FieldSpec: how one field's column is made. It is immutable.
type fieldPlan struct {
	field    schemas.Field
	index    int
	column   string // source columns for messages
	source   sourcePlan
	required bool // a null without a default breaks the rule required
	secret   bool // values are not shown in messages
	longID   bool // the field holds identifiers of 18 characters, which spreadsheets cut to 15 digits

	nulls   words
	textual bool // typed columns must be read as text too: there are steps that look at it
	codes   map[string]string
	lookup  map[string]string
	lenient bool // lookup: what is not in the table is null, because there is a default

	number   numberReader
	liberal  bool // parse: bool
	purpose  purpose
	layouts  []layout
	zone     *time.Location // of texts without one
	fieldTZ  *time.Location // of the field
	year     *fieldPlan
	grain    recordGrain
	grainOf  int // field that holds the grain, or -1
	perTick  int64
	list     *codePlan
	region   *regionPlan
	element  *fieldPlan // arrays
	rules    []fieldRule
	datedBy  int // field whose date says which code or region held, or -1
	fallback *fallback
}

// fallback is a field's default in the form its kind needs.
type fallback struct {
	text    string
	float   float64
	whole   int64
	decimal decimal128.Num
}

// evaluate makes the field's column. The caller releases it.
func (p *fieldPlan) evaluate(b *batch) vector {
	b.settled = nil
	switch p.source.kind {
	case sourceNone:
		return p.repeat(b, p.fallback == nil, "")
	case sourceConstant:
		return p.repeat(b, p.source.null, p.source.constant)
	case sourceRegion:
		return vector{arr: p.castRegion(b)}
	case sourceMember:
		if b.member != nil {
			arr := b.member
			b.member = nil
			return vector{arr: arr}
		}
		return p.repeat(b, p.fallback == nil, "")
	}
	arr, ok := b.source(p)
	if !ok {
		return vector{arr: allNull(b.mem, p.field.Type.Arrow(), b.n), constant: true}
	}
	defer arr.Release()
	if p.year != nil {
		years := p.year.evaluate(b)
		b.years = years.arr
		defer func() {
			years.arr.Release()
			b.years = nil
		}()
	}
	return vector{arr: p.cast(b, arr)}
}

// repeat makes a column of the same text, read once. The constant "" without a source means the default.
func (p *fieldPlan) repeat(b *batch, null bool, text string) vector {
	cell := array.NewStringBuilder(b.mem)
	defer cell.Release()
	if null || text == "" {
		cell.AppendNull()
	} else {
		cell.Append(text)
	}
	one := cell.NewArray()
	defer one.Release()
	if b.n == 0 {
		return vector{arr: allNull(b.mem, p.field.Type.Arrow(), 0), constant: true}
	}
	if p.datedBy >= 0 && len(p.codeDays()) > 0 && !null && text != "" {
		// What the constant means depends on the row's date.
		return vector{arr: p.codeColumn(b, b.n, constantKeys(text))}
	}
	single := *b
	single.n, single.rowOf, single.breaks, single.warnings, single.deleted, single.skip = 1, nil, nil, nil, nil, nil
	arr := p.cast(&single, one)
	defer arr.Release()
	for _, broken := range single.breaks {
		for i := range b.n {
			b.fail(p, i, broken.Rule, broken.Message)
		}
	}
	for _, w := range single.warnings {
		for i := range b.n {
			b.warn(p, i, w.rule)
		}
	}
	return vector{arr: broadcast(b.mem, arr, b.n), constant: true}
}

// cast turns source cells into the field's column. The caller releases it.
func (p *fieldPlan) cast(b *batch, arr arrow.Array) arrow.Array {
	switch p.field.Type.Kind {
	case schemas.KindFloat64:
		return p.castFloat64(b, arr)
	case schemas.KindInt64:
		return p.castInt64(b, arr)
	case schemas.KindDecimal:
		return p.castDecimal(b, arr)
	case schemas.KindBool:
		return p.castBool(b, arr)
	case schemas.KindDate:
		return p.castDate(b, arr)
	case schemas.KindTimestamp:
		return p.castTimestamp(b, arr)
	case schemas.KindCode, schemas.KindRegion:
		return p.castCode(b, arr)
	case schemas.KindArray:
		return p.castArray(b, arr)
	}
	return p.castString(b, arr)
}

// translations is the stretch under which memories of codes and lookup stand, which do not depend on a date.
const translations = -2

// translate applies codes and lookup to a text. ok is false when the value is null or broken; a break is then recorded.
func (p *fieldPlan) translate(b *batch, i int, text []byte) (out []byte, ok bool) {
	if p.codes == nil && p.lookup == nil {
		return text, true
	}
	m, _ := b.s.memory(p, translations).find(b.s, text, p.translated)
	if m.rule != "" {
		b.failValue(p, i, m.rule, text, m.problem)
		return nil, false
	}
	if m.null {
		return nil, true
	}
	return bytesOf(m.value), true
}

// bytesOf is a text's bytes without a copy; they must not be changed.
func bytesOf(text string) []byte { return unsafe.Slice(unsafe.StringData(text), len(text)) }

func (p *fieldPlan) translated(text []byte) meaning {
	value := string(text)
	if p.codes != nil {
		to, ok := lookText(p.codes, value)
		if !ok {
			return meaning{rule: "code.unknown", problem: "is in no entry of codes"}
		}
		value = to
	}
	if p.lookup != nil {
		to, ok := lookText(p.lookup, value)
		switch {
		case ok:
			value = to
		case p.lenient:
			return meaning{null: true}
		default:
			return meaning{rule: "lookup.unknown", problem: "is not in the lookup table"}
		}
	}
	return meaning{value: value, null: value == ""}
}

// lookText looks a text up as it is and, else, with full-width forms folded.
func lookText(table map[string]string, text string) (string, bool) {
	if to, ok := table[text]; ok {
		return to, true
	}
	to, ok := table[string(foldWidth([]byte(text)))]
	return to, ok
}

// cell reads the text of a cell through null words, codes and lookup. present is false for a null, settled when there is
// nothing more to do because a break was recorded.
func (p *fieldPlan) cell(b *batch, t *texts, i int) (text []byte, present, settled bool) {
	text, present = t.value(i, &p.nulls)
	if !present || p.codes == nil && p.lookup == nil {
		return text, present, false
	}
	text, ok := p.translate(b, i, text)
	return text, text != nil, !ok
}

// reader opens cells as text; the source was found readable before.
func cellsOf(arr arrow.Array) texts {
	t, _ := newTexts(arr)
	return t
}

func (p *fieldPlan) castFloat64(b *batch, arr arrow.Array) arrow.Array {
	plain := !p.textual && p.number.bare.isOne()
	keepsNulls := arr.NullN() == 0 || p.fallback == nil && !p.required
	if a, ok := arr.(*array.Float64); ok && plain && keepsNulls && allFinite(a.Float64Values()) {
		arr.Retain()
		return arr
	}
	n := arr.Len()
	out := newFixed[float64](b.mem, n)
	missing := func(i int) {
		if p.fallback != nil {
			out.values[i] = p.fallback.float
			return
		}
		out.null(i)
		b.absent(p, i)
	}
	if whole, ok := wholeNumbers(arr); ok && !p.textual {
		for i := range n {
			if arr.IsNull(i) {
				missing(i)
				continue
			}
			p.putFloat(b, out, i, whole(i))
		}
		return out.finish(arrow.PrimitiveTypes.Float64)
	}
	if a, ok := arr.(*array.Float64); ok && !p.textual {
		var buf [32]byte
		for i, v := range a.Float64Values() {
			switch {
			case a.IsNull(i):
				missing(i)
			case plain && !math.IsNaN(v) && !math.IsInf(v, 0):
				out.values[i] = v
			default:
				p.putFloatText(b, out, i, appendFloat(buf[:0], v, 64))
			}
		}
		return out.finish(arrow.PrimitiveTypes.Float64)
	}
	t := cellsOf(arr)
	simple := p.number.bare.isOne()
	for i := range n {
		text, present, settled := p.cell(b, &t, i)
		switch {
		case settled:
			out.null(i)
		case !present:
			missing(i)
		default:
			if simple {
				if v, ok := shortFloat(text); ok {
					out.values[i] = v
					continue
				}
			}
			p.putFloatText(b, out, i, text)
		}
	}
	return out.finish(arrow.PrimitiveTypes.Float64)
}

func (p *fieldPlan) putFloatText(b *batch, out *fixed[float64], i int, text []byte) {
	number, problem := p.number.read(text)
	if problem == "" {
		if v, ok := number.float64(); ok {
			out.values[i] = v
			return
		}
		b.failValue(p, i, "cast.range", text, "is larger than a float64 holds")
	} else {
		b.failValue(p, i, "parse.number", text, problem)
	}
	out.null(i)
}

func (p *fieldPlan) putFloat(b *batch, out *fixed[float64], i int, whole int64) {
	if p.number.bare.isOne() {
		out.values[i] = float64(whole)
		return
	}
	number, ok := numberOf(whole).times(p.number.bare)
	if ok {
		out.values[i], ok = number.float64()
	}
	if !ok {
		b.fail(p, i, "cast.range", fmt.Sprintf("%d is too large for the change of unit", whole))
		out.null(i)
	}
}

func numberOf(whole int64) number {
	if whole < 0 {
		return number{lo: uint64(-whole), neg: true}
	}
	return number{lo: uint64(whole)}
}

// allFinite reports whether no value is infinite or not a number.
func allFinite(values []float64) bool {
	for _, v := range values {
		if v-v != 0 { // true for ±Inf and NaN alone
			return false
		}
	}
	return true
}

// wholeNumbers reads integer columns; ok is false for others and for uint64, which may not fit.
func wholeNumbers(arr arrow.Array) (value func(i int) int64, ok bool) {
	switch a := arr.(type) {
	case *array.Int64:
		return a.Value, true
	case *array.Int32:
		return func(i int) int64 { return int64(a.Value(i)) }, true
	case *array.Int16:
		return func(i int) int64 { return int64(a.Value(i)) }, true
	case *array.Int8:
		return func(i int) int64 { return int64(a.Value(i)) }, true
	case *array.Uint32:
		return func(i int) int64 { return int64(a.Value(i)) }, true
	case *array.Uint16:
		return func(i int) int64 { return int64(a.Value(i)) }, true
	case *array.Uint8:
		return func(i int) int64 { return int64(a.Value(i)) }, true
	}
	return nil, false
}

func (p *fieldPlan) castInt64(b *batch, arr arrow.Array) arrow.Array {
	plain := !p.textual && p.number.bare.isOne()
	if _, ok := arr.(*array.Int64); ok && plain && (arr.NullN() == 0 || p.fallback == nil && !p.required) {
		arr.Retain()
		return arr
	}
	n := arr.Len()
	out := newFixed[int64](b.mem, n)
	missing := func(i int) {
		if p.fallback != nil {
			out.values[i] = p.fallback.whole
			return
		}
		out.null(i)
		b.absent(p, i)
	}
	if whole, ok := wholeNumbers(arr); ok && plain {
		for i := range n {
			if arr.IsNull(i) {
				missing(i)
			} else {
				out.values[i] = whole(i)
			}
		}
		return out.finish(arrow.PrimitiveTypes.Int64)
	}
	t := cellsOf(arr)
	for i := range n {
		text, present, settled := p.cell(b, &t, i)
		if settled {
			out.null(i)
			continue
		}
		if !present {
			missing(i)
			continue
		}
		number, problem := p.number.read(text)
		if problem != "" {
			b.failValue(p, i, "parse.number", text, problem)
			out.null(i)
			continue
		}
		v, fault := number.int64()
		switch fault {
		case castFits:
			out.values[i] = v
		case castNotWhole:
			b.failValue(p, i, "cast.whole", text, "is no whole number")
			out.null(i)
		default:
			b.failValue(p, i, "cast.range", text, "is larger than an int64 holds")
			out.null(i)
		}
	}
	return out.finish(arrow.PrimitiveTypes.Int64)
}

func (p *fieldPlan) castDecimal(b *batch, arr arrow.Array) arrow.Array {
	target := p.field.Type.Arrow()
	if a, ok := arr.(*array.Decimal128); ok && !p.textual && p.number.bare.isOne() && arrow.TypeEqual(a.DataType(), target) &&
		(arr.NullN() == 0 || p.fallback == nil && !p.required) && allFit(a, int32(p.field.Type.Precision)) {
		arr.Retain()
		return arr
	}
	out := newFixed[decimal128.Num](b.mem, arr.Len())
	t := cellsOf(arr)
	for i := range arr.Len() {
		text, present, settled := p.cell(b, &t, i)
		if settled {
			out.null(i)
			continue
		}
		if !present {
			if p.fallback != nil {
				out.values[i] = p.fallback.decimal
				continue
			}
			out.null(i)
			b.absent(p, i)
			continue
		}
		number, problem := p.number.read(text)
		if problem != "" {
			b.failValue(p, i, "parse.number", text, problem)
			out.null(i)
			continue
		}
		v, fault := number.decimal(int32(p.field.Type.Precision), int32(p.field.Type.Scale))
		if fault != castFits {
			b.failValue(p, i, "cast.range", text, fmt.Sprintf("has more digits than %s holds", p.field.Type))
			out.null(i)
			continue
		}
		out.values[i] = v
	}
	return out.finish(target)
}

// allFit reports whether all decimals have at most precision digits: the type promises it, files do not keep it.
func allFit(a *array.Decimal128, precision int32) bool {
	for i, v := range a.Values() {
		if !v.FitsInPrecision(precision) && a.IsValid(i) {
			return false
		}
	}
	return true
}

func (p *fieldPlan) castBool(b *batch, arr arrow.Array) arrow.Array {
	if _, ok := arr.(*array.Boolean); ok && !p.textual && (arr.NullN() == 0 || p.fallback == nil && !p.required) {
		arr.Retain()
		return arr
	}
	out := array.NewBooleanBuilder(b.mem)
	defer out.Release()
	out.Reserve(arr.Len())
	t := cellsOf(arr)
	for i := range arr.Len() {
		text, present, settled := p.cell(b, &t, i)
		if settled {
			out.AppendNull()
			continue
		}
		if !present {
			if p.fallback != nil {
				out.Append(p.fallback.whole != 0)
				continue
			}
			out.AppendNull()
			b.absent(p, i)
			continue
		}
		v, ok := parseBool(text, p.liberal)
		if !ok {
			problem := "is neither true nor false"
			if !p.liberal {
				problem += "; declare parse: bool for 是/否, 1/0, Y/N"
			}
			b.failValue(p, i, "parse.bool", text, problem)
			out.AppendNull()
			continue
		}
		out.Append(v)
	}
	return out.NewArray()
}

// parseBool reads true and false and, when liberal, what people write for them.
func parseBool(text []byte, liberal bool) (value, ok bool) {
	switch string(bytes.ToLower(foldWidth(text))) {
	case "true":
		return true, true
	case "false":
		return false, true
	case "1", "y", "yes", "t", "是", "有", "√", "✓", "✔", "对", "真":
		return true, liberal
	case "0", "n", "no", "f", "否", "无", "×", "✗", "✘", "错", "假", "没有", "不是":
		return false, liberal
	}
	return false, false
}

// yearAt is the year that a text without one takes; 0 when there is none.
func (b *batch) yearAt(i int) int32 {
	if b.years == nil || b.years.IsNull(i) {
		return 0
	}
	year := b.years.(*array.Int64).Value(i)
	if year < 0 || year > 9999 {
		return 0
	}
	return int32(year)
}

// momentAt reads a cell's text about time and finds its year and period.
func (p *fieldPlan) momentAt(b *batch, i int, text []byte) (m moment, ok bool) {
	m, problem := p.purpose.read(text, p.layouts)
	if problem == "" && m.year == 0 {
		if m.year = b.yearAt(i); m.year == 0 {
			problem = "names no year; say with year: where it stands"
		} else if !m.validDay() {
			problem = fmt.Sprintf("does not exist in the year %d", m.year)
		}
	}
	if problem == "" && p.purpose == purposePeriod {
		if m.hasOffset {
			m = p.localMoment(b, m)
		}
		m, problem = m.periodStart(p.grainAt(b, i))
	} else if problem == "" && p.purpose == purposeMonth && m.hasOffset {
		m = p.localMoment(b, m).startOfDay()
		m.day, m.grain = 1, grainMonth
	}
	switch {
	case problem == "":
		return m, true
	case namesFarYear(text):
		b.failValue(p, i, "date.implausible", text, implausible)
	default:
		b.failValue(p, i, p.timeRule(), text, problem)
	}
	return m, false
}

func (p *fieldPlan) timeRule() string {
	switch p.purpose {
	case purposeDatetime:
		return "parse.datetime"
	case purposeMonth:
		return "parse.month"
	case purposePeriod:
		return "parse.period"
	}
	if p.field.Type.Kind == schemas.KindTimestamp && p.purpose == purposeCanonical {
		return "parse.datetime"
	}
	return "parse.date"
}

// localMoment turns a moment with an offset into the zone's own time.
func (p *fieldPlan) localMoment(b *batch, m moment) moment {
	local := b.s.clock(p.zone).local(m.seconds() - int64(m.offset))
	nanos := m.nanos
	m = momentOf(local * 1000)
	m.nanos = nanos
	return m
}

func (p *fieldPlan) grainAt(b *batch, i int) recordGrain {
	if p.grainOf < 0 {
		return p.grain
	}
	arr := b.vectors[p.grainOf].arr
	d, ok := arr.(*array.Dictionary)
	if !ok || d.IsNull(i) {
		return recordGrainUnknown
	}
	return parseRecordGrain(d.Dictionary().(*array.String).Value(d.GetValueIndex(i)))
}

// The days that columns may hold: of the years 1900 to 2199.
var (
	firstDay = daysOf(minYear, 1, 1)
	lastDay  = daysOf(maxYear, 1, 1) - 1
)

const implausible = "is outside the years 1900 to 2199"

func (p *fieldPlan) castDate(b *batch, arr arrow.Array) arrow.Array {
	n := arr.Len()
	keepsNulls := arr.NullN() == 0 || p.fallback == nil && !p.required
	iso := len(p.layouts) == 0 && p.purpose != purposeMonth && p.purpose != purposePeriod
	typed := iso && !p.textual
	if a, ok := arr.(*array.Date32); ok && typed && keepsNulls && daysPlausible(a) {
		arr.Retain()
		return arr
	}
	out := newFixed[int32](b.mem, n)
	t := cellsOf(arr)
	var last []byte
	var lastDays int32
	steady := p.year == nil && p.purpose != purposePeriod
	for i := range n {
		text, present, settled := p.cell(b, &t, i)
		if settled {
			out.null(i)
			continue
		}
		if !present {
			if p.fallback != nil {
				out.values[i] = int32(p.fallback.whole)
				continue
			}
			out.null(i)
			b.absent(p, i)
			continue
		}
		if steady && len(last) > 0 && bytes.Equal(text, last) {
			out.values[i] = lastDays
			continue
		}
		if iso {
			if days, _, ok := shortISO(text); ok && days >= firstDay && days <= lastDay {
				out.values[i] = days
				continue
			}
		}
		m, ok := p.momentAt(b, i, text)
		if !ok {
			out.null(i)
			continue
		}
		days := m.days()
		if m.hasOffset {
			q, _ := floorDiv(b.s.clock(p.zone).local(m.seconds()-int64(m.offset)), 86400)
			days = int32(q)
		}
		if days < firstDay || days > lastDay {
			b.failValue(p, i, "date.implausible", text, implausible)
			out.null(i)
			continue
		}
		out.values[i] = days
		last, lastDays = append(last[:0], text...), days
	}
	return out.finish(arrow.FixedWidthTypes.Date32)
}

func daysPlausible(a *array.Date32) bool {
	for i, d := range a.Date32Values() {
		if (int32(d) < firstDay || int32(d) > lastDay) && a.IsValid(i) {
			return false
		}
	}
	return true
}

func (p *fieldPlan) castTimestamp(b *batch, arr arrow.Array) arrow.Array {
	n := arr.Len()
	target := p.field.Type.Arrow()
	keepsNulls := arr.NullN() == 0 || p.fallback == nil && !p.required
	iso := len(p.layouts) == 0 && p.purpose != purposeMonth && p.purpose != purposePeriod
	typed := iso && !p.textual
	fieldClock := b.s.clock(p.fieldTZ)
	first, last := fieldClock.utc(int64(firstDay)*86400)*p.perTick, fieldClock.utc(int64(lastDay+1)*86400)*p.perTick
	if a, ok := arr.(*array.Timestamp); ok && typed {
		if keepsNulls && arrow.TypeEqual(a.DataType(), target) && ticksPlausible(a, first, last) {
			arr.Retain()
			return arr
		}
		return p.castTimestamps(b, a, target, first, last)
	}
	out := newFixed[int64](b.mem, n)
	clock := b.s.clock(p.zone)
	if a, ok := arr.(*array.Date32); ok && typed {
		for i, d := range a.Date32Values() {
			if a.IsNull(i) {
				p.missingTick(b, out, i)
				continue
			}
			value := clock.utc(int64(d)*86400) * p.perTick
			if value < first || value >= last {
				b.failValue(p, i, "date.implausible", appendDate(nil, int32(d)), implausible)
				out.null(i)
				continue
			}
			out.values[i] = value
		}
		return out.finish(target)
	}
	t := cellsOf(arr)
	var previous []byte
	var previousValue int64
	steady := p.year == nil && (p.purpose != purposePeriod || p.grainOf < 0)
	for i := range n {
		text, present, settled := p.cell(b, &t, i)
		if settled {
			out.null(i)
			continue
		}
		if !present {
			p.missingTick(b, out, i)
			continue
		}
		if steady && len(previous) > 0 && bytes.Equal(text, previous) {
			out.values[i] = previousValue
			continue
		}
		if iso {
			if days, clockSeconds, ok := shortISO(text); ok {
				if value := clock.utc(int64(days)*86400+int64(clockSeconds)) * p.perTick; value >= first && value < last {
					out.values[i] = value
					previous, previousValue = append(previous[:0], text...), value
					continue
				}
			}
		}
		m, ok := p.momentAt(b, i, text)
		if !ok {
			out.null(i)
			continue
		}
		seconds := m.seconds()
		if m.hasOffset {
			seconds -= int64(m.offset)
		} else {
			seconds = clock.utc(seconds)
		}
		value := seconds*p.perTick + int64(m.nanos)/(1e9/p.perTick)
		if value < first || value >= last {
			b.failValue(p, i, "date.implausible", text, implausible)
			out.null(i)
			continue
		}
		out.values[i] = value
		previous, previousValue = append(previous[:0], text...), value
	}
	return out.finish(target)
}

func (p *fieldPlan) missingTick(b *batch, out *fixed[int64], i int) {
	if p.fallback != nil {
		out.values[i] = p.fallback.whole
		return
	}
	out.null(i)
	b.absent(p, i)
}

// castTimestamps changes unit and zone of timestamps.
func (p *fieldPlan) castTimestamps(b *batch, a *array.Timestamp, target arrow.DataType, first, last int64) arrow.Array {
	out := newFixed[int64](b.mem, a.Len())
	unit := a.DataType().(*arrow.TimestampType)
	per := perSecond(unit.Unit)
	clock := b.s.clock(p.zone)
	naive := unit.TimeZone == ""
	for i, v := range a.TimestampValues() {
		if a.IsNull(i) {
			p.missingTick(b, out, i)
			continue
		}
		seconds, rest := floorDiv(int64(v), per)
		if naive {
			seconds = clock.utc(seconds)
		}
		value := int64(math.MaxInt64) // beyond every calendar
		if seconds > -1e12 && seconds < 1e12 {
			value = seconds * p.perTick
			if per > p.perTick {
				value += rest / (per / p.perTick)
			} else {
				value += rest * (p.perTick / per)
			}
		}
		if value < first || value >= last {
			b.failValue(p, i, "date.implausible", appendTimestamp(nil, int64(v), unit, zoneOf(unit)), implausible)
			out.null(i)
			continue
		}
		out.values[i] = value
	}
	return out.finish(target)
}

func ticksPlausible(a *array.Timestamp, first, last int64) bool {
	for i, v := range a.TimestampValues() {
		if (int64(v) < first || int64(v) >= last) && a.IsValid(i) {
			return false
		}
	}
	return true
}

func (p *fieldPlan) castString(b *batch, arr arrow.Array) arrow.Array {
	if a, ok := arr.(*array.String); ok && !p.textual && p.isClean(a) {
		arr.Retain()
		return arr
	}
	out := array.NewStringBuilder(b.mem)
	defer out.Release()
	out.Reserve(arr.Len())
	t := cellsOf(arr)
	for i := range arr.Len() {
		text, present, settled := p.cell(b, &t, i)
		if settled {
			out.AppendNull()
			continue
		}
		if !present {
			if p.fallback != nil {
				out.Append(p.fallback.text)
				continue
			}
			out.AppendNull()
			b.absent(p, i)
			continue
		}
		if rule, problem := p.textFault(text); rule != "" {
			b.failValue(p, i, rule, text, problem)
			out.AppendNull()
			continue
		}
		out.Append(view(text))
	}
	return out.NewArray()
}

// textFault says what is wrong with a text as such.
func (p *fieldPlan) textFault(text []byte) (rule, problem string) {
	const damaged = "is a long number that a spreadsheet cut to 15 digits; it cannot be recovered, ask for the column as text"
	if c := text[0]; (c-'0' <= 9 || c == '-' || c == '+') && (isDamagedNumber(text) || p.longID && isCutNumber(text)) {
		return "text.damaged", damaged
	}
	if !utf8.Valid(text) {
		return "text.utf8", "is not valid UTF-8"
	}
	return "", ""
}

// isCutNumber recognises an 18-digit identifier whose last three digits a spreadsheet made zero (DOMAIN §2.3).
func isCutNumber(text []byte) bool {
	if len(text) != 18 || string(text[15:]) != "000" {
		return false
	}
	for _, c := range text {
		if c-'0' > 9 {
			return false
		}
	}
	return true
}

// isClean reports whether all texts can be taken as they are.
func (p *fieldPlan) isClean(a *array.String) bool {
	blank := p.fallback != nil && p.fallback.text == "" // an empty text stands for itself
	if p.longID || a.NullN() > 0 && (p.fallback != nil || p.required) {
		return false
	}
	offsets, data := stringParts(a)
	n := a.Len()
	if n == 0 {
		return true
	}
	if !utf8.Valid(data[offsets[0]:offsets[n]]) {
		return false
	}
	for i := range n {
		text := data[offsets[i]:offsets[i+1]]
		if len(text) == 0 {
			if !blank && a.IsValid(i) {
				return false
			}
			continue
		}
		first, last := text[0], text[len(text)-1]
		if !edge[first] || last <= ' ' || last >= 0x80 {
			if len(trim(text)) != len(text) {
				return false
			}
		}
		if first-'0' <= 9 || first == '-' || first == '+' {
			if isDamagedNumber(text) {
				return false
			}
		}
		if p.nulls.has(text) {
			return false
		}
	}
	// Valid as a whole but cut inside a character would be two broken texts; rare enough to look only when there are any.
	for i := 1; i < n; i++ {
		if o := offsets[i]; int(o) < len(data) && !utf8.RuneStart(data[o]) {
			return false
		}
	}
	return true
}

// castArray splits cells into elements and casts those. Lists are read as their canonical text, a JSON array; other text is
// a list separated by 、 or ; and a single element without them.
func (p *fieldPlan) castArray(b *batch, arr arrow.Array) arrow.Array {
	n := arr.Len()
	offsets := newFixed[int32](b.mem, n+1)
	offsets.values[0] = 0
	elements := array.NewStringBuilder(b.mem)
	defer elements.Release()
	var rows []uint32
	t := cellsOf(arr)
	for i := range n {
		text, present, settled := p.cell(b, &t, i)
		if row := b.row(i); b.ignores(p, row) {
			// What the elements of a row that is gone say counts for nothing, and a list must not hold nulls.
		} else if present && !settled {
			list, problem := splitList(text)
			if problem != "" {
				b.failValue(p, i, "parse.array", text, problem)
			}
			for _, element := range list {
				elements.Append(element)
				rows = append(rows, uint32(b.row(i)))
			}
		} else if !settled && p.fallback == nil && p.required {
			b.absent(p, i)
		}
		offsets.values[i+1] = int32(len(rows))
	}
	flat := elements.NewArray()
	defer flat.Release()
	inner := *b
	inner.n, inner.rowOf = len(rows), rows
	if inner.rowOf == nil {
		inner.rowOf = []uint32{}
	}
	values := p.element.cast(&inner, flat)
	b.breaks = inner.breaks
	defer values.Release()
	if d, ok := values.(*array.Dictionary); ok { // lists hold codes as plain text
		plain := array.NewStringBuilder(b.mem)
		defer plain.Release()
		for i := range d.Len() {
			if d.IsNull(i) {
				plain.Append("")
			} else {
				plain.Append(d.Dictionary().(*array.String).Value(d.GetValueIndex(i)))
			}
		}
		decoded := plain.NewArray()
		defer decoded.Release()
		values = decoded
	}
	return finishList(offsets, values, p.field.Type.Arrow())
}

func splitList(text []byte) (list []string, problem string) {
	if text[0] == '[' {
		var elements []any
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.UseNumber()
		if err := dec.Decode(&elements); err != nil || dec.More() {
			return nil, "is not a JSON array"
		}
		for _, e := range elements {
			element, null, ok := constantText(e)
			if _, isList := e.([]any); !ok || isList {
				return nil, "holds something that is no plain value"
			}
			if element = string(trim([]byte(element))); !null && element != "" {
				list = append(list, element)
			}
		}
		return list, ""
	}
	for _, part := range bytes.FieldsFunc(text, func(r rune) bool { return r == '、' || r == ';' || r == '；' || r == '\n' }) {
		if part = trim(part); len(part) > 0 {
			list = append(list, string(part))
		}
	}
	return list, ""
}

// splitPart takes one part of a text: 1 is the first, -1 the last.
func splitPart(text []byte, separator string, part int) ([]byte, bool) {
	sep := []byte(separator)
	count := bytes.Count(text, sep) + 1
	if part < 0 {
		part += count + 1
	}
	if part < 1 || part > count {
		return nil, false
	}
	for range part - 1 {
		text = text[bytes.Index(text, sep)+len(sep):]
	}
	if end := bytes.Index(text, sep); end >= 0 {
		text = text[:end]
	}
	text = trim(text)
	return text, len(text) > 0
}
