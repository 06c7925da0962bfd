package load

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/headwater-data/headwater/pipeline/message"
)

var (
	atFive = message.State{Incarnation: "x", Epoch: 2, Next: 1}
	atNine = message.State{Incarnation: "x", Epoch: 2, Next: 5}
	errAny = errors.New("any")
)

// play feeds events and checks the actions of the last one.
func play(t *testing.T, l Loader, want []Action, events ...Event) Loader {
	t.Helper()
	var actions []Action
	for _, e := range events {
		l, actions = l.Step(e)
	}
	if diff := cmp.Diff(want, actions, cmpopts.EquateEmpty(), cmpopts.EquateErrors()); diff != "" {
		t.Fatalf("after %+v (want -, got +):\n%s", events[len(events)-1], diff)
	}
	return l
}

// collecting is a loader that has loaded everything before offset 5.
func collecting(t *testing.T) Loader {
	return play(t, Loader{}, []Action{Collect{From: 5, State: atFive}},
		Assigned{Offset: 5, Metadata: Metadata{State: atFive}, Ledger: &Checkpoint{To: 5, State: atFive}, Incarnation: "x"})
}

func two(replaces bool) Collected {
	return Collected{To: 9, After: atNine, Shape: "h", Tables: []Table{{Name: "a"}, {Name: "b", Replaces: replaces}}}
}

func TestAFlushGoesFromIntentOverTablesAndLedgerToItsCommit(t *testing.T) {
	l := play(t, collecting(t), []Action{StoreShape{"h"}, Commit{5, Metadata{State: atFive, To: 9, Shape: "h"}}}, two(true)) // L2
	l = play(t, l, []Action{Insert{Table: 0}}, Committed{})                                                                  // L3
	l = play(t, l, []Action{Check{0}}, Inserted{})                                                                           // L5
	l = play(t, l, []Action{Insert{Table: 1}}, Checked{Complete: true})
	l = play(t, l, []Action{Check{1}}, Inserted{})
	l = play(t, l, []Action{Remove{1}}, Checked{Complete: true})
	l = play(t, l, []Action{Record{}}, Removed{})                            // L6
	l = play(t, l, []Action{Commit{9, Metadata{State: atNine}}}, Recorded{}) // L7
	l = play(t, l, []Action{Collect{From: 9, State: atNine}}, Committed{})   // and on
	play(t, l, []Action{Collect{From: 5, State: atFive}}, Revoked{}, Assigned{Offset: 5, Metadata: Metadata{State: atFive}, Ledger: &Checkpoint{To: 5, State: atFive}, Incarnation: "x"})
}

func TestAnIntentIsRepeatedExactly(t *testing.T) { // L2
	intent := Metadata{State: atFive, To: 9, Shape: "old"}
	l := play(t, Loader{}, []Action{Collect{From: 5, To: 9, State: atFive, Shape: "old"}},
		Assigned{Offset: 5, Metadata: intent, Ledger: &Checkpoint{To: 5, State: atFive}, Incarnation: "x"})
	with := two(false)
	with.Shape = "old"
	// The intent is there: it is not committed again, and the tables are asked first (L3).
	l = play(t, l, []Action{Insert{Table: 0, Ask: true}}, with)
	for _, wrong := range []Collected{{To: 8, Shape: "old"}, {To: 9, Shape: "new"}} {
		if l, _ := play(t, Loader{}, []Action{Collect{From: 5, To: 9, State: atFive, Shape: "old"}},
			Assigned{Offset: 5, Metadata: intent, Ledger: &Checkpoint{To: 5, State: atFive}, Incarnation: "x"}).Step(wrong); l.Phase != Stopped {
			t.Errorf("%+v was taken", wrong)
		}
	}
	l = play(t, l, []Action{Record{}}, Inserted{}, Checked{Complete: true}, Inserted{}, Checked{Complete: true})
	l = play(t, l, []Action{Collect{From: 9, State: atNine}}, Recorded{}, Committed{})
	// What follows the repeated flush is new: nothing to ask.
	play(t, l, []Action{Insert{Table: 0}}, Collected{To: 12, After: atNine, Shape: "h", Tables: []Table{{Name: "a"}}}, Committed{})
}

