package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"github.com/headwater-data/headwater/internal/embedded"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/problem"
	"github.com/headwater-data/headwater/internal/project"
)

func TestMain(m *testing.M) {
	embedded.MaybeServe()
	testscript.Main(m, map[string]func(){"headwater": main})
}

var update = flag.Bool("update", false, "write what the scripts compare with")

// The scripts show the commands as a user sees them; the first word of a script's name is the command. `code N headwater …`
// checks the exit code.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: false,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"code": code,
		},
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("HEADWATER_CACHE", os.Getenv("HEADWATER_CACHE"))
			return nil
		},
	})
}

// code runs a command that must end with the exit code: code 2 headwater check.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N command …")
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit interface{ ExitCode() int }
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if fmt.Sprint(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

func TestEveryCommandHasHelpWithAnExample(t *testing.T) {
	t.Parallel()
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Short == "" || c.Example == "" {
			t.Errorf("%s: short %q, example %q", c.CommandPath(), c.Short, c.Example)
		}
		if !strings.Contains(c.Example, "headwater") && c.Name() != "help" {
			t.Errorf("%s: the example does not show the command: %q", c.CommandPath(), c.Example)
		}
		names := map[string]bool{}
		for _, sub := range c.Commands() {
			if names[sub.Name()] {
				t.Errorf("%s is there twice", sub.CommandPath())
			}
			names[sub.Name()] = true
			visit(sub)
		}
	}
	visit(rootCommand(&app{registry: knownConnectors()}))
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		err  error
		want int
	}{
		{"nothing wrong", nil, 0},
		{"an error that nobody sorted", errors.New("x"), 1},
		{"a permanent error", fault.Permanent(errors.New("x")), 1},
		{"a wrong command line", fault.Usage(errors.New("x")), 2},
		{"problems in files", fmt.Errorf("load: %w", problem.List{{File: "a", Message: "b"}}), 2},
		{"a server that is away", fmt.Errorf("run: %w", fault.Environment(errors.New("x"))), 3},
		{"a transient error that outlasted all tries", fault.Transient(errors.New("x")), 3},
		{"rows in quarantine with --strict", fmt.Errorf("run: %w", &strictError{3}), 4},
		{"an interrupt", errors.Join(errors.New("x"), &signalError{syscall.SIGINT}), 130},
		{"a termination", &signalError{syscall.SIGTERM}, 143},
		{"an error that was shown already", &reportedError{fault.Usage(errors.New("x"))}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := exitCode(c.err); got != c.want {
				t.Errorf("exit code %d, want %d", got, c.want)
			}
		})
	}
}

func TestASignalEndsTheContextAndIsItsCause(t *testing.T) {
	// Notified twice, so that the process outlives a signal that comes before withSignals listens.
	outer := make(chan os.Signal, 1)
	signal.Notify(outer, syscall.SIGTERM)
	defer signal.Stop(outer)
	ctx, stop := withSignals(t.Context())
	defer stop()
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	if got := exitCode(causeOf(ctx, ctx.Err())); got != 143 {
		t.Errorf("exit code %d, want 143", got)
	}
}

// The schemas that editors load from docs/config must be those of the types.
func TestEditorsSchemasAreCurrent(t *testing.T) {
	t.Parallel()
	for _, kind := range project.SchemaKinds() {
		want, err := project.EditorSchema(kind, knownConnectors())
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join("..", "..", "docs", "config", kind+".schema.json")
		got, err := os.ReadFile(name)
		if err != nil {
			t.Fatalf("%v: run make generate", err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not current: run make generate", name)
		}
	}
}

// Help texts as people read them, one file a command.
func TestHelp(t *testing.T) {
	t.Parallel()
	root := rootCommand(&app{registry: knownConnectors()})
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		var b bytes.Buffer
		c.SetOut(&b)
		if err := c.Help(); err != nil {
			t.Fatal(err)
		}
		name := filepath.Join("testdata", "help", strings.ReplaceAll(c.CommandPath(), " ", "-")+".txt")
		if *update {
			if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Errorf("%v: go test ./cmd/headwater -update writes it", err)
		}
		if diff := cmp.Diff(string(want), b.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(root)
}
