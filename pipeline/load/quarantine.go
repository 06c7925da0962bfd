package load

import (
	"cmp"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/pipeline/message"
	"github.com/headwater-data/headwater/pipeline/topic"
	"github.com/headwater-data/headwater/pipeline/transform"
	"github.com/headwater-data/headwater/warehouse"
)

// maxShownBytes bounds what an entry of the quarantine shows of a message that cannot be decoded. The whole of it is kept beside.
const maxShownBytes = 4 << 10

// unknownLog stands for the identity of a log of which no record has told it.
const unknownLog = "0000000000000000"

// undecodable keeps a message of ours whole: once retention has eaten it, nobody could find out what was in it.
func (c *collector) undecodable(out *content, r topic.Record, part string, h message.Header, reason error) {
	type header struct {
		Key   string `json:"key"`
		Value []byte `json:"value"`
	}
	headers := make([]header, len(r.Headers))
	for i, f := range r.Headers {
		headers[i] = header{f.Key, f.Value}
	}
	text, err := json.Marshal(headers)
	if err != nil {
		panic("load: " + err.Error()) // strings and bytes
	}
	out.undecodable = append(out.undecodable, warehouse.Undecodable{
		Topic: c.topic, Partition: int32(c.partition), Incarnation: cmp.Or(h.Incarnation, out.after.Incarnation, unknownLog), Offset: r.Offset,
		Part: part, Reason: reason.Error(), Source: h.Source, Stream: h.Stream, Headers: string(text), Value: r.Value, WrittenAt: r.Time,
	})
	out.bytes += len(r.Value)
}

func (c *collector) quarantined(o origin, index int, mapping *transform.Mapping) warehouse.QuarantineRow {
	return warehouse.QuarantineRow{
		Topic: c.topic, Partition: int32(c.partition), Incarnation: o.Incarnation, Offset: o.offset, Index: uint32(index),
		Source: o.Source, Stream: o.Stream, Shard: o.Shard, Place: o.Place, Run: o.Run,
		Schema: mapping.Schema().Name, Mapping: mapping.Version(),
		Version: o.ExtractedAt.UnixMicro(), ExtractedAt: o.ExtractedAt, Columns: "{}", Status: "open", StatusAt: o.ExtractedAt,
	}
}

// brokenRow is a row that broke rules of its mapping or schema.
func (c *collector) brokenRow(o origin, index int, q transform.Rejected, mapping *transform.Mapping, res reservedColumns, row int) warehouse.QuarantineRow {
	out := c.quarantined(o, index, mapping)
	for _, b := range q.Breaks {
		out.Rules = append(out.Rules, b.Rule)
		out.Fields = append(out.Fields, b.Field)
		out.Reasons = append(out.Reasons, b.Message)
	}
	out.Columns = string(q.Columns)
	if res.row != nil {
		out.Row = clampVersion(res.row.Value(row))
	}
	if res.extracted != nil {
		// A replayed row that breaks again keeps its first place in the source's order.
		out.Version = res.extracted.Value(row)
	}
	if res.shard != nil {
		out.Shard = res.shard.Value(row)
	}
	if res.place != nil {
		out.Place = res.place.Value(row)
	}
	return out
}

// unreadRow is a row that the connector could not read, or that broke a rule on a personal field before Kafka.
func (c *collector) unreadRow(o origin, index int, r connectors.Reject, mapping *transform.Mapping) warehouse.QuarantineRow {
	out := c.quarantined(o, index, mapping)
	out.Rules, out.Fields, out.Reasons = []string{r.Rule}, []string{""}, []string{r.Reason}
	out.Row = clampVersion(r.Row)
	out.Raw = printable(r.Raw)
	return out
}

// corruptMessage is a batch whose value cannot be decoded: its rows are one entry, with its first bytes.
func (c *collector) corruptMessage(o origin, r topic.Record, mapping *transform.Mapping, err *message.CorruptError) warehouse.QuarantineRow {
	out := c.quarantined(o, 0, mapping)
	out.Rules, out.Fields = []string{"message.corrupt"}, []string{""}
	out.Reasons = []string{fmt.Sprintf("%d rows in a message of %d bytes: %v", o.Rows+o.Rejects, len(r.Value), err)}
	out.Raw = printable(r.Value[:min(len(r.Value), maxShownBytes)])
	return out
}

// printable keeps text as it is and writes everything else as a JSON string of its bytes, so that nothing is lost in a text
// column.
func printable(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	out, err := json.Marshal(b) // base64
	if err != nil {
		panic("load: " + err.Error())
	}
	return "base64:" + string(out[1:len(out)-1])
}
