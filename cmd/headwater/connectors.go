package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/screen"
	"github.com/headwater-data/headwater/internal/yamlfile"
)

func connectorsCommand(a *app) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:     "connectors [NAME]",
		Aliases: []string{"connector"},
		Short:   "Lists the connectors, or the options of one",
		Example: `  headwater connectors
  headwater connectors file`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if file != "" {
				if len(args) > 0 {
					return fault.Usage(errors.New("--write writes the page of all connectors: leave the name out"))
				}
				page, err := connectorsPage(a.registry)
				if err != nil {
					return err
				}
				if err := os.WriteFile(file, page, 0o644); err != nil {
					return fault.Environment(err)
				}
				return nil
			}
			if len(args) == 0 {
				t := a.table(screen.Text, "connector", "modes", "tested", "reads")
				for _, name := range a.registry.Names() {
					d, err := a.registry.Lookup(name)
					if err != nil {
						return err
					}
					if err := t.Row(d.Name, strings.Join(d.Modes, ", "), strings.Join(d.Tested, ", "), d.Title); err != nil {
						return err
					}
				}
				return t.Close()
			}
			d, err := a.registry.Lookup(args[0])
			if err != nil {
				return fault.Usage(err)
			}
			options := optionsOf(d)
			if a.json {
				t := a.table(screen.JSON, "under", "option", "type", "required", "description")
				for _, o := range options {
					if err := t.Row(o.where, o.Name, o.Type, o.Required, o.Description); err != nil {
						return err
					}
				}
				return t.Close()
			}
			if _, err := fmt.Fprintf(a.out, "%s: %s\n", d.Name, d.Title); err != nil {
				return err
			}
			for _, o := range options {
				required := ""
				if o.Required {
					required = ", required"
				}
				if _, err := fmt.Fprintf(a.out, "\n%s.%s  (%s%s)\n%s", o.where, o.Name, o.Type, required, screen.Wrap(o.Description, "  ", max(60, min(100, screen.Width(a.out))))); err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.Flags().StringVar(&file, "write", "", "write the reference of all connectors as Markdown into this file")
	c.AddCommand(connectorsNewCommand(a))
	return c
}

// connectorOption is an option, under config or read.
type connectorOption struct {
	where string
	yamlfile.Option
}

func optionsOf(d connectors.Definition) (options []connectorOption) {
	for _, part := range []struct {
		where string
		make  func() any
	}{{"config", d.Config}, {"read", d.Stream}} {
		if part.make == nil {
			continue
		}
		for _, o := range yamlfile.Options(reflect.TypeOf(part.make())) {
			options = append(options, connectorOption{part.where, o})
		}
	}
	return options
}

// connectorsPage is docs/connectors/README.md: what connectors say of themselves.
func connectorsPage(r *connectors.Registry) ([]byte, error) {
	var b bytes.Buffer
	cell := strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;")
	row := func(cells ...string) {
		for _, c := range cells {
			if c == "" {
				c = "–"
			}
			fmt.Fprintf(&b, "| %s ", cell.Replace(c))
		}
		b.WriteString("|\n")
	}
	var all []connectors.Definition
	for _, name := range r.Names() {
		d, err := r.Lookup(name)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}

	b.WriteString(`# Connectors

<!-- Made by make generate from what connectors say of themselves. -->

What Headwater can read, and what that was tested against. "Tested" means that the connector passes the kit in
[connectors/connectortest](../../connectors/connectortest) and tests of its own against this very system in ` + "`make test`" + `; the day is the last on which somebody looked. A connector with nothing there
was not tested. To add one: [write-a-connector.md](../write-a-connector.md).

| connector | reads | modes | tested against | on |
| --- | --- | --- | --- | --- |
`)
	for _, d := range all {
		name := "`" + d.Name + "`"
		if d.Page != "" {
			name = "[" + name + "](" + d.Page + ")"
		}
		row(name, d.Title, strings.Join(d.Modes, ", "), strings.Join(d.Tested, ", "), d.TestedOn)
	}

	b.WriteString(`
## Values that keep all their digits

For each kind of value that the kit stores, the type of the system in which its tests store it and from which it arrives as it was. Texts do in all of them.

`)
	kinds := map[string]bool{}
	header, line := []string{"value"}, []string{"---"}
	var typed []connectors.Definition
	for _, d := range all {
		if len(d.Types) == 0 {
			continue
		}
		typed = append(typed, d)
		header, line = append(header, "`"+d.Name+"`"), append(line, "---")
		for kind := range d.Types {
			kinds[kind] = true
		}
	}
	row(header...)
	row(line...)
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		cells := []string{kind}
		for _, d := range typed {
			cells = append(cells, d.Types[kind])
		}
		row(cells...)
	}

	b.WriteString("\n## Options\n")
	for _, d := range all {
		fmt.Fprintf(&b, "\n### %s\n\n", d.Name)
		row("option", "type", "what it does")
		row("---", "---", "---")
		for _, o := range optionsOf(d) {
			typ := o.Type
			if o.Required {
				typ += ", required"
			}
			row("`"+o.where+"."+o.Name+"`", typ, o.Description)
		}
	}
	return b.Bytes(), nil
}
