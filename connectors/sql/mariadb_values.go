package sql

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// mariadbColumn is how a column's values are read from the texts that the server writes. They stand until the next row.
type mariadbColumn struct {
	field
	putText func(text []byte, to array.Builder) error
	textOf  func(text []byte) string // for a cursor
	charset string                   // of the table's column, by the catalogue; "" where that is not known, or there is none
}

// column is for a type of the catalogue: base is its name, declared all that is said of it.
func (d *mariadbDialect) column(base, declared string, precision, scale int64) mariadbColumn {
	c := mariadbColumn{field: field{declared: declared, ordered: true}, textOf: func(text []byte) string { return string(text) }}
	is := func(typ arrow.DataType, kind byte, put func([]byte, array.Builder) error) mariadbColumn {
		c.typ, c.kind, c.putText = typ, kind, put
		return c
	}
	unsigned := strings.Contains(declared, "unsigned")
	whole := func(signed, without arrow.DataType, put, putUnsigned func([]byte, array.Builder) error) mariadbColumn {
		if unsigned {
			return is(without, kindUint, putUnsigned)
		}
		return is(signed, kindInt, put)
	}
	switch base {
	case "tinyint":
		return whole(arrow.PrimitiveTypes.Int8, arrow.PrimitiveTypes.Uint8, putSigned[int8, *array.Int8Builder], putUnsigned[uint8, *array.Uint8Builder])
	case "smallint":
		return whole(arrow.PrimitiveTypes.Int16, arrow.PrimitiveTypes.Uint16, putSigned[int16, *array.Int16Builder], putUnsigned[uint16, *array.Uint16Builder])
	case "mediumint", "int":
		return whole(arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Uint32, putSigned[int32, *array.Int32Builder], putUnsigned[uint32, *array.Uint32Builder])
	case "bigint":
		return whole(arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Uint64, putSigned[int64, *array.Int64Builder], putUnsigned[uint64, *array.Uint64Builder])
	case "year":
		// As a text of four digits where it is compared: the number 0 would be the year 2000.
		c.textOf = func(text []byte) string { return fmt.Sprintf("%04s", text) }
		return is(arrow.PrimitiveTypes.Int16, kindText, putSigned[int16, *array.Int16Builder])
	case "bit":
		c.textOf = func(text []byte) string { return strconv.FormatUint(bits(text), 10) }
		return is(arrow.PrimitiveTypes.Uint64, kindUint, func(text []byte, to array.Builder) error {
			to.(*array.Uint64Builder).Append(bits(text))
			return nil
		})
	case "decimal":
		if precision < 1 || precision > 76 || scale < 0 || scale > precision {
			return is(arrow.BinaryTypes.String, kindDecimal, putUTF8)
		}
		return is(decimalType(int32(precision), int32(scale)), kindDecimal, func(text []byte, to array.Builder) error {
			return putDecimalText(text, int(scale), to)
		})
	case "float":
		c.ordered = false
		return is(arrow.PrimitiveTypes.Float32, kindFloat, putFloatText)
	case "double":
		c.ordered = false
		return is(arrow.PrimitiveTypes.Float64, kindFloat, putFloatText)
	case "date":
		return is(arrow.FixedWidthTypes.Date32, kindTime, d.putDate)
	case "datetime":
		return is(&arrow.TimestampType{Unit: arrow.Microsecond}, kindTime, d.putTimestamp)
	case "timestamp": // the session's zone is UTC
		return is(arrow.FixedWidthTypes.Timestamp_us, kindTime, d.putTimestamp)
	case "time":
		return is(arrow.FixedWidthTypes.Time64us, kindTime, putTime)
	case "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "geometrycollection", "geomcollection", "vector":
		c.ordered = strings.HasSuffix(base, "binary")
		return is(arrow.BinaryTypes.Binary, kindBytes, putBytes)
	case "enum", "set", "json":
		// The first two are sorted by their place in the list and compared by their text.
		c.ordered = false
	}
	return is(arrow.BinaryTypes.String, kindText, putUTF8)
}

