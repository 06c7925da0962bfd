package warehouse_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headwater-data/headwater/internal/embedded/clickhouse"
	"github.com/headwater-data/headwater/internal/embedded/clickhouse/clickhousetest"
	"github.com/headwater-data/headwater/schemas"
	"github.com/headwater-data/headwater/warehouse"
)

// movedOn is the day on which, in the tree of these tests, a county went from one city to another under its own code, another
// became part of its neighbour, and a third was made.
const movedOn = "2021-04-09"

// moving is a tree of two provinces with that day in it.
func moving(t *testing.T) *schemas.Set {
	t.Helper()
	whole, err := json.Marshal(schemas.Standard())
	if err != nil {
		t.Fatal(err)
	}
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(whole, &parts); err != nil {
		t.Fatal(err)
	}
	parts["regions"] = json.RawMessage(`[
		{"code":"100000","name":"中华人民共和国","level":"nation"},
		{"code":"330000","name":"浙江省","level":"province","parent":"100000"},
		{"code":"330100","name":"杭州市","level":"city","parent":"330000"},
		{"code":"330102","name":"上城区","level":"county","parent":"330100"},
		{"code":"330103","name":"下城区","level":"county","parent":"330100","to":"2021-04-09","successors":[{"code":"330102"}]},
		{"code":"330113","name":"临平区","level":"county","parent":"330100","from":"2021-04-09"},
		{"code":"330181","name":"移动县","level":"county","parent":"330100","to":"2021-04-09","successors":[{"code":"330181"}]},
		{"code":"330181","name":"移动县","level":"county","parent":"330200","from":"2021-04-09"},
		{"code":"330200","name":"宁波市","level":"city","parent":"330000"},
		{"code":"330203","name":"海曙区","level":"county","parent":"330200"},
		{"code":"330205","name":"江北区","level":"county","parent":"330200"},
		{"code":"339001","name":"直辖县","level":"county","parent":"330000"},
		{"code":"340000","name":"安徽省","level":"province","parent":"100000"},
		{"code":"340100","name":"合肥市","level":"city","parent":"340000"},
		{"code":"340102","name":"瑶海区","level":"county","parent":"340100"}]`)
	if whole, err = json.Marshal(parts); err != nil {
		t.Fatal(err)
	}
	set := new(schemas.Set)
	if err := json.Unmarshal(whole, set); err != nil {
		t.Fatal(err)
	}
	return set
}

// lies says whether a region of that tree lay in another one on a day, by the digits of its code and by what movedOn changed: it
// knows nothing of the tree that the program walks.
func lies(code, day, in string) bool {
	prefix := strings.TrimRight(in, "0")
	if in == "100000" {
		prefix = ""
	}
	switch {
	case code == in:
		return true
	case code == "339001":
		return in == "330000" || in == "100000"
	case code == "330181" && day >= movedOn:
		return in == "330200" || in == "330000" || in == "100000"
	case len(prefix)%2 == 1: // 330100 without its zeros is 3301, 330000 is 33; an odd length has lost one that belongs to it
		prefix += "0"
	}
	return code != "100000" && strings.HasPrefix(code, prefix) && len(prefix) < 6
}

func codesOf(set *schemas.Set) []string {
	codes := map[string]bool{}
	for _, r := range set.Regions().All() {
		codes[r.Code] = true
	}
	return slices.Sorted(maps.Keys(codes))
}

