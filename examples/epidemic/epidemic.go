// Package epidemic says what must come out of the epidemic example, computed from the same two files with nothing of
// Headwater, so that a test can hold the warehouse against it.
package epidemic

import (
	"cmp"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Files of the folder of real data.
const (
	dailyFile   = "epidemic-china-daily.csv.gz"
	regionsFile = "regions-1981-2024.csv"
)

// ProvinceDay is a day on which a province reported something else than its cities' rows add up to.
type ProvinceDay struct {
	Date     string // 2020-02-27
	Province string // code
	Name     string
	Reported int64 // confirmed cases in the province's own row
	RolledUp int64 // confirmed cases in the rows of its "cities" of that day, those that are no region included
}

// Part is a "city" of the file that is no region: its figures belong to the province.
type Part struct {
	Province, Name string
	Codes          []string // that the file gives it, sorted; "" for none
	Rows           int
}

// Expectation is what the files hold.
type Expectation struct {
	Rows, Nation, Provinces, Cities int // Rows is the sum of the other three
	Uncoded                         int // rows of cities without a code
	OddCodes                        []string
	Parts                           []Part // by province and name
	PartRows                        int

	ProvinceDays     int           // rows of provinces
	DaysWithCities   int           // of them, those for whose day there are rows of cities
	Disagreements    []ProvinceDay // by date and code
	Confirmed, Cured int64         // of the nation on the last day
	LastDay          string
}

// Inexact is how many rows name a region in a way that is read with a warning: by name because the code is nobody's (公主岭,
// 梅河口 and 韩城, 279 rows each), or by a code that had ended (长垣县, 5 rows).
const Inexact = 3*279 + 5

// aliases are the names for which the example's mapping gives the code.
var aliases = map[string]string{"兴安盟乌兰浩特": "152201", "那曲": "540600", "平潭综": "350128"}

// Expected reads the folder of real data.
func Expected(dir string) (Expectation, error) {
	codes, names, err := readRegions(filepath.Join(dir, regionsFile))
	if err != nil {
		return Expectation{}, err
	}
	var e Expectation
	type day struct{ date, province string }
	reported := map[day]int64{}
	provinceNames := map[string]string{}
	summed := map[day]int64{}
	withCities := map[day]bool{}
	odd := map[string]bool{}
	parts := map[[2]string]*Part{}
	err = eachRow(filepath.Join(dir, dailyFile), func(row map[string]string) error {
		confirmed, err := strconv.ParseInt(row["confirmed"], 10, 64)
		if err != nil {
			return err
		}
		e.Rows++
		at := day{row["date"], row["provinceCode"]}
		switch {
		case row["province"] == "":
			e.Nation++
			if row["date"] > e.LastDay {
				e.LastDay, e.Confirmed = row["date"], confirmed
				if e.Cured, err = strconv.ParseInt(row["cured"], 10, 64); err != nil {
					return err
				}
			}
			return nil
		case row["city"] == "":
			e.Provinces++
			reported[at] += confirmed
			provinceNames[at.province] = row["province"]
			return nil
		}
		e.Cities++
		summed[at] += confirmed
		withCities[at] = true
		code, name := row["cityCode"], row["city"]
		if code == "" {
			e.Uncoded++
		} else if !isDigits(code) {
			odd[code] = true
		}
		if codes[code] || isRegion(names, row["provinceCode"], name) {
			return nil
		}
		p := parts[[2]string{row["province"], name}]
		if p == nil {
			p = &Part{Province: row["province"], Name: name}
			parts[[2]string{row["province"], name}] = p
		}
		p.Rows++
		if !slices.Contains(p.Codes, code) {
			p.Codes = append(p.Codes, code)
		}
		e.PartRows++
		return nil
	})
	if err != nil {
		return Expectation{}, err
	}
	for code := range odd {
		e.OddCodes = append(e.OddCodes, code)
	}
	slices.Sort(e.OddCodes)
	for _, p := range parts {
		slices.Sort(p.Codes)
		e.Parts = append(e.Parts, *p)
	}
	slices.SortFunc(e.Parts, func(a, b Part) int {
		return cmp.Or(cmp.Compare(a.Province, b.Province), cmp.Compare(a.Name, b.Name))
	})
	e.ProvinceDays, e.DaysWithCities = len(reported), len(withCities)
	for at, own := range reported {
		if withCities[at] && own != summed[at] {
			e.Disagreements = append(e.Disagreements, ProvinceDay{at.date, at.province, provinceNames[at.province], own, summed[at]})
		}
	}
	slices.SortFunc(e.Disagreements, func(a, b ProvinceDay) int {
		return cmp.Or(cmp.Compare(a.Date, b.Date), cmp.Compare(a.Province, b.Province))
	})
	return e, nil
}

func isDigits(code string) bool {
	return len(code) == 6 && strings.Trim(code, "0123456789") == ""
}

// isRegion reports whether a name, or the name with the suffix that the file has left out, is a region's in the province, or
// one that the mapping explains.
func isRegion(names map[string][]string, provinceCode, name string) bool {
	if aliases[name] != "" {
		return true
	}
	for _, full := range []string{name, name + "市", name + "省", name + "特别行政区"} {
		for _, code := range names[full] {
			if code[:2] == provinceCode[:2] {
				return true
			}
		}
	}
	return false
}

// readRegions returns all codes that ever were, and the codes by name.
func readRegions(path string) (codes map[string]bool, names map[string][]string, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	codes, names = map[string]bool{}, map[string][]string{}
	err = eachRecord(path, file, func(row map[string]string) error {
		codes[row["代码"]] = true
		names[row["名称"]] = append(names[row["名称"]], row["代码"])
		return nil
	})
	return codes, names, err
}

func eachRow(path string, each func(map[string]string) error) (err error) {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	text, err := gzip.NewReader(file)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return eachRecord(path, text, each)
}

// eachRecord reads a CSV with a header. The map is used again for the next record.
func eachRecord(path string, from io.Reader, each func(map[string]string) error) error {
	r := csv.NewReader(from)
	r.ReuseRecord = true
	first, err := r.Read()
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
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
			return fmt.Errorf("%s: %w", path, err)
		}
		for i, name := range header {
			row[name] = record[i]
		}
		if err := each(row); err != nil {
			line, _ := r.FieldPos(0)
			return fmt.Errorf("%s:%d: %w", path, line, err)
		}
	}
}
