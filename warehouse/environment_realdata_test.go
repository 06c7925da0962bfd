//go:build realdata

package warehouse_test

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func realData(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(os.Getenv("HEADWATER_REALDATA"), name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: set HEADWATER_REALDATA to the folder with the real data", err)
	}
	return path
}

// TestPublishedIndicesOfRealStations computes the index of 1,475 national stations that publish one. 190 of them differ; they are
// those where ozone decides, whose published field seems to belong to another hour.
func TestPublishedIndicesOfRealStations(t *testing.T) {
	t.Parallel()
	b := analysis(t)
	f, err := os.Open(realData(t, "air-stations-2018-02-20T07.geojson.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Features []struct{ Properties map[string]string }
	}
	if err := json.NewDecoder(unzipped).Decode(&file); err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, s := range file.Features {
		value := func(key string) string {
			if v := s.Properties[key]; v != "" && v != "-;" {
				return v
			}
			return "NULL"
		}
		rows = append(rows, fmt.Sprintf("('%s', '2018-02-20 07:00:00', '110000', %s, %s, %s, %s, %s, %s, %s)", s.Properties["stationcode"],
			value("so2"), value("no2"), value("pm10"), value("co"), value("o3"), value("pm2_5"), value("aqi")))
	}
	b.sql("INSERT INTO $db.air_reading (station, at, region, so2, no2, pm10, co, o3, pm25, published_aqi) VALUES " + strings.Join(rows, ","))
	// Where the two differ, the other five pollutants alone stay below both or give what is published.
	got := b.sql(`SELECT countIf(isNotNull(published_aqi)), countIf(published_aqi = aqi),
		countIf(published_aqi != aqi AND aqi != iaqi_o3 AND published_aqi < greatest(ifNull(iaqi_so2, 0), ifNull(iaqi_no2, 0), ifNull(iaqi_pm10, 0), ifNull(iaqi_co, 0), ifNull(iaqi_pm25, 0)))
		FROM $db.air_quality_hour`)
	if len(got) != 1 || got[0] != "1475\t1285\t0" {
		t.Errorf("stations that publish, that agree, that differ in something else than ozone: %v, want 1475, 1285 and 0", got)
	}
}

// TestGoodDaysOfTwelveRealStations counts the good days of 2016 at the twelve stations of Beijing: 2191 of 4105 valid days under the
// standard of 2012, 1915 under that of 2026.
func TestGoodDaysOfTwelveRealStations(t *testing.T) {
	t.Parallel()
	b := analysis(t)
	archive, err := zip.OpenReader(realData(t, "beijing-air-stations-2013-2017.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	files := 0
	for _, member := range archive.File {
		if !strings.HasSuffix(member.Name, ".csv") {
			continue
		}
		files++
		r, err := member.Open()
		if err != nil {
			t.Fatal(err)
		}
		lines, err := csv.NewReader(r).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Close() // read to its end
		at := map[string]int{}
		for i, name := range lines[0] {
			at[name] = i
		}
		var out bytes.Buffer
		for _, l := range lines[1:] {
			if l[at["year"]] != "2016" {
				continue
			}
			value := func(key string) string {
				if v := l[at[key]]; v != "NA" {
					return v
				}
				return "NULL"
			}
			fmt.Fprintf(&out, "('%s', toDateTime64('%s-%02s-%02s %02s:00:00', 3, 'Asia/Shanghai'), '110105', %s, %s, %s, %s / 1000, %s, %s),", l[at["station"]], l[at["year"]], l[at["month"]], l[at["day"]], l[at["hour"]],
				value("SO2"), value("NO2"), value("PM10"), value("CO"), value("O3"), value("PM2.5"))
		}
		b.sql("INSERT INTO $db.air_reading (station, at, region, so2, no2, pm10, co, o3, pm25) VALUES " + strings.TrimSuffix(out.String(), ","))
	}
	if files != 12 {
		t.Fatalf("%d files, want 12", files)
	}
	got := b.sql("SELECT sum(valid_days), sum(good_days), sum(good_days_2012), sum(good_days_2026) FROM $db.environment_quality WHERE region = '110000'")
	if len(got) != 1 || got[0] != "4105\t2191\t2191\t1915" {
		t.Errorf("valid days, good days, under 2012, under 2026: %v, want 4105 2191 2191 1915", got)
	}
}
