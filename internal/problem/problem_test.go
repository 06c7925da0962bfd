package problem

import (
	"errors"
	"fmt"
	"testing"
)

func TestProblemsReadAsCompilersWriteThem(t *testing.T) {
	list := List{
		{File: "sources/b.yaml", Line: 2, Column: 1, Message: "late"},
		{File: "headwater.yaml", Message: "cannot be read", Fix: "check its rights"},
		{File: "sources/b.yaml", Line: 1, Column: 9, Message: "unknown key \"tabel\"", Fix: "did you mean \"table\"?"},
	}
	list.Sort()
	want := "headwater.yaml: cannot be read (check its rights)\nsources/b.yaml:1:9: unknown key \"tabel\" (did you mean \"table\"?)\nsources/b.yaml:2:1: late"
	if got := list.Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got, ok := errors.AsType[List](fmt.Errorf("load: %w", list.Err())); !ok || len(got) != 3 {
		t.Error("the list is not found behind a wrap")
	}
	if List(nil).Err() != nil {
		t.Error("no problems must be no error")
	}
}
