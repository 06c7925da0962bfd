package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/screen"
	"github.com/headwater-data/headwater/pipeline"
)

func quarantineReplayCommand(a *app) *cobra.Command {
	var source, rule string
	var all bool
	c := &cobra.Command{
		Use:   "replay [ID…]",
		Short: "Sends quarantined rows again under the present mapping",
		Long: `Appends open rows of the quarantine as new batches that name the original rows, maps them as the project says now, and
loads them, each exactly once however often this is repeated or killed. Rows that still break a rule are quarantined anew,
with the reasons of now. Rows keep their place in the source's order: a later correction still wins.

Rows that could not be read at all hold no columns; mend the file and run its source again instead.`,
		Example: `  headwater quarantine replay --source hotline     after its mapping was mended
  headwater quarantine replay 'scjg-0.3f9a2c@1234#17'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && source == "" && rule == "" && !all {
				return fault.Usage(errors.New("say what to replay: ids, --source, --rule or --all"))
			}
			p, err := a.load()
			if err != nil {
				return err
			}
			progress := screen.NewProgress(a.err, a.logger(a.err, p))
			session, err := pipeline.Open(cmd.Context(), p, pipeline.Options{Logger: a.logger(a.beside(progress), p), Stage: progress.Stage})
			if err != nil {
				progress.Done()
				return causeOf(cmd.Context(), err)
			}
			report, err := session.Replay(cmd.Context(), pipeline.ReplayOptions{Source: source, Rule: rule, IDs: args})
			progress.Done()
			if err = errors.Join(err, session.Close()); report != nil {
				err = errors.Join(a.showReplay(report), err)
			}
			return causeOf(cmd.Context(), err)
		},
	}
	c.Flags().StringVar(&source, "source", "", "only rows of this source")
	c.Flags().StringVar(&rule, "rule", "", "only rows that break this rule")
	c.Flags().BoolVar(&all, "all", false, "all open rows")
	return c
}

func (a *app) showReplay(r *pipeline.ReplayReport) error {
	t := a.table(screen.Text, "source", "title", "replayed", "loaded", "quarantined again", "filtered", "duplicate")
	for _, s := range r.Sources {
		if err := t.Row(s.Source, s.Title, screen.Count(s.Account.Extracted), screen.Count(s.Account.Loaded), screen.Count(s.Account.Quarantined),
			screen.Count(s.Account.Filtered), screen.Count(s.Account.Duplicate)); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	if r.Unreplayable > 0 {
		fmt.Fprintf(a.err, "%s could not be read at all and cannot be replayed: mend the file and run the source again\n", plural(int(r.Unreplayable), "row"))
	}
	return nil
}
