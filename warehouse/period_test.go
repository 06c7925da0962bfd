package warehouse_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/schemas"
	"github.com/headwater-data/headwater/warehouse"
)

func act(action, region string) warehouse.PeriodAct {
	return warehouse.PeriodAct{Action: action, Indicator: "I", Grain: "month", Period: day(2021, 6, 1), Region: region, Who: "lin", Why: "because of " + action}
}

// official is the view for June 2021 as "region=value state", with what is held aside behind a slash.
func (b *bench) official() map[string]string {
	b.t.Helper()
	got := map[string]string{}
	for _, line := range b.sql("SELECT region, concat(ifNull(toString(value), '-'), ' ', state, if(held_aside = 1, concat(' / ', ifNull(toString(live_value), '-')), '')) FROM $db.indicator_official WHERE indicator = 'I' AND grain = 'month' AND period = toDateTime64('2021-06-01 00:00:00', 3, 'Asia/Shanghai') FORMAT TSVRaw") {
		region, rest, _ := strings.Cut(line, "\t")
		got[region] = rest
	}
	return got
}

func TestAFrozenPeriodRefusesSilentChange(t *testing.T) {
	t.Parallel()
	b := analysis(t, indicator("I", "sum"))
	june := func(region string, version uint64, value float64) observation {
		return observation{indicator: "I", region: region, period: day(2021, 6, 1), value: value, version: version}
	}
	check := func(when string, want map[string]string) {
		t.Helper()
		got := b.official()
		for region, line := range want {
			if got[region] != line {
				t.Errorf("%s: %s is %q, want %q", when, region, got[region], line)
			}
		}
	}
	must := func(action, region string, figures, changed int) {
		t.Helper()
		done, err := b.ActOnPeriod(b.ctx, act(action, region))
		if err != nil {
			t.Fatalf("%s %s: %v", action, region, err)
		}
		if figures > 0 && done.Figures != figures || len(done.Changed) != changed {
			t.Errorf("%s %s: %d figures, changed %v; want %d and %d", action, region, done.Figures, done.Changed, figures, changed)
		}
	}
	refused := func(action, region, want string) {
		t.Helper()
		before := b.sql("SELECT count() FROM $db.period_figure")
		_, err := b.ActOnPeriod(b.ctx, act(action, region))
		if err == nil || fault.KindOf(err) != fault.KindUsage || !strings.Contains(err.Error(), want) {
			t.Errorf("%s %s: got %v, want a refusal with %q", action, region, err, want)
		}
		if after := b.sql("SELECT count() FROM $db.period_figure"); !slices.Equal(before, after) {
			t.Errorf("%s %s was refused and has written: %v, %v", action, region, before, after)
		}
	}
	b.load("t", june("330102", 1, 10), june("330113", 1, 20), june("330203", 1, 40))
	check("before", map[string]string{"330102": "10 live", "330100": "30 live", "330000": "70 live", "330205": ""})
	refused("publish", "330100", "I of 330100 is not frozen")
	refused("restate", "330100", "I of 330100 is not frozen")
	refused("freeze", "999999", "no region 999999")

	// The city freezes first, then the province; what is above a frozen region goes on living.
	must("freeze", "330100", 0, 0)
	refused("freeze", "330100", "frozen already")
	refused("freeze", "330102", "330102 lies within 330100")
	b.load("correction", june("330102", 2, 11))
	check("corrected", map[string]string{"330102": "10 frozen / 11", "330113": "20 frozen", "330100": "30 frozen / 31", "330000": "71 live"})
	refused("freeze", "330000", "later figures are held aside there (330100 杭州市: 31, was 30, 330102 上城区: 11, was 10): restate those first")
	refused("restate", "330102", "frozen within 330100")
	must("restate", "330100", 0, 2)
	check("restated", map[string]string{"330102": "11 frozen", "330100": "31 frozen", "330000": "71 live"})
	refused("restate", "330100", "nothing to restate")
	must("freeze", "330000", 0, 0)
	must("publish", "330000", 0, 0)
	refused("publish", "330000", "published already")

	// A county that had nothing comes late, and one that had a figure has it taken away: both are held aside, all the way up.
	b.load("late", june("330205", 1, 5), observation{indicator: "I", region: "330203", period: day(2021, 6, 1), version: 2, deleted: true})
	check("late", map[string]string{"330205": "- published / 5", "330203": "40 published / -", "330200": "40 published / 5", "330000": "71 published / 36", "330100": "31 published", "100000": "36 live"})
	refused("restate", "330200", "frozen within 330000")
	must("restate", "330000", 0, 4)
	check("restated again", map[string]string{"330205": "5 published", "330203": "- published", "330200": "5 published", "330000": "36 published"})

	// The old values stay, with who and why.
	history := b.sql("SELECT action, ifNull(toString(value), '-'), who, why FROM $db.period_figure FINAL WHERE region = '330000' ORDER BY act FORMAT TSVRaw")
	if want := []string{"freeze\t71\tlin\tbecause of freeze", "publish\t71\tlin\tbecause of publish", "restate\t36\tlin\tbecause of restate"}; !slices.Equal(history, want) {
		t.Errorf("history\n%s\nwant\n%s", strings.Join(history, "\n"), strings.Join(want, "\n"))
	}
	must("reopen", "330000", 0, 0)
	check("reopened", map[string]string{"330000": "36 live", "330100": "31 live", "330205": "5 live"})
	if line := b.sql("SELECT restatements, frozen_by, why FROM $db.indicator_official WHERE region = '330100' AND indicator = 'I' FORMAT TSVRaw"); !slices.Equal(line, []string{"2\t\t"}) {
		t.Errorf("restatements %q", line)
	}
	changes, err := b.Audits(b.ctx, warehouse.AuditFilter{TargetKind: "period"})
	if err != nil {
		t.Fatal(err)
	}
	outcomes := map[string]int{}
	for _, c := range changes {
		outcomes[c.Outcome]++
	}
	if outcomes[warehouse.AuditDone] != 6 || outcomes[warehouse.AuditAsked] != 0 || outcomes[warehouse.AuditFailed] != len(changes)-6 {
		t.Errorf("audited %v", outcomes)
	}
	// Another period is not touched.
	b.load("july", observation{indicator: "I", region: "330102", period: day(2021, 7, 1), value: 9})
	if got := b.sql("SELECT state, value FROM $db.indicator_official WHERE indicator = 'I' AND region = '330102' AND period = toDateTime64('2021-07-01 00:00:00', 3, 'Asia/Shanghai') FORMAT TSVRaw"); !slices.Equal(got, []string{"live\t9"}) {
		t.Errorf("July is %q", got)
	}
}

