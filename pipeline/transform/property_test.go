package transform

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// vocabulary holds cells that mean something to some field, and some that mean nothing to any.
var vocabulary = []string{null, "", " ", "杭州", "浙江省杭州市上城区", "江干区", "330104", "境外输入", "3300y1", "合计", "2021-03-05", "2021年3月", "一季度", "1-3月", "44260", "2021",
	"1,498.9", "6.08万个", "48.3%", "-5", "x", "3.30102E+17", "month", "月", "是", "false", "\xff\xfe", "“”", "330199199001010011", "13800000001", "1e300", "9999-12-31", "２０２１"}

var propertyMappings = []string{
	observation(plainFields+"    subject: a\n    numerator: { from: b, default: 1 }\n    note: { from: e, mask: name }\n", `
  version: c
  deleted: { from: d, parse: bool, 'null': [x] }
  rules:
    - { name: r1, when: value > 100 }
    - { name: r2, when: 'subject == "x" or numerator < 0', severity: warning }
filter:
  - { name: f1, when: 'col["地区"] == "合计"' }
  - { name: f2, when: 'number(col["数量"]) > 1000' }
`),
	observation(`
    region: { region: { codes: [c], names: [地区, d], member: member } }
    period: { from: 月份, parse: period, year: { from: b } }
    value: { parse: number }
    level: { expr: 'col["c"] == nil ? "city" : col["c"]', codes: { "330104": county } }
    subject: { concat: { columns: [c, d], separator: "/" } }
`, `
  unpivot:
    columns: { 数量: { indicator: A, unit: 个 }, b: { indicator: B, note: x } }
  rules: [{ name: r1, when: value < 0 }]
filter: [{ name: f1, when: 'col["地区"] == "合计"' }]
`),
	hotline,
}

// randomRecord makes a batch of cells of the vocabulary, some of its columns as dictionaries and some slices of larger ones.
func randomRecord(mem memory.Allocator, random *rand.Rand, names []string) arrow.Record {
	n := random.IntN(40)
	var fields []arrow.Field
	var columns []arrow.Array
	add := func(name string, arr arrow.Array) {
		fields = append(fields, arrow.Field{Name: name, Type: arr.DataType(), Nullable: true})
		columns = append(columns, arr)
	}
	for _, name := range names {
		if random.IntN(40) == 0 {
			continue
		}
		if random.IntN(2) == 0 {
			b := array.NewDictionaryBuilder(mem, codeType).(*array.BinaryDictionaryBuilder)
			for range n {
				if v := vocabulary[random.IntN(len(vocabulary))]; v == null {
					b.AppendNull()
				} else if err := b.AppendString(v); err != nil {
					panic(err)
				}
			}
			add(name, b.NewArray())
			b.Release()
			continue
		}
		b := array.NewStringBuilder(mem)
		skip := random.IntN(3)
		for range skip + n {
			if v := vocabulary[random.IntN(len(vocabulary))]; v == null {
				b.AppendNull()
			} else {
				b.Append(v)
			}
		}
		whole := b.NewArray()
		b.Release()
		add(name, array.NewSlice(whole, int64(skip), int64(skip+n)))
		whole.Release()
	}
	if random.IntN(3) == 0 {
		b := array.NewBooleanBuilder(mem)
		for range n {
			if random.IntN(4) == 0 {
				b.AppendNull()
			} else {
				b.Append(random.IntN(3) == 0)
			}
		}
		add("_deleted", b.NewArray())
		b.Release()
	}
	rec := array.NewRecord(arrow.NewSchema(fields, nil), columns, int64(n))
	for _, c := range columns {
		c.Release()
	}
	return rec
}

// encoded is the result as bytes.
func encoded(t *testing.T, mem memory.Allocator, r *Result) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := ipc.NewWriter(&buf, ipc.WithSchema(r.Records.Schema()), ipc.WithAllocator(mem))
	if err := w.Write(r.Records); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(&buf, r.Row, r.Version, r.Deleted, r.Flags, r.Quarantined, r.Filtered)
	return buf.Bytes()
}

