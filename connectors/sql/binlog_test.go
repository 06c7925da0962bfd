package sql_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/connectors/sql"
	"github.com/headwater-data/headwater/internal/secret"
	"github.com/headwater-data/headwater/internal/testdb"
)

// followMariaDB opens a source that follows the table t of a database.
func followMariaDB(t *testing.T, db *testdb.Database, o sql.Options, change ...func(*sql.MariaDBConfig)) (connectors.Source, *bytes.Buffer) {
	t.Helper()
	env := environment(t)
	var log bytes.Buffer
	env.Logger = slog.New(slog.NewTextHandler(&log, nil))
	o.Table = "t"
	if o.Changes == nil {
		o.Changes = &sql.Changes{}
	}
	config := &sql.MariaDBConfig{ServerConfig: sql.ServerConfig{Host: db.Host, Port: db.Port, Database: db.Name, User: db.User, Password: secret.New(db.Password), TLS: &sql.TLS{CA: db.CA}}}
	for _, f := range change {
		f(config)
	}
	return opened(t, sql.MariaDB(), env, config, &o), &log
}

func (m *mirror) sameMariaDB(db *testdb.Database, what string) {
	m.t.Helper()
	m.as(openMariaDB(m.t, db, sql.Options{Table: "t"}), what)
}

// TestBinlogEndsAsTheTableIs stops reading after every batch, of the snapshot and of the changes, changes rows in between, and goes on
// from the cursor.
func TestBinlogEndsAsTheTableIs(t *testing.T) {
	db := testdb.MariaDB(t).Database(t)
	db.Do(t, "CREATE TABLE t (id bigint PRIMARY KEY, n int, s longtext)", "INSERT INTO t SELECT seq, seq, REPEAT(MD5(seq), 1500) FROM seq_1_to_300")
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
				fmt.Sprintf("INSERT INTO t VALUES (%d, %d, 'new') ON DUPLICATE KEY UPDATE n = %d", id, other, other),
				fmt.Sprintf("UPDATE t SET n = n + 1 WHERE id = %d", id),
				fmt.Sprintf("UPDATE t SET n = n + 1, s = REPEAT('é', %d) WHERE id BETWEEN %d AND %d", r.IntN(40000), id, id+20),
				fmt.Sprintf("DELETE FROM t WHERE id = %d", id),
				fmt.Sprintf("UPDATE IGNORE t SET id = 1000 - id WHERE id BETWEEN %d AND %d", id, id+3),
				fmt.Sprintf("DELETE FROM t WHERE id = %d", 1000-id),
				fmt.Sprintf("REPLACE INTO t VALUES (%d, %d, 'replaced')", id, other),
			}[r.IntN(7)]
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
		if r.IntN(60) == 0 {
			db.Do(t, "TRUNCATE t")
		}
	}
	src, _ := followMariaDB(t, db, sql.Options{})
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
	m.sameMariaDB(db, "after all")
	if batches < 8 {
		t.Errorf("only %d batches: reading was hardly ever stopped", batches)
	}
	if n := m.read(src, all); n > 0 {
		t.Errorf("%d batches although nothing is new", n)
	}
}

func TestBinlogKeepsTheOrderWithinTransactions(t *testing.T) {
	db := testdb.MariaDB(t).Database(t)
	db.Do(t, "CREATE TABLE t (id int PRIMARY KEY, n int)", "INSERT INTO t VALUES (1, 0), (2, 0)")
	src, _ := followMariaDB(t, db, sql.Options{})
	m := newMirror(t)
	m.read(src, all)
	first := m.cursor
	db.Do(t, "BEGIN; UPDATE t SET n = 1 WHERE id = 1; UPDATE t SET id = 3 WHERE id = 1; INSERT INTO t VALUES (1, 9); DELETE FROM t WHERE id = 2; INSERT INTO t VALUES (2, 8); UPDATE t SET n = 7 WHERE id = 2; COMMIT",
		"TRUNCATE TABLE t", "INSERT INTO t VALUES (5, 5)", "/* a comment */ TRUNCATE `t`", "INSERT INTO t VALUES (6, 6)")
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
	m.sameMariaDB(db, "at the end")
}

