package warehouse_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/warehouse"
)

func TestAChangeIsAuditedBeforeAndAfter(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	entry := warehouse.AuditEntry{Who: "lin", Command: "quarantine dismiss", TargetKind: "quarantine", Target: "t-0.0123456789ab@7#0", Why: "a test call"}

	// What is asked is there before anything is changed.
	if err := b.Audited(b.ctx, entry, func(e *warehouse.AuditEntry) error {
		got, err := b.Audits(b.ctx, warehouse.AuditFilter{})
		if err != nil || len(got) != 1 || got[0].Outcome != warehouse.AuditAsked || !got[0].Ended.IsZero() || got[0].Who != "lin" || got[0].Why != "a test call" || got[0].Host == "" {
			t.Errorf("during the change: %+v, %v", got, err)
		}
		e.Details = warehouse.AuditDetails(map[string]any{"rows": 1})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	secret := "13812345678"
	refused := fault.Usage(errors.New("the row with " + secret + " is not open"))
	if err := b.Audited(b.ctx, entry, func(*warehouse.AuditEntry) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("got %v, want what the change said", err)
	}
	// The end of what asked for the change does not keep its second line from being written.
	ctx, stop := context.WithCancel(b.ctx)
	if err := b.Audited(ctx, entry, func(*warehouse.AuditEntry) error { stop(); return ctx.Err() }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it was cancelled", err)
	}
	got, err := b.Audits(b.ctx, warehouse.AuditFilter{Since: time.Now().Add(-time.Hour), TargetKind: "quarantine"})
	if err != nil || len(got) != 3 {
		t.Fatalf("got %d changes, %v; want 3: %+v", len(got), err, got)
	}
	for i, want := range []struct{ outcome, problem, details string }{
		{warehouse.AuditFailed, "stopped", "{}"}, {warehouse.AuditFailed, "usage: it was refused", "{}"}, {warehouse.AuditDone, "", `{"rows":1}`},
	} {
		if g := got[i]; g.Outcome != want.outcome || g.Error != want.problem || g.Details != want.details || g.Ended.IsZero() || g.Ended.Before(g.At) {
			t.Errorf("change %d: %+v, want %+v", i, g, want)
		}
	}
	if n := b.sql("SELECT count() FROM $db.audit"); n[0] != "6" {
		t.Errorf("%s lines, want two of each change", n)
	}
	for _, filter := range []warehouse.AuditFilter{{Since: time.Now().Add(time.Hour)}, {TargetKind: "cursor"}} {
		if got, err := b.Audits(b.ctx, filter); err != nil || len(got) != 0 {
			t.Errorf("%+v: got %d changes, %v; want none", filter, len(got), err)
		}
	}
	if got, err := b.Audits(b.ctx, warehouse.AuditFilter{Limit: 1}); err != nil || len(got) != 1 || got[0].Outcome != warehouse.AuditFailed {
		t.Errorf("the newest: %+v, %v", got, err)
	}
}

// TestNothingIsChangedWithoutATrace: a change whose first line cannot be written is not made.
func TestNothingIsChangedWithoutATrace(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	ctx, stop := context.WithCancel(b.ctx)
	stop()
	for name, c := range map[string]struct {
		ctx   context.Context
		entry warehouse.AuditEntry
	}{
		"the warehouse does not take it": {ctx, warehouse.AuditEntry{Who: "lin", Command: "c", TargetKind: "source"}},
		"nobody":                         {b.ctx, warehouse.AuditEntry{Command: "c", TargetKind: "source"}},
		"no command":                     {b.ctx, warehouse.AuditEntry{Who: "lin", TargetKind: "source"}},
	} {
		if err := b.Audited(c.ctx, c.entry, func(*warehouse.AuditEntry) error { t.Errorf("%s: the change was made", name); return nil }); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestAWarehouseOfAnOlderProgramGetsItsAuditTable: before the next run migrates it.
func TestAWarehouseOfAnOlderProgramGetsItsAuditTable(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	b.sql("DROP TABLE $db.audit SYNC")
	if got, err := b.Audits(b.ctx, warehouse.AuditFilter{}); err != nil || len(got) != 0 {
		t.Errorf("without the table: %+v, %v", got, err)
	}
	if err := b.Audit(b.ctx, warehouse.AuditEntry{Who: "lin", Command: "c", TargetKind: "source"}); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Audits(b.ctx, warehouse.AuditFilter{}); err != nil || len(got) != 1 {
		t.Errorf("after a line was written: %+v, %v", got, err)
	}
}
