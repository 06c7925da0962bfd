package load

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/headwater-data/headwater/pipeline/message"
)

// This file is the loader of one partition as a pure function: state and event in, state and actions out. It knows nothing of
// Kafka, ClickHouse, clocks or goroutines, so that every interleaving of it can be searched. Rules L1 to L11 of
// docs/exactly-once.md are named where they are kept.

// Phase is where a loader stands.
type Phase int

// The phases of a loader.
const (
	Lost       Phase = iota // the partition is not ours
	Collecting              // reads records until they make a flush
	Intending               // the intent is being committed (L2)
	Inserting               // a table's rows are being inserted (L3)
	Checking                // a table's rows are being looked for (L5)
	Removing                // tombstones of replaced content are being inserted
	Recording               // quarantine and ledger are being written (L6)
	Committing              // the final commit (L7)
	Stopped                 // needs somebody to act
)

func (p Phase) String() string {
	return [...]string{"lost", "collecting", "intending", "inserting", "checking", "removing", "recording", "committing", "stopped"}[p]
}

// Metadata is what travels with a committed offset. Without To it is a final commit of the offset; with it, an intent.
type Metadata struct {
	State message.State `json:"s"`           // at the committed offset
	To    int64         `json:"b,omitempty"` // intent: the flush is [offset, To)
	Shape string        `json:"h,omitempty"` // intent: hash of everything that shapes rows
	Gap   bool          `json:"g,omitempty"` // intent: nothing can be read from here to To
	Ask   int64         `json:"q,omitempty"` // flushes that begin before this offset may be there in part (Loader.AskUntil)
}

// Encode gives the text that is committed, well below the broker's 4,096 bytes.
func (m Metadata) Encode() string {
	b, err := json.Marshal(m)
	if err != nil {
		panic("load: " + err.Error()) // numbers and texts always marshal
	}
	return string(b)
}

// ParseMetadata reads what was committed. Metadata that is not ours is an error: somebody else commits for our group.
func ParseMetadata(text string) (Metadata, error) {
	var m Metadata
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return Metadata{}, fmt.Errorf("the committed offset's metadata was not written by Headwater: somebody else commits for this group: %w", err)
	}
	return m, nil
}

// Flush is a range of offsets that is loaded as one unit.
type Flush struct {
	From, To int64
	State    message.State // at From
	After    message.State // at To
	Shape    string
	Gap      bool
}

// Loader is the state of one partition's loader. It is a value: Step returns the next one.
type Loader struct {
	Phase    Phase
	At       int64         // everything before is loaded and accounted for
	State    message.State // at At
	Flush    Flush
	AskUntil int64 // flushes that begin before this offset may be there in part: ask the tables first
	Ask      bool  // the present flush asks first
	Tables   []Table
	Table    int  // index of the table at work
	Second   bool // its missing rows went in under the second token
	shape    string
}

// Table is one table's part in a flush.
type Table struct {
	Name     string
	Replaces bool // content of a shard was replaced: tombstones are due after the rows
	Held     bool // its rows of this flush are held (L4)
}

// Event is something that happened to a loader.
type Event interface{ isLoaderEvent() }

// Events of a loader.
type (
	// Assigned: the partition is ours under a generation, and this is what is known of it (L1). Offset is the committed one, -1
	// if there is none; First is the log's oldest offset, Incarnation what message.Life says of it; Ledger is nil if the ledger knows nothing;
	// Reach is the offset after the newest row of ours that a table has, 0 if unknown or none.
	Assigned struct {
		Offset        int64
		Metadata      Metadata
		Ledger        *Checkpoint
		First         int64
		Incarnation   string
		Reach         int64
		ContinueOnGap bool
	}
	// Collected: records up to To make a flush with rows for these tables.
	Collected struct {
		To     int64
		After  message.State
		Shape  string
		Tables []Table
	}
	// Committed: the commit under way is stored.
	Committed struct{}
	// CommitLost: the commit was refused, or nobody knows whether it was stored.
	CommitLost struct{ Err error }
	// Inserted: the server answered that the rows are in.
	Inserted struct{}
	// Refused: the table does not take these rows (a structural error).
	Refused struct{ Err error }
	// Checked: whether all rows of the table were found.
	Checked struct{ Complete bool }
	// Removed: tombstones of replaced content are in.
	Removed struct{}
	// Recorded: quarantine and ledger are written.
	Recorded struct{}
	// Revoked: the partition is no longer ours.
	Revoked struct{}
	// Looked: the log was looked at while the loader waits for records (W6). First and Next bound it, Incarnation is what
	// message.Life says of it.
	Looked struct {
		First, Next int64
		Incarnation string
	}
	// Broken: the log cannot be what writers wrote, or retention ate what was to be read.
	Broken struct{ Err error }
)

