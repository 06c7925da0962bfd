package e2e

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/headwater-data/headwater/internal/testkafka"
)

// The project of the kill tests: one partition, small flushes, two tables in it, rows that break rules and rows that are
// filtered.
const (
	killYAML = `project: kills
broker: {partitions: 1BROKER}
limits: {flush_rows: FLUSH, readers: 1}
`
	figuresYAML = `source: figures
title: 指标
owner: test
connector: file
streams:
  - name: rows
    read: {path: data/figures.csv}
    keep: [note]
    filter: [{name: total, when: 'col["region"] == "合计"'}]
    map:
      schema: observation
      fields:
        indicator: {value: T}
        region: {from: region, region: {within: "330000"}}
        subject: subject
        grain: {value: day}
        feed: {value: source}
        period: {from: day, parse: date}
        value: {from: value, parse: number}
`
	casesYAML = `source: cases
title: 工单
owner: test
connector: file
streams:
  - name: rows
    read: {path: data/cases.csv}
    map:
      schema: hotline_case
      fields:
        case_id: id
        region: {from: region, region: {within: "330000"}}
        opened_at: {from: opened, parse: datetime}
        channel: {value: phone}
        status: {value: open}
`
	indicatorYAML = `indicator: T
title: {zh: 试验, en: Test}
unit: 个
direction: up
aggregation: sum
time_aggregation: sum
grain: day
levels: [county]
description: For tests.
`
	figureRows = 100_000
	caseRows   = 60_000
)

var counties = []string{"上城区", "拱墅区", "西湖区", "滨江区", "萧山区", "余杭区", "富阳区", "临安区"}

// figures writes the rows of figures.csv with generation added to every value; every 1,000th row breaks a rule, every 500th is a
// total. Rows from drop on are left out.
func figures(generation, drop int) string {
	var b strings.Builder
	b.WriteString("region,subject,day,value,note\n")
	for i := range drop {
		region, value := counties[i%len(counties)], strconv.Itoa(i+generation)
		switch {
		case i%1000 == 7:
			value = "很多"
		case i%500 == 9:
			region = "合计"
		}
		fmt.Fprintf(&b, "%s,s%d,2024-%02d-%02d,%s,n%d\n", region, i, i%12+1, i%28+1, value, i)
	}
	return b.String()
}

// figuresOf gives the rows other subjects, which begin with the letter.
func figuresOf(letter, content string) string {
	header, rows, _ := strings.Cut(content, "\n")
	return header + "\n" + strings.ReplaceAll(rows, ",s", ","+letter)
}

func cases() string {
	var b strings.Builder
	b.WriteString("id,region,opened\n")
	for i := range caseRows {
		fmt.Fprintf(&b, "C%d,%s,2024-03-%02d 08:00:00\n", i, counties[i%len(counties)], i%28+1)
	}
	return b.String()
}

// broker is the rest of a project's broker settings: those of the embedded one, or of Apache Kafka.
type broker struct {
	name     string
	settings func(t *testing.T) string
}

var (
	embedded = broker{"embedded", func(*testing.T) string { return ", session: 1s" }}
	// The session is the default one: nothing may wait for it.
	apache = broker{"Apache Kafka", func(t *testing.T) string {
		return fmt.Sprintf(", addresses: [%q], topic_prefix: %s.", testkafka.Shared(t).Addresses()[0], strings.ToLower(rand.Text()))
	}}
)

// killConfig is headwater.yaml with flushes that end with the batch that brings them to so many records.
func killConfig(t *testing.T, flushRows int, b broker) string {
	return strings.NewReplacer("FLUSH", strconv.Itoa(flushRows), "BROKER", b.settings(t)).Replace(killYAML)
}

func killProject(t *testing.T, flushRows int, b broker) *project {
	return newProject(t, map[string]string{
		"headwater.yaml": killConfig(t, flushRows, b), "sources/figures.yaml": figuresYAML, "sources/cases.yaml": casesYAML, "indicators/t.yaml": indicatorYAML,
		"data/figures.csv": figures(0, figureRows), "data/cases.csv": cases(),
	})
}

