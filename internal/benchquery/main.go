// Command benchquery measures how fast the views answer what analysts ask, on many observations of the cities and counties of
// one province.
//
// Every county reports each indicator by its subjects (projects, stations), every city and the province report a figure of their
// own beside them, so that there is something to roll up and something to reconcile. The rows are made by the engine, in the
// table and with the lineage columns that a load fills. Each question is asked many times, of another indicator or month each
// time, after a first time that is not counted; p95 is the figure that counts.
//
// It prints a table for people and ends with one line RESULT {…} for scripts.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/headwater-data/headwater/internal/embedded"
	"github.com/headwater-data/headwater/schemas"
	"github.com/headwater-data/headwater/warehouse"
)

func main() {
	embedded.MaybeServe() // does not return in a process that is an embedded server
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "benchquery:", err)
		os.Exit(1)
	}
}

type options struct {
	rows       int
	indicators int
	months     int
	times      int
	dir        string
	only       string
}

// aggregations are given to the indicators in turn.
var aggregations = []string{"sum", "ratio", "mean", "max", "sum"}

func code(n int) string { return fmt.Sprintf("B%03d", n) }

func indicators(n int) []schemas.Indicator {
	out := make([]schemas.Indicator, n)
	for i := range out {
		code := code(i)
		how := aggregations[i%len(aggregations)]
		out[i] = schemas.Indicator{Code: code, Title: schemas.Title{Zh: "指标" + code, En: code}, Unit: "家", Direction: "up", Aggregation: how, TimeAggregation: how, Grain: "month"}
	}
	return out
}

