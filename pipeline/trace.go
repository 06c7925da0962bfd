package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/pipeline/message"
	"github.com/headwater-data/headwater/pipeline/topic"
	"github.com/headwater-data/headwater/warehouse"
)

// RawRow is the row of a source that a fact was made of, as it lies in Kafka: the columns that the mapping and keep: name, under the
// system's names, personal ones masked.
type RawRow struct {
	Columns []RawColumn
	Why     string // why there are none: retention ate the message, or its topic was made anew
}

// RawColumn is one cell of it. Null cells are left out.
type RawColumn struct{ Name, Value string }

// Raw reads from Kafka the rows that the facts were made of, one for each fact. Each message is read once.
func (s *Session) Raw(ctx context.Context, facts []warehouse.Fact) ([]RawRow, error) {
	type address struct {
		topic, incarnation string
		partition          int32
		offset             int64
	}
	byMessage := map[address][]int{}
	var order []address
	for i, f := range facts {
		a := address{f.Topic, f.Incarnation, f.Partition, f.Offset}
		if byMessage[a] == nil {
			order = append(order, a)
		}
		byMessage[a] = append(byMessage[a], i)
	}
	out := make([]RawRow, len(facts))
	for _, a := range order {
		rec, why, err := s.rawBatch(ctx, a.topic, int(a.partition), a.offset, a.incarnation)
		if err != nil {
			return nil, fmt.Errorf("read the rows of %s/%d at %d: %w", a.topic, a.partition, a.offset, err)
		}
		for _, i := range byMessage[a] {
			if out[i].Why = why; why == "" {
				out[i] = s.rawRow(rec, facts[i])
			}
		}
		if rec != nil {
			rec.Release()
		}
	}
	return out, nil
}

// rawBatch reads one message. The caller releases the record, which is nil when why says that there is none.
func (s *Session) rawBatch(ctx context.Context, name string, partition int, offset int64, incarnation string) (rec arrow.Record, why string, err error) {
	page, err := s.client.Read(ctx, name, partition, offset, 1, time.Second)
	if _, eaten := errors.AsType[*topic.OutOfRangeError](err); eaten {
		return nil, "Kafka no longer has the message", nil
	}
	if err != nil {
		return nil, "", err
	}
	if len(page.Records) == 0 || page.Records[0].Offset != offset {
		return nil, "Kafka no longer has the message", nil
	}
	h, err := message.Parse(page.Records[0].Headers)
	if err != nil || h.Incarnation != incarnation {
		return nil, "the topic was made anew since", nil
	}
	rec, _, err = message.Decode(s.opts.Allocator, h, page.Records[0].Value)
	return rec, "", err
}

// rawRow finds the fact's row in its batch: by its number in its place, and where rows have none by the record's position, which
// holds the row's as long as the mapping is the one that made the record.
func (s *Session) rawRow(rec arrow.Record, f warehouse.Fact) RawRow {
	at := -1
	if numbers := rec.Schema().FieldIndices(connectors.ColumnRow); f.Row > 0 && len(numbers) == 1 {
		if column, ok := rec.Column(numbers[0]).(*array.Int64); ok {
			for i := range column.Len() {
				if column.IsValid(i) && column.Value(i) == int64(f.Row) {
					at = i
					break
				}
			}
		}
	} else if m, ok := s.shaping.Program.Stream(f.Source, f.Stream); ok && m.Version() == f.Mapping {
		at = int(f.Position) / m.FanOut()
	}
	if at < 0 || at >= int(rec.NumRows()) {
		return RawRow{Why: "rows have no number there, and the mapping is another one now"}
	}
	var out RawRow
	for i, field := range rec.Schema().Fields() {
		if column := rec.Column(i); !strings.HasPrefix(field.Name, "_") && column.IsValid(at) {
			out.Columns = append(out.Columns, RawColumn{Name: field.Name, Value: column.ValueStr(at)})
		}
	}
	return out
}
