package transform

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// FuzzCell puts one text into a field of every kind, read in every way of the replay tests. No text makes the mapping panic or
// leak, every row is loaded or quarantined, messages are valid and bounded, and the quarantined columns are JSON of valid
// UTF-8.
func FuzzCell(f *testing.F) {
	for _, seed := range vocabulary {
		f.Add(seed)
	}
	for _, seed := range []string{`["a","b"]`, `[1,null,2.5]`, "甲、乙；丙", "[", "1万万万", "3.5亿元", "2021-W09-5", strings.Repeat("0", 300), "\x00", "e", "+", "[[]]", "99999-01-01"} {
		f.Add(seed)
	}
	var mappings []*Mapping
	set := everything(f)
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	for field, ways := range readings {
		for _, way := range ways {
			shape := shapeOf(f, fmt.Sprintf(replayMapping, field, way))
			shape.Set = set
			mappings = append(mappings, mappingOf(f, mem, shape))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		b := array.NewStringBuilder(mem)
		b.Append(text)
		column := b.NewArray()
		b.Release()
		rec := array.NewRecord(arrow.NewSchema([]arrow.Field{{Name: "c", Type: arrow.BinaryTypes.String, Nullable: true}}, nil), []arrow.Array{column}, 1)
		column.Release()
		for _, m := range mappings {
			r, err := m.Apply(context.Background(), rec, ApplyOptions{})
			if err != nil {
				t.Fatal(err)
			}
			accounted(t, rec, r)
			for _, q := range r.Quarantined {
				if !utf8.Valid(q.Columns) {
					t.Errorf("columns are not UTF-8: %q", q.Columns)
				}
				for _, k := range q.Breaks {
					if !utf8.ValidString(k.Message) || utf8.RuneCountInString(k.Message) > 700 {
						t.Errorf("message of %s: %q", k.Rule, k.Message)
					}
				}
			}
			r.Release()
		}
		rec.Release()
		mem.AssertSize(t, 0)
	})
}
