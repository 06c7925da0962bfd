package clickhouse

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	chcompress "github.com/ClickHouse/ch-go/compress"
	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// maxZstdWindow bounds what a client can make the decoder allocate.
const maxZstdWindow = 64 << 20

// decodeBody undoes what the client did to a body: Content-Encoding first, then ClickHouse's own framing. The caller closes
// what it gets.
func decodeBody(body io.Reader, encoding string, native bool) (io.ReadCloser, error) {
	decoded := io.NopCloser(body)
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "identity":
	case "gzip", "x-gzip":
		reader, err := gzip.NewReader(body)
		if err != nil {
			return nil, undecodable(err)
		}
		decoded = reader
	case "deflate":
		reader, err := zlib.NewReader(body)
		if err != nil {
			return nil, undecodable(err)
		}
		decoded = reader
	case "br":
		decoded = io.NopCloser(brotli.NewReader(body))
	case "zstd":
		reader, err := zstd.NewReader(body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxZstdWindow))
		if err != nil {
			return nil, undecodable(err)
		}
		decoded = reader.IOReadCloser()
	case "lz4":
		decoded = io.NopCloser(lz4.NewReader(body))
	default:
		return nil, exception(codeNotImplemented, "Content-Encoding %q is not known; use gzip, deflate, br, zstd or lz4", encoding)
	}
	if native {
		return struct {
			io.Reader
			io.Closer
		}{newFrameReader(decoded), decoded}, nil
	}
	return decoded, nil
}

// undecodable words an error of a decoder, unless it came from below the decoder.
func undecodable(err error) error {
	if _, ok := errors.AsType[*Exception](err); ok {
		return err
	}
	return exception(codeCannotDecompress, "Cannot decompress the body: %v", err)
}

const (
	// A frame of ClickHouse's own compression: checksum, method, size with these nine bytes, size of what it holds.
	frameChecksumBytes = 16
	frameHeadBytes     = frameChecksumBytes + 9
	// frameMaxBytes bounds a frame, compressed and not.
	frameMaxBytes = 128 << 20
)

// frameReader undoes ClickHouse's own compression (decompress=1). It cuts the frames apart itself, because a body that ends
// within a frame must be an error and the decoder underneath cannot tell that end from the right one.
type frameReader struct {
	from    *bufio.Reader
	frame   bytes.Reader // the compressed frame in work
	decoder *chcompress.Reader
	left    int // bytes of the frame that the decoder still holds
}

func newFrameReader(from io.Reader) *frameReader {
	r := &frameReader{from: bufio.NewReader(from)}
	r.decoder = chcompress.NewReader(&r.frame)
	return r
}

