// Package air says what must come out of the air example, computed from the same files with nothing of Headwater, so that a
// test can hold the warehouse against it.
package air

import (
	"archive/zip"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Files of the folder of real data.
const (
	beijingFile  = "beijing-air-stations-2013-2017.zip"
	stationsFile = "air-stations-2018-02-20T07.geojson.gz"
	regionsFile  = "regions-1981-2024.csv"
)

// StreamCount is what must become of one stream's rows. Read = Loaded + Quarantined + Filtered, always.
type StreamCount struct {
	Source, Stream string
	Read           int
	Loaded         int            // source rows of which there are records
	Records        int            // records of the standard schema
	Quarantined    map[string]int // source rows by the rule that they break
	Filtered       map[string]int // source rows by the filter that leaves them out
	Flagged        map[string]int // records by the warning that they are flagged with
}

// Total is one indicator's records of one source.
type Total struct {
	Source, Indicator string
	Count             int
	Sum, Min, Max     float64 // in the indicator's unit
}

// Expectation is what the files hold.
type Expectation struct {
	Streams      []StreamCount
	Totals       []Total  // by source and indicator
	Members      int      // files in Beijing's zip
	Stations     []string // of Beijing, sorted
	Areas        int      // names of areas in the stations' file
	Unresolved   []string // of them, those that are no city of the day by that name, sorted
	Moved        []string // of those, names of cities that had become districts, which the reference resolves with a note
	Divided      []string // of those, names that became several districts, which nobody can resolve
	UnknownAreas []string // of those, the ones that only the mapping's aliases explain
}

// Expected reads the folder of real data.
func Expected(dir string) (Expectation, error) {
	e := Expectation{}
	totals := map[[2]string]*Total{}
	if err := e.beijing(filepath.Join(dir, beijingFile), totals); err != nil {
		return Expectation{}, err
	}
	if err := e.stations(filepath.Join(dir, stationsFile), filepath.Join(dir, regionsFile), totals); err != nil {
		return Expectation{}, err
	}
	for _, t := range totals {
		e.Totals = append(e.Totals, *t)
	}
	slices.SortFunc(e.Totals, func(a, b Total) int {
		return strings.Compare(a.Source+"/"+a.Indicator, b.Source+"/"+b.Indicator)
	})
	return e, nil
}

func newCount(source, stream string) StreamCount {
	return StreamCount{Source: source, Stream: stream, Quarantined: map[string]int{}, Filtered: map[string]int{}, Flagged: map[string]int{}}
}

func add(totals map[[2]string]*Total, source, indicator string, value float64) {
	t := totals[[2]string{source, indicator}]
	if t == nil {
		t = &Total{Source: source, Indicator: indicator, Min: value, Max: value}
		totals[[2]string{source, indicator}] = t
	}
	t.Count++
	t.Sum += value
	t.Min, t.Max = min(t.Min, value), max(t.Max, value)
}

// beijingColumns are the columns of the first stream; CO has a stream of its own, for its unit.
var beijingColumns = []struct{ column, indicator string }{
	{"PM2.5", "AIR-PM25"}, {"PM10", "AIR-PM10"}, {"SO2", "AIR-SO2"}, {"NO2", "AIR-NO2"}, {"O3", "AIR-O3"},
}

func (e *Expectation) beijing(path string, totals map[[2]string]*Total) (err error) {
	archive, err := zip.OpenReader(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer func() { err = errors.Join(err, archive.Close()) }()
	readings, monoxide := newCount("beijing", "readings"), newCount("beijing", "carbon-monoxide")
	stations := map[string]bool{}
	for _, member := range archive.File {
		e.Members++
		if err := eachMemberRow(member, func(row map[string]string) error {
			stations[row["station"]] = true
			for _, s := range []struct {
				count   *StreamCount
				columns []struct{ column, indicator string }
				scale   float64
			}{{&readings, beijingColumns, 1}, {&monoxide, []struct{ column, indicator string }{{"CO", "AIR-CO"}}, 0.001}} {
				s.count.Read++
				records := 0
				for _, c := range s.columns {
					if row[c.column] == "NA" {
						continue
					}
					value, err := strconv.ParseFloat(row[c.column], 64)
					if err != nil {
						return err
					}
					add(totals, "beijing", c.indicator, value*s.scale)
					records++
				}
				if records == 0 {
					s.count.Filtered["unpivot.empty"]++
					continue
				}
				s.count.Loaded++
				s.count.Records += records
			}
			return nil
		}); err != nil {
			return fmt.Errorf("%s!%s: %w", path, member.Name, err)
		}
	}
	e.Stations = slices.Sorted(maps.Keys(stations))
	e.Streams = append(e.Streams, monoxide, readings)
	return nil
}

func eachMemberRow(member *zip.File, each func(map[string]string) error) (err error) {
	text, err := member.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, text.Close()) }()
	return eachRow(text, each)
}

