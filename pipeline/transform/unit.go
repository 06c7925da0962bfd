package transform

import (
	"fmt"
	"strings"
)

// unit is a unit of measure: a base that says what is measured and the factor to it. Units convert if their bases are equal.
// Words that the table does not know (个, 家, 人次) are bases of their own, so that 万个 converts to 个 and never to 家.
type unit struct {
	base      string
	factor    factor
	magnified bool // written with a magnitude: 万元
}

// ratio is the base of pure numbers: no unit, %, ‰.
const ratioBase = ""

var bareUnit = unit{base: ratioBase, factor: one}

// knownUnits are the units with more than one spelling or with a factor of their own. Names are as cleanUnit leaves them.
var knownUnits = func() map[string]unit {
	table := map[string]unit{}
	add := func(base string, mant, den uint64, exp int32, names ...string) {
		for _, name := range names {
			table[name] = unit{base: base, factor: factor{mant: mant, den: den, exp: exp}.reduce()}
		}
	}
	add(ratioBase, 1, 1, 0, "", "1", "ratio", "比", "比例", "比率")
	add(ratioBase, 1, 1, -2, "%", "百分比")
	add(ratioBase, 1, 1, -3, "‰", "千分比")
	add("百分点", 1, 1, 0, "百分点", "个百分点")
	add("元", 1, 1, 0, "元", "人民币元", "CNY", "RMB", "yuan")
	add("元", 1, 1, -1, "角")
	add("g", 1, 1, 0, "g", "克")
	add("g", 1, 1, 3, "kg", "千克", "公斤")
	add("g", 5, 1, 2, "斤", "市斤")
	add("g", 1, 1, 6, "t", "吨", "公吨")
	add("g", 1, 1, -3, "mg", "毫克")
	add("g", 1, 1, -6, "µg", "ug", "微克")
	add("g", 1, 1, -9, "ng", "纳克")
	add("m", 1, 1, 0, "m", "米")
	add("m", 1, 1, 3, "km", "千米", "公里")
	add("m", 5, 1, 2, "里", "华里")
	add("m", 1, 1, -2, "cm", "厘米")
	add("m", 1, 1, -3, "mm", "毫米")
	add("m²", 1, 1, 0, "m²", "平方米", "平米", "平方")
	add("m²", 1, 1, 6, "km²", "平方千米", "平方公里")
	add("m²", 1, 1, 4, "hm²", "ha", "公顷")
	add("m²", 2000, 3, 0, "亩", "mu")
	add("m³", 1, 1, 0, "m³", "立方米", "方")
	add("m³", 1, 1, -3, "L", "l", "升")
	add("m³", 1, 1, -6, "mL", "ml", "毫升")
	add("m³/s", 1, 1, 0, "m³/s", "立方米/秒", "立方米每秒")
	add("g/m³", 1, 1, 0, "g/m³", "克/立方米", "mg/L", "mg/l", "毫克/升")
	add("g/m³", 1, 1, -3, "mg/m³", "毫克/立方米", "毫克每立方米", "µg/L", "ug/L", "微克/升")
	add("g/m³", 1, 1, -6, "µg/m³", "ug/m³", "微克/立方米", "微克每立方米")
	add("g/m³", 1, 1, -9, "ng/m³", "纳克/立方米")
	add("s", 1, 1, 0, "s", "秒", "sec")
	add("s", 6, 1, 1, "min", "分钟")
	add("s", 36, 1, 2, "h", "小时")
	add("s", 864, 1, 2, "d", "天", "日")
	add("s", 1, 1, -3, "ms", "毫秒")
	add("m/s", 1, 1, 0, "m/s", "米/秒")
	add("m/s", 1000, 3600, 0, "km/h", "千米/小时", "公里/小时")
	add("Wh", 1, 1, 0, "Wh", "瓦时")
	add("Wh", 1, 1, 3, "kWh", "千瓦时")
	add("Wh", 1, 1, 6, "MWh", "兆瓦时")
	add("W", 1, 1, 0, "W", "瓦")
	add("W", 1, 1, 3, "kW", "千瓦")
	add("W", 1, 1, 6, "MW", "兆瓦")
	add("Pa", 1, 1, 0, "Pa", "帕")
	add("Pa", 1, 1, 2, "hPa", "百帕")
	add("Pa", 1, 1, 3, "kPa", "千帕")
	add("℃", 1, 1, 0, "℃", "°C", "摄氏度")
	return table
}()

// magnitudes are the Chinese multipliers that stand before a unit or after a number.
var magnitudes = []struct {
	name string
	exp  int32
}{{"万亿", 12}, {"千万", 7}, {"百万", 6}, {"十万", 5}, {"十亿", 9}, {"百亿", 10}, {"千亿", 11}, {"亿", 8}, {"万", 4}, {"千", 3}, {"百", 2}, {"十", 1}}

var unitSpelling = strings.NewReplacer(" ", "", "\u00a0", "", "㎡", "m²", "㎥", "m³", "㎞", "km", "㎏", "kg", "㎎", "mg", "㎍", "µg", "μ", "µ", "m2", "m²", "m3", "m³", "^2", "²", "^3", "³")

func cleanUnit(text string) string {
	return unitSpelling.Replace(string(foldWidth([]byte(strings.TrimSpace(text)))))
}

// maxUnit is the length in bytes beyond which no text is a unit: cells may hold anything, and magnitudes are taken off one by
// one.
const maxUnit = 60

