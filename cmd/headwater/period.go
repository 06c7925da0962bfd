package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/internal/screen"
	"github.com/headwater-data/headwater/internal/yamlfile"
	"github.com/headwater-data/headwater/pipeline"
	"github.com/headwater-data/headwater/warehouse"
)

func periodCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "period",
		Short: "Shows which figures are due, and freezes, restates and publishes them",
		Long: `The figure of an indicator for a region and a period is open while the period runs, due when it has ended, late after the deadline
of the data-sharing list, then reported, restated (its source has corrected it), frozen and published.

Freezing keeps the figures of a region and all below it as they are at that moment: the view indicator_official goes on quoting them.
A later figure is loaded as ever and shows in indicator_rollup, but it is held aside from the official ones until somebody restates the
period and says why. What was quoted before is kept.`,
		Example: `  headwater period list --state late
  headwater period freeze LV-FACTORY 330000 2021-06 --why "quarterly report"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(periodListCommand(a),
		periodActCommand(a, warehouse.PeriodFreeze, "Keeps the figures of now as the official ones", `Keeps the figures of a region and of all regions below it as they are now: they are quoted from now on, whatever their sources bring
later. A region without a figure is kept without one. It is refused where a part is frozen already and has changed since.`, "Froze"),
		periodActCommand(a, warehouse.PeriodRestate, "Takes later figures over in place of the frozen ones", `Puts the figures of now in place of the frozen ones, which are kept with who froze them and why. It is about the whole region that was
frozen, so that what is rolled up follows, and it tells each figure that changes.`, "Restated"),
		periodActCommand(a, warehouse.PeriodPublish, "Marks frozen figures as published", `Marks the frozen figures of a region and of all regions below it as published. They stay what they are.`, "Published"),
		periodActCommand(a, warehouse.PeriodReopen, "Lets frozen figures follow their sources again", `Lets the figures of a region and of all regions below it follow their sources again. What was frozen is kept on record.`, "Reopened"))
	return c
}

// indicatorNamed returns the project's indicator of that code.
func indicatorNamed(p *project.Project, code string) (grain string, err error) {
	var codes []string
	for _, i := range p.Indicators() {
		if i.Code == code {
			return i.Grain, nil
		}
		codes = append(codes, i.Code)
	}
	if s := yamlfile.Suggest(code, codes); s != "" {
		return "", fault.Usage(fmt.Errorf("no indicator %q in this project (did you mean %q?)", screen.Clean(code), s))
	}
	return "", fault.Usage(fmt.Errorf("no indicator %q in this project", screen.Clean(code)))
}

// oneGrain chooses among the lengths that a written period may have: the indicator's own where it is one of them.
func oneGrain(own string, meant []string) string {
	if slices.Contains(meant, own) {
		return own
	}
	return meant[0]
}

func periodActCommand(a *app, action, short, long, past string) *cobra.Command {
	var why, by string
	c := &cobra.Command{
		Use:   action + " INDICATOR REGION PERIOD",
		Short: short,
		Long: long + `

REGION is a code or a name. PERIOD is 2021, 2021-H1, 2021-Q2, 2021-06 or 2021-06-01. The reason is required; headwater audit tells
who did it.`,
		Example: fmt.Sprintf("  headwater period %s LV-FACTORY 330000 2021-06 --why \"quarterly report\"\n  headwater period %[1]s LV-FACTORY 杭州市 2021-06 --why \"as the bureau asked\" --by 王处长", action),
		Args:    cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			why = strings.TrimSpace(why)
			if why == "" {
				return fault.Usage(errors.New("say why, for those who ask later: --why TEXT"))
			}
			p, err := a.load()
			if err != nil {
				return err
			}
			grain, err := indicatorNamed(p, args[0])
			if err != nil {
				return err
			}
			at, meant, err := periodOf(args[2], p.Zone)
			if err != nil {
				return err
			}
			return a.withFigures(cmd.Context(), func(w *pipeline.Depot) error {
				region, err := theRegion(cmd.Context(), w, args[1])
				if err != nil {
					return err
				}
				act := warehouse.PeriodAct{Action: action, Indicator: args[0], Grain: oneGrain(grain, meant), Period: at, Region: region, Who: operator(by), Why: why}
				done, err := w.ActOnPeriod(cmd.Context(), act)
				if err != nil {
					return err
				}
				return a.tellPeriod(past, act, done)
			})
		},
	}
	c.Flags().StringVar(&why, "why", "", "the reason, for the record (required)")
	byFlag(c, &by)
	return c
}

// withFigures is as withWarehouse, for a warehouse that has been set up: before the first run there are no figures.
func (a *app) withFigures(ctx context.Context, fn func(w *pipeline.Depot) error) error {
	return a.withWarehouse(ctx, func(w *pipeline.Depot) error {
		ready, err := w.Ready(ctx)
		if err != nil {
			return err
		}
		if !ready {
			return fault.Usage(errors.New("there are no figures yet: nothing was loaded; headwater run does it"))
		}
		return fn(w)
	})
}

func (a *app) tellPeriod(past string, act warehouse.PeriodAct, done warehouse.PeriodDone) error {
	if a.json {
		type change struct {
			Region string   `json:"region"`
			Name   string   `json:"name"`
			Old    *float64 `json:"old"`
			New    *float64 `json:"new"`
		}
		changed := []change{}
		for _, c := range done.Changed {
			changed = append(changed, change{c.Region, c.Name, c.Old, c.New})
		}
		return a.encode(map[string]any{"act": done.Act, "action": act.Action, "indicator": act.Indicator, "region": act.Region, "grain": act.Grain,
			"period": periodText(act.Period, act.Grain), "figures": done.Figures, "changed": changed})
	}
	if _, err := fmt.Fprintf(a.out, "%s %s of %s: %s of %s and below.\n", past, act.Indicator, periodText(act.Period, act.Grain), plural(done.Figures, "figure"), act.Region); err != nil {
		return err
	}
	for _, c := range done.Changed {
		if _, err := fmt.Fprintf(a.out, "  %s\n", screen.Clean(c.String())); err != nil {
			return err
		}
	}
	return nil
}

func periodListCommand(a *app) *cobra.Command {
	var filter warehouse.ReportFilter
	var period string
	c := &cobra.Command{
		Use:   "list",
		Short: "Lists figures by the state of their reporting",
		Long: `Lists the figures that the data-sharing list expects and those that were reported: in which state each is, when it was due, when it was
