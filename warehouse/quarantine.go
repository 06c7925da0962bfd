package warehouse

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/headwater-data/headwater/internal/clock"
)

// What has become of a quarantined row.
const (
	QuarantineOpen       = "open"
	QuarantineReplayed   = "replayed"
	QuarantineDismissed  = "dismissed"
	QuarantineSuperseded = "superseded" // newer content of the source replaced the row
)

// QuarantineRow is one row that broke a rule or could not be read. Its key is topic, partition, incarnation, offset, index.
type QuarantineRow struct {
	Topic       string `ch:"topic"`
	Partition   int32  `ch:"partition"`
	Incarnation string `ch:"incarnation"`
	Offset      int64  `ch:"offset"`
	Index       uint32 `ch:"index"` // row in its batch; rows that could not be read follow the others

	Source string `ch:"source"`
	Stream string `ch:"stream"`
	Shard  string `ch:"shard"`
	Place  string `ch:"place"`
	Row    uint64 `ch:"row"` // in its place, from 1; 0 when rows have no number there

	Run     string `ch:"run"`
	Schema  string `ch:"schema"`
	Mapping string `ch:"mapping"`

	// One entry a broken rule, in the same order.
	Rules   []string `ch:"rules"`
	Reasons []string `ch:"reasons"`
	Fields  []string `ch:"fields"`

	Columns     string    `ch:"columns"` // the kept original columns as JSON of texts, personal ones masked
	Raw         string    `ch:"raw"`     // what could not be read
	Version     int64     `ch:"version"` // the row's place in its source's order
	ExtractedAt time.Time `ch:"extracted_at"`

	Status     string    `ch:"status"` // defaults to QuarantineOpen
	StatusAt   time.Time `ch:"status_at"`
	StatusBy   string    `ch:"status_by"`
	StatusWhy  string    `ch:"status_why"`
	ReplayedTo string    `ch:"replayed_to"` // id of the row that came of the replay
}

// ID is the row's id as people see it.
func (r QuarantineRow) ID() string {
	return QuarantineID{r.Topic, r.Partition, r.Incarnation, r.Offset, int64(r.Index)}.String()
}

// firstVersion is the version of a row as the loader writes it. Every change of status has a higher one, so that a flush that
// is repeated does not open again what somebody has dismissed meanwhile.
const firstVersion = 1

// replayedFirst is added to the version of a row that was replayed, so that no change of status which raced with its replay hides
// that it is loaded; and to every later one of that row.
const replayedFirst = 1 << 62

// wasReplayed reports whether the row has such a version: it is replayed, or was opened again since.
func (r QuarantineRow) wasReplayed() bool {
	return r.Status == QuarantineReplayed || r.Status == QuarantineOpen && r.StatusBy != ""
}

// WriteQuarantine writes rows as they were refused, as one block under the token. A row that is there already keeps the
// status that it has come to.
func (w *Warehouse) WriteQuarantine(ctx context.Context, token string, rows []QuarantineRow) error {
	own := make([]QuarantineRow, len(rows))
	for i, r := range rows {
		r.Status = cmp.Or(r.Status, QuarantineOpen)
		own[i] = r
	}
	return insertOwn(ctx, w, "quarantine", token, own, func(QuarantineRow) uint64 { return firstVersion }, nil)
}

// QuarantineFilter selects rows. Empty fields select everything.
type QuarantineFilter struct {
	Source, Stream, Run string
	Rule                string   // one of the broken rules
	Status              string   // QuarantineOpen, …
	IDs                 []string // as ID gives them; a wrong one is an error
	Limit               int      // 0 means all
}

// Quarantined returns rows in the order of their place in the log.
func (w *Warehouse) Quarantined(ctx context.Context, filter QuarantineFilter) ([]QuarantineRow, error) {
	if len(filter.IDs) > idsAtOnce {
		return w.quarantinedByParts(ctx, filter)
	}
	where, args, err := filter.where()
	if err != nil {
		return nil, err
	}
	where += " ORDER BY own.topic, own.partition, own.extracted_at, own.incarnation, own.offset, own.index"
	if filter.Limit > 0 {
		where += " LIMIT {limit:UInt64}"
		args = append(args, clickhouse.Named("limit", uint64(filter.Limit)))
	}
	return selectOwn[QuarantineRow](ctx, w, "quarantine", where, args...)
}

