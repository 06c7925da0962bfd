package sql

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/headwater-data/headwater/connectors"
)

// gathering makes batches of the changes of a log, whose transactions T names. A reading may stop behind any change: the cursor says how
// many were given of the transaction at hand.
type gathering[T comparable] struct {
	f     *follower
	given *T // where the cursor names the transaction that Skip counts changes of

	// The transaction that is being read.
	within bool
	tx     T
	seen   int64 // changes of it that were met
	skip   int64 // changes that an earlier Read has given of skipTx
	skipTx T

	shape *table // the columns of what was gathered last; nil before anything was
}

// gather begins where the cursor stands. What is gathered has no batch yet.
func gather[T comparable](f *follower, given *T) gathering[T] {
	if f.b != nil {
		f.b.release()
		f.b = nil
	}
	return gathering[T]{f: f, given: given, skip: f.progress.Skip, skipTx: *given}
}

func (g *gathering[T]) begins(tx T) { g.within, g.tx, g.seen = true, tx, 0 }

// ends takes the end of the transaction. whole says that nothing is left of what an earlier Read has given.
func (g *gathering[T]) ends() (whole bool, err error) {
	g.within = false
	if g.skip > 0 && g.tx == g.skipTx {
		if g.seen < g.skip {
			return false, g.damaged()
		}
		g.skip = 0
	}
	return g.skip == 0, nil
}

func (g *gathering[T]) damaged() error {
	return connectors.Permanent(fmt.Errorf("the log does not hold the transaction at %v in which reading stopped after %d changes: it is not the log that was read: to read the table again: headwater cursor reset", g.skipTx, g.skip))
}

// passed counts a change and reports whether it was given before. One that comes before the transaction in which reading stopped, after
// which nothing of the table can be, is an error.
func (g *gathering[T]) passed() (bool, error) {
	g.seen++
	if g.skip == 0 {
		return false, nil
	}
	if g.tx != g.skipTx {
		return false, g.damaged()
	}
	return g.seen <= g.skip, nil
}

// note writes into the cursor that so many changes of the transaction at hand were given.
func (g *gathering[T]) note(changes int64) {
	var none T
	*g.given, g.f.progress.Skip = none, 0
	if g.within && changes > 0 {
		*g.given, g.f.progress.Skip = g.tx, changes
	}
}

// begun begins a batch of other columns.
func (g *gathering[T]) begun(t *table) {
	if g.f.b != nil {
		g.f.b.release()
	}
	g.f.b = newChangeBatch(g.f.s.env.Allocator, t)
}

// gathered reports whether there are rows to give.
func (g *gathering[T]) gathered() bool { return g.f.b != nil && !g.f.b.empty() }

// cut gives what was gathered before the change that is being read.
func (g *gathering[T]) cut(ctx context.Context) error {
	if !g.gathered() {
		return nil
	}
	g.note(g.seen - 1)
	return g.f.deliver(ctx, false)
}

// cutBehind gives what was gathered, where the next change has not been met yet.
func (g *gathering[T]) cutBehind(ctx context.Context) error {
	if !g.gathered() {
		return nil
	}
	g.note(g.seen)
	return g.f.deliver(ctx, false)
}

// truncated says that all rows are gone: nothing is left of what was given before.
func (g *gathering[T]) truncated(ctx context.Context) error {
	if err := g.cut(ctx); err != nil {
		return err
	}
	if g.f.b == nil {
		g.begun(g.f.table)
	}
	g.f.b.began = g.f.next()
	g.f.progress.Last = g.f.b.began
	g.note(g.seen)
	return g.f.deliver(ctx, true)
}

// shaped takes the columns that the changes have that follow. Rows with other columns are another batch.
func (g *gathering[T]) shaped(ctx context.Context, t *table) error {
	before := g.shape
	if before == nil {
		before = g.f.table
	}
	if g.shape != nil && same(before, t) {
		g.shape = t
		return nil
	}
	if err := g.cutBehind(ctx); err != nil {
		return err
	}
	if !same(before, t) {
		g.f.s.env.Logger.Warn("the table's columns have changed: rows that are not changed after that keep what was read of them", "stream", g.f.shard.String(), "table", g.f.o.Table, "before", columnsText(before), "now", columnsText(t))
	}
	g.shape = t
	g.begun(t)
	return nil
}

// put gathers a row. joined says that it belongs to the one before: a change of a key is two rows, which are not parted, because the
// cursor counts changes.
func (g *gathering[T]) put(ctx context.Context, r rows, gone, joined bool) error {
	if g.f.b == nil {
		g.begun(g.shape)
	}
	if !joined && (g.f.b.full(r) || g.f.b.rows+2 > connectors.MaxBatchRows) {
		if err := g.cut(ctx); err != nil {
			return err
		}
	}
	if g.f.b.empty() {
		g.f.b.began = g.f.next()
		g.f.progress.Last = g.f.b.began - 1
	}
	g.f.progress.Last++
	g.f.b.put(r, g.f.progress.Last, gone)
	return nil
}

// finished gives what is left, when all of the log up to the reading's end was read. moved says that the position alone is worth a batch.
func (g *gathering[T]) finished(ctx context.Context, moved bool) error {
	if g.gathered() {
		return g.f.deliver(ctx, false)
	}
	if !moved {
		return nil
	}
	return g.deliverPosition(ctx)
}

// deliverPosition gives a batch without rows, which carries the position on.
func (g *gathering[T]) deliverPosition(ctx context.Context) error {
	if g.f.b == nil {
		g.begun(g.f.table)
	}
	g.f.b.began = g.f.next()
	g.f.progress.Last = g.f.b.began
	return g.f.deliver(ctx, false)
}

// wanted are the places, among all columns, of those that are delivered, in the order in which the table is read.
func (t *table) wanted(names []string, hidden func(i int) bool) (places []int) {
	rank := func(name string) int {
		if at := slices.Index(t.o.Columns, name); at >= 0 {
			return at
		}
		return len(t.o.Columns) + slices.Index(t.key, name)
	}
	for i, name := range names {
		if slices.Contains(t.key, name) || slices.Contains(t.o.Columns, name) || len(t.o.Columns) == 0 && !hidden(i) {
			places = append(places, i)
		}
	}
	if len(t.o.Columns) > 0 {
		slices.SortStableFunc(places, func(a, b int) int { return rank(names[a]) - rank(names[b]) })
	}
	return places
}

func same(a, b *table) bool {
	return slices.Equal(a.names, b.names) && slices.EqualFunc(a.fields, b.fields, func(x, y field) bool { return arrow.TypeEqual(x.typ, y.typ) })
}

func columnsText(t *table) string {
	var out []string
	for _, f := range t.fields {
		out = append(out, f.name+" "+f.declared)
	}
	return strings.Join(out, ", ")
}
