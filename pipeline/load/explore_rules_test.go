package load

import (
	"strings"
	"testing"
)

// brokenRules breaks the protocol on purpose, one rule at a time, in the harness around the production step functions: what a
// step function is told, what it wants, or how that is carried out. The search must find what the rule prevents. W7 is a setting
// of the broker; TestReplicatedTopicsMustKeepWhatTheyAcknowledge of pipeline/topic breaks it.
var brokenRules = []struct {
	rule string // as the harness knows it
	how  string
	in   scenario
	want string // part of the violation
}{
	{"W1", "every claim has a new incarnation",
		scenario{writers: 2, claims: 1, source: oneRow}, "grows for ever"},
	{"W2 index", "a writer starts at an index entry although the log begins after it",
		scenario{writers: 1, crashes: 1, cuts: 1, source: shortSource}, "in two valid batches"},
	{"W2 checkpoint", "a writer does not ask the ledger when retention took what the index does not have",
		scenario{writers: 1, crashes: 1, cuts: 1, source: shortSource}, "stopped for ever"},
	{"W2 void", "a writer goes on from the newest cursor, valid or not",
		scenario{writers: 2, claims: 1, lates: 1, source: shortSource}, "in two valid batches"},
	{"W3", "a retried batch has a number of its own",
		scenario{writers: 1, unheard: 1, source: oneRow}, "in two valid batches"},
	{"W4", "an answered batch is taken for written without a look at what lies between",
		scenario{writers: 2, claims: 1, source: oneRow}, "takes batch 0 of shard a for written"},
	{"W5", "a batch is indexed when it is sent",
		scenario{writers: 2, claims: 1, crashes: 1, source: oneRow}, "in no valid batch"},
	{"W6", "nobody compares incarnations",
		scenario{writers: 1, loaders: 1, remakes: 1, onGap: true, window: 100, source: oneRow}, "in no valid batch"},
	{"W8 look", "a running writer does not look whether retention has cut the log",
		scenario{writers: 1, loaders: 1, cuts: 1, eats: true, onGap: true, window: 100, source: shortSource}, "in no table"},
	{"W8 index", "a writer believes the index of a log that was cut",
		scenario{writers: 1, loaders: 1, crashes: 1, cuts: 1, eats: true, onGap: true, window: 100, source: oneRow}, "in no table"},
	{"index", "index entries of a stalled writer have the keys of newer ones",
		scenario{writers: 2, claims: 1, crashes: 1, source: [][]batch{{rows(0), rows(1)}, {rows(2)}}}, "in two valid batches"},
	{"L1", "a commit names the generation of the moment",
		scenario{loaders: 2, rebalances: 1, window: 100, flush: 1, log: short, source: shortSource}, "erases the intent"},
	{"L2", "an intent is not repeated",
		scenario{loaders: 1, crashes: 1, window: 100, log: short, source: shortSource}, "stand twice"},
	{"L2 shape", "an intent is repeated with the mapping of the day",
		scenario{loaders: 1, crashes: 1, deploys: 1, window: 100, log: short[:2:2], source: [][]batch{{bad(1, rows(0))}}}, "in a table and open in quarantine"},
	{"L3 token", "inserts have no token",
		scenario{loaders: 1, unheard: 1, window: 100, log: short[:2:2], source: oneRow}, "stand twice"},
	{"L4 stop", "a table that refuses stops the partition",
		scenario{loaders: 1, refuses: 1, window: 100, log: short[:2:2], source: oneRow}, "stopped for ever"},
	{"L4 pass", "rows that a table refuses are counted as loaded",
		scenario{loaders: 1, refuses: 1, window: 100, log: short[:2:2], source: oneRow}, "in no table"},
	{"L4 repair", "held ranges are not repaired",
		scenario{loaders: 1, refuses: 1, window: 100, log: short[:2:2], source: oneRow}, "held for ever"},
	{"L4 ask", "a repair does not ask first",
		scenario{loaders: 1, refuses: 1, window: 0, log: short[:2:2], source: oneRow}, "stand twice"},
	{"L5", "nobody looks whether rows are there",
		scenario{loaders: 1, forgets: 1, window: 100, log: short[:2:2], source: oneRow}, "in no table"},
	{"L5 repair", "a repair does not look whether rows are there",
		scenario{loaders: 1, refuses: 1, forgets: 1, window: 100, log: short[:2:2], source: oneRow}, "in no table"},
	{"L6", "the account of a flush has no key",
		scenario{loaders: 1, crashes: 1, window: 100, log: short[:2:2], source: oneRow}, "counted as loaded twice"},
	{"L7", "the final commit carries the state where the flush began",
		scenario{loaders: 1, crashes: 1, window: 100, flush: 2, log: short, source: shortSource}, "in no table"},
	{"L8", "a commit of unknown outcome is sent again in its generation",
		scenario{loaders: 1, lates: 1, window: 100, flush: 2, log: short, source: shortSource}, "erases the intent"},
	{"L9 earliest", "without commits a loader begins at the beginning",
		scenario{loaders: 1, crashes: 1, expires: 1, window: 100, log: short, source: shortSource}, "stand twice"},
	{"L9 latest", "without commits a loader begins at the end",
		scenario{loaders: 1, crashes: 1, expires: 1, window: 100, flush: 2, log: short, source: shortSource}, "loaded up to offset 1 of 3"},
	{"L9 reach", "without commits a loader does not look how far the tables reach",
		scenario{loaders: 1, crashes: 1, expires: 1, window: 100, log: short, source: shortSource}, "stand twice"},
	{"L10", "offsets that retention ate are passed over",
		scenario{loaders: 1, crashes: 1, cuts: 1, eats: true, onGap: true, window: 100, log: short, source: shortSource}, "loaded up to offset 0 of 3"},
	{"L11", "a ledger behind the commits is not noticed",
		scenario{loaders: 1, crashes: 2, restores: 1, window: 100, log: short, source: shortSource}, "loaded up to offset 0 of 3"},
	{"L11 log", "a ledger of the log before the commits' is not noticed",
		scenario{writers: 1, loaders: 1, crashes: 1, remakes: 1, restores: 1, onGap: true, window: 100, source: shortSource}, "loaded up to offset"},
}

func TestTheExplorerFindsEveryBrokenRule(t *testing.T) {
	for _, b := range brokenRules {
		t.Run(b.rule, func(t *testing.T) {
			sc := b.in
			sc.name = b.how
			if got := explore(&sc); got.violation != "" {
				t.Fatalf("the scenario is violated although no rule is broken: %s\n  %s", got.violation, strings.Join(got.trace, "\n  "))
			}
			sc.rule = b.rule
			got := explore(&sc)
			if got.violation == "" {
				t.Fatalf("%s, and none of %d states shows it", b.how, got.states)
			}
			if !strings.Contains(got.violation, b.want) {
				t.Errorf("%s: found %q, want one about %q\n  %s", b.how, got.violation, b.want, strings.Join(got.trace, "\n  "))
			}
			t.Logf("%s: %s (after %d steps, %d states)", b.how, got.violation, len(got.trace), got.states)
		})
	}
}
