package ingest

import (
	"bytes"
	"fmt"
	"maps"

	"github.com/headwater-data/headwater/pipeline/message"
)

// This file is the writer of one partition as a pure function: state and event in, state and actions out. It knows nothing of
// Kafka, clocks or goroutines, so that every interleaving of it can be searched. Rules W1 to W8 of docs/exactly-once.md are
// named where they are kept.

// Phase is where a writer stands.
type Phase int

// The phases of a writer.
const (
	Idle       Phase = iota // does not hold the partition
	Claiming                // its claim is under way (W1)
	Recovering              // reads the log up to its own claim (W2)
	Ready                   // may send a batch
	Sending                 // one batch is under way (W3)
	Checking                // its batch did not follow its last record directly; it reads what lies between (W4)
	Stopped                 // the log cannot be what writers wrote
)

func (p Phase) String() string {
	return [...]string{"idle", "claiming", "recovering", "ready", "sending", "checking", "stopped"}[p]
}

// Position is the newest valid batch of a shard. A position that only the ledger knows has Sequence -1: its cursor counts, but
// it says nothing of the log's state.
type Position struct {
	Offset   int64  `json:"o"`
	Epoch    int64  `json:"e"`
	Sequence int64  `json:"s"`
	Cursor   []byte `json:"c"`
}

// Known is a place in the log whose state is known, with every shard's newest cursor up to there.
type Known struct {
	Offset  int64 // everything before it is folded into State
	State   message.State
	Cursors map[string]Position // by shard key
	Lives   []string            // of the ledger: incarnations that the log has had, the present one among them
}

// Writer is the state of one partition's writer. It is a value: Step returns the next one.
type Writer struct {
	Phase   Phase
	First   int64               // the log's first offset when it was taken over (W8)
	Log     message.State       // fold of the log before Read
	Read    int64               // offset up to which the log is folded
	Last    int64               // offset of the writer's last record: its claim or its last written batch
	Target  int64               // offset of the record that was answered and is to be reached by reading
	Cursors map[string]Position // newest valid cursor of each shard before Read
	Pending *Pending            // the batch under way
	claim   SendClaim           // the claim under way
}

// Pending is a batch that the writer was asked to write.
type Pending struct {
	Shard  string
	Cursor []byte
}

// Event is something that happened to a writer.
type Event interface{ isWriterEvent() }

// Events of a writer.
type (
	// Assigned: the ingest group gave us the partition, or the writer must claim it again. First and Next bound the log;
	// Incarnation is what message.Life says of it ("" if nothing does); Index and Checkpoint are what the index
	// and the loader's ledger know of it (nil if nothing); Fresh is a new random incarnation.
	Assigned struct {
		First, Next int64
		Incarnation string
		Index       *Known
		Checkpoint  *Known
		Fresh       string
	}
	// Claimed: the claim was answered with its offset. A claim with unknown outcome is sent again; each copy that lands is a
	// claim of its own.
	Claimed struct{ Offset int64 }
	// Saw: the record at Offset was read, in order. Foreign is true for a record that is not ours.
	Saw struct {
		Offset  int64
		Header  message.Header
		Foreign bool
	}
	// Asked: a batch is to be written. Only in phase Ready.
	Asked struct{ Pending }
	// Answered: the batch under way was acknowledged at Offset, in a log that begins at First.
	Answered struct{ Offset, First int64 }
	// Unanswered: nobody knows whether the claim or batch under way was written.
	Unanswered struct{}
	// Looked: the log was looked at while the writer had nothing to do (W6, W8). First and Next bound it, Incarnation is what
	// message.Life says of it. Only in phase Ready.
	Looked struct {
		First, Next int64
		Incarnation string
	}
	// Revoked: the partition is no longer ours.
	Revoked struct{}
)

func (Assigned) isWriterEvent()   {}
func (Claimed) isWriterEvent()    {}
func (Saw) isWriterEvent()        {}
func (Asked) isWriterEvent()      {}
func (Answered) isWriterEvent()   {}
func (Unanswered) isWriterEvent() {}
func (Looked) isWriterEvent()     {}
func (Revoked) isWriterEvent()    {}

// Action is what a writer wants done.
type Action interface{ isWriterAction() }

// Actions of a writer.
type (
	// SendClaim: append a claim with this incarnation; answer with Claimed or Unanswered. Continues: the log had it already.
	SendClaim struct {
		Incarnation string
		Continues   bool
	}
	// ReadLog: read the records From to To, both included, and feed each as Saw.
	ReadLog struct{ From, To int64 }
	// SendBatch: append the batch with this header; answer with Answered or Unanswered. The bytes of a second sending are
	// those of the first (W3).
	SendBatch struct {
		Incarnation     string
		Epoch, Sequence int64
	}
	// Written: the batch is written (W4): it may be indexed, acknowledged upstream and counted (W5).
	Written struct {
		Shard    string
		Position Position
	}
	// ClaimAgain: the partition was claimed by somebody else, or the claim was void: gather Assigned anew (W1). The batch
	// under way, if any, is neither written nor unwritten: its reader goes on from the recovered cursor.
	ClaimAgain struct{ Why string }
	// Stop: the partition needs somebody to look at it.
	Stop struct{ Err error }
)

