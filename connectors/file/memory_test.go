package file

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/connectors"
)

// TestMemoryDoesNotGrowWithTheFile holds the peak of the live heap while a file of eight times the rows is read against the
// peak with one. The kit does the same with few large rows; here the rows are many and small, and all texts differ.
func TestMemoryDoesNotGrowWithTheFile(t *testing.T) {
	if raceDetector {
		return // the detector keeps memory of its own; the plain pass measures
	}
	// Enough rows for a few full batches and row groups; the slower formats get no more than that.
	for name, rows := range map[string]int{"a.csv": 30_000, "a.jsonl": 30_000, "a.json": 30_000, "a.xlsx": 20_000, "a.parquet": 60_000} {
		t.Run(name, func(t *testing.T) {
			write := made[name]
			var peaks []int
			for _, n := range []int{rows, 8 * rows} {
				dir := t.TempDir()
				f, err := os.Create(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				if err := write(f, n); err != nil {
					t.Fatal(err)
				}
				_ = f.Close() // the Parquet writer has closed it already; what was not written shows in the count
				env := benchEnvironment(dir)
				src, err := open(env, map[string]any{"s": &Options{Path: Strings{name}}})
				if err != nil {
					t.Fatal(err)
				}
				base, peak, batch, got := liveHeap(), 0, 0, int64(0)
				for b, err := range src.Read(context.Background(), stream(name), nil) {
					if err != nil {
						t.Fatal(err)
					}
					got += b.Record.NumRows()
					if batch < 4 || batch%4 == 0 {
						peak = max(peak, liveHeap()-base)
					}
					batch++
				}
				if got != int64(n) {
					t.Fatalf("%d rows, want %d", got, n)
				}
				peaks = append(peaks, peak)
			}
			t.Logf("live heap peaks at %d KiB with %d rows, at %d KiB with %d", peaks[0]>>10, rows, peaks[1]>>10, 8*rows)
			if peaks[1] > peaks[0]+peaks[0]/10 {
				t.Errorf("live heap peaks at %d KiB with %d rows, at %d KiB with %d", peaks[0]>>10, rows, peaks[1]>>10, 8*rows)
			}
		})
	}
}

func benchEnvironment(dir string) connectors.Environment {
	return connectors.Environment{Dir: dir, Allocator: memory.NewGoAllocator(), Logger: slog.New(slog.DiscardHandler), Now: time.Now}
}

func liveHeap() int {
	runtime.GC()
	runtime.GC() // pools let go of what they hold in two steps
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
