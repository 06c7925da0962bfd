//go:build !faults

// Package crash names the points at which the fault tests kill the process, and the steps whose time they take. In a program
// built without the tag `faults` all of it does nothing and costs nothing.
package crash

import "time"

// Point is a place where a test may kill the process.
func Point(string) {}

// Took tells a test how long a step took.
func Took(string, time.Duration) {}

// Watch returns what tells a test, when the work is over, which goroutines and descriptors it left.
func Watch() func() error { return func() error { return nil } }
