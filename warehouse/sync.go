package warehouse

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/headwater-data/headwater/schemas"
)

type regionRow struct {
	Code         string    `ch:"code"`
	ValidFrom    time.Time `ch:"valid_from"`
	ValidTo      time.Time `ch:"valid_to"`
	Name         string    `ch:"name"`
	ShortName    string    `ch:"short_name"`
	Level        string    `ch:"level"`
	Parent       string    `ch:"parent"`
	Province     string    `ch:"province"`
	City         string    `ch:"city"`
	Extent       int64     `ch:"extent"`
	Predecessors []string  `ch:"predecessors"`
	Successors   []string  `ch:"successors"`
	Divided      bool      `ch:"divided"`
	Deleted      bool      `json:"-"`
}

type indicatorRow struct {
	Code            string   `ch:"code"`
	TitleZh         string   `ch:"title_zh"`
	TitleEn         string   `ch:"title_en"`
	Unit            string   `ch:"unit"`
	Direction       string   `ch:"direction"`
	Aggregation     string   `ch:"aggregation"`
	TimeAggregation string   `ch:"time_aggregation"`
	Grain           string   `ch:"grain"`
	Levels          []string `ch:"levels"`
	Description     string   `ch:"description"`
	Deleted         bool     `json:"-"`
}

type extentRow struct {
	Code    string  `ch:"code"`
	West    float64 `ch:"west"`
	South   float64 `ch:"south"`
	East    float64 `ch:"east"`
	North   float64 `ch:"north"`
	Deleted bool    `json:"-"`
}

type calendarRow struct {
	Day      time.Time `ch:"day"`
	Kind     string    `ch:"kind"`
	Name     string    `ch:"name"`
	Document string    `ch:"document"`
	Deleted  bool      `json:"-"`
}

type shareRow struct {
	Code      string    `ch:"code"`
	On        time.Time `ch:"divided_on"`
	Successor string    `ch:"successor"`
	Indicator string    `ch:"indicator"`
	Share     float64   `ch:"share"`
	Basis     string    `ch:"basis"`
	Deleted   bool      `json:"-"`
}

// unknownFrom stands for a beginning that nobody knows: the table's key needs a day.
var unknownFrom = time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)

