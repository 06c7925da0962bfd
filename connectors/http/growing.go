package http

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/connectors/rowwise"
)

// growing is a stream whose records follow one another by a column.
type growing struct{ stream }

// Rows asks again and again for what follows the last record.
func (g *growing) Rows(ctx context.Context, after string) iter.Seq2[rowwise.Row, error] {
	return func(yield func(rowwise.Row, error) bool) {
		a := g.o.After
		at := slices.Index(g.o.Columns, a.Column)
		u := g.begin()
		for {
			if after != "" {
				query := u.Query()
				query.Set(a.Param, after)
				u.RawQuery = query.Encode()
			}
			answer, _, err := g.client.get(ctx, u)
			var list []record
			if err == nil {
				list, err = g.o.records(answer)
			}
			if err != nil {
				yield(rowwise.Row{}, err)
				return
			}
			begun := after
			for _, r := range list {
				row := r.row()
				if row.Reject == nil {
					v := r.Values[at]
					if v == nil || *v == "" {
						// Where reading goes on after it nobody could say.
						yield(rowwise.Row{}, connectors.Permanent(fmt.Errorf("a record has nothing in %q, by which reading goes", a.Column)))
						return
					}
					if after != "" && !above(*v, after) {
						yield(rowwise.Row{}, connectors.Permanent(fmt.Errorf("after a record with %s = %.100q comes one with %.100q: it must be higher in each, or records are lost where answers are cut; order by it, or read the whole content", a.Column, after, *v)))
						return
					}
					after = *v
				}
				// What is no object follows the record before it. The very first has nothing to follow, and would come again.
				if row.Position = after; after == "" {
					yield(rowwise.Row{}, connectors.Permanent(fmt.Errorf("the first answer begins with something that is no record: %s", r.Fault)))
					return
				}
				if !yield(row, nil) {
					return
				}
			}
			if len(list) == 0 {
				return
			}
			if after == begun { // the same would come for ever
				yield(rowwise.Row{}, connectors.Permanent(fmt.Errorf("an answer has nothing but what is no record: %s", list[0].Fault)))
				return
			}
		}
	}
}

// above reports whether a is higher than b: by value if both are whole numbers, else by their bytes.
func above(a, b string) bool {
	x, okX := digits(a)
	y, okY := digits(b)
	if okX && okY {
		return cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y)) > 0
	}
	return a > b
}

// digits returns a whole number without leading zeros.
func digits(text string) (string, bool) {
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return "", false
	}
	return strings.TrimLeft(text, "0"), true
}
