package warehouse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/headwater-data/headwater/internal/fault"
)

// What people do to the figures of a period.
const (
	PeriodFreeze  = "freeze"  // the figures of now are the official ones
	PeriodRestate = "restate" // the figures of now take the place of the frozen ones
	PeriodPublish = "publish" // the frozen figures were published
	PeriodReopen  = "reopen"  // the figures follow their sources again
)

// PeriodAct is one thing that somebody does to the figures of an indicator and a period, of a region and all below it.
type PeriodAct struct {
	Action    string
	Indicator string
	Grain     string
	Period    time.Time
	Region    string
	Who, Why  string
}

// PeriodChange is a figure whose official value an act changes, or would have changed.
type PeriodChange struct {
	Region, Name string
	Old, New     *float64 // nil for none
}

func (c PeriodChange) String() string {
	text := func(v *float64) string {
		if v == nil {
			return "none"
		}
		return fmt.Sprint(*v)
	}
	return fmt.Sprintf("%s %s: %s, was %s", c.Region, c.Name, text(c.New), text(c.Old))
}

// PeriodDone is what an act has done.
type PeriodDone struct {
	Act     string // its identifier, which the audit table has too
	Figures int    // regions that it was about
	Changed []PeriodChange
}

// periodFigure is a row of the table period_figure.
type periodFigure struct {
	Indicator         string    `ch:"indicator"`
	Grain             string    `ch:"grain"`
	Period            time.Time `ch:"period"`
	Region            string    `ch:"region"`
	Act               string    `ch:"act"`
	Action            string    `ch:"action"`
	Published         bool      `ch:"published"`
	Root              string    `ch:"root"`
	At                time.Time `ch:"at"`
	Who               string    `ch:"who"`
	Why               string    `ch:"why"`
	RegionName        string    `ch:"region_name"`
	Level             string    `ch:"level"`
	Parent            string    `ch:"parent"`
	Value             *float64  `ch:"value"`
	Numerator         *float64  `ch:"numerator"`
	Denominator       *float64  `ch:"denominator"`
	ChildrenReporting int64     `ch:"children_reporting"`
	Children          int64     `ch:"children"`
}

// standing is a region with its figures: the official ones, and the live ones.
type standing struct {
	Name, Level, Parent string
	Below               bool   // the region of the act or below it; else above it
	State               string // live, frozen or published

	Region                   string   `ch:"region"`
	Value                    *float64 `ch:"value"`
	Numerator                *float64 `ch:"numerator"`
	Denominator              *float64 `ch:"denominator"`
	Reporting                int64    `ch:"children_reporting"`
	Children                 int64    `ch:"children"`
	Live                     *float64
	LiveNumerator, LiveWhole *float64
	LiveReporting            int64
	LiveChildren             int64
}

// ActOnPeriod does it, or says why it cannot be done (of the usage kind) and changes nothing. All figures of an act are one
// block: they are there together or not at all. It is audited.
//
// Freezing never changes an official figure: where a part is frozen already and its sources have changed since, it is refused. A
// restatement is about the whole of what was frozen together, so that what is rolled up from it follows: it is refused below a
// region that is frozen too.
func (w *Warehouse) ActOnPeriod(ctx context.Context, act PeriodAct) (PeriodDone, error) {
	done := PeriodDone{Act: NewAuditID()}
	entry := AuditEntry{ID: done.Act, Who: act.Who, Command: "period " + act.Action, TargetKind: "period", Why: act.Why,
		Target: strings.Join([]string{act.Indicator, act.Region, act.Grain, act.Period.In(shanghai).Format("2006-01-02T15:04")}, " ")}
	err := w.Audited(ctx, entry, func(e *AuditEntry) error {
		there, err := w.standings(ctx, act)
		if err != nil {
			return err
		}
		rows, err := act.rows(there, &done)
		if err != nil {
			return fault.Usage(err)
		}
		e.Details = AuditDetails(map[string]any{"figures": done.Figures, "changed": len(done.Changed)})
		version := uint64(time.Now().UnixMicro())
		return insertOwn(ctx, w, "period_figure", "period/"+done.Act, rows, func(periodFigure) uint64 { return version }, nil)
	})
	return done, err
}

