package pipeline

import (
	"context"
	"errors"
	"iter"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/connectors"
)

// full is a source with every optional ability.
type full struct{ *opened }

func (full) Shards(context.Context, string) ([]connectors.Stream, error) {
	return []connectors.Stream{{Name: "rows", Shard: "1"}}, nil
}
func (full) Count(context.Context, connectors.Stream) (int64, error) { return 7, nil }

func TestAWrappedSourceKeepsItsAbilities(t *testing.T) {
	t.Parallel()
	plain := &opened{tap: &tap{}, mem: memory.DefaultAllocator}
	for _, c := range []struct {
		name    string
		source  connectors.Source
		shards  bool
		counted int64 // 0 when it cannot count
	}{
		{"a plain one", plain, false, 0},
		{"one with everything", full{plain}, true, 7},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			wrapped := until(t.Context(), c.source)
			sharder, ok := wrapped.(connectors.Sharder)
			if ok != c.shards {
				t.Fatalf("has shards: %v, want %v", ok, c.shards)
			}
			if ok {
				if shards, err := sharder.Shards(t.Context(), "rows"); err != nil || len(shards) != 1 {
					t.Errorf("shards %v %v", shards, err)
				}
			}
			n, err := wrapped.(connectors.Counter).Count(t.Context(), connectors.Stream{Name: "rows"})
			if n != c.counted || errors.Is(err, errors.ErrUnsupported) != (c.counted == 0) {
				t.Errorf("counted %d, %v", n, err)
			}
		})
	}
}

func TestReadingStopsAtTheNextBatch(t *testing.T) {
	t.Parallel()
	failed := errors.New("no more")
	for _, c := range []struct {
		name string
		tap  *tap
		stop int // with this batch; -1 before reading
		rows int
		want error
	}{
		{"not stopped", &tap{batches: 3}, 100, 3, nil},
		{"an error of its own", &tap{batches: 3, fail: failed}, 100, 3, failed},
		{"before the first", &tap{batches: 3}, -1, 0, errStopped},
		{"in the first", &tap{batches: 3}, 0, 1, errStopped},
		{"while it waits", &tap{batches: 2, hold: make(chan struct{}), entered: make(chan struct{}, 1)}, 100, 1, errStopped},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
			defer mem.AssertSize(t, 0)
			reading, stop := context.WithCancel(t.Context())
			defer stop()
			if c.stop < 0 {
				stop()
			}
			if c.tap.hold != nil {
				go func() {
					<-c.tap.entered
					stop()
				}()
			}
			var batches iter.Seq2[connectors.Batch, error] = until(reading, &opened{tap: c.tap, mem: mem}).Read(t.Context(), connectors.Stream{Name: "rows"}, nil)
			rows, last := 0, error(nil)
			for b, err := range batches {
				if last != nil {
					t.Fatal("something follows an error")
				}
				if last = err; err != nil {
					if b.Record != nil {
						t.Error("an error comes with a batch")
					}
					continue
				}
				if rows == c.stop {
					stop()
				}
				rows++
			}
			if rows != c.rows {
				t.Errorf("%d batches, want %d", rows, c.rows)
			}
			if !errors.Is(last, c.want) || (last == nil) != (c.want == nil) {
				t.Errorf("ended with %v, want %v", last, c.want)
			}
		})
	}
}
