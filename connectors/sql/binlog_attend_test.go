package sql_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/connectors/sql"
	"github.com/headwater-data/headwater/internal/testdb"
)

// TestTheBinlogComesWithoutAsking follows a table while it is changed and altered: what is committed comes without another reading, and a
// reading goes on after what came, also from the middle of a transaction.
func TestTheBinlogComesWithoutAsking(t *testing.T) {
	t.Parallel()
	db := testdb.MariaDB(t).Database(t)
	db.Do(t, "CREATE TABLE t (id int PRIMARY KEY, n int, s text)", "INSERT INTO t SELECT seq, 0, 'before' FROM seq_1_to_10", "CREATE TABLE u (id int)")
	src, log := followMariaDB(t, db, sql.Options{})
	follower := src.(connectors.Follower)
	if !follower.Follows("s") {
		t.Fatal("the stream is said not to be one that can be followed")
	}
	m := newMirror(t)
	steps := [][]string{
		{"INSERT INTO t SELECT seq, 1, 'came' FROM seq_11_to_20"},
		{"UPDATE t SET n = 2, id = id + 100 WHERE id < 5"},
		{"INSERT INTO u VALUES (1)", "DELETE FROM t WHERE id > 15"},
		{"INSERT INTO t SELECT seq, 3, REPEAT('x', 60000) FROM seq_1001_to_1100"}, // more than a batch
		{"UPDATE t SET n = 4 WHERE id = 5", "ALTER TABLE t ADD COLUMN e int", "UPDATE t SET n = n + 1, e = id"},
		{"ALTER TABLE t DROP COLUMN n", "UPDATE t SET e = e + 1"},
		{"TRUNCATE t"},
		{"INSERT INTO t VALUES (1, 'the last', 7)"},
	}
	rows := func() []string { return plainRows(t, openMariaDB(t, db, sql.Options{Table: "t"})) }
	enough := make(chan struct{})
	for b, err := range follower.Follow(t.Context(), connectors.Stream{Name: "s"}, nil, connectors.Following{Enough: enough}) {
		if err != nil {
			t.Fatal(err)
		}
		m.take(b)
		if !slices.Equal(m.live(), rows()) {
			continue
		}
		switch {
		case len(steps) > 0:
			db.Do(t, steps[0]...)
			steps = steps[1:]
		case enough != nil:
			close(enough)
			enough = nil
		}
	}
	if enough != nil {
		t.Fatal("it ended before anybody had enough")
	}
	if n := strings.Count(log.String(), "columns have changed"); n != 2 {
		t.Errorf("two alterations were logged %d times:\n%s", n, log)
	}
	m.sameMariaDB(db, "after following")
	if n := m.read(src, all); n != 0 {
		t.Errorf("%d batches of what had come already", n)
	}

	// Left alone in the middle of a transaction, and resumed by another reading.
	db.Do(t, "INSERT INTO t SELECT seq, REPEAT('y', 60000), 5 FROM seq_2_to_150")
	enough = make(chan struct{})
	for b, err := range follower.Follow(t.Context(), connectors.Stream{Name: "s"}, m.cursor, connectors.Following{Enough: enough}) {
		if err != nil {
			t.Fatal(err)
		}
		m.take(b)
		break
	}
	if n := len(m.live()); n >= 150 {
		t.Fatalf("all %d rows came in one batch: the test tests nothing", n)
	}
	m.read(src, all)
	m.sameMariaDB(db, "after the middle of a transaction")
}
