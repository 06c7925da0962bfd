package file

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/connectors"
)

// columnNames makes a file's own names fit for a batch: trimmed, without line breaks, none empty ("column_3"), none that
// begins with an underscore (_x becomes x_), none twice (the second 金额 becomes 金额_2).
func columnNames(found []string) []string {
	names := make([]string, len(found))
	taken := make(map[string]bool, len(found))
	for i, name := range found {
		name = strings.Map(func(r rune) rune {
			if r == '\n' || r == '\r' {
				return -1
			}
			return r
		}, name)
		name = strings.TrimFunc(name, unicode.IsSpace)
		name = unreserved(name)
		if name == "" {
			name = fmt.Sprintf("column_%d", i+1)
		}
		unique := name
		for n := 2; taken[unique]; n++ {
			unique = fmt.Sprintf("%s_%d", name, n)
		}
		taken[unique] = true
		names[i] = unique
	}
	return names
}

// unreserved moves leading underscores to the end: names with them belong to the contract. A name of nothing else becomes "".
func unreserved(name string) string {
	bare := strings.TrimLeft(name, "_")
	if bare == "" {
		return ""
	}
	return bare + name[:len(name)-len(bare)]
}

// joinHeader makes one header of several rows: "一级-二级". A text repeated downwards (a cell merged over both rows) counts
// once. With fillRight, for formats that do not say which cells were merged, an upper cell reaches to the right until the
// next one that is not empty, as far as there is something below it.
func joinHeader(rows [][]string, fillRight bool) []string {
	if len(rows) == 1 {
		return rows[0]
	}
	width := 0
	for _, row := range rows {
		width = max(width, len(row))
	}
	cell := func(row []string, i int) string {
		if i < len(row) {
			return strings.TrimFunc(row[i], unicode.IsSpace)
		}
		return ""
	}
	joined := make([]string, width)
	for i := range width {
		var parts []string
		for r, row := range rows {
			text := cell(row, i)
			if fillRight && r < len(rows)-1 && text == "" {
				below := false
				for _, lower := range rows[r+1:] {
					below = below || cell(lower, i) != ""
				}
				for j := i; below && text == "" && j >= 0; j-- {
					text = cell(row, j)
				}
			}
			if text != "" && (len(parts) == 0 || parts[len(parts)-1] != text) {
				parts = append(parts, text)
			}
		}
		joined[i] = strings.Join(parts, "-")
	}
	return joined
}

// textColumn builds a utf8 column straight from byte slices. Nothing is allocated per value.
type textColumn struct {
	offsets *memory.Buffer
	values  *memory.Buffer
	valid   *memory.Buffer // nil until the first null
	off     []int32        // offsets as int32, all of its capacity
	val     []byte         // all of values' capacity
	n, used int            // rows and bytes so far
	nulls   int
	// sizes of the last batch, to allocate the next one right the first time
	lastRows, lastBytes int
}

func (c *textColumn) grow(mem memory.Allocator, rows, bytes int) {
	if c.offsets == nil {
		c.offsets, c.values = memory.NewResizableBuffer(mem), memory.NewResizableBuffer(mem)
		rows = max(rows, min(c.lastRows+c.lastRows/16+1, connectors.MaxBatchRows), 64)
		bytes = max(bytes, c.lastBytes+c.lastBytes/16, 256)
	}
	if need := (rows + 1) * 4; need > c.offsets.Cap() {
		c.offsets.Reserve(max(need, min(c.offsets.Cap()*2, (connectors.MaxBatchRows+1)*4)))
		c.off = arrow.Int32Traits.CastFromBytes(c.offsets.Buf())
		c.off[0] = 0
	}
	if bytes > c.values.Cap() {
		c.values.Reserve(max(bytes, c.values.Cap()*2))
		c.val = c.values.Buf()
	}
}

// append adds a value.
func (c *textColumn) append(mem memory.Allocator, v []byte) {
	n, used := c.n+1, c.used+len(v)
	if n >= len(c.off) || used > len(c.val) {
		c.grow(mem, n, used)
	}
	// Most values are short: one move of 16 bytes, the rest of which is overwritten later, is far cheaper than a copy of a
	// length that is only known here.
	if at := c.used; len(v) <= 16 && cap(v) >= 16 && at+16 <= len(c.val) {
		*(*[16]byte)(c.val[at:]) = *(*[16]byte)(v[:16])
	} else {
		copy(c.val[at:], v)
	}
	c.off[n] = int32(used)
	c.n, c.used = n, used
	if c.valid != nil {
		c.mark(mem, n-1, true)
	}
}

// appendNull adds a null.
func (c *textColumn) appendNull(mem memory.Allocator) {
	n := c.n + 1
	if n >= len(c.off) {
		c.grow(mem, n, c.used)
	}
	c.off[n] = int32(c.used)
	c.n = n
	c.nulls++
	if c.valid == nil {
		c.valid = memory.NewResizableBuffer(mem)
		c.valid.Reserve(len(c.off)/8 + 1)
		for b := c.valid.Buf(); len(b) > 0; b = b[1:] {
			b[0] = 0xff
		}
	}
	c.mark(mem, n-1, false)
}

// appendNulls fills the column up to n rows.
func (c *textColumn) appendNulls(mem memory.Allocator, n int) {
	for c.n < n {
		c.appendNull(mem)
	}
}

