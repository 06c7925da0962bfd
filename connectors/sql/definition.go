package sql

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/internal/fault"
)

// Postgres describes the connector for PostgreSQL.
func Postgres() connectors.Definition {
	return define(about{name: "postgres", title: "PostgreSQL: tables, views and queries; whole, by watermark or by changes", tested: []string{"PostgreSQL 15.20 (Debian 12)"}, follows: true, slots: true},
		func(env connectors.Environment, c *ServerConfig) (dialect, Limits, error) {
			s, err := newServer(env, c, 5432)
			return &postgresDialect{s}, c.Limits, err
		})
}

func (c *ServerConfig) check() []connectors.OptionFault {
	faults := c.Limits.check()
	if c.Port < 0 || c.Port > 65535 {
		faults = append(faults, connectors.OptionFault{Path: []string{"port"}, Message: fmt.Sprintf("%d is no port", c.Port), Fix: "use 1 to 65535"})
	}
	if strings.ContainsAny(c.Host, "/@ ") {
		faults = append(faults, connectors.OptionFault{Path: []string{"host"}, Message: fmt.Sprintf("%q is not the name or address of a server", c.Host), Fix: "write the name alone; user, port and database have options of their own"})
	}
	return faults
}

// fail says what an error of PostgreSQL means.
func (d *postgresDialect) fail(err error) error {
	if fault.KindOf(err) == fault.KindUsage || fault.KindOf(err) == fault.KindEnvironment {
		return err
	}
	var answered *pgconn.PgError
	if !errors.As(err, &answered) {
		switch {
		case untrusted(err):
			return d.server.failed(err, fault.Environment, "give the certificate of the authority that signed the server's under config.tls.ca")
		case lost(err):
			return d.server.failed(err, fault.Transient, "")
		}
		return err
	}
	code := answered.Code
	switch {
	case strings.HasPrefix(code, "28"):
		return d.server.failed(err, fault.Environment, "see to user and password")
	case code == "3D000":
		return d.server.failed(err, fault.Environment, "see to config.database")
	case code == "42501":
		return d.server.failed(err, fault.Environment, fmt.Sprintf(`let the owner run GRANT SELECT ON the table TO "%s"`, d.server.user))
	case code == "57014", code == "55P03", // a statement timeout, a lock that is held
		strings.HasPrefix(code, "08"), strings.HasPrefix(code, "53"), strings.HasPrefix(code, "40"), strings.HasPrefix(code, "57P"), strings.HasPrefix(code, "58"), code == "25P03":
		return d.server.failed(err, fault.Transient, "")
	}
	return d.server.failed(err, fault.Permanent, "")
}
