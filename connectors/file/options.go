package file

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/invopop/jsonschema"

	"github.com/headwater-data/headwater/connectors"
)

// Config holds the options of a source as a whole. The file connector has none.
type Config struct{}

// Options say which files a stream is made of and how they are read (`read:` in the source's YAML).
type Options struct {
	Path     Strings `yaml:"path" json:"path" required:"true" desc:"File, folder (the files directly in it) or glob (** crosses folders), or a list of these. Relative to the project. Names that begin with a dot or ~$ or end in .part, .tmp, .partial, .filepart, .crdownload or .swp are left alone."`
	Format   string  `yaml:"format,omitempty" json:"format,omitempty" enum:"csv,jsonl,json,xlsx,parquet" desc:"csv, jsonl, json, xlsx or parquet. Defaults to what the file's extension says, looking through .gz and .zip."`
	Member   string  `yaml:"member,omitempty" json:"member,omitempty" desc:"Glob of the members of a zip that are read. Defaults to all whose extension is known."`
	Encoding string  `yaml:"encoding,omitempty" json:"encoding,omitempty" enum:"auto,utf-8,gb18030,gbk,gb2312" desc:"auto, utf-8, gb18030, gbk or gb2312 (the last two are read as gb18030, which holds both). auto is: what a byte order mark says; UTF-8 if all of the file is valid UTF-8; else GB18030. Defaults to auto."`
	OnChange string  `yaml:"on_change,omitempty" json:"on_change,omitempty" enum:"replace,merge,append" desc:"What a changed file means: replace (its rows take the place of all it brought before, and rows that are gone from it are deleted), merge (read again, nothing is deleted) or append (only what was added at its end is read; csv and jsonl). Defaults to replace."`

	AllowEmpty  bool          `yaml:"allow_empty,omitempty" json:"allow_empty,omitempty" desc:"With on_change: replace, a file that brought rows and is now empty (no bytes, or blank lines alone) is taken at its word: its rows are deleted. A csv with a header needs its header nevertheless. Defaults to false: such a file is taken for one that is still being written, and its rows stay."`
	Settle      time.Duration `yaml:"settle,omitempty" json:"settle,omitempty" desc:"A file is taken once it has not changed for this long, such as 30s. Defaults to 0s: files are complete when they appear under their name."`
	MaxRowBytes int64         `yaml:"max_row_bytes,omitempty" json:"max_row_bytes,omitempty" desc:"Longest row or record in bytes (at most 4194304). Longer ones go to the quarantine; an unclosed quote is given up after as much. Defaults to 1048576."`

	SkipRows int        `yaml:"skip_rows,omitempty" json:"skip_rows,omitempty" desc:"Title rows at the top that are passed over. csv and xlsx. Defaults to 0."`
	Header   HeaderRows `yaml:"header,omitempty" json:"header,omitempty" desc:"Number of the header row as people count, or a list for a header of several rows, whose names are joined with a dash ([3, 4]: 一级-二级); 0 says that there is none. Rows above it are titles. csv and xlsx. Defaults to the first row that is not empty after skip_rows."`
	Columns  []string   `yaml:"columns,omitempty" json:"columns,omitempty" desc:"Names of the columns: instead of the header's, or where there is none. For json and jsonl: columns that are always there, even when no record has them."`

	Delimiter string `yaml:"delimiter,omitempty" json:"delimiter,omitempty" desc:"Character between the fields of a csv; tab may be written \\t. Defaults to a comma, for .tsv to a tab."`
	Quote     string `yaml:"quote,omitempty" json:"quote,omitempty" desc:"ASCII character around fields of a csv, or none. Defaults to the double quote."`
	Comment   string `yaml:"comment,omitempty" json:"comment,omitempty" desc:"Lines of a csv that begin with this text are passed over. Defaults to none."`
	Ragged    bool   `yaml:"ragged,omitempty" json:"ragged,omitempty" desc:"Rows of a csv with too few fields are filled with nulls, and empty fields beyond the last column are dropped. Defaults to false: such rows go to the quarantine."`

	Sheet      Strings `yaml:"sheet,omitempty" json:"sheet,omitempty" desc:"Sheets of an xlsx: names, globs or numbers (1 is the first), one or a list. Defaults to the first visible sheet."`
	FillMerged bool    `yaml:"fill_merged,omitempty" json:"fill_merged,omitempty" desc:"Every cell of a merged range below the header gets the range's value. Header cells always do. xlsx. Defaults to false."`

	Records  string `yaml:"records,omitempty" json:"records,omitempty" desc:"Dotted path to the records of a json document, such as features or data.items. Defaults to the document itself (its elements if it is an array), for .geojson to features."`
	MaxDepth int    `yaml:"max_depth,omitempty" json:"max_depth,omitempty" desc:"How deep nested json is spread out into columns (a.b.c is 3); what is deeper stays JSON text. Defaults to 6."`

	MaxUnzippedBytes int64 `yaml:"max_unzipped_bytes,omitempty" json:"max_unzipped_bytes,omitempty" desc:"Most bytes that a compressed file, or all members of a zip together, may unpack to. Defaults to 68719476736 (64 GiB)."`
	MaxUnzipRatio    int64 `yaml:"max_unzip_ratio,omitempty" json:"max_unzip_ratio,omitempty" desc:"Most times its packed size that compressed content may unpack to; not looked at below 64 MiB. Defaults to 300."`
}