func bench(ctx context.Context, args []string, out, errs io.Writer) (err error) {
	var o options
	f := flag.NewFlagSet("benchquery", flag.ContinueOnError)
	f.SetOutput(errs)
	f.IntVar(&o.rows, "rows", 100_000_000, "observations, about")
	f.IntVar(&o.indicators, "indicators", 200, "indicators")
	f.IntVar(&o.months, "months", 60, "months")
	f.IntVar(&o.times, "times", 40, "how often each question is asked")
	f.StringVar(&o.dir, "dir", filepath.Join(os.TempDir(), "headwater-benchquery"), "folder of the warehouse, kept for the next time")
	f.StringVar(&o.only, "only", "", "ask only the questions whose name holds this")
	if err := f.Parse(args); err != nil {
		return err
	}
	if o.rows < 1 || o.indicators < 1 || o.months < 13 || o.times < 1 || f.NArg() > 0 {
		return fmt.Errorf("-rows, -indicators and -times must be at least 1, -months 13, and nothing follows the flags")
	}
	note := func(format string, args ...any) { fmt.Fprintf(errs, format+"\n", args...) }

	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return err
	}
	lease, err := embedded.Acquire(ctx, o.dir, embedded.Warehouse, embedded.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lease.Close()) }()
	e := lease.Endpoint()
	w, err := warehouse.Open(ctx, warehouse.Config{Addr: e.Addr, User: e.User, Password: e.Password, Database: "bench",
		Logger: slog.New(slog.NewTextHandler(errs, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	defer http.DefaultClient.CloseIdleConnections()
	b := &run{options: o, Warehouse: w, server: e, note: note}
	if err := b.fill(ctx); err != nil {
		return err
	}
	return b.measure(ctx, out)
}

type run struct {
	options
	*warehouse.Warehouse
	server   embedded.Endpoint
	note     func(string, ...any)
	landed   int
	together float64 // seconds that putting all figures together took; 0 when they were there
}

// one asks for one row of numbers.
func (b *run) one(ctx context.Context, sql string) (int, error) {
	rows, err := b.Query(ctx, sql, nil)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	n := 0
	for row, err := range rows.All() {
		if err != nil {
			return 0, err
		}
		if _, err := fmt.Sscan(row[0].Text(), &n); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// fill makes the observations, unless the folder has them.
func (b *run) fill(ctx context.Context) error {
	if _, err := b.Migrate(ctx, schemas.Standard()); err != nil {
		return err
	}
	if err := b.Sync(ctx, schemas.Standard(), indicators(b.indicators)); err != nil {
		return err
	}
	counties, err := b.one(ctx, "SELECT uniqExact(code) FROM region FINAL WHERE level = 'county' AND valid_to IS NULL AND startsWith(toString(code), '33')")
	if err != nil {
		return err
	}
	subjects := max(b.rows/b.indicators/b.months/counties, 1)
	want := b.indicators * b.months * (counties*subjects + 12)
	there, err := b.one(ctx, "SELECT count() FROM observation")
	if err != nil {
		return err
	}
	if there < want {
		if there > 0 {
			return fmt.Errorf("%s has %d observations, not %d: remove it", b.dir, there, want)
		}
		began := time.Now()
		for i := range b.indicators {
			if err := b.write(ctx, insert(i, b.months, subjects)); err != nil {
				return fmt.Errorf("make indicator %d: %w", i, err)
			}
			if i%20 == 19 {
				b.note("%d of %d indicators, %.0f s", i+1, b.indicators, time.Since(began).Seconds())
			}
		}
		began = time.Now()
		n, err := b.RefreshAll(ctx)
		if err != nil {
			return err
		}
		b.together = time.Since(began).Seconds()
		b.note("figures of %d periods were put together, %.0f s", n, b.together)
	}
	b.landed = want
	// What a run of a new version changes is put together at its end.
	_, err = b.Refresh(ctx)
	return err
}

// write runs a statement that the warehouse itself has no use for.
func (b *run) write(ctx context.Context, sql string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+b.server.Addr, strings.NewReader(sql))
	if err != nil {
		return err
	}
	r.SetBasicAuth(b.server.User, b.server.Password.Reveal())
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<16))
	if answer.StatusCode != http.StatusOK {
		err = errors.Join(err, fmt.Errorf("%s: %s", answer.Status, text))
	}
	return errors.Join(err, answer.Body.Close())
}

// insert makes one indicator: every county's subjects, and the own figures of cities and province, which are a little off.
func insert(indicator, months, subjects int) string {
	return fmt.Sprintf(`INSERT INTO bench.observation (indicator, region, member, subject, grain, period, feed, value, numerator, denominator, unit, level,
	_version, _deleted, _source, _stream, _shard, _place, _row, _topic, _partition, _incarnation, _offset, _index, _run, _mapping, _extracted_at, _flags)
SELECT '%[1]s', code, '', subject, 'month', addMonths(toDateTime64('2021-01-01 00:00:00', 3, 'Asia/Shanghai'), month), if(subject = '', 'manual', 'source'),
	n / 10, if(%[4]d, toNullable(n), NULL), if(%[4]d, toNullable(1000), NULL), '家', level,
	1790000000000000, 0, 'bench', 'observations', 'made', 'made', rowNumberInAllBlocks(), 'headwater.raw.bench', 0, '5a0c64ae8b5df4b3', %[5]d, rowNumberInAllBlocks(), '01k5d2v7m9p0x8w6t4r2q1n3bc', '0c8b4c9a7f12',
	fromUnixTimestamp64Micro(1790000000000000, 'UTC'), []
FROM
(
	SELECT code, level, month, subject, cityHash64(code, month, subject, %[5]d) %% 1000 AS n
	FROM (SELECT DISTINCT toString(code) AS code, toString(level) AS level FROM bench.region FINAL WHERE valid_to IS NULL AND startsWith(toString(code), '33')) AS r
	CROSS JOIN (SELECT number AS month FROM numbers(%[2]d)) AS m
	ARRAY JOIN if(level = 'county', arrayMap(x -> concat('S', toString(x)), range(%[3]d)), ['']) AS subject
)`, code(indicator), months, subjects, map[bool]int{true: 1}[aggregations[indicator%len(aggregations)] == "ratio"], indicator)
}

// question is one that analysts ask. Its statement gets the number of the time it is asked.
type question struct {
	name string
	sql  func(time int) string
}

func (b *run) questions() []question {
	indicator := func(n int) string { return code((n*37 + 11) % b.indicators) }
	year := func(n int) int { return 2021 + 1 + n%max(b.months/12-1, 1) }
	month := func(n int) string { return fmt.Sprintf("%d-%02d-01", year(n), n*5%12+1) }
	return []question{
		{"rollup", func(n int) string {
			return fmt.Sprintf("SELECT * FROM bench.indicator_rollup WHERE indicator = '%s' AND grain = 'month' AND period >= '%d-01-01' AND period < '%d-01-01'", indicator(n), year(n), year(n)+1)
		}},
		{"ranking", func(n int) string {
			return fmt.Sprintf("SELECT * FROM bench.indicator_ranking WHERE indicator = '%s' AND grain = 'month' AND period = '%s' AND parent = '330000' ORDER BY rank", indicator(n), month(n))
		}},
		{"trend", func(n int) string {
			return fmt.Sprintf("SELECT * FROM bench.indicator_trend WHERE indicator = '%s' AND grain = 'month' AND region = '330200' ORDER BY period", indicator(n))
		}},
		{"reconciliation", func(n int) string {
			return fmt.Sprintf("SELECT * FROM bench.indicator_reconciliation WHERE indicator = '%s' AND grain = 'month' AND period >= '%d-01-01' AND period < '%d-01-01'", indicator(n), year(n), year(n)+1)
		}},
		{"month_all", func(n int) string {
			return fmt.Sprintf("SELECT * FROM bench.indicator_rollup WHERE grain = 'month' AND period = '%s'", month(n))
		}},
	}
}

func (b *run) measure(ctx context.Context, out io.Writer) error {
	p95 := map[string]float64{}
	fmt.Fprintf(out, "%d observations, %d indicators, %d months\n\n%-16s %8s %10s %10s %10s\n", b.landed, b.indicators, b.months, "question", "rows", "p50 ms", "p95 ms", "worst ms")
	for _, q := range b.questions() {
		if !strings.Contains(q.name, b.only) {
			continue
		}
		times := b.times
		if q.name == "month_all" {
			times = min(times, 5)
		}
		var took []float64
		rows := 0
		for n := range times + 1 {
			began := time.Now()
			got, err := b.drain(ctx, q.sql(n))
			if err != nil {
				return fmt.Errorf("%s: %w", q.name, err)
			}
			if got == 0 {
				return fmt.Errorf("%s: no rows: %s", q.name, q.sql(n))
			}
			if rows = got; n > 0 { // the first is not warm
				took = append(took, time.Since(began).Seconds()*1000)
			}
		}
		slices.Sort(took)
		at := func(share float64) float64 { return took[min(int(share*float64(len(took))), len(took)-1)] }
		p95[q.name] = at(0.95)
		fmt.Fprintf(out, "%-16s %8d %10.1f %10.1f %10.1f\n", q.name, rows, at(0.5), at(0.95), took[len(took)-1])
	}
	fresh, err := b.freshness(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nfrom the insert of a correction to a rollup that shows it, once figures are put together: %.2f s\n", fresh)
	result := map[string]any{"observations": b.landed, "rollup_p95_ms": p95["rollup"], "ranking_p95_ms": p95["ranking"], "trend_p95_ms": p95["trend"],
		"reconciliation_p95_ms": p95["reconciliation"], "month_all_s": p95["month_all"] / 1000, "freshness_s": fresh, "all_figures_s": b.together}
	line, err := json.Marshal(result)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "\nRESULT %s\n", line)
	return err
}

// freshness corrects one figure and asks for the rollup until it shows that. The correction is taken back the same way.
func (b *run) freshness(ctx context.Context) (seconds float64, err error) {
	const rollup = "SELECT toInt64(round(sum(value) * 10)) FROM bench.indicator_rollup WHERE indicator = 'B000' AND grain = 'month' AND period = '2021-03-01' AND region = '330000'"
	before, err := b.one(ctx, rollup)
	if err != nil {
		return 0, err
	}
	for _, step := range []int{1000, -1000} {
		began := time.Now()
		if err := b.write(ctx, fmt.Sprintf(`INSERT INTO bench.observation SELECT * REPLACE (value + %d AS value, _version + 1 AS _version) FROM bench.observation
WHERE indicator = 'B000' AND grain = 'month' AND period = toDateTime64('2021-03-01 00:00:00', 3, 'Asia/Shanghai') AND subject = 'S0' ORDER BY region, _version DESC LIMIT 1`, step)); err != nil {
			return 0, err
		}
		if err := b.write(ctx, "INSERT INTO bench.figure_mark (indicator, grain, period) VALUES ('B000', 'month', '2021-03-01')"); err != nil { // as a load does
			return 0, err
		}
		if _, err := b.Refresh(ctx); err != nil {
			return 0, err
		}
		for now := before; now != before+10*max(step, 0); {
			if now, err = b.one(ctx, rollup); err != nil {
				return 0, err
			}
		}
		seconds = max(seconds, time.Since(began).Seconds())
	}
	return seconds, nil
}

func (b *run) drain(ctx context.Context, sql string) (n int, err error) {
	rows, err := b.Query(ctx, sql, nil)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for _, err := range rows.All() {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
