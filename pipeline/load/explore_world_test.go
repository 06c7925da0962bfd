package load

import (
	"fmt"
	"math/bits"
	"slices"

	"github.com/headwater-data/headwater/pipeline/ingest"
	"github.com/headwater-data/headwater/pipeline/message"
)

// scenario says what is in a world at first, and how often each fault may happen. Faults that are not named do not happen.
type scenario struct {
	name  string
	brief bool

	source [][]batch // by shard, the batches that its connector reads
	log    []record  // records that come by themselves, in order, one after another; writers add none then

	writers, loaders int

	claims     int8 // takeovers of the partition by a writer beyond the first of each
	crashes    int8 // of a process, at any step
	unheard    int8 // requests that were carried out and whose answer is lost
	lates      int8 // requests whose answer is lost and that are carried out at any later time
	rebalances int8 // the load group gives the partition to the other loader, which the present owner does not hear
	forgets    int8 // the server notes a token and loses the part, or one of the parts
	cuts       int8 // retention cuts the log
	eats       bool // it may cut what is not loaded
	remakes    int8 // the topic is deleted and created again
	expires    int8 // committed offsets expire, while no loader runs
	restores   int8 // the warehouse is restored, while no loader runs
	refuses    int8 // a table stops taking rows, for a while
	deploys    int8 // the mapping changes; a loader has it from its next start
	onGap      bool
	ahead      bool   // loaders collect the next flush while one lands
	window     int    // tokens that a table remembers
	flush      int8   // records of a flush at most; 0: any
	stale      bool   // an index entry may be written late
	rule       string // broken on purpose; explore_rules_test.go
}

// batch is what a connector reads at once: rows by their number in the scenario.
type batch []row

// row is a row of the source. Its key is its own: a row is there or it is not.
type row struct {
	id    int8
	table int8
	year  int8 // the table partition that it belongs to
	bad   int8 // bit 0: the first mapping quarantines it; bit 1: the mended one does
}

// record is a record of the raw topic.
type record struct {
	kind        int8 // claim, data, foreign
	incarnation int8
	epoch, seq  int8
	shard, k    int8 // the shard's k-th batch
	continues   bool // a claim for a log that had its incarnation
	names       int8 // a replay: of the bad rows of the batch at this offset
}

const (
	claim   = 1
	data    = 2
	replay  = 3
	foreign = 4
)

var incarnations = [...]string{"", "i1", "i2", "i3", "i4", "i5", "i6"}

func incarnationNumber(s string) int8 {
	i := slices.Index(incarnations[:], s)
	if i < 0 {
		panic("no incarnation " + s)
	}
	return int8(i)
}

var (
	shardNames = [...]string{"a", "b", "replays"}
	shardKeys  = [...]string{ingest.ShardKey("s", "t", "a"), ingest.ShardKey("s", "t", "b"), ingest.ShardKey("s", "t", "replays")}
	cursors    = [...][]byte{nil, {1}, {2}, {3}, {4}, {5}, {6}, {7}, {8}}
)

func cursorNumber(c []byte) int8 {
	if len(c) == 0 {
		return 0
	}
	return int8(c[0])
}

func (r record) header() message.Header {
	h := message.Header{Kind: message.Claim, Incarnation: incarnations[r.incarnation], Continues: r.continues}
	if r.kind != claim {
		h.Kind, h.Epoch, h.Sequence = message.Batch, int64(r.epoch), int64(r.seq)
		h.Source, h.Stream, h.Shard, h.Cursor = "s", "t", shardNames[r.shard], cursors[r.k+1]
	}
	return h
}

// token is what an insert is known by: the flush's range, which of its tokens, and the table partition.
type token struct {
	incarnation, from, to int8
	second                int8
	year                  int8
}

// table is one table of the warehouse. Sets of rows are bits.
type table struct {
	rows, twice uint64
	tokens      []token // newest last
	refuses     bool
}

// insertion is an insert that is under way and will land, or not.
type insertion struct {
	table int8
	rows  uint64
	token token
}

// quarantined is a row in quarantine.
type quarantined struct {
	incarnation, offset, row int8
	replayed                 bool
	to                       int8 // offset of the message that replayed it
}

