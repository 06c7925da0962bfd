package schemas

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// The canonical form of a value is a text that Go makes of an Arrow column and ClickHouse of a table's column, the same to the
// byte, so that both can be hashed and compared without moving either. A null is `n`. Everything else is its length in bytes, a
// colon, and:
//
//	string, code, region   the text itself
//	int64                  decimal digits
//	float64                the 64 bits as a decimal number, so that nobody rounds; every NaN is `nan`
//	decimal                digits with as many after the point as the scale says
//	bool                   0 or 1
//	date                   days since 1970-01-01
//	timestamp              units of its precision (ms or µs) since 1970-01-01 UTC
//	array                  the canonical forms of its elements, one after the other
//
// The forms of several fields stand one after the other without anything between them: lengths keep them apart.

// Canonical writes the canonical forms of a record's rows. It holds on to the record: use it while the record lives. It is not
// safe for use from several goroutines.
type Canonical struct {
	all, key []func(b []byte, row int) []byte
}

// Canonical prepares a record that has the columns of s.Arrow(), in its order.
func (s *Schema) Canonical(rec arrow.Record) (*Canonical, error) {
	if rec.NumCols() < int64(len(s.Fields)) {
		return nil, fmt.Errorf("a record of %s has %d columns, want %d", s.Name, rec.NumCols(), len(s.Fields))
	}
	c := &Canonical{}
	byName := map[string]func([]byte, int) []byte{}
	for i, f := range s.Fields {
		if name := rec.ColumnName(i); name != f.Name {
			return nil, fmt.Errorf("column %d of a record of %s is %s, want %s", i, s.Name, name, f.Name)
		}
		write, err := canonicalColumn(f.Type, rec.Column(i))
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", f.Name, err)
		}
		c.all = append(c.all, write)
		byName[f.Name] = write
	}
	for _, name := range s.Key() {
		c.key = append(c.key, byName[name])
	}
	return c, nil
}

// Key appends the canonical form of a row's business key.
func (c *Canonical) Key(b []byte, row int) []byte {
	for _, write := range c.key {
		b = write(b, row)
	}
	return b
}

// Row appends the canonical form of all of a row's fields.
func (c *Canonical) Row(b []byte, row int) []byte {
	for _, write := range c.all {
		b = write(b, row)
	}
	return b
}

// framed puts the length before what text appends, and writes nulls.
func framed(arr arrow.Array, text func(b []byte, row int) []byte) func([]byte, int) []byte {
	var scratch []byte
	return func(b []byte, row int) []byte {
		if arr.IsNull(row) {
			return append(b, 'n')
		}
		scratch = text(scratch[:0], row)
		b = strconv.AppendInt(b, int64(len(scratch)), 10)
		b = append(b, ':')
		return append(b, scratch...)
	}
}

func canonicalColumn(t Type, arr arrow.Array) (func([]byte, int) []byte, error) {
	switch a := arr.(type) {
	case *array.String:
		return framed(arr, func(b []byte, row int) []byte { return append(b, a.Value(row)...) }), nil
	case *array.Dictionary:
		texts, ok := a.Dictionary().(*array.String)
		if !ok {
			break
		}
		return framed(arr, func(b []byte, row int) []byte { return append(b, texts.Value(a.GetValueIndex(row))...) }), nil
	case *array.Int64:
		return framed(arr, func(b []byte, row int) []byte { return strconv.AppendInt(b, a.Value(row), 10) }), nil
	case *array.Float64:
		return framed(arr, func(b []byte, row int) []byte {
			if math.IsNaN(a.Value(row)) {
				return append(b, "nan"...)
			}
			return strconv.AppendUint(b, math.Float64bits(a.Value(row)), 10)
		}), nil
	case *array.Decimal128:
		return framed(arr, func(b []byte, row int) []byte { return appendDecimal(b, a.Value(row).BigInt(), t.Scale) }), nil
	case *array.Boolean:
		return framed(arr, func(b []byte, row int) []byte {
			if a.Value(row) {
				return append(b, '1')
			}
			return append(b, '0')
		}), nil
	case *array.Date32:
		return framed(arr, func(b []byte, row int) []byte { return strconv.AppendInt(b, int64(a.Value(row)), 10) }), nil
	case *array.Timestamp:
		want := t.Arrow().(*arrow.TimestampType).Unit
		if got := a.DataType().(*arrow.TimestampType).Unit; got != want {
			return nil, fmt.Errorf("timestamps in %s, want %s", got, want)
		}
		return framed(arr, func(b []byte, row int) []byte { return strconv.AppendInt(b, int64(a.Value(row)), 10) }), nil
	case *array.List:
		if t.Elem == nil {
			break
		}
		element, err := canonicalColumn(*t.Elem, a.ListValues())
		if err != nil {
			return nil, err
		}
		write := func(b []byte, row int) []byte {
			start, end := a.ValueOffsets(row)
			for i := start; i < end; i++ {
				b = element(b, int(i))
			}
			return b
		}
		full := framed(arr, write)
		return func(b []byte, row int) []byte {
			if a.IsNull(row) { // ClickHouse has no nullable arrays: one that is not given is empty
				return append(b, "0:"...)
			}
			return full(b, row)
		}, nil
	}
	return nil, fmt.Errorf("no canonical form of %s as %s", arr.DataType(), t)
}

