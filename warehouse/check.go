package warehouse

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/headwater-data/headwater/schemas"
)

// Range is a range of offsets [From, To) of one partition in one life of its log.
type Range struct {
	Topic       string
	Partition   int32
	Incarnation string
	From, To    int64
}

// Expected says what a flush has put into one table, by offset.
type Expected map[int64]OffsetSum

// OffsetSum counts the records of one message and adds up their numbers in the batch (_index), so that a missing row shows
// even where another one stands twice.
type OffsetSum struct {
	Rows     int
	IndexSum uint64
}

// clockSlack is how far the server's clock may be behind the caller's without Landed overlooking a part. Beyond it Landed
// answers false, which costs the caller a full question and no more.
const clockSlack = 2 * time.Minute

// Landed is the cheap check of L5 after an insert: it reports whether all of want is in the table by provenance, looking
// only through parts that were made since then. False does not mean that rows are missing: merges may have replaced them by
// newer ones, or they may stand twice. Missing tells.
func (w *Warehouse) Landed(ctx context.Context, table string, r Range, since time.Time, want Expected) (bool, error) {
	if len(want) == 0 {
		return true, nil
	}
	// What was just inserted nearly always stands in parts that no merge has touched, and few of those are young. Only then
	// all young parts are looked through: in a busy hour they are the table.
	for _, parts := range []string{" AND level = 0", ""} {
		there, err := w.byOffset(ctx, table, r, since, parts)
		if err != nil {
			return false, err
		}
		if holds(there, want) {
			return true, nil
		}
	}
	return false, nil
}

// byOffset counts rows by provenance in the young parts that a further condition on system.parts leaves.
func (w *Warehouse) byOffset(ctx context.Context, table string, r Range, since time.Time, parts string) (Expected, error) {
	var found []struct {
		Offset   int64  `ch:"_offset"`
		Rows     uint64 `ch:"rows"`
		IndexSum uint64 `ch:"index_sum"`
	}
	// Naming _part prunes parts before anything of them is read.
	statement := "SELECT _offset, count() AS rows, sum(toUInt64(_index)) AS index_sum FROM " + w.table(table) +
		" WHERE _part IN (SELECT name FROM system.parts WHERE database = {database:String} AND table = {table:String} AND active AND modification_time >= fromUnixTimestamp({since:Int64})" + parts + ")" +
		provenance + " GROUP BY _offset"
	if err := w.data.Select(ctx, &found, statement, append(r.named(), clickhouse.Named("database", w.config.Database), clickhouse.Named("table", table),
		clickhouse.Named("since", since.Add(-clockSlack).Unix()))...); err != nil {
		return nil, w.wrap(err, "look for rows in "+table)
	}
	there := make(Expected, len(found))
	for _, f := range found {
		there[f.Offset] = OffsetSum{Rows: int(f.Rows), IndexSum: f.IndexSum}
	}
	return there, nil
}

// holds reports whether all of want is there as often as it should be.
func holds(there, want Expected) bool {
	for offset, sum := range want {
		if there[offset] != sum {
			return false
		}
	}
	return true
}

const provenance = " AND _topic = {topic:String} AND _partition = {partition:Int32} AND _incarnation = {incarnation:String} AND _offset >= {from:Int64} AND _offset < {to:Int64}"

func (r Range) named() []any {
	return []any{
		clickhouse.Named("topic", r.Topic), clickhouse.Named("partition", r.Partition), clickhouse.Named("incarnation", r.Incarnation),
		clickhouse.Named("from", r.From), clickhouse.Named("to", r.To),
	}
}

// Reach returns the offset after the newest row that any of the tables has of this life of the log, from an offset on; 0 when
// there is none (L9).
func (w *Warehouse) Reach(ctx context.Context, tables []string, topic string, partition int32, incarnation string, from int64) (int64, error) {
	if len(tables) == 0 {
		return 0, nil
	}
	// One question: a project's standard schemas are many, and most of their tables empty.
	parts := make([]string, len(tables))
	for i, table := range tables {
		parts[i] = "SELECT if(count() = 0, 0, max(_offset) + 1) AS next FROM " + w.table(table) +
			" WHERE _topic = {topic:String} AND _partition = {partition:Int32} AND _incarnation = {incarnation:String} AND _offset >= {from:Int64}"
	}
	var reach int64
	if err := w.data.QueryRow(ctx, "SELECT max(next) FROM ("+strings.Join(parts, " UNION ALL ")+")",
		clickhouse.Named("topic", topic), clickhouse.Named("partition", partition), clickhouse.Named("incarnation", incarnation), clickhouse.Named("from", from)).Scan(&reach); err != nil {
		return 0, w.wrap(err, "look how far the tables reach")
	}
	return reach, nil
}

