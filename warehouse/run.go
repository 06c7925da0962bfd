package warehouse

import (
	"context"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// How a run stands.
const (
	RunRunning = "running"
	RunDone    = "done"
	RunFailed  = "failed"
	RunStopped = "stopped" // by a person or a shutdown; the next run goes on from there
)

// Run is one run of one source. Its key is run and source.
type Run struct {
	Run        string    `ch:"run"` // later runs sort after earlier ones
	Source     string    `ch:"source"`
	Trigger    string    `ch:"trigger"` // command, schedule, catch-up, retry, replay
	Instance   string    `ch:"instance"`
	StartedAt  time.Time `ch:"started_at"`
	FinishedAt time.Time `ch:"finished_at"` // zero while it runs
	Outcome    string    `ch:"outcome"`     // RunRunning, …
	Error      string    `ch:"error"`
	Attempt    int64     `ch:"attempt"`
	Shards     int64     `ch:"shards"`
	Extracted  int64     `ch:"extracted"`
	Rejected   int64     `ch:"rejected"`
	Messages   int64     `ch:"messages"`
	Bytes      int64     `ch:"bytes"`
	Changes    string    `ch:"changes"` // how the source's columns had changed, one stream a line
}

// WriteRun writes how a run stands: when it starts, and again when it ends. What is written later counts.
func (w *Warehouse) WriteRun(ctx context.Context, run Run) error {
	now := time.Now()
	token := "run/" + run.Run + "/" + run.Source + "/" + run.Outcome + "/" + now.UTC().Format(time.RFC3339Nano)
	return insertOwn(ctx, w, "run", token, []Run{run}, func(Run) uint64 { return uint64(now.UnixMicro()) }, nil)
}

// Runs returns the newest runs of all sources, newest first. A limit of 0 means all.
func (w *Warehouse) Runs(ctx context.Context, limit int) ([]Run, error) {
	return w.RunsOf(ctx, "", limit)
}

// RunsOf returns the newest runs of one source, newest first; of all when source is empty. A limit of 0 means all.
func (w *Warehouse) RunsOf(ctx context.Context, source string, limit int) ([]Run, error) {
	where := "({source:String} = '' OR own.source = {source:String}) ORDER BY own.started_at DESC, own.run DESC, own.source"
	args := []any{clickhouse.Named("source", source)}
	if limit > 0 {
		where += " LIMIT {limit:UInt64}"
		args = append(args, clickhouse.Named("limit", uint64(limit)))
	}
	return selectOwn[Run](ctx, w, "run", where, args...)
}
