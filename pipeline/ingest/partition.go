package ingest

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/headwater-data/headwater/internal/crash"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/pipeline/message"
	"github.com/headwater-data/headwater/pipeline/topic"
)

// Checkpoints tells what the loader's ledger knows of a partition (W2). Nil without an error means that it knows nothing.
type Checkpoints interface {
	Known(ctx context.Context, topic string, partition int) (*Known, error)
}

// ErrDemoted says that the partition was claimed by somebody else, or again by us, while a batch was under way. The shard's
// reader goes on from the recovered cursor.
var ErrDemoted = errors.New("the partition was claimed anew")

// Partition writes one partition of a raw topic by the rules W1 to W8. It is safe for concurrent use: batches of several shards
// are written one after another.
type Partition struct {
	client      *topic.Client
	index       *Index
	checkpoints Checkpoints
	topic       string
	partition   int
	writer      string
	log         *slog.Logger

	mu      sync.Mutex
	state   Writer
	dirty   map[string]Position // written, not yet indexed (W5)
	indexed time.Time
}

// indexEvery bounds how much of the log a new owner has to read again.
const indexEvery = time.Second

// step feeds an event to the writer and carries out what it wants until it waits for something from outside. It returns the
// batch's offset when one was written.
func (p *Partition) step(ctx context.Context, e Event, value []byte, header message.Header) (written *Written, err error) {
	queue := []Event{e}
	for len(queue) > 0 {
		var actions []Action
		p.state, actions = p.state.Step(queue[0])
		queue = queue[1:]
		for _, a := range actions {
			switch a := a.(type) {
			case SendClaim:
				h := message.Header{Kind: message.Claim, Incarnation: a.Incarnation, Continues: a.Continues, Writer: p.writer}
				offset, _, err := p.append(ctx, topic.Record{Headers: h.Fields()})
				if err != nil {
					return nil, err
				}
				crash.Point("claimed")
				queue = append(queue, Claimed{Offset: offset})
			case SendBatch:
				header.Incarnation, header.Epoch, header.Sequence = a.Incarnation, a.Epoch, a.Sequence
				offset, first, err := p.append(ctx, topic.Record{Headers: header.Fields(), Value: value})
				if err != nil {
					return nil, err
				}
				crash.Point("produced")
				queue = append(queue, Answered{Offset: offset, First: first})
			case ReadLog:
				if err := p.read(ctx, a, &queue); err != nil {
					return nil, err
				}
			case Written:
				written = &a
			case ClaimAgain:
				p.log.Info("claiming the partition again", "topic", p.topic, "partition", p.partition, "why", a.Why)
				return nil, ErrDemoted
			case Stop:
				return nil, fault.Permanent(fmt.Errorf("%s/%d: %w", p.topic, p.partition, a.Err))
			}
		}
	}
	return written, nil
}

// append sends one record until its outcome is known (W3): the same bytes again after an unknown outcome, with backoff. It
// gives up only when the context ends or the broker refuses the record itself.
func (p *Partition) append(ctx context.Context, r topic.Record) (offset, first int64, err error) {
	wait := 50 * time.Millisecond
	for {
		offset, first, err := p.client.AppendAndLook(ctx, p.topic, p.partition, r)
		if err == nil {
			return offset, first, nil
		}
		if topic.Refused(err) || !fault.IsTransient(err) {
			return 0, 0, err
		}
		p.log.Warn("the broker did not answer; sending again", "topic", p.topic, "partition", p.partition, "wait", wait.String(), "error", err)
		select {
		case <-ctx.Done():
			return 0, 0, errors.Join(ctx.Err(), err)
		case <-time.After(wait):
		}
		wait = min(2*wait, 5*time.Second)
	}
}

// read feeds the records of a range to the writer, as events of their own: offsets that the log no longer has or never had
// (a compacted or transactional log) are seen as foreign, so that the target is always reached.
func (p *Partition) read(ctx context.Context, a ReadLog, queue *[]Event) error {
	at := a.From
	for at <= a.To {
		page, err := p.client.Read(ctx, p.topic, p.partition, at, message.MaxValueBytes+(1<<20), time.Second)
		if err != nil {
			return fmt.Errorf("recover %s/%d: %w", p.topic, p.partition, err)
		}
		for _, r := range page.Records {
			if r.Offset > a.To {
				break
			}
			h, err := message.Parse(r.Headers)
			*queue = append(*queue, Saw{Offset: r.Offset, Header: h, Foreign: err != nil})
			at = r.Offset + 1
		}
	}
	return nil
}

// TakeOver claims the partition and recovers every shard's cursor. Call it when the ingest group assigns the partition and
// after ErrDemoted.
func (p *Partition) TakeOver(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	began := time.Now()
	for {
		if err := p.index.Refresh(ctx); err != nil {
			return err
		}
		event, err := p.assignment(ctx)
		if err != nil {
			return err
		}
		if _, err = p.step(ctx, event, nil, message.Header{}); errors.Is(err, ErrDemoted) {
			continue
		} else if err != nil {
			return err
		}
		p.dirty = map[string]Position{}
		for shard, pos := range p.state.Cursors {
			// Whatever the index does not have yet is entered with the next store, so that its newest entry speaks for all.
			if event.Index != nil && event.Index.State.Incarnation == p.state.Log.Incarnation {
				if known, ok := event.Index.Cursors[shard]; ok && known.Offset >= pos.Offset {
					continue
				}
			}
			p.dirty[shard] = pos
		}
		crash.Took("claim", time.Since(began))
		p.log.Debug("holding the partition", "topic", p.topic, "partition", p.partition, "epoch", p.state.Log.Epoch, "shards", len(p.state.Cursors))
		return nil
	}
}

