package ingest

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/headwater-data/headwater/pipeline/message"
)

func claimAt(offset int64, incarnation string) Saw {
	return Saw{Offset: offset, Header: message.Header{Kind: message.Claim, Incarnation: incarnation}}
}

func batchAt(offset int64, incarnation string, epoch, sequence int64, shard, cursor string) Saw {
	return Saw{Offset: offset, Header: message.Header{
		Kind: message.Batch, Incarnation: incarnation, Epoch: epoch, Sequence: sequence, Source: "s", Stream: "t", Shard: shard, Cursor: []byte(cursor),
	}}
}

// play feeds events and checks the actions of the last one.
func play(t *testing.T, w Writer, want []Action, events ...Event) Writer {
	t.Helper()
	var actions []Action
	for _, e := range events {
		w, actions = w.Step(e)
	}
	if diff := cmp.Diff(want, actions, cmpopts.EquateEmpty(), cmpopts.EquateErrors()); diff != "" {
		t.Fatalf("after %+v (want -, got +):\n%s", events[len(events)-1], diff)
	}
	return w
}

var keyA = ShardKey("s", "t", "a")

// ready is a writer that holds an empty log as incarnation x, its claim at offset 0.
func ready(t *testing.T) Writer {
	w := play(t, Writer{}, []Action{SendClaim{"x", false}}, Assigned{Fresh: "x"})
	w = play(t, w, []Action{ReadLog{0, 0}}, Claimed{0})
	w = play(t, w, nil, claimAt(0, "x"))
	if w.Phase != Ready {
		t.Fatalf("phase %s", w.Phase)
	}
	return w
}

func ask(cursor string) Asked { return Asked{Pending{Shard: keyA, Cursor: []byte(cursor)}} }

func TestABatchThatFollowsDirectlyIsWritten(t *testing.T) {
	w := play(t, ready(t), []Action{SendBatch{"x", 0, 0}}, ask("1"))
	w = play(t, w, []Action{Written{keyA, Position{Offset: 1, Cursor: []byte("1")}}}, Answered{Offset: 1})
	w = play(t, w, []Action{SendBatch{"x", 0, 1}}, ask("2"))
	play(t, w, []Action{Written{keyA, Position{Offset: 2, Sequence: 1, Cursor: []byte("2")}}}, Answered{Offset: 2})
}

func TestAnUnknownOutcomeSendsTheSameAgain(t *testing.T) { // W3
	w := play(t, ready(t), []Action{SendBatch{"x", 0, 0}}, ask("1"))
	w = play(t, w, []Action{SendBatch{"x", 0, 0}}, Unanswered{})
	// The first copy had landed at 1, the second was answered at 2: the batch is the one at 1.
	w = play(t, w, []Action{ReadLog{1, 2}}, Answered{Offset: 2})
	w = play(t, w, nil, batchAt(1, "x", 0, 0, "a", "1"))
	w = play(t, w, []Action{Written{keyA, Position{Offset: 1, Cursor: []byte("1")}}}, batchAt(2, "x", 0, 0, "a", "1"))
	play(t, w, []Action{SendBatch{"x", 0, 1}}, ask("2"))
}

func TestAClaimBetweenSendsTheWriterBack(t *testing.T) { // W4
	w := play(t, ready(t), []Action{SendBatch{"x", 0, 0}}, ask("1"))
	w = play(t, w, []Action{ReadLog{1, 2}}, Answered{Offset: 2})
	w = play(t, w, []Action{ClaimAgain{"another claim lies before the batch"}}, claimAt(1, "x"))
	if w.Phase != Idle || w.Pending != nil {
		t.Errorf("%+v", w)
	}
}

func TestALogCreatedAgainUnderAWriterSendsItBack(t *testing.T) { // W6
	w := play(t, ready(t), []Action{Written{keyA, Position{Offset: 1, Cursor: []byte("1")}}}, ask("1"), Answered{Offset: 1})
	w = play(t, w, []Action{ClaimAgain{"the log is another one than before"}}, ask("2"), Answered{})
	if w.Phase != Idle || w.Pending != nil {
		t.Errorf("%+v", w)
	}
}

