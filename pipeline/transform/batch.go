package transform

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// Break is one rule that a row breaks.
type Break struct {
	Rule    string // stable name
	Field   string // field of the standard schema; "" for rules over the whole record
	Column  string // source column or columns; "" for constants
	Message string // for people; shows the value, cut to 200 characters, or hides it for personal fields
}

// vector is a field's column.
type vector struct {
	arr      arrow.Array
	constant bool // all cells are the same
}

type rowBreak struct {
	row   uint32
	field int // index of the field, or -1; of cells, to know which are not there for rules over records
	Break
}

type rowWarning struct {
	record uint32 // index in the evaluated column, before rows are taken out
	rule   string
}

// batch is the state of one pass over one record. It lives within one call and one goroutine.
type batch struct {
	m   *Mapping
	mem memory.Allocator
	rec arrow.Record
	n   int
	s   *scratch

	readAt time.Time // when the rows were read; zero when nobody knows

	skip     []bool   // filtered rows, whose breaks do not count; nil when there are none
	deleted  []bool   // rows that are gone from the source; nil when there are none
	rowOf    []uint32 // source row of each cell evaluated; nil means the cell's own index
	breaks   []rowBreak
	warnings []rowWarning
	vectors  []vector         // by field
	years    arrow.Array      // of the field that is being evaluated
	settled  map[int]struct{} // rows whose expression failed for the field that is being evaluated
	member   arrow.Array      // made by the region field for its member field
}

func (b *batch) row(i int) int {
	if b.rowOf != nil {
		return int(b.rowOf[i])
	}
	return i
}

// lastMoment is the last one that a time of the past may have, in seconds since 1970. Clocks and zones differ: a day more is let
// pass. It is false when nobody knows when the rows were read.
func (b *batch) lastMoment() (int64, bool) {
	return b.readAt.Add(24 * time.Hour).Unix(), !b.readAt.IsZero()
}

// gone reports whether the cell's row says that its record is gone from the source.
func (b *batch) gone(i int) bool { return b.deleted != nil && b.deleted[b.row(i)] }

// ignores reports whether a break of the field in that row does not count: a filtered row, or a field beside the key of a row
// that is gone.
func (b *batch) ignores(p *fieldPlan, row int) bool {
	return b.skip != nil && b.skip[row] || b.deleted != nil && b.deleted[row] && !p.field.Key
}

// fail records a break of a field in a cell.
func (b *batch) fail(p *fieldPlan, i int, rule, message string) {
	row := b.row(i)
	if b.ignores(p, row) {
		return
	}
	b.breaks = append(b.breaks, rowBreak{row: uint32(row), field: p.index, Break: Break{Rule: rule, Field: p.field.Name, Column: p.column, Message: message}})
}

// failValue records a break and shows the value.
func (b *batch) failValue(p *fieldPlan, i int, rule string, value []byte, problem string) {
	if p.secret {
		b.fail(p, i, rule, "the value "+problem)
		return
	}
	b.fail(p, i, rule, quoted(value)+" "+problem)
}

// warn records a warning of a record.
func (b *batch) warn(p *fieldPlan, i int, rule string) {
	if row := b.row(i); p != nil && b.ignores(p, row) {
		return
	}
	b.warnings = append(b.warnings, rowWarning{record: uint32(i), rule: rule})
}

// absent records a null cell without a default.
func (b *batch) absent(p *fieldPlan, i int) {
	if !p.required {
		return
	}
	if _, broken := b.settled[i]; !broken {
		b.fail(p, i, "required", "has no value")
	}
}

// failAll records the same break for every row.
func (b *batch) failAll(p *fieldPlan, rule, message string) {
	for i := range b.n {
		b.fail(p, i, rule, message)
	}
}

// columnOf returns the record's column of that name, nil when there is none.
func columnOf(rec arrow.Record, name string) arrow.Array {
	indices := rec.Schema().FieldIndices(name)
	if len(indices) == 0 {
		return nil
	}
	return rec.Column(indices[0])
}

// source returns the cells that a field is made of. ok is false when a column is missing or cannot be read; the breaks are
// then recorded. The caller releases the array.
func (b *batch) source(p *fieldPlan) (arr arrow.Array, ok bool) {
	for _, name := range p.source.columns {
		if !b.readable(p, name) {
			return nil, false
		}
	}
	switch p.source.kind {
	case sourceColumn:
		arr = columnOf(b.rec, p.source.columns[0])
		arr.Retain()
		return arr, true
	case sourceExpression:
		return b.express(p), true
	}
	columns := make([]texts, len(p.source.columns))
	for i, name := range p.source.columns {
		columns[i], _ = newTexts(columnOf(b.rec, name))
	}
	out := array.NewStringBuilder(b.mem)
	defer out.Release()
	out.Reserve(b.n)
	var buf []byte
	for i := range b.n {
		text, found := p.source.compose(columns, i, &p.nulls, &buf)
		if !found {
			out.AppendNull()
			continue
		}
		out.Append(view(text))
	}
	return out.NewArray(), true
}

// readable checks that a column is there and has text; otherwise every row breaks a rule.
func (b *batch) readable(p *fieldPlan, name string) bool {
	column := columnOf(b.rec, name)
	if column == nil {
		b.failAll(p, "schema.column-missing", fmt.Sprintf("the source has no column %q, which the mapping reads", name))
		return false
	}
	if !hasText(column.DataType()) {
		b.failAll(p, "schema.column-type", fmt.Sprintf("column %q has become %s, which cannot be read as a value", name, column.DataType()))
		return false
	}
	return true
}

type sourceKind uint8

