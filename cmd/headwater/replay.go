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
		Short: "Maps everything of a source anew, from Kafka or from the source, and swaps it in",
		Long: `Maps all of a source as the project says now, and fills a table beside the one in force, with the rows of other sources as
they are. When every row is accounted for, both are exchanged in one step, and ledger and quarantine are brought after. Killed at
any moment, the old table is in force or the new one; repeat the command then. headwater start must not be serving the project.

--from kafka reads all that the source's topic holds again. Rows that are loaded now are closed in the quarantine, rows that break
a rule now are opened; repaired or replayed ones keep their replay, dismissed ones stay dismissed. Where retention has taken some
of it, it is refused.

--from source reads the source itself again, from its beginning. The new table has what the source gives now and nothing else of
it: what it no longer has is gone, and so are repairs of its rows; all rows that were open in quarantine are closed as superseded,
and those that break a rule now are opened. Where a shard, such as a file, has records in the table and brings none now, it is
refused unless --drop-absent says that they are to go. When it is refused, the next run loads what was read into the table in force.

A source that fills several tables is refused: headwater cursor reset and headwater run read it again into them instead.`,
		Example: `  headwater replay hotline --from kafka --dry-run
  headwater replay hotline --from kafka --why "districts were merged in the mapping"
  headwater replay hotline --from source --why "the office corrected its archive"`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.Source, opts.By, opts.Why = args[0], operator(by), strings.TrimSpace(opts.Why)
			switch {
			case from != "kafka" && from != "source":
				return fault.Usage(errors.New("say from where: --from kafka or --from source"))
			case from == "source" && opts.DryRun:
				return fault.Usage(errors.New("--dry-run is for --from kafka: reading the source again writes to Kafka what it gives"))
			case from == "kafka" && opts.Absent:
				return fault.Usage(errors.New("--drop-absent is for --from source: Kafka has what every shard brought"))
			}
			p, err := a.load()
			if err != nil {
				return err
			}
			if _, err := p.Source(opts.Source); err != nil {
				return err
			}
			var report *pipeline.RebuildReport
			err = a.inSession(cmd.Context(), p, func(session *pipeline.Session) (err error) {
				rebuild := session.Rebuild
				if from == "source" {
					rebuild = session.RebuildFromSource
				}
				report, err = rebuild(cmd.Context(), opts)
				return err
			})
			if report == nil || err != nil && !report.Exchanged {
				return causeOf(cmd.Context(), err)
			}
			return causeOf(cmd.Context(), errors.Join(a.showRebuild(report), err))
		},
	}
	c.Flags().StringVar(&from, "from", "", "kafka: what its topic holds; source: what the source gives (required)")
	c.Flags().BoolVar(&opts.DryRun, "dry-run", false, "count and compare, and change nothing")
	c.Flags().BoolVar(&opts.Absent, "drop-absent", false, "with --from source: records of shards that bring none now are to go")
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
		{"extracted", r.Extracted}, {"loaded", r.Loaded}, {"duplicate", r.Duplicate}, {"quarantined", r.Quarantined}, {"filtered", r.Filtered},
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
