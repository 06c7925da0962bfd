package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/headwater-data/headwater/examples/livelihood"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/internal/screen"
	"github.com/headwater-data/headwater/pipeline"
	"github.com/headwater-data/headwater/warehouse"
)

// What the closing screen shows.
const (
	demoName          = "livelihood" // the project's
	demoDir           = "headwater-demo"
	demoIndicator     = "LV-FACTORY" // 阳光工厂
	demoIndex         = "EC-SMART"   // 精密智控指数
	demoIndexControl  = "EC-CONTROL" // its halves: 管控
	demoIndexFlow     = "EC-FLOW"    // 畅通
	demoDisagreements = 6
	demoQuarantined   = 3
)

func demoCommand(a *app) *cobra.Command {
	var dir, source string
	c := &cobra.Command{
		Use:   "demo",
		Short: "Runs the demo project to its end and shows what comes of it",
		Long: `Writes the demo project (livelihood items, the control index of an epidemic and the air of Zhejiang in 2021, as its departments would
send them) into a folder, runs it with an embedded broker and warehouse, shows the result, and ends. The figures are synthetic (演示数据)
but for those of February 2020. Nothing need run beforehand; the warehouse's engine is fetched once.

The folder stays, for the other commands. A second demo in it brings the project's own files back to what they were and reads
only what is new.

With --source the departments have databases instead of files: a PostgreSQL or MariaDB server is started for as long as the demo
lasts, unpacked from Debian's packages, and the same rows are read from its tables while a writer changes them. The figures are the
same in the end. It takes a new folder.`,
		Example: `  headwater demo
  headwater demo --source postgres
  headwater demo --dir /tmp/demo && headwater --project /tmp/demo status`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.projectDir != "" {
				return fault.Usage(errors.New("demo writes a project of its own: say where with --dir"))
			}
			switch source {
			case "":
				return a.demo(cmd.Context(), dir)
			case "postgres", "mariadb":
				if !cmd.Flags().Changed("dir") {
					dir += "-" + source
				}
				return a.demoFrom(cmd.Context(), dir, source)
			}
			return fault.Usage(fmt.Errorf("--source: there is no %q; there are postgres and mariadb", source))
		},
	}
	c.Flags().StringVar(&dir, "dir", demoDir, "folder of the demo project: a new one, an empty one, or that of an earlier demo")
	c.Flags().StringVar(&source, "source", "", "read from a database instead of files: postgres or mariadb")
	if err := c.RegisterFlagCompletionFunc("source", completeServers); err != nil {
		panic(err) // there is such a flag
	}
	return c
}

// demo writes the project, runs it and shows the closing screen.
func (a *app) demo(ctx context.Context, dir string) error {
	p, err := a.writeDemo(dir)
	if err != nil {
		return err
	}
	return a.showDemo(ctx, dir, p, func() (*demoOrigin, error) {
		_, err := a.run(ctx, p, nil, "command")
		return nil, err
	})
}

// demoFrom is demo with the departments' rows in a database.
func (a *app) demoFrom(ctx context.Context, dir, kind string) (err error) {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fault.Usage(fmt.Errorf("%s is not empty: the demo's database is a new one each time, so name a new folder with --dir", dir))
	}
	p, err := a.writeDemo(dir)
	if err != nil {
		return err
	}
	d, err := openDemoDatabase(ctx, p, kind)
	if err != nil {
		return causeOf(ctx, err)
	}
	defer func() { err = errors.Join(err, d.close()) }()
	a.logger(a.err, p).Info("a database server runs for as long as the demo does", "kind", kind, "addr", d.server.Addr(), "tables", len(d.tables))
	if err := d.rewrite(dir); err != nil {
		return fault.Environment(fmt.Errorf("write the demo project: %w", err))
	}
	if p, err = a.load(); err != nil {
		return err
	}
	return a.showDemo(ctx, dir, p, func() (*demoOrigin, error) { return a.readWhileWritten(ctx, p, d) })
}

// writeDemo writes the project that reads files.
func (a *app) writeDemo(dir string) (*project.Project, error) {
	if err := demoMayWrite(dir); err != nil {
		return nil, err
	}
	if err := livelihood.Write(dir); err != nil {
		return nil, fault.Environment(err)
	}
	a.projectDir = dir
	if a.logLevel == "" && screen.IsTerminal(a.err) {
		a.logLevel = "warn" // the live view tells people more
	}
	return a.load()
}

