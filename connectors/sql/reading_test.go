package sql_test

import (
	"slices"
	"testing"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/connectors/sql"
	"github.com/headwater-data/headwater/internal/testdb"
)

// What is added up while a table is read for the first time is the checksum that the database computes of it later: of every type, over
// several batches and with an interruption between them. Of a table that changed before the interruption it is not.
func TestTheFirstReadingKnowsTheChecksumOfWhatItRead(t *testing.T) {
	t.Parallel()
	columns := map[string][2]string{
		"postgres": {`id int PRIMARY KEY, n numeric, d numeric(20,4), f float8, g float4, b bool, t text, c char(5), y bytea, j jsonb, a int[], day date, at timestamptz, clock time, u uuid`,
			`n, n * 1.10, n / 3.0, n * 1e300, n / 7.0, n % 2 = 0, repeat('字', 60 + n % 50), 'x', decode('00ff', 'hex'), '{"a":1}', ARRAY[n, NULL], date '1850-01-01' + n, timestamptz '2024-01-01Z' + n * interval '1.000001 s', time '12:00', md5(n::text)::uuid FROM generate_series(1, 70000) n`},
		"mariadb": {`id int PRIMARY KEY, u bigint unsigned, d decimal(30,10), f double, g float, b bit(5), t text CHARACTER SET utf8mb4, l varchar(20) CHARACTER SET latin1, k varchar(20) CHARACTER SET gbk, y varbinary(20), e enum('a','b'), s set('a','b'), day date, at timestamp(6) NULL, dt datetime(6), clock time, year year`,
			`seq, 18446744073709551615 - seq, seq / 3, seq * 1e300, seq / 7, seq % 32, IF(seq % 9, REPEAT('字', 40 + seq % 50), NULL), 'ä''\\', '汉字', X'00ff', 'b', 'a,b', DATE '1850-01-01' + INTERVAL seq DAY, TIMESTAMP '2024-01-01 00:00:00' + INTERVAL seq SECOND, TIMESTAMP '2024-01-01 00:00:00' + INTERVAL seq MICROSECOND, '12:00:00', 2024 FROM seq_1_to_70000`},
	}
	servers := map[string]func() (*testdb.Database, func() connectors.Source){
		"postgres": func() (*testdb.Database, func() connectors.Source) {
			db := testdb.Postgres(t).Database(t)
			return db, func() connectors.Source { return open(t, db, sql.Options{Table: "c"}) }
		},
		"mariadb": func() (*testdb.Database, func() connectors.Source) {
			db := testdb.MariaDB(t).Database(t)
			return db, func() connectors.Source { return openMariaDB(t, db, sql.Options{Table: "c"}) }
		},
	}
	for name, server := range servers {
		t.Run(name, func(t *testing.T) {
			db, opened := server()
			db.Do(t, "CREATE TABLE c ("+columns[name][0]+")", "INSERT INTO c SELECT "+columns[name][1])
			// interrupted reads a part of the table, lets it be changed, and goes on.
			interrupted := func(changes ...string) connectors.Cursor {
				var cursor connectors.Cursor
				batches := 0
				for b, err := range opened().Read(t.Context(), connectors.Stream{Name: "s"}, nil) {
					if err != nil {
						t.Fatal(err)
					}
					cursor = slices.Clone(b.Cursor)
					if batches++; batches == 2 {
						break
					}
				}
				db.Do(t, changes...)
				n, rows := 0, opened()
				for b, err := range rows.Read(t.Context(), connectors.Stream{Name: "s"}, cursor) {
					if err != nil {
						t.Fatal(err)
					}
					cursor = slices.Clone(b.Cursor)
					n++
				}
				if n < 2 {
					t.Fatalf("%d batches were left after an interruption: the test tests nothing", n)
				}
				return cursor
			}
			again := func(cursor connectors.Cursor) (rows int64) {
				for b, err := range opened().Read(t.Context(), connectors.Stream{Name: "s"}, cursor) {
					if err != nil {
						t.Fatal(err)
					}
					rows += b.Record.NumRows()
				}
				return rows
			}
			cursor := interrupted()
			if n := again(cursor); n != 0 {
				t.Errorf("%d rows of an unchanged table were read again: cursor %.300s", n, cursor)
			}
			if n := again(interrupted("UPDATE c SET f = 1 WHERE id = 3")); n != 70000 {
				t.Errorf("a row was changed behind the reading, and %d rows were read again, want all", n)
			}
			if n := again(interrupted("UPDATE c SET f = 2 WHERE id = 69000")); n != 0 {
				t.Errorf("a row was changed before it was read, and %d rows were read again", n)
			}
		})
	}
}
