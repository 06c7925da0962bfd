package yamlfile

import (
	"encoding"
	"encoding/json"
	"path"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"
)

// JSONSchema returns the JSON Schema of what Decode accepts into a value of the type t, for editors. Descriptions come from
// `desc:"…"` tags. Named structs go into definitions under their package and name, and are referred to as "#/$defs/…". A Node
// accepts anything; the caller narrows it. A type may describe itself with a method JSONSchema() *jsonschema.Schema.
func JSONSchema(t reflect.Type, definitions jsonschema.Definitions) *jsonschema.Schema {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case nodeType:
		return &jsonschema.Schema{}
	case secretType:
		return &jsonschema.Schema{Type: "string", Pattern: `^\s*\$\{(env:[A-Za-z_][A-Za-z0-9_]*|file:[^}]+)\}\s*$`}
	case durationType:
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
			{Type: "string", Pattern: `^([0-9]+d)?([0-9.]+(ns|us|µs|ms|s|m|h))*$`, Examples: []any{"90s", "1h30m", "7d"}}, {Const: 0},
		}}
	}
	value := reflect.New(t).Interface()
	if own, ok := value.(interface{ JSONSchema() *jsonschema.Schema }); ok {
		return own.JSONSchema()
	}
	if _, ok := value.(encoding.TextUnmarshaler); ok {
		return scalar()
	}
	schema := describe(t, definitions)
	if _, ok := value.(Shorthand); ok {
		schema = &jsonschema.Schema{AnyOf: []*jsonschema.Schema{scalar(), schema}}
	}
	return schema
}

// scalar is what Decode takes as a text: numbers and true/false count as they are written.
func scalar() *jsonschema.Schema {
	return &jsonschema.Schema{Extras: map[string]any{"type": []string{"string", "number", "boolean"}}}
}

func describe(t reflect.Type, definitions jsonschema.Definitions) *jsonschema.Schema {
	switch t.Kind() {
	case reflect.Struct:
		if t.Name() == "" {
			return object(t, definitions)
		}
		name := path.Base(t.PkgPath()) + "." + t.Name()
		if _, known := definitions[name]; !known {
			definitions[name] = nil // ends the recursion of types that hold themselves
			definitions[name] = object(t, definitions)
		}
		return &jsonschema.Schema{Ref: "#/$defs/" + name}
	case reflect.Map:
		return &jsonschema.Schema{Type: "object", AdditionalProperties: JSONSchema(t.Elem(), definitions)}
	case reflect.Slice:
		return &jsonschema.Schema{Type: "array", Items: JSONSchema(t.Elem(), definitions)}
	case reflect.String:
		return scalar()
	case reflect.Bool:
		return &jsonschema.Schema{Type: "boolean"}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return &jsonschema.Schema{Type: "integer", Minimum: "0"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return &jsonschema.Schema{Type: "integer"}
	case reflect.Float32, reflect.Float64:
		return &jsonschema.Schema{Type: "number"}
	}
	return &jsonschema.Schema{}
}

func object(t reflect.Type, definitions jsonschema.Definitions) *jsonschema.Schema {
	schema := &jsonschema.Schema{Type: "object", Properties: jsonschema.NewProperties(), AdditionalProperties: jsonschema.FalseSchema}
	for _, f := range fields(t) {
		sf := t.FieldByIndex(f.index)
		property := JSONSchema(sf.Type, definitions)
		if len(f.enum) > 0 {
			allowed := make([]any, len(f.enum))
			for i, e := range f.enum {
				allowed[i] = e
			}
			if property.Items != nil {
				property.Items = &jsonschema.Schema{Enum: allowed}
			} else {
				property = &jsonschema.Schema{Enum: allowed}
			}
		}
		property.Description = strings.TrimSpace(sf.Tag.Get("desc"))
		schema.Properties.Set(f.name, property)
		if f.required {
			schema.Required = append(schema.Required, f.name)
		}
	}
	return schema
}

// MarshalSchema writes a root schema with its definitions, indented, as a file for editors.
func MarshalSchema(root *jsonschema.Schema, definitions jsonschema.Definitions) ([]byte, error) {
	root.Version, root.Definitions = jsonschema.Version, definitions
	data, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(data, '\n'), nil
}

// Option describes one key of a struct type, for reference pages.
type Option struct {
	Name        string
	Type        string // in words: "text", "list of texts", "duration"
	Required    bool
	Description string
}

// Options lists the keys of a struct type, or of a pointer to one, in order.
func Options(t reflect.Type) []Option {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	var out []Option
	for _, f := range fields(t) {
		sf := t.FieldByIndex(f.index)
		o := Option{Name: f.name, Type: inWords(sf.Type), Required: f.required, Description: sf.Tag.Get("desc")}
		if len(f.enum) > 0 {
			o.Type = strings.Join(f.enum, " | ")
		}
		out = append(out, o)
	}
	return out
}

func inWords(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		return inWords(t.Elem())
	}
	switch t {
	case nodeType:
		return "anything"
	case secretType:
		return "${env:NAME} or ${file:PATH}"
	case durationType:
		return "duration"
	}
	switch t.Kind() {
	case reflect.Slice:
		many := strings.Replace(inWords(t.Elem()), "text", "texts", 1)
		many = strings.Replace(many, "number", "numbers", 1)
		if _, ok := reflect.New(t).Interface().(unmarshaler); ok {
			return inWords(t.Elem()) + ", or list of " + many
		}
		return "list of " + many
	case reflect.Map:
		return "map of " + inWords(t.Elem())
	case reflect.Struct:
		if _, ok := reflect.New(t).Interface().(encoding.TextUnmarshaler); ok {
			return "text"
		}
		return "map"
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "number"
	case reflect.String:
		return "text"
	case reflect.Interface:
		return "any value"
	}
	return "whole number"
}