func (r *frameReader) Read(p []byte) (int, error) {
	for r.left == 0 {
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n, err := r.decoder.Read(p[:min(len(p), r.left)])
	r.left -= n
	if err != nil {
		return n, undecodable(err)
	}
	return n, nil
}

// next takes in a whole frame; io.EOF means that there was none.
func (r *frameReader) next() error {
	head, err := r.from.Peek(frameHeadBytes)
	if errors.Is(err, io.EOF) && len(head) > 0 {
		return io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	compressed := frameChecksumBytes + int64(binary.LittleEndian.Uint32(head[frameChecksumBytes+1:]))
	held := int64(binary.LittleEndian.Uint32(head[frameChecksumBytes+5:]))
	if compressed < frameHeadBytes || compressed > frameMaxBytes || held > frameMaxBytes {
		return exception(codeCannotDecompress, "A compressed frame claims to have %d bytes and to hold %d", compressed, held)
	}
	// Grown by what comes, not by what the head claims.
	var frame bytes.Buffer
	frame.Grow(int(min(compressed, 1<<20)))
	if n, err := io.CopyN(&frame, r.from, compressed); err != nil {
		if errors.Is(err, io.EOF) && n < compressed {
			return io.ErrUnexpectedEOF
		}
		return err
	}
	r.frame.Reset(frame.Bytes())
	r.left = int(held)
	return nil
}

// flushWriter is a stage of the way to the client.
type flushWriter interface {
	io.WriteCloser
	Flush() error
}

// chooseEncoding picks what to compress an answer with; empty means not at all.
func chooseEncoding(accepted string) string {
	offered := make(map[string]bool)
	for _, part := range strings.Split(accepted, ",") {
		name, quality, _ := strings.Cut(part, ";")
		if strings.TrimSpace(quality) == "q=0" {
			continue
		}
		offered[strings.ToLower(strings.TrimSpace(name))] = true
	}
	// What costs least for what it saves comes first.
	for _, name := range []string{"lz4", "zstd", "gzip", "deflate", "br"} {
		if offered[name] {
			return name
		}
	}
	return ""
}

// newEncoder compresses what is written to it.
func newEncoder(to io.Writer, encoding string) (flushWriter, error) {
	switch encoding {
	case "gzip":
		return gzip.NewWriterLevel(to, gzip.BestSpeed)
	case "deflate":
		return zlib.NewWriterLevel(to, zlib.BestSpeed)
	case "br":
		return brotli.NewWriterLevel(to, brotli.BestSpeed), nil
	case "zstd":
		return zstd.NewWriter(to, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	case "lz4":
		// Hides the writer's ReadFrom, after which Close does not end the stream.
		w := lz4.NewWriter(to)
		return struct{ flushWriter }{w}, nil
	}
	return nil, fmt.Errorf("no encoder for %q", encoding)
}

// nativeFrames writes ClickHouse's own compressed frames (compress=1), each of at most nativeFrameBytes of data.
type nativeFrames struct {
	to     io.Writer
	writer *chcompress.Writer
	held   []byte
}

const nativeFrameBytes = 1 << 20

func newNativeFrames(to io.Writer, method string) *nativeFrames {
	m := chcompress.LZ4
	if strings.EqualFold(method, "zstd") {
		m = chcompress.ZSTD
	}
	return &nativeFrames{to: to, writer: chcompress.NewWriter(0, m)}
}

func (n *nativeFrames) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		take := min(len(p), nativeFrameBytes-len(n.held))
		n.held = append(n.held, p[:take]...)
		p, written = p[take:], written+take
		if len(n.held) == nativeFrameBytes {
			if err := n.Flush(); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

// Flush writes what is held as one frame.
func (n *nativeFrames) Flush() error {
	if len(n.held) == 0 {
		return nil
	}
	if err := n.writer.Compress(n.held); err != nil {
		return err
	}
	n.held = n.held[:0]
	_, err := n.to.Write(n.writer.Data)
	return err
}

func (n *nativeFrames) Close() error { return n.Flush() }

// contentType is what ClickHouse says of each format; the rest are bytes.
func contentType(format string) string {
	switch {
	case strings.HasPrefix(format, "JSONEachRow"), strings.HasPrefix(format, "JSONCompactEachRow"), strings.HasPrefix(format, "JSONStringsEachRow"),
		format == "JSONLines", format == "NDJSON", format == "JSONEachRowWithProgress", strings.HasPrefix(format, "JSONCompactStringsEachRow"), format == "JSONObjectEachRow":
		return "application/x-ndjson; charset=UTF-8"
	case strings.HasPrefix(format, "JSON"):
		return "application/json; charset=UTF-8"
	case strings.HasPrefix(format, "CSV"):
		return "text/csv; charset=UTF-8; header=" + header(format)
	case strings.HasPrefix(format, "TabSeparated"), strings.HasPrefix(format, "TSV"), format == "TSKV":
		return "text/tab-separated-values; charset=UTF-8"
	case format == "XML":
		return "application/xml; charset=UTF-8"
	case format == "ArrowStream":
		return "application/vnd.apache.arrow.stream"
	case format == "Arrow":
		return "application/vnd.apache.arrow.file"
	case format == "Parquet":
		return "application/vnd.apache.parquet"
	case strings.HasPrefix(format, "Pretty"), format == "Vertical", format == "Markdown", format == "Values", format == "SQLInsert":
		return "text/plain; charset=UTF-8"
	}
	return "application/octet-stream"
}

func header(format string) string {
	if strings.HasPrefix(format, "CSVWithNames") {
		return "present"
	}
	return "absent"
}

// acceptsEncoding reports whether the answer may be compressed, and how.
func acceptsEncoding(r *http.Request, enabled string) string {
	if enabled == "0" || strings.EqualFold(enabled, "false") {
		return ""
	}
	return chooseEncoding(r.Header.Get("Accept-Encoding"))
}
