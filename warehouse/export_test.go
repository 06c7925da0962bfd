package warehouse

import (
	"testing"
	"time"
)

// SetScratchAge lets a test make scratch tables old at once.
func SetScratchAge(t testing.TB, w *Warehouse, age time.Duration) {
	w.scratchAge = age
	t.Cleanup(func() { w.scratchAge = scratchAge })
}

// PathRows lays out a region tree.
var PathRows = pathRows