func TestMissingRowsGoInUnderASecondTokenOnce(t *testing.T) { // L5
	l := play(t, collecting(t), []Action{Insert{Table: 0}}, two(false), Committed{})
	l = play(t, l, []Action{Insert{Table: 0, Ask: true, Second: true}}, Inserted{}, Checked{})
	again := play(t, l, []Action{Insert{Table: 1}}, Inserted{}, Checked{Complete: true})
	if again.Second {
		t.Error("the next table begins with its second token")
	}
	if l, _ = play(t, l, []Action{Check{0}}, Inserted{}).Step(Checked{}); l.Phase != Stopped {
		t.Errorf("phase %s: rows that vanish twice must stop the partition", l.Phase)
	}
}

func TestATableThatRefusesIsHeldAndTheOthersGoOn(t *testing.T) { // L4
	l := play(t, collecting(t), []Action{Insert{Table: 1}}, two(false), Committed{}, Refused{errAny})
	if !l.Tables[0].Held || l.Tables[1].Held {
		t.Errorf("%+v", l.Tables)
	}
	play(t, l, []Action{Record{}}, Inserted{}, Checked{Complete: true})
}

func TestACommitWithUnknownOutcomeLeavesTheGroup(t *testing.T) { // L8
	l := play(t, collecting(t), []Action{Leave{errAny}}, two(false), CommitLost{errAny})
	if l.Phase != Lost {
		t.Errorf("phase %s", l.Phase)
	}
}

