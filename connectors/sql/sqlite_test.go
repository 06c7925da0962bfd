package sql_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	stdsql "database/sql"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/connectors/sql"
)

// sqliteDB is a file of a test's own, and what opens it as a source.
func sqliteDB(t *testing.T, statements ...string) (*stdsql.DB, func(sql.Options) connectors.Source) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.db")
	db := sqliteFile(t, path, statements...)
	return db, func(o sql.Options) connectors.Source {
		t.Helper()
		return opened(t, sql.SQLite(), environment(t), &sql.SQLiteConfig{Path: path}, &o)
	}
}

func TestSQLiteTypesKeepTheirValues(t *testing.T) {
	db, open := sqliteDB(t)
	for _, c := range []struct{ typ, literal, arrow, want string }{
		{"integer", "-9223372036854775808", "int64", `-9223372036854775808`},
		{"unsigned big int", "9223372036854775807", "int64", `9223372036854775807`},
		{"real", "1.7976931348623157e308", "float64", `1.7976931348623157e+308`},
		{"double precision", "3", "float64", `3`},
		{"boolean", "1", "bool", `true`},
		{"text", "''", "utf8", `""`},
		{"text", "NULL", "utf8", `null`},
		{"text", "12", "utf8", `"12"`},
		{"varchar(3)", "'👩‍👩‍👧𠀀 and more'", "utf8", `"👩‍👩‍👧𠀀 and more"`},
		{"blob", "x'00ff'", "binary", `"AP8="`},
		{"decimal(10,2)", "12.05", "decimal128(10, 2)", `"12.05"`},
		{"decimal(18)", "'-7'", "decimal128(18, 0)", `"-7"`},
		{"numeric", "9007199254740993", "utf8", `"9007199254740993"`},
		{"numeric", "0.1", "utf8", `"0.1"`},
		{"date", "'1899-12-31'", "utf8", `"1899-12-31"`},
		{"datetime", "'2300-01-02T03:04:05.000006+08:00'", "utf8", `"2300-01-02T03:04:05.000006+08:00"`},
		{"timestamp", "'2024-01-02 03:04'", "utf8", `"2024-01-02 03:04"`},
		{"datetime", "1700000000", "utf8", `"1700000000"`},
		{"", "'x'", "utf8", `"x"`},
		{"", "5", "utf8", `"5"`},
	} {
		t.Run(c.typ+" "+c.literal, func(t *testing.T) {
			for _, s := range []string{"DROP TABLE IF EXISTS v", fmt.Sprintf("CREATE TABLE v (v %s)", c.typ), fmt.Sprintf("INSERT INTO v VALUES (%s)", c.literal)} {
				if _, err := db.Exec(s); err != nil {
					t.Fatal(err)
				}
			}
			for _, o := range []sql.Options{{Table: "v"}, {Query: "SELECT v FROM v"}} {
				typ, got, rejects := oneValue(t, open(o))
				if strings.Replace(typ, "decimal(", "decimal128(", 1) != c.arrow || got != c.want || len(rejects) > 0 {
					t.Errorf("%+v: got %s %s, rejects %q, want %s %s", o, typ, got, rejects, c.arrow, c.want)
				}
			}
		})
	}
}

func TestSQLiteEmptyBlobIsNotNull(t *testing.T) {
	_, open := sqliteDB(t, "CREATE TABLE v (v blob)", "INSERT INTO v VALUES (x''), (NULL)")
	for b, err := range open(sql.Options{Table: "v"}).Read(t.Context(), connectors.Stream{Name: "s"}, nil) {
		if err != nil {
			t.Fatal(err)
		}
		if c := b.Record.Column(0); c.IsNull(0) || !c.IsNull(1) {
			t.Errorf("got %v, want an empty one and null", c)
		}
	}
}

