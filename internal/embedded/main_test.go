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

// forgetEnv makes it forget to serve, as a program may.
const forgetEnv = "HEADWATER_TEST_FORGETS_TO_SERVE"

func TestMain(m *testing.M) {
	if os.Getenv(forgetEnv) == "" {
		embedded.MaybeServe()
	}
	if stateDir := os.Getenv(userEnv); stateDir != "" {
		if err := beUser(stateDir); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}