func (c *textColumn) mark(mem memory.Allocator, i int, valid bool) {
	if i/8 >= c.valid.Cap() {
		before := c.valid.Cap()
		c.valid.Reserve(max(before*2, i/8+1))
		for b := c.valid.Buf()[before:]; len(b) > 0; b = b[1:] {
			b[0] = 0xff
		}
	}
	if valid {
		c.valid.Buf()[i/8] |= 1 << (i % 8)
	} else {
		c.valid.Buf()[i/8] &^= 1 << (i % 8)
	}
}

// take returns the column, which the caller releases, and leaves the builder empty.
func (c *textColumn) take(mem memory.Allocator) arrow.Array {
	if c.offsets == nil {
		c.grow(mem, 0, 0)
	}
	c.offsets.ResizeNoShrink((c.n + 1) * 4)
	c.values.ResizeNoShrink(c.used)
	var valid *memory.Buffer
	if c.valid != nil {
		c.valid.ResizeNoShrink((c.n + 7) / 8)
		valid = c.valid
	}
	data := array.NewData(arrow.BinaryTypes.String, c.n, []*memory.Buffer{valid, c.offsets, c.values}, nil, c.nulls, 0)
	defer data.Release()
	out := array.NewStringData(data)
	rows, bytes := c.n, c.used
	c.release()
	c.lastRows, c.lastBytes = rows, bytes
	return out
}

// release gives back what the builder holds.
func (c *textColumn) release() {
	for _, b := range []*memory.Buffer{c.offsets, c.values, c.valid} {
		if b != nil {
			b.Release()
		}
	}
	*c = textColumn{}
}

// rowColumn builds the _row column.
type rowColumn struct {
	buf  *memory.Buffer
	nums []int64
	n    int
	last int
}

func (c *rowColumn) append(mem memory.Allocator, row int64) {
	if c.n >= len(c.nums) {
		if c.buf == nil {
			c.buf = memory.NewResizableBuffer(mem)
		}
		c.buf.Reserve(max(64*8, min(c.last+c.last/16+1, connectors.MaxBatchRows)*8, c.buf.Cap()*2))
		c.nums = arrow.Int64Traits.CastFromBytes(c.buf.Buf())
	}
	c.nums[c.n] = row
	c.n++
}

func (c *rowColumn) take() arrow.Array {
	n, buf := c.n, c.buf
	if buf != nil {
		buf.ResizeNoShrink(n * 8)
	}
	data := array.NewData(arrow.PrimitiveTypes.Int64, n, []*memory.Buffer{nil, buf}, nil, 0, 0)
	defer data.Release()
	out := array.NewInt64Data(data)
	c.release()
	c.last = n
	return out
}

func (c *rowColumn) release() {
	if c.buf != nil {
		c.buf.Release()
	}
	*c = rowColumn{}
}

// rowsBuilder collects rows of text columns, their numbers and rejects until they fill a batch.
type rowsBuilder struct {
	mem     memory.Allocator
	names   []string
	columns []textColumn
	rows    rowColumn
	rejects []connectors.Reject
	bytes   int // of rows and rejects, as they will be in the batch
	schema  *arrow.Schema
}

func newRowsBuilder(mem memory.Allocator, names []string) *rowsBuilder {
	return &rowsBuilder{mem: mem, names: names, columns: make([]textColumn, len(names))}
}

// overhead is what a row takes beside its texts: an offset and a validity bit in each column, and its number.
func (b *rowsBuilder) overhead() int { return len(b.columns)*4 + len(b.columns)/8 + 9 }

// full reports that a row, or a reject, with so many bytes of text would no longer fit. An empty builder takes anything.
func (b *rowsBuilder) full(textBytes int) bool {
	n := b.rows.n + len(b.rejects)
	return n >= connectors.MaxBatchRows || n > 0 && b.bytes+textBytes+b.overhead() > connectors.MaxBatchBytes
}

// endRow is called after each column got its value.
func (b *rowsBuilder) endRow(row int64, textBytes int) {
	b.rows.append(b.mem, row)
	b.bytes += textBytes + b.overhead()
}

func (b *rowsBuilder) reject(r connectors.Reject) {
	b.rejects = append(b.rejects, r)
	b.bytes += len(r.Raw) + len(r.Reason) + 64
}

// take returns what was collected; the caller releases the record. The builder is empty then.
func (b *rowsBuilder) take() (arrow.Record, []connectors.Reject) {
	if b.schema == nil || b.schema.NumFields() != len(b.names)+1 {
		fields := make([]arrow.Field, 0, len(b.names)+1)
		for _, name := range b.names {
			fields = append(fields, arrow.Field{Name: name, Type: arrow.BinaryTypes.String, Nullable: true})
		}
		fields = append(fields, arrow.Field{Name: connectors.ColumnRow, Type: arrow.PrimitiveTypes.Int64})
		b.schema = arrow.NewSchema(fields, nil)
	}
	n := b.rows.n
	arrays := make([]arrow.Array, 0, len(b.columns)+1)
	for i := range b.columns {
		b.columns[i].appendNulls(b.mem, n)
		arrays = append(arrays, b.columns[i].take(b.mem))
	}
	arrays = append(arrays, b.rows.take())
	record := array.NewRecord(b.schema, arrays, int64(n))
	for _, a := range arrays {
		a.Release()
	}
	rejects := b.rejects
	b.rejects, b.bytes = nil, 0
	return record, rejects
}

func (b *rowsBuilder) release() {
	for i := range b.columns {
		b.columns[i].release()
	}
	b.rows.release()
}

// maxRaw bounds how much of a row a reject carries, as the contract says.
const maxRaw = 4 << 10

// excerpt copies the beginning of a row for a reject.
func excerpt(raw []byte) []byte { return append([]byte(nil), raw[:min(len(raw), maxRaw)]...) }
