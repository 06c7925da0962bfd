package verify

import (
	"context"
	"slices"

	"github.com/headwater-data/headwater/warehouse"
)

// candidate is a record of the source that may be the one of its key that counts.
type candidate struct {
	hash, version, number uint64
	versioned, deleted    bool
	segment               int32
	stream                *Stream
	shard                 string
	place                 string
}

// entry is one key of the buckets that are compared.
type entry struct {
	candidates []candidate
	repeated   uint32 // records beyond those in candidates

	own        bool // the warehouse's current row is the source's
	superseded bool // … another source's, or gone by another source's word
	key        string
	hash       uint64
	version    uint64 // of the warehouse's current row, whosever it is
	segment    int32
	place      uint64
	stream     string
	shard      string
}

// consider adds a record of the source. Of records of one key the one with the highest version counts; without versions the
// last of a shard does, and between shards nobody can tell from the source which one was read first, so that any of them will
// do.
func (e *entry) consider(c candidate) {
	for i := range e.candidates {
		o := &e.candidates[i]
		comparable := o.versioned && c.versioned
		sameShard := o.stream == c.stream && o.shard == c.shard
		switch {
		case comparable && o.version > c.version:
			e.repeated++
			return
		case comparable && o.version < c.version, sameShard && o.versioned == c.versioned:
			e.repeated++
			e.candidates = slices.Delete(e.candidates, i, i+1)
			e.consider(c)
			return
		}
	}
	e.candidates = append(e.candidates, c)
}

// shardName names a shard of a stream.
type shardName struct{ stream, shard string }

// collect compares the keys of some buckets one by one.
func (u *unit) collect(ctx context.Context, b warehouse.Buckets) error {
	entries := map[warehouse.KeyHash]*entry{}
	wanted := func(k warehouse.KeyHash) bool { return u.only == nil || u.only[k] }
	names := map[string]string{} // one copy of each text
	intern := func(text string) string {
		if s, ok := names[text]; ok {
			return s
		}
		names[text] = text
		return text
	}
	limit := 4*u.Budget + 100_000
	if u.Budget > 1<<60 {
		limit = 1 << 60
	}
	places := map[uint64]bool{} // of rows of the warehouse, true when the source's row there is bad
	for r, err := range u.Options.Warehouse.CurrentRows(ctx, u.comparison(), b, warehouse.Own) {
		if err != nil {
			return err
		}
		if !wanted(r.KeyHash) {
			continue
		}
		if uint64(len(entries)) > limit {
			return errTooMuch
		}
		entries[r.KeyHash] = &entry{own: true, key: r.Key, hash: r.Hash, version: r.Version, segment: r.Segment, place: r.Place, stream: intern(r.Stream), shard: intern(r.Shard)}
		places[r.Place] = false
	}
	seen, err := u.candidates(ctx, b, entries, places, limit, wanted)
	if err != nil {
		return err
	}
	if err := u.others(ctx, b, entries); err != nil {
		return err
	}
	for hash, e := range entries {
		u.judge(hash, e, places, seen)
	}
	return nil
}

// candidates reads the source and adds what it has of the buckets. It returns the shards of which anything was read.
func (u *unit) candidates(ctx context.Context, b warehouse.Buckets, entries map[warehouse.KeyHash]*entry, places map[uint64]bool, limit uint64, wanted func(warehouse.KeyHash) bool) (map[shardName]bool, error) {
	seen, chosen := map[shardName]bool{}, bucketSet(b)
	u.table.Passes++
	err := u.Scanner.Scan(ctx, u.streams, func(batch *Batch) (bool, error) {
		seen[shardName{batch.Stream.Name, batch.Shard}] = true
		bad := func(number uint64) {
			if number == 0 {
				return
			}
			place := warehouse.HashPlace(batch.Shard, batch.Place, number)
			if _, ok := places[place]; ok {
				places[place] = true
			}
		}
		for _, r := range batch.Rejects {
			bad(uint64(max(0, r.Row)))
		}
		for _, q := range batch.Result.Quarantined {
			bad(batch.Number(q.Row))
		}
		for i := range batch.Records() {
			key := batch.Key(i)
			hash := warehouse.HashKey(key)
			if !chosen[b.Of(hash)] || !wanted(hash) {
				continue
			}
			e := entries[hash]
			if e == nil {
				if uint64(len(entries)) > limit {
					return false, errTooMuch
				}
				e = &entry{key: string(key)}
				entries[hash] = e
			}
			c := candidate{hash: batch.Hash(i), number: batch.Number(batch.Result.Row[i]), segment: u.segments.of(batch.Result.Records, i, key), stream: batch.Stream, shard: batch.Shard, place: batch.Place}
			if batch.Result.Version != nil {
				c.version, c.versioned = batch.Result.Version[i], true
			}
			c.deleted = batch.Result.Deleted != nil && batch.Result.Deleted[i]
			e.consider(c)
		}
		return true, nil
	})
	return seen, err
}

