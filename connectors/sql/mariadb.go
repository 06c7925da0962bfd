package sql

import (
	"cmp"
	"context"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/go-sql-driver/mysql"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/internal/fault"
)

// MariaDBConfig says where a MariaDB or MySQL server is and how to log in (`config:`).
type MariaDBConfig struct {
	ServerConfig `yaml:",inline"`
	ZeroDates    string `yaml:"zero_dates,omitempty" json:"zero_dates,omitempty" enum:"reject,null" desc:"What becomes of the date 0000-00-00, which is none: reject puts the row into the quarantine, null makes the value null. Dates of which only the month or the day is 0 are always rejected. Defaults to reject."`
}

// MariaDB describes the connector for MariaDB.
func MariaDB() connectors.Definition {
	return mariadbDefinition(about{name: "mariadb", title: "MariaDB: tables, views and queries; whole, by watermark or by changes", tested: []string{"MariaDB 10.11.19 (Debian 12)"}, follows: true})
}

// MySQL describes the connector for MySQL. It is the code of MariaDB's: where the two differ, the server is asked which it is.
func MySQL() connectors.Definition {
	return mariadbDefinition(about{name: "mysql", title: "MySQL: as mariadb, by the same code, which was not tried on a MySQL server; not by changes"})
}

func mariadbDefinition(a about) connectors.Definition {
	return define(a, func(env connectors.Environment, c *MariaDBConfig) (dialect, Limits, error) {
		s, err := newServer(env, &c.ServerConfig, 3306)
		return &mariadbDialect{server: s, called: a.name, zeroIsNull: c.ZeroDates == "null"}, c.Limits, err
	})
}

func (c *MariaDBConfig) check() []connectors.OptionFault {
	faults := c.ServerConfig.check()
	if c.ZeroDates != "" && c.ZeroDates != "reject" && c.ZeroDates != "null" {
		faults = append(faults, connectors.OptionFault{Path: []string{"zero_dates"}, Message: fmt.Sprintf("%q is not known", c.ZeroDates), Fix: "use reject or null"})
	}
	return faults
}

// mariadbDialect reads MariaDB and MySQL in their text protocol: a value is a piece of the packet and goes into Arrow from there.
type mariadbDialect struct {
	server     server
	called     string
	zeroIsNull bool
}

func (d *mariadbDialect) name() string { return d.called }
func (d *mariadbDialect) quote(name string) string {
	return "`" + strings.ReplaceAll(name, "`", "``") + "`"
}

// placeholder is a character that no statement holds: values are written in its place by query. The driver cannot do that, because
// it knows no decimals, and a decimal that is compared with a text is compared as a float.
func (d *mariadbDialect) placeholder(int, byte) string { return "\x00" }
func (d *mariadbDialect) argument(v value) any         { return v }

// rowValues is false: neither server uses an index for (a, b) > (1, 2).
func (d *mariadbDialect) rowValues() bool { return false }

// order is by the beginning of the first column and then by a checksum of all: rows that have the same are the same.
func (d *mariadbDialect) order(fields []field) string {
	return "LEFT(CAST(" + d.quote(fields[0].name) + " AS BINARY), 64), " + d.rowHash(fields)
}

// rowHash is an expression that tells rows apart; form has it, column by column, for who has read the row. Each value is taken as bytes, because texts of different character sets cannot
// be put together, and what may be long by its checksum, because a text longer than max_allowed_packet would be null.
func (d *mariadbDialect) rowHash(fields []field) string {
	parts := make([]string, len(fields))
	for i, f := range fields {
		name := cmp.Or(selectedByMariaDB(d.quote(f.name), f), d.quote(f.name))
		if strings.HasSuffix(f.declared, "text") || strings.HasSuffix(f.declared, "blob") || f.declared == "json" || f.declared == "" {
			parts[i] = "IFNULL(MD5(" + name + "), '-')"
			if strings.HasSuffix(f.declared, "text") || strings.HasSuffix(f.declared, "blob") {
				parts[i] = "IF(LENGTH(" + name + ") < 4096, QUOTE(CAST(" + name + " AS BINARY)), " + parts[i] + ")" // a sum of a few bytes costs more than they do
			}
			continue
		}
		switch f.kind {
		case kindInt, kindUint, kindDecimal, kindFloat, kindTime:
			if f.base() != "bit" {
				parts[i] = "IFNULL(" + name + ", '-')" // nothing to quote in it
				continue
			}
		}
		parts[i] = "QUOTE(CAST(" + name + " AS BINARY))" // null gives NULL without quotes
	}
	return "MD5(CONCAT(" + strings.Join(parts, ", ',', ") + "))"
}

