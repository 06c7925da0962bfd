package warehouse_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/headwater-data/headwater/schemas"
	"github.com/headwater-data/headwater/warehouse"
)

func flush(from, to int64) warehouse.Range {
	return warehouse.Range{Topic: testTopic, Partition: 0, Incarnation: testIncarnation, From: from, To: to}
}

func TestLandedSeesWhatIsThereAndWhatIsNot(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	b.sql("SYSTEM STOP MERGES $db.observation")
	since := time.Now()
	b.load("t1", many(10, 5)...)
	b.load("t2", many(3, 6)...)
	full := warehouse.Expected{5: {Rows: 10, IndexSum: 45}, 6: {Rows: 3, IndexSum: 3}}
	for name, c := range map[string]struct {
		r     warehouse.Range
		since time.Time
		want  warehouse.Expected
		there bool
	}{
		"all of it":                       {flush(5, 7), since, full, true},
		"nothing is wanted":               {flush(5, 7), since, nil, true},
		"one message of two":              {flush(5, 6), since, warehouse.Expected{5: {Rows: 10, IndexSum: 45}}, true},
		"a row too few":                   {flush(5, 7), since, warehouse.Expected{5: {Rows: 11, IndexSum: 55}}, false},
		"another row than the one wanted": {flush(5, 7), since, warehouse.Expected{5: {Rows: 10, IndexSum: 46}}, false},
		"a message that is not there":     {flush(5, 9), since, warehouse.Expected{8: {Rows: 1}}, false},
		"parts that are too old":          {flush(5, 7), since.Add(time.Hour), full, false},
		"another life of the log":         {warehouse.Range{Topic: testTopic, Incarnation: "x", From: 5, To: 7}, since, full, false},
	} {
		there, err := b.Landed(b.ctx, "observation", c.r, c.since, c.want)
		if err != nil || there != c.there {
			t.Errorf("%s: got %t, %v, want %t", name, there, err, c.there)
		}
	}
}

func TestLandedSeesRowsThatStandTwice(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	b.sql("SYSTEM STOP MERGES $db.observation")
	b.load("t1", many(10, 5)...)
	b.load("t2", many(10, 5)...)
	there, err := b.Landed(b.ctx, "observation", flush(5, 6), time.Now(), warehouse.Expected{5: {Rows: 10, IndexSum: 45}})
	if err != nil || there {
		t.Errorf("got %t, %v, want false: Missing decides", there, err)
	}
}

// hotline is a schema without history: newer rows replace older ones.
func hotline(b *bench, keys []string, versions []uint64, offset int64) arrow.Record {
	b.t.Helper()
	schema, _ := schemas.Standard().Schema("hotline_case")
	fields := schema.Arrow().Fields()
	for _, f := range schemas.Lineage() {
		fields = append(fields, arrow.Field{Name: f.Name, Type: f.Type.Arrow()})
	}
	builder := array.NewRecordBuilder(b.mem, arrow.NewSchema(fields, nil))
	defer builder.Release()
	for i, key := range keys {
		for j, f := range fields {
			switch f.Name {
			case "case_id":
				appendAny(b.t, builder.Field(j), key)
			case "_version":
				appendAny(b.t, builder.Field(j), versions[i])
			case "_offset":
				appendAny(b.t, builder.Field(j), offset)
			case "_index":
				appendAny(b.t, builder.Field(j), uint32(i))
			case "_topic":
				appendAny(b.t, builder.Field(j), testTopic)
			case "_incarnation":
				appendAny(b.t, builder.Field(j), testIncarnation)
			case "_extracted_at":
				appendAny(b.t, builder.Field(j), time.UnixMicro(int64(versions[i])))
			case "_source":
				appendAny(b.t, builder.Field(j), "hot")
			case "_stream":
				appendAny(b.t, builder.Field(j), "st")
			default:
				if dictionary, ok := builder.Field(j).(*array.BinaryDictionaryBuilder); ok && !f.Nullable {
					appendAny(b.t, dictionary, "")
				} else if f.Nullable {
					builder.Field(j).AppendNull()
				} else {
					builder.Field(j).AppendEmptyValue()
				}
			}
		}
	}
	record := builder.NewRecord()
	b.t.Cleanup(record.Release)
	return record
}

