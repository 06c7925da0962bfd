package warehouse

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/headwater-data/headwater/internal/fault"
)

// The views over indicators answer from kept figures: the tables figure and figure_report hold what figure_live and report_live say. An
// insert of observations leaves a mark for each period of an indicator that it touches, and so does whatever else figures are made of;
// Refresh puts together anew what is marked. Figures are as old as the oldest mark, and never wrong for longer than that.

// markColumns are the columns of an observation that a mark has.
var markColumns = []string{"indicator", "grain", "period"}

// mark says that the figures of these observations are to be put together anew. It comes after the insert and before anyone says that
// the insert is done.
func (w *Warehouse) mark(ctx context.Context, records []arrow.Record) error {
	narrow := make([]arrow.Record, 0, len(records))
	defer func() { release(narrow) }()
	for _, record := range records {
		var fields []arrow.Field
		var columns []arrow.Array
		for _, name := range markColumns {
			at := record.Schema().FieldIndices(name)
			if len(at) != 1 {
				return fmt.Errorf("mark figures: the observations have %d columns %s, want 1", len(at), name)
			}
			fields, columns = append(fields, record.Schema().Field(at[0])), append(columns, record.Column(at[0]))
		}
		narrow = append(narrow, array.NewRecord(arrow.NewSchema(fields, nil), columns, record.NumRows()))
	}
	return w.wrap(w.insertArrow(ctx, "figure_mark", clickhouse.Settings{"optimize_on_insert": 1}, narrow), "mark figures")
}

// markAll says it of all figures.
func (w *Warehouse) markAll(ctx context.Context, why string) error {
	return w.exec(ctx, "mark all figures", "INSERT INTO "+w.table("figure_mark")+" (batch, indicator, grain, period) SELECT concat({why:String}, ' ', toString(generateUUIDv4())), '', '', 0",
		clickhouse.Named("why", why))
}

// RefreshAll puts all figures together anew, as after somebody has changed the table of observations by hand.
func (w *Warehouse) RefreshAll(ctx context.Context) (periods int, err error) {
	if err := w.markAll(ctx, "asked for"); err != nil {
		return 0, err
	}
	return w.Refresh(ctx)
}

const (
	// chunkRows is how many observations one statement puts together, about: what their windows hold stays in memory.
	chunkRows = 2_000_000
	// marksAtOnce bounds what one pass of Refresh takes up.
	marksAtOnce = 1000
	// turnLapses is after how long without a sign of life a turn counts for nothing. It is longer than a statement may take.
	turnLapses = 3 * time.Minute
	// statementMost bounds one statement of a turn, on the server too.
	statementMost = 2 * time.Minute
	// turnPatience is how long a turn is waited for.
	turnPatience = 20 * time.Second
)

// ErrTurnTaken says that another process puts figures together. What was marked stays marked.
var ErrTurnTaken = errors.New("another process puts figures together")

// SetInstance says which instance this process is. Of an instance one process at a time puts figures together, so that the turn of an
// earlier one is that of a dead one. Whoever is no instance (a command beside a service) says nothing.
func (w *Warehouse) SetInstance(instance string) {
	w.refreshing.Lock()
	defer w.refreshing.Unlock()
	w.instance = instance
}

// Refresh puts all marked figures together and returns how many periods of indicators that were. It returns when none is marked any
// more, also when another process has done it. Figures stay readable meanwhile.
func (w *Warehouse) Refresh(ctx context.Context) (periods int, err error) {
	for {
		n, more, err := w.refreshSome(ctx)
		periods += n
		if err != nil || !more {
			return periods, err
		}
	}
}

// unit is what the figures of one indicator, grain and year are put together from.
type unit struct {
	Indicator string `ch:"indicator"`
	Grain     string `ch:"grain"`
	Year      int64  `ch:"year"`
	First     int64  `ch:"first"` // milliseconds since 1970 of the first period marked
	Last      int64  `ch:"last"`
	Periods   uint64 `ch:"periods"`
	Rows      uint64 `ch:"rows"` // observations of the year, superseded ones included
}

