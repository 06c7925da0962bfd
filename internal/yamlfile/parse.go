package yamlfile

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/headwater-data/headwater/internal/problem"
)

type kind uint8

const (
	kindNull kind = iota
	kindText
	kindBool
	kindInt
	kindFloat
	kindList
	kindMap
	kindBroken // a problem has been noted; it is taken for whatever is wanted
)

// value is one YAML value with its position. Aliases share the value of their anchor, so the tree may be a graph; it has no
// cycles, because an anchor is known only after its value.
type value struct {
	kind      kind
	quoted    bool
	line, col int
	text      string // scalars: as written, without quotes
	entries   []entry
	items     []*value
}

type entry struct {
	key       string
	line, col int
	value     *value
}

func (k kind) String() string {
	return [...]string{"nothing", "a text", "true or false", "a whole number", "a number", "a list", "a map", "what cannot be read"}[k]
}

// parse turns a file into values, or gives nil where it is no YAML at all. A file that is empty or has only comments is null.
func parse(file string, data []byte) (*value, problem.List) {
	one := func(line, col int, message, fix string) problem.List {
		return problem.List{{File: file, Line: line, Column: col, Message: message, Fix: fix}}
	}
	if len(data) > maxBytes {
		return nil, one(0, 0, fmt.Sprintf("the file has more than %d MiB", maxBytes>>20), "split it")
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if line, col, ok := firstUnprintable(data); ok {
		return nil, one(line, col, "not valid UTF-8 text", "save the file as UTF-8, without control characters")
	}
	// A single carriage return ends a line for some editors but not for the parser.
	text := strings.ReplaceAll(strings.ReplaceAll(string(data), "\r\n", "\n"), "\r", "\n")
	tokens := lexer.Tokenize(text)
	if len(tokens) > maxTokens {
		return nil, one(0, 0, fmt.Sprintf("the file has more than %d words and signs", maxTokens), "split it, or keep tables in CSV files")
	}
	if t := tooDeep(tokens); t != nil {
		return nil, one(t.Position.Line, t.Position.Column, fmt.Sprintf("nested deeper than %d levels", maxDepth), "")
	}
	tree, err := parseTokens(tokens)
	if err != nil {
		var at yaml.Error
		if errors.As(err, &at) && at.GetToken() != nil {
			p := at.GetToken().Position
			return nil, one(p.Line, p.Column, "not valid YAML: "+withoutQuotes(at.GetMessage()), "")
		}
		return nil, one(0, 0, "not valid YAML", "")
	}
	var body ast.Node
	for _, doc := range tree.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.DirectiveType {
			continue
		}
		if body != nil {
			p := doc.Body.GetToken().Position
			if m, ok := doc.Body.(*ast.MappingNode); ok && len(m.Values) > 0 {
				p = m.Values[0].Key.GetToken().Position
			}
			return nil, one(p.Line, p.Column, "a second document begins here", "one file holds one document: remove the line ---")
		}
		body = doc.Body
	}
	if body == nil {
		return &value{line: 1, col: 1}, nil
	}
	c := converter{file: file, anchors: map[string]*value{}}
	root := c.convert(body, 0)
	return root, c.problems
}

// parseTokens keeps a fault of the parser library from ending the program: the text comes from people.
func parseTokens(tokens token.Tokens) (tree *ast.File, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("parser fault")
		}
	}()
	return parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
}

func firstUnprintable(data []byte) (line, col int, found bool) {
	line, col = 1, 1
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		if r == utf8.RuneError && n <= 1 || r < ' ' && r != '\n' && r != '\r' && r != '\t' || r == 0x7f {
			return line, col, true
		}
		if col++; r == '\n' {
			line, col = line+1, 1
		}
		data = data[n:]
	}
	return 0, 0, false
}

// tooDeep returns the token at which nesting passes maxDepth, before the recursive parser sees it. Nesting in blocks is the
// number of different columns that are open, nesting in brackets the number of brackets.
func tooDeep(tokens token.Tokens) *token.Token {
	var open []int
	brackets := 0
	for i, t := range tokens {
		var column int
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			brackets++
		case token.SequenceEndType, token.MappingEndType:
			brackets = max(0, brackets-1)
		case token.SequenceEntryType, token.MappingKeyType:
			column = t.Position.Column
		case token.MappingValueType:
			if i > 0 {
				column = tokens[i-1].Position.Column
			}
		}
		if column > 0 && brackets == 0 {
			for len(open) > 0 && open[len(open)-1] > column {
				open = open[:len(open)-1]
			}
			if len(open) == 0 || open[len(open)-1] < column {
				open = append(open, column)
			}
		}
		if len(open)+brackets > maxDepth {
			return t
		}
	}
	return nil
}

