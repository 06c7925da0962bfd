package rowwise_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"go.uber.org/goleak"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/connectors/connectortest"
	"github.com/headwater-data/headwater/connectors/rowwise"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type config struct{ Wrong bool }

func (c *config) Check() []connectors.OptionFault {
	if c.Wrong {
		return []connectors.OptionFault{{Path: []string{"wrong"}, Message: "it is wrong"}}
	}
	return nil
}

type options struct {
	stream rowwise.Stream
	Wrong  bool
}

func (o *options) Check() []connectors.OptionFault {
	if o.Wrong {
		return []connectors.OptionFault{{Path: []string{"wrong"}, Message: "it is wrong"}}
	}
	return nil
}

func definition() connectors.Definition {
	return rowwise.Define(connectors.Definition{Name: "memory"}, func(_ connectors.Environment, _ *config, streams map[string]*options) (map[string]rowwise.Stream, func() error, error) {
		made := map[string]rowwise.Stream{}
		for name, o := range streams {
			made[name] = o.stream
		}
		return made, nil, nil
	})
}

func open(t *testing.T, env connectors.Environment, stream rowwise.Stream) connectors.Source {
	t.Helper()
	src, err := definition().Open(env, &config{}, map[string]any{"s": &options{stream: stream}})
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// growing is a stream whose rows only follow one another; positions are row numbers.
type growing struct {
	mu       sync.Mutex
	columns  []rowwise.Column
	rows     [][]any
	numbered bool
	broken   error
	before   func(row int)
}

func (g *growing) store(columns []rowwise.Column, rows [][]any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.columns, g.rows = columns, rows
}

func (g *growing) table(t connectortest.Table) error {
	var columns []rowwise.Column
	for _, name := range t.Columns {
		columns = append(columns, rowwise.Column{Name: name, Type: arrow.BinaryTypes.String})
	}
	g.store(columns, t.Rows)
	return nil
}

func (g *growing) Place() string { return "memory" }

func (g *growing) Columns(context.Context) ([]rowwise.Column, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.columns, nil
}

func (g *growing) Rows(ctx context.Context, after string) iter.Seq2[rowwise.Row, error] {
	return func(yield func(rowwise.Row, error) bool) {
		g.mu.Lock()
		rows, broken := g.rows, g.broken
		g.mu.Unlock()
		from := 0
		if after != "" {
			var err error
			if from, err = strconv.Atoi(after); err != nil {
				yield(rowwise.Row{}, err)
				return
			}
		}
		for i := from; i < len(rows); i++ {
			if err := ctx.Err(); err != nil {
				yield(rowwise.Row{}, err)
				return
			}
			if g.before != nil {
				g.before(i)
			}
			row := rowwise.Row{Values: rows[i], Position: strconv.Itoa(i + 1)}
			if g.numbered {
				row.Number = int64(i + 1)
			}
			if !yield(row, nil) {
				return
			}
		}
		if broken != nil {
			yield(rowwise.Row{}, broken)
		}
	}
}

// whole is a stream that has a version.
type whole struct {
	growing
	version int
}

func (w *whole) table(t connectortest.Table) error {
	w.mu.Lock()
	w.version++
	w.mu.Unlock()
	return w.growing.table(t)
}

func (w *whole) Version(context.Context) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strconv.Itoa(w.version), nil
}

// kinds are the types for values of the kit.
var kinds = map[connectortest.Kind]arrow.DataType{
	connectortest.Decimal38: &arrow.Decimal128Type{Precision: 38, Scale: 10}, connectortest.Signed64: arrow.PrimitiveTypes.Int64,
	connectortest.Date: arrow.FixedWidthTypes.Date32, connectortest.LocalTime: &arrow.TimestampType{Unit: arrow.Microsecond},
	connectortest.Instant: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}, connectortest.FarInstant: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"},
	connectortest.Double: arrow.PrimitiveTypes.Float64, connectortest.NotANumber: arrow.PrimitiveTypes.Float64, connectortest.LongText: arrow.BinaryTypes.String,
}

