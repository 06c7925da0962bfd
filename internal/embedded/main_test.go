package embedded_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/headwater-data/headwater/internal/embedded"
)

// userEnv makes this test binary a user of the embedded broker of the state folder that it names: it holds a lease until
// its standard input ends.
const userEnv = "HEADWATER_TEST_USER_OF"

func TestMain(m *testing.M) {
	embedded.MaybeServe()
	if stateDir := os.Getenv(userEnv); stateDir != "" {
		if err := beUser(stateDir); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}
