package yamlfile

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"
	"go.uber.org/goleak"

	"github.com/headwater-data/headwater/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write the golden files")

type sample struct {
	Name     string               `yaml:"name" required:"true"`
	Region   string               `yaml:"region"`
	Count    int                  `yaml:"count"`
	Ratio    float64              `yaml:"ratio"`
	Hex      uint8                `yaml:"hex"`
	On       bool                 `yaml:"on"`
	Wait     time.Duration        `yaml:"wait"`
	Keep     *time.Duration       `yaml:"keep,omitempty"`
	Mode     string               `yaml:"mode" enum:"stop,continue"`
	Tags     []string             `yaml:"tags"`
	Codes    map[string]string    `yaml:"codes"`
	Fields   map[string]fieldSpec `yaml:"fields"`
	Nested   *nested              `yaml:"nested"`
	Again    *nested              `yaml:"again"`
	Base     nested               `yaml:"base"`
	Password secret.Value         `yaml:"password"`
	Free     any                  `yaml:"free"`
	Options  Node                 `yaml:"options"`
	Level    level                `yaml:"level"`
	Paths    texts                `yaml:"paths"`
	Inlined  `yaml:",inline"`
	Left     int `yaml:"-"`
}

type Inlined struct {
	Extra string `yaml:"extra"`
}

type nested struct {
	Name string `yaml:"name" required:"true"`
}

type fieldSpec struct {
	From  string `yaml:"from"`
	Value any    `yaml:"value"`
}

func (f *fieldSpec) UnmarshalShorthand(text string) bool {
	f.From = text
	return text != ""
}

// texts is one text or a list of them.
type texts []string

func (s *texts) UnmarshalYAML(decode func(any) error) error {
	var one string
	if err := decode(&one); err == nil {
		*s = texts{one}
		return nil
	}
	if err := decode((*[]string)(s)); err != nil {
		return err
	}
	if len(*s) > 2 {
		return errors.New("more than two texts")
	}
	return nil
}

func (texts) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
		{Type: "string"}, {Type: "array", Items: &jsonschema.Schema{Type: "string"}, MaxItems: new(uint64(2))},
	}}
}

type level int

func (l *level) UnmarshalText(text []byte) error {
	if string(text) != "low" {
		return errors.New("unknown level; known: low")
	}
	*l = 1
	return nil
}

// The files of testdata are named for the rule that they keep or break; beside a bad file stands what is told about it.
func TestFilesThatPeopleWrite(t *testing.T) {
	t.Parallel()
	bad, err := filepath.Glob("testdata/*.bad.yaml")
	if err != nil || len(bad) < 20 {
		t.Fatalf("test files: %v, %v", bad, err)
	}
	for _, file := range bad {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var into sample
			_, problems := Decode(filepath.Base(file), data, &into)
			if len(problems) == 0 {
				t.Fatal("no problem was found")
			}
			got := problems.Error() + "\n"
			if strings.Contains(got, "hunter") {
				t.Errorf("a value of the file is shown: %s", got)
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
	good, err := filepath.Glob("testdata/*.good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range good {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var into sample
			if _, problems := Decode(file, data, &into); len(problems) > 0 {
				t.Error(problems)
			}
		})
	}
}

