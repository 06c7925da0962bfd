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
	"github.com/headwater-data/headwater/pipeline"
	"github.com/headwater-data/headwater/warehouse"
)

func catalogCommand(a *app) *cobra.Command {
	var offline, asCSV bool
	c := &cobra.Command{
		Use:   "catalog [SOURCE…]",
		Short: "Shows the data-sharing list, and how far each dataset has come",
		Long: `Shows the project's data-sharing list (数据共享需求清单): who provides what, how, on what terms and ground, how often and by when, as
the sources state it under sharing; and for each dataset the stage that it has reached:

  计划 planned             configured, and never read
  已接通 connected         a run has reached its system
  已归集 ingested          rows of it were read
  已标准化 standardized     rows of it are in a standard table
  已用于指标 used           an indicator of the project has figures from it

The list is read from the project's files. Stages are asked of the warehouse; when that is away, or with --offline, they are left out.
BI tools find the same in the view data_catalog, as of the last run.`,
		Example: `  headwater catalog
  headwater catalog --offline --csv > 共享需求清单.csv
  headwater catalog --json | jq '.datasets[] | select(.stated | not) | .source'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if asCSV && a.json {
				return fault.Usage(errors.New("--csv and --json exclude each other"))
			}
			p, _, err := a.loadSound()
			if err != nil {
				return err
			}
			for _, name := range args {
				if _, err := p.Source(name); err != nil {
					return err
				}
			}
			c := newCatalog(p, args)
			if !offline {
				if err := c.ask(cmd.Context(), a, p); err != nil {
					return err
				}
			}
			if a.json {
				return a.encode(c)
			}
			format := screen.Text
			if asCSV {
				format = screen.CSV
			}
			return c.show(a, p, format)
		},
	}
	c.Flags().BoolVar(&offline, "offline", false, "do not ask the warehouse how far the datasets have come")
	c.Flags().BoolVar(&asCSV, "csv", false, "write CSV with Chinese column names")
	return c
}

// catalog is what catalog shows.
type catalog struct {
	Project     string    `json:"project"`
	StagesKnown bool      `json:"stages_known"` // false when the warehouse was not asked or did not answer
	Datasets    []dataset `json:"datasets"`
}

type dataset struct {
	Source       string   `json:"source"`
	Stream       string   `json:"stream"`
	Title        string   `json:"title"`
	Owner        string   `json:"owner"`
	Connector    string   `json:"connector"`
	Schema       string   `json:"schema"`
	Stated       bool     `json:"stated"`
	Provider     string   `json:"provider"`
	ProviderCode string   `json:"provider_code"`
	Content      string   `json:"content"`
	Method       string   `json:"method"`
	Basis        string   `json:"basis"`
	SharingType  string   `json:"sharing_type"`
	Condition    string   `json:"condition"`
	Frequency    string   `json:"frequency"`
	Deadline     *int64   `json:"deadline_seconds"`
	Workdays     *int64   `json:"deadline_workdays"`
	Indicators   []string `json:"indicators"`

	Stage        string     `json:"stage"` // "" when it is not known
	Loaded       int64      `json:"loaded"`
	LastLoadedAt *time.Time `json:"last_loaded_at"`
	NewestPeriod *time.Time `json:"newest_period"`
}

// newCatalog is what the project's files say of these sources, of all when none is named.
func newCatalog(p *project.Project, only []string) *catalog {
	c := &catalog{Project: p.Name, Datasets: []dataset{}}
	for _, d := range pipeline.Datasets(p) {
		if len(only) > 0 && !slices.Contains(only, d.Source) {
			continue
		}
		c.Datasets = append(c.Datasets, dataset{
			Source: d.Source, Stream: d.Stream, Title: d.Title, Owner: d.Owner, Connector: d.Connector, Schema: d.Schema, Stated: d.Stated, Provider: d.Provider,
			ProviderCode: d.ProviderCode, Content: d.Content, Method: d.Method, Basis: d.Basis, SharingType: d.Type, Condition: d.Condition, Frequency: d.Frequency,
			Deadline: d.Deadline, Workdays: d.Workdays, Indicators: slices.Concat([]string{}, d.Indicators),
		})
	}
	slices.SortFunc(c.Datasets, func(x, y dataset) int {
		return cmp.Or(cmp.Compare(x.Source, y.Source), cmp.Compare(x.Stream, y.Stream))
	})
	return c
}

// ask adds what the warehouse knows. One that is away takes nothing from the list.
func (c *catalog) ask(ctx context.Context, a *app, p *project.Project) error {
	untouched, err := pipeline.Untouched(p)
	if err != nil {
		return err
	}
	if untouched {
		c.unread()
		return nil
	}
	err = a.withWarehouse(ctx, func(w *pipeline.Depot) error {
		ready, err := w.Ready(ctx)
		if err != nil {
			return err
		}
		c.unread()
		if !ready {
			return nil
		}
		stages, err := w.CatalogStages(ctx)
		if err != nil {
			return err
		}
		for _, s := range stages {
			if i := slices.IndexFunc(c.Datasets, func(d dataset) bool { return d.Source == s.Source && d.Stream == s.Stream }); i >= 0 {
				d := &c.Datasets[i]
				d.Stage, d.Loaded, d.LastLoadedAt, d.NewestPeriod = s.Stage, s.Loaded, in(s.LastLoadedAt, p.Zone), in(s.NewestPeriod, p.Zone)
			}
		}
		return nil
	})
	if errors.Is(err, warehouse.ErrMissingDatabase) || fault.IsTransient(err) || fault.KindOf(err) == fault.KindEnvironment {
		c.forget()
		_, err = fmt.Fprintf(a.err, "The stages are not known: %s\n", screen.Clean(err.Error()))
	}
	return err
}

// unread marks every dataset as planned, which those are that the warehouse knows nothing of.
func (c *catalog) unread() {
	c.StagesKnown = true
	for i := range c.Datasets {
		c.Datasets[i].Stage = warehouse.StagePlanned
	}
}

// forget takes the stages out again.
func (c *catalog) forget() {
	c.StagesKnown = false
	for i := range c.Datasets {
		c.Datasets[i].Stage = ""
	}
}

// stageNames are what people call the stages; those of code lists are asked of the lists.
var stageNames = map[string]string{
	warehouse.StagePlanned: "计划", warehouse.StageConnected: "已接通", warehouse.StageIngested: "已归集", warehouse.StageStandardized: "已标准化", warehouse.StageUsed: "已用于指标",
}

func (c *catalog) show(a *app, p *project.Project, format screen.Format) error {
	t := a.table(format, "来源", "数据流", "数据集名称", "提供方", "共享内容", "共享方式", "共享类型", "更新周期", "报送时限", "共享依据", "涉及指标", "阶段", "最新期间")
	none := "–"
	if format == screen.CSV {
		none = ""
	}
	called := func(list, code string) string {
		if l, ok := p.Set().CodeList(list); ok {
			if c, ok := l.Code(code); ok {
				return c.Title.Zh
			}
		}
		return cmp.Or(code, none)
	}
	unstated := 0
	for _, d := range c.Datasets {
		if !d.Stated {
			unstated++
		}
		kind := called("sharing_type", d.SharingType)
		if d.Condition != "" {
			kind += "（" + d.Condition + "）"
		}
		indicators := strings.Join(d.Indicators, " ")
		if n := len(d.Indicators); n > 3 && format == screen.Text {
			indicators = strings.Join(d.Indicators[:3], " ") + fmt.Sprintf(" …(%d)", n)
		}
		if err := t.Row(d.Source, d.Stream, d.Title, cmp.Or(d.Provider, none), cmp.Or(d.Content, none), called("sharing_method", d.Method), kind,
			called("update_frequency", d.Frequency), deadlineText(d.Deadline, d.Workdays, none), cmp.Or(d.Basis, none), cmp.Or(indicators, none),
			cmp.Or(stageNames[d.Stage], none), when(d.NewestPeriod, none)); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	if unstated > 0 && format == screen.Text {
		_, err := fmt.Fprintf(a.out, "\n%s without an entry in the list: add sharing to the source's file.\n", plural(unstated, "dataset"))
		return err
	}
	return nil
}

// deadlineText writes a deadline in workdays, or in whole days where it is one: 期后5个工作日, 期后5日.
func deadlineText(seconds, workdays *int64, none string) string {
	switch {
	case workdays != nil:
		return fmt.Sprintf("期后%d个工作日", *workdays)
	case seconds == nil:
		return none
	case *seconds == 0:
		return "期末"
	case *seconds%86400 == 0:
		return fmt.Sprintf("期后%d日", *seconds/86400)
	case *seconds%3600 == 0:
		return fmt.Sprintf("期后%d小时", *seconds/3600)
	}
	return fmt.Sprintf("期后%d分钟", (*seconds+59)/60)
}