// Missing is the full check of L3 and L5: which of the records are not in the table. A record is there when the table has a
// row of its key whose _version is not below its own: itself, or one that supersedes it. In tables that keep history the
// version is part of the key, so only itself counts. A tombstone of the record's own version supersedes it only if it lies behind it
// in the same log: a quarantined row of a content that replaced another is tombstoned with that content's version, and its replay,
// which has the same, comes later. The answer holds the row numbers, ascending, for each record.
//
// The records are put into a scratch table on the server, which is dropped again; cost and memory go by their number. It is
// for replays and doubts, not for every flush.
func (w *Warehouse) Missing(ctx context.Context, schema *schemas.Schema, r Range, records []arrow.Record) (missing [][]uint32, err error) {
	missing = make([][]uint32, len(records))
	keyed, rows, err := w.keysOf(schema, records)
	if err != nil {
		return nil, fmt.Errorf("look for missing rows in %s: %w", schema.Name, err)
	}
	defer release(keyed)
	if rows == 0 {
		return missing, nil
	}
	scratch, drop, err := w.scratch(ctx, schema, keyed, rows)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, drop()) }()

	key := schema.Key()
	with, than := "t.`_version` > s.`_version` OR ", ""
	if schema.History {
		key, with = append(key, "_version"), ""
	} else {
		than = "t.`_version` = s.`_version` AND "
	}
	keys := quoteNames(key)
	// Of the rows of a key that a table has, those that stand for the record or supersede it.
	stands := with + than + "(s.`_deleted` = 1 OR t.`_deleted` = 0 OR (t.`same` AND (t.`_offset`, t.`_index`) > (s.`_offset`, s.`_index`)))"
	var gaps []struct {
		Record uint32 `ch:"record"`
		Row    uint32 `ch:"row"`
	}
	statement := "SELECT `" + scratchRecord + "` AS record, `" + scratchRow + "` AS row FROM %[2]s WHERE (record, row) NOT IN (" +
		"SELECT s.`" + scratchRecord + "`, s.`" + scratchRow + "` FROM %[2]s AS s INNER JOIN (SELECT " + quoteNames(schema.Key()) + ", `_version`, `_deleted`, `_offset`, `_index`, " +
		"`_topic` = {topic:String} AND `_partition` = {partition:Int32} AND `_incarnation` = {incarnation:String} AS `same` FROM %[1]s WHERE (" + keys + ") IN (SELECT " + keys + " FROM %[2]s)) AS t" +
		" USING (" + keys + ") WHERE " + stands + ") ORDER BY record, row"
	if err := w.data.Select(ctx, &gaps, fmt.Sprintf(statement, w.table(schema.TableName()), w.table(scratch)),
		clickhouse.Named("topic", r.Topic), clickhouse.Named("partition", r.Partition), clickhouse.Named("incarnation", r.Incarnation)); err != nil {
		return nil, w.wrap(err, fmt.Sprintf("look for missing rows of %s/%d [%d, %d) in %s", r.Topic, r.Partition, r.From, r.To, schema.Name))
	}
	for _, g := range gaps {
		missing[g.Record] = append(missing[g.Record], g.Row)
	}
	return missing, nil
}

// The columns of a scratch table beside key, version and what else orders rows of one version.
const (
	scratchRecord = "_scratch_record"
	scratchRow    = "_scratch_row"
)

