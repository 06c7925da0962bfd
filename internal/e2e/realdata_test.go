//go:build realdata

package e2e

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/headwater-data/headwater/examples/air"
	"github.com/headwater-data/headwater/examples/epidemic"
)

// example copies an example project into a folder of its own.
func example(t *testing.T, name string) *project {
	t.Helper()
	p := &project{dir: t.TempDir()}
	if err := os.CopyFS(p.dir, os.DirFS(filepath.Join("..", "..", "examples", name))); err != nil {
		t.Fatal(err)
	}
	return p
}

func realData(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("HEADWATER_REALDATA")
	if dir == "" {
		t.Fatal("HEADWATER_REALDATA names no folder: see the examples' README.md for the files that belong there")
	}
	return dir
}

func TestEpidemicIsLoadedAndThe863ProvinceDaysAreFound(t *testing.T) {
	want, err := epidemic.Expected(realData(t))
	if err != nil {
		t.Fatal(err)
	}
	p := example(t, "epidemic")
	p.must(t, "run")
	p.balanced(t)
	if got := p.one(t, "SELECT concat(toString(extracted), ' ', toString(loaded), ' ', toString(records)) FROM ledger_balance WHERE scope = 'total'"); got != fmt.Sprint(want.Rows, want.Rows, 4*want.Rows) {
		t.Errorf("extracted, loaded, records: %s", got)
	}
	// Every "city" that is no region is named, under its province.
	parts := map[string]int{}
	for _, part := range want.Parts {
		parts[part.Province+" "+part.Name] = part.Rows
	}
	for _, r := range p.query(t, `SELECT p.name AS province, o.member AS member, count() AS rows FROM observation_current AS o
		INNER JOIN (SELECT code, any(name) AS name FROM region FINAL WHERE level = 'province' GROUP BY code) AS p ON p.code = toString(o.region)
		WHERE o.member != '' AND o.indicator = 'EP-CONFIRMED' GROUP BY p.name, o.member`) {
		name := fmt.Sprint(r["province"], " ", r["member"])
		if fmt.Sprint(r["rows"]) != strconv.Itoa(parts[name]) {
			t.Errorf("%s: %v rows, want %d", name, r["rows"], parts[name])
		}
		delete(parts, name)
	}
	if len(parts) > 0 {
		t.Errorf("not in the warehouse: %v", parts)
	}
	// The view finds exactly the province-days that a plain computation over the file finds.
	disagree := map[string]string{}
	for _, d := range want.Disagreements {
		disagree[d.Date+" "+d.Province] = fmt.Sprint(d.Reported, d.RolledUp)
	}
	if len(disagree) != 863 || want.DaysWithCities > want.ProvinceDays || want.ProvinceDays != 11_023 {
		t.Fatalf("the file is another one: %d disagreements, %d province-days", len(disagree), want.ProvinceDays)
	}
	rows := p.query(t, `SELECT toString(toDate(period, 'Asia/Shanghai')) AS day, region, toInt64(reported) AS reported, toInt64(rolled_up) AS rolled_up
		FROM indicator_reconciliation WHERE indicator = 'EP-CONFIRMED' AND level = 'province' AND agrees = 0`)
	if len(rows) != 863 {
		t.Errorf("%d province-days disagree, want 863", len(rows))
	}
	for _, r := range rows {
		key := fmt.Sprint(r["day"], " ", r["region"])
		if got := fmt.Sprint(r["reported"], " ", r["rolled_up"]); got != disagree[key] {
			t.Errorf("%s: reported and rolled up %s, want %s", key, got, disagree[key])
		}
	}
	if got, want := p.one(t, "SELECT toInt64(value) FROM observation_current WHERE indicator = 'EP-CONFIRMED' AND region = '100000' ORDER BY period DESC LIMIT 1"), strconv.FormatInt(want.Confirmed, 10); got != want {
		t.Errorf("confirmed in the nation on the last day: %s, want %s", got, want)
	}
	// The demonstration index, of the nation by the plain formula of each of its two versions.
	index := map[string]float64{}
	for _, r := range p.query(t, `SELECT c.version AS version, toString(min(c.day)) AS first, count() AS days, max(abs(c.score - c.plain)) < 1e-9 AS same FROM
		(SELECT version, toDate(period, 'Asia/Shanghai') AS day, any(score) AS score,
			sumIf(value, component = 'EP-CONFIRMED') AS confirmed, sumIf(value, component = 'EP-DEAD') AS dead, sumIf(value, component = 'EP-CURED') AS cured,
			multiIf(confirmed <= 100, 100 - confirmed / 5, confirmed <= 1000, 80 - (confirmed - 100) * 2 / 45, confirmed <= 10000, 40 - (confirmed - 1000) / 225, 0) AS cases,
			if(version = '1.0', 0.6 * cases + 0.4 * greatest(0, 100 - dead), 0.4 * cases + 0.3 * greatest(0, 100 - dead) + 0.3 * least(100, cured / 10)) AS plain
		FROM index_component WHERE index = 'EP-CONTROL' AND region IN ('330000', '420000', '100000') GROUP BY version, region, period) AS c GROUP BY version`) {
		if fmt.Sprint(r["same"]) != "1" {
			t.Errorf("version %v of the index differs from its formula", r["version"])
		}
		days, err := strconv.ParseFloat(fmt.Sprint(r["days"]), 64)
		if err != nil {
			t.Fatal(err)
		}
		index[fmt.Sprint(r["version"])] = days
		if fmt.Sprint(r["version"]) == "2.0" && r["first"] != "2020-03-01" {
			t.Errorf("version 2.0 begins on %v", r["first"])
		}
	}
	if len(index) != 2 || index["1.0"] < 100 || index["2.0"] < 600 {
		t.Errorf("days by version: %v", index)
	}
	p.must(t, "run")
	if got := p.one(t, "SELECT count() FROM observation"); got != strconv.Itoa(4*want.Rows) {
		t.Errorf("a second run changed the number of records to %s", got)
	}
}

