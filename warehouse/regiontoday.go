package warehouse

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/headwater-data/headwater/schemas"
)

// todayRow is one row of the table region_today: where the figures of a region of some time lie on the boundaries of today.
type todayRow struct {
	Code      string      `ch:"code"`
	Since     time.Time   `ch:"since"`
	Indicator string      `ch:"indicator"`
	Until     time.Time   `ch:"until"`
	Lowest    bool        `ch:"lowest"`
	Steps     []todayStep `ch:"steps"`
	Deleted   bool        `json:"-"`
}

// todayStep is a region of today that the figures touch.
type todayStep struct {
	Code, Parent, Unit string
	How                string
	Share              float64 // 1 unless How is share or unknown
}

// How figures touch a region of today; see the table's comment.
const (
	touchSame    = "same"
	touchMerged  = "merged"
	touchWhole   = "whole"
	touchShare   = "share"
	touchUnknown = "unknown"
)

// severalUnits stands for the city of a region that lies in several.
const severalUnits = "*"

var todayColumns = func() []arrow.Field {
	label := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}
	text := func(name string) arrow.Field { return arrow.Field{Name: name, Type: arrow.BinaryTypes.String} }
	return []arrow.Field{
		{Name: "code", Type: label},
		{Name: "since", Type: arrow.FixedWidthTypes.Date32},
		text("indicator"),
		{Name: "until", Type: arrow.FixedWidthTypes.Date32},
		{Name: "lowest", Type: arrow.FixedWidthTypes.Boolean},
		{Name: "steps", Type: arrow.ListOfNonNullable(arrow.StructOf(text("code"), text("parent"), text("unit"), text("how"),
			arrow.Field{Name: "share", Type: arrow.PrimitiveTypes.Float64}))},
	}
}()

// Boundaries of today are those that hold after every change that the regions know, so that they do not depend on a clock.
type today struct {
	tree
	regions []schemas.Region
	shares  map[division]float64
	paths   map[string]pathRow         // of the codes of today, as asked for
	parts   map[version][]part         // as asked for
	touched map[version][2][]todayStep // of areas that need no look at what lay below: merged, and the same
}

// division says which part of a region's area is meant: that which code had until the day and successor took over.
type division struct {
	code      string
	on        time.Time
	successor string
}

// version is the n-th version of a code.
type version struct {
	code string
	n    int
}

// part is a part of an area that lies in a region of today.
type part struct {
	code  string
	share float64
	known bool // the share is
	lost  bool // nobody says what became of it; code is what it lay in
}

// todayInputs are what the table is made of. The list of all codes since 1981 takes about a second, too much for every start.
type todayInputs struct {
	Form    int // goes up when todayRows makes other rows of the same
	Regions []schemas.Region
	Shares  []schemas.Share
}

// todayRows lays out where figures lie, for all indicators and for each that has shares of its own where those make a difference.
func todayRows(regions []schemas.Region, shares []schemas.Share) []todayRow {
	rows := todayRowsOf("", regions, shares)
	general := map[string][]todayRow{}
	for _, r := range rows {
		general[r.Code] = append(general[r.Code], r)
	}
	of := map[string]bool{}
	for _, s := range shares {
		of[s.Indicator] = true
	}
	delete(of, "")
	for indicator := range of {
		own := map[string][]todayRow{}
		for _, r := range todayRowsOf(indicator, regions, shares) {
			own[r.Code] = append(own[r.Code], r)
		}
		for code, list := range own {
			if !slices.EqualFunc(list, general[code], func(a, b todayRow) bool { return a.Since.Equal(b.Since) && slices.Equal(a.Steps, b.Steps) }) {
				rows = append(rows, list...)
			}
		}
	}
	slices.SortFunc(rows, func(a, b todayRow) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), a.Since.Compare(b.Since), cmp.Compare(a.Indicator, b.Indicator))
	})
	return rows
}