func TestConformance(t *testing.T) {
	can := connectortest.Capabilities{Changes: true, Breaks: true, BreakIsTransient: true}
	for kind := range kinds {
		can.Values = append(can.Values, kind)
	}
	slices.Sort(can.Values)
	storeValues := func(g *growing) func(connectortest.Kind, []any) error {
		return func(kind connectortest.Kind, values []any) error {
			var rows [][]any
			for i, v := range values {
				rows = append(rows, []any{int64(i), v})
			}
			g.store([]rowwise.Column{{Name: "id", Type: arrow.PrimitiveTypes.Int64}, {Name: "value", Type: kinds[kind]}}, rows)
			return nil
		}
	}
	broken := func(g *growing) func() error {
		return func() error {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.broken = connectors.Transient(errors.New("the line was cut"))
			return nil
		}
	}
	t.Run("by position", func(t *testing.T) {
		connectortest.Run(t, func(t *testing.T, outside *connectortest.Outside) connectors.Source {
			g := &growing{numbered: true}
			outside.Store, outside.StoreValues, outside.Break = g.table, storeValues(g), broken(g)
			if err := g.table(outside.Table); err != nil {
				t.Fatal(err)
			}
			return open(t, outside.Environment, g)
		}, can)
	})
	t.Run("whole", func(t *testing.T) {
		can := can
		can.Replaces = true
		connectortest.Run(t, func(t *testing.T, outside *connectortest.Outside) connectors.Source {
			w := &whole{}
			outside.Store, outside.StoreValues, outside.Break = w.table, storeValues(&w.growing), broken(&w.growing)
			if err := w.table(outside.Table); err != nil {
				t.Fatal(err)
			}
			return open(t, outside.Environment, w)
		}, can)
	})
}

// read collects what a stream gives.
func read(t *testing.T, stream rowwise.Stream, after connectors.Cursor) (batches []connectors.Batch, err error) {
	t.Helper()
	alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
	src := open(t, connectors.Environment{Allocator: alloc, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Now: time.Now}, stream)
	for b, e := range src.Read(t.Context(), connectors.Stream{Name: "s"}, after) {
		if e != nil {
			err = e
			break
		}
		b.Record.Retain()
		batches = append(batches, b)
	}
	t.Cleanup(func() {
		for _, b := range batches {
			b.Record.Release()
		}
		alloc.AssertSize(t, 0)
	})
	return batches, err
}

