package schemas

import (
	"cmp"
	"slices"
	"time"
)

// bound is a point in time as a source knows it: a day, a year, or (zero) nothing.
type bound struct {
	year int
	day  time.Time // zero when only the year is known
}

func (b bound) isZero() bool { return b.year == 0 }

// start is the first day on which something that began then is taken to hold.
func (b bound) start() time.Time {
	switch {
	case b.isZero():
		return time.Time{}
	case !b.day.IsZero():
		return b.day
	}
	return time.Date(b.year, 1, 1, 0, 0, 0, 0, time.UTC)
}

// end is the first day on which something that ended then is taken not to hold any more: of a year only, it holds through it.
func (b bound) end() time.Time {
	switch {
	case b.isZero():
		return time.Time{}
	case !b.day.IsZero():
		return b.day
	}
	return time.Date(b.year+1, 1, 1, 0, 0, 0, 0, time.UTC)
}

// fact is one line of a published list: a code under one name, from when to when, and where its area went.
type fact struct {
	code, name, level, parent string // parent "" follows from the code
	from, to                  bound
	moves                     []move
}

// move is area that went to another code: all that was left when the code ended (zero on), or a part while it lived on.
type move struct {
	code string
	on   bound
}

// mergeFacts joins an imported list with the facts that are built in. The list knows more codes and names; the built-in
// facts know days where it knows only years, and ends that an older list does not know yet.
func mergeFacts(builtin, imported []fact) []fact {
	own := map[string]fact{} // the built-in list has one line a code
	for _, f := range builtin {
		own[f.code] = f
	}
	out := slices.Clone(imported)
	last := map[string]int{}
	for i, f := range out {
		if j, ok := last[f.code]; !ok || out[j].from.year <= f.from.year {
			last[f.code] = i
		}
	}
	for i := range out {
		f := &out[i]
		base, ok := own[f.code]
		if !ok {
			continue
		}
		if from, to := base.refine(f.from), base.refine(f.to); to.isZero() || to.end().After(from.start()) {
			f.from, f.to = from, to
		}
		f.moves = slices.Clone(f.moves)
		for j := range f.moves {
			f.moves[j].on = base.refine(f.moves[j].on)
		}
		if last[f.code] != i {
			continue
		}
		if f.to.isZero() && base.to.end().After(f.from.start()) {
			f.to = base.to
			f.moves = append(f.moves, base.movesAtEnd()...)
		}
		for _, m := range base.moves {
			if !m.on.isZero() && !slices.ContainsFunc(f.moves, func(o move) bool { return o.code == m.code && o.on.year == m.on.year }) {
				f.moves = append(f.moves, m)
			}
		}
	}
	for _, f := range builtin {
		if _, ok := last[f.code]; !ok {
			out = append(out, f)
		}
	}
	return out
}

func (f fact) movesAtEnd() []move {
	var out []move
	for _, m := range f.moves {
		if m.on.isZero() {
			out = append(out, m)
		}
	}
	return out
}

// refine gives a year the day that the fact knows of that year.
func (f fact) refine(b bound) bound {
	if b.isZero() || !b.day.IsZero() {
		return b
	}
	known := []bound{f.from, f.to}
	for _, m := range f.moves {
		known = append(known, m.on)
	}
	for _, k := range known {
		if k.year == b.year && !k.day.IsZero() {
			return k
		}
	}
	return b
}

// linkPrefectures names the successor of prefectures (地区) that lists leave out: where a prefecture ended in the year in which
// exactly one city of the same province and the same short name began, it became that city (台州地区 became 台州市 in 1994).
func linkPrefectures(facts []fact) []fact {
	type key struct {
		province, short string
		year            int
	}
	begun := map[key][]string{}
	of := func(f fact, b bound) key { return key{f.code[:2], shortName(f.name), b.year} }
	for _, f := range facts {
		if f.level == LevelCity && !f.from.isZero() {
			begun[of(f, f.from)] = append(begun[of(f, f.from)], f.code)
		}
	}
	out := slices.Clone(facts)
	for i, f := range out {
		if f.level != LevelCity || f.to.isZero() || len(f.moves) > 0 {
			continue
		}
		if cities := begun[of(f, f.to)]; len(cities) == 1 && cities[0] != f.code {
			out[i].moves = []move{{code: cities[0]}}
		}
	}
	return out
}

