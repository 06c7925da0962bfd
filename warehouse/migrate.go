package warehouse

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/schemas"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

//go:embed views/*.sql
var viewFiles embed.FS

// Views lists the analysis views in the order in which they are made: a view follows those that it reads.
var Views = []string{
	"observation_current",
	"target_current",
	"observation_placed",
	"observation_cell",
	"figure_live",
	"report_live",
	"indicator_rollup",
	"indicator_rollup_today",
	"indicator_reconciliation",
	"indicator_trend",
	"indicator_ranking",
	"indicator_band",
	"index_component",
	"index_score",
	"ledger_balance",
	"freshness",
	"quarantine_open",
	"air_quality_hour",
	"air_quality_day",
	"environment_quality",
	"hotline_performance",
	"issue_closure",
	"loop_step",
	"task_status",
	"missing_link",
	"project_map",
	"evaluation_score",
	"lineage",
	"observation_history",
	"correction",
	"data_quality_scorecard",
	"data_catalog",
	"indicator_official",
	"reporting_status",
	"variance",
}

// Change is one thing that Migrate did.
type Change struct {
	Object string // such as "table observation" or "view freshness"
	What   string // for people, such as "created" or "field note string is new"
}

func (c Change) String() string { return c.Object + ": " + c.What }

// IncompatibleError says that tables cannot follow the schemas without losing or changing what is in them. Nothing was
// changed.
type IncompatibleError struct {
	Breaks []Break
}

// Break is one reason.
type Break struct{ Table, Why string }

func (e *IncompatibleError) Error() string {
	var b strings.Builder
	b.WriteString("the tables that are there cannot follow the schemas:")
	for _, r := range e.Breaks {
		b.WriteString("\n  " + r.Table + ": " + r.Why)
	}
	b.WriteString("\ngive a changed record a new schema name, or move the old table away and load it again")
	return b.String()
}

func (w *Warehouse) createDatabase(ctx context.Context) error {
	// A server asks for the right to create even when there is nothing to create, and whoever only loads need not have it.
	var there uint64
	if err := w.wrap(w.server.QueryRow(ctx, "SELECT count() FROM system.databases WHERE name = {database:String}", clickhouse.Named("database", w.config.Database)).Scan(&there), "look for the database"); err != nil || there > 0 {
		return err
	}
	return w.wrap(w.server.Exec(ctx, "CREATE DATABASE IF NOT EXISTS "+quoteName(w.config.Database)+
		" COMMENT '源头数据仓 / Headwater: departmental data, standardised and accounted for'"), "create database")
}

// Migrate brings the database to what the set says: it creates the database, its tables and views, and lets tables follow
// compatible changes of their schemas (fields added, types widened, titles). What is incompatible is refused with an
// *IncompatibleError before anything is changed. It may be called at any time, again, and by several processes at once.
func (w *Warehouse) Migrate(ctx context.Context, set *schemas.Set) ([]Change, error) {
	w.migrating.Lock()
	defer w.migrating.Unlock()
	if err := w.createDatabase(ctx); err != nil {
		return nil, err
	}
	if err := w.dropOldScratch(ctx); err != nil {
		return nil, err
	}
	// Statements are harmless when repeated, but two processes can still meet in one. Then the plan is made again.
	const attempts = 6
	var changes []Change
	for attempt := 1; ; attempt++ {
		done, err := w.migrateOnce(ctx, set)
		changes = append(changes, done...)
		if err == nil || attempt == attempts || !metAnother(err) {
			return changes, err
		}
		w.log.Info("another process is migrating the warehouse too; planning again", "attempt", attempt)
		select {
		case <-ctx.Done():
			return changes, context.Cause(ctx)
		case <-time.After(time.Duration(attempt) * 100 * time.Millisecond):
		}
	}
}

// metAnother reports whether the error can come of two processes that change the same thing.
func metAnother(err error) bool {
	exception, ok := errors.AsType[*clickhouse.Exception](err)
	return ok && slices.Contains([]int32{
		57,  // TABLE_ALREADY_EXISTS
		60,  // UNKNOWN_TABLE: it is being replaced
		44,  // ILLEGAL_COLUMN: it was added meanwhile
		10,  // NOT_FOUND_COLUMN_IN_BLOCK
		218, // TABLE_IS_DROPPED
		473, // DEADLOCK_AVOIDED
		517, // CANNOT_ASSIGN_ALTER
		341, // UNFINISHED
		36,  // BAD_ARGUMENTS: metadata changed under an ALTER
		521, // ATOMIC_RENAME_FAIL: both replaced one view
	}, exception.Code)
}

