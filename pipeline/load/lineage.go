package load

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/pipeline/message"
	"github.com/headwater-data/headwater/schemas"
)

// origin is where the records of one batch come from: what the lineage columns say of all of them.
type origin struct {
	message.Header
	topic     string
	partition int
	offset    int64
	mapping   string
}

// perRow holds what the lineage columns say of single records. A nil slice means that the batch speaks for all of them.
type perRow struct {
	index    []uint32 // row in the batch; never nil
	row      []uint64
	rowsAs   *array.Int64 // in place of row: the batch's own column, one number for each record, none of them below 0
	version  []uint64
	deleted  []bool
	flags    [][]string
	shard    []string
	place    []string
	micros   []int64 // extracted at
	identity bool    // index is 0, 1, 2, …
}

// zeros backs every column of a batch that is all zero: dictionary indices of constants, marks, offsets of empty lists. It is
// shared by all batches and never written.
var (
	zeros   = memory.NewBufferBytes(make([]byte, (connectorsMaxRows+1)*8))
	ordinal = memory.NewBufferBytes(ordinals())
)

// connectorsMaxRows is how many records the shared buffers serve; an unpivoted batch with more gets buffers of its own.
const connectorsMaxRows = 128 << 10

func ordinals() []byte {
	b := make([]byte, connectorsMaxRows*4)
	for i := range connectorsMaxRows {
		binary.LittleEndian.PutUint32(b[i*4:], uint32(i))
	}
	return b
}

var labelType = &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}

// withLineage adds the lineage columns to mapped records. Columns that say the same of every row share what kept holds. The
// caller releases the result; records is not released.
func withLineage(mem memory.Allocator, records arrow.Record, o origin, p perRow, kept *shared) arrow.Record {
	n := int(records.NumRows())
	lineage := schemas.Lineage()
	fields := append([]arrow.Field(nil), records.Schema().Fields()...)
	columns := make([]arrow.Array, 0, len(fields)+len(lineage))
	for _, c := range records.Columns() {
		columns = append(columns, withoutZeros(c))
	}
	for _, f := range lineage {
		typ := f.Type.Arrow()
		c := lineageColumn(mem, f.Name, typ, n, o, p, kept)
		fields = append(fields, arrow.Field{Name: f.Name, Type: c.DataType()})
		columns = append(columns, c)
	}
	out := array.NewRecord(arrow.NewSchema(fields, nil), columns, int64(n))
	for _, c := range columns {
		c.Release()
	}
	return out
}

// shared holds what the batches of a flush have in common: columns of one number, such as the time of extraction.
type shared struct {
	numbers map[uint64]*memory.Buffer
	seen    map[*memory.Buffer]bool // buffers that count already
}

func (s *shared) release() {
	for _, b := range s.numbers {
		b.Release()
	}
	s.numbers = nil
}

// bytes is what a record holds that no record before it did.
func (s *shared) bytes(rec arrow.Record) int {
	if s.seen == nil {
		s.seen = map[*memory.Buffer]bool{zeros: true, ordinal: true}
	}
	n := 0
	for _, c := range rec.Columns() {
		for _, b := range c.Data().Buffers() {
			if b != nil && !s.seen[b] {
				s.seen[b] = true
				n += b.Len()
			}
		}
	}
	return n
}

// number builds a column of n times the same number.
func (s *shared) number(mem memory.Allocator, typ arrow.DataType, n int, value uint64) arrow.Array {
	b := s.numbers[value]
	if b == nil || b.Len() < n*8 {
		if b != nil {
			b.Release()
		}
		b = memory.NewResizableBuffer(mem)
		b.Resize(n * 8)
		repeat(b.Bytes(), value)
		if s.numbers == nil {
			s.numbers = map[uint64]*memory.Buffer{}
		}
		s.numbers[value] = b
	}
	return fixed(typ, n, b)
}

// repeat fills b with the same 8 bytes.
func repeat(b []byte, value uint64) {
	if len(b) == 0 {
		return
	}
	binary.LittleEndian.PutUint64(b, value)
	for filled := 8; filled < len(b); filled *= 2 {
		copy(b[filled:], b[:filled])
	}
}

// withoutZeros gives a column whose buffers of nothing but zeros are the shared one: constants and nulls leave many, and a
// flush holds them until it has landed. The caller releases the result.
func withoutZeros(c arrow.Array) arrow.Array {
	data := c.Data()
	buffers := data.Buffers()
	found := false
	for i, b := range buffers {
		if b == nil || b == zeros || b.Len() == 0 || b.Len() > zeros.Len() || !bytes.Equal(b.Bytes(), zeros.Bytes()[:b.Len()]) {
			continue
		}
		if !found {
			buffers, found = slices.Clone(buffers), true
		}
		buffers[i] = zeros
	}
	own, ok := data.(*array.Data)
	if !found || !ok {
		c.Retain()
		return c
	}
	var out *array.Data
	if c.DataType().ID() == arrow.DICTIONARY {
		out = array.NewDataWithDictionary(c.DataType(), c.Len(), buffers, c.NullN(), data.Offset(), own.Dictionary().(*array.Data))
	} else {
		out = array.NewData(c.DataType(), c.Len(), buffers, data.Children(), c.NullN(), data.Offset())
	}
	defer out.Release()
	return array.MakeFromData(out)
}

