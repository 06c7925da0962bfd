package broker

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io/fs"
	"math"
	"strings"
	"testing"
	"time"
)

func entry(text string) []byte {
	body := append([]byte{1, 0}, text...)
	head := binary.LittleEndian.AppendUint32(nil, uint32(len(body)))
	head = binary.LittleEndian.AppendUint32(head, crc32.Checksum(body, castagnoli))
	return append(head, body...)
}

func TestOnlyWholeEntriesCount(t *testing.T) {
	t.Parallel()
	one := entry(`{"type":"commit"}`)
	for _, c := range []struct {
		name string
		raw  []byte
		want int
	}{
		{"an empty log has none", nil, 0},
		{"whole entries count", append(bytes.Clone(one), one...), 2 * len(one)},
		{"an entry without its end does not", append(bytes.Clone(one), one[:len(one)-1]...), len(one)},
		{"an entry without its head does not", append(bytes.Clone(one), one[:5]...), len(one)},
		{"an entry of zeros does not", append(bytes.Clone(one), make([]byte, 40)...), len(one)},
		{"a length beyond the end does not", append(bytes.Clone(one), 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0), len(one)},
		{"what follows a broken entry does not", append([]byte("0123456789"), one...), 0},
	} {
		if got := wholeEntries(c.raw); got != c.want {
			t.Errorf("%s: got %d bytes, want %d", c.name, got, c.want)
		}
	}
}

// Whatever a kill or a disk leaves: no panic, and what counts as whole stays whole when the rest is cut off.
func FuzzWholeEntries(f *testing.F) {
	f.Add([]byte{})
	f.Add(append(entry("one"), entry("two")...))
	f.Add(append(entry("one"), "torn"...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		n := wholeEntries(raw)
		if n < 0 || n > len(raw) || wholeEntries(raw[:n]) != n {
			t.Errorf("%d of %d bytes", n, len(raw))
		}
		if again := wholeEntries(append(bytes.Clone(raw[:n]), entry("next")...)); again != n+len(entry("next")) {
			t.Errorf("an entry behind %d whole bytes is not found", n)
		}
	})
}

// Whatever stands in a segment: no panic, batches lie within it, and both ways of walking them meet the same ones.
func FuzzBatches(f *testing.F) {
	f.Add(make([]byte, 61))
	f.Add(bytes.Repeat([]byte{0xff}, 100))
	whole := make([]byte, 80)
	binary.BigEndian.PutUint32(whole[8:], 80-12)
	f.Add(append(whole, whole...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		want := 0
		for n := batchBytes(raw); n != 0; n = batchBytes(raw[want:]) {
			want += n
		}
		got, err := scanBatches(bytes.NewReader(raw), int64(len(raw)))
		if err != nil || got.bytes != int64(want) || want > len(raw) {
			t.Errorf("got whole batches of %d bytes, %v, want %d of %d", got.bytes, err, want, len(raw))
		}
	})
}

func request(size uint32, key uint16, body int) []byte {
	head := binary.BigEndian.AppendUint32(nil, size)
	head = binary.BigEndian.AppendUint16(head, key)
	return append(head, make([]byte, body)...)
}

func TestOnlyKafkaRequestsPass(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		stream []byte
		want   string // part of the error, or nothing
	}{
		{"requests one after another pass", append(request(20, 18, 18), request(8, 0, 6)...), ""},
		{"a request that is still coming passes", request(1000, 0, 10), ""},
		{"a browser does not", []byte("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"), "claims 1195725856 bytes"},
		{"TLS does not", []byte("\x16\x03\x01\x02\x00\x01\x00"), "claims"},
		{"a request larger than Kafka takes does not", request(maxRequestBytes+1, 0, 0), "claims"},
		{"a request too short for its head does not", request(7, 0, 0), "claims 7 bytes"},
		{"a request key that nobody knows does not", request(100, 9999, 0), "no request key 9999"},
		{"nor does one behind a good request", append(request(20, 18, 18), request(20, 0x7fff, 0)...), "no request key 32767"},
	} {
		for _, step := range []int{len(c.stream), 1, 5} {
			var f frameCheck
			var err error
			for rest := c.stream; len(rest) > 0 && err == nil; rest = rest[min(step, len(rest)):] {
				err = f.see(rest[:min(step, len(rest))])
			}
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s, in pieces of %d: got %v, want %q", c.name, step, err, c.want)
			}
		}
	}
}

// However a stream is cut into pieces, it passes or fails the same.
func FuzzFrameCheck(f *testing.F) {
	f.Add(append(request(20, 18, 18), request(8, 0, 6)...), 3)
	f.Add([]byte("GET / HTTP/1.1"), 1)
	f.Fuzz(func(t *testing.T, stream []byte, step int) {
		step = max(1, step)
		var whole, pieces frameCheck
		want := whole.see(stream)
		var got error
		for rest := stream; len(rest) > 0 && got == nil; rest = rest[min(step, len(rest)):] {
			got = pieces.see(rest[:min(step, len(rest))])
		}
		if (got == nil) != (want == nil) {
			t.Errorf("at once: %v; in pieces of %d: %v", want, step, got)
		}
	})
}

type fileInfo struct {
	fs.FileInfo
	size     int64
	modified time.Time
}

func (f fileInfo) Size() int64        { return f.size }
func (f fileInfo) ModTime() time.Time { return f.modified }

func TestRetentionTakesWholeSegmentsAndNeverTheLast(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)
	seg := func(base int64, mebibytes int64, age time.Duration) segment {
		return segment{base: base, info: fileInfo{size: mebibytes << 20, modified: now.Add(-age)}}
	}
	hour := time.Hour
	log := []segment{seg(0, 16, 72*hour), seg(100, 16, 48*hour), seg(200, 16, 24*hour), seg(300, 1, hour)}
	for _, c := range []struct {
		name     string
		segments []segment
		maxAge   time.Duration
		maxBytes int64
		want     int64
	}{
		{"nothing is too old or too much", log, 100 * hour, 100 << 20, 0},
		{"what was written before the retention time goes", log, 36 * hour, -1, 200},
		{"the last segment stays however old it is", log, time.Nanosecond, -1, 300},
		{"what is beyond the size goes, as long as the size is kept", log, -1, 17 << 20, 200},
		{"the last segment stays however small the size is", log, -1, 0, 300},
		{"both limits count", log, 60 * hour, 17 << 20, 200},
		{"no limits, no loss", log, -1, -1, 0},
		{"a partition without segments has nothing to lose", nil, 0, 0, 0},
	} {
		start, expired := startAfterRetention(c.segments, now, c.maxAge, c.maxBytes)
		if start != c.want || expired != (c.want > 0) {
			t.Errorf("%s: got %d, %v, want %d", c.name, start, expired, c.want)
		}
	}
}

func TestSettingsThatAreNoNumbersCountAsUnset(t *testing.T) {
	t.Parallel()
	topic := topicState{Configs: map[string]string{"a": "12", "b": "many", "c": "9223372036854775807"}}
	for name, want := range map[string]int64{"a": 12, "b": 5, "c": math.MaxInt64, "d": 5} {
		if got := topic.setting(name, 5); got != want {
			t.Errorf("%s: got %d, want %d", name, got, want)
		}
	}
}
