package schemas

import (
	"time"
)

// CodeList is a list of codes with titles, each valid for a time. Lists of a Set are shared: do not change them.
type CodeList struct {
	Name        string `yaml:"list" json:"list" required:"true" desc:"Name of the list, as in code(NAME)."`
	Title       Title  `yaml:"title" json:"title" required:"true" desc:"Name for people."`
	Description string `yaml:"description" json:"description" required:"true" desc:"What the codes distinguish."`
	Source      string `yaml:"source,omitempty" json:"source,omitempty" desc:"Standard or publication that defines the codes."`
	Codes       []Code `yaml:"codes" json:"codes" required:"true" desc:"The codes in the order in which people want to see them."`
}

// Code is one code of a list.
type Code struct {
	Code        string   `yaml:"code" json:"code" required:"true" desc:"The code as it is stored."`
	Title       Title    `yaml:"title" json:"title" required:"true" desc:"What it means."`
	Description string   `yaml:"description,omitempty" json:"description,omitempty" desc:"When it applies."`
	Aliases     []string `yaml:"aliases,omitempty" json:"aliases,omitempty" desc:"Other ways in which sources write it."`
	From        string   `yaml:"from,omitempty" json:"from,omitempty" desc:"First day on which it is valid, YYYY-MM-DD. Defaults to always."`
	To          string   `yaml:"to,omitempty" json:"to,omitempty" desc:"First day on which it is no longer valid, YYYY-MM-DD. Defaults to never."`
}

// Valid reports whether the code is valid on that calendar day; the zero time asks about codes without an end.
func (c Code) Valid(on time.Time) bool {
	if on.IsZero() {
		return c.To == ""
	}
	day := on.Format(time.DateOnly)
	return day >= c.From && (c.To == "" || day < c.To)
}

// Code returns the code that is written exactly so.
func (l *CodeList) Code(code string) (Code, bool) {
	for _, c := range l.Codes {
		if c.Code == code {
			return c, true
		}
	}
	return Code{}, false
}

// Find returns the code that text means: the code itself or, else, its Chinese or English title or one of its aliases, after
// trimming and folding full-width forms. No text means two codes of one list: the loader refuses such lists.
func (l *CodeList) Find(text string) (Code, bool) {
	text = fold(text)
	if c, ok := l.Code(text); ok {
		return c, true
	}
	for _, c := range l.Codes {
		for _, form := range c.forms() {
			if form == text {
				return c, true
			}
		}
	}
	return Code{}, false
}

// forms lists what means the code beside itself, folded.
func (c Code) forms() []string {
	forms := []string{fold(c.Title.Zh), fold(c.Title.En)}
	for _, a := range c.Aliases {
		forms = append(forms, fold(a))
	}
	return forms
}
