package load

import (
	"cmp"
	"math/bits"

	"github.com/headwater-data/headwater/pipeline/ingest"
	"github.com/headwater-data/headwater/pipeline/message"
)

// writer is one process that writes the partition: ingest.Writer, which is the production step function, and what
// ingest.Partition and its callers do around it.
type writer struct {
	alive   bool // has claimed or is about to; a process that does not hold the partition is not
	step    ingest.Writer
	todo    ingest.Action // the one action under way, nil when it waits
	dirty   [3]marker     // written, not yet indexed
	again   bool          // must take over again before anything else
	stopped bool
	why     error
}

func (p writer) encode(b []byte) []byte {
	b = truth(truth(truth(b, p.alive), p.again), p.stopped)
	b = small(b, int8(p.step.Phase), int8(p.step.First), int8(p.step.Read), int8(p.step.Last), int8(p.step.Target))
	b = state(b, p.step.Log)
	for i := range shardKeys {
		b = p.dirty[i].encode(b)
		b = positionOf(p.step.Cursors[shardKeys[i]]).encode(b)
	}
	if p.step.Pending != nil {
		b = append(b, p.step.Pending.Shard...)
		b = append(b, p.step.Pending.Cursor...)
	}
	switch a := p.todo.(type) {
	case ingest.SendClaim:
		b = truth(append(append(b, 1), a.Incarnation...), a.Continues)
	case ingest.SendBatch:
		b = number(append(append(b, 2), a.Incarnation...), a.Epoch, a.Sequence)
	case ingest.ReadLog:
		b = number(append(b, 3), a.From, a.To)
	default:
		b = append(b, 4)
	}
	return b
}

func positionOf(p ingest.Position) marker {
	return marker{offset: int8(p.Offset), epoch: int8(p.Epoch), seq: int8(p.Sequence), k: cursorNumber(p.Cursor)}
}

func (p marker) known() ingest.Position {
	return ingest.Position{Offset: int64(p.offset), Epoch: int64(p.epoch), Sequence: int64(p.seq), Cursor: cursors[p.k]}
}

// writerSteps gives the steps of one writer.
func (w *world) writerSteps(i int, yield func(taken, *world)) {
	p := &w.writers[i]
	if p.stopped {
		return
	}
	if p.alive && w.crashes > 0 {
		to := w.clone()
		spend(&to.crashes)
		to.writers[i] = writer{}
		yield(say("writer %d dies", i), to)
	}
	if !p.alive || p.again {
		switch {
		case int(w.holder) == i:
			to := w.clone()
			to.takeOver(i)
			yield(say("writer %d gathers what is known and is to claim: %+v", i, to.writers[i].todo), to)
		case p.again && w.claims > 0:
			to := w.clone()
			spend(&to.claims)
			to.takeOver(i)
			yield(say("writer %d, which does not know yet that it holds the partition no longer, is to claim: %+v", i, to.writers[i].todo), to)
		}
		return
	}
	switch a := p.todo.(type) {
	case nil:
		w.idleWriter(i, yield)
	case ingest.SendClaim:
		w.send(i, record{kind: claim, incarnation: incarnationNumber(a.Incarnation), continues: a.Continues}, yield)
	case ingest.SendBatch:
		shard := shardNumber(p.step.Pending.Shard)
		r := record{kind: data, incarnation: incarnationNumber(a.Incarnation), epoch: int8(a.Epoch), seq: int8(a.Sequence), shard: shard, k: cursorNumber(p.step.Pending.Cursor) - 1}
		w.send(i, r, yield)
	case ingest.ReadLog:
		to := w.clone()
		to.read(i, a)
		yield(say("writer %d reads offsets %d to %d and is %s", i, a.From, a.To, to.writers[i].step.Phase), to)
	}
}

func shardNumber(key string) int8 {
	for i, k := range shardKeys {
		if k == key {
			return int8(i)
		}
	}
	panic("no shard " + key)
}

