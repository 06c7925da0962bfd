package topic

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/headwater-data/headwater/internal/fault"
)

// Group is membership in a consumer group.
type Group struct {
	client *Client
	name   string
	group  *kafka.ConsumerGroup
}

// Generation is one assignment of the group's partitions. Its identity goes into every commit, so that a member that was
// thrown out cannot move offsets any more (rule L1).
type Generation struct {
	Group       string
	ID          int32
	Member      string
	Assignments map[string][]int // topic -> partitions that are ours

	inner *kafka.Generation
}

// Join enters a consumer group for the topics. The topics must exist.
func (c *Client) Join(group string, topics []string) (*Group, error) {
	dialer := &kafka.Dialer{ClientID: c.cfg.ClientID, Timeout: 5 * time.Second, TLS: c.cfg.TLS, SASLMechanism: c.mechanism}
	g, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: group, Brokers: c.cfg.Addresses, Dialer: dialer, Topics: topics,
		HeartbeatInterval: c.cfg.SessionTimeout / 5, SessionTimeout: c.cfg.SessionTimeout, RebalanceTimeout: c.cfg.SessionTimeout,
		JoinGroupBackoff: 500 * time.Millisecond, WatchPartitionChanges: true, PartitionWatchInterval: 5 * time.Second,
		Timeout:     15 * time.Second,
		ErrorLogger: errorLogger{c.cfg.Logger.With("group", group)},
	})
	if err != nil {
		return nil, fmt.Errorf("join group %s: %w", group, err)
	}
	return &Group{client: c, name: group, group: g}, nil
}

// evictTimeout bounds the attempts to throw dead members out: after that long their sessions run out anyway, by default.
const evictTimeout = 6 * time.Second

// Evict throws the members out of the group that earlier memberships of our instance have left in it: of processes that were
// killed, or of this one when the coordinator died under it. The broker would keep their partitions for them until their session
// has run out. The caller must know that those processes have ended, and must not be a member itself. One that has not ended
// after all is harmed no more than by a session that runs out: its generation is past, and its commits are refused (L1).
//
// It asks the broker instead of remembering: a member that was killed while it joined never learned its own id. When the broker
// does not answer for a while, that is logged: joining works all the same, only later.
func (c *Client) Evict(ctx context.Context, group string) {
	if c.cfg.Instance == "" {
		return
	}
	ctx, stop := context.WithTimeout(ctx, evictTimeout)
	defer stop()
	wait := time.NewTicker(100 * time.Millisecond)
	defer wait.Stop()
	for {
		err := c.evict(ctx, group)
		if err == nil {
			return
		}
		// Most often a coordinator that is just being found.
		if !fault.IsTransient(err) || ctx.Err() != nil {
			c.cfg.Logger.Info("dead members of a group may stay until their session has run out", "group", group, "error", err)
			return
		}
		select {
		case <-ctx.Done():
		case <-wait.C:
		}
	}
}

func (c *Client) evict(ctx context.Context, group string) error {
	answer, err := c.kafka.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{group}})
	if err != nil {
		return Classify(c.needs(fmt.Errorf("list the members of group %s: %w", group, err), "Read", "group", group))
	}
	var ours []kafka.LeaveGroupRequestMember
	for _, g := range answer.Groups {
		if g.Error != nil && !errors.Is(g.Error, kafka.GroupIdNotFound) {
			return Classify(c.needs(fmt.Errorf("list the members of group %s: %w", group, g.Error), "Read", "group", group))
		}
		for _, m := range g.Members {
			if m.ClientID == c.cfg.ClientID {
				ours = append(ours, kafka.LeaveGroupRequestMember{ID: m.MemberID})
			}
		}
	}
	for _, m := range ours { // one at a time: old versions of the request take one
		answer, err := c.kafka.LeaveGroup(ctx, &kafka.LeaveGroupRequest{GroupID: group, Members: []kafka.LeaveGroupRequestMember{m}})
		if err == nil {
			err = answer.Error
		}
		if err == nil && len(answer.Members) == 1 {
			err = answer.Members[0].Error
		}
		if err != nil && !errors.Is(err, kafka.UnknownMemberId) { // its session has just run out
			return Classify(fmt.Errorf("throw a dead member out of group %s: %w", group, err))
		}
		c.cfg.Logger.Info("a dead member was thrown out of the group", "group", group, "member", m.ID)
	}
	return nil
}

