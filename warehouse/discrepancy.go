package warehouse

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// DiscrepancyKind says what in the warehouse is not as the ledger says.
type DiscrepancyKind string

// What Discrepancies finds.
const (
	// DiscrepancyRows: a flush's table has other rows of it than the ledger counts. Fewer is no loss by itself: merges put one row in
	// the place of those that it supersedes.
	DiscrepancyRows DiscrepancyKind = "rows"
	// DiscrepancyQuarantine: the quarantine has other rows of a flush than the ledger counts.
	DiscrepancyQuarantine DiscrepancyKind = "quarantine"
	// DiscrepancyAccount: rows are in a table or in quarantine for which the ledger has no line.
	DiscrepancyAccount DiscrepancyKind = "account"
	// DiscrepancyGap: the ledger lacks a range of offsets between others.
	DiscrepancyGap DiscrepancyKind = "gap"
	// DiscrepancyRun: the writer of a run counted other rows into Kafka than the ledger has out of it.
	DiscrepancyRun DiscrepancyKind = "run"
)

// Discrepancy is one thing that is not as the ledger says.
type Discrepancy struct {
	Kind           DiscrepancyKind
	Range          Range // of the flush
	Source, Stream string
	Run            string
	Table          string // or "quarantine"
	Shape          string
	Expected       int64 // by the ledger; of DiscrepancyRun, by the writer
	Deleted        int64 // of these, tombstones beside the records
	There          int64
}

// accountKey is what rows say of the account that they belong to. The shard is not among it: a replayed row keeps that of its first
// reading.
type accountKey struct {
	topic       string
	partition   int32
	incarnation string
	from        int64
	source      string
	stream      string
	run         string
	table       string
}

type ledgerLine struct {
	Topic       string `ch:"topic"`
	Partition   int32  `ch:"partition"`
	Incarnation string `ch:"incarnation"`
	From        int64  `ch:"from_offset"`
	To          int64  `ch:"to"`
	Source      string `ch:"source"`
	Stream      string `ch:"stream"`
	Run         string `ch:"run"`
	Schema      string `ch:"schema"`
	Shape       string `ch:"flush_shape"`
	Rows        int64  `ch:"rows"`
	Deleted     int64  `ch:"tombstones"`
	Quarantined int64  `ch:"in_quarantine"`
}

func (l ledgerLine) Range() Range {
	return Range{Topic: l.Topic, Partition: l.Partition, Incarnation: l.Incarnation, From: l.From, To: l.To}
}

// Discrepancies holds the ledger against the tables, the quarantine and the runs: every flush's records and tombstones must be in its
// table by where they came from, every quarantined row in the quarantine, every range of offsets in the ledger, and what the
// writer of each run counted must be what its messages held when they were loaded. The filter's scope does not matter; gaps are
// looked for only when it selects everything. Run it while nothing is loading.
func (w *Warehouse) Discrepancies(ctx context.Context, tables []string, filter BalanceFilter) ([]Discrepancy, error) {
	lines, err := w.ledgerLines(ctx)
	if err != nil {
		return nil, err
	}
	a := &comparison{filter: filter, flushes: map[string][]ledgerLine{}, expected: map[accountKey]Discrepancy{}, there: map[accountKey]Discrepancy{}}
	a.ledger(lines)
	for _, table := range tables {
		if err := w.compareTable(ctx, a, table); err != nil {
			return nil, err
		}
	}
	if err := w.compareQuarantine(ctx, a); err != nil {
		return nil, err
	}
	a.compare()
	if filter.Source == "" && filter.Run == "" {
		a.gaps()
	}
	if err := w.compareRuns(ctx, a); err != nil {
		return nil, err
	}
	slices.SortFunc(a.found, func(x, y Discrepancy) int {
		return cmp.Or(cmp.Compare(x.Source, y.Source), cmp.Compare(x.Range.Topic, y.Range.Topic), cmp.Compare(x.Range.Partition, y.Range.Partition),
			cmp.Compare(x.Range.From, y.Range.From), cmp.Compare(x.Table, y.Table), cmp.Compare(x.Run, y.Run), strings.Compare(string(x.Kind), string(y.Kind)))
	})
	return a.found, nil
}

// ledgerLines reads the ledger, a line for each flush, source, stream, run and schema. Lines with held rows expect nothing yet.
func (w *Warehouse) ledgerLines(ctx context.Context) ([]ledgerLine, error) {
	var lines []ledgerLine
	if err := w.data.Select(ctx, &lines, "SELECT topic, toInt32(partition) AS partition, incarnation, from_offset, max(to_offset) AS to, source, stream, run, schema, any(shape) AS flush_shape,"+
		" sum(records) + sum(deleted) AS rows, sum(deleted) AS tombstones, sum(quarantined) AS in_quarantine FROM "+w.table("ledger")+" FINAL WHERE _deleted = 0"+
		" GROUP BY topic, partition, incarnation, from_offset, source, stream, run, schema ORDER BY topic, partition, incarnation, from_offset"); err != nil {
		return nil, w.wrap(err, "read the ledger")
	}
	return lines, nil
}