// everywhere puts rows of every region, before and after movedOn, into all tables that rows come into through the pipeline, and
// lines of two sources into the ledger and what goes with it. The number of a row is its region and day.
func everywhere(t *testing.T, b *bench, set *schemas.Set) {
	t.Helper()
	indicators := []schemas.Indicator{
		{Code: "flow", Title: schemas.Title{Zh: "流量", En: "Flow"}, Unit: "件", Direction: "up", Grain: "month", Aggregation: "sum", TimeAggregation: "sum"},
		{Code: "rate", Title: schemas.Title{Zh: "率", En: "Rate"}, Unit: "%", Direction: "up", Grain: "month", Aggregation: "ratio", TimeAggregation: "ratio"},
	}
	indicators[0].Bands = &schemas.Bands{Green: num(90), Yellow: num(0)}
	both := index("both", "up", schemas.IndexVersion{Span: span("1", "2020-01-01", ""), Missing: "reweight", Components: []schemas.Component{
		{Of: "flow", Weight: 0.5, Score: "min_max", Zero: num(0), Full: num(1000)}, {Of: "rate", Weight: 0.5, Score: "as_is"}}})
	if err := b.Sync(b.ctx, set, indicators, both); err != nil {
		t.Fatal(err)
	}
	codes := "['" + strings.Join(codesOf(set), "','") + "']"
	each := " FROM (SELECT arrayJoin(" + codes + ") AS code, toDate32(arrayJoin(['2021-03-15', '2021-04-05', '2021-05-15'])) AS d, concat(code, ' ', toString(d)) AS id)"
	for _, name := range set.Names() {
		schema, _ := set.Schema(name)
		if !schema.Lineage || name == "evaluation_item" {
			continue
		}
		var columns, values []string
		put := func(column, value string) { columns, values = append(columns, column), append(values, value) }
		for _, f := range schema.Fields {
			switch {
			case f.Name == schema.Time && f.Type.Kind == schemas.KindTimestamp:
				put(f.Name, "toDateTime64(concat(toString(d), ' 12:00:00'), 3, 'Asia/Shanghai')")
			case f.Name == schema.Time:
				put(f.Name, "d")
			case f.Name == "region":
				put(f.Name, "code")
			case f.Name == "project_id", f.Name == "task_id", f.Name == "object_id", f.Key && f.Type.Kind == schemas.KindString && f.Name != "member" && f.Name != "subject" && f.Name != "indicator" && f.Name != "department" && f.Name != "scheme" && f.Name != "item":
				put(f.Name, "id")
			}
		}
		switch name {
		case "observation":
			put("indicator", "'flow'")
			put("grain", "'month'")
			put("feed", "'direct'")
			put("value", "toFloat64(cityHash64(id) % 100)")
		case "evaluation_entry":
			put("scheme", "'s'")
			put("item", "'i'")
			put("kind", "'base'")
			put("score", "toFloat64(cityHash64(id) % 100)")
		case "loop_event":
			put("object", "['task', 'project', 'issue'][cityHash64(id) % 3 + 1]")
			put("step", "'monitoring'")
			put("event", "'begun'")
		case "clue":
			put("phone", "'h'")
		case "target":
			put("indicator", "'flow'")
			put("year", "2021")
			put("value", "1000")
		case "task":
			put("year", "2021")
			put("target", "10")
		case "task_progress":
			put("value", "5")
			put("feed", "'direct'")
		case "water_reading":
			put("class", "'2'")
		case "issue":
			put("source", "'inspection'")
			put("status", "'rectifying'")
		}
		if name == "observation" {
			values[slices.Index(columns, "period")] = "toStartOfMonth(d)"
		}
		b.sql("INSERT INTO $db." + name + " (" + strings.Join(columns, ", ") + ", _source) SELECT " + strings.Join(values, ", ") + ", 'one'" + each)
	}
	counties := "['330102','330181','330203','330205','339001','340102']"
	b.sql(`INSERT INTO $db.observation (indicator, region, grain, period, feed, value, numerator, denominator)
		SELECT 'rate', code, 'month', toStartOfMonth(d), 'direct', 0, cityHash64(code, d) % 50, 50 FROM (SELECT arrayJoin(` + counties + `) AS code, toDate32(arrayJoin(['2021-03-15', '2021-04-05', '2021-05-15'])) AS d)`)
	b.sql("INSERT INTO $db.observation (indicator, region, grain, period, feed, value, _version, _extracted_at) SELECT indicator, region, grain, period, feed, value + 1, 2, '2022-02-01 00:00:00' FROM $db.observation WHERE indicator = 'flow' AND region IN " + strings.NewReplacer("[", "(", "]", ")").Replace(counties))
	b.sql(`INSERT INTO $db.evaluation_item (scheme, item, weight, valid_from) VALUES ('s', 'i', 1, '2020-01-01')`)
	b.sql(`INSERT INTO $db.air_reading (station, at, region, so2, no2, pm10, co, o3, pm25)
		SELECT concat('s', code), toDateTime64(concat(toString(d), ' 00:00:00'), 3, 'Asia/Shanghai') + toIntervalHour(hour), code, 9, 48, 120, 0.9, 92, 82
		FROM (SELECT arrayJoin(` + counties + `) AS code, toDate32(arrayJoin(['2021-03-15', '2021-04-05', '2021-05-15'])) AS d, arrayJoin(range(24)) AS hour)`)
	b.sql(`INSERT INTO $db.hotline_case (case_id, region, opened_at, due_at, closed_at, satisfaction, status, phone)
		SELECT concat(code, toString(n)), code, '2021-03-20 08:00:00', '2021-04-20 08:00:00', '2021-05-02 08:00:00', 'satisfied', 'closed', 'k1:00'
		FROM (SELECT arrayJoin(` + counties + `) AS code, arrayJoin([1, 2]) AS n)`)
	for _, source := range []string{"one", "two"} {
		row := ledgerRow(0, 5, 0)
		row.Source, row.Topic = source, "headwater.raw."+source
		if err := b.WriteLedger(b.ctx, source, []warehouse.LedgerRow{row}); err != nil {
			t.Fatal(err)
		}
		if err := b.WriteRun(b.ctx, warehouse.Run{Run: "r" + source, Source: source, Trigger: "command", StartedAt: at(0), Outcome: warehouse.RunDone, Attempt: 1}); err != nil {
			t.Fatal(err)
		}
		bad := quarantineRow(5, 0)
		bad.Source, bad.Topic = source, "headwater.raw."+source
		if err := b.WriteQuarantine(b.ctx, source, []warehouse.QuarantineRow{bad}); err != nil {
			t.Fatal(err)
		}
	}
}

