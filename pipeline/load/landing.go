package load

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/headwater-data/headwater/internal/clock"
	"github.com/headwater-data/headwater/internal/crash"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/pipeline/message"
	"github.com/headwater-data/headwater/pipeline/topic"
	"github.com/headwater-data/headwater/warehouse"
)

// landing carries out one loader's actions for one partition under one generation.
type landing struct {
	service *Service
	gen     *topic.Generation
	id      partitionID
	log     logger

	state    Loader
	content  *content
	shape    Shaping
	since    time.Time // when the flush at work began
	ahead    *prefetch
	stored   map[string]bool // shapes known to be in the warehouse
	only     map[string]bool // while a repair is collected: the streams that it is about
	repaired bool            // what was held at the beginning of the generation has been tried again
	settled  settled         // rows of a repair or rebuild that keep their account; see Rebuild
}

// slow is what an operator who looks for lost time wants to see in the debug log.
const slow = time.Second

// run follows the protocol until the generation ends or the partition stops.
func (l *landing) run(ctx context.Context) error {
	l.stored = map[string]bool{}
	defer func() {
		l.content.release()
		l.ahead.discard()
	}()
	l.log.Debug("loading the partition", "generation", l.gen.ID)
	assigned, err := retry(ctx, l, "find where to go on", func() (Assigned, error) { return l.locate(ctx) })
	if err != nil {
		return err
	}
	// A flush that was cut short is finished first: it may be about to close what a repair would load.
	if assigned.Metadata.To == 0 || assigned.Metadata.Gap {
		if err := l.repairOnce(ctx); err != nil {
			return err
		}
	}
	var next Event = assigned
	for {
		var actions []Action
		l.state, actions = l.state.Step(next)
		next = nil
		for _, a := range actions {
			began := time.Now()
			event, err := l.do(ctx, a)
			if err != nil {
				return err
			}
			took := time.Since(began)
			if took > slow {
				l.log.Debug("a step took long", "step", strings.TrimPrefix(fmt.Sprintf("%T", a), "load."), "took", took)
			}
			l.told(a, took)
			if event != nil {
				next = event
			}
		}
		if next == nil {
			return fault.Permanent(errors.New("load: no event followed: a fault of the program"))
		}
	}
}

// told gives the fault campaign the time of a step, and of the whole flush when its final commit is done: from when its content
// was in hand.
func (l *landing) told(a Action, took time.Duration) {
	c, ok := a.(Commit)
	if !ok {
		crash.Took(strings.TrimPrefix(fmt.Sprintf("%T", a), "load."), took)
		return
	}
	if c.Metadata.To > 0 || c.Metadata.Gap {
		crash.Took("intent", took)
		return
	}
	crash.Took("commit", took)
	crash.Took("flush", time.Since(l.since))
}

// locate gathers what is known of the partition (L1).
func (l *landing) locate(ctx context.Context) (Assigned, error) {
	cfg := l.service.cfg
	out := Assigned{Offset: -1, ContinueOnGap: cfg.OnGap[l.id.topic]}
	offset, text, ok, err := cfg.Client.Committed(ctx, cfg.Group, l.id.topic, l.id.partition)
	if err != nil {
		return out, err
	}
	if ok {
		out.Offset = offset
		if out.Metadata, err = ParseMetadata(text); err != nil {
			return out, fault.Permanent(err)
		}
	}
	checkpoint, known, err := cfg.Warehouse.Checkpoint(ctx, l.id.topic, int32(l.id.partition))
	if err != nil {
		return out, err
	}
	if known {
		out.Ledger = &Checkpoint{To: checkpoint.To, State: StateOf(checkpoint)}
	}
	first, next, err := cfg.Client.Bounds(ctx, l.id.topic, l.id.partition)
	if err != nil {
		return out, err
	}
	out.First = first
	of := out.Metadata.State.Incarnation
	if of == "" {
		of = checkpoint.Incarnation
	}
	if out.Incarnation, err = cfg.Client.Incarnation(ctx, l.id.topic, l.id.partition, first, next, of); err != nil {
		return out, err
	}
	if !ok {
		from := int64(0)
		incarnation := out.Incarnation
		if known && checkpoint.Incarnation == out.Incarnation {
			from = checkpoint.To
		}
		if incarnation != "" {
			if out.Reach, err = cfg.Warehouse.Reach(ctx, cfg.Tables, l.id.topic, int32(l.id.partition), incarnation, from); err != nil {
				return out, err
			}
		}
	}
	return out, nil
}

