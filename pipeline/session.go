// Package pipeline runs a project: it opens the servers, brings the sources' data into Kafka, loads it into the warehouse, and
// accounts for every row.
//
// Open gives a Session; Run does one complete pass with it; Close ends everything that was started. A Session is used by one
// process; the run lock in the project's state folder keeps a second one from joining as a rival.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/oklog/ulid/v2"

	"github.com/headwater-data/headwater/internal/embedded"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/internal/secret"
	"github.com/headwater-data/headwater/pipeline/ingest"
	"github.com/headwater-data/headwater/pipeline/load"
	"github.com/headwater-data/headwater/pipeline/topic"
	"github.com/headwater-data/headwater/pipeline/transform"
	"github.com/headwater-data/headwater/warehouse"
)

// Options for Open.
type Options struct {
	Allocator memory.Allocator // defaults to Go's
	Logger    *slog.Logger
	// Stage is told of what takes time before anything runs, such as fetching the embedded engine. It may be nil.
	Stage func(stage string, done, total int64)
}

func (o *Options) defaults() {
	if o.Allocator == nil {
		o.Allocator = memory.DefaultAllocator
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Session is a project at work.
type Session struct {
	project   *project.Project
	opts      Options
	warehouse *Depot
	broker    *keeper
	client    *topic.Client
	index     *ingest.Index
	shaping   load.Shaping
	topics    []string
	instance  string // of the state folder
}

// Depot is a project's warehouse, with the embedded server behind it if there is one.
type Depot struct {
	*warehouse.Warehouse
	Endpoint embedded.Endpoint // of the embedded server; zero for a real one
	keeper   *keeper
}

// OpenWarehouse connects to the project's warehouse and starts the embedded one if the project names none. With reader it logs
// in for reading only where it can. It does not wait for a server that is away: that is an environmental error,
// warehouse.ErrAway.
func OpenWarehouse(ctx context.Context, p *project.Project, opts Options) (*Depot, error) {
	opts.defaults()
	settings, err := p.Warehouse()
	if err != nil {
		return nil, err
	}
	d := &Depot{}
	cfg := warehouse.Config{Addr: settings.Address, Database: settings.Database, User: settings.User, Password: settings.Password, TLS: settings.TLS, Logger: opts.Logger}
	if settings.Embedded {
		if d.keeper, err = keep(ctx, p.State, embedded.Warehouse, embedded.Options{Progress: opts.Stage, Logger: opts.Logger}); err != nil {
			return nil, fmt.Errorf("start the embedded warehouse: %w", err)
		}
		d.Endpoint = d.keeper.endpoint
		cfg.Addr, cfg.User, cfg.Password = d.Endpoint.Addr, d.Endpoint.User, d.Endpoint.Password
	}
	if d.Warehouse, err = warehouse.Open(ctx, cfg); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *Depot) close() error {
	if d.keeper == nil {
		return nil
	}
	return d.keeper.Close()
}

// Close disconnects; the embedded server ends when nobody else uses it.
func (d *Depot) Close() error {
	return errors.Join(d.Warehouse.Close(), d.close())
}

// awaitServer tries to reach a server until it answers, ctx ends, or it says something that waiting will not change.
func awaitServer[T any](ctx context.Context, log *slog.Logger, what string, open func() (T, error)) (T, error) {
	wait := 200 * time.Millisecond
	for {
		out, err := open()
		if err == nil || !fault.IsTransient(err) && !errors.Is(err, warehouse.ErrAway) {
			return out, err
		}
		log.Warn("waiting for "+what, "wait", wait.String(), "error", err)
		select {
		case <-ctx.Done():
			return out, fault.Environment(fmt.Errorf("%s did not answer: %w", what, err))
		case <-time.After(wait):
		}
		wait = min(2*wait, 10*time.Second)
	}
}

// Open connects a project to its servers: the embedded ones are started, tables are migrated, reference data is brought up to
// date and topics are made. It waits for servers that are away, and says so, until ctx ends.
func Open(ctx context.Context, p *project.Project, opts Options) (s *Session, err error) {
	opts.defaults()
	collectEarly()
	s = &Session{project: p, opts: opts}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
			s = nil
		}
	}()
	if s.shaping, err = Shape(p, opts.Allocator); err != nil {
		return s, err
	}
	if s.warehouse, err = awaitServer(ctx, opts.Logger, "the warehouse", func() (*Depot, error) { return OpenWarehouse(ctx, p, opts) }); err != nil {
		return s, err
	}
	// It may go away again in the middle of it; what was done by then is found done.
	if _, err = awaitServer(ctx, opts.Logger, "the warehouse", func() (struct{}, error) { return struct{}{}, s.prepareWarehouse(ctx) }); err != nil {
		return s, err
	}
	if err = s.openBroker(ctx); err != nil {
		return s, err
	}
	return s, nil
}

