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
func Unknown(incarnation string) State { return State{Incarnation: incarnation, Epoch: -1} }

// Verdict is what a record means at its place in the log.
type Verdict int

// The verdicts.
const (
	// Taken: a claim that takes the partition over.
	Taken Verdict = iota
	// VoidClaim: a claim of another incarnation; it changes nothing.
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
