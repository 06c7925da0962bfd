package ingest

import (
	"crypto/sha256"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/connectors"
)

// withoutOversized splits a record into the rows that fit a message and rejects for those that alone do not: they are kept by
// hash, size and place.
func withoutOversized(mem memory.Allocator, rec arrow.Record, place string) (arrow.Record, []connectors.Reject) {
	var rejects []connectors.Reject
	var parts []arrow.Record
	start := int64(0)
	flush := func(end int64) {
		if end > start {
			parts = append(parts, rec.NewSlice(start, end))
		}
		start = end + 1
	}
	for row := range int(rec.NumRows()) {
		size, sum := measure(rec, row)
		if size <= oversized {
			continue
		}
		rejects = append(rejects, connectors.Reject{
			Row: rowNumber(rec, row), Rule: "row.too-large",
			Reason: fmt.Sprintf("the row has %d bytes and fits no message (limit %d); sha256 %x, in %s", size, oversized, sum, place),
		})
		flush(int64(row))
	}
	flush(rec.NumRows())
	defer func() {
		for _, p := range parts {
			p.Release()
		}
	}()
	columns := make([]arrow.Array, rec.NumCols())
	rows := int64(0)
	for i := range columns {
		pieces := make([]arrow.Array, len(parts))
		for j, p := range parts {
			pieces[j] = p.Column(i)
		}
		if len(pieces) == 0 {
			columns[i] = array.MakeArrayOfNull(mem, rec.Column(i).DataType(), 0)
		} else if joined, err := array.Concatenate(pieces, mem); err == nil {
			columns[i] = joined
		} else {
			panic("ingest: concatenate slices of one column: " + err.Error())
		}
		rows = int64(columns[i].Len())
	}
	out := array.NewRecord(rec.Schema(), columns, rows)
	for _, c := range columns {
		c.Release()
	}
	return out, rejects
}

func measure(rec arrow.Record, row int) (size int, sum [sha256.Size]byte) {
	h := sha256.New()
	for _, c := range rec.Columns() {
		if c.IsNull(row) {
			continue
		}
		var b []byte
		switch a := c.(type) {
		case *array.String:
			b = []byte(a.Value(row))
		case *array.Binary:
			b = a.Value(row)
		case *array.LargeString:
			b = []byte(a.Value(row))
		default:
			size += 8
			continue
		}
		size += len(b)
		h.Write(b)
	}
	return size, [sha256.Size]byte(h.Sum(nil))
}

func rowNumber(rec arrow.Record, row int) int64 {
	if i := rec.Schema().FieldIndices(connectors.ColumnRow); len(i) == 1 {
		if a, ok := rec.Column(i[0]).(*array.Int64); ok && !a.IsNull(row) {
			return a.Value(row)
		}
	}
	return 0
}
