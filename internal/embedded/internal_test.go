package embedded

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheLastUserIsWaitedForAfter(t *testing.T) {
	t.Parallel()
	hasGone := func(u *users) bool {
		synctest.Wait()
		select {
		case <-u.gone:
			return true
		default:
			return false
		}
	}
	synctest.Test(t, func(t *testing.T) {
		u := &users{grace: time.Second, gone: make(chan struct{})}
		u.join()
		u.join()
		u.leave()
		time.Sleep(time.Hour)
		if hasGone(u) {
			t.Error("it ended although somebody uses it")
		}
		u.leave()
		time.Sleep(999 * time.Millisecond)
		if hasGone(u) || !u.join() {
			t.Error("it ended within its grace")
		}
		time.Sleep(time.Hour)
		if hasGone(u) {
			t.Error("it ended although somebody came within its grace")
		}
		u.leave()
		time.Sleep(time.Second)
		if !hasGone(u) || u.join() {
			t.Error("it goes on after its grace")
		}
	})
}

func TestTheLogStaysBounded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	file, err := openLog(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	log := &boundedLog{file: file, path: path}
	line := strings.Repeat("x", 1000)
	const lines = 5000
	for i := range lines {
		if _, err := fmt.Fprintf(log, "%s %d\n", line, i); err != nil {
			t.Fatal(err)
		}
		// What others write is kept short as well.
		if _, err := fmt.Fprintln(file, "panic"); err != nil {
			t.Fatal(err)
		}
	}
	var all string
	for _, name := range []string{path + ".1", path} {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(raw) > maxLogBytes+2*len(line) {
			t.Errorf("%s has %d bytes", name, len(raw))
		}
		all += string(raw)
	}
	if len(all) < maxLogBytes {
		t.Errorf("only %d bytes are left", len(all))
	}
	if want := fmt.Sprintf(" %d\npanic\n", lines-1); !strings.HasSuffix(all, want) {
		t.Errorf("the log ends with %q, want %q", all[len(all)-40:], want)
	}
	if got := tail(path, 2); got != fmt.Sprintf("%s %d\npanic", line, lines-1) {
		t.Errorf("got tail %.20q", got)
	}
}

func TestTheTailOfALogThatIsNotThereIsEmpty(t *testing.T) {
	t.Parallel()
	if got := tail(filepath.Join(t.TempDir(), "none"), 5); got != "" {
		t.Errorf("got %q", got)
	}
}
