package schemas_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/headwater-data/headwater/schemas"
)

const (
	casesYAML  = "indicator: CASES\ntitle: { zh: 病例, en: Cases }\nunit: 例\ndirection: down\naggregation: sum\n"
	tracedYAML = "indicator: TRACED\ntitle: { zh: 溯源率, en: Traced }\nunit: \"1\"\naggregation: ratio\n"
	busYAML    = "indicator: BUS\ntitle: { zh: 公交, en: Buses }\nunit: 分\naggregation: mean\n"
)

// measures loads indicators and indexes of which each is a whole file.
func measures(indicators, indexes []string) (schemas.Measures, error) {
	files := func(folder string, texts []string) []schemas.File {
		var out []schemas.File
		for i, text := range texts {
			out = append(out, schemas.File{Name: fmt.Sprintf("%s%d.yaml", folder, i+1), Data: []byte(text)})
		}
		return out
	}
	m, problems := schemas.LoadMeasures(schemas.Standard(), files("i", indicators), files("x", indexes))
	return m, problems.Err()
}

func indexYAML(code string, components ...string) string {
	return "index: " + code + "\ntitle: { zh: 指数, en: Index }\nversions:\n  - version: \"1\"\n    valid_from: 2021-01-01\n    components:\n      - " + strings.Join(components, "\n      - ") + "\n"
}

func TestIndexesAreInTheOrderInWhichTheyAreMade(t *testing.T) {
	t.Parallel()
	m, err := measures([]string{casesYAML, tracedYAML, busYAML}, []string{
		indexYAML("A", "{ of: C, weight: 0.5 }", "{ of: B, weight: 0.5 }"),
		indexYAML("B", "{ of: CASES, weight: 0.3333333, score: min_max, zero: 20, full: 0, unit: 例 }", "{ of: TRACED, weight: 0.3333333, score: target }", "{ of: BUS, weight: 0.3333334 }"),
		indexYAML("C", "{ of: B, weight: 0.25 }", "{ of: TRACED, weight: 0.75, score: piecewise, points: [[0.5, 0], [1, 100]], unit: \"1\" }"),
	})
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, i := range m.Indexes {
		order = append(order, i.Code)
	}
	if want := []string{"B", "C", "A"}; !slices.Equal(order, want) {
		t.Errorf("got %v, want %v", order, want)
	}
	b := m.Indexes[0]
	if v := b.Versions[0]; b.Unit != "分" || b.Grain != "month" || b.Direction != "up" || v.Missing != "reweight" || v.Components[2].Score != "as_is" {
		t.Errorf("what was left out: %+v", b)
	}
}

