// Package schedule decides when a source is read: by a cron expression in a time zone, in intervals or without a pause, with
// one run after a downtime in which some were missed and with further tries of runs that failed.
//
// It is pure: Plan.Next takes what is known and the time, and keeps neither clocks nor goroutines. A caller asks it, waits
// until the occasion it names, makes sure that no run of the source is under way, runs it, and asks again with the run's
// outcome as Last. Asking again while waiting is harmless and makes up for clocks that were set and machines that slept.
package schedule

import (
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Spec is a source's schedule as configured. At most one of Cron, Every and Continuous is set; without any, nothing is ever due.
type Spec struct {
	Cron       string // five fields
	Every      time.Duration
	Continuous bool
	Zone       *time.Location // of Cron; nil is UTC
	CatchUp    bool           // run once after a downtime
	Retries    int            // tries of a failed run, beside the first
}

// Plan is a schedule ready for decisions. The zero value is never due.
type Plan struct {
	spec  Spec
	times cron.Schedule // nil unless by cron
}

// Compile makes a plan.
func Compile(spec Spec) (Plan, error) {
	p := Plan{spec: spec}
	if p.spec.Zone == nil {
		p.spec.Zone = time.UTC
	}
	if spec.Cron != "" {
		// The zone has a place of its own, and cron v3.0.1 panics at a zone in the expression without anything after it.
		if strings.HasPrefix(spec.Cron, "TZ=") || strings.HasPrefix(spec.Cron, "CRON_TZ=") {
			return Plan{}, fmt.Errorf("cron expression %q: it must not name a time zone", spec.Cron)
		}
		times, err := cron.ParseStandard(spec.Cron)
		if err != nil {
			return Plan{}, fmt.Errorf("cron expression %q: %w", spec.Cron, err)
		}
		p.times = times
	}
	return p, nil
}

// Trigger says why a run is due, in the words of the run history.
type Trigger string

// The reasons for runs.
const (
	OnTime  Trigger = "schedule"
	CatchUp Trigger = "catch-up" // a run was missed, or was cut short, while nobody served
	Retry   Trigger = "retry"    // the last one failed
)

// Last is what is known of a source's last run, whoever asked for it. The zero value is a source that was never read.
type Last struct {
	Started, Ended time.Time // the newest run that came to an end, well or not
	Failed         bool
	Attempt        int  // of that run: 1 for the first try of an occasion; counts when it failed
	Idle           bool // it found nothing new
	// Cut says that a run which the schedule had asked for was begun after that and did not come to an end: the process was
	// stopped or killed.
	Cut bool
}

// Occasion is a run to be done.
type Occasion struct {
	At      time.Time // not before; past when it is due
	Trigger Trigger
	Attempt int // 1 for the first try
}

// Pauses.
const (
	// idlePause keeps a continuous source that has nothing new from being asked without end.
	idlePause = time.Second
	// A failed run is tried again after firstPause, and each further time after twice as long, up to maxPause.
	firstPause = 10 * time.Second
	maxPause   = 10 * time.Minute
)

// Pause is how long to wait after the attempt of that number, from 1, has failed.
func Pause(attempt int) time.Duration {
	pause := firstPause
	for range attempt - 1 {
		if pause *= 2; pause >= maxPause {
			return maxPause
		}
	}
	return pause
}

// Next says when the source is to be read next, and why; ok is false when never. Began is when the service began to look
// after the source: what was due before and not done was missed in a downtime. The occasion is due when its time is not
// after now; several runs that were missed are one occasion. A time that falls into a run is made up for when the run has
// ended, so that what came in meanwhile is read.
func (p Plan) Next(last Last, began, now time.Time) (o Occasion, ok bool) {
	if p.spec.Cron == "" && p.spec.Every == 0 && !p.spec.Continuous {
		return Occasion{}, false
	}
	if last.Cut && p.spec.CatchUp {
		return Occasion{At: now, Trigger: CatchUp, Attempt: 1}, true
	}
	o, ok = p.regular(last, began, now)
	if !last.Failed || last.Attempt > p.spec.Retries {
		return o, ok
	}
	retry := Occasion{At: last.Ended.Add(Pause(last.Attempt)), Trigger: Retry, Attempt: last.Attempt + 1}
	if p.spec.Cron != "" && ok && !o.At.After(retry.At) {
		return o, true // a new occasion comes before the next try of the old one
	}
	// An interval shorter than the pause must not take its place: pauses would not grow.
	return retry, true
}

func (p Plan) regular(last Last, began, now time.Time) (Occasion, bool) {
	var due time.Time
	missed := false
	switch {
	case p.times != nil:
		// Without a run before, nothing can have been missed; without catching up, nothing that was counts.
		base := last.Started
		if base.IsZero() || !p.spec.CatchUp && base.Before(began) {
			base = began
		}
		due = p.times.Next(base.In(p.spec.Zone))
		if due.IsZero() {
			return Occasion{}, false // such as the 30th of February
		}
		missed = due.Before(began)
	case last.Started.IsZero():
		due = began
	case p.spec.Continuous:
		due = last.Ended
		switch {
		case last.Failed:
			due = due.Add(Pause(max(1, last.Attempt)))
		case last.Idle:
			due = due.Add(idlePause)
		}
	default:
		base := last.Ended
		if !p.spec.CatchUp && base.Before(began) {
			base = began
		}
		due = base.Add(p.spec.Every)
		missed = due.Before(began)
	}
	o := Occasion{At: due, Trigger: OnTime, Attempt: 1}
	if missed && !due.After(now) {
		o.Trigger = CatchUp
	}
	return o, true
}
