package warehouse_test

import (
	"fmt"
	"strings"
	"testing"
)

// What an analyst asks about one indicator reads that indicator, however much there is of others: the filter reaches the table's key
// through the views, and that on periods its partitions, where the view does not need the periods before.
func TestFiltersReachTheKey(t *testing.T) {
	t.Parallel()
	b := analysis(t, indicator("I", "sum"), indicator("J", "sum"))
	var rows []observation
	for year := 2020; year < 2022; year++ {
		for _, code := range []string{"I", "J"} {
			rows = append(rows, observation{indicator: code, region: "330203", period: day(year, 6, 1), value: 1})
		}
	}
	b.load("once", rows...)
	for view, byPeriod := range map[string]bool{
		"observation_current": true, "observation_cell": true, "indicator_rollup": true, "indicator_reconciliation": true,
		"indicator_rollup_today": true, "indicator_rollup_as_of(day = '2024-05-01')": true,
		"indicator_trend": false, "indicator_ranking": false,
	} {
		where := "indicator = 'I' AND grain = 'month' AND period >= '2021-01-01' AND period < '2022-01-01'"
		plan := strings.Join(b.sql(fmt.Sprintf("EXPLAIN indexes = 1, actions = 0, pretty = 0, compact = 0 SELECT * FROM $db.%s WHERE %s FORMAT TSVRaw", view, where)), "\n")
		reads := strings.Split(plan, fmt.Sprintf("ReadFromMergeTree (%s.observation)", b.Database()))[1:]
		if len(reads) == 0 {
			t.Errorf("%s does not read observations:\n%s", view, plan)
		}
		for _, read := range reads {
			read, _, _ = strings.Cut(read, "Ranges:")
			if !strings.Contains(read, "(indicator in ['I', 'I'])") {
				t.Errorf("%s reads all indicators:%s", view, read)
			}
			if byPeriod && !strings.Contains(read, "(toYear(period) in [2021, +Inf))") && !strings.Contains(read, "0-element set") { // no targets, whose figures need the year
				t.Errorf("%s reads all periods:%s", view, read)
			}
		}
	}
}
