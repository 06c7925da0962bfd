package main

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/screen"
	"github.com/headwater-data/headwater/pipeline"
	"github.com/headwater-data/headwater/warehouse"
)

func traceCommand(a *app) *cobra.Command {
	var raw bool
	var asOf string
	c := &cobra.Command{
		Use:   "trace INDICATOR REGION PERIOD",
		Short: "Goes from a figure to the rows that it is made of",
		Long: `Lists the facts that a figure is made of and, for each, its source, the file and row or the topic and offset that it came by,
the run that read it and the version of the mapping. Facts that were reported for the region itself but do not count follow, with
the reason: regions below report, or a feed nearer to the source does.

REGION is a code or a full name. PERIOD is a year (2021), half (2021-H1), quarter (2021-Q3), month (2021-10), a day with which
days, weeks and the like begin (2021-10-11), or an hour (2021-10-11T08). With --raw the rows themselves are read from Kafka, as far
as it still has them: the columns that the mapping and keep: name. With --as-of the figure and its facts are those that were known
at the end of that day in Beijing time. BI tools read the views lineage and lineage_as_of.`,
		Example: `  headwater trace LV-FACTORY 330100 2021-10
  headwater trace LV-FACTORY 杭州市 2021-10 --raw
  headwater trace LV-FACTORY 杭州市 2021-10 --as-of 2021-11-15
  headwater trace LV-FACTORY 330100 2021-10 --json`,
		Args: cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			p, err := a.load()
			if err != nil {
				return err
			}
			q := warehouse.TraceQuery{Indicator: args[0]}
			if q.Period, q.Grains, err = periodOf(args[2], p.Zone); err != nil {
				return err
			}
			if asOf != "" {
				if q.AsOf, err = time.Parse(time.DateOnly, asOf); err != nil {
					return fault.Usage(fmt.Errorf("--as-of %q: write a day such as 2021-11-15", screen.Clean(asOf)))
				}
			}
			show := func(w *pipeline.Depot, rows func([]warehouse.Fact) ([]pipeline.RawRow, error)) error {
				ready, err := w.Ready(ctx)
				if err != nil {
					return err
				}
				if !ready {
					return fault.Environment(warehouse.ErrMissingDatabase)
				}
				if q.Region, err = theRegion(ctx, w, args[1]); err != nil {
					return err
				}
				facts, err := w.Trace(ctx, q)
				if err != nil {
					return err
				}
				if len(facts) == 0 {
					return nothingToTrace(ctx, w, q, args[2], p.Zone)
				}
				raws, err := rows(facts)
				if err != nil {
					return err
				}
				return a.showTrace(ctx, w, q, facts, raws, p.Zone)
			}
			if !raw {
				return a.withWarehouse(ctx, func(w *pipeline.Depot) error {
					return show(w, func([]warehouse.Fact) ([]pipeline.RawRow, error) { return nil, nil })
				})
			}
			return causeOf(ctx, a.inSession(ctx, p, func(s *pipeline.Session) error {
				return show(s.Warehouse(), func(facts []warehouse.Fact) ([]pipeline.RawRow, error) { return s.Raw(ctx, facts) })
			}))
		},
	}
	c.Flags().StringVar(&asOf, "as-of", "", "the figure as it was known at the end of that day")
	c.Flags().BoolVar(&raw, "raw", false, "show the source's own columns as well, read from Kafka")
	return c
}

var periodForm = regexp.MustCompile(`^(\d{4})(?:-?([QqHh])(\d)|-?(\d{2})(?:-?(\d{2})(?:[T ](\d{2})(?::00)?)?)?)?$`)

// periodOf reads a period as people write one: where it begins, and which lengths are meant.
func periodOf(text string, zone *time.Location) (time.Time, []string, error) {
	wrong := fault.Usage(fmt.Errorf("PERIOD %q: write a year (2021), half (2021-H1), quarter (2021-Q3), month (2021-10), day (2021-10-11) or hour (2021-10-11T08)", screen.Clean(text)))
	m := periodForm.FindStringSubmatch(text)
	if m == nil {
		return time.Time{}, nil, wrong
	}
	number := func(s string, none int) int {
		if n, err := strconv.Atoi(s); err == nil {
			return n
		}
		return none
	}
	year, month, day, hour := number(m[1], 0), number(m[4], 1), number(m[5], 1), number(m[6], 0)
	grains := []string{"year"}
	switch n := number(m[3], 0); {
	case m[2] != "" && strings.EqualFold(m[2], "Q"):
		if n < 1 || n > 4 {
			return time.Time{}, nil, wrong
		}
		month, grains = 3*n-2, []string{"quarter"}
	case m[2] != "":
		if n < 1 || n > 2 {
			return time.Time{}, nil, wrong
		}
		month, grains = 6*n-5, []string{"half"}
	case m[6] != "":
		grains = []string{"hour"}
	case m[5] != "":
		grains = []string{"day", "week", "xun"}
	case m[4] != "":
		grains = []string{"month"}
	}
	at := time.Date(year, time.Month(month), day, hour, 0, 0, 0, zone)
	if at.Year() != year || int(at.Month()) != month || at.Day() != day || hour > 23 {
		return time.Time{}, nil, wrong
	}
	return at, grains, nil
}

