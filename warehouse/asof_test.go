package warehouse_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headwater-data/headwater/schemas"
	"github.com/headwater-data/headwater/warehouse"
)

// TestAFigureIsShownAsItWasKnown loads, corrects and deletes, and asks for the figures and their facts at each moment. The figures are
// those of docs/indicators.md.
func TestAFigureIsShownAsItWasKnown(t *testing.T) {
	t.Parallel()
	b := analysis(t, indicator("I", "sum"))
	at := func(text string) time.Time {
		moment, err := time.ParseInLocation(time.DateTime, text, shanghai)
		if err != nil {
			t.Fatal(err)
		}
		return moment
	}
	cell := func(region string, value float64, moment string, version uint64, deleted bool) observation {
		return observation{indicator: "I", region: region, period: day(2024, 4, 1), value: value, extracted: at(moment), version: version, deleted: deleted, index: uint32(version)}
	}
	b.load("1", cell("330203", 40, "2024-05-06 09:00:00", 1, false), cell("330102", 7, "2024-05-06 09:00:00", 1, false))
	b.load("2", cell("330205", 25, "2024-05-08 23:59:59", 2, false))
	b.load("3", cell("330203", 30, "2024-05-10 00:00:00", 3, false))
	b.load("4", cell("330102", 7, "2024-05-12 08:00:00", 4, true))
	b.load("5", cell("330205", 99, "2024-05-13 08:00:00", 1, false)) // older in its source's own order: it never was the figure
	b.sql("INSERT INTO $db.target (indicator, region, year, due, value, _version, _extracted_at) VALUES ('I', '330200', 2024, '2024-12-31', 110, 1, '2024-05-07 00:00:00'), ('I', '330200', 2024, '2024-12-31', 220, 2, '2024-05-11 00:00:00')")
	read := func(from string) string {
		return strings.Join(b.sql("SELECT region, value, children_reporting, target FROM $db."+from+" WHERE indicator = 'I' AND level IN ('city', 'province') ORDER BY region"), "; ")
	}
	const now = "330000\t55\t1\t\\N; 330200\t55\t2\t220"
	for moment, want := range map[string]string{
		"2024-05-06": "330000\t47\t2\t\\N; 330100\t7\t1\t\\N; 330200\t40\t1\t\\N",
		"2024-05-08": "330000\t72\t2\t\\N; 330100\t7\t1\t\\N; 330200\t65\t2\t110",
		"2024-05-10": "330000\t62\t2\t\\N; 330100\t7\t1\t\\N; 330200\t55\t2\t110",
		"2024-05-11": "330000\t62\t2\t\\N; 330100\t7\t1\t\\N; 330200\t55\t2\t220",
		"2024-05-12": now,
		"2100-01-01": now,
	} {
		if got := read("indicator_rollup_as_of(day = '" + moment + "')"); got != want {
			t.Errorf("as known on %s: %s, want %s", moment, got, want)
		}
	}
	if got := read("indicator_rollup"); got != now {
		t.Errorf("now: %s", got)
	}
	// As a client gives the day.
	rows, err := b.Query(b.ctx, "SELECT region, value FROM indicator_rollup_as_of(day = {d:Date}) WHERE indicator = 'I' AND region = '330200'", map[string]string{"d": "2024-05-09"})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for row, err := range rows.All() {
		if n++; err != nil || row[1].Text() != "65" {
			t.Errorf("with a parameter: %v, %v", row, err)
		}
	}
	if err := rows.Close(); err != nil || n != 1 {
		t.Errorf("%d rows, %v", n, err)
	}
	figures, err := b.Rollup(b.ctx, warehouse.RollupQuery{Indicator: "I", Within: "330200", AsOf: day(2024, 5, 9)})
	if err != nil || len(figures) != 3 || *figures[0].Value != 65 {
		t.Errorf("%v, %v", figures, err)
	}
	for moment, want := range map[string][]float64{"2024-05-06": {40}, "2024-05-09": {40, 25}, "2024-05-13": {30, 25}} {
		facts, err := b.Trace(b.ctx, warehouse.TraceQuery{Indicator: "I", Region: "330200", Period: day(2024, 4, 1), AsOf: onDay(moment)})
		var got []float64
		for _, f := range facts {
			got = append(got, f.Value)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("facts as known on %s: %v, want %v, %v", moment, got, want, err)
		}
	}
	// Another database than the session's own.
	if got := b.server.Exec(t, "SELECT count() FROM "+b.Database()+".indicator_rollup_as_of(day = '2024-05-08') WHERE region = '330200'"); got != "1\n" {
		t.Errorf("%q rows", got)
	}
}

