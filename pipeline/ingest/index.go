package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/headwater-data/headwater/pipeline/message"
	"github.com/headwater-data/headwater/pipeline/topic"
)

// Index is `headwater.cursors`, the compacted topic that says where the newest written batch of each shard lies, which
// partition a shard was given, and what columns a stream had. It only ever shortens reading: everything in it can be found in
// the raw log or the ledger. Entries of different epochs have different keys, so that a stalled writer's late entry never
// hides a newer one.
type Index struct {
	client *topic.Client
	name   string

	mu         sync.Mutex
	read       int64                       // offset up to which the topic is read
	entries    map[logID]map[string]*entry // shard key -> newest entry
	partitions map[string]int              // topic \x1f shard key -> partition
	columns    map[string]string           // source \x1f stream -> columns
}

// logID names one life of a partition's log.
type logID struct {
	topic       string
	partition   int
	incarnation string
}

type entry struct {
	Position
	key string
	at  int64 // its offset in the index
}

// OpenIndex prepares the index; Refresh reads it.
func OpenIndex(client *topic.Client, name string) *Index {
	return &Index{client: client, name: name,
		entries: map[logID]map[string]*entry{}, partitions: map[string]int{}, columns: map[string]string{}}
}

// Spec is the index's topic as it must be: one partition, so that one append of several entries is atomic and ordered.
func (x *Index) Spec() topic.Spec { return topic.Spec{Name: x.name, Partitions: 1, Compact: true} }

const (
	keyCursor    = "cursor"
	keyPartition = "partition"
	keyColumns   = "columns"
)

// Refresh reads what the index has got since the last time.
func (x *Index) Refresh(ctx context.Context) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.refresh(ctx)
}

func (x *Index) refresh(ctx context.Context) error {
	first, next, err := x.client.Bounds(ctx, x.name, 0)
	if err != nil {
		return fmt.Errorf("read the index: %w", err)
	}
	if next < x.read {
		// The topic was deleted and created again: what we remember is of another one.
		x.read = 0
		x.entries, x.partitions, x.columns = map[logID]map[string]*entry{}, map[string]int{}, map[string]string{}
	}
	x.read = max(x.read, first)
	for x.read < next {
		page, err := x.client.Read(ctx, x.name, 0, x.read, 4<<20, 500*time.Millisecond)
		if err != nil {
			if r, ok := errors.AsType[*topic.OutOfRangeError](err); ok && r.First > x.read {
				x.read = r.First
				continue
			}
			return fmt.Errorf("read the index: %w", err)
		}
		for _, r := range page.Records {
			x.apply(r)
			x.read = r.Offset + 1
		}
		if len(page.Records) == 0 && page.Next <= x.read {
			break
		}
	}
	return nil
}

func (x *Index) apply(r topic.Record) {
	parts := strings.Split(string(r.Key), "\x1e")
	switch {
	case parts[0] == keyCursor && len(parts) == 6:
		p, err := strconv.Atoi(parts[2])
		if err != nil {
			return
		}
		id, shard := logID{parts[1], p, parts[3]}, parts[5]
		if r.Value == nil {
			if e := x.entries[id][shard]; e != nil && e.key == string(r.Key) {
				delete(x.entries[id], shard)
			}
			return
		}
		e := &entry{key: string(r.Key), at: r.Offset}
		if json.Unmarshal(r.Value, e) != nil {
			return
		}
		if x.entries[id] == nil {
			x.entries[id] = map[string]*entry{}
		}
		if old := x.entries[id][shard]; old == nil || old.Offset <= e.Offset {
			x.entries[id][shard] = e
		}
	case parts[0] == keyPartition && len(parts) == 3:
		// The first entry stands: whoever lost the race reads the winner's.
		k := parts[1] + "\x1f" + parts[2]
		if p, err := strconv.Atoi(string(r.Value)); err == nil {
			if _, ok := x.partitions[k]; !ok {
				x.partitions[k] = p
			}
		}
	case parts[0] == keyColumns && len(parts) == 2:
		x.columns[parts[1]] = string(r.Value)
	}
}

