package pipeline

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/headwater-data/headwater/internal/embedded"
)

// keeper keeps an embedded server up for as long as it is needed: when the server dies under it, it is started again on the
// same data and, if it can be, on the same address, where the clients' retries find it.
type keeper struct {
	endpoint embedded.Endpoint
	stop     context.CancelFunc
	done     chan struct{}

	mu    sync.Mutex
	lease *embedded.Lease
}

func keep(ctx context.Context, stateDir string, kind embedded.Kind, opts embedded.Options) (*keeper, error) {
	lease, err := embedded.Acquire(ctx, stateDir, kind, opts)
	if err != nil {
		return nil, err
	}
	life, stop := context.WithCancel(context.Background())
	k := &keeper{endpoint: lease.Endpoint(), stop: stop, done: make(chan struct{}), lease: lease}
	opts.Progress = nil
	go k.watch(life, stateDir, kind, opts)
	return k, nil
}

func (k *keeper) watch(ctx context.Context, stateDir string, kind embedded.Kind, opts embedded.Options) {
	defer close(k.done)
	log := opts.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.lease.Lost():
		}
		log.Warn("an embedded server died; starting it again", "server", string(kind), "error", k.lease.Err())
		if err := k.lease.Close(); err != nil {
			log.Debug("closing a lost lease", "error", err)
		}
		for wait := 200 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
			lease, err := embedded.Acquire(ctx, stateDir, kind, opts)
			if err == nil {
				k.mu.Lock()
				k.lease = lease
				k.mu.Unlock()
				if now := lease.Endpoint().Addr; now != k.endpoint.Addr {
					log.Error("the embedded server came back on another address; end this process and run again", "server", string(kind), "was", k.endpoint.Addr, "is", now)
				}
				break
			}
			if ctx.Err() != nil {
				return
			}
			log.Warn("the embedded server does not start", "server", string(kind), "wait", wait.String(), "error", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
		}
	}
}

// Close lets the server go; it ends when nobody else uses it.
func (k *keeper) Close() error {
	k.stop()
	<-k.done
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lease.Close()
}
