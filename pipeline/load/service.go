// Package load brings batches from Kafka into the warehouse, exactly once.
//
// A Service joins the load group and runs one loader for each partition that it is given. Each loader follows the protocol in
// protocol.go (rules L1 to L11 of docs/exactly-once.md): it commits what it is about to load, inserts one block per table under
// a token made of the offsets, reads back, writes the ledger, and commits the end.
package load

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/pipeline/topic"
	"github.com/headwater-data/headwater/schemas"
	"github.com/headwater-data/headwater/warehouse"
)

type logger = *slog.Logger

// Warehouse is what the loader asks of the warehouse. *warehouse.Warehouse is one.
type Warehouse interface {
	Insert(ctx context.Context, ins warehouse.Insert) error
	Landed(ctx context.Context, table string, r warehouse.Range, since time.Time, want warehouse.Expected) (bool, error)
	Missing(ctx context.Context, schema *schemas.Schema, r warehouse.Range, records []arrow.Record) ([][]uint32, error)
	Gone(ctx context.Context, schema *schemas.Schema, q warehouse.GoneQuery) iter.Seq2[arrow.Record, error]
	Brought(ctx context.Context, table, source, stream, shard string, at time.Time) (bool, error)
	Reach(ctx context.Context, tables []string, topic string, partition int32, incarnation string, from int64) (int64, error)
	Checkpoint(ctx context.Context, topic string, partition int32) (warehouse.Checkpoint, bool, error)
	Held(ctx context.Context, topic string, partition int32) ([]warehouse.HeldFlush, error)
	WriteLedger(ctx context.Context, token string, rows []warehouse.LedgerRow) error
	WriteQuarantine(ctx context.Context, token string, rows []warehouse.QuarantineRow) error
	WriteUndecodable(ctx context.Context, token string, messages []warehouse.Undecodable) error
	Quarantined(ctx context.Context, filter warehouse.QuarantineFilter) ([]warehouse.QuarantineRow, error)
	OpenQuarantine(ctx context.Context, ids []string, except warehouse.Range) (map[string]bool, error)
	SetQuarantineStatus(ctx context.Context, ids []string, status, by, why string, replayedTo []string) error
	Supersede(ctx context.Context, source, stream, shard string, before time.Time) error
	PutShape(ctx context.Context, hash string, body []byte) error
	Shape(ctx context.Context, hash string) ([]byte, error)
}

var _ Warehouse = (*warehouse.Warehouse)(nil)

// Config is what a Service needs.
type Config struct {
	Client    *topic.Client
	Warehouse Warehouse
	Group     string
	Topics    []string
	Shaping   Shaping                            // of the project as it is now
	Compile   func(body []byte) (Shaping, error) // makes a stored shape usable again
	Tables    []string                           // all tables with lineage
	OnGap     map[string]bool                    // topics whose sources all say on_gap: continue
	Allocator memory.Allocator
	Logger    *slog.Logger
	Limits    Limits
	// Progress is told what each flush brought, per source. It may be nil; it must not block.
	Progress func(source string, add Counts)
}

// Counts is one source's share of a flush.
type Counts struct {
	Extracted, Loaded, Duplicate, Quarantined, Filtered, Held, Records, Deleted int64
}

// Service loads the partitions that the load group gives it. Make one with New.
type Service struct {
	cfg Config

	lookEvery time.Duration

	hurried atomic.Int32 // callers that want no flush to wait for more rows

	mu        sync.Mutex
	ours      map[partitionID]bool // by the generation at work; nil between generations
	positions map[partitionID]position
	changed   chan struct{} // closed when positions change
	shapes    map[string]Shaping
}

type partitionID struct {
	topic     string
	partition int
}

type position struct {
	at  int64
	err error // why the partition has stopped
}

// New makes a Service.
func New(cfg Config) *Service {
	if cfg.Limits.Records == 0 {
		cfg.Limits.Records = 1_000_000
	}
	if cfg.Limits.Bytes == 0 {
		cfg.Limits.Bytes = 40 << 20
	}
	return &Service{cfg: cfg, lookEvery: lookEvery, positions: map[partitionID]position{}, changed: make(chan struct{}),
		shapes: map[string]Shaping{cfg.Shaping.Hash: cfg.Shaping}}
}

