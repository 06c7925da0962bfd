package transform

import (
	"math"
	"time"
	"unicode/utf8"
)

// grain is how much time a text names.
type grain uint8

const (
	grainNone grain = iota
	grainTime       // a date and a time of day
	grainDay
	grainWeek
	grainXun // a third of a month: days 1 to 10, 11 to 20, 21 to the end
	grainMonth
	grainQuarter
	grainHalf
	grainYear
	grainMonths // a range of months, such as 1-3月
)

// moment is what a text says about time, before a zone and a purpose turn it into a value.
type moment struct {
	year           int32 // 0 when the text names none
	month, day     int32 // first month and day of what is named
	toMonth        int32 // grainMonths: the last month
	hour, min, sec int32
	nanos          int32
	offset         int32 // seconds east of UTC, if hasOffset
	hasOffset      bool
	nextDay        bool // 24:00
	grain          grain
}

// Years outside these are taken for damage: ClickHouse's Date32 and DateTime64 end at 1900 and 2299, and a year such as 1021
// or 20210 makes a partition that nobody expects.
const (
	minYear = 1900
	maxYear = 2200
)

var monthDays = [13]int32{0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

func daysIn(year, month int32) int32 {
	if month == 2 && year%4 == 0 && (year%100 != 0 || year%400 == 0) {
		return 29
	}
	return monthDays[month]
}

// daysOf is the number of days from 1970-01-01 to a day of the Gregorian calendar.
func daysOf(year, month, day int32) int32 {
	// Years begin in March here, so that the leap day is the last of its year.
	y, m := int64(year), int64(month)
	if m <= 2 {
		y--
		m += 12
	}
	era := y / 400
	if y < 0 {
		era = (y - 399) / 400
	}
	yoe := y - era*400
	doy := (153*(m-3)+2)/5 + int64(day) - 1
	doe := yoe*365 + yoe/4 - yoe/100 + doy
	return int32(era*146097 + doe - 719468)
}

// civil is the calendar day of a number of days from 1970-01-01.
func civil(days int32) (year, month, day int32) {
	y, month, day := longCivil(int64(days))
	return int32(y), month, day
}

// longCivil is civil for every day that a timestamp can name.
func longCivil(days int64) (year int64, month, day int32) {
	z := days + 719468
	era := z / 146097
	if z < 0 {
		era = (z - 146096) / 146097
	}
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	d := doy - (153*mp+2)/5 + 1
	m := mp + 3
	if m > 12 {
		m -= 12
	}
	y := yoe + era*400
	if m <= 2 {
		y++
	}
	return y, int32(m), int32(d)
}

// namesFarYear recognises canonical dates with years outside 0 to 9999, which no calendar of a department has.
func namesFarYear(b []byte) bool {
	digits := 0
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		b = b[1:]
	}
	for digits < len(b) && b[digits]-'0' <= 9 {
		digits++
	}
	if digits == 0 || !negative && digits < 5 {
		return false
	}
	rest := b[digits:]
	return len(rest) >= 6 && rest[0] == '-' && rest[3] == '-'
}

func digits2(b []byte) (int32, bool) {
	x, y := b[0]-'0', b[1]-'0'
	return int32(x)*10 + int32(y), x <= 9 && y <= 9
}

func digits4(b []byte) (int32, bool) {
	x, ok1 := digits2(b)
	y, ok2 := digits2(b[2:])
	return x*100 + y, ok1 && ok2
}

// parseISO reads the canonical form: 2021-03-05, with T or a blank and 08:30[:15[.123456789]], with Z or an offset. It is
// the hot path of dates and does not allocate. ok is false for anything else, also for days that do not exist.
func parseISO(b []byte) (m moment, ok bool) {
	if len(b) < 10 || b[4] != '-' || b[7] != '-' {
		return m, false
	}
	var ok1, ok2, ok3 bool
	m.year, ok1 = digits4(b)
	m.month, ok2 = digits2(b[5:])
	m.day, ok3 = digits2(b[8:])
	if !ok1 || !ok2 || !ok3 || !m.validDay() {
		return m, false
	}
	m.grain = grainDay
	if len(b) == 10 {
		return m, true
	}
	if b[10] != 'T' && b[10] != ' ' {
		return m, false
	}
	return m, m.parseClock(b[11:])
}

