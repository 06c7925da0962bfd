package main

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/project"
)

// templateFiles is the project that init writes. {{name}} stands for its name; gitignore gets its dot, without which Go's
// embedding keeps it.
//
//go:embed template
var templateFiles embed.FS

func initCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "init [FOLDER]",
		Short: "Writes a commented project that runs",
		Long: `Writes a project into the folder (the current one by default): a configuration with comments, one source with a small
file of sample data, an indicator, and schemas with which editors complete and check what you write. Files that are there
are never overwritten.`,
		Example: `  headwater init first
  cd first && headwater check && headwater preview sample`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			dir := "."
			if len(args) == 1 {
				dir = args[0]
			}
			files, err := projectTemplate(a, dir)
			if err != nil {
				return err
			}
			for _, f := range files {
				if _, err := os.Lstat(filepath.Join(dir, f.name)); err == nil {
					return fault.Usage(fmt.Errorf("%s is there already: init writes new projects only", filepath.Join(dir, f.name)))
				} else if !errors.Is(err, fs.ErrNotExist) {
					return fault.Environment(err)
				}
			}
			for _, f := range files {
				if err := write(filepath.Join(dir, f.name), f.data); err != nil {
					return fault.Environment(fmt.Errorf("write project: %w", err))
				}
			}
			if a.json {
				t := a.table("", "file")
				for _, f := range files {
					if err := t.Row(f.name); err != nil {
						return err
					}
				}
				return t.Close()
			}
			fmt.Fprintf(a.out, "A project in %s:\n", dir)
			for _, f := range files {
				fmt.Fprintf(a.out, "  %s\n", f.name)
			}
			next := ""
			if dir != "." {
				next = "cd " + dir + " && "
			}
			_, err = fmt.Fprintf(a.out, "\nNext:\n  %sheadwater check\n  headwater preview sample\n  headwater run\n", next)
			return err
		},
	}
}

type newFile struct {
	name string
	data []byte
}

func projectTemplate(a *app, dir string) ([]newFile, error) {
	name, err := projectName(dir)
	if err != nil {
		return nil, err
	}
	var files []newFile
	err = fs.WalkDir(templateFiles, "template", func(at string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := templateFiles.ReadFile(at)
		if err != nil {
			return err
		}
		to := strings.TrimPrefix(at, "template/")
		if path.Base(to) == "gitignore" {
			to = path.Join(path.Dir(to), ".gitignore")
		}
		data = []byte(strings.ReplaceAll(string(data), "{{name}}", name))
		files = append(files, newFile{filepath.FromSlash(to), data})
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, kind := range project.SchemaKinds() {
		data, err := project.EditorSchema(kind, a.registry)
		if err != nil {
			return nil, err
		}
		files = append(files, newFile{filepath.Join(".editor", kind+".schema.json"), data})
	}
	return files, nil
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// projectName makes a project's name of its folder's.
func projectName(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fault.Environment(err)
	}
	name := strings.Trim(notInNames.ReplaceAllString(strings.ToLower(filepath.Base(abs)), "-"), "-")
	if len(name) > 63 {
		name = strings.Trim(name[:63], "-")
	}
	if name == "" {
		name = "first"
	}
	return name, nil
}

// write makes a file that is not there yet.
func write(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}
