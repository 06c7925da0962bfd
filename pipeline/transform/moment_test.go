package transform

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// shown writes a moment as its parts, for comparison.
func shown(m moment) string {
	names := map[grain]string{grainTime: "time", grainDay: "day", grainWeek: "week", grainXun: "xun", grainMonth: "month", grainQuarter: "quarter", grainHalf: "half", grainYear: "year", grainMonths: "months"}
	text := fmt.Sprintf("%s %04d-%02d-%02d", names[m.grain], m.year, m.month, m.day)
	if m.grain == grainTime {
		text += fmt.Sprintf(" %02d:%02d:%02d", m.hour, m.min, m.sec)
		if m.nanos > 0 {
			text += fmt.Sprintf(".%09d", m.nanos)
		}
		if m.nextDay {
			text += " next day"
		}
		if m.hasOffset {
			text += fmt.Sprintf(" %+d", m.offset)
		}
	}
	if m.grain == grainMonths {
		text += fmt.Sprintf(" to %02d", m.toMonth)
	}
	return text
}

func TestMomentsAsDepartmentsWriteThem(t *testing.T) {
	t.Parallel()
	cases := []struct{ text, want string }{
		{"2021-03-05", "day 2021-03-05"},
		{"2021-3-5", "day 2021-03-05"},
		{"2021/3/5", "day 2021-03-05"},
		{"2021.3.5", "day 2021-03-05"},
		{"2021．3．5", "day 2021-03-05"},
		{"20210305", "day 2021-03-05"},
		{"2021年3月5日", "day 2021-03-05"},
		{"2021年03月05日", "day 2021-03-05"},
		{"2021年3月5号", "day 2021-03-05"},
		{"２０２１年３月５日", "day 2021-03-05"},
		{"2021 年 3 月 5 日", ""},
		{"3月5日", "day 0000-03-05"},
		{"2月29日", "day 0000-02-29"},
		{"2月30日", ""},
		{"2021年2月29日", ""},
		{"2020年2月29日", "day 2020-02-29"},
		{"2021-02-30", ""},
		{"2021/3-5", ""},
		{"21-03-05", ""},
		{"210305", ""},
		{"09-24-76", ""},
		{"3/5", ""},
		{"3-5", ""},
		{"3/5/2021", ""},
		{"2021-13-01", ""},
		{"2021-00-01", ""},
		{"2021-03-05T08:30:15Z", "time 2021-03-05 08:30:15 +0"},
		{"2021-03-05T08:30:15.123+08:00", "time 2021-03-05 08:30:15.123000000 +28800"},
		{"2021-03-05 08:30:15 +0800", "time 2021-03-05 08:30:15 +28800"},
		{"2021-03-05 8:30", "time 2021-03-05 08:30:00"},
		{"2021/3/5 8:30:15", "time 2021-03-05 08:30:15"},
		{"2021年3月5日 8时30分", "time 2021-03-05 08:30:00"},
		{"2021年3月5日8时", "time 2021-03-05 08:00:00"},
		{"2021年3月5日 8点半", "time 2021-03-05 08:30:00"},
		{"2021年3月5日 08:30:15", "time 2021-03-05 08:30:15"},
		{"2021-03-05 24:00", "time 2021-03-05 00:00:00 next day"},
		{"2021-03-05 24:01", ""},
		{"2021-03-05 23:60", ""},
		{"2021-03-05 23:59:60", ""},
		{"20210305T083015Z", "time 2021-03-05 08:30:15 +0"},
		{"20210305 08:30", "time 2021-03-05 08:30:00"},
		{"20210305083015", "time 2021-03-05 08:30:15"},
		{"2021030508", "time 2021-03-05 08:00:00"},
		{"2021-W09-5", "day 2021-03-05"},
		{"2021-W09", "week 2021-03-01"},
		{"2021年第9周", "week 2021-03-01"},
		{"2020-W53", "week 2020-12-28"},
		{"2021-W53", ""},
		{"2021年3月", "month 2021-03-01"},
		{"2021年3月份", "month 2021-03-01"},
		{"2021年三月", "month 2021-03-01"},
		{"2021年十二月", "month 2021-12-01"},
		{"2021-03", "month 2021-03-01"},
		{"2021/3", "month 2021-03-01"},
		{"2021.3", "month 2021-03-01"},
		{"202103", "month 2021-03-01"},
		{"202113", ""},
		{"3月", "month 0000-03-01"},
		{"2021年3月上旬", "xun 2021-03-01"},
		{"2021年3月中旬", "xun 2021-03-11"},
		{"3月下旬", "xun 0000-03-21"},
		{"一季度", "quarter 0000-01-01"},
		{"第四季度", "quarter 0000-10-01"},
		{"五季度", ""},
		{"2021年一季度", "quarter 2021-01-01"},
		{"2021年第2季度", "quarter 2021-04-01"},
		{"2021Q3", "quarter 2021-07-01"},
		{"2021-Q3", "quarter 2021-07-01"},
		{"2021Q5", ""},
		{"上半年", "half 0000-01-01"},
		{"2021年下半年", "half 2021-07-01"},
		{"2021H2", "half 2021-07-01"},
		{"2021年", "year 2021-01-01"},
		{"2021年度", "year 2021-01-01"},
		{"2021年全年", "year 2021-01-01"},
		{"2021", "year 2021-01-01"},
		{"1-3月", "months 0000-01-01 to 03"},
		{"2021年1-3月", "months 2021-01-01 to 03"},
		{"2021年1—6月", "months 2021-01-01 to 06"},
		{"2021年1月至3月", "months 2021-01-01 to 03"},
		{"2021年1~12月份", "months 2021-01-01 to 12"},
		{"2021年3-1月", ""},
		{"1-3", ""},
		{"44260", ""},
		{"2021年3月5日x", ""},
		{"年", ""},
		{"月", ""},
		{"昨天", ""},
		{"", ""},
	}
	for _, c := range cases {
		t.Run(c.text, func(t *testing.T) {
			t.Parallel()
			m, ok := parseMoment(foldWidth([]byte(c.text)))
			got := ""
			if ok {
				got = shown(m)
			}
			if got != c.want {
				t.Errorf("%q: got %q, want %q", c.text, got, c.want)
			}
		})
	}
}

