package connectortest

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/headwater-data/headwater/connectors"
)

// follower is a source over a table in memory that follows its changes: it gives the table, and then a log from where the table's
// reading began.
type follower struct {
	mu      sync.Mutex
	outside *Outside
	rows    map[string][]any // by the first column
	log     []logged
	flaws   followerFlaws
}

type logged struct {
	row  []any
	gone bool
}

type followerFlaws struct {
	losesDeletes, losesUpdates, losesInserts, unmarked, nullKey, lowVersions, logFromTheEnd, pastCursor bool
}

type followerCursor struct {
	At, Last int64
	Snapshot bool
	Key      string // of the snapshot's last row
	Log      int    // entries that were given
}

func (f *follower) Streams(context.Context) ([]connectors.Stream, error) {
	return []connectors.Stream{{Name: "table"}}, nil
}
func (f *follower) Close() error { return nil }

func (f *follower) store(t Table) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	wanted := map[string]bool{}
	for _, row := range t.Rows {
		wanted[row[0].(string)] = true
	}
	for _, key := range slices.Sorted(maps.Keys(f.rows)) {
		if !wanted[key] {
			delete(f.rows, key)
			if !f.flaws.losesDeletes {
				f.log = append(f.log, logged{[]any{key, nil, nil}, true})
			}
		}
	}
	for _, row := range t.Rows {
		key := row[0].(string)
		old, there := f.rows[key]
		if there && slices.Equal(old, row) {
			continue
		}
		f.rows[key] = row
		if there && f.flaws.losesUpdates || !there && f.flaws.losesInserts {
			continue
		}
		f.log = append(f.log, logged{row, false})
	}
	return nil
}

func (f *follower) Read(ctx context.Context, s connectors.Stream, after connectors.Cursor) iter.Seq2[connectors.Batch, error] {
	return func(yield func(connectors.Batch, error) bool) {
		if err := f.read(ctx, s, after, yield); err != nil {
			yield(connectors.Batch{}, err)
		}
	}
}

func (f *follower) read(ctx context.Context, s connectors.Stream, after connectors.Cursor, yield func(connectors.Batch, error) bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.Name != "table" {
		return fmt.Errorf("no stream %q", s.Name)
	}
	f.mu.Lock()
	at := f.outside.Now().UnixMicro()
	c := followerCursor{At: at, Last: at, Snapshot: true, Log: len(f.log)}
	f.mu.Unlock()
	if after != nil {
		if err := json.Unmarshal(after, &c); err != nil {
			return err
		}
	}
	deliver := func(rows []logged, at int64, versions func(int) int64) (bool, error) {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		cursor, err := json.Marshal(c)
		if err != nil {
			return false, err
		}
		record := f.record(rows, versions)
		defer record.Release()
		return yield(connectors.Batch{Record: record, Place: "table", Cursor: cursor, ExtractedAt: time.UnixMicro(at)}, nil), nil
	}
	for c.Snapshot {
		f.mu.Lock()
		var rows []logged
		size := 0
		keys := slices.Sorted(maps.Keys(f.rows))
		begin, _ := slices.BinarySearch(keys, c.Key+"\x00")
		for begin < len(keys) && size < 3<<20 {
			row := f.rows[keys[begin]]
			if text, ok := row[1].(string); ok {
				size += len(text)
			}
			rows = append(rows, logged{row, false})
			begin++
		}
		if c.Snapshot = begin < len(keys); len(rows) > 0 {
			c.Key = keys[begin-1]
		}
		if f.flaws.logFromTheEnd {
			c.Log = len(f.log)
		}
		f.mu.Unlock()
		if more, err := deliver(rows, c.At, func(int) int64 { return c.At }); err != nil || !more {
			return err
		}
	}
	f.mu.Lock()
	end := len(f.log)
	entries := slices.Clone(f.log[min(c.Log, end):end])
	f.mu.Unlock()
	for begin := 0; begin < len(entries); {
		part := entries[begin:min(begin+1000, len(entries))]
		begin += len(part)
		if c.Log += len(part); f.flaws.pastCursor {
			c.Log = end + 1
		}
		at := max(f.outside.Now().UnixMicro(), c.Last+1)
		c.Last = at + int64(len(part))
		versions := func(i int) int64 { return at + int64(i) }
		if f.flaws.lowVersions {
			versions = func(i int) int64 { return int64(i) }
		}
		if more, err := deliver(part, at, versions); err != nil || !more {
			return err
		}
	}
	return nil
}

func (f *follower) record(rows []logged, versions func(int) int64) arrow.Record {
	var fields []arrow.Field
	for _, name := range columns {
		fields = append(fields, arrow.Field{Name: name, Type: arrow.BinaryTypes.String, Nullable: true})
	}
	fields = append(fields, arrow.Field{Name: connectors.ColumnVersion, Type: arrow.PrimitiveTypes.Uint64}, arrow.Field{Name: connectors.ColumnDeleted, Type: arrow.FixedWidthTypes.Boolean})
	b := array.NewRecordBuilder(f.outside.Allocator, arrow.NewSchema(fields, nil))
	defer b.Release()
	for n, row := range rows {
		for i, v := range row.row {
			text, ok := v.(string)
			if ok && !(i == 0 && row.gone && f.flaws.nullKey) {
				b.Field(i).(*array.StringBuilder).Append(text)
			} else {
				b.Field(i).AppendNull()
			}
		}
		b.Field(len(columns)).(*array.Uint64Builder).Append(uint64(versions(n)))
		b.Field(len(columns) + 1).(*array.BooleanBuilder).Append(row.gone && !f.flaws.unmarked)
	}
	return b.NewRecord()
}

func following(flaws followerFlaws) func(*Outside) (connectors.Source, error) {
	return func(o *Outside) (connectors.Source, error) {
		f := &follower{outside: o, rows: map[string][]any{}, flaws: flaws}
		o.Store = f.store
		for _, row := range o.Table.Rows {
			f.rows[row[0].(string)] = row
		}
		return f, nil
	}
}

func TestSoundFollowerPasses(t *testing.T) {
	Run(t, func(t *testing.T, o *Outside) connectors.Source {
		src, err := following(followerFlaws{})(o)
		if err != nil {
			t.Fatal(err)
		}
		return src
	}, Capabilities{Changes: true, Follows: true})
}

// TestBrokenFollowersAreFound breaks a source that follows changes in one way after the other.
func TestBrokenFollowersAreFound(t *testing.T) {
	for _, c := range []struct {
		name  string
		flaws followerFlaws
		found string // name of a case
		says  string
	}{
		{"rows that are gone are not told", followerFlaws{losesDeletes: true}, "follows", "content 2"},
		{"changed rows are not told", followerFlaws{losesUpdates: true}, "follows", "content 2"},
		{"new rows are not told", followerFlaws{losesInserts: true}, "follows", "content 2"},
		{"rows that are gone are not marked", followerFlaws{unmarked: true}, "follows", "content 2"},
		{"rows that are gone have no key", followerFlaws{nullKey: true}, "follows", "without its key"},
		{"changes look older than the table", followerFlaws{lowVersions: true}, "follows", "content 2"},
		{"a cursor is ahead of what was given", followerFlaws{pastCursor: true}, "follows", "content 3"},
		{"the log is followed from where the table's reading ended", followerFlaws{logFromTheEnd: true}, "follows while read", "after all"},
	} {
		t.Run(c.name, func(t *testing.T) {
			finds(t, c.found, c.says, following(c.flaws), Capabilities{Changes: true, Follows: true})
		})
	}
}
