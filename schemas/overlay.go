package schemas

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/headwater-data/headwater/internal/yamlfile"
)

// Overlay extends a standard schema by what a province needs beside it: more fields, its own titles, more codes, more rules. It
// never changes what is there: types, units, keys and codes stay, so that everything written for the standard goes on working.
type Overlay struct {
	Extends string            `yaml:"extends" json:"extends" required:"true" desc:"Standard schema that is extended: standard/NAME."`
	Version int               `yaml:"version" json:"version" required:"true" desc:"Version of the extension, from 1; raised with every change. The extended schema's version is the standard's and this one together."`
	Title   *Title            `yaml:"title,omitempty" json:"title,omitempty" desc:"Name of the schema for people, in place of the standard's."`
	Fields  []Field           `yaml:"fields,omitempty" json:"fields,omitempty" desc:"Further fields; none part of the key, and none required without a default."`
	Titles  map[string]Title  `yaml:"titles,omitempty" json:"titles,omitempty" desc:"Names of the standard's fields for people, by field, in place of the standard's."`
	Codes   map[string][]Code `yaml:"codes,omitempty" json:"codes,omitempty" desc:"Further codes of the code lists that the schema's fields have, by list."`
	Rules   []Rule            `yaml:"rules,omitempty" json:"rules,omitempty" desc:"Further rules over the whole record."`
}

// standardPrefix begins the name of what an overlay extends.
const standardPrefix = "standard/"

// overlay is a file that extends a schema, while the project's files are read.
type overlay struct {
	Overlay
	document *yamlfile.Document
	base     *Schema
	broken   bool // something is wrong with its codes, so that the schema stays as it is
}

// overlayFile reads an extension and finds what it extends. Its codes go into their lists before any schema is checked, its
// fields into the schema after all are.
func (l *loader) overlayFile(f File) *overlay {
	o := &overlay{}
	document, problems := yamlfile.Decode(f.Name, f.Data, &o.Overlay)
	o.document = document
	if len(problems) > 0 {
		l.problems = append(l.problems, problems...)
		return nil
	}
	name, ok := strings.CutPrefix(o.Extends, standardPrefix)
	var fix string
	switch base := l.base.schemas[name]; {
	case !ok:
		fix = "write extends: " + standardPrefix + "NAME"
		if _, known := l.base.schemas[o.Extends]; known {
			fix = "write extends: " + standardPrefix + o.Extends
		}
	case base == nil:
		if s := yamlfile.Suggest(name, slices.Sorted(maps.Keys(l.base.schemas))); s != "" {
			fix = fmt.Sprintf("did you mean %q?", standardPrefix+s)
		}
	case !base.Lineage:
		l.report(document, faults{{[]any{"extends"}, fmt.Sprintf("%s is a table of Headwater's own", name), "extend another, or add a schema of your own"}})
		return nil
	default:
		o.base = base
	}
	if o.base == nil {
		l.report(document, faults{{[]any{"extends"}, fmt.Sprintf("there is no standard schema %q", clip(o.Extends)), fix}})
		return nil
	}
	key := "extends " + name
	if other, ok := l.where[key]; ok {
		l.report(document, faults{{[]any{"extends"}, fmt.Sprintf("schema %s is extended in %s already", name, other), "put both into one file"}})
		return nil
	}
	l.where[key] = f.Name
	if o.Version < 1 {
		l.report(document, faults{{[]any{"version"}, "the version must be 1 or more", ""}})
		return nil
	}
	return o
}

// codes adds the extension's codes to their lists.
func (l *loader) codes(o *overlay) {
	used := map[string]bool{}
	for _, f := range slices.Concat(o.base.Fields, o.Fields) {
		t := f.Type
		if t.Kind == KindArray {
			t = *t.Elem
		}
		used[t.List] = true
	}
	for _, name := range slices.Sorted(maps.Keys(o.Codes)) {
		list, ok := l.lists[name]
		if !ok || !used[name] {
			fix := ""
			if s := yamlfile.Suggest(name, slices.Sorted(maps.Keys(used))); s != "" {
				fix = fmt.Sprintf("did you mean %q?", s)
			}
			o.broken = l.report(o.document, faults{{[]any{"codes", name}, fmt.Sprintf("no field of %s has the code list %q", o.base.Name, clip(name)), fix}})
			continue
		}
		extended := *list
		extended.Codes = slices.Concat(list.Codes, o.Codes[name])
		var wrong faults
		for _, f := range extended.check() {
			wrong = append(wrong, f.moved("codes", len(list.Codes), []any{"codes", name}))
		}
		if l.report(o.document, wrong) {
			o.broken = true
			continue
		}
		l.lists[name] = &extended
	}
}

