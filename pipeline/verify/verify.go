// Package verify compares what a source has with what the warehouse shows of it, without believing what either has written
// down about the other: no ledger, no cursor, no checkpoint. The source is read again from its beginning and mapped as in
// earnest; the warehouse adds up hashes of the rows that whoever reads its tables sees.
//
// Both sides add up by bucket of the business key and by day. Where a bucket differs it is cut into finer ones, and of those
// that differ the keys are compared one by one. Memory goes by the number of buckets and by what is compared at a time, never
// by the size of source or table.
//
// What the lineage columns say is used for names only: whose a row is, and whether the shard that brought it is still there.
package verify

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/headwater-data/headwater/schemas"
	"github.com/headwater-data/headwater/warehouse"
)

// Warehouse is what verifying asks of the warehouse.
type Warehouse interface {
	Sums(ctx context.Context, c warehouse.Comparison, b warehouse.Buckets, bits uint, inside [2]int32) (map[uint64]warehouse.Sum, map[uint64]uint64, map[int32]warehouse.Sum, error)
	CurrentRows(ctx context.Context, c warehouse.Comparison, b warehouse.Buckets, which warehouse.Which) iter.Seq2[warehouse.CurrentRow, error]
	KeyRanges(ctx context.Context, c warehouse.Comparison, n int) ([]string, error)
	QuarantineCount(ctx context.Context, source, stream string) (open, all int64, err error)
}

// Options say what is compared.
type Options struct {
	Source    string
	Streams   []*Stream
	Scanner   *Scanner
	Warehouse Warehouse
	// From and To bound the days that are compared, both inclusive; zero means no bound. Only tables with a time field can be
	// bounded.
	From, To time.Time
	// Found is told of every difference, in no order. It may be nil.
	Found func(Difference)

	// How finely is cut and how much is compared at a time; zero means the defaults. Tests make them small.
	Bits, Finer uint
	Budget      uint64
	Groups      int
}

// The defaults. 2^14 buckets of 16 bytes on either side; 250,000 keys at a time take some 60 MB.
const (
	defaultBits   = 14
	defaultFiner  = 8
	defaultBudget = 250_000
	defaultGroups = 32
	// mostBuckets bounds the numbers that a statement names.
	mostBuckets = 1 << 14
	// mostFine bounds how many finer buckets there are at a time.
	mostFine = 1 << 20
	ranges   = 64
)

// Kind says how a key differs.
type Kind string

// The kinds of differences.
const (
	Missing   Kind = "missing"   // the source has it, the warehouse does not
	Extra     Kind = "extra"     // the warehouse has it, the source does not
	Different Kind = "different" // both have it, with other values
)

// Difference is a key that differs.
type Difference struct {
	Kind    Kind
	Table   string
	Stream  string
	Shard   string
	Place   string // in the source, where it has the key
	Row     uint64
	Segment int32
	Key     string // canonical
	KeyHash warehouse.KeyHash
	Hash    uint64 // of the source's record, unless the key is extra
	// Version is above what the warehouse has; 0 when it has nothing. SourceVersion is the record's own place in the source's
	// order, where it says one.
	Version       uint64
	SourceVersion uint64
}

// Segment is a day, or a range of keys, on which the sums of both sides differ.
type Segment struct {
	Number            int32
	Source, Warehouse uint64 // rows
}

// Table says how one table compares with the streams that go into it.
type Table struct {
	Schema    *schemas.Schema
	Streams   []string
	ByDay     bool
	Ranges    []string // where not by day: where ranges begin
	Segments  int      // days or ranges that were compared
	Differing []Segment

	Source      int64 // records that the source's good rows became
	Warehouse   int64 // current rows of the source
	Quarantined int64 // rows of the source that break a rule as it is mapped now
	Filtered    int64
	Unaccounted int64 // of the quarantined ones, how many more than the quarantine has

	Missing, Extra, Different int64

	Repeated   int64 // records of keys that the source has more than once, beyond the one that counts
	Superseded int64 // keys of which another source has the newest row
	Kept       int64 // rows of the warehouse that the source no longer has and that stay: their file or shard is gone, or on_change is merge
	Repaired   int64 // rows of the warehouse whose row in the source is bad: repaired in quarantine, or broken by a rule that came later

	Unresolved int64 // rows in buckets that differ and were not looked into, as too much differs
	Passes     int   // how often the source was read
}

// Equal reports whether nothing differs.
func (t *Table) Equal() bool {
	return t.Missing+t.Extra+t.Different+t.Unaccounted+t.Unresolved == 0
}

// Run compares the source's tables, one after the other.
func Run(ctx context.Context, o Options) ([]*Table, error) {
	if o.Bits == 0 {
		o.Bits = defaultBits
	}
	if o.Finer == 0 {
		o.Finer = defaultFiner
	}
	if o.Budget == 0 {
		o.Budget = defaultBudget
	}
	if o.Groups == 0 {
		o.Groups = defaultGroups
	}
	var units []*unit
	for _, s := range o.Streams {
		schema := s.Mapping.Schema()
		i := slices.IndexFunc(units, func(u *unit) bool { return u.schema.Name == schema.Name })
		if i < 0 {
			i = len(units)
			units = append(units, &unit{Options: o, schema: schema, table: &Table{Schema: schema}})
		}
		units[i].streams = append(units[i].streams, s)
		units[i].table.Streams = append(units[i].table.Streams, s.Name)
	}
	var out []*Table
	for _, u := range units {
		if err := u.run(ctx); err != nil {
			return out, fmt.Errorf("compare %s with %s: %w", o.Source, u.schema.Name, err)
		}
		out = append(out, u.table)
	}
	return out, nil
}