type errorLogger struct{ log *slog.Logger }

func (l errorLogger) Printf(format string, args ...any) {
	l.log.Debug("consumer group", "message", strings.TrimSpace(fmt.Sprintf(format, args...)))
}

// Next waits for the next generation. Whoever was started under the one before must have ended.
func (g *Group) Next(ctx context.Context) (*Generation, error) {
	gen, err := g.group.Next(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		refused := errors.Is(err, kafka.SASLAuthenticationFailed)
		err = Classify(g.client.needs(fmt.Errorf("wait for partitions of the group: %w", err), "Read", "group", g.name))
		// A login that was taken before is no mistake in the configuration: a service waits until it is taken again.
		if fault.KindOf(err) == fault.KindEnvironment && !(refused && g.client.wasMember.Load()) {
			return nil, err
		}
		// kafka-go joins again by itself after telling: a coordinator that died or moved, a session that ran out.
		return nil, fault.Transient(err)
	}
	g.client.wasMember.Store(true)
	out := &Generation{Group: gen.GroupID, ID: gen.ID, Member: gen.MemberID, Assignments: map[string][]int{}, inner: gen}
	for topic, list := range gen.Assignments {
		for _, a := range list {
			out.Assignments[topic] = append(out.Assignments[topic], a.ID)
		}
	}
	return out, nil
}

// Start runs fn until the generation ends; its context is cancelled then. When fn returns, the generation ends: the member
// joins again.
func (g *Generation) Start(fn func(ctx context.Context)) { g.inner.Start(fn) }

// Close leaves the group, so that others need not wait for a session timeout.
func (g *Group) Close() error { return g.group.Close() }

// ErrFenced says that the generation is past: others own the partitions now.
var ErrFenced = errors.New("the group has moved on: this member's generation is past")

// Commit stores offset and metadata for the partition under the generation. ErrFenced means that it was refused; any other
// error leaves open whether it was stored (rule L8).
func (c *Client) Commit(ctx context.Context, g *Generation, topic string, partition int, offset int64, metadata string) error {
	resp, err := c.kafka.OffsetCommit(ctx, &kafka.OffsetCommitRequest{
		GroupID: g.Group, GenerationID: int(g.ID), MemberID: g.Member,
		Topics: map[string][]kafka.OffsetCommit{topic: {{Partition: partition, Offset: offset, Metadata: metadata}}},
	})
	if err == nil {
		for _, p := range resp.Topics[topic] {
			if p.Partition == partition {
				err = p.Error
			}
		}
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kafka.IllegalGeneration), errors.Is(err, kafka.UnknownMemberId), errors.Is(err, kafka.RebalanceInProgress):
		return fmt.Errorf("commit %s/%d at %d: %w (%w)", topic, partition, offset, ErrFenced, err)
	}
	return Classify(c.needs(fmt.Errorf("commit %s/%d at %d: %w", topic, partition, offset, err), "Read", "group", g.Group))
}

// Committed returns the group's offset and metadata for the partition; ok is false when there is none.
func (c *Client) Committed(ctx context.Context, group, topic string, partition int) (offset int64, metadata string, ok bool, err error) {
	resp, err := c.kafka.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: {partition}}})
	if err == nil {
		err = resp.Error
	}
	if err != nil {
		return 0, "", false, Classify(c.needs(fmt.Errorf("read the committed offset of %s/%d: %w", topic, partition, err), "Read", "group", group))
	}
	for _, p := range resp.Topics[topic] {
		if p.Partition == partition {
			if p.Error != nil {
				return 0, "", false, Classify(c.needs(fmt.Errorf("read the committed offset of %s/%d: %w", topic, partition, p.Error), "Read", "group", group))
			}
			return p.CommittedOffset, p.Metadata, p.CommittedOffset >= 0, nil
		}
	}
	return 0, "", false, nil
}
