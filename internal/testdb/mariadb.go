package testdb

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"
)

var mariadb = &kind{
	name: "mariadb", server: "mariadbd",
	packages: func(context.Context) ([]string, error) { return []string{"mariadb-server-core"}, nil },
	program:  func(in install, name string) (string, error) { return find(in, "usr/sbin/"+name) },
	prepare: func(ctx context.Context, s *Server) error {
		data := filepath.Join(s.dir, "data")
		if err := os.MkdirAll(filepath.Join(data, "mysql"), 0o700); err != nil {
			return err
		}
		if err := s.give(s.dir); err != nil {
			return err
		}
		// The program that usually does this is a shell script with paths of its own in it. What it feeds the server is this.
		script := "CREATE DATABASE IF NOT EXISTS mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\n"
		for _, name := range []string{"mysql_system_tables.sql", "mysql_performance_tables.sql", "mysql_system_tables_data.sql", "maria_add_gis_sp_bootstrap.sql"} {
			text, err := os.ReadFile(filepath.Join(s.in.root, "usr/share/mysql", name))
			if err != nil {
				return err
			}
			script += string(text) + "\n"
		}
		script += fmt.Sprintf("FLUSH PRIVILEGES;\nCREATE USER '%s'@'%%' IDENTIFIED BY '%s';\nGRANT ALL ON *.* TO '%s'@'%%' WITH GRANT OPTION;\n", s.User, s.Password, s.User)
		path, err := s.kind.program(s.in, s.kind.server)
		if err != nil {
			return err
		}
		out, err := s.output(ctx, script, path, append(s.mariadbBase(), "--bootstrap", "--log-warnings=0", "--max-allowed-packet=16M")...)
		if err == nil && strings.Contains(out, "ERROR") {
			err = fmt.Errorf("mariadbd --bootstrap: %s", out)
		}
		return err
	},
	args: func(s *Server) []string {
		return append(s.mariadbBase(),
			"--port="+strconv.Itoa(s.Port), "--bind-address=127.0.0.1", "--socket="+filepath.Join(s.dir, "socket"), "--pid-file="+filepath.Join(s.dir, "pid"), "--skip-name-resolve",
			"--ssl-cert="+filepath.Join(s.dir, "server.pem"), "--ssl-key="+filepath.Join(s.dir, "server.key"), "--ssl-ca="+s.CA,
			"--server-id=1", "--log-bin=binlog", "--binlog-format=ROW", "--binlog-row-image=FULL", "--gtid-strict-mode=ON", "--gtid-domain-id=0", "--max-binlog-size=64M", "--sync-binlog=0",
			"--character-set-server=utf8mb4", "--collation-server=utf8mb4_general_ci", "--max-allowed-packet=64M", "--max-connections=60",
		)
	},
	stop: syscall.SIGTERM,
	open: func(s *Server, database string) (*sql.DB, error) {
		pem, err := os.ReadFile(s.CA)
		if err != nil {
			return nil, err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		c := mysql.NewConfig()
		c.Net, c.Addr, c.User, c.Passwd, c.DBName = "tcp", s.Addr(), s.User, s.Password, database
		c.TLS = &tls.Config{RootCAs: roots, ServerName: s.Host, MinVersion: tls.VersionTLS12}
		c.MultiStatements, c.InterpolateParams, c.MaxAllowedPacket = true, true, 0
		c.Logger = &mysql.NopLogger{} // a server that is not up yet is no news
		connector, err := mysql.NewConnector(c)
		if err != nil {
			return nil, err
		}
		db := sql.OpenDB(connector)
		db.SetConnMaxIdleTime(time.Minute)
		return db, nil
	},
	quote: func(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" },
	drop:  func(name string) string { return "DROP DATABASE IF EXISTS `" + name + "`" },
}

// mariadbBase is what the server is told whether it makes its data or serves them.
func (s *Server) mariadbBase() []string {
	return []string{
		"--no-defaults", "--basedir=" + filepath.Join(s.in.root, "usr"), "--lc-messages-dir=" + filepath.Join(s.in.root, "usr/share/mysql"), "--character-sets-dir=" + filepath.Join(s.in.root, "usr/share/mysql/charsets"),
		"--plugin-dir=" + filepath.Join(s.in.root, "usr/lib/mysql/plugin"), "--datadir=" + filepath.Join(s.dir, "data"), "--tmpdir=" + s.dir,
		"--innodb-buffer-pool-size=32M", "--innodb-log-file-size=32M", "--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync", "--innodb-doublewrite=0",
		"--key-buffer-size=1M", "--aria-pagecache-buffer-size=8M", "--performance-schema=OFF",
	}
}
