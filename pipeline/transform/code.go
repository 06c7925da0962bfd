package transform

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/headwater-data/headwater/schemas"
)

// codePlan resolves texts to the codes of a list.
type codePlan struct {
	list  *schemas.CodeList
	codes map[string]string // the mapping's own translations; they win
	dates days              // on which codes begin and end
}

func newCodePlan(list *schemas.CodeList, codes map[string]string) *codePlan {
	p := &codePlan{list: list, codes: codes}
	for _, c := range list.Codes {
		for _, text := range []string{c.From, c.To} {
			if t, err := time.Parse(time.DateOnly, text); err == nil {
				p.dates = append(p.dates, int32(t.Unix()/86400))
			}
		}
	}
	slices.Sort(p.dates)
	p.dates = slices.Compact(p.dates)
	return p
}

func (p *codePlan) dated() bool { return len(p.dates) > 0 }

func (p *codePlan) resolve(text []byte, on time.Time) meaning {
	written := string(text)
	if to, ok := lookText(p.codes, written); ok {
		written = to
	}
	code, ok := p.list.Find(written)
	if !ok {
		return meaning{rule: "code.unknown", problem: "is no code of the list " + p.list.Name}
	}
	if p.dated() && !on.IsZero() && !code.Valid(on) {
		return meaning{rule: "code.expired", problem: "was not valid on the row's date"}
	}
	return meaning{value: code.Code}
}

// dateCells reads the day of each row from a date or timestamp column.
type dateCells struct {
	dates []arrow.Date32
	ticks []arrow.Timestamp
	per   int64
	clock *zoneClock
	arr   arrow.Array
	nulls bool
	all   days
	// The stretch of the row before, in the column's own terms: [lo, hi) holds for every value in it.
	lo, hi int64
	index  int
}

func (p *fieldPlan) dateCells(b *batch, all days) *dateCells {
	if p.datedBy < 0 || len(all) == 0 {
		return nil
	}
	d := &dateCells{all: all, arr: b.vectors[p.datedBy].arr}
	d.nulls = d.arr.NullN() > 0
	switch a := d.arr.(type) {
	case *array.Date32:
		d.dates = a.Date32Values()
	case *array.Timestamp:
		unit := a.DataType().(*arrow.TimestampType)
		d.ticks, d.per = a.TimestampValues(), perSecond(unit.Unit)
		zone := zoneOf(unit)
		if zone == nil {
			zone = time.UTC
		}
		d.clock = b.s.clock(zone)
	default:
		return nil
	}
	return d
}

// noStretch is the index of rows without a date.
const noStretch = -1

// at returns the index of the stretch in which row i lies.
func (d *dateCells) at(i int) int {
	if d.nulls && d.arr.IsNull(i) {
		return noStretch
	}
	var value int64
	if d.dates != nil {
		value = int64(d.dates[i])
	} else {
		value = int64(d.ticks[i])
	}
	if value >= d.lo && value < d.hi {
		return d.index
	}
	return d.enter(value)
}

func (d *dateCells) enter(value int64) int {
	day := int32(value)
	if d.ticks != nil {
		seconds, _ := floorDiv(value, d.per)
		q, _ := floorDiv(d.clock.local(seconds), 86400)
		day = int32(q)
	}
	var lo, hi int32
	d.index, lo, hi = d.all.stretch(day)
	d.lo, d.hi = int64(lo), int64(hi)
	if d.ticks != nil {
		d.lo, d.hi = d.clock.utc(d.lo*86400)*d.per, d.clock.utc(d.hi*86400)*d.per
	}
	return d.index
}

// stretchDay is a day within a stretch, always the same one; the zero time for rows without a date.
func (d days) stretchDay(index int) time.Time {
	switch {
	case index == noStretch || len(d) == 0:
		return time.Time{}
	case index == 0:
		return onDay(d[0] - 1)
	}
	return onDay(d[index-1])
}

// castCode makes a dictionary column of codes.
func (p *fieldPlan) castCode(b *batch, arr arrow.Array) arrow.Array {
	return p.codeColumn(b, arr.Len(), columnKeys(p, arr))
}

