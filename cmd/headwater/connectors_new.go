package main

import (
	"embed"
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/screen"
)

// skeleton is the package that connectors new writes; {{name}} stands for its name.
//
//go:embed skeleton
var skeleton embed.FS

const (
	modulePath = "github.com/headwater-data/headwater"
	// registryFile has knownConnectors, where connectors are registered.
	registryFile = "cmd/headwater/app.go"
)

func connectorsNewCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "new NAME",
		Short: "Writes the beginning of a connector into a checkout of Headwater",
		Long: `Writes connectors/NAME into the checkout of Headwater that the current folder lies in: a package that compiles, its
options, and a test that runs it through connectors/connectortest; and registers it in the program. Its test fails only where
code is due, and says what to write. docs/write-a-connector.md goes the way from there to a complete connector.`,
		Example: `  headwater connector new permits
  go test ./connectors/permits`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			root, err := checkout(".")
			if err != nil {
				return err
			}
			made, err := newConnector(root, args[0], a.registry.Names())
			if err != nil {
				return err
			}
			if err := made.write(root); err != nil {
				return fault.Environment(fmt.Errorf("write the connector: %w", err))
			}
			if a.json {
				t := a.table(screen.JSON, "file")
				for _, f := range made.files {
					if err := t.Row(f.name); err != nil {
						return err
					}
				}
				return t.Close()
			}
			fmt.Fprintf(a.out, "The beginning of a connector in %s:\n", root)
			for _, f := range made.files {
				fmt.Fprintf(a.out, "  %s\n", f.name)
			}
			if made.unregistered != "" {
				fmt.Fprintf(a.out, "\nIt is not registered yet: %s\n", made.unregistered)
			}
			_, err = fmt.Fprintf(a.out, "\nNext:\n  go test ./connectors/%s    its failures say what to write\n  docs/write-a-connector.md goes the whole way\n", args[0])
			return err
		},
	}
}

// checkout returns the root of the checkout that dir lies in.
func checkout(dir string) (string, error) {
	from, err := filepath.Abs(dir)
	if err != nil {
		return "", fault.Environment(err)
	}
	for at := from; ; at = filepath.Dir(at) {
		data, err := os.ReadFile(filepath.Join(at, "go.mod"))
		switch {
		case err == nil && slices.Contains(strings.Fields(string(data)), modulePath) && strings.HasPrefix(string(data), "module "+modulePath):
			return at, nil
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return "", fault.Environment(err)
		case filepath.Dir(at) == at:
			return "", fault.Usage(fmt.Errorf("%s lies in no checkout of Headwater (no go.mod of %s above it): go to one, connectors are part of the program", from, modulePath))
		}
	}
}

// madeConnector is what connectors new is about to write.
type madeConnector struct {
	files        []newFile // by slash paths from the checkout's root; those of the connector are new
	unregistered string    // what to do, if the connector could not be registered
}

func (m madeConnector) write(root string) error {
	for _, f := range m.files {
		to := filepath.Join(root, filepath.FromSlash(f.name))
		err := error(nil)
		if f.name == registryFile {
			err = os.WriteFile(to, f.data, 0o644)
		} else {
			err = write(to, f.data)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// newConnector makes the skeleton's files and the registration. It writes nothing.
func newConnector(root, name string, known []string) (madeConnector, error) {
	var made madeConnector
	if err := checkConnectorName(name, known); err != nil {
		return made, err
	}
	folder := path.Join("connectors", name)
	if _, err := os.Lstat(filepath.Join(root, filepath.FromSlash(folder))); err == nil {
		return made, fault.Usage(fmt.Errorf("%s is there already: choose another name", folder))
	} else if !errors.Is(err, fs.ErrNotExist) {
		return made, fault.Environment(err)
	}
	for _, f := range []struct{ from, to string }{{"connector.go.txt", name + ".go"}, {"connector_test.go.txt", name + "_test.go"}} {
		data, err := skeleton.ReadFile(path.Join("skeleton", f.from))
		if err != nil {
			return made, err
		}
		// The name decides where imports and fields stand.
		formatted, err := format.Source([]byte(strings.ReplaceAll(string(data), "{{name}}", name)))
		if err != nil {
			return made, fmt.Errorf("format %s: %w", f.from, err)
		}
		made.files = append(made.files, newFile{path.Join(folder, f.to), formatted})
	}
	source, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(registryFile)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return made, fault.Environment(err)
	}
	registered, err := register(source, name)
	if err != nil {
		made.unregistered = fmt.Sprintf("%s: %v; import %q where your program makes its connectors.Registry, and add r.Register(%s.Definition())", registryFile, err, modulePath+"/"+folder, name)
		return made, nil
	}
	made.files = append(made.files, newFile{registryFile, registered})
	return made, nil
}

// checkConnectorName refuses names that a connector's package cannot have, and those that are taken.
func checkConnectorName(name string, known []string) error {
	refuse := func(format string, args ...any) error {
		return fault.Usage(fmt.Errorf("%q cannot be a connector's name: "+format, append([]any{name}, args...)...))
	}
	switch {
	case !regexp.MustCompile(`^[a-z][a-z0-9]*$`).MatchString(name):
		return refuse("it is a Go package's name too, of small letters and digits, and begins with a letter")
	case slices.Contains(known, name):
		return refuse("this program has one of that name")
	case slices.Contains([]string{"internal", "main", "new", "testdata", "vendor"}, name):
		return refuse("the word has a meaning for the tools")
	case token.IsKeyword(name) || types.Universe.Lookup(name) != nil:
		return refuse("the word has a meaning in Go")
	}
	return nil
}

// register returns the source of the registry's file with the connector in it.
func register(source []byte, name string) ([]byte, error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, registryFile, source, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	var importAfter, registerAfter token.Pos
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		if path.Base(imported) == name || spec.Name != nil && spec.Name.Name == name {
			return nil, fmt.Errorf("it imports %s already", imported)
		}
		// Imports are sorted; the connectors package itself stands before all of them.
		if imported == modulePath+"/connectors" || strings.HasPrefix(imported, modulePath+"/connectors/") && imported < modulePath+"/connectors/"+name {
			importAfter = spec.End()
		}
	}
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Name.Name != "knownConnectors" || f.Body == nil {
			continue
		}
		for _, statement := range f.Body.List {
			if e, ok := statement.(*ast.ExprStmt); ok {
				if call, ok := e.X.(*ast.CallExpr); ok && isRegister(call) {
					registerAfter = statement.End()
				}
			}
		}
	}
	if !importAfter.IsValid() || !registerAfter.IsValid() {
		return nil, errors.New("it has no function knownConnectors with calls of r.Register")
	}
	at := func(p token.Pos) int { return set.Position(p).Offset }
	var out []byte
	out = append(out, source[:at(importAfter)]...)
	out = fmt.Appendf(out, "\n\t%q", modulePath+"/connectors/"+name)
	out = append(out, source[at(importAfter):at(registerAfter)]...)
	out = fmt.Appendf(out, "\n\tr.Register(%s.Definition())", name)
	out = append(out, source[at(registerAfter):]...)
	return format.Source(out)
}

func isRegister(call *ast.CallExpr) bool {
	s, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != "Register" {
		return false
	}
	r, ok := s.X.(*ast.Ident)
	return ok && r.Name == "r"
}
