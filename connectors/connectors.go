// Package connectors is the contract between Headwater and the systems it reads.
//
// A connector turns one kind of system (files, a database, an HTTP interface) into Arrow batches. It knows nothing of Kafka,
// ClickHouse, the standard schemas or mappings: it delivers the columns that the system has, in the system's own names.
//
// The caller first asks a Source for its Streams, splits a stream into shards if the source is a Sharder, and then reads each
// shard with Read from the cursor after which it stopped the last time. Read is called for different shards from different
// goroutines at once, for one shard from one goroutine at a time. The order of rows within a shard for a given cursor must be
// repeatable: reading after cursor c yields exactly the rows that followed c.
package connectors

import (
	"context"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/internal/fault"
)

// The bounds of a batch. A connector cuts a batch at whichever comes first, so that a batch always fits a message.
const (
	MaxBatchRows   = 64 << 10
	MaxBatchBytes  = 4 << 20
	MaxCursorBytes = 4 << 10
)

// Reserved columns. A column of the system whose name begins with an underscore is renamed by the connector (`_x` to `x_`).
const (
	// ColumnRow is an optional int64 column: the row's number in its place, 1-based, as a person would count it
	// (line of a text file, row of a sheet). Without it rows have no number.
	ColumnRow = "_row"
	// ColumnVersion is an optional uint64 column: the row's own place in the source's order. Without it the batch's
	// ExtractedAt orders its rows.
	ColumnVersion = "_version"
	// ColumnDeleted is an optional bool column: the row is gone from the source; only its key columns need values.
	ColumnDeleted = "_deleted"
)

// Stream names one table, sheet, endpoint or set of like files of a source, or one shard of it.
type Stream struct {
	Name  string // as configured, unique within the source
	Shard string // "" for a stream that is not split; else unique within the stream and stable between runs
}

func (s Stream) String() string {
	if s.Shard == "" {
		return s.Name
	}
	return s.Name + "/" + s.Shard
}

// Cursor says how far a shard has been read. It is opaque to everyone but its connector; nil is the beginning. At most
// MaxCursorBytes long. The connector must be able to read every cursor that an earlier version of it has written.
type Cursor []byte

// Batch is the unit that travels: rows, what could not be read, and the cursor after both.
type Batch struct {
	// Record holds the rows; it may be empty but is never nil. Columns carry the system's own names and types, plus the
	// reserved columns. It is valid until the next step of the iterator; Retain it to keep it.
	Record arrow.Record
	// Place names where the rows stand, for people: "data/a.xlsx!Sheet1", "data/b.zip!c.csv", "public.cases".
	Place string
	// Rejects are the rows that could not be read at all.
	Rejects []Reject
	// Cursor is how far the shard is read with this batch.
	Cursor Cursor
	// ExtractedAt orders what the shard delivers: all batches of one content (one version of a file, one snapshot) carry the
	// same time, and a later content a later one, even if the clock went back. Microseconds count.
	ExtractedAt time.Time
	// Replaces says that with this batch the shard's content as of ExtractedAt is complete and replaces all that the shard
	// delivered with an earlier ExtractedAt: rows that are not in it are gone.
	Replaces bool
}

// Reject is a row that could not be read. It is data, not an error: it goes to the quarantine and reading goes on.
type Reject struct {
	Row    int64  // as ColumnRow; 0 when unknown
	Column int    // 1-based character column or field number where reading failed; 0 when unknown
	Rule   string // short and stable: "csv.fields", "utf8", "json.syntax"
	Reason string // for people: what was found, what was expected
	Raw    []byte // the row as found, at most 4 KiB of it
}

// Source reads one configured system.
type Source interface {
	// Streams lists what can be read, in a stable order, without shards.
	Streams(ctx context.Context) ([]Stream, error)
	// Read yields the batches of a stream or shard that follow the cursor, until all that is there now has been read. The
	// sequence is for single use; an error comes last, once, with a zero Batch. A transient error (IsTransient) may be tried
	// again from the last cursor. Read with the newest cursor and nothing new yields nothing.
	Read(ctx context.Context, s Stream, after Cursor) iter.Seq2[Batch, error]
	// Close releases what the source holds. No Read may be running.
	io.Closer
}

// Sharder is an optional ability: the stream is split into shards that are read side by side, each with a cursor of its own.
type Sharder interface {
	// Shards lists the shards that are there now. A shard that was there before keeps its name.
	Shards(ctx context.Context, stream string) ([]Stream, error)
}

// Counter is an optional ability: it lets the ledger hold the source's own count against what was read.
type Counter interface {
	// Count returns how many rows the shard's present content has; errors.ErrUnsupported where this shard cannot be counted.
	Count(ctx context.Context, s Stream) (int64, error)
}

// Follower is an optional ability: a stream's news can be waited for.
type Follower interface {
	// Follows reports whether they can be of this stream.
	Follows(stream string) bool
	// Follow yields what Read does and then, without an end, what comes in, in batches of what came within a moment. It ends, as Read
	// does, soon after f.Enough is closed.
	Follow(ctx context.Context, s Stream, after Cursor, f Following) iter.Seq2[Batch, error]
}