// The life of a report, as its clock, its source and people move it.
func TestReportingStatus(t *testing.T) {
	t.Parallel()
	monthly, daily := indicator("I", "sum"), indicator("D", "sum")
	monthly.Levels, daily.Levels, daily.Grain = []string{"county"}, []string{"county"}, "day"
	b := analysis(t, monthly, daily)
	deadline := int64(5 * 86400)
	now := time.Now().In(shanghai)
	thisMonth := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, shanghai)
	lastMonth := thisMonth.AddDate(0, -1, 0)
	since, until := time.Date(2021, 3, 15, 0, 0, 0, 0, time.UTC), time.Date(2021, 6, 10, 0, 0, 0, 0, time.UTC)
	recently := time.Date(lastMonth.Year(), lastMonth.Month(), 1, 0, 0, 0, 0, time.UTC)
	long := int64(400 * 86400)
	list := func(source, code, within string, seconds *int64, since time.Time, until *time.Time) warehouse.SharedDataset {
		return warehouse.SharedDataset{Source: source, Stream: "st", Title: "t", Owner: "o", Connector: "file", Schema: "observation", Stated: true, Type: "unconditional", Method: "direct",
			Frequency: "month", Deadline: seconds, DueIndicators: []string{code}, DueWithin: within, DueSince: &since, DueUntil: until}
	}
	if err := b.SyncSharing(b.ctx, []warehouse.SharedDataset{
		list("market", "I", "330100", &deadline, since, &until),
		list("bureau", "I", "330200", &long, recently, nil),
		list("daily", "D", "330203", &deadline, time.Date(2021, 4, 29, 0, 0, 0, 0, time.UTC), &[]time.Time{time.Date(2021, 5, 2, 0, 0, 0, 0, time.UTC)}[0]),
	}); err != nil {
		t.Fatal(err)
	}
	row := func(region string, month int, version uint64, value float64, known time.Time) observation {
		return observation{indicator: "I", region: region, period: day(2021, month, 1), value: value, version: version, extracted: known}
	}
	b.load("t",
		row("330102", 3, 1, 1, day(2021, 4, 2)),                                          // in time
		row("330102", 4, 1, 1, day(2021, 5, 20)),                                         // late
		row("330102", 5, 1, 1, day(2021, 6, 1)), row("330102", 5, 2, 2, day(2021, 6, 9)), // corrected
		row("330102", 6, 1, 1, day(2021, 7, 1)), row("330102", 6, 2, 1, day(2021, 7, 9)), // read again unchanged
		row("330113", 5, 1, 1, day(2021, 6, 1)), observation{indicator: "I", region: "330113", period: day(2021, 5, 1), version: 2, deleted: true, extracted: day(2021, 6, 3)}, // taken back
		row("330000", 3, 1, 7, day(2021, 4, 2)), // nobody asked
	)
	status := func(region, period string) string {
		t.Helper()
		return strings.Join(b.sql("SELECT state, state_zh, expected, toString(due), toString(reported_at), on_time, restated, arrayStringConcat(sources, ' ') FROM $db.reporting_status WHERE indicator = 'I' AND region = '"+region+"' AND toDate(period) = '"+period+"' FORMAT TSVRaw"), "\n")
	}
	text := func(at time.Time) string { return at.In(shanghai).Format("2006-01-02 15:04:05.000") }
	for _, c := range []struct{ name, region, period, want string }{
		{"in time", "330102", "2021-03-01", "reported\t已报\t1\t2021-04-06 00:00:00.000\t2021-04-02 00:00:00.000\t1\t0\tmarket"},
		{"late", "330102", "2021-04-01", "reported\t已报\t1\t2021-05-06 00:00:00.000\t2021-05-20 00:00:00.000\t0\t0\tmarket"},
		{"corrected", "330102", "2021-05-01", "restated\t已更正\t1\t2021-06-06 00:00:00.000\t2021-06-01 00:00:00.000\t1\t1\tmarket"},
		{"read again unchanged, in the month in which the list ends", "330102", "2021-06-01", "reported\t已报\t1\t2021-07-06 00:00:00.000\t2021-07-01 00:00:00.000\t1\t0\tmarket"},
		{"after the list's end", "330102", "2021-07-01", ""},
		{"missing", "330113", "2021-04-01", "late\t逾期\t1\t2021-05-06 00:00:00.000\t\\N\t\\N\t0\tmarket"},
		{"not there yet in the tree", "330113", "2021-03-01", ""},
		{"there no longer on the last day", "330103", "2021-04-01", ""},
		{"the last month in which it was there", "330103", "2021-03-01", "late\t逾期\t1\t2021-04-06 00:00:00.000\t\\N\t\\N\t0\tmarket"},
		{"taken back", "330113", "2021-05-01", "late\t逾期\t1\t2021-06-06 00:00:00.000\t\\N\t\\N\t1\tmarket"},
		{"reported without being asked", "330000", "2021-03-01", "reported\t已报\t0\t\\N\t2021-04-02 00:00:00.000\t\\N\t0\t"},
		{"outside the list's region", "339001", "2021-03-01", ""},
		{"ended, before the deadline", "330203", lastMonth.Format(time.DateOnly), "due\t待报\t1\t" + text(thisMonth.Add(time.Duration(long)*time.Second)) + "\t\\N\t\\N\t0\tbureau"},
		{"running", "330203", thisMonth.Format(time.DateOnly), "open\t未到期\t1\t" + text(thisMonth.AddDate(0, 1, 0).Add(time.Duration(long)*time.Second)) + "\t\\N\t\\N\t0\tbureau"},
		{"not begun", "330203", thisMonth.AddDate(0, 1, 0).Format(time.DateOnly), ""},
	} {
		if got := status(c.region, c.period); got != c.want {
			t.Errorf("%s: got  %q\nwant %q", c.name, got, c.want)
		}
	}
	// Days that come once a month are due after the month.
	days := b.sql("SELECT toDate(period), toDate(due) FROM $db.reporting_status WHERE indicator = 'D' ORDER BY period FORMAT TSVRaw")
	if want := []string{"2021-04-29\t2021-05-06", "2021-04-30\t2021-05-06", "2021-05-01\t2021-06-06", "2021-05-02\t2021-06-06"}; !slices.Equal(days, want) {
		t.Errorf("days %q, want %q", days, want)
	}
	if _, err := b.ActOnPeriod(b.ctx, warehouse.PeriodAct{Action: "freeze", Indicator: "I", Grain: "month", Period: day(2021, 5, 1), Region: "330102", Who: "lin", Why: "done"}); err != nil {
		t.Fatal(err)
	}
	b.load("after", row("330102", 5, 3, 4, time.Now().Add(time.Minute)))
	reports, err := b.Reports(b.ctx, warehouse.ReportFilter{Indicator: "I", Region: "330102", Period: day(2021, 5, 1), Grains: []string{"month"}})
	if err != nil || len(reports) != 1 {
		t.Fatalf("reports %+v, %v", reports, err)
	}
	if r := reports[0]; r.State != "frozen" || r.ChangedAfterFreeze != 1 || r.Restated != 2 || r.FrozenBy != "lin" || r.Why != "done" || r.Since == nil || r.AgeSeconds == nil || *r.AgeSeconds > 3600 {
		t.Errorf("frozen and corrected: %+v", r)
	}
	if _, err := b.ActOnPeriod(b.ctx, warehouse.PeriodAct{Action: "publish", Indicator: "I", Grain: "month", Period: day(2021, 5, 1), Region: "330102", Who: "wang", Why: "out"}); err != nil {
		t.Fatal(err)
	}
	if got := b.sql("SELECT state, state_zh, frozen_by FROM $db.reporting_status WHERE indicator = 'I' AND region = '330102' AND toDate(period) = '2021-05-01' FORMAT TSVRaw"); !slices.Equal(got, []string{"published\t已发布\tlin"}) {
		t.Errorf("published: %q", got)
	}
}

