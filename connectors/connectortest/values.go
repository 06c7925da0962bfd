package connectortest

import (
	"context"
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

	"github.com/headwater-data/headwater/connectors"
)

// Kind is a kind of typed values that systems may have.
type Kind string

// The kinds of typed values. A system whose type reaches less far than a kind's values does not declare the kind.
const (
	Decimal38  Kind = "decimal(38, 10)" // 28 digits before the point and 10 after it
	Unsigned64 Kind = "unsigned 64-bit"
	Signed64   Kind = "signed 64-bit"
	Date       Kind = "date"                // years 1 to 9999
	LocalTime  Kind = "time without a zone" // microseconds, years 1000 to 9999
	Instant    Kind = "instant"             // microseconds, 1970 to 2037, given in different zones
	FarInstant Kind = "far instant"         // before 1900 and after 2262
	Double     Kind = "double"
	NotANumber Kind = "not a number"
	LongText   Kind = "10 MB of text"
)

// TypedValues lists the values of a kind as texts: numbers in digits, dates and times in ISO 8601.
func TypedValues(kind Kind) []any {
	switch kind {
	case Decimal38:
		return []any{"9999999999999999999999999999.9999999999", "-9999999999999999999999999999.9999999999", "0.0000000001", "-0.0000000001", "1234567890123456789012345678.0123456789", "0", "100", nil}
	case Unsigned64:
		return []any{"18446744073709551615", "9223372036854775808", "9007199254740993", "0", nil}
	case Signed64:
		return []any{"-9223372036854775808", "9223372036854775807", "-9007199254740993", "0", nil}
	case Date:
		return []any{"0001-03-01", "1582-10-10", "1899-12-31", "1900-02-28", "1969-12-31", "1970-01-01", "2000-02-29", "2262-04-12", "9999-12-31", nil}
	case LocalTime:
		return []any{"1000-01-01T00:00:00", "1899-12-31T23:59:59.999999", "1969-12-31T23:59:59.000001", "2024-03-31T02:30:00", "2262-04-12T00:00:00.5", "9999-12-31T23:59:59.999999", nil}
	case Instant:
		return []any{"1970-01-02T00:00:00.000001Z", "1988-06-01T00:00:00+08:00", "2000-02-29T23:59:59.999999-11:30", "2024-10-27T02:30:00.123456+02:00", "2037-12-31T23:59:59Z", nil}
	case FarInstant:
		return []any{"1000-01-01T00:00:00.000001Z", "1899-12-31T23:59:59.999999+08:00", "2262-04-12T00:00:00Z", "9999-01-01T00:00:00.5-05:00", nil}
	case Double:
		return []any{"1.7976931348623157e+308", "-5e-324", "0.1", "9007199254740993", "0", nil}
	case NotANumber:
		return []any{"NaN", "+Inf", "-Inf", "1", nil}
	case LongText:
		return []any{strings.Repeat("杭州𠀀👩‍👩‍👧", 10<<20/28), "", "end", nil}
	}
	return nil
}

