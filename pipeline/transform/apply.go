package transform

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/schemas"
)

// ApplyOptions are rare settings of Apply.
type ApplyOptions struct {
	// Allocator is used for the result. Defaults to the program's.
	Allocator memory.Allocator
	// ReadAt is when the rows were read from their source, for rules that ask for times of the past. Rows are mapped again later:
	// it must be the moment of reading then too. Without it such rules are not judged.
	ReadAt time.Time
}

// Result is what became of a batch. Every source row ends in exactly one of: Row (it has at least one record), Quarantined,
// Filtered.
type Result struct {
	// Records has the columns of Schema().Arrow(), good records only.
	Records arrow.Record
	// Row is, for each record, the index of its source row in the batch; it never goes down. Do not change it.
	Row []uint32
	// Version is, for each record, its place in the source's own order; nil if neither mapping nor `_version` says.
	Version []uint64
	// Deleted is, for each record, whether it is gone from the source; nil when none is. Fields beside the key have
	// no meaning then.
	Deleted []bool
	// Flags is, for each record, the names of the warnings; nil when there are none.
	Flags       [][]string
	Quarantined []Rejected
	Filtered    []Filtered
}

// Release releases the records.
func (r *Result) Release() {
	if r.Records != nil {
		r.Records.Release()
		r.Records = nil
	}
}

// Rejected is a row that breaks rules.
type Rejected struct {
	Row     uint32 // index in the batch
	Breaks  []Break
	Columns []byte // JSON object: the kept columns as text or null, personal ones masked
}

// Filtered is a row that a filter left out.
type Filtered struct {
	Row  uint32
	Rule string
}

// unpivotEmpty is the filter of rows whose cells are all null.
const unpivotEmpty = "unpivot.empty"

// Apply maps a batch. It masks personal columns that Ingress has not masked. Rows of a batch that lacks a column which the
// mapping reads break schema.column-missing, those of a batch in which one cannot be read schema.column-type; columns that
// the mapping does not know are ignored. The only errors are a cancelled context and a key that is needed and missing. The
// caller releases the result.
func (m *Mapping) Apply(ctx context.Context, rec arrow.Record, opts ApplyOptions) (*Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	mem := opts.Allocator
	if mem == nil {
		mem = m.mem
	}
	var early []Rejected
	if slices.ContainsFunc(m.masked, func(c *maskedColumn) bool { return !c.arrives(rec) }) {
		masked, rejected, err := m.ingress(rec)
		if err != nil {
			return nil, err
		}
		defer masked.Release()
		rec, early = masked, rejected
	}
	b := &batch{m: m, mem: mem, rec: rec, n: int(rec.NumRows()), s: m.pool.get(), readAt: opts.ReadAt}
	defer func() { m.pool.put(b.s) }()

	out := &Result{}
	b.filter(out)
	b.readDeleted()
	b.vectors = make([]vector, len(m.fields))
	defer func() {
		for _, v := range b.vectors {
			if v.arr != nil {
				v.arr.Release()
			}
		}
		if b.member != nil {
			b.member.Release()
		}
	}()
	for _, i := range m.order {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		p := m.fields[i]
		if c := m.maskedOf(p); c != nil {
			b.vectors[i] = b.arrived(c)
			continue
		}
		b.vectors[i] = p.evaluate(b)
		p.judge(b, b.vectors[i].arr)
	}
	versions := b.versionsOf()

	r := b.expand()
	defer r.release()
	r.judge()
	r.finish(out, versions, early)
	return out, nil
}

func (m *Mapping) maskedOf(p *fieldPlan) *maskedColumn {
	for _, c := range m.masked {
		if c.plan == p {
			return c
		}
	}
	return nil
}

// arrived takes a personal field's column as Ingress left it.
func (b *batch) arrived(c *maskedColumn) vector {
	p := c.plan
	if c.kind == "drop" {
		return p.repeat(b, true, "")
	}
	column := columnOf(b.rec, c.column)
	if column == nil {
		for _, name := range p.source.columns {
			b.failAll(p, "schema.column-missing", fmt.Sprintf("the source has no column %q, which the mapping reads", name))
		}
		return vector{arr: allNull(b.mem, arrow.BinaryTypes.String, b.n), constant: true}
	}
	plain := *p // the steps were done before masking
	plain.nulls, plain.codes, plain.lookup, plain.textual = words{}, nil, nil, false
	return vector{arr: plain.castString(b, column)}
}