// TestFiguresAsKnownAgreeWithAPlainComputation asks on several days for figures of random regions whose observations were corrected,
// taken back and brought again, some in another order than that of their source.
func TestFiguresAsKnownAgreeWithAPlainComputation(t *testing.T) {
	t.Parallel()
	random := seedOf(t)
	w := randomWorld(random)
	b := migrated(t)
	regions, problems := schemas.ImportRegions(strings.NewReader(w.csv.String()), "regions.csv")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var indicators []schemas.Indicator
	for _, how := range []string{"sum", "ratio", "mean", "max", "distinct", "last", "none"} {
		indicators = append(indicators, indicator(how, how))
	}
	if err := b.Sync(b.ctx, schemas.Standard().WithRegions(regions), indicators); err != nil {
		t.Fatal(err)
	}
	type cell struct{ indicator, region, member, subject, feed string }
	versions := map[cell][]observation{}
	var rows []observation
	first := time.Date(2023, 3, 1, 0, 0, 0, 0, shanghai)
	for _, i := range indicators {
		for range 150 {
			c := cell{indicator: i.Code, region: w.codes[random.IntN(len(w.codes))], feed: []string{"manual", "direct"}[random.IntN(2)]}
			if random.IntN(4) == 0 {
				c.member = "m"
			}
			if i.Aggregation == "distinct" || random.IntN(4) == 0 {
				c.subject = fmt.Sprint("s", random.IntN(3))
			}
			o := observation{indicator: i.Code, region: c.region, member: c.member, subject: c.subject, feed: c.feed, period: day(2022, 6, 1), value: float64(random.IntN(100)),
				version: uint64(1 + random.IntN(1_000_000_000)), deleted: random.IntN(5) == 0, index: uint32(len(rows)),
				extracted: first.Add(time.Duration(random.IntN(10*24*3600))*time.Second + time.Duration(len(rows))*time.Microsecond)}
			if i.Aggregation == "ratio" {
				o.numerator, o.denominator = float64(random.IntN(50)), float64(1+random.IntN(50))
				o.value = o.numerator / o.denominator
			}
			rows, versions[c] = append(rows, o), append(versions[c], o)
		}
	}
	random.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	b.load("1", rows[:len(rows)/2]...)
	b.load("2", rows[len(rows)/2:]...)
	for _, n := range []int{1, 4, 8, 10} {
		moment := first.AddDate(0, 0, n)
		current := map[string][]observation{}
		for c, all := range versions {
			var known []observation
			for _, o := range all {
				if o.extracted.Before(moment.AddDate(0, 0, 1)) {
					known = append(known, o)
				}
			}
			if len(known) == 0 {
				continue
			}
			if newest := slices.MaxFunc(known, func(a, b observation) int { return int(int64(a.version) - int64(b.version)) }); !newest.deleted {
				current[c.indicator] = append(current[c.indicator], newest)
			}
		}
		want := map[string][]float64{}
		for _, i := range indicators {
			for region, f := range w.plain(i.Aggregation, current[i.Code], onDay("2022-06-01"), onDay("2022-06-30")) {
				want[i.Code+" "+region] = []float64{f.value, f.numerator, f.denominator, f.reported, float64(f.figures), float64(f.reporting)}
			}
		}
		text := moment.Format(time.DateOnly)
		compareNumbers(t, "as known on "+text, b.sql("SELECT indicator, region, value, numerator, denominator, reported, figures, children_reporting FROM $db.indicator_rollup_as_of(day = '"+text+"')"), 2, want)
		if n == 10 {
			compareNumbers(t, "now", b.sql("SELECT indicator, region, value, numerator, denominator, reported, figures, children_reporting FROM $db.indicator_rollup"), 2, want)
		}
		if n == 8 { // and the facts make the figures
			if got := b.sql("SELECT countIf(f.facts != u.figures OR abs(f.total - u.value) > 1e-9), count() FROM $db.indicator_rollup_as_of(day = '" + text + "') AS u INNER JOIN (SELECT indicator, region, sum(value) AS total, count() AS facts FROM $db.lineage_as_of(day = '" +
				text + "') WHERE counted = 1 GROUP BY indicator, region) AS f ON f.indicator = u.indicator AND f.region = u.region WHERE u.indicator = 'sum'"); !strings.HasPrefix(got[0], "0\t") || got[0] == "0\t0" {
				t.Errorf("figures that their facts do not make, of so many: %v", got)
			}
		}
	}
}
