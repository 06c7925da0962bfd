package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/headwater-data/headwater/internal/faultproxy"
)

func init() {
	kinds = append(kinds,
		kind{name: "stop-and-continue", weight: 2, make: stopAndContinue},
		kind{name: "stalled-past-session", weight: 2, make: stalled},
		kind{name: "rebalance", weight: 2, make: rebalance},
		kind{name: "scale-1-4-2", weight: 1, make: scale},
		kind{name: "broker-kill", weight: 3, make: killServer(theBroker)},
		kind{name: "broker-stop-and-continue", weight: 1, make: stopServer(theBroker)},
		kind{name: "broker-lost", weight: 3, brokers: "kafka3", make: loseBroker},
		kind{name: "broker-leader-change", weight: 3, brokers: "kafka3", make: changeLeaders},
		kind{name: "warehouse-kill", weight: 3, make: killServer(theWarehouse)},
		kind{name: "warehouse-stop-and-continue", weight: 1, make: stopServer(theWarehouse)},
		kind{name: "away-past-deduplication-window", weight: 1, settle: true, lenient: true, make: pastWindow},
		kind{name: "commits-expired", weight: 1, make: expireCommits},
		kind{name: "warehouse-restored", weight: 1, settle: true, make: restoreWarehouse},
		kind{name: "retention-ate-unread", weight: 1, settle: true, gap: true, make: eatUnread},
		kind{name: "topic-recreated", weight: 1, settle: true, gap: true, make: recreateTopic},
		kind{name: "partitions-added", weight: 1, make: addPartitions},
		kind{name: "mapping-changed", weight: 2, make: changeMapping},
		kind{name: "schema-changed", weight: 1, make: changeSchema},
		kind{name: "program-upgraded", weight: 1, make: upgrade},
		kind{name: "clock-jump", weight: 2, make: jump},
		kind{name: "message-duplicated", weight: 1, make: message(duplicated)},
		kind{name: "message-corrupt", weight: 1, make: message(corrupt)},
		kind{name: "message-foreign", weight: 1, make: message(foreign)},
		kind{name: "row-oversized", weight: 1, make: oversized},
	)
}

func stopAndContinue(ctx context.Context, c *campaign) error {
	i, err := c.busy(ctx)
	if err != nil {
		return err
	}
	c.between(ctx, 0, 400*time.Millisecond)
	i.signal(syscall.SIGSTOP)
	c.between(ctx, 100*time.Millisecond, 900*time.Millisecond)
	i.signal(syscall.SIGCONT)
	c.afterwards(ctx)
	return nil
}

// second starts another instance and returns when it works or had the time to.
func (c *campaign) second(ctx context.Context, n int) (*instance, error) {
	i, err := c.world.instance(n)
	if err != nil {
		return nil, err
	}
	if err := i.start(); err != nil {
		return nil, err
	}
	if _, err := c.mark(ctx, 3*time.Second, func(m mark) bool { return m.PID == i.cmd.Process.Pid }); err != nil && !errors.Is(err, errNoMark) {
		return nil, err
	}
	return i, nil
}

// rest ends all instances but the first: in good order, or killed.
func (c *campaign) rest(from int, kill bool) error {
	for n := from; n < len(c.world.instances); n++ {
		i := c.world.instances[n]
		if kill {
			c.kill(i)
		} else if err := i.stop(); err != nil {
			return err
		}
	}
	return nil
}

// stalled stops an instance in the middle of its work for longer than its session; another takes its partitions over and
// works; then the first wakes and writes.
func stalled(ctx context.Context, c *campaign) error {
	i, err := c.busy(ctx)
	if err != nil {
		return err
	}
	c.between(ctx, 0, 400*time.Millisecond)
	i.signal(syscall.SIGSTOP)
	if err := c.work.change(); err != nil {
		return err
	}
	if _, err := c.second(ctx, 1); err != nil {
		return err
	}
	c.between(ctx, c.world.session, 2*c.world.session)
	i.signal(syscall.SIGCONT)
	c.between(ctx, 0, 700*time.Millisecond)
	if c.rng.IntN(2) == 0 {
		c.kill(i)
	}
	return c.rest(1, c.rng.IntN(2) == 0)
}

func rebalance(ctx context.Context, c *campaign) error {
	if _, err := c.busy(ctx); err != nil {
		return err
	}
	if _, err := c.second(ctx, 1); err != nil {
		return err
	}
	if err := c.work.change(); err != nil {
		return err
	}
	c.between(ctx, 0, 700*time.Millisecond)
	return c.rest(1, c.rng.IntN(2) == 0)
}

