package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/headwater-data/headwater/internal/crash"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/pipeline/load"
	"github.com/headwater-data/headwater/schemas"
	"github.com/headwater-data/headwater/warehouse"
)

// RebuildFromSource reads a source again from its beginning through its connector, maps it as the project says now, and puts in
// force a table that has of the source what it gave, and nothing else of it. Retention does not matter: nothing that was read
// before is looked at.
//
// What is read is written to Kafka as any run writes it, while no loader runs. It fills a table beside the one in force, and both
// are exchanged in one step when the counts agree: what the writer wrote = loaded + quarantined + filtered. Then it is loaded
// as any other, by loaders that the commit before the exchange told to ask the tables first: they find the rows there, and
// write quarantine, ledger and commits.
//
// Killed before the exchange, the table in force has not changed, and the next run loads into it what was read. Killed behind it, the
// new table is in force, and any run finishes the account of what was read; repeating the command also closes that of what was
// replaced.
func (s *Session) RebuildFromSource(ctx context.Context, opts RebuildOptions) (*RebuildReport, error) {
	if opts.DryRun {
		return nil, fault.Usage(errors.New("reading a source again writes to Kafka what it gives: there is no dry run of it"))
	}
	source, err := s.project.Source(opts.Source)
	if err != nil {
		return nil, err
	}
	_, unlock, err := s.restLoading(ctx, source)
	if err != nil {
		return nil, err
	}
	defer unlock()
	r, err := s.planReread(ctx, source, opts)
	if err != nil {
		return nil, err
	}
	report := &RebuildReport{Table: r.schema.TableName(), Run: NewRunID(), Flushes: len(r.flushes)}
	entry := warehouse.AuditEntry{Who: cmp.Or(opts.By, writerName()), Command: "replay", TargetKind: "source", Target: source.Name, Why: opts.Why,
		Details: warehouse.AuditDetails(map[string]any{"from": "source", "table": report.Table, "run": report.Run})}
	err = s.warehouse.Audited(ctx, entry, func(e *warehouse.AuditEntry) error {
		crash.Point("reread-asked")
		err := r.do(ctx, report, entry)
		e.Details = warehouse.AuditDetails(map[string]any{"from": "source", "report": report})
		return err
	})
	return report, err
}

// reread is a source being read again into a new table.
type reread struct {
	session *Session
	source  *project.Source
	streams []string
	schema  *schemas.Schema
	absent  bool

	reader    *resetSource
	flushes   []warehouse.HeldFlush // that the table in force is made of
	stretches []load.Stretch        // of the topic, from where loading rests
}

// planReread gathers what is to be replaced, and refuses what could not be.
func (s *Session) planReread(ctx context.Context, source *project.Source, opts RebuildOptions) (r *reread, err error) {
	r = &reread{session: s, source: source, absent: opts.Absent}
	if r.streams, r.schema, err = s.oneTable(source); err != nil {
		return nil, err
	}
	if r.flushes, err = s.warehouse.FlushesOf(ctx, source.Name); err != nil {
		return nil, err
	}
	for _, f := range r.flushes {
		for _, row := range f.Rows {
			if row.Held > 0 {
				// Once their table takes them they would go into the new one.
				return nil, fault.Usage(fmt.Errorf("rows of source %s are held; run it until they are loaded (headwater status says why they are not)", source.Name))
			}
			if row.Schema != "" && row.Schema != r.schema.Name && row.Loaded > 0 {
				return nil, fault.Usage(fmt.Errorf("source %s was mapped to %s before and is mapped to %s now; only within one table can it be rebuilt", source.Name, row.Schema, r.schema.Name))
			}
		}
	}
	if r.reader, err = s.resettable(ctx, source, ResetOptions{Source: source.Name}); err != nil {
		return nil, err
	}
	partitions, err := s.client.Partitions(ctx, source.Topic)
	if err != nil {
		return nil, err
	}
	idle := s.newWorks(0, nil).Loader
	for p := range partitions {
		at, err := idle.Standing(ctx, source.Topic, p)
		if err != nil {
			return nil, err
		}
		r.stretches = append(r.stretches, at)
	}
	return r, nil
}

func (r *reread) do(ctx context.Context, report *RebuildReport, entry warehouse.AuditEntry) error {
	s := r.session
	read, err := r.read(ctx, report.Run)
	if err != nil {
		return fmt.Errorf("the table in force is as it was; what was read is in Kafka, and the next run loads it into that table: %w", err)
	}
	crash.Point("reread-written")
	if err := r.fill(ctx, read, report); err != nil {
		return errors.Join(fmt.Errorf("the table in force is as it was; what was read is in Kafka, and the next run loads it into that table: %w", err), s.warehouse.DropShadow(context.WithoutCancel(ctx), r.schema))
	}
	crash.Point("rebuild-filled")
	// Rows that were open are settled by what was read; those that it opens are not in quarantine yet.
	open, err := s.warehouse.Quarantined(ctx, warehouse.QuarantineFilter{Source: r.source.Name, Status: warehouse.QuarantineOpen})
	if err != nil {
		return errors.Join(err, s.warehouse.DropShadow(context.WithoutCancel(ctx), r.schema))
	}
	err = s.newWorks(0, nil).Loader.Ahead(ctx, r.stretches, func(ctx context.Context) error {
		crash.Point("reread-ahead")
		if err := s.warehouse.ExchangeShadow(ctx, r.schema); err != nil {
			return err
		}
		report.Exchanged = true
		return nil
	})
	if err != nil {
		return err // an exchange whose answer was lost may have been made: the shadow is left, whichever of both it is
	}
	crash.Point("rebuild-exchanged")
	if err := r.settle(ctx, read, open, entry); err != nil {
		return fmt.Errorf("the new table is in force, but its account is not complete; repeat the command: %w", err)
	}
	crash.Point("rebuild-settled")
	if _, err := s.warehouse.Refresh(ctx); err != nil {
		return fmt.Errorf("the new table is in force, but figures are not put together anew yet; the next run does that: %w", err)
	}
	return s.warehouse.DropShadow(ctx, r.schema)
}

