package transform

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzExpression: no expression that somebody writes into a mapping makes compiling it panic, the problem told is valid and bounded
// text, and what compiles over a record names only what is there.
func FuzzExpression(f *testing.F) {
	set := everything(f)
	schema, ok := set.Schema(set.Names()[0])
	if !ok {
		f.Fatal("no schema")
	}
	for _, text := range []string{`col["a"] == "b"`, "1 + ", `map(1..1000000000, #)`, "col", `"a" matches "("`, strings.Repeat("(", 5000), strings.Repeat("!", 5000), "let x = 1; x", "now()", "a?.b ?? c", `repeat("a", 1000000000)`} {
		f.Add(text, true)
		f.Add(text, false)
	}
	f.Fuzz(func(t *testing.T, text string, asBool bool) {
		if len(text) > 64<<10 {
			return // files are bounded
		}
		_, problem := compileRow(text, asBool)
		_, other := compileRecord(text, schema)
		for _, p := range []string{problem, other} {
			if !utf8.ValidString(p) || len(p) > 2000 {
				t.Errorf("%q: the problem is %q", text, p)
			}
		}
	})
}
