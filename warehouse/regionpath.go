package warehouse

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/headwater-data/headwater/schemas"
)

// pathRow is one row of the table region_path: where a region stood in the tree from a day on.
type pathRow struct {
	Code    string     `ch:"code"`
	Since   time.Time  `ch:"since"`
	Name    string     `ch:"name"`
	Level   string     `ch:"level"`
	Parent  string     `ch:"parent"`
	Path    []pathItem `ch:"path"`
	Steps   []pathStep `ch:"steps"`
	Deleted bool       `json:"-"`
}

type pathItem struct{ Code, Level, Name string }

type pathStep struct {
	Code  string
	Below string // the region of the path directly below; "" at its bottom
	Unit  string // from the province up, the city whose mean counts once; "" below
}

var pathColumns = func() []arrow.Field {
	label := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}
	tuples := func(names ...string) arrow.DataType {
		var fields []arrow.Field
		for _, name := range names {
			fields = append(fields, arrow.Field{Name: name, Type: arrow.BinaryTypes.String})
		}
		return arrow.ListOfNonNullable(arrow.StructOf(fields...))
	}
	return []arrow.Field{
		{Name: "code", Type: label},
		{Name: "since", Type: arrow.FixedWidthTypes.Date32},
		{Name: "name", Type: arrow.BinaryTypes.String},
		{Name: "level", Type: label},
		{Name: "parent", Type: label},
		{Name: "path", Type: tuples("code", "level", "name")},
		{Name: "steps", Type: tuples("code", "below", "unit")},
	}
}()

// municipalities are the provinces that are cities themselves: a mean over one is a mean over its stations, and it counts as
// one city where means of cities are averaged.
var municipalities = []string{"110000", "120000", "310000", "500000"}

// maxDepth bounds a path, whatever the regions say of each other.
const maxDepth = 8

// tree answers which version of a region held on a day. A region's first version reaches back to unknownFrom, and its last
// one holds for ever: figures from before a code was listed, or after it was dropped, still belong somewhere.
type tree map[string][]schemas.Region // by code, by age

func newTree(regions []schemas.Region) tree {
	t := tree{}
	for _, r := range regions {
		t[r.Code] = append(t[r.Code], r)
	}
	for _, versions := range t {
		slices.SortFunc(versions, func(a, b schemas.Region) int { return a.From.Compare(b.From) })
		versions[0].From = unknownFrom
	}
	return t
}

func (t tree) at(code string, day time.Time) (schemas.Region, bool) {
	versions := t[code]
	for i := len(versions) - 1; i >= 0; i-- {
		if !versions[i].From.After(day) {
			return versions[i], true
		}
	}
	return schemas.Region{}, false
}

// changes collects the days in [from, to) on which the region or one above it changes.
func (t tree) changes(code string, from, to time.Time, depth int, days map[time.Time]bool) {
	if depth == maxDepth {
		return
	}
	for i, v := range t[code] {
		end := to
		if i+1 < len(t[code]) && t[code][i+1].From.Before(to) {
			end = t[code][i+1].From
		}
		begin := v.From
		if begin.Before(from) {
			begin = from
		}
		if !begin.Before(end) {
			continue
		}
		days[begin] = true
		if v.Parent != "" {
			t.changes(v.Parent, begin, end, depth+1, days)
		}
	}
}

// farAway is after every day that a region knows.
var farAway = time.Date(2299, 12, 31, 0, 0, 0, 0, time.UTC)

func pathRows(regions []schemas.Region) []pathRow {
	t := newTree(regions)
	rows := []pathRow{}
	for code := range t {
		days := map[time.Time]bool{}
		t.changes(code, unknownFrom, farAway, 0, days)
		var last pathRow
		for _, day := range slices.SortedFunc(maps.Keys(days), time.Time.Compare) {
			row := t.row(code, day)
			if last.Code != "" && last.Name == row.Name && last.Level == row.Level && slices.Equal(last.Path, row.Path) {
				continue
			}
			rows, last = append(rows, row), row
		}
	}
	slices.SortFunc(rows, func(a, b pathRow) int { return cmp.Or(cmp.Compare(a.Code, b.Code), a.Since.Compare(b.Since)) })
	return rows
}

func (t tree) row(code string, day time.Time) pathRow {
	own, _ := t.at(code, day)
	row := pathRow{Code: code, Since: day, Name: own.Name, Level: own.Level, Parent: own.Parent}
	city, municipality := "", ""
	for v, ok := own, true; ok && len(row.Path) < maxDepth; v, ok = t.at(v.Parent, day) {
		switch {
		case v.Level == schemas.LevelCity:
			city = v.Code
		case slices.Contains(municipalities, v.Code):
			municipality = v.Code
		}
		below := ""
		if n := len(row.Path); n > 0 {
			below = row.Path[n-1].Code
		}
		row.Path = append(row.Path, pathItem{v.Code, v.Level, v.Name})
		step := pathStep{Code: v.Code, Below: below}
		if v.Level == schemas.LevelProvince || v.Level == schemas.LevelNation {
			step.Unit = cmp.Or(city, municipality, code)
		}
		row.Steps = append(row.Steps, step)
	}
	return row
}
