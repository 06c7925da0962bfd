package sql_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/connectors/sql"
	"github.com/headwater-data/headwater/internal/secret"
	"github.com/headwater-data/headwater/internal/testdb"
)

func open(t *testing.T, db *testdb.Database, o sql.Options) connectors.Source {
	t.Helper()
	return opened(t, sql.Postgres(), environment(t), postgresConfig(db, db.User, db.Password), &o)
}

func postgresConfig(db *testdb.Database, user, password string) *sql.ServerConfig {
	return &sql.ServerConfig{Host: db.Host, Port: db.Port, Database: db.Name, User: user, Password: secret.New(password), TLS: &sql.TLS{CA: db.CA}}
}

// read returns the rows that follow a cursor as JSON, one text a row, with the rejects' reasons.
func read(t *testing.T, src connectors.Source, shard string, after connectors.Cursor) (rows, rejects []string, cursor connectors.Cursor) {
	t.Helper()
	cursor = after
	for b, err := range src.Read(t.Context(), connectors.Stream{Name: "s", Shard: shard}, after) {
		if err != nil {
			t.Fatal(err)
		}
		text, err := b.Record.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		var list []json.RawMessage
		if err := json.Unmarshal(text, &list); err != nil {
			t.Fatal(err)
		}
		for _, row := range list {
			rows = append(rows, string(row))
		}
		for _, r := range b.Rejects {
			rejects = append(rejects, r.Reason)
		}
		cursor = b.Cursor
	}
	return rows, rejects, cursor
}

func TestPostgresTypesKeepTheirValues(t *testing.T) {
	db := testdb.Postgres(t).Database(t)
	db.Do(t, "CREATE TYPE mood AS ENUM ('好', 'bad')")
	for _, c := range []struct{ typ, literal, arrow, want string }{
		{"numeric(38,0)", "'-99999999999999999999999999999999999999'", "decimal(38, 0)", `"-99999999999999999999999999999999999999"`},
		{"numeric(38,10)", "'1234567890123456789012345678.0123456789'", "decimal(38, 10)", `"1234567890123456789012345678.0123456789"`},
		{"numeric(20,2)", "'-0.05'", "decimal(20, 2)", `"-0.05"`},
		{"numeric(10,2)", "'10000'", "decimal(10, 2)", `"10000"`},
		{"numeric", "'18446744073709551615.000'", "utf8", `"18446744073709551615.000"`},
		{"numeric", "'NaN'", "utf8", `"NaN"`},
		{"bigint", "'-9223372036854775808'", "int64", `-9223372036854775808`},
		{"smallint", "'-32768'", "int16", `-32768`},
		{"boolean", "'t'", "bool", `true`},
		{"double precision", "'1e300'", "float64", `1e+300`},
		{"date", "'0044-03-15 BC'", "date32", `"-0043-03-15"`},
		{"date", "'1899-12-31'", "date32", `"1899-12-31"`},
		{"timestamp", "'2300-01-02 03:04:05.000006'", "timestamp[us]", `"2300-01-02 03:04:05.000006Z"`},
		{"timestamptz", "'1900-01-01 00:00:00.123456+08'", "timestamp[us, tz=UTC]", `"1899-12-31 16:00:00.123456Z"`},
		{"time", "'23:59:59.999999'", "time64[us]", `"23:59:59.999999"`},
		{"text", "''", "utf8", `""`},
		{"text", "NULL", "utf8", `null`},
		{"text", "'👩‍👩‍👧𠀀'", "utf8", `"👩‍👩‍👧𠀀"`},
		{"bytea", `'\x00ff'`, "binary", `"AP8="`},
		{"jsonb", `'{"a": [1, null]}'`, "utf8", `"{\"a\": [1, null]}"`},
		{"uuid", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "utf8", `"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"`},
		{"int[]", "'{1,NULL,3}'", "utf8", `"[1,null,3]"`},
		{"mood", "'好'", "utf8", `"好"`},
		{"interval", "'1 year 2 days'", "utf8", `"P1Y2D"`},
		{"inet", "'10.0.0.1/8'", "utf8", `"10.0.0.1/8"`},
	} {
		t.Run(c.typ+" "+c.literal, func(t *testing.T) {
			db.Do(t, "DROP TABLE IF EXISTS v", fmt.Sprintf("CREATE TABLE v (v %s)", c.typ), fmt.Sprintf("INSERT INTO v VALUES (%s)", c.literal))
			src := open(t, db, sql.Options{Table: "v"})
			for b, err := range src.Read(t.Context(), connectors.Stream{Name: "s"}, nil) {
				if err != nil {
					t.Fatal(err)
				}
				if b.Record.NumRows() == 0 {
					continue
				}
				f := b.Record.Schema().Field(0)
				if got := strings.TrimPrefix(f.Type.String(), "decimal128"); got != strings.TrimPrefix(c.arrow, "decimal") && got != c.arrow {
					t.Errorf("type %s, want %s", f.Type, c.arrow)
				}
				text, err := b.Record.Column(0).MarshalJSON()
				if err != nil {
					t.Fatal(err)
				}
				if got := strings.TrimSpace(string(text)); got != "["+c.want+"]" {
					t.Errorf("got %s, want [%s]", got, c.want)
				}
			}
		})
	}
}

