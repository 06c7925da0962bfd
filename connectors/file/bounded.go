package file

import (
	"errors"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// A Parquet file says itself how large its pages are, and a few bytes of one can stand for gigabytes of values: a page of zeros,
// or a dictionary with one long text that every row refers to. Both are bounded as they are asked for.
const (
	// maxPageBytes bounds one page; writers make pages of 1 MiB, and dictionaries of a few.
	maxPageBytes = 64 << 20
	// maxDecodedBytes bounds the values that are decoded at once.
	maxDecodedBytes = 128 << 20
)

var (
	errPageTooLarge = errors.New("a page of more than 64 MiB, refused as a possible bomb")
	errRowsTooLarge = errors.New("a row of more than 128 MiB, refused as a possible bomb")
)

// boundedMemory is an allocator that panics past its bounds, which the Parquet reader takes for damage. It is not safe for use
// from several goroutines.
type boundedMemory struct {
	memory.Allocator
	most    int // in one piece
	left    int // in all, given back by Free; negative for no bound
	refusal error
}

func (b *boundedMemory) take(n int) {
	if n > b.most || b.left >= 0 && n > b.left {
		panic(b.refusal)
	}
	if b.left >= 0 {
		b.left -= n
	}
}

func (b *boundedMemory) Allocate(size int) []byte {
	b.take(size)
	return b.Allocator.Allocate(size)
}

func (b *boundedMemory) Reallocate(size int, old []byte) []byte {
	if size > len(old) {
		b.take(size - len(old))
	} else if b.left >= 0 {
		b.left += len(old) - size
	}
	return b.Allocator.Reallocate(size, old)
}

func (b *boundedMemory) Free(old []byte) {
	if b.left >= 0 {
		b.left += len(old)
	}
	b.Allocator.Free(old)
}
