package screen

import (
	"bufio"
	"io"
	"strings"
)

// Pair is a name with its value; the value is shown as in tables.
type Pair struct {
	Name  string
	Value any
}

// Block is a titled list of pairs.
type Block struct {
	Title string
	Pairs []Pair
}

// SideBySide writes two blocks beside each other within the width (0: as wide as they are), the right one after an arrow.
func SideBySide(w io.Writer, width int, left, right Block) error {
	l, r := left.lines(), right.lines()
	lw, rw := widest(l), widest(r)
	const arrow = "  →  "
	if over := lw + rw + 5 - width; width > 0 && over > 0 {
		half := (width - 5) / 2
		switch {
		case lw <= half:
			rw = max(minColumn, width-5-lw)
		case rw <= half:
			lw = max(minColumn, width-5-rw)
		default:
			lw, rw = max(minColumn, half), max(minColumn, width-5-half)
		}
	}
	out := bufio.NewWriter(w)
	for i := range max(len(l), len(r)) {
		var a, b string
		if i < len(l) {
			a = l[i]
		}
		if i < len(r) {
			b = r[i]
		}
		sep := "     "
		if i == 0 {
			sep = arrow
		}
		line := pad(a, chars.StringWidth(a), lw, false) + sep + pad(b, chars.StringWidth(b), rw, false)
		if _, err := out.WriteString(strings.TrimRight(line, " ") + "\n"); err != nil {
			return err
		}
	}
	return out.Flush()
}

func (b Block) lines() []string {
	names := 0
	for _, p := range b.Pairs {
		names = max(names, chars.StringWidth(Clean(p.Name)))
	}
	lines := []string{Clean(b.Title)}
	for _, p := range b.Pairs {
		name := Clean(p.Name)
		text, _ := show(p.Value)
		lines = append(lines, "  "+pad(name, chars.StringWidth(name), names, false)+"  "+text)
	}
	return lines
}

func widest(lines []string) int {
	w := 0
	for _, l := range lines {
		w = max(w, chars.StringWidth(l))
	}
	return w
}

// Wrap breaks text into lines of at most width columns, each indented and ended by a line break. Chinese text, which has no
// spaces, is broken anywhere.
func Wrap(text, indent string, width int) string {
	room := max(minColumn, width-chars.StringWidth(indent))
	var b strings.Builder
	line := ""
	flush := func() {
		if line != "" {
			b.WriteString(indent + line + "\n")
		}
		line = ""
	}
	for _, word := range strings.Fields(text) {
		word = Clean(word)
		if line != "" && chars.StringWidth(line)+1+chars.StringWidth(word) > room {
			flush()
		}
		if line != "" {
			line += " "
		}
		for _, r := range word {
			if chars.StringWidth(line)+chars.RuneWidth(r) > room {
				flush()
			}
			line += string(r)
		}
	}
	flush()
	return b.String()
}
