package warehouse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/schemas"
)

// GoneQuery asks what a message that replaces a shard's content has made go away.
type GoneQuery struct {
	Source, Stream, Shard string
	// Before is the extraction time of the new content: rows extracted earlier belong to what it replaced.
	Before time.Time
	// Range names the log; Offset is the message that replaces.
	Range  Range
	Offset int64
}

// goneKeysAtOnce is the number of keys that a shard's old content may have for the table to be searched by them. Above it
// the table is read through in the order of its key, which costs no memory.
const goneKeysAtOnce = 500_000

// goneRows bounds the records that Gone yields, as batches are bounded everywhere.
const goneRows = 64 << 10

// Gone lists the records to mark as deleted when a shard's content was replaced: the keys whose newest row is of the shard,
// was extracted before, and is not deleted, ordered by key. Ask after the message's own rows are in the table. Tombstones
// that the message itself has written do not count, and their keys are listed too, so that a replay finds the same records,
// in the same order, even where merges have removed the rows that the tombstones stand for.
//
// Records have the columns of schema.Arrow(), at most 64Ki rows, the keys filled, everything else null or, where null is not
// allowed, the default or empty. A record is valid until the next step; the sequence is for single use. Where history is
// kept, a tombstone is one more version.
func (w *Warehouse) Gone(ctx context.Context, schema *schemas.Schema, q GoneQuery) iter.Seq2[arrow.Record, error] {
	return func(yield func(arrow.Record, error) bool) {
		if err := w.gone(ctx, schema, q, func(r arrow.Record) bool { return yield(r, nil) }); err != nil {
			yield(nil, err)
		}
	}
}

// Brought reports whether the table has rows that the shard's content of that extraction time brought.
func (w *Warehouse) Brought(ctx context.Context, table, source, stream, shard string, at time.Time) (bool, error) {
	var n uint64
	err := w.data.QueryRow(ctx, "SELECT count() FROM (SELECT 1 FROM "+w.table(table)+
		" WHERE _source = {source:String} AND _stream = {stream:String} AND _shard = {shard:String} AND _deleted = 0"+
		" AND _extracted_at = fromUnixTimestamp64Micro({at:Int64}, 'UTC') LIMIT 1)",
		clickhouse.Named("source", source), clickhouse.Named("stream", stream), clickhouse.Named("shard", shard), clickhouse.Named("at", at.UnixMicro())).Scan(&n)
	if err != nil {
		return false, w.wrap(err, fmt.Sprintf("look for new rows of %s/%s in %s", source, stream, table))
	}
	return n > 0, nil
}

func (w *Warehouse) gone(ctx context.Context, schema *schemas.Schema, q GoneQuery, yield func(arrow.Record) bool) error {
	what := fmt.Sprintf("look for replaced rows of %s/%s in %s", q.Source, q.Stream, schema.Name)
	table, key := w.table(schema.TableName()), quoteNames(schema.Key())
	args := []any{
		clickhouse.Named("source", q.Source), clickhouse.Named("stream", q.Stream), clickhouse.Named("shard", q.Shard),
		clickhouse.Named("before", q.Before.UnixMicro()), clickhouse.Named("topic", q.Range.Topic),
		clickhouse.Named("partition", q.Range.Partition), clickhouse.Named("incarnation", q.Range.Incarnation), clickhouse.Named("offset", q.Offset),
	}
	const (
		shard = "_source = {source:String} AND _stream = {stream:String} AND _shard = {shard:String}"
		old   = shard + " AND _extracted_at < fromUnixTimestamp64Micro({before:Int64}, 'UTC')"
		own   = shard + " AND _deleted = 1 AND _topic = {topic:String} AND _partition = {partition:Int32} AND _incarnation = {incarnation:String} AND _offset = {offset:Int64}"
	)
	var candidates uint64
	if err := w.data.QueryRow(ctx, "SELECT count() FROM "+table+" WHERE "+old+" OR "+own, args...).Scan(&candidates); err != nil {
		return w.wrap(err, what)
	}
	if candidates == 0 {
		return nil
	}
	within := ""
	if candidates <= goneKeysAtOnce {
		within = " WHERE (" + key + ") IN (SELECT " + key + " FROM " + table + " WHERE " + old + " OR " + own + ")"
	}
	var columns []string
	for _, name := range schema.Key() {
		field, _ := schema.Field(name)
		switch field.Type.Kind {
		case schemas.KindCode, schemas.KindRegion, schemas.KindString:
			columns = append(columns, "toString("+quoteName(name)+")") // one Arrow type, whatever the server makes of dictionaries
		default:
			columns = append(columns, quoteName(name))
		}
	}
	// The newest row of a key by version; of rows with the same version the one that came last, as merges decide.
	const newest = "argMaxIf(" + old + " AND _deleted = 0, (_version, _offset, _index), NOT (" + own + "))"
	statement := "SELECT " + strings.Join(columns, ", ") + " FROM " + table + within + " GROUP BY " + key +
		" HAVING " + newest + " OR max(" + own + ") ORDER BY " + key
	// Rows are grouped as they come in the order of the key, so that neither server nor client holds more than a few.
	settings := clickhouse.Settings{
		"optimize_aggregation_in_order": 1, "optimize_read_in_order": 1,
		"output_format_arrow_string_as_string": 1, "output_format_arrow_low_cardinality_as_dictionary": 0,
		"max_block_size": goneRows,
	}
	body, err := w.queryFormat(ctx, settings, "ArrowStream", statement, args...)
	if err != nil {
		return w.wrap(err, what)
	}
	err = w.eachGone(schema, body, yield)
	return w.wrap(errors.Join(err, body.Close()), what)
}

