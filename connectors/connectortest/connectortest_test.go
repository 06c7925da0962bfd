package connectortest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"go.uber.org/goleak"

	"github.com/headwater-data/headwater/connectors"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a source over a table in memory. Its flaws are what the kit must find.
type fake struct {
	mu      sync.Mutex
	outside *Outside
	table   Table
	version int64
	broken  bool
	stopped chan struct{}
	flaws   flaws
}

type flaws struct {
	losesRowOnResume, repeatsRowOnResume, losesRow, swapsRows, ignoresCancel, leaksRecord, releasesTwice, printsSecret, logsSecret,
	secretInCursor, readsAgain, noReplaces, replacesEarly, emptyReplacesNothing, clockOrder, newTimeOnResume, trimsText, emptyIsNull, nullIsEmpty, bigBatches, badRowColumn,
	reusesBuffers, holdsAll, countsWrong, unknownIsEmpty, anyCursor, transientBreak, hidesBreak, batchWithError, goesOnAfterError, noPlace, underscore bool
}

type fakeCursor struct {
	Version int64
	Row     int
	At      int64
	Done    bool
	Secret  string `json:",omitempty"`
}

func (f *fake) Streams(context.Context) ([]connectors.Stream, error) {
	return []connectors.Stream{{Name: "table"}}, nil
}

func (f *fake) Count(context.Context, connectors.Stream) (int64, error) {
	if f.flaws.countsWrong {
		return 7, nil
	}
	return int64(len(f.table.Rows)), nil
}

func (f *fake) Close() error {
	close(f.stopped)
	return nil
}

func (f *fake) Read(ctx context.Context, s connectors.Stream, after connectors.Cursor) iter.Seq2[connectors.Batch, error] {
	return func(yield func(connectors.Batch, error) bool) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if err := f.read(ctx, s, after, yield); err != nil {
			b := connectors.Batch{}
			if f.flaws.batchWithError {
				b.Place = "here"
			}
			if yield(b, err) && f.flaws.goesOnAfterError {
				yield(connectors.Batch{}, err)
			}
		}
	}
}

func (f *fake) read(ctx context.Context, s connectors.Stream, after connectors.Cursor, yield func(connectors.Batch, error) bool) error {
	if err := ctx.Err(); err != nil && !f.flaws.ignoresCancel {
		return err
	}
	if s.Name != "table" {
		if f.flaws.unknownIsEmpty {
			return nil
		}
		return fmt.Errorf("no stream %q", s.Name)
	}
	if f.broken && !f.flaws.hidesBreak {
		err := errors.New("the system is away")
		if f.flaws.printsSecret {
			err = fmt.Errorf("%w: password=%s", err, f.outside.Secret)
		}
		if f.flaws.transientBreak {
			return connectors.Transient(err)
		}
		return err
	}
	at := f.outside.Now().UnixMicro()
	c := fakeCursor{Version: f.version, At: at}
	if after != nil {
		var old fakeCursor
		if err := json.Unmarshal(after, &old); err != nil && !f.flaws.anyCursor {
			return err
		}
		switch {
		case old.Version == f.version && old.Done && !f.flaws.readsAgain:
			return nil
		case old.Version == f.version && !f.flaws.newTimeOnResume:
			c = old
		case old.Version == f.version:
			c.Row = old.Row
		case !f.flaws.clockOrder:
			c.At = max(c.At, old.At+1)
		}
		if c.Row > 0 && f.flaws.losesRowOnResume {
			c.Row++
		}
		if c.Row > 0 && f.flaws.repeatsRowOnResume {
			c.Row--
		}
	}
	if f.flaws.logsSecret {
		f.outside.Logger.Info("connect", "password", f.outside.Secret)
	}
	if f.flaws.secretInCursor {
		c.Secret = f.outside.Secret
	}
	var held []arrow.Record
	defer func() {
		for _, r := range held {
			r.Release()
		}
	}()
	for first := true; first || c.Row < len(f.table.Rows); first = false {
		if err := ctx.Err(); err != nil && !f.flaws.ignoresCancel {
			return err
		}
		record, end := f.batch(c.Row)
		if f.flaws.holdsAll {
			record.Retain()
			held = append(held, record)
		}
		c.Row, c.Done = end, end == len(f.table.Rows)
		cursor, err := json.Marshal(c)
		if err != nil {
			return err
		}
		b := connectors.Batch{Record: record, Place: "table", Cursor: cursor, ExtractedAt: time.UnixMicro(c.At), Replaces: c.Done && !f.flaws.noReplaces || f.flaws.replacesEarly}
		if f.flaws.noPlace {
			b.Place = ""
		}
		if len(f.table.Rows) == 0 && f.flaws.emptyReplacesNothing {
			record.Release()
			return nil
		}
		more := yield(b, nil)
		if f.flaws.reusesBuffers && record.NumRows() > 0 {
			b := record.Column(0).Data().Buffers()[2].Bytes()
			b[0] = 'X'
		}
		if !f.flaws.leaksRecord {
			record.Release()
		}
		if f.flaws.releasesTwice {
			record.Release()
		}
		if !more {
			return nil
		}
	}
	return nil
}

