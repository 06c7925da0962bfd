package clickhouse_test

import (
	"bytes"
	"context"
	"testing"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"go.uber.org/goleak"

	"github.com/headwater-data/headwater/internal/embedded/clickhouse/clickhousetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, s clickhousetest.Server, database string, compression ch.CompressionMethod) ch.Conn {
	t.Helper()
	c, err := ch.Open(&ch.Options{
		Protocol: ch.HTTP, Addr: []string{s.Addr}, Auth: ch.Auth{Database: database, Username: s.User, Password: s.Password},
		Compression: &ch.Compression{Method: compression},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestARepeatedInsertWithTheSameTokenCountsOnce(t *testing.T) {
	s := clickhousetest.Start(t)
	db := s.Database(t)
	c := open(t, s, db, ch.CompressionNone)
	ctx := context.Background()
	if err := c.Ping(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.Exec(ctx, "CREATE TABLE t (a Int64, s String) ENGINE = ReplacingMergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 10000"); err != nil {
		t.Fatal(err)
	}
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	schema := arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.PrimitiveTypes.Int64}, {Name: "s", Type: arrow.BinaryTypes.String}}, nil)
	b := array.NewRecordBuilder(mem, schema)
	defer b.Release()
	for i := range 1000 {
		b.Field(0).(*array.Int64Builder).Append(int64(i))
		b.Field(1).(*array.StringBuilder).Append("值")
	}
	rec := b.NewRecord()
	defer rec.Release()
	var buf bytes.Buffer
	w := ipc.NewWriter(&buf, ipc.WithSchema(schema), ipc.WithAllocator(mem))
	if err := w.Write(rec); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		tokened := ch.Context(ctx, ch.WithSettings(ch.Settings{"insert_deduplication_token": "raw/0/0-10"}))
		if err := c.InsertFormat(tokened, "ArrowStream", "INSERT INTO t", bytes.NewReader(buf.Bytes())); err != nil {
			t.Fatal(err)
		}
	}
	var n uint64
	if err := c.QueryRow(ctx, "SELECT count() FROM t").Scan(&n); err != nil {
		t.Fatal(err)
	}
	if n != 1000 {
		t.Fatalf("got %d rows, want 1000", n)
	}
}
