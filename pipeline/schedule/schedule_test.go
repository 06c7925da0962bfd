package schedule

import (
	"context"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatalf("%v: install the time zone data (package tzdata)", err)
	}
	return z
}

func plan(t testing.TB, s Spec) Plan {
	t.Helper()
	p, err := Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestNext(t *testing.T) {
	t.Parallel()
	shanghai := zone(t, "Asia/Shanghai")
	at := func(day, hour, minute int) time.Time { return time.Date(2024, 3, day, hour, minute, 0, 0, shanghai) }
	done := func(started, ended time.Time) Last { return Last{Started: started, Ended: ended, Attempt: 1} }
	failed := func(started, ended time.Time, attempt int) Last {
		return Last{Started: started, Ended: ended, Failed: true, Attempt: attempt}
	}
	daily := Spec{Cron: "30 6 * * *", Zone: shanghai, CatchUp: true, Retries: 3}
	hourly := Spec{Cron: "0 * * * *", Zone: shanghai, CatchUp: true, Retries: 3}
	quarter := Spec{Every: 15 * time.Minute, CatchUp: true, Retries: 2}
	always := Spec{Continuous: true, CatchUp: true, Retries: 1}
	without := func(s Spec) Spec { s.CatchUp = false; return s }
	never := Occasion{}
	for _, c := range []struct {
		name       string
		spec       Spec
		last       Last
		began, now time.Time
		want       Occasion
	}{
		{"a source without a schedule is never due", Spec{CatchUp: true}, Last{}, at(1, 8, 0), at(1, 9, 0), never},
		{"a day that does not come is never due", Spec{Cron: "0 0 30 2 *", Zone: shanghai}, Last{}, at(1, 8, 0), at(1, 8, 0), never},
		{"a source that was never read waits for its time", daily, Last{}, at(1, 8, 0), at(1, 8, 0), Occasion{at(2, 6, 30), OnTime, 1}},
		{"the time is that of the zone", Spec{Cron: "30 6 * * *", Zone: time.UTC}, Last{}, at(1, 8, 0), at(1, 8, 0), Occasion{at(1, 14, 30), OnTime, 1}},
		{"a time that has come is due", daily, done(at(1, 6, 30), at(1, 6, 31)), at(1, 6, 0), at(2, 6, 30), Occasion{at(2, 6, 30), OnTime, 1}},
		{"a missed run is caught up", daily, done(at(1, 6, 30), at(1, 6, 31)), at(2, 8, 0), at(2, 8, 0), Occasion{at(2, 6, 30), CatchUp, 1}},
		{"many missed runs are caught up by one", daily, done(at(1, 6, 30), at(1, 6, 31)), at(20, 8, 0), at(20, 8, 0), Occasion{at(2, 6, 30), CatchUp, 1}},
		{"after catching up the next time counts", daily, done(at(20, 8, 0), at(20, 8, 1)), at(20, 8, 0), at(20, 8, 1), Occasion{at(21, 6, 30), OnTime, 1}},
		{"a run by hand after the missed one makes catching up needless", daily, done(at(2, 7, 0), at(2, 7, 1)), at(2, 8, 0), at(2, 8, 0), Occasion{at(3, 6, 30), OnTime, 1}},
		{"nothing is caught up where that is off", without(daily), done(at(1, 6, 30), at(1, 6, 31)), at(2, 8, 0), at(2, 8, 0), Occasion{at(3, 6, 30), OnTime, 1}},
		{"a time within the service counts even where catching up is off", without(daily), done(at(1, 6, 30), at(1, 6, 31)), at(2, 6, 0), at(2, 6, 31), Occasion{at(2, 6, 30), OnTime, 1}},
		{"a time that falls into a run follows it", hourly, done(at(1, 6, 0), at(1, 7, 20)), at(1, 5, 0), at(1, 7, 20), Occasion{at(1, 7, 0), OnTime, 1}},
		{"a run that was cut short is caught up at once", daily, Last{Started: at(1, 6, 30), Ended: at(1, 6, 31), Cut: true}, at(1, 8, 0), at(1, 8, 0), Occasion{at(1, 8, 0), CatchUp, 1}},
		{"a run that was cut short is left where catching up is off", without(daily), Last{Started: at(1, 6, 30), Ended: at(1, 6, 31), Cut: true}, at(1, 8, 0), at(1, 8, 0), Occasion{at(2, 6, 30), OnTime, 1}},
		{"a first run that was cut short is caught up at once", daily, Last{Cut: true}, at(1, 8, 0), at(1, 8, 0), Occasion{at(1, 8, 0), CatchUp, 1}},

		{"a failed run is tried again after a pause", daily, failed(at(1, 6, 30), at(1, 6, 31), 1), at(1, 6, 0), at(1, 6, 31), Occasion{at(1, 6, 31).Add(10 * time.Second), Retry, 2}},
		{"the second pause is longer", daily, failed(at(1, 6, 32), at(1, 6, 33), 2), at(1, 6, 0), at(1, 6, 33), Occasion{at(1, 6, 33).Add(20 * time.Second), Retry, 3}},
		{"when the retries are used up the next time counts", daily, failed(at(1, 6, 32), at(1, 6, 33), 4), at(1, 6, 0), at(1, 6, 33), Occasion{at(2, 6, 30), OnTime, 1}},
		{"without retries the next time counts", Spec{Cron: "30 6 * * *", Zone: shanghai}, failed(at(1, 6, 30), at(1, 6, 33), 1), at(1, 6, 0), at(1, 6, 33), Occasion{at(2, 6, 30), OnTime, 1}},
		{"a new occasion comes before a late retry", Spec{Cron: "* * * * *", Zone: shanghai, Retries: 100}, failed(at(1, 6, 30), at(1, 6, 30), 20), at(1, 6, 0), at(1, 6, 30), Occasion{at(1, 6, 31), OnTime, 1}},
		{"a retry goes on after a restart", daily, failed(at(1, 6, 30), at(1, 6, 31), 2), at(1, 7, 0), at(1, 7, 0), Occasion{at(1, 6, 31).Add(20 * time.Second), Retry, 3}},

		{"an interval begins with a run", quarter, Last{}, at(1, 8, 0), at(1, 8, 1), Occasion{at(1, 8, 0), OnTime, 1}},
		{"an interval counts from the end of a run", quarter, done(at(1, 8, 0), at(1, 8, 10)), at(1, 8, 0), at(1, 8, 11), Occasion{at(1, 8, 25), OnTime, 1}},
		{"an interval that ended in a downtime is caught up", quarter, done(at(1, 8, 0), at(1, 8, 10)), at(1, 9, 0), at(1, 9, 0), Occasion{at(1, 8, 25), CatchUp, 1}},
		{"an interval that ends in the service is on time", quarter, done(at(1, 8, 0), at(1, 8, 10)), at(1, 8, 20), at(1, 8, 20), Occasion{at(1, 8, 25), OnTime, 1}},
		{"an interval begins anew where catching up is off", without(quarter), done(at(1, 8, 0), at(1, 8, 10)), at(1, 9, 0), at(1, 9, 0), Occasion{at(1, 9, 15), OnTime, 1}},
		{"an interval shorter than the pause does not replace it", Spec{Every: time.Second, Retries: 5}, failed(at(1, 8, 0), at(1, 8, 1), 3), at(1, 8, 0), at(1, 8, 1), Occasion{at(1, 8, 1).Add(40 * time.Second), Retry, 4}},

		{"a continuous source begins at once", always, Last{}, at(1, 8, 0), at(1, 8, 0), Occasion{at(1, 8, 0), OnTime, 1}},
		{"a continuous source goes on at once", always, done(at(1, 8, 0), at(1, 8, 1)), at(1, 8, 0), at(1, 8, 1), Occasion{at(1, 8, 1), OnTime, 1}},
		{"a continuous source with nothing new pauses", always, Last{Started: at(1, 8, 0), Ended: at(1, 8, 1), Idle: true}, at(1, 8, 0), at(1, 8, 1), Occasion{at(1, 8, 1).Add(time.Second), OnTime, 1}},
		{"a continuous source that fails is tried again", always, failed(at(1, 8, 0), at(1, 8, 1), 1), at(1, 8, 0), at(1, 8, 1), Occasion{at(1, 8, 1).Add(10 * time.Second), Retry, 2}},
		{"a continuous source that keeps failing pauses longer", always, failed(at(1, 8, 0), at(1, 8, 1), 2), at(1, 8, 0), at(1, 8, 1), Occasion{at(1, 8, 1).Add(20 * time.Second), OnTime, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, ok := plan(t, c.spec).Next(c.last, c.began, c.now)
			if ok != (c.want != never) {
				t.Fatalf("due %v, want %v", got, c.want)
			}
			if !got.At.Equal(c.want.At) || got.Trigger != c.want.Trigger || got.Attempt != c.want.Attempt {
				t.Errorf("got %v %s %d, want %v %s %d", got.At, got.Trigger, got.Attempt, c.want.At, c.want.Trigger, c.want.Attempt)
			}
		})
	}
}

func TestPausesGrowAndEnd(t *testing.T) {
	t.Parallel()
	before := time.Duration(0)
	for attempt := 1; attempt <= 200; attempt++ {
		pause := Pause(attempt)
		if pause < before || pause > maxPause || pause < firstPause {
			t.Fatalf("attempt %d: pause %v after %v", attempt, pause, before)
		}
		before = pause
	}
	if before != maxPause {
		t.Errorf("the longest pause is %v, want %v", before, maxPause)
	}
}

func TestCompileRefusesWhatIsNoCronExpression(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"61 * * * *", "* * * *", "x", "* * * * * *", "TZ=UTC", "CRON_TZ=UTC", "TZ=UTC 1 2 * * *"} {
		if _, err := Compile(Spec{Cron: text}); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

// TestADayOfAService lets a service of one source work for simulated time: what is due is done, one run after another.
func TestADayOfAService(t *testing.T) {
	for _, c := range []struct {
		name string
		spec Spec
		took time.Duration
		fail func(run int) bool
		last time.Duration // before the service began
		want map[Trigger]int
	}{
		{"hourly, one missed before", Spec{Cron: "0 * * * *", CatchUp: true, Retries: 3}, time.Minute, nil, 5 * time.Hour, map[Trigger]int{CatchUp: 1, OnTime: 23}},
		{"hourly runs of ninety minutes follow each other", Spec{Cron: "0 * * * *", CatchUp: true, Retries: 3}, 90 * time.Minute, nil, 0, map[Trigger]int{OnTime: 16}},
		{"every hour, counted from the end", Spec{Every: time.Hour}, 30 * time.Minute, nil, 0, map[Trigger]int{OnTime: 16}},
		{"each first try fails, each second does not", Spec{Cron: "0 * * * *", Retries: 3}, time.Minute, func(run int) bool { return run%2 == 0 }, 0, map[Trigger]int{OnTime: 23, Retry: 23}},
		{"all fail", Spec{Cron: "0 * * * *", Retries: 3}, time.Minute, func(int) bool { return true }, 0, map[Trigger]int{OnTime: 23, Retry: 69}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now().Add(30 * time.Second)
				<-time.After(30 * time.Second) // not on the hour
				ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour-time.Minute)
				defer cancel()
				p := plan(t, c.spec)
				var last Last
				if c.last > 0 {
					last = Last{Started: began.Add(-c.last), Ended: began.Add(-c.last), Attempt: 1}
				}
				got := map[Trigger]int{}
				for run := 0; ctx.Err() == nil; run++ {
					o, ok := p.Next(last, began, time.Now())
					if !ok {
						t.Fatal("never due")
					}
					select {
					case <-time.After(time.Until(o.At)):
					case <-ctx.Done():
						continue
					}
					got[o.Trigger]++
					started := time.Now()
					<-time.After(c.took)
					last = Last{Started: started, Ended: time.Now(), Attempt: o.Attempt, Failed: c.fail != nil && c.fail(run)}
				}
				if !maps.Equal(got, c.want) {
					t.Errorf("runs %v, want %v", got, c.want)
				}
			})
		})
	}
}

