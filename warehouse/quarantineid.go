package warehouse

import (
	"fmt"
	"strconv"
	"strings"
)

// topicPrefix is what the names of Headwater's own raw topics begin with; ids leave it out.
const topicPrefix = "headwater.raw."

// incarnationDigits is how much of the log's identity an id shows: enough to tell a topic from the one of the same name that
// was deleted before it.
const incarnationDigits = 6

// QuarantineID names one row in quarantine.
type QuarantineID struct {
	Topic       string
	Partition   int32
	Incarnation string // the log's identity, or the beginning of it
	Offset      int64
	Index       int64
}

// String gives the id as people copy it: owner-partition.incarnation@offset#index, such as "scjg-0.3f9a2c@1234#17". A topic
// that is not one of Headwater's own is written whole, after a colon: ":orders-0.3f9a2c@1234#17".
func (id QuarantineID) String() string {
	topic, own := strings.CutPrefix(id.Topic, topicPrefix)
	if !own {
		topic = ":" + topic
	}
	incarnation := id.Incarnation
	if len(incarnation) > incarnationDigits {
		incarnation = incarnation[:incarnationDigits]
	}
	return fmt.Sprintf("%s-%d.%s@%d#%d", topic, id.Partition, incarnation, id.Offset, id.Index)
}

// FormatQuarantineID gives the id of the row at that place.
func FormatQuarantineID(topic string, partition int, incarnation string, offset int64, index uint32) string {
	return QuarantineID{topic, int32(partition), incarnation, offset, int64(index)}.String()
}

// ParseQuarantineID reads what String wrote. The incarnation stays cut short. The error says what an id looks like.
func ParseQuarantineID(text string) (QuarantineID, error) {
	bad := func(what string) (QuarantineID, error) {
		return QuarantineID{}, fmt.Errorf("%q is no quarantine id (%s); one looks like scjg-0.3f9a2c@1234#17, as `quarantine list` prints it", clip(text), what)
	}
	head, indexText, ok := cutLast(text, "#")
	if !ok {
		return bad("no # before the row's index")
	}
	index, ok := parseWhole(indexText, 63)
	if !ok {
		return bad("the index is no whole number")
	}
	head, offsetText, ok := cutLast(head, "@")
	if !ok {
		return bad("no @ before the offset")
	}
	offset, ok := parseWhole(offsetText, 63)
	if !ok {
		return bad("the offset is no whole number")
	}
	topic, place, ok := cutLast(head, "-")
	if !ok {
		return bad("no - before the partition")
	}
	partitionText, incarnation, ok := strings.Cut(place, ".")
	if !ok || incarnation == "" {
		return bad("no . before the log's identity")
	}
	partition, ok := parseWhole(partitionText, 31)
	if !ok {
		return bad("the partition is no whole number")
	}
	if strings.ContainsFunc(incarnation, func(r rune) bool { return r > 0x7e || r < 0x21 || strings.ContainsRune(".-@#:%_", r) }) {
		return bad("the log's identity has a character that does not belong there")
	}
	if foreign, ok := strings.CutPrefix(topic, ":"); ok {
		topic = foreign
	} else {
		topic = topicPrefix + topic
	}
	return QuarantineID{Topic: topic, Partition: int32(partition), Incarnation: incarnation, Offset: offset, Index: index}, nil
}

func cutLast(text, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(text, separator); i >= 0 {
		return text[:i], text[i+len(separator):], true
	}
	return text, "", false
}

// parseWhole reads digits in their one canonical form.
func parseWhole(text string, bits int) (int64, bool) {
	n, err := strconv.ParseUint(text, 10, bits)
	return int64(n), err == nil && strconv.FormatUint(n, 10) == text
}

func clip(text string) string {
	const limit = 80
	if r := []rune(text); len(r) > limit {
		return string(r[:limit]) + "…"
	}
	return text
}
