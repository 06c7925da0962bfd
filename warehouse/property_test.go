package warehouse_test

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/headwater-data/headwater/schemas"
)

// seedOf is a test's seed: another one each time, or that of HEADWATER_SEED. It is printed.
func seedOf(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("HEADWATER_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("HEADWATER_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, seed))
}

// world is a random forest of regions that merge, move and begin, and what is known of it without the package under test.
type world struct {
	csv      strings.Builder
	versions map[string][]place // by code, by age
	codes    []string           // all
}

// place is one version of a region.
type place struct {
	level, parent string
	from, to      time.Time // zero: always, for ever
}

func (w *world) add(code, level, parent, from, to string, successors ...string) {
	fmt.Fprintf(&w.csv, "%s,区%s,%s,%s,%s,%s,%s\n", code, code, level, parent, from, to, strings.Join(successors, ";"))
	p := place{level: level, parent: parent}
	for _, d := range []struct {
		text string
		day  *time.Time
	}{{from, &p.from}, {to, &p.to}} {
		if d.text != "" {
			*d.day, _ = time.Parse(time.DateOnly, d.text)
		}
	}
	if w.versions[code] == nil {
		w.codes = append(w.codes, code)
	}
	w.versions[code] = append(w.versions[code], p)
}

// at is the version that held on the day; the first reaches back and the last holds for ever.
func (w *world) at(code string, day time.Time) place {
	versions := w.versions[code]
	for _, p := range slices.Backward(versions) {
		if !p.from.After(day) {
			return p
		}
	}
	return versions[0]
}

// way lists the regions from code to the nation on the day.
func (w *world) way(code string, day time.Time) []string {
	var out []string
	for at := code; at != ""; at = w.at(at, day).parent {
		out = append(out, at)
	}
	return out
}

// unit is what a mean over a province counts once: the city, the municipality, or a region that lies in neither.
func (w *world) unit(code string, day time.Time) string {
	for _, at := range w.way(code, day) {
		if w.at(at, day).level == "city" || at == "500000" {
			return at
		}
	}
	return code
}

// children counts the regions that lay directly below at any time of the period.
func (w *world) children(parent string, first, last time.Time) int {
	n := 0
	for _, versions := range w.versions {
		var began, ended time.Time
		under, open := false, false
		for _, p := range versions {
			if p.parent != parent {
				continue
			}
			if !under || p.from.Before(began) {
				began = p.from
			}
			if p.to.IsZero() {
				open = true
			} else if p.to.After(ended) {
				ended = p.to
			}
			under = true
		}
		if under && !began.After(last) && (open || ended.After(first)) {
			n++
		}
	}
	return n
}

func randomWorld(random *rand.Rand) *world {
	w := &world{versions: map[string][]place{}}
	day := func(year int) string {
		return fmt.Sprintf("%d-%02d-%02d", year, 1+random.IntN(12), 1+random.IntN(28))
	}
	w.csv.WriteString("code,name,level,parent,from,to,successors\n")
	w.add("100000", "nation", "", "", "")
	w.versions["330000"] = []place{{level: "province", parent: "100000"}} // built in; nobody reports anything there
	w.add("500000", "province", "100000", "", "")
	for i := range 3 {
		w.add(fmt.Sprintf("5001%02d", 1+i), "county", "500000", "", "")
	}
	for p := range 2 {
		province := fmt.Sprintf("%d0000", 61+p)
		w.add(province, "province", "100000", "", "")
		w.add(province[:2]+"9001", "county", province, "", "")
		var cities []string
		for c := range 2 + random.IntN(2) {
			cities = append(cities, fmt.Sprintf("%s%02d00", province[:2], 1+c))
			w.add(cities[c], "city", province, "", "")
		}
		for c, city := range cities {
			for k := range 2 + random.IntN(3) {
				code := fmt.Sprintf("%s%02d", city[:4], 21+k)
				switch random.IntN(5) {
				case 0: // merged into a neighbour
					w.add(code, "county", city, "", day(2020+random.IntN(2)))
				case 1: // new
					w.add(code, "county", city, day(2020+random.IntN(2)), "")
				case 2: // moved to another city, under its code
					on := day(2020 + random.IntN(2))
					w.add(code, "county", city, "", on)
					w.add(code, "county", cities[(c+1)%len(cities)], on, "")
				default:
					w.add(code, "county", city, "", "")
				}
			}
		}
	}
	return w
}

