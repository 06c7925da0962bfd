package warehouse_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"go.uber.org/goleak"

	"github.com/headwater-data/headwater/internal/embedded/clickhouse/clickhousetest"
	"github.com/headwater-data/headwater/internal/secret"
	"github.com/headwater-data/headwater/schemas"
	"github.com/headwater-data/headwater/warehouse"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is a warehouse in a database of the test's own, with an allocator that finds leaks.
type bench struct {
	*warehouse.Warehouse
	t      testing.TB
	server clickhousetest.Server
	mem    *memory.CheckedAllocator
	ctx    context.Context
	config warehouse.Config
}

// open gives an empty database; migrated one with everything in it.
func open(t testing.TB) *bench {
	t.Helper()
	server := clickhousetest.Start(t)
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	b := &bench{t: t, server: server, mem: mem, ctx: context.Background()}
	b.config = warehouse.Config{
		Addr: server.Addr, User: server.User, Password: secret.New(server.Password), Database: server.Database(t), Allocator: mem,
		Logger: slog.New(slog.NewTextHandler(testLog{t}, nil)),
	}
	w, err := warehouse.Open(b.ctx, b.config)
	if err != nil {
		t.Fatal(err)
	}
	b.Warehouse = w
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		mem.AssertSize(t, 0)
	})
	return b
}

func migrated(t testing.TB) *bench {
	t.Helper()
	b := open(t)
	if _, err := b.Migrate(b.ctx, schemas.Standard()); err != nil {
		t.Fatal(err)
	}
	return b
}

type testLog struct{ t testing.TB }

func (l testLog) Write(line []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(line)))
	return len(line), nil
}

// sql runs a statement over HTTP, without the package under test, in its database, and returns TSV lines.
// It asks for figures as they are when all are put together.
func (b *bench) sql(statement string) []string {
	b.t.Helper()
	b.refresh()
	return b.raw(statement)
}

// raw is sql with figures as they are kept.
func (b *bench) raw(statement string) []string {
	b.t.Helper()
	text := strings.TrimSuffix(b.server.Exec(b.t, strings.ReplaceAll(statement, "$db", b.Database())), "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

func (b *bench) refresh() {
	b.t.Helper()
	if len(strings.TrimSpace(b.server.Exec(b.t, "SELECT 1 FROM system.tables WHERE database = '"+b.Database()+"' AND name = 'report_live'"))) == 0 {
		return // not migrated, or not by this version
	}
	if _, err := b.Refresh(b.ctx); err != nil {
		b.t.Fatal(err)
	}
}

// Rollup, Disagreements and Variances are the warehouse's, with all figures put together.
func (b *bench) Rollup(ctx context.Context, q warehouse.RollupQuery) ([]warehouse.Figure, error) {
	b.refresh()
	return b.Warehouse.Rollup(ctx, q)
}

func (b *bench) Disagreements(ctx context.Context, q warehouse.DisagreementQuery) ([]warehouse.Disagreement, error) {
	b.refresh()
	return b.Warehouse.Disagreements(ctx, q)
}

func (b *bench) Variances(ctx context.Context, f warehouse.VarianceFilter) ([]warehouse.Variance, error) {
	b.refresh()
	return b.Warehouse.Variances(ctx, f)
}

// observation is one record of the schema observation with what matters of its lineage.
type observation struct {
	indicator, region, member, subject, grain, feed string
	period                                          time.Time
	value                                           float64
	numerator, denominator                          float64 // null when the denominator is 0

	version   uint64
	deleted   bool
	source    string // defaults to "s"
	shard     string
	offset    int64
	index     uint32
	extracted time.Time // defaults to 2022-01-01
}

const (
	testTopic       = "headwater.raw.test"
	testIncarnation = "0123456789abcdef"
)

var shanghai = time.FixedZone("Asia/Shanghai", 8*3600)

func day(year, month, day int) time.Time {
	return time.Date(year, time.Month(month), day, 0, 0, 0, 0, shanghai)
}

// records builds one record of the observation schema with all columns of its table. It is released with the test.
func (b *bench) records(rows ...observation) arrow.Record {
	b.t.Helper()
	schema, _ := schemas.Standard().Schema("observation")
	fields := schema.Arrow().Fields()
	for _, f := range schemas.Lineage() {
		fields = append(fields, arrow.Field{Name: f.Name, Type: f.Type.Arrow()})
	}
	builder := array.NewRecordBuilder(b.mem, arrow.NewSchema(fields, nil))
	defer builder.Release()
	for _, r := range rows {
		if r.source == "" {
			r.source = "s"
		}
		if r.extracted.IsZero() {
			r.extracted = time.Date(2022, 1, 1, 0, 0, 0, 0, time.UTC)
		}
		if r.grain == "" {
			r.grain = "month"
		}
		if r.feed == "" {
			r.feed = "direct"
		}
		if r.version == 0 {
			r.version = uint64(r.extracted.UnixMicro())
		}
		values := map[string]any{
			"indicator": r.indicator, "region": r.region, "member": r.member, "subject": r.subject, "grain": r.grain, "period": r.period,
			"feed": r.feed, "value": r.value, "_version": r.version, "_deleted": r.deleted, "_source": r.source, "_stream": "st",
			"_shard": r.shard, "_place": "f.csv", "_row": uint64(r.index) + 1, "_topic": testTopic, "_partition": int32(0),
			"_incarnation": testIncarnation, "_offset": r.offset, "_index": r.index, "_run": "r1", "_mapping": "m", "_extracted_at": r.extracted,
		}
		if r.denominator != 0 {
			values["numerator"], values["denominator"] = r.numerator, r.denominator
		}
		for i, f := range fields {
			appendAny(b.t, builder.Field(i), values[f.Name])
		}
	}
	record := builder.NewRecord()
	b.t.Cleanup(record.Release)
	return record
}

func appendAny(t testing.TB, builder array.Builder, value any) {
	t.Helper()
	if value == nil {
		if list, ok := builder.(*array.ListBuilder); ok {
			list.Append(true)
			return
		}
		builder.AppendNull()
		return
	}
	var err error
	switch b := builder.(type) {
	case *array.StringBuilder:
		b.Append(value.(string))
	case *array.BinaryDictionaryBuilder:
		err = b.AppendString(value.(string))
	case *array.Float64Builder:
		b.Append(value.(float64))
	case *array.Uint64Builder:
		b.Append(value.(uint64))
	case *array.Uint32Builder:
		b.Append(value.(uint32))
	case *array.Uint8Builder:
		if value.(bool) {
			b.Append(1)
		} else {
			b.Append(0)
		}
	case *array.Int32Builder:
		b.Append(value.(int32))
	case *array.Int64Builder:
		b.Append(value.(int64))
	case *array.TimestampBuilder:
		var stamp arrow.Timestamp
		stamp, err = arrow.TimestampFromTime(value.(time.Time), b.Type().(*arrow.TimestampType).Unit)
		b.Append(stamp)
	default:
		err = errors.New("no way to append to " + builder.Type().String())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// load inserts observations under a token of their own.
func (b *bench) load(token string, rows ...observation) {
	b.t.Helper()
	if err := b.Insert(b.ctx, warehouse.Insert{Table: "observation", Token: token, Records: []arrow.Record{b.records(rows...)}, Rows: len(rows)}); err != nil {
		b.t.Fatal(err)
	}
}

func observationSchema(t testing.TB) *schemas.Schema {
	t.Helper()
	s, ok := schemas.Standard().Schema("observation")
	if !ok {
		t.Fatal("there is no schema observation")
	}
	return s
}