// applied is one row of the table migration.
type applied struct {
	Step string `ch:"step"`
	Hash string `ch:"hash"`
	Body string `ch:"body"`
}

func (w *Warehouse) migrateOnce(ctx context.Context, set *schemas.Set) ([]Change, error) {
	tables, err := w.existing(ctx)
	if err != nil {
		return nil, err
	}
	steps, err := w.migrations(ctx, tables["migration"] != nil)
	if err != nil {
		return nil, err
	}
	var plan []planned
	var breaks []Break
	for _, name := range set.Names() {
		schema, _ := set.Schema(name)
		if !schema.Lineage && name == "ledger" {
			schema = ownSchema(name)
		}
		more, why, err := w.planTable(ctx, schema, tables[schema.TableName()], steps["table "+schema.TableName()])
		if err != nil {
			return nil, err
		}
		plan, breaks = append(plan, more...), append(breaks, why...)
	}
	if len(breaks) > 0 {
		return nil, fault.Usage(fmt.Errorf("migrate warehouse: %w", &IncompatibleError{Breaks: breaks}))
	}
	for _, name := range slices.Concat(Views, DatedViews) {
		written, err := viewText(name)
		if err != nil {
			return nil, err
		}
		text := asInvoker([]byte(written))
		step := applied{Step: "view " + name, Hash: hashOf(text), Body: string(text)}
		what := "created"
		if there := tables[name]; there != nil {
			if steps[step.Step].Hash == step.Hash {
				continue
			}
			what = "changed"
		}
		plan = append(plan, planned{step: step, change: &Change{Object: step.Step, What: what}, statement: string(text)})
	}
	var changes []Change
	for _, p := range plan {
		if p.statement != "" {
			if err := w.exec(ctx, "migrate warehouse: "+p.step.Step, p.statement); err != nil {
				return changes, err
			}
		}
		if view, ok := strings.CutPrefix(p.step.Step, "view "); ok && p.change != nil && makesFigures(view) {
			if err := w.markAll(ctx, p.step.Step); err != nil {
				return changes, err
			}
		}
		if p.change != nil {
			changes = append(changes, *p.change)
			w.log.Debug("migrated the warehouse", "object", p.change.Object, "change", p.change.What)
		}
		if p.step.Hash != "" {
			if err := w.record(ctx, p.step); err != nil {
				return changes, err
			}
		}
	}
	return changes, nil
}

// asInvoker makes a view run with the rights and row policies of whoever asks, whatever the server's default is: with those of who
// made it, readers of a part would see the whole.
func asInvoker(view []byte) []byte {
	return bytes.Replace(view, []byte("\n)\nAS\n"), []byte("\n)\nSQL SECURITY INVOKER\nAS\n"), 1)
}

// planned is a statement, what to tell about it, and what to record after it.
type planned struct {
	statement string  // "" for nothing but the record
	change    *Change // nil when nobody need know
	step      applied // Hash "" for nothing to record
}

// migrations runs the versioned migrations that have not run yet, in order, and returns all steps recorded so far. A
// migration must be harmless when repeated: a process can die between running and recording it. The first makes the table that
// tells which have run; recorded says that this table is there.
func (w *Warehouse) migrations(ctx context.Context, recorded bool) (map[string]applied, error) {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	steps := map[string]applied{}
	if recorded {
		if steps, err = w.steps(ctx); err != nil {
			return nil, err
		}
	}
	for i, file := range names {
		text, err := migrationFiles.ReadFile(file)
		if err != nil {
			return nil, err
		}
		step := applied{Step: "migration " + strings.TrimSuffix(strings.TrimPrefix(file, "migrations/"), ".sql"), Hash: hashOf(text), Body: string(text)}
		if steps[step.Step].Hash != "" {
			continue
		}
		if err := w.exec(ctx, "migrate warehouse: "+step.Step, string(text)); err != nil {
			return nil, err
		}
		if i == 0 && !recorded {
			if steps, err = w.steps(ctx); err != nil {
				return nil, err
			}
		}
		if steps[step.Step].Hash == "" {
			if err := w.record(ctx, step); err != nil {
				return nil, err
			}
			steps[step.Step] = step
		}
	}
	return steps, nil
}

