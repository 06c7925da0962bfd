package clickhouse_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headwater-data/headwater/internal/embedded/clickhouse/clickhousetest"
)

func TestOnlyThePasswordOpensTheDoor(t *testing.T) {
	t.Parallel()
	s := clickhousetest.Start(t)
	ask := "query=" + esc("SELECT currentUser()")
	for name, c := range map[string]struct {
		call   call
		status int
	}{
		"basic authentication":         {call{parameters: ask}, 200},
		"headers":                      {call{anonymous: true, parameters: ask, header: map[string]string{"X-ClickHouse-User": s.User, "X-ClickHouse-Key": s.Password}}, 200},
		"parameters":                   {call{anonymous: true, parameters: ask + "&user=" + s.User + "&password=" + s.Password}, 200},
		"the reader":                   {call{reader: true, parameters: ask}, 200},
		"nothing":                      {call{anonymous: true, parameters: ask}, 403},
		"no password":                  {call{anonymous: true, parameters: ask + "&user=" + s.User}, 403},
		"a wrong password":             {call{anonymous: true, parameters: ask + "&user=" + s.User + "&password=x"}, 403},
		"the engine's own user":        {call{anonymous: true, parameters: ask + "&user=default"}, 403},
		"the reader's for the writer":  {call{anonymous: true, parameters: ask + "&user=" + s.User + "&password=" + s.ReaderPassword}, 403},
		"headers win over parameters":  {call{anonymous: true, parameters: ask + "&user=" + s.User + "&password=" + s.Password, header: map[string]string{"X-ClickHouse-User": s.User, "X-ClickHouse-Key": "x"}}, 403},
		"a bearer of something":        {call{anonymous: true, parameters: ask, header: map[string]string{"Authorization": "Bearer x"}}, 403},
		"an empty key beside the user": {call{anonymous: true, parameters: ask, header: map[string]string{"X-ClickHouse-User": s.User}}, 403},
	} {
		t.Run(name, func(t *testing.T) {
			got := c.call.do(t, s)
			if got.status != c.status {
				t.Errorf("got status %d, want %d: %s", got.status, c.status, got.body)
			}
			if c.status != 200 && got.header.Get("X-ClickHouse-Exception-Code") != "516" {
				t.Errorf("got code %q, want 516", got.header.Get("X-ClickHouse-Exception-Code"))
			}
		})
	}
}