// showDemo runs the project and shows the closing screen.
func (a *app) showDemo(ctx context.Context, dir string, p *project.Project, run func() (*demoOrigin, error)) (err error) {
	// One user of the warehouse from before the run until after the closing screen, so that its engine starts once.
	progress := screen.NewProgress(a.err, a.logger(a.err, p))
	depot, err := pipeline.OpenWarehouse(ctx, p, pipeline.Options{Logger: a.logger(a.beside(progress), p), Stage: progress.Stage})
	progress.Done()
	if err != nil {
		return causeOf(ctx, err)
	}
	defer func() { err = causeOf(ctx, errors.Join(err, depot.Close())) }()
	origin, err := run()
	if err != nil {
		return err
	}
	result, err := readDemo(ctx, p, depot)
	if err != nil {
		return err
	}
	result.From = origin
	if a.json {
		return a.encode(result)
	}
	return result.show(a.out, screen.Width(a.out), dir, commandName())
}

// demoMayWrite refuses folders that hold something else than a demo.
func demoMayWrite(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return fault.Environment(fmt.Errorf("look into the demo's folder: %w", err))
	}
	config, err := os.ReadFile(filepath.Join(dir, project.File))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.Environment(fmt.Errorf("look into the demo's folder: %w", err))
	}
	if !slices.Contains(strings.Split(string(config), "\n"), "project: "+demoName) {
		return fault.Usage(fmt.Errorf("%s holds something else than a demo: name a new folder with --dir", dir))
	}
	return nil
}

// commandName is how the user can give the next command: as this one was given.
func commandName() string {
	if strings.ContainsRune(os.Args[0], filepath.Separator) && !filepath.IsAbs(os.Args[0]) {
		return os.Args[0]
	}
	return "headwater"
}

// demoResult is what the closing screen shows.
type demoResult struct {
	Title         string             `json:"title"`
	Synthetic     bool               `json:"synthetic"`      // always: the figures are made up, but for those of February 2020
	From          *demoOrigin        `json:"from,omitempty"` // the database, where it is not files
	Sources       []demoSource       `json:"sources"`
	Total         ledgerLine         `json:"total"`
	Indicator     string             `json:"indicator"`
	IndicatorName string             `json:"indicator_name"`
	Unit          string             `json:"unit"`
	Period        time.Time          `json:"period"`
	Rollup        []demoFigure       `json:"rollup"`
	Disagreements []demoDisagreement `json:"disagreements"` // the largest first
	ControlDay    time.Time          `json:"control_day"`
	Control       []demoControl      `json:"control"`
	AirMonth      time.Time          `json:"air_month"`
	Air           []demoAir          `json:"air"`
	Quarantined   []quarantined      `json:"quarantined"` // some of them
	Open          int                `json:"quarantined_open"`
}

type demoSource struct {
	Title string `json:"title"`
	ledgerLine
	Balanced bool `json:"balanced"`
}

type demoFigure struct {
	Region     string   `json:"region"`
	Name       string   `json:"name"`
	Level      string   `json:"level"`
	Value      *float64 `json:"value"`
	Target     *float64 `json:"target"`
	Completion *float64 `json:"completion"`
	Plan       *float64 `json:"plan"`
	Status     string   `json:"status"`
	StatusZh   string   `json:"status_zh"`
}

// demoControl is a region's control index with its halves, and how many of its counties have which colour.
type demoControl struct {
	Region   string         `json:"region"`
	Name     string         `json:"name"`
	Level    string         `json:"level"`
	Control  *float64       `json:"control"`
	Flow     *float64       `json:"flow"`
	Score    *float64       `json:"score"`
	Band     string         `json:"band"`
	BandZh   string         `json:"band_zh"`
	Counties map[string]int `json:"counties"` // by colour; "" of those without a score
}

// demoAir is a region's air in a month.
type demoAir struct {
	Region    string   `json:"region"`
	Name      string   `json:"name"`
	Level     string   `json:"level"`
	Stations  uint64   `json:"stations"`
	ValidDays uint64   `json:"valid_days"`
	GoodDays  uint64   `json:"good_days"`
	GoodShare *float64 `json:"good_share"`
	PM25      *float64 `json:"pm25"`
}

