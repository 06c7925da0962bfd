package livelihood

// Score is one index of one region on one day.
type Score struct {
	Index, Version, Region, Name, Level string
	Day                                 int // from ControlDay(0)
	Score                               float64
	There                               bool // whether there is a score
	Covered                             float64
	Missing                             []string // components without a score, in their order
	Band                                string   // green, blue, yellow, orange, red; empty without a score
}

// part is a component of an index: its weight, and how its figure becomes a score.
type part struct {
	of     string
	weight float64
	score  func(x float64) float64
}

// formula is one version of an index, as indexes/*.yaml have it; it is written out here so that what is expected does not come from
// the files that are tested.
type formula struct {
	index, version string
	needed         float64 // weight that must be there for a score
	parts          []part
}

func line(points ...[2]float64) func(float64) float64 {
	return func(x float64) float64 {
		for i, p := range points {
			if x < p[0] {
				if i == 0 {
					return p[1]
				}
				from := points[i-1]
				return from[1] + (p[1]-from[1])*(x-from[0])/(p[0]-from[0])
			}
		}
		return points[len(points)-1][1]
	}
}

func asIs(x float64) float64 { return x }

// formulas are the indexes in force on a day, each after those that it is made of.
func formulas(day int) []formula {
	cases := line([2]float64{0, 100}, [2]float64{2, 85}, [2]float64{10, 50}, [2]float64{60, 0})
	traced := line([2]float64{0.5, 0}, [2]float64{0.9, 80}, [2]float64{1, 100})
	between := func(zero, full float64) func(float64) float64 {
		return line([2]float64{zero, 0}, [2]float64{full, 100})
	}
	if day < secondWeek {
		return []formula{
			{"EC-CONTROL", "1.0", 0.5, []part{{"EC-NEW", 0.6, cases}, {"EC-TRACED", 0.4, traced}}},
			{"EC-FLOW", "1.0", 0.6, []part{{"EC-TOLL", 0.3, between(0.2, 1)}, {"EC-BUS", 0.3, between(0.2, 1)}, {"EC-FREIGHT", 0.4, between(0.3, 1)}}},
			{"EC-SMART", "1.0", 1, []part{{"EC-CONTROL", 0.5, asIs}, {"EC-FLOW", 0.5, asIs}}},
		}
	}
	return []formula{
		{"EC-CONTROL", "2.0", 0.5, []part{{"EC-NEW", 0.6, cases}, {"EC-TRACED", 0.25, traced}, {"EC-MOVED", 0.15, between(0.1, 0.9)}}},
		{"EC-FLOW", "2.0", 0.6, []part{{"EC-TOLL", 0.25, between(0.2, 1)}, {"EC-BUS", 0.25, between(0.2, 1)}, {"EC-FREIGHT", 0.3, between(0.3, 1)}, {"EC-WORK", 0.2, between(0.4, 1)}}},
		{"EC-SMART", "2.0", 1, []part{{"EC-CONTROL", 0.6, asIs}, {"EC-FLOW", 0.4, asIs}}},
	}
}

// bandOf is the colour of a score: all three indexes have the same thresholds.
func bandOf(score float64) string {
	switch {
	case score >= 90:
		return "green"
	case score >= 80:
		return "blue"
	case score >= 65:
		return "yellow"
	case score >= 45:
		return "orange"
	}
	return "red"
}

// scores makes every index anew for the province, each city and each county from the figures there: what the counties' figures come to,
// and never the counties' scores.
func (d *demo) scores() []Score {
	var all []Score
	for day := range controlDays {
		all = append(all, d.scoresOf(day, place{province, provinceName}, "province", d.places())...)
		for _, c := range cities {
			all = append(all, d.scoresOf(day, c.place, "city", c.counties)...)
			for _, county := range c.counties {
				all = append(all, d.scoresOf(day, county, "county", []place{county})...)
			}
		}
	}
	return all
}

// places are all counties.
func (d *demo) places() []place {
	var all []place
	for _, c := range cities {
		all = append(all, c.counties...)
	}
	return all
}

func (d *demo) scoresOf(day int, of place, level string, counties []place) []Score {
	known := map[string]float64{}
	for _, indicator := range []string{"EC-NEW", "EC-TRACED", "EC-MOVED", "EC-TOLL", "EC-BUS", "EC-FREIGHT", "EC-WORK"} {
		var sum fraction
		reporting := 0
		for _, county := range counties {
			if f, ok := d.control[controlKey{indicator, county.code, day}]; ok {
				sum.numerator += f.numerator
				sum.denominator += f.denominator
				reporting++
			}
		}
		if reporting > 0 {
			known[indicator] = sum.numerator / sum.denominator
		}
	}
	var out []Score
	for _, f := range formulas(day) {
		s := Score{Index: f.index, Version: f.version, Region: of.code, Name: of.name, Level: level, Day: day}
		sum := 0.0
		for _, p := range f.parts {
			x, ok := known[p.of]
			if !ok {
				s.Missing = append(s.Missing, p.of)
				continue
			}
			s.Covered += p.weight
			sum += p.weight * p.score(x)
		}
		if s.Covered == 0 {
			continue // nothing to make it of
		}
		if s.Covered >= f.needed-1e-9 {
			s.There, s.Score = true, sum/s.Covered
			s.Band = bandOf(s.Score)
			known[f.index] = s.Score
		}
		out = append(out, s)
	}
	return out
}
