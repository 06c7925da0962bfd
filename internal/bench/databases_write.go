package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/connectors"
	sqlconnectors "github.com/headwater-data/headwater/connectors/sql"
	"github.com/headwater-data/headwater/internal/embedded"
	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/pipeline"
	"github.com/headwater-data/headwater/pipeline/ingest"
	"github.com/headwater-data/headwater/pipeline/topic"
)

// ingestion reads one source into Kafka, as a run does, without a warehouse.
type ingestion struct {
	ingester *ingest.Ingester
	job      ingest.Job
	close    func() error

	mu      sync.Mutex
	written int64
	onWrite func(total int64) // told after each message that Kafka has, with the rows so far; it may be nil
}

// noLedger: there is no warehouse that could know of anything.
type noLedger struct{}

func (noLedger) Known(context.Context, string, int) (*ingest.Known, error) { return nil, nil }

// openIngestion makes the project of one source in the order's folder and opens the way into Kafka. read are the stream's options.
func openIngestion(ctx context.Context, o order, read string) (_ *ingestion, err error) {
	in := &ingestion{}
	var closers []func() error
	in.close = func() (err error) {
		for _, c := range slices.Backward(closers) {
			err = errors.Join(err, c())
		}
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, in.close())
		}
	}()
	dir := filepath.Join(o.Dir, "project")
	for name, text := range map[string]string{project.File: projectFile, "sources/bench.yaml": o.Server.sourceText(read), "password": o.Server.Password} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return nil, err
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	var registry connectors.Registry
	registry.Register(sqlconnectors.Postgres())
	registry.Register(sqlconnectors.MariaDB())
	p, problems := project.Load(dir, &registry)
	if err := problems.Err(); err != nil {
		return nil, err
	}
	cfg := topic.Config{Addresses: o.Server.Brokers, ClientID: "bench"}
	if len(cfg.Addresses) == 0 {
		lease, err := embedded.Acquire(ctx, p.State, embedded.Broker, embedded.Options{})
		if err != nil {
			return nil, err
		}
		e := lease.Endpoint()
		// The next measurement must not meet a broker that is still ending.
		closers = append(closers, func() error { return awaitEnd(context.WithoutCancel(ctx), e.PID) }, lease.Close)
		cfg.Addresses, cfg.User, cfg.Password, cfg.Mechanism = []string{e.Addr}, e.User, e.Password, "scram-sha-256"
	}
	client, err := topic.Open(cfg)
	if err != nil {
		return nil, err
	}
	closers = append(closers, client.Close)
	// Apache Kafka is one for all measurements.
	raw, index := "bench."+filepath.Base(o.Dir), ingest.OpenIndex(client, "cursors."+filepath.Base(o.Dir))
	if err := client.Ensure(ctx, topic.Spec{Name: raw}, index.Spec()); err != nil {
		return nil, err
	}
	shaping, err := pipeline.Shape(p, memory.DefaultAllocator)
	if err != nil {
		return nil, err
	}
	mapping, ok := shaping.Program.Stream("bench", "cases")
	if !ok {
		return nil, errors.New("the stream has no mapping")
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	reader, err := p.OpenSource(ctx, "bench", connectors.Environment{Dir: dir, Allocator: memory.DefaultAllocator, Logger: log, Now: time.Now})
	if err != nil {
		return nil, err
	}
	closers = append(closers, reader.Close)
	in.ingester = ingest.New(ingest.Config{
		Client: client, Index: index, Group: "ingest." + raw, Topics: []string{raw}, Checkpoints: noLedger{}, Allocator: memory.DefaultAllocator, Logger: log, Writer: "bench",
		Progress: func(_ string, _, written int64) {
			if written == 0 {
				return
			}
			in.mu.Lock()
			defer in.mu.Unlock()
			in.written += written
			if in.onWrite != nil {
				in.onWrite(in.written)
			}
		},
	})
	in.job = ingest.Job{Source: "bench", Topic: raw, Run: "bench", Reader: reader, Streams: map[string]ingest.Preparer{"cases": mapping}}
	serving, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- in.ingester.Serve(serving) }()
	closers = append(closers, func() error { stop(); return <-served })
	return in, nil
}

// pass reads what there is and returns how many rows of it are in Kafka.
func (in *ingestion) pass(ctx context.Context) (int64, error) {
	result, err := in.ingester.Ingest(ctx, in.job)
	if err == nil && result.Rejected > 0 {
		err = fmt.Errorf("%d rows were rejected", result.Rejected)
	}
	return result.Written, err
}