// line is what the ledger says of a flush, of all its accounts together.
type line struct {
	incarnation, from, to int8
	after                 message.State
	kind                  int8 // flush, gap
	loaded, quarantined   uint64
	held                  uint64
	duplicate, extracted  [2]int8 // by table
	cursors               [3]marker
}

type marker struct{ offset, epoch, seq, k int8 } // k 0: none

// offsetCommit is a commit of the load group.
type offsetCommit struct {
	there      bool
	offset     int8
	metadata   Metadata
	generation int8
}

// world is everything that can differ from one moment to another. Slices and maps are never changed in place.
type world struct {
	sc     *scenario
	broken string // the rule of the world that has been violated

	first       int8 // oldest offset that the log holds
	log         []record
	life        int8 // how often the topic was created again
	grown       int8 // records of scenario.log that have come
	fresh       int8 // incarnations given out
	lateRecords []record
	index       []entry
	lateIndex   [][]entry
	holder      int8 // writer to which the ingest group gave the partition

	writers []writer

	generation int8
	owner      int8
	committed  offsetCommit
	lateCommit []offsetCommit

	loaders []loader
	present int8 // the shape of a process that starts now

	tables     []table
	late       []insertion
	ledger     []line
	quarantine []quarantined
	saved      *world // backup of tables, ledger and quarantine

	excused   bool          // rows may stand twice physically: a token fell out of its window, or the windows were emptied
	overtaken bool          // retention ate what was not loaded, beside writers
	eaten     uint64        // rows of batches that retention or a deletion took before they were loaded
	delivered uint64        // rows in valid batches of the log, ever
	ghost     message.State // of the whole log, by one who has seen all of it

	claims, crashes, unheard, lates, rebalances, forgets, cuts, remakes, expires, restores, refuses, deploys int8
}

// entry is an index entry: the newest written batch of a shard.
type entry struct {
	incarnation, shard int8
	marker
}

func newWorld(sc *scenario) *world {
	w := &world{sc: sc, ghost: message.Origin(), owner: -1,
		claims: sc.claims, crashes: sc.crashes, unheard: sc.unheard, lates: sc.lates, rebalances: sc.rebalances, forgets: sc.forgets, cuts: sc.cuts, remakes: sc.remakes, expires: sc.expires, restores: sc.restores, refuses: sc.refuses, deploys: sc.deploys}
	w.writers = make([]writer, sc.writers)
	w.loaders = make([]loader, sc.loaders)
	tables := 1
	for _, s := range sc.source {
		for _, b := range s {
			for _, r := range b {
				tables = max(tables, int(r.table)+1)
			}
		}
	}
	w.tables = make([]table, tables)
	return w
}

func (w *world) clone() *world {
	to := *w
	to.writers = slices.Clone(w.writers)
	to.loaders = slices.Clone(w.loaders)
	to.tables = slices.Clone(w.tables)
	return &to
}

// with gives a copy of the slice with more in it; slices of worlds are shared.
func with[T any](s []T, more ...T) []T { return append(s[:len(s):len(s)], more...) }

func without[T any](s []T, i int) []T { return append(s[:i:i], s[i+1:]...) }

func (w *world) violated(format string, args ...any) {
	if w.broken == "" {
		w.broken = fmt.Sprintf(format, args...)
	}
}

func (w *world) next() int8 { return int8(len(w.log)) }

// incarnation is topic.Client.Incarnation.
func (w *world) incarnation(known string) string {
	life := message.NewLife(int64(w.first), known)
	for o := w.first; o < w.next(); o++ {
		if r := w.log[o]; r.kind != foreign && life.See(r.header(), int64(o)) {
			break
		}
	}
	return life.Incarnation()
}

func (w *world) rowsOf(r record) batch {
	if r.kind == data {
		return w.sc.source[r.shard][r.k]
	}
	return nil
}

func set(b batch) (rows uint64) {
	for _, r := range b {
		rows |= 1 << r.id
	}
	return rows
}

// longest is more records than any scenario needs.
const longest = 24

