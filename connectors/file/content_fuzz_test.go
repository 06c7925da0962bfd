package file

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/parquet/compress"

	"github.com/headwater-data/headwater/connectors"
)

// FuzzContent: whatever a file holds, reading it under any name ends, without a panic and without a leak, and gives batches within
// their bounds. The bombs of TestBombsAreRefusedWithinBoundedMemory measure memory.
func FuzzContent(f *testing.F) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.BinaryTypes.String, Nullable: true}, {Name: "b", Type: arrow.PrimitiveTypes.Int64}}, nil)
	column := func(b *array.RecordBuilder) {
		b.Field(0).(*array.StringBuilder).AppendValues([]string{"x", "y", "x"}, []bool{true, false, true})
		b.Field(1).(*array.Int64Builder).AppendValues([]int64{1, 2, 3}, nil)
	}
	names := []string{"a.csv", "a.jsonl", "a.json", "a.xlsx", "a.parquet", "a.csv.gz", "a.zip"}
	text := []byte("a,b\n杭州,1\n\"x\ny\",2\n")
	var book bytes.Buffer
	if err := made["a.xlsx"](&book, 2); err != nil {
		f.Fatal(err)
	}
	for i, content := range [][]byte{text, []byte("{\"a\":1}\n[1]\n"), []byte(`[{"a":{"b":[1,2]}}]`), book.Bytes(), parquetOf(f, compress.Codecs.Snappy, schema, column), gzipped(text), zipped(member{name: "x.csv", content: text})} {
		f.Add(uint8(i), content)
	}
	f.Add(uint8(0), []byte("\xff\xfea\x00\n\x00"))
	f.Add(uint8(0), []byte("\xb5\xd8\xc7\xf8\n1\n"))
	f.Add(uint8(4), parquetOf(f, compress.Codecs.Zstd, schema, column, column))
	f.Fuzz(func(t *testing.T, kind uint8, content []byte) {
		name := names[int(kind)%len(names)]
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
		src, err := open(benchEnvironment(dir), map[string]any{"s": &Options{Path: Strings{name}}})
		if err != nil {
			t.Fatal(err)
		}
		shards, err := src.Shards(context.Background(), "s")
		if err != nil {
			return
		}
		for _, shard := range shards {
			rows := int64(0)
			for b, err := range src.Read(context.Background(), stream(shard.Shard), nil) {
				if err != nil {
					break
				}
				if b.Record.NumRows() > connectors.MaxBatchRows || len(b.Cursor) > connectors.MaxCursorBytes {
					t.Errorf("a batch of %d rows with a cursor of %d bytes", b.Record.NumRows(), len(b.Cursor))
				}
				for _, c := range b.Record.Columns() {
					for i := range min(c.Len(), 100) {
						_ = c.ValueStr(i)
					}
				}
				if rows += b.Record.NumRows(); rows > 1<<24 {
					t.Fatalf("%d bytes of %s give more than %d rows", len(content), name, rows)
				}
			}
		}
	})
}