// filter finds the rows that filters leave out.
func (b *batch) filter(out *Result) {
	for _, f := range b.m.filters {
		absent := slices.ContainsFunc(f.when.columns, func(name string) bool { return columnOf(b.rec, name) == nil })
		if absent && !f.when.dynamic {
			p := &fieldPlan{field: schemas.Field{Key: true}, index: -1}
			for _, name := range f.when.columns {
				b.readable(p, name)
			}
			continue
		}
		r := b.rowReader(f.when)
		for i := range b.n {
			if b.skip != nil && b.skip[i] {
				continue
			}
			r.load(i)
			value, err := r.run()
			if err != nil && !r.nothing {
				b.breaks = append(b.breaks, rowBreak{row: uint32(i), field: -1, Break: Break{Rule: "filter.failed", Message: fmt.Sprintf("filter %s cannot be evaluated: %s", f.name, runError(err))}})
			}
			if leave, _ := value.(bool); !leave || err != nil {
				continue
			}
			if b.skip == nil {
				b.skip = make([]bool, b.n)
			}
			b.skip[i] = true
			out.Filtered = append(out.Filtered, Filtered{Row: uint32(i), Rule: f.name})
		}
		r.close()
	}
}

// records are the records of a batch before the bad ones are taken out.
type records struct {
	b        *batch
	n        int
	row      []uint32 // source row of each record; nil means the record's own index
	column   []uint16 // unpivot: which column made the record
	columns  []vector
	own      bool // columns are this value's to release, not the batch's
	warnings []rowWarning
	empty    []uint32 // unpivot: rows without a record
}

func (r *records) rowOf(i int) uint32 {
	if r.row == nil {
		return uint32(i)
	}
	return r.row[i]
}

func (r *records) release() {
	if !r.own {
		return
	}
	for _, c := range r.columns {
		if c.arr != nil {
			c.arr.Release()
		}
	}
}

// expand makes the records of the rows.
func (b *batch) expand() *records {
	if b.m.unpivot == nil {
		return &records{b: b, n: b.n, columns: b.vectors, warnings: b.warnings}
	}
	return b.unpivot()
}

// judge applies the rules over whole records. A rule says nothing of a record of which a field that it reads is broken.
func (r *records) judge() {
	b := r.b
	if len(b.m.rules) == 0 || r.n == 0 {
		return
	}
	type cell struct {
		row   uint32
		field int
	}
	broken := map[cell]struct{}{}
	for _, k := range b.breaks {
		broken[cell{k.row, k.field}] = struct{}{}
	}
	for k := range b.m.rules {
		rule := &b.m.rules[k]
		reader := b.recordReader(rule.when, b.m.schema, r.columns)
		constant, verdict, decided := reader.constant(), false, false
		for i := range r.n {
			row := r.rowOf(i)
			if b.skip != nil && b.skip[row] || b.deleted != nil && b.deleted[row] {
				continue
			}
			if len(broken) > 0 && slices.ContainsFunc(rule.when.fields, func(f int) bool {
				_, bad := broken[cell{row, f}]
				return bad
			}) {
				continue
			}
			if !decided {
				reader.load(b.m.schema, i)
				var err error
				if verdict, err = reader.judge(); err != nil {
					r.fail(i, rule, fmt.Sprintf("the rule cannot be judged: %s", runError(err)))
					continue
				}
				decided = constant
			}
			if !verdict {
				continue
			}
			if rule.warning {
				r.warnings = append(r.warnings, rowWarning{record: uint32(i), rule: rule.name})
				continue
			}
			message := rule.message
			if message == "" {
				message = "breaks the rule " + bounded(rule.when.text, 200)
			}
			r.fail(i, rule, message)
		}
		reader.close()
	}
}

func (r *records) fail(i int, rule *recordRule, message string) {
	column := ""
	if r.column != nil {
		column = r.b.m.unpivot.columns[r.column[i]].name
	}
	r.b.breaks = append(r.b.breaks, rowBreak{row: r.rowOf(i), field: -1, Break: Break{Rule: rule.name, Column: column, Message: message}})
}

// finish takes the bad records out and writes the result.
func (r *records) finish(out *Result, versions []uint64, early []Rejected) {
	b := r.b
	if b.skip != nil { // a break that was recorded before its row was filtered does not count
		b.breaks = slices.DeleteFunc(b.breaks, func(k rowBreak) bool { return b.skip[k.row] })
	}
	out.Quarantined = b.rejected(b.rec)
	if len(early) > 0 {
		out.Quarantined = mergeRejected(early, out.Quarantined, b.skip)
	}
	bad := b.skip
	if len(out.Quarantined) > 0 {
		bad = make([]bool, b.n)
		copy(bad, b.skip)
		for _, q := range out.Quarantined {
			bad[q.Row] = true
		}
	}
	for _, row := range r.empty {
		if bad == nil || !bad[row] {
			out.Filtered = append(out.Filtered, Filtered{Row: row, Rule: unpivotEmpty})
		}
	}
	slices.SortStableFunc(out.Filtered, func(x, y Filtered) int { return int(x.Row) - int(y.Row) })

	keep := r.survivors(bad)
	n := r.n
	if keep != nil {
		n = len(keep)
	}
	out.Row = make([]uint32, n)
	for k := range out.Row {
		i := k
		if keep != nil {
			i = int(keep[k])
		}
		out.Row[k] = r.rowOf(i)
	}
	if versions != nil {
		out.Version = make([]uint64, n)
		for k, row := range out.Row {
			out.Version[k] = versions[row]
		}
	}
	if b.deleted != nil {
		out.Deleted = make([]bool, n)
		for k, row := range out.Row {
			out.Deleted[k] = b.deleted[row]
		}
		if !slices.Contains(out.Deleted, true) {
			out.Deleted = nil
		}
	}
	out.Flags = r.flags(keep, n)

	columns := make([]arrow.Array, len(r.columns))
	for f := range columns {
		arr := r.columns[f].arr
		if keep == nil {
			arr.Retain()
			columns[f] = arr
		} else {
			columns[f] = take(b.mem, arr, keep)
		}
		if b.deleted != nil && !b.m.schema.Fields[f].Nullable() && columns[f].NullN() > 0 {
			filled := withoutNulls(b.mem, columns[f])
			columns[f].Release()
			columns[f] = filled
		}
	}
	out.Records = array.NewRecord(b.m.arrow, columns, int64(n))
	for _, c := range columns {
		c.Release()
	}
}

