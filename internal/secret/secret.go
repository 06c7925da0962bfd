// Package secret holds values that must never be printed: passwords, keys, tokens.
package secret

import (
	"fmt"
	"log/slog"
)

const redacted = "***"

// Value is a secret text. However it is printed, logged or marshalled it shows as ***; only Reveal gives the text.
// The zero Value is the empty secret.
type Value struct{ text string }

// New wraps text as a secret.
func New(text string) Value { return Value{text: text} }

// Reveal returns the text itself. Call it only where the secret is handed to the system that asked for it.
func (v Value) Reveal() string { return v.text }

// IsSet reports whether the secret is not empty.
func (v Value) IsSet() bool { return v.text != "" }

func (v Value) String() string               { return redacted }
func (v Value) GoString() string             { return redacted }
func (v Value) Format(f fmt.State, _ rune)   { _, _ = f.Write([]byte(redacted)) }
func (v Value) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (v Value) MarshalText() ([]byte, error) { return []byte(redacted), nil }
func (v Value) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
func (v Value) MarshalYAML() (any, error)    { return redacted, nil }
