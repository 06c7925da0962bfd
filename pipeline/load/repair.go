package load

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/pipeline/message"
	"github.com/headwater-data/headwater/pipeline/topic"
	"github.com/headwater-data/headwater/warehouse"
)

// repairOnce repairs at the beginning of a generation, between flushes.
func (l *landing) repairOnce(ctx context.Context) error {
	if l.repaired {
		return nil
	}
	l.repaired = true
	between := l.state
	err := l.repair(ctx)
	l.state = between
	return err
}

// repair loads what earlier flushes had to hold (L4): each range is read again under its own offsets and tokens, asking the
// tables first, and its lines of the ledger are written anew. What a table still refuses stays held.
func (l *landing) repair(ctx context.Context) error {
	held, err := retry(ctx, l, "look for held rows", func() ([]warehouse.HeldFlush, error) {
		return l.service.cfg.Warehouse.Held(ctx, l.id.topic, int32(l.id.partition))
	})
	if err != nil {
		return err
	}
	if len(held) > 0 {
		// What was collected ahead of it knows nothing of what the repair settles.
		l.ahead.discard()
		l.ahead = nil
	}
	for _, h := range held {
		if err := l.repairFlush(ctx, h); err != nil {
			return err
		}
	}
	return nil
}

func (l *landing) repairFlush(ctx context.Context, h warehouse.HeldFlush) error {
	state := message.State{Incarnation: h.State.Incarnation, Epoch: h.State.Epoch, Next: h.State.Next}
	wasHeld := map[string]bool{} // source and stream
	for _, r := range h.Rows {
		wasHeld[streamKey(r.Source, r.Stream)] = true
	}
	gone, err := retry(ctx, l, "look for rows that have left the quarantine", func() (settled, error) { return l.left(ctx, h) })
	if err != nil {
		return err
	}
	// The rows of other streams have their account already, under the mapping of then.
	l.only, l.settled = wasHeld, gone
	fetch := l.fetch(ctx, Collect{From: h.Range.From, To: h.Range.To, State: state})
	l.only, l.settled = nil, nil
	content, _, err := fetch.wait(ctx, nil)
	if err != nil {
		if out, ok := errors.AsType[*topic.OutOfRangeError](err); ok {
			l.log.Error("held rows are no longer in the topic: read their source again", "from", h.Range.From, "to", h.Range.To, "error", out)
			return nil
		}
		return fmt.Errorf("read held rows of [%d, %d): %w", h.Range.From, h.Range.To, err)
	}
	l.content = content
	l.state = Loader{Ask: true, Flush: Flush{From: h.Range.From, To: h.Range.To, State: state, After: content.after, Shape: content.shape}}
	defer func() {
		l.content.release()
		l.content, l.state = nil, Loader{}
	}()
	for i := range content.tables {
		second := false
		for action := Action(Insert{Table: i, Ask: true}); action != nil; {
			if stop, ok := action.(Stop); ok {
				return fault.Permanent(stop.Err)
			}
			if insert, ok := action.(Insert); ok {
				second = insert.Second
			}
			event, err := l.do(ctx, action)
			if err != nil {
				return err
			}
			action = repairNext(event, i, second)
		}
	}
	return l.recordRepair(ctx, h, wasHeld)
}

// repairNext is what follows an event of a table in a repair, nil when the table is done. As in a flush, rows that went in under
// the second token are looked for once more (L5).
func repairNext(e Event, table int, second bool) Action {
	switch e := e.(type) {
	case Inserted:
		return Check{Table: table}
	case Checked:
		switch {
		case e.Complete:
			return Remove{Table: table}
		case second:
			return Stop{Err: fmt.Errorf("repair of held rows: %w", errStillMissing)}
		}
		return Insert{Table: table, Ask: true, Second: true}
	}
	return nil // done, or refused and still held
}

