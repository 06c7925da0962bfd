package sql

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/connectors"
)

// pageRows is how many rows one statement gives: enough that its beginning costs nothing, and few enough for a statement timeout.
const pageRows = 50_000

// pageBlocks is how many pages of the file one statement reads where reading goes by position.
const pageBlocks = 1024

// rowCost is what a value costs beside its bytes.
const rowCost = 8

// maxRaw is how much of a row that could not be read is kept.
const maxRaw = 4 << 10

// reading is one Read.
type reading struct {
	s      *Source
	c      session
	t      *table
	shard  connectors.Stream
	yield  func(connectors.Batch) bool
	at     *cursor
	passes []pass
	b      *batch
	base   int  // to which the numbers that are added up are written
	sums   bool // they are made of the rows here
}

// run reads the content from where it stands to its end.
func (r *reading) run(ctx context.Context) error {
	r.b = newBatch(r.s.env.Allocator, r.t)
	defer r.b.release()
	if c, ok := r.c.(summer); ok && r.at.Sum != nil {
		r.sums = c.sums(r.t.fields)
	}
	for ; r.at.Pass < len(r.passes); r.at.Pass, r.at.Key, r.at.Skip = r.at.Pass+1, nil, 0 {
		r.b.key = r.b.key[:0]
		if err := r.pass(ctx, r.passes[r.at.Pass]); err != nil {
			return err
		}
	}
	if r.at.Sum != nil {
		r.at.Print = fmt.Sprintf("%s%d/%s", r.printVersion(), r.at.Sum.Rows, r.at.Sum)
		r.at.Sum = nil
	}
	r.at.Done, r.at.Pass = true, 0
	r.at.From, r.at.Again = nil, false
	return r.deliver(ctx)
}

func (r *reading) pass(ctx context.Context, p pass) error {
	switch {
	case p.pages:
		begin := int64(0)
		if len(r.at.Key) == 1 {
			var err error
			if begin, err = r.at.Key[0].int(); err != nil {
				return connectors.Permanent(fmt.Errorf("cursor is damaged: %w", err))
			}
		}
		for ; begin < r.t.position.pages; begin += pageBlocks {
			if here := strconv.FormatInt(begin, 10); len(r.at.Key) != 1 || r.at.Key[0].Text != here {
				r.at.Key, r.at.Skip = []value{{kindInt, here}}, 0
			}
			q := r.t.selecting(r.t.list(r.c))
			q.add(fmt.Sprintf(" AND ctid >= '(%d,0)'::tid AND ctid < '(%d,0)'::tid", begin, begin+pageBlocks))
			if _, err := r.page(ctx, q, nil); err != nil {
				return err
			}
		}
		return nil
	case len(p.key) == 0:
		q := r.t.selecting(r.pageList(p))
		if p.nullOf != nil {
			q.conditions(p, nil)
		}
		if order := r.s.dialect.order(r.t.fields); order != "" {
			q.add(" ORDER BY " + order)
		}
		_, err := r.page(ctx, q, nil)
		return err
	}
	for {
		q := r.t.selecting(r.pageList(p))
		if !r.t.checked || p.by != "" || r.t.o.Watermark != "" {
			q.conditions(pass{}, p.key)
		}
		if p.by != "" {
			r.within(q, p.by)
		}
		if len(r.at.Key) > 0 {
			if len(r.at.Key) != len(p.key) {
				return connectors.Permanent(fmt.Errorf("the key of %s has %d columns, and the cursor is of a key with %d: the key was changed in the middle of a reading", r.t.place(), len(p.key), len(r.at.Key)))
			}
			q.add(" AND ")
			q.after(p.key, r.at.Key)
		}
		q.add(" ORDER BY ")
		q.names(p.key)
		q.add(" LIMIT " + strconv.Itoa(pageRows))
		n, err := r.page(ctx, q, p.key)
		if err != nil {
			return err
		}
		if n < pageRows {
			return nil
		}
		// The batch may hold rows beyond the last delivered cursor; the next page begins after the last row read.
	}
}

// pageList is the columns of a page. Behind them come, and are not delivered, a physical position that rows are ordered by, and what
// is added up.
func (r *reading) pageList(p pass) string {
	list := r.t.list(r.c)
	if r.t.position != nil && r.t.position.column != "" {
		list += ", " + r.s.dialect.quote(r.t.position.column)
	}
	if r.at.Sum != nil && !r.sums {
		row, base := r.c.rowSum(r.t.fields)
		list += ", " + row + " AS " + r.s.dialect.quote(sumColumn)
		r.base = base
	}
	return list
}

// sumColumn is the name of what is added up; the last column, whatever else has the name.
const sumColumn = "headwater_sum"

