// Command bench measures the pipeline end to end against the engine alone, on the same data and the same machine.
//
// The pipeline reads a seven-column file of observations, CSV or Parquet, and loads it into the project's table of
// observations, in a process of its own beside the embedded broker and warehouse in theirs. The engine loads the same file into
// the same table, with the same lineage columns filled, by its own INSERT … SELECT FROM file(…) on one thread. Both run several
// times, in turns, because machines are never quiet; the ratio of the medians is the figure that counts. What landed is compared
// too: a load that brought other rows than the other one is an error.
//
// With the word databases it measures instead how fast tables and changes come from databases into Kafka, beside what the databases'
// own tools take for the same rows.
//
// It prints a table for people and ends with one line RESULT {…} for scripts. It needs Linux, whose /proc tells processor time and
// memory of processes.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/headwater-data/headwater/internal/embedded"
)

func main() {
	embedded.MaybeServe() // does not return in a process that is an embedded server
	maybeMeasure()        // nor this in a process that does one measurement
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run, args := bench, os.Args[1:]
	if len(args) > 0 && args[0] == "databases" {
		run, args = databases, args[1:]
	}
	if err := run(ctx, args, os.Stdout, os.Stderr); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the command's flags.
type options struct {
	rows    int
	times   int
	formats []string
	larger  bool
	dir     string
	profile string
}

const (
	fullRows  = 5_000_000
	quickRows = 500_000
	// largerBy is how many times the rows the second memory figure has.
	largerBy = 4
)

func parseOptions(args []string, errs io.Writer) (options, error) {
	o := options{}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(errs)
	f.IntVar(&o.rows, "rows", fullRows, "rows to load")
	f.IntVar(&o.times, "times", 3, "how often each side loads each file")
	formats := f.String("formats", "parquet,csv", "formats to measure")
	f.BoolVar(&o.larger, "larger", true, "load four times the rows too, for the pipeline's memory")
	quick := f.Bool("quick", false, "a look: 500,000 rows unless -rows says otherwise, twice, no larger file")
	f.StringVar(&o.dir, "dir", filepath.Join(os.TempDir(), "headwater-bench"), "folder where generated files are kept for the next time")
	f.StringVar(&o.profile, "profile", "", "folder for processor and memory profiles of the pipeline's processes")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if *quick {
		given := map[string]bool{}
		f.Visit(func(g *flag.Flag) { given[g.Name] = true })
		if !given["rows"] {
			o.rows = quickRows
		}
		if !given["times"] {
			o.times = 2
		}
		o.larger = false
	}
	o.formats = strings.Split(*formats, ",")
	for _, name := range o.formats {
		if name != formatParquet && name != formatCSV {
			return o, fmt.Errorf("-formats: there is no format %q; there are %s and %s", name, formatParquet, formatCSV)
		}
	}
	if o.rows < 1 || o.times < 1 || f.NArg() > 0 {
		return o, fmt.Errorf("-rows and -times must be at least 1, and nothing follows the flags")
	}
	return o, nil
}

// result is the RESULT line. What was not measured is null.
type result struct {
	Rows         int      `json:"rows"`
	ParquetRatio *float64 `json:"parquet_ratio"`
	CSVRatio     *float64 `json:"csv_ratio"`
	RowsPerCPU   *float64 `json:"rows_per_cpu_s"` // from Parquet
	PeakMB       *float64 `json:"pipeline_peak_mb"`
	Peak4xMB     *float64 `json:"pipeline_peak_mb_4x"`
}

func bench(ctx context.Context, args []string, out, errs io.Writer) error {
	o, err := parseOptions(args, errs)
	if err != nil {
		return err
	}
	note := func(format string, args ...any) { fmt.Fprintf(errs, format+"\n", args...) }
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return err
	}
	files := map[string]string{}
	for _, format := range o.formats {
		if files[format], err = ensureFile(ctx, o.dir, format, o.rows, note); err != nil {
			return err
		}
	}

	sides := map[string]*side{}
	for time := range o.times {
		for _, format := range o.formats {
			want := ""
			// In turns, and the other one first every second time: what the machine does beside us meets both.
			names := []string{sideEngine, sidePipeline}
			if time%2 == 1 {
				slices.Reverse(names)
			}
			for _, name := range names {
				m, err := measure(ctx, order{Side: name, Format: format, File: files[format], Rows: o.rows, Profile: profileFor(o.profile, name, format, time)})
				if err != nil {
					return fmt.Errorf("%s from %s: %w", name, format, err)
				}
				note("%-8s %-7s %6.2f s, %5.2f s of processor", name, format, m.Seconds, m.CPU)
				if want != "" && m.Landed != want {
					return fmt.Errorf("%s from %s: other rows have landed: %s, want %s", name, format, m.Landed, want)
				}
				want = m.Landed
				key := name + " " + format
				if sides[key] == nil {
					sides[key] = &side{}
				}
				sides[key].add(m)
			}
		}
	}
	var larger *measurement
	if o.larger {
		format := o.formats[0]
		file, err := ensureFile(ctx, o.dir, format, largerBy*o.rows, note)
		if err != nil {
			return err
		}
		m, err := measure(ctx, order{Side: sidePipeline, Format: format, File: file, Rows: largerBy * o.rows, Profile: profileFor(o.profile, "larger", format, 0)})
		if err != nil {
			return fmt.Errorf("four times the rows from %s: %w", format, err)
		}
		larger = &m
	}
	report(out, o, sides, larger)
	line, err := json.Marshal(summary(o, sides, larger))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "RESULT %s\n", line)
	return err
}

func profileFor(dir, name, format string, time int) string {
	if dir == "" || name == sideEngine {
		return ""
	}
	return filepath.Join(dir, fmt.Sprintf("%s-%s-%d", name, format, time))
}
