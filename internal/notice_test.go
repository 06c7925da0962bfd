package internal_test

import (
	"os"
	"strings"
	"testing"
)

func TestNoticeNamesEveryModuleOfGoMod(t *testing.T) {
	t.Parallel()
	notice, err := os.ReadFile("../NOTICE")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for line := range strings.Lines(string(notice)) {
		named[strings.TrimSpace(line)] = true
	}
	modules := 0
	inside := false
	for line := range strings.Lines(string(mod)) {
		fields := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "require ("):
			inside = true
		case strings.HasPrefix(line, ")"):
			inside = false
		case inside && len(fields) >= 2:
			if modules++; !named[fields[0]] {
				t.Errorf("%s stands in go.mod and not in NOTICE: read its licence and add it, on a line of its own, with licence and copyright below", fields[0])
			}
		}
	}
	if modules == 0 {
		t.Error("no module was found in go.mod")
	}
}