// event is a change of a code's area on a day: what it gave away, if anything (else it received).
type event struct{ gave []string }

// buildRegions cuts facts into versions: at changes of name, and at changes of area, which raise the extent.
func buildRegions(facts []fact) *Regions {
	byCode := map[string][]fact{}
	var codes []string
	for _, f := range facts {
		if byCode[f.code] == nil {
			codes = append(codes, f.code)
		}
		byCode[f.code] = append(byCode[f.code], f)
	}
	for _, list := range byCode {
		slices.SortStableFunc(list, func(a, b fact) int { return a.from.start().Compare(b.from.start()) })
	}
	events := map[string]map[time.Time]*event{}
	happen := func(code string, on time.Time, gave ...string) {
		if events[code] == nil {
			events[code] = map[time.Time]*event{}
		}
		if events[code][on] == nil {
			events[code][on] = &event{}
		}
		events[code][on].gave = append(events[code][on].gave, gave...)
	}
	for _, list := range byCode {
		for i, f := range list {
			for _, m := range f.moves {
				switch {
				case !m.on.isZero():
					happen(f.code, m.on.start(), m.code)
					happen(m.code, m.on.start())
				case m.code == f.code:
				case livesOn(list, i):
					happen(f.code, f.to.start(), m.code)
					happen(m.code, f.to.start())
				default:
					happen(m.code, f.to.start())
				}
			}
		}
	}
	var all []Region
	for _, code := range codes {
		list := byCode[code]
		extent := 1
		for i, f := range list {
			v := Region{Code: code, Name: f.name, Level: f.level, Parent: parentOf(f, byCode), From: f.from.start(), To: f.to.end(), Short: shortName(f.name)}
			if livesOn(list, i) {
				v.To = list[i+1].from.start()
			}
			if i > 0 && livesOn(list, i-1) && events[code][v.From] != nil {
				extent++
			} else if i > 0 && !livesOn(list, i-1) {
				extent++ // a code that was dropped and given again stands for something else
			}
			for _, on := range sortedDays(events[code]) {
				if !on.After(v.From) || !v.To.IsZero() && !on.Before(v.To) {
					continue
				}
				piece := v
				piece.To, piece.Extent = on, extent
				piece.Successors = lives(code, events[code][on].gave)
				all = append(all, piece)
				v.From = on
				extent++
			}
			v.Extent = extent
			switch {
			case livesOn(list, i):
				var gave []string
				if e := events[code][v.To]; e != nil {
					gave = e.gave
				}
				v.Successors = lives(code, gave)
			case !f.to.isZero():
				ends := f.movesAtEnd()
				for _, m := range ends {
					v.Successors = append(v.Successors, Successor{Code: m.code, Part: len(ends) > 1})
				}
			}
			all = append(all, v)
		}
	}
	return newRegions(all)
}

// livesOn reports whether the code of line i goes on without a gap in the next line, under another name.
func livesOn(list []fact, i int) bool {
	return i+1 < len(list) && list[i].to.year == list[i+1].from.year && list[i+1].from.start().After(list[i].from.start())
}

// lives lists the successors of a version whose code lives on after giving area to other codes.
func lives(code string, gave []string) []Successor {
	if len(gave) == 0 {
		return []Successor{{Code: code}}
	}
	gave = slices.Sorted(slices.Values(gave))
	out := []Successor{{Code: code, Part: true}}
	for _, to := range slices.Compact(gave) {
		out = append(out, Successor{Code: to, Part: true})
	}
	return out
}

func sortedDays(events map[time.Time]*event) []time.Time {
	days := make([]time.Time, 0, len(events))
	for d := range events {
		days = append(days, d)
	}
	slices.SortFunc(days, time.Time.Compare)
	return days
}

// parentOf follows the digits of the code (GB/T 2260) where the list does not say otherwise: counties of a municipality and
// counties directly under a province have no city above them.
func parentOf(f fact, known map[string][]fact) string {
	if f.parent != "" || f.level == LevelNation {
		return f.parent
	}
	var above []string
	switch f.level {
	case LevelCounty:
		above = []string{f.code[:4] + "00", f.code[:2] + "0000", NationCode}
	case LevelCity:
		above = []string{f.code[:2] + "0000", NationCode}
	default:
		above = []string{NationCode}
	}
	for _, code := range above {
		if code != f.code && known[code] != nil {
			return code
		}
	}
	return cmp.Or(above[0], NationCode)
}
