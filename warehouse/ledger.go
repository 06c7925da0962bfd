package warehouse

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/apache/arrow/go/v17/arrow"
)

// The kinds of ledger rows.
const (
	LedgerFlush  = "flush"
	LedgerGap    = "gap"    // offsets that retention ate (L10)
	LedgerRepair = "repair" // a flush whose held rows went in later (L4); it replaces the flush's own row
	// LedgerRebuild: the flush's rows were mapped anew when their table was rebuilt; it replaces the flush's own row.
	LedgerRebuild = "rebuild"
	// LedgerReplaced: the table has nothing of the flush any more, as it was filled anew from the source; it replaces the flush's own row.
	LedgerReplaced = "replaced"
)

// LedgerRow accounts for the rows of one shard, run and schema within one flush. Its key is topic, partition, incarnation,
// from-offset, source, stream, shard, run and schema: written again, it replaces itself.
type LedgerRow struct {
	Topic       string `ch:"topic"`
	Partition   int32  `ch:"partition"`
	Incarnation string `ch:"incarnation"`
	From        int64  `ch:"from_offset"` // the flush is [From, To)
	To          int64  `ch:"to_offset"`
	Source      string `ch:"source"` // empty for what belongs to none
	Stream      string `ch:"stream"`
	Shard       string `ch:"shard"`
	Run         string `ch:"run"`
	Schema      string `ch:"schema"`

	// The state of the log at To. Its incarnation is another than Incarnation behind a gap where the log was made anew.
	StateIncarnation string `ch:"state_incarnation"`
	Epoch            int64  `ch:"epoch"`
	Next             int64  `ch:"next_sequence"`

	Mapping string `ch:"mapping"`
	Shape   string `ch:"shape"`
	Kind    string `ch:"kind"` // defaults to LedgerFlush

	// The shard's newest cursor in the flush, and offset, epoch and sequence number of the message that carried it; offset -1
	// when there was none.
	Cursor         []byte `ch:"cursor"`
	CursorOffset   int64  `ch:"cursor_offset"`
	CursorEpoch    int64  `ch:"cursor_epoch"`
	CursorSequence int64  `ch:"cursor_sequence"`

	// The account, in source rows: Extracted = Loaded + Duplicate + Quarantined + Filtered + Held.
	Extracted   int64 `ch:"extracted"`
	Loaded      int64 `ch:"loaded"`
	Duplicate   int64 `ch:"duplicate"`
	Quarantined int64 `ch:"quarantined"`
	Filtered    int64 `ch:"filtered"`
	Held        int64 `ch:"held"`

	Records  int64 `ch:"records"`  // what the loaded rows became
	Deleted  int64 `ch:"deleted"`  // tombstones beside them: keys that replaced content, or a repair, has found gone
	Warnings int64 `ch:"warnings"` // records with a flag

	Messages        int64 `ch:"messages"`
	VoidMessages    int64 `ch:"void_messages"`
	ForeignMessages int64 `ch:"foreign_messages"`
	Bytes           int64 `ch:"bytes"`

	ExtractedAt time.Time `ch:"extracted_at"` // zero when nothing was extracted
	LoadedAt    time.Time `ch:"loaded_at"`
	Counted     *int64    `ch:"counted"` // the source's own count; nil when it cannot count
}

// Balanced reports whether every row of the account has an outcome.
func (r LedgerRow) Balanced() bool {
	return r.Extracted == r.Loaded+r.Duplicate+r.Quarantined+r.Filtered+r.Held
}

// WriteLedger writes the rows as one block under the token. A row that does not balance is refused: it would hide a loss.
// Of two rows with the same key the one that was written later counts, and of two of one call the one with the later LoadedAt.
func (w *Warehouse) WriteLedger(ctx context.Context, token string, rows []LedgerRow) error {
	for i := range rows {
		rows[i].Kind = cmp.Or(rows[i].Kind, LedgerFlush)
		if r := rows[i]; !r.Balanced() {
			return fmt.Errorf("write ledger: %s/%d [%d, %d) of %s %s %s does not balance: %d extracted, but %d loaded + %d duplicate + %d quarantined + %d filtered + %d held",
				r.Topic, r.Partition, r.From, r.To, r.Source, r.Stream, r.Shard, r.Extracted, r.Loaded, r.Duplicate, r.Quarantined, r.Filtered, r.Held)
		}
	}
	version, err := w.ledgerVersions(ctx, rows)
	if err != nil {
		return err
	}
	return insertOwn(ctx, w, "ledger", token, rows, version, nil)
}

