// Package coordinates turns positions of the coordinate systems that Chinese data come in into one another: WGS-84 and CGCS2000, which
// agree within centimetres and are not told apart, GCJ-02, which Chinese map services use, and BD-09, which one of them makes of that.
//
// A position does not say what system it is in: the shift of GCJ-02 is some hundred metres, and any pair of numbers is a good one in
// each. So the system is always stated by whoever has the data, and nothing here guesses it.
//
// The rule of GCJ-02 is not public. What everybody uses, this package too, is the formula that was published by people who found it
// out; how near it comes to the real one nobody can say who has only that. What can be said is that the way back closes: it is not
// the approximation that is often used, which is metres off, but goes on until nothing changes, to less than 1e-9 degrees (0.1 mm).
package coordinates

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// The systems, under the codes of the list coordinate_system.
const (
	WGS84    = "wgs84"
	CGCS2000 = "cgcs2000"
	GCJ02    = "gcj02"
	BD09     = "bd09"
)

// Systems are all of them.
var Systems = []string{WGS84, CGCS2000, GCJ02, BD09}

// steps are those of a way back. Each leaves some thousandth of the error of the one before, and the first error is below 0.01 degrees.
const steps = 4

// Convert turns a position in degrees of one system into that of another. The error says which system is not known, or that the
// position is none.
func Convert(longitude, latitude float64, from, to string) (east, north float64, err error) {
	for _, system := range []string{from, to} {
		if !slices.Contains(Systems, system) {
			return 0, 0, fmt.Errorf("coordinate system %q is not known; there are %s", system, strings.Join(Systems, ", "))
		}
	}
	if !(longitude >= -180 && longitude <= 180) || !(latitude >= -90 && latitude <= 90) {
		return 0, 0, fmt.Errorf("%v, %v is no longitude and latitude", longitude, latitude)
	}
	from, to = plain(from), plain(to)
	if from == to {
		return longitude, latitude, nil
	}
	p := point{longitude, latitude}
	switch from {
	case BD09:
		p = back(p, toBaidu)
		if to == WGS84 {
			p = back(p, toChina)
		}
	case GCJ02:
		if to == BD09 {
			p = toBaidu(p)
		} else {
			p = back(p, toChina)
		}
	default:
		if p = toChina(p); to == BD09 {
			p = toBaidu(p)
		}
	}
	return p.x, p.y, nil
}

func plain(system string) string {
	if system == CGCS2000 {
		return WGS84
	}
	return system
}

type point struct{ x, y float64 }

// back finds the point that forward turns into p.
func back(p point, forward func(point) point) point {
	at := p
	for range steps {
		there := forward(at)
		at = point{at.x + p.x - there.x, at.y + p.y - there.y}
	}
	return at
}

// Krasovsky's ellipsoid, which the formula was made on.
const (
	axis         = 6378245.0
	eccentricity = 0.00669342162296594323
)

// toChina shifts WGS-84 to GCJ-02. Outside of a box around China nothing is shifted.
func toChina(p point) point {
	if p.x < 72.004 || p.x > 137.8347 || p.y < 0.8293 || p.y > 55.8271 {
		return p
	}
	x, y := p.x-105, p.y-35
	wave := func(amplitude, v float64) float64 { return amplitude * math.Sin(v*math.Pi) * 2 / 3 }
	both := wave(20, 6*x) + wave(20, 2*x)
	north := -100 + 2*x + 3*y + 0.2*y*y + 0.1*x*y + 0.2*math.Sqrt(math.Abs(x)) + both + wave(20, y) + wave(40, y/3) + wave(160, y/12) + wave(320, y/30)
	east := 300 + x + 2*y + 0.1*x*x + 0.1*x*y + 0.1*math.Sqrt(math.Abs(x)) + both + wave(20, x) + wave(40, x/3) + wave(150, x/12) + wave(300, x/30)
	latitude := p.y * math.Pi / 180
	sine := math.Sin(latitude)
	m := 1 - eccentricity*sine*sine
	return point{
		p.x + east*180/(axis/math.Sqrt(m)*math.Cos(latitude)*math.Pi),
		p.y + north*180/(axis*(1-eccentricity)/(m*math.Sqrt(m))*math.Pi),
	}
}

// toBaidu turns GCJ-02 into BD-09.
func toBaidu(p point) point {
	const turn = math.Pi * 3000 / 180
	radius := math.Hypot(p.x, p.y) + 0.00002*math.Sin(p.y*turn)
	angle := math.Atan2(p.y, p.x) + 0.000003*math.Cos(p.x*turn)
	return point{radius*math.Cos(angle) + 0.0065, radius*math.Sin(angle) + 0.006}
}