func (w *Warehouse) refreshSome(ctx context.Context) (periods int, more bool, err error) {
	if batches, err := w.batches(ctx); err != nil || len(batches) == 0 {
		return 0, false, err
	}
	w.refreshing.Lock()
	defer w.refreshing.Unlock()
	turn, err := w.takeTurn(ctx)
	if err != nil {
		return 0, false, err
	}
	defer turn.giveBack(ctx)
	// What is marked now is in the table: a mark comes after its rows.
	batches, err := w.batches(ctx)
	if err != nil || len(batches) == 0 {
		return 0, false, err
	}
	units, all, err := w.units(ctx, batches)
	if err != nil {
		return 0, false, err
	}
	var version uint64
	if err := w.data.QueryRow(ctx, "SELECT greatest(toUInt64(toUnixTimestamp64Micro(now64(6))), (SELECT max(_version) + 1 FROM "+w.table("figure")+"), (SELECT max(_version) + 1 FROM "+w.table("figure_report")+"))").Scan(&version); err != nil {
		return 0, false, w.wrap(err, "choose the version of figures")
	}
	for _, condition := range chunks(units, all) {
		for _, kept := range keptFigures {
			if err := turn.goOn(ctx); err != nil {
				return 0, false, err
			}
			if err := w.keep(ctx, kept, condition, version); err != nil {
				return 0, false, err
			}
		}
	}
	if err := w.exec(ctx, "take marks off figures", "DELETE FROM "+w.table("figure_mark")+" WHERE batch IN {batches:Array(String)}", clickhouse.Named("batches", batches)); err != nil {
		return 0, false, err
	}
	for _, u := range units {
		periods += int(u.Periods)
	}
	return periods, len(batches) == marksAtOnce, nil
}

// batches lists inserts that left marks, marksAtOnce at most.
func (w *Warehouse) batches(ctx context.Context) ([]string, error) {
	var batches []string
	err := w.data.QueryRow(ctx, "SELECT groupArray(batch) FROM (SELECT DISTINCT batch FROM "+w.table("figure_mark")+" LIMIT {most:UInt64})", clickhouse.Named("most", uint64(marksAtOnce))).Scan(&batches)
	return batches, w.wrap(err, "read which figures are marked")
}

// units lists what the marks of the batches ask for. all is how many observations their indicators have, marked or not.
func (w *Warehouse) units(ctx context.Context, batches []string) (units []unit, all uint64, err error) {
	named := clickhouse.Named("batches", batches)
	marks := "(SELECT indicator, grain, period FROM " + w.table("figure_mark") + " WHERE batch IN {batches:Array(String)})"
	var everything bool
	if err := w.data.QueryRow(ctx, "SELECT countIf(indicator = '') > 0 FROM "+marks, named).Scan(&everything); err != nil {
		return nil, 0, w.wrap(err, "read which figures are marked")
	}
	of := func(table, condition string) string {
		return "SELECT toString(indicator) AS indicator, toString(grain) AS grain, toInt64(toYear(period)) AS year, toUnixTimestamp64Milli(period) AS at FROM " + table + " WHERE " + condition
	}
	// What is put together may be new, or gone.
	from := of(marks, "indicator != ''")
	if everything {
		from = of(w.table("observation"), "1") + " UNION ALL " + of(w.table("figure"), "1")
	}
	if err := w.data.Select(ctx, &units, "SELECT indicator, grain, year, min(at) AS first, max(at) AS last, uniq(at) AS periods, toUInt64(0) AS rows FROM ("+from+
		") GROUP BY indicator, grain, year ORDER BY grain, year, indicator", named); err != nil {
		return nil, 0, w.wrap(err, "read which figures are marked")
	}
	indicators := make([]string, len(units))
	for i, u := range units {
		indicators[i] = u.Indicator
	}
	slices.Sort(indicators)
	var counts []unit
	if err := w.data.Select(ctx, &counts, "SELECT toString(indicator) AS indicator, toString(grain) AS grain, toInt64(toYear(period)) AS year, count() AS rows FROM "+w.table("observation")+
		" WHERE indicator IN {indicators:Array(String)} GROUP BY indicator, grain, year", clickhouse.Named("indicators", slices.Compact(indicators))); err != nil {
		return nil, 0, w.wrap(err, "count observations")
	}
	type place struct {
		indicator, grain string
		year             int64
	}
	rows := map[place]uint64{}
	for _, c := range counts {
		all += c.Rows
		rows[place{c.Indicator, c.Grain, c.Year}] = c.Rows
	}
	for i, u := range units {
		units[i].Rows = rows[place{u.Indicator, u.Grain, u.Year}]
	}
	return units, all, nil
}

