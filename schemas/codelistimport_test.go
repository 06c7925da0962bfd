package schemas_test

import (
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/headwater-data/headwater/schemas"
)

var visitKinds = schemas.CodeList{Name: "visit_kind", Title: schemas.Title{Zh: "就诊类型", En: "Kind of visit"}, Description: "How a patient came."}

func TestACodeListIsReadFromCSVAndWrittenAsAProjectKeepsIt(t *testing.T) {
	t.Parallel()
	want := visitKinds
	want.Codes = []schemas.Code{
		{Code: "1", Title: schemas.Title{Zh: "门诊", En: "Out-patient"}, Aliases: []string{"普通门诊", "专家门诊"}},
		{Code: "2", Title: schemas.Title{Zh: "急诊 \"夜间\"", En: "2"}, Description: "晚上, 假日: #1", From: "2021-01-01", To: "2024-01-01"},
	}
	for _, c := range []struct{ name, file string }{
		{"English titles", "code,name,name_en,aliases,description,from,to\n1,门诊,Out-patient,普通门诊;专家门诊,,,\n# 急诊\n2,\"急诊 \"\"夜间\"\"\",,,\"晚上, 假日: #1\",2021-01-01,2024-01-01\n"},
		{"Chinese titles, a byte order mark and full-width forms", "\ufeff代码,名称,英文名称,别名,说明,启用日期,停用日期\r\n１,门诊,Out-patient,普通门诊；专家门诊,,,\r\n2,\"急诊 \"\"夜间\"\"\",,,\"晚上, 假日: #1\",2021-01-01,2024-01-01\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, problems := schemas.ImportCodeList(iotest.OneByteReader(strings.NewReader(c.file)), "kinds.csv", visitKinds)
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			if diff := cmp.Diff(&want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			again(t, got)
		})
	}
}

// again loads what the list writes.
func again(t *testing.T, list *schemas.CodeList) {
	t.Helper()
	set, problems := schemas.Load(schemas.Standard(), schemas.File{Name: "reference/list.yaml", Data: list.YAML()})
	if len(problems) > 0 {
		t.Fatalf("what was imported cannot be loaded: %v\n%s", problems, list.YAML())
	}
	loaded, _ := set.CodeList(list.Name)
	if diff := cmp.Diff(list, loaded); diff != "" {
		t.Errorf("-imported +loaded\n%s", diff)
	}
}

func TestNonsenseInACodeListIsRefusedWithItsPlace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, file, want string }{
		{"no header", "", "kinds.csv:1:1: the file has no header"},
		{"an unknown column", "code,名称,colour\n1,门诊,red\n", `kinds.csv:1:9: unknown column "colour"`},
		{"a column that is missing", "code,name_en\n1,x\n", "kinds.csv:1:1: the header lacks the column name"},
		{"a column that is there twice", "code,代码,name\n1,1,x\n", "kinds.csv:1:6: column code is there twice"},
		{"no code", "code,name\n1,门诊\n,急诊\n", `kinds.csv:3:1: "" is no code`},
		{"no name", "code,name\n1,\n", "kinds.csv:2:1: the Chinese title is missing"},
		{"a code that is there twice", "code,name\n1,门诊\n1,急诊\n", `kinds.csv:3:1: code "1" is there twice`},
		{"a name that means two codes", "code,name\n1,门诊\n2,门诊\n", `kinds.csv:3:1: "门诊" means "1" already`},
		{"a day that there is not", "code,name,from\n1,门诊,2021-02-30\n", `kinds.csv:2:1: "2021-02-30" is no date`},
		{"a row with too many fields", "code,name\n1,门诊\n2,急诊,夜间\n3,住院\n", "kinds.csv:3:1: the row has 3 fields, the header 2"},
		{"a quote that is not closed", "code,name\n1,\"门诊\n", "kinds.csv:"},
		{"a control character", "code,name\n1,门诊\a\n", "kinds.csv:2:3: the value holds a control character"},
		{"no codes", "code,name\n", "the list has no codes"},
		{"another encoding", "code,name\n1,\xc3\xc5\xd5\xef\n", "kinds.csv: the file is not UTF-8 (save it as UTF-8)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			list, problems := schemas.ImportCodeList(strings.NewReader(c.file), "kinds.csv", visitKinds)
			if list != nil || !strings.Contains(problems.Error(), c.want) {
				t.Errorf("got %v, want %q", problems, c.want)
			}
		})
	}
	if _, problems := schemas.ImportCodeList(iotest.ErrReader(errors.New("disk gone")), "kinds.csv", visitKinds); !strings.Contains(problems.Error(), "disk gone") {
		t.Errorf("got %v, want the reader's error", problems)
	}
}

// Whatever is accepted is written in a form that loads as the same list; what is refused has a reason.
func FuzzImportCodeList(f *testing.F) {
	for _, seed := range []string{"code,name\n1,门诊\n", "代码,名称,英文名称\n1,a,b\n2,c,d\n", "code,name,aliases\n1,\"x\"\"y\",a;b；c\n", "\ufeffcode,name\n\"\n", "code,name,from,to\n1,x,2021-01-01,2022-01-01\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, file string) {
		list, problems := schemas.ImportCodeList(strings.NewReader(file), "kinds.csv", visitKinds)
		if (list == nil) != (len(problems) > 0) {
			t.Fatalf("list %v, problems %v", list, problems)
		}
		if list != nil {
			again(t, list)
		}
	})
}
