package load

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/pipeline/message"
	"github.com/headwater-data/headwater/warehouse"
)

// Stretch is a range of a partition's log that is not loaded yet.
type Stretch struct {
	Topic     string
	Partition int
	From, To  int64         // To is 0 while nobody knows where it ends
	State     message.State // at From
}

var errElsewhere = errors.New("another process loads the topic")

// Standing finds where loading of a partition rests. The service must not be serving, and nothing may be half loaded: where a
// loader would have a flush to finish or a gap to record, that is an error.
func (s *Service) Standing(ctx context.Context, topicName string, partition int) (Stretch, error) {
	out := Stretch{Topic: topicName, Partition: partition}
	l := s.landingOf(out, nil)
	assigned, err := retry(ctx, l, "find where loading rests", func() (Assigned, error) { return l.locate(ctx) })
	if err != nil {
		return out, err
	}
	// What a loader would do says whether anything is unfinished.
	state, actions := Loader{}.Step(assigned)
	if len(actions) == 1 {
		if a, ok := actions[0].(Collect); ok && a.To == 0 {
			out.From, out.State = a.From, state.State
			return out, nil
		}
	}
	return out, fault.Environment(fmt.Errorf("%s/%d has a flush that was not finished: %w", topicName, partition, errElsewhere))
}

func (s *Service) landingOf(at Stretch, only map[string]bool) *landing {
	return &landing{service: s, id: partitionID{at.Topic, at.Partition}, only: only, log: s.cfg.Logger.With("topic", at.Topic, "partition", at.Partition)}
}

// Fill maps what stretches hold of a source and loads it into the shadow of its table, without intents, commits or an account:
// nobody has loaded these offsets yet, and who loads them once the shadow is in force finds the rows there (Ahead). It returns
// what the account will be. The service must not be serving.
func (s *Service) Fill(ctx context.Context, source string, streams []string, stretches []Stretch) ([]warehouse.LedgerRow, error) {
	cfg := s.cfg
	cfg.Warehouse, cfg.Progress = shadowed{s.cfg.Warehouse}, nil
	shadow := New(cfg)
	only := map[string]bool{}
	for _, stream := range streams {
		only[streamKey(source, stream)] = true
	}
	var account []warehouse.LedgerRow
	for _, part := range stretches {
		l := shadow.landingOf(part, only)
		for at, state := part.From, part.State; at < part.To; {
			rows, err := l.fillFlush(ctx, source, at, part.To, state)
			if err != nil {
				return nil, fmt.Errorf("map %s/%d from offset %d: %w", part.Topic, part.Partition, at, err)
			}
			account = append(account, rows...)
			at, state = l.state.Flush.To, l.state.Flush.After
		}
	}
	return account, nil
}

// fillFlush loads what makes a good flush, but nothing from end on: that is another's.
func (l *landing) fillFlush(ctx context.Context, source string, from, end int64, state message.State) ([]warehouse.LedgerRow, error) {
	content, _, err := l.fetch(ctx, Collect{From: from, State: state}).wait(ctx, nil)
	if err == nil && content.to > end {
		content.release()
		content, _, err = l.fetch(ctx, Collect{From: from, To: end, State: state}).wait(ctx, nil)
	}
	if err != nil {
		return nil, err
	}
	l.content, l.since = content, time.Now()
	l.state = Loader{Ask: true, Flush: Flush{From: from, To: content.to, State: state, After: content.after, Shape: content.shape}}
	defer func() {
		l.content.release()
		l.content = nil
	}()
	if err := l.landInShadow(ctx); err != nil {
		return nil, err
	}
	var account []warehouse.LedgerRow
	for _, row := range l.ledger() {
		if row.Source == source {
			account = append(account, row)
		}
	}
	return account, nil
}

// landInShadow puts the content at hand into the shadows of its tables.
func (l *landing) landInShadow(ctx context.Context) error {
	for i, p := range l.content.tables {
		for _, action := range []Action{Insert{Table: i}, Check{Table: i}, Remove{Table: i}} { // nothing is there, so that nothing need be asked
			event, err := l.do(ctx, action)
			if err != nil {
				return err
			}
			if refused, ok := event.(Refused); ok {
				return refused.Err
			}
			if checked, ok := event.(Checked); ok && !checked.Complete {
				return fmt.Errorf("table %s: %w", p.schema.Name, errStillMissing)
			}
		}
	}
	return nil
}

// Ahead makes a change that puts rows of stretches into their tables before they are loaded. It commits first, where loading
// rests, that whoever loads the stretches asks the tables before it inserts, and makes the change as the group's only member.
// Whatever dies when, the rows go in once: with the commit alone nothing is found, and everything is inserted. Where the group has
// another member, or a partition no longer rests where its stretch begins, the change is not made.
func (s *Service) Ahead(ctx context.Context, stretches []Stretch, change func(ctx context.Context) error) error {
	s.cfg.Client.Evict(ctx, s.cfg.Group)
	group, err := s.cfg.Client.Join(s.cfg.Group, s.cfg.Topics)
	if err != nil {
		return err
	}
	gen, err := group.Next(ctx)
	if err != nil {
		return errors.Join(err, group.Close())
	}
	ended := make(chan error, 1)
	gen.Start(func(gctx context.Context) {
		life, stop := context.WithCancel(ctx)
		defer stop()
		defer context.AfterFunc(gctx, stop)()
		ended <- func() error {
			ours := map[partitionID]bool{}
			for name, partitions := range gen.Assignments {
				for _, p := range partitions {
					ours[partitionID{name, p}] = true
				}
			}
			for _, part := range stretches {
				if !ours[partitionID{part.Topic, part.Partition}] {
					return fault.Environment(fmt.Errorf("%s/%d: %w", part.Topic, part.Partition, errElsewhere))
				}
				now, err := s.Standing(life, part.Topic, part.Partition)
				if err != nil {
					return err
				}
				if now.From != part.From || now.State != part.State {
					return fault.Environment(fmt.Errorf("%s/%d is loaded up to offset %d, and was up to %d: %w", part.Topic, part.Partition, now.From, part.From, errElsewhere))
				}
				if part.To <= part.From {
					continue
				}
				if err := s.cfg.Client.Commit(life, gen, part.Topic, part.Partition, part.From, Metadata{State: part.State, Ask: part.To}.Encode()); err != nil {
					return fmt.Errorf("commit that %s/%d is to be asked after: %w", part.Topic, part.Partition, err)
				}
			}
			return change(life)
		}()
	})
	err = <-ended
	if cerr := group.Close(); cerr != nil && ctx.Err() == nil {
		s.cfg.Logger.Debug("leaving the load group", "error", cerr)
	}
	return err
}

// Replaced gives the lines of flushes whose rows a table no longer has, as it was filled anew from its source: what became of
// their rows then still counts, and the tables are expected to have nothing of them. The lines are as old as they were, so that
// their cursors stay older than those that came later.
func Replaced(flushes []warehouse.HeldFlush) []warehouse.LedgerRow {
	var out []warehouse.LedgerRow
	for _, f := range flushes {
		for _, row := range f.Rows {
			row.Kind, row.Records, row.Deleted, row.Warnings = warehouse.LedgerReplaced, 0, 0, 0
			row.LoadedAt = row.LoadedAt.Add(time.Millisecond) // it is read with milliseconds, and a later line replaces an earlier one
			out = append(out, row)
		}
	}
	return out
}
