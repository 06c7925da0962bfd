package sql

import (
	"database/sql/driver"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
)

// binlogType is a column as the binlog describes it: a type of the protocol with what goes with it (lengths, digits).
type binlogType struct {
	kind   byte
	meta   uint16
	length int // of fixed texts and bytes
}

// newBinlogType takes apart what the description of a table says of a column. Enums, sets and fixed texts share one type, and say in
// its metadata which they are; a fixed text of more than 255 bytes has two bits of its length among them.
func newBinlogType(kind byte, meta uint16) binlogType {
	t := binlogType{kind: kind, meta: meta}
	if kind != gomysql.MYSQL_TYPE_STRING {
		return t
	}
	real, low := byte(meta>>8), int(meta&0xff)
	switch {
	case meta < 256:
		t.length = low
	case real&0x30 != 0x30:
		t.length = low | int(real&0x30^0x30)<<4
		t.kind = real | 0x30
	default:
		t.kind, t.length = real, low
	}
	return t
}

// unpack reads a value of a row's image, and returns how many bytes it took. Whole numbers and floats are such; everything else is the text
// that the server gives when the table is read.
// What is made into a text is appended to buffer; everything else points into the data.
type unpack func(data []byte, buffer *[]byte) (v driver.Value, n int, err error)

var errShort = errors.New("the row ends too early")