func TestSpreadsheetDayNumbers(t *testing.T) {
	t.Parallel()
	cases := []struct {
		system serialSystem
		text   string
		want   string
	}{
		{serialExcel, "44260", "day 2021-03-05"},
		{serialExcel, "44561", "day 2021-12-31"},
		{serialExcel, "43890", "day 2020-02-29"},
		{serialExcel, "61", "day 1900-03-01"},
		{serialExcel, "60", ""},
		{serialExcel, "59", "day 1900-02-28"},
		{serialExcel, "1", "day 1900-01-01"},
		{serialExcel, "25569", "day 1970-01-01"},
		{serialExcel, "44260.5", "time 2021-03-05 12:00:00"},
		{serialExcel, "44260.333333333336", "time 2021-03-05 08:00:00"},
		{serialExcel, "44260.999999999", "time 2021-03-06 00:00:00"},
		{serialExcel, "-1", ""},
		{serialExcel, "1e9", ""},
		{serialExcel, "2021-03-05", ""},
		{serialExcel1904, "42798", "day 2021-03-05"},
		{serialUnix, "1614902400", "time 2021-03-05 00:00:00 +0"},
		{serialUnixMilli, "1614902400123.9", "time 2021-03-05 00:00:00.123000000 +0"},
		{serialUnixMilli, "99999999999999999", ""},
	}
	for _, c := range cases {
		m, ok := parseSerial([]byte(c.text), c.system)
		got := ""
		if ok {
			got = shown(m)
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.text, got, c.want)
		}
	}
}