// put appends a record to the log as the broker does, and looks at it with the eyes of one who has seen all of the log.
func (w *world) put(r record) int8 {
	o := w.next()
	w.log = with(w.log, r)
	if r.kind == foreign {
		return o
	}
	if o > longest {
		w.violated("the log grows for ever and no row comes: %d records", o)
	}
	after, verdict := w.ghost.Step(r.header(), int64(o))
	w.ghost = after
	switch verdict {
	case message.Gap:
		w.violated("a batch is missing in the log before offset %d", o)
	case message.Valid:
		if rows := set(w.rowsOf(r)); len(w.sc.log) == 0 {
			if w.delivered&rows != 0 && !w.sc.eats { // behind a gap the loader takes other batches for valid
				w.violated("the rows of batch %d of shard %s are in two valid batches", r.k, shardNames[r.shard])
			}
			w.delivered |= rows
		}
	}
	return o
}

// land carries an insert out: a block for each table partition, each dropped if its token is known (L3). lose says which of
// them are noted and lost.
func (w *world) land(i insertion, lose uint8) {
	t := &w.tables[i.table]
	for year := int8(0); year < 2; year++ {
		rows := i.rows & w.year(year)
		if rows == 0 {
			continue
		}
		tok := i.token
		tok.year = year
		if w.sc.rule == "L3 token" {
			tok.second = int8(len(t.tokens)) + 9
		}
		if slices.Contains(t.tokens, tok) {
			continue
		}
		t.tokens = with(t.tokens, tok)
		if len(t.tokens) > w.sc.window {
			t.tokens = t.tokens[1:]
			w.excused = w.excused || w.sc.lates+w.sc.unheard+w.sc.rebalances > 0 // else nothing is sent twice
		}
		if lose&(1<<year) != 0 {
			continue
		}
		if twice := t.rows & rows; twice != 0 {
			t.twice |= twice
			if !w.excused {
				w.violated("rows %s stand twice in table %d although their tokens were not forgotten", rowNames(twice), i.table)
			}
		}
		t.rows |= rows
	}
}

func (w *world) year(y int8) (rows uint64) {
	for _, s := range w.sc.source {
		for _, b := range s {
			for _, r := range b {
				if r.year == y {
					rows |= 1 << r.id
				}
			}
		}
	}
	return rows
}

func rowNames(rows uint64) string {
	var out []int
	for rows != 0 {
		i := bits.TrailingZeros64(rows)
		out = append(out, i)
		rows &^= 1 << i
	}
	return fmt.Sprint(out)
}

// steps gives every step that can be taken, with the world after it.
func (w *world) steps(yield func(taken, *world)) {
	for i := range w.writers {
		w.writerSteps(i, yield)
	}
	for i := range w.loaders {
		w.loaderSteps(i, yield)
	}
	w.outside(yield)
}

func (w *world) nth(n int) (out *world, l taken) {
	w.steps(func(at taken, to *world) {
		if n == 0 {
			out, l = to, at
		}
		n--
	})
	return out, l
}

// begin starts a new generation of the load group; commits that name an earlier one can land no more.
func (w *world) begin(owner int8) {
	w.generation++
	w.owner = owner
	if w.sc.rule != "L1" {
		w.lateCommit = nil
	}
}

func spend(n *int8) { *n-- }