// StateOf gives the state of the log at a checkpoint.
func StateOf(c warehouse.Checkpoint) message.State {
	return message.State{Incarnation: c.Incarnation, Epoch: c.Epoch, Next: c.Next}
}

// do carries one action out. The event that it returns is nil when another action of the same step brings it.
func (l *landing) do(ctx context.Context, a Action) (Event, error) {
	switch a := a.(type) {
	case Collect:
		return l.collect(ctx, a)
	case StoreShape:
		if l.stored[a.Shape] {
			return nil, nil
		}
		_, err := retry(ctx, l, "store the shape of rows", func() (struct{}, error) {
			return struct{}{}, l.service.cfg.Warehouse.PutShape(ctx, a.Shape, l.shape.Body)
		})
		if err == nil {
			l.stored[a.Shape] = true
		}
		return nil, err
	case Commit:
		return l.commit(ctx, a)
	case Insert:
		return l.insert(ctx, a)
	case Check:
		return l.check(ctx, a)
	case Remove:
		return l.remove(ctx, a)
	case Record:
		return l.record(ctx)
	case Leave:
		return nil, fmt.Errorf("%w: %w", errLeave, a.Err)
	case Stop:
		return nil, fault.Permanent(a.Err)
	}
	return nil, fault.Permanent(fmt.Errorf("load: unknown action %T", a))
}

// retry repeats what may pass by itself, with backoff and for as long as the generation lasts: a warehouse or broker that is
// away is waited for, and said so.
func retry[T any](ctx context.Context, l *landing, what string, fn func() (T, error)) (T, error) {
	wait := 100 * time.Millisecond
	for {
		out, err := fn()
		if err == nil || ctx.Err() != nil {
			return out, errors.Join(err, ctx.Err())
		}
		if !fault.IsTransient(err) {
			return out, fmt.Errorf("%s: %w", what, err)
		}
		l.log.Warn("waiting to try again", "to", what, "wait", wait.String(), "error", err)
		select {
		case <-ctx.Done():
			return out, ctx.Err()
		case <-time.After(wait):
		}
		wait = min(2*wait, 10*time.Second)
	}
}

func (l *landing) collect(ctx context.Context, a Collect) (Event, error) {
	crash.Point("collecting")
	l.content.release()
	l.content = nil
	l.service.reached(l.id, a.From)
	if a.To == 0 {
		if err := l.repairOnce(ctx); err != nil {
			return nil, err
		}
	}
	var err error
	if l.shape, err = retry(ctx, l, "find the shape of rows", func() (Shaping, error) { return l.service.shaping(ctx, a.Shape) }); err != nil {
		return nil, err
	}
	got := l.ahead
	l.ahead = nil
	if got == nil || got.action != a {
		got.discard()
		got = l.fetch(ctx, a)
	}
	c, another, err := l.await(ctx, got)
	if another != nil {
		return another, nil
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if out, ok := errors.AsType[*topic.OutOfRangeError](err); ok {
			return Looked{First: out.First, Next: out.End}, nil
		}
		if looked, lerr := l.look(ctx); lerr == nil {
			if next, _ := l.state.Step(looked); next.Phase == Lost {
				// What seems to be missing was never in this log (W6).
				return looked, nil
			}
		}
		return Broken{Err: err}, nil
	}
	l.content = c
	l.since = time.Now()
	// While this flush lands the next one is read and mapped.
	l.ahead = l.fetch(ctx, Collect{From: c.to, State: c.after})
	event := Collected{To: c.to, After: c.after, Shape: c.shape}
	for _, p := range c.tables {
		t := Table{Name: p.schema.Name}
		for _, r := range c.replaced {
			t.Replaces = t.Replaces || r.table == p.schema.Name
		}
		event.Tables = append(event.Tables, t)
	}
	return event, nil
}

