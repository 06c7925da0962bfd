package internal_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/connectors/file"
	"github.com/headwater-data/headwater/connectors/http"
	"github.com/headwater-data/headwater/examples/connector/permits"
	"github.com/headwater-data/headwater/internal/project"
)

func TestExamplesOfTheMappingPageAreAccepted(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/mapping.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := 0
	for i, part := range strings.Split(string(page), "```") {
		stream, ok := strings.CutPrefix(part, "yaml\n")
		if i%2 == 0 || !ok {
			continue
		}
		examples++
		name, _, _ := strings.Cut(stream, "\n")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, dir, "headwater.yaml", "project: page\n")
			write(t, dir, "lookups/items.csv", "项目,indicator\n阳光工厂,FACTORY\n")
			for _, code := range []string{"FACTORY", "FUND", "CANTEEN"} {
				write(t, dir, "indicators/"+strings.ToLower(code)+".yaml", fmt.Sprintf(
					"indicator: %s\ntitle: { zh: 试验, en: Test }\ndescription: For tests.\nunit: 家\ndirection: up\naggregation: sum\ntime_aggregation: last\ngrain: month\nlevels: [county]\n", code))
			}
			write(t, dir, "sources/page.yaml", "source: page\nowner: test\nconnector: file\nstreams:\n  "+strings.ReplaceAll(stream, "\n", "\n  ")+"\n")
			registry := &connectors.Registry{}
			registry.Register(file.Definition())
			if _, problems := project.Load(dir, registry); len(problems) > 0 {
				t.Errorf("%v\n%s", problems, stream)
			}
		})
	}
	if examples == 0 {
		t.Error("the page has no examples")
	}
}

func TestSourcesOfTheConnectorsPagesAreAccepted(t *testing.T) {
	for name, definition := range map[string]connectors.Definition{"write-a-connector.md": permits.Definition(), "connectors/http.md": http.Definition()} {
		t.Run(name, func(t *testing.T) {
			page, err := os.ReadFile(filepath.Join("../docs", filepath.FromSlash(name)))
			if err != nil {
				t.Fatal(err)
			}
			_, source, found := strings.Cut(string(page), "```yaml\n")
			source, _, ended := strings.Cut(source, "```")
			if !found || !ended {
				t.Fatal("the page has no source")
			}
			t.Setenv("PERMITS_TOKEN", "x")
			dir := t.TempDir()
			write(t, dir, "headwater.yaml", "project: page\n")
			write(t, dir, "sources/permits.yaml", source)
			registry := &connectors.Registry{}
			registry.Register(definition)
			if _, problems := project.Load(dir, registry); len(problems) > 0 {
				t.Errorf("%v\n%s", problems, source)
			}
		})
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
