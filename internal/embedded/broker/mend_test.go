package broker_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headwater-data/headwater/internal/embedded/broker/brokertest"
)

// asKilled returns what kill -9 at this moment would leave of a running broker's folder.
func asKilled(t *testing.T, dir string) string {
	t.Helper()
	left := filepath.Join(t.TempDir(), "left")
	if err := os.CopyFS(left, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return left
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// kfake skips a torn entry when it loads its log of commits, but appends behind it: at the load after that, every commit
// since was gone.
func TestCommitsAfterATornOneAreKept(t *testing.T) {
	dir := t.TempDir()
	b := brokertest.StartWith(t, brokertest.Options{Dir: dir})
	b.CreateTopic("topic", 1)
	if err := commit(t, b, "g", "", -1, "topic", 1, "before"); err != nil {
		t.Fatal(err)
	}

	dir = asKilled(t, dir)
	appendTo(t, filepath.Join(dir, "groups.log"), "\x40\x00\x00\x00torn")
	b = brokertest.StartWith(t, brokertest.Options{Dir: dir})
	if err := commit(t, b, "g", "", -1, "topic", 2, "after"); err != nil {
		t.Fatal(err)
	}

	b = brokertest.StartWith(t, brokertest.Options{Dir: asKilled(t, dir)})
	if offset, metadata := committed(t, b, "g", "topic"); offset != 2 || metadata != "after" {
		t.Errorf("got commit %d %q, want the one after the torn one", offset, metadata)
	}
}

func TestRecordsAfterATornOneAreKept(t *testing.T) {
	dir := t.TempDir()
	b := brokertest.StartWith(t, brokertest.Options{Dir: dir})
	b.CreateTopic("topic", 1)
	produce(t, b, "topic", record("", "before"))

	dir = asKilled(t, dir)
	segment := filepath.Join(dir, "partitions", "topic-0", "0")
	whole, err := os.ReadFile(segment + ".dat")
	if err != nil {
		t.Fatal(err)
	}
	appendTo(t, segment+".dat", string(whole[:len(whole)-1])) // a batch but for its last byte
	appendTo(t, segment+".idx", "torn")
	b = brokertest.StartWith(t, brokertest.Options{Dir: dir})
	if offset := produce(t, b, "topic", record("", "after")); offset != 1 {
		t.Errorf("got offset %d, want 1: the torn record was never acknowledged", offset)
	}

	b = brokertest.StartWith(t, brokertest.Options{Dir: asKilled(t, dir)})
	if all := fetch(t, b, "topic", 0); len(all) != 2 || all[0].value != "before" || all[1].value != "after" {
		t.Errorf("got %+v", all)
	}
}

func TestCompactedTopicsShrinkWhenTheBrokerStarts(t *testing.T) {
	dir := t.TempDir()
	b := brokertest.StartWith(t, brokertest.Options{Dir: dir})
	b.CreateTopic("headwater.cursors", 1, "cleanup.policy", "compact")
	b.CreateTopic("kept", 1)
	produce(t, b, "headwater.cursors", record("rare", "first and last word"))
	filler := strings.Repeat("f", 20<<10)
	for range 100 {
		produce(t, b, "headwater.cursors", record("a", filler))
		produce(t, b, "headwater.cursors", record("b", filler))
		produce(t, b, "kept", record("a", filler))
	}
	produce(t, b, "headwater.cursors", record("", "closes nothing"), record("b", "newest of b"))
	check := func(b *brokertest.Broker, when string) {
		t.Helper()
		var keys []string
		all := fetch(t, b, "headwater.cursors", 0)
		for _, r := range all {
			keys = append(keys, r.key)
		}
		if got := strings.Join(keys, ","); got != "rare,a,,b" || all[1].offset != 199 || all[3].value != "newest of b" || all[3].offset != 202 {
			t.Errorf("%s: got keys %s", when, got)
		}
		if _, next := offsets(t, b, "headwater.cursors"); next != 203 {
			t.Errorf("%s: got next offset %d, want 203", when, next)
		}
		if n := len(fetch(t, b, "kept", 0)); n != 100 {
			t.Errorf("%s: got %d records in a topic that is not compacted", when, n)
		}
	}
	// From the middle of what has gone, a reader goes on with what is left.
	b.Restart()
	check(b, "after an end in good order")
	if all := fetch(t, b, "headwater.cursors", 5); len(all) != 3 || all[0].offset != 199 {
		t.Errorf("got %d records from offset 5", len(all))
	}
	b.Restart()
	check(b, "the second time")
	killed := brokertest.StartWith(t, brokertest.Options{Dir: asKilled(t, dir)})
	check(killed, "after a kill")
	if offset := produce(t, killed, "headwater.cursors", record("c", "new")); offset != 203 {
		t.Errorf("got offset %d, want 203", offset)
	}
}

func TestKilledCompactionsAreEnded(t *testing.T) {
	content := func(t *testing.T, dir string) string {
		t.Helper()
		raw, err := os.ReadFile(filepath.Join(dir, "partitions", "topic-0", "mark"))
		if err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(filepath.Join(dir, "partitions"))
		if err != nil || len(entries) != 1 {
			t.Errorf("got %v, %v, want one folder", entries, err)
		}
		return string(raw)
	}
	for _, c := range []struct {
		name    string
		folders map[string]string // suffix -> what its file says
		want    string
	}{
		{"while the new folder was written: the old one stays", map[string]string{"": "old", ".compacted": "ne"}, "old"},
		{"between the two renames: the new folder is whole", map[string]string{".replaced": "old", ".compacted": "new"}, "new"},
		{"before the old folder was removed: it is now", map[string]string{".replaced": "old", "": "new"}, "new"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for suffix, text := range c.folders {
				folder := filepath.Join(dir, "partitions", "topic-0"+suffix)
				if err := os.MkdirAll(folder, 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(folder, "mark"), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			brokertest.StartWith(t, brokertest.Options{Dir: dir}).Stop()
			if got := content(t, dir); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