func TestAWebPageCannotAsk(t *testing.T) {
	t.Parallel()
	s := clickhousetest.Start(t)
	port := s.Addr[strings.LastIndex(s.Addr, ":"):]
	for name, c := range map[string]struct {
		call   call
		status int
	}{
		"a loopback address":                   {call{body: "SELECT 1"}, 200},
		"localhost":                            {call{body: "SELECT 1", host: "localhost" + port}, 200},
		"localhost without a port":             {call{body: "SELECT 1", host: "LOCALHOST"}, 200},
		"the other loopback address":           {call{body: "SELECT 1", host: "[::1]" + port}, 200},
		"somebody typed the address":           {call{body: "SELECT 1", header: map[string]string{"Sec-Fetch-Site": "none"}}, 200},
		"a name that points here":              {call{body: "SELECT 1", host: "evil.example" + port}, 403},
		"a name that begins like ours":         {call{body: "SELECT 1", host: "localhost.evil.example" + port}, 403},
		"an address elsewhere":                 {call{body: "SELECT 1", host: "192.0.2.1" + port}, 403},
		"a foreign origin":                     {call{body: "SELECT 1", header: map[string]string{"Origin": "https://evil.example"}}, 403},
		"an origin on this machine":            {call{body: "SELECT 1", header: map[string]string{"Origin": "http://" + s.Addr}}, 403},
		"a sandboxed origin":                   {call{body: "SELECT 1", header: map[string]string{"Origin": "null"}}, 403},
		"a picture in a page":                  {call{method: "GET", parameters: "query=SELECT+1", header: map[string]string{"Sec-Fetch-Site": "cross-site"}}, 403},
		"a page of another port":               {call{body: "SELECT 1", header: map[string]string{"Sec-Fetch-Site": "same-site"}}, 403},
		"even ping":                            {call{method: "GET", path: "/ping", host: "evil.example"}, 403},
		"what a browser asks first":            {call{method: "OPTIONS", header: map[string]string{"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}}, 403},
		"what a browser asks first, no origin": {call{method: "OPTIONS"}, 405},
	} {
		t.Run(name, func(t *testing.T) {
			got := c.call.do(t, s)
			if got.status != c.status {
				t.Errorf("got status %d, want %d: %s", got.status, c.status, got.body)
			}
			for key := range got.header {
				if strings.HasPrefix(key, "Access-Control-") {
					t.Errorf("got header %s", key)
				}
			}
		})
	}
}

func TestTheReaderAndGETChangeNothing(t *testing.T) {
	t.Parallel()
	s := clickhousetest.Start(t)
	db := s.Database(t)
	s.Exec(t, "CREATE TABLE "+db+".t (a UInt64) ENGINE = MergeTree ORDER BY a")
	s.Exec(t, "INSERT INTO "+db+".t VALUES (1)")
	for _, sql := range []string{
		"INSERT INTO t VALUES (2)",
		"INSERT INTO t SELECT 2",
		"INSERT INTO t FORMAT CSV 2",
		"CREATE TABLE u (a Int8) ENGINE = Memory",
		"CREATE VIEW v AS SELECT 1",
		"CREATE DATABASE d",
		"CREATE TEMPORARY TABLE tt (a Int8)",
		"CREATE FUNCTION f AS x -> x",
		"DROP TABLE t", "TRUNCATE TABLE t", "RENAME TABLE t TO u", "DETACH TABLE t", "OPTIMIZE TABLE t FINAL",
		"ALTER TABLE t DELETE WHERE 1", "DELETE FROM t WHERE 1", "ALTER TABLE t ADD COLUMN b Int8",
		"KILL QUERY WHERE 1", "SYSTEM FLUSH LOGS", "SYSTEM STOP MERGES",
		"SET readonly = 0", "SET allow_ddl = 1, readonly = 0",
		"SELECT 1 SETTINGS readonly = 0",
		"EXPLAIN PIPELINE INSERT INTO t VALUES (3)",
	} {
		for who, c := range map[string]call{
			"reader":                 {reader: true, parameters: "database=" + db, body: sql},
			"GET":                    {method: "GET", parameters: "database=" + db + "&query=" + esc(sql)},
			"reader with readonly=0": {reader: true, parameters: "readonly=0&database=" + db, body: sql},
			"reader in a session":    {reader: true, parameters: "session_id=r&database=" + db, body: sql},
			"GET in a session":       {method: "GET", parameters: "session_id=g&database=" + db + "&query=" + esc(sql)},
		} {
			got := c.do(t, s)
			if strings.HasPrefix(sql, "EXPLAIN") || strings.Contains(sql, "readonly") && who == "GET in a session" {
				continue // what matters is below: nothing has changed
			}
			if got.status == http.StatusOK || got.header.Get("X-ClickHouse-Exception-Code") != "164" {
				t.Errorf("%s by %s: got %d %s", sql, who, got.status, got.body)
			}
		}
	}
	if got := s.Exec(t, "SELECT a FROM "+db+".t"); got != "1\n" {
		t.Errorf("got rows %q", got)
	}
	if got := s.Exec(t, "SHOW TABLES FROM "+db); got != "t\n" {
		t.Errorf("got tables %q", got)
	}
	for name, c := range map[string]call{
		"reads":                   {reader: true, parameters: "database=" + db, body: "SELECT a FROM t"},
		"reads with settings":     {reader: true, parameters: "max_threads=1&max_execution_time=10&database=" + db, body: "SELECT a FROM t SETTINGS max_block_size = 10"},
		"reads what is described": {reader: true, parameters: "database=" + db, body: "DESCRIBE TABLE t"},
		"sets":                    {reader: true, body: "SET max_threads = 1"},
		"reads by GET":            {method: "GET", parameters: "max_threads=1&database=" + db + "&query=" + esc("SELECT a FROM t")},
		"asks for readonly":       {parameters: "readonly=1&database=" + db, body: "SELECT a FROM t"},
	} {
		if got := c.do(t, s); got.status != http.StatusOK {
			t.Errorf("%s: got %d %s", name, got.status, got.body)
		}
	}
	if got := (call{parameters: "readonly=1&database=" + db, body: "INSERT INTO t SELECT 2"}).do(t, s); got.header.Get("X-ClickHouse-Exception-Code") != "164" {
		t.Errorf("readonly=1 lets an INSERT through: %s", got.body)
	}
	if got := (call{parameters: "readonly=2&database=" + db, body: "INSERT INTO t VALUES (2)"}).do(t, s); got.header.Get("X-ClickHouse-Exception-Code") != "164" {
		t.Errorf("readonly=2 lets an INSERT through: %s", got.body)
	}
}

// Whoever has a password may use the tables, not the machine: its files, its network, its programs.
func TestNothingReachesOutside(t *testing.T) {
	t.Parallel()
	s := clickhousetest.Start(t)
	db := s.Database(t)
	bait := filepath.Join(t.TempDir(), "bait.csv")
	if err := os.WriteFile(bait, []byte("headwater-bait\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	s.Exec(t, "CREATE TABLE "+db+".t (a String) ENGINE = MergeTree ORDER BY a")
	quoted := "'" + bait + "'"
	for _, sql := range []string{
		"SELECT * FROM file(" + quoted + ", LineAsString)",
		"SELECT * FROM `" + bait + "`", "SELECT * FROM default.`" + bait + "`",
		"SELECT file(" + quoted + ")", "SELECT `file`(" + quoted + ")", `SELECT "f\x69le"(` + quoted + ")", "SELECT file/**/(" + quoted + ")",
		"SELECT arrayMap(x -> file(x), [" + quoted + "])",
		"SELECT * APPLY(file) FROM (SELECT " + quoted + ")", "SELECT * APPLY file FROM (SELECT " + quoted + ")",
		`SELECT * APPLY "f\x69le" FROM (SELECT ` + quoted + ")",
		"SELECT * FROM eval('SELECT file(''" + bait + "'')') SETTINGS allow_experimental_eval_table_function = 1",
		"CREATE VIEW v AS SELECT file(" + quoted + ")",
		"INSERT INTO t SELECT file(" + quoted + ")",
		"INSERT INTO t VALUES (file(" + quoted + "))",
		`INSERT INTO t VALUES ("f\x69le"(` + quoted + "))", "INSERT INTO t VALUES ('\\'', FILE(" + quoted + "))", "INSERT INTO t VALUES (/* ' */ file(" + quoted + ") /* ' */)",
		"INSERT INTO t VALUES (\"'\", file(" + quoted + "))", "INSERT INTO t VALUES -- '\n(file(" + quoted + "))", "INSERT INTO t VALUES ($$'$$ || file(" + quoted + "))", "INSERT INTO t VALUES (‘'’ || file(" + quoted + "))",
		"INSERT INTO t SETTINGS input_format_values_interpret_expressions = 1 VALUES (file(" + quoted + "))",
		"ALTER TABLE t UPDATE a = file(" + quoted + ") WHERE 1",
		"CREATE TABLE u (a String DEFAULT file(" + quoted + ")) ENGINE = Memory",
		"CREATE FUNCTION f AS x -> file(x)",
		"SELECT 1 INTO OUTFILE '" + out + "'", "SELECT 1 /* */ INTO /**/ OutFile '" + out + "' FORMAT CSV",
		"INSERT INTO t FROM INFILE " + quoted + " FORMAT LineAsString",
		"SELECT 1 FORMAT Template SETTINGS format_template_row = " + quoted,
		"SELECT 1 SETTINGS format_template_row = " + quoted + " FORMAT Template",
		"SELECT 1 FORMAT Template SETTINGS format_template_resultset = " + quoted,
		"SELECT 1 FORMAT Protobuf SETTINGS format_schema = '" + bait + ":X'",
		"SELECT * FROM url('http://127.0.0.1:1/', LineAsString)",
		"SELECT * FROM remote('127.0.0.1:1', system.one)", "SELECT * FROM remoteSecure('127.0.0.1:1', system.one)",
		"SELECT * FROM s3('http://127.0.0.1:1/bucket/x', 'a', 'b', 'CSV', 'a String')",
		"SELECT * FROM gcs('http://127.0.0.1:1/bucket/x', 'a', 'b', 'CSV', 'a String')",
		"SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')", "SELECT * FROM postgresql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
		"SELECT * FROM mongodb('127.0.0.1:1', 'a', 'b', 'c', 'd', 'x String')", "SELECT * FROM redis('127.0.0.1:1', 'k', 'k String, v String')",
		"SELECT * FROM sqlite('" + bait + "', 't')", "SELECT * FROM odbc('DSN=x', 'a', 'b')", "SELECT * FROM jdbc('DSN=x', 'a', 'b')",
		"SELECT * FROM hdfs('hdfs://127.0.0.1:1/x', 'CSV', 'a String')", "SELECT * FROM azureBlobStorage('x', 'y', 'z')",
		"SELECT * FROM iceberg('http://127.0.0.1:1/bucket/x', 'a', 'b')", "SELECT * FROM icebergLocal('/tmp/x')", "SELECT * FROM deltaLake('http://127.0.0.1:1/bucket/x', 'a', 'b')",
		"SELECT * FROM executable('ls', 'CSV', 'a String')", "SELECT * FROM filesystem('/etc')",
		"SELECT * FROM cluster('default', system.one)",
		"CREATE TABLE u (a String) ENGINE = File(CSV, " + quoted + ")", "CREATE TABLE u (a String) ENGINE = URL('http://127.0.0.1:1/', CSV)",
		"CREATE TABLE u (a String) ENGINE = MySQL('127.0.0.1:1', 'a', 'b', 'c', 'd')", "CREATE TABLE u (a String) ENGINE = Kafka('127.0.0.1:1', 'a', 'b', 'CSV')",
		"CREATE TABLE u (a String) ENGINE = S3('http://127.0.0.1:1/bucket/x', 'a', 'b', 'CSV')",
		"CREATE TABLE u (a String) ENGINE = Distributed('default', 'default', 't')",
		"CREATE TABLE u (a String) ENGINE = Executable('ls', CSV)", "CREATE TABLE u (a String) ENGINE = FileLog('/tmp/', 'CSV')", "CREATE TABLE u (a String) ENGINE = FileLog('x', 'CSV')",
		"CREATE TABLE u (a String) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = local, path = '" + out + "/')",
		"CREATE TABLE u (a String) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = web, endpoint = 'http://127.0.0.1:1/')",
		"CREATE DATABASE d ENGINE = Filesystem('/etc')", "CREATE DATABASE d ENGINE = MySQL('127.0.0.1:1', 'a', 'b', 'c')", "CREATE DATABASE d ENGINE = SQLite('" + bait + "')",
		"CREATE DICTIONARY d (k UInt64, v String) PRIMARY KEY k SOURCE(EXECUTABLE(COMMAND 'echo 1,2' FORMAT 'CSV')) LAYOUT(FLAT()) LIFETIME(0)",
		"CREATE DICTIONARY d (k UInt64, v String) PRIMARY KEY k SOURCE(HTTP(URL 'http://127.0.0.1:1/' FORMAT 'CSV')) LAYOUT(FLAT()) LIFETIME(0)",
		"CREATE DICTIONARY d (k UInt64, v String) PRIMARY KEY k SOURCE(FILE(PATH '" + bait + "' FORMAT 'CSV')) LAYOUT(FLAT()) LIFETIME(0)",
		"ATTACH TABLE u FROM '" + bait + "' (a String) ENGINE = File(CSV)",
		"BACKUP TABLE t TO File('" + out + "')", "BACKUP TABLE t TO S3('http://127.0.0.1:1/bucket/x', 'a', 'b')", "RESTORE TABLE t FROM File('" + out + "')",
		"INSERT INTO FUNCTION file('" + out + "', 'CSV', 'a String') SELECT 'x'", "INSERT INTO FUNCTION url('http://127.0.0.1:1/', 'CSV', 'a String') SELECT 'x'",
		"INSERT INTO FUNCTION remote('127.0.0.1:1', default.t) VALUES ('x')",
		"SYSTEM SHUTDOWN", "SYSTEM KILL", "SYSTEM RELOAD CONFIG", "CREATE USER u", "CREATE NAMED COLLECTION n AS a = 1", "GRANT ALL ON *.* TO default",
		"SELECT addressToSymbol(1)", "SELECT catboostEvaluate('" + bait + "', 1)",
		"SELECT * FROM view(SELECT file(" + quoted + "))", "SELECT * FROM (EXPLAIN SELECT file(" + quoted + "))",
		"DESCRIBE TABLE file(" + quoted + ", LineAsString)", "EXPLAIN SELECT * FROM file(" + quoted + ", LineAsString)",
	} {
		for who, c := range map[string]call{
			"writer":               {parameters: "database=" + db, body: sql},
			"reader":               {reader: true, parameters: "database=" + db, body: sql},
			"writer with settings": {parameters: "database=" + db + "&allow_experimental_eval_table_function=1&allow_experimental_ai_functions=1", body: sql},
		} {
			got := c.do(t, s)
			if got.status == http.StatusOK || strings.Contains(got.body, "headwater-bait") {
				t.Errorf("%s by %s: got %d %s", sql, who, got.status, got.body)
			}
			for _, reached := range []string{"Connection refused", "NETWORK_ERROR", "CONNECTION"} {
				if strings.Contains(got.body, reached) {
					t.Errorf("%s by %s went out: %s", sql, who, got.body)
				}
			}
		}
	}
	if _, err := os.Stat(out); !os.IsNotExist(err) {
		t.Errorf("something was written to %s: %v", out, err)
	}
	for _, name := range []string{"format_schema", "format_template_row", "format_avro_schema_registry_url"} {
		if got := (call{parameters: name + "=x", body: "SELECT 1"}).do(t, s); got.status == http.StatusOK {
			t.Errorf("setting %s was taken", name)
		}
	}
	// What only looks like reaching outside goes through.
	for _, sql := range []string{
		"SELECT 'into outfile', 'file(', `a` FROM (SELECT 1 AS a)", "SELECT a LIKE '%\\\\%file%' FROM t", "SELECT 1 AS file, 2 AS outfile",
		"INSERT INTO t VALUES ('file(\\'x\\')')", "INSERT INTO t SELECT 'a file \\\\ name'",
	} {
		if got := (call{parameters: "database=" + db, body: sql}).do(t, s); got.status != http.StatusOK {
			t.Errorf("%s: got %d %s", sql, got.status, got.body)
		}
	}
}
