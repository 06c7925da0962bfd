package warehouse_test

import (
	"fmt"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/headwater-data/headwater/warehouse"
)

// BenchmarkInsert measures blocks of 256Ki observations with all lineage columns into the sorted table.
func BenchmarkInsert(b *testing.B) {
	w := migrated(b)
	const batches, size = 4, 64 << 10
	var records []arrow.Record
	for i := range batches {
		records = append(records, w.records(many(size, int64(i))...))
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; b.Loop(); i++ {
		if err := w.Insert(w.ctx, warehouse.Insert{Table: "observation", Token: fmt.Sprint(i), Records: records, Rows: batches * size}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*batches*size/b.Elapsed().Seconds(), "rows/s")
}
