package warehouse_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/decimal128"

	"github.com/headwater-data/headwater/schemas"
	"github.com/headwater-data/headwater/warehouse"
)

// everyType is a schema that has, of every type, a key field, a field that may be null and one that may not.
func everyType(t *testing.T, history bool, timeField string) *schemas.Schema {
	t.Helper()
	s := &schemas.Schema{Name: "every", Version: 1, Title: schemas.Title{Zh: "全", En: "Every"}, Description: "Every type.", History: history, Lineage: true, Time: timeField}
	for i, text := range []string{"string", "int64", "float64", "decimal(9,4)", "decimal(18,0)", "decimal(38,38)", "decimal(38,10)", "bool", "date", "timestamp(Asia/Shanghai)", "timestamp(UTC)", "code(x)", "region", "array(string)", "array(int64)", "array(decimal(18,2))", "array(code(x))", "array(timestamp)"} {
		typ, err := schemas.ParseType(text)
		if err != nil {
			t.Fatal(err)
		}
		title := schemas.Title{Zh: text, En: text}
		if typ.Kind != schemas.KindArray {
			s.Fields = append(s.Fields, schemas.Field{Name: fmt.Sprintf("k%d", i), Title: title, Description: "x", Type: typ, Key: true})
			s.Fields = append(s.Fields, schemas.Field{Name: fmt.Sprintf("n%d", i), Title: title, Description: "x", Type: typ})
		}
		s.Fields = append(s.Fields, schemas.Field{Name: fmt.Sprintf("r%d", i), Title: title, Description: "x", Type: typ, Required: true})
	}
	s.Normalize()
	return s
}

// odd gives values at the edges of a type, and random ones.
func odd(r *rand.Rand, builder array.Builder, typ schemas.Type) {
	texts := []string{"", "n", "3:abc", "上城区", "a\x00b", "'\\\"\n\t", "\xf0\x9f\x98\x80", "0", "null", "\\N"}
	switch b := builder.(type) {
	case *array.StringBuilder:
		b.Append(texts[r.IntN(len(texts))])
	case *array.BinaryDictionaryBuilder:
		_ = b.AppendString(texts[r.IntN(len(texts))])
	case *array.Int64Builder:
		b.Append([]int64{0, 1, -1, math.MinInt64, math.MaxInt64, r.Int64()}[r.IntN(6)])
	case *array.Float64Builder:
		b.Append([]float64{0, math.Copysign(0, -1), 1, -1.5, math.MaxFloat64, math.SmallestNonzeroFloat64, math.Inf(1), math.Inf(-1), math.NaN(), 0.1, 1e21, 1e-7, r.NormFloat64()}[r.IntN(13)])
	case *array.Decimal128Builder:
		limit := decimal128.GetScaleMultiplier(min(typ.Precision, 38)).BigInt()
		big := limit.Sub(limit, decimal128.FromI64(1).BigInt())
		values := []decimal128.Num{decimal128.FromI64(0), decimal128.FromI64(1), decimal128.FromI64(-1), decimal128.FromBigInt(big), decimal128.FromBigInt(big).Negate(), decimal128.FromI64(r.Int64N(1_000_000_000) - 500_000_000)}
		b.Append(values[r.IntN(len(values))])
	case *array.BooleanBuilder:
		b.Append(r.IntN(2) == 0)
	case *array.Date32Builder:
		at := []time.Time{time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2200, 12, 31, 0, 0, 0, 0, time.UTC), time.Date(1969, 12, 31, 0, 0, 0, 0, time.UTC), time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC)}
		b.Append(arrow.Date32FromTime(at[r.IntN(len(at))]))
	case *array.TimestampBuilder:
		at := []time.Time{time.Date(1900, 1, 2, 0, 0, 0, 0, time.UTC), time.Date(2200, 12, 31, 23, 59, 59, 999e6, time.UTC), time.Date(1969, 12, 31, 23, 59, 59, 999e6, time.UTC), time.Unix(0, 0), time.Date(2024, 2, 29, 16, 0, 0, 0, time.UTC), time.Date(2024, 2, 29, 15, 59, 59, 999e6, time.UTC)}
		b.Append(arrow.Timestamp(at[r.IntN(len(at))].UnixMilli()))
	case *array.ListBuilder:
		b.Append(true)
		for range r.IntN(4) {
			odd(r, b.ValueBuilder(), *typ.Elem)
		}
	default:
		panic(fmt.Sprintf("no odd values of %T", builder))
	}
}

// oddRecord makes n random records of the schema with their lineage. The caller releases it.
func (b *bench) oddRecord(r *rand.Rand, s *schemas.Schema, n int) arrow.Record {
	fields := s.Arrow().Fields()
	own := len(fields)
	for _, f := range schemas.Lineage() {
		fields = append(fields, arrow.Field{Name: f.Name, Type: f.Type.Arrow()})
	}
	builder := array.NewRecordBuilder(b.mem, arrow.NewSchema(fields, nil))
	defer builder.Release()
	lineage := map[string]any{"_version": uint64(7), "_deleted": false, "_source": "s", "_stream": "st", "_shard": "a.csv", "_place": "a.csv!1", "_topic": testTopic,
		"_partition": int32(0), "_incarnation": testIncarnation, "_offset": int64(1), "_run": "r1", "_mapping": "m", "_extracted_at": day(2024, 1, 1)}
	for row := range n {
		for i, f := range s.Fields {
			if f.Nullable() && r.IntN(3) == 0 {
				builder.Field(i).AppendNull()
				continue
			}
			odd(r, builder.Field(i), f.Type)
		}
		lineage["_row"], lineage["_index"] = uint64(row+1), uint32(row)
		for i, f := range fields[own:] {
			appendAny(b.t, builder.Field(own+i), lineage[f.Name])
		}
	}
	return builder.NewRecord()
}

