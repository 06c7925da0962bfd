package project

import (
	"context"
	"flag"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"go.uber.org/goleak"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/connectors/file"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write the golden files")

// registry has the file connector and one that has secrets.
func registry() *connectors.Registry {
	r := &connectors.Registry{}
	r.Register(file.Definition())
	r.Register(connectors.Definition{
		Name: "archive", Title: "A connector of the tests",
		Config: func() any { return &archiveConfig{} },
		Stream: func() any { return &archiveStream{} },
		Check: func(config any, streams map[string]any) []connectors.OptionFault {
			var faults []connectors.OptionFault
			if c, ok := config.(*archiveConfig); ok && !c.Password.IsSet() {
				faults = append(faults, connectors.OptionFault{Path: []string{"password"}, Message: "no password", Fix: "give one"})
			}
			for name, s := range streams {
				if o, ok := s.(*archiveStream); ok && o.Table == "bad" {
					faults = append(faults, connectors.OptionFault{Stream: name, Path: []string{"table"}, Message: "not a table's name"})
				}
			}
			return faults
		},
		Open: func(env connectors.Environment, config any, streams map[string]any) (connectors.Source, error) {
			c, ok := config.(*archiveConfig)
			if !ok {
				return nil, fmt.Errorf("config is %T", config)
			}
			return &archive{config: c, streams: streams, dir: env.Dir}, nil
		},
	})
	return r
}

type archiveConfig struct {
	Host     string       `yaml:"host"`
	Password secret.Value `yaml:"password"`
}

type archiveStream struct {
	Table   string `yaml:"table" required:"true"`
	Replace bool   `yaml:"replace"`
}

func (s *archiveStream) ReplacesContent() bool { return s.Replace }

type archive struct {
	config  *archiveConfig
	streams map[string]any
	dir     string
}

func (a *archive) Streams(context.Context) ([]connectors.Stream, error) { return nil, nil }
func (a *archive) Read(context.Context, connectors.Stream, connectors.Cursor) iter.Seq2[connectors.Batch, error] {
	return func(func(connectors.Batch, error) bool) {}
}
func (a *archive) Close() error { return nil }

// unpack writes the files of a txtar into a new folder and returns it with the rest of the archive.
func unpack(t *testing.T, name string) (string, *txtar.Archive) {
	t.Helper()
	archive, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, f := range archive.Files {
		path := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, archive
}

// Each archive of testdata is a project that breaks the rule in its name (or, good.txtar, none); its file `want` holds all
// problems that are told.
func TestProjectsThatPeopleWrite(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) < 5 {
		t.Fatalf("test projects: %v, %v", names, err)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Setenv("HEADWATER_TEST_DATA", "/data")
			dir, archive := unpack(t, name)
			p, problems := Load(dir, registry())
			got := problems.Error()
			if got != "" {
				got += "\n"
			}
			if strings.Contains(got, "hunter") || strings.Contains(got, dir) {
				t.Errorf("a secret or the machine's folder is shown: %s", got)
			}
			if p == nil && !strings.Contains(got, "headwater.yaml") {
				t.Error("no project, and no word about headwater.yaml")
			}
			for i, f := range archive.Files {
				if f.Name != "want" {
					continue
				}
				if *update {
					archive.Files[i].Data = []byte(got)
					if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
						t.Fatal(err)
					}
					return
				}
				if diff := cmp.Diff(string(f.Data), got); diff != "" {
					t.Errorf("problems (-want +got):\n%s", diff)
				}
				return
			}
			t.Error("the archive has no file want")
		})
	}
}

func TestALoadedProject(t *testing.T) {
	t.Setenv("HEADWATER_TEST_DATA", "/data")
	t.Setenv("HEADWATER_TEST_PASSWORD", "hunter2")
	dir, _ := unpack(t, "testdata/good.txtar")
	p, problems := Load(dir, registry())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	names := func() (out []string) {
		for _, s := range p.Sources() {
			out = append(out, s.Name+" "+s.Topic)
		}
		return out
	}()
	if diff := cmp.Diff([]string{"cases headwater.raw.hotline", "market special"}, names); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
	market, err := p.Source("market")
	if err != nil {
		t.Fatal(err)
	}
	if s := market.Schedule; s.Cron != "0 8 5 * *" || s.Zone.String() != "Asia/Shanghai" || !s.CatchUp || s.Retries != 3 {
		t.Errorf("schedule %+v", s)
	}
	if len(p.Shape().Streams) != 2 || len(p.ShapeFor("market").Streams) != 1 || len(p.Indicators()) != 1 {
		t.Errorf("shape of %d streams", len(p.Shape().Streams))
	}
	if table := p.ShapeFor("market").Streams[0].Lookups["lookups/units.csv"]; len(table.Rows) != 2 {
		t.Errorf("lookup table %+v", table)
	}
	env := connectors.Environment{Logger: slog.New(slog.DiscardHandler)}
	source, err := p.OpenSource(t.Context(), "cases", env)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := source.Close(); err != nil {
			t.Error(err)
		}
	}()
	a, ok := source.(*archive)
	if !ok || a.config.Password.Reveal() != "hunter2" || a.config.Host != "/data/host" || a.dir != p.Dir {
		t.Errorf("opened %#v", source)
	}
	if _, err := p.OpenSource(t.Context(), "csaes", env); err == nil || fault.KindOf(err) != fault.KindUsage || !strings.Contains(err.Error(), `did you mean "cases"?`) {
		t.Errorf("unknown source: %v", err)
	}
	broker, err := p.Broker()
	if err != nil || broker.Password.Reveal() != "from a file" || broker.Embedded || broker.Retention >= 0 || broker.Mechanism != "scram-sha-256" {
		t.Errorf("broker %+v, %v", broker, err)
	}
	warehouse, err := p.Warehouse()
	if err != nil || !warehouse.Embedded || warehouse.Database != "headwater" {
		t.Errorf("warehouse %+v, %v", warehouse, err)
	}
	if printed := fmt.Sprintf("%v %+v %#v", a.config, broker, p); strings.Contains(printed, "hunter2") || strings.Contains(printed, "from a file") {
		t.Errorf("a secret is printed: %s", printed)
	}
}

