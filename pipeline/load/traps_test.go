package load_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/pipeline/load"
	"github.com/headwater-data/headwater/pipeline/message"
	"github.com/headwater-data/headwater/pipeline/topic"
	"github.com/headwater-data/headwater/schemas"
	"github.com/headwater-data/headwater/warehouse"
)

// The tests of this file are named after what goes wrong in pipelines of this kind elsewhere. Each says why it cannot happen here.
// Others of them stand where they belong: TestATopicThatWasCreatedAgain (a source that restarts its log and is silently read from
// the end), and in package warehouse TestTrapADependentViewOfADeduplicatedInsert and TestTrapAPartialBlock.

// front stands before the warehouse's HTTP interface and answers inserts into a table with an exception of ClickHouse, for as long
// as it is told to, without passing them on.
type front struct {
	address string
	left    atomic.Int64 // how many inserts are still to fail
	seen    chan struct{}
}

func newFront(t *testing.T, b *bench, table, code, text string) *front {
	t.Helper()
	f := &front{seen: make(chan struct{}, 1000)}
	target := &url.URL{Scheme: "http", Host: b.server.Addr}
	pass := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = target.Host }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		insert := strings.Contains(r.URL.Query().Get("query"), "INSERT INTO") && strings.Contains(r.URL.Query().Get("query"), "`"+table+"`")
		if insert && f.left.Add(-1) >= 0 {
			f.seen <- struct{}{}
			w.Header().Set("X-ClickHouse-Exception-Code", code)
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = fmt.Fprintf(w, "Code: %s. DB::Exception: %s (version 26.7.2.1)\n", code, text) // the client reads it, or the test fails
			return
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	f.address = server.Listener.Addr().String()
	return f
}

// TestTrapAnErrorThatPassesIsTakenForFinal: a loader that takes "memory limit exceeded" for an answer drops a flush, and one that
// tries "too many partitions for single INSERT" for ever blocks a department. Errors are sorted in one place: what passes is tried
// again under the same token until it does; what does not holds the table's rows, and the other table goes on.
func TestTrapAnErrorThatPassesIsTakenForFinal(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		code, text string
		held       bool
	}{
		{code: "241", text: "(total) memory limit exceeded: would use 3.00 GiB. (MEMORY_LIMIT_EXCEEDED)"},
		{code: "252", text: "Too many parts (3001 with average size of 1.00 KiB). Merges are processing significantly slower than inserts. (TOO_MANY_PARTS)"},
		{code: "242", text: "Table is in readonly mode. (TABLE_IS_READ_ONLY)"},
		{code: "243", text: "Cannot reserve 1.00 MiB, not enough space. (NOT_ENOUGH_SPACE)"},
		{code: "159", text: "Timeout exceeded: elapsed 30 seconds. (TIMEOUT_EXCEEDED)"},
		{code: "209", text: "Timeout exceeded while reading from socket. (SOCKET_TIMEOUT)"},
		{code: "999", text: "Session expired. (KEEPER_EXCEPTION)"},
		{code: "1000", text: "Poco::Exception. Code: 1000. (POCO_EXCEPTION)"},
		{code: "252", text: "Too many partitions for single INSERT block (more than 100). (TOO_MANY_PARTS)", held: true},
		{code: "53", text: "Type mismatch. (TYPE_MISMATCH)", held: true},
		{code: "997", text: "Something that nobody has seen before. (NEW_ERROR)", held: true},
	} {
		t.Run(test.code+" "+test.text, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			f := newFront(t, b, "observation", test.code, test.text)
			b.address = f.address
			b.openWarehouse()
			f.left.Store(2)
			b.claim("x")
			b.batch("figures", "f1", "f2")
			b.batch("cases", "c1")
			b.mustLoad(options{records: 100})
			if test.held {
				b.check("c1", "", "3 1 0 0 2")
				f.left.Store(0)
				b.mustLoad(options{}) // mended
			} else if left := f.left.Load(); left >= 0 {
				t.Errorf("%d inserts were to fail and did not", left)
			}
			b.check("c1", "f1 f2", "3 3 0 0 0")
		})
	}
}

