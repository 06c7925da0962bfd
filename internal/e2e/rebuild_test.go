package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
)

// TestATableIsRebuiltFromKafkaUnderAChangedMapping: whatever is killed, the old table is in force or the new one, and repeating the
// command ends it.
func TestATableIsRebuiltFromKafkaUnderAChangedMapping(t *testing.T) {
	const others = "SELECT concat(toString(count()), ' ', toString(sum(value))) FROM observation_current WHERE subject LIKE 'o%'"
	const ours = "SELECT concat(toString(count()), ' ', toString(uniqExact(subject)), ' ', toString(toInt64(sum(value))), ' ', toString(countIf(value = 7)), ' ', toString(countIf(value = 4242))) FROM observation_current WHERE subject LIKE 's%'"
	sum := func(rows, factor int) int64 {
		n := int64(0)
		for i := range rows {
			if i%1000 != 7 && i%500 != 9 {
				n += int64((i + 3) * factor)
			}
		}
		return n
	}
	for _, kill := range []string{"", "rebuild-asked", "inserted:2", "rebuild-filled", "rebuild-exchanged", "rebuild-settled"} {
		t.Run("killed at "+kill, func(t *testing.T) {
			t.Parallel()
			p := newProject(t, map[string]string{
				"headwater.yaml": killConfig(t, 2_000, embedded), "sources/figures.yaml": figuresYAML, "indicators/t.yaml": indicatorYAML,
				"sources/others.yaml": strings.NewReplacer("source: figures", "source: others", "data/figures.csv", "data/others.csv").Replace(figuresYAML),
				"data/figures.csv":    figures(0, 5000), "data/others.csv": figuresOf("o", figures(0, 100)),
			})
			p.must(t, "run")
			// A second content without the last rows; a row repaired; a row dismissed. 4 rows are open in quarantine before.
			p.write(t, "data/figures.csv", figures(3, 4000))
			p.must(t, "run")
			p.must(t, "quarantine", "repair", p.quarantinedID(t, "s7"), "--set", "value=4242", "--why", "asked")
			p.must(t, "quarantine", "dismiss", p.quarantinedID(t, "s1007"), "--why", "theirs")
			before, beforeOthers := p.one(t, ours), p.one(t, others)
			if !strings.HasPrefix(beforeOthers, "98 ") {
				t.Fatalf("the other source: %s, want 98 records", beforeOthers)
			}
			if want := text(3989, 3989, sum(4000, 1)+4242, 1, 1); before != want {
				t.Fatalf("before: %s, want %s", before, want)
			}
			// The mapping of now: values ten times as large, and 很多 is 7.
			p.write(t, "sources/figures.yaml", strings.Replace(figuresYAML, "value: {from: value, parse: number}", "value: {from: value, 'null': [很多], parse: number, default: 7, scale: 10}", 1))
			args := []string{"replay", "figures", "--from", "kafka", "--why", "tens"}
			var dry struct {
				Extracted int64 `json:"extracted"`
				Changed   int64 `json:"records_changed"`
			}
			out := p.must(t, "replay", "figures", "--from", "kafka", "--dry-run", "--json").out
			if err := json.Unmarshal([]byte(out), &dry); err != nil {
				t.Fatal(err)
			}
			if p.one(t, ours) != before || p.one(t, "SELECT count() FROM system.tables WHERE name LIKE '%\\_\\_rebuild'") != "0" || dry.Changed == 0 || dry.Extracted != 9001 {
				t.Errorf("a dry run changed something, or saw no difference: %s", out)
			}
			if kill != "" {
				if r := p.run(t, []string{"HEADWATER_CRASH=" + kill}, args...); r.signal != syscall.SIGKILL {
					t.Fatalf("not killed there: exit code %d\n%s\n%s", r.code, r.out, r.err)
				}
				now := p.one(t, ours)
				if exchanged := kill == "rebuild-exchanged" || kill == "rebuild-settled"; (now == before) == exchanged {
					t.Errorf("after the kill: %s, before: %s", now, before)
				}
				if got := p.one(t, others); got != beforeOthers {
					t.Errorf("the other source after the kill: %s, want %s", got, beforeOthers)
				}
			}
			p.must(t, args...)
			// s7 stays its replay, mapped anew; s1007 stays dismissed; s2007 and s3007 are loaded now.
			want := text(3991, 3991, sum(4000, 10)+42420+14, 2, 0)
			if got := p.one(t, ours); got != want {
				t.Errorf("after the rebuild: %s, want %s", got, want)
			}
			if got := p.one(t, others); got != beforeOthers {
				t.Errorf("the other source: %s, want %s", got, beforeOthers)
			}
			if n := p.one(t, "SELECT count() - uniqExact(_topic, _partition, _incarnation, _offset, _index) FROM observation"); n != "0" {
				t.Errorf("%s rows of observation are there more than once", n)
			}
			if n := p.one(t, "SELECT uniqExact(_mapping) FROM observation WHERE _source = 'figures'"); n != "1" {
				t.Errorf("rows of %s mappings, want 1", n)
			}
			quarantine := "SELECT concat(toString(countIf(status = 'open')), ' ', toString(countIf(status = 'replayed')), ' ', toString(countIf(status = 'dismissed')), ' ', toString(countIf(status = 'superseded'))) FROM quarantine FINAL WHERE source = 'figures'"
			if got := p.one(t, quarantine); got != "0 3 1 5" {
				t.Errorf("open, replayed, dismissed, superseded: %s, want 0 3 1 5", got)
			}
			if got := p.one(t, "SELECT concat(toString(sum(extracted)), ' ', toString(sum(loaded)), ' ', toString(sum(quarantined)), ' ', toString(sum(filtered))) FROM ledger FINAL WHERE source = 'figures'"); got != "9001 8981 2 18" {
				t.Errorf("extracted, loaded, quarantined, filtered: %s, want 9001 8981 2 18", got)
			}
			if n := p.one(t, "SELECT count() FROM system.tables WHERE name LIKE '%\\_\\_rebuild'"); n != "0" {
				t.Errorf("%s tables were left behind", n)
			}
			p.balanced(t)
			// The mapping of before refuses again what it refused, and later contents are loaded ordinarily.
			p.write(t, "sources/figures.yaml", figuresYAML)
			p.must(t, args...)
			if got := p.one(t, ours); got != before {
				t.Errorf("rebuilt under the mapping of before: %s, want %s", got, before)
			}
			if got := p.one(t, quarantine); got != "2 1 1 5" {
				t.Errorf("open, replayed, dismissed, superseded under the mapping of before: %s, want 2 1 1 5", got)
			}
			p.write(t, "data/figures.csv", figures(0, 1000))
			p.must(t, "run")
			if got, want := p.one(t, ours), text(997, 997, sum(1000, 1)-3*997, 0, 0); got != want {
				t.Errorf("a content that came later: %s, want %s", got, want)
			}
			p.balanced(t)
		})
	}
}

// text writes numbers as the queries do.
func text(numbers ...any) string { return fmt.Sprint(numbers...) }