// expectation is what the warehouse must hold, computed from the input file alone.
type expectation struct {
	rows        int
	sum         int64
	quarantined []string // subjects
	filtered    int
}

func expect(t *testing.T, path string) expectation {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var e expectation
	for _, r := range rows[1:] {
		n, err := strconv.ParseInt(r[3], 10, 64)
		switch {
		case r[0] == "合计":
			e.filtered++
		case err != nil:
			e.quarantined = append(e.quarantined, r[1])
		default:
			e.rows++
			e.sum += n
		}
	}
	slices.Sort(e.quarantined)
	return e
}

// check compares the warehouse with the input files: every row once, in its table or in quarantine, and a balanced ledger.
func (p *project) check(t *testing.T) {
	t.Helper()
	e := expect(t, filepath.Join(p.dir, "data/figures.csv"))
	if got, want := p.one(t, "SELECT concat(toString(count()), ' ', toString(toInt64(sum(value))), ' ', toString(uniqExact(subject))) FROM observation_current"), fmt.Sprint(e.rows, e.sum, e.rows); got != want {
		t.Errorf("observation_current: rows, sum, subjects %s, want %s", got, want)
	}
	if got, want := p.one(t, "SELECT concat(toString(count()), ' ', toString(uniqExact(case_id))) FROM hotline_case FINAL"), fmt.Sprint(caseRows, caseRows); got != want {
		t.Errorf("hotline_case: rows, ids %s, want %s", got, want)
	}
	// Physically too: keys make doubles harmless, tokens and questions make them absent.
	if n := p.one(t, "SELECT count() - uniqExact(_topic, _partition, _incarnation, _offset, _index) FROM observation"); n != "0" {
		t.Errorf("%s rows of observation are there more than once", n)
	}
	var open []string
	for _, r := range p.query(t, "SELECT columns FROM quarantine FINAL WHERE status = 'open'") {
		var columns map[string]any
		if err := json.Unmarshal([]byte(fmt.Sprint(r["columns"])), &columns); err != nil {
			t.Fatal(err)
		}
		open = append(open, fmt.Sprint(columns["subject"]))
	}
	slices.Sort(open)
	if !slices.Equal(open, e.quarantined) {
		t.Errorf("%d rows in quarantine, want %d; first %v and %v", len(open), len(e.quarantined), first(open), first(e.quarantined))
	}
	const figures = "indicator, grain, period, region, value, from_below, figures, children_reporting, children, known_at"
	if got := p.one(t, "SELECT concat(toString(count()), ' ', toString(sum(n = 2)), ' ', toString((SELECT count() FROM figure_mark))) FROM (SELECT "+figures+", count() AS n FROM ("+
		"SELECT "+figures+" FROM figure_live UNION ALL SELECT "+figures+" FROM figure FINAL WHERE _deleted = 0) GROUP BY "+figures+")"); strings.Count(got, strings.Fields(got)[0]) < 2 || !strings.HasSuffix(got, " 0") || got == "0 0 0" {
		t.Errorf("figures, those of them that are kept and live, marks: %s", got)
	}
	if got := p.one(t, "SELECT sum(held) FROM ledger FINAL"); got != "0" {
		t.Errorf("%s rows are held", got)
	}
	p.balanced(t)
}

func first(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return list[0]
}

// state is a digest of everything that the warehouse holds but for what names a run or a place in Kafka.
func (p *project) state(t *testing.T) string {
	t.Helper()
	rows := p.query(t, "SELECT indicator, region, subject, period, value, _source, _stream, _shard, _place, _row, _mapping, _index FROM observation ORDER BY subject, _version")
	b, err := json.Marshal(rows)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(b))
}

