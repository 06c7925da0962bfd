//go:build !linux

package clickhouse

// yieldMerges does nothing where threads have no priorities of their own.
func yieldMerges() bool { return true }
