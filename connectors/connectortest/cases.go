package connectortest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"golang.org/x/sync/errgroup"

	"github.com/headwater-data/headwater/connectors"
)

// conformance is one case.
type conformance struct {
	name  string
	rule  string
	needs func(Capabilities) bool // nil: every connector
	table func() Table
	run   func(ctx context.Context, w *world) error
}

func (c conformance) applies(can Capabilities) bool { return c.needs == nil || c.needs(can) }

// patience is how long something that should end at once may take on a busy machine.
var patience = 20 * time.Second

var cases = []conformance{
	{name: "streams", rule: "Streams and Shards are stable and name each thing once", table: smallTable(3), run: checkStreams},
	{name: "hard values", rule: "every row arrives once, in order, with its values as they are in the system", table: hardTable, run: checkValues},
	{name: "typed values", rule: "numbers, dates and times arrive with all their digits, in the types of the system", table: smallTable(0), needs: func(c Capabilities) bool { return len(c.Values) > 0 }, run: checkTypedValues},
	{name: "batches", rule: "batches keep their bounds, name their place and use reserved columns only as agreed", table: bulkyTable(bulkyRows), run: checkBatches},
	{name: "repeatable", rule: "reading the same content again gives the same rows in the same order", table: bulkyTable(bulkyRows), run: checkRepeatable},
	{name: "resume", rule: "Read after cursor c yields exactly the rows that followed c, as the same content", table: bulkyTable(bulkyRows), run: checkResume},
	{name: "nothing new", rule: "Read with the newest cursor and nothing new yields nothing", table: smallTable(10), run: checkNothingNew},
	{name: "empty", rule: "an empty content is read without an error and without rows", table: smallTable(0), run: checkEmpty},
	{name: "cancelled before", rule: "Read with a cancelled context yields no batch and its error", table: smallTable(10), run: checkCancelledBefore},
	{name: "cancelled within", rule: "Read ends promptly with the context's error when the context is cancelled", table: bulkyTable(2 * bulkyRows), run: checkCancelledWithin},
	{name: "stopped", rule: "a caller who takes no more batches leaves nothing behind", table: bulkyTable(bulkyRows), run: checkStopped},
	{name: "retained", rule: "a record that was retained stays as it is after the next step and after Close", table: bulkyTable(bulkyRows), run: checkRetained},
	{name: "side by side", rule: "shards, and several streams, are read from different goroutines at once", table: smallTable(1000), run: checkSideBySide},
	{name: "memory", rule: "memory does not grow with the size of the system", table: bulkyTable(memoryRows), needs: func(c Capabilities) bool { return c.Changes }, run: checkMemory},
	{name: "altered", rule: "after a column was added while the content was read, every row arrives with it", table: bulkyTable(bulkyRows), needs: func(c Capabilities) bool { return c.Alters }, run: checkAltered},
	{name: "lost before", rule: "a system that is away is a transient error, and read when it is back", table: smallTable(10), needs: func(c Capabilities) bool { return c.Loses }, run: checkLostBefore},
	{name: "lost within", rule: "a system that is lost in the middle is a transient error, and reading goes on after the last cursor when it is back", table: bulkyTable(lostRows), needs: func(c Capabilities) bool { return c.Loses }, run: checkLostWithin},
	{name: "silent", rule: "a system that neither answers nor hangs up is given up with a transient error", table: bulkyTable(lostRows), needs: func(c Capabilities) bool { return c.Hangs }, run: checkSilent},
	{name: "unknown stream", rule: "a stream that is not there is an error, not an empty stream", table: smallTable(1), run: checkUnknownStream},
	{name: "foreign cursor", rule: "a cursor of somebody else is an error that trying again does not mend", table: smallTable(1), run: checkForeignCursor},
	{name: "changes", rule: "a later content is read after the newest cursor, under a later time even if the clock went back", table: smallTable(10), needs: func(c Capabilities) bool { return c.Changes }, run: checkChanges},
	{name: "replaces", rule: "the last batch of a content, and no other, replaces what the shard delivered before, also when the content is empty", table: bulkyTable(bulkyRows), needs: func(c Capabilities) bool { return c.Replaces }, run: checkReplaces},
	{name: "count", rule: "a Counter counts the rows that Read yields", table: smallTable(123), run: checkCount},
	{name: "broken", rule: "a system that fails gives one error, last, of the right kind", table: smallTable(10), needs: func(c Capabilities) bool { return c.Breaks }, run: checkBroken},
	{name: "follows", rule: "what is new, changed or gone arrives as rows, and whoever applies them by version, also from any cursor again, has what the system has", table: smallTable(10), needs: func(c Capabilities) bool { return c.Follows }, run: checkFollows},
	{name: "follows while read", rule: "what changes while the table is read for the first time, before and behind where reading is, arrives too", table: bulkyTable(bulkyRows), needs: func(c Capabilities) bool { return c.Follows }, run: checkFollowsWhileRead},
	{name: "typed changes", rule: "numbers, dates and times arrive as changes as they do when the table is read", table: smallTable(0), needs: func(c Capabilities) bool { return c.Follows && len(c.Values) > 0 }, run: checkTypedChanges},
}

