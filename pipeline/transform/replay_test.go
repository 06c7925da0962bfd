package transform

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/decimal128"
	"github.com/apache/arrow/go/v17/arrow/decimal256"
	"github.com/apache/arrow/go/v17/arrow/float16"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/schemas"
)

// everything is a schema with a field of each kind.
func everything(t testing.TB) *schemas.Set {
	t.Helper()
	field := func(name, kind string) schemas.Field {
		typ, err := schemas.ParseType(kind)
		if err != nil {
			t.Fatal(err)
		}
		return schemas.Field{Name: name, Title: schemas.Title{Zh: name, En: name}, Description: name, Type: typ}
	}
	id := field("id", "string")
	id.Key = true
	amount := field("amount", "decimal(18,4)")
	amount.Unit = "元"
	area := field("area", "float64")
	area.Unit = "㎡"
	s := &schemas.Schema{Name: "everything", Version: 1, Title: schemas.Title{Zh: "全部", En: "Everything"}, Description: "A field of each kind.", Lineage: true, Time: "day",
		Fields: []schemas.Field{id, field("text", "string"), field("whole", "int64"), field("fraction", "float64"), amount, area, field("flag", "bool"),
			field("day", "date"), field("moment", "timestamp"), field("grain", "code(grain)"), field("place", "region"), field("tags", "array(string)"),
			field("numbers", "array(int64)"), field("grains", "array(code(grain))")}}
	set, err := schemas.Standard().WithSchema(s)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// samples holds, for each Arrow type that a connector may deliver, a column of awkward values and one null.
func samples(mem memory.Allocator) map[string]arrow.Array {
	out := map[string]arrow.Array{}
	build := func(name string, t arrow.DataType, fill func(b array.Builder)) {
		b := array.NewBuilder(mem, t)
		defer b.Release()
		fill(b)
		b.AppendNull()
		out[name] = b.NewArray()
	}
	const digits = "1234567890123456"
	build("int8", arrow.PrimitiveTypes.Int8, func(b array.Builder) { b.(*array.Int8Builder).AppendValues([]int8{-128, 0, 127}, nil) })
	build("int16", arrow.PrimitiveTypes.Int16, func(b array.Builder) { b.(*array.Int16Builder).AppendValues([]int16{-32768, 1, 2021}, nil) })
	build("int32", arrow.PrimitiveTypes.Int32, func(b array.Builder) { b.(*array.Int32Builder).AppendValues([]int32{-1 << 31, 20210305, 44260}, nil) })
	build("int64", arrow.PrimitiveTypes.Int64, func(b array.Builder) {
		b.(*array.Int64Builder).AppendValues([]int64{math.MinInt64, math.MaxInt64, 1<<53 + 1, 330102}, nil)
	})
	build("uint8", arrow.PrimitiveTypes.Uint8, func(b array.Builder) { b.(*array.Uint8Builder).AppendValues([]uint8{0, 255}, nil) })
	build("uint16", arrow.PrimitiveTypes.Uint16, func(b array.Builder) { b.(*array.Uint16Builder).AppendValues([]uint16{0, 65535}, nil) })
	build("uint32", arrow.PrimitiveTypes.Uint32, func(b array.Builder) { b.(*array.Uint32Builder).AppendValues([]uint32{0, 1<<32 - 1}, nil) })
	build("uint64", arrow.PrimitiveTypes.Uint64, func(b array.Builder) { b.(*array.Uint64Builder).AppendValues([]uint64{0, 1<<64 - 1}, nil) })
	build("float16", arrow.FixedWidthTypes.Float16, func(b array.Builder) { b.(*array.Float16Builder).Append(float16.New(1.5)) })
	build("float32", arrow.PrimitiveTypes.Float32, func(b array.Builder) {
		b.(*array.Float32Builder).AppendValues([]float32{0.1, -3.4e38, 1e-40, 16777217, float32(math.Inf(1))}, nil)
	})
	build("float64", arrow.PrimitiveTypes.Float64, func(b array.Builder) {
		b.(*array.Float64Builder).AppendValues([]float64{0.1, 6.08, 1e300, 5e-324, math.Copysign(0, -1), math.NaN(), math.Inf(-1), 330102, 3.3010219900101e17, 44260.5, 1e15, 123456789012345}, nil)
	})
	build("bool", arrow.FixedWidthTypes.Boolean, func(b array.Builder) { b.(*array.BooleanBuilder).AppendValues([]bool{true, false}, nil) })
	words := []string{"", "  杭州市　", "330102", "2021-03-05", "month", "1.5", "true", "3.30102E+17", "[\"a\",\"b\"]", "甲、乙;丙", strings.Repeat("长", 300)}
	build("utf8", arrow.BinaryTypes.String, func(b array.Builder) { b.(*array.StringBuilder).AppendValues(words, nil) })
	build("large_utf8", arrow.BinaryTypes.LargeString, func(b array.Builder) { b.(*array.LargeStringBuilder).AppendValues(words, nil) })
	build("utf8_view", arrow.BinaryTypes.StringView, func(b array.Builder) { b.(*array.StringViewBuilder).AppendValues(words, nil) })
	for _, index := range []arrow.DataType{arrow.PrimitiveTypes.Int8, arrow.PrimitiveTypes.Uint16, arrow.PrimitiveTypes.Int32} {
		build("dictionary of "+index.Name(), &arrow.DictionaryType{IndexType: index, ValueType: arrow.BinaryTypes.String}, func(b array.Builder) {
			for _, w := range append(words, words...) {
				if err := b.(*array.BinaryDictionaryBuilder).AppendString(w); err != nil {
					panic(err)
				}
			}
		})
	}
	build("date32", arrow.FixedWidthTypes.Date32, func(b array.Builder) {
		b.(*array.Date32Builder).AppendValues([]arrow.Date32{0, 18691, -30000, 200000, -1 << 31}, nil)
	})
	build("date64", arrow.FixedWidthTypes.Date64, func(b array.Builder) { b.(*array.Date64Builder).AppendValues([]arrow.Date64{0, 18691 * 86400000}, nil) })
	for _, unit := range []arrow.TimeUnit{arrow.Second, arrow.Millisecond, arrow.Microsecond, arrow.Nanosecond} {
		for _, zone := range []string{"", "UTC", "Asia/Shanghai", "America/New_York"} {
			build(fmt.Sprintf("timestamp[%s, %s]", unit, zone), &arrow.TimestampType{Unit: unit, TimeZone: zone}, func(b array.Builder) {
				per := arrow.Timestamp(perSecond(unit))
				b.(*array.TimestampBuilder).AppendValues([]arrow.Timestamp{0, -1, 1614902400 * per, 1614902400*per + per/2, -1262332800 * per, 99999999 * per, -2400000000 * per, math.MaxInt64, math.MinInt64}, nil)
			})
		}
	}
	build("time32", arrow.FixedWidthTypes.Time32s, func(b array.Builder) { b.(*array.Time32Builder).Append(30600) })
	build("time64", arrow.FixedWidthTypes.Time64us, func(b array.Builder) { b.(*array.Time64Builder).Append(30600000000) })
	build("decimal128", &arrow.Decimal128Type{Precision: 18, Scale: 4}, func(b array.Builder) {
		b.(*array.Decimal128Builder).AppendValues([]decimal128.Num{decimal128.FromI64(123456), decimal128.FromI64(-5), decimal128.FromI64(999999999999999999)}, nil)
	})
	build("decimal128 without fraction", &arrow.Decimal128Type{Precision: 38}, func(b array.Builder) {
		n, err := decimal128.FromString(strings.Repeat("9", 38), 38, 0)
		if err != nil {
			panic(err)
		}
		b.(*array.Decimal128Builder).AppendValues([]decimal128.Num{n, decimal128.FromI64(330102)}, nil)
	})
	build("decimal256", &arrow.Decimal256Type{Precision: 50, Scale: 2}, func(b array.Builder) {
		n, err := decimal256.FromString(digits+".25", 50, 2)
		if err != nil {
			panic(err)
		}
		b.(*array.Decimal256Builder).Append(n)
	})
	build("list of utf8", arrow.ListOf(arrow.BinaryTypes.String), func(b array.Builder) {
		l := b.(*array.ListBuilder)
		l.Append(true)
		l.ValueBuilder().(*array.StringBuilder).AppendValues([]string{"month", "", "day"}, []bool{true, true, true})
		l.Append(true)
		l.Append(true)
		l.ValueBuilder().AppendNull()
	})
	build("list of int64", arrow.ListOf(arrow.PrimitiveTypes.Int64), func(b array.Builder) {
		l := b.(*array.ListBuilder)
		l.Append(true)
		l.ValueBuilder().(*array.Int64Builder).AppendValues([]int64{1, 2, 3}, nil)
	})
	out["null"] = array.NewNull(2)
	return out
}

const replayMapping = `
map:
  schema: everything
  fields:
    id: { value: x }
    %s: %s
`

// readings are the ways in which fields are read in the replay tests.
var readings = map[string][]string{
	"text":     {"{ from: c }", "{ from: c, 'null': ['330102', 'true', NaN] }", "{ from: c, codes: { '330102': a, 'true': b, '1.5': c, '127': d } }"},
	"whole":    {"{ from: c }", "{ from: c, parse: number, scale: 10 }", "{ from: c, 'null': ['127', '330102'] }", "{ from: c, default: 7 }"},
	"fraction": {"{ from: c }", "{ from: c, parse: number, scale: 0.001 }", "{ from: c, scale: 10000 }", "{ from: c, 'null': ['0.1', NaN] }", "{ from: c, default: 1.5 }", "{ expr: 'number(col[\"c\"]) * 2' }"},
	"amount":   {"{ from: c }", "{ from: c, unit: 万元 }", "{ from: c, default: 0 }"},
	"area":     {"{ from: c, unit: 亩 }", "{ from: c, unit: km² }"},
	"flag":     {"{ from: c }", "{ from: c, parse: bool }", "{ from: c, default: false }"},
	"day":      {"{ from: c }", "{ from: c, parse: date }", "{ from: c, parse: date, layout: [excel] }", "{ from: c, parse: month }", "{ from: c, zone: UTC }", "{ from: c, default: '2021-01-01' }"},
	"moment":   {"{ from: c }", "{ from: c, parse: datetime }", "{ from: c, parse: datetime, layout: [excel, YYYYMMDD] }", "{ from: c, zone: UTC }", "{ from: c, parse: period }"},
	"grain":    {"{ from: c }", "{ from: c, codes: { '330102': year, 'true': day } }"},
	"place":    {"{ from: c }", "{ from: c, region: {} }"},
	"tags":     {"{ from: c }"},
	"numbers":  {"{ from: c }"},
	"grains":   {"{ from: c }"},
}

// asText is the record as a replay delivers it: the JSON of its rows as text columns.
func asText(t testing.TB, mem memory.Allocator, rec arrow.Record) arrow.Record {
	t.Helper()
	w := newRowWriter(rec, nil)
	var fields []arrow.Field
	for _, f := range rec.Schema().Fields() {
		fields = append(fields, arrow.Field{Name: f.Name, Type: arrow.BinaryTypes.String, Nullable: true})
	}
	b := array.NewRecordBuilder(mem, arrow.NewSchema(fields, nil))
	defer b.Release()
	for i := range int(rec.NumRows()) {
		var row map[string]*string
		if err := json.Unmarshal(w.row(i), &row); err != nil {
			t.Fatalf("row %d: %v: %s", i, err, w.row(i))
		}
		for c, f := range fields {
			if v := row[f.Name]; v != nil {
				b.Field(c).(*array.StringBuilder).Append(*v)
			} else {
				b.Field(c).AppendNull()
			}
		}
	}
	out := b.NewRecord()
	t.Cleanup(out.Release)
	return out
}

func TestReplayedTextGivesWhatEveryTypeGave(t *testing.T) {
	t.Parallel()
	set := everything(t)
	columns := samples(memory.NewGoAllocator())
	for field, ways := range readings {
		for _, way := range ways {
			t.Run(field+" "+way, func(t *testing.T) {
				t.Parallel()
				mem := checked(t)
				shape := shapeOf(t, fmt.Sprintf(replayMapping, field, way))
				shape.Set = set
				m := mappingOf(t, mem, shape)
				for name, column := range columns {
					rec := array.NewRecord(arrow.NewSchema([]arrow.Field{{Name: "c", Type: column.DataType(), Nullable: true}}, nil), []arrow.Array{column}, int64(column.Len()))
					t.Cleanup(rec.Release)
					typed, text := apply(t, m, rec), apply(t, m, asText(t, mem, rec))
					if got, want := broken(typed), broken(text); !slices.Equal(got, want) {
						t.Errorf("%s: typed breaks %q, text %q", name, got, want)
					}
					got, want := lines(typed.Records, field), lines(text.Records, field)
					if !slices.Equal(got, want) || !slices.Equal(typed.Row, text.Row) {
						t.Errorf("%s: typed gives %q, text %q", name, got, want)
					}
					if !typed.Records.Schema().Equal(m.Schema().Arrow()) {
						t.Errorf("%s: records have %s", name, typed.Records.Schema())
					}
				}
			})
		}
	}
}

func TestTypesWithoutTextQuarantineTheBatch(t *testing.T) {
	t.Parallel()
	mem := checked(t)
	shape := shapeOf(t, fmt.Sprintf(replayMapping, "text", "c"))
	shape.Set = everything(t)
	m := mappingOf(t, mem, shape)
	for _, typ := range []arrow.DataType{arrow.BinaryTypes.Binary, arrow.StructOf(arrow.Field{Name: "a", Type: arrow.PrimitiveTypes.Int8}), arrow.FixedWidthTypes.MonthInterval, arrow.MapOf(arrow.BinaryTypes.String, arrow.BinaryTypes.String)} {
		column := array.MakeArrayOfNull(mem, typ, 2)
		rec := array.NewRecord(arrow.NewSchema([]arrow.Field{{Name: "c", Type: typ, Nullable: true}}, nil), []arrow.Array{column}, 2)
		column.Release()
		t.Cleanup(rec.Release)
		if got, want := broken(apply(t, m, rec)), []string{"0: schema.column-type text", "1: schema.column-type text"}; !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", typ, got, want)
		}
	}
}