// idsAtOnce keeps parameters, which travel in the URL, short enough for any proxy.
const idsAtOnce = 150

func (w *Warehouse) quarantinedByParts(ctx context.Context, filter QuarantineFilter) ([]QuarantineRow, error) {
	var all []QuarantineRow
	for ids := range slices.Chunk(filter.IDs, idsAtOnce) {
		part := filter
		part.IDs = ids
		if filter.Limit > 0 {
			part.Limit = filter.Limit - len(all)
		}
		rows, err := w.Quarantined(ctx, part)
		if err != nil {
			return nil, err
		}
		if all = append(all, rows...); filter.Limit > 0 && len(all) >= filter.Limit {
			break
		}
	}
	return all, nil
}

// CountQuarantined returns how many rows the filter selects; its limit does not matter.
func (w *Warehouse) CountQuarantined(ctx context.Context, filter QuarantineFilter) (int, error) {
	where, args, err := filter.where()
	if err != nil {
		return 0, err
	}
	var n uint64
	if err := w.data.QueryRow(ctx, "SELECT count() FROM (SELECT * FROM "+w.table("quarantine")+" FINAL WHERE _deleted = 0) AS own WHERE "+where, args...).Scan(&n); err != nil {
		return 0, w.wrap(err, "count quarantined rows")
	}
	return int(n), nil
}

func (f QuarantineFilter) where() (string, []any, error) {
	where, args := []string{"1"}, []any{}
	for _, equal := range []struct{ name, value string }{{"source", f.Source}, {"stream", f.Stream}, {"run", f.Run}, {"status", f.Status}} {
		if equal.value != "" {
			where = append(where, "own."+equal.name+" = {"+equal.name+":String}")
			args = append(args, clickhouse.Named(equal.name, equal.value))
		}
	}
	if f.Rule != "" {
		where = append(where, "has(own.rules, {rule:String})")
		args = append(args, clickhouse.Named("rule", f.Rule))
	}
	if f.IDs != nil {
		condition, ids, err := idCondition(f.IDs)
		if err != nil {
			return "", nil, err
		}
		where, args = append(where, condition), append(args, ids)
	}
	return strings.Join(where, " AND "), args, nil
}

// idCondition selects rows of `own` by ids. An id shows only the beginning of the incarnation.
func idCondition(ids []string) (string, any, error) {
	keys := make([]string, len(ids))
	for i, text := range ids {
		id, err := ParseQuarantineID(text)
		if err != nil {
			return "", nil, err
		}
		keys[i] = idKey(id.Topic, int64(id.Partition), id.Incarnation, id.Offset, id.Index)
	}
	condition := fmt.Sprintf("concat(own.topic, '/', toString(own.partition), '/', substring(own.incarnation, 1, %d), '/', toString(own.offset), '/', toString(own.index)) IN {ids:Array(String)}", incarnationDigits)
	return condition, clickhouse.Named("ids", keys), nil
}

func idKey(topic string, partition int64, incarnation string, offset, index int64) string {
	return fmt.Sprintf("%s/%d/%s/%d/%d", topic, partition, incarnation[:min(len(incarnation), incarnationDigits)], offset, index)
}

// OpenQuarantine tells for each id whether the row waits to be replayed: it is open, or it was replayed by a message in the
// range, which is the one that asks and may be asking again. Ids of no row are not open.
func (w *Warehouse) OpenQuarantine(ctx context.Context, ids []string, except Range) (map[string]bool, error) {
	open := make(map[string]bool, len(ids))
	if len(ids) == 0 {
		return open, nil
	}
	rows, err := w.Quarantined(ctx, QuarantineFilter{IDs: ids})
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		open[r.ID()] = r.Status == QuarantineOpen || r.Status == QuarantineReplayed && except.holds(r.ReplayedTo)
	}
	return open, nil
}

// holds reports whether the id names a row of the range.
func (r Range) holds(text string) bool {
	id, err := ParseQuarantineID(text)
	return err == nil && id.Topic == r.Topic && id.Partition == r.Partition && strings.HasPrefix(r.Incarnation, id.Incarnation) && id.Offset >= r.From && id.Offset < r.To
}