func (s *Session) prepareWarehouse(ctx context.Context) error {
	changes, err := s.warehouse.Migrate(ctx, s.project.Set())
	if err != nil {
		return fmt.Errorf("bring the warehouse's tables up to date: %w", err)
	}
	if len(changes) > 0 {
		s.opts.Logger.Info("the warehouse's tables and views were brought up to date", "changes", len(changes))
	}
	if err := s.warehouse.Sync(ctx, s.project.Set(), s.project.Indicators(), s.project.Indexes()...); err != nil {
		return fmt.Errorf("bring regions and indicators up to date: %w", err)
	}
	if err := s.warehouse.SyncSharing(ctx, Datasets(s.project)); err != nil {
		return fmt.Errorf("bring the data-sharing list up to date: %w", err)
	}
	return nil
}

func brokerConfig(settings project.Broker, opts Options) topic.Config {
	return topic.Config{
		Addresses: settings.Addresses, User: settings.User, Password: settings.Password, Mechanism: settings.Mechanism, TLS: settings.TLS,
		ClientID: "headwater", Partitions: settings.Partitions, Replication: settings.Replication, Retention: settings.Retention,
		SessionTimeout: settings.Session, Logger: opts.Logger,
	}
}

func (s *Session) openBroker(ctx context.Context) error {
	settings, err := s.project.Broker()
	if err != nil {
		return err
	}
	instance, err := instanceOf(s.project.State)
	if err != nil {
		return fault.Environment(fmt.Errorf("name this state folder: %w", err))
	}
	cfg := brokerConfig(settings, s.opts)
	cfg.Instance, s.instance = instance, instance
	if settings.Embedded {
		if s.broker, err = keep(ctx, s.project.State, embedded.Broker, embedded.Options{Progress: s.opts.Stage, Logger: s.opts.Logger}); err != nil {
			return fmt.Errorf("start the embedded broker: %w", err)
		}
		e := s.broker.endpoint
		cfg.Addresses, cfg.User, cfg.Password, cfg.Mechanism = []string{e.Addr}, e.User, e.Password, "scram-sha-256"
	}
	if s.client, err = topic.Open(cfg); err != nil {
		return err
	}
	s.index = ingest.OpenIndex(s.client, s.project.TopicPrefix()+"cursors")
	specs := []topic.Spec{s.index.Spec()}
	for _, source := range s.project.Sources() {
		if !slices.Contains(s.topics, source.Topic) {
			s.topics = append(s.topics, source.Topic)
			specs = append(specs, topic.Spec{Name: source.Topic})
		}
	}
	_, err = awaitServer(ctx, s.opts.Logger, "the broker", func() (struct{}, error) { return struct{}{}, s.client.Ensure(ctx, specs...) })
	return err
}

// Warehouse is the session's warehouse.
func (s *Session) Warehouse() *Depot { return s.warehouse }

// Close disconnects from the servers; embedded ones end when nobody else uses them.
func (s *Session) Close() error {
	var errs []error
	if s.client != nil {
		errs = append(errs, s.client.Close())
	}
	if s.broker != nil {
		errs = append(errs, s.broker.Close())
	}
	if s.warehouse != nil {
		errs = append(errs, s.warehouse.Close())
	}
	return errors.Join(errs...)
}

// Shape compiles everything that shapes a project's rows.
func Shape(p *project.Project, mem memory.Allocator) (load.Shaping, error) {
	shape := p.Shape()
	body, err := shape.Marshal()
	if err != nil {
		return load.Shaping{}, err
	}
	program, err := transform.Compile(shape, transform.Options{Allocator: mem, Keys: p.Keys, Hashing: p.Hashing()})
	if err != nil {
		return load.Shaping{}, err
	}
	return load.Shaping{Program: program, Hash: transform.Hash(body), Body: body}, nil
}

// compile makes a stored shape usable again. It needs no keys: what the loader sees was hashed before Kafka.
func (s *Session) compile(body []byte) (load.Shaping, error) {
	shape, err := transform.UnmarshalShape(body)
	if err != nil {
		return load.Shaping{}, err
	}
	program, err := transform.Compile(shape, transform.Options{Allocator: s.opts.Allocator, Keys: func(string) (secret.Value, error) {
		return secret.Value{}, errors.New("the loader has no keys")
	}})
	if err != nil {
		return load.Shaping{}, err
	}
	return load.Shaping{Program: program, Hash: transform.Hash(body), Body: body}, nil
}

// checkpoints gives the ledger's knowledge to writers (W2).
type checkpoints struct{ *warehouse.Warehouse }

func (c checkpoints) Known(ctx context.Context, topicName string, partition int) (*ingest.Known, error) {
	point, ok, err := c.Checkpoint(ctx, topicName, int32(partition))
	if err != nil || !ok {
		return nil, err
	}
	known := &ingest.Known{Offset: point.To, State: load.StateOf(point), Cursors: map[string]ingest.Position{}, Lives: point.Lives}
	for shard, cursor := range point.Cursors {
		// A cursor of an earlier life of the topic counts, its offset does not: every offset of this one lies before To.
		known.Cursors[ingest.ShardKey(shard.Source, shard.Stream, shard.Shard)] = ingest.Position{Offset: min(cursor.Offset, point.To-1), Sequence: -1, Cursor: cursor.Cursor}
	}
	return known, nil
}

// writerName says which process wrote a record, for people who look into a topic.
func writerName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d", host, os.Getpid())
}

// NewRunID makes the id of a run: unique, and in the order of time.
func NewRunID() string { return strings.ToLower(ulid.Make().String()) }
