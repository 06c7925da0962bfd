package warehouse_test

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headwater-data/headwater/schemas"
	"github.com/headwater-data/headwater/warehouse"
)

// score is one line of the scorecard: A of B.
type score struct{ a, b float64 }

// TestTheScorecardCountsWhatAPlainComputationCounts makes months of accounts, quarantined rows, runs and figures at random and counts
// each measure once more from the same, row by row.
func TestTheScorecardCountsWhatAPlainComputationCounts(t *testing.T) {
	t.Parallel()
	b := analysis(t, schemas.Indicator{Code: "flow", Title: schemas.Title{Zh: "流量", En: "Flow"}, Direction: "up", Grain: "month", Aggregation: "sum", TimeAggregation: "sum"})
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	want := map[string]*score{}
	count := func(source string, on time.Time, code string, good bool, n float64) {
		key := fmt.Sprintf("%s\t%s\t%s", source, on.In(shanghai).Format("2006-01")+"-01", code)
		if want[key] == nil {
			want[key] = &score{}
		}
		want[key].b += n
		if good {
			want[key].a += n
		}
	}

	// Accounts, and what of them stands in quarantine.
	kinds := map[string]string{
		"parse.number": "0101", "cast.range": "0101", "csv.fields": "0101", "phone.pattern": "0101", "code.unknown": "0105", "region.ambiguous": "0105", "kind.one_of": "0105",
		"required": "0201", "value.range": "0301", "lead_code.check": "0301", "project.half_a_position": "0301", "date.implausible": "0301", "sqlvalue.range": "0301",
	}
	rules := slices.Sorted(maps.Keys(kinds))
	var ledger []warehouse.LedgerRow
	var quarantine []warehouse.QuarantineRow
	offset := int64(0)
	for n := range 24 {
		source := []string{"one", "two"}[n%2]
		run := fmt.Sprintf("r%d", n)
		began := time.Date(2021, time.Month(1+random.IntN(4)), 1+random.IntN(28), random.IntN(24), 30, 0, 0, shanghai)
		outcome, trigger := []string{warehouse.RunDone, warehouse.RunDone, warehouse.RunFailed, warehouse.RunStopped, warehouse.RunRunning}[random.IntN(5)], "schedule"
		again := n%5 == 4
		if again {
			trigger = []string{"replay", "repair"}[random.IntN(2)]
		}
		if err := b.WriteRun(b.ctx, warehouse.Run{Run: run, Source: source, Trigger: trigger, StartedAt: began, Outcome: outcome, Attempt: 1}); err != nil {
			t.Fatal(err)
		}
		if outcome == warehouse.RunDone || outcome == warehouse.RunFailed {
			count(source, began, "0601", outcome == warehouse.RunDone, 1)
		}
		for flushed := range 1 + random.IntN(3) {
			row := warehouse.LedgerRow{
				Topic: testTopic, Partition: 3, Incarnation: testIncarnation, From: offset, To: offset + 5, Source: source, Stream: "st", Shard: "a.csv", Run: run, Schema: "observation",
				StateIncarnation: testIncarnation, Epoch: 1, Next: offset + 5, CursorOffset: -1,
				// A later flush of a run may be read in the month after: the row counts where its run began to read.
				ExtractedAt: began.Add(time.Duration(flushed) * 3 * 24 * time.Hour), LoadedAt: began.AddDate(0, 1, 0),
				Loaded: int64(20 + random.IntN(50)), Duplicate: int64(random.IntN(9)), Filtered: int64(random.IntN(9)), Held: int64(random.IntN(4)), Quarantined: int64(random.IntN(8)),
			}
			row.Extracted = row.Loaded + row.Duplicate + row.Filtered + row.Held + row.Quarantined
			if n%3 == 0 && flushed == 0 {
				counted := row.Extracted - row.Duplicate + int64(random.IntN(40)) - 20
				row.Counted = &counted
			}
			ledger = append(ledger, row)
			broken := map[string]int64{}
			for i := range row.Quarantined {
				q := quarantineRow(offset, uint32(i))
				q.Source, q.Run, q.ExtractedAt, q.Rules = source, run, row.ExtractedAt, nil
				q.Reasons, q.Fields = nil, nil
				hit := map[string]bool{}
				for range 1 + random.IntN(3) {
					rule := rules[random.IntN(len(rules))]
					q.Rules, q.Reasons, q.Fields = append(q.Rules, rule), append(q.Reasons, "x"), append(q.Fields, "f")
					hit[kinds[rule]] = true
				}
				for code := range hit {
					broken[code]++
				}
				quarantine = append(quarantine, q)
			}
			if !again {
				judged := row.Loaded + row.Quarantined
				for _, code := range []string{"0101", "0105", "0201", "0301"} {
					count(source, began, code, true, float64(judged-broken[code]))
					count(source, began, code, false, float64(broken[code]))
				}
			}
			offset += 5
		}
	}
	for i, row := range ledger {
		if row.Counted == nil || (slices.IndexFunc(ledger, func(r warehouse.LedgerRow) bool { return r.Run == row.Run }) != i) {
			continue
		}
		var n int
		if _, err := fmt.Sscanf(row.Run, "r%d", &n); err != nil {
			t.Fatal(err)
		}
		if n%5 == 4 {
			continue
		}
		got := int64(0)
		for _, r := range ledger {
			if r.Run == row.Run {
				got += r.Extracted - r.Duplicate
			}
		}
		count(row.Source, row.ExtractedAt, "0202", true, float64(min(got, *row.Counted)))
		count(row.Source, row.ExtractedAt, "0202", false, float64(*row.Counted-min(got, *row.Counted)))
	}
	if err := b.WriteLedger(b.ctx, "t", ledger); err != nil {
		t.Fatal(err)
	}
	if err := b.WriteQuarantine(b.ctx, "t", quarantine); err != nil {
		t.Fatal(err)
	}

	// Figures of two counties and their city by one or two feeds, some late, some that were corrected later.
	type figure struct {
		observation
		first time.Time
	}
	var figures []figure
	var rows []observation
	index := uint32(0)
	for m := 1; m <= 6; m++ {
		sum := 0.0
		for _, region := range []string{"330203", "330205", "330200"} {
			value := float64(random.IntN(3))
			if region == "330200" {
				value = sum + float64(random.IntN(2))
			}
			for _, feed := range []string{"source", "manual"} {
				if feed == "manual" && random.IntN(2) == 0 {
					continue
				}
				f := figure{observation: observation{indicator: "flow", region: region, grain: "month", period: day(2021, m, 1), feed: feed, value: value, source: "feed-" + feed}}
				if feed == "manual" {
					f.value += float64(random.IntN(2))
				}
				f.first = day(2021, m+1, 1+random.IntN(60)).Add(-time.Hour)
				first := f.observation
				first.extracted, first.index = f.first, index
				if random.IntN(3) == 0 { // it was another value at first
					first.value += 7
					later := f.observation
					later.extracted, later.index, later.offset = f.first.AddDate(0, 3, 0), index, 1
					rows = append(rows, later)
				}
				rows = append(rows, first)
				index++
				figures = append(figures, f)
			}
			if region != "330200" {
				sum += value
			}
		}
	}
	b.load("t", rows...)
	for _, f := range figures {
		count(f.source, f.period, "0502", f.first.Before(f.period.AddDate(0, 2, 0)), 1)
		same, others := true, 0
		for _, o := range figures {
			if o.region == f.region && o.period.Equal(f.period) && o.feed != f.feed {
				others++
				same = same && o.value == f.value
			}
		}
		if others > 0 {
			count(f.source, f.period, "0401", same, 1)
		}
		if f.region == "330200" {
			below := 0.0
			for _, o := range figures {
				if o.region != f.region && o.period.Equal(f.period) && o.feed == "source" {
					below += o.value
				}
			}
			count(f.source, f.period, "0402", f.value == below, 1)
		}
	}

	got := b.sql("SELECT source, month, code, satisfied, evaluated, score, characteristic_zh FROM $db.data_quality_scorecard ORDER BY ALL")
	seen := map[string]bool{}
	for _, line := range got {
		f := strings.Split(line, "\t")
		key := strings.Join(f[:3], "\t")
		seen[key] = true
		w := want[key]
		if w == nil {
			t.Errorf("there is also %s", line)
			continue
		}
		var a, of float64
		if _, err := fmt.Sscan(f[3]+" "+f[4], &a, &of); err != nil {
			t.Fatal(err)
		}
		if a != w.a || of != w.b {
			t.Errorf("%s: %v of %v, want %v of %v", key, a, of, w.a, w.b)
		}
		var rate float64
		if _, err := fmt.Sscan(f[5], &rate); err != nil || math.Abs(rate-w.a/w.b) > 1e-12 {
			t.Errorf("%s: score %s, want %v", key, f[5], w.a/w.b)
		}
		if zh := map[string]string{"01": "规范性", "02": "完整性", "03": "准确性", "04": "一致性", "05": "时效性", "06": "可访问性"}[f[2][:2]]; f[6] != zh {
			t.Errorf("%s is %s, want %s", f[2], f[6], zh)
		}
	}
	codes := map[string]bool{}
	for key := range want {
		codes[key[strings.LastIndex(key, "\t")+1:]] = true
		if !seen[key] {
			t.Errorf("not there: %s", key)
		}
	}
	if len(codes) != 9 {
		t.Errorf("measures tested: %v", codes)
	}
}