type comparison struct {
	filter          BalanceFilter
	flushes         map[string][]ledgerLine // by log: the flushes in the order of their offsets, once each
	expected, there map[accountKey]Discrepancy
	whole           map[accountKey]bool
	found           []Discrepancy
}

func logName(topic string, partition int32, incarnation string) string {
	return fmt.Sprintf("%s/%d/%s", topic, partition, incarnation)
}

func (a *comparison) wants(source, run string) bool {
	return source != "" && (a.filter.Source == "" || a.filter.Source == source) && (a.filter.Run == "" || a.filter.Run == run)
}

func (a *comparison) ledger(lines []ledgerLine) {
	a.whole = map[accountKey]bool{}
	for _, l := range lines {
		log := logName(l.Topic, l.Partition, l.Incarnation)
		if n := len(a.flushes[log]); n == 0 || a.flushes[log][n-1].From != l.From {
			a.flushes[log] = append(a.flushes[log], l)
		} else if last := &a.flushes[log][n-1]; l.To > last.To {
			last.To = l.To
		}
		if l.Source == "" {
			a.whole[accountKey{topic: l.Topic, partition: l.Partition, incarnation: l.Incarnation, from: l.From}] = true
		}
		if !a.wants(l.Source, l.Run) {
			continue
		}
		for table, n := range map[string]int64{l.Schema: l.Rows, "quarantine": l.Quarantined} {
			if table == "" {
				continue
			}
			k := accountKey{l.Topic, l.Partition, l.Incarnation, l.From, l.Source, l.Stream, l.Run, table}
			line := a.expected[k]
			line.Range, line.Source, line.Stream, line.Run, line.Table, line.Shape = l.Range(), l.Source, l.Stream, l.Run, table, l.Shape
			line.Expected += n
			if table == l.Schema {
				line.Deleted += l.Deleted
			}
			a.expected[k] = line
		}
	}
}

// found rows of one message.
type auditRows struct {
	Topic       string `ch:"topic"`
	Partition   int32  `ch:"partition"`
	Incarnation string `ch:"incarnation"`
	Offset      int64  `ch:"offset"`
	Source      string `ch:"source"`
	Stream      string `ch:"stream"`
	Run         string `ch:"run"`
	Rows        int64  `ch:"rows"`
	Whole       int64  `ch:"whole_messages"` // entries that stand for several rows
}

func (a *comparison) add(table string, r auditRows) {
	k := accountKey{r.Topic, r.Partition, r.Incarnation, r.Offset, r.Source, r.Stream, r.Run, table}
	flush := Range{Topic: r.Topic, Partition: r.Partition, Incarnation: r.Incarnation, From: r.Offset, To: r.Offset + 1}
	flushes := a.flushes[logName(r.Topic, r.Partition, r.Incarnation)]
	i, exact := slices.BinarySearchFunc(flushes, r.Offset, func(l ledgerLine, offset int64) int { return cmp.Compare(l.From, offset) })
	if !exact {
		i--
	}
	if i >= 0 && r.Offset < flushes[i].To {
		k.from = flushes[i].From
		flush = flushes[i].Range()
	}
	line := a.there[k]
	line.Range, line.Source, line.Stream, line.Run, line.Table = flush, r.Source, r.Stream, r.Run, table
	line.There += r.Rows
	if r.Whole > 0 { // it says in words how many rows it stands for
		line.There = max(line.There, a.expected[k].Expected)
	}
	a.there[k] = line
}

// compareTable counts the rows of each message by their numbers in it: one that stands twice until the next merge counts once, and
// hides no other that is gone.
func (w *Warehouse) compareTable(ctx context.Context, a *comparison, table string) error {
	ours := ""
	if table == sharedTable {
		ours = " AND (_source != '' OR _topic != '')" // what Sync writes came through no topic
	}
	var rows []auditRows
	if err := w.data.Select(ctx, &rows, "SELECT toString(_topic) AS topic, _partition AS partition, toString(_incarnation) AS incarnation, _offset AS offset, toString(_source) AS source, toString(_stream) AS stream, toString(_run) AS run,"+
		" toInt64(groupBitmap(_index)) AS rows, toInt64(0) AS whole_messages FROM "+w.table(table)+" WHERE ({source:String} = '' OR _source = {source:String}) AND ({run:String} = '' OR _run = {run:String})"+ours+
		" GROUP BY topic, partition, incarnation, offset, source, stream, run",
		clickhouse.Named("source", a.filter.Source), clickhouse.Named("run", a.filter.Run)); err != nil {
		return w.wrap(err, "count the rows of "+table)
	}
	for _, r := range rows {
		a.add(table, r)
	}
	return nil
}

