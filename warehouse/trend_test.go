package warehouse_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/headwater-data/headwater/schemas"
)

// over is an indicator with another aggregation over time and, with down, one of which less is better.
func over(code, regions, time, direction string) schemas.Indicator {
	i := indicator(code, regions)
	i.TimeAggregation, i.Direction = time, direction
	return i
}

// The figures are those of docs/indicators.md, worked out by hand.
func TestTrendAndRankingByHand(t *testing.T) {
	t.Parallel()
	b := analysis(t, over("S", "sum", "sum", "up"), over("D", "sum", "sum", "down"), over("R", "ratio", "ratio", "up"), over("N", "none", "none", "up"), over("M", "sum", "sum", "up"))
	s := func(code, region string, year, month int, value float64) observation {
		return observation{indicator: code, region: region, period: day(year, month, 1), value: value}
	}
	r := func(region string, month int, numerator, denominator float64) observation {
		return observation{indicator: "R", region: region, period: day(2021, month, 1), value: numerator / denominator, numerator: numerator, denominator: denominator}
	}
	b.load("1",
		s("S", "330203", 2020, 6, 40), s("S", "330203", 2021, 4, 30), s("S", "330203", 2021, 5, 50), s("S", "330203", 2021, 6, 70), s("S", "330203", 2021, 8, 90),
		s("S", "330205", 2021, 5, 20), s("S", "330205", 2021, 6, 10),
		s("D", "330203", 2021, 5, 5), s("D", "330205", 2021, 5, 5), s("D", "330203", 2021, 6, 5), s("D", "330205", 2021, 6, 3),
		r("330203", 5, 8, 10), r("330205", 5, 10, 30), r("330203", 6, 9, 10), r("330205", 6, 20, 40),
		s("N", "330203", 2021, 5, 80), s("N", "330203", 2021, 6, 90),
		s("M", "330203", 2021, 5, 1e10+1), s("M", "330205", 2021, 5, 1e10-1))
	check := func(what, query string, want ...string) {
		t.Helper()
		if got := b.sql(query); !slices.Equal(got, want) {
			t.Errorf("%s: got\n%q\nwant\n%q", what, got, want)
		}
	}
	trend := func(code string) string {
		return "SELECT region, toYYYYMM(period), value, coverage, cumulative, periods, periods_due, previous, change, change_rate, year_ago, year_change, year_change_rate, moving_average " +
			"FROM $db.indicator_trend WHERE indicator = '" + code + "' AND region IN ('330200', '330203', '330205') AND period >= '2021-06-01' ORDER BY region, period"
	}
	const null = "\\N"
	row := func(cells ...any) string {
		line := fmt.Sprint(cells[0])
		for _, c := range cells[1:] {
			line += "\t" + fmt.Sprint(c)
		}
		return line
	}
	check("a flow", trend("S"),
		row(330200, 202106, 80, 0.2, 180, 3, 6, 70, 10, 10.0/70, 40, 40, 1, 60),
		row(330200, 202108, 90, 0.1, 270, 4, 8, null, null, null, null, null, null, null),
		row(330203, 202106, 70, null, 150, 3, 6, 50, 20, 0.4, 40, 30, 0.75, 50),
		row(330203, 202108, 90, null, 240, 4, 8, null, null, null, null, null, null, null),
		row(330205, 202106, 10, null, 30, 2, 6, 20, -10, -0.5, null, null, null, null))
	check("a ratio", "SELECT region, round(value, 9), round(cumulative, 9), round(change, 9) FROM $db.indicator_trend WHERE indicator = 'R' AND region = '330200' AND period = '2021-06-01'",
		row(330200, 0.58, 0.522222222, 0.13)) // 29 of 50; 47 of 90; from 18 of 40
	check("a bare percentage", "SELECT region, value, cumulative, change, moving_average FROM $db.indicator_trend WHERE indicator = 'N' AND period = '2021-06-01' AND region IN ('330200', '330203') ORDER BY region",
		row(330200, null, null, null, null), row(330203, 90, null, 10, null))

	ranking := func(code string) string {
		return "SELECT region, rank, ranked, siblings, mean, round(z_score, 9), change, parent_change, contribution, contribution_share " +
			"FROM $db.indicator_ranking WHERE indicator = '" + code + "' AND parent = '330200' AND period = '2021-06-01' ORDER BY region"
	}
	check("ranks of a flow", ranking("S"),
		row(330203, 1, 2, 10, 40, 1, 20, 10, 20, 2),
		row(330205, 2, 2, 10, 40, -1, -10, 10, -10, -1))
	// A BI tool may ask under other settings.
	check("ranks under join_use_nulls", ranking("S")+" SETTINGS join_use_nulls = 1",
		row(330203, 1, 2, 10, 40, 1, 20, 10, 20, 2),
		row(330205, 2, 2, 10, 40, -1, -10, 10, -10, -1))
	check("less is better", "SELECT region, toMonth(period), rank, z_score FROM $db.indicator_ranking WHERE indicator = 'D' AND parent = '330200' ORDER BY period, region",
		row(330203, 5, 1, null), row(330205, 5, 1, null), row(330203, 6, 2, 1), row(330205, 6, 1, -1))
	// Squares of large sums of money leave nothing of their spread.
	check("large figures", "SELECT region, z_score FROM $db.indicator_ranking WHERE indicator = 'M' AND parent = '330200' ORDER BY region", row(330203, 1), row(330205, -1))
	check("parts of a ratio's change", "SELECT region, round(contribution, 9), round(parent_change, 9) FROM $db.indicator_ranking WHERE indicator = 'R' AND parent = '330200' AND period = '2021-06-01' ORDER BY region",
		row(330203, -0.02, 0.13), row(330205, 0.15, 0.13))

	// Of the year's 400 there are 180 to the end of June, when 181 of 365 days have passed.
	b.target("S", "330200", 2021, "2021-12-31", 400, "")
	check("to the target and to the time", "SELECT toMonth(period), target, distance_to_target, round(distance_to_time, 9) FROM $db.indicator_trend WHERE indicator = 'S' AND region = '330200' AND period >= '2021-05-01' ORDER BY period",
		row(5, 400, 300, math.Round((100.0/400-151.0/365)*1e9)/1e9), row(6, 400, 220, math.Round((180.0/400-181.0/365)*1e9)/1e9), row(8, 400, 130, math.Round((270.0/400-243.0/365)*1e9)/1e9))
	// A late correction of June changes June, and August not at all.
	late := s("S", "330205", 2021, 6, 40)
	late.extracted = time.Date(2022, 3, 1, 0, 0, 0, 0, time.UTC)
	b.load("2", late)
	check("after a correction", trend("S"),
		row(330200, 202106, 110, 0.2, 210, 3, 6, 70, 40, 40.0/70, 40, 70, 1.75, 70),
		row(330200, 202108, 90, 0.1, 300, 4, 8, null, null, null, null, null, null, null),
		row(330203, 202106, 70, null, 150, 3, 6, 50, 20, 0.4, 40, 30, 0.75, 50),
		row(330203, 202108, 90, null, 240, 4, 8, null, null, null, null, null, null, null),
		row(330205, 202106, 40, null, 60, 2, 6, 20, 20, 1, null, null, null, null))
}

