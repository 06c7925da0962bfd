package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The workload: three sources of two owners, so two topics; seven files, each a shard; two tables. One source replaces what a
// changed file brought before (corrections and deletions), one merges (corrections), one reads what was appended. Some rows
// break a rule and belong in the quarantine, some are filtered.
//
// What must come of it is computed here, from the rows that were written into the files, and of nothing of the pipeline.
const (
	figureFiles = 4
	caseFiles   = 2
)

var counties = []string{"上城区", "拱墅区", "西湖区", "滨江区", "萧山区", "余杭区", "富阳区", "临安区"}

// projectFiles are the project but for headwater.yaml; ROOT is its folder.
var projectFiles = map[string]string{
	"sources/figures.yaml": `source: figures
owner: alpha
on_gap: continue
connector: file
schedule: {continuous: true}
streams:
  - name: rows
    read: {path: "ROOT/data/figures-*.csv"}
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
`,
	"sources/cases.yaml": `source: cases
owner: beta
on_gap: continue
connector: file
schedule: {continuous: true}
streams:
  - name: rows
    read: {path: "ROOT/data/cases-*.csv", on_change: merge}
    map:
      schema: hotline_case
      fields:
        case_id: id
        region: {from: region, region: {within: "330000"}}
        opened_at: {from: opened, parse: datetime}
        channel: {value: phone}
        status: {value: open}
`,
	"sources/journal.yaml": `source: journal
owner: alpha
on_gap: continue
connector: file
schedule: {continuous: true}
streams:
  - name: rows
    read: {path: "ROOT/data/journal.csv", on_change: append}
    map:
      schema: hotline_case
      fields:
        case_id: id
        region: {from: region, region: {within: "330000"}}
        opened_at: {from: opened, parse: datetime}
        channel: {value: phone}
        status: {value: open}
`,
	"indicators/t.yaml": `indicator: T
title: {zh: 试验, en: Test}
unit: 个
direction: up
aggregation: sum
time_aggregation: sum
grain: day
levels: [county]
description: For the fault campaign.
`,
}

// workload holds what is in the input files and what must come of it.
type workload struct {
	dir     string
	rng     *rand.Rand
	scale   int // rows of a file, about
	figures [figureFiles][]string
	cases   [caseFiles]map[string]string // id to opening time
	journal []string
	changes int   // of files so far
	rows    int64 // written into files so far
}

func newWorkload(dir string, rng *rand.Rand, scale int) *workload {
	w := &workload{dir: dir, rng: rng, scale: scale}
	for i := range w.cases {
		w.cases[i] = map[string]string{}
	}
	return w
}

