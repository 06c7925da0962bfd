package schemas_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/headwater-data/headwater/schemas"
)

var shanghai = func() *time.Location {
	zone, err := time.LoadLocation("Asia/Shanghai")
	if err != nil {
		panic(err)
	}
	return zone
}()

// day is midnight in Shanghai, as periods are: it falls on the day before in UTC.
func day(t *testing.T, text string) time.Time {
	t.Helper()
	if text == "" {
		return time.Time{}
	}
	d, err := time.ParseInLocation(time.DateOnly, text, shanghai)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestZhejiangHas11CitiesAnd90CountiesBeforeAndAfterThe2021Changes(t *testing.T) {
	t.Parallel()
	r := schemas.Standard().Regions()
	for _, on := range []string{"2021-04-08", "2021-04-09", "2024-06-01", ""} {
		cities := r.Children("330000", day(t, on))
		counties, kinds := 0, map[string]int{}
		for _, c := range cities {
			for _, county := range r.Children(c.Code, day(t, on)) {
				counties++
				letters := []rune(county.Name)
				kinds[string(letters[len(letters)-1:])]++
			}
		}
		if len(cities) != 11 || counties != 90 {
			t.Errorf("on %q: got %d cities and %d counties, want 11 and 90: a count alone does not see the change", on, len(cities), counties)
		}
		if want := map[string]int{"区": 37, "市": 20, "县": 33}; !cmp.Equal(kinds, want) {
			t.Errorf("on %q: got %v, want %v", on, kinds, want)
		}
	}
	if before, after := codesOf(r.Children("330100", day(t, "2021-04-08"))), codesOf(r.Children("330100", day(t, "2021-04-09"))); len(before) != 13 || len(after) != 13 ||
		!slices.Contains(before, "330103") || slices.Contains(after, "330103") || !slices.Contains(after, "330113") {
		t.Errorf("counties of Hangzhou: before %v, after %v", before, after)
	}
}

func codesOf(regions []schemas.Region) []string {
	var out []string
	for _, r := range regions {
		out = append(out, r.Code)
	}
	return out
}

func TestHangzhou2021ToTheDay(t *testing.T) {
	t.Parallel()
	r := schemas.Standard().Regions()
	type version struct {
		name, from, to string
		extent         int
		successors     []schemas.Successor
	}
	for code, want := range map[string][]version{
		"330102": {{"上城区", "1983-01-01", "1996-01-01", 1, []schemas.Successor{{Code: "330102"}}},
			{"上城区", "1996-01-01", "2021-04-09", 2, []schemas.Successor{{Code: "330102"}}}, {"上城区", "2021-04-09", "", 3, nil}},
		"330103": {{"下城区", "1983-01-01", "1996-01-01", 1, []schemas.Successor{{Code: "330103"}}},
			{"下城区", "1996-01-01", "2021-04-09", 2, []schemas.Successor{{Code: "330105"}}}},
		"330104": {{"江干区", "1983-01-01", "1996-01-01", 1, []schemas.Successor{{Code: "330104", Part: true}, {Code: "330102", Part: true}}},
			{"江干区", "1996-01-01", "2021-04-09", 2, []schemas.Successor{{Code: "330102", Part: true}, {Code: "330114", Part: true}}}},
		"330105": {{"拱墅区", "1983-01-01", "1996-01-01", 1, []schemas.Successor{{Code: "330105", Part: true}, {Code: "330103", Part: true}}},
			{"拱墅区", "1996-01-01", "2021-04-09", 2, []schemas.Successor{{Code: "330105"}}}, {"拱墅区", "2021-04-09", "", 3, nil}},
		"330109": {{"萧山区", "2001-01-01", "2021-04-09", 1, []schemas.Successor{{Code: "330109", Part: true}, {Code: "330114", Part: true}}}, {"萧山区", "2021-04-09", "", 2, nil}},
		"330110": {{"余杭区", "2001-01-01", "2021-04-09", 1, []schemas.Successor{{Code: "330110", Part: true}, {Code: "330113", Part: true}}}, {"余杭区", "2021-04-09", "", 2, nil}},
		"330113": {{"临平区", "2021-04-09", "", 1, nil}},
		"330114": {{"钱塘区", "2021-04-09", "", 1, nil}},
		"330106": {{"西湖区", "", "", 1, nil}},
	} {
		var got []version
		for _, v := range r.All() {
			if v.Code == code {
				got = append(got, version{v.Name, text(v.From), text(v.To), v.Extent, v.Successors})
			}
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(version{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", code, diff)
		}
	}
}

func text(d time.Time) string {
	if d.IsZero() {
		return ""
	}
	return d.Format(time.DateOnly)
}

func TestEveryVersionIsSound(t *testing.T) {
	t.Parallel()
	checkSound(t, schemas.Standard().Regions())
}

// checkSound tells what every list of regions must satisfy.
func checkSound(t *testing.T, r *schemas.Regions) {
	t.Helper()
	var last schemas.Region
	for _, v := range r.All() {
		if v.Code == last.Code && (last.To.IsZero() || v.From.Before(last.To)) {
			t.Errorf("%s %s: versions overlap at %s", v.Code, v.Name, text(v.From))
		}
		if !v.To.IsZero() && !v.To.After(v.From) {
			t.Errorf("%s %s: ends at %s, before it begins at %s", v.Code, v.Name, text(v.To), text(v.From))
		}
		if v.Extent < 1 || v.Code == last.Code && v.Extent < last.Extent {
			t.Errorf("%s %s: extent %d after %d", v.Code, v.Name, v.Extent, last.Extent)
		}
		if v.Level != schemas.LevelNation {
			if _, ok := r.At(v.Parent, time.Time{}); !ok {
				t.Errorf("%s %s: its parent %s is not there", v.Code, v.Name, v.Parent)
			}
		}
		for _, s := range v.Successors {
			if _, ok := r.At(s.Code, time.Time{}); !ok {
				t.Errorf("%s %s: its successor %s is not there", v.Code, v.Name, s.Code)
			}
		}
		if v.To.IsZero() && len(v.Successors) > 0 {
			t.Errorf("%s %s: has successors and has not ended", v.Code, v.Name)
		}
		last = v
	}
}

// No two of Zhejiang's cities and counties share a short name, so that short names are safe inside the province.
func TestShortNamesOfZhejiangAreDistinct(t *testing.T) {
	t.Parallel()
	r := schemas.Standard().Regions()
	seen := map[string]string{}
	for _, v := range r.All() {
		if !v.To.IsZero() || v.Level != schemas.LevelCity && v.Level != schemas.LevelCounty {
			continue
		}
		if other, ok := seen[v.Short]; ok && other != v.Code {
			t.Errorf("%s and %s are both %s", other, v.Code, v.Short)
		}
		seen[v.Short] = v.Code
	}
	if len(seen) != 101 {
		t.Errorf("got %d short names, want 101", len(seen))
	}
}

type resolveCase struct {
	name  string
	query schemas.RegionQuery
	on    string
	want  string // code, or rule
	exact bool
	note  string // part of the note or of the error
}

func checkResolve(t *testing.T, r *schemas.Regions, cases []resolveCase) {
	t.Helper()
	for _, c := range cases {
		c.query.On = day(t, c.on)
		got, err := r.Resolve(c.query)
		result, text := got.Code, got.Note
		if err != nil {
			fault, ok := errors.AsType[*schemas.RegionError](err)
			if !ok {
				t.Errorf("%s: error %T, want *RegionError", c.name, err)
				continue
			}
			result, text = fault.Rule, fault.Message
		}
		if result != c.want || got.Exact != c.exact {
			t.Errorf("%s: got %s exact=%t (%s), want %s exact=%t", c.name, result, got.Exact, text, c.want, c.exact)
		}
		if !strings.Contains(text, c.note) || c.note == "" && text != "" && err == nil {
			t.Errorf("%s: note %q, want %q", c.name, text, c.note)
		}
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	q := func(code, name string) schemas.RegionQuery { return schemas.RegionQuery{Code: code, Name: name} }
	in := func(within, name string) schemas.RegionQuery { return schemas.RegionQuery{Name: name, Within: within} }
	checkResolve(t, schemas.Standard().Regions(), []resolveCase{
		{"a current code", q("330102", ""), "2021-04-09", "330102", true, ""},
		{"a current code without a day", q("330102", ""), "", "330102", true, ""},
		{"the nation by code", q("100000", ""), "", "100000", true, ""},
		{"the nation by name", q("", "中国"), "", "100000", true, ""},
		{"twelve digits", q("330102000000", ""), "2022-01-01", "330102", true, ""},
		{"the province in twelve digits", q("330000000000", ""), "2022-01-01", "330000", true, ""},
		{"a village's code lies in its county", q("330102001051", ""), "2022-01-01", "330102", false, "is a place in 330102"},
		{"a town's code of nine digits", q("330102001", ""), "2022-01-01", "330102", false, "is a place in 330102"},
		{"a code stored as a number", q("330102.0", ""), "2022-01-01", "330102", true, ""},
		{"full-width digits and spaces", q("　３３０１０２ ", ""), "2022-01-01", "330102", true, ""},
		{"four digits of a city", q("3301", ""), "", "330100", true, ""},
		{"two digits of a province", q("33", ""), "", "330000", true, ""},
		{"scientific notation has lost digits", q("3.30102E+11", ""), "", "region.damaged", false, "digits are lost"},
		{"scientific notation is not repaired even if it could be", q("3.30102e5", ""), "", "region.damaged", false, "digits are lost"},
		{"a fraction is no code", q("330102.5", ""), "", "region.damaged", false, "fraction"},
		{"letters are no code", q("3300y0", ""), "", "region.unknown", false, "no code"},
		{"a code that never was", q("339999", ""), "", "region.unknown", false, "339999"},
		{"five digits", q("33010", ""), "", "region.unknown", false, "6 or 12 digits"},
		{"the summary row of a city's districts", q("330101", ""), "", "region.unknown", false, "市辖区"},
		{"a statistical area that is no region", q("330371", ""), "", "region.unknown", false, "330371"},
		{"nothing at all", q("", " 　"), "", "region.unknown", false, "names no region"},

		{"下城区 on its last day", q("330103", ""), "2021-04-08", "330103", true, ""},
		{"下城区 a day later", q("330103", ""), "2021-04-09", "330105", false, "330103 下城区 was merged into 330105 拱墅区 on 2021-04-09"},
		{"下城区 without a day", q("330103", ""), "", "330105", false, "was merged into"},
		{"下城区 by name after the change", q("", "下城区"), "2021-06-01", "330105", false, "330103 下城区 was merged into 330105 拱墅区 on 2021-04-09"},
		{"江干区 on its last day", q("", "江干区"), "2021-04-08", "330104", true, ""},
		{"江干区 was divided", q("", "江干区"), "2021-04-09", "region.ambiguous", false, "330102 上城区 and 330114 钱塘区"},
		{"江干区 by code was divided", q("330104", ""), "2021-05-01", "region.ambiguous", false, "divided on 2021-04-09"},
		{"the name decides between successors", q("330104", "钱塘区"), "2021-05-01", "330114", false, "decides"},
		{"the old name decides nothing", q("330104", "江干区"), "2021-05-01", "region.ambiguous", false, "divided"},
		{"a code that kept its digits", q("330110", "余杭区"), "2020-01-01", "330110", true, ""},
		{"a code that is yet to come", q("330114", ""), "2020-01-01", "330114", false, "exists only since 2021-04-09"},

		{"临安 recoded twice", q("330124", ""), "2020-01-01", "330112", false, "330124 临安县 became 330185 临安市 in 1996, then became 330112 临安区 in 2017"},
		{"临安 between both", q("330124", ""), "2010-06-01", "330185", false, "became 330185 临安市 in 1996"},
		{"the new code on an old day", q("330112", ""), "2010-06-01", "330185", false, "330112 临安区 was 330185 临安市 until 2017-01-01"},
		{"临安市 by its old name", q("", "临安市"), "2020-01-01", "330112", false, "became 330112 临安区 in 2017"},
		{"临安 by short name today", q("", "临安"), "2020-01-01", "330112", true, ""},
		{"江东区 went into 鄞州区", q("330204", ""), "2020-01-01", "330212", false, "330204 江东区 was merged into 330212 鄞州区 in 2016"},
		{"奉化 by old code", q("330283", ""), "2020-01-01", "330213", false, "became 330213 奉化区 in 2016"},
		{"玉环 by old code", q("331021", ""), "2020-01-01", "331083", false, "became 331083 玉环市 in 2017"},
		{"鄞县 long ago", q("330227", ""), "2020-01-01", "330212", false, "鄞县"},
		{"龙港 before it was", q("330383", ""), "2018-01-01", "330383", false, "exists only since"},

		{"a full name", q("", "杭州市"), "2021-01-01", "330100", true, ""},
		{"a short name", q("", "杭州"), "2021-01-01", "330100", true, ""},
		{"a province and a city", q("", "浙江省杭州市"), "2021-01-01", "330100", true, ""},
		{"written in full", q("", "浙江省杭州市上城区"), "2022-01-01", "330102", true, ""},
		{"short forms in a row", q("", "浙江杭州上城"), "2022-01-01", "330102", true, ""},
		{"with spaces", q("", "浙江省 杭州市　上城区"), "2022-01-01", "330102", true, ""},
		{"a path to what has gone", q("", "浙江省杭州市下城区"), "2022-01-01", "330105", false, "was merged into"},
		{"a path to what was divided", q("", "杭州市江干区"), "2022-01-01", "region.ambiguous", false, "330114"},
		{"an autonomous county", q("", "景宁畲族自治县"), "2022-01-01", "331127", true, ""},
		{"an autonomous county by its short name", q("", "景宁"), "2022-01-01", "331127", true, ""},
		{"a city's own level", q("", "杭州市本级"), "2022-01-01", "330100", false, "杭州市本级 is what the region's own level does"},
		{"a city's own level with the kind repeated", q("", "杭州市市本级"), "2022-01-01", "330100", false, "本级"},
		{"本级 of the region at hand", in("330100", "市本级"), "2022-01-01", "330100", false, "本级"},
		{"本级 of nothing", q("", "市本级"), "2022-01-01", "region.unknown", false, "which region"},
		{"本级 of what was divided", q("", "江干区本级"), "2022-01-01", "region.ambiguous", false, "330114"},
		{"an autonomous county as people write it", q("", "景宁县"), "2022-01-01", "331127", true, ""},
		{"a code in the name's column", q("", "330102"), "2022-01-01", "330102", true, ""},
		{"a name inside the province", in("330000", "西湖区"), "2022-01-01", "330106", true, ""},
		{"a name inside its city", in("330100", "西湖区"), "2022-01-01", "330106", true, ""},
		{"a name inside another city", in("330200", "西湖区"), "2022-01-01", "region.unknown", false, "330200 宁波市"},
		{"a full path inside the province", in("330000", "浙江省杭州市西湖区"), "2022-01-01", "330106", true, ""},
		{"a path from the city inside the province", in("330000", "杭州市西湖区"), "2022-01-01", "330106", true, ""},
		{"within something that is no region", in("999999", "西湖区"), "2022-01-01", "region.unknown", false, "999999"},
		{"a total is no region", in("330000", "合计"), "2022-01-01", "region.unknown", false, "合计"},
		{"a development zone is no region", q("", "杭州市钱江经开区"), "2022-01-01", "region.unknown", false, "钱江经开区"},
		{"境外输入 is no region", q("3300y1", "境外输入"), "2020-03-01", "region.unknown", false, "境外输入"},
		{"a broken code with a good name", q("3300y1", "杭州市"), "2020-03-01", "330100", false, "found by name"},
		{"a damaged code with a good name", q("3.30102E+11", "上城区"), "2022-03-01", "330102", false, "found by name"},
		{"a damaged code with a bad name says that it is damaged", q("3.30102E+11", "无"), "2022-03-01", "region.damaged", false, "digits are lost"},
		{"the code counts before the name", q("330102", "下城区"), "2020-01-01", "330102", true, ""},
		{"a path that turns in a circle", q("", strings.Repeat("中华人民共和国", 9)), "", "region.unknown", false, "no region"},
		{"a path that does not go down", q("", strings.Repeat("浙江", 30)+"杭州"), "", "region.unknown", false, "no region"},
		{"a name of broken bytes", q("", "\xff\xfe"), "", "region.unknown", false, ""},
		{"a name without end", q("", strings.Repeat("杭", 10000)), "", "region.unknown", false, ""},
	})
}

const listed = "\ufeff代码,一级行政区,二级行政区,名称,级别,状态,启用时间,变更/弃用时间,新代码\n"

const smallList = listed + `110000,北京市,,北京市,省级,在用,1981,,
110101,北京市,直辖,东城区,县级,在用,1981,,
110103,北京市,直辖,崇文区,县级,弃用,1981,2010,110101
110105,北京市,直辖,朝阳区,县级,在用,1981,,
220000,吉林省,,吉林省,省级,在用,1981,,
220100,吉林省,长春市,长春市,地级,在用,1981,,
220104,吉林省,长春市,朝阳区,县级,在用,1981,,
220200,吉林省,吉林市,吉林市,地级,在用,1981,,
320000,江苏省,,江苏省,省级,在用,1981,,
320100,江苏省,南京市,南京市,地级,在用,1981,,
320106,江苏省,南京市,鼓楼区,县级,在用,1981,,
320300,江苏省,徐州市,徐州市,地级,在用,1981,,
320302,江苏省,徐州市,鼓楼区,县级,在用,1981,,
330000,浙江省,,浙江省,省级,在用,1981,,
330100,浙江省,杭州市,杭州市,地级,在用,1981,,
330103,浙江省,杭州市,下城区,县级,弃用,1983,2021,330105
330105,浙江省,杭州市,拱墅区,县级,在用,1983,,330103[1996]
330107,浙江省,杭州市,半山区,县级,弃用,1983,1990,330105
330300,浙江省,温州市,温州市,地级,在用,1981,,
330302,浙江省,温州市,鹿城区,县级,在用,1984,,
330302,浙江省,温州市,城区,县级,变更,1983,1984,330302
420000,湖北省,,湖北省,省级,在用,1981,,
420600,湖北省,襄阳市,襄阳市,地级,在用,2010,,
420600,湖北省,襄樊市,襄樊市,地级,变更,1983,2010,
429004,湖北省,直辖,仙桃市,县级,在用,1994,,
429100,湖北省,某地区,某地区,地级,弃用,1981,1994,
429200,湖北省,荆门地区,荆门地区,地级,弃用,1981,1996,
420800,湖北省,荆门市,荆门市,地级,在用,1996,,
422800,湖北省,恩施土家族苗族自治州,恩施土家族苗族自治州,地级,在用,1993,,
`

func importSmall(t *testing.T) *schemas.Regions {
	t.Helper()
	r, problems := schemas.ImportRegions(iotest.OneByteReader(strings.NewReader(smallList)), "list.csv")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return r
}

func TestImportedListExtendsTheBuiltInOne(t *testing.T) {
	t.Parallel()
	r := importSmall(t)
	checkSound(t, r)
	if v, ok := r.At("330103", day(t, "2021-04-08")); !ok || text(v.To) != "2021-04-09" {
		t.Errorf("330103 ends at %s, want the built-in day", text(v.To))
	}
	if v, ok := r.At("330105", day(t, "2021-04-09")); !ok || text(v.From) != "2021-04-09" || v.Extent != 4 {
		t.Errorf("330105: got from %s, extent %d, want 2021-04-09 and 4 (半山区 in 1990, 1996, 2021)", text(v.From), v.Extent)
	}
	if v, ok := r.At("330114", time.Time{}); !ok || v.Name != "钱塘区" {
		t.Error("a built-in region that the list lacks is gone")
	}
	if v, ok := r.At("110103", day(t, "2010-12-31")); !ok || text(v.To) != "2011-01-01" {
		t.Errorf("a code dropped in 2010 ends at %s, want it to hold through 2010", text(v.To))
	}
	if p, ok := r.Parent("110101", time.Time{}); !ok || p.Code != "110000" {
		t.Errorf("parent of a municipality's district: got %s", p.Code)
	}
	if p, ok := r.Parent("429004", time.Time{}); !ok || p.Code != "420000" {
		t.Errorf("parent of a county directly under its province: got %s", p.Code)
	}
	for code, want := range map[string][3]string{"110101": {"", "110000", "100000"}, "330103": {"330100", "330000", "100000"}, "330000": {"", "330000", "100000"}, "100000": {"", "", "100000"}} {
		v, _ := r.At(code, time.Time{})
		if got := [3]string{r.Above(v, schemas.LevelCity), r.Above(v, schemas.LevelProvince), r.Above(v, schemas.LevelNation)}; got != want {
			t.Errorf("above %s: got %v, want %v", code, got, want)
		}
	}
	if p, ok := r.Parent("110000", time.Time{}); !ok || p.Code != schemas.NationCode {
		t.Errorf("parent of a province: got %s", p.Code)
	}
}

func TestResolveAcrossTheCountry(t *testing.T) {
	t.Parallel()
	in := func(within, name string) schemas.RegionQuery { return schemas.RegionQuery{Name: name, Within: within} }
	checkResolve(t, importSmall(t), []resolveCase{
		{"one name in two cities", in("", "鼓楼区"), "2020-01-01", "region.ambiguous", false, "320106 鼓楼区 (南京市) or 320302 鼓楼区 (徐州市)"},
		{"one name in two cities of the province", in("320000", "鼓楼区"), "2020-01-01", "region.ambiguous", false, "320302"},
		{"the city decides", in("320300", "鼓楼区"), "2020-01-01", "320302", true, ""},
		{"a path decides", in("", "徐州市鼓楼区"), "2020-01-01", "320302", true, ""},
		{"a path with the province", in("", "江苏省南京市鼓楼区"), "2020-01-01", "320106", true, ""},
		{"a name under a province is found through its cities", in("220000", "朝阳区"), "2020-01-01", "220104", true, ""},
		{"a path from the province to the county", in("", "吉林省朝阳区"), "2020-01-01", "220104", true, ""},
		{"a province rather than its city", in("", "吉林"), "2020-01-01", "220000", true, ""},
		{"the city inside its province", in("220000", "吉林"), "2020-01-01", "220200", true, ""},
		{"the city by its full name", in("", "吉林市"), "2020-01-01", "220200", true, ""},
		{"the city with its province before it", in("", "吉林省吉林市"), "2020-01-01", "220200", true, ""},
		{"a municipality with a filler", in("", "北京市市辖区东城区"), "2020-01-01", "110101", true, ""},
		{"a county directly under a province", in("", "湖北省省直辖县级行政区划仙桃市"), "2020-01-01", "429004", true, ""},
		{"a renamed city by its old name", in("", "襄樊市"), "2020-01-01", "420600", false, "襄樊市 has another name since 2010-01-01: 420600 襄阳市"},
		{"a renamed city by its old name in its time", in("", "襄樊市"), "2005-01-01", "420600", true, ""},
		{"a renamed city by its new name too early", in("", "襄阳市"), "2005-01-01", "420600", false, "420600 襄樊市 was called 襄樊市"},
		{"a code that ended in the year of the row still holds", schemas.RegionQuery{Code: "110103"}, "2010-12-31", "110103", true, ""},
		{"and not a year later", schemas.RegionQuery{Code: "110103"}, "2011-01-01", "110101", false, "in 2010"},
		{"a prefecture that became a city of its name", schemas.RegionQuery{Code: "429200"}, "2000-01-01", "420800", false, "429200 荆门地区 became 420800 荆门市 in 1996"},
		{"a prefecture by name", in("", "荆门地区"), "2000-01-01", "420800", false, "became"},
		{"a prefecture without successor by name", in("", "某地区"), "2000-01-01", "region.unknown", false, "429100 某地区 ended in 1994"},
		{"an autonomous prefecture in short", in("", "恩施"), "2000-01-01", "422800", true, ""},
		{"an autonomous prefecture as people write it", in("", "湖北恩施州"), "2000-01-01", "422800", true, ""},
		{"an end without successor", schemas.RegionQuery{Code: "429100"}, "2000-01-01", "region.unknown", false, "names no successor"},
	})
}

func TestImportReportsWhatIsWrong(t *testing.T) {
	t.Parallel()
	const own = "code,name,level,parent,from,to,successors\n"
	for name, c := range map[string]struct{ file, want string }{
		"empty":                             {"", "list.csv:1:1: the file has no header"},
		"another table":                     {"a,b\n1,2\n", "list.csv:1:1: the header lacks the columns code, from, level, name, successors, to"},
		"no rows":                           {own, "list.csv:1:1: the file has no regions"},
		"GB18030":                           {own + "330100,\xba\xbc\xd6\xdd,city,,,,\n", "list.csv: the file is not UTF-8"},
		"a code of five digits":             {own + "33010,杭州市,city,,,,\n", `list.csv:2:1: "33010" is no 6-digit code`},
		"no name":                           {own + "330100,,city,,,,\n", "list.csv:2:8: a name has"},
		"a level that is none":              {own + "330100,杭州市,town,,,,\n", `"town" is no level`},
		"a year that is none":               {own + "330100,杭州市,city,,83,,\n", `"83" is no year or day`},
		"an end before the beginning":       {own + "330100,杭州市,city,,2021,2020,\n", "ends before it begins"},
		"a successor that is none":          {own + "330103,下城区,county,,1983,2021,拱墅区\n", `is no successor`},
		"a whole successor of a live code":  {own + "330103,下城区,county,,1983,,330105\n", "330105[YEAR]"},
		"its own parent":                    {own + "330103,下城区,county,330103,1983,,\n", "no code of a region above"},
		"the same twice":                    {own + "330103,下城区,county,,1983,,\n330103,下城区,county,,1983,,\n", "list.csv:3:1: code 330103 is there twice at the same time"},
		"two spans that overlap":            {own + "330103,下城区,county,,1983,1990,330105\n330103,某区,county,,1989,,\n", "list.csv:3:1: code 330103 is there twice at the same time"},
		"a county under two cities at once": {own + "330103,下城区,county,330100,2000,,\n330103,下城区,county,330200,2021-04-09,,\n", "list.csv:3:1: code 330103 lies under 330100 and under 330200 at the same time (let one line end"},
		"a line with too many fields":       {own + "330103,下城区,county,,1983,,,\n", "wrong number of fields"},
		"a quote that does not close":       {own + "330103,\"下城区,county,,1983,,\n", "list.csv:"},
		"another nation":                    {own + "200000,某国,nation,,,,\n", "the nation has the code 100000"},
		"two problems in one file are both": {own + "33010,杭州市,city,,,,\n33020,宁波市,city,,,,\n", `list.csv:3:1: "33020"`},
	} {
		r, problems := schemas.ImportRegions(strings.NewReader(c.file), "list.csv")
		if r != nil || !strings.Contains(problems.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, problems, c.want)
		}
	}
	if _, problems := schemas.ImportRegions(iotest.ErrReader(errors.New("disk gone")), "list.csv"); !strings.Contains(problems.Error(), "disk gone") {
		t.Errorf("got %v, want the reader's error", problems)
	}
}

func TestOwnFormKnowsDays(t *testing.T) {
	t.Parallel()
	r, problems := schemas.ImportRegions(strings.NewReader(`# a comment
code,name,level,parent,from,to,successors
350000,福建省,province,,,,
350100,福州市,city,,,,
350102,鼓楼区,county,,,2030-05-01,350103
350103,台江区,county,,,,
`), "own.csv")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	checkSound(t, r)
	checkResolve(t, r, []resolveCase{
		{"the last day", schemas.RegionQuery{Code: "350102"}, "2030-04-30", "350102", true, ""},
		{"the first day after", schemas.RegionQuery{Code: "350102"}, "2030-05-01", "350103", false, "was merged into 350103 台江区 on 2030-05-01"},
	})
}

// The order of an imported list must not matter: the set's bytes name it.
func TestImportDoesNotDependOnTheOrderOfLines(t *testing.T) {
	t.Parallel()
	lines := strings.Split(strings.TrimSpace(strings.TrimPrefix(smallList, listed)), "\n")
	slices.Reverse(lines)
	turned, problems := schemas.ImportRegions(strings.NewReader(listed+strings.Join(lines, "\n")), "list.csv")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if diff := cmp.Diff(importSmall(t).All(), turned.All()); diff != "" {
		t.Errorf("differs (-given +turned):\n%s", diff)
	}
}

// Whatever is imported: no panic; either problems or a sound list; what resolves is a code of the list.
func FuzzImportRegions(f *testing.F) {
	f.Add(smallList, "吉林省朝阳区", "220104")
	f.Add("code,name,level,parent,from,to,successors\n330103,下城区,county,,1983,2021-04-09,330105;330106[1996]\n", "下城区", "330103")
	f.Add("code,name,level,parent,from,to,successors\n330103,a,county,330104,1983,1990,330104\n330104,b,county,330103,1983,1990,330103\n", "本级", "330104.0")
	f.Fuzz(func(t *testing.T, file, name, code string) {
		r, problems := schemas.ImportRegions(strings.NewReader(file), "fuzz.csv")
		if (r == nil) == (len(problems) == 0) {
			t.Fatalf("list %v with problems %v", r != nil, problems)
		}
		if r == nil {
			return
		}
		var last schemas.Region
		for _, v := range r.All() {
			if v.Code == last.Code && (last.To.IsZero() || v.From.Before(last.To)) || !v.To.IsZero() && !v.To.After(v.From) {
				t.Fatalf("%s: version %s to %s after one to %s", v.Code, text(v.From), text(v.To), text(last.To))
			}
			last = v
		}
		for _, on := range []time.Time{{}, time.Date(1990, 6, 1, 0, 0, 0, 0, time.UTC), time.Date(2022, 1, 1, 0, 0, 0, 0, time.UTC)} {
			for _, q := range []schemas.RegionQuery{{Code: code, Name: name, On: on}, {Name: name, On: on}, {Name: name, Within: "330000", On: on}} {
				got, err := r.Resolve(q)
				if err != nil {
					continue
				}
				if _, ok := r.At(got.Code, time.Time{}); !ok {
					t.Fatalf("%+v resolved to %q, which is not in the list", q, got.Code)
				}
			}
		}
	})
}

func BenchmarkResolve(b *testing.B) {
	r := schemas.Standard().Regions()
	on := time.Date(2022, 1, 1, 0, 0, 0, 0, shanghai)
	for name, q := range map[string]schemas.RegionQuery{
		"code": {Code: "330102", On: on},
		"name": {Name: "上城区", Within: "330000", On: on},
		"path": {Name: "浙江省杭州市上城区", On: on},
		"none": {Name: "杭州市钱江经济开发区", Within: "330000", On: on},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = r.Resolve(q)
			}
		})
	}
}