func TestSQLiteValuesThatDoNotFitTheirColumnAreQuarantined(t *testing.T) {
	db, open := sqliteDB(t)
	for _, c := range []struct{ typ, literal, says string }{
		{"integer", "'abc'", `the text "abc" does not fit`},
		{"integer", "1.5", "the real number 1.5"},
		{"integer", "18446744073709551615", "the real number 1.8446744073709552e+19"},
		{"real", "'a'", `the text "a"`},
		{"boolean", "2", "the integer 2"},
		{"text", "x'00'", "a blob does not fit"},
		{"text", "CAST(x'ff' AS TEXT)", "not valid UTF-8"},
		{"blob", "'a'", `the text "a"`},
		{"decimal(5,2)", "1.005", "the real number 1.005"},
		{"decimal(5,2)", "1234", "the integer 1234"},
		{"decimal(5,2)", "9e999", "the real number +Inf"},
		{"date", "x'00'", "a blob does not fit"},
		{"", "x'00'", "a blob does not fit"},
	} {
		for _, s := range []string{"DROP TABLE IF EXISTS v", fmt.Sprintf("CREATE TABLE v (id integer primary key, v %s)", c.typ), fmt.Sprintf("INSERT INTO v VALUES (1, NULL), (2, %s), (3, NULL)", c.literal)} {
			if _, err := db.Exec(s); err != nil {
				t.Fatal(err)
			}
		}
		rows, rejects, _ := read(t, open(sql.Options{Table: "v"}), "", nil)
		if len(rows) != 2 || len(rejects) != 1 || !strings.Contains(rejects[0], c.says) {
			t.Errorf("%s %s: got %q and %q, want %q", c.typ, c.literal, rows, rejects, c.says)
		}
	}
}

// TestSQLiteKeysAreThoseThatAreComparedAsTheirIndex reads each row as a batch of its own, by its weight, and goes on after each.
func TestSQLiteKeysAreThoseThatAreComparedAsTheirIndex(t *testing.T) {
	for _, c := range []struct{ name, table, rows, key string }{
		{"the rowid by another name", "k integer primary key", "(-1), (0), (5)", `"i-1"`},
		{"a text without case", "k text collate nocase primary key not null", "('B'), ('a'), ('杭州')", `"sa"`},
		{"a primary key that holds nulls is none", "k text primary key", "(NULL), (NULL), ('a')", `"i1"`},
		{"an index that tells apart what its column does not", "k text not null collate nocase, unique (k collate binary)", "('a'), ('A'), ('b')", `"i1"`},
		{"an index that tells apart less than its column", "k text not null, unique (k collate nocase)", "('b'), ('A'), ('c')", `"i1"`},
		{"an index over some rows", "k text not null", "('a'), ('a'), ('b')", `"i1"`},
		{"a table without rowids", "k text primary key) without rowid --", "('b'), ('a')", `"sa"`},
		{"numbers and texts in one column", "k numeric primary key not null", "('x'), (2.5), (10), (-1)", `"i-1"`},
		{"bytes", "k blob primary key not null", "(x'ff'), (x''), (x'00')", `"b"`},
		{"a column that has taken the name of the rowid", "k text, rowid text", "('b'), ('a')", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			table, end, _ := strings.Cut(c.table, ")  ")
			statements := []string{"CREATE TABLE t (" + table + ", weight text)" + end}
			if name, rest, ok := strings.Cut(c.table, ") without"); ok {
				statements = []string{"CREATE TABLE t (" + name + ", weight text) without" + strings.TrimSuffix(rest, "--")}
			}
			if i := strings.Index(c.table, ", unique"); i > 0 {
				statements = []string{"CREATE TABLE t (" + c.table[:i] + ", weight text" + c.table[i:] + ")"}
			}
			if strings.Contains(c.name, "some rows") {
				statements = append(statements, "CREATE UNIQUE INDEX i ON t (k) WHERE k <> 'a'")
			}
			statements = append(statements, "INSERT INTO t (k) VALUES "+c.rows, "UPDATE t SET weight = printf('%.*c', 3000000, 'x')")
			_, open := sqliteDB(t, statements...)
			src := open(sql.Options{Table: "t"})
			want := strings.Count(c.rows, "), ") + 1
			var cursors []connectors.Cursor
			n := 0
			for b, err := range src.Read(t.Context(), connectors.Stream{Name: "s"}, nil) {
				if err != nil {
					t.Fatal(err)
				}
				n += int(b.Record.NumRows()) + len(b.Rejects)
				cursors = append(cursors, b.Cursor)
			}
			if n != want || len(cursors) != want {
				t.Fatalf("%d rows in %d batches, want %d", n, len(cursors), want)
			}
			var first struct{ Key []json.RawMessage }
			if err := json.Unmarshal(cursors[0], &first); err != nil {
				t.Fatal(err)
			}
			got := ""
			if len(first.Key) == 1 {
				got = string(first.Key[0])
			}
			if got != c.key {
				t.Errorf("the first row's key is %s, want %s", got, c.key)
			}
			for i, cursor := range cursors {
				n := 0
				for b, err := range src.Read(t.Context(), connectors.Stream{Name: "s"}, cursor) {
					if err != nil {
						t.Fatal(err)
					}
					n += int(b.Record.NumRows()) + len(b.Rejects)
				}
				if n != want-i-1 {
					t.Errorf("after cursor %s: %d rows, want %d", cursor, n, want-i-1)
				}
			}
		})
	}
}

