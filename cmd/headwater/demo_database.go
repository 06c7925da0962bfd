package main

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/internal/testdb"
)

// demoDatabase is a server with the demo's departments in it: one table for each source, with the rows of its files that can be read.
type demoDatabase struct {
	kind   string // postgres or mariadb
	server *testdb.Server
	stop   func() error
	db     *sql.DB
	tables []*demoTable
}

const (
	demoDatabaseName = "livelihood"
	demoReader       = "headwater" // may read, and follow changes
	demoPassword     = "for-the-demo-only"
	demoPublication  = "headwater"
	demoPasswordFile = "database.password"
	demoAuthority    = "database-ca.pem"

	// demoChunk is how many rows of a table the writer looks after in one transaction, and demoBeat how long it waits after each.
	demoChunk = 100
	demoBeat  = 10 * time.Millisecond
)

// demoChanged names the columns whose figures the writer changes: those that no mapping makes part of a key, for a row with another
// key is another record.
var demoChanged = map[string]string{
	"market_supervision": "食品生产企业阳光工厂-累计建成", "jinyun": "累计完成", "hangzhou_inspections": "检查次数", "province_table": "factory", "targets": "年度目标", "air_stations": "pm2_5",
	"health_daily": "新增病例-本土", "transport_daily": "当日值", "epidemic_2020": "confirmed",
}

// demoTable is a department's table.
type demoTable struct {
	source  string
	name    string
	fields  []arrow.Field
	rows    [][]any // as the files have them, in their order
	changed int     // the column that the writer changes; -1 for none
}

// completeServers is for the shell: the servers that a demo can read from.
func completeServers(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"postgres", "mariadb"}, cobra.ShellCompDirectiveNoFileComp
}

// openDemoDatabase starts a server and fills it with what the project's files hold, as it is before the writer has put it right. The
// caller closes it.
func openDemoDatabase(ctx context.Context, p *project.Project, kind string) (d *demoDatabase, err error) {
	d = &demoDatabase{kind: kind}
	if d.tables, err = readDemoTables(ctx, p); err != nil {
		return nil, fmt.Errorf("read the demo's files: %w", err)
	}
	if d.server, d.stop, err = testdb.Start(ctx, kind); err != nil {
		return nil, fault.Environment(fmt.Errorf("start a server (its packages come from Debian's apt the first time): %w", err))
	}
	if err := d.fill(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("fill the demo's database: %w", err), d.close())
	}
	return d, nil
}

func (d *demoDatabase) close() (err error) {
	if d.db != nil {
		err = d.db.Close()
	}
	return errors.Join(err, d.stop())
}

// readDemoTables reads the files of each source with its connector. Streams of a source read the same files.
func readDemoTables(ctx context.Context, p *project.Project) (tables []*demoTable, err error) {
	for _, s := range p.Sources() {
		t := &demoTable{source: s.Name, name: strings.ReplaceAll(s.Name, "-", "_"), changed: -1}
		source, err := p.OpenSource(ctx, s.Name, connectors.Environment{Dir: p.Dir, Allocator: memory.DefaultAllocator, Logger: slog.New(slog.DiscardHandler), Now: time.Now})
		if err != nil {
			return nil, err
		}
		err = t.read(ctx, source, s.Streams[0].Name)
		if err = errors.Join(err, source.Close()); err != nil {
			return nil, fmt.Errorf("source %s: %w", s.Name, err)
		}
		for i, f := range t.fields {
			if f.Name == demoChanged[t.name] {
				t.changed = i
			}
		}
		tables = append(tables, t)
	}
	return tables, nil
}

