package warehouse_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/headwater-data/headwater/internal/secret"
	"github.com/headwater-data/headwater/warehouse"
)

// The tests of this file are named after what goes wrong in pipelines of this kind elsewhere; package load has the others.

// TestTrapADependentViewOfADeduplicatedInsert: what hangs on a materialized view did or did not get the rows of a retry that the
// table itself dropped, and which of the two has changed between versions of the server. Nothing that analysts read is materialized:
// after a retry every view answers as before.
func TestTrapADependentViewOfADeduplicatedInsert(t *testing.T) {
	t.Parallel()
	b := analysis(t, indicator("I", "sum"))
	if n := b.sql("SELECT countIf(engine = 'MaterializedView'), countIf(engine = 'View') > 0 FROM system.tables WHERE database = '$db'"); n[0] != "0\t1" {
		t.Errorf("materialized views, and whether there are views: %s", n[0])
	}
	rows := []observation{{indicator: "I", region: "330203", period: day(2021, 6, 1), value: 3}, {indicator: "I", region: "330205", period: day(2021, 6, 1), value: 4, index: 1}}
	answers := func() map[string]string {
		out := map[string]string{}
		for _, view := range warehouse.Views {
			columns := "*"
			if b.sql("SELECT count() FROM system.columns WHERE database = '$db' AND table = '" + view + "' AND name = 'age_seconds'")[0] == "1" {
				columns = "* EXCEPT age_seconds" // another one each second
			}
			out[view] = strings.Join(b.sql("SELECT "+columns+" FROM $db."+view+" ORDER BY ALL"), "\n")
		}
		return out
	}
	b.load("token", rows...)
	before := answers()
	if !strings.Contains(before["indicator_rollup"], "330200") {
		t.Fatalf("the rollup lacks the city: %s", before["indicator_rollup"])
	}
	b.load("token", rows...)
	for view, answer := range answers() {
		if answer != before[view] {
			t.Errorf("view %s answers otherwise after a retry:\n%s\nbefore:\n%s", view, answer, before[view])
		}
	}
	// Without the token there are more rows, and a view that counted them would say so; the views go by keys.
	b.load("another", rows...)
	if n := b.sql("SELECT count() FROM $db.observation"); n[0] != "4" {
		t.Errorf("%s rows, want the doubles of another token", n[0])
	}
	if answer := answers()["indicator_rollup"]; answer != before["indicator_rollup"] {
		t.Errorf("the rollup counts doubles: %s", answer)
	}
}

// cutter passes a connection's bytes on until a number of them has come from the client, then it cuts.
type cutter struct {
	net.Listener
	target string
	left   atomic.Int64 // bytes until the cut
	sent   atomic.Int64
}

func newCutter(t *testing.T, target string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{Listener: l, target: target}
	c.left.Store(1 << 60)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go c.pass(client)
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return c
}

func (c *cutter) pass(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", c.target)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		_, _ = io.Copy(client, server) // ends with either
		_ = client.Close()
	}()
	buf := make([]byte, 4096)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		c.sent.Add(int64(n))
		rest := c.left.Add(-int64(n))
		if rest < 0 {
			n = max(0, n+int(rest))
		}
		if _, err := server.Write(buf[:n]); err != nil || rest < 0 {
			return
		}
	}
}

// TestTrapAPartialBlock: a large insert whose connection breaks, or that the server parses in parallel, lands in pieces, and the retry
// doubles those that are there. An insert is one block: it is there as a whole or not at all, wherever it is cut.
func TestTrapAPartialBlock(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	c := newCutter(t, b.server.Addr)
	cut, err := warehouse.Open(t.Context(), warehouse.Config{Addr: c.Addr().String(), User: b.server.User, Password: secret.New(b.server.Password), Database: b.Database(), Allocator: b.mem})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := cut.Close(); err != nil {
			t.Error(err)
		}
	}()
	const rows = 70_000 // more than the 65,409 that the server reads for a block by itself
	records := map[int]arrow.Record{}
	insert := func(try int) error {
		if records[try] == nil {
			list := make([]observation, rows)
			for i := range list {
				list[i] = observation{indicator: "I", region: "330203", subject: fmt.Sprint(try, "-", i), period: day(2021, 6, 1), value: 1, index: uint32(i), offset: int64(try)}
			}
			records[try] = b.records(list...)
		}
		return cut.Insert(t.Context(), warehouse.Insert{Table: "observation", Token: fmt.Sprint("try", try), Records: []arrow.Record{records[try]}, Rows: rows})
	}
	if err := insert(0); err != nil {
		t.Fatal(err)
	}
	whole := c.sent.Load()
	for try := 1; try <= 8; try++ {
		c.left.Store(whole * int64(try) / 8) // the last one cuts at about the body's end
		err := insert(try)
		c.left.Store(1 << 60)
		there := b.sql(fmt.Sprintf("SELECT count() FROM $db.observation WHERE _offset = %d", try))[0]
		if err == nil && there != fmt.Sprint(rows) || there != "0" && there != fmt.Sprint(rows) {
			t.Errorf("cut after %d eighths (%v): %s of %d rows are there", try, err, there, rows)
		}
		if err != nil && warehouse.Classify(err) != warehouse.Retry {
			t.Errorf("cut after %d eighths: %v is not to be tried again", try, err)
		}
		if err := insert(try); err != nil {
			t.Errorf("the retry: %v", err)
		}
		if there := b.sql(fmt.Sprintf("SELECT count() FROM $db.observation WHERE _offset = %d", try))[0]; there != fmt.Sprint(rows) {
			t.Errorf("after the retry %s of %d rows are there", there, rows)
		}
	}
	// Whatever was merged since, the numbers of the blocks in the parts' names say how many there were.
	if got := b.sql("SELECT sum(max_block_number - min_block_number + 1) FROM system.parts WHERE active AND database = '$db' AND table = 'observation'")[0]; got != "9" {
		t.Errorf("9 inserts made %s blocks", got)
	}
}
