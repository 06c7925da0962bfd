package load_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/segmentio/kafka-go"
	"go.uber.org/goleak"

	"github.com/headwater-data/headwater/internal/embedded/broker/brokertest"
	"github.com/headwater-data/headwater/internal/embedded/clickhouse/clickhousetest"
	"github.com/headwater-data/headwater/internal/secret"
	"github.com/headwater-data/headwater/pipeline/load"
	"github.com/headwater-data/headwater/pipeline/message"
	"github.com/headwater-data/headwater/pipeline/topic"
	"github.com/headwater-data/headwater/pipeline/transform"
	"github.com/headwater-data/headwater/schemas"
	"github.com/headwater-data/headwater/warehouse"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	rawTopic  = "headwater.raw.test"
	loadGroup = "test.load"
)

// bench is a partition whose log the test writes itself, record by record, and a warehouse.
type bench struct {
	*brokertest.Broker
	t         *testing.T
	client    *topic.Client
	server    clickhousetest.Server
	address   string // of what stands before the server; "" for nothing
	warehouse *warehouse.Warehouse
	mem       *memory.CheckedAllocator

	log message.State // of what was written
	end int64
}

func newBench(t *testing.T) *bench {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	t.Cleanup(func() { mem.AssertSize(t, 0) })
	b := &bench{Broker: brokertest.Start(t), t: t, server: clickhousetest.Start(t), mem: mem}
	b.createTopic()
	b.openWarehouse()
	return b
}

// createTopic creates the topic with a client that remembers none, as every run has.
func (b *bench) createTopic() {
	b.t.Helper()
	var err error
	if b.client, err = topic.Open(topic.Config{Addresses: []string{b.Addr}, User: b.User, Password: b.Password, Mechanism: b.Mechanism.Name(), SessionTimeout: time.Second, Partitions: 1}); err != nil {
		b.t.Fatal(err)
	}
	client := b.client
	b.t.Cleanup(func() {
		if err := client.Close(); err != nil {
			b.t.Error(err)
		}
	})
	if err := b.client.Ensure(b.t.Context(), topic.Spec{Name: rawTopic}); err != nil {
		b.t.Fatal(err)
	}
	b.log, b.end = message.Origin(), 0
}

// openWarehouse makes a new warehouse, with nothing in it.
func (b *bench) openWarehouse() {
	b.t.Helper()
	w, err := warehouse.Open(b.t.Context(), warehouse.Config{Addr: cmp.Or(b.address, b.server.Addr), User: b.server.User, Password: secret.New(b.server.Password), Database: b.server.Database(b.t), Allocator: b.mem, Logger: b.logger()})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		if err := w.Close(); err != nil {
			b.t.Error(err)
		}
	})
	if _, err := w.Migrate(b.t.Context(), schemas.Standard()); err != nil {
		b.t.Fatal(err)
	}
	b.warehouse = w
}

func (b *bench) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// sql runs a statement in the warehouse's database ($db) and returns its answer.
func (b *bench) sql(statement string) string {
	b.t.Helper()
	return strings.TrimSuffix(b.server.Exec(b.t, strings.ReplaceAll(statement, "$db", b.warehouse.Database())), "\n")
}

