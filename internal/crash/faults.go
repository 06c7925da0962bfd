//go:build faults

// Package crash names the points at which the fault tests kill the process.
package crash

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// The environment variables that say where to die ("point", or "point:n" for the n-th time it is passed) and where to stay
// for ever.
const (
	Variable     = "HEADWATER_CRASH"
	HoldVariable = "HEADWATER_HOLD"
)

var (
	mu     sync.Mutex
	passed = map[string]int{}
)

// Point kills this process, as kill -9 would, when the environment says so.
func Point(name string) {
	if os.Getenv(HoldVariable) == name {
		select {}
	}
	want, times, _ := strings.Cut(os.Getenv(Variable), ":")
	if want != name {
		return
	}
	n := 1
	if times != "" {
		var err error
		if n, err = strconv.Atoi(times); err != nil {
			panic("crash: " + Variable + ": " + err.Error())
		}
	}
	mu.Lock()
	passed[name]++
	hit := passed[name] == n
	mu.Unlock()
	if hit {
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			panic("crash: " + err.Error())
		}
		select {}
	}
}