func TestLayouts(t *testing.T) {
	t.Parallel()
	cases := []struct{ layout, text, want string }{
		{"YYYY-M-D-H", "2013-3-1-0", "time 2013-03-01 00:00:00"},
		{"YYYYMM", "202101", "month 2021-01-01"},
		{"YYYYMM", "20210", ""},
		{"YYYY年M月D日", "2021年3月5日", "day 2021-03-05"},
		{"D/M/YYYY", "5/3/2021", "day 2021-03-05"},
		{"MM/DD/YYYY HH:mm:ss", "03/05/2021 08:30:15", "time 2021-03-05 08:30:15"},
		{"MM/DD/YYYY", "3/5/2021", ""},
		{"YYYY-MM-DDTHH:mm:ss.SSSZ", "2021-03-05T08:30:15.250+08:00", "time 2021-03-05 08:30:15.250000000 +28800"},
		{"M月D日", "3月5日", "day 0000-03-05"},
		{"YYYYMMDDHH", "2021030508", "time 2021-03-05 08:00:00"},
		{"YYYY-MM-DD", "2021-02-30", ""},
	}
	for _, c := range cases {
		l, problem := compileLayout(c.layout)
		if problem != "" {
			t.Errorf("%s: %s", c.layout, problem)
			continue
		}
		m, ok := l.parse(foldWidth([]byte(c.text)))
		got := ""
		if ok {
			got = shown(m)
		}
		if got != c.want {
			t.Errorf("%s by %s: got %q, want %q", c.text, c.layout, got, c.want)
		}
	}
	for _, bad := range []string{"", "YY-MM-DD", "YYYY-DD", "YYYY-MM-DD MM", "HH:mm", "YYYY-MM-DDD", "yyyy"} {
		if _, problem := compileLayout(bad); problem == "" {
			t.Errorf("layout %q is accepted", bad)
		}
	}
}

func TestPeriodsStartWhereTheirGrainSays(t *testing.T) {
	t.Parallel()
	cases := []struct {
		text  string
		grain recordGrain
		want  string // "" when refused
	}{
		{"2021年3月", recordGrainMonth, "2021-03-01"},
		{"2021-03-31", recordGrainMonth, "2021-03-01"},
		{"2021年3月", recordGrainQuarter, "2021-01-01"},
		{"2021年3月", recordGrainDay, ""},
		{"2021年", recordGrainMonth, ""},
		{"2021年", recordGrainYear, "2021-01-01"},
		{"2021年一季度", recordGrainQuarter, "2021-01-01"},
		{"2021年一季度", recordGrainMonth, ""},
		{"2021年一季度", recordGrainHalf, "2021-01-01"},
		{"2021年1-3月", recordGrainQuarter, "2021-01-01"},
		{"2021年4-6月", recordGrainQuarter, "2021-04-01"},
		{"2021年1-6月", recordGrainQuarter, "2021-04-01"},
		{"2021年1-6月", recordGrainHalf, "2021-01-01"},
		{"2021年1-5月", recordGrainMonth, "2021-05-01"},
		{"2021年1-5月", recordGrainQuarter, ""},
		{"2021年2-4月", recordGrainQuarter, ""},
		{"2021年1-12月", recordGrainYear, "2021-01-01"},
		{"2021年1-3月", recordGrainUnknown, "2021-01-01"},
		{"2021年1-5月", recordGrainUnknown, ""},
		{"2021年1-3月", recordGrainDay, ""},
		{"2021-03-15", recordGrainXun, "2021-03-11"},
		{"2021-03-31", recordGrainXun, "2021-03-21"},
		{"2021年3月下旬", recordGrainXun, "2021-03-21"},
		{"2021-03-07", recordGrainWeek, "2021-03-01"},
		{"1969-12-30", recordGrainWeek, "1969-12-29"},
		{"2021年第9周", recordGrainWeek, "2021-03-01"},
		{"2021年第9周", recordGrainXun, ""},
		{"2021-03-05 08:30", recordGrainDay, "2021-03-05"},
		{"2021-12-31 24:00", recordGrainDay, "2022-01-01"},
		{"2021-03-05 08:30", recordGrainUnknown, "2021-03-05"},
	}
	for _, c := range cases {
		m, ok := parseMoment([]byte(c.text))
		if !ok {
			t.Errorf("%s is not read", c.text)
			continue
		}
		start, problem := m.periodStart(c.grain)
		got := ""
		if problem == "" {
			got = fmt.Sprintf("%04d-%02d-%02d", start.year, start.month, start.day)
		}
		if got != c.want {
			t.Errorf("%s by %s: got %q, want %q (%s)", c.text, c.grain, got, c.want, problem)
		}
	}
}

