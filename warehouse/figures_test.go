package warehouse_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headwater-data/headwater/schemas"
	"github.com/headwater-data/headwater/warehouse"
)

// kept compares what is kept with what the observations say now.
func (b *bench) kept(what string) {
	b.t.Helper()
	for table, columns := range map[string]string{
		"figure":        "indicator, grain, period, region, last_day, as_of, year, aggregation, value, numerator, denominator, from_below, reported, figures, children_reporting, children, ranks, known_at, region_name, level, parent",
		"figure_report": "indicator, grain, period, region, feed, last_day, value, source, direct_below",
	} {
		read := func(from string) []string {
			return b.raw("SELECT " + columns + " FROM $db." + from + " ORDER BY indicator, grain, period, region, " + columns)
		}
		live := read(map[string]string{"figure": "figure_live", "figure_report": "report_live"}[table])
		if got := read(table + " FINAL WHERE _deleted = 0"); !slices.Equal(got, live) {
			without := func(rows, others []string) string {
				return strings.Join(slices.DeleteFunc(slices.Clone(rows), func(r string) bool { return slices.Contains(others, r) }), "\n")
			}
			b.t.Errorf("%s: %s keeps wrongly\n%s\nand lacks\n%s", what, table, without(got, live), without(live, got))
		}
	}
}

