package pipeline

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/connectors/rowwise"
)

// fewRows is a stream of a source that has no preflight of its own.
type fewRows struct {
	n   int
	err error
}

func (f fewRows) Place() string { return "memory" }
func (f fewRows) Columns(context.Context) ([]rowwise.Column, error) {
	return []rowwise.Column{{Name: "a", Type: arrow.BinaryTypes.String}}, nil
}

func (f fewRows) Rows(context.Context, string) iter.Seq2[rowwise.Row, error] {
	return func(yield func(rowwise.Row, error) bool) {
		for range f.n {
			if !yield(rowwise.Row{Values: []any{"x"}, Position: "p"}, nil) {
				return
			}
		}
		if f.err != nil {
			yield(rowwise.Row{}, f.err)
		}
	}
}

func TestSourceWithoutAPreflightIsLookedAtByItsFirstRows(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		stream fewRows
		level  connectors.Level
		text   string
	}{
		{"rows", fewRows{n: 3}, connectors.LevelOK, "1 to read; memory begins with 1 columns"},
		{"none", fewRows{}, connectors.LevelNote, "s is empty"},
		{"a fault", fewRows{err: errors.New("the line was cut")}, connectors.LevelFault, "the line was cut"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
			defer mem.AssertSize(t, 0)
			d := rowwise.Define(connectors.Definition{Name: "memory"}, func(connectors.Environment, *struct{}, map[string]*struct{}) (map[string]rowwise.Stream, func() error, error) {
				return map[string]rowwise.Stream{"s": c.stream}, nil, nil
			})
			src, err := d.Open(connectors.Environment{Allocator: mem, Logger: slog.New(slog.DiscardHandler), Now: time.Now}, &struct{}{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			f := firstBatch(t.Context(), src, connectors.Stream{Name: "s"})
			if f.Level != c.level || !strings.Contains(f.Text, c.text) {
				t.Errorf("found %+v, want %s with %q", f, c.level, c.text)
			}
		})
	}
}
