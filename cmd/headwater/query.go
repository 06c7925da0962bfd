package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/screen"
	"github.com/headwater-data/headwater/pipeline"
	"github.com/headwater-data/headwater/warehouse"
)

func queryCommand(a *app) *cobra.Command {
	var format string
	var params []string
	c := &cobra.Command{
		Use:   "query 'SQL'",
		Short: "Asks the warehouse, for reading only",
		Long: `Sends one statement to the warehouse, which lets it read only, and writes the rows as an aligned table, CSV or JSON.
Values go in as parameters: {name:Type} in the statement and --param name=value.

For a while a table keeps old versions of a row, and marks of rows that are gone: ask it with FINAL. observation and target keep
all versions for good: ask observation_current and target_current.`,
		Example: `  headwater query 'SELECT region, value FROM observation_current LIMIT 10'
  headwater query 'SELECT count() FROM project FINAL'
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
				var names []string
				for _, c := range rows.Columns() {
					names = append(names, c.Name)
				}
				t := a.table(screen.Format(format), names...)
				for row, err := range rows.All() {
					if err != nil {
						return err
					}
					if err := t.Row(shown(rows.Columns(), row)...); err != nil {
						return err
					}
				}
				return t.Close()
			})
		},
	}
	c.Flags().StringVar(&format, "format", "table", strings.Join(screen.Formats(), ", "))
	c.Flags().StringArrayVar(&params, "param", nil, "value of a parameter in the statement, name=value")
	return c
}

// shown gives a result's values as tables take them: numbers as numbers, so that they stand to the right.
func shown(columns []warehouse.Column, row []warehouse.Value) []any {
	out := make([]any, len(row))
	for i, v := range row {
		switch {
		case v.IsNull():
		case len(v) > 0 && (v[0] == '-' || '0' <= v[0] && v[0] <= '9'):
			out[i] = json.Number(v)
		case len(v) > 0 && (v[0] == '[' || v[0] == '{'):
			out[i] = json.RawMessage(v)
		default:
			out[i] = v.Text()
		}
	}
	return out
}