// outside are the steps of everybody but writers and loaders.
func (w *world) outside(yield func(taken, *world)) {
	if int(w.grown) < len(w.sc.log) && w.comes(w.sc.log[w.grown]) {
		to := w.clone()
		to.put(w.sc.log[w.grown])
		to.grown++
		yield(say("record %d comes into the log", w.grown), to)
	}
	for i, r := range w.lateRecords {
		to := w.clone()
		to.lateRecords = without(w.lateRecords, i)
		o := to.put(r)
		yield(say("a send whose answer was lost lands late at offset %d: %+v", o, r), to)
		to = w.clone()
		to.lateRecords = without(w.lateRecords, i)
		yield(say("a send whose answer was lost never lands: %+v", r), to)
	}
	for i, e := range w.lateIndex {
		to := w.clone()
		to.lateIndex = without(w.lateIndex, i)
		to.enter(e...)
		yield(say("index entries land late: %+v", e), to)
		to = w.clone()
		to.lateIndex = without(w.lateIndex, i)
		yield(say("index entries never land: %+v", e), to)
	}
	for i, c := range w.lateCommit {
		to := w.clone()
		to.lateCommit = without(w.lateCommit, i)
		if c.generation == w.generation {
			to.store(c)
			yield(say("a commit whose answer was lost lands late: %d %s", c.offset, c.metadata.Encode()), to)
			to = w.clone()
			to.lateCommit = without(w.lateCommit, i)
		}
		yield(say("a commit whose answer was lost never lands: %d", c.offset), to)
	}
	for i, ins := range w.late {
		to := w.clone()
		to.late = without(w.late, i)
		to.land(ins, 0)
		yield(say("an insert whose answer was lost lands late: rows %s under %+v", rowNames(ins.rows), ins.token), to)
		to = w.clone()
		to.late = without(w.late, i)
		yield(say("an insert whose answer was lost never lands: rows %s", rowNames(ins.rows)), to)
	}
	if w.rebalances > 0 && w.owner >= 0 && len(w.loaders) > 1 {
		to := w.clone()
		spend(&to.rebalances)
		to.begin(1 - w.owner)
		yield(say("the group gives the partition to loader %d", to.owner), to)
	}
	for i, t := range w.tables {
		if t.refuses {
			to := w.clone()
			to.tables[i].refuses = false
			yield(say("table %d is mended", i), to)
		} else if w.refuses > 0 {
			to := w.clone()
			spend(&to.refuses)
			to.tables[i].refuses = true
			yield(say("table %d stops taking rows", i), to)
		}
	}
	quiet := true
	for i := range w.loaders {
		quiet = quiet && w.loaders[i].phase == away
	}
	if w.expires > 0 && quiet && w.committed.there {
		to := w.clone()
		spend(&to.expires)
		to.committed = offsetCommit{}
		to.excused = w.excused || len(w.late) > 0 // under the token of a flush that nobody repeats
		yield(say("the committed offsets expire"), to)
	}
	// What was loaded since a backup and went with the log is in neither; so that nothing of the kind is there when a topic is made
	// again, all of its log is in the backup.
	if w.restores > 0 && w.saved == nil && (w.sc.remakes == 0 || w.remakes > 0 && w.next() > 0 && w.loadedTo() == w.next() && !w.flushUnderWay()) {
		to := w.clone()
		to.saved = &world{tables: w.tables, ledger: w.ledger, quarantine: w.quarantine, log: w.log}
		yield(say("the warehouse is backed up"), to)
	}
	if w.restores > 0 && w.saved != nil && quiet {
		to := w.clone()
		spend(&to.restores)
		to.tables = slices.Clone(w.saved.tables)
		for i := range to.tables {
			to.tables[i].tokens, to.tables[i].refuses = nil, false
		}
		to.ledger, to.quarantine, to.saved, to.late = w.saved.ledger, w.saved.quarantine, nil, nil
		yield(say("the warehouse is restored from the backup"), to)
	}
	if w.deploys > 0 {
		to := w.clone()
		spend(&to.deploys)
		to.present = 1
		yield(say("the mapping changes"), to)
	}
	if len(w.writers) > 1 && w.claims > 0 {
		to := w.clone()
		spend(&to.claims)
		to.holder = 1 - w.holder
		yield(say("the group gives the partition to writer %d", to.holder), to)
	}
	if len(w.loaders) == 0 && w.cuts+w.remakes+w.sc.cuts+w.sc.remakes > 0 && w.loadedIdeally() < w.next() {
		to := w.clone()
		to.loadIdeally()
		yield(say("everything in the log is loaded, up to offset %d", to.next()), to)
	}
	w.retention(yield)
}

// comes reports that a record can come: rows are replayed that are in quarantine.
func (w *world) comes(r record) bool {
	if r.kind != replay {
		return true
	}
	for _, row := range w.rowsOf(w.log[r.names]) {
		if row.bad&1 != 0 && !names(w.quarantine, quarantined{incarnation: r.incarnation, offset: r.names, row: row.id}) {
			return false
		}
	}
	return true
}

