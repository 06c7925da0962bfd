package sql

import "testing"

// TestASnapshotTellsWhetherATransactionHadEnded: what a row looked like only counts when the transaction was seen, also where its number
// has wrapped around in the log and not in the snapshot.
func TestASnapshotTellsWhetherATransactionHadEnded(t *testing.T) {
	for _, c := range []struct {
		snapshot string
		xid      uint32
		ended    bool
	}{
		{"100:100:", 99, true},
		{"100:100:", 100, false},
		{"100:105:101,103", 102, true},
		{"100:105:101,103", 103, false},
		{"100:105:101,103", 105, false},
		{"100:105:101,103", 4294967295, true},
		{"8589934600:8589934605:8589934601", 9, false},
		{"8589934600:8589934605:8589934601", 10, true},
		{"4294967290:4294967300:4294967294", 4294967294, false},
		{"4294967290:4294967300:4294967294", 3, true},
		{"4294967290:4294967300:4294967294", 4, false},
	} {
		if got, err := ended(c.snapshot, c.xid); err != nil || got != c.ended {
			t.Errorf("transaction %d in %s: ended is %v (%v), want %v", c.xid, c.snapshot, got, err, c.ended)
		}
	}
	for _, snapshot := range []string{"", "1:2", "1:x:", "1:2:x"} {
		if _, err := ended(snapshot, 1); err == nil {
			t.Errorf("%q is taken for a snapshot", snapshot)
		}
	}
}
