package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/internal/screen"
	"github.com/headwater-data/headwater/pipeline"
	"github.com/headwater-data/headwater/warehouse"
)

func varianceCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "variance",
		Short: "Deals with figures that disagree with what lies below them",
		Long: `A region reports one figure and the regions below it add up to another: that is a variance. It is open, with its age, until somebody
explains it, and settled when the explanation is signed off. What was said holds for the amount: when either side changes, the
variance is open again.`,
		Example: `  headwater variance list
  headwater variance explain LV-FACTORY 杭州市 2021-06 --why "the development zone reports to the city"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(varianceListCommand(a),
		varianceActCommand(a, warehouse.VarianceExplain, "explain", "Says why two figures disagree", "Explained"),
		varianceActCommand(a, warehouse.VarianceSignOff, "sign-off", "Accepts an explanation", "Signed off"),
		varianceActCommand(a, warehouse.VarianceReopen, "reopen", "Sends an explanation back", "Reopened"))
	return c
}

func varianceListCommand(a *app) *cobra.Command {
	var filter warehouse.VarianceFilter
	var period string
	c := &cobra.Command{
		Use:   "list",
		Short: "Lists disagreements, those that have stood longest first",
		Long: `Lists what regions reported against what lies below them adds up to, where the two disagree: by how much, since when, and what was said
of it. BI tools find the same in the view variance.`,
		Example: `  headwater variance list
  headwater variance list --indicator LV-FACTORY --all
  headwater variance list --json --limit 0 | jq '.[] | select(.age_seconds > 2592000)'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if filter.Limit < 0 {
				return fault.Usage(errors.New("--limit must be 0 (all) or more"))
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
				found, err := w.Variances(cmd.Context(), filter)
				if err != nil {
					return err
				}
				return a.listVariances(p, found)
			})
		},
	}
	c.Flags().StringVar(&filter.Indicator, "indicator", "", "only of this indicator")
	c.Flags().StringVar(&filter.Region, "region", "", "only of this region, by code or name")
	c.Flags().StringVar(&period, "period", "", "only of this period")
	c.Flags().BoolVar(&filter.Settled, "all", false, "show those that are signed off, too")
	c.Flags().IntVar(&filter.Limit, "limit", 50, "how many to show; 0 for all")
	return c
}

// varianceLine is a variance for scripts.
type varianceLine struct {
	Indicator  string     `json:"indicator"`
	Region     string     `json:"region"`
	RegionName string     `json:"region_name"`
	Grain      string     `json:"grain"`
	Period     string     `json:"period"`
	Feed       string     `json:"feed"`
	Source     string     `json:"source"`
	Reported   float64    `json:"reported"`
	RolledUp   *float64   `json:"rolled_up"`
	Difference *float64   `json:"difference"`
	State      string     `json:"state"`
	Changed    bool       `json:"changed"`
	Why        string     `json:"why"`
	Who        string     `json:"who"`
	At         *time.Time `json:"at"`
	Since      *time.Time `json:"since"`
	AgeSeconds *int64     `json:"age_seconds"`
}

func (a *app) listVariances(p *project.Project, found []warehouse.Variance) error {
	if a.json {
		out := []varianceLine{}
		for _, v := range found {
			out = append(out, varianceLine{v.Indicator, v.Region, v.RegionName, v.Grain, periodText(v.Period.In(p.Zone), v.Grain), v.Feed, v.Source, v.Reported, v.RolledUp, v.Difference,
				v.State, v.Changed == 1, v.Why, v.Who, in(v.At, p.Zone), in(v.Since, p.Zone), v.AgeSeconds})
		}
		return a.encode(out)
	}
	t := a.table(screen.Text, "indicator", "region", "name", "period", "feed", "reported", "rolled up", "difference", "state", "age", "who", "why")
	t.WhenEmpty("No figures disagree.")
	for _, v := range found {
		why := v.Why
		if v.Changed == 1 {
			why = "(of another amount) " + why
		}
		if err := t.Row(v.Indicator, v.Region, v.RegionName, periodText(v.Period.In(p.Zone), v.Grain), v.Feed, v.Reported, orNothing(v.RolledUp), orNothing(v.Difference), v.State,
			age(v.AgeSeconds), v.Who, why); err != nil {
			return err
		}
	}
	return t.Close()
}

// orNothing is a number that may be missing.
func orNothing(v *float64) any {
	if v == nil {
		return "–"
	}
	return *v
}

func varianceActCommand(a *app, action, name, short, past string) *cobra.Command {
	var filter warehouse.VarianceFilter
	var why, by string
	c := &cobra.Command{
		Use:   name + " INDICATOR REGION PERIOD",
		Short: short,
		Long: short + `. REGION is a code or a name, PERIOD is 2021, 2021-Q2, 2021-06 or 2021-06-01. The words are required and kept with the amounts that
they are about; headwater audit tells who said them.`,
		Example: fmt.Sprintf("  headwater variance %s LV-FACTORY 杭州市 2021-06 --why \"the development zone reports to the city\"\n  headwater variance %[1]s LV-FACTORY 330100 2021-06 --feed manual --why \"seen\" --by 王处长", name),
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
			if _, err := indicatorNamed(p, args[0]); err != nil {
				return err
			}
			filter.Indicator = args[0]
			if filter.Period, filter.Grains, err = periodOf(args[2], p.Zone); err != nil {
				return err
			}
			return a.withFigures(cmd.Context(), func(w *pipeline.Depot) (err error) {
				if filter.Region, err = theRegion(cmd.Context(), w, args[1]); err != nil {
					return err
				}
				v, err := w.ActOnVariance(cmd.Context(), filter, action, operator(by), why)
				if err != nil {
					return err
				}
				period := periodText(v.Period.In(p.Zone), v.Grain)
				if a.json {
					return a.encode(map[string]any{"action": name, "indicator": v.Indicator, "region": v.Region, "grain": v.Grain, "period": period, "feed": v.Feed,
						"reported": v.Reported, "rolled_up": v.RolledUp})
				}
				_, err = fmt.Fprintf(a.out, "%s: %s of %s %s, %s: reported %v, rolled up %v.\n", past, v.Indicator, v.Region, screen.Clean(v.RegionName), period, v.Reported, orNothing(v.RolledUp))
				return err
			})
		},
	}
	c.Flags().StringVar(&filter.Feed, "feed", "", "feed of the region's own figure, where it came by several: manual, direct or source")
	c.Flags().StringVar(&why, "why", "", "what is said, for the record (required)")
	byFlag(c, &by)
	return c
}
