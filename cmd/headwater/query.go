package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/screen"
	"github.com/headwater-data/headwater/pipeline"
)

func queryCommand(a *app) *cobra.Command {
	var format string
	var params []string
	c := &cobra.Command{
		Use:   "query 'SQL'",
		Short: "Asks the warehouse, for reading only",
		Long: `Sends one statement to the warehouse, which lets it read only, and writes the rows as an aligned table, CSV or JSON.
Values go in as parameters: {name:Type} in the statement and --param name=value.`,
		Example: `  headwater query 'SELECT region, value FROM observation_current LIMIT 10'
  headwater query --param code=330100 'SELECT * FROM region WHERE code = {code:String}'
  headwater query --format csv 'SELECT * FROM ledger_balance' > balance.csv`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if !slices.Contains(screen.Formats(), format) {
				return fault.Usage(fmt.Errorf("--format must be one of %s", strings.Join(screen.Formats(), ", ")))
			}
			values := map[string]string{}
			for _, p := range params {
				name, value, ok := strings.Cut(p, "=")
				if !ok {
					return fault.Usage(fmt.Errorf("--param %q: write name=value", p))
				}
				values[name] = value
			}
			return a.withWarehouse(cmd.Context(), func(w *pipeline.Depot) (err error) {
				rows, err := w.Query(cmd.Context(), args[0], values)
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, rows.Close()) }()
				t := a.table(screen.Format(format), rows.Columns()...)
				for rows.Next() {
					if err := t.Row(rows.Values()...); err != nil {
						return err
					}
				}
				if err := rows.Err(); err != nil {
					return err
				}
				return t.Close()
			})
		},
	}
	c.Flags().StringVar(&format, "format", "table", strings.Join(screen.Formats(), ", "))
	c.Flags().StringArrayVar(&params, "param", nil, "value of a parameter in the statement, name=value")
	return c
}
