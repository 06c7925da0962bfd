package sql

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"modernc.org/sqlite"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/internal/fault"
)

// SQLiteConfig names a database file (`config:`).
type SQLiteConfig struct {
	Path          string        `yaml:"path" json:"path" required:"true" desc:"The database file, relative to the project. It is opened for reading only, and is never made."`
	BusyTimeout   time.Duration `yaml:"busy_timeout,omitempty" json:"busy_timeout,omitempty" desc:"How long to wait for a program that is writing, before reading is tried again later. Defaults to 10s."`
	Connections   int           `yaml:"connections,omitempty" json:"connections,omitempty" desc:"Most connections at a time. Defaults to 2."`
	RowsPerSecond int           `yaml:"rows_per_second,omitempty" json:"rows_per_second,omitempty" desc:"Most rows read in a second, over all streams together. Defaults to no limit."`
	Hours         string        `yaml:"hours,omitempty" json:"hours,omitempty" desc:"Time of day in which the file may be read, such as 22:00-06:00. Reading stops at its end and goes on from there in the next one. Defaults to all day."`
	Zone          string        `yaml:"zone,omitempty" json:"zone,omitempty" desc:"Time zone of hours. Defaults to Asia/Shanghai."`
}

const defaultBusyTimeout = 10 * time.Second

func (c *SQLiteConfig) limits() Limits {
	return Limits{Connections: c.Connections, RowsPerSecond: c.RowsPerSecond, Hours: c.Hours, Zone: c.Zone}
}

func (c *SQLiteConfig) check() []connectors.OptionFault {
	l := c.limits()
	faults := l.check()
	if c.Path == "" || strings.Contains(c.Path, "\x00") {
		faults = append(faults, connectors.OptionFault{Path: []string{"path"}, Message: fmt.Sprintf("%q is not the name of a file", c.Path), Fix: "name the database file"})
	}
	if c.BusyTimeout < 0 {
		faults = append(faults, connectors.OptionFault{Path: []string{"busy_timeout"}, Message: "the time is negative", Fix: "write it as 10s"})
	}
	return faults
}

// SQLite describes the connector for SQLite files.
func SQLite() connectors.Definition {
	return define(about{name: "sqlite", title: "SQLite: tables, views and queries of a file; whole or by watermark", tested: []string{"files of SQLite by modernc.org/sqlite 1.62.0"}}, func(env connectors.Environment, c *SQLiteConfig) (dialect, Limits, error) {
		path := c.Path
		if !filepath.IsAbs(path) {
			path = filepath.Join(env.Dir, path)
		}
		return &sqliteDialect{path: path, shown: c.Path, busy: cmp.Or(c.BusyTimeout, defaultBusyTimeout)}, c.limits(), nil
	})
}

// sqliteDialect reads SQLite files. Any value can stand in any column there: what does not fit the declared type is rejected.
type sqliteDialect struct {
	path, shown string
	busy        time.Duration
}

func (d *sqliteDialect) name() string { return "sqlite" }
func (d *sqliteDialect) quote(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}
func (d *sqliteDialect) placeholder(int, byte) string { return "?" }
func (d *sqliteDialect) rowValues() bool              { return true }

// argument has the storage class that the value has in the file, because SQLite compares classes before values.
func (d *sqliteDialect) argument(v value) any {
	switch v.Kind {
	case kindInt, kindUint, kindBool, kindDecimal:
		if b, err := strconv.ParseBool(v.Text); err == nil && v.Kind == kindBool {
			if b {
				return int64(1)
			}
			return int64(0)
		}
		if n, err := strconv.ParseInt(v.Text, 10, 64); err == nil {
			return n
		}
		if f, err := strconv.ParseFloat(v.Text, 64); err == nil {
			return f
		}
	case kindFloat:
		if f, err := strconv.ParseFloat(v.Text, 64); err == nil {
			return f
		}
	case kindBytes:
		return []byte(v.Text)
	}
	return v.Text
}