// extend adds the extension to its schema.
func (l *loader) extend(o *overlay) {
	if other, ok := l.where["schema "+o.base.Name]; ok {
		l.report(o.document, faults{{[]any{"extends"}, fmt.Sprintf("the project replaces schema %s in %s", o.base.Name, other), "add the fields there, or remove that file"}})
		return
	}
	extended := *o.base
	extended.Version += o.Version
	if o.Title != nil {
		extended.Title = *o.Title
	}
	extended.Fields = slices.Concat(o.base.Fields, o.Fields)
	for i := range extended.Fields {
		extended.Fields[i].Rules = slices.Clone(extended.Fields[i].Rules) // the base is shared, and Normalize writes
	}
	extended.Rules = slices.Concat(o.base.Rules, o.Rules)
	var wrong faults
	for i, f := range o.Fields {
		path := []any{"fields", i}
		switch was, there := o.base.Field(f.Name); {
		case there:
			wrong.add(at(path, "name"), fmt.Sprintf("%s has a field %s already (%s)", o.base.Name, f.Name, was.Title.Zh),
				"an extension changes neither type, unit nor key of it; give the field another name, its title goes under titles, codes go under codes")
		case f.Key:
			wrong.add(at(path, "key"), fmt.Sprintf("%s would be part of the key, and the key of %s is what tells its records apart everywhere", f.Name, o.base.Name), "leave key out, or add a schema of your own")
		case f.Required && f.Default == nil:
			wrong.add(at(path, "required"), fmt.Sprintf("%s would be required, and the records that are there have no value", f.Name), "leave required out, or give a default")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(o.Titles)) {
		i := o.base.FieldIndex(name)
		if i < 0 {
			fix := ""
			var known []string
			for _, f := range o.base.Fields {
				known = append(known, f.Name)
			}
			if s := yamlfile.Suggest(name, known); s != "" {
				fix = fmt.Sprintf("did you mean %q?", s)
			}
			wrong.add([]any{"titles", name}, fmt.Sprintf("%s has no field %q", o.base.Name, clip(name)), fix)
			continue
		}
		extended.Fields[i].Title = o.Titles[name]
	}
	if len(o.Fields)+len(o.Titles)+len(o.Codes)+len(o.Rules) == 0 && o.Title == nil {
		wrong.add(nil, "the file extends nothing", "add fields, titles, codes or rules")
	}
	if l.report(o.document, wrong) {
		return
	}
	extended.lists = nil
	extended.Normalize()
	for _, f := range extended.check(l.lists) {
		f = f.moved("fields", len(o.base.Fields), []any{"fields"})
		wrong = append(wrong, f.moved("rules", len(o.base.Rules), []any{"rules"}))
	}
	if len(wrong) == 0 {
		_, breaking := Compare(o.base, &extended)
		for _, why := range breaking {
			wrong.add([]any{"extends"}, fmt.Sprintf("breaks the standard schema %s: %s", o.base.Name, why), "keep to the standard, or add a schema of your own")
		}
	}
	if !l.report(o.document, wrong) && !o.broken {
		l.schemas[o.base.Name] = &extended
	}
}

// moved is the fault where the extension's file has it: the whole has so many items of the key before those of the extension,
// which stand at the path there.
func (f fault) moved(key string, before int, path []any) fault {
	if len(f.path) < 2 || f.path[0] != key {
		return f
	}
	if i, ok := f.path[1].(int); ok && i >= before {
		f.path = append(append(slices.Clone(path), i-before), f.path[2:]...)
	}
	return f
}
