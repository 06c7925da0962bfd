package warehouse

import (
	"context"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// ShardState is how far a shard of a source has been read and loaded, by the ledger.
type ShardState struct {
	Source       string    `ch:"source"`
	Stream       string    `ch:"stream"`
	Shard        string    `ch:"shard"`
	Topic        string    `ch:"topic"`
	Partition    int32     `ch:"partition"`
	Cursor       []byte    `ch:"newest"` // opaque to everyone but the source's connector
	CursorOffset int64     `ch:"at"`     // of the message that carried the cursor
	Extracted    int64     `ch:"rows"`   // rows over all runs, repeated ones included
	LastLoadedAt time.Time `ch:"last_loaded_at"`
	ExtractedAt  time.Time `ch:"newest_extracted_at"` // of its newest content; zero when nothing was extracted
}

// Shards returns every shard that has been loaded, by source, stream and name; of one source unless it is empty.
func (w *Warehouse) Shards(ctx context.Context, source string) ([]ShardState, error) {
	var rows []ShardState
	err := w.data.Select(ctx, &rows, "SELECT source, stream, shard, tupleElement(last, 1) AS topic, toInt32(tupleElement(last, 2)) AS partition, base64Decode(tupleElement(last, 3)) AS newest, tupleElement(last, 4) AS at, rows, last_loaded_at, ifNull(newest_content, fromUnixTimestamp64Milli(toInt64(0), 'UTC')) AS newest_extracted_at"+
		" FROM (SELECT source, stream, shard, argMaxIf((topic, partition, cursor, cursor_offset), (_version, cursor_offset), cursor_offset >= 0) AS last, sum(extracted) AS rows, max(loaded_at) AS last_loaded_at, max(extracted_at) AS newest_content"+
		" FROM "+w.table("ledger")+" FINAL WHERE _deleted = 0 AND source != '' AND ({source:String} = '' OR source = {source:String}) GROUP BY source, stream, shard) ORDER BY source, stream, shard",
		clickhouse.Named("source", source))
	if err != nil {
		return nil, w.wrap(err, "read the ledger's shards")
	}
	settleTimes(rows)
	return rows, nil
}

// Flushes returns the ledger's own rows, one for each shard, run and schema of a flush, the newest first. The filter's scope
// does not matter. A limit of 0 means all.
func (w *Warehouse) Flushes(ctx context.Context, filter BalanceFilter, limit int) ([]LedgerRow, error) {
	where := "({source:String} = '' OR own.source = {source:String}) AND ({run:String} = '' OR own.run = {run:String})" +
		" ORDER BY own.loaded_at DESC, own.topic, own.partition, own.from_offset DESC, own.source, own.stream, own.shard, own.run, own.schema"
	args := []any{clickhouse.Named("source", filter.Source), clickhouse.Named("run", filter.Run)}
	if limit > 0 {
		where += " LIMIT {limit:UInt64}"
		args = append(args, clickhouse.Named("limit", uint64(limit)))
	}
	return selectOwn[LedgerRow](ctx, w, "ledger", where, args...)
}

// Ready reports whether the database has been set up: before the first run there are no tables to ask.
func (w *Warehouse) Ready(ctx context.Context) (bool, error) {
	var views uint64
	if err := w.server.QueryRow(ctx, "SELECT count() FROM system.tables WHERE database = {database:String} AND name IN ('ledger_balance', 'freshness', 'quarantine', 'run')",
		clickhouse.Named("database", w.config.Database)).Scan(&views); err != nil {
		return false, w.wrap(err, "look for the warehouse's tables")
	}
	return views == 4, nil
}

// LastRuns returns the newest run of every source, by source.
func (w *Warehouse) LastRuns(ctx context.Context) (map[string]Run, error) {
	rows, err := selectOwn[Run](ctx, w, "run", "1 ORDER BY own.started_at DESC, own.run DESC LIMIT 1 BY own.source")
	if err != nil {
		return nil, err
	}
	last := make(map[string]Run, len(rows))
	for _, r := range rows {
		last[r.Source] = r
	}
	return last, nil
}

// Misfits counts a stream's rows that wait in quarantine because the source's columns are not those of the mapping any more.
type Misfits struct {
	Source string `ch:"source"`
	Stream string `ch:"stream"`
	Rows   uint64 `ch:"misfits"`
	Reason string `ch:"reason"` // that of one of them
}

// Misfits returns the streams that have such rows, by source and stream.
func (w *Warehouse) Misfits(ctx context.Context) ([]Misfits, error) {
	var rows []Misfits
	if err := w.data.Select(ctx, &rows, "SELECT source, stream, count() AS misfits, min(arrayFirst((reason, rule) -> startsWith(rule, 'schema.'), reasons, rules)) AS reason FROM "+
		w.table("quarantine_open")+" WHERE arrayExists(rule -> startsWith(rule, 'schema.'), rules) GROUP BY source, stream ORDER BY source, stream"); err != nil {
		return nil, w.wrap(err, "look for rows that their mapping does not fit")
	}
	return rows, nil
}
