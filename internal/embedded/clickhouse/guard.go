package clickhouse

import (
	"bytes"
	"io"
	"regexp"
	"strings"
)

// The engine is client and server in one, and as a client it may touch the machine's files with no grant asked: INTO OUTFILE
// and FROM INFILE, the function file(), a disk named in a table's settings. The guard refuses those, and asks the engine's
// own parser what a statement means, so that quoting and comments hide nothing.

var (
	clientFiles = regexp.MustCompile(`(?i)outfile|infile`)
	// suspicious texts are looked at closely. A backslash can spell any letter inside a quoted name.
	suspicious = regexp.MustCompile(`(?i)file|eval|executable|catboost|\\`)
	// disks made in a statement: the engine makes the folder before it asks whether the setting may be changed.
	inlineDisk = regexp.MustCompile("(?i)\\bdisk[\"`]?\\s*\\(")
)

// refusedFunctions are functions, table functions and table engines, which the tree all calls functions.
var refusedFunctions = []string{"file", "eval", "executable", "catboostEvaluate", "Executable", "ExecutablePool"}

// guard refuses a statement that would reach outside. The statement is one, and it parses.
func guard(c *connection, body string, found classification, bindings ...parameter) error {
	if clientFiles.MatchString(body) && found.Class != classReadOnly {
		return exception(codeAccessDenied, "INTO OUTFILE and FROM INFILE are not available in the embedded warehouse")
	}
	if found.Class != classReadOnly && inlineDisk.MatchString(body) {
		return exception(codeAccessDenied, "Disks are not available in the embedded warehouse")
	}
	if !suspicious.MatchString(body) {
		return nil
	}
	tree, err := c.query("EXPLAIN AST "+body+"\nFORMAT TSVRaw", "TSVRaw", bindings...)
	if err != nil {
		return err
	}
	defer tree.release()
	if len(tree.bytes) == 0 {
		return exception(codeAccessDenied, "The statement cannot be looked into")
	}
	for _, name := range refusedFunctions {
		if bytes.Contains(tree.bytes, []byte("Function "+name+" ")) || bytes.Contains(tree.bytes, []byte("Function "+name+"\n")) {
			return exception(codeAccessDenied, "Function %s is not available in the embedded warehouse", name)
		}
	}
	// The tree does not name the function that APPLY applies.
	if bytes.Contains(tree.bytes, []byte("ColumnsApplyTransformer")) && (strings.Contains(body, `\`) || strings.Contains(strings.ToLower(body), "file")) {
		return exception(codeAccessDenied, "APPLY beside a backslash or the word file is not available in the embedded warehouse")
	}
	return nil
}

// valuesScan looks at rows in format Values, which may be expressions and which no parser looks at beforehand. It follows
// string literals only; whatever else could hide a name (quoted names, comments, heredocs, letters beyond ASCII) counts as odd.
type valuesScan struct {
	inText, escaped bool
	word            [4]byte // the last bytes outside of texts, in lower case
	odd             bool    // outside of texts stands a name or a sign that may be or hide a refused function
}

func (v *valuesScan) Write(p []byte) (int, error) {
	for _, c := range p {
		switch {
		case v.escaped:
			v.escaped = false
		case v.inText:
			v.escaped = c == '\\'
			v.inText = c != '\''
		case c == '\'':
			v.inText = true
		case c >= 0x80, strings.IndexByte("\"`#$\\", c) >= 0,
			c == '-' && v.word[3] == '-', c == '*' && v.word[3] == '/':
			v.odd = true
		default:
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			v.word = [4]byte{v.word[1], v.word[2], v.word[3], c}
			v.odd = v.odd || string(v.word[:]) == "file"
		}
	}
	return len(p), nil
}

// evaluatesValues reports whether rows in format Values might call a function that reaches outside.
func evaluatesValues(rows io.Reader) (bool, error) {
	var scan valuesScan
	_, err := io.Copy(&scan, rows)
	return scan.odd, err
}