func TestPostgresValuesThatCannotBeDeliveredAreQuarantined(t *testing.T) {
	db := testdb.Postgres(t).Database(t)
	db.Do(t, "CREATE TABLE v (id int primary key, n numeric(10,2), d date)", "INSERT INTO v VALUES (1, 1, '2024-01-01'), (2, 'NaN', '2024-01-01'), (3, 3, 'infinity'), (4, 4, NULL)")
	rows, rejects, _ := read(t, open(t, db, sql.Options{Table: "v", Columns: sql.Names{"id"}}), "", nil)
	if len(rows) != 4 || len(rejects) != 0 {
		t.Errorf("without the columns: %d rows and %q", len(rows), rejects)
	}
	rows, rejects, _ = read(t, open(t, db, sql.Options{Table: "v"}), "", nil)
	if len(rows) != 2 || len(rejects) != 2 || !strings.Contains(rejects[0], "column n: the value is NaN") || !strings.Contains(rejects[1], "column d: the value is infinity") {
		t.Errorf("got %q and %q", rows, rejects)
	}
}

func TestPostgresWatermarkMissesNothingThatIsCommittedLate(t *testing.T) {
	db := testdb.Postgres(t).Database(t)
	db.Do(t, "CREATE TABLE w (id int primary key, at timestamptz, gone bool)", "INSERT INTO w VALUES (1, now() - interval '1 hour', false), (2, NULL, false), (3, now() - interval '1 minute', false), (4, now() + interval '1 year', false)")
	src := open(t, db, sql.Options{Table: "w", Watermark: "at", Deleted: "gone", Columns: sql.Names{"id"}})
	step := func(what string, after connectors.Cursor, want string) connectors.Cursor {
		t.Helper()
		rows, _, cursor := read(t, src, "", after)
		var ids []string
		for _, row := range rows {
			var r struct {
				ID      int  `json:"id"`
				Deleted bool `json:"_deleted"`
			}
			if err := json.Unmarshal([]byte(row), &r); err != nil {
				t.Fatal(err)
			}
			id := fmt.Sprint(r.ID)
			if r.Deleted {
				id += " deleted"
			}
			ids = append(ids, id)
		}
		if diff := cmp.Diff(want, strings.Join(ids, ", ")); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", what, diff)
		}
		return cursor
	}
	c := step("first: all, also without a watermark or in the future", nil, "2, 1, 3, 4")
	c = step("nothing new", c, "")
	db.Do(t, "INSERT INTO w VALUES (5, now(), false)")
	c = step("a new row", c, "5")
	tx, err := db.BeginTx(context.WithoutCancel(t.Context()), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec("INSERT INTO w VALUES (6, now() - interval '30 seconds', false)"); err != nil {
		t.Fatal(err)
	}
	db.Do(t, "INSERT INTO w VALUES (7, now(), false)")
	c = step("a later row while an earlier one is not committed", c, "7")
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	c = step("the window is read again", c, "3, 6, 5, 7")
	c = step("nothing new after that", c, "")
	db.Do(t, "UPDATE w SET gone = true, at = now() WHERE id = 1")
	c = step("a row is marked", c, "1 deleted")
	db.Do(t, "UPDATE w SET gone = true WHERE id = 2")
	step("a row without a watermark changes", c, "2 deleted")
}