// reading is what one Read gave.
type reading struct {
	rows     []string // the values of the kit's columns, quoted
	ends     []int    // rows up to the end of each batch
	cursors  []connectors.Cursor
	times    []time.Time
	replaces []bool
	err      error
}

func (r *reading) cursor() connectors.Cursor {
	if len(r.cursors) == 0 {
		return nil
	}
	return r.cursors[len(r.cursors)-1]
}

// shards lists what there is to read: the shards of a split source, else its streams.
func (w *world) shards(ctx context.Context) ([]connectors.Stream, error) {
	streams, err := w.source.Streams(ctx)
	if err != nil {
		return nil, fmt.Errorf("streams: %w", err)
	}
	sharder, ok := w.source.(connectors.Sharder)
	if !ok {
		return streams, nil
	}
	var shards []connectors.Stream
	for _, s := range streams {
		of, err := sharder.Shards(ctx, s.Name)
		if err != nil {
			return nil, fmt.Errorf("shards of %s: %w", s, err)
		}
		shards = append(shards, of...)
	}
	return shards, nil
}

// only returns the one thing there is to read.
func (w *world) only(ctx context.Context) (connectors.Stream, error) {
	shards, err := w.shards(ctx)
	if err == nil && len(shards) != 1 {
		err = fmt.Errorf("got %d streams or shards for one table", len(shards))
	}
	if err != nil {
		return connectors.Stream{}, err
	}
	return shards[0], nil
}

// read collects what a Read yields. What breaks the rules of every Read is a fault of the case, whatever else it looks for.
func (w *world) read(ctx context.Context, s connectors.Stream, after connectors.Cursor) *reading {
	r := &reading{}
	ended := false
	for b, err := range w.source.Read(ctx, s, after) {
		if ended {
			w.fault("something follows the error")
			return r
		}
		if err != nil {
			ended = true
			w.say(err.Error())
			w.say(fmt.Sprintf("%+v", err))
			if !reflect.ValueOf(b).IsZero() {
				w.fault("a batch comes with the error %v", err)
			}
			r.err = err
			continue
		}
		if b.Record == nil {
			w.fault("a batch without a record")
			return r
		}
		w.say(b.Place)
		w.say(string(b.Cursor))
		for _, reject := range b.Rejects {
			w.say(reject.Reason)
			w.fault("row %d was rejected by %s: %s", reject.Row, reject.Rule, reject.Reason)
		}
		r.rows = append(r.rows, texts(b.Record)...)
		r.ends = append(r.ends, len(r.rows))
		r.cursors = append(r.cursors, slices.Clone(b.Cursor))
		r.times = append(r.times, b.ExtractedAt)
		r.replaces = append(r.replaces, b.Replaces)
	}
	return r
}

// texts writes each row's values of the kit's columns; a column that is not there is null.
func texts(record arrow.Record) []string {
	rows := make([]string, record.NumRows())
	var b strings.Builder
	for row := range rows {
		b.Reset()
		for _, name := range columns {
			at := record.Schema().FieldIndices(name)
			if len(at) == 0 || record.Column(at[0]).IsNull(row) {
				b.WriteString("|null")
			} else {
				fmt.Fprintf(&b, "|%q", record.Column(at[0]).ValueStr(row))
			}
		}
		rows[row] = b.String()
	}
	return rows
}