func appendDecimal(b []byte, digits *big.Int, scale int) []byte {
	if digits.Sign() < 0 {
		b = append(b, '-')
	}
	text := new(big.Int).Abs(digits).String()
	if scale == 0 {
		return append(b, text...)
	}
	if missing := scale + 1 - len(text); missing > 0 {
		text = strings.Repeat("0", missing) + text
	}
	b = append(b, text[:len(text)-scale]...)
	b = append(b, '.')
	return append(b, text[len(text)-scale:]...)
}

// CanonicalSQL is the expression that gives what Canonical.Row gives, over the columns of the schema's table.
func (s *Schema) CanonicalSQL() string {
	parts := make([]string, len(s.Fields))
	for i, f := range s.Fields {
		parts[i] = f.canonicalSQL()
	}
	return joinSQL(parts)
}

// CanonicalKeySQL is the expression that gives what Canonical.Key gives.
func (s *Schema) CanonicalKeySQL() string {
	var parts []string
	for _, name := range s.Key() {
		f, _ := s.Field(name)
		parts = append(parts, f.canonicalSQL())
	}
	return joinSQL(parts)
}

func joinSQL(parts []string) string {
	if len(parts) == 1 {
		return parts[0]
	}
	return "concat(" + strings.Join(parts, ", ") + ")"
}

func (f Field) canonicalSQL() string {
	column := quoteName(f.Name)
	if !f.Nullable() {
		return f.Type.canonicalSQL(column)
	}
	value := "assumeNotNull(" + column + ")"
	switch f.Type.Kind {
	case KindString, KindCode, KindRegion, KindLabel:
		value = "ifNull(toString(" + column + "), '')"
	}
	return "if(isNull(" + column + "), 'n', " + f.Type.canonicalSQL(value) + ")"
}

// canonicalSQL frames the text of a value that is not null.
func (t Type) canonicalSQL(value string) string {
	text := t.textSQL(value)
	return "concat(toString(length(" + text + ")), ':', " + text + ")"
}

func (t Type) textSQL(value string) string {
	switch t.Kind {
	case KindFloat64:
		return "if(isNaN(" + value + "), 'nan', toString(reinterpretAsUInt64(" + value + ")))"
	case KindDecimal:
		return fmt.Sprintf("toDecimalString(%s, %d)", value, t.Scale)
	case KindBool:
		return "toString(toUInt8(" + value + "))"
	case KindDate:
		return "toString(toInt32(" + value + "))"
	case KindTimestamp:
		if t.fraction() == 6 {
			return "toString(toUnixTimestamp64Micro(" + value + "))"
		}
		return "toString(toUnixTimestamp64Milli(" + value + "))"
	case KindArray:
		return "arrayStringConcat(arrayMap(x -> " + t.Elem.canonicalSQL("x") + ", " + value + "))"
	}
	return "toString(" + value + ")"
}

// errCanonical says that a text is no canonical form of the schema's key.
var errCanonical = errors.New("no canonical form of a key")

// splitKey takes a canonical key apart into the texts of its fields, in the order of Key.
func (s *Schema) splitKey(key string) ([]string, error) {
	var out []string
	for range s.Key() {
		digits, rest, ok := strings.Cut(key, ":")
		n, err := strconv.Atoi(digits)
		if !ok || err != nil || n < 0 || n > len(rest) {
			return nil, fmt.Errorf("%w of %s: %q", errCanonical, s.Name, clip(key))
		}
		out = append(out, rest[:n])
		key = rest[n:]
	}
	if key != "" {
		return nil, fmt.Errorf("%w of %s: %q is left over", errCanonical, s.Name, clip(key))
	}
	return out, nil
}

