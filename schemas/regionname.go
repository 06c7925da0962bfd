package schemas

import (
	"slices"
	"strings"
	"unicode"
)

// fold brings text into the form in which codes and names are compared: full-width forms become ASCII, surrounding space
// goes, and so do invisible characters that spreadsheets and web pages leave behind.
func fold(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r >= 0xFF01 && r <= 0xFF5E:
			return r - 0xFEE0
		case r == 0x3000 || r == 0x00A0:
			return ' '
		case r == 0xFEFF || r >= 0x200B && r <= 0x200F:
			return -1
		}
		return r
	}, text)
	return strings.TrimSpace(text)
}

// foldName folds the name of a region, in which no space means anything.
func foldName(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, fold(text))
}

// peoples are the names that stand between a place and 自治州, 自治县 and the like, longest first where one ends another.
var peoples = []string{
	"维吾尔", "哈萨克", "柯尔克孜", "塔吉克", "锡伯", "蒙古",
	"蒙古族", "回族", "藏族", "维吾尔族", "苗族", "彝族", "壮族", "布依族", "朝鲜族", "满族", "侗族", "瑶族", "白族", "土家族", "哈尼族",
	"哈萨克族", "傣族", "黎族", "傈僳族", "佤族", "畲族", "高山族", "拉祜族", "水族", "东乡族", "纳西族", "景颇族", "柯尔克孜族", "土族",
	"达斡尔族", "仫佬族", "羌族", "布朗族", "撒拉族", "毛南族", "仡佬族", "锡伯族", "阿昌族", "普米族", "塔吉克族", "怒族", "乌孜别克族",
	"俄罗斯族", "鄂温克族", "德昂族", "保安族", "裕固族", "京族", "塔塔尔族", "独龙族", "鄂伦春族", "赫哲族", "门巴族", "珞巴族", "基诺族", "各族",
}

// shortName strips what says the kind of a region from its name: 杭州市 → 杭州, 景宁畲族自治县 → 景宁, 内蒙古自治区 → 内蒙古. What is left has
// at least two characters; a name of two stays whole (吴县).
func shortName(name string) string {
	for _, suffix := range []string{"自治区", "自治州", "自治县", "自治旗"} {
		if rest, ok := strings.CutSuffix(name, suffix); ok {
			return stripPeoples(rest)
		}
	}
	for _, suffix := range []string{"特别行政区", "地区", "新区", "林区", "特区", "省", "市", "区", "县", "盟", "旗"} {
		if rest, ok := strings.CutSuffix(name, suffix); ok && runes(rest) >= 2 {
			return rest
		}
	}
	return name
}

// everydayName is what people and forms call an autonomous place: 恩施州, 景宁县; "" for others.
func everydayName(name string) string {
	for _, kind := range []string{"州", "县", "旗"} {
		if strings.HasSuffix(name, "自治"+kind) {
			return shortName(name) + kind
		}
	}
	return ""
}

func stripPeoples(name string) string {
	for {
		i := slices.IndexFunc(peoples, func(p string) bool {
			// 内蒙古 is the place's own name: at least two characters must be left.
			rest, ok := strings.CutSuffix(name, p)
			return ok && runes(rest) >= 2
		})
		if i < 0 {
			break
		}
		name = strings.TrimSuffix(name, peoples[i])
	}
	if rest, ok := strings.CutSuffix(name, "族"); ok && runes(rest) >= 2 {
		return rest // 东乡族自治县, 鄂温克族自治旗: the people is the place
	}
	return name
}

func runes(text string) int { return len([]rune(text)) }