func (f *fake) batch(from int) (arrow.Record, int) {
	fields := []arrow.Field{}
	for _, name := range f.table.Columns {
		fields = append(fields, arrow.Field{Name: name, Type: arrow.BinaryTypes.String, Nullable: true})
	}
	fields = append(fields, arrow.Field{Name: connectors.ColumnRow, Type: arrow.PrimitiveTypes.Int64})
	if f.flaws.badRowColumn {
		fields[len(fields)-1].Type = arrow.BinaryTypes.String
	}
	if f.flaws.underscore {
		fields = append(fields, arrow.Field{Name: "_mine", Type: arrow.BinaryTypes.String, Nullable: true})
	}
	b := array.NewRecordBuilder(f.outside.Allocator, arrow.NewSchema(fields, nil))
	defer b.Release()
	size, row := 0, from
	for ; row < len(f.table.Rows) && (size < 3<<20 || f.flaws.bigBatches); row++ {
		if f.flaws.losesRow && row == 5 {
			continue
		}
		at := row
		if f.flaws.swapsRows && len(f.table.Rows) > 3 && (row == 2 || row == 3) {
			at = 5 - row
		}
		for i, v := range f.table.Rows[at] {
			text, ok := v.(string)
			size += len(text)
			if f.flaws.trimsText {
				text = strings.TrimSpace(text)
			}
			if ok && !(text == "" && f.flaws.emptyIsNull) || f.flaws.nullIsEmpty {
				b.Field(i).(*array.StringBuilder).Append(text)
			} else {
				b.Field(i).AppendNull()
			}
		}
		if f.flaws.badRowColumn {
			b.Field(3).(*array.StringBuilder).Append(fmt.Sprint(row + 1))
		} else {
			b.Field(3).(*array.Int64Builder).Append(int64(row + 1))
		}
		if f.flaws.underscore {
			b.Field(4).AppendNull()
		}
	}
	return b.NewRecord(), row
}

func opener(flaws flaws) func(*Outside) (connectors.Source, error) {
	return func(o *Outside) (connectors.Source, error) {
		f := &fake{outside: o, table: o.Table, version: 1, flaws: flaws, stopped: make(chan struct{})}
		o.Store = func(t Table) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.table = t
			f.version++
			return nil
		}
		o.Break = func() error { f.broken = true; return nil }
		return f, nil
	}
}

var all = Capabilities{Changes: true, Replaces: true, Counts: true, Secrets: true, Breaks: true}

func TestSoundSourcePasses(t *testing.T) {
	Run(t, func(t *testing.T, o *Outside) connectors.Source {
		src, err := opener(flaws{})(o)
		if err != nil {
			t.Fatal(err)
		}
		return src
	}, all)
}

func caseNamed(name string) conformance {
	return cases[slices.IndexFunc(cases, func(c conformance) bool { return c.name == name })]
}

// finds runs one case over a broken source and sees that it is found, in these words.
func finds(t *testing.T, name, says string, open func(*Outside) (connectors.Source, error), can Capabilities) {
	t.Helper()
	err := caseNamed(name).check(t.Context(), t.TempDir(), open, can)
	if err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("case %q found %s; it should say %q", name, fmt.Sprintf("%.2000v", err), says)
	}
}