func (SendClaim) isWriterAction()  {}
func (ReadLog) isWriterAction()    {}
func (SendBatch) isWriterAction()  {}
func (Written) isWriterAction()    {}
func (ClaimAgain) isWriterAction() {}
func (Stop) isWriterAction()       {}

// Step is the protocol of a writer. It never changes w's maps in place.
func (w Writer) Step(e Event) (Writer, []Action) {
	switch e := e.(type) {
	case Revoked:
		return Writer{}, nil
	case Assigned:
		return w.assigned(e)
	case Claimed:
		if w.Phase != Claiming {
			return w.confused(e)
		}
		if e.Offset < w.Read {
			return w.claimAgain("the log is another one than before") // W6: it is shorter than what is known of it
		}
		w.Phase, w.Last, w.Target = Recovering, e.Offset, e.Offset
		return w, []Action{ReadLog{From: w.Read, To: e.Offset}}
	case Unanswered:
		switch w.Phase {
		case Claiming:
			return w, []Action{w.claim}
		case Sending:
			return w, []Action{w.send()}
		}
		return w.confused(e)
	case Saw:
		return w.saw(e)
	case Asked:
		if w.Phase != Ready {
			return w.confused(e)
		}
		w.Phase, w.Pending = Sending, &e.Pending
		return w, []Action{w.send()}
	case Answered:
		return w.answered(e)
	case Looked:
		return w.looked(e)
	}
	return w.confused(e)
}

// looked compares the log with the one that the writer holds (W6): a topic that was deleted and created again holds less than was
// written, or begins with somebody else's record.
func (w Writer) looked(e Looked) (Writer, []Action) {
	if w.Phase != Ready {
		return w.confused(e)
	}
	if e.Next <= w.Last || (e.Incarnation != w.Log.Incarnation && (e.Incarnation != "" || e.First == 0)) {
		return w.claimAgain("the log is another one than before")
	}
	if e.First > w.First {
		return w.claimAgain(retentionCut)
	}
	return w, nil
}

// retentionCut is why a writer claims again when the log begins later than when it was taken over (W8). Had the loader not loaded
// what is gone, it knows no claim until the next one, and all that was written before it is void for the loader, whether in this
// epoch or in one before. Where to go on, the ledger says on taking over.
const retentionCut = "retention has cut the log"

func (w Writer) confused(e Event) (Writer, []Action) {
	err := fmt.Errorf("ingest: event %T in phase %s: a fault of the program", e, w.Phase)
	w.Phase = Stopped
	return w, []Action{Stop{Err: err}}
}

func (w Writer) send() SendBatch {
	return SendBatch{Incarnation: w.Log.Incarnation, Epoch: w.Log.Epoch, Sequence: w.Log.Next}
}

// assigned decides which incarnation to claim with and from where the log is read (W1, W2, W6).
func (w Writer) assigned(e Assigned) (Writer, []Action) {
	var known string
	for _, k := range []*Known{e.Checkpoint, e.Index} {
		if k != nil && k.State.Incarnation != "" {
			known = k.State.Incarnation
		}
	}
	checkpoint := e.Checkpoint
	if checkpoint != nil && known != "" && checkpoint.State.Incarnation != known {
		checkpoint = &Known{Offset: -1, Cursors: elsewhere(checkpoint)} // its offsets are those of another log
	}
	var start Known
	switch {
	case e.First == 0 && (e.Incarnation == "" || e.Incarnation != known):
		// A log from its beginning whose records are of no incarnation that we know (W6): it is new, or it was deleted and
		// created again. What index and ledger know is of another log; only the ledger's cursors still say what was loaded.
		start = Known{State: message.Origin(), Cursors: elsewhere(e.Checkpoint)}
	case e.Incarnation != "" && known != "" && e.Incarnation != known:
		start = Known{Offset: e.First, State: message.Unknown(e.Incarnation), Cursors: elsewhere(e.Checkpoint)}
	case e.First == 0 && e.Index != nil:
		start = *e.Index
	case checkpoint != nil && checkpoint.Offset >= e.First:
		// W8: where the log was cut, what is valid is what the loader takes. It may have passed a gap that the index knows nothing of.
		start = *checkpoint
	case e.First == 0:
		start = Known{State: message.Origin()}
	case known != "" || e.Incarnation != "":
		// Retention ate what was not loaded: a gap. No batch is valid until a claim (message.Unknown), whatever the index says, and
		// the rows from there on are read again from what the loader has loaded.
		start = Known{Offset: e.First, State: message.Unknown(known)}
		if known == "" {
			start.State = message.Unknown(e.Incarnation)
		}
		if checkpoint != nil {
			start.Cursors = checkpoint.Cursors
		}
	default:
		w.Phase = Stopped
		return w, []Action{Stop{Err: fmt.Errorf("the partition is empty but begins at offset %d, and neither index nor ledger knows its incarnation: delete and create the topic, or restore the index", e.First)}}
	}
	claim := SendClaim{Incarnation: start.State.Incarnation, Continues: true}
	if claim.Incarnation == "" {
		claim.Incarnation = e.Incarnation
	}
	if claim.Incarnation == "" {
		claim = SendClaim{Incarnation: e.Fresh}
	}
	next := Writer{Phase: Claiming, First: e.First, Log: start.State, Read: start.Offset, Cursors: maps.Clone(start.Cursors), claim: claim}
	if next.Cursors == nil {
		next.Cursors = map[string]Position{}
	}
	return next, []Action{claim}
}

