package sql

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/headwater-data/headwater/connectors"
)

// errAltered says that the table was altered after the catalogue had been asked: it has to be asked anew before rows of then can be read.
var errAltered = errors.New("the table was altered while it was followed")

// attend gives changes as they come, until the caller has enough or it is not the time of day for it any more.
func (f *binlogFollower) attend(ctx context.Context) error {
	var shape *table
	for {
		s := f.streaming()
		s.shape = shape
		err := s.attend(ctx)
		if !errors.Is(err, errAltered) {
			return err
		}
		// Everything before the alteration was given. From there it goes on as another reading would.
		shape = s.shape
		if _, err := f.cursor(); err != nil {
			return err
		}
		if err := f.begin(ctx); err != nil {
			return err
		}
	}
}

func (s *binlogStream) attend(ctx context.Context) error {
	current := false
	// arrived is for where a transaction ends: once everything was read that was there when the catalogue was asked, the two must agree.
	arrived := func() error {
		if current || !s.state.covers(s.end) {
			return nil
		}
		current = true
		if s.skip > 0 {
			return s.damaged()
		}
		if s.columns.print() != s.present.print() {
			return s.lost("the columns of the table are others than they were, and the binlog does not tell when they were changed")
		}
		return nil
	}
	if err := arrived(); err != nil {
		return err
	}
	log, e, err := s.open(ctx, s.d.followBinlog)
	if err != nil {
		return s.unreadable(err)
	}
	defer log.close()
	take := func(e *binlogEvent) error {
		ended, err := s.event(ctx, e)
		if err == nil && ended {
			err = arrived()
		}
		return err
	}
	if s.checking {
		if e == nil {
			return connectors.Transient(fmt.Errorf("the server ended its binlog before the transaction at %v", s.state))
		}
		if err := take(e); err != nil {
			return err
		}
	}
	events := log.feed()
	r := newRhythm()
	defer r.stop()
	stored := s.at.When
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return s.unreadable(fmt.Errorf("read the binlog: %w", log.err))
			}
			if err := take(e); err != nil {
				return err
			}
			r.came(s.gathered())
		case <-r.gather.C:
			r.gathering = false
			if s.gathered() {
				s.bytes, stored = 0, s.at.When
			}
			if err := s.cutBehind(ctx); err != nil {
				return err
			}
		case <-r.look.C:
			if s.s.rests(s.shard) {
				return s.cutBehind(ctx)
			}
			if s.within || s.skip > 0 || s.gathered() || !s.outdated(stored) {
				continue
			}
			s.bytes, stored = 0, s.at.When
			if err := s.deliverPosition(ctx); err != nil {
				return err
			}
		case <-r.watch.C:
			if err := s.lookAtLog(ctx); err != nil {
				return err
			}
		case <-s.following.Enough:
			return s.cutBehind(ctx)
		}
	}
}

// outdated reports whether the position alone is worth a batch, when the newest that was stored is of that time.
func (s *binlogStream) outdated(stored int64) bool {
	return s.bytes >= movedOn || s.bytes > 0 && s.at.When-stored >= refreshed
}

// lookAtLog asks how much log waits to be read.
func (s *binlogStream) lookAtLog(ctx context.Context) error {
	rows, err := s.c.texts(ctx, "SELECT CONCAT('', @@global.gtid_binlog_pos), CONCAT('', UNIX_TIMESTAMP())")
	if err != nil {
		return err
	}
	end, err := parseGTIDs(rows[0][0])
	if err != nil {
		return err
	}
	now, err := strconv.ParseInt(rows[0][1], 10, 64)
	if err != nil {
		return fmt.Errorf("the server's clock says %q: %w", rows[0][1], err)
	}
	return s.watch(ctx, &binlogSeen{server: s.at.Server, now: now, expire: s.expire}, end)
}