func TestSQLiteWatermarkGoesByTheColumnAndItsIndex(t *testing.T) {
	db, open := sqliteDB(t, "CREATE TABLE w (id integer primary key, at datetime)", "CREATE INDEX i ON w (at)",
		"INSERT INTO w VALUES (1, datetime('now', '-1 hour')), (2, NULL), (3, strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-1 minute')), (4, datetime('now', '+1 year'))")
	src := open(sql.Options{Table: "w", Watermark: "at", Lookback: "0s"})
	ids := func(rows []string) (out string) {
		for _, row := range rows {
			var r struct{ ID int }
			if err := json.Unmarshal([]byte(row), &r); err != nil {
				t.Fatal(err)
			}
			out += fmt.Sprint(r.ID, " ")
		}
		return out
	}
	rows, _, cursor := read(t, src, "", nil)
	if got := ids(rows); got != "2 1 3 4 " && got != "2 3 1 4 " {
		t.Fatalf("all: %s", got)
	}
	if rows, _, _ := read(t, src, "", cursor); len(rows) > 0 {
		t.Fatalf("nothing new: %q", rows)
	}
	if _, err := db.Exec("INSERT INTO w VALUES (5, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))"); err != nil {
		t.Fatal(err)
	}
	if rows, _, _ := read(t, src, "", cursor); ids(rows) != "5 " {
		t.Fatalf("a new row: %q", rows)
	}
	src = open(sql.Options{Query: "SELECT id, at AS changed, id + 0 AS sum FROM w", Key: sql.Names{"id"}, Watermark: "sum"})
	for _, err := range src.Read(t.Context(), connectors.Stream{Name: "s"}, nil) {
		if err == nil || !strings.Contains(err.Error(), "cannot be compared exactly") {
			t.Fatalf("a watermark without a type: %v", err)
		}
	}
}

func TestSQLiteFailuresAreToldApart(t *testing.T) {
	db, open := sqliteDB(t, "CREATE TABLE v (v int)")
	fails := func(o sql.Options, transient bool, says string) {
		t.Helper()
		for _, err := range open(o).Read(t.Context(), connectors.Stream{Name: "s"}, nil) {
			if err == nil || connectors.IsTransient(err) != transient || !strings.Contains(err.Error(), says) {
				t.Errorf("got %v (transient %v), want %q", err, connectors.IsTransient(err), says)
			}
		}
	}
	fails(sql.Options{Table: "no"}, false, "no such table")
	fails(sql.Options{Table: "v", Where: `"misspelt" = 1`}, false, "no such column")
	path := sqlitePath(t, db)
	tx, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Close()
	if _, err := tx.ExecContext(t.Context(), "BEGIN EXCLUSIVE"); err != nil {
		t.Fatal(err)
	}
	src := opened(t, sql.SQLite(), environment(t), &sql.SQLiteConfig{Path: path, BusyTimeout: 1}, &sql.Options{Table: "v"})
	for _, err := range src.Read(t.Context(), connectors.Stream{Name: "s"}, nil) {
		if !connectors.IsTransient(err) || !strings.Contains(err.Error(), "locked") {
			t.Errorf("somebody is writing: %v (transient %v)", err, connectors.IsTransient(err))
		}
	}
	if _, err := tx.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
}

func sqlitePath(t *testing.T, db *stdsql.DB) (path string) {
	t.Helper()
	if err := db.QueryRow("SELECT file FROM pragma_database_list").Scan(&path); err != nil {
		t.Fatal(err)
	}
	return path
}
