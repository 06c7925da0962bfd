package sql

import (
	"fmt"
	"strings"
)

// statement is a piece of SQL that people wrote, cut at its placeholders.
type statement struct {
	first string   // its first word
	texts []string // one more than names
	names []string // placeholders between the texts
}

// parseStatement finds the placeholders :name of a query or condition. It refuses what could end the piece that the connector puts
// around it: a semicolon, a comment, a bracket or quote that is not closed. What stands in quotes is left alone.
func parseStatement(text string) (statement, error) {
	var s statement
	start, depth := 0, 0
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '\'' || c == '"' || c == '`':
			end := closing(text, i)
			if end < 0 {
				return s, fmt.Errorf("the quote %c is not closed", c)
			}
			i = end
			continue
		case c == ';':
			return s, fmt.Errorf("a semicolon: only one statement is read, without one")
		case strings.HasPrefix(text[i:], "--") || strings.HasPrefix(text[i:], "/*") || c == '#':
			// # is an operator in PostgreSQL and begins a comment in MariaDB; neither is needed.
			return s, fmt.Errorf("a comment: write it in the YAML instead")
		case c == '$':
			return s, fmt.Errorf("a $: write values as :name, and texts in single quotes")
		case c == '?':
			return s, fmt.Errorf("a ?: write values as :name")
		case c == '\\':
			return s, fmt.Errorf("a backslash outside of quotes")
		case c == '(':
			depth++
		case c == ')':
			if depth--; depth < 0 {
				return s, fmt.Errorf("a bracket is closed that was not opened")
			}
		case strings.HasPrefix(text[i:], "::"):
			i += 2
			continue
		case c == ':' && i+1 < len(text) && isLetter(text[i+1]):
			end := i + 1
			for end < len(text) && (isLetter(text[end]) || text[end] >= '0' && text[end] <= '9') {
				end++
			}
			s.texts = append(s.texts, text[start:i])
			s.names = append(s.names, text[i+1:end])
			start, i = end, end
			continue
		}
		i++
	}
	if depth > 0 {
		return s, fmt.Errorf("a bracket is not closed")
	}
	s.texts = append(s.texts, text[start:])
	if words := strings.Fields(strings.TrimLeft(text, "( \t\r\n")); len(words) > 0 {
		s.first = words[0]
	}
	return s, nil
}

func isLetter(c byte) bool { return c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z' }

// closing returns the index after the quote that closes the one at i, or -1. A doubled quote stands for itself. A backslash before
// a quote is read differently by different databases and settings, so it counts as unclosed.
func closing(text string, i int) int {
	quote := text[i]
	for j := i + 1; j < len(text); j++ {
		switch {
		case text[j] == '\\' && j+1 < len(text) && text[j+1] == quote:
			return -1
		case text[j] != quote:
		case j+1 < len(text) && text[j+1] == quote:
			j++
		default:
			return j + 1
		}
	}
	return -1
}

// clause builds SQL with values beside it.
type clause struct {
	d    dialect
	text strings.Builder
	args []any
}

func (c *clause) add(text string) { c.text.WriteString(text) }

// value adds a placeholder for a value of a key.
func (c *clause) value(v value) {
	c.args = append(c.args, c.d.argument(v))
	c.add(c.d.placeholder(len(c.args), v.Kind))
}

// written adds what people wrote, with its values.
func (c *clause) written(text string, params map[string]any) error {
	s, err := parseStatement(text)
	if err != nil {
		return err
	}
	for i, piece := range s.texts {
		c.add(piece)
		if i == len(s.names) {
			break
		}
		v, err := toValue(params[s.names[i]])
		if err != nil {
			return fmt.Errorf("params.%s: %w", s.names[i], err)
		}
		c.value(v)
	}
	return nil
}

// names adds a list of quoted names.
func (c *clause) names(list []string) {
	for i, name := range list {
		if i > 0 {
			c.add(", ")
		}
		c.add(c.d.quote(name))
	}
}

// after adds the condition that a row's key follows the given one.
func (c *clause) after(key []string, last []value) {
	if len(key) == 1 || c.d.rowValues() {
		c.add("(")
		c.names(key)
		c.add(") > (")
		for i, v := range last {
			if i > 0 {
				c.add(", ")
			}
			c.value(v)
		}
		c.add(")")
		return
	}
	// a >= 1 AND (a > 1 OR (b >= 2 AND (b > 2 OR c > 3))): an index is used as far as it goes.
	for i, name := range key {
		if i < len(key)-1 {
			c.add(c.d.quote(name) + " >= ")
			c.value(last[i])
			c.add(" AND (" + c.d.quote(name) + " > ")
			c.value(last[i])
			c.add(" OR (")
			continue
		}
		c.add(c.d.quote(name) + " > ")
		c.value(last[i])
	}
	c.add(strings.Repeat("))", len(key)-1))
}
