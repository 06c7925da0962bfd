package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// serverOrder says which server is read, and where what was read goes.
type serverOrder struct {
	Kind               string
	Host               string
	Port               int
	User, Password, CA string
	Database           string
	Brokers            []string // none: the embedded one
	PID                int      // of the server
	Unchanged          string   // the stream's option
	Rate               int      // changes a second
}

// The table is like one of a hotline's: twelve columns of the types that departments use, with a key.
const (
	postgresTable = `id bigint PRIMARY KEY, case_no varchar(20) NOT NULL, region char(6) NOT NULL, category varchar(20) NOT NULL, title text NOT NULL, status smallint NOT NULL, amount numeric(14,2),
		longitude double precision, latitude double precision, urgent boolean NOT NULL, day date NOT NULL, opened_at timestamptz NOT NULL`
	mariadbTable = `id bigint PRIMARY KEY, case_no varchar(20) NOT NULL, region char(6) NOT NULL, category varchar(20) NOT NULL, title text NOT NULL, status smallint NOT NULL, amount decimal(14,2),
		longitude double, latitude double, urgent boolean NOT NULL, day date NOT NULL, opened_at datetime(6) NOT NULL`
	// What stands in a row is computed from its key, which is called n.
	postgresRow = `n, 'ZJ2021' || lpad(n::text, 10, '0'), (330100 + n % 90)::text, (ARRAY['民生保障','食品安全','交通出行','环境保护','市场监管'])[1 + n % 5], '关于第' || n || '号市场摊位收费问题的反映', (n % 4)::smallint,
		CASE WHEN n % 7 > 0 THEN (n * 37 % 9999999)::numeric / 100 END, 118 + (n % 50000) / 10000.0, 27 + (n % 40000) / 10000.0, n % 11 = 0, date '2021-01-01' + (n % 365)::int, timestamptz '2021-01-01 00:00:00+08' + n * interval '6.000001 s'`
	mariadbRow = `n, CONCAT('ZJ2021', LPAD(n, 10, '0')), 330100 + n % 90, ELT(1 + n % 5, '民生保障', '食品安全', '交通出行', '环境保护', '市场监管'), CONCAT('关于第', n, '号市场摊位收费问题的反映'), n % 4,
		IF(n % 7 > 0, (n * 37 % 9999999) / 100, NULL), 118 + (n % 50000) / 10000, 27 + (n % 40000) / 10000, n % 11 = 0, DATE '2021-01-01' + INTERVAL n % 365 DAY, TIMESTAMP '2021-01-01 00:00:00' + INTERVAL n * 6000001 MICROSECOND`
)

// open connects to a database of the server's as database/sql does.
func (s serverOrder) open(database string) (*sql.DB, error) {
	if s.Kind == "postgres" {
		c, err := s.postgres(database)
		if err != nil {
			return nil, err
		}
		return stdlib.OpenDB(*c), nil
	}
	c, err := s.mariadb(database)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(c), nil
}

func (s serverOrder) postgres(database string) (*pgx.ConnConfig, error) {
	c, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%d user=%s dbname=%s sslmode=verify-full sslrootcert=%s", s.Host, s.Port, s.User, database, s.CA))
	if err != nil {
		return nil, err
	}
	c.Password = s.Password
	return c, nil
}

func (s serverOrder) mariadb(database string) (driver.Connector, error) {
	pem, err := os.ReadFile(s.CA)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	c := mysql.NewConfig()
	c.Net, c.Addr, c.User, c.Passwd, c.DBName = "tcp", net.JoinHostPort(s.Host, strconv.Itoa(s.Port)), s.User, s.Password, database
	c.TLS = &tls.Config{RootCAs: roots, ServerName: s.Host, MinVersion: tls.VersionTLS12}
	return mysql.NewConnector(c)
}

// do runs statements on one connection.
func (s serverOrder) do(ctx context.Context, database string, statements ...string) (err error) {
	db, err := s.open(database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	for _, statement := range statements {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%.80s: %w", statement, err)
		}
	}
	return nil
}

