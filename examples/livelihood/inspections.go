package livelihood

import (
	"fmt"
	"strings"
)

// The days of Hangzhou's list of inspections: before and after the districts changed on 9 April 2021.
const (
	inspectionsFrom = "2021-03-25"
	inspectionsTo   = "2021-04-30"
	changeDay       = "2021-04-09"
)

// makeInspections makes Hangzhou's own list of market inspections. Its system still had the old districts at the end of April:
// 下城区, which became part of 拱墅区 as a whole, and 江干区, which was divided, so that nobody can say where its later rows belong.
func (d *demo) makeInspections() {
	a := d.account("hangzhou-inspections", "daily")
	draw := newSource("inspections")
	d.inspections = append(d.inspections, "区县,检查日期,检查次数,发现问题数")
	day := Month(3).AddDate(0, 0, 24)
	for n := 0; ; n++ {
		at := day.AddDate(0, 0, n)
		iso := at.Format("2006-01-02")
		if iso > inspectionsTo {
			break
		}
		text := []string{at.Format("2006年1月2日"), at.Format("2006.1.2"), at.Format("2006/1/2")}[n%3]
		for _, county := range hangzhouBefore {
			visits := 3 + draw.below(20)
			problems := draw.below(visits)
			d.inspections = append(d.inspections, fmt.Sprintf("%s,%s,%d,%d", county.name, text, visits, problems))
			switch {
			case iso >= changeDay && county.name == "江干区":
				a.quarantine(ruleRegionAmbiguous)
				continue
			case iso >= changeDay && county.name == "下城区":
				a.load(2, ruleRegionInexact)
			default:
				a.load(2)
			}
		}
	}
	d.inspections = append(d.inspections,
		"萧山区,2021年2月30日,5,1",       // no such day
		"滨江区,2021年4月30日,1,234,5,2", // separators without quotes: too many fields
	)
	a.quarantine(ruleDate)
	a.quarantine(ruleCSVFields)
}

// inspectionsFile is the list in UTF-8 with a byte-order mark.
func inspectionsFile(lines []string) []byte {
	return []byte("\ufeff" + strings.Join(lines, "\r\n") + "\r\n")
}
