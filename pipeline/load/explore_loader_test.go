package load

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/headwater-data/headwater/pipeline/message"
)

// Where the process of a loader stands; what it does while it runs is the production Loader's phase.
const (
	away      = iota // no member of the group, or a process that does not run
	joined           // has a generation and knows nothing yet
	located          // has read the committed offset (L1)
	repairing        // loads what was held (L4)
	running
	halted // stopped until its generation ends
)

// loader is one process that loads the partition: Loader, which is the production step function, and what landing does around it.
type loader struct {
	phase      int8
	generation int8
	shape      int8 // the mapping that the process has
	committed  offsetCommit
	assigned   Assigned
	step       Loader
	todo       []Action
	content    *flushed
	ahead      *flushed
	asked      bool     // the table was asked which rows are missing
	missing    uint64   // which it said
	account    int8     // how much of the account is written: quarantine, closed rows, ledger
	between    Loader   // the flush between which and the next it repairs, and what comes then
	then       []Action // nil when it repairs before anything else
	repaired   bool
	repairs    []line // held flushes still to be repaired, the first one at work
	why        error
}

// flushed is content: what a range of offsets becomes.
type flushed struct {
	from, to             int8
	after                message.State
	shape                int8
	rows                 [2]uint64 // by table
	tables               []int8
	loaded               uint64
	quarantine           []quarantined
	closed               []quarantined
	duplicate, extracted [2]int8
	cursors              [3]marker
	held                 [2]bool
	keeps                uint64 // rows that a repair leaves as quarantined
	only                 uint64 // rows that a repair is about, 0 for all
}

func (c *flushed) encode(b []byte) []byte {
	if c == nil {
		return append(b, 0)
	}
	b = small(b, 1, c.from, c.to, c.shape, c.duplicate[0], c.duplicate[1])
	b = number(b, int64(c.rows[0]), int64(c.rows[1]), int64(c.loaded), int64(c.keeps))
	b = append(b, byte(len(c.quarantine)))
	for _, q := range c.quarantine {
		b = q.encode(b)
	}
	b = append(b, byte(len(c.closed)))
	for _, q := range c.closed {
		b = q.encode(b)
	}
	return state(truth(truth(b, c.held[0]), c.held[1]), c.after)
}

func (l *loader) encode(b []byte, current int8) []byte {
	b = truth(small(b, l.phase, l.shape, l.account), l.generation == current)
	b = l.committed.encode(b)
	if l.phase == repairing {
		b = number(state(encodeMetadata(b, l.assigned.Metadata), l.step.State), l.assigned.Offset, l.assigned.First, l.assigned.Reach)
		b = append(b, l.assigned.Incarnation...)
		if c := l.assigned.Ledger; c != nil {
			b = state(number(b, c.To), c.State)
		}
	}
	s := l.step
	b = small(b, int8(s.Phase), int8(s.At), int8(s.AskUntil), int8(s.Table))
	b = truth(truth(state(b, s.State), s.Ask), s.Second)
	b = small(state(state(b, s.Flush.State), s.Flush.After), int8(s.Flush.From), int8(s.Flush.To))
	b = append(truth(b, s.Flush.Gap), s.shape...)
	for _, t := range s.Tables {
		b = truth(b, t.Held)
	}
	b = append(b, byte(len(l.todo)))
	for _, a := range l.todo {
		switch a := a.(type) {
		case Collect:
			b = state(append(append(b, 1, byte(a.From), byte(a.To)), a.Shape...), a.State)
		case Commit:
			b = encodeMetadata(append(b, 2, byte(a.Offset)), a.Metadata)
		case Insert:
			b = truth(truth(append(b, 3, byte(a.Table)), a.Ask), a.Second)
		case Check:
			b = append(b, 4, byte(a.Table))
		case Record:
			b = append(b, 5)
		case Leave:
			b = append(b, 6)
		}
	}
	b = l.ahead.encode(l.content.encode(b))
	b = truth(truth(b, l.repaired), l.then != nil)
	if l.then != nil {
		c := l.then[0].(Collect)
		b = state(append(b, byte(c.From), byte(l.between.AskUntil)), c.State)
	}
	b = append(truth(number(b, int64(l.missing)), l.asked), byte(len(l.repairs)))
	for _, r := range l.repairs {
		b = append(b, byte(r.incarnation), byte(r.from))
	}
	return b
}

