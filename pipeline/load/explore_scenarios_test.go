package load

// rows makes a batch of rows of one table and one year.
func rows(ids ...int8) batch {
	var b batch
	for _, id := range ids {
		b = append(b, row{id: id})
	}
	return b
}

// in puts a batch's rows into another table.
func in(table int8, b batch) batch {
	for i := range b {
		b[i].table = table
	}
	return b
}

// years spreads a batch's rows over two table partitions.
func years(b batch) batch {
	for i := range b {
		b[i].year = int8(i % 2)
	}
	return b
}

// bad makes rows that a mapping quarantines: bit 0 the first one, bit 1 the mended one.
func bad(how int8, b batch) batch {
	for i := range b {
		b[i].bad = how
	}
	return b
}

// written is a log as writers leave it: two claims, a repeat, a void batch, and batches of two shards.
var written = []record{
	{kind: claim, incarnation: 1},
	{kind: data, incarnation: 1, epoch: 0, seq: 0, shard: 0, k: 0},
	{kind: data, incarnation: 1, epoch: 0, seq: 0, shard: 0, k: 0},
	{kind: claim, incarnation: 1, continues: true},
	{kind: data, incarnation: 1, epoch: 0, seq: 1, shard: 0, k: 1},
	{kind: data, incarnation: 1, epoch: 3, seq: 0, shard: 1, k: 0},
	{kind: data, incarnation: 1, epoch: 3, seq: 1, shard: 0, k: 1},
}

// short is a log of one shard.
var short = []record{
	{kind: claim, incarnation: 1},
	{kind: data, incarnation: 1, epoch: 0, seq: 0, shard: 0, k: 0},
	{kind: data, incarnation: 1, epoch: 0, seq: 1, shard: 0, k: 1},
}

var shortSource = [][]batch{{rows(0), rows(1)}}

var (
	twoShards = [][]batch{{rows(0), rows(1)}, {rows(2)}}
	oneRow    = [][]batch{{rows(0)}}
	halfBad   = [][]batch{{append(rows(0), bad(1, rows(1))...)}}

	// replayed is a log in which a bad row is replayed, twice.
	replayed = append(short[:2:2],
		record{kind: replay, incarnation: 1, epoch: 0, seq: 1, shard: 2, k: 0, names: 1},
		record{kind: replay, incarnation: 1, epoch: 0, seq: 2, shard: 2, k: 1, names: 1})
)

// scenarios are searched by every run of the tests, each to its end; those that are marked brief under the race detector too.
var scenarios = []scenario{
	{name: "two writers", brief: true, writers: 2, claims: 1, lates: 1, source: shortSource},
	{name: "two writers that die", writers: 2, claims: 1, unheard: 1, crashes: 1, source: oneRow},
	{name: "two writers of two shards", writers: 2, claims: 1, lates: 1, source: [][]batch{{rows(0)}, {rows(1)}}},
	{name: "writers, index and retention", writers: 2, claims: 1, cuts: 1, source: shortSource},
	{name: "a topic made again under writers", writers: 2, claims: 1, remakes: 1, source: oneRow},
	{name: "two loaders", brief: true, loaders: 2, rebalances: 1, unheard: 1, lates: 1, window: 100, flush: 2, log: short, source: shortSource},
	{name: "two loaders that die", loaders: 2, rebalances: 1, crashes: 1, lates: 1, window: 100, log: short[:2:2], source: oneRow},
	{name: "repeats, void batches, two shards", loaders: 2, rebalances: 1, window: 100, flush: 3, log: written, source: twoShards},
	{name: "flushes over table partitions", brief: true, loaders: 2, rebalances: 1, unheard: 1, forgets: 1, window: 100, log: short[:2:2], source: [][]batch{{years(rows(0, 1))}}},
	{name: "table partitions, two flushes", loaders: 1, crashes: 1, lates: 1, forgets: 1, window: 100, flush: 2, log: short, source: [][]batch{{years(rows(0, 1)), years(rows(2, 3))}}},
	{name: "short token windows", loaders: 2, rebalances: 1, lates: 1, unheard: 1, window: 1, flush: 2, log: short, source: shortSource},
	{name: "two tables of which one stops", loaders: 1, crashes: 1, refuses: 1, window: 100, flush: 3, log: written, source: [][]batch{{rows(0), rows(1)}, {in(1, rows(2))}}},
	{name: "held ranges", brief: true, loaders: 2, rebalances: 1, refuses: 1, forgets: 1, window: 100, log: short[:2:2], source: oneRow},
	{name: "held ranges, deaths", loaders: 1, crashes: 2, refuses: 1, forgets: 1, unheard: 1, window: 100, flush: 2, log: short, source: shortSource},
	{name: "quarantine replay", brief: true, loaders: 2, rebalances: 1, deploys: 1, ahead: true, window: 100, flush: 2, log: replayed[:3:3], source: halfBad},
	{name: "quarantine replay, twice", loaders: 1, crashes: 2, deploys: 1, ahead: true, window: 100, flush: 2, log: replayed, source: halfBad},
	{name: "the mapping changes", loaders: 2, rebalances: 1, crashes: 1, deploys: 1, window: 100, log: short, source: [][]batch{{bad(1, rows(0)), bad(2, rows(1))}}},
	{name: "commits expire", brief: true, loaders: 1, crashes: 2, lates: 1, expires: 1, window: 100, log: short, source: shortSource},
	{name: "the warehouse is restored", brief: true, loaders: 1, crashes: 2, restores: 1, window: 100, log: short, source: shortSource},
	{name: "retention eats", loaders: 1, crashes: 1, unheard: 1, cuts: 1, eats: true, onGap: true, window: 100, log: written, source: twoShards},
	{name: "held, quarantined, replayed", loaders: 1, crashes: 2, deploys: 1, refuses: 1, window: 100, flush: 2, log: replayed[:3:3], source: halfBad},
	{name: "writers, loader and retention", writers: 2, loaders: 1, claims: 1, cuts: 1, window: 100, flush: 2, source: oneRow},
	{name: "a writer runs on beside retention that eats", writers: 1, loaders: 1, crashes: 1, cuts: 1, eats: true, onGap: true, window: 100, flush: 2, source: shortSource},
	{name: "two writers beside retention that eats", writers: 2, loaders: 1, claims: 1, cuts: 1, eats: true, onGap: true, window: 100, flush: 2, source: oneRow},
	{name: "a topic made again under all", brief: true, writers: 1, loaders: 1, remakes: 1, onGap: true, window: 100, source: oneRow},
	{name: "a topic made again, and the warehouse restored from before", writers: 1, loaders: 1, crashes: 1, remakes: 1, restores: 1, onGap: true, window: 100, source: shortSource},
}