// ingestTable reads the whole table into Kafka.
func ingestTable(ctx context.Context, o order) (m measurement, err error) {
	in, err := openIngestion(ctx, o, "table: cases, unchanged: "+o.Server.Unchanged)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	return timed(o, func() (int64, error) { return in.pass(ctx) })
}

// followedTable makes an empty table whose changes are followed from now on.
func followedTable(ctx context.Context, o order, name string) (*ingestion, error) {
	statements := []string{"CREATE TABLE " + name + " (" + mariadbTable + ") CHARACTER SET utf8mb4"}
	read := fmt.Sprintf("table: %s, changes: {}", name)
	if o.Server.Kind == "postgres" {
		statements = []string{"CREATE TABLE " + name + " (" + postgresTable + ")", "CREATE PUBLICATION " + name + " FOR TABLE " + name}
		read = fmt.Sprintf("table: %s, changes: { slot: %s, publication: %s }", name, name, name)
	}
	if err := o.Server.do(ctx, o.Server.Database, statements...); err != nil {
		return nil, err
	}
	in, err := openIngestion(ctx, o, read)
	if err != nil {
		return nil, err
	}
	if _, err := in.pass(ctx); err != nil { // finds the position from which the table is followed
		return nil, errors.Join(err, in.close())
	}
	return in, nil
}

// dropFollowed lets the server forget the log that it has kept.
func dropFollowed(ctx context.Context, o order, name string) error {
	if o.Server.Kind == "mariadb" {
		return o.Server.do(ctx, o.Server.Database, "DROP TABLE "+name)
	}
	return o.Server.do(ctx, o.Server.Database, "SELECT pg_drop_replication_slot('"+name+"')", "DROP TABLE "+name, "DROP PUBLICATION "+name)
}

// perTransaction is how many changes the transactions of the backlog have: of ten, six rows come, three change, one goes.
const perTransaction = 1000

// ingestBacklog has changes made while nobody reads, and then reads them.
func ingestBacklog(ctx context.Context, o order) (m measurement, err error) {
	const name = "waiting"
	in, err := followedTable(ctx, o, name)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, in.close(), dropFollowed(context.WithoutCancel(ctx), o, name)) }()
	full, rest := o.Rows/perTransaction, o.Rows%perTransaction
	statements := []string{fmt.Sprintf(`DO $$ BEGIN FOR t IN 0..%[1]d - 1 LOOP
		INSERT INTO %[2]s SELECT %[3]s FROM generate_series(t * 600 + 1, t * 600 + 600) n;
		UPDATE %[2]s SET status = status + 1, amount = amount * 2 WHERE id BETWEEN t * 600 + 1 AND t * 600 + 300;
		DELETE FROM %[2]s WHERE id BETWEEN t * 600 + 501 AND t * 600 + 600;
		COMMIT; END LOOP; END $$`, full, name, postgresRow),
		fmt.Sprintf("INSERT INTO %s SELECT %s FROM generate_series(%d, %d) n", name, postgresRow, full*600+1, full*600+rest)}
	if o.Server.Kind == "mariadb" {
		statements = []string{fmt.Sprintf(`BEGIN NOT ATOMIC FOR t IN 0..%[1]d - 1 DO START TRANSACTION;
			INSERT INTO %[2]s SELECT %[3]s FROM (SELECT t * 600 + seq AS n FROM seq_1_to_600) rows_of_one;
			UPDATE %[2]s SET status = status + 1, amount = amount * 2 WHERE id BETWEEN t * 600 + 1 AND t * 600 + 300;
			DELETE FROM %[2]s WHERE id BETWEEN t * 600 + 501 AND t * 600 + 600;
			COMMIT; END FOR; END`, full, name, mariadbRow)}
		if rest > 0 {
			statements = append(statements, fmt.Sprintf("INSERT INTO %s SELECT %s FROM (SELECT %d + seq AS n FROM seq_1_to_%d) t", name, mariadbRow, full*600, rest))
		}
	}
	if err := o.Server.do(ctx, o.Server.Database, statements...); err != nil {
		return m, fmt.Errorf("make changes: %w", err)
	}
	return timed(o, func() (int64, error) { return in.pass(ctx) })
}