// keysOf cuts the records down to key, version, order and place. Records without rows are left out. The caller releases the result.
func (w *Warehouse) keysOf(schema *schemas.Schema, records []arrow.Record) (keyed []arrow.Record, rows int, err error) {
	defer func() {
		if err != nil {
			release(keyed)
			keyed = nil
		}
	}()
	names := append(schema.Key(), "_version", "_deleted", "_offset", "_index")
	for number, record := range records {
		if record.NumRows() == 0 {
			continue
		}
		var fields []arrow.Field
		var columns []arrow.Array
		for _, name := range names {
			at := record.Schema().FieldIndices(name)
			if len(at) != 1 {
				return keyed, 0, fmt.Errorf("record %d has no column %s", number, name)
			}
			fields = append(fields, arrow.Field{Name: name, Type: record.Schema().Field(at[0]).Type})
			columns = append(columns, record.Column(at[0]))
		}
		n := int(record.NumRows())
		recordNumbers, rowNumbers := array.NewUint32Builder(w.mem), array.NewUint32Builder(w.mem)
		recordNumbers.Reserve(n)
		rowNumbers.Reserve(n)
		for row := range n {
			recordNumbers.UnsafeAppend(uint32(number))
			rowNumbers.UnsafeAppend(uint32(row))
		}
		own := []arrow.Array{recordNumbers.NewArray(), rowNumbers.NewArray()}
		recordNumbers.Release()
		rowNumbers.Release()
		fields = append(fields, arrow.Field{Name: scratchRecord, Type: arrow.PrimitiveTypes.Uint32}, arrow.Field{Name: scratchRow, Type: arrow.PrimitiveTypes.Uint32})
		keyed = append(keyed, array.NewRecord(arrow.NewSchema(fields, nil), append(columns, own...), int64(n)))
		own[0].Release()
		own[1].Release()
		rows += n
	}
	return keyed, rows, nil
}

// scratchPrefix begins the names of scratch tables; scratchAge is how old one must be for its maker to be dead.
const (
	scratchPrefix = "_scratch_"
	scratchAge    = time.Hour
)

// scratch makes a table of those keys and fills it. drop removes it, even when ctx has ended.
func (w *Warehouse) scratch(ctx context.Context, schema *schemas.Schema, keyed []arrow.Record, rows int) (name string, drop func() error, err error) {
	if err := w.dropOldScratch(ctx); err != nil {
		return "", nil, err
	}
	random := make([]byte, 8)
	if _, err := rand.Read(random); err != nil {
		return "", nil, err
	}
	name = scratchPrefix + schema.Name + "_" + hex.EncodeToString(random)
	var columns []string
	for _, key := range schema.Key() {
		field, _ := schema.Field(key)
		columns = append(columns, quoteName(key)+" "+field.Type.ClickHouse(false))
	}
	columns = append(columns, "`_version` UInt64", "`_deleted` UInt8", "`_offset` Int64", "`_index` UInt32", quoteName(scratchRecord)+" UInt32", quoteName(scratchRow)+" UInt32")
	drop = func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dialTimeout)
		defer cancel()
		return w.exec(ctx, "drop scratch table", "DROP TABLE IF EXISTS "+w.table(name)+" SYNC")
	}
	// Memory: the table is as large as a flush, and gone with the server.
	if err := w.exec(ctx, "make scratch table", "CREATE TABLE "+w.table(name)+" ("+strings.Join(columns, ", ")+") ENGINE = Memory COMMENT 'Headwater: keys of a flush that is being checked; dropped after it'"); err != nil {
		return "", nil, errors.Join(err, drop())
	}
	if err := w.Insert(ctx, Insert{Table: name, Token: name, Records: keyed, Rows: rows}); err != nil {
		return "", nil, errors.Join(err, drop())
	}
	return name, drop, nil
}

// dropOldScratch removes what killed processes left.
func (w *Warehouse) dropOldScratch(ctx context.Context) error {
	var old []struct {
		Name string `ch:"name"`
	}
	if err := w.data.Select(ctx, &old, "SELECT name FROM system.tables WHERE database = {database:String} AND startsWith(name, {prefix:String}) AND metadata_modification_time < now() - {age:Int64}",
		clickhouse.Named("database", w.config.Database), clickhouse.Named("prefix", scratchPrefix), clickhouse.Named("age", int64(w.scratchAge/time.Second))); err != nil {
		return w.wrap(err, "look for old scratch tables")
	}
	for _, table := range old {
		if err := w.exec(ctx, "drop old scratch table", "DROP TABLE IF EXISTS "+w.table(table.Name)); err != nil {
			return err
		}
		w.log.Info("dropped a scratch table of a process that was killed", "table", table.Name)
	}
	return nil
}
