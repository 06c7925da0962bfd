package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/internal/screen"
	"github.com/headwater-data/headwater/pipeline"
	"github.com/headwater-data/headwater/warehouse"
)

// errLedgerWrong is why ledger --check ends with exit code 1; the command has said so in its own form.
var errLedgerWrong = errors.New("the warehouse is not as the ledger says")

// ledgerFinding is what ledger --check shows of a thing that is not as the ledger says.
type ledgerFinding struct {
	What       string `json:"what"`
	Fault      bool   `json:"fault"`
	Source     string `json:"source,omitempty"`
	Stream     string `json:"stream,omitempty"`
	Run        string `json:"run,omitempty"`
	Table      string `json:"table,omitempty"`
	Topic      string `json:"topic,omitempty"`
	Partition  int32  `json:"partition"`
	From       int64  `json:"from_offset"`
	To         int64  `json:"to_offset"`
	Expected   int64  `json:"expected"`
	There      int64  `json:"there"`
	Superseded int64  `json:"superseded"`
	Lost       int64  `json:"lost"`
	Unknown    int64  `json:"unknown"`
}

// discrepancyWords say what each kind of finding means.
var discrepancyWords = map[warehouse.DiscrepancyKind]string{
	warehouse.DiscrepancyRows:       "rows of the flush",
	warehouse.DiscrepancyQuarantine: "rows in quarantine",
	warehouse.DiscrepancyAccount:    "rows without an account",
	warehouse.DiscrepancyGap:        "no account of these offsets",
	warehouse.DiscrepancyRun:        "rows that the run wrote",
}

// checkLedger holds the ledger against the warehouse.
func (a *app) checkLedger(ctx context.Context, p *project.Project, filter warehouse.BalanceFilter) error {
	var found []pipeline.Finding
	if err := a.inSession(ctx, p, func(session *pipeline.Session) (err error) {
		found, err = session.Discrepancies(ctx, filter)
		return err
	}); err != nil {
		return causeOf(ctx, err)
	}
	return a.showDiscrepancies(found)
}

func (a *app) showDiscrepancies(found []pipeline.Finding) error {
	lines, faults, superseded, unknown := []ledgerFinding{}, 0, int64(0), int64(0)
	for _, f := range found {
		lines = append(lines, ledgerFinding{
			What: discrepancyWords[f.Kind], Fault: f.Fault(), Source: f.Source, Stream: f.Stream, Run: f.Run, Table: f.Table, Topic: f.Range.Topic, Partition: f.Range.Partition,
			From: f.Range.From, To: f.Range.To, Expected: f.Expected, There: f.There, Superseded: f.Superseded, Lost: f.Lost, Unknown: f.Unknown,
		})
		superseded += f.Superseded
		unknown += f.Unknown
		if f.Fault() {
			faults++
		}
	}
	var wrong error
	if faults > 0 {
		wrong = &reportedError{errLedgerWrong}
	}
	if a.json {
		return errors.Join(a.encode(struct {
			Agrees   bool            `json:"agrees"`
			Findings []ledgerFinding `json:"findings"`
		}{faults == 0, lines}), wrong)
	}
	if faults > 0 {
		t := a.table(screen.Text, "what", "source", "stream", "table", "topic", "offsets", "ledger", "there", "superseded", "lost", "run")
		for _, l := range lines {
			if !l.Fault {
				continue
			}
			topic, offsets := "–", "–"
			if l.Topic != "" {
				topic, offsets = fmt.Sprintf("%s/%d", l.Topic, l.Partition), fmt.Sprintf("[%d, %d)", l.From, l.To)
			}
			if err := t.Row(l.What, l.Source, l.Stream, l.Table, topic, offsets, screen.Count(l.Expected), screen.Count(l.There), screen.Count(l.Superseded), screen.Count(l.Lost), screen.Name(l.Run)); err != nil {
				return err
			}
		}
		if err := t.Close(); err != nil {
			return err
		}
		fmt.Fprintln(a.out)
	}
	if superseded > 0 {
		fmt.Fprintf(a.out, "%s were superseded: a newer row of the same key stands in their place.\n", plural(int(superseded), "row"))
	}
	if unknown > 0 {
		fmt.Fprintf(a.out, "%s are not there, and no message says which keys they had: superseded or lost. headwater verify tells for a source.\n", plural(int(unknown), "row"))
	}
	if faults > 0 {
		fmt.Fprintf(a.out, "THE WAREHOUSE IS NOT AS THE LEDGER SAYS: %s. headwater verify SOURCE --repair mends what a source still has.\n", plural(faults, "difference"))
		return wrong
	}
	_, err := fmt.Fprintln(a.out, "The warehouse has what the ledger says.")
	return err
}

// ledgerBy is the ways in which --by adds the ledger up, with the columns that name a line.
var ledgerBy = map[string][]string{
	"source": {"source"}, "run": {"run", "source"}, "shard": {"source", "stream", "shard"}, "flush": {"topic", "offsets", "source"}, "table": {"table", "source"},
}

// showLedgerBy shows the ledger added up in one way.
func (a *app) showLedgerBy(ctx context.Context, p *project.Project, w *pipeline.Depot, by string, filter warehouse.BalanceFilter, limit int) error {
	ready, err := w.Ready(ctx)
	if err != nil {
		return err
	}
	var rows []warehouse.BalanceBy
	if ready {
		ask := limit
		if ask > 0 {
			ask++ // to know whether there are more
		}
		if rows, err = w.Balances(ctx, by, filter, ask); err != nil {
			return err
		}
	}
	more := limit > 0 && len(rows) > limit
	if more {
		rows = rows[:limit]
	}
	balanced := true
	t := a.table(screen.Text, append([]string{"loaded at"}, append(ledgerBy[by], "extracted", "loaded", "duplicate", "quarantined", "filtered", "held", "difference", "records", "deleted")...)...)
	for _, r := range rows {
		names := map[string]any{"source": r.Source, "run": screen.Name(r.Run), "stream": r.Stream, "shard": r.Shard, "table": r.Table,
			"topic": fmt.Sprintf("%s/%d", r.Topic, r.Partition), "offsets": fmt.Sprintf("[%d, %d)", r.From, r.To)}
		cells := []any{r.LoadedAt.In(p.Zone)}
		for _, n := range ledgerBy[by] {
			cells = append(cells, names[n])
		}
		cells = append(cells, screen.Count(r.Extracted), screen.Count(r.Loaded), screen.Count(r.Duplicate), screen.Count(r.Quarantined), screen.Count(r.Filtered), screen.Count(r.Held),
			screen.Count(r.Difference()), screen.Count(r.Records), screen.Count(r.Deleted))
		if err := t.Row(cells...); err != nil {
			return err
		}
		balanced = balanced && r.Difference() == 0
	}
	if err := t.Close(); err != nil {
		return err
	}
	if more && !a.json {
		fmt.Fprintln(a.out, "… and more: --limit 0 shows all.")
	}
	if !balanced {
		return errUnbalanced
	}
	return nil
}
