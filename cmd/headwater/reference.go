package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/problem"
	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/internal/yamlfile"
	"github.com/headwater-data/headwater/schemas"
)

// maxReferenceBytes bounds what is imported.
const maxReferenceBytes = 64 << 20

func referenceCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:     "reference",
		Short:   "Looks after reference data: regions and code lists",
		Example: "  headwater reference import regions-1981-2024.csv",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(referenceImportCommand(a))
	return c
}

func referenceImportCommand(a *app) *cobra.Command {
	var head schemas.CodeList
	c := &cobra.Command{
		Use:   "import FILE",
		Short: "Takes a list of regions or a code list into the project",
		Long: `Checks a file, takes it into the project's folder reference, and says what it changes. What is wrong is told with file, line
and column, and then nothing is changed; nor is it when the project would no longer pass headwater check. It needs no server:
the next run brings the warehouse up to date.

Regions (to reference/regions.csv) are CSV in one of two forms, told apart by the header:
  代码,一级行政区,二级行政区,名称,级别,状态,启用时间,变更/弃用时间,新代码   yescallop/areacodes, result.csv: every code since 1981
  code,name,level,parent,from,to,successors                         years or days; see the comments in the file that ships

Code lists (to reference/LIST.yaml) are YAML as in the project, or CSV with the columns code and name and, if need be, name_en,
aliases (separated by semicolons), description, from and to. A CSV is named for its file unless --list names it.`,
		Example: `  headwater reference import regions-1981-2024.csv
  headwater reference import 就诊类型.csv --list visit_kind --title 就诊类型
  headwater reference import visit_kind.yaml --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			p, before, err := a.inspect()
			if err != nil {
				return err
			}
			if p == nil {
				return fault.Usage(fmt.Errorf("%w: %w", errProject, before))
			}
			r, err := newReference(p, args[0], head)
			if err != nil {
				return err
			}
			if err := a.putReference(p, r, before); err != nil {
				return err
			}
			if a.json {
				return a.encode(r)
			}
			return r.show(a.out)
		},
	}
	c.Flags().StringVar(&head.Name, "list", "", "name of the code list in a CSV (default: the file's name)")
	c.Flags().StringVar(&head.Title.Zh, "title", "", "its Chinese title (default: what it is called in the project, or its name)")
	c.Flags().StringVar(&head.Title.En, "title-en", "", "its English title (default: likewise)")
	c.Flags().StringVar(&head.Description, "description", "", "what its codes distinguish (default: likewise, or where it was imported from)")
	c.Flags().StringVar(&head.Source, "source", "", "standard or publication that defines its codes")
	return c
}

// reference is reference data that is to be taken into the project.
type reference struct {
	Kind    string   `json:"kind"` // regions or list
	List    string   `json:"list,omitempty"`
	File    string   `json:"file"` // in the project
	Codes   int      `json:"codes"`
	Added   []string `json:"added"` // codes, in order
	Removed []string `json:"removed"`
	Changed []string `json:"changed"`

	data []byte // the file's content
}

// newReference reads and checks a file. Problems in it are of the usage kind.
func newReference(p *project.Project, name string, head schemas.CodeList) (*reference, error) {
	data, err := readReference(name)
	if err != nil {
		return nil, err
	}
	shown := fromHere(name)
	switch extension := strings.ToLower(filepath.Ext(name)); {
	case extension == ".yaml" || extension == ".yml":
		return listFromYAML(p, shown, data)
	case extension != ".csv":
		return nil, fault.Usage(fmt.Errorf("%s is neither CSV nor YAML: save it as one of them", shown))
	case head.Name == "" && holdsRegions(data):
		return regionsFromCSV(p, shown, data)
	}
	if head.Name == "" {
		head.Name = strings.TrimSuffix(filepath.Base(name), filepath.Ext(name))
		if strings.ContainsFunc(head.Name, func(r rune) bool { return r != '_' && !('a' <= r && r <= 'z') && !('0' <= r && r <= '9') }) {
			return nil, fault.Usage(fmt.Errorf("%s has no name that a code list could have: give it one with --list, in lower-case letters, digits and underscores", shown))
		}
	}
	return listFromCSV(p, shown, data, head)
}

func readReference(name string) (_ []byte, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fault.Usage(fmt.Errorf("read reference data: %w", err))
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err := io.ReadAll(io.LimitReader(f, maxReferenceBytes+1))
	if err != nil {
		return nil, fault.Usage(fmt.Errorf("read reference data: %w", err))
	}
	if len(data) > maxReferenceBytes {
		return nil, fault.Usage(fmt.Errorf("read reference data: %s is larger than %d MiB", name, maxReferenceBytes>>20))
	}
	return data, nil
}

// holdsRegions tells a list of regions by the column that code lists lack: the level.
func holdsRegions(data []byte) bool {
	for line := range bytes.Lines(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))) {
		if text := strings.TrimSpace(string(line)); text != "" && !strings.HasPrefix(text, "#") {
			for column := range strings.SplitSeq(text, ",") {
				if column = strings.Trim(column, ` "`); column == "级别" || strings.EqualFold(column, "level") {
					return true
				}
			}
			return false
		}
	}
	return false
}

