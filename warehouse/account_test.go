package warehouse_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/headwater-data/headwater/warehouse"
)

func at(second int) time.Time {
	return time.Date(2022, 1, 1, 0, 0, second, 123_000_000, time.UTC)
}

// ledgerRow is a balanced row of a flush.
func ledgerRow(from, to int64, second int) warehouse.LedgerRow {
	return warehouse.LedgerRow{
		Topic: testTopic, Partition: 3, Incarnation: testIncarnation, From: from, To: to, Source: "s", Stream: "st", Shard: "a.csv", Run: "r1", Schema: "observation",
		StateIncarnation: testIncarnation, Epoch: 1, Next: to, Mapping: "m", Shape: "h", Cursor: []byte{0, 255, byte(to)}, CursorOffset: to - 1, CursorEpoch: 1, CursorSequence: to - 1,
		Extracted: 10, Loaded: 4, Duplicate: 3, Quarantined: 2, Filtered: 1, Records: 8, Deleted: 1, Warnings: 2, Messages: 5, VoidMessages: 1, ForeignMessages: 1, Bytes: 999,
		ExtractedAt: at(second), LoadedAt: at(second + 1),
	}
}

func TestALedgerRowComesBackAsItWas(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	counted := int64(42)
	row := ledgerRow(5, 9, 0)
	row.Counted = &counted
	bare := warehouse.LedgerRow{Topic: testTopic, Partition: 3, Incarnation: testIncarnation, From: 5, To: 9, StateIncarnation: testIncarnation, CursorOffset: -1, LoadedAt: at(1)}
	if err := b.WriteLedger(b.ctx, "t", []warehouse.LedgerRow{row, bare}); err != nil {
		t.Fatal(err)
	}
	got, err := b.LedgerAt(b.ctx, testTopic, 3, testIncarnation, 5)
	if err != nil {
		t.Fatal(err)
	}
	row.Kind, bare.Kind = warehouse.LedgerFlush, warehouse.LedgerFlush
	if diff := cmp.Diff([]warehouse.LedgerRow{bare, row}, got, equalTimes); diff != "" {
		t.Errorf("rows differ (-want +got):\n%s", diff)
	}
}

var equalTimes = cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })

func TestEveryFieldOfAnOwnRowHasAColumn(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	for table, row := range map[string]any{"ledger": warehouse.LedgerRow{}, "quarantine": warehouse.QuarantineRow{}, "run": warehouse.Run{}, "audit": warehouse.AuditEntry{}, "undecodable": warehouse.Undecodable{}} {
		columns := b.sql("SELECT name FROM system.columns WHERE database = '$db' AND table = '" + table + "' AND NOT startsWith(name, '_')")
		var fields []string
		for _, f := range reflect.VisibleFields(reflect.TypeOf(row)) {
			fields = append(fields, f.Tag.Get("ch"))
		}
		slices.Sort(columns)
		slices.Sort(fields)
		if !slices.Equal(columns, fields) {
			t.Errorf("%s: columns %v, fields %v", table, columns, fields)
		}
	}
}

