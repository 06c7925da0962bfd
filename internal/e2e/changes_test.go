package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/headwater-data/headwater/internal/testdb"
)

const changesYAML = `source: cases
title: 工单
owner: test
connector: postgres
config: {host: HOST, port: PORT, database: DATABASE, user: USER, password: "${env:CASES_PASSWORD}", tls: {ca: CA}}
streams:
  - name: rows
    read:
      table: public.cases
      changes: {slot: headwater_cases, publication: headwater_cases}
    map:
      schema: hotline_case
      fields:
        case_id: id
        region: {from: region, region: {within: "330000"}}
        opened_at: {from: opened, parse: datetime}
        channel: {value: phone}
        category: title
        status: {value: open}
`

// TestATableIsFollowedThroughKills: rows are inserted, changed, moved, deleted and truncated while the program is killed between what it
// wrote and what it noted, and the warehouse has what the table has.
func TestATableIsFollowedThroughKills(t *testing.T) {
	t.Parallel()
	db := testdb.OwnPostgres(t).Database(t)
	db.Do(t, "CREATE TABLE cases (id text PRIMARY KEY, region text, opened timestamptz, title text)", "ALTER TABLE cases ALTER title SET STORAGE EXTERNAL", "CREATE PUBLICATION headwater_cases FOR TABLE cases",
		"INSERT INTO cases SELECT 'c' || g, '上城区', '2024-03-05 08:00+08', 'title ' || g FROM generate_series(1, 2000) g", "INSERT INTO cases VALUES ('long', '西湖区', '2024-03-05 08:00+08', repeat('长', 5000))")
	config := strings.NewReplacer("HOST", db.Host, "PORT", fmt.Sprint(db.Port), "DATABASE", db.Name, "USER", db.User, "CA}", db.CA+"}").Replace(changesYAML)
	p := newProject(t, map[string]string{"headwater.yaml": killConfig(t, 500, embedded), "sources/cases.yaml": config})
	p.env = append(p.env, "CASES_PASSWORD="+db.Password)
	t.Cleanup(func() { // before the database is dropped
		if _, err := db.Exec("SELECT pg_drop_replication_slot('headwater_cases')"); err != nil {
			t.Error(err)
		}
	})
	same := func(what string) {
		t.Helper()
		var want string
		if err := db.QueryRow("SELECT count(*) || ' ' || coalesce(md5(string_agg(id || '=' || title, ',' ORDER BY id || '=' || title COLLATE \"C\")), '') FROM cases").Scan(&want); err != nil {
			t.Fatal(err)
		}
		got := p.one(t, "SELECT concat(toString(count()), ' ', if(count() = 0, '', lower(hex(MD5(arrayStringConcat(arraySort(groupArray(concat(case_id, '=', category))), ',')))))) FROM hotline_case FINAL WHERE _deleted = 0")
		if got != want {
			t.Fatalf("%s: the warehouse has %s, the table %s", what, got, want)
		}
	}
	p.must(t, "run")
	same("after the first reading")
	for i, kill := range []string{"produced:1", "written:1", "before-ledger:1"} {
		db.Do(t, fmt.Sprintf("SET synchronous_commit = on; UPDATE cases SET title = title || '-%d' WHERE id LIKE 'c%d%%'", i, i+1), fmt.Sprintf("DELETE FROM cases WHERE id LIKE 'c%d_7'", i+1),
			fmt.Sprintf("UPDATE cases SET id = 'moved%d-' || id WHERE id LIKE 'c%d_9'", i, i+1), "UPDATE cases SET opened = opened + interval '1 minute' WHERE id = 'long'")
		if r := p.run(t, []string{"HEADWATER_CRASH=" + kill}, "run"); r.signal != syscall.SIGKILL {
			t.Fatalf("not killed at %s: exit code %d\n%s\n%s", kill, r.code, r.out, r.err)
		}
		db.Do(t, fmt.Sprintf("INSERT INTO cases VALUES ('new%d', '西湖区', '2024-03-06 08:00+08', 'new')", i))
		p.must(t, "run")
		same("after a kill at " + kill)
	}
	db.Do(t, "TRUNCATE cases", "INSERT INTO cases VALUES ('c1', '西湖区', '2024-03-06 08:00+08', 'again')")
	if r := p.run(t, []string{"HEADWATER_CRASH=before-ledger:1"}, "run"); r.signal != syscall.SIGKILL {
		t.Fatalf("not killed: exit code %d\n%s\n%s", r.code, r.out, r.err)
	}
	p.must(t, "run")
	same("after a truncate")
	db.Do(t, "INSERT INTO cases VALUES ('c2', '西湖区', '2024-03-06 08:00+08', 'late')")
	p.must(t, "run")
	same("after it goes on behind a truncate")
	// Whoever compares or looks reads the table, and leaves slot and cursor where they are.
	p.must(t, "verify", "cases")
	p.must(t, "preview", "cases")

	// The slot is lost. That is an error and not a run without news; then the table is read again, and what went meanwhile is gone.
	db.Do(t, "SELECT pg_drop_replication_slot('headwater_cases')", "DELETE FROM cases WHERE id = 'c1'")
	if r := p.run(t, nil, "run"); r.code == 0 || !strings.Contains(r.err, "the replication slot headwater_cases is gone") {
		t.Fatalf("a lost slot: exit code %d\n%s\n%s", r.code, r.out, r.err)
	}
	p.must(t, "cursor", "reset", "cases", "--why", "the slot was dropped")
	p.must(t, "run")
	same("after the table was read again")
	p.balanced(t)
}
