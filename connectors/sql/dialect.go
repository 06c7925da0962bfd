package sql

import (
	"context"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// dialect is what differs between databases, without a connection.
type dialect interface {
	name() string
	quote(name string) string
	// placeholder is the text that stands for the nth argument, 1-based, of a kind of value.
	placeholder(n int, kind byte) string
	// argument is what the driver is given for a value.
	argument(v value) any
	// rowValues says that (a, b) > (1, 2) uses an index.
	rowValues() bool
	// order is by what all rows are ordered that have no key.
	order(fields []field) string
	// connect opens a connection that can only read.
	connect(ctx context.Context) (session, error)
	// fail says what an error means: whether it passes by itself, who mends it and how.
	fail(err error) error
}

// session is one connection.
type session interface {
	// begin starts a transaction that reads, and sees the database as it is at its first statement.
	begin(ctx context.Context) error
	// query runs a statement. The session can do nothing else until the rows are closed.
	query(ctx context.Context, text string, args []any) (rows, error)
	// keys lists the table's keys, best first: columns that together tell every row apart and are never null.
	keys(ctx context.Context, table string) ([][]string, error)
	// position returns how to read a table without a key by physical position; nil when it has none.
	position(ctx context.Context, table string) (*position, error)
	// selected is the expression that reads a column, with the name under which it comes; "" when the column's own will do.
	selected(f field) (expression, alias string)
	// checksum returns an expression over rows that changes when any of them does, or "" when the database cannot compute one: the sum
	// over all rows of what rowSum returns for one.
	checksum(fields []field) string
	// rowSum returns an expression of a row that is a whole number, written to a base; "" when there is no checksum.
	rowSum(fields []field) (expression string, base int)
	// now returns an expression of the present time, in the type of the column.
	now(f field) string
	close()
}

// learner is a session that asks the catalogue for a table's columns, because a result alone does not say all of their types.
type learner interface {
	learn(ctx context.Context, table string) error
}

// summer is a session whose rows can be summed by who reads them, as the database's rowSum does: then it need not be asked to. Rows that
// were summed here are compared later with what the database sums.
type summer interface {
	// sums reports whether that is so of a result with these columns, in their order: its rows are summed.
	sums(fields []field) bool
}

// summed are rows of a summer's.
type summed interface {
	rows
	// sum is the row's number.
	sum() uint64
}

// position is physical order.
type position struct {
	column string // that has it, and can be a key
	// Or, where the database cannot sort by it without sorting all: the number of pages of the file.
	pages int64
	// version changes when rows are moved.
	version string
}

// rows is the result of a query. Values are of the row that next went to, until the next one.
type rows interface {
	fields() []field
	next() bool
	// put appends a value to its column, or appends nothing and says why it cannot be delivered.
	put(i int, to array.Builder) error
	// value returns a value for a cursor, or for a reject; ok is false for null.
	value(i int) (v value, ok bool)
	// size is about how many bytes a value takes.
	size(i int) int
	// close ends the query, also in the middle of its rows, and returns what went wrong.
	close() error
}

// field is a column of a result.
type field struct {
	name string
	typ  arrow.DataType
	kind byte // of its values in cursors
	// declared is the type in the database's words.
	declared string
	oid      uint32
	// ordered says that values can be compared exactly, so that the column can be part of a key.
	ordered bool
}