// shortISO reads 2021-03-05 and 2021-03-05T08:30:15 (or with a blank) as parseISO would, for the hot path: days since 1970 and
// seconds of the day. ok is false for everything else.
func shortISO(b []byte) (days, seconds int32, ok bool) {
	if len(b) != 10 && len(b) != 19 || b[4] != '-' || b[7] != '-' {
		return 0, 0, false
	}
	year, ok1 := digits4(b)
	month, ok2 := digits2(b[5:])
	day, ok3 := digits2(b[8:])
	if !ok1 || !ok2 || !ok3 || month < 1 || month > 12 || day < 1 || day > 28 && day > daysIn(year, month) {
		return 0, 0, false
	}
	if len(b) == 19 {
		hour, ok1 := digits2(b[11:])
		minute, ok2 := digits2(b[14:])
		second, ok3 := digits2(b[17:])
		if !ok1 || !ok2 || !ok3 || hour > 23 || minute > 59 || second > 59 || b[13] != ':' || b[16] != ':' || b[10] != 'T' && b[10] != ' ' {
			return 0, 0, false
		}
		seconds = hour*3600 + minute*60 + second
	}
	return daysOf(year, month, day), seconds, true
}

// parseClock reads a time of day and, after it, a zone.
func (m *moment) parseClock(b []byte) bool {
	m.grain = grainTime
	if len(b) < 5 || b[2] != ':' {
		return false
	}
	var ok1, ok2 bool
	m.hour, ok1 = digits2(b)
	m.min, ok2 = digits2(b[3:])
	if !ok1 || !ok2 {
		return false
	}
	b = b[5:]
	if len(b) >= 3 && b[0] == ':' {
		var ok bool
		if m.sec, ok = digits2(b[1:]); !ok {
			return false
		}
		b = b[3:]
		if len(b) >= 2 && b[0] == '.' {
			b = b[1:]
			scale, n := int32(100_000_000), 0
			for n < len(b) && b[n]-'0' <= 9 {
				m.nanos += int32(b[n]-'0') * scale
				scale /= 10
				n++
			}
			if n == 0 || n > 9 {
				return false
			}
			b = b[n:]
		}
	}
	return m.validClock() && m.parseOffset(b)
}

func (m *moment) parseOffset(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if len(b) > 1 && b[0] == ' ' {
		b = b[1:]
	}
	if len(b) == 1 && (b[0] == 'Z' || b[0] == 'z') {
		m.hasOffset = true
		return true
	}
	if b[0] != '+' && b[0] != '-' {
		return false
	}
	sign := int32(1)
	if b[0] == '-' {
		sign = -1
	}
	b = b[1:]
	if len(b) < 2 {
		return false
	}
	hours, ok := digits2(b)
	minutes := int32(0)
	if b = b[2:]; ok && len(b) > 0 {
		if b[0] == ':' {
			b = b[1:]
		}
		if len(b) != 2 {
			return false
		}
		minutes, ok = digits2(b)
	}
	if !ok || hours > 15 || minutes > 59 {
		return false
	}
	m.hasOffset = true
	m.offset = sign * (hours*3600 + minutes*60)
	return true
}

func (m *moment) validDay() bool {
	return m.month >= 1 && m.month <= 12 && m.day >= 1 && m.day <= daysIn(m.year, m.month)
}

func (m *moment) validClock() bool {
	if m.hour == 24 && m.min == 0 && m.sec == 0 && m.nanos == 0 {
		m.hour, m.nextDay = 0, true
	}
	return m.hour <= 23 && m.min <= 59 && m.sec <= 59
}

// days is the local day.
func (m *moment) days() int32 {
	d := daysOf(m.year, m.month, m.day)
	if m.nextDay {
		d++
	}
	return d
}

// seconds is the local time in seconds since 1970-01-01T00:00:00.
func (m *moment) seconds() int64 {
	return int64(m.days())*86400 + int64(m.hour)*3600 + int64(m.min)*60 + int64(m.sec)
}

// reader walks over the bytes of a text.
type reader struct{ b []byte }

func (r *reader) blank() {
	for len(r.b) > 0 && (r.b[0] == ' ' || r.b[0] == '\t') {
		r.b = r.b[1:]
	}
}

func (r *reader) take(text string) bool {
	if len(r.b) >= len(text) && string(r.b[:len(text)]) == text {
		r.b = r.b[len(text):]
		return true
	}
	return false
}

func (r *reader) takeAny(texts ...string) bool {
	for _, t := range texts {
		if r.take(t) {
			return true
		}
	}
	return false
}