// want writes the table's rows in the same way.
func (t Table) want(can Capabilities) []string {
	rows := make([]string, len(t.Rows))
	for i, values := range t.Rows {
		var b strings.Builder
		for _, v := range values {
			if text, ok := v.(string); ok && (text != "" || !can.NoEmptyText) {
				fmt.Fprintf(&b, "|%q", text)
			} else {
				b.WriteString("|null")
			}
		}
		rows[i] = b.String()
	}
	return rows
}

// same compares rows and names the first that differs.
func same(what string, got, want []string) error {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Errorf("%s: row %d is %.200s, want %.200s", what, i+1, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		return fmt.Errorf("%s: %d rows, want %d", what, len(got), len(want))
	}
	return nil
}

func checkStreams(ctx context.Context, w *world) error {
	first, err := w.shards(ctx)
	if err != nil {
		return err
	}
	second, err := w.shards(ctx)
	if err != nil {
		return err
	}
	if !slices.Equal(first, second) {
		return fmt.Errorf("got %v and then %v", first, second)
	}
	seen := map[connectors.Stream]bool{}
	for _, s := range first {
		if s.Name == "" || seen[s] {
			return fmt.Errorf("stream %q has no name or is there twice", s)
		}
		seen[s] = true
	}
	if len(first) != 1 {
		return fmt.Errorf("got %d streams or shards for one table", len(first))
	}
	return nil
}

func checkValues(ctx context.Context, w *world) error {
	s, err := w.only(ctx)
	if err != nil {
		return err
	}
	r := w.read(ctx, s, nil)
	if r.err != nil {
		return r.err
	}
	return same("read", r.rows, w.outside.Table.want(w.can))
}

func checkBatches(ctx context.Context, w *world) error {
	s, err := w.only(ctx)
	if err != nil {
		return err
	}
	batches := 0
	reserved := map[string]arrow.Type{connectors.ColumnRow: arrow.INT64, connectors.ColumnVersion: arrow.UINT64, connectors.ColumnDeleted: arrow.BOOL}
	row := int64(0)
	for b, err := range w.source.Read(ctx, s, nil) {
		if err != nil {
			return err
		}
		batches++
		if n := b.Record.NumRows(); n+int64(len(b.Rejects)) > connectors.MaxBatchRows {
			return fmt.Errorf("a batch of %d rows and %d rejects, at most %d", n, len(b.Rejects), connectors.MaxBatchRows)
		}
		// Offsets and validity are counted by each connector in its own way: allow them once more.
		if size := textBytes(b.Record); size > connectors.MaxBatchBytes {
			return fmt.Errorf("a batch with %d bytes of text, at most %d", size, connectors.MaxBatchBytes)
		}
		if len(b.Cursor) == 0 || len(b.Cursor) > connectors.MaxCursorBytes {
			return fmt.Errorf("a cursor of %d bytes, want 1 to %d", len(b.Cursor), connectors.MaxCursorBytes)
		}
		if b.Place == "" {
			return errors.New("a batch without a place")
		}
		if b.ExtractedAt.IsZero() {
			return errors.New("a batch without ExtractedAt")
		}
		for _, f := range b.Record.Schema().Fields() {
			if want, ok := reserved[f.Name]; ok && f.Type.ID() != want {
				return fmt.Errorf("column %s is %s, want %s", f.Name, f.Type, want)
			} else if !ok && strings.HasPrefix(f.Name, "_") {
				return fmt.Errorf("column %s begins with an underscore but is not one of the contract", f.Name)
			}
		}
		if at := b.Record.Schema().FieldIndices(connectors.ColumnRow); len(at) == 1 {
			for _, n := range b.Record.Column(at[0]).(*array.Int64).Int64Values() {
				if n <= row {
					return fmt.Errorf("row number %d follows %d", n, row)
				}
				row = n
			}
		}
	}
	if batches < 2 {
		return fmt.Errorf("%d rows of 2 KiB came in %d batches, which cannot keep their bound", bulkyRows, batches)
	}
	return nil
}

