// Package connectortest is the conformance kit for connectors: what connectors.Source promises, as cases that any connector
// can be run through.
//
//	func TestConformance(t *testing.T) {
//		connectortest.Run(t, func(t *testing.T, outside *connectortest.Outside) connectors.Source {
//			// put outside.Table into the system, open a source over it with outside.Environment
//		}, connectortest.Capabilities{Changes: true, Replaces: true})
//	}
//
// Each case opens a source of its own. The kit counts goroutines and memory, so that tests which use it must not run in
// parallel with others.
package connectortest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"go.uber.org/goleak"

	"github.com/headwater-data/headwater/connectors"
)

// Capabilities say what a connector, as it is opened by the test, is able to do. What is not declared is not checked, and a
// connector that can more than is declared fails.
type Capabilities struct {
	// Changes: open sets Outside.Store, with which the system's content is changed while a source is open.
	Changes bool
	// Replaces: a changed content takes the place of the old one (Batch.Replaces). Needs Changes.
	Replaces bool
	// Follows: a later content arrives as changes, rows that are gone with ColumnDeleted. Store changes, removes and adds no more rows
	// than differ, and keeps the order of new rows. Needs Changes.
	Follows bool
	// Counts: the source is a connectors.Counter that knows this content.
	Counts bool
	// Secrets: the source's configuration holds Outside.Secret.
	Secrets bool
	// Breaks: open sets Outside.Break, after which reading fails.
	Breaks bool
	// BreakIsTransient: the error of a broken system is a transient one. Needs Breaks.
	BreakIsTransient bool
	// NoEmptyText: the system cannot tell an empty text from null; an empty one comes back as null.
	NoEmptyText bool
	// Values lists the kinds of typed values that the system has: open sets Outside.StoreValues.
	Values []Kind
	// Alters: open sets Outside.Alter. Needs Changes.
	Alters bool
	// Loses: open sets Outside.Lose.
	Loses bool
	// Hangs: open sets Outside.Hang, and configures the source to give up a silent system after a few seconds.
	Hangs bool
}

// Table is a system's content: columns of text. The first column is never null and tells rows apart.
type Table struct {
	Columns []string
	Rows    [][]any // each value is a string, or nil for null
}

// Outside is the world around a source under test: what the program gives it, and what the test can do to its system.
type Outside struct {
	// Environment is for the source. Dir is an empty folder of the case's own.
	connectors.Environment
	// Table is the content that the system must have when the source is opened.
	Table Table
	// Secret is to be put into the source's configuration where a real secret would stand.
	Secret string

	// What open sets, as far as the capabilities say so.

	// Store gives the system a new content in place of the old.
	Store func(Table) error
	// Break makes the system fail from now on: a file is taken away, a server stopped.
	Break func() error
	// StoreValues gives the system a content of two columns in place of the old: id, which orders the rows, and value, of the
	// system's own type for the kind. The values are texts that TypedValues lists, or nil for null. Where the source follows changes it is
	// called without values first, and the values of the next call of the same kind are new rows of the same table.
	StoreValues func(kind Kind, values []any) error
	// Alter adds a column of texts, named added, with the value "new" in all rows.
	Alter func() error
	// Lose ends the system as a crash would; back brings it back with all it had.
	Lose func() (back func() error, err error)
	// Hang lets the system keep its connections and answer nothing; back lets it go on.
	Hang func() (back func() error, err error)
	// Own names functions whose goroutines are the test's and not the source's, such as one that waits for a server's process. A case that
	// finds a goroutine prints its functions as they are named here: "example.org/x/connectors/x_test.(*server).wait".
	Own []string

	due []string
}

// Due says that something of the test itself is still to be written, such as how the system gets its content: a case that fails tells
// it too, so that nobody looks for the fault in the connector. A test that is complete does not call it.
func (o *Outside) Due(what string) {
	if !slices.Contains(o.due, what) {
		o.due = append(o.due, what)
	}
}

// Run runs a connector through all cases, each as a subtest. open makes a source over a system that holds outside.Table.
func Run(t *testing.T, open func(t *testing.T, outside *Outside) connectors.Source, can Capabilities) {
	t.Helper()
	for _, c := range cases {
		if !c.applies(can) {
			t.Logf("not declared, so not checked: %s", c.name)
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			err := c.check(t.Context(), t.TempDir(), func(o *Outside) (connectors.Source, error) { return open(t, o), nil }, can)
			if err != nil {
				t.Errorf("%s\n%v", c.rule, err)
			}
		})
	}
}