func TestForeignAndVoidRecordsBetweenDoNotDisturb(t *testing.T) {
	w := play(t, ready(t), []Action{SendBatch{"x", 0, 0}}, ask("1"))
	w = play(t, w, []Action{ReadLog{1, 4}}, Answered{Offset: 4})
	w = play(t, w, nil, Saw{Offset: 1, Foreign: true}, claimAt(2, "other"), batchAt(3, "x", -9, 4, "a", "9"))
	play(t, w, []Action{Written{keyA, Position{Offset: 4, Cursor: []byte("1")}}}, batchAt(4, "x", 0, 0, "a", "1"))
}

func TestOfTwoFirstClaimsTheFirstGivesTheIncarnation(t *testing.T) { // W1
	w := play(t, Writer{}, []Action{SendClaim{"mine", false}}, Assigned{Fresh: "mine"})
	w = play(t, w, []Action{ReadLog{0, 1}}, Claimed{1})
	w = play(t, w, nil, claimAt(0, "theirs"))
	w = play(t, w, []Action{ClaimAgain{"the claim is void: the log is of another incarnation"}}, claimAt(1, "mine"))
	play(t, w, []Action{SendClaim{"theirs", true}}, Assigned{Next: 2, Incarnation: "theirs", Fresh: "unused"})
}

func TestWhereANewOwnerGoesOn(t *testing.T) { // W2, W6
	index := &Known{Offset: 11, State: message.State{Incarnation: "x", Epoch: 5, Next: 6}, Cursors: map[string]Position{keyA: {Offset: 10, Epoch: 5, Sequence: 5, Cursor: []byte("i")}}}
	ledger := &Known{Offset: 20, State: message.State{Incarnation: "x", Epoch: 12, Next: 3}, Cursors: map[string]Position{keyA: {Offset: 19, Cursor: []byte("l")}}}
	behind := &Known{Offset: 4, State: message.State{Incarnation: "x", Next: 3}, Cursors: map[string]Position{keyA: {Offset: 3, Cursor: []byte("b")}}}
	other := &Known{Offset: 40, State: message.State{Incarnation: "w", Next: 3}, Cursors: map[string]Position{keyA: {Offset: 39, Cursor: []byte("o")}}}
	for name, c := range map[string]struct {
		event       Assigned
		incarnation string
		read        int64
		log         message.State
		cursor      string
	}{
		"a new log from its beginning":                         {Assigned{Fresh: "new"}, "new", 0, message.Origin(), ""},
		"after the newest index entry":                         {Assigned{Next: 30, Incarnation: "x", Index: index}, "x", 11, index.State, "i"},
		"from the ledger where retention cut the log":          {Assigned{First: 3, Next: 30, Incarnation: "x", Index: index, Checkpoint: ledger}, "x", 20, ledger.State, "l"},
		"behind a gap before the index entry":                  {Assigned{First: 9, Next: 30, Incarnation: "x", Index: index, Checkpoint: behind}, "x", 9, message.Unknown("x"), "b"},
		"behind a gap in a log of which nothing was loaded":    {Assigned{First: 9, Next: 30, Incarnation: "x", Index: index}, "x", 9, message.Unknown("x"), ""},
		"behind a gap, loaded were rows of the log before":     {Assigned{First: 9, Next: 30, Incarnation: "x", Index: index, Checkpoint: other}, "x", 9, message.Unknown("x"), "o"},
		"emptied before anything was loaded":                   {Assigned{First: 30, Next: 30, Index: index}, "x", 30, message.Unknown("x"), ""},
		"a log that nobody indexed yet, from its beginning":    {Assigned{Next: 4, Incarnation: "x"}, "x", 0, message.Origin(), ""},
		"from the ledger when retention ate the index entry":   {Assigned{First: 15, Next: 30, Incarnation: "x", Index: index, Checkpoint: ledger}, "x", 20, ledger.State, "l"},
		"behind a gap nothing is valid until a claim":          {Assigned{First: 25, Next: 30, Incarnation: "x", Index: index, Checkpoint: ledger}, "x", 25, message.Unknown("x"), "l"},
		"an emptied log keeps its incarnation":                 {Assigned{First: 30, Next: 30, Index: index, Checkpoint: ledger}, "x", 30, message.Unknown("x"), "l"},
		"a log created again is read whole, from the ledger":   {Assigned{Next: 2, Incarnation: "y", Checkpoint: ledger}, "y", 0, message.Origin(), "l"},
		"an empty log created again gets a new incarnation":    {Assigned{Fresh: "new", Checkpoint: ledger}, "new", 0, message.Origin(), "l"},
		"a log without anything known but its own incarnation": {Assigned{First: 9, Next: 12, Incarnation: "x"}, "x", 9, message.Unknown("x"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := play(t, Writer{}, []Action{SendClaim{c.incarnation, c.event.Fresh == ""}}, c.event)
			if w.Read != c.read || w.Log != c.log || string(w.Cursors[keyA].Cursor) != c.cursor {
				t.Errorf("got %+v", w)
			}
		})
	}
	t.Run("an emptied log that nobody knows stops", func(t *testing.T) {
		if w, _ := (Writer{}).Step(Assigned{First: 9, Next: 9}); w.Phase != Stopped {
			t.Errorf("phase %s", w.Phase)
		}
	})
}

