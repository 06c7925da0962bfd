package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
)

// side is one loader of one format, measured several times.
type side struct{ all []measurement }

func (s *side) add(m measurement) { s.all = append(s.all, m) }

// median is the middle of a figure, the mean of the two middle ones of an even number.
func (s *side) median(figure func(measurement) float64) float64 {
	values := make([]float64, len(s.all))
	for i, m := range s.all {
		values[i] = figure(m)
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// worst is the largest of a figure.
func (s *side) worst(figure func(measurement) float64) float64 {
	value := 0.0
	for _, m := range s.all {
		value = max(value, figure(m))
	}
	return value
}

func seconds(m measurement) float64   { return m.Seconds }
func cpu(m measurement) float64       { return m.CPU }
func broker(m measurement) float64    { return m.BrokerCPU }
func warehouse(m measurement) float64 { return m.WarehouseCPU }
func peak(m measurement) float64      { return m.PeakMB }

func ratio(sides map[string]*side, format string) *float64 {
	p, e := sides[sidePipeline+" "+format], sides[sideEngine+" "+format]
	if p == nil || e == nil {
		return nil
	}
	return rounded(e.median(seconds)/p.median(seconds), 3)
}

func perCPU(o options, sides map[string]*side, format string) *float64 {
	p := sides[sidePipeline+" "+format]
	if p == nil {
		return nil
	}
	return rounded(float64(o.rows)/p.median(cpu), 0)
}

func rounded(v float64, digits int) *float64 {
	scale := math.Pow10(digits)
	v = math.Round(v*scale) / scale
	return &v
}

func summary(o options, sides map[string]*side, larger *measurement) result {
	r := result{Rows: o.rows, ParquetRatio: ratio(sides, formatParquet), CSVRatio: ratio(sides, formatCSV),
		RowsPerCPU: perCPU(o, sides, formatParquet)}
	worst := 0.0
	for _, format := range o.formats {
		worst = max(worst, sides[sidePipeline+" "+format].worst(peak))
	}
	r.PeakMB = rounded(worst, 1)
	if larger != nil {
		r.Peak4xMB = rounded(larger.PeakMB, 1)
	}
	return r
}

// report prints the table for people.
func report(out io.Writer, o options, sides map[string]*side, larger *measurement) {
	fmt.Fprintf(out, "%s rows of seven columns into the table observation; medians of %d\n\n", grouped(float64(o.rows)), o.times)
	const heads, row = "%-8s  %-22s %8s %12s %9s %13s %9s %9s %9s\n", "%-8s  %-22s %8.2f %12s %9.2f %13s %9s %9s %9.0f\n"
	fmt.Fprintf(out, heads, "from", "loaded by", "seconds", "rows/s", "cpu s", "rows/cpu s", "broker", "warehouse", "peak MB")
	line := func(format, name string, rows int, s *side) {
		beside := func(figure func(measurement) float64) string {
			if name == sideEngine {
				return ""
			}
			return fmt.Sprintf("%.2f s", s.median(figure))
		}
		fmt.Fprintf(out, row, format, name, s.median(seconds), grouped(float64(rows)/s.median(seconds)), s.median(cpu),
			grouped(float64(rows)/s.median(cpu)), beside(broker), beside(warehouse), s.worst(peak))
	}
	for _, format := range o.formats {
		line(format, sideEngine, o.rows, sides[sideEngine+" "+format])
		line(format, sidePipeline, o.rows, sides[sidePipeline+" "+format])
	}
	if larger != nil {
		line(o.formats[0], fmt.Sprintf("%s, %d× rows", sidePipeline, largerBy), largerBy*o.rows, &side{all: []measurement{*larger}})
	}
	fmt.Fprintln(out)
	for _, format := range o.formats {
		fmt.Fprintf(out, "from %s the pipeline is %.2f times as fast as the engine alone\n", format, *ratio(sides, format))
	}
}

// grouped writes a whole number with commas.
func grouped(v float64) string {
	digits := strconv.FormatFloat(v, 'f', 0, 64)
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}
