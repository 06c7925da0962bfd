package sql

import (
	"context"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-mysql-org/go-mysql/client"
	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
	"github.com/go-sql-driver/mysql"

	"github.com/headwater-data/headwater/internal/fault"
)

// gtid names a transaction: a stream of transactions, the server that made it, and its number in the stream.
type gtid struct {
	domain, server uint32
	number         uint64
}

func (g gtid) String() string { return fmt.Sprintf("%d-%d-%d", g.domain, g.server, g.number) }

// MarshalText writes it as people do.
func (g gtid) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (g *gtid) UnmarshalText(text []byte) (err error) {
	*g, err = parseGTID(string(text))
	return err
}

func parseGTID(text string) (gtid, error) {
	parts := strings.Split(text, "-")
	bad := fmt.Errorf("%q is no GTID of MariaDB", text)
	if len(parts) != 3 {
		return gtid{}, bad
	}
	domain, errDomain := strconv.ParseUint(parts[0], 10, 32)
	server, errServer := strconv.ParseUint(parts[1], 10, 32)
	number, errNumber := strconv.ParseUint(parts[2], 10, 64)
	if errDomain != nil || errServer != nil || errNumber != nil {
		return gtid{}, bad
	}
	return gtid{uint32(domain), uint32(server), number}, nil
}

// gtids is a position in the binlog: of each domain the newest transaction.
type gtids map[uint32]gtid

func parseGTIDs(text string) (gtids, error) {
	out := gtids{}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		g, err := parseGTID(part)
		if err != nil {
			return nil, err
		}
		out[g.domain] = g
	}
	return out, nil
}

func (p gtids) String() string {
	list := make([]string, 0, len(p))
	for _, g := range p {
		list = append(list, g.String())
	}
	slices.Sort(list)
	return strings.Join(list, ",")
}

// covers reports whether everything up to another position lies before this one.
func (p gtids) covers(other gtids) bool {
	for domain, g := range other {
		if p[domain].number < g.number {
			return false
		}
	}
	return true
}

// binlogConn is a connection that gives the binlog, from a position to where it ends or, when it stays, without an end.
type binlogConn struct {
	conn   *client.Conn
	parser *replication.BinlogParser
	stop   func() bool
	stays  time.Duration // how often the server says that it is there while it has nothing else to say; 0: the log ends where it ends

	// Of the event of rows that was read last: the images, packed as the event says.
	images []byte

	// What feed hands over.
	events chan *binlogEvent // closed at the end, after err was set
	err    error
	quit   chan struct{} // closed when nobody takes events any more
	done   sync.WaitGroup
}

// binlogEvent is an event; of one with rows, images are these as the event says, packed.
type binlogEvent struct {
	*replication.BinlogEvent
	images []byte
}

const (
	// logTimeout is how many seconds the server may wait for somebody who takes no events because the batches are not taken.
	logTimeout = 3600
	// heartbeat is how often a server whose log is followed says that it is there, at least.
	heartbeat = 10 * time.Second
	// waitingEvents is how many events may wait for who takes them. The server sends no more than the socket holds beyond that.
	waitingEvents = 16
)

// connectBinlog opens the log behind a position, up to where it ends. Nothing is kept by the server between two readings. The connection
// ends with the context.
func (d *mariadbDialect) connectBinlog(ctx context.Context, after gtids) (*binlogConn, error) {
	return d.openBinlog(ctx, after, 0)
}

// followBinlog opens the log behind a position, and is sent what is written into it later.
func (d *mariadbDialect) followBinlog(ctx context.Context, after gtids) (*binlogConn, error) {
	return d.openBinlog(ctx, after, min(heartbeat, d.server.networkTimeout/4))
}