// selectedByMariaDB: the text protocol has six digits of a float; as a double it has all.
func selectedByMariaDB(quoted string, f field) string {
	if strings.HasPrefix(f.declared, "float") {
		return "(" + quoted + " * 1e0)"
	}
	return ""
}

type mariadbSession struct {
	d       *mariadbDialect
	wire    *wire
	mariadb bool                     // else MySQL
	known   map[string]mariadbColumn // the table's columns by name, by the catalogue
}

func (d *mariadbDialect) connect(ctx context.Context) (session, error) {
	w, err := d.dialWire(ctx)
	if err != nil {
		return nil, err
	}
	s := &mariadbSession{d: d, wire: w}
	if err := s.prepare(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// prepare sets everything that reading depends on, whatever the server's settings are.
func (s *mariadbSession) prepare(ctx context.Context) error {
	seconds := int(s.d.server.statementTimeout.Seconds())
	for _, statement := range []string{
		"SET NAMES utf8mb4",
		"SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
		// Times come in UTC and are compared there. Without modes, dates of zeros can be compared, and nothing that people write in a
		// query means something else than on another server. The server must not give up a pipeline that waits for its other end.
		fmt.Sprintf("SET SESSION time_zone = '+00:00', sql_mode = '', lock_wait_timeout = 10, net_write_timeout = %d, wait_timeout = 28800", max(3600, seconds)),
	} {
		if err := s.exec(ctx, statement); err != nil {
			return err
		}
	}
	r, err := s.query(ctx, "SELECT CONVERT(VERSION() USING utf8mb4)", nil)
	if err != nil {
		return err
	}
	for r.next() {
		v, _ := r.value(0)
		s.mariadb = strings.Contains(v.Text, "MariaDB")
	}
	if err := r.close(); err != nil {
		return err
	}
	if s.mariadb {
		return s.exec(ctx, fmt.Sprintf("SET SESSION max_statement_time = %d", seconds))
	}
	return s.exec(ctx, fmt.Sprintf("SET SESSION max_execution_time = %d", s.d.server.statementTimeout.Milliseconds()))
}

func (s *mariadbSession) exec(ctx context.Context, text string) error { return s.wire.exec(ctx, text) }

func (s *mariadbSession) begin(ctx context.Context) error {
	return s.exec(ctx, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
}

func (s *mariadbSession) commit(ctx context.Context) error { return s.exec(ctx, "COMMIT") }

func (s *mariadbSession) close() { s.wire.close() }

func (s *mariadbSession) query(ctx context.Context, text string, args []any) (rows, error) {
	written, err := s.d.written(text, args)
	if err != nil {
		return nil, err
	}
	over := s.wire.until(ctx)
	described, err := s.wire.query(written)
	if err != nil {
		over()
		return nil, err
	}
	r := &mariadbRows{s: s, over: over, values: make([][]byte, len(described))}
	for _, d := range described {
		column, ok := s.known[d.name]
		if !ok {
			column = s.described(d)
		}
		column.name = d.name
		r.columns = append(r.columns, column)
		r.list = append(r.list, column.field)
	}
	return r, nil
}

// written puts the values into a statement.
func (d *mariadbDialect) written(text string, args []any) (string, error) {
	pieces := strings.Split(text, "\x00")
	if len(pieces) != len(args)+1 {
		return "", fault.Usage(fmt.Errorf("the statement has the character 0 in it"))
	}
	var b strings.Builder
	for i, piece := range pieces {
		b.WriteString(piece)
		if i == len(args) {
			break
		}
		l, err := literal(args[i].(value))
		if err != nil {
			return "", err
		}
		b.WriteString(l)
	}
	return b.String(), nil
}

var (
	wholeNumber = regexp.MustCompile(`^-?[0-9]+$`)
	number      = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)
	timeText    = regexp.MustCompile(`^[-0-9:. ]+$`)
)

// literal writes a value so that it is compared as what it is: a text by the collation of the column it stands beside, a decimal as
// a decimal. Texts are written in hexadecimal, so that nothing in them can end them.
func literal(v value) (string, error) {
	as := func(pattern *regexp.Regexp, what string) (string, error) {
		if !pattern.MatchString(v.Text) {
			return "", fault.Usage(fmt.Errorf("the value %q is not %s", v.Text, what))
		}
		return v.Text, nil
	}
	switch v.Kind {
	case kindInt, kindUint:
		return as(wholeNumber, "a whole number")
	case kindDecimal:
		return as(number, "a number")
	case kindFloat:
		text, err := as(number, "a number")
		if !strings.ContainsAny(text, "eE") {
			text += "e0" // else it is a decimal
		}
		return text, err
	case kindTime:
		text, err := as(timeText, "a date or time")
		return "'" + text + "'", err
	case kindBytes:
		return "X'" + hex.EncodeToString([]byte(v.Text)) + "'", nil
	case kindBool:
		if v.Text == "true" {
			return "1", nil
		}
		return "0", nil
	}
	return "_utf8mb4 X'" + hex.EncodeToString([]byte(v.Text)) + "'", nil
}

// described is a column of which the catalogue says nothing: one of a query's.
func (s *mariadbSession) described(w wireColumn) mariadbColumn {
	base, unsigned := w.declared()
	declared := base
	if unsigned {
		declared += " unsigned"
	}
	precision, scale := int64(0), int64(0)
	if base == "decimal" {
		precision, scale = w.digits()
	}
	c := s.d.column(base, declared, precision, scale)
	if base == "decimal" {
		c.declared = fmt.Sprintf("decimal(%d,%d)", precision, scale)
	}
	return c
}

const mariadbCatalogue = "SELECT COLUMN_NAME, DATA_TYPE, CONVERT(COLUMN_TYPE USING utf8mb4), NUMERIC_PRECISION, NUMERIC_SCALE, CHARACTER_SET_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s ORDER BY ORDINAL_POSITION"

// learn asks the catalogue for the table's columns: what comes with a result leaves out whether a decimal has a sign.
func (s *mariadbSession) learn(ctx context.Context, table string) error {
	s.known = nil
	schema, name := s.named(table)
	list, err := s.texts(ctx, fmt.Sprintf(mariadbCatalogue, schema, name))
	if err != nil {
		return err
	}
	known := map[string]mariadbColumn{}
	for _, row := range list {
		var size [2]int64
		for i, text := range row[3:5] {
			if text == "" {
				continue
			}
			if size[i], err = strconv.ParseInt(text, 10, 64); err != nil {
				return fmt.Errorf("the catalogue's %s of the column %s: %w", []string{"precision", "scale"}[i], row[0], err)
			}
		}
		c := s.d.column(strings.ToLower(row[1]), strings.ToLower(row[2]), size[0], size[1])
		c.charset = strings.ToLower(row[5])
		known[row[0]] = c
	}
	s.known = known
	return nil
}

// named returns expressions of a table's schema and name.
func (s *mariadbSession) named(table string) (schema, name string) {
	text := func(t string) string { return "_utf8mb4 X'" + hex.EncodeToString([]byte(t)) + "'" }
	if schema, name, ok := strings.Cut(table, "."); ok {
		return text(schema), text(name)
	}
	return "DATABASE()", text(table)
}

// texts reads a small result that is none of the table's; null is the empty text.
func (s *mariadbSession) texts(ctx context.Context, statement string) ([][]string, error) {
	// Columns of the catalogue's may have the names of the table's.
	known := s.known
	s.known = nil
	defer func() { s.known = known }()
	r, err := s.query(ctx, statement, nil)
	if err != nil {
		return nil, err
	}
	return textsOf(r)
}

// textsOf reads a small result to its end; null is the empty text.
func textsOf(r rows) (out [][]string, err error) {
	for r.next() {
		row := make([]string, len(r.fields()))
		for i := range row {
			v, _ := r.value(i)
			row[i] = v.Text
		}
		out = append(out, row)
	}
	return out, r.close()
}

// keys are unique indexes over whole columns that are never null.
func (s *mariadbSession) keys(ctx context.Context, table string) ([][]string, error) {
	schema, name := s.named(table)
	list, err := s.texts(ctx, "SELECT INDEX_NAME, COLUMN_NAME, IF(SUB_PART IS NULL AND NULLABLE = '' AND COLUMN_NAME IS NOT NULL, 'yes', 'no') FROM information_schema.STATISTICS WHERE NON_UNIQUE = 0 AND TABLE_SCHEMA = "+schema+" AND TABLE_NAME = "+name+" ORDER BY INDEX_NAME <> 'PRIMARY', INDEX_NAME, SEQ_IN_INDEX")
	if err != nil {
		return nil, err
	}
	var keys [][]string
	var usable []bool
	index := ""
	for _, row := range list {
		if row[0] != index || len(keys) == 0 {
			index = row[0]
			keys, usable = append(keys, nil), append(usable, true)
		}
		last := len(keys) - 1
		keys[last] = append(keys[last], row[1])
		usable[last] = usable[last] && row[2] == "yes"
	}
	var out [][]string
	for i, key := range keys {
		if usable[i] {
			out = append(out, key)
		}
	}
	rest := out
	if len(out) > 0 && usable[0] && list[0][0] == "PRIMARY" {
		rest = out[1:]
	}
	slices.SortStableFunc(rest, func(a, b []string) int { return len(a) - len(b) })
	return out, nil
}

// position: rows of InnoDB have none that could be asked for.
func (s *mariadbSession) position(context.Context, string) (*position, error) { return nil, nil }

func (s *mariadbSession) selected(f field) (expression, alias string) {
	return selectedByMariaDB(s.d.quote(f.name), f), f.name
}

func (s *mariadbSession) checksum(fields []field) string {
	row, _ := s.rowSum(fields)
	return "COALESCE(SUM(CAST(CONV(" + row + ", 16, 10) AS UNSIGNED)), 0)"
}

func (s *mariadbSession) rowSum(fields []field) (expression string, base int) {
	return "LEFT(" + s.d.rowHash(fields) + ", 16)", 16
}

func (s *mariadbSession) now(f field) string {
	// A time without a zone is in nobody knows which: the latest place on Earth has it first.
	switch f.base() {
	case "timestamp":
		return "NOW(6)"
	case "datetime":
		return "(NOW(6) + INTERVAL 14 HOUR)"
	case "date":
		return "DATE(NOW(6) + INTERVAL 14 HOUR)"
	}
	return ""
}

// base is the declared type without its sizes.
func (f field) base() string {
	name, _, _ := strings.Cut(f.declared, "(")
	name, _, _ = strings.Cut(name, " ")
	return name
}

// fail says what an error of MariaDB or MySQL means.
func (d *mariadbDialect) fail(err error) error {
	if fault.KindOf(err) == fault.KindUsage || fault.KindOf(err) == fault.KindEnvironment {
		return err
	}
	var answered *mysql.MySQLError
	if !errors.As(err, &answered) {
		switch {
		case untrusted(err):
			return d.server.failed(err, fault.Environment, "give the certificate of the authority that signed the server's under config.tls.ca")
		case errors.Is(err, mysql.ErrNoTLS):
			return d.server.failed(err, fault.Environment, "let the server be given a certificate, or leave config.tls out")
		case errors.Is(err, mysql.ErrCleartextPassword), errors.Is(err, mysql.ErrNativePassword), errors.Is(err, mysql.ErrOldPassword), errors.Is(err, mysql.ErrUnknownPlugin), errors.Is(err, mysql.ErrOldProtocol):
			return d.server.failed(err, fault.Environment, fmt.Sprintf("give the user %q a password of the usual kind (mysql_native_password, ed25519 or caching_sha2_password)", d.server.user))
		case lost(err), errors.Is(err, mysql.ErrInvalidConn), errors.Is(err, driver.ErrBadConn):
			return d.server.failed(err, fault.Transient, "")
		}
		return err
	}
	switch answered.Number {
	case 1045, 1130, 1251, 1275, 1524, 1698, 1820, 1862, 3118, 4151:
		return d.server.failed(err, fault.Environment, "see to user and password")
	case 1049:
		return d.server.failed(err, fault.Environment, "see to config.database")
	case 1044, 1142, 1143, 1227, 1370:
		return d.server.failed(err, fault.Environment, fmt.Sprintf("let an administrator run GRANT SELECT ON the table TO '%s'@the host", d.server.user))
	case 1205, 1213, 1412, // a lock that is held, a deadlock, a table that was changed since the transaction began
		1969, 3024, // a statement timeout
		1040, 1203, 1226, 1129, // too many connections or failed ones
		1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1184, 1317, 1927, 4031, // the server or the connection ends
		1021, 1028, 1037, 1041, 1135: // no disk, memory or thread left
		return d.server.failed(err, fault.Transient, "")
	}
	return d.server.failed(err, fault.Permanent, "")
}

// mariadbRows is a result in the text protocol.
type mariadbRows struct {
	s       *mariadbSession
	over    func() // the context has nothing to end any more
	columns []mariadbColumn
	list    []field
	values  [][]byte // nil for null
	ended   bool
	err     error
	forms   []sumForm // once a row was summed
	summed  []byte    // what the checksum of the row is one of
}

func (r *mariadbRows) fields() []field { return r.list }

func (r *mariadbRows) next() bool {
	if r.ended {
		return false
	}
	more, err := r.s.wire.next(r.values)
	if r.ended, r.err = !more, err; r.ended {
		r.over()
	}
	return more
}

func (r *mariadbRows) close() error {
	if !r.ended {
		// The rest of a large result would have to be read: the connection is closed instead, which ends it.
		r.ended = true
		r.over()
		r.s.close()
	}
	return r.err
}

func (r *mariadbRows) put(i int, to array.Builder) error {
	if r.values[i] == nil {
		to.AppendNull()
		return nil
	}
	return r.columns[i].putText(r.values[i], to)
}

func (r *mariadbRows) value(i int) (value, bool) {
	if r.values[i] == nil {
		return value{}, false
	}
	return value{r.columns[i].kind, r.columns[i].textOf(r.values[i])}, true
}

func (r *mariadbRows) size(i int) int { return len(r.values[i]) }
