package warehouse_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/headwater-data/headwater/schemas"
	"github.com/headwater-data/headwater/warehouse"
)

// TestIndicatorsAreCountedFromRecords has cases of the hotline and issues whose figures are worked out by hand.
func TestIndicatorsAreCountedFromRecords(t *testing.T) {
	t.Parallel()
	file := func(code, aggregation, grain, facts string) schemas.File {
		return schemas.File{Name: code + ".yaml", Data: []byte("indicator: " + code + "\ntitle: { zh: 标题, en: Title }\nunit: 件\naggregation: " + aggregation + "\ngrain: " + grain + "\nfacts: " + facts + "\n")}
	}
	measures, problems := schemas.LoadMeasures(schemas.Standard(), []schemas.File{
		file("CASES", "sum", "month", "{ schema: hotline_case, time: opened_at, where: [status != cancelled] }"),
		file("IN-TIME", "ratio", "quarter", "{ schema: hotline_case, time: due_at, where: [closed_at <= due_at], of: [status != cancelled] }"),
		file("HANDLERS", "distinct", "year", "{ schema: hotline_case, time: opened_at, measure: distinct, field: handler }"),
		file("WAITING", "sum", "day", "{ schema: hotline_case, time: opened_at, where: [closed_at is absent, opened_at >= 2021-06-02] }"),
		file("LARGEST", "max", "half", "{ schema: target, time: due, measure: max, field: value }"),
		file("TARGETS", "sum", "year", `{ schema: target, time: due, measure: sum, field: value, where: ["document = it's"] }`),
		file("WEEKS", "sum", "week", "{ schema: hotline_case, time: opened_at }"),
		file("THIRDS", "sum", "xun", "{ schema: hotline_case, time: opened_at }"),
	}, nil)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	b := analysis(t, measures.Indicators...)
	b.sql(`INSERT INTO $db.hotline_case (case_id, region, opened_at, due_at, closed_at, status, handler, _version, _deleted) VALUES
		('1','330203','2021-06-01 00:30:00','2021-06-10 08:00:00','2021-06-09 08:00:00','closed','h1',1,0),
		('2','330203','2021-06-02 08:00:00','2021-06-10 08:00:00','2021-06-11 08:00:00',NULL,'h2',1,0),
		('3','330205','2021-06-30 23:30:00','2021-07-10 08:00:00',NULL,'open','h1',1,0),
		('4','330205','2021-06-03 08:00:00','2021-06-12 08:00:00','2021-06-04 08:00:00','cancelled',NULL,1,0),
		('5','330102','2021-06-03 08:00:00','2021-06-12 08:00:00','2021-06-04 08:00:00','closed','h1',1,0),
		('5','330102','2021-06-03 08:00:00','2021-06-12 08:00:00','2021-06-14 08:00:00','closed','h3',2,0),
		('6','330102','2021-06-03 08:00:00','2021-06-12 08:00:00','2021-06-04 08:00:00','closed','h4',1,0),
		('6','330102','2021-06-03 08:00:00','2021-06-12 08:00:00','2021-06-04 08:00:00','closed','h4',2,1)`) // gone from its source
	b.sql(`INSERT INTO $db.target (indicator, region, year, due, value, document, _version) VALUES
		('X','330203',2021,'2021-12-31',7,'it\'s',1), ('X','330203',2021,'2021-12-31',5,'it\'s',2), ('X','330205',2021,'2021-12-31',4,'other',1)`)
	query := func(code string) string {
		return "SELECT region, toDate(period), ifNull(toString(round(value, 4)), '-'), records FROM $db.indicator_fact WHERE indicator = '" + code + "' AND region NOT IN ('100000', '330203', '330205', '330102')"
	}
	b.rowsOf(query("CASES"), "330200 2021-06-01 3 3", "330100 2021-06-01 1 1", "330000 2021-06-01 4 4")
	b.rowsOf(query("IN-TIME"), "330200 2021-04-01 0.5 2", "330100 2021-04-01 0 1", "330000 2021-04-01 0.3333 3", "330200 2021-07-01 0 1", "330000 2021-07-01 0 1")
	b.rowsOf(query("HANDLERS"), "330200 2021-01-01 2 3", "330100 2021-01-01 1 1", "330000 2021-01-01 3 4")
	b.rowsOf(query("WAITING"), "330200 2021-06-30 1 1", "330000 2021-06-30 1 1")
	b.rowsOf(query("LARGEST"), "330200 2021-07-01 5 2", "330000 2021-07-01 5 2")
	b.rowsOf(query("TARGETS"), "330200 2021-01-01 5 1", "330000 2021-01-01 5 1")
	b.rowsOf(query("WEEKS")+" AND region = '330000'", "330000 2021-05-31 4 4", "330000 2021-06-28 1 1")
	b.rowsOf(query("THIRDS")+" AND region = '330000'", "330000 2021-06-01 4 4", "330000 2021-06-21 1 1")
	b.rowsOf("SELECT title, unit, region_name, level, parent, grain, numerator, denominator FROM $db.indicator_fact WHERE indicator = 'IN-TIME' AND region = '330203'", "标题 件 海曙区 county 330200 quarter 1 2")
	plain := b.sql(query("IN-TIME"))
	other := b.sql(query("IN-TIME") + " SETTINGS join_use_nulls = 1")
	slices.Sort(plain)
	slices.Sort(other)
	if !slices.Equal(plain, other) {
		t.Errorf("under join_use_nulls: %q, want %q", other, plain)
	}
	if bare := b.sql("SELECT name FROM system.columns WHERE database = '$db' AND table = 'indicator_fact' AND comment = ''"); len(bare) > 0 {
		t.Errorf("without a comment: %v", bare)
	}

	// Fewer declarations, none, and a view that somebody dropped.
	b.define(measures.Indicators[:1])
	b.rowsOf("SELECT DISTINCT indicator FROM $db.indicator_fact", "CASES")
	b.define(nil)
	b.rowsOf("SELECT indicator FROM $db.indicator_fact")
	b.sql("DROP VIEW $db.indicator_fact")
	b.define(nil)
	b.rowsOf("SELECT indicator FROM $db.indicator_fact")
	if made := b.sql("SELECT create_table_query FROM system.tables WHERE database = '$db' AND name = 'indicator_fact'"); len(made) != 1 || !strings.Contains(made[0], "事实指标") {
		t.Errorf("the view has no comment: %q", made)
	}
}

func TestSeveralMaySyncAtOnce(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	measures, problems := schemas.LoadMeasures(schemas.Standard(), []schemas.File{{Name: "i.yaml", Data: []byte("indicator: I\ntitle: { zh: 件, en: I }\naggregation: sum\nfacts: { schema: issue, time: found_on }\n")}}, nil)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var group sync.WaitGroup
	for range 4 {
		w, err := warehouse.Open(b.ctx, warehouse.Config{Addr: b.server.Addr, User: b.server.User, Password: secretOf(b), Database: b.Database()})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		group.Go(func() {
			if err := w.Sync(b.ctx, schemas.Standard(), measures.Indicators); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	b.sql("INSERT INTO $db.issue (issue_id, source, region, found_on, title, responsible, status) VALUES ('B', 'complaint', '330102', '2018-03-01', 't', 'r', 'assigned')")
	b.rowsOf("SELECT value FROM $db.indicator_fact WHERE region = '330102'", "1")
	if got := b.sql("SELECT count() FROM $db.indicator_version FINAL WHERE _deleted = 0"); got[0] != "1" {
		t.Errorf("%s versions, want 1", got[0])
	}
}