// number reads lo to hi digits; it fails if more follow.
func (r *reader) number(lo, hi int) (int32, bool) {
	n, v := 0, int32(0)
	for n < len(r.b) && r.b[n]-'0' <= 9 {
		if n == hi {
			return 0, false
		}
		v = v*10 + int32(r.b[n]-'0')
		n++
	}
	if n < lo {
		return 0, false
	}
	r.b = r.b[n:]
	return v, true
}

var chineseDigits = [...]string{"", "一", "二", "三", "四", "五", "六", "七", "八", "九", "十", "十一", "十二"}

// small reads a number from 1 to limit in digits or Chinese numerals.
func (r *reader) small(limit int32) (int32, bool) {
	if v, ok := r.number(1, 2); ok {
		return v, v >= 1 && v <= limit
	}
	for i := min(limit, 12); i >= 1; i-- {
		if r.take(chineseDigits[i]) {
			return i, true
		}
	}
	return 0, false
}

func (r *reader) clock(m *moment) bool {
	r.take("T")
	r.blank()
	hour, ok := r.number(1, 2)
	if !ok {
		return false
	}
	m.grain, m.hour = grainTime, hour
	switch {
	case r.takeAny("时", "点"):
		r.blank()
		if len(r.b) == 0 {
			return m.validClock()
		}
		if r.take("整") {
			return len(r.b) == 0 && m.validClock()
		}
		if r.take("半") {
			m.min = 30
			return len(r.b) == 0 && m.validClock()
		}
		if m.min, ok = r.number(1, 2); !ok || !r.take("分") {
			return false
		}
		r.blank()
		if len(r.b) == 0 {
			return m.validClock()
		}
		if m.sec, ok = r.number(1, 2); !ok || !r.take("秒") {
			return false
		}
		return len(r.b) == 0 && m.validClock()
	case r.take(":"):
		if m.min, ok = r.number(1, 2); !ok {
			return false
		}
		if r.take(":") {
			if m.sec, ok = r.number(1, 2); !ok {
				return false
			}
			if r.take(".") {
				scale, n := int32(100_000_000), 0
				for n < len(r.b) && r.b[n]-'0' <= 9 {
					m.nanos += int32(r.b[n]-'0') * scale
					scale /= 10
					n++
				}
				if n == 0 || n > 9 {
					return false
				}
				r.b = r.b[n:]
			}
		}
		return m.validClock() && m.parseOffset(r.b)
	}
	return false
}

// parseMoment reads the forms in which departments write dates, times and periods (DOMAIN §7, GB/T 7408): ISO basic and
// extended, 2021/3/5, 2021.3.5, 2021年3月5日 8时30分, 2021年3月, 一季度, 上半年, 1-3月, 3月上旬, 2021Q1, 2021-W09. Text must be
// trimmed and folded. Years of two digits and forms that mix up day and month (3/5) are refused.
func parseMoment(b []byte) (m moment, ok bool) {
	if m, ok = parseISO(b); ok {
		return m, true
	}
	m = moment{}
	r := &reader{b: b}
	digits := 0
	for digits < len(b) && b[digits]-'0' <= 9 {
		digits++
	}
	if digits == len(b) {
		return parseCompact(b)
	}
	if digits == 8 && len(b) > 9 && (b[8] == 'T' || b[8] == ' ') { // 20210305T083000, 20210305 08:30
		if m, ok = parseCompact(b[:8]); !ok {
			return m, false
		}
		rest := b[9:]
		if len(rest) >= 4 && rest[2] != ':' && rest[1]-'0' <= 9 && rest[2]-'0' <= 9 {
			return m, m.parseBasicClock(rest)
		}
		r.b = rest
		return m, r.clock(&m)
	}
	if digits == 4 {
		m.year, _ = digits4(b)
		r.b = b[4:]
		r.blank()
		switch {
		case r.take("年"):
			r.blank()
			r.take("度")
			if len(r.b) == 0 || string(r.b) == "全年" {
				m.month, m.day, m.grain = 1, 1, grainYear
				return m, true
			}
			return m, r.part(&m)
		case r.take("-"), r.take("/"), r.take("."):
			separator := b[len(b)-len(r.b)-1]
			return m, r.separated(&m, separator)
		}
		return m, r.letters(&m)
	}
	return m, r.part(&m)
}

