package schemas_test

import (
	"testing"
	"time"

	"github.com/headwater-data/headwater/schemas"
)

// FuzzResolve: no text makes resolving a region panic, and what is found is a region that the tree has.
func FuzzResolve(f *testing.F) {
	regions := schemas.Standard().Regions()
	for _, text := range []string{"上城区", "330102", "浙江省杭州市上城区", "3301", "", "市", "330102000000", "\xff", "杭州", "省省省市市市区区区"} {
		f.Add(text, text, "330000", int64(0))
		f.Add("", text, "", int64(1e9))
	}
	f.Fuzz(func(t *testing.T, code, name, within string, day int64) {
		r, err := regions.Resolve(schemas.RegionQuery{Code: code, Name: name, Within: within, On: time.Unix(day%(1<<40), 0)})
		if err != nil {
			return
		}
		if len(r.Code) != 6 {
			t.Errorf("%q %q within %q is %+v", code, name, within, r)
		}
	})
}
