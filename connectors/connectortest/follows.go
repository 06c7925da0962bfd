package connectortest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/headwater-data/headwater/connectors"
)

// copied is what somebody has who applies batches: of each key the row with the highest version.
type copied map[string]copiedRow

type copiedRow struct {
	version   uint64
	extracted time.Time
	gone      bool
	text      string
}

// gone returns the column that marks rows as gone; nil without one.
func gone(record arrow.Record) *array.Boolean {
	if at := record.Schema().FieldIndices(connectors.ColumnDeleted); len(at) == 1 {
		column, _ := record.Column(at[0]).(*array.Boolean)
		return column
	}
	return nil
}

func goneRows(record arrow.Record) (n int) {
	if column := gone(record); column != nil {
		for i := range column.Len() {
			if column.IsValid(i) && column.Value(i) {
				n++
			}
		}
	}
	return n
}

// apply does with a batch what a warehouse does with it.
func (c copied) apply(b connectors.Batch) error {
	record := b.Record
	key := record.Schema().FieldIndices(columns[0])
	if len(key) != 1 {
		return fmt.Errorf("a batch has no column %s", columns[0])
	}
	var versions *array.Uint64
	if at := record.Schema().FieldIndices(connectors.ColumnVersion); len(at) == 1 {
		versions, _ = record.Column(at[0]).(*array.Uint64)
	}
	deleted := gone(record)
	for i, text := range texts(record) {
		if record.Column(key[0]).IsNull(i) {
			return fmt.Errorf("a row comes without its key: %s", text)
		}
		row := copiedRow{version: uint64(b.ExtractedAt.UnixMicro()), extracted: b.ExtractedAt, gone: deleted != nil && deleted.Value(i), text: text}
		if versions != nil {
			row.version = versions.Value(i)
		}
		name := strings.Clone(record.Column(key[0]).ValueStr(i)) // the record's memory goes with it
		if old, ok := c[name]; !ok || old.version <= row.version {
			c[name] = row
		}
	}
	if b.Replaces {
		for name, row := range c {
			if at := uint64(b.ExtractedAt.UnixMicro()); row.extracted.Before(b.ExtractedAt) && row.version <= at {
				row.gone, row.version = true, at
				c[name] = row
			}
		}
	}
	return nil
}

// is compares with what the system has.
func (c copied) is(what string, t Table, can Capabilities) error {
	got := []string{}
	for _, row := range c {
		if !row.gone {
			got = append(got, row.text)
		}
	}
	slices.Sort(got)
	return same(what, got, slices.Sorted(slices.Values(t.want(can))))
}

// applied reads on from a cursor, at most so many batches, and applies them.
func (w *world) applied(ctx context.Context, s connectors.Stream, to copied, after connectors.Cursor, most int) (cursors []connectors.Cursor, err error) {
	for b, err := range w.source.Read(ctx, s, after) {
		if err != nil {
			return cursors, err
		}
		if err := to.apply(b); err != nil {
			return cursors, err
		}
		if cursors = append(cursors, slices.Clone(b.Cursor)); len(cursors) == most {
			break
		}
	}
	return cursors, nil
}

// changed is the nth later content: rows are changed, gone and new.
func changed(t Table, nth int) Table {
	n := len(t.Rows)
	later := Table{Columns: t.Columns}
	for i, row := range t.Rows {
		switch i {
		case 0, n / 2: // gone
			continue
		case 1, n - 2:
			row = []any{row[0], "变了", row[2]}
		case n - 1:
			row = []any{row[0], nil, "changed"}
		}
		later.Rows = append(later.Rows, row)
	}
	for i := range 3 {
		later.Rows = append(later.Rows, []any{fmt.Sprintf("id9%06d", 3*nth+i), "新", fmt.Sprint(i)})
	}
	return later
}

func checkFollows(ctx context.Context, w *world) error {
	s, err := w.only(ctx)
	if err != nil {
		return err
	}
	have := copied{}
	first, err := w.applied(ctx, s, have, nil, 0)
	if err == nil {
		err = have.is("read", w.outside.Table, w.can)
	}
	if err != nil {
		return err
	}
	if len(first) == 0 {
		return errors.New("no batch")
	}
	after := first[len(first)-1]
	contents := []Table{changed(w.outside.Table, 0), w.outside.Table, {Columns: columns}, smallTable(3)()}
	for i, content := range contents {
		if err := w.outside.Store(content); err != nil {
			return fmt.Errorf("store content %d: %w", i+2, err)
		}
		what := fmt.Sprintf("content %d", i+2)
		before := cloned(have)
		cursors, err := w.applied(ctx, s, have, after, 0)
		if err == nil {
			err = have.is(what, content, w.can)
		}
		if err != nil {
			return err
		}
		if len(cursors) == 0 {
			return fmt.Errorf("%s gave no batch", what)
		}
		// Nothing of it was stored, and it is read again.
		if _, err = w.applied(ctx, s, before, after, 0); err == nil {
			err = before.is(what+", read again from the same cursor", content, w.can)
		}
		if err != nil {
			return err
		}
		after = cursors[len(cursors)-1]
	}
	rest, err := w.applied(ctx, s, have, after, 0)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d batches although nothing is new", len(rest))
	}
	return err
}

func checkFollowsWhileRead(ctx context.Context, w *world) error {
	s, err := w.only(ctx)
	if err != nil {
		return err
	}
	have := copied{}
	content := w.outside.Table
	var after connectors.Cursor
	// Every batch is the last of its reading, and behind each of the first three the content changes.
	for n := 0; ; n++ {
		cursors, err := w.applied(ctx, s, have, after, 1)
		if err != nil {
			return err
		}
		if len(cursors) == 0 {
			if n < 3 {
				return fmt.Errorf("%d rows came in %d batches", len(content.Rows), n)
			}
			return have.is("after all", content, w.can)
		}
		after = cursors[0]
		if n < 3 {
			content = changed(content, n)
			if err := w.outside.Store(content); err != nil {
				return fmt.Errorf("store content %d: %w", n+2, err)
			}
		}
	}
}

func cloned(c copied) copied {
	out := make(copied, len(c))
	for k, v := range c {
		out[k] = v
	}
	return out
}