// within adds the bounds of the content's watermark.
func (r *reading) within(q *clause, by string) {
	if r.at.From != nil {
		q.add(" AND " + q.d.quote(by))
		if r.at.Again {
			q.add(" >= ")
		} else {
			q.add(" > ")
		}
		q.value(*r.at.From)
	}
	if r.at.High != nil {
		q.add(" AND " + q.d.quote(by) + " <= ")
		q.value(*r.at.High)
	}
}

// page reads the rows of one statement into batches and returns how many there were.
func (r *reading) page(ctx context.Context, q *clause, key []string) (n int, err error) {
	rows, err := r.c.query(ctx, q.text.String(), q.args)
	if err != nil {
		return 0, err
	}
	defer func() {
		if closed := rows.close(); err == nil {
			err = closed
		}
	}()
	places, err := r.places(rows.fields(), key)
	if err != nil {
		return 0, err
	}
	passed := r.at.Skip
	for rows.next() {
		if key == nil && int64(n) < passed {
			n++
			continue
		}
		if r.b.full(rows) {
			if err := r.deliver(ctx); err != nil {
				return n, err
			}
		}
		r.b.add(rows)
		if r.at.Sum != nil {
			if err := r.sum(rows); err != nil {
				return n, err
			}
		}
		n++
		if key == nil {
			r.at.Skip = int64(n)
			continue
		}
		// Values are only good until the next row, and the cursor is needed once a batch: but which row ends a batch shows
		// when the next one does not fit.
		r.b.key = r.b.key[:0]
		for _, place := range places {
			v, ok := rows.value(place)
			if !ok {
				return n, connectors.Permanent(fmt.Errorf("a row of %s has null in its key (%s)", r.t.place(), key))
			}
			r.b.key = append(r.b.key, v)
		}
		if n%4096 == 0 && ctx.Err() != nil {
			return n, ctx.Err()
		}
	}
	if key != nil && n > 0 {
		r.at.Key = append([]value(nil), r.b.key...)
	}
	return n, nil
}

// sum adds up the row.
func (r *reading) sum(rows rows) error {
	if r.sums {
		r.at.Sum.addNumber(rows.(summed).sum())
		return nil
	}
	v, ok := rows.value(len(rows.fields()) - 1)
	if !ok {
		return errors.New("the database gave no number for a row that is added up")
	}
	if err := r.at.Sum.add(v.Text, r.base); err != nil {
		return fmt.Errorf("add up a row: %w", err)
	}
	return nil
}

// places finds the key's columns in a result.
func (r *reading) places(fields []field, key []string) ([]int, error) {
	var out []int
	for _, name := range key {
		at := -1
		for i, f := range fields {
			if f.name == name {
				at = i
			}
		}
		if at < 0 {
			return nil, connectors.Permanent(fmt.Errorf("%s gives no column %q any more", r.t.place(), name))
		}
		out = append(out, at)
	}
	return out, nil
}

