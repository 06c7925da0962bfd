package schemas

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/headwater-data/headwater/internal/problem"
	"github.com/headwater-data/headwater/internal/yamlfile"
)

// Indicator defines a figure that regions are compared on: what it is called, which way is better, and how it is rolled up.
// Across regions and across time are different questions: a stock is summed over regions, and over time its last value counts.
type Indicator struct {
	Code            string             `yaml:"indicator" json:"indicator" required:"true" desc:"Code of the indicator."`
	Title           Title              `yaml:"title" json:"title" required:"true" desc:"Name for people."`
	Unit            string             `yaml:"unit,omitempty" json:"unit,omitempty" desc:"Unit of its values, such as 家 or %."`
	Direction       string             `yaml:"direction,omitempty" json:"direction,omitempty" enum:"up,down" desc:"up (default: more is better) or down."`
	Aggregation     string             `yaml:"aggregation" json:"aggregation" required:"true" enum:"sum,ratio,mean,max,distinct,last,none" desc:"How values of lower regions make the upper region's: sum, ratio (sum of numerators by sum of denominators), mean, max, distinct, last, or none (a bare percentage: a region has no figure but its own)."`
	TimeAggregation string             `yaml:"time_aggregation,omitempty" json:"time_aggregation,omitempty" enum:"sum,ratio,mean,max,distinct,last,none" desc:"How values of finer periods make a longer period's: sum, last (cumulative figures), ratio, mean, max, distinct or none. Defaults to the aggregation."`
	Grain           string             `yaml:"grain,omitempty" json:"grain,omitempty" enum:"hour,day,week,xun,month,quarter,half,year" desc:"Period that a value is about: hour, day, week, xun, month, quarter, half or year (default month)."`
	Levels          []string           `yaml:"levels,omitempty" json:"levels,omitempty" enum:"nation,province,city,county,town,village" desc:"Levels of regions that report it: nation, province, city, county, town or village. Defaults to county."`
	Owner           string             `yaml:"owner,omitempty" json:"owner,omitempty" desc:"Department that answers for the definition."`
	Tasks           []string           `yaml:"tasks,omitempty" json:"tasks,omitempty" desc:"Numbers of the tasks whose targets it counts (task_id of the schema task)."`
	Facts           *Facts             `yaml:"facts,omitempty" json:"facts,omitempty" desc:"Records that the figure is counted from, where it is not reported."`
	Bands           *Bands             `yaml:"bands,omitempty" json:"bands,omitempty" desc:"Thresholds of the five colours, in the indicator's unit."`
	Versions        []IndicatorVersion `yaml:"versions,omitempty" json:"versions,omitempty" desc:"Versions of the definition by time. What a version leaves out it has from the indicator. Without any, there is one that always holds."`
	Description     string             `yaml:"description,omitempty" json:"description,omitempty" desc:"What is counted, and by which rule."`
}

// IndicatorVersion is what of a definition may change in the course of time. Unit, aggregations, direction and grain may not:
// with another one of these the figures before and after could not be held against each other, so it is another indicator.
type IndicatorVersion struct {
	Span        `yaml:",inline"`
	Owner       string `yaml:"owner,omitempty" json:"owner,omitempty" desc:"Department that answers for the definition."`
	Bands       *Bands `yaml:"bands,omitempty" json:"bands,omitempty" desc:"Thresholds of the five colours, in the indicator's unit."`
	Description string `yaml:"description,omitempty" json:"description,omitempty" desc:"What is counted in this time, and by which rule."`
}

// Bands are the thresholds of the five colours 绿 蓝 黄 橙 红: a figure at least as good as one has its colour, a worse one than all
// is red. A colour may be left out.
type Bands struct {
	Green  *float64 `yaml:"green,omitempty" json:"green,omitempty" desc:"A figure at least as good is green."`
	Blue   *float64 `yaml:"blue,omitempty" json:"blue,omitempty" desc:"A figure at least as good, and not green, is blue."`
	Yellow *float64 `yaml:"yellow,omitempty" json:"yellow,omitempty" desc:"A figure at least as good, and not blue, is yellow."`
	Orange *float64 `yaml:"orange,omitempty" json:"orange,omitempty" desc:"A figure at least as good, and not yellow, is orange. Worse ones are red."`
}

// Span names a version and says when it holds.
type Span struct {
	Version string `yaml:"version" json:"version" required:"true" desc:"What people call the version, such as 11.0."`
	From    string `yaml:"valid_from" json:"valid_from" required:"true" desc:"First day on which it holds, YYYY-MM-DD."`
	To      string `yaml:"valid_to,omitempty" json:"valid_to,omitempty" desc:"First day on which it holds no longer, YYYY-MM-DD. Defaults to the first day of the version after it."`
}