// deeper are the same questions with more faults; make explore.
var deeper = []scenario{
	{name: "two writers", writers: 2, claims: 1, lates: 1, unheard: 1, crashes: 1, source: shortSource},
	{name: "two writers of two shards", writers: 2, claims: 2, lates: 1, source: [][]batch{{rows(0)}, {rows(1)}}},
	{name: "writers, index and retention", writers: 2, claims: 1, lates: 1, stale: true, cuts: 1, source: shortSource},
	{name: "a topic made again under writers", writers: 2, claims: 1, remakes: 1, source: shortSource},
	{name: "two loaders", loaders: 2, rebalances: 1, crashes: 1, unheard: 1, lates: 1, window: 100, flush: 2, log: short, source: shortSource},
	{name: "repeats, void batches, two shards", loaders: 2, rebalances: 1, lates: 1, window: 100, flush: 3, log: written, source: twoShards},
	{name: "flushes over table partitions", loaders: 2, rebalances: 1, unheard: 1, forgets: 1, lates: 1, window: 100, log: short[:2:2], source: [][]batch{{years(rows(0, 1))}}},
	{name: "short token windows", loaders: 2, rebalances: 1, lates: 2, window: 1, flush: 2, log: short, source: shortSource},
	{name: "two tables of which one stops", loaders: 2, rebalances: 1, crashes: 1, lates: 1, refuses: 1, window: 100, flush: 3, log: written, source: [][]batch{{rows(0), rows(1)}, {in(1, rows(2))}}},
	{name: "held ranges", loaders: 2, rebalances: 1, crashes: 1, unheard: 1, refuses: 1, forgets: 1, window: 100, flush: 2, log: short, source: shortSource},
	{name: "quarantine replay", loaders: 2, rebalances: 1, crashes: 1, deploys: 1, ahead: true, window: 100, flush: 2, log: replayed, source: halfBad},
	{name: "the mapping changes", loaders: 2, rebalances: 1, crashes: 1, deploys: 1, lates: 1, window: 100, log: short, source: [][]batch{{bad(1, rows(0)), bad(2, rows(1))}}},
	{name: "commits expire", loaders: 2, crashes: 3, lates: 2, expires: 1, window: 100, log: short, source: shortSource},
	{name: "the warehouse is restored", loaders: 2, crashes: 3, lates: 1, restores: 1, window: 100, log: short, source: shortSource},
	{name: "writers, loader and retention", writers: 2, loaders: 1, claims: 1, lates: 1, cuts: 1, window: 100, flush: 2, source: oneRow},
	{name: "a writer runs on beside retention that eats", writers: 1, loaders: 1, cuts: 2, eats: true, onGap: true, window: 100, flush: 2, source: shortSource},
	{name: "a topic made again under all", writers: 1, loaders: 1, crashes: 1, remakes: 1, onGap: true, window: 100, source: shortSource},
}