// deliver yields what has been read as a batch, and keeps to the limits of speed and time of day.
func (r *reading) deliver(ctx context.Context) error {
	if len(r.b.key) > 0 && !r.at.Done {
		r.at.Key = append([]value(nil), r.b.key...)
	}
	if r.at.Done {
		r.at.Key, r.at.Skip = nil, 0
	}
	encoded, err := r.at.encode()
	if err != nil {
		return err
	}
	record, rejects := r.b.take()
	rows := int(record.NumRows()) + len(rejects)
	more := r.yield(connectors.Batch{
		Record: record, Place: r.t.place(), Rejects: rejects, Cursor: encoded, ExtractedAt: time.UnixMicro(r.at.At),
		Replaces: r.at.Done && r.at.Full && r.t.o.ReplacesContent(),
	})
	record.Release()
	if !more {
		return errStopped
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if r.at.Done {
		return nil
	}
	if !r.s.hours.open(r.s.env.Now()) {
		r.s.counted(r.shard, -1)
		r.s.env.Logger.Info("reading stops here until it is the time of day for it again", "stream", r.shard.String(), "hours", r.s.limits.Hours)
		return errStopped
	}
	return r.s.paced(ctx, rows)
}

// paced waits until so many more rows may be read.
func (s *Source) paced(ctx context.Context, rows int) error {
	if s.rate == nil {
		return nil
	}
	for rows > 0 {
		n := min(rows, s.rate.Burst())
		if err := s.rate.WaitN(ctx, n); err != nil {
			return err
		}
		rows -= n
	}
	return nil
}

// batch collects rows.
type batch struct {
	t        *table
	alloc    memory.Allocator
	schema   *arrow.Schema
	builders []array.Builder
	deleted  *array.BooleanBuilder
	rows     int
	bytes    int
	next     int   // size of the row that full has seen and add has not; 0: unknown
	bad      []int // rows in the builders that are not to be delivered
	rejects  []connectors.Reject
	key      []value // of the last row
}

func newBatch(alloc memory.Allocator, t *table) *batch {
	b := &batch{t: t, alloc: alloc}
	var fields []arrow.Field
	for i, f := range t.fields {
		fields = append(fields, arrow.Field{Name: t.names[i], Type: f.typ, Nullable: true})
		b.builders = append(b.builders, array.NewBuilder(alloc, f.typ))
	}
	if t.deleted >= 0 {
		fields = append(fields, arrow.Field{Name: connectors.ColumnDeleted, Type: arrow.FixedWidthTypes.Boolean})
		b.deleted = array.NewBooleanBuilder(alloc)
	}
	b.schema = arrow.NewSchema(fields, nil)
	return b
}

func (b *batch) release() {
	for _, builder := range b.builders {
		builder.Release()
	}
	if b.deleted != nil {
		b.deleted.Release()
	}
}

// full reports whether the row does not fit in any more. A row that is alone larger than a batch is a batch.
func (b *batch) full(r rows) bool {
	if b.rows+len(b.rejects) == 0 {
		return false
	}
	if b.rows-len(b.bad)+len(b.rejects) >= connectors.MaxBatchRows {
		return true
	}
	b.next = b.size(r)
	return b.bytes+b.next > connectors.MaxBatchBytes
}

// size is about how many bytes a row takes.
func (b *batch) size(r rows) (size int) {
	for i := range b.builders {
		size += r.size(i) + rowCost
	}
	return size
}

// add appends a row, or makes it a reject.
func (b *batch) add(r rows) {
	if b.next == 0 {
		b.next = b.size(r)
	}
	b.bytes, b.next = b.bytes+b.next, 0
	var fault error
	at := 0
	for i, builder := range b.builders {
		err := r.put(i, builder)
		if err == nil {
			continue
		}
		builder.AppendNull() // the row is taken out again
		if fault == nil {
			fault, at = fmt.Errorf("column %s: %w", b.t.fields[i].name, err), i+1
		}
	}
	if b.deleted != nil {
		b.deleted.Append(marks(r.value(b.t.deleted)))
	}
	b.rows++
	if fault != nil {
		b.bad = append(b.bad, b.rows-1)
		raw := b.raw(r)
		b.bytes += len(raw)
		b.rejects = append(b.rejects, connectors.Reject{Column: at, Rule: "sql.value", Reason: fault.Error(), Raw: raw})
	}
}

// marks reports whether a value of the column that marks deleted rows does so.
func marks(v value, ok bool) bool {
	if !ok {
		return false
	}
	switch v.Kind {
	case kindBool:
		return v.Text == "true"
	case kindInt, kindUint:
		return v.Text != "0"
	case kindFloat, kindDecimal:
		f, err := strconv.ParseFloat(v.Text, 64)
		return err != nil || f != 0
	}
	return true
}

// raw is the row as JSON, as far as it fits.
func (b *batch) raw(r rows) []byte {
	out := []byte{'{'}
	for i, f := range b.t.fields {
		name, err := json.Marshal(f.name)
		if err != nil {
			continue
		}
		text := []byte("null")
		if v, ok := r.value(i); ok {
			s := v.Text
			if len(s) > maxRaw {
				s = s[:maxRaw]
			}
			if !utf8.ValidString(s) {
				s = fmt.Sprintf("%x", s)
			}
			if text, err = json.Marshal(s); err != nil {
				continue
			}
		}
		if len(out)+len(name)+len(text)+3 > maxRaw {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(append(out, name...), ':'), text...)
	}
	return append(out, '}')
}

// take makes a record of the rows and begins anew. The caller releases it.
func (b *batch) take() (arrow.Record, []connectors.Reject) {
	var columns []arrow.Array
	for _, builder := range b.builders {
		columns = append(columns, builder.NewArray())
	}
	if b.deleted != nil {
		columns = append(columns, b.deleted.NewArray())
	}
	rows := int64(b.rows)
	if len(b.bad) > 0 {
		rows -= int64(len(b.bad))
		for i, column := range columns {
			columns[i] = b.cleaned(column)
			column.Release()
		}
	}
	record := array.NewRecord(b.schema, columns, rows)
	for _, column := range columns {
		column.Release()
	}
	rejects := b.rejects
	b.rows, b.bytes, b.bad, b.rejects = 0, 0, nil, nil
	return record, rejects
}

// cleaned leaves bad rows out of a column.
func (b *batch) cleaned(column arrow.Array) arrow.Array {
	var pieces []arrow.Array
	from := 0
	for _, bad := range append(b.bad, b.rows) {
		if bad > from {
			pieces = append(pieces, array.NewSlice(column, int64(from), int64(bad)))
		}
		from = bad + 1
	}
	if len(pieces) == 0 {
		return array.NewSlice(column, 0, 0)
	}
	out, err := array.Concatenate(pieces, b.alloc)
	for _, piece := range pieces {
		piece.Release()
	}
	if err != nil {
		panic(err) // the pieces are of one type
	}
	return out
}
