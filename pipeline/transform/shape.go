package transform

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/headwater-data/headwater/schemas"
)

// StreamShape is everything that shapes one stream's rows.
type StreamShape struct {
	Source string       `json:"source"`
	Stream string       `json:"stream"`
	Owner  string       `json:"owner,omitempty"`
	Map    Spec         `json:"map"`
	Filter []FilterSpec `json:"filter,omitempty"`
	// Keep names columns that travel with the rows and into the quarantine although the mapping does not read them.
	Keep []string `json:"keep,omitempty"`
	// Lookups holds the tables that the mapping's lookups name, by the name they use for the file.
	Lookups map[string]Table `json:"lookups,omitempty"`
	// SourceColumns is what the stream's columns were at its last run, name to type in Arrow's words; it may be empty.
	// It does not shape rows: it is for Check.
	SourceColumns map[string]string `json:"-"`
}

// Shape is everything that shapes rows in a project: the loader stores it before an intent names it, so that whoever repeats
// the flush shapes rows in the same way (PROTOCOL, L2).
type Shape struct {
	Set        *schemas.Set  `json:"set"`
	Indicators []string      `json:"indicators"`
	Streams    []StreamShape `json:"streams"`
}

// Marshal returns the shape in its canonical form: equal shapes give equal bytes.
func (s *Shape) Marshal() ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return nil, fmt.Errorf("write shape: %w", err)
	}
	return bytes.TrimRight(buf.Bytes(), "\n"), nil
}

// UnmarshalShape reads what Marshal wrote. Marshalling the result gives the same bytes.
func UnmarshalShape(data []byte) (*Shape, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber() // constants such as 330100000000000001 must not go through a float64
	s := &Shape{Set: &schemas.Set{}}
	if err := dec.Decode(s); err != nil {
		return nil, fmt.Errorf("read shape: %w", err)
	}
	return s, nil
}

// Hash names a marshalled shape: the first 16 hex digits of its SHA-256.
func Hash(marshalled []byte) string {
	sum := sha256.Sum256(marshalled)
	return hex.EncodeToString(sum[:])[:16]
}

// Table is a small table that belongs to a mapping.
type Table struct {
	Columns []string   `json:"columns"`
	Rows    [][]string `json:"rows"`
}

// The bounds of a lookup table: it is held in memory and stored with every shape.
const (
	MaxTableRows  = 100_000
	maxTableBytes = 16 << 20
)

// ReadTable reads a lookup table from CSV in UTF-8 with a header, with or without a byte order mark. The error names the
// line.
func ReadTable(r io.Reader) (Table, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxTableBytes+1))
	if err != nil {
		return Table{}, err
	}
	if len(data) > maxTableBytes {
		return Table{}, fmt.Errorf("the table is larger than %d MiB", maxTableBytes>>20)
	}
	if !utf8.Valid(data) {
		return Table{}, errors.New("the table is not UTF-8; save it as CSV UTF-8")
	}
	rows := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\ufeff"))))
	header, err := rows.Read()
	if errors.Is(err, io.EOF) {
		return Table{}, errors.New("the table is empty; its first line must name the columns")
	}
	if err != nil {
		return Table{}, err
	}
	t := Table{}
	for _, name := range header {
		t.Columns = append(t.Columns, string(trim([]byte(name))))
	}
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err != nil {
			return Table{}, err
		}
		if len(t.Rows) == MaxTableRows {
			return Table{}, fmt.Errorf("the table has more than %d rows", MaxTableRows)
		}
		t.Rows = append(t.Rows, row)
	}
}
