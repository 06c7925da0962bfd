package schemas_test

import (
	"os"
	"strings"
	"testing"

	"github.com/headwater-data/headwater/schemas"
)

// TestTheDictionaryIsCurrent holds the page in the docs against the schemas, and looks for every field, rule and code in it.
func TestTheDictionaryIsCurrent(t *testing.T) {
	t.Parallel()
	set := schemas.Standard()
	var b strings.Builder
	if err := set.Dictionary(&b); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../docs/model.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(page) != b.String() {
		t.Error("docs/model.md is not current: make generate writes it")
	}
	for _, name := range set.Names() {
		schema, _ := set.Schema(name)
		_, section, found := strings.Cut(b.String(), "\n## "+name+"\n")
		if !found {
			t.Errorf("schema %s is missing", name)
			continue
		}
		section, _, _ = strings.Cut(section, "\n## ")
		for _, f := range schema.Fields {
			if !strings.Contains(section, "`"+f.Name+"`") || !strings.Contains(section, f.Title.Zh) {
				t.Errorf("%s.%s is missing", name, f.Name)
			}
			for _, r := range f.Rules {
				if !strings.Contains(section, "`"+r.Name+"`") {
					t.Errorf("%s: rule %s is missing", name, r.Name)
				}
			}
		}
	}
}
