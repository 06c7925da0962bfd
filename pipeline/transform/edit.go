package transform

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/headwater-data/headwater/internal/fault"
)

// Edit changes columns of a row as the quarantine keeps it and returns its columns as Ingress would have left them: the new value of
// a column that a personal field is made of is judged and masked here, and appears in no error. kept is not changed; a nil
// value is null. refused is the reason with which Ingress itself refused the row, "" when it did not: what it names must be
// among the edits, as nobody can judge a masked value again. A change that cannot be made is a usage error.
func (m *Mapping) Edit(ctx context.Context, kept, edits map[string]*string, refused string) (map[string]*string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	private := map[string]bool{}
	var remade []*maskedColumn
	for _, c := range m.masked {
		edited := false
		for _, name := range c.plan.source.columns {
			private[name] = true
			_, ok := edits[name]
			edited = edited || ok
		}
		if edited {
			remade = append(remade, c)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(edits)) {
		_, there := kept[name]
		if strings.HasPrefix(name, "_") || !private[name] && !m.kept[name] && !there {
			return nil, fault.Usage(fmt.Errorf("the mapping of %s/%s reads no column %q; it has %s", m.source, m.stream, bounded(name, 60), strings.Join(m.editable(kept, private), ", ")))
		}
	}
	for _, c := range m.masked {
		named := strings.HasPrefix(refused, c.plan.field.Name+": ") || strings.Contains(refused, "; "+c.plan.field.Name+": ")
		if named && !slices.Contains(remade, c) {
			return nil, fault.Usage(fmt.Errorf("the row was refused for its personal field %s, whose value is known masked only: set %s too", c.plan.field.Name, strings.Join(c.plan.source.columns, ", ")))
		}
		for _, name := range c.plan.source.columns {
			if _, ok := edits[name]; !ok && slices.Contains(remade, c) {
				return nil, fault.Usage(fmt.Errorf("personal field %s is made of %s, which are known masked only: set all of them", c.plan.field.Name, strings.Join(c.plan.source.columns, ", ")))
			}
		}
	}
	out := map[string]*string{}
	clear := map[string]*string{}
	for name, value := range kept {
		out[name] = value
		if !private[name] {
			clear[name] = value
		}
	}
	for name, value := range edits {
		clear[name] = value
		if !private[name] {
			out[name] = value
		}
	}
	if len(remade) == 0 {
		return out, nil
	}
	names := slices.Sorted(maps.Keys(clear))
	fields := make([]arrow.Field, len(names))
	for i, name := range names {
		fields[i] = arrow.Field{Name: name, Type: arrow.BinaryTypes.String, Nullable: true}
	}
	b := array.NewRecordBuilder(m.mem, arrow.NewSchema(fields, nil))
	defer b.Release()
	for i, name := range names {
		if v := clear[name]; v != nil {
			b.Field(i).(*array.StringBuilder).Append(*v)
		} else {
			b.Field(i).AppendNull()
		}
	}
	rec := b.NewRecord()
	defer rec.Release()
	masked, rejected, err := m.ingress(rec)
	if err != nil {
		return nil, err
	}
	defer masked.Release()
	if len(rejected) > 0 {
		var reasons []string
		for _, broken := range rejected[0].Breaks {
			reasons = append(reasons, fmt.Sprintf("%s: %s", broken.Field, broken.Message))
		}
		return nil, fault.Usage(fmt.Errorf("the new value of a personal field breaks a rule: %s", strings.Join(reasons, "; ")))
	}
	for _, c := range remade {
		if c.kind == "drop" {
			continue
		}
		column := columnOf(masked, c.column).(*array.String)
		out[c.column] = nil
		if column.IsValid(0) {
			value := strings.Clone(column.Value(0)) // the record's memory goes
			out[c.column] = &value
		}
	}
	return out, nil
}

// editable lists the columns that a person may set.
func (m *Mapping) editable(kept map[string]*string, private map[string]bool) []string {
	names := maps.Clone(private)
	for name := range m.kept {
		names[name] = true
	}
	for name := range kept {
		names[name] = true
	}
	maps.DeleteFunc(names, func(name string, _ bool) bool { return strings.HasPrefix(name, "_") })
	return slices.Sorted(maps.Keys(names))
}
