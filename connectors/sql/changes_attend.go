package sql

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/headwater-data/headwater/connectors"
)

const (
	// gatherRows is how long changes are gathered before they are given: what they wait, and at most how many batches there are in a second.
	gatherRows = 200 * time.Millisecond
	// lookEvery is how often what was stored is confirmed to the server, and watchEvery how often the server is asked how much log it keeps.
	lookEvery  = time.Second
	watchEvery = time.Minute
)

var _ connectors.Follower = (*Source)(nil)

// Follows reports whether the stream's changes can be waited for: those of all of the source's streams must be followed, and each
// needs two connections for as long as that lasts.
func (s *Source) Follows(string) bool {
	if _, ok := s.dialect.(follows); !ok {
		return false
	}
	for _, o := range s.streams {
		if o.Changes == nil {
			return false
		}
	}
	return cap(s.slots) >= 2*len(s.streams)
}

// Follow yields what follows the cursor and then what comes in.
func (s *Source) Follow(ctx context.Context, shard connectors.Stream, after connectors.Cursor, f connectors.Following) iter.Seq2[connectors.Batch, error] {
	o, err := s.options(shard.Name)
	if err == nil && (o.Changes == nil || f.Enough == nil) {
		err = connectors.Permanent(fmt.Errorf("the stream %q is not one whose changes are followed", shard.Name))
	}
	return yielded(err, func(yield func(connectors.Batch) bool) error { return s.follow(ctx, shard, o, after, &f, yield) })
}

// rhythm is when a follower does what it does besides taking what comes.
type rhythm struct {
	look, watch *time.Ticker // see lookEvery and watchEvery
	gather      *time.Timer  // goes off when what was gathered is to be given
	gathering   bool
}

func newRhythm() *rhythm {
	r := &rhythm{look: time.NewTicker(lookEvery), watch: time.NewTicker(watchEvery), gather: time.NewTimer(gatherRows)}
	r.gather.Stop() // nothing is gathered yet
	return r
}

func (r *rhythm) stop() {
	r.look.Stop()
	r.watch.Stop()
	r.gather.Stop()
}

// came begins to wait for more when the first of a batch has come.
func (r *rhythm) came(gathered bool) {
	if gathered && !r.gathering {
		r.gather.Reset(gatherRows)
		r.gathering = true
	}
}

// rests reports whether it is not the time of day for reading any more.
func (s *Source) rests(shard connectors.Stream) bool {
	if s.hours.open(s.env.Now()) {
		return false
	}
	s.env.Logger.Info("reading stops here until it is the time of day for it again", "stream", shard.String(), "hours", s.limits.Hours)
	return true
}

// attend gives changes as they come, until the caller has enough or it is not the time of day for it any more.
func (s *logStream) attend(ctx context.Context) error {
	reached := s.at.LSN
	r := newRhythm()
	defer r.stop()
	for {
		select {
		case piece, ok := <-s.wal.messages:
			if !ok {
				return fmt.Errorf("read the log: %w", s.wal.err)
			}
			for _, m := range piece {
				if m.payload != nil {
					if err := s.message(ctx, m.payload); err != nil {
						return err
					}
					m.end = s.at.LSN
				}
				if !s.within {
					reached = max(reached, m.end)
				}
			}
			r.came(s.gathered())
		case <-r.gather.C:
			r.gathering = false
			if err := s.cutBehind(ctx); err != nil {
				return err
			}
		case <-r.look.C:
			if err := s.stored(); err != nil {
				return err
			}
			if s.s.rests(s.shard) {
				return s.cutBehind(ctx)
			}
			if err := s.moveOn(ctx, reached); err != nil {
				return err
			}
		case <-r.watch.C:
			if err := s.lookAtSlot(ctx); err != nil {
				return err
			}
		case <-s.following.Enough:
			return s.cutBehind(ctx)
		}
	}
}

// moveOn stores the position when much of the log has passed that was of others.
func (s *logStream) moveOn(ctx context.Context, reached lsn) error {
	if s.within || s.skip > 0 || s.gathered() || reached < s.at.LSN+movedOn {
		return nil
	}
	s.at.LSN, s.at.Tx, s.at.Skip = reached, 0, 0
	return s.deliverPosition(ctx)
}

// stored confirms to the server what the caller has stored.
func (s *logStream) stored() error {
	if s.following.Stored == nil {
		return nil
	}
	at, err := decodeFollowed(s.following.Stored())
	if at == nil || err != nil {
		return err
	}
	s.wal.confirm(at.LSN)
	return nil
}

// lookAtSlot asks how much log the server keeps.
func (s *logStream) lookAtSlot(ctx context.Context) error {
	found, err := s.slot(ctx)
	if err != nil {
		return err
	}
	if found == nil || found.lost != "" {
		return connectors.Transient(fmt.Errorf("the replication slot %s is gone or of no use any more", s.o.Changes.Slot)) // the next reading tells
	}
	rows, err := s.c.texts(ctx, "SELECT pg_current_wal_flush_lsn()")
	if err != nil {
		return err
	}
	flushed, err := parseLSN(rows[0][0])
	if err != nil {
		return err
	}
	s.watch(&seen{flushed: flushed, slot: found, keep: s.keep})
	return nil
}
