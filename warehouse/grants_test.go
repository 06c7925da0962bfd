package warehouse_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/internal/embedded/clickhouse/clickhousetest"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/secret"
	"github.com/headwater-data/headwater/schemas"
	"github.com/headwater-data/headwater/warehouse"
)

// define brings a warehouse to what a project says, and to what it says later.
func define(ctx context.Context, b *bench) error {
	for _, set := range []*schemas.Set{parcel(b.t, nil), parcel(b.t, func(s *schemas.Schema) {
		s.Version, s.Title.En = 2, "Parcel of land"
		s.Fields[2].Type.Precision, s.Fields[2].Type.Scale = 18, 4
		s.Fields[1].Description = "Area by survey."
		s.Fields = append(s.Fields, schemas.Field{Name: "note", Title: s.Fields[0].Title, Description: "Note.", Type: schemas.Type{Kind: schemas.KindString}})
	})} {
		if _, err := b.Migrate(ctx, set); err != nil {
			return err
		}
	}
	return nil
}

var offsets atomic.Int64

// everything does with a warehouse what a project's process does, and returns the first error.
func everything(ctx context.Context, b *bench) error {
	if _, err := b.Migrate(ctx, schemas.Standard()); err != nil {
		return err
	}
	if err := b.Sync(ctx, schemas.Standard(), nil); err != nil {
		return err
	}
	since := time.Now()
	offset := offsets.Add(1) // another one each time: rows that stand twice are a matter of their own
	rows := many(10, offset)
	records := []arrow.Record{b.records(rows...)}
	token := fmt.Sprint(since.UnixNano()) // one for each time, or the second would do nothing
	if err := b.Insert(ctx, warehouse.Insert{Table: "observation", Token: token, Records: records, Rows: len(rows)}); err != nil {
		return err
	}
	there, err := b.Landed(ctx, "observation", flush(offset, offset+1), since, warehouse.Expected{offset: {Rows: 10, IndexSum: 45}})
	if err == nil && !there {
		err = errors.New("what was inserted is not there")
	}
	if err != nil {
		return err
	}
	quarantined := quarantineRow(5, 0)
	held := ledgerRow(0, 5, 0)
	for _, step := range []func() error{
		func() error { _, err := b.Refresh(ctx); return err },
		func() error {
			_, err := b.Missing(ctx, observationSchema(b.t), flush(offset, offset+1), records)
			return err
		},
		func() error {
			_, err := b.Reach(ctx, []string{"observation"}, testTopic, 0, testIncarnation, 0)
			return err
		},
		func() error { return b.PutShape(ctx, token, []byte("{}")) },
		func() error { _, err := b.Shape(ctx, token); return err },
		func() error { return b.WriteQuarantine(ctx, token, []warehouse.QuarantineRow{quarantined}) },
		func() error {
			return b.SetQuarantineStatus(ctx, []string{quarantined.ID()}, warehouse.QuarantineDismissed, "li", "", nil)
		},
		func() error { return b.Supersede(ctx, "s", "st", "a.csv", at(50)) },
		func() error { return b.WriteLedger(ctx, token, []warehouse.LedgerRow{held}) },
		func() error { _, err := b.Held(ctx, testTopic, 3); return err },
		func() error {
			return b.WriteRun(ctx, warehouse.Run{Run: token, Source: "s", Trigger: "command", StartedAt: at(0), Outcome: warehouse.RunRunning, Attempt: 1})
		},
	} {
		if err := step(); err != nil {
			return err
		}
	}
	for _, view := range warehouse.Views {
		if err := read(ctx, b, "SELECT * FROM "+view); err != nil {
			return err
		}
	}
	return nil
}