func (Assigned) isLoaderEvent()   {}
func (Collected) isLoaderEvent()  {}
func (Committed) isLoaderEvent()  {}
func (CommitLost) isLoaderEvent() {}
func (Inserted) isLoaderEvent()   {}
func (Refused) isLoaderEvent()    {}
func (Checked) isLoaderEvent()    {}
func (Removed) isLoaderEvent()    {}
func (Recorded) isLoaderEvent()   {}
func (Revoked) isLoaderEvent()    {}
func (Looked) isLoaderEvent()     {}
func (Broken) isLoaderEvent()     {}

// Checkpoint is the newest entry of the ledger for a partition.
type Checkpoint struct {
	To    int64
	State message.State // at To
}

// Action is what a loader wants done.
type Action interface{ isLoaderAction() }

// Actions of a loader.
type (
	// Collect: read from From, with State there. To > 0 asks for exactly [From, To); else as much as makes a good flush, and
	// nothing happens until there is a record. Shape names what the rows are shaped with, "" for the present one.
	Collect struct {
		From, To int64
		State    message.State
		Shape    string
	}
	// StoreShape: everything that shapes the rows is kept in the warehouse under its hash, before an intent names it (L2).
	StoreShape struct{ Shape string }
	// Commit: store the offset with the metadata, under the generation of Assigned (L1).
	Commit struct {
		Offset   int64
		Metadata Metadata
	}
	// Insert: one block into the table under the flush's token (L3). Ask: only the rows that are not there. Second: under
	// the second token (L5).
	Insert struct {
		Table       int
		Ask, Second bool
	}
	// Check: look whether the table has all rows of the flush (L5).
	Check struct{ Table int }
	// Remove: insert tombstones for what replaced content no longer has.
	Remove struct{ Table int }
	// Record: write quarantine and ledger (L6).
	Record struct{}
	// Leave: give the membership up and join again, before anything else (L8).
	Leave struct{ Err error }
	// Stop: the partition stops until somebody acts.
	Stop struct{ Err error }
)

func (Collect) isLoaderAction()    {}
func (StoreShape) isLoaderAction() {}
func (Commit) isLoaderAction()     {}
func (Insert) isLoaderAction()     {}
func (Check) isLoaderAction()      {}
func (Remove) isLoaderAction()     {}
func (Record) isLoaderAction()     {}
func (Leave) isLoaderAction()      {}
func (Stop) isLoaderAction()       {}

// LostRangeError says that rows which were not loaded are no longer in the log.
type LostRangeError struct {
	From, To    int64 // To is From when nobody knows how much there was
	Recreated   bool
	Incarnation string
}

func (e *LostRangeError) Error() string {
	if e.Recreated {
		return fmt.Sprintf("the topic was deleted and created again: what its log %s held beyond offset %d is gone. The sources are read again from what was loaded; set on_gap: continue in the owner's sources to go on", e.Incarnation, e.From)
	}
	return fmt.Sprintf("offsets %d to %d were removed by the topic's retention before they were loaded. Set on_gap: continue in the owner's sources to record the gap and go on, and read the sources again", e.From, e.To)
}

// Step is the protocol of a loader.
func (l Loader) Step(e Event) (Loader, []Action) {
	switch e := e.(type) {
	case Revoked:
		return Loader{}, nil
	case Broken:
		l.Phase = Stopped
		return l, []Action{Stop(e)}
	case CommitLost:
		// L8: an attempt whose outcome is unknown may still land; within this generation it could erase the next intent.
		return Loader{}, []Action{Leave(e)}
	case Assigned:
		return l.assigned(e)
	}
	switch e := e.(type) {
	case Collected:
		if l.Phase == Collecting {
			return l.collected(e)
		}
	case Looked:
		if l.Phase == Collecting {
			return l.looked(e)
		}
	case Committed:
		switch l.Phase {
		case Intending:
			return l.land()
		case Committing:
			l.At, l.State = l.Flush.To, l.Flush.After
			return l.collect(0, "")
		}
	case Inserted:
		if l.Phase == Inserting {
			l.Phase = Checking
			return l, []Action{Check{Table: l.Table}}
		}
	case Refused:
		if l.Phase == Inserting || l.Phase == Checking || l.Phase == Removing {
			l.Tables = append([]Table(nil), l.Tables...)
			l.Tables[l.Table].Held = true
			return l.next()
		}
	case Checked:
		if l.Phase == Checking {
			return l.checked(e)
		}
	case Removed:
		if l.Phase == Removing {
			return l.next()
		}
	case Recorded:
		if l.Phase == Recording {
			l.Phase = Committing
			return l, []Action{Commit{Offset: l.Flush.To, Metadata: Metadata{State: l.Flush.After, Ask: l.askAfter(l.Flush.To)}}}
		}
	}
	err := fmt.Errorf("load: event %T in phase %s: a fault of the program", e, l.Phase)
	l.Phase = Stopped
	return l, []Action{Stop{Err: err}}
}