// lookEvery is how often a loader that waits for records compares the log with the one that it knows (W6).
const lookEvery = 5 * time.Second

// await waits for a flush, and looks at the log meanwhile. It returns an event instead when the log is another one.
func (l *landing) await(ctx context.Context, got *prefetch) (*content, Event, error) {
	tick := time.NewTicker(l.service.lookEvery)
	defer tick.Stop()
	for {
		c, done, err := got.wait(ctx, tick.C)
		if done {
			return c, nil, err
		}
		looked, err := l.look(ctx)
		if err != nil {
			l.log.Debug("the log could not be looked at", "error", err)
			continue
		}
		if next, _ := l.state.Step(looked); next.Phase == Lost {
			got.discard()
			return nil, looked, nil
		}
	}
}

func (l *landing) look(ctx context.Context) (Looked, error) {
	client := l.service.cfg.Client
	first, next, err := client.Bounds(ctx, l.id.topic, l.id.partition)
	if err != nil {
		return Looked{}, err
	}
	incarnation, err := client.Incarnation(ctx, l.id.topic, l.id.partition, first, next, l.state.State.Incarnation)
	return Looked{First: first, Next: next, Incarnation: incarnation}, err
}

// prefetch is a flush being collected.
type prefetch struct {
	action Collect
	stop   context.CancelFunc
	wanted func() // somebody waits for it
	done   chan struct{}
	out    *content
	err    error
}

func (l *landing) fetch(ctx context.Context, a Collect) *prefetch {
	cfg := l.service.cfg
	fctx, stop := context.WithCancel(ctx)
	wanted := make(chan struct{})
	p := &prefetch{action: a, stop: stop, wanted: sync.OnceFunc(func() { close(wanted) }), done: make(chan struct{})}
	c := &collector{client: cfg.Client, warehouse: cfg.Warehouse, topic: l.id.topic, partition: l.id.partition, mem: cfg.Allocator, limits: cfg.Limits, hurried: &l.service.hurried, wanted: wanted, only: l.only, settled: l.settled, log: cfg.Logger}
	if l.content != nil {
		c.closing = l.content.closing
	}
	shape := l.shape
	if a.Shape == "" {
		shape = cfg.Shaping
	}
	go func() {
		defer close(p.done)
		defer stop()
		p.out, p.err = retry(fctx, l, "read the partition", func() (*content, error) { return c.collect(fctx, a, shape) })
	}()
	return p
}

// wait waits for the flush; done is false when the tick came before it.
func (p *prefetch) wait(ctx context.Context, tick <-chan time.Time) (c *content, done bool, err error) {
	p.wanted()
	select {
	case <-p.done:
		return p.out, true, p.err
	case <-ctx.Done():
		p.discard()
		return nil, true, ctx.Err()
	case <-tick:
		return nil, false, nil
	}
}

func (p *prefetch) discard() {
	if p == nil {
		return
	}
	p.stop()
	<-p.done
	p.out.release()
	p.out = nil
}

func (l *landing) commit(ctx context.Context, a Commit) (Event, error) {
	if a.Metadata.To == 0 && !a.Metadata.Gap {
		crash.Point("before-final-commit")
	}
	err := l.service.cfg.Client.Commit(ctx, l.gen, l.id.topic, l.id.partition, a.Offset, a.Metadata.Encode())
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return CommitLost{Err: err}, nil
	}
	if a.Metadata.To > 0 {
		crash.Point("intent")
	}
	return Committed{}, nil
}

