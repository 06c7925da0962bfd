package coordinates_test

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/headwater-data/headwater/schemas/coordinates"
)

// Published points: the first three of googollee/eviltransform (MIT), the others of wandergis/coordtransform (MIT). The ways back that
// are published with them are approximations and lie within 2e-5 degrees, two metres, of where they should.
func TestPublishedPoints(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		from, to     string
		x, y         float64
		wantX, wantY float64
		within       float64
	}{
		{"wgs84", "gcj02", 121.5272106, 31.1774276, 121.531541859215, 31.17530398364597, 1e-6},
		{"wgs84", "gcj02", 113.912316, 22.543847, 113.9171764808363, 22.540796131694766, 1e-6},
		{"wgs84", "gcj02", 116.377817, 39.911954, 116.38404722455657, 39.91334545536069, 1e-6},
		{"wgs84", "gcj02", 116.404, 39.915, 116.41024449916938, 39.91640428150164, 1e-12},
		{"gcj02", "bd09", 116.404, 39.915, 116.41036949371029, 39.92133699351021, 1e-12},
		{"gcj02", "wgs84", 116.404, 39.915, 116.39775550083061, 39.91359571849836, 2e-5},
		{"bd09", "gcj02", 116.404, 39.915, 116.39762729119315, 39.90865673957631, 2e-5},
		{"cgcs2000", "wgs84", 120.1, 30.2, 120.1, 30.2, 0},
		{"wgs84", "gcj02", -104.9903, 39.7392, -104.9903, 39.7392, 0}, // Denver is not shifted
	} {
		x, y, err := coordinates.Convert(c.x, c.y, c.from, c.to)
		if err != nil || math.Abs(x-c.wantX) > c.within || math.Abs(y-c.wantY) > c.within {
			t.Errorf("%v, %v from %s to %s: %v, %v (%v), want %v, %v", c.x, c.y, c.from, c.to, x, y, err, c.wantX, c.wantY)
		}
	}
}

// Whatever system a position goes through, it comes back to where it was within 1e-9 degrees, and GCJ-02 lies some hundred metres off.
func TestThereAndBack(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	worst, nearest, farthest := 0.0, math.Inf(1), 0.0
	for range 20_000 {
		x, y := 73.5+random.Float64()*61.5, 18+random.Float64()*35.5
		for _, a := range coordinates.Systems {
			for _, b := range coordinates.Systems {
				there, north, err := coordinates.Convert(x, y, a, b)
				if err != nil {
					t.Fatal(err)
				}
				back, south, err := coordinates.Convert(there, north, b, a)
				if err != nil {
					t.Fatal(err)
				}
				worst = max(worst, math.Abs(back-x), math.Abs(south-y))
				if a == "wgs84" && b == "gcj02" {
					off := math.Hypot((there-x)*math.Cos(y*math.Pi/180), north-y) * 111_320
					nearest, farthest = min(nearest, off), max(farthest, off)
				}
			}
		}
	}
	if worst > 1e-9 {
		t.Errorf("%v degrees off after there and back", worst)
	}
	t.Logf("there and back: %.1e degrees; GCJ-02 lies %.0f to %.0f m off", worst, nearest, farthest)
}

func TestWhatIsNoPositionOrNoSystem(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		x, y     float64
		from, to string
		want     string
	}{
		{120, 30, "", "wgs84", `"" is not known; there are wgs84`}, {120, 30, "wgs84", "mars", `"mars"`},
		{30, 120, "wgs84", "gcj02", "no longitude and latitude"}, {math.NaN(), 30, "wgs84", "gcj02", "no longitude and latitude"}, {120, math.Inf(1), "wgs84", "wgs84", "no longitude"},
	} {
		if x, y, err := coordinates.Convert(c.x, c.y, c.from, c.to); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, %v, %v", c, x, y, err)
		}
	}
}
