package sql

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/internal/fault"
)

// pass is one walk over some of a content's rows.
type pass struct {
	// key is what rows are ordered by; empty: all rows in one statement, in an order of the database's.
	key []string
	// pages: by ranges of the file's pages.
	pages bool
	// null says that only rows where one of the key's columns is null are read, and without it only others.
	nullOf []string
	// by is the watermark's column when only rows within the content's bounds are read.
	by string
}

// plan compares the table with what the cursor knows, inside the transaction that reading goes on in, and returns where to begin;
// nil when there is nothing to read.
func (r *reading) plan(ctx context.Context, old *cursor) (*cursor, error) {
	if r.t.o.Watermark == "" {
		return r.planFull(ctx, old)
	}
	return r.planChanges(ctx, old)
}

// next begins a later content.
func (r *reading) next(old *cursor) *cursor {
	c := &cursor{At: r.s.env.Now().UnixMicro()}
	if old != nil {
		c.At = max(c.At, old.At+1) // the clock may have gone back
		c.FullAt = old.FullAt
	}
	return c
}

func (r *reading) planFull(ctx context.Context, old *cursor) (*cursor, error) {
	if err := r.checkKey(ctx); err != nil {
		return nil, err
	}
	resumed := old != nil && !old.Done
	if resumed && r.byKey() {
		r.passes = r.fullPasses()
		r.s.counted(r.shard, old.Count)
		return old, nil
	}
	if old == nil && r.byKey() && r.t.o.Unchanged != "read" {
		if row, _ := r.c.rowSum(r.t.fields); row != "" {
			return r.planFirst(ctx)
		}
	}
	print, count, err := r.print(ctx, nil)
	if err != nil {
		return nil, err
	}
	r.s.counted(r.shard, count)
	if len(r.t.key) == 0 {
		r.s.say("the table has no key: it is read in one pass, and from its beginning when that is interrupted and the table has changed", "stream", r.shard.Name, "table", r.t.place(), "by position", r.t.position != nil)
	}
	r.passes = r.fullPasses()
	if old != nil && old.Print == print {
		if resumed {
			return old, nil // by position: rows are where they were
		}
		if r.t.o.Unchanged != "read" {
			return nil, nil
		}
	}
	c := r.next(old)
	c.Full, c.FullAt, c.Print, c.Count = true, c.At, print, count
	return c, nil
}

// planFirst begins the first content. There is nothing to compare it with, so that its checksum is added up while it is read instead of
// having the database look at every row twice.
func (r *reading) planFirst(ctx context.Context) (*cursor, error) {
	got, err := one(ctx, r.c, r.t.selecting("count(*)"))
	if err != nil {
		return nil, err
	}
	c := r.next(nil)
	if c.Count, err = got[0].int(); err != nil {
		return nil, err
	}
	r.s.counted(r.shard, c.Count)
	r.passes = r.fullPasses()
	c.Full, c.FullAt, c.Sum = true, c.At, &rowSum{}
	return c, nil
}

// byKey says that reading can be resumed whatever happened to the table in between.
func (r *reading) byKey() bool {
	return len(r.t.key) > 0 && (r.t.position == nil || r.t.position.version == "")
}

func (r *reading) fullPasses() []pass {
	switch {
	case len(r.t.key) > 0 && r.t.checked:
		return []pass{{key: r.t.key}}
	case len(r.t.key) > 0:
		return []pass{{nullOf: r.t.key}, {key: r.t.key}}
	case r.t.position != nil:
		return []pass{{pages: true}}
	}
	return []pass{{}}
}

// checkKey makes sure that a key which people named tells rows apart: rows that it does not could be lost where reading is cut.
func (r *reading) checkKey(ctx context.Context) error {
	if len(r.t.key) == 0 || r.t.checked {
		return nil
	}
	q := r.t.selecting("1")
	q.conditions(pass{key: r.t.key, nullOf: nil}, r.t.key)
	q.add(" GROUP BY ")
	q.names(r.t.key)
	q.add(" HAVING count(*) > 1 LIMIT 1")
	rows, err := r.c.query(ctx, q.text.String(), q.args)
	if err != nil {
		return err
	}
	double := false
	for rows.next() {
		double = true
	}
	if err := rows.close(); err != nil {
		return err
	}
	if double {
		return connectors.Permanent(fmt.Errorf("%s has several rows with the same key (%s): name more columns under key, or leave it out", r.t.place(), r.t.o.Key))
	}
	return nil
}

