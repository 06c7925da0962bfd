package http

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strconv"

	"github.com/cespare/xxhash/v2"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/connectors/rowwise"
)

// whole is a stream that is read whole.
type whole struct{ stream }

var _ rowwise.Snapshotted = (*whole)(nil)

// Rows is not asked for: reading goes by snapshots.
func (w *whole) Rows(ctx context.Context, after string) iter.Seq2[rowwise.Row, error] {
	return func(yield func(rowwise.Row, error) bool) {
		s, err := w.Snapshot(ctx)
		if err != nil {
			yield(rowwise.Row{}, err)
			return
		}
		stopped := false
		for row, err := range s.Rows(ctx, after) {
			if stopped = !yield(row, err); stopped {
				break
			}
		}
		if err := s.Close(); err != nil && !stopped {
			yield(rowwise.Row{}, err)
		}
	}
}

// snapshot is a content in a temporary file: a line of JSON for each record.
type snapshot struct {
	file    *os.File
	name    string // "" when it is unlinked already
	version string
}

// Snapshot fetches all pages.
func (w *whole) Snapshot(ctx context.Context) (_ rowwise.Snapshot, err error) {
	f, err := os.CreateTemp("", "headwater-*")
	if err != nil {
		return nil, fmt.Errorf("make a temporary file: %w", err)
	}
	s := &snapshot{file: f, name: f.Name()}
	if os.Remove(s.name) == nil {
		s.name = ""
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	h := xxhash.New()
	out := bufio.NewWriterSize(io.MultiWriter(f, h), 256<<10)
	fmt.Fprintf(h, "%q\n", w.o.Columns) // other columns make another content
	size, most := int64(0), cmp.Or(w.o.MaxBytes, int64(defaultMaxBytes))
	var before uint64
	for list, err := range w.pages(ctx) {
		if err != nil {
			return nil, err
		}
		page := xxhash.New()
		for _, r := range list {
			line, err := json.Marshal(r)
			if err != nil {
				return nil, err
			}
			line = append(line, '\n')
			if size += int64(len(line)); size > most {
				return nil, connectors.Permanent(fmt.Errorf("the content has more than %d bytes: raise max_bytes, or read it by after", most))
			}
			_, _ = page.Write(line) // never fails
			if _, err := out.Write(line); err != nil {
				return nil, fmt.Errorf("write a temporary file: %w", err)
			}
		}
		if sum := page.Sum64(); sum == before {
			return nil, connectors.Permanent(errors.New("two pages after one another are the same: the server does not go by the parameter that pages.param names, or repeats its last page (then give total)"))
		} else {
			before = sum
		}
	}
	if err := out.Flush(); err != nil {
		return nil, fmt.Errorf("write a temporary file: %w", err)
	}
	s.version = fmt.Sprintf("xxh64:%016x", h.Sum64())
	return s, nil
}

// Version is a checksum over all records.
func (s *snapshot) Version() string { return s.version }

// Rows reads the file from a byte on.
func (s *snapshot) Rows(ctx context.Context, after string) iter.Seq2[rowwise.Row, error] {
	return func(yield func(rowwise.Row, error) bool) {
		offset := int64(0)
		if after != "" {
			var err error
			if offset, err = strconv.ParseInt(after, 10, 64); err != nil || offset < 0 {
				yield(rowwise.Row{}, connectors.Permanent(errors.New("the cursor has no position in a content")))
				return
			}
		}
		if _, err := s.file.Seek(offset, io.SeekStart); err != nil {
			yield(rowwise.Row{}, err)
			return
		}
		r := bufio.NewReaderSize(s.file, 256<<10)
		for {
			if err := ctx.Err(); err != nil {
				yield(rowwise.Row{}, err)
				return
			}
			line, err := r.ReadBytes('\n')
			if err == io.EOF && len(line) == 0 {
				return
			}
			var one record
			if err == nil {
				err = json.Unmarshal(line, &one)
			}
			if err != nil {
				yield(rowwise.Row{}, fmt.Errorf("read a temporary file: %w", err))
				return
			}
			offset += int64(len(line))
			row := one.row()
			row.Position = strconv.FormatInt(offset, 10)
			if !yield(row, nil) {
				return
			}
		}
	}
}

// row makes a row of a record, without a position.
func (r record) row() rowwise.Row {
	if r.Fault != "" {
		return rowwise.Row{Reject: &connectors.Reject{Rule: "http.record", Reason: r.Fault}}
	}
	row := rowwise.Row{Values: make([]any, len(r.Values))}
	for i, v := range r.Values {
		if v != nil {
			row.Values[i] = *v
		}
	}
	return row
}

// Close removes the file.
func (s *snapshot) Close() error {
	err := s.file.Close()
	if s.name != "" {
		err = errors.Join(err, os.Remove(s.name))
	}
	return err
}