func regionsFromCSV(p *project.Project, name string, data []byte) (*reference, error) {
	regions, problems := schemas.ImportRegions(bytes.NewReader(data), name)
	if len(problems) > 0 {
		return nil, fault.Usage(fmt.Errorf("%w: %w", errProject, problems))
	}
	r := &reference{Kind: "regions", File: "reference/regions.csv", data: data}
	return r, compare(r, versions(p.Set().Regions()), versions(regions))
}

// versions groups all versions of the regions by code.
func versions(regions *schemas.Regions) map[string][]schemas.Region {
	out := map[string][]schemas.Region{}
	for _, v := range regions.All() {
		out[v.Code] = append(out[v.Code], v)
	}
	return out
}

func listFromCSV(p *project.Project, name string, data []byte, head schemas.CodeList) (*reference, error) {
	known, ok := p.Set().CodeList(head.Name)
	if !ok {
		known = &schemas.CodeList{Title: schemas.Title{Zh: head.Name, En: head.Name}, Description: "Imported from " + filepath.Base(name) + "."}
	}
	for _, field := range []struct {
		to      *string
		instead string
	}{{&head.Title.Zh, known.Title.Zh}, {&head.Title.En, known.Title.En}, {&head.Description, known.Description}, {&head.Source, known.Source}} {
		if *field.to == "" {
			*field.to = field.instead
		}
	}
	list, problems := schemas.ImportCodeList(bytes.NewReader(data), name, head)
	if len(problems) > 0 {
		return nil, fault.Usage(fmt.Errorf("%w: %w", errProject, problems))
	}
	// What the list means beside others is known only when it is loaded; the file as a whole is at fault then.
	_, problems = schemas.Load(schemas.Standard(), schemas.File{Name: name, Data: list.YAML()})
	for i := range problems {
		problems[i].Line, problems[i].Column = 0, 0
	}
	if len(problems) > 0 {
		return nil, fault.Usage(fmt.Errorf("%w: %w", errProject, problems))
	}
	return newList(p, list, list.YAML())
}

func listFromYAML(p *project.Project, name string, data []byte) (*reference, error) {
	var top map[string]yamlfile.Node
	if _, problems := yamlfile.Decode(name, data, &top); len(problems) > 0 {
		return nil, fault.Usage(fmt.Errorf("%w: %w", errProject, problems))
	}
	if _, schema := top["schema"]; schema {
		return nil, fault.Usage(fmt.Errorf("%s holds a schema, not reference data: put it into the project's folder schemas", name))
	}
	set, problems := schemas.Load(schemas.Standard(), schemas.File{Name: name, Data: data})
	if len(problems) > 0 {
		return nil, fault.Usage(fmt.Errorf("%w: %w", errProject, problems))
	}
	var listName string
	node := top["list"]
	if problems := node.Decode(&listName); len(problems) > 0 {
		return nil, fault.Usage(fmt.Errorf("%w: %w", errProject, problems))
	}
	list, ok := set.CodeList(listName)
	if !ok {
		return nil, fault.Usage(fmt.Errorf("%s holds no code list", name))
	}
	return newList(p, list, data)
}

