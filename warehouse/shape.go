package warehouse

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// ErrNoShape says that no shape was stored under the hash.
var ErrNoShape = errors.New("no such shape is stored")

type shapeRow struct {
	Hash     string    `ch:"hash"`
	Body     string    `ch:"body"`
	StoredAt time.Time `ch:"stored_at"`
}

// PutShape stores what shapes rows under its hash. The loader does so before an intent names the hash (L2). Storing it again
// changes nothing.
func (w *Warehouse) PutShape(ctx context.Context, hash string, body []byte) error {
	switch _, err := w.Shape(ctx, hash); {
	case err == nil:
		return nil
	case !errors.Is(err, ErrNoShape):
		return err
	}
	row := shapeRow{Hash: hash, Body: string(body), StoredAt: time.Now().UTC()}
	return insertOwn(ctx, w, "shape", "shape/"+hash, []shapeRow{row}, func(shapeRow) uint64 { return firstVersion }, nil)
}

// Shape returns what was stored under the hash, or ErrNoShape.
func (w *Warehouse) Shape(ctx context.Context, hash string) ([]byte, error) {
	rows, err := selectOwn[shapeRow](ctx, w, "shape", "own.hash = {hash:String}", clickhouse.Named("hash", hash))
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("shape %s: %w", clip(hash), ErrNoShape)
	}
	return []byte(rows[0].Body), nil
}
