package sql_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/text/encoding/simplifiedchinese"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/connectors/connectortest"
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
	o.Table = cmp.Or(o.Table, "t")
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
		if diff := gocmp.Diff(want, rows()); diff != "" {
			t.Fatal(diff)
		}
	}
	m.read(src, all)
	m.sameMariaDB(db, "at the end")
}

// TestBinlogHasStatementsInTheCharacterSetOfTheirSender truncates and alters a table from a client that speaks GBK: the name's bytes in the
// binlog are other ones than in the catalogue. Those of 联通 could be UTF-8, too.
func TestBinlogHasStatementsInTheCharacterSetOfTheirSender(t *testing.T) {
	db := testdb.MariaDB(t).Database(t)
	db.SetMaxOpenConns(1)
	gbk := func(statement string) {
		t.Helper()
		text, err := simplifiedchinese.GBK.NewEncoder().String(statement)
		if err != nil {
			t.Fatal(err)
		}
		db.Do(t, "SET NAMES gbk", text, "SET NAMES utf8mb4")
	}
	db.Do(t, "CREATE TABLE 联通 (id int PRIMARY KEY, n int)", "INSERT INTO 联通 VALUES (1, 1), (2, 2)")
	src, _ := followMariaDB(t, db, sql.Options{Table: "联通"})
	m := newMirror(t)
	m.read(src, all)
	gbk("TRUNCATE TABLE 联通")
	db.Do(t, "INSERT INTO 联通 VALUES (3, 3)")
	gbk("ALTER TABLE 联通 ADD COLUMN 名称 int")
	db.Do(t, "INSERT INTO 联通 VALUES (4, 4, 4)", "UPDATE 联通 SET n = 5 WHERE id = 3")
	m.read(src, all)
	m.as(openMariaDB(t, db, sql.Options{Table: "联通"}), "after all")
	gbk("DROP TABLE 联通")
	db.Do(t, "CREATE TABLE 联通 (id int PRIMARY KEY, n int, 名称 int)")
	if err := m.fails(src); !strings.Contains(err.Error(), "was dropped, renamed, made again") {
		t.Error(err)
	}
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
			column("varchar(20) character set gbk", "'浙江省杭州市'", "'plain'")
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
			columns = append(columns, "v int AS (id * 0 + 5) VIRTUAL", "p int AS (id * 0 + 3) STORED", "hidden int INVISIBLE DEFAULT 7")
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
						for _, name := range []string{"id", "_version", "_deleted"} {
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
			if diff := gocmp.Diff(schema[0], schema[1]); diff != "" {
				t.Errorf("types (-table +log):\n%s", diff)
			}
			for _, logged := range text[1:] { // of the insert, and of the delete, which has all columns
				if diff := gocmp.Diff(text[0], logged); diff != "" {
					t.Errorf("values (-table +log):\n%s", diff)
				}
			}
			if text[0] == "" {
				t.Error("nothing was read")
			}
		})
	}
}

