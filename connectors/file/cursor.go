package file

import (
	"encoding/json"
	"fmt"

	"github.com/headwater-data/headwater/connectors"
)

const cursorVersion = 1

// cursor says which content of a file is being read and how far.
type cursor struct {
	Version int `json:"v"`
	// Hash, Size and ModTime tell contents apart. Hash is of the bytes as stored (for a member of a zip: as packed).
	Hash    string `json:"hash"`
	Size    int64  `json:"size"`
	ModTime int64  `json:"mtime"` // ns since 1970
	// At is the content's ExtractedAt in microseconds since 1970. A resumed read goes on under it; a later content gets a
	// later one.
	At   int64    `json:"at"`
	Done bool     `json:"done,omitempty"` // all of the content has been read
	Pos  position `json:"pos"`
}

// position is a place between two rows. Which fields are used depends on the format.
type position struct {
	Offset int64 `json:"offset,omitempty"` // csv, jsonl: byte of the decoded text (after a byte order mark) where the next row begins
	Line   int64 `json:"line,omitempty"`   // csv, jsonl: 0-based line of Offset
	Row    int64 `json:"row,omitempty"`    // json, parquet: records before it; xlsx: number of the last row before it
	Sheet  int   `json:"sheet,omitempty"`  // xlsx: 0-based place among the sheets that are read
	// Encoding is what `encoding: auto` decided when the content was first opened: a resumed read must not decide anew.
	Encoding string `json:"enc,omitempty"`
}

// encode returns the cursor as it travels. It stays far below connectors.MaxCursorBytes: nothing in it grows.
func (c cursor) encode() (connectors.Cursor, error) {
	c.Version = cursorVersion
	return json.Marshal(c)
}

// decodeCursor reads a cursor that encode has written; nil and empty give nil, the beginning.
func decodeCursor(b connectors.Cursor) (*cursor, error) {
	if len(b) == 0 {
		return nil, nil
	}
	var c cursor
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("cursor is not one of the file connector: %w", err)
	}
	if c.Version != cursorVersion {
		return nil, fmt.Errorf("cursor has version %d; this program knows version %d", c.Version, cursorVersion)
	}
	if c.Hash == "" || c.Size < 0 || c.Pos.Offset < 0 || c.Pos.Line < 0 || c.Pos.Row < 0 || c.Pos.Sheet < 0 {
		return nil, fmt.Errorf("cursor is damaged: a position in it is out of range")
	}
	return &c, nil
}
