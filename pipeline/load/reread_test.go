package load_test

import (
	"context"
	"errors"
	"testing"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/pipeline/load"
	"github.com/headwater-data/headwater/schemas"
	"github.com/headwater-data/headwater/warehouse"
)

// A table that was filled ahead of the commits takes nothing twice, whatever flushes the next loader makes: their tokens are not
// those of the filling.
func TestRowsThatAreThereBeforeTheyAreLoadedGoInOnce(t *testing.T) {
	t.Parallel()
	died := errors.New("died")
	for _, test := range []struct {
		name     string
		change   bool // the table is exchanged before everything dies
		subjects string
	}{
		{"the exchange was made", true, "f2 f3 f4 f5"},
		// The content that is gone is a tombstone then.
		{"the exchange was not made", false, "f1 f1 f2 f3 f4 f5"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			schema, _ := schemas.Standard().Schema("observation")
			b.claim("x")
			b.batch("cases", "c1")
			b.content("figures", []string{"f1", "bad1"})
			b.mustLoad(options{})
			idle := b.service(options{})
			at, err := idle.Standing(t.Context(), rawTopic, 0)
			if err != nil {
				t.Fatal(err)
			}
			if at.From != b.end {
				t.Fatalf("loading rests at offset %d, want %d", at.From, b.end)
			}
			b.content("figures", []string{"f2"}, []string{"f3", "bad2"}, []string{"f4", "f5"})
			b.batch("cases", "c2") // of a source that is not rebuilt
			at.To = b.end
			if err := b.warehouse.MakeShadow(t.Context(), schema, "figures"); err != nil {
				t.Fatal(err)
			}
			account, err := idle.Fill(t.Context(), "figures", []string{"rows"}, []load.Stretch{at})
			if err != nil {
				t.Fatal(err)
			}
			extracted, loaded, quarantined := int64(0), int64(0), int64(0)
			for _, row := range account {
				extracted, loaded, quarantined = extracted+row.Extracted, loaded+row.Loaded, quarantined+row.Quarantined
			}
			if len(account) != 3 || extracted != 5 || loaded != 4 || quarantined != 1 {
				t.Errorf("%d lines with %d extracted, %d loaded, %d quarantined; want 3 with 5, 4, 1", len(account), extracted, loaded, quarantined)
			}
			b.expect("what the ledger knows", "SELECT sum(extracted) FROM $db.ledger FINAL", "3")
			err = idle.Ahead(t.Context(), []load.Stretch{at}, func(ctx context.Context) error {
				if !test.change {
					return died
				}
				return b.warehouse.ExchangeShadow(ctx, schema)
			})
			if test.change && err != nil || !test.change && !errors.Is(err, died) {
				t.Fatal(err)
			}
			b.mustLoad(options{records: 100})
			b.check("c1 c2", test.subjects, "9 7 0 2 0")
			b.expect("quarantined rows", "SELECT arrayStringConcat(arraySort(groupArray(status)), ' ') FROM $db.quarantine FINAL", "open superseded")
			// Behind the stretch nothing is asked any more.
			if at, err = idle.Standing(t.Context(), rawTopic, 0); err != nil || at.From != b.end {
				t.Errorf("loading rests at offset %d, %v; want %d", at.From, err, b.end)
			}
		})
	}
}

var errNoLedger = fault.Permanent(errors.New("the ledger takes nothing"))

type withoutLedger struct{ load.Warehouse }

func (withoutLedger) WriteLedger(context.Context, string, []warehouse.LedgerRow) error {
	return errNoLedger
}

// The change is not made where somebody has loaded on since, or is in the middle of it.
func TestNothingGoesAheadOfAnotherLoader(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.claim("x")
	b.batch("cases", "c1")
	b.mustLoad(options{})
	idle := b.service(options{})
	at, err := idle.Standing(t.Context(), rawTopic, 0)
	if err != nil {
		t.Fatal(err)
	}
	b.batch("cases", "c2")
	at.To = b.end
	b.mustLoad(options{})
	never := func(context.Context) error {
		t.Error("the change was made")
		return nil
	}
	if err := idle.Ahead(t.Context(), []load.Stretch{at}, never); fault.KindOf(err) != fault.KindEnvironment {
		t.Errorf("somebody has loaded on: %v, want an environmental error", err)
	}
	// A loader dies with an intent.
	b.batch("cases", "c3")
	if err := b.load(options{warehouse: withoutLedger{b.warehouse}}); !errors.Is(err, errNoLedger) {
		t.Fatalf("loaded without a ledger: %v", err)
	}
	if at, err := idle.Standing(t.Context(), rawTopic, 0); fault.KindOf(err) != fault.KindEnvironment {
		t.Errorf("a flush is unfinished: loading rests at %+v, %v; want an environmental error", at, err)
	}
	b.mustLoad(options{})
	b.check("c1 c2 c3", "", "3 3 0 0 0")
}
