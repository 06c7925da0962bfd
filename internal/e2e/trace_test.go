package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/xuri/excelize/v2"
)

// compareTrace holds a traced figure against the rows of the input files that it names.
func compareTrace(t *testing.T, p *project) {
	t.Helper()
	var figures []struct {
		Region string
		Value  float64
		Facts  []struct {
			Counted      bool
			Region, Feed string
			WhyNot       string `json:"why_not"`
			RegionName   string `json:"region_name"`
			Value        float64
			Place        string
			Row          int
			Topic        string
			Run, Mapping string
			Raw          map[string]string
		}
	}
	if err := json.Unmarshal([]byte(p.must(t, "trace", "LV-FACTORY", "杭州市", "2021-10", "--raw", "--json").out), &figures); err != nil {
		t.Fatal(err)
	}
	if len(figures) != 1 || figures[0].Region != "330100" {
		t.Fatalf("traced %v, want one figure of 330100", figures)
	}
	sum, sheets, reported := 0., 0, 0
	for _, f := range figures[0].Facts {
		if f.Topic == "" || f.Run == "" || f.Mapping == "" {
			t.Errorf("%s has no topic, run or mapping: %+v", f.RegionName, f)
		}
		if f.Counted {
			sum += f.Value
		}
		if !f.Counted {
			// The province's own figure for the city, which its counties outdo.
			reported++
			area, value := provinceRow(t, filepath.Join(p.dir, filepath.FromSlash(f.Place)), f.Row)
			if f.WhyNot != "lower level" || f.Region != area || value != f.Value || f.Raw["factory"] != fmt.Sprint(f.Value) || f.Raw["area.code"] != area {
				t.Errorf("%+v; the file has %s, %v in that row", f, area, value)
			}
			continue
		}
		file, sheet, ok := strings.Cut(f.Place, "!")
		if !ok {
			continue
		}
		sheets++
		county, value := sheetRow(t, filepath.Join(p.dir, filepath.FromSlash(file)), sheet, f.Row)
		if strings.TrimSpace(county) != f.RegionName || value != f.Value || f.Raw["县（市、区）"] != county {
			t.Errorf("%+v; the sheet has %s, %v in that row", f, county, value)
		}
		if raw, err := strconv.ParseFloat(f.Raw["食品生产企业阳光工厂-累计建成"], 64); err != nil || raw != f.Value {
			t.Errorf("%s: raw %v, want %v", f.RegionName, f.Raw, f.Value)
		}
	}
	if math.Abs(sum-figures[0].Value) > 1e-9 || sheets != 13 || reported != 1 {
		t.Errorf("facts add up to %v and the figure is %v; %d of them in sheets, want 13, and %d reported for the city, want 1", sum, figures[0].Value, sheets, reported)
	}
	for _, c := range []struct {
		args []string
		says []string
	}{
		{[]string{"NOPE", "330100", "2021-10"}, []string{"there is no indicator NOPE", "LV-FACTORY"}},
		{[]string{"LV-FACTORY", "火星", "2021-10"}, []string{"there is no region 火星"}},
		{[]string{"LV-FACTORY", "110000", "2021-10"}, []string{"there is no region 110000"}},
		{[]string{"LV-FACTORY", "330100", "2021-10", "--as-of", "yesterday"}, []string{"write a day such as"}},
		{[]string{"LV-FACTORY", "330100", "2021-10", "--as-of", "2001-01-01"}, []string{"nothing was known of LV-FACTORY at 330100 for 2021-10 by the end of 2001-01-01"}},
		{[]string{"LV-FACTORY", "330100", "2019-10"}, []string{"no figure at 330100 for 2019-10", "2021-03 to 2021-10"}},
	} {
		r := p.run(t, nil, append([]string{"trace"}, c.args...)...)
		for _, say := range c.says {
			if r.code != 2 || !strings.Contains(r.err, say) {
				t.Errorf("trace %v: exit code %d, %q; want 2 and %q", c.args, r.code, r.err, say)
			}
		}
	}
	now, known := p.must(t, "trace", "LV-FACTORY", "330100", "2021-10", "--json").out, p.must(t, "trace", "LV-FACTORY", "330100", "2021-10", "--as-of", "2140-01-01", "--json").out
	if now != known {
		t.Errorf("traced now and as known at a day to come:\n%s\n%s", now, known)
	}
	// Every figure is made of as many facts as lineage has of it.
	if got := p.one(t, `SELECT concat(toString(countIf(r.figures != l.facts)), ' ', toString(count() > 1000)) FROM indicator_rollup AS r
		LEFT JOIN (SELECT indicator, region, grain, period, countIf(counted = 1) AS facts FROM lineage GROUP BY ALL) AS l ON l.indicator = r.indicator AND l.region = r.region AND l.grain = r.grain AND l.period = r.period`); got != "0 1" {
		t.Errorf("figures with other facts, and whether there are many: %s, want 0 1", got)
	}
}

// provinceRow reads an entry of the province's table by its number.
func provinceRow(t *testing.T, name string, row int) (area string, factory float64) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var table struct {
		Rows []struct {
			Area    struct{ Code string }
			Factory string
		}
	}
	if err := json.Unmarshal(b, &table); err != nil {
		t.Fatal(err)
	}
	if row < 1 || row > len(table.Rows) {
		t.Fatalf("%s has no row %d", name, row)
	}
	r := table.Rows[row-1]
	if factory, err = strconv.ParseFloat(r.Factory, 64); err != nil {
		t.Fatal(err)
	}
	return r.Area.Code, factory
}

// sheetRow reads a row of the bureau's sheet as a person would: by the titles in its rows 3 and 4.
func sheetRow(t *testing.T, name, sheet string, row int) (county string, built float64) {
	t.Helper()
	book, err := excelize.OpenFile(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := book.Close(); err != nil {
			t.Error(err)
		}
	}()
	rows, err := book.GetRows(sheet, excelize.Options{RawCellValue: true})
	if err != nil {
		t.Fatal(err)
	}
	region, factory := slices.Index(rows[2], "县（市、区）"), slices.Index(rows[2], "食品生产企业阳光工厂")
	if region < 0 || factory < 0 || row > len(rows) || rows[3][factory] != "累计建成" {
		t.Fatalf("%s has titles %v and %v, and %d rows", name, rows[2], rows[3], len(rows))
	}
	if built, err = strconv.ParseFloat(rows[row-1][factory], 64); err != nil {
		t.Fatal(err)
	}
	return rows[row-1][region], built
}
