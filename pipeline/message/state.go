package message

import "fmt"

// State is what is known of a partition's log at an offset: the fold of all records before it. The zero State is that of a log
// that is empty and begins at offset 0. States are comparable.
type State struct {
	Incarnation string `json:"i"` // "" until the first claim
	Epoch       int64  `json:"e"` // offset of the claim in force, -1 while none is
	Next        int64  `json:"n"` // sequence number that the next valid batch has
}

// Origin is the state at the beginning of a new log.
func Origin() State { return State{Epoch: -1} }

// Unknown is the state after a gap: the log's incarnation is known but not which claim is in force, so that no batch is valid
// until a claim comes. Writer and loader agree on it: the writer reads what lies in between again from the source.
//
// Of a log that was eaten whole before anybody loaded any of it not even the incarnation is known. It has had its first claim,
// which an Origin has not, so that a claim that continues it is taken.
func Unknown(incarnation string) State {
	if incarnation == "" {
		return State{Epoch: eaten}
	}
	return State{Incarnation: incarnation, Epoch: -1}
}

// eaten is the epoch behind a gap in a log of which nothing is known.
const eaten = -2

// Verdict is what a record means at its place in the log.
type Verdict int

// The verdicts.
const (
	// Taken: a claim that takes the partition over.
	Taken Verdict = iota
	// VoidClaim: a claim of another incarnation, or one that continues a log which is not this one; it changes nothing.
	VoidClaim
	// Valid: a batch that counts.
	Valid
	// Repeat: a batch that was valid before, sent again.
	Repeat
	// Void: a batch of a writer that had lost the partition, or of another incarnation.
	Void
	// Gap: a batch is missing before this one. The partition must stop: it cannot happen while W3 holds.
	Gap
)

func (v Verdict) String() string {
	return [...]string{"taken", "void claim", "valid", "repeat", "void", "gap"}[v]
}

// Step folds one record of ours at the given offset into the state. On Gap the state is unchanged.
func (s State) Step(h Header, offset int64) (State, Verdict) {
	if h.Kind == Claim {
		if s.Incarnation != "" && h.Incarnation != s.Incarnation {
			return s, VoidClaim
		}
		if s.Incarnation == "" && h.Continues && s.Epoch != eaten {
			// It was on its way when the topic was deleted and created again. Began it the new log, both would have one incarnation
			// and nobody could tell their offsets apart.
			return s, VoidClaim
		}
		return State{Incarnation: h.Incarnation, Epoch: offset}, Taken
	}
	switch {
	case h.Incarnation != s.Incarnation || h.Epoch != s.Epoch:
		return s, Void
	case h.Sequence < s.Next:
		return s, Repeat
	case h.Sequence > s.Next:
		return s, Gap
	}
	s.Next++
	return s, Valid
}

// GapError is the error for a missing batch: the log cannot be what a writer wrote.
type GapError struct {
	Offset          int64
	Got, Want       int64
	Epoch           int64
	Topic           string
	Partition       int
	SourceAndStream string
}

func (e *GapError) Error() string {
	return fmt.Sprintf("%s/%d offset %d: batch %d of epoch %d where %d was due (%s): a batch is missing in the log",
		e.Topic, e.Partition, e.Offset, e.Got, e.Epoch, e.Want, e.SourceAndStream)
}

// Life finds out of which life of a topic a log is, from its records in order (W6). A log that begins at offset 0 says so itself:
// it is of the incarnation of its first claim. Where retention took the beginning, the oldest record may be a void one of another
// incarnation, so that the known incarnation stands as long as any record has it, and no batch speaks for another.
type Life struct {
	first       int64
	known       string
	state       State
	found       string // beyond doubt
	seen, batch string // the incarnation of the oldest record, of the oldest batch
}

// NewLife begins with a log's first offset and the incarnation that index or ledger know, "" if none.
func NewLife(first int64, known string) Life {
	return Life{first: first, known: known, state: Origin()}
}

// See takes a record of ours and reports whether there is no doubt any more.
func (l *Life) See(h Header, offset int64) (sure bool) {
	if l.first == 0 {
		l.state, _ = l.state.Step(h, offset)
		l.found = l.state.Incarnation
		return l.found != ""
	}
	if l.seen == "" {
		l.seen = h.Incarnation
	}
	if l.batch == "" && h.Kind == Batch {
		l.batch = h.Incarnation
	}
	if l.known == "" || h.Incarnation == l.known {
		l.found = h.Incarnation
	}
	return l.found != ""
}

// Incarnation is that of the log, "" if no record says.
func (l *Life) Incarnation() string {
	switch {
	case l.found != "" || l.seen == "":
		return l.found
	case l.batch != "":
		return l.batch
	}
	return l.known
}
