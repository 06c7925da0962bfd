package clickhouse

import (
	"bytes"
	"errors"
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
func guard(c *connection, body string, found classification) error {
	if clientFiles.MatchString(body) && found.Class != classReadOnly {
		return exception(codeAccessDenied, "INTO OUTFILE and FROM INFILE are not available in the embedded warehouse")
	}
	if found.Class != classReadOnly && inlineDisk.MatchString(body) {
		return exception(codeAccessDenied, "Disks are not available in the embedded warehouse")
	}
	if !suspicious.MatchString(body) {
		return nil
	}
	tree, err := c.query("EXPLAIN AST "+body+"\nFORMAT TSVRaw", "TSVRaw")
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

// evaluatesValues reports whether rows in format Values might call a function that reaches outside, spelled out or with
// escapes: such rows may be expressions, and no parser looks at them beforehand.
func evaluatesValues(rows io.Reader) (bool, error) {
	const overlap = len("file") - 1
	piece := make([]byte, 256<<10)
	kept := 0
	for {
		n, err := io.ReadFull(rows, piece[kept:])
		seen := piece[:kept+n]
		if bytes.IndexByte(seen, '\\') >= 0 || bytes.Contains(bytes.ToLower(seen), []byte("file")) {
			return true, nil
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		kept = copy(piece, seen[len(seen)-overlap:])
	}
}
