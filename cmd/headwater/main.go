// Command headwater collects data from departments' systems into one ClickHouse warehouse.
package main

import (
	"os"

	"github.com/headwater-data/headwater/internal/embedded"
)

func main() {
	embedded.MaybeServe() // does not return in a process that is an embedded server
	os.Exit(execute(os.Args[1:]))
}