// codeColumn resolves each distinct text once for each stretch of time.
func (p *fieldPlan) codeColumn(b *batch, n int, k keys) arrow.Array {
	all := p.codeDays()
	return p.distinctColumn(b, n, p.dateCells(b, all), all, k, p.code, nil)
}

// codeDays are the days on which what a text means may change.
func (p *fieldPlan) codeDays() days {
	switch {
	case p.list != nil:
		return p.list.dates
	case p.region != nil:
		return p.region.dates
	}
	return nil
}

// code is what a text means as a code or region on a day.
func (p *fieldPlan) code(text []byte, on time.Time) meaning {
	if p.codes != nil || p.lookup != nil {
		m := p.translated(text)
		if m.rule != "" || m.null {
			return m
		}
		text = []byte(m.value)
	}
	if p.region != nil {
		return p.region.resolve([]string{string(text)}, nil, on)
	}
	return p.list.resolve(text, on)
}

// constantKeys is the same text in every row.
func constantKeys(text string) keys {
	b := []byte(text)
	return keys{
		text:      func(int) ([]byte, bool) { return b, true },
		position:  func(int) int { return 0 },
		positions: 1,
		show:      func(key []byte) []byte { return key },
	}
}

// keys gives the key of each row's meaning: a text that is the same for rows that mean the same.
type keys struct {
	// text returns the key; ok is false when the row is null. The bytes are valid until the next call.
	text func(i int) (key []byte, ok bool)
	// position returns a small number for the key if the column is a dictionary, whose size is positions; nil otherwise.
	position  func(i int) int
	positions int
	// show turns a key into what people see in messages.
	show func(key []byte) []byte
}

func columnKeys(p *fieldPlan, arr arrow.Array) keys {
	t := cellsOf(arr)
	k := keys{text: func(i int) ([]byte, bool) { return t.value(i, &p.nulls) }, show: func(key []byte) []byte { return key }}
	if d, ok := arr.(*array.Dictionary); ok && d.Dictionary().Len() <= 1<<16 {
		k.positions = d.Dictionary().Len()
		nulls := d.NullN() > 0
		k.position = func(i int) int {
			if nulls && d.IsNull(i) {
				return -1
			}
			return d.GetValueIndex(i)
		}
		if indices, ok := d.Indices().(*array.Int32); ok {
			positions := indices.Int32Values()
			k.position = func(i int) int {
				if nulls && d.IsNull(i) {
					return -1
				}
				return int(positions[i])
			}
		}
	}
	return k
}

// distinctColumn builds a dictionary column. members, if not nil, is told every row's member ("" for none).
func (p *fieldPlan) distinctColumn(b *batch, n int, dates *dateCells, all days, k keys, work func(text []byte, on time.Time) meaning, members func(i int, member string)) arrow.Array {
	out := newFixed[int32](b.mem, n)
	var values dictionary
	var memory *distinct
	generation := b.s.nextGeneration()
	stretch := noStretch - 1
	var on time.Time
	resolve := func(text []byte) meaning { return work(text, on) }

	// For a dictionary column: key position → entry of the present stretch, one more than its index.
	var known []int32
	tables := map[int][]int32{}
	// For short texts, the common case of codes: a small table before the map.
	var short shortTexts

	var last []byte
	lastEntry := int32(-1)
	for i := range n {
		s := noStretch
		if dates != nil {
			s = dates.at(i)
		}
		if s != stretch {
			stretch, on = s, all.stretchDay(s)
			memory = b.s.memory(p, s)
			lastEntry = -1
			short.clear()
			if k.position != nil {
				if known = tables[s]; known == nil {
					known = make([]int32, k.positions)
					tables[s] = known
				}
			}
		}
		var entry *meaning
		var key []byte
		if k.position != nil {
			at := k.position(i)
			if at < 0 {
				p.missingCode(b, out, &values, i)
				continue
			}
			if e := known[at]; e > 0 {
				entry = &memory.entries[e-1]
			} else {
				var ok bool
				if key, ok = k.text(i); !ok {
					p.missingCode(b, out, &values, i)
					continue
				}
				var e int32
				entry, e = memory.find(b.s, key, resolve)
				known[at] = e + 1
			}
		} else {
			var ok bool
			if key, ok = k.text(i); !ok {
				p.missingCode(b, out, &values, i)
				continue
			}
			if lastEntry >= 0 && bytes.Equal(key, last) {
				entry = &memory.entries[lastEntry]
			} else if slot := short.slot(key); slot != nil && slot.entry != 0 && slot.matches(key) {
				entry = &memory.entries[slot.entry-1]
			} else {
				entry, lastEntry = memory.find(b.s, key, resolve)
				last = append(last[:0], key...)
				if slot != nil {
					slot.set(key, lastEntry)
				}
			}
		}
		if entry.rule != "" {
			out.null(i)
			rule, problem := entry.rule, entry.problem
			if key == nil {
				key, _ = k.text(i)
			}
			if rest, own := strings.CutPrefix(problem, "="); own { // a sentence of its own
				if p.secret {
					rest = "the value is not known"
				}
				b.fail(p, i, rule, rest)
			} else {
				b.failValue(p, i, rule, k.show(key), problem)
			}
			continue
		}
		if entry.null {
			p.missingCode(b, out, &values, i)
			continue
		}
		if entry.generation != generation {
			entry.generation, entry.position = generation, values.position(entry.value)
		}
		out.values[i] = entry.position
		if entry.warning != "" {
			b.warn(p, i, entry.warning)
		}
		if members != nil && entry.member != "" {
			members(i, entry.member)
		}
	}
	list := values.array(b.mem)
	defer list.Release()
	return finishDictionary(out, list, codeType)
}

