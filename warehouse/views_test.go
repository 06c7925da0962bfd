package warehouse_test

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/headwater-data/headwater/schemas"
	"github.com/headwater-data/headwater/warehouse"
)

// analysis is a warehouse with regions and these indicators.
func analysis(t *testing.T, indicators ...schemas.Indicator) *bench {
	t.Helper()
	b := migrated(t)
	regions, problems := schemas.ImportRegions(strings.NewReader(testRegions), "regions.csv")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if err := b.Sync(b.ctx, schemas.Standard().WithRegions(regions), indicators); err != nil {
		t.Fatal(err)
	}
	return b
}

// testRegions has two cities with counties, a county directly under the province, a municipality, and the districts of Hangzhou
// that changed on 2021-04-09. Importing it adds the rest of Zhejiang.
const testRegions = `code,name,level,parent,from,to,successors
100000,中华人民共和国,nation,,,,
330000,浙江省,province,100000,,,
330100,杭州市,city,330000,,,
330102,上城区,county,330100,,,
330103,下城区,county,330100,1983,2021-04-09,330102
330113,临平区,county,330100,2021-04-09,,
330200,宁波市,city,330000,,,
330203,海曙区,county,330200,,,
330205,江北区,county,330200,,,
339001,直辖县,county,330000,,,
110000,北京市,province,100000,,,
110101,东城区,county,110000,,,
110105,朝阳区,county,110000,,,
`

func indicator(code, aggregation string) schemas.Indicator {
	return schemas.Indicator{Code: code, Title: schemas.Title{Zh: code, En: code}, Unit: "家", Direction: "up", Aggregation: aggregation, TimeAggregation: "last", Grain: "month"}
}

// figures reads the rollup of one indicator as "region=value".
func (b *bench) figures(indicator string) map[string]warehouse.Figure {
	b.t.Helper()
	rows, err := b.Rollup(b.ctx, warehouse.RollupQuery{Indicator: indicator})
	if err != nil {
		b.t.Fatal(err)
	}
	got := map[string]warehouse.Figure{}
	for _, r := range rows {
		got[r.Region] = r
	}
	return got
}