var shapes = [...]string{"first", "mended"}

// loaderSteps gives the steps of one loader.
func (w *world) loaderSteps(i int, yield func(taken, *world)) {
	l := &w.loaders[i]
	if l.phase != away {
		if w.crashes > 0 {
			to := w.clone()
			spend(&to.crashes)
			to.loaders[i] = loader{shape: w.present}
			yield(say("loader %d dies", i), to)
		}
		if l.generation != w.generation {
			to := w.clone()
			to.loaders[i] = loader{shape: l.shape}
			yield(say("loader %d hears that its generation has ended", i), to)
		}
	}
	switch l.phase {
	case away:
		if int(w.owner) == i || w.owner < 0 {
			to := w.clone()
			to.begin(int8(i))
			shape := l.shape
			to.loaders[i] = loader{phase: joined, generation: to.generation, shape: shape}
			yield(say("loader %d joins the group and is given the partition", i), to)
		}
	case joined:
		to := w.clone()
		to.loaders[i].committed, to.loaders[i].phase = w.committed, located
		yield(say("loader %d reads the committed offset: %+v", i, w.committed), to)
	case located:
		to := w.clone()
		to.locate(i)
		yield(say("loader %d reads ledger and log and is to %+v", i, to.loaders[i].todo), to)
	case repairing:
		w.repairSteps(i, yield)
	case running:
		w.act(i, yield)
	}
}

// locate is landing.locate after the committed offset, and the start of landing.run.
func (w *world) locate(i int) {
	l := &w.loaders[i]
	e := Assigned{Offset: -1, ContinueOnGap: w.sc.onGap, First: int64(w.first)}
	if l.committed.there {
		e.Offset, e.Metadata = int64(l.committed.offset), l.committed.metadata
	}
	c, known := w.checkpoint()
	of := e.Metadata.State.Incarnation
	if of == "" {
		of = c.after.Incarnation
	}
	e.Incarnation = w.incarnation(of)
	if known {
		e.Ledger = &Checkpoint{To: int64(c.to), State: c.after}
	}
	if !l.committed.there && e.Incarnation != "" {
		from := int8(0)
		if known && c.after.Incarnation == e.Incarnation {
			from = c.to
		}
		e.Reach = w.reach(from)
	}
	switch w.sc.rule {
	case "L9 earliest":
		if e.Offset < 0 {
			e.Ledger, e.Reach = nil, 0
		}
	case "L9 latest":
		if e.Offset < 0 && known {
			e.Offset, e.Metadata, e.Ledger = int64(w.next()), Metadata{State: w.ghost}, &Checkpoint{To: int64(w.next()), State: w.ghost}
		}
	case "L9 reach":
		e.Reach = 0
	case "L2":
		e.Metadata.To = 0
	case "L11":
		if e.Offset >= 0 {
			e.Ledger = &Checkpoint{To: e.Offset, State: e.Metadata.State}
		}
	case "L11 log":
		if e.behindTheLog() {
			e.Ledger = &Checkpoint{To: e.Offset, State: e.Metadata.State}
		}
	case "L10":
		if e.Offset >= 0 && e.Offset < e.First {
			e.Offset, e.Metadata = e.First, Metadata{State: message.Unknown(e.Metadata.State.Incarnation)}
			e.Ledger = &Checkpoint{To: e.Offset, State: e.Metadata.State}
		}
	}
	l.assigned = e
	if e.Metadata.To > 0 && !e.Metadata.Gap {
		w.start(i) // what was cut short is finished first
		return
	}
	w.repair(i)
	if l.phase != repairing {
		w.start(i)
	}
}

// repair begins the repair of what is held, if something is.
func (w *world) repair(i int) {
	l := &w.loaders[i]
	l.repaired = true
	l.repairs = nil
	for _, held := range w.ledger {
		if held.held != 0 {
			l.repairs = with(l.repairs, held)
		}
	}
	if len(l.repairs) > 0 && w.sc.rule != "L4 repair" {
		l.phase = repairing
	}
}

