package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/headwater-data/headwater/internal/crash"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/warehouse"
)

// Dismiss closes open rows of the quarantine that nobody need repair and returns those that it closed. Rows that the same person
// has dismissed for the same reason before are passed over, so that a command which was cut short may be repeated; any
// other row that is not open is a usage error, and nothing is changed. A replay that is under way meanwhile wins.
func (d *Depot) Dismiss(ctx context.Context, ids []string, by, why string) ([]string, error) {
	for _, id := range ids {
		if _, err := warehouse.ParseQuarantineID(id); err != nil {
			return nil, fault.Usage(err)
		}
	}
	rows, err := d.Quarantined(ctx, warehouse.QuarantineFilter{IDs: ids})
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if !slices.ContainsFunc(rows, func(r warehouse.QuarantineRow) bool { return r.ID() == id }) {
			return nil, fault.Usage(fmt.Errorf("no row %s is in quarantine; headwater quarantine list --status all shows what is", id))
		}
	}
	var open []string
	for _, r := range rows {
		switch status := cmp.Or(r.Status, warehouse.QuarantineOpen); {
		case status == warehouse.QuarantineOpen:
			open = append(open, r.ID())
		case status == warehouse.QuarantineDismissed && r.StatusBy == by && r.StatusWhy == why:
		default:
			return nil, fault.Usage(fmt.Errorf("row %s is %s already (by %s); nothing was changed", r.ID(), status, cmp.Or(r.StatusBy, "somebody")))
		}
	}
	entry := warehouse.AuditEntry{
		Who: by, Command: "quarantine dismiss", TargetKind: "quarantine", Target: targetOf(rows, nil), Why: why,
		Details: warehouse.AuditDetails(map[string]any{"rows": len(open), "done_before": len(rows) - len(open)}),
	}
	return open, d.Audited(ctx, entry, func(*warehouse.AuditEntry) error {
		crash.Point("dismissal-asked")
		err := d.SetQuarantineStatus(ctx, open, warehouse.QuarantineDismissed, by, why, nil)
		crash.Point("dismissal-done")
		return err
	})
}
