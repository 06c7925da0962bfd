package schemas

import (
	"bytes"
	_ "embed"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/headwater-data/headwater/internal/problem"
)

//go:embed reference/regions-zhejiang.csv
var zhejiangCSV []byte

// builtinFacts are the nation and Zhejiang with its history.
var builtinFacts = sync.OnceValue(func() []fact {
	facts, problems := readFacts(bytes.NewReader(zhejiangCSV), "regions-zhejiang.csv")
	if len(problems) > 0 {
		panic("schemas: " + problems.Error())
	}
	return facts
})

// Bounds of an imported list.
const (
	maxRegionBytes    = 32 << 20
	maxRegionRows     = 200_000
	maxRegionProblems = 100
)

// ImportRegions reads a published list of regions and returns the built-in regions extended by it: the list's codes and
// names, with the built-in days where the list has only years. It takes two forms of CSV in UTF-8, with or without byte order
// mark, told apart by their header:
//
//   - 代码,一级行政区,二级行政区,名称,级别,状态,启用时间,变更/弃用时间,新代码: yescallop/areacodes, result.csv (CC0), every code since 1981;
//   - code,name,level,parent,from,to,successors: Headwater's own, with years or days (2021 or 2021-04-09) and lines of
//     comment that begin with #.
//
// Successors are separated by semicolons; code[2021] is a part that moved while the code lived on. With problems the result is
// nil. The name is used in problems only.
func ImportRegions(r io.Reader, name string) (*Regions, problem.List) {
	facts, problems := readFacts(r, name)
	if len(problems) > 0 {
		return nil, problems
	}
	return buildRegions(linkPrefectures(mergeFacts(builtinFacts(), facts))), nil
}

// overlaps reports whether a code would stand for both at once. In the year of a change both the old and the new one are
// listed, which is no overlap.
func (f fact) overlaps(o fact) bool {
	if o.from.start().Before(f.from.start()) {
		f, o = o, f
	}
	return f.from.year == o.from.year || f.to.isZero() || f.to.year > o.from.year
}

// factColumns finds a list's columns by their header.
type factColumns struct {
	code, name, level, parent, from, to, successors int
	chinese                                         bool
}

func findColumns(header []string) (factColumns, error) {
	c := factColumns{parent: -1}
	want := map[string]*int{"code": &c.code, "name": &c.name, "level": &c.level, "from": &c.from, "to": &c.to, "successors": &c.successors}
	if slices.Contains(header, "代码") {
		c.chinese = true
		want = map[string]*int{"代码": &c.code, "名称": &c.name, "级别": &c.level, "二级行政区": &c.parent, "启用时间": &c.from, "变更/弃用时间": &c.to, "新代码": &c.successors}
	}
	var missing []string
	for title, position := range want {
		*position = slices.Index(header, title)
		if *position < 0 {
			missing = append(missing, title)
		}
	}
	if !c.chinese {
		c.parent = slices.Index(header, "parent")
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return c, fmt.Errorf("the header lacks the columns %s", strings.Join(missing, ", "))
	}
	return c, nil
}

