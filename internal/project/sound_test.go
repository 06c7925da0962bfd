package project

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestOneBrokenSourceIsLeftOut: what is wrong with one source's file does not keep the others from being run.
func TestOneBrokenSourceIsLeftOut(t *testing.T) {
	t.Parallel()
	const good = "source: NAME\nowner: test\nconnector: file\nstreams:\n  - name: rows\n    read: {path: a.csv}\n    map: {schema: hotline_case, fields: {case_id: id, region: {value: \"330102\"}, opened_at: opened, channel: {value: phone}, status: {value: open}}}\n"
	for _, test := range []struct {
		name    string
		files   map[string]string
		ok      bool
		sources []string
		faulty  []string
		leftOut []string
	}{
		{name: "nothing is wrong", files: map[string]string{"sources/a.yaml": "a"}, ok: true, sources: []string{"a"}},
		{name: "a file that is no YAML", files: map[string]string{"sources/a.yaml": "a", "sources/b.yaml": "source: b\n  x: [\n"}, ok: true, sources: []string{"a"}, faulty: []string{"sources/b.yaml"}},
		{name: "an unknown connector", files: map[string]string{"sources/a.yaml": "a", "sources/b.yaml": "source: b\nowner: test\nconnector: sql\nstreams: []\n"},
			ok: true, sources: []string{"a"}, faulty: []string{"sources/b.yaml"}, leftOut: []string{"b"}},
		{name: "two of one name: the first stays", files: map[string]string{"sources/a.yaml": "a", "sources/b.yaml": "a"}, ok: true, sources: []string{"a"}, faulty: []string{"sources/b.yaml"}},
		{name: "no source is left", files: map[string]string{"sources/b.yaml": "source: [\n"}, faulty: []string{"sources/b.yaml"}},
		{name: "headwater.yaml is wrong", files: map[string]string{"sources/a.yaml": "a", File: "projekt: x\n"}},
		{name: "a schema is wrong", files: map[string]string{"sources/a.yaml": "a", "schemas/x.yaml": "schema: [\n"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write := func(name, text string) {
				path := filepath.Join(dir, filepath.FromSlash(name))
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			write(File, "project: x\n")
			for name, text := range test.files {
				if len(text) == 1 {
					text = "source: " + text + good[len("source: NAME"):]
				}
				write(name, text)
			}
			p, problems := Load(dir, registry())
			sound, ok := p.Sound()
			if ok != test.ok {
				t.Fatalf("sound: %v, want %v; problems %v", ok, test.ok, problems)
			}
			if got := p.Faulty(); !slices.Equal(got, test.faulty) {
				t.Errorf("faulty files %q, want %q; problems %v", got, test.faulty, problems)
			}
			if !ok {
				return
			}
			names := func(sources []*Source) []string {
				var out []string
				for _, s := range sources {
					out = append(out, s.Name)
				}
				return out
			}
			if got := names(sound.Sources()); !slices.Equal(got, test.sources) {
				t.Errorf("sources %q, want %q", got, test.sources)
			}
			if got := names(sound.LeftOut()); !slices.Equal(got, test.leftOut) {
				t.Errorf("left out %q, want %q", got, test.leftOut)
			}
			for _, s := range sound.Shape().Streams {
				if !slices.Contains(test.sources, s.Source) {
					t.Errorf("the shape holds a stream of %s", s.Source)
				}
			}
		})
	}
}