func TestRollup(t *testing.T) {
	t.Parallel()
	obs := func(region string, value float64) observation {
		return observation{indicator: "I", region: region, period: day(2021, 6, 1), value: value}
	}
	with := func(o observation, change func(*observation)) observation { change(&o); return o }
	member := func(region, name string, value float64) observation {
		return with(obs(region, value), func(o *observation) { o.member = name })
	}
	subject := func(region, name string, value float64) observation {
		return with(obs(region, value), func(o *observation) { o.subject = name })
	}
	feed := func(o observation, feed string) observation {
		o.feed = feed
		return o
	}
	ratio := func(region string, numerator, denominator float64) observation {
		return with(obs(region, numerator/denominator), func(o *observation) { o.numerator, o.denominator = numerator, denominator })
	}
	null := math.NaN() // in want: the value cannot be rolled up
	cases := map[string]struct {
		how  string
		rows []observation
		want map[string]float64
	}{
		"counties add up to city, province and nation": {"sum",
			[]observation{obs("330102", 1), obs("330113", 2), obs("330203", 4)},
			map[string]float64{"330102": 1, "330113": 2, "330203": 4, "330100": 3, "330200": 4, "330000": 7, "100000": 7}},
		"an own figure counts only while nothing below reports": {"sum",
			[]observation{obs("330102", 1), obs("330100", 100), obs("330200", 10), obs("330000", 1000)},
			map[string]float64{"330102": 1, "330100": 1, "330200": 10, "330000": 11, "100000": 11}},
		"a bare percentage stays where it was reported": {"none",
			[]observation{obs("330102", 90), obs("330113", 80), obs("330100", 86), obs("330203", 70)},
			map[string]float64{"330102": 90, "330113": 80, "330100": 86, "330203": 70, "330200": null, "330000": null, "100000": null}},
		"a county directly under the province counts there": {"sum",
			[]observation{obs("339001", 5), obs("330200", 1)},
			map[string]float64{"339001": 5, "330200": 1, "330000": 6, "100000": 6}},
		"members belong to their region beside its lower levels": {"sum",
			[]observation{obs("330102", 1), member("330000", "境外输入", 7), obs("330000", 9)},
			map[string]float64{"330102": 1, "330100": 1, "330000": 8, "100000": 8}},
		"a member alone puts the region's own figure aside": {"sum",
			[]observation{obs("330200", 50), member("330200", "开发区", 7)},
			map[string]float64{"330200": 7, "330000": 7, "100000": 7}},
		"a part that says it is held in its region's figure is not counted twice": {"sum",
			[]observation{obs("330102", 100), member("330102", "其中:园区", 30), obs("330113", 5), member("330100", "其中:新区", 20), subject("330203", "a", 1), with(subject("330203", "b", 4), func(o *observation) { o.member = "其中" })},
			map[string]float64{"330102": 100, "330113": 5, "330100": 105, "330203": 1, "330200": 1, "330000": 106, "100000": 106}},
		"nor is it in place of that figure": {"sum",
			[]observation{member("330102", "其中:园区", 30), obs("330203", 2)},
			map[string]float64{"330203": 2, "330200": 2, "330000": 2, "100000": 2}},
		"subjects are added up, and put their member's figure aside": {"sum",
			[]observation{subject("330102", "a", 1), subject("330102", "b", 2), member("330102", "园区", 50), with(subject("330102", "c", 4), func(o *observation) { o.member = "园区" })},
			map[string]float64{"330102": 7, "330100": 7, "330000": 7, "100000": 7}},
		"of several feeds the one nearest to the source counts": {"sum",
			[]observation{feed(obs("330102", 1), "manual"), feed(obs("330102", 2), "direct"), feed(obs("330102", 4), "source"), feed(obs("330203", 8), "manual")},
			map[string]float64{"330102": 4, "330203": 8, "330100": 4, "330200": 8, "330000": 12, "100000": 12}},
		"a lower level counts even when it comes by hand": {"sum",
			[]observation{feed(obs("330102", 1), "manual"), feed(obs("330100", 2), "source")},
			map[string]float64{"330102": 1, "330100": 1, "330000": 1, "100000": 1}},
		"a region that nobody knows stands for itself": {"sum",
			[]observation{obs("999999", 3)},
			map[string]float64{"999999": 3}},
		"ratios are sums of parts": {"ratio",
			[]observation{ratio("330102", 1, 2), ratio("330113", 9, 10), ratio("330203", 0, 88)},
			map[string]float64{"330102": 0.5, "330113": 0.9, "330203": 0, "330100": 10. / 12, "330200": 0, "330000": 0.1, "100000": 0.1}},
		"a ratio without its parts is not rolled up": {"ratio",
			[]observation{ratio("330102", 1, 2), obs("330113", 0.9)},
			map[string]float64{"330102": 0.5, "330113": 0.9, "330100": null, "330000": null, "100000": null}},
		"means are of stations in a city, and of cities above": {"mean",
			[]observation{subject("330100", "a", 1), subject("330102", "b", 2), subject("330102", "c", 6), obs("330200", 9), obs("339001", 30)},
			map[string]float64{"330102": 4, "330100": 3, "330200": 9, "339001": 30, "330000": 14, "100000": 14}},
		"a municipality is one city": {"mean",
			[]observation{subject("110101", "a", 1), subject("110105", "b", 2), subject("110105", "c", 6), obs("330200", 9)},
			map[string]float64{"110101": 1, "110105": 4, "110000": 3, "330200": 9, "330000": 9, "100000": 6}},
		"a mean of nothing but zeros is zero": {"mean",
			[]observation{obs("330102", 0), obs("330113", 0), obs("330200", 4)},
			map[string]float64{"330102": 0, "330113": 0, "330100": 0, "330200": 4, "330000": 2, "100000": 2}},
		"a mean that says how many values it stands for weighs as much": {"mean",
			[]observation{with(ratio("330102", 0, 3), func(o *observation) { o.value = 10 }), with(ratio("330113", 0, 1), func(o *observation) { o.value = 2 })},
			map[string]float64{"330102": 10, "330113": 2, "330100": 8, "330000": 8, "100000": 8}},
		"the largest": {"max",
			[]observation{obs("330102", -5), obs("330113", -2), obs("330203", -9)},
			map[string]float64{"330102": -5, "330113": -2, "330100": -2, "330203": -9, "330200": -9, "330000": -2, "100000": -2}},
		"different subjects are counted over the union": {"distinct",
			[]observation{subject("330102", "x", 1), subject("330113", "x", 1), subject("330113", "y", 1), subject("330203", "z", 1)},
			map[string]float64{"330102": 1, "330113": 2, "330100": 2, "330203": 1, "330200": 1, "330000": 3, "100000": 3}},
		"counts of different things cannot be added": {"distinct",
			[]observation{obs("330102", 3), obs("330113", 4)},
			map[string]float64{"330102": 3, "330113": 4, "330100": null, "330000": null, "100000": null}},
		"what became known last": {"last",
			[]observation{with(obs("330102", 3), func(o *observation) { o.extracted = day(2021, 7, 2) }), with(obs("330113", 4), func(o *observation) { o.extracted = day(2021, 7, 1) })},
			map[string]float64{"330102": 3, "330113": 4, "330100": 3, "330000": 3, "100000": 3}},
		"a newer version wins however it comes in": {"sum",
			[]observation{with(obs("330102", 3), func(o *observation) { o.version = 30 }), with(obs("330102", 2), func(o *observation) { o.version = 20 })},
			map[string]float64{"330102": 3, "330100": 3, "330000": 3, "100000": 3}},
		"what is gone from its source is gone": {"sum",
			[]observation{with(obs("330102", 3), func(o *observation) { o.version = 30 }), with(obs("330102", 0), func(o *observation) { o.version, o.deleted = 40, true }), obs("330113", 1)},
			map[string]float64{"330113": 1, "330100": 1, "330000": 1, "100000": 1}},
		"of two rows with one version the later counts": {"sum",
			[]observation{with(obs("330102", 3), func(o *observation) { o.version = 30 }), with(obs("330102", 4), func(o *observation) { o.version, o.index = 30, 1 })},
			map[string]float64{"330102": 4, "330100": 4, "330000": 4, "100000": 4}},
	}
	// Every case is an indicator of its own in one database.
	var indicators []schemas.Indicator
	var rows []observation
	for name, c := range cases {
		indicators = append(indicators, indicator(name, c.how))
		for _, r := range c.rows {
			r.indicator = name
			rows = append(rows, r)
		}
	}
	b := analysis(t, indicators...)
	b.load("t", rows...)
	figures := map[string]map[string]float64{}
	for _, line := range b.sql("SELECT indicator, region, ifNull(value, nan) FROM $db.indicator_rollup FORMAT TSVRaw") {
		cells := strings.Split(line, "\t")
		value, err := strconv.ParseFloat(cells[2], 64)
		if err != nil {
			t.Fatal(err)
		}
		if figures[cells[0]] == nil {
			figures[cells[0]] = map[string]float64{}
		}
		figures[cells[0]][cells[1]] = value
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := figures[name]
			if !maps.EqualFunc(got, c.want, func(a, b float64) bool { return math.Abs(a-b) < 1e-12 || math.IsNaN(a) && math.IsNaN(b) }) {
				t.Errorf("got  %v\nwant %v", got, c.want)
			}
		})
	}
}

