// Package screen shows tables and progress to people, and the same to scripts.
//
// A Writer takes rows one by one and writes them as an aligned table, CSV or JSON. In tables Chinese characters take two
// columns, numbers stand to the right, NULL is shown as such, and what is wider than the terminal is cut with an ellipsis, except
// numbers. Control characters never reach the terminal: what departments write may hold any.
//
// A Progress shows how far a run is: redrawn in place on a terminal, as log lines elsewhere.
package screen

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/mattn/go-isatty"
	"github.com/mattn/go-runewidth"
	"golang.org/x/term"
)

// Format is how rows are written.
type Format string

// The formats.
const (
	Text Format = "table"
	CSV  Format = "csv"  // RFC 4180, NULL is an empty field
	JSON Format = "json" // one array of objects, keys in the columns' order
)

// Formats lists the formats for help texts.
func Formats() []string { return []string{string(Text), string(CSV), string(JSON)} }

// Count is a number of things: in tables it is written with thousands separators.
type Count int64

// sampleRows is how many rows are kept to find the widths of a table's columns. Later rows stream past.
const sampleRows = 1000

// minColumn is the least width that a column is cut to.
const minColumn = 8

// chars measures text. Ambiguous characters count as one column whatever the locale says, so that output is the same
// everywhere.
var chars = &runewidth.Condition{EastAsianWidth: false}