// parseUnit understands a unit as people write it, with a magnitude before it (万元, 万平方米) or alone (万, 亿).
// ok is false for text that is no unit at all (digits, punctuation, a modifier such as 以上).
func parseUnit(text string) (u unit, ok bool) {
	if len(text) > maxUnit {
		return unit{}, false
	}
	name := cleanUnit(text)
	if u, known := knownUnits[name]; known {
		return u, true
	}
	for _, m := range magnitudes {
		rest, found := strings.CutPrefix(name, m.name)
		if !found {
			continue
		}
		if u, ok = parseUnit(rest); ok {
			u.factor.exp += m.exp
			u.magnified = true
			return u, true
		}
	}
	if name == "" {
		return unit{}, false
	}
	for _, modifier := range []string{"以上", "以下", "以内", "左右", "余", "多", "约", "近", "超"} {
		if strings.HasPrefix(name, modifier) || strings.HasSuffix(name, modifier) {
			return unit{}, false
		}
	}
	if strings.ContainsAny(name, "0123456789+-<>=≥≤≈~～,，。；;:：()（）?？!！、\n\t") {
		return unit{}, false
	}
	return unit{base: name, factor: one}, true
}

// convert is the factor from one unit to another.
func convert(from, to unit) (factor, bool) {
	if from.base != to.base {
		return one, false
	}
	return from.factor.over(to.factor)
}

// numberReader reads numbers of one column and turns them into the field's unit.
type numberReader struct {
	liberal bool   // parse: number; otherwise only the canonical form
	column  unit   // unit of a bare number in the column
	target  unit   // unit of the field
	bare    factor // for a bare number: column → target, times scale
	scaled  bool   // a scale was declared: a cell may then not bring a factor of its own
	// common holds what the usual suffixes mean, worked out once.
	common map[string]suffixMeaning
}

// suffixMeaning is what may follow a number: a factor to the field's unit, or what is wrong with it.
type suffixMeaning struct {
	factor  factor
	problem string
}

// prepare works out the usual suffixes.
func (r *numberReader) prepare(unitText string) {
	if !r.liberal {
		return
	}
	r.common = map[string]suffixMeaning{}
	for _, suffix := range []string{"%", "‰", "万", "亿", "千", unitText, "万" + unitText, "亿" + unitText} {
		if suffix != "" {
			r.common[suffix] = r.suffix(suffix)
		}
	}
}

// read turns a trimmed text into a number in the field's unit. problem is "" when it went well and otherwise completes a
// sentence that begins with the quoted value.
func (r *numberReader) read(b []byte) (n number, problem string) {
	n, rest, ok := scanNumber(b, r.liberal)
	if ok && len(rest) == 0 {
		if r.bare.isOne() {
			return n, ""
		}
		if n, ok = n.times(r.bare); !ok {
			return n, tooManyDigits
		}
		return n, ""
	}
	if !r.liberal {
		return n, describeNonNumber(b, false)
	}
	return r.readLiberal(b)
}

// readLiberal folds full-width characters and understands what may follow a number: %, ‰, magnitudes, the unit.
func (r *numberReader) readLiberal(b []byte) (n number, problem string) {
	folded := foldWidth(b)
	n, rest, ok := scanNumber(folded, true)
	if !ok {
		return n, describeNonNumber(b, true)
	}
	rest = trim(rest)
	if len(rest) == 0 {
		if n, ok = n.times(r.bare); !ok {
			return n, tooManyDigits
		}
		return n, ""
	}
	m, known := r.common[string(rest)]
	if !known {
		m = r.suffix(string(rest))
	}
	if m.problem != "" {
		return n, m.problem
	}
	if n, ok = n.times(m.factor); !ok {
		return n, tooManyDigits
	}
	return n, ""
}

const tooManyDigits = "has too many digits for the change of unit"

// suffix is what a text after a number means.
func (r *numberReader) suffix(suffix string) suffixMeaning {
	wrong := func(format string, args ...any) suffixMeaning {
		return suffixMeaning{problem: fmt.Sprintf(format, append([]any{bounded(suffix, 40)}, args...)...)}
	}
	cell, ok := parseUnit(suffix)
	if !ok {
		return wrong("has %q after the number, which is no unit")
	}
	if cell.base == ratioBase && cell.magnified && r.column.base != ratioBase {
		// A bare magnitude (6.08万) counts in the column's own unit, unless that has a magnitude itself: 3万 in a column of 万元
		// may mean either.
		if r.column.magnified {
			return wrong("has the magnitude %q in a column that is in a larger unit already")
		}
		if r.scaled {
			return wrong("has the magnitude %q in a column with a declared scale")
		}
		f, ok := cell.factor.by(r.bare)
		if !ok {
			return suffixMeaning{problem: tooManyDigits}
		}
		return suffixMeaning{factor: f}
	}
	f, same := convert(cell, r.target)
	if !same {
		return wrong("is in %q, which cannot be turned into the field's unit")
	}
	if r.scaled {
		if own, _ := convert(cell, r.column); !own.isOne() {
			return wrong("has the unit %q in a column with a declared scale")
		}
		f = r.bare
	}
	return suffixMeaning{factor: f}
}

func describeNonNumber(b []byte, liberal bool) string {
	if !liberal {
		if folded := foldWidth(b); len(folded) > 0 {
			if _, _, ok := scanNumber(folded, true); ok {
				return "is not a plain number; declare parse: number if it is one with separators or a unit"
			}
		}
	}
	return "is not a number"
}
