package sql

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	arithmetic "math/bits"
	"strconv"

	"github.com/headwater-data/headwater/connectors"
)

const cursorVersion = 1

// cursor says which content of a shard is being read and how far.
type cursor struct {
	Version int `json:"v"`
	// At is the content's ExtractedAt in microseconds since 1970. A resumed read goes on under it; a later content gets a later one.
	At   int64 `json:"at"`
	Done bool  `json:"done,omitempty"`
	// Full says that the content is the whole table, else what changed by the watermark.
	Full   bool  `json:"full,omitempty"`
	FullAt int64 `json:"fullat,omitempty"` // when the last full content was begun, as At
	// Print is the checksum of the whole table when a full content was begun.
	Print string `json:"print,omitempty"`
	// Count is how many rows the full content has.
	Count int64 `json:"count,omitempty"`

	// Sum is what is known of the checksum of a content that is read without one to compare with: it is added up while rows are read.
	Sum *rowSum `json:"sum,omitempty"`

	// Where reading stands.
	Pass int     `json:"pass,omitempty"` // of the content's passes
	Key  []value `json:"key,omitempty"`  // of the last row, or of the page that was begun
	Skip int64   `json:"skip,omitempty"` // rows of the page that were read

	// What is known of the watermark.
	High  *value `json:"high,omitempty"`  // upper bound of this content: rows at or below it have been read when it is done
	From  *value `json:"from,omitempty"`  // lower bound of this content
	Again bool   `json:"again,omitempty"` // From itself is read too
	Late  string `json:"late,omitempty"`  // checksum of the rows in the lookback window below High
	Null  string `json:"null,omitempty"`  // checksum of the rows without a watermark
}

// encode returns the cursor as it travels.
func (c cursor) encode() (connectors.Cursor, error) {
	c.Version = cursorVersion
	return marshalled(c)
}

// marshalled writes a cursor, if it is not too long to travel.
func marshalled(c any) (connectors.Cursor, error) {
	b, err := json.Marshal(c)
	if err == nil && len(b) > connectors.MaxCursorBytes {
		err = connectors.Permanent(fmt.Errorf("the key of a row has %d bytes, too many to resume from: name a shorter key", len(b)))
	}
	return b, err
}

// decodeCursor reads a cursor that encode has written; nil and empty give nil, the beginning.
func decodeCursor(b connectors.Cursor) (*cursor, error) {
	if len(b) == 0 {
		return nil, nil
	}
	var c cursor
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("cursor is not one of a database connector: %w", err)
	}
	if c.Version == changesVersion || c.Version == binlogVersion {
		return nil, fmt.Errorf("cursor is one of changes, which the stream's options ask for no longer; to begin anew: headwater cursor reset")
	}
	if c.Version != cursorVersion {
		return nil, fmt.Errorf("cursor has version %d; this program knows version %d", c.Version, cursorVersion)
	}
	if c.At <= 0 || c.Pass < 0 || c.Skip < 0 {
		return nil, fmt.Errorf("cursor is damaged: a position in it is out of range")
	}
	return &c, nil
}

// The kinds of values that keys are made of.
const (
	kindText    = 's'
	kindInt     = 'i'
	kindUint    = 'u'
	kindFloat   = 'f'
	kindDecimal = 'd'
	kindTime    = 't' // date or time, as text in the database's form, in UTC where it has a zone
	kindBytes   = 'b'
	kindBool    = 'l'
)

// value is one value of a key, in a text that the database reads back without loss.
type value struct {
	Kind byte
	Text string
}

// MarshalJSON writes kind and text as one JSON text; bytes in base64.
func (v value) MarshalJSON() ([]byte, error) {
	text := v.Text
	if v.Kind == kindBytes {
		text = base64.StdEncoding.EncodeToString([]byte(text))
	}
	return json.Marshal(string(v.Kind) + text)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (v *value) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	if text == "" {
		return fmt.Errorf("an empty value in a key")
	}
	v.Kind, v.Text = text[0], text[1:]
	if v.Kind == kindBytes {
		raw, err := base64.StdEncoding.DecodeString(v.Text)
		if err != nil {
			return err
		}
		v.Text = string(raw)
	}
	return nil
}

// toValue makes a value of one in the configuration.
func toValue(v any) (value, error) {
	text, err := paramText(v)
	if err != nil {
		return value{}, err
	}
	switch v.(type) {
	case int, int64:
		return value{kindInt, text}, nil
	case float64:
		return value{kindFloat, text}, nil
	case bool:
		return value{kindBool, text}, nil
	}
	return value{kindText, text}, nil
}

func (v value) int() (int64, error) { return strconv.ParseInt(v.Text, 10, 64) }

// rowSum adds up what rows of a content are as whole numbers: the database's own sum over the same rows.
type rowSum struct {
	Rows int64  `json:"n"`
	High int64  `json:"h"` // the sum in two's complement, of 128 bits
	Low  uint64 `json:"l"`
}

// add adds a row's number, which is written to a base.
func (s *rowSum) add(text string, base int) error {
	var high int64
	var low, carry uint64
	if n, err := strconv.ParseInt(text, base, 64); err == nil {
		high, low = n>>63, uint64(n)
	} else if low, err = strconv.ParseUint(text, base, 64); err != nil {
		return err
	}
	s.Low, carry = arithmetic.Add64(s.Low, low, 0)
	s.High += high + int64(carry)
	s.Rows++
	return nil
}

// addNumber adds a row's number.
func (s *rowSum) addNumber(n uint64) {
	var carry uint64
	s.Low, carry = arithmetic.Add64(s.Low, n, 0)
	s.High += int64(carry)
	s.Rows++
}

// String is the sum as databases write it.
func (s *rowSum) String() string {
	n := new(big.Int).Lsh(big.NewInt(s.High), 64)
	return n.Add(n, new(big.Int).SetUint64(s.Low)).String()
}
