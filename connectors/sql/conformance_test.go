package sql_test

import (
	stdsql "database/sql"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"modernc.org/sqlite"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/connectors/connectortest"
	"github.com/headwater-data/headwater/connectors/sql"
	"github.com/headwater-data/headwater/internal/secret"
	"github.com/headwater-data/headwater/internal/testdb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testdb.Tests{M: m}) }

// TestConformance runs the connector through the kit against a real server.
func TestConformance(t *testing.T) {
	types := typesOf(sql.Postgres())
	server := testdb.OwnPostgres(t) // it is killed and paused
	for name, columns := range map[string]string{"a table with a key": "id text PRIMARY KEY", "a table without a key": "id text"} {
		t.Run(name, func(t *testing.T) {
			db := server.Database(t)
			db.SetMaxIdleConns(0) // one that is kept does not survive that the server is killed
			user := db.Name + "_reader"
			connectortest.Run(t, func(t *testing.T, outside *connectortest.Outside) connectors.Source {
				outside.Store = func(table connectortest.Table) error {
					return store(db.DB, `"表"`, func(n int) string { return fmt.Sprintf("$%d", n) }, table)
				}
				db.Do(t, `DROP TABLE IF EXISTS "表"`, fmt.Sprintf(`CREATE TABLE "表" (%s, "名称" text, note text)`, columns))
				away(t, db, "CHECKPOINT", outside)
				outside.Alter = func() error {
					_, err := db.DB.Exec(`ALTER TABLE "表" ADD COLUMN added text NOT NULL DEFAULT 'new'`)
					return err
				}
				outside.StoreValues = func(kind connectortest.Kind, values []any) error {
					if _, err := db.DB.Exec(fmt.Sprintf(`DROP TABLE "表"; CREATE TABLE "表" (id int PRIMARY KEY, value %s); GRANT SELECT ON "表" TO %s`, types[kind], user)); err != nil {
						return err
					}
					for i, v := range values {
						if _, err := db.DB.Exec(fmt.Sprintf(`INSERT INTO "表" VALUES ($1, $2::text::%s)`, types[kind]), i, v); err != nil {
							return err
						}
					}
					return nil
				}
				db.Do(t, "DROP ROLE IF EXISTS "+user, "CREATE ROLE "+user+" LOGIN PASSWORD '"+outside.Secret+"'", `GRANT SELECT ON "表" TO `+user)
				t.Cleanup(func() {
					if _, err := db.DB.Exec(`DROP OWNED BY ` + user + `; DROP ROLE ` + user); err != nil {
						t.Error(err)
					}
				})
				outside.Break = func() error {
					_, err := db.DB.Exec("ALTER ROLE " + user + " PASSWORD 'changed'")
					return err
				}
				if err := outside.Store(outside.Table); err != nil {
					t.Fatal(err)
				}
				config := postgresConfig(db, user, outside.Secret)
				config.NetworkTimeout = silence
				return opened(t, sql.Postgres(), outside.Environment, config, &sql.Options{Table: "public.表"})
			}, connectortest.Capabilities{Changes: true, Replaces: true, Counts: true, Secrets: true, Breaks: true, Alters: true, Loses: columns != "id text", Hangs: columns != "id text", Values: kinds(types)})
		})
	}
}

// silence is how long a server under test may be silent.
const silence = 3 * time.Second

// away lets the kit kill and pause a server.
// What is committed is given to the operating system first: servers of tests do so only now and then.
func away(t *testing.T, db *testdb.Database, flush string, outside *connectortest.Outside) {
	server := db.Server
	outside.Own = []string{"github.com/headwater-data/headwater/internal/testdb.(*Server).launch.func1"}
	outside.Lose = func() (func() error, error) {
		if _, err := db.DB.Exec(flush); err != nil {
			return nil, err
		}
		server.Kill(t)
		return func() error { server.Start(t); return nil }, nil
	}
	outside.Hang = func() (func() error, error) {
		server.Pause(t)
		return func() error { server.Resume(t); return nil }, nil
	}
}

// typesOf returns the types that a connector is said to have been tested with.
func typesOf(d connectors.Definition) map[connectortest.Kind]string {
	types := map[connectortest.Kind]string{}
	for kind, typ := range d.Types {
		types[connectortest.Kind(kind)] = typ
	}
	return types
}

// kinds lists the kinds of typed values that a database has types for.
func kinds(types map[connectortest.Kind]string) []connectortest.Kind {
	return slices.Sorted(maps.Keys(types))
}

// TestMariaDBConformance runs the connector through the kit against a real server.
func TestMariaDBConformance(t *testing.T) {
	types := typesOf(sql.MariaDB())
	server := testdb.OwnMariaDB(t) // it is killed and paused
	for name, columns := range map[string]string{"a table with a key": "id varchar(20) PRIMARY KEY", "a table without a key": "id varchar(20)"} {
		t.Run(name, func(t *testing.T) {
			db := server.Database(t)
			db.SetMaxIdleConns(0) // a connection has a goroutine, and the kit counts them
			user := "'" + db.Name + "_reader'@'%'"
			connectortest.Run(t, func(t *testing.T, outside *connectortest.Outside) connectors.Source {
				outside.Store = func(table connectortest.Table) error {
					return store(db.DB, "`表`", func(int) string { return "?" }, table)
				}
				db.Do(t, "DROP TABLE IF EXISTS `表`", fmt.Sprintf("CREATE TABLE `表` (%s, `名称` longtext, note text)", columns))
				away(t, db, "SET GLOBAL innodb_flush_log_at_trx_commit = 2; FLUSH ENGINE LOGS", outside)
				outside.Alter = func() error {
					_, err := db.DB.Exec("ALTER TABLE `表` ADD COLUMN added varchar(9) NOT NULL DEFAULT 'new'")
					return err
				}
				outside.StoreValues = func(kind connectortest.Kind, values []any) error {
					if _, err := db.DB.Exec("DROP TABLE `表`; CREATE TABLE `表` (id int PRIMARY KEY, value " + types[kind] + "); GRANT SELECT ON `表` TO " + user); err != nil {
						return err
					}
					for i, v := range values {
						if text, ok := v.(string); ok && kind == connectortest.Instant {
							at, err := time.Parse("2006-01-02T15:04:05.999999Z07:00", text)
							if err != nil {
								return err
							}
							v = at.UTC().Format("2006-01-02 15:04:05.999999")
						}
						if _, err := db.DB.Exec("SET time_zone = '+00:00'; INSERT INTO `表` VALUES (?, ?); SET time_zone = DEFAULT", i, v); err != nil {
							return err
						}
					}
					return nil
				}
				db.Do(t, "DROP USER IF EXISTS "+user, "CREATE USER "+user+" IDENTIFIED BY '"+outside.Secret+"' REQUIRE SSL", "GRANT SELECT ON `表` TO "+user)
				t.Cleanup(func() {
					if _, err := db.DB.Exec("DROP USER " + user); err != nil {
						t.Error(err)
					}
				})
				outside.Break = func() error {
					_, err := db.DB.Exec("ALTER USER " + user + " IDENTIFIED BY 'changed'")
					return err
				}
				if err := outside.Store(outside.Table); err != nil {
					t.Fatal(err)
				}
				config := &sql.MariaDBConfig{ServerConfig: sql.ServerConfig{Host: db.Host, Port: db.Port, Database: db.Name, User: db.Name + "_reader", Password: secret.New(outside.Secret), TLS: &sql.TLS{CA: db.CA}, Limits: sql.Limits{NetworkTimeout: silence}}}
				return opened(t, sql.MariaDB(), outside.Environment, config, &sql.Options{Table: "表"})
			}, connectortest.Capabilities{Changes: true, Replaces: true, Counts: true, Secrets: true, Breaks: true, Alters: true, Loses: columns != "id varchar(20)", Hangs: columns != "id varchar(20)", Values: kinds(types)})
		})
	}
}

// TestSQLiteConformance runs the connector through the kit against files.
func TestSQLiteConformance(t *testing.T) {
	types := typesOf(sql.SQLite())
	for name, columns := range map[string]string{"a table with a key": "id text PRIMARY KEY NOT NULL", "a table without a key": "id text"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "数据 100%?#.db")
			db := sqliteFile(t, path)
			connectortest.Run(t, func(t *testing.T, outside *connectortest.Outside) connectors.Source {
				do := func(statements ...string) error {
					for _, s := range statements {
						if _, err := db.Exec(s); err != nil {
							return err
						}
					}
					return nil
				}
				if err := do(`DROP TABLE IF EXISTS "表"`, fmt.Sprintf(`CREATE TABLE "表" (%s, "名称" text, note text)`, columns)); err != nil {
					t.Fatal(err)
				}
				outside.Alter = func() error { return do(`ALTER TABLE "表" ADD COLUMN added text NOT NULL DEFAULT 'new'`) }
				outside.StoreValues = func(kind connectortest.Kind, values []any) error {
					if err := do(`DROP TABLE "表"`, fmt.Sprintf(`CREATE TABLE "表" (id integer primary key, value %s)`, types[kind])); err != nil {
						return err
					}
					for i, v := range values {
						if _, err := db.Exec(`INSERT INTO "表" VALUES (?, ?)`, i, v); err != nil {
							return err
						}
					}
					return nil
				}
				outside.Store = func(table connectortest.Table) error {
					return store(db, `"表"`, func(int) string { return "?" }, table)
				}
				outside.Break = func() error {
					t.Cleanup(func() {
						if err := os.Rename(path+" away", path); err != nil {
							t.Error(err)
						}
					})
					return os.Rename(path, path+" away")
				}
				if err := outside.Store(outside.Table); err != nil {
					t.Fatal(err)
				}
				return opened(t, sql.SQLite(), outside.Environment, &sql.SQLiteConfig{Path: path}, &sql.Options{Table: "表"})
			}, connectortest.Capabilities{Changes: true, Replaces: true, Counts: true, Breaks: true, Alters: true, Values: kinds(types)})
		})
	}
}

