package warehouse

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// Parts of a message that can be damaged.
const (
	UndecodableValue   = "value"   // its rows are one entry of the quarantine, under the same id
	UndecodableHeaders = "headers" // nobody knows whose rows they are
)

// Undecodable is a message that cannot be decoded, with its bytes. Its key is topic, partition, incarnation, offset.
type Undecodable struct {
	Topic       string    `ch:"topic"`
	Partition   int32     `ch:"partition"`
	Incarnation string    `ch:"incarnation"`
	Offset      int64     `ch:"offset"`
	Part        string    `ch:"part"` // UndecodableValue, …
	Reason      string    `ch:"reason"`
	Source      string    `ch:"source"`
	Stream      string    `ch:"stream"`
	Headers     string    `ch:"headers"` // JSON: a list of key and base64 value
	Size        int64     `ch:"size"`    // of Value; WriteUndecodable fills it, and SHA256
	SHA256      string    `ch:"sha256"`
	Value       []byte    `ch:"value"` // empty where Undecodables lists many
	WrittenAt   time.Time `ch:"written_at"`
}

// ID is the message's id, that of its entry in the quarantine if it has one.
func (u Undecodable) ID() string {
	return FormatQuarantineID(u.Topic, int(u.Partition), u.Incarnation, u.Offset, 0)
}

// WriteUndecodable keeps messages, each once however often it is written.
func (w *Warehouse) WriteUndecodable(ctx context.Context, token string, messages []Undecodable) error {
	own := make([]Undecodable, len(messages))
	for i, m := range messages {
		sum := sha256.Sum256(m.Value)
		m.Size, m.SHA256 = int64(len(m.Value)), hex.EncodeToString(sum[:])
		own[i] = m
	}
	return insertOwn(ctx, w, "undecodable", token, own, func(Undecodable) uint64 { return firstVersion }, nil)
}

// Undecodables lists the messages that could not be decoded, the newest first, without their bytes. A limit of 0 means all.
func (w *Warehouse) Undecodables(ctx context.Context, limit int) ([]Undecodable, error) {
	statement := "SELECT topic, toInt32(partition) AS partition, incarnation, offset, part, reason, source, stream, size, sha256, ifNull(written_at, fromUnixTimestamp64Milli(toInt64(0), 'UTC')) AS written_at FROM " +
		w.table("undecodable") + " FINAL WHERE _deleted = 0 ORDER BY written_at DESC, topic, partition, offset DESC"
	var args []any
	if limit > 0 {
		statement += " LIMIT {limit:UInt64}"
		args = append(args, clickhouse.Named("limit", uint64(limit)))
	}
	var rows []Undecodable
	err := w.data.Select(ctx, &rows, statement, args...)
	if noTable(err) {
		return nil, nil // the warehouse was last migrated by a program that kept none
	}
	if err != nil {
		return nil, w.wrap(err, "list messages that cannot be decoded")
	}
	settleTimes(rows)
	return rows, nil
}

// UndecodableOf returns the message with that id, with its bytes; false when none is kept.
func (w *Warehouse) UndecodableOf(ctx context.Context, text string) (Undecodable, bool, error) {
	id, err := ParseQuarantineID(text)
	if err != nil {
		return Undecodable{}, false, err
	}
	rows, err := selectOwn[Undecodable](ctx, w, "undecodable",
		"own.topic = {topic:String} AND own.partition = {partition:Int64} AND startsWith(own.incarnation, {incarnation:String}) AND own.offset = {offset:Int64}",
		clickhouse.Named("topic", id.Topic), clickhouse.Named("partition", int64(id.Partition)), clickhouse.Named("incarnation", id.Incarnation), clickhouse.Named("offset", id.Offset))
	if noTable(err) || err == nil && len(rows) == 0 {
		return Undecodable{}, false, nil
	}
	if err != nil {
		return Undecodable{}, false, err
	}
	return rows[0], true, nil
}
