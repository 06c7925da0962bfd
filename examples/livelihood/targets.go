package livelihood

import (
	"cmp"
	"math"
	"slices"
)

// item is one of the five food and medicine items of 2021's ten livelihood items. Their provincial targets are real; what
// each county has to do of them is not published but for a few counties, and is allocated here.
type item struct {
	indicator string
	title     string // as the departments' tables head it
	unit      string
	target    int            // for the province; 0 where everything is to be covered
	fixed     map[string]int // published shares, by county
}

var (
	factory  = item{"LV-FACTORY", "食品生产企业阳光工厂", "家", 1000, map[string]int{jinyun: 6}}
	banquet  = item{"LV-BANQUET", "农村家宴阳光厨房", "家", 1000, map[string]int{jinyun: 8}}
	trace    = item{"LV-TRACE", "新增可追溯主体", "家", 5000, nil}
	pharmacy = item{"LV-PHARMACY", "民生药事服务站", "家", 300, nil}
	canteen  = item{"LV-CANTEEN", "学校食堂阳光厨房", "%", 0, nil}
)

// counted are the items whose progress is a number of things built.
var counted = []item{factory, banquet, trace, pharmacy}

// The published shares of 余杭区 are of February 2021, before half of it became 临平区: 12 banquet kitchens and 258 canteens.
// The two districts share them.
const (
	yuhangBanquets = 12
	yuhangCanteens = 258
)

// plan is the share of the target that is to be reached by the end of a month; it is not a straight line, as real plans are
// not.
var plan = []struct {
	month, day int
	percent    int
}{{3, 31, 10}, {6, 30, 50}, {9, 30, 80}, {11, 30, 100}}

// allocate divides total among the counties by largest remainder, so that the sum is exact: the fixed ones get their own,
// the others by a weight drawn for each.
func allocate(subject string, total int, codes []string, fixed map[string]int) map[string]int {
	draw := newSource("allocate/" + subject)
	weights := make(map[string]float64, len(codes))
	var sum float64
	rest := total
	for _, code := range codes {
		w := draw.between(0.6, 1.6) // drawn for the fixed ones too, so that fixing one moves no other's weight
		if n, ok := fixed[code]; ok {
			rest -= n
			continue
		}
		weights[code] = w
		sum += w
	}
	type part struct {
		code      string
		remainder float64
	}
	shares := make(map[string]int, len(codes))
	var parts []part
	left := rest
	for _, code := range codes {
		if n, ok := fixed[code]; ok {
			shares[code] = n
			continue
		}
		exact := float64(rest) * weights[code] / sum
		whole := math.Floor(exact)
		shares[code] = int(whole)
		left -= int(whole)
		parts = append(parts, part{code, exact - whole})
	}
	slices.SortFunc(parts, func(a, b part) int {
		return cmp.Or(cmp.Compare(b.remainder, a.remainder), cmp.Compare(a.code, b.code))
	})
	for i := range left {
		shares[parts[i].code]++
	}
	return shares
}

// targets returns what each county has to reach, by item and county code.
func targets() map[string]map[string]int {
	var codes []string
	for _, c := range cities {
		for _, county := range c.counties {
			codes = append(codes, county.code)
		}
	}
	all := map[string]map[string]int{}
	for _, it := range counted {
		fixed := map[string]int{}
		for code, n := range it.fixed {
			fixed[code] = n
		}
		if it.indicator == banquet.indicator {
			for code, n := range allocate("余杭区/"+it.indicator, yuhangBanquets, []string{yuhang, linping}, nil) {
				fixed[code] = n
			}
		}
		all[it.indicator] = allocate(it.indicator, it.target, codes, fixed)
	}
	// How many canteens a county has is the base of the item that is to cover them all.
	canteens := allocate("余杭区/"+canteen.indicator, yuhangCanteens, []string{yuhang, linping}, nil)
	draw := newSource("canteens")
	for _, code := range codes {
		n := 60 + draw.below(110)
		if _, ok := canteens[code]; !ok {
			canteens[code] = n
		}
	}
	all[canteen.indicator] = canteens
	return all
}

// planned is the part of a target that is to be reached at a point of the plan, in whole things.
func planned(target, percent int) int { return (target*percent + 50) / 100 }