// parseBasicClock reads hhmm[ss] with a zone.
func (m *moment) parseBasicClock(b []byte) bool {
	m.grain = grainTime
	var ok1, ok2 bool
	m.hour, ok1 = digits2(b)
	m.min, ok2 = digits2(b[2:])
	if !ok1 || !ok2 {
		return false
	}
	b = b[4:]
	if len(b) >= 2 && b[0]-'0' <= 9 {
		if m.sec, ok1 = digits2(b); !ok1 {
			return false
		}
		b = b[2:]
	}
	return m.validClock() && m.parseOffset(b)
}

// parseCompact reads digits only: 2021, 202103, 20210305, and to hours, minutes or seconds.
func parseCompact(b []byte) (m moment, ok bool) {
	switch len(b) {
	case 4, 6, 8, 10, 12, 14:
	default:
		return m, false
	}
	var ok1 bool
	if m.year, ok1 = digits4(b); !ok1 {
		return m, false
	}
	m.month, m.day, m.grain = 1, 1, grainYear
	if len(b) == 4 {
		return m, true
	}
	m.month, ok1 = digits2(b[4:])
	m.grain = grainMonth
	if !ok1 || m.month < 1 || m.month > 12 {
		return m, false
	}
	if len(b) == 6 {
		// 210305 is the fifth of March with a year of two digits, not March of the year 2103.
		return m, m.year >= minYear && m.year < 2100
	}
	m.day, ok1 = digits2(b[6:])
	m.grain = grainDay
	if !ok1 || !m.validDay() {
		return m, false
	}
	if len(b) == 8 {
		return m, true
	}
	m.grain = grainTime
	if m.hour, ok1 = digits2(b[8:]); !ok1 {
		return m, false
	}
	if len(b) >= 12 {
		if m.min, ok1 = digits2(b[10:]); !ok1 {
			return m, false
		}
	}
	if len(b) == 14 {
		if m.sec, ok1 = digits2(b[12:]); !ok1 {
			return m, false
		}
	}
	return m, m.validClock()
}

// separated reads what follows a year and a separator: 3, 3-5, 3-5 08:30, Q1, W09-5.
func (r *reader) separated(m *moment, separator byte) bool {
	if len(r.b) == 0 {
		return false
	}
	if c := r.b[0]; c == 'Q' || c == 'q' || c == 'H' || c == 'h' || c == 'W' || c == 'w' {
		return r.letters(m)
	}
	var ok bool
	if m.month, ok = r.number(1, 2); !ok || m.month < 1 || m.month > 12 {
		return false
	}
	m.day, m.grain = 1, grainMonth
	if len(r.b) == 0 {
		return true
	}
	if r.b[0] != separator {
		return false
	}
	r.b = r.b[1:]
	if m.day, ok = r.number(1, 2); !ok || !m.validDay() {
		return false
	}
	m.grain = grainDay
	if len(r.b) == 0 {
		return true
	}
	if r.b[0] != 'T' && r.b[0] != ' ' {
		return false
	}
	r.blank()
	return r.clock(m)
}

// letters reads Q1, H1, W09 and W09-5 after a year.
func (r *reader) letters(m *moment) bool {
	switch {
	case r.takeAny("Q", "q"):
		v, ok := r.number(1, 1)
		if !ok || v < 1 || v > 4 || len(r.b) != 0 {
			return false
		}
		m.month, m.day, m.grain = v*3-2, 1, grainQuarter
		return true
	case r.takeAny("H", "h"):
		v, ok := r.number(1, 1)
		if !ok || v < 1 || v > 2 || len(r.b) != 0 {
			return false
		}
		m.month, m.day, m.grain = v*6-5, 1, grainHalf
		return true
	case r.takeAny("W", "w"):
		v, ok := r.number(2, 2)
		if !ok {
			return false
		}
		day := int32(1)
		g := grainWeek
		if r.take("-") {
			if day, ok = r.number(1, 1); !ok || day < 1 || day > 7 {
				return false
			}
			g = grainDay
		}
		return len(r.b) == 0 && m.week(v, day, g)
	}
	return false
}

// week sets the day of an ISO week: the first week has the year's first Thursday.
func (m *moment) week(week, day int32, g grain) bool {
	fourth := daysOf(m.year, 1, 4)
	monday := fourth - (fourth+3)%7
	if fourth < 0 {
		monday = fourth - ((fourth+3)%7+7)%7
	}
	days := monday + (week-1)*7 + day - 1
	// The week belongs to the year of its Thursday.
	if y, _, _ := civil(monday + (week-1)*7 + 3); week < 1 || y != m.year {
		return false
	}
	m.year, m.month, m.day = civil(days)
	m.grain = g
	return true
}

