package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/internal/screen"
	"github.com/headwater-data/headwater/pipeline"
	"github.com/headwater-data/headwater/warehouse"
)

func quarantineCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "quarantine",
		Short: "Deals with rows that broke a rule",
		Long: `A row that breaks a rule is kept apart with every broken rule and its original columns, as far as the mapping or keep names
them, personal ones masked. It stays open until it is replayed after a repair, until it is dismissed, or until newer content
of its source replaces it.`,
		Example: `  headwater quarantine list --source hotline
  headwater quarantine show hotline-0.3f9a2c@1234#17`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(quarantineListCommand(a), quarantineShowCommand(a), quarantineReplayCommand(a), quarantineRepairCommand(a), quarantineDismissCommand(a), quarantineUndecodableCommand(a))
	return c
}

// quarantineStatuses are what --status takes; all is none of them.
var quarantineStatuses = []string{warehouse.QuarantineOpen, warehouse.QuarantineReplayed, warehouse.QuarantineDismissed, warehouse.QuarantineSuperseded}

func quarantineListCommand(a *app) *cobra.Command {
	var filter warehouse.QuarantineFilter
	c := &cobra.Command{
		Use:   "list",
		Short: "Lists rows in quarantine, the open ones unless told otherwise",
		Example: `  headwater quarantine list
  headwater quarantine list --source hotline --rule parse.datetime
  headwater quarantine list --status dismissed --limit 0 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case filter.Limit < 0:
				return fault.Usage(errors.New("--limit must be 0 (all) or more"))
			case filter.Status == "all":
				filter.Status = ""
			case !slices.Contains(quarantineStatuses, filter.Status):
				return fault.Usage(fmt.Errorf("--status must be one of %s, all", strings.Join(quarantineStatuses, ", ")))
			}
			p, err := a.load()
			if err != nil {
				return err
			}
			return a.withWarehouse(cmd.Context(), func(w *pipeline.Depot) error {
				ready, err := w.Ready(cmd.Context())
				if err != nil {
					return err
				}
				if !ready {
					return a.listQuarantine(p, nil)
				}
				rows, err := w.Quarantined(cmd.Context(), filter)
				if err != nil {
					return err
				}
				total, err := w.CountQuarantined(cmd.Context(), filter)
				if err != nil {
					return err
				}
				if err := a.listQuarantine(p, rows); err != nil {
					return err
				}
				if len(rows) < total {
					fmt.Fprintf(a.err, "%d of %d rows; --limit 0 shows all, --source and --rule some\n", len(rows), total)
				}
				return nil
			})
		},
	}
	c.Flags().StringVar(&filter.Source, "source", "", "only of this source")
	c.Flags().StringVar(&filter.Stream, "stream", "", "only of this stream")
	c.Flags().StringVar(&filter.Rule, "rule", "", "only rows that broke this rule")
	c.Flags().StringVar(&filter.Run, "run", "", "only of this run")
	c.Flags().StringVar(&filter.Status, "status", warehouse.QuarantineOpen, strings.Join(quarantineStatuses, ", ")+" or all")
	c.Flags().IntVar(&filter.Limit, "limit", 50, "how many rows to show; 0 for all")
	return c
}

// withQuarantine is as withWarehouse, for a warehouse that has a quarantine: before the first run there is nothing to deal with.
func (a *app) withQuarantine(ctx context.Context, fn func(w *pipeline.Depot) error) error {
	return a.withWarehouse(ctx, func(w *pipeline.Depot) error {
		ready, err := w.Ready(ctx)
		if err != nil {
			return err
		}
		if !ready {
			return fault.Usage(errors.New("there is no quarantine yet: nothing was loaded; headwater run makes it"))
		}
		return fn(w)
	})
}

func (a *app) listQuarantine(p *project.Project, rows []warehouse.QuarantineRow) error {
	if a.json {
		out := []quarantined{}
		for _, r := range rows {
			out = append(out, newQuarantined(r))
		}
		return a.encode(out)
	}
	t := a.table(screen.Text, "id", "source", "place", "row", "rules", "reason", "status", "read at")
	t.WhenEmpty("No such row is in quarantine.")
	for _, r := range rows {
		reason := ""
		if len(r.Reasons) > 0 {
			reason = r.Reasons[0]
		}
		if n := len(r.Reasons) - 1; n > 0 {
			reason += fmt.Sprintf(" (and %d more)", n)
		}
		if err := t.Row(screen.Name(r.ID()), r.Source, r.Place, rowNumber(r.Row), r.Rules, reason, cmp.Or(r.Status, warehouse.QuarantineOpen), r.ExtractedAt.In(p.Zone)); err != nil {
			return err
		}
	}
	return t.Close()
}

// rowNumber is a row's number, nothing when rows have none there.
func rowNumber(row uint64) any {
	if row == 0 {
		return "–"
	}
	return row
}

// quarantined is a row for scripts.
type quarantined struct {
	ID          string            `json:"id"`
	Status      string            `json:"status"`
	Source      string            `json:"source"`
	Stream      string            `json:"stream"`
	Shard       string            `json:"shard"`
	Place       string            `json:"place"`
	Row         uint64            `json:"row,omitempty"`
	Breaks      []quarantineBreak `json:"breaks"`
	Columns     json.RawMessage   `json:"columns"`
	Raw         string            `json:"raw,omitempty"`
	Schema      string            `json:"schema"`
	Run         string            `json:"run"`
	Mapping     string            `json:"mapping"`
	Topic       string            `json:"topic"`
	Partition   int32             `json:"partition"`
	Incarnation string            `json:"incarnation"`
	Offset      int64             `json:"offset"`
	Index       uint32            `json:"index"`
	ExtractedAt time.Time         `json:"extracted_at"`
	StatusAt    *time.Time        `json:"status_at,omitempty"`
	StatusBy    string            `json:"status_by,omitempty"`
	StatusWhy   string            `json:"status_why,omitempty"`
	ReplayedTo  string            `json:"replayed_to,omitempty"`
}

type quarantineBreak struct {
	Rule   string `json:"rule"`
	Field  string `json:"field,omitempty"`
	Reason string `json:"reason"`
}

// named is the rule with the field that it is about.
func (b quarantineBreak) named() string {
	if b.Field == "" {
		return b.Rule
	}
	return b.Rule + " (" + b.Field + ")"
}

func newQuarantined(r warehouse.QuarantineRow) quarantined {
	q := quarantined{
		ID: r.ID(), Status: cmp.Or(r.Status, warehouse.QuarantineOpen), Source: r.Source, Stream: r.Stream, Shard: r.Shard, Place: r.Place, Row: r.Row,
		Breaks: breaksOf(r), Columns: json.RawMessage("{}"), Raw: r.Raw, Schema: r.Schema, Run: r.Run, Mapping: r.Mapping, Topic: r.Topic, Partition: r.Partition,
		Incarnation: r.Incarnation, Offset: r.Offset, Index: r.Index, ExtractedAt: r.ExtractedAt, StatusBy: r.StatusBy, StatusWhy: r.StatusWhy, ReplayedTo: r.ReplayedTo,
	}
	if json.Valid([]byte(r.Columns)) {
		q.Columns = json.RawMessage(r.Columns)
	}
	if q.Status != warehouse.QuarantineOpen {
		q.StatusAt = &r.StatusAt
	}
	return q
}

// breaksOf pairs what the row keeps in lists side by side.
func breaksOf(r warehouse.QuarantineRow) []quarantineBreak {
	out := make([]quarantineBreak, len(r.Rules))
	for i, rule := range r.Rules {
		out[i].Rule = rule
		if i < len(r.Reasons) {
			out[i].Reason = r.Reasons[i]
		}
		if i < len(r.Fields) {
			out[i].Field = r.Fields[i]
		}
	}
	return out
}

func quarantineShowCommand(a *app) *cobra.Command {
	var raw string
	c := &cobra.Command{
		Use:   "show ID…",
		Short: "Shows rows whole: every broken rule, the original columns, where they come from",
		Long: `Shows rows of the quarantine whole. With --raw FILE it writes the bytes of one message that could not be decoded
(quarantine undecodable lists them) into a new file, or to standard output (--raw -), as they stood in Kafka.`,
		Example: `  headwater quarantine show hotline-0.3f9a2c@1234#17
  headwater quarantine show --json hotline-0.3f9a2c@1234#17 | jq '.[0].columns'
  headwater quarantine show hotline-0.3f9a2c@1234#0 --raw message.bin`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if raw != "" {
				return a.writeRaw(cmd.Context(), args, raw)
			}
			p, err := a.load()
			if err != nil {
				return err
			}
			return a.withQuarantine(cmd.Context(), func(w *pipeline.Depot) error {
				rows, err := findQuarantined(cmd.Context(), w, args)
				if err != nil {
					return err
				}
				if a.json {
					return a.listQuarantine(p, rows)
				}
				for i, r := range rows {
					if i > 0 {
						fmt.Fprintln(a.out)
					}
					if err := a.showQuarantined(p, r); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	c.Flags().StringVar(&raw, "raw", "", "write the bytes of a message that could not be decoded into this file; - for standard output")
	return c
}

// findQuarantined returns the rows in the order of the ids. An id that is none or names no row is a usage error.
func findQuarantined(ctx context.Context, w *pipeline.Depot, ids []string) ([]warehouse.QuarantineRow, error) {
	for _, id := range ids {
		if _, err := warehouse.ParseQuarantineID(id); err != nil {
			return nil, fault.Usage(err)
		}
	}
	found, err := w.Quarantined(ctx, warehouse.QuarantineFilter{IDs: ids})
	if err != nil {
		return nil, err
	}
	var rows []warehouse.QuarantineRow
	for _, id := range ids {
		i := slices.IndexFunc(found, func(r warehouse.QuarantineRow) bool { return r.ID() == id })
		if i < 0 {
			return nil, fault.Usage(fmt.Errorf("no row %s is in quarantine; headwater quarantine list --status all shows what is", screen.Clean(id)))
		}
		if !slices.ContainsFunc(rows, func(r warehouse.QuarantineRow) bool { return r.ID() == id }) {
			rows = append(rows, found[i])
		}
	}
	return rows, nil
}

func (a *app) showQuarantined(p *project.Project, r warehouse.QuarantineRow) error {
	title := ""
	if s, err := p.Source(r.Source); err == nil {
		title = " (" + s.Title + ")"
	}
	place := r.Place
	if r.Row > 0 {
		place += fmt.Sprintf(", row %d", r.Row)
	}
	status := cmp.Or(r.Status, warehouse.QuarantineOpen)
	if status != warehouse.QuarantineOpen {
		status += " on " + r.StatusAt.In(p.Zone).Format("2006-01-02 15:04:05") + " by " + r.StatusBy
		if r.StatusWhy != "" {
			status += ": " + r.StatusWhy
		}
		if r.ReplayedTo != "" {
			status += ", as " + r.ReplayedTo
		}
	}
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "  %-10s %s\n", name, screen.Clean(value))
		}
	}
	fmt.Fprintln(&b, screen.Clean(r.ID()))
	line("status", status)
	line("source", r.Source+"/"+r.Stream+title)
	line("place", place)
	line("schema", r.Schema)
	line("read at", r.ExtractedAt.In(p.Zone).Format("2006-01-02 15:04:05")+" by run "+r.Run)
	line("message", fmt.Sprintf("%s/%d, offset %d, row %d of the batch", r.Topic, r.Partition, r.Offset, r.Index))
	fmt.Fprintln(&b, "  broken rules")
	for _, broken := range breaksOf(r) {
		fmt.Fprintf(&b, "    %s: %s\n", screen.Clean(broken.named()), screen.Clean(broken.Reason))
	}
	columns, err := columnsOf(r.Columns)
	if err != nil {
		return fmt.Errorf("row %s: %w", r.ID(), err)
	}
	if len(columns) > 0 {
		fmt.Fprintln(&b, "  original columns")
		for _, c := range columns {
			fmt.Fprintf(&b, "    %s: %s\n", screen.Clean(c.name), screen.Clean(c.value))
		}
	}
	if r.Raw != "" {
		fmt.Fprintln(&b, "  as it stood there")
		fmt.Fprintf(&b, "    %s\n", screen.Clean(r.Raw))
	}
	_, err = a.out.Write([]byte(b.String()))
	return err
}

