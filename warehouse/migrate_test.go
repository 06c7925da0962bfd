package warehouse_test

import (
	"context"
	"testing"

	"github.com/headwater-data/headwater/schemas"
)

func TestTryMigrate(t *testing.T) {
	w := open(t)
	changes, err := w.Migrate(context.Background(), schemas.Standard())
	for _, c := range changes {
		t.Log(c)
	}
	if err != nil {
		t.Fatal(err)
	}
	changes, err = w.Migrate(context.Background(), schemas.Standard())
	t.Log(changes, err)
}
