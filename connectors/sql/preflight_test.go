package sql_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/connectors/sql"
)

// found lists what a preflight says, as "what level: text; fix".
func found(t *testing.T, src connectors.Source) map[string]string {
	t.Helper()
	list, err := src.(connectors.Preflighter).Preflight(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, f := range list {
		out[f.What] = fmt.Sprintf("%s: %s; %s", f.Level, f.Text, f.Fix)
	}
	return out
}

func holds(t *testing.T, got map[string]string, want map[string]string) {
	t.Helper()
	for what, text := range want {
		if !strings.Contains(got[what], text) {
			t.Errorf("%s: %q, want %q in it", what, got[what], text)
		}
	}
}

func TestPreflightTellsWhatReadingNeeds(t *testing.T) {
	t.Parallel()
	badDay(t, func(t *testing.T, d day) {
		d.Do(t, "CREATE TABLE cases (id int primary key, at "+d.now+" not null, note int)")
		d.Do(t, "INSERT INTO cases VALUES (1, CURRENT_TIMESTAMP, 3), (2, CURRENT_TIMESTAMP, 4)")
		o := sql.Options{Table: "cases", Watermark: "at"}
		got := found(t, d.open(t, o))
		holds(t, got, map[string]string{
			"server": "ok: ", "clock": "ok: within", "columns": "3 columns", "key": "ok: id", "size": "MiB",
			"watermark": "note: no index begins with at: every run searches the whole table; let the owner run CREATE INDEX ",
		})
		_, create, _ := strings.Cut(got["watermark"], "let the owner run ")
		d.Do(t, create)
		holds(t, found(t, d.open(t, o)), map[string]string{"watermark": "ok: an index begins with at"})
		d.Do(t, "CREATE TABLE heap (a int, b int)")
		holds(t, found(t, d.open(t, sql.Options{Table: "heap"})), map[string]string{"key": "note: none"})
		holds(t, found(t, d.open(t, sql.Options{Table: "heap", Key: sql.Names{"a"}})), map[string]string{"key": "note: a, which no unique index guarantees"})
		holds(t, found(t, d.open(t, sql.Options{Table: "gone"})), map[string]string{"columns": "fault: ", "server": "ok: "})
		holds(t, found(t, d.open(t, sql.Options{Table: "cases", Columns: sql.Names{"nosuch"}})), map[string]string{"columns": `fault: columns names the column "nosuch"`})
	})
	t.Run("sqlite", func(t *testing.T) {
		db, open := sqliteDB(t, "CREATE TABLE cases (id INTEGER PRIMARY KEY, at TEXT NOT NULL)", "INSERT INTO cases VALUES (1, '2024')")
		holds(t, found(t, open(sql.Options{Table: "cases", Watermark: "at"})), map[string]string{"server": "ok: SQLite 3.", "columns": "2 columns", "watermark": "note: no index"})
		if _, err := db.ExecContext(t.Context(), "CREATE INDEX i ON cases (at)"); err != nil {
			t.Fatal(err)
		}
		holds(t, found(t, open(sql.Options{Table: "cases", Watermark: "at"})), map[string]string{"watermark": "ok"})
	})
}