func (t *demoTable) read(ctx context.Context, source connectors.Source, stream string) error {
	shards := []connectors.Stream{{Name: stream}}
	if sharder, ok := source.(connectors.Sharder); ok {
		var err error
		if shards, err = sharder.Shards(ctx, stream); err != nil {
			return err
		}
	}
	for _, shard := range shards {
		for b, err := range source.Read(ctx, shard, nil) {
			if err != nil {
				return err
			}
			if err := t.add(b.Record); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *demoTable) add(record arrow.Record) error {
	var columns []arrow.Array
	var fields []arrow.Field
	for i, f := range record.Schema().Fields() {
		if !strings.HasPrefix(f.Name, "_") {
			fields, columns = append(fields, f), append(columns, record.Column(i))
		}
	}
	if t.fields == nil {
		t.fields = fields
	}
	if !slices.EqualFunc(fields, t.fields, func(a, b arrow.Field) bool { return a.Name == b.Name && arrow.TypeEqual(a.Type, b.Type) }) {
		return errors.New("its files have different columns, and a table has one set of them")
	}
	for row := range int(record.NumRows()) {
		values := make([]any, len(columns))
		for i, column := range columns {
			if column.IsNull(row) {
				continue
			}
			switch c := column.(type) {
			case *array.String:
				values[i] = strings.Clone(c.Value(row)) // the record's memory goes with it
			case *array.Float64:
				values[i] = c.Value(row)
			case *array.Timestamp:
				values[i] = c.Value(row).ToTime(c.DataType().(*arrow.TimestampType).Unit)
			default:
				return fmt.Errorf("column %s: the demo has no column type for %s", fields[i].Name, column.DataType())
			}
		}
		t.rows = append(t.rows, values)
	}
	return nil
}

// What the writer makes of a row before he puts it right.
type demoState int

const (
	demoRight   demoState = iota // nothing
	demoMissing                  // it is not there
	demoWrong                    // it has another figure
)

func (t *demoTable) spoiled(row int) demoState {
	switch {
	case slices.Contains(t.rows[row], any("-")):
		// A county that reports by itself has no figure here. The records that this row would have are in another department's table, and
		// they would go with it: a row that is gone is known by its record's key, which says nothing of where it came from.
		return demoRight
	case row%5 == 3, row%11 == 5:
		return demoMissing
	case row%7 == 2 && t.wrong(row) != nil:
		return demoWrong
	}
	return demoRight
}

// wrong is another figure than the right one; nil where the writer leaves the row alone.
func (t *demoTable) wrong(row int) any {
	if t.changed < 0 {
		return nil
	}
	switch v := t.rows[row][t.changed].(type) {
	case float64:
		if v > 0 {
			return v + 1
		}
	case string:
		if n, err := strconv.Atoi(v); err == nil && n > 0 {
			return strconv.Itoa(n + 1)
		}
	}
	return nil
}

func (d *demoDatabase) quote(name string) string {
	if d.kind == "postgres" {
		return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
	}
	return "`" + strings.ReplaceAll(name, "`", "``") + "`"
}

func (d *demoDatabase) placeholder(n int) string {
	if d.kind == "postgres" {
		return "$" + strconv.Itoa(n)
	}
	return "?"
}

func (d *demoDatabase) columnType(t arrow.DataType) string {
	switch {
	case t.ID() == arrow.FLOAT64:
		return map[string]string{"postgres": "double precision", "mariadb": "double"}[d.kind]
	case t.ID() == arrow.TIMESTAMP:
		return map[string]string{"postgres": "timestamptz", "mariadb": "timestamp(6) NULL"}[d.kind]
	}
	return "text"
}

// fill makes the database, its reader and its tables.
func (d *demoDatabase) fill(ctx context.Context) error {
	admin, err := d.server.Open("")
	if err != nil {
		return err
	}
	statements := []string{"CREATE DATABASE " + demoDatabaseName, "CREATE ROLE " + demoReader + " LOGIN REPLICATION PASSWORD '" + demoPassword + "'"}
	if d.kind == "mariadb" {
		statements = []string{"CREATE DATABASE " + demoDatabaseName + " CHARACTER SET utf8mb4", "CREATE USER " + demoReader + "@'%' IDENTIFIED BY '" + demoPassword + "'", "GRANT SELECT ON " + demoDatabaseName + ".* TO " + demoReader + "@'%'",
			"GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO " + demoReader + "@'%'"}
	}
	for _, statement := range statements {
		if _, err := admin.ExecContext(ctx, statement); err != nil {
			return errors.Join(err, admin.Close())
		}
	}
	if err := admin.Close(); err != nil {
		return err
	}
	if d.db, err = d.server.Open(demoDatabaseName); err != nil {
		return err
	}
	d.db.SetMaxOpenConns(1) // of the writer
	for _, t := range d.tables {
		columns := []string{"id bigint PRIMARY KEY"}
		for _, f := range t.fields {
			columns = append(columns, d.quote(f.Name)+" "+d.columnType(f.Type))
		}
		statements := []string{"CREATE TABLE " + d.quote(t.name) + " (" + strings.Join(columns, ", ") + ")"}
		if d.kind == "postgres" {
			// A row that is gone is found by its record's key, which is made of other columns than the table's own key.
			statements = append(statements, "ALTER TABLE "+d.quote(t.name)+" REPLICA IDENTITY FULL", "GRANT SELECT ON "+d.quote(t.name)+" TO "+demoReader)
		}
		for _, statement := range statements {
			if _, err := d.db.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
		var rows []int
		for row := range t.rows {
			if t.spoiled(row) != demoMissing {
				rows = append(rows, row)
			}
		}
		for chunk := range slices.Chunk(rows, demoChunk) {
			if err := d.insert(ctx, d.db, t, chunk, true); err != nil {
				return err
			}
		}
	}
	if d.kind == "postgres" {
		var names []string
		for _, t := range d.tables {
			names = append(names, d.quote(t.name))
		}
		_, err = d.db.ExecContext(ctx, "CREATE PUBLICATION "+demoPublication+" FOR TABLE "+strings.Join(names, ", "))
	}
	return err
}

type execer interface {
	ExecContext(ctx context.Context, statement string, args ...any) (sql.Result, error)
}

// insert puts rows into a table, some of them wrong if they are to be put right later.
func (d *demoDatabase) insert(ctx context.Context, to execer, t *demoTable, rows []int, spoiled bool) error {
	if len(rows) == 0 {
		return nil
	}
	var b strings.Builder
	b.WriteString("INSERT INTO " + d.quote(t.name) + " (id")
	for _, f := range t.fields {
		b.WriteString(", " + d.quote(f.Name))
	}
	b.WriteString(") VALUES ")
	var args []any
	for i, row := range rows {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("(" + strconv.Itoa(row+1))
		for column, v := range t.rows[row] {
			if spoiled && column == t.changed && t.spoiled(row) == demoWrong {
				v = t.wrong(row)
			}
			args = append(args, v)
			b.WriteString(", " + d.placeholder(len(args)))
		}
		b.WriteString(")")
	}
	_, err := to.ExecContext(ctx, b.String(), args...)
	return err
}

// write puts the tables right, and goes on to spoil parts of them and to put them right again until it is told that there is enough.
// The tables are then as the files are. It returns how many changes it has made.
func (d *demoDatabase) write(ctx context.Context, enough <-chan struct{}) (changes int64, err error) {
	beat := time.NewTicker(demoBeat)
	defer beat.Stop()
	transact := func(t *demoTable, from, to int, what func(context.Context, execer, *demoTable, int, int) (int64, error)) error {
		tx, err := d.db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		n, err := what(ctx, tx, t, from, to)
		if err != nil {
			_ = tx.Rollback() // what made it necessary is told
			return fmt.Errorf("change rows of %s: %w", t.name, err)
		}
		changes += n
		if err := tx.Commit(); err != nil {
			return err
		}
		select {
		case <-beat.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for first := true; ; first = false {
		for chunk, some := 0, true; some; chunk++ {
			some = false
			for _, t := range d.tables { // beside each other, as departments work
				from, to := chunk*demoChunk, min((chunk+1)*demoChunk, len(t.rows))
				if from >= to {
					continue
				}
				some = true
				if !first {
					select {
					case <-enough:
						return changes, nil // all is right between two transactions of this round
					default:
					}
					if err := transact(t, from, to, d.spoil); err != nil {
						return changes, err
					}
				}
				if err := transact(t, from, to, d.mend); err != nil {
					return changes, err
				}
			}
		}
	}
}

// spoil makes some of a table's rows what they are not.
func (d *demoDatabase) spoil(ctx context.Context, tx execer, t *demoTable, from, to int) (changes int64, err error) {
	var ids []string
	for row := from; row < to; row++ {
		switch t.spoiled(row) {
		case demoMissing:
			ids = append(ids, strconv.Itoa(row+1))
		case demoWrong:
			if err := d.set(ctx, tx, t, row, t.wrong(row)); err != nil {
				return 0, err
			}
			changes++
		}
	}
	if len(ids) > 0 {
		_, err = tx.ExecContext(ctx, "DELETE FROM "+d.quote(t.name)+" WHERE id IN ("+strings.Join(ids, ", ")+")")
	}
	return changes + int64(len(ids)), err
}

// mend makes them what they are.
func (d *demoDatabase) mend(ctx context.Context, tx execer, t *demoTable, from, to int) (changes int64, err error) {
	var missing []int
	for row := from; row < to; row++ {
		switch t.spoiled(row) {
		case demoMissing:
			missing = append(missing, row)
		case demoWrong:
			if err := d.set(ctx, tx, t, row, t.rows[row][t.changed]); err != nil {
				return 0, err
			}
			changes++
		}
	}
	return changes + int64(len(missing)), d.insert(ctx, tx, t, missing, false)
}

// set writes a row's figure.
func (d *demoDatabase) set(ctx context.Context, tx execer, t *demoTable, row int, figure any) error {
	statement := fmt.Sprintf("UPDATE %s SET %s = %s WHERE id = %d", d.quote(t.name), d.quote(t.fields[t.changed].Name), d.placeholder(1), row+1)
	_, err := tx.ExecContext(ctx, statement, figure)
	return err
}

// rewrite makes the project's sources read the tables instead of the files. Everything else of them stays: what a mapping knows of is
// columns.
func (d *demoDatabase) rewrite(dir string) error {
	authority, err := os.ReadFile(d.server.CA)
	if err != nil {
		return err
	}
	if err := errors.Join(os.WriteFile(filepath.Join(dir, demoAuthority), authority, 0o644), os.WriteFile(filepath.Join(dir, demoPasswordFile), []byte(demoPassword), 0o600)); err != nil {
		return err
	}
	for _, t := range d.tables {
		path := filepath.Join(dir, "sources", t.source+".yaml")
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var source yaml.MapSlice
		if err := yaml.UnmarshalWithOptions(text, &source, yaml.UseOrderedMap()); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if err := d.reads(source, t); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		config := yaml.MapItem{Key: "config", Value: yaml.MapSlice{
			{Key: "host", Value: d.server.Host}, {Key: "port", Value: d.server.Port}, {Key: "database", Value: demoDatabaseName}, {Key: "user", Value: demoReader},
			{Key: "password", Value: "${file:" + demoPasswordFile + "}"}, {Key: "tls", Value: yaml.MapSlice{{Key: "ca", Value: demoAuthority}}},
		}}
		at := slices.IndexFunc(source, func(item yaml.MapItem) bool { return item.Key == "connector" })
		source = slices.Insert(source, at+1, config)
		if text, err = yaml.Marshal(source); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// reads puts the table into a source's file.
func (d *demoDatabase) reads(source yaml.MapSlice, t *demoTable) error {
	found := 0
	for i := range source {
		switch source[i].Key {
		case "connector":
			source[i].Value = d.kind
			found++
		case "streams":
			streams, ok := source[i].Value.([]any)
			if !ok {
				return fmt.Errorf("streams are %T", source[i].Value)
			}
			for n := range streams {
				stream, ok := streams[n].(yaml.MapSlice)
				if !ok {
					return fmt.Errorf("a stream is %T", streams[n])
				}
				changes := yaml.MapSlice{} // MariaDB's log is there for all
				if d.kind == "postgres" {
					changes = yaml.MapSlice{{Key: "slot", Value: fmt.Sprintf("%s_%d", t.name, n+1)}, {Key: "publication", Value: demoPublication}}
				}
				read := yaml.MapSlice{{Key: "table", Value: t.name}, {Key: "changes", Value: changes}}
				for k := range stream {
					if stream[k].Key == "read" {
						stream[k].Value = read
						found++
					}
				}
			}
			found -= len(streams)
		}
	}
	if found != 1 {
		return errors.New("it does not have a connector and streams that are read")
	}
	return nil
}

// demoOrigin says what a demo from a database has read, beside the files' figures.
type demoOrigin struct {
	Server  string `json:"server"`
	Tables  int    `json:"tables"`
	Changes int64  `json:"changes"` // that were made while it was read
	Mode    string `json:"mode"`
}

// readWhileWritten runs the project while a writer changes the tables, and once more when it has put them right.
func (a *app) readWhileWritten(ctx context.Context, p *project.Project, d *demoDatabase) (*demoOrigin, error) {
	writing, stop := context.WithCancel(ctx)
	defer stop()
	enough := make(chan struct{})
	type written struct {
		changes int64
		err     error
	}
	done := make(chan written, 1)
	go func() {
		n, err := d.write(writing, enough)
		done <- written{n, err}
	}()
	_, err := a.run(ctx, p, nil, "command")
	if err != nil {
		stop()
	}
	close(enough)
	w := <-done
	if err != nil {
		return nil, err
	}
	if w.err != nil {
		return nil, fmt.Errorf("the demo's writer: %w", w.err)
	}
	if _, err := a.run(ctx, p, nil, "command"); err != nil {
		return nil, err
	}
	const mode = "each table once, and from then on its changes"
	return &demoOrigin{Server: cmp.Or(map[string]string{"postgres": "PostgreSQL", "mariadb": "MariaDB"}[d.kind], d.kind), Tables: len(d.tables), Changes: w.changes, Mode: mode}, nil
}