// behindTheLog reports that the ledger's newest line is of a log before this one, from which the commits are. A line of a gap
// behind which a log begins anew names no incarnation.
func (e Assigned) behindTheLog() bool {
	of := e.Metadata.State.Incarnation
	return e.Offset > 0 && e.Ledger != nil && of != "" && of == e.Incarnation && of != e.Ledger.State.Incarnation && (e.Ledger.State.Incarnation != "" || e.Ledger.To == 0)
}

// assigned finds where to go on (L1, L2, L9, L10, L11).
func (l Loader) assigned(e Assigned) (Loader, []Action) {
	l = Loader{Phase: Collecting, At: e.Offset, State: e.Metadata.State, AskUntil: e.Metadata.Ask}
	switch {
	case e.Offset < 0 && e.Ledger != nil:
		// L9: commits expire. The ledger says where; what the tables hold beyond it belongs to a flush that was cut short.
		l.At, l.State, l.AskUntil = e.Ledger.To, e.Ledger.State, e.Reach
	case e.Offset < 0:
		l.At, l.State, l.AskUntil = 0, message.Origin(), e.Reach
	case e.Ledger == nil && e.Offset > 0, e.Ledger != nil && e.Ledger.State.Incarnation == e.Metadata.State.Incarnation && e.Ledger.To < e.Offset:
		// L11: the warehouse is older than the commits: it was restored. Load again from its ledger, asking the tables.
		l.AskUntil = max(l.AskUntil, e.Offset, e.Metadata.To)
		e.Metadata.To, e.Metadata.Gap = 0, false
		l.At, l.State = 0, message.Origin()
		if e.Ledger != nil {
			l.At, l.State = e.Ledger.To, e.Ledger.State
		}
	case e.behindTheLog():
		// L11, across logs: the warehouse was restored to a time when the log was another one, and its ledger knows nothing of this
		// one. Load it from its beginning, asking the tables.
		l.AskUntil = max(l.AskUntil, e.Offset, e.Metadata.To)
		e.Metadata.To, e.Metadata.Gap = 0, false
		l.At, l.State = 0, message.Origin()
	case e.Offset < e.First && !e.Metadata.Gap && e.Ledger != nil && e.Ledger.To > e.Offset && (e.Metadata.State.Incarnation == "" || e.Ledger.State.Incarnation == e.Metadata.State.Incarnation):
		// The ledger has the flush whose final commit is missing, and retention has its records since: nothing is lost (L10).
		e.Metadata.To = 0
		l.At, l.State = e.Ledger.To, e.Ledger.State
	}
	recreated := l.anotherLog(e.First, e.Incarnation)
	switch {
	case e.Offset >= 0 && e.Metadata.Gap:
		l.Flush = Flush{From: e.Offset, To: e.Metadata.To, State: e.Metadata.State, After: l.afterGap(e, e.Metadata.To), Gap: true}
		l.Phase = Recording
		return l, []Action{Record{}}
	case recreated || l.At < e.First:
		lost := &LostRangeError{From: l.At, To: max(e.First, l.At), Recreated: recreated, Incarnation: l.State.Incarnation}
		if !recreated {
			l.AskUntil = max(l.AskUntil, e.Metadata.To) // a flush that was cut short reaches behind the gap
		}
		if !e.ContinueOnGap {
			l.Phase = Stopped
			return l, []Action{Stop{Err: lost}}
		}
		l.Flush = Flush{From: l.At, To: e.First, State: l.State, After: l.afterGap(e, e.First), Gap: true}
		l.Phase = Intending
		return l, []Action{Commit{Offset: l.At, Metadata: Metadata{State: l.State, To: e.First, Gap: true, Ask: l.askAfter(l.At)}}}
	case e.Offset >= 0 && e.Metadata.To > 0:
		// L2: an intent is there. Exactly it is repeated, shaped as it was to be, whoever began it.
		l.Ask = true
		l.AskUntil = max(l.AskUntil, e.Metadata.To)
		return l.collect(e.Metadata.To, e.Metadata.Shape)
	case e.Offset < 0 && e.Reach > l.At:
		return l.collect(e.Reach, "")
	}
	return l.collect(0, "")
}

