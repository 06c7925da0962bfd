package project

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/invopop/jsonschema"

	"github.com/headwater-data/headwater/internal/yamlfile"
	"github.com/headwater-data/headwater/pipeline/transform"
	"github.com/headwater-data/headwater/schemas"
	"github.com/headwater-data/headwater/schemas/checkdigit"
)

// SharingConfig is a source's entry in the data-sharing list (数据共享需求清单).
type SharingConfig struct {
	Provider     string         `yaml:"provider" required:"true" desc:"Department that provides the data, by its full name."`
	ProviderCode string         `yaml:"provider_code,omitempty" desc:"Its unified social credit code (GB 32100)."`
	Content      string         `yaml:"content" required:"true" desc:"What is shared."`
	Method       string         `yaml:"method" required:"true" enum:"import,form,direct,source" desc:"How it comes in: import (files that are sent), form (typed in by a person), direct (from a department's system) or source (where it arises)."`
	Basis        string         `yaml:"basis" required:"true" desc:"Law, document or agreement on the ground of which it is shared, or is not."`
	Type         string         `yaml:"type" required:"true" enum:"unconditional,conditional,none" desc:"unconditional (无条件共享), conditional (有条件共享) or none (不予共享)."`
	Condition    string         `yaml:"condition,omitempty" desc:"What conditional sharing depends on; needed with type: conditional."`
	Frequency    string         `yaml:"frequency" required:"true" enum:"realtime,hour,day,week,xun,month,quarter,half,year" desc:"How often it is brought up to date."`
	Deadline     *Deadline      `yaml:"deadline,omitempty" desc:"Time after the end of a period within which its data is to be there: 5d, 12h or 5 workdays."`
	Figures      *FiguresConfig `yaml:"figures,omitempty" desc:"Figures that are due by the deadline. Without it, none of the source's is ever late."`
}

// FiguresConfig says which regions owe figures of which indicators, from when on.
type FiguresConfig struct {
	Indicators []string `yaml:"indicators,omitempty" desc:"Indicators. Defaults to those that the source's mappings name."`
	Levels     []string `yaml:"levels,omitempty" enum:"nation,province,city,county,town,village" desc:"Levels of the regions that owe them. Defaults to those of each indicator."`
	Within     string   `yaml:"within" required:"true" desc:"Code of the region at or below which they lie."`
	Since      string   `yaml:"since" required:"true" desc:"Day from which they are due, YYYY-MM-DD; the first period is the one that it lies in."`
	Until      string   `yaml:"until,omitempty" desc:"Day up to which they are due, YYYY-MM-DD; the last period is the one that it lies in. Defaults to no end."`
}

// Sharing is a source's entry in the data-sharing list.
type Sharing struct {
	Provider, ProviderCode, Content, Method, Basis, Type, Condition, Frequency string

	Deadline *Deadline   // nil when none was agreed
	Due      *DueFigures // nil when no figures are due
}

// Deadline is what was agreed to pass after the end of a period until its data is there: so much time, or so many workdays.
type Deadline struct {
	After    time.Duration
	Workdays int // 1 at least where the deadline counts workdays, and After is 0 then; 0 where it does not
}

var workdays = regexp.MustCompile(`^([1-9][0-9]{0,3}) ?workdays?$`)

// UnmarshalYAML reads 5d, 12h, 0 or 5 workdays.
func (d *Deadline) UnmarshalYAML(decode func(into any) error) error {
	var text string
	if err := decode(&text); err != nil {
		return err
	}
	*d = Deadline{}
	if m := workdays.FindStringSubmatch(text); m != nil {
		n, err := strconv.Atoi(m[1])
		d.Workdays = n
		return err
	}
	if decode(&d.After) != nil {
		return errors.New("not a deadline (write it as 5d, 12h or 5 workdays)")
	}
	return nil
}

// JSONSchema describes it for editors.
func (Deadline) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
		{Type: "string", Pattern: `^([0-9]+d)?([0-9.]+(ns|us|µs|ms|s|m|h))*$`, Examples: []any{"5d", "12h"}},
		{Type: "string", Pattern: workdays.String(), Examples: []any{"5 workdays"}}, {Const: 0},
	}}
}

// maxWorkdays bounds a deadline: a year has about as many.
const maxWorkdays = 250

// DueFigures says which regions owe figures of which indicators, from when on.
type DueFigures struct {
	Indicators []string // empty for those that each stream's mapping names
	Levels     []string // empty for those of each indicator
	Within     string
	Since      time.Time // midnight UTC
	Until      time.Time // zero for no end
}

// Unlisted returns the sources that state nothing of how they are shared, when others of the project do.
func (p *Project) Unlisted() []*Source {
	var without []*Source
	for _, s := range p.sources {
		if s.Sharing == nil {
			without = append(without, s)
		}
	}
	if len(without) == len(p.sources) {
		return nil
	}
	return without
}

