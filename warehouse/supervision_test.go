package warehouse_test

import (
	"fmt"
	"strings"
	"testing"
)

// rowsOf compares what a query gives, one line a row, with what is wanted, in any order.
func (b *bench) rowsOf(query string, want ...string) {
	b.t.Helper()
	there := map[string]int{}
	for _, line := range b.sql(query) {
		there[line]++
	}
	for _, w := range want {
		w = strings.Join(strings.Fields(w), "\t")
		if there[w] == 0 {
			b.t.Errorf("not there: %q", w)
			continue
		}
		there[w]--
	}
	for line, n := range there {
		if n > 0 {
			b.t.Errorf("there is also: %q", line)
		}
	}
}

// TestHotlineRatesAreRatiosOfSums has cases whose rates would come out otherwise as means of the counties' rates, by receipt instead
// of deadline, or with unanswered ones in the denominator.
func TestHotlineRatesAreRatiosOfSums(t *testing.T) {
	t.Parallel()
	b := analysis(t)
	b.sql(`INSERT INTO $db.hotline_case (case_id, region, opened_at, due_at, closed_at, satisfaction, status, phone) VALUES
		('1','330203','2021-06-01 08:00:00','2021-06-10 08:00:00','2021-06-09 08:00:00','satisfied','closed','h1'),
		('2','330203','2021-06-02 08:00:00','2021-06-10 08:00:00','2021-06-11 08:00:00','dissatisfied','closed','h2'),
		('3','330203','2021-06-28 08:00:00','2021-07-10 08:00:00','2021-07-05 08:00:00','fairly-satisfied','closed','h1'),
		('4','330203','2021-06-29 08:00:00','2021-06-30 08:00:00',NULL,NULL,'open','h3'),
		('5','330205','2021-06-03 08:00:00','2021-06-12 08:00:00','2021-06-04 08:00:00',NULL,'closed',NULL),
		('6','330205','2021-06-03 08:00:00','2021-06-12 08:00:00','2021-06-04 08:00:00','satisfied','cancelled',NULL)`)
	query := `SELECT region, month, received, closed_of_received, due, closed_in_time, overdue_open, rated, satisfied, repeated FROM $db.hotline_performance WHERE region IN ('330203','330205','330200')`
	b.rowsOf(query,
		"330203 2021-06-01 4 3 3 1 1 2 1 1", // the case of 28 June is due in July; the call of h1 came again within 30 days
		"330203 2021-07-01 0 0 1 1 0 1 1 0",
		"330205 2021-06-01 1 1 1 1 0 0 0 0",
		"330200 2021-06-01 5 4 4 2 1 2 1 1",
		"330200 2021-07-01 0 0 1 1 0 1 1 0",
	)
	b.rowsOf(`SELECT closing_rate, in_time_rate, satisfaction_rate FROM $db.hotline_performance WHERE region = '330200' AND month = '2021-06-01'`, "0.8 0.5 0.5")
}

// TestIssuesAreClosedByRegionAndSource gives the published closing rate of a real list: 314 of 386 issues.
func TestIssuesAreClosedByRegionAndSource(t *testing.T) {
	t.Parallel()
	b := analysis(t)
	b.sql(`INSERT INTO $db.issue (issue_id, source, region, found_on, title, responsible, due_on, status, closed_on, verified_on, repeated)
		SELECT concat('A', toString(number)), 'inspection', if(number < 200, '330203', '330205'), '2018-01-01', 't', 'r',
			if(number >= 359, NULL, toDate32('2018-05-31')), if(number < 314, 'closed', 'rectifying'), if(number < 314, toDate32('2018-01-11') + (number % 2) * 200, NULL), if(number < 100, toDate32('2018-09-01'), NULL), number < 3
		FROM numbers(386)`)
	b.sql(`INSERT INTO $db.issue (issue_id, source, region, found_on, title, responsible, status) VALUES ('B', 'complaint', '330102', '2018-03-01', 't', 'r', 'assigned')`)
	b.rowsOf(`SELECT region, source, issues, closed, round(closing_rate * 100, 1), closed_in_time, open, overdue, lasting, repeated, verified FROM $db.issue_closure WHERE year = 2018 AND region IN ('330200', '330000', '330203')`,
		"330203 inspection 200 200 100 100 0 0 0 3 100",
		"330200 inspection 386 314 81.3 157 72 45 27 3 100",
		"330000 inspection 386 314 81.3 157 72 45 27 3 100",
		"330000 complaint 1 0 0 0 1 0 1 0 0",
	)
	b.rowsOf(`SELECT days_to_close FROM $db.issue_closure WHERE region = '330200'`, "110")
}

