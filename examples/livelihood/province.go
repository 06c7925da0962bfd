package livelihood

import (
	"encoding/json"
	"fmt"
)

// provinceRow is a row of the province's summed-up table: what cities have reported upwards by hand.
type provinceRow struct {
	code, name string
	month      int
	monthText  string
	built      map[string]int
	broken     bool
}

// alterations are where the province's table disagrees with the counties on purpose, in the ways that real ones do.
var alterations = []struct {
	city, indicator string
	month           int
	add             int  // to what the counties have
	late            bool // the month before's figure was sent again
	why             string
}{
	{"330700", "LV-FACTORY", 6, 9, false, "signed up was counted as built"},
	{"330300", "LV-BANQUET", 9, -7, false, "a county sent its figure after the closing day"},
	{"331000", "LV-FACTORY", 10, 15, false, "signed up was counted as built"},
	{"330600", "LV-TRACE", 10, 0, true, "the month before's figure was sent again"},
	{"330900", "LV-PHARMACY", 8, 2, false, "two stations are counted twice"},
}

// provinceExtra is what the province's own row has beyond its cities' rows, in the last month.
const provinceExtra = 5

// makeProvince makes the table: a row for the province and each city and month.
func (d *demo) makeProvince() {
	a := d.account("province-table", "monthly")
	for month := firstMonth; month <= lastMonth; month++ {
		text := fmt.Sprintf("2021%02d", month)
		top := provinceRow{code: province, name: "全省", month: month, monthText: text, built: map[string]int{}}
		var rows []provinceRow
		for _, c := range cities {
			row := provinceRow{code: c.code, name: c.name, month: month, monthText: text, built: map[string]int{}}
			for _, it := range counted {
				sum, before := 0, 0
				for _, county := range c.counties {
					months := d.progress[county.code]
					sum += months[month-firstMonth].built[it.indicator]
					if month > firstMonth {
						before += months[month-firstMonth-1].built[it.indicator]
					}
				}
				for _, alt := range alterations {
					if alt.city != c.code || alt.indicator != it.indicator || alt.month != month {
						continue
					}
					if alt.late {
						sum = before
					}
					sum += alt.add
					d.altered[figureKey{it.indicator, c.code, month}] = alt.why
					d.altered[figureKey{it.indicator, province, month}] = "a city's figure disagrees"
				}
				row.built[it.indicator] = sum
				top.built[it.indicator] += sum
			}
			rows = append(rows, row)
		}
		if month == lastMonth {
			top.built[factory.indicator] += provinceExtra
			d.altered[figureKey{factory.indicator, province, month}] = "the province counts works of its own, and a city's figure disagrees"
		}
		d.province = append(append(d.province, top), rows...)
		for range len(rows) + 1 {
			a.load(len(counted))
		}
	}
	// One row was keyed for a month that there is not.
	d.province = append(d.province, provinceRow{
		code: "330800", name: "衢州市", monthText: "202113", built: map[string]int{"LV-FACTORY": 60, "LV-BANQUET": 61, "LV-TRACE": 62, "LV-PHARMACY": 63}, broken: true,
	})
	a.quarantine(ruleMonth)
}

// provinceFile is the table as the province's reporting platform exports it: JSON, numbers as text.
func provinceFile(rows []provinceRow) ([]byte, error) {
	type area struct {
		Code string `json:"code"`
		Name string `json:"name"`
	}
	type row struct {
		Area     area   `json:"area"`
		Month    string `json:"month"`
		Factory  string `json:"factory"`
		Banquet  string `json:"banquet"`
		Trace    string `json:"trace"`
		Pharmacy string `json:"pharmacy"`
	}
	out := struct {
		Title string `json:"title"`
		Rows  []row  `json:"rows"`
	}{Title: "2021年食品药品安全民生实事全省汇总表（演示数据）"}
	for _, r := range rows {
		out.Rows = append(out.Rows, row{area{r.code, r.name}, r.monthText,
			fmt.Sprint(r.built[factory.indicator]), fmt.Sprint(r.built[banquet.indicator]), fmt.Sprint(r.built[trace.indicator]), fmt.Sprint(r.built[pharmacy.indicator])})
	}
	return json.MarshalIndent(out, "", "  ")
}