// Begins and Ends are the days of a span that was checked; Ends is the zero time where the version has no end.
func (s Span) Begins() time.Time { return dayOf(s.From) }

// Ends is the first day on which the version holds no longer.
func (s Span) Ends() time.Time { return dayOf(s.To) }

func dayOf(text string) time.Time {
	day, _ := time.Parse(time.DateOnly, text) // checked when it was loaded; none is the zero time
	return day
}

// timeAggregations tells, for each aggregation over regions, which ones over time can go with it. What is refused gives
// figures that look right and are not, such as the mean of a year's ratios.
var timeAggregations = map[string][]string{
	"sum":      {"sum", "last", "mean", "max"}, // a flow adds up, a stock holds its last value or is averaged
	"ratio":    {"ratio", "last"},              // last: both parts are cumulative
	"mean":     {"mean", "max", "last", "sum"}, // rain: the mean of the stations, added up over the days
	"max":      {"max", "last"},
	"distinct": {"distinct", "last"},
	"last":     {"last", "max"},
	"none":     {"none", "last"},
}

// contradictions says why, where the names do not say it.
var contradictions = map[string]string{
	"ratio":    ": a ratio is made of sums of its parts, never added up or averaged",
	"max":      ": the worst of several is no quantity that adds up",
	"distinct": ": what is there in two periods would count twice",
	"none":     ": a percentage without its parts is never added up or averaged",
}

// Measures are the figures of a project: indicators as they are reported or counted, and indexes made of them. An index
// comes after those that it is made of.
type Measures struct {
	Indicators []Indicator
	Indexes    []Index
}

// LoadMeasures reads indicators and indexes, one a file, and fills in what they leave out. The set says which facts there are to
// count. It reports everything that is wrong with them at once and returns those that are right.
func LoadMeasures(set *Set, indicators, indexes []File) (Measures, problem.List) {
	l := measureLoader{set: set, where: map[string]string{}, indicators: map[string]Indicator{}}
	var out Measures
	for _, f := range indicators {
		if one, ok := l.indicator(f); ok {
			out.Indicators = append(out.Indicators, one)
			l.indicators[one.Code] = one
		}
	}
	out.Indexes = l.indexes(indexes)
	l.problems.Sort()
	return out, l.problems
}

type measureLoader struct {
	set        *Set
	where      map[string]string // code -> file
	indicators map[string]Indicator
	problems   problem.List
}

// report notes what is wrong in a document and tells whether anything is.
func (l *measureLoader) report(document *yamlfile.Document, list faults) bool {
	for _, f := range list {
		p := document.At(f.path...)
		p.Message, p.Fix = f.message, f.fix
		l.problems = append(l.problems, p)
	}
	return len(list) > 0
}

// named checks what every measure has.
func (l *measureLoader) named(out *faults, kind, code, file string, title Title) {
	if !codePattern.MatchString(code) {
		out.add([]any{kind}, fmt.Sprintf("%q is no code for an %s", clip(code), kind), "use letters, digits, dots, dashes and underscores, at most 63")
	} else if other, ok := l.where[code]; ok {
		out.add([]any{kind}, fmt.Sprintf("%s %s is defined in %s already", kind, code, other), "remove one of them")
	}
	if strings.TrimSpace(title.Zh) == "" || strings.TrimSpace(title.En) == "" {
		out.add([]any{"title"}, "the title needs zh and en", "")
	}
}

func (l *measureLoader) indicator(f File) (Indicator, bool) {
	var one Indicator
	document, list := yamlfile.Decode(f.Name, f.Data, &one)
	if len(list) > 0 {
		l.problems = append(l.problems, list...)
		return one, false
	}
	var out faults
	l.named(&out, "indicator", one.Code, f.Name, one.Title)
	if over := cmp.Or(one.TimeAggregation, one.Aggregation); !slices.Contains(timeAggregations[one.Aggregation], over) {
		out.add([]any{"time_aggregation"}, fmt.Sprintf("aggregation %s and time_aggregation %s contradict each other%s", one.Aggregation, over, contradictions[one.Aggregation]),
			"over time, use "+strings.Join(timeAggregations[one.Aggregation], " or "))
	}
	twice(&out, []any{"levels"}, "level", one.Levels)
	twice(&out, []any{"tasks"}, "task", one.Tasks)
	one.Direction = cmp.Or(one.Direction, "up")
	one.TimeAggregation = cmp.Or(one.TimeAggregation, one.Aggregation)
	one.Grain = cmp.Or(one.Grain, "month")
	if len(one.Levels) == 0 {
		one.Levels = []string{LevelCounty}
	}
	one.Bands.check(&out, []any{"bands"}, one.Direction)
	if one.Facts != nil {
		facts := *one.Facts
		facts.Region, facts.Measure = cmp.Or(facts.Region, "region"), cmp.Or(facts.Measure, "count")
		one.Facts = &facts
		l.facts(&out, one)
	}
	var spans []*Span
	for i := range one.Versions {
		v := &one.Versions[i]
		spans = append(spans, &v.Span)
		v.Owner, v.Description = cmp.Or(v.Owner, one.Owner), cmp.Or(v.Description, one.Description)
		if v.Bands == nil {
			v.Bands = one.Bands
		} else {
			v.Bands.check(&out, []any{"versions", i, "bands"}, one.Direction)
		}
	}
	checkSpans(&out, spans)
	if l.report(document, out) {
		return one, false
	}
	l.where[one.Code] = f.Name
	return one, true
}