// Sync fills the tables of regions, shares and the calendar from the set, and those of indicators and indexes from the project's, each index after
// those that it is made of, and makes the view indicator_fact. It does nothing for a table whose content has not changed since the last time; rows that are gone are
// marked as deleted. Call it after Migrate.
func (w *Warehouse) Sync(ctx context.Context, set *schemas.Set, indicators []schemas.Indicator, indexes ...schemas.Index) error {
	w.migrating.Lock()
	defer w.migrating.Unlock()
	steps, err := w.steps(ctx)
	if err != nil {
		return err
	}
	var regions []schemas.Region
	if set.Regions() != nil {
		regions = set.Regions().All()
	}
	if err := syncTable(ctx, w, steps, content[regionRow]{
		table: "region", figures: true, columns: ownSchema("region").Arrow().Fields(), keyColumns: "code, valid_from", rows: regionRows(set.Regions()),
		key:     func(r regionRow) string { return r.Code + "/" + r.ValidFrom.Format(time.DateOnly) },
		gone:    func(r *regionRow) { r.Deleted = true },
		deleted: func(r regionRow) bool { return r.Deleted },
	}); err != nil {
		return err
	}
	// The boxes of region_extent go with the regions.
	extents := []extentRow{}
	for _, e := range set.Extents() {
		extents = append(extents, extentRow{Code: e.Code, West: e.West, South: e.South, East: e.East, North: e.North})
	}
	if err := syncTable(ctx, w, steps, content[extentRow]{
		table: "region_extent", columns: ownSchema("region_extent").Arrow().Fields(), keyColumns: "code", rows: extents,
		key:     func(r extentRow) string { return r.Code },
		gone:    func(r *extentRow) { r.Deleted = true },
		deleted: func(r extentRow) bool { return r.Deleted },
	}); err != nil {
		return err
	}
	days := []calendarRow{}
	for _, d := range set.Calendar() {
		days = append(days, calendarRow{Day: d.Day, Kind: d.Kind, Name: d.Name, Document: d.Document})
	}
	if err := syncTable(ctx, w, steps, content[calendarRow]{
		table: sharedTable, columns: ownSchema(sharedTable).Arrow().Fields(), keyColumns: "day", rows: days,
		key:     func(r calendarRow) string { return r.Day.Format(time.DateOnly) },
		gone:    func(r *calendarRow) { r.Deleted = true },
		deleted: func(r calendarRow) bool { return r.Deleted },
	}); err != nil {
		return err
	}
	if err := syncTable(ctx, w, steps, content[pathRow]{
		table: "region_path", figures: true, columns: pathColumns, keyColumns: "code, since", rows: pathRows(regions),
		key:     func(r pathRow) string { return r.Code + "/" + r.Since.Format(time.DateOnly) },
		gone:    func(r *pathRow) { r.Deleted = true },
		deleted: func(r pathRow) bool { return r.Deleted },
	}); err != nil {
		return err
	}
	shares := []shareRow{}
	for _, s := range set.Shares() {
		shares = append(shares, shareRow{Code: s.Code, On: s.On, Successor: s.Successor, Indicator: s.Indicator, Share: s.Share, Basis: s.Basis})
	}
	if err := syncTable(ctx, w, steps, content[shareRow]{
		table: "region_share", columns: ownSchema("region_share").Arrow().Fields(), keyColumns: "code, divided_on, successor, indicator", rows: shares,
		key: func(r shareRow) string {
			return strings.Join([]string{r.Code, r.On.Format(time.DateOnly), r.Successor, r.Indicator}, "/")
		},
		gone:    func(r *shareRow) { r.Deleted = true },
		deleted: func(r shareRow) bool { return r.Deleted },
	}); err != nil {
		return err
	}
	if err := syncTable(ctx, w, steps, content[todayRow]{
		table: "region_today", columns: todayColumns, keyColumns: "code, since, indicator",
		inputs: todayInputs{Form: 1, Regions: regions, Shares: set.Shares()},
		make:   func() []todayRow { return todayRows(regions, set.Shares()) },
		key: func(r todayRow) string {
			return strings.Join([]string{r.Code, r.Since.Format(time.DateOnly), r.Indicator}, "/")
		},
		gone:    func(r *todayRow) { r.Deleted, r.Until = true, farAway },
		deleted: func(r todayRow) bool { return r.Deleted },
	}); err != nil {
		return err
	}
	if err := syncTable(ctx, w, steps, content[indicatorRow]{
		table: "indicator", figures: true, columns: ownSchema("indicator").Arrow().Fields(), keyColumns: "code", rows: indicatorRows(indicators),
		key:     func(r indicatorRow) string { return r.Code },
		gone:    func(r *indicatorRow) { r.Deleted = true },
		deleted: func(r indicatorRow) bool { return r.Deleted },
	}); err != nil {
		return err
	}
	if err := w.syncDefinitions(ctx, steps, indicators, indexes); err != nil {
		return err
	}
	return w.syncFacts(ctx, steps, set, indicators)
}

// sharedTable is the one that Sync fills and sources may bring rows of too. Rows of Sync's have no source there.
const sharedTable = "calendar_day"

// content is what a table shall hold, and how its rows are told apart and marked.
type content[T any] struct {
	table      string
	columns    []arrow.Field
	keyColumns string
	rows       []T
	// Where rows are costly to make, they are made of inputs only when these have changed.
	inputs  any
	make    func() []T
	key     func(T) string
	gone    func(*T)
	deleted func(T) bool
	figures bool // figures are made of it too
}