func TestALedgerRowWrittenAgainReplacesItself(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	first, second := ledgerRow(5, 9, 0), ledgerRow(5, 9, 60)
	second.Held, second.Loaded, second.Kind = 1, 3, warehouse.LedgerRepair
	// The clock of who repairs is behind: what is written later counts.
	for i, row := range []warehouse.LedgerRow{second, first, second} {
		if i == 2 {
			row.LoadedAt = at(-3600)
		}
		if err := b.WriteLedger(b.ctx, fmt.Sprint(i), []warehouse.LedgerRow{row}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := b.LedgerAt(b.ctx, testTopic, 3, testIncarnation, 5)
	if err != nil || len(got) != 1 || got[0].Kind != warehouse.LedgerRepair {
		t.Errorf("got %+v, %v, want the repair alone", got, err)
	}
}

func TestARowThatDoesNotBalanceIsRefused(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	row := ledgerRow(1, 2, 0)
	row.Loaded--
	if err := b.WriteLedger(b.ctx, "t", []warehouse.LedgerRow{row}); err == nil {
		t.Error("no error")
	}
}

func TestTheCheckpointIsTheNewestFlushOfTheLogAsItIs(t *testing.T) {
	t.Parallel()
	gap := func(from, to int64, state string, second int) warehouse.LedgerRow {
		return warehouse.LedgerRow{Topic: testTopic, Partition: 3, Incarnation: testIncarnation, From: from, To: to, StateIncarnation: state, Epoch: -1, Kind: warehouse.LedgerGap, CursorOffset: -1, LoadedAt: at(second)}
	}
	renewed := func(r warehouse.LedgerRow) warehouse.LedgerRow {
		r.Incarnation, r.StateIncarnation = "new", "new"
		return r
	}
	b := migrated(t)
	partition := int32(100)
	for name, c := range map[string]struct {
		rows   []warehouse.LedgerRow
		known  bool
		want   warehouse.Checkpoint
		cursor warehouse.ShardCursor
	}{
		"an empty ledger": {},
		"flushes in a row": {
			rows:  []warehouse.LedgerRow{ledgerRow(0, 5, 0), ledgerRow(5, 9, 10)},
			known: true, want: warehouse.Checkpoint{From: 5, To: 9, Incarnation: testIncarnation, Epoch: 1, Next: 9},
			cursor: warehouse.ShardCursor{Cursor: []byte{0, 255, 9}, Offset: 8, Epoch: 1, Sequence: 8},
		},
		"a loader whose clock is behind": {
			rows:  []warehouse.LedgerRow{ledgerRow(0, 5, 50), ledgerRow(5, 9, 10)},
			known: true, want: warehouse.Checkpoint{From: 5, To: 9, Incarnation: testIncarnation, Epoch: 1, Next: 9},
			cursor: warehouse.ShardCursor{Cursor: []byte{0, 255, 9}, Offset: 8, Epoch: 1, Sequence: 8},
		},
		"a repair of an old flush says nothing": {
			rows: []warehouse.LedgerRow{ledgerRow(5, 9, 10), renewed(ledgerRow(0, 2, 20)), func() warehouse.LedgerRow {
				r := ledgerRow(0, 5, 30)
				r.Kind = warehouse.LedgerRepair
				return r
			}()},
			known: true, want: warehouse.Checkpoint{From: 0, To: 2, Incarnation: "new", Epoch: 1, Next: 2},
			cursor: warehouse.ShardCursor{Cursor: []byte{0, 255, 2}, Offset: 1, Epoch: 1, Sequence: 1},
		},
		"a gap behind which the log begins anew": {
			rows:  []warehouse.LedgerRow{ledgerRow(0, 100, 0), gap(100, 0, "", 10)},
			known: true, want: warehouse.Checkpoint{From: 100, To: 0, Epoch: -1},
			cursor: warehouse.ShardCursor{Cursor: []byte{0, 255, 100}, Offset: 99, Epoch: 1, Sequence: 99},
		},
		"flushes of the new log, with lower offsets": {
			rows:  []warehouse.LedgerRow{ledgerRow(0, 100, 0), gap(100, 0, "", 10), renewed(ledgerRow(0, 4, 20))},
			known: true, want: warehouse.Checkpoint{From: 0, To: 4, Incarnation: "new", Epoch: 1, Next: 4},
			cursor: warehouse.ShardCursor{Cursor: []byte{0, 255, 4}, Offset: 3, Epoch: 1, Sequence: 3},
		},
		"a new log whose loader's clock is hours behind that of the old one's": {
			rows:  []warehouse.LedgerRow{ledgerRow(0, 100, 20_000), gap(100, 0, "", 20_010), renewed(ledgerRow(0, 4, 20))},
			known: true, want: warehouse.Checkpoint{From: 0, To: 4, Incarnation: "new", Epoch: 1, Next: 4},
			cursor: warehouse.ShardCursor{Cursor: []byte{0, 255, 4}, Offset: 3, Epoch: 1, Sequence: 3},
		},
		"a gap within the log": {
			rows:  []warehouse.LedgerRow{ledgerRow(0, 5, 0), gap(5, 50, testIncarnation, 10)},
			known: true, want: warehouse.Checkpoint{From: 5, To: 50, Incarnation: testIncarnation, Epoch: -1},
			cursor: warehouse.ShardCursor{Cursor: []byte{0, 255, 5}, Offset: 4, Epoch: 1, Sequence: 4},
		},
	} {
		partition++
		t.Run(name, func(t *testing.T) {
			for i, row := range c.rows {
				row.Partition = partition
				if err := b.WriteLedger(b.ctx, fmt.Sprint(partition, i), []warehouse.LedgerRow{row}); err != nil {
					t.Fatal(err)
				}
			}
			got, known, err := b.Checkpoint(b.ctx, testTopic, partition)
			if err != nil || known != c.known {
				t.Fatalf("got %t, %v, want %t", known, err, c.known)
			}
			if !known {
				return
			}
			for _, r := range c.rows {
				if r.StateIncarnation != "" && !slices.Contains(c.want.Lives, r.StateIncarnation) {
					c.want.Lives = append(c.want.Lives, r.StateIncarnation)
				}
			}
			slices.Sort(c.want.Lives)
			c.want.Cursors = map[warehouse.Shard]warehouse.ShardCursor{{Source: "s", Stream: "st", Shard: "a.csv"}: c.cursor}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("checkpoint differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHeldFlushesComeWithTheStateBeforeThem(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	first, second, third := ledgerRow(0, 5, 0), ledgerRow(5, 9, 10), ledgerRow(9, 12, 20)
	first.Held, first.Loaded = 4, 0
	third.Held, third.Loaded = 4, 0
	whole := warehouse.LedgerRow{Topic: testTopic, Partition: 3, Incarnation: testIncarnation, From: 9, To: 12, StateIncarnation: testIncarnation, Epoch: 1, Next: 12, CursorOffset: -1, LoadedAt: at(21)}
	for i, row := range []warehouse.LedgerRow{third, whole, first, second} {
		if err := b.WriteLedger(b.ctx, fmt.Sprint(i), []warehouse.LedgerRow{row}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := b.Held(b.ctx, testTopic, 3)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 {
		t.Fatalf("%d held flushes, want 2: %+v", len(got), got)
	}
	r := warehouse.Range{Topic: testTopic, Partition: 3, Incarnation: testIncarnation}
	r.From, r.To = 0, 5
	if got[0].Range != r || got[0].State != (warehouse.State{Epoch: -1}) || len(got[0].Rows) != 1 {
		t.Errorf("first: got %+v, want [0, 5) at the beginning of the log", got[0])
	}
	r.From, r.To = 9, 12
	if got[1].Range != r || got[1].State != (warehouse.State{Incarnation: testIncarnation, Epoch: 1, Next: 9}) || len(got[1].Rows) != 1 || got[1].Rows[0].Source != "s" {
		t.Errorf("second: got %+v, want [9, 12) after 9 batches", got[1])
	}
}

func quarantineRow(offset int64, index uint32) warehouse.QuarantineRow {
	return warehouse.QuarantineRow{
		Topic: testTopic, Partition: 1, Incarnation: testIncarnation, Offset: offset, Index: index, Source: "s", Stream: "st", Shard: "a.csv", Place: "a.csv", Row: uint64(index) + 2,
		Run: "r1", Schema: "observation", Mapping: "m", Rules: []string{"required", "value.range"}, Reasons: []string{"没有值", "too high"}, Fields: []string{"region", "value"},
		Columns: `{"区划":""}`, Version: 7, ExtractedAt: at(0), Status: warehouse.QuarantineOpen, StatusAt: at(0),
	}
}

func TestAQuarantinedRowComesBackAsItWas(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	rows := []warehouse.QuarantineRow{quarantineRow(5, 0), quarantineRow(5, 1), quarantineRow(6, 0)}
	rows[2].Rules, rows[2].Reasons, rows[2].Fields, rows[2].Raw = []string{}, []string{}, []string{}, "a,b\nc"
	if err := b.WriteQuarantine(b.ctx, "t", rows); err != nil {
		t.Fatal(err)
	}
	got, err := b.Quarantined(b.ctx, warehouse.QuarantineFilter{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rows, got, equalTimes); diff != "" {
		t.Errorf("rows differ (-want +got):\n%s", diff)
	}
	for name, c := range map[string]struct {
		filter warehouse.QuarantineFilter
		want   int
	}{
		"by source":                {warehouse.QuarantineFilter{Source: "s"}, 3},
		"by another source":        {warehouse.QuarantineFilter{Source: "x"}, 0},
		"by rule":                  {warehouse.QuarantineFilter{Rule: "required"}, 2},
		"by status":                {warehouse.QuarantineFilter{Status: warehouse.QuarantineDismissed}, 0},
		"by id":                    {warehouse.QuarantineFilter{IDs: []string{rows[1].ID()}}, 1},
		"by no id at all":          {warehouse.QuarantineFilter{IDs: []string{}}, 0},
		"by stream, run and limit": {warehouse.QuarantineFilter{Stream: "st", Run: "r1", Limit: 2}, 2},
	} {
		got, err := b.Quarantined(b.ctx, c.filter)
		if err != nil || len(got) != c.want {
			t.Errorf("%s: got %d rows, %v, want %d", name, len(got), err, c.want)
		}
		if n, err := b.CountQuarantined(b.ctx, c.filter); c.filter.Limit == 0 && (err != nil || n != c.want) {
			t.Errorf("%s: counted %d, %v, want %d", name, n, err, c.want)
		}
	}
	if open := b.sql("SELECT id FROM $db.quarantine_open ORDER BY id"); !slices.Equal(open, []string{rows[0].ID(), rows[1].ID(), rows[2].ID()}) {
		t.Errorf("ids of the view: %v, want those of the rows", open)
	}
}

func TestAStatusOutlivesARepeatedFlush(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	rows := []warehouse.QuarantineRow{quarantineRow(5, 0), quarantineRow(5, 1)}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(b.WriteQuarantine(b.ctx, "t", rows))
	must(b.SetQuarantineStatus(b.ctx, []string{rows[0].ID()}, warehouse.QuarantineDismissed, "li", "a test row", nil))
	must(b.WriteQuarantine(b.ctx, "t again", rows))
	must(b.SetQuarantineStatus(b.ctx, []string{rows[0].ID()}, warehouse.QuarantineDismissed, "li", "a test row", nil))
	got, err := b.Quarantined(b.ctx, warehouse.QuarantineFilter{})
	must(err)
	if len(got) != 2 || got[0].Status != warehouse.QuarantineDismissed || got[0].StatusBy != "li" || got[0].StatusWhy != "a test row" || got[1].Status != warehouse.QuarantineOpen {
		t.Errorf("got %+v, want the first dismissed and the second open", got)
	}
	if err := b.SetQuarantineStatus(b.ctx, []string{rows[1].ID(), "test-9.012345@1#1"}, warehouse.QuarantineDismissed, "li", "", nil); err == nil {
		t.Error("an id of no row: no error")
	}
	if n, _ := b.CountQuarantined(b.ctx, warehouse.QuarantineFilter{Status: warehouse.QuarantineOpen}); n != 1 {
		t.Errorf("%d rows are open, want 1: nothing is written when an id is wrong", n)
	}
}

func TestARowIsReplayedOnceAndAskingAgainFindsTheSame(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	var rows []warehouse.QuarantineRow
	var ids, to []string
	for i := range 400 { // more than one request names
		rows = append(rows, quarantineRow(5, uint32(i)))
		ids = append(ids, rows[i].ID())
		to = append(to, warehouse.FormatQuarantineID(testTopic, 1, testIncarnation, 8, uint32(i)))
	}
	if err := b.WriteQuarantine(b.ctx, "t", rows); err != nil {
		t.Fatal(err)
	}
	own := warehouse.Range{Topic: testTopic, Partition: 1, Incarnation: testIncarnation, From: 8, To: 9}
	other := own
	other.From, other.To = 9, 10
	count := func(r warehouse.Range) (n int) {
		t.Helper()
		open, err := b.OpenQuarantine(b.ctx, append(ids, "test-9.012345@1#1"), r)
		if err != nil {
			t.Fatal(err)
		}
		for _, is := range open {
			if is {
				n++
			}
		}
		return n
	}
	if n := count(own); n != 400 {
		t.Errorf("before: %d open, want 400", n)
	}
	if err := b.SetQuarantineStatus(b.ctx, ids, warehouse.QuarantineReplayed, "loader", "", to); err != nil {
		t.Fatal(err)
	}
	if n := count(own); n != 400 {
		t.Errorf("asked by the message that replayed them: %d open, want 400", n)
	}
	if n := count(other); n != 0 {
		t.Errorf("asked by another message: %d open, want none", n)
	}
}

func TestNewContentSupersedesTheOpenRowsOfTheOld(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	old, dismissed, otherShard, justBefore, own := quarantineRow(1, 0), quarantineRow(1, 1), quarantineRow(1, 2), quarantineRow(5, 0), quarantineRow(9, 0)
	otherShard.Shard = "b.csv"
	before := at(100).Add(456 * time.Microsecond)
	// Contents that are read while the clock stands behind the one before them are a microsecond apart.
	justBefore.ExtractedAt = before.Add(-time.Microsecond)
	own.ExtractedAt = before
	rows := []warehouse.QuarantineRow{old, dismissed, otherShard, justBefore, own}
	for i := range rows {
		rows[i].Version = rows[i].ExtractedAt.UnixMicro()
	}
	if err := b.WriteQuarantine(b.ctx, "t", rows); err != nil {
		t.Fatal(err)
	}
	if err := b.SetQuarantineStatus(b.ctx, []string{dismissed.ID()}, warehouse.QuarantineDismissed, "li", "", nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.Supersede(b.ctx, "s", "st", "a.csv", before); err != nil {
			t.Fatal(err)
		}
	}
	got, err := b.Quarantined(b.ctx, warehouse.QuarantineFilter{})
	if err != nil {
		t.Fatal(err)
	}
	var states []string
	for _, r := range got {
		states = append(states, r.Status)
	}
	if want := []string{"superseded", "dismissed", "open", "superseded", "open"}; !slices.Equal(states, want) {
		t.Errorf("states: got %v, want %v", states, want)
	}
}

func TestAQuarantineIDIsReadAsItIsWritten(t *testing.T) {
	t.Parallel()
	for id, text := range map[warehouse.QuarantineID]string{
		{Topic: "headwater.raw.scjg", Partition: 0, Incarnation: "3f9a2c", Offset: 1234, Index: 17}: "scjg-0.3f9a2c@1234#17",
		{Topic: "headwater.raw.a-b.c_d", Partition: 12, Incarnation: "3f", Offset: 0, Index: 0}:     "a-b.c_d-12.3f@0#0",
		{Topic: "orders", Partition: 1, Incarnation: "abcdef", Offset: 5, Index: 6}:                 ":orders-1.abcdef@5#6",
		{Topic: "headwater.raw.", Partition: 1, Incarnation: "abcdef", Offset: 5, Index: 6}:         "-1.abcdef@5#6",
	} {
		if got := id.String(); got != text {
			t.Errorf("%+v: written as %q, want %q", id, got, text)
		}
		if got, err := warehouse.ParseQuarantineID(text); err != nil || got != id {
			t.Errorf("%q: read as %+v, %v, want %+v", text, got, err, id)
		}
	}
	for _, text := range []string{"", "scjg", "scjg-0@1234#17", "scjg-0.3f9a2c@1234", "scjg-0.3f9a2c#17", "scjg-x.3f9a2c@1#1", "scjg-0.3f9a2c@-1#1", "scjg-0.3f9a2c@1#01", "scjg-0.@1#1", "scjg-99999999999.ab@1#1"} {
		if id, err := warehouse.ParseQuarantineID(text); err == nil {
			t.Errorf("%q: read as %+v, want an error", text, id)
		}
	}
}

// Whatever parses is written as it was read, but for a longer incarnation, which is cut short and then stays.
func FuzzParseQuarantineID(f *testing.F) {
	f.Add("scjg-0.3f9a2c@1234#17")
	f.Add(":orders-1.abcdef@5#6")
	f.Add("-1.a@0#0")
	f.Fuzz(func(t *testing.T, text string) {
		id, err := warehouse.ParseQuarantineID(text)
		if err != nil {
			return
		}
		again, err := warehouse.ParseQuarantineID(id.String())
		if err != nil {
			t.Fatalf("%q is written as %q, which does not parse: %v", text, id, err)
		}
		if len(id.Incarnation) <= 6 && (again != id || (id.String() != text && id.Topic[:1] != ":" && text[:1] != ":")) {
			t.Errorf("%q is read as %+v, then as %+v", text, id, again)
		}
	})
}

func TestAShapeIsFoundUnderItsHash(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	body := []byte(`{"set":"标准"}`)
	for range 2 {
		if err := b.PutShape(b.ctx, "abc", body); err != nil {
			t.Fatal(err)
		}
	}
	got, err := b.Shape(b.ctx, "abc")
	if err != nil || string(got) != string(body) {
		t.Errorf("got %q, %v, want %q", got, err, body)
	}
	if _, err := b.Shape(b.ctx, "x"); !errors.Is(err, warehouse.ErrNoShape) {
		t.Errorf("an unknown hash: got %v, want ErrNoShape", err)
	}
}

func TestARunIsWrittenWhenItStartsAndWhenItEnds(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	first := warehouse.Run{Run: "r1", Source: "s", Trigger: "command", Instance: "h/1", StartedAt: at(0), Outcome: warehouse.RunRunning, Attempt: 1}
	second := warehouse.Run{Run: "r2", Source: "x", Trigger: "schedule", StartedAt: at(5), FinishedAt: at(9), Outcome: warehouse.RunFailed, Error: "no such file", Attempt: 2}
	done := first
	done.FinishedAt, done.Outcome, done.Shards, done.Extracted, done.Rejected, done.Messages, done.Bytes = at(3), warehouse.RunDone, 2, 100, 1, 4, 5000
	for _, r := range []warehouse.Run{first, second, done} {
		if err := b.WriteRun(b.ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	got, err := b.Runs(b.ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]warehouse.Run{second, done}, got, equalTimes); diff != "" {
		t.Errorf("runs differ (-want +got):\n%s", diff)
	}
	if got, err := b.RunsOf(b.ctx, "s", 1); err != nil || len(got) != 1 || got[0].Run != "r1" {
		t.Errorf("runs of one source: got %+v, %v", got, err)
	}
}

func TestTheLedgerBalancesByRunBySourceAndInTotal(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	counted := int64(9)
	one, two, three := ledgerRow(0, 5, 0), ledgerRow(5, 9, 10), ledgerRow(9, 12, 20)
	one.Counted = &counted
	two.Run, two.Extracted, two.Held = "r2", 17, 7
	three.Source, three.Stream = "other", "x"
	whole := warehouse.LedgerRow{Topic: testTopic, Incarnation: testIncarnation, From: 0, To: 12, CursorOffset: -1, LoadedAt: at(30), Messages: 77}
	if err := b.WriteLedger(b.ctx, "t", []warehouse.LedgerRow{one, two, three, whole}); err != nil {
		t.Fatal(err)
	}
	got, err := b.Balance(b.ctx, warehouse.BalanceFilter{})
	if err != nil {
		t.Fatal(err)
	}
	type line struct {
		scope, source, run                                               string
		extracted, loaded, duplicate, quarantined, filtered, held, diffs int64
	}
	var lines []line
	for _, g := range got {
		lines = append(lines, line{g.Scope, g.Source, g.Run, g.Extracted, g.Loaded, g.Duplicate, g.Quarantined, g.Filtered, g.Held, g.Difference})
		if g.Balanced != 1 {
			t.Errorf("%s %s %s is not balanced", g.Scope, g.Source, g.Run)
		}
	}
	want := []line{
		{"run", "other", "r1", 10, 4, 3, 2, 1, 0, 0},
		{"run", "s", "r1", 10, 4, 3, 2, 1, 0, 0},
		{"run", "s", "r2", 17, 4, 3, 2, 1, 7, 0},
		{"source", "other", "", 10, 4, 3, 2, 1, 0, 0},
		{"source", "s", "", 27, 8, 6, 4, 2, 7, 0},
		{"total", "", "", 37, 12, 9, 6, 3, 7, 0},
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got  %v\nwant %v", lines, want)
	}
	if of := got[1]; of.Counted == nil || *of.Counted != 9 || of.CountDifference == nil || *of.CountDifference != 2 {
		t.Errorf("the source counts 9 rows where 10 came, 3 of them repeats: got %v, %v", of.Counted, of.CountDifference)
	}
	if got[0].Counted != nil || got[0].CountDifference != nil {
		t.Errorf("a source that cannot count: got %v", got[0].Counted)
	}
	only, err := b.Balance(b.ctx, warehouse.BalanceFilter{Scope: "source", Source: "s"})
	if err != nil || len(only) != 1 {
		t.Errorf("one source: got %v, %v", only, err)
	}
}

func TestALossShowsInTheBalance(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	if err := b.WriteLedger(b.ctx, "t", []warehouse.LedgerRow{ledgerRow(0, 5, 0)}); err != nil {
		t.Fatal(err)
	}
	b.sql("INSERT INTO $db.ledger SELECT * REPLACE (extracted + 1 AS extracted, _version + 1 AS _version) FROM $db.ledger")
	got, err := b.Balance(b.ctx, warehouse.BalanceFilter{Scope: "total"})
	if err != nil || len(got) != 1 || got[0].Balanced != 0 || got[0].Difference != 1 {
		t.Errorf("got %+v, %v, want a difference of 1", got, err)
	}
}

func TestFreshnessTellsWhenAStreamLastMoved(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	one, two := ledgerRow(0, 5, 0), ledgerRow(5, 9, 50)
	two.Run = "r2"
	two.Held, two.Loaded = 4, 0
	other := ledgerRow(0, 5, 10)
	other.Stream = "never observed"
	if err := b.WriteLedger(b.ctx, "t", []warehouse.LedgerRow{one, two, other}); err != nil {
		t.Fatal(err)
	}
	if err := b.WriteQuarantine(b.ctx, "t", []warehouse.QuarantineRow{quarantineRow(5, 0), quarantineRow(5, 1)}); err != nil {
		t.Fatal(err)
	}
	if err := b.WriteRun(b.ctx, warehouse.Run{Run: "r2", Source: "s", Trigger: "command", StartedAt: at(45), Outcome: warehouse.RunDone}); err != nil {
		t.Fatal(err)
	}
	b.load("t", observation{indicator: "I", region: "330000", period: day(2021, 5, 1)}, observation{indicator: "I", region: "330000", period: day(2021, 3, 1), index: 1})
	got, err := b.Freshness(b.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].Stream != "never observed" || got[1].Stream != "st" {
		t.Fatalf("got %+v, want two streams", got)
	}
	if f := got[1]; f.LastExtractedAt == nil || !f.LastExtractedAt.Equal(at(50)) || !f.LastLoadedAt.Equal(at(51)) || f.LastRun != "r2" || f.LastRunOutcome != "done" ||
		f.LastRunAt == nil || !f.LastRunAt.Equal(at(45)) || f.Held != 4 || f.Quarantined != 2 || f.NewestPeriod == nil || !f.NewestPeriod.Equal(day(2021, 5, 1)) || f.AgeSeconds == nil || *f.AgeSeconds <= 0 {
		t.Errorf("got %+v", f)
	}
	if got[0].NewestPeriod != nil {
		t.Errorf("a stream without observations has the newest period %v", got[0].NewestPeriod)
	}
}

// TestAMessageThatCannotBeDecodedKeepsItsBytes: as many as a message may have, whatever they are.
func TestAMessageThatCannotBeDecodedKeepsItsBytes(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	large := make([]byte, 16<<20)
	for i := range large {
		large[i] = byte(i * i >> 7)
	}
	messages := []warehouse.Undecodable{
		{Topic: testTopic, Incarnation: testIncarnation, Offset: 7, Part: warehouse.UndecodableValue, Reason: "checksum", Source: "s", Stream: "st", Headers: `[{"key":"k","value":"AA=="}]`, Value: large, WrittenAt: at(1)},
		{Topic: testTopic, Incarnation: testIncarnation, Offset: 8, Part: warehouse.UndecodableHeaders, Reason: "no number", WrittenAt: at(2)},
	}
	for _, token := range []string{"a", "b"} { // a flush that is repeated
		if err := b.WriteUndecodable(b.ctx, token, messages); err != nil {
			t.Fatal(err)
		}
	}
	got, err := b.Undecodables(b.ctx, 0)
	if err != nil || len(got) != 2 || got[0].Offset != 8 || got[1].Size != 16<<20 || len(got[1].Value) != 0 {
		t.Fatalf("listed: %+v, %v", got, err)
	}
	for i, want := range [][]byte{nil, large} {
		sum := sha256.Sum256(want)
		m, ok, err := b.UndecodableOf(b.ctx, got[i].ID())
		if err != nil || !ok || !bytes.Equal(m.Value, want) || m.SHA256 != hex.EncodeToString(sum[:]) || m.Size != int64(len(want)) {
			t.Errorf("%s: %d bytes, found %v, %v; want %d", got[i].ID(), len(m.Value), ok, err, len(want))
		}
	}
	if _, ok, err := b.UndecodableOf(b.ctx, warehouse.FormatQuarantineID(testTopic, 0, testIncarnation, 9, 0)); ok || err != nil {
		t.Errorf("a message that nobody kept: %v, %v", ok, err)
	}
}
