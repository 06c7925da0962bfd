package livelihood

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/xuri/excelize/v2"
	"golang.org/x/text/encoding/simplifiedchinese"
)

// The fourteen days of the control index: Monday 2021-07-26 to Sunday 2021-08-08.
const (
	controlDays  = 14
	secondWeek   = 7     // first day of the second workbook, and of the second versions of the indexes
	excelOfFirst = 44403 // 2021-07-26 as a spreadsheet numbers days
)

// ControlDay is the n-th day of the control index, from 0.
func ControlDay(n int) time.Time { return Month(7).AddDate(0, 0, 25+n) }

// controlFigures are what a county has to tell of one day.
type controlFigures struct {
	people, cases    int // people in tens of thousands
	contacts, traced int
	moves, moved     int
	flows            [len(flows)]struct{ have, of int }
}

// flows are the transport department's items.
var flows = [...]struct{ indicator, title, unit string }{
	{"EC-TOLL", "高速公路收费站开通数", "个"}, {"EC-BUS", "公交线路开通数", "条"}, {"EC-FREIGHT", "货运车流量", "辆次"}, {"EC-WORK", "规上工业企业复工数", "家"},
}

const (
	toll    = 0
	freight = 2
)

// islands have no expressway.
var islands = map[string]bool{"330921": true, "330922": true} // 岱山县, 嵊泗县

// Rows of the two departments that break a rule or say nothing, each for a reason of its own. Days are counted from 0.
const (
	silentCounty    = "330922" // 嵊泗县 does not report on three days
	silentFrom      = 3
	silentTo        = 5
	unclearCounty   = "330681" // 诸暨市's cases are to be confirmed on the last day
	unclearDay      = controlDays - 1
	excessCounty    = "330203" // 海曙区 has reached more contacts than there are
	excessDay       = 9
	flightsDay      = 5 // an item that nobody has agreed on
	developmentDay  = 2 // a development zone as though it were a county
	impossibleDay   = 6 // a day that does not exist
	developmentName = "杭州钱江经济开发区"
)

// controlOf makes a county's figures, a day after the other. How hard a county is hit is drawn once; half of them are not.
func controlOf(county place) [controlDays]controlFigures {
	var days [controlDays]controlFigures
	draw := newSource("control/" + county.code)
	heat := pick(draw, []float64{0, 0, 0, 0, 0.15, 0.4, 0.8, 1.5})
	people := 12 + draw.below(120)
	usual := [len(flows)]int{3 + draw.below(9), 20 + draw.below(180), 900 + draw.below(9000), 80 + draw.below(700)}
	for n := range days {
		f := &days[n]
		f.people = people
		wave := 0.4 + 0.6*math.Sin(float64(n+2)/float64(controlDays+3)*math.Pi) // rises and falls
		f.cases = int(heat * wave * float64(people) / 100 * draw.between(2, 30))
		f.contacts = f.cases*(6+draw.below(9)) + draw.below(6)
		if heat == 0 && draw.below(3) == 0 {
			f.contacts = 0
		}
		f.traced = int(math.Ceil(float64(f.contacts) * (1 - min(0.6, heat*draw.between(0.01, 0.2)))))
		f.moves = (f.contacts + 2) / 3
		f.moved = int(float64(f.moves) * (1 - min(0.95, heat*draw.between(0.1, 0.7))))
		for i := range f.flows {
			open := 1 - min(0.9, heat*wave*draw.between(0.1, 0.8))
			if i == freight {
				open *= draw.between(0.93, 1.08)
			}
			f.flows[i].of = usual[i]
			f.flows[i].have = int(math.Floor(float64(usual[i])*open + 0.5))
		}
	}
	return days
}

// healthRow is a row of the health commission's table.
type healthRow struct {
	city, county string
	cells        [7]any // tens of thousands of people; local and imported cases; contacts to be reached and reached; transfers to be done and done
	remark       string
}

// controlFact takes down a county's figure of a day that will be loaded.
func (d *demo) controlFact(indicator, region string, day int, f fraction) {
	d.control[controlKey{indicator, region, day}] = f
}