// conditions adds what rows of a pass over an unchecked key meet.
func (q *clause) conditions(p pass, key []string) {
	if p.nullOf != nil {
		q.add(" AND (")
		for i, name := range p.nullOf {
			if i > 0 {
				q.add(" OR ")
			}
			q.add(q.d.quote(name) + " IS NULL")
		}
		q.add(")")
		return
	}
	for _, name := range key {
		q.add(" AND " + q.d.quote(name) + " IS NOT NULL")
	}
}

// printVersion is what a checksum begins with: of another table, or rows that were moved, it is another one.
func (r *reading) printVersion() string {
	// A column that has another type may still have the same text in every row.
	var types []byte
	for _, f := range r.t.fields {
		types = fmt.Appendf(types, "%q %q %s,", f.name, f.declared, f.typ)
	}
	version := fmt.Sprintf("%x/", xxhash.Sum64(types))
	if r.t.position != nil {
		version += r.t.position.version + "/"
	}
	return version
}

// print returns a checksum over rows and their number. Where the database cannot compute it, the rows are read.
func (r *reading) print(ctx context.Context, condition func(*clause)) (string, int64, error) {
	version := r.printVersion()
	expression := r.c.checksum(r.t.fields)
	if r.t.o.Unchanged == "read" && len(r.t.key) > 0 {
		expression = "''"
	}
	if expression != "" {
		q := r.t.selecting("count(*), " + expression)
		if condition != nil {
			condition(q)
		}
		got, err := one(ctx, r.c, q)
		if err != nil {
			return "", 0, err
		}
		n, err := got[0].int()
		text := ""
		if got[1] != nil {
			text = got[1].Text
		}
		return fmt.Sprintf("%s%d/%s", version, n, text), n, err
	}
	q := r.t.selecting(r.t.list(r.c))
	if condition != nil {
		condition(q)
	}
	rows, err := r.c.query(ctx, q.text.String(), q.args)
	if err != nil {
		return "", 0, err
	}
	var sum uint64
	var n int64
	var row []byte
	for rows.next() {
		row = row[:0]
		for i := range rows.fields() {
			if v, ok := rows.value(i); ok {
				row = strconv.AppendInt(append(row, v.Kind), int64(len(v.Text)), 10)
				row = append(append(row, ':'), v.Text...)
			} else {
				row = append(row, '-')
			}
		}
		sum += xxhash.Sum64(row) // the order of rows does not matter
		if n++; n%1024 == 0 && ctx.Err() != nil {
			break
		}
	}
	if err := rows.close(); err != nil {
		return "", 0, err
	}
	return fmt.Sprintf("%s%d/%x", version, n, sum), n, ctx.Err()
}

func (r *reading) planChanges(ctx context.Context, old *cursor) (*cursor, error) {
	o, by := r.t.o, r.t.o.Watermark
	mark := r.t.field(by)
	if err := r.checkKey(ctx); err != nil {
		return nil, err
	}
	r.s.counted(r.shard, -1)
	quoted := r.s.dialect.quote(by)
	null := func(q *clause) { q.add(" AND " + quoted + " IS NULL") }

	if old != nil && !old.Done {
		r.passes = r.changePasses(old)
		return old, nil
	}
	// The upper bound: what is there now, but nothing of the future, which would carry the watermark past all that is still to come.
	top := r.t.selecting("max(" + quoted + ")")
	if now := r.c.now(mark); now != "" {
		top.add(" AND " + quoted + " <= " + now)
	}
	got, err := one(ctx, r.c, top)
	if err != nil {
		return nil, err
	}
	high := got[0]
	if high != nil {
		high.Kind = mark.kind
	}
	late := func(high *value) (string, error) {
		if high == nil {
			return "", nil
		}
		from, err := r.lookback(*high, mark)
		if err != nil {
			return "", err
		}
		print, _, err := r.print(ctx, func(q *clause) {
			q.add(" AND " + quoted + " >= ")
			q.value(from)
			q.add(" AND " + quoted + " <= ")
			q.value(*high)
		})
		return print, err
	}
	nulls, nullCount, err := r.print(ctx, null)
	if err != nil {
		return nil, err
	}
	if nullCount > 0 {
		r.s.say("rows have no watermark; all of them are read whenever any of them changes", "stream", r.shard.Name, "column", by)
	}

	c := r.next(old)
	c.Null = nulls
	full := old == nil || o.FullEvery > 0 && r.s.env.Now().Sub(time.UnixMicro(old.FullAt)) >= o.FullEvery
	if full {
		c.Full, c.FullAt, c.High = true, c.At, high
		c.Late, err = late(high)
		r.passes = r.changePasses(c)
		return c, err
	}
	c.High, c.From, c.Late = old.High, old.High, old.Late
	if old.High != nil {
		again, err := late(old.High)
		if err != nil {
			return nil, err
		}
		if again != old.Late {
			from, err := r.lookback(*old.High, mark)
			if err != nil {
				return nil, err
			}
			c.From, c.Again, c.Late = &from, true, again
		}
	}
	if high != nil {
		above := c.High == nil
		if !above {
			q := r.t.selecting("count(*)")
			q.add(" AND " + quoted + " > ")
			q.value(*c.High)
			q.add(" AND " + quoted + " <= ")
			q.value(*high)
			// Counting stops being cheap in a large backlog, but then there is much to read anyway.
			got, err := one(ctx, r.c, q)
			if err != nil {
				return nil, err
			}
			above = got[0].Text != "0"
		}
		if above {
			c.High = high
			if c.Late, err = late(high); err != nil {
				return nil, err
			}
		} else {
			high = nil
		}
	}
	if high == nil && !c.Again && nulls == old.Null {
		return nil, nil
	}
	if nulls == old.Null {
		c.Pass = 1 // the rows without a watermark are as they were
	}
	r.passes = r.changePasses(c)
	return c, nil
}

