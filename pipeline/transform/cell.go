package transform

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
)

// texts reads a column's cells as text, whatever its type: text as it is, everything else in its canonical form. All steps of
// a mapping are defined over this text, and typed columns only take shorter ways to the same result. That is why a
// quarantined row, kept as text, comes out as it would have the first time.
//
// It does not own the array. It is not safe for use from several goroutines.
type texts struct {
	n       int
	offsets []int32 // of an array.String
	data    []byte
	valid   []byte // bitmap, nil when nothing is null
	shift   int    // of the bitmap
	slow    func(i int, buf []byte) ([]byte, bool)
	buf     []byte
}

// newTexts reads arr; ok is false when its type has no text.
func newTexts(arr arrow.Array) (t texts, ok bool) {
	t.n = arr.Len()
	if arr.NullN() > 0 {
		t.valid, t.shift = arr.NullBitmapBytes(), arr.Data().Offset()
	}
	switch a := arr.(type) {
	case *array.String:
		t.offsets, t.data = stringParts(a)
		return t, true
	case *array.Null:
		t.slow = func(int, []byte) ([]byte, bool) { return nil, false }
		return t, true
	case *array.Dictionary:
		values, ok := newTexts(a.Dictionary())
		if !ok {
			return t, false
		}
		t.slow = func(i int, _ []byte) ([]byte, bool) { return values.at(a.GetValueIndex(i)) }
		return t, true
	}
	t.slow = formatter(arr)
	return t, t.slow != nil
}

// stringParts returns offsets that index data directly.
func stringParts(a *array.String) ([]int32, []byte) {
	if a.Len() == 0 {
		return []int32{0}, nil
	}
	offsets := a.ValueOffsets()
	if buf := a.Data().Buffers()[2]; buf != nil {
		return offsets, buf.Bytes()
	}
	return offsets, nil
}

// at returns the text of a cell; ok is false when it is null. The bytes are valid until the next call.
func (t *texts) at(i int) (b []byte, ok bool) {
	if t.valid != nil && !bitutil.BitIsSet(t.valid, t.shift+i) {
		return nil, false
	}
	if t.offsets != nil {
		return t.data[t.offsets[i]:t.offsets[i+1]], true
	}
	b, ok = t.slow(i, t.buf[:0])
	if cap(b) > cap(t.buf) {
		t.buf = b[:0]
	}
	return b, ok
}

// edge says of a byte that no blank begins or ends with it.
var edge = func() (table [256]bool) {
	for c := range table {
		table[c] = c > ' ' && c < 0x80 || c >= 0xC3 && c != 0xE2 && c != 0xE3 && c != 0xEF
	}
	return table
}()

// value returns the trimmed text of a cell; ok is false when it is null, empty or one of the null words.
func (t *texts) value(i int, nulls *words) (b []byte, ok bool) {
	if b, ok = t.at(i); !ok || len(b) == 0 {
		return nil, false
	}
	if !edge[b[0]] || b[len(b)-1] >= 0x80 || b[len(b)-1] <= ' ' {
		if b = trim(b); len(b) == 0 {
			return nil, false
		}
	}
	if nulls.has(b) {
		return nil, false
	}
	return b, true
}

// view makes a string of b without copying; it is valid as long as b is.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// hasText reports whether columns of a type can be read as text.
func hasText(t arrow.DataType) bool {
	switch t := t.(type) {
	case *arrow.DictionaryType:
		return hasText(t.ValueType)
	case *arrow.ListType:
		return hasText(t.Elem())
	case *arrow.LargeListType:
		return hasText(t.Elem())
	}
	switch t.ID() {
	case arrow.NULL, arrow.BOOL, arrow.UINT8, arrow.INT8, arrow.UINT16, arrow.INT16, arrow.UINT32, arrow.INT32, arrow.UINT64, arrow.INT64,
		arrow.FLOAT16, arrow.FLOAT32, arrow.FLOAT64, arrow.STRING, arrow.LARGE_STRING, arrow.STRING_VIEW, arrow.DATE32, arrow.DATE64,
		arrow.TIMESTAMP, arrow.TIME32, arrow.TIME64, arrow.DECIMAL128, arrow.DECIMAL256:
		return true
	}
	return false
}