var codeType = &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}

func (p *fieldPlan) missingCode(b *batch, out *fixed[int32], values *dictionary, i int) {
	if p.fallback != nil {
		out.values[i] = values.position(p.fallback.text)
		return
	}
	out.null(i)
	b.absent(p, i)
}

// regionPlan resolves the finest region that a row names.
type regionPlan struct {
	regions *schemas.Regions
	codes   []string // columns, finest first
	names   []string
	within  string
	aliases map[string]string
	member  int // field that takes the part of a region that is none, or -1
	dates   days
}

// regionDays are the days on which any region begins or ends.
func regionDays(r *schemas.Regions) days {
	var d days
	for _, v := range r.All() {
		for _, t := range []time.Time{v.From, v.To} {
			if !t.IsZero() {
				d = append(d, int32(t.Unix()/86400))
			}
		}
	}
	slices.Sort(d)
	return slices.Compact(d)
}

// keySeparator stands between the parts of a region's key; it is trimmed from values, so it cannot be part of one.
const keySeparator = 0

// castRegion makes the region column from its own columns, and the member column beside it.
func (p *fieldPlan) castRegion(b *batch) arrow.Array {
	r := p.region
	columns := slices.Concat(r.codes, r.names)
	cells := make([]texts, len(columns))
	for i, name := range columns {
		if !b.readable(p, name) {
			return allNull(b.mem, codeType, b.n)
		}
		cells[i], _ = newTexts(columnOf(b.rec, name))
	}
	var k keys
	if len(columns) == 1 {
		k = columnKeys(p, columnOf(b.rec, columns[0]))
	} else {
		k.text = func(i int) ([]byte, bool) {
			key, any := b.s.key[:0], false
			for c := range cells {
				if text, ok := cells[c].value(i, &p.nulls); ok {
					key = append(key, text...)
					any = true
				}
				key = append(key, keySeparator)
			}
			b.s.key = key
			return key, any
		}
		k.show = func(key []byte) []byte {
			parts := slices.DeleteFunc(bytes.Split(key, []byte{keySeparator}), func(part []byte) bool { return len(part) == 0 })
			return bytes.Join(parts, []byte(" "))
		}
	}
	var members []string
	arr := p.distinctColumn(b, b.n, p.dateCells(b, r.dates), r.dates, k, func(key []byte, on time.Time) meaning {
		if len(columns) == 1 {
			if len(r.codes) == 1 {
				return r.resolve([]string{string(key)}, nil, on)
			}
			return r.resolve(nil, []string{string(key)}, on)
		}
		parts := strings.Split(string(key), string(rune(keySeparator)))
		return r.resolve(parts[:len(r.codes)], parts[len(r.codes):len(columns)], on)
	}, func(i int, member string) {
		if r.member >= 0 && members == nil {
			members = make([]string, b.n)
		}
		if members != nil {
			members[i] = member
		}
	})
	if members != nil {
		out := array.NewStringBuilder(b.mem)
		defer out.Release()
		field := b.m.fields[r.member]
		for _, m := range members {
			switch {
			case m != "":
				out.Append(m)
			case field.fallback != nil:
				out.Append(field.fallback.text)
			default:
				out.AppendNull()
			}
		}
		b.member = out.NewArray()
	}
	return arr
}

