package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/headwater-data/headwater/internal/crash"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/pipeline/load"
	"github.com/headwater-data/headwater/schemas"
	"github.com/headwater-data/headwater/warehouse"
)

// RebuildOptions select what Rebuild maps anew.
type RebuildOptions struct {
	Source  string
	By, Why string
	DryRun  bool // count and compare, and change nothing
	// Absent allows RebuildFromSource to leave out what shards brought of which the source gives nothing any more.
	Absent bool
}

// RebuildReport says what a rebuild did, or would do.
type RebuildReport struct {
	Table       string `json:"table"`
	Run         string `json:"run,omitempty"` // that read the source again
	Flushes     int    `json:"flushes"`       // that were mapped anew; from the source, that were replaced
	Extracted   int64  `json:"extracted"`     // rows of the source in its topic, and what became of them
	Loaded      int64  `json:"loaded"`
	Duplicate   int64  `json:"duplicate"`
	Quarantined int64  `json:"quarantined"`
	Filtered    int64  `json:"filtered"`
	Before      uint64 `json:"records_before"` // of the source in the table
	After       uint64 `json:"records_after"`
	Changed     uint64 `json:"records_changed"`   // that are new, gone or otherwise
	Others      uint64 `json:"records_of_others"` // left as they are
	Released    int    `json:"quarantine_loaded"` // rows of the quarantine that are loaded now
	Refused     int    `json:"quarantine_new"`    // rows that the mapping of now quarantines and that of then did not
	Exchanged   bool   `json:"exchanged"`         // the rebuilt table is in force
}

// restLoading loads what of the source is in Kafka, and then keeps everybody from loading until unlock is called. The loader that it
// returns is at rest: it is for building a shadow.
func (s *Session) restLoading(ctx context.Context, source *project.Source) (loader *load.Service, unlock func(), err error) {
	unlock, err = s.lock(ctx)
	if errors.Is(err, ErrServed) {
		return nil, nil, fault.Environment(fmt.Errorf("headwater start serves this project and loads into the table: stop it, replay, and start it again: %w", err))
	}
	if err != nil {
		return nil, nil, err
	}
	works := s.Start(ctx, 0, nil)
	errs := works.drain(ctx, []*project.Source{source})
	if err := errors.Join(errors.Join(errs...), works.Stop()); err != nil {
		unlock()
		return nil, nil, err
	}
	return works.Loader, unlock, nil
}

// Rebuild maps a source's rows anew from Kafka, under the present mapping, into a table beside the one in force, and exchanges
// both in one step when the counts agree: extracted = loaded + duplicate + quarantined + filtered in every flush, as many rows
// extracted as the ledger has, every mapped record there, and the records of other sources the same. Then ledger and quarantine
// are written anew. Killed before the exchange it has changed nothing; killed behind it, the new table is in force, and
// repeating the command brings ledger and quarantine after.
func (s *Session) Rebuild(ctx context.Context, opts RebuildOptions) (*RebuildReport, error) {
	source, err := s.project.Source(opts.Source)
	if err != nil {
		return nil, err
	}
	loader, unlock, err := s.restLoading(ctx, source)
	if err != nil {
		return nil, err
	}
	defer unlock()
	r, schema, err := s.planRebuild(ctx, source)
	if err != nil {
		return nil, err
	}
	report := &RebuildReport{Table: schema.TableName(), Flushes: len(r.Flushes)}
	if opts.DryRun {
		_, err := s.buildShadow(ctx, loader, r, schema, report)
		return report, errors.Join(err, s.warehouse.DropShadow(context.WithoutCancel(ctx), schema))
	}
	entry := warehouse.AuditEntry{Who: cmp.Or(opts.By, writerName()), Command: "replay", TargetKind: "source", Target: source.Name, Why: opts.Why,
		Details: warehouse.AuditDetails(map[string]any{"from": "kafka", "table": report.Table, "flushes": report.Flushes})}
	err = s.warehouse.Audited(ctx, entry, func(e *warehouse.AuditEntry) error {
		crash.Point("rebuild-asked")
		change, err := s.buildShadow(ctx, loader, r, schema, report)
		if err != nil {
			return errors.Join(err, s.warehouse.DropShadow(context.WithoutCancel(ctx), schema))
		}
		crash.Point("rebuild-filled")
		if err := s.warehouse.ExchangeShadow(ctx, schema); err != nil {
			return err
		}
		report.Exchanged = true
		crash.Point("rebuild-exchanged")
		if err := s.settleRebuild(ctx, change, entry); err != nil {
			return fmt.Errorf("the rebuilt table is in force, but ledger and quarantine are not written anew; repeat the command: %w", err)
		}
		crash.Point("rebuild-settled")
		if _, err := s.warehouse.Refresh(ctx); err != nil {
			return fmt.Errorf("the rebuilt table is in force, but figures are not put together anew yet; the next run does that: %w", err)
		}
		e.Details = warehouse.AuditDetails(map[string]any{"from": "kafka", "report": report})
		return s.warehouse.DropShadow(ctx, schema)
	})
	return report, err
}

