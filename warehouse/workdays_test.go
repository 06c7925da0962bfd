package warehouse_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headwater-data/headwater/schemas"
	"github.com/headwater-data/headwater/warehouse"
)

// offDays and workedWeekends are what the notices of the State Council's office say of 2024 and 2025, typed from their text (国办发明电〔2023〕7号
// and 〔2024〕12号) and not read from the calendar that ships.
var (
	offDays = []string{
		"2024-01-01", "2024-02-10..2024-02-17", "2024-04-04..2024-04-06", "2024-05-01..2024-05-05", "2024-06-10", "2024-09-15..2024-09-17", "2024-10-01..2024-10-07",
		"2025-01-01", "2025-01-28..2025-02-04", "2025-04-04..2025-04-06", "2025-05-01..2025-05-05", "2025-05-31..2025-06-02", "2025-10-01..2025-10-08",
	}
	workedWeekends = []string{
		"2024-02-04", "2024-02-18", "2024-04-07", "2024-04-28", "2024-05-11", "2024-09-14", "2024-09-29", "2024-10-12",
		"2025-01-26", "2025-02-08", "2025-04-27", "2025-09-28", "2025-10-11",
	}
)

// worked walks through the calendar as a clerk would.
func worked(d time.Time) bool {
	text := d.Format(time.DateOnly)
	for _, off := range offDays {
		from, to, several := strings.Cut(off, "..")
		if text == from || several && from <= text && text <= to {
			return false
		}
	}
	return slices.Contains(workedWeekends, text) || d.Weekday() != time.Saturday && d.Weekday() != time.Sunday
}

// afterWorkdays is the midnight with which n workdays after a day are over.
func afterWorkdays(d time.Time, n int) time.Time {
	for n > 0 {
		if d = d.AddDate(0, 0, 1); worked(d) {
			n--
		}
	}
	return d.AddDate(0, 0, 1)
}

// workdayList has figures of a city due some workdays after the end of a cycle.
func workdayList(source, indicator, frequency string, workdays int64, since, until string) warehouse.SharedDataset {
	from, to := parsed(since), parsed(until)
	return warehouse.SharedDataset{Source: source, Stream: "st", Title: "t", Owner: "o", Connector: "file", Schema: "observation", Stated: true, Type: "none", Method: "form",
		Frequency: frequency, Workdays: &workdays, DueIndicators: []string{indicator}, DueWithin: "330100", DueSince: &from, DueUntil: &to}
}

func parsed(day string) time.Time {
	at, err := time.Parse(time.DateOnly, day)
	if err != nil {
		panic(err)
	}
	return at
}

func cityIndicator(code, grain string) schemas.Indicator {
	i := indicator(code, "sum")
	i.Grain, i.Levels = grain, []string{"city"}
	return i
}

// dues reads the deadlines of an indicator: period, due and whether it was assumed.
func (b *bench) dues(indicator string) []string {
	b.t.Helper()
	return b.sql("SELECT toDate(period), due, due_assumed FROM $db.reporting_status WHERE indicator = '" + indicator + "' ORDER BY period FORMAT TSVRaw")
}

func TestDeadlinesInWorkdaysAgainstAWalkThroughTheCalendar(t *testing.T) {
	t.Parallel()
	b := analysis(t, cityIndicator("MONTH", "month"), cityIndicator("DAY", "day"), cityIndicator("WEEK", "week"), cityIndicator("SLOW", "month"))
	lists := []warehouse.SharedDataset{
		workdayList("a", "MONTH", "month", 5, "2024-01-01", "2025-10-31"), workdayList("b", "DAY", "day", 1, "2024-01-01", "2025-11-30"),
		workdayList("c", "WEEK", "week", 3, "2024-01-01", "2025-11-30"), workdayList("d", "SLOW", "quarter", 20, "2024-01-01", "2025-09-30"),
	}
	if err := b.SyncSharing(b.ctx, lists); err != nil {
		t.Fatal(err)
	}
	quarterEnd := func(d time.Time) time.Time {
		return time.Date(d.Year(), (d.Month()-1)/3*3+4, 0, 0, 0, 0, 0, time.UTC)
	}
	for _, c := range []struct {
		indicator string
		n         int
		from, to  string
		next      func(time.Time) time.Time // beginning of the next period
		cycle     func(time.Time) time.Time // end of the list's cycle that a period's last day lies in
	}{
		{"MONTH", 5, "2024-01-01", "2025-10-31", func(d time.Time) time.Time { return d.AddDate(0, 1, 0) }, nil},
		{"DAY", 1, "2024-01-01", "2025-11-30", func(d time.Time) time.Time { return d.AddDate(0, 0, 1) }, nil},
		{"WEEK", 3, "2024-01-01", "2025-11-30", func(d time.Time) time.Time { return d.AddDate(0, 0, 7) }, nil},
		{"SLOW", 20, "2024-01-01", "2025-09-30", func(d time.Time) time.Time { return d.AddDate(0, 1, 0) }, quarterEnd},
	} {
		var want []string
		for d := parsed(c.from); !d.After(parsed(c.to)); d = c.next(d) {
			last := c.next(d).AddDate(0, 0, -1)
			if c.cycle != nil {
				last = c.cycle(last)
			}
			want = append(want, fmt.Sprintf("%s\t%s 00:00:00.000\t0", d.Format(time.DateOnly), afterWorkdays(last, c.n).Format(time.DateOnly)))
		}
		got := b.dues(c.indicator)
		if len(got) != len(want) {
			t.Errorf("%s: %d deadlines, want %d", c.indicator, len(got), len(want))
			continue
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%s: got %q, want %q", c.indicator, got[i], want[i])
			}
		}
	}
	// By hand: January 2024's five workdays are 1, 2, 4 (a Sunday that is worked), 5 and 6 February. September 2025's are 9, 10, 11 (a Saturday
	// that is worked), 13 and 14 October, after the holidays.
	for _, want := range []string{"2024-01-01\t2024-02-07 00:00:00.000\t0", "2025-09-01\t2025-10-15 00:00:00.000\t0"} {
		if got := b.dues("MONTH"); !slices.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
}