func TestValueThatItsTypeCannotHoldMakesARejectAndNothingIsRounded(t *testing.T) {
	t.Parallel()
	money := &arrow.Decimal128Type{Precision: 5, Scale: 2}
	for _, c := range []struct {
		typ      arrow.DataType
		value    any
		fits     bool
		arrivesA string
	}{
		{money, "999.99", true, "999.99"},
		{money, "-0.10", true, "-0.1"},
		{money, "1.500", true, "1.5"},
		{money, "1.505", false, ""},
		{money, "1000", false, ""},
		{money, "0001.5", true, "1.5"},
		{money, "1e2", false, ""},
		{money, "", false, ""},
		{money, "-", false, ""},
		{money, "1.2.3", false, ""},
		{money, 1.5, false, ""},
		{arrow.PrimitiveTypes.Int64, "9223372036854775808", false, ""},
		{arrow.PrimitiveTypes.Int64, 7, true, "7"},
		{arrow.PrimitiveTypes.Int64, 7.5, false, ""},
		{arrow.PrimitiveTypes.Float64, "1e400", false, ""},
		{arrow.FixedWidthTypes.Boolean, "true", true, "true"},
		{arrow.FixedWidthTypes.Boolean, "1", false, ""},
		{arrow.FixedWidthTypes.Date32, "2026-02-30", false, ""},
		{arrow.FixedWidthTypes.Date32, time.Date(1969, 12, 31, 23, 0, 0, 0, time.FixedZone("", -3600)), true, "1969-12-31"},
		{arrow.BinaryTypes.String, "a\xff", false, ""},
		{arrow.BinaryTypes.String, 1, false, ""},
		{arrow.BinaryTypes.Binary, []byte{1, 2}, true, "AQI="},
		{arrow.BinaryTypes.Binary, "text", false, ""},
		{arrow.BinaryTypes.Binary, nil, true, "(null)"},
	} {
		t.Run(fmt.Sprintf("%v of %.30v", c.typ, c.value), func(t *testing.T) {
			t.Parallel()
			g := &growing{numbered: true}
			g.store([]rowwise.Column{{Name: "k", Type: arrow.BinaryTypes.String}, {Name: "v", Type: c.typ}}, [][]any{{"before", nil}, {"this", c.value}, {"after", nil}})
			batches, err := read(t, g, nil)
			if err != nil || len(batches) != 1 {
				t.Fatalf("%d batches, error %v", len(batches), err)
			}
			b := batches[0]
			if !c.fits {
				if len(b.Rejects) != 1 || b.Record.NumRows() != 2 || b.Rejects[0].Rule != "type" || b.Rejects[0].Row != 2 || b.Rejects[0].Column != 2 || !strings.Contains(b.Rejects[0].Reason, "v is ") {
					t.Fatalf("%d rows, rejects %+v", b.Record.NumRows(), b.Rejects)
				}
				return
			}
			if len(b.Rejects) > 0 || b.Record.NumRows() != 3 || b.Record.Column(1).ValueStr(1) != c.arrivesA {
				t.Errorf("rejects %+v, record %v", b.Rejects, b.Record)
			}
		})
	}
}