// others finds out who has the keys that the source has and the warehouse does not show as the source's.
func (u *unit) others(ctx context.Context, b warehouse.Buckets, entries map[warehouse.KeyHash]*entry) error {
	absent := map[warehouse.KeyHash]*entry{}
	for hash, e := range entries {
		if !e.own && slices.ContainsFunc(e.candidates, func(c candidate) bool { return !c.deleted }) {
			absent[hash] = e
		}
	}
	for _, which := range []warehouse.Which{warehouse.Live, warehouse.Dead} {
		if len(absent) == 0 {
			return nil
		}
		for r, err := range u.Options.Warehouse.CurrentRows(ctx, u.comparison(), b, which) {
			if err != nil {
				return err
			}
			e := absent[r.KeyHash]
			if e == nil {
				continue
			}
			delete(absent, r.KeyHash)
			e.version = r.Version
			switch {
			case r.Source == u.Source && !r.Deleted: // it was loaded meanwhile
				e.own, e.hash, e.segment, e.stream, e.shard = true, r.Hash, r.Segment, r.Stream, r.Shard
			case r.Source != u.Source:
				// A record that the source itself puts above the other's should have won.
				e.superseded = !slices.ContainsFunc(e.candidates, func(c candidate) bool { return c.versioned && !c.deleted && c.version > r.Version })
			}
		}
	}
	return nil
}

// judge says what becomes of a key, and tells of a difference.
func (u *unit) judge(hash warehouse.KeyHash, e *entry, places map[uint64]bool, seen map[shardName]bool) {
	t := u.table
	inside := e.own && u.in(e.segment)
	var live []candidate
	gone := false
	for _, c := range e.candidates {
		if c.deleted {
			gone = true
			continue
		}
		live = append(live, c)
		inside = inside || u.in(c.segment)
	}
	if !inside {
		return
	}
	t.Repeated += int64(e.repeated)
	if n := len(live); n > 1 {
		t.Repeated += int64(n - 1)
	}
	d := Difference{Table: u.schema.Name, Key: e.key, KeyHash: hash, Version: e.version}
	switch {
	case !e.own && (len(live) == 0 || gone):
		return
	case !e.own && e.superseded:
		t.Superseded++
		return
	case !e.own:
		d.Kind = Missing
		t.Missing++
	case len(live) == 0:
		if !gone && u.stays(e, places, seen) {
			return
		}
		d.Kind, d.Stream, d.Shard, d.Segment = Extra, e.stream, e.shard, e.segment
		t.Extra++
	case slices.ContainsFunc(live, func(c candidate) bool { return c.hash == e.hash }):
		return
	default:
		d.Kind = Different
		t.Different++
	}
	if len(live) > 0 {
		c := live[len(live)-1]
		d.Stream, d.Shard, d.Place, d.Row, d.Segment, d.Hash, d.SourceVersion = c.stream.Name, c.shard, c.place, c.number, c.segment, c.hash, c.version
	}
	if u.Found != nil {
		u.Found(d)
	}
}

// stays reports whether a row that the source does not have is in the warehouse for a reason.
func (u *unit) stays(e *entry, places map[uint64]bool, seen map[shardName]bool) bool {
	i := slices.IndexFunc(u.streams, func(s *Stream) bool { return s.Name == e.stream })
	switch {
	case places[e.place]:
		u.table.Repaired++
	case i < 0 || u.streams[i].Keeps || !seen[shardName{e.stream, e.shard}]:
		u.table.Kept++
	default:
		return false
	}
	return true
}