func TestWhereALoaderGoesOn(t *testing.T) {
	ledger := &Checkpoint{To: 5, State: atFive}
	for name, c := range map[string]struct {
		event Assigned
		want  []Action
		ask   bool
	}{
		"nothing known: from the beginning": {
			Assigned{Offset: -1}, []Action{Collect{State: message.Origin()}}, false},
		"commits expired: from the ledger, never from earliest or latest": { // L9
			Assigned{Offset: -1, Ledger: ledger, Incarnation: "x"}, []Action{Collect{From: 5, State: atFive}}, false},
		"commits expired in the middle of a flush: to where the tables' rows end, asking": { // L9
			Assigned{Offset: -1, Ledger: ledger, Incarnation: "x", Reach: 8}, []Action{Collect{From: 5, To: 8, State: atFive}}, true},
		"the warehouse is older than the commits: from its ledger, asking": { // L11
			Assigned{Offset: 9, Metadata: Metadata{State: atNine}, Ledger: ledger, Incarnation: "x"}, []Action{Collect{From: 5, State: atFive}}, true},
		"the warehouse is empty but commits are there: from the beginning, asking": { // L11
			Assigned{Offset: 9, Metadata: Metadata{State: atNine}, Incarnation: "x"}, []Action{Collect{State: message.Origin()}}, true},
		"a ledger row without its final commit: the intent is repeated": {
			Assigned{Offset: 5, Metadata: Metadata{State: atFive, To: 9, Shape: "h"}, Ledger: &Checkpoint{To: 9, State: atNine}, Incarnation: "x"},
			[]Action{Collect{From: 5, To: 9, State: atFive, Shape: "h"}}, true},
		"retention ate unread offsets, on_gap continue: an intent of its own": { // L10
			Assigned{Offset: 5, Metadata: Metadata{State: atFive}, Ledger: ledger, First: 7, Incarnation: "x", ContinueOnGap: true},
			[]Action{Commit{5, Metadata{State: atFive, To: 7, Gap: true}}}, false},
		"retention ate the beginning of a flush that was cut short: what is left is asked for": { // L10
			Assigned{Offset: 5, Metadata: Metadata{State: atFive, To: 9, Shape: "old"}, Ledger: ledger, First: 7, Incarnation: "x", ContinueOnGap: true},
			[]Action{Commit{5, Metadata{State: atFive, To: 7, Gap: true, Ask: 9}}}, false},
		"retention ate a flush that only lacks its final commit: from the ledger": { // L10
			Assigned{Offset: 5, Metadata: Metadata{State: atFive, To: 9, Shape: "old"}, Ledger: &Checkpoint{To: 9, State: atNine}, First: 7, Incarnation: "x"},
			[]Action{Collect{From: 9, State: atNine}}, false},
		"the warehouse is from before the topic was made again: all of the new log, asking": { // L11
			Assigned{Offset: 9, Metadata: Metadata{State: atNine}, Ledger: &Checkpoint{To: 90, State: message.State{Incarnation: "old", Next: 4}}, Incarnation: "x"}, []Action{Collect{State: message.Origin()}}, true},
		"the warehouse is from when the new log was empty: all of it, asking": { // L11
			Assigned{Offset: 9, Metadata: Metadata{State: atNine}, Ledger: &Checkpoint{State: message.Origin()}, Incarnation: "x"}, []Action{Collect{State: message.Origin()}}, true},
		"the warehouse was older, and whoever found it died": { // L11
			Assigned{Offset: 5, Metadata: Metadata{State: atFive, Ask: 9}, Ledger: ledger, Incarnation: "x"}, []Action{Collect{From: 5, State: atFive}}, true},
		"a gap's intent is recorded again": {
			Assigned{Offset: 5, Metadata: Metadata{State: atFive, To: 7, Gap: true}, Ledger: ledger, First: 7, Incarnation: "x"}, []Action{Record{}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if l := play(t, Loader{}, c.want, c.event); l.Ask != c.ask {
				t.Errorf("ask %t, want %t", l.Ask, c.ask)
			}
		})
	}
	for name, e := range map[string]Assigned{
		"retention ate unread offsets": {Offset: 5, Metadata: Metadata{State: atFive}, Ledger: ledger, First: 7, Incarnation: "x"}, // L10
		"the topic was created again":  {Offset: 5, Metadata: Metadata{State: atFive}, Ledger: ledger, Incarnation: "y"},
	} {
		t.Run(name+": stops and says what was lost", func(t *testing.T) {
			l, actions := (Loader{}).Step(e)
			stop, ok := actions[0].(Stop)
			if _, lost := errors.AsType[*LostRangeError](stop.Err); !ok || !lost || l.Phase != Stopped {
				t.Errorf("%+v", actions)
			}
		})
	}
}

// A log that retention emptied says nothing of its incarnation, and a commit whose flush only lacks its final one may not know it yet.
func TestBehindAGapTheLedgersIncarnationStands(t *testing.T) {
	e := Assigned{Offset: 0, Metadata: Metadata{State: message.Origin(), To: 5, Shape: "h"}, Ledger: &Checkpoint{To: 5, State: atFive}, First: 7, ContinueOnGap: true}
	l, actions := Loader{}.Step(e)
	if want := []Action{Commit{5, Metadata{State: atFive, To: 7, Gap: true}}}; !cmp.Equal(actions, want) {
		t.Fatal(cmp.Diff(want, actions))
	}
	if l.Flush.After != message.Unknown("x") {
		t.Errorf("behind the gap %+v", l.Flush.After)
	}
}

func TestAfterAGapNothingIsValidUntilAClaim(t *testing.T) {
	e := Assigned{Offset: 5, Metadata: Metadata{State: atFive}, Ledger: &Checkpoint{To: 5, State: atFive}, First: 7, Incarnation: "x", ContinueOnGap: true}
	l := play(t, Loader{}, []Action{Record{}}, e, Committed{})
	_ = play(t, l, []Action{Collect{From: 7, State: message.Unknown("x")}}, Recorded{}, Committed{})
	e.First, e.Incarnation = 0, "y" // created again
	l = play(t, Loader{}, []Action{Record{}}, e, Committed{})
	play(t, l, []Action{Collect{From: 0, State: message.Origin()}}, Recorded{}, Committed{})
}