// token names a flush's block for one table (L3).
func (l *landing) token(table, suffix string) string {
	f := l.state.Flush
	parts := []string{l.id.topic, fmt.Sprint(l.id.partition), f.After.Incarnation, fmt.Sprintf("%d-%d", f.From, f.To), table}
	if suffix != "" {
		parts = append(parts, suffix)
	}
	return strings.Join(parts, "/")
}

func (l *landing) flushRange() warehouse.Range {
	f := l.state.Flush
	return warehouse.Range{Topic: l.id.topic, Partition: int32(l.id.partition), Incarnation: f.After.Incarnation, From: f.From, To: f.To}
}

func (l *landing) insert(ctx context.Context, a Insert) (Event, error) {
	p := l.content.tables[a.Table]
	suffix := ""
	if a.Second {
		suffix = "second"
	}
	_, err := retry(ctx, l, "insert into "+p.schema.Name, func() (struct{}, error) {
		return struct{}{}, l.put(ctx, p, p.records, p.rows, l.token(p.schema.Name, suffix), a.Ask)
	})
	if err == nil {
		crash.Point("inserted")
	}
	return l.outcome(ctx, p, err, Inserted{})
}

// put inserts records as one block. With ask it inserts only the rows that are not there.
func (l *landing) put(ctx context.Context, p *part, records []arrow.Record, rows int, token string, ask bool) error {
	if rows == 0 {
		return nil
	}
	w := l.service.cfg.Warehouse
	if !ask {
		return w.Insert(ctx, warehouse.Insert{Table: p.schema.TableName(), Token: token, Records: records, Rows: rows})
	}
	missing, err := w.Missing(ctx, p.schema, l.flushRange(), records)
	if err != nil {
		return err
	}
	var chosen []arrow.Record
	defer func() {
		for _, r := range chosen {
			r.Release()
		}
	}()
	n := 0
	for i, rows := range missing {
		if len(rows) == 0 {
			continue
		}
		r, err := takeRows(l.service.cfg.Allocator, records[i], rows)
		if err != nil {
			return err
		}
		chosen = append(chosen, r)
		n += len(rows)
	}
	if n == 0 {
		return nil
	}
	return w.Insert(ctx, warehouse.Insert{Table: p.schema.TableName(), Token: token, Records: chosen, Rows: n})
}