// figure is what a plain computation says of an indicator, region and period; NaN is no value.
type figure struct {
	value, numerator, denominator, reported float64
	figures, reporting                      int
}

// counted is a figure that counts, and the region directly below through which it came ("" from the region itself).
type counted struct {
	observation
	through string
}

// counting finds which figures count: below each region, by walking down from it, and of a region's own those of the best feed.
func (w *world) counting(current []observation, last time.Time) (walk func(region string) []counted, best func(region, member string, whole bool) []observation) {
	rank := map[string]int{"manual": 1, "direct": 2, "source": 3}
	at := map[string][]observation{} // by region
	below := map[string][]string{}
	for _, o := range current {
		at[o.region] = append(at[o.region], o)
	}
	for code := range w.versions {
		if parent := w.at(code, last).parent; parent != "" {
			below[parent] = append(below[parent], code)
		}
	}
	// best keeps the figures of the best feed among those that fit.
	best = func(region, member string, whole bool) []observation {
		var out []observation
		top := 0
		for _, o := range at[region] {
			if o.member != member || (o.subject == "") != whole || rank[o.feed] < top {
				continue
			}
			if rank[o.feed] > top {
				out, top = nil, rank[o.feed]
			}
			out = append(out, o)
		}
		return out
	}
	walk = func(region string) []counted {
		var out []counted
		for _, child := range below[region] {
			for _, c := range walk(child) {
				out = append(out, counted{c.observation, child})
			}
		}
		members := map[string]bool{"": true}
		for _, o := range at[region] {
			members[o.member] = true
		}
		for member := range members {
			if strings.HasPrefix(member, "其中") {
				continue // held in its region's figure
			}
			parts := best(region, member, false)
			if len(parts) == 0 && member != "" {
				parts = best(region, member, true)
			}
			for _, o := range parts {
				out = append(out, counted{o, ""})
			}
		}
		if len(out) == 0 {
			for _, o := range best(region, "", true) {
				out = append(out, counted{o, ""})
			}
		}
		return out
	}
	return walk, best
}

// plain rolls one indicator and period up.
func (w *world) plain(how string, current []observation, first, last time.Time) map[string]figure {
	walk, best := w.counting(current, last)
	figures := map[string]figure{}
	for code := range w.versions {
		all := walk(code)
		if len(all) == 0 {
			continue
		}
		f := figure{value: math.NaN(), numerator: math.NaN(), denominator: math.NaN(), reported: math.NaN(), figures: len(all)}
		for _, o := range best(code, "", true) {
			if math.IsNaN(f.reported) || o.value > f.reported {
				f.reported = o.value
			}
		}
		through, subjects := map[string]bool{}, map[string]bool{}
		sum, numerators, denominators, parts := 0.0, 0.0, 0.0, true
		largest, newest := math.Inf(-1), all[0]
		units := map[string][2]float64{}
		for _, c := range all {
			if c.through != "" {
				through[c.through] = true
			}
			if c.subject != "" {
				subjects[c.subject] = true
			}
			sum, numerators, denominators = sum+c.value, numerators+c.numerator, denominators+c.denominator
			parts = parts && c.denominator != 0
			largest = max(largest, c.value)
			if c.extracted.After(newest.extracted) {
				newest = c
			}
			unit, weight := "", 1.0
			if level := w.at(code, last).level; level == "province" || level == "nation" {
				unit = w.unit(c.region, last)
			}
			if c.denominator != 0 {
				weight = c.denominator
			}
			units[unit] = [2]float64{units[unit][0] + c.value*weight, units[unit][1] + weight}
		}
		f.reporting = len(through)
		if parts {
			f.numerator, f.denominator = numerators, denominators
		}
		switch how {
		case "sum":
			f.value = sum
		case "ratio":
			if parts {
				f.value = numerators / denominators
			} else if len(all) == 1 {
				f.value = sum
			}
		case "mean":
			f.value = 0
			for _, u := range units {
				f.value += u[0] / u[1] / float64(len(units))
			}
		case "max":
			f.value = largest
		case "distinct":
			if len(subjects) > 0 {
				f.value = float64(len(subjects))
			} else if len(all) == 1 {
				f.value = sum
			}
		case "last":
			f.value = newest.value
		case "none":
			f.value = f.reported
		}
		figures[code] = f
	}
	return figures
}