// rebuild does what a replay does with the tables.
func rebuild(ctx context.Context, b *bench) error {
	schema := observationSchema(b.t)
	for _, step := range []func() error{
		func() error { return b.MakeShadow(ctx, schema, "s") },
		func() error { _, err := b.CompareShadow(ctx, schema, "s"); return err },
		func() error { _, err := b.EmptiedByShadow(ctx, schema, "s"); return err },
		func() error { return b.ExchangeShadow(ctx, schema) },
		func() error { return b.DropShadow(ctx, schema) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func read(ctx context.Context, b *bench, sql string) error {
	rows, err := b.Query(ctx, sql, nil)
	if err != nil {
		return err
	}
	return rows.Close()
}

// withRights starts a warehouse in a folder whose user has exactly those rights.
func withRights(t *testing.T, dir string, grants []string) *bench {
	t.Helper()
	server := clickhousetest.StartWith(t, dir, grants)
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	b := &bench{t: t, server: server.Server, mem: mem, ctx: t.Context()}
	w, err := warehouse.Open(b.ctx, warehouse.Config{Addr: server.Addr, User: server.User, Password: secret.New(server.Password), Database: "headwater", Allocator: mem})
	if err != nil {
		t.Fatal(err)
	}
	b.Warehouse = w
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		server.Kill(t)
	})
	return b
}

// single splits grants so that each gives one right, and leaves out those that the engine does not ask for.
func single(grants []string) []string {
	var out []string
	for _, g := range grants {
		rights, on, _ := strings.Cut(g, " ON ")
		if strings.HasPrefix(on, "system.") || strings.HasPrefix(rights, "TABLE ENGINE") {
			continue
		}
		for right := range strings.SplitSeq(rights, ", ") {
			out = append(out, right+" ON "+on)
		}
	}
	return out
}

func role(t *testing.T, user string) warehouse.Role {
	t.Helper()
	for _, r := range warehouse.Roles("headwater", schemas.Standard()) {
		if r.User == user {
			return r
		}
	}
	t.Fatalf("no user %s", user)
	return warehouse.Role{}
}

// The rights of each role suffice for what it is for, and none is too much: without any single one something fails, and the
// error names the right. The engine never asks for rights on system tables and table engines, which stock servers can be told
// to, so those cannot be found missing here.
func TestTheGrantsSufficeAndNoneIsTooMuch(t *testing.T) {
	t.Parallel()
	loader, operator, reader := role(t, "headwater_loader"), role(t, "headwater_operator"), role(t, "headwater_reader")
	rebuilder := role(t, "headwater_rebuilder")
	made := t.TempDir() // a warehouse that the loader has made
	t.Run("the loader makes everything", func(t *testing.T) {
		b := withRights(t, made, loader.Grants)
		for range 2 {
			if err := everything(b.ctx, b); err != nil {
				t.Fatal(err)
			}
		}
		b = withRights(t, t.TempDir(), loader.Grants)
		if err := define(b.ctx, b); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("the operator loads", func(t *testing.T) {
		b := withRights(t, copied(t, made), operator.Grants)
		if err := everything(b.ctx, b); err != nil {
			t.Error(err)
		}
		for _, statement := range []string{"CREATE TABLE headwater.x (a Int8) ENGINE = Memory", "DROP TABLE headwater.observation", "ALTER TABLE headwater.observation ADD COLUMN x String", "DROP VIEW headwater.freshness"} {
			if got := b.server.Try(t, statement); !strings.Contains(got, "ACCESS_DENIED") {
				t.Errorf("%s: %s", statement, got)
			}
		}
	})
	t.Run("the rebuilder rebuilds", func(t *testing.T) {
		b := withRights(t, copied(t, made), rebuilder.Grants)
		if err := everything(b.ctx, b); err != nil {
			t.Error(err)
		}
		if err := rebuild(b.ctx, b); err != nil {
			t.Error(err)
		}
	})
	t.Run("the reader reads", func(t *testing.T) {
		b := withRights(t, copied(t, made), reader.Grants)
		for _, from := range append(slices.Clone(warehouse.Views), "indicator_rollup_as_of(day = '2024-05-01')", "lineage_as_of(day = '2024-05-01')", "indicator_fact", "observation", "hotline_case", "ledger", "region") {
			err := read(b.ctx, b, "SELECT * FROM "+from)
			if from == "quarantine_open" {
				if err == nil {
					t.Error("the reader sees rows in quarantine")
				}
			} else if err != nil {
				t.Errorf("%s: %v", from, err)
			}
		}
		for _, statement := range []string{"SELECT columns FROM headwater.quarantine", "SELECT * FROM headwater.shape", "SELECT error FROM headwater.run", "INSERT INTO headwater.observation (region) VALUES ('x')"} {
			if got := b.server.Try(t, statement); !strings.Contains(got, "ACCESS_DENIED") {
				t.Errorf("%s: %s", statement, got)
			}
		}
	})
	rights := single(operator.Grants)
	for _, right := range rights {
		without(t, right, everything, copied(t, made), slices.DeleteFunc(slices.Clone(rights), func(r string) bool { return r == right }))
	}
	for _, right := range single(rebuilder.Grants) {
		if !slices.Contains(single(loader.Grants), right) {
			without(t, right, rebuild, copied(t, made), loader.Grants)
		}
	}
	rights = single(loader.Grants)
	for _, right := range rights {
		if !slices.Contains(single(operator.Grants), right) {
			without(t, right, define, t.TempDir(), slices.DeleteFunc(slices.Clone(rights), func(r string) bool { return r == right }))
		}
	}
}

// without fails the test unless do fails for lack of the right, which the error names.
func without(t *testing.T, right string, do func(context.Context, *bench) error, dir string, rest []string) {
	t.Run("without "+right, func(t *testing.T) {
		b := withRights(t, dir, rest)
		err := do(b.ctx, b)
		name, _, _ := strings.Cut(right, " ON ")
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "headwater warehouse grants") || fault.KindOf(err) != fault.KindEnvironment {
			t.Errorf("got %v, want an environmental error that names the right %s", err, name)
		}
	})
}

func copied(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "warehouse")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestTheEngineUnderstandsTheGrants(t *testing.T) {
	t.Parallel()
	server := clickhousetest.Start(t)
	for _, certificate := range []bool{false, true} {
		for _, database := range []string{"headwater", "od`d's"} {
			n := 0
			for _, r := range warehouse.Roles(database, schemas.Standard()) {
				for _, statement := range r.Statements(certificate) {
					server.Exec(t, "SELECT formatQuery("+quoted(statement)+")")
					n++
				}
			}
			readers, err := warehouse.ReaderRoles(database, moving(t), someReaders())
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range readers {
				for _, statement := range r.Statements(certificate) {
					server.Exec(t, "SELECT formatQuery("+quoted(statement)+")")
					n++
				}
			}
			if n < 200 {
				t.Errorf("only %d statements", n)
			}
		}
	}
	script := warehouse.Script(warehouse.Roles("headwater", schemas.Standard()), false)
	if strings.Contains(script, "no_password") || strings.Count(script, "HOST NONE;") != 4 {
		t.Errorf("users can log in before they have a password:\n%s", script)
	}
	golden(t, "grants.sql", script)
	readers, err := warehouse.ReaderRoles("headwater", moving(t), someReaders())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "readers.sql", warehouse.Script(readers, false))
}

func someReaders() []warehouse.Reader {
	city := readerOf("330200", schemas.Internal, "one")
	city.Name, city.Title, city.QueriesPerHour, city.QueryTimePerHour = "ning-bo", "宁波市\n-- not a line of its own", 1000, 10*time.Minute
	all := readerOf("", schemas.SensitivePersonal)
	all.Name = "all"
	return []warehouse.Reader{all, city}
}

func quoted(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
}

// administered stands before the embedded warehouse, which can have no other users: it takes what makes roles and users and
// remembers it, and refuses what it is told to. All else is the engine's.
type administered struct {
	*httptest.Server
	mu     sync.Mutex
	taken  []string
	refuse string
}

func newAdministered(t *testing.T, behind clickhousetest.Server) *administered {
	t.Helper()
	a := &administered{}
	transport := &http.Transport{}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: behind.Addr})
	proxy.Transport = transport
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		statement := string(body)
		if !slices.ContainsFunc([]string{"CREATE ROLE", "CREATE USER", "GRANT", "REVOKE", "CREATE ROW POLICY", "DROP ROW POLICY", "CREATE SETTINGS PROFILE", "CREATE QUOTA"}, func(p string) bool { return strings.HasPrefix(statement, p) }) {
			proxy.ServeHTTP(w, r)
			return
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.refuse != "" && strings.HasPrefix(statement, a.refuse) {
			w.Header().Set("X-ClickHouse-Exception-Code", "497")
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, "Code: 497. DB::Exception: %s: Not enough privileges. To execute this query, it's necessary to have the grant CREATE USER ON *.*. (ACCESS_DENIED)", behind.User)
			return
		}
		a.taken = append(a.taken, statement)
	}))
	t.Cleanup(func() {
		a.Close()
		transport.CloseIdleConnections()
	})
	return a
}

