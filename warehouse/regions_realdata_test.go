//go:build realdata

package warehouse_test

import (
	"bytes"
	"os"
	"slices"
	"testing"

	"github.com/headwater-data/headwater/schemas"
)

// TestEveryCountySince2000OnTheBoundariesOfToday has a figure of 1 for each county that there was in June 2000, 2005, 2019 and 2024,
// by the list of all codes since 1981. Provinces and the nation have as many on the boundaries of today, and no share is guessed.
func TestEveryCountySince2000OnTheBoundariesOfToday(t *testing.T) {
	t.Parallel()
	list, err := os.ReadFile(realData(t, "regions-1981-2024.csv"))
	if err != nil {
		t.Fatal(err)
	}
	regions, problems := schemas.ImportRegions(bytes.NewReader(list), "regions-1981-2024.csv")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	b := migrated(t)
	if err := b.Sync(b.ctx, schemas.Standard().WithRegions(regions), []schemas.Indicator{indicator("I", "sum")}); err != nil {
		t.Fatal(err)
	}
	b.sql(`INSERT INTO $db.observation (indicator, region, grain, period, feed, value)
		SELECT 'I', code, 'month', toDateTime(concat(d, ' 00:00:00'), 'Asia/Shanghai'), 'direct', 1
		FROM (SELECT code, valid_from, valid_to, arrayJoin(['2000-06-01', '2005-06-01', '2019-06-01', '2024-06-01']) AS d FROM $db.region FINAL WHERE _deleted = 0 AND level = 'county')
		WHERE valid_from <= toDate32(d) AND (valid_to IS NULL OR valid_to > toDate32(d))`)
	if got, want := b.sql("SELECT toYear(period), level, count(), countIf(why = ''), sum(value) FROM $db.indicator_rollup_today WHERE indicator = 'I' AND level IN ('nation', 'county') GROUP BY ALL ORDER BY ALL"), []string{
		"2000\tcounty\t2827\t2376\t2605", "2000\tnation\t1\t1\t3073",
		"2005\tcounty\t2831\t2589\t2633", "2005\tnation\t1\t1\t2868",
		"2019\tcounty\t2842\t2773\t2806", "2019\tnation\t1\t1\t2878",
		"2024\tcounty\t2846\t2846\t2846", "2024\tnation\t1\t1\t2846",
	}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	// Of 杭州 eight districts and counties of June 2019 are whole, 下城 and 拱墅 together one of them.
	if got := b.sql("SELECT value, children_reporting, children, origins_reporting, origins FROM $db.indicator_rollup_today WHERE indicator = 'I' AND region = '330100' AND toYear(period) = 2019"); !slices.Equal(got, []string{"13\t8\t13\t13\t13"}) {
		t.Errorf("杭州 in 2019: %v", got)
	}
	if got := b.sql("SELECT countIf(a.value != n.value OR isNull(n.value)), count() FROM (SELECT * FROM $db.indicator_rollup WHERE level = 'province') AS a FULL JOIN (SELECT * FROM $db.indicator_rollup_today WHERE level = 'province') AS n USING (indicator, region, period)"); !slices.Equal(got, []string{"0\t124"}) {
		t.Errorf("provinces that differ, and all: %v", got)
	}
}
