package livelihood

import (
	"cmp"
	"math"
	"slices"
)

// AirMonth is the air of one region in one month.
type AirMonth struct {
	Region, Name, Level           string
	Month                         int // of 2021
	Stations, ValidDays, GoodDays int
	FineDust                      float64 // mean of the stations' daily means of PM2.5
	daysWithFineDust              int
	fineDustSum                   float64
	stations                      map[string]bool
}

// breakpoints are the 24-hour columns of HJ 633-2012's table 1 (of ozone its eight-hour column): concentration and sub-index, in the order
// of pollutants.
var breakpoints = [len(pollutants)][][2]float64{
	pm25:  {{0, 0}, {35, 50}, {75, 100}, {115, 150}, {150, 200}, {250, 300}, {350, 400}, {500, 500}},
	pm10:  {{0, 0}, {50, 50}, {150, 100}, {250, 150}, {350, 200}, {420, 300}, {500, 400}, {600, 500}},
	so2:   {{0, 0}, {50, 50}, {150, 100}, {475, 150}, {800, 200}, {1600, 300}, {2100, 400}, {2620, 500}},
	no2:   {{0, 0}, {40, 50}, {80, 100}, {180, 150}, {280, 200}, {565, 300}, {750, 400}, {940, 500}},
	co:    {{0, 0}, {2, 50}, {4, 100}, {14, 150}, {24, 200}, {36, 300}, {48, 400}, {60, 500}},
	ozone: {{0, 0}, {100, 50}, {160, 100}, {215, 150}, {265, 200}, {800, 300}},
}

// subIndex is a pollutant's index: on the line between two breakpoints, rounded up.
func subIndex(pollutant int, c float64) int {
	digits := 1.0
	if pollutant == co {
		digits = 10 // milligrams are rounded to one decimal
	}
	c = math.RoundToEven(c*digits) / digits
	points := breakpoints[pollutant]
	for i := 1; i < len(points); i++ {
		if low, high := points[i-1], points[i]; c <= high[0] {
			return int(math.Ceil(low[1] + (high[1]-low[1])*(c-low[0])/(high[0]-low[0]) - 1e-9))
		}
	}
	return int(points[len(points)-1][1])
}

// stationDay are the readings of one station and day, by hour; NaN where there is none.
type stationDay [len(pollutants)][24]float64

// daily is a pollutant's figure of the day, if there is one: the mean of at least 20 hours; of ozone the highest mean of eight hours, of
// windows within the day with at least 6 hours, of which there must be 14 unless one is above 160.
func (s *stationDay) daily(pollutant int) (float64, bool) {
	mean := func(hours []float64) (float64, int) {
		sum, n := 0.0, 0
		for _, v := range hours {
			if !math.IsNaN(v) {
				sum += v
				n++
			}
		}
		return sum / float64(n), n
	}
	if pollutant != ozone {
		v, n := mean(s[pollutant][:])
		return v, n >= 20
	}
	highest, windows := math.Inf(-1), 0
	for end := 8; end <= 24; end++ {
		if v, n := mean(s[ozone][end-8 : end]); n >= 6 {
			highest = max(highest, v)
			windows++
		}
	}
	return highest, windows >= 14 || highest > 160
}

// airMonths adds the stations' days up to counties, cities and the province.
func (d *demo) airMonths() []AirMonth {
	type stationKey struct {
		station string
		month   int
		day     int
	}
	days := map[stationKey]*stationDay{}
	where := map[string]airRow{}
	for _, r := range d.airRows {
		k := stationKey{r.code, int(r.at.Month()), r.at.Day()}
		if r.negative() {
			continue // in quarantine
		}
		if days[k] == nil {
			days[k] = &stationDay{}
			for p := range days[k] {
				for h := range days[k][p] {
					days[k][p][h] = math.NaN()
				}
			}
			where[r.code] = r
		}
		for p, v := range r.values {
			days[k][p][r.at.Hour()] = v
		}
	}
	months := map[controlKey]*AirMonth{}
	add := func(of place, level string, k stationKey, s *stationDay) {
		key := controlKey{"", of.code, k.month}
		m := months[key]
		if m == nil {
			m = &AirMonth{Region: of.code, Name: of.name, Level: level, Month: k.month, stations: map[string]bool{}}
			months[key] = m
		}
		m.stations[k.station] = true
		index, valid := 0, true
		for p := range pollutants {
			v, ok := s.daily(p)
			valid = valid && ok
			if ok {
				index = max(index, subIndex(p, v))
			}
			if ok && p == pm25 {
				m.fineDustSum += v
				m.daysWithFineDust++
			}
		}
		if valid {
			m.ValidDays++
			if index <= 100 {
				m.GoodDays++
			}
		}
	}
	for k, s := range days {
		r := where[k.station]
		add(r.county, "county", k, s)
		add(r.of.place, "city", k, s)
		add(place{province, provinceName}, "province", k, s)
	}
	var out []AirMonth
	for _, m := range months {
		m.Stations = len(m.stations)
		m.FineDust = m.fineDustSum / float64(m.daysWithFineDust)
		out = append(out, *m)
	}
	slices.SortFunc(out, func(a, b AirMonth) int {
		return cmp.Or(cmp.Compare(a.Month, b.Month), cmp.Compare(a.Region, b.Region))
	})
	return out
}
