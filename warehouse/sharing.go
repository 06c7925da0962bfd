package warehouse

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// SharedDataset is one stream of a project with what its source states of how it is shared: a row of the table data_sharing.
// Where the source states nothing, Stated is false and what comes after it is empty.
type SharedDataset struct {
	Source    string `ch:"source"`
	Stream    string `ch:"stream"`
	Title     string `ch:"title"`
	Owner     string `ch:"owner"`
	Connector string `ch:"connector"`
	Schema    string `ch:"schema"`
	Stated    bool   `ch:"stated"`

	Provider      string     `ch:"provider"`
	ProviderCode  string     `ch:"provider_code"`
	Content       string     `ch:"content"`
	Method        string     `ch:"method"` // import, form, direct or source
	Basis         string     `ch:"basis"`
	Type          string     `ch:"sharing_type"` // unconditional, conditional or none
	Condition     string     `ch:"condition"`
	Frequency     string     `ch:"frequency"`         // a grain, or realtime
	Deadline      *int64     `ch:"deadline_seconds"`  // after the end of a period; nil when none was agreed, or one in workdays
	Workdays      *int64     `ch:"deadline_workdays"` // likewise, where it was agreed in workdays
	Indicators    []string   `ch:"indicators"`
	DueIndicators []string   `ch:"due_indicators"`
	DueLevels     []string   `ch:"due_levels"` // empty for those of each indicator
	DueWithin     string     `ch:"due_within"`
	DueSince      *time.Time `ch:"due_since"`
	DueUntil      *time.Time `ch:"due_until"` // nil for no end

	Deleted bool `json:"-"`
}

// SyncSharing fills the table data_sharing, as Sync does the others: nothing happens when it has not changed, and what is no
// longer listed is marked as deleted. Call it after Migrate.
func (w *Warehouse) SyncSharing(ctx context.Context, datasets []SharedDataset) error {
	w.migrating.Lock()
	defer w.migrating.Unlock()
	steps, err := w.steps(ctx)
	if err != nil {
		return err
	}
	rows := slices.Concat([]SharedDataset{}, datasets)
	slices.SortFunc(rows, func(a, b SharedDataset) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Stream, b.Stream))
	})
	return syncTable(ctx, w, steps, content[SharedDataset]{
		table: "data_sharing", columns: ownSchema("data_sharing").Arrow().Fields(), keyColumns: "source, stream", rows: rows,
		key:     func(d SharedDataset) string { return d.Source + "/" + d.Stream },
		gone:    func(d *SharedDataset) { d.Deleted = true },
		deleted: func(d SharedDataset) bool { return d.Deleted },
	})
}

// The stages that a dataset passes on its way into the analysis.
const (
	StagePlanned      = "planned"      // configured, and never read
	StageConnected    = "connected"    // a run has reached its system
	StageIngested     = "ingested"     // rows of it were read
	StageStandardized = "standardized" // rows of it are in a standard table
	StageUsed         = "used"         // an indicator of the project has figures from it
)

// CatalogStage is how far one dataset has come: what the view data_catalog knows beside the project's files.
type CatalogStage struct {
	Source       string     `ch:"source"`
	Stream       string     `ch:"stream"`
	Stage        string     `ch:"stage"`
	LastLoadedAt *time.Time `ch:"last_loaded_at"`
	NewestPeriod *time.Time `ch:"newest_period"`
	Loaded       int64      `ch:"loaded"`
}

// CatalogStages tells how far each dataset has come.
func (w *Warehouse) CatalogStages(ctx context.Context) ([]CatalogStage, error) {
	return report[CatalogStage](ctx, w, "data_catalog", "1 ORDER BY source, stream")
}
