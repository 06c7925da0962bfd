package testdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Replica starts a server that follows this one, and has all that this one has when it returns. It is for tests that made the server
// for themselves: what other tests do meanwhile would be in the way.
func (s *Server) Replica(t TB) *Server {
	t.Helper()
	k := *s.kind
	var after func(ctx context.Context, replica *Server) error
	switch s.kind {
	case postgres:
		k.prepare = func(ctx context.Context, replica *Server) error { return s.postgresBackup(ctx, replica) }
	case mariadb:
		k.args = func(replica *Server) []string {
			return append(mariadb.args(replica), "--server-id=2", "--read-only=ON")
		}
		after = s.mariadbFollow
	default:
		t.Fatal("a replica of a replica is not made")
	}
	replica := own(t, &k)
	if after != nil {
		if err := after(t.Context(), replica); err != nil {
			t.Fatalf("follow: %v", err)
		}
	}
	replica.Replayed(t, s)
	return replica
}

// postgresBackup makes the data of a standby: a copy of this server's files, taken while it runs.
func (s *Server) postgresBackup(ctx context.Context, standby *Server) (err error) {
	db, err := s.kind.open(s, "")
	if err != nil {
		return err
	}
	defer db.Close()
	conn, err := db.Conn(ctx) // a backup begins and ends in one session
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, "SELECT pg_backup_start('testdb', fast => true)"); err != nil {
		return err
	}
	from, to := filepath.Join(s.dir, "data"), filepath.Join(standby.dir, "data")
	if err := copyData(from, to); err != nil {
		return err
	}
	var label string
	if err := conn.QueryRowContext(ctx, "SELECT labelfile FROM pg_backup_stop(wait_for_archive => false)").Scan(&label); err != nil {
		return err
	}
	settings := fmt.Sprintf("primary_conninfo = 'host=%s port=%d user=%s password=%s sslmode=require'\n", s.Host, s.Port, s.User, s.Password)
	for name, text := range map[string]string{"backup_label": label, "standby.signal": "", "postgresql.auto.conf": settings} {
		if err := os.WriteFile(filepath.Join(to, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return standby.give(standby.dir)
}

// copyData copies a server's data while the server writes it. What is gone by then was not needed: the log tells.
func copyData(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		target := to + strings.TrimPrefix(path, from)
		switch {
		case entry.IsDir():
			return os.Mkdir(target, 0o700)
		case entry.Name() == "postmaster.pid":
			return nil
		}
		if err := copyFile(path, target); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}

// mariadbFollow lets a new server follow this one from the first entry of its log, which has all but what bootstrapping made in both.
func (s *Server) mariadbFollow(ctx context.Context, replica *Server) error {
	db, err := replica.kind.open(replica, "")
	if err != nil {
		return err
	}
	defer db.Close()
	for _, statement := range []string{
		fmt.Sprintf("CHANGE MASTER TO MASTER_HOST='%s', MASTER_PORT=%d, MASTER_USER='%s', MASTER_PASSWORD='%s', MASTER_SSL=1, MASTER_SSL_CA='%s', MASTER_CONNECT_RETRY=1, MASTER_USE_GTID=slave_pos", s.Host, s.Port, s.User, s.Password, s.CA),
		"START SLAVE",
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// On returns the same database on a server that follows this one's, or is followed by it.
func (d *Database) On(t TB, other *Server) *Database {
	t.Helper()
	db, err := other.kind.open(other, d.Name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return &Database{Server: other, Name: d.Name, DB: db}
}

// Hold makes a replica lag: from now on it takes in what comes, and shows nothing of it. Release ends that.
func (s *Server) Hold(t TB) {
	t.Helper()
	if s.kind.name == mariadb.name {
		s.admin(t, t.Context(), "STOP SLAVE SQL_THREAD")
		return
	}
	s.admin(t, t.Context(), "SELECT pg_wal_replay_pause()")
	s.until(t, "the standby stands still", "SELECT pg_get_wal_replay_pause_state() = 'paused'")
}

// Release lets a replica that was held go on.
func (s *Server) Release(t TB) {
	t.Helper()
	if s.kind.name == mariadb.name {
		s.admin(t, t.Context(), "START SLAVE SQL_THREAD")
		return
	}
	s.admin(t, t.Context(), "SELECT pg_wal_replay_resume()")
}

// Replayed waits until a replica shows all that the primary has written up to now.
func (s *Server) Replayed(t TB, primary *Server) {
	t.Helper()
	if s.kind.name == mariadb.name {
		at := primary.value(t, "SELECT @@global.gtid_binlog_pos")
		s.until(t, "the replica has replayed "+at, "SELECT MASTER_GTID_WAIT('"+at+"', 1) = 0")
		return
	}
	// An entry of its own behind all others: commits are not waited for here, so that the log that was written may end before them.
	at := primary.value(t, "SELECT pg_create_restore_point('replayed')::text")
	s.until(t, "the standby has replayed "+at, "SELECT coalesce(pg_last_wal_replay_lsn() >= '"+at+"'::pg_lsn, false)")
}

// value returns the only value of a query.
func (s *Server) value(t TB, query string) (v string) {
	t.Helper()
	db, err := s.kind.open(s, "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRowContext(t.Context(), query).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

// until asks until the answer is yes.
func (s *Server) until(t TB, what, query string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	db, err := s.kind.open(s, "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var yes sql.NullBool
		err := db.QueryRowContext(ctx, query).Scan(&yes)
		if err == nil && yes.Bool {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not before %v: %s (%v)\n%s", startTimeout, what, err, s.log())
		}
	}
}

func copyFile(path, target string) (err error) {
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return err
	}
	to, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close())
}