func checkTypedValues(ctx context.Context, w *world) error {
	s, err := w.only(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, kind := range w.can.Values {
		values := TypedValues(kind)
		if len(values) == 0 {
			return fmt.Errorf("there is no kind %q", kind)
		}
		if err := w.outside.StoreValues(kind, values); err != nil {
			return fmt.Errorf("store values of %s: %w", kind, err)
		}
		_, wrong, err := w.typed(ctx, s, nil, kind, values)
		if err != nil {
			return err
		}
		errs = append(errs, wrong...)
	}
	return errors.Join(errs...)
}

// checkTypedChanges has the values come as changes, of a table that was read when it was empty.
func checkTypedChanges(ctx context.Context, w *world) error {
	s, err := w.only(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, kind := range w.can.Values {
		values := TypedValues(kind)
		if err := w.outside.StoreValues(kind, nil); err != nil {
			return fmt.Errorf("store no values of %s: %w", kind, err)
		}
		after, wrong, err := w.typed(ctx, s, nil, kind, nil)
		if err == nil && after == nil {
			err = fmt.Errorf("%s: an empty table gave no cursor", kind)
		}
		if err != nil {
			return err
		}
		errs = append(errs, wrong...)
		if err := w.outside.StoreValues(kind, values); err != nil {
			return fmt.Errorf("store values of %s: %w", kind, err)
		}
		if _, wrong, err = w.typed(ctx, s, after, kind, values); err != nil {
			return err
		}
		errs = append(errs, wrong...)
	}
	return errors.Join(errs...)
}

// typed reads on from a cursor and compares the values with those that were stored.
func (w *world) typed(ctx context.Context, s connectors.Stream, after connectors.Cursor, kind Kind, values []any) (cursor connectors.Cursor, wrong []error, err error) {
	n := 0
	for b, err := range w.source.Read(ctx, s, after) {
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", kind, err)
		}
		cursor = slices.Clone(b.Cursor)
		for _, r := range b.Rejects {
			wrong = append(wrong, fmt.Errorf("%s: row %d was rejected by %s: %s", kind, n+1, r.Rule, r.Reason))
		}
		at := b.Record.Schema().FieldIndices("value")
		if len(at) != 1 {
			return nil, nil, fmt.Errorf("%s: %d columns with the name value", kind, len(at))
		}
		for row := range int(b.Record.NumRows()) {
			if n == len(values) {
				return nil, nil, fmt.Errorf("%s: more rows than %d", kind, len(values))
			}
			if err := sameValue(kind, b.Record.Column(at[0]), row, values[n]); err != nil {
				wrong = append(wrong, fmt.Errorf("%s: %w", kind, err))
			}
			n++
		}
	}
	if n != len(values) && len(wrong) == 0 {
		wrong = append(wrong, fmt.Errorf("%s: %d rows, want %d", kind, n, len(values)))
	}
	return cursor, wrong, nil
}

// sameValue compares a value with the text that was stored, by what the text means.
func sameValue(kind Kind, column arrow.Array, row int, want any) error {
	if column.IsNull(row) || want == nil {
		if column.IsNull(row) != (want == nil) {
			return fmt.Errorf("got null %v, want %.60v", column.IsNull(row), want)
		}
		return nil
	}
	text := want.(string)
	differ := func(got any) error { return fmt.Errorf("got %.60v (%s), want %.60s", got, column.DataType(), text) }
	if s, ok := column.(*array.String); ok {
		// As a text it must be the one that was stored, but for zeros behind a decimal's point.
		if got := s.Value(row); got != text && (kind != Decimal38 || !sameNumber(got, text)) {
			return differ(got)
		}
		return nil
	}
	switch kind {
	case Decimal38, Unsigned64, Signed64:
		got, ok := exactNumber(column, row)
		if !ok || !sameNumber(got, text) {
			return differ(got)
		}
	case Double, NotANumber:
		f, ok := column.(*array.Float64)
		if !ok {
			return differ("another type")
		}
		number, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return err
		}
		if got := f.Value(row); got != number && (!math.IsNaN(got) || !math.IsNaN(number)) {
			return differ(got)
		}
	case Date:
		d, ok := column.(*array.Date32)
		if !ok {
			return differ("another type")
		}
		if got := d.Value(row).ToTime().Format(time.DateOnly); got != text {
			return differ(got)
		}
	case LocalTime, Instant, FarInstant:
		at, ok := column.(*array.Timestamp)
		if !ok {
			return differ("another type")
		}
		typ := column.DataType().(*arrow.TimestampType)
		if zoned := typ.TimeZone != ""; zoned == (kind == LocalTime) {
			return fmt.Errorf("the type %s has a zone: %v", typ, zoned)
		}
		layout := "2006-01-02T15:04:05.999999"
		if kind != LocalTime {
			layout += "Z07:00"
		}
		wanted, err := time.Parse(layout, text)
		if err != nil {
			return err
		}
		// ToTime of nanoseconds does not reach as far as microseconds do.
		micros := int64(at.Value(row))
		switch typ.Unit {
		case arrow.Second:
			micros *= 1_000_000
		case arrow.Millisecond:
			micros *= 1000
		case arrow.Nanosecond:
			micros /= 1000
		}
		if got := time.UnixMicro(micros).UTC(); !got.Equal(wanted) {
			return differ(got)
		}
	case LongText:
		return differ("another type")
	}
	return nil
}

// exactNumber writes a number in digits.
func exactNumber(column arrow.Array, row int) (string, bool) {
	decimal := func(n *big.Int, scale int32) (string, bool) {
		return new(big.Rat).SetFrac(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)).FloatString(int(scale)), true
	}
	switch c := column.(type) {
	case *array.Decimal128:
		return decimal(c.Value(row).BigInt(), column.DataType().(*arrow.Decimal128Type).Scale)
	case *array.Decimal256:
		return decimal(c.Value(row).BigInt(), column.DataType().(*arrow.Decimal256Type).Scale)
	case *array.Uint64, *array.Int64, *array.Uint32, *array.Int32:
		return column.ValueStr(row), true
	}
	return "another type", false
}

func sameNumber(a, b string) bool {
	x, okX := new(big.Rat).SetString(a)
	y, okY := new(big.Rat).SetString(b)
	return okX && okY && x.Cmp(y) == 0
}
