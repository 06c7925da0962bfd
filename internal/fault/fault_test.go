package fault

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

func TestTheOutermostMarkCountsThroughWraps(t *testing.T) {
	base := errors.New("base")
	for name, c := range map[string]struct {
		err  error
		want Kind
	}{
		"an unmarked error is permanent":              {base, KindPermanent},
		"a wrapped transient error stays transient":   {fmt.Errorf("read: %w", Transient(base)), KindTransient},
		"permanent over transient is permanent":       {Permanent(fmt.Errorf("gave up: %w", Transient(base))), KindPermanent},
		"an environment error":                        {Environment(base), KindEnvironment},
		"a usage error":                               {fmt.Errorf("x: %w", Usage(base)), KindUsage},
		"a deadline is transient":                     {fmt.Errorf("x: %w", context.DeadlineExceeded), KindTransient},
		"a cancelled context is not worth a try":      {context.Canceled, KindPermanent},
		"of joined errors the first mark that stands": {errors.Join(base, Usage(base)), KindUsage},
	} {
		t.Run(name, func(t *testing.T) {
			if got := KindOf(c.err); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
	if Transient(nil) != nil || Permanent(nil) != nil || IsTransient(nil) || IsPermanent(nil) {
		t.Error("nil must stay nil, and be of no kind")
	}
	if !errors.Is(Transient(base), base) {
		t.Error("a mark hides what it marks")
	}
}
