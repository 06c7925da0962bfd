package broker

import (
	"encoding/binary"
	"fmt"
	"net"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// guardedListener hands kfake connections whose requests it can bear: kfake allocates whatever size a request claims, before
// it knows who asks, and panics on a request key that it has never heard of (a browser or a port scanner sends both).
type guardedListener struct {
	net.Listener
	broker *Broker
}

func (l *guardedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &guardedConn{Conn: conn, broker: l.broker}, nil
}

type guardedConn struct {
	net.Conn
	broker *Broker
	frames frameCheck
}

func (c *guardedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if bad := c.frames.see(p[:n]); bad != nil {
		c.broker.log.Warn("embedded broker closed a connection", "client", c.RemoteAddr().String(), "reason", bad)
		return 0, bad
	}
	return n, err
}

func (c *guardedConn) Write(p []byte) (int, error) {
	select {
	case <-c.broker.failed:
		// The answer would acknowledge what was not kept.
		return 0, c.broker.failure
	default:
		return c.Conn.Write(p)
	}
}

// frameCheck follows the frames of a stream of Kafka requests, of which each begins with its size (4 bytes, without
// itself) and its request key (2 bytes).
type frameCheck struct {
	head     [6]byte
	headLen  int
	bodyLeft int // bytes of the current request still to come, when headLen is 6
}

// see takes the next bytes of the stream and returns an error as soon as they begin a request that must not be read.
func (f *frameCheck) see(p []byte) error {
	for len(p) > 0 {
		if f.headLen == len(f.head) {
			n := min(f.bodyLeft, len(p))
			p = p[n:]
			if f.bodyLeft -= n; f.bodyLeft == 0 {
				f.headLen = 0
			}
			continue
		}
		n := copy(f.head[f.headLen:], p)
		p = p[n:]
		f.headLen += n
		if f.headLen < 4 {
			return nil
		}
		// Every request has at least key, version and correlation id: 8 bytes.
		size := binary.BigEndian.Uint32(f.head[:4])
		if size < 8 || size > maxRequestBytes {
			return fmt.Errorf("not a Kafka request: it claims %d bytes (8 to %d are possible)", size, maxRequestBytes)
		}
		if f.headLen < len(f.head) {
			continue
		}
		if key := int16(binary.BigEndian.Uint16(f.head[4:])); kmsg.RequestForKey(key) == nil {
			return fmt.Errorf("not a Kafka request: there is no request key %d", key)
		}
		f.bodyLeft = int(size) - 2
	}
	return nil
}
