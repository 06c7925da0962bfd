package rowwise

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/decimal128"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/connectors"
)

// maxRaw bounds how much of a row a reject carries, as the contract says.
const maxRaw = 4 << 10

// builder collects rows until they fill a batch.
type builder struct {
	mem      memory.Allocator
	columns  []Column
	record   *array.RecordBuilder // nil until the first row has said whether rows are numbered
	numbered bool
	rows     int
	rejects  []connectors.Reject
	bytes    int
	values   []any // of the row that is prepared
}

func newBuilder(mem memory.Allocator, columns []Column) (*builder, error) {
	b := &builder{mem: mem}
	seen := map[string]bool{}
	for _, c := range columns {
		if bare := strings.TrimLeft(c.Name, "_"); bare != "" {
			c.Name = bare + c.Name[:len(c.Name)-len(bare)]
		} else {
			return nil, fmt.Errorf("the column %q has no name", c.Name)
		}
		if seen[c.Name] {
			return nil, fmt.Errorf("the column %q is there twice", c.Name)
		}
		seen[c.Name] = true
		switch c.Type.(type) {
		case *arrow.StringType, *arrow.Int64Type, *arrow.Float64Type, *arrow.BooleanType, *arrow.Date32Type, *arrow.TimestampType, *arrow.Decimal128Type, *arrow.BinaryType:
		default:
			return nil, fmt.Errorf("the column %q has the type %v, which is not one of those that rowwise.Column lists", c.Name, c.Type)
		}
		b.columns = append(b.columns, c)
	}
	if len(columns) == 0 {
		return nil, fmt.Errorf("there are no columns")
	}
	return b, nil
}

// prepared is a row whose values have the types of their columns, or which is a reject. Its values are good until the next one is prepared.
type prepared struct {
	values []any
	number int64
	bytes  int
	reject *connectors.Reject
}

// prepare gives values the types of their columns. An error is a fault of the connector's.
func (b *builder) prepare(row Row) (prepared, error) {
	if row.Reject != nil {
		r := *row.Reject
		r.Raw = r.Raw[:min(len(r.Raw), maxRaw)]
		return prepared{reject: &r, bytes: len(r.Raw) + len(r.Reason) + 64}, nil
	}
	if len(row.Values) != len(b.columns) {
		return prepared{}, fmt.Errorf("%d values for %d columns", len(row.Values), len(b.columns))
	}
	if b.record == nil {
		b.number(row.Number > 0)
	}
	if b.numbered != (row.Number > 0) {
		return prepared{}, fmt.Errorf("its number is %d, but either all rows of a stream have a number or none", row.Number)
	}
	if b.values == nil {
		b.values = make([]any, len(b.columns))
	}
	p := prepared{values: b.values, number: row.Number, bytes: 16}
	for i, v := range row.Values {
		c := b.columns[i]
		var err error
		if p.values[i], err = convert(c.Type, v); err != nil {
			raw := fmt.Appendf(nil, "%v", row.Values)
			reason := fmt.Sprintf("%s is %.200q, which is no value of its type: %v", c.Name, fmt.Sprint(v), err)
			r := connectors.Reject{Row: row.Number, Column: i + 1, Rule: "type", Reason: reason, Raw: raw[:min(len(raw), maxRaw)]}
			return prepared{reject: &r, bytes: len(r.Raw) + len(r.Reason) + 64}, nil
		}
		switch v := p.values[i].(type) {
		case string:
			p.bytes += len(v) + 5
		case []byte:
			p.bytes += len(v) + 5
		default:
			p.bytes += 17
		}
	}
	return p, nil
}

// number begins the first record.
func (b *builder) number(numbered bool) {
	fields := make([]arrow.Field, 0, len(b.columns)+1)
	for _, c := range b.columns {
		fields = append(fields, arrow.Field{Name: c.Name, Type: c.Type, Nullable: true})
	}
	if b.numbered = numbered; numbered {
		fields = append(fields, arrow.Field{Name: connectors.ColumnRow, Type: arrow.PrimitiveTypes.Int64})
	}
	b.record = array.NewRecordBuilder(b.mem, arrow.NewSchema(fields, nil))
}

func (b *builder) n() int { return b.rows + len(b.rejects) }

// full reports that the row would no longer fit. An empty builder takes anything.
func (b *builder) full(p prepared) bool {
	return b.n() >= connectors.MaxBatchRows || b.n() > 0 && b.bytes+p.bytes > connectors.MaxBatchBytes
}

func (b *builder) add(p prepared) {
	b.bytes += p.bytes
	if p.reject != nil {
		b.rejects = append(b.rejects, *p.reject)
		return
	}
	for i, v := range p.values {
		put(b.record.Field(i), v)
	}
	if b.numbered {
		b.record.Field(len(p.values)).(*array.Int64Builder).Append(p.number)
	}
	b.rows++
}