// sharing checks a source's entry. What could not be decoded has been said; the rest is checked all the same.
func (l *loader) sharing(f *sourceFile) {
	c := f.config.Sharing
	if c == nil {
		return
	}
	at := func(message, fix string, path ...any) {
		l.add(f.doc.At(append([]any{"sharing"}, path...)...), message, fix)
	}
	s := &Sharing{Provider: c.Provider, ProviderCode: c.ProviderCode, Content: c.Content, Method: c.Method, Basis: c.Basis, Type: c.Type,
		Condition: c.Condition, Frequency: c.Frequency, Deadline: c.Deadline}
	f.source.Sharing = s
	if c.ProviderCode != "" {
		if err := checkdigit.CreditCode(c.ProviderCode); err != nil {
			at("provider_code "+err.Error(), "write the 18 characters of the unified social credit code", "provider_code")
		}
	}
	if c.Type == "conditional" && strings.TrimSpace(c.Condition) == "" {
		at("conditional sharing does not say what it depends on", "add condition", "type")
	}
	if c.Type != "conditional" && c.Type != "" && c.Condition != "" {
		at(fmt.Sprintf("sharing of type %s has no condition", c.Type), "remove it, or write type: conditional", "condition")
	}
	if d := c.Deadline; d != nil && d.After > 366*24*time.Hour {
		at("deadline is more than 366d", "it is the time after the end of a period, such as 5d", "deadline")
	} else if d != nil && d.Workdays > maxWorkdays {
		at(fmt.Sprintf("deadline is more than %d workdays", maxWorkdays), "it is the time after the end of a period, such as 5 workdays", "deadline")
	}
	if c.Figures == nil {
		return
	}
	d := &DueFigures{Indicators: c.Figures.Indicators, Levels: c.Figures.Levels, Within: c.Figures.Within}
	s.Due = d
	if c.Deadline == nil {
		at("figures are due, but there is no deadline", "add deadline: the time after the end of a period, such as 5d", "figures")
	}
	for i, code := range c.Figures.Indicators {
		l.isIndicator(f, code, "sharing", "figures", "indicators", i)
	}
	if c.Figures.Within != "" {
		if _, ok := l.p.set.Regions().At(c.Figures.Within, time.Time{}); !ok {
			at(fmt.Sprintf("there is no region %q", clipped(c.Figures.Within)), "write the 6-digit code of one that exists now", "figures", "within")
		}
	}
	d.Since, d.Until = l.day(f, c.Figures.Since, "since"), l.day(f, c.Figures.Until, "until")
	if !d.Until.IsZero() && d.Until.Before(d.Since) {
		at("until lies before since", "", "figures", "until")
	}
}

// day reads a day of the list's figures; one that is not there, or is none, is zero.
func (l *loader) day(f *sourceFile, text, key string) time.Time {
	if text == "" {
		return time.Time{}
	}
	day, err := time.Parse(time.DateOnly, text)
	if err != nil || day.Year() < 1949 || day.Year() > 2100 {
		l.add(f.doc.At("sharing", "figures", key), key+" is no day", "write it as 2021-01-01")
		return time.Time{}
	}
	return day
}

// isIndicator reports a code that is not one of the project's.
func (l *loader) isIndicator(f *sourceFile, code string, path ...any) {
	codes := make([]string, len(l.p.Indicators()))
	for i, one := range l.p.Indicators() {
		if one.Code == code {
			return
		}
		codes[i] = one.Code
	}
	fix := "define it in the folder indicators"
	if s := yamlfile.Suggest(code, codes); s != "" {
		fix = fmt.Sprintf("did you mean %q? indicators are defined in the folder indicators", s)
	}
	l.add(f.doc.At(path...), fmt.Sprintf("no indicator %q in this project", clipped(code)), fix)
}

// clipped bounds a text that is told.
func clipped(text string) string {
	if r := []rune(text); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return text
}

// indicatorsOf returns the indicators that a stream's mapping names, sorted: as constants, as codes, in lookup tables or by
// columns. What only stands in the rows is not known.
func indicatorsOf(set *schemas.Set, stream transform.StreamShape) []string {
	schema, ok := set.Schema(stream.Map.Schema)
	if !ok || schema.Name == "indicator" || schema.FieldIndex("indicator") < 0 {
		return nil
	}
	var out []string
	add := func(value any) {
		if code, ok := value.(string); ok && code != "" {
			out = append(out, code)
		}
	}
	if field, ok := stream.Map.Fields["indicator"]; ok {
		add(field.Value)
		add(field.Default)
		for _, to := range field.Codes {
			add(to)
		}
		if field.Lookup != nil {
			table := stream.Lookups[field.Lookup.File]
			if column := slices.Index(table.Columns, field.Lookup.Value); column >= 0 {
				for _, row := range table.Rows {
					add(strings.TrimSpace(row[column]))
				}
			}
		}
	}
	if u := stream.Map.Unpivot; u != nil {
		for _, value := range u.Columns {
			if constants, ok := value.(map[string]any); ok {
				add(constants["indicator"])
			} else if u.By == "" || u.By == "indicator" {
				add(value)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