func TestMissingFindsRowsThatNeverCameAndPassesOverSupersededOnes(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	schema, _ := schemas.Standard().Schema("hotline_case")
	there := hotline(b, []string{"same", "newer", "older"}, []uint64{10, 20, 5}, 1)
	if err := b.Insert(b.ctx, warehouse.Insert{Table: "hotline_case", Token: "t", Records: []arrow.Record{there}, Rows: 3}); err != nil {
		t.Fatal(err)
	}
	b.sql("OPTIMIZE TABLE $db.hotline_case FINAL")
	asked := []arrow.Record{
		hotline(b, []string{"same", "never"}, []uint64{10, 10}, 2),
		hotline(b, nil, nil, 3),
		hotline(b, []string{"newer", "older", "never too"}, []uint64{10, 10, 10}, 4),
	}
	got, err := b.Missing(b.ctx, schema, flush(2, 5), asked)
	if err != nil {
		t.Fatal(err)
	}
	want := [][]uint32{{1}, nil, {1, 2}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("missing rows: got %v, want %v", got, want)
	}
	if left := b.sql("SELECT name FROM system.tables WHERE database = '$db' AND startsWith(name, '_scratch_')"); len(left) != 0 {
		t.Errorf("scratch tables are left: %v", left)
	}
}

// TestMissingTellsAnEarlierTombstoneFromALaterOne: content 2 quarantines a row and tombstones what content 1 had of it, with its own
// version; the replay of the quarantined row has that version too, and its loader asks when it was killed half-way.
func TestMissingTellsAnEarlierTombstoneFromALaterOne(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	row := observation{indicator: "I", region: "330000", period: day(2021, 3, 1), version: 20, offset: 5, index: 2}
	tombstone := func(subject string, offset int64, index uint32) observation {
		o := row
		o.subject, o.offset, o.index, o.deleted = subject, offset, index, true
		return o
	}
	of := func(subject string) observation { o := row; o.subject = subject; return o }
	b.load("t", tombstone("earlier message", 4, 9), tombstone("earlier in the message", 5, 1), tombstone("later in the message", 5, 3), tombstone("later message", 6, 0), of("itself"))
	asked := []observation{of("earlier message"), of("earlier in the message"), of("later in the message"), of("later message"), of("itself"), of("never"), tombstone("itself", 7, 0), tombstone("earlier message", 4, 9)}
	got, err := b.Missing(b.ctx, observationSchema(t), flush(5, 6), []arrow.Record{b.records(asked...)})
	if err != nil {
		t.Fatal(err)
	}
	if want := "[[0 1 5]]"; fmt.Sprint(got) != want {
		t.Errorf("missing rows: got %v, want %s", got, want)
	}
	// A tombstone of another life of the log came before.
	b.sql("ALTER TABLE $db.observation UPDATE _incarnation = 'old' WHERE subject = 'later message' SETTINGS mutations_sync = 1")
	if got, err = b.Missing(b.ctx, observationSchema(t), flush(5, 6), []arrow.Record{b.records(of("later message"))}); err != nil || fmt.Sprint(got) != "[[0]]" {
		t.Errorf("missing rows behind a tombstone of another log: %v, %v", got, err)
	}
}

func TestMissingKnowsThatHistoryKeepsEveryVersion(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	row := observation{indicator: "I", region: "330000", period: day(2021, 3, 1), version: 20}
	b.load("t", row)
	older, newer := row, row
	older.version, newer.version = 10, 30
	got, err := b.Missing(b.ctx, observationSchema(t), flush(0, 1), []arrow.Record{b.records(row, older, newer)})
	if err != nil {
		t.Fatal(err)
	}
	if want := "[[1 2]]"; fmt.Sprint(got) != want {
		t.Errorf("missing rows: got %v, want %s: an earlier version is a row of its own", got, want)
	}
}