func textBytes(record arrow.Record) (n int) {
	for _, column := range record.Columns() {
		if s, ok := column.(*array.String); ok && s.Len() > 0 {
			n += s.ValueOffset(s.Len()-1) + len(s.Value(s.Len()-1)) - s.ValueOffset(0)
		}
	}
	return n
}

func checkRepeatable(ctx context.Context, w *world) error {
	s, err := w.only(ctx)
	if err != nil {
		return err
	}
	first, second := w.read(ctx, s, nil), w.read(ctx, s, nil)
	if err := errors.Join(first.err, second.err); err != nil {
		return err
	}
	return errors.Join(same("first reading", first.rows, w.outside.Table.want(w.can)), same("second reading", second.rows, first.rows))
}

func checkResume(ctx context.Context, w *world) error {
	s, err := w.only(ctx)
	if err != nil {
		return err
	}
	all := w.read(ctx, s, nil)
	if all.err != nil {
		return all.err
	}
	if err := same("read", all.rows, w.outside.Table.want(w.can)); err != nil {
		return err
	}
	for i, cursor := range all.cursors {
		rest := w.read(ctx, s, cursor)
		if rest.err != nil {
			return fmt.Errorf("after cursor %d of %d: %w", i+1, len(all.cursors), rest.err)
		}
		if err := same(fmt.Sprintf("after cursor %d of %d", i+1, len(all.cursors)), rest.rows, all.rows[all.ends[i]:]); err != nil {
			return err
		}
		for _, at := range rest.times {
			if !at.Equal(all.times[0]) {
				return fmt.Errorf("after cursor %d the same content has the time %v, before %v", i+1, at, all.times[0])
			}
		}
	}
	for _, at := range all.times {
		if !at.Equal(all.times[0]) {
			return fmt.Errorf("one content has the times %v and %v", all.times[0], at)
		}
	}
	return nil
}

func checkNothingNew(ctx context.Context, w *world) error {
	s, err := w.only(ctx)
	if err != nil {
		return err
	}
	r := w.read(ctx, s, nil)
	if r.err != nil {
		return r.err
	}
	for range 2 {
		again := w.read(ctx, s, r.cursor())
		if again.err != nil {
			return again.err
		}
		if len(again.cursors) > 0 {
			return fmt.Errorf("%d batches with %d rows although nothing is new", len(again.cursors), len(again.rows))
		}
	}
	return nil
}

func checkEmpty(ctx context.Context, w *world) error {
	s, err := w.only(ctx)
	if err != nil {
		return err
	}
	r := w.read(ctx, s, nil)
	if r.err != nil {
		return r.err
	}
	return same("read", r.rows, nil)
}