// planRebuild gathers what is to be mapped anew, and refuses what cannot be had whole from Kafka.
func (s *Session) planRebuild(ctx context.Context, source *project.Source) (r load.Rebuild, schema *schemas.Schema, err error) {
	r = load.Rebuild{Source: source.Name, Settled: map[string]map[int64]map[uint32]bool{}}
	if r.Streams, schema, err = s.oneTable(source); err != nil {
		return r, nil, err
	}
	if r.Flushes, err = s.warehouse.FlushesOf(ctx, source.Name); err != nil {
		return r, nil, err
	}
	if len(r.Flushes) == 0 {
		return r, nil, fault.Usage(fmt.Errorf("nothing of source %s was ever loaded", source.Name))
	}
	again := fmt.Sprintf("it can only be read again from the source: headwater replay %s --from source", source.Name)
	type log struct {
		topic     string
		partition int32
	}
	incarnations, firsts := map[log]string{}, map[log]int64{}
	for _, f := range r.Flushes {
		at := log{f.Range.Topic, f.Range.Partition}
		if f.Range.Topic != source.Topic {
			return r, nil, fault.Usage(fmt.Errorf("rows of source %s were once in topic %s, which is no longer its own; %s", source.Name, f.Range.Topic, again))
		}
		if _, ok := incarnations[at]; !ok {
			first, _, err := s.client.Bounds(ctx, at.topic, int(at.partition))
			if err != nil {
				return r, nil, err
			}
			incarnations[at], firsts[at] = f.Range.Incarnation, first
			newest, _, err := s.warehouse.Checkpoint(ctx, at.topic, at.partition)
			if err != nil {
				return r, nil, err
			}
			incarnations[at] = newest.Incarnation
		}
		if f.Range.Incarnation != incarnations[at] || f.Range.From < firsts[at] {
			return r, nil, fault.Usage(fmt.Errorf("retention or a new topic has taken rows of source %s from %s/%d (they were at offsets %d to %d, the topic begins at %d); %s", source.Name, at.topic, at.partition, f.Range.From, f.Range.To-1, firsts[at], again))
		}
		for _, row := range f.Rows {
			if row.Held > 0 {
				return r, nil, fault.Usage(fmt.Errorf("rows of source %s are held; run it until they are loaded (headwater status says why they are not)", source.Name))
			}
			if row.Schema != "" && row.Schema != schema.Name && row.Loaded > 0 {
				return r, nil, fault.Usage(fmt.Errorf("source %s was mapped to %s before and is mapped to %s now; only within one table can it be rebuilt", source.Name, row.Schema, schema.Name))
			}
		}
	}
	inOrder(r.Flushes)
	for _, status := range []string{warehouse.QuarantineReplayed, warehouse.QuarantineDismissed} {
		rows, err := s.warehouse.Quarantined(ctx, warehouse.QuarantineFilter{Source: source.Name, Status: status})
		if err != nil {
			return r, nil, err
		}
		for _, q := range rows {
			if status == warehouse.QuarantineReplayed && q.ReplayedTo == "" {
				continue // loaded in its own place, by a repair of held rows or a rebuild
			}
			key := load.SettledKey(q.Topic, q.Partition)
			if r.Settled[key] == nil {
				r.Settled[key] = map[int64]map[uint32]bool{}
			}
			if r.Settled[key][q.Offset] == nil {
				r.Settled[key][q.Offset] = map[uint32]bool{}
			}
			r.Settled[key][q.Offset][q.Index] = true
		}
	}
	return r, schema, nil
}

// oneTable gives the streams of a source and the schema of the one table that they fill: no two tables are exchanged in one step.
func (s *Session) oneTable(source *project.Source) (streams []string, schema *schemas.Schema, err error) {
	for _, stream := range source.Streams {
		mapping, ok := s.shaping.Program.Stream(source.Name, stream.Name)
		if !ok {
			return nil, nil, fault.Permanent(fmt.Errorf("stream %s of source %s has no mapping: a fault of the program", stream.Name, source.Name))
		}
		if schema != nil && schema.Name != mapping.Schema().Name {
			return nil, nil, fault.Usage(fmt.Errorf("source %s fills the tables %s and %s; only a source that fills one table can be rebuilt: headwater cursor reset %s, and then headwater run %s, read it again into the tables in force instead", source.Name, schema.Name, mapping.Schema().Name, source.Name, source.Name))
		}
		schema = mapping.Schema()
		streams = append(streams, stream.Name)
	}
	return streams, schema, nil
}