// eachRow reads a CSV with a header. The map is used again for the next row.
func eachRow(from io.Reader, each func(map[string]string) error) error {
	r := csv.NewReader(from)
	r.ReuseRecord = true
	first, err := r.Read()
	if err != nil {
		return err
	}
	header := slices.Clone(first)
	header[0] = strings.TrimPrefix(header[0], "\ufeff")
	row := make(map[string]string, len(header))
	for {
		record, err := r.Read()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		for i, name := range header {
			row[name] = record[i]
		}
		if err := each(row); err != nil {
			line, _ := r.FieldPos(0)
			return fmt.Errorf("line %d: %w", line, err)
		}
	}
}

// stationColumns are the properties of a station that are read.
var stationColumns = []struct{ property, indicator string }{
	{"aqi", "AIR-AQI"}, {"pm2_5", "AIR-PM25"}, {"pm10", "AIR-PM10"}, {"so2", "AIR-SO2"}, {"no2", "AIR-NO2"}, {"o3", "AIR-O3"}, {"co", "AIR-CO"},
}

// stationsYear is the year of the hour that the stations' file is about.
const stationsYear = 2018

func (e *Expectation) stations(path, regionsPath string, totals map[[2]string]*Total) error {
	regions, err := readRegions(regionsPath)
	if err != nil {
		return fmt.Errorf("%s: %w", regionsPath, err)
	}
	features, err := readFeatures(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	kind := map[string]string{}
	for _, p := range features {
		area := p["area"]
		if _, ok := kind[area]; ok {
			continue
		}
		kind[area] = regions.kind(area)
		if !regions.isCity(area) {
			e.Unresolved = append(e.Unresolved, area)
		}
		switch kind[area] {
		case "moved":
			e.Moved = append(e.Moved, area)
		case "divided":
			e.Divided = append(e.Divided, area)
		case "unknown":
			e.UnknownAreas = append(e.UnknownAreas, area)
		}
	}
	e.Areas = len(kind)
	for _, list := range [][]string{e.Unresolved, e.Moved, e.Divided, e.UnknownAreas} {
		slices.Sort(list)
	}
	count := newCount("stations", "hour")
	for _, p := range features {
		count.Read++
		if kind[p["area"]] == "divided" {
			count.Quarantined["region.ambiguous"]++
			continue
		}
		records := 0
		for _, c := range stationColumns {
			if p[c.property] == "-;" {
				continue
			}
			value, err := strconv.ParseFloat(p[c.property], 64)
			if err != nil {
				return fmt.Errorf("%s: station %s: %w", path, p["stationcode"], err)
			}
			add(totals, "stations", c.indicator, value)
			records++
		}
		if records == 0 {
			count.Filtered["unpivot.empty"]++
			continue
		}
		count.Loaded++
		count.Records += records
		if kind[p["area"]] == "moved" {
			count.Flagged["region.inexact"] += records
		}
	}
	e.Streams = append(e.Streams, count)
	return nil
}

func readFeatures(path string) (all []map[string]string, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	text, err := gzip.NewReader(file)
	if err != nil {
		return nil, err
	}
	var document struct {
		Features []struct {
			Properties map[string]string `json:"properties"`
		} `json:"features"`
	}
	if err := json.NewDecoder(text).Decode(&document); err != nil {
		return nil, err
	}
	for _, f := range document.Features {
		all = append(all, f.Properties)
	}
	return all, nil
}

// region is a line of the list of codes.
type region struct {
	level      string
	from, to   int // years; to is 0 while the code is in use, and the last year in which it held
	successors []string
}

type regionList map[string][]region

func readRegions(path string) (list regionList, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	list = regionList{}
	err = eachRow(file, func(row map[string]string) error {
		var r region
		r.level = row["级别"]
		var err error
		if r.from, err = strconv.Atoi(row["启用时间"]); err != nil {
			return err
		}
		if text := row["变更/弃用时间"]; text != "" {
			if r.to, err = strconv.Atoi(text); err != nil {
				return err
			}
		}
		for _, s := range strings.Split(row["新代码"], ";") {
			// With a year in brackets only a part of the area went there.
			if s != "" && !strings.Contains(s, "[") {
				r.successors = append(r.successors, s)
			}
		}
		list[row["名称"]] = append(list[row["名称"]], r)
		return nil
	})
	return list, err
}

func (l regionList) isCity(name string) bool {
	return slices.ContainsFunc(l[name], func(r region) bool {
		return (r.level == "地级" || r.level == "省级") && (r.to == 0 || r.to >= stationsYear)
	})
}

// kind says how a name resolves: "" to a region of the year, "moved" through one successor, "divided" when there are several,
// "unknown" when the list does not know it or not what became of it.
func (l regionList) kind(name string) string {
	var last region
	for _, r := range l[name] {
		if r.to == 0 || r.to >= stationsYear {
			return ""
		}
		if r.to > last.to {
			last = r
		}
	}
	switch len(last.successors) {
	case 0:
		return "unknown"
	case 1:
		return "moved"
	default:
		return "divided"
	}
}
