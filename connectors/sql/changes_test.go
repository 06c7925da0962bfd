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
	"github.com/google/go-cmp/cmp"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/connectors/connectortest"
	"github.com/headwater-data/headwater/connectors/sql"
	"github.com/headwater-data/headwater/internal/testdb"
)

// follow opens a source that follows the table t of a database, with a slot and a publication of the database's own.
func follow(t *testing.T, db *testdb.Database, o sql.Options) (connectors.Source, *bytes.Buffer) {
	t.Helper()
	return followAs(t, db, db.User, db.Password, o)
}

func followAs(t *testing.T, db *testdb.Database, user, password string, o sql.Options) (connectors.Source, *bytes.Buffer) {
	t.Helper()
	return followWith(t, db, user, password, o, sql.Limits{})
}

func followWith(t *testing.T, db *testdb.Database, user, password string, o sql.Options, limits sql.Limits) (connectors.Source, *bytes.Buffer) {
	t.Helper()
	env := environment(t)
	var log bytes.Buffer
	env.Logger = slog.New(slog.NewTextHandler(&log, nil))
	o.Table = "public.t"
	if o.Changes == nil {
		o.Changes = &sql.Changes{}
	}
	o.Changes.Slot, o.Changes.Publication = db.Name+"_slot", "pub"
	t.Cleanup(func() { dropSlot(t, db) })
	config := postgresConfig(db, user, password)
	config.Limits = limits
	return opened(t, sql.Postgres(), env, config, &o), &log
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

// idleSlot waits until the server has noticed that the slot's reader has gone, and returns where the slot stands.
func idleSlot(t *testing.T, db *testdb.Database) (at string) {
	t.Helper()
	for active := true; active; {
		if err := db.QueryRowContext(t.Context(), "SELECT confirmed_flush_lsn, active FROM pg_replication_slots WHERE slot_name = $1", db.Name+"_slot").Scan(&at, &active); err != nil {
			t.Fatal(err)
		}
	}
	return at
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
	m.as(open(m.t, db, sql.Options{Table: "public.t"}), what)
}

// tableRows returns what a plain reading of the table gives, ordered.
func tableRows(t *testing.T, db *testdb.Database) []string {
	t.Helper()
	return plainRows(t, open(t, db, sql.Options{Table: "public.t"}))
}

// plainRows returns what a source gives that reads a table whole, ordered.
func plainRows(t *testing.T, plain connectors.Source) []string {
	t.Helper()
	out := []string{}
	rows, rejects, _ := read(t, plain, "", nil)
	for _, row := range rows {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal([]byte(row), &fields); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(text))
	}
	slices.Sort(out)
	if len(rejects) > 0 {
		t.Fatalf("rejects %q", rejects)
	}
	return out
}