func (b *bench) expect(what, statement, want string) {
	b.t.Helper()
	if got := b.sql(statement); got != want {
		b.t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func (b *bench) append(r topic.Record, h message.Header) {
	b.t.Helper()
	offset, err := b.client.Append(b.t.Context(), rawTopic, 0, r)
	if err != nil {
		b.t.Fatal(err)
	}
	if offset != b.end {
		b.t.Fatalf("appended at offset %d, want %d", offset, b.end)
	}
	b.end++
	b.log, _ = b.log.Step(h, offset)
}

func (b *bench) claim(incarnation string) {
	b.t.Helper()
	h := message.Header{Kind: message.Claim, Incarnation: incarnation, Writer: "test"}
	b.append(topic.Record{Headers: h.Fields()}, h)
}

// batch appends a valid batch with a row for each id. The ids of one test are rows of their own in each table.
func (b *bench) batch(source string, ids ...string) {
	b.t.Helper()
	b.deliver(source, b.end, false, ids...)
}

// content appends what a file holds that replaces what it held before: a batch for each list of ids.
func (b *bench) content(source string, batches ...[]string) {
	b.t.Helper()
	at := b.end
	for i, ids := range batches {
		b.deliver(source, at, i == len(batches)-1, ids...)
	}
}

// deliver appends a batch that was extracted so many ms after some time.
func (b *bench) deliver(source string, at int64, replaces bool, ids ...string) {
	b.t.Helper()
	fields := []arrow.Field{{Name: "id", Type: arrow.BinaryTypes.String}, {Name: "at", Type: arrow.BinaryTypes.String}, {Name: "value", Type: arrow.BinaryTypes.String}}
	rows := array.NewRecordBuilder(b.mem, arrow.NewSchema(fields, nil))
	defer rows.Release()
	for i, id := range ids {
		rows.Field(0).(*array.StringBuilder).Append(id)
		rows.Field(1).(*array.StringBuilder).Append("2024-03-05T08:00:00")
		rows.Field(2).(*array.StringBuilder).Append(map[bool]string{false: fmt.Sprint(i), true: "many"}[strings.HasPrefix(id, "bad")])
	}
	rec := rows.NewRecord()
	defer rec.Release()
	value, err := message.Encode(b.mem, rec, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	h := message.Header{
		Kind: message.Batch, Incarnation: b.log.Incarnation, Writer: "test", Epoch: b.log.Epoch, Sequence: b.log.Next, Source: source, Stream: "rows", Shard: source + ".csv",
		Cursor: []byte(fmt.Sprint(b.end)), Rows: len(ids), Place: source + ".csv", ExtractedAt: time.UnixMilli(1_790_000_000_000 + at), Replaces: replaces, Run: "run",
		Fingerprint: message.Fingerprint(rec.Schema()),
	}
	b.append(topic.Record{Headers: h.Fields(), Value: value}, h)
}

// shaping shapes the rows of the sources: cases go into hotline_case, all others into observation. Mended, the mapping takes bad
// rows too.
func (b *bench) shaping(set *schemas.Set, mended bool, sources ...string) load.Shaping {
	b.t.Helper()
	shape := &transform.Shape{Set: set, Indicators: []string{"T"}}
	for _, s := range sources {
		spec := transform.Spec{Schema: "observation", Fields: map[string]transform.FieldSpec{
			"indicator": {Value: "T"}, "region": {Value: "330102"}, "subject": {From: "id"}, "grain": {Value: "day"}, "feed": {Value: "source"}, "period": {From: "at"}, "value": {From: "value", Parse: "number"},
		}}
		if mended {
			spec.Fields["value"] = transform.FieldSpec{From: "value", Parse: "number", Null: []string{"many"}, Default: 9}
		}
		if s == "cases" {
			spec = transform.Spec{Schema: "hotline_case", Fields: map[string]transform.FieldSpec{
				"case_id": {From: "id"}, "region": {Value: "330102"}, "opened_at": {From: "at"}, "channel": {Value: "phone"}, "status": {Value: "open"},
			}}
		}
		if field, ok := strings.CutPrefix(s, "money-"); ok {
			parse := map[string]string{"day": "date", "at": "datetime"}[field]
			spec = transform.Spec{Schema: "money", Fields: map[string]transform.FieldSpec{"id": {From: "id"}, field: {From: "id", Parse: cmp.Or(parse, "number")}}}
		}
		shape.Streams = append(shape.Streams, transform.StreamShape{Source: s, Stream: "rows", Owner: "test", Map: spec})
	}
	body, err := shape.Marshal()
	if err != nil {
		b.t.Fatal(err)
	}
	s, err := b.compile(body)
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

func (b *bench) compile(body []byte) (load.Shaping, error) {
	shape, err := transform.UnmarshalShape(body)
	if err != nil {
		return load.Shaping{}, err
	}
	program, err := transform.Compile(shape, transform.Options{Allocator: b.mem, Keys: func(string) (secret.Value, error) { return secret.Value{}, errors.New("no keys here") }})
	if err != nil {
		return load.Shaping{}, err
	}
	return load.Shaping{Program: program, Hash: transform.Hash(body), Body: body}, nil
}

// options of a loader.
type options struct {
	sources []string // that the project knows; cases and figures by default
	onGap   bool     // on_gap: continue
	mended  bool     // the mapping takes bad rows
	records int      // of a flush; 1 by default, which makes a flush of each batch

	warehouse load.Warehouse // instead of the bench's own
}

// service is a loader.
func (b *bench) service(o options) *load.Service { return b.serviceOf(o, schemas.Standard()) }

func (b *bench) serviceOf(o options, set *schemas.Set) *load.Service {
	b.t.Helper()
	if o.sources == nil {
		o.sources = []string{"cases", "figures"}
	}
	if o.warehouse == nil {
		o.warehouse = b.warehouse
	}
	return load.New(load.Config{
		Client: b.client, Warehouse: o.warehouse, Group: loadGroup, Topics: []string{rawTopic}, Shaping: b.shaping(set, o.mended, o.sources...), Compile: b.compile,
		Tables: []string{"hotline_case", "observation"}, OnGap: map[string]bool{rawTopic: o.onGap}, Allocator: b.mem, Logger: b.logger(), Limits: load.Limits{Records: max(1, o.records)},
	})
}

// load runs a loader until the log is loaded, or the partition stops.
func (b *bench) load(o options) error {
	b.t.Helper()
	s := b.service(o)
	ctx, stop := context.WithCancel(b.t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := s.Wait(limited, rawTopic, 0, b.end)
	stop()
	return errors.Join(err, <-done)
}

func (b *bench) mustLoad(o options) {
	b.t.Helper()
	if err := b.load(o); err != nil {
		b.t.Fatal(err)
	}
}

// check compares what is in the tables, physically, and that the account balances: extracted, loaded, duplicate, quarantined,
// held.
func (b *bench) check(cases, subjects, account string) {
	b.t.Helper()
	b.expect("cases", "SELECT arrayStringConcat(arraySort(groupArray(case_id)), ' ') FROM $db.hotline_case", cases)
	b.expect("subjects of observations", "SELECT arrayStringConcat(arraySort(groupArray(subject)), ' ') FROM $db.observation", subjects)
	b.expect("extracted, loaded, duplicate, quarantined, held", "SELECT concat(toString(sum(extracted)), ' ', toString(sum(loaded)), ' ', toString(sum(duplicate)), ' ', toString(sum(quarantined)), ' ', toString(sum(held))) FROM $db.ledger FINAL", account)
	b.expect("lines that do not balance", "SELECT count() FROM $db.ledger_balance WHERE NOT balanced OR difference != 0", "0")
}

// forget deletes the load group with its commits, as a broker does after offsets.retention.minutes.
func (b *bench) forget() {
	b.t.Helper()
	resp, err := b.Client().DeleteGroups(b.t.Context(), &kafka.DeleteGroupsRequest{GroupIDs: []string{loadGroup}})
	if err == nil {
		err = resp.Errors[loadGroup]
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// recreate deletes the topic and creates it anew.
func (b *bench) recreate() {
	b.t.Helper()
	resp, err := b.Client().DeleteTopics(b.t.Context(), &kafka.DeleteTopicsRequest{Topics: []string{rawTopic}})
	if err == nil {
		err = resp.Errors[rawTopic]
	}
	if err != nil {
		b.t.Fatal(err)
	}
	b.createTopic()
}

// TestATableThatRefusesHoldsItsRowsUntilItIsMended is rule L4.
func TestATableThatRefusesHoldsItsRowsUntilItIsMended(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name         string
		broken, mend string // statements; without mend, migrating does it
	}{
		{name: "a constraint", broken: "ALTER TABLE $db.hotline_case ADD CONSTRAINT no_c2 CHECK case_id != 'c2'", mend: "ALTER TABLE $db.hotline_case DROP CONSTRAINT no_c2"},
		{name: "a column that somebody dropped", broken: "ALTER TABLE $db.hotline_case DROP COLUMN channel"},
		{name: "a table that somebody dropped", broken: "DROP TABLE $db.hotline_case"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.claim("x")
			b.batch("cases", "c1")
			b.batch("figures", "f1")
			b.mustLoad(options{})
			b.sql(test.broken)
			b.batch("cases", "c2", "c3")
			b.batch("figures", "f2", "bad1")
			b.batch("cases", "c2x")
			// One flush, two tables: one is held, the other goes on.
			b.mustLoad(options{records: 100})
			b.expect("rows held", "SELECT sum(held) FROM $db.ledger FINAL", "3")
			b.expect("figures", "SELECT arrayStringConcat(arraySort(groupArray(subject)), ' ') FROM $db.observation", "f1 f2")
			b.expect("lines that do not balance", "SELECT count() FROM $db.ledger_balance WHERE NOT balanced", "0")

			// As long as it refuses they stay held, however often it is tried.
			b.batch("figures", "f3")
			b.mustLoad(options{})
			b.expect("rows held", "SELECT sum(held) FROM $db.ledger FINAL", "3")

			if test.mend != "" {
				b.sql(test.mend)
			} else if _, err := b.warehouse.Migrate(t.Context(), schemas.Standard()); err != nil {
				t.Fatal(err)
			}
			b.mustLoad(options{})
			cases := "c1 c2 c2x c3"
			if strings.HasPrefix(test.broken, "DROP TABLE") {
				cases = "c2 c2x c3" // what the table had before is to be restored, not loaded
			}
			b.check(cases, "f1 f2 f3", "8 7 0 1 0")
			b.expect("rows in quarantine", "SELECT count() FROM $db.quarantine FINAL", "1")
			b.mustLoad(options{}) // there is nothing left to mend
			b.check(cases, "f1 f2 f3", "8 7 0 1 0")
		})
	}
}

// TestRowsOfASourceThatTheProjectDoesNotKnowAreHeldUntilItDoes is rule L4 too: a source's file was removed, or is broken.
func TestRowsOfASourceThatTheProjectDoesNotKnowAreHeldUntilItDoes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.claim("x")
	b.batch("figures", "f1")
	b.batch("cases", "c1", "c2")
	b.batch("other", "o1", "bad2")
	b.mustLoad(options{sources: []string{"figures"}, records: 100})
	b.check("", "f1", "5 1 0 0 4")
	b.batch("figures", "f2")
	b.mustLoad(options{sources: []string{"figures", "cases"}})
	b.check("c1 c2", "f1 f2", "6 4 0 0 2")
	b.mustLoad(options{sources: []string{"figures", "cases", "other"}})
	b.check("c1 c2", "f1 f2 o1", "6 5 0 1 0")
	b.expect("rows in quarantine", "SELECT concat(source, ' ', rules[1]) FROM $db.quarantine FINAL", "other parse.number")
}

// TestOffsetsThatRetentionAteAreAGap is rule L10.
func TestOffsetsThatRetentionAteAreAGap(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.claim("x")
	b.batch("figures", "f1")
	b.mustLoad(options{})
	b.batch("figures", "f2") // offset 2: nobody loads it
	b.claim("x")
	b.batch("figures", "f3")
	b.DeleteRecords(rawTopic, 0, 3)
	err := b.load(options{})
	lost, ok := errors.AsType[*load.LostRangeError](err)
	if !ok || lost.From != 2 || lost.To != 3 || lost.Recreated {
		t.Fatalf("got %v, want a lost range [2, 3)", err)
	}
	if !strings.Contains(err.Error(), "offsets 2 to 3 were removed by the topic's retention before they were loaded. Set on_gap: continue") {
		t.Errorf("it says %q", err)
	}
	b.check("", "f1", "1 1 0 0 0")

	b.mustLoad(options{onGap: true})
	b.check("", "f1 f3", "2 2 0 0 0")
	b.expect("the gap", "SELECT concat(toString(from_offset), ' ', toString(to_offset)) FROM $db.ledger FINAL WHERE kind = 'gap'", "2 3")
	// Once it is recorded nobody is asked again.
	b.batch("figures", "f4")
	b.mustLoad(options{})
	b.check("", "f1 f3 f4", "3 3 0 0 0")
}

// TestAGapMayBeginInTheMiddleOfAnEpoch: what comes before the next claim is void, as the writer reads it again.
func TestAGapMayBeginInTheMiddleOfAnEpoch(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.claim("x")
	b.batch("figures", "f1")
	b.mustLoad(options{})
	b.batch("figures", "f2") // eaten
	b.batch("figures", "f3") // there, but nobody can tell whether it is valid
	b.claim("x")
	b.batch("figures", "f2", "f3")
	b.DeleteRecords(rawTopic, 0, 3)
	b.mustLoad(options{onGap: true})
	b.check("", "f1 f2 f3", "4 3 1 0 0")
}

// TestATopicThatWasCreatedAgain: its offsets begin anew and mean other records.
func TestATopicThatWasCreatedAgain(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		ahead int // records that the new log has before the loader comes back
	}{{"shorter than the old log", 2}, {"as long as the old log", 4}, {"longer than the old log", 6}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.claim("x")
			b.batch("figures", "f1")
			b.batch("figures", "f2")
			b.batch("figures", "f3")
			b.mustLoad(options{})
			b.recreate()
			b.claim("y")
			want := "f1 f2 f3"
			for i := 1; i < test.ahead; i++ {
				b.batch("figures", fmt.Sprintf("g%d", i))
				want += fmt.Sprintf(" g%d", i)
			}
			err := b.load(options{})
			lost, ok := errors.AsType[*load.LostRangeError](err)
			if !ok || !lost.Recreated || lost.Incarnation != "x" {
				t.Fatalf("got %v, want that the topic was created again", err)
			}
			if !strings.Contains(err.Error(), "the topic was deleted and created again") {
				t.Errorf("it says %q", err)
			}
			b.mustLoad(options{onGap: true})
			n := 3 + test.ahead - 1
			b.check("", want, fmt.Sprintf("%d %d 0 0 0", n, n))
			b.batch("figures", "h")
			b.mustLoad(options{})
			b.check("", want+" h", fmt.Sprintf("%d %d 0 0 0", n+1, n+1))
		})
	}
}

// TestATopicThatIsCreatedAgainUnderALoaderThatWaits is rule W6: the new log is as long as the old one, so that the loader, which
// waits for its next record, would go on in its middle.
func TestATopicThatIsCreatedAgainUnderALoaderThatWaits(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.claim("x")
	b.batch("figures", "f1")
	b.batch("figures", "f2")
	s := b.service(options{})
	s.LookEvery(20 * time.Millisecond)
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	if err := s.Wait(ctx, rawTopic, 0, b.end); err != nil {
		t.Fatal(err)
	}
	old := b.end
	b.recreate()
	b.claim("y")
	b.batch("figures", "g1")
	b.batch("figures", "g2")
	if b.end != old {
		t.Fatalf("the new log ends at %d, the old one at %d", b.end, old)
	}
	err := s.Wait(ctx, rawTopic, 0, b.end+1)
	if lost, ok := errors.AsType[*load.LostRangeError](err); !ok || !lost.Recreated || lost.Incarnation != "x" {
		t.Errorf("got %v, want that the topic was created again", err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	b.mustLoad(options{onGap: true})
	b.check("", "f1 f2 g1 g2", "4 4 0 0 0")
}

// TestAPartitionThatAnotherProcessLoadsIsWaitedFor: of two services one has the partition; who waits at the other is told all
// the same, and not before the rows are there.
func TestAPartitionThatAnotherProcessLoadsIsWaitedFor(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.claim("x")
	b.batch("cases", "c1")
	cfg := load.Config{
		Client: b.client, Warehouse: b.warehouse, Group: loadGroup, Topics: []string{rawTopic}, Shaping: b.shaping(schemas.Standard(), false, "cases", "figures"), Compile: b.compile,
		Tables: []string{"hotline_case", "observation"}, Allocator: b.mem, Logger: b.logger(), Limits: load.Limits{Records: 1},
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 2)
	services := []*load.Service{load.New(cfg), load.New(cfg)}
	for _, s := range services {
		go func() { done <- s.Serve(ctx) }()
	}
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, s := range services { // the topic has one partition: one of the two loads nothing
		if err := s.Wait(limited, rawTopic, 0, b.end); err != nil {
			t.Error(err)
		}
		b.expect("rows", "SELECT count() FROM $db.hotline_case", "1")
	}
	stop()
	if err := errors.Join(<-done, <-done); err != nil {
		t.Error(err)
	}
}

// TestWithoutCommitsTheLedgerSaysWhereToGoOn is rule L9: commits expire, and the tables may be ahead of the ledger.
func TestWithoutCommitsTheLedgerSaysWhereToGoOn(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		lose []string // statements; offsets are 1 to 4, each a flush
	}{
		{name: "tables and ledger are as far as each other"},
		{name: "the last flush was cut short before its account", lose: []string{"DELETE FROM $db.ledger WHERE from_offset >= 4"}},
		{name: "the last flush was cut short between rows", lose: []string{"DELETE FROM $db.ledger WHERE from_offset >= 4", "DELETE FROM $db.observation WHERE subject = 'f4'"}},
		{name: "a flush was cut short between tables", lose: []string{"DELETE FROM $db.ledger WHERE from_offset >= 3", "DELETE FROM $db.hotline_case WHERE case_id = 'c3'"}},
		{name: "the ledger is empty", lose: []string{"TRUNCATE TABLE $db.ledger"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.claim("x")
			b.batch("figures", "f1", "f2")
			b.batch("cases", "c1")
			b.batch("cases", "c2", "c3")
			b.batch("figures", "f3", "f4", "bad")
			b.mustLoad(options{})
			b.check("c1 c2 c3", "f1 f2 f3 f4", "8 7 0 1 0")
			for _, statement := range test.lose {
				b.sql(statement)
			}
			b.forget()
			b.batch("figures", "f5")
			b.mustLoad(options{})
			b.check("c1 c2 c3", "f1 f2 f3 f4 f5", "9 8 0 1 0")
			b.expect("rows in quarantine", "SELECT count() FROM $db.quarantine FINAL", "1")
		})
	}
}

// TestAWarehouseThatIsOlderThanTheCommits is rule L11: it was restored, or is another one.
func TestAWarehouseThatIsOlderThanTheCommits(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		restore func(b *bench)
	}{
		{"the ledger alone is older", func(b *bench) { b.sql("DELETE FROM $db.ledger WHERE from_offset >= 2") }},
		{"the ledger is gone", func(b *bench) { b.sql("TRUNCATE TABLE $db.ledger") }},
		{"the tables are older, restored as new ones", func(b *bench) {
			for _, table := range []string{"observation", "hotline_case"} {
				b.sql("CREATE TABLE $db.restored AS $db." + table)
				b.sql("INSERT INTO $db.restored SELECT * FROM $db." + table + " WHERE _offset < 2")
				b.sql("DROP TABLE $db." + table)
				b.sql("RENAME TABLE $db.restored TO $db." + table)
			}
			b.sql("DELETE FROM $db.ledger WHERE from_offset >= 2")
			b.sql("TRUNCATE TABLE $db.quarantine")
		}},
		{"it is a new one", (*bench).openWarehouse},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.claim("x")
			b.batch("figures", "f1", "f2")
			b.batch("cases", "c1", "c2")
			b.batch("figures", "f3", "bad")
			b.mustLoad(options{})
			test.restore(b)
			b.batch("cases", "c3")
			b.mustLoad(options{})
			b.check("c1 c2 c3", "f1 f2 f3", "7 6 0 1 0")
			b.expect("rows in quarantine", "SELECT count() FROM $db.quarantine FINAL", "1")
		})
	}
}