// Defaults and bounds of options.
const (
	defaultMaxRowBytes = 1 << 20
	defaultMaxDepth    = 6
	defaultMaxUnzipped = 64 << 30
	// Deflate cannot pack better than 1:1032. Real departmental exports, full of repeated names and codes, reach about 1:60.
	defaultMaxRatio = 300
	// Below this an archive can do no harm whatever its ratio: nothing is held in memory, and a disk has as much to spare.
	ratioFreeBytes = 64 << 20

	maxHeaderRows = 8
	maxColumns    = 4096
)

// The values of on_change.
const (
	replaceOnChange = "replace"
	mergeOnChange   = "merge"
	appendOnChange  = "append"
)

// The formats.
const (
	formatCSV     = "csv"
	formatJSONL   = "jsonl"
	formatJSON    = "json"
	formatXLSX    = "xlsx"
	formatParquet = "parquet"
)

// Strings is one text or a list of texts in YAML.
type Strings []string

// UnmarshalYAML accepts a scalar or a list of scalars.
func (s *Strings) UnmarshalYAML(decode func(any) error) error {
	var v any
	if err := decode(&v); err != nil {
		return err
	}
	items, ok := v.([]any)
	if !ok {
		items = []any{v}
	}
	list := make(Strings, 0, len(items))
	for _, item := range items {
		switch item := item.(type) {
		case string:
			list = append(list, item)
		case int, int64, uint64:
			list = append(list, fmt.Sprint(item))
		default:
			return fmt.Errorf("want a text or a list of texts")
		}
	}
	*s = list
	return nil
}

// JSONSchema describes both forms to editors.
func (Strings) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
		{Type: "string"}, {Type: "integer"},
		{Type: "array", Items: &jsonschema.Schema{OneOf: []*jsonschema.Schema{{Type: "string"}, {Type: "integer"}}}},
	}}
}

// HeaderRows is one row number or a list of them in YAML. Nil is "not said"; [0] is "there is none".
type HeaderRows []int

// UnmarshalYAML accepts an integer or a list of integers.
func (h *HeaderRows) UnmarshalYAML(decode func(any) error) error {
	var v any
	if err := decode(&v); err != nil {
		return err
	}
	items, ok := v.([]any)
	if !ok {
		items = []any{v}
	}
	list := make(HeaderRows, 0, len(items))
	for _, item := range items {
		n, err := strconv.Atoi(fmt.Sprint(item))
		if err != nil {
			return fmt.Errorf("want a row number or a list of row numbers")
		}
		list = append(list, n)
	}
	*h = list
	return nil
}

// JSONSchema describes both forms to editors.
func (HeaderRows) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
		{Type: "integer"}, {Type: "array", Items: &jsonschema.Schema{Type: "integer"}},
	}}
}

// none says that the content has no header row.
func (h HeaderRows) none() bool { return len(h) == 1 && h[0] == 0 }

