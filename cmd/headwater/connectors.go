package main

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/screen"
	"github.com/headwater-data/headwater/internal/yamlfile"
)

func connectorsCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:     "connectors [NAME]",
		Aliases: []string{"connector"},
		Short:   "Lists the connectors, or the options of one",
		Example: `  headwater connectors
  headwater connectors file`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
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
			type option struct {
				where string
				yamlfile.Option
			}
			var options []option
			for _, part := range []struct {
				where string
				make  func() any
			}{{"config", d.Config}, {"read", d.Stream}} {
				if part.make == nil {
					continue
				}
				for _, o := range yamlfile.Options(reflect.TypeOf(part.make())) {
					options = append(options, option{part.where, o})
				}
			}
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
	c.AddCommand(connectorsNewCommand(a))
	return c
}
