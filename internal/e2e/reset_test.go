package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestAResetReadsEverythingAgainAndDoublesNothing: whatever is killed. The file is corrected in a way that its size and time do not
// tell, which is what people reset for.
func TestAResetReadsEverythingAgainAndDoublesNothing(t *testing.T) {
	for _, kill := range []string{"", "reset-asked", "produced:1", "written:1", "before-ledger:1", "reset-done"} {
		t.Run("killed at "+kill, func(t *testing.T) {
			t.Parallel()
			p := newProject(t, map[string]string{
				"headwater.yaml": killConfig(t, 30_000, embedded), "sources/figures.yaml": figuresYAML, "indicators/t.yaml": indicatorYAML,
				"sources/others.yaml": strings.NewReplacer("source: figures", "source: others", "data/figures.csv", "data/others.csv").Replace(figuresYAML),
				"data/figures.csv":    figures(0, 3000), "data/others.csv": figuresOf("o", figures(0, 100)),
			})
			p.must(t, "run")
			// The same number of bytes at the same time: without a reset nobody looks into it.
			name := filepath.Join(p.dir, "data/figures.csv")
			info, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			corrected := strings.Replace(figures(0, 3000), ",s1234,", ",z1234,", 1)
			corrected = strings.Replace(corrected, ",1500,", ",9500,", 1)
			p.write(t, "data/figures.csv", corrected)
			if err := os.Chtimes(name, info.ModTime(), info.ModTime()); err != nil {
				t.Fatal(err)
			}
			p.must(t, "run")
			if got := p.one(t, "SELECT count() FROM observation_current WHERE subject = 'z1234'"); got != "0" {
				t.Fatal("the correction was seen without a reset, so that this test tests nothing")
			}
			args := []string{"cursor", "reset", "figures", "--why", "corrected under its old time"}
			if kill != "" {
				if r := p.run(t, []string{"HEADWATER_CRASH=" + kill}, args...); r.signal != syscall.SIGKILL {
					t.Fatalf("not killed there: exit code %d\n%s\n%s", r.code, r.out, r.err)
				}
			}
			p.must(t, args...)
			if out := p.must(t, args...).out; out != "" {
				t.Errorf("a shard that stands at the beginning was set back again: %s", out)
			}
			p.must(t, "run")
			current := "SELECT concat(toString(count()), ' ', toString(uniqExact(subject)), ' ', toString(countIf(subject = 'z1234')), ' ', toString(countIf(subject = 's1234')), ' ', toString(countIf(subject = 's1500' AND value = 9500))) FROM observation_current WHERE subject NOT LIKE 'o%'"
			if got := p.one(t, current); got != "2991 2991 1 0 1" {
				t.Errorf("rows, subjects, new, removed, corrected: %s, want 2991 2991 1 0 1", got)
			}
			if got := p.one(t, "SELECT concat(toString(countIf(status = 'open')), ' ', toString(countIf(status = 'superseded'))) FROM quarantine FINAL WHERE source = 'figures'"); got != "3 3" {
				t.Errorf("open and superseded rows in quarantine: %s, want 3 3", got)
			}
			// Read once more from where it is, nothing comes; and the other source was left alone.
			if got := p.one(t, "SELECT concat(toString(sumIf(extracted, source = 'figures')), ' ', toString(sumIf(extracted, source = 'others'))) FROM ledger FINAL"); got != "6000 100" {
				t.Errorf("extracted of both sources: %s, want 6000 100", got)
			}
			p.must(t, "run")
			if got := p.one(t, "SELECT sum(extracted) FROM ledger FINAL"); got != "6100" {
				t.Errorf("a run with nothing new extracted: %s in all, want 6100", got)
			}
			cut := 0
			if kill != "" {
				cut = 1
			}
			if got := p.one(t, "SELECT concat(toString(countIf(n = 1)), ' ', toString(countIf(n = 2))) FROM (SELECT id, count() AS n FROM audit FINAL WHERE command = 'cursor reset' GROUP BY id)"); got != fmt.Sprintf("%d 2", cut) {
				t.Errorf("resets that were cut short and that ended by the audit: %s, want %d 2", got, cut)
			}
			p.balanced(t)
		})
	}
}

// TestAResetIsRefusedWhereItCannotBeExact: beside a service, and for what was never read.
func TestAResetIsRefusedWhereItCannotBeExact(t *testing.T) {
	t.Parallel()
	p, _ := served(t)
	p.must(t, "run")
	r := p.run(t, nil, "cursor", "reset", "good", "--why", "x")
	code(t, r, 3)
	says(t, r, "headwater start serves this project")
	r = p.run(t, nil, "cursor", "reset", "good")
	code(t, r, 2)
	says(t, r, "say why")
	r = p.run(t, nil, "cursor", "reset", "bad", "--why", "x")
	code(t, r, 2)
	if out := p.must(t, "cursor", "list", "good").out; !strings.Contains(out, "data/good.csv") || !strings.Contains(out, "done") {
		t.Errorf("the list of cursors: %s", out)
	}
}
