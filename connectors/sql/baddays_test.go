package sql_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/connectors/sql"
	"github.com/headwater-data/headwater/internal/testdb"
)

// day is a server on a bad day.
type day struct {
	*testdb.Database
	open func(*testing.T, sql.Options) connectors.Source
	text string // a type for long texts
	now  string // a type for times
}

// badDay runs a test on each server.
func badDay(t *testing.T, test func(*testing.T, day)) {
	t.Helper()
	t.Run("postgres", func(t *testing.T) {
		db := testdb.Postgres(t).Database(t)
		test(t, day{db, func(t *testing.T, o sql.Options) connectors.Source { return open(t, db, o) }, "text", "timestamptz"})
	})
	t.Run("mariadb", func(t *testing.T) {
		db := testdb.MariaDB(t).Database(t)
		test(t, day{db, func(t *testing.T, o sql.Options) connectors.Source { return openMariaDB(t, db, o) }, "longtext", "datetime(6)"})
	})
}

// heavy makes a table of n rows that are a batch each.
func (d day) heavy(t *testing.T, name string, n int) {
	t.Helper()
	d.Do(t, fmt.Sprintf("CREATE TABLE %s (id int primary key, n int, weight %s)", name, d.text))
	for i := range n {
		d.Do(t, fmt.Sprintf("INSERT INTO %s VALUES (%d, %d, REPEAT('x', 3000000))", name, i, i))
	}
}

// first reads one batch.
func first(t *testing.T, src connectors.Source) connectors.Cursor {
	t.Helper()
	for b, err := range src.Read(t.Context(), connectors.Stream{Name: "s"}, nil) {
		if err != nil {
			t.Fatal(err)
		}
		return slices.Clone(b.Cursor)
	}
	t.Fatal("no batch")
	return nil
}

// failure reads and returns the error.
func failure(t *testing.T, src connectors.Source, after connectors.Cursor) error {
	t.Helper()
	for _, err := range src.Read(t.Context(), connectors.Stream{Name: "s"}, after) {
		if err != nil {
			return err
		}
	}
	t.Error("no error")
	return nil
}

func TestTableThatIsGoneOrRenamedWhileReadIsAnErrorThatNamesIt(t *testing.T) {
	badDay(t, func(t *testing.T, d day) {
		for _, change := range []string{"DROP TABLE gone", "ALTER TABLE other RENAME TO gone_elsewhere"} {
			name := map[bool]string{true: "gone", false: "other"}[strings.HasPrefix(change, "DROP")]
			d.heavy(t, name, 3)
			src := d.open(t, sql.Options{Table: name})
			cursor := first(t, src)
			d.Do(t, change)
			if err := failure(t, src, cursor); err == nil || connectors.IsTransient(err) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %v (transient %v)", change, err, connectors.IsTransient(err))
			}
		}
	})
}

func TestColumnThatIsRetypedWhileReadComesInItsNewType(t *testing.T) {
	badDay(t, func(t *testing.T, d day) {
		d.heavy(t, "retyped", 3)
		src := d.open(t, sql.Options{Table: "retyped"})
		cursor := first(t, src)
		statement := "ALTER TABLE retyped ALTER n TYPE text"
		if d.text == "longtext" {
			statement = "ALTER TABLE retyped MODIFY n text"
		}
		d.Do(t, statement)
		seen := map[string]bool{}
		for range 2 { // what came before is read again when this reading is done
			rows, rejects, next := read(t, src, "", cursor)
			if len(rejects) > 0 {
				t.Fatalf("rejects: %q", rejects)
			}
			for _, row := range rows {
				var r struct {
					ID int
					N  any
				}
				if err := json.Unmarshal([]byte(row), &r); err != nil {
					t.Fatal(err)
				}
				if r.N == fmt.Sprint(r.ID) {
					seen[fmt.Sprint(r.ID)] = true
				}
			}
			cursor = next
		}
		if len(seen) != 3 {
			t.Errorf("%d of 3 rows came with the new type", len(seen))
		}
	})
}

func TestKeyColumnThatIsGoneWhileReadIsAnError(t *testing.T) {
	badDay(t, func(t *testing.T, d day) {
		d.heavy(t, "keyless", 3)
		src := d.open(t, sql.Options{Table: "keyless", Key: sql.Names{"id"}})
		cursor := first(t, src)
		d.Do(t, "ALTER TABLE keyless DROP COLUMN id")
		if err := failure(t, src, cursor); err == nil || connectors.IsTransient(err) || !strings.Contains(err.Error(), `names the column "id"`) {
			t.Errorf("%v (transient %v)", err, connectors.IsTransient(err))
		}
	})
}

func TestThreeHundredColumnsArrive(t *testing.T) {
	badDay(t, func(t *testing.T, d day) {
		var columns, values []string
		for i := range 300 {
			columns = append(columns, fmt.Sprintf("c%d int", i))
			values = append(values, fmt.Sprint(i))
		}
		d.Do(t, "CREATE TABLE wide (id int primary key, "+strings.Join(columns, ", ")+")", "INSERT INTO wide VALUES (1, "+strings.Join(values, ", ")+")")
		rows, rejects, _ := read(t, d.open(t, sql.Options{Table: "wide"}), "", nil)
		var row map[string]int
		if len(rows) != 1 || len(rejects) > 0 || json.Unmarshal([]byte(rows[0]), &row) != nil {
			t.Fatalf("got %q and %q", rows, rejects)
		}
		for i := range 300 {
			if row[fmt.Sprintf("c%d", i)] != i {
				t.Fatalf("column %d is %d", i, row[fmt.Sprintf("c%d", i)])
			}
		}
	})
}