// retention cuts or removes the log.
func (w *world) retention(yield func(taken, *world)) {
	if w.cuts > 0 && (len(w.writers) == 0 || !w.sc.eats || len(w.index) > 0) { // a log that is eaten before anybody knows its incarnation stops its writers
		for o := w.first + 1; o <= w.next(); o++ {
			if w.sc.eats && w.firstClaimFrom(o) {
				continue
			}
			if !w.sc.eats && o > w.loadedTo() {
				break
			}
			to := w.clone()
			spend(&to.cuts)
			to.first = o
			if len(w.writers) > 0 {
				to.eaten |= (w.between(w.first, o) | w.between(o, w.claimedAgain(o))) &^ w.loadedRows()
				if o > w.loadedTo() {
					// A loader may be finishing a flush of what is gone. The writer reads it again, as no ledger tells it yet: keys make one of both.
					to.overtaken, to.excused = true, true
				}
			}
			yield(say("retention cuts the log: it begins at offset %d", o), to)
		}
	}
	if w.remakes > 0 && w.next() > 0 && !w.firstClaimUnderWay() && !w.flushUnderWay() && (w.sc.restores == 0 || w.saved != nil && len(w.saved.log) == len(w.log)) {
		to := w.clone()
		spend(&to.remakes)
		to.log, to.first, to.ghost = nil, 0, message.Origin()
		to.life++
		// What was not loaded is read again from the source, which is right, and what was loaded must not be.
		to.delivered = w.loadedRows()
		yield(say("the topic is deleted and created again"), to)
	}
}

// between gives the rows of the batches at [from, to) that are valid to one who has seen all of the log.
func (w *world) between(from, to int8) (rows uint64) {
	at := message.Origin()
	for o := int8(0); o < to; o++ {
		r := w.log[o]
		if r.kind == foreign {
			continue
		}
		after, verdict := at.Step(r.header(), int64(o))
		at = after
		if verdict == message.Valid && o >= from {
			rows |= set(w.rowsOf(r))
		}
	}
	return rows
}

// claimedAgain is up to where batches are as good as eaten when retention cuts at an offset: those of an owner whose claim is gone
// and that had lost the partition to a claim made in ignorance of it, there already or on its way. A later batch of the shard
// counts, and no cursor says what lies before it.
func (w *world) claimedAgain(cut int8) int8 {
	for _, p := range w.writers {
		if _, ok := p.todo.(ingest.SendClaim); ok {
			return w.next()
		}
	}
	return max(cut, int8(w.ghost.Epoch))
}

// firstClaimFrom reports a first claim that is void, at or after an offset: a loader that knows nothing would take it for the first.
func (w *world) firstClaimFrom(o int8) bool {
	for ; o < w.next(); o++ {
		if r := w.log[o]; o > 0 && r.kind == claim && !r.continues {
			return true
		}
	}
	return w.firstClaimUnderWay()
}

// firstClaimUnderWay: between a look at an empty log and the first claim a deletion is not searched: its rows would be read anew,
// as nobody looked what was loaded.
func (w *world) firstClaimUnderWay() bool {
	for _, p := range w.writers {
		if c, ok := p.todo.(ingest.SendClaim); ok && !c.Continues {
			return true
		}
	}
	for _, r := range w.lateRecords {
		if r.kind == claim && !r.continues {
			return true
		}
	}
	return false
}

// flushUnderWay: nor is a deletion in the middle of a flush, of which no ledger tells the writers yet. They read its rows again:
// keys make one of both.
func (w *world) flushUnderWay() bool {
	for i := range w.loaders {
		l := &w.loaders[i]
		if l.phase == running && len(l.todo) > 0 {
			if _, collects := l.todo[0].(Collect); !collects {
				return true
			}
		}
	}
	return w.committed.metadata.To > 0
}

// loadedTo is the offset up to which the log is accounted for.
func (w *world) loadedTo() int8 {
	c, ok := w.checkpoint()
	if !ok {
		return 0
	}
	return c.to
}

func (w *world) loadedRows() (rows uint64) {
	for _, l := range w.ledger {
		rows |= l.loaded | l.quarantined | l.held
	}
	return rows
}