func TestConnectorsThatBreakTheContractAreTold(t *testing.T) {
	t.Parallel()
	text := arrow.BinaryTypes.String
	for _, c := range []struct {
		name, want string
		columns    []rowwise.Column
		rows       [][]any
	}{
		{"no columns", "no columns", nil, nil},
		{"one name twice", `the column "x_" is there twice`, []rowwise.Column{{Name: "_x", Type: text}, {Name: "x_", Type: text}}, nil},
		{"a name of underscores", "has no name", []rowwise.Column{{Name: "__", Type: text}}, nil},
		{"a type that is not supported", "not one of those", []rowwise.Column{{Name: "a", Type: arrow.PrimitiveTypes.Int8}}, nil},
		{"too few values", "1 values for 2 columns", []rowwise.Column{{Name: "a", Type: text}, {Name: "b", Type: text}}, [][]any{{"x"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := &growing{}
			g.store(c.columns, c.rows)
			_, err := read(t, g, nil)
			if err == nil || connectors.IsTransient(err) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestContentThatChangesWhileItIsReadReplacesNothing(t *testing.T) {
	t.Parallel()
	w := &whole{version: 1}
	w.store([]rowwise.Column{{Name: "a", Type: arrow.BinaryTypes.String}}, [][]any{{"1"}, {"2"}})
	w.before = func(row int) {
		if row == 1 {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.version = 2
		}
	}
	batches, err := read(t, w, nil)
	if !connectors.IsTransient(err) || len(batches) > 0 {
		t.Fatalf("%d batches, error %v, want a transient one", len(batches), err)
	}
	// The damage that a half-written content shows is not the connector's error either.
	w.version, w.broken = 1, errors.New("unexpected end")
	if _, err := read(t, w, nil); !connectors.IsTransient(err) {
		t.Errorf("error %v, want a transient one", err)
	}
	w.before = nil
	if _, err := read(t, w, nil); err == nil || connectors.IsTransient(err) {
		t.Errorf("error %v although nothing changed, want the stream's own", err)
	}
}

func TestStreamThatGetsAVersionIsReadFromItsBeginning(t *testing.T) {
	t.Parallel()
	g := &growing{}
	g.store([]rowwise.Column{{Name: "a", Type: arrow.BinaryTypes.String}}, [][]any{{"1"}, {"2"}})
	byPosition, err := read(t, g, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &whole{version: 1}
	w.store(g.columns, g.rows)
	all, err := read(t, w, byPosition[0].Cursor)
	if err != nil || len(all) != 1 || all[0].Record.NumRows() != 2 || !all[0].Replaces || !all[0].ExtractedAt.After(byPosition[0].ExtractedAt) {
		t.Fatalf("batches %+v, error %v", all, err)
	}
	again, err := read(t, g, all[0].Cursor)
	if err != nil || len(again) != 1 || again[0].Record.NumRows() != 2 || again[0].Replaces || !again[0].ExtractedAt.After(all[0].ExtractedAt) {
		t.Fatalf("batches %+v, error %v", again, err)
	}
}

func TestOptionsAreCheckedUnderTheirStream(t *testing.T) {
	t.Parallel()
	d := definition()
	faults := d.Check(&config{Wrong: true}, map[string]any{"a": &options{}, "b": &options{Wrong: true}, "c": &config{}})
	want := []string{"/wrong: it is wrong", "b/wrong: it is wrong", "c/: options are *rowwise_test.config, not *rowwise_test.options"}
	for i, f := range faults {
		if got := fmt.Sprintf("%s/%s: %s", f.Stream, strings.Join(f.Path, "."), f.Message); i >= len(want) || got != want[i] {
			t.Errorf("fault %d: %s", i, got)
		}
	}
	if len(faults) != len(want) {
		t.Errorf("%d faults, want %d", len(faults), len(want))
	}
	if _, err := d.Open(connectors.Environment{}, &config{Wrong: true}, nil); err == nil {
		t.Error("options that are wrong were taken")
	}
}

func BenchmarkRows(b *testing.B) {
	const columns = 12
	g := &growing{}
	for i := range columns {
		g.columns = append(g.columns, rowwise.Column{Name: fmt.Sprint("c", i), Type: arrow.BinaryTypes.String})
	}
	for i := range 100_000 {
		row := make([]any, columns)
		for n := range row {
			row[n] = fmt.Sprint("value ", i+n)
		}
		g.rows = append(g.rows, row)
	}
	src, err := definition().Open(connectors.Environment{Allocator: memory.DefaultAllocator, Logger: slog.New(slog.DiscardHandler), Now: time.Now}, &config{}, map[string]any{"s": &options{stream: g}})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		for _, err := range src.Read(b.Context(), connectors.Stream{Name: "s"}, nil) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)/float64(len(g.rows))*1e9, "ns/row")
}

// examinable is a stream that can be examined.
type examinable struct{ growing }

func (*examinable) Examine(context.Context) []connectors.Finding {
	return []connectors.Finding{{What: "read", Level: connectors.LevelOK, Text: "it is there"}}
}

func TestSourceIsAPreflighterWhereAllItsStreamsCanBeExamined(t *testing.T) {
	t.Parallel()
	for name, streams := range map[string]map[string]any{
		"all": {"a": &options{stream: &examinable{}}, "b": &options{stream: &examinable{}}}, "one of two": {"a": &options{stream: &examinable{}}, "b": &options{stream: &growing{}}},
	} {
		src, err := definition().Open(connectors.Environment{}, &config{}, streams)
		if err != nil {
			t.Fatal(err)
		}
		p, ok := src.(connectors.Preflighter)
		if ok != (name == "all") {
			t.Fatalf("%s: a preflighter is %v", name, ok)
		}
		if !ok {
			continue
		}
		found, err := p.Preflight(t.Context())
		if err != nil || len(found) != 2 || found[0].Stream != "a" || found[1].Stream != "b" {
			t.Errorf("found %+v, error %v", found, err)
		}
	}
}
