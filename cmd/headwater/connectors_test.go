package main

import (
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestConnectorsReferenceIsCurrent(t *testing.T) {
	t.Parallel()
	want, err := connectorsPage(knownConnectors())
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../docs/connectors/README.md")
	if err != nil {
		t.Fatalf("%v: run make generate", err)
	}
	if diff := cmp.Diff(string(got), string(want)); diff != "" {
		t.Errorf("docs/connectors/README.md is not current: run make generate\n%s", diff)
	}
}

func TestConnectorsSayWhatWasTestedAndWhen(t *testing.T) {
	t.Parallel()
	version := regexp.MustCompile(`[0-9]+\.[0-9]+|local files`)
	for _, name := range knownConnectors().Names() {
		d, err := knownConnectors().Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, what := range d.Tested {
			if !version.MatchString(what) {
				t.Errorf("%s was tested against %q, which names no version", name, what)
			}
		}
		_, err = time.Parse(time.DateOnly, d.TestedOn)
		switch {
		case len(d.Tested) > 0 && err != nil:
			t.Errorf("%s was tested on %q, which is no day", name, d.TestedOn)
		case len(d.Tested) == 0 && (d.TestedOn != "" || len(d.Types) > 0):
			t.Errorf("%s was tested against nothing, but on %q, with the types %v", name, d.TestedOn, d.Types)
		}
		if d.Page == "" {
			continue
		}
		if _, err := os.Stat("../../docs/connectors/" + d.Page); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
