package sql

import (
	"bytes"
	"context"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/go-mysql-org/go-mysql/client"
	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-sql-driver/mysql"
)

// wire takes statements and gives results in the text protocol, byte by byte as the server sends them. A driver makes numbers of texts, of
// which each is an allocation, and keeps the texts to itself: but they go into Arrow from here, and a row's checksum is one over them.
type wire struct {
	conn net.Conn
	seq  byte // number of the next packet

	buf      []byte
	from, to int    // of buf: what has come and was not read
	joined   []byte // a packet that came in pieces
	begun    bool   // a result is being read
	broken   bool   // nothing more can be said on it
}

const (
	wireBuffer = 64 << 10
	// wireKeeps is how large a buffer may be that is kept when a long row has passed.
	wireKeeps = 1 << 20
	// longest is how much a packet holds; what is longer comes in several.
	longest = 1<<24 - 1
)

// handshake connects and logs in. The connection that it returns is at rest: the server says nothing until it is asked.
func (d *mariadbDialect) handshake(ctx context.Context, database string) (*client.Conn, error) {
	var way atomic.Pointer[loginConn]
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := d.server.dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		login := &loginConn{Conn: conn, open: d.server.tls == nil}
		way.Store(login)
		if ctx.Err() != nil {
			_ = conn.Close()
		}
		return login, nil
	}
	// The library knows no context here: who cancels closes the connection under it.
	over := context.AfterFunc(ctx, func() {
		if c := way.Load(); c != nil {
			_ = c.Close()
		}
	})
	conn, err := client.ConnectWithDialer(ctx, "tcp", net.JoinHostPort(d.server.host, strconv.Itoa(d.server.port)), d.server.user, d.server.password.Reveal(), database, dial, func(c *client.Conn) error {
		// Forms of the protocol that not every server has.
		c.UnsetCapability(gomysql.CLIENT_DEPRECATE_EOF)
		c.UnsetCapability(gomysql.CLIENT_QUERY_ATTRIBUTES)
		if d.server.tls != nil {
			c.SetTLSConfig(d.server.tls.Clone())
		}
		return c.SetCollation("utf8mb4_general_ci") // names of users and databases are in UTF-8
	})
	over()
	if err == nil {
		way.Load().done.Store(true)
		return conn, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	// Of some of what goes wrong the library keeps a text alone.
	err = driverError(err)
	switch text := err.Error(); {
	case strings.Contains(text, "does not support TLS"):
		return nil, fmt.Errorf("%w: %w", mysql.ErrNoTLS, err)
	case strings.Contains(text, "auth plugin"):
		return nil, fmt.Errorf("%w: %w", mysql.ErrUnknownPlugin, err)
	}
	if c := way.Load(); c != nil && c.err != nil {
		return nil, fmt.Errorf("%w: %w", err, c.err)
	}
	return nil, err
}

// loginConn keeps the error with which the way to the server ended while somebody logged in, of which the library only says that it did. And
// it lets nobody ask for the password as it is where nothing encrypts it: the library would give it.
type loginConn struct {
	net.Conn
	open bool
	said []byte
	err  error // for who logged in
	done atomic.Bool
}

func (c *loginConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.done.Load() {
		return n, err
	}
	if c.open && err == nil {
		if c.said = append(c.said, b[:n]...); bytes.Contains(c.said, []byte(gomysql.AUTH_CLEAR_PASSWORD)) {
			n, err = 0, mysql.ErrCleartextPassword // what asks for it is not handed on
		}
	}
	if err != nil && c.err == nil {
		c.err = err
	}
	return n, err
}

// dialWire opens a connection for statements.
func (d *mariadbDialect) dialWire(ctx context.Context) (*wire, error) {
	conn, err := d.handshake(ctx, d.server.database)
	if err != nil {
		return nil, err
	}
	return &wire{conn: conn.Conn.Conn, buf: make([]byte, wireBuffer)}, nil
}

