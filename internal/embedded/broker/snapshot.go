package broker

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// kfake loads a partition from its snapshot, segment by segment, when the sizes in it are right. Else it holds all records
// of all partitions in memory until it has loaded them: a broker that was killed would need as much memory as it has log.
// So mend writes the snapshots that a killed broker could not.
const snapshotName = "snapshot.json"

// snapshot is what kfake writes down about a partition when it ends.
type snapshot struct {
	Version          int               `json:"version"`
	HighWatermark    int64             `json:"high_watermark"`
	LastStableOffset int64             `json:"last_stable_offset"`
	LogStartOffset   int64             `json:"log_start_offset"`
	Epoch            int32             `json:"epoch"`
	CreatedAt        time.Time         `json:"created_at"`
	Segments         []snapshotSegment `json:"segments"`
}

type snapshotSegment struct {
	BaseOffset int64 `json:"base_offset"`
	Size       int64 `json:"size"`
}

// snapshotVersion is the version of kfake's files that this package knows.
const snapshotVersion = 1

func (s snapshot) matches(segments []segment) bool {
	if s.Version != snapshotVersion || len(s.Segments) != len(segments) {
		return false
	}
	for i, have := range segments {
		if s.Segments[i].BaseOffset != have.base || s.Segments[i].Size != have.info.Size() {
			return false
		}
	}
	return true
}

// renewSnapshot cuts a torn batch off the end of a partition and writes its snapshot anew, unless it is right or kfake
// must work the partition out by itself: when it is empty or holds transactions.
func renewSnapshot(dir string, log *slog.Logger) error {
	segments, err := segmentsOf(dir)
	if err != nil || len(segments) == 0 {
		return err
	}
	var old snapshot
	raw, err := os.ReadFile(filepath.Join(dir, snapshotName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case json.Unmarshal(raw, &old) == nil && old.matches(segments):
		return nil
	}

	renewed := snapshot{Version: snapshotVersion, CreatedAt: segments[0].info.ModTime()}
	for i, s := range segments {
		scan, err := scanSegment(s.path)
		if err != nil {
			return err
		}
		if scan.transactional {
			return nil
		}
		if scan.bytes < s.info.Size() {
			if i < len(segments)-1 {
				return nil // not what a kill leaves behind; kfake says what it finds
			}
			log.Warn("embedded broker cut a batch that was never acknowledged", "file", filepath.Join(filepath.Base(dir), filepath.Base(s.path)),
				"bytes", s.info.Size()-scan.bytes)
			if err := os.Truncate(s.path, scan.bytes); err != nil {
				return err
			}
		}
		if scan.bytes == 0 { // begun, and nothing written to it
			if err := errors.Join(os.Remove(s.path), ignoreNotExist(os.Remove(strings.TrimSuffix(s.path, ".dat")+".idx"))); err != nil {
				return err
			}
			continue
		}
		if len(renewed.Segments) == 0 {
			renewed.LogStartOffset = scan.first
		}
		renewed.HighWatermark, renewed.LastStableOffset, renewed.Epoch = scan.next, scan.next, scan.epoch
		renewed.Segments = append(renewed.Segments, snapshotSegment{BaseOffset: s.base, Size: scan.bytes})
	}
	if len(renewed.Segments) == 0 {
		return nil
	}
	// A start that was moved into the middle of a segment is only written down here.
	renewed.LogStartOffset = max(renewed.LogStartOffset, min(old.LogStartOffset, renewed.HighWatermark-1))
	raw, err = json.Marshal(renewed)
	if err != nil {
		return err
	}
	// kfake removes what has the suffix .tmp.
	temporary := filepath.Join(dir, snapshotName+".tmp")
	if err := os.WriteFile(temporary, raw, 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, filepath.Join(dir, snapshotName))
}

// segmentScan is what the heads of a segment's batches say.
type segmentScan struct {
	first, next   int64 // offsets of the first record and after the last one
	epoch         int32 // leader epoch of the last batch
	bytes         int64 // size of the whole batches
	transactional bool  // some batch is part of a transaction
}

// batchHeadBytes is the size of a record batch without its records.
const batchHeadBytes = 61

func scanSegment(path string) (segmentScan, error) {
	f, err := os.Open(path)
	if err != nil {
		return segmentScan{}, err
	}
	defer func() { _ = f.Close() }() // only read from
	info, err := f.Stat()
	if err != nil {
		return segmentScan{}, err
	}
	scan, err := scanBatches(f, info.Size())
	if err != nil {
		return segmentScan{}, fmt.Errorf("read %s: %w", path, err)
	}
	return scan, nil
}

// scanBatches reads the heads of the batches in the first size bytes of r, up to one that is not whole.
func scanBatches(r io.ReadSeeker, size int64) (segmentScan, error) {
	var scan segmentScan
	buffered := bufio.NewReaderSize(r, 64<<10)
	head := make([]byte, batchHeadBytes)
	for size-scan.bytes >= batchHeadBytes {
		if _, err := io.ReadFull(buffered, head); err != nil {
			return scan, err
		}
		batch := int64(binary.BigEndian.Uint32(head[8:])) + 12
		if batch < batchHeadBytes || batch > size-scan.bytes {
			break
		}
		offset := int64(binary.BigEndian.Uint64(head))
		if scan.bytes == 0 {
			scan.first = offset
		}
		scan.next = offset + int64(int32(binary.BigEndian.Uint32(head[23:]))) + 1
		scan.epoch = int32(binary.BigEndian.Uint32(head[12:]))
		const transactional, control = 0x10, 0x20
		scan.transactional = scan.transactional || binary.BigEndian.Uint16(head[21:])&(transactional|control) != 0
		scan.bytes += batch
		if body := batch - batchHeadBytes; body <= int64(buffered.Buffered()) {
			if _, err := buffered.Discard(int(body)); err != nil {
				return scan, err
			}
		} else {
			if _, err := r.Seek(scan.bytes, io.SeekStart); err != nil {
				return scan, err
			}
			buffered.Reset(r)
		}
	}
	return scan, nil
}

func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