// write puts a file in its place whole: a source must not see half of it.
func (w *workload) write(name, text string) error {
	path := filepath.Join(w.dir, "data", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	temporary := filepath.Join(w.dir, "."+name)
	if err := os.WriteFile(temporary, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

// all writes every file.
func (w *workload) all() error {
	for i := range w.figures {
		if err := w.changeFigures(i); err != nil {
			return err
		}
	}
	for i := range w.cases {
		if err := w.changeCases(i); err != nil {
			return err
		}
	}
	return w.appendJournal()
}

// change changes one file, so that there is work.
func (w *workload) change() error {
	switch n := w.rng.IntN(figureFiles + caseFiles + 1); {
	case n < figureFiles:
		return w.changeFigures(n)
	case n < figureFiles+caseFiles:
		return w.changeCases(n - figureFiles)
	}
	return w.appendJournal()
}

// changeFigures writes one file of figures anew: other values, and rows that come and go.
func (w *workload) changeFigures(file int) error {
	w.changes++
	n := w.scale/2 + w.rng.IntN(w.scale)
	lines := make([]string, 0, n)
	for i := range n {
		region, value := counties[i%len(counties)], strconv.Itoa(i+w.changes*100_000)
		switch {
		case (i+w.changes)%500 == 7:
			value = "很多"
		case i%250 == 9:
			region = "合计"
		case w.rng.IntN(8) == 0:
			continue // a hole: the row is gone from this content
		}
		lines = append(lines, fmt.Sprintf("%s,f%d-%d,2024-%02d-%02d,%s,n%d", region, file, i, i%12+1, i%28+1, value, i))
	}
	w.figures[file] = lines
	w.rows += int64(len(lines))
	return w.write(fmt.Sprintf("figures-%d.csv", file), "region,subject,day,value,note\n"+strings.Join(lines, "\n")+"\n")
}

// oversize adds a row to a file of figures that fits no message.
func (w *workload) oversize(file int) error {
	w.rows++
	w.figures[file] = append(w.figures[file], fmt.Sprintf("上城区,oversized,2024-01-01,1,%s", strings.Repeat("x", 17<<20)))
	return w.write(fmt.Sprintf("figures-%d.csv", file), "region,subject,day,value,note\n"+strings.Join(w.figures[file], "\n")+"\n")
}

// changeCases gives some cases of a file another time and adds some. None goes: the source merges, and what is gone from a
// content that nobody read would not be known.
func (w *workload) changeCases(file int) error {
	w.changes++
	cases := w.cases[file]
	for range w.scale / 3 {
		cases[fmt.Sprintf("C%d-%d", file, len(cases))] = w.opened()
	}
	// Nothing is left to grow for ever: later changes are corrections alone.
	for _, id := range slices.Sorted(maps.Keys(cases)) {
		if w.rng.IntN(3) == 0 {
			cases[id] = w.opened()
		}
	}
	var b strings.Builder
	b.WriteString("id,region,opened\n")
	for i, id := range slices.Sorted(maps.Keys(cases)) {
		fmt.Fprintf(&b, "%s,%s,%s\n", id, counties[i%len(counties)], cases[id])
	}
	w.rows += int64(len(cases))
	return w.write(fmt.Sprintf("cases-%d.csv", file), b.String())
}

func (w *workload) opened() string {
	return fmt.Sprintf("2024-%02d-%02d %02d:%02d:%02d", w.rng.IntN(12)+1, w.rng.IntN(28)+1, w.rng.IntN(24), w.rng.IntN(60), w.rng.IntN(60))
}

// appendJournal adds rows at the end of the journal; every 200th breaks a rule.
func (w *workload) appendJournal() error {
	w.changes++
	n := w.scale/8 + w.rng.IntN(w.scale/8)
	for range n {
		i := len(w.journal)
		opened := w.opened()
		if i%200 == 13 {
			opened = "前几天"
		}
		w.journal = append(w.journal, fmt.Sprintf("J%d,%s,%s", i, counties[i%len(counties)], opened))
	}
	w.rows += int64(n)
	return w.write("journal.csv", "id,region,opened\n"+strings.Join(w.journal, "\n")+"\n")
}

// again marks the key of a row that a reader sees a second time.
const again = " again"

// state is an end state, as sorted sets of lines: what each table's current rows and the open quarantine say.
type state struct {
	figures    map[string]string // subject to value
	cases      map[string]string // id to opening time
	quarantine map[string]int    // "source key" to how often
}

// expected computes the end state from what is in the files now.
func (w *workload) expected() state {
	s := state{figures: map[string]string{}, cases: map[string]string{}, quarantine: map[string]int{}}
	for _, lines := range w.figures {
		for _, line := range lines {
			f := strings.Split(line, ",")
			switch {
			case f[1] == "oversized":
				s.quarantine["figures oversized"]++
			case f[0] == "合计":
			case f[3] == "很多":
				s.quarantine["figures "+f[1]]++
			default:
				s.figures[f[1]] = f[3]
			}
		}
	}
	for _, cases := range w.cases {
		maps.Copy(s.cases, cases)
	}
	for _, line := range w.journal {
		f := strings.Split(line, ",")
		if f[2] == "前几天" {
			s.quarantine["journal "+f[0]]++
			continue
		}
		s.cases[f[0]] = f[2]
	}
	return s
}

// difference is what an end state lacks and has too much.
type difference struct {
	lost, doubled, wrong int64
	examples             []string
}

func (d *difference) note(format string, args ...any) {
	if len(d.examples) < 12 {
		d.examples = append(d.examples, fmt.Sprintf(format, args...))
	}
}

// compare holds a state against this one, which is the expected.
func (s state) compare(got state) difference {
	var d difference
	table := func(name string, want, got map[string]string) {
		for _, key := range slices.Sorted(maps.Keys(want)) {
			switch value, ok := got[key]; {
			case !ok:
				d.lost++
				d.note("%s: %s is lost", name, key)
			case value != want[key]:
				d.wrong++
				d.note("%s: %s is %q, want %q", name, key, value, want[key])
			}
		}
		for _, key := range slices.Sorted(maps.Keys(got)) {
			if _, ok := want[key]; ok {
				continue
			}
			if one, ok := strings.CutSuffix(key, again); ok && want[one] != "" {
				d.doubled++
				d.note("%s: %s is there twice", name, one)
			} else {
				d.wrong++
				d.note("%s: %s should not be there", name, key)
			}
		}
	}
	table("observation", s.figures, got.figures)
	table("hotline_case", s.cases, got.cases)
	for _, key := range slices.Sorted(maps.Keys(s.quarantine)) {
		if n := got.quarantine[key]; n < s.quarantine[key] {
			d.lost++
			d.note("quarantine: %s is lost", key)
		} else if n > s.quarantine[key] {
			d.doubled += int64(n - s.quarantine[key])
			d.note("quarantine: %s is there %d times", key, n)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(got.quarantine)) {
		if s.quarantine[key] == 0 {
			d.wrong++
			d.note("quarantine: %s should not be there", key)
		}
	}
	return d
}
