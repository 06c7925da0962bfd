//go:build clients

package clients_test

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headwater-data/headwater/internal/embedded/clickhouse/clickhousetest"
	"github.com/headwater-data/headwater/internal/secret"
	"github.com/headwater-data/headwater/internal/testkafka"
	"github.com/headwater-data/headwater/schemas"
	"github.com/headwater-data/headwater/warehouse"
)

//go:embed testdata/artifacts.txt
var artifacts string

// long is a query that takes minutes unless it is cancelled.
const long = "SELECT count() FROM numbers(1000000000000) WHERE NOT ignore(sipHash64(number), 'the long one')"

// answer is what a client prints at its end.
type answer struct {
	Databases []string          `json:"databases"`
	Tables    map[string]string `json:"tables"`
	Columns   map[string]string `json:"columns"`
	Region    string            `json:"region"`
	Known     []float64         `json:"known"` // a figure as known on a day, which the client gives as a parameter
	Rows      int64             `json:"rows"`
	Sum       int64             `json:"sum"`
	Refused   string            `json:"refused"`
	Cancelled bool              `json:"cancelled"`
}

// TestClients: each client sees what the warehouse itself says is there, reads a million rows, may not write, and can cancel;
// nothing that it cancelled goes on running.
func TestClients(t *testing.T) {
	server := clickhousetest.Start(t)
	ctx := t.Context()
	w, err := warehouse.Open(ctx, warehouse.Config{Addr: server.Addr, User: server.User, Password: secret.New(server.Password), Database: "headwater"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Migrate(ctx, schemas.Standard()); err != nil {
		t.Fatal(err)
	}
	if err := w.Sync(ctx, schemas.Standard(), nil); err != nil {
		t.Fatal(err)
	}
	server.Exec(t, `INSERT INTO headwater.observation (indicator, region, grain, period, feed, value, _version, _extracted_at) VALUES
		('I', '330102', 'month', '2024-04-01 00:00:00', 'direct', 7, 1, '2024-05-06 02:00:00'), ('I', '330102', 'month', '2024-04-01 00:00:00', 'direct', 8, 2, '2024-05-07 02:00:00')`)
	want := answer{Rows: 1_000_000, Sum: 999_999*1_000_000/2 + 5_888_890, Region: "杭州市"}
	want.Tables = named(t, ctx, w, "SELECT name, comment FROM system.tables WHERE database = 'headwater'")
	want.Columns = named(t, ctx, w, "SELECT name, comment FROM system.columns WHERE database = 'headwater' AND table = 'indicator_rollup'")
	for name, client := range map[string]func(t *testing.T, ctx context.Context) *exec.Cmd{"jdbc": jdbc, "python": python, "node": node} {
		t.Run(name, func(t *testing.T) {
			patience, stop := context.WithTimeout(ctx, 2*time.Minute)
			defer stop()
			c := client(t, patience)
			c.Env = append(os.Environ(), "CH_ADDRESS="+server.Addr, "CH_USER=reader", "CH_PASSWORD="+server.ReaderPassword, "CH_DATABASE=headwater", "CH_REGION=330100", "CH_LONG="+long)
			var out, errs bytes.Buffer
			c.Stdout, c.Stderr, c.WaitDelay = &out, &errs, time.Second
			if err := c.Run(); err != nil {
				t.Fatalf("%v\n%s\n%s", err, out.String(), errs.String())
			}
			var got answer
			if err := json.Unmarshal(out.Bytes(), &got); err != nil {
				t.Fatalf("%v: %s\n%s", err, out.String(), errs.String())
			}
			if !slices.Contains(got.Databases, "headwater") {
				t.Errorf("databases: %v", got.Databases)
			}
			if !maps.Equal(got.Tables, want.Tables) {
				t.Errorf("tables: %v, want %v", got.Tables, want.Tables)
			}
			if !maps.Equal(got.Columns, want.Columns) || len(got.Columns) == 0 {
				t.Errorf("columns of indicator_rollup: %v, want %v", got.Columns, want.Columns)
			}
			if got.Rows != want.Rows || got.Sum != want.Sum || got.Region != want.Region {
				t.Errorf("%d rows with sum %d, region %q; want %d, %d, %q", got.Rows, got.Sum, got.Region, want.Rows, want.Sum, want.Region)
			}
			if !slices.Equal(got.Known, []float64{7}) {
				t.Errorf("as known on 6 May: %v, want 7", got.Known)
			}
			if !strings.Contains(strings.ToLower(got.Refused), "readonly") {
				t.Errorf("a reader's insert was answered %q", got.Refused)
			}
			if !got.Cancelled {
				t.Error("the long query was not cancelled")
			}
			ended := time.Now()
			for running(t, ctx, w) > 0 {
				if time.Since(ended) > 30*time.Second {
					t.Fatal("the cancelled query goes on running")
				}
			}
		})
	}
}

func named(t *testing.T, ctx context.Context, w *warehouse.Warehouse, sql string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, row := range rows(t, ctx, w, sql) {
		out[row[0]] = row[1]
	}
	return out
}

func running(t *testing.T, ctx context.Context, w *warehouse.Warehouse) int {
	t.Helper()
	return len(rows(t, ctx, w, "SELECT query_id, query FROM system.processes WHERE query LIKE '%the long one%' AND query NOT LIKE '%system.processes%'"))
}

func rows(t *testing.T, ctx context.Context, w *warehouse.Warehouse, sql string) [][2]string {
	t.Helper()
	r, err := w.Query(ctx, sql, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var out [][2]string
	for row, err := range r.All() {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, [2]string{row[0].Text(), row[1].Text()})
	}
	return out
}

func jdbc(t *testing.T, ctx context.Context) *exec.Cmd {
	list, err := testkafka.ParseArtifacts(artifacts)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := testkafka.FetchArtifacts(t.Context(), "clickhouse-jdbc", list)
	if err != nil {
		t.Fatal(err)
	}
	return exec.CommandContext(ctx, "java", "-cp", filepath.Join(folder, "*"), filepath.Join("testdata", "Client.java"))
}

// python makes an environment with the packages that the hashes in requirements.txt name.
func python(t *testing.T, ctx context.Context) *exec.Cmd {
	dir := t.TempDir()
	run(t, "python3", "-m", "venv", dir)
	run(t, filepath.Join(dir, "bin", "pip"), "install", "--quiet", "--require-hashes", "--only-binary", ":all:", "-r", filepath.Join("testdata", "requirements.txt"))
	return exec.CommandContext(ctx, filepath.Join(dir, "bin", "python"), filepath.Join("testdata", "client.py"))
}

// node installs what package-lock.json names, by its hashes.
func node(t *testing.T, ctx context.Context) *exec.Cmd {
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "client.mjs"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "npm", "ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", dir)
	return exec.CommandContext(ctx, "node", filepath.Join(dir, "client.mjs"))
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatal(fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out))
	}
}
