// Package exampletest reads an example's files with its connectors and maps them, without Kafka and without a warehouse, so
// that a quick test can hold what an example expects against what Headwater makes of its rows.
package exampletest

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/connectors/file"
	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/internal/secret"
	"github.com/headwater-data/headwater/pipeline/transform"
)

// Outcome is what became of a stream's rows.
type Outcome struct {
	Read, Loaded, Records          int
	Quarantined, Filtered, Flagged map[string]int // by rule; Flagged counts records, the others rows
	// Examples holds one message for each rule by which rows were quarantined.
	Examples map[string]string
}

// Record is one record of a standard schema, as text by field; null fields are left out.
type Record map[string]string

// Run loads the project in dir, which must be without a problem, and takes every row of every stream through connector,
// ingress and mapping. each, if not nil, gets every batch of records; they are released after the call. Outcomes are by
// "source/stream".
func Run(t *testing.T, dir string, each func(stream string, records arrow.Record)) map[string]*Outcome {
	t.Helper()
	registry := &connectors.Registry{}
	registry.Register(file.Definition())
	p, problems := project.Load(dir, registry)
	if len(problems) > 0 {
		t.Fatalf("%s has problems:\n%v", dir, problems)
	}
	allocator := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer allocator.AssertSize(t, 0)
	program, err := transform.Compile(p.Shape(), transform.Options{
		Allocator: allocator,
		Keys:      func(string) (secret.Value, error) { return secret.New("a key for tests only, of enough length"), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	outcomes := map[string]*Outcome{}
	for _, s := range p.Sources() {
		source, err := p.OpenSource(t.Context(), s.Name, connectors.Environment{Allocator: allocator, Logger: slog.New(slog.DiscardHandler), Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		for _, stream := range s.Streams {
			o := &Outcome{Quarantined: map[string]int{}, Filtered: map[string]int{}, Flagged: map[string]int{}, Examples: map[string]string{}}
			outcomes[s.Name+"/"+stream.Name] = o
			mapping, ok := program.Stream(s.Name, stream.Name)
			if !ok {
				t.Fatalf("%s/%s has no mapping", s.Name, stream.Name)
			}
			if err := o.read(t, source, stream.Name, mapping, func(records arrow.Record) {
				if each != nil {
					each(s.Name+"/"+stream.Name, records)
				}
			}); err != nil {
				t.Errorf("%s/%s: %v", s.Name, stream.Name, err)
			}
		}
		if err := source.Close(); err != nil {
			t.Error(err)
		}
	}
	return outcomes
}

func (o *Outcome) read(t *testing.T, source connectors.Source, stream string, mapping *transform.Mapping, each func(arrow.Record)) error {
	shards, err := source.(connectors.Sharder).Shards(t.Context(), stream)
	if err != nil {
		return err
	}
	if len(shards) == 0 {
		return fmt.Errorf("there is nothing to read")
	}
	for _, shard := range shards {
		for batch, err := range source.Read(t.Context(), shard, nil) {
			if err != nil {
				return err
			}
			if err := o.apply(t, batch, mapping, each); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *Outcome) apply(t *testing.T, batch connectors.Batch, mapping *transform.Mapping, each func(arrow.Record)) error {
	kept, rejects, err := mapping.Ingress(t.Context(), batch.Record)
	if err != nil {
		return err
	}
	defer kept.Release()
	o.Read += int(batch.Record.NumRows()) + len(batch.Rejects)
	for _, r := range append(rejects, batch.Rejects...) {
		o.quarantine(r.Rule, r.Reason)
	}
	result, err := mapping.Apply(t.Context(), kept, transform.ApplyOptions{})
	if err != nil {
		return err
	}
	defer result.Release()
	for _, q := range result.Quarantined {
		var rules, messages []string
		for _, b := range q.Breaks {
			rules = append(rules, b.Rule)
			messages = append(messages, b.Field+": "+b.Message)
		}
		o.quarantine(strings.Join(rules, ","), strings.Join(messages, "; "))
	}
	for _, f := range result.Filtered {
		o.Filtered[f.Rule]++
	}
	for _, flags := range result.Flags {
		for _, f := range flags {
			o.Flagged[f]++
		}
	}
	for i, row := range result.Row {
		if i == 0 || row != result.Row[i-1] {
			o.Loaded++
		}
	}
	o.Records += int(result.Records.NumRows())
	each(result.Records)
	return nil
}

func (o *Outcome) quarantine(rule, reason string) {
	o.Quarantined[rule]++
	if o.Examples[rule] == "" {
		o.Examples[rule] = reason
	}
}

// At returns one record of a batch.
func At(records arrow.Record, row int) Record {
	r := Record{}
	for i, f := range records.Schema().Fields() {
		if column := records.Column(i); column.IsValid(row) {
			r[f.Name] = column.ValueStr(row)
		}
	}
	return r
}