// Go and ClickHouse must make the same text of every value, or rows that are equal would be told as different for ever.
func TestTheCanonicalFormIsTheSameInGoAndInTheWarehouse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		history bool
		time    string
	}{{"a table that keeps history, by day", true, "k9"}, {"a merged table, by day of a field that may be null", false, "n8"}, {"a merged table, by ranges", false, ""}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := open(t)
			s := everyType(t, c.history, c.time)
			b.sql(s.CreateTable(b.Database()))
			rec := b.oddRecord(rand.New(rand.NewPCG(1, 2)), s, 800)
			defer rec.Release()
			if err := b.Insert(b.ctx, warehouse.Insert{Table: s.TableName(), Token: "t", Records: []arrow.Record{rec}, Rows: int(rec.NumRows())}); err != nil {
				t.Fatal(err)
			}
			canonical, err := s.Canonical(rec)
			if err != nil {
				t.Fatal(err)
			}
			type row struct {
				hash, place uint64
				key         string
			}
			want := map[warehouse.KeyHash]row{}
			for i := range int(rec.NumRows()) {
				key := canonical.Key(nil, i)
				want[warehouse.HashKey(key)] = row{warehouse.HashRow(canonical.Row(nil, i)), warehouse.HashPlace("a.csv", "a.csv!1", uint64(i+1)), string(key)}
			}
			if len(want) < 780 {
				t.Fatalf("only %d keys differ", len(want))
			}
			comparison := warehouse.Comparison{Schema: s, Source: "s"}
			if c.time == "" {
				if comparison.Ranges, err = b.KeyRanges(b.ctx, comparison, 4); err != nil {
					t.Fatal(err)
				}
				if len(comparison.Ranges) == 0 {
					t.Fatal("no ranges")
				}
			}
			var sum warehouse.Sum
			segments := map[int32]warehouse.Sum{}
			for got, err := range b.CurrentRows(b.ctx, comparison, warehouse.Buckets{}, warehouse.Own) {
				if err != nil {
					t.Fatal(err)
				}
				w, ok := want[got.KeyHash]
				if !ok || w.key != got.Key || w.hash != got.Hash || w.place != got.Place {
					t.Fatalf("the warehouse has %+v, want %+v", got, w)
				}
				delete(want, got.KeyHash)
				sum.Add(got.Hash)
				x := segments[got.Segment]
				x.Add(got.Hash)
				segments[got.Segment] = x
				if len(want)%16 != 0 {
					continue // reading keys back is slow
				}
				back := array.NewRecordBuilder(b.mem, s.Arrow())
				if err := s.AppendKey(back, got.Key); err != nil {
					t.Fatal(err)
				}
				only := back.NewRecord()
				again, err := s.Canonical(only)
				if err != nil {
					t.Fatal(err)
				}
				if key := string(again.Key(nil, 0)); key != got.Key {
					t.Errorf("a key that was read back is %q, want %q", key, got.Key)
				}
				if texts, err := s.KeyTexts(got.Key); err != nil || len(texts) != len(s.Key()) {
					t.Errorf("as texts: %q, %v", texts, err)
				}
				only.Release()
				back.Release()
			}
			if len(want) != 0 {
				t.Errorf("%d rows are not among those of the warehouse", len(want))
			}
			all := [2]int32{math.MinInt32, math.MaxInt32}
			buckets, rows, bySegment, err := b.Sums(b.ctx, comparison, warehouse.Buckets{}, 3, all)
			if err != nil {
				t.Fatal(err)
			}
			var total warehouse.Sum
			for n, x := range buckets {
				if rows[n] != x.Rows || n > 7 {
					t.Errorf("bucket %d has %d rows, %d inside", n, rows[n], x.Rows)
				}
				total.Rows += x.Rows
				total.Hash += x.Hash
			}
			if total != sum || len(buckets) != 8 {
				t.Errorf("%d buckets with %+v, want 8 with %+v", len(buckets), total, sum)
			}
			if fmt.Sprint(bySegment) != fmt.Sprint(segments) || len(segments) < 2 {
				t.Errorf("segments %v, want %v", bySegment, segments)
			}
			one := warehouse.Buckets{Bits: 3, Numbers: []uint64{5}}
			n := uint64(0)
			for got, err := range b.CurrentRows(b.ctx, comparison, one, warehouse.Live) {
				if err != nil || one.Of(got.KeyHash) != 5 {
					t.Fatalf("%+v is not of bucket 5: %v", got, err)
				}
				n++
			}
			if n != rows[5] {
				t.Errorf("bucket 5 has %d rows, want %d", n, rows[5])
			}
		})
	}
}