// close says farewell where that is possible, and ends the connection.
func (w *wire) close() {
	if !w.begun && !w.broken {
		_ = w.command(gomysql.COM_QUIT, "") // whoever has been lost cannot be told
	}
	w.broken = true
	_ = w.conn.Close()
}

// command sends a command.
func (w *wire) command(kind byte, text string) error {
	payload := make([]byte, 0, 1+len(text))
	payload = append(append(payload, kind), text...)
	w.seq = 0
	for first := true; first || len(payload) > 0; first = false {
		n := min(len(payload), longest)
		packet := make([]byte, 4, 4+n)
		packet[0], packet[1], packet[2], packet[3] = byte(n), byte(n>>8), byte(n>>16), w.seq
		w.seq++
		if _, err := w.conn.Write(append(packet, payload[:n]...)); err != nil {
			return w.lost(err)
		}
		if payload = payload[n:]; n == longest && len(payload) == 0 { // an empty one says that this was all
			if _, err := w.conn.Write([]byte{0, 0, 0, w.seq}); err != nil {
				return w.lost(err)
			}
			w.seq++
		}
	}
	return nil
}

func (w *wire) lost(err error) error {
	w.broken = true
	return err
}

// have makes sure that so many bytes have come.
func (w *wire) have(n int) error {
	if w.to-w.from >= n {
		return nil
	}
	switch {
	case w.from == w.to && len(w.buf) > wireKeeps && n <= wireBuffer:
		w.buf = make([]byte, wireBuffer)
		w.from, w.to = 0, 0
	case n > len(w.buf):
		larger := make([]byte, max(n, 2*len(w.buf)))
		w.to = copy(larger, w.buf[w.from:w.to])
		w.buf, w.from = larger, 0
	case w.from+n > len(w.buf):
		w.to = copy(w.buf, w.buf[w.from:w.to])
		w.from = 0
	case w.from == w.to:
		w.from, w.to = 0, 0
	}
	for w.to-w.from < n {
		got, err := w.conn.Read(w.buf[w.to:])
		w.to += got
		if err != nil && w.to-w.from < n {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return w.lost(err)
		}
	}
	return nil
}

// piece returns the next packet, which stands until the next one.
func (w *wire) piece() ([]byte, error) {
	if err := w.have(4); err != nil {
		return nil, err
	}
	head := w.buf[w.from:]
	n := int(head[0]) | int(head[1])<<8 | int(head[2])<<16
	if head[3] != w.seq {
		return nil, w.lost(fmt.Errorf("the server sent the packet %d in place of %d", head[3], w.seq))
	}
	if err := w.have(4 + n); err != nil {
		return nil, err
	}
	w.seq++
	p := w.buf[w.from+4 : w.from+4+n]
	w.from += 4 + n
	return p, nil
}

// packet returns the next packet as a whole, which stands until the next one.
func (w *wire) packet() ([]byte, error) {
	p, err := w.piece()
	if err != nil || len(p) < longest {
		return p, err
	}
	if cap(w.joined) > wireKeeps {
		w.joined = nil
	}
	w.joined = append(w.joined[:0], p...)
	for len(p) == longest {
		if p, err = w.piece(); err != nil {
			return nil, err
		}
		w.joined = append(w.joined, p...)
	}
	return w.joined, nil
}

// answer returns the packet that answers a statement, unless it is an error.
func (w *wire) answer(text string) ([]byte, error) {
	if w.broken {
		return nil, driver.ErrBadConn
	}
	if w.begun {
		return nil, errors.New("a statement while the rows of another one are read")
	}
	if err := w.command(gomysql.COM_QUERY, text); err != nil {
		return nil, err
	}
	p, err := w.packet()
	if err != nil {
		return nil, err
	}
	return p, w.refusal(p)
}

// refusal is the error that a packet is.
func (w *wire) refusal(p []byte) error {
	switch {
	case len(p) == 0:
		return w.lost(errors.New("the server sent an empty packet"))
	case p[0] != gomysql.ERR_HEADER:
		return nil
	case len(p) < 9 || p[3] != '#':
		return &mysql.MySQLError{Number: uint16(p[1]) | uint16(p[2])<<8, Message: string(p[min(3, len(p)):])}
	}
	return &mysql.MySQLError{Number: binary.LittleEndian.Uint16(p[1:]), SQLState: [5]byte(p[4:9]), Message: string(p[9:])}
}