func (w *Warehouse) steps(ctx context.Context) (map[string]applied, error) {
	var rows []applied
	if err := w.data.Select(ctx, &rows, "SELECT step, hash, body FROM "+w.table("migration")+" FINAL"); err != nil {
		return nil, w.wrap(err, "read what was migrated")
	}
	steps := make(map[string]applied, len(rows))
	for _, r := range rows {
		steps[r.Step] = r
	}
	return steps, nil
}

func (w *Warehouse) record(ctx context.Context, step applied) error {
	return w.exec(ctx, "record "+step.Step, "INSERT INTO "+w.table("migration")+" (step, hash, body, applied_at) SELECT {step:String}, {hash:String}, {body:String}, now64(6, 'UTC')",
		clickhouse.Named("step", step.Step), clickhouse.Named("hash", step.Hash), clickhouse.Named("body", step.Body))
}

func hashOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// table is what the server says of a table or view that is there.
type table struct {
	engine, sortingKey, partitionKey, comment string
	columns                                   []column
}

type column struct {
	Table   string `ch:"table"`
	Name    string `ch:"name"`
	Type    string `ch:"type"`
	Default string `ch:"default_expression"`
	Comment string `ch:"comment"`
}

func (w *Warehouse) existing(ctx context.Context) (map[string]*table, error) {
	database := clickhouse.Named("database", w.config.Database)
	var heads []struct {
		Name         string `ch:"name"`
		Engine       string `ch:"engine"`
		SortingKey   string `ch:"sorting_key"`
		PartitionKey string `ch:"partition_key"`
		Comment      string `ch:"comment"`
	}
	if err := w.data.Select(ctx, &heads, "SELECT name, engine, sorting_key, partition_key, comment FROM system.tables WHERE database = {database:String}", database); err != nil {
		return nil, w.wrap(err, "list tables")
	}
	tables := make(map[string]*table, len(heads))
	for _, h := range heads {
		tables[h.Name] = &table{engine: h.Engine, sortingKey: h.SortingKey, partitionKey: h.PartitionKey, comment: h.Comment}
	}
	var columns []column
	if err := w.data.Select(ctx, &columns, "SELECT table, name, type, default_expression, comment FROM system.columns WHERE database = {database:String} ORDER BY table, position", database); err != nil {
		return nil, w.wrap(err, "list columns")
	}
	for _, c := range columns {
		if t := tables[c.Table]; t != nil {
			t.columns = append(t.columns, c)
		}
	}
	return tables, nil
}

// planTable compares a schema with its table. Two things decide: what the schema was when the table last followed it, which
// tells what a change would mean, and what the table really has, which tells what is left to do.
func (w *Warehouse) planTable(ctx context.Context, schema *schemas.Schema, there *table, last applied) (plan []planned, breaks []Break, err error) {
	name := schema.TableName()
	body, err := json.Marshal(schema)
	if err != nil {
		return nil, nil, fmt.Errorf("write schema %s as JSON: %w", name, err)
	}
	step := applied{Step: "table " + name, Hash: hashOf(body), Body: string(body)}
	create := schema.CreateTable(w.config.Database)
	if there == nil {
		return []planned{{statement: create, change: &Change{Object: step.Step, What: "created"}, step: step}}, nil, nil
	}
	broken := func(format string, args ...any) {
		breaks = append(breaks, Break{Table: name, Why: fmt.Sprintf(format, args...)})
	}
	known := last.Body != ""
	if known && last.Hash != step.Hash {
		var old schemas.Schema
		if err := json.Unmarshal([]byte(last.Body), &old); err != nil {
			return nil, nil, fmt.Errorf("read the schema that table %s was made from: %w", name, err)
		}
		_, why := schemas.Compare(&old, schema)
		for _, reason := range why {
			broken("%s", reason)
		}
		if len(breaks) > 0 {
			return nil, breaks, nil // the table would say the same in its own words
		}
	}
	if !strings.HasSuffix(there.engine, "ReplacingMergeTree") {
		broken("it is a %s, not a ReplacingMergeTree", there.engine)
		return nil, breaks, nil
	}
	if want := plainKey(strings.Join(schema.OrderBy(), ", ")); want != plainKey(there.sortingKey) {
		broken("it is sorted by (%s), the schema says (%s)", there.sortingKey, want)
	}
	wantPartition := ""
	if schema.PartitionBy == "year" {
		wantPartition = "toYear(" + schema.Time + ")"
	}
	if got := strings.ReplaceAll(there.partitionKey, "`", ""); got != wantPartition {
		broken("it is split by %q, the schema says %q", got, wantPartition)
	}
	columns, err := w.planColumns(ctx, schema, there, known, broken)
	if err != nil {
		return nil, nil, err
	}
	if len(breaks) > 0 {
		return nil, breaks, nil
	}
	plan = columns
	if comment := tableComment(create); comment != there.comment {
		plan = append(plan, planned{statement: "ALTER TABLE " + w.table(name) + " MODIFY COMMENT " + quoteText(comment), change: &Change{Object: step.Step, What: "title or description changed"}})
	}
	if last.Hash != step.Hash {
		plan = append(plan, planned{step: step})
	}
	for i := range plan {
		if plan[i].step.Step == "" {
			plan[i].step.Step = step.Step
		}
	}
	return plan, nil, nil
}