// chunks are conditions that together hold for all units, each for about chunkRows observations at most. Few observations are put
// together whole: a statement takes a while to plan.
func chunks(units []unit, all uint64) []string {
	if len(units) == 0 {
		return nil
	}
	if all <= chunkRows/4 && len(units) <= 1000 {
		return []string{condition(units)}
	}
	var out []string
	for len(units) > 0 {
		if units[0].Rows > chunkRows {
			out = append(out, pieces(units[0])...)
			units = units[1:]
			continue
		}
		n, rows := 1, units[0].Rows
		for n < len(units) && n < 1000 && units[n].Grain == units[0].Grain && units[n].Year == units[0].Year && rows+units[n].Rows <= chunkRows {
			rows += units[n].Rows
			n++
		}
		out = append(out, condition(units[:n]))
		units = units[n:]
	}
	return out
}

// pieces cuts a large unit by time: what stands in one period goes together, periods need not.
func pieces(u unit) []string {
	var out []string
	n := int64(u.Rows/chunkRows) + 1
	step := (u.Last-u.First)/n + 1
	for first := u.First; first <= u.Last; first += step {
		piece := u
		piece.First, piece.Last = first, min(first+step-1, u.Last)
		out = append(out, condition([]unit{piece}))
	}
	return out
}

// condition holds for the units, and for no other indicators and grains.
func condition(units []unit) string {
	var indicators, grains []string
	first, last := units[0].First, units[0].Last
	for _, u := range units {
		indicators, grains = append(indicators, u.Indicator), append(grains, u.Grain)
		first, last = min(first, u.First), max(last, u.Last)
	}
	slices.Sort(indicators)
	slices.Sort(grains)
	return fmt.Sprintf("indicator IN (%s) AND grain IN (%s) AND period >= fromUnixTimestamp64Milli(%d, 'Asia/Shanghai') AND period <= fromUnixTimestamp64Milli(%d, 'Asia/Shanghai')",
		quoteTexts(slices.Compact(indicators)), quoteTexts(slices.Compact(grains)), first, last)
}

func quoteTexts(texts []string) string {
	quoted := make([]string, len(texts))
	for i, t := range texts {
		quoted[i] = quoteText(t)
	}
	return strings.Join(quoted, ", ")
}

// keptFigure is a table that keeps what a view says.
type keptFigure struct{ table, view, columns string }

var keptFigures = []keptFigure{
	{"figure", "figure_live", "indicator, grain, period, region, last_day, as_of, year, aggregation, value, numerator, denominator, from_below, reported, figures, children_reporting, children, ranks, known_at, region_name, level, parent"},
	{"figure_report", "report_live", "indicator, grain, period, region, feed, last_day, value, source, direct_below"},
}

// makesFigures reports whether a view is what kept figures are put together by.
func makesFigures(view string) bool {
	return view == "observation_cell" || slices.ContainsFunc(keptFigures, func(k keptFigure) bool { return k.view == view })
}

