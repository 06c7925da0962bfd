package sql_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/connectors/sql"
	"github.com/headwater-data/headwater/internal/secret"
	"github.com/headwater-data/headwater/internal/testdb"
)

// away from this machine's clock: how far a server's may be off.
const hourOff = time.Hour

// openAt opens a source on a machine whose clock is off.
func (d day) openAt(t *testing.T, off time.Duration, o sql.Options) connectors.Source {
	t.Helper()
	env := environment(t)
	env.Now = func() time.Time { return time.Now().Add(off) }
	if d.text == "text" {
		return opened(t, sql.Postgres(), env, postgresConfig(d.Database, d.User, d.Password), &o)
	}
	config := &sql.MariaDBConfig{ServerConfig: sql.ServerConfig{Host: d.Host, Port: d.Port, Database: d.Name, User: d.User, Password: secret.New(d.Password), TLS: &sql.TLS{CA: d.CA}}}
	return opened(t, sql.MariaDB(), env, config, &o)
}

func TestClockThatIsAnHourOffLosesNothingAndIsTold(t *testing.T) {
	badDay(t, func(t *testing.T, d day) {
		// A type with a zone: without one nobody knows what the server means.
		zoned := map[string]string{"text": "timestamptz", "longtext": "timestamp(6)"}[d.text]
		d.Do(t, fmt.Sprintf("CREATE TABLE clocked (id int primary key, at %s not null)", zoned),
			"INSERT INTO clocked VALUES (1, now() - interval '30' minute), (2, now()), (9, now() + interval '30' minute)")
		o := sql.Options{Table: "clocked", Watermark: "at"}
		for _, off := range []time.Duration{hourOff, -hourOff} {
			name := "ahead"
			if off > 0 {
				name = "behind" // of this machine, whose clock was set forward
			}
			t.Run("server "+name, func(t *testing.T) {
				src := d.openAt(t, off, o)
				holds(t, found(t, src), map[string]string{"clock": fmt.Sprintf("note: its clock is 1h0m0s %s this machine's", map[string]string{"ahead": "ahead of", "behind": "behind"}[name])})
				all, _, cursor := read(t, src, "", nil)
				if len(all) != 3 {
					t.Fatalf("the whole table: %q", all)
				}
				// The bound is the server's present: what comes now is above it, although a row of the future was read.
				d.Do(t, "INSERT INTO clocked VALUES (3, now())")
				rows, _, cursor := read(t, src, "", cursor)
				if !slices.ContainsFunc(rows, func(r string) bool { return strings.Contains(r, `"id":3`) }) {
					t.Errorf("what came: %q", rows)
				}
				if slices.ContainsFunc(rows, func(r string) bool { return strings.Contains(r, `"id":9`) }) {
					t.Errorf("a row of the future carried the watermark: %q", rows)
				}
				if rows, _, _ := read(t, src, "", cursor); len(rows) > 0 {
					t.Errorf("nothing new: %q", rows)
				}
				d.Do(t, "DELETE FROM clocked WHERE id = 3")
			})
		}
	})
}

func TestClockThatGoesBackBetweenReadingsDoesNotTurnTheirOrder(t *testing.T) {
	badDay(t, func(t *testing.T, d day) {
		d.Do(t, "CREATE TABLE turned (id int primary key, n int)", "INSERT INTO turned VALUES (1, 1)")
		o := sql.Options{Table: "turned"}
		last := time.Time{}
		var cursor connectors.Cursor
		for i, off := range []time.Duration{hourOff, 0, -hourOff} { // each an hour before the last
			d.Do(t, fmt.Sprintf("UPDATE turned SET n = %d", i+10))
			n := 0
			for b, err := range d.openAt(t, off, o).Read(t.Context(), connectors.Stream{Name: "s"}, cursor) {
				if err != nil {
					t.Fatal(err)
				}
				if b.Record.NumRows() > 0 && b.ExtractedAt.UnixMicro() <= last.UnixMicro() {
					t.Errorf("a later content of %v, an earlier one of %v", b.ExtractedAt, last)
				}
				n += int(b.Record.NumRows())
				last, cursor = b.ExtractedAt, slices.Clone(b.Cursor)
			}
			if n != 1 {
				t.Errorf("reading %d gave %d rows", i+1, n)
			}
		}
	})
}

// laggingDay is a database and its copy on a replica.
func laggingDay(t *testing.T, test func(t *testing.T, primary, replica day, server *testdb.Server)) {
	t.Helper()
	t.Run("postgres", func(t *testing.T) {
		server := testdb.OwnPostgres(t)
		db := server.Database(t)
		replica := server.Replica(t)
		on := func(db *testdb.Database) day {
			return day{db, func(t *testing.T, o sql.Options) connectors.Source { return open(t, db, o) }, "text", "timestamptz"}
		}
		test(t, on(db), on(db.On(t, replica)), server)
	})
	t.Run("mariadb", func(t *testing.T) {
		server := testdb.OwnMariaDB(t)
		db := server.Database(t)
		replica := server.Replica(t)
		on := func(db *testdb.Database) day {
			return day{db, func(t *testing.T, o sql.Options) connectors.Source { return openMariaDB(t, db, o) }, "longtext", "timestamp(6)"}
		}
		test(t, on(db), on(db.On(t, replica)), server)
	})
}

