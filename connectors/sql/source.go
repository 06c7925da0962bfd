// Package sql holds the connectors for databases: PostgreSQL, MariaDB (and MySQL by the same code) and SQLite. What differs between
// them is behind the interfaces in dialect.go.
//
// A stream is a table, a view or a query. Without a watermark each reading is of the whole table and replaces what was read before;
// it is left out while a checksum, computed by the database in the same snapshot, says that nothing has changed. With a watermark a
// reading is of the rows that have changed since, up to a bound that is fixed when it begins.
//
// Rows are read in the order of a key, in statements that each begin after the last row (never with OFFSET), inside one read-only
// transaction that sees one state of the database. A reading that was interrupted goes on after the last row that was written, in a
// new transaction. What changed in between before that row is found by the next reading, which compares with the checksum of the
// first transaction.
//
// Types come from the database's catalogue. A value that the column's type cannot hold in Arrow (NaN in a decimal, an infinite date)
// puts its row into the quarantine; nothing is rounded, cut or made null.
package sql

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/internal/fault"
)

var (
	_ connectors.Source  = (*Source)(nil)
	_ connectors.Sharder = (*Source)(nil)
	_ connectors.Counter = (*Source)(nil)
	_ connectors.Peeker  = (*Source)(nil)
)

// Source reads one database.
type Source struct {
	env     connectors.Environment
	dialect dialect
	streams map[string]*Options
	limits  Limits
	hours   hours
	rate    *rate.Limiter
	slots   chan struct{} // one for each connection in use
	pairs   chan struct{} // held by who takes two of them

	mu     sync.Mutex
	counts map[connectors.Stream]int64 // of the contents read last
	told   map[string]bool             // what has been logged once
	warned map[string]time.Time        // streams, and when their backlog was last warned of
}

func newSource(env connectors.Environment, d dialect, limits Limits, streams map[string]any) (*Source, error) {
	s := &Source{env: env, dialect: d, limits: limits, streams: map[string]*Options{}, counts: map[connectors.Stream]int64{}, told: map[string]bool{}, warned: map[string]time.Time{}, pairs: make(chan struct{}, 1)}
	for name, o := range streams {
		options, ok := o.(*Options)
		if !ok {
			return nil, fmt.Errorf("stream %s: options are %T, not *sql.Options", name, o)
		}
		s.streams[name] = options
	}
	s.slots = make(chan struct{}, cmp.Or(limits.Connections, defaultConnections))
	if limits.RowsPerSecond > 0 {
		s.rate = rate.NewLimiter(rate.Limit(limits.RowsPerSecond), max(1, limits.RowsPerSecond/10))
	}
	var err error
	s.hours, err = parseHours(limits.Hours, limits.Zone)
	return s, err
}

// Streams lists the configured streams by name.
func (s *Source) Streams(ctx context.Context) ([]connectors.Stream, error) {
	var out []connectors.Stream
	for _, name := range slices.Sorted(maps.Keys(s.streams)) {
		out = append(out, connectors.Stream{Name: name})
	}
	return out, ctx.Err()
}

// Close has nothing to release: connections live as long as a reading.
func (s *Source) Close() error { return nil }

// connected runs f with a connection, of which there are no more than the limit at a time, inside a transaction.
func (s *Source) connected(ctx context.Context, f func(session) error) error {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.slots }()
	c, err := s.dialect.connect(ctx)
	if err != nil {
		return s.explained(ctx, err)
	}
	defer c.close()
	if err := c.begin(ctx); err != nil {
		return s.explained(ctx, err)
	}
	return s.explained(ctx, f(c))
}

// explained sorts an error by what should be done about it.
func (s *Source) explained(ctx context.Context, err error) error {
	if err == nil || errors.Is(err, errStopped) {
		return err
	}
	if ctx.Err() != nil { // drivers have words of their own for it
		return ctx.Err()
	}
	return s.dialect.fail(err)
}

func (s *Source) options(stream string) (*Options, error) {
	if o, ok := s.streams[stream]; ok {
		return o, nil
	}
	return nil, connectors.Permanent(fmt.Errorf("no stream %q", stream))
}