// KeyTexts reads a canonical key back as people write its values, in the order of Key.
func (s *Schema) KeyTexts(key string) ([]string, error) {
	texts, err := s.splitKey(key)
	if err != nil {
		return nil, err
	}
	for i, name := range s.Key() {
		f, _ := s.Field(name)
		switch f.Type.Kind {
		case KindFloat64:
			if texts[i] == "nan" {
				continue
			}
			bits, err := strconv.ParseUint(texts[i], 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%w of %s: %w", errCanonical, s.Name, err)
			}
			texts[i] = strconv.FormatFloat(math.Float64frombits(bits), 'g', -1, 64)
		case KindBool:
			texts[i] = strconv.FormatBool(texts[i] == "1")
		case KindDate, KindTimestamp:
			n, err := strconv.ParseInt(texts[i], 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%w of %s: %w", errCanonical, s.Name, err)
			}
			if texts[i], err = f.Type.moment(n); err != nil {
				return nil, err
			}
		}
	}
	return texts, nil
}

func (t Type) moment(n int64) (string, error) {
	if t.Kind == KindDate {
		return time.Unix(n*86400, 0).UTC().Format(time.DateOnly), nil
	}
	zone, err := time.LoadLocation(t.zone())
	if err != nil {
		return "", err
	}
	at := time.UnixMilli(n).In(zone)
	if t.fraction() == 6 {
		at = time.UnixMicro(n).In(zone)
	}
	if h, m, s := at.Clock(); h == 0 && m == 0 && s == 0 && at.Nanosecond() == 0 {
		return at.Format(time.DateOnly), nil
	}
	return at.Format("2006-01-02 15:04:05.999999"), nil
}

// AppendKey appends a record that has nothing but a key, given in canonical form: other fields are null, or where null is not
// allowed the default or empty. The builder's columns are those of s.Arrow(). Such a record stands for one that is gone.
func (s *Schema) AppendKey(builder *array.RecordBuilder, key string) error {
	texts, err := s.splitKey(key)
	if err != nil {
		return err
	}
	names := s.Key()
	for i, f := range s.Fields {
		b := builder.Field(i)
		if at := slices.Index(names, f.Name); at >= 0 {
			err = appendCanonical(b, f.Type, texts[at])
		} else {
			err = f.appendEmpty(b)
		}
		if err != nil {
			return fmt.Errorf("%s of a key of %s: %w", f.Name, s.Name, err)
		}
	}
	return nil
}

func appendCanonical(builder array.Builder, t Type, text string) error {
	whole := func(bits int) (int64, error) { return strconv.ParseInt(text, 10, bits) }
	switch b := builder.(type) {
	case *array.StringBuilder:
		b.Append(text)
	case *array.BinaryDictionaryBuilder:
		return b.AppendString(text)
	case *array.Int64Builder:
		n, err := whole(64)
		b.Append(n)
		return err
	case *array.Float64Builder:
		if text == "nan" {
			b.Append(math.NaN())
			return nil
		}
		bits, err := strconv.ParseUint(text, 10, 64)
		b.Append(math.Float64frombits(bits))
		return err
	case *array.BooleanBuilder:
		b.Append(text == "1")
	case *array.Date32Builder:
		n, err := whole(32)
		b.Append(arrow.Date32(n))
		return err
	case *array.TimestampBuilder:
		n, err := whole(64)
		b.Append(arrow.Timestamp(n))
		return err
	case *array.Decimal128Builder:
		return b.AppendValueFromString(text)
	default:
		return fmt.Errorf("no way to read a %s back", t)
	}
	return nil
}

func (f Field) appendEmpty(builder array.Builder) error {
	if f.Nullable() {
		builder.AppendNull()
		return nil
	}
	switch value := f.Default.(type) {
	case nil:
		if b, ok := builder.(*array.BinaryDictionaryBuilder); ok {
			return b.AppendString("")
		}
		builder.AppendEmptyValue()
		return nil
	case string:
		return builder.AppendValueFromString(value)
	default:
		return builder.AppendValueFromString(fmt.Sprint(value))
	}
}

// CanonicalRangeSQL is the expression of the text by which keys are cut into ranges: the first key field, without its length.
func (s *Schema) CanonicalRangeSQL() string {
	f, _ := s.Field(s.Key()[0])
	return f.Type.textSQL(quoteName(f.Name))
}

// Range gives the text that CanonicalRangeSQL gives, of a key in canonical form.
func (s *Schema) Range(key []byte) string {
	texts, err := s.splitKey(string(key))
	if err != nil {
		return ""
	}
	return texts[0]
}