// TestBinlogTellsWhatWasLost makes the position mean nothing, or the log incomplete, in one way after the other. Each is an error, and none
// reads as if there were nothing new.
func TestBinlogTellsWhatWasLost(t *testing.T) {
	t.Parallel()
	server := testdb.MariaDB(t)
	do := func(statements ...string) func(*testing.T, *testdb.Database, *mirror) {
		return func(t *testing.T, db *testdb.Database, _ *mirror) { db.Do(t, statements...) }
	}
	for _, c := range []struct {
		name string
		lose func(*testing.T, *testdb.Database, *mirror)
		says string
	}{
		{"another server", forge("server", "7"), "this is another server"},
		{"a backup", forge("gtid", "0-1-99999999"), "restored from a backup"},
		{"a log that was reset and has come as far", func(t *testing.T, db *testdb.Database, m *mirror) {
			forge("mark", 12345)(t, db, m)
			db.Do(t, "INSERT INTO t VALUES (3, 3)")
		}, "the server's log is another one"},
		{"another server's history", func(t *testing.T, db *testdb.Database, m *mirror) {
			forge("gtid", "0-77-1")(t, db, m)
			forge("before", "0-77-0")(t, db, m)
		}, "does not have the log behind the position"},
		{"the table was made again", do("DROP TABLE t", "CREATE TABLE t (id int PRIMARY KEY, n int)"), "dropped, renamed, made again"},
		{"the table was made again in one statement", do("CREATE OR REPLACE TABLE t (id int PRIMARY KEY, n int)"), "dropped, renamed, made again"},
		{"another table took its name", do("CREATE TABLE u (id int PRIMARY KEY, n int)", "RENAME TABLE t TO v, u TO t"), "dropped, renamed, made again"},
		{"another table took its name by ALTER", do("CREATE TABLE u (id int PRIMARY KEY, n int)", "ALTER TABLE t RENAME v", "ALTER TABLE u RENAME TO t"), "dropped, renamed, made again"},
		{"the table is gone", do("DROP TABLE t"), "t' doesn't exist"},
		{"a statement in place of rows", do("SET SESSION binlog_format = STATEMENT; UPDATE t SET n = n + 1; SET SESSION binlog_format = ROW"), "a statement in place of rows"},
		{"rows that are not whole", do("SET SESSION binlog_row_image = MINIMAL; UPDATE t SET n = n + 1; SET SESSION binlog_row_image = FULL"), "are not whole"},
		{"a distributed transaction", do("XA START 'x'; INSERT INTO t VALUES (9, 9); XA END 'x'; XA PREPARE 'x'; XA COMMIT 'x'"), "distributed transaction"},
		{"an alteration that was not logged", do("SET sql_log_bin = 0; ALTER TABLE t ADD COLUMN x int; SET sql_log_bin = 1"), "does not tell when they were changed"},
		{"an alteration that was not logged, and rows", do("SET sql_log_bin = 0; ALTER TABLE t ADD COLUMN x int; SET sql_log_bin = 1", "INSERT INTO t VALUES (5, 5, 5)"), "has 3 columns, and by the catalogue 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			db := server.Database(t)
			db.Do(t, "CREATE TABLE t (id int PRIMARY KEY, n int)", "INSERT INTO t VALUES (1, 1)")
			src, _ := followMariaDB(t, db, sql.Options{})
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

// forge sets a field of the cursor.
func forge(name string, value any) func(*testing.T, *testdb.Database, *mirror) {
	return func(t *testing.T, _ *testdb.Database, m *mirror) {
		t.Helper()
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

// TestBinlogIsRefusedWhereItWouldBeIncomplete opens streams over what cannot be followed: the error says what to run, and so does the
// preflight.
func TestBinlogIsRefusedWhereItWouldBeIncomplete(t *testing.T) {
	t.Parallel()
	server := testdb.MariaDB(t)
	for _, c := range []struct {
		name string
		sql  []string
		o    sql.Options
		says string
	}{
		{"no key", []string{"CREATE TABLE t (id int)"}, sql.Options{}, "give it a primary key"},
		{"a view", []string{"CREATE VIEW t AS SELECT 1 AS id"}, sql.Options{}, "is a view"},
		{"no transactions", []string{"CREATE TABLE t (id int PRIMARY KEY) ENGINE = MyISAM"}, sql.Options{}, "ENGINE = InnoDB"},
		{"partitions", []string{"CREATE TABLE t (id int PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 2"}, sql.Options{}, "partitions"},
		{"versions kept by the server", []string{"CREATE TABLE t (id int PRIMARY KEY) WITH SYSTEM VERSIONING"}, sql.Options{}, "system versioned"},
		{"rows that go with others", []string{"CREATE TABLE p (id int PRIMARY KEY)", "CREATE TABLE t (id int PRIMARY KEY, p int, FOREIGN KEY (p) REFERENCES p (id) ON DELETE CASCADE)"}, sql.Options{}, "ON DELETE CASCADE"},
		{"values that go with others", []string{"CREATE TABLE p (id int PRIMARY KEY)", "CREATE TABLE t (id int PRIMARY KEY, p int COMMENT 'it''s ON', FOREIGN KEY (p) REFERENCES p (id) ON UPDATE SET NULL)"}, sql.Options{}, "ON UPDATE SET NULL"},
		{"a compressed column", []string{"CREATE TABLE t (id int PRIMARY KEY, s text COMPRESSED)"}, sql.Options{}, "the column s is"},
		{"a key that is an enum", []string{"CREATE TABLE t (id enum('a','b') PRIMARY KEY)"}, sql.Options{}, "give it a primary key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			db := server.Database(t)
			db.Do(t, c.sql...)
			src, _ := followMariaDB(t, db, c.o)
			err := newMirror(t).fails(src)
			if !strings.Contains(err.Error(), c.says) || connectors.IsTransient(err) {
				t.Errorf("%v; should say %q", err, c.says)
			}
			holds(t, found(t, src), map[string]string{"changes": c.says})
		})
	}
	t.Run("rights", func(t *testing.T) {
		db := server.Database(t)
		user := "'" + db.Name + "_plain'@'%'"
		db.Do(t, "CREATE TABLE t (id int PRIMARY KEY)", "CREATE USER "+user+" IDENTIFIED BY 'p'", "GRANT SELECT ON t TO "+user, "INSERT INTO t VALUES (1)")
		t.Cleanup(func() {
			if _, err := db.Exec("DROP USER " + user); err != nil {
				t.Error(err)
			}
		})
		as := func(c *sql.MariaDBConfig) { c.User, c.Password = db.Name+"_plain", secret.New("p") }
		for _, right := range []string{"BINLOG MONITOR", "REPLICATION SLAVE"} {
			src, _ := followMariaDB(t, db, sql.Options{}, as)
			says := "GRANT " + right + " ON *.* TO"
			holds(t, found(t, src), map[string]string{"changes": says})
			if err := newMirror(t).fails(src); !strings.Contains(err.Error(), says) || connectors.IsTransient(err) {
				t.Errorf("%v; should say %q", err, says)
			}
			db.Do(t, "GRANT "+right+" ON *.* TO "+user)
		}
		src, _ := followMariaDB(t, db, sql.Options{}, as)
		holds(t, found(t, src), map[string]string{"changes": "ok: the server's log can be followed"})
		m := newMirror(t)
		m.read(src, all)
		db.Do(t, "INSERT INTO t VALUES (2)")
		m.read(src, all)
		m.sameMariaDB(db, "as a plain user")
	})
}

func TestBinlogFollowsTheColumnsOfTheTable(t *testing.T) {
	server := testdb.MariaDB(t)
	for _, c := range []struct {
		name string
		do   []string
		want []string
	}{
		{"a new column", []string{"INSERT INTO t VALUES (2, 2, 'b')", "ALTER TABLE t ADD COLUMN c decimal(10,2) FIRST", "INSERT INTO t VALUES (4.5, 4, 4, 'a')"},
			[]string{"1 rows of id int32, a int32, b utf8", "1 rows of c decimal(10, 2), id int32, a int32, b utf8"}},
		{"labels in another order", []string{"INSERT INTO t VALUES (2, 2, 'a')", "ALTER TABLE t MODIFY b enum('b','a','c')", "INSERT INTO t VALUES (3, 3, 'a')", "UPDATE t SET b = 'c' WHERE id = 2"},
			[]string{"1 rows of id int32, a int32, b utf8", "2 rows of id int32, a int32, b utf8"}},
		{"another type and another name", []string{"INSERT INTO t VALUES (2, 2, 'b')", "ALTER TABLE t MODIFY a bigint unsigned, RENAME COLUMN b TO d", "INSERT INTO t VALUES (3, 3, 'a')"},
			[]string{"1 rows of id int32, a int32, b utf8", "1 rows of id int32, a uint64, d utf8"}},
		{"several, and no rows between them", []string{"INSERT INTO t VALUES (2, 2, 'b')", "ALTER TABLE t ADD COLUMN c int", "ALTER TABLE t DROP COLUMN c", "ALTER TABLE t ADD COLUMN e int", "INSERT INTO t VALUES (3, 3, 'a', 3)"},
			[]string{"1 rows of id int32, a int32, b utf8", "1 rows of id int32, a int32, b utf8, e int32"}},
		{"in two steps", []string{"SET SESSION binlog_alter_two_phase = ON", "INSERT INTO t VALUES (2, 2, 'b')", "ALTER TABLE t ADD COLUMN c int, ALGORITHM = COPY", "ALTER TABLE t RENAME COLUMN a TO d, ALGORITHM = INPLACE", "INSERT INTO t VALUES (3, 3, 'a', 3)", "SET SESSION binlog_alter_two_phase = OFF"},
			[]string{"1 rows of id int32, a int32, b utf8", "1 rows of id int32, d int32, b utf8, c int32"}},
		{"an index", []string{"INSERT INTO t VALUES (2, 2, 'b')", "ALTER TABLE t ADD INDEX (a)", "CREATE INDEX other ON t (a)", "INSERT INTO t VALUES (3, 3, 'a')"},
			[]string{"1 rows of id int32, a int32, b utf8", "1 rows of id int32, a int32, b utf8"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			db := server.Database(t)
			db.SetMaxOpenConns(1) // settings of the session hold
			db.Do(t, "CREATE TABLE t (id int PRIMARY KEY, a int, b enum('a','b') NULL)", "INSERT INTO t VALUES (1, 1, 'a')")
			src, log := followMariaDB(t, db, sql.Options{})
			m := newMirror(t)
			m.read(src, all)
			db.Do(t, c.do...)
			var got []string
			for {
				n := 0
				for b, err := range src.Read(t.Context(), connectors.Stream{Name: "s"}, m.cursor) {
					if err != nil {
						t.Fatal(err)
					}
					var names []string
					for _, f := range b.Record.Schema().Fields() {
						names = append(names, f.Name+" "+f.Type.String())
					}
					got = append(got, fmt.Sprintf("%d rows of %s", b.Record.NumRows(), strings.Join(names[:len(names)-2], ", ")))
					m.take(b)
					n++
					break // and each form is found again by a reading of its own
				}
				if n == 0 {
					break
				}
			}
			if diff := gocmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if strings.Contains(log.String(), "columns have changed") != (c.name != "labels in another order" && c.name != "an index") {
				t.Errorf("said of it: %q", log)
			}
			if c.name == "labels in another order" {
				m.sameMariaDB(db, "after all")
			}
		})
	}
	t.Run("several, and rows between them", func(t *testing.T) {
		db := server.Database(t)
		db.Do(t, "CREATE TABLE t (id int PRIMARY KEY, a int)", "INSERT INTO t VALUES (1, 1)")
		src, _ := followMariaDB(t, db, sql.Options{})
		m := newMirror(t)
		m.read(src, all)
		db.Do(t, "ALTER TABLE t ADD COLUMN b int", "INSERT INTO t VALUES (2, 2, 2)", "ALTER TABLE t CHANGE b c int")
		if err := m.fails(src); !strings.Contains(err.Error(), "altered more than once") || connectors.IsTransient(err) {
			t.Error(err)
		}
	})
}

// TestBinlogConforms runs a stream that follows the binlog through the kit.
func TestBinlogConforms(t *testing.T) {
	types := map[connectortest.Kind]string{
		connectortest.Decimal38: "decimal(38,10)", connectortest.Unsigned64: "bigint unsigned", connectortest.Signed64: "bigint", connectortest.Date: "date", connectortest.LocalTime: "datetime(6)",
		connectortest.Instant: "timestamp(6) NULL", connectortest.Double: "double", connectortest.LongText: "longtext",
	}
	server := testdb.OwnMariaDB(t) // it is killed and paused
	db := server.Database(t)
	db.SetMaxIdleConns(0)
	db.Do(t, "CREATE TABLE wanted (n int AUTO_INCREMENT PRIMARY KEY, id varchar(20), name longtext, note text, UNIQUE (id))")
	user := "'" + db.Name + "_follower'@'%'"
	connectortest.Run(t, func(t *testing.T, outside *connectortest.Outside) connectors.Source {
		outside.Store = func(table connectortest.Table) error { return storeMariaDB(db, table) }
		db.Do(t, "CREATE OR REPLACE TABLE t (id varchar(20) PRIMARY KEY, `名称` longtext, note text)")
		empty := connectortest.Kind("") // the kind of values that the table was made for, while it has no rows
		outside.StoreValues = func(kind connectortest.Kind, values []any) error {
			if empty != kind || len(values) == 0 {
				if _, err := db.Exec("CREATE OR REPLACE TABLE t (id int PRIMARY KEY, value " + types[kind] + ")"); err != nil {
					return err
				}
			}
			for i, v := range values {
				if text, ok := v.(string); ok && kind == connectortest.Instant {
					at, err := time.Parse("2006-01-02T15:04:05.999999Z07:00", text)
					if err != nil {
						return err
					}
					v = at.UTC().Format("2006-01-02 15:04:05.999999")
				}
				if _, err := db.Exec("SET time_zone = '+00:00'; INSERT INTO t VALUES (?, ?); SET time_zone = DEFAULT", i, v); err != nil {
					return err
				}
			}
			if empty = ""; len(values) == 0 {
				empty = kind
			}
			return nil
		}
		away(t, db, "SET GLOBAL innodb_flush_log_at_trx_commit = 2; FLUSH ENGINE LOGS", outside)
		db.Do(t, "DROP USER IF EXISTS "+user, "CREATE USER "+user+" IDENTIFIED BY '"+outside.Secret+"' REQUIRE SSL", "GRANT SELECT ON t TO "+user, "GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO "+user)
		t.Cleanup(func() {
			if _, err := db.Exec("DROP USER " + user); err != nil {
				t.Error(err)
			}
		})
		outside.Break = func() error {
			_, err := db.Exec("ALTER USER " + user + " IDENTIFIED BY 'changed'")
			return err
		}
		if err := outside.Store(outside.Table); err != nil {
			t.Fatal(err)
		}
		config := &sql.MariaDBConfig{ServerConfig: sql.ServerConfig{Host: db.Host, Port: db.Port, Database: db.Name, User: db.Name + "_follower", Password: secret.New(outside.Secret), TLS: &sql.TLS{CA: db.CA}, Limits: sql.Limits{NetworkTimeout: silence}}}
		return opened(t, sql.MariaDB(), outside.Environment, config, &sql.Options{Table: "t", Changes: &sql.Changes{}})
	}, connectortest.Capabilities{Changes: true, Follows: true, Secrets: true, Breaks: true, Loses: true, Hangs: true, Values: kinds(types)})
}

// storeMariaDB makes the table hold the rows, by deleting, inserting and updating as few as it takes.
func storeMariaDB(db *testdb.Database, table connectortest.Table) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.Exec("DELETE FROM wanted"); err != nil {
		return err
	}
	const at = 500
	for begin := 0; begin < len(table.Rows); begin += at {
		var places []string
		var args []any
		for _, row := range table.Rows[begin:min(begin+at, len(table.Rows))] {
			places = append(places, "(?, ?, ?)")
			args = append(args, row...)
		}
		if _, err := tx.Exec("INSERT INTO wanted (id, name, note) VALUES "+strings.Join(places, ", "), args...); err != nil {
			return err
		}
	}
	for _, statement := range []string{
		"DELETE FROM t WHERE id NOT IN (SELECT id FROM wanted)",
		"UPDATE t JOIN wanted w ON w.id = t.id SET t.`名称` = w.name, t.note = w.note WHERE NOT (t.`名称` <=> w.name AND t.note <=> w.note)",
		"INSERT INTO t SELECT id, name, note FROM wanted WHERE id NOT IN (SELECT id FROM t) ORDER BY n",
	} {
		if _, err := tx.Exec(statement); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// TestBinlogOfALargeTransactionIsCut reads one transaction in several batches, and goes on in its middle.
func TestBinlogOfALargeTransactionIsCut(t *testing.T) {
	t.Parallel()
	db := testdb.MariaDB(t).Database(t)
	db.Do(t, "CREATE TABLE t (id int PRIMARY KEY, s longtext)", "CREATE TABLE other (id int)")
	src, _ := followMariaDB(t, db, sql.Options{})
	m := newMirror(t)
	m.read(src, all)
	db.Do(t, "BEGIN; INSERT INTO other VALUES (1); INSERT INTO t SELECT seq, REPEAT(MD5(seq), 1000) FROM seq_1_to_500; INSERT INTO other VALUES (1); UPDATE t SET id = -id; COMMIT", "DELETE FROM t WHERE id = -7")
	batches := 0
	for m.read(src, 1) > 0 {
		batches++
	}
	if batches < 7 {
		t.Errorf("32 MB of one transaction came in %d batches", batches)
	}
	m.sameMariaDB(db, "after all")
}

// TestBinlogHasTransactionsThatCommitLate begins transactions before the table is read, and commits them while it is and after: their rows
// are in no page, or in some, and in the log in either case.
func TestBinlogHasTransactionsThatCommitLate(t *testing.T) {
	t.Parallel()
	db := testdb.MariaDB(t).Database(t)
	db.Do(t, "CREATE TABLE t (id int PRIMARY KEY, n int, s longtext)", "INSERT INTO t SELECT seq, 0, REPEAT(MD5(seq), 4000) FROM seq_1_to_100")
	begin := func(statements ...string) (commit func() error) {
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		for _, statement := range statements {
			if _, err := tx.Exec(statement); err != nil {
				t.Fatal(err)
			}
		}
		return tx.Commit
	}
	early := begin("UPDATE t SET n = 1 WHERE id IN (1, 99)", "INSERT INTO t VALUES (1001, 1, 'early')", "DELETE FROM t WHERE id = 50")
	late := begin("UPDATE t SET n = 2 WHERE id IN (2, 98)", "INSERT INTO t VALUES (1002, 2, 'late')", "DELETE FROM t WHERE id = 51")
	src, _ := followMariaDB(t, db, sql.Options{})
	m := newMirror(t)
	if n := m.read(src, 1); n != 1 {
		t.Fatal("nothing was read")
	}
	if err := early(); err != nil {
		t.Fatal(err)
	}
	for range 4 { // the rest of the table and what was committed, each batch in a reading of its own
		m.read(src, 1)
	}
	m.read(src, all)
	m.sameMariaDB(db, "before the late one")
	if err := late(); err != nil {
		t.Fatal(err)
	}
	m.read(src, all)
	m.sameMariaDB(db, "after all")
	if m.deleted == 0 {
		t.Error("no row came that is gone")
	}
}

// TestBinlogWhileAWriterRuns reads while transactions of several goroutines come and go.
func TestBinlogWhileAWriterRuns(t *testing.T) {
	t.Parallel()
	db := testdb.MariaDB(t).Database(t)
	db.Do(t, "CREATE TABLE t (id bigint PRIMARY KEY, n int, s longtext)", "INSERT INTO t SELECT seq, seq, REPEAT(MD5(seq), 200) FROM seq_1_to_3000")
	src, _ := followMariaDB(t, db, sql.Options{})
	const writers = 3
	ended := make(chan error, writers)
	for w := range writers {
		go func() {
			for i := range 120 {
				if _, err := db.Exec(fmt.Sprintf("UPDATE t SET n = -n WHERE id %% 97 = %d; DELETE FROM t WHERE id = %d; INSERT INTO t VALUES (%d, %d, 'late'); UPDATE IGNORE t SET id = id + 100000 WHERE id = %d",
					i%97, i*7+w, 10000+i*writers+w, i, i*5+w)); err != nil && !strings.Contains(err.Error(), "Deadlock") {
					ended <- err
					return
				}
			}
			ended <- nil
		}()
	}
	m := newMirror(t)
	for running := writers; running > 0; {
		select {
		case err := <-ended:
			if err != nil {
				t.Fatal(err)
			}
			running--
		default:
		}
		m.read(src, all)
	}
	m.read(src, all)
	m.sameMariaDB(db, "after the writers")
	if m.deleted == 0 {
		t.Error("no row was deleted while the table was read")
	}
}

// TestBinlogThatWasRemovedIsAnError has a server that removes files of its log: it is warned of before, and told after. Then the server is
// restarted, which changes nothing, and reset, which changes everything.
func TestBinlogThatWasRemovedIsAnError(t *testing.T) {
	t.Parallel()
	server := testdb.OwnMariaDB(t)
	db := server.Database(t)
	db.Do(t, "CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE other (s longtext)", "INSERT INTO t VALUES (1)")
	src, log := followMariaDB(t, db, sql.Options{Changes: &sql.Changes{BacklogMB: 5}})
	m := newMirror(t)
	m.read(src, all)
	if n := m.read(src, all); n != 0 {
		t.Fatalf("%d batches although nothing is new", n)
	}
	db.Do(t, "INSERT INTO other SELECT REPEAT('x', 1000000) FROM seq_1_to_20")
	old := m.cursor
	if n := m.read(src, all); n != 1 || len(m.rows) != 1 {
		t.Fatalf("%d batches and %d rows, want a position alone", n, len(m.rows))
	}
	if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "waiting_mb=19") {
		t.Errorf("not warned:\n%s", log)
	}
	if n := m.read(src, all); n != 0 {
		t.Errorf("%d batches although nothing is new", n)
	}
	db.Do(t, "INSERT INTO t VALUES (2)", "FLUSH BINARY LOGS")
	m.read(src, all)
	// A position that is old is stored anew although little was written since, and the server may soon remove what is behind it.
	db.Do(t, "INSERT INTO other VALUES ('little')", "SET GLOBAL binlog_expire_logs_seconds = 7200")
	if n := m.read(src, all); n != 0 {
		t.Errorf("%d batches although little is new", n)
	}
	forge("when", 1000)(t, db, m)
	aged, agedLog := followMariaDB(t, db, sql.Options{})
	if n := m.read(aged, all); n != 1 {
		t.Errorf("%d batches, want a position alone", n)
	}
	if !strings.Contains(agedLog.String(), "removed_after=2h") {
		t.Errorf("not warned of what is old:\n%s", agedLog)
	}
	holds(t, found(t, aged), map[string]string{"changes": "note: the server's log can be followed; files of it are removed after 2h0m0s"})
	db.Do(t, "SET GLOBAL binlog_expire_logs_seconds = 0")
	holds(t, found(t, aged), map[string]string{"changes": "ok: the server's log can be followed; it is kept until somebody removes it"})
	// The newest position needs none of what is removed. A file that a reading which has just ended had open is left.
	for files := logFiles(t, db); len(files) > 1; files = logFiles(t, db) {
		db.Do(t, "PURGE BINARY LOGS TO '"+files[len(files)-1]+"'")
	}
	if n := m.read(src, all); n != 0 {
		t.Errorf("%d batches although nothing is new", n)
	}
	db.Do(t, "INSERT INTO t VALUES (3)")
	m.read(src, all)
	m.sameMariaDB(db, "after files were removed that had been read")
	newest := m.cursor
	m.cursor = old
	err := m.fails(src)
	if !strings.Contains(err.Error(), "does not have the log behind the position") || !strings.Contains(err.Error(), "may be missing") || connectors.IsTransient(err) {
		t.Error(err)
	}
	m.cursor = newest
	db.Do(t, "SET GLOBAL innodb_flush_log_at_trx_commit = 2; FLUSH ENGINE LOGS") // servers of tests keep nothing safe
	server.Kill(t)
	if err := m.fails(src); !connectors.IsTransient(err) {
		t.Errorf("a server that is down for a while: %v", err)
	}
	server.Start(t)
	for db.PingContext(t.Context()) != nil { // the pool finds out that its connections are those of before
	}
	db.Do(t, "INSERT INTO t VALUES (4)")
	m.read(src, all)
	m.sameMariaDB(db, "after the server's restart")
	db.Do(t, "SET GLOBAL server_id = 9")
	if err := m.fails(src); !strings.Contains(err.Error(), "was given another number") || connectors.IsTransient(err) {
		t.Error(err)
	}
	db.Do(t, "SET GLOBAL server_id = 1", "RESET MASTER")
	db.Do(t, "SET GLOBAL gtid_slave_pos = '5-5-5'")
	holds(t, found(t, src), map[string]string{"changes": "log_slave_updates is OFF"})
	db.Do(t, "SET GLOBAL gtid_slave_pos = ''")
	for _, statement := range []string{"SELECT 1", "INSERT INTO t VALUES (5)"} {
		db.Do(t, statement)
		if err := m.fails(src); !strings.Contains(err.Error(), "its log was reset") || connectors.IsTransient(err) {
			t.Error(err)
		}
	}
	for setting, says := range map[string]string{"binlog_format = 'MIXED'": "SET GLOBAL binlog_format = 'ROW'", "binlog_row_image = 'MINIMAL'": "SET GLOBAL binlog_row_image = 'FULL'"} {
		db.Do(t, "SET GLOBAL "+setting)
		holds(t, found(t, src), map[string]string{"changes": says})
		db.Do(t, "SET GLOBAL binlog_format = 'ROW'", "SET GLOBAL binlog_row_image = 'FULL'")
	}
	// It comes past the same number.
	for range 40 {
		db.Do(t, "INSERT INTO other VALUES ('')")
	}
	if err := m.fails(src); !strings.Contains(err.Error(), "the server's log is another one") || connectors.IsTransient(err) {
		t.Error(err)
	}
	// The way that the error says.
	m.cursor = nil
	db.Do(t, "DELETE FROM t WHERE id = 1")
	m.read(src, all)
	m.sameMariaDB(db, "after a new beginning")
}

// TestBinlogBearsLosses loses the connection of the log in the middle of a transaction, and has a server that is silent there: both are tried
// again, from the last cursor.
func TestBinlogBearsLosses(t *testing.T) {
	t.Parallel()
	server := testdb.OwnMariaDB(t)
	db := server.Database(t)
	db.Do(t, "CREATE TABLE t (id int PRIMARY KEY, s longtext)")
	src, _ := followMariaDB(t, db, sql.Options{}, func(c *sql.MariaDBConfig) { c.NetworkTimeout = silence })
	m := newMirror(t)
	m.read(src, all)
	db.Do(t, "INSERT INTO t SELECT seq, REPEAT(MD5(seq), 1000) FROM seq_1_to_1500")
	within := func(batch int, do func()) error {
		n := 0
		for b, err := range src.Read(t.Context(), connectors.Stream{Name: "s"}, m.cursor) {
			if err != nil {
				return err
			}
			m.take(b)
			if n++; n == batch {
				do()
			}
		}
		return nil
	}
	lose := func() {
		var id int
		if err := db.QueryRow("SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND = 'Binlog Dump' AND STATE NOT LIKE '%end%' ORDER BY ID DESC LIMIT 1").Scan(&id); err != nil {
			t.Error(err)
		}
		db.Do(t, fmt.Sprintf("KILL %d", id))
	}
	if err := within(2, lose); !connectors.IsTransient(err) {
		t.Errorf("a connection that was lost: %v", err)
	}
	var lost error
	began := false
	for _, err := range src.(connectors.Follower).Follow(t.Context(), connectors.Stream{Name: "s"}, m.cursor, connectors.Following{Enough: make(chan struct{})}) {
		if lost = err; err == nil && !began {
			began = true
			lose()
		}
	}
	if !began || !connectors.IsTransient(lost) {
		t.Errorf("a connection that was lost while the log was followed: %v", lost)
	}
	if err := within(1, func() { server.Pause(t) }); !connectors.IsTransient(err) || !strings.Contains(err.Error(), "silent") {
		t.Errorf("a server that is silent: %v", err)
	}
	server.Resume(t)
	m.read(src, all)
	m.sameMariaDB(db, "after both")
}

func logFiles(t *testing.T, db *testdb.Database) (names []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "SHOW BINARY LOGS")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var size int64
		if err := rows.Scan(&name, &size); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return names
}

func TestBinlogDoesNotGoWithEveryOption(t *testing.T) {
	for _, c := range []struct {
		d    connectors.Definition
		o    sql.Options
		says string
	}{
		{sql.MariaDB(), sql.Options{Table: "t", Changes: &sql.Changes{Slot: "s"}}, "slot: only PostgreSQL has one"},
		{sql.MariaDB(), sql.Options{Table: "t", Changes: &sql.Changes{Publication: "p"}}, "publication: only PostgreSQL has one"},
		{sql.MariaDB(), sql.Options{Query: "SELECT 1", Changes: &sql.Changes{}}, "only a table has changes"},
		{sql.MariaDB(), sql.Options{Table: "t", Where: "a = 1", Changes: &sql.Changes{}}, "where: does not go with changes"},
		{sql.MySQL(), sql.Options{Table: "t", Changes: &sql.Changes{}}, "followed in PostgreSQL and MariaDB only"},
	} {
		var said []string
		for _, f := range c.d.Check(&sql.MariaDBConfig{ServerConfig: sql.ServerConfig{Host: "h", Database: "d", User: "u"}}, map[string]any{"s": &c.o}) {
			said = append(said, strings.Join(f.Path, ".")+": "+f.Message)
		}
		if !strings.Contains(strings.Join(said, "\n"), c.says) {
			t.Errorf("got %q, want %q", said, c.says)
		}
	}
}

// TestBinlogKeepsToTheColumnsThatAreWanted reads some columns in an order of its own; texts of other character sets, and rows that no type holds.
func TestBinlogKeepsToTheColumnsThatAreWanted(t *testing.T) {
	db := testdb.MariaDB(t).Database(t)
	db.Do(t, "CREATE TABLE t (id int PRIMARY KEY, a int, b varchar(20) character set gbk, c text, d date)", "INSERT INTO t VALUES (1, 1, '甲', 'y', NULL)")
	src, _ := followMariaDB(t, db, sql.Options{Columns: sql.Names{"d", "c", "b"}})
	m := newMirror(t)
	m.read(src, all)
	db.Do(t, "INSERT INTO t VALUES (2, 2, '乙', 'y2', '2024-01-02'), (4, 4, '乙', '', '2024-01-04')", "UPDATE t SET id = 3 WHERE id = 1", "SET sql_mode = ''; INSERT INTO t VALUES (5, 5, 'x', 'x', '0000-00-00'); SET sql_mode = DEFAULT")
	m.read(src, all)
	if diff := gocmp.Diff([]string{`{"b":"乙","c":"","d":"2024-01-04","id":4}`, `{"b":"乙","c":"y2","d":"2024-01-02","id":2}`, `{"b":"甲","c":"y","d":null,"id":3}`}, m.live()); diff != "" {
		t.Error(diff)
	}
	if len(m.rejects) != 1 || !strings.Contains(m.rejects[0], "column d: the date is 0000-00-00") {
		t.Errorf("rejects %q", m.rejects)
	}
}