// Grants are applied in order, before there is any table, and are in the audit table; one that the server refuses is told with
// the right that is missing.
func TestGrantsAreApplied(t *testing.T) {
	t.Parallel()
	server := clickhousetest.Start(t)
	front := newAdministered(t, server)
	w, err := warehouse.Open(t.Context(), warehouse.Config{Addr: strings.TrimPrefix(front.URL, "http://"), User: server.User, Password: secret.New(server.Password), Database: "granted"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	readers, err := warehouse.ReaderRoles("granted", schemas.Standard(), someReaders())
	if err != nil {
		t.Fatal(err)
	}
	roles := append(warehouse.Roles("granted", schemas.Standard()), readers...)
	apply := func() (n int, err error) {
		err = w.Audited(t.Context(), warehouse.AuditEntry{Who: "li", Command: "warehouse grants --apply", TargetKind: "grants", Target: "all", Why: "new"}, func(*warehouse.AuditEntry) error {
			n, err = w.Apply(t.Context(), roles, false)
			return err
		})
		return n, err
	}
	var want []string
	for _, r := range roles {
		want = append(want, r.Statements(false)...)
	}
	if n, err := apply(); err != nil || n != len(want) || !slices.Equal(front.taken, want) {
		t.Errorf("%d of %d statements, %v; taken: %v", n, len(want), err, front.taken)
	}
	front.refuse = "CREATE USER"
	if n, err := apply(); err == nil || fault.KindOf(err) != fault.KindEnvironment || !strings.Contains(err.Error(), "CREATE USER ON *.*") || n == 0 || n >= len(want) {
		t.Errorf("%d statements, %v", n, err)
	}
	audits, err := w.Audits(t.Context(), warehouse.AuditFilter{TargetKind: "grants"})
	if err != nil || len(audits) != 2 || audits[0].Outcome != warehouse.AuditFailed || audits[1].Outcome != warehouse.AuditDone {
		t.Errorf("%v, %+v", err, audits)
	}
}
