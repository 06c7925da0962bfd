package warehouse_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"

	"github.com/headwater-data/headwater/internal/embedded/clickhouse/clickhousetest"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/secret"
	"github.com/headwater-data/headwater/warehouse"
)

func many(n int, offset int64) []observation {
	rows := make([]observation, n)
	for i := range rows {
		rows[i] = observation{indicator: "I", region: fmt.Sprintf("%06d", 330000+i%997), subject: fmt.Sprint(i), period: day(2021, 1+i%12, 1), value: float64(i), offset: offset, index: uint32(i)}
	}
	return rows
}

func TestOneInsertIsOneBlock(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	b.sql("SYSTEM STOP MERGES $db.observation")
	records := []arrow.Record{b.records(many(3000, 1)...), b.records(many(70_000, 2)...), b.records(many(1, 3)...)}
	if err := b.Insert(b.ctx, warehouse.Insert{Table: "observation", Token: "t", Records: records, Rows: 73_001}); err != nil {
		t.Fatal(err)
	}
	if got := b.sql("SELECT count(), sum(rows) FROM system.parts WHERE database = '$db' AND table = 'observation' AND active"); got[0] != "1\t73001" {
		t.Errorf("parts and rows: got %q, want one part of 73001 rows", got)
	}
}

func TestAnInsertThatSpansYearsIsOnePartAYear(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	b.sql("SYSTEM STOP MERGES $db.observation")
	rows := many(100, 1)
	for i := range rows {
		rows[i].period = day(2019+i%3, 1, 1)
	}
	b.load("t", rows...)
	b.load("t", rows...) // each part is dropped for itself
	if got := b.sql("SELECT count(), sum(rows) FROM system.parts WHERE database = '$db' AND table = 'observation' AND active"); got[0] != "3\t100" {
		t.Errorf("parts and rows: got %q, want 3 parts of 100 rows", got)
	}
}

func TestATokenIsTakenOnce(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	b.sql("SYSTEM STOP MERGES $db.observation")
	for _, token := range []string{"a", "a", "b"} {
		b.load(token, many(10, 1)...)
	}
	if got := b.sql("SELECT count() FROM $db.observation"); got[0] != "20" {
		t.Errorf("rows after tokens a, a, b: got %s, want 20", got[0])
	}
}

func TestRowsOfOneKeyDoNotCollapseInsideAnInsert(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	b.sql("SYSTEM STOP MERGES $db.observation")
	rows := many(1, 1)
	b.load("t", rows[0], rows[0])
	if got := b.sql("SELECT count() FROM $db.observation"); got[0] != "2" {
		t.Errorf("rows: got %s, want 2: optimize_on_insert must be off, or Landed misses rows", got[0])
	}
}

func TestRecordsWithDifferentDictionariesKeepTheirValues(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	var records []arrow.Record
	want := map[string]bool{}
	for i, regions := range [][]string{{"330100", "330200"}, {"330300", "330100"}, {"330400"}} {
		var rows []observation
		for j, region := range regions {
			rows = append(rows, observation{indicator: "I", region: region, subject: fmt.Sprintf("%d-%s", i, region), period: day(2021, 1, 1), index: uint32(j), source: "s" + region})
			want[region] = true
		}
		records = append(records, b.records(rows...))
	}
	if err := b.Insert(b.ctx, warehouse.Insert{Table: "observation", Token: "t", Records: records, Rows: 5}); err != nil {
		t.Fatal(err)
	}
	if got := b.sql("SELECT countIf(endsWith(subject, region) AND _source = concat('s', region)), count() FROM $db.observation"); got[0] != "5\t5" {
		t.Errorf("rows whose region is their own, rows: got %q, want 5, 5", got)
	}
}

