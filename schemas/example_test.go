package schemas_test

import (
	"fmt"
	"time"

	"github.com/headwater-data/headwater/schemas"
)

func ExampleRegions_Resolve() {
	regions := schemas.Standard().Regions()
	for _, on := range []string{"2021-04-08", "2021-04-09"} {
		day, _ := time.Parse(time.DateOnly, on)
		for _, name := range []string{"杭州市下城区", "江干区"} {
			found, err := regions.Resolve(schemas.RegionQuery{Name: name, Within: "330000", On: day})
			fmt.Println(on, name, found.Code, found.Note, err)
		}
	}
	// Output:
	// 2021-04-08 杭州市下城区 330103  <nil>
	// 2021-04-08 江干区 330104  <nil>
	// 2021-04-09 杭州市下城区 330105 330103 下城区 was merged into 330105 拱墅区 on 2021-04-09 <nil>
	// 2021-04-09 江干区   region.ambiguous: 330104 江干区 was divided on 2021-04-09 between 330102 上城区 and 330114 钱塘区
}
