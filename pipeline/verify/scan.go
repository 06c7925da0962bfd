package verify

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/pipeline/transform"
	"github.com/headwater-data/headwater/schemas"
	"github.com/headwater-data/headwater/warehouse"
)

// Stream is a stream of the source with what maps it.
type Stream struct {
	Name    string
	Mapping *transform.Mapping
	// Keeps says that rows stay in the warehouse when they go from the source (on_change: merge).
	Keeps bool
}

// Scanner reads a source from its beginning, whatever was read before, one shard at a time. It is not safe for use from several
// goroutines.
type Scanner struct {
	Reader connectors.Source
	Rate   int64 // rows a second at most; 0 for no limit
	// Progress is told of rows that were read. It may be nil.
	Progress func(rows int64)

	began time.Time
	rows  int64
}

// Batch is a batch of a source with what ingest and load would make of it. It is valid until the function it is given to returns.
type Batch struct {
	Stream  *Stream
	Shard   string
	Place   string
	Kept    arrow.Record // what leaves the process: projected and masked
	Result  *transform.Result
	Rejects []connectors.Reject // rows that could not be read, or broke a rule on a personal field

	canonical *schemas.Canonical
	numbers   *array.Int64
	key, row  []byte
}

// Records is how many records the batch's good rows became.
func (b *Batch) Records() int { return len(b.Result.Row) }

// Key gives the canonical key of a record, valid until the next call.
func (b *Batch) Key(record int) []byte {
	b.key = b.canonical.Key(b.key[:0], record)
	return b.key
}

// Hash gives the hash of a record.
func (b *Batch) Hash(record int) uint64 {
	b.row = b.canonical.Row(b.row[:0], record)
	return warehouse.HashRow(b.row)
}

// Number is the number of a row in its place; 0 when it has none.
func (b *Batch) Number(row uint32) uint64 {
	if b.numbers == nil || b.numbers.IsNull(int(row)) {
		return 0
	}
	return uint64(max(0, b.numbers.Value(int(row))))
}

// Shards lists the shards of a stream.
func (s *Scanner) Shards(ctx context.Context, stream string) ([]connectors.Stream, error) {
	sharder, ok := s.Reader.(connectors.Sharder)
	if !ok {
		return []connectors.Stream{{Name: stream}}, nil
	}
	shards, err := sharder.Shards(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("list shards of %s: %w", stream, err)
	}
	return shards, nil
}

// tries is how often a shard is read on from where a transient error stopped it.
const tries = 4

// Scan reads the streams and gives every batch to fn, until it returns false.
func (s *Scanner) Scan(ctx context.Context, streams []*Stream, fn func(*Batch) (more bool, err error)) error {
	if s.began.IsZero() {
		s.began = time.Now()
	}
	for _, stream := range streams {
		shards, err := s.Shards(ctx, stream.Name)
		if err != nil {
			return err
		}
		for _, shard := range shards {
			more, err := s.shard(ctx, stream, shard, fn)
			if err != nil {
				return fmt.Errorf("read %s: %w", shard, err)
			}
			if !more {
				return nil
			}
		}
	}
	return nil
}

func (s *Scanner) shard(ctx context.Context, stream *Stream, shard connectors.Stream, fn func(*Batch) (bool, error)) (more bool, err error) {
	var after connectors.Cursor
	wait := 200 * time.Millisecond
	for try := 1; ; try++ {
		var failed error
		for b, err := range connectors.Peek(ctx, s.Reader, shard, after) {
			if err != nil {
				failed = err
				break
			}
			if more, err := s.batch(ctx, stream, shard.Shard, b, fn); err != nil || !more {
				return false, err
			}
			after = slices.Clone(b.Cursor)
		}
		switch {
		case failed == nil:
			return true, nil
		case ctx.Err() != nil || !connectors.IsTransient(failed) || try == tries:
			return false, failed
		}
		if err := sleep(ctx, wait); err != nil {
			return false, err
		}
		wait *= 4
	}
}

func (s *Scanner) batch(ctx context.Context, stream *Stream, shard string, b connectors.Batch, fn func(*Batch) (bool, error)) (bool, error) {
	n := b.Record.NumRows() + int64(len(b.Rejects))
	if err := s.pace(ctx, n); err != nil {
		return false, err
	}
	if s.Progress != nil {
		s.Progress(n)
	}
	kept, rejects, err := stream.Mapping.Ingress(ctx, b.Record)
	if err != nil {
		return false, fmt.Errorf("prepare rows of %s: %w", b.Place, err)
	}
	defer kept.Release()
	result, err := stream.Mapping.Apply(ctx, kept, transform.ApplyOptions{ReadAt: time.Now()})
	if err != nil {
		return false, fmt.Errorf("map rows of %s: %w", b.Place, err)
	}
	defer result.Release()
	canonical, err := stream.Mapping.Schema().Canonical(result.Records)
	if err != nil {
		return false, err
	}
	out := &Batch{Stream: stream, Shard: shard, Place: b.Place, Kept: kept, Result: result, Rejects: append(slices.Clone(b.Rejects), rejects...), canonical: canonical}
	if i := kept.Schema().FieldIndices(connectors.ColumnRow); len(i) > 0 {
		out.numbers, _ = kept.Column(i[0]).(*array.Int64)
	}
	return fn(out)
}

// pace waits until the rows may be read by the rate.
func (s *Scanner) pace(ctx context.Context, rows int64) error {
	s.rows += rows
	if s.Rate <= 0 {
		return ctx.Err()
	}
	due := s.began.Add(time.Duration(float64(s.rows) / float64(s.Rate) * float64(time.Second)))
	return sleep(ctx, time.Until(due))
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// segments tells in which segment a record is, as warehouse.Comparison cuts them.
type segments struct {
	schema *schemas.Schema
	column int // of the time field; -1 when there is none
	zone   *time.Location
	ranges []string
}

func newSegments(schema *schemas.Schema, ranges []string) (*segments, error) {
	s := &segments{schema: schema, column: schema.FieldIndex(schema.Time), ranges: ranges}
	if s.column < 0 {
		return s, nil
	}
	t := schema.Fields[s.column].Type
	if t.Kind != schemas.KindTimestamp {
		return s, nil
	}
	zone := t.Zone
	if zone == "" {
		zone = schemas.DefaultZone
	}
	var err error
	if s.zone, err = time.LoadLocation(zone); err != nil {
		return nil, fmt.Errorf("zone of %s.%s: %w", schema.Name, schema.Time, err)
	}
	return s, nil
}

func (s *segments) byDay() bool { return s.column >= 0 }

// of gives the segment of a record whose canonical key is key.
func (s *segments) of(records arrow.Record, record int, key []byte) int32 {
	if s.column < 0 {
		at, found := slices.BinarySearch(s.ranges, s.schema.Range(key))
		if found {
			at++
		}
		return int32(at)
	}
	column := records.Column(s.column)
	if column.IsNull(record) {
		return warehouse.NoDay
	}
	switch c := column.(type) {
	case *array.Date32:
		return int32(c.Value(record))
	case *array.Timestamp:
		at := c.Value(record).ToTime(c.DataType().(*arrow.TimestampType).Unit).In(s.zone)
		_, offset := at.Zone()
		return int32(floorDiv(at.Unix()+int64(offset), 86400))
	}
	return warehouse.NoDay
}

func floorDiv(a, b int64) int64 {
	if q := a / b; a%b >= 0 {
		return q
	}
	return a/b - 1
}
