package warehouse

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// Balance is one line of the view ledger_balance.
type Balance struct {
	Scope       string `ch:"scope"` // run, source or total
	Source      string `ch:"source"`
	Run         string `ch:"run"`
	Extracted   int64  `ch:"extracted"`
	Loaded      int64  `ch:"loaded"`
	Duplicate   int64  `ch:"duplicate"`
	Quarantined int64  `ch:"quarantined"`
	Filtered    int64  `ch:"filtered"`
	Held        int64  `ch:"held"`
	Difference  int64  `ch:"difference"` // rows without an outcome; anything but 0 is a fault
	Balanced    uint8  `ch:"balanced"`
	Records     int64  `ch:"records"`
	Deleted     int64  `ch:"deleted"`
	Warnings    int64  `ch:"warnings"`
	Messages    int64  `ch:"messages"`
	Bytes       int64  `ch:"bytes"`
	Counted     *int64 `ch:"counted"` // what the source itself counts
	// CountDifference is Counted less the rows extracted and not repeated.
	CountDifference *int64    `ch:"count_difference"`
	FirstLoadedAt   time.Time `ch:"first_loaded_at"`
	LastLoadedAt    time.Time `ch:"last_loaded_at"`
}

// BalanceFilter selects lines of the balance. Empty fields select everything.
type BalanceFilter struct {
	Scope       string // run, source or total
	Source, Run string
}

// Balance returns the account: the runs by age, then the sources by name, then the total, as far as the filter selects them.
func (w *Warehouse) Balance(ctx context.Context, filter BalanceFilter) ([]Balance, error) {
	return report[Balance](ctx, w, "ledger_balance",
		"({scope:String} = '' OR scope = {scope:String}) AND ({source:String} = '' OR source = {source:String}) AND ({run:String} = '' OR run = {run:String})"+
			" ORDER BY indexOf(['run', 'source', 'total'], toString(scope)), run, source",
		clickhouse.Named("scope", filter.Scope), clickhouse.Named("source", filter.Source), clickhouse.Named("run", filter.Run))
}

// Freshness is one line of the view freshness.
type Freshness struct {
	Source          string     `ch:"source"`
	Stream          string     `ch:"stream"`
	LastExtractedAt *time.Time `ch:"last_extracted_at"`
	LastLoadedAt    time.Time  `ch:"last_loaded_at"`
	AgeSeconds      *int64     `ch:"age_seconds"`
	NewestPeriod    *time.Time `ch:"newest_period"`
	LastRun         string     `ch:"last_run"`
	LastRunOutcome  string     `ch:"last_run_outcome"`
	LastRunAt       *time.Time `ch:"last_run_at"`
	Held            int64      `ch:"held"`
	Quarantined     uint64     `ch:"quarantined"` // open ones
}

// Freshness tells how current each stream is, by source and stream.
func (w *Warehouse) Freshness(ctx context.Context) ([]Freshness, error) {
	return report[Freshness](ctx, w, "freshness", "1 ORDER BY source, stream")
}

// Figure is one line of the view indicator_rollup.
type Figure struct {
	Indicator         string     `ch:"indicator"`
	Title             string     `ch:"title"`
	Unit              string     `ch:"unit"`
	Region            string     `ch:"region"`
	RegionName        string     `ch:"region_name"`
	Level             string     `ch:"level"`
	Parent            string     `ch:"parent"`
	Grain             string     `ch:"grain"`
	Period            time.Time  `ch:"period"`
	AsOf              time.Time  `ch:"as_of"`
	Value             *float64   `ch:"value"`
	FromBelow         uint8      `ch:"from_below"`
	Reported          *float64   `ch:"reported"`
	Figures           uint64     `ch:"figures"`
	ChildrenReporting uint64     `ch:"children_reporting"`
	Children          uint64     `ch:"children"`
	Feeds             []string   `ch:"feeds"`
	YearToDate        *float64   `ch:"year_to_date"`
	Target            *float64   `ch:"target"`
	Due               *time.Time `ch:"due"`
	CompletionRate    *float64   `ch:"completion_rate"`
	ElapsedShare      *float64   `ch:"elapsed_share"`
	PlanValue         *float64   `ch:"plan_value"`
	Tolerance         float64    `ch:"tolerance"`
	Status            string     `ch:"status"` // ahead, on schedule, behind or empty
	StatusZh          string     `ch:"status_zh"`
}

// RollupQuery selects figures. Empty fields select everything but for the period.
type RollupQuery struct {
	Indicator string
	Grain     string
	Period    time.Time // start of the period; zero means the newest that the selection has
	Levels    []string  // nation, province, city, county
	Within    string    // only this region and those directly below it
	AsOf      time.Time // day at whose end they are asked for as they were known; zero for what is known now
}

