package secret

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
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

// A process that dies of a panic with a configuration in it prints that to its standard error, the goroutines' arguments too.
func TestAPanicShowsNoSecret(t *testing.T) {
	const planted = "correct-horse-battery"
	type config struct {
		Password Value
		hidden   Value
	}
	c := config{New(planted), New(planted)}
	panics := []func(){
		func() { panic(c) },
		func() { panic(&c) },
		func() { panic(c.hidden) },
		func() { panic(fmt.Errorf("open %+v: %#v", c, &c)) },
		func() { panic(fmt.Sprint(c, []config{c}, map[string]any{"c": c})) },
	}
	if text := os.Getenv("HEADWATER_SECRET_PANIC"); text != "" {
		panics[int(text[0]-'0')]()
	}
	for i := range panics {
		child := exec.Command(os.Args[0], "-test.run", "^TestAPanicShowsNoSecret$")
		child.Env = append(os.Environ(), fmt.Sprintf("HEADWATER_SECRET_PANIC=%d", i), "GOTRACEBACK=all")
		out, err := child.CombinedOutput()
		if err == nil || !bytes.Contains(out, []byte("panic")) {
			t.Errorf("panic %d: the child did not panic: %v\n%s", i, err, out)
		}
		if bytes.Contains(out, []byte(planted)) {
			t.Errorf("panic %d shows the secret:\n%s", i, out)
		}
	}
}
