package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/screen"
	"github.com/headwater-data/headwater/pipeline"
	"github.com/headwater-data/headwater/warehouse"
)

func cursorCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:     "cursor",
		Short:   "Shows how far sources are read, and sets them back",
		Example: "  headwater cursor list hotline",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(cursorListCommand(a), cursorResetCommand(a))
	return c
}

// cursorLine is a cursor for scripts.
type cursorLine = shardStatus

func cursorListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list [SOURCE]",
		Short: "Lists the cursor of every file or partition that was loaded",
		Example: `  headwater cursor list
  headwater cursor list hotline --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := a.load()
			if err != nil {
				return err
			}
			source := ""
			if len(args) > 0 {
				if _, err := p.Source(args[0]); err != nil {
					return err
				}
				source = args[0]
			}
			return a.withQuarantine(cmd.Context(), func(w *pipeline.Depot) error {
				shards, err := w.Shards(cmd.Context(), source)
				if err != nil {
					return err
				}
				lines := []cursorLine{}
				t := a.table(screen.Text, "source", "stream", "shard", "rows", "loaded", "cursor")
				t.WhenEmpty("Nothing has been read.")
				for _, s := range shards {
					line := cursorLine{Source: s.Source, Stream: s.Stream, Shard: s.Shard, Topic: s.Topic, Partition: s.Partition, Offset: s.CursorOffset, Extracted: s.Extracted, LastLoadedAt: s.LastLoadedAt.In(p.Zone), Cursor: cursorJSON(s.Cursor)}
					if a.json {
						lines = append(lines, line)
						continue
					}
					if err := t.Row(s.Source, s.Stream, screen.Name(s.Shard), screen.Count(s.Extracted), s.LastLoadedAt.In(p.Zone), string(line.Cursor)); err != nil {
						return err
					}
				}
				if a.json {
					return a.encode(lines)
				}
				return t.Close()
			})
		},
	}
}

func cursorResetCommand(a *app) *cobra.Command {
	var opts pipeline.ResetOptions
	var shard, by string
	c := &cobra.Command{
		Use:   "reset SOURCE",
		Short: "Sets cursors back to the beginning, so that the next run reads everything again",
		Long: `Sets the cursors of a source (or of one stream or shard of it) back to the beginning. The next run reads again whatever the
source still has; rows that are in the warehouse are replaced by what is read now, and where a file's content replaces what it
held before, rows that it no longer has are removed. Nothing is there twice afterwards. It may be repeated, and killed: a shard is
set back or it is not. headwater audit tells who did it.

headwater start must not be serving the project: it could be reading the source just then.`,
		Example: `  headwater cursor reset hotline --why "the export was corrected under its old name and time"
  headwater cursor reset hotline --stream cases --shard data/2024.csv --why "…" && headwater run hotline`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.Source, opts.By, opts.Why = args[0], operator(by), strings.TrimSpace(opts.Why)
			if opts.Why == "" {
				return fault.Usage(errors.New("say why, for those who ask later: --why TEXT"))
			}
			if cmd.Flags().Changed("shard") {
				opts.Shard = &shard
			}
			p, err := a.load()
			if err != nil {
				return err
			}
			if _, err := p.Source(opts.Source); err != nil {
				return err
			}
			var done []warehouse.Shard
			if err := a.inSession(cmd.Context(), p, func(session *pipeline.Session) (err error) {
				done, err = session.Reset(cmd.Context(), opts)
				return err
			}); err != nil {
				return causeOf(cmd.Context(), err)
			}
			names := []string{}
			for _, s := range done {
				names = append(names, strings.TrimSpace(s.Stream+" "+s.Shard))
			}
			if a.json {
				return a.encode(map[string]any{"reset": names})
			}
			for _, name := range names {
				fmt.Fprintln(a.out, screen.Clean(name))
			}
			_, err = fmt.Fprintf(a.err, "Set %s back; the next run reads them from the beginning.\n", plural(len(names), "shard"))
			return err
		},
	}
	c.Flags().StringVar(&opts.Stream, "stream", "", "only this stream of it")
	c.Flags().StringVar(&shard, "shard", "", "only this file or partition, as cursor list names it")
	c.Flags().StringVar(&opts.Why, "why", "", "the reason, for the record (required)")
	byFlag(c, &by)
	return c
}
