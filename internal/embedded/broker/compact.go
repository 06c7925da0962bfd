package broker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A compaction builds a partition's new folder beside the old one and then swaps the two, so that a kill at any moment
// leaves one of them whole. The suffixes cannot be part of a partition's folder, whose name ends in a number.
const (
	compactedSuffix = ".compacted" // the new folder
	replacedSuffix  = ".replaced"  // the old folder, once the new one is whole and on the disk
)

// compactionThreshold is the size, in bytes, below which compacting a partition is not worth a start's time.
const compactionThreshold = 1 << 20

// compactAll compacts the partitions of compacted topics that are worth it.
func compactAll(partitions string, topics []topicState, log *slog.Logger) error {
	for _, t := range topics {
		if !t.isCompacted() {
			continue
		}
		for p := range t.Partitions {
			dir := filepath.Join(partitions, t.folder(p))
			before, after, err := compactPartition(dir, compactionThreshold)
			if err != nil {
				return fmt.Errorf("compact topic %q partition %d: %w", t.Name, p, err)
			}
			if after < before {
				log.Info("embedded broker compacted a partition", "topic", t.Name, "partition", p, "before_bytes", before, "after_bytes", after)
			}
		}
	}
	return nil
}

// compactPartition drops the batches of which every record has been superseded by a later one with the same key, and
// returns the sizes before and after. It leaves a partition alone that is smaller than threshold or would shrink by less
// than half. The last batch always stays: the partition's next offset follows from it.
func compactPartition(dir string, threshold int64) (before, after int64, err error) {
	segments, err := segmentsOf(dir)
	if err != nil {
		return 0, 0, err
	}
	for _, s := range segments {
		before += s.info.Size()
	}
	if before < threshold {
		return before, before, nil
	}
	newest := make(map[string]int64) // key -> offset of its newest record
	if err := eachBatch(segments, func(_ []byte, b *kmsg.RecordBatch) error {
		records, err := kfake.BatchRecords(*b)
		if err != nil {
			return err
		}
		for _, r := range records {
			newest[string(r.Key)] = b.FirstOffset + int64(r.OffsetDelta)
		}
		return nil
	}); err != nil {
		return before, before, err
	}

	var kept bytes.Buffer
	var first int64
	var last []byte // the last batch, if it was not kept
	var lastOffset int64
	if err := eachBatch(segments, func(raw []byte, b *kmsg.RecordBatch) error {
		records, err := kfake.BatchRecords(*b)
		if err != nil {
			return err
		}
		last, lastOffset = raw, b.FirstOffset
		for _, r := range records {
			// Kafka refuses records without key on a compacted topic; kfake takes them, and they cannot be superseded.
			if r.Key == nil || newest[string(r.Key)] == b.FirstOffset+int64(r.OffsetDelta) {
				if kept.Len() == 0 {
					first = b.FirstOffset
				}
				kept.Write(raw)
				last = nil
				break
			}
		}
		return nil
	}); err != nil {
		return before, before, err
	}
	if last != nil {
		if kept.Len() == 0 {
			first = lastOffset
		}
		kept.Write(last)
	}
	if int64(kept.Len()) > before/2 {
		return before, before, nil
	}
	return before, int64(kept.Len()), swapIn(dir, first, kept.Bytes())
}

// swapIn replaces a partition's folder by one with a single segment.
func swapIn(dir string, base int64, content []byte) error {
	fresh := dir + compactedSuffix
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	if err := os.Mkdir(fresh, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(fresh, strconv.FormatInt(base, 10)+".dat"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(dir, dir+replacedSuffix); err != nil {
		return err
	}
	if err := os.Rename(fresh, dir); err != nil {
		return err
	}
	return os.RemoveAll(dir + replacedSuffix)
}

// finishCompactions ends the compactions that a kill interrupted, forwards or backwards.
func finishCompactions(partitions string) error {
	return eachPartition(partitions, func(dir string) error {
		if old, ok := strings.CutSuffix(dir, replacedSuffix); ok {
			// The new folder was whole when the old one got this name.
			if err := ignoreNotExist(os.Rename(old+compactedSuffix, old)); err != nil {
				return err
			}
			return os.RemoveAll(dir)
		}
		if old, ok := strings.CutSuffix(dir, compactedSuffix); ok {
			if _, err := os.Stat(old); err == nil {
				return os.RemoveAll(dir)
			}
		}
		return nil
	})
}

// eachBatch calls do with every whole batch of the segments, as bytes and read. A torn batch ends its segment: kfake cuts
// it off when it loads.
func eachBatch(segments []segment, do func(raw []byte, b *kmsg.RecordBatch) error) error {
	for _, s := range segments {
		raw, err := os.ReadFile(s.path)
		if err != nil {
			return err
		}
		for len(raw) > 0 {
			size := batchBytes(raw)
			if size == 0 {
				break
			}
			var b kmsg.RecordBatch
			if err := b.ReadFrom(raw[:size]); err != nil {
				return fmt.Errorf("read a batch of %s: %w", filepath.Base(s.path), err)
			}
			if err := do(raw[:size], &b); err != nil {
				return fmt.Errorf("batch at offset %d: %w", b.FirstOffset, err)
			}
			raw = raw[size:]
		}
	}
	return nil
}

// batchBytes is the size of the record batch that raw begins with, or 0 when it is not whole.
func batchBytes(raw []byte) int {
	if len(raw) < batchHeadBytes {
		return 0
	}
	size := int64(binary.BigEndian.Uint32(raw[8:])) + 12
	if size < batchHeadBytes || size > int64(len(raw)) {
		return 0
	}
	return int(size)
}
