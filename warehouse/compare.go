package warehouse

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/cespare/xxhash/v2"

	"github.com/headwater-data/headwater/schemas"
)

// Comparison names what one source has in one table, as whoever reads the table sees it: of each key the newest row, if it is
// the source's and not deleted. It looks at no ledger and no cursor. Rows and keys are hashed in their canonical form
// (schemas.Canonical), so that a source's records can be held against them.
type Comparison struct {
	Schema *schemas.Schema
	Source string
	// Ranges are the first values of ranges of the first key field, ascending, in its canonical text; rows before the first are
	// in range 0. They make the segments of a schema that has no time field; others are cut by day and need none.
	Ranges []string
}

// NoDay is the segment of rows whose time is null.
const NoDay = -1 << 31

// KeyHash is how keys are named here: their canonical form, hashed twice, so that two keys of a table are not taken for one.
type KeyHash struct{ First, Second uint64 }

// HashKey hashes a canonical key.
func HashKey(key []byte) KeyHash {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.WriteString(secondHash)
	_, _ = d.Write(key)
	return KeyHash{First: xxhash.Sum64(key), Second: d.Sum64()}
}

// secondHash goes before a key when it is hashed the second time.
const secondHash = "#"

// HashRow hashes a canonical row.
func HashRow(row []byte) uint64 { return xxhash.Sum64(row) }

// HashPlace names a row of a source by where it stands.
func HashPlace(shard, place string, row uint64) uint64 {
	return xxhash.Sum64String(shard + "\n" + place + "\n" + strconv.FormatUint(row, 10))
}

// Buckets selects keys by the first bits of KeyHash.First. Nil numbers select all.
type Buckets struct {
	Bits    uint
	Numbers []uint64
}

// Of is the bucket of a key.
func (b Buckets) Of(k KeyHash) uint64 { return k.First >> (64 - b.Bits) }

func (b Buckets) sql(key string) string {
	if b.Numbers == nil {
		return "1"
	}
	list := make([]string, len(b.Numbers))
	for i, n := range b.Numbers {
		list[i] = strconv.FormatUint(n, 10)
	}
	return fmt.Sprintf("bitShiftRight(xxHash64(%s), %d) IN (%s)", key, 64-b.Bits, strings.Join(list, ","))
}

// Sum is a count of rows and the sum of their hashes, which does not depend on their order.
type Sum struct{ Rows, Hash uint64 }

// Add adds one row.
func (s *Sum) Add(hash uint64) {
	s.Rows++
	s.Hash += hash
}

// CurrentRow is one current row of a table.
type CurrentRow struct {
	Key     string // canonical
	KeyHash KeyHash
	Hash    uint64
	Segment int32 // day since 1970-01-01 in the time field's zone, or number of the range; NoDay when the time is null
	Version uint64
	Deleted bool
	Source  string
	Stream  string
	Shard   string
	Place   uint64 // HashPlace
}

// segment is the expression of a row's day or range.
func (c Comparison) segment() string {
	s := c.Schema
	if f, ok := s.Field(s.Time); ok {
		day := "toInt32(toDate32(" + quoteName(f.Name) + "))"
		if f.Type.Kind == schemas.KindDate {
			day = "toInt32(" + quoteName(f.Name) + ")"
		}
		return fmt.Sprintf("ifNull(%s, toInt32(%d))", day, NoDay)
	}
	bounds := make([]string, len(c.Ranges))
	for i, r := range c.Ranges {
		bounds[i] = quoteText(r)
	}
	if len(bounds) == 0 {
		return "toInt32(0)"
	}
	return "toInt32(arrayCount(bound -> bound <= " + s.CanonicalRangeSQL() + ", [" + strings.Join(bounds, ", ") + "]))"
}

// columns of a current row, computed from the columns of the table.
func (c Comparison) columns() string {
	return "xxHash64(" + c.Schema.CanonicalSQL() + ") AS hw_hash, " + c.segment() + " AS hw_segment, `_version` AS hw_version, toUInt8(`_deleted`) AS hw_deleted," +
		" toString(`_source`) AS hw_source, toString(`_stream`) AS hw_stream, toString(`_shard`) AS hw_shard," +
		" xxHash64(concat(toString(`_shard`), '\\n', toString(`_place`), '\\n', toString(`_row`))) AS hw_place"
}

