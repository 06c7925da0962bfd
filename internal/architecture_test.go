package internal_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/headwater-data/headwater"

// rules say which way imports run: cmd → pipeline → connectors, warehouse → schemas (docs/architecture.md). A package is
// named by its folder and stands for those below it. Files with tests are free, but for those of internal/e2e.
var rules = []struct {
	rule   string
	from   []string
	except []string // below from, but ruled elsewhere
	never  []string // may not be imported; "" is every package of Headwater
	but    []string // may be imported all the same
	tests  bool     // the rule holds for tests too
}{
	{
		rule:  "a connector knows nothing of Kafka, ClickHouse, standard schemas or projects",
		from:  []string{"connectors"},
		never: []string{"pipeline", "warehouse", "schemas", "internal/project", "internal/embedded", "internal/crash"},
	},
	{
		rule:  "the warehouse knows nothing of connectors, Kafka or projects",
		from:  []string{"warehouse"},
		never: []string{"connectors", "pipeline", "internal/project", "internal/embedded", "internal/crash"},
	},
	{
		rule:  "schemas know nothing of who uses them",
		from:  []string{"schemas"},
		never: []string{"connectors", "pipeline", "warehouse", "internal/project", "internal/embedded", "internal/crash"},
	},
	{
		rule:  "writing to Kafka needs no warehouse, no schemas and no mapping",
		from:  []string{"pipeline/ingest", "pipeline/message", "pipeline/topic"},
		never: []string{"warehouse", "schemas", "pipeline/transform", "pipeline/load", "internal/project", "internal/embedded"},
	},
	{
		rule:  "mapping is a computation: no Kafka, no warehouse",
		from:  []string{"pipeline/transform"},
		never: []string{"pipeline/message", "pipeline/topic", "pipeline/ingest", "pipeline/load", "warehouse", "internal/project"},
	},
	{
		rule:  "loading knows no project, no embedded server and no writer",
		from:  []string{"pipeline/load"},
		never: []string{"pipeline/ingest", "internal/project", "internal/embedded"},
	},
	{
		rule:  "comparing source and warehouse believes nobody's bookkeeping: no Kafka, no loader, no project",
		from:  []string{"pipeline/verify"},
		never: []string{"pipeline/message", "pipeline/topic", "pipeline/ingest", "pipeline/load", "internal/project", "internal/embedded"},
	},
	{
		rule:  "when a source is read is decided without anything else",
		from:  []string{"pipeline/schedule"},
		never: []string{""},
	},
	{
		rule:  "the pipeline knows the contract of connectors, not any one of them: cmd registers them",
		from:  []string{"pipeline", "internal/project"},
		never: []string{"connectors/file", "connectors/sql", "connectors/connectortest"},
	},
	{
		rule:  "embedded servers are servers: they know nothing of what is kept in them",
		from:  []string{"internal/embedded"},
		never: []string{"connectors", "pipeline", "warehouse", "schemas", "internal/project"},
	},
	{
		rule:  "a broker for tests knows nothing of what is written to it",
		from:  []string{"internal/testkafka"},
		never: []string{"connectors", "pipeline", "warehouse", "schemas", "internal/project", "internal/embedded"},
	},
	{
		rule:  "what the fault campaign expects is computed without anything of the pipeline, and its proxy knows nobody",
		from:  []string{"internal/faults", "internal/faultproxy"},
		never: []string{"connectors", "pipeline", "warehouse", "schemas", "internal/project"},
		tests: true,
	},
	{
		rule:  "what everybody imports imports nobody",
		from:  []string{"internal/fault", "internal/secret", "internal/problem", "internal/crash", "internal/clock", "internal/screen", "schemas/checkdigit"},
		never: []string{""},
	},
	{
		rule:   "commands, examples and test kits are nobody's foundation",
		from:   []string{""},
		except: []string{"cmd", "examples", "internal/bench", "internal/e2e", "internal/testkafka", "internal/testdb", "internal/testca", "internal/faults", "internal/faultproxy"},
		never:  []string{"cmd", "examples", "internal/bench", "internal/e2e", "internal/testkafka", "internal/testdb", "internal/testca", "connectors/connectortest"},
	},
	{
		rule:  "what the end-to-end tests expect is computed without anything of Headwater",
		from:  []string{"internal/e2e"},
		never: []string{""},
		but:   []string{"examples/air", "examples/epidemic", "examples/livelihood", "internal/testkafka", "internal/testdb", "internal/embedded/embeddedtest"},
		tests: true,
	},
	{
		rule:  "what must come out of an example is computed without anything of Headwater",
		from:  []string{"examples/air", "examples/epidemic", "examples/livelihood"},
		never: []string{""},
	},
}

// TestNoProgramImportsTesting follows what programs import: what starts servers for tests starts them for the demo and the benchmarks,
// too. Of others' packages, Thrift (for Parquet) has a logger for tests, and is left alone.
func TestNoProgramImportsTesting(t *testing.T) {
	t.Parallel()
	list := func(args ...string) []string {
		command := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...)
		command.Dir = ".."
		var complaints strings.Builder
		command.Stderr = &complaints
		out, err := command.Output()
		if err != nil {
			t.Fatalf("%v: %v\n%s", command.Args, err, complaints.String())
		}
		return strings.Fields(string(out))
	}
	programs := list("-f", `{{if eq .Name "main"}}{{.ImportPath}}{{end}}`, "./...")
	if !slices.Contains(programs, module+"/cmd/headwater") {
		t.Fatalf("the programs are %v, without headwater itself", programs)
	}
	for _, imported := range list(append([]string{"-deps", "-f", "{{range .Imports}}{{if eq . \"testing\"}}{{$.ImportPath}}{{end}}{{end}}"}, programs...)...) {
		if strings.HasPrefix(imported, module+"/") {
			t.Errorf("%s imports testing, and a program imports it", imported)
		}
	}
}

func TestImportsRunOneWay(t *testing.T) {
	t.Parallel()
	files := sources(t)
	for _, r := range rules {
		t.Run(r.rule, func(t *testing.T) {
			seen := 0
			for _, name := range slices.Sorted(maps.Keys(files)) {
				if !below(path.Dir(name), r.from) || below(path.Dir(name), r.except) || strings.HasSuffix(name, "_test.go") && !r.tests {
					continue
				}
				seen++
				for _, imported := range files[name] {
					if !below(imported, r.never) || below(imported, r.but) || slices.Contains(r.never, "") && below(imported, r.from) {
						continue
					}
					t.Errorf("%s imports %s", name, imported)
				}
			}
			if seen == 0 {
				t.Errorf("no file is below %s: the rule holds for nothing", strings.Join(r.from, ", "))
			}
		})
	}
}

// sources returns every Go file of the module, by its path from the root, with the packages of Headwater that it imports.
func sources(t *testing.T) map[string][]string {
	t.Helper()
	const root = ".."
	files := map[string][]string{}
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if base := entry.Name(); name != root && (base == "testdata" || strings.HasPrefix(base, ".")) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		imports := []string{}
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if own, ok := strings.CutPrefix(imported, module+"/"); ok {
				imports = append(imports, own)
			}
		}
		files[filepath.ToSlash(rel)] = imports
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatal(err)
	}
	return files
}

// below reports whether the folder is one of those or lies in one.
func below(folder string, those []string) bool {
	return slices.ContainsFunc(those, func(one string) bool {
		return one == "" || folder == one || strings.HasPrefix(folder, one+"/")
	})
}
