package load

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/pipeline/message"
	"github.com/headwater-data/headwater/pipeline/topic"
	"github.com/headwater-data/headwater/pipeline/transform"
	"github.com/headwater-data/headwater/schemas"
	"github.com/headwater-data/headwater/warehouse"
)

// Shaping is everything that shapes rows, ready for use.
type Shaping struct {
	Program *transform.Program
	Hash    string
	Body    []byte // what Hash names; stored in the warehouse before an intent names it (L2)
}

// content is a flush with its rows: what a range of offsets becomes.
type content struct {
	from, to int64
	after    message.State
	shape    string

	tables      []*part
	quarantine  []warehouse.QuarantineRow
	undecodable []warehouse.Undecodable
	accounts    map[account]*warehouse.LedgerRow
	replaced    []replacement
	brought     map[delivery]*yield
	closed      []closure
	closing     map[string]bool // the ids in closed

	messages, void, foreign int64
	records                 int // in all tables
	bytes                   int // of Arrow data held
	shared                  shared
}

// part is what a flush brings to one table.
type part struct {
	schema   *schemas.Schema
	records  []arrow.Record // with lineage
	rows     int
	expected warehouse.Expected
	held     error
	accounts []account
}

// account is one line of the ledger within a flush.
type account struct{ source, stream, shard, run, schema string }

// delivery is one content of a shard: what one extraction of it brings.
type delivery struct {
	source, stream, shard string
	at                    int64 // extraction time in µs
}

// yield is what became of the rows of a delivery that are in a flush.
type yield struct{ loaded, quarantined int64 }

func (c *content) yieldOf(h message.Header) *yield {
	d := delivery{h.Source, h.Stream, h.Shard, h.ExtractedAt.UnixMicro()}
	y, ok := c.brought[d]
	if !ok {
		y = &yield{}
		c.brought[d] = y
	}
	return y
}

// replacement says that a shard's content was replaced.
type replacement struct {
	table                 string
	source, stream, shard string
	before                time.Time
	offset                int64
	index                 uint32 // first free row number in the batch
	origin                origin
	deleted               int64
	account               account
	yield                 *yield
}

// closure is a quarantined row that was replayed.
type closure struct {
	id, to  string
	by, why string // who asked for it, and their words; may be empty
}

func (c *content) release() {
	if c == nil {
		return
	}
	for _, p := range c.tables {
		for _, r := range p.records {
			r.Release()
		}
		p.records = nil
	}
	c.shared.release()
}

func (c *content) part(s *schemas.Schema) *part {
	for _, p := range c.tables {
		if p.schema.Name == s.Name {
			return p
		}
	}
	p := &part{schema: s, expected: warehouse.Expected{}}
	c.tables = append(c.tables, p)
	return p
}

func (c *content) line(a account) *warehouse.LedgerRow {
	r, ok := c.accounts[a]
	if !ok {
		r = &warehouse.LedgerRow{Source: a.source, Stream: a.stream, Shard: a.shard, Run: a.run, Schema: a.schema, CursorOffset: -1}
		c.accounts[a] = r
	}
	return r
}

// collector turns records of one partition into flushes.
type collector struct {
	client    *topic.Client
	warehouse Warehouse
	topic     string
	partition int
	mem       memory.Allocator
	limits    Limits
	hurried   *atomic.Int32   // above 0, nothing waits for more rows
	closing   map[string]bool // quarantined rows whose replay the flush before brings, which has not landed yet
	wanted    <-chan struct{} // closed when somebody waits for the flush; until then it may grow
	only      map[string]bool // streams that a repair is about; nil for all
	settled   settled         // rows of a repair or rebuild that keep their account
	log       logger
}

// settled are rows, by offset and number in the batch, that are in quarantine and no longer open: they were replayed, dismissed or
// superseded. A repair that loaded them would do so beside that.
type settled map[int64]map[uint32]bool

// Limits bound a flush.
type Limits struct {
	Records int           // records of all tables together; defaults to 1,000,000
	Bytes   int           // Arrow bytes; defaults to 40 MiB
	Linger  time.Duration // how long a flush waits for more once everything there has been read; 0 does not wait
}