func TestMissingAgreesWithAPlainLook(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	rows := many(5000, 1)
	var there []observation
	want := [][]uint32{nil, nil}
	for i, r := range rows {
		if i%3 != 0 {
			there = append(there, r)
		} else {
			want[i/2500] = append(want[i/2500], uint32(i%2500))
		}
	}
	b.load("t", there...)
	got, err := b.Missing(b.ctx, observationSchema(t), flush(1, 2), []arrow.Record{b.records(rows[:2500]...), b.records(rows[2500:]...)})
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		if !slices.Equal(got[i], want[i]) {
			t.Errorf("record %d: %d rows missing, want %d", i, len(got[i]), len(want[i]))
		}
	}
}

func TestScratchTablesOfKilledProcessesAreDropped(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	b.sql("CREATE TABLE $db._scratch_old (a UInt8) ENGINE = Memory")
	if _, err := b.Migrate(b.ctx, schemas.Standard()); err != nil {
		t.Fatal(err)
	}
	if left := b.sql("SELECT count() FROM system.tables WHERE database = '$db' AND name = '_scratch_old'"); left[0] != "1" {
		t.Error("a scratch table that may be in use was dropped")
	}
	warehouse.SetScratchAge(t, b.Warehouse, -time.Hour)
	if _, err := b.Migrate(b.ctx, schemas.Standard()); err != nil {
		t.Fatal(err)
	}
	if left := b.sql("SELECT count() FROM system.tables WHERE database = '$db' AND name = '_scratch_old'"); left[0] != "0" {
		t.Error("an old scratch table is still there")
	}
}

func TestReachIsTheOffsetAfterTheNewestRow(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	b.load("t", many(2, 7)...)
	tables := []string{"hotline_case", "observation", "target"}
	for name, c := range map[string]struct {
		incarnation string
		from, want  int64
	}{
		"rows beyond":             {testIncarnation, 0, 8},
		"rows at the offset":      {testIncarnation, 7, 8},
		"nothing beyond":          {testIncarnation, 8, 0},
		"another life of the log": {"x", 0, 0},
	} {
		got, err := b.Reach(b.ctx, tables, testTopic, 0, c.incarnation, c.from)
		if err != nil || got != c.want {
			t.Errorf("%s: got %d, %v, want %d", name, got, err, c.want)
		}
	}
}

// goneKeys collects the subjects that Gone lists.
func goneKeys(t *testing.T, b *bench, schema *schemas.Schema, q warehouse.GoneQuery, column string) []string {
	t.Helper()
	var keys []string
	for record, err := range b.Gone(b.ctx, schema, q) {
		if err != nil {
			t.Fatal(err)
		}
		if !record.Schema().Equal(schema.Arrow()) {
			t.Fatalf("columns: got %v, want %v", record.Schema(), schema.Arrow())
		}
		c := record.Column(schema.FieldIndex(column)).(*array.String)
		for i := range c.Len() {
			keys = append(keys, c.Value(i))
		}
	}
	return keys
}

func TestGoneListsWhatNewContentNoLongerHas(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	schema := observationSchema(t)
	at := func(hour int) time.Time { return time.Date(2022, 1, 1, hour, 0, 0, 0, time.UTC) }
	row := func(subject string, hour int, offset int64) observation {
		return observation{indicator: "I", region: "330100", subject: subject, period: day(2021, 1, 1), extracted: at(hour), offset: offset, shard: "a.csv"}
	}
	other := func(r observation) observation { r.shard = "b.csv"; return r }
	gone := func(r observation) observation { r.deleted = true; return r }
	b.load("1", row("stays", 1, 1), row("goes", 1, 1), row("went", 1, 1), row("taken over", 1, 1), row("also goes", 1, 1))
	b.load("2", gone(row("went", 2, 2)), other(row("taken over", 2, 2)), other(row("never ours", 1, 2)))
	b.load("3", row("stays", 3, 3), row("is new", 3, 3))
	q := warehouse.GoneQuery{Source: "s", Stream: "st", Shard: "a.csv", Before: at(3), Range: flush(3, 4), Offset: 3}
	want := []string{"also goes", "goes"}
	if got := goneKeys(t, b, schema, q, "subject"); !slices.Equal(got, want) {
		t.Fatalf("gone: got %q, want %q", got, want)
	}
	// The tombstones are written, and the flush is repeated: it must find the same.
	b.load("tombstones", gone(row("also goes", 3, 3)), gone(row("goes", 3, 3)))
	if got := goneKeys(t, b, schema, q, "subject"); !slices.Equal(got, want) {
		t.Errorf("gone on a replay: got %q, want %q", got, want)
	}
	// A later content finds nothing more to remove.
	later := warehouse.GoneQuery{Source: "s", Stream: "st", Shard: "a.csv", Before: at(3), Range: flush(9, 10), Offset: 9}
	if got := goneKeys(t, b, schema, later, "subject"); len(got) != 0 {
		t.Errorf("gone for a later message: got %q, want none", got)
	}
}