// atRest looks at a world in which nothing can happen any more.
func (w *world) atRest() string {
	var all uint64
	for _, s := range w.sc.source {
		for _, b := range s {
			all |= set(b)
		}
	}
	if w.sc.writers > 0 {
		for i := range w.writers {
			if w.writers[i].stopped {
				return fmt.Sprintf("writer %d has stopped for ever: %v", i, w.writers[i].why)
			}
		}
		if missing := all &^ w.delivered; missing != 0 && w.sc.rule != "" || missing != 0 && !w.sc.eats {
			return fmt.Sprintf("rows %s of the source are in no valid batch, and no writer does anything", rowNames(missing))
		}
	}
	if len(w.loaders) == 0 {
		return ""
	}
	for i := range w.loaders {
		if l := &w.loaders[i]; l.phase == halted {
			return fmt.Sprintf("loader %d has stopped for ever: %v", i, l.why)
		}
	}
	if w.loadedTo() < w.next() {
		return fmt.Sprintf("the log is loaded up to offset %d of %d, and no loader does anything", w.loadedTo(), w.next())
	}
	var there, accounted, twice uint64
	for _, t := range w.tables {
		there |= t.rows
	}
	for _, l := range w.ledger {
		twice |= accounted & l.loaded
		accounted |= l.loaded
		if n := bits.OnesCount64(l.loaded) + bits.OnesCount64(l.quarantined) + bits.OnesCount64(l.held); int(l.extracted[0]+l.extracted[1]) != n+int(l.duplicate[0]+l.duplicate[1]) {
			if w.overtaken && int(l.extracted[0]+l.extracted[1]) > n+int(l.duplicate[0]+l.duplicate[1]) {
				continue // a row that was read again within the flush is one in a set
			}
			return fmt.Sprintf("the account of [%d, %d) does not balance: %v extracted, %d with an outcome, %v duplicate", l.from, l.to, l.extracted, n, l.duplicate)
		}
		if l.held != 0 {
			return fmt.Sprintf("rows %s are held for ever although their table takes rows", rowNames(l.held))
		}
	}
	var open, ever uint64
	for _, q := range w.quarantine {
		if !q.replayed {
			if open&(1<<q.row) != 0 {
				return fmt.Sprintf("row %d is open in quarantine twice", q.row)
			}
			open |= 1 << q.row
		}
		ever |= 1 << q.row
	}
	lost := w.eaten
	for _, l := range w.ledger {
		if l.kind == gapLine && len(w.writers) == 0 {
			lost = ^uint64(0) // nobody reads again what is void behind the gap
		}
	}
	switch missing := all &^ there &^ open &^ lost; {
	case missing != 0:
		return fmt.Sprintf("rows %s are in no table and not in quarantine", rowNames(missing))
	case there&open != 0:
		return fmt.Sprintf("rows %s are in a table and open in quarantine", rowNames(there&open))
	case twice != 0 && !w.overtaken:
		return fmt.Sprintf("rows %s are counted as loaded twice", rowNames(twice))
	case accounted != there && lost == 0 && !w.overtaken: // a gap counts nothing, and a flush that was cut short by it may have rows there
		return fmt.Sprintf("the account counts rows %s as loaded, the tables hold %s", rowNames(accounted), rowNames(there))
	}
	// Every offset of the log is in one flush of its life.
	lines := slices.Clone(w.ledger)
	slices.SortFunc(lines, func(a, b line) int {
		if a.incarnation != b.incarnation {
			return int(a.incarnation) - int(b.incarnation)
		}
		return int(a.from) - int(b.from)
	})
	for i := 1; i < len(lines); i++ {
		if a, b := lines[i-1], lines[i]; a.incarnation == b.incarnation && a.to > b.from && b.kind != gapLine && a.kind != gapLine {
			return fmt.Sprintf("the ledger counts offsets twice: [%d, %d) and [%d, %d)", a.from, a.to, b.from, b.to)
		}
	}
	return ""
}

const (
	flushLine = 0
	gapLine   = 1
)

