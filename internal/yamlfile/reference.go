package yamlfile

import (
	"fmt"
	"regexp"
	"strings"
)

// Reference names something outside the file: ${env:NAME}, ${env:NAME:-default} or ${file:PATH}.
type Reference struct {
	Kind       string // "env" or "file"
	Name       string // of the variable, or the path
	Default    string
	HasDefault bool
}

// References resolves references while a Node is decoded. A nil function leaves its references as they are written.
type References struct {
	// Env returns a variable for ${env:NAME} within an ordinary text.
	Env func(name string) (value string, ok bool)
	// Secret returns what a field of type secret.Value refers to. Its errors must not hold the secret.
	Secret func(r Reference) (string, error)
}

var referencePattern = regexp.MustCompile(`\$\{(env|file):([^}]*)\}`)
var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// ParseReference reads a text that is one reference and nothing else.
func ParseReference(text string) (Reference, bool) {
	text = strings.TrimSpace(text)
	loc := referencePattern.FindStringSubmatchIndex(text)
	if loc == nil || loc[0] != 0 || loc[1] != len(text) {
		return Reference{}, false
	}
	r := Reference{Kind: text[loc[2]:loc[3]], Name: text[loc[4]:loc[5]]}
	if r.Kind == "env" {
		r.Name, r.Default, r.HasDefault = strings.Cut(r.Name, ":-")
		return r, variableName.MatchString(r.Name)
	}
	return r, r.Name != ""
}

// expand replaces the references to environment variables in an ordinary text.
func (w *walker) expand(v *value) string {
	if w.references == nil || w.references.Env == nil || !strings.Contains(v.text, "${") {
		return v.text
	}
	return referencePattern.ReplaceAllStringFunc(v.text, func(text string) string {
		r, ok := ParseReference(text)
		switch {
		case !ok:
			w.fail(v.line, v.col, "a reference that cannot be read", "write ${env:NAME} or ${env:NAME:-default}")
		case r.Kind == "file":
			w.fail(v.line, v.col, "a file can only be referred to where a secret is wanted", "use ${env:NAME}")
		default:
			if value, ok := w.references.Env(r.Name); ok {
				return value
			}
			if r.HasDefault {
				return r.Default
			}
			w.fail(v.line, v.col, fmt.Sprintf("the environment variable %s is not set", r.Name), fmt.Sprintf("set it, or give a default: ${env:%s:-default}", r.Name))
		}
		return text
	})
}
