package screen

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

type level int

func (l level) String() string { return fmt.Sprintf("level %d", int(l)) }

func example(t *testing.T, format Format, width int) string {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b, format, width, "地区", "rows", "value", "note", "note")
	for _, row := range [][]any{
		{"杭州市", Count(1234567), 12.5, nil, []string{"a", "b"}},
		{"缙云县 with a long name that does not fit", Count(-12), nil, "two\nlines, \"quoted\"", true},
		{"\x1b[31mred", Count(0), 1e20, time.Date(2021, 4, 9, 0, 0, 0, 0, time.UTC), level(3)},
		{"", Count(999), 0.000123, "全角　空格\t制表", 90 * time.Second},
	} {
		if err := w.Row(row...); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTables(t *testing.T) {
	t.Parallel()
	golden(t, "table.txt", example(t, Text, 0))
	narrow := example(t, Text, 60)
	golden(t, "table-60.txt", narrow)
	for line := range strings.Lines(narrow) {
		if w := chars.StringWidth(strings.TrimRight(line, "\n")); w > 60 {
			t.Errorf("a line is %d columns wide: %q", w, line)
		}
	}
	golden(t, "table.csv", example(t, CSV, 0))
	golden(t, "table.json", example(t, JSON, 0))
	if !json.Valid([]byte(example(t, JSON, 0))) {
		t.Error("not valid JSON")
	}
}

func TestEmptyTables(t *testing.T) {
	t.Parallel()
	for format, want := range map[Format]string{Text: "a  b\n─  ─\n", CSV: "a,b\n", JSON: "[]\n"} {
		var b bytes.Buffer
		if err := NewWriter(&b, format, 80, "a", "b").Close(); err != nil || b.String() != want {
			t.Errorf("%s: %q, %v; want %q", format, b.String(), err, want)
		}
	}
	var b bytes.Buffer
	w := NewWriter(&b, Text, 80, "a")
	w.WhenEmpty("nothing")
	if err := w.Close(); err != nil || b.String() != "nothing\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
}

func TestRowsBeyondTheSampleAreShownInItsLayout(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w := NewWriter(&b, Text, 40, "n", "text")
	for i := range 2*sampleRows + 1 {
		if err := w.Row(i, strings.Repeat("x", i/100)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "\n"); n != 2*sampleRows+3 {
		t.Errorf("%d lines", n)
	}
	if !strings.HasSuffix(b.String(), "2000  xxxxxxxx…\n") {
		t.Errorf("the last line is %q", b.String()[b.Len()-30:])
	}
}

func TestSideBySide(t *testing.T) {
	t.Parallel()
	left := Block{"row 2", []Pair{{"日期", "2021-1-2"}, {"地区", "杭州"}, {"数值", nil}}}
	right := Block{"observation", []Pair{{"period", "2021-01-02T00:00:00+08:00"}, {"region", "330100"}, {"value", 1.5}, {"unit", "a very long unit to be cut"}}}
	for _, width := range []int{0, 60, 20} {
		var b bytes.Buffer
		if err := SideBySide(&b, width, left, right); err != nil {
			t.Fatal(err)
		}
		golden(t, fmt.Sprintf("side-%d.txt", width), b.String())
	}
}

// pass lets time pass within a synctest bubble.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestLiveViewIsRedrawnInPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		l := NewLive(&b, func() int { return 68 })
		l.Stage("fetching the engine", 50<<20, 100<<20)
		pass(liveInterval)
		l.Stage("fetching the engine", 100<<20, 100<<20)
		l.Source("air", Counts{Read: 1000, InKafka: 500, Lag: 2})
		pass(time.Second)
		l.Source("air", Counts{Read: 3000, InKafka: 3000, Loaded: 2990, Quarantined: 10, Lag: -1})
		if _, err := l.Write([]byte("a log line\nhalf of one")); err != nil {
			t.Error(err)
		}
		l.Note("waiting for the \x1bbroker")
		pass(liveInterval)
		l.Source("12345", Counts{Read: 1})
		l.Done()
		l.Done()
		l.Source("late", Counts{})
		if _, err := l.Write([]byte("after\n")); err != nil {
			t.Error(err)
		}
		golden(t, "live.txt", strings.ReplaceAll(b.String(), "\x1b", "ESC"))
	})
}

func TestLoggedProgressIsToldEveryFewSecondsAndAtTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		p := NewProgress(&b, slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})))
		for i := range int64(100) {
			p.Source("air", Counts{Read: i, Lag: 1})
			p.Stage("fetching the engine", i, 100)
			pass(100 * time.Millisecond)
		}
		p.Note("waiting")
		p.Done()
		p.Source("air", Counts{Read: 1000})
		p.Done()
		golden(t, "logged.txt", b.String())
	})
}

// FuzzTable holds tables to: no panic, no control character but line ends, no line wider than the terminal unless a number
// needs it, and CSV that reads back as the same texts.
func FuzzTable(f *testing.F) {
	f.Add("a", "中文", 20)
	f.Add("\x1b[2J", "\xff\u200d\u202e", 1)
	f.Fuzz(func(t *testing.T, a, b string, width int) {
		width = min(max(width, 0), 1000)
		var text, data bytes.Buffer
		table, sheet := NewWriter(&text, Text, width, a, "b"), NewWriter(&data, CSV, 0, "a", "b")
		for _, row := range [][]any{{a, b}, {b, math.NaN()}} {
			if err := table.Row(row...); err != nil {
				t.Fatal(err)
			}
			if err := sheet.Row(row...); err != nil {
				t.Fatal(err)
			}
		}
		if err := table.Close(); err != nil {
			t.Fatal(err)
		}
		if err := sheet.Close(); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(text.String()) {
			line = strings.TrimSuffix(line, "\n")
			if Clean(line) != line {
				t.Errorf("control characters in %q", line)
			}
			if w := chars.StringWidth(line); width >= 2*minColumn+2 && w > width {
				t.Errorf("%d columns wide, more than %d: %q", w, width, line)
			}
		}
		rows, err := csv.NewReader(&data).ReadAll()
		if err != nil {
			t.Fatalf("CSV: %v", err)
		}
		plain := func(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") } // encoding/csv reads them so
		if len(rows) == 3 && (rows[1][0] != plain(a) || rows[1][1] != plain(b)) {
			t.Errorf("CSV reads back as %q", rows[1])
		}
	})
}

func TestWrap(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, text, want string }{
		{"words stay whole", "one two three four", "  one two\n  three\n  four\n"},
		{"text without spaces is broken anywhere", "浙江省市场监管局", "  浙江省市\n  场监管局\n"},
		{"nothing stays nothing", " \n ", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := Wrap(c.text, "  ", 10); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
