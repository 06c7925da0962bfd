// Package rowwise makes a connectors.Source of a system that gives its rows one after another: an HTTP interface, a directory
// service, a dump. Whoever writes such a connector says which columns there are and yields rows, each with the position after it;
// cursors, batches and their bounds, Arrow and its memory, times, and what to do when reading was interrupted are done here.
//
// A stream is read in one of two ways. If its rows only ever follow one another (by a number that grows with every change, by a
// time with a key behind it), each reading goes on after the last position, and nothing that is gone is noticed. If it is Versioned
// or Snapshotted, all of it is read whenever its version is another, and takes the place of what was read before.
//
// Rows are values of Go here, which costs about a microsecond each. A system with many millions of rows deserves a connector of its
// own that builds columns, as connectors/file and connectors/sql do.
package rowwise

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/headwater-data/headwater/connectors"
)

var _ connectors.Source = (*Source)(nil)

// Stream is one stream of a configured system. It is used from several goroutines at once.
type Stream interface {
	// Place names for people where the rows stand: "https://office.example/permits".
	Place() string
	// Columns lists the columns in the system's own names and types. It is asked at the beginning of every reading.
	Columns(ctx context.Context) ([]Column, error)
	// Rows yields the rows that follow the position, in an order that is the same each time; "" is the beginning. An error comes
	// last. When ctx is done it ends with ctx's error.
	Rows(ctx context.Context, after string) iter.Seq2[Row, error]
}

// Versioned is an optional ability of a Stream.
type Versioned interface {
	// Version returns a text that is another one whenever the stream's content is: a checksum, a time of change with a size. Options that
	// say which columns are read belong to it: others make another content. It is asked before a reading and again at its end; a content
	// that changed meanwhile is read anew.
	Version(ctx context.Context) (string, error)
}

// Snapshotted is an optional ability of a Stream whose version is only known when all of it has been read, such as that of an HTTP
// interface: the content is fetched first and then read from where it was put. Its rows are those of the snapshot; the stream's own Rows is
// not asked.
type Snapshotted interface {
	// Snapshot fetches the present content. Whoever gets it closes it.
	Snapshot(ctx context.Context) (Snapshot, error)
}

// Snapshot is a content that stands still. It is used from one goroutine.
type Snapshot interface {
	// Version is as that of a Versioned stream.
	Version() string
	// Rows is as that of a Stream.
	Rows(ctx context.Context, after string) iter.Seq2[Row, error]
	Close() error
}

// Examiner is an optional ability of a Stream: it looks whether the system is as reading needs it, and reads little. Where all streams of a
// source have it, the source is a connectors.Preflighter.
type Examiner interface {
	// Examine returns all that it found, also what is well. An error is a finding, too.
	Examine(ctx context.Context) []connectors.Finding
}

// Column is a column of the system. A name that begins with an underscore gets it at its end, as the contract says.
type Column struct {
	Name string
	// Type is one of utf8, int64, float64, bool, date32, timestamp, decimal128 and binary.
	Type arrow.DataType
}

// Row is a row of the system.
type Row struct {
	// Values has one value a column: nil for null, or what Type takes. utf8: string; int64: int64 or int; float64: float64; bool: bool;
	// date32 and timestamp: time.Time; decimal128: string; binary: []byte. A string goes for every other type too, as its text in
	// English notation (2026-03-05T08:00:00). A value that its type cannot hold makes the row a reject, not an error.
	Values []any
	// Position is where reading goes on after this row; never "". A position is part of a cursor: 3 KiB are safe.
	Position string
	// Number is the row's number as a person would count it, 1-based and growing. Either all rows of a stream have one or none.
	Number int64
	// Reject, when not nil, says why the row could not be read; Values are not looked at then.
	Reject *connectors.Reject
}

