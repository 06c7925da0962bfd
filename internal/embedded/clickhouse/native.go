package clickhouse

import (
	"bufio"
	"errors"
	"io"
	"time"

	chproto "github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/proto"
)

// reencodeNative copies blocks in format Native from revision 0, the only one that the engine writes, to the revision that
// the client asked for with client_protocol_version. One block is in memory at a time.
func reencodeNative(to io.Writer, from io.Reader, revision uint64, zone *time.Location) error {
	buffered := bufio.NewReaderSize(from, 64<<10)
	reader := chproto.NewReader(buffered)
	var buffer chproto.Buffer
	for {
		if _, err := buffered.Peek(1); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		block := proto.Block{ServerContext: &column.ServerContext{Revision: revision, Timezone: zone}}
		if err := decodeBlock(&block, reader); err != nil {
			return err
		}
		buffer.Reset()
		if err := block.Encode(&buffer, revision); err != nil {
			return exception(codeNotImplemented, "Cannot write the result in format Native for this client: %v; ask for another FORMAT", err)
		}
		if _, err := to.Write(buffer.Buf); err != nil {
			return err
		}
	}
}

// decodeBlock reads one block at revision 0.
func decodeBlock(block *proto.Block, reader *chproto.Reader) error {
	err := block.Decode(reader, 0)
	if err == nil {
		return nil
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return io.ErrUnexpectedEOF
	}
	return exception(codeNotImplemented, "Cannot write the result in format Native for this client: %v; ask for another FORMAT", err)
}