// part reads what stands after 年 or without any year: 3月5日, 3月, 1-3月, 三月上旬, 第一季度, 上半年, 第9周.
func (r *reader) part(m *moment) bool {
	if r.take("上半年") {
		m.month, m.day, m.grain = 1, 1, grainHalf
		return len(r.b) == 0
	}
	if r.take("下半年") {
		m.month, m.day, m.grain = 7, 1, grainHalf
		return len(r.b) == 0
	}
	ordinal := r.take("第")
	if r.takeAny("Q", "q") {
		v, ok := r.number(1, 1)
		if !ok || v < 1 || v > 4 || len(r.b) != 0 {
			return false
		}
		m.month, m.day, m.grain = v*3-2, 1, grainQuarter
		return true
	}
	first, ok := r.small(53)
	if !ok {
		return false
	}
	r.blank()
	if r.takeAny("季度", "季") {
		m.month, m.day, m.grain = first*3-2, 1, grainQuarter
		return first <= 4 && len(r.b) == 0
	}
	if ordinal {
		return m.year != 0 && r.take("周") && len(r.b) == 0 && m.week(first, 1, grainWeek)
	}
	if first > 12 {
		return false
	}
	m.month, m.day = first, 1
	named := r.takeAny("月份", "月")
	r.blank()
	if r.takeAny("-", "—", "–", "~", "～", "至", "到") {
		r.takeAny("—", "-")
		r.blank()
		last, ok := r.small(12)
		if !ok || !r.takeAny("月份", "月") || len(r.b) != 0 || last < first {
			return false
		}
		m.toMonth, m.grain = last, grainMonths
		return true
	}
	if !named {
		return false
	}
	m.grain = grainMonth
	if len(r.b) == 0 {
		return true
	}
	m.grain = grainXun
	switch string(r.b) {
	case "上旬":
		m.day = 1
		return true
	case "中旬":
		m.day = 11
		return true
	case "下旬":
		m.day = 21
		return true
	}
	if m.day, ok = r.number(1, 2); !ok || !r.takeAny("日", "号") {
		return false
	}
	m.grain = grainDay
	// Without a year the 29th of February is decided later, by the year that is found for it.
	if m.day < 1 || m.day > monthDays[m.month] && !(m.month == 2 && m.day == 29) {
		return false
	}
	if m.year != 0 && !m.validDay() {
		return false
	}
	r.blank()
	if len(r.b) == 0 {
		return true
	}
	return r.clock(m)
}

// layout is a compiled date layout: YYYY, M, MM, D, DD, H, HH, m, mm, s, ss, SSS and Z stand for parts, everything else for itself.
type layout struct {
	tokens []layoutToken
	serial serialSystem
}

type layoutToken struct {
	part    byte // 'Y' 'M' 'D' 'H' 'm' 's' 'S' 'Z', or 0 for a literal
	width   int  // digits: 1 means one or two, otherwise exactly so many
	literal string
}

// serialSystem is a way of counting days or seconds as one number.
type serialSystem uint8

const (
	serialNone serialSystem = iota
	serialExcel
	serialExcel1904
	serialUnix
	serialUnixMilli
)

// compileLayout compiles a layout; problem is "" when it is good.
func compileLayout(text string) (l layout, problem string) {
	switch text {
	case "excel":
		return layout{serial: serialExcel}, ""
	case "excel1904":
		return layout{serial: serialExcel1904}, ""
	case "unix":
		return layout{serial: serialUnix}, ""
	case "unix_ms":
		return layout{serial: serialUnixMilli}, ""
	}
	folded := foldWidth([]byte(text))
	seen := map[byte]bool{}
	for i := 0; i < len(folded); {
		c := folded[i]
		n := 1
		for i+n < len(folded) && folded[i+n] == c {
			n++
		}
		bad := false
		switch c {
		case 'Y':
			bad = n != 4
		case 'M', 'D', 'H', 'm', 's':
			bad = n > 2
		case 'S':
			bad = n > 9
		case 'Z':
			bad = n != 1
		default:
			_, size := utf8.DecodeRune(folded[i:])
			l.tokens = append(l.tokens, layoutToken{literal: string(folded[i : i+size])})
			i += size
			continue
		}
		if bad {
			if c == 'Y' {
				return l, "the year must be written YYYY; years of two digits are ambiguous"
			}
			return l, "the part " + string(folded[i:i+n]) + " is not known"
		}
		if seen[c] {
			return l, "the part " + string(c) + " stands twice"
		}
		seen[c] = true
		l.tokens = append(l.tokens, layoutToken{part: c, width: n})
		i += n
	}
	if !seen['M'] && !seen['Y'] || seen['D'] && !seen['M'] || (seen['H'] || seen['m']) && !seen['D'] || seen['m'] && !seen['H'] || seen['s'] && !seen['m'] {
		return l, "it must name year, month, day, hour, minute and second in full down to the finest"
	}
	return l, ""
}