// rows decides what the act means for each region.
func (a PeriodAct) rows(there []standing, done *PeriodDone) ([]periodFigure, error) {
	var above, loose, differ []string
	var changed []PeriodChange
	var rows []periodFigure
	at := time.Now().UTC()
	found, held, unpublished := false, false, false
	for _, s := range there {
		live := s.State == "live"
		if !s.Below {
			if !live {
				above = append(above, s.Region)
			}
			continue
		}
		if s.Region == a.Region {
			found, held = true, !live
		}
		if live {
			loose = append(loose, s.Region)
		}
		unpublished = unpublished || s.State != "published"
		row := periodFigure{Indicator: a.Indicator, Grain: a.Grain, Period: a.Period, Region: s.Region, Act: done.Act, Action: a.Action,
			Published: a.Action == PeriodPublish || a.Action != PeriodReopen && s.State == "published",
			Root:      a.Region, At: at, Who: a.Who, Why: a.Why, RegionName: s.Name, Level: s.Level, Parent: s.Parent,
			Value: s.Value, Numerator: s.Numerator, Denominator: s.Denominator, ChildrenReporting: s.Reporting, Children: s.Children}
		if live || a.Action == PeriodRestate { // what is frozen is kept as it is by every other act
			row.Value, row.Numerator, row.Denominator, row.ChildrenReporting, row.Children = s.Live, s.LiveNumerator, s.LiveWhole, s.LiveReporting, s.LiveChildren
		}
		if s.heldAside() {
			change := PeriodChange{Region: s.Region, Name: s.Name, Old: s.Value, New: s.Live}
			differ, changed = append(differ, change.String()), append(changed, change)
		}
		rows = append(rows, row)
	}
	what := fmt.Sprintf("%s of %s", a.Indicator, a.Region)
	within := strings.Join(above, " and ")
	switch {
	case !found:
		return nil, fmt.Errorf("there is no region %s in that period", a.Region)
	case a.Action == PeriodFreeze && len(above) > 0:
		return nil, fmt.Errorf("%s lies within %s, which is frozen, and what is below it with it", a.Region, within)
	case a.Action == PeriodFreeze && len(loose) == 0:
		return nil, fmt.Errorf("%s is frozen already", what)
	case a.Action == PeriodFreeze && len(differ) > 0:
		return nil, fmt.Errorf("parts of %s are frozen already, and later figures are held aside there (%s): restate those first", what, some(differ))
	case a.Action != PeriodFreeze && !held:
		return nil, fmt.Errorf("%s is not frozen", what)
	case (a.Action == PeriodRestate || a.Action == PeriodReopen) && len(above) > 0:
		return nil, fmt.Errorf("%s is frozen within %s, and what is rolled up from it has to follow: name that region", a.Region, within)
	case a.Action == PeriodRestate && len(differ)+len(loose) == 0:
		return nil, fmt.Errorf("%s has nothing to restate: its live figures are the frozen ones", what)
	case a.Action == PeriodPublish && len(loose) > 0:
		return nil, fmt.Errorf("parts of %s are not frozen (%s): restate it first", what, some(loose))
	case a.Action == PeriodPublish && !unpublished:
		return nil, fmt.Errorf("%s is published already", what)
	}
	done.Figures = len(rows)
	if a.Action == PeriodRestate || a.Action == PeriodReopen {
		done.Changed = changed
	}
	return rows, nil
}

// some names the first of many.
func some(names []string) string {
	const most = 5
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}