func TestWhatIsWrongWithAnIndexIsTold(t *testing.T) {
	t.Parallel()
	bus := "{ of: BUS, weight: 1 }"
	versions := func(spans ...string) string {
		text := "index: X\ntitle: { zh: 指数, en: Index }\nversions:\n"
		for _, s := range spans {
			text += "  - { " + s + ", components: [{ of: BUS, weight: 1 }] }\n"
		}
		return text
	}
	for name, c := range map[string]struct {
		indexes []string
		want    string
	}{
		"weights of 0.98":                        {[]string{indexYAML("X", "{ of: BUS, weight: 0.5 }", "{ of: CASES, weight: 0.48, score: min_max, zero: 9, full: 0, unit: 例 }")}, "x1.yaml:6:5: the weights of version 1 add up to 0.98, not to 1"},
		"a weight of nothing":                    {[]string{indexYAML("X", "{ of: BUS, weight: 0 }")}, "a weight of 0"},
		"a component that is not there":          {[]string{indexYAML("X", "{ of: BUSS, weight: 1 }")}, `no indicator or index "BUSS" in this project (did you mean "BUS"?)`},
		"a component twice":                      {[]string{indexYAML("X", "{ of: BUS, weight: 0.5 }", "{ of: BUS, weight: 0.5 }")}, "BUS is a component twice"},
		"an index of itself":                     {[]string{indexYAML("X", "{ of: X, weight: 1 }")}, "the index is made of itself: X ← X"},
		"a circle":                               {[]string{indexYAML("X", "{ of: Y, weight: 1 }"), indexYAML("Y", "{ of: Z, weight: 1 }"), indexYAML("Z", "{ of: X, weight: 1 }")}, "the index is made of itself: X ← Y ← Z ← X"},
		"a ratio taken for a score":              {[]string{indexYAML("X", "{ of: TRACED, weight: 1 }")}, `TRACED is in "1" and the index in "分": it is no score as it is`},
		"bounds in another unit":                 {[]string{indexYAML("X", `{ of: TRACED, weight: 1, score: min_max, zero: 50, full: 100, unit: "%" }`)}, `the unit is "%" and that of TRACED is "1"`},
		"bounds without a unit":                  {[]string{indexYAML("X", "{ of: TRACED, weight: 1, score: min_max, zero: 0, full: 1 }")}, `add unit: "1"`},
		"bounds the wrong way round":             {[]string{indexYAML("X", "{ of: CASES, weight: 1, score: min_max, zero: 0, full: 9, unit: 例 }")}, "turn CASES round: of it less is better, of the index more"},
		"min_max without bounds":                 {[]string{indexYAML("X", "{ of: CASES, weight: 1, score: min_max }")}, "score: min_max needs zero"},
		"bounds that do not belong":              {[]string{indexYAML("X", "{ of: BUS, weight: 1, full: 9, unit: 分 }")}, "score: as_is takes no full"},
		"a limit as a target, from nowhere":      {[]string{indexYAML("X", "{ of: CASES, weight: 1, score: target }")}, "score: target needs zero"},
		"an index as a target":                   {[]string{indexYAML("X", "{ of: Y, weight: 1, score: target }"), indexYAML("Y", bus)}, "an index has no target"},
		"points that go back":                    {[]string{indexYAML("X", "{ of: CASES, weight: 1, score: piecewise, points: [[5, 0], [5, 50]], unit: 例 }")}, "the figure 5 does not rise"},
		"a point of three":                       {[]string{indexYAML("X", "{ of: CASES, weight: 1, score: piecewise, points: [[5, 0, 1], [6, 50]], unit: 例 }")}, "a point is a figure and a score"},
		"one point":                              {[]string{indexYAML("X", "{ of: CASES, weight: 1, score: piecewise, points: [[5, 0]], unit: 例 }")}, "one point makes no line"},
		"a score above 100":                      {[]string{indexYAML("X", "{ of: CASES, weight: 1, score: piecewise, points: [[5, 0], [6, 101]], unit: 例 }")}, "a score of 101"},
		"figures of another period":              {[]string{strings.Replace(indexYAML("X", bus), "versions:", "grain: day\nversions:", 1)}, "BUS is about a month and the index about a day"},
		"a code that an indicator has":           {[]string{indexYAML("BUS", bus)}, "index BUS is defined in i3.yaml already"},
		"versions at once":                       {[]string{versions("version: a, valid_from: 2021-01-01, valid_to: 2021-06-02", "version: b, valid_from: 2021-06-01")}, "x1.yaml:5:19: versions a and b are both in force on 2021-06-01"},
		"versions of one day":                    {[]string{versions("version: a, valid_from: 2021-01-01", "version: b, valid_from: 2021-01-01")}, "are both in force on 2021-01-01"},
		"a version twice":                        {[]string{versions("version: a, valid_from: 2021-01-01", "version: a, valid_from: 2021-02-01")}, "version a is there twice"},
		"a version that ends before it begins":   {[]string{versions("version: a, valid_from: 2021-01-01, valid_to: 2020-01-01")}, "version a ends before it begins"},
		"a day that is none":                     {[]string{versions("version: a, valid_from: 2021-02-30")}, `"2021-02-30" is no day`},
		"min_coverage beside another rule":       {[]string{strings.Replace(indexYAML("X", bus), "    components:", "    missing: zero\n    min_coverage: 0.5\n    components:", 1)}, "min_coverage belongs to missing: reweight"},
		"thresholds in the wrong order":          {[]string{strings.Replace(indexYAML("X", bus), "    components:", "    bands: { green: 80, blue: 90 }\n    components:", 1)}, "the threshold of green, 80, must lie above that of blue, 90"},
		"a faulty component is told once, there": {[]string{indexYAML("X", "{ of: Y, weight: 1 }"), indexYAML("Y", "{ of: NONE, weight: 1 }")}, `x2.yaml:7:11: no indicator or index "NONE"`},
	} {
		m, err := measures([]string{casesYAML, tracedYAML, busYAML}, c.indexes)
		if len(m.Indexes) > 0 && !strings.HasPrefix(name, "an index as") && !strings.HasPrefix(name, "a code that") || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, %v, want %q", name, m.Indexes, err, c.want)
		}
	}
}

