package broker

import (
	"context"
	"path/filepath"
	"strconv"
	"time"
)

// The retention of a topic that says nothing, as in Kafka: seven days, any size.
const (
	defaultRetention      = 7 * 24 * time.Hour
	defaultRetentionBytes = -1
)

func (b *Broker) cleanEvery(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		if err := b.clean(ctx, time.Now()); err != nil {
			// What was not deleted today is deleted tomorrow.
			b.log.Warn("embedded broker could not apply retention", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// clean applies every topic's retention.ms and retention.bytes as of now: it deletes whole segments, oldest first, as
// Kafka does, and never a partition's last one, from which its next offset follows after a restart.
func (b *Broker) clean(ctx context.Context, now time.Time) error {
	topics, err := readTopics(b.cfg.Dir)
	if err != nil {
		return err
	}
	for _, t := range topics {
		if policy := t.Configs["cleanup.policy"]; policy == "compact" {
			continue
		}
		maxAge := time.Duration(-1)
		// Beyond a hundred years it is no limit, and no time.Duration either.
		if ms := t.setting("retention.ms", defaultRetention.Milliseconds()); ms >= 0 && ms < 100*365*24*time.Hour.Milliseconds() {
			maxAge = time.Duration(ms) * time.Millisecond
		}
		maxBytes := t.setting("retention.bytes", defaultRetentionBytes)
		for p := range t.Partitions {
			if ctx.Err() != nil {
				return nil
			}
			segments, err := segmentsOf(filepath.Join(partitionsDir(b.cfg.Dir), t.folder(p)))
			if err != nil {
				return err
			}
			start, expired := startAfterRetention(segments, now, maxAge, maxBytes)
			info := b.cluster.PartitionInfo(t.Name, p)
			if !expired || info == nil { // deleted meanwhile
				continue
			}
			// A segment that was just begun may have no record yet.
			start = min(start, info.HighWatermark-1)
			if start <= info.LogStartOffset {
				continue
			}
			if err := b.cluster.DeleteRecords(t.Name, p, start); err != nil {
				return err
			}
			b.log.Info("embedded broker applied retention", "topic", t.Name, "partition", p, "offset", start)
		}
	}
	return nil
}

// setting reads a whole number from the topic's configuration.
func (t topicState) setting(name string, otherwise int64) int64 {
	if n, err := strconv.ParseInt(t.Configs[name], 10, 64); err == nil {
		return n
	}
	return otherwise
}

// startAfterRetention returns the offset at which a partition begins once its expired segments are gone; expired says
// whether there are any. A segment is as old as its last write: what a source says about the time of a record may be years
// off. A negative maxAge or maxBytes means no limit.
func startAfterRetention(segments []segment, now time.Time, maxAge time.Duration, maxBytes int64) (start int64, expired bool) {
	if len(segments) == 0 {
		return 0, false
	}
	var total int64
	for _, s := range segments {
		total += s.info.Size()
	}
	first := 0
	for first < len(segments)-1 {
		s := segments[first]
		tooOld := maxAge >= 0 && now.Sub(s.info.ModTime()) >= maxAge
		// Kafka keeps at least retention.bytes.
		tooMuch := maxBytes >= 0 && total-s.info.Size() >= maxBytes
		if !tooOld && !tooMuch {
			break
		}
		total -= s.info.Size()
		first++
	}
	return segments[first].base, first > 0
}
