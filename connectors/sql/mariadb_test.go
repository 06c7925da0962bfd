package sql_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/connectors/sql"
	"github.com/headwater-data/headwater/internal/secret"
	"github.com/headwater-data/headwater/internal/testdb"
)

func openMariaDB(t *testing.T, db *testdb.Database, o sql.Options, change ...func(*sql.MariaDBConfig)) connectors.Source {
	t.Helper()
	config := &sql.MariaDBConfig{ServerConfig: sql.ServerConfig{Host: db.Host, Port: db.Port, Database: db.Name, User: db.User, Password: secret.New(db.Password), TLS: &sql.TLS{CA: db.CA}}}
	for _, f := range change {
		f(config)
	}
	return opened(t, sql.MariaDB(), environment(t), config, &o)
}

// environment is one whose Arrow memory must be gone when the test ends.
func environment(t *testing.T) connectors.Environment {
	t.Helper()
	alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
	t.Cleanup(func() { alloc.AssertSize(t, 0) })
	return connectors.Environment{Dir: t.TempDir(), Allocator: alloc, Logger: slog.New(slog.DiscardHandler), Now: time.Now}
}

// oneValue reads a stream of one row with one column.
func oneValue(t *testing.T, src connectors.Source) (typ, json string, rejects []string) {
	t.Helper()
	for b, err := range src.Read(t.Context(), connectors.Stream{Name: "s"}, nil) {
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range b.Rejects {
			rejects = append(rejects, r.Reason)
		}
		if b.Record.NumRows() == 0 {
			continue
		}
		text, err := b.Record.Column(0).MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		typ, json = b.Record.Schema().Field(0).Type.String(), strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(string(text)), "["), "]")
	}
	return typ, json, rejects
}