func TestNullsInAKeyAreReadAndDoubleKeysRefused(t *testing.T) {
	badDay(t, func(t *testing.T, d day) {
		d.Do(t, "CREATE TABLE named (k varchar(9), n int)", "INSERT INTO named VALUES ('b', 1), (NULL, 2), ('a', 3), (NULL, 4)")
		src := d.open(t, sql.Options{Table: "named", Key: sql.Names{"k"}})
		rows, _, cursor := read(t, src, "", nil)
		if len(rows) != 4 {
			t.Errorf("%d rows, want 4: %q", len(rows), rows)
		}
		d.Do(t, "INSERT INTO named VALUES ('b', 5)")
		if err := failure(t, src, cursor); err == nil || connectors.IsTransient(err) || !strings.Contains(err.Error(), "several rows with the same key") {
			t.Errorf("%v (transient %v)", err, connectors.IsTransient(err))
		}
	})
}

func TestTextKeysAreReadInTheirOwnCollation(t *testing.T) {
	badDay(t, func(t *testing.T, d day) {
		collation := `"und-x-icu"`
		if d.text == "longtext" {
			collation = "utf8mb4_unicode_520_ci"
		}
		d.Do(t, fmt.Sprintf("CREATE TABLE collated (k varchar(20) COLLATE %s primary key, weight %s)", collation, d.text))
		keys := []string{"a", "B", "c", "Öl", "z", "杭州", "北京", "𠀀", "_x", "1"}
		for _, k := range keys {
			d.Do(t, fmt.Sprintf("INSERT INTO collated VALUES ('%s', REPEAT('x', 3000000))", k))
		}
		src := d.open(t, sql.Options{Table: "collated"})
		all, _, _ := read(t, src, "", nil)
		if len(all) != len(keys) {
			t.Fatalf("%d rows, want %d", len(all), len(keys))
		}
		cursor, n := first(t, src), 1
		for n < len(keys) { // each time from a cursor, as if it had been interrupted
			stepped := false
			for b, err := range src.Read(t.Context(), connectors.Stream{Name: "s"}, cursor) {
				if err != nil {
					t.Fatal(err)
				}
				n += int(b.Record.NumRows())
				cursor, stepped = slices.Clone(b.Cursor), true
				break
			}
			if !stepped {
				break
			}
		}
		if n != len(keys) {
			t.Errorf("%d rows in steps, want %d", n, len(keys))
		}
	})
}

func TestTransactionThatCommitsLateIsSeen(t *testing.T) {
	badDay(t, func(t *testing.T, d day) {
		// The servers' clocks are one, but a time without a zone is in the server's.
		utc := "SET SESSION time_zone = '+00:00'"
		if d.text == "text" {
			utc = "SET TIME ZONE 'UTC'"
		}
		conn, err := d.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		do := func(statements ...string) {
			t.Helper()
			for _, s := range statements {
				if _, err := conn.ExecContext(t.Context(), s); err != nil {
					t.Fatalf("%s: %v", s, err)
				}
			}
		}
		do(utc, fmt.Sprintf("CREATE TABLE late (id int primary key, at %s)", d.now), "INSERT INTO late VALUES (1, now() - interval '2' minute)")
		src := d.open(t, sql.Options{Table: "late", Watermark: "at", Lookback: "10m"})
		_, _, cursor := read(t, src, "", nil)
		do("BEGIN", "INSERT INTO late VALUES (2, now() - interval '1' minute)")
		other, err := d.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		for _, s := range []string{utc, "INSERT INTO late VALUES (3, now())"} {
			if _, err := other.ExecContext(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
		rows, _, cursor := read(t, src, "", cursor)
		if len(rows) != 1 || !strings.Contains(rows[0], `"id":3`) {
			t.Fatalf("before it commits: %q", rows)
		}
		do("COMMIT")
		rows, _, cursor = read(t, src, "", cursor)
		if !slices.ContainsFunc(rows, func(row string) bool { return strings.Contains(row, `"id":2`) }) {
			t.Fatalf("after it has committed: %q", rows)
		}
		if rows, _, _ = read(t, src, "", cursor); len(rows) > 0 {
			t.Fatalf("nothing new: %q", rows)
		}
	})
}

func TestMissingRightsAndDatabasesSayWhatToDo(t *testing.T) {
	badDay(t, func(t *testing.T, d day) {
		d.Do(t, "CREATE TABLE secret_table (id int primary key)", fmt.Sprintf("CREATE %s %s_nobody %s 'x9-nobody'", map[bool]string{true: "ROLE", false: "USER"}[d.text == "text"], d.Name, map[bool]string{true: "LOGIN PASSWORD", false: "IDENTIFIED BY"}[d.text == "text"]))
		t.Cleanup(func() {
			if _, err := d.Exec(fmt.Sprintf("DROP %s %s_nobody", map[bool]string{true: "ROLE", false: "USER"}[d.text == "text"], d.Name)); err != nil {
				t.Error(err)
			}
		})
		nobody := testdb.Database{Server: &testdb.Server{Host: d.Host, Port: d.Port, CA: d.CA, User: d.Name + "_nobody", Password: "x9-nobody"}, Name: d.Name}
		var src connectors.Source
		if d.text == "text" {
			src = open(t, &nobody, sql.Options{Table: "secret_table"})
		} else {
			src = openMariaDB(t, &nobody, sql.Options{Table: "secret_table"})
		}
		if err := failure(t, src, nil); err == nil || connectors.IsTransient(err) || !strings.Contains(err.Error(), "GRANT SELECT") && !strings.Contains(err.Error(), "see to") || strings.Contains(err.Error(), "x9-nobody") {
			t.Errorf("no right: %v (transient %v)", err, connectors.IsTransient(err))
		}
	})
}