// Rollup returns figures of one indicator and period, the upper levels first, then by code.
func (w *Warehouse) Rollup(ctx context.Context, q RollupQuery) ([]Figure, error) {
	where := "indicator = {indicator:String} AND ({grain:String} = '' OR grain = {grain:String}) AND (empty({levels:Array(String)}) OR has({levels:Array(String)}, level))" +
		" AND ({within:String} = '' OR region = {within:String} OR parent = {within:String})"
	if q.Levels == nil {
		q.Levels = []string{}
	}
	args := []any{clickhouse.Named("indicator", q.Indicator), clickhouse.Named("grain", q.Grain), clickhouse.Named("levels", q.Levels), clickhouse.Named("within", q.Within)}
	const order = " ORDER BY indexOf(['nation', 'province', 'city', 'county'], level), region, grain"
	if q.Period.IsZero() {
		// One statement: making the plan of the view costs more than reading a month of it.
		where += " QUALIFY period = max(period) OVER ()"
	} else {
		where += " AND period = fromUnixTimestamp64Milli({period:Int64}, 'Asia/Shanghai')"
		args = append(args, clickhouse.Named("period", q.Period.UnixMilli()))
	}
	return reportAsOf[Figure](ctx, w, "indicator_rollup", q.AsOf, where+order, args...)
}

// Disagreement is one line of the view indicator_reconciliation.
type Disagreement struct {
	Indicator          string    `ch:"indicator"`
	Title              string    `ch:"title"`
	Unit               string    `ch:"unit"`
	Region             string    `ch:"region"`
	RegionName         string    `ch:"region_name"`
	Level              string    `ch:"level"`
	Grain              string    `ch:"grain"`
	Period             time.Time `ch:"period"`
	Feed               string    `ch:"feed"`
	Source             string    `ch:"source"`
	Reported           float64   `ch:"reported"`
	RolledUp           *float64  `ch:"rolled_up"`
	Difference         *float64  `ch:"difference"`
	RelativeDifference *float64  `ch:"relative_difference"`
	Agrees             uint8     `ch:"agrees"`
	DirectBelow        *float64  `ch:"direct_below"`
	Figures            uint64    `ch:"figures"`
	ChildrenReporting  uint64    `ch:"children_reporting"`
	Children           uint64    `ch:"children"`
}

// DisagreementQuery selects disagreements. Empty fields select everything.
type DisagreementQuery struct {
	Indicator, Level, Source string
	Limit                    int // 0 means all
}

// Disagreements returns what upper levels reported and lower ones do not add up to, the largest differences first.
func (w *Warehouse) Disagreements(ctx context.Context, q DisagreementQuery) ([]Disagreement, error) {
	where := "agrees = 0 AND ({indicator:String} = '' OR indicator = {indicator:String}) AND ({level:String} = '' OR level = {level:String}) AND ({source:String} = '' OR source = {source:String})" +
		" ORDER BY abs(ifNull(difference, 0)) DESC, indicator, region, grain, period, feed"
	args := []any{clickhouse.Named("indicator", q.Indicator), clickhouse.Named("level", q.Level), clickhouse.Named("source", q.Source)}
	if q.Limit > 0 {
		where += " LIMIT {limit:UInt64}"
		args = append(args, clickhouse.Named("limit", uint64(q.Limit)))
	}
	return report[Disagreement](ctx, w, "indicator_reconciliation", where, args...)
}

// IndexScore is one line of the view index_score.
type IndexScore struct {
	Index      string    `ch:"index"`
	Title      string    `ch:"title"`
	Version    string    `ch:"version"`
	Region     string    `ch:"region"`
	RegionName string    `ch:"region_name"`
	Level      string    `ch:"level"`
	Parent     string    `ch:"parent"`
	Period     time.Time `ch:"period"`
	Score      *float64  `ch:"score"` // nil when too much is missing
	Band       string    `ch:"band"`
	BandZh     string    `ch:"band_zh"`
	Missing    []string  `ch:"missing"`
}

// NewestScores returns the scores of some indexes at some levels for the newest period that they have, by level and region, and of each in the
// order in which the indexes are given.
func (w *Warehouse) NewestScores(ctx context.Context, indexes, levels []string) ([]IndexScore, error) {
	return report[IndexScore](ctx, w, "index_score", "has({indexes:Array(String)}, index) AND has({levels:Array(String)}, level) QUALIFY period = max(period) OVER ()"+
		" ORDER BY indexOf(['nation', 'province', 'city', 'county'], level), region, indexOf({indexes:Array(String)}, index)",
		clickhouse.Named("indexes", indexes), clickhouse.Named("levels", levels))
}

// AirQuality is the air of one line of the view environment_quality.
type AirQuality struct {
	Region     string    `ch:"region"`
	RegionName string    `ch:"region_name"`
	Level      string    `ch:"level"`
	Month      time.Time `ch:"month"`
	Stations   uint64    `ch:"stations"`
	ValidDays  uint64    `ch:"valid_days"`
	GoodDays   uint64    `ch:"good_days"`
	GoodShare  *float64  `ch:"good_share"`
	PM25       *float64  `ch:"pm25"`
}

// NewestAir returns the air at some levels in the newest month that there is, the upper levels first, then by code.
func (w *Warehouse) NewestAir(ctx context.Context, levels []string) ([]AirQuality, error) {
	return report[AirQuality](ctx, w, "environment_quality", "has({levels:Array(String)}, level) AND stations > 0 QUALIFY month = max(month) OVER ()"+
		" ORDER BY indexOf(['nation', 'province', 'city', 'county'], level), region", clickhouse.Named("levels", levels))
}

