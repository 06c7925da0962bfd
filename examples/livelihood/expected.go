package livelihood

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Names under which Headwater counts rows; they are part of what is expected.
const (
	filterEmpty         = "unpivot.empty"
	ruleNumber          = "parse.number"
	ruleExpression      = "expr.failed"
	ruleDate            = "parse.date"
	ruleDatetime        = "parse.datetime"
	ruleMonth           = "parse.month"
	ruleRegionUnknown   = "region.unknown"
	ruleRegionAmbiguous = "region.ambiguous"
	ruleRegionInexact   = "region.inexact" // a warning: the row is loaded and flagged
	ruleCode            = "code.unknown"
	ruleRequired        = "required"
	ruleLookup          = "lookup.unknown"
	ruleCSVFields       = "csv.fields"
	ruleJSONSyntax      = "json.syntax"
	ruleJSONRecord      = "json.record"
	ruleDamaged         = "text.damaged"
	ruleIdentity        = "caller_id.check"
)

// StreamCount is what must become of one stream's rows. Read = Loaded + Quarantined + Filtered, always.
type StreamCount struct {
	Source, Stream string
	Read           int            // source rows, those that could not even be read included
	Loaded         int            // source rows of which there are records
	Records        int            // records of the standard schema
	Quarantined    map[string]int // source rows by the rule that they break, or by several with commas between them
	Filtered       map[string]int // source rows by the filter that leaves them out
	Flagged        map[string]int // records by the warning that they are flagged with
}

// Figure is one indicator of one region and month, added up from the counties.
type Figure struct {
	Indicator, Region, Name, Level string
	Month                          int     // of 2021
	Value                          float64 // of a ratio: numerator over denominator
	Target                         float64
	Completion                     float64 // value over target
	Plan                           float64 // what the plan wants by the end of the month
	Status                         string  // ahead, on schedule or behind
}

// Disagreement is a figure that was reported upwards and that the counties' own figures do not add up to.
type Disagreement struct {
	Indicator, Region, Name string
	Month                   int // of 2021
	Reported, RolledUp      float64
	Why                     string
}

// Expectation is what a warehouse must hold after the project has been run to its end.
type Expectation struct {
	Streams       []StreamCount
	Rollup        []Figure       // every indicator that has a target, every month, for the province and its cities
	Disagreements []Disagreement // largest first
	Scores        []Score        // the control index and its halves, every day, for the province, its cities and its counties
	Air           []AirMonth     // in the order of months and regions
	Real          []RealDay      // in the order of days
}

// RealDay is a day of the real epidemic of 2020 on which the province reported another number of confirmed cases than its cities and what it
// counts beside them add up to.
type RealDay struct {
	Date               string // 2020-02-07
	Reported, RolledUp int
}

// Expected computes what must come out, from what the generator knows of its own rows. It uses nothing of Headwater.
func Expected() Expectation {
	d := newDemo()
	var e Expectation
	for _, name := range slices.Sorted(maps.Keys(d.accounts)) {
		e.Streams = append(e.Streams, d.accounts[name].StreamCount)
	}
	e.Rollup = d.rollup()
	e.Disagreements = d.disagreements(e.Rollup)
	e.Scores, e.Air, e.Real = d.scores(), d.airMonths(), d.real
	return e
}

// Closing returns the table of the demo's closing screen: one indicator in the latest month, the province first and then its
// cities by code.
func (e Expectation) Closing(indicator string) []Figure {
	var rows []Figure
	for _, f := range e.Rollup {
		if f.Indicator == indicator && f.Month == lastMonth {
			rows = append(rows, f)
		}
	}
	return rows
}

// Month is the start of a month of 2021 where the demo takes place.
func Month(month int) time.Time {
	return time.Date(2021, time.Month(month), 1, 0, 0, 0, 0, time.FixedZone("Asia/Shanghai", 8*3600))
}

// account counts a stream's rows as they are made.
type account struct{ StreamCount }

func (a *account) load(records int, flags ...string) {
	a.Read++
	a.Loaded++
	a.Records += records
	for _, f := range flags {
		a.Flagged[f] += records
	}
}

func (a *account) quarantine(rule string) { a.Read++; a.Quarantined[rule]++ }

func (a *account) filter(name string) { a.Read++; a.Filtered[name]++ }

// figureKey names a county's figure.
type figureKey struct {
	indicator, region string
	month             int
}

type fraction struct{ numerator, denominator float64 }

// demo is the project's rows and what must become of them.
type demo struct {
	targets  map[string]map[string]int
	progress map[string][]figures

	marketTables map[int][][]marketRow
	jinyunRows   []jinyunRow
	airRows      []airRow
	cases        map[int][]string // lines of JSON by month
	inspections  []string         // lines of CSV
	province     []provinceRow
	targetRows   []targetRow

	healthSheets   [][]healthRow // a day after the other
	transportLists [][][]string  // likewise, with the header
	control        map[controlKey]fraction
	real           []RealDay

	accounts map[string]*account
	loaded   map[figureKey]fraction // what counties' figures come to once loaded
	altered  map[figureKey]string   // what the province's table was given on purpose, and why
}

// newDemo makes all rows. It is the same at every call.
func newDemo() *demo {
	d := &demo{
		targets: targets(), marketTables: map[int][][]marketRow{}, cases: map[int][]string{},
		control: map[controlKey]fraction{}, accounts: map[string]*account{}, loaded: map[figureKey]fraction{}, altered: map[figureKey]string{},
	}
	d.progress = progress(d.targets)
	for month := firstMonth; month <= lastMonth; month++ {
		d.marketTables[month] = d.market(month)
	}
	d.makeJinyun()
	d.makeAir()
	d.makeHotline()
	d.makeInspections()
	d.makeProvince()
	d.makeTargets()
	d.makeControl()
	d.makeEpidemic()
	return d
}