// parse reads trimmed and folded text by the layout.
func (l *layout) parse(b []byte) (m moment, ok bool) {
	if l.serial != serialNone {
		return parseSerial(b, l.serial)
	}
	r := reader{b: b}
	m.month, m.day = 1, 1
	for _, t := range l.tokens {
		lo, hi := t.width, t.width
		if t.width == 1 {
			hi = 2
		}
		switch t.part {
		case 0:
			ok = r.take(t.literal)
		case 'Y':
			m.year, ok = r.exactly(4, 4)
			m.grain = max(m.grain, 1)
		case 'M':
			m.month, ok = r.exactly(lo, hi)
		case 'D':
			m.day, ok = r.exactly(lo, hi)
		case 'H':
			m.hour, ok = r.exactly(lo, hi)
		case 'm':
			m.min, ok = r.exactly(lo, hi)
		case 's':
			m.sec, ok = r.exactly(lo, hi)
		case 'S':
			m.nanos, ok = r.exactly(t.width, t.width)
			for i := t.width; ok && i < 9; i++ {
				m.nanos *= 10
			}
		case 'Z':
			ok = len(r.b) > 0 && m.parseOffset(r.b)
			r.b = nil
		}
		if !ok {
			return moment{}, false
		}
	}
	if len(r.b) != 0 {
		return moment{}, false
	}
	m.grain = l.grain()
	if m.year == 0 && m.month == 2 && m.day == 29 {
		return m, m.validClock()
	}
	return m, m.validDay() && m.validClock()
}

func (l *layout) grain() grain {
	g := grainYear
	for _, t := range l.tokens {
		switch t.part {
		case 'M':
			g = min(g, grainMonth)
		case 'D':
			g = min(g, grainDay)
		case 'H':
			g = min(g, grainTime)
		}
	}
	return g
}

// exactly reads at least lo and at most hi digits and leaves further ones alone: YYYYMMDD has no separators.
func (r *reader) exactly(lo, hi int) (int32, bool) {
	n, v := 0, int32(0)
	for n < hi && n < len(r.b) && r.b[n]-'0' <= 9 {
		v = v*10 + int32(r.b[n]-'0')
		n++
	}
	r.b = r.b[n:]
	return v, n >= lo
}

// parseSerial reads a plain number as a count of days or seconds.
func parseSerial(b []byte, system serialSystem) (m moment, ok bool) {
	n, rest, ok := scanNumber(b, false)
	if !ok || len(rest) != 0 || n.neg {
		return m, false
	}
	switch system {
	case serialUnix:
		n.exp += 3
	case serialExcel, serialExcel1904:
		// Seven digits after the point are what a spreadsheet keeps of a time; to the nearest millisecond.
		f, ok := n.float64()
		if !ok || f >= 200_000 {
			return m, false
		}
		day := math.Floor(f)
		millis := int64(math.Round((f - day) * 86_400_000))
		days := int32(day)
		switch {
		case system == serialExcel1904:
			days += daysOf(1904, 1, 1)
		case days == 60:
			return m, false // 1900-02-29, a day that only spreadsheets know
		case days < 60:
			days += daysOf(1899, 12, 31)
		default:
			days += daysOf(1899, 12, 30)
		}
		m = momentOf(int64(days)*86_400_000 + millis)
		if millis == 0 {
			m.grain = grainDay
		}
		return m, true
	}
	// Fractions of a millisecond are cut.
	for n.exp < 0 && !n.isZero() {
		n, _ = n.divTen()
	}
	millis, fault := n.int64()
	if fault != castFits || millis > 1e14 {
		return m, false
	}
	m = momentOf(millis)
	m.hasOffset = true
	return m, true
}