// Older servers read a column's dictionary once for a stream (ClickHouse issue 55490): the second record's values would come
// out as those of the first.
func TestRecordsOfOneInsertShareTheirDictionaries(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	given := []arrow.Record{
		b.records(observation{indicator: "I", region: "330100", period: day(2021, 1, 1)}),
		b.records(observation{indicator: "I", region: "330200", period: day(2021, 1, 1)}, observation{indicator: "I", region: "330100", period: day(2021, 1, 1)}),
	}
	sent, err := warehouse.EncodeStream(b.mem, given)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := ipc.NewReader(bytes.NewReader(sent), ipc.WithAllocator(b.mem))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Release()
	first := map[int]string{}
	for i := range given {
		if !reader.Next() {
			t.Fatalf("record %d was not sent: %v", i, reader.Err())
		}
		for c, column := range reader.Record().Columns() {
			got, ok := column.(*array.Dictionary)
			if !ok {
				continue
			}
			if i == 0 {
				first[c] = fmt.Sprint(got.Dictionary())
			} else if own := fmt.Sprint(got.Dictionary()); own != first[c] {
				t.Errorf("record %d, column %s: dictionary %s, that of the first is %s", i, reader.Record().ColumnName(c), own, first[c])
			}
			was := given[i].Column(c).(*array.Dictionary)
			for row := range got.Len() {
				if got.IsNull(row) != was.IsNull(row) || !got.IsNull(row) && got.ValueStr(row) != was.ValueStr(row) {
					t.Errorf("record %d, column %s, row %d: sent %s, was %s", i, reader.Record().ColumnName(c), row, got.ValueStr(row), was.ValueStr(row))
				}
			}
		}
	}
}

func TestNullsOfADictionaryStayNull(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	one, two := b.records(many(2, 1)...), b.records(many(2, 2)...)
	if err := b.Insert(b.ctx, warehouse.Insert{Table: "observation", Token: "t", Records: []arrow.Record{one, two}, Rows: 4}); err != nil {
		t.Fatal(err)
	}
	if got := b.sql("SELECT countIf(level IS NULL), countIf(numerator IS NULL) FROM $db.observation"); got[0] != "4\t4" {
		t.Errorf("null levels and numerators: got %q, want 4, 4", got)
	}
}

func TestAnInsertOfNothingDoesNothing(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	if err := b.Insert(b.ctx, warehouse.Insert{Table: "observation", Token: "t"}); err != nil {
		t.Error(err)
	}
	if err := b.Insert(b.ctx, warehouse.Insert{Table: "observation", Token: "t", Records: []arrow.Record{b.records()}}); err != nil {
		t.Error(err)
	}
}