func TestRecoveryTakesOnlyValidCursors(t *testing.T) { // W2
	w := play(t, Writer{}, []Action{SendClaim{"x", true}}, Assigned{Next: 5, Incarnation: "x"})
	w = play(t, w, []Action{ReadLog{0, 5}}, Claimed{5})
	w = play(t, w, nil,
		claimAt(0, "x"), batchAt(1, "x", 0, 0, "a", "good"), claimAt(2, "x"),
		batchAt(3, "x", 0, 1, "a", "void"), batchAt(4, "x", 2, 0, "b", "other"), claimAt(5, "x"))
	if w.Phase != Ready || string(w.Cursors[keyA].Cursor) != "good" || w.Log != (message.State{Incarnation: "x", Epoch: 5}) {
		t.Errorf("%+v", w)
	}
}

func TestAGapStopsTheWriter(t *testing.T) {
	w := play(t, Writer{}, []Action{SendClaim{"x", true}}, Assigned{Next: 3, Incarnation: "x"})
	w = play(t, w, []Action{ReadLog{0, 3}}, Claimed{3})
	w, _ = w.Step(claimAt(0, "x"))
	if w, _ = w.Step(batchAt(1, "x", 0, 1, "a", "1")); w.Phase != Stopped {
		t.Errorf("phase %s", w.Phase)
	}
}

func TestEventsThatCannotBeStopTheWriter(t *testing.T) {
	for _, e := range []Event{Claimed{1}, Answered{Offset: 1}, ask("1"), Unanswered{}, claimAt(0, "x")} {
		t.Run(fmt.Sprintf("%T", e), func(t *testing.T) {
			if w, _ := (Writer{}).Step(e); w.Phase != Stopped {
				t.Errorf("phase %s", w.Phase)
			}
		})
	}
}

