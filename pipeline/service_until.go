package pipeline

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/headwater-data/headwater/connectors"
)

// errStopped says that a run was ended before the source was: by a shutdown, or by whoever had asked for it. The next run goes
// on from there. It is a context.Canceled, as the run history has it.
var errStopped error = stoppedError{}

type stoppedError struct{}

func (stoppedError) Error() string {
	return "stopped before everything was read; the next run goes on from there"
}
func (stoppedError) Unwrap() error { return context.Canceled }

// until wraps a source so that it stops at the next batch when reading ends. Unlike a context that ends, it lets the batches
// that were read be written. The source's optional abilities are kept.
func until(reading context.Context, source connectors.Source) connectors.Source {
	wrapped := &stoppable{Source: source, reading: reading}
	if sharder, ok := source.(connectors.Sharder); ok {
		return &stoppableSharder{stoppable: wrapped, Sharder: sharder}
	}
	return wrapped
}

type stoppable struct {
	connectors.Source
	reading context.Context // a lifetime that is handed over, as the wrapped source's own
}

// stoppableSharder is apart because having Shards at all means that there are shards.
type stoppableSharder struct {
	*stoppable
	connectors.Sharder
}

var (
	_ connectors.Counter  = (*stoppable)(nil)
	_ connectors.Sharder  = (*stoppableSharder)(nil)
	_ connectors.Follower = (*stoppable)(nil)
)

func (s *stoppable) Read(ctx context.Context, stream connectors.Stream, after connectors.Cursor) iter.Seq2[connectors.Batch, error] {
	return s.stopped(ctx, func(ctx context.Context) iter.Seq2[connectors.Batch, error] { return s.Source.Read(ctx, stream, after) })
}

// Follows implements connectors.Follower for sources that can be followed.
func (s *stoppable) Follows(stream string) bool {
	f, ok := s.Source.(connectors.Follower)
	return ok && f.Follows(stream)
}

// Follow implements connectors.Follower for streams that Follows names.
func (s *stoppable) Follow(ctx context.Context, stream connectors.Stream, after connectors.Cursor, f connectors.Following) iter.Seq2[connectors.Batch, error] {
	return s.stopped(ctx, func(ctx context.Context) iter.Seq2[connectors.Batch, error] {
		return s.Source.(connectors.Follower).Follow(ctx, stream, after, f)
	})
}

func (s *stoppable) stopped(ctx context.Context, read func(context.Context) iter.Seq2[connectors.Batch, error]) iter.Seq2[connectors.Batch, error] {
	return func(yield func(connectors.Batch, error) bool) {
		if s.reading.Err() != nil {
			yield(connectors.Batch{}, errStopped)
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.reading, cancel)() // a source that waits for data need not come to a batch first
		for b, err := range read(ctx) {
			if err != nil && s.reading.Err() != nil {
				err = errStopped
			}
			if !yield(b, err) || err != nil {
				return
			}
			if s.reading.Err() != nil {
				yield(connectors.Batch{}, errStopped)
				return
			}
		}
	}
}

// Count implements connectors.Counter for sources that can count.
func (s *stoppable) Count(ctx context.Context, stream connectors.Stream) (int64, error) {
	if counter, ok := s.Source.(connectors.Counter); ok {
		return counter.Count(ctx, stream)
	}
	return 0, fmt.Errorf("count %s: %w", stream, errors.ErrUnsupported)
}