func TestMariaDBTypesKeepTheirValues(t *testing.T) {
	db := testdb.MariaDB(t).Database(t)
	for _, c := range []struct{ typ, literal, arrow, want string }{
		{"decimal(38,0)", "-99999999999999999999999999999999999999", "decimal(38, 0)", `"-99999999999999999999999999999999999999"`},
		{"decimal(38,10)", "1234567890123456789012345678.0123456789", "decimal(38, 10)", `"1234567890123456789012345678.0123456789"`},
		{"decimal(38,38)", "-0.00000000000000000000000000000000000001", "decimal(38, 38)", `"-1e-38"`},
		{"decimal(65,0)", strings.Repeat("9", 65), "decimal256(65, 0)", `"` + strings.Repeat("9", 65) + `"`},
		{"decimal(10,2) unsigned", "12345678.05", "decimal(10, 2)", `"12345678.05"`},
		{"decimal(10,2)", "-0.05", "decimal(10, 2)", `"-0.05"`},
		{"tinyint", "-128", "int8", `-128`},
		{"tinyint(1)", "1", "int8", `1`},
		{"tinyint unsigned", "255", "uint8", `255`},
		{"smallint unsigned", "65535", "uint16", `65535`},
		{"mediumint", "-8388608", "int32", `-8388608`},
		{"int unsigned zerofill", "4294967295", "uint32", `4294967295`},
		{"bigint", "-9223372036854775808", "int64", `-9223372036854775808`},
		{"bigint unsigned", "18446744073709551615", "uint64", `18446744073709551615`},
		{"bit(1)", "b'1'", "uint64", `1`},
		{"bit(64)", "18446744073709551615", "uint64", `18446744073709551615`},
		{"year", "2155", "int16", `2155`},
		{"year", "0", "int16", `0`},
		{"float", "16777215", "float32", `16777215`},
		{"float", "1.17549435e-38", "float32", `1.1754944e-38`},
		{"double", "1.7976931348623157e308", "float64", `1.7976931348623157e+308`},
		{"date", "'1000-01-01'", "date32", `"1000-01-01"`},
		{"date", "'1899-12-31'", "date32", `"1899-12-31"`},
		{"date", "'9999-12-31'", "date32", `"9999-12-31"`},
		{"date", "'2000-02-29'", "date32", `"2000-02-29"`},
		{"date", "'0001-03-01'", "date32", `"0001-03-01"`},
		{"datetime(6)", "'2300-01-02 03:04:05.000006'", "timestamp[us]", `"2300-01-02 03:04:05.000006Z"`},
		{"datetime", "'1899-12-31 23:59:59'", "timestamp[us]", `"1899-12-31 23:59:59Z"`},
		{"datetime(3)", "'1969-12-31 23:59:59.999'", "timestamp[us]", `"1969-12-31 23:59:59.999Z"`},
		{"timestamp(6) null", "'1999-12-31 16:00:00.123456'", "timestamp[us, tz=UTC]", `"1999-12-31 08:00:00.123456Z"`},
		{"time(6)", "'23:59:59.999999'", "time64[us]", `"23:59:59.999999"`},
		{"char(5)", "'好'", "utf8", `"好"`},
		{"varchar(20)", "''", "utf8", `""`},
		{"varchar(20)", "NULL", "utf8", `null`},
		{"varchar(40)", "'👩‍👩‍👧𠀀'", "utf8", `"👩‍👩‍👧𠀀"`},
		{"varchar(20) character set gbk", "'浙江省杭州市'", "utf8", `"浙江省杭州市"`},
		{"varchar(20) character set latin1", "'é'", "utf8", `"é"`},
		{"text", `'a\\b''c'`, "utf8", `"a\\b'c"`},
		{"json", `'{"a": [1, null]}'`, "utf8", `"{\"a\": [1, null]}"`},
		{"enum('好','bad')", "'好'", "utf8", `"好"`},
		{"set('a','b','c')", "'c,a'", "utf8", `"a,c"`},
		{"binary(3)", "x'00ff'", "binary", `"AP8A"`},
		{"varbinary(9)", "x'00ff'", "binary", `"AP8="`},
		{"longblob", "x'00ff'", "binary", `"AP8="`},
		{"uuid", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "utf8", `"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"`},
		{"inet6", "'2001:db8::1'", "utf8", `"2001:db8::1"`},
	} {
		t.Run(c.typ+" "+c.literal, func(t *testing.T) {
			db.Do(t, "SET time_zone = '+08:00'; DROP TABLE IF EXISTS v; "+fmt.Sprintf("CREATE TABLE v (v %s); INSERT INTO v VALUES (%s); SET time_zone = DEFAULT", c.typ, c.literal))
			for _, o := range []sql.Options{{Table: "v"}, {Query: "SELECT v FROM v"}} {
				typ, got, rejects := oneValue(t, openMariaDB(t, db, o))
				typ = strings.Replace(typ, "decimal128", "decimal", 1)
				if typ != c.arrow && !(o.Query != "" && strings.HasPrefix(c.arrow, "decimal")) { // a query's decimals have a digit more
					t.Errorf("%+v: type %s, want %s", o, typ, c.arrow)
				}
				if got != c.want || len(rejects) > 0 {
					t.Errorf("%+v: got %s, rejects %q, want %s", o, got, rejects, c.want)
				}
			}
		})
	}
}

func TestMariaDBDatesThatAreNoneAreQuarantinedOrNull(t *testing.T) {
	db := testdb.MariaDB(t).Database(t)
	db.Do(t, "SET sql_mode = ''; CREATE TABLE v (id int primary key, d date, at datetime, s time); INSERT INTO v VALUES (1, '2024-01-01', '2024-01-01 00:00:00', '1:00'), (2, '0000-00-00', NULL, NULL), (3, NULL, '0000-00-00', NULL), (4, '2024-02-00', NULL, NULL), (5, NULL, NULL, '24:00:00'), (6, NULL, NULL, '-01:00:00'); SET sql_mode = DEFAULT")
	rows, rejects, _ := read(t, openMariaDB(t, db, sql.Options{Table: "v"}), "", nil)
	if len(rows) != 1 || len(rejects) != 5 || !strings.Contains(rejects[0], "column d: the date is 0000-00-00") || !strings.Contains(rejects[1], "column at") || !strings.Contains(rejects[2], "2024-02-00") || !strings.Contains(rejects[3], "24:00:00") {
		t.Errorf("reject: got %q and %q", rows, rejects)
	}
	rows, rejects, _ = read(t, openMariaDB(t, db, sql.Options{Table: "v"}, func(c *sql.MariaDBConfig) { c.ZeroDates = "null" }), "", nil)
	if len(rows) != 3 || len(rejects) != 3 {
		t.Errorf("null: got %q and %q", rows, rejects)
	}
}

