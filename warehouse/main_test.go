package warehouse_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"go.uber.org/goleak"

	"github.com/headwater-data/headwater/internal/embedded/clickhouse/clickhousetest"
	"github.com/headwater-data/headwater/internal/secret"
	"github.com/headwater-data/headwater/warehouse"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var databases atomic.Int64

// open returns a warehouse in a database of the test's own on an embedded server, with a checked allocator.
func open(t *testing.T) *warehouse.Warehouse {
	t.Helper()
	server := clickhousetest.Start(t)
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	name := fmt.Sprintf("t%d_%s", databases.Add(1), strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, t.Name()))
	w, err := warehouse.Open(context.Background(), warehouse.Config{
		Addr: server.Addr, User: server.User, Password: secret.New(server.Password), Database: name, Allocator: mem,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		mem.AssertSize(t, 0)
	})
	return w
}
