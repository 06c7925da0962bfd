package livelihood_test

import (
	"maps"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/headwater-data/headwater/examples/exampletest"
	"github.com/headwater-data/headwater/examples/livelihood"
)

// What the connectors and mappings make of the files is what the generator expects of its own rows.
func TestMappingsMakeOfTheFilesWhatIsExpected(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := livelihood.Write(dir); err != nil {
		t.Fatal(err)
	}
	type key struct{ indicator, region, period string }
	values := map[key]float64{}
	targets := map[key]float64{}
	var personal []string
	controls := 0
	outcomes := exampletest.Run(t, dir, func(stream string, records arrow.Record) {
		for row := range int(records.NumRows()) {
			r := exampletest.At(records, row)
			switch {
			case stream == "hotline-12345/cases":
				personal = append(personal, r["phone"], r["caller"], r["caller_id"])
			case stream == "targets/breakdown":
				targets[key{r["indicator"], r["region"], r["year"]}] = number(t, r["value"])
			case stream == "epidemic-2020/daily":
				if r["region"] == "330000" && r["level"] == "city" && r["member"] == "" {
					t.Errorf("a city's row counts as the province's own: %v", r)
				}
			case strings.HasPrefix(stream, "health-daily/") || stream == "transport-daily/daily":
				controls++
				if r["period"] == "" || r["region"][:2] != "33" || r["region"][4:] == "00" {
					t.Errorf("%s: %v", stream, r)
				}
			case !strings.HasPrefix(stream, "air-stations/"):
				values[key{r["indicator"], r["region"], r["period"][:7]}] += number(t, r["value"])
			}
		}
	})
	e := livelihood.Expected()
	for _, want := range e.Streams {
		name := want.Source + "/" + want.Stream
		got := outcomes[name]
		if got == nil {
			t.Errorf("%s was not read", name)
			continue
		}
		if got.Read != want.Read || got.Loaded != want.Loaded || got.Records != want.Records {
			t.Errorf("%s: read %d, loaded %d, records %d; want %d, %d, %d", name, got.Read, got.Loaded, got.Records, want.Read, want.Loaded, want.Records)
		}
		for what, pair := range map[string][2]map[string]int{"quarantined": {got.Quarantined, want.Quarantined}, "filtered": {got.Filtered, want.Filtered}, "flagged": {got.Flagged, want.Flagged}} {
			if !maps.Equal(pair[0], pair[1]) {
				t.Errorf("%s: %s %v, want %v; such as %v", name, what, pair[0], pair[1], got.Examples)
			}
		}
	}
	for _, d := range e.Disagreements {
		period := livelihood.Month(d.Month).Format("2006-01")
		if got := values[key{d.Indicator, d.Region, period}]; got != d.Reported {
			t.Errorf("%s of %s in %s is reported as %g, want %g", d.Indicator, d.Name, period, got, d.Reported)
		}
	}
	for _, f := range e.Rollup {
		if got := targets[key{f.Indicator, f.Region, "2021"}]; got != f.Target {
			t.Errorf("the target of %s for %s is %g, want %g", f.Indicator, f.Name, got, f.Target)
		}
		if f.Level != "city" || f.Indicator == "LV-CANTEEN" {
			continue
		}
		var sum float64
		period := livelihood.Month(f.Month).Format("2006-01")
		for k, v := range values {
			if k.indicator == f.Indicator && k.period == period && k.region != f.Region && strings.HasPrefix(k.region, f.Region[:4]) {
				sum += v
			}
		}
		if math.Abs(sum-f.Value) > 1e-6 {
			t.Errorf("%s of the counties of %s in %s is %g, want %g", f.Indicator, f.Name, period, sum, f.Value)
		}
	}
	if controls < 7000 {
		t.Errorf("%d figures of the control index", controls)
	}
	for _, text := range personal {
		if text != "" && !strings.HasPrefix(text, "k1:") && !strings.HasSuffix(text, "*") {
			t.Fatalf("%q is neither a hash nor a masked name", text)
		}
	}
}

func number(t *testing.T, text string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
