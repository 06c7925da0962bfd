package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/schemas"
)

func configCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:     "config",
		Short:   "Tells about the configuration's files",
		Example: "  headwater config schema source",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(configSchemaCommand(a), configDictionaryCommand(a))
	return c
}

func configDictionaryCommand(a *app) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "dictionary",
		Short: "Writes the data dictionary: every schema, field, rule and code",
		Long: `Writes the data dictionary as Markdown: the schemas and code lists that the program knows, and those of the project where it is
called in one.`,
		Example: `  headwater config dictionary > dictionary.md
  headwater config dictionary --project province --write docs/dictionary.md`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			set := schemas.Standard()
			if p, err := a.load(); err == nil {
				set = p.Set()
			} else if cmd.Flags().Changed("project") {
				return err
			}
			if file == "" {
				return set.Dictionary(a.out)
			}
			var page bytes.Buffer
			if err := set.Dictionary(&page); err != nil {
				return err
			}
			if err := os.WriteFile(file, page.Bytes(), 0o644); err != nil {
				return fault.Environment(err)
			}
			return nil
		},
	}
	c.Flags().StringVar(&file, "write", "", "file to write instead of standard output")
	return c
}

func configSchemaCommand(a *app) *cobra.Command {
	var folder string
	c := &cobra.Command{
		Use:   "schema [KIND]",
		Short: "Writes the JSON Schema of a kind of file, for editors",
		Long: `Writes the JSON Schema of one kind of the project's files: project (headwater.yaml), source, schema, overlay, list or
indicator.
Editors with a YAML language server then complete and check while you write; name the schema in the file's first line:

  # yaml-language-server: $schema=../.editor/source.schema.json`,
		Example: `  headwater config schema source > source.schema.json
  headwater config schema --write .editor`,
		Args:      cobra.MaximumNArgs(1),
		ValidArgs: project.SchemaKinds(),
		RunE: func(_ *cobra.Command, args []string) error {
			kinds := project.SchemaKinds()
			if len(args) == 1 {
				kinds = args
			} else if folder == "" {
				return fault.Usage(fmt.Errorf("say which kind of file (%v), or --write FOLDER for all", kinds))
			}
			for _, kind := range kinds {
				data, err := project.EditorSchema(kind, a.registry)
				if err != nil {
					return fault.Usage(err)
				}
				if folder == "" {
					if _, err := a.out.Write(data); err != nil {
						return err
					}
					continue
				}
				if err := os.MkdirAll(folder, 0o755); err != nil {
					return fault.Environment(err)
				}
				if err := os.WriteFile(filepath.Join(folder, kind+".schema.json"), data, 0o644); err != nil {
					return fault.Environment(err)
				}
			}
			return nil
		},
	}
	c.Flags().StringVar(&folder, "write", "", "folder to write KIND.schema.json into")
	return c
}