func (w *world) start(i int) {
	l := &w.loaders[i]
	if l.then != nil {
		l.phase, l.step, l.todo, l.then, l.between, l.content, l.ahead = running, l.between, l.then, nil, Loader{}, nil, nil
		return
	}
	e := l.assigned
	l.phase, l.assigned, l.repairs, l.step, l.content = running, Assigned{}, nil, Loader{}, nil
	w.tell(i, e)
}

// reach is Warehouse.Reach: rows say from which offset they came.
func (w *world) reach(from int8) int64 {
	reach := int64(0)
	at := message.Origin()
	for o := int8(0); o < w.next(); o++ {
		r := w.log[o]
		if r.kind == foreign {
			continue
		}
		after, verdict := at.Step(r.header(), int64(o))
		at = after
		if verdict != message.Valid || o < from || r.kind != data {
			continue
		}
		for t := range w.tables {
			if w.tables[t].rows&set(w.rowsOf(r)) != 0 {
				reach = int64(o) + 1
			}
		}
	}
	return reach
}

// tell gives the loader an event and takes its actions.
func (w *world) tell(i int, e Event) {
	l := &w.loaders[i]
	if c, ok := e.(Checked); ok && w.sc.rule == "L5" {
		c.Complete = true
		e = c
	}
	if _, ok := e.(Refused); ok && w.sc.rule == "L4 stop" {
		e = Broken{Err: errors.New("a table does not take rows")}
	}
	if _, ok := e.(Refused); ok && w.sc.rule == "L4 pass" {
		e = Inserted{}
		if l.step.Phase == Checking {
			e = Checked{Complete: true}
		}
	}
	if _, ok := e.(CommitLost); ok && w.sc.rule == "L8" && l.generation == w.generation {
		return // it is sent again
	}
	l.asked, l.missing, l.account = false, 0, 0
	l.step, l.todo = l.step.Step(e)
	var todo []Action
	for _, a := range l.todo {
		switch a := a.(type) {
		case StoreShape:
		case Stop:
			l.phase, l.why, l.todo = halted, a.Err, nil
			return
		case Commit:
			if w.sc.rule == "L7" && a.Metadata.To == 0 {
				a.Metadata.State = l.step.Flush.State
			}
			todo = append(todo, a)
		case Insert:
			if w.sc.rule == "L3 ask" {
				a.Ask = false
			}
			todo = append(todo, a)
		default:
			todo = append(todo, a)
		}
	}
	l.todo = todo
}

// act carries the loader's next action out, as landing.do does, in every way that it can go.
func (w *world) act(i int, yield func(taken, *world)) {
	l := &w.loaders[i]
	if len(l.todo) == 0 {
		return
	}
	if w.sc.ahead && l.content != nil && l.ahead == nil && l.content.to < w.next() && l.content.to >= w.first {
		for o := l.content.to + 1; o <= w.next() && (w.sc.flush == 0 || o-l.content.to <= w.sc.flush); o++ {
			to := w.clone()
			ahead, err := w.collect(Collect{From: int64(l.content.to), To: int64(o), State: l.content.after}, l.shape, l.content.closed, 0)
			if err != nil {
				continue
			}
			to.loaders[i].ahead = ahead
			yield(say("loader %d collects [%d, %d) ahead", i, ahead.from, ahead.to), to)
		}
	}
	switch a := l.todo[0].(type) {
	case Collect:
		w.collectSteps(i, a, yield)
	case Commit:
		w.commitSteps(i, a, yield)
	case Insert:
		w.insertSteps(i, a, yield)
	case Check:
		w.checkSteps(i, a, yield)
	case Record:
		w.recordSteps(i, yield)
	case Leave:
		to := w.clone()
		to.loaders[i] = loader{shape: l.shape}
		if int(w.owner) == i && l.generation == w.generation {
			to.begin(-1)
		}
		yield(say("loader %d leaves the group", i), to)
	default:
		panic(fmt.Sprintf("action %T", a))
	}
}

