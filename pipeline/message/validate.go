package message

import (
	"errors"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// maxRows bounds the rows of a batch and the elements of its lists: columns of nulls take no memory, however long they say they are.
const maxRows = 1 << 20

// validate checks what later code relies on when it reads values without looking: buffers are as long as their columns, offsets
// grow and stay inside their data, and indices inside their dictionary. A corrupt value must be refused here, not panic in a mapping.
func validate(rec arrow.Record) error {
	if rec.NumRows() > maxRows {
		return fmt.Errorf("%d rows are more than a batch can have", rec.NumRows())
	}
	for i, c := range rec.Columns() {
		if int64(c.Len()) != rec.NumRows() {
			return fmt.Errorf("column %q has %d values, the record %d rows", rec.ColumnName(i), c.Len(), rec.NumRows())
		}
		if err := validateData(c.Data()); err != nil {
			return fmt.Errorf("column %q: %w", rec.ColumnName(i), err)
		}
	}
	return nil
}

var errCut = errors.New("a buffer is cut short")

func validateData(d arrow.ArrayData) error {
	end := d.Offset() + d.Len()
	if d.Len() < 0 || d.Offset() < 0 || end < 0 || end > MaxDecodedBytes {
		return fmt.Errorf("%d values at %d are more than there can be", d.Len(), d.Offset())
	}
	if b := d.Buffers(); len(b) > 0 && b[0] != nil && b[0].Len() > 0 && b[0].Len() < (end+7)/8 {
		return errCut
	}
	switch t := d.DataType().(type) {
	case *arrow.NullType:
		if end > maxRows {
			return fmt.Errorf("%d nulls are more than there can be", end)
		}
		return nil
	case *arrow.StringType, *arrow.BinaryType:
		return offsets32(d, bufferLen(d, 2))
	case *arrow.LargeStringType, *arrow.LargeBinaryType:
		return offsets64(d, bufferLen(d, 2))
	case *arrow.ListType, *arrow.MapType:
		child, err := onlyChild(d)
		if err != nil {
			return err
		}
		return errors.Join(offsets32(d, child.Len()), validateData(child))
	case *arrow.LargeListType:
		child, err := onlyChild(d)
		if err != nil {
			return err
		}
		return errors.Join(offsets64(d, child.Len()), validateData(child))
	case *arrow.FixedSizeListType:
		child, err := onlyChild(d)
		if err != nil {
			return err
		}
		if n := int64(t.Len()); n < 0 || n*int64(end) > int64(child.Len()) {
			return errCut
		}
		return validateData(child)
	case *arrow.StructType:
		if len(d.Children()) != t.NumFields() {
			return errors.New("a struct lacks fields")
		}
		for _, child := range d.Children() {
			if child.Len() < end {
				return errCut
			}
			if err := validateData(child); err != nil {
				return err
			}
		}
		return nil
	case *arrow.DictionaryType:
		return validateDictionary(d, t)
	case arrow.ExtensionType:
		return errors.New("a type of an extension, which a batch cannot have")
	case arrow.FixedWidthDataType:
		if decimal, ok := t.(arrow.DecimalType); ok {
			if p, s := decimal.GetPrecision(), decimal.GetScale(); p < 1 || p > 76 || p > 38 && t.BitWidth() == 128 || s < 0 || s > p {
				return fmt.Errorf("%s is no type of decimals", t)
			}
		}
		if width := int64(t.BitWidth()); width < 0 || (width*int64(end)+7)/8 > int64(bufferLen(d, 1)) {
			return errCut
		}
		return nil
	}
	return fmt.Errorf("the type %s, which a batch cannot have", d.DataType())
}

func onlyChild(d arrow.ArrayData) (arrow.ArrayData, error) {
	if len(d.Children()) != 1 || d.Children()[0] == nil {
		return nil, errors.New("a list without elements")
	}
	return d.Children()[0], nil
}

func bufferLen(d arrow.ArrayData, i int) int {
	if b := d.Buffers(); len(b) > i && b[i] != nil {
		return b[i].Len()
	}
	return 0
}

// offsets32 checks the offsets of a column into something of that length.
func offsets32(d arrow.ArrayData, length int) error {
	if d.Len() == 0 {
		return nil
	}
	if bufferLen(d, 1) < 4*(d.Offset()+d.Len()+1) {
		return errCut
	}
	return grows(arrow.Int32Traits.CastFromBytes(d.Buffers()[1].Bytes())[d.Offset():d.Offset()+d.Len()+1], length)
}

func offsets64(d arrow.ArrayData, length int) error {
	if d.Len() == 0 {
		return nil
	}
	if bufferLen(d, 1) < 8*(d.Offset()+d.Len()+1) {
		return errCut
	}
	return grows(arrow.Int64Traits.CastFromBytes(d.Buffers()[1].Bytes())[d.Offset():d.Offset()+d.Len()+1], length)
}

func grows[T int32 | int64](offsets []T, length int) error {
	last := T(0)
	for _, o := range offsets {
		if o < last {
			return errors.New("offsets go back")
		}
		last = o
	}
	if int64(last) > int64(length) {
		return errors.New("offsets point outside")
	}
	return nil
}

// validateDictionary checks the dictionary itself and that the index of every value that is not null lies in it.
func validateDictionary(d arrow.ArrayData, t *arrow.DictionaryType) error {
	values := d.Dictionary()
	if values == nil {
		return errors.New("a dictionary is missing")
	}
	if err := validateData(values); err != nil {
		return err
	}
	width, ok := t.IndexType.(arrow.FixedWidthDataType)
	if !ok || bufferLen(d, 1) < width.BitWidth()/8*(d.Offset()+d.Len()) {
		return errCut
	}
	if d.Len() == 0 {
		return nil
	}
	indices := array.NewData(t.IndexType, d.Len(), []*memory.Buffer{nil, d.Buffers()[1]}, nil, 0, d.Offset())
	defer indices.Release()
	all := array.MakeFromData(indices)
	defer all.Release()
	var valid []byte
	if b := d.Buffers()[0]; b != nil {
		valid = b.Bytes()
	}
	for i := range d.Len() {
		if len(valid) > 0 && !bitutil.BitIsSet(valid, d.Offset()+i) {
			continue
		}
		if n := indexAt(all, i); n < 0 || n >= int64(values.Len()) {
			return errors.New("an index points outside of its dictionary")
		}
	}
	return nil
}

// indexAt is -1 for what is no index.
func indexAt(a arrow.Array, i int) int64 {
	switch a := a.(type) {
	case *array.Int8:
		return int64(a.Value(i))
	case *array.Int16:
		return int64(a.Value(i))
	case *array.Int32:
		return int64(a.Value(i))
	case *array.Int64:
		return a.Value(i)
	case *array.Uint8:
		return int64(a.Value(i))
	case *array.Uint16:
		return int64(a.Value(i))
	case *array.Uint32:
		return int64(a.Value(i))
	case *array.Uint64:
		return int64(a.Value(i)) // what does not fit becomes negative
	}
	return -1
}