// Periods of every length against a plain walk through the calendar.
func TestEveryPeriodOfTheListIsExpectedOnce(t *testing.T) {
	t.Parallel()
	grains := []string{"day", "week", "xun", "month", "quarter", "half", "year"}
	var indicators []schemas.Indicator
	for _, g := range grains {
		i := indicator("E-"+g, "sum")
		i.Grain, i.Levels = g, []string{"city"}
		indicators = append(indicators, i)
	}
	b := analysis(t, indicators...)
	deadline := int64(0)
	since, until := time.Date(2020, 2, 12, 0, 0, 0, 0, time.UTC), time.Date(2021, 8, 3, 0, 0, 0, 0, time.UTC)
	d := warehouse.SharedDataset{Source: "s", Stream: "st", Title: "t", Owner: "o", Connector: "file", Schema: "observation", Stated: true, Type: "none", Method: "form",
		Frequency: "realtime", Deadline: &deadline, DueWithin: "330100", DueSince: &since, DueUntil: &until}
	for _, i := range indicators {
		d.DueIndicators = append(d.DueIndicators, i.Code)
	}
	if err := b.SyncSharing(b.ctx, []warehouse.SharedDataset{d}); err != nil {
		t.Fatal(err)
	}
	// begins is the first day of the period that the day lies in.
	begins := func(grain string, d time.Time) time.Time {
		month := time.Date(d.Year(), d.Month(), 1, 0, 0, 0, 0, time.UTC)
		switch grain {
		case "week":
			return d.AddDate(0, 0, -(int(d.Weekday())+6)%7)
		case "xun":
			return month.AddDate(0, 0, 10*min((d.Day()-1)/10, 2))
		case "month":
			return month
		case "quarter":
			return time.Date(d.Year(), (d.Month()-1)/3*3+1, 1, 0, 0, 0, 0, time.UTC)
		case "half":
			return time.Date(d.Year(), (d.Month()-1)/6*6+1, 1, 0, 0, 0, 0, time.UTC)
		case "year":
			return time.Date(d.Year(), 1, 1, 0, 0, 0, 0, time.UTC)
		}
		return d
	}
	for _, g := range grains {
		var want []string
		for d := begins(g, since); !d.After(until); {
			next := d.AddDate(0, 0, 1)
			for begins(g, next).Equal(d) {
				next = next.AddDate(0, 0, 1)
			}
			want = append(want, fmt.Sprintf("%s\t%s", d.Format(time.DateOnly), next.Format(time.DateOnly)))
			d = next
		}
		got := b.sql("SELECT toDate(period), toDate(due) FROM $db.reporting_status WHERE indicator = 'E-" + g + "' ORDER BY period FORMAT TSVRaw")
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %d periods %v …\nwant %d %v …", g, len(got), got[:min(3, len(got))], len(want), want[:3])
		}
	}
}

