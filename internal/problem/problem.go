// Package problem describes what is wrong in a file that people write: where, what, and what to do about it.
package problem

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one fault in a configuration file. It never holds an excerpt of the file: a password may stand there.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`   // 1-based; 0 when the whole file is meant
	Column  int    `json:"column,omitempty"` // 1-based, in characters
	Message string `json:"message"`          // what is wrong
	Fix     string `json:"fix,omitempty"`    // what to do
}

// String formats the problem as file:line:column: message (fix), as compilers do.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	b.WriteString(": " + p.Message)
	if p.Fix != "" {
		b.WriteString(" (" + p.Fix + ")")
	}
	return b.String()
}

// List is all problems of a project. As an error it prints one problem a line.
type List []Problem

func (l List) Error() string {
	lines := make([]string, len(l))
	for i, p := range l {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Err returns the list as an error, or nil when it is empty.
func (l List) Err() error {
	if len(l) == 0 {
		return nil
	}
	return l
}

// Sort orders the list by file and position.
func (l List) Sort() {
	slices.SortStableFunc(l, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}
