package schemas

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
)

// JSONSchema returns a JSON Schema (draft 2020-12) of one record, for pushes and for editors. Personal fields are described
// as they are given, before hashing. A schema with code fields must come from a Set, which knows the lists.
func (s *Schema) JSONSchema() ([]byte, error) {
	properties := make(map[string]any, len(s.Fields))
	order := make([]string, 0, len(s.Fields))
	required := []string{}
	for _, f := range s.Fields {
		property, err := s.property(f)
		if err != nil {
			return nil, fmt.Errorf("JSON Schema of %s: field %s: %w", s.Name, f.Name, err)
		}
		properties[f.Name] = property
		order = append(order, f.Name)
		if (f.Required || f.Key) && f.Default == nil {
			required = append(required, f.Name)
		}
	}
	document := map[string]any{
		"$schema":              "https://json-schema.org/draft/2020-12/schema",
		"$id":                  fmt.Sprintf("urn:headwater:schema:%s:%d", s.Name, s.Version),
		"title":                s.Title.Zh + " / " + s.Title.En,
		"description":          s.Description,
		"type":                 "object",
		"properties":           properties,
		"required":             required,
		"additionalProperties": false,
		"x-order":              order, // JSON objects have no order; forms and templates need one
	}
	return json.MarshalIndent(document, "", "  ")
}

func (s *Schema) property(f Field) (map[string]any, error) {
	property, err := s.valueSchema(f.Type)
	if err != nil {
		return nil, err
	}
	property["title"] = f.Title.Zh + " / " + f.Title.En
	property["description"] = f.Description
	if f.Unit != "" {
		property["x-unit"] = f.Unit
	}
	if f.Sensitivity != "" {
		property["x-sensitivity"] = f.Sensitivity
	}
	if f.Key {
		property["x-key"] = true
	}
	if f.Default != nil {
		property["default"] = f.Default
	}
	mayBeNull := f.Nullable() || f.Default != nil || f.Type.Kind == KindArray && !f.Required
	if mayBeNull {
		nullable(property)
	}
	var all []any
	for _, r := range f.Rules {
		if r.Severity == SeverityWarning {
			continue // a record that breaks it is still good
		}
		condition := r.jsonSchema()
		if mayBeNull {
			nullable(condition)
		}
		if len(condition) > 0 {
			all = append(all, condition)
		}
	}
	if len(all) > 0 {
		property["allOf"] = all
	}
	return property, nil
}

// nullable lets null pass beside what a JSON Schema allows. Conditions such as pattern and minimum do not apply to null by
// themselves, but type and enum do.
func nullable(schema map[string]any) {
	switch t := schema["type"].(type) {
	case string:
		schema["type"] = []string{t, "null"}
	case []string:
		schema["type"] = append(t, "null")
	}
	if values, ok := schema["enum"].([]any); ok {
		schema["enum"] = append(values, nil)
	}
}

func (s *Schema) valueSchema(t Type) (map[string]any, error) {
	switch t.Kind {
	case KindString:
		return map[string]any{"type": "string"}, nil
	case KindInt64:
		// A JSON number beyond ±2^53 does not survive most readers.
		return map[string]any{"type": "integer", "minimum": int64(math.MinInt64), "maximum": int64(math.MaxInt64)}, nil
	case KindFloat64:
		return map[string]any{"type": "number"}, nil
	case KindDecimal:
		pattern := fmt.Sprintf(`^-?[0-9]{1,%d}(\.[0-9]{1,%d})?$`, max(1, t.Precision-t.Scale), t.Scale)
		if t.Scale == 0 {
			pattern = fmt.Sprintf(`^-?[0-9]{1,%d}$`, t.Precision)
		}
		return map[string]any{"type": []string{"string", "number"}, "pattern": pattern}, nil
	case KindBool:
		return map[string]any{"type": "boolean"}, nil
	case KindDate:
		return map[string]any{"type": "string", "format": "date"}, nil
	case KindTimestamp:
		return map[string]any{"type": "string", "format": "date-time"}, nil
	case KindRegion:
		return map[string]any{"type": "string", "pattern": "^[0-9]{6}$", "x-type": "region"}, nil
	case KindCode:
		list, ok := s.lists[t.List]
		if !ok {
			return nil, fmt.Errorf("code list %q is not known; take the schema from a Set", t.List)
		}
		codes := make([]any, len(list.Codes))
		names := make([]string, len(list.Codes))
		for i, c := range list.Codes {
			codes[i] = c.Code
			names[i] = c.Title.Zh + " / " + c.Title.En
		}
		return map[string]any{"type": "string", "enum": codes, "x-enum-titles": names, "x-list": t.List}, nil
	case KindArray:
		items, err := s.valueSchema(*t.Elem)
		if err != nil {
			return nil, err
		}
		return map[string]any{"type": "array", "items": items}, nil
	}
	return nil, fmt.Errorf("type %q has no JSON form", t.Kind)
}

func (r Rule) jsonSchema() map[string]any {
	out := map[string]any{}
	if r.Min != nil {
		out["minimum"] = *r.Min
	}
	if r.Max != nil {
		out["maximum"] = *r.Max
	}
	if r.Pattern != "" {
		// RE2 and ECMA differ in corners only; \A, \z and (?i) do not exist in ECMA and would silently never match.
		if !strings.Contains(r.Pattern, `(?`) && !strings.Contains(r.Pattern, `\A`) && !strings.Contains(r.Pattern, `\z`) {
			out["pattern"] = r.Pattern
		} else {
			out["x-pattern"] = r.Pattern
		}
	}
	if len(r.OneOf) > 0 {
		values := make([]any, len(r.OneOf))
		for i, text := range r.OneOf {
			values[i] = text
		}
		out["enum"] = values
	}
	if r.Past {
		out["x-past"] = true
	}
	if r.MinDate != "" {
		out["x-min-date"] = r.MinDate
	}
	if r.MaxDate != "" {
		out["x-max-date"] = r.MaxDate
	}
	if r.Check != "" {
		out["x-check"] = r.Check
	}
	return out
}