// as compares with what a source gives that reads the same table whole.
func (m *mirror) as(plain connectors.Source, what string) {
	m.t.Helper()
	if len(m.rejects) > 0 {
		m.t.Fatalf("%s: rejects %q", what, m.rejects)
	}
	got, want := m.live(), plainRows(m.t, plain)
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

func TestChangesFollowTheColumnsOfTheTable(t *testing.T) {
	db := testdb.Postgres(t).Database(t)
	db.Do(t, "CREATE TABLE t (id int PRIMARY KEY, a int, b text)", "CREATE PUBLICATION pub FOR TABLE t", "INSERT INTO t VALUES (1, 1, 'x')")
	src, log := follow(t, db, sql.Options{})
	m := newMirror(t)
	m.read(src, all)
	// In one reading: three forms of the table, one after the other, two of them in the middle of a transaction.
	db.Do(t, "INSERT INTO t VALUES (2, 2, 'y')",
		"BEGIN; INSERT INTO t VALUES (3, 3, 'z'); ALTER TABLE t ADD COLUMN c numeric(10,2); INSERT INTO t VALUES (4, 4, 'zz', 4.5); ALTER TABLE t ALTER a TYPE bigint; INSERT INTO t VALUES (5, 5, NULL, 5); COMMIT",
		"ALTER TABLE t RENAME b TO d", "ALTER TABLE t DROP COLUMN c", "INSERT INTO t VALUES (6, 6, 'six')")
	var got []string
	for after := m.cursor; ; {
		n := 0
		for b, err := range src.Read(t.Context(), connectors.Stream{Name: "s"}, after) {
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, f := range b.Record.Schema().Fields() {
				names = append(names, f.Name+" "+f.Type.String())
			}
			got = append(got, fmt.Sprintf("%d rows of %s", b.Record.NumRows(), strings.Join(names[1:len(names)-2], ", ")))
			after = b.Cursor
			n++
			break // and each form is found again by a reading of its own
		}
		if n == 0 {
			break
		}
	}
	want := []string{"2 rows of a int32, b utf8", "1 rows of a int32, b utf8, c decimal(10, 2)", "1 rows of a int64, b utf8, c decimal(10, 2)", "1 rows of a int64, d utf8"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(log.String(), "columns have changed") {
		t.Errorf("nothing was said of it:\n%s", log)
	}
}

func TestChangesKeepToTheColumnsThatAreWanted(t *testing.T) {
	db := testdb.Postgres(t).Database(t)
	db.Do(t, "CREATE TABLE t (id int PRIMARY KEY, a int, b text, c text)", "CREATE PUBLICATION pub FOR TABLE t (id, c, b)", "INSERT INTO t VALUES (1, 1, 'x', 'y')")
	src, _ := follow(t, db, sql.Options{Columns: sql.Names{"c", "b"}})
	m := newMirror(t)
	m.read(src, all)
	db.Do(t, "INSERT INTO t VALUES (2, 2, 'x2', 'y2')", "UPDATE t SET id = 3 WHERE id = 1")
	m.read(src, all)
	if diff := cmp.Diff([]string{`{"b":"x","c":"y","id":3}`, `{"b":"x2","c":"y2","id":2}`}, m.live()); diff != "" {
		t.Error(diff)
	}
}

func TestChangesThatCannotBeDeliveredAreQuarantined(t *testing.T) {
	db := testdb.Postgres(t).Database(t)
	db.Do(t, "CREATE TABLE t (id int PRIMARY KEY, d date)", "CREATE PUBLICATION pub FOR TABLE t")
	src, _ := follow(t, db, sql.Options{})
	m := newMirror(t)
	m.read(src, all)
	db.Do(t, "INSERT INTO t VALUES (1, '2024-01-01'), (2, 'infinity'), (3, '2024-01-03')")
	m.read(src, all)
	if len(m.live()) != 2 || len(m.rejects) != 1 || !strings.Contains(m.rejects[0], "column d: the value is infinity") {
		t.Errorf("got %q and %q", m.live(), m.rejects)
	}
	if m.rows["3"].version <= m.rows["1"].version {
		t.Error("versions do not belong to their rows")
	}
}

// TestChangesAreRefusedWhereTheyWouldBeIncomplete opens streams over what cannot be followed: each is refused before a slot is made, and
// the error says what to run.
func TestChangesAreRefusedWhereTheyWouldBeIncomplete(t *testing.T) {
	t.Parallel()
	server := testdb.Postgres(t)
	for _, c := range []struct {
		name string
		sql  []string
		o    sql.Options
		says string
	}{
		{"no publication", []string{"CREATE TABLE t (id int PRIMARY KEY)"}, sql.Options{}, `CREATE PUBLICATION "pub" FOR TABLE public.t`},
		{"not in the publication", []string{"CREATE TABLE t (id int PRIMARY KEY)", "CREATE PUBLICATION pub"}, sql.Options{}, `ALTER PUBLICATION "pub" ADD TABLE public.t`},
		{"no deletes", []string{"CREATE TABLE t (id int PRIMARY KEY)", "CREATE PUBLICATION pub FOR TABLE t WITH (publish = 'insert, update, truncate')"}, sql.Options{}, "SET (publish ="},
		{"a row filter", []string{"CREATE TABLE t (id int PRIMARY KEY)", "CREATE PUBLICATION pub FOR TABLE t WHERE (id > 5)"}, sql.Options{}, "without WHERE"},
		{"a column list", []string{"CREATE TABLE t (id int PRIMARY KEY, a int)", "CREATE PUBLICATION pub FOR TABLE t (id)"}, sql.Options{}, "leaves out the column a"},
		{"a generated column", []string{"CREATE TABLE t (id int PRIMARY KEY, a int GENERATED ALWAYS AS (id + 1) STORED)", "CREATE PUBLICATION pub FOR TABLE t"}, sql.Options{}, "a"},
		{"no key", []string{"CREATE TABLE t (id int)", "CREATE PUBLICATION pub FOR TABLE t"}, sql.Options{}, "give it a primary key"},
		{"no identity", []string{"CREATE TABLE t (id int PRIMARY KEY)", "ALTER TABLE t REPLICA IDENTITY NOTHING", "CREATE PUBLICATION pub FOR TABLE t"}, sql.Options{}, "ALTER TABLE public.t REPLICA IDENTITY FULL"},
		{"a key that is not in the log", []string{"CREATE TABLE t (id int PRIMARY KEY, code text NOT NULL UNIQUE)", "CREATE PUBLICATION pub FOR TABLE t"}, sql.Options{Key: sql.Names{"code"}}, "does not hold the key column code"},
		{"partitions", []string{"CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id)", "CREATE PUBLICATION pub FOR TABLE t"}, sql.Options{}, "partitions"},
		{"a view", []string{"CREATE VIEW t AS SELECT 1 AS id"}, sql.Options{}, "not a table whose changes the server logs"},
		{"an unlogged table", []string{"CREATE UNLOGGED TABLE t (id int PRIMARY KEY)"}, sql.Options{}, "not a table whose changes the server logs"},
	} {
		t.Run(c.name, func(t *testing.T) {
			db := server.Database(t)
			db.Do(t, c.sql...)
			src, _ := follow(t, db, c.o)
			err := newMirror(t).fails(src)
			if !strings.Contains(err.Error(), c.says) || connectors.IsTransient(err) {
				t.Errorf("%v; should say %q", err, c.says)
			}
			holds(t, found(t, src), map[string]string{"changes": c.says})
			var slots int
			if err := db.QueryRow("SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1", db.Name+"_slot").Scan(&slots); err != nil || slots != 0 {
				t.Errorf("%d slots were made (%v)", slots, err)
			}
		})
	}
	t.Run("no right to read the log", func(t *testing.T) {
		db := server.Database(t)
		db.Do(t, "CREATE TABLE t (id int PRIMARY KEY)", "CREATE PUBLICATION pub FOR TABLE t", "CREATE ROLE "+db.Name+"_plain LOGIN PASSWORD 'p'", "GRANT SELECT ON t TO "+db.Name+"_plain")
		t.Cleanup(func() {
			if _, err := db.Exec("DROP OWNED BY " + db.Name + "_plain; DROP ROLE " + db.Name + "_plain"); err != nil {
				t.Error(err)
			}
		})
		src, _ := followAs(t, db, db.Name+"_plain", "p", sql.Options{})
		if err := newMirror(t).fails(src); !strings.Contains(err.Error(), `ALTER ROLE "`+db.Name+`_plain" REPLICATION`) {
			t.Error(err)
		}
		// The right to read tables and the log is all that is needed.
		db.Do(t, "ALTER ROLE "+db.Name+"_plain REPLICATION", "INSERT INTO t VALUES (1)")
		holds(t, found(t, src), map[string]string{"changes": "note: the server's log can be followed; nothing bounds"})
		m := newMirror(t)
		m.read(src, all)
		m.same(db, "as a plain user")
	})
}

// TestChangesTellWhatWasLost makes the position mean nothing in one way after the other. Each is an error, and none reads as if there were
// nothing new.
func TestChangesTellWhatWasLost(t *testing.T) {
	t.Parallel()
	server := testdb.Postgres(t)
	forge := func(name string, value any) func(*testing.T, *testdb.Database, *mirror) {
		return func(t *testing.T, _ *testdb.Database, m *mirror) {
			var fields map[string]any
			d := json.NewDecoder(bytes.NewReader(m.cursor))
			d.UseNumber()
			if err := d.Decode(&fields); err != nil {
				t.Fatal(err)
			}
			if fields[name] == nil {
				t.Fatalf("no %s in %s", name, m.cursor)
			}
			fields[name] = value
			var err error
			if m.cursor, err = json.Marshal(fields); err != nil {
				t.Fatal(err)
			}
		}
	}
	do := func(statements ...string) func(*testing.T, *testdb.Database, *mirror) {
		return func(t *testing.T, db *testdb.Database, _ *mirror) { db.Do(t, statements...) }
	}
	for _, c := range []struct {
		name string
		lose func(*testing.T, *testdb.Database, *mirror)
		says string
	}{
		{"the slot is gone", func(t *testing.T, db *testdb.Database, _ *mirror) { dropSlot(t, db) }, "_slot is gone"},
		{"the slot was made again", func(t *testing.T, db *testdb.Database, _ *mirror) {
			dropSlot(t, db)
			db.Do(t, "SELECT pg_create_logical_replication_slot('"+db.Name+"_slot', 'pgoutput')")
		}, "after the position: somebody else reads from it"},
		{"somebody else reads the slot", func(t *testing.T, db *testdb.Database, _ *mirror) {
			db.Do(t, "BEGIN; SET LOCAL synchronous_commit = on; INSERT INTO t VALUES (3, 3); COMMIT")
			idleSlot(t, db)
			db.Do(t, "SELECT pg_replication_slot_advance('"+db.Name+"_slot', pg_current_wal_flush_lsn())")
		}, "after the position: somebody else reads from it"},
		{"the slot is another kind", func(t *testing.T, db *testdb.Database, _ *mirror) {
			dropSlot(t, db)
			db.Do(t, "SELECT pg_create_logical_replication_slot('"+db.Name+"_slot', 'test_decoding')")
		}, "not one of this stream"},
		{"the table was made again", do("DROP TABLE t", "CREATE TABLE t (id int PRIMARY KEY, n int)", "ALTER PUBLICATION pub ADD TABLE t"), "was dropped and made again"},
		{"the table is gone", do("DROP TABLE t"), `relation "public.t" does not exist`},
		{"the table left the publication for a while", do("ALTER PUBLICATION pub DROP TABLE t", "INSERT INTO t VALUES (4, 4)", "ALTER PUBLICATION pub ADD TABLE t"), "put back"},
		{"the publication left out deletes for a while", do("ALTER PUBLICATION pub SET (publish = 'insert')", "DELETE FROM t", "ALTER PUBLICATION pub SET (publish = 'insert, update, delete, truncate')"), "was changed"},
		{"another server", forge("system", "123"), "this is another server"},
		{"a failover", forge("timeline", "0"), "restored or failed over"},
		{"a backup", forge("lsn", uint64(1)<<50), "restored from a backup"},
		{"another slot", forge("slot", "former"), "is one of the replication slot former"},
	} {
		t.Run(c.name, func(t *testing.T) {
			db := server.Database(t)
			db.Do(t, "CREATE TABLE t (id int PRIMARY KEY, n int)", "CREATE PUBLICATION pub FOR TABLE t", "INSERT INTO t VALUES (1, 1)")
			src, _ := follow(t, db, sql.Options{})
			m := newMirror(t)
			m.read(src, all)
			db.Do(t, "INSERT INTO t VALUES (2, 2)")
			m.read(src, all)
			c.lose(t, db, m)
			err := m.fails(src)
			if !strings.Contains(err.Error(), c.says) || connectors.IsTransient(err) {
				t.Errorf("%v; should say %q", err, c.says)
			}
		})
	}
}

// TestChangesBeginAgainAfterALoss goes the way that the error says: the slot is dropped, the cursor set back, and what was deleted in
// between is gone.
func TestChangesBeginAgainAfterALoss(t *testing.T) {
	db := testdb.Postgres(t).Database(t)
	db.Do(t, "CREATE TABLE t (id int PRIMARY KEY, n int)", "CREATE PUBLICATION pub FOR TABLE t", "INSERT INTO t VALUES (1, 1), (2, 2)")
	src, _ := follow(t, db, sql.Options{})
	m := newMirror(t)
	m.read(src, all)
	db.Do(t, "UPDATE t SET n = 3 WHERE id = 1")
	m.read(src, all)
	dropSlot(t, db)
	db.Do(t, "DELETE FROM t WHERE id = 1", "INSERT INTO t VALUES (3, 3)")
	m.cursor = nil
	m.read(src, all)
	m.same(db, "after a new beginning")
	// Without a cursor, and with a slot that is there: what was confirmed is not needed, because the table is read again.
	db.Do(t, "INSERT INTO t VALUES (1, 5)", "DELETE FROM t WHERE id = 2")
	m.read(src, all)
	db.Do(t, "DELETE FROM t WHERE id = 3", "UPDATE t SET n = 6")
	m.cursor = nil
	m.read(src, all)
	m.same(db, "after another")
}

// TestChangesAreConfirmedOnlyWhenTheyAreStored looks at the slot: it follows the cursor that Read is given, and never what was handed out.
func TestChangesAreConfirmedOnlyWhenTheyAreStored(t *testing.T) {
	db := testdb.Postgres(t).Database(t)
	db.Do(t, "CREATE TABLE t (id int PRIMARY KEY, n int)", "CREATE PUBLICATION pub FOR TABLE t")
	src, _ := follow(t, db, sql.Options{})
	confirmed := func() string { t.Helper(); return idleSlot(t, db) }
	m := newMirror(t)
	m.read(src, all)
	begin := confirmed()
	db.Do(t, "INSERT INTO t VALUES (1, 1)")
	m.read(src, all)
	first := m.cursor
	if at := confirmed(); at != begin {
		t.Errorf("the slot moved from %s to %s before what was read was stored", begin, at)
	}
	db.Do(t, "INSERT INTO t VALUES (2, 2)")
	for range 2 { // two readings from the same cursor, as after a crash
		m.cursor = first
		m.read(src, all)
	}
	if at := confirmed(); at == begin {
		t.Errorf("the slot stays at %s although what was read before is stored", begin)
	}
	m.same(db, "at the end")
}

// TestChangesOfOthersMoveThePosition writes a lot into another table: the position goes on, so that the server can remove its log.
func TestChangesOfOthersMoveThePosition(t *testing.T) {
	db := testdb.Postgres(t).Database(t)
	db.Do(t, "CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE other (s text)", "ALTER TABLE other ALTER s SET STORAGE EXTERNAL", "CREATE PUBLICATION pub FOR TABLE t")
	src, _ := follow(t, db, sql.Options{})
	m := newMirror(t)
	m.read(src, all)
	if n := m.read(src, all); n != 0 {
		t.Fatalf("%d batches although nothing is new", n)
	}
	db.Do(t, "INSERT INTO other SELECT repeat('x', 1000000) FROM generate_series(1, 20)")
	if n := m.read(src, all); n != 1 || len(m.rows) != 0 {
		t.Fatalf("%d batches and %d rows, want a position alone", n, len(m.rows))
	}
	if n := m.read(src, all); n != 0 {
		t.Errorf("%d batches although nothing is new", n)
	}
}

// TestChangesWarnBeforeTheLogIsLost has a server that keeps little log: it is warned of, and once it is lost that is an error.
func TestChangesWarnBeforeTheLogIsLost(t *testing.T) {
	t.Parallel()
	server := testdb.OwnPostgres(t)
	db := server.Database(t)
	db.Do(t, "ALTER SYSTEM SET max_slot_wal_keep_size = '48MB'", "SELECT pg_reload_conf()", "CREATE TABLE t (id int PRIMARY KEY)", "CREATE PUBLICATION pub FOR TABLE t",
		"CREATE TABLE other (s text)", "ALTER TABLE other ALTER s SET STORAGE EXTERNAL")
	src, log := follow(t, db, sql.Options{})
	m := newMirror(t)
	m.read(src, all)
	if strings.Contains(log.String(), "level=WARN") {
		t.Fatalf("warned too early:\n%s", log)
	}
	fill := func(mb int) {
		db.Do(t, fmt.Sprintf("BEGIN; SET LOCAL synchronous_commit = on; INSERT INTO other SELECT repeat('x', 1000000) FROM generate_series(1, %d); COMMIT", mb))
	}
	fill(30)
	old := m.cursor
	m.read(src, all)
	if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "lost_at_mb=48") {
		t.Errorf("not warned:\n%s", log)
	}
	m.cursor = old
	fill(100)
	db.Do(t, "INSERT INTO t VALUES (1)", "CHECKPOINT")
	err := m.fails(src)
	if !strings.Contains(err.Error(), "is of no use any more") || !strings.Contains(err.Error(), "may be missing") || connectors.IsTransient(err) {
		t.Error(err)
	}
	// A restart in between changes nothing that matters: it is the same server.
	dropSlot(t, db)
	m.cursor = nil
	m.read(src, all)
	server.Kill(t)
	if err := m.fails(src); !connectors.IsTransient(err) {
		t.Errorf("a server that is down for a while: %v", err)
	}
	server.Start(t)
	for db.PingContext(t.Context()) != nil { // the pool finds out that its connections are those of before
	}
	db.Do(t, "INSERT INTO t VALUES (2)")
	m.read(src, all)
	m.same(db, "after the server's restart")
}

// TestChangesAndOtherWaysOfReadingDoNotShareCursors changes the options of a stream that was read.
func TestChangesAndOtherWaysOfReadingDoNotShareCursors(t *testing.T) {
	db := testdb.Postgres(t).Database(t)
	db.Do(t, "CREATE TABLE t (id int PRIMARY KEY)", "CREATE PUBLICATION pub FOR TABLE t", "INSERT INTO t VALUES (1)")
	following, _ := follow(t, db, sql.Options{})
	m := newMirror(t)
	m.read(following, all)
	plain := open(t, db, sql.Options{Table: "public.t"})
	if err := m.fails(plain); !strings.Contains(err.Error(), "one of changes") || connectors.IsTransient(err) {
		t.Error(err)
	}
	_, _, m.cursor = read(t, plain, "", nil)
	if err := m.fails(following); !strings.Contains(err.Error(), "not one of changes") || connectors.IsTransient(err) {
		t.Error(err)
	}
}

func TestChangesDoNotGoWithEveryOption(t *testing.T) {
	d := sql.Postgres()
	for _, c := range []struct {
		o    sql.Options
		says string
	}{
		{sql.Options{Table: "t", Changes: &sql.Changes{Slot: "A b", Publication: "p"}}, `slot: "A b" is no name`},
		{sql.Options{Table: "t", Changes: &sql.Changes{Slot: "s"}}, "publication: it is missing"},
		{sql.Options{Query: "SELECT 1", Changes: &sql.Changes{Slot: "s", Publication: "p"}}, "only a table has changes"},
		{sql.Options{Table: "t", Where: "a = 1", Changes: &sql.Changes{Slot: "s", Publication: "p"}}, "where: does not go with changes"},
		{sql.Options{Table: "t", Watermark: "a", Changes: &sql.Changes{Slot: "s", Publication: "p"}}, "watermark: does not go with changes"},
		{sql.Options{Table: "t", Split: &sql.Split{Width: 5}, Changes: &sql.Changes{Slot: "s", Publication: "p"}}, "split: does not go with changes"},
	} {
		var said []string
		for _, f := range d.Check(&sql.ServerConfig{Host: "h", Database: "d", User: "u"}, map[string]any{"s": &c.o}) {
			said = append(said, strings.Join(f.Path, ".")+": "+f.Message)
		}
		if !strings.Contains(strings.Join(said, "\n"), c.says) {
			t.Errorf("got %q, want %q", said, c.says)
		}
	}
}

// TestChangesArePeekedAtWithoutATrace: who only looks makes no slot, and moves none that is there.
func TestChangesArePeekedAtWithoutATrace(t *testing.T) {
	db := testdb.Postgres(t).Database(t)
	db.Do(t, "CREATE TABLE t (id int PRIMARY KEY, n int)", "CREATE PUBLICATION pub FOR TABLE t", "INSERT INTO t VALUES (1, 1), (2, 2)")
	src, _ := follow(t, db, sql.Options{})
	peek := func() (n int64) {
		t.Helper()
		for b, err := range connectors.Peek(t.Context(), src, connectors.Stream{Name: "s"}, nil) {
			if err != nil {
				t.Fatal(err)
			}
			n += b.Record.NumRows()
		}
		return n
	}
	slots := func() (list string) {
		t.Helper()
		if err := db.QueryRow("SELECT coalesce(string_agg(slot_name || ' ' || confirmed_flush_lsn, ','), '') FROM pg_replication_slots WHERE database = current_database()").Scan(&list); err != nil {
			t.Fatal(err)
		}
		return list
	}
	if n := peek(); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
	if got := slots(); got != "" {
		t.Errorf("a slot was made: %s", got)
	}
	m := newMirror(t)
	m.read(src, all)
	db.Do(t, "DELETE FROM t WHERE id = 1", "INSERT INTO t VALUES (3, 3)", "UPDATE t SET n = 4")
	before := slots()
	if n := peek(); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
	if got := slots(); got != before {
		t.Errorf("the slots were %s and are %s", before, got)
	}
	m.read(src, all)
	m.same(db, "at the end")
}

// answersFor waits until the server has heard for so long, after this moment, from the one that follows: one that does not answer
// is thrown out, and is not there any more.
func answersFor(t *testing.T, db *testdb.Database, d time.Duration) {
	t.Helper()
	var began time.Time
	if err := db.QueryRowContext(t.Context(), "SELECT clock_timestamp()").Scan(&began); err != nil {
		t.Fatal(err)
	}
	for {
		var there, enough bool
		if err := db.QueryRowContext(t.Context(), "SELECT count(*) > 0, coalesce(bool_and(reply_time >= $1), false) FROM pg_stat_replication", began.Add(d)).Scan(&there, &enough); err != nil {
			t.Fatal(err)
		}
		if !there {
			t.Fatal("the server has thrown out the one that follows")
		}
		if enough {
			return
		}
	}
}

// TestTheTransactionInWhichAReadingEndsComesOnce commits a transaction while a reading is on its way to an end before it. The last piece of
// the log that the reading takes has the transaction's beginning, and what was given of it must not be given again.
func TestTheTransactionInWhichAReadingEndsComesOnce(t *testing.T) {
	t.Parallel()
	server := testdb.OwnPostgres(t) // what others write would move the reading's end
	db := server.Database(t)
	db.Do(t, "CREATE TABLE t (id int PRIMARY KEY, late bool, s text)", "CREATE PUBLICATION pub FOR TABLE t")
	src, _ := follow(t, db, sql.Options{})
	var cursor connectors.Cursor
	read := func(meanwhile func()) (late int) {
		for b, err := range src.Read(t.Context(), connectors.Stream{Name: "s"}, cursor) {
			if err != nil {
				t.Fatal(err)
			}
			cursor = slices.Clone(b.Cursor)
			column := b.Record.Column(b.Record.Schema().FieldIndices("late")[0]).(*array.Boolean)
			for i := range column.Len() {
				if column.Value(i) {
					late++
				}
			}
			meanwhile()
			meanwhile = func() {}
		}
		return late
	}
	read(func() {})
	// The early rows are more than sockets and buffers hold, so that their end is still to be sent when the late ones are committed.
	const early, late = 8000, 2000
	for round := range 20 {
		first := round * (early + late)
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		do := func(statement string) {
			if _, err := tx.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		do("SET LOCAL synchronous_commit = on")
		do(fmt.Sprintf("INSERT INTO t SELECT g, true, repeat('y', 500) FROM generate_series(%d, %d) g", first, first+late-1))
		db.Do(t, fmt.Sprintf("BEGIN; SET LOCAL synchronous_commit = on; INSERT INTO t SELECT g, false, repeat('x', 4000) FROM generate_series(%d, %d) g; COMMIT", first+late, first+late+early-1))
		committed := false
		before := read(func() {
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
			committed = true
		})
		if !committed {
			t.Fatal("nothing was read")
		}
		if after := read(func() {}); before+after != late {
			t.Fatalf("of %d rows, %d came in the reading that ended in their transaction, and %d in the next", late, before, after)
		}
		if before > 0 && before < late {
			return
		}
	}
	t.Fatal("no reading ended within the transaction: the test tests nothing")
}

// TestChangesBearSilence has batches that nobody takes for a while, a server that does not answer for a while, and one that never does.
func TestChangesBearSilence(t *testing.T) {
	t.Parallel()
	server := testdb.OwnPostgres(t)
	db := server.Database(t)
	const patience = 4 * time.Second // of the server's, with who does not answer
	db.Do(t, fmt.Sprintf("ALTER SYSTEM SET wal_sender_timeout = '%dms'", patience.Milliseconds()), "SELECT pg_reload_conf()", "CREATE TABLE t (id int PRIMARY KEY, s text)", "CREATE PUBLICATION pub FOR TABLE t")
	src, _ := followWith(t, db, db.User, db.Password, sql.Options{}, sql.Limits{NetworkTimeout: 3 * patience}) // the server is asked each second
	m := newMirror(t)
	m.read(src, all)
	grow := func(from int) {
		db.Do(t, fmt.Sprintf("INSERT INTO t SELECT g, repeat(md5(g::text), 1000) FROM generate_series(%d, %d) g", from, from+999))
	}
	read := func(meanwhile func(batch int)) error {
		n := 0
		for b, err := range src.Read(t.Context(), connectors.Stream{Name: "s"}, m.cursor) {
			if err != nil {
				return err
			}
			m.take(b)
			n++
			meanwhile(n)
		}
		if n < 5 {
			t.Fatalf("only %d batches", n)
		}
		return nil
	}
	grow(1)
	begin := m.cursor
	for again := range 2 { // nothing of it was stored, so that the slot must not have moved, however often the server was told that somebody is there
		m.cursor = begin
		if err := read(func(batch int) {
			if batch == 2 && again == 0 {
				answersFor(t, db, patience+time.Second)
			}
		}); err != nil {
			t.Fatalf("batches that wait: %v", err)
		}
	}
	grow(1001)
	resumed := make(chan struct{})
	if err := read(func(batch int) {
		if batch == 2 {
			server.Pause(t)
			time.AfterFunc(3*time.Second, func() { server.Resume(t); close(resumed) }) // it is asked meanwhile, and answers afterwards
		}
	}); err != nil {
		t.Fatalf("a server that is silent for a while: %v", err)
	}
	<-resumed
	m.same(db, "after silence")
	grow(2001)
	paused := false
	src, _ = followWith(t, db, db.User, db.Password, sql.Options{}, sql.Limits{NetworkTimeout: 2 * time.Second})
	err := read(func(batch int) {
		if batch == 2 {
			server.Pause(t)
			paused = true
		}
	})
	if !paused {
		t.Errorf("it ended before the server was silent: %v", err)
	}
	if !connectors.IsTransient(err) || !strings.Contains(err.Error(), "silent") {
		t.Errorf("a server that is silent for ever: %v", err)
	}
	server.Resume(t)
	m.read(src, all)
	m.same(db, "after the server is back")
}

// TestChangesConform runs a stream that follows changes through the kit.
func TestChangesConform(t *testing.T) {
	server := testdb.Postgres(t)
	db := server.Database(t)
	db.Do(t, "CREATE TABLE t (id text PRIMARY KEY)", "CREATE PUBLICATION pub FOR TABLE t")
	user := db.Name + "_follower"
	types := map[connectortest.Kind]string{
		connectortest.Decimal38: "numeric(38,10)", connectortest.Unsigned64: "numeric(20,0)", connectortest.Signed64: "bigint", connectortest.Date: "date", connectortest.LocalTime: "timestamp",
		connectortest.Instant: "timestamptz", connectortest.FarInstant: "timestamptz", connectortest.Double: "float8", connectortest.NotANumber: "float8", connectortest.LongText: "text",
	}
	connectortest.Run(t, func(t *testing.T, outside *connectortest.Outside) connectors.Source {
		db.Do(t, "DROP ROLE IF EXISTS "+user, "CREATE ROLE "+user+" LOGIN REPLICATION PASSWORD '"+outside.Secret+"'")
		table := func(columns string) error {
			dropSlot(t, db) // one that is there gives what was stored since it was made, besides the table
			_, err := db.Exec("DROP TABLE t; CREATE TABLE t (" + columns + "); ALTER PUBLICATION pub ADD TABLE t; GRANT SELECT ON t TO " + user)
			return err
		}
		if err := table(`id text PRIMARY KEY, "名称" text, note text`); err != nil {
			t.Fatal(err)
		}
		outside.Store = func(table connectortest.Table) error { return storeChanges(db, table) }
		empty := connectortest.Kind("") // the kind of values that the table was made for, while it has no rows
		outside.StoreValues = func(kind connectortest.Kind, values []any) error {
			if empty != kind || len(values) == 0 {
				if err := table("id int PRIMARY KEY, value " + types[kind]); err != nil {
					return err
				}
			}
			for i, v := range values {
				if _, err := db.Exec(fmt.Sprintf("INSERT INTO t VALUES ($1, $2::text::%s)", types[kind]), i, v); err != nil {
					return err
				}
			}
			if empty = ""; len(values) == 0 {
				empty = kind
			}
			return nil
		}
		t.Cleanup(func() {
			dropSlot(t, db)
			if _, err := db.Exec(`DROP OWNED BY ` + user + `; DROP ROLE ` + user); err != nil {
				t.Error(err)
			}
		})
		outside.Break = func() error {
			_, err := db.Exec("ALTER ROLE " + user + " PASSWORD 'changed'")
			return err
		}
		if err := outside.Store(outside.Table); err != nil {
			t.Fatal(err)
		}
		o := &sql.Options{Table: "t", Changes: &sql.Changes{Slot: db.Name + "_slot", Publication: "pub"}}
		return opened(t, sql.Postgres(), outside.Environment, postgresConfig(db, user, outside.Secret), o)
	}, connectortest.Capabilities{Changes: true, Follows: true, Secrets: true, Breaks: true, Values: kinds(types)})
}

// storeChanges makes the table hold the rows, by deleting, inserting and updating as few as it takes.
func storeChanges(db *testdb.Database, table connectortest.Table) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.Exec("CREATE TEMP TABLE wanted (n serial, id text, name text, note text) ON COMMIT DROP"); err != nil {
		return err
	}
	const at = 500
	for begin := 0; begin < len(table.Rows); begin += at {
		var places []string
		var args []any
		for _, row := range table.Rows[begin:min(begin+at, len(table.Rows))] {
			n := len(args)
			places = append(places, fmt.Sprintf("($%d, $%d, $%d)", n+1, n+2, n+3))
			args = append(args, row...)
		}
		if _, err := tx.Exec("INSERT INTO wanted (id, name, note) VALUES "+strings.Join(places, ", "), args...); err != nil {
			return err
		}
	}
	for _, statement := range []string{
		"DELETE FROM t WHERE id NOT IN (SELECT id FROM wanted)",
		`UPDATE t SET "名称" = w.name, note = w.note FROM wanted w WHERE w.id = t.id AND (t."名称", t.note) IS DISTINCT FROM (w.name, w.note)`,
		"INSERT INTO t SELECT id, name, note FROM wanted WHERE id NOT IN (SELECT id FROM t) ORDER BY n",
	} {
		if _, err := tx.Exec(statement); err != nil {
			return err
		}
	}
	return tx.Commit()
}