// same compares numbers up to the precision of sums in another order.
func same(a, b float64) bool {
	return math.IsNaN(a) && math.IsNaN(b) || math.Abs(a-b) <= 1e-9*max(1, math.Abs(a), math.Abs(b))
}

// cell reads a number of a TSV line, NaN for null.
func cellOf(t *testing.T, text string) float64 {
	if text == `\N` {
		return math.NaN()
	}
	x, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// compare holds what a query gives, key first, against what is wanted, and shows the first few that differ.
func compareNumbers(t *testing.T, what string, lines []string, keys int, want map[string][]float64) {
	t.Helper()
	wrong := 0
	tell := func(format string, args ...any) {
		if wrong++; wrong <= 5 {
			t.Errorf(what+": "+format, args...)
		}
	}
	there := map[string]bool{}
	for _, line := range lines {
		cells := strings.Split(line, "\t")
		key := strings.Join(cells[:keys], " ")
		there[key] = true
		w, ok := want[key]
		if !ok {
			tell("%s is there and should not be", key)
			continue
		}
		for i := range w {
			if got := cellOf(t, cells[keys+i]); !same(got, w[i]) {
				tell("%s, number %d: got %g, want %g (all: %v, want %v)", key, i, got, w[i], cells[keys:], w)
				break
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if !there[key] {
			tell("%s is not there", key)
		}
	}
	if wrong > 5 {
		t.Errorf("%s: %d differences in all", what, wrong)
	}
	t.Logf("%s: %d rows compared", what, len(want))
}

// TestEveryRuleOfRollupAgreesWithAPlainComputation has every pair of aggregations that a declaration may have, over random regions
// that merge, move and begin, with reports that are missing, corrected and taken back, from several levels and feeds.
func TestEveryRuleOfRollupAgreesWithAPlainComputation(t *testing.T) {
	t.Parallel()
	random := seedOf(t)
	w := randomWorld(random)
	pairs := map[string][]string{"sum": {"sum", "last", "mean", "max"}, "ratio": {"ratio", "last"}, "mean": {"mean", "max", "last", "sum"},
		"max": {"max", "last"}, "distinct": {"distinct", "last"}, "last": {"last", "max"}, "none": {"none", "last"}}
	var indicators []schemas.Indicator
	for how, times := range pairs {
		for n, time := range times {
			i := over(how+"-"+time, how, time, []string{"up", "down"}[n%2])
			i.Grain = []string{"month", "quarter"}[n/2]
			indicators = append(indicators, i)
		}
	}
	b := migrated(t)
	regions, problems := schemas.ImportRegions(strings.NewReader(w.csv.String()), "regions.csv")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if err := b.Sync(b.ctx, schemas.Standard().WithRegions(regions), indicators); err != nil {
		t.Fatal(err)
	}

	type cell struct {
		indicator, region, member, subject, feed string
		n                                        int // number of the period since January 2020
	}
	begin := func(grain string, n int) time.Time {
		return day(2020, 1+n*map[string]int{"month": 1, "quarter": 3}[grain], 1)
	}
	newest := map[cell]observation{}
	var rows []observation
	versions := map[cell]uint64{}
	for _, i := range indicators {
		periods := map[string]int{"month": 18, "quarter": 8}[i.Grain]
		for range 220 {
			c := cell{indicator: i.Code, region: w.codes[random.IntN(len(w.codes))], feed: []string{"manual", "direct", "source"}[random.IntN(3)], n: random.IntN(periods)}
			if random.IntN(2) == 0 { // mostly from below
				for w.at(c.region, begin(i.Grain, c.n)).level != "county" {
					c.region = w.codes[random.IntN(len(w.codes))]
				}
			}
			if random.IntN(5) == 0 {
				c.member = []string{"m0", "m1", "其中:m2"}[random.IntN(3)]
			}
			if random.IntN(3) == 0 || i.Aggregation == "distinct" && random.IntN(4) > 0 {
				c.subject = fmt.Sprint("s", random.IntN(4))
			}
			versions[c]++
			o := observation{indicator: i.Code, region: c.region, member: c.member, subject: c.subject, feed: c.feed, grain: i.Grain, period: begin(i.Grain, c.n),
				value: float64(random.IntN(200) - 20), version: versions[c], deleted: random.IntN(6) == 0,
				extracted: time.Date(2023, 1, 1, 0, 0, len(rows), 0, time.UTC), index: uint32(len(rows))}
			if random.IntN(8) > 0 && (i.Aggregation == "ratio" || i.Aggregation == "mean" && random.IntN(2) == 0) {
				o.numerator, o.denominator = float64(random.IntN(50)), float64(1+random.IntN(50))
				if i.Aggregation == "ratio" {
					o.value = o.numerator / o.denominator
				}
			}
			rows, newest[c] = append(rows, o), o
		}
	}
	random.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] }) // what is known later may be loaded first
	b.load("1", rows[:len(rows)/2]...)
	b.load("2", rows[len(rows)/2:]...)

	// The plain figures by indicator, region and number of the period.
	plain := map[string]map[string]map[int]figure{}
	rolled := map[string][]float64{}
	for _, i := range indicators {
		plain[i.Code] = map[string]map[int]figure{}
		for n := range map[string]int{"month": 18, "quarter": 8}[i.Grain] {
			var current []observation
			for c, o := range newest {
				if c.indicator == i.Code && c.n == n && !o.deleted {
					current = append(current, o)
				}
			}
			first, next := begin(i.Grain, n), begin(i.Grain, n+1)
			utc := func(d time.Time) time.Time { return time.Date(d.Year(), d.Month(), d.Day(), 0, 0, 0, 0, time.UTC) }
			last := utc(next).AddDate(0, 0, -1)
			for region, f := range w.plain(i.Aggregation, current, utc(first), last) {
				if plain[i.Code][region] == nil {
					plain[i.Code][region] = map[int]figure{}
				}
				plain[i.Code][region][n] = f
				key := fmt.Sprintf("%s %s %s", i.Code, region, first.Format(time.DateOnly))
				rolled[key] = []float64{f.value, f.numerator, f.denominator, f.reported, float64(f.figures), float64(f.reporting), float64(w.children(region, utc(first), last))}
			}
		}
	}
	compareNumbers(t, "rollup", b.sql("SELECT indicator, region, toDate(period), value, numerator, denominator, reported, figures, children_reporting, children FROM $db.indicator_rollup"), 3, rolled)

	// Across time: the year so far, the period before, the same a year before, three in a row.
	trend := map[string][]float64{}
	for _, i := range indicators {
		perYear := map[string]int{"month": 12, "quarter": 4}[i.Grain]
		for region, periods := range plain[i.Code] {
			for n, f := range periods {
				cumulative, there, last := overTime(i.TimeAggregation, periods, n-n%perYear, n), 0, f.value
				if i.TimeAggregation == "last" {
					cumulative = last
				}
				for m := n - n%perYear; m <= n; m++ {
					if p, ok := periods[m]; ok && !math.IsNaN(p.value) {
						there++
					}
				}
				less := func(m int) float64 {
					if p, ok := periods[m]; ok {
						return f.value - p.value
					}
					return math.NaN()
				}
				key := fmt.Sprintf("%s %s %s", i.Code, region, begin(i.Grain, n).Format(time.DateOnly))
				trend[key] = []float64{cumulative, float64(there), float64(n%perYear + 1), less(n - 1), less(n - perYear), average(i.Aggregation, periods, n)}
			}
		}
	}
	compareNumbers(t, "trend", b.sql("SELECT indicator, region, toDate(period), cumulative, periods, periods_due, change, year_change, moving_average FROM $db.indicator_trend"), 3, trend)

	// Among siblings: place, mean, distance from it, and the part in what changed above.
	ranking := map[string][]float64{}
	for _, i := range indicators {
		for region, periods := range plain[i.Code] {
			for n, f := range periods {
				last := begin(i.Grain, n+1).AddDate(0, 0, -1)
				last = time.Date(last.Year(), last.Month(), last.Day(), 0, 0, 0, 0, time.UTC)
				parent := w.at(region, last).parent
				if parent == "" {
					continue
				}
				place, values := 1.0, []float64{}
				for other, p := range plain[i.Code] {
					o, ok := p[n]
					if !ok || w.at(other, last).parent != parent || math.IsNaN(o.value) {
						continue
					}
					values = append(values, o.value)
					if i.Direction == "up" && o.value > f.value || i.Direction == "down" && o.value < f.value {
						place++
					}
				}
				if math.IsNaN(f.value) {
					place = math.NaN()
				}
				mean, deviation := math.NaN(), 0.0
				if len(values) > 0 {
					mean = 0
					for _, v := range values {
						mean += v / float64(len(values))
					}
					for _, v := range values {
						deviation += (v - mean) * (v - mean) / float64(len(values))
					}
				}
				contribution := math.NaN()
				before, known := periods[n-1]
				above, aboveBefore := plain[i.Code][parent][n], plain[i.Code][parent][n-1]
				_, parentBefore := plain[i.Code][parent][n-1]
				if known && !math.IsNaN(f.value-before.value) {
					switch i.Aggregation {
					case "sum":
						contribution = f.value - before.value
					case "ratio":
						if parentBefore {
							contribution = f.numerator/above.denominator - before.numerator/aboveBefore.denominator
						}
					}
				}
				key := fmt.Sprintf("%s %s %s", i.Code, region, begin(i.Grain, n).Format(time.DateOnly))
				ranking[key] = []float64{place, float64(len(values)), mean, contribution}
				if deviation > 1e-9*max(1, mean*mean) { // else both are nothing but rounding
					ranking[key] = append(ranking[key], (f.value-mean)/math.Sqrt(deviation))
				}
			}
		}
	}
	compareNumbers(t, "ranking", b.sql("SELECT indicator, region, toDate(period), rank, ranked, mean, contribution, z_score FROM $db.indicator_ranking"), 3, ranking)
	if len(rolled) < 2000 {
		t.Errorf("only %d figures were compared", len(rolled))
	}
}