// changePasses are the same for every content of a stream with a watermark, so that a cursor's pass means the same.
func (r *reading) changePasses(c *cursor) []pass {
	by := r.t.o.Watermark
	key := append([]string{by}, without(r.t.key, by)...)
	if c.Full {
		// Rows of the future are part of the table: they must not look as if they were gone.
		return []pass{{nullOf: []string{by}}, {key: key}}
	}
	return []pass{{nullOf: []string{by}}, {key: key, by: by}}
}

func without(names []string, name string) []string {
	var out []string
	for _, n := range names {
		if n != name {
			out = append(out, n)
		}
	}
	return out
}

// timeLayouts are the forms in which databases write times.
var timeLayouts = []string{
	"2006-01-02 15:04:05.999999", "2006-01-02T15:04:05.999999", "2006-01-02 15:04:05.999999Z07:00", "2006-01-02T15:04:05.999999Z07:00", "2006-01-02",
}

// lookback returns the value that lies the lookback window below one.
func (r *reading) lookback(high value, mark field) (value, error) {
	d, n, err := parseLookback(r.t.o.Lookback)
	if err != nil {
		return value{}, fault.Usage(err)
	}
	switch high.Kind {
	case kindTime, kindText:
		if n > 0 {
			return value{}, fault.Usage(fmt.Errorf("lookback: %s is %s: give a duration, such as 10m", mark.name, mark.declared))
		}
		if r.t.o.Lookback == "" {
			d = defaultLookback
		}
		for _, layout := range timeLayouts {
			at, err := time.Parse(layout, high.Text)
			if err != nil {
				continue
			}
			if layout == "2006-01-02" {
				d = time.Duration(math.Ceil(d.Hours()/24)) * 24 * time.Hour
			}
			return value{high.Kind, at.Add(-d).Format(layout)}, nil
		}
		if r.t.o.Lookback == "" || d == 0 {
			return high, nil
		}
		return value{}, connectors.Permanent(fmt.Errorf("lookback: the watermark %s has the value %q, which is not understood as a time", mark.name, high.Text))
	case kindInt, kindUint:
		if d > 0 {
			return value{}, fault.Usage(fmt.Errorf("lookback: %s is %s: give a number, such as 1000", mark.name, mark.declared))
		}
		if high.Kind == kindUint {
			v, err := strconv.ParseUint(high.Text, 10, 64)
			return value{high.Kind, strconv.FormatUint(v-min(v, uint64(n)), 10)}, err
		}
		v, err := high.int()
		if n >= float64(v)-math.MinInt64 {
			return value{high.Kind, strconv.FormatInt(math.MinInt64, 10)}, err
		}
		return value{high.Kind, strconv.FormatInt(v-int64(n), 10)}, err
	}
	if d > 0 || n > 0 {
		return value{}, fault.Usage(fmt.Errorf("lookback: %s is %s, from which nothing can be taken off: use 0", mark.name, mark.declared))
	}
	return high, nil
}
