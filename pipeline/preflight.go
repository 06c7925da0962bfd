package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/internal/clock"
	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/pipeline/topic"
)

// OnlineFinding is one thing that a look at a project's systems has found.
type OnlineFinding struct {
	Where string // "broker", "warehouse", or a source's name
	connectors.Finding
}

// preflightTime bounds how long one system is asked.
const preflightTime = 30 * time.Second

// LookOnline asks the broker, the warehouse and the sources whether they are as the project needs them, and changes nothing: embedded
// servers are not started, topics and tables are not made, cursors stay. What cannot be reached is a finding, too; the only errors
// are of a name that no source has, and of a context that ended.
func LookOnline(ctx context.Context, p *project.Project, names []string, opts Options) ([]OnlineFinding, error) {
	opts.defaults()
	sources := p.Sources()
	if len(names) > 0 {
		sources = nil
		for _, name := range names {
			s, err := p.Source(name)
			if err != nil {
				return nil, err
			}
			sources = append(sources, s)
		}
	}
	var out []OnlineFinding
	look := func(where string, ask func(ctx context.Context) ([]connectors.Finding, error)) {
		bounded, stop := context.WithTimeout(ctx, preflightTime)
		defer stop()
		found, err := ask(bounded)
		if err != nil {
			if bounded.Err() != nil {
				err = fmt.Errorf("no answer within %v: %w", preflightTime, err)
			}
			found = append(found, connectors.Finding{What: "reach", Level: connectors.LevelFault, Text: err.Error()})
		}
		for _, f := range found {
			out = append(out, OnlineFinding{where, f})
		}
	}
	if len(names) == 0 {
		look("broker", func(ctx context.Context) ([]connectors.Finding, error) { return lookAtBroker(ctx, p, opts) })
		look("warehouse", func(ctx context.Context) ([]connectors.Finding, error) { return lookAtWarehouse(ctx, p, opts) })
	}
	for _, s := range sources {
		look(s.Name, func(ctx context.Context) ([]connectors.Finding, error) { return lookAtSource(ctx, p, s.Name, opts) })
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
	}
	return out, ctx.Err()
}

func good(what, format string, args ...any) connectors.Finding {
	return connectors.Finding{What: what, Level: connectors.LevelOK, Text: fmt.Sprintf(format, args...)}
}

func lookAtBroker(ctx context.Context, p *project.Project, opts Options) (found []connectors.Finding, err error) {
	settings, err := p.Broker()
	if err != nil {
		return nil, err
	}
	if settings.Embedded {
		return []connectors.Finding{good("reach", "embedded: it is started when it is needed")}, nil
	}
	cfg := brokerConfig(settings, opts)
	client, err := topic.Open(cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	seen := map[string]bool{}
	for _, s := range p.Sources() {
		if seen[s.Topic] {
			continue
		}
		seen[s.Topic] = true
		partitions, err := client.Partitions(ctx, s.Topic)
		switch {
		case errors.Is(err, topic.ErrUnknown):
			found = append(found, connectors.Finding{What: "topic", Level: connectors.LevelNote, Text: s.Topic + " is not there yet", Fix: "the first run makes it, if the user may"})
		case err != nil:
			return found, err
		default:
			found = append(found, good("topic", "%s has %d partitions", s.Topic, partitions))
		}
	}
	return append([]connectors.Finding{good("reach", "it answers and takes the login")}, found...), nil
}

func lookAtWarehouse(ctx context.Context, p *project.Project, opts Options) (found []connectors.Finding, err error) {
	settings, err := p.Warehouse()
	if err != nil {
		return nil, err
	}
	if settings.Embedded {
		return []connectors.Finding{good("reach", "embedded: it is started when it is needed")}, nil
	}
	w, err := OpenWarehouse(ctx, p, opts)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	found = append(found, good("reach", "it answers and takes the login"))
	ready, err := w.Ready(ctx)
	if err != nil {
		return found, err
	}
	if !ready {
		return append(found, connectors.Finding{What: "tables", Level: connectors.LevelNote, Text: "they are not there yet", Fix: "the first run makes them, if the user may: headwater warehouse grants"}), nil
	}
	return append(found, good("tables", "they are there")), nil
}

func lookAtSource(ctx context.Context, p *project.Project, name string, opts Options) (found []connectors.Finding, err error) {
	source, err := p.OpenSource(ctx, name, connectors.Environment{Dir: p.Dir, Allocator: memory.DefaultAllocator, Logger: opts.Logger, Now: clock.Now})
	if err != nil {
		return nil, err
	}
	defer func(c io.Closer) { err = errors.Join(err, c.Close()) }(source)
	if f, ok := source.(connectors.Preflighter); ok {
		return f.Preflight(ctx)
	}
	streams, err := source.Streams(ctx)
	if err != nil {
		return nil, err
	}
	for _, stream := range streams {
		f := firstBatch(ctx, source, stream)
		f.Stream = stream.Name
		found = append(found, f)
	}
	return found, nil
}

// firstBatch reads the beginning of a stream, as a source that cannot say more of itself is looked at.
func firstBatch(ctx context.Context, source connectors.Source, stream connectors.Stream) connectors.Finding {
	failed := func(err error) connectors.Finding {
		return connectors.Finding{What: "read", Level: connectors.LevelFault, Text: err.Error()}
	}
	shards := []connectors.Stream{stream}
	if s, ok := source.(connectors.Sharder); ok {
		var err error
		if shards, err = s.Shards(ctx, stream.Name); err != nil {
			return failed(err)
		}
	}
	if len(shards) == 0 {
		return connectors.Finding{What: "read", Level: connectors.LevelNote, Text: "there is nothing to read now"}
	}
	for batch, err := range connectors.Peek(ctx, source, shards[0], nil) {
		if err != nil {
			return failed(err)
		}
		return good("read", "%d to read; %s begins with %d columns", len(shards), batch.Place, batch.Record.NumCols())
	}
	return connectors.Finding{What: "read", Level: connectors.LevelNote, Text: shards[0].String() + " is empty"}
}
