package schemas

import (
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/headwater-data/headwater/internal/problem"
)

//go:embed reference/calendar-china.csv
var calendarCSV []byte

// CalendarDay is a day of which a notice says whether people work on it, as a row of the table calendar_day. What a calendar does not
// list of a year that it knows goes by the weekday; it knows the years whose 1 January it lists, which is a holiday in every notice.
type CalendarDay struct {
	Day      time.Time // midnight UTC
	Kind     string    // a code of the list day_kind
	Name     string    // of the holiday, or of the one that it makes up for
	Document string    // that says so
}

var builtinCalendar = sync.OnceValue(func() []CalendarDay {
	days, problems := ReadCalendar(bytes.NewReader(calendarCSV), "calendar-china.csv")
	if len(problems) > 0 {
		panic("schemas: " + problems.Error())
	}
	return days
})

// The kinds of a day, as the code list day_kind has them.
const (
	DayWorkday = "workday"
	DayWeekend = "weekend"
	DayHoliday = "holiday"
)

var calendarHeader = []string{"day", "kind", "name", "document"}

// ReadCalendar reads a calendar: CSV in UTF-8 with the columns day (2024-02-18), kind (workday, weekend or holiday), name and document,
// and lines of comment that begin with #. With problems the result is nil. The name is used in problems only.
func ReadCalendar(r io.Reader, name string) ([]CalendarDay, problem.List) {
	var days []CalendarDay
	lines := map[time.Time]int{}
	problems := readReference(r, name, calendarHeader, func(line int, fields []string) (bad, fix string) {
		day, err := time.Parse(time.DateOnly, fields[0])
		switch {
		case err != nil || day.Year() < 1949 || day.Year() > 2100:
			return "day is none between 1949 and 2100, as 2024-02-18", ""
		case lines[day] > 0:
			return fmt.Sprintf("%s stands in line %d already", fields[0], lines[day]), ""
		case !slices.Contains([]string{DayWorkday, DayWeekend, DayHoliday}, fields[1]):
			return "kind is neither workday nor weekend nor holiday", ""
		}
		lines[day] = line
		days = append(days, CalendarDay{Day: day, Kind: fields[1], Name: fields[2], Document: fields[3]})
		return "", ""
	})
	if len(problems) > 0 {
		return nil, problems
	}
	return days, nil
}

// Calendar returns the calendar of workdays and holidays by day: the one that is built in, and in place of or beside its days those of
// WithCalendar. It is no part of the set's JSON: it shapes no rows.
func (s *Set) Calendar() []CalendarDay {
	byDay := map[time.Time]CalendarDay{}
	for _, d := range slices.Concat(builtinCalendar(), s.calendar) {
		byDay[d.Day] = d
	}
	out := make([]CalendarDay, 0, len(byDay))
	for _, d := range byDay {
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b CalendarDay) int { return a.Day.Compare(b.Day) })
	return out
}

// WithCalendar returns the set with other days beside those that are built in.
func (s *Set) WithCalendar(days []CalendarDay) *Set {
	out := *s
	out.calendar = days
	return &out
}