// queryFormat is the one place that knows how raw results are had: clickhouse-go's QueryFormat is experimental.
func (w *Warehouse) queryFormat(ctx context.Context, settings clickhouse.Settings, format, statement string, args ...any) (io.ReadCloser, error) {
	return w.data.QueryFormat(clickhouse.Context(ctx, clickhouse.WithSettings(settings)), format, statement, args...)
}

func (w *Warehouse) eachGone(schema *schemas.Schema, body io.Reader, yield func(arrow.Record) bool) error {
	reader, err := ipc.NewReader(body, ipc.WithAllocator(w.mem))
	if err != nil {
		return err
	}
	defer reader.Release()
	for reader.Next() {
		keys := reader.Record()
		for from := int64(0); from < keys.NumRows(); from += goneRows {
			part := keys.NewSlice(from, min(keys.NumRows(), from+goneRows))
			record, err := fillKeys(w.mem, schema, part)
			part.Release()
			if err != nil {
				return err
			}
			more := yield(record)
			record.Release()
			if !more {
				return nil
			}
		}
	}
	if err := reader.Err(); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// fillKeys makes records of the schema from key columns in the schema's key order.
func fillKeys(mem memory.Allocator, schema *schemas.Schema, keys arrow.Record) (arrow.Record, error) {
	position := map[string]int{}
	for i, name := range schema.Key() {
		position[name] = i
	}
	n := int(keys.NumRows())
	columns := make([]arrow.Array, len(schema.Fields))
	defer func() {
		for _, c := range columns {
			if c != nil {
				c.Release()
			}
		}
	}()
	for i, field := range schema.Fields {
		var err error
		if at, ok := position[field.Name]; ok {
			columns[i], err = keyColumn(mem, field, keys.Column(at))
		} else {
			columns[i], err = emptyColumn(mem, field, n)
		}
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", field.Name, err)
		}
	}
	return array.NewRecord(schema.Arrow(), columns, int64(n)), nil
}

func keyColumn(mem memory.Allocator, field schemas.Field, got arrow.Array) (arrow.Array, error) {
	want := field.Type.Arrow()
	if dictionary, ok := want.(*arrow.DictionaryType); ok {
		text, ok := got.(*array.String)
		if !ok {
			return nil, fmt.Errorf("got %s, want text", got.DataType())
		}
		builder := array.NewDictionaryBuilder(mem, dictionary).(*array.BinaryDictionaryBuilder)
		defer builder.Release()
		for i := range text.Len() {
			if err := builder.AppendString(text.Value(i)); err != nil {
				return nil, err
			}
		}
		return builder.NewArray(), nil
	}
	if got, ok := got.(*array.Uint8); ok && want.ID() == arrow.BOOL {
		builder := array.NewBooleanBuilder(mem)
		defer builder.Release()
		for i := range got.Len() {
			builder.Append(got.Value(i) != 0)
		}
		return builder.NewArray(), nil
	}
	if !arrow.TypeEqual(got.DataType(), want) {
		return nil, fmt.Errorf("got %s, want %s", got.DataType(), want)
	}
	got.Retain()
	return got, nil
}

func emptyColumn(mem memory.Allocator, field schemas.Field, n int) (arrow.Array, error) {
	if field.Nullable() {
		return array.MakeArrayOfNull(mem, field.Type.Arrow(), n), nil
	}
	builder := array.NewBuilder(mem, field.Type.Arrow())
	defer builder.Release()
	builder.Reserve(n)
	for range n {
		var err error
		switch value := field.Default.(type) {
		case nil:
			if d, ok := builder.(*array.BinaryDictionaryBuilder); ok {
				err = d.AppendString("")
			} else {
				builder.AppendEmptyValue()
			}
		case string:
			err = builder.AppendValueFromString(value)
		default:
			err = builder.AppendValueFromString(fmt.Sprint(value))
		}
		if err != nil {
			return nil, err
		}
	}
	return builder.NewArray(), nil
}
