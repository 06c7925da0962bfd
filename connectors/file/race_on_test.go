//go:build race

package file

// Under the race detector, which is five to ten times slower, the tests that read megabytes many times look at each format once
// and damage fewer bytes; `make test` runs them whole in a pass of their own without it.
const raceDetector = true
