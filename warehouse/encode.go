package warehouse

import (
	"encoding/base64"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/schemas"
)

// Headwater's own tables are Go structs here: a field's `ch` tag names its column, for reading and for writing. Values that
// a column may lack are null when the Go value is zero. A []byte is kept in base64.

// ownSchema returns the schema of one of Headwater's own tables. They are part of the program, not of a project.
func ownSchema(name string) *schemas.Schema {
	s, ok := schemas.Standard().Schema(name)
	if !ok {
		panic("warehouse: there is no standard schema " + name)
	}
	return s
}

// encode turns rows into one record of the schema's table, with _version and _deleted. The caller releases it.
func encode[T any](mem memory.Allocator, table string, own []arrow.Field, rows []T, version func(T) uint64, deleted func(T) bool) (arrow.Record, error) {
	columns := structColumns(reflect.TypeFor[T]())
	fields := append(slices.Clone(own), arrow.Field{Name: "_version", Type: arrow.PrimitiveTypes.Uint64}, arrow.Field{Name: "_deleted", Type: arrow.PrimitiveTypes.Uint8})
	builder := array.NewRecordBuilder(mem, arrow.NewSchema(fields, nil))
	defer builder.Release()
	builder.Reserve(len(rows))
	for i, field := range own {
		index, ok := columns[field.Name]
		if !ok {
			return nil, fmt.Errorf("encode %s: %s has no field for column %s", table, reflect.TypeFor[T](), field.Name)
		}
		for n := range rows {
			if err := appendValue(builder.Field(i), reflect.ValueOf(&rows[n]).Elem().FieldByIndex(index), field.Nullable); err != nil {
				return nil, fmt.Errorf("encode %s: column %s: %w", table, field.Name, err)
			}
		}
	}
	versions, marks := builder.Field(len(own)).(*array.Uint64Builder), builder.Field(len(own)+1).(*array.Uint8Builder)
	for _, row := range rows {
		versions.Append(version(row))
		mark := uint8(0)
		if deleted != nil && deleted(row) {
			mark = 1
		}
		marks.Append(mark)
	}
	return builder.NewRecord(), nil
}

// structColumns maps a struct's `ch` tags to its fields.
func structColumns(t reflect.Type) map[string][]int {
	columns := map[string][]int{}
	for _, f := range reflect.VisibleFields(t) {
		if name := f.Tag.Get("ch"); name != "" {
			columns[name] = f.Index
		}
	}
	return columns
}

// selectList names the struct's columns, converted to what its fields can hold.
func selectList(t reflect.Type) string {
	var list []string
	for _, f := range reflect.VisibleFields(t) {
		name := f.Tag.Get("ch")
		if name == "" {
			continue
		}
		quoted := quoteName(name)
		switch {
		case f.Type.Kind() == reflect.Int32:
			list = append(list, "toInt32("+quoted+") AS "+quoted)
		case f.Type.Kind() == reflect.Uint32:
			list = append(list, "toUInt32("+quoted+") AS "+quoted)
		case f.Type.Kind() == reflect.Uint64:
			list = append(list, "toUInt64("+quoted+") AS "+quoted)
		case f.Type == reflect.TypeFor[[]byte]():
			list = append(list, "base64Decode("+quoted+") AS "+quoted)
		case f.Type.Kind() == reflect.String:
			// Code lists are LowCardinality and may be null; a Go string is neither.
			list = append(list, "ifNull(toString("+quoted+"), '') AS "+quoted)
		case f.Type == reflect.TypeFor[time.Time]():
			// A time.Time cannot take null: the epoch stands for it, and settleTimes makes it zero.
			list = append(list, "ifNull("+quoted+", fromUnixTimestamp64Milli(toInt64(0), 'UTC')) AS "+quoted)
		default:
			list = append(list, quoted)
		}
	}
	return strings.Join(list, ", ")
}

// settleTimes brings times as selectList gives them to what was written: UTC, and zero for none.
func settleTimes[T any](rows []T) {
	for i := range rows {
		row := reflect.ValueOf(&rows[i]).Elem()
		for _, f := range reflect.VisibleFields(row.Type()) {
			if f.Type != reflect.TypeFor[time.Time]() {
				continue
			}
			field := row.FieldByIndex(f.Index)
			t := field.Interface().(time.Time).UTC()
			if t.UnixNano() == 0 {
				t = time.Time{}
			}
			field.Set(reflect.ValueOf(t))
		}
	}
}

func appendValue(builder array.Builder, v reflect.Value, nullable bool) error {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			builder.AppendNull()
			return nil
		}
		v, nullable = v.Elem(), false
	}
	if nullable && v.IsZero() {
		builder.AppendNull()
		return nil
	}
	switch b := builder.(type) {
	case *array.StringBuilder:
		if raw, ok := v.Interface().([]byte); ok {
			b.Append(base64.StdEncoding.EncodeToString(raw))
			return nil
		}
		b.Append(v.String())
	case *array.BinaryDictionaryBuilder:
		return b.AppendString(v.String())
	case *array.Int64Builder:
		if v.CanUint() {
			if v.Uint() > math.MaxInt64 {
				return fmt.Errorf("%d does not fit an Int64", v.Uint())
			}
			b.Append(int64(v.Uint()))
			return nil
		}
		b.Append(v.Int())
	case *array.Float64Builder:
		b.Append(v.Float())
	case *array.BooleanBuilder:
		b.Append(v.Bool())
	case *array.Date32Builder:
		b.Append(arrow.Date32FromTime(v.Interface().(time.Time)))
	case *array.TimestampBuilder:
		unit := b.Type().(*arrow.TimestampType).Unit
		stamp, err := arrow.TimestampFromTime(v.Interface().(time.Time), unit)
		if err != nil {
			return err
		}
		b.Append(stamp)
	case *array.ListBuilder:
		b.Append(true)
		for i := range v.Len() {
			if err := appendValue(b.ValueBuilder(), v.Index(i), false); err != nil {
				return err
			}
		}
	case *array.StructBuilder:
		b.Append(true)
		for i := range v.NumField() {
			if err := appendValue(b.FieldBuilder(i), v.Field(i), false); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("no way to write a %s as %s", v.Type(), builder.Type())
	}
	return nil
}
