package rowwise

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/headwater-data/headwater/connectors"
)

const cursorVersion = 1

// cursor says which content of a stream is being read and how far.
type cursor struct {
	Version int `json:"v"`
	// At is the content's ExtractedAt in microseconds since 1970. A reading that was interrupted goes on under it.
	At int64 `json:"at"`
	// Content is the version of a stream that has one.
	Content string `json:"content,omitempty"`
	// Position is that of the last row.
	Position string `json:"pos,omitempty"`
	// Done says that the content was read to its end.
	Done bool `json:"done,omitempty"`
}

func (c cursor) encode() (connectors.Cursor, error) {
	c.Version = cursorVersion
	b, err := json.Marshal(c)
	if err == nil && len(b) > connectors.MaxCursorBytes {
		err = fmt.Errorf("position and version take %d bytes of a cursor, which has at most %d", len(b), connectors.MaxCursorBytes)
	}
	return b, err
}

// decodeCursor reads a cursor that encode has written; nil and empty give nil, the beginning.
func decodeCursor(b connectors.Cursor) (*cursor, error) {
	if len(b) == 0 {
		return nil, nil
	}
	var c cursor
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return nil, fmt.Errorf("cursor is not one of this connector: %w", err)
	}
	if c.Version != cursorVersion {
		return nil, fmt.Errorf("cursor has version %d; this program knows version %d", c.Version, cursorVersion)
	}
	if c.At <= 0 {
		return nil, fmt.Errorf("cursor is damaged: it has no time")
	}
	return &c, nil
}