func readerOf(region, sensitivity string, sources ...string) warehouse.Reader {
	return warehouse.Reader{Name: "r", Region: region, Sensitivity: sensitivity, Sources: sources, MaxTime: time.Minute, MaxMemoryBytes: 1 << 30, MaxRows: 1_000_000}
}

// policies takes from a role's statements what limits its rows: by table or view the condition.
func policies(t *testing.T, r warehouse.Role) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, s := range r.Limits {
		rest, ok := strings.CutPrefix(s, "CREATE ROW POLICY OR REPLACE `"+r.User+"` ON ")
		if !ok {
			continue
		}
		object, rest, _ := strings.Cut(rest, " USING ")
		condition, ok := strings.CutSuffix(rest, " AS RESTRICTIVE TO `"+r.Name+"`")
		if !ok {
			t.Fatalf("a policy for others: %s", s)
		}
		_, name, _ := strings.Cut(strings.ReplaceAll(object, "`", ""), ".")
		out[name] = condition
	}
	return out
}

func readerRole(t *testing.T, database string, set *schemas.Set, r warehouse.Reader) warehouse.Role {
	t.Helper()
	roles, err := warehouse.ReaderRoles(database, set, []warehouse.Reader{r})
	if err != nil || len(roles) != 1 {
		t.Fatalf("%d roles, %v", len(roles), err)
	}
	return roles[0]
}