// exec runs a statement that gives no rows.
func (w *wire) exec(ctx context.Context, text string) error {
	defer w.until(ctx)()
	p, err := w.answer(text)
	if err != nil {
		return err
	}
	if p[0] != gomysql.OK_HEADER {
		return w.lost(errors.New("a statement without rows gave some"))
	}
	return nil
}

// until lets the connection end with the context, as long as the function that it returns has not been called.
func (w *wire) until(ctx context.Context) (over func()) {
	stop := context.AfterFunc(ctx, func() { _ = w.conn.Close() })
	return func() { stop() }
}

// wireColumn is what the server says of a column of a result.
type wireColumn struct {
	name     string
	kind     byte
	binary   bool // it is in no character set
	flags    uint16
	length   int64
	decimals int64
}

// query runs a statement that gives rows. Nothing else can be asked until the last one was read.
func (w *wire) query(text string) ([]wireColumn, error) {
	p, err := w.answer(text)
	if err != nil {
		return nil, err
	}
	n, rest, ok := lengthOf(p)
	if !ok || n < 1 || n > 1<<16 || len(rest) > 0 {
		return nil, w.lost(fmt.Errorf("a statement with rows gave none: %.16x", p))
	}
	columns := make([]wireColumn, n)
	for i := range columns {
		if p, err = w.packet(); err != nil {
			return nil, err
		}
		if columns[i], ok = wireColumnOf(p); !ok {
			return nil, w.lost(fmt.Errorf("a column's description is not understood: %.64x", p))
		}
	}
	if p, err = w.packet(); err != nil {
		return nil, err
	}
	if len(p) == 0 || !endOfRows(p) {
		return nil, w.lost(fmt.Errorf("the columns' descriptions do not end: %.16x", p))
	}
	w.begun = true
	return columns, nil
}

// next takes the texts of the next row, which stand until the one after it; nil is for null. It reports false behind the last one.
func (w *wire) next(values [][]byte) (bool, error) {
	p, err := w.packet()
	if err == nil {
		err = w.refusal(p)
	}
	if err != nil {
		w.begun = false
		return false, err
	}
	if endOfRows(p) {
		w.begun = false
		return false, nil
	}
	at := 0
	for i := range values {
		if at >= len(p) {
			return false, w.lost(errShort)
		}
		n := int(p[at])
		at++
		switch {
		case n < 0xfb:
		case n == 0xfb:
			values[i] = nil
			continue
		default:
			more, rest, ok := lengthOf(p[at-1:])
			if !ok {
				return false, w.lost(errShort)
			}
			n, at = more, len(p)-len(rest)
		}
		if n > len(p)-at {
			return false, w.lost(errShort)
		}
		values[i] = p[at : at+n : at+n]
		at += n
	}
	if at != len(p) {
		return false, w.lost(errors.New("a row has more values than there are columns"))
	}
	return true, nil
}

// endOfRows reports whether a packet ends rows or descriptions. One of a row may begin with the same byte, and is then very long.
func endOfRows(p []byte) bool { return p[0] == gomysql.EOF_HEADER && len(p) < 9 }

// lengthOf reads a number of one to nine bytes.
func lengthOf(p []byte) (n int, rest []byte, ok bool) {
	if len(p) == 0 {
		return 0, nil, false
	}
	size := 0
	switch p[0] {
	case 0xfc:
		size = 2
	case 0xfd:
		size = 3
	case 0xfe:
		size = 8
	case 0xfb, 0xff:
		return 0, nil, false
	default:
		return int(p[0]), p[1:], true
	}
	if len(p) < 1+size {
		return 0, nil, false
	}
	var wide [8]byte
	copy(wide[:], p[1:1+size])
	u := binary.LittleEndian.Uint64(wide[:])
	return int(u), p[1+size:], u < 1<<40
}