// scale goes from one instance to four and back to two, with work all the time, and kills one of them.
func scale(ctx context.Context, c *campaign) error {
	if _, err := c.busy(ctx); err != nil {
		return err
	}
	for n := 1; n < 4; n++ {
		i, err := c.world.instance(n)
		if err != nil {
			return err
		}
		if err := i.start(); err != nil {
			return err
		}
	}
	for range 4 {
		if err := c.work.change(); err != nil {
			return err
		}
		c.between(ctx, 0, 800*time.Millisecond)
	}
	c.kill(c.world.instances[c.rng.IntN(4)])
	if err := c.world.instances[2].stop(); err != nil {
		return err
	}
	if err := c.world.instances[3].stop(); err != nil {
		return err
	}
	if err := c.work.change(); err != nil {
		return err
	}
	c.between(ctx, 0, time.Second)
	return c.rest(1, c.rng.IntN(2) == 0)
}

func theBroker(w *world) servers    { return w.broker }
func theWarehouse(w *world) servers { return w.warehouse }

// killServer kills one of the servers at any moment of the program's work, and starts it again.
func killServer(of func(*world) servers) func(ctx context.Context, c *campaign) error {
	return func(ctx context.Context, c *campaign) error {
		if _, err := c.busy(ctx); err != nil {
			return err
		}
		c.between(ctx, 0, 400*time.Millisecond)
		all := of(c.world)
		all.kill(c.rng.IntN(all.count()))
		c.report.kills[c.options.broker]++
		c.between(ctx, 0, 300*time.Millisecond)
		if err := all.restore(ctx); err != nil {
			return err
		}
		c.afterwards(ctx)
		return nil
	}
}

// stopServer lets one of the servers hang for a while.
func stopServer(of func(*world) servers) func(ctx context.Context, c *campaign) error {
	return func(ctx context.Context, c *campaign) error {
		if _, err := c.busy(ctx); err != nil {
			return err
		}
		all := of(c.world)
		n := c.rng.IntN(all.count())
		all.pause(n)
		c.between(ctx, 200*time.Millisecond, 1500*time.Millisecond)
		all.resume(n)
		c.afterwards(ctx)
		return nil
	}
}

// loseBroker leaves one of three brokers dead while the others work.
func loseBroker(ctx context.Context, c *campaign) error {
	if _, err := c.busy(ctx); err != nil {
		return err
	}
	c.world.broker.kill(c.rng.IntN(c.world.broker.count()))
	c.report.kills[c.options.broker]++
	for range 3 {
		if err := c.work.change(); err != nil {
			return err
		}
		c.between(ctx, 500*time.Millisecond, 2*time.Second)
	}
	c.afterwards(ctx)
	return nil
}

// changeLeaders ends a broker in good order, so that its partitions get other leaders, and starts it again.
func changeLeaders(ctx context.Context, c *campaign) error {
	cluster := c.world.broker.(apache).cluster
	if _, err := c.busy(ctx); err != nil {
		return err
	}
	stopping, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	if err := cluster.Brokers[c.rng.IntN(len(cluster.Brokers))].Stop(stopping); err != nil {
		return err
	}
	if err := c.work.change(); err != nil {
		return err
	}
	c.between(ctx, 0, time.Second)
	return nil
}

// pastWindow loses the answer to an insert, and the table's window forgets the token before it is sent again: the window is one
// block long, and another one comes between. Rows may then be there twice physically, and keys make one of them.
func pastWindow(ctx context.Context, c *campaign) (err error) {
	w := c.world
	window := func(n int) error {
		for _, table := range []string{"observation", "hotline_case"} {
			if _, err := w.exec(ctx, fmt.Sprintf("ALTER TABLE %s MODIFY SETTING non_replicated_deduplication_window = %d", table, n)); err != nil {
				return err
			}
		}
		return nil
	}
	var before [2]string
	for n, table := range []string{"observation", "hotline_case"} {
		rows, err := w.query(ctx, "SELECT extract(engine_full, 'non_replicated_deduplication_window = (\\\\d+)') AS n FROM system.tables WHERE database = 'headwater' AND name = '"+table+"'")
		if err != nil {
			return err
		}
		if len(rows) == 1 {
			before[n] = fmt.Sprint(rows[0]["n"])
		}
	}
	usual, err := strconv.Atoi(before[0])
	if err != nil || before[0] != before[1] {
		return fmt.Errorf("the tables' deduplication windows are %q", before)
	}
	if err := window(1); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, window(usual)) }()
	o := w.http.Lose(faultproxy.Insert, []string{"observation", "hotline_case"}[c.rng.IntN(2)], 1)
	i, err := c.busy(ctx)
	if err != nil {
		return err
	}
	if err := c.met(ctx, o); err != nil {
		return err
	}
	// Now it is away, and what it remembers is forgotten meanwhile.
	w.http.Refuse(true)
	if err := errors.Join(window(0), window(1)); err != nil {
		return err
	}
	c.between(ctx, 200*time.Millisecond, time.Second)
	if c.rng.IntN(2) == 0 {
		c.kill(i)
	}
	w.http.Refuse(false)
	if _, err := c.busy(ctx); err != nil {
		return err
	}
	c.between(ctx, 500*time.Millisecond, time.Second)
	return nil
}