// Define completes the definition of a connector whose source has options C and whose streams have options O, structs with tags
// yaml, json and desc. Where *C or *O have a method Check() []connectors.OptionFault, it validates them; open may rely on that. open
// must not connect yet. closed, which may be nil, is called when nothing is read any more.
func Define[C, O any](d connectors.Definition, open func(env connectors.Environment, config *C, streams map[string]*O) (made map[string]Stream, closed func() error, err error)) connectors.Definition {
	d.Config = func() any { return new(C) }
	d.Stream = func() any { return new(O) }
	d.Check = func(config any, streams map[string]any) []connectors.OptionFault {
		_, _, faults := typed[C, O](config, streams)
		return faults
	}
	d.Open = func(env connectors.Environment, config any, streams map[string]any) (connectors.Source, error) {
		c, o, faults := typed[C, O](config, streams)
		if len(faults) > 0 {
			f := faults[0]
			return nil, fmt.Errorf("%s: stream %q: %s: %s", d.Name, f.Stream, strings.Join(f.Path, "."), f.Message)
		}
		made, closed, err := open(env, c, o)
		if err != nil {
			return nil, err
		}
		s := &Source{env: env, streams: made, closed: closed}
		for _, stream := range made {
			if _, ok := stream.(Examiner); !ok {
				return s, nil
			}
		}
		return examined{s}, nil
	}
	return d
}

// examined is a source all of whose streams are Examiners.
type examined struct{ *Source }

var _ connectors.Preflighter = examined{}

// Preflight examines all streams.
func (s examined) Preflight(ctx context.Context) (found []connectors.Finding, err error) {
	for _, name := range slices.Sorted(maps.Keys(s.streams)) {
		for _, f := range s.streams[name].(Examiner).Examine(ctx) {
			f.Stream = name
			found = append(found, f)
		}
		if err := ctx.Err(); err != nil {
			return found, err
		}
	}
	return found, nil
}

// checker is implemented by options that can be wrong in ways that their types do not show.
type checker interface {
	Check() []connectors.OptionFault
}

// typed gives options their types and finds what is wrong with them.
func typed[C, O any](config any, streams map[string]any) (c *C, o map[string]*O, faults []connectors.OptionFault) {
	c, ok := config.(*C)
	if !ok {
		faults = append(faults, connectors.OptionFault{Message: fmt.Sprintf("options are %T, not %T", config, c)})
	} else if k, ok := any(c).(checker); ok {
		faults = append(faults, k.Check()...)
	}
	o = map[string]*O{}
	for _, name := range slices.Sorted(maps.Keys(streams)) {
		one, ok := streams[name].(*O)
		if !ok {
			faults = append(faults, connectors.OptionFault{Stream: name, Message: fmt.Sprintf("options are %T, not %T", streams[name], one)})
			continue
		}
		o[name] = one
		if k, ok := any(one).(checker); ok {
			for _, f := range k.Check() {
				f.Stream = name
				faults = append(faults, f)
			}
		}
	}
	return c, o, faults
}

// Source reads the streams of one configured system.
type Source struct {
	env     connectors.Environment
	streams map[string]Stream
	closed  func() error
}

// Streams lists the configured streams by name.
func (s *Source) Streams(context.Context) ([]connectors.Stream, error) {
	var streams []connectors.Stream
	for _, name := range slices.Sorted(maps.Keys(s.streams)) {
		streams = append(streams, connectors.Stream{Name: name})
	}
	return streams, nil
}

// Close gives back what the connector holds.
func (s *Source) Close() error {
	if s.closed == nil {
		return nil
	}
	return s.closed()
}

// errStopped says that the caller wants no more batches.
var errStopped = errors.New("stopped by the caller")

