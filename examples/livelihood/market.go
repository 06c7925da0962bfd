package livelihood

import (
	"bytes"
	"fmt"
	"math"

	"github.com/xuri/excelize/v2"
)

// The months for which there are figures, as of the end of each.
const (
	firstMonth = 3
	lastMonth  = 10
)

// pace is how fast a city is with an item, against the plan. Most are about on plan, some are far ahead, some behind.
func pace(cityName, indicator string) float64 {
	draw := newSource("pace/" + cityName + "/" + indicator)
	return pick(draw, []float64{1.18, 1.16, 1.04, 1.02, 1.01, 1, 0.99, 0.86, 0.74})
}

// planShare is the share of a target that the plan wants by the end of each month, March to October.
var planShare = [...]float64{0.10, 0.22, 0.36, 0.50, 0.60, 0.70, 0.80, 0.90}

// figures are a county's cumulative figures at the end of one month.
type figures struct {
	built    map[string]int   // by indicator of a counted item
	money    map[string]int64 // in yuan, by indicator of the item that it was spent on
	covered  int              // canteens with a sunny kitchen
	canteens int
}

// progress makes the figures of every county and month: progress[code][month-firstMonth].
func progress(targets map[string]map[string]int) map[string][]figures {
	all := map[string][]figures{}
	for _, c := range cities {
		for _, county := range c.counties {
			draw := newSource("progress/" + county.code)
			months := make([]figures, lastMonth-firstMonth+1)
			for i := range months {
				months[i] = figures{built: map[string]int{}, money: map[string]int64{}, canteens: targets[canteen.indicator][county.code]}
			}
			for _, it := range counted {
				own := pace(c.name, it.indicator) * draw.between(0.95, 1.05)
				target := float64(targets[it.indicator][county.code])
				price := int64(draw.between(18, 46) * 100) // hundreds of yuan for each
				before := 0
				for i := range months {
					n := max(before, int(math.Floor(target*planShare[i]*own+0.5)))
					months[i].built[it.indicator] = n
					months[i].money[it.indicator] = int64(n) * price * 100
					before = n
				}
			}
			own := pace(c.name, canteen.indicator) * draw.between(0.95, 1.05)
			for i := range months {
				share := math.Min(1, (0.45+0.55*planShare[i])*own)
				months[i].covered = int(math.Floor(float64(months[i].canteens)*share + 0.5))
				if i > 0 {
					months[i].covered = max(months[i].covered, months[i-1].covered)
				}
			}
			all[county.code] = months
		}
	}
	return all
}

// funded are the items of which the market-supervision bureau reports the money spent.
var funded = []item{factory, banquet}

// marketRow is a row of the bureau's monthly table, below its headers.
type marketRow struct {
	city, county string
	built        map[string]any // cells by indicator
	money        map[string]any
	canteens     any
	covered      any
	remark       string
}

// Rows of the bureau's table that break a rule, each for a reason of its own.
const (
	badNumberMonth  = 6
	badNumberCounty = "330681" // 诸暨市
	badNumberText   = "待核实"
	zoneFirstMonth  = 6 // for three months the bureau reports a scenic area as though it were a county
	zoneLastMonth   = 8
	zoneName        = "杭州西湖风景名胜区"
)

// market makes the bureau's table of a month and accounts for its rows in the three streams that read it.
func (d *demo) market(month int) [][]marketRow {
	var rows [][]marketRow
	built, money, canteens := d.account("market-supervision", "progress"), d.account("market-supervision", "funds"), d.account("market-supervision", "canteens")
	i := month - firstMonth
	total := newMarketSum()
	for _, c := range cities {
		sum := newMarketSum()
		var block []marketRow
		for _, county := range c.counties {
			f := d.progress[county.code][i]
			sum.add(f)
			total.add(f)
			// The names of counties are indented with an ideographic space, as such tables do.
			row := marketRow{city: c.name, county: "　" + county.name, built: map[string]any{}, money: map[string]any{}, canteens: f.canteens, covered: f.covered}
			if county.name == "景宁畲族自治县" {
				row.county = "　景宁县" // nobody in Zhejiang writes the whole name
			}
			// The table has the districts of today, also for the months before they were there.
			var flags []string
			if month <= 4 && (county.code == linping || county.code == qiantang) {
				flags = []string{ruleRegionInexact}
			}
			canteens.load(1, flags...)
			d.ratio(canteen.indicator, county.code, month, f.covered, f.canteens)
			if county.code == jinyun {
				// The county sends its own list; the bureau has dashes.
				for _, it := range counted {
					row.built[it.indicator] = "-"
				}
				for _, it := range funded {
					row.money[it.indicator] = "-"
				}
				row.remark = "由县自行报送"
				built.filter(filterEmpty)
				money.filter(filterEmpty)
				block = append(block, row)
				continue
			}
			for _, it := range counted {
				row.built[it.indicator] = f.built[it.indicator]
			}
			for _, it := range funded {
				row.money[it.indicator] = tenThousands(f.money[it.indicator])
				d.fact("LV-FUND", county.code, month, float64(f.money[it.indicator]))
			}
			money.load(len(funded), flags...)
			if month == badNumberMonth && county.code == badNumberCounty {
				row.built[factory.indicator] = badNumberText
				built.quarantine(ruleNumber)
				block = append(block, row)
				continue
			}
			for _, it := range counted {
				d.fact(it.indicator, county.code, month, float64(f.built[it.indicator]))
			}
			built.load(len(counted), flags...)
			block = append(block, row)
		}
		if c.code == hangzhou && month >= zoneFirstMonth && month <= zoneLastMonth {
			block = append(block, marketRow{city: c.name, county: "　" + zoneName, built: map[string]any{
				factory.indicator: 1, banquet.indicator: 2, trace.indicator: month, pharmacy.indicator: 1,
			}, money: map[string]any{factory.indicator: 25.5, banquet.indicator: 31.25}, canteens: 9, covered: month})
			for _, a := range []*account{built, money, canteens} {
				a.quarantine(ruleRegionUnknown)
			}
		}
		rows = append(rows, append(block, sum.row(c.name, "小计")))
	}
	rows = append(rows, []marketRow{total.row("合计", "合计")})
	for _, a := range []*account{built, money, canteens} {
		for range len(cities) + 1 {
			a.filter("subtotal")
		}
		a.filter("note")
	}
	return rows
}

