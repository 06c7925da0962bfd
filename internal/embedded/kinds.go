package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"

	"github.com/headwater-data/headwater/internal/embedded/broker"
	"github.com/headwater-data/headwater/internal/embedded/clickhouse"
	"github.com/headwater-data/headwater/internal/secret"
)

// job is what a server of any kind gets.
type job struct {
	dir            string // for what it keeps
	listener       net.Listener
	password       secret.Value
	readerPassword secret.Value
	log            *slog.Logger
	progress       func(stage string, done, total int64)
	ready          func() // to be called when the server answers
}

// run serves until ctx ends.
func run(ctx context.Context, kind Kind, j job) error {
	switch kind {
	case Broker:
		return runBroker(ctx, j)
	case Warehouse:
		return runWarehouse(ctx, j)
	default:
		return fmt.Errorf("there is no embedded server of kind %q", kind)
	}
}

// brokerMemoryBytes is what the broker collects its garbage for. It needs a fifth of that, but reads whole segments of all
// partitions when it starts.
const brokerMemoryBytes = 256 << 20

func runBroker(ctx context.Context, j job) error {
	debug.SetMemoryLimit(brokerMemoryBytes)
	b, err := broker.Open(broker.Config{Dir: j.dir, Listener: j.listener, User: user, Password: j.password, Sync: true, Logger: j.log})
	if err != nil {
		return err
	}
	j.ready()
	select {
	case <-ctx.Done():
	case <-b.Failed():
	}
	return b.Close()
}

func runWarehouse(ctx context.Context, j job) error {
	engine, err := clickhouse.Fetch(ctx, j.progress)
	if err != nil {
		return errors.Join(err, j.listener.Close())
	}
	j.progress("open", 0, 0)
	pinging, stop := context.WithCancel(ctx)
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := ping(pinging, j.listener.Addr().String()); err == nil {
			j.ready()
		}
	})
	err = clickhouse.Serve(ctx, clickhouse.Config{
		Dir: j.dir, Engine: engine, User: user, Password: j.password, ReaderPassword: j.readerPassword, Listener: j.listener, Logger: j.log})
	stop()
	wait.Wait()
	return err
}

// ping returns nil as soon as the warehouse answers. It waits as long as the listener keeps its connection; an error means
// that the warehouse has given up, which says why itself.
func ping(ctx context.Context, addr string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/ping", nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{DisableKeepAlives: true} // and no proxy
	response, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	if err := response.Body.Close(); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("ping the embedded warehouse: %s", response.Status)
	}
	return nil
}