type controlKey struct {
	indicator, region string
	day               int
}

// makeControl makes the tables of both departments and accounts for their rows.
func (d *demo) makeControl() {
	cases, contacts, transfers := d.account("health-daily", "cases"), d.account("health-daily", "contacts"), d.account("health-daily", "transfers")
	transport := d.account("transport-daily", "daily")
	figures := map[string][controlDays]controlFigures{}
	for _, c := range cities {
		for _, county := range c.counties {
			figures[county.code] = controlOf(county)
		}
	}
	for day := range controlDays {
		total := healthRow{city: "全省合计", county: "全省合计", cells: [7]any{0, 0, 0, 0, 0, 0, 0}}
		rows := []healthRow{total}
		list := [][]string{{"统计日期", "设区市", "县（市、区）", "监测项目", "当日值", "基准值", "单位", "备注"}}
		at := ControlDay(day)
		date := []string{at.Format("20060102"), at.Format("2006-01-02"), at.Format("2006年1月2日")}[day%3]
		for _, c := range cities {
			for _, county := range c.counties {
				f := figures[county.code][day]
				rows = append(rows, d.healthRow(day, c, county, f, &rows[0], cases, contacts, transfers))
				list = append(list, d.transportRows(day, date, c, county, f, transport)...)
			}
		}
		for _, a := range []*account{cases, contacts, transfers} {
			a.filter("total")
			a.filter("note")
		}
		switch day {
		case flightsDay:
			list = append(list, []string{date, "杭州市", "萧山区", "民航进出港航班", "412", "690", "架次", ""})
			transport.quarantine(ruleLookup)
		case developmentDay:
			list = append(list, []string{date, "杭州市", developmentName, flows[3].title, "210", "240", "家", ""})
			transport.quarantine(ruleRegionUnknown)
		case impossibleDay:
			list = append(list, []string{"2021年7月32日", "温州市", "鹿城区", flows[1].title, "88", "120", "条", "补报"})
			transport.quarantine(ruleDate)
		}
		d.healthSheets = append(d.healthSheets, rows)
		d.transportLists = append(d.transportLists, list)
	}
}

// healthRow makes a county's row of a sheet, adds it to the province's, and says what becomes of it in the three streams.
func (d *demo) healthRow(day int, c city, county place, f controlFigures, total *healthRow, cases, contacts, transfers *account) healthRow {
	row := healthRow{city: c.name, county: county.name, cells: [7]any{f.people, f.cases, 0, f.contacts, f.traced, f.moves, f.moved}}
	if county.name == "景宁畲族自治县" {
		row.county = "景宁县"
	}
	if county.code == silentCounty && day >= silentFrom && day <= silentTo {
		row.cells, row.remark = [7]any{f.people, "-", "-", "-", "-", "-", "-"}, "未报送"
		total.cells[0] = total.cells[0].(int) + f.people
		for _, a := range []*account{cases, contacts, transfers} {
			a.filter("not-reported")
		}
		return row
	}
	for i := range row.cells {
		total.cells[i] = total.cells[i].(int) + row.cells[i].(int)
	}
	if county.code == unclearCounty && day == unclearDay {
		row.cells[1] = "待核实"
		cases.quarantine(ruleExpression + "," + ruleNumber) // the share cannot be worked out either
	} else {
		cases.load(1)
		d.controlFact("EC-NEW", county.code, day, fraction{float64(f.cases), float64(f.people) / 100})
	}
	switch {
	case f.contacts == 0:
		contacts.filter("nobody")
	case county.code == excessCounty && day == excessDay:
		row.cells[4] = f.contacts + 3
		contacts.quarantine("share.above-one")
	default:
		contacts.load(1)
		d.controlFact("EC-TRACED", county.code, day, fraction{float64(f.traced), float64(f.contacts)})
	}
	if f.moves == 0 {
		transfers.filter("nobody")
	} else {
		transfers.load(1)
		d.controlFact("EC-MOVED", county.code, day, fraction{float64(f.moved), float64(f.moves)})
	}
	return row
}

