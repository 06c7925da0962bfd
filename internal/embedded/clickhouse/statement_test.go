package clickhouse

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheHeadOfAnInsertIsFound(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]struct{ statement, format, rows string }{
		"INSERT INTO t VALUES (1)":                                 {"INSERT INTO t", "Values", " (1)"},
		"insert t values (1)":                                      {"insert t", "Values", " (1)"},
		"INSERT INTO t FORMAT CSV\n1,2":                            {"INSERT INTO t", "CSV", "1,2"},
		"INSERT INTO t FORMAT CSV\r\n1,2":                          {"INSERT INTO t", "CSV", "1,2"},
		"INSERT INTO t FORMAT CSV \t 1,2":                          {"INSERT INTO t", "CSV", "1,2"},
		"INSERT INTO t FORMAT CSV\n\n1":                            {"INSERT INTO t", "CSV", "\n1"},
		"INSERT INTO t FORMAT CSV; \n1":                            {"INSERT INTO t", "CSV", "1"},
		"INSERT INTO t FORMAT CSV ;1":                              {"INSERT INTO t", "CSV", ";1"},
		"INSERT INTO t FORMAT Native\n\x00'`":                      {"INSERT INTO t", "Native", "\x00'`"},
		"INSERT INTO d.t (a, `b)`, \"c\") FORMAT TSV\n":            {"INSERT INTO d.t (a, `b)`, \"c\")", "TSV", ""},
		"INSERT INTO d.format FORMAT TSV\n":                        {"INSERT INTO d.format", "TSV", ""},
		"INSERT INTO d . values VALUES (1)":                        {"INSERT INTO d . values", "Values", " (1)"},
		"INSERT INTO TABLE t FORMAT TSV\n":                         {"INSERT INTO TABLE t", "TSV", ""},
		"INSERT INTO table FORMAT TSV\n":                           {"INSERT INTO table", "TSV", ""},
		"INSERT INTO table VALUES (1)":                             {"INSERT INTO table", "Values", " (1)"},
		"INSERT INTO `VALUES` VALUES (1)":                          {"INSERT INTO `VALUES`", "Values", " (1)"},
		"INSERT INTO FUNCTION null('a VALUES') VALUES (1)":         {"INSERT INTO FUNCTION null('a VALUES')", "Values", " (1)"},
		"INSERT INTO {t:Identifier} VALUES (1)":                    {"INSERT INTO {t:Identifier}", "Values", " (1)"},
		"-- INSERT\n/* VALUES */ INSERT INTO t # VALUES\nVALUES x": {"-- INSERT\n/* VALUES */ INSERT INTO t", "Values", " x"},
		"INSERT INTO t SETTINGS a = 1 FORMAT TSV\n1":               {"INSERT INTO t SETTINGS a = 1", "TSV", "1"},
		"INSERT INTO t FORMAT TSV SETTINGS a = 1, b='x'\n1":        {"INSERT INTO t  SETTINGS a = 1, b='x'", "TSV", "1"},
		"INSERT INTO t FORMAT TSV SETTINGS a = 0.5\n1":             {"INSERT INTO t  SETTINGS a = 0.5", "TSV", "1"},
		"INSERT INTO t FORMAT TSV settings\t1":                     {"INSERT INTO t", "TSV", "settings\t1"},
		"INSERT INTO t":                                            {"INSERT INTO t", "", ""},
		"INSERT INTO t (a) ;":                                      {"INSERT INTO t (a)", "", ""},
		"INSERT INTO t PARTITION BY x VALUES (1)":                  {"INSERT INTO t PARTITION BY x", "Values", " (1)"},
	} {
		head, ok := splitInsert(sql)
		if !ok {
			t.Errorf("%q: got no INSERT", sql)
			continue
		}
		if head.statement != want.statement || head.format != want.format || sql[head.rows:] != want.rows {
			t.Errorf("%q: got %q %q %q, want %q", sql, head.statement, head.format, sql[head.rows:], want)
		}
	}
	for _, sql := range []string{
		"", "SELECT 1", "'INSERT' INTO t VALUES (1)", "INSERT INTO t SELECT 1", "INSERT INTO t (SELECT 1)", "INSERT INTO t ( WITH 1 AS a SELECT a)",
		"INSERT INTO t (a) SELECT 'VALUES'", "INSERT INTO t WITH 1 AS a SELECT a", "INSERT INTO t FROM INFILE 'x' FORMAT CSV", "INSERT", "INSERT INTO", "INSERT INTO (", "INSERT INTO t (a",
		"INSERT INTO t FORMAT", "INSERT INTO t FORMAT 'CSV'", "EXPLAIN INSERT INTO t VALUES (1)",
	} {
		if head, ok := splitInsert(sql); ok {
			t.Errorf("%q: got %+v, want no INSERT with rows", sql, head)
		}
	}
}

