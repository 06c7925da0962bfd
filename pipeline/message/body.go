package message

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/cespare/xxhash/v2"

	"github.com/headwater-data/headwater/connectors"
)

// MaxDecodedBytes bounds the Arrow memory that one value may ask for when it is decoded: a corrupt or hostile length must not
// take the loader down.
const MaxDecodedBytes = 64 << 20

// The value of a batch: 8 bytes of xxHash64 over all that follows, 4 bytes of length (both little-endian), an Arrow IPC stream
// of that length with the schema and one record, and, when there are rejects, a second stream with those. The checksum stands
// before anything is parsed: Arrow's reader believes counts that stand in its metadata, and a flipped bit there can ask for
// more memory than there is, which no program survives.
const (
	sumBytes    = 8
	lengthBytes = 4
	prefixBytes = sumBytes + lengthBytes
)

var rejectSchema = arrow.NewSchema([]arrow.Field{
	{Name: "row", Type: arrow.PrimitiveTypes.Int64},
	{Name: "column", Type: arrow.PrimitiveTypes.Int32},
	{Name: "rule", Type: arrow.BinaryTypes.String},
	{Name: "reason", Type: arrow.BinaryTypes.String},
	{Name: "raw", Type: arrow.BinaryTypes.Binary},
}, nil)

// Encode makes a batch's value from its rows and rejects. The record is not released.
func Encode(mem memory.Allocator, rec arrow.Record, rejects []connectors.Reject) ([]byte, error) {
	var buf bytes.Buffer
	buf.Grow(estimate(rec) + 4096)
	buf.Write(make([]byte, prefixBytes))
	if err := writeStream(&buf, mem, rec); err != nil {
		return nil, fmt.Errorf("encode rows: %w", err)
	}
	binary.LittleEndian.PutUint32(buf.Bytes()[sumBytes:], uint32(buf.Len()-prefixBytes))
	if len(rejects) > 0 {
		r := rejectRecord(mem, rejects)
		defer r.Release()
		if err := writeStream(&buf, mem, r); err != nil {
			return nil, fmt.Errorf("encode rejects: %w", err)
		}
	}
	value := buf.Bytes()
	binary.LittleEndian.PutUint64(value, xxhash.Sum64(value[sumBytes:]))
	return value, nil
}

func estimate(rec arrow.Record) int {
	n := 0
	for _, c := range rec.Columns() {
		for _, b := range c.Data().Buffers() {
			if b != nil {
				n += b.Len()
			}
		}
	}
	return n/2 + 1024
}

func writeStream(w io.Writer, mem memory.Allocator, rec arrow.Record) (err error) {
	out := ipc.NewWriter(w, ipc.WithSchema(rec.Schema()), ipc.WithAllocator(mem), ipc.WithLZ4(), ipc.WithCompressConcurrency(1))
	defer func() { err = errors.Join(err, out.Close()) }()
	return out.Write(rec)
}

func rejectRecord(mem memory.Allocator, rejects []connectors.Reject) arrow.Record {
	b := array.NewRecordBuilder(mem, rejectSchema)
	defer b.Release()
	for _, r := range rejects {
		b.Field(0).(*array.Int64Builder).Append(r.Row)
		b.Field(1).(*array.Int32Builder).Append(int32(r.Column))
		b.Field(2).(*array.StringBuilder).Append(r.Rule)
		b.Field(3).(*array.StringBuilder).Append(r.Reason)
		b.Field(4).(*array.BinaryBuilder).Append(r.Raw)
	}
	return b.NewRecord()
}

