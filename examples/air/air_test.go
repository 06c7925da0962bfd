//go:build realdata

package air

import (
	"cmp"
	"math"
	"os"
	"testing"
)

// folder is where the real files are (README.md says how to get them).
func folder() string { return cmp.Or(os.Getenv("HEADWATER_REALDATA"), "../../../shared/data") }

func expected(t *testing.T) Expectation {
	t.Helper()
	e, err := Expected(folder())
	if err != nil {
		t.Fatalf("the real data of README.md is needed; put it into a folder and name that in HEADWATER_REALDATA: %v", err)
	}
	return e
}

func TestTheFilesHoldWhatTheReadmeSays(t *testing.T) {
	t.Parallel()
	e := expected(t)
	for _, c := range []struct {
		what      string
		got, want int
	}{
		{"files in Beijing's zip", e.Members, 12},
		{"stations of Beijing", len(e.Stations), 12},
		{"streams", len(e.Streams), 3},
		{"areas of the stations' file", e.Areas, 367},
		{"areas that are no city of 2018 by that name", len(e.Unresolved), 66},
		{"areas that had become one district", len(e.Moved), 7},
		{"areas that had been divided", len(e.Divided), 1},
		{"areas that only the aliases explain", len(e.UnknownAreas), 34},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, want %d", c.what, c.got, c.want)
		}
	}
	want := map[string][3]int{ // read, loaded, records
		"carbon-monoxide": {420768, 400067, 400067},
		"readings":        {420768, 415797, 2054238},
		"hour":            {1495, 1475, 10059},
	}
	for _, s := range e.Streams {
		if got := [3]int{s.Read, s.Loaded, s.Records}; got != want[s.Stream] {
			t.Errorf("%s: read, loaded and records are %v, want %v", s.Stream, got, want[s.Stream])
		}
		rest := s.Read - s.Loaded
		for _, n := range s.Quarantined {
			rest -= n
		}
		for _, n := range s.Filtered {
			rest -= n
		}
		if rest != 0 {
			t.Errorf("%s: %d rows have no outcome", s.Stream, rest)
		}
	}
}

func TestCarbonMonoxideIsInMilligrams(t *testing.T) {
	t.Parallel()
	for _, total := range expected(t).Totals {
		if total.Source == "beijing" && total.Indicator == "AIR-CO" {
			if mean := total.Sum / float64(total.Count); math.Abs(mean-1.2308) > 0.0001 || total.Max != 10 {
				t.Errorf("mean %g and most %g mg/m³, want 1.2308 and 10", mean, total.Max)
			}
			return
		}
	}
	t.Error("no total of Beijing's carbon monoxide")
}
