package connectortest

import (
	"context"
	"errors"
	"iter"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/decimal128"

	"github.com/headwater-data/headwater/connectors"
)

// server is a fake that has types, and that can be altered, lost and silent.
type server struct {
	*fake
	kind    Kind
	values  []any
	altered bool
	lost    atomic.Bool
	silent  atomic.Bool
	wrong   serverFlaws
}

type serverFlaws struct {
	decimalsAsFloats, cutsDecimals, wrapsUnsigned, losesMicros, losesZone, dropsZone, shiftsDates, nanIsNull, cutsText, nullIsZero, losesValue, rejectsValue,
	hidesColumn, keepsOldRows, lossIsPermanent, lossIsEnd, goesOnBehind, waitsForever bool
	onlyInChanges bool // of typed values
	fetches       bool // no flaw: all is fetched before the first batch
}

func (f *server) Read(ctx context.Context, s connectors.Stream, after connectors.Cursor) iter.Seq2[connectors.Batch, error] {
	return func(yield func(connectors.Batch, error) bool) {
		if f.kind != "" {
			if f.wrong.onlyInChanges && after == nil {
				(&server{fake: f.fake, kind: f.kind, values: f.values}).typed(yield)
				return
			}
			f.typed(yield)
			return
		}
		away := errors.New("the system is away")
		if !f.wrong.lossIsPermanent {
			away = connectors.Transient(away)
		}
		if f.silent.Load() && f.wrong.fetches && f.wrong.waitsForever {
			<-ctx.Done()
			yield(connectors.Batch{}, ctx.Err())
			return
		}
		if f.lost.Load() || f.silent.Load() && f.wrong.fetches {
			if !f.wrong.fetches || !f.wrong.lossIsEnd {
				yield(connectors.Batch{}, away)
			}
			return
		}
		for b, err := range f.fake.Read(ctx, s, after) {
			if err == nil && f.altered && !f.wrong.hidesColumn {
				b.Record = f.widened(b.Record)
				defer b.Record.Release()
			}
			if !yield(b, err) || err != nil {
				return
			}
			if f.wrong.fetches {
				continue
			}
			if f.silent.Load() && f.wrong.waitsForever {
				<-ctx.Done()
				yield(connectors.Batch{}, ctx.Err())
				return
			}
			if f.lost.Load() || f.silent.Load() {
				if !f.wrong.lossIsEnd {
					yield(connectors.Batch{}, away)
				}
				return
			}
		}
	}
}

// widened adds the column that Alter adds.
func (f *server) widened(record arrow.Record) arrow.Record {
	b := array.NewStringBuilder(f.outside.Allocator)
	defer b.Release()
	for range record.NumRows() {
		b.Append("new")
	}
	column := b.NewArray()
	defer column.Release()
	fields := append(slices.Clone(record.Schema().Fields()), arrow.Field{Name: "added", Type: arrow.BinaryTypes.String})
	return array.NewRecord(arrow.NewSchema(fields, nil), append(slices.Clone(record.Columns()), column), record.NumRows())
}

// typed yields the typed values in one batch.
func (f *server) typed(yield func(connectors.Batch, error) bool) {
	types := map[Kind]arrow.DataType{
		Decimal38: &arrow.Decimal128Type{Precision: 38, Scale: 10}, Unsigned64: arrow.PrimitiveTypes.Uint64, Signed64: arrow.PrimitiveTypes.Int64, Date: arrow.FixedWidthTypes.Date32,
		LocalTime: &arrow.TimestampType{Unit: arrow.Microsecond}, Instant: arrow.FixedWidthTypes.Timestamp_us, FarInstant: arrow.FixedWidthTypes.Timestamp_us,
		Double: arrow.PrimitiveTypes.Float64, NotANumber: arrow.PrimitiveTypes.Float64, LongText: arrow.BinaryTypes.String,
	}
	typ := types[f.kind]
	switch {
	case f.kind == Decimal38 && f.wrong.decimalsAsFloats:
		typ = arrow.PrimitiveTypes.Float64
	case f.kind == Unsigned64 && f.wrong.wrapsUnsigned:
		typ = arrow.PrimitiveTypes.Int64
	case f.kind == Instant && f.wrong.losesZone:
		typ = types[LocalTime]
	}
	b := array.NewBuilder(f.outside.Allocator, typ)
	defer b.Release()
	var rejects []connectors.Reject
	for i, v := range f.values {
		if f.wrong.losesValue && i == 1 {
			continue
		}
		if f.wrong.rejectsValue && i == 1 {
			rejects = append(rejects, connectors.Reject{Rule: "sql.value", Reason: "too large"})
			continue
		}
		text, ok := v.(string)
		switch {
		case !ok && f.wrong.nullIsZero:
			b.AppendEmptyValue()
		case !ok, f.kind == NotANumber && f.wrong.nanIsNull && text == "NaN":
			b.AppendNull()
		default:
			f.append(b, text)
		}
	}
	column := b.NewArray()
	defer column.Release()
	record := array.NewRecord(arrow.NewSchema([]arrow.Field{{Name: "value", Type: typ, Nullable: true}}, nil), []arrow.Array{column}, int64(column.Len()))
	defer record.Release()
	yield(connectors.Batch{Record: record, Place: "table", Cursor: connectors.Cursor("{}"), Rejects: rejects, ExtractedAt: f.outside.Now()}, nil)
}