// What was read before the deadline is in time, whatever a plain count of days would say.
func TestWorkdaysDecideWhatIsInTime(t *testing.T) {
	t.Parallel()
	b := analysis(t, cityIndicator("I", "month"))
	if err := b.SyncSharing(b.ctx, []warehouse.SharedDataset{workdayList("a", "I", "month", 5, "2025-09-01", "2025-10-31")}); err != nil {
		t.Fatal(err)
	}
	row := func(month int, known time.Time) observation {
		return observation{indicator: "I", region: "330100", period: time.Date(2025, time.Month(month), 1, 0, 0, 0, 0, shanghai), value: 1, extracted: known}
	}
	b.load("t", row(9, time.Date(2025, 10, 14, 23, 59, 0, 0, shanghai)), row(10, time.Date(2025, 11, 8, 0, 0, 0, 0, shanghai)))
	got := b.sql("SELECT toDate(period), toDate(due), state, on_time FROM $db.reporting_status WHERE indicator = 'I' ORDER BY period FORMAT TSVRaw")
	if want := []string{"2025-09-01\t2025-10-15\treported\t1", "2025-10-01\t2025-11-08\treported\t1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A year that the calendar lacks goes by the weekday, and that is said. A project's own days bring it, and days that a source brings come in
// place of both, whenever the project's are brought up to date.
func TestTheCalendarSaysWhatADayIs(t *testing.T) {
	t.Parallel()
	b := analysis(t, cityIndicator("I", "month"))
	if err := b.SyncSharing(b.ctx, []warehouse.SharedDataset{workdayList("a", "I", "month", 5, "2019-09-01", "2019-12-31")}); err != nil {
		t.Fatal(err)
	}
	expect := func(when string, want ...string) {
		t.Helper()
		if got := b.dues("I"); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", when, got, want)
		}
	}
	// 2019 and 2020 are not listed: 1, 2, 3, 4, 7 October; 1, 4, 5, 6, 7 November; 2 to 6 December; 1, 2, 3, 6, 7 January.
	assumed := []string{"2019-09-01\t2019-10-08 00:00:00.000\t1", "2019-10-01\t2019-11-08 00:00:00.000\t1", "2019-11-01\t2019-12-07 00:00:00.000\t1", "2019-12-01\t2020-01-08 00:00:00.000\t1"}
	expect("without the years", assumed...)
	day := func(text, kind string) schemas.CalendarDay {
		return schemas.CalendarDay{Day: parsed(text), Kind: kind, Name: "x", Document: "国办发明电〔2018〕15号"}
	}
	regions, problems := schemas.ImportRegions(strings.NewReader(testRegions), "regions.csv")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	set := schemas.Standard().WithRegions(regions)
	year := []schemas.CalendarDay{day("2019-01-01", "holiday")}
	for d := 1; d <= 7; d++ {
		year = append(year, day(fmt.Sprintf("2019-10-%02d", d), "holiday"))
	}
	year = append(year, day("2019-10-12", "workday"))
	sync := func(days []schemas.CalendarDay) {
		t.Helper()
		if err := b.Sync(b.ctx, set.WithCalendar(days), []schemas.Indicator{cityIndicator("I", "month")}); err != nil {
			t.Fatal(err)
		}
	}
	sync(year)
	// After the holidays: 8, 9, 10, 11 and the Saturday 12 October. January 2020 is still assumed.
	expect("with 2019", "2019-09-01\t2019-10-13 00:00:00.000\t0", "2019-10-01\t2019-11-08 00:00:00.000\t0", "2019-11-01\t2019-12-07 00:00:00.000\t0", "2019-12-01\t2020-01-08 00:00:00.000\t1")
	// A source's day stands above them.
	b.sql("INSERT INTO $db.calendar_day (day, kind, name, _source, _stream, _version) VALUES ('2019-10-12', 'weekend', 'x', 'bureau', 'days', 1571000000)")
	// The ledger has no account of days that came through no topic, and misses none; of a source's it does.
	found, err := b.Discrepancies(b.ctx, []string{"calendar_day"}, warehouse.BalanceFilter{})
	if err != nil || len(found) != 1 || found[0].Source != "bureau" || found[0].There != 1 {
		t.Errorf("rows without an account: %+v, %v", found, err)
	}
	moved := []string{"2019-09-01\t2019-10-15 00:00:00.000\t0", "2019-10-01\t2019-11-08 00:00:00.000\t0", "2019-11-01\t2019-12-07 00:00:00.000\t0", "2019-12-01\t2020-01-08 00:00:00.000\t1"}
	expect("with a source's day", moved...)
	sync(append(year, day("2019-12-25", "workday")))
	expect("after the project's file has changed", moved...)
	// What is taken out of the file is gone; the source's day stays, and says nothing of a year that is not listed.
	sync(nil)
	expect("without the file", assumed...)
	if got := b.sql("SELECT count(), countIf(_source = 'bureau') FROM $db.calendar_day FINAL WHERE _deleted = 0 AND day < '2021-01-01' FORMAT TSVRaw"); !slices.Equal(got, []string{"1\t1"}) {
		t.Errorf("days before 2021: %q", got)
	}
}
