package message_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/pipeline/message"
)

const benchRows = 64 << 10

// benchBatch is a batch of seven columns as a Parquet file gives them.
func benchBatch() arrow.Record {
	text := arrow.BinaryTypes.String
	schema := arrow.NewSchema([]arrow.Field{{Name: "indicator", Type: text}, {Name: "region", Type: text}, {Name: "subject", Type: text}, {Name: "grain", Type: text},
		{Name: "period", Type: arrow.FixedWidthTypes.Date32}, {Name: "value", Type: arrow.PrimitiveTypes.Float64}, {Name: "_row", Type: arrow.PrimitiveTypes.Int64}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for i := range benchRows {
		b.Field(0).(*array.StringBuilder).Append([]string{"AIR-PM25", "AIR-O3", "WATER-PH"}[i%3])
		b.Field(1).(*array.StringBuilder).Append(fmt.Sprint(330100 + i/100%90))
		b.Field(2).(*array.StringBuilder).Append(fmt.Sprintf("监测站%02d", i/3%13))
		b.Field(3).(*array.StringBuilder).Append("day")
		b.Field(4).(*array.Date32Builder).Append(arrow.Date32(19000 + i/10000))
		b.Field(5).(*array.Float64Builder).Append(float64(i*7919%5000) / 10)
		b.Field(6).(*array.Int64Builder).Append(int64(i))
	}
	return b.NewRecord()
}

func perRow(b *testing.B, bytes int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRows, "ns/row")
	b.ReportMetric(float64(bytes)/benchRows, "bytes/row")
}

// BenchmarkEncode makes a batch's value; bytes/row is what goes to Kafka.
func BenchmarkEncode(b *testing.B) {
	rec := benchBatch()
	defer rec.Release()
	size := 0
	b.ReportAllocs()
	for b.Loop() {
		value, err := message.Encode(memory.DefaultAllocator, rec, nil)
		if err != nil {
			b.Fatal(err)
		}
		size = len(value)
	}
	perRow(b, size)
}

// BenchmarkDecode reads it.
func BenchmarkDecode(b *testing.B) {
	rec := benchBatch()
	defer rec.Release()
	value, err := message.Encode(memory.DefaultAllocator, rec, nil)
	if err != nil {
		b.Fatal(err)
	}
	h := message.Header{Source: "s", Stream: "t", Rows: benchRows, ExtractedAt: time.Unix(0, 0)}
	b.ReportAllocs()
	for b.Loop() {
		got, _, err := message.Decode(memory.DefaultAllocator, h, value)
		if err != nil {
			b.Fatal(err)
		}
		got.Release()
	}
	perRow(b, len(value))
}
