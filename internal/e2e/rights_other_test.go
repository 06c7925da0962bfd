//go:build !linux

package e2e

import (
	"os"
	"os/exec"
	"testing"
)

// startWithoutRights starts a command that may not read what its user may not.
func startWithoutRights(t *testing.T, c *exec.Cmd) {
	t.Helper()
	if os.Geteuid() == 0 {
		t.Fatal("run these tests as another user than root, who may read everything")
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
}
