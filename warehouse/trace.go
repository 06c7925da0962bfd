package warehouse

import (
	"context"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// Fact is one line of the view lineage: a fact that a figure is made of, or that was reported for its region and does not count.
type Fact struct {
	Region         string    `ch:"region"` // of the figure
	RegionName     string    `ch:"region_name"`
	Grain          string    `ch:"grain"`
	Period         time.Time `ch:"period"`
	Counted        uint8     `ch:"counted"`
	WhyNot         string    `ch:"why_not"` // lower level or nearer feed; empty for one that counts
	FactRegion     string    `ch:"fact_region"`
	FactRegionName string    `ch:"fact_region_name"`
	Member         string    `ch:"member"`
	Subject        string    `ch:"subject"`
	Feed           string    `ch:"feed"`
	Value          float64   `ch:"value"`
	Numerator      *float64  `ch:"numerator"`
	Denominator    *float64  `ch:"denominator"`
	KnownAt        time.Time `ch:"known_at"`
	Source         string    `ch:"source"`
	Stream         string    `ch:"stream"`
	Shard          string    `ch:"shard"`
	Place          string    `ch:"place"`
	Row            uint64    `ch:"row"` // 0 when rows have no number in their place
	Topic          string    `ch:"topic"`
	Partition      int32     `ch:"partition"`
	Incarnation    string    `ch:"incarnation"`
	Offset         int64     `ch:"offset"`
	Position       uint32    `ch:"position"` // of the record in its batch: row × fan-out + n
	Run            string    `ch:"run"`
	Mapping        string    `ch:"mapping"`
	Flags          []string  `ch:"flags"`
}

// TraceQuery names a figure. Grains are the period lengths that are meant; none means any that begins at Period.
type TraceQuery struct {
	Indicator, Region string
	Grains            []string
	Period            time.Time
	// AsOf is the day at whose end the figure is asked for as it was known; zero for what is known now.
	AsOf time.Time
}

// Trace returns the facts of a figure: those that count first, then by region, part and feed.
func (w *Warehouse) Trace(ctx context.Context, q TraceQuery) ([]Fact, error) {
	if q.Grains == nil {
		q.Grains = []string{}
	}
	return reportAsOf[Fact](ctx, w, "lineage", q.AsOf, "indicator = {indicator:String} AND region = {region:String} AND (empty({grains:Array(String)}) OR has({grains:Array(String)}, grain))"+
		" AND period = fromUnixTimestamp64Milli({period:Int64}, 'Asia/Shanghai') ORDER BY grain, counted DESC, fact_region, member, subject, feed",
		clickhouse.Named("indicator", q.Indicator), clickhouse.Named("region", q.Region), clickhouse.Named("grains", q.Grains), clickhouse.Named("period", q.Period.UnixMilli()))
}

// Named is a code with its title or name.
type Named struct {
	Code string `ch:"code"`
	Name string `ch:"name"`
}

// IndicatorsThere returns the indicators that the project declares or that have observations, by code.
func (w *Warehouse) IndicatorsThere(ctx context.Context) ([]Named, error) {
	var rows []Named
	err := w.data.Select(ctx, &rows, "SELECT code, max(title) AS name FROM (SELECT code, ifNull(title_zh, '') AS title FROM "+w.table("indicator")+
		" FINAL WHERE _deleted = 0 UNION ALL SELECT DISTINCT indicator, '' FROM "+w.table("observation")+") GROUP BY code ORDER BY code")
	if err != nil {
		return nil, w.wrap(err, "list indicators")
	}
	return rows, nil
}

// RegionsNamed returns the regions that have or had the code or the name, by code.
func (w *Warehouse) RegionsNamed(ctx context.Context, codeOrName string) ([]Named, error) {
	var rows []Named
	err := w.data.Select(ctx, &rows, "SELECT toString(p.code) AS code, argMax(p.name, p.since) AS name FROM "+w.table("region_path")+
		" AS p FINAL WHERE p._deleted = 0 AND (p.code = {text:String} OR p.name = {text:String}) GROUP BY p.code ORDER BY code", clickhouse.Named("text", codeOrName))
	if err != nil {
		return nil, w.wrap(err, "look for a region")
	}
	return rows, nil
}

// Span is what periods of one length there are.
type Span struct {
	Grain   string    `ch:"grain"`
	Periods uint64    `ch:"periods"`
	First   time.Time `ch:"first"`
	Last    time.Time `ch:"last"`
}

// Spans returns the periods for which an indicator has figures at a region; an empty region means at any.
func (w *Warehouse) Spans(ctx context.Context, indicator, region string) ([]Span, error) {
	var rows []Span
	err := w.data.Select(ctx, &rows, "SELECT grain, uniqExact(l.period) AS periods, min(l.period) AS first, max(l.period) AS last FROM "+w.table("lineage")+
		" AS l WHERE indicator = {indicator:String} AND ({region:String} = '' OR region = {region:String}) GROUP BY grain ORDER BY grain",
		clickhouse.Named("indicator", indicator), clickhouse.Named("region", region))
	if err != nil {
		return nil, w.wrap(err, "list periods")
	}
	return rows, nil
}