func (w *world) collectSteps(i int, a Collect, yield func(taken, *world)) {
	l := &w.loaders[i]
	if l.generation == w.generation && w.sc.rule != "W6" {
		to := w.clone()
		to.tell(i, Looked{First: int64(w.first), Next: int64(w.next()), Incarnation: w.incarnation(l.step.State.Incarnation)})
		if len(to.loaders[i].todo) != 1 || to.loaders[i].todo[0] != Action(a) {
			yield(say("loader %d looks at the log, which is another one", i), to)
		}
	}
	if a.To == 0 && !l.repaired {
		to := w.clone()
		n := &to.loaders[i]
		to.repair(i)
		if n.phase == repairing {
			n.between, n.then, n.todo, n.content, n.step, n.ahead = n.step, n.todo, nil, nil, Loader{}, nil
			yield(say("loader %d has finished what was cut short and looks for held rows", i), to)
			return
		}
		n.repaired = true
		to.loaderSteps(i, yield)
		return
	}
	if ahead := l.ahead; ahead != nil && a.To == 0 {
		to := w.clone()
		to.loaders[i].ahead = nil
		to.collected(i, ahead)
		yield(say("loader %d takes what it collected ahead: [%d, %d)", i, ahead.from, ahead.to), to)
		return
	}
	if a.From < int64(w.first) || a.From > int64(w.next()) {
		to := w.clone()
		to.tell(i, Looked{First: int64(w.first), Next: int64(w.next())})
		yield(say("loader %d finds that offset %d is not in the log", i, a.From), to)
		return
	}
	shape := l.shape
	if a.Shape == shapes[0] {
		shape = 0
	} else if a.Shape == shapes[1] {
		shape = 1
	}
	// A loader with nothing to do is restarted at some time, and repairs then what tables refused.
	if a.To == 0 && a.From == int64(w.next()) && l.generation == w.generation && w.mendable() && w.sc.rule != "L4 repair" {
		to := w.clone()
		to.loaders[i] = loader{shape: w.present}
		yield(say("loader %d is started again", i), to)
	}
	last := int64(w.next())
	if a.To > 0 {
		last = min(last, a.To)
	}
	for o := a.From + 1; o <= last && (w.sc.flush == 0 || a.To > 0 || o-a.From <= int64(w.sc.flush)); o++ {
		if a.To > 0 && o < a.To {
			continue
		}
		to := w.clone()
		with := shape
		if w.sc.rule == "L2 shape" {
			with = l.shape
		}
		c, err := w.collect(Collect{From: a.From, To: o, State: a.State}, with, nil, 0)
		if c != nil {
			c.shape = shape
		}
		looked := Looked{First: int64(w.first), Next: int64(w.next()), Incarnation: w.incarnation(l.step.State.Incarnation)}
		if next, _ := l.step.Step(looked); err != nil && next.Phase == Lost {
			to.tell(i, looked)
		} else if err != nil {
			to.tell(i, Broken{Err: err})
		} else {
			to.collected(i, c)
		}
		yield(say("loader %d collects [%d, %d) with the %s mapping", i, a.From, o, shapes[shape]), to)
	}
}

func (w *world) mendable() bool {
	for _, t := range w.tables {
		if t.refuses {
			return false
		}
	}
	for _, l := range w.ledger {
		if l.held != 0 {
			return true
		}
	}
	return false
}

func (w *world) collected(i int, c *flushed) {
	w.loaders[i].content = c
	e := Collected{To: int64(c.to), After: c.after, Shape: shapes[c.shape]}
	for _, t := range c.tables {
		e.Tables = append(e.Tables, Table{Name: fmt.Sprint(t)})
	}
	w.tell(i, e)
}

// collect is collector.collect: it folds records and maps rows. closing are the quarantined rows whose replay is landing.
func (w *world) collect(a Collect, shape int8, closing []quarantined, only uint64) (*flushed, error) {
	c := &flushed{from: int8(a.From), to: int8(a.To), after: a.State, shape: shape, only: only}
	for o := c.from; o < c.to; o++ {
		r := w.log[o]
		if r.kind == foreign {
			continue
		}
		h := r.header()
		after, verdict := c.after.Step(h, int64(o))
		b := w.rowsOf(r)
		if r.kind == replay {
			for _, row := range w.rowsOf(w.log[r.names]) {
				if row.bad&1 != 0 {
					b = append(b[:len(b):len(b)], row)
				}
			}
		}
		t := int8(0)
		if len(b) > 0 {
			t = b[0].table
		}
		switch verdict {
		case message.Gap:
			return nil, &message.GapError{Offset: int64(o), Got: h.Sequence, Want: c.after.Next, Epoch: h.Epoch}
		case message.Repeat, message.Void:
			c.extracted[t] += int8(len(b))
			c.duplicate[t] += int8(len(b))
		case message.Valid:
			if only != 0 && only&set(b) == 0 {
				break
			}
			c.batch(w, o, r, b, shape, closing)
		}
		c.after = after
	}
	return c, nil
}