func TestTheTreeIsThatOfThePeriod(t *testing.T) {
	t.Parallel()
	b := analysis(t, indicator("I", "sum"))
	row := func(region string, period time.Time) observation {
		return observation{indicator: "I", region: region, period: period, value: 1}
	}
	b.load("t",
		row("330102", day(2021, 3, 1)), row("330103", day(2021, 3, 1)),
		row("330102", day(2021, 4, 1)), row("330103", day(2021, 4, 1)), row("330113", day(2021, 4, 1)),
		row("330102", day(2021, 5, 1)), row("330113", day(2021, 5, 1)))
	for month, want := range map[int]string{3: "2 of 2 of 13", 4: "3 of 3 of 15", 5: "2 of 2 of 13"} {
		rows, err := b.Rollup(b.ctx, warehouse.RollupQuery{Indicator: "I", Period: day(2021, month, 1), Levels: []string{"city"}})
		if err != nil || len(rows) != 1 {
			t.Fatalf("month %d: %v, %v", month, rows, err)
		}
		f := rows[0]
		if got := fmt.Sprintf("%v of %d of %d", *f.Value, f.ChildrenReporting, f.Children); got != want {
			t.Errorf("month %d: %s districts reporting, want %s", month, got, want)
		}
		if f.RegionName != "杭州市" || f.Parent != "330000" || f.Title != "I" || f.Unit != "家" {
			t.Errorf("month %d: %+v", month, f)
		}
	}
}

