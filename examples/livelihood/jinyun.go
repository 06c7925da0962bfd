package livelihood

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/text/encoding/simplifiedchinese"
)

// jinyunRow is a row of the list that 缙云县 keeps in Excel and saves as CSV.
type jinyunRow struct {
	item, month, value, unit, remark string
}

// monthForms are the ways in which the county's clerks write a month.
var monthForms = []string{"2021年%d月", "2021.%d", "2021/%d", "2021-%02d", "2021%02d", "2021年%02d月"}

// nullWords are the ways in which they write that there is nothing to say.
var nullWords = []string{"", "无", "/", "—", "暂无"}

// makeJinyun makes the county's list: all of the items but the canteens, and the money in yuan with thousands separators.
func (d *demo) makeJinyun() {
	a := d.account("jinyun", "items")
	draw := newSource("jinyun")
	for i, f := range d.progress[jinyun] {
		month := firstMonth + i
		text := fmt.Sprintf(monthForms[i%len(monthForms)], month)
		for _, it := range counted {
			row := jinyunRow{it.title, text, strconv.Itoa(f.built[it.indicator]), it.unit, pick(draw, nullWords)}
			switch {
			case it.indicator == pharmacy.indicator && month <= 4:
				row.value, row.remark = "—", "尚未启动"
				a.filter("not-reported")
			case it.indicator == trace.indicator && month == 5:
				row.value = "" // forgotten
				a.quarantine(ruleRequired)
			default:
				a.load(1)
				d.fact(it.indicator, jinyun, month, float64(f.built[it.indicator]))
			}
			d.jinyunRows = append(d.jinyunRows, row)
		}
		for _, it := range funded {
			d.jinyunRows = append(d.jinyunRows, jinyunRow{it.title + "投入资金", text, separated(f.money[it.indicator]) + ".00", "元", pick(draw, nullWords)})
			d.fact("LV-FUND", jinyun, month, float64(f.money[it.indicator]))
			a.load(1)
		}
	}
	// An item that nobody has agreed on.
	d.jinyunRows = append(d.jinyunRows, jinyunRow{"阳光药房", "2021年10月", "3", "家", "新增项目"})
	a.quarantine(ruleLookup)
}

// separated writes a number with thousands separators.
func separated(n int64) string {
	digits := strconv.FormatInt(n, 10)
	var groups []string
	for len(digits) > 3 {
		groups = append(groups, digits[len(digits)-3:])
		digits = digits[:len(digits)-3]
	}
	groups = append(groups, digits)
	slices.Reverse(groups)
	var out bytes.Buffer
	for i, g := range groups {
		if i > 0 {
			out.WriteByte(',')
		}
		out.WriteString(g)
	}
	return out.String()
}

// jinyunFile is the list as Excel saves it: GB18030 without a mark, CRLF.
func jinyunFile(rows []jinyunRow) ([]byte, error) {
	var text bytes.Buffer
	w := csv.NewWriter(&text)
	w.UseCRLF = true
	if err := w.Write([]string{"填报单位", "项目名称", "统计月份", "累计完成", "单位", "备注"}); err != nil {
		return nil, err
	}
	for _, r := range rows {
		if err := w.Write([]string{"缙云县", r.item, r.month, r.value, r.unit, r.remark}); err != nil {
			return nil, err
		}
	}
	w.Flush()
	if err := w.Error(); err != nil {
		return nil, err
	}
	return simplifiedchinese.GB18030.NewEncoder().Bytes(text.Bytes())
}
