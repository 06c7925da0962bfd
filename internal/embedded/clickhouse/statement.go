package clickhouse

import (
	"strings"
	"unicode/utf8"
)

// tokenKind sorts the tokens of ClickHouse's SQL as far as this package needs them.
type tokenKind int

const (
	tokenWord   tokenKind = iota // an unquoted identifier, keyword or number
	tokenQuoted                  // a quoted identifier
	tokenText                    // a string literal or heredoc
	tokenMark                    // any other single character
)

// token is one token of a statement; comments and white space are not tokens.
type token struct {
	kind       tokenKind
	start, end int
}

func (t token) in(sql string) string { return sql[t.start:t.end] }

func (t token) isWord(sql, word string) bool {
	return t.kind == tokenWord && strings.EqualFold(t.in(sql), word)
}

func (t token) isMark(sql string, mark byte) bool {
	return t.kind == tokenMark && sql[t.start] == mark
}

// lexer cuts a text into tokens, one at a time, so that the data after an INSERT is never looked at.
type lexer struct {
	sql string
	at  int
}

// next gives the next token, false at the end of the text. What is not closed ends with the text.
func (l *lexer) next() (token, bool) {
	l.skip()
	if l.at >= len(l.sql) {
		return token{}, false
	}
	start := l.at
	c := l.sql[start]
	switch {
	case c == '\'':
		l.quoted('\'')
		return token{tokenText, start, l.at}, true
	case c == '"' || c == '`':
		l.quoted(c)
		return token{tokenQuoted, start, l.at}, true
	case strings.HasPrefix(l.sql[start:], "‘"):
		l.until(start+len("‘"), "’")
		return token{tokenText, start, l.at}, true
	case strings.HasPrefix(l.sql[start:], "“"):
		l.until(start+len("“"), "”")
		return token{tokenQuoted, start, l.at}, true
	case c == '$':
		if tag, ok := heredocTag(l.sql[start:]); ok {
			l.until(start+len(tag), tag)
			return token{tokenText, start, l.at}, true
		}
		l.word()
		return token{tokenWord, start, l.at}, true
	case isWordByte(c):
		l.word()
		return token{tokenWord, start, l.at}, true
	}
	_, size := utf8.DecodeRuneInString(l.sql[start:])
	l.at += size
	return token{tokenMark, start, l.at}, true
}

