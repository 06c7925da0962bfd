package testdb

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

var postgresPackage = regexp.MustCompile(`postgresql-[0-9]+`)

var postgres = &kind{
	name: "postgres", server: "postgres",
	packages: func(ctx context.Context) ([]string, error) {
		name, err := newest(ctx, "postgresql", postgresPackage)
		return []string{name}, err
	},
	program: func(in install, name string) (string, error) { return find(in, "usr/lib/postgresql/*/bin/"+name) },
	prepare: func(ctx context.Context, s *Server) error {
		initdb, err := s.kind.program(s.in, "initdb")
		if err != nil {
			return err
		}
		password := filepath.Join(s.dir, "password")
		if err := os.WriteFile(password, []byte(s.Password), 0o600); err != nil {
			return err
		}
		if err := s.give(s.dir); err != nil {
			return err
		}
		_, err = s.output(ctx, "", initdb, "-D", filepath.Join(s.dir, "data"), "-U", s.User, "--pwfile", password, "-A", "scram-sha-256", "-E", "UTF8", "--locale", "C.UTF-8", "--no-sync", "--no-instructions")
		return err
	},
	args: func(s *Server) []string {
		args := []string{"-D", filepath.Join(s.dir, "data")}
		for _, setting := range []string{
			"port=" + strconv.Itoa(s.Port), "listen_addresses=127.0.0.1", "unix_socket_directories=",
			"ssl=on", "ssl_cert_file=" + filepath.Join(s.dir, "server.pem"), "ssl_key_file=" + filepath.Join(s.dir, "server.key"),
			"wal_level=logical", "max_wal_senders=8", "max_replication_slots=16", "max_connections=60",
			"shared_buffers=32MB", "max_wal_size=256MB", "fsync=off", "synchronous_commit=off", "full_page_writes=off", "jit=off", "autovacuum=off",
			"log_min_messages=warning",
		} {
			args = append(args, "-c", setting)
		}
		return args
	},
	stop: syscall.SIGINT,
	open: func(s *Server, database string) (*sql.DB, error) {
		if database == "" {
			database = "postgres"
		}
		c, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%d user=%s dbname=%s sslmode=verify-full sslrootcert=%s", s.Host, s.Port, s.User, database, s.CA))
		if err != nil {
			return nil, err
		}
		c.Password = s.Password
		return stdlib.OpenDB(*c), nil
	},
	quote: func(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` },
	drop:  func(name string) string { return `DROP DATABASE IF EXISTS "` + name + `" WITH (FORCE)` },
}