func TestSecretsThatCannotBeFetched(t *testing.T) {
	t.Setenv("HEADWATER_TEST_DATA", "/data")
	dir, _ := unpack(t, "testdata/good.txtar")
	p, problems := Load(dir, registry())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	_, err := p.OpenSource(t.Context(), "cases", connectors.Environment{})
	if err == nil || fault.KindOf(err) != fault.KindUsage || !strings.Contains(err.Error(), "sources/cases.yaml:6:13: the environment variable HEADWATER_TEST_PASSWORD is not set") {
		t.Errorf("variable: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "broker.password")); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Broker(); err == nil || !strings.Contains(err.Error(), "the secret's file broker.password: no such file") {
		t.Errorf("file: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "broker.password"), []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Broker(); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("empty file: %v", err)
	}
}

func TestKeys(t *testing.T) {
	dir := t.TempDir()
	write := func(text string) *Project {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, File), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		p, _ := Load(dir, registry())
		return p
	}
	own := write("project: x\n")
	first, err := own.Keys("k1")
	if err != nil || len(first.Reveal()) != 64 {
		t.Fatalf("made key: %v", err)
	}
	again, err := write("project: x\n").Keys("k1")
	if err != nil || again.Reveal() != first.Reveal() {
		t.Errorf("the second time the key is another one (%v)", err)
	}
	if info, err := os.Stat(filepath.Join(dir, ".headwater/keys/k1")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v", info, err)
	}
	t.Setenv("HEADWATER_TEST_KEY", "0123456789abcdef")
	t.Setenv("HEADWATER_TEST_SHORT", "0123")
	const named = "project: x\nkeys: {k1: \"${env:HEADWATER_TEST_KEY}\"}\n"
	fingerprint := filepath.Join(dir, ".headwater/keys/k1.fingerprint")
	changed := func(p *Project, why string) {
		t.Helper()
		_, err := p.Keys("k1")
		if err == nil || fault.KindOf(err) != fault.KindUsage || !strings.Contains(err.Error(), "not what it was") || !strings.Contains(err.Error(), fingerprint) {
			t.Errorf("%s: %v", why, err)
		}
		if err != nil && (strings.Contains(err.Error(), first.Reveal()) || strings.Contains(err.Error(), "0123456789abcdef")) {
			t.Errorf("the error shows a key: %v", err)
		}
	}
	changed(write(named), "another key under the name of the one that was made")
	if err := os.Remove(fingerprint); err != nil {
		t.Fatal(err)
	}
	p := write(named)
	if k, err := p.Keys("k1"); err != nil || k.Reveal() != "0123456789abcdef" {
		t.Errorf("named key: %v", err)
	}
	changed(write(named+"hashing: {sm3: [k1]}\n"), "another algorithm")
	if _, err := p.Keys("k2"); err == nil || fault.KindOf(err) != fault.KindUsage {
		t.Errorf("unknown key: %v", err)
	}
	if _, err := write("project: x\nkeys: {k1: \"${env:HEADWATER_TEST_SHORT}\"}\n").Keys("k1"); err == nil || !strings.Contains(err.Error(), "shorter than 16") || strings.Contains(err.Error(), "0123") {
		t.Errorf("short key: %v", err)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	deep := filepath.Join(dir, "a", "b")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Find(deep); err == nil || fault.KindOf(err) != fault.KindUsage || !strings.Contains(err.Error(), "headwater init") {
		t.Errorf("without a project: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, File), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Find(deep); err != nil || got != dir {
		t.Errorf("found %q, %v; want %q", got, err, dir)
	}
	if p, problems := Load(filepath.Join(dir, "nowhere"), registry()); p != nil || !strings.Contains(problems.Error(), "headwater.yaml: the file cannot be read: no such file or directory (make a project with headwater init)") {
		t.Errorf("a folder that is not there: %v", problems)
	}
}

// FuzzSource holds the loading of a source's file to: no panic, and never a secret in what is told.
func FuzzSource(f *testing.F) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range archive.Files {
			if strings.HasPrefix(file.Name, "sources/") {
				f.Add(file.Data)
			}
		}
	}
	dir := f.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "sources"), 0o755); err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, File), []byte("project: fuzz\n"), 0o600); err != nil {
		f.Fatal(err)
	}
	known := registry()
	f.Fuzz(func(t *testing.T, data []byte) {
		l := &loader{p: &Project{Dir: dir}, registry: known, files: map[string]*sourceFile{}}
		if !l.main() {
			t.Fatal(l.problems)
		}
		l.schemas()
		l.source("sources/fuzz.yaml", data)
		l.mappings()
		for _, p := range l.problems {
			if p.File != "sources/fuzz.yaml" || p.Message == "" {
				t.Errorf("problem %#v", p)
			}
		}
	})
}

// The examples are complete projects that people copy. Those over real data are checked where that is.
func TestExamplesHaveNoProblem(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"livelihood"} {
		p, problems := Load(filepath.Join("..", "..", "examples", name), registry())
		if len(problems) > 0 {
			t.Errorf("%s:\n%v", name, problems)
		} else if len(p.Sources()) == 0 || len(p.Indicators()) == 0 {
			t.Errorf("%s: %d sources, %d indicators", name, len(p.Sources()), len(p.Indicators()))
		}
	}
}
