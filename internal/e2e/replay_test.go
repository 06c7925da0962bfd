package e2e

import (
	"strings"
	"syscall"
	"testing"
)

// TestAQuarantinedRowIsReplayedOnceAfterTheMappingIsMended: whatever is killed, and however often it is repeated.
func TestAQuarantinedRowIsReplayedOnceAfterTheMappingIsMended(t *testing.T) {
	for _, c := range []struct {
		broker
		kill string
	}{
		{embedded, ""}, {embedded, "produced:1"}, {embedded, "inserted:1"}, {embedded, "before-ledger:1"}, {embedded, "before-final-commit:1"},
		{apache, "produced:1"}, {apache, "before-ledger:1"},
	} {
		b, kill := c.broker, c.kill
		t.Run(b.name+", killed at "+kill, func(t *testing.T) {
			t.Parallel()
			p := newProject(t, map[string]string{
				"headwater.yaml": killConfig(t, 30_000, b), "sources/figures.yaml": figuresYAML, "indicators/t.yaml": indicatorYAML,
				"data/figures.csv": figures(0, 5000),
			})
			p.must(t, "run")
			if got := p.one(t, "SELECT count() FROM quarantine FINAL WHERE status = 'open'"); got != "5" {
				t.Fatalf("%s rows in quarantine, want 5", got)
			}
			p.write(t, "sources/figures.yaml", strings.Replace(figuresYAML, "value: {from: value, parse: number}", "value: {from: value, null: [很多], parse: number, default: 9999}", 1))
			if kill != "" {
				if r := p.run(t, []string{"HEADWATER_CRASH=" + kill}, "quarantine", "replay", "--all"); r.signal != syscall.SIGKILL {
					t.Fatalf("not killed there: exit code %d\n%s\n%s", r.code, r.out, r.err)
				}
			}
			p.must(t, "quarantine", "replay", "--all")
			p.must(t, "quarantine", "replay", "--all")
			if got := p.one(t, "SELECT concat(toString(count()), ' ', toString(uniqExact(subject)), ' ', toString(countIf(value = 9999))) FROM observation_current"); got != "4990 4990 5" {
				t.Errorf("rows, subjects, replayed rows: %s, want 4990 4990 5", got)
			}
			if n := p.one(t, "SELECT count() FROM observation"); n != "4990" {
				t.Errorf("%s physical rows, want 4990", n)
			}
			if got := p.one(t, "SELECT concat(toString(count()), ' ', toString(countIf(status = 'replayed'))) FROM quarantine FINAL"); got != "5 5" {
				t.Errorf("quarantined, replayed: %s, want 5 5", got)
			}
			// A replayed row belongs to the file that first brought it: a new content without it removes it.
			p.write(t, "data/figures.csv", figures(0, 4000))
			p.must(t, "run")
			if got := p.one(t, "SELECT count() FROM observation_current WHERE value = 9999"); got != "4" {
				t.Errorf("%s replayed rows after the file lost one of them and broke none, want 4", got)
			}
			p.balanced(t)
		})
	}
}