func (c *flushed) batch(w *world, o int8, r record, b batch, shape int8, closing []quarantined) {
	t := int8(0)
	if len(b) > 0 {
		t = b[0].table
	}
	c.extracted[t] += int8(len(b))
	c.cursors[r.shard] = marker{o, r.epoch, r.seq, r.k + 1}
	if bits.OnesCount8(uint8(1<<t)) == 1 && !containsTable(c.tables, t) {
		c.tables = append(c.tables, t)
	}
	for _, row := range b {
		if r.kind == replay {
			named := quarantined{incarnation: r.incarnation, offset: r.names, row: row.id}
			if !w.open(named, o) || names(closing, named) || names(c.closed, named) {
				c.duplicate[t]++
				continue
			}
			named.to = o
			c.closed = append(c.closed, named)
		}
		here := quarantined{incarnation: r.incarnation, offset: o, row: row.id}
		if r.kind == data && c.only != 0 && names(w.quarantine, here) && !w.open(here, -1) {
			c.keeps |= 1 << row.id // it has left the quarantine otherwise
			continue
		}
		if row.bad&(1<<shape) != 0 {
			c.quarantine = append(c.quarantine, quarantined{incarnation: r.incarnation, offset: o, row: row.id})
			continue
		}
		c.rows[t] |= 1 << row.id
		c.loaded |= 1 << row.id
	}
}

func containsTable(tables []int8, t int8) bool {
	for _, have := range tables {
		if have == t {
			return true
		}
	}
	return false
}

func names(list []quarantined, q quarantined) bool {
	for _, have := range list {
		if have.incarnation == q.incarnation && have.offset == q.offset && have.row == q.row {
			return true
		}
	}
	return false
}

// open is Warehouse.OpenQuarantine for the message at an offset.
func (w *world) open(named quarantined, by int8) bool {
	for _, q := range w.quarantine {
		if q.incarnation == named.incarnation && q.offset == named.offset && q.row == named.row {
			return !q.replayed || q.to == by
		}
	}
	return false
}

func (w *world) store(c offsetCommit) {
	if w.committed.there && c.offset < w.committed.offset && c.metadata.State.Incarnation == w.committed.metadata.State.Incarnation && w.restores == w.sc.restores {
		w.violated("the committed offset goes back from %d to %d", w.committed.offset, c.offset)
	}
	if m := w.committed.metadata; w.committed.there && c.offset == w.committed.offset && m.To > 0 && c.metadata.To == 0 && !c.metadata.Gap && m.State == c.metadata.State {
		w.violated("a commit of %d erases the intent of [%d, %d)", c.offset, c.offset, m.To)
	}
	w.committed = c
}

func (w *world) commitSteps(i int, a Commit, yield func(taken, *world)) {
	l := &w.loaders[i]
	c := offsetCommit{there: true, offset: int8(a.Offset), metadata: a.Metadata, generation: l.generation}
	if w.sc.rule == "L1" {
		c.generation = w.generation
	}
	if c.generation != w.generation {
		to := w.clone()
		to.tell(i, CommitLost{Err: errors.New("refused")})
		yield(say("loader %d commits %d under a past generation and is refused", i, a.Offset), to)
		return
	}
	to := w.clone()
	to.store(c)
	to.tell(i, Committed{})
	yield(say("loader %d commits %d %s", i, a.Offset, a.Metadata.Encode()), to)
	if w.unheard > 0 {
		to := w.clone()
		spend(&to.unheard)
		to.store(c)
		to.tell(i, CommitLost{Err: errors.New("no answer")})
		yield(say("loader %d commits %d %s; no answer", i, a.Offset, a.Metadata.Encode()), to)
	}
	if w.lates > 0 {
		to := w.clone()
		spend(&to.lates)
		to.lateCommit = with(w.lateCommit, c)
		to.tell(i, CommitLost{Err: errors.New("no answer")})
		yield(say("loader %d commits %d %s, which is under way; no answer", i, a.Offset, a.Metadata.Encode()), to)
	}
}

