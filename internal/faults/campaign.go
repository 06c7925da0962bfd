package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// campaign is one broker's share of the whole.
type campaign struct {
	options options
	world   *world
	work    *workload
	rng     *rand.Rand // of the fault at work; each has its own, so that what one draws moves no other
	log     *slog.Logger
	report  *report

	schema   int      // versions of the cases' schema that were made
	recent   []string // kinds since the last comparison
	deferred int64    // physical doubles so far that were allowed or reported
	lenient  bool     // a fault since the last comparison leaves single rows to the keys
	gaps     int64    // recorded in the ledger by the last comparison
	gap      bool     // a fault since the last comparison makes gaps
	seen     int64    // how far the file of marks was read
}

func newCampaign(ctx context.Context, o options, dir, binary, old string, total *report, log *slog.Logger, rng *rand.Rand) (*campaign, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	w, err := newWorld(ctx, dir, binary, old, o.broker, log)
	if err != nil {
		return nil, err
	}
	c := &campaign{options: o, world: w, rng: rng, log: log, report: total, work: newWorkload(filepath.Join(dir, "project"), rand.New(rand.NewPCG(rng.Uint64(), 0)), o.scale)}
	if _, err := w.instance(0); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return c, nil
}

// campaign makes faults until there were enough, and compares.
func (c *campaign) campaign(ctx context.Context) error {
	if err := c.work.all(); err != nil {
		return err
	}
	if err := c.settle(ctx); err != nil {
		return fmt.Errorf("before any fault: %w", err)
	}
	began := time.Now()
	kinds := c.kinds()
	plan := c.rng
	var queue []*kind
	for n := 0; ; n++ {
		if c.options.duration > 0 && time.Since(began) >= c.options.duration {
			break
		}
		if c.options.duration == 0 && c.report.kills[c.options.broker] >= c.options.kills {
			break
		}
		if len(queue) == 0 {
			for _, k := range kinds {
				for range k.weight {
					queue = append(queue, k)
				}
			}
			queue = shuffled(plan, queue)
			if n == 0 { // each kind comes once before any comes again, so that a short campaign has them all
				queue = append(shuffled(plan, kinds), queue...)
			}
		}
		k := queue[0]
		queue = queue[1:]
		c.rng = rand.New(rand.NewPCG(plan.Uint64(), 0))
		if err := c.fault(ctx, k); err != nil {
			return fmt.Errorf("fault %d, %s: %w", n, k.name, err)
		}
		if len(c.recent) >= c.options.every || k.settle {
			if err := c.settle(ctx); err != nil {
				return fmt.Errorf("after fault %d, %s: %w", n, k.name, err)
			}
		}
	}
	if err := c.settle(ctx); err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	if c.options.recovery > 0 {
		if err := c.recovery(ctx); err != nil {
			return fmt.Errorf("measuring recovery: %w", err)
		}
	}
	return nil
}