func TestKeptFiguresAreWhatTheObservationsSay(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	definitions := []schemas.Indicator{indicator("I", "sum"), indicator("J", "ratio"), indicator("K", "max")}
	b := analysis(t, definitions...)
	places := []string{"330000", "330200", "330203", "330205", "330100", "330106"}
	turn := uint64(0)
	load := func(n int) {
		turn++
		rows := map[string]observation{} // one of a key in a flush
		for range n {
			o := observation{
				indicator: []string{"I", "J", "K"}[random.IntN(3)], region: places[random.IntN(len(places))], grain: []string{"month", "year"}[random.IntN(2)],
				period: day(2020+random.IntN(3), 1, 1), feed: []string{"manual", "direct"}[random.IntN(2)], value: float64(random.IntN(100)),
				deleted: random.IntN(3) == 0, version: 1_700_000_000_000_000 + turn,
			}
			if o.grain == "month" {
				o.period = o.period.AddDate(0, random.IntN(12), 0)
			}
			if o.indicator == "J" {
				o.numerator, o.denominator = o.value, 100
			}
			rows[fmt.Sprint(o.indicator, o.region, o.grain, o.period, o.feed)] = o
		}
		var list []observation
		for _, o := range rows {
			list = append(list, o)
		}
		b.load(fmt.Sprint("load ", turn), list...)
	}
	refresh := func() {
		t.Helper()
		if _, err := b.Refresh(b.ctx); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 {
		load(40)
		load(5)
		refresh()
		b.kept("after loads")
	}
	if n, err := b.Refresh(b.ctx); err != nil || n != 0 {
		t.Errorf("with nothing marked: %d periods, %v", n, err)
	}
	// A repeated insert is none; its mark is one too many, not one too few.
	marks := b.raw("SELECT count() FROM $db.figure_mark")
	again := observation{indicator: "I", region: "330203", grain: "year", period: day(2020, 1, 1), value: 7, version: 1_800_000_000_000_000}
	for range 2 {
		b.load("again", again)
	}
	if got := b.raw("SELECT count() FROM $db.figure_mark"); got[0] == marks[0] {
		t.Error("an insert left no mark")
	}
	refresh()
	b.kept("after a repeat")
	if got := b.raw("SELECT count() FROM $db.figure_mark"); got[0] != "0" {
		t.Errorf("%s marks are left", got[0])
	}
	// Definitions and regions are what figures are made of, too.
	definitions[0].Aggregation = "max"
	if err := b.Sync(b.ctx, schemas.Standard(), definitions); err != nil {
		t.Fatal(err)
	}
	refresh()
	b.kept("after another definition")
	// Everything of an indicator is gone.
	b.raw("ALTER TABLE $db.observation DELETE WHERE indicator = 'K' SETTINGS mutations_sync = 1")
	if n, err := b.RefreshAll(b.ctx); err != nil || n == 0 {
		t.Fatalf("%d periods, %v", n, err)
	}
	b.kept("after rows were taken away by hand")
	if got := b.raw("SELECT count() FROM $db.figure FINAL WHERE _deleted = 0 AND indicator = 'K'"); got[0] != "0" {
		t.Errorf("%s figures of what is gone", got[0])
	}
	// A rebuilt table is put in force: this one has nothing of the source any more.
	schema := observationSchema(t)
	for _, step := range []func() error{
		func() error { return b.MakeShadow(b.ctx, schema, "s") },
		func() error { return b.ExchangeShadow(b.ctx, schema) },
		func() error { return b.DropShadow(b.ctx, schema) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	refresh()
	b.kept("after a rebuild")
	if got := b.raw("SELECT count() FROM $db.figure FINAL WHERE _deleted = 0"); got[0] != "0" {
		t.Errorf("%s figures of an empty table", got[0])
	}
}

// Two processes put figures together while others load: the last mark that is taken off was seen by whoever took it.
func TestFiguresArePutTogetherByOneAtATime(t *testing.T) {
	t.Parallel()
	b := analysis(t, indicator("I", "sum"))
	other, err := warehouse.Open(b.ctx, b.config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := other.Close(); err != nil {
			t.Error(err)
		}
	}()
	var all sync.WaitGroup
	for _, w := range []*warehouse.Warehouse{b.Warehouse, other} {
		all.Go(func() {
			for range 4 {
				if _, err := w.Refresh(b.ctx); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 12 {
		b.load(fmt.Sprint(i), observation{indicator: "I", region: "330203", period: day(2021, 1+i%3, 1), value: float64(i), version: uint64(1_700_000_000_000_000 + i), deleted: i%4 == 3})
	}
	all.Wait()
	if _, err := other.Refresh(b.ctx); err != nil {
		t.Fatal(err)
	}
	b.kept("after all")
	if got := b.raw("SELECT holder, max(ended) AS e FROM $db.figure_turn GROUP BY holder HAVING e = 0"); len(got) > 0 {
		t.Errorf("turns that nobody gave back: %v", got)
	}
	// Whoever was killed in a turn is waited for, and counts for nothing when its time is over.
	b.raw("INSERT INTO $db.figure_turn (holder, ended) VALUES ('killed', 0)")
	b.load("late", observation{indicator: "I", region: "330203", period: day(2021, 6, 1), value: 1})
	ctx, stop := context.WithTimeout(b.ctx, 300*time.Millisecond)
	defer stop()
	if _, err := b.Refresh(ctx); err == nil {
		t.Error("a turn was taken that another has")
	}
	// But for an earlier process of the same instance.
	b.raw("INSERT INTO $db.figure_turn (holder, ended) VALUES ('I/before', 0)")
	b.raw("ALTER TABLE $db.figure_turn DELETE WHERE holder = 'killed' SETTINGS mutations_sync = 1")
	ctx, stop = context.WithTimeout(b.ctx, 300*time.Millisecond)
	defer stop()
	if _, err := b.Refresh(ctx); err == nil {
		t.Error("a turn was taken that another instance has")
	}
	b.SetInstance("I")
	if n, err := b.Refresh(b.ctx); err != nil || n != 1 {
		t.Errorf("after an earlier process of the instance: %d periods, %v", n, err)
	}
	b.SetInstance("")
	b.load("later", observation{indicator: "I", region: "330203", period: day(2021, 7, 1), value: 1})
	b.raw("TRUNCATE TABLE $db.figure_turn")
	b.raw("INSERT INTO $db.figure_turn (holder, at, ended) SELECT 'killed', now64(3, 'UTC') - INTERVAL 4 MINUTE, 0")
	if n, err := b.Refresh(b.ctx); err != nil || n != 1 {
		t.Errorf("after a turn that has lapsed: %d periods, %v", n, err)
	}
	b.kept("after a turn that has lapsed")
}