func todayRowsOf(indicator string, regions []schemas.Region, shares []schemas.Share) []todayRow {
	t := &today{tree: newTree(regions), regions: regions, shares: map[division]float64{}, paths: map[string]pathRow{}, parts: map[version][]part{}, touched: map[version][2][]todayStep{}}
	for _, of := range []string{"", indicator} { // an indicator's own in place of the general ones
		for _, s := range shares {
			if s.Indicator == of {
				t.shares[division{s.Code, s.On, s.Successor}] = s.Share
			}
		}
	}
	days := map[time.Time]bool{unknownFrom: true}
	for _, r := range regions {
		for _, day := range []time.Time{r.From, r.To} {
			if day.After(unknownFrom) {
				days[day] = true
			}
		}
	}
	codes := slices.Sorted(maps.Keys(t.tree))
	rows := []todayRow{}
	last := map[string]int{} // position of a code's last row
	for _, day := range slices.SortedFunc(maps.Keys(days), time.Time.Compare) {
		on := t.on(day)
		for _, code := range codes {
			row := todayRow{Code: code, Since: day, Indicator: indicator, Until: farAway, Lowest: on.lowest(code), Steps: on.steps(code)}
			if i, ok := last[code]; ok {
				if rows[i].Lowest == row.Lowest && slices.Equal(rows[i].Steps, row.Steps) {
					continue
				}
				rows[i].Until = day
			}
			last[code] = len(rows)
			rows = append(rows, row)
		}
	}
	return rows
}

// index finds the version of a code that held on a day, as at does.
func (t *today) index(code string, day time.Time) (version, bool) {
	for i := len(t.tree[code]) - 1; i >= 0; i-- {
		if !t.tree[code][i].From.After(day) {
			return version{code, i}, true
		}
	}
	return version{}, false
}

func (t *today) path(code string) pathRow {
	row, ok := t.paths[code]
	if !ok {
		row = t.row(code, farAway)
		t.paths[code] = row
	}
	return row
}

// of follows the area of a version through what became of it, to the regions of today. Area of which nobody says what became of it
// stays with what lay above it.
func (t *today) of(v version) []part {
	if parts, ok := t.parts[v]; ok {
		return parts
	}
	r := t.tree[v.code][v.n]
	t.parts[v] = []part{{code: v.code, share: 1, known: true}} // where a list goes round in a circle
	successors := r.Successors
	if len(successors) == 0 && v.n+1 < len(t.tree[v.code]) && t.tree[v.code][v.n+1].From.Equal(r.To) {
		successors = []schemas.Successor{{Code: v.code}}
	}
	var parts []part
	switch {
	case r.To.IsZero():
		parts = []part{{code: v.code, share: 1, known: true}}
	case len(successors) == 0:
		parts = []part{{t.above(r), 1, true, true}}
	default:
		for _, s := range successors {
			share, known := 1.0, true
			if len(successors) > 1 || s.Part {
				share, known = t.shares[division{v.code, r.To, s.Code}]
			}
			next, ok := t.index(s.Code, r.To)
			if !ok {
				parts = addPart(parts, part{t.above(r), share, known, true})
				continue
			}
			for _, p := range t.of(next) {
				parts = addPart(parts, part{p.code, share * p.share, known && p.known, p.lost})
			}
		}
		if len(successors) == 1 && successors[0].Part { // and the rest went nobody knows where
			parts = addPart(parts, part{t.above(r), 0, false, true})
		}
	}
	t.parts[v] = parts
	return parts
}

// addPart adds a part, once for each region of today.
func addPart(parts []part, p part) []part {
	if i := slices.IndexFunc(parts, func(o part) bool { return o.code == p.code }); i >= 0 {
		parts[i].share += p.share
		parts[i].known = parts[i].known && p.known
		parts[i].lost = parts[i].lost || p.lost
		return parts
	}
	return append(parts, p)
}

// above is the region of today that the lowest region above a version became as a whole; without one the version's own code.
func (t *today) above(r schemas.Region) string {
	day := r.From
	if !r.To.IsZero() {
		day = r.To.AddDate(0, 0, -1)
	}
	for up, depth := r.Parent, 0; up != "" && depth < maxDepth; depth++ {
		v, ok := t.index(up, day)
		if !ok {
			break
		}
		if parts := t.of(v); len(parts) == 1 {
			return parts[0].code
		}
		up = t.tree[v.code][v.n].Parent
	}
	return r.Code
}

// then is the tree as it was on a day, against the boundaries of today.
type then struct {
	*today
	day    time.Time
	there  map[string]bool
	below  map[string][]string // regions directly below, of those that were there
	leaves map[string][]string // by region: the lowest regions in it
	touch  map[string]int      // by region of today: how many of the lowest regions lay in it, be it in part
}

func (t *today) on(day time.Time) *then {
	on := &then{today: t, day: day, there: map[string]bool{}, below: map[string][]string{}, leaves: map[string][]string{}, touch: map[string]int{}}
	for _, r := range t.regions {
		if r.Holds(day) {
			on.there[r.Code] = true
			on.below[r.Parent] = append(on.below[r.Parent], r.Code)
		}
	}
	for code := range on.there {
		if !on.lowest(code) {
			continue
		}
		at, ok := t.at(code, day)
		for depth := 0; ok && depth < maxDepth; depth++ {
			on.leaves[at.Code] = append(on.leaves[at.Code], code)
			at, ok = t.at(at.Parent, day)
		}
		v, _ := t.index(code, day)
		reached := map[string]bool{}
		for _, p := range t.of(v) {
			for _, up := range t.path(p.code).Path {
				reached[up.Code] = true
			}
		}
		for up := range reached {
			on.touch[up]++
		}
	}
	return on
}