// TestTrapOffsetsAreCommittedForABlockThatFailed: a sink that commits by time, or beside its inserts, loses what fails after the
// commit. Here the committed offset stays at the flush's beginning until its rows were read back and its account is written.
func TestTrapOffsetsAreCommittedForABlockThatFailed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	f := newFront(t, b, "observation", "241", "memory limit exceeded (MEMORY_LIMIT_EXCEEDED)")
	b.address = f.address
	b.openWarehouse()
	b.claim("x")
	b.batch("figures", "f1")
	b.mustLoad(options{})
	f.left.Store(1 << 40)
	b.batch("figures", "f2")
	b.batch("figures", "f3")
	for range 2 { // two processes in turn, each of which gives up
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.service(options{}).Serve(ctx) }()
		<-f.seen
		<-f.seen
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		offset, text, ok, err := b.client.Committed(t.Context(), loadGroup, rawTopic, 0)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		if m, err := load.ParseMetadata(text); err != nil || offset != 2 || m.To != 3 {
			t.Errorf("committed is %d with %s (%v), want 2 with the intent to load up to 3", offset, text, err)
		}
	}
	f.left.Store(0)
	b.mustLoad(options{})
	b.check("", "f1 f2 f3", "3 3 0 0 0")
}

// TestTrapAWholeBatchIsThrownAwayForOneBadRow: sinks that hand a batch to the server as it is lose, or block on, all of it. Here rows
// are judged one by one before: the bad one is in quarantine with its reason, the others are loaded.
func TestTrapAWholeBatchIsThrownAwayForOneBadRow(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.claim("x")
	b.batch("figures", "f1", "bad", "f2")
	b.batch("figures", "bad1", "bad2")
	b.batch("figures", "f3")
	b.mustLoad(options{records: 100})
	b.check("", "f1 f2 f3", "6 3 0 3 0")
	b.expect("reasons", "SELECT arrayStringConcat(arraySort(groupArray(concat(rules[1], ' ', toString(row)))), ', ') FROM $db.quarantine FINAL", "parse.number 0, parse.number 0, parse.number 0")
}

// TestTrapASecondIdenticalLoadIsSwallowed: deduplication by a block's content drops a load that the user wants, when rows come back
// that were loaded and deleted before. Tokens are made of offsets: new offsets are new rows, and they win.
func TestTrapASecondIdenticalLoadIsSwallowed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.claim("x")
	current := "SELECT arrayStringConcat(arraySort(groupArray(subject)), ' ') FROM $db.observation_current"
	for range 3 { // the same content, another one, the same again
		b.content("figures", []string{"f1", "f2"})
		b.mustLoad(options{})
		b.expect("current subjects", current, "f1 f2")
		b.content("figures", []string{"f3"})
		b.mustLoad(options{})
		b.expect("current subjects", current, "f3")
	}
	b.batch("cases", "c1", "c2")
	b.batch("cases", "c1", "c2")
	b.mustLoad(options{})
	b.expect("cases, as often as they were sent", "SELECT arrayStringConcat(arraySort(groupArray(case_id)), ' ') FROM $db.hotline_case", "c1 c1 c2 c2")
	b.expect("cases", "SELECT arrayStringConcat(arraySort(groupArray(case_id)), ' ') FROM $db.hotline_case FINAL", "c1 c2")

	// A token that does not name the offsets would swallow the second load. Reading back notices it, and the partition stops.
	b.batch("cases", "c3")
	b.batch("cases", "c4")
	err := b.load(options{warehouse: oneToken{b.warehouse}})
	if err == nil || !strings.Contains(err.Error(), "rows that the server acknowledged twice are not in the table") {
		t.Errorf("with one token for all got %v", err)
	}
	b.mustLoad(options{})
	b.expect("cases", "SELECT arrayStringConcat(arraySort(groupArray(case_id)), ' ') FROM $db.hotline_case FINAL", "c1 c2 c3 c4")
}

// oneToken is a warehouse whose inserts all have one token.
type oneToken struct{ load.Warehouse }

func (w oneToken) Insert(ctx context.Context, ins warehouse.Insert) error {
	ins.Token = "the same"
	return w.Warehouse.Insert(ctx, ins)
}

// TestTrapAResendAppendsTheSameRowsWithinOneFlush: a producer's retry puts a batch into the log twice, and one insert then holds its
// rows twice, where no token tells them apart. A batch's number does: the second copy is a repeat and is counted as a duplicate.
func TestTrapAResendAppendsTheSameRowsWithinOneFlush(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.claim("x")
	before := b.log
	b.batch("figures", "f1", "f2")
	after := b.log
	b.log = before
	b.batch("figures", "f1", "f2") // the same number again
	b.log = after
	b.batch("figures", "f3")
	b.mustLoad(options{records: 100})
	b.check("", "f1 f2 f3", "5 3 2 0 0")
}

