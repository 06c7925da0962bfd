package yamlfile

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
)

// The editor must not accept what Decode refuses for its structure, nor refuse what Decode takes.
func TestEditorsSchemaAgreesWithDecode(t *testing.T) {
	t.Parallel()
	definitions := jsonschema.Definitions{}
	data, err := MarshalSchema(JSONSchema(reflect.TypeFor[sample](), definitions), definitions)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := validator.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	c := validator.NewCompiler()
	if err := c.AddResource("sample.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("sample.json")
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// What an editor finds by itself, or cannot know from a schema.
	beyond := []string{"syntax", "duplicate", "alias", "merge", "documents", "utf8", "control", "deep", "bomb", "text", "numbers", "empty"}
	for _, file := range files {
		base := filepath.Base(file)
		rule, _, _ := strings.Cut(base, ".")
		rule, _, _ = strings.Cut(rule, "-")
		if strings.Contains(strings.Join(beyond, " "), rule) {
			continue
		}
		t.Run(base, func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var value any
			if err := yaml.Unmarshal(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), &value); err != nil {
				t.Fatal(err)
			}
			err = schema.Validate(value)
			if good := strings.HasSuffix(base, ".good.yaml"); good != (err == nil) {
				t.Errorf("the schema says %v", err)
			}
		})
	}
}