func TestDecodeFillsEveryKindOfField(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/complete.good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var got sample
	doc, problems := Decode("x.yaml", data, &got)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if at := got.Options.At(); at.Line != 28 || at.Column != 1 {
		t.Errorf("options stand at %v, want 28:1", at)
	}
	var options struct {
		Anything []string `yaml:"anything"`
	}
	if problems := got.Options.Decode(&options); len(problems) > 0 || len(options.Anything) != 2 {
		t.Errorf("options = %v, %v", options, problems)
	}
	if got.Password.Reveal() != "${env:DB_PASSWORD}" {
		t.Errorf("unresolved password = %q", got.Password.Reveal())
	}
	if at := doc.At("free", 3, "a"); at.Line != 27 || at.Column != 6 {
		t.Errorf("free[3].a stands at %v, want 27:6", at)
	}
	if at := doc.At("fields", "other", "nothing", "here"); at.Line != 18 || at.Column != 3 {
		t.Errorf("the nearest parent stands at %v, want 18:3", at)
	}
	got.Options, got.Password = Node{}, secret.Value{}
	week := 7 * 24 * time.Hour
	want := sample{
		Name: "市场监管局", Region: "330000", Count: 12, Ratio: 0.5, Hex: 16, On: true, Wait: 90 * time.Minute, Keep: &week, Mode: "stop",
		Tags: []string{"甲", "乙", "3"}, Paths: texts{"a", "b"}, Codes: map[string]string{"1": "one", "null": "none", "true": "yes"},
		Fields: map[string]fieldSpec{"value": {From: "数值"}, "other": {From: "列", Value: "010000"}},
		Nested: &nested{"a"}, Again: &nested{"b"}, Base: nested{"b"},
		Free: []any{int64(1), 1.5, "text", map[string]any{"a": nil}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(sample{}, Node{}, secret.Value{})); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
}

func TestAPartThatIsNotThereStandsWhereItsParentDoes(t *testing.T) {
	t.Parallel()
	var file struct {
		List []struct {
			Name string `yaml:"name"`
			Read Node   `yaml:"read"`
		} `yaml:"list"`
	}
	if _, problems := Decode("x.yaml", []byte("list:\n  - name: a\n  - name: b\n"), &file); len(problems) > 0 {
		t.Fatal(problems)
	}
	var options nested
	got := file.List[1].Read.Decode(&options).Error()
	if want := `x.yaml:3:5: "name" is missing or empty (give it a value)`; got != want || !file.List[1].Read.IsZero() {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestReferences(t *testing.T) {
	t.Parallel()
	env := func(name string) (string, bool) {
		v, ok := map[string]string{"HOME_DIR": "/srv", "EMPTY": ""}[name]
		return v, ok
	}
	type options struct {
		Path     string       `yaml:"path"`
		Password secret.Value `yaml:"password"`
	}
	for _, c := range []struct {
		name, text string
		secret     func(Reference) (string, error)
		path, pw   string
		problem    string
	}{
		{name: "a variable within a path", text: "path: ${env:HOME_DIR}/x.csv", path: "/srv/x.csv"},
		{name: "a variable that is set but empty needs no default", text: "path: a${env:EMPTY:-b}", path: "a"},
		{name: "a default stands in for a variable that is not set", text: "path: ${env:NO:-data/sub}/x.csv", path: "data/sub/x.csv"},
		{name: "a variable without value or default is a problem", text: "path: ${env:NO}/x", path: "${env:NO}/x",
			problem: "x.yaml:1:7: the environment variable NO is not set (set it, or give a default: ${env:NO:-default})"},
		{name: "a name that is no variable's is a problem", text: "path: ${env:A B}/x", path: "${env:A B}/x",
			problem: "x.yaml:1:7: a reference that cannot be read (write ${env:NAME} or ${env:NAME:-default})"},
		{name: "a file cannot be part of a path", text: "path: ${file:secret}", path: "${file:secret}",
			problem: "x.yaml:1:7: a file can only be referred to where a secret is wanted (use ${env:NAME})"},
		{name: "a secret is fetched", text: "password: ${file:pw}", pw: "hunter2",
			secret: func(r Reference) (string, error) { return "hunter2", nil }},
		{name: "a secret that cannot be fetched is a problem", text: "password: ${file:pw}",
			secret:  func(r Reference) (string, error) { return "", errors.New("file " + r.Name + " is not there") },
			problem: "x.yaml:1:11: file pw is not there"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var node Node
			if _, problems := Decode("x.yaml", []byte(c.text), &node); len(problems) > 0 {
				t.Fatal(problems)
			}
			var got options
			problems := node.With(&References{Env: env, Secret: c.secret}).Decode(&got)
			if got.Path != c.path || got.Password.Reveal() != c.pw || problems.Error() != c.problem {
				t.Errorf("got %q %q %q, want %q %q %q", got.Path, got.Password.Reveal(), problems.Error(), c.path, c.pw, c.problem)
			}
		})
	}
}

func TestSuggest(t *testing.T) {
	t.Parallel()
	known := []string{"table", "columns", "path", "separator", "编码"}
	for word, want := range map[string]string{
		"tabel": "table", "sep": "separator", "column": "columns", "Path": "path", "xyz": "", "编吗": "编码", "": "", strings.Repeat("x", 1000): "",
	} {
		if got := Suggest(word, known); got != want {
			t.Errorf("Suggest(%q) = %q, want %q", word, got, want)
		}
	}
}

// FuzzDecode holds Decode to: no panic, within seconds; a problem always has the file's name and never a position outside
// the file; decoding twice gives the same; when nothing is wrong, the required name is there.
func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var first, second sample
		begin := time.Now()
		doc, problems := Decode("f.yaml", data, &first)
		if d := time.Since(begin); d > 20*time.Second {
			t.Errorf("took %v", d)
		}
		_, again := Decode("f.yaml", data, &second)
		if diff := cmp.Diff(problems, again); diff != "" {
			t.Errorf("the second time differs: %s", diff)
		}
		lines := strings.Count(strings.ReplaceAll(string(data), "\r", "\n"), "\n") + 1
		for _, p := range append(problems, doc.At("name"), doc.At("free", 0)) {
			if p.File != "f.yaml" || p.Line < 0 || p.Line > lines+1 || p.Column < 0 {
				t.Errorf("problem %#v in a file of %d lines", p, lines)
			}
		}
		if len(problems) == 0 && first.Name == "" {
			t.Errorf("no problem, but no name: %+v", first)
		}
	})
}