// monthly are tables and views whose rows lie where their region was at the end of the month, as the roll-ups place them.
var monthly = []string{"observation", "air_reading", "hotline_case", "water_reading", "observation_current", "observation_placed", "observation_history", "correction", "lineage",
	"observation_cell", "indicator_band", "indicator_official", "index_component", "index_score", "reporting_status", "variance", "period_figure", "variance_event",
	"indicator_rollup", "indicator_rollup_today", "indicator_reconciliation", "indicator_trend", "indicator_ranking", "air_quality_hour", "air_quality_day", "environment_quality", "hotline_performance"}

// dayOf says in SQL on which day the rows of a table or view lie in a region, for the rows of these tests.
func dayOf(name, column string) string {
	if slices.Contains(monthly, name) {
		return "toString(toLastDayOfMonth(toDate32(" + column + ")))"
	}
	return "toString(toDate32(" + column + "))"
}

// TestEveryRowFilterLetsItsOwnRowsThroughAndNoOthers runs the condition of each table and view, for a reader of each region, over
// rows of every region, and holds what comes against a plain computation.
func TestEveryRowFilterLetsItsOwnRowsThroughAndNoOthers(t *testing.T) {
	t.Parallel()
	set := moving(t)
	b := open(t)
	if _, err := b.Migrate(b.ctx, set); err != nil {
		t.Fatal(err)
	}
	everywhere(t, b, set)
	filters, rows := 0, 0
	there := map[string][]string{} // all kinds of rows of each table
	for _, root := range codesOf(set) {
		conditions := policies(t, readerRole(t, b.Database(), set, readerOf(root, schemas.SensitivePersonal, "one")))
		for name, condition := range conditions {
			filters++
			schema, ok := set.Schema(name)
			if !ok {
				continue // views: below, where a reader reads them
			}
			var region, day string
			switch {
			case name == "ledger" || name == "run" || name == "quarantine":
				region, day = "source", "''"
			case name == "project_media" || name == "project_progress" || name == "task_progress" || name == "loop_event":
				// Their rows have the number of what they belong to, which is its region and day.
				id := map[string]string{"task_progress": "task_id", "loop_event": "object_id"}[name]
				if id == "" {
					id = "project_id"
				}
				region, day = "substring("+id+", 1, 6)", "substring("+id+", 8)"
			case schema.Time == "":
				region, day = "region", "'2299-12-31'"
			case name == "hotline_case":
				region, day = "region", "arrayStringConcat(arrayMap(x -> toString(toLastDayOfMonth(toDate32(assumeNotNull(x)))), arrayFilter(x -> isNotNull(x), [toNullable(opened_at), due_at, closed_at])), ' ')"
			default:
				region, day = "region", dayOf(name, schema.Time)
			}
			shown := map[string]bool{}
			for _, line := range b.sql(fmt.Sprintf("SELECT DISTINCT %s AS r, %s AS d FROM $db.%s WHERE %s", region, day, name, condition)) {
				shown[line] = true
			}
			if there[name] == nil {
				there[name] = b.sql(fmt.Sprintf("SELECT DISTINCT %s AS r, %s AS d FROM $db.%s", region, day, name))
			}
			for _, line := range there[name] {
				rows++
				code, days, _ := strings.Cut(line, "\t")
				want := code == "one"
				for d := range strings.FieldsSeq(days) {
					want = want || lies(code, d, root)
				}
				if shown[line] != want {
					t.Errorf("%s, reader of %s: row of %s shows: %v, want %v, by %s", name, root, line, shown[line], want, condition)
				}
			}
		}
	}
	// And over all of Zhejiang since 1981, whose codes say by their digits where they belong.
	all := codesOf(schemas.Standard())
	within := 0
	for _, root := range all {
		condition := policies(t, readerRole(t, b.Database(), schemas.Standard(), readerOf(root, schemas.Internal)))["target"]
		shown := b.sql("SELECT region, toString(due) FROM (SELECT arrayJoin(['" + strings.Join(all, "','") + "']) AS region, toDate32(arrayJoin(['1990-01-01', '2020-12-31'])) AS due) WHERE " + condition + " ORDER BY ALL")
		var want []string
		for _, code := range all {
			for _, day := range []string{"1990-01-01", "2020-12-31"} {
				if lies(code, day, root) {
					want = append(want, code+"\t"+day)
				}
			}
		}
		within += len(want)
		if !slices.Equal(shown, want) {
			t.Errorf("reader of %s sees %v, want %v", root, shown, want)
		}
	}
	t.Logf("%d regions, %d rows of theirs", len(all), within)
	if filters < 400 || rows < 5000 || len(all) < 100 {
		t.Errorf("only %d filters over %d kinds of rows", filters, rows)
	}
	t.Logf("%d filters over %d kinds of rows", filters, rows)
}

