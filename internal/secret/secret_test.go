package secret

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

func TestASecretShowsNowhere(t *testing.T) {
	const planted = "correct-horse-battery"
	v := New(planted)
	holder := struct {
		Name     string
		Password Value
		Pointer  *Value
		hidden   Value // fmt calls no methods of unexported fields
		deeper   struct{ list []Value }
		named    map[string]Value
		any      any
	}{"db", v, &v, v, struct{ list []Value }{[]Value{v}}, map[string]Value{"k": v}, v}
	var out bytes.Buffer
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
		fmt.Fprintf(&out, format, v)
		fmt.Fprintf(&out, format, holder)
		fmt.Fprintf(&out, format, &holder)
		fmt.Fprintf(&out, format, []any{holder, &v})
	}
	fmt.Fprint(&out, fmt.Errorf("login as %v: %w", holder, fmt.Errorf("with %s", v)))
	j, err := json.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	y, err := yaml.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(j)
	out.Write(y)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "secret", v, "holder", holder)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "secret", v, "holder", holder)
	func() {
		defer func() { fmt.Fprint(&out, recover()) }()
		panic(holder)
	}()
	if text := out.String(); strings.Contains(text, planted) || strings.Contains(text, fmt.Sprintf("%x", planted)) {
		t.Errorf("the secret shows: %s", text)
	}
	if v.Reveal() != planted || !v.IsSet() || New("").IsSet() {
		t.Error("the secret itself is not what went in")
	}
}