// standings reads the regions that the act is about, those above them, and how their figures stand.
func (w *Warehouse) standings(ctx context.Context, act PeriodAct) ([]standing, error) {
	first := act.Period.In(shanghai)
	args := []any{
		clickhouse.Named("indicator", act.Indicator), clickhouse.Named("grain", act.Grain), clickhouse.Named("period", act.Period.UnixMilli()), clickhouse.Named("region", act.Region),
		clickhouse.Named("first", first.Format(time.DateOnly)), clickhouse.Named("last", lastDay(act.Grain, first).Format(time.DateOnly)),
	}
	var places []struct {
		Region string   `ch:"region"`
		Name   string   `ch:"name"`
		Level  string   `ch:"level"`
		Parent string   `ch:"parent"`
		Uppers []string `ch:"uppers"` // with the region itself
	}
	if err := w.data.Select(ctx, &places, `
SELECT toString(p.code) AS region, argMax(p.name, p.since) AS name, argMax(toString(p.level), p.since) AS level, argMax(toString(p.parent), p.since) AS parent,
	argMax(arrayMap(x -> x.1, p.path), p.since) AS uppers
FROM `+w.table("region_path")+` AS p FINAL
WHERE p._deleted = 0 AND p.since <= toDate32({last:String}) AND p.code IN
	(SELECT code FROM `+w.table("region")+` FINAL WHERE _deleted = 0 AND valid_from <= toDate32({last:String}) AND (valid_to IS NULL OR valid_to > toDate32({first:String})))
GROUP BY p.code
ORDER BY region`, args...); err != nil {
		return nil, w.wrap(err, "read the regions of a period")
	}
	var live []standing
	if err := w.data.Select(ctx, &live, `
SELECT region, value, numerator, denominator, toInt64(children_reporting) AS children_reporting, toInt64(children) AS children
FROM `+w.table("figure_live")+`
WHERE indicator = {indicator:String} AND grain = {grain:String} AND period = fromUnixTimestamp64Milli({period:Int64}, 'Asia/Shanghai')`, args...); err != nil {
		return nil, w.wrap(err, "read the live figures of a period")
	}
	official, err := selectOwn[periodFigure](ctx, w, "period_figure", "own.indicator = {indicator:String} AND own.grain = {grain:String} AND own.period = fromUnixTimestamp64Milli({period:Int64}, 'Asia/Shanghai')"+
		" ORDER BY own.region, own.act DESC LIMIT 1 BY own.region", args...)
	if err != nil {
		return nil, err
	}
	figures := make(map[string]standing, len(live))
	for _, l := range live {
		figures[l.Region] = standing{Live: l.Value, LiveNumerator: l.Numerator, LiveWhole: l.Denominator, LiveReporting: l.Reporting, LiveChildren: l.Children}
	}
	for _, o := range official {
		if o.Action == PeriodReopen {
			continue
		}
		s := figures[o.Region]
		s.State, s.Value, s.Numerator, s.Denominator, s.Reporting, s.Children = "frozen", o.Value, o.Numerator, o.Denominator, o.ChildrenReporting, o.Children
		if o.Published {
			s.State = "published"
		}
		figures[o.Region] = s
	}
	var above []string
	for _, p := range places {
		if p.Region == act.Region {
			above = p.Uppers
		}
	}
	var rows []standing
	for _, p := range places {
		below := slices.Contains(p.Uppers, act.Region)
		if !below && !slices.Contains(above, p.Region) {
			continue
		}
		s := figures[p.Region]
		s.Region, s.Name, s.Level, s.Parent, s.Below, s.State = p.Region, p.Name, p.Level, p.Parent, below, cmp.Or(s.State, "live")
		rows = append(rows, s)
	}
	return rows, nil
}

// heldAside reports whether a later figure than the official one is held aside. Sums of the same figures may differ in their last
// bits; the view indicator_official has the same measure.
func (s standing) heldAside() bool {
	if s.State == "live" {
		return false
	}
	if s.Value == nil || s.Live == nil {
		return s.Value != s.Live
	}
	return math.Abs(*s.Value-*s.Live) > 1e-9*max(math.Abs(*s.Value), math.Abs(*s.Live), 1)
}

// shanghai is the zone of all periods. China has had no summer time since 1991; before that a day of it may be taken for its neighbour.
var shanghai = time.FixedZone("Asia/Shanghai", 8*60*60)

// lastDay is the last day of the period of that length, in the period's own zone.
func lastDay(grain string, period time.Time) time.Time {
	switch grain {
	case "week":
		return period.AddDate(0, 0, 6)
	case "xun":
		if period.Day() > 20 {
			return period.AddDate(0, 1, -period.Day())
		}
		return period.AddDate(0, 0, 9)
	case "month":
		return period.AddDate(0, 1, -1)
	case "quarter":
		return period.AddDate(0, 3, -1)
	case "half":
		return period.AddDate(0, 6, -1)
	case "year":
		return period.AddDate(1, 0, -1)
	}
	return period
}

