package warehouse

import (
	"context"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// Account is what became of a run's rows, added up over its flushes. In source rows but for Records, Deleted and Warnings.
type Account struct {
	Extracted   int64 `ch:"extracted" json:"extracted"`
	Loaded      int64 `ch:"loaded" json:"loaded"`
	Duplicate   int64 `ch:"duplicate" json:"duplicate"`
	Quarantined int64 `ch:"quarantined" json:"quarantined"`
	Filtered    int64 `ch:"filtered" json:"filtered"`
	Held        int64 `ch:"held" json:"held"`
	Records     int64 `ch:"records" json:"records"`
	Deleted     int64 `ch:"deleted" json:"deleted"`
	Warnings    int64 `ch:"warnings" json:"warnings"`
}

// Balanced reports whether every row has an outcome.
func (a Account) Balanced() bool {
	return a.Extracted == a.Loaded+a.Duplicate+a.Quarantined+a.Filtered+a.Held
}

// RunAccounts returns the account of each source in one run, as far as its batches have been loaded.
func (w *Warehouse) RunAccounts(ctx context.Context, run string) (map[string]Account, error) {
	var rows []struct {
		Source string `ch:"source"`
		Account
	}
	statement := `SELECT source, sum(extracted) AS extracted, sum(loaded) AS loaded, sum(duplicate) AS duplicate, sum(quarantined) AS quarantined,
		sum(filtered) AS filtered, sum(held) AS held, sum(records) AS records, sum(deleted) AS deleted, sum(warnings) AS warnings
		FROM (SELECT * FROM ` + w.table("ledger") + ` FINAL WHERE _deleted = 0 AND run = {run:String} AND source != '') AS own GROUP BY source`
	if err := w.data.Select(ctx, &rows, statement, clickhouse.Named("run", run)); err != nil {
		return nil, w.wrap(err, "read the account of run "+run)
	}
	out := map[string]Account{}
	for _, r := range rows {
		out[r.Source] = r.Account
	}
	return out, nil
}
