package transform

import (
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// unpivotPlan makes several records of one row.
type unpivotPlan struct {
	columns   []unpivotColumn // by name
	into      int
	constants []int // fields that columns set
	keepNull  bool
}

type unpivotColumn struct {
	name      string
	value     *fieldPlan
	constants map[int]*fieldPlan
}

// sets reports whether some column sets the field.
func (u *unpivotPlan) sets(field int) bool {
	return field == u.into || slices.Contains(u.constants, field)
}

// always reports whether every column sets the field, so that the row need not.
func (u *unpivotPlan) always(field int) bool {
	if field == u.into {
		return true
	}
	return len(u.columns) > 0 && !slices.ContainsFunc(u.columns, func(c unpivotColumn) bool { return c.constants[field] == nil })
}

// unpivot makes the records of each row: one for each column with a value, in the order of the columns' names. A row that is
// gone has a record for each column, so that whatever it brought before is gone too.
func (b *batch) unpivot() *records {
	u := b.m.unpivot
	cells := make([]arrow.Array, len(u.columns))
	defer func() {
		for _, c := range cells {
			c.Release()
		}
	}()
	rowWarnings := b.warnings
	cellWarnings := make([][]rowWarning, len(u.columns))
	for c := range u.columns {
		b.warnings = nil
		p := u.columns[c].value
		cells[c] = p.evaluate(b).arr
		p.judge(b, cells[c])
		cellWarnings[c] = b.warnings
	}

	r := &records{b: b, own: true, row: make([]uint32, 0, b.n*len(u.columns)), column: make([]uint16, 0, b.n*len(u.columns))}
	for i := range b.n {
		if b.skip != nil && b.skip[i] {
			continue
		}
		before := len(r.row)
		all := u.keepNull || b.deleted != nil && b.deleted[i]
		for c, cell := range cells {
			if all || cell.IsValid(i) {
				r.row = append(r.row, uint32(i))
				r.column = append(r.column, uint16(c))
			}
		}
		if len(r.row) == before {
			r.empty = append(r.empty, uint32(i))
		}
	}
	r.n = len(r.row)
	r.columns = make([]vector, len(b.m.fields))
	for f := range b.m.fields {
		r.columns[f] = b.unpivotField(r, f, cells)
	}
	r.spreadWarnings(rowWarnings, cellWarnings)
	return r
}

// unpivotField makes one field's column of the records.
func (b *batch) unpivotField(r *records, f int, cells []arrow.Array) vector {
	u := b.m.unpivot
	switch {
	case f == u.into:
		return vector{arr: gather(b.mem, cells, r.column, r.row, cells[0].DataType())}
	case !slices.Contains(u.constants, f):
		return vector{arr: take(b.mem, b.vectors[f].arr, r.row), constant: b.vectors[f].constant}
	}
	// Each column's constant as a column of one cell; where a column sets none, the row's own value counts.
	single := *b
	single.n = 1
	sources := make([]arrow.Array, len(u.columns))
	at := slices.Clone(r.row)
	for c := range u.columns {
		if p := u.columns[c].constants[f]; p != nil {
			single.skip, single.deleted, single.breaks, single.warnings = nil, nil, nil, nil
			sources[c] = p.evaluate(&single).arr
			defer sources[c].Release()
			continue
		}
		sources[c] = b.vectors[f].arr
	}
	for i, c := range r.column {
		if u.columns[c].constants[f] != nil {
			at[i] = 0
		}
	}
	return vector{arr: gather(b.mem, sources, r.column, at, sources[0].DataType())}
}

// spreadWarnings gives the warnings of rows and cells to their records.
func (r *records) spreadWarnings(rows []rowWarning, cells [][]rowWarning) {
	if len(rows) == 0 && !slices.ContainsFunc(cells, func(w []rowWarning) bool { return len(w) > 0 }) {
		return
	}
	byRow := map[uint32][]string{}
	for _, w := range rows {
		byRow[w.record] = append(byRow[w.record], w.rule)
	}
	type cell struct {
		row    uint32
		column uint16
	}
	byCell := map[cell][]string{}
	for c, list := range cells {
		for _, w := range list {
			key := cell{w.record, uint16(c)}
			byCell[key] = append(byCell[key], w.rule)
		}
	}
	for i := range r.n {
		for _, rule := range byRow[r.row[i]] {
			r.warnings = append(r.warnings, rowWarning{uint32(i), rule})
		}
		for _, rule := range byCell[cell{r.row[i], r.column[i]}] {
			r.warnings = append(r.warnings, rowWarning{uint32(i), rule})
		}
	}
}

// gather makes a column of cells of several: cell i is sources[which[i]] at at[i]. The caller releases the result.
func gather(mem memory.Allocator, sources []arrow.Array, which []uint16, at []uint32, t arrow.DataType) arrow.Array {
	switch sources[0].(type) {
	case *array.Float64:
		return gatherFixed(mem, sources, which, at, t, func(a arrow.Array) []float64 { return a.(*array.Float64).Float64Values() })
	case *array.Int64:
		return gatherFixed(mem, sources, which, at, t, func(a arrow.Array) []int64 { return a.(*array.Int64).Int64Values() })
	case *array.Date32:
		return gatherFixed(mem, sources, which, at, t, func(a arrow.Array) []arrow.Date32 { return a.(*array.Date32).Date32Values() })
	case *array.Timestamp:
		return gatherFixed(mem, sources, which, at, t, func(a arrow.Array) []arrow.Timestamp { return a.(*array.Timestamp).TimestampValues() })
	case *array.String:
		out := array.NewStringBuilder(mem)
		defer out.Release()
		out.Reserve(len(which))
		for i, w := range which {
			if s := sources[w].(*array.String); s.IsNull(int(at[i])) {
				out.AppendNull()
			} else {
				out.Append(s.Value(int(at[i])))
			}
		}
		return out.NewArray()
	case *array.Dictionary:
		return gatherCodes(mem, sources, which, at, t)
	}
	// Booleans, decimals and lists: join the sources and take from there.
	joined, err := array.Concatenate(sources, mem)
	if err != nil {
		panic("transform: columns of one field do not join: " + err.Error())
	}
	defer joined.Release()
	start := make([]uint32, len(sources))
	for k := 1; k < len(sources); k++ {
		start[k] = start[k-1] + uint32(sources[k-1].Len())
	}
	rows := make([]uint32, len(which))
	for i, w := range which {
		rows[i] = start[w] + at[i]
	}
	return take(mem, joined, rows)
}

func gatherFixed[T any](mem memory.Allocator, sources []arrow.Array, which []uint16, at []uint32, t arrow.DataType, values func(arrow.Array) []T) arrow.Array {
	out := newFixed[T](mem, len(which))
	all := make([][]T, len(sources))
	nulls := false
	for k, s := range sources {
		all[k] = values(s)
		nulls = nulls || s.NullN() > 0
	}
	for i, w := range which {
		if nulls && sources[w].IsNull(int(at[i])) {
			out.null(i)
			continue
		}
		out.values[i] = all[w][at[i]]
	}
	return out.finish(t)
}

func gatherCodes(mem memory.Allocator, sources []arrow.Array, which []uint16, at []uint32, t arrow.DataType) arrow.Array {
	var values dictionary
	positions := make([][]int32, len(sources))
	for k, s := range sources {
		list := s.(*array.Dictionary).Dictionary().(*array.String)
		positions[k] = make([]int32, list.Len())
		for j := range positions[k] {
			positions[k][j] = values.position(list.Value(j))
		}
	}
	out := newFixed[int32](mem, len(which))
	for i, w := range which {
		d := sources[w].(*array.Dictionary)
		if d.IsNull(int(at[i])) {
			out.null(i)
			continue
		}
		out.values[i] = positions[w][d.GetValueIndex(int(at[i]))]
	}
	list := values.array(mem)
	defer list.Release()
	return finishDictionary(out, list, t)
}
