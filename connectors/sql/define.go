package sql

import (
	"fmt"
	"maps"
	"slices"

	"github.com/headwater-data/headwater/connectors"
)

// checked is a connector's own options.
type checked[C any] interface {
	*C
	check() []connectors.OptionFault
}

// about is what a connector says of itself. One that follows can read changes from the server's log; slots says that the server keeps
// a note of its own of how far.
type about struct {
	name, title    string
	tested         []string
	follows, slots bool
}

// define describes a connector by its options and by what makes a dialect of them.
func define[C any, P checked[C]](a about, open func(connectors.Environment, P) (dialect, Limits, error)) connectors.Definition {
	modes := []string{"whole", "by watermark", "shards"}
	if a.follows {
		modes = []string{"whole", "by watermark", "by changes", "shards"}
	}
	return connectors.Definition{
		Name:   a.name,
		Title:  a.title,
		Modes:  modes,
		Tested: a.tested, TestedOn: testedOn[a.name], Types: keptTypes[a.name], Page: "sql.md",
		Config: func() any { return P(new(C)) },
		Stream: func() any { return &Options{} },
		Check: func(config any, streams map[string]any) []connectors.OptionFault {
			c, ok := config.(P)
			if !ok {
				return []connectors.OptionFault{{Message: fmt.Sprintf("options are %T, not %T", config, c)}}
			}
			faults := c.check()
			for _, stream := range slices.Sorted(maps.Keys(streams)) {
				o, ok := streams[stream].(*Options)
				if !ok {
					faults = append(faults, connectors.OptionFault{Stream: stream, Message: fmt.Sprintf("options are %T, not *sql.Options", streams[stream])})
					continue
				}
				faults = append(faults, o.check(stream)...)
				if a.follows {
					faults = append(faults, o.Changes.checkSlot(stream, a)...)
				}
				if o.Changes != nil && !a.follows {
					faults = append(faults, connectors.OptionFault{Stream: stream, Path: []string{"changes"}, Message: "changes are followed in PostgreSQL and MariaDB only", Fix: "use a watermark, or read the whole table"})
				}
			}
			return faults
		},
		Open: func(env connectors.Environment, config any, streams map[string]any) (connectors.Source, error) {
			c, ok := config.(P)
			if !ok {
				return nil, fmt.Errorf("options are %T, not %T", config, c)
			}
			d, limits, err := open(env, c)
			if err != nil {
				return nil, err
			}
			return newSource(env, d, limits, streams)
		},
	}
}
