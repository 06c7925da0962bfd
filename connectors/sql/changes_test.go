package sql_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/connectors/sql"
	"github.com/headwater-data/headwater/internal/secret"
	"github.com/headwater-data/headwater/internal/testdb"
)

// follow opens a source that follows the table t of a database, with a slot and a publication of the database's own.
func follow(t *testing.T, db *testdb.Database, o sql.Options) (connectors.Source, *bytes.Buffer) {
	t.Helper()
	alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
	t.Cleanup(func() { alloc.AssertSize(t, 0) })
	o.Table = "public.t"
	if o.Changes == nil {
		o.Changes = &sql.Changes{}
	}
	o.Changes.Slot, o.Changes.Publication = db.Name+"_slot", "pub"
	t.Cleanup(func() { dropSlot(t, db) })
	d := sql.Postgres()
	config := &sql.ServerConfig{Host: db.Host, Port: db.Port, Database: db.Name, User: db.User, Password: secret.New(db.Password), TLS: &sql.TLS{CA: db.CA}}
	streams := map[string]any{"s": &o}
	if faults := d.Check(config, streams); len(faults) > 0 {
		t.Fatal(faults)
	}
	var log bytes.Buffer
	src, err := d.Open(connectors.Environment{Dir: t.TempDir(), Allocator: alloc, Logger: slog.New(slog.NewTextHandler(&log, nil)), Now: time.Now}, config, streams)
	if err != nil {
		t.Fatal(err)
	}
	return src, &log
}

// dropSlot drops the database's slot when it is there. A connection that has just ended may hold it for a moment.
func dropSlot(t *testing.T, db *testdb.Database) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	for {
		_, err := db.ExecContext(ctx, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1", db.Name+"_slot")
		if err == nil {
			return
		}
		if !strings.Contains(err.Error(), "is active for PID") {
			t.Error(err)
			return
		}
	}
}

// mirror is what a warehouse makes of batches: of each key the row with the highest version.
type mirror struct {
	t         *testing.T
	rows      map[string]mirrored
	cursor    connectors.Cursor
	extracted time.Time
	rejects   []string
	deleted   int
}

type mirrored struct {
	version   uint64
	extracted time.Time
	gone      bool
	row       string
}

func newMirror(t *testing.T) *mirror { return &mirror{t: t, rows: map[string]mirrored{}} }

// take takes a batch, as one that is stored.
func (m *mirror) take(b connectors.Batch) {
	m.t.Helper()
	if b.ExtractedAt.Before(m.extracted) {
		m.t.Errorf("extracted at %v after %v", b.ExtractedAt, m.extracted)
	}
	m.extracted, m.cursor = b.ExtractedAt, slices.Clone(b.Cursor)
	if n := b.Record.NumRows(); n > connectors.MaxBatchRows {
		m.t.Errorf("a batch of %d rows", n)
	}
	text, err := b.Record.MarshalJSON()
	if err != nil {
		m.t.Fatal(err)
	}
	var list []map[string]json.RawMessage
	if err := json.Unmarshal(text, &list); err != nil {
		m.t.Fatal(err)
	}
	for i, row := range list {
		version := b.Record.Column(b.Record.Schema().FieldIndices("_version")[0]).(*array.Uint64).Value(i)
		gone := string(row["_deleted"]) == "true"
		delete(row, "_version")
		delete(row, "_deleted")
		text, err := json.Marshal(row)
		if err != nil {
			m.t.Fatal(err)
		}
		key := string(row["id"])
		if old, ok := m.rows[key]; ok && old.version > version {
			continue
		}
		if gone {
			m.deleted++
		}
		m.rows[key] = mirrored{version, b.ExtractedAt, gone, string(text)}
	}
	for _, r := range b.Rejects {
		m.rejects = append(m.rejects, r.Reason)
	}
	if b.Replaces {
		for key, row := range m.rows {
			if row.extracted.Before(b.ExtractedAt) && !row.gone {
				m.rows[key] = mirrored{uint64(b.ExtractedAt.UnixMicro()), b.ExtractedAt, true, row.row}
			}
		}
	}
}