// TestKilledAtAnyPointTheNextRunEndsAsIfNothingHadHappened kills the program at each named point, at the first and at the
// second time it passes there, and runs it again.
func TestKilledAtAnyPointTheNextRunEndsAsIfNothingHadHappened(t *testing.T) {
	clean := killProject(t, 30_000, embedded)
	clean.must(t, "run")
	clean.check(t)
	want := clean.state(t)
	for _, b := range []struct {
		broker
		times int // a second one costs as much and is seen on the embedded broker
	}{{embedded, 2}, {apache, 1}} {
		t.Run(b.name, func(t *testing.T) { killAtEachPoint(t, b.broker, b.times, want) })
	}
}

func killAtEachPoint(t *testing.T, b broker, most int, want string) {
	for _, point := range []string{
		"claimed",             // after the claim
		"produced",            // in the log, its answer not yet acted on
		"written",             // written, not indexed
		"intent",              // after the intent
		"inserted",            // in a table, the answer not yet acted on
		"before-ledger",       // tables and quarantine done
		"before-final-commit", // ledger done
		"loaded",              // everything loaded, figures not put together
	} {
		for times := 1; times <= most; times++ {
			t.Run(fmt.Sprintf("%s, time %d", point, times), func(t *testing.T) {
				p := killProject(t, 30_000, b)
				if point == "claimed" || point == "loaded" { // each run passes there once
					for range times {
						p.killed(t, "HEADWATER_CRASH="+point)
					}
				} else {
					p.killed(t, fmt.Sprintf("HEADWATER_CRASH=%s:%d", point, times))
				}
				p.must(t, "run")
				p.check(t)
				if got := p.state(t); got != want {
					t.Error("the warehouse is not what it is after a run that nobody killed")
				}
			})
		}
	}
	for times := range most {
		t.Run(fmt.Sprintf("between two tables, time %d", times+1), func(t *testing.T) {
			// The first run only fills the log, so that the next one has a flush with both tables in it.
			p := killProject(t, 150_000, b)
			p.killed(t, "HEADWATER_HOLD=collecting", "HEADWATER_CRASH=written:3")
			for range times + 1 {
				p.killed(t, "HEADWATER_CRASH=between-tables")
			}
			p.must(t, "run")
			p.check(t)
			if got := p.state(t); got != want {
				t.Error("the warehouse is not what it is after a run that nobody killed")
			}
		})
	}
}

// killed runs the program and fails the test unless it was killed.
func (p *project) killed(t *testing.T, env ...string) {
	t.Helper()
	if r := p.run(t, env, "run"); r.signal != syscall.SIGKILL {
		t.Fatalf("the program was not killed there: exit code %d\n%s\n%s", r.code, r.out, r.err)
	}
}

// TestAKilledProcessesSessionIsNotWaitedFor: sessions are longer than any test's patience, and both groups have a dead member.
func TestAKilledProcessesSessionIsNotWaitedFor(t *testing.T) {
	for _, b := range []broker{embedded, apache} {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			long := broker{b.name, func(t *testing.T) string {
				return strings.ReplaceAll(b.settings(t), ", session: 1s", "") + ", session: 5m"
			}}
			p := newProject(t, map[string]string{
				"headwater.yaml": killConfig(t, 30_000, long), "sources/figures.yaml": figuresYAML, "indicators/t.yaml": indicatorYAML,
				"data/figures.csv": figures(0, 5000),
			})
			p.killed(t, "HEADWATER_CRASH=before-final-commit")
			r := p.start(t, nil, "run", "--log-format", "json").wait(t)
			code(t, r, 0)
			for _, group := range []string{"ingest", "load"} {
				if !strings.Contains(r.err, `"msg":"a dead member was thrown out of the group","group":"`) || !strings.Contains(r.err, "kills."+group+`"`) {
					t.Errorf("the log says nothing of a dead member in group %s:\n%s", group, r.err)
				}
			}
			if got := p.one(t, "SELECT concat(toString(count()), ' ', toString(uniqExact(subject))) FROM observation"); got != "4985 4985" {
				t.Errorf("rows, subjects: %s, want 4985 4985", got)
			}
			p.balanced(t)
		})
	}
}

