package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
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
		kind{name: "too-many-parts", weight: 1, make: rejecting("TOO_MANY_PARTS", "parts_to_delay_insert = 1, parts_to_throw_insert = 1")},
		kind{name: "memory-limit", weight: 1, make: passing(amended("MEMORY_LIMIT_EXCEEDED", map[string]string{"max_memory_usage": "1000", "max_untracked_memory": "1"}))},
		kind{name: "disk-full", weight: 1, make: rejecting("NOT_ENOUGH_SPACE", "min_free_disk_bytes_to_perform_insert = 1000000000000000000")},
		kind{name: "table-read-only", weight: 1, make: passing(answered(http.StatusInternalServerError, 242, "Code: 242. DB::Exception: Table is in readonly mode. (TABLE_IS_READ_ONLY)"))},
		kind{name: "user-read-only", weight: 1, make: holding(amended("READONLY", map[string]string{"readonly": "1"}))},
		kind{name: "status-500", weight: 1, make: holding(answered(http.StatusInternalServerError, 0, "Internal Server Error"))},
		kind{name: "status-503", weight: 1, make: passing(answered(http.StatusServiceUnavailable, 0, "Service Unavailable"))},
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

// errMissed says that a fault did not come about: the program made no such request or step, as it had nothing to do.
var errMissed = errors.New("the program had nothing to do that the fault could hit")

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

// refusal makes the next n inserts into a table fail, by the proxy or by the engine. name is the engine's error, "" when the
// proxy answers in its place.
type refusal struct {
	name  string
	order func(c *campaign, table string, n int) *faultproxy.Order
}

// answered answers inserts in the server's place.
func answered(status, code int, text string) refusal {
	return refusal{order: func(c *campaign, table string, n int) *faultproxy.Order {
		return c.world.http.Answer(faultproxy.Insert, table, n, status, code, text)
	}}
}

// amended passes inserts on with settings under which the engine itself refuses them.
func amended(name string, settings map[string]string) refusal {
	return refusal{name, func(c *campaign, table string, n int) *faultproxy.Order {
		return c.world.http.Amend(faultproxy.Insert, table, n, settings)
	}}
}

// passing makes inserts fail for a while with what may pass by itself: they are tried again.
func passing(r refusal) func(ctx context.Context, c *campaign) error {
	return r.make([]string{"observation", "hotline_case", ""}, 4)
}

// holding makes one insert fail with what means that the table does not take the rows: they are held, until a process that
// starts later repairs them.
func holding(r refusal) func(ctx context.Context, c *campaign) error {
	return r.make([]string{"observation", "hotline_case"}, 1)
}

func (r refusal) make(tables []string, most int) func(ctx context.Context, c *campaign) error {
	return func(ctx context.Context, c *campaign) error {
		before, err := c.errors(ctx, r.name)
		if err != nil {
			return err
		}
		o := r.order(c, tables[c.rng.IntN(len(tables))], 1+c.rng.IntN(most))
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
		after, err := c.errors(ctx, r.name)
		if err == nil && r.name != "" && after == before {
			err = fmt.Errorf("%w: the engine did not answer %s", errMissed, r.name)
		}
		return err
	}
}

// errors asks how often the engine has answered with an error.
func (c *campaign) errors(ctx context.Context, name string) (string, error) {
	rows, err := c.world.query(ctx, "SELECT sum(value) AS n FROM system.errors WHERE name = '"+name+"'")
	if err != nil {
		return "", err
	}
	return fmt.Sprint(rows[0]["n"]), nil
}

// rejecting lets the engine itself reject inserts into one table for a while: the setting makes it see the limit that a full
// server has. The fault came about when the engine has counted its error.
func rejecting(name, settings string) func(ctx context.Context, c *campaign) error {
	return func(ctx context.Context, c *campaign) (err error) {
		before, err := c.errors(ctx, name)
		if err != nil {
			return err
		}
		table := []string{"observation", "hotline_case"}[c.rng.IntN(2)]
		if _, err := c.world.exec(ctx, "ALTER TABLE "+table+" MODIFY SETTING "+settings); err != nil {
			return err
		}
		var names []string
		for s := range strings.SplitSeq(settings, ", ") {
			setting, _, _ := strings.Cut(s, " ")
			names = append(names, setting)
		}
		defer func() {
			_, rerr := c.world.exec(ctx, "ALTER TABLE "+table+" RESET SETTING "+strings.Join(names, ", "))
			err = errors.Join(err, rerr)
		}()
		if _, err := c.busy(ctx); err != nil {
			return err
		}
		after := before
		for try := 0; after == before && try < 8; try++ {
			if err := c.work.all(); err != nil {
				return err
			}
			c.between(ctx, 200*time.Millisecond, time.Second)
			if after, err = c.errors(ctx, name); err != nil {
				return err
			}
		}
		if after == before {
			return fmt.Errorf("%w: the engine rejected nothing", errMissed)
		}
		c.afterwards(ctx)
		return nil
	}
}
