package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/screen"
	"github.com/headwater-data/headwater/pipeline"
	"github.com/headwater-data/headwater/warehouse"
)

func auditCommand(a *app) *cobra.Command {
	var since, kind string
	var limit int
	c := &cobra.Command{
		Use:   "audit",
		Short: "Lists what people changed: who, when, what and why",
		Long: `Lists the changes that people made, newest first: rows of the quarantine that were replayed, repaired or dismissed, cursors
that were reset, and what else changes the warehouse by hand. Each change is written down before it is made (asked) and after it
(done or failed); one that has only asked was cut short. Columns are named, values never.`,
		Example: `  headwater audit
  headwater audit --since 168h --kind quarantine
  headwater audit --since 2024-03-01 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return fault.Usage(errors.New("--limit must be 0 (all) or more"))
			}
			p, err := a.load()
			if err != nil {
				return err
			}
			from, err := sinceOf(since, p.Zone, time.Now())
			if err != nil {
				return err
			}
			return a.withWarehouse(cmd.Context(), func(w *pipeline.Depot) error {
				ready, err := w.Ready(cmd.Context())
				if err != nil {
					return err
				}
				var changes []warehouse.AuditedChange
				if ready {
					if changes, err = w.Audits(cmd.Context(), warehouse.AuditFilter{Since: from, TargetKind: kind, Limit: limit}); err != nil {
						return err
					}
				}
				if a.json {
					return a.encode(auditLines(changes))
				}
				t := a.table(screen.Text, "at", "who", "command", "target", "outcome", "why")
				t.WhenEmpty("Nobody has changed anything.")
				for _, c := range changes {
					if err := t.Row(c.At.In(p.Zone), c.Who, c.Command, c.Target, c.Outcome, c.Why); err != nil {
						return err
					}
				}
				return t.Close()
			})
		},
	}
	c.Flags().StringVar(&since, "since", "", "only since then: a date, a date with time, or a duration such as 24h")
	c.Flags().StringVar(&kind, "kind", "", "only changes of this: quarantine, source, cursor, grants, reference, period, variance")
	c.Flags().IntVar(&limit, "limit", 50, "how many changes to show; 0 for all")
	return c
}

// sinceOf reads a point in time as people write one: empty for none.
func sinceOf(text string, zone *time.Location, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.DateOnly, "2006-01-02 15:04", time.DateTime, time.RFC3339} {
		if at, err := time.ParseInLocation(layout, text, zone); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fault.Usage(fmt.Errorf("--since %q: write a date (2024-03-01), a time (2024-03-01 08:00) or a duration (24h)", text))
}

// audited is a change for scripts.
type audited struct {
	ID         string          `json:"id"`
	At         time.Time       `json:"at"`
	Ended      *time.Time      `json:"ended,omitempty"`
	Outcome    string          `json:"outcome"`
	Who        string          `json:"who"`
	Host       string          `json:"host"`
	Command    string          `json:"command"`
	TargetKind string          `json:"target_kind"`
	Target     string          `json:"target"`
	Why        string          `json:"why"`
	Details    json.RawMessage `json:"details"`
	Error      string          `json:"error,omitempty"`
}

func auditLines(changes []warehouse.AuditedChange) []audited {
	out := []audited{}
	for _, c := range changes {
		line := audited{
			ID: c.ID, At: c.At, Outcome: c.Outcome, Who: c.Who, Host: c.Host, Command: c.Command, TargetKind: c.TargetKind, Target: c.Target, Why: c.Why,
			Details: json.RawMessage(c.Details), Error: c.Error,
		}
		if !json.Valid(line.Details) { // somebody else wrote it
			line.Details = json.RawMessage("{}")
		}
		if !c.Ended.IsZero() {
			line.Ended = &c.Ended
		}
		out = append(out, line)
	}
	return out
}
