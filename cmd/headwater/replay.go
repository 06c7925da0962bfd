package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/screen"
	"github.com/headwater-data/headwater/pipeline"
)

func replayCommand(a *app) *cobra.Command {
	var opts pipeline.RebuildOptions
	var from, by string
	c := &cobra.Command{
		Use:   "replay SOURCE",
		Short: "Maps everything of a source anew from Kafka, under the present mapping, and swaps it in",
		Long: `Reads all that the source's topic holds again, maps it as the project says now, and fills a table beside the one in force,
with the rows of other sources as they are. When every row is accounted for, both are exchanged in one step, and ledger and
quarantine are brought after: rows that are loaded now are closed, rows that break a rule now are opened. Rows that were
repaired or replayed keep their replay, dismissed ones stay dismissed. Killed at any moment, the old table is in force or the
new one; repeat the command then.

Where retention has taken some of it, or the source fills several tables, it is refused: headwater cursor reset and headwater run
read the source again instead. headwater start must not be serving the project.`,
		Example: `  headwater replay hotline --from kafka --dry-run
  headwater replay hotline --from kafka --why "districts were merged in the mapping"`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.Source, opts.By, opts.Why = args[0], operator(by), strings.TrimSpace(opts.Why)
			switch {
			case from == "source":
				return fault.Usage(fmt.Errorf("to read the source itself again: headwater cursor reset %s, and then headwater run %s", opts.Source, opts.Source))
			case from != "kafka":
				return fault.Usage(errors.New("say from where: --from kafka"))
			}
			p, err := a.load()
			if err != nil {
				return err
			}
			if _, err := p.Source(opts.Source); err != nil {
				return err
			}
			progress := screen.NewProgress(a.err, a.logger(a.err, p))
			session, err := pipeline.Open(cmd.Context(), p, pipeline.Options{Logger: a.logger(a.beside(progress), p), Stage: progress.Stage})
			if err != nil {
				progress.Done()
				return causeOf(cmd.Context(), err)
			}
			report, err := session.Rebuild(cmd.Context(), opts)
			progress.Done()
			if err = errors.Join(err, session.Close()); report == nil || err != nil && !report.Exchanged {
				return causeOf(cmd.Context(), err)
			}
			return causeOf(cmd.Context(), errors.Join(a.showRebuild(report), err))
		},
	}
	c.Flags().StringVar(&from, "from", "", "kafka: what its topic holds (required)")
	c.Flags().BoolVar(&opts.DryRun, "dry-run", false, "count and compare, and change nothing")
	c.Flags().StringVar(&opts.Why, "why", "", "the reason, for the record")
	byFlag(c, &by)
	return c
}

func (a *app) showRebuild(r *pipeline.RebuildReport) error {
	if a.json {
		return a.encode(r)
	}
	t := a.table(screen.Text, "what", "rows")
	for _, line := range []struct {
		what string
		n    int64
	}{
		{"extracted, by the ledger and by the log", r.Extracted}, {"loaded", r.Loaded}, {"duplicate", r.Duplicate}, {"quarantined", r.Quarantined}, {"filtered", r.Filtered},
		{"records of the source before", int64(r.Before)}, {"and after", int64(r.After)}, {"of which are otherwise, new or gone", int64(r.Changed)},
		{"records of other sources, unchanged", int64(r.Others)}, {"loaded that were in quarantine", int64(r.Released)}, {"quarantined that were not", int64(r.Refused)},
	} {
		if err := t.Row(line.what, screen.Count(line.n)); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	said := "Nothing was changed."
	if r.Exchanged {
		said = "The rebuilt table " + r.Table + " is in force."
	}
	_, err := fmt.Fprintln(a.err, said)
	return err
}
