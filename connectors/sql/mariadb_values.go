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

// mariadbColumn is how a column's values are read. The driver gives whole numbers and floats as such, and all else as bytes that
// stand until the next row.
type mariadbColumn struct {
	field
	put  func(v driver.Value, to array.Builder) error
	text func(v driver.Value) string
}

// column is for a type of the catalogue: base is its name, declared all that is said of it.
func (d *mariadbDialect) column(base, declared string, precision, scale int64) mariadbColumn {
	c := mariadbColumn{field: field{declared: declared, ordered: true}, text: mariadbText}
	is := func(typ arrow.DataType, kind byte, put func(driver.Value, array.Builder) error) mariadbColumn {
		c.typ, c.kind, c.put = typ, kind, put
		return c
	}
	unsigned := strings.Contains(declared, "unsigned")
	whole := func(signed, without arrow.DataType) mariadbColumn {
		if unsigned {
			return is(without, kindUint, putWhole)
		}
		return is(signed, kindInt, putWhole)
	}
	switch base {
	case "tinyint":
		return whole(arrow.PrimitiveTypes.Int8, arrow.PrimitiveTypes.Uint8)
	case "smallint":
		return whole(arrow.PrimitiveTypes.Int16, arrow.PrimitiveTypes.Uint16)
	case "mediumint", "int":
		return whole(arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Uint32)
	case "bigint":
		return whole(arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Uint64)
	case "year":
		// As a text of four digits where it is compared: the number 0 would be the year 2000.
		c.text = func(v driver.Value) string { return fmt.Sprintf("%04s", mariadbText(v)) }
		return is(arrow.PrimitiveTypes.Int16, kindText, putWhole)
	case "bit":
		c.text = func(v driver.Value) string { return strconv.FormatUint(bits(v), 10) }
		return is(arrow.PrimitiveTypes.Uint64, kindUint, func(v driver.Value, to array.Builder) error {
			to.(*array.Uint64Builder).Append(bits(v))
			return nil
		})
	case "decimal":
		if precision < 1 || precision > 76 || scale < 0 || scale > precision {
			return is(arrow.BinaryTypes.String, kindDecimal, putUTF8)
		}
		return is(decimalType(int32(precision), int32(scale)), kindDecimal, func(v driver.Value, to array.Builder) error {
			return putDecimalText(v.([]byte), int(scale), to)
		})
	case "float":
		c.ordered = false
		return is(arrow.PrimitiveTypes.Float32, kindFloat, putFloat)
	case "double":
		c.ordered = false
		return is(arrow.PrimitiveTypes.Float64, kindFloat, putFloat)
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

func mariadbText(v driver.Value) string {
	switch v := v.(type) {
	case []byte:
		return string(v)
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

func bits(v driver.Value) (n uint64) {
	for _, b := range v.([]byte) {
		n = n<<8 | uint64(b)
	}
	return n
}

// putWhole: the database holds a column's values to its range.
func putWhole(v driver.Value, to array.Builder) error {
	var n int64
	var u uint64
	switch v := v.(type) {
	case int64:
		n, u = v, uint64(v)
	case uint64:
		n, u = int64(v), v
	default:
		return fmt.Errorf("the value %.40s is not a whole number", mariadbText(v))
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
	default:
		return fmt.Errorf("a whole number for a column of %s", to.Type())
	}
	return nil
}

func putFloat(v driver.Value, to array.Builder) error {
	var f float64
	switch v := v.(type) {
	case float64:
		f = v
	case float32:
		f = float64(v)
	default:
		return fmt.Errorf("the value %.40s is not a float", mariadbText(v))
	}
	if to, ok := to.(*array.Float32Builder); ok {
		to.Append(float32(f))
		return nil
	}
	to.(*array.Float64Builder).Append(f)
	return nil
}

var errUTF8 = errors.New("the text is not valid in the character set that the column is declared in")

func putUTF8(v driver.Value, to array.Builder) error {
	b := to.(*array.StringBuilder)
	text, ok := v.([]byte)
	if !ok {
		b.Append(mariadbText(v))
		return nil
	}
	if !utf8.Valid(text) {
		return errUTF8
	}
	b.BinaryBuilder.Append(text)
	return nil
}

func putBytes(v driver.Value, to array.Builder) error {
	to.(*array.BinaryBuilder).Append(v.([]byte))
	return nil
}

// putDecimalText appends a decimal that is written in digits.
func putDecimalText(text []byte, scale int, to array.Builder) error {
	digits := make([]byte, 0, 80)
	places, point := 0, false
	for i, c := range text {
		switch {
		case c >= '0' && c <= '9':
			if point {
				if places++; places > scale {
					if c != '0' {
						return fmt.Errorf("the value %.80s has more than %d digits after the point", text, scale)
					}
					continue
				}
			}
			digits = append(digits, c)
		case c == '.' && !point:
			point = true
		case c == '-' && i == 0:
			digits = append(digits, c)
		default:
			return fmt.Errorf("the value %.80s is not a decimal", text)
		}
	}
	for ; places < scale; places++ {
		digits = append(digits, '0')
	}
	if len(digits) <= 18 {
		n, err := strconv.ParseInt(string(digits), 10, 64)
		if err != nil {
			return fmt.Errorf("the value %.80s is not a decimal", text)
		}
		return appendSmallDecimal(to, n)
	}
	n, ok := new(big.Int).SetString(string(digits), 10)
	if !ok {
		return fmt.Errorf("the value %.80s is not a decimal", text)
	}
	return appendDecimal(to, n)
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

// clockMicros counts microseconds of a time of day, or of an amount of time when hours has more digits.
func clockMicros(text []byte) (int64, error) {
	bad := fmt.Errorf("the value %.40s is not a time", text)
	clock := text
	fraction := int64(0)
	for i, c := range text {
		if c != '.' {
			continue
		}
		n, ok := fixedDigits(text[i+1:])
		if !ok || len(text)-i-1 > 6 {
			return 0, bad
		}
		for range 6 - (len(text) - i - 1) {
			n *= 10
		}
		clock, fraction = text[:i], n
		break
	}
	if len(clock) < 8 || clock[len(clock)-3] != ':' || clock[len(clock)-6] != ':' {
		return 0, bad
	}
	h, okH := fixedDigits(clock[:len(clock)-6])
	m, okM := fixedDigits(clock[len(clock)-5 : len(clock)-3])
	s, okS := fixedDigits(clock[len(clock)-2:])
	if !okH || !okM || !okS {
		return 0, bad
	}
	return (h*3600+m*60+s)*1_000_000 + fraction, nil
}

func (d *mariadbDialect) putDate(v driver.Value, to array.Builder) error {
	days, err := civilDays(v.([]byte))
	if errors.Is(err, errZeroDate) && d.zeroIsNull {
		to.AppendNull()
		return nil
	}
	if err == nil {
		to.(*array.Date32Builder).Append(arrow.Date32(days))
	}
	return err
}

func (d *mariadbDialect) putTimestamp(v driver.Value, to array.Builder) error {
	text := v.([]byte)
	if len(text) < 19 || text[10] != ' ' {
		return fmt.Errorf("the value %.40s is not a time", text)
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

func putTime(v driver.Value, to array.Builder) error {
	text := v.([]byte)
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

func (r *mariadbRows) put(i int, to array.Builder) error {
	if r.values[i] == nil {
		to.AppendNull()
		return nil
	}
	return r.columns[i].put(r.values[i], to)
}

func (r *mariadbRows) value(i int) (value, bool) {
	if r.values[i] == nil {
		return value{}, false
	}
	return value{r.columns[i].kind, r.columns[i].text(r.values[i])}, true
}

func (r *mariadbRows) size(i int) int {
	switch v := r.values[i].(type) {
	case nil:
		return 0
	case []byte:
		return len(v)
	}
	return 8
}
