package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// kind is a kind of fault.
type kind struct {
	name    string
	weight  int    // how often it comes, beside the others
	brokers string // on which brokers, "" is all
	settle  bool   // the end state is compared before and after it
	lenient bool   // rows may be there twice physically afterwards: keys keep them single
	gap     bool   // batches that were not loaded go: a gap is recorded
	make    func(ctx context.Context, c *campaign) error
}

func find(name string) *kind {
	for i := range kinds {
		if kinds[i].name == name {
			return &kinds[i]
		}
	}
	return nil
}

func names() []string {
	var out []string
	for _, k := range kinds {
		out = append(out, k.name)
	}
	return out
}

var kinds []kind

// points are where the program kills itself, as kill -9 does.
var points = []string{"claimed", "produced", "written", "collecting", "intent", "inserted", "between-tables", "before-ledger", "before-final-commit"}

func init() {
	kinds = append(kinds,
		kind{name: "kill", weight: 20, make: killAtRandom},
		kind{name: "kill-ingester", weight: 3, make: killIngester},
		kind{name: "kill-loader", weight: 3, make: killLoader},
		kind{name: "kill-early", weight: 4, make: killEarly},
	)
	for _, p := range points {
		kinds = append(kinds, kind{name: "kill-at-" + p, weight: 3, make: killAt(p)})
	}
}

// killAtRandom kills the program at any moment of its work.
func killAtRandom(ctx context.Context, c *campaign) error {
	i, err := c.busy(ctx)
	if err != nil {
		return err
	}
	c.between(ctx, 0, 600*time.Millisecond)
	c.kill(i)
	return nil
}

// killIngester kills a process that only writes: its loaders wait before they collect anything.
func killIngester(ctx context.Context, c *campaign) error { return c.unloaded(ctx) }

// killLoader kills a process that only loads: it waits for ever after its first claim, before it writes a batch.
func killLoader(ctx context.Context, c *campaign) error {
	if err := c.unloaded(ctx); err != nil {
		return err
	}
	i := c.world.instances[0]
	if err := i.start("HEADWATER_HOLD=claimed"); err != nil {
		return err
	}
	if _, err := c.mark(ctx, 5*time.Second, func(m mark) bool { return m.PID == i.cmd.Process.Pid }); err != nil && !errors.Is(err, errNoMark) {
		return err
	}
	c.between(ctx, 0, 400*time.Millisecond)
	c.kill(i)
	return nil
}

// killEarly kills the program while it starts.
func killEarly(ctx context.Context, c *campaign) error {
	i := c.world.instances[0]
	if err := c.work.change(); err != nil {
		return err
	}
	c.kill(i)
	if err := i.start(); err != nil {
		return err
	}
	c.between(ctx, 50*time.Millisecond, 700*time.Millisecond)
	c.kill(i)
	return nil
}

// killAt kills the program at a named point, the first or second time that it passes there. The fault did not come about
// when the program is not seen there; it is killed all the same.
func killAt(point string) func(ctx context.Context, c *campaign) error {
	return func(ctx context.Context, c *campaign) error {
		i := c.world.instances[0]
		if err := c.work.change(); err != nil {
			return err
		}
		pass := 1 + c.rng.IntN(2)
		if point == "between-tables" { // a flush has two when sources wait for it side by side
			pass = 1
			if err := c.work.all(); err != nil {
				return err
			}
			if err := c.unloaded(ctx); err != nil {
				return err
			}
		}
		c.kill(i)
		if err := i.start(fmt.Sprintf("HEADWATER_CRASH=%s:%d", point, pass)); err != nil {
			return err
		}
		for range 6 { // a point between tables may need another file
			if i.await(2 * time.Second) {
				break
			}
			if err := c.work.change(); err != nil {
				return err
			}
		}
		if i.alive() {
			c.kill(i)
			return fmt.Errorf("%w: the point %s was not reached", errMissed, point)
		}
		if !i.killed() {
			return fmt.Errorf("the program ended by itself: %s", i.tail())
		}
		c.report.kills[c.options.broker]++
		return nil
	}
}
