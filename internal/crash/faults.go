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

// Variable names the environment variable that says where to die: "point" or "point:n" for the n-th time it is passed.
const Variable = "HEADWATER_CRASH"

var (
	mu     sync.Mutex
	passed = map[string]int{}
)

// Point kills this process, as kill -9 would, when the environment says so.
func Point(name string) {
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
