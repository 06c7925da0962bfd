//go:build realdata

package epidemic_test

import (
	"cmp"
	"maps"
	"os"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/headwater-data/headwater/examples/epidemic"
	"github.com/headwater-data/headwater/examples/exampletest"
)

// The mapping makes of the file what is expected: no row is lost, every part that is no region is named, and the province-days
// that disagree are those that a plain computation finds.
func TestMappingMakesOfTheFileWhatIsExpected(t *testing.T) {
	t.Parallel()
	e, err := epidemic.Expected(cmp.Or(os.Getenv("HEADWATER_REALDATA"), "../../../shared/data"))
	if err != nil {
		t.Fatal(err)
	}
	type day struct{ date, province string }
	reported, summed := map[day]int64{}, map[day]int64{}
	parts := map[[2]string]int{}
	type key struct {
		indicator, region, member, subject string
		period                             arrow.Timestamp
	}
	keys := map[key]bool{}
	shanghai := time.FixedZone("Asia/Shanghai", 8*3600)
	o := exampletest.Run(t, ".", func(_ string, records arrow.Record) {
		column := func(name string) arrow.Array { return records.Column(records.Schema().FieldIndices(name)[0]) }
		text := func(name string) func(int) string {
			arr := column(name)
			if d, ok := arr.(*array.Dictionary); ok {
				list := d.Dictionary().(*array.String)
				return func(row int) string { return list.Value(d.GetValueIndex(row)) }
			}
			return arr.(*array.String).Value
		}
		indicator, region, member, subject, level := text("indicator"), text("region"), text("member"), text("subject"), text("level")
		periods, values := column("period").(*array.Timestamp), column("value").(*array.Float64)
		for row := range int(records.NumRows()) {
			k := key{indicator(row), region(row), member(row), subject(row), periods.Value(row)}
			if keys[k] {
				t.Errorf("two records have the key %v", k)
			}
			keys[k] = true
			if k.indicator != "EP-CONFIRMED" {
				continue
			}
			if k.member != "" {
				parts[[2]string{k.region, k.member}]++
			}
			date := k.period.ToTime(arrow.Millisecond).In(shanghai).Format(time.DateOnly)
			at := day{date, k.region[:2] + "0000"}
			switch level(row) {
			case "province":
				reported[at] += int64(values.Value(row))
			case "city":
				summed[at] += int64(values.Value(row))
			}
		}
	})["epidemic/daily"]
	if o.Read != e.Rows || o.Loaded != e.Rows || o.Records != 4*e.Rows {
		t.Errorf("read %d, loaded %d, records %d; want %d rows and four records of each; quarantined %v, filtered %v, such as %v",
			o.Read, o.Loaded, o.Records, e.Rows, o.Quarantined, o.Filtered, o.Examples)
	}
	if want := map[string]int{"region.inexact": 4 * epidemic.Inexact}; !maps.Equal(o.Flagged, want) {
		t.Errorf("flagged %v, want %v", o.Flagged, want)
	}
	rows := 0
	for _, n := range parts {
		rows += n
	}
	if len(parts) != len(e.Parts) || rows != e.PartRows {
		t.Errorf("%d parts in %d rows, want %d in %d", len(parts), rows, len(e.Parts), e.PartRows)
	}
	if len(reported) != e.ProvinceDays {
		t.Errorf("%d province-days, want %d", len(reported), e.ProvinceDays)
	}
	found := 0
	for at, own := range reported {
		if sum, ok := summed[at]; ok && sum != own {
			found++
		}
	}
	if found != len(e.Disagreements) {
		t.Errorf("%d province-days disagree, want %d", found, len(e.Disagreements))
	}
	for _, d := range e.Disagreements {
		at := day{d.Date, d.Province}
		if reported[at] != d.Reported || summed[at] != d.RolledUp {
			t.Errorf("%s %s: reported %d and rolled up %d, want %d and %d", d.Date, d.Name, reported[at], summed[at], d.Reported, d.RolledUp)
		}
	}
}