// lowest reports whether a region was there and nothing lay below it.
func (on *then) lowest(code string) bool { return on.there[code] && len(on.below[code]) == 0 }

var levelRank = map[string]int{schemas.LevelNation: 0, schemas.LevelProvince: 1, schemas.LevelCity: 2, schemas.LevelCounty: 3}

// steps lists the regions of today that figures of a region touch.
//
// The area of a region with others below it is theirs: a county that has gone to another city since takes the figures of its old
// city out of every region that does not hold both. Regions of a lower level have no part in a figure of the region.
func (on *then) steps(code string) []todayStep {
	v, ok := on.index(code, on.day)
	if !ok { // its first version reaches back before every day
		return nil
	}
	own := on.tree[code][v.n]
	direct := on.of(v)
	stated := len(direct) > 1 && !slices.ContainsFunc(direct, func(p part) bool { return !p.known })
	if len(on.below[code]) == 0 || len(on.leaves[code]) == 0 || stated {
		both, ok := on.touched[v]
		if !ok {
			both[0] = on.reach(direct, direct, schemas.LevelCounty)
			both[1] = slices.Clone(both[0])
			for i := range both[1] {
				if both[1][i].How == touchMerged {
					both[1][i].How = touchSame
				}
			}
			on.touched[v] = both
		}
		if len(direct) == 1 && on.same(v, direct[0].code) {
			return both[1]
		}
		return both[0]
	}
	var parts []part
	met := map[string]bool{}
	for _, leaf := range on.leaves[code] {
		lv, _ := on.index(leaf, on.day)
		for _, p := range on.of(lv) {
			if !met[p.code] {
				met[p.code] = true
				parts = append(parts, part{code: p.code})
			}
		}
	}
	steps := on.reach(parts, direct, own.Level)
	for i, s := range steps {
		if s.How == touchMerged && on.same(v, s.Code) {
			steps[i].How = touchSame
		}
	}
	return steps
}

// reach lists the regions of today that an area touches, from the bottom, down to a level. direct is what the region became by itself.
func (t *today) reach(parts, direct []part, deepest string) []todayStep {
	type reached struct {
		step  todayStep
		parts int
		known bool
		depth int
	}
	touched := map[string]*reached{}
	var order []*reached
	for _, p := range parts {
		row := t.path(p.code)
		for i, up := range row.Path {
			if levelRank[up.Level] > levelRank[deepest] && up.Code != direct[0].code {
				continue
			}
			at := touched[up.Code]
			if at == nil {
				at = &reached{step: todayStep{Code: up.Code, Unit: row.Steps[i].Unit}, known: true, depth: len(row.Path) - i}
				if i+1 < len(row.Path) {
					at.step.Parent = row.Path[i+1].Code
				}
				touched[up.Code] = at
				order = append(order, at)
			}
			if at.step.Unit != row.Steps[i].Unit {
				at.step.Unit = severalUnits
			}
			at.parts++
			at.step.Share += p.share
			at.known = at.known && p.known
		}
	}
	slices.SortFunc(order, func(a, b *reached) int {
		return cmp.Or(cmp.Compare(b.depth, a.depth), cmp.Compare(a.step.Code, b.step.Code))
	})
	steps := make([]todayStep, 0, len(order))
	for _, at := range order {
		switch {
		case at.parts == len(parts):
			at.step.How, at.step.Share = touchWhole, 1
			if len(direct) == 1 && !direct[0].lost && direct[0].code == at.step.Code {
				at.step.How = touchMerged
			}
		case at.known:
			at.step.How = touchShare
		default:
			at.step.How, at.step.Share = touchUnknown, 0
		}
		steps = append(steps, at.step)
	}
	return steps
}

// same reports whether a region of today that took over a version as a whole has nothing beside it. Of a code that was not there on
// the day, as when figures from before it began are reported under it, only its extents tell.
func (on *then) same(v version, code string) bool {
	if !on.there[v.code] {
		versions := on.tree[code]
		return v.code == code && on.tree[code][v.n].Extent == versions[len(versions)-1].Extent
	}
	return on.touch[code] == len(on.leaves[v.code])
}