func TestAirIsLoaded(t *testing.T) {
	want, err := air.Expected(realData(t))
	if err != nil {
		t.Fatal(err)
	}
	p := example(t, "air")
	p.must(t, "run")
	p.balanced(t)
	for _, s := range want.Streams {
		quarantined, filtered := 0, 0
		for _, n := range s.Quarantined {
			quarantined += n
		}
		for _, n := range s.Filtered {
			filtered += n
		}
		got := p.one(t, fmt.Sprintf("SELECT concat(toString(sum(extracted)), ' ', toString(sum(loaded)), ' ', toString(sum(quarantined)), ' ', toString(sum(filtered)), ' ', toString(sum(records))) FROM ledger FINAL WHERE source = '%s' AND stream = '%s'", s.Source, s.Stream))
		if wanted := fmt.Sprint(s.Read, s.Loaded, quarantined, filtered, s.Records); got != wanted {
			t.Errorf("%s/%s: extracted, loaded, quarantined, filtered, records %s, want %s", s.Source, s.Stream, got, wanted)
		}
	}
	for _, total := range want.Totals {
		r := p.query(t, fmt.Sprintf("SELECT count() AS n, sum(value) AS sum, min(value) AS min, max(value) AS max FROM observation WHERE _source = '%s' AND indicator = '%s'", total.Source, total.Indicator))[0]
		if fmt.Sprint(r["n"]) != strconv.Itoa(total.Count) {
			t.Errorf("%s %s: %v records, want %d", total.Source, total.Indicator, r["n"], total.Count)
		}
		for name, value := range map[string]float64{"sum": total.Sum, "min": total.Min, "max": total.Max} {
			got, err := strconv.ParseFloat(fmt.Sprint(r[name]), 64)
			if err != nil || math.Abs(got-value) > 1e-9*math.Max(1, math.Abs(value)) {
				t.Errorf("%s %s: %s %v, want %v", total.Source, total.Indicator, name, r[name], value)
			}
		}
	}
}
