package livelihood

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// The hotline's cases of three months.
const (
	hotlineFirstMonth = 4
	hotlineLastMonth  = 6
	casesPerMonth     = 800
)

// hotlineCase is a case as the hotline's platform exports it. Names are of characters of the calendar, telephone numbers begin
// with a zero after the area code, and identity numbers name a county that does not exist, so that none can be anybody's.
type hotlineCase struct {
	Number       string `json:"工单编号"`
	District     string `json:"所属区县"`
	Opened       string `json:"受理时间"`
	Due          string `json:"应办结时间"`
	Closed       string `json:"办结时间,omitempty"`
	Category     string `json:"诉求分类"`
	Channel      string `json:"来源渠道"`
	Status       string `json:"办理状态"`
	Satisfaction string `json:"满意度,omitempty"`
	Phone        string `json:"来电号码"`
	Caller       string `json:"来电人"`
	Identity     string `json:"证件号码,omitempty"`
	Content      string `json:"诉求内容"`
}

var (
	hotlineCategories = []string{"食品安全", "药品供应", "环境污染", "校园食堂", "农贸市场", "停车管理"}
	hotlineChannels   = []string{"电话", "电话", "电话", "微信", "网站", "短信"}
	hotlineGrades     = []string{"非常满意", "满意", "满意", "基本满意", "不满意", "非常不满意"}
	callerNames       = []string{"甲子", "乙丑", "丙寅", "丁卯", "戊辰", "己巳", "庚午", "辛未", "壬申", "癸酉"}
)

// makeHotline makes the cases, some of them broken.
func (d *demo) makeHotline() {
	a := d.account("hotline-12345", "cases")
	draw := newSource("hotline")
	for month := hotlineFirstMonth; month <= hotlineLastMonth; month++ {
		start := Month(month)
		var lines []string
		for n := range casesPerMonth {
			// Cases come in order of time, spread over the month.
			opened := start.Add(time.Duration(n) * 52 * time.Minute).Add(time.Duration(draw.below(50)) * time.Minute)
			district := d.district(draw, opened)
			c := hotlineCase{
				Number:   fmt.Sprintf("HZ-%s-%04d", opened.Format("20060102"), n+1),
				District: district,
				Opened:   hotlineTime(opened, n),
				Due:      hotlineTime(opened.AddDate(0, 0, 5), n),
				Category: pick(draw, hotlineCategories),
				Channel:  pick(draw, hotlineChannels),
				Status:   "办理中",
				Phone:    fmt.Sprintf("0571-0%07d", draw.below(10_000_000)),
				Caller:   pick(draw, callerNames),
				Content:  "反映" + district + "有关问题（演示数据）",
			}
			if draw.below(10) > 0 {
				c.Status = "已办结"
				c.Closed = hotlineTime(opened.Add(time.Duration(4+draw.below(150))*time.Hour), n)
				if draw.below(4) > 0 {
					c.Satisfaction = pick(draw, hotlineGrades)
				}
			}
			if n%40 == 7 {
				c.Identity = syntheticIdentity(draw)
			}
			flags, rule := []string(nil), ""
			switch {
			case district == "下城区" && !opened.Before(changed):
				flags = []string{ruleRegionInexact}
			case district == "江干区" && !opened.Before(changed):
				rule = ruleRegionAmbiguous
			case n == 100:
				c.Opened, rule = strings.Replace("2021年M月31日 25:10", "M", fmt.Sprint(month), 1), ruleDatetime // no such hour
			case n == 200:
				c.Opened, rule = "2021-02-30 10:00:00", ruleDatetime // no such day
			case n == 300:
				c.Status, rule = "已转阴阳办", ruleCode // a state that nobody has agreed on
			case n == 400:
				c.Channel, rule = "传真机", ruleCode
			case n == 500:
				c.Number, rule = "2.02104E+17", ruleDamaged // Excel has been at it
			case n == 550:
				c.Identity, rule = "330199199001010000", ruleDamaged // and here: the last three digits are gone
			case n == 560:
				c.Identity, rule = syntheticIdentity(draw)[:17], ruleIdentity // one digit short
			case n == 600:
				c.District, rule = "江南县", ruleRegionUnknown
			}
			if rule != "" {
				a.quarantine(rule)
			} else {
				a.load(1, flags...)
			}
			line, err := json.Marshal(c)
			if err != nil {
				panic(fmt.Sprintf("a struct of texts cannot fail to become JSON: %v", err))
			}
			lines = append(lines, string(line))
		}
		// A line that was cut short, and a page of the platform's login that got into the export.
		cut := len(lines[50]) / 2
		for !utf8.RuneStart(lines[50][cut]) {
			cut--
		}
		lines = slices.Insert(lines, 50, lines[50][:cut], "<html><body>登录超时，请重新登录</body></html>")
		a.quarantine(ruleJSONSyntax)
		a.quarantine(ruleJSONRecord)
		d.cases[month] = lines
	}
}

// changed is when Hangzhou's districts changed.
var changed = time.Date(2021, 4, 9, 0, 0, 0, 0, Month(4).Location())

// district draws where a case is from. People in Hangzhou go on using the old names.
func (d *demo) district(draw *source, opened time.Time) string {
	if draw.below(3) == 0 {
		names := hangzhouBefore
		if opened.After(changed.AddDate(0, 0, 30)) {
			names = cities[0].counties
		}
		return pick(draw, names).name
	}
	c := pick(draw, cities)
	if c.code == hangzhou { // no district of Hangzhou by its new names before it was there
		return "西湖区"
	}
	return pick(draw, c.counties).name
}

// hotlineTime writes a time in the two ways of the platform's two halves.
func hotlineTime(t time.Time, n int) string {
	if n%5 == 0 {
		return t.Format("2006年1月2日 15:04")
	}
	return t.Format("2006-01-02 15:04:05")
}

// syntheticIdentity is a resident identity number of the county 330199, which does not exist, with its proper check digit.
func syntheticIdentity(draw *source) string {
	body := fmt.Sprintf("330199%04d%02d%02d%03d", 1950+draw.below(50), 1+draw.below(12), 1+draw.below(28), draw.below(1000))
	weights := [...]int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2}
	sum := 0
	for i, w := range weights {
		sum += w * int(body[i]-'0')
	}
	return body + string("10X98765432"[sum%11])
}

// hotlineZip packs the months' cases as the hotline sends them, with a note that is no data.
func hotlineZip(cases map[int][]string) ([]byte, error) {
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	add := func(name, text string) error {
		w, err := z.Create(name)
		if err != nil {
			return err
		}
		_, err = w.Write([]byte(text))
		return err
	}
	if err := add("readme.txt", "演示数据：由程序按固定种子生成，姓名、号码均不属于任何人。\n"); err != nil {
		return nil, err
	}
	for month := hotlineFirstMonth; month <= hotlineLastMonth; month++ {
		if err := add(fmt.Sprintf("cases-2021-%02d.jsonl", month), strings.Join(cases[month], "\n")+"\n"); err != nil {
			return nil, err
		}
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
