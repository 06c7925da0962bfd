package file

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// dateKind is what a number format shows of a serial number.
type dateKind int

const (
	noDate dateKind = iota
	dateOnly
	timeOnly
	dateAndTime
)

// builtinDate returns the kind of the number formats that a workbook does not spell out. 27 to 36 and 50 to 58 are dates
// and times in the Chinese, Japanese and Korean editions and nothing in others.
func builtinDate(id int) dateKind {
	switch {
	case id >= 14 && id <= 17, id >= 27 && id <= 31, id == 36, id >= 50 && id <= 54, id == 57, id == 58:
		return dateOnly
	case id >= 18 && id <= 21, id >= 32 && id <= 35, id == 45, id == 47, id == 55, id == 56:
		return timeOnly
	case id == 22:
		return dateAndTime
	}
	return noDate // 46 is [h]:mm:ss: a duration, not a time
}

// formatDate returns what a number format shows, by its first section. A format with an elapsed time ([h]:mm) is a number.
func formatDate(format string) dateKind {
	var date, clock, month bool
	lower := strings.ToLower(format)
	for i := 0; i < len(format); i++ {
		switch lower[i] {
		case ';': // the sections for negative numbers, zero and text
			i = len(format)
		case '"':
			end := strings.IndexByte(format[i+1:], '"')
			if end < 0 {
				end = len(format)
			}
			i += end + 1
		case '\\', '_', '*':
			i++ // the next character stands for itself, or for a width
		case '[':
			end := strings.IndexByte(format[i:], ']')
			if end < 0 {
				return noDate
			}
			if inner := lower[i+1 : i+end]; inner != "" && strings.Trim(inner, "hms") == "" {
				return noDate
			}
			i += end
		case 'g':
			if strings.HasPrefix(lower[i:], "general") {
				i += len("general") - 1
			}
		case 'e':
			if i+1 < len(format) && (format[i+1] == '+' || format[i+1] == '-') {
				return noDate // 0.00E+00
			}
			date = true
		case 'a':
			switch rest := lower[i:]; {
			case strings.HasPrefix(rest, "am/pm"):
				clock = true
				i += len("am/pm") - 1
			case strings.HasPrefix(rest, "a/p"):
				clock = true
				i += len("a/p") - 1
			case strings.HasPrefix(rest, "aaa"):
				date = true // day of the week
			}
		case 'y', 'd':
			date = true
		case 'h', 's':
			clock = true
		case 'm':
			month = true
		}
	}
	switch {
	case date && clock:
		return dateAndTime
	case clock:
		return timeOnly
	case date || month:
		return dateOnly
	}
	return noDate
}

// maxSerial is 9999-12-31.
const maxSerial = 2958466

// serialText writes a serial number as ISO text, to the millisecond. Days that do not exist are refused: the day 0, and the
// 29 February 1900 of the 1900 system.
func serialText(number string, kind dateKind, system1904 bool) (string, error) {
	serial, err := strconv.ParseFloat(number, 64)
	if err != nil || math.IsNaN(serial) {
		return "", fmt.Errorf("a date cell holds %q, which is no number", number)
	}
	if serial < 0 || serial >= maxSerial {
		return "", fmt.Errorf("a date cell holds %s, which is no date between 1900 and 9999", number)
	}
	const dayMillis = 24 * 60 * 60 * 1000
	millis := int64(math.Round(serial * dayMillis))
	day, ofDay := millis/dayMillis, millis%dayMillis
	clock := time.UnixMilli(ofDay).UTC().Format("15:04:05.000")
	clock = strings.TrimSuffix(clock, ".000")
	if day == 0 && kind == timeOnly {
		return clock, nil
	}
	base := time.Date(1899, 12, 30, 0, 0, 0, 0, time.UTC)
	switch {
	case system1904:
		base = time.Date(1904, 1, 1, 0, 0, 0, 0, time.UTC)
	case day == 0:
		return "", fmt.Errorf("a date cell holds %s, which would be 0 January 1900", number)
	case day == 60:
		return "", fmt.Errorf("a date cell holds %s, which would be 29 February 1900: there was none", number)
	case day < 60:
		base = base.AddDate(0, 0, 1)
	}
	text := base.AddDate(0, 0, int(day)).Format("2006-01-02")
	if ofDay != 0 || kind != dateOnly {
		text += "T" + clock
	}
	return text, nil
}
