package project

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/invopop/jsonschema"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/internal/yamlfile"
	"github.com/headwater-data/headwater/schemas"
)

var kinds = []struct {
	name string
	t    reflect.Type
}{
	{"project", reflect.TypeFor[Config]()},
	{"source", reflect.TypeFor[SourceConfig]()},
	{"schema", reflect.TypeFor[schemas.Schema]()},
	{"overlay", reflect.TypeFor[schemas.Overlay]()},
	{"list", reflect.TypeFor[schemas.CodeList]()},
	{"indicator", reflect.TypeFor[schemas.Indicator]()},
	{"index", reflect.TypeFor[schemas.Index]()},
}

// SchemaKinds lists the kinds of files that EditorSchema knows.
func SchemaKinds() []string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.name
	}
	return names
}

// EditorSchema returns the JSON Schema of a kind of file, made from the types that Load decodes into, with the options of
// every connector of the registry in that of sources. Equal programs give equal bytes.
func EditorSchema(kind string, registry *connectors.Registry) ([]byte, error) {
	i := slices.IndexFunc(kinds, func(k struct {
		name string
		t    reflect.Type
	}) bool {
		return k.name == kind
	})
	if i < 0 {
		return nil, fmt.Errorf("no kind of file %q; known: %s", kind, strings.Join(SchemaKinds(), ", "))
	}
	definitions := jsonschema.Definitions{}
	reference := yamlfile.JSONSchema(kinds[i].t, definitions)
	name := strings.TrimPrefix(reference.Ref, "#/$defs/")
	root := definitions[name]
	delete(definitions, name)
	if kind == "source" {
		if err := withConnectors(root, registry, definitions); err != nil {
			return nil, err
		}
	}
	root.Title = "Headwater " + kind
	return yamlfile.MarshalSchema(root, definitions)
}

// withConnectors narrows config and read by what connector says.
func withConnectors(root *jsonschema.Schema, registry *connectors.Registry, definitions jsonschema.Definitions) error {
	names := registry.Names()
	known := make([]any, len(names))
	for i, name := range names {
		known[i] = name
	}
	old, _ := root.Properties.Get("connector")
	root.Properties.Set("connector", &jsonschema.Schema{Enum: known, Description: old.Description})
	for _, name := range names {
		d, err := registry.Lookup(name)
		if err != nil {
			return err
		}
		options := func(make func() any) *jsonschema.Schema {
			if make == nil {
				return &jsonschema.Schema{Type: "object", AdditionalProperties: jsonschema.FalseSchema}
			}
			return yamlfile.JSONSchema(reflect.TypeOf(make()), definitions)
		}
		stream := jsonschema.NewProperties()
		stream.Set("read", options(d.Stream))
		then := jsonschema.NewProperties()
		then.Set("config", options(d.Config))
		then.Set("streams", &jsonschema.Schema{Items: &jsonschema.Schema{Properties: stream}})
		is := jsonschema.NewProperties()
		is.Set("connector", &jsonschema.Schema{Const: name})
		root.AllOf = append(root.AllOf, &jsonschema.Schema{If: &jsonschema.Schema{Properties: is}, Then: &jsonschema.Schema{Properties: then}})
	}
	return nil
}