func checkCancelledBefore(ctx context.Context, w *world) error {
	s, err := w.only(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	r := w.read(ctx, s, nil)
	if len(r.cursors) > 0 || !errors.Is(r.err, context.Canceled) {
		return fmt.Errorf("%d batches and error %v, want none and context.Canceled", len(r.cursors), r.err)
	}
	return nil
}

func checkCancelledWithin(ctx context.Context, w *world) error {
	s, err := w.only(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	result := make(chan error, 1)
	go func() {
		batches := 0
		for _, err := range w.source.Read(ctx, s, nil) {
			if err != nil {
				if !errors.Is(err, context.Canceled) {
					err = fmt.Errorf("the error is %w, not context.Canceled", err)
				} else {
					err = nil
				}
				result <- err
				return
			}
			if batches++; batches > 2 { // one may have been on its way
				result <- fmt.Errorf("still yields batches after it was cancelled")
				return
			}
			cancel()
		}
		result <- errors.New("ended without an error, as if all had been read")
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case err := <-result:
		return err
	case <-timer.C:
		return fmt.Errorf("still reading %v after it was cancelled", patience)
	}
}

func checkStopped(ctx context.Context, w *world) error {
	s, err := w.only(ctx)
	if err != nil {
		return err
	}
	for _, err := range w.source.Read(ctx, s, nil) {
		if err != nil {
			return err
		}
		break
	}
	// What is left is looked for after every case; here it may not be left until Close either.
	if n, size := w.alloc.left(); n > 0 {
		return fmt.Errorf("%d Arrow buffers with %d bytes are held although the caller stopped", n, size)
	}
	return nil
}

func checkRetained(ctx context.Context, w *world) error {
	s, err := w.only(ctx)
	if err != nil {
		return err
	}
	var records []arrow.Record
	var want []string
	defer func() {
		for _, r := range records {
			r.Release()
		}
	}()
	for b, err := range w.source.Read(ctx, s, nil) {
		if err != nil {
			return err
		}
		b.Record.Retain()
		records = append(records, b.Record)
		want = append(want, texts(b.Record)...)
	}
	var got []string
	for _, r := range records {
		got = append(got, texts(r)...)
	}
	return same("retained records", got, want)
}

func checkSideBySide(ctx context.Context, w *world) error {
	s, err := w.only(ctx)
	if err != nil {
		return err
	}
	// One shard is read from one goroutine at a time; what must be safe is listing while reading.
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		for range 3 {
			r := w.read(ctx, s, nil)
			if err := errors.Join(r.err, same("read", r.rows, w.outside.Table.want(w.can))); err != nil {
				return err
			}
		}
		return nil
	})
	group.Go(func() error {
		for range 20 {
			if _, err := w.shards(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	return group.Wait()
}

// memoryFactor is by how much the larger content is larger. The smaller one already has enough batches that buffers have
// grown as far as they do.
const memoryFactor = 4

func checkMemory(ctx context.Context, w *world) error {
	var after connectors.Cursor // a source that follows changes has the larger content in those
	measure := func() (arrowPeak, heapPeak int, rows int64, err error) {
		s, err := w.only(ctx)
		if err != nil {
			return 0, 0, 0, err
		}
		base := liveHeap()
		w.alloc.restartPeak()
		batch := 0
		for b, err := range w.source.Read(ctx, s, after) {
			if err != nil {
				return 0, 0, 0, err
			}
			if w.can.Follows {
				after = slices.Clone(b.Cursor)
			}
			rows += b.Record.NumRows() - int64(goneRows(b.Record))
			if batch < 8 || batch%4 == 0 {
				heapPeak = max(heapPeak, liveHeap()-base)
			}
			batch++
		}
		return w.alloc.peaked(), heapPeak, rows, nil
	}
	smallArrow, smallHeap, _, err := measure()
	if err != nil {
		return err
	}
	large := bulkyTable(memoryFactor * memoryRows)()
	if err := w.outside.Store(large); err != nil {
		return fmt.Errorf("store the larger content: %w", err)
	}
	largeArrow, largeHeap, rows, err := measure()
	if err != nil {
		return err
	}
	want := int64(len(large.Rows))
	if w.can.Follows {
		want -= memoryRows // which are there already
	}
	if rows != want {
		return fmt.Errorf("%d rows of the larger content, want %d", rows, want)
	}
	const slack = 1 << 20 // less than a quarter of a batch
	if largeArrow > smallArrow+smallArrow/10+slack {
		return fmt.Errorf("memory of Arrow peaks at %d KiB with %d times the content, and at %d KiB with one", largeArrow>>10, memoryFactor, smallArrow>>10)
	}
	if largeHeap > smallHeap+smallHeap/10+slack {
		return fmt.Errorf("the live heap peaks at %d KiB with %d times the content, and at %d KiB with one", largeHeap>>10, memoryFactor, smallHeap>>10)
	}
	return nil
}

func liveHeap() int {
	runtime.GC()
	runtime.GC() // the first one moves pools to their victims, the second one frees them
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

func checkUnknownStream(ctx context.Context, w *world) error {
	r := w.read(ctx, connectors.Stream{Name: "no-such-stream"}, nil)
	if r.err == nil {
		return errors.New("no error")
	}
	return nil
}

func checkForeignCursor(ctx context.Context, w *world) error {
	s, err := w.only(ctx)
	if err != nil {
		return err
	}
	r := w.read(ctx, s, connectors.Cursor("\x00somebody else's"))
	if r.err == nil || connectors.IsTransient(r.err) || len(r.cursors) > 0 {
		return fmt.Errorf("%d batches and error %v, want none and a permanent error", len(r.cursors), r.err)
	}
	return nil
}

func checkChanges(ctx context.Context, w *world) error {
	s, err := w.only(ctx)
	if err != nil {
		return err
	}
	first := w.read(ctx, s, nil)
	if first.err != nil {
		return first.err
	}
	w.turnBack(time.Hour)
	later := smallTable(12)()
	if err := w.outside.Store(later); err != nil {
		return fmt.Errorf("store a later content: %w", err)
	}
	second := w.read(ctx, s, first.cursor())
	if second.err != nil {
		return second.err
	}
	// Whether all of it or only what was added comes is the connector's choice; the last row is new either way.
	want := later.want(w.can)
	if len(second.rows) == 0 || second.rows[len(second.rows)-1] != want[len(want)-1] {
		return fmt.Errorf("the later content gave %d rows, not its new ones", len(second.rows))
	}
	before, after := first.times[len(first.times)-1], second.times[0]
	if after.UnixMicro() <= before.UnixMicro() {
		return fmt.Errorf("the later content was extracted at %v, the earlier one at %v", after, before)
	}
	again := w.read(ctx, s, second.cursor())
	if again.err != nil || len(again.cursors) > 0 {
		return fmt.Errorf("%d batches and error %v although nothing is new", len(again.cursors), again.err)
	}
	return nil
}

func checkReplaces(ctx context.Context, w *world) error {
	s, err := w.only(ctx)
	if err != nil {
		return err
	}
	var cursor connectors.Cursor
	for i, table := range []Table{w.outside.Table, smallTable(5)(), smallTable(0)(), smallTable(4)()} {
		if i > 0 {
			if err := w.outside.Store(table); err != nil {
				return fmt.Errorf("store content %d: %w", i+1, err)
			}
		}
		r := w.read(ctx, s, cursor)
		if r.err != nil {
			return r.err
		}
		if err := same(fmt.Sprintf("content %d", i+1), r.rows, table.want(w.can)); err != nil {
			return err
		}
		if len(r.replaces) == 0 {
			return fmt.Errorf("content %d of %d rows gave no batch, so that nothing is replaced", i+1, len(table.Rows))
		}
		for n, replaces := range r.replaces {
			if last := n == len(r.replaces)-1; replaces != last {
				return fmt.Errorf("content %d: batch %d of %d has Replaces %v", i+1, n+1, len(r.replaces), replaces)
			}
		}
		cursor = r.cursor()
	}
	return nil
}

func checkCount(ctx context.Context, w *world) error {
	counter, ok := w.source.(connectors.Counter)
	if !ok {
		if w.can.Counts {
			return errors.New("declared, but the source is no connectors.Counter")
		}
		return nil
	}
	s, err := w.only(ctx)
	if err != nil {
		return err
	}
	n, err := counter.Count(ctx, s)
	switch {
	case !w.can.Counts && errors.Is(err, errors.ErrUnsupported):
		return nil
	case !w.can.Counts:
		return fmt.Errorf("the source counts %d rows (error %v), but that is not declared", n, err)
	case err != nil:
		return err
	case n != int64(len(w.outside.Table.Rows)):
		return fmt.Errorf("counted %d rows, want %d", n, len(w.outside.Table.Rows))
	}
	return nil
}

func checkBroken(ctx context.Context, w *world) error {
	s, err := w.only(ctx)
	if err != nil {
		return err
	}
	if err := w.outside.Break(); err != nil {
		return fmt.Errorf("break the system: %w", err)
	}
	r := w.read(ctx, s, nil)
	if r.err == nil {
		return errors.New("no error")
	}
	if got := connectors.IsTransient(r.err); got != w.can.BreakIsTransient {
		return fmt.Errorf("transient is %v, want %v: %w", got, w.can.BreakIsTransient, r.err)
	}
	for _, replaces := range r.replaces {
		if replaces {
			return errors.New("a batch replaces although the read failed")
		}
	}
	return nil
}