const (
	sourceNone       sourceKind = iota // the default, or null
	sourceConstant                     // a constant
	sourceColumn                       // a column
	sourceCoalesce                     // the first column with a value
	sourceConcat                       // columns joined
	sourceSplit                        // part of a column
	sourceExpression                   // an expression over the row
	sourceRegion                       // the region's own columns
	sourceMember                       // what the region field leaves for its member field
)

// sourcePlan says where a field's values come from.
type sourcePlan struct {
	kind      sourceKind
	columns   []string
	constant  string
	null      bool // sourceConstant: the constant is null
	separator string
	part      int
	expr      *expression
}

// compose makes the text of a row out of several columns, or a part of one. The text is valid until the next call.
func (s *sourcePlan) compose(columns []texts, i int, nulls *words, buf *[]byte) ([]byte, bool) {
	switch s.kind {
	case sourceCoalesce:
		for c := range columns {
			if text, ok := columns[c].value(i, nulls); ok {
				return text, true
			}
		}
		return nil, false
	case sourceConcat:
		out, any := (*buf)[:0], false
		for c := range columns {
			text, ok := columns[c].value(i, nulls)
			if !ok {
				continue
			}
			if any {
				out = append(out, s.separator...)
			}
			out = append(out, text...)
			any = true
		}
		*buf = out
		return out, any
	}
	text, ok := columns[0].value(i, nulls)
	if !ok {
		return nil, false
	}
	return splitPart(text, s.separator, s.part)
}

// scratch is what passes over batches of one mapping share: memories of distinct values, virtual machines. One pass uses it
// at a time; what it remembers follows from the mapping alone, so results do not depend on what was seen before.
type scratch struct {
	generation uint32
	memories   map[memoryKey]*distinct
	size       int // entries in all memories
	machines   map[*expression]*machine
	key        []byte
	clocks     map[*time.Location]*zoneClock
}

type memoryKey struct {
	plan   *fieldPlan
	bucket int
}

// maxRemembered bounds how many distinct values a mapping's memories hold between batches.
const maxRemembered = 1 << 17

func newScratch() *scratch {
	return &scratch{memories: map[memoryKey]*distinct{}, machines: map[*expression]*machine{}, clocks: map[*time.Location]*zoneClock{}}
}

// begin prepares the scratch for a batch.
func (s *scratch) begin() {
	if s.size > maxRemembered {
		clear(s.memories)
		s.size = 0
	}
	if s.generation > 1<<31 { // before it wraps around and old entries look current
		clear(s.memories)
		s.size, s.generation = 0, 0
	}
}

// nextGeneration begins a column: positions in the dictionary of an earlier one no longer count.
func (s *scratch) nextGeneration() uint32 {
	s.generation++
	return s.generation
}

func (s *scratch) memory(p *fieldPlan, bucket int) *distinct {
	key := memoryKey{p, bucket}
	d := s.memories[key]
	if d == nil {
		d = &distinct{index: map[string]int32{}}
		s.memories[key] = d
	}
	return d
}

func (s *scratch) clock(zone *time.Location) *zoneClock {
	c := s.clocks[zone]
	if c == nil {
		c = &zoneClock{zone: zone}
		s.clocks[zone] = c
	}
	return c
}

// scratchPool hands out scratches.
type scratchPool struct{ pool sync.Pool }

func (p *scratchPool) get() *scratch {
	s, ok := p.pool.Get().(*scratch)
	if !ok {
		s = newScratch()
	}
	s.begin()
	return s
}

func (p *scratchPool) put(s *scratch) { p.pool.Put(s) }

// distinct remembers what each distinct text of a field means.
type distinct struct {
	index   map[string]int32
	entries []meaning
}

// meaning is what a text means: a value, or a break.
type meaning struct {
	value      string
	member     string // regions: the part of the region that is no region itself
	null       bool
	rule       string // broken, when not ""
	problem    string // completes a sentence that begins with the value
	warning    string // name of a warning, or ""
	generation uint32 // of the column for which position was given
	position   int32  // in that column's dictionary
}

// find returns the meaning of text, working it out when it is new. The pointer is valid until the next call.
func (d *distinct) find(s *scratch, text []byte, work func(text []byte) meaning) (*meaning, int32) {
	if i, ok := d.index[string(text)]; ok {
		return &d.entries[i], i
	}
	i := int32(len(d.entries))
	d.entries = append(d.entries, work(text))
	d.index[string(text)] = i
	s.size++
	return &d.entries[i], i
}

// dictionary collects the distinct values of a dictionary column.
type dictionary struct {
	positions map[string]int32
	values    []string
}

func (d *dictionary) position(value string) int32 {
	if p, ok := d.positions[value]; ok {
		return p
	}
	if d.positions == nil {
		d.positions = map[string]int32{}
	}
	p := int32(len(d.values))
	d.positions[value] = p
	d.values = append(d.values, value)
	return p
}

func (d *dictionary) array(mem memory.Allocator) arrow.Array {
	b := array.NewStringBuilder(mem)
	defer b.Release()
	b.AppendValues(d.values, nil)
	return b.NewArray()
}

// days are the calendar days on which meanings change, in order; they cut time into stretches within which a meaning holds.
type days []int32

// stretch returns the index of the stretch that holds a day, and its bounds [lo, hi).
func (d days) stretch(day int32) (index int, lo, hi int32) {
	i, found := slices.BinarySearch(d, day)
	if found {
		i++
	}
	lo, hi = -1<<31, 1<<31-1
	if i > 0 {
		lo = d[i-1]
	}
	if i < len(d) {
		hi = d[i]
	}
	return i, lo, hi
}

// onDay is a day as schemas take them.
func onDay(day int32) time.Time { return time.Unix(int64(day)*86400, 0).UTC() }
