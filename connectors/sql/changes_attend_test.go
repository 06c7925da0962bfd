package sql_test

import (
	"slices"
	"testing"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/connectors/sql"
	"github.com/headwater-data/headwater/internal/testdb"
)

// TestChangesComeWithoutAsking follows a table while it is changed: what is committed comes without another reading, what was stored
// is confirmed meanwhile, and a reading goes on after what came, also from the middle of a transaction.
func TestChangesComeWithoutAsking(t *testing.T) {
	t.Parallel()
	db := testdb.Postgres(t).Database(t)
	db.Do(t, "CREATE TABLE t (id int PRIMARY KEY, n int, s text)", "CREATE PUBLICATION pub FOR TABLE t", "INSERT INTO t SELECT n, 0, 'before' FROM generate_series(1, 10) n")
	src, _ := follow(t, db, sql.Options{})
	follower := src.(connectors.Follower)
	if !follower.Follows("s") {
		t.Fatal("the stream is said not to be one that can be followed")
	}
	confirmed := func() (at string) {
		if err := db.QueryRowContext(t.Context(), "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = $1", db.Name+"_slot").Scan(&at); err != nil {
			t.Fatal(err)
		}
		return at
	}
	m := newMirror(t)
	steps := []string{
		"INSERT INTO t SELECT n, 1, 'came' FROM generate_series(11, 20) n",
		"UPDATE t SET n = 2, id = id + 100 WHERE id < 5",
		"DELETE FROM t WHERE id > 15",
		"INSERT INTO t SELECT n, 3, repeat('x', 1000) FROM generate_series(1001, 9000) n", // more than a batch
		"TRUNCATE t",
		"INSERT INTO t VALUES (1, 4, 'the last')",
	}
	enough, begin := make(chan struct{}), ""
	for b, err := range follower.Follow(t.Context(), connectors.Stream{Name: "s"}, nil, connectors.Following{Enough: enough, Stored: func() connectors.Cursor { return m.cursor }}) {
		if err != nil {
			t.Fatal(err)
		}
		m.take(b)
		if !slices.Equal(m.live(), tableRows(t, db)) {
			continue
		}
		switch {
		case len(steps) > 0:
			if begin == "" {
				begin = confirmed()
			}
			db.Do(t, steps[0])
			steps = steps[1:]
		case confirmed() == begin: // it is confirmed with what comes next
			db.Do(t, "UPDATE t SET n = n + 1")
		case enough != nil:
			close(enough)
			enough = nil
		}
	}
	if enough != nil {
		t.Fatal("it ended before anybody had enough")
	}
	m.same(db, "after following")
	if n := m.read(src, all); n != 0 {
		t.Errorf("%d batches of what had come already", n)
	}

	// Left alone in the middle of a transaction, and resumed by another reading.
	db.Do(t, "INSERT INTO t SELECT n, 5, repeat('y', 1000) FROM generate_series(2, 9000) n")
	enough = make(chan struct{})
	for b, err := range follower.Follow(t.Context(), connectors.Stream{Name: "s"}, m.cursor, connectors.Following{Enough: enough}) {
		if err != nil {
			t.Fatal(err)
		}
		m.take(b)
		break
	}
	if n := len(m.live()); n >= 9000 {
		t.Fatalf("all %d rows came in one batch: the test tests nothing", n)
	}
	m.read(src, all)
	m.same(db, "after the middle of a transaction")
}

func TestFollowingNeedsTwoConnectionsForEachStream(t *testing.T) {
	t.Parallel()
	changes := func() *sql.Options {
		return &sql.Options{Table: "t", Changes: &sql.Changes{Slot: "s", Publication: "p"}}
	}
	for name, c := range map[string]struct {
		connections int
		streams     map[string]any
		want        bool
	}{
		"one stream":                          {0, map[string]any{"a": changes()}, true},
		"two streams with two connections":    {0, map[string]any{"a": changes(), "b": changes()}, false},
		"two streams with four connections":   {4, map[string]any{"a": changes(), "b": changes()}, true},
		"a stream that is read again by pass": {8, map[string]any{"a": changes(), "b": &sql.Options{Table: "t"}}, false},
	} {
		config := &sql.ServerConfig{Host: "127.0.0.1", Database: "d", User: "u", Limits: sql.Limits{Connections: c.connections}}
		src, err := sql.Postgres().Open(environment(t), config, c.streams)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := src.(connectors.Follower).Follows("a"); got != c.want {
			t.Errorf("%s: followed is %v, want %v", name, got, c.want)
		}
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	}
}
