// Package faultproxy stands between a client and a server on loopback and misbehaves as told: it delays, throttles, cuts,
// answers in the server's place, loses the answer to a request that the server has carried out, and holds one request back
// while later ones pass, so that it lands late.
//
// Kafka understands enough of Kafka's protocol to choose requests by their kind and to keep clients on the proxy; HTTP
// understands ClickHouse's interface. A fault that concerns single requests is an Order: it says when it has been carried out.
package faultproxy

import (
	"context"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// conditions are what everything that passes a proxy is subject to.
type conditions struct {
	mu       sync.Mutex
	delay    time.Duration
	perSec   int // bytes; 0 is without bound
	refusing bool
	conns    map[net.Conn]struct{}
	orders   []*Order
	closed   bool
}

// Order is a fault that was ordered and waits for the requests that it is about.
type Order struct {
	from     *conditions
	match    func(any) bool
	left     int // requests still to be met; below 0 is without bound
	met      int
	act      action
	status   int               // of answer
	code     int               // of answer
	text     string            // of answer
	settings map[string]string // of amend
	done     chan struct{}
	released chan struct{} // of hold
	once     sync.Once
}

type action int

const (
	lose   action = iota // the answer, after the server has given it
	answer               // in the server's place
	hold                 // the request, until it is released
	amend                // the request's settings
)

// Done is closed when the order has met as many requests as it was given for.
func (o *Order) Done() <-chan struct{} { return o.done }

// Met is how many requests the order has met.
func (o *Order) Met() int {
	o.from.mu.Lock()
	defer o.from.mu.Unlock()
	return o.met
}

// Release lets the requests pass that the order holds back.
func (o *Order) Release() { o.once.Do(func() { close(o.released) }) }

// Cancel ends the order: no further request is met, and what it holds passes.
func (o *Order) Cancel() {
	o.from.mu.Lock()
	o.from.orders = slices.DeleteFunc(o.from.orders, func(other *Order) bool { return other == o })
	o.from.mu.Unlock()
	o.Release()
}

func (c *conditions) order(o *Order, match func(any) bool, n int) *Order {
	o.from, o.match, o.left = c, match, n
	o.done, o.released = make(chan struct{}), make(chan struct{})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.orders = append(c.orders, o)
	return o
}

// met returns the first order of one of these actions that a request meets, nil if there is none, and counts it.
func (c *conditions) met(request any, acts ...action) *Order {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, o := range c.orders {
		if !slices.Contains(acts, o.act) || !o.match(request) {
			continue
		}
		o.met++
		if o.left > 0 {
			o.left--
			if o.left == 0 {
				c.orders = slices.Delete(c.orders, i, i+1)
				close(o.done)
			}
		}
		return o
	}
	return nil
}

// Delay makes everything that passes wait for as long, in each direction. 0 ends it.
func (c *conditions) Delay(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.delay = d
}

// Throttle lets so many bytes pass in a second, on each connection and in each direction. 0 ends it.
func (c *conditions) Throttle(bytesPerSecond int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.perSec = bytesPerSecond
}

// Refuse cuts all connections and lets no new one live until it is called with false.
func (c *conditions) Refuse(on bool) {
	c.mu.Lock()
	c.refusing = on
	c.mu.Unlock()
	if on {
		c.Cut()
	}
}

// Cut closes all client connections that are open now.
func (c *conditions) Cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		_ = conn.Close() // it is what we want, however it goes
	}
}

// Clear ends all delays, bounds, refusals and orders.
func (c *conditions) Clear() {
	c.mu.Lock()
	orders := c.orders
	c.delay, c.perSec, c.refusing, c.orders = 0, 0, false, nil
	c.mu.Unlock()
	for _, o := range orders {
		o.Release()
	}
}

// enter takes a new client connection in; false means that it is not wanted.
func (c *conditions) enter(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.refusing {
		return false
	}
	if c.conns == nil {
		c.conns = map[net.Conn]struct{}{}
	}
	c.conns[conn] = struct{}{}
	return true
}

func (c *conditions) leave(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.conns, conn)
}

// end cuts what is open and keeps everything new out.
func (c *conditions) end() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.Clear()
	c.Cut()
}

// pace waits as long as so many bytes have to. It returns when ctx ends, too.
func (c *conditions) pace(ctx context.Context, bytes int) {
	c.mu.Lock()
	wait := c.delay
	if c.perSec > 0 {
		wait += time.Duration(float64(bytes) / float64(c.perSec) * float64(time.Second))
	}
	c.mu.Unlock()
	if wait <= 0 {
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// paced is a reader that is subject to the conditions.
type paced struct {
	io.Reader
	ctx context.Context
	c   *conditions
}

func (p paced) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if n > 0 {
		p.c.pace(p.ctx, n)
	}
	return n, err
}