// anotherLog reports that the log is of another incarnation than the rows loaded. One that begins at offset 0 and says nothing of
// its incarnation has not had its first claim.
func (l Loader) anotherLog(first int64, incarnation string) bool {
	return l.State.Incarnation != "" && incarnation != l.State.Incarnation && (incarnation != "" || first == 0)
}

// askAfter is what a commit of the offset says of later flushes: whoever takes the partition over there asks as this loader does.
func (l Loader) askAfter(offset int64) int64 {
	if l.AskUntil > offset {
		return l.AskUntil
	}
	return 0
}

// afterGap is the state behind a gap: at the beginning of a new log, or unknown.
func (l Loader) afterGap(e Assigned, to int64) message.State {
	if to == 0 {
		return message.Origin()
	}
	incarnation := e.Incarnation
	if incarnation == "" {
		incarnation = l.State.Incarnation // of the ledger, where the final commit of its flush is missing
	}
	return message.Unknown(incarnation)
}

func (l Loader) collect(to int64, shape string) (Loader, []Action) {
	l.Phase, l.Flush, l.Tables, l.Table, l.Second = Collecting, Flush{To: to}, nil, 0, false
	l.Ask = l.At < l.AskUntil
	l.shape = shape
	return l, []Action{Collect{From: l.At, To: to, State: l.State, Shape: shape}}
}

func (l Loader) collected(e Collected) (Loader, []Action) {
	if e.To <= l.At || (l.Flush.To > 0 && e.To != l.Flush.To) {
		l.Phase = Stopped
		return l, []Action{Stop{Err: fmt.Errorf("load: collected [%d, %d) where [%d, %d) was asked for", l.At, e.To, l.At, l.Flush.To)}}
	}
	if l.shape != "" && e.Shape != l.shape {
		l.Phase = Stopped
		return l, []Action{Stop{Err: fmt.Errorf("load: the intent names shape %s, the rows were shaped by %s", l.shape, e.Shape)}}
	}
	repeats := l.shape != "" // the intent is already there
	l.Flush = Flush{From: l.At, To: e.To, State: l.State, After: e.After, Shape: e.Shape}
	l.Tables = e.Tables
	if repeats {
		return l.land()
	}
	l.Phase = Intending
	return l, []Action{
		StoreShape{Shape: e.Shape},
		Commit{Offset: l.At, Metadata: Metadata{State: l.State, To: e.To, Shape: e.Shape, Ask: l.askAfter(l.At)}},
	}
}

var errAnotherLog = errors.New("the log is another one than before: retention has cut it, or the topic was deleted and created again")

// looked compares the log with the one that the loader knows (W6). Where it goes on in another one is decided as on every
// assignment.
func (l Loader) looked(e Looked) (Loader, []Action) {
	// Retention may have overtaken the loader (L10).
	if e.Next < l.At || e.First > l.At || l.anotherLog(e.First, e.Incarnation) {
		return Loader{}, []Action{Leave{Err: errAnotherLog}}
	}
	return l, []Action{Collect{From: l.At, To: l.Flush.To, State: l.State, Shape: l.shape}}
}

func (l Loader) land() (Loader, []Action) {
	l.Table = -1
	return l.next()
}

// next goes on with the table after the present one, or with the account.
func (l Loader) next() (Loader, []Action) {
	l.Table++
	l.Second = false
	if l.Table < len(l.Tables) {
		l.Phase = Inserting
		return l, []Action{Insert{Table: l.Table, Ask: l.Ask}}
	}
	l.Phase = Recording
	return l, []Action{Record{}}
}

var errStillMissing = errors.New("rows that the server acknowledged twice are not in the table")

func (l Loader) checked(e Checked) (Loader, []Action) {
	switch {
	case e.Complete && l.Tables[l.Table].Replaces:
		l.Phase = Removing
		return l, []Action{Remove{Table: l.Table}}
	case e.Complete:
		return l.next()
	case l.Second:
		l.Phase = Stopped
		return l, []Action{Stop{Err: fmt.Errorf("table %s: %w", l.Tables[l.Table].Name, errStillMissing)}}
	}
	// L5: the server noted the token and lost the part, or the rows never came; a retry under the same token is dropped.
	l.Phase, l.Second = Inserting, true
	return l, []Action{Insert{Table: l.Table, Ask: true, Second: true}}
}
