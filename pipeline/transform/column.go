package transform

import (
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// fixed builds a column of fixed width by writing into its buffer directly: arrow's builders cost several times as much a
// value. Every position must be set or made null exactly once.
type fixed[T any] struct {
	values []T
	buf    *memory.Buffer
	valid  *memory.Buffer // made with the first null
	nulls  int
	mem    memory.Allocator
}

func newFixed[T any](mem memory.Allocator, n int) *fixed[T] {
	f := &fixed[T]{mem: mem, buf: memory.NewResizableBuffer(mem)}
	var zero T
	f.buf.Resize(n * int(unsafe.Sizeof(zero)))
	if n > 0 {
		f.values = unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(f.buf.Bytes()))), n)
	}
	return f
}

// null makes position i null; the values of nulls are zero, so that equal columns have equal bytes.
func (f *fixed[T]) null(i int) {
	if f.valid == nil {
		f.valid = memory.NewResizableBuffer(f.mem)
		f.valid.Resize(int(bitutil.BytesForBits(int64(len(f.values)))))
		bitutil.SetBitsTo(f.valid.Bytes(), 0, int64(f.valid.Len())*8, true)
	}
	var zero T
	f.values[i] = zero
	if bitutil.BitIsSet(f.valid.Bytes(), i) {
		bitutil.ClearBit(f.valid.Bytes(), i)
		f.nulls++
	}
}

// allNull makes all positions null; the values must be zero.
func (f *fixed[T]) allNull() {
	f.valid = memory.NewResizableBuffer(f.mem)
	f.valid.Resize(int(bitutil.BytesForBits(int64(len(f.values)))))
	clear(f.valid.Bytes())
	f.nulls = len(f.values)
}

// finish makes the array and gives up the buffers; the caller releases the array.
func (f *fixed[T]) finish(t arrow.DataType) arrow.Array {
	data := array.NewData(t, len(f.values), []*memory.Buffer{f.valid, f.buf}, nil, f.nulls, 0)
	f.release()
	defer data.Release()
	return array.MakeFromData(data)
}

// finishDictionary makes a dictionary array of indices.
func finishDictionary(f *fixed[int32], dictionary arrow.Array, t arrow.DataType) arrow.Array {
	data := array.NewDataWithDictionary(t, len(f.values), []*memory.Buffer{f.valid, f.buf}, f.nulls, 0, dictionary.Data().(*array.Data))
	f.release()
	defer data.Release()
	return array.MakeFromData(data)
}

func (f *fixed[T]) release() {
	f.buf.Release()
	if f.valid != nil {
		f.valid.Release()
	}
	f.buf, f.valid, f.values = nil, nil, nil
}

// take copies the cells of arr at the given positions. The caller releases the result.
func take(mem memory.Allocator, arr arrow.Array, rows []uint32) arrow.Array {
	switch a := arr.(type) {
	case *array.Float64:
		return takeFixed(mem, arr, a.Float64Values(), rows)
	case *array.Int64:
		return takeFixed(mem, arr, a.Int64Values(), rows)
	case *array.Date32:
		return takeFixed(mem, arr, a.Date32Values(), rows)
	case *array.Timestamp:
		return takeFixed(mem, arr, a.TimestampValues(), rows)
	case *array.Decimal128:
		return takeFixed(mem, arr, a.Values(), rows)
	case *array.Uint64:
		return takeFixed(mem, arr, a.Uint64Values(), rows)
	case *array.Dictionary:
		indices := takeFixed(mem, a.Indices(), a.Indices().(*array.Int32).Int32Values(), rows)
		defer indices.Release()
		return array.NewDictionaryArray(arr.DataType(), indices, a.Dictionary())
	case *array.Boolean:
		b := array.NewBooleanBuilder(mem)
		defer b.Release()
		b.Reserve(len(rows))
		for _, r := range rows {
			if a.IsNull(int(r)) {
				b.UnsafeAppendBoolToBitmap(false)
			} else {
				b.UnsafeAppend(a.Value(int(r)))
			}
		}
		return b.NewArray()
	case *array.String:
		return takeString(mem, a, rows)
	case *array.List:
		return takeList(mem, a, rows)
	}
	panic("transform: no standard column has type " + arr.DataType().String())
}

