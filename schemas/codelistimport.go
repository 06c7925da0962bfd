package schemas

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/headwater-data/headwater/internal/problem"
)

// Bounds of an imported code list.
const (
	maxListBytes    = 4 << 20
	maxListCodes    = 20_000
	maxListProblems = 100
)

// listColumns are the columns of a code list as CSV, by their titles.
var listColumns = map[string]string{
	"code": "code", "代码": "code", "name": "name", "名称": "name", "name_en": "name_en", "英文名称": "name_en",
	"description": "description", "说明": "description", "aliases": "aliases", "别名": "aliases",
	"from": "from", "启用日期": "from", "to": "to", "停用日期": "to",
}

// ImportCodeList reads a code list from CSV in UTF-8, with or without byte order mark: the columns code and name and, as far
// as they are there, name_en (the code stands for it where it is empty), description, aliases (separated by semicolons), from
// and to (2021-04-09); or their Chinese titles 代码, 名称, 英文名称, 说明, 别名, 启用日期, 停用日期. What the list is called comes
// from head. With problems the result is nil. The name is used in problems only.
func ImportCodeList(r io.Reader, name string, head CodeList) (*CodeList, problem.List) {
	in := listReader{name: name, list: head}
	in.list.Codes = nil
	data, err := io.ReadAll(io.LimitReader(r, maxListBytes+1))
	switch {
	case err != nil:
		in.report(0, 0, "reading stopped: "+err.Error(), "")
	case len(data) > maxListBytes:
		in.report(0, 0, fmt.Sprintf("the file is larger than %d MiB", maxListBytes>>20), "")
	case !utf8.Valid(data):
		in.report(0, 0, "the file is not UTF-8", "save it as UTF-8")
	default:
		in.read(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))
	}
	if len(in.problems) > 0 {
		in.problems.Sort()
		return nil, in.problems
	}
	return &in.list, nil
}

type listReader struct {
	name     string
	list     CodeList
	lines    []int // of the codes
	problems problem.List
}

func (in *listReader) report(line, column int, message, fix string) {
	in.problems = append(in.problems, problem.Problem{File: in.name, Line: line, Column: column, Message: message, Fix: fix})
}

func (in *listReader) read(data []byte) {
	reader := csv.NewReader(bytes.NewReader(data))
	reader.Comment = '#'
	reader.ReuseRecord = true
	lines := bytes.Split(data, []byte("\n"))
	header, err := reader.Read()
	if err != nil {
		in.report(1, 1, "the file has no header", "use the columns code,name,name_en")
		return
	}
	var columns []string
	for i, title := range header {
		column, known := listColumns[strings.ToLower(fold(title))]
		line, at := position(reader, lines, i)
		switch {
		case !known:
			in.report(line, at, fmt.Sprintf("unknown column %q", clip(title)), "use code,name,name_en and, if need be, description,aliases,from,to")
		case slices.Contains(columns, column):
			in.report(line, at, fmt.Sprintf("column %s is there twice", column), "")
		}
		columns = append(columns, column)
	}
	for _, column := range []string{"code", "name"} {
		if !slices.Contains(columns, column) {
			in.report(1, 1, "the header lacks the column "+column, "use the columns code,name,name_en")
		}
	}
	for len(in.problems) == 0 || len(in.lines) > 0 {
		record, err := reader.Read()
		if err == io.EOF {
			break
		}
		parse, _ := errors.AsType[*csv.ParseError](err)
		switch {
		case errors.Is(err, csv.ErrFieldCount):
			in.report(parse.Line, 1, fmt.Sprintf("the row has %d fields, the header %d", len(record), len(columns)), "put quotes around values that hold commas")
			in.lines = append(in.lines, parse.Line)
			in.list.Codes = append(in.list.Codes, Code{})
		case err != nil:
			in.report(parse.Line, 1, parse.Err.Error(), "")
			return // what follows a broken quote cannot be told apart
		default:
			in.row(reader, lines, columns, record)
		}
		if len(in.lines) > maxListCodes || len(in.problems) >= maxListProblems {
			in.report(in.lines[len(in.lines)-1], 1, "too many codes or problems; the rest of the file was not read", "")
			return
		}
	}
	if len(in.problems) > 0 {
		return
	}
	for _, f := range in.list.check() {
		line := 0
		if len(f.path) > 1 && f.path[0] == "codes" {
			if i, ok := f.path[1].(int); ok {
				line = in.lines[i]
			}
		}
		column := 0
		if line > 0 {
			column = 1
		}
		in.report(line, column, f.message, f.fix)
	}
}

func (in *listReader) row(reader *csv.Reader, lines [][]byte, columns, record []string) {
	line, _ := reader.FieldPos(0)
	var c Code
	for i, text := range record {
		if strings.ContainsFunc(text, unicode.IsControl) {
			at, column := position(reader, lines, i)
			in.report(at, column, "the value holds a control character or a line break", "")
		}
		text = strings.TrimSpace(text)
		switch columns[i] {
		case "code":
			c.Code = fold(text)
		case "name":
			c.Title.Zh = text
		case "name_en":
			c.Title.En = text
		case "description":
			c.Description = text
		case "from":
			c.From = text
		case "to":
			c.To = text
		case "aliases":
			for alias := range strings.SplitSeq(strings.ReplaceAll(text, "；", ";"), ";") {
				if alias = strings.TrimSpace(alias); alias != "" {
					c.Aliases = append(c.Aliases, alias)
				}
			}
		}
	}
	if c.Title.En == "" {
		c.Title.En = c.Code
	}
	in.list.Codes = append(in.list.Codes, c)
	in.lines = append(in.lines, line)
}

// position is where a field of the last record stands, the column in characters.
func position(reader *csv.Reader, lines [][]byte, field int) (line, column int) {
	line, column = reader.FieldPos(field)
	if line >= 1 && line <= len(lines) && column-1 <= len(lines[line-1]) {
		column = utf8.RuneCount(lines[line-1][:column-1]) + 1
	}
	return line, column
}

// YAML writes the list as a project keeps it, one code a line; Load reads it back the same.
func (l *CodeList) YAML() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "list: %s\ntitle: { zh: %s, en: %s }\ndescription: %s\n", quote(l.Name), quote(l.Title.Zh), quote(l.Title.En), quote(l.Description))
	if l.Source != "" {
		fmt.Fprintf(&b, "source: %s\n", quote(l.Source))
	}
	b.WriteString("codes:\n")
	for _, c := range l.Codes {
		fmt.Fprintf(&b, "  - { code: %s, title: { zh: %s, en: %s }", quote(c.Code), quote(c.Title.Zh), quote(c.Title.En))
		for _, more := range [][2]string{{"description", c.Description}, {"from", c.From}, {"to", c.To}} {
			if more[1] != "" {
				fmt.Fprintf(&b, ", %s: %s", more[0], quote(more[1]))
			}
		}
		if len(c.Aliases) > 0 {
			aliases := make([]string, len(c.Aliases))
			for i, a := range c.Aliases {
				aliases[i] = quote(a)
			}
			fmt.Fprintf(&b, ", aliases: [%s]", strings.Join(aliases, ", "))
		}
		b.WriteString(" }\n")
	}
	return b.Bytes()
}

// quote writes text as a double-quoted scalar: every text of JSON is one of YAML.
func quote(text string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(text); err != nil {
		panic("schemas: " + err.Error()) // a text can always be encoded
	}
	return strings.TrimSuffix(b.String(), "\n")
}
