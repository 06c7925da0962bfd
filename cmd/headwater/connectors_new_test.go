package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// overlaid makes a connector over this checkout without writing to it, and returns the flag with which the go command sees it.
func overlaid(t *testing.T, root, name string) string {
	t.Helper()
	made, err := newConnector(root, name, knownConnectors().Names())
	if err != nil {
		t.Fatal(err)
	}
	if made.unregistered != "" {
		t.Errorf("this program's own file is not understood: %s", made.unregistered)
	}
	dir := t.TempDir()
	replace := map[string]string{}
	for i, f := range made.files {
		at := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(at, f.data, 0o644); err != nil {
			t.Fatal(err)
		}
		replace[filepath.Join(root, filepath.FromSlash(f.name))] = at
	}
	data, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return "-overlay=" + overlay
}

func TestSkeletonCompilesAndItsTestFailsOnlyWhereCodeIsDue(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	overlay := overlaid(t, root, "ldap")

	// Built and run apart: go test and vet go to the package's folder, which is not there.
	dir := t.TempDir()
	tested, built := filepath.Join(dir, "ldap.test"), filepath.Join(dir, "headwater")
	for _, command := range [][]string{
		{"go", "test", overlay, "-vet=off", "-c", "-o", tested, "./connectors/ldap"},
		{"go", "build", overlay, "-o", built, "./cmd/headwater"},
		{built, "connectors", "ldap"},
	} {
		run := exec.CommandContext(t.Context(), command[0], command[1:]...)
		run.Dir = root
		out, err := run.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", command, err, out)
		}
		if command[0] == built && !strings.Contains(string(out), "config.address  (text, required)") {
			t.Errorf("the program does not know the connector's options:\n%s", out)
		}
	}
	// The exit code says that a test failed, as it must; which of them is in the events.
	out, _ := exec.CommandContext(t.Context(), "go", "tool", "test2json", tested, "-test.v").Output()
	type event struct{ Action, Test, Output string }
	ended, said := map[string]string{}, map[string]string{}
	for line := range bytes.Lines(out) {
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		name, ok := strings.CutPrefix(e.Test, "TestConformance/")
		if !ok {
			continue
		}
		switch e.Action {
		case "output":
			said[name] += e.Output
		case "pass", "fail", "skip":
			ended[name] = e.Action
		}
	}
	want := map[string]string{
		"streams": "pass", "cancelled_before": "pass", "unknown_stream": "pass", "foreign_cursor": "pass", "count": "pass",
		"hard_values": "fail", "batches": "fail", "repeatable": "fail", "resume": "fail", "nothing_new": "fail", "empty": "fail", "cancelled_within": "fail",
		"stopped": "fail", "retained": "fail", "side_by_side": "fail", "memory": "fail", "changes": "fail",
	}
	if diff := cmp.Diff(want, ended); diff != "" {
		t.Fatalf("cases of the kit (-want +got):\n%s\n%s", diff, out)
	}
	for name, how := range ended {
		for _, due := range []string{"due: write (*stream).Columns in connectors/ldap/ldap.go: ", "due: write (*system).put in connectors/ldap/ldap_test.go: "} {
			if how == "fail" && !strings.Contains(said[name], due) {
				t.Errorf("%s does not say %q:\n%s", name, due, said[name])
			}
		}
	}
}

// The way that docs/write-a-connector.md goes is gone here: its blocks of code put into the skeleton must give the connector in
// examples/connector/permits, whose own test runs it through the kit.
func TestTutorialLeadsFromTheSkeletonToTheExample(t *testing.T) {
	t.Parallel()
	made, err := newConnector("../..", "permits", nil)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, f := range made.files {
		files[filepath.Base(f.name)] = f.data
	}
	page, err := os.ReadFile("../../docs/write-a-connector.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := 0
	for i, part := range strings.Split(string(page), "```") {
		name, code, _ := strings.Cut(part, "\n")
		name, ok := strings.CutPrefix(name, "go ")
		if i%2 == 0 || !ok {
			continue
		}
		blocks++
		if files[name] == nil {
			t.Fatalf("block %d is of %q, which the skeleton does not have", blocks, name)
		}
		if files[name], err = amended(files[name], code); err != nil {
			t.Fatalf("block %d, of %s: %v", blocks, name, err)
		}
	}
	if blocks < 5 {
		t.Errorf("%d blocks of code", blocks)
	}
	for _, name := range []string{"permits.go", "permits_test.go"} {
		got := strings.ReplaceAll(string(files[name]), modulePath+"/connectors/permits", modulePath+"/examples/connector/permits")
		formatted, err := format.Source([]byte(got)) // the path decides where an import stands
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join("../../examples/connector/permits", name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(formatted)); diff != "" {
			t.Errorf("%s (-example +tutorial):\n%s", name, diff)
		}
	}
}

// declared is a declaration with its comment, as it stands in a source.
type declared struct {
	name     string
	from, to int
}

func declarations(source string) (list []declared, err error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "", source, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	for _, d := range file.Decls {
		one := declared{from: set.Position(d.Pos()).Offset, to: set.Position(d.End()).Offset}
		var doc *ast.CommentGroup
		switch d := d.(type) {
		case *ast.FuncDecl:
			one.name, doc = d.Name.Name, d.Doc
			if d.Recv != nil {
				one.name = source[set.Position(d.Recv.List[0].Type.Pos()).Offset:set.Position(d.Recv.List[0].Type.End()).Offset] + "." + one.name
			}
		case *ast.GenDecl:
			doc = d.Doc
			switch s := d.Specs[0].(type) {
			case *ast.ImportSpec:
				one.name = "import"
			case *ast.TypeSpec:
				one.name = s.Name.Name
			case *ast.ValueSpec:
				one.name = s.Names[0].Name
			}
		}
		if doc != nil {
			one.from = set.Position(doc.Pos()).Offset
		}
		if end := strings.IndexByte(source[one.to:], '\n'); end >= 0 && strings.HasPrefix(strings.TrimSpace(source[one.to:one.to+end]), "//") {
			one.to += end
		}
		list = append(list, one)
	}
	return list, nil
}

// amended does what a reader does with a block of code: declarations that are there are replaced, and others follow the one that stands
// before them in the block, or come last.
func amended(source []byte, block string) ([]byte, error) {
	block = "package p\n\n" + block
	news, err := declarations(block)
	if err != nil {
		return nil, err
	}
	before := ""
	for _, n := range news {
		olds, err := declarations(string(source))
		if err != nil {
			return nil, err
		}
		text := block[n.from:n.to]
		at := slices.IndexFunc(olds, func(o declared) bool { return o.name == n.name })
		if at >= 0 {
			source = slices.Concat(source[:olds[at].from], []byte(text), source[olds[at].to:])
		} else {
			after := len(olds) - 1
			if i := slices.IndexFunc(olds, func(o declared) bool { return o.name == before }); i >= 0 {
				after = i
			}
			source = slices.Concat(source[:olds[after].to], []byte("\n\n"+text), source[olds[after].to:])
		}
		before = n.name
	}
	return source, nil
}