// wholePeriods are columns that hold a period against earlier ones. Of the county that moved, the reader of its new city does not see
// the periods before.
var wholePeriods = map[string]string{"indicator_rollup": "year_to_date, completion_rate, status, status_zh"}

// TestAReaderSeesOfEachFigureWhatEverybodySees starts the engine with the rights and row filters of a reader and reads every table
// and view: all rows of its region as somebody with all rights sees them, figure by figure, and none of another; no column above
// its sensitivity; nothing by the ways around.
func TestAReaderSeesOfEachFigureWhatEverybodySees(t *testing.T) {
	t.Parallel()
	set := moving(t)
	made := t.TempDir()
	type row struct{ region, day, rest string }
	read := func(ask func(string) string, name string) []row {
		var columns []string
		timed := false
		var day string
		for _, line := range strings.Split(strings.TrimSpace(ask("SELECT name FROM system.columns WHERE database = 'headwater' AND table = '"+name+"'")), "\n") {
			switch {
			case line == "repeated" || slices.Contains(strings.Split(wholePeriods[name], ", "), line) || strings.HasSuffix(line, "age_seconds") || line == "oldest_open_days" || line == "days":
				continue // personal, or another one each second
			case slices.Contains([]string{"period", "at", "day", "month", "due", "due_on"}, line) && !timed:
				timed, day = true, line
			}
			columns = append(columns, line)
		}
		if name == "indicator_rollup" || name == "task_status" {
			day = map[string]string{"indicator_rollup": "period", "task_status": "due_on"}[name]
		}
		when := "''"
		switch {
		case name == "issue_closure":
			when = "toString(year)"
		case timed:
			when = dayOf(name, day)
		}
		answer := ask("SELECT region, " + when + ", toString(tuple(" + strings.Join(columns, ", ") + ")) FROM headwater." + name + " ORDER BY ALL")
		var out []row
		for line := range strings.SplitSeq(strings.TrimSuffix(answer, "\n"), "\n") {
			f := strings.SplitN(line, "\t", 3)
			if len(f) == 3 {
				out = append(out, row{f[0], f[1], f[2]})
			} else if line != "" {
				t.Fatalf("%s: %s", name, line)
			}
		}
		return out
	}
	var figures []string
	whole := map[string][]row{}
	t.Run("somebody with all rights", func(t *testing.T) { // whose server has ended when its folder is copied
		loader := role(t, "headwater_loader")
		b := withRights(t, made, loader.Grants)
		if _, err := b.Migrate(b.ctx, set); err != nil {
			t.Fatal(err)
		}
		everywhere(t, b, set)
		if _, err := b.RefreshAll(b.ctx); err != nil { // rows were written by hand
			t.Fatal(err)
		}
		for _, view := range warehouse.Views {
			columns := b.server.Exec(t, "SELECT countIf(name = 'region') FROM system.columns WHERE database = 'headwater' AND table = '"+view+"'")
			if strings.TrimSpace(columns) == "1" && view != "loop_step" && view != "figure_live" && view != "report_live" {
				figures = append(figures, view)
			}
		}
		for _, view := range figures {
			whole[view] = read(func(q string) string { return b.server.Exec(t, q) }, view)
			if len(whole[view]) == 0 {
				t.Errorf("%s has no rows: the test shows nothing of it", view)
			}
		}
	})
	for _, root := range []string{"330100", "330200"} {
		t.Run(root, func(t *testing.T) {
			r := readerRole(t, "headwater", set, readerOf(root, schemas.Internal, "one"))
			var filters []clickhouse.Filter
			for object, condition := range policies(t, r) {
				filters = append(filters, clickhouse.Filter{Database: "headwater", Table: object, Condition: condition})
			}
			server := clickhousetest.StartWith(t, copied(t, made), r.Grants, filters...)
			ask := func(q string) string { return server.Exec(t, q) }
			n := 0
			for _, view := range figures {
				got := read(ask, view)
				var want []row
				for _, w := range whole[view] {
					in := lies(w.region, w.day, root)
					if view == "indicator_rollup_today" { // a region of today, since the reader's has its bounds
						in = lies(w.region, "2299-12-31", root) && w.day >= movedOn
					}
					if view == "issue_closure" {
						continue // by year: its rows are looked at below
					}
					if slices.Contains([]string{"indicator_ranking", "index_score", "evaluation_score"}, view) && w.region == root {
						in = false
					}
					if in {
						want = append(want, w)
					}
				}
				// What the county had before it moved is the old city's: over time it begins anew in the new one, and its target of the
				// year is the new city's.
				moved := func(w row) bool {
					return w.region == "330181" && slices.Contains([]string{"indicator_rollup", "indicator_trend", "indicator_ranking", "index_score"}, view)
				}
				if view == "issue_closure" {
					for _, g := range got {
						if !lies(g.region, "2021-01-01", root) && !lies(g.region, "2021-12-31", root) {
							t.Errorf("%s shows %v", view, g)
						}
						n++
					}
					continue
				}
				for _, g := range got {
					n++
					if !lies(g.region, g.day, root) {
						t.Errorf("%s shows %v", view, g)
					}
				}
				if len(got) != len(want) {
					t.Errorf("%s: %d rows, want %d", view, len(got), len(want))
					continue
				}
				for i := range got {
					if got[i] != want[i] && !moved(want[i]) {
						t.Errorf("%s: %v, everybody sees %v", view, got[i], want[i])
					}
				}
			}
			if n < 20 {
				t.Errorf("only %d rows", n)
			}
			// As known on a day after everything, and before the corrections: the same rows of the same regions, and no others.
			for _, q := range []string{
				"SELECT count() > 0, sum(cityHash64(toString(tuple(*)))) = (SELECT sum(cityHash64(toString(tuple(*)))) FROM headwater.indicator_rollup) FROM headwater.indicator_rollup_as_of(day = '2100-01-01')",
				"SELECT count() > 0, sum(cityHash64(toString(tuple(*)))) = (SELECT sum(cityHash64(toString(tuple(*)))) FROM headwater.lineage) FROM headwater.lineage_as_of(day = '2100-01-01')",
			} {
				if got := ask(q); got != "1\t1\n" {
					t.Errorf("%s: %s", q, got)
				}
			}
			for _, q := range []string{
				"SELECT DISTINCT region, toString(toLastDayOfMonth(toDate32(period))) FROM headwater.indicator_rollup_as_of(day = '2022-01-15')",
				"SELECT DISTINCT region, toString(toLastDayOfMonth(toDate32(period))) FROM headwater.lineage_as_of(day = '2022-01-15')",
			} {
				lines := strings.Split(strings.TrimSpace(ask(q)), "\n")
				for _, line := range lines {
					if code, day, ok := strings.Cut(line, "\t"); !ok || !lies(code, day, root) {
						t.Errorf("%s shows %s", q, line)
					}
				}
			}
			refused(t, server, root)
		})
	}
}

