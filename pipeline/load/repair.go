package load

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/headwater-data/headwater/pipeline/message"
	"github.com/headwater-data/headwater/pipeline/topic"
	"github.com/headwater-data/headwater/warehouse"
)

// repair loads what earlier flushes had to hold (L4): each range is read again under its own offsets and tokens, asking the
// tables first, and its lines of the ledger are written anew. What a table still refuses stays held.
func (l *landing) repair(ctx context.Context) error {
	held, err := retry(ctx, l, "look for held rows", func() ([]warehouse.HeldFlush, error) {
		return l.service.cfg.Warehouse.Held(ctx, l.id.topic, int32(l.id.partition))
	})
	if err != nil {
		return err
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
	fetch := l.fetch(ctx, Collect{From: h.Range.From, To: h.Range.To, State: state})
	content, err := fetch.wait(ctx)
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
	wasHeld := map[string]bool{} // source and stream
	for _, r := range h.Rows {
		wasHeld[r.Source+"\x1f"+r.Stream] = true
	}
	for i, p := range content.tables {
		due := false
		for _, a := range p.accounts {
			due = due || wasHeld[a.source+"\x1f"+a.stream]
		}
		if !due {
			continue
		}
		for _, action := range []Action{Insert{Table: i, Ask: true}, Check{Table: i}, Remove{Table: i}} {
			if event, err := l.do(ctx, action); err != nil {
				return err
			} else if _, refused := event.(Refused); refused {
				break
			} else if c, ok := event.(Checked); ok && !c.Complete {
				if _, err := l.do(ctx, Insert{Table: i, Ask: true, Second: true}); err != nil {
					return err
				}
			}
		}
	}
	return l.recordRepair(ctx, h, wasHeld)
}

// recordRepair writes the lines of the streams that were held, and empties lines that named no schema.
func (l *landing) recordRepair(ctx context.Context, h warehouse.HeldFlush, wasHeld map[string]bool) error {
	var rows []warehouse.LedgerRow
	lines := map[account]bool{}
	for _, r := range l.ledger() {
		if r.Source != "" && wasHeld[r.Source+"\x1f"+r.Stream] {
			r.Kind = "repair"
			rows = append(rows, r)
			lines[account{r.Source, r.Stream, r.Shard, r.Run, r.Schema}] = true
		}
	}
	for _, r := range h.Rows {
		if !lines[account{r.Source, r.Stream, r.Shard, r.Run, r.Schema}] {
			r.LoadedAt = time.Now().UTC() // the newest row of a key counts
			r.Extracted, r.Held, r.Quarantined, r.Loaded, r.Duplicate, r.Filtered, r.Kind = 0, 0, 0, 0, 0, 0, "repair"
			rows = append(rows, r)
		}
	}
	var quarantine []warehouse.QuarantineRow
	for _, q := range l.content.quarantine {
		if wasHeld[q.Source+"\x1f"+q.Stream] {
			quarantine = append(quarantine, q)
		}
	}
	_, err := retry(ctx, l, "write the account of repaired rows", func() (struct{}, error) {
		attempt := attemptAt(time.Now())
		w := l.service.cfg.Warehouse
		if len(quarantine) > 0 {
			if err := w.WriteQuarantine(ctx, l.token("quarantine", attempt), quarantine); err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, w.WriteLedger(ctx, l.token("ledger", attempt), rows)
	})
	if err == nil {
		l.log.Info("held rows were loaded again", "from", h.Range.From, "to", h.Range.To)
	}
	return err
}