// IsTerminal reports whether w is a terminal.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// Width returns the width of the terminal that w is, in columns; 0 when it is none.
func Width(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok || !isatty.IsTerminal(f.Fd()) {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// Writer writes rows in a format. It is not safe for concurrent use; Close must be called to see the last rows.
type Writer struct {
	out     *bufio.Writer
	format  Format
	columns []string
	width   int

	csv    *csv.Writer
	keys   []string // JSON: the columns' names, made distinct
	rows   int
	sample [][]cell
	layout []column // nil while rows are sampled
	empty  string
}

// Name is a text that people copy, such as an id: tables never cut it.
type Name string

type cell struct {
	text  string
	right bool
	whole bool // never cut
	width int
}

type column struct {
	width int
	right bool
}

// NewWriter returns a Writer with these columns. The width is that of the terminal, 0 for no limit; it only concerns tables.
func NewWriter(w io.Writer, format Format, width int, columns ...string) *Writer {
	t := &Writer{out: bufio.NewWriter(w), format: format, columns: columns, width: width}
	switch format {
	case CSV:
		t.csv = csv.NewWriter(t.out)
	case JSON:
		seen := map[string]int{}
		for _, c := range columns {
			if seen[c]++; seen[c] > 1 {
				c = fmt.Sprintf("%s_%d", c, seen[c])
			}
			t.keys = append(t.keys, c)
		}
	}
	return t
}

// WhenEmpty sets what a table without rows says in place of its header.
func (t *Writer) WhenEmpty(text string) { t.empty = text }

// Row writes one row. Values may be nil (NULL), texts, numbers, Count, bool, time.Time, lists of texts, or anything with a
// String method.
func (t *Writer) Row(values ...any) error {
	if len(values) != len(t.columns) {
		panic(fmt.Sprintf("screen: %d values for %d columns", len(values), len(t.columns)))
	}
	t.rows++
	switch t.format {
	case CSV:
		return t.addCSV(values)
	case JSON:
		return t.addJSON(values)
	}
	row := make([]cell, len(values))
	for i, v := range values {
		text, right := show(v)
		_, whole := v.(Name)
		row[i] = cell{text: text, right: right, whole: whole, width: chars.StringWidth(text)}
	}
	if t.layout == nil {
		if t.sample = append(t.sample, row); len(t.sample) < sampleRows {
			return nil
		}
		return t.flushSample()
	}
	return t.line(row)
}

// Close writes what is left.
func (t *Writer) Close() error {
	switch t.format {
	case CSV:
		if t.rows == 0 {
			if err := t.csv.Write(t.columns); err != nil {
				return err
			}
		}
		t.csv.Flush()
		if err := t.csv.Error(); err != nil {
			return err
		}
	case JSON:
		end := "\n]\n"
		if t.rows == 0 {
			end = "[]\n"
		}
		if _, err := t.out.WriteString(end); err != nil {
			return err
		}
	default:
		if t.rows == 0 && t.empty != "" {
			if _, err := t.out.WriteString(t.empty + "\n"); err != nil {
				return err
			}
		} else if t.layout == nil {
			if err := t.flushSample(); err != nil {
				return err
			}
		}
	}
	return t.out.Flush()
}

func (t *Writer) addCSV(values []any) error {
	if t.rows == 1 {
		if err := t.csv.Write(t.columns); err != nil {
			return err
		}
	}
	record := make([]string, len(values))
	for i, v := range values {
		record[i] = raw(v)
	}
	return t.csv.Write(record)
}

func (t *Writer) addJSON(values []any) error {
	begin := ",\n  {"
	if t.rows == 1 {
		begin = "[\n  {"
	}
	if _, err := t.out.WriteString(begin); err != nil {
		return err
	}
	for i, v := range values {
		key, err := json.Marshal(t.keys[i])
		if err != nil {
			return err
		}
		value, err := plainJSON(v)
		if err != nil {
			return fmt.Errorf("column %q: %w", t.columns[i], err)
		}
		if i > 0 {
			if _, err := t.out.WriteString(", "); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintf(t.out, "%s: %s", key, value); err != nil {
			return err
		}
	}
	return t.out.WriteByte('}')
}

// plainJSON marshals without escaping <, > and &, which are no danger here and hard to read.
func plainJSON(v any) ([]byte, error) {
	switch x := v.(type) {
	case float64:
		if x != x || x-x != 0 { // JSON knows neither NaN nor infinity
			return []byte("null"), nil
		}
	case fmt.Stringer:
		if _, ok := v.(json.Marshaler); !ok {
			v = x.String()
		}
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return []byte(strings.TrimSuffix(b.String(), "\n")), nil
}

// raw is a value for CSV.
func raw(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case Count:
		return strconv.FormatInt(int64(v), 10)
	case string:
		return v
	}
	text, _ := format(v)
	return text
}

// show is a value for a table: its text without control characters, and whether it stands to the right.
func show(v any) (text string, right bool) {
	text, right = format(v)
	return Clean(text), right
}

func format(v any) (text string, right bool) {
	switch v := v.(type) {
	case nil:
		return "NULL", false
	case string:
		return v, false
	case Name:
		return string(v), false
	case Count:
		return thousands(int64(v)), true
	case int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64:
		return fmt.Sprint(v), true
	case float32:
		return strconv.FormatFloat(float64(v), 'f', -1, 32), true
	case float64:
		if abs := max(v, -v); abs >= 1e15 || abs != 0 && abs < 1e-6 {
			return strconv.FormatFloat(v, 'g', -1, 64), true
		}
		return strconv.FormatFloat(v, 'f', -1, 64), true
	case json.Number:
		return v.String(), true
	case json.RawMessage:
		return string(v), false
	case time.Time:
		return v.Format("2006-01-02 15:04:05"), false
	case time.Duration:
		return v.String(), true
	case []string:
		return strings.Join(v, ", "), false
	case fmt.Stringer:
		return v.String(), false
	}
	return fmt.Sprint(v), false
}

func thousands(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// Clean returns text as it may be shown on a terminal: line breaks and tabs become visible signs, other control and
// invisible formatting characters become �.
func Clean(text string) string {
	bad := func(r rune) bool { return !unicode.IsPrint(r) || r == '\ufffd' }
	if strings.IndexFunc(text, bad) < 0 {
		return text
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return '⏎'
		case r == '\r':
			return -1
		case r == '\t' || unicode.IsSpace(r):
			return ' '
		case bad(r):
			return '�'
		}
		return r
	}, text)
}

// flushSample fixes the columns' widths by the rows seen so far and writes them.
func (t *Writer) flushSample() error {
	t.layout = make([]column, len(t.columns))
	least := make([]int, len(t.columns)) // numbers and names are not cut
	for i, name := range t.columns {
		t.layout[i].width = chars.StringWidth(Clean(name))
		numbers := 0
		for _, row := range t.sample {
			t.layout[i].width = max(t.layout[i].width, row[i].width)
			if row[i].right {
				numbers++
			}
			if row[i].right || row[i].whole {
				least[i] = max(least[i], row[i].width, chars.StringWidth(Clean(name)))
			}
		}
		t.layout[i].right = numbers > 0
		least[i] = max(least[i], min(minColumn, t.layout[i].width))
	}
	t.fit(least)
	header := make([]cell, len(t.columns))
	rule := make([]string, len(t.columns))
	for i, name := range t.columns {
		name = Clean(name)
		header[i] = cell{text: name, right: t.layout[i].right, width: chars.StringWidth(name)}
		rule[i] = strings.Repeat("─", t.layout[i].width)
	}
	if err := t.line(header); err != nil {
		return err
	}
	if _, err := t.out.WriteString(strings.Join(rule, "  ") + "\n"); err != nil {
		return err
	}
	for _, row := range t.sample {
		if err := t.line(row); err != nil {
			return err
		}
	}
	t.sample = nil
	return nil
}

// fit cuts the widest columns until the table is as wide as the terminal, or none can be cut further.
func (t *Writer) fit(least []int) {
	if t.width <= 0 {
		return
	}
	total := 2 * (len(t.layout) - 1)
	for _, c := range t.layout {
		total += c.width
	}
	for total > t.width {
		widest := -1
		for i, c := range t.layout {
			if c.width > least[i] && (widest < 0 || c.width > t.layout[widest].width) {
				widest = i
			}
		}
		if widest < 0 {
			return
		}
		t.layout[widest].width--
		total--
	}
}

func (t *Writer) line(row []cell) error {
	var b strings.Builder
	for i, c := range row {
		if i > 0 {
			b.WriteString("  ")
		}
		b.WriteString(pad(c.text, c.width, t.layout[i].width, t.layout[i].right && (c.right || c.text == "NULL" || c.text == t.columns[i])))
	}
	_, err := t.out.WriteString(strings.TrimRight(b.String(), " ") + "\n")
	return err
}

// pad brings a text of the width have to the width want. Numbers, which stand to the right, are not cut.
func pad(text string, have, want int, right bool) string {
	if have > want && !right {
		text = chars.Truncate(text, want, "…")
		have = chars.StringWidth(text)
	}
	space := strings.Repeat(" ", max(0, want-have))
	if right {
		return space + text
	}
	return text + space
}
