package sql

import "strings"

// effect is what a statement in the binlog does to a table.
type effect byte

const (
	noEffect  effect = iota // on the table
	truncates               // all rows are gone
	alters                  // columns may be others from here on
	replaces                // the table is another one, or gone
	writes                  // rows may be changed, and the binlog does not say which
	begins                  // and the following, of a transaction
	commits
	rollsBack
)

// effectOn says what a statement does to a table. schema is the one that names without a schema are of. What is not understood has no
// effect when it does not name the table.
func effectOn(statement, schema string, table tableName) effect {
	t := &tokens{rest: statement, schema: schema, table: table}
	switch first := t.word(); first {
	case "BEGIN", "START":
		return begins
	case "COMMIT":
		return commits
	case "ROLLBACK":
		return rollsBack
	case "TRUNCATE":
		t.skip("TABLE")
		return t.when(truncates)
	case "ALTER":
		t.skip("ONLINE", "IGNORE")
		if t.word() != "TABLE" {
			return noEffect
		}
		t.skip("IF", "EXISTS")
		if t.named() {
			return t.alteration()
		}
		// Another table, which may take this one's name.
		return t.mentioned(replaces)
	case "DROP", "CREATE":
		t.skip("OR", "REPLACE", "TEMPORARY")
		switch t.word() {
		case "TABLE":
			t.skip("IF", "NOT", "EXISTS")
			if first == "CREATE" {
				return t.when(replaces)
			}
			return t.mentioned(replaces)
		case "DATABASE", "SCHEMA":
			t.skip("IF", "EXISTS")
			if first == "DROP" && table.is(t.identifier(), table.name) {
				return replaces
			}
		case "SEQUENCE", "VIEW":
			return t.mentioned(replaces)
		}
		return noEffect
	case "RENAME":
		return t.mentioned(replaces)
	case "SET": // SET STATEMENT variable = value FOR the statement
		if t.word() == "STATEMENT" {
			for kind := byte('w'); kind != 0; {
				var text string
				if text, kind = t.next(); kind == 'w' && strings.EqualFold(text, "FOR") {
					return effectOn(t.rest, schema, table)
				}
			}
		}
	case "INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "WITH", "CALL":
		return t.mentioned(writes)
	}
	return noEffect
}

// tableName is a table with its schema, as the catalogue has them.
type tableName struct {
	schema, name string
	folded       bool // the server takes no notice of case in names
}

func (t tableName) is(schema, name string) bool {
	if t.folded {
		return strings.EqualFold(t.schema, schema) && strings.EqualFold(t.name, name)
	}
	return t.schema == schema && t.name == name
}

// tokens goes through a statement. Comments are passed over, but not those whose text the server runs.
type tokens struct {
	rest   string
	schema string
	table  tableName
}

// next returns the next word, sign or name. kind is 'w' for a word, 'i' for a quoted name, 's' for a text, else a sign; 0 at the end.
func (t *tokens) next() (text string, kind byte) {
	for t.rest != "" {
		c := t.rest[0]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v':
			t.rest = t.rest[1:]
		case strings.HasPrefix(t.rest, "/*!") || strings.HasPrefix(t.rest, "/*M!"):
			t.rest = strings.TrimLeft(t.rest[strings.IndexByte(t.rest, '!')+1:], "0123456789")
		case strings.HasPrefix(t.rest, "*/"):
			t.rest = t.rest[2:]
		case strings.HasPrefix(t.rest, "/*"):
			_, t.rest, _ = strings.Cut(t.rest[2:], "*/")
		case c == '#' || strings.HasPrefix(t.rest, "--"):
			_, t.rest, _ = strings.Cut(t.rest, "\n")
		case c == '`' || c == '"' || c == '\'':
			return t.quoted(c), map[byte]byte{'`': 'i', '"': 'i', '\'': 's'}[c]
		case isLetter(c) || c >= '0' && c <= '9' || c == '$' || c >= 0x80:
			end := 1
			for end < len(t.rest) && (isLetter(t.rest[end]) || t.rest[end] >= '0' && t.rest[end] <= '9' || t.rest[end] == '$' || t.rest[end] >= 0x80) {
				end++
			}
			text, t.rest = t.rest[:end], t.rest[end:]
			return text, 'w'
		default:
			t.rest = t.rest[1:]
			return string(c), c
		}
	}
	return "", 0
}

// quoted returns what stands in quotes. Quotes of two strokes are names or texts, by the server's mode; both are looked at as names.
func (t *tokens) quoted(quote byte) string {
	var b strings.Builder
	for i := 1; i < len(t.rest); i++ {
		switch c := t.rest[i]; {
		case c == '\\' && quote != '`' && i+1 < len(t.rest):
			i++
			b.WriteByte(t.rest[i])
		case c == quote && i+1 < len(t.rest) && t.rest[i+1] == quote:
			i++
			b.WriteByte(c)
		case c == quote:
			t.rest = t.rest[i+1:]
			return b.String()
		default:
			b.WriteByte(c)
		}
	}
	t.rest = ""
	return b.String()
}

// word returns the next token as a word in capitals; "" when it is none.
func (t *tokens) word() string {
	text, kind := t.next()
	if kind != 'w' {
		return ""
	}
	return strings.ToUpper(text)
}

// skip passes over words that may stand there.
func (t *tokens) skip(words ...string) {
	for {
		before := t.rest
		word := t.word()
		found := false
		for _, w := range words {
			found = found || w == word
		}
		if !found {
			t.rest = before
			return
		}
	}
}

func (t *tokens) identifier() string {
	text, kind := t.next()
	if kind != 'w' && kind != 'i' {
		return ""
	}
	return text
}

// named takes a name, with or without a schema, and reports whether it is the table's.
func (t *tokens) named() bool {
	first := t.identifier()
	before := t.rest
	if _, kind := t.next(); kind == '.' {
		return t.table.is(first, t.identifier())
	}
	t.rest = before
	return t.table.is(t.schema, first)
}

func (t *tokens) when(e effect) effect {
	if t.named() {
		return e
	}
	return noEffect
}

// mentioned looks for the table's name in all that is left.
func (t *tokens) mentioned(e effect) effect {
	for {
		before := t.rest
		_, kind := t.next()
		switch kind {
		case 0:
			return noEffect
		case 'w', 'i':
			t.rest = before
			if t.named() {
				return e
			}
		}
	}
}

// alteration sorts what is done to the table by whether its rows can go without a trace in the binlog.
func (t *tokens) alteration() effect {
	depth := 0
	for {
		text, kind := t.next()
		switch {
		case kind == 0:
			return alters
		case kind == '(':
			depth++
		case kind == ')':
			depth--
		case kind != 'w' || depth > 0:
		case strings.EqualFold(text, "PARTITION"), strings.EqualFold(text, "TABLESPACE"), strings.EqualFold(text, "VERSIONING"):
			return replaces
		case strings.EqualFold(text, "RENAME"):
			before := t.rest
			switch t.word() {
			case "COLUMN", "INDEX", "KEY":
			default:
				return replaces
			}
			t.rest = before
		}
	}
}