// expireCommits takes the load group's offsets away, as a long rest does, with a flush cut short.
func expireCommits(ctx context.Context, c *campaign) error {
	point := points[c.rng.IntN(len(points))]
	if err := killAt(point)(ctx, c); err != nil {
		return err
	}
	return c.world.admin(ctx, func(ctx context.Context, client *kgo.Client) error {
		if err := forget(ctx, client, loadGroup); err != nil {
			return err
		}
		if c.rng.IntN(2) == 0 {
			return nil
		}
		return forget(ctx, client, ingestGroup)
	})
}

// down ends the embedded warehouse in good order.
func (s *server) down() {
	s.signal(syscall.SIGTERM)
	<-s.lease.Lost()
}

// restoreWarehouse puts an older state of the warehouse back, under commits that are ahead of it.
func restoreWarehouse(ctx context.Context, c *campaign) error {
	s := c.world.warehouse
	data := filepath.Join(s.state, "warehouse", "data")
	backup := filepath.Join(c.world.dir, "backup")
	if err := os.RemoveAll(backup); err != nil {
		return err
	}
	s.down()
	if err := s.lease.Close(); err != nil {
		return err
	}
	if err := awaitUnlocked(ctx, filepath.Join(s.state, "warehouse", "lock")); err != nil {
		return err
	}
	if err := os.CopyFS(backup, os.DirFS(data)); err != nil {
		return fmt.Errorf("back the warehouse up: %w", err)
	}
	if err := s.restore(ctx); err != nil {
		return err
	}
	for range 3 {
		i, err := c.busy(ctx)
		if err != nil {
			return err
		}
		c.between(ctx, 300*time.Millisecond, time.Second)
		c.kill(i)
	}
	s.down()
	if err := s.lease.Close(); err != nil {
		return err
	}
	if err := awaitUnlocked(ctx, filepath.Join(s.state, "warehouse", "lock")); err != nil {
		return err
	}
	if err := os.RemoveAll(data); err != nil {
		return err
	}
	if err := os.Rename(backup, data); err != nil {
		return err
	}
	c.deferred = 0
	return s.restore(ctx)
}