func (f *server) append(to array.Builder, text string) {
	at := func(layouts ...string) time.Time {
		for _, layout := range layouts {
			if t, err := time.Parse(layout, text); err == nil {
				return t
			}
		}
		panic("not a time: " + text)
	}
	switch to := to.(type) {
	case *array.Decimal128Builder:
		whole, fraction, _ := strings.Cut(text, ".")
		if f.wrong.cutsDecimals && len(fraction) > 9 {
			fraction = fraction[:9]
		}
		n, ok := new(big.Int).SetString(whole+fraction+strings.Repeat("0", 10-len(fraction)), 10)
		if !ok {
			panic("not a number: " + text)
		}
		to.Append(decimal128.FromBigInt(n))
	case *array.Uint64Builder:
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			panic(err)
		}
		to.Append(n)
	case *array.Int64Builder:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			u, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				panic(err)
			}
			n = int64(u)
		}
		to.Append(n)
	case *array.Float64Builder:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			panic(err)
		}
		to.Append(n)
	case *array.Date32Builder:
		days := arrow.Date32FromTime(at(time.DateOnly))
		if f.wrong.shiftsDates && days < -25567 { // 1900
			days--
		}
		to.Append(days)
	case *array.TimestampBuilder:
		t := at("2006-01-02T15:04:05.999999", "2006-01-02T15:04:05.999999Z07:00")
		if f.wrong.losesMicros {
			t = t.Truncate(time.Millisecond)
		}
		if f.wrong.dropsZone {
			_, offset := t.Zone()
			t = t.Add(time.Duration(offset) * time.Second)
		}
		to.Append(arrow.Timestamp(t.UnixMicro()))
	case *array.StringBuilder:
		if f.wrong.cutsText && len(text) > 1<<16 {
			text = text[:1<<16]
		}
		to.Append(text)
	}
}

func serverOpener(wrong serverFlaws) func(*Outside) (connectors.Source, error) {
	return func(o *Outside) (connectors.Source, error) {
		inner, err := opener(flaws{losesRowOnResume: wrong.goesOnBehind})(o)
		if err != nil {
			return nil, err
		}
		f := &server{fake: inner.(*fake), wrong: wrong}
		o.StoreValues = func(kind Kind, values []any) error {
			f.kind, f.values = kind, values
			return nil
		}
		o.Alter = func() error {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.altered = true
			if !wrong.keepsOldRows {
				f.version++
			}
			return nil
		}
		o.Lose = func() (func() error, error) {
			f.lost.Store(true)
			return func() error { f.lost.Store(false); return nil }, nil
		}
		o.Hang = func() (func() error, error) {
			f.silent.Store(true)
			return func() error { f.silent.Store(false); return nil }, nil
		}
		return f, nil
	}
}

var server64 = Capabilities{
	Changes: true, Replaces: true, Counts: true, Secrets: true, Breaks: true, Alters: true, Loses: true, Hangs: true,
	Values: []Kind{Decimal38, Unsigned64, Signed64, Date, LocalTime, Instant, FarInstant, Double, NotANumber, LongText},
}