// outcome sorts an error of a table: what may pass was already waited for; the rest holds the table's rows (L4), and the
// other tables go on.
func (l *landing) outcome(ctx context.Context, p *part, err error, ok Event) (Event, error) {
	switch {
	case err == nil:
		return ok, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	l.log.Error("the table does not take the rows; they are held", "table", p.schema.Name, "from", l.state.Flush.From, "to", l.state.Flush.To, "error", err)
	p.held = err
	return Refused{Err: err}, nil
}

func (l *landing) check(ctx context.Context, a Check) (Event, error) {
	p := l.content.tables[a.Table]
	if p.rows == 0 {
		return Checked{Complete: true}, nil
	}
	complete, err := retry(ctx, l, "look for the rows in "+p.schema.Name, func() (bool, error) {
		ok, err := l.service.cfg.Warehouse.Landed(ctx, p.schema.TableName(), l.flushRange(), l.since, p.expected)
		if err != nil || ok {
			return ok, err
		}
		// Rows of one key may already have been merged into one; the full question tells them from lost ones.
		missing, err := l.service.cfg.Warehouse.Missing(ctx, p.schema, l.flushRange(), p.records)
		for _, rows := range missing {
			if len(rows) > 0 {
				return false, err
			}
		}
		return err == nil, err
	})
	if err == nil && complete && a.Table+1 < len(l.content.tables) {
		crash.Point("between-tables")
	}
	return l.outcome(ctx, p, err, Checked{Complete: complete})
}

// remove inserts tombstones for the rows that replaced content no longer has.
func (l *landing) remove(ctx context.Context, a Remove) (Event, error) {
	p := l.content.tables[a.Table]
	_, err := retry(ctx, l, "remove replaced rows from "+p.schema.Name, func() (struct{}, error) {
		for i := range l.content.replaced {
			if r := &l.content.replaced[i]; r.table == p.schema.Name {
				if err := l.tombstones(ctx, p, r); err != nil {
					return struct{}{}, err
				}
			}
		}
		return struct{}{}, nil
	})
	return l.outcome(ctx, p, err, Removed{})
}

func (l *landing) tombstones(ctx context.Context, p *part, r *replacement) error {
	mem := l.service.cfg.Allocator
	r.deleted = 0
	if stands, err := l.stands(ctx, p, r); err != nil || stands {
		return err
	}
	next := r.index
	gone := l.service.cfg.Warehouse.Gone(ctx, p.schema, warehouse.GoneQuery{
		Source: r.source, Stream: r.stream, Shard: r.shard, Before: r.before, Range: l.flushRange(), Offset: r.offset,
	})
	for keys, err := range gone {
		if err != nil {
			return err
		}
		n := int(keys.NumRows())
		per := perRow{index: make([]uint32, n), deleted: make([]bool, n)}
		for i := range n {
			per.index[i], per.deleted[i] = next+uint32(i), true
		}
		var kept shared
		rec := withLineage(mem, keys, r.origin, per, &kept)
		kept.release() // the record has what it needs
		token := l.token(p.schema.Name, fmt.Sprintf("gone/%d/%d", r.offset, next))
		err := l.put(ctx, p, []arrow.Record{rec}, n, token, true)
		if err == nil {
			err = l.tombstonesThere(ctx, p, rec, token)
		}
		rec.Release()
		if err != nil {
			return err
		}
		next += uint32(n)
		r.deleted += int64(n)
	}
	return nil
}

// stands reports that what a shard brought before is to stay although its content was replaced: nothing of the new content could
// be loaded, and some of it is in quarantine. A column that went away or changed its type must not empty a table; the next
// content of which anything can be loaded replaces both.
func (l *landing) stands(ctx context.Context, p *part, r *replacement) (bool, error) {
	if r.yield.loaded > 0 || r.yield.quarantined == 0 {
		return false, nil
	}
	// Earlier flushes may have loaded some of it.
	some, err := l.service.cfg.Warehouse.Brought(ctx, p.schema.TableName(), r.source, r.stream, r.shard, r.before)
	if err != nil || some {
		return false, err
	}
	l.log.Warn("nothing of the new content could be loaded; it replaces nothing", "source", r.source, "stream", r.stream, "shard", r.shard, "quarantined", r.yield.quarantined)
	return true, nil
}

// tombstonesThere reads back (L5), and sends what is missing under a second token.
func (l *landing) tombstonesThere(ctx context.Context, p *part, rec arrow.Record, token string) error {
	if err := l.put(ctx, p, []arrow.Record{rec}, int(rec.NumRows()), token+"/second", true); err != nil {
		return err
	}
	missing, err := l.service.cfg.Warehouse.Missing(ctx, p.schema, l.flushRange(), []arrow.Record{rec})
	if err != nil {
		return err
	}
	for _, rows := range missing {
		if len(rows) > 0 {
			return fmt.Errorf("table %s: %w", p.schema.Name, errStillMissing)
		}
	}
	return nil
}

// record writes quarantine and ledger (L6): the quarantine first, so that an account never counts rows that are nowhere.
func (l *landing) record(ctx context.Context) (Event, error) {
	w := l.service.cfg.Warehouse
	_, err := retry(ctx, l, "write quarantine and ledger", func() (struct{}, error) {
		attempt := attemptAt(time.Now())
		if l.content != nil {
			if err := w.WriteUndecodable(ctx, l.token("undecodable", attempt), l.content.undecodable); err != nil {
				return struct{}{}, err
			}
			if len(l.content.quarantine) > 0 {
				if err := w.WriteQuarantine(ctx, l.token("quarantine", attempt), l.content.quarantine); err != nil {
					return struct{}{}, err
				}
			}
			for _, r := range l.content.replaced {
				if err := w.Supersede(ctx, r.source, r.stream, r.shard, r.before); err != nil {
					return struct{}{}, err
				}
			}
			if err := l.close(ctx); err != nil {
				return struct{}{}, err
			}
		}
		crash.Point("before-ledger")
		return struct{}{}, w.WriteLedger(ctx, l.token("ledger", attempt), l.ledger())
	})
	if err != nil {
		return nil, err
	}
	l.report()
	return Recorded{}, nil
}

// attemptAt makes a token that no other attempt at writing an account has. Quarantine and ledger are not read back as tables are
// (L5), so that a token which the server remembers, of an attempt that it lost or that a restored warehouse does not have, must
// not make it drop a later one. Their keys make a repeat harmless.
func attemptAt(now time.Time) string { return fmt.Sprintf("attempt/%d", now.UnixNano()) }

// close marks quarantined rows as replayed, now that their replay is loaded or quarantined anew.
func (l *landing) close(ctx context.Context) error {
	type asking struct{ by, why string }
	ids, to := map[asking][]string{}, map[asking][]string{}
	for _, c := range l.content.closed {
		a := asking{cmp.Or(c.by, "loader"), cmp.Or(c.why, "replayed under the present mapping")}
		ids[a], to[a] = append(ids[a], c.id), append(to[a], c.to)
	}
	for a := range ids {
		if err := l.service.cfg.Warehouse.SetQuarantineStatus(ctx, ids[a], warehouse.QuarantineReplayed, a.by, a.why, to[a]); err != nil {
			return err
		}
	}
	return nil
}

// ledger makes the flush's account: a line for the flush itself, the checkpoint, and one per source, stream, shard, run and
// schema.
func (l *landing) ledger() []warehouse.LedgerRow {
	f := l.state.Flush
	kind := "flush"
	if f.Gap {
		kind = "gap"
	}
	incarnation := f.After.Incarnation
	if f.Gap {
		incarnation = f.State.Incarnation
	}
	base := warehouse.LedgerRow{
		Topic: l.id.topic, Partition: int32(l.id.partition), Incarnation: incarnation, From: f.From, To: f.To,
		Epoch: f.After.Epoch, Next: f.After.Next, StateIncarnation: f.After.Incarnation, Kind: kind, Shape: f.Shape, LoadedAt: clock.Now().UTC(), CursorOffset: -1,
	}
	whole := base
	var rows []warehouse.LedgerRow
	if c := l.content; c != nil {
		whole.Messages, whole.VoidMessages, whole.ForeignMessages = c.messages, c.void, c.foreign
		held := map[string]bool{}
		for _, p := range c.tables {
			held[p.schema.Name] = p.held != nil
		}
		deleted := map[account]int64{}
		for _, r := range c.replaced {
			deleted[r.account] += r.deleted
		}
		for a, line := range c.accounts {
			row := *line
			row.Topic, row.Partition, row.Incarnation, row.From, row.To = base.Topic, base.Partition, base.Incarnation, base.From, base.To
			row.Epoch, row.Next, row.StateIncarnation, row.Kind, row.Shape, row.LoadedAt = base.Epoch, base.Next, base.StateIncarnation, kind, base.Shape, base.LoadedAt
			row.Deleted += deleted[a]
			if held[a.schema] {
				row.Held += row.Loaded
				row.Loaded, row.Records, row.Warnings, row.Deleted = 0, 0, 0, 0
			}
			rows = append(rows, row)
		}
	}
	return append(rows, whole)
}

func (l *landing) report() {
	if l.service.cfg.Progress == nil || l.content == nil {
		return
	}
	for _, r := range l.ledger() {
		if r.Source != "" {
			l.service.cfg.Progress(r.Source, Counts{
				Extracted: r.Extracted, Loaded: r.Loaded, Duplicate: r.Duplicate, Quarantined: r.Quarantined,
				Filtered: r.Filtered, Held: r.Held, Records: r.Records, Deleted: r.Deleted,
			})
		}
	}
}