// History returns the versions of the definition; an indicator that declares none has one that always holds.
func (i Indicator) History() []IndicatorVersion {
	if len(i.Versions) > 0 {
		return i.Versions
	}
	return []IndicatorVersion{{Span: Span{Version: "1"}, Owner: i.Owner, Bands: i.Bands, Description: i.Description}}
}

func twice(out *faults, path []any, what string, list []string) {
	for i, one := range list {
		if slices.Contains(list[:i], one) {
			out.add(at(path, i), fmt.Sprintf("%s %s is there twice", what, one), "remove one of them")
		}
	}
}

// check finds thresholds that no figure could meet in their order. A nil b has none.
func (b *Bands) check(out *faults, path []any, direction string) {
	if b == nil {
		return
	}
	type limit struct {
		name  string
		value float64
	}
	var limits []limit
	for _, l := range []struct {
		name  string
		value *float64
	}{{"green", b.Green}, {"blue", b.Blue}, {"yellow", b.Yellow}, {"orange", b.Orange}} {
		if l.value != nil {
			limits = append(limits, limit{l.name, *l.value})
		}
	}
	if len(limits) == 0 {
		out.add(path, "there is no threshold", "give green, blue, yellow or orange")
	}
	for i := 1; i < len(limits); i++ {
		better, worse := limits[i-1], limits[i]
		if direction == "down" && better.value >= worse.value || direction != "down" && better.value <= worse.value {
			word := "above"
			if direction == "down" {
				word = "below"
			}
			out.add(at(path, worse.name), fmt.Sprintf("the threshold of %s, %g, must lie %s that of %s, %g", better.name, better.value, word, worse.name, worse.value),
				"the direction is "+cmp.Or(direction, "up"))
		}
	}
}

// checkSpans finds versions that cannot be told apart by their days, and lets each that has no end of its own end where the
// next one begins. Spans are given in the order of the file.
func checkSpans(out *faults, spans []*Span) {
	names := map[string]bool{}
	for i, s := range spans {
		path := []any{"versions", i}
		if strings.TrimSpace(s.Version) == "" {
			out.add(at(path, "version"), "the version has no name", "")
		} else if names[s.Version] {
			out.add(at(path, "version"), fmt.Sprintf("version %s is there twice", s.Version), "give one another name")
		}
		names[s.Version] = true
		for _, d := range []struct{ key, text string }{{"valid_from", s.From}, {"valid_to", s.To}} {
			if _, err := time.Parse(time.DateOnly, d.text); err != nil && d.text != "" {
				out.add(at(path, d.key), fmt.Sprintf("%q is no day", clip(d.text)), "write YYYY-MM-DD")
				return
			}
		}
		if s.To != "" && s.To <= s.From {
			out.add(at(path, "valid_to"), fmt.Sprintf("version %s ends before it begins", s.Version), "valid_to is the first day on which it holds no longer")
		}
	}
	byAge := make([]int, len(spans))
	for i := range spans {
		byAge[i] = i
	}
	slices.SortStableFunc(byAge, func(a, b int) int { return cmp.Compare(spans[a].From, spans[b].From) })
	for n := 1; n < len(byAge); n++ {
		before, after := spans[byAge[n-1]], spans[byAge[n]]
		if before.From == after.From || before.To > after.From {
			out.add([]any{"versions", byAge[n], "valid_from"}, fmt.Sprintf("versions %s and %s are both in force on %s", before.Version, after.Version, after.From),
				"let one end on the day on which the other begins")
		}
		if before.To == "" {
			before.To = after.From
		}
	}
}