func TestTheRollupShowsWhatTheRegionReportedItself(t *testing.T) {
	t.Parallel()
	b := analysis(t, indicator("I", "sum"))
	b.load("t", observation{indicator: "I", region: "330102", period: day(2021, 6, 1), value: 3},
		observation{indicator: "I", region: "330100", period: day(2021, 6, 1), value: 5, feed: "manual"},
		observation{indicator: "I", region: "330100", period: day(2021, 6, 1), value: 4})
	f := b.figures("I")["330100"]
	if f.Reported == nil || *f.Reported != 4 || *f.Value != 3 || f.FromBelow != 1 || f.Figures != 1 || !slices.Equal(f.Feeds, []string{"direct"}) {
		t.Errorf("got %+v", f)
	}
	if f := b.figures("I")["330102"]; f.FromBelow != 0 || f.Reported == nil || *f.Reported != 3 {
		t.Errorf("a county's own: got %+v", f)
	}
}

// target writes a target without the package under test.
func (b *bench) target(indicator, region string, year int, due string, value float64, plan string) {
	b.t.Helper()
	b.sql(fmt.Sprintf("INSERT INTO $db.target (indicator, region, year, due, value, plan, _version) VALUES ('%s', '%s', %d, '%s', %g, %s, 1)",
		indicator, region, year, due, value, map[bool]string{true: "NULL", false: "'" + plan + "'"}[plan == ""]))
}

// The plan is a real one: 示范食堂, 160 by the end of October, by milestones that are no straight line (DOMAIN 4.6).
const canteens = `[["03-31",15],["06-30",80],["09-30",120],["10-31",160]]`

