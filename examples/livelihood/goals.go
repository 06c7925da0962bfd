package livelihood

import (
	"bytes"
	"encoding/csv"
	"strconv"
)

// targetRow is a row of the office's breakdown of the year's targets.
type targetRow struct {
	region, indicator, title, unit string
	target                         int
	base                           int // of what is to be covered as a whole
	plan                           [4]int
}

// makeTargets makes the breakdown: the province, each city, each county. A city's plan is the sum of its counties'.
func (d *demo) makeTargets() {
	a := d.account("targets", "breakdown")
	for _, it := range append([]item{canteen}, counted...) {
		top := targetRow{region: provinceName, indicator: it.indicator, title: it.title, unit: it.unit}
		var rows []targetRow
		for _, c := range cities {
			of := targetRow{region: provinceName + c.name, indicator: it.indicator, title: it.title, unit: it.unit}
			var below []targetRow
			for _, county := range c.counties {
				row := targetRow{region: provinceName + c.name + county.name, indicator: it.indicator, title: it.title, unit: it.unit}
				n := d.targets[it.indicator][county.code]
				if it.indicator == canteen.indicator {
					row.target, row.base = 100, n
				} else {
					row.target = n
				}
				for i, p := range plan {
					row.plan[i] = planned(row.target, p.percent)
				}
				of.add(row)
				below = append(below, row)
			}
			top.add(of)
			rows = append(append(rows, of), below...)
		}
		d.targetRows = append(append(d.targetRows, top), rows...)
	}
	for i := range d.targetRows {
		r := &d.targetRows[i]
		if r.indicator == canteen.indicator {
			r.target = 100 // of a hundred, everywhere
			for i, p := range plan {
				r.plan[i] = p.percent
			}
		}
		a.load(1)
	}
}

func (r *targetRow) add(below targetRow) {
	r.target += below.target
	r.base += below.base
	for i := range r.plan {
		r.plan[i] += below.plan[i]
	}
}

// targetsFile is the breakdown as CSV.
func targetsFile(rows []targetRow) ([]byte, error) {
	var out bytes.Buffer
	w := csv.NewWriter(&out)
	if err := w.Write([]string{"地区", "项目", "年度目标", "单位", "基数", "3月底", "6月底", "9月底", "11月底", "完成时限"}); err != nil {
		return nil, err
	}
	for _, r := range rows {
		suffix, base := "", ""
		if r.base > 0 {
			suffix, base = "%", strconv.Itoa(r.base)
		}
		cells := []string{r.region, r.title, strconv.Itoa(r.target) + suffix, r.unit, base}
		for _, n := range r.plan {
			cells = append(cells, strconv.Itoa(n)+suffix)
		}
		if err := w.Write(append(cells, "2021年11月30日")); err != nil {
			return nil, err
		}
	}
	w.Flush()
	return out.Bytes(), w.Error()
}