// formatter returns a function that appends the canonical text of a cell, or nil when the type has none. Null cells are the
// caller's, except inside lists.
func formatter(arr arrow.Array) func(i int, buf []byte) ([]byte, bool) {
	integer := func(value func(int) int64) func(int, []byte) ([]byte, bool) {
		return func(i int, buf []byte) ([]byte, bool) { return strconv.AppendInt(buf, value(i), 10), true }
	}
	unsigned := func(value func(int) uint64) func(int, []byte) ([]byte, bool) {
		return func(i int, buf []byte) ([]byte, bool) { return strconv.AppendUint(buf, value(i), 10), true }
	}
	switch a := arr.(type) {
	case *array.String:
		return func(i int, buf []byte) ([]byte, bool) { return append(buf, a.Value(i)...), true }
	case *array.LargeString:
		return func(i int, buf []byte) ([]byte, bool) { return append(buf, a.Value(i)...), true }
	case *array.StringView:
		return func(i int, buf []byte) ([]byte, bool) { return append(buf, a.Value(i)...), true }
	case *array.Boolean:
		return func(i int, buf []byte) ([]byte, bool) { return strconv.AppendBool(buf, a.Value(i)), true }
	case *array.Int8:
		return integer(func(i int) int64 { return int64(a.Value(i)) })
	case *array.Int16:
		return integer(func(i int) int64 { return int64(a.Value(i)) })
	case *array.Int32:
		return integer(func(i int) int64 { return int64(a.Value(i)) })
	case *array.Int64:
		return integer(a.Value)
	case *array.Uint8:
		return unsigned(func(i int) uint64 { return uint64(a.Value(i)) })
	case *array.Uint16:
		return unsigned(func(i int) uint64 { return uint64(a.Value(i)) })
	case *array.Uint32:
		return unsigned(func(i int) uint64 { return uint64(a.Value(i)) })
	case *array.Uint64:
		return unsigned(a.Value)
	case *array.Float16:
		return func(i int, buf []byte) ([]byte, bool) {
			return appendFloat(buf, float64(a.Value(i).Float32()), 32), true
		}
	case *array.Float32:
		return func(i int, buf []byte) ([]byte, bool) { return appendFloat(buf, float64(a.Value(i)), 32), true }
	case *array.Float64:
		return func(i int, buf []byte) ([]byte, bool) { return appendFloat(buf, a.Value(i), 64), true }
	case *array.Decimal128:
		scale := a.DataType().(*arrow.Decimal128Type).Scale
		return func(i int, buf []byte) ([]byte, bool) { return appendDecimal(buf, a.Value(i).BigInt(), scale), true }
	case *array.Decimal256:
		scale := a.DataType().(*arrow.Decimal256Type).Scale
		return func(i int, buf []byte) ([]byte, bool) { return appendDecimal(buf, a.Value(i).BigInt(), scale), true }
	case *array.Date32:
		return func(i int, buf []byte) ([]byte, bool) { return appendDate(buf, int32(a.Value(i))), true }
	case *array.Date64:
		return func(i int, buf []byte) ([]byte, bool) {
			days, _ := floorDiv(int64(a.Value(i)), 86_400_000)
			return appendDay(buf, days), true
		}
	case *array.Timestamp:
		unit := a.DataType().(*arrow.TimestampType)
		zone := zoneOf(unit)
		return func(i int, buf []byte) ([]byte, bool) {
			return appendTimestamp(buf, int64(a.Value(i)), unit, zone), true
		}
	case *array.Time32:
		unit := a.DataType().(*arrow.Time32Type).Unit
		return func(i int, buf []byte) ([]byte, bool) { return append(buf, a.Value(i).FormattedString(unit)...), true }
	case *array.Time64:
		unit := a.DataType().(*arrow.Time64Type).Unit
		return func(i int, buf []byte) ([]byte, bool) { return append(buf, a.Value(i).FormattedString(unit)...), true }
	case array.ListLike:
		values, ok := newTexts(a.ListValues())
		if _, isMap := arr.(*array.Map); !ok || isMap {
			return nil
		}
		return func(i int, buf []byte) ([]byte, bool) {
			from, to := a.ValueOffsets(i)
			elements := make([]*string, 0, to-from)
			for j := from; j < to; j++ {
				if b, ok := values.at(int(j)); ok {
					text := string(b)
					elements = append(elements, &text)
				} else {
					elements = append(elements, nil)
				}
			}
			encoded, err := json.Marshal(elements)
			if err != nil {
				panic(fmt.Sprintf("transform: list of texts: %v", err)) // texts always have a JSON form
			}
			return append(buf, encoded...), true
		}
	}
	return nil
}

// appendDecimal writes v·10^-scale in full. (Arrow's own ToString goes through a float of 128 bits.)
func appendDecimal(b []byte, v *big.Int, scale int32) []byte {
	digits := v.String()
	if digits[0] == '-' {
		b, digits = append(b, '-'), digits[1:]
	}
	if scale <= 0 {
		b = append(b, digits...)
		if digits != "0" {
			b = append(b, strings.Repeat("0", int(-scale))...)
		}
		return b
	}
	if len(digits) <= int(scale) {
		digits = strings.Repeat("0", int(scale)-len(digits)+1) + digits
	}
	b = append(b, digits[:len(digits)-int(scale)]...)
	b = append(b, '.')
	return append(b, digits[len(digits)-int(scale):]...)
}

