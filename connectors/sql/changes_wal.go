package sql

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/headwater-data/headwater/internal/fault"
)

// walConn is a connection in replication mode. It takes commands until its log is opened, and then only gives that.
type walConn struct {
	d    *postgresDialect
	conn *pgconn.PgConn // of no use once the log is open
	way  *gatheringConn // beneath it
	tick time.Duration

	raw      *pgconn.HijackedConn
	stored   atomic.Uint64     // position that is confirmed: everything before it was stored
	messages chan []walMessage // closed at the end, after err was set
	err      error
	quit     chan struct{} // closed when nobody takes messages any more
	stop     func() bool
	done     sync.WaitGroup
}

// walMessage is what the server sends: a piece of the log, or how far it has been read.
type walMessage struct {
	payload []byte // nil: only the position
	end     lsn    // for a position: all transactions that ended before it have been sent
}

const (
	// walTick is how long the server may be silent before it is asked how far it is, and hears nothing from here, at most.
	walTick = 5 * time.Second
	// walPiece is how many bytes of messages are handed over at once, and walBuffered how many such pieces may wait for who takes them.
	// The server sends no more than the socket holds beyond that.
	walPiece    = 64 << 10
	walBuffered = 4
)

func (d *postgresDialect) connectWAL(ctx context.Context) (*walConn, error) {
	c, err := d.config()
	if err != nil {
		return nil, err
	}
	c.RuntimeParams["replication"] = "database"
	c.RuntimeParams["statement_timeout"] = "0"
	w := &walConn{d: d, tick: min(walTick, d.server.networkTimeout/8)}
	c.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := d.server.dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		w.way = &gatheringConn{Conn: conn}
		return w.way, nil
	}
	w.conn, err = pgconn.ConnectConfig(ctx, c)
	var answered *pgconn.PgError
	if errors.As(err, &answered) && answered.Code == "42501" {
		return nil, d.server.failed(err, fault.Environment, fmt.Sprintf(`let an administrator run ALTER ROLE "%s" REPLICATION`, d.server.user))
	}
	if err != nil {
		return nil, err
	}
	return w, nil
}

// gatheringConn reads as much as has come at once. The server sends each change by itself, encrypted by itself: taking them one by one
// costs both sides several times what is done with them. So what follows is waited for, for a moment that nobody notices.
type gatheringConn struct {
	net.Conn
	patient bool // set once the log is open
	buffer  []byte
	rest    []byte // of it: what has come and was not read
}

const (
	gatherFor   = time.Millisecond
	gatherBytes = 256 << 10
)

func (c *gatheringConn) Read(b []byte) (int, error) {
	if len(c.rest) > 0 {
		n := copy(b, c.rest)
		c.rest = c.rest[n:]
		return n, nil
	}
	if !c.patient {
		return c.Conn.Read(b)
	}
	if c.buffer == nil {
		c.buffer = make([]byte, gatherBytes)
	}
	time.Sleep(gatherFor)
	n, err := c.Conn.Read(c.buffer)
	c.rest = c.buffer[:n]
	n = copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, err
}

// waiting reports whether more has come than was read.
func (c *gatheringConn) waiting() bool { return len(c.rest) > 0 }

func (w *walConn) close() {
	if w.raw == nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = w.conn.Close(ctx)
		return
	}
	close(w.quit)
	w.stop()
	_ = w.raw.Conn.Close() // whatever is still on its way is sent again next time
	w.done.Wait()
}

func (w *walConn) command(ctx context.Context, text string) ([][]byte, error) {
	results, err := w.conn.Exec(ctx, text).ReadAll()
	if err != nil {
		return nil, err
	}
	if len(results) != 1 || len(results[0].Rows) != 1 {
		return nil, fmt.Errorf("%s: %w", text, errNoRow)
	}
	return results[0].Rows[0], nil
}

// identify returns who the server is and where its log ends.
func (w *walConn) identify(ctx context.Context) (system, timeline string, flushed lsn, err error) {
	row, err := w.command(ctx, "IDENTIFY_SYSTEM")
	if err != nil {
		return "", "", 0, err
	}
	flushed, err = parseLSN(string(row[2]))
	return string(row[0]), string(row[1]), flushed, err
}

// createSlot makes a slot whose changes begin after every transaction that can be seen when it returns. It waits for transactions
// that are running to end.
func (w *walConn) createSlot(ctx context.Context, name string) error {
	_, err := w.command(ctx, fmt.Sprintf("CREATE_REPLICATION_SLOT %s LOGICAL pgoutput NOEXPORT_SNAPSHOT", w.d.quote(name)))
	return err
}