// TestTrapStateIsNotRestoredAfterScaling: what a loader knew of the log in its memory is gone when the partition moves. Which claim
// is in force and which number is next travel with the committed offset (L7), so that the next loader takes a stalled writer's batch
// for void, a repeat for a repeat, and the valid one for valid.
func TestTrapStateIsNotRestoredAfterScaling(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.claim("x")
	stalled := b.log
	b.batch("figures", "f1")
	stalled.Next = 1
	b.claim("x")
	first := b.log
	b.batch("figures", "f2")
	run := func() (stop func()) {
		s := b.service(options{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Serve(ctx) }()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	b.mustLoad(options{})
	one, two := run(), run() // one has the partition, one waits
	step := func(want, account string) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
			if offset, _, ok, err := b.client.Committed(t.Context(), loadGroup, rawTopic, 0); err != nil {
				t.Fatal(err)
			} else if ok && offset == b.end {
				b.check("", want, account)
				return
			}
		}
		t.Fatal("not loaded within 30 s")
	}
	now := b.log
	b.log = stalled
	b.batch("figures", "v1") // of a writer that has lost the partition: void
	b.log = first
	b.batch("figures", "f2") // a repeat
	b.log = now
	b.batch("figures", "f3")
	step("f1 f2 f3", "5 3 2 0 0")
	one() // the other one takes over
	now = b.log
	b.log = stalled
	b.batch("figures", "v2")
	b.log = now
	b.batch("figures", "f4")
	step("f1 f2 f3 f4", "7 4 3 0 0")
	three := run()
	two()
	b.batch("figures", "f5")
	step("f1 f2 f3 f4 f5", "8 5 3 0 0")
	three()
}

// forgetful is a server that is killed between noting an insert's token and showing its part: it acknowledges, or does not even do
// that, and drops the retry of what it does not have.
type forgetful struct {
	load.Warehouse
	b       *bench
	loses   int  // inserts
	unheard bool // the answer is lost too
	blind   bool // reading back is left out: what the test is for
}

func (w *forgetful) Insert(ctx context.Context, ins warehouse.Insert) error {
	err := w.Warehouse.Insert(ctx, ins)
	if err != nil || w.loses == 0 || ins.Table != "observation" {
		return err
	}
	w.loses--
	w.b.sql("DELETE FROM $db.observation WHERE subject = 'f2'") // the token stays
	if w.unheard {
		return fault.Transient(errors.New("the server was killed"))
	}
	return nil
}

func (w *forgetful) Landed(ctx context.Context, table string, r warehouse.Range, since time.Time, want warehouse.Expected) (bool, error) {
	if w.blind {
		return true, nil
	}
	return w.Warehouse.Landed(ctx, table, r, since, want)
}

func (w *forgetful) Missing(ctx context.Context, schema *schemas.Schema, r warehouse.Range, records []arrow.Record) ([][]uint32, error) {
	if w.blind {
		return make([][]uint32, len(records)), nil
	}
	return w.Warehouse.Missing(ctx, schema, r, records)
}

// TestTrapAServerIsKilledBetweenNotingATokenAndShowingItsPart: the retry under the same token is dropped, and the rows are lost. They
// are looked for before the account is closed (L5), and sent under a second token. That a server which is killed keeps what it
// acknowledged is TestAcknowledgedInsertsSurviveAKill, of the embedded engine.
func TestTrapAServerIsKilledBetweenNotingATokenAndShowingItsPart(t *testing.T) {
	t.Parallel()
	for _, unheard := range []bool{false, true} {
		t.Run(fmt.Sprintf("its answer is lost: %t", unheard), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.claim("x")
			b.batch("figures", "f1", "f2", "f3")
			b.batch("figures", "f4")
			b.mustLoad(options{warehouse: &forgetful{Warehouse: b.warehouse, b: b, loses: 1, unheard: unheard}, records: 100})
			b.check("", "f1 f2 f3 f4", "4 4 0 0 0")
		})
	}
	t.Run("without reading back the row is lost", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.claim("x")
		b.batch("figures", "f1", "f2", "f3")
		b.mustLoad(options{warehouse: &forgetful{Warehouse: b.warehouse, b: b, loses: 1, blind: true}})
		b.check("", "f1 f3", "3 3 0 0 0") // the account says three
	})
}

