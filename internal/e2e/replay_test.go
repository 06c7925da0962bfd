package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
		{embedded, ""}, {embedded, "replay-asked"}, {embedded, "produced:1"}, {embedded, "inserted:1"}, {embedded, "before-ledger:1"}, {embedded, "before-final-commit:1"}, {embedded, "replay-done"},
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
				if n := p.one(t, "SELECT concat(toString(countIf(outcome = 'asked')), ' ', toString(countIf(outcome != 'asked'))) FROM audit FINAL WHERE target_kind = 'quarantine'"); n != "1 0" {
					t.Errorf("asked and ended by the audit after the kill: %s, want 1 0", n)
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

// quarantinedID finds the row of a subject in quarantine by what its columns are.
func (p *project) quarantinedID(t *testing.T, subject string) string {
	t.Helper()
	for _, r := range p.quarantine(t, "open") {
		if fmt.Sprint(r["columns"].(map[string]any)["subject"]) == subject {
			return fmt.Sprint(r["id"])
		}
	}
	t.Fatalf("%s is not in quarantine", subject)
	return ""
}

func (p *project) quarantine(t *testing.T, status string) []map[string]any {
	t.Helper()
	var rows []map[string]any
	if err := json.Unmarshal([]byte(p.must(t, "quarantine", "list", "--status", status, "--limit", "0", "--json").out), &rows); err != nil {
		t.Fatal(err)
	}
	return rows
}

// TestARepairIsMadeOnce: an edited value is loaded once and a dismissal stands once, whatever is killed and however often they
// are repeated, and the audit tells one story of each.
func TestARepairIsMadeOnce(t *testing.T) {
	for _, c := range []struct {
		repair, dismissal string
		served            bool // beside headwater start, which does it then
	}{
		{"", "", true}, {"replay-asked", "dismissal-asked", false}, {"produced:1", "dismissal-done", false}, {"inserted:1", "", false}, {"before-ledger:1", "", false}, {"before-final-commit:1", "", false}, {"replay-done", "", false},
	} {
		t.Run(fmt.Sprintf("killed at %q and %q, served: %v", c.repair, c.dismissal, c.served), func(t *testing.T) {
			t.Parallel()
			p := newProject(t, map[string]string{
				"headwater.yaml": killConfig(t, 30_000, embedded), "sources/figures.yaml": figuresYAML, "indicators/t.yaml": indicatorYAML,
				"data/figures.csv": figures(0, 5000),
			})
			p.must(t, "run")
			if c.served {
				p.start(t, nil, "start").await(t, "serving")
			}
			twice := func(kill string, args ...string) {
				t.Helper()
				if kill != "" {
					if r := p.run(t, []string{"HEADWATER_CRASH=" + kill}, args...); r.signal != syscall.SIGKILL {
						t.Fatalf("not killed there: exit code %d\n%s\n%s", r.code, r.out, r.err)
					}
				}
				p.must(t, args...)
				p.must(t, args...)
			}
			good, bad, gone := p.quarantinedID(t, "s7"), p.quarantinedID(t, "s1007"), p.quarantinedID(t, "s2007")
			twice(c.repair, "quarantine", "repair", good, "--set", "value=8888", "--set", "note=changed", "--why", "asked them", "--by", "林")
			twice("", "quarantine", "repair", bad, "--set", "value=更多", "--why", "a guess")
			twice(c.dismissal, "quarantine", "dismiss", gone, "--why", "not theirs")
			if r := p.run(t, nil, "quarantine", "repair", gone, "--set", "value=1", "--why", "x"); r.code != 2 || !strings.Contains(r.err, "is dismissed already") {
				t.Errorf("a dismissed row was repaired: exit code %d\n%s", r.code, r.err)
			}
			if r := p.run(t, nil, "quarantine", "repair", good, "--set", "value=1", "--why", "another"); r.code != 2 || !strings.Contains(r.err, "is replayed already (by 林 (by ") {
				t.Errorf("a repaired row was repaired: exit code %d\n%s", r.code, r.err)
			}
			if got := p.one(t, "SELECT concat(toString(count()), ' ', toString(uniqExact(subject)), ' ', toString(countIf(value = 8888 AND subject = 's7'))) FROM observation_current"); got != "4986 4986 1" {
				t.Errorf("rows, subjects, repaired rows: %s, want 4986 4986 1", got)
			}
			if n := p.one(t, "SELECT count() FROM observation"); n != "4986" {
				t.Errorf("%s physical rows, want 4986", n)
			}
			if got := p.one(t, "SELECT concat(toString(countIf(status = 'replayed')), ' ', toString(countIf(status = 'dismissed')), ' ', toString(countIf(status = 'open'))) FROM quarantine FINAL"); got != "2 1 3" {
				t.Errorf("replayed, dismissed, open: %s, want 2 1 3", got)
			}
			// What was edited in vain is kept, with the reasons of now.
			again := p.quarantinedID(t, "s1007")
			if show := p.must(t, "quarantine", "show", again).out; again == bad || !strings.Contains(show, "value: 更多") || !strings.Contains(show, "“更多” is not a number") {
				t.Errorf("the row that still breaks a rule: %s", show)
			}
			p.must(t, "quarantine", "repair", again, "--set", "value=7777", "--why", "now I know")
			if got := p.one(t, "SELECT count() FROM observation_current WHERE value = 7777 AND subject = 's1007'"); got != "1" {
				t.Errorf("%s rows repaired at the second try, want 1", got)
			}
			if show := p.must(t, "quarantine", "show", good).out; !strings.Contains(show, "replayed on ") || !strings.Contains(show, "by 林 (by ") || !strings.Contains(show, ": asked them") {
				t.Errorf("the repaired row says: %s", show)
			}
			// The killed command has its asked line alone; every repetition both.
			var changes []struct{ Command, Target, Outcome, Who, Why, Host string }
			text := p.must(t, "audit", "--json").out
			if err := json.Unmarshal([]byte(text), &changes); err != nil {
				t.Fatal(err)
			}
			done, asked, want := map[string]int{}, map[string]int{}, map[string]int{}
			for _, a := range changes {
				key := a.Command + " " + a.Target
				switch a.Outcome {
				case "done":
					done[key]++
				case "asked":
					asked[key]++
				default:
					t.Errorf("%+v", a)
				}
				if a.Who == "" || a.Why == "" || a.Host == "" {
					t.Errorf("%+v does not say who, why and where", a)
				}
			}
			if c.repair != "" {
				want["quarantine repair "+good] = 1
			}
			if c.dismissal != "" {
				want["quarantine dismiss "+gone] = 1
			}
			if fmt.Sprint(asked) != fmt.Sprint(want) {
				t.Errorf("only asked: %v, want %v", asked, want)
			}
			if done["quarantine repair "+good] != 2 || done["quarantine dismiss "+gone] != 2 || done["quarantine repair "+bad] != 2 {
				t.Errorf("done: %v", done)
			}
			if strings.Contains(text, "8888") || strings.Contains(text, "更多") || !strings.Contains(text, `"note"`) {
				t.Errorf("the audit should name columns and no values: %s", text)
			}
			p.balanced(t)
		})
	}
}

// TestARepairedPersonalValueLeavesNoTrace: it is masked before Kafka and stands in no file, log, table or output.
func TestARepairedPersonalValueLeavesNoTrace(t *testing.T) {
	t.Parallel()
	const wrong, right = "330199199001010012", "33019919900101002X"
	p := newProject(t, map[string]string{
		"headwater.yaml": "project: personal\nbroker: {partitions: 1}\n", "sources/cases.yaml": strings.Replace(casesYAML, "        status: {value: open}\n", "        status: {value: open}\n        caller_id: {from: idcard, mask: hash}\n        caller: {from: name, mask: name}\n", 1),
		"data/cases.csv": "id,region,opened,idcard,name\nA,西湖区,2024-03-05 08:00:00," + wrong + ",欧阳莲\nB,西湖区,neulich,,\n",
	})
	p.must(t, "run")
	rows := p.quarantine(t, "open")
	if len(rows) != 2 {
		t.Fatalf("in quarantine: %v", rows)
	}
	ids := map[bool]string{}
	for _, r := range rows {
		ids[strings.Contains(fmt.Sprint(r["breaks"]), "caller_id")] = fmt.Sprint(r["id"])
	}
	if r := p.run(t, nil, "quarantine", "repair", ids[true], "--set", "region=拱墅区", "--why", "x"); r.code != 2 || !strings.Contains(r.err, "set idcard too") {
		t.Errorf("a row whose personal value is wrong was repaired without it: exit code %d\n%s\n%s", r.code, r.out, r.err)
	}
	if r := p.run(t, nil, "quarantine", "repair", ids[true], "--set", "idcard="+wrong[:17]+"3", "--why", "x"); r.code != 2 || !strings.Contains(r.err, "breaks a rule") || strings.Contains(r.err+r.out, wrong[:17]) {
		t.Errorf("a wrong personal value: exit code %d\n%s\n%s", r.code, r.out, r.err)
	}
	p.write(t, "../edits.csv", "id,column,value\n"+ids[true]+",idcard,"+right+"\n"+ids[false]+",opened,2024-03-06 09:00:00\n"+ids[false]+",name,诸葛明亮\n")
	edits := filepath.Join(filepath.Dir(p.dir), "edits.csv")
	out := p.must(t, "quarantine", "repair", "--file", edits, "--why", "the paper file says so", "--log-level", "debug")
	if got := p.one(t, "SELECT concat(toString(count()), ' ', toString(countIf(length(caller_id) > 40)), ' ', arrayStringConcat(arraySort(groupArray(caller)), ',')) FROM hotline_case FINAL"); got != "2 1 欧**,诸***" {
		t.Errorf("rows, hashed, names: %s", got)
	}
	text := out.out + out.err + p.must(t, "audit", "--json").out + p.must(t, "quarantine", "show", "--json", ids[true], ids[false]).out
	if err := os.Remove(edits); err != nil {
		t.Fatal(err)
	}
	for _, planted := range []string{wrong[:17], right[:17], "诸葛明亮", "欧阳莲"} {
		if strings.Contains(text, planted) {
			t.Errorf("%s was written to the screen, a log or the audit", planted)
		}
		if err := filepath.WalkDir(filepath.Join(p.dir, ".headwater"), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil // servers' files come and go
			}
			if content, err := os.ReadFile(path); err == nil && bytes.Contains(content, []byte(planted)) {
				t.Errorf("%s is in %s", planted, path)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	p.balanced(t)
}