// read takes up to as many batches as are allowed, and returns how many there were.
func (m *mirror) read(src connectors.Source, most int) (n int) {
	m.t.Helper()
	for b, err := range src.Read(m.t.Context(), connectors.Stream{Name: "s"}, m.cursor) {
		if err != nil {
			m.t.Fatal(err)
		}
		m.take(b)
		if n++; n == most {
			break
		}
	}
	return n
}

// fails reads and returns the error.
func (m *mirror) fails(src connectors.Source) error {
	m.t.Helper()
	for b, err := range src.Read(m.t.Context(), connectors.Stream{Name: "s"}, m.cursor) {
		if err != nil {
			return err
		}
		m.take(b)
	}
	m.t.Fatal("no error")
	return nil
}

const all = 1 << 30

// live returns the rows that are not gone, ordered.
func (m *mirror) live() []string {
	var out []string
	for _, row := range m.rows {
		if !row.gone {
			out = append(out, row.row)
		}
	}
	slices.Sort(out)
	return out
}

// same compares with what a plain reading of the table gives.
func (m *mirror) same(db *testdb.Database, what string) {
	m.t.Helper()
	want := []string{}
	rows, rejects, _ := read(m.t, open(m.t, db, sql.Options{Table: "public.t"}), "", nil)
	for _, row := range rows {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal([]byte(row), &fields); err != nil {
			m.t.Fatal(err)
		}
		text, err := json.Marshal(fields)
		if err != nil {
			m.t.Fatal(err)
		}
		want = append(want, string(text))
	}
	slices.Sort(want)
	if len(rejects) > 0 || len(m.rejects) > 0 {
		m.t.Fatalf("%s: rejects %q and %q", what, rejects, m.rejects)
	}
	got := m.live()
	short := func(list []string) []string {
		out := []string{}
		for _, row := range list {
			out = append(out, row[:min(len(row), 200)])
		}
		return out
	}
	if !slices.Equal(got, want) {
		m.t.Fatalf("%s (-table +followed):\n%s", what, cmp.Diff(short(want), short(got)))
	}
}