// TestStepsOfTheLoop follows one issue that was sent back, extended and rectified late, and one whose step still lasts.
func TestStepsOfTheLoop(t *testing.T) {
	t.Parallel()
	b := analysis(t)
	b.sql(`INSERT INTO $db.loop_event (object, object_id, step, round, event, at, due_at, body) VALUES
		('issue','7','rectification',1,'begun','2021-06-01 00:00:00','2021-06-05 00:00:00','甲'),
		('issue','7','rectification',1,'returned','2021-06-02 00:00:00',NULL,'乙'),
		('issue','7','rectification',1,'due_changed','2021-06-04 00:00:00','2021-06-10 00:00:00','甲'),
		('issue','7','rectification',1,'ended','2021-06-11 12:00:00',NULL,'乙'),
		('issue','7','rectification',2,'begun','2021-07-01 00:00:00','2021-07-05 00:00:00','甲'),
		('issue','7','rectification',2,'ended','2021-07-03 00:00:00',NULL,'甲'),
		('task','T','monitoring',1,'begun','2021-06-01 00:00:00',NULL,'甲')`)
	b.rowsOf(`SELECT object_id, step_zh, round, body, days, returned, extended, overdue FROM $db.loop_step WHERE object = 'issue'`,
		"7 整改 1 乙 10.5 1 1 1",
		"7 整改 2 甲 2 0 0 0",
	)
	b.rowsOf(`SELECT object_id, isNull(ended_at), days > 1000, overdue FROM $db.loop_step WHERE object = 'task'`, "T 1 1 0")
}

// TestTasksStandByTheirSmallestParts has an item with a task whose county parts are ahead, on schedule and behind.
func TestTasksStandByTheirSmallestParts(t *testing.T) {
	t.Parallel()
	b := analysis(t)
	b.sql(`INSERT INTO $db.task (task_id, parent_id, kind, title, year, region, lead, started_on, due_on, target) VALUES
		('1','','livelihood','食品安全',2021,'330000','省市场监管局','2021-01-01','2021-12-31',NULL),
		('1.1','1','livelihood','阳光工厂',2021,'330000','省市场监管局','2021-01-01','2021-12-31',1000),
		('1.1.a','1.1','livelihood','阳光工厂',2021,'330203','局','2021-01-01','2021-12-31',100),
		('1.1.b','1.1','livelihood','阳光工厂',2021,'330205','局','2021-01-01','2021-12-31',100),
		('1.1.c','1.1','livelihood','阳光工厂',2021,'330102','局','2021-01-01','2021-12-31',100),
		('1.1.d','1.1','livelihood','阳光工厂',2021,'330102','局','2021-01-01','2021-12-31',100)`)
	b.sql(`INSERT INTO $db.task_progress (task_id, as_of, feed, value, planned, status, _version) VALUES
		('1.1.a','2021-06-01','source',101,NULL,'ahead',1),
		('1.1.b','2021-07-02','manual',90,NULL,'ahead',1),
		('1.1.b','2021-07-02','source',46,NULL,NULL,1),
		('1.1.b','2021-03-01','source',1,NULL,NULL,1),
		('1.1.c','2021-07-02','source',99,NULL,NULL,1),
		('1.1.c','2021-07-02','source',30,NULL,'on_schedule',2),
		('1.1.d','2021-03-31','manual',10,9.4,NULL,1),
		('1.1','2021-07-02','manual',600,NULL,NULL,1)`)
	b.rowsOf(`SELECT task_id, value, if(status = '', '-', status), parts, parts_ahead, parts_on_schedule, parts_behind FROM $db.task_status`,
		`1 \N - 4 1 2 1`,
		"1.1 600 on_schedule 4 1 2 1",
		"1.1.a 101 ahead 0 0 0 0",
		"1.1.b 46 on_schedule 0 0 0 0", // the feed nearest to the source counts; the plan of the day is 50 and the tolerance 5
		"1.1.c 30 behind 0 0 0 0",      // the newer version counts
		"1.1.d 10 on_schedule 0 0 0 0", // the body's own plan counts
	)
	b.rowsOf(`SELECT task_id, status_zh, reported_status FROM $db.task_status WHERE reported_status != ''`, "1.1.a 提前完成 ahead", "1.1.c 滞后 on_schedule")
}

