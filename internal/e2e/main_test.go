// Package e2e holds tests that run the program as a user does: a project's folder, the built binary, its output and exit code,
// and the warehouse that it filled. What should be there is computed here, from the input files, without any package of
// Headwater's pipeline.
package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/headwater-data/headwater/internal/embedded/embeddedtest"
	"github.com/headwater-data/headwater/internal/testkafka"
)

// binary is the program under test, built with the fault points in it.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "headwater-e2e")
	if err == nil {
		binary = filepath.Join(dir, "headwater")
		build := exec.Command("go", "build", "-tags", "faults", "-o", binary, "github.com/headwater-data/headwater/cmd/headwater")
		build.Stderr = os.Stderr
		err = build.Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "build the program:", err)
		os.Exit(1)
	}
	code := testkafka.EndShared(m).Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// project is a folder with a project in it.
type project struct {
	dir string
	env []string

	address, password string // of the embedded warehouse, once serve runs
}

func newProject(t *testing.T, files map[string]string) *project {
	t.Helper()
	p := &project{dir: t.TempDir()}
	embeddedtest.Ended(t, filepath.Join(p.dir, ".headwater"))
	for name, text := range files {
		p.write(t, name, text)
	}
	return p
}

func (p *project) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(p.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (p *project) command(args ...string) *exec.Cmd {
	c := exec.Command(binary, args...)
	c.Dir = p.dir
	c.Env = append(os.Environ(), p.env...)
	return c
}

// result is what a command said and how it ended.
type result struct {
	out, err string
	code     int // -1 when killed
	signal   syscall.Signal
}

func (p *project) run(t *testing.T, env []string, args ...string) result {
	t.Helper()
	c := p.command(args...)
	c.Env = append(c.Env, env...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	r := result{out: out.String(), err: errs.String()}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		r.code = exit.ExitCode()
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			r.signal = status.Signal()
		}
	} else if err != nil {
		t.Fatal(err)
	}
	return r
}

// must runs a command that must succeed.
func (p *project) must(t *testing.T, args ...string) result {
	t.Helper()
	r := p.run(t, nil, args...)
	if r.code != 0 {
		t.Fatalf("headwater %s: exit code %d\n%s\n%s", strings.Join(args, " "), r.code, r.out, r.err)
	}
	return r
}

// query asks the warehouse over its HTTP interface, as any client would, and returns its rows. The first query starts
// `headwater warehouse serve`, which keeps the embedded warehouse up until the test ends.
func (p *project) query(t *testing.T, sql string) []map[string]any {
	t.Helper()
	if p.address == "" {
		p.serve(t)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.address+"/?database=headwater&default_format=JSONEachRow&output_format_json_quote_64bit_integers=0", strings.NewReader(sql))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-ClickHouse-User", "reader")
	req.Header.Set("X-ClickHouse-Key", p.password)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		t.Fatalf("%s: %s: %s", sql, resp.Status, text)
	}
	var rows []map[string]any
	dec := json.NewDecoder(resp.Body)
	dec.UseNumber()
	for {
		var row map[string]any
		if err := dec.Decode(&row); errors.Is(err, io.EOF) {
			return rows
		} else if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		rows = append(rows, row)
	}
}

func (p *project) serve(t *testing.T) {
	t.Helper()
	c := p.command("warehouse", "serve", "--json")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	c.Stderr = &errs
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Signal(os.Interrupt)
		_ = c.Wait() // ends with 130, as it was interrupted
		http.DefaultClient.CloseIdleConnections()
	})
	var rows []struct{ What, Value string }
	if err := json.NewDecoder(out).Decode(&rows); err != nil {
		t.Fatalf("%v: %s", err, errs.String())
	}
	for _, r := range rows {
		switch r.What {
		case "address":
			p.address = r.Value
		case "its password":
			p.password = r.Value
		}
	}
}

// one asks for a single value as text.
func (p *project) one(t *testing.T, sql string) string {
	t.Helper()
	rows := p.query(t, sql)
	if len(rows) != 1 || len(rows[0]) != 1 {
		t.Fatalf("%s: %v", sql, rows)
	}
	for _, v := range rows[0] {
		return fmt.Sprint(v)
	}
	return ""
}

// balanced fails unless the ledger balances and counts what it should.
func (p *project) balanced(t *testing.T) {
	t.Helper()
	if n := p.one(t, "SELECT count() FROM ledger_balance WHERE NOT balanced OR difference != 0"); n != "0" {
		t.Errorf("%s lines of the ledger do not balance: %v", n, p.query(t, "SELECT * FROM ledger_balance"))
	}
}