// sqliteFile makes a database file. It is no source of the connector's.
func sqliteFile(t *testing.T, path string, statements ...string) *stdsql.DB {
	t.Helper()
	connector, err := sqlite.NewConnector("file:" + strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path))
	if err != nil {
		t.Fatal(err)
	}
	db := stdsql.OpenDB(connector)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%.200s: %v", s, err)
		}
	}
	return db
}

// opened opens a source with one stream, s.
func opened(t *testing.T, d connectors.Definition, env connectors.Environment, config any, o *sql.Options) connectors.Source {
	t.Helper()
	streams := map[string]any{"s": o}
	if faults := d.Check(config, streams); len(faults) > 0 {
		t.Fatal(faults)
	}
	src, err := d.Open(env, config, streams)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// store puts a table's rows into the database in place of the old ones.
func store(db *stdsql.DB, name string, placeholder func(n int) string, table connectortest.Table) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.Exec(`DELETE FROM ` + name); err != nil {
		return err
	}
	const at = 500
	for begin := 0; begin < len(table.Rows); begin += at {
		var places []string
		var args []any
		for _, row := range table.Rows[begin:min(begin+at, len(table.Rows))] {
			n := len(args)
			places = append(places, fmt.Sprintf("(%s, %s, %s)", placeholder(n+1), placeholder(n+2), placeholder(n+3)))
			args = append(args, row...)
		}
		if _, err := tx.Exec(`INSERT INTO `+name+` VALUES `+strings.Join(places, ", "), args...); err != nil {
			return err
		}
	}
	return tx.Commit()
}
