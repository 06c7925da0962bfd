package schemas

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Dictionary writes the data dictionary of a set as Markdown: every schema with its fields, keys, rules and sensitivity, and every
// code list that a field uses. It says what Arrow schema, table and JSON Schema are made from, so that it cannot differ from them.
func (s *Set) Dictionary(to io.Writer) error {
	var b strings.Builder
	b.WriteString("# 数据字典 / Data dictionary\n\nMade from the schemas by `headwater config dictionary`. ")
	b.WriteString("A field in **bold** is part of the key: a later record with the same key replaces an earlier one. ! marks a field that must have a value, " +
		"P a personal and S a sensitive personal one, which are hashed or masked before they leave the department. Tables that come through the pipeline have the lineage columns too, whose names begin with an underscore.\n\n")
	for _, name := range s.Names() {
		schema := s.schemas[name]
		fmt.Fprintf(&b, "- [%s](#%s) %s\n", name, name, schema.Title.Zh)
	}
	used := map[string]bool{}
	for _, name := range s.Names() {
		schema := s.schemas[name]
		fmt.Fprintf(&b, "\n## %s\n\n%s / %s, version %d. %s", name, schema.Title.Zh, schema.Title.En, schema.Version, schema.Description)
		if schema.History {
			b.WriteString(" Every version of a record stays.")
		}
		if !schema.Lineage {
			b.WriteString(" Headwater's own table: its rows come through no source.")
		}
		b.WriteString("\n\n| field | title | type | what it says |\n| --- | --- | --- | --- |\n")
		for _, f := range schema.Fields {
			used[f.Type.List] = true
			if f.Type.Elem != nil {
				used[f.Type.Elem.List] = true
			}
			field := "`" + f.Name + "`"
			if f.Key {
				field = "**" + field + "**"
			}
			if f.Required {
				field += " !"
			}
			switch f.Sensitivity {
			case Personal:
				field += " P"
			case SensitivePersonal:
				field += " S"
			}
			kind := f.Type.String()
			if f.Unit != "" {
				kind += ", " + f.Unit
			}
			says := f.Description
			if f.Default != nil && f.Default != "" {
				says += fmt.Sprintf(" Without a value: %v.", f.Default)
			}
			for _, r := range f.Rules {
				says += " " + ruleText(r)
			}
			fmt.Fprintf(&b, "| %s | %s / %s | %s | %s |\n", field, cell(f.Title.Zh), cell(f.Title.En), cell(kind), cell(says))
		}
		for _, r := range schema.Rules {
			fmt.Fprintf(&b, "\n%s\n", ruleText(r))
		}
	}
	b.WriteString("\n# 代码表 / Code lists\n")
	for _, name := range s.CodeLists() {
		if !used[name] {
			continue
		}
		list := s.lists[name]
		fmt.Fprintf(&b, "\n## code: %s\n\n%s / %s. %s", name, list.Title.Zh, list.Title.En, list.Description)
		if list.Source != "" {
			b.WriteString(" Source: " + list.Source + ".")
		}
		b.WriteString("\n\n| code | title | also written | when |\n| --- | --- | --- | --- |\n")
		for _, c := range list.Codes {
			when := []string{c.Description}
			if c.From != "" {
				when = append(when, "from "+c.From)
			}
			if c.To != "" {
				when = append(when, "until before "+c.To)
			}
			when = slices.DeleteFunc(when, func(text string) bool { return text == "" })
			fmt.Fprintf(&b, "| `%s` | %s / %s | %s | %s |\n", c.Code, cell(c.Title.Zh), cell(c.Title.En), cell(strings.Join(c.Aliases, ", ")), cell(strings.Join(when, ", ")))
		}
	}
	_, err := io.WriteString(to, b.String())
	return err
}

// ruleText says what a rule asks for, as people read it.
func ruleText(r Rule) string {
	text := "Rule `" + r.Name + "`"
	if r.Severity == SeverityWarning {
		text += " (warning)"
	}
	if r.Message != "" {
		return text + ": " + r.Message + "."
	}
	return text + "."
}

// cell keeps a text within one cell of a table.
func cell(text string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ").Replace(text)
}
