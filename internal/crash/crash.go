//go:build !faults

// Package crash names the points at which the fault tests kill the process. In a program built without the tag `faults` the
// points do nothing and cost nothing.
package crash

// Point is a place where a test may kill the process.
func Point(string) {}
