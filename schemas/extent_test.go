package schemas_test

import (
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/headwater-data/headwater/schemas"
)

// Every county of Zhejiang has had a box on each day since 1997, and lies in that of its city; none is larger than a county can be.
func TestEveryCountyOfZhejiangHasABox(t *testing.T) {
	t.Parallel()
	boxes := map[string]schemas.Extent{}
	for _, e := range schemas.Standard().Extents() {
		boxes[e.Code] = e
	}
	regions := schemas.Standard().Regions()
	for _, on := range []string{"2017-12-31", "2020-06-30", "2021-12-31"} {
		day, err := time.Parse(time.DateOnly, on)
		if err != nil {
			t.Fatal(err)
		}
		counties := 0
		for _, city := range regions.Children("330000", day) {
			for _, county := range regions.Children(city.Code, day) {
				counties++
				in, ok := boxes[county.Code]
				if !ok {
					t.Errorf("%s %s has no box", county.Code, county.Name)
					continue
				}
				around := boxes[city.Code]
				if in.West < around.West || in.South < around.South || in.East > around.East || in.North > around.North {
					t.Errorf("%s %v lies outside of its city %v", county.Name, in, around)
				}
				if in.East-in.West > 1.5 || in.North-in.South > 1.2 {
					t.Errorf("%s is too large: %v", county.Name, in)
				}
			}
		}
		if counties < 89 {
			t.Errorf("%s: only %d counties", on, counties)
		}
	}
}

func TestListsOfBoxesAreChecked(t *testing.T) {
	t.Parallel()
	const header = "code,west,south,east,north\n"
	for _, c := range []struct{ name, file, want string }{
		{"good, with a mark and a comment", "\ufeff# from the bureau\n" + header + "340100,116.6,30.9,117.9,32.6\n", ""},
		{"another header", "code,west\n340100,1\n", "x.csv:1:1: the header is not code,west,south,east,north"},
		{"nothing", "", "x.csv:1:1: the header is not"},
		{"no code", header + "3401,1,2,3,4\n", "x.csv:2:1: the code has not 6 digits"},
		{"a word", header + "340100,east,2,3,4\n", "x.csv:2:1: west is no number"},
		{"no number at all", header + "340100,NaN,2,3,4\n", "x.csv:2:1: it is no box"},
		{"the wrong way round", header + "340100,117,30,116,32\n", "x.csv:2:1: it is no box"},
		{"twice", header + "340100,1,2,3,4\n340100,1,2,3,5\n", "x.csv:3:1: 340100 stands in line 2 already"},
		{"a field too few, and another problem", header + "340100,1,2,3\n340200,x,2,3,4\n", "x.csv:2:1: wrong number of fields\nx.csv:3:1: west is no number"},
		{"not UTF-8", "\xff", "x.csv:1:1: the file is not UTF-8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			extents, problems := schemas.ReadExtents(iotest.OneByteReader(strings.NewReader(c.file)), "x.csv")
			if got := problems.Error(); c.want == "" && got != "" || !strings.HasPrefix(got, c.want) || (len(extents) == 1) != (c.want == "") {
				t.Errorf("got %v, %q, want %q", extents, got, c.want)
			}
		})
	}
}
