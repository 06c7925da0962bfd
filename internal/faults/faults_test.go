package main

import (
	"bytes"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/headwater-data/headwater/internal/embedded"
)

func TestMain(m *testing.M) {
	embedded.MaybeServe()
	goleak.VerifyTestMain(m)
}

// The part of `make faults` that every test run has time for: each kind that is named once, as far as it comes about, and some
// kills.
func TestABoundedCampaign(t *testing.T) {
	for broker, c := range map[string]struct {
		kills, kinds int
		named        string
	}{
		"embedded": {15, 8, "kill,kill-at-inserted,kill-at-intent,kill-at-produced,answer-lost-produce,answer-lost-offset-commit,answer-lost-insert,answer-lost-at-start,broker-kill,warehouse-kill,stalled-past-session"},
		"kafka3":   {8, 4, "kill,kill-at-inserted,answer-lost-produce,broker-kill,broker-leader-change,message-duplicated"},
	} {
		t.Run(broker, func(t *testing.T) {
			t.Parallel()
			var out, errs bytes.Buffer
			err := run(t.Context(), []string{"-broker", broker, "-kills", strconv.Itoa(c.kills), "-every", "12", "-rows", "1500", "-v", "-kinds", c.named, "-dir", t.TempDir()}, &out, &errs)
			if err != nil {
				t.Fatalf("%v\n%s\n%s", err, out.String(), errs.String())
			}
			line := out.String()[strings.LastIndex(strings.TrimSpace(out.String()), "\n")+1:]
			var r result
			if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "RESULT ")), &r); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			if r.Kills < c.kills || r.Lost != 0 || r.Doubled != 0 || r.Rows == 0 || r.Kinds < c.kinds {
				t.Errorf("%+v\n%s", r, out.String())
			}
		})
	}
}

// TestTheComparisonSeesWhatIsWrong: a campaign that could not fail would prove nothing.
func TestTheComparisonSeesWhatIsWrong(t *testing.T) {
	want := state{figures: map[string]string{"a": "1", "b": "2"}, cases: map[string]string{"C": "t"}, quarantine: map[string]int{"figures q": 1}}
	clone := func(change func(s state)) state {
		s := state{figures: map[string]string{"a": "1", "b": "2"}, cases: map[string]string{"C": "t"}, quarantine: map[string]int{"figures q": 1}}
		change(s)
		return s
	}
	for name, c := range map[string]struct {
		change               func(s state)
		lost, doubled, wrong int64
	}{
		"nothing":             {func(state) {}, 0, 0, 0},
		"a lost row":          {func(s state) { delete(s.figures, "a") }, 1, 0, 0},
		"a lost case":         {func(s state) { delete(s.cases, "C") }, 1, 0, 0},
		"another value":       {func(s state) { s.figures["a"] = "9" }, 0, 0, 1},
		"a row too many":      {func(s state) { s.figures["c"] = "3" }, 0, 0, 1},
		"a row twice":         {func(s state) { s.figures["a again"] = "1" }, 0, 1, 0},
		"a lost quarantine":   {func(s state) { delete(s.quarantine, "figures q") }, 1, 0, 0},
		"quarantined twice":   {func(s state) { s.quarantine["figures q"] = 2 }, 0, 1, 0},
		"quarantined for one": {func(s state) { s.quarantine["journal J"] = 1 }, 0, 0, 1},
	} {
		d := want.compare(clone(c.change))
		if d.lost != c.lost || d.doubled != c.doubled || d.wrong != c.wrong {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func TestFlagsThatMeanNothingAreRefused(t *testing.T) {
	for _, args := range [][]string{{"-kinds", "earthquake"}, {"-rows", "1"}, {"-every", "0"}, {"more"}} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%v was taken", args)
		}
	}
}
