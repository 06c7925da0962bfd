package message

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime/metrics"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// streams are those of two records.
func streams(t testing.TB) [][]byte {
	t.Helper()
	var out [][]byte
	for _, rec := range []arrow.Record{sample(memory.DefaultAllocator), nested(memory.DefaultAllocator)} {
		value, err := Encode(memory.DefaultAllocator, rec, nil)
		rec.Release()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, value[prefixBytes:])
	}
	return out
}

// Behind a true checksum stands what somebody meant. Whatever it is, reading it or its values neither panics nor takes more memory
// than a value may: before streams were verified, a count of a few bytes ended the process for lack of memory, and offsets and
// indices that pointed outside panicked in the first mapping that read them.
func TestDamageBehindATrueChecksum(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	whole := streams(t)
	accepted := 0
	for n := range 2_000 {
		b := bytes.Clone(whole[n%len(whole)])
		for range 1 + random.IntN(3) {
			b[random.IntN(len(b))] = [...]byte{0, 0xff, 0x7f, byte(random.Uint32())}[random.IntN(4)]
		}
		if readAll(t, b) == nil {
			accepted++
		}
	}
	if accepted == 0 {
		t.Error("nothing was accepted: the damage goes too deep to test what is read")
	}
}

// readAll reads a stream and all of its values, and fails the test when that takes too much memory.
func readAll(t *testing.T, stream []byte) error {
	t.Helper()
	allocated := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}} // cheaper than MemStats, which stops the world
	metrics.Read(allocated)
	before := allocated[0].Value.Uint64()
	rec, err := readStream(memory.DefaultAllocator, stream)
	metrics.Read(allocated)
	// All that was allocated, not only what was held at once: LZ4's own buffers are part of it.
	if taken := allocated[0].Value.Uint64() - before; taken > 3*MaxDecodedBytes {
		t.Errorf("a stream of %d bytes took %d MiB: %x", len(stream), taken>>20, stream)
	}
	if err != nil {
		return err
	}
	defer rec.Release()
	for _, c := range rec.Columns() {
		for i := range min(c.Len(), 1000) {
			_ = c.ValueStr(i)
		}
	}
	return nil
}

// Each place of a stream where a length or a count stands says the most that it can.
func TestLengthsThatLie(t *testing.T) {
	for _, whole := range streams(t) {
		for at := range len(whole) - 4 {
			b := bytes.Clone(whole)
			binary.LittleEndian.PutUint32(b[at:], [...]uint32{0x7fffffff, 0xfffffffe, 0x10000000}[at%3])
			_ = readAll(t, b) // some places are values, where anything goes
		}
	}
	_, _, err := Decode(memory.DefaultAllocator, batchHeader(), sealed([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0}))
	if _, ok := errors.AsType[*CorruptError](err); !ok {
		t.Errorf("metadata of 2 GiB: %v", err)
	}
}

// FuzzStream: behind a true checksum, no stream makes Decode panic or take more than its bound, and every value of what it
// accepts can be read.
func FuzzStream(f *testing.F) {
	for _, s := range streams(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		err := readAll(t, stream)
		h := batchHeader()
		h.Rejects = 0
		rec, _, decoded := Decode(memory.DefaultAllocator, h, sealed(stream))
		if decoded == nil {
			rec.Release()
			if err != nil {
				t.Errorf("Decode accepts what cannot be read: %v", err)
			}
		}
	})
}
