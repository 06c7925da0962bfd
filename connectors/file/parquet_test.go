package file

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/decimal128"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"

	"github.com/headwater-data/headwater/connectors"
)

// parquetOf writes records of one schema, a row group each, with the given compression.
func parquetOf(t testing.TB, codec compress.Compression, schema *arrow.Schema, fill ...func(*array.RecordBuilder)) []byte {
	t.Helper()
	var b bytes.Buffer
	pw, err := pqarrow.NewFileWriter(schema, &b, parquet.NewWriterProperties(parquet.WithCompression(codec)), pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fill {
		rb := array.NewRecordBuilder(memory.NewGoAllocator(), schema)
		f(rb)
		record := rb.NewRecord()
		if err := pw.Write(record); err != nil {
			t.Fatal(err)
		}
		record.Release()
		rb.Release()
	}
	if err := pw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestParquetTypes(t *testing.T) {
	dictionary := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}
	cases := []struct {
		name, json, want string
		typ, got         arrow.DataType // got: nil for the same
	}{
		{name: "bool", typ: arrow.FixedWidthTypes.Boolean, json: "true", want: "true"},
		{name: "int8", typ: arrow.PrimitiveTypes.Int8, json: "-128", want: "-128"},
		{name: "uint64", typ: arrow.PrimitiveTypes.Uint64, json: "9223372036854775808", want: "9223372036854775808"},
		{name: "float64", typ: arrow.PrimitiveTypes.Float64, json: "0.1", want: "0.1"},
		{name: "decimal", typ: &arrow.Decimal128Type{Precision: 38, Scale: 4}, json: `"12345678901234567890.1234"`, want: "12345678901234567890.1234"},
		{name: "string", typ: arrow.BinaryTypes.String, json: `"杭州"`, want: "杭州"},
		{name: "large string", typ: arrow.BinaryTypes.LargeString, json: `"杭州"`, want: "杭州"},
		{name: "binary", typ: arrow.BinaryTypes.Binary, json: `"AAE="`, want: "AAE="},
		{name: "date", typ: arrow.FixedWidthTypes.Date32, json: `"2021-03-05"`, want: "2021-03-05"},
		{name: "timestamp with a zone", typ: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "Asia/Shanghai"}, json: `"2021-03-05 00:00:00.123456"`, want: "2021-03-05 08:00:00.123456+0800"},
		{name: "timestamp without one", typ: &arrow.TimestampType{Unit: arrow.Nanosecond}, json: `"2021-03-05 00:00:00.123456789"`, want: "2021-03-05 00:00:00.123456789Z"},
		{name: "time", typ: arrow.FixedWidthTypes.Time64us, json: `"08:30:00"`, want: "08:30:00.000000"},
		{name: "list", typ: arrow.ListOf(arrow.PrimitiveTypes.Int64), json: "[1,null,3]", want: "[1,null,3]"},
		{name: "struct", typ: arrow.StructOf(arrow.Field{Name: "x", Type: arrow.PrimitiveTypes.Int32, Nullable: true}), json: `{"x":1}`, want: `{"x":1}`},
		{name: "dictionary", typ: dictionary, got: arrow.BinaryTypes.String, json: `"甲"`, want: "甲"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := newProject(t)
			schema := arrow.NewSchema([]arrow.Field{{Name: "_值", Type: c.typ, Nullable: true}}, nil)
			p.write("a.parquet", parquetOf(t, compress.Codecs.Zstd, schema, func(b *array.RecordBuilder) {
				if err := b.UnmarshalJSON([]byte(`{"_值":` + c.json + `}`)); err != nil {
					t.Fatal(err)
				}
				b.Field(0).AppendNull()
			}))
			src := p.open(Options{Path: Strings{"a.parquet"}})
			r := p.read(src, "a.parquet", nil)
			if r.err != nil {
				t.Fatal(r.err)
			}
			diff(t, "columns", r.columns, []string{"值_"})
			diff(t, "rows", r.rows, []string{"1: " + c.want, "2: ∅"})
			want := c.typ
			if c.got != nil {
				want = c.got
			}
			for b, err := range src.Read(t.Context(), stream("a.parquet"), nil) {
				if err != nil {
					t.Fatal(err)
				}
				if got := b.Record.Column(0).DataType(); !arrow.TypeEqual(got, want) {
					t.Errorf("the type is %s, want %s", got, want)
				}
			}
		})
	}
}

