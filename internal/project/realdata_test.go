//go:build realdata

package project

import (
	"os"
	"path/filepath"
	"testing"
)

func TestExamplesOverRealDataHaveNoProblem(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(os.Getenv("HEADWATER_REALDATA")); err != nil {
		t.Fatalf("set HEADWATER_REALDATA to the folder with the real data: %v", err)
	}
	for _, name := range []string{"epidemic", "air"} {
		if _, problems := Load(filepath.Join("..", "..", "examples", name), registry()); len(problems) > 0 {
			t.Errorf("%s:\n%v", name, problems)
		}
	}
}