func readFacts(r io.Reader, name string) ([]fact, problem.List) {
	var problems problem.List
	report := func(line, column int, message, fix string) {
		problems = append(problems, problem.Problem{File: name, Line: line, Column: column, Message: message, Fix: fix})
	}
	data, err := io.ReadAll(io.LimitReader(r, maxRegionBytes+1))
	switch {
	case err != nil:
		report(0, 0, "reading stopped: "+err.Error(), "")
		return nil, problems
	case len(data) > maxRegionBytes:
		report(0, 0, fmt.Sprintf("the file is larger than %d MiB", maxRegionBytes>>20), "import regions down to counties only")
		return nil, problems
	case !utf8.Valid(data):
		report(0, 0, "the file is not UTF-8", "save it as UTF-8")
		return nil, problems
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	texts := bytes.Split(data, []byte("\n"))
	reader := csv.NewReader(bytes.NewReader(data))
	reader.Comment = '#'
	reader.ReuseRecord = true
	header, err := reader.Read()
	if err != nil {
		report(1, 1, "the file has no header", "")
		return nil, problems
	}
	columns, err := findColumns(header)
	if err != nil {
		report(1, 1, err.Error(), "use the columns code,name,level,parent,from,to,successors")
		return nil, problems
	}
	var facts []fact
	lines := map[string][]fact{} // by code, to find spans that overlap
	for {
		record, err := reader.Read()
		if err == io.EOF {
			break
		}
		if parse, ok := errors.AsType[*csv.ParseError](err); ok {
			report(parse.Line, parse.Column, parse.Err.Error(), "")
			break // what follows a broken quote cannot be told apart
		}
		line, _ := reader.FieldPos(0)
		f, column, err := columns.fact(record)
		if err != nil {
			_, at := position(reader, texts, column)
			report(line, at, err.Error(), "")
		} else if i := slices.IndexFunc(lines[f.code], f.overlaps); i >= 0 {
			if other := lines[f.code][i]; other.parent != f.parent && other.parent != "" && f.parent != "" {
				report(line, 1, fmt.Sprintf("code %s lies under %s and under %s at the same time", f.code, other.parent, f.parent), "let one line end, in its column to, on the day on which the other begins")
			} else {
				report(line, 1, fmt.Sprintf("code %s is there twice at the same time", f.code), "")
			}
		} else {
			lines[f.code] = append(lines[f.code], f)
			facts = append(facts, f)
		}
		if len(facts) > maxRegionRows {
			report(line, 1, fmt.Sprintf("more than %d regions", maxRegionRows), "")
			return nil, problems
		}
		if len(problems) >= maxRegionProblems {
			report(line, 1, "too many problems; the rest of the file was not read", "")
			return nil, problems
		}
	}
	if len(facts) == 0 && len(problems) == 0 {
		report(1, 1, "the file has no regions", "")
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return facts, nil
}

var levelNames = map[string]string{"省级": LevelProvince, "地级": LevelCity, "县级": LevelCounty,
	LevelNation: LevelNation, LevelProvince: LevelProvince, LevelCity: LevelCity, LevelCounty: LevelCounty}

// fact reads one line; the number is that of the field at fault.
func (c factColumns) fact(record []string) (fact, int, error) {
	get := func(i int) string {
		if i < 0 {
			return ""
		}
		return fold(record[i])
	}
	f := fact{code: get(c.code), name: foldName(get(c.name)), level: levelNames[get(c.level)]}
	var err error
	switch {
	case !regionCode.MatchString(f.code):
		return f, c.code, fmt.Errorf("%q is no 6-digit code", clip(f.code))
	case f.name == "" || runes(f.name) > maxNameRunes:
		return f, c.name, fmt.Errorf("a name has 1 to %d characters", maxNameRunes)
	case f.level == "":
		return f, c.level, fmt.Errorf("%q is no level; write nation, province, city or county", clip(get(c.level)))
	case f.level == LevelNation && f.code != NationCode:
		return f, c.code, fmt.Errorf("the nation has the code %s", NationCode)
	}
	if c.chinese {
		if get(c.parent) == "直辖" { // a county of a municipality, or directly under the province
			f.parent = f.code[:2] + "0000"
		}
	} else if f.parent = get(c.parent); f.parent != "" && (!regionCode.MatchString(f.parent) || f.parent == f.code) {
		return f, c.parent, fmt.Errorf("%q is no code of a region above", clip(f.parent))
	}
	if f.from, err = parseBound(get(c.from)); err != nil {
		return f, c.from, err
	}
	if f.to, err = parseBound(get(c.to)); err != nil {
		return f, c.to, err
	}
	if !f.to.isZero() && !f.from.isZero() && f.to.end().Compare(f.from.start()) <= 0 {
		return f, c.to, errors.New("the code ends before it begins")
	}
	for part := range strings.SplitSeq(get(c.successors), ";") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		m, err := parseMove(part)
		if err != nil {
			return f, c.successors, err
		}
		if m.on.isZero() && f.to.isZero() {
			return f, c.successors, fmt.Errorf("%s took over the whole of a code that has not ended; write %s[YEAR] for a part", m.code, m.code)
		}
		f.moves = append(f.moves, m)
	}
	return f, 0, nil
}

var moveText = regexp.MustCompile(`^([0-9]{6})(?:\[([0-9-]+)\])?$`)

func parseMove(text string) (move, error) {
	parts := moveText.FindStringSubmatch(text)
	if parts == nil {
		return move{}, fmt.Errorf("%q is no successor; write 330105 or 330105[2021]", clip(text))
	}
	on, err := parseBound(parts[2])
	return move{parts[1], on}, err
}

func parseBound(text string) (bound, error) {
	if text == "" {
		return bound{}, nil
	}
	if day, err := time.Parse(time.DateOnly, text); err == nil && day.Year() >= 1900 && day.Year() <= 2200 {
		return bound{day.Year(), day}, nil
	}
	if year, err := strconv.Atoi(text); err == nil && len(text) == 4 && year >= 1900 && year <= 2200 {
		return bound{year: year}, nil
	}
	return bound{}, fmt.Errorf("%q is no year or day between 1900 and 2200", clip(text))
}