// TestARepairUnderAMendedMappingSettlesWhatWasInQuarantine: rows of the held flush that the mapping now takes are loaded with it.
// Those of other streams have their account, and wait for their replay.
func TestARepairUnderAMendedMappingSettlesWhatWasInQuarantine(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.claim("x")
	b.batch("figures", "f1", "bad1")
	b.batch("others", "o1", "bad2")
	b.batch("cases", "c1")
	// What holds the rows of one stream only is that the project does not know it.
	b.mustLoad(options{sources: []string{"cases", "others"}, records: 100})
	b.check("c1", "o1", "5 2 0 1 2")
	b.mustLoad(options{sources: []string{"cases", "figures", "others"}, mended: true})
	b.check("c1", "bad1 f1 o1", "5 4 0 1 0")
	b.expect("quarantine", "SELECT arrayStringConcat(arraySort(groupArray(concat(source, ' ', status))), ', ') FROM $db.quarantine FINAL", "others open")

	b.sql("ALTER TABLE $db.observation ADD CONSTRAINT no_f2 CHECK subject != 'f2'")
	b.batch("figures", "f2", "bad3")
	b.mustLoad(options{sources: []string{"cases", "figures", "others"}})
	b.check("c1", "bad1 f1 o1", "7 4 0 2 1")
	b.sql("ALTER TABLE $db.observation DROP CONSTRAINT no_f2")
	b.mustLoad(options{sources: []string{"cases", "figures", "others"}, mended: true})
	b.check("c1", "bad1 bad3 f1 f2 o1", "7 6 0 1 0")
	b.expect("quarantine", "SELECT arrayStringConcat(arraySort(groupArray(concat(source, ' ', status))), ', ') FROM $db.quarantine FINAL", "figures replayed, others open")
}

