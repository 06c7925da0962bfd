package warehouse

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/headwater-data/headwater/internal/embedded/clickhouse/clickhousetest"
	"github.com/headwater-data/headwater/internal/secret"
	"github.com/headwater-data/headwater/schemas"
)

func TestATurnIsOnesAlone(t *testing.T) {
	t.Parallel()
	server := clickhousetest.Start(t)
	ctx := context.Background()
	config := Config{Addr: server.Addr, User: server.User, Password: secret.New(server.Password), Database: server.Database(t)}
	var having atomic.Int32
	var all sync.WaitGroup
	for i := range 3 {
		w, err := Open(ctx, config)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		}()
		if i == 0 {
			if _, err := w.Migrate(ctx, schemas.Standard()); err != nil {
				t.Fatal(err)
			}
		}
		all.Go(func() {
			for range 5 {
				turn, err := w.takeTurn(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				if n := having.Add(1); n != 1 {
					t.Errorf("%d have the turn", n)
				}
				if err := turn.goOn(ctx); err != nil {
					t.Error(err)
				}
				having.Add(-1)
				turn.giveBack(ctx)
			}
		})
	}
	all.Wait()
}