// numberText writes a number of the binlog's.
func numberText(v driver.Value) string {
	switch v := v.(type) {
	case int64:
		return strconv.FormatInt(v, 10)
	case uint64:
		return strconv.FormatUint(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case float32:
		return strconv.FormatFloat(float64(v), 'g', -1, 32)
	}
	return fmt.Sprint(v)
}

func bits(text []byte) (n uint64) {
	for _, b := range text {
		n = n<<8 | uint64(b)
	}
	return n
}

// putSigned appends a whole number. The database holds a column's values to its range.
func putSigned[T int8 | int16 | int32 | int64, B interface{ Append(T) }](text []byte, to array.Builder) error {
	digits := text
	if len(text) > 0 && text[0] == '-' {
		digits = text[1:]
	}
	u, ok := fixedDigits(digits)
	if !ok || len(digits) > 18 {
		n, err := strconv.ParseInt(string(text), 10, 64)
		if err != nil {
			return fmt.Errorf("the value %.40s is not a whole number", text)
		}
		to.(B).Append(T(n))
		return nil
	}
	if len(digits) < len(text) {
		u = -u
	}
	to.(B).Append(T(u))
	return nil
}

// putUnsigned does the same where there is no sign.
func putUnsigned[T uint8 | uint16 | uint32 | uint64, B interface{ Append(T) }](text []byte, to array.Builder) error {
	u, ok := fixedDigits(text)
	if !ok || len(text) > 18 {
		n, err := strconv.ParseUint(string(text), 10, 64)
		if err != nil {
			return fmt.Errorf("the value %.40s is not a whole number", text)
		}
		to.(B).Append(T(n))
		return nil
	}
	to.(B).Append(T(u))
	return nil
}

// putNumber appends a number of the binlog's. The database holds a column's values to its range.
func putNumber(v driver.Value, to array.Builder) error {
	var n int64
	var u uint64
	switch v := v.(type) {
	case int64:
		n, u = v, uint64(v)
	case uint64:
		n, u = int64(v), v
	case float64:
		return putFloat(v, to)
	case float32:
		return putFloat(float64(v), to)
	default:
		return fmt.Errorf("the value %.40s is not a number", numberText(v))
	}
	switch to := to.(type) {
	case *array.Int8Builder:
		to.Append(int8(n))
	case *array.Int16Builder:
		to.Append(int16(n))
	case *array.Int32Builder:
		to.Append(int32(n))
	case *array.Int64Builder:
		to.Append(n)
	case *array.Uint8Builder:
		to.Append(uint8(u))
	case *array.Uint16Builder:
		to.Append(uint16(u))
	case *array.Uint32Builder:
		to.Append(uint32(u))
	case *array.Uint64Builder:
		to.Append(u)
	case *array.StringBuilder:
		to.Append(numberText(v))
	default:
		return fmt.Errorf("a whole number for a column of %s", to.Type())
	}
	return nil
}

func putFloat(f float64, to array.Builder) error {
	switch to := to.(type) {
	case *array.Float32Builder:
		to.Append(float32(f))
	case *array.Float64Builder:
		to.Append(f)
	default:
		return fmt.Errorf("a float for a column of %s", to.Type())
	}
	return nil
}

func putFloatText(text []byte, to array.Builder) error {
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return fmt.Errorf("the value %.40s is not a float", text)
	}
	return putFloat(f, to)
}

var errUTF8 = errors.New("the text is not valid in the character set that the column is declared in")

func putUTF8(text []byte, to array.Builder) error {
	if !utf8.Valid(text) {
		return errUTF8
	}
	to.(*array.StringBuilder).BinaryBuilder.Append(text)
	return nil
}

func putBytes(text []byte, to array.Builder) error {
	to.(*array.BinaryBuilder).Append(text)
	return nil
}

// putDecimalText appends a decimal that is written in digits.
func putDecimalText(text []byte, scale int, to array.Builder) error {
	small := len(text)+scale <= 18 // so that a number holds it
	var n int64
	var digits []byte
	if !small {
		digits = make([]byte, 0, 80)
	}
	places, point, seen := 0, false, false
	for i, c := range text {
		switch {
		case c >= '0' && c <= '9':
			if seen = true; point {
				if places++; places > scale {
					if c != '0' {
						return fmt.Errorf("the value %.80s has more than %d digits after the point", text, scale)
					}
					continue
				}
			}
			if small {
				n = 10*n + int64(c-'0')
			} else {
				digits = append(digits, c)
			}
		case c == '.' && !point:
			point = true
		case c == '-' && i == 0:
			if !small {
				digits = append(digits, c)
			}
		default:
			return fmt.Errorf("the value %.80s is not a decimal", text)
		}
	}
	if !seen {
		return fmt.Errorf("the value %.80s is not a decimal", text)
	}
	for ; places < scale; places++ {
		if n *= 10; !small {
			digits = append(digits, '0')
		}
	}
	if small {
		if text[0] == '-' {
			n = -n
		}
		return appendSmallDecimal(to, n)
	}
	wide, ok := new(big.Int).SetString(string(digits), 10)
	if !ok {
		return fmt.Errorf("the value %.80s is not a decimal", text)
	}
	return appendDecimal(to, wide)
}

