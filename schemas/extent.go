package schemas

import (
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/headwater-data/headwater/internal/problem"
)

//go:embed reference/extents-zhejiang.csv
var extentsCSV []byte

// Extent is a box around a region, in degrees of WGS-84: every place of the region lies in it, and others may too. It is for a look
// whether a position lies in a region's neighbourhood, and is no boundary.
type Extent struct {
	Code                     string
	West, South, East, North float64
}

var builtinExtents = sync.OnceValue(func() []Extent {
	extents, problems := ReadExtents(bytes.NewReader(extentsCSV), "extents-zhejiang.csv")
	if len(problems) > 0 {
		panic("schemas: " + problems.Error())
	}
	return extents
})

var extentHeader = []string{"code", "west", "south", "east", "north"}

// ReadExtents reads a list of boxes: CSV in UTF-8 with the columns code, west, south, east, north, and lines of comment that begin with
// #. With problems the result is nil. The name is used in problems only.
func ReadExtents(r io.Reader, name string) ([]Extent, problem.List) {
	var extents []Extent
	lines := map[string]int{}
	problems := readReference(r, name, extentHeader, func(line int, fields []string) (bad, fix string) {
		e := Extent{Code: fields[0]}
		for i, to := range []*float64{&e.West, &e.South, &e.East, &e.North} {
			var err error
			if *to, err = strconv.ParseFloat(fields[i+1], 64); err != nil {
				bad = extentHeader[i+1] + " is no number"
			}
		}
		switch {
		case !regionCode.MatchString(e.Code):
			return "the code has not 6 digits", ""
		case lines[e.Code] > 0:
			return fmt.Sprintf("%s stands in line %d already", e.Code, lines[e.Code]), ""
		case bad != "":
			return bad, ""
		case !(e.West >= -180 && e.West < e.East && e.East <= 180 && e.South >= -90 && e.South < e.North && e.North <= 90):
			return "it is no box: west lies below east and south below north, within -180 to 180 and -90 to 90", ""
		}
		lines[e.Code] = line
		extents = append(extents, e)
		return "", ""
	})
	if len(problems) > 0 {
		return nil, problems
	}
	return extents, nil
}

// Extents returns the boxes around regions, in the order of their codes: those that are built in, and in place of or beside them those
// of WithExtents. They are no part of the set's JSON: they shape no rows.
func (s *Set) Extents() []Extent {
	byCode := map[string]Extent{}
	for _, e := range append(slices.Clone(builtinExtents()), s.extents...) {
		byCode[e.Code] = e
	}
	out := make([]Extent, 0, len(byCode))
	for _, e := range byCode {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b Extent) int { return strings.Compare(a.Code, b.Code) })
	return out
}

// WithExtents returns the set with other boxes beside those that are built in.
func (s *Set) WithExtents(extents []Extent) *Set {
	out := *s
	out.extents = extents
	return &out
}