func TestStatusAgainstThePlan(t *testing.T) {
	t.Parallel()
	month := func(values map[int]float64) []observation {
		var rows []observation
		for m, v := range values {
			rows = append(rows, observation{indicator: "I", region: "330102", period: day(2021, m, 1), value: v})
		}
		return rows
	}
	cases := map[string]struct {
		how, over, direction string
		due                  string
		target               float64
		plan                 string
		rows                 []observation
		// of the newest month
		toDate, planned float64
		status          string
	}{
		"on a milestone, exactly as planned":           {"sum", "last", "up", "2021-10-31", 160, canteens, month(map[int]float64{6: 80}), 80, 80, "on schedule"},
		"below it within the tolerance":                {"sum", "last", "up", "2021-10-31", 160, canteens, month(map[int]float64{6: 72}), 72, 80, "on schedule"},
		"below the tolerance":                          {"sum", "last", "up", "2021-10-31", 160, canteens, month(map[int]float64{6: 71.9}), 71.9, 80, "behind"},
		"between two milestones in a straight line":    {"sum", "last", "up", "2021-10-31", 160, canteens, month(map[int]float64{5: 60}), 60, 15 + 65*61./91, "on schedule"},
		"reached before the due day":                   {"sum", "last", "up", "2021-10-31", 160, canteens, month(map[int]float64{9: 160}), 160, 120, "ahead"},
		"reached earlier, and still so on the due day": {"sum", "last", "up", "2021-10-31", 160, canteens, month(map[int]float64{9: 165, 10: 170, 11: 170}), 170, 160, "ahead"},
		"reached on the due day":                       {"sum", "last", "up", "2021-10-31", 160, canteens, month(map[int]float64{9: 120, 10: 160}), 160, 160, "on schedule"},
		"reached, and then taken back":                 {"sum", "last", "up", "2021-10-31", 160, canteens, month(map[int]float64{9: 160, 10: 140}), 140, 160, "behind"},
		"missed":                                       {"sum", "last", "up", "2021-10-31", 160, canteens, month(map[int]float64{12: 100}), 100, 160, "behind"},
		"without a plan, as time passes":               {"sum", "last", "up", "2021-12-31", 365, "", month(map[int]float64{6: 181}), 181, 181, "on schedule"},
		"flows are added up over the year":             {"sum", "sum", "up", "2021-12-31", 365, "", month(map[int]float64{1: 31, 2: 28, 3: 20}), 79, 90, "on schedule"},
		"the largest of the year":                      {"max", "max", "up", "2021-12-31", 10, "", month(map[int]float64{1: 12, 2: 3}), 12, 10, "ahead"},
		"means over the year":                          {"mean", "mean", "down", "2021-12-31", 35, "", month(map[int]float64{1: 50, 2: 20}), 35, 35, "on schedule"},
		"a limit that is passed":                       {"mean", "mean", "down", "2021-12-31", 35, "", month(map[int]float64{1: 50, 2: 30}), 40, 35, "behind"},
		"a limit is never reached ahead":               {"mean", "mean", "down", "2021-12-31", 35, "", month(map[int]float64{1: 10}), 10, 35, "on schedule"},
	}
	var indicators []schemas.Indicator
	var rows []observation
	for name, c := range cases {
		i := indicator(name, c.how)
		i.TimeAggregation, i.Direction = c.over, c.direction
		indicators = append(indicators, i)
		for _, r := range c.rows {
			r.indicator = name
			rows = append(rows, r)
		}
	}
	b := analysis(t, indicators...)
	b.load("t", rows...)
	for name, c := range cases {
		b.target(name, "330102", 2021, c.due, c.target, c.plan)
	}
	// The newest month of each, the columns as text.
	newest := map[string][]string{}
	for _, line := range b.sql("SELECT indicator, target, due, tolerance, status, status_zh, year_to_date, plan_value, completion_rate FROM $db.indicator_rollup WHERE region = '330102' ORDER BY period FORMAT TSVRaw") {
		cells := strings.Split(line, "\t")
		newest[cells[0]] = cells[1:]
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := newest[name]
			zh := map[string]string{"ahead": "提前完成", "on schedule": "序时推进", "behind": "滞后"}[c.status]
			if want := []string{fmt.Sprint(c.target), c.due, "0.05", c.status, zh}; len(got) != 8 || !slices.Equal(got[:5], want) {
				t.Fatalf("target, due, tolerance, status: got %q, want %q", got, want)
			}
			for i, want := range []float64{c.toDate, c.planned, c.toDate / c.target} {
				if value, err := strconv.ParseFloat(got[5+i], 64); err != nil || math.Abs(value-want) > 1e-9 {
					t.Errorf("%s: got %s, want %g", []string{"year to date", "plan", "completion"}[i], got[5+i], want)
				}
			}
		})
	}
}