type demoDisagreement struct {
	Indicator  string    `json:"indicator"`
	Title      string    `json:"title"`
	Region     string    `json:"region"`
	Name       string    `json:"name"`
	Level      string    `json:"level"`
	Grain      string    `json:"grain"`
	Period     time.Time `json:"period"`
	Source     string    `json:"source"`
	Reported   float64   `json:"reported"`
	RolledUp   *float64  `json:"rolled_up"`
	Difference *float64  `json:"difference"`
}

// readDemo asks the warehouse. The account is that of all runs, so that a second demo shows what the first one brought.
func readDemo(ctx context.Context, p *project.Project, w *pipeline.Depot) (*demoResult, error) {
	r := &demoResult{Title: p.Title, Synthetic: true, Indicator: demoIndicator, IndicatorName: demoIndicator}
	for _, i := range p.Indicators() {
		if i.Code == demoIndicator {
			r.IndicatorName, r.Unit = i.Title.Zh, i.Unit
		}
	}
	var figures []warehouse.Figure
	var disagreements []warehouse.Disagreement
	var rows []warehouse.QuarantineRow
	var scores []warehouse.IndexScore
	var air []warehouse.AirQuality
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		scores, err = w.NewestScores(ctx, []string{demoIndexControl, demoIndexFlow, demoIndex}, []string{"province", "city", "county"})
		return err
	})
	g.Go(func() (err error) {
		air, err = w.NewestAir(ctx, []string{"province", "city"})
		return err
	})
	g.Go(func() (err error) {
		figures, err = w.Rollup(ctx, warehouse.RollupQuery{Indicator: demoIndicator, Grain: "month", Levels: []string{"province", "city"}})
		return err
	})
	g.Go(func() (err error) {
		disagreements, err = w.Disagreements(ctx, warehouse.DisagreementQuery{Limit: demoDisagreements})
		return err
	})
	g.Go(func() (err error) {
		rows, err = w.Quarantined(ctx, warehouse.QuarantineFilter{Status: warehouse.QuarantineOpen})
		return err
	})
	g.Go(func() error {
		lines, err := w.Balance(ctx, warehouse.BalanceFilter{Scope: "source"})
		for _, b := range lines {
			line := demoSource{ledgerLine: newLedgerLine(b), Balanced: b.Difference == 0}
			if s, err := p.Source(b.Source); err == nil {
				line.Title = s.Title
			}
			r.Sources = append(r.Sources, line)
			r.Total.add(line.ledgerLine)
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, f := range figures {
		r.Period = f.Period.In(p.Zone)
		r.Rollup = append(r.Rollup, demoFigure{f.Region, f.RegionName, f.Level, f.YearToDate, f.Target, f.CompletionRate, f.PlanValue, f.Status, f.StatusZh})
	}
	for _, d := range disagreements {
		r.Disagreements = append(r.Disagreements, demoDisagreement{d.Indicator, d.Title, d.Region, d.RegionName, d.Level, d.Grain, d.Period.In(p.Zone), d.Source, d.Reported, d.RolledUp, d.Difference})
	}
	r.addControl(scores, p.Zone)
	for _, a := range air {
		r.AirMonth = a.Month
		r.Air = append(r.Air, demoAir{a.Region, a.RegionName, a.Level, a.Stations, a.ValidDays, a.GoodDays, a.GoodShare, a.PM25})
	}
	r.Open = len(rows)
	for _, row := range telling(rows, demoQuarantined) {
		r.Quarantined = append(r.Quarantined, newQuarantined(row))
	}
	return r, nil
}

// addControl puts the scores of the indexes together, a line for the province and each city.
func (r *demoResult) addControl(scores []warehouse.IndexScore, zone *time.Location) {
	at := map[string]int{}
	for _, s := range scores {
		r.ControlDay = s.Period.In(zone)
		if s.Level == "county" {
			if s.Index != demoIndex {
				continue
			}
			for _, above := range []string{s.Parent, s.Region[:2] + "0000"} {
				if i, ok := at[above]; ok {
					r.Control[i].Counties[s.Band]++
				}
			}
			continue
		}
		if _, ok := at[s.Region]; !ok {
			at[s.Region] = len(r.Control)
			r.Control = append(r.Control, demoControl{Region: s.Region, Name: s.RegionName, Level: s.Level, Counties: map[string]int{}})
		}
		c := &r.Control[at[s.Region]]
		switch s.Index {
		case demoIndexControl:
			c.Control = s.Score
		case demoIndexFlow:
			c.Flow = s.Score
		case demoIndex:
			c.Score, c.Band, c.BandZh = s.Score, s.Band, s.BandZh
		}
	}
}

// telling picks rows that differ: as long as there are some, each breaks a rule that none before it does and is of a source
// that none before it is of. Sources with many rows come first. The same rows give the same choice.
func telling(rows []warehouse.QuarantineRow, n int) []warehouse.QuarantineRow {
	many := map[string]int{}
	unread := func(r warehouse.QuarantineRow) int { // rows that were read and not understood tell more than those that could not be read
		if r.Raw != "" || r.Columns == "" || r.Columns == "{}" {
			return 1
		}
		return 0
	}
	for _, r := range rows {
		many[r.Source]++
	}
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b warehouse.QuarantineRow) int {
		return cmp.Or(cmp.Compare(unread(a), unread(b)), cmp.Compare(many[b.Source], many[a.Source]), strings.Compare(a.Source, b.Source),
			strings.Compare(a.Place, b.Place), cmp.Compare(a.Row, b.Row), strings.Compare(a.Stream, b.Stream))
	})
	var out []warehouse.QuarantineRow
	seen := map[string]bool{}
	for _, fresh := range []func(r warehouse.QuarantineRow) bool{
		func(r warehouse.QuarantineRow) bool {
			return !seen["rule "+strings.Join(r.Rules, ",")] && !seen["source "+r.Source]
		},
		func(r warehouse.QuarantineRow) bool {
			return !seen["rule "+strings.Join(r.Rules, ",")] && !seen["id "+r.ID()]
		},
		func(r warehouse.QuarantineRow) bool { return !seen["id "+r.ID()] },
	} {
		for _, r := range rows {
			if len(out) < n && fresh(r) {
				out = append(out, r)
				seen["rule "+strings.Join(r.Rules, ",")], seen["source "+r.Source], seen["id "+r.ID()] = true, true, true
			}
		}
	}
	return out
}

