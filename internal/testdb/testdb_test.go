package testdb_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/headwater-data/headwater/internal/testdb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testdb.Tests{M: m}) }

func TestServersComeUpStopAndComeBackWithTheirData(t *testing.T) {
	for name, own := range map[string]func(testdb.TB) *testdb.Server{"postgres": testdb.OwnPostgres, "mariadb": testdb.OwnMariaDB} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := own(t)
			db := s.Database(t)
			db.Do(t, "CREATE TABLE a (id int primary key)", "INSERT INTO a VALUES (1), (2)")
			count := func(want int) {
				t.Helper()
				var n int
				if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM a").Scan(&n); err != nil || n != want {
					t.Fatalf("got %d rows (%v), want %d", n, err, want)
				}
			}
			s.Stop(t)
			if err := db.PingContext(t.Context()); err == nil {
				t.Fatal("answers although it was stopped")
			}
			s.Start(t)
			count(2)
			s.Pause(t)
			s.Resume(t)
			count(2)
			s.Kill(t)
			if err := db.PingContext(t.Context()); err == nil {
				t.Fatal("answers although it was killed")
			}
			s.Start(t)
			count(2)
		})
	}
}

func TestServersAreSetUpForChangeDataCaptureAndTLS(t *testing.T) {
	for _, c := range []struct {
		name   string
		server func(testdb.TB) *testdb.Server
		query  string
		want   string
	}{
		{"postgres", testdb.Postgres, "SELECT current_setting('wal_level') || ' ' || (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid())", "logical true"},
		{"mariadb", testdb.MariaDB, "SELECT CONCAT(@@log_bin, ' ', @@binlog_format, ' ', @@binlog_row_image, ' ', @@gtid_binlog_pos <> '', ' ', (SELECT VARIABLE_VALUE <> '' FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME = 'Ssl_cipher'))", "ON ROW FULL 1 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			db := c.server(t).Database(t)
			var got string
			if err := db.QueryRowContext(t.Context(), c.query).Scan(&got); err != nil || got != c.want {
				t.Fatalf("got %q (%v), want %q", got, err, c.want)
			}
		})
	}
}

func TestReplicaFollowsAndLagsWhileItIsHeld(t *testing.T) {
	for name, own := range map[string]func(testdb.TB) *testdb.Server{"postgres": testdb.OwnPostgres, "mariadb": testdb.OwnMariaDB} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			primary := own(t)
			db := primary.Database(t)
			db.Do(t, "CREATE TABLE a (id int primary key)", "INSERT INTO a VALUES (1), (2)")
			replica := primary.Replica(t)
			copied := db.On(t, replica)
			count := func(want int) {
				t.Helper()
				var n int
				if err := copied.QueryRowContext(t.Context(), "SELECT count(*) FROM a").Scan(&n); err != nil || n != want {
					t.Fatalf("got %d rows (%v), want %d", n, err, want)
				}
			}
			count(2)
			replica.Hold(t)
			db.Do(t, "INSERT INTO a VALUES (3)")
			count(2)
			replica.Release(t)
			replica.Replayed(t, primary)
			count(3)
		})
	}
}