func TestDaysAgreeWithTheCalendar(t *testing.T) {
	t.Parallel()
	day := time.Date(1895, 1, 1, 0, 0, 0, 0, time.UTC)
	for day.Year() < 2305 {
		want := int32(floorQuotient(day.Unix(), 86400))
		year, month, dom := int32(day.Year()), int32(day.Month()), int32(day.Day())
		if got := daysOf(year, month, dom); got != want {
			t.Fatalf("%s: got day %d, want %d", day.Format(time.DateOnly), got, want)
		}
		if y, m, d := civil(want); y != year || m != month || d != dom {
			t.Fatalf("day %d: got %d-%d-%d", want, y, m, d)
		}
		if y, w := day.ISOWeek(); day.Weekday() == time.Monday {
			m := moment{year: int32(y)}
			if !m.week(int32(w), 1, grainWeek) || m.days() != want {
				t.Fatalf("%s is week %d of %d: got %s", day.Format(time.DateOnly), w, y, shown(m))
			}
		}
		day = day.AddDate(0, 0, 1)
	}
}

func floorQuotient(a, b int64) int64 {
	q, _ := floorDiv(a, b)
	return q
}

func TestZonesAgreeWithTheTimePackage(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"Asia/Shanghai", "UTC", "America/New_York", "Asia/Kathmandu"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		clock := &zoneClock{zone: zone}
		for s := int64(-2_300_000_000); s < 7_000_000_000; s += 12_345_67 {
			_, offset := time.Unix(s, 0).In(zone).Zone()
			if got := clock.local(s); got != s+int64(offset) {
				t.Fatalf("%s: local of %d: got %d, want %d", name, s, got, s+int64(offset))
			}
			local := time.Unix(s, 0).UTC()
			want := time.Date(local.Year(), local.Month(), local.Day(), local.Hour(), local.Minute(), local.Second(), 0, zone).Unix()
			if got := clock.utc(s); got != want {
				t.Fatalf("%s: utc of %s: got %d, want %d", name, local, got, want)
			}
		}
	}
}

// FuzzMoment checks that no text makes the parser panic, that whatever it accepts is a real day, and that ISO texts mean what
// the time package reads.
func FuzzMoment(f *testing.F) {
	for _, seed := range []string{"2021-03-05", "2021-03-05T08:30:15.123+08:00", "2021年3月5日 8时30分", "1-3月", "20210305083015", "2021-W53-7", "第四季度", "2021年十二月", "２０２１．３", "3月下旬", "44260"} {
		f.Add(seed)
	}
	layouts := []layout{{serial: serialExcel}}
	for _, text := range []string{"YYYY-M-D-H", "M月D日", "YYYYMMDD"} {
		l, _ := compileLayout(text)
		layouts = append(layouts, l)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b := trim([]byte(text))
		for _, p := range []purpose{purposeCanonical, purposeDate, purposeDatetime, purposeMonth, purposePeriod} {
			if m, problem := p.read(b, layouts); problem == "" && m.year > 0 {
				if !m.validDay() {
					t.Fatalf("%q is read as %s", text, shown(m))
				}
				for g := range recordGrains {
					if start, problem := m.periodStart(recordGrain(g)); problem == "" && !start.validDay() {
						t.Fatalf("%q begins on %s", text, shown(start))
					}
				}
			}
		}
		m, ok := parseISO([]byte(text))
		if days, seconds, short := shortISO([]byte(text)); short && (!ok || m.hasOffset || m.seconds() != int64(days)*86400+int64(seconds)) {
			t.Fatalf("%q: the short way gives day %d and second %d, the long one %s", text, days, seconds, shown(m))
		}
		if !ok || len(text) != 19 || strings.Contains(text, " ") || m.nextDay {
			return
		}
		want, err := time.Parse("2006-01-02T15:04:05", text)
		if err != nil || m.seconds() != want.Unix() {
			t.Fatalf("%q: got %s, want %v, %v", text, shown(m), want, err)
		}
	})
}
