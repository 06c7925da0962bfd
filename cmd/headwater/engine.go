package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/headwater-data/headwater/internal/embedded/clickhouse"
	"github.com/headwater-data/headwater/internal/screen"
)

func engineCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:     "engine",
		Short:   "Looks after the embedded warehouse's engine",
		Hidden:  true, // run and demo fetch the engine themselves; builds and images fetch it ahead
		Example: "  headwater engine fetch",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(&cobra.Command{
		Use:   "fetch",
		Short: "Brings the engine to this machine, unless it is there",
		Long: `Downloads the pinned engine of the embedded warehouse with npm, checks its hash and unpacks it into the cache
($HEADWATER_CACHE, or the user's cache folder). Afterwards neither network nor npm is needed.`,
		Example: "  headwater engine fetch",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			progress := screen.NewProgress(a.err, a.logger(a.err, nil))
			engine, err := clickhouse.Fetch(cmd.Context(), func(stage string, done, total int64) {
				progress.Stage("embedded warehouse: "+stage, done, total)
			})
			progress.Done()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "engine %s: %s\n", engine.Version, engine.Path)
			return err
		},
	})
	return c
}