// TestAContentOfWhichNothingCanBeLoadedReplacesNothing: a column that went away must not empty a table.
func TestAContentOfWhichNothingCanBeLoadedReplacesNothing(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		content [][]string
		want    string // subjects that are current
	}{
		{"all of it is broken", [][]string{{"bad1", "bad2"}}, "f1 f2 f3"},
		{"all of it is broken, in several flushes", [][]string{{"bad1"}, {"bad2"}, {}}, "f1 f2 f3"},
		{"some of the last flush is good", [][]string{{"bad1"}, {"f1", "bad2"}}, "f1"},
		{"some of an earlier flush is good", [][]string{{"f1"}, {"bad1", "bad2"}}, "f1"},
		{"it is empty, and nothing is broken", [][]string{{}}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.claim("x")
			b.content("figures", []string{"f1", "f2"}, []string{"f3"})
			b.mustLoad(options{})
			b.content("figures", test.content...)
			b.mustLoad(options{})
			current := "SELECT arrayStringConcat(arraySort(groupArray(subject)), ' ') FROM $db.observation_current"
			b.expect("current subjects", current, test.want)
			b.expect("lines that do not balance", "SELECT count() FROM $db.ledger_balance WHERE NOT balanced", "0")
			// The next content that can be loaded replaces all there was.
			b.content("figures", []string{"f2", "f4"})
			b.mustLoad(options{})
			b.expect("current subjects", current, "f2 f4")
			b.expect("open in quarantine", "SELECT count() FROM $db.quarantine FINAL WHERE status = 'open'", "0")
		})
	}
}