// unpacker returns what reads values of a column, or an error when the binlog's type is not the one that the column is declared in:
// then the table was changed, and its rows must not be read.
func unpacker(t binlogType, c layoutColumn) (unpack, error) {
	base := c.base()
	unsigned := strings.Contains(c.declared(), "unsigned")
	wants := func(bases ...string) error {
		for _, b := range bases {
			if b == base {
				return nil
			}
		}
		return fmt.Errorf("the binlog has the column %s in type %d, and it is declared as %s", c.Name, t.kind, c.Type)
	}
	whole := func(size int, base string) (unpack, error) {
		return func(data []byte, _ *[]byte) (driver.Value, int, error) {
			if len(data) < size {
				return nil, 0, errShort
			}
			var u uint64
			for i := size - 1; i >= 0; i-- {
				u = u<<8 | uint64(data[i])
			}
			if unsigned {
				return u, size, nil
			}
			unused := 64 - 8*size
			return int64(u<<unused) >> unused, size, nil
		}, wants(base)
	}
	switch t.kind {
	case gomysql.MYSQL_TYPE_TINY:
		return whole(1, "tinyint")
	case gomysql.MYSQL_TYPE_SHORT:
		return whole(2, "smallint")
	case gomysql.MYSQL_TYPE_INT24:
		return whole(3, "mediumint")
	case gomysql.MYSQL_TYPE_LONG:
		return whole(4, "int")
	case gomysql.MYSQL_TYPE_LONGLONG:
		return whole(8, "bigint")
	case gomysql.MYSQL_TYPE_YEAR:
		return fixed(1, func(data []byte) driver.Value {
			if data[0] == 0 {
				return int64(0)
			}
			return 1900 + int64(data[0])
		}), wants("year")
	case gomysql.MYSQL_TYPE_FLOAT:
		return fixed(4, func(data []byte) driver.Value {
			return float64(math.Float32frombits(binary.LittleEndian.Uint32(data)))
		}), wants("float")
	case gomysql.MYSQL_TYPE_DOUBLE:
		return fixed(8, func(data []byte) driver.Value {
			return math.Float64frombits(binary.LittleEndian.Uint64(data))
		}), wants("double")
	case gomysql.MYSQL_TYPE_NEWDECIMAL:
		precision, scale := int(t.meta>>8), int(t.meta&0xff)
		if p, s := c.digits(); p != int64(precision) || s != int64(scale) || scale > precision {
			return nil, fmt.Errorf("the binlog has the column %s as decimal(%d,%d), and it is declared as %s", c.Name, precision, scale, c.Type)
		}
		return func(data []byte, buffer *[]byte) (driver.Value, int, error) {
			return binaryDecimal(data, precision, scale, buffer)
		}, wants("decimal")
	case gomysql.MYSQL_TYPE_BIT:
		size := int(t.meta >> 8)
		if t.meta&0xff > 0 {
			size++
		}
		return fixed(size, func(data []byte) driver.Value { return data }), wants("bit")
	case gomysql.MYSQL_TYPE_DATE, gomysql.MYSQL_TYPE_NEWDATE:
		return texted(3, func(data, to []byte) []byte {
			n := int64(data[0]) | int64(data[1])<<8 | int64(data[2])<<16
			return appendDate(to, n>>9, n>>5&15, n&31)
		}), wants("date")
	case gomysql.MYSQL_TYPE_DATETIME2:
		size, micros := fraction(t.meta)
		return texted(5+size, func(data, to []byte) []byte {
			n := int64(data[0])<<32 | int64(binary.BigEndian.Uint32(data[1:])) - 1<<39
			ymd := n >> 17
			to = append(appendDate(to, (ymd>>5)/13, (ymd>>5)%13, ymd&31), ' ')
			return appendClock(to, n>>12&31, n>>6&63, n&63, micros(data[5:]), size > 0)
		}), wants("datetime")
	case gomysql.MYSQL_TYPE_TIMESTAMP2, gomysql.MYSQL_TYPE_TIMESTAMP:
		size, micros := fraction(t.meta)
		old := t.kind == gomysql.MYSQL_TYPE_TIMESTAMP
		if old {
			size = 0
		}
		return texted(4+size, func(data, to []byte) []byte {
			seconds, rest := int64(binary.BigEndian.Uint32(data)), int64(0)
			if old {
				seconds = int64(binary.LittleEndian.Uint32(data))
			} else {
				rest = micros(data[4:])
			}
			if seconds == 0 && rest == 0 {
				return append(to, "0000-00-00 00:00:00"...)
			}
			at := time.Unix(seconds, 0).UTC()
			to = append(appendDate(to, int64(at.Year()), int64(at.Month()), int64(at.Day())), ' ')
			return appendClock(to, int64(at.Hour()), int64(at.Minute()), int64(at.Second()), rest, size > 0)
		}), wants("timestamp")
	case gomysql.MYSQL_TYPE_TIME2:
		return binaryTime(t.meta), wants("time")
	case gomysql.MYSQL_TYPE_ENUM, gomysql.MYSQL_TYPE_SET:
		labels, err := c.labels()
		if err != nil {
			return nil, err
		}
		if t.kind == gomysql.MYSQL_TYPE_ENUM {
			return enumLabel(t.length, labels), wants("enum")
		}
		return setLabels(t.length, labels), wants("set")
	case gomysql.MYSQL_TYPE_STRING:
		return fixedText(t.length, c)
	case gomysql.MYSQL_TYPE_VARCHAR, gomysql.MYSQL_TYPE_VAR_STRING:
		size := 1
		if t.meta > 255 {
			size = 2
		}
		return counted(size), wants("varchar", "varbinary")
	case gomysql.MYSQL_TYPE_BLOB, gomysql.MYSQL_TYPE_GEOMETRY:
		if t.meta < 1 || t.meta > 4 {
			return nil, fmt.Errorf("the binlog has lengths of the column %s in %d bytes", c.Name, t.meta)
		}
		return counted(int(t.meta)), wants("tinytext", "text", "mediumtext", "longtext", "tinyblob", "blob", "mediumblob", "longblob",
			"geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "geometrycollection")
	}
	return nil, fmt.Errorf("the column %s is %s, and values of that type (%d) are not read from the binlog", c.Name, c.Type, t.kind)
}

// fixed is for values that all take as many bytes.
func fixed(size int, of func(data []byte) driver.Value) unpack {
	return func(data []byte, _ *[]byte) (driver.Value, int, error) {
		if len(data) < size {
			return nil, 0, errShort
		}
		return of(data[:size:size]), size, nil
	}
}

// texted is for values that all take as many bytes and become a text, which is appended to to.
func texted(size int, of func(data, to []byte) []byte) unpack {
	return func(data []byte, buffer *[]byte) (driver.Value, int, error) {
		if len(data) < size {
			return nil, 0, errShort
		}
		begin := len(*buffer)
		*buffer = of(data[:size], *buffer)
		return (*buffer)[begin:len(*buffer):len(*buffer)], size, nil
	}
}

// counted is for values that say their length in so many bytes before them.
func counted(size int) unpack {
	return func(data []byte, _ *[]byte) (driver.Value, int, error) {
		if len(data) < size {
			return nil, 0, errShort
		}
		length := 0
		for i := size - 1; i >= 0; i-- {
			length = length<<8 | int(data[i])
		}
		if length > len(data)-size {
			return nil, 0, errShort
		}
		return data[size : size+length : size+length], size + length, nil
	}
}

// fraction is for the part of a second behind a time of so many digits: how many bytes it takes, and what makes microseconds of them.
func fraction(digits uint16) (size int, micros func(data []byte) int64) {
	size = int(digits+1) / 2
	return size, func(data []byte) (n int64) {
		for _, b := range data[:size] {
			n = n<<8 | int64(b)
		}
		for range 3 - size {
			n *= 100
		}
		return n
	}
}

func appendDigits(to []byte, n int64, width int) []byte {
	for place := width - 1; place >= 0; place-- {
		digit := n
		for range place {
			digit /= 10
		}
		to = append(to, '0'+byte(digit%10))
	}
	return to
}

func appendDate(to []byte, year, month, day int64) []byte {
	to = append(appendDigits(to, year, 4), '-')
	to = append(appendDigits(to, month, 2), '-')
	return appendDigits(to, day, 2)
}

func appendClock(to []byte, hour, minute, second, micros int64, parts bool) []byte {
	if hour > 99 {
		to = strconv.AppendInt(to, hour, 10)
	} else {
		to = appendDigits(to, hour, 2)
	}
	to = appendDigits(append(to, ':'), minute, 2)
	to = appendDigits(append(to, ':'), second, 2)
	if parts {
		to = appendDigits(append(to, '.'), micros, 6)
	}
	return to
}

// binaryTime reads amounts of time. Negative ones are stored as what is left to the next lower value, over all bytes together.
func binaryTime(digits uint16) unpack {
	size, _ := fraction(digits)
	return texted(3+size, func(data, to []byte) []byte {
		n := int64(0)
		for _, b := range data {
			n = n<<8 | int64(b)
		}
		n -= 1 << (8*(3+size) - 1)
		if n < 0 {
			n, to = -n, append(to, '-')
		}
		whole, rest := n>>(8*size), n&(1<<(8*size)-1)
		for range 3 - size {
			rest *= 100
		}
		return appendClock(to, whole>>12&1023, whole>>6&63, whole&63, rest, size > 0)
	})
}

// binaryDecimal reads a decimal: groups of nine digits in four bytes, at both ends fewer, the first bit turned, and all bits when it is
// below zero.
func binaryDecimal(data []byte, precision, scale int, buffer *[]byte) (driver.Value, int, error) {
	bytesOf := [10]int{0, 1, 1, 2, 2, 3, 3, 4, 4, 4}
	whole := precision - scale
	size := whole/9*4 + bytesOf[whole%9] + scale/9*4 + bytesOf[scale%9]
	if len(data) < size || size == 0 {
		return nil, 0, errShort
	}
	begin, to := len(*buffer), *buffer
	turn := byte(0)
	if data[0]&0x80 == 0 {
		turn = 0xff
		to = append(to, '-')
	}
	at := 0
	group := func(digits int) {
		n := int64(0)
		for range bytesOf[digits] {
			b := data[at] ^ turn
			if at == 0 {
				b ^= 0x80
			}
			n = n<<8 | int64(b)
			at++
		}
		to = appendDigits(to, n, digits)
	}
	if whole%9 > 0 || whole == 0 {
		group(whole % 9)
	}
	for range whole / 9 {
		group(9)
	}
	if whole == 0 {
		to = append(to, '0')
	}
	if scale > 0 {
		to = append(to, '.')
		for range scale / 9 {
			group(9)
		}
		group(scale % 9)
	}
	*buffer = to
	return to[begin:len(to):len(to)], size, nil
}

// enumLabel: 0 is what stands for a value that is not in the list; it is read as an empty text.
func enumLabel(size int, labels [][]byte) unpack {
	return func(data []byte, _ *[]byte) (driver.Value, int, error) {
		if len(data) < size || size < 1 || size > 2 {
			return nil, 0, errShort
		}
		n := int(data[0])
		if size == 2 {
			n = int(binary.LittleEndian.Uint16(data))
		}
		if n > len(labels) {
			return nil, 0, fmt.Errorf("the enum has %d values, and the row has number %d", len(labels), n)
		}
		if n == 0 {
			return []byte{}, size, nil
		}
		return labels[n-1], size, nil
	}
}

func setLabels(size int, labels [][]byte) unpack {
	return func(data []byte, buffer *[]byte) (driver.Value, int, error) {
		if len(data) < size || size > 8 {
			return nil, 0, errShort
		}
		begin, to := len(*buffer), *buffer
		for i := range 8 * size {
			if data[i/8]>>(i%8)&1 == 0 {
				continue
			}
			if i >= len(labels) {
				return nil, 0, fmt.Errorf("the set has %d values, and the row has number %d", len(labels), i+1)
			}
			if len(to) > begin {
				to = append(to, ',')
			}
			to = append(to, labels[i]...)
		}
		*buffer = to
		return to[begin:len(to):len(to)], size, nil
	}
}

// fixedText is for what is declared with a fixed length: texts without the spaces behind them, and bytes with the zeros.
func fixedText(length int, c layoutColumn) (unpack, error) {
	size := 1
	if length > 255 {
		size = 2
	}
	plain := counted(size)
	switch base := c.base(); base {
	case "char":
		return plain, nil
	case "binary", "inet6", "inet4":
		return func(data []byte, buffer *[]byte) (driver.Value, int, error) {
			v, n, err := plain(data, buffer)
			if text, ok := v.([]byte); ok && len(text) < length {
				begin := len(*buffer)
				*buffer = append(append(*buffer, text...), make([]byte, length-len(text))...)
				v = (*buffer)[begin:len(*buffer):len(*buffer)]
			}
			return v, n, err
		}, nil
	case "uuid":
		return func(data []byte, buffer *[]byte) (driver.Value, int, error) {
			v, n, err := plain(data, buffer)
			if text, ok := v.([]byte); ok {
				if len(text) > 16 {
					return nil, 0, fmt.Errorf("a uuid of %d bytes", len(text))
				}
				var id [16]byte
				copy(id[:], text)
				begin := len(*buffer)
				*buffer = appendUUID(*buffer, id)
				v = (*buffer)[begin:len(*buffer):len(*buffer)]
			}
			return v, n, err
		}, nil
	}
	return nil, fmt.Errorf("the column %s is %s, and values of that type are not read from the binlog", c.Name, c.Type)
}

// appendUUID writes an identifier as the server does.
func appendUUID(to []byte, id [16]byte) []byte {
	for i, part := range [][]byte{id[:4], id[4:6], id[6:8], id[8:10], id[10:]} {
		if i > 0 {
			to = append(to, '-')
		}
		to = hex.AppendEncode(to, part)
	}
	return to
}

// layoutColumn is a column as the catalogue declares it, in the order of the table.
type layoutColumn struct {
	Name    string `json:"n"`
	Type    string `json:"t"`           // with everything that belongs to it: enum('a','b'), decimal(38,10) unsigned
	Charset string `json:"c,omitempty"` // of texts
	Hidden  bool   `json:"h,omitempty"` // SELECT * leaves it out
}

func (c layoutColumn) declared() string { return strings.ToLower(c.Type) }

func (c layoutColumn) base() string { return field{declared: c.declared()}.base() }

// digits are those of a decimal, and how many of them stand behind the point.
func (c layoutColumn) digits() (precision, scale int64) {
	_, rest, _ := strings.Cut(c.declared(), "(")
	list, _, _ := strings.Cut(rest, ")")
	p, s, _ := strings.Cut(list, ",")
	precision, _ = strconv.ParseInt(p, 10, 64) // 0 is no decimal's, and is refused
	scale, _ = strconv.ParseInt(s, 10, 64)
	return precision, scale
}

// labels are the values of an enum or a set.
func (c layoutColumn) labels() (labels [][]byte, err error) {
	bad := fmt.Errorf("the values of the column %s cannot be read from %s", c.Name, c.Type)
	open, end := strings.IndexByte(c.Type, '('), strings.LastIndexByte(c.Type, ')')
	if open < 0 || end < open {
		return nil, bad
	}
	escapes := map[byte]byte{'0': 0, 'n': '\n', 'r': '\r'}
	for text := c.Type[open+1 : end]; ; {
		if !strings.HasPrefix(text, "'") {
			return nil, bad
		}
		label, i := []byte{}, 1
		for ; ; i++ {
			switch {
			case i >= len(text):
				return nil, bad
			case text[i] == '\\' && i+1 < len(text):
				i++
				if plain, ok := escapes[text[i]]; ok {
					label = append(label, plain)
					continue
				}
			case text[i] == '\'' && i+1 < len(text) && text[i+1] == '\'':
				i++
			case text[i] == '\'':
				goto closed
			}
			label = append(label, text[i])
		}
	closed:
		labels = append(labels, label)
		if text = text[i+1:]; text == "" {
			return labels, nil
		}
		if text[0] != ',' {
			return nil, bad
		}
		text = text[1:]
	}
}

// column is how values of the column become the same as when the table is read.
func (d *mariadbDialect) layoutColumn(c layoutColumn) mariadbColumn {
	precision, scale := c.digits()
	column := d.column(c.base(), c.declared(), precision, scale)
	column.name = c.Name
	return column
}

// addresses are types whose values the server writes as texts.
var addresses = []string{"inet6", "inet4"}

// foreign says what the server has to make a text of: the character set of those that are not plain ASCII, or all where ASCII is not what
// it is elsewhere, and the type of addresses. "" is for what is a text already.
func (c layoutColumn) foreign(text []byte) string {
	if slices.Contains(addresses, c.base()) {
		return c.base()
	}
	switch c.Charset {
	case "", "binary", "ascii", "utf8", "utf8mb3", "utf8mb4":
		return ""
	case "ucs2", "utf16", "utf16le", "utf32", "swe7", "sjis", "cp932":
		return c.Charset
	}
	for _, b := range text {
		if b >= 0x80 {
			return c.Charset
		}
	}
	return ""
}

// converting is a statement with which the server makes UTF-8 of texts.
func converting(texts [][]byte, from []string) string {
	var list []string
	for i, text := range texts {
		what := "X'" + hex.EncodeToString(text) + "'"
		if slices.Contains(addresses, from[i]) {
			what = "CAST(" + what + " AS " + from[i] + ")"
		} else {
			what = "_" + from[i] + " " + what
		}
		list = append(list, "CONVERT("+what+" USING utf8mb4)")
	}
	return "SELECT " + strings.Join(list, ", ")
}

// readable finds columns whose type is not read from the binlog.
func (l layout) readable() error {
	known := []string{"tinyint", "smallint", "mediumint", "int", "bigint", "year", "float", "double", "decimal", "bit", "date", "datetime", "timestamp", "time", "enum", "set", "char", "binary", "uuid", "inet6", "inet4",
		"varchar", "varbinary", "tinytext", "text", "mediumtext", "longtext", "tinyblob", "blob", "mediumblob", "longblob",
		"geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "geometrycollection"}
	for _, c := range l {
		// Compressed columns, and times as MariaDB 5.3 kept them, have comments behind their type.
		if !slices.Contains(known, c.base()) || c.base() != "enum" && c.base() != "set" && strings.Contains(c.Type, "/*") {
			return fmt.Errorf("the column %s is %s, and values of that type are not read from the binlog", c.Name, c.Type)
		}
	}
	return nil
}
