package load

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/headwater-data/headwater/internal/clock"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/pipeline/message"
	"github.com/headwater-data/headwater/pipeline/topic"
	"github.com/headwater-data/headwater/schemas"
	"github.com/headwater-data/headwater/warehouse"
)

// Rebuild says what is mapped anew.
type Rebuild struct {
	Source  string
	Streams []string
	Flushes []warehouse.HeldFlush // that brought the source's messages, in the order in which they were loaded
	// Settled are the rows that stay in quarantine whatever the mapping says now: they were dismissed, or stand in the table as
	// their replay, which is mapped anew in its own place. By topic and partition, offset and row of the batch.
	Settled map[string]map[int64]map[uint32]bool
}

// SettledKey names a partition in Rebuild.Settled.
func SettledKey(topicName string, partition int32) string {
	return fmt.Sprintf("%s/%d", topicName, partition)
}

// Rebuilt is what a rebuild brought, to be written down once its table is in force.
type Rebuilt struct {
	Ledger     []warehouse.LedgerRow
	Quarantine []warehouse.QuarantineRow
	Replaced   []Replacement
}

// Replacement says that a shard's rows in quarantine of content before a time are settled.
type Replacement struct {
	Source, Stream, Shard string
	Before                time.Time
}

// Rebuild reads flushes again under the present mapping and loads the source's rows into the shadows of their tables, with the
// provenance that they had. Neither ledger nor quarantine is written. The service must not be serving.
func (s *Service) Rebuild(ctx context.Context, r Rebuild) (*Rebuilt, error) {
	cfg := s.cfg
	cfg.Warehouse, cfg.Progress = shadowed{s.cfg.Warehouse}, nil
	shadow := New(cfg)
	only := map[string]bool{}
	for _, stream := range r.Streams {
		only[streamKey(r.Source, stream)] = true
	}
	out := &Rebuilt{}
	for _, flush := range r.Flushes {
		l := &landing{
			service: shadow, id: partitionID{flush.Range.Topic, int(flush.Range.Partition)}, only: only, settled: r.Settled[SettledKey(flush.Range.Topic, flush.Range.Partition)],
			log: s.cfg.Logger.With("topic", flush.Range.Topic, "partition", flush.Range.Partition),
		}
		if err := l.rebuildFlush(ctx, r.Source, flush, out); err != nil {
			return nil, fmt.Errorf("map %s/%d [%d, %d) anew: %w", flush.Range.Topic, flush.Range.Partition, flush.Range.From, flush.Range.To, err)
		}
	}
	return out, nil
}

func (l *landing) rebuildFlush(ctx context.Context, source string, flush warehouse.HeldFlush, out *Rebuilt) error {
	state := message.State{Incarnation: flush.State.Incarnation, Epoch: flush.State.Epoch, Next: flush.State.Next}
	content, _, err := l.fetch(ctx, Collect{From: flush.Range.From, To: flush.Range.To, State: state}).wait(ctx, nil)
	if gone, ok := errors.AsType[*topic.OutOfRangeError](err); ok {
		return fault.Usage(fmt.Errorf("the topic no longer has it: %w", gone))
	}
	if err != nil {
		return err
	}
	l.content, l.since = content, time.Now()
	l.state = Loader{Ask: true, Flush: Flush{From: flush.Range.From, To: flush.Range.To, State: state, After: content.after, Shape: content.shape}}
	defer func() { l.content.release() }()
	if err := l.landInShadow(ctx); err != nil {
		return err
	}
	before, after := int64(0), int64(0)
	lines := map[account]bool{}
	for _, row := range l.ledger() {
		if row.Source != source {
			continue
		}
		row.Kind = warehouse.LedgerRebuild
		after += row.Extracted
		out.Ledger = append(out.Ledger, row)
		lines[account{row.Source, row.Stream, row.Shard, row.Run, row.Schema}] = true
	}
	for _, row := range flush.Rows {
		before += row.Extracted
		if !lines[account{row.Source, row.Stream, row.Shard, row.Run, row.Schema}] {
			out.Ledger = append(out.Ledger, emptied(row, warehouse.LedgerRebuild))
		}
	}
	if before != after {
		return fmt.Errorf("the ledger counts %d rows of the source there, the log %d: the table is left as it is", before, after)
	}
	out.Quarantine = append(out.Quarantine, content.quarantine...)
	for _, r := range content.replaced {
		out.Replaced = append(out.Replaced, Replacement{r.source, r.stream, r.shard, r.before})
	}
	return nil
}

// emptied is a line of the ledger whose rows another line counts now. The newest row of a key counts.
func emptied(r warehouse.LedgerRow, kind string) warehouse.LedgerRow {
	r.LoadedAt = clock.Now().UTC()
	r.Extracted, r.Held, r.Quarantined, r.Loaded, r.Duplicate, r.Filtered, r.Kind = 0, 0, 0, 0, 0, 0, kind
	r.Records, r.Deleted, r.Warnings, r.Messages, r.VoidMessages, r.Bytes = 0, 0, 0, 0, 0, 0
	return r
}

// shadowed is a warehouse whose tables are their shadows.
type shadowed struct{ Warehouse }

func (w shadowed) Insert(ctx context.Context, ins warehouse.Insert) error {
	ins.Table = shadowOf(ins.Table)
	return w.Warehouse.Insert(ctx, ins)
}

func (w shadowed) Landed(ctx context.Context, table string, r warehouse.Range, since time.Time, want warehouse.Expected) (bool, error) {
	return w.Warehouse.Landed(ctx, shadowOf(table), r, since, want)
}

func (w shadowed) Missing(ctx context.Context, schema *schemas.Schema, r warehouse.Range, records []arrow.Record) ([][]uint32, error) {
	return w.Warehouse.Missing(ctx, warehouse.Shadow(schema), r, records)
}

func (w shadowed) Gone(ctx context.Context, schema *schemas.Schema, q warehouse.GoneQuery) iter.Seq2[arrow.Record, error] {
	return w.Warehouse.Gone(ctx, warehouse.Shadow(schema), q)
}

func (w shadowed) Brought(ctx context.Context, table, source, stream, shard string, at time.Time) (bool, error) {
	return w.Warehouse.Brought(ctx, shadowOf(table), source, stream, shard, at)
}

func shadowOf(table string) string {
	return warehouse.Shadow(&schemas.Schema{Name: table}).TableName()
}