func TestCommitsSayUpToWhereToAsk(t *testing.T) { // L11
	restored := Assigned{Offset: 12, Metadata: Metadata{State: atNine}, Ledger: &Checkpoint{To: 5, State: atFive}, Incarnation: "x"}
	l := play(t, Loader{}, []Action{StoreShape{"h"}, Commit{5, Metadata{State: atFive, To: 9, Shape: "h", Ask: 12}}}, restored, Collected{To: 9, After: atNine, Shape: "h"})
	l = play(t, l, []Action{Commit{9, Metadata{State: atNine, Ask: 12}}}, Committed{}, Recorded{})
	l = play(t, l, []Action{StoreShape{"h"}, Commit{9, Metadata{State: atNine, To: 12, Shape: "h", Ask: 12}}}, Committed{}, Collected{To: 12, After: atNine, Shape: "h"})
	play(t, l, []Action{Commit{12, Metadata{State: atNine}}}, Committed{}, Recorded{})
}

func TestMetadataFitsACommitAndReadsBack(t *testing.T) {
	m := Metadata{State: message.State{Incarnation: "0123456789abcdef", Epoch: 1 << 60, Next: 1 << 60}, To: 1 << 60, Shape: "0123456789abcdef", Gap: true, Ask: 1 << 60}
	text := m.Encode()
	got, err := ParseMetadata(text)
	if err != nil || got != m || len(text) > 4096 {
		t.Errorf("%d bytes, %+v, %v", len(text), got, err)
	}
	if _, err := ParseMetadata("somebody else's"); err == nil {
		t.Error("foreign metadata was accepted")
	}
}

func TestARepairLooksForWhatItInserted(t *testing.T) { // L5
	for _, test := range []struct {
		name   string
		event  Event
		second bool
		want   Action
	}{
		{name: "inserted", event: Inserted{}, want: Check{Table: 1}},
		{name: "inserted under the second token", event: Inserted{}, second: true, want: Check{Table: 1}},
		{name: "there", event: Checked{Complete: true}, want: Remove{Table: 1}},
		{name: "not there", event: Checked{}, want: Insert{Table: 1, Ask: true, Second: true}},
		{name: "removed", event: Removed{}},
		{name: "refused again", event: Refused{Err: errAny}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := repairNext(test.event, 1, test.second); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
	if stop, ok := repairNext(Checked{}, 1, true).(Stop); !ok || !errors.Is(stop.Err, errStillMissing) {
		t.Error("rows that vanish twice must not be counted as repaired")
	}
}

func TestALogThatIsAnotherOneIsLeft(t *testing.T) { // W6, L10
	for name, c := range map[string]struct {
		event Looked
		leave bool
	}{
		"the same":                      {Looked{Next: 5, Incarnation: "x"}, false},
		"more has come":                 {Looked{Next: 8, Incarnation: "x"}, false},
		"all was loaded and is gone":    {Looked{First: 5, Next: 5}, false},
		"shorter":                       {Looked{Next: 4, Incarnation: "x"}, true},
		"empty":                         {Looked{}, true},
		"without a first claim":         {Looked{Next: 9}, true},
		"of another incarnation":        {Looked{Next: 9, Incarnation: "y"}, true},
		"retention overtook the loader": {Looked{First: 6, Next: 9, Incarnation: "x"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			l, actions := collecting(t).Step(c.event)
			if _, left := actions[0].(Leave); left != c.leave || (l.Phase == Lost) != c.leave {
				t.Errorf("phase %s, %+v", l.Phase, actions)
			}
		})
	}
}
