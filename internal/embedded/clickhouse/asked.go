package clickhouse

import (
	"context"
	"regexp"
	"strings"
	"sync"
)

// asked are the statements that clients wait for, by the ids that they gave them. The engine has ids of its own: KILL QUERY by a
// client's id, which is how drivers cancel, is answered here.
type asked struct {
	mu   sync.Mutex
	byID map[string][]*underway
}

type underway struct {
	user string
	stop context.CancelFunc
	done chan struct{}
}

// enter gives the context that the request's statement runs in. ended must be called when it has.
func (a *asked) enter(q *request) (ctx context.Context, ended func()) {
	ctx, stop := context.WithCancel(q.web.Context())
	u := &underway{user: q.user.name, stop: stop, done: make(chan struct{})}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.byID == nil {
		a.byID = map[string][]*underway{}
	}
	a.byID[q.queryID] = append(a.byID[q.queryID], u)
	return ctx, func() {
		stop()
		a.mu.Lock()
		defer a.mu.Unlock()
		close(u.done)
		var rest []*underway
		for _, other := range a.byID[q.queryID] {
			if other != u {
				rest = append(rest, other)
			}
		}
		if a.byID[q.queryID] = rest; rest == nil {
			delete(a.byID, q.queryID)
		}
	}
}

func (a *asked) of(id string) []*underway {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]*underway(nil), a.byID[id]...)
}

var killByID = regexp.MustCompile(`(?is)^\s*KILL\s+QUERY\s+(?:ON\s+CLUSTER\s+\S+\s+)?WHERE\s+query_id\s*=\s*'([^'\\]+)'\s*(SYNC|ASYNC)?\s*;?\s*$`)

// killsQuery recognises KILL QUERY of one statement by its id.
func killsQuery(sql string) (id string, wait, ok bool) {
	m := killByID.FindStringSubmatch(sql)
	if m == nil {
		return "", false, false
	}
	return m[1], strings.EqualFold(m[2], "SYNC"), true
}

// killQuery stops statements. A reader may stop its own, as users of a server may.
func (q *request) killQuery(ctx context.Context, id string, wait bool) error {
	for _, u := range q.server.asked.of(id) {
		if q.user.readonly && u.user != q.user.name {
			return exception(codeAccessDenied, "%s: Not enough privileges to stop another user's query", q.user.name)
		}
		u.stop()
		if wait {
			select {
			case <-u.done:
			case <-ctx.Done():
				return exception(codeQueryWasCancelled, "Query was cancelled")
			}
		}
	}
	return q.to.finish("TabSeparated", progress{})
}