// TestBrokerAndWarehouseKilledWithWorkInFlight kills each embedded server under a run that is told to go on.
func TestBrokerAndWarehouseKilledWithWorkInFlight(t *testing.T) {
	for _, server := range []string{"broker", "warehouse"} {
		for round := range 2 {
			t.Run(fmt.Sprintf("%s, time %d", server, round+1), func(t *testing.T) {
				p := killProject(t, 30_000, embedded)
				c := p.command("run", "--log-format", "json")
				var log strings.Builder
				c.Stderr = &log
				if err := c.Start(); err != nil {
					t.Fatal(err)
				}
				ended := make(chan error, 1)
				go func() { ended <- c.Wait() }()
				pid := p.awaitWork(t, server, ended, round)
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				if err := <-ended; err != nil {
					t.Fatalf("%v\n%s", err, log.String())
				}
				p.check(t)
			})
		}
	}
}

// awaitWork waits until the server's data grows, so that there is work in flight, and returns its process id.
func (p *project) awaitWork(t *testing.T, server string, ended <-chan error, round int) int {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	sizeAtStart := int64(-1)
	for time.Now().Before(deadline) {
		var endpoint struct {
			PID int `json:"pid"`
		}
		raw, err := os.ReadFile(filepath.Join(p.dir, ".headwater", server, "endpoint.json"))
		if err == nil && json.Unmarshal(raw, &endpoint) == nil && endpoint.PID > 0 {
			size := int64(0)
			_ = filepath.Walk(filepath.Join(p.dir, ".headwater", "broker"), func(_ string, info os.FileInfo, err error) error {
				if err == nil && !info.IsDir() {
					size += info.Size()
				}
				return nil // files come and go while the server works
			})
			if sizeAtStart < 0 {
				sizeAtStart = size
			}
			if size > sizeAtStart+int64(100_000*(1+4*round)) {
				return endpoint.PID
			}
		}
		select {
		case err := <-ended:
			t.Fatal("the run ended before it could be disturbed:", err)
		case <-time.After(2 * time.Millisecond): // another process's files are polled: there is no event to wait for
		}
	}
	t.Fatal("no work was seen in flight")
	return 0
}

// TestAChangedFileReplacesWhatItBroughtBefore: rows that are gone become tombstones, exactly once, whatever is killed.
func TestAChangedFileReplacesWhatItBroughtBefore(t *testing.T) {
	for _, c := range []struct {
		broker
		kill string
	}{{embedded, ""}, {embedded, "inserted:2"}, {embedded, "before-ledger:2"}, {embedded, "before-final-commit:2"}, {apache, "inserted:2"}} {
		b, kill := c.broker, c.kill
		t.Run(b.name+", killed at "+kill, func(t *testing.T) {
			p := killProject(t, 30_000, b)
			p.must(t, "run")
			p.write(t, "data/figures.csv", figures(5, figureRows-30_000))
			if kill != "" {
				p.killed(t, "HEADWATER_CRASH="+kill)
			}
			p.must(t, "run")
			p.check(t)
			gone := expectGone(figures(0, figureRows), figureRows-30_000)
			if got := p.one(t, "SELECT sum(_deleted) FROM observation"); got != strconv.Itoa(gone) {
				t.Errorf("%s tombstones, want %d", got, gone)
			}
			// The first content again: rows identical to ones loaded and deleted before must win.
			p.write(t, "data/figures.csv", figures(0, figureRows))
			p.must(t, "run")
			p.check(t)
			r := p.must(t, "run", "--json")
			if !strings.Contains(strings.Join(strings.Fields(r.out), ""), `"read":0`) {
				t.Errorf("a run with nothing new read something: %s", r.out)
			}
		})
	}
}

// expectGone counts the loadable rows of a content from a row on.
func expectGone(text string, from int) int {
	n := 0
	for i, line := range strings.Split(strings.TrimSpace(text), "\n")[1:] {
		if i >= from && !strings.HasPrefix(line, "合计") && !strings.Contains(line, "很多") {
			n++
		}
	}
	return n
}
