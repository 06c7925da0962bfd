package e2e

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater-data/headwater/internal/testkafka"
)

const (
	rereadOurs       = "SELECT concat(toString(count()), ' ', toString(uniqExact(subject)), ' ', toString(toInt64(sum(value))), ' ', toString(countIf(value = 7)), ' ', toString(countIf(value = 4242))) FROM observation_current WHERE subject LIKE 's%'"
	rereadOthers     = "SELECT concat(toString(count()), ' ', toString(sum(value))) FROM observation_current WHERE subject LIKE 'o%'"
	rereadQuarantine = "SELECT concat(toString(countIf(status = 'open')), ' ', toString(countIf(status = 'replayed')), ' ', toString(countIf(status = 'dismissed')), ' ', toString(countIf(status = 'superseded'))) FROM quarantine FINAL WHERE source = 'figures'"
)

// tens is the mapping that values ten times as large need, and in which 很多 is 7.
var tens = strings.Replace(figuresYAML, "value: {from: value, parse: number}", "value: {from: value, 'null': [很多], parse: number, default: 7, scale: 10}", 1)

func sumOf(rows, factor int) int64 {
	n := int64(0)
	for i := range rows {
		if i%1000 != 7 && i%500 != 9 {
			n += int64((i + 3) * factor)
		}
	}
	return n
}

// corrected is a project whose source brought two contents, the second without the last rows; of it one row was repaired, one
// dismissed, two are open.
func corrected(t *testing.T, b broker) *project {
	p := newProject(t, map[string]string{
		"headwater.yaml": killConfig(t, 2_000, b), "sources/figures.yaml": figuresYAML, "indicators/t.yaml": indicatorYAML,
		"sources/others.yaml": strings.NewReplacer("source: figures", "source: others", "data/figures.csv", "data/others.csv").Replace(figuresYAML),
		"data/figures.csv":    figures(0, 5000), "data/others.csv": figuresOf("o", figures(0, 100)),
	})
	p.must(t, "run")
	p.write(t, "data/figures.csv", figures(3, 4000))
	p.must(t, "run")
	p.must(t, "quarantine", "repair", p.quarantinedID(t, "s7"), "--set", "value=4242", "--why", "asked")
	p.must(t, "quarantine", "dismiss", p.quarantinedID(t, "s1007"), "--why", "theirs")
	if got, want := p.one(t, rereadOurs), text(3989, 3989, sumOf(4000, 1)+4242, 1, 1); got != want {
		t.Fatalf("before: %s, want %s", got, want)
	}
	if got := p.one(t, rereadOthers); !strings.HasPrefix(got, "98 ") {
		t.Fatalf("the other source: %s, want 98 records", got)
	}
	return p
}

// reread fails unless the table has what the source gives under the mapping of now, each row once, and nothing else of it.
func (p *project) reread(t *testing.T, others string) {
	t.Helper()
	if got, want := p.one(t, rereadOurs), text(3992, 3992, sumOf(4000, 10)+28, 4, 0); got != want {
		t.Errorf("after it was read again: %s, want %s", got, want)
	}
	if got := p.one(t, rereadOthers); got != others {
		t.Errorf("the other source: %s, want %s", got, others)
	}
	if got := p.one(t, "SELECT concat(toString(count()), ' ', toString(uniqExact(_run)), ' ', toString(countIf(_deleted = 1))) FROM observation WHERE _source = 'figures'"); got != "3992 1 0" {
		t.Errorf("rows, runs and tombstones in the table: %s, want 3992 1 0", got)
	}
}

