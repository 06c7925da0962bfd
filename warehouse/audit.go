package warehouse

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/oklog/ulid/v2"

	"github.com/headwater-data/headwater/internal/fault"
)

// How far a change has come.
const (
	AuditAsked  = "asked" // written before the change; alone it says that the change was cut short
	AuditDone   = "done"
	AuditFailed = "failed"
)

// AuditEntry is one line of the audit table. Its key is id and outcome, so that what was asked stays beside what came of it.
type AuditEntry struct {
	ID         string    `ch:"id"`      // defaults to a new one; later ones sort after earlier ones
	Outcome    string    `ch:"outcome"` // defaults to AuditAsked
	At         time.Time `ch:"at"`      // defaults to now
	Who        string    `ch:"who"`
	Host       string    `ch:"host"` // defaults to this machine
	Command    string    `ch:"command"`
	TargetKind string    `ch:"target_kind"` // quarantine, source, cursor, grants, reference, period, variance
	Target     string    `ch:"target"`
	Why        string    `ch:"why"`
	// Details is a JSON object. Neither secrets nor values of rows belong in it: who may read the table may not see them.
	Details string `ch:"details"`
	Error   string `ch:"error"`
}

// AuditDetails writes what else there is to know of a change.
func AuditDetails(details map[string]any) string {
	text, err := json.Marshal(details)
	if err != nil {
		panic("warehouse: audit details: " + err.Error()) // they are names and numbers of ours
	}
	return string(text)
}

// Audit writes one line. Of a line that is written twice one remains. Most callers want Audited, which writes both.
func (w *Warehouse) Audit(ctx context.Context, e AuditEntry) error {
	_, err := w.audit(ctx, e)
	return err
}

func (w *Warehouse) audit(ctx context.Context, e AuditEntry) (AuditEntry, error) {
	e.ID = cmp.Or(e.ID, NewAuditID())
	e.Outcome = cmp.Or(e.Outcome, AuditAsked)
	e.Details = cmp.Or(e.Details, "{}")
	if e.At.IsZero() {
		e.At = time.Now().UTC()
	}
	if e.Host == "" {
		host, err := os.Hostname()
		if err != nil {
			return e, fault.Environment(fmt.Errorf("audit: find this machine's name: %w", err))
		}
		e.Host = host
	}
	if e.Who == "" || e.Command == "" || e.TargetKind == "" {
		return e, fault.Permanent(fmt.Errorf("audit: who %q, command %q, target kind %q: none may be empty", e.Who, e.Command, e.TargetKind))
	}
	token := "audit/" + e.ID + "/" + e.Outcome + "/" + e.At.UTC().Format(time.RFC3339Nano)
	write := func() error {
		return insertOwn(ctx, w, "audit", token, []AuditEntry{e}, func(AuditEntry) uint64 { return firstVersion }, nil)
	}
	err := write()
	if noTable(err) {
		// The warehouse was last migrated by a program that had no audit, or never: rights are given before the first run.
		if err = w.createDatabase(ctx); err != nil {
			return e, err
		}
		if err = w.exec(ctx, "make the audit table", ownSchema("audit").CreateTable(w.config.Database)); err == nil {
			err = write()
		}
	}
	return e, err
}

// noTable reports whether the error is that of a table, or its database, that is not there.
func noTable(err error) bool {
	exception, ok := errors.AsType[*clickhouse.Exception](err)
	return ok && (exception.Code == 60 || exception.Code == 81) // UNKNOWN_TABLE, UNKNOWN_DATABASE
}

// NewAuditID makes the id of a change: unique, and in the order of time.
func NewAuditID() string { return strings.ToLower(ulid.Make().String()) }

// auditLastWords bounds how long the second line of a change may take when what asked for it has ended.
const auditLastWords = 15 * time.Second

// Audited makes a change between the two lines that tell of it. A change of which the first line cannot be written is not made.
// The change may add to the entry that it is given: its details, why and target as they stand then go into the second line.
func (w *Warehouse) Audited(ctx context.Context, e AuditEntry, change func(e *AuditEntry) error) error {
	e, err := w.audit(ctx, e)
	if err != nil {
		return fmt.Errorf("nothing was changed: %w", err)
	}
	failed := change(&e)
	e.At, e.Outcome = time.Now().UTC(), AuditDone
	if failed != nil {
		// Only what kind of error it is: the text of one may quote the row that it is about.
		e.Outcome, e.Error = AuditFailed, kindOfFailure(failed)
	}
	words, stop := context.WithTimeout(context.WithoutCancel(ctx), auditLastWords)
	defer stop()
	if err := w.Audit(words, e); err != nil {
		return errors.Join(failed, fmt.Errorf("the change was made, but how it ended is not in the audit table: %w", err))
	}
	return failed
}

func kindOfFailure(err error) string {
	if errors.Is(err, context.Canceled) {
		return "stopped"
	}
	switch fault.KindOf(err) {
	case fault.KindTransient:
		return "transient: it may succeed when it is tried again"
	case fault.KindEnvironment:
		return "environment: a server is away or a right is missing"
	case fault.KindUsage:
		return "usage: it was refused"
	}
	return "permanent"
}

// AuditedChange is a change that somebody asked for, as its lines tell it.
type AuditedChange struct {
	AuditEntry           // the first line, with outcome, target, details and error of the newest one
	Ended      time.Time // zero while it has not
}

// AuditFilter selects changes. Empty fields select everything.
type AuditFilter struct {
	Since      time.Time
	TargetKind string
	Limit      int // 0 means all
}

// Audits returns what people changed, newest first.
func (w *Warehouse) Audits(ctx context.Context, filter AuditFilter) ([]AuditedChange, error) {
	where := "own.id IN (SELECT id FROM " + w.table("audit") + " FINAL WHERE outcome = 'asked' AND at >= fromUnixTimestamp64Milli({since:Int64}, 'UTC') AND ({kind:String} = '' OR target_kind = {kind:String}) ORDER BY id DESC"
	since := int64(0)
	if !filter.Since.IsZero() {
		since = filter.Since.UnixMilli()
	}
	args := []any{clickhouse.Named("since", since), clickhouse.Named("kind", filter.TargetKind)}
	if filter.Limit > 0 {
		where += " LIMIT {limit:UInt64}"
		args = append(args, clickhouse.Named("limit", uint64(filter.Limit)))
	}
	lines, err := selectOwn[AuditEntry](ctx, w, "audit", where+") ORDER BY own.id DESC, own.outcome", args...)
	if noTable(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []AuditedChange
	for _, e := range lines { // asked comes before done and failed
		if n := len(out) - 1; n >= 0 && out[n].ID == e.ID {
			out[n].Outcome, out[n].Target, out[n].Details, out[n].Error, out[n].Ended = e.Outcome, e.Target, e.Details, e.Error, e.At
			continue
		}
		out = append(out, AuditedChange{AuditEntry: e})
	}
	return out, nil
}