// momentOf is the UTC date and time of milliseconds since 1970.
func momentOf(millis int64) moment {
	days := millis / 86_400_000
	rest := millis % 86_400_000
	if rest < 0 {
		days--
		rest += 86_400_000
	}
	m := moment{grain: grainTime}
	m.year, m.month, m.day = civil(int32(days))
	m.hour = int32(rest / 3_600_000)
	m.min = int32(rest / 60_000 % 60)
	m.sec = int32(rest / 1000 % 60)
	m.nanos = int32(rest%1000) * 1_000_000
	return m
}

// zoneClock turns local times of a zone into UTC and back. It remembers the last stretch without a change of the clock, so
// that a column costs two comparisons a row. It is not safe for use from several goroutines.
type zoneClock struct {
	zone           *time.Location
	lo, hi         int64 // UTC seconds within which offset holds
	offset         int64
	safeLo, safeHi int64 // local seconds that are within for certain
}

// utc is the UTC second of a local second. A local time that a change of the clock skipped or repeated is read as time.Date
// reads it.
func (z *zoneClock) utc(local int64) int64 {
	if local >= z.safeLo && local < z.safeHi {
		return local - z.offset
	}
	days := local / 86400
	rest := local % 86400
	if rest < 0 {
		days--
		rest += 86400
	}
	year, month, day := civil(int32(days))
	t := time.Date(int(year), time.Month(month), int(day), 0, 0, int(rest), 0, z.zone)
	z.remember(t)
	return t.Unix()
}

// local is the local second of a UTC second.
func (z *zoneClock) local(utc int64) int64 {
	if utc >= z.lo && utc < z.hi {
		return utc + z.offset
	}
	t := time.Unix(utc, 0).In(z.zone)
	z.remember(t)
	_, offset := t.Zone()
	return utc + int64(offset)
}

func (z *zoneClock) remember(t time.Time) {
	start, end := t.ZoneBounds()
	_, offset := t.Zone()
	z.offset = int64(offset)
	z.lo, z.hi = math.MinInt64/2, math.MaxInt64/2
	if !start.IsZero() {
		z.lo = start.Unix()
	}
	if !end.IsZero() {
		z.hi = end.Unix()
	}
	// A day on each side covers every change that zones have had.
	z.safeLo, z.safeHi = z.lo+z.offset+86400, z.hi+z.offset-86400
}

// purpose is what a text about time is read for.
type purpose uint8

const (
	purposeCanonical purpose = iota // ISO only
	purposeDate
	purposeDatetime
	purposeMonth
	purposePeriod
)

// read parses trimmed text for a purpose. problem is "" when it went well, otherwise it completes a sentence that begins
// with the quoted value. A moment without a year comes back with year 0.
func (p purpose) read(b []byte, layouts []layout) (m moment, problem string) {
	var ok bool
	if m, ok = parseISO(b); ok && len(layouts) == 0 {
		return p.settle(m, b)
	}
	if len(layouts) > 0 {
		folded := foldWidth(b)
		for i := range layouts {
			if m, ok = layouts[i].parse(folded); ok {
				return p.settle(m, b)
			}
		}
		if p == purposeCanonical {
			if m, ok = parseISO(b); ok {
				return p.settle(m, b)
			}
			return m, "does not fit the declared layouts"
		}
	}
	if p == purposeCanonical {
		return m, "is not a date of the form 2021-03-05 or 2021-03-05T08:30:00; declare parse for other forms"
	}
	folded := foldWidth(b)
	if m, ok = parseMoment(folded); ok {
		return p.settle(m, b)
	}
	if western := westernDate(folded); western != nil {
		if m, ok = parseMoment(western); ok {
			return p.settle(m, b)
		}
	}
	return m, p.unread(b)
}

func (p purpose) unread(b []byte) string {
	if n, rest, ok := scanNumber(b, false); ok && len(rest) == 0 && n.hi == 0 {
		if v, _ := n.float64(); v >= 1 && v < 80_000 {
			return "is a number, not a date; declare layout: [excel] if it is a spreadsheet's day number"
		}
	}
	switch p {
	case purposePeriod:
		return "is not a period such as 2021年3月, 2021Q1 or 2021年1-3月"
	case purposeMonth:
		return "is not a month such as 2021年3月 or 2021-03"
	}
	return "is not a date such as 2021年3月5日 or 2021-03-05"
}

// settle checks that the text names enough for the purpose.
func (p purpose) settle(m moment, b []byte) (moment, string) {
	switch p {
	case purposeMonth:
		switch m.grain {
		case grainTime, grainDay, grainMonth:
			if m.hasOffset {
				return m, "" // the month is that of the local day, which needs the zone
			}
			m = m.startOfDay()
			m.day, m.grain = 1, grainMonth
		default:
			return m, "names no month"
		}
	case purposePeriod:
	default:
		if m.grain != grainDay && m.grain != grainTime {
			return m, "names no day"
		}
	}
	return m, ""
}

