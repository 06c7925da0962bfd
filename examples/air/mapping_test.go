//go:build realdata

package air_test

import (
	"cmp"
	"maps"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/headwater-data/headwater/examples/air"
	"github.com/headwater-data/headwater/examples/exampletest"
)

func TestMappingsMakeOfTheFilesWhatIsExpected(t *testing.T) {
	t.Parallel()
	e, err := air.Expected(cmp.Or(os.Getenv("HEADWATER_REALDATA"), "../../../shared/data"))
	if err != nil {
		t.Fatal(err)
	}
	type total struct {
		count    int
		sum, max float64
	}
	totals := map[[2]string]*total{}
	outcomes := exampletest.Run(t, ".", func(stream string, records arrow.Record) {
		source, _, _ := strings.Cut(stream, "/")
		indicators := records.Column(records.Schema().FieldIndices("indicator")[0])
		values := records.Column(records.Schema().FieldIndices("value")[0]).(*array.Float64)
		for row := range int(records.NumRows()) {
			key := [2]string{source, indicators.ValueStr(row)}
			if totals[key] == nil {
				totals[key] = &total{}
			}
			v := values.Value(row)
			totals[key].count++
			totals[key].sum += v
			totals[key].max = max(totals[key].max, v)
		}
	})
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
		if !maps.Equal(got.Quarantined, want.Quarantined) || !maps.Equal(got.Filtered, want.Filtered) || !maps.Equal(got.Flagged, want.Flagged) {
			t.Errorf("%s: quarantined %v, filtered %v, flagged %v; want %v, %v, %v; such as %v", name,
				got.Quarantined, got.Filtered, got.Flagged, want.Quarantined, want.Filtered, want.Flagged, got.Examples)
		}
	}
	if len(totals) != len(e.Totals) {
		t.Errorf("%d indicators have records, want %d", len(totals), len(e.Totals))
	}
	for _, want := range e.Totals {
		got := totals[[2]string{want.Source, want.Indicator}]
		if got == nil || got.count != want.Count || math.Abs(got.sum-want.Sum) > 1e-9*want.Sum || math.Abs(got.max-want.Max) > 1e-9 {
			t.Errorf("%s of %s: %+v, want %+v", want.Indicator, want.Source, got, want)
		}
	}
}
