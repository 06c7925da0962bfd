package schemas_test

import (
	"strings"
	"testing"
	"testing/iotest"

	"github.com/headwater-data/headwater/schemas"
)

func TestSharesOfDividedRegions(t *testing.T) {
	t.Parallel()
	const head = "code,on,successor,indicator,share,basis\n"
	for name, c := range map[string]struct{ file, want string }{
		"right": {"\ufeff# by population\n" + head + "330104,2021-04-09,330102,,0.6,census\n330104,2021-04-09,330114,,0.4,census\n", ""},
		"a year, a part that gets nothing, and others for one indicator": {head +
			"330110,2021,330110,,1,census\n330110,2021,330113,,0,census\n330110,2021,330110,ROADS,0.3,survey\n330110,2021,330113,ROADS,0.7,survey\n", ""},
		"a county whose code lives on, by the year": {head + "330327,2019,330327,,0.7,census\n330327,2019,330383,,0.3,census\n", ""},
		"another table":                    {"a,b\n", "x.csv:1:1: the header is not code,on,successor,indicator,share,basis (give these 6 columns"},
		"not UTF-8":                        {"\xff", "x.csv:1:1: the file is not UTF-8"},
		"no share of one successor":        {head + "330104,2021-04-09,330102,,1,census\n", "x.csv:2:1: 330104 was divided on 2021-04-09, and the share of 330114 is not given"},
		"shares of 0.98":                   {head + "330104,2021-04-09,330102,,0.58,c\n330104,2021-04-09,330114,,0.4,c\n", "x.csv:2:1: the shares of 330104 on 2021-04-09 add up to 0.98, not to 1"},
		"those of one indicator apart":     {head + "330104,2021,330102,,0.6,c\n330104,2021,330114,,0.4,c\n330104,2021,330102,R,0.5,c\n330104,2021,330114,R,0.4,c\n", "x.csv:4:1: the shares of 330104 on 2021-04-09 add up to 0.9, not to 1"},
		"the same twice":                   {head + "330104,2021,330102,,0.6,c\n330104,2021-04-09,330102,,0.4,c\n", "x.csv:3:1: the share of 330102 stands in line 2 already"},
		"a region that never was":          {head + "999999,2021,330102,,1,c\n", `x.csv:2:1: no region has had the code "999999" (headwater reference import`},
		"a region that was never divided":  {head + "330103,2021,330105,,1,c\n", "x.csv:2:1: 330103 was never divided (shares are for regions whose area went to several)"},
		"a merger":                         {head + "330124,1996,330185,,1,c\n", "x.csv:2:1: 330124 was never divided"},
		"another day":                      {head + "330104,2020-04-09,330102,,1,c\n", "x.csv:2:1: 330104 was not divided on 2020-04-09 (it was divided on 1996-01-01, 2021-04-09)"},
		"no day":                           {head + "330104,,330102,,1,c\n", `x.csv:2:1: "" is no year or day`},
		"a region that took over nothing":  {head + "330104,2021,330105,,1,c\n", `x.csv:2:1: "330105" took over nothing of 330104 on 2021-04-09 (it went to 330102, 330114)`},
		"more than all":                    {head + "330104,2021,330102,,1.5,c\n", `x.csv:2:1: "1.5" is no share from 0 to 1`},
		"no number":                        {head + "330104,2021,330102,,NaN,c\n", `x.csv:2:1: "NaN" is no share from 0 to 1`},
		"nobody says what it rests on":     {head + "330104,2021,330102,,1, \n", "x.csv:2:1: it is not said what the share rests on (name the census"},
		"a column too few":                 {head + "330104,2021,330102,,1\n", "x.csv:2:1: wrong number of fields"},
		"nothing at all is no list either": {"", "x.csv:1:1: the header is not"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			shares, problems := schemas.ReadShares(iotest.OneByteReader(strings.NewReader(c.file)), "x.csv", schemas.Standard().Regions())
			if got := problems.Error(); c.want == "" && got != "" || !strings.HasPrefix(got, c.want) || (len(shares) > 0) != (c.want == "") {
				t.Errorf("got %v, %q, want %q", shares, got, c.want)
			}
		})
	}
}

// A set keeps its shares whatever else is put into it.
func TestASetKeepsItsShares(t *testing.T) {
	t.Parallel()
	set := schemas.Standard().WithShares([]schemas.Share{{Code: "330104", Successor: "330114"}, {Code: "330104", Successor: "330102"}})
	shares := set.WithRegions(set.Regions()).WithCodeList(&schemas.CodeList{Name: "x"}).WithExtents(nil).Shares()
	if len(shares) != 2 || shares[0].Successor != "330102" {
		t.Errorf("%v", shares)
	}
	if more := schemas.Standard().Shares(); len(more) != 0 {
		t.Errorf("shares that nobody has stated: %v", more)
	}
}