type logPartition struct {
	topic     string
	partition int32
}

// ledgerVersions gives rows versions above all that their partition has: clocks are set back, and machines have other ones, but
// what is written later must count. A row's version is its time where that suffices.
func (w *Warehouse) ledgerVersions(ctx context.Context, rows []LedgerRow) (func(LedgerRow) uint64, error) {
	first, last := map[logPartition]uint64{}, map[logPartition]uint64{}
	for _, r := range rows {
		name, at := logPartition{r.Topic, r.Partition}, uint64(r.LoadedAt.UnixMicro())
		if before, ok := first[name]; !ok || at < before {
			first[name] = at
		}
		last[name] = max(last[name], at)
	}
	ahead := map[logPartition]uint64{} // how far the rows' clock is behind the ledger
	for name := range first {
		w.ledgerMutex.Lock()
		newest, known := w.ledgerNewest[name]
		w.ledgerMutex.Unlock()
		if !known {
			if err := w.data.QueryRow(ctx, "SELECT max(_version) FROM "+w.table("ledger")+" WHERE topic = {topic:String} AND partition = {partition:Int64}",
				clickhouse.Named("topic", name.topic), clickhouse.Named("partition", int64(name.partition))).Scan(&newest); err != nil {
				return nil, w.wrap(err, "look for the newest line of the ledger")
			}
		}
		if newest >= first[name] {
			ahead[name] = newest + 1 - first[name]
		}
		w.ledgerMutex.Lock()
		w.ledgerNewest[name] = max(w.ledgerNewest[name], last[name]+ahead[name])
		w.ledgerMutex.Unlock()
	}
	return func(r LedgerRow) uint64 {
		return uint64(r.LoadedAt.UnixMicro()) + ahead[logPartition{r.Topic, r.Partition}]
	}, nil
}

// insertOwn writes rows of one of Headwater's own tables as one block.
func insertOwn[T any](ctx context.Context, w *Warehouse, table, token string, rows []T, version func(T) uint64, deleted func(T) bool) error {
	return insertRows(ctx, w, table, ownSchema(table).Arrow().Fields(), token, rows, version, deleted)
}

func insertRows[T any](ctx context.Context, w *Warehouse, table string, columns []arrow.Field, token string, rows []T, version func(T) uint64, deleted func(T) bool) error {
	if len(rows) == 0 {
		return nil
	}
	record, err := encode(w.mem, table, columns, rows, version, deleted)
	if err != nil {
		return err
	}
	defer record.Release()
	return w.Insert(ctx, Insert{Table: table, Token: token, Records: []arrow.Record{record}, Rows: len(rows)})
}

// selectOwn reads rows of one of Headwater's own tables, each key once.
func selectOwn[T any](ctx context.Context, w *Warehouse, table, where string, args ...any) ([]T, error) {
	var rows []T
	statement := "SELECT " + selectList(reflect.TypeFor[T]()) + " FROM (SELECT * FROM " + w.table(table) + " FINAL WHERE _deleted = 0) AS own WHERE " + where
	if err := w.data.Select(ctx, &rows, statement, args...); err != nil {
		return nil, w.wrap(err, "read "+table)
	}
	settleTimes(rows)
	return rows, nil
}

// LedgerAt returns the rows of the flush that begins at that offset, none if it has no account yet.
func (w *Warehouse) LedgerAt(ctx context.Context, topic string, partition int32, incarnation string, from int64) ([]LedgerRow, error) {
	return selectOwn[LedgerRow](ctx, w, "ledger",
		"own.topic = {topic:String} AND own.partition = {partition:Int64} AND own.incarnation = {incarnation:String} AND own.from_offset = {from:Int64} ORDER BY own.source, own.stream, own.shard, own.run, own.schema",
		clickhouse.Named("topic", topic), clickhouse.Named("partition", int64(partition)), clickhouse.Named("incarnation", incarnation), clickhouse.Named("from", from))
}