// TestChangesEndAsTheTableIs stops reading after every batch, of the snapshot and of the changes, changes rows in between, and goes on
// from the cursor.
func TestChangesEndAsTheTableIs(t *testing.T) {
	db := testdb.Postgres(t).Database(t)
	db.Do(t, "CREATE TABLE t (id bigint PRIMARY KEY, n int, s text)", "CREATE PUBLICATION pub FOR TABLE t",
		"INSERT INTO t SELECT g, g, repeat(md5(g::text), 1500) FROM generate_series(1, 300) g")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	change := func() {
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		for range 1 + r.IntN(5) {
			id, other := r.IntN(330), r.IntN(330)
			statement := []string{
				fmt.Sprintf("INSERT INTO t VALUES (%d, %d, 'new') ON CONFLICT (id) DO UPDATE SET n = excluded.n", id, other),
				fmt.Sprintf("UPDATE t SET n = n + 1 WHERE id = %d", id),
				fmt.Sprintf("UPDATE t SET n = n + 1, s = repeat('é', %d) WHERE id BETWEEN %d AND %d", r.IntN(40000), id, id+20),
				fmt.Sprintf("DELETE FROM t WHERE id = %d", id),
				fmt.Sprintf("UPDATE t SET id = 1000 - id WHERE id BETWEEN %d AND %d", id, id+3),
				fmt.Sprintf("DELETE FROM t WHERE id = %d", 1000-id),
				fmt.Sprintf("WITH gone AS (DELETE FROM t WHERE id = %d RETURNING n) INSERT INTO t SELECT %d, n, 'moved' FROM gone", id, 2000+r.IntN(1000000)),
			}[r.IntN(7)]
			if r.IntN(60) == 0 {
				statement = "TRUNCATE t"
			}
			if _, err := tx.Exec(statement); err != nil {
				t.Fatal(statement, err)
			}
		}
		if r.IntN(8) == 0 {
			return // rolled back
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	src, _ := follow(t, db, sql.Options{})
	m := newMirror(t)
	batches := 0
	for step := range 25 {
		for range r.IntN(4) {
			change()
		}
		n := m.read(src, 1+r.IntN(2))
		if step == 0 && n == 0 {
			t.Fatal("nothing was read")
		}
		batches += n
	}
	for m.read(src, 1) > 0 {
		batches++
	}
	m.same(db, "after all")
	if batches < 8 {
		t.Errorf("only %d batches: reading was hardly ever stopped", batches)
	}
	if n := m.read(src, all); n > 0 {
		t.Errorf("%d batches although nothing is new", n)
	}
}

// TestChangesWhileAWriterRuns reads while transactions of another goroutine come and go.
func TestChangesWhileAWriterRuns(t *testing.T) {
	db := testdb.Postgres(t).Database(t)
	db.Do(t, "CREATE TABLE t (id bigint PRIMARY KEY, n int, s text)", "CREATE PUBLICATION pub FOR TABLE t",
		"INSERT INTO t SELECT g, g, repeat(md5(g::text), 200) FROM generate_series(1, 3000) g")
	src, _ := follow(t, db, sql.Options{})
	ended := make(chan error, 1)
	go func() {
		for i := range 400 {
			if _, err := db.Exec(fmt.Sprintf("UPDATE t SET n = -n WHERE id %% 97 = %d; DELETE FROM t WHERE id = %d; INSERT INTO t VALUES (%d, %d, 'late'); UPDATE t SET id = id + 100000 WHERE id = %d", i%97, i*7, 10000+i, i, i*5+1)); err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}()
	m := newMirror(t)
	for running := true; running; {
		select {
		case err := <-ended:
			if err != nil {
				t.Fatal(err)
			}
			running = false
		default:
		}
		m.read(src, all)
	}
	m.same(db, "after the writer")
	if m.deleted == 0 {
		t.Error("no row was deleted while the table was read")
	}
}

func TestChangesKeepTheirOrderWithinTransactions(t *testing.T) {
	db := testdb.Postgres(t).Database(t)
	db.Do(t, "CREATE TABLE t (id int PRIMARY KEY, n int)", "CREATE PUBLICATION pub FOR TABLE t", "INSERT INTO t VALUES (1, 0), (2, 0)")
	src, _ := follow(t, db, sql.Options{})
	m := newMirror(t)
	m.read(src, all)
	first := m.cursor
	db.Do(t, "BEGIN; UPDATE t SET n = 1 WHERE id = 1; UPDATE t SET id = 3 WHERE id = 1; INSERT INTO t VALUES (1, 9); DELETE FROM t WHERE id = 2; INSERT INTO t VALUES (2, 8); UPDATE t SET n = 7 WHERE id = 2; COMMIT",
		"TRUNCATE t", "BEGIN; INSERT INTO t VALUES (5, 5); TRUNCATE t; INSERT INTO t VALUES (6, 6); COMMIT")
	rows := func() (out []string) {
		for b, err := range src.Read(t.Context(), connectors.Stream{Name: "s"}, first) {
			if err != nil {
				t.Fatal(err)
			}
			for i := range int(b.Record.NumRows()) {
				line := b.Record.Column(0).ValueStr(i) + "=" + b.Record.Column(1).ValueStr(i)
				if b.Record.Column(3).ValueStr(i) == "true" {
					line = "gone " + b.Record.Column(0).ValueStr(i)
				}
				out = append(out, line)
			}
			if b.Replaces {
				out = append(out, "all gone")
			}
		}
		return out
	}
	want := []string{"1=1", "gone 1", "3=1", "1=9", "gone 2", "2=8", "2=7", "all gone", "5=5", "all gone", "6=6"}
	for range 2 { // and the same again from the same cursor
		if diff := cmp.Diff(want, rows()); diff != "" {
			t.Fatal(diff)
		}
	}
	m.read(src, all)
	m.same(db, "at the end")
}

// TestChangesOfALargeTransactionAreCut reads one transaction in several batches, and goes on in its middle.
func TestChangesOfALargeTransactionAreCut(t *testing.T) {
	db := testdb.Postgres(t).Database(t)
	db.Do(t, "CREATE TABLE t (id int PRIMARY KEY, s text)", "CREATE PUBLICATION pub FOR TABLE t", "CREATE TABLE other (id int)")
	src, _ := follow(t, db, sql.Options{})
	m := newMirror(t)
	m.read(src, all)
	db.Do(t, "BEGIN; INSERT INTO other VALUES (1); INSERT INTO t SELECT g, repeat(md5(g::text), 1000) FROM generate_series(1, 500) g; INSERT INTO other VALUES (1); UPDATE t SET id = -id; COMMIT", "DELETE FROM t WHERE id = -7")
	batches := 0
	for m.read(src, 1) > 0 {
		batches++
	}
	if batches < 7 {
		t.Errorf("32 MB of one transaction came in %d batches", batches)
	}
	m.same(db, "after all")
}

func TestChangesNeverMakeNullOfWhatTheLogLeavesOut(t *testing.T) {
	for _, identity := range []string{"DEFAULT", "FULL"} {
		t.Run(identity, func(t *testing.T) {
			db := testdb.Postgres(t).Database(t)
			db.Do(t, "CREATE TABLE t (id int PRIMARY KEY, n int, s text, a text[], j jsonb)", "ALTER TABLE t ALTER s SET STORAGE EXTERNAL, ALTER a SET STORAGE EXTERNAL, ALTER j SET STORAGE EXTERNAL", "ALTER TABLE t REPLICA IDENTITY "+identity, "CREATE PUBLICATION pub FOR TABLE t")
			long := func(n int) string { return fmt.Sprintf("repeat('%d', 9000)", n) }
			row := func(id int) string {
				return fmt.Sprintf("(%d, 0, %s, ARRAY[%s, NULL], to_jsonb(%s))", id, long(id), long(id), long(id))
			}
			db.Do(t, "INSERT INTO t VALUES "+row(1)+", "+row(2)+", "+row(3))
			src, _ := follow(t, db, sql.Options{})
			m := newMirror(t)
			m.read(src, all)
			db.Do(t, "UPDATE t SET n = 1 WHERE id = 1",
				// The value changes after the update that leaves it out.
				"UPDATE t SET n = 1 WHERE id = 2", "UPDATE t SET s = 'short', j = NULL WHERE id = 2",
				// The row goes, and another one moves away.
				"UPDATE t SET n = 1 WHERE id = 3", "DELETE FROM t WHERE id = 3",
				"BEGIN; INSERT INTO t VALUES "+row(4)+"; UPDATE t SET n = 5 WHERE id = 4; COMMIT",
				"UPDATE t SET n = 6 WHERE id = 4", "UPDATE t SET id = 5 WHERE id = 4", "UPDATE t SET n = 7 WHERE id = 5")
			for m.read(src, 1) > 0 {
			}
			m.same(db, "values out of line")
		})
	}
}

// TestChangesHaveTheSameValuesAsTheTable inserts each value once before the table is read and once after: what the log gives of it must
// be the same, in the same type.
func TestChangesHaveTheSameValuesAsTheTable(t *testing.T) {
	db := testdb.Postgres(t).Database(t)
	columns, values := []string{"id int PRIMARY KEY"}, []string{"%d"}
	n := 0
	column := func(typ string, literals ...string) {
		for _, literal := range literals {
			n++
			columns, values = append(columns, fmt.Sprintf("c%d %s", n, typ)), append(values, literal)
		}
	}
	column("numeric(38,0)", "'-99999999999999999999999999999999999999'")
	column("numeric(38,10)", "'1234567890123456789012345678.0123456789'", "'-0.0000000001'", "'0'")
	column("numeric(70,5)", "'-1234567890123456789012345678901234567890.5'")
	column("numeric(20,2)", "'-0.05'", "'10000'", "'99990000.10'")
	column("numeric", "'18446744073709551615.000'", "'NaN'", "'Infinity'", "'-0.00010'", "'0.000'", "'100000000'", "1e-30", "12345678.9")
	column("bigint", "'-9223372036854775808'")
	column("integer", "'-2147483648'")
	column("smallint", "'-32768'")
	column("oid", "'4294967295'")
	column("boolean", "'t'", "'f'", "NULL")
	column("double precision", "'1e300'", "'-0'", "0.1", "5e-324")
	column("real", "'3.4e38'", "0.1")
	column("date", "'0044-03-15 BC'", "'0005-02-29 BC'", "'1899-12-31'", "'2024-02-29'", "'5874897-12-31'", "'4713-01-01 BC'")
	column("timestamp", "'2300-01-02 03:04:05.000006'", "'0044-03-15 01:02:03.5 BC'", "'294276-12-31 23:59:59.999999'", "'4713-01-01 00:00:00 BC'")
	column("timestamptz", "'1900-01-01 00:00:00.123456+08'", "'0001-12-31 23:00:00-05 BC'", "'2024-12-31 23:59:59.9+00'")
	column("time", "'23:59:59.999999'", "'00:00:00'")
	column("timetz", "'12:00:00+08'")
	column("interval", "'1 year 2 days'", "'-3 hours'")
	column("text", "''", "'👩‍👩‍👧𠀀'", `E'a\tb\n\\''"'`)
	column("char(5)", "'ab'")
	column("name", "'表'")
	column("bytea", `'\x00ff'`, `''`)
	column("jsonb", `'{"a": [1, null]}'`)
	column("json", `'{"a":  [1, null] }'`)
	column("uuid", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'")
	column("int[]", "'{1,NULL,3}'", "'{{1,2},{3,4}}'", "'{}'")
	column("timestamptz[]", "'{2024-01-01 00:00:00+08}'")
	column("text[]", `ARRAY['a"b', 'NULL', NULL, '', '{x}']`)
	column("mood", "'好'")
	column("mood[]", "'{好,bad}'")
	column("amount", "'12.345'")
	column("inner_amount", "'12.345'")
	column("inet", "'10.0.0.1/8'")
	column("money", "'12.50'")
	column("bit(5)", "B'10101'")
	column("int4range", "'[1,5)'")
	column("point", "'(1,2)'")
	column("tsvector", "'a b'")
	column("xml", "'<a/>'")
	db.Do(t, "CREATE TYPE mood AS ENUM ('好', 'bad')", "CREATE DOMAIN inner_amount AS numeric(10,3)", "CREATE DOMAIN amount AS inner_amount CHECK (value > 0)",
		"CREATE TABLE t ("+strings.Join(columns, ", ")+")", "ALTER TABLE t REPLICA IDENTITY FULL", "CREATE PUBLICATION pub FOR TABLE t")
	insert := func(id int) string { return fmt.Sprintf("INSERT INTO t VALUES ("+strings.Join(values, ", ")+")", id) }
	db.Do(t, insert(1))
	src, _ := follow(t, db, sql.Options{})
	var text [3]string
	var schema [2]string
	cursor := connectors.Cursor(nil)
	for i := range 2 {
		for b, err := range src.Read(t.Context(), connectors.Stream{Name: "s"}, cursor) {
			if err != nil {
				t.Fatal(err)
			}
			if len(b.Rejects) > 0 {
				t.Fatal(b.Rejects)
			}
			cursor, schema[i] = b.Cursor, b.Record.Schema().String()
			var list []map[string]json.RawMessage
			out, err := b.Record.MarshalJSON()
			if err == nil {
				err = json.Unmarshal(out, &list)
			}
			if err != nil {
				t.Fatal(err)
			}
			for n, row := range list {
				delete(row, "id")
				delete(row, "_version")
				delete(row, "_deleted")
				out, err := json.MarshalIndent(row, "", " ")
				if err != nil {
					t.Fatal(err)
				}
				text[i+n] = string(out)
			}
		}
		db.Do(t, insert(2), "DELETE FROM t WHERE id = 2")
	}
	if diff := cmp.Diff(schema[0], schema[1]); diff != "" {
		t.Errorf("types (-table +log):\n%s", diff)
	}
	for _, logged := range text[1:] { // of the insert, and of the delete, which has all columns
		if diff := cmp.Diff(text[0], logged); diff != "" {
			t.Errorf("values (-table +log):\n%s", diff)
		}
	}
	if text[0] == "" {
		t.Error("nothing was read")
	}
}
