package pipeline

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/warehouse"
)

func TestAReportTravelsWhole(t *testing.T) {
	t.Parallel()
	counted := int64(7)
	report := &Report{
		Run: "r", Began: time.Date(2024, 3, 1, 8, 0, 0, 0, time.UTC), Took: time.Second,
		Sources: []SourceReport{
			{Source: "a", Title: "甲", Read: 5, Written: 5, Shards: 2, Account: warehouse.Balance{Scope: "run", Loaded: 5, Counted: &counted}, Changes: []string{"added x"}, Counted: map[string]int64{"s": 7}, Took: time.Minute},
			{Source: "b", Err: fault.Environment(errors.New("no right"))},
			{Source: "c", Err: fmt.Errorf("source c: %w", errStopped)},
		},
		LoadErrs: []error{errors.New("stopped at 7")},
	}
	line, err := json.Marshal(controlAnswer{Report: toWire(report)})
	if err != nil {
		t.Fatal(err)
	}
	var answer controlAnswer
	if err := json.Unmarshal(line, &answer); err != nil {
		t.Fatal(err)
	}
	got := answer.Report.report()
	if got.Err().Error() != report.Err().Error() {
		t.Errorf("error %q, want %q", got.Err(), report.Err())
	}
	if fault.KindOf(got.Sources[1].Err) != fault.KindEnvironment || !errors.Is(got.Sources[2].Err, context.Canceled) || errors.Is(got.Sources[1].Err, context.Canceled) {
		t.Errorf("kinds were lost: %v", got.Err())
	}
	for _, r := range []*Report{got, report} {
		r.LoadErrs = nil
		for i := range r.Sources {
			r.Sources[i].Err = nil
		}
	}
	if diff := cmp.Diff(report, got); diff != "" {
		t.Error(diff)
	}
}

// talk sends bytes to a service's conversation and returns its answers.
func talk(t *testing.T, send string) []controlAnswer {
	t.Helper()
	ours, theirs := net.Pipe()
	v := &service{session: &Session{}, log: slog.New(slog.DiscardHandler), soft: t.Context()}
	done := make(chan error, 1)
	go func() {
		err := v.converse(theirs)
		done <- errors.Join(err, theirs.Close())
	}()
	go func() {
		_, _ = io.WriteString(ours, send) // the service may refuse before it has read everything
	}()
	var answers []controlAnswer
	lines := bufio.NewReader(ours)
	for {
		var a controlAnswer
		if err := readLine(lines, maxAnswerBytes, &a); err != nil {
			break
		}
		answers = append(answers, a)
	}
	if err := ours.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Log(err)
	}
	return answers
}

func TestWhatTheServiceDoesNotUnderstandIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, send, want string
		kind             fault.Kind
	}{
		{"a line that is no JSON", "GET / HTTP/1.1\n", "read the request", fault.KindUsage},
		{"a line that does not end", strings.Repeat("x", maxRequestBytes+1), errLongLine.Error(), fault.KindUsage},
		{"another protocol", `{"protocol":2,"do":"run"}` + "\n", "another version", fault.KindEnvironment},
		{"something else to do", `{"protocol":1,"do":"dance"}` + "\n", "another version", fault.KindEnvironment},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			answers := talk(t, c.send)
			if len(answers) != 1 || answers[0].Error == nil || !strings.Contains(answers[0].Error.Text, c.want) || answers[0].Error.Kind != c.kind {
				t.Errorf("answers %+v, want an error with %q", answers, c.want)
			}
		})
	}
}

func TestTheSocketIsItsOwnersAlone(t *testing.T) {
	for _, c := range []struct {
		name, state string
		temporary   bool
	}{
		{"in the state folder", "state", false},
		{"in a folder for temporary files where the path is long", strings.Repeat("long/", 30) + "state", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			root, err := os.MkdirTemp("", "hw") // short: t.TempDir has the test's name in it
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(root)
			state := filepath.Join(root, c.state)
			if _, err := dialControl(t.Context(), state); err == nil {
				t.Fatal("connected where nobody listens")
			}
			listener, remove, err := listenControl(state)
			if err != nil {
				t.Fatal(err)
			}
			place, err := readPlace(filepath.Join(state, controlFolder))
			if err != nil {
				t.Fatal(err)
			}
			if inside := strings.HasPrefix(place.Socket, state); inside == c.temporary {
				t.Errorf("the socket is at %s", place.Socket)
			}
			for name, want := range map[string]os.FileMode{place.Socket: 0o600, filepath.Dir(place.Socket): 0o700, filepath.Join(state, controlFolder, controlFile): 0o600} {
				info, err := os.Stat(name)
				if err != nil {
					t.Fatal(err)
				}
				if got := info.Mode().Perm(); got != want {
					t.Errorf("%s has mode %o, want %o", name, got, want)
				}
			}
			if !served(state) {
				t.Error("nobody answers")
			}
			// A killed process leaves everything behind; the next one clears it away.
			if err := listener.Close(); err != nil {
				t.Fatal(err)
			}
			next, removeNext, err := listenControl(state)
			if err != nil {
				t.Fatal(err)
			}
			if !served(state) {
				t.Error("nobody answers after a restart")
			}
			if err := next.Close(); err != nil {
				t.Fatal(err)
			}
			removeNext()
			remove()
			if _, err := os.Stat(place.Socket); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the socket is still there: %v", err)
			}
			if c.temporary {
				if _, err := os.Stat(filepath.Dir(place.Socket)); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("its folder is still there: %v", err)
				}
			}
		})
	}
}

// FuzzReadLine: no panic, no more than the limit in memory, the same message however the bytes arrive, and a request survives
// being written again.
func FuzzReadLine(f *testing.F) {
	f.Add([]byte(`{"protocol":1,"do":"run","sources":["a"]}` + "\n"))
	f.Add([]byte("{}\n{}\n"))
	f.Add([]byte("\n"))
	f.Add(bytes.Repeat([]byte("x"), 200))
	f.Fuzz(func(t *testing.T, raw []byte) {
		const limit = 128
		var whole, pieces controlRequest
		errWhole := readLine(bufio.NewReaderSize(bytes.NewReader(raw), 16), limit, &whole)
		errPieces := readLine(bufio.NewReaderSize(iotest.OneByteReader(bytes.NewReader(raw)), 16), limit, &pieces)
		if (errWhole == nil) != (errPieces == nil) || !cmp.Equal(whole, pieces) {
			t.Fatalf("%+v %v, in pieces %+v %v", whole, errWhole, pieces, errPieces)
		}
		if errWhole != nil {
			return
		}
		if end := bytes.IndexByte(raw, '\n'); end < 0 || end >= limit {
			t.Fatalf("a line of %d bytes was taken", end+1)
		}
		var out bytes.Buffer
		if err := writeLine(&out, whole); err != nil {
			t.Fatal(err)
		}
		var again controlRequest
		if err := readLine(bufio.NewReader(&out), maxAnswerBytes, &again); err != nil {
			t.Fatal(err)
		}
		if !cmp.Equal(whole, again) && !(len(whole.Sources) == 0 && len(again.Sources) == 0) {
			t.Fatalf("%+v became %+v", whole, again)
		}
	})
}
