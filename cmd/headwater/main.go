// Command headwater collects data from departments' systems into one ClickHouse warehouse.
package main

import (
	"os"

	"github.com/headwater-data/headwater/internal/crash"
	"github.com/headwater-data/headwater/internal/embedded"
)

func main() {
	embedded.MaybeServe() // does not return in a process that is an embedded server
	leaks := crash.Watch()
	code := execute(os.Args[1:])
	if err := leaks(); err != nil {
		panic(err) // only in a program built for the fault tests
	}
	os.Exit(code)
}
