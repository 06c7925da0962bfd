package transform

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// trim cuts blanks from both ends: ASCII blanks, the no-break space, the ideographic space and the byte order mark, all of
// which departments' files have around values.
func trim(b []byte) []byte {
	for len(b) > 0 {
		c := b[0]
		if c > ' ' && c < 0xC2 {
			break
		}
		if c <= ' ' {
			b = b[1:]
			continue
		}
		r, size := utf8.DecodeRune(b)
		if !isBlank(r) {
			break
		}
		b = b[size:]
	}
	for len(b) > 0 {
		c := b[len(b)-1]
		if c > ' ' && c < 0x80 {
			break
		}
		if c <= ' ' {
			b = b[:len(b)-1]
			continue
		}
		r, size := utf8.DecodeLastRune(b)
		if !isBlank(r) {
			break
		}
		b = b[:len(b)-size]
	}
	return b
}

func isBlank(r rune) bool {
	switch r {
	case ' ', '\t', '\n', '\r', '\v', '\f', 0, '\u00a0', '\u3000', '\ufeff', '\u200b':
		return true
	}
	return r < ' ' || r >= '\u2000' && r <= '\u200a'
}

// foldWidth turns full-width forms (U+FF01 to U+FF5E) into ASCII, the ideographic space into a blank and the minus sign into
// a hyphen. It returns b itself when there is nothing to fold.
func foldWidth(b []byte) []byte {
	i := 0
	// Nothing to fold begins with another byte than these: most Chinese text needs no copy.
	for i < len(b) && b[i] != 0xEF && b[i] != 0xE3 && b[i] != 0xC2 && b[i] != 0xE2 {
		i++
	}
	if i == len(b) {
		return b
	}
	out := make([]byte, i, len(b))
	copy(out, b[:i])
	for i < len(b) {
		r, size := utf8.DecodeRune(b[i:])
		switch {
		case r >= 0xFF01 && r <= 0xFF5E:
			out = append(out, byte(r-0xFEE0))
		case r == 0x3000 || r == 0xA0:
			out = append(out, ' ')
		case r == 0x2212:
			out = append(out, '-')
		default:
			out = append(out, b[i:i+size]...)
		}
		i += size
	}
	return out
}

// words is a set of null words, compared as trimmed text.
type words struct {
	set     map[string]struct{}
	longest int
}

func newWords(list []string) words {
	w := words{}
	for _, word := range list {
		if w.set == nil {
			w.set = map[string]struct{}{}
		}
		word = string(trim([]byte(word)))
		w.set[word] = struct{}{}
		w.longest = max(w.longest, len(word))
	}
	return w
}

// has reports whether the trimmed text b is one of the words.
func (w *words) has(b []byte) bool {
	if len(b) > w.longest || w.set == nil {
		return false
	}
	_, ok := w.set[string(b)]
	return ok
}

// bounded cuts text for people to at most n characters.
func bounded(text string, n int) string {
	if len(text) <= n {
		return strings.ToValidUTF8(text, "\ufffd")
	}
	count := 0
	for i := range text {
		if count == n {
			return strings.ToValidUTF8(text[:i], "\ufffd") + "…"
		}
		count++
	}
	return strings.ToValidUTF8(text, "\ufffd")
}

// quoted shows a value in a message, at most 200 characters of it.
func quoted[T ~string | ~[]byte](value T) string {
	return "“" + bounded(string(value), 200) + "”"
}

// isDamagedNumber recognises a long number that a spreadsheet turned into a float: 3.30102E+17.
func isDamagedNumber(b []byte) bool {
	if len(b) < 4 || len(b) > 32 {
		return false
	}
	if c := b[1]; c-'0' <= 9 && b[0]-'0' <= 9 {
		return false // one digit before the point
	}
	e := bytes.IndexAny(b, "eE")
	if e < 1 {
		return false
	}
	mantissa := b[:e]
	if mantissa[0] == '-' || mantissa[0] == '+' {
		mantissa = mantissa[1:]
	}
	if len(mantissa) == 0 || mantissa[0]-'0' > 9 {
		return false
	}
	for i, c := range mantissa[1:] {
		if i == 0 && c != '.' || i > 0 && c-'0' > 9 {
			return false
		}
	}
	if len(mantissa) == 2 {
		return false
	}
	exponent := b[e+1:]
	if len(exponent) > 0 && exponent[0] == '+' {
		exponent = exponent[1:]
	} else {
		return false
	}
	if len(exponent) == 0 || len(exponent) > 3 {
		return false
	}
	for _, c := range exponent {
		if c-'0' > 9 {
			return false
		}
	}
	return true
}
