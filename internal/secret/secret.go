// Package secret holds values that must never be printed: passwords, keys, tokens.
package secret

import (
	"fmt"
	"log/slog"
)

const redacted = "***"

// Value is a secret text. However it is printed, logged or marshalled it shows as ***; only Reveal gives the text.
// The zero Value is the empty secret.
//
// Package fmt calls no methods of a value in an unexported field and prints its fields instead, so the text lies behind two
// pointers: of the second fmt prints the address, not what it points to.
type Value struct {
	_    [0]func() // == would compare addresses, so the compiler refuses it
	held *held
}

type held struct{ text *string }

// New wraps text as a secret.
func New(text string) Value {
	if text == "" {
		return Value{}
	}
	return Value{held: &held{text: &text}}
}

// Reveal returns the text itself. Call it only where the secret is handed to the system that asked for it.
func (v Value) Reveal() string {
	if v.held == nil {
		return ""
	}
	return *v.held.text
}

// IsSet reports whether the secret is not empty.
func (v Value) IsSet() bool { return v.held != nil }

func (v Value) String() string               { return redacted }
func (v Value) GoString() string             { return redacted }
func (v Value) Format(f fmt.State, _ rune)   { _, _ = f.Write([]byte(redacted)) }
func (v Value) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (v Value) MarshalText() ([]byte, error) { return []byte(redacted), nil }
func (v Value) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
func (v Value) MarshalYAML() (any, error)    { return redacted, nil }