// transportRows makes a county's rows of a day's list.
func (d *demo) transportRows(day int, date string, c city, county place, f controlFigures, a *account) [][]string {
	var rows [][]string
	for i, item := range flows {
		have, of, remark := separated(int64(f.flows[i].have)), separated(int64(f.flows[i].of)), ""
		if i == toll && islands[county.code] {
			have, of, remark = "—", "—", "无高速公路"
			a.filter("has-none")
		} else {
			a.load(1)
			d.controlFact(item.indicator, county.code, day, fraction{float64(f.flows[i].have), float64(f.flows[i].of)})
		}
		rows = append(rows, []string{date, c.name, county.name, item.title, have, of, item.unit, remark})
	}
	return rows
}

// healthBook writes a week of the health commission's table: a sheet a day, title and time above, two rows of headers with merged cells,
// cities merged over their counties, the province on top, a note at the end.
func healthBook(sheets [][]healthRow, first int) ([]byte, error) {
	book := excelize.NewFile()
	defer book.Close()
	for n, rows := range sheets {
		day := ControlDay(first + n)
		name := fmt.Sprintf("%d月%d日", day.Month(), day.Day())
		if n == 0 {
			if err := book.SetSheetName("Sheet1", name); err != nil {
				return nil, err
			}
		} else if _, err := book.NewSheet(name); err != nil {
			return nil, err
		}
		if err := healthSheet(&sheetWriter{book: book, sheet: name}, rows, first+n); err != nil {
			return nil, fmt.Errorf("sheet %s: %w", name, err)
		}
	}
	var out bytes.Buffer
	if err := book.Write(&out); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func healthSheet(w *sheetWriter, rows []healthRow, day int) error {
	at := ControlDay(day)
	w.merge("A1", "K1", "浙江省新冠肺炎疫情防控日报（演示数据）")
	w.merge("A2", "F2", fmt.Sprintf("统计时间：2021年%d月%d日0时至24时", at.Month(), at.Day()))
	w.merge("G2", "K2", "单位：例、人")
	for _, h := range []struct{ from, to, text string }{
		{"A3", "A4", "设区市"}, {"B3", "B4", "县（市、区）"}, {"C3", "C4", "日期"}, {"D3", "D4", "常住人口（万人）"}, {"E3", "F3", "新增病例"}, {"G3", "H3", "密切接触者"}, {"I3", "J3", "转运"}, {"K3", "K4", "备注"},
	} {
		w.merge(h.from, h.to, h.text)
	}
	for _, h := range [][2]string{{"E4", "本土"}, {"F4", "境外输入"}, {"G4", "应管控"}, {"H4", "24小时内管控到位"}, {"I4", "应转运"}, {"J4", "6小时内完成"}} {
		w.set(h[0], h[1])
	}
	line, top := 5, 0
	for i, r := range rows {
		if r.city == r.county {
			w.merge(fmt.Sprintf("A%d", line), fmt.Sprintf("B%d", line), r.city)
		} else {
			w.set(fmt.Sprintf("B%d", line), r.county)
		}
		w.set(fmt.Sprintf("C%d", line), excelOfFirst+day)
		for n, cell := range r.cells {
			w.set(string(rune('D'+n))+strconv.Itoa(line), cell)
		}
		if r.remark != "" {
			w.set(fmt.Sprintf("K%d", line), r.remark)
		}
		if i > 0 && rows[i-1].city != r.city {
			top = line
		}
		if i > 0 && (i == len(rows)-1 || rows[i+1].city != r.city) {
			w.merge(fmt.Sprintf("A%d", top), fmt.Sprintf("A%d", line), r.city)
		}
		line++
	}
	w.set(fmt.Sprintf("A%d", line), "注：本表数据为演示数据，由程序按固定种子生成，不是实际疫情。")
	return w.err
}

// transportFile is a day's list as the platform exports it: GB18030 without a mark, CRLF.
func transportFile(rows [][]string) ([]byte, error) {
	var text bytes.Buffer
	w := csv.NewWriter(&text)
	w.UseCRLF = true
	if err := w.WriteAll(rows); err != nil {
		return nil, err
	}
	return simplifiedchinese.GB18030.NewEncoder().Bytes(text.Bytes())
}
