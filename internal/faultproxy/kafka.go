package faultproxy

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxFrame is more than any message that a broker takes.
const maxFrame = 128 << 20

// Kafka is a proxy before the brokers of a cluster. In the answers that name brokers it puts itself in their place, so that
// clients stay with it. Logins pass untouched.
type Kafka struct {
	conditions
	listeners []net.Listener
	places    map[string]string // a broker's address to the proxy's
	ctx       context.Context   // ends with the proxy
	stop      context.CancelFunc
	wait      sync.WaitGroup
}

// NewKafka listens on one loopback port for each of the brokers' addresses.
func NewKafka(brokers []string) (*Kafka, error) {
	p := &Kafka{places: map[string]string{}}
	p.ctx, p.stop = context.WithCancel(context.Background())
	for _, b := range brokers {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		p.listeners = append(p.listeners, l)
		p.places[b] = l.Addr().String()
	}
	for i, l := range p.listeners {
		p.wait.Go(func() { p.accept(l, brokers[i]) })
	}
	return p, nil
}

// Addresses are where clients find the brokers.
func (p *Kafka) Addresses() []string {
	var out []string
	for _, l := range p.listeners {
		out = append(out, l.Addr().String())
	}
	return out
}

// Close cuts everything and ends.
func (p *Kafka) Close() error {
	var errs []error
	for _, l := range p.listeners {
		errs = append(errs, l.Close())
	}
	p.stop()
	p.end()
	p.wait.Wait()
	return errors.Join(errs...)
}

// Lose loses the answers to the next n requests of a kind (kmsg.Produce, kmsg.OffsetCommit, …), after the broker has given
// them, and cuts the connections that they were for.
func (p *Kafka) Lose(kind kmsg.Key, n int) *Order {
	return p.order(&Order{act: lose}, ofKind(kind), n)
}

// Hold holds the next request of a kind back until the order is released; requests on other connections pass it. It reaches the
// broker then even if its client has given up.
func (p *Kafka) Hold(kind kmsg.Key) *Order {
	return p.order(&Order{act: hold}, ofKind(kind), 1)
}

func ofKind(kind kmsg.Key) func(any) bool {
	return func(request any) bool { return request.(asked).key == kind.Int16() }
}

// asked is what a request's header says.
type asked struct {
	key, version int16
	lost         *Order // its answer is to be lost
}

func (p *Kafka) accept(l net.Listener, broker string) {
	for {
		client, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		if !p.enter(client) {
			_ = client.Close() // nothing was written
			continue
		}
		p.wait.Go(func() {
			defer p.leave(client)
			defer client.Close()
			p.serve(client, broker)
		})
	}
}

func (p *Kafka) serve(client net.Conn, broker string) {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	server, err := dialer.DialContext(p.ctx, "tcp", broker)
	if err != nil {
		return
	}
	defer context.AfterFunc(p.ctx, func() { _ = server.Close() })()
	var mu sync.Mutex
	open := map[int32]asked{}
	var wait sync.WaitGroup
	wait.Go(func() {
		// Whoever reads the answers ends the client's connection; the requests that were taken still reach the broker.
		defer client.Close()
		p.answers(client, server, func(id int32) (asked, bool) {
			mu.Lock()
			defer mu.Unlock()
			a, ok := open[id]
			delete(open, id)
			return a, ok
		})
	})
	p.requests(client, server, func(id int32, a asked) {
		mu.Lock()
		defer mu.Unlock()
		open[id] = a
	})
	_ = server.Close() // ends the other half
	wait.Wait()
}

// requests passes requests on until the client or the broker is gone.
func (p *Kafka) requests(client, server net.Conn, note func(int32, asked)) {
	for {
		frame, err := readFrame(client)
		if err != nil || len(frame) < 12 {
			return
		}
		a := asked{key: int16(binary.BigEndian.Uint16(frame[4:])), version: int16(binary.BigEndian.Uint16(frame[6:]))}
		if a.key == int16(kmsg.SASLHandshake) && a.version == 0 {
			return // what follows it has no headers; every client of today says version 1
		}
		if o := p.met(a, hold); o != nil {
			select {
			case <-o.released:
			case <-p.ctx.Done():
				return
			}
		}
		a.lost = p.met(a, lose)
		note(int32(binary.BigEndian.Uint32(frame[8:])), a)
		p.pace(p.ctx, len(frame))
		if _, err := server.Write(frame); err != nil {
			return
		}
	}
}

// answers passes answers back until one of both is gone or an answer is to be lost.
func (p *Kafka) answers(client, server net.Conn, of func(int32) (asked, bool)) {
	for {
		frame, err := readFrame(server)
		if err != nil || len(frame) < 8 {
			return
		}
		a, ok := of(int32(binary.BigEndian.Uint32(frame[4:])))
		if !ok || a.lost != nil {
			return
		}
		if frame, err = p.rewrite(a, frame); err != nil {
			return
		}
		p.pace(p.ctx, len(frame))
		if _, err := client.Write(frame); err != nil {
			return
		}
	}
}

func readFrame(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxFrame {
		return nil, fmt.Errorf("a frame of %d bytes", n)
	}
	frame := make([]byte, 4+n)
	copy(frame, size[:])
	_, err := io.ReadFull(r, frame[4:])
	return frame, err
}

// rewrite puts the proxy in the brokers' place.
func (p *Kafka) rewrite(a asked, frame []byte) ([]byte, error) {
	var response kmsg.Response
	switch kmsg.Key(a.key) {
	case kmsg.Metadata, kmsg.FindCoordinator, kmsg.DescribeCluster:
		response = kmsg.ResponseForKey(a.key)
	default:
		return frame, nil
	}
	response.SetVersion(a.version)
	header := 8
	if response.IsFlexible() {
		header++ // tags, of which there are none
		if len(frame) < header || frame[header-1] != 0 {
			return nil, errors.New("an answer's header has tags")
		}
	}
	if err := response.ReadFrom(frame[header:]); err != nil {
		return nil, fmt.Errorf("read an answer of kind %d, version %d: %w", a.key, a.version, err)
	}
	switch r := response.(type) {
	case *kmsg.MetadataResponse:
		for i := range r.Brokers {
			p.replace(&r.Brokers[i].Host, &r.Brokers[i].Port)
		}
	case *kmsg.FindCoordinatorResponse:
		p.replace(&r.Host, &r.Port)
		for i := range r.Coordinators {
			p.replace(&r.Coordinators[i].Host, &r.Coordinators[i].Port)
		}
	case *kmsg.DescribeClusterResponse:
		for i := range r.Brokers {
			p.replace(&r.Brokers[i].Host, &r.Brokers[i].Port)
		}
	}
	out := response.AppendTo(append([]byte(nil), frame[:header]...))
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	return out, nil
}

func (p *Kafka) replace(host *string, port *int32) {
	place, ok := p.places[net.JoinHostPort(*host, strconv.Itoa(int(*port)))]
	if !ok {
		return // an error's empty address, or a broker that nobody named
	}
	h, n, err := net.SplitHostPort(place)
	if err != nil {
		return
	}
	number, err := strconv.Atoi(n)
	if err != nil {
		return
	}
	*host, *port = h, int32(number)
}
