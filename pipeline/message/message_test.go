package message

import (
	"bytes"
	"encoding/binary"
	"errors"
	"github.com/cespare/xxhash/v2"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/headwater-data/headwater/connectors"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func batchHeader() Header {
	return Header{
		Kind: Batch, Incarnation: "4f2c", Writer: "host/1", Epoch: 7, Sequence: 3, Source: "hotline", Stream: "cases", Shard: "data/六月.csv",
		Cursor: []byte{0, 1, 255}, Rows: 2, Rejects: 1, Place: "data/六月.csv", ExtractedAt: time.UnixMicro(1700000000123456).UTC(),
		Replaces: true, Run: "r1", Fingerprint: "00ff", Trace: "00-aa-bb-01",
	}
}

func TestHeadersReadBackAsWritten(t *testing.T) {
	for _, h := range []Header{batchHeader(), {Kind: Claim, Incarnation: "4f2c", Writer: "host/1"}} {
		got, err := Parse(h.Fields())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(h, got); diff != "" {
			t.Errorf("want -, got +:\n%s", diff)
		}
	}
}

func TestParseTellsForeignFromCorrupt(t *testing.T) {
	with := func(key, value string) []Field {
		fields := batchHeader().Fields()
		for i := range fields {
			if fields[i].Key == key {
				fields[i].Value = []byte(value)
			}
		}
		return fields
	}
	for name, c := range map[string]struct {
		fields  []Field
		foreign bool
	}{
		"no headers at all":            {nil, true},
		"somebody else's headers":      {[]Field{{"content-type", []byte("json")}}, true},
		"a version from the future":    {with("hw-version", "99"), false},
		"a version that is no number":  {with("hw-version", "x"), false},
		"an unknown kind":              {with("hw-kind", "rumour"), false},
		"a negative sequence":          {with("hw-sequence", "-1"), false},
		"an epoch that is no number":   {with("hw-epoch", ""), false},
		"a batch without a source":     {with("hw-source", ""), false},
		"a record without incarnation": {with("hw-incarnation", ""), false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(c.fields)
			if c.foreign != errors.Is(err, ErrForeign) {
				t.Errorf("got %v", err)
			}
			if _, corrupt := errors.AsType[*CorruptError](err); corrupt == c.foreign {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestStateFollowsTheRulesOfTheLog(t *testing.T) {
	claim := func(i string) Header { return Header{Kind: Claim, Incarnation: i} }
	continues := func(i string) Header { return Header{Kind: Claim, Incarnation: i, Continues: true} }
	batch := func(i string, epoch, seq int64) Header {
		return Header{Kind: Batch, Incarnation: i, Epoch: epoch, Sequence: seq}
	}
	at := State{Incarnation: "a", Epoch: 5, Next: 2}
	for name, c := range map[string]struct {
		state   State
		header  Header
		want    State
		verdict Verdict
	}{
		"the first claim of a log gives it its incarnation":           {Origin(), claim("a"), State{"a", 9, 0}, Taken},
		"a claim of the same incarnation takes over":                  {at, claim("a"), State{"a", 9, 0}, Taken},
		"a claim of another incarnation is void":                      {at, claim("b"), at, VoidClaim},
		"the batch that is due is valid":                              {at, batch("a", 5, 2), State{"a", 5, 3}, Valid},
		"a lower number is a repeat":                                  {at, batch("a", 5, 1), at, Repeat},
		"a higher number is a gap":                                    {at, batch("a", 5, 3), at, Gap},
		"a batch of an earlier epoch is void":                         {at, batch("a", 4, 2), at, Void},
		"a batch of a later epoch is void":                            {at, batch("a", 6, 0), at, Void},
		"a batch of another incarnation is void":                      {at, batch("b", 5, 2), at, Void},
		"a batch before any claim is void":                            {Origin(), batch("", 0, 0), Origin(), Void},
		"a claim that continues a log begins no new one":              {Origin(), continues("a"), Origin(), VoidClaim},
		"it is taken behind a gap in a log of which nothing is known": {Unknown(""), continues("a"), State{"a", 9, 0}, Taken},
		"there no batch is valid either":                              {Unknown(""), batch("", -1, 0), Unknown(""), Void},
		"after a gap no batch is valid":                               {Unknown("a"), batch("a", 5, 0), Unknown("a"), Void},
		"after a gap a claim of the incarnation counts":               {Unknown("a"), claim("a"), State{"a", 9, 0}, Taken},
		"after a gap a claim of another incarnation stays void":       {Unknown("a"), claim("b"), Unknown("a"), VoidClaim},
	} {
		t.Run(name, func(t *testing.T) {
			got, verdict := c.state.Step(c.header, 9)
			if got != c.want || verdict != c.verdict {
				t.Errorf("got %+v %s, want %+v %s", got, verdict, c.want, c.verdict)
			}
		})
	}
}

func sample(mem memory.Allocator) arrow.Record {
	b := array.NewRecordBuilder(mem, arrow.NewSchema([]arrow.Field{
		{Name: "地区", Type: arrow.BinaryTypes.String, Nullable: true}, {Name: "值", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
	}, nil))
	defer b.Release()
	b.Field(0).(*array.StringBuilder).AppendValues([]string{"杭州市", ""}, []bool{true, false})
	b.Field(1).(*array.Float64Builder).AppendValues([]float64{1.5, 2}, nil)
	return b.NewRecord()
}

func TestValuesReadBackAsWritten(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	rec := sample(mem)
	defer rec.Release()
	rejects := []connectors.Reject{{Row: 4, Column: 2, Rule: "csv.fields", Reason: "9 fields", Raw: []byte{0xff, 'x'}}}
	value, err := Encode(mem, rec, rejects)
	if err != nil {
		t.Fatal(err)
	}
	got, gotRejects, err := Decode(mem, batchHeader(), value)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Release()
	if !array.RecordEqual(rec, got) {
		t.Errorf("got %v, want %v", got, rec)
	}
	if diff := cmp.Diff(rejects, gotRejects); diff != "" {
		t.Error(diff)
	}
}

func TestACutValueIsCorrupt(t *testing.T) {
	// Arrow's reader keeps what it had read when it panics on a cut buffer; the collector frees it.
	mem := memory.DefaultAllocator
	rec := sample(mem)
	defer rec.Release()
	value, err := Encode(mem, rec, nil)
	if err != nil {
		t.Fatal(err)
	}
	h := batchHeader()
	h.Rejects = 0
	for n := range len(value) {
		_, _, err := Decode(mem, h, value[:n])
		if _, ok := errors.AsType[*CorruptError](err); !ok {
			t.Fatalf("%d of %d bytes: %v", n, len(value), err)
		}
	}
	flipped := bytes.Clone(value)
	flipped[len(flipped)/2] ^= 1
	if _, _, err := Decode(mem, h, flipped); err == nil {
		t.Error("a damaged value was accepted")
	}
	h.Rows++
	if _, _, err := Decode(mem, h, value); err == nil {
		t.Error("headers that name another number of rows were accepted")
	}
}

// FuzzDecode: no bytes make Decode panic, take unbounded memory or leak, and what it accepts can be encoded again.
func FuzzDecode(f *testing.F) {
	rec := sample(memory.DefaultAllocator)
	value, err := Encode(memory.DefaultAllocator, rec, []connectors.Reject{{Rule: "x"}})
	rec.Release()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(value)
	f.Add(bytes.Repeat([]byte{0xff}, 64))
	f.Add([]byte{4, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, value []byte) {
		rec, rejects, err := Decode(memory.DefaultAllocator, batchHeader(), value)
		if err != nil {
			return
		}
		defer rec.Release()
		if _, err := Encode(memory.DefaultAllocator, rec, rejects); err != nil {
			t.Errorf("accepted but cannot be encoded: %v", err)
		}
	})
}

// sealed puts a true checksum and length before a stream, as somebody who means it does.
func sealed(stream []byte) []byte {
	value := binary.LittleEndian.AppendUint32(make([]byte, sumBytes), uint32(len(stream)))
	value = append(value, stream...)
	binary.LittleEndian.PutUint64(value, xxhash.Sum64(value[sumBytes:]))
	return value
}

// nested has columns within columns and a dictionary.
func nested(mem memory.Allocator) arrow.Record {
	b := array.NewRecordBuilder(mem, arrow.NewSchema([]arrow.Field{
		{Name: "list", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true},
		{Name: "struct", Type: arrow.StructOf(arrow.Field{Name: "a", Type: arrow.PrimitiveTypes.Int32, Nullable: true}), Nullable: true},
		{Name: "dictionary", Type: &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}, Nullable: true},
		{Name: "null", Type: arrow.Null, Nullable: true},
		{Name: "bool", Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
		{Name: "decimal", Type: &arrow.Decimal128Type{Precision: 10, Scale: 2}, Nullable: true},
		{Name: "fixed", Type: &arrow.FixedSizeBinaryType{ByteWidth: 3}, Nullable: true},
	}, nil))
	defer b.Release()
	if err := b.UnmarshalJSON([]byte(`{"list":["a","b"],"struct":{"a":1},"dictionary":"x","null":null,"bool":true,"decimal":"1.25","fixed":"AQID"}` + "\n" +
		`{"list":null,"struct":null,"dictionary":"y","null":null,"bool":null,"decimal":null,"fixed":null}`)); err != nil {
		panic(err) // the text above is wrong
	}
	return b.NewRecord()
}

// FuzzParse: no headers make Parse panic, and what it accepts reads back the same.
func FuzzParse(f *testing.F) {
	for _, field := range batchHeader().Fields() {
		f.Add(field.Key, field.Value)
	}
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		fields := append([]Field{{key, value}}, batchHeader().Fields()...)
		h, err := Parse(fields)
		if err != nil {
			return
		}
		again, err := Parse(h.Fields())
		if err != nil || !cmp.Equal(h, again) {
			t.Errorf("read %+v, then %+v, %v", h, again, err)
		}
	})
}

func TestALogSaysOfWhichLifeItIs(t *testing.T) { // W6
	c := func(incarnation string) Header { return Header{Kind: Claim, Incarnation: incarnation} }
	b := func(incarnation string) Header { return Header{Kind: Batch, Incarnation: incarnation} }
	again := Header{Kind: Claim, Incarnation: "old", Continues: true}
	for name, test := range map[string]struct {
		first   int64
		known   string
		records []Header
		want    string
	}{
		"its first claim":                                 {0, "old", []Header{c("new"), c("other")}, "new"},
		"an empty one says nothing":                       {0, "old", nil, ""},
		"what was on its way into the log before is void": {0, "old", []Header{b("old"), again, c("new")}, "new"},
		"and nothing else is there yet":                   {0, "old", []Header{b("old"), again}, ""},
		"cut: the known one":                              {7, "x", []Header{c("x")}, "x"},
		"cut between two first claims":                    {1, "x", []Header{c("void"), b("x")}, "x"},
		"cut, nothing left but a void claim":              {1, "x", []Header{c("void")}, "x"},
		"cut, of another life":                            {7, "x", []Header{c("y"), b("y")}, "y"},
		"cut, nothing known":                              {7, "", []Header{c("y"), b("z")}, "y"},
		"cut and empty":                                   {7, "x", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			life := NewLife(test.first, test.known)
			for i, h := range test.records {
				if life.See(h, test.first+int64(i)) {
					break
				}
			}
			if got := life.Incarnation(); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	h, err := Parse(again.Fields())
	if err != nil || !h.Continues {
		t.Errorf("%+v, %v", h, err)
	}
}
