package clickhouse_test

import (
	"context"
	"errors"
	"io"
	"math/big"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/shopspring/decimal"

	"github.com/headwater-data/headwater/internal/embedded/clickhouse/clickhousetest"
)

var compressions = map[string]ch.CompressionMethod{
	"uncompressed": ch.CompressionNone, "lz4": ch.CompressionLZ4, "zstd": ch.CompressionZSTD,
	"gzip": ch.CompressionGZIP, "deflate": ch.CompressionDeflate, "br": ch.CompressionBrotli,
}

func TestValuesOfEveryTypeComeBackThroughTheGoClient(t *testing.T) {
	t.Parallel()
	s := clickhousetest.Start(t)
	shanghai, err := time.LoadLocation("Asia/Shanghai")
	if err != nil {
		t.Fatal(err)
	}
	moment := time.Date(2024, 2, 29, 23, 59, 58, 123_000_000, shanghai)
	text := "值"
	columns := []struct {
		kind  string
		value any
	}{
		{"Bool", true}, {"Int8", int8(-8)}, {"Int16", int16(-16)}, {"Int32", int32(-32)}, {"Int64", int64(-1 << 63)},
		{"UInt8", uint8(8)}, {"UInt16", uint16(16)}, {"UInt32", uint32(32)}, {"UInt64", uint64(1<<64 - 1)},
		{"Int128", big.NewInt(-128)}, {"UInt256", big.NewInt(256)}, {"Float32", float32(1.5)}, {"Float64", 2.25},
		{"Decimal(18, 4)", decimal.RequireFromString("12345.6789")}, {"Decimal(76, 10)", decimal.RequireFromString("-0.0000000001")},
		{"String", "it's\x00\n" + text}, {"FixedString(3)", "abc"}, {"LowCardinality(String)", text}, {"LowCardinality(Nullable(String))", &text},
		{"Date", time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC)}, {"Date32", time.Date(1949, 10, 1, 0, 0, 0, 0, time.UTC)},
		{"DateTime('Asia/Shanghai')", moment.Truncate(time.Second)}, {"DateTime64(3, 'Asia/Shanghai')", moment}, {"DateTime64(6, 'UTC')", moment.UTC()},
		{"UUID", uuid.MustParse("01234567-89ab-cdef-0123-456789abcdef")}, {"IPv4", net.ParseIP("192.0.2.1").To4()}, {"IPv6", net.ParseIP("2001:db8::1")},
		{"Enum8('a' = 1, 'b' = 2)", "b"}, {"Enum16('x' = 1000)", "x"},
		{"Nullable(Int32)", (*int32)(nil)}, {"Nullable(String)", &text}, {"Nullable(Decimal(9, 2))", (*decimal.Decimal)(nil)},
		{"Array(String)", []string{"a", "", text}}, {"Array(LowCardinality(String))", []string{"a", "a"}}, {"Array(Array(Int64))", [][]int64{{1}, {}, {2, 3}}},
		{"Array(Nullable(Int64))", []*int64{nil}},
		{"Map(String, UInt64)", map[string]uint64{"k": 1}}, {"Map(LowCardinality(String), Array(String))", map[string][]string{"k": {"v"}}},
		{"Tuple(String, Int64)", []any{"a", int64(1)}},
	}
	for name, method := range compressions {
		t.Run(name, func(t *testing.T) {
			db := s.Database(t)
			c := open(t, s, db, method)
			ctx := context.Background()
			var definition []string
			for i, column := range columns {
				definition = append(definition, "c"+string(rune('a'+i/26))+string(rune('a'+i%26))+" "+column.kind)
			}
			if err := c.Exec(ctx, "CREATE TABLE t ("+strings.Join(definition, ", ")+") ENGINE = MergeTree ORDER BY tuple()"); err != nil {
				t.Fatal(err)
			}
			batch, err := c.PrepareBatch(ctx, "INSERT INTO t")
			if err != nil {
				t.Fatal(err)
			}
			values := make([]any, len(columns))
			for i, column := range columns {
				values[i] = column.value
			}
			for range 3 {
				if err := batch.Append(values...); err != nil {
					t.Fatal(err)
				}
			}
			if err := batch.Send(); err != nil {
				t.Fatal(err)
			}
			rows, err := c.Query(ctx, "SELECT * FROM t")
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			n := 0
			for rows.Next() {
				n++
				got := make([]any, len(columns))
				for i, kind := range rows.ColumnTypes() {
					got[i] = newOf(kind.ScanType())
				}
				if err := rows.Scan(got...); err != nil {
					t.Fatal(err)
				}
				for i, column := range columns {
					if diff := cmp.Diff(column.value, valueOf(got[i]), cmp.Comparer(sameTime), cmp.Comparer(sameBig), cmp.Comparer(sameDecimal), cmp.Comparer(sameIP)); diff != "" {
						t.Errorf("%s: %s", column.kind, diff)
					}
				}
			}
			if err := rows.Err(); err != nil || n != 3 {
				t.Fatalf("got %d rows, want 3: %v", n, err)
			}
		})
	}
}