// Report is one line of the view reporting_status.
type Report struct {
	Indicator          string     `ch:"indicator"`
	Region             string     `ch:"region"`
	Grain              string     `ch:"grain"`
	Period             time.Time  `ch:"period"`
	State              string     `ch:"state"` // open, due, late, reported, restated, frozen or published
	StateZh            string     `ch:"state_zh"`
	Expected           uint8      `ch:"expected"`
	Sources            []string   `ch:"sources"`
	Due                *time.Time `ch:"due"`
	DueAssumed         uint8      `ch:"due_assumed"` // 1 when Due counts workdays of a year that the calendar lacks
	ReportedAt         *time.Time `ch:"reported_at"`
	OnTime             *uint8     `ch:"on_time"`
	Restated           uint64     `ch:"restated"`
	LastChangeAt       *time.Time `ch:"last_change_at"`
	ChangedAfterFreeze uint8      `ch:"changed_after_freeze"`
	FrozenAt           *time.Time `ch:"frozen_at"`
	FrozenBy           string     `ch:"frozen_by"`
	Why                string     `ch:"why"`
	Since              *time.Time `ch:"since"`
	AgeSeconds         *int64     `ch:"age_seconds"`
}

// ReportStates are the states of a report, in the order of its life.
var ReportStates = []string{"open", "due", "late", "reported", "restated", "frozen", "published"}

// ReportFilter selects reports. Empty fields select everything.
type ReportFilter struct {
	Indicator, Region, State string
	Grains                   []string
	Period                   time.Time
	Limit                    int // 0 for all
}

// Reports tells where the reports of figures stand, the newest periods first.
func (w *Warehouse) Reports(ctx context.Context, f ReportFilter) ([]Report, error) {
	where, args := filterFigures(f.Indicator, f.Region, f.Grains, f.Period)
	where += " AND ({state:String} = '' OR state = {state:String}) ORDER BY period DESC, indicator, region, grain"
	args = append(args, clickhouse.Named("state", f.State))
	if f.Limit > 0 {
		where += " LIMIT {limit:UInt64}"
		args = append(args, clickhouse.Named("limit", uint64(f.Limit)))
	}
	return report[Report](ctx, w, "reporting_status", where, args...)
}

// filterFigures is a condition on indicator, region, grain and period; what is empty is left out, so that the rest reaches the key.
func filterFigures(indicator, region string, grains []string, period time.Time) (string, []any) {
	where := "1"
	var args []any
	if indicator != "" {
		where += " AND indicator = {indicator:String}"
		args = append(args, clickhouse.Named("indicator", indicator))
	}
	if region != "" {
		where += " AND region = {region:String}"
		args = append(args, clickhouse.Named("region", region))
	}
	if len(grains) > 0 {
		where += " AND grain IN {grains:Array(String)}"
		args = append(args, clickhouse.Named("grains", grains))
	}
	if !period.IsZero() {
		where += " AND period = fromUnixTimestamp64Milli({period:Int64}, 'Asia/Shanghai')"
		args = append(args, clickhouse.Named("period", period.UnixMilli()))
	}
	return where, args
}

// What people say of a variance.
const (
	VarianceExplain = "explain"
	VarianceSignOff = "sign_off"
	VarianceReopen  = "reopen"
)

// Variance is one line of the view variance.
type Variance struct {
	Indicator          string     `ch:"indicator"`
	Title              string     `ch:"title"`
	Unit               string     `ch:"unit"`
	Region             string     `ch:"region"`
	RegionName         string     `ch:"region_name"`
	Level              string     `ch:"level"`
	Grain              string     `ch:"grain"`
	Period             time.Time  `ch:"period"`
	Feed               string     `ch:"feed"`
	Source             string     `ch:"source"`
	Reported           float64    `ch:"reported"`
	RolledUp           *float64   `ch:"rolled_up"`
	Difference         *float64   `ch:"difference"`
	RelativeDifference *float64   `ch:"relative_difference"`
	ChildrenReporting  uint64     `ch:"children_reporting"`
	Children           uint64     `ch:"children"`
	State              string     `ch:"state"` // open, explained or signed off
	StateZh            string     `ch:"state_zh"`
	Changed            uint8      `ch:"changed"` // something was said of another amount than there is now
	Why                string     `ch:"why"`
	Who                string     `ch:"who"`
	At                 *time.Time `ch:"at"`
	Since              *time.Time `ch:"since"`
	AgeSeconds         *int64     `ch:"age_seconds"`
}

