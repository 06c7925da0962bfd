package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// The names that the program gives.
const (
	topicAlpha  = "headwater.raw.alpha"
	topicBeta   = "headwater.raw.beta"
	loadGroup   = "headwater.faults.load"
	ingestGroup = "headwater.faults.ingest"
)

// admin runs fn with a client of the broker that knows nothing of the program, past the proxy.
func (w *world) admin(ctx context.Context, fn func(ctx context.Context, client *kgo.Client) error) error {
	options := []kgo.Opt{
		kgo.SeedBrokers(w.broker.addresses()...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DisableIdempotentWrite(),
		kgo.ProducerBatchMaxBytes(16 << 20), kgo.RetryTimeout(20 * time.Second),
	}
	if s, ok := w.broker.(*server); ok {
		options = append(options, kgo.SASL(scram.Auth{User: s.end.User, Pass: s.end.Password.Reveal()}.AsSha256Mechanism()))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	return fn(ctx, client)
}

// insist asks again while an election is under way.
func insist(ctx context.Context, ask func() error) error {
	for {
		err := ask()
		if err == nil || !kerr.IsRetriable(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(100 * time.Millisecond): // a broker tells nobody that it is ready
		}
	}
}

// bounds are a partition's first offset and the one after its last.
func bounds(ctx context.Context, client *kgo.Client, topic string, partition int32) (first, next int64, err error) {
	err = insist(ctx, func() error {
		first, next, err = askBounds(ctx, client, topic, partition)
		return err
	})
	return first, next, err
}

func askBounds(ctx context.Context, client *kgo.Client, topic string, partition int32) (first, next int64, err error) {
	for _, of := range []struct {
		at   int64
		into *int64
	}{{-2, &first}, {-1, &next}} {
		req := kmsg.NewPtrListOffsetsRequest()
		req.ReplicaID = -1
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic = topic
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp = partition, of.at
		t.Partitions = append(t.Partitions, p)
		req.Topics = append(req.Topics, t)
		for _, shard := range client.RequestSharded(ctx, req) {
			if shard.Err != nil {
				return 0, 0, fmt.Errorf("bounds of %s/%d: %w", topic, partition, shard.Err)
			}
			for _, t := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
				for _, p := range t.Partitions {
					if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
						return 0, 0, fmt.Errorf("bounds of %s/%d: %w", topic, partition, err)
					}
					*of.into = p.Offset
				}
			}
		}
	}
	return first, next, nil
}

// eat deletes what a partition holds up to an offset, as retention does.
func eat(ctx context.Context, client *kgo.Client, topic string, partition int32, before int64) error {
	return insist(ctx, func() error { return askToEat(ctx, client, topic, partition, before) })
}

func askToEat(ctx context.Context, client *kgo.Client, topic string, partition int32, before int64) error {
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = 10_000
	t := kmsg.NewDeleteRecordsRequestTopic()
	t.Topic = topic
	p := kmsg.NewDeleteRecordsRequestTopicPartition()
	p.Partition, p.Offset = partition, before
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	for _, shard := range client.RequestSharded(ctx, req) {
		if shard.Err != nil {
			return fmt.Errorf("delete records of %s/%d: %w", topic, partition, shard.Err)
		}
		for _, t := range shard.Resp.(*kmsg.DeleteRecordsResponse).Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return fmt.Errorf("delete records of %s/%d: %w", topic, partition, err)
				}
			}
		}
	}
	return nil
}

// forget deletes a group with its offsets, as their retention does. The members of killed processes are waited for.
func forget(ctx context.Context, client *kgo.Client, group string) error {
	for {
		req := kmsg.NewPtrDeleteGroupsRequest()
		req.Groups = []string{group}
		resp, err := req.RequestWith(ctx, client)
		if err == nil && len(resp.Groups) == 1 {
			if err = kerr.ErrorForCode(resp.Groups[0].ErrorCode); err == nil {
				return nil
			}
		}
		if err != nil && !errors.Is(err, kerr.NonEmptyGroup) && !kerr.IsRetriable(err) {
			return fmt.Errorf("delete group %s: %w", group, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("delete group %s: %w", group, ctx.Err())
		case <-time.After(100 * time.Millisecond): // members leave by themselves: there is no event to wait for
		}
	}
}

func drop(ctx context.Context, client *kgo.Client, topic string) error {
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TimeoutMillis = 10_000
	req.TopicNames = []string{topic}
	t := kmsg.NewDeleteTopicsRequestTopic()
	t.Topic = &topic
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return fmt.Errorf("delete topic %s: %w", topic, err)
	}
	for _, t := range resp.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil && !errors.Is(err, kerr.RequestTimedOut) { // then it is deleted a little later
			return fmt.Errorf("delete topic %s: %w", topic, err)
		}
	}
	return nil
}

func partitions(ctx context.Context, client *kgo.Client, topic string) (n int32, err error) {
	err = insist(ctx, func() error {
		n, err = askPartitions(ctx, client, topic)
		return err
	})
	return n, err
}

func askPartitions(ctx context.Context, client *kgo.Client, topic string) (int32, error) {
	req := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = &topic
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return 0, err
	}
	if len(resp.Topics) != 1 {
		return 0, fmt.Errorf("partitions of %s: no answer", topic)
	}
	if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); err != nil {
		return 0, fmt.Errorf("partitions of %s: %w", topic, err)
	}
	return int32(len(resp.Topics[0].Partitions)), nil
}

func grow(ctx context.Context, client *kgo.Client, topic string, to int32) error {
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.TimeoutMillis = 10_000
	t := kmsg.NewCreatePartitionsRequestTopic()
	t.Topic, t.Count = topic, to
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return fmt.Errorf("add partitions to %s: %w", topic, err)
	}
	for _, t := range resp.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			return fmt.Errorf("add partitions to %s: %w", topic, err)
		}
	}
	return nil
}

// lastOf returns the last record of a partition, nil if there is none.
func lastOf(ctx context.Context, client *kgo.Client, topic string, partition int32) (*kgo.Record, error) {
	first, next, err := bounds(ctx, client, topic, partition)
	if err != nil || next <= first {
		return nil, err
	}
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(next - 1)}})
	defer client.RemoveConsumePartitions(map[string][]int32{topic: {partition}})
	fetches := client.PollRecords(ctx, 1)
	if err := fetches.Err(); err != nil {
		return nil, err
	}
	if records := fetches.Records(); len(records) > 0 {
		return records[0], nil
	}
	return nil, nil
}