// TestEveryRowHasExactlyOneEnd feeds random batches through random mappings: every row ends in exactly one of loaded,
// quarantined and filtered, columns hold no nulls where the table knows none, nothing leaks, and a mapping that has seen
// other batches before gives byte for byte what a fresh one gives.
func TestEveryRowHasExactlyOneEnd(t *testing.T) {
	t.Parallel()
	names := []string{"地区", "月份", "数量", "a", "b", "c", "d", "e", "工单编号", "区县", "受理时间", "电话", "姓名", "证件号码", "标题", "正文", "备注"}
	seed := uint64(20210305)
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	for i, mapping := range propertyMappings {
		mem := checked(t)
		shape := shapeOf(t, mapping)
		used := mappingOf(t, mem, shape)
		for round := range 150 {
			rec := randomRecord(mem, random, names)
			r, err := used.Apply(context.Background(), rec, ApplyOptions{})
			if err != nil {
				t.Fatal(err)
			}
			accounted(t, rec, r)
			if err := r.Records.Schema(); !err.Equal(used.Schema().Arrow()) {
				t.Errorf("schema %s", err)
			}
			for c, f := range used.Schema().Fields {
				if arr := r.Records.Column(c); !f.Nullable() && arr.NullN() > 0 {
					t.Errorf("mapping %d, round %d: %d nulls in %s", i, round, arr.NullN(), f.Name)
				} else if arr.NullN() != nullsOf(arr) {
					t.Errorf("mapping %d, round %d: %s says %d nulls and has %d", i, round, f.Name, arr.NullN(), nullsOf(arr))
				}
			}
			if round%10 == 0 {
				fresh, err := mappingOf(t, mem, shape).Apply(context.Background(), rec, ApplyOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(encoded(t, mem, r), encoded(t, mem, fresh)) {
					t.Errorf("mapping %d, round %d: another result when other batches came before", i, round)
				}
				fresh.Release()
			}
			// The same through Ingress: rejects and results together account for every row.
			kept, rejects, err := used.Ingress(context.Background(), rec)
			if err != nil {
				t.Fatal(err)
			}
			after, err := used.Apply(context.Background(), kept, ApplyOptions{})
			if err != nil {
				t.Fatal(err)
			}
			accounted(t, kept, after)
			if got, want := len(rejects)+len(after.Quarantined), len(r.Quarantined); got != want {
				t.Errorf("mapping %d, round %d: %d rows refused on the way through Ingress, %d directly", i, round, got, want)
			}
			if got, want := len(after.Filtered), len(r.Filtered); got != want {
				t.Errorf("mapping %d, round %d: %d rows filtered on the way through Ingress, %d directly", i, round, got, want)
			}
			after.Release()
			kept.Release()
			r.Release()
			rec.Release()
		}
	}
}

func nullsOf(arr arrow.Array) int {
	n := 0
	for i := range arr.Len() {
		if arr.IsNull(i) {
			n++
		}
	}
	return n
}

func TestAMappingServesSeveralGoroutines(t *testing.T) {
	t.Parallel()
	mem := checked(t)
	m := mappingOf(t, mem, shapeOf(t, propertyMappings[1]))
	rec := randomRecord(mem, rand.New(rand.NewPCG(7, 7)), []string{"地区", "月份", "数量", "b", "c", "d"})
	defer rec.Release()
	first, err := m.Apply(context.Background(), rec, ApplyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := encoded(t, mem, first)
	first.Release()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				r, err := m.Apply(context.Background(), rec, ApplyOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				if !bytes.Equal(encoded(t, mem, r), want) {
					t.Error("another result")
				}
				r.Release()
			}
		})
	}
	wg.Wait()
}

func TestACancelledContextEndsApply(t *testing.T) {
	t.Parallel()
	mem := checked(t)
	m := mappingOf(t, mem, shapeOf(t, observation(plainFields)))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	rec := table(t, mem, "地区|月份|数量", "杭州|2021-03|1")
	if _, err := m.Apply(ctx, rec, ApplyOptions{}); err != context.Canceled {
		t.Errorf("Apply: %v", err)
	}
	if _, _, err := m.Ingress(ctx, rec); err != context.Canceled {
		t.Errorf("Ingress: %v", err)
	}
}
