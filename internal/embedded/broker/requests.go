package broker

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// checkCommit refuses commit metadata that Kafka would refuse and that kfake takes: too long, or not UTF-8, which kfake
// would change when it writes it down.
func (b *Broker) checkCommit(kreq kmsg.Request) (kmsg.Response, error, bool) {
	b.cluster.KeepControl()
	req := kreq.(*kmsg.OffsetCommitRequest)
	var code int16
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			switch {
			case p.Metadata == nil:
			case len(*p.Metadata) > maxCommitMetadataBytes:
				code = kerr.OffsetMetadataTooLarge.Code
			case !utf8.ValidString(*p.Metadata):
				code = kerr.InvalidRequest.Code
			}
		}
	}
	if code == 0 {
		return nil, nil, false
	}
	resp := req.ResponseKind().(*kmsg.OffsetCommitResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewOffsetCommitResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetCommitResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, code
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp, nil, true
}

// fetchOfNewGroup answers for a group that has never committed or been joined as Kafka does, with no offsets: kfake says that
// there is no such group.
func (b *Broker) fetchOfNewGroup(kreq kmsg.Request) (kmsg.Response, error, bool) {
	b.cluster.KeepControl()
	req := kreq.(*kmsg.OffsetFetchRequest)
	resp := req.ResponseKind().(*kmsg.OffsetFetchResponse)
	if req.Version <= 7 { // one group a request
		if b.cluster.GroupInfo(req.Group) != nil {
			return nil, nil, false
		}
		for _, t := range req.Topics {
			rt := kmsg.NewOffsetFetchResponseTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rp := kmsg.NewOffsetFetchResponseTopicPartition()
				rp.Partition, rp.Offset = p, -1
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	}
	for _, g := range req.Groups {
		if b.cluster.GroupInfo(g.Group) != nil {
			return nil, nil, false // kfake tells of the others as it does
		}
		rg := kmsg.NewOffsetFetchResponseGroup()
		rg.Group = g.Group
		for _, t := range g.Topics {
			rt := kmsg.NewOffsetFetchResponseGroupTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewOffsetFetchResponseGroupTopicPartition()
				rp.Partition, rp.Offset = p, -1
				rt.Partitions = append(rt.Partitions, rp)
			}
			rg.Topics = append(rg.Topics, rt)
		}
		resp.Groups = append(resp.Groups, rg)
	}
	return resp, nil, true
}

// keepLastRecord lets DeleteRecords take everything but the last record of a partition: kfake forgets the next offset of
// a partition without records when it restarts, and offsets that start again at 0 would be taken for loaded ones.
func (b *Broker) keepLastRecord(kreq kmsg.Request) (kmsg.Response, error, bool) {
	b.cluster.KeepControl()
	req := kreq.(*kmsg.DeleteRecordsRequest)
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			info := b.cluster.PartitionInfo(t.Topic, p.Partition)
			if info != nil && info.HighWatermark > info.LogStartOffset && (p.Offset == -1 || p.Offset == info.HighWatermark) {
				p.Offset = info.HighWatermark - 1
			}
		}
	}
	return nil, nil, false
}

// logAdapter hands kfake's log to ours. kfake answers as if all were well when it could not write a commit or a topic
// down, and says so only in its log: that is where the broker learns that it must stop answering.
type logAdapter struct{ b *Broker }

func (l logAdapter) Logf(level kfake.LogLevel, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	switch {
	case strings.HasPrefix(format, "persist batch"): // the producer is told
		l.b.log.Warn("embedded broker could not append", "reason", text)
	case strings.HasPrefix(format, "persist "), strings.HasPrefix(format, "save session state"):
		l.b.fail(errors.New(text))
	case level == kfake.LogLevelError:
		l.b.log.Error("kfake", "message", text)
	case level == kfake.LogLevelWarn:
		l.b.log.Warn("kfake", "message", text)
	default:
		l.b.log.Debug("kfake", "message", text)
	}
}
