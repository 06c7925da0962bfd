package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// report is what the campaign counted.
type report struct {
	began    time.Time
	faults   map[string]int // by "broker kind"
	kills    map[string]int // by broker
	missed   int            // faults that did not come about; they are in no count
	checks   int
	rows     int64 // written into files
	expected int64 // rows that the end states had to hold
	lost     int64
	doubled  int64 // what anybody who reads sees twice
	wrong    int64
	physical int64 // there twice beneath, one for those who read
	allowed  int64 // of these, after a fault under which keys are what keeps rows single

	gaps        int64 // recorded, where retention or a deleted topic took what was not loaded
	quarantined int64
	recoveries  []time.Duration // default settings, measured apart
	protocol    time.Duration
	flushing    time.Duration
	flushes     int
}

func newReport() *report {
	return &report{began: time.Now(), faults: map[string]int{}, kills: map[string]int{}}
}

// add takes up what another campaign counted.
func (r *report) add(o *report) {
	for k, n := range o.faults {
		r.faults[k] += n
	}
	for k, n := range o.kills {
		r.kills[k] += n
	}
	r.missed, r.checks, r.flushes = r.missed+o.missed, r.checks+o.checks, r.flushes+o.flushes
	r.rows, r.expected, r.lost, r.doubled, r.wrong = r.rows+o.rows, r.expected+o.expected, r.lost+o.lost, r.doubled+o.doubled, r.wrong+o.wrong
	r.physical, r.allowed, r.gaps, r.quarantined = r.physical+o.physical, r.allowed+o.allowed, r.gaps+o.gaps, r.quarantined+o.quarantined
	r.recoveries = append(r.recoveries, o.recoveries...)
	r.protocol, r.flushing = r.protocol+o.protocol, r.flushing+o.flushing
}

func percentile(list []time.Duration, p float64) time.Duration {
	if len(list) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(list))
	return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))]
}

type result struct {
	Kills        int     `json:"kills"`
	Faults       int     `json:"faults"`
	Kinds        int     `json:"kinds"`
	Rows         int64   `json:"rows"`
	Lost         int64   `json:"lost"`
	Doubled      int64   `json:"doubled"`
	RecoveryP99  float64 `json:"recovery_p99_s"`
	ProtocolPart float64 `json:"protocol_share"`
}

func (r *report) result() result {
	out := result{Rows: r.rows, Lost: r.lost, Doubled: r.doubled}
	for _, n := range r.kills {
		out.Kills += n
	}
	kinds := map[string]bool{}
	for key, n := range r.faults {
		var broker, kind string
		if _, err := fmt.Sscan(key, &broker, &kind); err == nil {
			kinds[kind] = true
		}
		out.Faults += n
	}
	out.Kinds = len(kinds)
	out.RecoveryP99 = percentile(r.recoveries, 0.99).Seconds()
	if r.flushing > 0 {
		out.ProtocolPart = r.protocol.Seconds() / r.flushing.Seconds()
	}
	return out
}

// table writes the report for people.
func (r *report) table(w io.Writer, o options) {
	fmt.Fprintf(w, "Fault campaign, seed %d, %v\n\n%-12s %-34s %s\n", o.seed, time.Since(r.began).Round(time.Second), "broker", "fault", "times")
	for _, key := range slices.Sorted(maps.Keys(r.faults)) {
		var broker, kind string
		if _, err := fmt.Sscan(key, &broker, &kind); err != nil {
			continue // the keys are made here, of two words
		}
		fmt.Fprintf(w, "%-12s %-34s %d\n", broker, kind, r.faults[key])
	}
	out := r.result()
	fmt.Fprintf(w, "\nprocesses killed with SIGKILL   %d", out.Kills)
	for _, broker := range slices.Sorted(maps.Keys(r.kills)) {
		fmt.Fprintf(w, " (%s %d)", broker, r.kills[broker])
	}
	fmt.Fprintf(w, "\nrows written into files         %d\nend states compared             %d, of %d rows in all\nlost                            %d\ndoubled                         %d\nwrong                           %d\n",
		r.rows, r.checks, r.expected, r.lost, r.doubled, r.wrong)
	fmt.Fprintf(w, "quarantined                     %d, exactly those expected if nothing above is lost, doubled or wrong\n", r.quarantined)
	fmt.Fprintf(w, "physically there twice          %d, of which %d after faults that leave it to the keys\n", r.physical, r.allowed)
	fmt.Fprintf(w, "gaps recorded                   %d, only where a fault made one\n", r.gaps)
	if r.missed > 0 {
		fmt.Fprintf(w, "did not come about              %d, counted nowhere\n", r.missed)
	}
	if len(r.recoveries) > 0 {
		fmt.Fprintf(w, "recovery, default settings      p50 %.2f s, p99 %.2f s (%d)\n", percentile(r.recoveries, 0.5).Seconds(), out.RecoveryP99, len(r.recoveries))
	}
	if r.flushes > 0 {
		fmt.Fprintf(w, "claims, intents and commits     %.1f %% of the time of %d undisturbed flushes\n", 100*out.ProtocolPart, r.flushes)
	}
	fmt.Fprintln(w)
}
