package warehouse_test

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headwater-data/headwater/schemas"
)

// onDay is midnight UTC, as regions count days.
func onDay(text string) time.Time {
	day, err := time.Parse(time.DateOnly, text)
	if err != nil {
		panic(err)
	}
	return day
}

// sharesOf2021 are made up: nobody has published how the districts of Hangzhou divide.
func sharesOf2021(t testing.TB) []schemas.Share {
	t.Helper()
	shares, problems := schemas.ReadShares(strings.NewReader(`code,on,successor,indicator,share,basis
330104,2021-04-09,330102,,0.6,demonstration
330104,2021-04-09,330114,,0.4,demonstration
330109,2021-04-09,330109,,0.8,demonstration
330109,2021-04-09,330114,,0.2,demonstration
330110,2021,330110,,0.55,demonstration
330110,2021,330113,,0.45,demonstration
330110,2021,330110,own,0.25,demonstration
330110,2021,330113,own,0.75,demonstration
`), "shares.csv", schemas.Standard().Regions())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return shares
}

// TestHangzhouOnTheBoundariesOfToday has the figures of docs/indicators.md, worked out by hand: the districts of Hangzhou in June
// 2020, on the boundaries that they have since 9 April 2021.
func TestHangzhouOnTheBoundariesOfToday(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	indicators := []schemas.Indicator{indicator("own", "sum")}
	for _, how := range []string{"sum", "ratio", "mean", "max", "distinct", "last", "none"} {
		indicators = append(indicators, indicator(how, how))
	}
	sync := func(shares []schemas.Share) {
		t.Helper()
		if err := b.Sync(b.ctx, schemas.Standard().WithShares(shares), indicators); err != nil {
			t.Fatal(err)
		}
	}
	sync(nil)
	var rows []observation
	of := func(indicator, region string, value float64, change func(*observation)) {
		o := observation{indicator: indicator, region: region, period: day(2020, 6, 1), value: value, index: uint32(len(rows)),
			extracted: time.Date(2020, 7, 1, 0, 0, len(rows), 0, time.UTC)}
		if change != nil {
			change(&o)
		}
		rows = append(rows, o)
	}
	for _, i := range []string{"sum", "own"} {
		for code, value := range map[string]float64{"330102": 10, "330104": 20, "330103": 5, "330105": 7, "330109": 40, "330110": 60} {
			of(i, code, value, nil)
		}
	}
	of("sum", "330104", 3, func(o *observation) { o.member, o.indicator = "经开区", "own" })
	parts := func(n, d float64) func(*observation) {
		return func(o *observation) { o.numerator, o.denominator, o.value = n, d, n/d }
	}
	of("ratio", "330103", 0, parts(1, 10))
	of("ratio", "330105", 0, parts(8, 20))
	of("ratio", "330110", 0, parts(30, 40))
	of("mean", "330103", 4, func(o *observation) { o.denominator = 1 })
	of("mean", "330105", 8, func(o *observation) { o.denominator = 3 })
	of("mean", "330110", 6, nil)
	for _, how := range []string{"max", "last", "none"} {
		of(how, "330103", 9, nil)
		of(how, "330105", 8, nil)
		of(how, "330110", 6, nil)
		of(how, "330106", 3, nil)
	}
	subject := func(name string) func(*observation) { return func(o *observation) { o.subject = name } }
	of("distinct", "330103", 1, subject("x"))
	of("distinct", "330105", 1, subject("x"))
	of("distinct", "330105", 1, subject("y"))
	of("distinct", "330110", 1, subject("z"))
	of("none", "330100", 5, nil)
	b.load("once", rows...)
	answers := map[string][]string{}
	askAll := func() {
		clear(answers)
		for _, line := range b.sql("SELECT indicator, region, region_name, round(value, 6), basis, why, arrayStringConcat(undivided, ' '), from_below, figures, children_reporting, children, origins_reporting, origins FROM $db.indicator_rollup_today WHERE region != '100000' ORDER BY region FORMAT CSV") {
			indicator, rest, _ := strings.Cut(strings.ReplaceAll(line, `"`, ""), ",")
			answers[indicator] = append(answers[indicator], rest)
		}
	}
	ask := func(indicator string) []string { return answers[indicator] }
	check := func(what string, got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s:\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	askAll()
	check("without shares", ask("sum"),
		`330000,浙江省,142,whole,,,1,6,1,11,6,90`,
		`330100,杭州市,142,whole,,,1,6,1,13,6,13`,
		`330102,上城区,\N,,no share,330104,1,1,0,0,1,2`,
		`330105,拱墅区,12,whole,,,1,2,0,0,2,2`,
		`330109,萧山区,\N,,no share,330109,1,0,0,0,0,1`,
		`330110,余杭区,\N,,no share,330110,1,0,0,0,0,1`,
		`330113,临平区,\N,,no share,330110,1,0,0,0,0,1`,
		`330114,钱塘区,\N,,no share,330104 330109,1,0,0,0,0,2`)
	if got := b.sql("SELECT region, value FROM $db.indicator_rollup WHERE indicator = 'sum' AND level IN ('city', 'province') ORDER BY region"); !slices.Equal(got, []string{"330000\t142", "330100\t142"}) {
		t.Errorf("as it was then: %v", got)
	}
	if n := b.sql("SELECT count() FROM $db.region_share FINAL WHERE _deleted = 0"); n[0] != "0" {
		t.Errorf("%s shares that nobody has stated", n[0])
	}
	sync(sharesOf2021(t))
	askAll()
	check("with shares", ask("sum"),
		`330000,浙江省,142,whole,,,1,6,1,11,6,90`,
		`330100,杭州市,142,whole,,,1,6,6,13,6,13`,
		`330102,上城区,22,shares,,,1,2,0,0,2,2`,
		`330105,拱墅区,12,whole,,,1,2,0,0,2,2`,
		`330109,萧山区,32,shares,,,1,1,0,0,1,1`,
		`330110,余杭区,33,shares,,,1,1,0,0,1,1`,
		`330113,临平区,27,shares,,,1,1,0,0,1,1`,
		`330114,钱塘区,16,shares,,,1,2,0,0,2,2`)
	// 余杭 60 by the indicator's own shares. What the development zone of 江干 has is not 江干's to divide.
	check("with shares of its own", ask("own"),
		`330000,浙江省,125,whole,,,1,6,1,11,6,90`,
		`330100,杭州市,125,whole,,,1,6,4,13,6,13`,
		`330102,上城区,\N,,not divisible,330104,1,1,0,0,1,2`,
		`330105,拱墅区,12,whole,,,1,2,0,0,2,2`,
		`330109,萧山区,32,shares,,,1,1,0,0,1,1`,
		`330110,余杭区,15,shares,,,1,1,0,0,1,1`,
		`330113,临平区,45,shares,,,1,1,0,0,1,1`,
		`330114,钱塘区,\N,,not divisible,330104,1,1,0,0,1,2`)
	check("a ratio, by its parts", ask("ratio"),
		`330000,浙江省,0.557143,whole,,,1,3,1,11,3,90`,
		`330100,杭州市,0.557143,whole,,,1,3,3,13,3,13`,
		`330105,拱墅区,0.3,whole,,,1,2,0,0,2,2`,
		`330110,余杭区,0.75,shares,,,1,1,0,0,1,1`,
		`330113,临平区,0.75,shares,,,1,1,0,0,1,1`)
	check("a mean, by its weights", ask("mean"),
		`330000,浙江省,6.8,whole,,,1,3,1,11,3,90`,
		`330100,杭州市,6.8,whole,,,1,3,3,13,3,13`,
		`330105,拱墅区,7,whole,,,1,2,0,0,2,2`,
		`330110,余杭区,6,shares,,,1,1,0,0,1,1`,
		`330113,临平区,6,shares,,,1,1,0,0,1,1`)
	check("the greatest, of whole regions only", ask("max"),
		`330000,浙江省,9,whole,,,1,4,1,11,4,90`,
		`330100,杭州市,9,whole,,,1,4,2,13,4,13`,
		`330105,拱墅区,9,whole,,,1,2,0,0,2,2`,
		`330106,西湖区,3,whole,,,0,1,0,0,1,1`,
		`330110,余杭区,\N,,not divisible,330110,1,0,0,0,0,1`,
		`330113,临平区,\N,,not divisible,330110,1,0,0,0,0,1`)
	check("different subjects, of whole regions only", ask("distinct"),
		`330000,浙江省,3,whole,,,1,4,1,11,3,90`,
		`330100,杭州市,3,whole,,,1,4,1,13,3,13`,
		`330105,拱墅区,2,whole,,,1,3,0,0,2,2`,
		`330110,余杭区,\N,,not divisible,330110,1,0,0,0,0,1`,
		`330113,临平区,\N,,not divisible,330110,1,0,0,0,0,1`)
	check("a bare percentage, of what is the same as now", ask("none"),
		`330000,浙江省,\N,whole,,,1,4,1,11,4,90`,
		`330100,杭州市,5,whole,,,0,4,1,13,4,13`,
		`330105,拱墅区,\N,,other boundaries,,1,2,0,0,2,2`,
		`330106,西湖区,3,whole,,,0,1,0,0,1,1`,
		`330110,余杭区,\N,,other boundaries,330110,1,0,0,0,0,1`,
		`330113,临平区,\N,,other boundaries,330110,1,0,0,0,0,1`)
	if got := b.sql("SELECT region, value, why FROM $db.indicator_rollup_today WHERE indicator = 'last' AND level = 'county' ORDER BY region"); !slices.Equal(got, []string{"330105\t8\t", "330106\t3\t", "330110\t\\N\tnot divisible", "330113\t\\N\tnot divisible"}) {
		t.Errorf("the value known last: %v", got)
	}
	if got := b.sql("SELECT successor, share, basis FROM $db.region_share FINAL WHERE _deleted = 0 AND code = '330104' ORDER BY successor"); !slices.Equal(got, []string{"330102\t0.6\tdemonstration", "330114\t0.4\tdemonstration"}) {
		t.Errorf("shares: %v", got)
	}
	if got := b.sql("SELECT code, arrayStringConcat(predecessors, ' ') FROM $db.region FINAL WHERE _deleted = 0 AND valid_from = '2021-04-09' ORDER BY code"); !slices.Equal(got,
		[]string{"330102\t330102 330104", "330105\t330103 330105", "330109\t330109", "330110\t330110", "330113\t330110", "330114\t330104 330109"}) {
		t.Errorf("predecessors: %v", got)
	}
	sync(nil)
	if got := b.sql("SELECT region, value FROM $db.indicator_rollup_today WHERE indicator = 'sum' AND level = 'county' AND value IS NOT NULL"); !slices.Equal(got, []string{"330105\t12"}) {
		t.Errorf("after the shares were taken back: %v", got)
	}
}

// event is one change of boundaries.
type event struct {
	on       time.Time
	code     string    // region that is changed
	to       []string  // where its area goes; itself among them when it lives on
	shares   []float64 // of these
	declared bool
}

// changing is a forest of regions with its changes, as a list of regions and as what happened one after the other.
type changing struct {
	*world
	events []event
	now    map[string]string // county of today and its city
	cities map[string]string // city of today and its province
	shares []schemas.Share

	mergedInto map[string]string // by city
}

// changingWorld has counties that merge, split, are divided up, recoded and moved, and cities that merge.
func changingWorld(random *rand.Rand) *changing {
	w := &changing{world: &world{versions: map[string][]place{}}, now: map[string]string{}, cities: map[string]string{}}
	type stay struct {
		city     string
		from, to time.Time
	}
	stays := map[string][]stay{}    // of counties
	gave := map[string][]string{}   // successors in the list of regions
	ended := map[string]time.Time{} // cities
	merged := map[string]string{}   // cities
	fresh := map[string]int{}       // codes given by city
	home := map[string]string{}     // province of every city
	newIn := func(city string) string {
		fresh[city]++
		return fmt.Sprintf("%s%02d", city[:4], 20+fresh[city])
	}
	for p := range 2 {
		province := fmt.Sprintf("%d0000", 61+p)
		for c := range 3 {
			city := fmt.Sprintf("%s%02d00", province[:2], 1+c)
			w.cities[city], home[city] = province, province
			for range 4 {
				code := newIn(city)
				w.now[code], stays[code] = city, []stay{{city: city}}
			}
		}
	}
	counties := func() []string { return slices.Sorted(maps.Keys(w.now)) }
	left := func(city string) int {
		n := 0
		for _, c := range w.now {
			if c == city {
				n++
			}
		}
		return n
	}
	end := func(code string, on time.Time) {
		stays[code][len(stays[code])-1].to = on
		delete(w.now, code)
	}
	begin := func(code, city string, on time.Time) {
		w.now[code], stays[code] = city, append(stays[code], stay{city: city, from: on})
	}
	on := onDay("2020-01-10")
	for range 28 {
		on = on.AddDate(0, 0, 5+random.IntN(30))
		all := counties()
		x := all[random.IntN(len(all))]
		y := all[random.IntN(len(all))]
		if home[w.now[x]] != home[w.now[y]] {
			continue // so that provinces stay what they are
		}
		city := w.now[x]
		e := event{on: on, code: x, declared: random.IntN(2) == 0}
		share := float64(1+random.IntN(9)) / 10
		switch random.IntN(7) {
		case 0, 1: // x becomes a part of y
			if x == y || left(city) == 1 {
				continue
			}
			e.to = []string{y}
			end(x, on)
			gave[x] = append(gave[x], y)
		case 2, 3: // a part of x becomes a county, of its own city or another
			beside := city
			if random.IntN(3) == 0 {
				beside = w.now[y]
			}
			d := newIn(beside)
			e.to, e.shares = []string{x, d}, []float64{share, 1 - share}
			begin(d, beside, on)
			gave[x] = append(gave[x], d+"["+on.Format(time.DateOnly)+"]")
		case 4: // x is divided between y and a new county
			if x == y {
				continue
			}
			d := newIn(city)
			e.to, e.shares = []string{y, d}, []float64{share, 1 - share}
			end(x, on)
			begin(d, city, on)
			gave[x] = append(gave[x], y, d)
		case 5: // x gets another code
			d := newIn(city)
			e.to = []string{d}
			end(x, on)
			begin(d, city, on)
			gave[x] = append(gave[x], d)
		case 6: // x goes to another city, or the whole city does
			other := w.now[y]
			if other == city || len(merged) == 0 && left(city) > 3 {
				continue
			}
			movers := []string{x}
			if len(merged) == 0 {
				movers = slices.DeleteFunc(all, func(c string) bool { return w.now[c] != city })
			} else if left(city) == 1 {
				continue
			}
			if slices.ContainsFunc(movers, func(c string) bool { return len(stays[c]) > 1 || !stays[c][0].from.IsZero() }) {
				continue // the list could not tell its lines of one year apart
			}
			if len(merged) == 0 {
				merged[city], ended[city] = other, on
				delete(w.cities, city)
			}
			for _, c := range movers {
				end(c, on)
				begin(c, other, on)
			}
			continue // no county's area has changed
		}
		if e.declared && len(e.to) > 1 {
			for i, to := range e.to {
				w.shares = append(w.shares, schemas.Share{Code: x, On: on, Successor: to, Share: e.shares[i], Basis: "test"})
			}
		}
		w.events = append(w.events, e)
	}
	text := func(day time.Time) string {
		if day.IsZero() {
			return ""
		}
		return day.Format(time.DateOnly)
	}
	w.csv.WriteString("code,name,level,parent,from,to,successors\n")
	w.add("100000", "nation", "", "", "")
	w.versions["330000"] = []place{{level: "province", parent: "100000"}} // built in; nobody reports anything there
	for _, city := range slices.Sorted(maps.Keys(home)) {
		if w.versions[home[city]] == nil {
			w.add(home[city], "province", "100000", "", "")
		}
		if to := merged[city]; to != "" {
			w.add(city, "city", home[city], "", text(ended[city]), to)
		} else {
			w.add(city, "city", home[city], "", "")
		}
	}
	for _, code := range slices.Sorted(maps.Keys(stays)) {
		for i, s := range stays[code] {
			var successors []string
			for _, to := range gave[code] {
				_, day, part := strings.Cut(strings.TrimSuffix(to, "]"), "[")
				inside := part && !onDay(day).Before(s.from) && (s.to.IsZero() || onDay(day).Before(s.to))
				if inside || !part && i == len(stays[code])-1 {
					successors = append(successors, to)
				}
			}
			w.add(code, "county", s.city, text(s.from), text(s.to), successors...)
		}
	}
	w.mergedInto = merged
	return w
}

// holding is how much of an area lies somewhere.
type holding struct {
	share float64
	known bool
}

// follow says where the area that a county had on a day lies today, by letting one change after the other happen to it.
func (w *changing) follow(code string, day time.Time) map[string]holding {
	held := map[string]holding{code: {1, true}}
	for _, e := range w.events {
		h, ok := held[e.code]
		if !ok || !e.on.After(day) {
			continue
		}
		delete(held, e.code)
		for i, to := range e.to {
			got := h
			if len(e.to) > 1 {
				got = holding{h.share * e.shares[i], h.known && e.declared}
			}
			if before, ok := held[to]; ok {
				got = holding{before.share + got.share, before.known && got.known}
			}
			held[to] = got
		}
	}
	return held
}

// there reports whether a county existed on a day.
func (w *changing) there(code string, day time.Time) bool {
	return slices.ContainsFunc(w.versions[code], func(p place) bool {
		return p.level == "county" && !p.from.After(day) && (p.to.IsZero() || p.to.After(day))
	})
}

// upToday lists a county of today, its city, its province and the nation.
func (w *changing) upToday(county string) []string {
	return []string{county, w.now[county], w.cities[w.now[county]], "100000"}
}

// figureToday is what a plain computation says of a region of today.
type figureToday struct {
	value, numerator, denominator, reported                                            float64
	figures, children, childrenReporting, origins, originsReporting, basis, why, below int
}

var whys = []string{"", "no share", "not divisible", "other boundaries"}

// today puts the figures of one indicator and period together on the boundaries of today.
func (w *changing) today(how string, current []observation, last time.Time) map[string]figureToday {
	walk, best := w.counting(current, last)
	var counts []observation
	for _, c := range walk("100000") {
		counts = append(counts, c.observation)
	}
	var counties []string // of the day
	for code := range w.versions {
		if w.there(code, last) {
			counties = append(counties, code)
		}
	}
	touching := map[string]map[string]bool{} // by region of today: counties of the day
	for _, county := range counties {
		for part := range w.follow(county, last) {
			for _, up := range w.upToday(part) {
				if touching[up] == nil {
					touching[up] = map[string]bool{}
				}
				touching[up][county] = true
			}
		}
	}
	type sum struct {
		figureToday
		known                                           []counted
		total, numerators, denominators                 float64
		parts, shared                                   bool
		subjects, origins                               map[string]bool
		units                                           map[string][2]float64
		notDivisible, noShare, otherBoundaries, ownHere bool
	}
	sums := map[string]*sum{}
	of := func(code string) *sum {
		if sums[code] == nil {
			sums[code] = &sum{parts: true, subjects: map[string]bool{}, origins: map[string]bool{}, units: map[string][2]float64{}}
			sums[code].reported = math.NaN()
		}
		return sums[code]
	}
	// image is the region of today that a region became as a whole, and whether it has nothing beside it.
	image := func(region string) (code string, same bool) {
		switch w.at(region, last).level {
		case "county":
			held := w.follow(region, last)
			if len(held) != 1 {
				return "", false
			}
			for code = range held {
			}
			return code, len(touching[code]) == 1
		case "city":
			code = region
			for w.mergedInto[code] != "" {
				code = w.mergedInto[code]
			}
		default:
			code = region
		}
		inside := map[string]bool{}
		for _, county := range counties {
			if slices.Contains(w.way(county, last), region) {
				inside[county] = true
			}
		}
		for county := range inside {
			for part := range w.follow(county, last) {
				if !slices.Contains(w.upToday(part), code) {
					return code, false
				}
			}
		}
		return code, len(inside) == len(touching[code])
	}
	for _, o := range counts {
		level := w.at(o.region, last).level
		held := map[string]holding{}
		if level == "county" {
			held = w.follow(o.region, last)
		} else {
			for _, county := range counties {
				if slices.Contains(w.way(county, last), o.region) {
					for part := range w.follow(county, last) {
						held[part] = holding{0, false}
					}
				}
			}
		}
		whole, same := image(o.region)
		within := map[string][]holding{}
		units := map[string]map[string]bool{}
		for part, h := range held {
			for i, up := range w.upToday(part) {
				if i < map[string]int{"county": 0, "city": 1, "province": 2, "nation": 3}[level] {
					continue
				}
				within[up] = append(within[up], h)
				if units[up] == nil {
					units[up] = map[string]bool{}
				}
				unit := ""
				if i > 1 {
					unit = w.now[part]
				}
				units[up][unit] = true
			}
		}
		for up, parts := range within {
			s := of(up)
			share, in := 1.0, true
			divisible := o.member == "" && slices.Contains([]string{"sum", "ratio", "mean"}, how) && !(how == "mean" && len(units[up]) > 1)
			if len(parts) < len(held) {
				share, in = 0, divisible
				for _, h := range parts {
					share += h.share
					in = in && h.known && level == "county"
				}
				if !in {
					s.notDivisible = s.notDivisible || !divisible
					s.noShare = s.noShare || divisible
				}
				s.shared = s.shared || in
			} else if how == "mean" && len(units[up]) > 1 {
				in = false
				s.notDivisible = true
			}
			if o.member == "" && o.subject == "" && (len(parts) < len(held) || up == whole) && !(up == whole && same) {
				s.otherBoundaries = true
			}
			if o.member == "" && o.subject == "" && up == whole && same {
				s.ownHere = true
			}
			if !in {
				continue
			}
			s.figures++
			if level == "county" {
				s.origins[o.region] = true
			}
			s.total += o.value * share
			s.numerators += o.numerator * share
			s.denominators += o.denominator * share
			s.parts = s.parts && o.denominator != 0
			weight := 1.0
			if o.denominator != 0 {
				weight = o.denominator
			}
			for unit := range units[up] {
				s.units[unit] = [2]float64{s.units[unit][0] + o.value*weight*share, s.units[unit][1] + weight*share}
			}
			if o.subject != "" {
				s.subjects[o.subject] = true
			}
			s.known = append(s.known, counted{observation: o})
		}
	}
	for code := range w.versions {
		own := best(code, "", true)
		if whole, same := image(code); len(own) > 0 && same && sums[whole] != nil {
			s := sums[whole]
			if how == "none" {
				s.ownHere = true
			}
			for _, o := range own {
				if math.IsNaN(s.reported) || o.value > s.reported {
					s.reported = o.value
				}
			}
		}
	}
	figures := map[string]figureToday{}
	for code, s := range sums {
		f := s.figureToday
		f.value, f.numerator, f.denominator = math.NaN(), math.NaN(), math.NaN()
		f.origins, f.originsReporting = len(touching[code]), len(s.origins)
		switch {
		case how == "none" && math.IsNaN(s.reported) && s.otherBoundaries:
			f.why = 3
		case how == "none":
		case s.noShare:
			f.why = 1
		case s.notDivisible:
			f.why = 2
		}
		if f.why == 0 {
			f.basis = 1
			if s.shared {
				f.basis = 2
			}
			if s.parts {
				f.numerator, f.denominator = s.numerators, s.denominators
			}
		}
		if !s.ownHere {
			f.below = 1
		}
		switch {
		case how == "none":
			f.value = s.reported
		case f.why > 0:
		case how == "sum":
			f.value = s.total
		case how == "ratio" && s.parts:
			f.value = s.numerators / s.denominators
		case how == "ratio" && f.figures == 1 && !s.shared:
			f.value = s.total
		case how == "mean":
			f.value = 0
			for _, u := range s.units {
				f.value += u[0] / u[1] / float64(len(s.units))
			}
		case how == "max":
			for i, c := range s.known {
				if i == 0 || c.value > f.value {
					f.value = c.value
				}
			}
		case how == "distinct" && len(s.subjects) > 0:
			f.value = float64(len(s.subjects))
		case how == "distinct" && f.figures == 1:
			f.value = s.total
		case how == "last":
			newest := s.known[0]
			for _, c := range s.known {
				if c.extracted.After(newest.extracted) {
					newest = c
				}
			}
			f.value = newest.value
		}
		figures[code] = f
	}
	parents := map[string]string{"330000": "100000"}
	for county, city := range w.now {
		parents[county], parents[city] = city, w.cities[city]
		parents[w.cities[city]] = "100000"
	}
	for code, parent := range parents {
		if f, ok := figures[parent]; ok {
			f.children++
			if below, ok := figures[code]; ok && below.why == 0 {
				f.childrenReporting++
			}
			figures[parent] = f
		}
	}
	return figures
}

// TestFiguresOnTheBoundariesOfTodayAgreeWithAPlainComputation has every aggregation over random regions that merge, split, are divided up,
// recoded and moved, with shares for some of it, and figures of several levels, feeds, parts and subjects.
func TestFiguresOnTheBoundariesOfTodayAgreeWithAPlainComputation(t *testing.T) {
	t.Parallel()
	random := seedOf(t)
	w := changingWorld(random)
	regions, problems := schemas.ImportRegions(strings.NewReader(w.csv.String()), "regions.csv")
	if len(problems) > 0 {
		t.Fatalf("%v\n%s", problems, w.csv.String())
	}
	b := migrated(t)
	var indicators []schemas.Indicator
	for _, how := range []string{"sum", "ratio", "mean", "max", "distinct", "last", "none"} {
		indicators = append(indicators, indicator(how, how))
	}
	if err := b.Sync(b.ctx, schemas.Standard().WithRegions(regions).WithShares(w.shares), indicators); err != nil {
		t.Fatal(err)
	}
	const months = 30
	begin := func(n int) time.Time { return day(2020, 1+n, 1) }
	last := func(n int) time.Time {
		next := begin(n + 1)
		return time.Date(next.Year(), next.Month(), 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, -1)
	}
	type cell struct {
		indicator, region, member, subject, feed string
		n                                        int
	}
	there := map[cell]observation{}
	for _, i := range indicators {
		for range 500 {
			c := cell{indicator: i.Code, feed: []string{"direct", "source"}[random.IntN(2)], n: random.IntN(months)}
			for c.region == "" || w.at(c.region, last(c.n)).level == "county" && !w.there(c.region, last(c.n)) || c.region == "100000" ||
				w.at(c.region, last(c.n)).level != "county" && random.IntN(4) > 0 {
				c.region = w.codes[random.IntN(len(w.codes))]
			}
			if into := w.versions[c.region][0]; into.level == "city" && !into.to.IsZero() && !into.to.After(last(c.n)) {
				continue // a city that was merged away
			}
			if random.IntN(6) == 0 {
				c.member = []string{"m0", "m1", "其中:m2"}[random.IntN(3)]
			}
			if random.IntN(4) == 0 || i.Aggregation == "distinct" && random.IntN(4) > 0 {
				c.subject = fmt.Sprint("s", random.IntN(4))
			}
			o := observation{indicator: i.Code, region: c.region, member: c.member, subject: c.subject, feed: c.feed, period: begin(c.n), value: float64(random.IntN(200) - 20),
				extracted: time.Date(2023, 1, 1, 0, 0, len(there), 0, time.UTC), index: uint32(len(there))}
			if random.IntN(8) > 0 && (i.Aggregation == "ratio" || i.Aggregation == "mean" && random.IntN(2) == 0) {
				o.numerator, o.denominator = float64(random.IntN(50)), float64(1+random.IntN(50))
				if i.Aggregation == "ratio" {
					o.value = o.numerator / o.denominator
				}
			}
			if _, again := there[c]; !again {
				there[c] = o
			}
		}
	}
	b.load("once", slices.Collect(maps.Values(there))...)
	want := map[string][]float64{}
	kinds := map[[2]int]int{}
	for _, i := range indicators {
		for n := range months {
			var current []observation
			for c, o := range there {
				if c.indicator == i.Code && c.n == n {
					current = append(current, o)
				}
			}
			for region, f := range w.today(i.Aggregation, current, last(n)) {
				if region == "100000" {
					continue // Zhejiang, which is built in, is below it too
				}
				kinds[[2]int{f.basis, f.why}]++
				want[fmt.Sprintf("%s %s %s", i.Code, region, begin(n).Format(time.DateOnly))] = []float64{f.value, f.numerator, f.denominator, f.reported, float64(f.figures),
					float64(f.childrenReporting), float64(f.children), float64(f.originsReporting), float64(f.origins), float64(f.basis), float64(f.why), float64(f.below)}
			}
		}
	}
	compareNumbers(t, "today", b.sql("SELECT indicator, region, toDate(period), value, numerator, denominator, reported, figures, children_reporting, children, origins_reporting, origins, "+
		"indexOf(['', 'whole', 'shares'], toString(basis)) - 1, indexOf(['"+strings.Join(whys, "', '")+"'], toString(why)) - 1, from_below FROM $db.indicator_rollup_today WHERE region != '100000'"), 3, want)
	t.Logf("%d changes; figures by basis and reason: %v", len(w.events), kinds)
	// Whatever the boundaries, provinces and the nation have what was reported in them.
	same := b.sql(`SELECT indicator, count(), countIf(abs(ifNull(a.value, 0) - ifNull(n.value, 0)) > 1e-9 * greatest(abs(ifNull(a.value, 0)), 1) OR isNull(a.value) != isNull(n.value) OR a.figures != n.figures)
		FROM (SELECT * FROM $db.indicator_rollup WHERE level IN ('province', 'nation')) AS a FULL JOIN (SELECT * FROM $db.indicator_rollup_today WHERE level IN ('province', 'nation')) AS n USING (indicator, region, period)
		WHERE indicator NOT IN ('mean', 'none') GROUP BY indicator ORDER BY indicator`)
	for _, line := range same {
		if !strings.HasSuffix(line, "\t0") {
			t.Errorf("figures of provinces and the nation, and those that differ: %s", line)
		}
	}
	if len(same) != 5 {
		t.Errorf("figures of provinces and the nation: %v", same)
	}
}