func TestGoneFindsTheSameAfterMergesRemovedTheRows(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	schema, _ := schemas.Standard().Schema("hotline_case")
	insert := func(token string, r arrow.Record) {
		t.Helper()
		if err := b.Insert(b.ctx, warehouse.Insert{Table: "hotline_case", Token: token, Records: []arrow.Record{r}, Rows: int(r.NumRows())}); err != nil {
			t.Fatal(err)
		}
	}
	insert("1", hotline(b, []string{"a", "b", "c"}, []uint64{10, 10, 10}, 1))
	insert("2", hotline(b, []string{"b"}, []uint64{20}, 2))
	q := warehouse.GoneQuery{Source: "hot", Stream: "st", Before: time.UnixMicro(20), Range: flush(2, 3), Offset: 2}
	want := []string{"a", "c"}
	if got := goneKeys(t, b, schema, q, "case_id"); !slices.Equal(got, want) {
		t.Fatalf("gone: got %q, want %q", got, want)
	}
	b.sql("INSERT INTO $db.hotline_case SELECT * REPLACE (20 AS _version, 1 AS _deleted, 2 AS _offset, fromUnixTimestamp64Micro(20) AS _extracted_at) FROM $db.hotline_case WHERE case_id IN ('a', 'c')")
	b.sql("OPTIMIZE TABLE $db.hotline_case FINAL")
	if got := b.sql("SELECT count() FROM $db.hotline_case WHERE _version = 10"); got[0] != "0" {
		t.Fatalf("rows that merges should have removed: %s", got[0])
	}
	if got := goneKeys(t, b, schema, q, "case_id"); !slices.Equal(got, want) {
		t.Errorf("gone after merges: got %q, want %q", got, want)
	}
}

func TestGoneComesInOrderAndInPieces(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	const n = 70_000
	rows := many(n, 1)
	b.load("1", rows...)
	q := warehouse.GoneQuery{Source: "s", Stream: "st", Before: time.Date(2022, 1, 2, 0, 0, 0, 0, time.UTC), Range: flush(2, 3), Offset: 2}
	seen, last, pieces := 0, "", 0
	for record, err := range b.Gone(b.ctx, observationSchema(t), q) {
		if err != nil {
			t.Fatal(err)
		}
		pieces++
		if record.NumRows() > 64<<10 {
			t.Errorf("a record has %d rows, at most 65536 are allowed", record.NumRows())
		}
		regions := record.Column(1).(*array.Dictionary)
		for i := range regions.Len() {
			region := regions.ValueStr(i)
			if region < last {
				t.Fatalf("region %s follows %s", region, last)
			}
			last = region
		}
		seen += int(record.NumRows())
	}
	if seen != n || pieces < 2 {
		t.Errorf("got %d rows in %d pieces, want %d in at least 2", seen, pieces, n)
	}
	// Whoever stops early leaves nothing running.
	for _, err := range b.Gone(b.ctx, observationSchema(t), q) {
		if err != nil {
			t.Error(err)
		}
		break
	}
}

func TestGoneReportsAnErrorOnce(t *testing.T) {
	t.Parallel()
	b := open(t)
	n := 0
	for record, err := range b.Gone(b.ctx, observationSchema(t), warehouse.GoneQuery{}) {
		n++
		if record != nil || !errors.Is(err, warehouse.ErrMissingDatabase) {
			t.Errorf("got %v, %v, want no record and ErrMissingDatabase", record, err)
		}
	}
	if n != 1 {
		t.Errorf("%d steps, want 1", n)
	}
}
