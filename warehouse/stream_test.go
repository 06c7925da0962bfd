package warehouse

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// labelled is a record of a number and a text in a dictionary; "" stands for null.
func labelled(mem memory.Allocator, texts ...string) arrow.Record {
	schema := arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64},
		{Name: "label", Type: &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}, Nullable: true}}, nil)
	b := array.NewRecordBuilder(mem, schema)
	defer b.Release()
	for i, text := range texts {
		b.Field(0).(*array.Int64Builder).Append(int64(i))
		if text == "" {
			b.Field(1).AppendNull()
		} else if err := b.Field(1).(*array.BinaryDictionaryBuilder).AppendString(text); err != nil {
			panic(err)
		}
	}
	return b.NewRecord()
}

func distinctTexts(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint("text ", i)
	}
	return out
}

func TestStreamsHoldTheSameTextsUnderOneDictionary(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		records [][]string
		index   arrow.DataType
	}{
		"one text":                                      {[][]string{{"a", "a"}}, arrow.PrimitiveTypes.Int8},
		"the same dictionary twice":                     {[][]string{{"a", "b"}, {"a", "b", "b"}}, arrow.PrimitiveTypes.Int8},
		"dictionaries in other order":                   {[][]string{{"a", "b"}, {"b", "a"}, {"c"}}, arrow.PrimitiveTypes.Int8},
		"nulls, and a record of nothing else":           {[][]string{{"a", "", "b"}, {"", ""}, {"b", ""}}, arrow.PrimitiveTypes.Int8},
		"as many texts as a byte tells apart":           {[][]string{distinctTexts(127)}, arrow.PrimitiveTypes.Int8},
		"one more":                                      {[][]string{distinctTexts(128)}, arrow.PrimitiveTypes.Int16},
		"more only together":                            {[][]string{distinctTexts(100), {"x", "y"}, distinctTexts(127)[90:]}, arrow.PrimitiveTypes.Int16},
		"more than two bytes tell apart":                {[][]string{distinctTexts(32768)}, arrow.PrimitiveTypes.Int32},
		"more than two bytes tell apart, only together": {[][]string{distinctTexts(32767), {"x"}}, arrow.PrimitiveTypes.Int32},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
			defer mem.AssertSize(t, 0)
			var records []arrow.Record
			for _, texts := range c.records {
				records = append(records, labelled(mem, texts...))
			}
			defer release(records)
			plan, err := planStream(mem, records)
			if err != nil {
				t.Fatal(err)
			}
			defer plan.release()
			var sent bytes.Buffer
			if err := plan.write(&sent); err != nil {
				t.Fatal(err)
			}
			read, err := ipc.NewReader(&sent, ipc.WithAllocator(mem))
			if err != nil {
				t.Fatal(err)
			}
			defer read.Release()
			if got := read.Schema().Field(1).Type.(*arrow.DictionaryType).IndexType; !arrow.TypeEqual(got, c.index) {
				t.Errorf("positions are %s, want %s", got, c.index)
			}
			for i := 0; read.Next(); i++ {
				got := read.Record().Column(1).(*array.Dictionary)
				values := got.Dictionary().(*array.String)
				for row, want := range c.records[i] {
					text := ""
					if got.IsValid(row) {
						text = values.Value(got.GetValueIndex(row))
					}
					if text != want {
						t.Fatalf("record %d row %d is %q, want %q", i, row, text, want)
					}
				}
			}
			if err := read.Err(); err != nil && err != io.EOF {
				t.Fatal(err)
			}
		})
	}
}

func TestABodyReadsAndWritesTheSame(t *testing.T) {
	t.Parallel()
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	records := []arrow.Record{labelled(mem, distinctTexts(5000)...)}
	defer release(records)
	plan, err := planStream(mem, records)
	if err != nil {
		t.Fatal(err)
	}
	defer plan.release()
	var written bytes.Buffer
	writing := &arrowBody{plan: plan}
	if _, err := writing.WriteTo(&written); err != nil {
		t.Fatal(err)
	}
	reading := &arrowBody{plan: plan}
	read, err := io.ReadAll(struct{ io.Reader }{reading})
	if err != nil {
		t.Fatal(err)
	}
	if err := writing.end(); err != nil {
		t.Error(err)
	}
	if err := reading.end(); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(read, written.Bytes()) {
		t.Errorf("%d bytes were read, %d written", len(read), written.Len())
	}
}

// A request may end while its body is under way. The records are the caller's again then.
func TestABodyThatHasEndedTouchesNoRecords(t *testing.T) {
	t.Parallel()
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	records := []arrow.Record{labelled(mem, distinctTexts(5000)...)}
	plan, err := planStream(mem, records)
	if err != nil {
		t.Fatal(err)
	}
	body := &arrowBody{plan: plan}
	if _, err := io.ReadFull(body, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	if err := body.end(); err != nil {
		t.Errorf("the encoder did not fail, but end says %v", err)
	}
	plan.release()
	release(records)
	if n, err := body.WriteTo(io.Discard); n != 0 || err == nil {
		t.Errorf("it still wrote %d bytes, error %v", n, err)
	}
}