// TestASourceIsReadAgainIntoANewTable: whatever is killed, the old table is in force or the new one, and repeating the command ends it.
func TestASourceIsReadAgainIntoANewTable(t *testing.T) {
	for _, c := range []struct {
		kill      string
		exchanged bool
		run       bool // a run comes before the command is repeated
	}{
		{kill: ""}, {kill: "reread-reset"}, {kill: "reread-written", run: true}, {kill: "inserted:1"}, {kill: "reread-ahead", run: true},
		{kill: "rebuild-exchanged", exchanged: true, run: true}, {kill: "before-ledger:1", exchanged: true}, {kill: "rebuild-settled", exchanged: true},
	} {
		t.Run("killed at "+c.kill, func(t *testing.T) {
			t.Parallel()
			p := corrected(t, embedded)
			before, others := p.one(t, rereadOurs), p.one(t, rereadOthers)
			p.write(t, "sources/figures.yaml", tens)
			args := []string{"replay", "figures", "--from", "source", "--why", "tens"}
			if c.kill != "" {
				if r := p.run(t, []string{"HEADWATER_CRASH=" + c.kill}, args...); r.signal != syscall.SIGKILL {
					t.Fatalf("not killed there: exit code %d\n%s\n%s", r.code, r.out, r.err)
				}
				if now := p.one(t, rereadOurs); (now == before) == c.exchanged {
					t.Errorf("after the kill: %s, before: %s", now, before)
				}
				if got := p.one(t, rereadOthers); got != others {
					t.Errorf("the other source after the kill: %s, want %s", got, others)
				}
			}
			if c.run {
				p.must(t, "run")
				p.balanced(t)
				if c.exchanged {
					p.reread(t, others)
				} else if got, want := p.one(t, rereadOurs), text(3992, 3992, sumOf(4000, 10)+28, 4, 0); got != want {
					t.Errorf("after the run: %s, want %s", got, want)
				}
				if n := p.one(t, "SELECT count() - uniqExact(_topic, _partition, _incarnation, _offset, _index) FROM observation"); n != "0" {
					t.Errorf("%s rows of observation are there more than once", n)
				}
			}
			p.must(t, args...)
			p.reread(t, others)
			if got := p.one(t, rereadQuarantine); got != "0 1 1 7" {
				t.Errorf("open, replayed, dismissed, superseded: %s, want 0 1 1 7", got)
			}
			if n := p.one(t, "SELECT count() FROM system.tables WHERE name LIKE '%\\_\\_rebuild'"); n != "0" {
				t.Errorf("%s tables were left behind", n)
			}
			p.balanced(t)
			p.must(t, "ledger", "--check")
			// From Kafka it is rebuilt from what was read, and nothing older comes back.
			p.write(t, "sources/figures.yaml", figuresYAML)
			p.must(t, "replay", "figures", "--from", "kafka", "--why", "ones")
			if got, want := p.one(t, rereadOurs), text(3988, 3988, sumOf(4000, 1), 1, 0); got != want {
				t.Errorf("rebuilt from Kafka: %s, want %s", got, want)
			}
			if got := p.one(t, rereadQuarantine); got != "4 1 1 7" {
				t.Errorf("open, replayed, dismissed, superseded, rebuilt from Kafka: %s, want 4 1 1 7", got)
			}
			// Later contents are loaded ordinarily.
			p.write(t, "data/figures.csv", figures(3, 1000))
			p.must(t, "run")
			if got, want := p.one(t, rereadOurs), text(997, 997, sumOf(1000, 1), 1, 0); got != want {
				t.Errorf("a content that came later: %s, want %s", got, want)
			}
			p.balanced(t)
			p.must(t, "ledger", "--check")
		})
	}
}

