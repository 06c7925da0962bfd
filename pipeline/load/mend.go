package load

import (
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/pipeline/transform"
	"github.com/headwater-data/headwater/schemas"
	"github.com/headwater-data/headwater/warehouse"
)

// Columns of the batches that mend what differs between source and warehouse (headwater verify --repair). Both kinds also say
// with _shard, _place and _extracted_at what the rows are, as replays do.
const (
	// ColumnMended is a uint64 column: the version that the row's records get, whatever the mapping says of their order. It is
	// above that of what they take the place of.
	ColumnMended = "_mended"
	// ColumnMendedKeys is a utf8 column of rows that make several records: hashes of the keys (MendedKey) of those that are meant,
	// separated by blanks. The row's others stay as they are in the table: another row, or another source, may have them.
	ColumnMendedKeys = "_mended_keys"
	// ColumnGone is a utf8 column: the row is no row but the key, in canonical form (schemas.Canonical), of a record that is to
	// be marked as gone.
	ColumnGone = "_gone"
)

// TakeRows copies the named rows of a record, ascending. The caller releases the result.
func TakeRows(mem memory.Allocator, rec arrow.Record, rows []uint32) (arrow.Record, error) {
	return takeRows(mem, rec, rows)
}

// mendedOf gives the versions that rows of a mending batch bring with them; nil for any other batch.
func mendedOf(rec arrow.Record) []uint64 {
	i := rec.Schema().FieldIndices(ColumnMended)
	if len(i) == 0 {
		return nil
	}
	if a, ok := rec.Column(i[0]).(*array.Uint64); ok && a.NullN() == 0 {
		return a.Uint64Values()
	}
	return nil
}

// MendedKey names a key in ColumnMendedKeys.
func MendedKey(key []byte) string {
	h := warehouse.HashKey(key)
	return fmt.Sprintf("%016x%016x", h.First, h.Second)
}

// onlyMended leaves out of a result what a mending batch does not mean.
func (c *collector) onlyMended(rec arrow.Record, result *transform.Result, schema *schemas.Schema) error {
	i := rec.Schema().FieldIndices(ColumnMendedKeys)
	if len(i) == 0 {
		return nil
	}
	meant, ok := rec.Column(i[0]).(*array.String)
	if !ok {
		return fmt.Errorf("column %s is no text", ColumnMendedKeys)
	}
	canonical, err := schema.Canonical(result.Records)
	if err != nil {
		return err
	}
	var keep []uint32
	var key []byte
	for k, row := range result.Row {
		key = canonical.Key(key[:0], k)
		if strings.Contains(meant.Value(int(row)), MendedKey(key)) {
			keep = append(keep, uint32(k))
		}
	}
	records, err := takeRows(c.mem, result.Records, keep)
	if err != nil {
		return err
	}
	result.Release()
	result.Records = records
	result.Row, result.Version, result.Deleted, result.Flags = chosen(result.Row, keep), chosen(result.Version, keep), chosen(result.Deleted, keep), chosen(result.Flags, keep)
	return nil
}

// chosen takes the named values; nil stays nil.
func chosen[T any](values []T, keep []uint32) []T {
	if values == nil {
		return nil
	}
	out := make([]T, len(keep))
	for i, k := range keep {
		out[i] = values[k]
	}
	return out
}

func goneOf(rec arrow.Record) *array.String {
	i := rec.Schema().FieldIndices(ColumnGone)
	if len(i) == 0 {
		return nil
	}
	a, _ := rec.Column(i[0]).(*array.String)
	return a
}

// gone makes tombstones of the keys that a batch names. Keys that the stream's schema cannot read, because it is another one by
// now, are quarantined as one entry: nothing may stop the partition for them.
func (c *collector) gone(out *content, o origin, rec arrow.Record, keys *array.String, mapping *transform.Mapping, l *warehouse.LedgerRow, a account) error {
	n := int(rec.NumRows())
	if n == 0 {
		return nil
	}
	schema := mapping.Schema()
	builder := array.NewRecordBuilder(c.mem, schema.Arrow())
	defer builder.Release()
	versions := mendedOf(rec)
	for i := range n {
		err := schema.AppendKey(builder, keys.Value(i))
		if err == nil && versions == nil {
			err = fmt.Errorf("there is no column %s", ColumnMended)
		}
		if err != nil {
			entry := c.quarantined(o, 0, mapping)
			entry.Rules, entry.Fields = []string{"mend.key"}, []string{""}
			entry.Reasons = []string{fmt.Sprintf("%d keys to be marked as gone from %s: %v", n, schema.Name, err)}
			entry.Raw = keys.Value(i)
			out.quarantine = append(out.quarantine, entry)
			l.Quarantined += int64(n)
			return nil
		}
	}
	records := builder.NewRecord()
	defer records.Release()
	rows := make([]uint32, n)
	per := perRow{version: versions, deleted: make([]bool, n)}
	for i := range n {
		rows[i], per.deleted[i] = uint32(i), true
	}
	per.index = indexOf(rows, uint32(mapping.FanOut()), func(row uint32) uint32 { return row })
	res := reserved(rec)
	res.fill(&per, rows)
	l.Loaded += int64(n)
	l.Deleted += int64(n)
	p := out.part(schema)
	if !slices.Contains(p.accounts, a) {
		p.accounts = append(p.accounts, a)
	}
	c.take(out, p, o, records, per)
	return nil
}
