//go:build !faults

// Package clock is the time of day, where it orders rows or accounts. In a program built with the tag `faults` the campaign sets
// it wrong, also while the program runs.
package clock

import "time"

// Now is the time.
func Now() time.Time { return time.Now() }
