package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/connectors/file"
	"github.com/headwater-data/headwater/connectors/http"
	"github.com/headwater-data/headwater/connectors/sql"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/problem"
	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/internal/screen"
	"github.com/headwater-data/headwater/pipeline"
)

// app is what the commands share: the streams, the flags that all of them have, and the connectors that the program knows.
// Commands are functions of it, one a file, and hold no state of their own.
type app struct {
	in       io.Reader
	out, err io.Writer
	registry *connectors.Registry

	projectDir string // --project, "" to look for it
	json       bool   // --json
	logFormat  string // --log-format
	logLevel   string // --log-level

	running bool   // the command's arguments were accepted
	command string // the command that was meant, as far as it was understood
}

// execute runs the command line and returns the exit code.
func execute(args []string) int {
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr, registry: knownConnectors()}
	ctx, stop := withSignals(context.Background())
	defer stop()
	root := rootCommand(a)
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	a.command = command.CommandPath()
	if err != nil && !a.running {
		err = fault.Usage(err)
	}
	a.report(err)
	return exitCode(err)
}

// knownConnectors is every connector that this program has.
func knownConnectors() *connectors.Registry {
	r := &connectors.Registry{}
	r.Register(file.Definition())
	r.Register(http.Definition())
	r.Register(sql.Postgres())
	r.Register(sql.MariaDB())
	r.Register(sql.MySQL())
	r.Register(sql.SQLite())
	return r
}

func rootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "headwater",
		Short: "Collects departments' data into one warehouse where regions can be compared",
		Long: `Headwater reads what departments have (files, and other systems through connectors), sends it through Kafka,
maps it to standard schemas and loads it into ClickHouse exactly once.

A project is a folder with headwater.yaml and sources/*.yaml. Commands work on the project of the current folder
or the nearest one above it; --project names another.

Exit codes: 0 done; 1 failed; 2 the command line or the configuration is wrong; 3 the environment is (a server is away,
a right is missing); 4 done, but rows were quarantined and --strict was given; 128+n ended by signal n.`,
		Example: `  headwater init first && cd first     make a project that runs
  headwater check                      find everything that is wrong with it
  headwater preview sample             see what would become of the first rows`,
		SilenceErrors: true, // execute reports them, and sorts them into exit codes
		SilenceUsage:  true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if a.logFormat != "" && a.logFormat != "text" && a.logFormat != "json" {
				return fmt.Errorf("--log-format must be text or json")
			}
			a.running = true
			return nil
		},
	}
	flags := root.PersistentFlags()
	flags.StringVarP(&a.projectDir, "project", "p", "", "folder of the project (default: the nearest one with headwater.yaml)")
	flags.BoolVar(&a.json, "json", false, "write results as JSON")
	flags.StringVar(&a.logFormat, "log-format", "", "text or json (default: text on a terminal, else json)")
	flags.StringVar(&a.logLevel, "log-level", "", "debug, info, warn or error (default: what the project says, or info)")
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.CompletionOptions.DisableDefaultCmd = true // completionCommand has examples, as every command here
	root.SetHelpCommand(helpCommand())
	root.AddCommand(commands(a)...)
	return root
}

// commands lists the subcommands; each has a file of its own.
func commands(a *app) []*cobra.Command {
	return []*cobra.Command{
		initCommand(a),
		demoCommand(a),
		checkCommand(a),
		previewCommand(a),
		runCommand(a),
		startCommand(a),
		statusCommand(a),
		catalogCommand(a),
		ledgerCommand(a),
		verifyCommand(a),
		quarantineCommand(a),
		traceCommand(a),
		periodCommand(a),
		varianceCommand(a),
		auditCommand(a),
		replayCommand(a),
		cursorCommand(a),
		queryCommand(a),
		warehouseCommand(a),
		referenceCommand(a),
		connectorsCommand(a),
		configCommand(a),
		engineCommand(a),
		versionCommand(a),
		completionCommand(a),
	}
}