// State is what is known of a log at an offset: the claim in force and the sequence number that the next valid batch has.
type State struct {
	Incarnation string // "" at the beginning of a new log
	Epoch       int64  // -1 while no claim is in force
	Next        int64
}

// HeldFlush is a flush of which some rows wait until their table takes them (L4).
type HeldFlush struct {
	Range Range
	State State       // of the log at Range.From
	Rows  []LedgerRow // those of the flush with held rows
}

// Held returns the partition's flushes that have held rows, oldest first.
func (w *Warehouse) Held(ctx context.Context, topic string, partition int32) ([]HeldFlush, error) {
	return w.flushes(ctx, "own.topic = {topic:String} AND own.partition = {partition:Int64} AND own.held > 0",
		clickhouse.Named("topic", topic), clickhouse.Named("partition", int64(partition)))
}

// FlushesOf returns the flushes that brought the messages of the source of which its tables are made, by topic and partition and the
// oldest first, each with the source's rows of the ledger. Flushes that a later reading of the source has replaced are not among them.
func (w *Warehouse) FlushesOf(ctx context.Context, source string) ([]HeldFlush, error) {
	return w.flushes(ctx, "own.source = {source:String} AND own.kind != 'replaced' AND own.extracted + own.messages + own.void_messages > 0", clickhouse.Named("source", source))
}

func (w *Warehouse) flushes(ctx context.Context, where string, args ...any) ([]HeldFlush, error) {
	rows, err := selectOwn[LedgerRow](ctx, w, "ledger", where+" ORDER BY own.topic, own.partition, own.loaded_at, own.from_offset, own.source, own.stream, own.shard, own.run, own.schema", args...)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	var flushes []HeldFlush
	index := map[Range]int{}
	for _, row := range rows {
		r := Range{Topic: row.Topic, Partition: row.Partition, Incarnation: row.Incarnation, From: row.From, To: row.To}
		i, ok := index[r]
		if !ok {
			state, err := w.stateAt(ctx, r)
			if err != nil {
				return nil, err
			}
			i, index[r] = len(flushes), len(flushes)
			flushes = append(flushes, HeldFlush{Range: r, State: state})
		}
		flushes[i].Rows = append(flushes[i].Rows, row)
	}
	slices.SortStableFunc(flushes, func(a, b HeldFlush) int {
		if a.Range.Incarnation != b.Range.Incarnation {
			return 0 // as loaded
		}
		return cmp.Compare(a.Range.From, b.Range.From)
	})
	return flushes, nil
}

// stateAt finds the state of the log where the range begins: that at the end of the flush or gap before it.
func (w *Warehouse) stateAt(ctx context.Context, r Range) (State, error) {
	before, err := selectOwn[LedgerRow](ctx, w, "ledger",
		"own.topic = {topic:String} AND own.partition = {partition:Int64} AND own.to_offset = {from:Int64} AND own.from_offset != own.to_offset AND own.state_incarnation IN ({incarnation:String}, '') ORDER BY own.state_incarnation DESC, own.loaded_at DESC LIMIT 1",
		clickhouse.Named("topic", r.Topic), clickhouse.Named("partition", int64(r.Partition)), clickhouse.Named("from", r.From), clickhouse.Named("incarnation", r.Incarnation))
	switch {
	case err != nil:
		return State{}, err
	case len(before) > 0:
		return State{Incarnation: before[0].StateIncarnation, Epoch: before[0].Epoch, Next: before[0].Next}, nil
	case r.From == 0:
		return State{Epoch: -1}, nil
	}
	return State{}, fmt.Errorf("the ledger has no row for what lies before offset %d of %s/%d (incarnation %s): its held rows cannot be told from repeats; read their source again", r.From, r.Topic, r.Partition, r.Incarnation)
}

// Shard names one shard of one stream of one source.
type Shard struct{ Source, Stream, Shard string }

// ShardCursor is how far a shard has been read, and which message said so.
type ShardCursor struct {
	Cursor                  []byte
	Offset, Epoch, Sequence int64
}

