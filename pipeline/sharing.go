package pipeline

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/headwater-data/headwater/internal/embedded"
	"github.com/headwater-data/headwater/internal/fault"
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
				if x.Deadline != nil && x.Deadline.Workdays > 0 {
					n := int64(x.Deadline.Workdays)
					d.Workdays = &n
				} else if x.Deadline != nil {
					seconds := int64(x.Deadline.After.Seconds())
					d.Deadline = &seconds
				}
				if due := x.Due; due != nil && x.Deadline != nil && !due.Since.IsZero() {
					d.DueIndicators, d.DueLevels, d.DueWithin, d.DueSince = due.Indicators, due.Levels, due.Within, &due.Since
					if !due.Until.IsZero() {
						d.DueUntil = &due.Until
					}
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

// Untouched reports whether nothing can ever have been loaded: the project's warehouse is an embedded one that was not started yet.
func Untouched(p *project.Project) (bool, error) {
	settings, err := p.Warehouse()
	if err != nil || !settings.Embedded {
		return false, err
	}
	_, err = os.Stat(filepath.Join(p.State, string(embedded.Warehouse)))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fault.Environment(fmt.Errorf("look for the embedded warehouse: %w", err))
	}
	return false, nil
}