// TestWhatTheSourceNoLongerHasIsNotDroppedUnasked: a file that went away keeps its records until somebody says that they are to go.
func TestWhatTheSourceNoLongerHasIsNotDroppedUnasked(t *testing.T) {
	t.Parallel()
	p := newProject(t, map[string]string{
		"headwater.yaml": killConfig(t, 2_000, embedded), "indicators/t.yaml": indicatorYAML,
		"sources/figures.yaml": strings.Replace(figuresYAML, "data/figures.csv", "data/*.csv", 1),
		"data/a.csv":           figures(3, 500), "data/b.csv": figuresOf("b", figures(3, 300)),
	})
	p.must(t, "run")
	const current = "SELECT concat(toString(countIf(subject LIKE 's%')), ' ', toString(countIf(subject LIKE 'b%'))) FROM observation_current"
	before := p.one(t, current)
	if before != "498 298" {
		t.Fatalf("before: %s, want 498 298", before)
	}
	if err := os.Remove(filepath.Join(p.dir, "data/b.csv")); err != nil {
		t.Fatal(err)
	}
	r := p.run(t, nil, "replay", "figures", "--from", "source", "--why", "x")
	code(t, r, 2)
	says(t, r, "--drop-absent")
	says(t, r, "data/b.csv")
	if got := p.one(t, current); got != before {
		t.Errorf("after it was refused: %s, want %s", got, before)
	}
	p.must(t, "run") // loads what was read into the table in force
	if got := p.one(t, current); got != before {
		t.Errorf("after the run: %s, want %s", got, before)
	}
	p.must(t, "replay", "figures", "--from", "source", "--drop-absent", "--why", "x")
	if got := p.one(t, current); got != "498 0" {
		t.Errorf("after it was dropped: %s, want 498 0", got)
	}
	p.balanced(t)
	p.must(t, "ledger", "--check")
	for _, wrong := range [][]string{{"--from", "source", "--dry-run"}, {"--from", "kafka", "--drop-absent"}, {}} {
		code(t, p.run(t, nil, append([]string{"replay", "figures", "--why", "x"}, wrong...)...), 2)
	}
}

// TestASourceIsReadAgainWhereRetentionHasTakenItsBatches: Kafka no longer has what made the table, the source has.
func TestASourceIsReadAgainWhereRetentionHasTakenItsBatches(t *testing.T) {
	t.Parallel()
	prefix := strings.ToLower(rand.Text())
	address := testkafka.Shared(t).Addresses()[0]
	p := corrected(t, broker{"Apache Kafka", func(*testing.T) string {
		return fmt.Sprintf(", addresses: [%q], topic_prefix: %s.", address, prefix)
	}})
	others := p.one(t, rereadOthers)
	// What the second content begins with is gone.
	first := p.query(t, "SELECT topic, partition, max(from_offset) AS offset FROM ledger FINAL WHERE source = 'figures' AND shard = 'data/figures.csv' GROUP BY topic, partition")
	if len(first) != 1 {
		t.Fatalf("the source is in %v", first)
	}
	var partition, offset int64
	for name, into := range map[string]*int64{"partition": &partition, "offset": &offset} {
		if _, err := fmt.Sscan(fmt.Sprint(first[0][name]), into); err != nil {
			t.Fatal(err)
		}
	}
	eat(t, address, fmt.Sprint(first[0]["topic"]), int32(partition), offset)
	p.write(t, "sources/figures.yaml", tens)
	r := p.run(t, nil, "replay", "figures", "--from", "kafka", "--why", "tens")
	code(t, r, 2)
	says(t, r, "--from source")
	if r := p.run(t, []string{"HEADWATER_CRASH=rebuild-exchanged"}, "replay", "figures", "--from", "source", "--why", "tens"); r.signal != syscall.SIGKILL {
		t.Fatalf("not killed: exit code %d\n%s\n%s", r.code, r.out, r.err)
	}
	p.reread(t, others)
	p.must(t, "replay", "figures", "--from", "source", "--why", "tens")
	p.reread(t, others)
	p.balanced(t)
	p.must(t, "ledger", "--check")
}

// eat deletes what a partition holds before an offset, as retention does.
func eat(t *testing.T, address, topic string, partition int32, before int64) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = 10_000
	one := kmsg.NewDeleteRecordsRequestTopic()
	one.Topic = topic
	part := kmsg.NewDeleteRecordsRequestTopicPartition()
	part.Partition, part.Offset = partition, before
	one.Partitions = append(one.Partitions, part)
	req.Topics = append(req.Topics, one)
	eaten := 0
	for _, shard := range client.RequestSharded(t.Context(), req) {
		if shard.Err != nil {
			t.Fatal(shard.Err)
		}
		for _, answer := range shard.Resp.(*kmsg.DeleteRecordsResponse).Topics {
			for _, p := range answer.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					t.Fatal(err)
				}
				eaten++
			}
		}
	}
	if eaten != 1 {
		t.Fatalf("records of %d partitions were deleted, want 1", eaten)
	}
}