func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Tells about a command",
		Example: "  headwater help check",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return fault.Usage(fmt.Errorf("no command %q; headwater help lists all", strings.Join(args, " ")))
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	}
}

// report tells people what went wrong, on stderr.
func (a *app) report(err error) {
	var quiet *reportedError
	if err == nil || errors.As(err, &quiet) {
		return
	}
	var problems problem.List
	if errors.As(err, &problems) && errors.Is(err, errProject) {
		for _, p := range problems {
			fmt.Fprintln(a.err, p)
		}
		fmt.Fprintf(a.err, "headwater: %s in the configuration\n", plural(len(problems), "problem"))
		return
	}
	fmt.Fprintln(a.err, "headwater:", err)
	if !a.running {
		fmt.Fprintf(a.err, "See: %s --help\n", a.command)
	}
}

// errProject marks problems of the project's files.
var errProject = errors.New("the project has problems")

// load loads the project of the command line. Its errors are of the usage kind; problems in files carry paths as seen from
// the current folder.
func (a *app) load() (*project.Project, error) {
	p, problems, err := a.inspect()
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		return nil, fault.Usage(fmt.Errorf("%w: %w", errProject, problems))
	}
	return p, nil
}

// inspect is as load but returns the problems beside the project, which is nil when there is nothing to look at.
func (a *app) inspect() (*project.Project, problem.List, error) {
	dir := a.projectDir
	if dir == "" {
		found, err := project.Find(".")
		if err != nil {
			return nil, nil, err
		}
		dir = found
	}
	p, problems := project.Load(dir, a.registry)
	for i := range problems {
		problems[i].File = fromHere(filepath.Join(dir, filepath.FromSlash(problems[i].File)))
	}
	return p, problems, nil
}

// fromHere names a file relative to the current folder when it is near, so that it is short and an editor can open it.
func fromHere(name string) string {
	here, err := os.Getwd()
	if err != nil {
		return name
	}
	abs, err := filepath.Abs(name)
	if err != nil {
		return name
	}
	relative, err := filepath.Rel(here, abs)
	if err != nil || strings.Count(relative, ".."+string(filepath.Separator)) > 3 {
		return name
	}
	return relative
}

// logger logs to w as the flags and the project say; p may be nil.
func (a *app) logger(w io.Writer, p *project.Project) *slog.Logger {
	level, format := a.logLevel, a.logFormat
	if p != nil {
		if level == "" {
			level = p.Log.Level
		}
		if format == "" {
			format = p.Log.Format
		}
	}
	options := &slog.HandlerOptions{}
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err == nil {
		options.Level = l
	}
	if format == "json" || format == "" && !screen.IsTerminal(a.err) {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// inSession opens the project's session, shows on the way what takes long, and closes it after do. Whoever writes to the screen does so
// afterwards.
func (a *app) inSession(ctx context.Context, p *project.Project, do func(*pipeline.Session) error) error {
	progress := screen.NewProgress(a.err, a.logger(a.err, p))
	defer progress.Done()
	session, err := pipeline.Open(ctx, p, pipeline.Options{Logger: a.logger(a.beside(progress), p), Stage: progress.Stage})
	if err != nil {
		return err
	}
	return errors.Join(do(session), session.Close())
}

// table returns a writer for rows on stdout: JSON with --json, else the format.
func (a *app) table(format screen.Format, columns ...string) *screen.Writer {
	if a.json {
		format = screen.JSON
	}
	return screen.NewWriter(a.out, format, screen.Width(a.out), columns...)
}

// encode writes a command's whole result as JSON.
func (a *app) encode(result any) error {
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(result)
}

// plural counts things in English.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	if strings.HasSuffix(thing, "y") && !strings.HasSuffix(thing, "ay") && !strings.HasSuffix(thing, "ey") {
		thing = strings.TrimSuffix(thing, "y") + "ie"
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
