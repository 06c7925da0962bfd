//go:build realdata

package schemas_test

import (
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/headwater-data/headwater/schemas"
)

// realdata opens a file of the folder that HEADWATER_REALDATA names, by default ../shared/data beside the repository.
func realdata(t *testing.T, name string) *os.File {
	t.Helper()
	folder := os.Getenv("HEADWATER_REALDATA")
	if folder == "" {
		folder = filepath.Join("..", "..", "shared", "data")
	}
	f, err := os.Open(filepath.Join(folder, name))
	if err != nil {
		t.Fatalf("%v: set HEADWATER_REALDATA to the folder that holds %s", err, name)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func importReal(t *testing.T) *schemas.Regions {
	t.Helper()
	r, problems := schemas.ImportRegions(realdata(t, "regions-1981-2024.csv"), "regions-1981-2024.csv")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return r
}

func TestRealListOfRegions(t *testing.T) {
	r := importReal(t)
	checkSound(t, r)
	codes, provinces, counties := map[string]bool{}, 0, 0
	for _, v := range r.All() {
		codes[v.Code] = true
		if v.To.IsZero() && v.Level == schemas.LevelProvince {
			provinces++
		}
		if v.To.IsZero() && v.Level == schemas.LevelCounty {
			counties++
		}
	}
	if len(codes) != 6451 || provinces != 34 || counties != 2846 {
		t.Errorf("got %d codes, %d provinces, %d counties, want 6450 and the nation, 34, 2846", len(codes), provinces, counties)
	}
	t.Logf("%d versions of %d codes", r.Len(), len(codes))

	// Every code that the list has ended resolves today to something that holds, or says between what it was divided.
	rules := map[string]int{}
	for code := range codes {
		got, err := r.Resolve(schemas.RegionQuery{Code: code})
		if err != nil {
			rule := err.(*schemas.RegionError).Rule
			rules[rule]++
			if v, _ := r.At(code, time.Time{}); rule == schemas.RuleRegionUnknown && v.Level != schemas.LevelCity {
				t.Errorf("%s %s: %v", code, v.Name, err)
			}
			continue
		}
		if v, ok := r.At(got.Code, time.Time{}); !ok || !v.To.IsZero() {
			t.Errorf("%s resolves to %s, which has ended", code, got.Code)
		}
		rules["resolved"]++
	}
	t.Logf("%v", rules)
	if rules["resolved"] < 6000 || rules["region.unknown"] > 100 {
		t.Errorf("got %v; only prefectures that the list ends without successor may be unknown", rules)
	}
	// Every region that holds is found by its full path.
	missed := 0
	for _, v := range r.All() {
		if !v.To.IsZero() || v.Level == schemas.LevelNation {
			continue
		}
		path := v.Name
		for p, ok := r.Parent(v.Code, time.Time{}); ok && p.Level != schemas.LevelNation; p, ok = r.Parent(p.Code, time.Time{}) {
			path = p.Name + path
		}
		if got, err := r.Resolve(schemas.RegionQuery{Name: path}); err != nil || got.Code != v.Code {
			missed++
			t.Errorf("%s: got %s, %v, want %s", path, got.Code, err, v.Code)
		}
	}
}

func TestRealListKeepsTheBuiltInDays(t *testing.T) {
	r := importReal(t)
	checkResolve(t, r, []resolveCase{
		{"下城区 on its last day", schemas.RegionQuery{Code: "330103"}, "2021-04-08", "330103", true, ""},
		{"下城区 a day later", schemas.RegionQuery{Code: "330103"}, "2021-04-09", "330105", false, "on 2021-04-09"},
		{"江干区 divided", schemas.RegionQuery{Code: "330104"}, "2021-04-09", "region.ambiguous", false, "330102 上城区 and 330114 钱塘区"},
		{"鼓楼区 alone", schemas.RegionQuery{Name: "鼓楼区"}, "2021-04-09", "region.ambiguous", false, "鼓楼区"},
		{"鼓楼区 in Fuzhou", schemas.RegionQuery{Name: "鼓楼区", Within: "350100"}, "2021-04-09", "350102", true, ""},
		{"西湖区 in Zhejiang", schemas.RegionQuery{Name: "西湖区", Within: "330000"}, "2021-04-09", "330106", true, ""},
		{"余姚 recoded four times", schemas.RegionQuery{Code: "332222"}, "2021-04-09", "330281", false, "余姚"},
		{"襄樊", schemas.RegionQuery{Name: "襄樊市"}, "2021-04-09", "420600", false, "襄阳市"},
		{"那曲地区 by its old code", schemas.RegionQuery{Code: "542400"}, "2020-03-01", "540600", false, "became 540600 那曲市 in 2017"},
		{"恩施", schemas.RegionQuery{Name: "恩施"}, "", "region.ambiguous", false, "恩施"},
		{"恩施州", schemas.RegionQuery{Name: "恩施州"}, "", "422800", true, ""},
		{"延边", schemas.RegionQuery{Name: "延边"}, "", "222400", true, ""},
		{"内蒙古", schemas.RegionQuery{Name: "内蒙古"}, "", "150000", true, ""},
	})
	zhejiang := 0
	for _, city := range r.Children("330000", day(t, "2021-04-09")) {
		zhejiang += len(r.Children(city.Code, day(t, "2021-04-09")))
	}
	if zhejiang != 90 {
		t.Errorf("got %d counties of Zhejiang, want 90", zhejiang)
	}
}

func TestRealSetKeepsItsBytes(t *testing.T) {
	set := schemas.Standard().WithRegions(importReal(t))
	began := time.Now()
	first, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	var back schemas.Set
	if err := json.Unmarshal(first, &back); err != nil {
		t.Fatal(err)
	}
	second, err := json.Marshal(&back)
	if err != nil || string(first) != string(second) {
		t.Errorf("other bytes after a round trip, %v", err)
	}
	t.Logf("%d bytes, written, read and written in %s", len(first), time.Since(began).Round(time.Millisecond))
}

// Every place of the epidemic data is a region, or is known to be none.
func TestRealEpidemicPlaces(t *testing.T) {
	r := importReal(t)
	zipped, err := gzip.NewReader(realdata(t, "epidemic-china-daily.csv.gz"))
	if err != nil {
		t.Fatal(err)
	}
	reader := csv.NewReader(zipped)
	header, err := reader.Read()
	if err != nil {
		t.Fatal(err)
	}
	column := map[string]int{}
	for i, name := range header {
		column[name] = i
	}
	none, notes, rows, noCode, noRegion := map[string]int{}, map[string]int{}, 0, 0, 0
	for {
		record, err := reader.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		rows++
		get := func(name string) string { return record[column[name]] }
		on := day(t, get("date"))
		if get("province") != "" {
			if got, err := r.Resolve(schemas.RegionQuery{Code: get("provinceCode"), Name: get("province"), On: on}); err != nil || !got.Exact {
				t.Fatalf("province %s: %v %v", get("province"), got, err)
			}
		}
		if get("city") == "" {
			continue
		}
		if get("cityCode") == "" {
			noCode++
		}
		got, err := r.Resolve(schemas.RegionQuery{Code: get("cityCode"), Name: get("city"), Within: get("provinceCode"), On: on})
		switch {
		case err != nil:
			place := get("province") + " " + get("city")
			if rule := err.(*schemas.RegionError).Rule; rule != schemas.RuleRegionUnknown && none[place] == 0 {
				t.Errorf("%s: %v", place, err)
			}
			none[place]++
			noRegion++
		case got.Note != "":
			notes[got.Note]++
		}
	}
	for place, n := range none {
		t.Logf("no region: %s (%d)", place, n)
	}
	for note, n := range notes {
		t.Logf("noted: %s (%d)", note, n)
	}
	// 88 places and 14,669 rows: 87 and 14,668 when 平潭综, a name cut short, is given its alias.
	if rows != 170477 || noCode != 994 || len(none) != 88 || noRegion != 14669 {
		t.Errorf("got %d rows, %d cities without code, %d places and %d rows that are no region", rows, noCode, len(none), noRegion)
	}
}
