package warehouse

import (
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// streamPlan says how records go to the server as one Arrow IPC stream. Every byte of a row is written, sent, kept, read and
// parsed, so positions in dictionaries are as narrow as they can be. (Columns of nulls and defaults are sent all the same: what
// the server does to fill columns that are left out costs it more than reading them, tried.)
//
// All records share one dictionary for each dictionary column: servers without the fix of ClickHouse issue 55490 read a
// column's dictionary once for a stream and go on using it, so that a second one would silently turn values into others.
type streamPlan struct {
	mem     memory.Allocator
	records []arrow.Record
	schema  *arrow.Schema
	columns []streamColumn
}

type streamColumn struct {
	at int // in the records
	// Of dictionary columns:
	dictionary arrow.Array // nil for other columns
	typ        *arrow.DictionaryType
	transposes []*memory.Buffer // by record: position in its dictionary → position in the shared one; nil when they are the same
}

// planStream looks through the records, which share one schema. The caller releases the plan before the records.
func planStream(mem memory.Allocator, records []arrow.Record) (p *streamPlan, err error) {
	p = &streamPlan{mem: mem, records: records}
	defer func() {
		if err != nil {
			p.release()
			p = nil
		}
	}()
	var fields []arrow.Field
	for at, field := range records[0].Schema().Fields() {
		column := streamColumn{at: at}
		if typ, ok := field.Type.(*arrow.DictionaryType); ok {
			column.typ = typ
			if err := column.share(mem, records); err != nil {
				column.release()
				return p, fmt.Errorf("column %s: %w", field.Name, err)
			}
			field.Type = column.typ
		}
		p.columns = append(p.columns, column)
		fields = append(fields, field)
	}
	p.schema = arrow.NewSchema(fields, nil)
	return p, nil
}

func (p *streamPlan) names() []string {
	names := make([]string, p.schema.NumFields())
	for i, f := range p.schema.Fields() {
		names[i] = f.Name
	}
	return names
}

func (p *streamPlan) release() {
	for i := range p.columns {
		p.columns[i].release()
	}
	p.columns = nil
}

// share finds the column's one dictionary and how wide positions in it are.
func (c *streamColumn) share(mem memory.Allocator, records []arrow.Record) error {
	first := records[0].Column(c.at).(*array.Dictionary).Dictionary()
	same := true
	for _, record := range records[1:] {
		d := record.Column(c.at).(*array.Dictionary).Dictionary()
		same = same && (d.Data() == first.Data() || array.Equal(d, first))
	}
	if same {
		first.Retain()
		c.dictionary = first
	} else if err := c.unify(mem, records); err != nil {
		return err
	}
	index := arrow.DataType(arrow.PrimitiveTypes.Int32)
	switch n := c.dictionary.Len(); {
	case n <= math.MaxInt8:
		index = arrow.PrimitiveTypes.Int8
	case n <= math.MaxInt16:
		index = arrow.PrimitiveTypes.Int16
	}
	c.typ = &arrow.DictionaryType{IndexType: index, ValueType: c.typ.ValueType, Ordered: c.typ.Ordered}
	return nil
}

func (c *streamColumn) unify(mem memory.Allocator, records []arrow.Record) error {
	unifier, err := array.NewDictionaryUnifier(mem, c.typ.ValueType)
	if err != nil {
		return err
	}
	defer unifier.Release()
	c.transposes = make([]*memory.Buffer, len(records))
	for i, record := range records {
		if c.transposes[i], err = unifier.UnifyAndTranspose(record.Column(c.at).(*array.Dictionary).Dictionary()); err != nil {
			return err
		}
	}
	c.dictionary, err = unifier.GetResultWithIndexType(arrow.PrimitiveTypes.Int32)
	return err
}

func (c *streamColumn) release() {
	if c.dictionary != nil {
		c.dictionary.Release()
		c.dictionary = nil
	}
	for _, t := range c.transposes {
		if t != nil {
			t.Release()
		}
	}
	c.transposes = nil
}

// write writes the stream. Buffers stay uncompressed: on a loopback or a data centre's network compressing costs more than
// sending.
func (p *streamPlan) write(to io.Writer) (err error) {
	writer := ipc.NewWriter(to, ipc.WithSchema(p.schema), ipc.WithAllocator(p.mem))
	defer func() { err = errors.Join(err, writer.Close()) }()
	for i := range p.records {
		if err := p.writeRecord(writer, i); err != nil {
			return err
		}
	}
	return nil
}

func (p *streamPlan) writeRecord(writer *ipc.Writer, i int) error {
	record := p.records[i]
	columns := make([]arrow.Array, len(p.columns))
	for k := range p.columns {
		c := &p.columns[k]
		if c.dictionary == nil {
			columns[k] = record.Column(c.at)
			continue
		}
		columns[k] = c.array(p.mem, i, record.Column(c.at).(*array.Dictionary))
		defer columns[k].Release()
	}
	sent := array.NewRecord(p.schema, columns, record.NumRows())
	defer sent.Release()
	return writer.Write(sent)
}

// array makes the column of record i as it is sent. The caller releases it.
func (c *streamColumn) array(mem memory.Allocator, i int, from *array.Dictionary) arrow.Array {
	var transpose []int32
	if c.transposes != nil && c.transposes[i].Len() > 0 { // none in a column of nulls
		transpose = arrow.Int32Traits.CastFromBytes(c.transposes[i].Bytes())
	}
	n := from.Len()
	width := c.typ.IndexType.(arrow.FixedWidthDataType).BitWidth() / 8
	values := memory.NewResizableBuffer(mem)
	defer values.Release()
	values.Resize(n * width)
	if given, ok := from.Indices().(*array.Int32); ok && from.NullN() == 0 {
		narrow(values.Bytes(), width, given.Int32Values(), transpose)
	} else {
		positions := make([]int32, n)
		for row := range n {
			if from.IsValid(row) {
				positions[row] = int32(from.GetValueIndex(row))
			}
		}
		narrow(values.Bytes(), width, positions, transpose)
	}
	var valid *memory.Buffer
	if from.NullN() > 0 {
		valid = memory.NewResizableBuffer(mem)
		defer valid.Release()
		valid.Resize((n + 7) / 8)
		clear(valid.Bytes())
		for row := range n {
			if from.IsValid(row) {
				valid.Bytes()[row/8] |= 1 << (row % 8)
			}
		}
	}
	data := array.NewDataWithDictionary(c.typ, n, []*memory.Buffer{valid, values}, from.NullN(), 0, c.dictionary.Data().(*array.Data))
	defer data.Release()
	return array.NewDictionaryData(data)
}

// narrow writes positions in so many bytes each, little-endian as Arrow has them on every machine that we build for.
func narrow(to []byte, width int, positions, transpose []int32) {
	switch width {
	case 1:
		out := arrow.Int8Traits.CastFromBytes(to)
		if transpose == nil {
			for i, p := range positions {
				out[i] = int8(p)
			}
			return
		}
		for i, p := range positions {
			out[i] = int8(transpose[p])
		}
	case 2:
		out := arrow.Int16Traits.CastFromBytes(to)
		if transpose == nil {
			for i, p := range positions {
				out[i] = int16(p)
			}
			return
		}
		for i, p := range positions {
			out[i] = int16(transpose[p])
		}
	default:
		out := arrow.Int32Traits.CastFromBytes(to)
		if transpose == nil {
			copy(out, positions)
			return
		}
		for i, p := range positions {
			out[i] = transpose[p]
		}
	}
}
