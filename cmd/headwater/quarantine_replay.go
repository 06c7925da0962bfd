package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/screen"
	"github.com/headwater-data/headwater/pipeline"
)

func quarantineReplayCommand(a *app) *cobra.Command {
	var opts pipeline.ReplayOptions
	var all bool
	var by string
	c := &cobra.Command{
		Use:   "replay [ID…]",
		Short: "Sends quarantined rows again under the present mapping",
		Long: `Appends open rows of the quarantine as new batches that name the original rows, maps them as the project says now, and
loads them, each exactly once however often this is repeated or killed. Rows that still break a rule are quarantined anew,
with the reasons of now. Rows keep their place in the source's order: a later correction still wins. When headwater start
serves the project, it is asked to do it.

Rows that could not be read at all hold no columns; mend the file and run its source again instead.`,
		Example: `  headwater quarantine replay --source hotline     after its mapping was mended
  headwater quarantine replay 'scjg-0.3f9a2c@1234#17'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && opts.Source == "" && opts.Rule == "" && !all {
				return fault.Usage(errors.New("say what to replay: ids, --source, --rule or --all"))
			}
			opts.IDs, opts.By, opts.Why = args, operator(by), strings.TrimSpace(opts.Why)
			return a.replay(cmd.Context(), opts)
		},
	}
	c.Flags().StringVar(&opts.Source, "source", "", "only rows of this source")
	c.Flags().StringVar(&opts.Rule, "rule", "", "only rows that break this rule")
	c.Flags().BoolVar(&all, "all", false, "all open rows")
	c.Flags().StringVar(&opts.Why, "why", "", "the reason, for the record")
	byFlag(c, &by)
	return c
}

func quarantineRepairCommand(a *app) *cobra.Command {
	var sets, nulls []string
	var file, why, by string
	c := &cobra.Command{
		Use:   "repair ID",
		Short: "Gives columns of a quarantined row another value and sends it again",
		Long: `Changes original columns of an open row and sends it again as replay does: mapped under the present mapping and loaded
exactly once, however often this is repeated or killed. A row that still breaks a rule is quarantined anew, with the new
reasons and the changed columns. Values of personal columns are checked and masked before they go anywhere; the record of who
changed what (headwater audit) names columns, never values. What a shell is given others on this machine may see: put
personal values into a file, or give them on standard input (--file -).

A file for --file is CSV with the columns id, column and value, a line for each change.`,
		Example: `  headwater quarantine repair 'hotline-0.3f9a2c@1234#17' --set 受理时间='2024-03-05 08:00' --why "checked with the operator"
  headwater quarantine repair --file edits.csv --why "corrected list of 5 March"`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			why = strings.TrimSpace(why)
			switch {
			case why == "":
				return fault.Usage(errors.New("say why, for those who ask later: --why TEXT"))
			case file == "" && (len(args) == 0 || len(sets)+len(nulls) == 0):
				return fault.Usage(errors.New("say which row and what to change: an id and --set column=value, or --file"))
			case file != "" && len(args)+len(sets)+len(nulls) > 0:
				return fault.Usage(errors.New("--file names rows and columns itself: give no id, --set or --null beside it"))
			}
			opts := pipeline.ReplayOptions{By: operator(by), Why: why}
			for _, set := range sets {
				column, value, ok := strings.Cut(set, "=")
				if !ok || column == "" {
					return fault.Usage(errors.New("--set: write column=value"))
				}
				opts.Edits = append(opts.Edits, pipeline.Edit{ID: args[0], Column: column, Value: &value})
			}
			for _, column := range nulls {
				opts.Edits = append(opts.Edits, pipeline.Edit{ID: args[0], Column: column})
			}
			if file != "" {
				var err error
				if opts.Edits, err = a.readEdits(file); err != nil {
					return err
				}
			}
			return a.replay(cmd.Context(), opts)
		},
	}
	c.Flags().StringArrayVar(&sets, "set", nil, "column=value: the column's new value; may be repeated")
	c.Flags().StringArrayVar(&nulls, "null", nil, "column that is to be empty (null); may be repeated")
	c.Flags().StringVar(&file, "file", "", "CSV with the columns id, column, value; - for standard input")
	c.Flags().StringVar(&why, "why", "", "the reason, for the record (required)")
	byFlag(c, &by)
	return c
}

// maxEditBytes bounds a file of changes.
const maxEditBytes = 3 << 20

// readEdits reads a file of changes. What it says of a wrong line names no value.
func (a *app) readEdits(name string) (_ []pipeline.Edit, err error) {
	from := a.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fault.Usage(fmt.Errorf("read the changes: %w", err))
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		from = f
	}
	limited := &io.LimitedReader{R: from, N: maxEditBytes + 1}
	lines := csv.NewReader(limited)
	lines.FieldsPerRecord = 3
	var edits []pipeline.Edit
	for first := true; ; first = false {
		record, err := lines.Read()
		if limited.N <= 0 {
			return nil, fault.Usage(fmt.Errorf("read the changes: more than %d MiB; give them in several files", maxEditBytes>>20))
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fault.Usage(fmt.Errorf("read the changes: %w", err))
		}
		id := strings.TrimPrefix(record[0], "\ufeff")
		if first && id == "id" && record[1] == "column" && record[2] == "value" {
			continue
		}
		line, _ := lines.FieldPos(0)
		if id == "" || record[1] == "" {
			return nil, fault.Usage(fmt.Errorf("read the changes: line %d names no row or no column", line))
		}
		edits = append(edits, pipeline.Edit{ID: id, Column: record[1], Value: &record[2]})
	}
	if len(edits) == 0 {
		return nil, fault.Usage(errors.New("read the changes: there are none"))
	}
	return edits, nil
}

// replay sends quarantined rows again, itself or by the service that has the project.
func (a *app) replay(ctx context.Context, opts pipeline.ReplayOptions) error {
	p, err := a.load()
	if err != nil {
		return err
	}
	if opts.Source != "" {
		if _, err := p.Source(opts.Source); err != nil {
			return err
		}
	}
	report, err := pipeline.AskReplay(ctx, p, opts)
	if errors.Is(err, pipeline.ErrNotServed) {
		err = a.inSession(ctx, p, func(session *pipeline.Session) (err error) {
			report, err = session.Replay(ctx, opts)
			return err
		})
	}
	if report != nil {
		err = errors.Join(a.showReplay(report), err)
	}
	return causeOf(ctx, err)
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
	for _, row := range r.Rows {
		switch {
		case row.Again:
			for i, rule := range row.Rules {
				reason := ""
				if i < len(row.Reasons) {
					reason = row.Reasons[i]
				}
				fmt.Fprintf(a.err, "%s is in quarantine again as %s: %s: %s\n", screen.Clean(row.ID), screen.Clean(row.To), screen.Clean(rule), screen.Clean(reason))
			}
		case row.Before:
			fmt.Fprintf(a.err, "%s was sent again before, as %s\n", screen.Clean(row.ID), screen.Clean(row.To))
		}
	}
	if r.Unreplayable > 0 {
		fmt.Fprintf(a.err, "%s could not be read at all and cannot be replayed: mend the file and run the source again\n", plural(int(r.Unreplayable), "row"))
	}
	return nil
}
