package schemas

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/headwater-data/headwater/internal/problem"
	"github.com/headwater-data/headwater/internal/yamlfile"
)

// Indicator defines a figure that regions are compared on: what it is called, which way is better, and how it is rolled up.
// Across regions and across time are different questions: a stock is summed over regions, and over time its last value counts.
type Indicator struct {
	Code            string   `yaml:"indicator" json:"indicator" required:"true" desc:"Code of the indicator."`
	Title           Title    `yaml:"title" json:"title" required:"true" desc:"Name for people."`
	Unit            string   `yaml:"unit,omitempty" json:"unit,omitempty" desc:"Unit of its values, such as 家 or %."`
	Direction       string   `yaml:"direction,omitempty" json:"direction,omitempty" enum:"up,down" desc:"up (default: more is better) or down."`
	Aggregation     string   `yaml:"aggregation" json:"aggregation" required:"true" enum:"sum,ratio,mean,max,distinct,last,none" desc:"How values of lower regions make the upper region's: sum, ratio (sum of numerators by sum of denominators), mean, max, distinct, last, or none (a bare percentage: a region has no figure but its own)."`
	TimeAggregation string   `yaml:"time_aggregation,omitempty" json:"time_aggregation,omitempty" enum:"sum,ratio,mean,max,distinct,last,none" desc:"How values of finer periods make a longer period's: sum, last (cumulative figures), ratio, mean, max, distinct or none. Defaults to the aggregation."`
	Grain           string   `yaml:"grain,omitempty" json:"grain,omitempty" enum:"hour,day,week,xun,month,quarter,half,year" desc:"Period that a value is about: hour, day, week, xun, month, quarter, half or year (default month)."`
	Levels          []string `yaml:"levels,omitempty" json:"levels,omitempty" enum:"nation,province,city,county,town,village" desc:"Levels of regions that report it: nation, province, city, county, town or village. Defaults to county."`
	Description     string   `yaml:"description,omitempty" json:"description,omitempty" desc:"What is counted, and by which rule."`
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

// LoadIndicators reads indicators, one a file, and fills in what they leave out. It reports everything that is wrong with
// them at once and returns those that are right, by file.
func LoadIndicators(files ...File) ([]Indicator, problem.List) {
	var out []Indicator
	var problems problem.List
	where := map[string]string{} // code -> file
	for _, f := range files {
		var one Indicator
		document, list := yamlfile.Decode(f.Name, f.Data, &one)
		if len(list) > 0 {
			problems = append(problems, list...)
			continue
		}
		report := func(message, fix string, path ...any) {
			p := document.At(path...)
			p.Message, p.Fix = message, fix
			problems = append(problems, p)
		}
		before := len(problems)
		if !codePattern.MatchString(one.Code) {
			report(fmt.Sprintf("%q is no code for an indicator", clip(one.Code)), "use letters, digits, dots, dashes and underscores, at most 63", "indicator")
		} else if other, ok := where[one.Code]; ok {
			report(fmt.Sprintf("indicator %s is defined in %s already", one.Code, other), "remove one of them", "indicator")
		}
		if strings.TrimSpace(one.Title.Zh) == "" || strings.TrimSpace(one.Title.En) == "" {
			report("the title needs zh and en", "", "title")
		}
		if over := cmp.Or(one.TimeAggregation, one.Aggregation); !slices.Contains(timeAggregations[one.Aggregation], over) {
			report(fmt.Sprintf("aggregation %s and time_aggregation %s contradict each other%s", one.Aggregation, over, contradictions[one.Aggregation]),
				"over time, use "+strings.Join(timeAggregations[one.Aggregation], " or "), "time_aggregation")
		}
		for i, level := range one.Levels {
			if slices.Contains(one.Levels[:i], level) {
				report(fmt.Sprintf("level %s is there twice", level), "remove one of them", "levels", i)
			}
		}
		if len(problems) > before {
			continue
		}
		where[one.Code] = f.Name
		one.Direction = cmp.Or(one.Direction, "up")
		one.TimeAggregation = cmp.Or(one.TimeAggregation, one.Aggregation)
		one.Grain = cmp.Or(one.Grain, "month")
		if len(one.Levels) == 0 {
			one.Levels = []string{LevelCounty}
		}
		out = append(out, one)
	}
	problems.Sort()
	return out, problems
}