// fixedDigits reads a fixed number of digits.
func fixedDigits(text []byte) (n int64, ok bool) {
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, len(text) > 0
}

var errZeroDate = errors.New("the date is 0000-00-00, which is none: set config.zero_dates to null to make it null")

// civilDays counts days since 1970 of a date in the Gregorian calendar, which both servers use for all years.
func civilDays(text []byte) (int64, error) {
	if len(text) != 10 || text[4] != '-' || text[7] != '-' {
		return 0, fmt.Errorf("the value %.40s is not a date", text)
	}
	y, okY := fixedDigits(text[:4])
	m, okM := fixedDigits(text[5:7])
	d, okD := fixedDigits(text[8:10])
	switch {
	case !okY || !okM || !okD:
		return 0, fmt.Errorf("the value %.40s is not a date", text)
	case y == 0 && m == 0 && d == 0:
		return 0, errZeroDate
	case m < 1 || m > 12 || d < 1 || d > daysOf(y, m):
		return 0, fmt.Errorf("the date is %s, which is no day of the calendar: replace it in a query, or filter such rows with where", text)
	}
	// Years begin in March here, so that the day that is sometimes there is the last one.
	if m <= 2 {
		y--
		m += 12
	}
	era := (y + 400) / 400
	of := y + 400 - era*400
	day := (153*(m-3)+2)/5 + d - 1
	return (era-1)*146_097 + of*365 + of/4 - of/100 + day - 719_468, nil
}

func daysOf(year, month int64) int64 {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

func notATime(text []byte) error { return fmt.Errorf("the value %.40s is not a time", text) }

// clockMicros counts microseconds of a time of day, or of an amount of time when hours has more digits.
func clockMicros(text []byte) (int64, error) {
	clock := text
	fraction := int64(0)
	for i, c := range text {
		if c != '.' {
			continue
		}
		n, ok := fixedDigits(text[i+1:])
		if !ok || len(text)-i-1 > 6 {
			return 0, notATime(text)
		}
		for range 6 - (len(text) - i - 1) {
			n *= 10
		}
		clock, fraction = text[:i], n
		break
	}
	if len(clock) < 8 || clock[len(clock)-3] != ':' || clock[len(clock)-6] != ':' {
		return 0, notATime(text)
	}
	h, okH := fixedDigits(clock[:len(clock)-6])
	m, okM := fixedDigits(clock[len(clock)-5 : len(clock)-3])
	s, okS := fixedDigits(clock[len(clock)-2:])
	if !okH || !okM || !okS {
		return 0, notATime(text)
	}
	return (h*3600+m*60+s)*1_000_000 + fraction, nil
}

func (d *mariadbDialect) putDate(text []byte, to array.Builder) error {
	days, err := civilDays(text)
	if errors.Is(err, errZeroDate) && d.zeroIsNull {
		to.AppendNull()
		return nil
	}
	if err == nil {
		to.(*array.Date32Builder).Append(arrow.Date32(days))
	}
	return err
}

func (d *mariadbDialect) putTimestamp(text []byte, to array.Builder) error {
	if len(text) < 19 || text[10] != ' ' {
		return notATime(text)
	}
	days, err := civilDays(text[:10])
	if errors.Is(err, errZeroDate) && d.zeroIsNull {
		to.AppendNull()
		return nil
	}
	if err != nil {
		return err
	}
	micros, err := clockMicros(text[11:])
	if err == nil {
		to.(*array.TimestampBuilder).Append(arrow.Timestamp(days*86_400_000_000 + micros))
	}
	return err
}

func putTime(text []byte, to array.Builder) error {
	if len(text) > 0 && text[0] != '-' {
		micros, err := clockMicros(text)
		if err != nil {
			return err
		}
		if micros < 86_400_000_000 {
			to.(*array.Time64Builder).Append(arrow.Time64(micros))
			return nil
		}
	}
	return fmt.Errorf("the value is %s, which is not a time of day in the warehouse: read the column as a text with CAST(… AS CHAR) in a query", text)
}
