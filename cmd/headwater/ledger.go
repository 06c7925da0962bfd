package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/internal/screen"
	"github.com/headwater-data/headwater/pipeline"
	"github.com/headwater-data/headwater/warehouse"
)

// errUnbalanced is why ledger ends with exit code 1; the command has said so in its own form.
var errUnbalanced = errors.New("the ledger does not balance")

func ledgerCommand(a *app) *cobra.Command {
	var filter warehouse.BalanceFilter
	var flushes, check bool
	var by string
	var limit int
	c := &cobra.Command{
		Use:   "ledger",
		Short: "Shows the account of every row: extracted = loaded + duplicate + quarantined + filtered + held",
		Long: `Shows what became of every row, by source and by run. The last line says whether everything balances; when something does
not, the exit code is 1. Where a source counts its rows itself, "missing" is how many more it counts than were extracted.

With --check the ledger itself is held against what it is about: of every flush, its rows in the tables and in quarantine by
where they came from, and of every run what its writer counted. Rows in whose place a newer one of their key stands are
superseded, not lost; Kafka is asked which they were. Check while nothing is loading.`,
		Example: `  headwater ledger
  headwater ledger --source hotline --limit 5     its five newest runs
  headwater ledger --run 01j9… --flushes          one run, every range of offsets
  headwater ledger --by shard --source hotline    one line for each file
  headwater ledger --check                        is the warehouse as the ledger says?
  headwater ledger --json > ledger.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return fault.Usage(errors.New("--limit must be 0 (all) or more"))
			}
			if _, ok := ledgerBy[by]; by != "" && !ok {
				return fault.Usage(errors.New("--by must be source, run, shard, flush or table"))
			}
			if check && (by != "" || flushes) {
				return fault.Usage(errors.New("--check shows what is wrong; leave --by and --flushes out"))
			}
			p, err := a.load()
			if err != nil {
				return err
			}
			if check {
				return a.checkLedger(cmd.Context(), p, filter)
			}
			if by != "" {
				return a.withWarehouse(cmd.Context(), func(w *pipeline.Depot) error {
					return a.showLedgerBy(cmd.Context(), p, w, by, filter, limit)
				})
			}
			return a.withWarehouse(cmd.Context(), func(w *pipeline.Depot) error {
				l, err := readLedger(cmd.Context(), w, filter, flushes, limit)
				if err != nil {
					return err
				}
				if a.json {
					err = a.encode(l)
				} else {
					err = l.show(a, p)
				}
				if err == nil && !l.Balanced {
					err = &reportedError{errUnbalanced}
				}
				return err
			})
		},
	}
	c.Flags().StringVar(&filter.Run, "run", "", "only this run")
	c.Flags().StringVar(&filter.Source, "source", "", "only this source")
	c.Flags().BoolVar(&flushes, "flushes", false, "show every flush: range of offsets, shard, outcomes")
	c.Flags().StringVar(&by, "by", "", "one table, added up by source, run, shard, flush or table")
	c.Flags().BoolVar(&check, "check", false, "hold the ledger against tables, quarantine and runs")
	c.Flags().IntVar(&limit, "limit", 20, "how many of the newest runs and flushes to show; 0 for all")
	return c
}

// ledger is what the command shows.
type ledger struct {
	Balanced bool           `json:"balanced"`
	Total    *ledgerLine    `json:"total"` // of what was asked for; null when there is nothing
	Sources  []ledgerLine   `json:"sources,omitempty"`
	Runs     []ledgerLine   `json:"runs"` // the newest first
	Flushes  []ledgerFlush  `json:"flushes,omitempty"`
	Wrong    []ledgerLine   `json:"unbalanced,omitempty"` // whatever does not balance, shown or not
	more     map[string]int // what the limit left out
}

type ledgerLine struct {
	Source       string    `json:"source,omitempty"`
	Run          string    `json:"run,omitempty"`
	Extracted    int64     `json:"extracted"`
	Loaded       int64     `json:"loaded"`
	Duplicate    int64     `json:"duplicate"`
	Quarantined  int64     `json:"quarantined"`
	Filtered     int64     `json:"filtered"`
	Held         int64     `json:"held"`
	Difference   int64     `json:"difference"`
	Records      int64     `json:"records"`
	Deleted      int64     `json:"deleted"`
	Flagged      int64     `json:"flagged"`
	Messages     int64     `json:"messages"`
	Bytes        int64     `json:"bytes"`
	Counted      *int64    `json:"counted,omitempty"`
	Missing      *int64    `json:"missing,omitempty"`
	LastLoadedAt time.Time `json:"last_loaded_at"`
}

type ledgerFlush struct {
	Source      string    `json:"source"`
	Stream      string    `json:"stream"`
	Shard       string    `json:"shard"`
	Run         string    `json:"run"`
	Schema      string    `json:"schema"`
	Kind        string    `json:"kind"`
	Topic       string    `json:"topic"`
	Partition   int32     `json:"partition"`
	From        int64     `json:"from_offset"`
	To          int64     `json:"to_offset"`
	Extracted   int64     `json:"extracted"`
	Loaded      int64     `json:"loaded"`
	Duplicate   int64     `json:"duplicate"`
	Quarantined int64     `json:"quarantined"`
	Filtered    int64     `json:"filtered"`
	Held        int64     `json:"held"`
	Records     int64     `json:"records"`
	LoadedAt    time.Time `json:"loaded_at"`
	Balanced    bool      `json:"balanced"`
}

func newLedgerLine(b warehouse.Balance) ledgerLine {
	return ledgerLine{
		Source: b.Source, Run: b.Run, Extracted: b.Extracted, Loaded: b.Loaded, Duplicate: b.Duplicate, Quarantined: b.Quarantined,
		Filtered: b.Filtered, Held: b.Held, Difference: b.Difference, Records: b.Records, Deleted: b.Deleted, Flagged: b.Warnings,
		Messages: b.Messages, Bytes: b.Bytes, Counted: b.Counted, Missing: b.CountDifference, LastLoadedAt: b.LastLoadedAt,
	}
}

func (l *ledgerLine) add(o ledgerLine) {
	for _, x := range []struct{ to, from *int64 }{
		{&l.Extracted, &o.Extracted}, {&l.Loaded, &o.Loaded}, {&l.Duplicate, &o.Duplicate}, {&l.Quarantined, &o.Quarantined}, {&l.Filtered, &o.Filtered},
		{&l.Held, &o.Held}, {&l.Difference, &o.Difference}, {&l.Records, &o.Records}, {&l.Deleted, &o.Deleted}, {&l.Flagged, &o.Flagged},
		{&l.Messages, &o.Messages}, {&l.Bytes, &o.Bytes},
	} {
		*x.to += *x.from
	}
	if o.LastLoadedAt.After(l.LastLoadedAt) {
		l.LastLoadedAt = o.LastLoadedAt
	}
}

func readLedger(ctx context.Context, w *pipeline.Depot, filter warehouse.BalanceFilter, flushes bool, limit int) (*ledger, error) {
	l := &ledger{Balanced: true, Runs: []ledgerLine{}, more: map[string]int{}}
	ready, err := w.Ready(ctx)
	if err != nil || !ready {
		return l, err
	}
	lines, err := w.Balance(ctx, filter)
	if err != nil {
		return nil, err
	}
	total := ledgerLine{}
	for _, b := range lines {
		line := newLedgerLine(b)
		if b.Scope != "total" && b.Difference != 0 {
			l.Balanced = false
			l.Wrong = append(l.Wrong, line)
		}
		switch b.Scope {
		case "run":
			l.Runs = append(l.Runs, line)
			total.add(line)
		case "source":
			l.Sources = append(l.Sources, line)
		}
	}
	if len(l.Runs) > 0 {
		l.Total = &total
	}
	// Balance gives the oldest run first; people ask about the newest.
	newest := make([]ledgerLine, 0, len(l.Runs))
	for i := len(l.Runs); i > 0; {
		from := i - 1
		for from > 0 && l.Runs[from-1].Run == l.Runs[i-1].Run {
			from--
		}
		newest = append(newest, l.Runs[from:i]...)
		i = from
	}
	l.Runs = newest
	if shown := firstRuns(l.Runs, limit); shown < len(l.Runs) {
		l.more["run"] = len(l.Runs) - shown
		l.Runs = l.Runs[:shown]
	}
	if !flushes {
		return l, nil
	}
	ask := limit
	if ask > 0 {
		ask++ // to know whether there are more
	}
	rows, err := w.Flushes(ctx, filter, ask)
	if err != nil {
		return nil, err
	}
	if limit > 0 && len(rows) > limit {
		rows = rows[:limit]
		l.more["flush"] = 1
	}
	for _, r := range rows {
		l.Flushes = append(l.Flushes, ledgerFlush{
			Source: r.Source, Stream: r.Stream, Shard: r.Shard, Run: r.Run, Schema: r.Schema, Kind: r.Kind, Topic: r.Topic, Partition: r.Partition, From: r.From, To: r.To,
			Extracted: r.Extracted, Loaded: r.Loaded, Duplicate: r.Duplicate, Quarantined: r.Quarantined, Filtered: r.Filtered, Held: r.Held,
			Records: r.Records, LoadedAt: r.LoadedAt, Balanced: r.Balanced(),
		})
	}
	return l, nil
}

// firstRuns returns how many lines the first runs have, as many as the limit says; 0 means all.
func firstRuns(lines []ledgerLine, limit int) int {
	runs := 0
	for i := range lines {
		if i == 0 || lines[i].Run != lines[i-1].Run {
			if runs++; limit > 0 && runs > limit {
				return i
			}
		}
	}
	return len(lines)
}

func (l *ledger) show(a *app, p *project.Project) error {
	if l.Total == nil {
		_, err := fmt.Fprintln(a.out, "Nothing is in the ledger: nothing was loaded yet, or nothing that was asked for.")
		return err
	}
	columns := []string{"extracted", "loaded", "duplicate", "quarantined", "filtered", "held", "difference", "balanced", "records", "deleted", "flagged", "missing"}
	values := func(x ledgerLine, names ...any) []any {
		balanced := "yes"
		if x.Difference != 0 {
			balanced = "NO"
		}
		var missing any = "–"
		if x.Missing != nil {
			missing = screen.Count(*x.Missing)
		}
		return append(names, screen.Count(x.Extracted), screen.Count(x.Loaded), screen.Count(x.Duplicate), screen.Count(x.Quarantined), screen.Count(x.Filtered),
			screen.Count(x.Held), screen.Count(x.Difference), balanced, screen.Count(x.Records), screen.Count(x.Deleted), screen.Count(x.Flagged), missing)
	}
	if len(l.Sources) > 0 {
		t := a.table(screen.Text, append([]string{"source", "title"}, columns...)...)
		for _, x := range l.Sources {
			title := "–"
			if s, err := p.Source(x.Source); err == nil {
				title = s.Title
			}
			if err := t.Row(values(x, x.Source, title)...); err != nil {
				return err
			}
		}
		if err := t.Row(values(*l.Total, "total", "")...); err != nil {
			return err
		}
		if err := t.Close(); err != nil {
			return err
		}
		fmt.Fprintln(a.out)
	}
	t := a.table(screen.Text, append([]string{"run", "loaded at", "source"}, columns...)...)
	for _, x := range l.Runs {
		if err := t.Row(values(x, screen.Name(x.Run), x.LastLoadedAt.In(p.Zone), x.Source)...); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	if n := l.more["run"]; n > 0 {
		fmt.Fprintf(a.out, "… and %s of older runs: --limit 0 shows all.\n", plural(n, "line"))
	}
	if len(l.Flushes) > 0 {
		fmt.Fprintln(a.out)
		t := a.table(screen.Text, "loaded at", "topic", "offsets", "kind", "source", "stream", "shard", "schema", "extracted", "loaded", "duplicate", "quarantined", "filtered", "held", "records", "run")
		for _, x := range l.Flushes {
			if err := t.Row(x.LoadedAt.In(p.Zone), fmt.Sprintf("%s/%d", x.Topic, x.Partition), fmt.Sprintf("[%d, %d)", x.From, x.To), x.Kind, x.Source, x.Stream, x.Shard, x.Schema,
				screen.Count(x.Extracted), screen.Count(x.Loaded), screen.Count(x.Duplicate), screen.Count(x.Quarantined), screen.Count(x.Filtered), screen.Count(x.Held),
				screen.Count(x.Records), x.Run); err != nil {
				return err
			}
		}
		if err := t.Close(); err != nil {
			return err
		}
		if l.more["flush"] > 0 {
			fmt.Fprintln(a.out, "… and older flushes: --limit 0 shows all.")
		}
	}
	return l.verdict(a)
}

// verdict is the last line.
func (l *ledger) verdict(a *app) error {
	fmt.Fprintln(a.out)
	if l.Balanced {
		held := ""
		if l.Total.Held > 0 {
			held = fmt.Sprintf(" %s held until their table takes them.", plural(int(l.Total.Held), "row"))
		}
		_, err := fmt.Fprintf(a.out, "Balanced: each of the %s has an outcome.%s\n", plural(int(l.Total.Extracted), "extracted row"), held)
		return err
	}
	for _, x := range l.Wrong {
		where := "source " + x.Source
		if x.Run != "" {
			where += ", run " + x.Run
		}
		fmt.Fprintf(a.out, "%s: %s\n", where, plural(int(x.Difference), "row")+" without an outcome")
	}
	_, err := fmt.Fprintln(a.out, "NOT BALANCED: rows have no outcome, or more than one. This is a fault of Headwater: keep the topic and the warehouse as they are and report it.")
	return err
}