// Decode reads a batch's value. The caller releases the record. Whatever is wrong with the value is a *CorruptError; memory
// stays below MaxDecodedBytes whatever the value says of itself.
func Decode(mem memory.Allocator, h Header, value []byte) (rec arrow.Record, rejects []connectors.Reject, err error) {
	if len(value) < prefixBytes {
		return nil, nil, &CorruptError{What: "value is cut short"}
	}
	if binary.LittleEndian.Uint64(value) != xxhash.Sum64(value[sumBytes:]) {
		return nil, nil, &CorruptError{What: "the value's checksum does not hold: it is cut short or damaged"}
	}
	n := int(binary.LittleEndian.Uint32(value[sumBytes:]))
	if n > len(value)-prefixBytes {
		return nil, nil, &CorruptError{What: "value is cut short"}
	}
	rec, err = readStream(mem, value[prefixBytes:prefixBytes+n])
	if err != nil {
		return nil, nil, &CorruptError{What: "rows", Err: err}
	}
	if rest := value[prefixBytes+n:]; len(rest) > 0 {
		if rejects, err = decodeRejects(mem, rest); err != nil {
			rec.Release()
			return nil, nil, &CorruptError{What: "rejects", Err: err}
		}
	}
	if int(rec.NumRows()) != h.Rows || len(rejects) != h.Rejects {
		err = &CorruptError{What: fmt.Sprintf("headers name %d rows and %d rejects, value holds %d and %d", h.Rows, h.Rejects, rec.NumRows(), len(rejects))}
		rec.Release()
		return nil, nil, err
	}
	return rec, rejects, nil
}

func decodeRejects(mem memory.Allocator, b []byte) ([]connectors.Reject, error) {
	r, err := readStream(mem, b)
	if err != nil {
		return nil, err
	}
	defer r.Release()
	return readRejects(r)
}

func readRejects(r arrow.Record) ([]connectors.Reject, error) {
	if !r.Schema().Equal(rejectSchema) {
		return nil, errors.New("unexpected columns")
	}
	out := make([]connectors.Reject, r.NumRows())
	for i := range out {
		out[i] = connectors.Reject{
			Row:    r.Column(0).(*array.Int64).Value(i),
			Column: int(r.Column(1).(*array.Int32).Value(i)),
			Rule:   r.Column(2).(*array.String).Value(i),
			Reason: r.Column(3).(*array.String).Value(i),
			Raw:    bytes.Clone(r.Column(4).(*array.Binary).Value(i)),
		}
	}
	return out, nil
}

func readStream(mem memory.Allocator, b []byte) (rec arrow.Record, err error) {
	// The reader trusts lengths and offsets that stand in the stream and panics on senseless ones.
	defer func() {
		if p := recover(); p != nil {
			rec, err = nil, fmt.Errorf("%v", p)
		}
	}()
	if err := verify(b); err != nil {
		return nil, err
	}
	r, err := ipc.NewReader(bytes.NewReader(b), ipc.WithAllocator(&bounded{Allocator: mem, left: MaxDecodedBytes}))
	if err != nil {
		return nil, err
	}
	defer r.Release()
	if !r.Next() {
		if err := r.Err(); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		return nil, errors.New("no record in the stream")
	}
	rec = r.Record()
	if err := validate(rec); err != nil {
		return nil, err
	}
	rec.Retain()
	return rec, nil
}

// bounded is an allocator that panics past a bound; readStream turns the panic into an error.
type bounded struct {
	memory.Allocator
	left int
}

func (b *bounded) take(n int) {
	if n < 0 || n > b.left {
		panic(fmt.Sprintf("asks for more than %d MiB of memory", MaxDecodedBytes>>20))
	}
	b.left -= n
}

func (b *bounded) Allocate(size int) []byte { b.take(size); return b.Allocator.Allocate(size) }

func (b *bounded) Reallocate(size int, old []byte) []byte {
	b.take(max(0, size-len(old)))
	return b.Allocator.Reallocate(size, old)
}

// Fingerprint names an Arrow schema by the names and types of its columns: 16 hex digits.
func Fingerprint(s *arrow.Schema) string {
	d := xxhash.New()
	for _, f := range s.Fields() {
		fmt.Fprintf(d, "%q %s %t\n", f.Name, f.Type, f.Nullable)
	}
	return fmt.Sprintf("%016x", d.Sum64())
}