// Each rule over time, with the figures of docs/indicators.md.
func TestEveryRuleOverTimeByHand(t *testing.T) {
	t.Parallel()
	cases := []struct {
		regions, time string
		months        [3][3]float64 // value, numerator, denominator
		want          string        // cumulative, moving_average in June
	}{
		{"sum", "sum", [3][3]float64{{30}, {50}, {70}}, "150\t50"},
		{"sum", "last", [3][3]float64{{30}, {50}, {70}}, "70\t50"},
		{"mean", "mean", [3][3]float64{{30}, {50}, {70}}, "50\t50"},
		{"max", "max", [3][3]float64{{3}, {9}, {6}}, "9\t\\N"},
		{"ratio", "ratio", [3][3]float64{{0.5, 1, 2}, {0.9, 9, 10}, {0, 0, 88}}, "0.1\t0.1"},
		{"ratio", "last", [3][3]float64{{0.1, 1, 10}, {0.3, 3, 10}, {0.6, 6, 10}}, "0.6\t0.333333333"},
		{"distinct", "distinct", [3][3]float64{{2}, {3}, {3}}, "\\N\t\\N"},
		{"none", "none", [3][3]float64{{80}, {90}, {86}}, "\\N\t\\N"},
	}
	var indicators []schemas.Indicator
	var rows []observation
	for _, c := range cases {
		code := c.regions + "-" + c.time
		indicators = append(indicators, over(code, c.regions, c.time, "up"))
		for i, m := range c.months {
			rows = append(rows, observation{indicator: code, region: "330203", period: day(2021, 4+i, 1), value: m[0], numerator: m[1], denominator: m[2]})
		}
	}
	b := analysis(t, indicators...)
	b.load("t", rows...)
	for _, c := range cases {
		got := b.sql("SELECT round(cumulative, 9), round(moving_average, 9) FROM $db.indicator_trend WHERE indicator = '" + c.regions + "-" + c.time + "' AND region = '330203' AND period = '2021-06-01'")
		if !slices.Equal(got, []string{c.want}) {
			t.Errorf("%s over regions and %s over time: got %q, want %q", c.regions, c.time, got, c.want)
		}
	}
}