// show writes the closing screen.
func (r *demoResult) show(out io.Writer, width int, dir, command string) error {
	heading := func(text string) { fmt.Fprintf(out, "\n%s\n\n", text) }
	fmt.Fprintf(out, "%s\n演示数据: the figures are synthetic; targets of the province, regions, holidays and the cases of February 2020 are real.\n", r.Title)

	if r.From != nil {
		fmt.Fprintf(out, "Read from %d tables of %s (%s), while a writer made %d changes.\n", r.From.Tables, r.From.Server, r.From.Mode, r.From.Changes)
	}

	heading("What came in")
	t := screen.NewWriter(out, screen.Text, width, "source", "title", "read", "loaded", "duplicate", "quarantined", "filtered", "held", "balanced")
	for _, s := range r.Sources {
		if err := t.Row(append([]any{s.Source, s.Title}, s.outcomes()...)...); err != nil {
			return err
		}
	}
	if err := t.Row(append([]any{"total", ""}, r.Total.outcomes()...)...); err != nil {
		return err
	}
	if err := t.Close(); err != nil {
		return err
	}

	heading(fmt.Sprintf("%s (%s, %s) by the end of %s, rolled up from the counties", r.IndicatorName, r.Indicator, r.Unit, r.Period.Format("2006-01")))
	t = screen.NewWriter(out, screen.Text, width, "region", "code", "value", "target", "completion", "plan", "status", "")
	for _, f := range r.Rollup {
		name := f.Name
		if f.Level != "province" {
			name = "  " + name
		}
		if err := t.Row(name, f.Region, rounded(f.Value, 0), rounded(f.Target, 0), percent(f.Completion), rounded(f.Plan, 1), f.Status, f.StatusZh); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}

	heading(fmt.Sprintf("The control index (精密智控指数，演示) of %s: 管控 control and 畅通 flow, made anew at each level, and its counties by colour", r.ControlDay.Format(time.DateOnly)))
	t = screen.NewWriter(out, screen.Text, width, "region", "code", "control", "flow", "index", "colour", "", "red", "orange", "yellow", "blue", "green", "no score")
	for _, c := range r.Control {
		name := c.Name
		if c.Level != "province" {
			name = "  " + name
		}
		cells := []any{name, c.Region, rounded(c.Control, 1), rounded(c.Flow, 1), rounded(c.Score, 1), c.Band, c.BandZh}
		for _, colour := range []string{"red", "orange", "yellow", "blue", "green", ""} {
			cells = append(cells, screen.Count(c.Counties[colour]))
		}
		if err := t.Row(cells...); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}

	heading(fmt.Sprintf("Good days of %s by HJ 633, from the stations' hourly readings", r.AirMonth.Format("2006-01")))
	t = screen.NewWriter(out, screen.Text, width, "region", "code", "stations", "valid days", "good days", "share", "PM2.5")
	for _, a := range r.Air {
		name := a.Name
		if a.Level != "province" {
			name = "  " + name
		}
		if err := t.Row(name, a.Region, screen.Count(a.Stations), screen.Count(a.ValidDays), screen.Count(a.GoodDays), percent(a.GoodShare), rounded(a.PM25, 1)); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}

	heading("Where what was reported upwards disagrees most with what the counties add up to")
	t = screen.NewWriter(out, screen.Text, width, "region", "indicator", "", "period", "reported", "rolled up", "difference", "reported by")
	for _, d := range r.Disagreements {
		difference := rounded(d.Difference, 0)
		if text, ok := difference.(json.Number); ok && *d.Difference > 0 {
			difference = "+" + text
		}
		if err := t.Row(d.Name, d.Title, d.Indicator, periodText(d.Period, d.Grain), rounded(&d.Reported, 0), rounded(d.RolledUp, 0), difference, d.Source); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}

	heading(fmt.Sprintf("%d of %s in quarantine", len(r.Quarantined), plural(r.Open, "row")))
	for _, q := range r.Quarantined {
		place := q.Place
		if q.Row > 0 {
			place += fmt.Sprintf(", row %d", q.Row)
		}
		fmt.Fprintf(out, "  %s  %s\n", screen.Clean(q.ID), screen.Clean(place))
		for _, broken := range q.Breaks {
			fmt.Fprintf(out, "    %s: %s\n", screen.Clean(broken.named()), screen.Clean(broken.Reason))
		}
		columns, err := columnsOf(string(q.Columns))
		if err != nil {
			return fmt.Errorf("row %s: %w", q.ID, err)
		}
		if text := someColumns(columns); text != "" {
			fmt.Fprintf(out, "    %s\n", screen.Clean(text))
		}
	}

	heading("Go on with")
	on := command + " --project " + shellWord(dir)
	_, err := fmt.Fprintf(out, `  %[1]s status
  %[1]s quarantine list --source hotline-12345
  %[1]s query "SELECT region_name, value, target, status_zh FROM indicator_rollup WHERE indicator = 'LV-PHARMACY' AND level = 'city' AND period = '2021-10-01'"
`, on)
	return err
}

