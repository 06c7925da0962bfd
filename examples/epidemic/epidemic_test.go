//go:build realdata

package epidemic

import (
	"cmp"
	"os"
	"slices"
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
		{"rows", e.Rows, 170477},
		{"rows of the nation", e.Nation, 374},
		{"rows of provinces", e.Provinces, 11023},
		{"rows of cities", e.Cities, 159080},
		{"rows of all levels", e.Nation + e.Provinces + e.Cities, e.Rows},
		{"province-days", e.ProvinceDays, 11023},
		{"province-days with rows of cities", e.DaysWithCities, 10958},
		{"province-days that disagree", len(e.Disagreements), 863},
		{"rows of cities without a code", e.Uncoded, 994},
		{"codes that are no digits", len(e.OddCodes), 68},
		{"parts that are no region", len(e.Parts), 87},
		{"rows of parts that are no region", e.PartRows, 14668},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, want %d", c.what, c.got, c.want)
		}
	}
}

func TestDisagreementsAreWhereTheyAreKnownToBe(t *testing.T) {
	t.Parallel()
	e := expected(t)
	// On 23 January 2020 Zhejiang reported 43 cases and its cities 22.
	first := ProvinceDay{Date: "2020-01-23", Province: "330000", Name: "浙江省", Reported: 43, RolledUp: 22}
	if len(e.Disagreements) == 0 || e.Disagreements[0] != first {
		t.Errorf("the first disagreement is not %+v", first)
	}
	byProvince := map[string]int{}
	for _, d := range e.Disagreements {
		byProvince[d.Name]++
	}
	for name, want := range map[string]int{"广东省": 62, "浙江省": 61, "湖北省": 44, "香港特别行政区": 30, "海南省": 7, "西藏自治区": 0} {
		if byProvince[name] != want {
			t.Errorf("%s disagrees on %d days, want %d", name, byProvince[name], want)
		}
	}
	if !slices.ContainsFunc(e.Parts, func(p Part) bool { return p.Name == "省十里丰监狱" && p.Province == "浙江省" && p.Rows == 292 }) {
		t.Error("省十里丰监狱 is not a part of 浙江省 with 292 rows")
	}
}
