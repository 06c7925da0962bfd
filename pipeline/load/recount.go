package load

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/pipeline/message"
	"github.com/headwater-data/headwater/pipeline/topic"
	"github.com/headwater-data/headwater/warehouse"
)

// Recount reads a flush from Kafka again, under the shape that it was loaded with, and says of the rows of one line of the ledger
// how many are lost: represented neither by themselves nor by a newer row of their key in the table. unknown is how many
// tombstones of replaced content are not there: which keys they were for is in no message. Nothing is written. A range that
// retention has eaten is a *topic.OutOfRangeError.
func Recount(ctx context.Context, client *topic.Client, w *warehouse.Warehouse, mem memory.Allocator, line warehouse.Discrepancy, shaping Shaping) (lost, unknown int64, err error) {
	r := line.Range
	state, err := w.StateBefore(ctx, r)
	if err != nil {
		return 0, 0, err
	}
	c := &collector{client: client, warehouse: w, topic: r.Topic, partition: int(r.Partition), mem: mem, hurried: &atomic.Int32{}, only: map[string]bool{streamKey(line.Source, line.Stream): true},
		log: slog.New(slog.DiscardHandler)} // what is odd in a flush was told when it was loaded
	out, err := c.collect(ctx, Collect{From: r.From, To: r.To, State: message.State{Incarnation: state.Incarnation, Epoch: state.Epoch, Next: state.Next}}, shaping)
	if err != nil {
		return 0, 0, fmt.Errorf("read [%d, %d) of %s/%d again: %w", r.From, r.To, r.Topic, r.Partition, err)
	}
	defer out.release()
	for _, p := range out.tables {
		if p.schema.TableName() != line.Table || p.rows == 0 {
			continue
		}
		missing, err := w.Missing(ctx, p.schema, r, p.records)
		if err != nil {
			return 0, 0, err
		}
		for _, rows := range missing {
			lost += int64(len(rows))
		}
	}
	unknown = line.Deleted
	for a, l := range out.accounts {
		if a.run == line.Run && a.schema == line.Table {
			unknown -= l.Deleted // keys that a message names
		}
	}
	for _, replaced := range out.replaced {
		if replaced.table != line.Table || replaced.account.run != line.Run || unknown == 0 {
			continue
		}
		at := r
		at.From, at.To = replaced.offset, replaced.offset+1
		there, err := w.CountFrom(ctx, line.Table, at, replaced.index)
		if err != nil {
			return 0, 0, err
		}
		unknown -= there
	}
	return lost, max(0, unknown), nil
}