func isWordByte(c byte) bool {
	return c == '_' || c == '$' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func (l *lexer) word() {
	for l.at < len(l.sql) && isWordByte(l.sql[l.at]) {
		l.at++
	}
}

// skip steps over white space and comments.
func (l *lexer) skip() {
	for l.at < len(l.sql) {
		rest := l.sql[l.at:]
		switch {
		case strings.HasPrefix(rest, "--"), strings.HasPrefix(rest, "# "), strings.HasPrefix(rest, "#!"):
			l.until(l.at, "\n")
		case strings.HasPrefix(rest, "/*"):
			l.until(l.at+2, "*/")
		case strings.IndexByte(" \t\r\n\f\v\x00", rest[0]) >= 0:
			l.at++
		case strings.HasPrefix(rest, "\u00a0"), strings.HasPrefix(rest, "\ufeff"):
			_, size := utf8.DecodeRuneInString(rest)
			l.at += size
		default:
			return
		}
	}
}

// until moves behind the next end at or after from, or to the end of the text.
func (l *lexer) until(from int, end string) {
	if i := strings.Index(l.sql[from:], end); i >= 0 {
		l.at = from + i + len(end)
		return
	}
	l.at = len(l.sql)
}

// quoted moves behind a text in quotes, which stand for themselves when doubled or after a backslash.
func (l *lexer) quoted(quote byte) {
	for l.at++; l.at < len(l.sql); l.at++ {
		switch l.sql[l.at] {
		case '\\':
			l.at++
		case quote:
			if l.at+1 < len(l.sql) && l.sql[l.at+1] == quote {
				l.at++
				continue
			}
			l.at++
			return
		}
	}
	l.at = len(l.sql)
}

func heredocTag(s string) (string, bool) {
	for i := 1; i < len(s); i++ {
		if s[i] == '$' {
			return s[:i+1], true
		}
		if !isWordByte(s[i]) {
			return "", false
		}
	}
	return "", false
}

// insertHead is an INSERT whose rows follow its text.
type insertHead struct {
	statement string // without FORMAT clause and rows
	format    string // empty: the statement names none
	rows      int    // where the rows begin in the text
}

// splitInsert recognises an INSERT that takes rows from outside (INSERT … VALUES, INSERT … FORMAT x, or nothing at all) and
// finds where the rows begin. It reports false for every other statement, INSERT … SELECT among them.
func splitInsert(sql string) (insertHead, bool) {
	l := &lexer{sql: sql}
	first, ok := l.next()
	if !ok || !first.isWord(sql, "INSERT") {
		return insertHead{}, false
	}
	t, ok := l.next()
	if ok && t.isWord(sql, "INTO") {
		t, ok = l.next()
	}
	if ok && t.isWord(sql, "TABLE") {
		// A table may itself be named "table": it is the keyword only when a name follows.
		rest := *l
		if after, more := rest.next(); more && (after.kind == tokenQuoted || after.kind == tokenWord && !isInsertKeyword(after.in(sql))) {
			t, ok = l.next()
		}
	}
	if ok && t.isWord(sql, "FUNCTION") {
		t, ok = l.next()
	}
	if !ok || t.kind != tokenWord && t.kind != tokenQuoted && !t.isMark(sql, '{') {
		return insertHead{}, false
	}
	depth := 0
	if t.isMark(sql, '{') {
		depth = 1
	}
	last := t
	dotted := false // the token after a dot is part of a name, whatever its letters
	for {
		t, ok = l.next()
		if !ok {
			return insertHead{statement: sql[:last.end], rows: len(sql)}, depth == 0
		}
		switch {
		case t.isMark(sql, '('), t.isMark(sql, '{'), t.isMark(sql, '['):
			if rest := *l; depth == 0 {
				if inner, more := rest.next(); more && (inner.isWord(sql, "SELECT") || inner.isWord(sql, "WITH")) {
					return insertHead{}, false
				}
			}
			depth++
		case t.isMark(sql, ')'), t.isMark(sql, '}'), t.isMark(sql, ']'):
			depth--
		case depth > 0 || dotted:
		case t.isMark(sql, ';'):
			return insertHead{statement: sql[:last.end], rows: t.end}, true
		case t.isWord(sql, "VALUES"):
			return insertHead{statement: sql[:last.end], format: "Values", rows: t.end}, true
		case t.isWord(sql, "FORMAT"):
			name, more := l.next()
			if !more || name.kind != tokenWord {
				return insertHead{}, false
			}
			head := insertHead{statement: sql[:last.end], format: name.in(sql), rows: name.end}
			if end, found := settingsAfter(sql, name.end); found {
				head.statement += " " + sql[name.end:end]
				head.rows = end
			}
			head.rows = skipLineEnd(sql, head.rows)
			return head, true
		case t.isWord(sql, "SELECT"), t.isWord(sql, "WITH"), t.isWord(sql, "WATCH"), t.isWord(sql, "FROM"):
			return insertHead{}, false
		}
		dotted = t.isMark(sql, '.')
		last = t
	}
}

func isInsertKeyword(word string) bool {
	switch strings.ToUpper(word) {
	case "VALUES", "FORMAT", "SELECT", "WITH", "SETTINGS", "PARTITION", "FROM", "WATCH":
		return true
	}
	return false
}

// skipLineEnd steps over the blanks and the one line end that may stand between a FORMAT clause and the rows.
func skipLineEnd(sql string, at int) int {
	for at < len(sql) && strings.IndexByte(" \t\f", sql[at]) >= 0 {
		at++
	}
	if at < len(sql) && sql[at] == ';' {
		// A semicolon that ends the line ends the statement; within a line it is data.
		if rest := strings.TrimLeft(sql[at+1:], " \t\f"); rest == "" || rest[0] == '\n' || rest[0] == '\r' {
			at = len(sql) - len(rest)
		}
	}
	if at < len(sql) && sql[at] == '\r' {
		at++
	}
	if at < len(sql) && sql[at] == '\n' {
		at++
	}
	return at
}

// settingsAfter finds a SETTINGS clause (name = value, …) that begins at an offset, and where it ends.
func settingsAfter(sql string, at int) (end int, found bool) {
	l := &lexer{sql: sql, at: at}
	if t, ok := l.next(); !ok || !t.isWord(sql, "SETTINGS") {
		return 0, false
	}
	for {
		if t, ok := l.next(); !ok || t.kind != tokenWord {
			return end, found
		}
		if t, ok := l.next(); !ok || !t.isMark(sql, '=') {
			return end, found
		}
		t, ok := l.next()
		if ok && (t.isMark(sql, '-') || t.isMark(sql, '+')) {
			t, ok = l.next()
		}
		if !ok || t.kind == tokenMark {
			return end, found
		}
		end, found = t.end, true
		rest := *l
		for {
			// A number with a fraction is three tokens.
			dot, ok := rest.next()
			if !ok || !dot.isMark(sql, '.') || dot.start != end {
				break
			}
			digits, ok := rest.next()
			if !ok || digits.start != dot.end {
				break
			}
			end, *l = digits.end, rest
		}
		rest = *l
		if comma, ok := rest.next(); !ok || !comma.isMark(sql, ',') {
			return end, found
		}
		*l = rest
	}
}

// outputClause is the end of a statement that says how its result is written.
type outputClause struct {
	body     string // the statement without the clause, closing semicolons and closing comments
	format   string // empty: the statement names none
	settings string // the SETTINGS clause behind FORMAT, if any
}

// splitOutput cuts FORMAT and what follows it off a statement's end.
func splitOutput(sql string) outputClause {
	var tokens []token
	depth := 0
	var top []int // indexes of tokens outside all brackets
	for l := (&lexer{sql: sql}); ; {
		t, ok := l.next()
		if !ok {
			break
		}
		if t.kind == tokenMark {
			switch sql[t.start] {
			case '(', '[', '{':
				depth++
			case ')', ']', '}':
				depth--
			}
		}
		if depth == 0 {
			top = append(top, len(tokens))
		}
		tokens = append(tokens, t)
	}
	for len(tokens) > 0 && tokens[len(tokens)-1].isMark(sql, ';') {
		tokens = tokens[:len(tokens)-1]
	}
	if len(tokens) == 0 {
		return outputClause{}
	}
	end := tokens[len(tokens)-1].end
	for i := len(top) - 1; i >= 0; i-- {
		at := top[i]
		if at+1 >= len(tokens) || at == 0 || !tokens[at].isWord(sql, "FORMAT") || tokens[at+1].kind != tokenWord {
			continue
		}
		clause := outputClause{body: sql[:tokens[at-1].end], format: tokens[at+1].in(sql)}
		if at+2 == len(tokens) {
			return clause
		}
		if stop, found := settingsAfter(sql, tokens[at+1].end); found && stop == end {
			clause.settings = sql[tokens[at+2].start:end]
			return clause
		}
		break
	}
	return outputClause{body: sql[:end]}
}

// quoteText writes a string literal.
func quoteText(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// quoteName writes a quoted identifier.
func quoteName(s string) string {
	return "`" + strings.NewReplacer(`\`, `\\`, "`", "\\`").Replace(s) + "`"
}
