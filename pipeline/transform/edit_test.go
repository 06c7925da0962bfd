package transform

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headwater-data/headwater/internal/fault"
)

func TestEditMasksWhatIsPersonal(t *testing.T) {
	t.Parallel()
	mem := checked(t)
	m := mappingOf(t, mem, shapeOf(t, hotline))
	value := func(s string) *string { return &s }
	kept := map[string]*string{"工单编号": value("2"), "区县": value("西湖区"), "受理时间": value("x"), "电话": value("k1:aa"), "姓名": value("李"), "证件号码": value("k1:bb"), "备注": nil}
	with := func(changed map[string]*string) map[string]*string {
		out := map[string]*string{}
		for name, v := range kept {
			out[name] = v
		}
		for name, v := range changed {
			out[name] = v
		}
		return out
	}
	const refused = "caller_id: the value is wrong"
	for name, c := range map[string]struct {
		edits   map[string]*string
		refused string
		want    map[string]*string
		problem string
	}{
		"a plain column":                  {edits: map[string]*string{"受理时间": value("2021-03-05 08:00"), "备注": value("改")}, want: with(map[string]*string{"受理时间": value("2021-03-05 08:00"), "备注": value("改")})},
		"null":                            {edits: map[string]*string{"区县": nil}, want: with(map[string]*string{"区县": nil})},
		"a personal one is hashed":        {edits: map[string]*string{"电话": value("13800000001")}, want: with(map[string]*string{"电话": value(hashOf("k1", "13800000001"))})},
		"and one with a null word":        {edits: map[string]*string{"电话": value("无")}, want: with(map[string]*string{"电话": nil})},
		"a name is starred":               {edits: map[string]*string{"姓名": value("张三丰")}, want: with(map[string]*string{"姓名": value("张**")})},
		"what is dropped stays away":      {edits: map[string]*string{"标题": value("噪音"), "正文": value("夜里")}, want: kept},
		"a refused one that is put right": {edits: map[string]*string{"证件号码": value("33019919900101002x")}, refused: refused, want: with(map[string]*string{"证件号码": value(hashOf("k1", "33019919900101002X"))})},
		"a refused one that is not":       {edits: map[string]*string{"备注": value("b")}, refused: refused, problem: "set 证件号码 too"},
		"a part of a personal field":      {edits: map[string]*string{"标题": value("噪音")}, problem: "set all of them"},
		"a personal one that is wrong":    {edits: map[string]*string{"证件号码": value("330199199001010012")}, problem: "caller_id: "},
		"no such column":                  {edits: map[string]*string{"民族": value("汉")}, problem: `reads no column "民族"; it has 区县`},
		"one of Headwater's own":          {edits: map[string]*string{"_version": value("9")}, problem: "reads no column"},
	} {
		got, err := m.Edit(context.Background(), kept, c.edits, c.refused)
		if c.problem != "" {
			if err == nil || fault.KindOf(err) != fault.KindUsage || !strings.Contains(err.Error(), c.problem) {
				t.Errorf("%s: got %v, want a usage error with %q", name, err, c.problem)
			} else if strings.Contains(err.Error(), "330199199001010012") || strings.Contains(err.Error(), "噪音") {
				t.Errorf("%s: the error holds a personal value: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if *kept["电话"] != "k1:aa" || *kept["受理时间"] != "x" {
		t.Error("the row that was given was changed")
	}
}