// idleWriter: the next batch of any shard, an entry of the index, or a look at the log (W6).
func (w *world) idleWriter(i int, yield func(taken, *world)) {
	p := &w.writers[i]
	for shard, batches := range w.sc.source {
		k := cursorNumber(p.step.Cursors[shardKeys[shard]].Cursor)
		if int(k) >= len(batches) {
			continue
		}
		to := w.clone()
		to.feed(i, ingest.Asked{Pending: ingest.Pending{Shard: shardKeys[shard], Cursor: cursors[k+1]}})
		if w.sc.rule == "W5" {
			pos := marker{offset: int8(p.step.Last + 1), epoch: int8(p.step.Log.Epoch), seq: int8(p.step.Log.Next), k: k + 1}
			to.enter(entry{incarnation: incarnationNumber(p.step.Log.Incarnation), shard: int8(shard), marker: pos})
		}
		yield(say("writer %d is to write batch %d of shard %s", i, k, shardNames[shard]), to)
	}
	if p.dirty != ([3]marker{}) {
		var entries []entry
		for shard, pos := range p.dirty {
			if pos.k > 0 {
				entries = append(entries, entry{incarnationNumber(p.step.Log.Incarnation), int8(shard), pos})
			}
		}
		to := w.clone()
		to.enter(entries...)
		to.writers[i].dirty = [3]marker{}
		yield(say("writer %d enters %+v in the index", i, entries), to)
		if w.sc.stale && w.lates > 0 {
			to := w.clone()
			spend(&to.lates)
			to.lateIndex = with(w.lateIndex, entries)
			yield(say("writer %d sends %+v to the index; no answer", i, entries), to)
		}
	}
	if w.sc.rule != "W6" {
		to := w.clone()
		looked := ingest.Looked{First: int64(w.first), Next: int64(w.next()), Incarnation: w.incarnation(p.step.Log.Incarnation)}
		if w.sc.rule == "W8 look" {
			looked.First = min(looked.First, p.step.First)
		}
		to.feed(i, looked)
		if to.writers[i].again || to.writers[i].stopped {
			yield(say("writer %d looks at the log, which is another one", i), to)
		}
	}
}

// send appends a record: it lands, or its answer is lost and it lands, now or late, and is sent again (W3).
func (w *world) send(i int, r record, yield func(taken, *world)) {
	again := func(to *world) {
		if r.kind == data && w.sc.rule == "W3" {
			to.writers[i].todo = ingest.SendBatch{Incarnation: incarnations[r.incarnation], Epoch: int64(r.epoch), Sequence: int64(r.seq) + 1}
			return
		}
		to.feed(i, ingest.Unanswered{})
	}
	to := w.clone()
	o := to.put(r)
	if r.kind == claim {
		to.feed(i, ingest.Claimed{Offset: int64(o)})
	} else {
		if w.sc.rule == "W4" {
			to.writers[i].step.Last = int64(o) - 1
		}
		answered := ingest.Answered{Offset: int64(o), First: int64(to.first)}
		if w.sc.rule == "W8 look" {
			answered.First = 0
		}
		to.feed(i, answered)
	}
	yield(say("writer %d sends %+v, which lands at offset %d", i, r, o), to)
	if w.unheard > 0 {
		to := w.clone()
		spend(&to.unheard)
		to.put(r)
		again(to)
		yield(say("writer %d sends %+v, which lands at offset %d; no answer", i, r, o), to)
	}
	if w.lates > 0 {
		to := w.clone()
		spend(&to.lates)
		to.lateRecords = with(w.lateRecords, r)
		again(to)
		yield(say("writer %d sends %+v, which is under way; no answer", i, r), to)
	}
}