// take returns what was collected; the caller releases the record.
func (b *builder) take() (arrow.Record, []connectors.Reject) {
	if b.record == nil {
		b.number(false)
	}
	record, rejects := b.record.NewRecord(), b.rejects
	b.rows, b.rejects, b.bytes = 0, nil, 0
	return record, rejects
}

func (b *builder) release() {
	if b.record != nil {
		b.record.Release()
	}
}

// convert makes of a value what put appends to a column of the type, or says why it cannot.
func convert(t arrow.DataType, v any) (any, error) {
	if v == nil {
		return nil, nil
	}
	text, isText := v.(string)
	switch t := t.(type) {
	case *arrow.StringType:
		if !isText {
			return nil, unfit(t, v)
		}
		if !utf8.ValidString(text) {
			return nil, fmt.Errorf("it is not valid UTF-8")
		}
		return v, nil
	case *arrow.BinaryType:
		if _, ok := v.([]byte); ok {
			return v, nil
		}
	case *arrow.Int64Type:
		switch v := v.(type) {
		case int64:
			return v, nil
		case int:
			return int64(v), nil
		case string:
			return strconv.ParseInt(v, 10, 64)
		}
	case *arrow.Float64Type:
		switch v := v.(type) {
		case float64:
			return v, nil
		case string:
			return strconv.ParseFloat(v, 64)
		}
	case *arrow.BooleanType:
		switch v := v.(type) {
		case bool:
			return v, nil
		case string:
			switch v {
			case "true":
				return true, nil
			case "false":
				return false, nil
			}
			return nil, fmt.Errorf("want true or false")
		}
	case *arrow.Decimal128Type:
		if isText {
			return decimal(t, text)
		}
	case *arrow.Date32Type:
		at, err := moment(v)
		if err != nil {
			return nil, err
		}
		y, m, d := at.Date() // as it is written where the time was
		return arrow.Date32(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / 86400), nil
	case *arrow.TimestampType:
		at, err := moment(v)
		if err != nil {
			return nil, err
		}
		return arrow.TimestampFromTime(at, t.Unit)
	}
	return nil, unfit(t, v)
}

func unfit(t arrow.DataType, v any) error { return fmt.Errorf("a %T is no %s", v, t) }

// moment reads a time, of which a text has these forms.
func moment(v any) (time.Time, error) {
	switch v := v.(type) {
	case time.Time:
		return v, nil
	case string:
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999", time.DateOnly} {
			if at, err := time.Parse(layout, v); err == nil {
				return at, nil
			}
		}
		return time.Time{}, fmt.Errorf("want 2026-03-05, 2026-03-05T08:00:00 or 2026-03-05T08:00:00Z")
	}
	return time.Time{}, fmt.Errorf("a %T is no time", v)
}

// decimal reads digits exactly: more of them than the type has make an error, never a rounded number.
func decimal(t *arrow.Decimal128Type, text string) (any, error) {
	digits, negative := strings.CutPrefix(text, "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	fraction = strings.TrimRight(fraction, "0")
	if whole == "" || strings.Trim(whole+fraction, "0123456789") != "" {
		return nil, fmt.Errorf("want digits with at most one point")
	}
	if len(fraction) > int(t.Scale) || len(strings.TrimLeft(whole, "0"))+int(t.Scale) > int(t.Precision) {
		return nil, fmt.Errorf("more digits than %s has", t)
	}
	n := decimal128.FromU64(0)
	ten := decimal128.FromU64(10)
	for _, d := range whole + fraction + strings.Repeat("0", int(t.Scale)-len(fraction)) {
		n = n.Mul(ten).Add(decimal128.FromU64(uint64(d - '0')))
	}
	if negative {
		n = n.Negate()
	}
	return n, nil
}

// put appends what convert has made.
func put(to array.Builder, v any) {
	if v == nil {
		to.AppendNull()
		return
	}
	switch to := to.(type) {
	case *array.StringBuilder:
		to.Append(v.(string))
	case *array.BinaryBuilder:
		to.Append(v.([]byte))
	case *array.Int64Builder:
		to.Append(v.(int64))
	case *array.Float64Builder:
		to.Append(v.(float64))
	case *array.BooleanBuilder:
		to.Append(v.(bool))
	case *array.Date32Builder:
		to.Append(v.(arrow.Date32))
	case *array.TimestampBuilder:
		to.Append(v.(arrow.Timestamp))
	case *array.Decimal128Builder:
		to.Append(v.(decimal128.Num))
	}
}