// token is landing.token.
func (l *loader) token(second bool) token {
	f := l.step.Flush
	t := token{incarnation: incarnationNumber(f.After.Incarnation), from: int8(f.From), to: int8(f.To)}
	if second {
		t.second = 1
	}
	return t
}

// insertSteps is landing.insert and put: with Ask it asks first, then inserts what is missing.
func (w *world) insertSteps(i int, a Insert, yield func(taken, *world)) {
	l := &w.loaders[i]
	t := l.content.tables[a.Table]
	rows := l.content.rows[t]
	if rows == 0 {
		to := w.clone()
		to.happened(i, Inserted{})
		yield(say("loader %d has nothing for table %d", i, t), to)
		return
	}
	if a.Ask && !l.asked {
		to := w.clone()
		missing := rows &^ w.tables[t].rows
		if missing == 0 {
			to.happened(i, Inserted{})
		} else {
			to.loaders[i].asked, to.loaders[i].missing = true, missing
		}
		yield(say("loader %d asks table %d, which lacks rows %s", i, t, rowNames(missing)), to)
		return
	}
	if a.Ask {
		rows = l.missing
	}
	if w.tables[t].refuses {
		to := w.clone()
		to.hold(i, t)
		to.happened(i, Refused{Err: errors.New("refused")})
		yield(say("loader %d inserts into table %d, which refuses", i, t), to)
		return
	}
	ins := insertion{table: t, rows: rows, token: l.token(a.Second)}
	to := w.clone()
	to.land(ins, 0)
	to.happened(i, Inserted{})
	yield(say("loader %d inserts rows %s into table %d under %+v", i, rowNames(rows), t, ins.token), to)
	if w.unheard > 0 {
		to := w.clone()
		spend(&to.unheard)
		to.land(ins, 0)
		to.loaders[i].asked, to.loaders[i].missing = false, 0
		yield(say("loader %d inserts rows %s into table %d under %+v; no answer", i, rowNames(rows), t, ins.token), to)
	}
	if w.lates > 0 {
		to := w.clone()
		spend(&to.lates)
		to.late = with(w.late, ins)
		to.loaders[i].asked, to.loaders[i].missing = false, 0
		yield(say("loader %d inserts rows %s into table %d under %+v, which is under way; no answer", i, rowNames(rows), t, ins.token), to)
	}
	if w.forgets > 0 {
		for lose := uint8(1); lose < 4; lose++ {
			if lose&1 != 0 && rows&w.year(0) == 0 || lose&2 != 0 && rows&w.year(1) == 0 {
				continue
			}
			to := w.clone()
			spend(&to.forgets)
			to.land(ins, lose)
			to.happened(i, Inserted{})
			yield(say("loader %d inserts rows %s into table %d; the server notes the token and loses parts %b", i, rowNames(rows), t, lose), to)
		}
	}
}

func (w *world) hold(i int, t int8) {
	if w.sc.rule == "L4 pass" {
		return
	}
	c := *w.loaders[i].content
	c.held[t] = true
	w.loaders[i].content = &c
}

func (w *world) checkSteps(i int, a Check, yield func(taken, *world)) {
	l := &w.loaders[i]
	t := l.content.tables[a.Table]
	to := w.clone()
	if l.content.rows[t] != 0 && w.tables[t].refuses {
		to.hold(i, t)
		to.happened(i, Refused{Err: errors.New("refused")})
		yield(say("loader %d looks into table %d, which refuses", i, t), to)
		return
	}
	missing := l.content.rows[t] &^ w.tables[t].rows
	to.happened(i, Checked{Complete: missing == 0})
	yield(say("loader %d looks into table %d, which lacks rows %s", i, t, rowNames(missing)), to)
}

// happened gives an event of a table to the flush or to the repair.
func (w *world) happened(i int, e Event) {
	if w.loaders[i].phase == repairing {
		w.repaired(i, e)
		return
	}
	w.tell(i, e)
}

