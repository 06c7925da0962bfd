package topic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/pipeline/message"
)

// Record is one record of a partition.
type Record struct {
	Offset  int64
	Time    time.Time
	Key     []byte
	Value   []byte // nil for a tombstone of a compacted topic
	Headers []message.Field
}

// Append writes the records to the partition in one request, acknowledged by all replicas, and returns the offset of the
// first. When it returns an error nobody knows whether they were written, unless Refused says that they were not.
func (c *Client) Append(ctx context.Context, name string, partition int, records ...Record) (int64, error) {
	offset, _, err := c.AppendAndLook(ctx, name, partition, records...)
	return offset, err
}

// AppendAndLook is Append that also returns the log's first offset at that moment, which a broker older than Kafka 1.0 gives as 0.
func (c *Client) AppendAndLook(ctx context.Context, name string, partition int, records ...Record) (offset, first int64, err error) {
	batch := make([]kafka.Record, len(records))
	for i, r := range records {
		headers := make([]kafka.Header, len(r.Headers))
		for j, h := range r.Headers {
			headers[j] = kafka.Header{Key: h.Key, Value: h.Value}
		}
		batch[i] = kafka.Record{Key: kafka.NewBytes(r.Key), Value: kafka.NewBytes(r.Value), Headers: headers}
	}
	resp, err := c.kafka.Produce(ctx, &kafka.ProduceRequest{
		Topic: name, Partition: partition, RequiredAcks: kafka.RequireAll, Records: kafka.NewRecordReader(batch...),
	})
	if err == nil {
		err = resp.Error
	}
	if err != nil {
		return 0, 0, Classify(c.needs(fmt.Errorf("append to %s/%d: %w", name, partition, err), "Write", "topic", name))
	}
	for i, err := range resp.RecordErrors {
		return 0, 0, Classify(fmt.Errorf("append to %s/%d: record %d: %w", name, partition, i, err))
	}
	return resp.BaseOffset, resp.LogStartOffset, nil
}

// Refused reports whether an error of Append says that the broker looked at the records and did not write them.
func Refused(err error) bool {
	k, ok := errors.AsType[kafka.Error](err)
	if !ok {
		return false
	}
	switch k {
	case kafka.MessageSizeTooLarge, kafka.RecordListTooLarge, kafka.InvalidRecord, kafka.TopicAuthorizationFailed,
		kafka.ClusterAuthorizationFailed, kafka.UnknownTopicOrPartition, kafka.InvalidMessage, kafka.PolicyViolation:
		return true
	}
	return false
}

// Page is what one read of a partition brought.
type Page struct {
	Records []Record
	First   int64 // offset of the oldest record that the partition still has
	Next    int64 // offset after the newest record that all replicas have
}

// OutOfRangeError says that the offset asked for is not in the partition: retention ate it, or the topic was created again.
type OutOfRangeError struct {
	Topic              string
	Partition          int
	Offset, First, End int64
}

func (e *OutOfRangeError) Error() string {
	return fmt.Sprintf("%s/%d: offset %d is not there; the partition holds %d to %d", e.Topic, e.Partition, e.Offset, e.First, e.End)
}

// Read returns the records from the offset on, as many as fit maxBytes but at least one if there is one; the markers of
// somebody's transactions are among them as records without anything in them. It waits up to wait for something to come and may
// return an empty page. The records' bytes belong to the caller.
func (c *Client) Read(ctx context.Context, name string, partition int, from int64, maxBytes int64, wait time.Duration) (Page, error) {
	resp, err := c.kafka.Fetch(ctx, &kafka.FetchRequest{
		Topic: name, Partition: partition, Offset: from, MinBytes: 1, MaxBytes: maxBytes, MaxWait: wait,
	})
	if err == nil {
		err = resp.Error
	}
	if errors.Is(err, kafka.OffsetOutOfRange) {
		first, next, berr := c.Bounds(ctx, name, partition)
		if berr != nil {
			return Page{}, berr
		}
		return Page{}, &OutOfRangeError{Topic: name, Partition: partition, Offset: from, First: first, End: next}
	}
	if err != nil {
		return Page{}, Classify(c.needs(fmt.Errorf("read %s/%d from %d: %w", name, partition, from, err), "Read", "topic", name))
	}
	page := Page{First: resp.LogStartOffset, Next: resp.HighWatermark}
	batches := []kafka.RecordReader{resp.Records}
	if stream, ok := resp.Records.(*protocol.RecordStream); ok {
		// A stream hides the markers of transactions. They have an offset all the same: who waits for the end of the log would
		// wait for ever at one that ends it.
		batches = stream.Records
	}
	for _, batch := range batches {
		if marker, ok := batch.(*protocol.ControlBatch); ok {
			if marker.Offset() >= from {
				page.Records = append(page.Records, Record{Offset: marker.Offset()})
			}
			continue
		}
		if err := page.read(batch, from); err != nil {
			// The last batch of an answer may be cut by MaxBytes; what came before it is good.
			if len(page.Records) > 0 {
				break
			}
			return Page{}, fault.Transient(fmt.Errorf("read %s/%d from %d: %w", name, partition, from, err))
		}
	}
	return page, nil
}

func (p *Page) read(batch kafka.RecordReader, from int64) error {
	for {
		r, err := batch.ReadRecord()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		rec, err := copyRecord(r)
		if err != nil {
			return fmt.Errorf("offset %d: %w", r.Offset, err)
		}
		// The broker may answer from the beginning of a stored batch.
		if rec.Offset >= from {
			p.Records = append(p.Records, rec)
		}
	}
}

func copyRecord(r *kafka.Record) (Record, error) {
	out := Record{Offset: r.Offset, Time: r.Time}
	var err error
	if out.Key, err = readBytes(r.Key); err != nil {
		return out, err
	}
	if out.Value, err = readBytes(r.Value); err != nil {
		return out, err
	}
	out.Headers = make([]message.Field, len(r.Headers))
	for i, h := range r.Headers {
		out.Headers[i] = message.Field{Key: h.Key, Value: bytes.Clone(h.Value)}
	}
	return out, nil
}

func readBytes(b kafka.Bytes) ([]byte, error) {
	if b == nil {
		return nil, nil
	}
	defer b.Close()
	out := make([]byte, b.Len())
	if _, err := io.ReadFull(b, out); err != nil {
		return nil, err
	}
	return out, nil
}

// Incarnation reads as much of the partition as tells of which life its log is (message.Life), "" if nothing does. Of the log
// [first, next) known is what index or ledger say.
func (c *Client) Incarnation(ctx context.Context, name string, partition int, first, next int64, known string) (string, error) {
	life := message.NewLife(first, known)
	for at := first; at < next; {
		page, err := c.Read(ctx, name, partition, at, 1<<20, time.Second)
		if err != nil {
			return "", err
		}
		for _, r := range page.Records {
			if h, err := message.Parse(r.Headers); err == nil && life.See(h, r.Offset) {
				return life.Incarnation(), nil
			}
			at = r.Offset + 1
		}
		if len(page.Records) == 0 && page.Next <= at {
			break
		}
	}
	return life.Incarnation(), nil
}
