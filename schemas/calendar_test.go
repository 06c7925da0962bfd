package schemas_test

import (
	"strings"
	"testing"
	"time"

	"github.com/headwater-data/headwater/schemas"
)

// The years that ship have the workdays that they are known for, and every day that is worked for a holiday is a Saturday or Sunday.
func TestTheCalendarThatShipsHasTheYearsWorkdays(t *testing.T) {
	t.Parallel()
	kinds, documents := map[time.Time]string{}, map[string]bool{}
	for _, d := range schemas.Standard().Calendar() {
		kinds[d.Day] = d.Kind
		documents[d.Document] = true
		weekend := d.Day.Weekday() == time.Saturday || d.Day.Weekday() == time.Sunday
		if d.Kind == schemas.DayWeekend || d.Kind == schemas.DayWorkday && !weekend || d.Name == "" || !strings.HasPrefix(d.Document, "国办发明电〔") {
			t.Errorf("%s is %+v", d.Day.Format(time.DateOnly), d)
		}
	}
	if len(documents) != 6 {
		t.Errorf("it rests on %d documents, want 6: %v", len(documents), documents)
	}
	for year, want := range map[int]int{2021: 250, 2022: 249, 2023: 249, 2024: 251, 2025: 248, 2026: 248} {
		got := 0
		for day := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC); day.Year() == year; day = day.AddDate(0, 0, 1) {
			switch kinds[day] {
			case schemas.DayWorkday:
				got++
			case "":
				if day.Weekday() != time.Saturday && day.Weekday() != time.Sunday {
					got++
				}
			}
		}
		if got != want || kinds[time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)] != schemas.DayHoliday {
			t.Errorf("%d has %d workdays, want %d", year, got, want)
		}
	}
}

func TestCalendarsAreChecked(t *testing.T) {
	t.Parallel()
	const header = "day,kind,name,document\n"
	for _, c := range []struct{ name, file, want string }{
		{"good", "# of the province\n" + header + "2027-01-01,holiday,元旦,\n2027-01-03,weekend,,\n", ""},
		{"another header", "day,kind\n", "x.csv:1:1: the header is not day,kind,name,document (give these 4 columns in this order)"},
		{"no day", header + "2027-02-30,holiday,,\n", "x.csv:2:1: day is none between 1949 and 2100, as 2024-02-18"},
		{"out of all time", header + "1900-01-01,holiday,,\n", "x.csv:2:1: day is none between 1949 and 2100"},
		{"another kind", header + "2027-01-01,off,,\n", "x.csv:2:1: kind is neither workday nor weekend nor holiday"},
		{"twice", header + "2027-01-01,holiday,,\n2027-01-01,workday,,\n", "x.csv:3:1: 2027-01-01 stands in line 2 already"},
		{"too few", header + "2027-01-01,holiday\n", "x.csv:2:1: wrong number of fields"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			days, problems := schemas.ReadCalendar(strings.NewReader(c.file), "x.csv")
			if c.want == "" && (len(problems) > 0 || len(days) != 2) || c.want != "" && (days != nil || !strings.HasPrefix(problems.Error(), c.want)) {
				t.Errorf("%d days and %v, want %q", len(days), problems, c.want)
			}
		})
	}
}

// A project's days come in place of those that are built in, and stay when the set changes otherwise.
func TestAProjectsCalendarComesOnTop(t *testing.T) {
	t.Parallel()
	day := func(year, month, day int) time.Time {
		return time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
	}
	set := schemas.Standard().WithCalendar([]schemas.CalendarDay{{Day: day(2024, 2, 9), Kind: schemas.DayHoliday}, {Day: day(2024, 2, 4), Kind: schemas.DayWeekend}}).
		WithRegions(schemas.Standard().Regions()).WithExtents(nil)
	kinds := map[time.Time]string{}
	days := set.Calendar()
	for i, d := range days {
		kinds[d.Day] = d.Kind
		if i > 0 && !days[i-1].Day.Before(d.Day) {
			t.Errorf("%s does not come after %s", d.Day, days[i-1].Day)
		}
	}
	if kinds[day(2024, 2, 9)] != schemas.DayHoliday || kinds[day(2024, 2, 4)] != schemas.DayWeekend || kinds[day(2024, 2, 18)] != schemas.DayWorkday {
		t.Errorf("9, 4 and 18 February 2024 are %q, %q, %q", kinds[day(2024, 2, 9)], kinds[day(2024, 2, 4)], kinds[day(2024, 2, 18)])
	}
	if len(days) != len(schemas.Standard().Calendar())+1 {
		t.Errorf("%d days", len(days))
	}
}