// check finds all faults of the options without looking at any file.
func (o *Options) check(stream string) []connectors.OptionFault {
	var faults []connectors.OptionFault
	fault := func(option, message, fix string) {
		faults = append(faults, connectors.OptionFault{Stream: stream, Path: []string{option}, Message: message, Fix: fix})
	}
	oneOf := func(option, value string, allowed ...string) {
		if value != "" && !slices.Contains(allowed, value) {
			fault(option, fmt.Sprintf("unknown %s %q", option, value), "use one of: "+strings.Join(allowed, ", "))
		}
	}
	within := func(option string, value, least, most int64) {
		if value != 0 && (value < least || value > most) {
			fault(option, fmt.Sprintf("%d is out of range", value), fmt.Sprintf("use %d to %d", least, most))
		}
	}

	if len(o.Path) == 0 {
		fault("path", "no path", "name a file, a folder or a glob")
	}
	for _, p := range o.Path {
		switch {
		case p == "":
			fault("path", "empty path", "name a file, a folder or a glob")
		case strings.ContainsRune(p, 0):
			fault("path", "path holds a NUL byte", "")
		case !doublestar.ValidatePattern(slashes(p)):
			fault("path", fmt.Sprintf("%q is not a valid glob", p), "close every [ and {")
		case o.Format == "" && !isPattern(p):
			if ext := path.Ext(slashes(p)); ext != "" && kindOf(p).format == "" && !kindOf(p).zip && kindOf(p).refusal == "" {
				fault("path", fmt.Sprintf("the format of %q is not known by its extension", p), "set format")
			}
		}
	}
	oneOf("format", o.Format, formatCSV, formatJSONL, formatJSON, formatXLSX, formatParquet)
	oneOf("encoding", o.Encoding, "auto", "utf-8", "gb18030", "gbk", "gb2312")
	oneOf("on_change", o.OnChange, replaceOnChange, mergeOnChange, appendOnChange)
	if o.OnChange == appendOnChange && o.Format != "" && o.Format != formatCSV && o.Format != formatJSONL {
		fault("on_change", "append works with csv and jsonl only: nothing can be added at the end of "+o.Format, "use replace or merge")
	}
	if o.Member != "" && !doublestar.ValidatePattern(o.Member) {
		fault("member", fmt.Sprintf("%q is not a valid glob", o.Member), "close every [ and {")
	}
	if o.AllowEmpty && cmp.Or(o.OnChange, replaceOnChange) != replaceOnChange {
		fault("allow_empty", "allow_empty is for on_change: replace alone: nothing is deleted with "+o.OnChange, "leave it out")
	}
	if o.Settle < 0 {
		fault("settle", "the time is negative", "")
	}
	within("max_row_bytes", o.MaxRowBytes, 64, connectors.MaxBatchBytes)
	within("skip_rows", int64(o.SkipRows), 0, 1<<20)
	within("max_depth", int64(o.MaxDepth), 1, 64)
	within("max_unzipped_bytes", o.MaxUnzippedBytes, 1, 1<<50)
	within("max_unzip_ratio", o.MaxUnzipRatio, 1, 1<<20)

	switch {
	case len(o.Header) > maxHeaderRows:
		fault("header", fmt.Sprintf("a header of %d rows", len(o.Header)), fmt.Sprintf("name at most %d rows", maxHeaderRows))
	case !o.Header.none():
		for i, row := range o.Header {
			if row < 1 || i > 0 && row <= o.Header[i-1] {
				fault("header", "header rows are numbered from 1 and rise", "use the row numbers that a spreadsheet shows")
				break
			}
			if row <= o.SkipRows {
				fault("header", fmt.Sprintf("header row %d is among the %d rows that skip_rows passes over", row, o.SkipRows), "leave skip_rows out: rows above the header are titles anyway")
				break
			}
		}
	}
	seen := map[string]bool{}
	for _, name := range o.Columns {
		if name == "" || seen[name] {
			fault("columns", fmt.Sprintf("column name %q is empty or there twice", name), "give each column a name of its own")
		}
		seen[name] = true
	}
	if len(o.Columns) > maxColumns {
		fault("columns", fmt.Sprintf("%d columns", len(o.Columns)), fmt.Sprintf("at most %d are read", maxColumns))
	}

	delimiter, quote := o.delimiter(""), o.quote()
	if d := delimiter; utf8.RuneCountInString(d) != 1 || strings.ContainsAny(d, "\r\n\x00\ufffd") {
		fault("delimiter", fmt.Sprintf("delimiter %q is not one character", o.Delimiter), `use one character, or \t`)
	}
	if o.Quote != "" && o.Quote != "none" && (len(o.Quote) != 1 || o.Quote[0] < 0x21 || o.Quote[0] > 0x7e) {
		fault("quote", fmt.Sprintf("quote %q is not one ASCII character", o.Quote), "use one ASCII character, or none")
	} else if quote != 0 && delimiter == string(rune(quote)) {
		fault("quote", "quote and delimiter are the same", "")
	}
	if strings.ContainsAny(o.Comment, "\r\n") {
		fault("comment", "a comment mark cannot hold a line break", "")
	}
	for _, name := range o.Sheet {
		if name == "" || !doublestar.ValidatePattern(name) {
			fault("sheet", fmt.Sprintf("%q is neither a name, a number nor a glob", name), "")
		}
	}
	return faults
}

func (o *Options) delimiter(name string) string {
	switch {
	case o.Delimiter == `\t`:
		return "\t"
	case o.Delimiter != "":
		return o.Delimiter
	case strings.HasSuffix(strings.TrimSuffix(strings.ToLower(name), ".gz"), ".tsv"):
		return "\t"
	}
	return ","
}

// quote returns the quote character, 0 for none.
func (o *Options) quote() byte {
	switch {
	case o.Quote == "none":
		return 0
	case len(o.Quote) == 1:
		return o.Quote[0]
	}
	return '"'
}

func (o *Options) maxRowBytes() int { return int(cmp.Or(o.MaxRowBytes, defaultMaxRowBytes)) }
func (o *Options) maxDepth() int    { return cmp.Or(o.MaxDepth, defaultMaxDepth) }

// KeepsGone reports whether rows that go from a file stay where they were brought; whoever compares both asks.
func (o *Options) KeepsGone() bool { return o.OnChange == mergeOnChange }

// ReplacesContent reports whether a changed file replaces what it brought before; whoever checks the mapping asks.
func (o *Options) ReplacesContent() bool {
	return o.OnChange == "" || o.OnChange == replaceOnChange
}