// zoneOf is the zone of a timestamp type; nil when it has none or one that is not known here, whose instants are then
// written in UTC.
func zoneOf(t *arrow.TimestampType) *time.Location {
	if t.TimeZone == "" {
		return nil
	}
	zone, err := t.GetZone()
	if err != nil || zone == nil {
		return time.UTC
	}
	return zone
}

func appendDate(b []byte, days int32) []byte { return appendDay(b, int64(days)) }

func appendDay(b []byte, days int64) []byte {
	year, month, day := longCivil(days)
	if year < 0 || year > 9999 {
		// No reader takes such a year; the text only has to show it.
		return fmt.Appendf(b, "%d-%02d-%02d", year, month, day)
	}
	return append(b, byte('0'+year/1000), byte('0'+year/100%10), byte('0'+year/10%10), byte('0'+year%10), '-',
		byte('0'+month/10), byte('0'+month%10), '-', byte('0'+day/10), byte('0'+day%10))
}

// perSecond is how many of a unit make a second.
func perSecond(unit arrow.TimeUnit) int64 {
	switch unit {
	case arrow.Second:
		return 1
	case arrow.Millisecond:
		return 1e3
	case arrow.Microsecond:
		return 1e6
	}
	return 1e9
}

// floorDiv divides towards minus infinity.
func floorDiv(a, b int64) (q, r int64) {
	q, r = a/b, a%b
	if r < 0 {
		q, r = q-1, r+b
	}
	return q, r
}

func appendTimestamp(b []byte, value int64, t *arrow.TimestampType, zone *time.Location) []byte {
	start := len(b)
	seconds, rest := floorDiv(value, perSecond(t.Unit))
	nanos := rest * (1e9 / perSecond(t.Unit))
	offset := 0
	if zone != nil {
		_, offset = time.Unix(seconds, 0).In(zone).Zone()
	}
	days, clock := floorDiv(seconds+int64(offset), 86400)
	b = appendDay(b, days)
	b = append(b, 'T', byte('0'+clock/36000), byte('0'+clock/3600%10), ':', byte('0'+clock/600%6), byte('0'+clock/60%10), ':', byte('0'+clock/10%6), byte('0'+clock%10))
	if nanos != 0 {
		digits := fmt.Sprintf("%09d", nanos)
		for digits[len(digits)-1] == '0' {
			digits = digits[:len(digits)-1]
		}
		b = append(append(b, '.'), digits...)
	}
	switch {
	case zone == nil:
	case offset%60 != 0:
		// Local mean time before zones: such an offset has no form in ISO 8601, the instant does.
		return appendTimestamp(b[:start], value, t, time.UTC)
	case offset == 0:
		b = append(b, 'Z')
	default:
		sign := byte('+')
		if offset < 0 {
			sign, offset = '-', -offset
		}
		b = append(b, sign, byte('0'+offset/36000), byte('0'+offset/3600%10), ':', byte('0'+offset/600%6), byte('0'+offset/60%10))
	}
	return b
}

// constantText is the canonical text of a constant in a mapping; null is true for null, ok false for what has no text.
func constantText(value any) (text string, null, ok bool) {
	switch v := value.(type) {
	case nil:
		return "", true, true
	case string:
		return v, false, true
	case bool:
		return strconv.FormatBool(v), false, true
	case int:
		return strconv.Itoa(v), false, true
	case int64:
		return strconv.FormatInt(v, 10), false, true
	case int32:
		return strconv.FormatInt(int64(v), 10), false, true
	case uint64:
		return strconv.FormatUint(v, 10), false, true
	case float64:
		return string(appendFloat(nil, v, 64)), false, true
	case json.Number:
		if n, rest, good := scanNumber([]byte(v), false); good && len(rest) == 0 && n.hi == 0 {
			if whole, fault := n.int64(); fault == castFits {
				return strconv.FormatInt(whole, 10), false, true
			}
			f, fits := n.float64()
			return string(appendFloat(nil, f, 64)), false, fits
		}
		return string(v), false, true
	case time.Time:
		return v.Format("2006-01-02T15:04:05.999999999Z07:00"), false, true
	case []any:
		elements := make([]*string, len(v))
		for i, e := range v {
			element, isNull, good := constantText(e)
			if !good {
				return "", false, false
			}
			if !isNull {
				elements[i] = &element
			}
		}
		encoded, err := json.Marshal(elements)
		return string(encoded), false, err == nil
	}
	return "", false, false
}