// Recheck compares keys anew and gives those that still differ.
func Recheck(ctx context.Context, o Options, found []Difference) (still []Difference, err error) {
	wanted := map[string]map[warehouse.KeyHash]bool{}
	for _, d := range found {
		if wanted[d.Table] == nil {
			wanted[d.Table] = map[warehouse.KeyHash]bool{}
		}
		wanted[d.Table][d.KeyHash] = true
	}
	if o.Bits == 0 {
		o.Bits = defaultBits
	}
	o.Finer, o.Budget = 0, math.MaxUint64
	for table, keys := range wanted {
		u := &unit{Options: o, table: &Table{}}
		for _, s := range o.Streams {
			if s.Mapping.Schema().Name == table {
				u.schema = s.Mapping.Schema()
				u.streams = append(u.streams, s)
			}
		}
		if u.schema == nil {
			continue
		}
		u.only = keys
		u.Found = func(d Difference) { still = append(still, d) }
		if err := u.prepare(ctx); err != nil {
			return nil, err
		}
		numbers := map[uint64]bool{}
		b := warehouse.Buckets{Bits: 32}
		for k := range keys {
			numbers[b.Of(k)] = true
		}
		for group := range slices.Chunk(slices.Sorted(maps.Keys(numbers)), mostBuckets) {
			if err := u.collect(ctx, warehouse.Buckets{Bits: b.Bits, Numbers: group}); err != nil {
				return nil, fmt.Errorf("compare keys of %s again: %w", table, err)
			}
		}
	}
	return still, nil
}

// unit is one table of the source.
type unit struct {
	Options
	schema   *schemas.Schema
	streams  []*Stream
	table    *Table
	only     map[warehouse.KeyHash]bool // nil for all
	segments *segments
	inside   [2]int32
}

func (u *unit) comparison() warehouse.Comparison {
	return warehouse.Comparison{Schema: u.schema, Source: u.Source, Ranges: u.segments.ranges}
}

func (u *unit) prepare(ctx context.Context) (err error) {
	u.inside = [2]int32{math.MinInt32, math.MaxInt32}
	if u.segments, err = newSegments(u.schema, nil); err != nil {
		return err
	}
	if u.segments.byDay() {
		if !u.From.IsZero() {
			u.inside[0] = dayOf(u.From)
		}
		if !u.To.IsZero() {
			u.inside[1] = dayOf(u.To)
		}
		return nil
	}
	u.segments.ranges, err = u.Options.Warehouse.KeyRanges(ctx, u.comparison(), ranges)
	return err
}

// dayOf is the day of a date, whatever its zone.
func dayOf(t time.Time) int32 {
	y, m, d := t.Date()
	return int32(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / 86400)
}

func (u *unit) in(segment int32) bool { return segment >= u.inside[0] && segment <= u.inside[1] }

// sums is what the source has in each bucket.
type sums struct {
	rows   map[uint64]uint64 // all
	inside map[uint64]warehouse.Sum
}

func (u *unit) run(ctx context.Context) error {
	if err := u.prepare(ctx); err != nil {
		return err
	}
	t := u.table
	t.ByDay, t.Ranges = u.segments.byDay(), u.segments.ranges
	all := warehouse.Buckets{Bits: u.Bits}
	theirs, theirRows, theirSegments, err := u.Options.Warehouse.Sums(ctx, u.comparison(), warehouse.Buckets{}, u.Bits, u.inside)
	if err != nil {
		return err
	}
	mySegments := map[int32]warehouse.Sum{}
	mine, err := u.add(ctx, warehouse.Buckets{}, all, mySegments, true)
	if err != nil {
		return err
	}
	for _, s := range theirs {
		t.Warehouse += int64(s.Rows)
	}
	for _, s := range mine.inside {
		t.Source += int64(s.Rows)
	}
	u.compareSegments(mySegments, theirSegments)
	if err := u.quarantine(ctx); err != nil {
		return err
	}

	differing, rows := differ(mine, theirs, theirRows)
	if total(rows) > u.Budget && uint64(len(differing))<<u.Finer <= mostFine && len(differing) <= mostBuckets && u.Bits+u.Finer <= 63 {
		within, finer := warehouse.Buckets{Bits: u.Bits, Numbers: differing}, warehouse.Buckets{Bits: u.Bits + u.Finer}
		if theirs, theirRows, _, err = u.Options.Warehouse.Sums(ctx, u.comparison(), within, finer.Bits, u.inside); err != nil {
			return err
		}
		if mine, err = u.add(ctx, within, finer, nil, false); err != nil {
			return err
		}
		all = finer
		differing, rows = differ(mine, theirs, theirRows)
	}
	groups := 0
	for len(differing) > 0 {
		n, sum := 0, uint64(0)
		for n < len(differing) && n < mostBuckets && (n == 0 || sum+rows[differing[n]] <= u.Budget) {
			sum += rows[differing[n]]
			n++
		}
		if groups == u.Groups {
			for _, b := range differing {
				t.Unresolved += int64(rows[b])
			}
			return nil
		}
		if err := u.collect(ctx, warehouse.Buckets{Bits: all.Bits, Numbers: differing[:n]}); err != nil {
			return err
		}
		differing = differing[n:]
		groups++
	}
	return nil
}