// Following says how long a stream is followed.
type Following struct {
	Enough <-chan struct{} // never nil
	// Stored returns the newest cursor of this sequence whose batch the caller has stored, nil before there is one. A source need not
	// keep what lies before it. It may be called from any goroutine, and may be nil itself: nothing is known to be stored.
	Stored func() Cursor
}

// Peeker is an optional ability that sources have whose Read leaves something in the system, or moves what is kept there.
type Peeker interface {
	// Peek yields what is there now, as Read from the beginning does, and leaves the system and every other reading as they are.
	// Its cursors are its own: they go on with what Peek began.
	Peek(ctx context.Context, s Stream, after Cursor) iter.Seq2[Batch, error]
}

// Peek reads what is there for somebody who only looks: a preview, a comparison. Most sources are simply read.
func Peek(ctx context.Context, source Source, s Stream, after Cursor) iter.Seq2[Batch, error] {
	if p, ok := source.(Peeker); ok {
		return p.Peek(ctx, s, after)
	}
	return source.Read(ctx, s, after)
}

// Preflighter is an optional ability: it looks, before anything is read, whether the system is as the streams need it.
type Preflighter interface {
	// Preflight returns all that it found, also what is well. What it cannot find out for one stream is a finding about that stream;
	// an error means that the system as a whole could not be asked.
	Preflight(ctx context.Context) ([]Finding, error)
}

// Finding is one thing that a preflight has looked at.
type Finding struct {
	Stream string // "" for the system as a whole
	What   string // short and stable: "server", "encryption", "clock", "columns", "size", "key", "watermark"
	Level  Level
	Text   string // what was found
	Fix    string // what to do about it, with the statement to run where there is one; "" when there is nothing to do
}

// Level says how much a finding matters.
type Level string

// The levels: as it should be; works, but somebody should know; does not work.
const (
	LevelOK    Level = "ok"
	LevelNote  Level = "note"
	LevelFault Level = "fault"
)

// Transient marks an error as one that may pass by itself (a connection lost, a file not yet complete). Nil stays nil.
func Transient(err error) error { return fault.Transient(err) }

// Permanent marks an error as one that needs somebody to act. Nil stays nil.
func Permanent(err error) error { return fault.Permanent(err) }

// IsTransient reports whether reading again from the last cursor may succeed.
func IsTransient(err error) bool { return fault.IsTransient(err) }

// Environment is what a connector gets from the program.
type Environment struct {
	// Dir is the project's folder: relative paths are relative to it.
	Dir string
	// Allocator is used for all Arrow memory.
	Allocator memory.Allocator
	// Logger logs what an operator acts on; never rows, never secrets.
	Logger *slog.Logger
	// Now is the clock.
	Now func() time.Time
}

// Definition describes one kind of connector to the program. Options types are structs with yaml tags and, for the reference
// page and the editor's schema, `desc:"…"` tags; they are decoded strictly from the source's YAML.
type Definition struct {
	Name  string // as written in `connector:`
	Title string // one line for people
	// Modes are the ways in which it can read a stream, in the words of its documentation: "whole", "by watermark", "shards".
	Modes []string
	// Tested names what the kit has run this connector against, with versions, and says of nothing that it was tested when it was not.
	Tested []string
	// TestedOn is the day on which these tests last passed when somebody looked: "2026-11-27". It is "" when nothing is tested.
	TestedOn string
	// Types says of which kinds of values the kit's tests have seen that they keep all their digits, in the kit's words, and in which type
	// of the system. The tests take it from here.
	Types map[string]string
	// Page is the connector's page in docs/connectors; "" when its options say all.
	Page string
	// Config returns a new options value for the source as a whole (`config:`); nil when there are none.
	Config func() any
	// Stream returns a new options value for one stream (`read:`).
	Stream func() any
	// Check validates decoded options without touching the system. Each fault names the option's path, such as "read.path".
	Check func(config any, streams map[string]any) []OptionFault
	// Open makes a source; it must not yet connect or read more than it needs to validate.
	Open func(env Environment, config any, streams map[string]any) (Source, error)
}

// OptionFault is a fault in a connector's options.
type OptionFault struct {
	Stream  string   // "" when the fault is in the source's own options
	Path    []string // keys below `config` or `read`
	Message string
	Fix     string
}

// Registry holds the connectors that a program knows. The zero Registry is empty and ready to use.
type Registry struct{ byName map[string]Definition }

// Register adds a connector; a second one of the same name is a programmer's mistake and panics.
func (r *Registry) Register(d Definition) {
	if r.byName == nil {
		r.byName = map[string]Definition{}
	}
	if _, ok := r.byName[d.Name]; ok {
		panic("connectors: registered twice: " + d.Name)
	}
	r.byName[d.Name] = d
}

// Lookup returns the connector of that name, or an error that lists the names that are known.
func (r *Registry) Lookup(name string) (Definition, error) {
	if d, ok := r.byName[name]; ok {
		return d, nil
	}
	return Definition{}, fmt.Errorf("unknown connector %q; known: %s", name, strings.Join(r.Names(), ", "))
}

// Names lists the connectors in alphabetical order.
func (r *Registry) Names() []string {
	names := make([]string, 0, len(r.byName))
	for n := range r.byName {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
