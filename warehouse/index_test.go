package warehouse_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headwater-data/headwater/schemas"
)

func num(x float64) *float64 { return &x }

// span is a version of an index that holds from one day to before another; "" has no end.
func span(version, from, to string) schemas.Span {
	return schemas.Span{Version: version, From: from, To: to}
}

func index(code, direction string, versions ...schemas.IndexVersion) schemas.Index {
	return schemas.Index{Code: code, Title: schemas.Title{Zh: code, En: code}, Unit: "分", Direction: direction, Grain: "month", Versions: versions}
}

// define fills the warehouse with indicators and indexes, beside the regions of the tests.
func (b *bench) define(indicators []schemas.Indicator, indexes ...schemas.Index) {
	b.t.Helper()
	regions, problems := schemas.ImportRegions(strings.NewReader(testRegions), "regions.csv")
	if len(problems) > 0 {
		b.t.Fatal(problems)
	}
	if err := b.Sync(b.ctx, schemas.Standard().WithRegions(regions), indicators, indexes...); err != nil {
		b.t.Fatal(err)
	}
}

// TestIndexesByHand has the figures of docs/indicators.md, worked out by hand.
func TestIndexesByHand(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	bands := &schemas.Bands{Green: num(90), Blue: num(80), Yellow: num(70), Orange: num(60)}
	version := func(span schemas.Span, missing string, least float64, components ...schemas.Component) schemas.IndexVersion {
		return schemas.IndexVersion{Span: span, Missing: missing, MinCoverage: least, Bands: bands, Components: components}
	}
	minMax := func(of string, weight, zero, full float64) schemas.Component {
		return schemas.Component{Of: of, Weight: weight, Score: "min_max", Zero: num(zero), Full: num(full)}
	}
	control := index("CONTROL", "up", version(span("1", "2021-01-01", ""), "reweight", 0.5,
		minMax("CASES", 0.6, 20, 0),
		schemas.Component{Of: "TRACED", Weight: 0.4, Score: "piecewise", Points: [][]float64{{0.5, 0}, {0.9, 80}, {1, 100}}}))
	flow := index("FLOW", "up", version(span("1", "2021-01-01", ""), "none", 0,
		schemas.Component{Of: "BUS", Weight: 0.5, Score: "as_is"}, schemas.Component{Of: "BUILT", Weight: 0.5, Score: "target"}))
	whole := index("WHOLE", "up", version(span("1", "2021-01-01", "2021-07-01"), "reweight", 0,
		schemas.Component{Of: "CONTROL", Weight: 0.5, Score: "as_is"}, schemas.Component{Of: "FLOW", Weight: 0.5, Score: "as_is"}),
		version(span("2", "2021-07-01", ""), "zero", 0,
			schemas.Component{Of: "CONTROL", Weight: 0.7, Score: "as_is"}, schemas.Component{Of: "FLOW", Weight: 0.3, Score: "as_is"}))
	b.define([]schemas.Indicator{over("CASES", "sum", "sum", "down"), over("TRACED", "ratio", "ratio", "up"), over("BUS", "mean", "mean", "up"), over("BUILT", "sum", "last", "up")},
		control, flow, whole)
	put := func(code, region string, month int, value float64) observation {
		return observation{indicator: code, region: region, period: day(2021, month, 1), value: value}
	}
	ratio := func(region string, month int, n, d float64) observation {
		return observation{indicator: "TRACED", region: region, period: day(2021, month, 1), value: n / d, numerator: n, denominator: d}
	}
	b.load("1",
		put("CASES", "330203", 6, 2), put("CASES", "330205", 6, 6), ratio("330203", 6, 19, 20), ratio("330205", 6, 14, 20),
		put("BUS", "330203", 6, 90), put("BUS", "330205", 6, 50), put("BUILT", "330203", 6, 30), put("BUILT", "330205", 6, 10),
		put("CASES", "330203", 7, 25), put("CASES", "330205", 7, 0), ratio("330203", 7, 1, 1))
	b.target("BUILT", "330203", 2021, "2021-12-31", 40, "")
	b.target("BUILT", "330200", 2021, "2021-12-31", 100, "")
	b.rowsOf("SELECT region, index, round(score, 4), if(band = '', '-', band), components_present, round(covered, 3), ifNull(toString(rank), '-') FROM $db.index_score WHERE region LIKE '3302%' AND period = '2021-06-01'",
		"330203 CONTROL 90 green 2 1 1",  // 0.6 · 90 + 0.4 · 90
		"330205 CONTROL 58 red 2 1 2",    // 0.6 · 70 + 0.4 · 40
		"330200 CONTROL 62 orange 2 1 1", // 8 cases: 60; 33 of 40 traced: 65: never the mean of 90 and 58
		"330203 FLOW 82.5 blue 2 1 1",    // 90 and 30 of 40
		`330205 FLOW \N - 1 0.5 -`,       // no target, and the rule is none
		"330200 FLOW 55 red 2 1 1",       // 70 and 40 of 100
		"330203 WHOLE 86.25 blue 2 1 1",  // the mean of both
		"330205 WHOLE 58 red 1 0.5 2",    // what is there has the whole weight
		"330200 WHOLE 58.5 red 2 1 1",    // 62 and 55
	)
	b.rowsOf("SELECT region, index, version, round(score, 4), if(empty(missing), '-', arrayStringConcat(missing, '+')) FROM $db.index_score WHERE region LIKE '33020%' AND region != '330200' AND period = '2021-07-01'",
		"330203 CONTROL 1 40 -",       // 25 cases are below 0 points, which is where the line ends
		"330205 CONTROL 1 100 TRACED", // 0.6 of the weight is enough
		"330203 WHOLE 2 28 FLOW",      // the new version counts what is missing as 0
		"330205 WHOLE 2 70 FLOW",
	)
	b.rowsOf("SELECT component, weight, ifNull(toString(round(component_score, 4)), '-'), round(share, 4), ifNull(toString(round(contribution, 4)), '-') FROM $db.index_component WHERE index = 'WHOLE' AND region = '330205' AND period = '2021-06-01'",
		"CONTROL 0.5 58 1 58", "FLOW 0.5 - 0 0")
	// A change is one of the figure only while the definition is the same.
	b.rowsOf("SELECT region, index, ifNull(toString(round(change, 4)), '-') FROM $db.index_score WHERE region = '330203' AND period = '2021-07-01'",
		"330203 CONTROL -50", "330203 WHOLE -")
	sums := b.sql("SELECT max(abs(s - score)) FROM (SELECT sum(contribution) AS s, any(score) AS score FROM $db.index_component GROUP BY index, region, period)")
	if sums[0] != "0" && sums[0] > "0.000000001" && !strings.Contains(sums[0], "e-") {
		t.Errorf("contributions and scores differ by %s", sums[0])
	}
}