// takeOver is Partition.TakeOver up to the claim.
func (w *world) takeOver(i int) {
	e := ingest.Assigned{First: int64(w.first), Next: int64(w.next()), Fresh: incarnations[w.fresh+1]}
	known := ""
	if e.First > 0 {
		lives := map[string]bool{}
		if k := w.ledgerKnown(); k != nil {
			known = k.State.Incarnation
			for _, l := range w.ledger {
				lives[l.after.Incarnation] = true
			}
		}
		if newer := w.newestIndexed(lives); newer != "" {
			known = newer
		}
	}
	e.Incarnation = w.incarnation(known)
	e.Index = w.known(cmp.Or(e.Incarnation, known))
	if e.Index != nil && (e.Index.Offset > e.Next || e.First == 0 && e.Incarnation == "") {
		e.Index = nil
	}
	if e.Index == nil || e.First > 0 {
		e.Checkpoint = w.ledgerKnown()
	}
	switch w.sc.rule {
	case "W2 index":
		if e.Index != nil && e.Index.Offset < e.First {
			e.Index.Offset = e.First
			e.First, e.Incarnation = 0, e.Index.State.Incarnation
		}
	case "W2 checkpoint":
		e.Checkpoint = nil
	case "W8 index":
		if e.Index != nil && e.Index.Offset >= e.First {
			e.First, e.Incarnation = 0, e.Index.State.Incarnation
		}
	case "W6":
		if e.Index = w.known(w.newestIndexed(nil)); e.Index != nil {
			e.Incarnation = e.Index.State.Incarnation
		}
	}
	p := &w.writers[i]
	p.alive, p.again = true, false
	w.feed(i, e)
	p.step.First = int64(w.first)
	if c, ok := p.todo.(ingest.SendClaim); ok {
		if w.sc.rule == "W1" {
			c.Incarnation = e.Fresh
			p.todo = c
		}
		if c.Incarnation == e.Fresh {
			w.fresh = min(w.fresh+1, int8(len(incarnations)-2))
		}
	}
}

// read is Partition.read: it fails when the log does not hold the range.
func (w *world) read(i int, a ingest.ReadLog) {
	p := &w.writers[i]
	if a.From < int64(w.first) || a.To >= int64(w.next()) {
		p.step, _ = p.step.Step(ingest.Revoked{})
		p.todo, p.again = nil, true
		return
	}
	p.todo = nil
	for o := a.From; o <= a.To && !p.again && !p.stopped; o++ {
		r := w.log[o]
		e := ingest.Saw{Offset: o, Foreign: r.kind == foreign}
		if r.kind != foreign {
			e.Header = r.header()
		}
		if w.sc.rule == "W2 void" && e.Header.Kind == message.Batch && p.step.Phase == ingest.Recovering {
			shard := ingest.ShardKey("s", "t", e.Header.Shard)
			p.step.Cursors = map[string]ingest.Position{shardKeys[0]: p.step.Cursors[shardKeys[0]], shardKeys[1]: p.step.Cursors[shardKeys[1]]}
			p.step.Cursors[shard] = ingest.Position{Offset: o, Epoch: e.Header.Epoch, Sequence: e.Header.Sequence, Cursor: e.Header.Cursor}
		}
		w.feed(i, e)
	}
}

// feed gives the writer an event and takes its actions, as Partition.step does.
func (w *world) feed(i int, e ingest.Event) {
	p := &w.writers[i]
	var actions []ingest.Action
	was := p.step.Phase
	p.step, actions = p.step.Step(e)
	if _, saw := e.(ingest.Saw); !saw {
		p.todo = nil
	}
	for _, a := range actions {
		switch a := a.(type) {
		case ingest.Written:
			w.written(i, a)
		case ingest.ClaimAgain:
			p.todo, p.again, p.dirty = nil, true, [3]marker{}
		case ingest.Stop:
			p.todo, p.stopped, p.why = nil, true, a.Err
		default:
			p.todo = a
		}
	}
	if was == ingest.Recovering && p.step.Phase == ingest.Ready {
		p.dirty = [3]marker{}
		for shard, key := range shardKeys {
			p.dirty[shard] = positionOf(p.step.Cursors[key])
		}
	}
}

