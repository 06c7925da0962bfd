package e2e

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
)

// The numbers of linux/prctl.h and linux/capability.h.
const (
	prCapBoundingSetDrop = 24
	capDACOverride       = 1
	capDACReadSearch     = 2
)

// startWithoutRights starts a command that may not read what its user may not: root's children get the right to read everything
// with it, unless the thread that makes them has given it up for them.
func startWithoutRights(t *testing.T, c *exec.Cmd) {
	t.Helper()
	if os.Geteuid() != 0 {
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		return
	}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		for _, capability := range []uintptr{capDACOverride, capDACReadSearch} {
			if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prCapBoundingSetDrop, capability, 0); errno != 0 {
				started <- errno
				return
			}
		}
		started <- c.Start()
	}()
	if err := <-started; err != nil {
		t.Fatalf("start the program without root's rights (run the tests as another user, or with CAP_SETPCAP): %v", err)
	}
}
