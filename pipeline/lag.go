package pipeline

import (
	"context"
	"errors"
	"fmt"

	"github.com/headwater-data/headwater/internal/embedded"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/pipeline/topic"
)

// ErrBrokerStopped says that the project's embedded broker does not run, so that nothing can be asked of it.
var ErrBrokerStopped = errors.New("the embedded broker does not run")

// Lag returns how many messages of each of the project's topics wait to be loaded. It starts nothing: without its embedded
// broker the error is ErrBrokerStopped. Topics that nothing was ever written to are left out.
func Lag(ctx context.Context, p *project.Project, opts Options) (lag map[string]int64, err error) {
	opts.defaults()
	settings, err := p.Broker()
	if err != nil {
		return nil, err
	}
	cfg := topic.Config{
		Addresses: settings.Addresses, User: settings.User, Password: settings.Password, Mechanism: settings.Mechanism, TLS: settings.TLS,
		ClientID: "headwater", Logger: opts.Logger,
	}
	if settings.Embedded {
		e, running, err := embedded.Running(p.State, embedded.Broker)
		if err != nil {
			return nil, err
		}
		if !running {
			return nil, ErrBrokerStopped
		}
		cfg.Addresses, cfg.User, cfg.Password, cfg.Mechanism = []string{e.Addr}, e.User, e.Password, "scram-sha-256"
	}
	client, err := topic.Open(cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	if err := client.Ping(ctx); err != nil {
		if settings.Embedded && fault.IsTransient(err) {
			return nil, ErrBrokerStopped // just now
		}
		return nil, err
	}
	lag = map[string]int64{}
	for _, source := range p.Sources() {
		if _, seen := lag[source.Topic]; seen {
			continue
		}
		n, err := topicLag(ctx, client, loadGroup(p), source.Topic)
		if errors.Is(err, topic.ErrUnknown) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("ask how many messages wait in %s: %w", source.Topic, err)
		}
		lag[source.Topic] = n
	}
	return lag, nil
}

func topicLag(ctx context.Context, client *topic.Client, group, name string) (int64, error) {
	partitions, err := client.Partitions(ctx, name)
	if err != nil {
		return 0, err
	}
	waiting := int64(0)
	for p := range partitions {
		first, next, err := client.Bounds(ctx, name, p)
		if err != nil {
			return 0, err
		}
		// An offset that is committed with an intent is that of the flush's first message: it is not loaded yet.
		committed, _, ok, err := client.Committed(ctx, group, name, p)
		if err != nil {
			return 0, err
		}
		if !ok || committed < first {
			committed = first
		}
		waiting += max(0, next-committed)
	}
	return waiting, nil
}