func shuffled(plan *rand.Rand, list []*kind) []*kind {
	out := slices.Clone(list)
	plan.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func (c *campaign) kinds() []*kind {
	var out []*kind
	for i := range kinds {
		k := &kinds[i]
		if len(c.options.kinds) > 0 && !slices.Contains(c.options.kinds, k.name) {
			continue
		}
		if k.brokers != "" && !strings.Contains(" "+k.brokers+" ", " "+c.options.broker+" ") {
			continue
		}
		if k.name == "program-upgraded" && c.world.old == "" {
			continue
		}
		out = append(out, k)
	}
	return out
}

// fault makes one fault and sees that the program is up again under it.
func (c *campaign) fault(ctx context.Context, k *kind) error {
	began := time.Now()
	if k.settle && len(c.recent) > 0 {
		if err := c.settle(ctx); err != nil {
			return err
		}
	}
	c.lenient, c.gap = c.lenient || k.lenient, c.gap || k.gap
	c.recent = append(c.recent, k.name)
	made := k.make(ctx, c)
	if made != nil && !errors.Is(made, errMissed) {
		return made
	}
	for _, i := range c.world.instances {
		if i.fell() {
			return fmt.Errorf("the program ended by itself: %s", i.tail())
		}
	}
	c.world.kafka.Clear()
	c.world.http.Clear()
	if err := errors.Join(c.world.broker.restore(ctx), c.world.warehouse.restore(ctx)); err != nil {
		return err
	}
	if made != nil {
		c.report.missed++
		c.log.Info("a fault did not come about", "kind", k.name, "why", made)
	} else {
		c.report.faults[c.options.broker+" "+k.name]++
	}
	c.log.Debug("fault", "kind", k.name, "took", time.Since(began).Round(time.Millisecond), "kills", c.report.kills[c.options.broker])
	// The account must balance at any moment.
	_, unbalanced, _, err := c.world.books(ctx)
	if err == nil && unbalanced > 0 {
		err = fmt.Errorf("%d lines of the ledger do not balance", unbalanced)
	}
	return err
}

// kill kills an instance and counts it.
func (c *campaign) kill(i *instance) {
	if i.kill() {
		c.report.kills[c.options.broker]++
	}
}

// between sleeps for a random time: faults come at any moment, and nothing is waited for.
func (c *campaign) between(ctx context.Context, from, to time.Duration) {
	timer := time.NewTimer(from + time.Duration(c.rng.Int64N(int64(to-from))))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// busy changes a file, starts the first instance and returns when it works.
func (c *campaign) busy(ctx context.Context, env ...string) (*instance, error) {
	i := c.world.instances[0]
	if err := c.work.change(); err != nil {
		return nil, err
	}
	if len(env) > 0 {
		c.kill(i)
	}
	if err := i.start(env...); err != nil {
		return nil, err
	}
	_, err := c.mark(ctx, 10*time.Second, func(m mark) bool { return m.PID == i.cmd.Process.Pid })
	if errors.Is(err, errNoMark) {
		err = nil // it has nothing to do yet, or has died
	}
	return i, err
}

// mark is what the program, built for faults, says of a step.
type mark struct {
	PID  int    `json:"pid"`
	At   int64  `json:"at"`
	Step string `json:"step"`
	US   int64  `json:"us"`
}

var errNoMark = errors.New("the program made no such step")

// marks reads what was said since the last time.
func (c *campaign) marks() ([]mark, error) {
	f, err := os.Open(filepath.Join(c.world.dir, "marks"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(c.seen, io.SeekStart); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	text = text[:bytes.LastIndexByte(text, '\n')+1]
	c.seen += int64(len(text))
	var out []mark
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		var m mark
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			return nil, fmt.Errorf("read the marks: %w", err)
		}
		out = append(out, m)
	}
	return out, lines.Err()
}

// mark waits for a step that is made from now on.
func (c *campaign) mark(ctx context.Context, within time.Duration, match func(mark) bool) (mark, error) {
	deadline := time.Now().Add(within)
	tick := time.NewTicker(5 * time.Millisecond) // another process's file is polled: there is no event to wait for
	defer tick.Stop()
	if _, err := c.marks(); err != nil {
		return mark{}, err
	}
	for time.Now().Before(deadline) {
		list, err := c.marks()
		if err != nil {
			return mark{}, err
		}
		for _, m := range list {
			if match(m) {
				return m, nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return mark{}, ctx.Err()
		}
	}
	return mark{}, errNoMark
}

// settle lets everything come to rest and compares the end state.
func (c *campaign) settle(ctx context.Context) error {
	w := c.world
	for _, i := range w.instances {
		if err := i.stop(); err != nil {
			return err
		}
	}
	i := w.instances[0]
	for try := 1; ; try++ {
		err := i.run(ctx, 2*time.Minute)
		if err == nil {
			var held int64
			if _, _, held, err = w.books(ctx); err == nil && held > 0 {
				err = fmt.Errorf("%d rows are held", held)
			}
		}
		if err == nil {
			break
		}
		// What a fault left stopped or held is taken up again by the next process: one that was up all the time may have given
		// a partition up, as it says.
		if try == 3 || ctx.Err() != nil {
			return err
		}
		c.log.Debug("not at rest yet", "error", err)
	}
	if err := c.compare(ctx); err != nil {
		return fmt.Errorf("%w (since the last comparison: %s)", err, strings.Join(c.recent, " "))
	}
	if err := c.leaks(); err != nil {
		return err
	}
	c.recent, c.lenient, c.gap = nil, false, false
	return nil
}

func (c *campaign) compare(ctx context.Context) error {
	want := c.work.expected()
	got, err := c.world.state(ctx)
	if err != nil {
		return err
	}
	physical, unbalanced, held, err := c.world.books(ctx)
	if err != nil {
		return err
	}
	d := want.compare(got)
	r := c.report
	r.checks++
	r.rows += c.work.rows
	c.work.rows = 0
	r.expected += int64(len(want.figures) + len(want.cases) + len(want.quarantine))
	r.lost, r.doubled, r.wrong = r.lost+d.lost, r.doubled+d.doubled, r.wrong+d.wrong
	r.quarantined += int64(len(want.quarantine))
	var errs []error
	if d.lost+d.doubled+d.wrong > 0 {
		errs = append(errs, fmt.Errorf("%d rows lost, %d doubled, %d wrong:\n  %s", d.lost, d.doubled, d.wrong, strings.Join(d.examples, "\n  ")))
	}
	// Merges take physical doubles away: only more than before is news.
	if more := physical - c.deferred; more > 0 {
		r.physical += more
		if c.lenient {
			r.allowed += more
		} else {
			errs = append(errs, fmt.Errorf("%d rows are there twice physically", more))
		}
	}
	c.deferred = physical
	rows, err := c.world.query(ctx, "SELECT count() AS n FROM ledger FINAL WHERE kind = 'gap'")
	if err != nil {
		return err
	}
	gaps, err := strconv.ParseInt(fmt.Sprint(rows[0]["n"]), 10, 64)
	if err != nil {
		return err
	}
	if gaps > c.gaps && !c.gap {
		errs = append(errs, fmt.Errorf("%d gaps were recorded that no fault made", gaps-c.gaps))
	}
	c.report.gaps += max(0, gaps-c.gaps)
	c.gaps = gaps
	if unbalanced > 0 || held > 0 {
		errs = append(errs, fmt.Errorf("%d lines of the ledger do not balance, %d rows are held", unbalanced, held))
	}
	return errors.Join(errs...)
}

// leaks looks for what must not be left after processes have ended.
func (c *campaign) leaks() error {
	for _, i := range c.world.instances {
		if i.alive() {
			return fmt.Errorf("%s is still alive", i.dir)
		}
		entries, err := os.ReadDir(filepath.Join(i.dir, ".headwater"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for _, e := range entries {
			switch e.Name() {
			case "run.lock", "instance", "key", "keys", "masking.key":
				continue
			case "control":
				// What a process leaves that was killed, the next service clears away.
				left, err := os.ReadDir(filepath.Join(i.dir, ".headwater", "control"))
				if err != nil {
					return err
				}
				if len(left) == 0 || !i.ended0() {
					continue
				}
			}
			return fmt.Errorf("%s was left in the state folder of %s", e.Name(), i.dir)
		}
	}
	return nil
}

// recovery measures with default settings, session and flushes, what the campaign's small ones would hide: first the share of the
// protocol in undisturbed flushes of full size, then how long it takes from a process being started again after a kill to its
// first commit.
func (c *campaign) recovery(ctx context.Context) error {
	c.world.defaults = true
	i, err := c.world.instance(0)
	if err != nil {
		return err
	}
	if err := c.protocol(ctx, i); err != nil {
		return err
	}
	for n := range c.options.recovery {
		if err := c.work.change(); err != nil {
			return err
		}
		if err := i.start(); err != nil {
			return err
		}
		if _, err := c.mark(ctx, time.Minute, func(m mark) bool { return m.PID == i.cmd.Process.Pid && m.Step == "commit" }); err != nil {
			return fmt.Errorf("recovery %d: %w: %s", n, err, i.tail())
		}
		// There is work when it dies, and when it is back.
		for range 2 {
			if err := c.work.change(); err != nil {
				return err
			}
		}
		c.between(ctx, 0, 1500*time.Millisecond)
		c.kill(i)
		if err := c.work.change(); err != nil {
			return err
		}
		if err := i.start(); err != nil {
			return err
		}
		began := time.Now()
		if _, err := c.mark(ctx, time.Minute, func(m mark) bool { return m.PID == i.cmd.Process.Pid && m.Step == "commit" }); err != nil {
			return fmt.Errorf("recovery %d: %w: %s", n, err, i.tail())
		}
		c.report.recoveries = append(c.report.recoveries, time.Since(began))
		c.log.Debug("recovered", "took", time.Since(began).Round(time.Millisecond))
	}
	return c.settle(ctx)
}

// protocol takes the time of large flushes that nobody disturbs, as a backlog gives them (smaller ones end sooner, and the protocol is
// a larger part of them): all of claims, intents (with the shape that they name)
// and final commits, against the whole, from when a flush's rows are in hand to its final commit.
func (c *campaign) protocol(ctx context.Context, i *instance) error {
	if err := i.stop(); err != nil {
		return err
	}
	if _, err := c.marks(); err != nil {
		return err
	}
	usual := c.work.scale
	c.work.scale = 400_000 // a flush that has so much to take up takes 1,000,000
	for range 2 {
		for file := range c.work.figures {
			if err := c.work.changeFigures(file); err != nil {
				return err
			}
		}
		if err := i.run(ctx, 5*time.Minute); err != nil {
			return err
		}
	}
	list, err := c.marks()
	if err != nil {
		return err
	}
	for _, m := range list {
		took := time.Duration(m.US) * time.Microsecond
		switch m.Step {
		case "claim":
			c.report.protocol += took
			c.report.flushing += took
		case "intent", "commit", "StoreShape":
			c.report.protocol += took
		case "flush":
			c.report.flushing += took
			c.report.flushes++
		}
	}
	if c.report.flushes == 0 {
		return errors.New("no flush was seen")
	}
	c.work.scale = usual
	for file := range c.work.figures { // small again
		if err := c.work.changeFigures(file); err != nil {
			return err
		}
	}
	return c.settle(ctx)
}