// pageBytes is how much is asked of the broker at once. A larger message comes all the same, alone; more would only wait in
// memory for those before it.
const pageBytes = 4 << 20

// collect reads from a.From on until the flush is full, or ends where it is asked to end, or nothing more is there. It waits
// for the first record. The caller releases the content.
func (c *collector) collect(ctx context.Context, a Collect, shaping Shaping) (out *content, err error) {
	out = &content{from: a.From, to: a.From, after: a.State, shape: shaping.Hash, accounts: map[account]*warehouse.LedgerRow{}, brought: map[delivery]*yield{}}
	defer func() {
		if err != nil {
			out.release()
			out = nil
		}
	}()
	var lingerUntil time.Time
	idle := false
	for {
		wait := 250 * time.Millisecond
		if idle {
			wait, idle = 20*time.Millisecond, false
		}
		if !lingerUntil.IsZero() {
			wait = min(wait, max(time.Until(lingerUntil), time.Millisecond))
		}
		page, err := c.client.Read(ctx, c.topic, c.partition, out.to, pageBytes, wait)
		if err != nil {
			return out, err
		}
		for _, r := range page.Records {
			if a.To > 0 && r.Offset >= a.To {
				break
			}
			if err := c.add(ctx, out, r, shaping); err != nil {
				return out, err
			}
			if a.To == 0 && (out.records >= c.limits.Records || out.bytes >= c.limits.Bytes) {
				return out, nil
			}
		}
		switch {
		case a.To > 0 && (out.to >= a.To || (len(page.Records) == 0 && page.Next >= a.To) || (len(page.Records) > 0 && page.Records[len(page.Records)-1].Offset >= a.To)):
			out.to = a.To
			return out, nil
		case a.To == 0 && out.to > a.From && out.to >= page.Next && !c.isWanted():
			// The flush before it is still landing: what comes meanwhile costs nobody any time.
			idle = true
		case a.To == 0 && out.to > a.From && out.to >= page.Next:
			if c.limits.Linger == 0 || c.hurried.Load() > 0 || (!lingerUntil.IsZero() && !time.Now().Before(lingerUntil)) {
				return out, nil
			}
			if lingerUntil.IsZero() {
				lingerUntil = time.Now().Add(c.limits.Linger)
			}
		}
	}
}

func (c *collector) isWanted() bool {
	select {
	case <-c.wanted:
		return true
	default:
		return false
	}
}

// add folds one record into the flush.
func (c *collector) add(ctx context.Context, out *content, r topic.Record, shaping Shaping) error {
	out.messages++
	out.to = r.Offset + 1
	h, err := message.Parse(r.Headers)
	if err != nil {
		out.foreign++
		if !errors.Is(err, message.ErrForeign) {
			// What the headers say of the log is not to be believed either.
			c.undecodable(out, r, warehouse.UndecodableHeaders, message.Header{}, err)
			c.log.Warn("a record of ours has headers that make no sense; it is passed over", "topic", c.topic, "partition", c.partition, "offset", r.Offset, "error", err)
		} else {
			c.log.Warn("a record that is not ours is in the topic; it is passed over", "topic", c.topic, "partition", c.partition, "offset", r.Offset)
		}
		return nil
	}
	after, verdict := out.after.Step(h, r.Offset)
	switch verdict {
	case message.Taken:
		out.after = after
	case message.VoidClaim:
		out.void++
	case message.Gap:
		return &message.GapError{Offset: r.Offset, Got: h.Sequence, Want: out.after.Next, Epoch: h.Epoch, Topic: c.topic, Partition: c.partition, SourceAndStream: h.Source + "/" + h.Stream}
	case message.Repeat, message.Void:
		// Whoever owns the partition has read these rows again, or will.
		out.void++
		l := out.line(account{h.Source, h.Stream, h.Shard, h.Run, c.schemaName(shaping, h)})
		l.Extracted += int64(h.Rows + h.Rejects)
		l.Duplicate += int64(h.Rows + h.Rejects)
		l.VoidMessages++
	case message.Valid:
		if c.only != nil && !c.only[streamKey(h.Source, h.Stream)] {
			out.after = after
			return nil
		}
		if err := c.batch(ctx, out, r, h, shaping); err != nil {
			return fmt.Errorf("%s/%d offset %d: %w", c.topic, c.partition, r.Offset, err)
		}
		out.after = after
	}
	return nil
}

