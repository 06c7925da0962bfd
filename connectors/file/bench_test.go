//go:build unix

package file

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
)

// observationsCSV writes n rows of seven columns, as the pipeline's bench reads them: ASCII but for the name.
func observationsCSV(w io.Writer, n int) error {
	b := bufio.NewWriterSize(w, 1<<20)
	random := rand.New(rand.NewPCG(1, 2))
	fmt.Fprintln(b, "id,region,region_name,indicator,period,value,unit")
	var line []byte
	for i := range n {
		line = fmt.Appendf(line[:0], "%d,33%04d,杭州市,air.pm25,2021-%02d-%02d,%d.%d,ug/m3\n", i, random.IntN(9999), i%12+1, i%28+1, random.IntN(500), random.IntN(10))
		if _, err := b.Write(line); err != nil {
			return err
		}
	}
	return b.Flush()
}

// readAll reads all shards of a stream from the beginning and returns the rows.
func readAll(b testing.TB, src *Source, stream string) (rows int64) {
	b.Helper()
	shards, err := src.Shards(context.Background(), stream)
	if err != nil {
		b.Fatal(err)
	}
	for _, shard := range shards {
		for batch, err := range src.Read(context.Background(), shard, nil) {
			if err != nil {
				b.Fatal(err)
			}
			rows += batch.Record.NumRows()
		}
	}
	return rows
}

func benchmarkRead(b *testing.B, name string, content []byte, wantRows int64, o Options) {
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
		b.Fatal(err)
	}
	o.Path = Strings{name}
	src, err := open(benchEnvironment(dir), map[string]any{"s": &o})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(content)))
	b.ReportAllocs()
	b.ResetTimer()
	var rows int64
	before := cpuTime(b)
	for b.Loop() {
		got := readAll(b, src, "s")
		if got != wantRows {
			b.Fatalf("got %d rows, want %d", got, wantRows)
		}
		rows += got
	}
	// Wall time means little on a machine that others use, too.
	cpu := (cpuTime(b) - before).Seconds()
	b.ReportMetric(float64(rows)/cpu/1e6, "Mrows/cpu-s")
	b.ReportMetric(float64(b.N)*float64(len(content))/cpu/1e6, "MB/cpu-s")
}

// cpuTime is what the process has used.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkReadCSV(b *testing.B) {
	const n = 500_000
	var buf bytes.Buffer
	if err := observationsCSV(&buf, n); err != nil {
		b.Fatal(err)
	}
	b.Run("auto", func(b *testing.B) { benchmarkRead(b, "a.csv", buf.Bytes(), n, Options{}) })
	b.Run("utf-8", func(b *testing.B) { benchmarkRead(b, "a.csv", buf.Bytes(), n, Options{Encoding: "utf-8"}) })
	ascii := bytes.ReplaceAll(buf.Bytes(), []byte("杭州市"), []byte("Hangzhou"))
	b.Run("ascii", func(b *testing.B) { benchmarkRead(b, "a.csv", ascii, n, Options{}) })
	quoted := bytes.ReplaceAll(buf.Bytes(), []byte("杭州市"), []byte(`"杭州市"`))
	b.Run("quoted", func(b *testing.B) { benchmarkRead(b, "a.csv", quoted, n, Options{}) })
}

// observationsParquet writes n rows of the same seven columns, typed, in row groups of 128Ki rows.
func observationsParquet(w io.Writer, n int) error {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "region", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "region_name", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "indicator", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "period", Type: arrow.FixedWidthTypes.Date32, Nullable: true},
		{Name: "value", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		{Name: "unit", Type: arrow.BinaryTypes.String, Nullable: true},
	}, nil)
	props := parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Snappy), parquet.WithMaxRowGroupLength(128<<10))
	pw, err := pqarrow.NewFileWriter(schema, w, props, pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(1, 2))
	b := array.NewRecordBuilder(memory.NewGoAllocator(), schema)
	defer b.Release()
	for i := range n {
		b.Field(0).(*array.Int64Builder).Append(int64(i))
		b.Field(1).(*array.StringBuilder).Append(fmt.Sprintf("33%04d", random.IntN(9999)))
		b.Field(2).(*array.StringBuilder).Append("杭州市")
		b.Field(3).(*array.StringBuilder).Append("air.pm25")
		b.Field(4).(*array.Date32Builder).Append(arrow.Date32(18628 + i%365))
		b.Field(5).(*array.Float64Builder).Append(float64(random.IntN(5000)) / 10)
		b.Field(6).(*array.StringBuilder).Append("ug/m3")
		if (i+1)%(64<<10) == 0 || i+1 == n {
			record := b.NewRecord()
			err := pw.WriteBuffered(record)
			record.Release()
			if err != nil {
				return err
			}
		}
	}
	return pw.Close()
}

func BenchmarkReadParquet(b *testing.B) {
	const n = 1_000_000
	var buf bytes.Buffer
	if err := observationsParquet(&buf, n); err != nil {
		b.Fatal(err)
	}
	benchmarkRead(b, "a.parquet", buf.Bytes(), n, Options{})
}

func BenchmarkReadJSONL(b *testing.B) {
	const n = 100_000
	var buf bytes.Buffer
	if err := made["a.jsonl"](&buf, n); err != nil {
		b.Fatal(err)
	}
	benchmarkRead(b, "a.jsonl", buf.Bytes(), n, Options{})
}

func BenchmarkReadXLSX(b *testing.B) {
	const n = 100_000
	var buf bytes.Buffer
	if err := madeXLSX(&buf, n); err != nil {
		b.Fatal(err)
	}
	benchmarkRead(b, "a.xlsx", buf.Bytes(), n, Options{})
}