// fill makes the database with its table.
func fill(ctx context.Context, s serverOrder, rows int) error {
	if s.Kind == "postgres" {
		if err := s.do(ctx, "postgres", "CREATE DATABASE "+s.Database); err != nil {
			return err
		}
		return s.do(ctx, s.Database, "CREATE TABLE cases ("+postgresTable+")", fmt.Sprintf("INSERT INTO cases SELECT %s FROM generate_series(1, %d) n", postgresRow, rows), "VACUUM ANALYZE cases")
	}
	statements := []string{"CREATE DATABASE " + s.Database, "USE " + s.Database, "CREATE TABLE cases (" + mariadbTable + ") CHARACTER SET utf8mb4", "SET SESSION sql_log_bin = 0"}
	const step = 500_000 // one transaction of all rows would need undo log for all
	for from := 1; from <= rows; from += step {
		to := min(rows, from+step-1)
		statements = append(statements, fmt.Sprintf("INSERT INTO cases SELECT %s FROM (SELECT seq AS n FROM seq_%d_to_%d) t", mariadbRow, from, to))
	}
	return s.do(ctx, "", append(statements, "ANALYZE TABLE cases")...)
}

// counter counts what is thrown away.
type counter struct{ bytes int64 }

func (c *counter) Write(b []byte) (int, error) {
	c.bytes += int64(len(b))
	return len(b), nil
}

// copyOut lets PostgreSQL copy the table out in its own format.
func copyOut(ctx context.Context, o order) (m measurement, err error) {
	c, err := o.Server.postgres(o.Server.Database)
	if err != nil {
		return m, err
	}
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	return timed(o, func() (int64, error) {
		sink := &counter{}
		tag, err := conn.PgConn().CopyTo(ctx, sink, "COPY cases TO STDOUT")
		if err == nil && sink.bytes == 0 {
			err = io.ErrUnexpectedEOF
		}
		return tag.RowsAffected(), err
	})
}

// selectAll reads all rows in one statement and looks at none of them.
func selectAll(ctx context.Context, o order) (m measurement, err error) {
	if o.Server.Kind == "postgres" {
		c, err := o.Server.postgres(o.Server.Database)
		if err != nil {
			return m, err
		}
		conn, err := pgx.ConnectConfig(ctx, c)
		if err != nil {
			return m, err
		}
		defer func() { err = errors.Join(err, conn.Close(ctx)) }()
		return timed(o, func() (rows int64, err error) {
			result := conn.PgConn().ExecParams(ctx, "SELECT * FROM cases", nil, nil, nil, []int16{1})
			for result.NextRow() {
				rows++
			}
			_, err = result.Close()
			return rows, err
		})
	}
	connector, err := o.Server.mariadb(o.Server.Database)
	if err != nil {
		return m, err
	}
	conn, err := connector.Connect(ctx)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	queryer, ok := conn.(driver.QueryerContext)
	if !ok {
		return m, fmt.Errorf("the driver's %T takes no statements", conn)
	}
	return timed(o, func() (rows int64, err error) {
		result, err := queryer.QueryContext(ctx, "SELECT * FROM cases", nil)
		if err != nil {
			return 0, err
		}
		values := make([]driver.Value, len(result.Columns()))
		for {
			switch err := result.Next(values); {
			case errors.Is(err, io.EOF):
				return rows, result.Close()
			case err != nil:
				return rows, errors.Join(err, result.Close())
			}
			rows++
		}
	})
}

// timed measures this process while it does something, which returns how many rows came of it.
func timed(o order, do func() (int64, error)) (m measurement, err error) {
	before, err := usedByAll(o.Server.PID)
	if err != nil {
		return m, err
	}
	clock, err := startClock(os.Getpid())
	if err != nil {
		return m, err
	}
	stopProfile, err := startProfile(o.Profile)
	if err != nil {
		return m, err
	}
	if m.Rows, err = do(); err != nil {
		return m, errors.Join(err, stopProfile())
	}
	var spent []float64
	m.Seconds, spent, err = clock.read()
	if err := errors.Join(err, stopProfile()); err != nil {
		return m, err
	}
	m.CPU = spent[0]
	after, err := usedByAll(o.Server.PID)
	if err != nil {
		return m, err
	}
	m.ServerCPU = after - before
	m.PeakMB, err = peakMB()
	return m, err
}

// sourceText is the source's file. The password is in a file beside it.
func (s serverOrder) sourceText(read string) string {
	var fields []string
	for _, column := range []string{"case_id: case_no", "region: region", "category: category", "opened_at: opened_at"} {
		fields = append(fields, "        "+column+"\n")
	}
	return fmt.Sprintf(`source: bench
title: A table of cases
owner: bench
connector: %s
config:
  host: %s
  port: %d
  database: %s
  user: %s
  password: ${file:password}
  tls: { ca: %s }
streams:
  - name: cases
    read: { %s }
    keep: [id, title, status, amount, longitude, latitude, urgent, day]
    map:
      schema: hotline_case
      fields:
%s`, s.Kind, s.Host, s.Port, s.Database, s.User, s.CA, read, strings.Join(fields, ""))
}