func takeFixed[T any](mem memory.Allocator, arr arrow.Array, values []T, rows []uint32) arrow.Array {
	f := newFixed[T](mem, len(rows))
	if arr.NullN() == 0 {
		for i, r := range rows {
			f.values[i] = values[r]
		}
		return f.finish(arr.DataType())
	}
	for i, r := range rows {
		if arr.IsNull(int(r)) {
			f.null(i)
		} else {
			f.values[i] = values[r]
		}
	}
	return f.finish(arr.DataType())
}

func takeString(mem memory.Allocator, a *array.String, rows []uint32) arrow.Array {
	b := array.NewStringBuilder(mem)
	defer b.Release()
	b.Reserve(len(rows))
	if a.Len() > 0 {
		b.ReserveData(len(a.ValueBytes()) / a.Len() * len(rows))
	}
	for _, r := range rows {
		if a.IsNull(int(r)) {
			b.AppendNull()
		} else {
			b.Append(a.Value(int(r)))
		}
	}
	return b.NewArray()
}

func takeList(mem memory.Allocator, a *array.List, rows []uint32) arrow.Array {
	offsets := newFixed[int32](mem, len(rows)+1)
	offsets.values[0] = 0
	var elements []uint32
	for i, r := range rows {
		if a.IsValid(int(r)) {
			from, to := a.ValueOffsets(int(r))
			for j := from; j < to; j++ {
				elements = append(elements, uint32(j))
			}
		}
		offsets.values[i+1] = int32(len(elements))
	}
	values := take(mem, a.ListValues(), elements)
	defer values.Release()
	return finishList(offsets, values, a.DataType())
}

// finishList makes a list array without nulls of offsets and elements.
func finishList(offsets *fixed[int32], values arrow.Array, t arrow.DataType) arrow.Array {
	n := len(offsets.values) - 1
	data := array.NewData(t, n, []*memory.Buffer{nil, offsets.buf}, []arrow.ArrayData{values.Data()}, 0, 0)
	offsets.release()
	defer data.Release()
	return array.MakeFromData(data)
}

// broadcast makes n cells of a column with one cell. The caller releases the result.
func broadcast(mem memory.Allocator, arr arrow.Array, n int) arrow.Array {
	switch a := arr.(type) {
	case *array.Dictionary:
		f := newFixed[int32](mem, n)
		clear(f.values) // the one value's index is 0
		if a.IsNull(0) {
			f.allNull()
		}
		return finishDictionary(f, a.Dictionary(), arr.DataType())
	case *array.Float64:
		return broadcastFixed(mem, arr, a.Float64Values(), n)
	case *array.Int64:
		return broadcastFixed(mem, arr, a.Int64Values(), n)
	case *array.Date32:
		return broadcastFixed(mem, arr, a.Date32Values(), n)
	case *array.Timestamp:
		return broadcastFixed(mem, arr, a.TimestampValues(), n)
	case *array.String:
		return broadcastString(mem, a, n)
	}
	return take(mem, arr, make([]uint32, n))
}

func broadcastFixed[T any](mem memory.Allocator, arr arrow.Array, values []T, n int) arrow.Array {
	f := newFixed[T](mem, n)
	if arr.IsNull(0) {
		clear(f.values)
		f.allNull()
		return f.finish(arr.DataType())
	}
	for i := range f.values {
		f.values[i] = values[0]
	}
	return f.finish(arr.DataType())
}

func broadcastString(mem memory.Allocator, a *array.String, n int) arrow.Array {
	text := ""
	if a.IsValid(0) {
		text = a.Value(0)
	}
	offsets, values := newFixed[int32](mem, n+1), newFixed[byte](mem, n*len(text))
	for i := range offsets.values {
		offsets.values[i] = int32(i * len(text))
	}
	for i := range n {
		copy(values.values[i*len(text):], text)
	}
	var valid *memory.Buffer
	nulls := 0
	if a.IsNull(0) {
		nulls = n
		valid = memory.NewResizableBuffer(mem)
		valid.Resize(int(bitutil.BytesForBits(int64(n))))
		bitutil.SetBitsTo(valid.Bytes(), 0, int64(valid.Len())*8, false)
		defer valid.Release()
	}
	data := array.NewData(arrow.BinaryTypes.String, n, []*memory.Buffer{valid, offsets.buf, values.buf}, nil, nulls, 0)
	offsets.release()
	values.release()
	defer data.Release()
	return array.MakeFromData(data)
}

// allNull makes a column of nulls.
func allNull(mem memory.Allocator, t arrow.DataType, n int) arrow.Array {
	return array.MakeArrayOfNull(mem, t, n)
}