// elsewhere gives the cursors of a checkpoint of another log: they count, their offsets do not.
func elsewhere(k *Known) map[string]Position {
	if k == nil {
		return nil
	}
	out := make(map[string]Position, len(k.Cursors))
	for shard, p := range k.Cursors {
		out[shard] = Position{Offset: -1, Sequence: -1, Cursor: p.Cursor}
	}
	return out
}

func (w Writer) saw(e Saw) (Writer, []Action) {
	if w.Phase != Recovering && w.Phase != Checking {
		return w.confused(e)
	}
	if e.Offset < w.Read {
		return w, nil
	}
	verdict := message.VoidClaim
	if !e.Foreign {
		w.Log, verdict = w.Log.Step(e.Header, e.Offset)
	}
	w.Read = e.Offset + 1
	switch verdict {
	case message.Gap:
		err := &message.GapError{Offset: e.Offset, Got: e.Header.Sequence, Want: w.Log.Next, Epoch: e.Header.Epoch, SourceAndStream: e.Header.Source + "/" + e.Header.Stream}
		w.Phase = Stopped
		return w, []Action{Stop{Err: err}}
	case message.Valid:
		shard := ShardKey(e.Header.Source, e.Header.Stream, e.Header.Shard)
		w = w.remember(shard, e)
		if w.Phase == Checking && (shard != w.Pending.Shard || !bytes.Equal(e.Header.Cursor, w.Pending.Cursor)) {
			// No copy of our batch, although nobody else may write one in our epoch: it has taken our batch's number, which makes ours
			// a repeat that no loader takes. Under a new claim the shard is read again.
			return w.claimAgain("somebody else wrote a batch in our name")
		}
	case message.Taken:
		if w.Phase == Checking {
			// W4: somebody claimed the partition between our last record and this batch; it may be our own claim landing late.
			return w.claimAgain("another claim lies before the batch")
		}
	}
	if e.Offset < w.Target {
		return w, nil
	}
	if w.Phase == Recovering {
		if verdict != message.Taken || e.Header.Incarnation != w.claim.Incarnation {
			return w.claimAgain("the claim is void: the log is of another incarnation")
		}
		w.Phase = Ready
		return w, nil
	}
	return w.written()
}

func (w Writer) remember(shard string, e Saw) Writer {
	w.Cursors = maps.Clone(w.Cursors)
	w.Cursors[shard] = Position{Offset: e.Offset, Epoch: e.Header.Epoch, Sequence: e.Header.Sequence, Cursor: e.Header.Cursor}
	return w
}

func (w Writer) claimAgain(why string) (Writer, []Action) {
	w.Phase, w.Pending = Idle, nil
	return w, []Action{ClaimAgain{Why: why}}
}

func (w Writer) answered(e Answered) (Writer, []Action) {
	if w.Phase != Sending {
		return w.confused(e)
	}
	if e.First > w.First {
		// The batch may be void for the loader already. If it is not, it is found on taking over.
		return w.claimAgain(retentionCut)
	}
	if e.Offset == w.Last+1 {
		sequence := w.Log.Next
		w.Log.Next++
		w.Read = e.Offset + 1
		w.Cursors = maps.Clone(w.Cursors)
		w.Cursors[w.Pending.Shard] = Position{Offset: e.Offset, Epoch: w.Log.Epoch, Sequence: sequence, Cursor: w.Pending.Cursor}
		w.Target = e.Offset
		return w.written()
	}
	if e.Offset <= w.Last {
		// The log is shorter than what we wrote: the topic was deleted and created again under us (W6).
		return w.claimAgain("the log is another one than before")
	}
	w.Phase, w.Target = Checking, e.Offset
	return w, []Action{ReadLog{From: w.Last + 1, To: e.Offset}}
}

// written is reached when the log up to the batch's offset holds no claim after ours: the batch is valid, there or at an
// earlier copy of it (W4).
func (w Writer) written() (Writer, []Action) {
	position := w.Cursors[w.Pending.Shard]
	a := Written{Shard: w.Pending.Shard, Position: position}
	w.Phase, w.Last, w.Pending = Ready, w.Target, nil
	return w, []Action{a}
}

// ShardKey names a shard within the project.
func ShardKey(source, stream, shard string) string {
	return source + "\x1f" + stream + "\x1f" + shard
}