// recordSteps is landing.record: quarantine, closed rows, ledger, each a request of its own.
func (w *world) recordSteps(i int, yield func(taken, *world)) {
	l := &w.loaders[i]
	to := w.clone()
	switch c := l.content; {
	case c != nil && l.account == 0 && len(c.quarantine) > 0 && !l.step.Flush.Gap:
		to.quarantined(c.quarantine)
		to.loaders[i].account = 1
		yield(say("loader %d writes %d rows into quarantine", i, len(c.quarantine)), to)
	case c != nil && l.account < 2 && len(c.closed) > 0 && !l.step.Flush.Gap:
		to.close(c.closed)
		to.loaders[i].account = 2
		yield(say("loader %d closes %d rows of the quarantine", i, len(c.closed)), to)
	default:
		to.enterLedger(l.line())
		to.tell(i, Recorded{})
		yield(say("loader %d writes the account of [%d, %d)", i, l.step.Flush.From, l.step.Flush.To), to)
	}
}

func (w *world) quarantined(rows []quarantined) {
	for _, q := range rows {
		if !names(w.quarantine, q) {
			w.quarantine = with(w.quarantine, q)
		}
	}
}

func (w *world) close(rows []quarantined) {
	list := with(w.quarantine[:0:0], w.quarantine...)
	for i, q := range list {
		for _, r := range rows {
			if q.incarnation == r.incarnation && q.offset == r.offset && q.row == r.row {
				list[i].replayed, list[i].to = true, r.to
			}
		}
	}
	w.quarantine = list
}

// line is landing.ledger.
func (l *loader) line() line {
	f := l.step.Flush
	out := line{incarnation: incarnationNumber(f.After.Incarnation), from: int8(f.From), to: int8(f.To), after: f.After}
	if f.Gap {
		out.kind, out.incarnation = gapLine, incarnationNumber(f.State.Incarnation)
		return out
	}
	c := l.content
	out.duplicate, out.extracted, out.cursors = c.duplicate, c.extracted, c.cursors
	for t, held := range c.held {
		if held {
			out.held |= c.rows[t]
		} else {
			out.loaded |= c.rows[t]
		}
	}
	for _, q := range c.quarantine {
		out.quarantined |= 1 << q.row
	}
	out.quarantined |= c.keeps
	return out
}

func (w *world) enterLedger(l line) {
	list := with(w.ledger[:0:0], w.ledger...)
	if w.sc.rule != "L6" {
		for i, old := range list {
			if old.incarnation == l.incarnation && old.from == l.from {
				list = without(list, i)
				break
			}
		}
	}
	w.ledger = append(list, l)
}

// checkpoint is Warehouse.Checkpoint.
func (w *world) checkpoint() (line, bool) {
	if len(w.ledger) == 0 {
		return line{}, false
	}
	newest := w.ledger[len(w.ledger)-1]
	for _, l := range w.ledger {
		if l.after.Incarnation == newest.after.Incarnation && (l.to > newest.to || l.to == newest.to && l.from > newest.from) {
			newest = l
		}
	}
	return newest, true
}

// ledgerCursors are the newest cursors of all shards: those of the given life of the log before those of others.
func (w *world) ledgerCursors(incarnation string) (out [3]marker) {
	var of [3]bool
	for _, l := range w.ledger {
		mine := incarnations[l.incarnation] == incarnation
		for shard, c := range l.cursors {
			if c.k == 0 || of[shard] && !mine || of[shard] == mine && mine && c.offset < out[shard].offset {
				continue
			}
			out[shard], of[shard] = c, mine
		}
	}
	return out
}