// SetQuarantineStatus writes new versions of the rows with those ids. replayedTo is empty, or names for each id the row that
// came of it. Doing it again changes nothing but the time. An id of no row is an error, and nothing is written.
func (w *Warehouse) SetQuarantineStatus(ctx context.Context, ids []string, status, by, why string, replayedTo []string) error {
	if len(replayedTo) != 0 && len(replayedTo) != len(ids) {
		return fmt.Errorf("set quarantine status: %d ids, but %d places of replayed rows", len(ids), len(replayedTo))
	}
	if len(ids) == 0 {
		return nil
	}
	rows, err := w.Quarantined(ctx, QuarantineFilter{IDs: ids})
	if err != nil {
		return err
	}
	found := make(map[string]QuarantineRow, len(ids))
	for _, r := range rows {
		found[r.ID()] = r
	}
	at := clock.Now().UTC()
	first := map[string]bool{}
	changed := make([]QuarantineRow, 0, len(ids))
	for i, id := range ids {
		r, ok := found[id]
		if !ok {
			return fmt.Errorf("set quarantine status: there is no row %s in quarantine", clip(id))
		}
		first[id] = status == QuarantineReplayed || r.wasReplayed()
		r.Status, r.StatusAt, r.StatusBy, r.StatusWhy, r.ReplayedTo = status, at, by, why, ""
		if len(replayedTo) > 0 {
			r.ReplayedTo = replayedTo[i]
		}
		changed = append(changed, r)
	}
	return w.writeStatus(ctx, at, first, changed)
}

// ReopenQuarantine writes rows that were replayed in their own place and that a later mapping refuses, as it refuses them.
func (w *Warehouse) ReopenQuarantine(ctx context.Context, by, why string, rows []QuarantineRow) error {
	at := clock.Now().UTC()
	own, first := make([]QuarantineRow, len(rows)), map[string]bool{}
	for i, r := range rows {
		r.Status, r.StatusAt, r.StatusBy, r.StatusWhy, r.ReplayedTo = QuarantineOpen, at, by, why, ""
		own[i], first[r.ID()] = r, true
	}
	return w.writeStatus(ctx, at, first, own)
}

// writeStatus writes rows with versions of now; those in first were replayed.
func (w *Warehouse) writeStatus(ctx context.Context, at time.Time, first map[string]bool, rows []QuarantineRow) error {
	token := fmt.Sprintf("quarantine status/%d/%d", at.UnixNano(), len(rows))
	if len(rows) > 0 {
		token += "/" + rows[0].ID()
	}
	return insertOwn(ctx, w, "quarantine", token, rows, func(r QuarantineRow) uint64 {
		version := uint64(at.UnixMicro())
		if first[r.ID()] {
			version += replayedFirst
		}
		return version
	}, nil)
}

// Supersede closes the open rows of a shard that were extracted before its new content: nobody need repair them any more.
// Doing it again changes nothing.
func (w *Warehouse) Supersede(ctx context.Context, source, stream, shard string, before time.Time) error {
	// By the row's place in the source's order, which is its extraction in microseconds; extracted_at keeps milliseconds, and contents
	// that were read while the clock stood behind the one before them are microseconds apart.
	at := clock.Now().UTC()
	for {
		// Pages keep memory flat; a page that was written is open no more.
		const page = 10_000
		rows, err := selectOwn[QuarantineRow](ctx, w, "quarantine",
			"own.source = {source:String} AND own.stream = {stream:String} AND own.shard = {shard:String} AND own.status = 'open' AND own.version < {before:Int64} ORDER BY own.topic, own.partition, own.incarnation, own.offset, own.index LIMIT {limit:UInt64}",
			clickhouse.Named("source", source), clickhouse.Named("stream", stream), clickhouse.Named("shard", shard),
			clickhouse.Named("before", before.UnixMicro()), clickhouse.Named("limit", uint64(page)))
		if err != nil || len(rows) == 0 {
			return err
		}
		first := map[string]bool{}
		for i := range rows {
			first[rows[i].ID()] = rows[i].wasReplayed()
			rows[i].Status, rows[i].StatusAt, rows[i].StatusBy = QuarantineSuperseded, at, "loader"
			rows[i].StatusWhy = "newer content of the source replaced the row"
		}
		if err := w.writeStatus(ctx, at, first, rows); err != nil {
			return err
		}
		if len(rows) < page {
			return nil
		}
	}
}
