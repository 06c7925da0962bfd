package sql_test

import (
	stdsql "database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	server := testdb.Postgres(t)
	for name, columns := range map[string]string{"a table with a key": "id text PRIMARY KEY", "a table without a key": "id text"} {
		t.Run(name, func(t *testing.T) {
			db := server.Database(t)
			user := db.Name + "_reader"
			db.Do(t, fmt.Sprintf(`CREATE TABLE "表" (%s, "名称" text, note text)`, columns))
			connectortest.Run(t, func(t *testing.T, outside *connectortest.Outside) connectors.Source {
				outside.Store = func(table connectortest.Table) error {
					return store(db.DB, `"表"`, func(n int) string { return fmt.Sprintf("$%d", n) }, table)
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
				d := sql.Postgres()
				config := &sql.ServerConfig{Host: db.Host, Port: db.Port, Database: db.Name, User: user, Password: secret.New(outside.Secret), TLS: &sql.TLS{CA: db.CA}}
				streams := map[string]any{"s": &sql.Options{Table: "public.表"}}
				if faults := d.Check(config, streams); len(faults) > 0 {
					t.Fatal(faults)
				}
				src, err := d.Open(outside.Environment, config, streams)
				if err != nil {
					t.Fatal(err)
				}
				return src
			}, connectortest.Capabilities{Changes: true, Replaces: true, Counts: true, Secrets: true, Breaks: true})
		})
	}
}

// TestMariaDBConformance runs the connector through the kit against a real server.
func TestMariaDBConformance(t *testing.T) {
	server := testdb.MariaDB(t)
	for name, columns := range map[string]string{"a table with a key": "id varchar(20) PRIMARY KEY", "a table without a key": "id varchar(20)"} {
		t.Run(name, func(t *testing.T) {
			db := server.Database(t)
			user := "'" + db.Name + "_reader'@'%'"
			db.Do(t, fmt.Sprintf("CREATE TABLE `表` (%s, `名称` longtext, note text)", columns))
			connectortest.Run(t, func(t *testing.T, outside *connectortest.Outside) connectors.Source {
				outside.Store = func(table connectortest.Table) error {
					return store(db.DB, "`表`", func(int) string { return "?" }, table)
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
				config := &sql.MariaDBConfig{ServerConfig: sql.ServerConfig{Host: db.Host, Port: db.Port, Database: db.Name, User: db.Name + "_reader", Password: secret.New(outside.Secret), TLS: &sql.TLS{CA: db.CA}}}
				return opened(t, sql.MariaDB(), outside.Environment, config, &sql.Options{Table: "表"})
			}, connectortest.Capabilities{Changes: true, Replaces: true, Counts: true, Secrets: true, Breaks: true})
		})
	}
}

// TestSQLiteConformance runs the connector through the kit against files.
func TestSQLiteConformance(t *testing.T) {
	for name, columns := range map[string]string{
		"a table with a key": "id text PRIMARY KEY NOT NULL", "a table without a key": "id text", "a table whose key may be null": "id text PRIMARY KEY",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "数据 100%?#.db")
			db := sqliteFile(t, path, fmt.Sprintf(`CREATE TABLE "表" (%s, "名称" text, note text)`, columns))
			connectortest.Run(t, func(t *testing.T, outside *connectortest.Outside) connectors.Source {
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
			}, connectortest.Capabilities{Changes: true, Replaces: true, Counts: true, Breaks: true})
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