// TestMariaDBKeysOfEveryKindAreResumed reads page after page and from every cursor: order and comparison must be the same. What is
// in a cursor is written into statements again.
func TestMariaDBKeysOfEveryKindAreResumed(t *testing.T) {
	db := testdb.MariaDB(t).Database(t)
	for _, c := range []struct {
		name, columns, key string
		rows               []string
	}{
		{"text without case, with accents and spaces", "k varchar(50) collate utf8mb4_general_ci", "k", []string{"''", "'a'", "'B'", "'b2'", "'É'", "'f '", "'杭州'", "'𠀀'", `'x\\y'`, "'it''s'"}},
		{"text by its bytes", "k varchar(50) collate utf8mb4_bin", "k", []string{"''", "'a'", "'A'", "'b'", "'B'", "'杭州'", "'👩‍👩‍👧'"}},
		{"text of another character set", "k varchar(50) character set gbk", "k", []string{"'杭州'", "'北京'", "'a'", "'B'"}},
		{"text of Unicode's collation", "k varchar(50) collate utf8mb4_unicode_520_ci", "k", []string{"'ß'", "'st'", "'a'", "'Z'", "'杭州'"}},
		{"unsigned", "k bigint unsigned", "k", []string{"0", "9223372036854775807", "9223372036854775808", "18446744073709551615"}},
		{"decimal beyond floats", "k decimal(38,2)", "k", []string{"99999999999999999999.01", "99999999999999999999.02", "99999999999999999999.03", "-5"}},
		{"time", "k datetime(6)", "k", []string{"'0000-00-00'", "'2024-01-01 00:00:00.000001'", "'2024-01-01 00:00:00.000002'", "'9999-12-31'"}},
		{"timestamp", "k timestamp(6) default 0", "k", []string{"'2024-01-01 00:00:00.000001'", "'2024-01-01 00:00:00.000002'"}},
		{"year", "k year", "k", []string{"0", "1970", "2000", "2024"}},
		{"bit", "k bit(64)", "k", []string{"0", "1", "9223372036854775808"}},
		{"bytes", "k varbinary(9)", "k", []string{"x''", "x'00'", "x'27'", "x'ff00'", "x'ff'"}},
		{"uuid", "k uuid", "k", []string{"'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "'00000000-0000-1000-8000-000000000000'", "'ffffffff-ffff-4fff-8fff-ffffffffffff'"}},
		{"two columns", "k varchar(9), l int", "k, l", []string{"'a', 1", "'A', 2", "'b', -1", "'b', 0", "'B', 7"}},
		{"an enum is no key, so there is one pass", "k enum('z','a','m')", "k", []string{"'z'", "'a'", "'m'"}},
		{"a name with a quote in it", "`k``\"` int", "`k``\"`", []string{"1", "2", "3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			// Each row is a batch of its own, by its weight.
			db.Do(t, "SET sql_mode = ''; DROP TABLE IF EXISTS k; "+fmt.Sprintf("CREATE TABLE k (%s, weight longtext, PRIMARY KEY (%s)); SET sql_mode = DEFAULT", c.columns, c.key))
			for _, row := range c.rows {
				db.Do(t, fmt.Sprintf("SET sql_mode = ''; INSERT INTO k VALUES (%s, REPEAT('x', 3000000)); SET sql_mode = DEFAULT", row))
			}
			src := openMariaDB(t, db, sql.Options{Table: "k"})
			var rows int64
			var cursors []connectors.Cursor
			for b, err := range src.Read(t.Context(), connectors.Stream{Name: "s"}, nil) {
				if err != nil {
					t.Fatal(err)
				}
				rows += b.Record.NumRows() + int64(len(b.Rejects))
				cursors = append(cursors, b.Cursor)
			}
			if rows != int64(len(c.rows)) || len(cursors) != len(c.rows) {
				t.Fatalf("%d rows in %d batches, want %d", rows, len(cursors), len(c.rows))
			}
			for i, cursor := range cursors {
				var rest int64
				for b, err := range src.Read(t.Context(), connectors.Stream{Name: "s"}, cursor) {
					if err != nil {
						t.Fatalf("after cursor %d (%s): %v", i+1, cursor, err)
					}
					rest += b.Record.NumRows() + int64(len(b.Rejects))
				}
				if want := int64(len(c.rows) - i - 1); rest != want {
					t.Errorf("after cursor %d (%s): %d rows, want %d", i+1, cursor, rest, want)
				}
			}
		})
	}
}

func TestMariaDBNoticesEveryChange(t *testing.T) {
	db := testdb.MariaDB(t).Database(t)
	db.Do(t, "CREATE TABLE c (id int primary key, n int, t varchar(20), g varchar(20) character set gbk, f float, d decimal(10,2), b longblob, l longtext)", "INSERT INTO c VALUES (1, 1, 'a', '杭州', 16777214, 1, x'00', 'long'), (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL)")
	src := openMariaDB(t, db, sql.Options{Table: "c"})
	_, _, cursor := read(t, src, "", nil)
	for _, change := range []string{"n = 2", "t = 'A'", "t = ''", "g = '北京'", "f = 16777215", "d = 1.01", "b = x'0000'", "l = 'longer'", "t = NULL", "t = 'NULL'"} {
		db.Do(t, "UPDATE c SET "+change+" WHERE id = 1")
		rows, _, next := read(t, src, "", cursor)
		if len(rows) != 2 {
			t.Errorf("%s: %d rows, want 2", change, len(rows))
		}
		cursor = next
		if rows, _, _ := read(t, src, "", cursor); len(rows) != 0 {
			t.Errorf("nothing new after %s: %d rows", change, len(rows))
		}
	}
}

func TestMariaDBShardsAndParametersAreBound(t *testing.T) {
	db := testdb.MariaDB(t).Database(t)
	db.Do(t, "CREATE TABLE k (id bigint unsigned primary key, name varchar(20))", "INSERT INTO k SELECT seq, IF(seq % 2, 'it''s', 'x') FROM seq_1_to_400")
	src := openMariaDB(t, db, sql.Options{Table: "k", Where: "name = :name AND id > :low AND :yes", Params: map[string]any{"name": "it's", "low": 1.5, "yes": true}, Split: &sql.Split{Width: 100}})
	shards, err := src.(connectors.Sharder).Shards(t.Context(), "s")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	var names []string
	for _, s := range shards {
		rows, _, _ := read(t, src, s.Shard, nil)
		n += len(rows)
		names = append(names, s.Shard)
	}
	if diff := cmp.Diff([]string{"0+100", "100+100", "200+100", "300+100"}, names); diff != "" || n != 199 {
		t.Errorf("%d rows, want 199; shards (-want +got):\n%s", n, diff)
	}
	src = openMariaDB(t, db, sql.Options{Table: "k", Split: &sql.Split{At: []any{"1 OR 1 = 1"}}})
	for _, err := range src.Read(t.Context(), connectors.Stream{Name: "s", Shard: "<1 OR 1 = 1"}, nil) {
		if err == nil || !strings.Contains(err.Error(), "is not a whole number") {
			t.Errorf("a bound that is no number: %v", err)
		}
	}
}

func TestMariaDBServerThatIsNotTrustedIsRefused(t *testing.T) {
	db := testdb.MariaDB(t).Database(t)
	db.Do(t, "CREATE TABLE v (id int primary key)")
	for name, c := range map[string]struct {
		change func(*sql.MariaDBConfig)
		says   string
	}{
		"an authority that is not known": {func(c *sql.MariaDBConfig) { c.TLS = &sql.TLS{} }, "config.tls.ca"},
		"another name":                   {func(c *sql.MariaDBConfig) { c.TLS.Name = "elsewhere.example" }, "elsewhere.example"},
		"no such database":               {func(c *sql.MariaDBConfig) { c.Database = "no_such_database" }, "see to"},
	} {
		t.Run(name, func(t *testing.T) {
			err := failure(t, openMariaDB(t, db, sql.Options{Table: "v"}, c.change), nil)
			if err == nil || connectors.IsTransient(err) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), db.Password) {
				t.Errorf("%v (transient %v)", err, connectors.IsTransient(err))
			}
		})
	}
}
