package warehouse_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headwater-data/headwater/warehouse"
)

// lineageCases loads what makes facts count and not count, each an indicator of its own.
func lineageCases(b *bench) {
	at := func(indicator, region string, value float64, change func(*observation)) observation {
		o := observation{indicator: indicator, region: region, period: day(2021, 6, 1), value: value}
		if change != nil {
			change(&o)
		}
		return o
	}
	by := func(feed string) func(*observation) { return func(o *observation) { o.feed = feed } }
	part := func(member, subject string) func(*observation) {
		return func(o *observation) { o.member, o.subject = member, subject }
	}
	rows := []observation{
		at("below", "330102", 1, nil), at("below", "330113", 2, nil), at("below", "330100", 100, nil), at("below", "330200", 10, nil), at("below", "330000", 1000, nil),
		at("feeds", "330102", 1, by("manual")), at("feeds", "330102", 2, by("direct")), at("feeds", "330102", 4, by("source")), at("feeds", "330203", 8, by("manual")),
		at("parts", "330102", 50, nil), at("parts", "330102", 1, part("", "a")), at("parts", "330102", 2, part("", "b")),
		at("parts", "330102", 60, part("园区", "")), at("parts", "330102", 4, part("园区", "c")), at("parts", "330000", 7, part("境外输入", "")), at("parts", "330113", 9, part("其中:园区", "")),
		at("unknown", "999999", 3, nil),
		at("gone", "330102", 3, func(o *observation) { o.version = 30 }), at("gone", "330102", 0, func(o *observation) { o.version, o.deleted = 40, true }), at("gone", "330113", 1, nil),
	}
	for i := range rows {
		rows[i].offset, rows[i].index = 7, uint32(i)
	}
	b.load("t", rows...)
}

// What lineage counts is what the rollup counts: as many facts, and for sums the same total, at every region.
func TestLineageAddsUpToTheRollup(t *testing.T) {
	t.Parallel()
	b := analysis(t, indicator("below", "sum"), indicator("feeds", "sum"), indicator("parts", "sum"), indicator("unknown", "sum"), indicator("gone", "sum"))
	lineageCases(b)
	rollup := b.sql("SELECT indicator, region, grain, period, figures, value FROM $db.indicator_rollup ORDER BY ALL FORMAT TSVRaw")
	traced := b.sql("SELECT indicator, region, grain, period, countIf(counted = 1), sumIf(value, counted = 1) FROM $db.lineage GROUP BY ALL HAVING countIf(counted = 1) > 0 ORDER BY ALL FORMAT TSVRaw")
	if len(rollup) < 15 || !slices.Equal(rollup, traced) {
		t.Errorf("rollup\n%s\nlineage\n%s", strings.Join(rollup, "\n"), strings.Join(traced, "\n"))
	}
}

