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
	for _, c := range []struct {
		view     string
		tables   []string
		byPeriod bool
	}{
		{"observation_current", []string{"observation"}, true},
		{"observation_cell", []string{"observation"}, true},
		{"figure_live", []string{"observation"}, true},
		{"report_live", []string{"observation"}, true},
		{"indicator_rollup_today", []string{"observation"}, true},
		{"indicator_rollup_as_of(day = '2024-05-01')", []string{"observation"}, true},
		{"indicator_rollup", []string{"figure"}, false},
		{"indicator_reconciliation", []string{"figure", "figure_report"}, false},
		{"indicator_trend", []string{"figure"}, false},
		{"indicator_ranking", []string{"figure"}, false},
	} {
		where := "indicator = 'I' AND grain = 'month' AND period >= '2021-01-01' AND period < '2022-01-01'"
		plan := strings.Join(b.sql(fmt.Sprintf("EXPLAIN indexes = 1, actions = 0, pretty = 0, compact = 0 SELECT * FROM $db.%s WHERE %s FORMAT TSVRaw", c.view, where)), "\n")
		for _, table := range c.tables {
			reads := strings.Split(plan, fmt.Sprintf("ReadFromMergeTree (%s.%s)", b.Database(), table))[1:]
			if len(reads) == 0 {
				t.Errorf("%s does not read %s:\n%s", c.view, table, plan)
			}
			for _, read := range reads {
				read, _, _ = strings.Cut(read, "Ranges:")
				if !strings.Contains(read, "(indicator in ['I', 'I'])") && !strings.Contains(read, "0-element set") { // no targets, whose figures need the year
					t.Errorf("%s reads all indicators:%s", c.view, read)
				}
				if c.byPeriod && !strings.Contains(read, "(toYear(period) in [2021, +Inf))") && !strings.Contains(read, "0-element set") {
					t.Errorf("%s reads all periods:%s", c.view, read)
				}
			}
		}
	}
}
