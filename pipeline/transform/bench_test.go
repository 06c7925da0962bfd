package transform

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

const benchRows = 64 << 10

var benchRegions = []string{"330102", "330105", "330106", "330108", "330109", "330110", "330203", "330205", "330402", "331122"}

// benchRecord is a batch of the seven-column observation: typed as from Parquet, or all text as from CSV.
func benchRecord(typed bool) arrow.Record {
	mem := memory.NewGoAllocator()
	zone := &arrow.TimestampType{Unit: arrow.Millisecond, TimeZone: "Asia/Shanghai"}
	text := arrow.BinaryTypes.String
	fields := []arrow.Field{{Name: "indicator", Type: text}, {Name: "region", Type: text}, {Name: "subject", Type: text}, {Name: "grain", Type: text},
		{Name: "period", Type: text}, {Name: "feed", Type: text}, {Name: "value", Type: text}}
	if typed {
		fields[1].Type = &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: text}
		fields[4].Type = zone
		fields[6].Type = arrow.PrimitiveTypes.Float64
	}
	b := array.NewRecordBuilder(mem, arrow.NewSchema(fields, nil))
	defer b.Release()
	const start = 1609430400000 // 2021-01-01 in Shanghai
	for i := range benchRows {
		b.Field(0).(*array.StringBuilder).Append("AIR-PM25")
		b.Field(2).(*array.StringBuilder).Append(fmt.Sprintf("station-%03d", i%40))
		b.Field(3).(*array.StringBuilder).Append("hour")
		b.Field(5).(*array.StringBuilder).Append("source")
		region := benchRegions[i%len(benchRegions)]
		at := int64(start + i/40*3_600_000)
		value := float64(i%5000) / 10
		if typed {
			if err := b.Field(1).(*array.BinaryDictionaryBuilder).AppendString(region); err != nil {
				panic(err)
			}
			b.Field(4).(*array.TimestampBuilder).Append(arrow.Timestamp(at))
			b.Field(6).(*array.Float64Builder).Append(value)
			continue
		}
		b.Field(1).(*array.StringBuilder).Append(region)
		m := momentOf(at + 8*3_600_000)
		b.Field(4).(*array.StringBuilder).Append(fmt.Sprintf("%04d-%02d-%02d %02d:00:00", m.year, m.month, m.day, m.hour))
		b.Field(6).(*array.StringBuilder).Append(string(appendFloat(nil, value, 64)))
	}
	return b.NewRecord()
}

const benchMapping = `
map:
  schema: observation
  fields:
    indicator: indicator
    region: region
    subject: subject
    grain: grain
    period: period
    feed: feed
    value: value
`

func benchApply(b *testing.B, mapping string, rec arrow.Record) {
	defer rec.Release()
	m := mappingOf(b, memory.NewGoAllocator(), shapeOf(b, mapping))
	b.ReportAllocs()
	b.ResetTimer()
	cpu := cpuTime(b)
	for range b.N {
		r, err := m.Apply(context.Background(), rec, ApplyOptions{})
		if err != nil {
			b.Fatal(err)
		}
		if len(r.Row) == 0 || len(r.Quarantined) > 0 {
			b.Fatalf("%d records, %d quarantined: %v", len(r.Row), len(r.Quarantined), r.Quarantined[0])
		}
		r.Release()
	}
	perRow(b, int(rec.NumRows()), cpuTime(b)-cpu)
}

// cpuTime is the time that the process has computed, which unlike the clock does not depend on what else the machine does.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func perRow(b *testing.B, rows int, cpu time.Duration) {
	total := float64(b.N) * float64(rows)
	b.ReportMetric(float64(cpu.Nanoseconds())/total, "cpu-ns/row")
	b.ReportMetric(total/cpu.Seconds()/1e6, "Mrows/cpu-s")
}

func BenchmarkApply(b *testing.B) {
	b.Run("typed", func(b *testing.B) { benchApply(b, benchMapping, benchRecord(true)) })
	b.Run("text", func(b *testing.B) { benchApply(b, benchMapping, benchRecord(false)) })
	rule := benchMapping + "  rules: [{ name: range, when: value < 0 or value > 2000 }]\n"
	b.Run("typed with a rule over the record", func(b *testing.B) { benchApply(b, rule, benchRecord(true)) })
	filter := benchMapping + "filter: [{ name: other, when: 'col[\"grain\"] == \"day\"' }]\n"
	b.Run("text with a filter", func(b *testing.B) { benchApply(b, filter, benchRecord(false)) })
}