// current is a query for the current rows of keys in the buckets, deleted ones too where history is kept or merged is false.
//
// A table that keeps history has all versions side by side. The highest counts; should two rows of one version say different
// things, which no loader does, the hash is that of neither, so that the difference shows. Other tables are read as everybody
// reads them, with FINAL, which leaves deleted rows out; with merged false they are read as those that keep history.
func (w *Warehouse) current(c Comparison, b Buckets, merged bool) string {
	table, key := w.table(c.Schema.TableName()), quoteNames(c.Schema.Key())
	keySQL := c.Schema.CanonicalKeySQL()
	within := b.sql(keySQL)
	outer := "SELECT " + keySQL + " AS hw_key, xxHash64(hw_key) AS hw_first, xxHash64(concat('" + secondHash + "', hw_key)) AS hw_second, "
	if merged && !c.Schema.History {
		return outer + c.columns() + " FROM " + table + " FINAL WHERE `_deleted` = 0 AND " + within
	}
	const order = "hw_version, hw_offset, hw_index, "
	return outer + "if(hw_newest.1 = hw_lowest, hw_newest.1, bitXor(bitXor(hw_newest.1, hw_lowest), 1)) AS hw_hash, hw_newest.2 AS hw_segment, hw_newest.3 AS hw_version, hw_newest.4 AS hw_deleted, hw_newest.5 AS hw_source, hw_newest.6 AS hw_stream, hw_newest.7 AS hw_shard, hw_newest.8 AS hw_place" +
		" FROM (SELECT " + key + ", argMax((hw_hash, hw_segment, hw_version, hw_deleted, hw_source, hw_stream, hw_shard, hw_place), (" + order + "hw_hash)) AS hw_newest," +
		" argMax(hw_hash, (" + order + "bitNot(hw_hash))) AS hw_lowest" +
		" FROM (SELECT " + key + ", " + c.columns() + ", `_offset` AS hw_offset, `_index` AS hw_index FROM " + table + " WHERE " + within + ") GROUP BY " + key + ")"
}

// inOrder groups rows as they come in the order of the key, so that the server holds few of them.
func inOrder(ctx context.Context) context.Context {
	return clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"optimize_aggregation_in_order": 1, "optimize_read_in_order": 1}))
}

// Sums adds up the source's current rows by bucket and by segment. inside bounds the segments of the buckets' sums; rows counts
// all rows of a bucket, inside or not.
func (w *Warehouse) Sums(ctx context.Context, c Comparison, b Buckets, bits uint, inside [2]int32) (buckets map[uint64]Sum, rows map[uint64]uint64, segments map[int32]Sum, err error) {
	var found []struct {
		Kind    uint8  `ch:"kind"`
		Bucket  uint64 `ch:"bucket"`
		Segment int32  `ch:"hw_segment"`
		All     uint64 `ch:"all_rows"`
		Rows    uint64 `ch:"rows"`
		Hash    uint64 `ch:"hash"`
	}
	statement := fmt.Sprintf("SELECT toUInt8(grouping(bucket)) AS kind, bucket, hw_segment, count() AS all_rows, countIf(hw_inside) AS rows, sumIf(hw_hash, hw_inside) AS hash"+
		" FROM (SELECT bitShiftRight(hw_first, %d) AS bucket, hw_segment, hw_hash, hw_segment >= %d AND hw_segment <= %d AS hw_inside FROM (%s) WHERE hw_deleted = 0 AND hw_source = {source:String})"+
		" GROUP BY GROUPING SETS ((bucket), (hw_segment))", 64-bits, inside[0], inside[1], w.current(c, b, true))
	what := fmt.Sprintf("add up the rows of %s in %s", c.Source, c.Schema.Name)
	if err := w.data.Select(inOrder(ctx), &found, statement, clickhouse.Named("source", c.Source)); err != nil {
		return nil, nil, nil, w.wrap(err, what)
	}
	buckets, rows, segments = map[uint64]Sum{}, map[uint64]uint64{}, map[int32]Sum{}
	for _, f := range found {
		switch {
		case f.Kind == 0:
			buckets[f.Bucket] = Sum{f.Rows, f.Hash}
			rows[f.Bucket] = f.All
		case f.Rows > 0:
			segments[f.Segment] = Sum{f.Rows, f.Hash}
		}
	}
	return buckets, rows, segments, nil
}