// TestBrokenSourcesAreFound breaks a source in one way after the other; the kit must find each, by the case that is there
// for it.
func TestBrokenSourcesAreFound(t *testing.T) {
	broken := []struct {
		name  string
		flaws flaws
		found string // name of a case
		says  string
	}{
		{"a row is lost on resume", flaws{losesRowOnResume: true}, "resume", "after cursor"},
		{"a row comes twice on resume", flaws{repeatsRowOnResume: true}, "resume", "after cursor"},
		{"a row is lost", flaws{losesRow: true}, "hard values", "read: row 6"},
		{"rows change places", flaws{swapsRows: true}, "hard values", "read: row 3"},
		{"cancelling is ignored", flaws{ignoresCancel: true}, "cancelled within", "still yields batches"},
		{"cancelling is ignored before the first batch", flaws{ignoresCancel: true}, "cancelled before", "want none"},
		{"a record is leaked", flaws{leaksRecord: true}, "hard values", "are left after Close"},
		{"a record is released twice", flaws{releasesTwice: true}, "retained", "panic"},
		{"the secret stands in an error", flaws{printsSecret: true}, "broken", "the secret"},
		{"the secret stands in the log", flaws{logsSecret: true}, "resume", "the secret"},
		{"the secret stands in a cursor", flaws{secretInCursor: true}, "resume", "the secret"},
		{"the same is read again", flaws{readsAgain: true}, "nothing new", "although nothing is new"},
		{"nothing is ever replaced", flaws{noReplaces: true}, "replaces", "has Replaces false"},
		{"every batch replaces", flaws{replacesEarly: true}, "replaces", "has Replaces true"},
		{"an empty content replaces nothing", flaws{emptyReplacesNothing: true}, "replaces", "gave no batch"},
		{"time goes back with the clock", flaws{clockOrder: true}, "changes", "was extracted at"},
		{"a resumed content has another time", flaws{newTimeOnResume: true}, "resume", "the same content has the time"},
		{"texts are trimmed", flaws{trimsText: true}, "hard values", "spaces around"},
		{"empty texts become null", flaws{emptyIsNull: true}, "hard values", "null"},
		{"nulls become empty texts", flaws{nullIsEmpty: true}, "hard values", "null"},
		{"batches are too large", flaws{bigBatches: true}, "batches", "at most"},
		{"_row has another type", flaws{badRowColumn: true}, "batches", "column _row"},
		{"a column takes a reserved name", flaws{underscore: true}, "batches", "_mine"},
		{"buffers are used again", flaws{reusesBuffers: true}, "retained", "retained records"},
		{"all is held in memory", flaws{holdsAll: true}, "memory", "memory of Arrow peaks"},
		{"the count is wrong", flaws{countsWrong: true}, "count", "counted 7"},
		{"an unknown stream is empty", flaws{unknownIsEmpty: true}, "unknown stream", "no error"},
		{"any cursor is taken", flaws{anyCursor: true}, "foreign cursor", "want none"},
		{"a permanent error is called transient", flaws{transientBreak: true}, "broken", "transient is true"},
		{"a failure is hidden", flaws{hidesBreak: true}, "broken", "no error"},
		{"a batch comes with an error", flaws{batchWithError: true}, "broken", "a batch comes with the error"},
		{"something follows the error", flaws{goesOnAfterError: true}, "broken", "something follows"},
		{"a batch has no place", flaws{noPlace: true}, "batches", "without a place"},
	}
	for _, c := range broken {
		t.Run(c.name, func(t *testing.T) {
			finds(t, c.found, c.says, opener(c.flaws), all)
		})
	}
}

// TestCheckJoinsWhatIsFound looks at Check as a whole.
func TestCheckJoinsWhatIsFound(t *testing.T) {
	if err := Check(t.Context(), opener(flaws{}), all); err != nil {
		t.Errorf("a sound source: %v", err)
	}
	found := flatten(Check(t.Context(), opener(flaws{losesRow: true}), all))
	if len(found) < 3 || found[0].Case != "hard values" || found[0].Rule == "" {
		t.Errorf("a source that loses a row: %v", found)
	}
}

func flatten(err error) (found []*CaseError) {
	if err == nil {
		return nil
	}
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		if c, ok := errors.AsType[*CaseError](e); ok {
			found = append(found, c)
		}
	}
	return found
}

// TestLeakedGoroutineIsFound stands alone, because the goroutine stays until the test lets it go.
func TestLeakedGoroutineIsFound(t *testing.T) {
	release, done := make(chan struct{}), make(chan struct{})
	var once sync.Once
	err := Check(t.Context(), func(o *Outside) (connectors.Source, error) {
		once.Do(func() {
			go func() { <-release; close(done) }()
		})
		return opener(flaws{})(o)
	}, Capabilities{Counts: true})
	close(release)
	<-done
	found := flatten(err)
	if len(found) != 1 || !strings.Contains(found[0].Error(), "goroutines are left") {
		t.Errorf("found %v, want the goroutine of the first case", err)
	}
}

func TestFailureTellsWhatIsDueInTheTestItself(t *testing.T) {
	due := func(flaws flaws) func(*Outside) (connectors.Source, error) {
		return func(o *Outside) (connectors.Source, error) {
			o.Due("write put")
			o.Due("write put")
			return opener(flaws)(o)
		}
	}
	err := caseNamed("hard values").check(t.Context(), t.TempDir(), due(flaws{losesRow: true}), all)
	if err == nil || strings.Count(err.Error(), "write put") != 1 || !strings.Contains(err.Error(), "read: row 6") {
		t.Errorf("found %v, want the lost row and, once, what is due", err)
	}
	if err := caseNamed("streams").check(t.Context(), t.TempDir(), due(flaws{}), all); err != nil {
		t.Errorf("a case that needs nothing of it: %v", err)
	}
}