func TestPostgresShardsKeepTheirNamesAndCoverTheTable(t *testing.T) {
	db := testdb.Postgres(t).Database(t)
	db.Do(t, "CREATE TABLE k (id bigint primary key)", "INSERT INTO k SELECT generate_series(-150, 249)")
	src := open(t, db, sql.Options{Table: "k", Split: &sql.Split{Width: 100}})
	names := func() (out []string) {
		shards, err := src.(connectors.Sharder).Shards(t.Context(), "s")
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range shards {
			out = append(out, s.Shard)
		}
		return out
	}
	if diff := cmp.Diff([]string{"-200+100", "-100+100", "0+100", "100+100", "200+100"}, names()); diff != "" {
		t.Fatal(diff)
	}
	n := 0
	for _, shard := range names() {
		rows, _, _ := read(t, src, shard, nil)
		n += len(rows)
	}
	if n != 400 {
		t.Errorf("shards have %d rows, want 400", n)
	}
	db.Do(t, "INSERT INTO k VALUES (250), (300)")
	if diff := cmp.Diff([]string{"-200+100", "-100+100", "0+100", "100+100", "200+100", "300+100"}, names()); diff != "" {
		t.Fatal(diff)
	}
}

// The checksum by which an unchanged table is left out must see what is delivered otherwise, though the database may call it equal.
func TestPostgresSeesEveryChangeOfATable(t *testing.T) {
	t.Parallel()
	db := testdb.Postgres(t).Database(t)
	db.Do(t, "CREATE TABLE c (id int primary key, n int, f float8, g float4, d numeric, e numeric(10,2), b bpchar, t text, j json, a int[], at timestamptz)",
		`INSERT INTO c VALUES (1, 1, 0, 0, 1.0, 1, 'a', 'x', '{"a":1}', '{1}', '2024-01-01Z'), (2, 2, 0, 0, 1.0, 2, 'a', 'y', '{"a":1}', '{1}', '2024-01-01Z'), (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)`)
	src := open(t, db, sql.Options{Table: "c"})
	rows, _, c := read(t, src, "", nil)
	if len(rows) != 3 {
		t.Fatalf("got %q", rows)
	}
	for _, change := range []string{
		"UPDATE c SET n = 3 - n WHERE id < 3", // two rows exchange a value
		"UPDATE c SET f = -0.0::float8 WHERE id = 1",
		"UPDATE c SET g = -0.0::float4 WHERE id = 1",
		"UPDATE c SET d = 1.00 WHERE id = 1",
		"UPDATE c SET e = 1.01 WHERE id = 1",
		"UPDATE c SET b = 'a ' WHERE id = 1",
		"UPDATE c SET t = '' WHERE id = 3",
		`UPDATE c SET j = '{"a": 1}' WHERE id = 1`,
		"UPDATE c SET a = '{}' WHERE id = 3",
		"UPDATE c SET at = at + interval '1 microsecond' WHERE id = 1",
		"DELETE FROM c WHERE id = 3",
	} {
		if rows, _, _ := read(t, src, "", c); len(rows) != 0 {
			t.Fatalf("before %q: an unchanged table was read again", change)
		}
		db.Do(t, change)
		if rows, _, c = read(t, src, "", c); len(rows) == 0 {
			t.Errorf("%q was not noticed", change)
		}
	}
}