func (p *Partition) assignment(ctx context.Context) (Assigned, error) {
	first, next, err := p.client.Bounds(ctx, p.topic, p.partition)
	if err != nil {
		return Assigned{}, err
	}
	e := Assigned{First: first, Next: next}
	known, err := p.knownIncarnation(ctx, first)
	if err != nil {
		return Assigned{}, err
	}
	if e.Incarnation, err = p.client.Incarnation(ctx, p.topic, p.partition, first, next, known); err != nil {
		return Assigned{}, err
	}
	e.Index = p.index.Known(p.topic, p.partition, cmp.Or(e.Incarnation, known))
	if e.Index != nil && (e.Index.Offset > next || first == 0 && e.Incarnation == "") {
		e.Index = nil // of a log that was longer than this one, or of one before it
	}
	// The ledger is asked only when the index cannot say where to go on: ingestion works while the warehouse is away. Where retention
	// has cut the log, the index does not know whether the loader was there before (W8).
	if e.Index == nil || first > 0 {
		if e.Checkpoint, err = p.checkpoint(ctx); err != nil {
			return Assigned{}, err
		}
	}
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return Assigned{}, err
	}
	e.Fresh = hex.EncodeToString(random[:])
	return e, nil
}

func (p *Partition) checkpoint(ctx context.Context) (*Known, error) {
	k, err := p.checkpoints.Known(ctx, p.topic, p.partition)
	if err != nil {
		return nil, fmt.Errorf("ask the ledger where %s/%d was loaded up to: %w", p.topic, p.partition, err)
	}
	return k, nil
}

// knownIncarnation is what index and ledger say of the log; a log from its beginning needs nobody to say. The index may have entries
// of a log that the ledger has not seen yet, which is then the newer one; or of none but those before the ledger's newest, when
// nothing was entered in that one.
func (p *Partition) knownIncarnation(ctx context.Context, first int64) (string, error) {
	if first == 0 {
		return "", nil
	}
	k, err := p.checkpoint(ctx)
	if err != nil {
		return "", err
	}
	if k == nil {
		return p.index.Newest(p.topic, p.partition, nil), nil
	}
	if newer := p.index.Newest(p.topic, p.partition, k.Lives); newer != "" {
		return newer, nil
	}
	return k.State.Incarnation, nil
}

// Cursor returns the newest written cursor of a shard, nil if it was never read or is to be read from its beginning again, and the
// epoch under which it holds.
func (p *Partition) Cursor(shard string) (cursor []byte, epoch int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.state.Cursors[shard].Cursor) == 0 {
		return nil, p.state.Log.Epoch // to a connector nil is the beginning, and a message cannot tell nil from empty
	}
	return p.state.Cursors[shard].Cursor, p.state.Log.Epoch
}

// Write appends one batch and returns its offset once it is written. The epoch is that of the cursor from which the reader
// started. ErrDemoted means that the partition has been taken over anew since: somebody else may have read on in the shard,
// so that its reader starts again from Cursor.
func (p *Partition) Write(ctx context.Context, epoch int64, header message.Header, value []byte) (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state.Phase != Ready || p.state.Log.Epoch != epoch {
		return 0, ErrDemoted
	}
	shard := ShardKey(header.Source, header.Stream, header.Shard)
	header.Kind, header.Writer = message.Batch, p.writer
	written, err := p.step(ctx, Asked{Pending{Shard: shard, Cursor: header.Cursor}}, value, header)
	if err != nil {
		if !errors.Is(err, ErrDemoted) {
			// The batch's outcome is not known to this writer any more; only a new claim makes it known.
			p.state, _ = p.state.Step(Revoked{})
		}
		return 0, err
	}
	crash.Point("written")
	p.dirty[shard] = written.Position
	if time.Since(p.indexed) >= indexEvery {
		if err := p.store(ctx); err != nil {
			// The index only shortens reading; the batch is written all the same.
			p.log.Warn("the index could not be written; a later writer reads more of the log", "topic", p.topic, "partition", p.partition, "error", err)
		}
	}
	return written.Position.Offset, nil
}

// Look compares the log with the one that the writer holds (W6, W8). ErrDemoted means that it is another one: the topic was deleted
// and created again, or retention has cut it, and the partition must be taken over anew.
func (p *Partition) Look(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state.Phase != Ready {
		return nil
	}
	first, next, err := p.client.Bounds(ctx, p.topic, p.partition)
	if err != nil {
		return err
	}
	incarnation, err := p.client.Incarnation(ctx, p.topic, p.partition, first, next, p.state.Log.Incarnation)
	if err != nil {
		return err
	}
	_, err = p.step(ctx, Looked{First: first, Next: next, Incarnation: incarnation}, nil, message.Header{})
	return err
}

func (p *Partition) store(ctx context.Context) error {
	p.indexed = time.Now()
	if err := p.index.Store(ctx, p.topic, p.partition, p.state.Log.Incarnation, maps.Clone(p.dirty)); err != nil {
		return err
	}
	p.dirty = map[string]Position{}
	return nil
}

// Release enters what is not yet indexed and gives the partition up.
func (p *Partition) Release(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state.Phase != Ready {
		return nil
	}
	err := p.store(ctx)
	p.state, _ = p.state.Step(Revoked{})
	return err
}