// TestBinlogHasTheSameValuesAsTheTable inserts each value once before the table is read and once after: what the log gives of it must be
// the same, in the same type, whatever the server writes into its log of a table's columns.
func TestBinlogHasTheSameValuesAsTheTable(t *testing.T) {
	server := testdb.MariaDB(t)
	for _, metadata := range []string{"MINIMAL", "FULL"} {
		t.Run(metadata, func(t *testing.T) {
			db := server.Database(t)
			columns, values := []string{"id int PRIMARY KEY"}, []string{"%d"}
			n := 0
			column := func(typ string, literals ...string) {
				for _, literal := range literals {
					n++
					columns, values = append(columns, fmt.Sprintf("c%d %s", n, typ)), append(values, literal)
				}
			}
			column("decimal(38,0)", "-99999999999999999999999999999999999999")
			column("decimal(38,10)", "1234567890123456789012345678.0123456789", "-0.0000000001", "0")
			column("decimal(38,38)", "-0.00000000000000000000000000000000000001", "0.5")
			column("decimal(65,0)", strings.Repeat("9", 65), "-1")
			column("decimal(10,2) unsigned", "12345678.05")
			column("decimal(10,2)", "-0.05", "-12345678.90")
			column("decimal(9,9)", "0.123456789")
			column("decimal(18,9)", "-123456789.000000001")
			column("tinyint", "-128", "NULL")
			column("tinyint(1)", "1")
			column("tinyint unsigned", "255")
			column("smallint", "-32768")
			column("smallint unsigned", "65535")
			column("mediumint", "-8388608")
			column("mediumint unsigned", "16777215")
			column("int", "-2147483648")
			column("int unsigned zerofill", "4294967295")
			column("bigint", "-9223372036854775808")
			column("bigint unsigned", "18446744073709551615")
			column("bit(1)", "b'1'")
			column("bit(12)", "b'101010101010'")
			column("bit(64)", "18446744073709551615")
			column("year", "2155", "0", "1970")
			column("float", "16777215", "1.17549435e-38", "0.1")
			column("double", "1.7976931348623157e308", "-0.1")
			column("date", "'1000-01-01'", "'1899-12-31'", "'9999-12-31'", "'2000-02-29'", "'0001-03-01'")
			column("datetime(6)", "'2300-01-02 03:04:05.000006'")
			column("datetime", "'1899-12-31 23:59:59'")
			column("datetime(3)", "'1969-12-31 23:59:59.999'")
			column("datetime(1)", "'2024-02-29 12:00:00.5'")
			column("timestamp(6) null", "'1999-12-31 16:00:00.123456'", "NULL")
			column("timestamp null", "'2037-12-31 16:00:00'")
			column("timestamp(2) null", "'2024-01-01 00:00:00.25'")
			column("time(6)", "'23:59:59.999999'")
			column("time", "'00:00:01'")
			column("time(3)", "'12:00:00.001'")
			column("char(5)", "'好'", "'ab   '", "''")
			column("char(200)", "'好好'")
			column("varchar(20)", "''", "'  x '")
			column("varchar(400)", "REPEAT('好', 400)")
			column("varchar(40)", "'👩‍👩‍👧𠀀'")
			column("varchar(20) character set gbk", "'浙江省杭州市'", "'plain'", "'€'")
			column("char(20) character set gbk", "'浙江'")
			column("text character set gbk", "'北京市'")
			column("varchar(20) character set latin1", "'é€'")
			column("varchar(20) character set ucs2", "'ab好'")
			column("text", `'a\\b''c'`)
			column("json", `'{"a": [1, null]}'`)
			column("enum('好','bad','it''s','a,b','a\\\\b')", "'好'", "'it''s'", "'a,b'", `'a\\b'`)
			column("enum('é','z') character set latin1", "'é'")
			column("set('a','b','c')", "'c,a'", "''")
			column("set('好','坏')", "'坏,好'")
			column("binary(3)", "x'00ff'", "x'000000'")
			column("binary(255)", "x'01'")
			column("varbinary(9)", "x'00ff00'")
			column("tinyblob", "x'00ff'")
			column("longblob", "REPEAT(x'00ff', 40000)")
			column("uuid", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "'123e4567-e89b-12d3-a456-426614174000'", "'018f3a1e-7b5c-7def-8abc-0123456789ab'", "'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'")
			column("inet6", "'2001:db8::1'", "'::ffff:10.0.0.1'")
			column("inet4", "'10.0.0.1'")
			column("point", "ST_GeomFromText('POINT(1 2)')")
			columns = append(columns, "v int AS (id * 2) VIRTUAL", "p int AS (id * 0 + 3) STORED", "hidden int INVISIBLE DEFAULT 7")
			names := []string{"id"}
			for i := range n {
				names = append(names, fmt.Sprintf("c%d", i+1))
			}
			db.Do(t, "CREATE TABLE t ("+strings.Join(columns, ", ")+")")
			insert := func(id int) string {
				return "SET time_zone = '+08:00'; INSERT INTO t (" + strings.Join(names, ", ") + ") VALUES (" + strings.ReplaceAll(strings.Join(values, ", "), "%d", fmt.Sprint(id)) + "); SET time_zone = DEFAULT"
			}
			db.Do(t, "SET GLOBAL binlog_row_metadata = "+metadata, insert(1))
			src, _ := followMariaDB(t, db, sql.Options{})
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
						for _, name := range []string{"id", "v", "_version", "_deleted"} {
							delete(row, name)
						}
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
		})
	}
}