// TestTheScorecardsExample holds the view to the example that docs/quality.md works out by hand.
func TestTheScorecardsExample(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	row := ledgerRow(5, 9, 0)
	counted := int64(125)
	row.Extracted, row.Loaded, row.Duplicate, row.Filtered, row.Quarantined, row.Counted = 120, 101, 5, 5, 9, &counted
	row.ExtractedAt = day(2021, 3, 10)
	if err := b.WriteLedger(b.ctx, "t", []warehouse.LedgerRow{row}); err != nil {
		t.Fatal(err)
	}
	var bad []warehouse.QuarantineRow
	for i := range 9 {
		q := quarantineRow(5, uint32(i))
		q.Rules = [][]string{{"region.unknown"}, {"region.unknown", "required"}, {"value.range"}}[min(i/2, 2)]
		q.Reasons, q.Fields = make([]string, len(q.Rules)), make([]string, len(q.Rules))
		bad = append(bad, q)
	}
	if err := b.WriteQuarantine(b.ctx, "t", bad); err != nil {
		t.Fatal(err)
	}
	b.rowsOf("SELECT month, code, satisfied, evaluated, round(100 * score, 1) FROM $db.data_quality_scorecard WHERE source = 's'",
		"2021-03-01 0101 110 110 100", "2021-03-01 0105 106 110 96.4", "2021-03-01 0201 108 110 98.2", "2021-03-01 0301 105 110 95.5", "2021-03-01 0202 115 125 92")
}