// TestElevenVersionsInTwoYears has an index whose weights move with each of eleven versions; each month is scored by its own.
func TestElevenVersionsInTwoYears(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	begins := []string{"2020-02-01", "2020-02-16", "2020-03-01", "2020-05-01", "2020-07-01", "2020-09-15", "2020-12-01", "2021-02-01", "2021-04-09", "2021-08-01", "2021-11-01"}
	var versions []schemas.IndexVersion
	for i, from := range begins {
		to := ""
		if i+1 < len(begins) {
			to = begins[i+1]
		}
		weight := 0.05 * float64(i+1)
		versions = append(versions, schemas.IndexVersion{Span: span(fmt.Sprintf("%d.0", i+1), from, to), Missing: "reweight",
			Components: []schemas.Component{{Of: "A", Weight: weight, Score: "as_is"}, {Of: "B", Weight: 1 - weight, Score: "as_is"}}})
	}
	b.define([]schemas.Indicator{indicator("A", "mean"), indicator("B", "mean")}, index("I", "up", versions...))
	var rows []observation
	var want []string
	for m := range 25 {
		first := time.Date(2020, time.Month(1+m), 1, 0, 0, 0, 0, time.UTC)
		rows = append(rows, observation{indicator: "A", region: "330203", period: day(2020, 1+m, 1), value: 100}, observation{indicator: "B", region: "330203", period: day(2020, 1+m, 1), value: 0})
		n := 0
		for n < len(begins) && begins[n] <= first.Format(time.DateOnly) {
			n++
		}
		if n > 0 {
			want = append(want, fmt.Sprintf("%s %d.0 %d", first.Format(time.DateOnly), n, 5*n))
		}
	}
	b.load("1", rows...)
	b.rowsOf("SELECT toDate(period), version, round(score) FROM $db.index_score WHERE region = '330203'", want...)
	if len(want) != 24 {
		t.Errorf("%d months have a version, want 24", len(want))
	}
}

