package warehouse

import (
	"context"
	"fmt"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/schemas"
)

// shadowSuffix names the table that a rebuild fills beside the one in force. No schema's name has two underscores in a row.
const shadowSuffix = "__rebuild"

// Shadow is a schema whose table is the one that a rebuild fills.
func Shadow(schema *schemas.Schema) *schemas.Schema {
	shadow := *schema
	shadow.Name += shadowSuffix
	return &shadow
}

// MakeShadow makes an empty table like the one in force, with the rows of all sources but one. What an earlier rebuild has left is
// dropped: a shadow that was not swapped in, or the table that was swapped out.
func (w *Warehouse) MakeShadow(ctx context.Context, schema *schemas.Schema, without string) error {
	var engine string
	if err := w.data.QueryRow(ctx, "SELECT concat(engine, ' ', (SELECT engine FROM system.databases WHERE name = {database:String})) FROM system.tables WHERE database = {database:String} AND name = {table:String}",
		clickhouse.Named("database", w.config.Database), clickhouse.Named("table", schema.TableName())).Scan(&engine); err != nil {
		return w.wrap(err, "look at table "+schema.TableName())
	}
	table, database, _ := strings.Cut(engine, " ")
	if strings.HasPrefix(table, "Replicated") || database != "Atomic" {
		return fault.Usage(fmt.Errorf("table %s is a %s in a database of engine %s: only a plain table in an Atomic database can be rebuilt beside itself", schema.TableName(), table, database))
	}
	if err := w.DropShadow(ctx, schema); err != nil {
		return err
	}
	shadow := w.table(Shadow(schema).TableName())
	if err := w.exec(ctx, "make the table to rebuild into", "CREATE TABLE "+shadow+" AS "+w.table(schema.TableName())); err != nil {
		return err
	}
	return w.exec(ctx, "copy the rows of other sources", "INSERT INTO "+shadow+" SELECT * FROM "+w.table(schema.TableName())+" WHERE _source != {source:String}", clickhouse.Named("source", without))
}

// DropShadow drops what a rebuild has left beside the table.
func (w *Warehouse) DropShadow(ctx context.Context, schema *schemas.Schema) error {
	return w.exec(ctx, "drop the table that a rebuild has left", "DROP TABLE IF EXISTS "+w.table(Shadow(schema).TableName())+" SYNC")
}

// ShadowCounts compares a table with the one that was rebuilt beside it.
type ShadowCounts struct {
	Before, After   uint64 // current records of the source
	Changed         uint64 // among both: keys that are new, gone, or have another content
	Others          uint64 // current records of all other sources
	OthersUnchanged bool
}

// CompareShadow counts. Current records are the newest of their key among the records compared, without tombstones, so that merges
// change nothing of it.
func (w *Warehouse) CompareShadow(ctx context.Context, schema *schemas.Schema, source string) (ShadowCounts, error) {
	var c ShadowCounts
	key := quoteNames(schema.Key())
	var fields []string
	for _, f := range schema.Fields {
		fields = append(fields, quoteName(f.Name))
	}
	// A tuple is written out, as the hash of a null is null.
	current := func(table, content, sources string) string {
		return "(SELECT h FROM (SELECT argMax((cityHash64(toString((" + content + "))), _deleted), (_version, _offset, _index)) AS last, last.1 AS h FROM " + w.table(table) + " WHERE _source " + sources + " {source:String} GROUP BY " + key + ") WHERE last.2 = 0)"
	}
	named := clickhouse.Named("source", source)
	shadow := Shadow(schema).TableName()
	what := "compare table " + schema.TableName() + " with its rebuild"
	place := strings.Join(fields, ", ") + ", _topic, _partition, _incarnation, _offset, _index, _version"
	var sums [2]struct{ n, sum uint64 }
	for i, table := range []string{schema.TableName(), shadow} {
		if err := w.data.QueryRow(ctx, "SELECT count(), sum(h) FROM "+current(table, place, "!="), named).Scan(&sums[i].n, &sums[i].sum); err != nil {
			return c, w.wrap(err, what)
		}
	}
	c.Others, c.OthersUnchanged = sums[0].n, sums[0] == sums[1]
	content := strings.Join(fields, ", ")
	for table, n := range map[string]*uint64{schema.TableName(): &c.Before, shadow: &c.After} {
		if err := w.data.QueryRow(ctx, "SELECT count() FROM "+current(table, content, "="), named).Scan(n); err != nil {
			return c, w.wrap(err, what)
		}
	}
	before, after := current(schema.TableName(), content, "="), current(shadow, content, "=")
	if err := w.data.QueryRow(ctx, "SELECT (SELECT count() FROM "+before+" WHERE h NOT IN "+after+") + (SELECT count() FROM "+after+" WHERE h NOT IN "+before+")", named).Scan(&c.Changed); err != nil {
		return c, w.wrap(err, what)
	}
	return c, nil
}

// EmptiedByShadow returns the shards of the source that have current records in the table in force and none in the shadow, where some
// of the keys would be gone: those of a file that has another name now are not.
func (w *Warehouse) EmptiedByShadow(ctx context.Context, schema *schemas.Schema, source string) ([]Shard, error) {
	key := quoteNames(schema.Key())
	current := func(table string) string {
		return "(SELECT cityHash64(toString((" + key + "))) AS k, argMax((toString(_stream), toString(_shard), _deleted), (_version, _offset, _index)) AS last FROM " + w.table(table) + " WHERE _source = {source:String} GROUP BY " + key + " HAVING last.3 = 0)"
	}
	before, after := current(schema.TableName()), current(Shadow(schema).TableName())
	var shards []struct {
		Stream string `ch:"stream"`
		Shard  string `ch:"shard"`
	}
	if err := w.data.Select(ctx, &shards, "SELECT last.1 AS stream, last.2 AS shard FROM "+before+" WHERE (stream, shard) NOT IN (SELECT last.1, last.2 FROM "+after+") GROUP BY stream, shard HAVING countIf(k NOT IN (SELECT k FROM "+after+")) > 0 ORDER BY stream, shard",
		clickhouse.Named("source", source)); err != nil {
		return nil, w.wrap(err, "look for shards that the rebuild of table "+schema.TableName()+" lacks")
	}
	out := make([]Shard, len(shards))
	for i, s := range shards {
		out[i] = Shard{Source: source, Stream: s.Stream, Shard: s.Shard}
	}
	return out, nil
}

// ExchangeShadow puts the rebuilt table in force, and the other one beside it, in one atomic step.
func (w *Warehouse) ExchangeShadow(ctx context.Context, schema *schemas.Schema) error {
	exchange := func() error {
		return w.exec(ctx, "exchange table "+schema.TableName()+" with its rebuild", "EXCHANGE TABLES "+w.table(schema.TableName())+" AND "+w.table(Shadow(schema).TableName()))
	}
	if schema.TableName() != "observation" {
		return exchange()
	}
	// Nobody puts figures together between the mark and the exchange, so that none is left as it was.
	w.refreshing.Lock()
	defer w.refreshing.Unlock()
	turn, err := w.takeTurn(ctx)
	if err != nil {
		return err
	}
	defer turn.giveBack(ctx)
	if err := w.markAll(ctx, "rebuild"); err != nil {
		return err
	}
	return exchange()
}