// recordRepair writes the lines of the streams that were held, and empties lines that named no schema.
func (l *landing) recordRepair(ctx context.Context, h warehouse.HeldFlush, wasHeld map[string]bool) error {
	var rows []warehouse.LedgerRow
	lines := map[account]bool{}
	for _, r := range l.ledger() {
		if r.Source != "" && wasHeld[streamKey(r.Source, r.Stream)] {
			r.Kind = "repair"
			rows = append(rows, r)
			lines[account{r.Source, r.Stream, r.Shard, r.Run, r.Schema}] = true
		}
	}
	for _, r := range h.Rows {
		if !lines[account{r.Source, r.Stream, r.Shard, r.Run, r.Schema}] {
			rows = append(rows, emptied(r, warehouse.LedgerRepair))
		}
	}
	quarantine := l.content.quarantine
	_, err := retry(ctx, l, "write the account of repaired rows", func() (struct{}, error) {
		attempt := attemptAt(time.Now())
		w := l.service.cfg.Warehouse
		if err := w.WriteUndecodable(ctx, l.token("undecodable", attempt), l.content.undecodable); err != nil {
			return struct{}{}, err
		}
		if len(quarantine) > 0 {
			if err := w.WriteQuarantine(ctx, l.token("quarantine", attempt), quarantine); err != nil {
				return struct{}{}, err
			}
		}
		if err := l.settle(ctx, h); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, w.WriteLedger(ctx, l.token("ledger", attempt), rows)
	})
	if err == nil {
		l.log.Info("held rows were loaded again", "from", h.Range.From, "to", h.Range.To)
	}
	return err
}

// left finds the rows of the repaired streams that were quarantined with the flush and are no longer open.
func (l *landing) left(ctx context.Context, h warehouse.HeldFlush) (settled, error) {
	out := settled{}
	asked := map[string]bool{}
	for _, r := range h.Rows {
		key := streamKey(r.Source, r.Stream)
		if r.Quarantined == 0 || asked[key] {
			continue
		}
		asked[key] = true
		rows, err := l.service.cfg.Warehouse.Quarantined(ctx, warehouse.QuarantineFilter{Source: r.Source, Stream: r.Stream})
		if err != nil {
			return nil, err
		}
		for _, q := range rows {
			// One that was replayed to nowhere was loaded by a repair, of which the account may be missing (settle).
			if q.Status == warehouse.QuarantineOpen || q.Status == warehouse.QuarantineReplayed && q.ReplayedTo == "" || !within(q, h.Range) {
				continue
			}
			if out[q.Offset] == nil {
				out[q.Offset] = map[uint32]bool{}
			}
			out[q.Offset][q.Index] = true
		}
	}
	return out, nil
}

func within(q warehouse.QuarantineRow, r warehouse.Range) bool {
	return q.Topic == r.Topic && q.Partition == r.Partition && q.Incarnation == r.Incarnation && q.Offset >= r.From && q.Offset < r.To
}

// settle closes what is in quarantine of the repaired streams and was loaded with the repair, as their mapping has been mended
// since: replayed once more, it would be counted twice.
func (l *landing) settle(ctx context.Context, h warehouse.HeldFlush) error {
	held := map[string]bool{}
	for _, p := range l.content.tables {
		for _, a := range p.accounts {
			held[streamKey(a.source, a.stream)] = held[streamKey(a.source, a.stream)] || p.held != nil
		}
	}
	still := map[string]bool{}
	for _, q := range l.content.quarantine {
		still[q.ID()] = true
	}
	asked := map[string]bool{}
	var ids []string
	for _, r := range h.Rows {
		key := streamKey(r.Source, r.Stream)
		if r.Quarantined == 0 || asked[key] || held[key] {
			continue
		}
		asked[key] = true
		open, err := l.service.cfg.Warehouse.Quarantined(ctx, warehouse.QuarantineFilter{Source: r.Source, Stream: r.Stream, Status: warehouse.QuarantineOpen})
		if err != nil {
			return err
		}
		for _, q := range open {
			if within(q, h.Range) && !still[q.ID()] {
				ids = append(ids, q.ID())
			}
		}
	}
	return l.service.cfg.Warehouse.SetQuarantineStatus(ctx, ids, warehouse.QuarantineReplayed, "loader", "loaded under the present mapping with the repair of held rows", nil)
}

func streamKey(source, stream string) string { return source + "\x1f" + stream }