// Serve loads until ctx ends. A partition that stops does not stop the others.
func (s *Service) Serve(ctx context.Context) error {
	for {
		again, err := s.member(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !fault.IsTransient(err) {
			return err
		}
		if err != nil && !again {
			s.cfg.Logger.Warn("waiting for the broker's consumer groups", "group", s.cfg.Group, "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// errLeave says that the membership must end before anything else (L8).
var errLeave = errors.New("leaving the group")

// member is one membership: it ends with ctx, or when a commit's outcome is unknown.
func (s *Service) member(ctx context.Context) (again bool, err error) {
	s.cfg.Client.Evict(ctx, s.cfg.Group)
	group, err := s.cfg.Client.Join(s.cfg.Group, s.cfg.Topics)
	if err != nil {
		return false, err
	}
	defer func() {
		if cerr := group.Close(); cerr != nil && ctx.Err() == nil {
			s.cfg.Logger.Debug("leaving the load group", "error", cerr)
		}
	}()
	for {
		gen, err := group.Next(ctx)
		if err != nil {
			return false, err
		}
		ended := make(chan error, 1)
		gen.Start(func(gctx context.Context) {
			life, stop := context.WithCancel(ctx)
			defer stop()
			defer context.AfterFunc(gctx, stop)()
			ended <- s.generation(life, gen)
		})
		if err := <-ended; err != nil {
			return true, err
		}
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
	}
}

// generation runs one loader for each assigned partition until the generation ends. A loader that must leave ends all.
func (s *Service) generation(ctx context.Context, gen *topic.Generation) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ours := map[partitionID]bool{}
	for name, partitions := range gen.Assignments {
		for _, p := range partitions {
			ours[partitionID{name, p}] = true
		}
	}
	s.assigned(ours)
	defer s.assigned(nil)
	var wg sync.WaitGroup
	for name, partitions := range gen.Assignments {
		for _, p := range partitions {
			wg.Go(func() {
				l := &landing{service: s, gen: gen, id: partitionID{name, p}, log: s.cfg.Logger.With("topic", name, "partition", p)}
				err := l.run(ctx)
				switch {
				case ctx.Err() != nil:
				case errors.Is(err, errLeave):
					l.log.Warn("leaving the load group to join again", "error", err)
					cancel(err)
				case err != nil:
					l.log.Error("loading of the partition has stopped", "error", err)
					s.stopped(l.id, err)
				}
			})
		}
	}
	<-ctx.Done()
	wg.Wait()
	if cause := context.Cause(ctx); errors.Is(cause, errLeave) {
		return fault.Transient(cause)
	}
	return nil
}

func (s *Service) reached(id partitionID, at int64) {
	s.set(id, position{at: at})
}

func (s *Service) stopped(id partitionID, err error) {
	s.mu.Lock()
	at := s.positions[id].at
	s.mu.Unlock()
	s.set(id, position{at: at, err: err})
}

func (s *Service) set(id partitionID, p position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.positions[id] = p
	close(s.changed)
	s.changed = make(chan struct{})
}

// Hurry makes flushes end as soon as everything there has been read, until done is called: somebody waits for the rows.
func (s *Service) Hurry() (done func()) {
	s.hurried.Add(1)
	return func() { s.hurried.Add(-1) }
}

// elsewhereInterval is how often a partition that another process may be loading is asked after.
const elsewhereInterval = 500 * time.Millisecond

// Wait returns when the partition is loaded up to the offset, by this service or by another member of the group, or with an
// error when it has stopped here before that.
func (s *Service) Wait(ctx context.Context, topicName string, partition int, until int64) error {
	defer s.Hurry()()
	id := partitionID{topicName, partition}
	elsewhere := time.NewTicker(elsewhereInterval)
	defer elsewhere.Stop()
	for {
		s.mu.Lock()
		p, changed := s.positions[id], s.changed
		s.mu.Unlock()
		switch {
		case p.at >= until:
			return nil
		case p.err != nil:
			return fmt.Errorf("%s/%d stopped at offset %d: %w", topicName, partition, p.at, p.err)
		}
		select {
		case <-changed:
		case <-elsewhere.C:
			there, err := s.elsewhere(ctx, id, until)
			if err != nil {
				s.cfg.Logger.Debug("asking how far another process has loaded a partition", "topic", topicName, "partition", partition, "error", err)
			} else if there {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// elsewhere reports whether another member of the group has loaded the partition up to the offset. Commits alone do not say so:
// those of a warehouse that was restored are ahead of it (L11). The ledger must know as much, of the same log.
func (s *Service) elsewhere(ctx context.Context, id partitionID, until int64) (bool, error) {
	s.mu.Lock()
	ours := s.ours == nil || s.ours[id]
	s.mu.Unlock()
	if ours { // or nobody has said yet whose it is
		return false, nil
	}
	offset, text, ok, err := s.cfg.Client.Committed(ctx, s.cfg.Group, id.topic, id.partition)
	if err != nil || !ok || offset < until {
		return false, err
	}
	metadata, err := ParseMetadata(text)
	if err != nil {
		return false, err
	}
	checkpoint, known, err := s.cfg.Warehouse.Checkpoint(ctx, id.topic, int32(id.partition))
	return known && checkpoint.To >= until && StateOf(checkpoint).Incarnation == metadata.State.Incarnation, err
}

// assigned notes which partitions are ours; nil while that is not known.
func (s *Service) assigned(ours map[partitionID]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ours = ours
}

// shaping returns what a hash names: the present shape, one seen before, or one stored in the warehouse.
func (s *Service) shaping(ctx context.Context, hash string) (Shaping, error) {
	if hash == "" {
		return s.cfg.Shaping, nil
	}
	s.mu.Lock()
	known, ok := s.shapes[hash]
	s.mu.Unlock()
	if ok {
		return known, nil
	}
	body, err := s.cfg.Warehouse.Shape(ctx, hash)
	if err != nil {
		return Shaping{}, fmt.Errorf("read shape %s, which an intent names: %w", hash, err)
	}
	shaping, err := s.cfg.Compile(body)
	if err != nil {
		return Shaping{}, fmt.Errorf("compile shape %s, which an intent names: %w", hash, err)
	}
	s.mu.Lock()
	s.shapes[hash] = shaping
	s.mu.Unlock()
	return shaping, nil
}