func TestSoundServerPasses(t *testing.T) {
	follows := server64
	follows.Follows = true
	if err := caseNamed("typed changes").check(t.Context(), t.TempDir(), serverOpener(serverFlaws{}), follows); err != nil {
		t.Error(err)
	}
	// What is wrong in changes alone is found by no other case.
	flaw := serverFlaws{losesMicros: true, onlyInChanges: true}
	if err := caseNamed("typed values").check(t.Context(), t.TempDir(), serverOpener(flaw), follows); err != nil {
		t.Error(err)
	}
	if err := caseNamed("typed changes").check(t.Context(), t.TempDir(), serverOpener(flaw), follows); err == nil || !strings.Contains(err.Error(), "time without a zone: got") {
		t.Errorf("microseconds are lost in changes: %v", err)
	}
	for _, name := range []string{"typed values", "altered", "lost before", "lost within", "silent"} {
		t.Run(name, func(t *testing.T) {
			if err := caseNamed(name).check(t.Context(), t.TempDir(), serverOpener(serverFlaws{}), server64); err != nil {
				t.Error(err)
			}
			if err := caseNamed(name).check(t.Context(), t.TempDir(), serverOpener(serverFlaws{fetches: true}), server64); err != nil {
				t.Errorf("all is fetched first: %v", err)
			}
		})
	}
}

// TestBrokenServersAreFound breaks a server in one way after the other.
func TestBrokenServersAreFound(t *testing.T) {
	for _, c := range []struct {
		name  string
		wrong serverFlaws
		found string
		says  string
	}{
		{"decimals are floats", serverFlaws{decimalsAsFloats: true}, "typed values", "decimal(38, 10): got another type"},
		{"decimals lose a digit", serverFlaws{cutsDecimals: true}, "typed values", "decimal(38, 10): got"},
		{"unsigned numbers become negative", serverFlaws{wrapsUnsigned: true}, "typed values", "unsigned 64-bit: got -1"},
		{"microseconds are lost", serverFlaws{losesMicros: true}, "typed values", "time without a zone: got"},
		{"instants lose their zone", serverFlaws{losesZone: true}, "typed values", "instant: the type"},
		{"the offset of an instant is not taken off", serverFlaws{dropsZone: true}, "typed values", "far instant: got"},
		{"old dates are a day off", serverFlaws{shiftsDates: true}, "typed values", "date: got 1899-12-30"},
		{"what is not a number becomes null", serverFlaws{nanIsNull: true}, "typed values", "not a number: got null true"},
		{"long texts are cut", serverFlaws{cutsText: true}, "typed values", "10 MB of text: got"},
		{"null becomes zero", serverFlaws{nullIsZero: true}, "typed values", "date: got null false"},
		{"a value is lost", serverFlaws{losesValue: true}, "typed values", "date: got"},
		{"a value is rejected", serverFlaws{rejectsValue: true}, "typed values", "was rejected by sql.value"},
		{"a new column is not delivered", serverFlaws{hidesColumn: true}, "altered", "0 of 4500 rows"},
		{"rows that were read stay without a new column", serverFlaws{keepsOldRows: true}, "altered", "of 4500 rows"},
		{"a loss is called permanent", serverFlaws{lossIsPermanent: true}, "lost before", "not transient"},
		{"a loss in the middle is called permanent", serverFlaws{lossIsPermanent: true}, "lost within", "not transient"},
		{"a loss looks like the end", serverFlaws{lossIsEnd: true}, "lost within", "no error"},
		{"a row is lost with the system", serverFlaws{goesOnBehind: true}, "lost within", "before and after: row"},
		{"silence looks like the end", serverFlaws{lossIsEnd: true}, "silent", "no error"},
		{"a silent system is waited for", serverFlaws{waitsForever: true}, "silent", "still waiting"},
		{"a loss before all is fetched is called permanent", serverFlaws{fetches: true, lossIsPermanent: true}, "lost within", "not transient"},
		{"a loss before all is fetched looks like the end", serverFlaws{fetches: true, lossIsEnd: true}, "lost within", "no error"},
		{"silence before all is fetched looks like the end", serverFlaws{fetches: true, lossIsEnd: true}, "silent", "no error"},
		{"a silent system is waited for before all is fetched", serverFlaws{fetches: true, waitsForever: true}, "silent", "still waiting"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.wrong.waitsForever {
				// Only here is it waited to the end. Others are found by what happens, however long a busy machine takes.
				was := patience
				patience = time.Second
				defer func() { patience = was }()
			}
			finds(t, c.found, c.says, serverOpener(c.wrong), server64)
		})
	}
}