func wireColumnOf(p []byte) (c wireColumn, ok bool) {
	for part := range 6 { // catalogue, schema, table, original table, name, original name
		n, rest, ok := lengthOf(p)
		if !ok || n > len(rest) {
			return c, false
		}
		if part == 4 {
			c.name = string(rest[:n])
		}
		p = rest[n:]
	}
	if len(p) < 11 {
		return c, false
	}
	const noCharacterSet = 63
	c.binary = binary.LittleEndian.Uint16(p[1:]) == noCharacterSet
	c.length = int64(binary.LittleEndian.Uint32(p[3:]))
	c.kind, c.flags, c.decimals = p[7], binary.LittleEndian.Uint16(p[8:]), int64(p[10])
	return c, true
}

// declared is the type in the words of the catalogue, as far as a result tells it.
func (c wireColumn) declared() (base string, unsigned bool) {
	unsigned = c.flags&gomysql.UNSIGNED_FLAG != 0
	text := func(text, bytes string) (string, bool) {
		if c.binary {
			return bytes, false
		}
		return text, false
	}
	switch c.kind {
	case gomysql.MYSQL_TYPE_TINY:
		return "tinyint", unsigned
	case gomysql.MYSQL_TYPE_SHORT:
		return "smallint", unsigned
	case gomysql.MYSQL_TYPE_INT24:
		return "mediumint", unsigned
	case gomysql.MYSQL_TYPE_LONG:
		return "int", unsigned
	case gomysql.MYSQL_TYPE_LONGLONG:
		return "bigint", unsigned
	case gomysql.MYSQL_TYPE_DECIMAL, gomysql.MYSQL_TYPE_NEWDECIMAL:
		return "decimal", false
	case gomysql.MYSQL_TYPE_FLOAT:
		return "float", false
	case gomysql.MYSQL_TYPE_DOUBLE:
		return "double", false
	case gomysql.MYSQL_TYPE_BIT:
		return "bit", false
	case gomysql.MYSQL_TYPE_YEAR:
		return "year", false
	case gomysql.MYSQL_TYPE_DATE, gomysql.MYSQL_TYPE_NEWDATE:
		return "date", false
	case gomysql.MYSQL_TYPE_DATETIME:
		return "datetime", false
	case gomysql.MYSQL_TYPE_TIMESTAMP:
		return "timestamp", false
	case gomysql.MYSQL_TYPE_TIME:
		return "time", false
	case gomysql.MYSQL_TYPE_ENUM:
		return "enum", false
	case gomysql.MYSQL_TYPE_SET:
		return "set", false
	case gomysql.MYSQL_TYPE_JSON:
		return "json", false
	case gomysql.MYSQL_TYPE_GEOMETRY:
		return "geometry", false
	case gomysql.MYSQL_TYPE_NULL:
		return "null", false
	case gomysql.MYSQL_TYPE_TINY_BLOB:
		return text("tinytext", "tinyblob")
	case gomysql.MYSQL_TYPE_BLOB:
		return text("text", "blob")
	case gomysql.MYSQL_TYPE_MEDIUM_BLOB:
		return text("mediumtext", "mediumblob")
	case gomysql.MYSQL_TYPE_LONG_BLOB:
		return text("longtext", "longblob")
	case gomysql.MYSQL_TYPE_VARCHAR, gomysql.MYSQL_TYPE_VAR_STRING:
		return text("varchar", "varbinary")
	case gomysql.MYSQL_TYPE_STRING:
		switch {
		case c.flags&gomysql.ENUM_FLAG != 0:
			return "enum", false
		case c.flags&gomysql.SET_FLAG != 0:
			return "set", false
		}
		return text("char", "binary")
	}
	return "", false
}

// digits are the precision and scale of a decimal. Whether there is a sign is not told: the place for one counts as a digit.
func (c wireColumn) digits() (precision, scale int64) {
	if c.decimals > 0 {
		return c.length - 1, c.decimals
	}
	return c.length, 0
}
