package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/spf13/cobra"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/internal/screen"
	"github.com/headwater-data/headwater/internal/secret"
	"github.com/headwater-data/headwater/internal/yamlfile"
	"github.com/headwater-data/headwater/pipeline/transform"
)

func previewCommand(a *app) *cobra.Command {
	var rows, scan int
	var only string
	var all bool
	c := &cobra.Command{
		Use:   "preview SOURCE",
		Short: "Shows the first rows raw and standardized, and what would be quarantined",
		Long: `Reads the beginning of each stream of a source and shows its first rows beside the records that they become, rows that
would be left out or quarantined, and why. It writes nothing, remembers nothing and needs no server.

Columns that neither the mapping nor keep: names are not shown, only listed; --all-columns shows them. Personal values
are masked as they would be in earnest, but with another key.`,
		Example: `  headwater preview sample
  headwater preview hotline-12345 --stream cases --rows 2
  headwater preview sample --all-columns --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if rows < 1 || scan < rows {
				return fault.Usage(errors.New("--rows must be 1 at least, and --scan not less than --rows"))
			}
			p, err := a.load()
			if err != nil {
				return err
			}
			source, err := p.Source(args[0])
			if err != nil {
				return err
			}
			v := &previewer{app: a, project: p, source: source, rows: rows, scan: scan, all: all}
			return v.run(cmd.Context(), only)
		},
		ValidArgsFunction: a.completeSources,
	}
	c.Flags().IntVar(&rows, "rows", 3, "rows of each stream that are shown")
	c.Flags().IntVar(&scan, "scan", 10_000, "rows of each stream that are read to see what would be quarantined")
	c.Flags().StringVar(&only, "stream", "", "only this stream")
	c.Flags().BoolVar(&all, "all-columns", false, "show columns too that never leave the process")
	return c
}

// completeSources completes the names of the project's sources.
func (a *app) completeSources(_ *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	p, _, err := a.inspect()
	if err != nil || p == nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, s := range p.Sources() {
		names = append(names, s.Name+"\t"+s.Title)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// previewer reads the beginning of a source's streams and shows what becomes of it.
type previewer struct {
	app        *app
	project    *project.Project
	source     *project.Source
	rows, scan int
	all        bool
	program    *transform.Program
	opened     connectors.Source
}

// streamPreview is what was seen of one stream.
type streamPreview struct {
	Stream      string         `json:"stream"`
	Schema      string         `json:"schema"`
	Rows        []rowPreview   `json:"rows"`
	Unread      []string       `json:"columns_not_kept"`
	Missing     []string       `json:"columns_missing,omitempty"`
	Scanned     int            `json:"rows_scanned"`
	Complete    bool           `json:"complete"`
	Records     int            `json:"records"`
	Quarantined int            `json:"quarantined"`
	Filtered    map[string]int `json:"filtered"`
	Rules       map[string]int `json:"rules"`
	Examples    []rejected     `json:"quarantined_examples"`
}

// rowPreview is one source row and what it becomes: records, or a place in the quarantine, or nothing by a filter.
type rowPreview struct {
	Place       string    `json:"place"`
	Row         int64     `json:"row,omitempty"`
	Raw         pairs     `json:"raw"`
	Records     []pairs   `json:"records,omitempty"`
	Flags       []string  `json:"flags,omitempty"`
	Filtered    string    `json:"filtered,omitempty"`
	Quarantined *rejected `json:"quarantined,omitempty"`
}

type rejected struct {
	Place   string   `json:"place"`
	Row     int64    `json:"row,omitempty"`
	Rules   []string `json:"rules"`
	Reasons []string `json:"reasons"`
	Columns string   `json:"columns,omitempty"`
}

// pairs is a JSON object that keeps its order.
type pairs []screen.Pair

// MarshalJSON writes the pairs as an object.
func (p pairs) MarshalJSON() ([]byte, error) {
	var b strings.Builder
	b.WriteByte('{')
	for i, pair := range p {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(pair.Name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(pair.Value)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return []byte(b.String()), nil
}

// maxExamples is how many rows are shown that would be quarantined.
const maxExamples = 5

func (v *previewer) run(ctx context.Context, only string) (err error) {
	var names []string
	for _, s := range v.source.Streams {
		names = append(names, s.Name)
	}
	if only != "" {
		if !slices.Contains(names, only) {
			hint := "it has: " + strings.Join(names, ", ")
			if s := yamlfile.Suggest(only, names); s != "" {
				hint = fmt.Sprintf("did you mean %q?", s)
			}
			return fault.Usage(fmt.Errorf("no stream %q in source %s; %s", only, v.source.Name, hint))
		}
		names = []string{only}
	}
	// A key that is thrown away: the real one is for what is kept, and making it would write a file.
	var random [32]byte
	if _, err := rand.Read(random[:]); err != nil {
		return err
	}
	v.program, err = transform.Compile(v.project.ShapeFor(v.source.Name), transform.Options{
		Keys:    func(string) (secret.Value, error) { return secret.New(string(random[:])), nil },
		Hashing: v.project.Hashing(),
	})
	if err != nil {
		return err
	}
	v.opened, err = v.project.OpenSource(ctx, v.source.Name, connectors.Environment{
		Allocator: memory.DefaultAllocator, Logger: v.app.logger(v.app.err, v.project), Now: time.Now,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.opened.Close()) }()

	var previews []*streamPreview
	for _, name := range names {
		seen, err := v.stream(ctx, name)
		if err != nil {
			return fmt.Errorf("preview %s/%s: %w", v.source.Name, name, err)
		}
		previews = append(previews, seen)
	}
	if v.app.json {
		e := json.NewEncoder(v.app.out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(previews)
	}
	for i, seen := range previews {
		if i > 0 {
			if _, err := fmt.Fprintln(v.app.out); err != nil {
				return err
			}
		}
		if err := v.show(v.app.out, seen); err != nil {
			return err
		}
	}
	return nil
}

// errEnough ends reading.
var errEnough = errors.New("enough rows")

func (v *previewer) stream(ctx context.Context, name string) (*streamPreview, error) {
	mapping, ok := v.program.Stream(v.source.Name, name)
	if !ok {
		return nil, fmt.Errorf("the stream has no mapping")
	}
	seen := &streamPreview{
		Stream: name, Schema: mapping.Schema().Name, Rows: []rowPreview{}, Unread: []string{}, Filtered: map[string]int{}, Rules: map[string]int{},
		Examples: []rejected{}, Complete: true,
	}
	shards := []connectors.Stream{{Name: name}}
	if sharder, ok := v.opened.(connectors.Sharder); ok {
		var err error
		if shards, err = sharder.Shards(ctx, name); err != nil {
			return nil, err
		}
	}
	for _, shard := range shards {
		for batch, err := range connectors.Peek(ctx, v.opened, shard, nil) {
			if err != nil {
				return nil, err
			}
			err = v.batch(ctx, mapping, batch, seen)
			if errors.Is(err, errEnough) {
				seen.Complete = false
				return seen, nil
			}
			if err != nil {
				return nil, err
			}
		}
	}
	return seen, nil
}

// batch notes what becomes of a batch, up to the number of rows to scan.
func (v *previewer) batch(ctx context.Context, mapping *transform.Mapping, batch connectors.Batch, seen *streamPreview) error {
	for _, r := range batch.Rejects {
		seen.Scanned++
		seen.reject(rejected{Place: batch.Place, Row: r.Row, Rules: []string{r.Rule}, Reasons: []string{r.Reason}}, nil)
	}
	n := min(int(batch.Record.NumRows()), v.scan-seen.Scanned)
	enough := n < int(batch.Record.NumRows())
	if n > 0 {
		record := batch.Record.NewSlice(0, int64(n))
		defer record.Release()
		if err := v.mapped(ctx, mapping, batch.Place, record, seen); err != nil {
			return err
		}
	}
	if enough {
		return errEnough
	}
	return nil
}

func (v *previewer) mapped(ctx context.Context, mapping *transform.Mapping, place string, record arrow.Record, seen *streamPreview) error {
	seen.Scanned += int(record.NumRows())
	for _, name := range mapping.Missing(record.Schema()) {
		if !slices.Contains(seen.Missing, name) {
			seen.Missing = append(seen.Missing, name)
		}
	}
	kept, rejects, err := mapping.Ingress(ctx, record)
	if err != nil {
		return err
	}
	defer kept.Release()
	for _, f := range record.Schema().Fields() {
		if !kept.Schema().HasField(f.Name) && !slices.Contains(seen.Unread, f.Name) {
			seen.Unread = append(seen.Unread, f.Name)
		}
	}
	for _, r := range rejects {
		seen.reject(rejected{Place: place, Row: r.Row, Rules: strings.Split(r.Rule, ","), Reasons: []string{r.Reason}, Columns: string(r.Raw)}, nil)
	}
	result, err := mapping.Apply(ctx, kept, transform.ApplyOptions{ReadAt: time.Now()})
	if err != nil {
		return err
	}
	defer result.Release()
	v.note(record, kept, place, result, seen)
	return nil
}

// note counts what a batch became and keeps its first rows.
func (v *previewer) note(record, kept arrow.Record, place string, result *transform.Result, seen *streamPreview) {
	seen.Records += len(result.Row)
	byRow := map[int][]int{} // records of the rows that are shown
	for i, row := range result.Row {
		byRow[int(row)] = append(byRow[int(row)], i)
	}
	filtered := map[int]string{}
	for _, f := range result.Filtered {
		seen.Filtered[f.Rule]++
		filtered[int(f.Row)] = f.Rule
	}
	quarantined := map[int]rejected{}
	for _, q := range result.Quarantined {
		r := rejected{Place: place, Row: number(kept, int(q.Row)), Columns: string(q.Columns)}
		for _, b := range q.Breaks {
			if !slices.Contains(r.Rules, b.Rule) {
				r.Rules = append(r.Rules, b.Rule)
			}
			r.Reasons = append(r.Reasons, b.Message)
		}
		quarantined[int(q.Row)] = r
	}
	for row := range int(kept.NumRows()) {
		var p *rowPreview // nil for rows that are only counted
		if len(seen.Rows) < v.rows {
			seen.Rows = append(seen.Rows, rowPreview{Place: place, Row: number(kept, row), Raw: values(kept, row, true), Filtered: filtered[row]})
			p = &seen.Rows[len(seen.Rows)-1]
			if v.all && kept.NumRows() == record.NumRows() {
				for i, f := range record.Schema().Fields() {
					if slices.Contains(seen.Unread, f.Name) {
						p.Raw = append(p.Raw, screen.Pair{Name: f.Name, Value: value(record.Column(i), row)})
					}
				}
			}
			for _, i := range byRow[row] {
				p.Records = append(p.Records, values(result.Records, i, false))
				if result.Flags != nil {
					p.Flags = append(p.Flags, result.Flags[i]...)
				}
			}
		}
		if q, ok := quarantined[row]; ok {
			seen.reject(q, p)
		}
	}
}

// reject counts a row that would be quarantined and keeps the first as examples.
func (s *streamPreview) reject(r rejected, row *rowPreview) {
	s.Quarantined++
	for _, rule := range r.Rules {
		s.Rules[rule]++
	}
	if row != nil {
		row.Quarantined = &r
		return
	}
	if len(s.Examples) < maxExamples {
		s.Examples = append(s.Examples, r)
	}
}

// number is a row's own number in its place, 0 when it has none.
func number(record arrow.Record, row int) int64 {
	for i, f := range record.Schema().Fields() {
		if a, ok := record.Column(i).(*array.Int64); ok && f.Name == connectors.ColumnRow && a.IsValid(row) {
			return a.Value(row)
		}
	}
	return 0
}

// values are the cells of a row; of records only those that are not null.
func values(record arrow.Record, row int, nulls bool) pairs {
	var out pairs
	for i, f := range record.Schema().Fields() {
		if strings.HasPrefix(f.Name, "_") {
			continue
		}
		v := value(record.Column(i), row)
		if nulls || v != nil && v != "" { // a record's empty texts are the schema's defaults
			out = append(out, screen.Pair{Name: f.Name, Value: v})
		}
	}
	return out
}

// value is a cell as it is shown: nil, a bool, a number or a text.
func value(a arrow.Array, row int) any {
	if a.IsNull(row) {
		return nil
	}
	switch a := a.(type) {
	case *array.Boolean:
		return a.Value(row)
	case *array.Int64:
		return a.Value(row)
	case *array.Int32:
		return a.Value(row)
	case *array.Float64:
		return a.Value(row)
	case *array.Float32:
		return a.Value(row)
	case *array.Dictionary:
		return value(a.Dictionary(), a.GetValueIndex(row))
	case *array.Timestamp:
		t, ok := a.DataType().(*arrow.TimestampType)
		if !ok {
			break
		}
		at := a.Value(row).ToTime(t.Unit)
		if zone, err := t.GetZone(); err == nil && zone != nil {
			return at.In(zone).Format("2006-01-02T15:04:05.999Z07:00")
		}
		return at.Format("2006-01-02T15:04:05.999")
	}
	return a.ValueStr(row)
}

// show writes what was seen of a stream for people.
func (v *previewer) show(w io.Writer, seen *streamPreview) error {
	width := screen.Width(w)
	var b strings.Builder
	fmt.Fprintf(&b, "%s/%s → %s\n", v.source.Name, seen.Stream, seen.Schema)
	if len(seen.Missing) > 0 {
		fmt.Fprintf(&b, "The source lacks columns that the mapping reads: %s.\n", strings.Join(seen.Missing, ", "))
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	for _, row := range seen.Rows {
		if _, err := fmt.Fprintf(w, "\n%s\n", at(row.Place, row.Row)); err != nil {
			return err
		}
		left := screen.Block{Title: "as read", Pairs: row.Raw}
		if err := screen.SideBySide(w, width, left, row.outcome(seen.Schema)); err != nil {
			return err
		}
	}
	return v.summary(w, seen)
}

func (r rowPreview) outcome(schema string) screen.Block {
	switch {
	case r.Filtered != "":
		return screen.Block{Title: "left out: " + r.Filtered}
	case r.Quarantined != nil:
		b := screen.Block{Title: "quarantined"}
		for i, reason := range r.Quarantined.Reasons {
			b.Pairs = append(b.Pairs, screen.Pair{Name: r.Quarantined.Rules[min(i, len(r.Quarantined.Rules)-1)], Value: reason})
		}
		return b
	}
	b := screen.Block{Title: schema}
	for i, record := range r.Records {
		if i == 0 {
			b.Pairs = record
			continue
		}
		b.Pairs = append(b.Pairs, screen.Pair{Name: "and with", Value: ""})
		for _, p := range record { // of further records only what is different
			if !slices.Contains(r.Records[0], p) {
				b.Pairs = append(b.Pairs, p)
			}
		}
	}
	if len(r.Flags) > 0 {
		b.Pairs = append(b.Pairs, screen.Pair{Name: "flagged", Value: r.Flags})
	}
	return b
}

func (v *previewer) summary(w io.Writer, seen *streamPreview) error {
	var b strings.Builder
	left := 0
	for _, n := range seen.Filtered {
		left += n
	}
	read := "All " + plural(seen.Scanned, "row")
	if !seen.Complete {
		read = fmt.Sprintf("The first %s", plural(seen.Scanned, "row"))
	}
	if seen.Scanned == 0 {
		read = "No row"
	}
	fmt.Fprintf(&b, "\n%s: %s, %d left out, %d quarantined.\n", read, plural(seen.Records, "record"), left, seen.Quarantined)
	for _, rule := range slices.Sorted(maps.Keys(seen.Filtered)) {
		fmt.Fprintf(&b, "  left out by %s: %d\n", rule, seen.Filtered[rule])
	}
	for _, rule := range slices.Sorted(maps.Keys(seen.Rules)) {
		fmt.Fprintf(&b, "  quarantined by %s: %d\n", rule, seen.Rules[rule])
	}
	for _, r := range seen.Examples {
		fmt.Fprintf(&b, "\n%s would be quarantined:\n", at(r.Place, r.Row))
		for _, reason := range r.Reasons {
			b.WriteString(screen.Wrap(reason, "  ", max(80, screen.Width(w))))
		}
		if r.Columns != "" {
			b.WriteString("  " + screen.Clean(r.Columns) + "\n")
		}
	}
	if len(seen.Unread) > 0 && !v.all {
		fmt.Fprintf(&b, "\nNot read further, because neither the mapping nor keep: names them: %s.\n", screen.Clean(strings.Join(seen.Unread, ", ")))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// at names a row in its place.
func at(place string, row int64) string {
	if row == 0 {
		return place
	}
	return fmt.Sprintf("%s, row %d", place, row)
}