type keptColumn struct{ name, value string }

// columnsOf reads a row's kept columns in their own order, which a map would lose.
func columnsOf(text string) ([]keptColumn, error) {
	if text == "" {
		return nil, nil
	}
	decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
	if t, err := decoder.Token(); err != nil || t != json.Delim('{') {
		return nil, fmt.Errorf("its columns are no JSON object: %w", cmp.Or(err, errors.New("it begins otherwise")))
	}
	var out []keptColumn
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return nil, fmt.Errorf("its columns are cut short: %w", err)
		}
		var value any
		if err := decoder.Decode(&value); err != nil {
			return nil, fmt.Errorf("its columns are cut short: %w", err)
		}
		text := "NULL"
		if value != nil {
			text = fmt.Sprint(value)
		}
		out = append(out, keptColumn{fmt.Sprint(name), text})
	}
	return out, nil
}

func quarantineDismissCommand(a *app) *cobra.Command {
	var why, by string
	c := &cobra.Command{
		Use:   "dismiss ID…",
		Short: "Closes rows that nobody need repair",
		Long: `Marks open rows as dismissed, with the reason that is given and the user of this machine who gives it. The rows stay on
record (list --status dismissed); the ledger goes on counting them as quarantined, and headwater audit tells who did it.`,
		Example: `  headwater quarantine dismiss hotline-0.3f9a2c@1234#17 --why "a test call; the operator confirmed it"`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			why = strings.TrimSpace(why)
			if why == "" {
				return fault.Usage(errors.New("say why, for those who ask later: --why TEXT"))
			}
			return a.withQuarantine(cmd.Context(), func(w *pipeline.Depot) error {
				ids, err := w.Dismiss(cmd.Context(), args, operator(by), why)
				if err != nil {
					return err
				}
				if a.json {
					return a.encode(map[string]any{"dismissed": slices.Concat([]string{}, ids)})
				}
				_, err = fmt.Fprintf(a.out, "Dismissed %s.\n", plural(len(ids), "row"))
				return err
			})
		},
	}
	c.Flags().StringVar(&why, "why", "", "the reason, for the record (required)")
	byFlag(c, &by)
	return c
}

// byFlag adds the flag that says for whom a change is made.
func byFlag(c *cobra.Command, by *string) {
	c.Flags().StringVar(by, "by", "", "who wants it, if that is not the user of this machine")
}

// operator names who gives a command: the user of this machine, who that was before sudo, and for whom they say that they do it.
func operator(by string) string {
	name := "uid " + fmt.Sprint(os.Getuid())
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	if before := os.Getenv("SUDO_USER"); before != "" && before != name {
		name = before + " (as " + name + ")"
	}
	if by = strings.TrimSpace(by); by != "" {
		name = by + " (by " + name + ")"
	}
	return name
}