func TestOnlyWhatHasATargetHasAStatus(t *testing.T) {
	t.Parallel()
	b := analysis(t, indicator("I", "sum"), indicator("J", "sum"))
	b.load("t", observation{indicator: "I", region: "330102", period: day(2021, 6, 1), value: 1}, observation{indicator: "I", region: "330113", period: day(2021, 6, 1), value: 1},
		observation{indicator: "J", region: "330102", period: day(2021, 6, 1), value: 1})
	b.target("I", "330100", 2021, "2021-12-31", 4, "")
	b.target("I", "330102", 2020, "2020-12-31", 4, "")
	figures := b.figures("I")
	if f := figures["330100"]; f.CompletionRate == nil || *f.CompletionRate != 0.5 || f.ElapsedShare == nil || math.Abs(*f.ElapsedShare-181./365) > 1e-12 {
		t.Errorf("the city: %+v", f)
	}
	for _, region := range []string{"330102", "330000"} {
		if f := figures[region]; f.Target != nil || f.Status != "" || f.YearToDate != nil || f.PlanValue != nil {
			t.Errorf("%s has no target this year: %+v", region, f)
		}
	}
	if f := b.figures("J")["330102"]; f.Target != nil {
		t.Errorf("the other indicator: %+v", f)
	}
}

func TestAPeriodThatIsNotOverSpeaksOfTheDayItWasRead(t *testing.T) {
	t.Parallel()
	b := analysis(t, indicator("I", "sum"))
	b.load("t", observation{indicator: "I", region: "330102", period: day(2021, 6, 1), value: 1, extracted: day(2021, 6, 11).Add(9 * time.Hour)},
		observation{indicator: "I", region: "330203", period: day(2021, 6, 1), value: 1, extracted: day(2021, 7, 5)})
	figures := b.figures("I")
	for region, want := range map[string]string{"330102": "2021-06-11", "330203": "2021-06-30", "330000": "2021-06-30"} {
		if got := figures[region].AsOf.Format(time.DateOnly); got != want {
			t.Errorf("%s: as of %s, want %s", region, got, want)
		}
	}
}

