package load

import (
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/pipeline/message"
)

func batchOrigin() origin {
	return origin{Header: message.Header{Source: "s", Stream: "t", Shard: "f.csv", Place: "f.csv", Incarnation: "00ff", Run: "r", ExtractedAt: time.UnixMicro(1_790_000_000_000_001)},
		topic: "headwater.raw.o", offset: 42, mapping: "m"}
}

// mappedRecord has columns such as a mapping leaves: values, nulls, constants, a dictionary.
func mappedRecord(mem memory.Allocator, n int) arrow.Record {
	label := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}
	b := array.NewRecordBuilder(mem, arrow.NewSchema([]arrow.Field{{Name: "value", Type: arrow.PrimitiveTypes.Float64},
		{Name: "numerator", Type: arrow.PrimitiveTypes.Float64, Nullable: true}, {Name: "member", Type: arrow.BinaryTypes.String},
		{Name: "note", Type: arrow.BinaryTypes.String, Nullable: true}, {Name: "feed", Type: label}, {Name: "grain", Type: label}}, nil))
	defer b.Release()
	for i := range n {
		b.Field(0).(*array.Float64Builder).Append(float64(i) / 10)
		b.Field(1).AppendNull()
		b.Field(2).(*array.StringBuilder).Append("")
		b.Field(3).AppendNull()
		_ = b.Field(4).(*array.BinaryDictionaryBuilder).AppendString("direct")
		_ = b.Field(5).(*array.BinaryDictionaryBuilder).AppendString([]string{"day", "hour"}[i%2])
	}
	return b.NewRecord()
}

func numbers(mem memory.Allocator, from, n int64) *array.Int64 {
	b := array.NewInt64Builder(mem)
	defer b.Release()
	for i := range n {
		b.Append(from + i)
	}
	return b.NewInt64Array()
}

func TestLineageKeepsTheColumnsAndSaysWhereRowsCameFrom(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	const n = 1000
	var kept shared
	defer kept.release()
	rows := numbers(mem, 7, n)
	defer rows.Release()
	index := make([]uint32, n)
	for i := range index {
		index[i] = uint32(i)
	}
	for name, p := range map[string]perRow{
		"the batch's own numbers": {index: index, identity: true, rowsAs: rows},
		"copied numbers": {index: index, row: func() []uint64 {
			out := make([]uint64, n)
			for i := range out {
				out[i] = uint64(i) + 7
			}
			return out
		}()},
	} {
		in := mappedRecord(mem, n)
		out := withLineage(mem, in, batchOrigin(), p, &kept)
		for i, f := range in.Schema().Fields() {
			if !array.Equal(in.Column(i), out.Column(i)) || out.Schema().Field(i).Name != f.Name {
				t.Errorf("%s: column %s is %v, was %v", name, f.Name, out.Column(i), in.Column(i))
			}
		}
		for _, want := range []struct {
			column, first, last string
		}{
			{"_version", "1790000000000001", "1790000000000001"}, {"_deleted", "0", "0"}, {"_source", "s", "s"}, {"_place", "f.csv", "f.csv"},
			{"_row", "7", "1006"}, {"_offset", "42", "42"}, {"_index", "0", "999"}, {"_partition", "0", "0"}, {"_mapping", "m", "m"},
		} {
			c := out.Column(out.Schema().FieldIndices(want.column)[0])
			if got := []string{c.ValueStr(0), c.ValueStr(n - 1)}; got[0] != want.first || got[1] != want.last {
				t.Errorf("%s: %s is %s to %s, want %s to %s", name, want.column, got[0], got[1], want.first, want.last)
			}
		}
		in.Release()
		out.Release()
	}
}

// Memory of a flush is bounded by what its batches do not share.
func TestWhatBatchesShareCountsOnce(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	const n = 1024
	var kept shared
	defer kept.release()
	index := make([]uint32, n)
	size := func() int {
		in := mappedRecord(mem, n)
		defer in.Release()
		out := withLineage(mem, in, batchOrigin(), perRow{index: index, identity: true}, &kept)
		defer out.Release()
		return kept.bytes(out)
	}
	first, second := size(), size()
	// The value, the offset and the index of grain; _version and _extracted_at are one column, and it is there already.
	if want := n * (8 + 8 + 4); second < want || second > want+want/10 {
		t.Errorf("a second batch takes %d bytes, want about %d", second, want)
	}
	if first-second < n*8 || first-second > n*9 {
		t.Errorf("the first batch takes %d bytes more than the second, want about %d", first-second, n*8)
	}
}

func TestOneNumberServesBatchesOfAllSizes(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	var kept shared
	defer kept.release()
	for _, n := range []int{3, 1, 1000, 0, 17} {
		c := kept.number(mem, arrow.PrimitiveTypes.Uint64, n, 1<<40+5).(*array.Uint64)
		if c.Len() != n {
			t.Errorf("%d values, want %d", c.Len(), n)
		}
		for _, v := range c.Uint64Values() {
			if v != 1<<40+5 {
				t.Fatalf("a value of %d is %d", n, v)
			}
		}
		c.Release()
	}
}

func BenchmarkLineage(b *testing.B) {
	const n = 64 << 10
	mem := memory.DefaultAllocator
	in := mappedRecord(mem, n)
	defer in.Release()
	rows := numbers(mem, 1, n)
	defer rows.Release()
	index := make([]uint32, n)
	o := batchOrigin()
	o.Place = strings.Repeat("x", 40)
	b.ReportAllocs()
	for b.Loop() {
		var kept shared
		withLineage(mem, in, o, perRow{index: index, identity: true, rowsAs: rows}, &kept).Release()
		kept.release()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/row")
}
