package sql

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// postgresDialect reads PostgreSQL in its own protocol: values arrive in binary and go into Arrow without becoming Go values.
type postgresDialect struct {
	server server
}

func (d *postgresDialect) name() string { return "postgres" }
func (d *postgresDialect) quote(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}
func (d *postgresDialect) placeholder(n int, _ byte) string { return "$" + strconv.Itoa(n) }
func (d *postgresDialect) rowValues() bool                  { return true }

// argument is a text that the server reads as what stands on the other side.
func (d *postgresDialect) argument(v value) any {
	if v.Kind == kindBytes {
		return []byte(`\x` + hex.EncodeToString([]byte(v.Text)))
	}
	return []byte(v.Text)
}

// order is by the rows' text: there are types that cannot be compared.
func (d *postgresDialect) order(fields []field) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = d.quote(f.name)
	}
	return "ROW(" + strings.Join(names, ", ") + `)::text COLLATE "C"`
}

type postgresSession struct {
	conn  *pgconn.PgConn
	types map[uint32]postgresType // that are not built in
}

// postgresType is what matters of a type that is not built in.
type postgresType struct {
	name  string
	array bool
}

func (d *postgresDialect) connect(ctx context.Context) (session, error) {
	c, err := d.config()
	if err != nil {
		return nil, err
	}
	conn, err := pgconn.ConnectConfig(ctx, c)
	if err != nil {
		return nil, err
	}
	return &postgresSession{conn: conn, types: map[uint32]postgresType{}}, nil
}

// config says how any connection is made; values come in one form, whatever it is for.
func (d *postgresDialect) config() (*pgconn.Config, error) {
	s := d.server
	// Everything is said here, so that nothing of the process's environment (PGHOST, PGPASSFILE, PGOPTIONS …) is taken.
	c, err := pgconn.ParseConfig("host=127.0.0.1 port=5432 user=u dbname=d sslmode=disable passfile=/dev/null servicefile=/dev/null connect_timeout=0 target_session_attrs=any")
	if err != nil {
		return nil, fmt.Errorf("prepare the connection: %w", err)
	}
	c.Host, c.Port, c.Database, c.User, c.Password = s.host, uint16(s.port), s.database, s.user, s.password.Reveal()
	c.TLSConfig, c.Fallbacks, c.ConnectTimeout = s.tls, nil, s.networkTimeout
	c.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		return s.dial(ctx, network, address)
	}
	c.RuntimeParams = map[string]string{
		"application_name": "headwater", "client_encoding": "UTF8", "TimeZone": "UTC", "DateStyle": "ISO, YMD", "IntervalStyle": "iso_8601", "bytea_output": "hex", "extra_float_digits": "1",
		"default_transaction_read_only": "on", "statement_timeout": strconv.FormatInt(s.statementTimeout.Milliseconds(), 10), "lock_timeout": "10000",
	}
	return c, nil
}

func (s *postgresSession) close() {
	// Where rows are still on their way there is nobody to say goodbye to.
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.conn.Close(ctx)
}

func (s *postgresSession) begin(ctx context.Context) error {
	// Sorting a whole table to give its first page is what would hurt; the key's index gives the order.
	_, err := s.conn.Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL enable_sort = off; SET LOCAL jit = off").ReadAll()
	return err
}

func (s *postgresSession) query(ctx context.Context, text string, args []any) (rows, error) {
	params := make([][]byte, len(args))
	for i, a := range args {
		params[i] = a.([]byte)
	}
	description, err := s.conn.Prepare(ctx, "", text, nil)
	if err != nil {
		return nil, err
	}
	if err := s.learn(ctx, description.Fields); err != nil {
		return nil, err
	}
	r := &postgresRows{}
	formats := make([]int16, len(description.Fields))
	for i, f := range description.Fields {
		column := s.column(f)
		formats[i] = column.format
		r.columns = append(r.columns, column)
		r.list = append(r.list, column.field)
	}
	// Learning about types took the unnamed statement's place.
	r.result = s.conn.ExecParams(ctx, text, params, description.ParamOIDs, nil, formats)
	return r, nil
}

