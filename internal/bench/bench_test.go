package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"
	pqfile "github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
	"go.uber.org/goleak"

	"github.com/headwater-data/headwater/internal/embedded"
	"github.com/headwater-data/headwater/schemas"
)

func TestMain(m *testing.M) {
	embedded.MaybeServe()
	maybeMeasure()
	goleak.VerifyTestMain(m)
}

// A small run of everything: both sides, both formats, four times the rows.
func TestBothSidesLoadTheSameAndTheLastLineIsForScripts(t *testing.T) {
	var out, errs bytes.Buffer
	if err := bench(context.Background(), []string{"-rows", "3000", "-times", "1", "-dir", t.TempDir()}, &out, &errs); err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	line, ok := strings.CutPrefix(lines[len(lines)-1], "RESULT ")
	var got map[string]float64
	if err := json.Unmarshal([]byte(line), &got); err != nil || !ok {
		t.Fatalf("the last line is %q: %v", lines[len(lines)-1], err)
	}
	for _, key := range []string{"rows", "parquet_ratio", "csv_ratio", "rows_per_cpu_s", "pipeline_peak_mb", "pipeline_peak_mb_4x"} {
		if got[key] <= 0 {
			t.Errorf("%s is %v in %s", key, got[key], line)
		}
	}
	if len(got) != 6 {
		t.Errorf("%d keys, want 6: %s", len(got), line)
	}
}

// Figures of other days are compared with today's: what is generated may only change together with version.
func TestGeneratedRowsAreTheSameEverywhere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const rows = 20_000
	path, err := ensureFile(context.Background(), dir, formatCSV, rows, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(text)
	if got, want := hex.EncodeToString(sum[:8]), "64c485c7215a3178"; got != want {
		t.Errorf("the file's hash begins with %s, want %s; its head:\n%s", got, want, text[:min(len(text), 300)])
	}

	typed, err := ensureFile(context.Background(), dir, formatParquet, rows, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	f, err := pqfile.OpenParquetFile(typed, false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pqarrow.NewFileReader(f, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	table, err := r.ReadTable(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer table.Release()
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if table.NumRows() != rows || len(lines) != rows+1 {
		t.Fatalf("%d rows of Parquet and %d lines of CSV, want %d and a header", table.NumRows(), len(lines), rows)
	}
	for _, row := range []int{0, 1, 11, 12, rows - 1} {
		cells := strings.Split(lines[row+1], ",")
		for c, cell := range cells {
			at := row
			for _, chunk := range table.Column(c).Data().Chunks() {
				if at < chunk.Len() {
					if got := chunk.ValueStr(at); got != cell {
						t.Errorf("row %d column %s: Parquet has %q, CSV %q", row, columns[c], got, cell)
					}
					break
				}
				at -= chunk.Len()
			}
		}
	}
}

func TestRegionsHoldOnEveryGeneratedDay(t *testing.T) {
	t.Parallel()
	known := schemas.Standard().Regions()
	for _, code := range regions {
		for _, day := range []time.Time{time.Date(2022, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)} {
			if r, ok := known.At(code, day); !ok || r.Level != "county" {
				t.Errorf("%s is no county on %s", code, day.Format(time.DateOnly))
			}
		}
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args  []string
		rows  int
		times int
		fails string
	}{
		"none":                          {nil, fullRows, 3, ""},
		"quick":                         {[]string{"-quick"}, quickRows, 2, ""},
		"quick with rows of its own":    {[]string{"-rows", "1000", "-quick"}, 1000, 2, ""},
		"a format that there is not":    {[]string{"-formats", "parquet,xlsx"}, 0, 0, `no format "xlsx"`},
		"no rows":                       {[]string{"-rows", "0"}, 0, 0, "at least 1"},
		"something that is not a flag":  {[]string{"parquet"}, 0, 0, "nothing follows"},
		"a flag that there is not":      {[]string{"-fast"}, 0, 0, "not defined"},
		"rows in words instead of ones": {[]string{"-rows", "many"}, 0, 0, "invalid value"},
	} {
		o, err := parseOptions(c.args, io.Discard)
		switch {
		case c.fails == "" && (err != nil || o.rows != c.rows || o.times != c.times):
			t.Errorf("%s: got %d rows %d times, %v, want %d rows %d times", name, o.rows, o.times, err, c.rows, c.times)
		case c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)):
			t.Errorf("%s: got %v, want an error with %q", name, err, c.fails)
		}
	}
}

func TestTheReportIsOfMediansAndTheWorstPeak(t *testing.T) {
	t.Parallel()
	o := options{rows: 1_000_000, times: 3, formats: []string{formatParquet}}
	sides := map[string]*side{
		"engine parquet":   {all: []measurement{{Seconds: 3, CPU: 3}, {Seconds: 1, CPU: 1}, {Seconds: 2, CPU: 2}}},
		"pipeline parquet": {all: []measurement{{Seconds: 2.5, CPU: 1, PeakMB: 200.04}, {Seconds: 90, CPU: 2, PeakMB: 210.06}, {Seconds: 1, CPU: 0.5, PeakMB: 190}}},
	}
	var out bytes.Buffer
	report(&out, o, sides, &measurement{Seconds: 4, CPU: 4, PeakMB: 220})
	for _, want := range []string{"1,000,000 rows", "0.80 times as fast", "400,000", "4× rows"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, out.String())
		}
	}
	line, err := json.Marshal(summary(o, sides, nil))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(line), `{"rows":1000000,"parquet_ratio":0.8,"csv_ratio":null,"rows_per_cpu_s":1000000,"pipeline_peak_mb":210.1,"pipeline_peak_mb_4x":null}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestNumbersAreGroupedByThousands(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{0: "0", 999: "999", 1000: "1,000", 1234567.4: "1,234,567"} {
		if got := grouped(v); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