var quoted = regexp.MustCompile("[\"'`].*[\"'`]")

// withoutQuotes removes what a parser's message quotes from the file.
func withoutQuotes(message string) string {
	return quoted.ReplaceAllStringFunc(message, func(q string) string {
		if utf8.RuneCountInString(q) == 3 { // one sign, such as '}', says what is missing and gives nothing away
			return q
		}
		return "…"
	})
}

// converter turns the library's tree into values, so that the rest depends on nothing else.
type converter struct {
	file     string
	anchors  map[string]*value
	problems problem.List
}

func (c *converter) fail(p *token.Position, message, fix string) {
	c.problems = append(c.problems, problem.Problem{File: c.file, Line: p.Line, Column: p.Column, Message: message, Fix: fix})
}

func (c *converter) convert(n ast.Node, depth int) *value {
	if n == nil {
		return &value{}
	}
	p := n.GetToken().Position
	v := &value{line: p.Line, col: p.Column}
	if depth > maxDepth {
		c.fail(p, fmt.Sprintf("nested deeper than %d levels", maxDepth), "")
		v.kind = kindBroken
		return v
	}
	switch n := n.(type) {
	case *ast.NullNode:
	case *ast.StringNode:
		v.kind, v.text = kindText, n.Value
		v.quoted = n.Token.Type == token.SingleQuoteType || n.Token.Type == token.DoubleQuoteType
	case *ast.LiteralNode:
		v.kind, v.text, v.quoted = kindText, n.Value.Value, true
	case *ast.BoolNode:
		v.kind, v.text = kindBool, n.Token.Value
	case *ast.IntegerNode:
		v.kind, v.text = kindInt, n.Token.Value
	case *ast.FloatNode:
		v.kind, v.text = kindFloat, n.Token.Value
	case *ast.InfinityNode:
		v.kind, v.text = kindFloat, n.Token.Value
	case *ast.NanNode:
		v.kind, v.text = kindFloat, n.Token.Value
	case *ast.SequenceNode:
		v.kind = kindList
		for _, item := range n.Values {
			v.items = append(v.items, c.convert(item, depth+1))
		}
	case *ast.MappingNode:
		v.kind = kindMap
		c.entries(v, n.Values, depth)
	case *ast.MappingValueNode:
		v.kind = kindMap
		c.entries(v, []*ast.MappingValueNode{n}, depth)
	case *ast.AnchorNode:
		v = c.convert(n.Value, depth+1)
		if n.Name != nil {
			c.anchors[n.Name.GetToken().Value] = v
		}
	case *ast.AliasNode:
		target, ok := c.anchors[n.Value.GetToken().Value]
		if !ok {
			c.fail(p, "alias of an anchor that is not defined before it", "define the anchor above, or write the value out")
			v.kind = kindBroken
			return v
		}
		return target
	case *ast.TagNode:
		c.fail(p, "tags (!) are not supported", "remove the tag; quotes make a value a text")
		return c.convert(n.Value, depth+1)
	case *ast.CommentGroupNode:
	default:
		v.kind = kindBroken
		c.fail(p, "this kind of YAML value is not supported", "")
	}
	if v.kind == kindMap && len(v.entries) > 0 { // the library gives the first colon as a map's position
		v.line, v.col = v.entries[0].line, v.entries[0].col
	}
	return v
}

func (c *converter) entries(v *value, nodes []*ast.MappingValueNode, depth int) {
	seen := make(map[string]*token.Position, len(nodes))
	for _, n := range nodes {
		p := n.Key.GetToken().Position
		var key string
		switch k := n.Key.(type) {
		case *ast.StringNode:
			key = k.Value
		case *ast.NullNode, *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
			key = k.GetToken().Value
		case *ast.MergeKeyNode:
			c.fail(p, "merge keys (<<) are not supported", "write the keys out")
			continue
		default:
			c.fail(p, "a key must be a plain text", "")
			continue
		}
		if first, ok := seen[key]; ok {
			c.fail(p, "duplicate key "+showKey(key), fmt.Sprintf("it is already on line %d; keep one of them", first.Line))
			continue
		}
		seen[key] = p
		v.entries = append(v.entries, entry{key: key, line: p.Line, col: p.Column, value: c.convert(n.Value, depth+1)})
	}
}

// showKey quotes a key for people. A key that does not look like one may be a value in the wrong place (`{password:x}`
// is one key), so it is not shown.
func showKey(key string) string {
	if !plainKey.MatchString(key) || utf8.RuneCountInString(key) > 64 {
		return "(not shown: it does not look like a key; is a space missing after a colon?)"
	}
	return fmt.Sprintf("%q", key)
}

var plainKey = regexp.MustCompile(`^[\pL_][\pL\pN_. -]*$`)
