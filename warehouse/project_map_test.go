package warehouse_test

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/headwater-data/headwater/schemas"
	"github.com/headwater-data/headwater/schemas/coordinates"
)

// The view's positions are those of package coordinates, for every stated system over all of China and where the formulas bend.
func TestProjectsHaveTheirPositionInEverySystem(t *testing.T) {
	t.Parallel()
	b := analysis(t)
	var rows []string
	for i, system := range coordinates.Systems {
		for n := range 60 {
			x, y := 73.7+math.Mod(float64(n)*37.77+float64(i)*11.3, 61), 18.3+math.Mod(float64(n)*13.13, 35)
			if n == 0 {
				x, y = 105, 35
			}
			rows = append(rows, fmt.Sprintf("('%s %d', '330100', %v, %v, '%s')", system, n, x, y, system))
		}
	}
	b.sql("INSERT INTO $db.project (project_id, region, longitude, latitude, crs) VALUES " + strings.Join(rows, ", "))
	got := b.sql("SELECT longitude, latitude, crs, longitude_wgs84, latitude_wgs84, longitude_gcj02, latitude_gcj02, longitude_bd09, latitude_bd09 FROM $db.project_map")
	if len(got) != len(rows) {
		t.Fatalf("%d projects, want %d", len(got), len(rows))
	}
	for _, line := range got {
		f := strings.Split(line, "\t")
		v := make([]float64, len(f))
		for i, text := range f {
			if i != 2 {
				var err error
				if v[i], err = strconv.ParseFloat(text, 64); err != nil {
					t.Fatal(err)
				}
			}
		}
		for i, to := range []string{"wgs84", "gcj02", "bd09"} {
			x, y, err := coordinates.Convert(v[0], v[1], f[2], to)
			if err != nil || math.Abs(x-v[3+2*i]) > 1e-9 || math.Abs(y-v[4+2*i]) > 1e-9 {
				t.Errorf("%v, %v of %s in %s: %v, %v, want %v, %v (%v)", v[0], v[1], f[2], to, v[3+2*i], v[4+2*i], x, y, err)
			}
		}
	}
}

// A position in the sea, in another city or without a system to hold it against is told and not lost.
func TestProjectsOutsideOfTheirRegionAreTold(t *testing.T) {
	t.Parallel()
	b := analysis(t)
	b.sql(`INSERT INTO $db.project (project_id, region, longitude, latitude, crs, due_on) VALUES
		('right', '330102', 120.17, 30.25, 'wgs84', '2022-12-31'),
		('near its border', '330102', 120.05, 30.25, 'wgs84', '2022-12-31'),
		('in the sea', '330922', 124.5, 30.7, 'wgs84', '2022-12-31'),
		('an island', '330922', 122.45, 30.73, 'gcj02', '2022-12-31'),
		('in another city', '330203', 120.17, 30.25, 'gcj02', NULL),
		('without', '330203', NULL, NULL, NULL, '2022-12-31'),
		('a city', '330200', 121.55, 29.87, 'bd09', '2022-12-31'),
		('a former district', '330103', 120.18, 30.3, 'wgs84', '2020-12-31'),
		('a county without a box', '339001', 120.17, 28.25, 'wgs84', '2022-12-31'),
		('of the nation', '100000', 120.17, 30.25, 'wgs84', '2022-12-31')`)
	got := b.sql(`SELECT project_id, problem, on_map, checked_against, round(kilometres_outside) FROM $db.project_map ORDER BY project_id`)
	want := []string{
		"a city\t\t1\t330200\t0",
		"a county without a box\t\t1\t330000\t0",
		"a former district\t\t1\t330103\t0",
		"an island\t\t1\t330922\t0",
		"in another city\toutside of its region\t0\t330203\t99",
		"in the sea\toutside of its region\t0\t330922\t158",
		"near its border\t\t1\t330102\t8",
		"of the nation\tnot checked\t0\t\t\\N",
		"right\t\t1\t330102\t0",
		"without\tno position\t0\t330203\t\\N",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Boxes of the project stand beside those that are built in, and go when it drops them.
func TestBoxesOfTheProjectAreTaken(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	set := schemas.Standard()
	more := set.WithExtents([]schemas.Extent{{Code: "340100", West: 116.6, South: 30.9, East: 117.9, North: 32.6}, {Code: "330102", West: 1, South: 2, East: 3, North: 4}})
	for _, c := range []struct {
		set  *schemas.Set
		want string
	}{
		{set, "0\t120.13"}, {more, "1\t1"}, {set, "0\t120.13"},
	} {
		if err := b.Sync(b.ctx, c.set, nil); err != nil {
			t.Fatal(err)
		}
		if got := b.sql("SELECT countIf(code = '340100'), maxIf(west, code = '330102') FROM $db.region_extent FINAL WHERE _deleted = 0"); len(got) != 1 || got[0] != c.want {
			t.Errorf("got %v, want %s", got, c.want)
		}
	}
}
