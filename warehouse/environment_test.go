package warehouse_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestSubIndices holds the sub-indices against concentrations and results that were computed from the tables of HJ 633-2012 and
// HJ 633—2026 and agree with a published test file where they overlap.
func TestSubIndices(t *testing.T) {
	t.Parallel()
	b := analysis(t)
	// Hourly: one reading an hour, so that each is judged by itself.
	type reading struct {
		column, concentration string
		year                  int
		want                  string
	}
	var hourly []reading
	add := func(column, concentration, until2026, since2026 string) {
		hourly = append(hourly, reading{column, concentration, 2020, until2026}, reading{column, concentration, 2027, since2026})
	}
	for c, w := range map[string][2]string{"0": {"0", "0"}, "2": {"3", "3"}, "35": {"50", "50"}, "36": {"52", "52"}, "60": {"82", "100"}, "75": {"100", "114"}, "76": {"102", "115"}, "115": {"150", "150"}, "131": {"173", "173"}, "180": {"230", "230"}, "300": {"350", "350"}, "600": {"500", "500"}, "35.5": {"52", "52"}, "34.5": {"49", "49"}} {
		add("pm25", c, w[0], w[1])
	}
	for c, w := range map[string][2]string{"51": {"51", "51"}, "120": {"85", "100"}, "150": {"100", "112"}, "151": {"101", "112"}} {
		add("pm10", c, w[0], w[1])
	}
	for _, c := range [][3]string{{"no2", "350", "115"}, {"o3", "250", "125"}, {"so2", "475", "97"}, {"so2", "900", "200"}, {"co", "8", "80"}, {"co", "1.25", "12"}, {"co", "1.35", "14"}} {
		add(c[0], c[1], c[2], c[2])
	}
	for i, h := range hourly {
		b.sql(fmt.Sprintf("INSERT INTO $db.air_reading (station, at, region, %s) VALUES ('S%d', '%d-06-01 08:00:00', '330102', %s)", h.column, i, h.year, h.concentration))
	}
	got := map[string]string{}
	for _, line := range b.sql("SELECT station, coalesce(iaqi_so2, iaqi_no2, iaqi_pm10, iaqi_co, iaqi_o3, iaqi_pm25), aqi FROM $db.air_quality_hour") {
		f := strings.Split(line, "\t")
		got[f[0]] = f[1]
		if f[1] != f[2] {
			t.Errorf("station %s has the sub-index %s and the index %s", f[0], f[1], f[2])
		}
	}
	for i, h := range hourly {
		if g := got[fmt.Sprintf("S%d", i)]; g != h.want {
			t.Errorf("%s %s in %d: sub-index %s, want %s", h.column, h.concentration, h.year, g, h.want)
		}
	}
}

// TestAValidDay computes a day whose indices are known: 109 under the standard of 2012, 120 under that of 2026.
func TestAValidDay(t *testing.T) {
	t.Parallel()
	b := analysis(t)
	for _, c := range []struct {
		station, from, filter string
	}{
		{"2012", "2021-06-01", "1"}, {"2026", "2026-06-01", "1"},
		{"short", "2021-06-01", "number < 19"},                    // too few hours for a mean, yet fourteen windows of ozone
		{"windows", "2021-06-01", "number NOT IN (2, 9, 15, 20)"}, // twenty hours, and windows with at least six hours, are enough
	} {
		b.sql(fmt.Sprintf(`INSERT INTO $db.air_reading (station, at, region, so2, no2, pm10, co, o3, pm25)
			SELECT '%s', toDateTime64('%s 00:00:00', 3, 'Asia/Shanghai') + toIntervalHour(number), '330102', 9, 48, 120, 0.9, 92, 82 FROM numbers(24) WHERE %s`, c.station, c.from, c.filter))
	}
	want := map[string]string{
		"2012":    "2012\t1\t109\t109\t120\t['pm25']\t轻度污染\t9\t60\t85\t23\t46\t109",
		"2026":    "2026\t1\t120\t109\t120\t['pm25']\t轻度污染\t9\t60\t100\t23\t46\t120",
		"short":   "2012\t0\t\\N\t\\N\t\\N\t[]\t\t\\N\t\\N\t\\N\t\\N\t46\t\\N",
		"windows": "2012\t1\t109\t109\t120\t['pm25']\t轻度污染\t9\t60\t85\t23\t46\t109",
	}
	for _, line := range b.sql("SELECT station, standard, valid, aqi, aqi_2012, aqi_2026, primary_pollutants, band, iaqi_so2, iaqi_no2, iaqi_pm10, iaqi_co, iaqi_o3, iaqi_pm25 FROM $db.air_quality_day") {
		station, rest, _ := strings.Cut(line, "\t")
		if rest != want[station] {
			t.Errorf("station %s: got %q, want %q", station, rest, want[station])
		}
		delete(want, station)
	}
	if len(want) > 0 {
		t.Errorf("no day of %v", want)
	}
}

// TestEnvironmentIsRolledUpByRatiosOfSums has two counties of one city with different numbers of valid days and sections.
func TestEnvironmentIsRolledUpByRatiosOfSums(t *testing.T) {
	t.Parallel()
	b := analysis(t)
	fill := func(station, region string, days, pm25 int) {
		b.sql(fmt.Sprintf(`INSERT INTO $db.air_reading (station, at, region, so2, no2, pm10, co, o3, pm25)
			SELECT '%s', toDateTime64('2021-06-01 00:00:00', 3, 'Asia/Shanghai') + toIntervalHour(number), '%s', 9, 30, 40, 0.9, 92, %d FROM numbers(%d)`, station, region, pm25, 24*days))
	}
	fill("A", "330203", 10, 20)
	fill("B", "330205", 2, 80) // 107 under 2012
	fill("C", "330102", 3, 65) // 88 under 2012, 105 under 2026
	b.sql(`INSERT INTO $db.water_reading (section, month, region, class) VALUES ('W1','2021-06-01','330203','2'),('W2','2021-06-01','330203','3'),('W3','2021-06-01','330205','6'),('W4','2021-06-01','330102','4'),('W5','2021-06-01','330102',NULL)`)
	want := map[string]string{
		"330203": "1\t10\t10\t10\t10\t2\t2\t0",
		"330205": "1\t2\t0\t0\t0\t1\t0\t1",
		"330200": "2\t12\t10\t10\t10\t3\t2\t1",
		"330102": "1\t3\t3\t3\t0\t1\t0\t0",
		"330100": "1\t3\t3\t3\t0\t1\t0\t0",
		"330000": "3\t15\t13\t13\t10\t4\t2\t1",
		"100000": "3\t15\t13\t13\t10\t4\t2\t1",
	}
	for _, line := range b.sql("SELECT region, stations, valid_days, good_days, good_days_2012, good_days_2026, sections, good_sections, bad_sections, good_share, good_days / valid_days FROM $db.environment_quality") {
		f := strings.Split(line, "\t")
		if got := strings.Join(f[1:9], "\t"); got != want[f[0]] || f[9] != f[10] {
			t.Errorf("region %s: got %q and the share %s, want %q", f[0], got, f[9], want[f[0]])
		}
		delete(want, f[0])
	}
	if len(want) > 0 {
		t.Errorf("nothing of %v", want)
	}
}
