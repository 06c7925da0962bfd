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