func TestAFactThatDoesNotCountSaysWhy(t *testing.T) {
	t.Parallel()
	b := analysis(t, indicator("below", "sum"), indicator("feeds", "sum"), indicator("parts", "sum"), indicator("unknown", "sum"), indicator("gone", "sum"))
	lineageCases(b)
	got := b.sql("SELECT indicator, region, fact_region, value, why_not FROM $db.lineage WHERE counted = 0 ORDER BY ALL FORMAT TSVRaw")
	want := []string{
		"below\t330000\t330000\t1000\tlower level", "below\t330100\t330100\t100\tlower level",
		"feeds\t330102\t330102\t1\tnearer feed", "feeds\t330102\t330102\t2\tnearer feed",
		"parts\t330102\t330102\t50\tlower level", "parts\t330102\t330102\t60\tlower level",
		"parts\t330113\t330113\t9\theld in the region",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	facts, err := b.Trace(b.ctx, warehouse.TraceQuery{Indicator: "below", Region: "330100", Grains: []string{"month"}, Period: day(2021, 6, 1)})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range facts {
		lines = append(lines, fmt.Sprint(f.Counted, " ", f.FactRegion, " ", f.Value, " ", f.Place, " ", f.Row, " ", f.Topic, "/", f.Partition, "@", f.Offset, "#", f.Position, " ", f.Incarnation, " ", f.Run, " ", f.Mapping))
	}
	if want := []string{
		"1 330102 1 f.csv 1 " + testTopic + "/0@7#0 " + testIncarnation + " r1 m",
		"1 330113 2 f.csv 2 " + testTopic + "/0@7#1 " + testIncarnation + " r1 m",
		"0 330100 100 f.csv 3 " + testTopic + "/0@7#2 " + testIncarnation + " r1 m",
	}; !slices.Equal(lines, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
}

// A figure as it was known at every moment, and what corrected it, against a plain computation by hand; then the same rows come
// again under other tokens, as a replay brings them, and nothing changes.
func TestHistoryAndCorrectionsBearReplays(t *testing.T) {
	t.Parallel()
	b := analysis(t, indicator("I", "sum"))
	known := func(d int) time.Time { return time.Date(2022, 1, d, 0, 0, 0, 0, time.UTC) }
	row := func(region string, d int, version uint64, value float64, deleted bool) observation {
		return observation{indicator: "I", region: region, period: day(2021, 6, 1), value: value, version: version, deleted: deleted, extracted: known(d), offset: int64(d)}
	}
	rows := []observation{
		// changed, read again unchanged, gone, there again
		row("330102", 1, 10, 5, false), row("330102", 2, 20, 6, false), row("330102", 3, 30, 6, false), row("330102", 4, 40, 0, true), row("330102", 5, 50, 7, false),
		// an older version that comes late was never the one known
		row("330113", 1, 10, 1, false), row("330113", 2, 30, 3, false), row("330113", 3, 20, 2, false),
		// never changed
		row("330203", 2, 10, 9, false),
	}
	b.load("t", rows...)
	want := map[int]string{0: "", 1: "330102=5 330113=1", 2: "330102=6 330113=3 330203=9", 3: "330102=6 330113=3 330203=9", 4: "330113=3 330203=9", 5: "330102=7 330113=3 330203=9"}
	corrections := []string{
		"330102\t2022-01-02\tchanged\t5\t6", "330102\t2022-01-04\tdeleted\t6\t\\N", "330102\t2022-01-05\trestored\t\\N\t7", "330113\t2022-01-02\tchanged\t1\t3",
	}
	look := func(when string) {
		t.Helper()
		for d, line := range want {
			got := b.sql(fmt.Sprintf("SELECT arrayStringConcat(arraySort(groupArray(concat(region, '=', toString(value)))), ' ') FROM $db.observation_history WHERE deleted = 0 AND known_from <= toDateTime64('%[1]s', 6, 'UTC') AND known_until > toDateTime64('%[1]s', 6, 'UTC') FORMAT TSVRaw",
				known(1).AddDate(0, 0, d-1).Add(time.Hour).Format(time.DateTime)))
			if strings.Join(got, "") != line {
				t.Errorf("%s: as of day %d: %q, want %q", when, d, got, line)
			}
		}
		if got := b.sql("SELECT region, toDate(corrected_at, 'UTC'), kind, old_value, new_value FROM $db.correction ORDER BY region, corrected_at FORMAT TSV"); !slices.Equal(got, corrections) {
			t.Errorf("%s: corrections\n%s\nwant\n%s", when, strings.Join(got, "\n"), strings.Join(corrections, "\n"))
		}
		// The newest of the history is what observation_current says.
		newest := b.sql("SELECT region, value FROM $db.observation_history WHERE deleted = 0 AND known_until = toDateTime64('2299-12-31 00:00:00', 6, 'UTC') ORDER BY ALL FORMAT TSVRaw")
		if current := b.sql("SELECT region, value FROM $db.observation_current ORDER BY ALL FORMAT TSVRaw"); !slices.Equal(newest, current) {
			t.Errorf("%s: newest %v, current %v", when, newest, current)
		}
	}
	look("loaded")
	b.load("again", rows...)
	look("replayed")
	slices.Reverse(rows)
	b.load("backwards", rows[:5]...)
	look("replayed backwards")
	b.sql("OPTIMIZE TABLE $db.observation FINAL")
	look("merged")
}