reported, how often its source has corrected it, and how long it has been in its state. BI tools find the same in the view
reporting_status.`,
		Example: `  headwater period list --state late
  headwater period list --indicator LV-FACTORY --region 杭州市 --period 2021-06
  headwater period list --json --limit 0 | jq '.[] | select(.state == "late") | .region'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if filter.Limit < 0 {
				return fault.Usage(errors.New("--limit must be 0 (all) or more"))
			}
			if filter.State != "" && !slices.Contains(warehouse.ReportStates, filter.State) {
				return fault.Usage(fmt.Errorf("--state must be one of %s", strings.Join(warehouse.ReportStates, ", ")))
			}
			p, err := a.load()
			if err != nil {
				return err
			}
			if filter.Period, filter.Grains, err = wantedPeriod(period, p.Zone); err != nil {
				return err
			}
			return a.withFigures(cmd.Context(), func(w *pipeline.Depot) (err error) {
				if filter.Region != "" {
					if filter.Region, err = theRegion(cmd.Context(), w, filter.Region); err != nil {
						return err
					}
				}
				reports, err := w.Reports(cmd.Context(), filter)
				if err != nil {
					return err
				}
				return a.listReports(p, reports)
			})
		},
	}
	c.Flags().StringVar(&filter.Indicator, "indicator", "", "only of this indicator")
	c.Flags().StringVar(&filter.Region, "region", "", "only of this region, by code or name")
	c.Flags().StringVar(&period, "period", "", "only of this period")
	c.Flags().StringVar(&filter.State, "state", "", "only in this state: "+strings.Join(warehouse.ReportStates, ", "))
	c.Flags().IntVar(&filter.Limit, "limit", 50, "how many figures to show; 0 for all")
	return c
}

// wantedPeriod reads a period that may be left out.
func wantedPeriod(text string, zone *time.Location) (time.Time, []string, error) {
	if text == "" {
		return time.Time{}, nil, nil
	}
	return periodOf(text, zone)
}

// reportLine is a report for scripts.
type reportLine struct {
	Indicator          string     `json:"indicator"`
	Region             string     `json:"region"`
	Grain              string     `json:"grain"`
	Period             string     `json:"period"`
	State              string     `json:"state"`
	Expected           bool       `json:"expected"`
	Sources            []string   `json:"sources"`
	Due                *time.Time `json:"due"`
	DueAssumed         bool       `json:"due_assumed"`
	ReportedAt         *time.Time `json:"reported_at"`
	OnTime             *bool      `json:"on_time"`
	Restated           uint64     `json:"restated"`
	LastChangeAt       *time.Time `json:"last_change_at"`
	ChangedAfterFreeze bool       `json:"changed_after_freeze"`
	FrozenAt           *time.Time `json:"frozen_at"`
	FrozenBy           string     `json:"frozen_by,omitempty"`
	Why                string     `json:"why,omitempty"`
	AgeSeconds         *int64     `json:"age_seconds"`
}

func (a *app) listReports(p *project.Project, reports []warehouse.Report) error {
	if a.json {
		out := []reportLine{}
		for _, r := range reports {
			line := reportLine{Indicator: r.Indicator, Region: r.Region, Grain: r.Grain, Period: periodText(r.Period.In(p.Zone), r.Grain), State: r.State, Expected: r.Expected == 1,
				Sources: slices.Concat([]string{}, r.Sources), Due: in(r.Due, p.Zone), DueAssumed: r.DueAssumed == 1, ReportedAt: in(r.ReportedAt, p.Zone), Restated: r.Restated, LastChangeAt: in(r.LastChangeAt, p.Zone),
				ChangedAfterFreeze: r.ChangedAfterFreeze == 1, FrozenAt: in(r.FrozenAt, p.Zone), FrozenBy: r.FrozenBy, Why: r.Why, AgeSeconds: r.AgeSeconds}
			if r.OnTime != nil {
				onTime := *r.OnTime == 1
				line.OnTime = &onTime
			}
			out = append(out, line)
		}
		return a.encode(out)
	}
	t := a.table(screen.Text, "indicator", "region", "name", "period", "state", "状态", "due", "reported", "restated", "age", "why")
	t.WhenEmpty("No such figure is expected or was reported.")
	for _, r := range reports {
		name := ""
		if at, ok := p.Set().Regions().At(r.Region, r.Period); ok {
			name = at.Name
		}
		state := r.State
		if r.ChangedAfterFreeze == 1 {
			state += ", changed since"
		}
		due := when(in(r.Due, p.Zone), "–")
		if r.DueAssumed == 1 {
			due += ", weekends alone" // the calendar lacks the year
		}
		if err := t.Row(r.Indicator, r.Region, cmp.Or(name, "–"), periodText(r.Period.In(p.Zone), r.Grain), state, r.StateZh, due,
			when(in(r.ReportedAt, p.Zone), "–"), screen.Count(r.Restated), age(r.AgeSeconds), r.Why); err != nil {
			return err
		}
	}
	return t.Close()
}
