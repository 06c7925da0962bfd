package sql

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// walReader takes a message of the log apart. The first error stays, and everything read after it is empty.
type walReader struct {
	rest []byte
	err  error
}

func (m *walReader) fail(format string, args ...any) {
	if m.err == nil {
		m.err = fmt.Errorf(format, args...)
	}
	m.rest = nil
}

func (m *walReader) bytes(n int) []byte {
	if n < 0 || n > len(m.rest) {
		m.fail("it ends too early")
		return nil
	}
	out := m.rest[:n:n]
	m.rest = m.rest[n:]
	return out
}

func (m *walReader) byte() byte {
	if b := m.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (m *walReader) uint16() uint16 {
	if b := m.bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (m *walReader) uint32() uint32 {
	if b := m.bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (m *walReader) uint64() uint64 {
	if b := m.bytes(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (m *walReader) text() string {
	at := bytes.IndexByte(m.rest, 0)
	if at < 0 {
		m.fail("a text without an end")
		return ""
	}
	text := string(m.rest[:at])
	m.rest = m.rest[at+1:]
	return text
}

// rawOf returns what makes of a value's text, as the log has it, the form in which the same type arrives when a table is read: from there
// on both go the same way. The result is appended to to.
func rawOf(oid uint32) func(text, to []byte) ([]byte, error) {
	integer := func(bits int) func(text, to []byte) ([]byte, error) {
		return func(text, to []byte) ([]byte, error) {
			n, err := strconv.ParseInt(string(text), 10, bits)
			switch bits {
			case 16:
				return binary.BigEndian.AppendUint16(to, uint16(n)), err
			case 32:
				return binary.BigEndian.AppendUint32(to, uint32(n)), err
			}
			return binary.BigEndian.AppendUint64(to, uint64(n)), err
		}
	}
	switch oid {
	case pgtype.BoolOID:
		return func(text, to []byte) ([]byte, error) {
			switch string(text) {
			case "t":
				return append(to, 1), nil
			case "f":
				return append(to, 0), nil
			}
			return to, fmt.Errorf("%q is no boolean", text)
		}
	case pgtype.Int2OID:
		return integer(16)
	case pgtype.Int4OID:
		return integer(32)
	case pgtype.Int8OID:
		return integer(64)
	case pgtype.OIDOID:
		return func(text, to []byte) ([]byte, error) {
			n, err := strconv.ParseUint(string(text), 10, 32)
			return binary.BigEndian.AppendUint32(to, uint32(n)), err
		}
	case pgtype.Float4OID:
		return func(text, to []byte) ([]byte, error) {
			n, err := strconv.ParseFloat(string(text), 32)
			return binary.BigEndian.AppendUint32(to, math.Float32bits(float32(n))), err
		}
	case pgtype.Float8OID:
		return func(text, to []byte) ([]byte, error) {
			n, err := strconv.ParseFloat(string(text), 64)
			return binary.BigEndian.AppendUint64(to, math.Float64bits(n)), err
		}
	case pgtype.ByteaOID:
		return func(text, to []byte) ([]byte, error) {
			digits, ok := bytes.CutPrefix(text, []byte(`\x`))
			if !ok {
				return to, errors.New("bytes that are not in hexadecimal digits")
			}
			return hex.AppendDecode(to, digits)
		}
	case pgtype.UUIDOID:
		return func(text, to []byte) ([]byte, error) {
			return hex.AppendDecode(to, bytes.ReplaceAll(text, []byte("-"), nil))
		}
	case pgtype.DateOID:
		return func(text, to []byte) ([]byte, error) {
			switch string(text) {
			case "infinity":
				return binary.BigEndian.AppendUint32(to, math.MaxInt32), nil
			case "-infinity":
				return binary.BigEndian.AppendUint32(to, 1<<31), nil
			}
			t, err := momentOf(string(text), "2006-01-02")
			return binary.BigEndian.AppendUint32(to, uint32(int32(t.Unix()/86_400-epochDays))), err
		}
	case pgtype.TimestampOID, pgtype.TimestamptzOID:
		layout := "2006-01-02 15:04:05"
		if oid == pgtype.TimestamptzOID {
			layout += "-07" // the session's zone is UTC
		}
		return func(text, to []byte) ([]byte, error) {
			switch string(text) {
			case "infinity":
				return binary.BigEndian.AppendUint64(to, math.MaxInt64), nil
			case "-infinity":
				return binary.BigEndian.AppendUint64(to, 1<<63), nil
			}
			t, err := momentOf(string(text), layout)
			return binary.BigEndian.AppendUint64(to, uint64(t.UnixMicro()-epochMicros)), err
		}
	case pgtype.TimeOID:
		return func(text, to []byte) ([]byte, error) {
			if string(text) == "24:00:00" {
				return binary.BigEndian.AppendUint64(to, 86_400_000_000), nil
			}
			t, err := time.Parse("15:04:05", string(text))
			return binary.BigEndian.AppendUint64(to, uint64(t.Sub(t.Truncate(24*time.Hour)).Microseconds())), err
		}
	case pgtype.NumericOID:
		return appendNumeric
	}
	// What is read as text when the table is read is the same text here: json, enums, intervals, addresses …
	return func(text, to []byte) ([]byte, error) { return append(to, text...), nil }
}

// momentOf reads a date or time as PostgreSQL writes it. Years may have more than four digits, and an era.
func momentOf(text, layout string) (time.Time, error) {
	rest, before := strings.CutSuffix(text, " BC")
	digits, rest, ok := strings.Cut(rest, "-")
	year, err := strconv.Atoi(digits)
	if !ok || err != nil {
		return time.Time{}, fmt.Errorf("%q is no date", text)
	}
	if before {
		year = 1 - year
	}
	// The day is looked at in a year that has every day, and put into its own.
	t, err := time.Parse(layout, "2000-"+rest)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is no date or time", text)
	}
	t = t.UTC()
	return time.Date(year+t.Year()-2000, t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC), nil
}

// appendNumeric writes a numeric as PostgreSQL sends it: digits of base 10000, with the number of decimal places that were written.
func appendNumeric(text, to []byte) ([]byte, error) {
	header := func(digits int, weight int, sign, scale uint16) {
		to = binary.BigEndian.AppendUint16(to, uint16(digits))
		to = binary.BigEndian.AppendUint16(to, uint16(int16(weight)))
		to = binary.BigEndian.AppendUint16(to, sign)
		to = binary.BigEndian.AppendUint16(to, scale)
	}
	switch string(text) {
	case "NaN":
		header(0, 0, 0xc000, 0)
		return to, nil
	case "Infinity":
		header(0, 0, 0xd000, 0)
		return to, nil
	case "-Infinity":
		header(0, 0, 0xf000, 0)
		return to, nil
	}
	sign := uint16(0)
	number, negative := bytes.CutPrefix(text, []byte("-"))
	if negative {
		sign = 0x4000
	}
	whole, fraction, _ := bytes.Cut(number, []byte("."))
	if len(whole) == 0 {
		return to, fmt.Errorf("%q is no number", text)
	}
	for _, part := range [][]byte{whole, fraction} {
		for _, c := range part {
			if c < '0' || c > '9' {
				return to, fmt.Errorf("%q is no number", text)
			}
		}
	}
	// The digit at place i, counted from the point: 0 is the first before it, -1 the first behind it.
	digit := func(i int) int {
		switch {
		case i >= 0 && i < len(whole):
			return int(whole[len(whole)-1-i] - '0')
		case i < 0 && -i <= len(fraction):
			return int(fraction[-i-1] - '0')
		}
		return 0
	}
	group := func(g int) int { return ((digit(4*g+3)*10+digit(4*g+2))*10+digit(4*g+1))*10 + digit(4*g) }
	first, last := (len(whole)+3)/4-1, -(len(fraction)+3)/4
	for first >= last && group(first) == 0 {
		first--
	}
	for last <= first && group(last) == 0 {
		last++
	}
	n := first - last + 1
	if n <= 0 {
		header(0, 0, 0, uint16(len(fraction)))
		return to, nil
	}
	header(n, first, sign, uint16(len(fraction)))
	for g := first; g >= last; g-- {
		to = binary.BigEndian.AppendUint16(to, uint16(group(g)))
	}
	return to, nil
}