func TestParquetCount(t *testing.T) {
	p := newProject(t)
	var b bytes.Buffer
	if err := madeParquet(&b, 123); err != nil {
		t.Fatal(err)
	}
	p.write("a.parquet", b.Bytes())
	src := p.open(Options{Path: Strings{"a.parquet"}})
	if n, err := src.Count(t.Context(), stream("a.parquet")); n != 123 || err != nil {
		t.Errorf("counted %d, %v", n, err)
	}
}

// TestParquetRowsOfVeryDifferentSize: a row that fits no batch is rejected by its hash and size, and those around it arrive.
func TestParquetRowsOfVeryDifferentSize(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.BinaryTypes.String}}, nil)
	sizes := []int{10, 5 << 20, 10, 3 << 20, 3 << 20, 10}
	p := newProject(t)
	p.write("a.parquet", parquetOf(t, compress.Codecs.Uncompressed, schema, func(b *array.RecordBuilder) {
		for i, size := range sizes {
			b.Field(0).(*array.StringBuilder).Append(strings.Repeat(fmt.Sprint(i), size))
		}
	}))
	src := p.open(Options{Path: Strings{"a.parquet"}})
	r := p.read(src, "a.parquet", nil)
	if r.err != nil {
		t.Fatal(r.err)
	}
	var got []string
	for _, row := range r.rows {
		number, text, _ := strings.Cut(row, ": ")
		got = append(got, fmt.Sprintf("%s %c %d", number, text[0], len(text)))
	}
	diff(t, "rows", got, []string{"1 0 10", "3 2 10", "4 3 3145728", "5 4 3145728", "6 5 10"})
	diff(t, "rejects", r.rejects, []string{"2 row.size"})
	for i, cursor := range r.cursors[:len(r.cursors)-1] {
		if rest := p.read(src, "a.parquet", cursor); rest.err != nil || rest.rows[len(rest.rows)-1] != r.rows[len(r.rows)-1] {
			t.Errorf("after cursor %d: %d rows, error %v", i, len(rest.rows), rest.err)
		}
	}
	for b, err := range src.Read(t.Context(), stream("a.parquet"), nil) {
		if err != nil {
			t.Fatal(err)
		}
		if size := recordBytes(b.Record); size > connectors.MaxBatchBytes {
			t.Errorf("a batch of %d bytes", size)
		}
	}
}

// TestDamagedParquet changes and cuts bytes all over a file. Whatever happens, it is an error that names the file, or the
// rows are all there; never a panic, and never fewer rows without an error.
func TestDamagedParquet(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "a", Type: arrow.BinaryTypes.String, Nullable: true}, {Name: "b", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "c", Type: &arrow.Decimal128Type{Precision: 20, Scale: 2}, Nullable: true},
	}, nil)
	group := func(b *array.RecordBuilder) {
		for i := range 300 {
			b.Field(0).(*array.StringBuilder).Append(fmt.Sprintf("text %d", i*i))
			b.Field(1).(*array.Int64Builder).Append(int64(i * 7919))
			b.Field(2).(*array.Decimal128Builder).Append(decimal128.FromI64(int64(i)))
		}
	}
	for _, codec := range []compress.Compression{compress.Codecs.Snappy, compress.Codecs.Gzip, compress.Codecs.Uncompressed} {
		whole := parquetOf(t, codec, schema, group, group)
		p := newProject(t)
		try := func(what string, content []byte) {
			p.write("a.parquet", content)
			r := p.read(p.open(Options{Path: Strings{"a.parquet"}}), "a.parquet", nil)
			switch {
			case r.err == nil && len(r.rows) != 600:
				t.Errorf("%v, %s: %d rows without an error", codec, what, len(r.rows))
			case r.err != nil && !strings.HasPrefix(r.err.Error(), "a.parquet: "):
				t.Errorf("%v, %s: the error does not name the file: %v", codec, what, r.err)
			}
		}
		stride := 1
		if raceDetector {
			stride = 10
		}
		for cut := 0; cut < len(whole); cut += 97 * stride {
			try(fmt.Sprintf("cut at %d", cut), whole[:cut])
		}
		for at := 4; at < len(whole); at += 41 * stride {
			changed := bytes.Clone(whole)
			changed[at] ^= 0xff
			try(fmt.Sprintf("byte %d changed", at), changed)
		}
	}
}