func TestTheOutputClauseIsCutOff(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]outputClause{
		"SELECT 1":                                     {body: "SELECT 1"},
		" SELECT 1 ; ; -- x\n":                         {body: " SELECT 1"},
		"SELECT 1 FORMAT JSON":                         {body: "SELECT 1", format: "JSON"},
		"SELECT 1 format JSON;":                        {body: "SELECT 1", format: "JSON"},
		"SELECT 1 FORMAT JSON SETTINGS a = 1, b = -2":  {body: "SELECT 1", format: "JSON", settings: "SETTINGS a = 1, b = -2"},
		"SELECT 1 SETTINGS a = 1 FORMAT JSON":          {body: "SELECT 1 SETTINGS a = 1", format: "JSON"},
		"SELECT 1 AS format":                           {body: "SELECT 1 AS format"},
		"SELECT format FROM t":                         {body: "SELECT format FROM t"},
		"SELECT (SELECT 1 FORMAT JSON)":                {body: "SELECT (SELECT 1 FORMAT JSON)"},
		"SELECT ' FORMAT JSON'":                        {body: "SELECT ' FORMAT JSON'"},
		"SELECT 1 -- FORMAT JSON":                      {body: "SELECT 1"},
		"SELECT 1 /* x */ FORMAT /* y */ JSON /* z */": {body: "SELECT 1", format: "JSON"},
		"SELECT $a$ ; FORMAT JSON $a$":                 {body: "SELECT $a$ ; FORMAT JSON $a$"},
		"":                                             {},
		" ; ":                                          {},
		"FORMAT JSON":                                  {body: "FORMAT JSON"},
	} {
		if diff := cmp.Diff(want, splitOutput(sql), cmp.AllowUnexported(outputClause{})); diff != "" {
			t.Errorf("%q: %s", sql, diff)
		}
	}
}

// Whatever the text, nothing panics, the parts are parts of the text in their order, and quoting keeps a text one token.
func FuzzStatement(f *testing.F) {
	for _, seed := range []string{
		"INSERT INTO t FORMAT CSV\n1", "SELECT 1 FORMAT JSON SETTINGS a = 1.5", "SELECT '\\", "SELECT $a$ $a", "INSERT INTO {", "“x” ‘y’ \u00a0 # c", "/*", "`a``b`", "INSERT INTO t FORMAT x SETTINGS a=-", "INSERT INTO t FORMAT CSV;",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		if head, ok := splitInsert(sql); ok {
			if head.rows < 0 || head.rows > len(sql) || !strings.HasPrefix(head.statement, sql[:min(len(sql), 1)]) {
				t.Errorf("got %+v", head)
			}
		}
		clause := splitOutput(sql)
		if !strings.HasPrefix(sql, clause.body) {
			t.Errorf("got body %q of %q", clause.body, sql)
		}
		at := 0
		for l := (&lexer{sql: sql}); ; {
			token, ok := l.next()
			if !ok {
				break
			}
			if token.start < at || token.end <= token.start {
				t.Fatalf("got token %+v at %d", token, at)
			}
			at = token.end
		}
		for _, quoted := range []string{quoteText(sql), quoteName(sql)} {
			token, ok := (&lexer{sql: quoted}).next()
			if !ok || token.end != len(quoted) {
				t.Errorf("%q is not one token", quoted)
			}
		}
	})
}
