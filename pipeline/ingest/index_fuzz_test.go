package ingest

import (
	"testing"

	"github.com/headwater-data/headwater/pipeline/topic"
)

// FuzzIndex: no entry that somebody writes into the index topic makes reading it panic, and what it then says of a log is never
// before the log's beginning.
func FuzzIndex(f *testing.F) {
	f.Add("cursor\x1eraw\x1e0\x1einc\x1e1\x1eshard", []byte(`{"o":5,"s":2,"e":1,"c":"AA=="}`), true)
	f.Add("partition\x1eraw\x1eshard", []byte("3"), true)
	f.Add("columns\x1es", []byte("a"), true)
	f.Add(keyCursor+"\x1eraw\x1e0\x1einc\x1e1\x1eshard", []byte(nil), false)
	f.Fuzz(func(t *testing.T, key string, value []byte, there bool) {
		x := OpenIndex(nil, "index")
		if !there {
			value = nil
		}
		x.apply(topic.Record{Key: []byte(keyCursor + "\x1eraw\x1e0\x1einc\x1e1\x1eshard"), Value: []byte(`{"o":1,"s":0}`)})
		x.apply(topic.Record{Key: []byte(key), Value: value})
		if k := x.Known("raw", 0, x.Newest("raw", 0, nil)); k != nil && k.State.Next < 1 {
			t.Errorf("%q %q: the next sequence is %d", key, value, k.State.Next)
		}
		_ = x.Columns("s", "t")
	})
}