// Shards lists the ranges of a split table, else the stream itself. The names hold the bounds, so that a shard is the same range
// in every run.
func (s *Source) Shards(ctx context.Context, stream string) ([]connectors.Stream, error) {
	o, err := s.options(stream)
	if err != nil {
		return nil, err
	}
	if o.Split == nil {
		return []connectors.Stream{{Name: stream}}, ctx.Err()
	}
	if o.Split.Width == 0 {
		var out []connectors.Stream
		for i := range len(o.Split.At) + 1 {
			out = append(out, connectors.Stream{Name: stream, Shard: o.Split.at(i)})
		}
		return out, ctx.Err()
	}
	var out []connectors.Stream
	err = s.connected(ctx, func(c session) error {
		t, err := s.inspect(ctx, c, o)
		if err != nil {
			return err
		}
		if f := t.field(t.splitBy); f.kind != kindInt && f.kind != kindUint {
			return fault.Usage(fmt.Errorf("split.width: the column %s is %s, not a whole number: use split.at", t.splitBy, f.declared))
		}
		q := t.selecting("min(" + s.dialect.quote(t.splitBy) + "), max(" + s.dialect.quote(t.splitBy) + ")")
		bounds, err := one(ctx, c, q)
		if err != nil {
			return err
		}
		if bounds[0] == nil { // an empty table
			return nil
		}
		low, errLow := strconv.ParseInt(bounds[0].Text, 10, 64)
		high, errHigh := strconv.ParseInt(bounds[1].Text, 10, 64)
		if errLow != nil || errHigh != nil {
			return fault.Usage(fmt.Errorf("split.width: values of %s reach from %s to %s, beyond 64 bits: use split.at", t.splitBy, bounds[0].Text, bounds[1].Text))
		}
		first, last := floorDiv(low, o.Split.Width), floorDiv(high, o.Split.Width)
		if last-first >= maxShards || last-first < 0 {
			return fault.Usage(fmt.Errorf("split.width: values of %s reach from %d to %d, which makes more than %d shards of %d: use a larger width", t.splitBy, low, high, maxShards, o.Split.Width))
		}
		for n := first; n <= last; n++ {
			out = append(out, connectors.Stream{Name: stream, Shard: fmt.Sprintf("%d+%d", n*o.Split.Width, o.Split.Width)})
		}
		return nil
	})
	if err == nil && len(out) == 0 {
		// Something must be read for the emptiness to arrive.
		out = []connectors.Stream{{Name: stream, Shard: fmt.Sprintf("0+%d", o.Split.Width)}}
	}
	return out, err
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// at names the ith range of the given bounds.
func (p *Split) at(i int) string {
	text := func(v any) string {
		t, err := paramText(v)
		if err != nil {
			panic(err) // checked with the options
		}
		return t
	}
	switch {
	case i == 0:
		return "<" + text(p.At[0])
	case i == len(p.At):
		return ">=" + text(p.At[i-1])
	}
	return text(p.At[i-1]) + ".." + text(p.At[i])
}

var stripe = regexp.MustCompile(`^(-?\d+)\+(\d+)$`)

// bounds returns the range [low, high) that a shard's name says; nil is without a bound.
func (p *Split) bounds(shard string) (low, high *value, err error) {
	unknown := connectors.Permanent(fmt.Errorf("no shard %q: the stream is split otherwise", shard))
	if p == nil {
		if shard != "" {
			return nil, nil, unknown
		}
		return nil, nil, nil
	}
	if p.Width > 0 {
		m := stripe.FindStringSubmatch(shard)
		if m == nil || m[2] != strconv.FormatInt(p.Width, 10) {
			return nil, nil, unknown
		}
		from, err := strconv.ParseInt(m[1], 10, 64)
		if err != nil {
			return nil, nil, unknown
		}
		low = &value{kindInt, m[1]}
		if from <= math.MaxInt64-p.Width {
			high = &value{kindInt, strconv.FormatInt(from+p.Width, 10)}
		}
		return low, high, nil
	}
	for i := range len(p.At) + 1 {
		if p.at(i) != shard {
			continue
		}
		if i > 0 {
			v, err := toValue(p.At[i-1])
			if err != nil {
				return nil, nil, err
			}
			low = &v
		}
		if i < len(p.At) {
			v, err := toValue(p.At[i])
			if err != nil {
				return nil, nil, err
			}
			high = &v
		}
		return low, high, nil
	}
	return nil, nil, unknown
}

// table is what a stream reads, as the catalogue describes it now.
type table struct {
	s        *Source
	o        *Options
	fields   []field
	names    []string // of the batch's columns
	key      []string // empty: without one
	checked  bool     // the key is one of the catalogue's
	position *position
	splitBy  string
	low      *value
	high     *value
	deleted  int // index of the column that marks deleted rows, or -1
}

func (t *table) field(name string) field {
	for _, f := range t.fields {
		if f.name == name {
			return f
		}
	}
	return field{}
}

// inspect asks the catalogue.
func (s *Source) inspect(ctx context.Context, c session, o *Options) (*table, error) {
	t := &table{s: s, o: o, deleted: -1}
	if l, ok := c.(learner); ok && o.Table != "" {
		if err := l.learn(ctx, o.Table); err != nil {
			return nil, err
		}
	}
	q := &clause{d: s.dialect}
	q.add("SELECT * FROM ")
	if err := t.from(q); err != nil {
		return nil, err
	}
	q.add(" WHERE 1 = 0")
	all, err := describe(ctx, c, q)
	if err != nil {
		return nil, err
	}
	find := func(what, name string) (field, error) {
		for _, f := range all {
			if f.name == name {
				return f, nil
			}
		}
		known := make([]string, 0, len(all))
		for _, f := range all {
			known = append(known, f.name)
		}
		return field{}, connectors.Permanent(fmt.Errorf("%s names the column %q, which %s does not have; it has: %s", what, name, t.place(), strings.Join(known, ", ")))
	}
	t.fields = all
	if len(o.Columns) > 0 {
		t.fields = nil
		for _, name := range o.Columns {
			f, err := find("columns", name)
			if err != nil {
				return nil, err
			}
			t.fields = append(t.fields, f)
		}
	}
	// Columns that reading needs are read even when they are not among those that are wanted: they are delivered, too.
	need := func(what, name string) error {
		f, err := find(what, name)
		if err == nil && !slices.ContainsFunc(t.fields, func(g field) bool { return g.name == name }) {
			t.fields = append(t.fields, f)
		}
		return err
	}
	if err := t.findKey(ctx, c, find); err != nil {
		return nil, err
	}
	for _, name := range t.key {
		if t.position == nil || name != t.position.column {
			if err := need("key", name); err != nil {
				return nil, err
			}
		}
	}
	if o.Watermark != "" {
		if err := need("watermark", o.Watermark); err != nil {
			return nil, err
		}
		f := t.field(o.Watermark)
		if !f.ordered {
			return nil, fault.Usage(fmt.Errorf("watermark: the column %s is %s, which cannot be compared exactly: use a time or a whole number", o.Watermark, f.declared))
		}
		if len(t.key) == 0 {
			return nil, fault.Usage(fmt.Errorf("watermark: %s has no key that tells rows with the same watermark apart: name one with key", t.place()))
		}
	}
	if o.Deleted != "" {
		if err := need("deleted", o.Deleted); err != nil {
			return nil, err
		}
		t.deleted = slices.IndexFunc(t.fields, func(f field) bool { return f.name == o.Deleted })
	}
	if o.Split != nil {
		if t.splitBy = o.Split.By; t.splitBy == "" {
			if len(t.key) == 0 || t.position != nil {
				return nil, fault.Usage(fmt.Errorf("split: %s has no key whose first column could be cut: name a column with by", t.place()))
			}
			t.splitBy = t.key[0]
		}
		if err := need("split.by", t.splitBy); err != nil {
			return nil, err
		}
	}
	t.names = columnNames(t.fields)
	return t, nil
}

// findKey decides by what rows are ordered.
func (t *table) findKey(ctx context.Context, c session, find func(what, name string) (field, error)) error {
	var keys [][]string
	if t.o.Table != "" {
		var err error
		if keys, err = c.keys(ctx, t.o.Table); err != nil {
			return err
		}
	}
	usable := func(key []string) bool {
		return !slices.ContainsFunc(key, func(name string) bool {
			f, err := find("key", name)
			return err != nil || !f.ordered
		})
	}
	if len(t.o.Key) > 0 {
		for _, name := range t.o.Key {
			f, err := find("key", name)
			if err != nil {
				return err
			}
			if !f.ordered {
				return fault.Usage(fmt.Errorf("key: the column %s is %s, which cannot be compared exactly", name, f.declared))
			}
		}
		t.key = t.o.Key
		// A key of the catalogue's, and everything that holds one, tells rows apart.
		t.checked = slices.ContainsFunc(keys, func(known []string) bool {
			return !slices.ContainsFunc(known, func(name string) bool { return !slices.Contains(t.key, name) })
		})
		return nil
	}
	for _, key := range keys {
		if usable(key) {
			t.key, t.checked = key, true
			return nil
		}
	}
	if t.o.Table == "" {
		return nil
	}
	var err error
	if t.position, err = c.position(ctx, t.o.Table); err != nil || t.position == nil {
		return err
	}
	if t.position.column != "" {
		t.key, t.checked = []string{t.position.column}, true
	}
	return nil
}

// place names what is read, for people.
func (t *table) place() string {
	if t.o.Table != "" {
		return t.o.Table
	}
	return "the query"
}

func (t *table) from(q *clause) error {
	if t.o.Table == "" {
		q.add("(")
		if err := q.written(t.o.Query, t.o.Params); err != nil {
			return err
		}
		q.add(") AS headwater_query")
		return nil
	}
	for i, part := range strings.Split(t.o.Table, ".") {
		if i > 0 {
			q.add(".")
		}
		q.add(q.d.quote(part))
	}
	return nil
}

// selecting begins a statement over the rows of the shard; conditions may follow, each after AND.
func (t *table) selecting(list string) *clause {
	q := &clause{d: t.s.dialect}
	q.add("SELECT " + list + " FROM ")
	if err := t.from(q); err != nil {
		panic(err) // it was checked with the options
	}
	q.add(" WHERE 1 = 1")
	if t.o.Where != "" {
		q.add(" AND (")
		if err := q.written(t.o.Where, t.o.Params); err != nil {
			panic(err)
		}
		q.add(")")
	}
	if t.low != nil {
		q.add(" AND " + q.d.quote(t.splitBy) + " >= ")
		q.value(t.bound(t.low))
	}
	if t.high != nil {
		q.add(" AND " + q.d.quote(t.splitBy) + " < ")
		q.value(t.bound(t.high))
	}
	return q
}

// bound gives a bound of the configuration the kind of its column.
func (t *table) bound(v *value) value {
	return value{t.field(t.splitBy).kind, v.Text}
}

// list is the columns of a statement.
func (t *table) list(c session) string {
	var b strings.Builder
	for i, f := range t.fields {
		if i > 0 {
			b.WriteString(", ")
		}
		name := t.s.dialect.quote(f.name)
		if e, alias := c.selected(f); e != "" {
			name = e + " AS " + t.s.dialect.quote(alias)
		}
		b.WriteString(name)
	}
	return b.String()
}

// describe returns the columns of a statement's result.
func describe(ctx context.Context, c session, q *clause) ([]field, error) {
	r, err := c.query(ctx, q.text.String(), q.args)
	if err != nil {
		return nil, err
	}
	fields := slices.Clone(r.fields())
	for r.next() { // nothing: the error comes with the end
	}
	return fields, r.close()
}

// one returns the values of a statement's only row; nil stands for null.
func one(ctx context.Context, c session, q *clause) ([]*value, error) {
	r, err := c.query(ctx, q.text.String(), q.args)
	if err != nil {
		return nil, err
	}
	var out []*value
	if r.next() {
		for i := range r.fields() {
			if v, ok := r.value(i); ok {
				out = append(out, &v)
			} else {
				out = append(out, nil)
			}
		}
		for r.next() { // the end of the row's message
		}
	}
	if err := r.close(); err != nil {
		return nil, err
	}
	if out == nil {
		return nil, errNoRow
	}
	return out, nil
}

var errNoRow = errors.New("the database gave no row where one was expected")

// columnNames makes the system's names fit for a batch.
func columnNames(fields []field) []string {
	taken := map[string]bool{}
	names := make([]string, len(fields))
	for i, f := range fields {
		bare := strings.TrimLeft(f.name, "_")
		name := bare + f.name[:len(f.name)-len(bare)]
		if bare == "" {
			name = fmt.Sprintf("column_%d", i+1)
		}
		unique := name
		for n := 2; taken[unique]; n++ {
			unique = fmt.Sprintf("%s_%d", name, n)
		}
		taken[unique], names[i] = true, unique
	}
	return names
}

// Count returns how many rows the content has that was read last, counted in its snapshot; before any reading, how many there are
// now. Streams with a watermark have no content that could be counted.
func (s *Source) Count(ctx context.Context, shard connectors.Stream) (int64, error) {
	o, err := s.options(shard.Name)
	if err != nil {
		return 0, err
	}
	if o.Watermark != "" || o.Changes != nil {
		return 0, errors.ErrUnsupported
	}
	s.mu.Lock()
	n, ok := s.counts[shard]
	s.mu.Unlock()
	if ok {
		if n < 0 {
			return 0, errors.ErrUnsupported
		}
		return n, nil
	}
	err = s.connected(ctx, func(c session) error {
		t, err := s.inspect(ctx, c, o)
		if err != nil {
			return err
		}
		if t.low, t.high, err = o.Split.bounds(shard.Shard); err != nil {
			return err
		}
		got, err := one(ctx, c, t.selecting("count(*)"))
		if err != nil {
			return err
		}
		n, err = got[0].int()
		return err
	})
	return n, err
}

// counted notes how many rows a content has; -1 when it is not known.
func (s *Source) counted(shard connectors.Stream, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[shard] = n
}

// say logs something once for as long as the source is open.
func (s *Source) say(message string, args ...any) {
	key := message + fmt.Sprint(args...)
	s.mu.Lock()
	told := s.told[key]
	s.told[key] = true
	s.mu.Unlock()
	if !told {
		s.env.Logger.Info(message, args...)
	}
}

// errStopped says that the caller wants no more batches.
var errStopped = errors.New("stopped by the caller")

// Read yields what follows the cursor, as the contract says.
func (s *Source) Read(ctx context.Context, shard connectors.Stream, after connectors.Cursor) iter.Seq2[connectors.Batch, error] {
	o, err := s.options(shard.Name)
	return s.batches(ctx, shard, o, err, after)
}

// Peek yields the rows that are there now. Of a stream whose changes are followed it reads the table, without slot or log.
func (s *Source) Peek(ctx context.Context, shard connectors.Stream, after connectors.Cursor) iter.Seq2[connectors.Batch, error] {
	o, err := s.options(shard.Name)
	if err == nil && o.Changes != nil {
		plain := *o
		plain.Changes, plain.Unchanged = nil, "read"
		o = &plain
	}
	return s.batches(ctx, shard, o, err, after)
}

func (s *Source) batches(ctx context.Context, shard connectors.Stream, o *Options, err error, after connectors.Cursor) iter.Seq2[connectors.Batch, error] {
	return yielded(err, func(yield func(connectors.Batch) bool) error { return s.read(ctx, shard, o, after, yield) })
}

// yielded makes a sequence of what read gives.
func yielded(err error, read func(yield func(connectors.Batch) bool) error) iter.Seq2[connectors.Batch, error] {
	return func(yield func(connectors.Batch, error) bool) {
		if err == nil {
			err = read(func(b connectors.Batch) bool { return yield(b, nil) })
		}
		if err != nil && !errors.Is(err, errStopped) {
			yield(connectors.Batch{}, err)
		}
	}
}

func (s *Source) read(ctx context.Context, shard connectors.Stream, o *Options, after connectors.Cursor, yield func(connectors.Batch) bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if o.Changes != nil {
		return s.follow(ctx, shard, o, after, nil, yield)
	}
	low, high, err := o.Split.bounds(shard.Shard)
	if err != nil {
		return err
	}
	old, err := decodeCursor(after)
	if err != nil {
		return connectors.Permanent(fmt.Errorf("%s: %w", shard, err))
	}
	if !s.hours.open(s.env.Now()) {
		s.counted(shard, -1)
		s.env.Logger.Info("the stream is left for later: it is not the time of day for it", "stream", shard.String(), "hours", s.limits.Hours)
		return nil
	}
	if o.Watermark == "" && old != nil && old.Done && o.FullEvery > 0 && s.env.Now().Sub(time.UnixMicro(old.FullAt)) < o.FullEvery {
		s.counted(shard, old.Count)
		return nil
	}
	return s.connected(ctx, func(c session) error {
		t, err := s.inspect(ctx, c, o)
		if err != nil {
			return err
		}
		t.low, t.high = low, high
		r := &reading{s: s, c: c, t: t, shard: shard, yield: yield}
		if r.at, err = r.plan(ctx, old); err != nil || r.at == nil {
			return err
		}
		return r.run(ctx)
	})
}
