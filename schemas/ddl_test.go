package schemas_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headwater-data/headwater/schemas"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with a file of testdata, or writes the file with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v: run with -update and review", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s changed (-want +got); if that is meant, run with -update and review:\n%s", path, diff)
	}
}

func TestTablesOfTheStandardModel(t *testing.T) {
	t.Parallel()
	set := schemas.Standard()
	for _, name := range set.Names() {
		schema, _ := set.Schema(name)
		golden(t, name+".sql", schema.CreateTable("headwater")+"\n")
		document, err := schema.JSONSchema()
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+".schema.json", string(document)+"\n")
	}
}