// resolve finds the region of the finest level that the row names. The levels are aligned at the finest.
func (r *regionPlan) resolve(codes, names []string, on time.Time) meaning {
	level := func(list []string, i int) string {
		if i < len(list) {
			return list[i]
		}
		return ""
	}
	levels := max(len(codes), len(names))
	next := func(i int) int {
		for ; i < levels; i++ {
			if level(codes, i) != "" || level(names, i) != "" {
				break
			}
		}
		return i
	}
	// find resolves a level and, to narrow the search for its name, those above it.
	var find func(i int) (schemas.Resolution, error)
	find = func(i int) (schemas.Resolution, error) {
		q := schemas.RegionQuery{Code: level(codes, i), Name: level(names, i), Within: r.within, On: on}
		for _, text := range []string{q.Code, q.Name} {
			if code, ok := lookText(r.aliases, text); ok && text != "" {
				return r.regions.Resolve(schemas.RegionQuery{Code: code, On: on})
			}
		}
		if q.Name != "" {
			if above := next(i + 1); above < levels {
				if found, err := find(above); err == nil {
					q.Within = found.Code
				}
			}
		}
		found, err := r.regions.Resolve(q)
		if err != nil && q.Within != r.within && isUnknown(err) {
			// What is above may have been another region in the reference's eyes (a city that a county left since).
			q.Within = r.within
			if again, err := r.regions.Resolve(q); err == nil && again.Exact && q.Code != "" {
				return again, nil
			}
		}
		return found, err
	}
	finest := next(0)
	if finest == levels {
		return meaning{null: true}
	}
	found, err := find(finest)
	name := level(names, finest)
	if err == nil {
		m := meaning{value: found.Code}
		if found.Note != "" {
			m.warning = "region.inexact"
		}
		if r.member >= 0 && strings.HasSuffix(name, "本级") {
			m.member, m.warning = name, "" // the member says all that the note would
		}
		return m
	}
	if r.member >= 0 && name != "" && isUnknown(err) {
		above := next(finest + 1)
		if above < levels {
			if holder, holderErr := find(above); holderErr == nil {
				return meaning{value: holder.Code, member: name}
			}
		} else if r.within != "" {
			return meaning{value: r.within, member: name}
		}
	}
	var fault *schemas.RegionError
	if errors.As(err, &fault) {
		return meaning{rule: fault.Rule, problem: "=" + fault.Message}
	}
	return meaning{rule: schemas.RuleRegionUnknown, problem: "=" + err.Error()}
}

func isUnknown(err error) bool {
	var fault *schemas.RegionError
	return errors.As(err, &fault) && fault.Rule == schemas.RuleRegionUnknown
}

// shortTexts remembers where texts of up to 8 bytes are found.
type shortTexts struct{ slots [64]shortText }

type shortText struct {
	text  uint64
	size  int32
	entry int32 // one more than the index of the entry; 0 for none
}

func (s *shortTexts) clear() { s.slots = [64]shortText{} }

func packed(text []byte) (v uint64) {
	for i, c := range text {
		v |= uint64(c) << (8 * i)
	}
	return v
}

// slot is where text is remembered, nil for long ones.
func (s *shortTexts) slot(text []byte) *shortText {
	if len(text) > 8 {
		return nil
	}
	v := packed(text)
	return &s.slots[(v*0x9E3779B97F4A7C15)>>58]
}

func (s *shortText) matches(text []byte) bool {
	return int(s.size) == len(text) && s.text == packed(text)
}

func (s *shortText) set(text []byte, entry int32) {
	s.text, s.size, s.entry = packed(text), int32(len(text)), entry+1
}