// Checkpoint is where loading a partition stands by the ledger: its newest flush or gap, the state of the log behind it, and
// the newest cursor of every shard that the partition has carried.
type Checkpoint struct {
	From, To    int64
	Incarnation string // with Epoch and Next: the state of the log at To
	Epoch, Next int64
	// Cursors hold those of earlier incarnations too: they still say what was loaded. Their offsets are then of another log.
	Cursors map[Shard]ShardCursor
	// Lives are the incarnations that the ledger has of the partition's log, sorted, this one among them.
	Lives []string
}

// Checkpoint returns where loading the partition stands, false when the ledger knows nothing of it. The row written last
// tells which incarnation the log has; within it the highest offset counts, whatever the clocks of the loaders said.
//
// Whoever takes a partition over asks for it, and others may have written since we last had it: the next line is written above
// theirs.
func (w *Warehouse) Checkpoint(ctx context.Context, topic string, partition int32) (Checkpoint, bool, error) {
	w.ledgerMutex.Lock()
	delete(w.ledgerNewest, logPartition{topic, partition})
	w.ledgerMutex.Unlock()
	at := []any{clickhouse.Named("topic", topic), clickhouse.Named("partition", int64(partition))}
	var newest []struct {
		Incarnation string `ch:"state_incarnation"`
		From        int64  `ch:"from_offset"`
		To          int64  `ch:"to_offset"`
		Epoch       int64  `ch:"epoch"`
		Next        int64  `ch:"next_sequence"`
	}
	// Repairs, rebuilds and replacements write old flushes anew and say nothing of where the log is.
	const rows = " FINAL WHERE _deleted = 0 AND topic = {topic:String} AND partition = {partition:Int64}"
	ledger := w.table("ledger")
	if err := w.data.Select(ctx, &newest, "SELECT state_incarnation, from_offset, to_offset, epoch, next_sequence FROM "+ledger+rows+
		" AND state_incarnation = (SELECT argMax(state_incarnation, (_version, to_offset)) FROM "+ledger+rows+" AND kind NOT IN ('repair', 'rebuild', 'replaced'))"+
		" ORDER BY to_offset DESC, from_offset DESC LIMIT 1", at...); err != nil {
		return Checkpoint{}, false, w.wrap(err, "read the ledger's checkpoint")
	}
	if len(newest) == 0 {
		return Checkpoint{}, false, nil
	}
	c := Checkpoint{Incarnation: newest[0].Incarnation, From: newest[0].From, To: newest[0].To,
		Epoch: newest[0].Epoch, Next: newest[0].Next, Cursors: map[Shard]ShardCursor{}}
	if err := w.data.QueryRow(ctx, "SELECT arraySort(groupUniqArray(state_incarnation)) FROM "+ledger+" WHERE topic = {topic:String} AND partition = {partition:Int64} AND state_incarnation != ''", at...).Scan(&c.Lives); err != nil {
		return Checkpoint{}, false, w.wrap(err, "read the ledger's incarnations")
	}
	var cursors []struct {
		Source   string `ch:"source"`
		Stream   string `ch:"stream"`
		Shard    string `ch:"shard"`
		Cursor   []byte `ch:"newest"`
		Offset   int64  `ch:"at"`
		Epoch    int64  `ch:"epoch"`
		Sequence int64  `ch:"sequence"`
	}
	if err := w.data.Select(ctx, &cursors, "SELECT source, stream, shard, base64Decode(tupleElement(last, 1)) AS newest, tupleElement(last, 2) AS at, tupleElement(last, 3) AS epoch, tupleElement(last, 4) AS sequence"+
		" FROM (SELECT source, stream, shard, argMax((cursor, cursor_offset, cursor_epoch, cursor_sequence), (incarnation = {incarnation:String}, if(incarnation = {incarnation:String}, cursor_offset, toInt64(_version)), cursor_offset)) AS last FROM "+ledger+rows+
		" AND cursor_offset >= 0 GROUP BY source, stream, shard)", append(at, clickhouse.Named("incarnation", c.Incarnation))...); err != nil {
		return Checkpoint{}, false, w.wrap(err, "read the ledger's cursors")
	}
	for _, r := range cursors {
		c.Cursors[Shard{r.Source, r.Stream, r.Shard}] = ShardCursor{Cursor: r.Cursor, Offset: r.Offset, Epoch: r.Epoch, Sequence: r.Sequence}
	}
	return c, true, nil
}
