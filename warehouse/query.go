package warehouse

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/headwater-data/headwater/internal/fault"
)

// The limits of Query. A query that meets one fails with an error that says so.
const (
	QueryMaxTime = 5 * time.Minute
	QueryMaxRows = 10_000_000
)

// maxQueryLine bounds one row of a result.
const maxQueryLine = 64 << 20

// Column is one column of a result.
type Column struct {
	Name string
	Type string // ClickHouse's, such as Nullable(Float64)
}

// Value is one value of a result as JSON: numbers are exact, text is a string, null is null, arrays and tuples are arrays.
type Value json.RawMessage

// IsNull reports whether the value is null.
func (v Value) IsNull() bool { return string(v) == "null" }

// Text gives the value as people read it: text without quotes, everything else as its JSON; null is the empty text.
func (v Value) Text() string {
	if v.IsNull() {
		return ""
	}
	if len(v) > 0 && v[0] == '"' {
		var text string
		if err := json.Unmarshal(v, &text); err == nil {
			return text
		}
	}
	return string(v)
}

// MarshalJSON gives the value itself.
func (v Value) MarshalJSON() ([]byte, error) { return v, nil }

// Rows is a running query. Read its rows with All, then Close it.
type Rows struct {
	columns []Column
	body    io.ReadCloser
	reader  *bufio.Reader
	wrap    func(error) error
}

// Query runs one statement that only reads (readonly=2: it may set limits but cannot write or define anything) and streams
// its rows. Parameters fill {name:Type} placeholders; their text is ClickHouse's. It stops at QueryMaxTime and QueryMaxRows.
// A statement that is wrong or wants to write is a usage error. The caller closes the rows.
func (w *Warehouse) Query(ctx context.Context, sql string, params map[string]string) (*Rows, error) {
	settings := clickhouse.Settings{
		"readonly":              2,
		"max_execution_time":    int(QueryMaxTime / time.Second),
		"max_result_rows":       QueryMaxRows,
		"result_overflow_mode":  "throw",
		"timeout_overflow_mode": "throw",
	}
	wrap := func(err error) error {
		wrapped := w.wrap(err, "query")
		exception, ok := errors.AsType[*clickhouse.Exception](err)
		if !ok {
			return wrapped
		}
		if exception.Code == 81 && strings.Contains(exception.Message, "Database "+w.config.Database+" does not exist") {
			return wrapped // nothing was ever loaded; that another database is not there is the statement's fault
		}
		switch exception.Code {
		case 164: // READONLY
			return fault.Usage(fmt.Errorf("query: only statements that read are allowed here: %w", shorten(err, exception)))
		case 36, 42, 43, 44, 46, 47, 50, 53, 60, 62, 81, 184, 215, 386, 456: // the statement is wrong
			return fault.Usage(fmt.Errorf("query: %w", shorten(err, exception)))
		}
		return wrapped
	}
	sql = strings.TrimRight(strings.TrimSpace(sql), "; \t\r\n")
	if sql == "" {
		return nil, fault.Usage(errors.New("query: the statement is empty"))
	}
	const format = "JSONCompactEachRowWithNamesAndTypes"
	ctx = clickhouse.Context(ctx, clickhouse.WithParameters(params))
	body, err := w.queryFormat(ctx, settings, format, sql)
	if err != nil {
		if strings.Contains(err.Error(), "trailing FORMAT clause") {
			err = fault.Usage(errors.New("query: leave the FORMAT clause out; the output's form is chosen outside the statement"))
			return nil, err
		}
		return nil, wrap(err)
	}
	rows := &Rows{body: body, reader: bufio.NewReaderSize(body, 64<<10), wrap: wrap}
	if err := rows.head(); err != nil {
		return nil, errors.Join(err, body.Close())
	}
	return rows, nil
}

// head reads names and types. A statement without a result (SET, USE) has neither.
func (r *Rows) head() error {
	var names, types []string
	for _, into := range []*[]string{&names, &types} {
		line, err := r.line()
		if errors.Is(err, io.EOF) && into == &names {
			return nil
		}
		if err != nil {
			return r.wrap(err)
		}
		if err := json.Unmarshal(line, into); err != nil {
			return fmt.Errorf("query: the warehouse answers in a form that is not understood: %w", err)
		}
	}
	if len(types) != len(names) {
		return fmt.Errorf("query: the warehouse names %d columns and %d types", len(names), len(types))
	}
	for i, name := range names {
		r.columns = append(r.columns, Column{Name: name, Type: types[i]})
	}
	return nil
}

// line returns the next line, without its end, valid until the next call; io.EOF after the last.
func (r *Rows) line() ([]byte, error) {
	var long []byte
	for {
		part, err := r.reader.ReadSlice('\n')
		switch {
		case err == nil && long == nil:
			return part[:len(part)-1], nil
		case err == nil:
			return append(long, part[:len(part)-1]...), nil
		case errors.Is(err, bufio.ErrBufferFull):
			if long = append(long, part...); len(long) > maxQueryLine {
				return nil, fmt.Errorf("a row is longer than %d MiB", maxQueryLine>>20)
			}
		case errors.Is(err, io.EOF) && len(long)+len(part) > 0:
			return nil, io.ErrUnexpectedEOF
		default:
			return nil, err
		}
	}
}

// Columns lists the result's columns; none for a statement without a result.
func (r *Rows) Columns() []Column { return r.columns }

// All yields the rows, for single use. A row is valid until the next step. An error comes last, once: the rows before it are
// then not the whole result.
func (r *Rows) All() iter.Seq2[[]Value, error] {
	return func(yield func([]Value, error) bool) {
		if r.columns == nil {
			return
		}
		for {
			line, err := r.line()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(nil, r.wrap(err))
				return
			}
			if len(bytes.TrimSpace(line)) == 0 {
				continue // the server sets off an error that follows with an empty line
			}
			row := make([]Value, 0, len(r.columns))
			var raw []json.RawMessage
			if err := json.Unmarshal(line, &raw); err != nil {
				yield(nil, fmt.Errorf("query: the warehouse answers in a form that is not understood: %w", err))
				return
			}
			if len(raw) != len(r.columns) {
				yield(nil, fmt.Errorf("query: a row has %d values, want %d", len(raw), len(r.columns)))
				return
			}
			for _, v := range raw {
				row = append(row, Value(v))
			}
			if !yield(row, nil) {
				return
			}
		}
	}
}

// Close ends the query, if it still runs. Closing twice is harmless.
func (r *Rows) Close() error { return r.body.Close() }