// keep brings a table up to what its view says where the condition holds. It may be repeated.
func (w *Warehouse) keep(ctx context.Context, kept keptFigure, condition string, version uint64) error {
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"max_execution_time": int(statementMost / time.Second)}))
	table := w.table(kept.table)
	if err := w.exec(ctx, "put figures together", fmt.Sprintf("INSERT INTO %s (%s, _version, _deleted) SELECT %s, %d, 0 FROM %s WHERE %s", table, kept.columns, kept.columns, version, w.table(kept.view), condition)); err != nil {
		return err
	}
	// The condition stands within: beside the replaced columns it would mean these.
	return w.exec(ctx, "take figures away", fmt.Sprintf("INSERT INTO %s SELECT * REPLACE (%d AS _version, 1 AS _deleted) FROM (SELECT * FROM %s FINAL WHERE %s AND _deleted = 0 AND _version < %d)", table, version, table, condition, version))
}

// turn is the right to put figures together.
type turn struct {
	w      *Warehouse
	holder string
}

// takeTurn waits until nobody else has the turn, and takes it. Who wants it says so first and looks then: of two, at least one sees the
// other, and gives way for a moment.
func (w *Warehouse) takeTurn(ctx context.Context) (*turn, error) {
	for began := time.Now(); ; {
		t := &turn{w: w, holder: w.instance + "/" + rand.Text()} // whoever has given way is another one when they come back
		others, err := t.others(ctx)
		if err == nil && others == 0 {
			if err = t.say(ctx, false); err == nil {
				if others, err = t.others(ctx); err == nil && others == 0 {
					return t, nil
				}
				t.giveBack(ctx)
			}
		}
		if err != nil {
			return nil, err
		}
		if time.Since(began) > turnPatience {
			return nil, fault.Transient(fmt.Errorf("put figures together: %w", ErrTurnTaken))
		}
		wait, err := rand.Int(rand.Reader, big.NewInt(int64(400*time.Millisecond)))
		if err != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(100*time.Millisecond + time.Duration(wait.Int64())): // the server tells nobody that a turn is over
		}
	}
}

func (t *turn) say(ctx context.Context, ended bool) error {
	return t.w.exec(ctx, "take the turn at figures", "INSERT INTO "+t.w.table("figure_turn")+" (holder, ended) SELECT {holder:String}, {ended:UInt8}",
		clickhouse.Named("holder", t.holder), clickhouse.Named("ended", map[bool]uint8{true: 1}[ended]))
}

// others counts who else has the turn, or wants it. Earlier processes of this instance are dead.
func (t *turn) others(ctx context.Context) (uint64, error) {
	var n uint64
	err := t.w.data.QueryRow(ctx, "SELECT count() FROM (SELECT holder FROM "+t.w.table("figure_turn")+" WHERE at > now64(3, 'UTC') - toIntervalSecond({lapses:UInt64}) AND holder != {holder:String} AND NOT ({instance:String} != '' AND startsWith(holder, concat({instance:String}, '/'))) GROUP BY holder HAVING max(ended) = 0)",
		clickhouse.Named("instance", t.w.instance), clickhouse.Named("lapses", uint64(turnLapses/time.Second)), clickhouse.Named("holder", t.holder)).Scan(&n)
	return n, t.w.wrap(err, "look whose turn it is")
}

// goOn says that the turn is still wanted. A process that was stopped for so long that the turn has lapsed has lost it.
func (t *turn) goOn(ctx context.Context) error {
	var has bool
	if err := t.w.data.QueryRow(ctx, "SELECT max(at) > now64(3, 'UTC') - toIntervalSecond({lapses:UInt64}) FROM "+t.w.table("figure_turn")+" WHERE holder = {holder:String}",
		clickhouse.Named("lapses", uint64(turnLapses/time.Second)), clickhouse.Named("holder", t.holder)).Scan(&has); err != nil {
		return t.w.wrap(err, "look whose turn it is")
	}
	if !has {
		return fault.Transient(errors.New("put figures together: the turn has lapsed"))
	}
	return t.say(ctx, false)
}

func (t *turn) giveBack(ctx context.Context) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer stop()
	if err := t.say(ctx, true); err != nil {
		t.w.log.Warn("the turn at figures was not given back; others wait for it", "for", turnLapses.String(), "error", err)
	}
}