func syncTable[T any](ctx context.Context, w *Warehouse, steps map[string]applied, c content[T]) error {
	decides := any(c.rows)
	if c.make != nil {
		decides = c.inputs
	}
	body, err := json.Marshal(decides)
	if err != nil {
		return fmt.Errorf("sync %s: %w", c.table, err)
	}
	step := applied{Step: "content " + c.table, Hash: hashOf(body)}
	if steps[step.Step].Hash == step.Hash {
		return nil
	}
	if c.make != nil {
		c.rows = c.make()
	}
	own := ""
	if c.table == sharedTable {
		own = " AND _source = ''"
	}
	var there []T
	if err := w.data.Select(ctx, &there, "SELECT "+c.keyColumns+" FROM "+w.table(c.table)+" FINAL WHERE _deleted = 0"+own); err != nil {
		return w.wrap(err, "read "+c.table)
	}
	wanted := make(map[string]bool, len(c.rows))
	for _, r := range c.rows {
		wanted[c.key(r)] = true
	}
	block := slices.Clone(c.rows)
	for _, r := range there {
		if !wanted[c.key(r)] {
			c.gone(&r)
			block = append(block, r)
		}
	}
	// Above every version that is there, even when this clock is behind.
	var newest uint64
	if err := w.data.QueryRow(ctx, "SELECT max(_version) FROM "+w.table(c.table)+" WHERE 1"+own).Scan(&newest); err != nil {
		return w.wrap(err, "read "+c.table)
	}
	version := max(newest+1, uint64(time.Now().UnixMicro()))
	if c.table == sharedTable {
		version = newest + 1 // a count, and so below what sources have: times, or numbers of their systems
	}
	// The token names the version too: content that comes back after a change is not a repeat.
	token := fmt.Sprintf("sync/%s/%s/%d", c.table, step.Hash, version)
	if err := insertRows(ctx, w, c.table, c.columns, token, block, func(T) uint64 { return version }, c.deleted); err != nil {
		return err
	}
	if c.figures {
		if err := w.markAll(ctx, c.table); err != nil {
			return err
		}
	}
	w.log.Info("filled a table from the project", "table", c.table, "rows", len(c.rows), "gone", len(block)-len(c.rows))
	return w.record(ctx, step)
}

func regionRows(regions *schemas.Regions) []regionRow {
	if regions == nil {
		return []regionRow{}
	}
	all := regions.All()
	type beginning struct {
		code string
		on   time.Time
	}
	predecessors := map[beginning][]string{}
	for _, r := range all {
		if r.To.IsZero() {
			continue
		}
		for _, s := range r.Successors {
			if v, ok := regions.At(s.Code, r.To); ok {
				b := beginning{v.Code, v.From}
				predecessors[b] = append(predecessors[b], r.Code)
			}
		}
	}
	rows := make([]regionRow, 0, len(all))
	for _, r := range all {
		row := regionRow{Code: r.Code, ValidFrom: cmp.Or(r.From, unknownFrom), ValidTo: r.To, Name: r.Name, ShortName: r.Short,
			Level: r.Level, Parent: r.Parent, Extent: int64(r.Extent), Predecessors: predecessors[beginning{r.Code, r.From}], Divided: len(r.Successors) > 0 && !r.To.IsZero()}
		for _, s := range r.Successors {
			row.Successors = append(row.Successors, s.Code)
			row.Divided = row.Divided && s.Part
		}
		// The province and city that held when the version ended, or hold now.
		on := time.Time{}
		if !r.To.IsZero() {
			on = r.To.AddDate(0, 0, -1)
		}
		for at, depth := r, 0; depth < 8; depth++ {
			switch at.Level {
			case schemas.LevelProvince:
				row.Province = at.Code
			case schemas.LevelCity:
				row.City = at.Code
			}
			upper, ok := regions.At(at.Parent, on)
			if at.Parent == "" || !ok {
				break
			}
			at = upper
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b regionRow) int { return cmp.Or(cmp.Compare(a.Code, b.Code), a.ValidFrom.Compare(b.ValidFrom)) })
	return rows
}

func indicatorRows(indicators []schemas.Indicator) []indicatorRow {
	rows := map[string]indicatorRow{}
	for _, i := range indicators {
		rows[i.Code] = indicatorRow{Code: i.Code, TitleZh: i.Title.Zh, TitleEn: i.Title.En, Unit: i.Unit, Direction: cmp.Or(i.Direction, "up"),
			Aggregation: i.Aggregation, TimeAggregation: cmp.Or(i.TimeAggregation, i.Aggregation), Grain: cmp.Or(i.Grain, "month"),
			Levels: i.Levels, Description: i.Description}
	}
	sorted := make([]indicatorRow, 0, len(rows))
	for _, code := range slices.Sorted(maps.Keys(rows)) {
		sorted = append(sorted, rows[code])
	}
	return sorted
}