func TestAnInsertThatCannotBeMeantIsRefused(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	record := b.records(many(2, 1)...)
	narrow := array.NewRecord(arrow.NewSchema(record.Schema().Fields()[:3], nil), record.Columns()[:3], record.NumRows())
	t.Cleanup(narrow.Release)
	for name, insert := range map[string]warehouse.Insert{
		"a count that differs": {Table: "observation", Token: "t", Records: []arrow.Record{record}, Rows: 3},
		"no token":             {Table: "observation", Records: []arrow.Record{record}, Rows: 2},
		"schemas that differ":  {Table: "observation", Token: "t", Records: []arrow.Record{record, narrow}, Rows: 4},
	} {
		if err := b.Insert(b.ctx, insert); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if got := b.sql("SELECT count() FROM $db.observation"); got[0] != "0" {
		t.Errorf("rows: got %s, want 0", got[0])
	}
}

func TestErrorsSayWhatBecomesOfTheRows(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	b.sql("CREATE TABLE $db.narrow (indicator String) ENGINE = MergeTree ORDER BY indicator")
	b.sql("CREATE TABLE $db.fine (indicator String, period DateTime64(3)) ENGINE = MergeTree ORDER BY indicator PARTITION BY toDate(period)")
	record := b.records(many(2, 1)...)
	dates := make([]observation, 120)
	for i := range dates {
		dates[i] = observation{indicator: "I", region: "330000", period: day(2021, 1, 1+i)}
	}
	wide := b.records(dates...)
	two := array.NewRecord(arrow.NewSchema([]arrow.Field{wide.Schema().Field(0), wide.Schema().Field(5)}, nil), []arrow.Array{wide.Column(0), wide.Column(5)}, 120)
	t.Cleanup(two.Release)
	for name, c := range map[string]struct {
		insert warehouse.Insert
		want   warehouse.Outcome
		kind   fault.Kind
	}{
		"a table that is not there":          {warehouse.Insert{Table: "nothing", Token: "t", Records: []arrow.Record{record}, Rows: 2}, warehouse.Structural, fault.KindEnvironment},
		"a column that is not there":         {warehouse.Insert{Table: "narrow", Token: "t", Records: []arrow.Record{record}, Rows: 2}, warehouse.Structural, fault.KindPermanent},
		"too many partitions for one insert": {warehouse.Insert{Table: "fine", Token: "t", Records: []arrow.Record{two}, Rows: 120}, warehouse.Structural, fault.KindPermanent},
	} {
		err := b.Insert(b.ctx, c.insert)
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		if got := warehouse.Classify(err); got != c.want {
			t.Errorf("%s: outcome %s, want %s: %v", name, got, c.want, err)
		}
		if got := fault.KindOf(err); got != c.kind {
			t.Errorf("%s: kind %d, want %d: %v", name, got, c.kind, err)
		}
		if strings.Contains(err.Error(), b.server.Password) {
			t.Errorf("%s: the error shows the password", name)
		}
	}
}

func TestACancelledInsertEndsAndMayBeTriedAgain(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	ctx, cancel := context.WithCancel(b.ctx)
	cancel()
	err := b.Insert(ctx, warehouse.Insert{Table: "observation", Token: "t", Records: []arrow.Record{b.records(many(2, 1)...)}, Rows: 2})
	if !errors.Is(err, context.Canceled) || warehouse.Classify(err) != warehouse.Retry {
		t.Errorf("got %v (%s), want a cancelled context that may be tried again", err, warehouse.Classify(err))
	}
}

func TestAServerThatGoesAwayIsWaitedFor(t *testing.T) {
	t.Parallel()
	process := clickhousetest.StartIn(t, t.TempDir())
	w, err := warehouse.Open(context.Background(), warehouse.Config{Addr: process.Addr, User: process.User, Password: secret.New(process.Password), Database: "d"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() }) // its server is gone
	process.Kill(t)
	err = w.Ping(context.Background())
	if !errors.Is(err, warehouse.ErrAway) || !fault.IsTransient(err) || warehouse.Classify(err) != warehouse.Retry {
		t.Errorf("ping: got %v, want a transient ErrAway", err)
	}
	_, err = warehouse.Open(context.Background(), warehouse.Config{Addr: process.Addr, User: process.User, Password: secret.New(process.Password), Database: "d"})
	if !errors.Is(err, warehouse.ErrAway) || fault.KindOf(err) != fault.KindEnvironment {
		t.Errorf("open: got %v, want an environmental ErrAway", err)
	}
}

func TestOpenChecksItsConfiguration(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]warehouse.Config{
		"no address":              {},
		"an address with no port": {Addr: "localhost"},
		"a port that is none":     {Addr: "localhost:http"},
		"a strange database":      {Addr: "localhost:1", Database: "a`b"},
	} {
		if _, err := warehouse.Open(context.Background(), config); fault.KindOf(err) != fault.KindUsage {
			t.Errorf("%s: got %v, want a usage error", name, err)
		}
	}
}

func TestAWrongPasswordIsTheOperatorsToMend(t *testing.T) {
	t.Parallel()
	server := clickhousetest.Start(t)
	_, err := warehouse.Open(context.Background(), warehouse.Config{Addr: server.Addr, User: server.User, Password: secret.New("wrong-secret")})
	if fault.KindOf(err) != fault.KindEnvironment {
		t.Errorf("got %v, want an environmental error", err)
	}
	if err != nil && strings.Contains(err.Error(), "wrong-secret") {
		t.Errorf("the error shows the password: %v", err)
	}
}
