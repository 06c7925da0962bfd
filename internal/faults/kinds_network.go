package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/headwater-data/headwater/internal/faultproxy"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func init() {
	kinds = append(kinds,
		kind{name: "answer-lost-produce", weight: 2, make: loseKafka(kmsg.Produce)},
		kind{name: "answer-lost-offset-commit", weight: 2, make: loseKafka(kmsg.OffsetCommit)},
		kind{name: "answer-lost-insert", weight: 2, make: loseInsert},
		kind{name: "answer-lost-at-start", weight: 2, make: loseAtStart},
		kind{name: "produce-lands-late", weight: 2, make: holdKafka(kmsg.Produce)},
		kind{name: "offset-commit-lands-late", weight: 2, make: holdKafka(kmsg.OffsetCommit)},
		kind{name: "insert-lands-late", weight: 2, make: holdInsert},
		kind{name: "network-cut", weight: 1, make: cut},
		kind{name: "network-delay", weight: 1, make: network(func(c *campaign) {
			c.world.kafka.Delay(20 * time.Millisecond)
			c.world.http.Delay(20 * time.Millisecond)
		})},
		kind{name: "network-throttle", weight: 1, make: network(func(c *campaign) { c.world.kafka.Throttle(300_000); c.world.http.Throttle(300_000) })},
		kind{name: "broker-away", weight: 1, make: away(func(c *campaign, on bool) { c.world.kafka.Refuse(on) })},
		kind{name: "warehouse-away", weight: 1, make: away(func(c *campaign, on bool) { c.world.http.Refuse(on) })},
		kind{name: "too-many-parts", weight: 1, make: answered(http.StatusInternalServerError, 252, "Code: 252. DB::Exception: Too many parts (300). Merges are processing significantly slower than inserts. (TOO_MANY_PARTS)")},
		kind{name: "memory-limit", weight: 1, make: answered(http.StatusInternalServerError, 241, "Code: 241. DB::Exception: Memory limit (total) exceeded: would use 1.00 GiB. (MEMORY_LIMIT_EXCEEDED)")},
		kind{name: "disk-full", weight: 1, make: answered(http.StatusInternalServerError, 243, "Code: 243. DB::Exception: Cannot reserve 1.00 MiB, not enough space. (NOT_ENOUGH_SPACE)")},
		kind{name: "table-read-only", weight: 1, make: answered(http.StatusInternalServerError, 242, "Code: 242. DB::Exception: Table is in readonly mode. (TABLE_IS_READ_ONLY)")},
		kind{name: "user-read-only", weight: 1, make: refused(http.StatusInternalServerError, 164, "Code: 164. DB::Exception: Cannot execute query in readonly mode. (READONLY)")},
		kind{name: "status-500", weight: 1, make: refused(http.StatusInternalServerError, 0, "Internal Server Error")},
		kind{name: "status-503", weight: 1, make: answered(http.StatusServiceUnavailable, 0, "Service Unavailable")},
	)
}

