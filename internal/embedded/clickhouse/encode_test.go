package clickhouse

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
	"time"

	chcompress "github.com/ClickHouse/ch-go/compress"
	chproto "github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2/lib/proto"
)

func TestTheCheapestAcceptedEncodingIsChosen(t *testing.T) {
	t.Parallel()
	for accepted, want := range map[string]string{
		"": "", "identity": "", "gzip": "gzip", "gzip, deflate, br, zstd": "zstd", "GZIP;q=0.5": "gzip", "gzip;q=0, br": "br", "lz4,gzip": "lz4", "x": "",
	} {
		if got := chooseEncoding(accepted); got != want {
			t.Errorf("%q: got %q, want %q", accepted, got, want)
		}
	}
}

func frames(t testing.TB, pieces ...string) []byte {
	t.Helper()
	var b []byte
	for _, piece := range pieces {
		w := chcompress.NewWriter(0, chcompress.LZ4)
		if err := w.Compress([]byte(piece)); err != nil {
			t.Fatal(err)
		}
		b = append(b, w.Data...)
	}
	return b
}

func TestFramesAreReadWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	whole := frames(t, "hello, ", "world")
	for name, reader := range map[string]io.Reader{"at once": bytes.NewReader(whole), "byte by byte": iotest.OneByteReader(bytes.NewReader(whole)), "with the end": iotest.DataErrReader(bytes.NewReader(whole))} {
		if got, err := io.ReadAll(newFrameReader(reader)); err != nil || string(got) != "hello, world" {
			t.Errorf("%s: got %q %v", name, got, err)
		}
	}
	first := len(frames(t, "hello, "))
	for cut := 1; cut < len(whole); cut++ {
		got, err := io.ReadAll(newFrameReader(bytes.NewReader(whole[:cut])))
		if (err == nil) != (cut == first) {
			t.Errorf("cut at %d: got %q %v", cut, got, err)
		}
	}
	if got, err := io.ReadAll(newFrameReader(iotest.ErrReader(io.ErrNoProgress))); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("got %q %v", got, err)
	}
}

// Whatever the bytes, nothing panics, and what is read without an error gives the same bytes when it is framed again.
func FuzzFrameReader(f *testing.F) {
	f.Add(frames(f, "hello"))
	f.Add(frames(f, "a", "")[:30])
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := io.ReadAll(io.LimitReader(newFrameReader(bytes.NewReader(data)), 1<<20))
		if err != nil {
			return
		}
		again, err := io.ReadAll(newFrameReader(bytes.NewReader(frames(t, string(got)))))
		if err != nil || !bytes.Equal(got, again) {
			t.Errorf("got %q %v, want %q", again, err, got)
		}
	})
}

func nativeBlocks(t testing.TB) []byte {
	t.Helper()
	var b chproto.Buffer
	for range 2 {
		block := proto.NewBlock()
		block.ServerContext.Timezone = time.UTC
		if err := errors.Join(block.AddColumn("a", "UInt64"), block.AddColumn("s", "LowCardinality(String)"), block.AddColumn("n", "Array(Nullable(String))")); err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			text := "x"
			if err := block.Append(uint64(i), text, []*string{nil, &text}); err != nil {
				t.Fatal(err)
			}
		}
		if err := block.Encode(&b, 0); err != nil {
			t.Fatal(err)
		}
	}
	return b.Buf
}

func TestBlocksAreTheSameAtTheClientsRevision(t *testing.T) {
	t.Parallel()
	const revision = proto.DBMS_TCP_PROTOCOL_VERSION
	blocks := nativeBlocks(t)
	for name, reader := range map[string]io.Reader{"at once": bytes.NewReader(blocks), "byte by byte": iotest.OneByteReader(bytes.NewReader(blocks))} {
		var out bytes.Buffer
		if err := reencodeNative(&out, reader, revision, time.UTC); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		from := chproto.NewReader(&out)
		for range 2 {
			block := proto.NewBlock()
			block.ServerContext.Timezone = time.UTC
			if err := block.Decode(from, revision); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if got := block.Columns[0].Row(99, false); block.Rows() != 100 || got != uint64(99) {
				t.Errorf("%s: got %d rows, the last %v", name, block.Rows(), got)
			}
		}
	}
	for cut := 1; cut < len(blocks); cut += 7 {
		if err := reencodeNative(io.Discard, bytes.NewReader(blocks[:cut]), revision, time.UTC); err == nil && cut != len(blocks)/2 {
			t.Errorf("a stream cut at %d is whole", cut)
		}
	}
}

func TestAnExceptionOfTheEngineIsRead(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]struct {
		code, status int
	}{
		"Code: 62. DB::Exception: Syntax error. (SYNTAX_ERROR)":            {62, 400},
		"Error: Code: 60. DB::Exception: x. (UNKNOWN_TABLE)":               {60, 404},
		"Code: 210. DB::NetException: Connection refused. (NETWORK_ERROR)": {210, 500},
		"Something else.": {codeUnknownException, 500},
		"Code: 99999999999999999999. DB::Exception: a number that does not fit.": {codeUnknownException, 500},
	} {
		if got := parseException(message); got.Code != want.code || got.status() != want.status {
			t.Errorf("%q: got %d %d", message, got.Code, got.status())
		}
	}
	var e *Exception
	if err := errors.Join(io.EOF, exception(codeReadonly, "no")); !errors.As(err, &e) || e.Message != "Code: 164. DB::Exception: no. (READONLY)" {
		t.Errorf("got %v", e)
	}
}
