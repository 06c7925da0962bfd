// Package message is the wire format: how a batch of rows travels as one Kafka record, and which records of a partition are
// valid.
//
// A raw partition holds two kinds of records. A claim says that a writer takes the partition over; a batch carries rows, what
// could not be read, and the cursor after both. Everything that decides validity stands in record headers, so that a reader can
// fold the log into its State without touching the values. The rules are those of docs/exactly-once.md, W1 to W7.
package message

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Version of the wire format that this program writes. It reads every version from 1 to this one.
const Version = 1

// MaxValueBytes bounds the value of one record; topics are created with this as max.message.bytes.
const MaxValueBytes = 16 << 20

// Kind tells a claim from a batch.
type Kind string

// The kinds of records.
const (
	Claim Kind = "claim"
	Batch Kind = "batch"
)

// Header is what a record's headers say. Fields below Epoch are those of batches.
type Header struct {
	Kind        Kind
	Incarnation string // random id of the log's life, the same in all valid records of a partition
	Continues   bool   // a claim: made for a log that had this incarnation already; it begins none
	Writer      string // who wrote it, for people
	Epoch       int64  // offset of the claim under which the batch was written
	Sequence    int64  // number of the batch within its epoch, from 0

	Source, Stream, Shard string
	Cursor                []byte // how far the shard is read after this batch; its connector's own form
	Rows                  int    // rows in the record
	Rejects               int    // rows that could not be read
	Place                 string // where the rows stand, for people
	ExtractedAt           time.Time
	Replaces              bool   // the shard's content as of ExtractedAt is complete with this batch
	Run                   string // run that extracted it
	Fingerprint           string // of the batch's Arrow schema
	Trace                 string // W3C trace context, may be empty
}

// ErrForeign is the error for a record that Headwater did not write: somebody else's message in the topic.
var ErrForeign = errors.New("not a Headwater record")

// CorruptError is the error for a record that claims to be ours but cannot be read.
type CorruptError struct {
	What string
	Err  error
}

func (e *CorruptError) Error() string {
	if e.Err == nil {
		return "corrupt record: " + e.What
	}
	return "corrupt record: " + e.What + ": " + e.Err.Error()
}

func (e *CorruptError) Unwrap() error { return e.Err }

// Field is one Kafka record header.
type Field struct {
	Key   string
	Value []byte
}

const (
	keyVersion     = "hw-version"
	keyKind        = "hw-kind"
	keyIncarnation = "hw-incarnation"
	keyWriter      = "hw-writer"
	keyContinues   = "hw-continues"
	keyEpoch       = "hw-epoch"
	keySequence    = "hw-sequence"
	keySource      = "hw-source"
	keyStream      = "hw-stream"
	keyShard       = "hw-shard"
	keyCursor      = "hw-cursor"
	keyRows        = "hw-rows"
	keyRejects     = "hw-rejects"
	keyPlace       = "hw-place"
	keyExtracted   = "hw-extracted-at" // microseconds since 1970
	keyReplaces    = "hw-replaces"
	keyRun         = "hw-run"
	keyFingerprint = "hw-schema"
	keyTrace       = "traceparent"
)

// Fields returns the header as record headers.
func (h Header) Fields() []Field {
	text := func(k, v string) Field { return Field{k, []byte(v)} }
	number := func(k string, v int64) Field { return text(k, strconv.FormatInt(v, 10)) }
	fields := []Field{
		number(keyVersion, Version),
		text(keyKind, string(h.Kind)),
		text(keyIncarnation, h.Incarnation),
		text(keyWriter, h.Writer),
	}
	if h.Kind == Claim {
		if h.Continues {
			fields = append(fields, text(keyContinues, "1"))
		}
		return fields
	}
	fields = append(fields,
		number(keyEpoch, h.Epoch),
		number(keySequence, h.Sequence),
		text(keySource, h.Source),
		text(keyStream, h.Stream),
		text(keyShard, h.Shard),
		Field{keyCursor, h.Cursor},
		number(keyRows, int64(h.Rows)),
		number(keyRejects, int64(h.Rejects)),
		text(keyPlace, h.Place),
		number(keyExtracted, h.ExtractedAt.UnixMicro()),
		text(keyRun, h.Run),
		text(keyFingerprint, h.Fingerprint),
	)
	if h.Replaces {
		fields = append(fields, text(keyReplaces, "1"))
	}
	if h.Trace != "" {
		fields = append(fields, text(keyTrace, h.Trace))
	}
	return fields
}

// Parse reads record headers. It returns ErrForeign when none of ours is there, and a *CorruptError when ours are there but
// do not make sense or were written by a newer version.
func Parse(fields []Field) (Header, error) {
	values := make(map[string][]byte, len(fields))
	for _, f := range fields {
		if _, twice := values[f.Key]; !twice {
			values[f.Key] = f.Value
		}
	}
	if _, ours := values[keyVersion]; !ours {
		return Header{}, ErrForeign
	}
	var err error
	number := func(key string) int64 {
		n, e := strconv.ParseInt(string(values[key]), 10, 64)
		if e != nil || n < 0 {
			err = errors.Join(err, &CorruptError{What: "header " + key + " is no number"})
		}
		return n
	}
	if v := number(keyVersion); err == nil && (v < 1 || v > Version) {
		return Header{}, &CorruptError{What: fmt.Sprintf("written by wire version %d, this program reads up to %d: upgrade it", v, Version)}
	}
	h := Header{
		Kind:        Kind(values[keyKind]),
		Incarnation: string(values[keyIncarnation]),
		Writer:      string(values[keyWriter]),
	}
	if h.Incarnation == "" {
		err = errors.Join(err, &CorruptError{What: "header " + keyIncarnation + " is missing"})
	}
	switch h.Kind {
	case Claim:
		h.Continues = string(values[keyContinues]) == "1"
		return h, err
	case Batch:
	default:
		return Header{}, &CorruptError{What: fmt.Sprintf("unknown kind %.20q", h.Kind)}
	}
	h.Epoch = number(keyEpoch)
	h.Sequence = number(keySequence)
	h.Source = string(values[keySource])
	h.Stream = string(values[keyStream])
	h.Shard = string(values[keyShard])
	h.Cursor = values[keyCursor]
	h.Rows = int(number(keyRows))
	h.Rejects = int(number(keyRejects))
	h.Place = string(values[keyPlace])
	h.ExtractedAt = time.UnixMicro(number(keyExtracted)).UTC()
	h.Run = string(values[keyRun])
	h.Fingerprint = string(values[keyFingerprint])
	h.Trace = string(values[keyTrace])
	h.Replaces = string(values[keyReplaces]) == "1"
	if h.Source == "" || h.Stream == "" {
		err = errors.Join(err, &CorruptError{What: "header " + keySource + " or " + keyStream + " is missing"})
	}
	return h, err
}