func TestAVersionEndsWhereTheNextBegins(t *testing.T) {
	t.Parallel()
	m, err := measures([]string{casesYAML + "owner: health\nbands: { green: 0, red: 1 }\n"}, nil)
	if err == nil || !strings.Contains(err.Error(), `unknown field "red"`) {
		t.Errorf("a threshold of red, which is the rest: %v, %v", m, err)
	}
	m, err = measures([]string{casesYAML + "owner: health\nbands: { green: 0, orange: 9 }\nversions:\n" +
		"  - { version: b, valid_from: 2021-03-01, bands: { green: 1 } }\n  - { version: a, valid_from: 2021-01-01, owner: old }\n"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	v := m.Indicators[0].History()
	if v[1].To != "2021-03-01" || v[1].Owner != "old" || *v[1].Bands.Orange != 9 || v[0].To != "" || v[0].Owner != "health" || *v[0].Bands.Green != 1 || v[0].Bands.Orange != nil {
		t.Errorf("got %+v", v)
	}
	m, err = measures([]string{tracedYAML + "owner: health\n"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if v := m.Indicators[0].History(); len(v) != 1 || v[0].Version != "1" || !v[0].Begins().IsZero() || v[0].Owner != "health" {
		t.Errorf("an indicator without versions: %+v", v)
	}
}

func TestFactsThatAreNotThereAreTold(t *testing.T) {
	t.Parallel()
	file := func(unit, aggregation, facts string) string {
		return "indicator: X\ntitle: { zh: 某, en: X }\nunit: " + unit + "\naggregation: " + aggregation + "\nfacts: " + facts + "\n"
	}
	m, err := measures([]string{
		file("件", "sum", `{ schema: issue, time: found_on, where: ["status = closed", "closed_on <= due_on", "repeated = 0"] }`),
		strings.Replace(file("元", "sum", "{ schema: project, time: due_on, measure: sum, field: investment }"), "X\n", "Y\n", 1),
		strings.Replace(file("\"1\"", "ratio", `{ schema: hotline_case, time: due_at, where: ["closed_at<=due_at"], of: ["status != 已撤销", "due_at is present", "opened_at >= 2020-01-01"] }`), "X\n", "Z\n", 1),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(m.Indicators[0].Facts.Used()), "[found_on region status closed_on due_on repeated]"; got != want {
		t.Errorf("fields: got %s, want %s", got, want)
	}
	if where, of := m.Indicators[2].Facts.Conditions(); len(where) != 1 || where[0].Other.Name != "due_at" || of[0].Value != "cancelled" || of[1].Op != "present" || of[2].Value != "2020-01-01" {
		t.Errorf("conditions: %+v, %+v", where, of)
	}
	for name, c := range map[string]struct{ aggregation, facts, want string }{
		"no such schema":             {"sum", "{ schema: isue, time: found_on }", `i1.yaml:5:10: there is no schema "isue" to count (did you mean "issue"?)`},
		"Headwater's own table":      {"sum", "{ schema: ledger, time: at }", `there is no schema "ledger" to count`},
		"no such time":               {"sum", "{ schema: issue, time: day }", `the schema issue has no field "day"`},
		"a time that is a text":      {"sum", "{ schema: issue, time: title }", `field "title" is a string (name a date or timestamp field)`},
		"a region that is a text":    {"sum", "{ schema: issue, time: found_on, region: title }", `field "title" is a string (name a region field)`},
		"no such field":              {"sum", "{ schema: issue, time: found_on, where: [closed_at is present] }", `i1.yaml:5:49: the schema issue has no field "closed_at" (did you mean "closed_on"?)`},
		"no such field to sum":       {"sum", "{ schema: project, time: due_on, measure: sum, field: invest }", `the schema project has no field "invest"`},
		"a text to sum":              {"sum", "{ schema: project, time: due_on, measure: sum, field: name }", `field "name" is a string (name a number)`},
		"a personal field":           {"distinct", "{ schema: hotline_case, time: due_at, measure: distinct, field: phone }", "the field phone is personal"},
		"units that differ":          {"sum", "{ schema: project, time: due_on, measure: sum, field: investment }", `the indicator's unit is "件" and that of project.investment is "元"`},
		"a count with a field":       {"sum", "{ schema: project, time: due_on, field: investment }", "records are counted, whatever their fields"},
		"a sum of nothing":           {"sum", "{ schema: project, time: due_on, measure: sum }", "measure sum needs a field"},
		"a mean of records":          {"mean", "{ schema: issue, time: found_on }", "a count of records and aggregation mean do not go together (aggregation can be sum or ratio)"},
		"a ratio of nothing":         {"ratio", "{ schema: issue, time: found_on }", "of says what a ratio is a part of"},
		"a sum that is a part":       {"sum", "{ schema: issue, time: found_on, of: [] }", "of says what a ratio is a part of"},
		"no condition":               {"sum", "{ schema: issue, time: found_on, where: [closed] }", `"closed" is no condition`},
		"a code that there is not":   {"sum", "{ schema: issue, time: found_on, where: [status = done] }", `"done" is no value of status (write one of`},
		"a number that is none":      {"sum", "{ schema: project, time: due_on, where: [target > many] }", `"many" is no value of target`},
		"a day that is none":         {"sum", "{ schema: issue, time: found_on, where: [found_on > 2021-02-30] }", "write a day"},
		"texts in order":             {"sum", "{ schema: issue, time: found_on, where: [title > x] }", "a string has no order"},
		"a day against a code":       {"sum", "{ schema: issue, time: found_on, where: [found_on = status] }", "compare fields of one type"},
		"an injection is but a text": {"sum", `{ schema: issue, time: found_on, where: ["repeated = 0) OR (1 = 1"] }`, "write a number or a field"},
	} {
		if m, err := measures([]string{file("件", c.aggregation, c.facts)}, nil); len(m.Indicators) > 0 || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// TestTheFilesInTheDocsAreRight reads the examples of docs/indicators.md as a project would.
func TestTheFilesInTheDocsAreRight(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/indicators.md")
	if err != nil {
		t.Fatal(err)
	}
	indicators, indexes := []string{casesYAML, tracedYAML}, []string{}
	for _, block := range strings.Split(string(page), "```yaml\n")[1:] {
		text, _, _ := strings.Cut(block, "```")
		if strings.HasPrefix(text, "index:") {
			indexes = append(indexes, text)
		} else {
			indicators = append(indicators, text)
		}
	}
	if m, err := measures(indicators, indexes); err != nil || len(m.Indicators) != 3 || len(m.Indexes) != 1 {
		t.Errorf("%d indicators and %d indexes: %v", len(m.Indicators), len(m.Indexes), err)
	}
}

// Whatever the files hold: no panic, and either problems or measures that a second reading finds alike.
func FuzzMeasures(f *testing.F) {
	f.Add([]byte(casesYAML), []byte(indexYAML("X", "{ of: CASES, weight: 1, score: piecewise, points: [[5, 0], [6, 100]], unit: 例 }")))
	f.Add([]byte(tracedYAML), []byte(indexYAML("X", "{ of: X, weight: 1 }")))
	f.Fuzz(func(t *testing.T, indicator, index []byte) {
		read := func() (schemas.Measures, string) {
			m, problems := schemas.LoadMeasures(schemas.Standard(), []schemas.File{{Name: "i.yaml", Data: indicator}}, []schemas.File{{Name: "x.yaml", Data: index}})
			return m, problems.Error()
		}
		first, problems := read()
		second, again := read()
		if problems != again || len(first.Indexes) != len(second.Indexes) {
			t.Errorf("read twice: %q and %q", problems, again)
		}
		for _, i := range first.Indexes {
			for _, v := range i.Versions {
				if sum := func() (sum float64) {
					for _, c := range v.Components {
						sum += c.Weight
					}
					return
				}(); sum < 0.999 || sum > 1.001 {
					t.Errorf("weights of %g", sum)
				}
			}
		}
	})
}