func (c *collector) schemaName(shaping Shaping, h message.Header) string {
	if m, ok := shaping.Program.Stream(h.Source, h.Stream); ok {
		return m.Schema().Name
	}
	return ""
}

// batch maps a valid batch.
func (c *collector) batch(ctx context.Context, out *content, r topic.Record, h message.Header, shaping Shaping) error {
	mapping, known := shaping.Program.Stream(h.Source, h.Stream)
	schema := ""
	version := ""
	if known {
		schema, version = mapping.Schema().Name, mapping.Version()
	}
	a := account{h.Source, h.Stream, h.Shard, h.Run, schema}
	l := out.line(a)
	l.Messages++
	l.Bytes += int64(len(r.Value))
	l.Extracted += int64(h.Rows + h.Rejects)
	l.ExtractedAt = h.ExtractedAt
	l.Mapping = version
	l.Cursor, l.CursorOffset, l.CursorEpoch, l.CursorSequence = h.Cursor, r.Offset, h.Epoch, h.Sequence
	if !known {
		// The project no longer knows this stream: its rows are held until it does (L4).
		l.Held += int64(h.Rows + h.Rejects)
		c.log.Warn("rows of a stream that the project does not know are held", "source", h.Source, "stream", h.Stream, "rows", h.Rows)
		return nil
	}
	o := origin{Header: h, topic: c.topic, partition: c.partition, offset: r.Offset, mapping: version}
	rec, rejects, err := message.Decode(c.mem, h, r.Value)
	if err != nil {
		corrupt, ok := errors.AsType[*message.CorruptError](err)
		if !ok {
			return err
		}
		out.quarantine = append(out.quarantine, c.corruptMessage(o, r, mapping, corrupt))
		c.undecodable(out, r, warehouse.UndecodableValue, h, corrupt)
		l.Quarantined += int64(h.Rows + h.Rejects)
		return nil
	}
	defer func() { rec.Release() }()
	for i, reject := range rejects {
		out.quarantine = append(out.quarantine, c.unreadRow(o, h.Rows+i, reject, mapping))
	}
	l.Quarantined += int64(len(rejects))
	out.yieldOf(h).quarantined += int64(len(rejects))

	if keys := goneOf(rec); keys != nil {
		return c.gone(out, o, rec, keys, mapping, l, a)
	}
	replays, err := replaysOf(rec)
	if err != nil {
		return err
	}
	stay := c.settled[r.Offset]
	if replays == nil && len(stay) == 0 {
		return c.mapped(ctx, out, o, rec, nil, mapping, l, a)
	}
	n := uint32(rec.NumRows())
	keep := make([]uint32, 0, n)
	for i := range n {
		if stay[i] {
			l.Quarantined++
			out.yieldOf(h).quarantined++
			continue
		}
		keep = append(keep, i)
	}
	if replays != nil {
		asked := askedOf(rec)
		open, err := c.warehouse.OpenQuarantine(ctx, replays, warehouse.Range{Topic: c.topic, Partition: int32(c.partition), Incarnation: h.Incarnation, From: r.Offset, To: r.Offset + 1})
		if err != nil {
			return err
		}
		before := len(keep)
		keep = slices.DeleteFunc(keep, func(i uint32) bool {
			id := replays[i]
			if c.closing[id] || out.closing[id] {
				// An earlier copy of the row is on its way, in the flush that lands now or in this one.
				open[id] = false
			}
			if !open[id] {
				return true
			}
			if out.closing == nil {
				out.closing = map[string]bool{}
			}
			out.closing[id] = true
			out.closed = append(out.closed, closure{id: id, by: asked.by(int(i)), why: asked.why(int(i)), to: warehouse.FormatQuarantineID(c.topic, c.partition, h.Incarnation, r.Offset, i)})
			return false
		})
		l.Duplicate += int64(before - len(keep))
	}
	if len(keep) == int(n) {
		return c.mapped(ctx, out, o, rec, nil, mapping, l, a)
	}
	taken, err := takeRows(c.mem, rec, keep)
	if err != nil {
		return err
	}
	rec.Release()
	rec = taken
	return c.mapped(ctx, out, o, rec, keep, mapping, l, a)
}