func (d *sqliteDialect) order(fields []field) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = d.quote(f.name) + " COLLATE BINARY"
	}
	return strings.Join(names, ", ")
}

type sqliteConn interface {
	driver.Conn
	driver.QueryerContext
	driver.ExecerContext
}

type sqliteSession struct {
	d    *sqliteDialect
	conn sqliteConn
	// declared holds the columns of the table or query by name: a value that an expression gives has no declared type.
	declared map[string]string
}

func (d *sqliteDialect) connect(ctx context.Context) (session, error) {
	escaped := strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(filepath.ToSlash(d.path))
	// Without dqs=0 a misspelt column in quotes would be a text.
	c, err := sqlite.NewConnector(fmt.Sprintf("file:%s?mode=ro&_dqs=0&_pragma=busy_timeout(%d)&_pragma=query_only(1)", escaped, d.busy.Milliseconds()))
	if err != nil {
		return nil, fmt.Errorf("prepare opening %s: %w", d.shown, err)
	}
	conn, err := c.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &sqliteSession{d: d, conn: conn.(sqliteConn), declared: map[string]string{}}, nil
}

func (s *sqliteSession) close() { _ = s.conn.Close() } // nothing was written

func (s *sqliteSession) begin(ctx context.Context) error {
	_, err := s.conn.ExecContext(ctx, "BEGIN", nil)
	return err
}