// Read yields what follows the cursor, as the contract says.
func (s *Source) Read(ctx context.Context, shard connectors.Stream, after connectors.Cursor) iter.Seq2[connectors.Batch, error] {
	return func(yield func(connectors.Batch, error) bool) {
		err := s.read(ctx, shard, after, func(b connectors.Batch) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if !yield(b, nil) {
				return errStopped
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStopped) {
			yield(connectors.Batch{}, err)
		}
	}
}

func (s *Source) read(ctx context.Context, shard connectors.Stream, after connectors.Cursor, yield func(connectors.Batch) error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	stream, ok := s.streams[shard.Name]
	if !ok || shard.Shard != "" {
		return connectors.Permanent(fmt.Errorf("no stream %q", shard))
	}
	old, err := decodeCursor(after)
	if err != nil {
		return connectors.Permanent(fmt.Errorf("%s: %w", shard, err))
	}
	version, whole, contentRows := "", true, stream.Rows
	switch v := stream.(type) {
	case Versioned:
		if version, err = v.Version(ctx); err != nil {
			return fmt.Errorf("%s: ask for the version: %w", stream.Place(), err)
		}
	case Snapshotted:
		var snapshot Snapshot
		if snapshot, err = v.Snapshot(ctx); err != nil {
			return fmt.Errorf("%s: %w", stream.Place(), err)
		}
		defer func() { err = errors.Join(err, snapshot.Close()) }()
		version, contentRows = snapshot.Version(), snapshot.Rows
	default:
		whole = false
	}
	if whole && version == "" {
		return connectors.Permanent(fmt.Errorf("%s: the version is empty", stream.Place()))
	}
	todo := s.plan(old, version)
	if todo == nil {
		return nil
	}
	columns, err := stream.Columns(ctx)
	if err != nil {
		return fmt.Errorf("%s: ask for the columns: %w", stream.Place(), err)
	}
	rows, err := newBuilder(s.env.Allocator, columns)
	if err != nil {
		return connectors.Permanent(fmt.Errorf("%s: %w", stream.Place(), err))
	}
	defer rows.release()

	deliver := func() error {
		cursor, err := todo.encode()
		if err != nil {
			return connectors.Permanent(fmt.Errorf("%s: %w", stream.Place(), err))
		}
		record, rejects := rows.take()
		defer record.Release()
		return yield(connectors.Batch{
			Record: record, Rejects: rejects, Place: stream.Place(), Cursor: cursor,
			ExtractedAt: time.UnixMicro(todo.At), Replaces: whole && todo.Done,
		})
	}
	for row, err := range contentRows(ctx, todo.Position) {
		if err != nil {
			if whole && ctx.Err() == nil && s.changed(ctx, stream, version) {
				return changedWhileRead(stream) // what is being written anew looks damaged
			}
			return fmt.Errorf("%s: %w", stream.Place(), err)
		}
		if row.Position == "" {
			return connectors.Permanent(fmt.Errorf("%s: a row without a position", stream.Place()))
		}
		r, err := rows.prepare(row)
		if err != nil {
			return connectors.Permanent(fmt.Errorf("%s: the row before position %q: %w", stream.Place(), row.Position, err))
		}
		if rows.full(r) {
			// The row stays for the next batch, so that the last batch of a content is never empty unless all of it is.
			if err := deliver(); err != nil {
				return err
			}
		}
		rows.add(r)
		todo.Position = row.Position
	}
	if err := ctx.Err(); err != nil { // a stream that ended early because of it
		return err
	}
	if !whole && rows.n() == 0 {
		return nil
	}
	if whole && s.changed(ctx, stream, version) {
		return changedWhileRead(stream)
	}
	todo.Done = true
	return deliver()
}

// changed reports that the stream has another content by now, or that nobody can say.
func (s *Source) changed(ctx context.Context, stream Stream, version string) bool {
	v, ok := stream.(Versioned)
	if !ok {
		return false // a snapshot
	}
	now, err := v.Version(ctx)
	if err != nil {
		s.env.Logger.Warn("the content's version cannot be asked for again: it is read anew", "place", stream.Place(), "error", err)
	}
	return err != nil || now != version
}

func changedWhileRead(stream Stream) error {
	return connectors.Transient(fmt.Errorf("%s: changed while it was read; it is read again", stream.Place()))
}

// plan says from where to read; nil when there is nothing new.
func (s *Source) plan(old *cursor, version string) *cursor {
	next := &cursor{At: s.env.Now().UnixMicro(), Content: version}
	switch {
	case old == nil:
	case old.Content != version:
		next.At = max(next.At, old.At+1) // the clock may have gone back
	case old.Done && version != "":
		return nil
	case old.Done:
		next.At, next.Position = max(next.At, old.At+1), old.Position
	default:
		next.At, next.Position = old.At, old.Position
	}
	return next
}