// refused looks for ways around the limits of a reader of one region who may see what is internal.
func refused(t *testing.T, server *clickhousetest.Process, root string) {
	t.Helper()
	for _, q := range []string{
		"SELECT * FROM headwater.clue", "SELECT phone FROM headwater.clue", "SELECT count(phone) FROM headwater.clue", "SELECT count() FROM headwater.clue WHERE phone = 'h'",
		"SELECT count() FROM headwater.clue PREWHERE phone = 'h'", "SELECT case_id FROM headwater.hotline_case ORDER BY phone", "SELECT repeated FROM headwater.hotline_performance",
		"SELECT * FROM headwater.hotline_performance", "SELECT columns FROM headwater.quarantine", "SELECT * FROM headwater.quarantine_open", "SELECT * FROM headwater.audit",
		"SELECT * FROM headwater.shape", "SELECT * FROM headwater.undecodable", "SELECT * FROM headwater.migration", "SELECT error FROM headwater.run",
		"SELECT * FROM merge('headwater', '^(observation|clue)$')", "SELECT * FROM file('x.csv')", "SELECT * FROM remote('127.0.0.1', 'headwater', 'observation')",
		"INSERT INTO headwater.observation (region) VALUES ('330100')", "CREATE TABLE headwater.x ENGINE = Memory AS SELECT * FROM headwater.observation",
		"CREATE VIEW headwater.x AS SELECT 1", "ALTER TABLE headwater.observation DELETE WHERE 1", "CREATE ROW POLICY OR REPLACE p ON headwater.observation USING 1 TO ALL",
	} {
		if got := server.Try(t, q); !strings.Contains(got, "ACCESS_DENIED") && !strings.Contains(got, "UNKNOWN_TABLE") && !strings.Contains(got, "Exception") {
			t.Errorf("%s: %s", q, got)
		}
	}
	// Ways of reading a table that count or look up without a look at each row, or by another table.
	for _, q := range []string{
		"SELECT region, toString(toLastDayOfMonth(toDate32(max(period)))) FROM headwater.observation GROUP BY region",
		"SELECT region, toString(toLastDayOfMonth(toDate32(period))) FROM view(SELECT * FROM headwater.observation)",
		"SELECT region, toString(toLastDayOfMonth(toDate32(period))) FROM headwater.observation FINAL",
		"SELECT o.region, toString(toLastDayOfMonth(toDate32(o.period))) FROM headwater.region AS r JOIN headwater.observation AS o ON o.region = r.code",
		"WITH x AS (SELECT region, period FROM headwater.observation) SELECT region, toString(toLastDayOfMonth(toDate32(period))) FROM x",
		"SELECT at.1, toString(last_day) FROM headwater.observation_placed ARRAY JOIN [(region, 1)] AS at",
		"SELECT substring(project_id, 1, 6), substring(project_id, 8) FROM headwater.project_progress",
		"SELECT substring(object_id, 1, 6), substring(object_id, 8) FROM headwater.loop_step",
		"SELECT substring(task_id, 1, 6), substring(task_id, 8) FROM headwater.task_status",
	} {
		for line := range strings.SplitSeq(strings.TrimSpace(server.Exec(t, q)), "\n") {
			if code, day, ok := strings.Cut(line, "\t"); !ok || !lies(code, day, root) {
				t.Errorf("%s shows %s", q, line)
			}
		}
	}
	if got := server.Exec(t, "SELECT (SELECT count() FROM headwater.observation) = (SELECT sum(ignore(region) + 1) FROM headwater.observation), (SELECT max(toString(source)) FROM headwater.freshness), (SELECT groupUniqArray(source) FROM headwater.ledger), (SELECT groupUniqArray(source) FROM headwater.data_quality_scorecard), (SELECT max(extracted) FROM headwater.ledger_balance WHERE scope = 'total')"); got != "1\tone\t['one']\t['one']\t10\n" {
		t.Errorf("counted and told: %s", got)
	}
}