// survivors lists the good records; nil when all are.
func (r *records) survivors(bad []bool) []uint32 {
	if bad == nil || !slices.Contains(bad, true) {
		return nil
	}
	keep := make([]uint32, 0, r.n)
	for i := range r.n {
		if !bad[r.rowOf(i)] {
			keep = append(keep, uint32(i))
		}
	}
	return keep
}

// flags collects the warnings of the records that are kept.
func (r *records) flags(keep []uint32, n int) [][]string {
	if len(r.warnings) == 0 {
		return nil
	}
	all := make(map[uint32][]string)
	for _, w := range r.warnings {
		if !slices.Contains(all[w.record], w.rule) {
			all[w.record] = append(all[w.record], w.rule)
		}
	}
	out, any := make([][]string, n), false
	for k := range out {
		i := uint32(k)
		if keep != nil {
			i = keep[k]
		}
		out[k] = all[i]
		any = any || len(out[k]) > 0
	}
	if !any {
		return nil
	}
	return out
}

// mergeRejected joins what Ingress and Apply found of the same rows.
func mergeRejected(early, late []Rejected, skip []bool) []Rejected {
	var out []Rejected
	for len(early) > 0 || len(late) > 0 {
		switch {
		case len(early) > 0 && skip != nil && skip[early[0].Row]:
			early = early[1:]
		case len(late) == 0 || len(early) > 0 && early[0].Row < late[0].Row:
			out, early = append(out, early[0]), early[1:]
		case len(early) == 0 || late[0].Row < early[0].Row:
			out, late = append(out, late[0]), late[1:]
		default:
			joined := late[0]
			joined.Breaks = append(slices.Clone(early[0].Breaks), late[0].Breaks...)
			out, early, late = append(out, joined), early[1:], late[1:]
		}
	}
	return out
}

// withoutNulls gives nulls the zero value of their type: in rows that are gone, fields beside the key have no value, and
// their columns know no null. The caller releases the result.
func withoutNulls(mem memory.Allocator, arr arrow.Array) arrow.Array {
	switch a := arr.(type) {
	case *array.Float64:
		return zeroed(mem, arr, a.Float64Values())
	case *array.Int64:
		return zeroed(mem, arr, a.Int64Values())
	case *array.Date32:
		return zeroed(mem, arr, a.Date32Values())
	case *array.Timestamp:
		return zeroed(mem, arr, a.TimestampValues())
	case *array.Decimal128:
		return zeroed(mem, arr, a.Values())
	case *array.Boolean:
		out := array.NewBooleanBuilder(mem)
		defer out.Release()
		for i := range a.Len() {
			out.Append(a.IsValid(i) && a.Value(i))
		}
		return out.NewArray()
	case *array.String:
		out := array.NewStringBuilder(mem)
		defer out.Release()
		for i := range a.Len() {
			if a.IsValid(i) {
				out.Append(a.Value(i))
			} else {
				out.Append("")
			}
		}
		return out.NewArray()
	case *array.Dictionary:
		var values dictionary
		list := a.Dictionary().(*array.String)
		out := newFixed[int32](mem, a.Len())
		for i := range a.Len() {
			text := ""
			if a.IsValid(i) {
				text = list.Value(a.GetValueIndex(i))
			}
			out.values[i] = values.position(text)
		}
		dictionary := values.array(mem)
		defer dictionary.Release()
		return finishDictionary(out, dictionary, arr.DataType())
	}
	arr.Retain()
	return arr
}

func zeroed[T any](mem memory.Allocator, arr arrow.Array, values []T) arrow.Array {
	out := newFixed[T](mem, arr.Len())
	var zero T
	for i := range out.values {
		if arr.IsValid(i) {
			out.values[i] = values[i]
		} else {
			out.values[i] = zero
		}
	}
	return out.finish(arr.DataType())
}