func total(rows map[uint64]uint64) uint64 {
	n := uint64(0)
	for _, r := range rows {
		n += r
	}
	return n
}

// differ lists the buckets whose sums differ, ascending, and how many rows each has on the side that has more.
func differ(mine sums, theirs map[uint64]warehouse.Sum, theirRows map[uint64]uint64) (buckets []uint64, rows map[uint64]uint64) {
	rows = map[uint64]uint64{}
	note := func(b uint64) {
		if _, ok := rows[b]; !ok && mine.inside[b] != theirs[b] {
			rows[b] = max(mine.rows[b], theirRows[b])
		}
	}
	for b := range mine.rows {
		note(b)
	}
	for b := range theirs {
		note(b)
	}
	return slices.Sorted(maps.Keys(rows)), rows
}

// add reads the source and adds up what it has in the buckets, as finely as by says.
func (u *unit) add(ctx context.Context, within, by warehouse.Buckets, bySegment map[int32]warehouse.Sum, count bool) (sums, error) {
	out := sums{rows: map[uint64]uint64{}, inside: map[uint64]warehouse.Sum{}}
	chosen := bucketSet(within)
	u.table.Passes++
	err := u.Scanner.Scan(ctx, u.streams, func(b *Batch) (bool, error) {
		if count {
			u.table.Quarantined += int64(len(b.Rejects) + len(b.Result.Quarantined))
			u.table.Filtered += int64(len(b.Result.Filtered))
		}
		for i := range b.Records() {
			if b.Result.Deleted != nil && b.Result.Deleted[i] {
				continue
			}
			key := b.Key(i)
			hash := warehouse.HashKey(key)
			if chosen != nil && !chosen[within.Of(hash)] {
				continue
			}
			bucket := by.Of(hash)
			out.rows[bucket]++
			segment := u.segments.of(b.Result.Records, i, key)
			if !u.in(segment) {
				continue
			}
			row := b.Hash(i)
			s := out.inside[bucket]
			s.Add(row)
			out.inside[bucket] = s
			if bySegment != nil {
				s := bySegment[segment]
				s.Add(row)
				bySegment[segment] = s
			}
		}
		return true, nil
	})
	return out, err
}

// bucketSet is nil when all buckets are meant.
func bucketSet(b warehouse.Buckets) map[uint64]bool {
	if b.Numbers == nil {
		return nil
	}
	out := make(map[uint64]bool, len(b.Numbers))
	for _, n := range b.Numbers {
		out[n] = true
	}
	return out
}

func (u *unit) compareSegments(mine, theirs map[int32]warehouse.Sum) {
	t := u.table
	seen := map[int32]bool{}
	for _, side := range []map[int32]warehouse.Sum{mine, theirs} {
		for n := range side {
			if seen[n] {
				continue
			}
			seen[n] = true
			t.Segments++
			if mine[n] != theirs[n] {
				t.Differing = append(t.Differing, Segment{Number: n, Source: mine[n].Rows, Warehouse: theirs[n].Rows})
			}
		}
	}
	slices.SortFunc(t.Differing, func(a, b Segment) int { return int(int64(a.Number) - int64(b.Number)) })
}

// quarantine holds the rows that are bad in the source against what is in quarantine. The quarantine may have more: rows of the
// same content that were read twice.
func (u *unit) quarantine(ctx context.Context) error {
	if u.table.Quarantined == 0 {
		return nil
	}
	there := int64(0)
	for _, s := range u.streams {
		_, all, err := u.Options.Warehouse.QuarantineCount(ctx, u.Source, s.Name)
		if err != nil {
			return err
		}
		there += all
	}
	u.table.Unaccounted = max(0, u.table.Quarantined-there)
	return nil
}

// errTooMuch says that buckets hold far more than their sums have said: source or table have changed meanwhile.
var errTooMuch = errors.New("source or warehouse change while they are compared: verify when nothing is loading")

// Describe names a segment for people.
func (t *Table) Describe(n int32) string {
	switch {
	case t.ByDay && n == warehouse.NoDay:
		return "no day"
	case t.ByDay:
		return time.Unix(int64(n)*86400, 0).UTC().Format(time.DateOnly)
	case len(t.Ranges) == 0:
		return "all"
	case n == 0:
		return "before " + t.Ranges[0]
	case int(n) == len(t.Ranges):
		return "from " + t.Ranges[n-1]
	}
	return strings.Join(t.Ranges[n-1:n+1], " to ")
}
