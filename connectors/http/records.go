package http

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/headwater-data/headwater/connectors"
)

// record is what is read of one record: a value for each column, nil for null, or why there is none.
type record struct {
	Values []*string `json:"v,omitempty"`
	Fault  string    `json:"f,omitempty"`
}

// records takes the records out of an answer.
func (o *Options) records(answer any) ([]record, error) {
	found, ok := at(answer, o.Records)
	if !ok {
		return nil, connectors.Permanent(fmt.Errorf("the answer has nothing at records (%s)", o.Records))
	}
	list, ok := found.([]any)
	if !ok && found == nil && o.Records != "" {
		list, ok = nil, true // some servers write null for an empty list
	}
	if !ok {
		return nil, connectors.Permanent(fmt.Errorf("at records (%q) the answer has %s, not a list", o.Records, kindOf(found)))
	}
	there := make([]bool, len(o.Columns))
	out := make([]record, len(list))
	objects := 0
	for i, one := range list {
		if _, ok := one.(map[string]any); !ok {
			out[i].Fault = fmt.Sprintf("the record is %s, not an object", kindOf(one))
			continue
		}
		objects++
		out[i].Values = make([]*string, len(o.Columns))
		for n, column := range o.Columns {
			v, ok := at(one, column)
			there[n] = there[n] || ok
			text, err := textOf(v)
			if err != nil {
				return nil, err
			}
			out[i].Values[n] = text
		}
	}
	if objects > 0 {
		for n, column := range o.Columns {
			if !there[n] && !o.optional(column) {
				return nil, connectors.Permanent(fmt.Errorf("none of the %d records of an answer has the column %q: correct columns, or name it under optional", objects, column))
			}
		}
	}
	return out, nil
}

func (o *Options) optional(column string) bool {
	for _, name := range o.Optional {
		if name == column {
			return true
		}
	}
	return false
}

// at returns what stands at a dotted path; "" is the value itself. A key that has dots in it is found too.
func at(v any, path string) (any, bool) {
	if path == "" {
		return v, true
	}
	switch v := v.(type) {
	case map[string]any:
		if found, ok := v[path]; ok {
			return found, true
		}
		for i := range path {
			if path[i] != '.' {
				continue
			}
			if below, ok := v[path[:i]]; ok {
				if found, ok := at(below, path[i+1:]); ok {
					return found, true
				}
			}
		}
	case []any:
		index, rest, _ := strings.Cut(path, ".")
		n, err := strconv.Atoi(index)
		if err == nil && n >= 0 && n < len(v) {
			return at(v[n], rest)
		}
	}
	return nil, false
}

// textOf writes a value as a text.
func textOf(v any) (*string, error) {
	var text string
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		text = v
	case json.Number:
		text = v.String()
	case bool:
		text = strconv.FormatBool(v)
	default:
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(v); err != nil {
			return nil, err
		}
		text = strings.TrimSuffix(b.String(), "\n")
	}
	return &text, nil
}

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "a text"
	case json.Number:
		return "a number"
	case bool:
		return "true or false"
	case []any:
		return "a list"
	}
	return "an object"
}

// total returns how many records the answer says there are.
func (o *Options) total(answer any) (int64, error) {
	v, ok := at(answer, o.Total)
	text, err := textOf(v)
	if err != nil || !ok || text == nil {
		return 0, connectors.Permanent(errors.Join(fmt.Errorf("the answer has no number at total (%s)", o.Total), err))
	}
	n, err := strconv.ParseInt(*text, 10, 64)
	if err != nil || n < 0 {
		return 0, connectors.Permanent(fmt.Errorf("at total (%s) the answer has no whole number", o.Total))
	}
	return n, nil
}
