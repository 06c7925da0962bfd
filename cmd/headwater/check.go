package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/problem"
)

func checkCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Finds everything that is wrong with the project's files",
		Long: `Reads the whole project (headwater.yaml, sources, schemas, indicators, reference data, lookup tables) and tells all that
is wrong at once, each with file, line, column and what to do. It needs no server, reads no department's data and fetches no
secret. Exit code 2 when something is wrong.`,
		Example: `  headwater check
  headwater check --project examples/livelihood
  headwater check --json | jq '.problems[].message'`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			p, problems, err := a.inspect()
			if err != nil {
				return err
			}
			if a.json {
				type result struct {
					Project  string       `json:"project"`
					Problems problem.List `json:"problems"`
				}
				r := result{Problems: problems}
				if p != nil {
					r.Project = p.Name
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
			_, err = fmt.Fprintf(a.out, "%s: %s with %s, %s, %s: no problem found.\n", p.Name, plural(len(p.Sources()), "source"), plural(streams, "stream"),
				plural(len(p.Indicators()), "indicator"), plural(len(p.Set().Names()), "schema"))
			return err
		},
	}
}