func (d *mariadbDialect) openBinlog(ctx context.Context, after gtids, stays time.Duration) (*binlogConn, error) {
	conn, err := d.handshake(ctx, "")
	if err != nil {
		return nil, err
	}
	b := &binlogConn{conn: conn, parser: replication.NewBinlogParser(), stays: stays}
	b.stop = context.AfterFunc(ctx, b.hangUp)
	b.parser.SetFlavor(gomysql.MariaDBFlavor)
	b.parser.SetVerifyChecksum(true)
	b.parser.SetRowsEventDecodeFunc(b.header)
	if err := b.open(after); err != nil {
		b.close()
		if errors.Is(err, context.Canceled) || ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	return b, nil
}

// hangUp ends the connection, also under who reads from it: the library's Close writes what reading writes, too.
func (b *binlogConn) hangUp() { _ = b.conn.Conn.Conn.Close() }

func (b *binlogConn) close() {
	b.stop()
	b.hangUp()
	if b.quit != nil {
		close(b.quit)
		b.done.Wait()
	}
}

// open asks for the log. Number 0 for who reads makes the server end the log where it ends now, and take the reader for none of its
// replicas. One who stays needs a number, and the server throws out who had the same before: a random one of the upper half, where nobody
// numbers servers, meets no replica. The server checks that the position is one of its own log.
func (b *binlogConn) open(after gtids) error {
	number, flags := uint32(0), replication.BINLOG_DUMP_NON_BLOCK
	if b.stays > 0 {
		number, flags = rand.Uint32()|1<<31, 0
	}
	for _, statement := range []string{
		fmt.Sprintf("SET SESSION net_write_timeout = %d", logTimeout),
		fmt.Sprintf("SET @master_heartbeat_period = %d", b.stays.Nanoseconds()),
		"SET @master_binlog_checksum = @@global.binlog_checksum",
		"SET @mariadb_slave_capability = 4",
		"SET @slave_connect_state = '" + after.String() + "'",
		"SET @slave_gtid_strict_mode = 1",
	} {
		if _, err := b.conn.Execute(statement); err != nil {
			return driverError(err)
		}
	}
	b.conn.ResetSequence()
	command := make([]byte, 4, 15) // the packet's head is written by the connection
	command = append(command, gomysql.COM_BINLOG_DUMP)
	command = binary.LittleEndian.AppendUint32(command, 4)
	command = binary.LittleEndian.AppendUint16(command, flags)
	command = binary.LittleEndian.AppendUint32(command, number)
	return driverError(b.conn.WritePacket(command))
}

// feed reads on until the connection ends, and hands over what comes.
func (b *binlogConn) feed() <-chan *binlogEvent {
	b.events, b.quit = make(chan *binlogEvent, waitingEvents), make(chan struct{})
	b.done.Go(func() {
		defer close(b.events)
		for {
			e, err := b.next()
			if err == nil && e == nil {
				err = fmt.Errorf("the server sends no more of its binlog: %w", io.ErrUnexpectedEOF)
			}
			if err != nil {
				b.err = err
				return
			}
			select {
			case b.events <- e:
			case <-b.quit:
				return
			}
		}
	})
	return b.events
}

// next returns the next event; nil at the end.
func (b *binlogConn) next() (*binlogEvent, error) {
	packet, err := b.conn.ReadPacket()
	if err != nil {
		return nil, driverError(err)
	}
	switch {
	case len(packet) == 0:
		return nil, errors.New("an empty packet in the binlog")
	case packet[0] == gomysql.ERR_HEADER:
		return nil, driverError(b.conn.HandleErrorPacket(packet))
	case packet[0] == gomysql.EOF_HEADER && len(packet) < 9:
		return nil, nil
	case packet[0] != gomysql.OK_HEADER:
		return nil, fmt.Errorf("the server sent a piece of its binlog that is not understood: %.16x", packet)
	}
	b.images = nil
	e, err := b.parser.Parse(packet[1:])
	if err != nil {
		return nil, fmt.Errorf("event of the binlog: %w", err)
	}
	return &binlogEvent{e, b.images}, nil
}

// header takes the head of an event of rows apart. Its images are left for who knows the table's columns.
func (b *binlogConn) header(e *replication.RowsEvent, data []byte) error {
	at, err := e.DecodeHeader(data)
	if err != nil && e.TableID == noTable {
		return nil // it only ends a statement
	}
	if err != nil {
		return err
	}
	b.images = data[at:]
	return nil
}

// driverError gives the library's errors the types that the driver's have, by which they are sorted. Of a connection that was lost the
// library keeps the cause as a text alone.
func driverError(err error) error {
	var answered *gomysql.MyError
	switch {
	case errors.As(err, &answered):
		return &mysql.MySQLError{Number: answered.Code, Message: answered.Message}
	case errors.Is(err, gomysql.ErrBadConn):
		return fmt.Errorf("%w: %v", driver.ErrBadConn, err)
	}
	return err
}

// refused says what must be granted to who may not read the log.
func (d *mariadbDialect) refused(err error, right string) error {
	var answered *mysql.MySQLError
	if errors.As(err, &answered) && (answered.Number == 1227 || answered.Number == 1045) {
		return d.server.failed(err, fault.Environment, fmt.Sprintf("let an administrator run GRANT %s ON *.* TO '%s'@the host", right, d.server.user))
	}
	return err
}