// open begins to read the log after a position, which it confirms: the server may remove what lies before.
func (w *walConn) open(ctx context.Context, slot, publication string, after lsn) error {
	command := fmt.Sprintf("START_REPLICATION SLOT %s LOGICAL %v (proto_version '1', publication_names '%s')", w.d.quote(slot), after, strings.ReplaceAll(w.d.quote(publication), "'", "''"))
	begin := time.Now()
	for {
		err := w.start(ctx, command)
		if err == nil {
			break
		}
		// A connection of ours that has just ended may still hold the slot: the server notices when it next writes to it.
		var answered *pgconn.PgError
		if !errors.As(err, &answered) || answered.Code != "55006" {
			return err
		}
		if time.Since(begin) > slotPatience {
			return w.d.server.failed(err, fault.Transient, "another process reads from this slot: each stream needs one of its own")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	raw, err := w.conn.Hijack()
	if err != nil {
		return err
	}
	w.way.patient = true
	w.stored.Store(uint64(after))
	w.raw, w.messages, w.quit = raw, make(chan []walMessage, walBuffered), make(chan struct{})
	w.stop = context.AfterFunc(ctx, func() { _ = raw.Conn.Close() })
	w.done.Go(func() {
		defer close(w.messages)
		w.err = w.receive()
	})
	return nil
}

// confirm says that everything before a position was stored. The server hears of it with the next thing that it sends.
func (w *walConn) confirm(at lsn) { w.stored.Store(max(w.stored.Load(), uint64(at))) }

// start sends the command and reads on until the server has begun to copy, or refused to.
func (w *walConn) start(ctx context.Context, command string) error {
	w.conn.Frontend().SendQuery(&pgproto3.Query{String: command})
	if err := w.conn.Frontend().Flush(); err != nil {
		return err
	}
	var refused error
	for {
		message, err := w.conn.ReceiveMessage(ctx)
		if err != nil {
			return err
		}
		switch m := message.(type) {
		case *pgproto3.CopyBothResponse:
			return nil
		case *pgproto3.ErrorResponse:
			refused = pgconn.ErrorResponseToPgError(m)
		case *pgproto3.ReadyForQuery:
			if refused == nil {
				refused = errors.New("the server does not begin to send its log")
			}
			return refused
		}
	}
}

// receive reads what the server sends until the connection ends, and tells it that somebody is there, also while nobody takes what
// was read.
func (w *walConn) receive() error {
	told, toldAt := lsn(w.stored.Load()), time.Time{}
	received := told
	tell := func(ask bool) error {
		confirmed := lsn(w.stored.Load())
		told, toldAt = confirmed, time.Now()
		// Written, flushed and applied are the same for who has stored everything up to a position.
		m := make([]byte, 34)
		m[0] = 'r'
		binary.BigEndian.PutUint64(m[1:], uint64(max(received, confirmed)))
		binary.BigEndian.PutUint64(m[9:], uint64(confirmed))
		binary.BigEndian.PutUint64(m[17:], uint64(confirmed))
		binary.BigEndian.PutUint64(m[25:], uint64(time.Now().UnixMicro()-epochMicros))
		if ask {
			m[33] = 1
		}
		w.raw.Frontend.Send(&pgproto3.CopyData{Data: m})
		return w.raw.Frontend.Flush()
	}
	var piece []walMessage
	size := 0
	give := func() error {
		if len(piece) == 0 {
			return nil
		}
		full := piece
		piece, size = nil, 0
		select { // a ticker only where there is to be waited
		case w.messages <- full:
			return nil
		default:
		}
		tick := time.NewTicker(w.tick)
		defer tick.Stop()
		for {
			select {
			case w.messages <- full:
				return nil
			case <-w.quit:
				return errStopped
			case <-tick.C:
				if err := tell(false); err != nil {
					return err
				}
			}
		}
	}
	if err := tell(true); err != nil {
		return err
	}
	// Silence is what was waited in vain since the server was last heard, piece by piece: time in which nobody listened, because the batches
	// were not taken or the machine had no time for this process, is not the server's.
	silent, deadline := time.Duration(0), time.Time{}
	for {
		now := time.Now()
		if told != lsn(w.stored.Load()) || now.Sub(toldAt) >= w.tick { // also while much comes: its question may lie behind all of that
			if err := tell(false); err != nil {
				return err
			}
		}
		if deadline.Sub(now) < w.tick/2 {
			deadline = now.Add(w.tick)
			if err := w.raw.Conn.SetReadDeadline(deadline); err != nil {
				return err
			}
		}
		message, err := w.raw.Frontend.Receive()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if silent += min(time.Since(now), w.tick); silent > w.d.server.networkTimeout {
				return fmt.Errorf("the server has been silent for %v while its log was read: %w", silent.Round(time.Second), errSilent)
			}
			if err := errors.Join(give(), tell(true)); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		silent = 0
		switch m := message.(type) {
		case *pgproto3.CopyData:
			switch {
			case len(m.Data) >= 25 && m.Data[0] == 'w':
				received = max(received, lsn(binary.BigEndian.Uint64(m.Data[1:])))
				piece = append(piece, walMessage{payload: append([]byte(nil), m.Data[25:]...)}) // the buffer is used again
				size += len(m.Data)
			case len(m.Data) >= 18 && m.Data[0] == 'k':
				end := lsn(binary.BigEndian.Uint64(m.Data[1:]))
				received = max(received, end)
				if m.Data[17] == 1 {
					if err := tell(false); err != nil {
						return err
					}
				}
				piece = append(piece, walMessage{end: end})
			default:
				return fmt.Errorf("the server sent a piece of its log that is not understood: %.16x", m.Data)
			}
			if size >= walPiece || w.raw.Frontend.ReadBufferLen() == 0 && !w.way.waiting() {
				if err := give(); err != nil {
					return err
				}
			}
		case *pgproto3.ErrorResponse:
			return pgconn.ErrorResponseToPgError(m)
		case *pgproto3.CopyDone:
			return fmt.Errorf("the server sends no more of its log: %w", io.ErrUnexpectedEOF)
		}
	}
}
