package broker

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// indexEntryBytes is the size of kfake's entry for one batch in an .idx file.
const indexEntryBytes = 15

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// mend brings a broker's folder into a state from which kfake loads everything that was acknowledged, whenever and however
// the last broker ended. It must run before kfake opens the folder.
func mend(dir string, log *slog.Logger) error {
	// The password is ours to keep, and may have been replaced since; kfake would go on with the one it wrote down.
	if err := ignoreNotExist(os.Remove(filepath.Join(dir, "sasl.json"))); err != nil {
		return err
	}
	for _, name := range []string{"groups.log", "pids.log"} {
		cut, err := cutTornEntries(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if cut > 0 {
			log.Warn("embedded broker cut an entry that was never acknowledged", "file", name, "bytes", cut)
		}
	}
	if err := finishCompactions(partitionsDir(dir)); err != nil {
		return err
	}
	if err := alignIndexes(partitionsDir(dir)); err != nil {
		return err
	}
	topics, err := readTopics(dir)
	if err != nil {
		return err
	}
	if err := compactAll(partitionsDir(dir), topics, log); err != nil {
		return err
	}
	return eachPartition(partitionsDir(dir), func(dir string) error { return renewSnapshot(dir, log) })
}

// cutTornEntries cuts off what a kill left of an entry at the end of one of kfake's append-only logs. kfake skips it when
// loading but appends behind it, and the next load would then skip everything from there on.
func cutTornEntries(path string) (int64, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	whole := wholeEntries(raw)
	if whole == len(raw) {
		return 0, nil
	}
	return int64(len(raw) - whole), os.Truncate(path, int64(whole))
}

// wholeEntries returns how many bytes of raw are entries of which the length and the checksum are right. An entry is its
// length (4 bytes, little-endian, of what follows the checksum), a CRC-32C (4 bytes), a version (2 bytes) and a text.
func wholeEntries(raw []byte) int {
	pos := 0
	for len(raw)-pos >= 10 {
		length := int64(binary.LittleEndian.Uint32(raw[pos:]))
		if length < 2 || length > int64(len(raw)-pos-8) {
			break
		}
		body := raw[pos+8 : pos+8+int(length)]
		if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(raw[pos+4:]) {
			break
		}
		pos += 8 + int(length)
	}
	return pos
}

// alignIndexes cuts torn entries off the .idx files: kfake finds entries by counting, with a check of a single byte.
func alignIndexes(partitions string) error {
	return eachPartition(partitions, func(dir string) error {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if filepath.Ext(e.Name()) != ".idx" {
				continue
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			if torn := info.Size() % indexEntryBytes; torn > 0 {
				if err := os.Truncate(filepath.Join(dir, e.Name()), info.Size()-torn); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// segment is one .dat file of a partition: record batches one after another, as they travel.
type segment struct {
	base int64 // offset of the first record ever written to it
	path string
	info fs.FileInfo
}

// segmentsOf lists the segments of a partition's folder in order of their offsets. A folder that does not exist has none.
func segmentsOf(dir string) ([]segment, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var segments []segment
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".dat")
		if !ok {
			continue
		}
		base, err := strconv.ParseInt(name, 10, 64)
		if err != nil {
			continue // not a segment of kfake's
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // cleaned meanwhile
		}
		if err != nil {
			return nil, err
		}
		segments = append(segments, segment{base: base, path: filepath.Join(dir, e.Name()), info: info})
	}
	slices.SortFunc(segments, func(a, b segment) int { return int(min(max(a.base-b.base, -1), 1)) })
	return segments, nil
}

// topicState is what kfake writes down about one topic.
type topicState struct {
	Name       string            `json:"name"`
	Partitions int32             `json:"partitions"`
	Configs    map[string]string `json:"configs"`
}

func (t topicState) isCompacted() bool {
	return strings.Contains(t.Configs["cleanup.policy"], "compact")
}

// folder is where kfake keeps a partition of the topic, under the folder of all partitions.
func (t topicState) folder(partition int32) string {
	return fmt.Sprintf("%s-%d", url.PathEscape(t.Name), partition)
}

func readTopics(dir string) ([]topicState, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "topics.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var state struct {
		Topics []topicState `json:"topics"`
	}
	if err := json.Unmarshal(raw, &state); err != nil {
		return nil, fmt.Errorf("read topics.json: %w", err)
	}
	return state.Topics, nil
}

func eachPartition(partitions string, do func(dir string) error) error {
	entries, err := os.ReadDir(partitions)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := do(filepath.Join(partitions, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