// VarianceFilter selects variances. Empty fields select everything.
type VarianceFilter struct {
	Indicator, Region, Feed string
	Grains                  []string
	Period                  time.Time
	Settled                 bool // the signed-off ones too
	Limit                   int  // 0 for all
}

// Variances lists disagreements, those that have stood longest first.
func (w *Warehouse) Variances(ctx context.Context, f VarianceFilter) ([]Variance, error) {
	where, args := filterFigures(f.Indicator, f.Region, f.Grains, f.Period)
	where += " AND ({feed:String} = '' OR feed = {feed:String}) AND ({settled:UInt8} = 1 OR state != 'signed off') ORDER BY since, indicator, region, grain, period, feed"
	settled := uint8(0)
	if f.Settled {
		settled = 1
	}
	args = append(args, clickhouse.Named("feed", f.Feed), clickhouse.Named("settled", settled))
	if f.Limit > 0 {
		where += " LIMIT {limit:UInt64}"
		args = append(args, clickhouse.Named("limit", uint64(f.Limit)))
	}
	return report[Variance](ctx, w, "variance", where, args...)
}

// varianceEvent is a row of the table variance_event.
type varianceEvent struct {
	Indicator string    `ch:"indicator"`
	Grain     string    `ch:"grain"`
	Period    time.Time `ch:"period"`
	Region    string    `ch:"region"`
	Feed      string    `ch:"feed"`
	Act       string    `ch:"act"`
	Action    string    `ch:"action"`
	At        time.Time `ch:"at"`
	Who       string    `ch:"who"`
	Why       string    `ch:"why"`
	Reported  float64   `ch:"reported"`
	RolledUp  *float64  `ch:"rolled_up"`
}

// ActOnVariance writes down what somebody says of one disagreement, which the filter has to name. It is audited.
func (w *Warehouse) ActOnVariance(ctx context.Context, f VarianceFilter, action, who, why string) (Variance, error) {
	f.Settled, f.Limit = true, 0
	found, err := w.Variances(ctx, f)
	if err != nil {
		return Variance{}, err
	}
	switch {
	case len(found) == 0:
		return Variance{}, fault.Usage(errors.New("there is no such variance: the figures agree, or one of them is not there; headwater variance list shows all"))
	case len(found) > 1:
		var feeds []string
		for _, v := range found {
			feeds = append(feeds, v.Grain+" by "+v.Feed)
		}
		return Variance{}, fault.Usage(fmt.Errorf("there are %d such variances (%s): name one with --feed", len(found), strings.Join(feeds, ", ")))
	}
	v := found[0]
	switch {
	case action == VarianceSignOff && v.State == "open":
		return v, fault.Usage(errors.New("nobody has explained it as it stands now: headwater variance explain"))
	case action == VarianceSignOff && v.State == "signed off":
		return v, fault.Usage(errors.New("it is signed off already"))
	case action == VarianceReopen && v.State == "open":
		return v, fault.Usage(errors.New("it is open"))
	}
	act := NewAuditID()
	entry := AuditEntry{ID: act, Who: who, Command: "variance " + strings.ReplaceAll(action, "_", "-"), TargetKind: "variance", Why: why,
		Target: strings.Join([]string{v.Indicator, v.Region, v.Grain, v.Period.In(shanghai).Format("2006-01-02T15:04"), v.Feed}, " ")}
	err = w.Audited(ctx, entry, func(*AuditEntry) error {
		at := time.Now().UTC()
		row := varianceEvent{Indicator: v.Indicator, Grain: v.Grain, Period: v.Period, Region: v.Region, Feed: v.Feed, Act: act, Action: action, At: at, Who: who, Why: why,
			Reported: v.Reported, RolledUp: v.RolledUp}
		return insertOwn(ctx, w, "variance_event", "variance/"+act, []varianceEvent{row}, func(varianceEvent) uint64 { return uint64(at.UnixMicro()) }, nil)
	})
	return v, err
}