func TestReplicaThatLagsLosesNothing(t *testing.T) {
	t.Parallel()
	laggingDay(t, func(t *testing.T, primary, replica day, server *testdb.Server) {
		primary.Do(t, fmt.Sprintf("CREATE TABLE lagging (id int primary key, at %s not null)", primary.now), "INSERT INTO lagging VALUES (1, CURRENT_TIMESTAMP(6) - interval '2' minute), (2, CURRENT_TIMESTAMP(6))",
			"CREATE TABLE whole (id int primary key)", "INSERT INTO whole VALUES (1)")
		replica.Replayed(t, server)
		src, whole := replica.open(t, sql.Options{Table: "lagging", Watermark: "at"}), replica.open(t, sql.Options{Table: "whole"})
		holds(t, found(t, src), map[string]string{"replica": "note: it is a replica"})
		ids := func(rows []string) (ids []string) {
			for _, row := range rows {
				_, id, _ := strings.Cut(row, `"id":`)
				ids = append(ids, strings.Trim(id, "}"))
			}
			slices.Sort(ids)
			return ids
		}
		step := func(src connectors.Source, after connectors.Cursor, what string, want ...string) connectors.Cursor {
			t.Helper()
			rows, _, cursor := read(t, src, "", after)
			if got := ids(rows); !slices.Equal(got, want) {
				t.Fatalf("%s: rows %v, want %v", what, got, want)
			}
			return cursor
		}
		cursor := step(src, nil, "at first", "1", "2")
		all := step(whole, nil, "all at first", "1")

		// A transaction is open while the replica falls behind, and commits after later ones.
		late, err := primary.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer late.Close()
		for _, s := range []string{"BEGIN", "INSERT INTO lagging VALUES (3, CURRENT_TIMESTAMP(6))"} {
			if _, err := late.ExecContext(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
		replica.Hold(t)
		primary.Do(t, "INSERT INTO lagging VALUES (4, CURRENT_TIMESTAMP(6))", "INSERT INTO whole VALUES (2)")
		cursor = step(src, cursor, "while it lags")
		all = step(whole, all, "all while it lags")
		replica.Release(t)
		replica.Replayed(t, server)
		cursor = step(src, cursor, "when it has caught up", "4")
		all = step(whole, all, "all when it has caught up", "1", "2")

		replica.Hold(t)
		if _, err := late.ExecContext(t.Context(), "COMMIT"); err != nil {
			t.Fatal(err)
		}
		primary.Do(t, "INSERT INTO lagging VALUES (5, CURRENT_TIMESTAMP(6))")
		cursor = step(src, cursor, "while it lags again")
		replica.Release(t)
		replica.Replayed(t, server)
		// The late row lies below what was read: the window below it is read again.
		rows, _, cursor := read(t, src, "", cursor)
		if got := ids(rows); !slices.Contains(got, "3") || !slices.Contains(got, "5") {
			t.Fatalf("when it has caught up again: rows %v, want 3 and 5 among them", got)
		}
		step(src, cursor, "nothing new")
		step(whole, all, "nothing new of all")
	})
}

func TestStandbyThatMustGiveWayToReplayIsTransient(t *testing.T) {
	t.Parallel()
	server := testdb.OwnPostgres(t)
	db := server.Database(t)
	primary := day{db, func(t *testing.T, o sql.Options) connectors.Source { return open(t, db, o) }, "text", "timestamptz"}
	primary.heavy(t, "contested", 4)
	standby := server.Replica(t)
	copied := db.On(t, standby)
	copied.Do(t, "ALTER SYSTEM SET max_standby_streaming_delay = 0", "SELECT pg_reload_conf()")
	src := open(t, copied, sql.Options{Table: "contested"})
	rows := 0
	var cursor connectors.Cursor
	var failed error
	for b, err := range src.Read(t.Context(), connectors.Stream{Name: "s"}, nil) {
		if err != nil {
			failed = err
			break
		}
		rows += int(b.Record.NumRows())
		cursor = slices.Clone(b.Cursor)
		if rows == 1 {
			// The table's owner changes it. The reader on the standby holds the table, and replay does not wait for it. The server tells
			// the reader when it can send on: it is just sending a row that nobody takes.
			primary.Do(t, "ALTER TABLE contested ADD COLUMN added int")
			for waiting := false; !waiting; {
				if err := copied.QueryRowContext(t.Context(), "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'").Scan(&waiting); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if failed == nil || !connectors.IsTransient(failed) || rows >= 4 {
		t.Fatalf("after %d rows: %v (transient %v)", rows, failed, connectors.IsTransient(failed))
	}
	standby.Replayed(t, server)
	for b, err := range src.Read(t.Context(), connectors.Stream{Name: "s"}, cursor) {
		if err != nil {
			t.Fatal(err)
		}
		rows += int(b.Record.NumRows())
	}
	if rows != 4 {
		t.Errorf("%d rows in both readings, want 4", rows)
	}
}

func TestChangesOfAStandbyAreRefusedInWords(t *testing.T) {
	t.Parallel()
	server := testdb.OwnPostgres(t)
	db := server.Database(t)
	db.Do(t, "CREATE TABLE followed (id int primary key)", "CREATE PUBLICATION followed FOR TABLE followed")
	src := open(t, db.On(t, server.Replica(t)), sql.Options{Table: "followed", Changes: &sql.Changes{Slot: "followed", Publication: "followed"}})
	err := failure(t, src, nil)
	if err == nil || connectors.IsTransient(err) || !strings.Contains(err.Error(), "the server is a standby: changes are followed on the primary") {
		t.Errorf("%v (transient %v)", err, connectors.IsTransient(err))
	}
}