// eatUnread deletes batches that were not loaded, as retention does when loading rests for too long. The sources say
// on_gap: continue; the gap must be recorded, and the rows read from the source again.
func eatUnread(ctx context.Context, c *campaign) error {
	if err := c.unloaded(ctx); err != nil {
		return err
	}
	return c.world.admin(ctx, func(ctx context.Context, client *kgo.Client) error {
		topic := []string{topicAlpha, topicBeta}[c.rng.IntN(2)]
		n, err := partitions(ctx, client, topic)
		if err != nil {
			return err
		}
		for p := range n {
			first, next, err := bounds(ctx, client, topic, p)
			if err != nil {
				return err
			}
			if next > first+1 {
				if err := eat(ctx, client, topic, p, next-c.rng.Int64N(2)); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// unloaded leaves batches in Kafka that no loader has seen, and nobody alive.
func (c *campaign) unloaded(ctx context.Context) error {
	i := c.world.instances[0]
	c.kill(i)
	for range 4 {
		if err := c.work.change(); err != nil {
			return err
		}
	}
	if err := i.start("HEADWATER_HOLD=collecting"); err != nil {
		return err
	}
	if _, err := c.mark(ctx, 10*time.Second, func(m mark) bool { return m.PID == i.cmd.Process.Pid && m.Step == "claim" }); err != nil && !errors.Is(err, errNoMark) {
		return err
	}
	c.between(ctx, 300*time.Millisecond, 800*time.Millisecond)
	c.kill(i)
	return nil
}

func recreateTopic(ctx context.Context, c *campaign) error {
	if err := c.unloaded(ctx); err != nil {
		return err
	}
	return c.world.admin(ctx, func(ctx context.Context, client *kgo.Client) error {
		return drop(ctx, client, []string{topicAlpha, topicBeta}[c.rng.IntN(2)])
	})
}

// addPartitions adds one partition to a topic under work, up to six.
func addPartitions(ctx context.Context, c *campaign) error {
	if _, err := c.busy(ctx); err != nil {
		return err
	}
	return c.world.admin(ctx, func(ctx context.Context, client *kgo.Client) error {
		topic := []string{topicAlpha, topicBeta}[c.rng.IntN(2)]
		n, err := partitions(ctx, client, topic)
		if err != nil {
			return err
		}
		if n < 6 {
			if err := grow(ctx, client, topic, n+1); err != nil {
				return err
			}
		}
		if err := c.work.change(); err != nil {
			return err
		}
		c.between(ctx, 0, time.Second)
		return nil
	})
}

// changeMapping changes how cases are mapped between a crash in a flush and its replay. No flush may have rows of both.
func changeMapping(ctx context.Context, c *campaign) error {
	point := []string{"intent", "inserted", "between-tables", "before-ledger", "before-final-commit"}[c.rng.IntN(5)]
	if err := killAt(point)(ctx, c); err != nil {
		return err
	}
	for _, source := range []string{"cases", "journal"} {
		path := filepath.Join(c.world.dir, "project", "sources", source+".yaml")
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if bytes.Contains(text, []byte("channel: {value: phone}")) {
			text = bytes.Replace(text, []byte("channel: {value: phone}"), []byte("channel: {value: web}"), 1)
		} else {
			text = bytes.Replace(text, []byte("channel: {value: web}"), []byte("channel: {value: phone}"), 1)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return err
		}
	}
	i, err := c.busy(ctx)
	if err != nil {
		return err
	}
	c.between(ctx, 0, 500*time.Millisecond)
	c.kill(i)
	rows, err := c.world.query(ctx, "SELECT _topic, _partition, _offset FROM hotline_case WHERE NOT _deleted GROUP BY _topic, _partition, _incarnation, _offset HAVING uniqExact(_mapping) > 1 OR uniqExact(channel) > 1 LIMIT 3")
	if err != nil {
		return err
	}
	if len(rows) > 0 {
		return fmt.Errorf("messages with rows of two mappings: %v", rows)
	}
	return nil
}

// changeSchema gives the cases' schema another field, in a higher version, between a crash in a flush and its replay.
func changeSchema(ctx context.Context, c *campaign) error {
	point := []string{"intent", "inserted", "between-tables", "before-ledger", "before-final-commit"}[c.rng.IntN(5)]
	if err := killAt(point)(ctx, c); err != nil {
		return err
	}
	c.schema++
	text := strings.Replace(c.world.caseSchema, "version: 1\n", fmt.Sprintf("version: %d\n", 1+c.schema), 1)
	for n := range c.schema {
		field := fmt.Sprintf("fields:\n  - name: extra_%d\n    title: { zh: 附加, en: Extra }\n    description: For the campaign.\n    type: string\n", n)
		text = strings.Replace(text, "fields:\n", field, 1)
	}
	if err := os.WriteFile(filepath.Join(c.world.dir, "project", "schemas", "hotline_case.yaml"), []byte(text), 0o644); err != nil {
		return err
	}
	i, err := c.busy(ctx)
	if err != nil {
		return err
	}
	c.between(ctx, 0, 500*time.Millisecond)
	c.kill(i)
	rows, err := c.world.query(ctx, fmt.Sprintf("SELECT count() AS n FROM system.columns WHERE database = 'headwater' AND table = 'hotline_case' AND name = 'extra_%d'", c.schema-1))
	if err != nil {
		return err
	}
	if fmt.Sprint(rows[0]["n"]) != "1" {
		c.log.Debug("the program was killed before it had the new schema")
	}
	return nil
}

// upgrade lets an older program work and kills it; the present one goes on from there.
func upgrade(ctx context.Context, c *campaign) error {
	i := c.world.instances[0]
	c.kill(i)
	present := c.world.binary
	c.world.binary = c.world.old
	_, err := c.busy(ctx)
	c.world.binary = present
	if err != nil {
		return err
	}
	c.between(ctx, 500*time.Millisecond, 1500*time.Millisecond) // it makes no marks that would tell when it works
	c.kill(i)
	// Of contents that were read a microsecond apart, as after a jump of the clock, the old program leaves rows in quarantine that a later
	// one replaced. The present program closes them when it reads the next.
	if err := c.work.all(); err != nil {
		return err
	}
	if i, err = c.busy(ctx); err != nil {
		return err
	}
	c.between(ctx, 0, 500*time.Millisecond)
	c.kill(i)
	return nil
}

// jump sets the program's clock forth and back under it.
func jump(ctx context.Context, c *campaign) error {
	file := filepath.Join(c.world.dir, "clock")
	set := func(d time.Duration) error {
		temporary := file + ".new"
		if err := os.WriteFile(temporary, []byte(d.String()), 0o644); err != nil {
			return err
		}
		return os.Rename(temporary, file)
	}
	if err := set(0); err != nil {
		return err
	}
	i := c.world.instances[0]
	c.kill(i)
	if _, err := c.busy(ctx, "HEADWATER_CLOCK="+file); err != nil {
		return err
	}
	for range 4 {
		if err := set(time.Duration(c.rng.Int64N(int64(8*time.Hour))) - 4*time.Hour); err != nil {
			return err
		}
		if err := c.work.change(); err != nil {
			return err
		}
		c.between(ctx, 100*time.Millisecond, 700*time.Millisecond)
	}
	c.kill(i)
	return nil
}

// message puts a message into a partition beside the writer, made of the last one there.
func message(made func(c *campaign, last *kgo.Record) *kgo.Record) func(ctx context.Context, c *campaign) error {
	return func(ctx context.Context, c *campaign) error {
		if _, err := c.busy(ctx); err != nil {
			return err
		}
		return c.world.admin(ctx, func(ctx context.Context, client *kgo.Client) error {
			topic := []string{topicAlpha, topicBeta}[c.rng.IntN(2)]
			n, err := partitions(ctx, client, topic)
			if err != nil {
				return err
			}
			for p := range n {
				last, err := lastOf(ctx, client, topic, p)
				if err != nil {
					return err
				}
				if last == nil {
					continue
				}
				r := made(c, last)
				r.Topic, r.Partition = topic, p
				if err := client.ProduceSync(ctx, r).FirstErr(); err != nil {
					return fmt.Errorf("put a message into %s/%d: %w", topic, p, err)
				}
				if err := c.work.change(); err != nil {
					return err
				}
			}
			c.between(ctx, 0, 500*time.Millisecond)
			return nil
		})
	}
}

func duplicated(_ *campaign, last *kgo.Record) *kgo.Record {
	return &kgo.Record{Headers: last.Headers, Value: last.Value}
}

// corrupt is a repeat of the last batch with a byte changed: its number is one that was there, so that nothing is missing.
func corrupt(c *campaign, last *kgo.Record) *kgo.Record {
	value := bytes.Clone(last.Value)
	if len(value) > 0 {
		value[c.rng.IntN(len(value))] ^= 1 << c.rng.IntN(8)
	}
	return &kgo.Record{Headers: last.Headers, Value: value}
}

func foreign(c *campaign, _ *kgo.Record) *kgo.Record {
	return &kgo.Record{Key: []byte("k"), Value: []byte(strings.Repeat(`{"hello":"世界"}`, 1+c.rng.IntN(100))), Headers: []kgo.RecordHeader{{Key: "hw-version", Value: []byte("one")}}}
}

// oversized gives a file a row that fits no message; the next content is without it.
func oversized(ctx context.Context, c *campaign) error {
	if err := c.work.oversize(c.rng.IntN(figureFiles)); err != nil {
		return err
	}
	if _, err := c.busy(ctx); err != nil {
		return err
	}
	c.between(ctx, 300*time.Millisecond, time.Second)
	c.kill(c.world.instances[0])
	return nil
}

// awaitUnlocked waits until nobody holds a lock file: a server has then put away what it keeps.
func awaitUnlocked(ctx context.Context, name string) error {
	lock := flock.New(name)
	ctx, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	if _, err := lock.TryLockContext(ctx, 20*time.Millisecond); err != nil {
		return fmt.Errorf("wait for an embedded server to end: %w", err)
	}
	return lock.Close()
}
