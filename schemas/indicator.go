package schemas

// Indicator defines a figure that regions are compared on: what it is called, which way is better, and how it is rolled up
// (docs: across regions and across time are different questions; a stock is summed over regions and its last value counts
// over time).
type Indicator struct {
	Code            string   `yaml:"indicator" json:"indicator" required:"true" desc:"Code of the indicator."`
	Title           Title    `yaml:"title" json:"title" required:"true" desc:"Name for people."`
	Unit            string   `yaml:"unit,omitempty" json:"unit,omitempty" desc:"Unit of its values, such as 家 or %."`
	Direction       string   `yaml:"direction,omitempty" json:"direction,omitempty" desc:"up (default: more is better) or down."`
	Aggregation     string   `yaml:"aggregation" json:"aggregation" required:"true" desc:"How values of lower regions make the upper region's: sum, ratio (sum of numerators by sum of denominators), mean, max, distinct, or last."`
	TimeAggregation string   `yaml:"time_aggregation,omitempty" json:"time_aggregation,omitempty" desc:"How values of finer periods make a longer period's: sum, last (cumulative figures), ratio, mean, max or distinct. Defaults to the aggregation."`
	Grain           string   `yaml:"grain,omitempty" json:"grain,omitempty" desc:"Period that a value is about: hour, day, week, xun, month, quarter, half or year (default month)."`
	Levels          []string `yaml:"levels,omitempty" json:"levels,omitempty" desc:"Levels of regions that report it: nation, province, city, county, town or village. Defaults to county."`
	Description     string   `yaml:"description,omitempty" json:"description,omitempty" desc:"What is counted, and by which rule."`
}
