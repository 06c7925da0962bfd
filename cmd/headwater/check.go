package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/problem"
	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/internal/screen"
	"github.com/headwater-data/headwater/pipeline"
)

func checkCommand(a *app) *cobra.Command {
	var online bool
	c := &cobra.Command{
		Use:   "check [--online [SOURCE...]]",
		Short: "Finds everything that is wrong with the project's files, or with the systems it names",
		Long: `Reads the whole project (headwater.yaml, sources, schemas, indicators, indexes, reference data, lookup tables) and tells
all that is wrong at once, each with file, line, column and what to do. It needs no server, reads no department's data and
fetches no secret. Exit code 2 when something is wrong.

With --online it also asks the broker, the warehouse and the departments' systems (or only the sources that are named): can they be
reached and read, is the connection encrypted, do clocks agree, how large are tables, which key has a table, is there an index for
the watermark; and says what to do, with the statement to run. It reads no more than the beginning of a file, makes nothing and
changes nothing. Exit code 3 when something does not work.`,
		Example: `  headwater check
  headwater check --online hotline
  headwater check --project examples/livelihood
  headwater check --json | jq '.problems[].message'`,
		Args: func(_ *cobra.Command, args []string) error {
			if online || len(args) == 0 {
				return nil
			}
			return fmt.Errorf("the files are checked together, not those of %s alone: leave it out, or ask its system with --online", args[0])
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			p, problems, err := a.inspect()
			if err != nil {
				return err
			}
			if online && len(problems) == 0 {
				return a.checkOnline(cmd.Context(), p, args)
			}
			if a.json {
				type result struct {
					Project  string       `json:"project"`
					Problems problem.List `json:"problems"`
					Unlisted []string     `json:"unlisted,omitempty"` // files of sources that state no sharing where others do
				}
				r := result{Problems: problems}
				if p != nil {
					r.Project = p.Name
					for _, s := range p.Unlisted() {
						r.Unlisted = append(r.Unlisted, s.File)
					}
				}
				if r.Problems == nil {
					r.Problems = problem.List{}
				}
				e := json.NewEncoder(a.out)
				e.SetEscapeHTML(false)
				e.SetIndent("", "  ")
				if err := e.Encode(r); err != nil {
					return err
				}
				if len(problems) > 0 {
					return &reportedError{fault.Usage(problems)}
				}
				return nil
			}
			if len(problems) > 0 {
				return fault.Usage(fmt.Errorf("%w: %w", errProject, problems))
			}
			streams := 0
			for _, s := range p.Sources() {
				streams += len(s.Streams)
			}
			indicators := plural(len(p.Indicators()), "indicator")
			if n := len(p.Indexes()); n == 1 {
				indicators += ", 1 index"
			} else if n > 1 {
				indicators += fmt.Sprintf(", %d indexes", n)
			}
			if _, err := fmt.Fprintf(a.out, "%s: %s with %s, %s, %s: no problem found.\n", p.Name, plural(len(p.Sources()), "source"), plural(streams, "stream"),
				indicators, plural(len(p.Set().Names()), "schema")); err != nil {
				return err
			}
			for _, s := range p.Unlisted() {
				if _, err := fmt.Fprintf(a.out, "%s: the source states no sharing, and others do (add sharing: who provides what, how, on what ground and by when)\n",
					fromHere(filepath.Join(p.Dir, filepath.FromSlash(s.File)))); err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&online, "online", false, "ask the systems, too")
	return c
}

func (a *app) checkOnline(ctx context.Context, p *project.Project, names []string) error {
	found, err := pipeline.LookOnline(ctx, p, names, pipeline.Options{Logger: a.logger(a.err, p)})
	if err != nil {
		return causeOf(ctx, err)
	}
	t := a.table(screen.Text, "where", "stream", "what", "level", "found", "what to do")
	faults := 0
	for _, f := range found {
		if f.Level == connectors.LevelFault {
			faults++
		}
		if err := t.Row(f.Where, f.Stream, f.What, string(f.Level), screen.Clean(f.Text), f.Fix); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	if faults > 0 {
		return fault.Environment(fmt.Errorf("%s in what the project needs: see the lines whose level is fault", plural(faults, "fault")))
	}
	return nil
}
