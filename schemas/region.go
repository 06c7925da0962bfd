package schemas

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"time"
)

// Levels of regions, from the top.
const (
	LevelNation   = "nation"
	LevelProvince = "province"
	LevelCity     = "city"
	LevelCounty   = "county"
)

// NationCode is the region above all provinces.
const NationCode = "100000"

var regionCode = regexp.MustCompile(`^[0-9]{6}$`)

// Region is one version of a region: the span of days in which a code stood for one name and one area. Codes that keep
// their digits while their area or name changes have several versions, without overlap.
type Region struct {
	Code   string
	Name   string
	Short  string // name without 省, 市, 区, 县 and the like; two-character names stay whole
	Level  string // nation, province, city, county
	Parent string // code of the region above; "" for the nation
	// From is the first day, To the first day after; zero means open. Both are midnight UTC and stand for calendar days.
	// Where only a year is known, a version begins on its first day and a code that was dropped holds through its last.
	From, To time.Time
	// Extent counts the areas that the code has stood for, from 1: figures of different extents do not compare.
	Extent int
	// Successors say where the area went when the version ended; the code itself is among them when it lives on.
	Successors []Successor
}

// Successor is a region that took over the area of another.
type Successor struct {
	Code string `json:"code"`
	Part bool   `json:"part,omitempty"` // it took a part of it only
}

// Holds reports whether the version held on the calendar day of on, in on's own location. The zero time asks for versions
// that still hold.
func (r Region) Holds(on time.Time) bool {
	if on.IsZero() {
		return r.To.IsZero()
	}
	day := calendarDay(on)
	return !day.Before(r.From) && (r.To.IsZero() || day.Before(r.To))
}

// bears reports whether the version is called so, in full, in short or in everyday use.
func (r Region) bears(name string) bool {
	return r.Name == name || r.Short == name || everydayName(r.Name) == name || r.Code == NationCode
}

func (r Region) label() string { return r.Code + " " + r.Name }

func calendarDay(t time.Time) time.Time {
	y, m, d := t.Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}

type regionJSON struct {
	Code       string      `json:"code"`
	Name       string      `json:"name"`
	Level      string      `json:"level"`
	Parent     string      `json:"parent,omitempty"`
	From       string      `json:"from,omitempty"`
	To         string      `json:"to,omitempty"`
	Extent     int         `json:"extent,omitempty"` // 0 means 1
	Successors []Successor `json:"successors,omitempty"`
}

// MarshalJSON writes the version; the short name follows from the name and is left out.
func (r Region) MarshalJSON() ([]byte, error) {
	out := regionJSON{Code: r.Code, Name: r.Name, Level: r.Level, Parent: r.Parent, From: dayText(r.From), To: dayText(r.To), Successors: r.Successors}
	if r.Extent > 1 {
		out.Extent = r.Extent
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (r *Region) UnmarshalJSON(data []byte) error {
	var in regionJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	from, err1 := parseDay(in.From)
	to, err2 := parseDay(in.To)
	if err := cmp.Or(err1, err2); err != nil {
		return fmt.Errorf("region %s: %w", clip(in.Code), err)
	}
	*r = Region{Code: in.Code, Name: in.Name, Short: shortName(in.Name), Level: in.Level, Parent: in.Parent, From: from, To: to,
		Extent: max(1, in.Extent), Successors: in.Successors}
	return nil
}

func dayText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.DateOnly)
}

func parseDay(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	return time.Parse(time.DateOnly, text)
}

// Regions is the tree of regions with its history. It is immutable and safe for use from many goroutines.
type Regions struct {
	all      []Region            // by code, then From
	byCode   map[string][]Region // versions in order
	byName   map[string][]string // full name -> codes that ever bore it
	byShort  map[string][]string
	children map[string][]int    // parent -> positions in all
	before   map[string][]string // code -> codes that became it as a whole
}

func newRegions(all []Region) *Regions {
	r := &Regions{
		all:      slices.Clone(all),
		byCode:   map[string][]Region{},
		byName:   map[string][]string{},
		byShort:  map[string][]string{},
		children: map[string][]int{},
		before:   map[string][]string{},
	}
	slices.SortStableFunc(r.all, func(a, b Region) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), a.From.Compare(b.From))
	})
	add := func(index map[string][]string, name, code string) {
		if name != "" && !slices.Contains(index[name], code) {
			index[name] = append(index[name], code)
		}
	}
	for i, v := range r.all {
		if v.Short == "" {
			v.Short = shortName(v.Name)
			r.all[i].Short = v.Short
		}
		r.byCode[v.Code] = append(r.byCode[v.Code], v)
		add(r.byName, v.Name, v.Code)
		add(r.byShort, v.Short, v.Code)
		add(r.byShort, everydayName(v.Name), v.Code)
		r.children[v.Parent] = append(r.children[v.Parent], i)
	}
	for code, versions := range r.byCode {
		if s := versions[len(versions)-1].Successors; len(s) == 1 && !s[0].Part && s[0].Code != code {
			r.before[s[0].Code] = append(r.before[s[0].Code], code)
		}
	}
	for _, codes := range r.before {
		slices.Sort(codes)
	}
	if _, ok := r.byCode[NationCode]; ok {
		for _, name := range []string{"中国", "全国"} {
			add(r.byName, name, NationCode)
		}
	}
	return r
}

// All returns every version of every region, by code and then by time.
func (r *Regions) All() []Region { return slices.Clone(r.all) }

// Len returns the number of versions.
func (r *Regions) Len() int { return len(r.all) }

// At returns the version of the code that held on the calendar day of on; the zero time asks for the newest version, even
// if it has ended.
func (r *Regions) At(code string, on time.Time) (Region, bool) {
	versions := r.byCode[code]
	if len(versions) == 0 {
		return Region{}, false
	}
	if on.IsZero() {
		return versions[len(versions)-1], true
	}
	for _, v := range versions {
		if v.Holds(on) {
			return v, true
		}
	}
	return Region{}, false
}

// Parent returns the region above the one that At finds, as it was on that day or, if it did not hold on the day itself, in
// its newest version.
func (r *Regions) Parent(code string, on time.Time) (Region, bool) {
	child, ok := r.At(code, on)
	if !ok || child.Parent == "" {
		return Region{}, false
	}
	if parent, ok := r.At(child.Parent, on); ok {
		return parent, true
	}
	return r.At(child.Parent, time.Time{})
}

// Children returns the regions directly below code that held on the calendar day of on, by code; the zero time asks for
// those that still hold.
func (r *Regions) Children(code string, on time.Time) []Region {
	var out []Region
	for _, i := range r.children[code] {
		if r.all[i].Holds(on) {
			out = append(out, r.all[i])
		}
	}
	return out
}

// Above returns the code of the region of that level in which a version lies, itself included; "" when there is none, as
// above a county that lies directly under its province.
func (r *Regions) Above(v Region, level string) string {
	for range 4 { // county, city, province, nation: bounds a list whose parents go in a circle
		if v.Level == level {
			return v.Code
		}
		parent, ok := r.At(v.Parent, v.From)
		if !ok {
			if parent, ok = r.At(v.Parent, time.Time{}); !ok {
				return ""
			}
		}
		v = parent
	}
	return ""
}

// inside reports whether a version lies in the region `within` or is it.
func (r *Regions) inside(v Region, within string) bool {
	for range 4 { // county, city, province, nation: bounds a list whose parents go in a circle
		if v.Code == within || v.Parent == within {
			return true
		}
		versions := r.byCode[v.Parent]
		if len(versions) == 0 {
			return false
		}
		v = versions[len(versions)-1]
	}
	return false
}