// tenThousands is an amount of yuan in 万元, as the bureau writes it: a number, or from a thousand on a text with separators,
// because somebody pasted those.
func tenThousands(yuan int64) any {
	if yuan < 1000*10000 {
		return float64(yuan) / 10000
	}
	return fmt.Sprintf("%d,%03d.%02d", yuan/10000/1000, yuan/10000%1000, yuan%10000/100)
}

type marketSum struct {
	built             map[string]int
	money             map[string]int64
	canteens, covered int
}

func newMarketSum() *marketSum { return &marketSum{built: map[string]int{}, money: map[string]int64{}} }

func (s *marketSum) add(f figures) {
	for indicator, n := range f.built {
		s.built[indicator] += n
	}
	for indicator, yuan := range f.money {
		s.money[indicator] += yuan
	}
	s.canteens += f.canteens
	s.covered += f.covered
}

func (s *marketSum) row(city, label string) marketRow {
	r := marketRow{city: city, county: label, built: map[string]any{}, money: map[string]any{}, canteens: s.canteens, covered: s.covered}
	for _, it := range counted {
		r.built[it.indicator] = s.built[it.indicator]
	}
	for _, it := range funded {
		r.money[it.indicator] = tenThousands(s.money[it.indicator])
	}
	return r
}

// marketBook writes a month's table as the bureau does: title, unit and date above, two rows of headers with merged cells,
// the city's and the month's cell merged over the city's rows, a subtotal for each city, a total, and a note at the end.
func marketBook(month int, blocks [][]marketRow) ([]byte, error) {
	book := excelize.NewFile()
	defer book.Close()
	const sheet = "进展表"
	if err := book.SetSheetName("Sheet1", sheet); err != nil {
		return nil, err
	}
	w := &sheetWriter{book: book, sheet: sheet}
	w.merge("A1", "M1", "浙江省2021年食品药品安全民生实事进展情况表（演示数据）")
	w.merge("A2", "F2", fmt.Sprintf("截至2021年%d月底", month))
	w.merge("G2", "M2", "单位：家、万元")
	for _, h := range []struct{ from, to, text string }{
		{"A3", "A4", "序号"}, {"B3", "B4", "设区市"}, {"C3", "C4", "县（市、区）"}, {"D3", "D4", "统计月份"},
		{"E3", "F3", factory.title}, {"G3", "H3", banquet.title}, {"I3", "J3", canteen.title},
		{"K3", "K4", trace.title}, {"L3", "L4", pharmacy.title}, {"M3", "M4", "备注"},
	} {
		w.merge(h.from, h.to, h.text)
	}
	// In order, because the order of the cells decides the order of the workbook's texts, and its bytes with it.
	for _, h := range [][2]string{{"E4", "累计建成"}, {"F4", "投入资金（万元）"}, {"G4", "累计建成"}, {"H4", "投入资金（万元）"}, {"I4", "食堂总数"}, {"J4", "已接入"}} {
		w.set(h[0], h[1])
	}
	at, number := 5, 1
	for _, block := range blocks {
		top := at
		for _, r := range block {
			cells := []any{nil, nil, r.county, nil, r.built[factory.indicator], r.money[factory.indicator], r.built[banquet.indicator], r.money[banquet.indicator],
				r.canteens, r.covered, r.built[trace.indicator], r.built[pharmacy.indicator], r.remark}
			if r.county != "小计" && r.county != "合计" {
				cells[0] = number
				number++
			}
			for col, value := range cells {
				if value == nil || value == "" {
					continue
				}
				name, err := excelize.CoordinatesToCellName(col+1, at)
				if err != nil {
					return nil, err
				}
				w.set(name, value)
			}
			at++
		}
		first := block[0]
		if first.county == "合计" {
			w.merge(fmt.Sprintf("B%d", top), fmt.Sprintf("C%d", top), "合计")
			w.set(fmt.Sprintf("D%d", top), fmt.Sprintf("2021年%d月", month))
			continue
		}
		w.merge(fmt.Sprintf("B%d", top), fmt.Sprintf("B%d", at-1), first.city)
		w.merge(fmt.Sprintf("D%d", top), fmt.Sprintf("D%d", at-1), fmt.Sprintf("2021年%d月", month))
	}
	w.set(fmt.Sprintf("A%d", at), "注：本表数据为演示数据，由程序按固定种子生成，不是实际进展。")
	if w.err != nil {
		return nil, w.err
	}
	var out bytes.Buffer
	if err := book.Write(&out); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// sheetWriter writes cells and keeps the first error.
type sheetWriter struct {
	book  *excelize.File
	sheet string
	err   error
}

func (w *sheetWriter) set(cell string, value any) {
	if w.err == nil {
		w.err = w.book.SetCellValue(w.sheet, cell, value)
	}
}

func (w *sheetWriter) merge(from, to, text string) {
	w.set(from, text)
	if w.err == nil {
		w.err = w.book.MergeCell(w.sheet, from, to)
	}
}