func lineageColumn(mem memory.Allocator, name string, typ arrow.DataType, n int, o origin, p perRow, kept *shared) arrow.Array {
	micros := uint64(o.ExtractedAt.UnixMicro())
	switch name {
	case "_version":
		if p.version != nil {
			return words(mem, typ, n, func(i int) uint64 { return p.version[i] })
		}
		return kept.number(mem, typ, n, micros)
	case "_deleted":
		if p.deleted == nil {
			return zeroColumn(mem, typ, n, 1)
		}
		b := array.NewUint8Builder(mem)
		defer b.Release()
		b.Reserve(n)
		for _, d := range p.deleted {
			if d {
				b.UnsafeAppend(1)
			} else {
				b.UnsafeAppend(0)
			}
		}
		return b.NewArray()
	case "_source":
		return label(mem, n, o.Source)
	case "_stream":
		return label(mem, n, o.Stream)
	case "_shard":
		return labels(mem, n, o.Shard, p.shard)
	case "_place":
		return labels(mem, n, o.Place, p.place)
	case "_row":
		if p.rowsAs != nil {
			data := p.rowsAs.Data()
			as := array.NewData(typ, n, data.Buffers(), nil, 0, data.Offset())
			defer as.Release()
			return array.MakeFromData(as)
		}
		if p.row == nil {
			return zeroColumn(mem, typ, n, 8)
		}
		return words(mem, typ, n, func(i int) uint64 { return p.row[i] })
	case "_topic":
		return label(mem, n, o.topic)
	case "_partition":
		if o.partition == 0 {
			return zeroColumn(mem, typ, n, 4)
		}
		b := array.NewInt32Builder(mem)
		defer b.Release()
		b.Reserve(n)
		for range n {
			b.UnsafeAppend(int32(o.partition))
		}
		return b.NewArray()
	case "_incarnation":
		return label(mem, n, o.Incarnation)
	case "_offset":
		buf := memory.NewResizableBuffer(mem)
		defer buf.Release()
		buf.Resize(n * 8)
		repeat(buf.Bytes(), uint64(o.offset))
		return fixed(typ, n, buf)
	case "_index":
		if p.identity && n <= connectorsMaxRows {
			return fixed(typ, n, ordinal)
		}
		b := array.NewUint32Builder(mem)
		defer b.Release()
		b.AppendValues(p.index, nil)
		return b.NewArray()
	case "_run":
		return label(mem, n, o.Run)
	case "_mapping":
		return label(mem, n, o.mapping)
	case "_extracted_at":
		if p.micros != nil {
			return words(mem, typ, n, func(i int) uint64 { return uint64(p.micros[i]) })
		}
		return kept.number(mem, typ, n, micros)
	case "_flags":
		return flagsColumn(mem, typ, n, p.flags)
	}
	panic("load: no rule for the lineage column " + name)
}

// words builds a column of 8-byte values.
func words(mem memory.Allocator, typ arrow.DataType, n int, value func(int) uint64) arrow.Array {
	buf := memory.NewResizableBuffer(mem)
	buf.Resize(n * 8)
	b := buf.Bytes()
	for i := range n {
		binary.LittleEndian.PutUint64(b[i*8:], value(i))
	}
	defer buf.Release()
	return fixed(typ, n, buf)
}

func fixed(typ arrow.DataType, n int, buf *memory.Buffer) arrow.Array {
	data := array.NewData(typ, n, []*memory.Buffer{nil, buf}, nil, 0, 0)
	defer data.Release()
	return array.MakeFromData(data)
}

func zeroBuffer(mem memory.Allocator, size int) *memory.Buffer {
	if size <= zeros.Len() {
		zeros.Retain()
		return zeros
	}
	buf := memory.NewResizableBuffer(mem)
	buf.Resize(size)
	clear(buf.Bytes())
	return buf
}

func zeroColumn(mem memory.Allocator, typ arrow.DataType, n, width int) arrow.Array {
	buf := zeroBuffer(mem, n*width)
	defer buf.Release()
	return fixed(typ, n, buf)
}

// label builds a dictionary column of one value: one text and n shared zeros.
func label(mem memory.Allocator, n int, value string) arrow.Array {
	b := array.NewStringBuilder(mem)
	defer b.Release()
	b.Append(value)
	dict := b.NewArray()
	defer dict.Release()
	indices := zeroColumn(mem, arrow.PrimitiveTypes.Int32, n, 4)
	defer indices.Release()
	return array.NewDictionaryArray(labelType, indices, dict)
}

func labels(mem memory.Allocator, n int, one string, each []string) arrow.Array {
	if each == nil {
		return label(mem, n, one)
	}
	b := array.NewDictionaryBuilder(mem, labelType).(*array.BinaryDictionaryBuilder)
	defer b.Release()
	for _, s := range each {
		if err := b.AppendString(s); err != nil {
			panic("load: " + err.Error()) // only a full int32 dictionary can refuse
		}
	}
	return b.NewArray()
}

func flagsColumn(mem memory.Allocator, typ arrow.DataType, n int, flags [][]string) arrow.Array {
	list := typ.(*arrow.ListType)
	if flags == nil {
		offsets := zeroBuffer(mem, (n+1)*4)
		defer offsets.Release()
		none := array.MakeArrayOfNull(mem, list.Elem(), 0)
		defer none.Release()
		data := array.NewData(typ, n, []*memory.Buffer{nil, offsets}, []arrow.ArrayData{none.Data()}, 0, 0)
		defer data.Release()
		return array.MakeFromData(data)
	}
	b := array.NewListBuilderWithField(mem, list.ElemField())
	defer b.Release()
	for _, row := range flags {
		b.Append(true)
		for _, f := range row {
			switch v := b.ValueBuilder().(type) {
			case *array.StringBuilder:
				v.Append(f)
			case *array.BinaryDictionaryBuilder:
				if err := v.AppendString(f); err != nil {
					panic("load: " + err.Error())
				}
			}
		}
	}
	return b.NewArray()
}

// clampVersion keeps a source's own order inside what the warehouse orders by.
func clampVersion(v int64) uint64 {
	return uint64(min(max(v, 0), math.MaxInt64))
}
