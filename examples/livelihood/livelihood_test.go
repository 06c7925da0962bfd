package livelihood

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"
)

func TestDump(t *testing.T) {
	a, err := contents()
	if err != nil {
		t.Fatal(err)
	}
	b, err := contents()
	if err != nil {
		t.Fatal(err)
	}
	for n := range a {
		if sha256.Sum256(a[n]) != sha256.Sum256(b[n]) {
			t.Errorf("%s differs between two runs", n)
		}
	}
	dir := filepath.Join(os.TempDir(), "livelihood")
	if err := Write(dir); err != nil {
		t.Fatal(err)
	}
	e := Expected()
	for _, s := range e.Streams {
		t.Logf("%+v", s)
	}
	for _, f := range e.Closing("LV-FACTORY") {
		t.Logf("%+v", f)
	}
	for _, f := range e.Disagreements {
		t.Logf("%+v", f)
	}
}
