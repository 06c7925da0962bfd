package warehouse

import (
	"bytes"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// SetScratchAge lets a test make scratch tables old at once.
func SetScratchAge(t testing.TB, w *Warehouse, age time.Duration) {
	w.scratchAge = age
	t.Cleanup(func() { w.scratchAge = scratchAge })
}

// PathRows lays out a region tree.
var PathRows = pathRows

// EncodeStream gives the bytes in which an insert sends the records.
func EncodeStream(mem memory.Allocator, records []arrow.Record) ([]byte, error) {
	plan, err := planStream(mem, records)
	if err != nil {
		return nil, err
	}
	defer plan.release()
	var out bytes.Buffer
	err = plan.write(&out)
	return out.Bytes(), err
}
