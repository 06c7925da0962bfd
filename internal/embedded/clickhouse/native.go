package clickhouse

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"time"

	chproto "github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/proto"
)

// The engine writes format Native at revision 0 only. A client that names its revision (client_protocol_version) expects two
// things more: a head before each block, and from a certain revision a byte before each column's values that says how they
// are serialised. The values themselves are the same bytes, so they are copied, not decoded and encoded again; the client
// library's decoder only tells where a column ends.

const (
	// nativeBuffer is at least what the decoder would buffer by itself, so that it uses our buffer and hides no bytes in one
	// of its own.
	nativeBuffer = 256 << 10
	// nativeColumns bounds what a block may claim.
	nativeColumns = 1 << 20
)

// recorder keeps what is read through it until forgotten.
type recorder struct {
	from io.Reader
	kept []byte
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	r.kept = append(r.kept, p[:n]...)
	return n, err
}

// nativeStream reads blocks at revision 0.
type nativeStream struct {
	recorder *recorder
	buffered *bufio.Reader
	reader   *chproto.Reader
	context  *column.ServerContext
}

func newNativeStream(from io.Reader, revision uint64, zone *time.Location) *nativeStream {
	s := &nativeStream{recorder: &recorder{from: from}, context: &column.ServerContext{Revision: revision, Timezone: zone}}
	s.buffered = bufio.NewReaderSize(s.recorder, nativeBuffer)
	s.reader = chproto.NewReader(s.buffered)
	return s
}

// take gives the bytes that were read since the last call. They are valid until something more is read.
func (s *nativeStream) take() []byte {
	read := len(s.recorder.kept) - s.buffered.Buffered()
	taken := s.recorder.kept[:read]
	s.recorder.kept = s.recorder.kept[read:]
	if len(s.recorder.kept) == 0 {
		s.recorder.kept = nil
	}
	return taken
}

// reencodeNative copies blocks from revision 0 to the client's. One column is in memory at a time.
func reencodeNative(to io.Writer, from io.Reader, revision uint64, zone *time.Location) error {
	s := newNativeStream(from, revision, zone)
	out := bufio.NewWriterSize(to, 64<<10)
	for {
		if _, err := s.buffered.Peek(1); errors.Is(err, io.EOF) {
			return out.Flush()
		} else if err != nil {
			return err
		}
		if err := s.block(out, revision); err != nil {
			// What is whole goes to the client before it learns of the error.
			return errors.Join(err, out.Flush())
		}
	}
}

// block copies one block.
func (s *nativeStream) block(to *bufio.Writer, revision uint64) error {
	columns, err := s.reader.UVarInt()
	if err != nil {
		return cut(err)
	}
	rows, err := s.reader.UVarInt()
	if err != nil {
		return cut(err)
	}
	if columns > nativeColumns || rows > 1<<30 {
		return fmt.Errorf("a block claims to have %d columns and %d rows", columns, rows)
	}
	if revision > 0 {
		// Fields 1 (overflow row: no) and 2 (bucket: none), then the end.
		if _, err := to.Write([]byte{1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0}); err != nil {
			return err
		}
	}
	if _, err := to.Write(s.take()); err != nil {
		return err
	}
	for range columns {
		if err := s.column(to, int(rows), revision); err != nil {
			return err
		}
	}
	return nil
}

func (s *nativeStream) column(to *bufio.Writer, rows int, revision uint64) error {
	name, err := s.reader.Str()
	if err != nil {
		return cut(err)
	}
	kind, err := s.reader.Str()
	if err != nil {
		return cut(err)
	}
	if _, err := to.Write(s.take()); err != nil {
		return err
	}
	if revision >= proto.DBMS_MIN_REVISION_WITH_CUSTOM_SERIALIZATION {
		if err := to.WriteByte(0); err != nil {
			return err
		}
	}
	if rows == 0 {
		return nil
	}
	values, err := column.Type(kind).Column(name, s.context)
	if err != nil {
		return unwritable(err)
	}
	if prefixed, ok := values.(column.CustomSerialization); ok {
		if err := prefixed.ReadStatePrefix(s.reader); err != nil {
			return unwritable(err)
		}
	}
	if err := values.Decode(s.reader, rows); err != nil {
		return unwritable(err)
	}
	_, err = to.Write(s.take())
	return err
}

// cut makes an end within a block an error.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// unwritable is for types that the decoder does not know, such as states of aggregates.
func unwritable(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return io.ErrUnexpectedEOF
	}
	return exception(codeNotImplemented, "Cannot write the result in format Native for this client: %v; ask for another FORMAT", err)
}