// periodText is a period as periodOf reads it.
func periodText(at time.Time, grain string) string {
	switch grain {
	case "year":
		return at.Format("2006")
	case "half":
		return fmt.Sprintf("%d-H%d", at.Year(), (int(at.Month())+5)/6)
	case "quarter":
		return fmt.Sprintf("%d-Q%d", at.Year(), (int(at.Month())+2)/3)
	case "month":
		return at.Format("2006-01")
	case "hour":
		return at.Format("2006-01-02T15")
	}
	return at.Format(time.DateOnly)
}

// theRegion finds the code of what was named. A code that is in no list stays: figures may be about one.
func theRegion(ctx context.Context, w *pipeline.Depot, text string) (string, error) {
	found, err := w.RegionsNamed(ctx, text)
	if err != nil {
		return "", err
	}
	switch len(found) {
	case 0:
		return text, nil
	case 1:
		return found[0].Code, nil
	}
	var codes []string
	for _, r := range found {
		codes = append(codes, r.Code)
	}
	return "", fault.Usage(fmt.Errorf("several regions are called %s: %s; give the code", screen.Clean(text), strings.Join(codes, ", ")))
}

// nothingToTrace says which of indicator, region and period is not there, and what is.
func nothingToTrace(ctx context.Context, w *pipeline.Depot, q warehouse.TraceQuery, period string, zone *time.Location) error {
	anywhere, err := w.Spans(ctx, q.Indicator, "")
	if err != nil {
		return err
	}
	if len(anywhere) == 0 {
		indicators, err := w.IndicatorsThere(ctx)
		if err != nil {
			return err
		}
		var known []string
		for _, i := range indicators {
			if i.Code == q.Indicator {
				return fault.Usage(fmt.Errorf("indicator %s %s is declared, but nothing has been reported for it", i.Code, i.Name))
			}
			known = append(known, strings.TrimSpace(i.Code+" "+i.Name))
		}
		return fault.Usage(fmt.Errorf("there is no indicator %s; there are: %s", screen.Clean(q.Indicator), strings.Join(known, ", ")))
	}
	here, err := w.Spans(ctx, q.Indicator, q.Region)
	if err != nil {
		return err
	}
	if !q.AsOf.IsZero() && len(here) > 0 {
		now := q
		now.AsOf = time.Time{}
		facts, err := w.Trace(ctx, now)
		if err != nil {
			return err
		}
		if len(facts) > 0 {
			return fault.Usage(fmt.Errorf("nothing was known of %s at %s for %s by the end of %s; it became known later: leave --as-of out", q.Indicator, q.Region, period, q.AsOf.Format(time.DateOnly)))
		}
	}
	if len(here) > 0 {
		return fault.Usage(fmt.Errorf("%s has no figure at %s for %s; there is: %s", q.Indicator, q.Region, period, spansText(here, zone)))
	}
	regions, err := w.RegionsNamed(ctx, q.Region)
	if err != nil {
		return err
	}
	if len(regions) == 0 {
		return fault.Usage(fmt.Errorf("there is no region %s: give a code such as 330100, or a full name such as 杭州市", screen.Clean(q.Region)))
	}
	return fault.Usage(fmt.Errorf("nothing has been reported of %s for %s %s or what lies below it; elsewhere there is: %s", q.Indicator, q.Region, regions[0].Name, spansText(anywhere, zone)))
}

func spansText(spans []warehouse.Span, zone *time.Location) string {
	var parts []string
	for _, s := range spans {
		parts = append(parts, fmt.Sprintf("%s, %s to %s", plural(int(s.Periods), s.Grain), periodText(s.First.In(zone), s.Grain), periodText(s.Last.In(zone), s.Grain)))
	}
	return strings.Join(parts, "; ")
}

// tracedFact is a fact for scripts.
type tracedFact struct {
	Counted     bool              `json:"counted"`
	WhyNot      string            `json:"why_not,omitempty"`
	Region      string            `json:"region"`
	RegionName  string            `json:"region_name"`
	Member      string            `json:"member,omitempty"`
	Subject     string            `json:"subject,omitempty"`
	Feed        string            `json:"feed"`
	Value       float64           `json:"value"`
	Numerator   *float64          `json:"numerator,omitempty"`
	Denominator *float64          `json:"denominator,omitempty"`
	KnownAt     time.Time         `json:"known_at"`
	Source      string            `json:"source"`
	Stream      string            `json:"stream"`
	Place       string            `json:"place"`
	Row         uint64            `json:"row,omitempty"`
	Topic       string            `json:"topic"`
	Partition   int32             `json:"partition"`
	Incarnation string            `json:"incarnation"`
	Offset      int64             `json:"offset"`
	Position    uint32            `json:"position"`
	Run         string            `json:"run"`
	Mapping     string            `json:"mapping"`
	Flags       []string          `json:"flags,omitempty"`
	Raw         map[string]string `json:"raw,omitempty"`
	RawMissing  string            `json:"raw_missing,omitempty"`
}

