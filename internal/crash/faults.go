//go:build faults

// Package crash names the points at which the fault tests kill the process, and the steps whose time they take.
package crash

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The environment variables that say where to die ("point", or "point:n" for the n-th time it is passed), where to stay for
// ever, and which file is told what took how long.
const (
	Variable      = "HEADWATER_CRASH"
	HoldVariable  = "HEADWATER_HOLD"
	MarksVariable = "HEADWATER_MARKS"
)

// Took appends a line {"pid", "at", "step", "us"} to the file of MarksVariable.
func Took(step string, d time.Duration) {
	name := os.Getenv(MarksVariable)
	if name == "" {
		return
	}
	line, err := json.Marshal(struct {
		PID  int    `json:"pid"`
		At   int64  `json:"at"` // µs since 1970
		Step string `json:"step"`
		US   int64  `json:"us"`
	}{os.Getpid(), time.Now().UnixMicro(), step, d.Microseconds()})
	if err != nil {
		panic("crash: " + err.Error())
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic("crash: " + MarksVariable + ": " + err.Error())
	}
	_, err = f.Write(append(line, '\n')) // one write: processes share the file
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		panic("crash: " + MarksVariable + ": " + err.Error())
	}
}

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