// A right is never there before what limits it, and everybody else keeps seeing all rows.
func TestLimitsComeBeforeRights(t *testing.T) {
	t.Parallel()
	roles, err := warehouse.ReaderRoles("headwater", moving(t), someReaders())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range roles {
		statements := r.Statements(false)
		if statements[1] != "REVOKE ALL ON *.* FROM `"+r.Name+"`" {
			t.Errorf("what the role had before is not taken away: %s", statements[1])
		}
		granted := false
		open := map[string]bool{}
		for _, s := range statements {
			if object, ok := strings.CutPrefix(s, "CREATE ROW POLICY IF NOT EXISTS `headwater_rows` ON "); ok {
				object, _, _ = strings.Cut(object, " USING ")
				open[object] = true
			}
			if object, ok := strings.CutPrefix(s, "CREATE ROW POLICY OR REPLACE "); ok {
				_, object, _ = strings.Cut(object, " ON ")
				object, _, _ = strings.Cut(object, " USING ")
				if granted || !open[object] {
					t.Errorf("%s: after a right (%v), or others see nothing before it", s, granted)
				}
			}
			granted = granted || strings.HasPrefix(s, "GRANT")
		}
	}
	closed := []string{"quarantine_open", "audit", "shape", "undecodable", "migration"}
	for _, r := range roles {
		limited := policies(t, r)
		for _, g := range r.Grants {
			_, object, _ := strings.Cut(strings.ReplaceAll(g, "`", ""), " ON headwater.")
			if slices.Contains(closed, object) {
				t.Errorf("%s may %s", r.User, g)
			}
			open := slices.Contains([]string{"calendar_day", "indicator", "data_sharing", "index_version", "index_weight", "indicator_version", "evaluation_item", "region", "region_extent", "region_share", "region_path", "region_today"}, object)
			if r.User == "headwater_reader_ning_bo" && (limited[object] == "") != open {
				t.Errorf("%s: the rows of %s are limited by %q", g, object, limited[object])
			}
		}
	}
}