// Check runs all cases and returns what was found, one error a case, joined. It is what Run does, without testing.T, so that
// the kit itself can be tested against sources that are broken on purpose.
func Check(ctx context.Context, open func(*Outside) (connectors.Source, error), can Capabilities) error {
	var errs []error
	for _, c := range cases {
		if !c.applies(can) {
			continue
		}
		dir, err := os.MkdirTemp("", "connectortest-*")
		if err != nil {
			return err
		}
		if err := c.check(ctx, dir, open, can); err != nil {
			errs = append(errs, &CaseError{Case: c.name, Rule: c.rule, Err: err})
		}
		if err := os.RemoveAll(dir); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// CaseError is what a case found.
type CaseError struct {
	Case string
	Rule string // the rule that is broken, in words
	Err  error
}

func (e *CaseError) Error() string { return fmt.Sprintf("%s: %s: %v", e.Case, e.Rule, e.Err) }
func (e *CaseError) Unwrap() error { return e.Err }

// check runs one case in a world of its own and then looks at what must hold after every case: no goroutine and no Arrow
// memory is left, and nothing that was said holds the secret.
func (c conformance) check(ctx context.Context, dir string, open func(*Outside) (connectors.Source, error), can Capabilities) (err error) {
	ignore := goleak.IgnoreCurrent()
	alloc := &countingAllocator{mem: memory.NewGoAllocator(), live: map[*byte]int{}}
	w := &world{can: can, alloc: alloc, clock: time.Date(2026, 3, 5, 8, 0, 0, 0, time.UTC)}
	w.outside = &Outside{
		Environment: connectors.Environment{Dir: dir, Allocator: alloc, Logger: slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Now: w.now},
		Secret:      "pl4nted-s3cret",
		Table:       c.table(),
	}
	if w.source, err = open(w.outside); err != nil {
		return fmt.Errorf("open: %w", err)
	}
	err = errors.Join(c.recovered(ctx, w), w.source.Close())
	err = errors.Join(append(w.faults, err)...)
	if n, size := alloc.left(); n > 0 {
		err = errors.Join(err, fmt.Errorf("%d Arrow buffers with %d bytes are left after Close", n, size))
	}
	if wrong := alloc.misuse(); wrong != "" {
		err = errors.Join(err, errors.New(wrong))
	}
	ignored := []goleak.Option{ignore}
	for _, name := range w.outside.Own {
		ignored = append(ignored, goleak.IgnoreAnyFunction(name))
	}
	if leak := goleak.Find(ignored...); leak != nil {
		err = errors.Join(err, fmt.Errorf("goroutines are left after Close: %w", leak))
	}
	if err != nil {
		for _, what := range w.outside.due {
			err = fmt.Errorf("%w\nthe test itself is due: %s", err, what)
		}
	}
	if can.Secrets {
		for _, said := range append(w.said, w.log.String(), fmt.Sprintf("%v %+v", err, err)) {
			if strings.Contains(said, w.outside.Secret) {
				err = errors.Join(err, errors.New("the secret of the configuration stands in an error, a log line, a place or a cursor"))
				break
			}
		}
	}
	return err
}

// recovered runs the case and makes an error of a panic, such as one over memory that was given back too early.
func (c conformance) recovered(ctx context.Context, w *world) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return c.run(ctx, w)
}

// world is one case's source and everything around it.
type world struct {
	can     Capabilities
	outside *Outside
	source  connectors.Source
	alloc   *countingAllocator
	log     lockedBuffer

	mu    sync.Mutex
	clock time.Time
	said  []string // what reached the outside as text
	// faults are broken rules that hold in every case.
	faults []error
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = w.clock.Add(time.Millisecond)
	return w.clock
}

// turnBack sets the clock back.
func (w *world) turnBack(by time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = w.clock.Add(-by)
}

func (w *world) say(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said = append(w.said, text)
}

func (w *world) fault(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, fmt.Errorf(format, args...))
}

// lockedBuffer takes log lines from several goroutines.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// countingAllocator knows what is allocated, and the most that ever was.
type countingAllocator struct {
	mem memory.Allocator

	mu        sync.Mutex
	live      map[*byte]int
	now, peak int
	wrong     string
}

func (a *countingAllocator) Allocate(size int) []byte {
	b := a.mem.Allocate(size)
	a.add(b)
	return b
}

func (a *countingAllocator) Reallocate(size int, b []byte) []byte {
	a.remove(b)
	b = a.mem.Reallocate(size, b)
	a.add(b)
	return b
}

func (a *countingAllocator) Free(b []byte) {
	a.remove(b)
	// What was given back is overwritten, so that whoever still reads it shows.
	for i := range b {
		b[i] = 0xdb
	}
	a.mem.Free(b)
}

func (a *countingAllocator) add(b []byte) {
	if len(b) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.live[&b[0]] = len(b)
	a.now += len(b)
	a.peak = max(a.peak, a.now)
}

func (a *countingAllocator) remove(b []byte) {
	if len(b) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	size, ok := a.live[&b[0]]
	if !ok {
		a.wrong = "an Arrow buffer was released that is not there: released twice?"
		return
	}
	delete(a.live, &b[0])
	a.now -= size
}

func (a *countingAllocator) left() (buffers, size int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.live), a.now
}

func (a *countingAllocator) misuse() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.wrong
}

// restartPeak begins a new measurement.
func (a *countingAllocator) restartPeak() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.peak = a.now
}

func (a *countingAllocator) peaked() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.peak
}