func newList(p *project.Project, list *schemas.CodeList, data []byte) (*reference, error) {
	r := &reference{Kind: "list", List: list.Name, File: "reference/" + list.Name + ".yaml", data: data}
	before := map[string]schemas.Code{}
	if known, ok := p.Set().CodeList(list.Name); ok {
		before = codesByName(known)
	}
	return r, compare(r, before, codesByName(list))
}

func codesByName(list *schemas.CodeList) map[string]schemas.Code {
	out := map[string]schemas.Code{}
	for _, c := range list.Codes {
		out[c.Code] = c
	}
	return out
}

// compare says which codes differ between what the project has and what it would have.
func compare[T any](r *reference, before, after map[string]T) error {
	r.Codes, r.Added, r.Removed, r.Changed = len(after), []string{}, []string{}, []string{}
	for _, code := range slices.Sorted(maps.Keys(after)) {
		was, known := before[code]
		if !known {
			r.Added = append(r.Added, code)
			continue
		}
		// As they are kept: equal content has equal bytes.
		old, err := json.Marshal(was)
		if err != nil {
			return err
		}
		is, err := json.Marshal(after[code])
		if err != nil {
			return err
		}
		if !bytes.Equal(old, is) {
			r.Changed = append(r.Changed, code)
		}
	}
	for _, code := range slices.Sorted(maps.Keys(before)) {
		if _, kept := after[code]; !kept {
			r.Removed = append(r.Removed, code)
		}
	}
	return nil
}

// putReference writes the file and checks the project with it; where that finds problems that were not there before, the
// project is left as it was.
func (a *app) putReference(p *project.Project, r *reference, before problem.List) (err error) {
	target := filepath.Join(p.Dir, filepath.FromSlash(r.File))
	old, err := os.ReadFile(target)
	existed := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.Environment(fmt.Errorf("import reference data: %w", err))
	}
	if err := replace(target, r.data); err != nil {
		return fault.Environment(fmt.Errorf("import reference data: %w", err))
	}
	_, after, err := a.inspect()
	after = slices.DeleteFunc(after, func(x problem.Problem) bool { return slices.Contains(before, x) })
	if err == nil && len(after) == 0 {
		return nil
	}
	restore := os.Remove
	if existed {
		restore = func(name string) error { return replace(name, old) }
	}
	if failed := restore(target); failed != nil {
		return errors.Join(err, fault.Environment(fmt.Errorf("take the imported file away again: %w", failed)))
	}
	if err != nil {
		return err
	}
	return fault.Usage(fmt.Errorf("%w: %w", errProject, after))
}

// replace writes a file completely before it takes the place of the one that is there.
func replace(name string, data []byte) (err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".importing-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

func (r *reference) show(out io.Writer) error {
	what := "regions"
	if r.Kind == "list" {
		what = "code list " + r.List
	}
	if _, err := fmt.Fprintf(out, "%s: %s in %s\n", what, plural(r.Codes, "code"), r.File); err != nil {
		return err
	}
	for _, change := range []struct {
		name  string
		codes []string
	}{{"added", r.Added}, {"removed", r.Removed}, {"changed", r.Changed}} {
		const most = 8
		codes := change.codes
		more := ""
		if len(codes) > most {
			codes, more = codes[:most], ", …"
		}
		list := ""
		if len(codes) > 0 {
			list = ": " + strings.Join(codes, ", ") + more
		}
		if _, err := fmt.Fprintf(out, "  %s %d%s\n", change.name, len(change.codes), list); err != nil {
			return err
		}
	}
	return nil
}
