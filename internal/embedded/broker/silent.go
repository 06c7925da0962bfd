package broker

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// silentInterval is how often groups are looked through for members that died while they were being answered.
const silentInterval = 500 * time.Millisecond

// silence knows when each member of a group was last heard of. kfake starts a member's session when an answer has reached it:
// one whose connection is gone by then stays for ever, and what is assigned to it nobody reads.
type silence struct {
	mu     sync.Mutex
	groups map[string]*heard
}

type heard struct {
	session time.Duration // the longest that a member asked for
	last    map[string]time.Time
}

// joins notes a group and how long its members may be silent.
func (b *Broker) joins(kreq kmsg.Request) (kmsg.Response, error, bool) {
	b.cluster.KeepControl()
	req := kreq.(*kmsg.JoinGroupRequest)
	b.silence.mu.Lock()
	defer b.silence.mu.Unlock()
	g, ok := b.silence.groups[req.Group]
	if !ok {
		g = &heard{last: map[string]time.Time{}}
		b.silence.groups[req.Group] = g
	}
	g.session = max(g.session, time.Duration(req.SessionTimeoutMillis)*time.Millisecond)
	return nil, nil, false
}

// beats notes that a member lives.
func (b *Broker) beats(kreq kmsg.Request) (kmsg.Response, error, bool) {
	b.cluster.KeepControl()
	var group, member string
	switch req := kreq.(type) {
	case *kmsg.HeartbeatRequest:
		group, member = req.Group, req.MemberID
	case *kmsg.SyncGroupRequest:
		group, member = req.Group, req.MemberID
	}
	b.silence.mu.Lock()
	defer b.silence.mu.Unlock()
	if g, ok := b.silence.groups[group]; ok {
		g.last[member] = time.Now()
	}
	return nil, nil, false
}

// silent returns the members of stable groups that were not heard of for longer than their session, which kfake would have ended.
func (b *Broker) silent(now time.Time) map[string][]string {
	b.silence.mu.Lock()
	names := slices.Collect(maps.Keys(b.silence.groups))
	b.silence.mu.Unlock()
	out := map[string][]string{}
	for _, name := range names {
		info := b.cluster.GroupInfo(name) // asks the loop that joins and beats run in: never under the lock
		if info == nil {
			continue
		}
		out[name] = b.silentOf(info, now)
	}
	return out
}

func (b *Broker) silentOf(info *kfake.GroupInfo, now time.Time) []string {
	b.silence.mu.Lock()
	defer b.silence.mu.Unlock()
	g := b.silence.groups[info.Group]
	var out []string
	there := map[string]time.Time{}
	for _, m := range info.Members {
		last, known := g.last[m.MemberID]
		if !known || info.State != "Stable" { // who waits for others to join has nothing to say
			last = now
		}
		if there[m.MemberID] = last; now.Sub(last) > g.session+silentInterval {
			out = append(out, m.MemberID)
		}
	}
	g.last = there
	return out
}

// dismissEvery throws silent members out, as the end of their session would.
func (b *Broker) dismissEvery(ctx context.Context, interval time.Duration) error {
	transport, err := Transport(b.cfg.User, b.cfg.Password)
	if err != nil {
		return err
	}
	client := &kafka.Client{Addr: b.cfg.Listener.Addr(), Transport: transport, Timeout: 10 * time.Second}
	b.watching.Go(func() {
		defer transport.CloseIdleConnections()
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			for group, members := range b.silent(time.Now()) {
				for _, member := range members {
					answer, err := client.LeaveGroup(ctx, &kafka.LeaveGroupRequest{GroupID: group, Members: []kafka.LeaveGroupRequestMember{{ID: member}}})
					if err == nil {
						err = answer.Error
					}
					if err == nil && len(answer.Members) == 1 {
						err = answer.Members[0].Error
					}
					if err != nil {
						if ctx.Err() == nil { // the next look tries again
							b.log.Warn("embedded broker could not dismiss a silent member", "group", group, "member", member, "error", err)
						}
						continue
					}
					b.log.Info("embedded broker dismissed a member that was silent for longer than its session", "group", group, "member", member)
				}
			}
		}
	})
	return nil
}