// report reads rows of a view.
func report[T any](ctx context.Context, w *Warehouse, view, where string, args ...any) ([]T, error) {
	return reportAsOf[T](ctx, w, view, time.Time{}, where, args...)
}

// reportAsOf reads rows of a view that has a dated one beside it, as they were known at the end of a day; the zero day is now.
func reportAsOf[T any](ctx context.Context, w *Warehouse, view string, day time.Time, where string, args ...any) ([]T, error) {
	from := w.table(view)
	if !day.IsZero() {
		from = w.table(view+"_as_of") + "(day = " + quoteText(day.Format(time.DateOnly)) + ")"
	}
	var rows []T
	if err := w.data.Select(ctx, &rows, "SELECT "+columnList(reflect.TypeFor[T]())+" FROM "+from+" WHERE "+where, args...); err != nil {
		return nil, w.wrap(err, "read "+view)
	}
	return rows, nil
}

// columnList names the struct's columns as they are.
func columnList(t reflect.Type) string {
	var names []string
	for _, f := range reflect.VisibleFields(t) {
		if name := f.Tag.Get("ch"); name != "" {
			names = append(names, name)
		}
	}
	return quoteNames(names)
}

// BalanceBy is one line of the ledger, added up by what Balances was asked for; the other names are empty.
type BalanceBy struct {
	Source      string    `ch:"source"`
	Stream      string    `ch:"stream"`
	Shard       string    `ch:"shard"`
	Run         string    `ch:"run"`
	Table       string    `ch:"schema"`
	Topic       string    `ch:"topic"`
	Partition   int32     `ch:"partition"`
	From        int64     `ch:"from_offset"`
	To          int64     `ch:"end_offset"`
	Extracted   int64     `ch:"extracted"`
	Loaded      int64     `ch:"loaded"`
	Duplicate   int64     `ch:"duplicate"`
	Quarantined int64     `ch:"quarantined"`
	Filtered    int64     `ch:"filtered"`
	Held        int64     `ch:"held"`
	Records     int64     `ch:"records"`
	Deleted     int64     `ch:"deleted"`
	LoadedAt    time.Time `ch:"last_loaded"`
}

// Difference is how many rows have no outcome; anything but 0 is a fault.
func (b BalanceBy) Difference() int64 {
	return b.Extracted - b.Loaded - b.Duplicate - b.Quarantined - b.Filtered - b.Held
}

// balances are the columns of the ledger that each way of adding it up keeps apart.
var balances = map[string][]string{
	"source": {"source"},
	"run":    {"run", "source"},
	"shard":  {"source", "stream", "shard"},
	"flush":  {"topic", "partition", "incarnation", "from_offset", "source"},
	"table":  {"schema", "source"},
}

// Balances adds the ledger up by source, run, shard, flush or table, what was loaded last first. The filter's scope does not
// matter. A limit of 0 means all.
func (w *Warehouse) Balances(ctx context.Context, by string, filter BalanceFilter, limit int) ([]BalanceBy, error) {
	kept, ok := balances[by]
	if !ok {
		return nil, fmt.Errorf("the ledger cannot be added up by %q", by)
	}
	var columns []string
	for _, c := range []string{"source", "stream", "shard", "run", "schema", "topic"} {
		if slices.Contains(kept, c) {
			columns = append(columns, "toString(l."+c+") AS "+c)
		} else {
			columns = append(columns, "'' AS "+c)
		}
	}
	if by == "flush" {
		columns = append(columns, "toInt32(l.partition) AS partition", "l.from_offset AS from_offset", "max(l.to_offset) AS end_offset")
	} else {
		columns = append(columns, "toInt32(0) AS partition", "toInt64(0) AS from_offset", "toInt64(0) AS end_offset")
	}
	for _, c := range []string{"extracted", "loaded", "duplicate", "quarantined", "filtered", "held", "records", "deleted"} {
		columns = append(columns, "sum(l."+c+") AS "+c)
	}
	groups := make([]string, len(kept))
	for i, c := range kept {
		groups[i] = "l." + c
	}
	statement := "SELECT " + strings.Join(columns, ", ") + ", max(l.loaded_at) AS last_loaded FROM " + w.table("ledger") + " AS l FINAL WHERE l._deleted = 0 AND l.source != ''" +
		" AND ({source:String} = '' OR l.source = {source:String}) AND ({run:String} = '' OR l.run = {run:String}) GROUP BY " + strings.Join(groups, ", ") +
		" ORDER BY last_loaded DESC, " + strings.Join(groups, ", ")
	args := []any{clickhouse.Named("source", filter.Source), clickhouse.Named("run", filter.Run)}
	if limit > 0 {
		statement += " LIMIT {limit:UInt64}"
		args = append(args, clickhouse.Named("limit", uint64(limit)))
	}
	var rows []BalanceBy
	if err := w.data.Select(ctx, &rows, statement, args...); err != nil {
		return nil, w.wrap(err, "add up the ledger")
	}
	return rows, nil
}