func (s *sqliteSession) query(ctx context.Context, text string, args []any) (rows, error) {
	named := make([]driver.NamedValue, len(args))
	for i, a := range args {
		named[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
	}
	result, err := s.conn.QueryContext(ctx, text, named)
	if err != nil {
		return nil, err
	}
	types, ok := result.(driver.RowsColumnTypeDatabaseTypeName)
	if !ok {
		return nil, errors.Join(fmt.Errorf("the driver's %T does not know types", result), result.Close())
	}
	r := &sqliteRows{result: result, values: make([]driver.Value, len(result.Columns()))}
	for i, name := range result.Columns() {
		declared := types.ColumnTypeDatabaseTypeName(i)
		bare, ok := strings.CutPrefix(name, plainMark)
		switch {
		case ok && s.declared[bare] != "":
			name, declared = bare, s.declared[bare]
		case declared != "":
			s.declared[name] = declared
		}
		column := sqliteColumnOf(declared)
		column.name = name
		r.columns = append(r.columns, column)
		r.list = append(r.list, column.field)
	}
	return r, nil
}

// plainMark begins the alias of a column that is read as an expression. The alias must not be the column's name, or the order would be
// by the expression, which no index has.
const plainMark = "+"

// selected: the driver makes a time of a text in a column of these types, as far as it can. The value of an expression it leaves alone.
func (s *sqliteSession) selected(f field) (expression, alias string) {
	switch f.declared {
	case "DATE", "DATETIME", "TIMESTAMP":
		return "+" + s.d.quote(f.name), plainMark + f.name
	}
	return "", ""
}

// checksum: SQLite has no function that could be summed up; the rows are read for it.
func (s *sqliteSession) checksum([]field) string { return "" }

func (s *sqliteSession) rowSum([]field) (string, int) { return "", 0 }

// now is the end of tomorrow in UTC, because times have no zone, and are written with a blank or a T before the time of day.
func (s *sqliteSession) now(f field) string {
	switch f.declared {
	case "DATE", "DATETIME", "TIMESTAMP":
		return "(strftime('%Y-%m-%d', 'now', '+1 day') || 'U')"
	}
	return ""
}

// split returns a table's schema and name.
func (s *sqliteSession) split(table string) (schema, name string) {
	if schema, name, ok := strings.Cut(table, "."); ok {
		return schema, name
	}
	return "main", table
}

// texts reads a small result; null is the empty text.
func (s *sqliteSession) texts(ctx context.Context, statement string, args ...any) ([][]string, error) {
	r, err := (&sqliteSession{d: s.d, conn: s.conn, declared: map[string]string{}}).query(ctx, statement, args)
	if err != nil {
		return nil, err
	}
	return textsOf(r)
}

// ordinary reports whether a table is one with rowids, or one without.
func (s *sqliteSession) ordinary(ctx context.Context, table string) (rowids, without bool, err error) {
	schema, name := s.split(table)
	list, err := s.texts(ctx, `SELECT wr FROM pragma_table_list WHERE schema = ? AND name = ? COLLATE NOCASE AND type = 'table'`, schema, name)
	if err != nil || len(list) != 1 {
		return false, false, err
	}
	return list[0][0] == "0", list[0][0] == "1", nil
}

// keys are unique indexes over columns that are never null and that are compared in the index as they are in statements. A primary
// key may hold nulls in SQLite when nothing says otherwise.
func (s *sqliteSession) keys(ctx context.Context, table string) ([][]string, error) {
	rowids, without, err := s.ordinary(ctx, table)
	if err != nil || !rowids && !without {
		return nil, err
	}
	schema, name := s.split(table)
	columns, err := s.texts(ctx, `SELECT name, type, "notnull", pk FROM pragma_table_xinfo(?, ?)`, name, schema)
	if err != nil {
		return nil, err
	}
	indexes, err := s.texts(ctx, `SELECT name, origin FROM pragma_index_list(?, ?) WHERE "unique" AND NOT partial ORDER BY origin <> 'pk', seq`, name, schema)
	if err != nil {
		return nil, err
	}
	collations := map[string]string{}
	never := map[string]bool{} // null
	var primary []string
	for _, c := range columns {
		never[c[0]] = c[2] == "1" || without && c[3] != "0"
		if c[3] != "0" {
			primary = append(primary, c[0])
			if strings.EqualFold(c[1], "integer") {
				continue
			}
		}
	}
	var out [][]string
	if rowids && len(primary) == 1 && !slices.ContainsFunc(indexes, func(i []string) bool { return i[1] == "pk" }) {
		out = append(out, primary) // the rowid by another name
	}
	for _, index := range indexes {
		parts, err := s.texts(ctx, `SELECT name, coll FROM pragma_index_xinfo(?, ?) WHERE key ORDER BY seqno`, index[0], schema)
		if err != nil {
			return nil, err
		}
		var key []string
		usable := true
		for _, p := range parts {
			if !never[p[0]] { // an expression has no name
				usable = false
				break
			}
			if collations[p[0]] == "" {
				if collations[p[0]], err = s.collation(ctx, schema, name, p[0]); err != nil {
					return nil, err
				}
			}
			usable = usable && collations[p[0]] == strings.ToUpper(p[1])
			key = append(key, p[0])
		}
		if usable && len(key) > 0 {
			out = append(out, key)
		}
	}
	return out, nil
}

// collation finds how a column is compared, which the catalogue does not tell: a text beside it is compared in the same way.
func (s *sqliteSession) collation(ctx context.Context, schema, table, column string) (string, error) {
	c := s.d.quote(column)
	probe := "SELECT " + c + " = 'a' FROM (SELECT " + c + " FROM " + s.d.quote(schema) + "." + s.d.quote(table) + " WHERE 0 UNION ALL SELECT "
	for _, known := range []struct{ text, name string }{{"'A'", "NOCASE"}, {"'a '", "RTRIM"}} {
		got, err := s.texts(ctx, probe+known.text+")")
		if err != nil {
			return "", err
		}
		if len(got) == 1 && got[0][0] == "1" {
			return known.name, nil
		}
	}
	return "BINARY", nil
}

// position is the rowid, unless a column has taken its name.
func (s *sqliteSession) position(ctx context.Context, table string) (*position, error) {
	rowids, _, err := s.ordinary(ctx, table)
	if err != nil || !rowids {
		return nil, err
	}
	schema, name := s.split(table)
	taken, err := s.texts(ctx, `SELECT name FROM pragma_table_xinfo(?, ?) WHERE name = 'rowid' COLLATE NOCASE`, name, schema)
	if err != nil || len(taken) > 0 {
		return nil, err
	}
	return &position{column: "rowid"}, nil
}

// fail says what an error of SQLite means. The numbers are SQLite's result codes.
func (d *sqliteDialect) fail(err error) error {
	if fault.KindOf(err) == fault.KindUsage || fault.KindOf(err) == fault.KindEnvironment {
		return err
	}
	var answered *sqlite.Error
	if !errors.As(err, &answered) {
		return err
	}
	marked := func(mark func(error) error, advice string) error {
		return mark(&serverError{d.shown + ": " + err.Error() + advice, err})
	}
	switch answered.Code() & 0xff {
	case 5, 6, 15, 17, // somebody is writing, or has changed the tables
		7, 10, 13: // memory, the disk
		return marked(fault.Transient, "")
	case 14:
		return marked(fault.Environment, ": see to config.path and to the right to read the file; a database in WAL mode needs its -wal and -shm files beside it")
	case 3, 8, 23:
		return marked(fault.Environment, ": see to the right to read the file; one that was not closed in order must be opened once by a program that may write")
	}
	return marked(fault.Permanent, "")
}

// sqliteRows is a result; each value comes in its storage class: int64, float64, string, []byte or nil.
type sqliteRows struct {
	result  driver.Rows
	columns []sqliteColumn
	list    []field
	values  []driver.Value
	err     error
}

func (r *sqliteRows) fields() []field { return r.list }

func (r *sqliteRows) next() bool {
	if r.err != nil {
		return false
	}
	if r.err = r.result.Next(r.values); r.err != nil {
		return false
	}
	for i, v := range r.values {
		// The driver has taken it for a time, in a query that does not go through selected.
		if t, ok := v.(time.Time); ok {
			r.values[i] = t.Format("2006-01-02 15:04:05.999999999Z07:00")
		}
	}
	return true
}

func (r *sqliteRows) close() error {
	closed := r.result.Close()
	if r.err != nil && !errors.Is(r.err, io.EOF) {
		return r.err
	}
	return closed
}

func (r *sqliteRows) size(i int) int {
	switch v := r.values[i].(type) {
	case nil:
		return 0
	case string:
		return len(v)
	case []byte:
		return len(v)
	}
	return 8
}

func (r *sqliteRows) value(i int) (value, bool) {
	switch v := r.values[i].(type) {
	case nil:
		return value{}, false
	case int64:
		return value{kindInt, strconv.FormatInt(v, 10)}, true
	case float64:
		return value{kindFloat, strconv.FormatFloat(v, 'g', -1, 64)}, true
	case []byte:
		return value{kindBytes, string(v)}, true
	default:
		return value{kindText, fmt.Sprint(v)}, true
	}
}

func (r *sqliteRows) put(i int, to array.Builder) error {
	if r.values[i] == nil {
		to.AppendNull()
		return nil
	}
	return r.columns[i].put(r.values[i], to)
}

// sqliteColumn is how a column's values are read.
type sqliteColumn struct {
	field
	put func(v driver.Value, to array.Builder) error
}

// sqliteColumnOf follows SQLite's rules of affinity, but for types that say more than those know.
func sqliteColumnOf(declared string) sqliteColumn {
	declared = strings.ToUpper(strings.TrimSpace(declared))
	is := func(typ arrow.DataType, kind byte, put func(driver.Value, array.Builder) error) sqliteColumn {
		// Without a declared type a text and a number are not converted to each other, so that a value's kind decides.
		return sqliteColumn{field{declared: declared, typ: typ, kind: kind, ordered: declared != ""}, put}
	}
	has := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(declared, w) })
	}
	base, size, _ := strings.Cut(declared, "(")
	base = strings.TrimSpace(base)
	switch {
	case base == "BOOLEAN" || base == "BOOL":
		return is(arrow.FixedWidthTypes.Boolean, kindInt, func(v driver.Value, to array.Builder) error {
			if n, ok := v.(int64); ok && (n == 0 || n == 1) {
				to.(*array.BooleanBuilder).Append(n == 1)
				return nil
			}
			return misfit(v, declared)
		})
	case has("INT"):
		return is(arrow.PrimitiveTypes.Int64, kindInt, func(v driver.Value, to array.Builder) error {
			if n, ok := v.(int64); ok {
				to.(*array.Int64Builder).Append(n)
				return nil
			}
			return misfit(v, declared)
		})
	case has("CHAR", "CLOB", "TEXT"):
		return is(arrow.BinaryTypes.String, kindText, func(v driver.Value, to array.Builder) error {
			if text, ok := v.(string); ok {
				return putSQLiteText(text, to)
			}
			return misfit(v, declared)
		})
	case has("BLOB"):
		return is(arrow.BinaryTypes.Binary, kindBytes, func(v driver.Value, to array.Builder) error {
			if b, ok := v.([]byte); ok {
				if b == nil {
					b = []byte{} // the driver's empty one; nil would be null
				}
				to.(*array.BinaryBuilder).Append(b)
				return nil
			}
			return misfit(v, declared)
		})
	case has("REAL", "FLOA", "DOUB"):
		return is(arrow.PrimitiveTypes.Float64, kindFloat, func(v driver.Value, to array.Builder) error {
			if f, ok := v.(float64); ok {
				to.(*array.Float64Builder).Append(f)
				return nil
			}
			return misfit(v, declared)
		})
	case base == "DECIMAL" || base == "NUMERIC":
		first, second, _ := strings.Cut(strings.TrimSuffix(strings.TrimSpace(size), ")"), ",")
		precision, errP := strconv.Atoi(strings.TrimSpace(first))
		scale, errS := strconv.Atoi(cmp.Or(strings.TrimSpace(second), "0"))
		if errP == nil && errS == nil && precision >= 1 && precision <= 76 && scale >= 0 && scale <= precision {
			return is(decimalType(int32(precision), int32(scale)), kindDecimal, func(v driver.Value, to array.Builder) error {
				text, ok := sqliteNumber(v)
				if !ok {
					return misfit(v, declared)
				}
				if whole, _, _ := strings.Cut(strings.TrimPrefix(text, "-"), "."); len(strings.TrimLeft(whole, "0")) > precision-scale {
					return misfit(v, declared)
				}
				if err := putDecimalText([]byte(text), scale, to); err != nil {
					return misfit(v, declared)
				}
				return nil
			})
		}
	}
	// Dates and times have no class of their own, numbers without a size may be of two: what is there, as a text.
	return is(arrow.BinaryTypes.String, kindText, func(v driver.Value, to array.Builder) error {
		switch v := v.(type) {
		case string:
			return putSQLiteText(v, to)
		case int64:
			to.(*array.StringBuilder).Append(strconv.FormatInt(v, 10))
			return nil
		case float64:
			to.(*array.StringBuilder).Append(strconv.FormatFloat(v, 'g', -1, 64))
			return nil
		}
		return misfit(v, cmp.Or(declared, "without a type"))
	})
}

func putSQLiteText(text string, to array.Builder) error {
	if !utf8.ValidString(text) {
		return errors.New("the text is not valid UTF-8")
	}
	to.(*array.StringBuilder).Append(text)
	return nil
}

// sqliteNumber writes a number in digits. A float's are the fewest that it is read back from.
func sqliteNumber(v driver.Value) (string, bool) {
	switch v := v.(type) {
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	}
	return "", false
}

// misfit says what stands where something else should.
func misfit(v driver.Value, declared string) error {
	class, text := "a blob", ""
	switch v := v.(type) {
	case int64:
		class, text = "the integer", " "+strconv.FormatInt(v, 10)
	case float64:
		class, text = "the real number", " "+strconv.FormatFloat(v, 'g', -1, 64)
	case string:
		class, text = "the text", fmt.Sprintf(" %.40q", v)
	}
	return fmt.Errorf("%s%s does not fit the column's type (%s): cast it in a query, or filter such rows with where", class, text, declared)
}