// tracedFigure is a figure with its facts for scripts.
type tracedFigure struct {
	Indicator  string       `json:"indicator"`
	Title      string       `json:"title"`
	Unit       string       `json:"unit"`
	Region     string       `json:"region"`
	RegionName string       `json:"region_name"`
	Grain      string       `json:"grain"`
	Period     string       `json:"period"`
	Value      *float64     `json:"value"`
	Facts      []tracedFact `json:"facts"`
}

func (a *app) showTrace(ctx context.Context, w *pipeline.Depot, q warehouse.TraceQuery, facts []warehouse.Fact, raws []pipeline.RawRow, zone *time.Location) error {
	var figures []tracedFigure
	for i, f := range facts {
		if n := len(figures); n == 0 || figures[n-1].Grain != f.Grain {
			figure := tracedFigure{Indicator: q.Indicator, Region: f.Region, RegionName: f.RegionName, Grain: f.Grain, Period: periodText(f.Period.In(zone), f.Grain)}
			rolled, err := w.Rollup(ctx, warehouse.RollupQuery{Indicator: q.Indicator, Grain: f.Grain, Period: q.Period, Within: q.Region, AsOf: q.AsOf})
			if err != nil {
				return err
			}
			for _, r := range rolled {
				if r.Region == q.Region {
					figure.Title, figure.Unit, figure.Value = r.Title, r.Unit, r.Value
				}
			}
			figures = append(figures, figure)
		}
		line := tracedFact{
			Counted: f.Counted == 1, WhyNot: f.WhyNot, Region: f.FactRegion, RegionName: f.FactRegionName, Member: f.Member, Subject: f.Subject, Feed: f.Feed, Value: f.Value,
			Numerator: f.Numerator, Denominator: f.Denominator, KnownAt: f.KnownAt, Source: f.Source, Stream: f.Stream, Place: f.Place, Row: f.Row, Topic: f.Topic,
			Partition: f.Partition, Incarnation: f.Incarnation, Offset: f.Offset, Position: f.Position, Run: f.Run, Mapping: f.Mapping, Flags: f.Flags,
		}
		if raws != nil {
			line.RawMissing = raws[i].Why
			for _, c := range raws[i].Columns {
				if line.Raw == nil {
					line.Raw = map[string]string{}
				}
				line.Raw[c.Name] = c.Value
			}
		}
		last := &figures[len(figures)-1]
		last.Facts = append(last.Facts, line)
	}
	if a.json {
		return a.encode(figures)
	}
	at := 0
	for i, figure := range figures {
		if i > 0 {
			fmt.Fprintln(a.out)
		}
		counted := 0
		for _, f := range figure.Facts {
			if f.Counted {
				counted++
			}
		}
		value := "no value"
		if figure.Value != nil {
			value = strings.TrimSpace(strconv.FormatFloat(*figure.Value, 'g', -1, 64) + " " + figure.Unit)
		}
		fmt.Fprintf(a.out, "%s %s, %s %s, %s: %s, of %s\n\n", figure.Indicator, figure.Title, figure.Region, figure.RegionName, figure.Period, value, plural(counted, "fact"))
		columns := []string{"counts", "region", "name", "part", "feed", "value", "source", "place", "row", "topic", "offset", "run", "mapping"}
		if raws != nil {
			columns = append(columns, "raw")
		}
		t := a.table(screen.Text, columns...)
		for _, f := range figure.Facts {
			counts, row := "yes", "–"
			if !f.Counted {
				counts = "no: " + f.WhyNot
			}
			if f.Row > 0 {
				row = strconv.FormatUint(f.Row, 10)
			}
			cells := []any{counts, f.Region, f.RegionName, strings.TrimSpace(f.Member + " " + f.Subject), f.Feed, json.Number(strconv.FormatFloat(f.Value, 'f', -1, 64)),
				f.Source + "/" + f.Stream, f.Place, row, fmt.Sprintf("%s/%d", f.Topic, f.Partition), f.Offset, screen.Name(f.Run), f.Mapping}
			if raws != nil {
				cells = append(cells, rawText(raws[at]))
			}
			at++
			if err := t.Row(cells...); err != nil {
				return err
			}
		}
		if err := t.Close(); err != nil {
			return err
		}
	}
	return nil
}

func rawText(r pipeline.RawRow) string {
	if r.Why != "" {
		return "(" + r.Why + ")"
	}
	var parts []string
	for _, c := range r.Columns {
		parts = append(parts, c.Name+" = "+c.Value)
	}
	return strings.Join(parts, ", ")
}