func (m moment) startOfDay() moment {
	if m.nextDay {
		m.year, m.month, m.day = civil(m.days())
		m.nextDay = false
	}
	m.hour, m.min, m.sec, m.nanos = 0, 0, 0, 0
	if m.grain == grainTime {
		m.grain = grainDay
	}
	return m
}

// periodStart is the first day of the period that m names, for a record of the given grain; grainNone when that is not known.
// Text that is finer than the grain names the period it falls in; text that is coarser names none. A range of months from
// January on counts as the last period in it: departments write cumulative figures so (DOMAIN §3.3, 累计).
func (m moment) periodStart(want recordGrain) (moment, string) {
	if m.grain == grainMonths {
		first, last := m.month, m.toMonth
		length := last - first + 1
		months := want.months()
		switch {
		case months == 0 && want != recordGrainUnknown:
			return m, "names months, not a " + want.String()
		case want == recordGrainUnknown && (length == 1 || length == 3 || length == 6 || length == 12) && (first-1)%length == 0:
			m.grain = map[int32]grain{1: grainMonth, 3: grainQuarter, 6: grainHalf, 12: grainYear}[length]
		case want == recordGrainUnknown:
			return m, "is no month, quarter, half or whole year"
		case length == months && (first-1)%months == 0:
		case first == 1 && last%months == 0:
			m.month = last - months + 1
		default:
			return m, "does not end with a " + want.String()
		}
		m.toMonth = 0
		m.grain = grainMonth
		if want == recordGrainUnknown {
			return m, ""
		}
	} else if m.grain.coarserThan(want) {
		return m, "does not say which " + want.String() + " is meant"
	}
	switch want {
	case recordGrainUnknown, recordGrainHour:
		if want == recordGrainHour {
			m.min, m.sec, m.nanos = 0, 0, 0
		}
		return m, ""
	}
	m = m.startOfDay()
	switch want {
	case recordGrainDay:
	case recordGrainWeek:
		days := m.days()
		year, month, day := civil(days - ((days+3)%7+7)%7)
		m.year, m.month, m.day = year, month, day
	case recordGrainXun:
		m.day = min((m.day-1)/10*10+1, 21)
	case recordGrainMonth, recordGrainQuarter, recordGrainHalf, recordGrainYear:
		n := want.months()
		m.month, m.day = (m.month-1)/n*n+1, 1
	}
	return m, ""
}

// recordGrain is a code of the list grain.
type recordGrain uint8

const (
	recordGrainUnknown recordGrain = iota
	recordGrainHour
	recordGrainDay
	recordGrainWeek
	recordGrainXun
	recordGrainMonth
	recordGrainQuarter
	recordGrainHalf
	recordGrainYear
)

var recordGrains = [...]string{"", "hour", "day", "week", "xun", "month", "quarter", "half", "year"}

func (g recordGrain) String() string { return recordGrains[g] }

func parseRecordGrain(code string) recordGrain {
	for i, name := range recordGrains {
		if i > 0 && name == code {
			return recordGrain(i)
		}
	}
	return recordGrainUnknown
}

// months is the length of the grain in months; 0 for grains within a month.
func (g recordGrain) months() int32 {
	switch g {
	case recordGrainMonth:
		return 1
	case recordGrainQuarter:
		return 3
	case recordGrainHalf:
		return 6
	case recordGrainYear:
		return 12
	}
	return 0
}

// coarserThan reports whether text of grain g leaves open which period of grain want is meant. A week and a third of a month
// do not nest in each other; a week lies in the month of its Monday.
func (g grain) coarserThan(want recordGrain) bool {
	var finest recordGrain
	switch g {
	case grainTime:
		finest = recordGrainHour
	case grainDay:
		finest = recordGrainDay
	case grainWeek:
		finest = recordGrainWeek
		if want == recordGrainXun {
			return true
		}
	case grainXun:
		finest = recordGrainXun
	case grainMonth:
		finest = recordGrainMonth
	case grainQuarter:
		finest = recordGrainQuarter
	case grainHalf:
		finest = recordGrainHalf
	case grainYear:
		finest = recordGrainYear
	}
	return want != recordGrainUnknown && finest > want
}