// A reader of one region reads every view that is not closed to all, or there is one of which nobody has said where its rows lie.
func TestEveryViewSaysWhereItsRowsLie(t *testing.T) {
	t.Parallel()
	r := readerRole(t, "headwater", moving(t), readerOf("330100", schemas.Internal, "one"))
	for _, view := range slices.Concat(warehouse.Views, warehouse.DatedViews) {
		if !slices.Contains([]string{"quarantine_open", "missing_link", "figure_live", "report_live"}, view) && !slices.ContainsFunc(r.Grants, func(g string) bool { return strings.HasSuffix(g, "ON `headwater`.`"+view+"`") }) {
			t.Errorf("a reader of one region cannot read %s: say in viewPlacings where its rows lie, or in closedViews or wholeViews that they see none", view)
		}
	}
}

func TestAReaderOfWhatIsPublicSeesNoViews(t *testing.T) {
	t.Parallel()
	if r := readerRole(t, "headwater", moving(t), readerOf("330100", schemas.Public)); len(r.Grants) != 0 {
		t.Errorf("no field of the standard schemas is public, but granted is %v", r.Grants)
	}
	if _, err := warehouse.ReaderRoles("headwater", moving(t), []warehouse.Reader{readerOf("999999", schemas.Internal)}); err == nil || !strings.Contains(err.Error(), "999999") {
		t.Errorf("a region that never was: %v", err)
	}
}

// Views run with the rights of whoever asks, whatever a server makes of views that do not say.
func TestViewsRunWithTheRightsOfWhoeverAsks(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	if got := b.sql("SELECT countIf(create_table_query LIKE '%SQL SECURITY INVOKER%'), count() FROM system.tables WHERE database = '$db' AND engine = 'View'"); len(got) != 1 || got[0] != fmt.Sprintf("%[1]d\t%[1]d", len(warehouse.Views)+len(warehouse.DatedViews)) {
		t.Errorf("of so many views: %v", got)
	}
}