func TestTheGoClientSeesErrorsAndParametersAndLargeResults(t *testing.T) {
	t.Parallel()
	s := clickhousetest.Start(t)
	db := s.Database(t)
	for name, method := range compressions {
		t.Run(name, func(t *testing.T) {
			c := open(t, s, db, method)
			ctx := context.Background()
			for sql, code := range map[string]int32{
				"SELECT * FROM nope": 60, "SELEKT": 62, "SELECT throwIf(1)": 395,
				"SELECT throwIf(number = 3000000) FROM numbers(3000001) SETTINGS max_block_size = 1000": 395, // in the middle of the answer
			} {
				rows, err := c.Query(ctx, sql)
				if err == nil {
					for rows.Next() {
					}
					err = rows.Err()
					_ = rows.Close()
				}
				var e *ch.Exception
				if !errors.As(err, &e) || e.Code != code {
					t.Errorf("%s: got %v, want an exception with code %d", sql, err, code)
				}
			}
			var x string
			var n uint8
			if err := c.QueryRow(ch.Context(ctx, ch.WithParameters(ch.Parameters{"x": "it's", "n": "7"})), "SELECT {x:String}, {n:UInt8}").Scan(&x, &n); err != nil || x != "it's" || n != 7 {
				t.Errorf("got %q %d %v", x, n, err)
			}
			rows, err := c.Query(ctx, "SELECT number, toString(number), number % 3 = 0 ? NULL : number FROM numbers(300000)")
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			sum := uint64(0)
			for rows.Next() {
				var a uint64
				var b string
				var c *uint64
				if err := rows.Scan(&a, &b, &c); err != nil {
					t.Fatal(err)
				}
				sum += a
			}
			if err := rows.Err(); err != nil || sum != 299999*300000/2 {
				t.Errorf("got %d %v", sum, err)
			}
			var count uint64
			if err := c.QueryRow(ctx, "SELECT count() FROM system.one WHERE 0").Scan(&count); err != nil || count != 0 {
				t.Errorf("got %d %v", count, err)
			}
			// Types that the client library decodes and cannot encode.
			odd, err := c.Query(ctx, "SELECT NULL, [], INTERVAL 3 DAY, tuple(NULL, 1), number FROM numbers(1000) SETTINGS max_block_size = 100")
			if err != nil {
				t.Fatal(err)
			}
			seen := 0
			for odd.Next() {
				seen++
			}
			if err := errors.Join(odd.Err(), odd.Close()); err != nil || seen != 1000 {
				t.Errorf("got %d rows of odd types: %v", seen, err)
			}
			none, err := c.Query(ctx, "SELECT 1 WHERE 0")
			if err != nil {
				t.Fatal(err)
			}
			if none.Next() {
				t.Error("got a row of none")
			}
			if err := none.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTheGoClientReadsArrow(t *testing.T) {
	t.Parallel()
	s := clickhousetest.Start(t)
	for name, method := range compressions {
		t.Run(name, func(t *testing.T) {
			c := open(t, s, "default", method)
			mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
			defer mem.AssertSize(t, 0)
			stream, err := c.QueryFormat(context.Background(), "ArrowStream", "SELECT number AS n, toLowCardinality(toString(number % 7)) AS s FROM numbers(200000) SETTINGS output_format_arrow_low_cardinality_as_dictionary = 1")
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Close()
			reader, err := ipc.NewReader(stream, ipc.WithAllocator(mem))
			if err != nil {
				t.Fatal(err)
			}
			defer reader.Release()
			rows := int64(0)
			for reader.Next() {
				rows += reader.Record().NumRows()
			}
			if err := reader.Err(); err != nil && !errors.Is(err, io.EOF) || rows != 200000 {
				t.Errorf("got %d rows: %v", rows, err)
			}
			if _, err := c.QueryFormat(context.Background(), "ArrowStream", "SELECT nope"); err == nil {
				t.Error("got no error")
			}
		})
	}
}

func newOf(kind reflect.Type) any { return reflect.New(kind).Interface() }

func valueOf(pointer any) any { return reflect.ValueOf(pointer).Elem().Interface() }

func sameTime(a, b time.Time) bool { return a.Equal(b) }

func sameBig(a, b *big.Int) bool { return a.Cmp(b) == 0 }

func sameDecimal(a, b decimal.Decimal) bool { return a.Equal(b) }

func sameIP(a, b net.IP) bool { return a.Equal(b) }
