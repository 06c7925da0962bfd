package livelihood

import (
	"bytes"
	_ "embed"
	"encoding/csv"
	"fmt"
	"strconv"
)

// realCases is what the province and its cities published in February 2020 (real/LICENSE says where it is from).
//
//go:embed real/zhejiang-2020-02.csv
var realCases []byte

// makeEpidemic accounts for the real rows, all of which are loaded, and finds the days on which the province's figure is not the sum of
// its cities' and of what it counts beside them.
func (d *demo) makeEpidemic() {
	a := d.account("epidemic-2020", "daily")
	rows, err := csv.NewReader(bytes.NewReader(realCases)).ReadAll()
	if err != nil {
		panic(fmt.Sprintf("the real cases: %v", err)) // they are part of the program
	}
	const date, city, confirmed = 0, 5, 7
	type sums struct{ own, below int }
	days := map[string]*sums{}
	var order []string
	for _, r := range rows[1:] {
		n, err := strconv.Atoi(r[confirmed])
		if err != nil {
			panic(fmt.Sprintf("the real cases: %v", err))
		}
		if days[r[date]] == nil {
			days[r[date]] = &sums{}
			order = append(order, r[date])
		}
		if r[city] == "" {
			days[r[date]].own = n
		} else {
			days[r[date]].below += n
		}
		a.load(1)
	}
	for _, day := range order {
		if s := days[day]; s.own != s.below {
			d.real = append(d.real, RealDay{Date: day, Reported: s.own, RolledUp: s.below})
		}
	}
}