func (d *demo) account(source, stream string) *account {
	name := source + "/" + stream
	if d.accounts[name] == nil {
		d.accounts[name] = &account{StreamCount{Source: source, Stream: stream, Quarantined: map[string]int{}, Filtered: map[string]int{}, Flagged: map[string]int{}}}
	}
	return d.accounts[name]
}

// fact adds to a county's figure that will be loaded.
func (d *demo) fact(indicator, region string, month int, value float64) {
	k := figureKey{indicator, region, month}
	f := d.loaded[k]
	d.loaded[k] = fraction{f.numerator + value, 1}
}

func (d *demo) ratio(indicator, region string, month, numerator, denominator int) {
	d.loaded[figureKey{indicator, region, month}] = fraction{float64(numerator), float64(denominator)}
}

// rollup adds the loaded counties up to their cities and the province.
func (d *demo) rollup() []Figure {
	var rows []Figure
	for _, it := range append(slices.Clone(counted), canteen) {
		for month := firstMonth; month <= lastMonth; month++ {
			var cityRows []Figure
			var all fraction
			var allGoal goal
			for _, c := range cities {
				var sum fraction
				var aim goal
				for _, county := range c.counties {
					f := d.loaded[figureKey{it.indicator, county.code, month}]
					sum.numerator += f.numerator
					sum.denominator += f.denominator
					aim.add(goalOf(it, d.targets[it.indicator][county.code]))
				}
				all.numerator += sum.numerator
				all.denominator += sum.denominator
				allGoal.add(aim)
				cityRows = append(cityRows, figure(it, c.code, c.name, "city", month, sum, aim))
			}
			rows = append(rows, figure(it, province, provinceName, "province", month, all, allGoal))
			rows = append(rows, cityRows...)
		}
	}
	return rows
}

// goal is a target with the points of its plan.
type goal struct {
	target float64
	points [4]float64
}

func goalOf(it item, target int) goal {
	g := goal{target: float64(target)}
	for i, p := range plan {
		g.points[i] = float64(planned(target, p.percent))
	}
	return g
}

func (g *goal) add(other goal) {
	g.target += other.target
	for i := range g.points {
		g.points[i] += other.points[i]
	}
}

// by is what the plan wants by a day: straight between its points, from nothing on the eve of the year to the target on the
// day that it is due.
func (g goal) by(day time.Time) float64 {
	from, before := time.Date(2020, 12, 31, 0, 0, 0, 0, time.UTC), 0.0
	for i, p := range plan {
		to := time.Date(2021, time.Month(p.month), p.day, 0, 0, 0, 0, time.UTC)
		if day.Before(to) {
			return before + (g.points[i]-before)*day.Sub(from).Hours()/to.Sub(from).Hours()
		}
		from, before = to, g.points[i]
	}
	return g.target
}

// Tolerance is how far below the plan a figure is still on schedule, as a share of the target.
const Tolerance = 0.05

func figure(it item, code, name, level string, month int, sum fraction, aim goal) Figure {
	f := Figure{Indicator: it.indicator, Region: code, Name: name, Level: level, Month: month, Value: sum.numerator}
	if it.indicator == canteen.indicator {
		f.Value = sum.numerator / sum.denominator
		aim = goal{target: 1}
		for i, p := range plan {
			aim.points[i] = float64(p.percent) / 100
		}
	}
	f.Target = aim.target
	f.Completion = f.Value / f.Target
	last := time.Date(2021, time.Month(month+1), 0, 0, 0, 0, 0, time.UTC)
	f.Plan = aim.by(last)
	switch {
	case f.Value >= f.Target: // and no month of the demo is after the day that targets are due
		f.Status = "ahead"
	case f.Value >= f.Plan-Tolerance*f.Target:
		f.Status = "on schedule"
	default:
		f.Status = "behind"
	}
	return f
}

// disagreements holds the province's own table against the rollup.
func (d *demo) disagreements(rollup []Figure) []Disagreement {
	own := map[figureKey]Figure{}
	for _, f := range rollup {
		own[figureKey{f.Indicator, f.Region, f.Month}] = f
	}
	var all []Disagreement
	for _, r := range d.province {
		if r.broken {
			continue
		}
		for _, it := range counted {
			k := figureKey{it.indicator, r.code, r.month}
			reported, summed := float64(r.built[it.indicator]), own[k].Value
			if reported == summed {
				continue
			}
			why := d.altered[k]
			if why == "" {
				why = "a county's row was left out or is in quarantine"
			}
			all = append(all, Disagreement{it.indicator, r.code, own[k].Name, r.month, reported, summed, why})
		}
	}
	slices.SortFunc(all, func(a, b Disagreement) int {
		abs := func(x Disagreement) float64 { return max(x.Reported-x.RolledUp, x.RolledUp-x.Reported) }
		switch {
		case abs(a) != abs(b):
			if abs(a) > abs(b) {
				return -1
			}
			return 1
		case a.Indicator != b.Indicator:
			return strings.Compare(a.Indicator, b.Indicator)
		case a.Region != b.Region:
			return strings.Compare(a.Region, b.Region)
		default:
			return a.Month - b.Month
		}
	})
	return all
}