// Random figures with gaps, corrections and deletions, against a plain walk over the months.
func TestTrendAndRankingAgreeWithAPlainWalk(t *testing.T) {
	t.Parallel()
	const seed = 20211126
	random := rand.New(rand.NewPCG(seed, seed))
	t.Logf("seed %d", seed)
	counties := []string{"330203", "330205", "330206", "330211"}
	b := analysis(t, over("S", "sum", "sum", "up"))
	type cell struct {
		region string
		n      int // months since January 2020
	}
	newest, versions := map[cell]observation{}, map[cell]uint64{}
	var rows []observation
	for range 250 {
		c := cell{counties[random.IntN(len(counties))], random.IntN(36)}
		versions[c]++
		o := observation{indicator: "S", region: c.region, period: day(2020, 1+c.n, 1), value: float64(1 + random.IntN(1000)), version: versions[c], deleted: random.IntN(4) == 0}
		rows, newest[c] = append(rows, o), o
	}
	random.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] }) // what is known later may be loaded first
	b.load("1", rows[:120]...)
	b.load("2", rows[120:]...)

	value := func(region string, n int) (float64, bool) {
		if region != "330200" {
			o, ok := newest[cell{region, n}]
			return o.value, ok && !o.deleted
		}
		sum, found := 0.0, false
		for _, c := range counties {
			if o, ok := newest[cell{c, n}]; ok && !o.deleted {
				sum, found = sum+o.value, true
			}
		}
		return sum, found
	}
	less := func(region string, n, m int) string {
		a, ok := value(region, n)
		b, before := value(region, m)
		if !ok || !before {
			return "-"
		}
		return fmt.Sprint(a - b)
	}
	var want, wantRanks []string
	for n := range 36 {
		for _, region := range append([]string{"330200"}, counties...) {
			v, ok := value(region, n)
			if !ok {
				continue
			}
			cumulative, periods := 0.0, 0
			for m := n - n%12; m <= n; m++ {
				if v, ok := value(region, m); ok {
					cumulative, periods = cumulative+v, periods+1
				}
			}
			want = append(want, fmt.Sprintf("%s %d %g %g %d %s %s", region, n, v, cumulative, periods, less(region, n, n-1), less(region, n, n-12)))
			if region == "330200" {
				continue
			}
			rank := 1
			for _, other := range counties {
				if o, ok := value(other, n); ok && o > v {
					rank++
				}
			}
			wantRanks = append(wantRanks, fmt.Sprintf("%s %d %d %s %s", region, n, rank, less(region, n, n-1), less("330200", n, n-1)))
		}
	}
	const n = "toString((toYear(period) - 2020) * 12 + toMonth(period) - 1)"
	for what, c := range map[string]struct {
		query string
		want  []string
	}{
		"trend": {"SELECT concat(region, ' ', " + n + ", ' ', toString(value), ' ', toString(cumulative), ' ', toString(periods), ' ', ifNull(toString(change), '-'), ' ', ifNull(toString(year_change), '-')) " +
			"FROM $db.indicator_trend WHERE region LIKE '3302%'", want},
		"ranking": {"SELECT concat(region, ' ', " + n + ", ' ', toString(rank), ' ', ifNull(toString(contribution), '-'), ' ', ifNull(toString(parent_change), '-')) " +
			"FROM $db.indicator_ranking WHERE parent = '330200'", wantRanks},
	} {
		got := b.sql(c.query)
		slices.Sort(got)
		slices.Sort(c.want)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %d lines, want %d:\n%q\n%q", what, len(got), len(c.want), got, c.want)
		}
	}
	if len(want) < 80 {
		t.Errorf("only %d figures were compared", len(want))
	}
}