// learn asks for the names of types that are not built in.
func (s *postgresSession) learn(ctx context.Context, fields []pgconn.FieldDescription) error {
	var unknown []string
	for _, f := range fields {
		if _, ok := s.types[f.DataTypeOID]; !ok && builtIn(f.DataTypeOID) == nil {
			unknown = append(unknown, strconv.FormatUint(uint64(f.DataTypeOID), 10))
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	results, err := s.conn.Exec(ctx, "SELECT oid, typname, typcategory = 'A' FROM pg_type WHERE oid IN ("+strings.Join(unknown, ",")+")").ReadAll()
	if err != nil {
		return err
	}
	for _, row := range results[0].Rows {
		oid, err := strconv.ParseUint(string(row[0]), 10, 32)
		if err != nil {
			return err
		}
		s.types[uint32(oid)] = postgresType{string(row[1]), string(row[2]) == "t"}
	}
	return nil
}

// postgresColumn is how a column's values are read.
type postgresColumn struct {
	field
	format int16 // 1 is binary
	put    func(raw []byte, to array.Builder) error
	text   func(raw []byte) string
}

func plainText(raw []byte) string { return string(raw) }

func putText(raw []byte, to array.Builder) error {
	to.(*array.StringBuilder).BinaryBuilder.Append(raw)
	return nil
}

// The times of PostgreSQL are counted from 2000.
const (
	epochDays   = 10957
	epochMicros = epochDays * 86_400_000_000
)

var errInfinite = errors.New("the value is infinity, which no date or time of the warehouse can be: filter such rows with where, or replace it in a query")

// builtIn returns how values of the usual types are read; nil for others. Values come in binary but for types whose text is what
// people know them by.
func builtIn(oid uint32) *postgresColumn {
	fixed := func(declared string, typ arrow.DataType, kind byte, put func([]byte, array.Builder) error, text func([]byte) string) *postgresColumn {
		return &postgresColumn{field: field{declared: declared, typ: typ, kind: kind, ordered: kind != kindFloat}, format: 1, put: put, text: text}
	}
	switch oid {
	case pgtype.BoolOID:
		return fixed("boolean", arrow.FixedWidthTypes.Boolean, kindBool,
			func(raw []byte, to array.Builder) error { to.(*array.BooleanBuilder).Append(raw[0] != 0); return nil },
			func(raw []byte) string { return strconv.FormatBool(raw[0] != 0) })
	case pgtype.Int2OID:
		return fixed("smallint", arrow.PrimitiveTypes.Int16, kindInt,
			func(raw []byte, to array.Builder) error {
				to.(*array.Int16Builder).Append(int16(binary.BigEndian.Uint16(raw)))
				return nil
			},
			func(raw []byte) string { return strconv.Itoa(int(int16(binary.BigEndian.Uint16(raw)))) })
	case pgtype.Int4OID:
		return fixed("integer", arrow.PrimitiveTypes.Int32, kindInt,
			func(raw []byte, to array.Builder) error {
				to.(*array.Int32Builder).Append(int32(binary.BigEndian.Uint32(raw)))
				return nil
			},
			func(raw []byte) string { return strconv.Itoa(int(int32(binary.BigEndian.Uint32(raw)))) })
	case pgtype.Int8OID:
		return fixed("bigint", arrow.PrimitiveTypes.Int64, kindInt,
			func(raw []byte, to array.Builder) error {
				to.(*array.Int64Builder).Append(int64(binary.BigEndian.Uint64(raw)))
				return nil
			},
			func(raw []byte) string { return strconv.FormatInt(int64(binary.BigEndian.Uint64(raw)), 10) })
	case pgtype.OIDOID:
		return fixed("oid", arrow.PrimitiveTypes.Uint32, kindInt,
			func(raw []byte, to array.Builder) error {
				to.(*array.Uint32Builder).Append(binary.BigEndian.Uint32(raw))
				return nil
			},
			func(raw []byte) string { return strconv.FormatUint(uint64(binary.BigEndian.Uint32(raw)), 10) })
	case pgtype.Float4OID:
		return fixed("real", arrow.PrimitiveTypes.Float32, kindFloat,
			func(raw []byte, to array.Builder) error {
				to.(*array.Float32Builder).Append(math.Float32frombits(binary.BigEndian.Uint32(raw)))
				return nil
			},
			func(raw []byte) string {
				return strconv.FormatFloat(float64(math.Float32frombits(binary.BigEndian.Uint32(raw))), 'g', -1, 32)
			})
	case pgtype.Float8OID:
		return fixed("double precision", arrow.PrimitiveTypes.Float64, kindFloat,
			func(raw []byte, to array.Builder) error {
				to.(*array.Float64Builder).Append(math.Float64frombits(binary.BigEndian.Uint64(raw)))
				return nil
			},
			func(raw []byte) string {
				return strconv.FormatFloat(math.Float64frombits(binary.BigEndian.Uint64(raw)), 'g', -1, 64)
			})
	case pgtype.ByteaOID:
		return fixed("bytea", arrow.BinaryTypes.Binary, kindBytes,
			func(raw []byte, to array.Builder) error { to.(*array.BinaryBuilder).Append(raw); return nil }, plainText)
	case pgtype.UUIDOID:
		return fixed("uuid", arrow.BinaryTypes.String, kindText,
			func(raw []byte, to array.Builder) error {
				var text [36]byte
				encodeUUID(text[:], raw)
				to.(*array.StringBuilder).BinaryBuilder.Append(text[:])
				return nil
			},
			func(raw []byte) string {
				var text [36]byte
				encodeUUID(text[:], raw)
				return string(text[:])
			})
	case pgtype.DateOID:
		return fixed("date", arrow.FixedWidthTypes.Date32, kindTime,
			func(raw []byte, to array.Builder) error {
				n := int32(binary.BigEndian.Uint32(raw))
				if n == math.MaxInt32 || n == math.MinInt32 {
					return errInfinite
				}
				to.(*array.Date32Builder).Append(arrow.Date32(n + epochDays))
				return nil
			},
			func(raw []byte) string { return dateText(int64(int32(binary.BigEndian.Uint32(raw)))) })
	case pgtype.TimestampOID, pgtype.TimestamptzOID:
		typ, declared := arrow.DataType(&arrow.TimestampType{Unit: arrow.Microsecond}), "timestamp"
		if oid == pgtype.TimestamptzOID {
			typ, declared = arrow.FixedWidthTypes.Timestamp_us, "timestamp with time zone"
		}
		return fixed(declared, typ, kindTime,
			func(raw []byte, to array.Builder) error {
				n := int64(binary.BigEndian.Uint64(raw))
				if n == math.MaxInt64 || n == math.MinInt64 {
					return errInfinite
				}
				to.(*array.TimestampBuilder).Append(arrow.Timestamp(n + epochMicros))
				return nil
			},
			func(raw []byte) string {
				return timestampText(int64(binary.BigEndian.Uint64(raw)), oid == pgtype.TimestamptzOID)
			})
	case pgtype.TimeOID:
		return fixed("time", arrow.FixedWidthTypes.Time64us, kindTime,
			func(raw []byte, to array.Builder) error {
				n := int64(binary.BigEndian.Uint64(raw))
				if n >= 86_400_000_000 {
					return errors.New("the time is 24:00:00, which is not a time of day in the warehouse")
				}
				to.(*array.Time64Builder).Append(arrow.Time64(n))
				return nil
			},
			func(raw []byte) string {
				n := int64(binary.BigEndian.Uint64(raw))
				return fmt.Sprintf("%02d:%02d:%02d.%06d", n/3_600_000_000, n/60_000_000%60, n/1_000_000%60, n%1_000_000)
			})
	case pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID, pgtype.NameOID:
		declared := map[uint32]string{pgtype.TextOID: "text", pgtype.VarcharOID: "character varying", pgtype.BPCharOID: "character", pgtype.NameOID: "name"}[oid]
		return fixed(declared, arrow.BinaryTypes.String, kindText, putText, plainText)
	case pgtype.JSONOID, pgtype.JSONBOID:
		// Both as text: the binary form of jsonb is its text after a byte.
		c := fixed("json", arrow.BinaryTypes.String, kindText, putText, plainText)
		c.format, c.ordered = 0, false
		return c
	case pgtype.NumericOID:
		return fixed("numeric", nil, kindDecimal, nil, numericText)
	}
	return nil
}

func (s *postgresSession) column(f pgconn.FieldDescription) postgresColumn {
	var c postgresColumn
	if known := builtIn(f.DataTypeOID); known != nil {
		c = *known
	} else {
		t := s.types[f.DataTypeOID]
		// Everything else as the text that PostgreSQL writes for it; what is ordered by itself is compared by itself.
		c = postgresColumn{field: field{declared: cmp.Or(t.name, "type "+strconv.FormatUint(uint64(f.DataTypeOID), 10)), typ: arrow.BinaryTypes.String, kind: kindText}, put: putText, text: plainText}
		if t.array {
			c.declared += " (an array)"
		}
	}
	c.name, c.oid = f.Name, f.DataTypeOID
	if f.DataTypeOID == pgtype.NumericOID {
		c.typ, c.put = numericColumn(f.TypeModifier)
	}
	return c
}

// numericColumn is for numeric(precision, scale); without them, and beyond 76 digits, digits are kept as text.
func numericColumn(modifier int32) (arrow.DataType, func([]byte, array.Builder) error) {
	precision, scale := (modifier-4)>>16&0xffff, (modifier-4)&0x7ff
	if scale > 1023 { // a negative scale: 11 bits in two's complement
		scale -= 2048
	}
	if modifier < 4 || scale < 0 || scale > precision || precision > 76 {
		return arrow.BinaryTypes.String, func(raw []byte, to array.Builder) error {
			to.(*array.StringBuilder).Append(numericText(raw))
			return nil
		}
	}
	typ := decimalType(precision, scale)
	return typ, func(raw []byte, to array.Builder) error {
		if sign := binary.BigEndian.Uint16(raw[4:]); sign&0xc000 == 0xc000 {
			return fmt.Errorf("the value is %s, which no decimal can be: cast the column to double precision in a query, or filter such rows with where", numericText(raw))
		}
		if small, ok := smallNumeric(raw, scale); ok {
			return appendSmallDecimal(to, small)
		}
		n, ok := new(big.Int).SetString(strings.Replace(padFraction(numericText(raw), int(scale)), ".", "", 1), 10)
		if !ok {
			return fmt.Errorf("the value %s is not a decimal", numericText(raw))
		}
		return appendDecimal(to, n)
	}
}

// smallNumeric reads a numeric of few digits as a whole number of units of its scale.
func smallNumeric(raw []byte, scale int32) (int64, bool) {
	digits, weight := int(binary.BigEndian.Uint16(raw)), int32(int16(binary.BigEndian.Uint16(raw[2:])))
	if digits > 3 || scale > 6 {
		return 0, false
	}
	n := int64(0)
	for i := range digits {
		n = n*10_000 + int64(binary.BigEndian.Uint16(raw[8+2*i:]))
	}
	// n counts units of 10000^(weight-digits+1).
	shift := 4*(weight-int32(digits)+1) + scale
	if digits == 0 {
		shift = 0
	}
	if shift > 6 || shift < -6 {
		return 0, false
	}
	for ; shift > 0; shift-- {
		n *= 10
	}
	for ; shift < 0; shift++ {
		if n%10 != 0 {
			return 0, false
		}
		n /= 10
	}
	if binary.BigEndian.Uint16(raw[4:]) == 0x4000 {
		n = -n
	}
	return n, true
}

// numericText is a numeric's digits as PostgreSQL writes them.
func numericText(raw []byte) string {
	digits, weight := int(binary.BigEndian.Uint16(raw)), int(int16(binary.BigEndian.Uint16(raw[2:])))
	sign, scale := binary.BigEndian.Uint16(raw[4:]), int(binary.BigEndian.Uint16(raw[6:]))
	switch sign {
	case 0xc000:
		return "NaN"
	case 0xd000:
		return "Infinity"
	case 0xf000:
		return "-Infinity"
	}
	group := func(i int) int {
		if i < 0 || i >= digits {
			return 0
		}
		return int(binary.BigEndian.Uint16(raw[8+2*i:]))
	}
	out := make([]byte, 0, 4*digits+scale+8)
	if sign == 0x4000 {
		out = append(out, '-')
	}
	if weight < 0 {
		out = append(out, '0')
	}
	for i := 0; i <= weight; i++ {
		if i == 0 {
			out = strconv.AppendInt(out, int64(group(0)), 10)
			continue
		}
		out = fmt.Appendf(out, "%04d", group(i))
	}
	if scale > 0 {
		out = append(out, '.')
		begin := len(out)
		for i := weight + 1; len(out)-begin < scale; i++ {
			out = fmt.Appendf(out, "%04d", group(i))
		}
		out = out[:begin+scale]
	}
	return string(out)
}

func encodeUUID(to, raw []byte) {
	hex.Encode(to, raw[:4])
	to[8] = '-'
	hex.Encode(to[9:], raw[4:6])
	to[13] = '-'
	hex.Encode(to[14:], raw[6:8])
	to[18] = '-'
	hex.Encode(to[19:], raw[8:10])
	to[23] = '-'
	hex.Encode(to[24:], raw[10:16])
}

// yearText writes a date as PostgreSQL reads it; years before 1 have an era.
func yearText(t time.Time, rest string) string {
	year, era := t.Year(), ""
	if year <= 0 {
		year, era = 1-year, " BC"
	}
	return fmt.Sprintf("%04d-%s%s", year, t.Format(rest), era)
}

func dateText(days int64) string {
	switch days {
	case math.MaxInt32:
		return "infinity"
	case math.MinInt32:
		return "-infinity"
	}
	return yearText(time.Unix((days+epochDays)*86400, 0).UTC(), "01-02")
}

func timestampText(micros int64, zoned bool) string {
	switch micros {
	case math.MaxInt64:
		return "infinity"
	case math.MinInt64:
		return "-infinity"
	}
	layout := "01-02 15:04:05.000000"
	if zoned {
		layout = "01-02 15:04:05.000000Z07:00"
	}
	return yearText(time.UnixMicro(micros+epochMicros).UTC(), layout)
}

// postgresRow is a row as the server writes it, in a result or in its log.
type postgresRow struct {
	columns []postgresColumn
	list    []field
	values  [][]byte
}

func (r *postgresRow) fields() []field { return r.list }

func (r *postgresRow) put(i int, to array.Builder) error {
	if r.values[i] == nil {
		to.AppendNull()
		return nil
	}
	return r.columns[i].put(r.values[i], to)
}

func (r *postgresRow) value(i int) (value, bool) {
	if r.values[i] == nil {
		return value{}, false
	}
	return value{r.columns[i].kind, r.columns[i].text(r.values[i])}, true
}

func (r *postgresRow) size(i int) int { return len(r.values[i]) }

type postgresRows struct {
	postgresRow
	result *pgconn.ResultReader
}

func (r *postgresRows) next() bool {
	if !r.result.NextRow() {
		return false
	}
	r.values = r.result.Values()
	return true
}

func (r *postgresRows) close() error {
	// Closing reads what is left; a reading that stops in the middle closes the connection instead, which ends it.
	_, err := r.result.Close()
	return err
}

func (s *postgresSession) selected(f field) (expression, alias string) {
	quoted := (&postgresDialect{}).quote(f.name)
	if s.types[f.oid].array || strings.HasSuffix(f.declared, "(an array)") {
		return "to_json(" + quoted + ")::text", f.name
	}
	return "", ""
}

func (s *postgresSession) checksum(fields []field) string {
	row, _ := s.rowSum(fields)
	return "coalesce(sum(" + row + "), 0)::text"
}

func (s *postgresSession) rowSum(fields []field) (expression string, base int) {
	if s.major() < 14 {
		return "hashtextextended(" + strings.TrimSuffix((&postgresDialect{}).order(fields), ` COLLATE "C"`) + ", 0)", 10
	}
	// Writing values as texts is most of what a checksum over texts costs. The hash of a record adds up those of its columns, so that two
	// rows which exchange a value would keep their sum: it is hashed once more.
	columns := make([]string, len(fields))
	for i, f := range fields {
		columns[i] = hashed((&postgresDialect{}).quote(f.name), f)
	}
	return "hashint8extended(hash_record_extended(ROW(" + strings.Join(columns, ", ") + "), 0), 0)", 10
}

// hashed is an expression of a column's value that has the same hash as another one only if both are delivered as the same.
func hashed(quoted string, f field) string {
	switch f.oid {
	case pgtype.BoolOID, pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.OIDOID, pgtype.ByteaOID, pgtype.UUIDOID, pgtype.DateOID, pgtype.TimestampOID, pgtype.TimestamptzOID, pgtype.TimeOID:
		return quoted
	case pgtype.TextOID, pgtype.VarcharOID, pgtype.NameOID:
		return quoted + ` COLLATE "C"` // there are collations in which different texts are equal
	case pgtype.BPCharOID:
		return "bpcharsend(" + quoted + ")" // blanks at the end count
	case pgtype.Float4OID:
		return "float4send(" + quoted + ")" // 0 equals -0
	case pgtype.Float8OID:
		return "float8send(" + quoted + ")"
	case pgtype.NumericOID:
		if arrow.IsDecimal(f.typ.ID()) {
			return quoted // with as many digits after the point in every row
		}
	}
	return "ROW(" + quoted + ")::text" // not all types have a hash
}

// major is the server's version, 0 when it says none that is understood.
func (s *postgresSession) major() int {
	text := s.conn.ParameterStatus("server_version")
	digits := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	if digits < 0 {
		digits = len(text)
	}
	n, err := strconv.Atoi(text[:digits])
	if err != nil {
		return 0 // the checksum that every version knows will do
	}
	return n
}

func (s *postgresSession) now(f field) string {
	switch f.oid {
	case pgtype.TimestamptzOID:
		return "now()"
	case pgtype.TimestampOID:
		// Without a zone it is in nobody knows which: the latest place on Earth has it first.
		return "(now() AT TIME ZONE 'UTC' + interval '14 hours')"
	case pgtype.DateOID:
		return "(now() AT TIME ZONE 'UTC' + interval '14 hours')::date"
	}
	return ""
}

const postgresKeys = `
SELECT array_to_string(array_agg(a.attname::text ORDER BY k.ord), E'\x1f')
FROM pg_index i
CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, ord)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = $1::text::regclass AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL AND k.ord <= i.indnkeyatts
GROUP BY i.indexrelid, i.indisprimary
HAVING bool_and(a.attnotnull)
ORDER BY i.indisprimary DESC, count(*), i.indexrelid`

func (s *postgresSession) regclass(table string) []byte {
	parts := strings.Split(table, ".")
	for i, part := range parts {
		parts[i] = (&postgresDialect{}).quote(part)
	}
	return []byte(strings.Join(parts, "."))
}

func (s *postgresSession) keys(ctx context.Context, table string) ([][]string, error) {
	result := s.conn.ExecParams(ctx, postgresKeys, [][]byte{s.regclass(table)}, nil, nil, nil).Read()
	var out [][]string
	for _, row := range result.Rows {
		out = append(out, strings.Split(string(row[0]), "\x1f"))
	}
	return out, result.Err
}

func (s *postgresSession) position(ctx context.Context, table string) (*position, error) {
	result := s.conn.ExecParams(ctx, `SELECT CASE WHEN relkind = 'r' AND NOT relhassubclass THEN pg_relation_size(oid) / current_setting('block_size')::int8 END, pg_relation_filenode(oid) FROM pg_class WHERE oid = $1::text::regclass`,
		[][]byte{s.regclass(table)}, nil, nil, nil).Read()
	if result.Err != nil || len(result.Rows) != 1 || result.Rows[0][0] == nil {
		return nil, result.Err
	}
	pages, err := strconv.ParseInt(string(result.Rows[0][0]), 10, 64)
	return &position{pages: pages, version: string(result.Rows[0][1])}, err
}