// mapped applies the mapping to a batch's rows. original gives, for each row of rec, its number in the batch; nil if the same.
func (c *collector) mapped(ctx context.Context, out *content, o origin, rec arrow.Record, original []uint32, mapping *transform.Mapping, l *warehouse.LedgerRow, a account) error {
	result, err := mapping.Apply(ctx, rec, transform.ApplyOptions{ReadAt: o.ExtractedAt})
	if err != nil {
		return fmt.Errorf("map rows of %s/%s: %w", o.Source, o.Stream, err)
	}
	defer result.Release()
	if err := c.onlyMended(rec, result, mapping.Schema()); err != nil {
		return fmt.Errorf("map mended rows of %s/%s: %w", o.Source, o.Stream, err)
	}
	number := func(row uint32) uint32 {
		if original != nil {
			return original[row]
		}
		return row
	}
	res := reserved(rec)
	for _, q := range result.Quarantined {
		out.quarantine = append(out.quarantine, c.brokenRow(o, int(number(q.Row)), q, mapping, res, int(q.Row)))
	}
	l.Quarantined += int64(len(result.Quarantined))
	l.Filtered += int64(len(result.Filtered))
	loaded := int64(0)
	last := int64(-1)
	for _, row := range result.Row {
		if int64(row) != last {
			loaded++
			last = int64(row)
		}
	}
	l.Loaded += loaded
	l.Records += result.Records.NumRows()
	for _, f := range result.Flags {
		if len(f) > 0 {
			l.Warnings++
		}
	}
	y := out.yieldOf(o.Header)
	y.loaded += loaded
	y.quarantined += int64(len(result.Quarantined))
	p := out.part(mapping.Schema())
	if !slices.Contains(p.accounts, a) {
		p.accounts = append(p.accounts, a)
	}
	if o.Replaces {
		out.replaced = append(out.replaced, replacement{
			table: mapping.Schema().Name, source: o.Source, stream: o.Stream, shard: o.Shard,
			before: o.ExtractedAt, offset: o.offset, index: uint32((o.Rows + o.Rejects) * mapping.FanOut()), origin: o, account: a, yield: y,
		})
	}
	if result.Records.NumRows() == 0 {
		return nil
	}
	per := perRow{version: result.Version, deleted: result.Deleted, flags: result.Flags}
	n := int(result.Records.NumRows())
	per.index = indexOf(result.Row, uint32(mapping.FanOut()), number)
	per.identity = mapping.FanOut() == 1 && original == nil && n == int(rec.NumRows())
	res.fill(&per, result.Row)
	if mended := mendedOf(rec); mended != nil {
		per.version = make([]uint64, n)
		for i, row := range result.Row {
			per.version[i] = mended[row]
		}
	}
	c.take(out, p, o, result.Records, per)
	return nil
}

// take adds records of one batch to what the flush brings to a table.
func (c *collector) take(out *content, p *part, o origin, records arrow.Record, per perRow) {
	full := withLineage(c.mem, records, o, per, &out.shared)
	n := int(records.NumRows())
	p.records = append(p.records, full)
	p.rows += n
	sum := p.expected[o.offset]
	sum.Rows += n
	for _, i := range per.index {
		sum.IndexSum += uint64(i)
	}
	p.expected[o.offset] = sum
	out.records += n
	out.bytes += out.shared.bytes(full)
}

// indexOf numbers records within their batch: by their row where a row makes one record, else by row times fan-out plus the
// record's number among those of its row, so that the row can be told from the index.
func indexOf(rows []uint32, fanOut uint32, number func(uint32) uint32) []uint32 {
	out := make([]uint32, len(rows))
	nth := uint32(0)
	for i, row := range rows {
		if i > 0 && rows[i-1] == row {
			nth++
		} else {
			nth = 0
		}
		out[i] = number(row)*fanOut + nth
	}
	return out
}