// followSteadily has changes made at a steady rate while they are read, and takes the time from each COMMIT to Kafka.
func followSteadily(ctx context.Context, o order) (m measurement, err error) {
	const name = "coming"
	in, err := followedTable(ctx, o, name)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, in.close(), dropFollowed(context.WithoutCancel(ctx), o, name)) }()
	lags := &lags{}
	in.onWrite = lags.arrived
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	reading, enough := make(chan error, 1), make(chan struct{})
	in.job.Enough = enough // as the service follows a source that is read continuously
	m, err = timed(o, func() (int64, error) {
		go func() {
			_, err := in.pass(ctx)
			if err != nil {
				stop()
			}
			reading <- err
		}()
		made, err := write(ctx, o, name, lags)
		if err != nil {
			stop()
			return 0, errors.Join(err, <-reading)
		}
		select {
		case <-lags.complete(made):
		case <-ctx.Done():
		}
		close(enough)
		err = <-reading
		in.mu.Lock()
		defer in.mu.Unlock()
		if err == nil && in.written != made {
			err = fmt.Errorf("%d changes are in Kafka, and %d were made", in.written, made)
		}
		return made, err
	})
	if err != nil {
		return m, err
	}
	m.LagP50, m.LagP99, m.LagMax = lags.quantile(0.5), lags.quantile(0.99), lags.quantile(1)
	return m, nil
}

// write makes changes at the order's rate for its length, a transaction each hundredth of a second. A machine that cannot keep up
// makes them later, and lag is counted from then.
func write(ctx context.Context, o order, name string, lags *lags) (made int64, err error) {
	db, err := o.Server.open(o.Server.Database)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if o.Server.Kind == "postgres" {
		// As servers do by default: a commit that waits for nothing stays in the server's memory for up to 0.6 s.
		if _, err := conn.ExecContext(ctx, "SET synchronous_commit = on"); err != nil {
			return 0, err
		}
	}
	const beat = 10 * time.Millisecond
	each := max(1, o.Server.Rate/int(time.Second/beat))
	statement := func(from int64) string {
		if o.Server.Kind == "mariadb" {
			return fmt.Sprintf("INSERT INTO %s SELECT %s FROM (SELECT %d + seq AS n FROM seq_1_to_%d) t", name, mariadbRow, from, each)
		}
		return fmt.Sprintf("INSERT INTO %s SELECT %s FROM generate_series(%d::bigint, %d::bigint) n", name, postgresRow, from+1, from+int64(each))
	}
	tick := time.NewTicker(beat)
	defer tick.Stop()
	began := time.Now()
	for made < int64(o.Rows) {
		due := int64(time.Since(began)/beat) * int64(each)
		if made >= due {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return made, ctx.Err()
			}
			continue
		}
		at := time.Now()
		if _, err := conn.ExecContext(ctx, statement(made)); err != nil {
			return made, fmt.Errorf("make changes: %w", err)
		}
		made += int64(each)
		lags.committed(at, made)
	}
	return made, nil
}

// lags pairs the commits of one writer with their arrival: both go by the same order.
type lags struct {
	mu      sync.Mutex
	commits []mark
	arrives []mark
	wanted  int64
	done    chan struct{}
}

// mark says how many changes there were at a time.
type mark struct {
	at    time.Time
	total int64
}

func (l *lags) committed(at time.Time, total int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.commits = append(l.commits, mark{at, total})
}

func (l *lags) arrived(total int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.arrives = append(l.arrives, mark{time.Now(), total})
	l.tell()
}

// complete returns a channel that is closed when so many have arrived.
func (l *lags) complete(total int64) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wanted, l.done = total, make(chan struct{})
	l.tell()
	return l.done
}

// tell closes the channel when it is time. The caller holds the lock.
func (l *lags) tell() {
	if l.done != nil && l.wanted > 0 && len(l.arrives) > 0 && l.arrives[len(l.arrives)-1].total >= l.wanted {
		close(l.done)
		l.wanted = 0
	}
}

// quantile is the lag, in milliseconds, that this part of the changes does not exceed.
func (l *lags) quantile(part float64) float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	type weighed struct {
		lag     float64
		changes int64
	}
	var all []weighed
	total, next, before := int64(0), 0, int64(0)
	for _, c := range l.commits {
		for next < len(l.arrives) && l.arrives[next].total < c.total {
			next++
		}
		if next == len(l.arrives) {
			break
		}
		// The transaction's last change counts for all of it.
		all = append(all, weighed{float64(l.arrives[next].at.Sub(c.at).Microseconds()) / 1000, c.total - before})
		total, before = total+c.total-before, c.total
	}
	slices.SortFunc(all, func(a, b weighed) int {
		switch {
		case a.lag < b.lag:
			return -1
		case a.lag > b.lag:
			return 1
		}
		return 0
	})
	need, have := int64(part*float64(total)), int64(0)
	for _, w := range all {
		if have += w.changes; have >= need {
			return w.lag
		}
	}
	return 0
}