// outcomes are the closing table's columns behind the source's name.
func (l ledgerLine) outcomes() []any {
	balanced := "yes"
	if l.Difference != 0 {
		balanced = "NO"
	}
	return []any{screen.Count(l.Extracted), screen.Count(l.Loaded), screen.Count(l.Duplicate), screen.Count(l.Quarantined), screen.Count(l.Filtered), screen.Count(l.Held), balanced}
}

// rounded gives a figure with so many digits behind the point; tables take a json.Number as it is written, to the right.
func rounded(v *float64, digits int) any {
	if v == nil {
		return "–"
	}
	return json.Number(fmt.Sprintf("%.*f", digits, *v))
}

func percent(v *float64) any {
	if v == nil {
		return "–"
	}
	return json.Number(fmt.Sprintf("%.1f %%", 100**v))
}

// someColumns is the beginning of a row's columns, as much as fits a line.
func someColumns(columns []keptColumn) string {
	const most = 5
	var parts []string
	for _, c := range columns {
		if c.value != "" && c.value != "NULL" {
			parts = append(parts, c.name+" = "+c.value)
		}
	}
	if len(parts) > most {
		parts = append(parts[:most], "…")
	}
	return strings.Join(parts, ", ")
}

// shellWord quotes a path where a shell would take it apart.
func shellWord(path string) string {
	if strings.ContainsFunc(path, func(r rune) bool {
		return !strings.ContainsRune("/._-+", r) && !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9')
	}) {
		return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
	}
	return path
}
