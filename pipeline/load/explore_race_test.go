//go:build race

package load

// Under the race detector, which makes the search ten times as slow and finds nothing in it, only the brief scenarios are searched.
const raceDetector = true