// met waits until an order has been carried out; while it is not, files change so that there is work.
func (c *campaign) met(ctx context.Context, o *faultproxy.Order) error {
	for range 12 {
		select {
		case <-o.Done():
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
		if i := c.world.instances[0]; !i.alive() {
			return fmt.Errorf("the program ended by itself: %s", i.tail())
		}
		if err := c.work.change(); err != nil {
			return err
		}
	}
	return errMissed
}

// errMissed says that a fault did not come about: the program made no such request, as it had nothing to do.
var errMissed = errors.New("no such request was made")

// afterwards ends the fault in one of the ways that a fault may end: the program goes on, or is killed at once.
func (c *campaign) afterwards(ctx context.Context) {
	if c.rng.IntN(2) == 0 {
		c.between(ctx, 0, 300*time.Millisecond)
		c.kill(c.world.instances[0])
	}
}

func loseKafka(key kmsg.Key) func(ctx context.Context, c *campaign) error {
	return func(ctx context.Context, c *campaign) error {
		o := c.world.kafka.Lose(key, 1+c.rng.IntN(2))
		if _, err := c.busy(ctx); err != nil {
			return err
		}
		if err := c.met(ctx, o); err != nil {
			return err
		}
		c.afterwards(ctx)
		return nil
	}
}

func loseInsert(ctx context.Context, c *campaign) error {
	o := c.world.http.Lose(faultproxy.Insert, []string{"", "observation", "hotline_case"}[c.rng.IntN(3)], 1+c.rng.IntN(2))
	if _, err := c.busy(ctx); err != nil {
		return err
	}
	for range 4 { // a table may need its file to change
		if err := c.work.change(); err != nil {
			return err
		}
	}
	if err := c.met(ctx, o); err != nil {
		return err
	}
	c.afterwards(ctx)
	return nil
}

// loseAtStart loses any answer of the warehouse while the program starts.
func loseAtStart(ctx context.Context, c *campaign) error {
	i := c.world.instances[0]
	c.kill(i)
	if err := c.work.change(); err != nil {
		return err
	}
	o := c.world.http.Lose(faultproxy.Any, "", 1+c.rng.IntN(12))
	if err := i.start(); err != nil {
		return err
	}
	return c.met(ctx, o)
}

func holdKafka(key kmsg.Key) func(ctx context.Context, c *campaign) error {
	return func(ctx context.Context, c *campaign) error { return landLate(ctx, c, c.world.kafka.Hold(key)) }
}

func holdInsert(ctx context.Context, c *campaign) error {
	return landLate(ctx, c, c.world.http.Hold(faultproxy.Insert, []string{"observation", "hotline_case"}[c.rng.IntN(2)]))
}

// landLate holds a request back until its client has been killed and its successor is at work.
func landLate(ctx context.Context, c *campaign, o *faultproxy.Order) error {
	i, err := c.busy(ctx)
	if err != nil {
		return err
	}
	if err := c.met(ctx, o); err != nil {
		return err
	}
	c.kill(i)
	if _, err := c.busy(ctx); err != nil {
		return err
	}
	c.between(ctx, 0, time.Second)
	o.Release()
	c.between(ctx, 50*time.Millisecond, 500*time.Millisecond)
	return nil
}

func cut(ctx context.Context, c *campaign) error {
	if _, err := c.busy(ctx); err != nil {
		return err
	}
	for range 3 {
		c.between(ctx, 0, 200*time.Millisecond)
		if c.rng.IntN(2) == 0 {
			c.world.kafka.Cut()
		} else {
			c.world.http.Cut()
		}
		if err := c.work.change(); err != nil {
			return err
		}
	}
	c.afterwards(ctx)
	return nil
}

func network(worsen func(c *campaign)) func(ctx context.Context, c *campaign) error {
	return func(ctx context.Context, c *campaign) error {
		worsen(c)
		if _, err := c.busy(ctx); err != nil {
			return err
		}
		c.between(ctx, 200*time.Millisecond, 1500*time.Millisecond)
		c.afterwards(ctx)
		return nil
	}
}

func away(refuse func(c *campaign, on bool)) func(ctx context.Context, c *campaign) error {
	return func(ctx context.Context, c *campaign) error {
		if _, err := c.busy(ctx); err != nil {
			return err
		}
		c.between(ctx, 0, 200*time.Millisecond)
		refuse(c, true)
		if err := c.work.change(); err != nil {
			return err
		}
		c.between(ctx, 500*time.Millisecond, 2500*time.Millisecond)
		if c.rng.IntN(2) == 0 { // the next one starts while it is away
			c.kill(c.world.instances[0])
			if err := c.world.instances[0].start(); err != nil {
				return err
			}
			c.between(ctx, 100*time.Millisecond, time.Second)
		}
		refuse(c, false)
		return nil
	}
}

// answered answers inserts in the server's place for a while, with what may pass by itself: they are tried again.
func answered(status, code int, text string) func(ctx context.Context, c *campaign) error {
	return insteadOf([]string{"observation", "hotline_case", ""}, 4, status, code, text)
}

// refused answers one insert with what means that the table does not take the rows: they are held, until a process that starts
// later repairs them.
func refused(status, code int, text string) func(ctx context.Context, c *campaign) error {
	return insteadOf([]string{"observation", "hotline_case"}, 1, status, code, text)
}

func insteadOf(tables []string, most, status, code int, text string) func(ctx context.Context, c *campaign) error {
	return func(ctx context.Context, c *campaign) error {
		o := c.world.http.Answer(faultproxy.Insert, tables[c.rng.IntN(len(tables))], 1+c.rng.IntN(most), status, code, text)
		if _, err := c.busy(ctx); err != nil {
			return err
		}
		for range 3 {
			if err := c.work.change(); err != nil {
				return err
			}
		}
		if err := c.met(ctx, o); err != nil {
			return err
		}
		c.between(ctx, 0, 300*time.Millisecond)
		c.kill(c.world.instances[0])
		return nil
	}
}