func state(b []byte, s message.State) []byte {
	return number(b, int64(incarnationNumber(s.Incarnation)), s.Epoch, s.Next)
}

func (p marker) encode(b []byte) []byte {
	return number(b, int64(p.offset), int64(p.epoch), int64(p.seq), int64(p.k))
}

func small(b []byte, n ...int8) []byte {
	for _, v := range n {
		b = append(b, byte(v))
	}
	return b
}

func truth(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func (r record) encode(b []byte) []byte {
	return truth(small(b, r.kind, r.incarnation, r.epoch, r.seq, r.shard, r.k, r.names), r.continues)
}

func (c offsetCommit) encode(b []byte) []byte {
	b = truth(b, c.there)
	b = small(b, c.offset) // a late commit of a past generation is dropped at once, so that its number says nothing
	return encodeMetadata(b, c.metadata)
}

func encodeMetadata(b []byte, m Metadata) []byte {
	b = state(b, m.State)
	b = append(b, byte(m.To), byte(len(m.Shape)))
	b = append(b, m.Shape...)
	return truth(append(b, byte(m.Ask)), m.Gap)
}

func (q quarantined) encode(b []byte) []byte {
	return truth(small(b, q.incarnation, q.offset, q.row, q.to), q.replayed)
}

func encodeWarehouse(b []byte, tables []table, ledger []line, quarantine []quarantined) []byte {
	for _, t := range tables {
		b = number(b, int64(t.rows), int64(t.twice))
		b = append(b, byte(len(t.tokens)))
		for _, k := range t.tokens {
			b = small(b, k.incarnation, k.from, k.to, k.second, k.year)
		}
		b = truth(b, t.refuses)
	}
	b = append(b, byte(len(ledger)))
	for _, l := range ledger {
		b = small(b, l.incarnation, l.from, l.to, l.kind, l.duplicate[0], l.duplicate[1], l.extracted[0], l.extracted[1])
		b = state(b, l.after)
		b = number(b, int64(l.loaded), int64(l.quarantined), int64(l.held))
		for _, c := range l.cursors {
			b = c.encode(b)
		}
	}
	b = append(b, byte(len(quarantine)))
	for _, q := range quarantine {
		b = q.encode(b)
	}
	return b
}

// encode writes everything that tells this world from another.
func (w *world) encode(b []byte) []byte {
	b = small(b, w.first, w.next(), w.life, w.grown, w.fresh, w.owner, w.present)
	b = small(b, w.claims, w.crashes, w.unheard, w.lates, w.rebalances, w.forgets, w.cuts, w.remakes, w.expires, w.restores, w.refuses, w.deploys)
	for _, r := range w.log {
		b = r.encode(b)
	}
	b = append(b, byte(len(w.lateRecords)))
	for _, r := range w.lateRecords {
		b = r.encode(b)
	}
	b = append(b, byte(len(w.lateIndex)), byte(w.holder))
	for _, list := range with(w.lateIndex, w.index) {
		b = append(b, byte(len(list)))
		for _, e := range list {
			b = e.marker.encode(small(b, e.incarnation, e.shard))
		}
	}
	for i := range w.writers {
		b = w.writers[i].encode(b)
	}
	b = w.committed.encode(b)
	b = append(b, byte(len(w.lateCommit)))
	for _, c := range w.lateCommit {
		b = c.encode(b)
	}
	for i := range w.loaders {
		b = w.loaders[i].encode(b, w.generation)
	}
	b = encodeWarehouse(b, w.tables, w.ledger, w.quarantine)
	b = append(b, byte(len(w.late)))
	for _, i := range w.late {
		b = small(b, i.table, i.token.incarnation, i.token.from, i.token.to, i.token.second, i.token.year)
		b = number(b, int64(i.rows))
	}
	b = truth(b, w.saved != nil)
	if w.saved != nil {
		b = encodeWarehouse(b, w.saved.tables, w.saved.ledger, w.saved.quarantine)
		b = append(b, byte(len(w.saved.log)))
	}
	b = truth(truth(b, w.excused), w.overtaken)
	return state(number(b, int64(w.eaten), int64(w.delivered)), w.ghost)
}
