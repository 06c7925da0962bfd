package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	pqfile "github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
	"github.com/cespare/xxhash/v2"

	"github.com/headwater-data/headwater/connectors"
)

// parquetBuffer is how much of each column is read from the file at once.
const parquetBuffer = 64 << 10

// firstRows is how many rows are decoded before it is known how large a row is.
const firstRows = 256

// parquetReader reads a Parquet file a few rows of all columns at a time.
type parquetReader struct {
	c       *content
	mem     memory.Allocator
	columns []*pqarrow.ColumnReader
	schema  *arrow.Schema
	row     int64 // rows given or held so far
	total   int64
	want    int64 // rows to decode next
	most    int64 // want's bound, lowered when that many rows were too large
	env     connectors.Environment

	held   arrow.Record // decoded rows that are too many for one batch; nil when there are none
	heldAt int64
}

func openParquet(ctx context.Context, c *content, env connectors.Environment, after position) (decoder, error) {
	p, err := openParquetBy(ctx, c, env, after, connectors.MaxBatchRows)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// openParquetBy opens a file whose rows are decoded at most that many at a time, or fewer when those are too large.
func openParquetBy(ctx context.Context, c *content, env connectors.Environment, after position, most int64) (*parquetReader, error) {
	for {
		p, err := openParquetOnce(ctx, c, env, after, most)
		if most == 1 || !errors.Is(err, errRowsTooLarge) {
			return p, err
		}
		most = max(1, most/16)
	}
}

func openParquetOnce(ctx context.Context, c *content, env connectors.Environment, after position, most int64) (_ *parquetReader, err error) {
	defer c.recoverDamage(&err)
	r, err := c.readerAt(ctx)
	if err != nil {
		return nil, err
	}
	f, pages, err := c.parquetFile(r)
	if err != nil {
		return nil, err
	}
	p := &parquetReader{c: c, mem: env.Allocator, total: f.NumRows(), row: after.Row, want: min(firstRows, most), most: most, env: env}
	if p.row > p.total {
		return nil, connectors.Permanent(fmt.Errorf("%s: the cursor stands at row %d of %d", c.place, p.row, p.total))
	}
	values := &boundedMemory{Allocator: env.Allocator, most: maxDecodedBytes, left: maxDecodedBytes, refusal: errRowsTooLarge}
	if f.MetaData().Schema.NumColumns() != f.MetaData().Schema.Root().NumFields() {
		// The library reads the fields of groups in goroutines of its own, where a refusal would end the process.
		values.most, values.left, pages.most = math.MaxInt, -1, math.MaxInt
	}
	p.mem = values
	reader, err := pqarrow.NewFileReader(f, pqarrow.ArrowReadProperties{BatchSize: connectors.MaxBatchRows}, p.mem)
	if err != nil {
		return nil, c.damaged(err)
	}
	for i := range reader.Manifest.Fields {
		plain(&reader.Manifest.Fields[i])
	}

	// Start in the row group that holds the row, and pass over what stands before it there.
	groups, before := []int{}, int64(0)
	for i := range f.NumRowGroups() {
		n := f.MetaData().RowGroup(i).NumRows()
		if len(groups) == 0 && before+n <= p.row {
			before += n
			continue
		}
		groups = append(groups, i)
	}
	leaves := make([]int, f.MetaData().Schema.NumColumns())
	for i := range leaves {
		leaves[i] = i
	}
	var found *arrow.Schema
	if len(groups) == 0 {
		// Nothing is left to read, but the columns still have names.
		found, err = reader.Schema()
	} else {
		p.columns, found, err = columnsOf(ctx, reader, leaves, groups)
	}
	if err != nil {
		return nil, errors.Join(c.damaged(err), p.Close())
	}
	p.schema = rowSchema(found)
	for before < p.row {
		n := min(p.row-before, p.want)
		record, err := p.decode(before, n)
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		record.Release()
		before += n
		p.want = min(p.want*2, 8192, most)
	}
	return p, nil
}

// columnsOf opens the columns one after the other. The library's own function for all of them does it in a goroutine each, where
// nobody could recover from its panics.
func columnsOf(ctx context.Context, reader *pqarrow.FileReader, leaves, groups []int) (columns []*pqarrow.ColumnReader, found *arrow.Schema, err error) {
	indices, err := reader.Manifest.GetFieldIndices(leaves)
	if err != nil {
		return nil, nil, err
	}
	included := make(map[int]bool, len(leaves))
	for _, leaf := range leaves {
		included[leaf] = true
	}
	var fields []arrow.Field
	for _, i := range indices {
		column, err := reader.GetFieldReader(ctx, i, included, groups)
		if err != nil {
			return columns, nil, err
		}
		columns, fields = append(columns, column), append(fields, *column.Field())
	}
	return columns, arrow.NewSchema(fields, reader.Manifest.SchemaMeta), nil
}

// parquetFile reads the footer. Pages will be read into the memory that it returns.
func (c *content) parquetFile(r *io.SectionReader) (_ *pqfile.Reader, pages *boundedMemory, err error) {
	switch {
	case startsWith(r, []byte("PARE")):
		return nil, nil, connectors.Permanent(fmt.Errorf("%s: is an encrypted Parquet file: deliver it without encryption", c.place))
	case !startsWith(r, []byte("PAR1")):
		return nil, nil, connectors.Permanent(fmt.Errorf("%s: is not a Parquet file (it does not begin with PAR1)", c.place))
	}
	tail := make([]byte, 4)
	if _, err := r.ReadAt(tail, r.Size()-4); err != nil && err != io.EOF || !bytes.Equal(tail, []byte("PAR1")) || r.Size() < 12 {
		return nil, nil, connectors.Permanent(fmt.Errorf("%s: the Parquet file is cut short: its footer is missing after %d bytes", c.place, r.Size()))
	}
	// Pages live in the reader's own pool until they are collected, so they are not taken from the checked allocator.
	pages = &boundedMemory{Allocator: memory.DefaultAllocator, most: maxPageBytes, left: -1, refusal: errPageTooLarge}
	props := parquet.NewReaderProperties(pages)
	props.BufferedStreamEnabled = true
	props.BufferSize = parquetBuffer
	f, err := pqfile.NewParquetReader(r, pqfile.WithReadProps(props))
	if err != nil {
		return nil, nil, c.damaged(err)
	}
	return f, pages, nil
}

// damaged wraps an error of the Parquet library.
func (c *content) damaged(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if errors.Is(err, errPageTooLarge) || errors.Is(err, errRowsTooLarge) {
		return connectors.Permanent(fmt.Errorf("%s: the Parquet file has %w", c.place, err))
	}
	return connectors.Permanent(fmt.Errorf("%s: the Parquet file is damaged or cut short: %w", c.place, err))
}

// recoverDamage turns a panic of the Parquet library, which it has for damaged pages, into an error.
func (c *content) recoverDamage(err *error) {
	switch p := recover().(type) {
	case nil:
	case error:
		*err = c.damaged(p)
	default:
		*err = c.damaged(fmt.Errorf("%v", p))
	}
}

// plain has dictionaries decoded to their values: what the writer held as a dictionary is nobody's concern further on.
func plain(f *pqarrow.SchemaField) {
	if d, ok := f.Field.Type.(*arrow.DictionaryType); ok {
		f.Field.Type = d.ValueType
	}
	for i := range f.Children {
		plain(&f.Children[i])
	}
}

// rowSchema gives the columns names that fit and adds _row.
func rowSchema(found *arrow.Schema) *arrow.Schema {
	fields := found.Fields()
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	for i, name := range columnNames(names) {
		fields[i].Name = name
		fields[i].Metadata = arrow.Metadata{} // field ids are the writer's
		if d, ok := fields[i].Type.(*arrow.DictionaryType); ok {
			fields[i].Type = d.ValueType
		}
	}
	return arrow.NewSchema(append(fields, arrow.Field{Name: connectors.ColumnRow, Type: arrow.PrimitiveTypes.Int64}), nil)
}

func (p *parquetReader) Close() (err error) {
	if p.held != nil {
		p.held.Release()
	}
	for _, c := range p.columns {
		c.Release()
	}
	return nil
}

// decode reads the n rows that follow row `before` of the file.
func (p *parquetReader) decode(before, n int64) (_ arrow.Record, err error) {
	defer p.c.recoverDamage(&err)
	if n == 0 { // a file without row groups has no column readers
		b := array.NewRecordBuilder(p.mem, p.schema)
		defer b.Release()
		return b.NewRecord(), nil
	}
	arrays := make([]arrow.Array, 0, len(p.columns)+1)
	defer func() {
		for _, a := range arrays {
			a.Release()
		}
	}()
	for i, column := range p.columns {
		a, err := p.column(column, n)
		if err != nil {
			return nil, err
		}
		arrays = append(arrays, a)
		// The library takes a page that it cannot read for the end of the column.
		if int64(a.Len()) != n {
			return nil, p.c.damaged(fmt.Errorf("column %q ends after row %d of %d", p.schema.Field(i).Name, before+int64(a.Len()), p.total))
		}
	}
	var rows rowColumn
	rows.last = int(n)
	for i := range n {
		rows.append(p.mem, before+i+1)
	}
	arrays = append(arrays, rows.take())
	return array.NewRecord(p.schema, arrays, n), nil
}

func (p *parquetReader) column(column *pqarrow.ColumnReader, n int64) (arrow.Array, error) {
	chunked, err := column.NextBatch(n)
	if err != nil {
		return nil, p.c.damaged(err)
	}
	defer chunked.Release()
	switch chunks := chunked.Chunks(); len(chunks) {
	case 0:
		return array.MakeArrayOfNull(p.mem, chunked.DataType(), 0), nil
	case 1:
		chunks[0].Retain()
		return chunks[0], nil
	default:
		return array.Concatenate(chunks, p.mem)
	}
}

// next gives the rows that follow, as many as fit a batch.
func (p *parquetReader) next(ctx context.Context) (piece, error) {
	if p.held == nil {
		n := min(p.want, p.total-p.row)
		record, err := p.decode(p.row, n)
		for n > 1 && errors.Is(err, errRowsTooLarge) {
			// The columns stand somewhere within these rows: begin again before them, in smaller steps.
			again, failed := openParquetBy(ctx, p.c, p.env, position{Row: p.row}, max(1, n/16))
			if failed != nil {
				return piece{}, failed
			}
			_ = p.Close() // never fails
			*p = *again
			n = min(p.want, p.total-p.row)
			record, err = p.decode(p.row, n)
		}
		if err != nil {
			return piece{}, err
		}
		p.held, p.heldAt = record, 0
		if n > 0 {
			// Aim a little below a batch, growing slowly: the next rows may be larger.
			perRow := max(1, float64(recordBytes(record))/float64(n))
			p.want = max(1, min(int64(0.9*connectors.MaxBatchBytes/perRow), n*8, p.most))
		}
	}
	slice := p.held
	slice.Retain()
	if left := p.held.NumRows() - p.heldAt; p.heldAt > 0 || left > 1 && recordBytes(p.held) > connectors.MaxBatchBytes {
		slice.Release()
		slice = p.fitting(left)
	}
	p.heldAt += slice.NumRows()
	p.row += slice.NumRows()
	if p.heldAt == p.held.NumRows() {
		p.held.Release()
		p.held = nil
	}
	out := piece{record: slice, place: p.c.place, pos: position{Row: p.row}, last: p.row == p.total}
	if slice.NumRows() == 1 {
		if size := recordBytes(slice); size > connectors.MaxBatchBytes {
			out.rejects = []connectors.Reject{p.tooLarge(slice, size)}
			out.record = slice.NewSlice(0, 0)
			slice.Release()
		}
	}
	return out, nil
}

// fitting returns the longest run of held rows, of at most n, that fits a batch; at least one row.
func (p *parquetReader) fitting(n int64) arrow.Record {
	for {
		slice := p.held.NewSlice(p.heldAt, p.heldAt+n)
		if n <= 1 || recordBytes(slice) <= connectors.MaxBatchBytes {
			return slice
		}
		slice.Release()
		n = (n + 1) / 2
	}
}

// tooLarge rejects a row that fits no batch, naming it by hash and size.
func (p *parquetReader) tooLarge(row arrow.Record, size int64) connectors.Reject {
	h := xxhash.New()
	for i := range int(row.NumCols()) {
		_, _ = io.WriteString(h, row.Column(i).ValueStr(0)) // a hash does not fail
	}
	return connectors.Reject{Row: p.row, Rule: "row.size",
		Reason: fmt.Sprintf("row %d takes %d bytes, at most %d fit a batch; xxh64 of its values is %016x", p.row, size, connectors.MaxBatchBytes, h.Sum64())}
}

// recordBytes is what a record's rows take: of sliced arrays only the part within the slice.
func recordBytes(r arrow.Record) int64 {
	var n int64
	for _, column := range r.Columns() {
		n += dataBytes(column.Data())
	}
	return n
}

func dataBytes(d arrow.ArrayData) int64 {
	length, offset := int64(d.Len()), int64(d.Offset())
	n := (length + 7) / 8 // validity
	between := func(offsets int64) int64 { return max(0, offsets) }
	switch t := d.DataType().(type) {
	case arrow.BinaryDataType:
		if length == 0 || d.Buffers()[1] == nil {
			return n
		}
		switch t.Layout().Buffers[1].ByteWidth {
		case 8:
			o := arrow.Int64Traits.CastFromBytes(d.Buffers()[1].Bytes())
			return n + length*8 + between(o[offset+length]-o[offset])
		default:
			o := arrow.Int32Traits.CastFromBytes(d.Buffers()[1].Bytes())
			return n + length*4 + between(int64(o[offset+length])-int64(o[offset]))
		}
	case *arrow.FixedSizeListType:
		return n + childBytes(d.Children()[0], offset*int64(t.Len()), length*int64(t.Len()))
	case arrow.FixedWidthDataType:
		return n + (length*int64(t.BitWidth())+7)/8
	case arrow.ListLikeType: // list, large list, map
		if length == 0 || d.Buffers()[1] == nil {
			return n
		}
		var from, to int64
		if _, large := t.(*arrow.LargeListType); large {
			o := arrow.Int64Traits.CastFromBytes(d.Buffers()[1].Bytes())
			from, to = o[offset], o[offset+length]
		} else {
			o := arrow.Int32Traits.CastFromBytes(d.Buffers()[1].Bytes())
			from, to = int64(o[offset]), int64(o[offset+length])
		}
		return n + length*8 + childBytes(d.Children()[0], from, to-from)
	}
	for _, child := range d.Children() { // struct
		n += childBytes(child, offset, length)
	}
	return n
}

func childBytes(child arrow.ArrayData, from, length int64) int64 {
	if length <= 0 || from < 0 || from+length > int64(child.Len()) || length > math.MaxInt32 {
		return int64(child.SizeInBytes())
	}
	slice := array.NewSliceData(child, from, from+length)
	defer slice.Release()
	return dataBytes(slice)
}
