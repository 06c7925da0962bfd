package clickhouse_test

import (
	"net/http"
	"testing"

	"github.com/headwater-data/headwater/internal/embedded/clickhouse/clickhousetest"
)

func TestASessionKeepsWhatARequestForgets(t *testing.T) {
	t.Parallel()
	s := clickhousetest.Start(t)
	db := s.Database(t)
	s.Exec(t, "CREATE TABLE "+db+".t (a String) ENGINE = Memory")
	step := func(parameters, sql, want, code string) {
		t.Helper()
		got := call{parameters: parameters, body: sql}.do(t, s)
		if got.header.Get("X-ClickHouse-Exception-Code") != code || code == "" && got.body != want {
			t.Errorf("%s with %s: got %d %q, want %q (code %q)", sql, parameters, got.status, got.body, want, code)
		}
	}
	step("session_id="+db+"&session_check=1", "SELECT 1", "", "372")
	step("session_id="+db, "CREATE TEMPORARY TABLE tt (a UInt8)", "", "")
	step("session_id="+db, "INSERT INTO tt VALUES (1), (2)", "", "")
	step("session_id="+db+"&session_check=1", "SELECT count() FROM tt", "2\n", "")
	step("session_id="+db+"2", "SELECT count() FROM tt", "", "60")
	step("", "SELECT count() FROM tt", "", "60")
	step("session_id="+db, "SET bool_true_representation = 'ja'", "", "")
	step("session_id="+db, "SELECT true", "ja\n", "")
	step("session_id="+db+"&bool_true_representation=oui", "SELECT true", "oui\n", "")
	step("session_id="+db, "SELECT true", "ja\n", "")
	step("session_id="+db+"&bool_false_representation=non", "SELECT false", "non\n", "")
	step("session_id="+db, "SELECT false", "false\n", "")
	step("session_id="+db+"&nope=1", "SELECT false", "", "115")
	step("session_id="+db, "USE "+db, "", "")
	step("session_id="+db, "SELECT currentDatabase()", db+"\n", "")
	// A failed INSERT or SELECT leaves nothing behind in the session's output.
	step("session_id="+db+"&max_block_size=1", "SELECT throwIf(number = 3) FROM numbers(5)", "", "395")
	step("session_id="+db, "INSERT INTO tt SELECT throwIf(number = 3) FROM numbers(5)", "", "395")
	step("session_id="+db, "INSERT INTO tt FORMAT TSV\nx\n", "", "27")
	step("session_id="+db+"&database=system", "SELECT currentDatabase()", "system\n", "")
	step("session_id="+db, "SELECT currentDatabase()", db+"\n", "")
	step("session_id="+db, "SELECT 5", "5\n", "")
	step("session_id="+db, "INSERT INTO t VALUES ('a file')", "", "")
	step("session_id="+db, "INSERT INTO t VALUES (upper('x'))", "", "")
	step("session_id="+db, "SELECT a FROM t ORDER BY a", "X\na file\n", "")
	step("session_id="+db+"&session_timeout=4000", "SELECT 1", "", "374")
	step("session_id="+db+"&session_timeout=x", "SELECT 1", "", "374")
	step("session_id="+db+"&readonly=2", "SELECT 1", "", "164")
	if got := (call{reader: true, parameters: "session_id=" + db, body: "SELECT count() FROM tt"}).do(t, s); got.header.Get("X-ClickHouse-Exception-Code") != "60" {
		t.Errorf("another user is in the session: %d %s", got.status, got.body)
	}
	step("session_id="+db+"&close_session=1", "SELECT count() FROM tt", "2\n", "")
	step("session_id="+db, "SELECT count() FROM tt", "", "60")
	// A session with no time left is gone at the next look.
	step("session_id="+db+"0&session_timeout=0", "CREATE TEMPORARY TABLE tt (a UInt8)", "", "")
	for {
		got := call{parameters: "session_id=" + db + "0&session_check=1&session_timeout=0", body: "SELECT 1"}.do(t, s)
		if got.header.Get("X-ClickHouse-Exception-Code") == "372" {
			break
		}
		s.Exec(t, "SELECT sleep(2)") // longer than the sweep's interval
	}
}

func TestASessionServesOneClientAtATime(t *testing.T) {
	t.Parallel()
	s := clickhousetest.Start(t)
	first := make(chan answer, 1)
	go func() {
		first <- call{parameters: "session_id=one-at-a-time", body: "SELECT sleep(2)"}.do(t, s)
	}()
	for s.Exec(t, "SELECT count() FROM system.processes WHERE query LIKE 'SELECT sleep(2)%OUTFILE%'") == "0\n" {
		select {
		case got := <-first:
			t.Fatalf("the first ended early: %+v", got)
		default:
		}
	}
	if got := (call{parameters: "session_id=one-at-a-time", body: "SELECT 1"}).do(t, s); got.header.Get("X-ClickHouse-Exception-Code") != "373" {
		t.Errorf("got %d %s", got.status, got.body)
	}
	if got := <-first; got.status != http.StatusOK {
		t.Errorf("got %d %s", got.status, got.body)
	}
}