// TestIndexesAgreeWithAPlainComputation holds random definitions over random figures against a computation without SQL.
func TestIndexesAgreeWithAPlainComputation(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 7))
	t.Logf("seed %d", seed)
	b := migrated(t)
	codes := []string{"A", "B", "C", "D"}
	var indicators []schemas.Indicator
	for _, c := range codes {
		indicators = append(indicators, indicator(c, "sum"))
	}
	counties := []string{"330203", "330205", "330206"}
	figures := map[string]map[string]float64{} // indicator -> region
	var rows []observation
	for _, c := range codes {
		figures[c] = map[string]float64{}
		for _, r := range counties {
			if random.IntN(3) == 0 {
				continue
			}
			v := float64(random.IntN(60))
			figures[c][r], figures[c]["330200"] = v, figures[c]["330200"]+v
			rows = append(rows, observation{indicator: c, region: r, period: day(2021, 6, 1), value: v})
		}
	}
	b.load("1", rows...)
	rules := []string{"reweight", "none", "zero"}
	var indexes []schemas.Index
	want := map[string]string{}
	scores := map[string]map[string]float64{} // index -> region
	parts := slices.Clone(codes)
	for n := range 40 {
		code := fmt.Sprintf("X%02d", n)
		random.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		v := schemas.IndexVersion{Span: span("1", "2021-01-01", ""), Missing: rules[random.IntN(3)]}
		if v.Missing == "reweight" {
			v.MinCoverage = float64(random.IntN(4)) / 4
		}
		k := 1 + random.IntN(4)
		left := 1.0
		for i, of := range parts[:min(k, len(parts))] {
			weight := math.Round(left*random.Float64()*100) / 100
			if i == min(k, len(parts))-1 {
				weight = left
			}
			left -= weight
			c := schemas.Component{Of: of, Weight: weight}
			switch random.IntN(3) {
			case 0:
				c.Score = "as_is"
			case 1:
				c.Score, c.Zero, c.Full = "min_max", num(float64(random.IntN(20))), num(float64(25+random.IntN(40)))
			case 2:
				c.Score, c.Points = "piecewise", [][]float64{{5, 90}, {20, 10}, {30, float64(random.IntN(100))}}
			}
			v.Components = append(v.Components, c)
		}
		indexes = append(indexes, index(code, "up", v))
		scores[code] = map[string]float64{}
		for _, r := range append([]string{"330200"}, counties...) {
			sum, there, all := 0.0, 0.0, true
			for _, c := range v.Components {
				x, ok := figures[c.Of][r]
				if of, is := scores[c.Of]; is {
					x, ok = of[r]
				}
				if !ok {
					all = false
					continue
				}
				there += c.Weight
				sum += c.Weight * plainScore(c, x)
			}
			switch {
			case there <= 0, v.Missing == "none" && !all, v.Missing == "reweight" && there < v.MinCoverage-1e-9:
				continue
			case v.Missing == "reweight":
				sum /= there
			}
			scores[code][r] = sum
			want[code+" "+r] = fmt.Sprintf("%.6f", sum)
		}
		parts = append(parts, code) // the next ones may be made of it
	}
	b.define(indicators, indexes...)
	got := map[string]string{}
	for _, line := range b.sql("SELECT index || ' ' || region, score FROM $db.index_score WHERE region LIKE '3302%' AND isNotNull(score)") {
		key, value, _ := strings.Cut(line, "\t")
		var x float64
		if _, err := fmt.Sscan(value, &x); err != nil {
			t.Fatal(err)
		}
		got[key] = fmt.Sprintf("%.6f", x)
	}
	for key, w := range want {
		if got[key] != w {
			t.Errorf("%s: got %q, want %q", key, got[key], w)
		}
	}
	if len(got) != len(want) || len(want) < 40 {
		t.Errorf("%d scores, want %d", len(got), len(want))
	}
}

func plainScore(c schemas.Component, x float64) float64 {
	switch c.Score {
	case "min_max":
		return 100 * max(0, min(1, (x-*c.Zero)/(*c.Full-*c.Zero)))
	case "piecewise":
		p := c.Points
		for i := range p {
			if x <= p[i][0] {
				if i == 0 {
					return p[0][1]
				}
				return p[i-1][1] + (p[i][1]-p[i-1][1])*(x-p[i-1][0])/(p[i][0]-p[i-1][0])
			}
		}
		return p[len(p)-1][1]
	}
	return x
}

func TestBandsGoByTheVersionInForce(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	up := indicator("UP", "sum")
	up.Bands = &schemas.Bands{Green: num(90), Yellow: num(0)}
	down := over("DOWN", "sum", "sum", "down")
	down.Versions = []schemas.IndicatorVersion{
		{Span: span("2012", "2021-01-01", "2021-03-01"), Bands: &schemas.Bands{Green: num(35), Orange: num(75)}},
		{Span: span("2026", "2021-03-01", ""), Bands: &schemas.Bands{Green: num(35), Orange: num(60)}},
	}
	b.define([]schemas.Indicator{up, down, indicator("PLAIN", "sum")})
	put := func(code string, month int, value float64) observation {
		return observation{indicator: code, region: "330203", period: day(2021, month, 1), value: value}
	}
	b.load("1", put("UP", 1, 90), put("UP", 2, 89.9), put("UP", 3, -1), put("PLAIN", 1, 1),
		put("DOWN", 1, 35), put("DOWN", 2, 70), put("DOWN", 3, 70), put("DOWN", 4, 60),
		observation{indicator: "DOWN", region: "330203", period: day(2020, 12, 1), value: 1}) // before every version
	b.rowsOf("SELECT indicator, toMonth(period), version, band, band_zh FROM $db.indicator_band WHERE region = '330203'",
		"UP 1 1 green 绿", "UP 2 1 yellow 黄", "UP 3 1 red 红",
		"DOWN 1 2012 green 绿", "DOWN 2 2012 orange 橙", "DOWN 3 2026 red 红", "DOWN 4 2026 orange 橙")
}