// plainKey writes a key without quotes and brackets: servers differ in where they put them.
func plainKey(key string) string { return strings.NewReplacer("`", "", "(", "", ")", "").Replace(key) }

// planColumns says what is left to do for the table's columns.
func (w *Warehouse) planColumns(ctx context.Context, schema *schemas.Schema, there *table, known bool, broken func(string, ...any)) ([]planned, error) {
	name := schema.TableName()
	have := map[string]column{}
	for _, c := range there.columns {
		have[c.Name] = c
	}
	var plan []planned
	alter := func(what, format string, args ...any) {
		plan = append(plan, planned{statement: "ALTER TABLE " + w.table(name) + " " + fmt.Sprintf(format, args...), change: &Change{Object: "table " + name, What: what}})
	}
	wanted := map[string]bool{}
	after := ""
	for _, want := range schema.Columns() {
		wanted[want.Name] = true
		got, ok := have[want.Name]
		switch {
		case !ok:
			if !known && want.Default == "" && !strings.Contains(want.Type, "Nullable(") && !strings.HasPrefix(want.Type, "Array(") {
				broken("column %s %s is not there, and rows that are there would have no value", want.Name, want.Type)
				continue
			}
			position := " FIRST"
			if after != "" {
				position = " AFTER " + quoteName(after)
			}
			alter(fmt.Sprintf("column %s %s added", want.Name, want.Type), "ADD COLUMN IF NOT EXISTS %s%s", want.Definition(), position)
		case got.Type != want.Type && !known:
			broken("column %s is %s, the schema says %s", want.Name, got.Type, want.Type)
		case got.Type != want.Type:
			alter(fmt.Sprintf("column %s is %s, was %s", want.Name, want.Type, got.Type), "MODIFY COLUMN %s", want.Definition())
		case got.Default != want.Default && !sameDefault(got.Default, want.Default):
			if want.Default == "" {
				alter(fmt.Sprintf("column %s has no default any more", want.Name), "MODIFY COLUMN %s REMOVE DEFAULT", quoteName(want.Name))
				break
			}
			alter(fmt.Sprintf("column %s has the default %s, was %s", want.Name, want.Default, got.Default), "MODIFY COLUMN %s", want.Definition())
		case got.Comment != want.Comment:
			alter(fmt.Sprintf("title or description of column %s changed", want.Name), "COMMENT COLUMN %s %s", quoteName(want.Name), quoteText(want.Comment))
		}
		after = want.Name
	}
	for _, c := range there.columns {
		if !wanted[c.Name] {
			broken("column %s %s is in the table and not in the schema", c.Name, c.Type)
		}
	}
	return plan, nil
}

// sameDefault compares defaults as the server rewrites them.
func sameDefault(a, b string) bool {
	plain := func(s string) string { return strings.NewReplacer("(", "", ")", "", " ", "").Replace(s) }
	return plain(a) == plain(b)
}

// tableComment takes the table's comment out of its CREATE statement, where it stands last: the schema has no other way of
// saying it.
func tableComment(create string) string {
	const mark = "\nCOMMENT '"
	i := strings.LastIndex(create, mark)
	if i < 0 {
		return ""
	}
	text := strings.TrimSuffix(create[i+len(mark):], "'")
	return strings.NewReplacer(`\\`, `\`, `\'`, `'`, `\n`, "\n").Replace(text)
}
