package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/headwater-data/headwater/pipeline/load"
	"github.com/headwater-data/headwater/pipeline/topic"
	"github.com/headwater-data/headwater/warehouse"
)

// Finding is something in the warehouse that is not as the ledger says.
type Finding struct {
	warehouse.Discrepancy
	// Of rows that are not where the ledger says: how many a newer row of their key stands for, and how many nothing does. Unknown
	// is the number of those of which nothing says which keys they had: messages that Kafka no longer has, and tombstones of
	// replaced content.
	Superseded, Lost, Unknown int64
}

// Fault reports whether something is wrong. Rows in whose place merges have put newer ones are not.
func (f Finding) Fault() bool {
	return f.Kind != warehouse.DiscrepancyRows || f.Lost > 0 || f.There > f.Expected
}

// Discrepancies holds the ledger against the tables, the quarantine and the writers' own counts (warehouse.Discrepancies). Where a table has fewer
// rows of a flush than the ledger counts, the flush's messages are read from Kafka again, to tell rows that were superseded from
// rows that are lost. It writes nothing.
func (s *Session) Discrepancies(ctx context.Context, filter warehouse.BalanceFilter) ([]Finding, error) {
	lines, err := s.warehouse.Discrepancies(ctx, s.tables(), filter)
	if err != nil {
		return nil, err
	}
	shapes := map[string]load.Shaping{s.shaping.Hash: s.shaping}
	var out []Finding
	for _, line := range lines {
		f := Finding{Discrepancy: line}
		if line.Kind == warehouse.DiscrepancyRows && line.There < line.Expected {
			if err := s.recount(ctx, &f, shapes); err != nil {
				return nil, fmt.Errorf("look for rows of %s/%d [%d, %d) that are not in %s: %w", line.Range.Topic, line.Range.Partition, line.Range.From, line.Range.To, line.Table, err)
			}
		}
		out = append(out, f)
	}
	return out, nil
}

func (s *Session) recount(ctx context.Context, f *Finding, shapes map[string]load.Shaping) error {
	absent := f.Expected - f.There
	if !slices.Contains(s.topics, f.Range.Topic) {
		f.Unknown = absent
		return nil
	}
	shaping, ok := shapes[f.Shape]
	if !ok {
		body, err := s.warehouse.Shape(ctx, f.Shape)
		if errors.Is(err, warehouse.ErrNoShape) {
			f.Unknown = absent
			return nil
		}
		if err != nil {
			return err
		}
		if shaping, err = s.compile(body); err != nil {
			return err
		}
		shapes[f.Shape] = shaping
	}
	lost, unknown, err := load.Recount(ctx, s.client, s.warehouse.Warehouse, s.opts.Allocator, f.Discrepancy, shaping)
	if _, eaten := errors.AsType[*topic.OutOfRangeError](err); eaten {
		f.Unknown = absent
		return nil
	}
	if err != nil {
		return err
	}
	f.Lost = min(lost, absent)
	f.Unknown = min(unknown, absent-f.Lost)
	f.Superseded = absent - f.Lost - f.Unknown
	return nil
}