// inOrder sorts flushes as they were first loaded: of records with one version the one that came last counts, and a replay comes
// behind the content that it belongs to, in whatever partition. A flush that was repaired or rebuilt has a later time, so that
// none counts as later than what follows it in its log.
func inOrder(flushes []warehouse.HeldFlush) {
	slices.SortStableFunc(flushes, func(a, b warehouse.HeldFlush) int {
		return cmp.Or(cmp.Compare(a.Range.Topic, b.Range.Topic), cmp.Compare(a.Range.Partition, b.Range.Partition), cmp.Compare(a.Range.From, b.Range.From))
	})
	at := make(map[warehouse.Range]time.Time, len(flushes))
	for i := len(flushes) - 1; i >= 0; i-- {
		f := flushes[i]
		loaded := f.Rows[0].LoadedAt
		if i+1 < len(flushes) && flushes[i+1].Range.Topic == f.Range.Topic && flushes[i+1].Range.Partition == f.Range.Partition {
			if next := at[flushes[i+1].Range]; next.Before(loaded) {
				loaded = next
			}
		}
		at[f.Range] = loaded
	}
	slices.SortStableFunc(flushes, func(a, b warehouse.HeldFlush) int { return at[a.Range].Compare(at[b.Range]) })
}

// buildShadow fills the table beside the one in force and compares both.
func (s *Session) buildShadow(ctx context.Context, loader *load.Service, r load.Rebuild, schema *schemas.Schema, report *RebuildReport) (*reconciliation, error) {
	if err := s.warehouse.MakeShadow(ctx, schema, r.Source); err != nil {
		return nil, err
	}
	rebuilt, err := loader.Rebuild(ctx, r)
	if err != nil {
		return nil, err
	}
	for _, row := range rebuilt.Ledger {
		report.Extracted += row.Extracted
		report.Loaded += row.Loaded
		report.Duplicate += row.Duplicate
		report.Quarantined += row.Quarantined
		report.Filtered += row.Filtered
		if !row.Balanced() {
			return nil, fmt.Errorf("the rebuild of %s/%d [%d, %d) does not balance; nothing was changed", row.Topic, row.Partition, row.From, row.To)
		}
	}
	counts, err := s.warehouse.CompareShadow(ctx, schema, r.Source)
	if err != nil {
		return nil, err
	}
	report.Before, report.After, report.Changed, report.Others = counts.Before, counts.After, counts.Changed, counts.Others
	if !counts.OthersUnchanged {
		return nil, fault.Environment(fmt.Errorf("table %s changed while it was rebuilt: another process loads into it, or it was being merged; nothing was changed, try again", schema.Name))
	}
	// What another process has loaded meanwhile would be lost.
	now, err := s.warehouse.FlushesOf(ctx, r.Source)
	if err != nil {
		return nil, err
	}
	if len(now) != len(r.Flushes) {
		return nil, fault.Environment(fmt.Errorf("another process loads source %s: stop it first; nothing was changed", r.Source))
	}
	before, err := s.warehouse.Quarantined(ctx, warehouse.QuarantineFilter{Source: r.Source})
	if err != nil {
		return nil, err
	}
	known, still := map[string]string{}, map[string]bool{} // status by id
	for _, q := range before {
		known[q.ID()] = q.Status
	}
	change := &reconciliation{Rebuilt: rebuilt}
	for _, q := range rebuilt.Quarantine {
		still[q.ID()] = true
		switch known[q.ID()] {
		case warehouse.QuarantineReplayed: // in its own place, as planRebuild saw to
			change.reopened = append(change.reopened, q)
			report.Refused++
		case "":
			report.Refused++
		}
	}
	for _, q := range before {
		if !still[q.ID()] && q.Status == warehouse.QuarantineOpen {
			change.released = append(change.released, q.ID())
		}
	}
	report.Released = len(change.released)
	return change, nil
}

// reconciliation is what a rebuilt table means for ledger and quarantine.
type reconciliation struct {
	*load.Rebuilt
	released []string                  // rows that were open and are loaded now
	reopened []warehouse.QuarantineRow // rows that were loaded since and are refused now
}

// settleRebuild writes what the rebuilt table means for quarantine and ledger. It may be repeated.
func (s *Session) settleRebuild(ctx context.Context, rebuilt *reconciliation, entry warehouse.AuditEntry) error {
	token := fmt.Sprintf("rebuild/%s/%d", entry.Target, time.Now().UnixNano())
	const piece = 10_000
	for rows := range slices.Chunk(rebuilt.Quarantine, piece) {
		if err := s.warehouse.WriteQuarantine(ctx, token+"/quarantine/"+rows[0].ID(), rows); err != nil {
			return err
		}
	}
	for _, r := range rebuilt.Replaced {
		if err := s.warehouse.Supersede(ctx, r.Source, r.Stream, r.Shard, r.Before); err != nil {
			return err
		}
	}
	if err := s.warehouse.ReopenQuarantine(ctx, entry.Who, "refused under the present mapping when the table was rebuilt", rebuilt.reopened); err != nil {
		return err
	}
	if err := s.warehouse.SetQuarantineStatus(ctx, rebuilt.released, warehouse.QuarantineReplayed, entry.Who, cmp.Or(entry.Why, "loaded under the present mapping when the table was rebuilt"), nil); err != nil {
		return err
	}
	n := 0
	for rows := range slices.Chunk(rebuilt.Ledger, piece) {
		n++
		if err := s.warehouse.WriteLedger(ctx, fmt.Sprintf("%s/ledger/%d", token, n), rows); err != nil {
			return err
		}
	}
	return nil
}
