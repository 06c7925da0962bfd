package warehouse

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/internal/fault"
)

// Insert is one block for one table.
type Insert struct {
	Table string
	// Token names the block: the table takes it once as long as its window remembers the token.
	Token string
	// Records share one schema; its column names are the table's, in any order. Columns of the table that are missing get
	// their defaults. The caller keeps the records and releases them.
	Records []arrow.Record
	// Rows is how many rows the records have together, as the caller counts them. An insert that disagrees is refused.
	Rows int
}

// Insert sends the records as exactly one block (one part in each table partition that it touches) under the token. Nil
// means that the server answered success: the block is in the table, or the token was known. It never asks the server how
// many rows it wrote, since that counts what a token dropped. An insert of no rows does nothing.
//
// A transient error means that the outcome is unknown or that nothing happened; repeat it unchanged. Classify tells what
// the others mean for the rows.
func (w *Warehouse) Insert(ctx context.Context, insert Insert) error {
	rows := int64(0)
	for i, record := range insert.Records {
		if i > 0 && !record.Schema().Equal(insert.Records[0].Schema()) {
			return fmt.Errorf("insert into %s: record %d has another schema than the first: %v, want %v", insert.Table, i, record.Schema(), insert.Records[0].Schema())
		}
		rows += record.NumRows()
	}
	switch {
	case rows != int64(insert.Rows):
		return fmt.Errorf("insert into %s: the records have %d rows, the caller counted %d", insert.Table, rows, insert.Rows)
	case rows == 0:
		return nil
	case rows >= oneBlockRows:
		return fmt.Errorf("insert into %s: %d rows are more than one block holds", insert.Table, rows)
	case insert.Token == "":
		return fmt.Errorf("insert into %s: no deduplication token", insert.Table)
	}
	settings, err := w.insertSettings(ctx, insert.Token)
	if err != nil {
		return err
	}
	records, err := shareDictionaries(w.mem, insert.Records)
	if err != nil {
		return fmt.Errorf("insert into %s: %w", insert.Table, err)
	}
	defer release(records)
	return w.wrap(w.insertArrow(ctx, insert.Table, settings, records), fmt.Sprintf("insert %d rows into %s", rows, insert.Table))
}

// insertArrow is the one place that knows how Arrow records reach a table: clickhouse-go's InsertFormat is experimental.
func (w *Warehouse) insertArrow(ctx context.Context, table string, settings clickhouse.Settings, records []arrow.Record) error {
	schema := records[0].Schema()
	names := make([]string, schema.NumFields())
	for i, f := range schema.Fields() {
		names[i] = f.Name
	}
	statement := "INSERT INTO " + w.table(table) + " (" + quoteNames(names) + ")"

	reader, writer := io.Pipe()
	encoded := make(chan error, 1)
	go func() {
		err := writeStream(writer, w.mem, records)
		// The request fails with the encoder's error; without one its body ends.
		_ = writer.CloseWithError(err) // always nil
		encoded <- err
	}()
	err := w.data.InsertFormat(clickhouse.Context(ctx, clickhouse.WithSettings(settings)), "ArrowStream", statement, reader)
	// Stops the encoder if the request ended before its body; the error that it then gets is ours.
	_ = reader.CloseWithError(errRequestEnded) // always nil
	if encoding := <-encoded; encoding != nil && !errors.Is(encoding, errRequestEnded) {
		return fault.Permanent(fmt.Errorf("encode Arrow stream: %w", encoding))
	}
	return err
}

var errRequestEnded = errors.New("the request ended before its body")

// writeStream writes the records as an Arrow IPC stream. Buffers stay uncompressed: on a loopback or a data centre's network
// compressing costs more than sending.
func writeStream(to io.Writer, mem memory.Allocator, records []arrow.Record) error {
	writer := ipc.NewWriter(to, ipc.WithSchema(records[0].Schema()), ipc.WithAllocator(mem))
	for _, record := range records {
		if err := writer.Write(record); err != nil {
			return errors.Join(err, writer.Close())
		}
	}
	return writer.Close()
}

// shareDictionaries gives all records one dictionary for each dictionary column. ClickHouse reads a column's dictionary
// once for a stream and goes on using it, so a second one would silently turn values into others. The caller releases the
// result.
func shareDictionaries(mem memory.Allocator, records []arrow.Record) (shared []arrow.Record, err error) {
	schema := records[0].Schema()
	columns := make([][]arrow.Array, len(records)) // by record; nil where the record's own column stays
	for i := range columns {
		columns[i] = make([]arrow.Array, schema.NumFields())
	}
	defer func() {
		for _, own := range columns {
			for _, column := range own {
				if column != nil {
					column.Release()
				}
			}
		}
	}()
	for c := range schema.NumFields() {
		dictionaryType, ok := schema.Field(c).Type.(*arrow.DictionaryType)
		if !ok {
			continue
		}
		first := records[0].Column(c).(*array.Dictionary).Dictionary()
		same := true
		for _, record := range records[1:] {
			d := record.Column(c).(*array.Dictionary).Dictionary()
			same = same && (d.Data() == first.Data() || array.Equal(d, first))
		}
		if same {
			continue
		}
		if err := unifyColumn(mem, dictionaryType, records, columns, c); err != nil {
			return nil, fmt.Errorf("column %s: %w", schema.Field(c).Name, err)
		}
	}
	shared = make([]arrow.Record, len(records))
	for i, record := range records {
		own := make([]arrow.Array, len(columns[i]))
		for c := range own {
			if own[c] = columns[i][c]; own[c] == nil {
				own[c] = record.Column(c)
			}
		}
		shared[i] = array.NewRecord(schema, own, record.NumRows())
	}
	return shared, nil
}

func unifyColumn(mem memory.Allocator, dictionaryType *arrow.DictionaryType, records []arrow.Record, columns [][]arrow.Array, c int) error {
	unifier, err := array.NewDictionaryUnifier(mem, dictionaryType.ValueType)
	if err != nil {
		return err
	}
	defer unifier.Release()
	transposes := make([]*memory.Buffer, len(records))
	defer func() {
		for _, t := range transposes {
			if t != nil {
				t.Release()
			}
		}
	}()
	for i, record := range records {
		if transposes[i], err = unifier.UnifyAndTranspose(record.Column(c).(*array.Dictionary).Dictionary()); err != nil {
			return err
		}
	}
	dictionary, err := unifier.GetResultWithIndexType(dictionaryType.IndexType)
	if err != nil {
		return err
	}
	defer dictionary.Release()
	for i, record := range records {
		from := record.Column(c).(*array.Dictionary)
		transpose := arrow.Int32Traits.CastFromBytes(transposes[i].Bytes())
		indices := array.NewInt32Builder(mem)
		indices.Reserve(from.Len())
		for row := range from.Len() {
			if from.IsNull(row) {
				indices.UnsafeAppendBoolToBitmap(false)
				continue
			}
			indices.UnsafeAppend(transpose[from.GetValueIndex(row)])
		}
		built := indices.NewInt32Array()
		indices.Release()
		columns[i][c] = array.NewDictionaryArray(dictionaryType, built, dictionary)
		built.Release()
	}
	return nil
}

func release(records []arrow.Record) {
	for _, record := range records {
		record.Release()
	}
}