// columnQuarantine marks rows of a replay: the id of the quarantined row that each one was.
const (
	columnQuarantine = "_quarantine"
	columnShard      = "_shard"
	columnPlace      = "_place"
	columnExtracted  = "_extracted_at"
	columnBy         = "_status_by"
	columnWhy        = "_status_why"
)

// asked says who asked for the replay of each row. Batches of older programs do not say.
type asked struct{ who, words *array.String }

func askedOf(rec arrow.Record) asked {
	text := func(name string) *array.String {
		for _, i := range rec.Schema().FieldIndices(name) {
			if a, ok := rec.Column(i).(*array.String); ok {
				return a
			}
		}
		return nil
	}
	return asked{text(columnBy), text(columnWhy)}
}

func (a asked) by(row int) string  { return textAt(a.who, row) }
func (a asked) why(row int) string { return textAt(a.words, row) }

func textAt(a *array.String, row int) string {
	if a == nil || a.IsNull(row) {
		return ""
	}
	return strings.Clone(a.Value(row)) // the record's memory goes before the flush is recorded
}

func replaysOf(rec arrow.Record) ([]string, error) {
	i := rec.Schema().FieldIndices(columnQuarantine)
	if len(i) == 0 {
		return nil, nil
	}
	a, ok := rec.Column(i[0]).(*array.String)
	if !ok {
		return nil, fmt.Errorf("column %s is no text", columnQuarantine)
	}
	out := make([]string, a.Len())
	for j := range out {
		out[j] = a.Value(j)
	}
	return out, nil
}

// reservedColumns are what a batch says of its single rows.
type reservedColumns struct {
	row, extracted *array.Int64
	shard, place   *array.String
}

func reserved(rec arrow.Record) reservedColumns {
	var r reservedColumns
	for i, f := range rec.Schema().Fields() {
		switch f.Name {
		case connectors.ColumnRow:
			r.row, _ = rec.Column(i).(*array.Int64)
		case columnExtracted:
			r.extracted, _ = rec.Column(i).(*array.Int64)
		case columnShard:
			r.shard, _ = rec.Column(i).(*array.String)
		case columnPlace:
			r.place, _ = rec.Column(i).(*array.String)
		}
	}
	return r
}

func (r reservedColumns) fill(p *perRow, rows []uint32) {
	switch {
	case r.row != nil && p.identity && r.row.NullN() == 0 && slices.Min(r.row.Int64Values()) >= 0:
		p.rowsAs = r.row
	case r.row != nil:
		values := r.row.Int64Values()
		p.row = make([]uint64, len(rows))
		for i, row := range rows {
			p.row[i] = clampVersion(values[row])
		}
	}
	if r.extracted != nil {
		p.micros = make([]int64, len(rows))
		for i, row := range rows {
			p.micros[i] = r.extracted.Value(int(row))
		}
	}
	if r.shard != nil {
		p.shard = texts(r.shard, rows)
	}
	if r.place != nil {
		p.place = texts(r.place, rows)
	}
}

func texts(a *array.String, rows []uint32) []string {
	out := make([]string, len(rows))
	for i, row := range rows {
		out[i] = a.Value(int(row))
	}
	return out
}

// takeRows copies the named rows of a record.
func takeRows(mem memory.Allocator, rec arrow.Record, rows []uint32) (arrow.Record, error) {
	columns := make([]arrow.Array, rec.NumCols())
	defer func() {
		for _, c := range columns {
			if c != nil {
				c.Release()
			}
		}
	}()
	for i, c := range rec.Columns() {
		if len(rows) == 0 {
			columns[i] = array.MakeArrayOfNull(mem, c.DataType(), 0)
			continue
		}
		var pieces []arrow.Array
		for start := 0; start < len(rows); {
			end := start + 1
			for end < len(rows) && rows[end] == rows[end-1]+1 {
				end++
			}
			pieces = append(pieces, array.NewSlice(c, int64(rows[start]), int64(rows[end-1])+1))
			start = end
		}
		joined, err := array.Concatenate(pieces, mem)
		for _, p := range pieces {
			p.Release()
		}
		if err != nil {
			return nil, fmt.Errorf("take rows of column %q: %w", rec.ColumnName(i), err)
		}
		columns[i] = joined
	}
	return array.NewRecord(rec.Schema(), columns, int64(len(rows))), nil
}
