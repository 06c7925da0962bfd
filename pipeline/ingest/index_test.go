package ingest

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/headwater-data/headwater/pipeline/message"
	"github.com/headwater-data/headwater/pipeline/topic"
)

// fixedLedger is a ledger that knows what it is given.
type fixedLedger struct{ known *Known }

func (l fixedLedger) Known(context.Context, string, int) (*Known, error) { return l.known, nil }

// Of which log a partition is whose beginning retention has taken, index and ledger say together; offsets say nothing of it, as a
// log that is made again begins at 0.
func TestWhichLogAPartitionHas(t *testing.T) {
	ledger := func(newest string, lives ...string) *Known {
		return &Known{State: message.State{Incarnation: newest}, Lives: lives}
	}
	for name, c := range map[string]struct {
		indexed []string // incarnations, in the order in which entries were made, at ever lower offsets
		ledger  *Known
		want    string
	}{
		"nobody knows":                          {nil, nil, ""},
		"the index alone":                       {[]string{"a"}, nil, "a"},
		"the index alone, of two logs":          {[]string{"a", "b"}, nil, "b"},
		"the ledger alone":                      {nil, ledger("a", "a"), "a"},
		"the ledger has seen a newer log":       {[]string{"a"}, ledger("b", "a", "b"), "b"},
		"the index has a log that was not read": {[]string{"a", "b"}, ledger("a", "a"), "b"},
		"both, and an older one":                {[]string{"a", "b"}, ledger("b", "a", "b"), "b"},
	} {
		x := OpenIndex(nil, "cursors")
		for i, incarnation := range c.indexed {
			value, err := json.Marshal(entry{Position: Position{Offset: int64(100 - 10*i), Sequence: 1}})
			if err != nil {
				t.Fatal(err)
			}
			x.apply(topic.Record{Offset: int64(i), Key: []byte(strings.Join([]string{keyCursor, "raw", "0", incarnation, "1", "shard"}, "\x1e")), Value: value})
		}
		p := &Partition{index: x, checkpoints: fixedLedger{c.ledger}, topic: "raw"}
		got, err := p.knownIncarnation(t.Context(), 7)
		if err != nil || got != c.want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, c.want)
		}
		if first, err := p.knownIncarnation(t.Context(), 0); err != nil || first != "" {
			t.Errorf("%s: a log from its beginning was asked for: %q, %v", name, first, err)
		}
		if c.want != "" && len(c.indexed) > 0 && c.indexed[len(c.indexed)-1] == c.want {
			if k := x.Known("raw", 0, c.want); k == nil || k.State.Incarnation != c.want {
				t.Errorf("%s: the index says %+v of %s", name, k, c.want)
			}
		}
	}
}
