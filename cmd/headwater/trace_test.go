package main

import (
	"slices"
	"testing"
	"time"
)

func TestPeriodsAreReadAsPeopleWriteThem(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("Asia/Shanghai", 8*3600)
	for text, want := range map[string]struct {
		at     string
		grains []string
		again  string // as it is shown
	}{
		"2021":          {"2021-01-01T00", []string{"year"}, "2021"},
		"2021-H2":       {"2021-07-01T00", []string{"half"}, "2021-H2"},
		"2021Q4":        {"2021-10-01T00", []string{"quarter"}, "2021-Q4"},
		"2021-10":       {"2021-10-01T00", []string{"month"}, "2021-10"},
		"202110":        {"2021-10-01T00", []string{"month"}, "2021-10"},
		"2021-10-11":    {"2021-10-11T00", []string{"day", "week", "xun"}, "2021-10-11"},
		"2021-10-11T08": {"2021-10-11T08", []string{"hour"}, "2021-10-11T08"},
	} {
		at, grains, err := periodOf(text, zone)
		if err != nil || at.Format("2006-01-02T15") != want.at || !slices.Equal(grains, want.grains) {
			t.Errorf("%s: %v, %v, %v; want %v", text, at, grains, err, want)
			continue
		}
		if again := periodText(at, grains[0]); again != want.again {
			t.Errorf("%s is shown as %s, want %s", text, again, want.again)
		}
	}
	for _, text := range []string{"", "21", "2021-13", "2021-00", "2021-02-30", "2021-Q5", "2021-Q0", "2021-H3", "2021-10-11T24", "October"} {
		if at, grains, err := periodOf(text, zone); err == nil {
			t.Errorf("%q is read as %v %v", text, at, grains)
		}
	}
}