func TestPeriodsEndWhereTheirLengthSays(t *testing.T) {
	t.Parallel()
	b := analysis(t, indicator("I", "sum"))
	want := map[string]string{"hour": "2021-02-21", "day": "2021-02-21", "week": "2021-02-27", "xun": "2021-02-28", "month": "2021-02-28", "quarter": "2021-05-20", "half": "2021-08-20", "year": "2022-02-20"}
	var rows []observation
	for grain := range want {
		period := day(2021, 2, 21)
		if grain == "month" {
			period = day(2021, 2, 1)
		}
		rows = append(rows, observation{indicator: "I", region: "330102", grain: grain, period: period})
	}
	rows = append(rows, observation{indicator: "I", region: "330203", grain: "xun", period: day(2021, 2, 11)})
	b.load("t", rows...)
	got := b.sql("SELECT grain, last_day FROM $db.observation_placed WHERE region = '330102'")
	for _, line := range got {
		grain, last, _ := strings.Cut(line, "\t")
		if want[grain] != last {
			t.Errorf("%s: ends %s, want %s", grain, last, want[grain])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d periods, want %d", len(got), len(want))
	}
	if got := b.sql("SELECT last_day FROM $db.observation_placed WHERE region = '330203'"); got[0] != "2021-02-20" {
		t.Errorf("the second xun: ends %s, want 2021-02-20", got[0])
	}
}

func TestReconciliationHoldsReportsAgainstWhatLiesBelow(t *testing.T) {
	t.Parallel()
	b := analysis(t, indicator("I", "sum"))
	june := day(2021, 6, 1)
	b.load("t",
		observation{indicator: "I", region: "330102", period: june, value: 3, feed: "source"},
		observation{indicator: "I", region: "330113", period: june, value: 4, feed: "direct"},
		observation{indicator: "I", region: "330203", period: june, value: 5, feed: "direct"},
		observation{indicator: "I", region: "330000", member: "境外输入", period: june, value: 1, feed: "manual"},
		// the province's own table
		observation{indicator: "I", region: "330100", period: june, value: 7, feed: "manual", source: "table"},
		observation{indicator: "I", region: "330200", period: june, value: 6, feed: "manual", source: "table"},
		observation{indicator: "I", region: "330000", period: june, value: 20, feed: "manual", source: "table"},
		// nothing lies below these
		observation{indicator: "I", region: "339001", period: june, value: 0, feed: "manual", source: "table"},
		observation{indicator: "I", region: "330000", period: day(2021, 7, 1), value: 20, feed: "manual", source: "table"})
	got := b.sql("SELECT region, feed, source, reported, rolled_up, difference, agrees, direct_below, direct_difference, children_reporting, children FROM $db.indicator_reconciliation ORDER BY region")
	want := []string{
		"330000\tmanual\ttable\t20\t13\t7\t0\t14\t6\t3\t12", // 7 + 6 + 0 + 1 by hand, 3 + 4 + 5 + 0 + 1 from below
		"330100\tmanual\ttable\t7\t7\t0\t1\t\\N\t\\N\t2\t13",
		"330200\tmanual\ttable\t6\t5\t1\t0\t\\N\t\\N\t1\t10",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	rows, err := b.Disagreements(b.ctx, warehouse.DisagreementQuery{Indicator: "I", Limit: 5})
	if err != nil || len(rows) != 2 || rows[0].Region != "330000" || *rows[0].Difference != 7 || rows[1].Region != "330200" {
		t.Errorf("disagreements: %+v, %v, want the province's first", rows, err)
	}
	if rows, err := b.Disagreements(b.ctx, warehouse.DisagreementQuery{Level: "city", Source: "table"}); err != nil || len(rows) != 1 {
		t.Errorf("of cities: %+v, %v", rows, err)
	}
}

func TestSumsOfFractionsAgreeWithinTheirPrecision(t *testing.T) {
	t.Parallel()
	b := analysis(t, indicator("I", "sum"))
	b.load("t", observation{indicator: "I", region: "330102", period: day(2021, 6, 1), value: 0.1}, observation{indicator: "I", region: "330113", period: day(2021, 6, 1), value: 0.2},
		observation{indicator: "I", region: "330100", period: day(2021, 6, 1), value: 0.3})
	if got := b.sql("SELECT agrees FROM $db.indicator_reconciliation"); !slices.Equal(got, []string{"1"}) {
		t.Errorf("0.1 + 0.2 against 0.3: agrees %v, want 1", got)
	}
}

// TestRollupAgreesWithAPlainWalkOfTheTree holds the view against a recursion over the same figures.
func TestRollupAgreesWithAPlainWalkOfTheTree(t *testing.T) {
	t.Parallel()
	const seed = 20210409
	random := rand.New(rand.NewPCG(seed, seed))
	t.Logf("seed %d", seed)
	children := map[string][]string{
		"100000": {"330000", "110000"}, "330000": {"330100", "330200", "339001"}, "330100": {"330102", "330113"}, "330200": {"330203", "330205"}, "110000": {"110101", "110105"},
	}
	regions := []string{"100000", "330000", "110000", "330100", "330200", "339001", "330102", "330113", "330203", "330205", "110101", "110105"}
	feeds := []string{"manual", "direct", "source"}
	b := analysis(t, indicator("I", "sum"))
	var rows []observation
	type cell struct {
		region, member, subject, feed string
		month                         int
	}
	newest := map[cell]observation{}
	for i := range 1500 {
		c := cell{region: regions[random.IntN(len(regions))], feed: feeds[random.IntN(3)], month: 1 + random.IntN(12)}
		if random.IntN(4) == 0 {
			c.member = fmt.Sprint("m", random.IntN(2))
		}
		if random.IntN(4) == 0 {
			c.subject = fmt.Sprint("s", random.IntN(3))
		}
		o := observation{indicator: "I", region: c.region, member: c.member, subject: c.subject, feed: c.feed, period: day(2022, c.month, 1),
			value: float64(random.IntN(1000)), version: 1 + uint64(random.IntN(1_000_000)), deleted: random.IntN(10) == 0, index: uint32(i)}
		rows = append(rows, o)
		if old, ok := newest[c]; !ok || o.version > old.version || o.version == old.version && o.index > old.index {
			newest[c] = o
		}
	}
	b.load("1", rows[:700]...)
	b.load("2", rows[700:]...)

	maps.DeleteFunc(newest, func(_ cell, o observation) bool { return o.deleted })
	// best is the sum of those figures of one region, member and month that came by the best feed, whole or by subject.
	best := func(region, member string, month int, whole bool) (sum float64, found bool) {
		rank := -1
		for c, o := range newest {
			if c.region != region || c.member != member || c.month != month || (c.subject == "") != whole {
				continue
			}
			switch r := slices.Index(feeds, c.feed); {
			case r > rank:
				rank, sum, found = r, o.value, true
			case r == rank:
				sum += o.value
			}
		}
		return sum, found
	}
	var walk func(region string, month int) (float64, bool)
	walk = func(region string, month int) (float64, bool) {
		sum, found := 0.0, false
		for _, child := range children[region] {
			if v, ok := walk(child, month); ok {
				sum, found = sum+v, true
			}
		}
		for _, member := range []string{"", "m0", "m1"} {
			v, ok := best(region, member, month, false)
			if !ok && member != "" {
				v, ok = best(region, member, month, true)
			}
			if ok {
				sum, found = sum+v, true
			}
		}
		if !found {
			return best(region, "", month, true)
		}
		return sum, found
	}
	var want []string
	for month := 1; month <= 12; month++ {
		for _, region := range regions {
			if v, ok := walk(region, month); ok {
				want = append(want, fmt.Sprintf("%02d %s %g", month, region, v))
			}
		}
	}
	slices.Sort(want)
	lines := "SELECT leftPad(toString(toMonth(period)), 2, '0') || ' ' || region || ' ' || toString(value) AS line FROM $db.indicator_rollup ORDER BY line"
	got := b.sql(lines)
	// A BI tool may ask under other settings.
	if other := b.sql(lines + " SETTINGS join_use_nulls = 1, max_threads = 1"); !slices.Equal(got, other) {
		t.Error("the view answers otherwise under join_use_nulls")
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		for i := range max(len(got), len(want)) {
			g, w := "", ""
			if i < len(got) {
				g = got[i]
			}
			if i < len(want) {
				w = want[i]
			}
			if g != w {
				t.Fatalf("%d lines, want %d; line %d: got %q, want %q", len(got), len(want), i, g, w)
			}
		}
	}
	if len(want) < 100 {
		t.Errorf("only %d figures were compared", len(want))
	}
}

func TestRollupComesFromTheTopDown(t *testing.T) {
	t.Parallel()
	b := analysis(t, indicator("I", "sum"))
	b.load("t", observation{indicator: "I", region: "330102", period: day(2021, 6, 1), value: 3}, observation{indicator: "I", region: "330203", period: day(2021, 6, 1), value: 3},
		observation{indicator: "I", region: "330203", period: day(2021, 5, 1), value: 9})
	rows, err := b.Rollup(b.ctx, warehouse.RollupQuery{Indicator: "I", Grain: "month", Within: "330000"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range rows {
		got = append(got, cmp.Or(r.RegionName, "?"))
	}
	if want := []string{"浙江省", "杭州市", "宁波市"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v, of the newest month", got, want)
	}
	if rows, err := b.Rollup(b.ctx, warehouse.RollupQuery{Indicator: "nothing"}); err != nil || len(rows) != 0 {
		t.Errorf("an indicator without figures: %v, %v", rows, err)
	}
}