func TestABatchInOurNameThatIsNotOursSendsTheWriterBackToItsClaim(t *testing.T) { // W4
	for _, test := range []struct {
		name, shard, cursor string
		want                []Action
	}{
		{name: "our own batch, landing twice", shard: "a", cursor: "1"},
		{name: "another cursor", shard: "a", cursor: "7", want: []Action{ClaimAgain{"somebody else wrote a batch in our name"}}},
		{name: "another shard", shard: "b", cursor: "1", want: []Action{ClaimAgain{"somebody else wrote a batch in our name"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := play(t, ready(t), []Action{SendBatch{"x", 0, 0}}, ask("1"))
			w = play(t, w, []Action{ReadLog{1, 2}}, Answered{Offset: 2})
			w = play(t, w, test.want, batchAt(1, "x", 0, 0, test.shard, test.cursor))
			if test.want == nil {
				play(t, w, []Action{Written{keyA, Position{Offset: 1, Cursor: []byte("1")}}}, batchAt(2, "x", 0, 0, "a", "1"))
			}
		})
	}
}

func TestALogThatIsAnotherOneIsNoticedWhenIdle(t *testing.T) { // W6
	for name, c := range map[string]struct {
		event Looked
		again bool
	}{
		"the same":                        {Looked{Next: 1, Incarnation: "x"}, false},
		"cut, of the same incarnation":    {Looked{First: 1, Next: 2, Incarnation: "x"}, true},
		"emptied by retention":            {Looked{First: 1, Next: 1}, true},
		"empty":                           {Looked{}, true},
		"without a first claim":           {Looked{Next: 4}, true},
		"as long, of another incarnation": {Looked{Next: 9, Incarnation: "y"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			w, actions := ready(t).Step(c.event)
			if (len(actions) > 0) != c.again || (w.Phase == Idle) != c.again {
				t.Errorf("phase %s, %+v", w.Phase, actions)
			}
		})
	}
}

func TestAClaimInALogThatIsShorterThanWhatIsKnownIsMadeAgain(t *testing.T) { // W6
	known := &Known{Offset: 5, State: message.State{Incarnation: "x", Epoch: 0, Next: 4}}
	w := play(t, Writer{}, []Action{SendClaim{"x", true}}, Assigned{Next: 5, Incarnation: "x", Index: known})
	play(t, w, []Action{ClaimAgain{"the log is another one than before"}}, Claimed{0})
}

func TestAClaimOfSomebodyElseIsNotOurs(t *testing.T) { // W6: the topic was created again between our claim's answer and our reading
	w := play(t, Writer{}, []Action{SendClaim{"x", false}}, Assigned{Fresh: "x"})
	w = play(t, w, []Action{ReadLog{0, 0}}, Claimed{0})
	play(t, w, []Action{ClaimAgain{"the claim is void: the log is of another incarnation"}}, claimAt(0, "y"))
}

func TestABatchAnsweredByALogThatWasCutIsNotWritten(t *testing.T) { // W8
	w := play(t, ready(t), []Action{Written{keyA, Position{Offset: 1, Cursor: []byte("1")}}}, ask("1"), Answered{Offset: 1})
	w = play(t, w, []Action{ClaimAgain{"retention has cut the log"}}, ask("2"), Answered{Offset: 2, First: 1})
	// The loader had loaded nothing: what it does not take for valid is no cursor, whatever the index says.
	index := &Known{Offset: 2, State: message.State{Incarnation: "x", Next: 1}, Cursors: map[string]Position{keyA: {Offset: 1, Cursor: []byte("1")}}}
	w = play(t, w, []Action{SendClaim{"x", true}}, Assigned{First: 1, Next: 3, Incarnation: "x", Index: index})
	w = play(t, w, []Action{ReadLog{1, 3}}, Claimed{3})
	w = play(t, w, nil, batchAt(1, "x", 0, 0, "a", "1"), batchAt(2, "x", 0, 1, "a", "2"), claimAt(3, "x"))
	if w.Phase != Ready || len(w.Cursors) != 0 {
		t.Fatalf("%+v", w)
	}
	// It does not claim again and again: the log begins where it began when it was taken over.
	w = play(t, w, nil, Looked{First: 1, Next: 4, Incarnation: "x"})
	play(t, w, []Action{Written{keyA, Position{Offset: 4, Epoch: 3, Cursor: []byte("1")}}}, ask("1"), Answered{Offset: 4, First: 1})
}
