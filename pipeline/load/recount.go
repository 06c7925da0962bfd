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

// Recount reads a flush from Kafka again, under the shape that it was loaded with, and gives how many of a source's rows of it are
// represented neither by themselves nor by a newer row of their key in the table: rows that are lost, not superseded. Nothing is
// written. A range that retention has eaten is a *topic.OutOfRangeError.
func Recount(ctx context.Context, client *topic.Client, w *warehouse.Warehouse, mem memory.Allocator, r warehouse.Range, shaping Shaping, source, stream, table string) (lost int64, err error) {
	state, err := w.StateBefore(ctx, r)
	if err != nil {
		return 0, err
	}
	c := &collector{client: client, warehouse: w, topic: r.Topic, partition: int(r.Partition), mem: mem, hurried: &atomic.Int32{}, only: map[string]bool{streamKey(source, stream): true}, log: slog.New(slog.DiscardHandler)} // what is odd in a flush was told when it was loaded
	out, err := c.collect(ctx, Collect{From: r.From, To: r.To, State: message.State{Incarnation: state.Incarnation, Epoch: state.Epoch, Next: state.Next}}, shaping)
	if err != nil {
		return 0, fmt.Errorf("read [%d, %d) of %s/%d again: %w", r.From, r.To, r.Topic, r.Partition, err)
	}
	defer out.release()
	for _, p := range out.tables {
		if p.schema.TableName() != table || p.rows == 0 {
			continue
		}
		missing, err := w.Missing(ctx, p.schema, r, p.records)
		if err != nil {
			return 0, err
		}
		for _, rows := range missing {
			lost += int64(len(rows))
		}
	}
	return lost, nil
}