// written looks whether a batch that is called written is in the log, and valid there (W4).
func (w *world) written(i int, a ingest.Written) {
	shard := shardNumber(a.Shard)
	w.writers[i].dirty[shard] = positionOf(a.Position)
	if w.life > 0 {
		return // a batch that is sent while the topic is deleted may be called written; looking at the log mends it (W6)
	}
	at := message.Origin()
	for o := int64(0); o < int64(w.next()); o++ {
		r := w.log[o]
		if r.kind == foreign {
			continue
		}
		after, verdict := at.Step(r.header(), o)
		at = after
		if o == a.Position.Offset {
			if verdict != message.Valid || r.shard != shard || r.k+1 != cursorNumber(a.Position.Cursor) {
				w.violated("writer %d takes batch %d of shard %s for written, but at offset %d it is %s", i, cursorNumber(a.Position.Cursor)-1, shardNames[shard], o, verdict)
			}
			return
		}
	}
	w.violated("writer %d takes a batch for written at offset %d, where nothing is", i, a.Position.Offset)
}

// enter is Index.apply: of a shard the entry with the highest offset counts, as entries of several epochs have keys of their own.
func (w *world) enter(entries ...entry) {
	index := with(w.index[:0:0], w.index...)
	for _, e := range entries {
		found := false
		for i, old := range index {
			if old.incarnation == e.incarnation && old.shard == e.shard {
				found = true
				if e.offset >= old.offset || w.sc.rule == "index" {
					index[i] = e
				}
			}
		}
		if !found {
			index = append(index, e)
		}
	}
	w.index = index
}

// known is Index.Known.
func (w *world) known(incarnation string) *ingest.Known {
	newest := -1
	for i, e := range w.index {
		if incarnations[e.incarnation] != incarnation || e.seq < 0 {
			continue
		}
		if newest < 0 || e.offset > w.index[newest].offset {
			newest = i
		}
	}
	if newest < 0 {
		return nil
	}
	n := w.index[newest]
	k := &ingest.Known{Offset: int64(n.offset) + 1, State: message.State{Incarnation: incarnations[n.incarnation], Epoch: int64(n.epoch), Next: int64(n.seq) + 1}, Cursors: map[string]ingest.Position{}}
	for _, e := range w.index {
		if e.incarnation == n.incarnation {
			k.Cursors[shardKeys[e.shard]] = e.known()
		}
	}
	return k
}

// newestIndexed is Index.Newest; incarnations are numbered as they come.
func (w *world) newestIndexed(without map[string]bool) string {
	newest := int8(0)
	for _, e := range w.index {
		if !without[incarnations[e.incarnation]] {
			newest = max(newest, e.incarnation)
		}
	}
	return incarnations[newest]
}

// ledgerKnown is what pipeline/session.go tells a writer of the loader's checkpoint.
func (w *world) ledgerKnown() *ingest.Known {
	c, ok := w.checkpoint()
	if !ok {
		return nil
	}
	k := &ingest.Known{Offset: int64(c.to), State: c.after, Cursors: map[string]ingest.Position{}}
	for shard, p := range w.ledgerCursors(c.after.Incarnation) {
		if p.k > 0 {
			k.Cursors[shardKeys[shard]] = ingest.Position{Offset: min(int64(p.offset), int64(c.to)-1), Sequence: -1, Cursor: cursors[p.k]}
		}
	}
	return k
}

// loadedIdeally and loadIdeally stand for loaders in scenarios that are about writers: at any time they load all that is there.
func (w *world) loadedIdeally() int8 {
	c, ok := w.checkpoint()
	if !ok || c.after.Incarnation != w.ghost.Incarnation {
		return 0
	}
	return c.to
}

func (w *world) loadIdeally() {
	from := w.loadedIdeally()
	l := line{incarnation: incarnationNumber(w.ghost.Incarnation), from: from, to: w.next(), after: w.ghost}
	at := message.Origin()
	for o := int8(0); o < w.next(); o++ {
		r := w.log[o]
		after, verdict := at.Step(r.header(), int64(o))
		at = after
		if verdict == message.Valid && o >= from {
			rows := set(w.rowsOf(r))
			l.loaded |= rows
			l.extracted[0] += int8(bits.OnesCount64(rows))
			l.cursors[r.shard] = marker{o, r.epoch, r.seq, r.k + 1}
		}
	}
	w.ledger = with(w.ledger, l)
}