// BenchmarkField measures one field's way from the source column to the standard one.
func BenchmarkField(b *testing.B) {
	mem := memory.NewGoAllocator()
	texts := func(make func(i int) string) arrow.Array {
		t := array.NewStringBuilder(mem)
		defer t.Release()
		for i := range benchRows {
			t.Append(make(i))
		}
		return t.NewArray()
	}
	floats := array.NewFloat64Builder(mem)
	defer floats.Release()
	stamps := array.NewTimestampBuilder(mem, &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"})
	defer stamps.Release()
	for i := range benchRows {
		floats.Append(float64(i%5000) / 10)
		stamps.Append(arrow.Timestamp(1609430400000000 + int64(i)*60_000_000))
	}
	plainFloats := floats.NewArray()
	numbers := texts(func(i int) string { return string(appendFloat(nil, float64(i%5000)/10, 64)) })
	days := texts(func(i int) string { return string(appendDate(nil, int32(18000+i%400))) })
	cases := []struct {
		name, field, spec string
		column            arrow.Array
	}{
		{"number from float64", "fraction", "{ from: c }", plainFloats},
		{"number from float64 in another unit", "area", "{ from: c, unit: 公顷 }", plainFloats},
		{"number from text", "fraction", "{ from: c }", numbers},
		{"number from text with separators and 万", "fraction", "{ from: c, parse: number }", texts(func(i int) string { return fmt.Sprintf("%d,%03d.5万", 1+i%9, i%1000) })},
		{"number by an expression", "fraction", `{ expr: 'number(col["c"])' }`, numbers},
		{"number by an expression with arithmetic", "fraction", `{ expr: 'number(col["c"]) * 10000' }`, numbers},
		{"number by the steps for the same", "fraction", "{ from: c, scale: 10000 }", numbers},
		{"decimal from text", "amount", "{ from: c }", numbers},
		{"whole number from text", "whole", "{ from: c }", texts(func(i int) string { return fmt.Sprint(i) })},
		{"date from ISO text", "day", "{ from: c }", days},
		{"date from Chinese text", "day", "{ from: c, parse: date }", texts(func(i int) string {
			y, m, d := civil(int32(18000 + i%400))
			return fmt.Sprintf("%d年%d月%d日", y, m, d)
		})},
		{"date by an expression", "day", `{ expr: 'date(col["c"])' }`, days},
		{"timestamp from ISO text", "moment", "{ from: c }", texts(func(i int) string { return string(appendDate(nil, int32(18000+i%400))) + "T08:30:00" })},
		{"timestamp from microseconds in UTC", "moment", "{ from: c }", stamps.NewArray()},
		{"text as it is", "text", "{ from: c }", numbers},
		{"text translated", "text", "{ from: c, codes: { '1': a, '2': b, '3': c } }", texts(func(i int) string { return fmt.Sprint(1 + i%3) })},
		{"code from text", "grain", "{ from: c }", texts(func(i int) string { return []string{"day", "month", "年", "季"}[i%4] })},
		{"code by an expression", "grain", `{ expr: 'col["c"] == "年" ? "year" : "month"' }`, texts(func(i int) string { return []string{"年", "月"}[i%2] })},
		{"region from codes", "place", "{ from: c }", texts(func(i int) string { return benchRegions[i%len(benchRegions)] })},
		{"region from names of two levels", "place", "{ region: { names: [c, c] } }", texts(func(i int) string { return []string{"上城区", "拱墅区", "缙云县"}[i%3] })},
	}
	for _, c := range cases {
		b.Run(c.name, func(b *testing.B) {
			shape := shapeOf(b, fmt.Sprintf("map: { schema: everything, fields: { id: { value: x }, %s: %s } }", c.field, c.spec))
			shape.Set = everything(b)
			m := mappingOf(b, mem, shape)
			rec := array.NewRecord(arrow.NewSchema([]arrow.Field{{Name: "c", Type: c.column.DataType(), Nullable: true}}, nil), []arrow.Array{c.column}, benchRows)
			p := m.fields[m.schema.FieldIndex(c.field)]
			work := &batch{m: m, mem: mem, rec: rec, n: benchRows, s: newScratch(), vectors: make([]vector, len(m.fields))}
			p.datedBy = -1
			b.ReportAllocs()
			b.ResetTimer()
			cpu := cpuTime(b)
			for range b.N {
				work.s.begin()
				p.evaluate(work).arr.Release()
			}
			if len(work.breaks) > 0 {
				b.Fatal(work.breaks[0])
			}
			perRow(b, benchRows, cpuTime(b)-cpu)
		})
	}
}

// BenchmarkSmallBatch measures what a batch costs however few rows it has.
func BenchmarkSmallBatch(b *testing.B) {
	whole := benchRecord(false)
	defer whole.Release()
	benchApply(b, benchMapping, whole.NewSlice(0, 1))
}
