package warehouse

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/apache/arrow/go/v17/arrow"

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
	if err := w.wrap(w.insertArrow(ctx, insert.Table, settings, insert.Records), fmt.Sprintf("insert %d rows into %s", rows, insert.Table)); err != nil {
		return err
	}
	if insert.Table == "observation" {
		return w.mark(ctx, insert.Records)
	}
	return nil
}

// insertArrow is the one place that knows how Arrow records reach a table: clickhouse-go's InsertFormat is experimental.
func (w *Warehouse) insertArrow(ctx context.Context, table string, settings clickhouse.Settings, records []arrow.Record) error {
	plan, err := planStream(w.mem, records)
	if err != nil {
		return fault.Permanent(fmt.Errorf("encode Arrow stream: %w", err))
	}
	defer plan.release()
	statement := "INSERT INTO " + w.table(table) + " (" + quoteNames(plan.names()) + ")"
	body := &arrowBody{plan: plan}
	err = w.data.InsertFormat(clickhouse.Context(ctx, clickhouse.WithSettings(settings)), "ArrowStream", statement, body)
	if failed := body.end(); failed != nil {
		return fault.Permanent(fmt.Errorf("encode Arrow stream: %w", failed))
	}
	return err
}

// arrowBody is a request's body that writes itself: the HTTP client has it write straight to the connection, in pieces as large
// as the columns are. A client that would rather read gets the same through a pipe.
type arrowBody struct {
	plan *streamPlan

	encoding sync.Mutex // held while records are used
	ended    bool
	failed   error // of the encoder, not of the connection

	start  sync.Once
	reader *io.PipeReader
}

var (
	_ io.WriterTo = (*arrowBody)(nil)
	_ io.Reader   = (*arrowBody)(nil)
)

// bodyBuffer gathers what is small between the columns.
const bodyBuffer = 64 << 10

// WriteTo writes the body.
func (b *arrowBody) WriteTo(to io.Writer) (int64, error) {
	b.encoding.Lock()
	defer b.encoding.Unlock()
	if b.ended {
		return 0, errRequestEnded
	}
	wire := &wireWriter{to: to}
	buffered := bufio.NewWriterSize(wire, bodyBuffer)
	b.failed = b.plan.write(buffered)
	if b.failed == nil {
		b.failed = buffered.Flush()
	}
	return wire.n, cmp.Or(wire.err, b.failed)
}

// Read reads the body for clients that do not know WriteTo.
func (b *arrowBody) Read(p []byte) (int, error) {
	b.start.Do(func() {
		reader, writer := io.Pipe()
		b.reader = reader
		go func() {
			_, err := b.WriteTo(writer)
			_ = writer.CloseWithError(err) // always nil
		}()
	})
	return b.reader.Read(p)
}

// end waits until the records are no longer used, which is soon: the request has ended. It returns what failed in the encoder.
func (b *arrowBody) end() error {
	b.start.Do(func() {}) // nobody reads any more
	if b.reader != nil {
		_ = b.reader.CloseWithError(errRequestEnded) // always nil
	}
	b.encoding.Lock()
	defer b.encoding.Unlock()
	b.ended = true
	return b.failed
}

// wireWriter keeps a connection's error to itself and swallows what comes after it: Arrow's writer, told of an error half-way,
// does not give back the dictionaries that it holds.
type wireWriter struct {
	to  io.Writer
	n   int64
	err error
}

func (w *wireWriter) Write(p []byte) (int, error) {
	if w.err == nil {
		var n int
		n, w.err = w.to.Write(p)
		w.n += int64(n)
	}
	return len(p), nil
}

var errRequestEnded = errors.New("the request ended before its body")

func release(records []arrow.Record) {
	for _, record := range records {
		record.Release()
	}
}