// FuzzNext: whatever is known, an occasion is never before what it follows, is always named, and asking at its time names the
// same one.
func FuzzNext(f *testing.F) {
	f.Add("30 6 * * *", int64(0), false, int64(3600), int64(7200), true, 2, 3, true, false)
	f.Add("", int64(60), false, int64(0), int64(0), false, 0, 0, false, true)
	f.Add("", int64(0), true, int64(10), int64(20), true, 9, 3, true, false)
	f.Add("*/7 1-3 1,15 * mon", int64(0), false, int64(86400), int64(10), false, 1, 0, false, false)
	f.Fuzz(func(t *testing.T, expression string, every int64, continuous bool, ago, took int64, failed bool, attempt, retries int, catchUp, cut bool) {
		if every < 0 || every > 1<<30 || ago < 0 || ago > 1<<30 || took < 0 || took > 1<<20 || attempt < 0 || attempt > 200 || retries < 0 || retries > 100 {
			return
		}
		p, err := Compile(Spec{Cron: expression, Every: time.Duration(every) * time.Second, Continuous: continuous, CatchUp: catchUp, Retries: retries})
		if err != nil {
			return
		}
		now := time.Date(2024, 3, 1, 8, 0, 0, 0, time.UTC)
		var last Last
		if ago > 0 {
			last = Last{Started: now.Add(-time.Duration(ago+took) * time.Second), Ended: now.Add(-time.Duration(ago) * time.Second), Failed: failed, Attempt: attempt, Cut: cut}
		}
		o, ok := p.Next(last, now, now)
		if !ok {
			return
		}
		if o.At.IsZero() || o.Trigger == "" || o.Attempt < 1 || o.At.Before(last.Started) {
			t.Fatalf("%+v after %+v", o, last)
		}
		if o.At.After(now) {
			again, ok := p.Next(last, now, o.At)
			if !ok || !again.At.Equal(o.At) || again.Trigger != o.Trigger {
				t.Fatalf("at its time %+v became %+v", o, again)
			}
		}
	})
}