func (w *Warehouse) compareQuarantine(ctx context.Context, a *comparison) error {
	var rows []auditRows
	if err := w.data.Select(ctx, &rows, "SELECT q.topic AS topic, toInt32(q.partition) AS partition, q.incarnation AS incarnation, q.offset AS offset, q.source AS source, q.stream AS stream, q.run AS run,"+
		" toInt64(count()) AS rows, toInt64(countIf(has(q.rules, 'message.corrupt') OR has(q.rules, 'mend.key'))) AS whole_messages FROM "+w.table("quarantine")+" AS q FINAL WHERE q._deleted = 0"+
		" AND ({source:String} = '' OR q.source = {source:String}) AND ({run:String} = '' OR q.run = {run:String}) GROUP BY topic, partition, incarnation, offset, source, stream, run",
		clickhouse.Named("source", a.filter.Source), clickhouse.Named("run", a.filter.Run)); err != nil {
		return w.wrap(err, "count the rows of the quarantine")
	}
	for _, r := range rows {
		a.add("quarantine", r)
	}
	return nil
}

func (a *comparison) compare() {
	for k, want := range a.expected {
		want.There = a.there[k].There
		want.Kind = DiscrepancyRows
		if k.table == "quarantine" {
			want.Kind = DiscrepancyQuarantine
		}
		if want.There != want.Expected {
			a.found = append(a.found, want)
		}
	}
	for k, got := range a.there {
		if _, ok := a.expected[k]; !ok {
			got.Kind = DiscrepancyAccount
			a.found = append(a.found, got)
		}
	}
}

// gaps looks for ranges of offsets that no line of the ledger is about, and for flushes of which the line for the whole is gone.
func (a *comparison) gaps() {
	for _, flushes := range a.flushes {
		for i, f := range flushes {
			if i > 0 && flushes[i-1].To < f.From {
				gap := f.Range()
				gap.From, gap.To = flushes[i-1].To, f.From
				a.found = append(a.found, Discrepancy{Kind: DiscrepancyGap, Range: gap})
			}
			if !a.whole[accountKey{topic: f.Topic, partition: f.Partition, incarnation: f.Incarnation, from: f.From}] {
				a.found = append(a.found, Discrepancy{Kind: DiscrepancyGap, Range: f.Range()})
			}
		}
	}
}

// compareRuns holds what the writer counted when its batches were acknowledged against what the loader found in them. Rows of void
// batches are in the ledger as duplicates, and the writer did not count them.
func (w *Warehouse) compareRuns(ctx context.Context, a *comparison) error {
	var runs []struct {
		Run     string    `ch:"run"`
		Source  string    `ch:"source"`
		Written int64     `ch:"written"`
		All     int64     `ch:"all_rows"`
		Once    int64     `ch:"once"`
		At      time.Time `ch:"at"`
	}
	if err := w.data.Select(ctx, &runs, "SELECT r.run AS run, r.source AS source, r.extracted AS written, l.all_rows AS all_rows, l.once AS once, r.started_at AS at FROM (SELECT * FROM "+w.table("run")+" FINAL WHERE _deleted = 0 AND outcome = 'done') AS r"+
		" LEFT JOIN (SELECT run, source, sum(extracted) AS all_rows, sum(extracted) - sum(duplicate) AS once FROM "+w.table("ledger")+" FINAL WHERE _deleted = 0 AND source != '' GROUP BY run, source) AS l ON r.run = l.run AND r.source = l.source"+
		" WHERE (all_rows < written OR once > written) AND ({source:String} = '' OR source = {source:String}) AND ({run:String} = '' OR run = {run:String})",
		clickhouse.Named("source", a.filter.Source), clickhouse.Named("run", a.filter.Run)); err != nil {
		return w.wrap(err, "hold the runs against the ledger")
	}
	for _, r := range runs {
		there := r.Once
		if r.All < r.Written {
			there = r.All
		}
		a.found = append(a.found, Discrepancy{Kind: DiscrepancyRun, Source: r.Source, Run: r.Run, Expected: r.Written, There: there})
	}
	return nil
}

// CountFrom counts the rows of one message in a table whose number in the batch is at least that; rows that stand twice count once.
func (w *Warehouse) CountFrom(ctx context.Context, table string, r Range, index uint32) (int64, error) {
	var n uint64
	if err := w.data.QueryRow(ctx, "SELECT uniqExact(_offset, _index) FROM "+w.table(table)+" WHERE _index >= {index:UInt32}"+provenance, append(r.named(), clickhouse.Named("index", index))...).Scan(&n); err != nil {
		return 0, w.wrap(err, "count rows of a message in "+table)
	}
	return int64(n), nil
}

// StateBefore finds the state of the log where the range begins, for who reads its messages again.
func (w *Warehouse) StateBefore(ctx context.Context, r Range) (State, error) {
	return w.stateAt(ctx, r)
}