// TestEvaluationScoresLeaveMissingItemsOut: a missing item is no zero, weights are those in force, and a deduction has its reason.
func TestEvaluationScoresLeaveMissingItemsOut(t *testing.T) {
	t.Parallel()
	b := analysis(t)
	b.sql(`INSERT INTO $db.evaluation_item (scheme, item, title, parent, weight, valid_from, valid_to) VALUES
		('2021','A','整体','',1,'2021-01-01',NULL),
		('2021','A1','进度','A',0.5,'2021-01-01',NULL),
		('2021','A2','质量','A',0.3,'2021-01-01',NULL),
		('2021','A3','满意','A',0.2,'2021-01-01','2021-07-01'),
		('2021','A4','满意','A',0.2,'2021-07-01',NULL)`)
	entry := func(item, region, kind string, score float64, period string) string {
		return fmt.Sprintf("('2021','%s','%s','','%s','%s',%g)", item, region, period, kind, score)
	}
	b.sql("INSERT INTO $db.evaluation_entry (scheme, item, region, department, period, kind, score) VALUES " + strings.Join([]string{
		entry("A1", "330203", "base", 90, "2021-06-01"), entry("A2", "330203", "base", 80, "2021-06-01"), entry("A3", "330203", "base", 70, "2021-06-01"),
		entry("A4", "330203", "base", 1, "2021-06-01"), // not in force yet
		entry("", "330203", "bonus", 2, "2021-06-01"), entry("", "330203", "deduction", 0.5, "2021-06-01"),
		entry("A1", "330205", "base", 100, "2021-06-01"), entry("A3", "330205", "base", 50, "2021-06-01"),
		entry("A1", "330102", "base", 10, "2021-06-01"),
	}, ","))
	b.rowsOf(`SELECT region, items, round(covered, 3), round(base, 4), bonus, deduction, round(total, 4), rank FROM $db.evaluation_score`,
		"330203 3 1 83 2 0.5 84.5 2",
		"330205 2 0.7 85.7143 0 0 85.7143 1",
		"330102 1 0.5 10 0 0 10 1", // alone in its city
	)
}

// TestATargetOfATaskThatIsNotThereIsTold, and so are the other ways to speak of one.
func TestATargetOfATaskThatIsNotThereIsTold(t *testing.T) {
	t.Parallel()
	i := indicator("I", "sum")
	i.Tasks = []string{"1", "8"}
	b := analysis(t, i)
	b.sql(`INSERT INTO $db.task (task_id, parent_id, kind, title, year, region, lead, due_on) VALUES
		('1','','livelihood','t',2021,'330000','l','2021-12-31'), ('1.1','1','livelihood','t',2021,'330000','l','2021-12-31'), ('2.1','2','livelihood','t',2021,'330000','l','2021-12-31')`)
	b.sql(`INSERT INTO $db.target (indicator, region, year, due, value, task_id, _version, _source, _place, _row) VALUES
		('I','330203',2021,'2021-12-31',1,'1.1',1,'s','p',1), ('I','330205',2021,'2021-12-31',1,'9',1,'s','p',2), ('I','330206',2021,'2021-12-31',1,'',1,'s','p',3),
		('I','330211',2021,'2021-12-31',1,'9',1,'s','p',4), ('I','330211',2021,'2021-12-31',1,'1',2,'s','p',5)`)
	b.sql(`INSERT INTO $db.task_progress (task_id, as_of, feed, value, _version) VALUES ('1.1','2021-06-01','source',1,1), ('7','2021-06-01','source',1,1), ('7','2021-06-02','source',2,1)`)
	b.sql(`INSERT INTO $db.project (project_id, task_id, name, region) VALUES ('p','1.1','n','330203'), ('q','6','n','330203')`)
	b.rowsOf(`SELECT schema, record, field, value, row FROM $db.missing_link`,
		"target I/330205/2021 task_id 9 2", "task 2.1 parent_id 2 0", "task_progress 7/2021-06-02/source task_id 7 0", "project q task_id 6 0", "indicator I tasks 8 0")
	if got := b.sql(`SELECT why FROM $db.missing_link WHERE schema = 'target'`); len(got) != 1 || got[0] != "there is no task 9, of which target I/330205/2021 speaks" {
		t.Errorf("in words: %q", got)
	}
}
