// Package yamlfile decodes the YAML files that people write, strictly and with positions.
//
// Decode reads one document into a struct by its yaml tags. Everything that does not fit is a problem with line and column:
// unknown keys (with a suggestion), wrong types, duplicate keys, required keys that are missing. All problems are collected;
// what could be decoded is decoded. No problem ever holds a value or an excerpt of the file, because a password may stand there.
//
// Struct tags: `yaml:"name"` names the key (`,inline` merges an embedded struct, "-" leaves the field out),
// `required:"true"` demands a value, `enum:"a,b"` lists the texts that are allowed. Fields of type Node are kept for later, of
// type secret.Value take only references. A field of type any takes string, int64, float64, bool, nil, []any and map[string]any.
//
// Types with methods of their own are asked first: UnmarshalYAML(decode func(any) error) error for any value, UnmarshalShorthand
// or UnmarshalText for scalars. Their error texts are shown, so they must not quote what a secret may be.
//
// Within YAML, anchors and aliases are allowed in bounds; merge keys (<<), tags and several documents are not. Numbers and
// true/false are accepted where a text is wanted, as they are written, so that codes need no quotes.
package yamlfile

import (
	"strings"

	"github.com/headwater-data/headwater/internal/problem"
)

// The bounds of a file. They are far above what people write and keep the parser's time within seconds.
const (
	maxBytes  = 4 << 20
	maxDepth  = 100
	maxTokens = 60_000  // the parser is quadratic in the entries of one map; about 15,000 entries
	maxVisits = 500_000 // values decoded, aliases expanded: bounds alias bombs
)

// Shorthand is implemented on the pointer by types that also accept a bare scalar in place of a map, such as a field mapping
// written as a column's name. It reports whether the text is acceptable.
type Shorthand interface{ UnmarshalShorthand(scalar string) bool }

// Document is a parsed file: it knows where each key stands. The zero Document knows nothing.
type Document struct {
	file string
	root *value
}

// Node is a part of a document whose decoding is left to somebody else, such as a connector's options. The zero Node is a
// part that is not there.
type Node struct {
	doc        *Document
	v          *value
	line, col  int // of the key that holds the node, or of the map that lacks it, for At with no path
	references *References
}

// Decode decodes one YAML document into the struct (or map, or Node) that into points to. The Document is never nil and
// answers At for what could be parsed.
func Decode(file string, data []byte, into any) (*Document, problem.List) {
	doc := &Document{file: file}
	root, problems := parse(file, data)
	if root == nil {
		return doc, problems
	}
	doc.root = root
	problems = append(problems, doc.decode(root, into, nil)...)
	problems.Sort()
	return doc, problems
}

// At returns a Problem without a message at the position of the key path: string keys and int indexes. A path that is not
// in the file gives its nearest parent that is.
func (d *Document) At(path ...any) problem.Problem {
	if d.root == nil {
		return problem.Problem{File: d.file}
	}
	return at(d.file, d.root, 0, 0, path)
}

// Decode decodes the node as the package's Decode does. A node that is not there decodes as an empty map, so that required
// keys are missed.
func (n Node) Decode(into any) problem.List {
	doc, v := n.doc, n.v
	if doc == nil {
		doc = &Document{}
	}
	if v == nil {
		v = &value{kind: kindNull, line: n.line, col: n.col}
	}
	return doc.decode(v, into, n.references)
}

// IsZero reports whether the node is not there (or empty) in the file.
func (n Node) IsZero() bool { return n.v == nil || n.v.kind == kindNull }

// At is as Document.At, with the path below the node; without a path it is the node's own key.
func (n Node) At(path ...any) problem.Problem {
	if n.doc == nil {
		return problem.Problem{}
	}
	if n.v == nil {
		return problem.Problem{File: n.doc.file, Line: n.line, Column: n.col}
	}
	return at(n.doc.file, n.v, n.line, n.col, path)
}

// With returns the node so that its Decode resolves references.
func (n Node) With(r *References) Node {
	n.references = r
	return n
}

func at(file string, v *value, line, col int, path []any) problem.Problem {
	if line == 0 {
		line, col = v.line, v.col
	}
	for _, step := range path {
		found := false
		switch step := step.(type) {
		case string:
			for i := range v.entries {
				if e := &v.entries[i]; e.key == step {
					v, line, col, found = e.value, e.line, e.col, true
					break
				}
			}
		case int:
			if step >= 0 && step < len(v.items) {
				v = v.items[step]
				line, col, found = v.line, v.col, true
			}
		}
		if !found {
			break
		}
	}
	return problem.Problem{File: file, Line: line, Column: col}
}

// Suggest returns the known word that word was probably meant to be, or "" when none is near. It counts the letters to
// change, insert, drop or swap, and prefers a known word that word is the beginning of.
func Suggest(word string, known []string) string {
	if len(word) > 64 {
		return ""
	}
	best, bestCost := "", len([]rune(word))/3+1
	w := strings.ToLower(word)
	for _, k := range known {
		cost := distance(w, strings.ToLower(k))
		if len(w) >= 3 && strings.HasPrefix(strings.ToLower(k), w) {
			cost = 1
		}
		if cost < bestCost || cost == bestCost && best == "" {
			best, bestCost = k, cost
		}
	}
	return best
}

// distance is the optimal string alignment distance in characters.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	if len(x) > 64 || len(y) > 64 {
		return max(len(x), len(y))
	}
	var rows [3][65]int
	before, prev, cur := &rows[0], &rows[1], &rows[2]
	for j := range len(y) + 1 {
		prev[j] = j
	}
	for i := 1; i <= len(x); i++ {
		cur[0] = i
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(y)]
}
