package pipeline

import (
	"slices"

	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/warehouse"
)

// Datasets returns the project's data-sharing list: one entry for each stream, with what its source states. Sources that are
// left out of a run because their files have problems are in it as far as they can be understood.
func Datasets(p *project.Project) []warehouse.SharedDataset {
	var out []warehouse.SharedDataset
	for _, s := range slices.Concat(p.Sources(), p.LeftOut()) {
		for _, stream := range s.Streams {
			d := warehouse.SharedDataset{Source: s.Name, Stream: stream.Name, Title: s.Title, Owner: s.Owner, Connector: s.Connector, Schema: stream.Schema,
				Indicators: stream.Indicators}
			if x := s.Sharing; x != nil {
				d.Stated, d.Provider, d.ProviderCode, d.Content, d.Method, d.Basis = true, x.Provider, x.ProviderCode, x.Content, x.Method, x.Basis
				d.Type, d.Condition, d.Frequency = x.Type, x.Condition, x.Frequency
				if x.Deadline != nil {
					seconds := int64(x.Deadline.Seconds())
					d.Deadline = &seconds
				}
				if due := x.Due; due != nil && d.Deadline != nil && !due.Since.IsZero() {
					d.DueIndicators, d.DueLevels, d.DueWithin, d.DueSince = due.Indicators, due.Levels, due.Within, &due.Since
					if len(due.Indicators) == 0 {
						d.DueIndicators = stream.Indicators
					}
				}
			}
			out = append(out, d)
		}
	}
	return out
}