// Which says which rows CurrentRows gives.
type Which int

// What CurrentRows can give.
const (
	Own  Which = iota // the source's, not deleted
	Live              // of any source, not deleted
	Dead              // of any source, deleted
)

// CurrentRows yields current rows of keys in the buckets, in no order, for single use. Of tables that do not keep history a
// merge may have removed dead rows.
func (w *Warehouse) CurrentRows(ctx context.Context, c Comparison, b Buckets, which Which) iter.Seq2[CurrentRow, error] {
	return func(yield func(CurrentRow, error) bool) {
		where := map[Which]string{Own: "hw_deleted = 0 AND hw_source = {source:String}", Live: "hw_deleted = 0", Dead: "hw_deleted = 1"}[which]
		statement := "SELECT hw_key, hw_first, hw_second, hw_hash, hw_segment, hw_version, hw_deleted, hw_source, hw_stream, hw_shard, hw_place FROM (" +
			w.current(c, b, which != Dead) + ") WHERE " + where
		what := fmt.Sprintf("read rows of %s", c.Schema.Name)
		rows, err := w.data.Query(inOrder(ctx), statement, clickhouse.Named("source", c.Source))
		if err != nil {
			yield(CurrentRow{}, w.wrap(err, what))
			return
		}
		stopped := false
		for rows.Next() {
			var r CurrentRow
			var deleted uint8
			if err := rows.Scan(&r.Key, &r.KeyHash.First, &r.KeyHash.Second, &r.Hash, &r.Segment, &r.Version, &deleted, &r.Source, &r.Stream, &r.Shard, &r.Place); err != nil {
				yield(CurrentRow{}, w.wrap(errors.Join(err, rows.Close()), what))
				return
			}
			r.Deleted = deleted == 1
			if !yield(r, nil) {
				stopped = true
				break
			}
		}
		err = errors.Join(rows.Err(), rows.Close())
		if err != nil && !stopped {
			yield(CurrentRow{}, w.wrap(err, what))
		}
	}
}

// KeyRanges cuts the first key field of what the source has in a table into at most n+1 ranges of about as many rows.
func (w *Warehouse) KeyRanges(ctx context.Context, c Comparison, n int) ([]string, error) {
	var sample []string
	if err := w.data.QueryRow(ctx, fmt.Sprintf("SELECT groupArraySample(%d, 1)(%s) FROM %s WHERE _source = {source:String}", n, c.Schema.CanonicalRangeSQL(), w.table(c.Schema.TableName())),
		clickhouse.Named("source", c.Source)).Scan(&sample); err != nil {
		return nil, w.wrap(err, "cut the keys of "+c.Schema.Name+" into ranges")
	}
	slices.Sort(sample)
	return slices.Compact(sample), nil
}

// QuarantineCount is how many rows of a stream are in quarantine and were not replaced by newer content of the source.
func (w *Warehouse) QuarantineCount(ctx context.Context, source, stream string) (open, all int64, err error) {
	var o, a uint64
	if err := w.data.QueryRow(ctx, "SELECT countIf(status = 'open'), countIf(status != 'superseded') FROM "+w.table("quarantine")+" FINAL WHERE _deleted = 0 AND source = {source:String} AND stream = {stream:String}",
		clickhouse.Named("source", source), clickhouse.Named("stream", stream)).Scan(&o, &a); err != nil {
		return 0, 0, w.wrap(err, "count quarantined rows")
	}
	return int64(o), int64(a), nil
}
