//go:build faults

// Package clock is the time of day, where it orders rows or accounts. In a program built with the tag `faults` the campaign sets
// it wrong, also while the program runs.
package clock

import (
	"os"
	"strings"
	"time"
)

// Variable is the environment variable that names a file with a duration in it: how far the clock is off. It is read anew each
// time.
const Variable = "HEADWATER_CLOCK"

// Now is the time, off by what the file says.
func Now() time.Time {
	name := os.Getenv(Variable)
	if name == "" {
		return time.Now()
	}
	text, err := os.ReadFile(name)
	if err != nil {
		panic("clock: " + err.Error())
	}
	off, err := time.ParseDuration(strings.TrimSpace(string(text)))
	if err != nil {
		panic("clock: " + err.Error())
	}
	return time.Now().Add(off)
}
