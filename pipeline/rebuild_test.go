package pipeline

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/headwater-data/headwater/warehouse"
)

func TestFlushesAreRebuiltInTheOrderInWhichTheyWereLoaded(t *testing.T) {
	t.Parallel()
	flush := func(partition int32, from int64, second int) warehouse.HeldFlush {
		return warehouse.HeldFlush{Range: warehouse.Range{Topic: "t", Partition: partition, From: from, To: from + 1}, Rows: []warehouse.LedgerRow{{LoadedAt: time.Unix(int64(second), 0)}}}
	}
	// Partition 0 has the replay of what partition 1 brought; the first flush of partition 1 was repaired at 90.
	flushes := []warehouse.HeldFlush{flush(1, 7, 30), flush(0, 4, 40), flush(1, 5, 90), flush(0, 2, 10), flush(1, 9, 50)}
	inOrder(flushes)
	var got []string
	for _, f := range flushes {
		got = append(got, fmt.Sprintf("%d@%d", f.Range.Partition, f.Range.From))
	}
	if want := "0@2 1@5 1@7 0@4 1@9"; strings.Join(got, " ") != want {
		t.Errorf("order %v, want %s", got, want)
	}
}