// repairSteps is landing.repair: each held flush is collected again, inserted asking first, looked for, and recorded anew.
func (w *world) repairSteps(i int, yield func(taken, *world)) {
	l := &w.loaders[i]
	if len(l.todo) > 0 {
		switch a := l.todo[0].(type) {
		case Insert:
			if w.sc.rule == "L4 ask" {
				a.Ask = false
			}
			w.insertSteps(i, a, yield)
		case Check:
			w.checkSteps(i, a, yield)
		case Record:
			to := w.clone()
			to.recordRepair(i)
			yield(say("loader %d writes the account of the repair of [%d, %d)", i, l.step.Flush.From, l.step.Flush.To), to)
		}
		return
	}
	to := w.clone()
	if len(l.repairs) == 0 {
		to.start(i)
		yield(say("loader %d has nothing more to repair and is to %+v", i, to.loaders[i].todo), to)
		return
	}
	held := l.repairs[0]
	if held.from < w.first || held.to > w.next() {
		to.loaders[i].repairs = l.repairs[1:]
		yield(say("loader %d finds the held rows of [%d, %d) no longer in the log", i, held.from, held.to), to)
		return
	}
	at := w.stateAt(held)
	var only uint64
	for t := range w.tables {
		if held.held&w.ofTable(t) != 0 {
			only |= w.ofTable(t)
		}
	}
	c, err := w.collect(Collect{From: int64(held.from), To: int64(held.to), State: at}, l.shape, nil, only)
	if err != nil {
		to.violated("held rows cannot be read again: %v", err)
		yield(say("loader %d collects held rows", i), to)
		return
	}
	n := &to.loaders[i]
	n.content = c
	n.step = Loader{Ask: true, Flush: Flush{From: int64(held.from), To: int64(held.to), State: at, After: c.after}}
	n.todo = []Action{Record{}}
	if len(c.tables) > 0 {
		n.todo = []Action{Insert{Ask: true}}
	}
	yield(say("loader %d collects the held rows of [%d, %d) with the %s mapping", i, held.from, held.to, shapes[l.shape]), to)
}

func (w *world) ofTable(t int) (rows uint64) {
	for _, s := range w.sc.source {
		for _, b := range s {
			for _, r := range b {
				if int(r.table) == t {
					rows |= 1 << r.id
				}
			}
		}
	}
	return rows
}

// stateAt is Warehouse.stateAt.
func (w *world) stateAt(of line) message.State {
	for i := len(w.ledger) - 1; i >= 0; i-- {
		if l := w.ledger[i]; l.to == of.from && l.from != l.to && (l.after.Incarnation == incarnations[of.incarnation] || l.after.Incarnation == "") {
			return l.after
		}
	}
	return message.Origin()
}

// repaired goes on with a repair after an event of the table at work.
func (w *world) repaired(i int, e Event) {
	l := &w.loaders[i]
	l.asked, l.missing = false, 0
	at := 0
	second := false
	switch a := l.todo[0].(type) {
	case Insert:
		at, second = a.Table, a.Second
	case Check:
		at, second = a.Table, l.step.Second
	}
	if _, ok := e.(Checked); ok && w.sc.rule == "L5 repair" {
		e = Checked{Complete: true}
	}
	switch step := repairNext(e, at, second).(type) {
	case Stop:
		l.phase, l.why = halted, step.Err
		return
	case Insert:
		l.step.Second = step.Second
		l.todo = []Action{step}
		return
	case Check:
		l.step.Second = second
		l.todo = []Action{step}
		return
	}
	l.step.Second = false
	if at+1 < len(l.content.tables) {
		l.todo = []Action{Insert{Table: at + 1, Ask: true}}
		return
	}
	l.todo = []Action{Record{}}
}

func (w *world) recordRepair(i int) {
	l := &w.loaders[i]
	held := l.repairs[0]
	now := l.line()
	w.quarantined(l.content.quarantine)
	// settle: what is in quarantine of the repaired streams and was loaded with the repair is closed.
	var settled []quarantined
	for _, q := range w.quarantine {
		if now.held&(1<<q.row) != 0 {
			continue
		}
		if !q.replayed && q.incarnation == held.incarnation && q.offset >= held.from && q.offset < held.to && l.content.only&(1<<q.row) != 0 && !names(l.content.quarantine, q) {
			settled = append(settled, quarantined{incarnation: q.incarnation, offset: q.offset, row: q.row, to: -1})
		}
	}
	w.close(settled)
	list := with(w.ledger[:0:0], w.ledger...)
	for n, old := range list {
		if old.incarnation == held.incarnation && old.from == held.from {
			only := l.content.only
			list[n].loaded = old.loaded&^only | now.loaded&only
			list[n].held = old.held&^only | now.held&only
			list[n].quarantined = old.quarantined&^only | now.quarantined&only
			for t := range w.tables {
				if only&w.ofTable(t) != 0 {
					list[n].duplicate[t], list[n].extracted[t] = now.duplicate[t], now.extracted[t]
				}
			}
		}
	}
	w.ledger = list
	l.repairs, l.todo, l.content, l.step = l.repairs[1:], nil, nil, Loader{}
}