func TestVariancesAreExplainedAndSignedOff(t *testing.T) {
	t.Parallel()
	b := analysis(t, indicator("I", "sum"))
	row := func(region string, version uint64, value float64, known time.Time) observation {
		return observation{indicator: "I", region: region, period: day(2021, 6, 1), value: value, version: version, extracted: known}
	}
	b.load("t", row("330102", 1, 10, day(2021, 7, 1)), row("330113", 1, 20, day(2021, 7, 2)), row("330100", 1, 33, day(2021, 7, 3)),
		row("330203", 1, 4, day(2021, 7, 1)), row("330200", 1, 4, day(2021, 7, 1)))
	list := func(settled bool) []string {
		t.Helper()
		found, err := b.Variances(b.ctx, warehouse.VarianceFilter{Settled: settled})
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, v := range found {
			lines = append(lines, fmt.Sprint(v.Region, " ", *v.Difference, " ", v.State, " ", v.Changed, " since ", v.Since.In(shanghai).Format(time.DateOnly), " ", v.Who, " ", v.Why))
		}
		return lines
	}
	expect := func(when string, settled bool, want ...string) {
		t.Helper()
		if got := list(settled); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", when, got, want)
		}
	}
	say := func(action, region, who, why string) error {
		_, err := b.ActOnVariance(b.ctx, warehouse.VarianceFilter{Indicator: "I", Region: region, Period: day(2021, 6, 1)}, action, who, why)
		return err
	}
	refused := func(err error, want string) {
		t.Helper()
		if err == nil || fault.KindOf(err) != fault.KindUsage || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want a refusal with %q", err, want)
		}
	}
	expect("found", false, "330100 3 open 0 since 2021-07-03  ")
	refused(say("explain", "330200", "lin", "x"), "no such variance")
	refused(say("sign_off", "330100", "wang", "fine"), "nobody has explained it")
	refused(say("reopen", "330100", "wang", "x"), "it is open")
	for _, s := range [][3]string{{"explain", "lin", "开发区 3 家"}, {"reopen", "wang", "which ones?"}, {"explain", "lin", "开发区: a, b, c"}, {"sign_off", "wang", "seen"}} {
		if err := say(s[0], "330100", s[1], s[2]); err != nil {
			t.Fatal(err)
		}
	}
	expect("settled", false)
	expect("settled", true, "330100 3 signed off 0 since 2021-07-03 wang seen")
	refused(say("sign_off", "330100", "wang", "again"), "signed off already")
	// Read again unchanged it stays settled; another amount opens it again, and its age begins anew.
	b.load("again", row("330100", 2, 33, day(2021, 7, 8)))
	expect("read again", true, "330100 3 signed off 0 since 2021-07-03 wang seen")
	b.load("correction", row("330102", 2, 12, day(2021, 7, 9)))
	expect("changed", false, "330100 1 open 1 since 2021-07-09 wang seen")
	refused(say("sign_off", "330100", "wang", "x"), "nobody has explained it as it stands now")
	b.load("agreement", row("330113", 2, 21, day(2021, 7, 10)))
	expect("agreed", true)
	if got := b.sql("SELECT action, who, reported, rolled_up FROM $db.variance_event FINAL ORDER BY act FORMAT TSVRaw"); !slices.Equal(got, []string{"explain\tlin\t33\t30", "reopen\twang\t33\t30", "explain\tlin\t33\t30", "sign_off\twang\t33\t30"}) {
		t.Errorf("what was said: %q", got)
	}
	if changes, err := b.Audits(b.ctx, warehouse.AuditFilter{TargetKind: "variance"}); err != nil || len(changes) != 4 || changes[0].Outcome != warehouse.AuditDone {
		t.Errorf("audited %+v, %v", changes, err)
	}
}