// Newest returns the incarnation of the log of which an entry was made last, "" if nothing is known; those that are named are left out.
// Offsets do not tell: a log that is made again begins at 0.
func (x *Index) Newest(topicName string, partition int, without []string) (incarnation string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	at := int64(-1)
	for id, entries := range x.entries {
		if id.topic != topicName || id.partition != partition || slices.Contains(without, id.incarnation) {
			continue
		}
		for _, e := range entries {
			if e.at > at {
				incarnation, at = id.incarnation, e.at
			}
		}
	}
	return incarnation
}

// Known returns what the index knows of a partition's log with that incarnation: the state after the newest entry, and all
// cursors. Nil if nothing is known.
func (x *Index) Known(topicName string, partition int, incarnation string) *Known {
	x.mu.Lock()
	defer x.mu.Unlock()
	of := logID{topicName, partition, incarnation}
	var newest *entry
	for _, e := range x.entries[of] {
		if e.Sequence >= 0 && (newest == nil || e.Offset > newest.Offset) {
			newest = e
		}
	}
	if newest == nil {
		return nil
	}
	k := &Known{
		Offset:  newest.Offset + 1,
		State:   message.State{Incarnation: of.incarnation, Epoch: newest.Epoch, Next: newest.Sequence + 1},
		Cursors: make(map[string]Position, len(x.entries[of])),
	}
	for shard, e := range x.entries[of] {
		k.Cursors[shard] = e.Position
	}
	return k
}

// Store enters written batches (W5), all in one append: an entry at offset o promises that every shard's newest batch up to o
// is entered too. Entries of earlier epochs of the same shards are removed.
func (x *Index) Store(ctx context.Context, topicName string, partition int, incarnation string, positions map[string]Position) error {
	if len(positions) == 0 {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	id := logID{topicName, partition, incarnation}
	var records []topic.Record
	for shard, p := range positions {
		key := strings.Join([]string{keyCursor, topicName, strconv.Itoa(partition), incarnation, strconv.FormatInt(p.Epoch, 10), shard}, "\x1e")
		value, err := json.Marshal(entry{Position: p})
		if err != nil {
			return fmt.Errorf("index %s: %w", shard, err)
		}
		records = append(records, topic.Record{Key: []byte(key), Value: value})
		if old := x.entries[id][shard]; old != nil && old.key != key {
			records = append(records, topic.Record{Key: []byte(old.key)})
		}
	}
	if _, err := x.client.Append(ctx, x.name, 0, records...); err != nil {
		return fmt.Errorf("write the index: %w", err)
	}
	for _, r := range records {
		x.apply(r)
	}
	return nil
}

// Partition returns the partition of a shard: the one it was given, or wanted, which is then recorded for ever.
func (x *Index) Partition(ctx context.Context, topicName, shard string, wanted int) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	k := topicName + "\x1f" + shard
	if p, ok := x.partitions[k]; ok {
		return p, nil
	}
	key := strings.Join([]string{keyPartition, topicName, shard}, "\x1e")
	if _, err := x.client.Append(ctx, x.name, 0, topic.Record{Key: []byte(key), Value: []byte(strconv.Itoa(wanted))}); err != nil {
		return 0, fmt.Errorf("record the partition of a shard: %w", err)
	}
	if err := x.refresh(ctx); err != nil {
		return 0, err
	}
	p, ok := x.partitions[k]
	if !ok {
		return 0, fmt.Errorf("record the partition of a shard: the index does not show it")
	}
	return p, nil
}

// Columns returns the columns that a stream had when it was last read, "" if unknown.
func (x *Index) Columns(source, stream string) string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.columns[source+"\x1f"+stream]
}

// SetColumns records the columns of a stream.
func (x *Index) SetColumns(ctx context.Context, source, stream, columns string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	k := source + "\x1f" + stream
	if x.columns[k] == columns {
		return nil
	}
	if _, err := x.client.Append(ctx, x.name, 0, topic.Record{Key: []byte(keyColumns + "\x1e" + k), Value: []byte(columns)}); err != nil {
		return fmt.Errorf("record the columns of %s/%s: %w", source, stream, err)
	}
	x.columns[k] = columns
	return nil
}
