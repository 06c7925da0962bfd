package schemas

import (
	"embed"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/headwater-data/headwater/internal/problem"
	"github.com/headwater-data/headwater/internal/yamlfile"
)

// File is a file of a project, read.
type File struct {
	Name string // as problems shall name it
	Data []byte
}

//go:embed standard/*.yaml reference/*.yaml
var standardFiles embed.FS

// Standard returns the set that ships with Headwater: the standard schemas, their code lists, and the regions of Zhejiang
// with their history.
func Standard() *Set { return standard() }

var standard = sync.OnceValue(func() *Set {
	var files []File
	for _, folder := range []string{"reference", "standard"} {
		entries, err := fs.ReadDir(standardFiles, folder)
		if err != nil {
			panic("schemas: " + err.Error())
		}
		for _, e := range entries {
			name := path.Join(folder, e.Name())
			data, err := standardFiles.ReadFile(name)
			if err != nil {
				panic("schemas: " + err.Error())
			}
			files = append(files, File{name, data})
		}
	}
	set, problems := Load(&Set{}, files...)
	if len(problems) > 0 {
		panic("schemas: " + problems.Error())
	}
	return set.WithRegions(buildRegions(builtinFacts()))
})

// Load adds a project's schemas and code lists, one a file, to a set. A file holds a schema or a code list, told apart by
// its key schema or list, or an Overlay with the key extends. What has a name that base knows replaces it, if nothing that is
// there breaks: a schema must be a compatible change with a higher version, a code list must hold every code of the other.
// Headwater's own tables cannot be replaced or extended. Load reports everything that is wrong at once; what is right is in the
// set all the same.
func Load(base *Set, files ...File) (*Set, problem.List) {
	l := loader{base: base, lists: maps.Clone(base.lists), schemas: maps.Clone(base.schemas), where: map[string]string{}}
	if l.lists == nil {
		l.lists = map[string]*CodeList{}
	}
	if l.schemas == nil {
		l.schemas = map[string]*Schema{}
	}
	var later []File // schemas name code lists, in whichever order the files come
	var extensions []File
	for _, f := range files {
		var top map[string]yamlfile.Node
		document, problems := yamlfile.Decode(f.Name, f.Data, &top)
		_, isSchema := top["schema"]
		_, isList := top["list"]
		_, isOverlay := top["extends"]
		switch {
		case len(problems) > 0:
			l.problems = append(l.problems, problems...)
		case isSchema:
			later = append(later, f)
		case isList:
			l.list(f)
		case isOverlay:
			extensions = append(extensions, f)
		default:
			p := document.At()
			p.Message, p.Fix = "the file holds neither a schema nor a code list, nor an extension of one", "begin it with schema: NAME, list: NAME or extends: standard/NAME"
			l.problems = append(l.problems, p)
		}
	}
	var overlays []*overlay
	for _, f := range extensions {
		if o := l.overlayFile(f); o != nil {
			overlays = append(overlays, o)
			l.codes(o)
		}
	}
	for _, f := range later {
		l.schema(f)
	}
	for _, o := range overlays {
		l.extend(o)
	}
	l.problems.Sort()
	return newSet(slices.Collect(maps.Values(l.schemas)), slices.Collect(maps.Values(l.lists)), base.regions), l.problems
}

type loader struct {
	base     *Set
	lists    map[string]*CodeList
	schemas  map[string]*Schema
	where    map[string]string // "schema x" or "list x" -> file
	problems problem.List
}

func (l *loader) report(document *yamlfile.Document, list faults) bool {
	for _, f := range list {
		p := document.At(f.path...)
		p.Message, p.Fix = f.message, f.fix
		l.problems = append(l.problems, p)
	}
	return len(list) > 0
}

// once reports a name that another file defines already.
func (l *loader) once(kind, name, file string) faults {
	key := kind + " " + name
	if other, ok := l.where[key]; ok {
		return faults{{[]any{kind}, fmt.Sprintf("%s %s is defined in %s already", kind, name, other), "remove one of them"}}
	}
	l.where[key] = file
	return nil
}

func (l *loader) list(f File) {
	list := &CodeList{}
	document, problems := yamlfile.Decode(f.Name, f.Data, list)
	if len(problems) > 0 {
		l.problems = append(l.problems, problems...)
		return
	}
	if l.report(document, l.once("list", list.Name, f.Name)) || l.report(document, list.check()) {
		return
	}
	if old, ok := l.base.lists[list.Name]; ok {
		var gone []string
		for _, c := range old.Codes {
			if _, ok := list.Code(c.Code); !ok {
				gone = append(gone, c.Code)
			}
		}
		if len(gone) > 0 {
			l.report(document, faults{{[]any{"codes"}, fmt.Sprintf("list %s lacks the standard codes %s", list.Name, strings.Join(gone, ", ")),
				"keep them, with to: DATE if they are no longer valid, or give the list another name"}})
			return
		}
	}
	l.lists[list.Name] = list
}

func (l *loader) schema(f File) {
	schema := &Schema{Lineage: true}
	document, problems := yamlfile.Decode(f.Name, f.Data, schema)
	if len(problems) > 0 {
		l.problems = append(l.problems, problems...)
		return
	}
	schema.Normalize()
	if l.report(document, l.once("schema", schema.Name, f.Name)) || l.report(document, schema.check(l.lists)) {
		return
	}
	if l.report(document, l.compatible(schema)) {
		return
	}
	l.schemas[schema.Name] = schema
}

// compatible says why a project may not add the schema to the standard ones.
func (l *loader) compatible(schema *Schema) faults {
	if len(l.base.schemas) == 0 { // the standard set itself is being loaded
		return nil
	}
	if !schema.Lineage {
		return faults{{[]any{"lineage"}, "only Headwater's own tables have no lineage", "leave lineage out"}}
	}
	old, ok := l.base.schemas[schema.Name]
	if !ok {
		return nil
	}
	if !old.Lineage {
		return faults{{[]any{"schema"}, fmt.Sprintf("%s is a table of Headwater's own", schema.Name), "give the schema another name"}}
	}
	var out faults
	_, breaking := Compare(old, schema)
	for _, why := range breaking {
		out = append(out, fault{[]any{"schema"}, fmt.Sprintf("differs from the standard schema %s: %s", schema.Name, why), "keep to the standard, or give the schema another name"})
	}
	return out
}