// overTime puts the figures of the periods from first to last together.
func overTime(how string, periods map[int]figure, first, last int) float64 {
	sum, n, largest, numerators, denominators := 0.0, 0.0, math.Inf(-1), 0.0, 0.0
	for m := first; m <= last; m++ {
		f, ok := periods[m]
		if !ok || math.IsNaN(f.value) {
			continue
		}
		sum, n, largest, numerators, denominators = sum+f.value, n+1, max(largest, f.value), numerators+f.numerator, denominators+f.denominator
	}
	switch {
	case n == 0:
		return math.NaN()
	case how == "sum":
		return sum
	case how == "mean":
		return sum / n
	case how == "max":
		return largest
	case how == "ratio":
		return numerators / denominators // NaN when a part is not known
	}
	return math.NaN()
}

// average is the moving average of three periods; a ratio's is the ratio of the sums.
func average(how string, periods map[int]figure, n int) float64 {
	sum, numerators, denominators := 0.0, 0.0, 0.0
	for m := n - 2; m <= n; m++ {
		f, ok := periods[m]
		if !ok {
			return math.NaN()
		}
		sum, numerators, denominators = sum+f.value, numerators+f.numerator, denominators+f.denominator
	}
	switch how {
	case "sum", "mean", "last":
		return sum / 3
	case "ratio":
		if !math.IsNaN(sum) {
			return numerators / denominators
		}
	}
	return math.NaN()
}