// read writes the source anew to Kafka, from its beginning, and finds where that ends.
func (r *reread) read(ctx context.Context, run string) (*Report, error) {
	s := r.session
	works, _ := s.startWriting(ctx, 0, nil)
	report := &Report{Run: run, Began: time.Now()}
	err := works.writeResets(ctx, r.source, r.reader, NewRunID())
	if err == nil {
		crash.Point("reread-reset")
		report.Sources = []SourceReport{works.ingest(ctx, nil, r.source, run)}
		err = report.Sources[0].Err
		if n := report.Sources[0].Elsewhere; err == nil && n > 0 {
			err = fault.Environment(fmt.Errorf("%d shards are read by another process: stop it first", n))
		}
	}
	if err := errors.Join(err, works.Stop()); err != nil {
		return nil, err
	}
	for i := range r.stretches {
		part := &r.stretches[i]
		if _, part.To, err = s.client.Bounds(ctx, part.Topic, part.Partition); err != nil {
			return nil, err
		}
	}
	report.Took = time.Since(report.Began)
	return report, nil
}

// fill makes the new table and compares the counts.
func (r *reread) fill(ctx context.Context, read *Report, report *RebuildReport) error {
	s := r.session
	if err := s.warehouse.MakeShadow(ctx, r.schema, r.source.Name); err != nil {
		return err
	}
	account, err := s.newWorks(0, nil).Loader.Fill(ctx, r.source.Name, r.streams, r.stretches)
	if err != nil {
		return err
	}
	for _, row := range account {
		if row.Run != read.Run {
			if row.Loaded+row.Quarantined+row.Filtered+row.Held > 0 {
				return fault.Environment(fmt.Errorf("run %s has brought rows of source %s meanwhile: another process reads it, stop it first", row.Run, r.source.Name))
			}
			continue
		}
		report.Extracted += row.Extracted
		report.Loaded += row.Loaded
		report.Duplicate += row.Duplicate
		report.Quarantined += row.Quarantined
		report.Filtered += row.Filtered
		if !row.Balanced() || row.Held > 0 {
			return fmt.Errorf("what was read does not balance at %s/%d [%d, %d)", row.Topic, row.Partition, row.From, row.To)
		}
	}
	if written, outcome := read.Sources[0].Written, report.Loaded+report.Quarantined+report.Filtered; written != outcome {
		return fmt.Errorf("%d rows were written to Kafka, but %d loaded, %d quarantined and %d filtered make %d", written, report.Loaded, report.Quarantined, report.Filtered, outcome)
	}
	counts, err := s.warehouse.CompareShadow(ctx, r.schema, r.source.Name)
	if err != nil {
		return err
	}
	report.Before, report.After, report.Changed, report.Others = counts.Before, counts.After, counts.Changed, counts.Others
	if !counts.OthersUnchanged {
		return fault.Environment(fmt.Errorf("table %s changed while it was rebuilt: another process loads into it, or it was being merged; try again", r.schema.Name))
	}
	emptied, err := s.warehouse.EmptiedByShadow(ctx, r.schema, r.source.Name)
	if err != nil {
		return err
	}
	if len(emptied) > 0 && !r.absent {
		const shown = 5
		var names []string
		for _, shard := range emptied[:min(shown, len(emptied))] {
			names = append(names, strings.TrimSpace(shard.Stream+" "+shard.Shard))
		}
		return fault.Usage(fmt.Errorf("nothing could be loaded now of what the table has records of (%s): the source no longer has it, or the mapping refuses all of its rows. These records would be gone; say --drop-absent if they are to be", strings.Join(names, ", ")))
	}
	return nil
}

// settle brings the account after a table that is in force: that of what it no longer has, and, as ordinary loaders do, that of what was
// read.
func (r *reread) settle(ctx context.Context, read *Report, open []warehouse.QuarantineRow, entry warehouse.AuditEntry) error {
	s := r.session
	token := fmt.Sprintf("reread/%s/%s", r.source.Name, read.Run)
	const piece = 10_000
	for rows := range slices.Chunk(load.Replaced(r.flushes), piece) {
		if err := s.warehouse.WriteLedger(ctx, fmt.Sprintf("%s/%s/%d/%d/%s", token, rows[0].Topic, rows[0].Partition, rows[0].From, rows[0].Shard), rows); err != nil {
			return err
		}
	}
	ids := make([]string, len(open))
	for i, row := range open {
		ids[i] = row.ID()
	}
	if err := s.warehouse.SetQuarantineStatus(ctx, ids, warehouse.QuarantineSuperseded, entry.Who, "the source was read again", nil); err != nil {
		return err
	}
	crash.Point("reread-replaced")
	works := s.Start(ctx, 0, nil)
	read.LoadErrs = works.drain(ctx, []*project.Source{r.source})
	err := errors.Join(errors.Join(read.LoadErrs...), works.record(ctx, read, "replay", 1))
	return errors.Join(err, works.Stop())
}