// TestTrapAnOverflowBlocksThePartition: a value beyond its column makes a driver panic, or cut it off, or the server refuse the block
// for ever. Values are held against their types before they reach the driver: each is in quarantine with its reason, and what comes
// after is loaded.
func TestTrapAnOverflowBlocksThePartition(t *testing.T) {
	t.Parallel()
	const money = `
schema: money
version: 1
title: { zh: 金额, en: Money }
description: Values at the limits of their types.
fields:
  - { name: id, title: { zh: 编号, en: Id }, description: The text., type: string, key: true }
  - { name: amount, title: { zh: 金额, en: Amount }, description: A decimal., type: "decimal(38,2)" }
  - { name: small, title: { zh: 小, en: Small }, description: A small decimal., type: "decimal(9,4)" }
  - { name: whole, title: { zh: 整数, en: Whole }, description: A whole number., type: int64 }
  - { name: share, title: { zh: 比例, en: Share }, description: A number., type: float64 }
  - { name: day, title: { zh: 日, en: Day }, description: A day., type: date }
  - { name: at, title: { zh: 时, en: At }, description: A moment., type: timestamp(Asia/Shanghai) }
`
	set, problems := schemas.Load(schemas.Standard(), schemas.File{Name: "money.yaml", Data: []byte(money)})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	b := newBench(t)
	if _, err := b.warehouse.Migrate(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	nine := strings.Repeat("9", 36)
	values := map[string][]string{
		"amount": {nine, "-" + nine, nine + ".99", nine + "9", "1" + strings.Repeat("0", 36), "0.001", "1e400", "-1e-400"},
		"small":  {"99999.9999", "100000", "-99999.9999", "-100000"},
		"whole":  {"9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "18446744073709551615", "1.5"},
		"share":  {"1.7976931348623157e308", "1e309", "-1e309", "5e-324", "1e-400"},
		"day":    {"0001-01-01", "1899-12-31", "2299-12-31", "2300-01-01", "9999-12-31", "99999-01-01"},
		"at":     {"1899-12-31 23:59:59", "1900-01-01 00:00:00", "2262-04-12 00:00:00", "2299-12-31 23:59:59", "2300-01-01 00:00:00", "292278994-08-17 07:12:55"},
	}
	b.claim("x")
	rows, sources := 0, []string{"figures"}
	for _, field := range []string{"amount", "small", "whole", "share", "day", "at"} {
		b.batch("money-"+field, values[field]...)
		sources = append(sources, "money-"+field)
		rows += len(values[field])
	}
	b.batch("money-amount", strings.Repeat("x", 1<<20), "7")
	rows += 2
	b.batch("figures", "f1")
	s := b.serviceOf(options{sources: sources, records: 1000}, set)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := s.Wait(limited, rawTopic, 0, b.end); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	b.expect("rows that are neither loaded nor in quarantine", fmt.Sprintf("SELECT %d - (SELECT count() FROM $db.money) - (SELECT count() FROM $db.quarantine FINAL)", rows), "0")
	b.expect("figures", "SELECT groupArray(subject)[1] FROM $db.observation", "f1")
	b.expect("rows held", "SELECT sum(held) FROM $db.ledger FINAL", "0")
	// What was loaded is what was written: nothing was cut off or turned round.
	for field, type_ := range map[string]string{"amount": "Decimal(38, 2)", "small": "Decimal(9, 4)", "whole": "Int64", "share": "Float64"} {
		b.expect("values of "+field+" that are not what the text says", fmt.Sprintf("SELECT groupArray(id) FROM $db.money WHERE isNotNull(%s) AND %[1]s != accurateCastOrNull(id, '%s')", field, type_), "[]")
	}
	b.expect("long texts loaded as amounts", "SELECT count() FROM $db.money WHERE length(id) > 1000", "0")
	b.expect("days", "SELECT arrayStringConcat(arraySort(groupArray(toString(day))), ' ') FROM $db.money WHERE isNotNull(day) AND toString(day) != id", "")
	b.expect("the largest that fit", "SELECT countIf(amount = toDecimal128('"+nine+".99', 2)), countIf(small = toDecimal32('99999.9999', 4)), countIf(whole = 9223372036854775807), countIf(share = 1.7976931348623157e308) FROM $db.money", "1\t1\t1\t1")
	for _, id := range []string{nine + "9", "100000", "9223372036854775808", "18446744073709551615", "1e309", "99999-01-01"} {
		b.expect("loaded "+id, "SELECT count() FROM $db.money WHERE id = '"+id+"'", "0")
	}
}

// TestForeignMessagesAndDamagedOnesPassBy is what else must not block a partition.
func TestForeignMessagesAndDamagedOnesPassBy(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.claim("x")
	b.batch("figures", "f1")
	b.append(topic.Record{Value: []byte("not ours")}, message.Header{Kind: message.Batch, Incarnation: "?"})
	b.append(topic.Record{Headers: []message.Field{{Key: "hw-version", Value: []byte("1")}, {Key: "hw-kind", Value: []byte("batch")}}}, message.Header{Kind: message.Batch, Incarnation: "?"})
	b.batch("figures", "f2")
	b.mustLoad(options{records: 100})
	b.check("", "f1 f2", "2 2 0 0 0")
}
