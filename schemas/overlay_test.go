package schemas_test

import (
	"strings"
	"testing"

	"github.com/headwater-data/headwater/schemas"
)

const provinceTask = `extends: standard/task
version: 1
title: { zh: 浙江省督查任务, en: Task of Zhejiang }
fields:
  - { name: map_layer, title: { zh: 地图图层, en: Map layer }, description: Layer of the map that shows it., type: string, rules: [{ pattern: "^[A-Z]+$" }] }
  - { name: platform_stage, title: { zh: 平台阶段, en: Stage }, description: Where the platform has it., type: code(platform_stage), default: new }
titles:
  title: { zh: 任务事项, en: Matter }
codes:
  task_kind:
    - { code: digital, title: { zh: 数字化改革, en: Digital reform }, aliases: [数改] }
rules:
  - { name: task.layer_of_closed, severity: warning, expr: "map_layer == 'X'", message: no such layer }
`

const platformStages = `list: platform_stage
title: { zh: 平台阶段, en: Stage }
description: d
codes:
  - { code: new, title: { zh: 新建, en: New } }
`

func TestAnExtensionAddsToAStandardSchema(t *testing.T) {
	t.Parallel()
	standard, _ := schemas.Standard().Schema("task")
	before := standard.CreateTable("x")
	set, problems := load(t, provinceTask, platformStages)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	extended, _ := set.Schema("task")
	if extended.Version != standard.Version+1 || extended.Title.Zh != "浙江省督查任务" || len(extended.Fields) != len(standard.Fields)+2 || len(extended.Rules) != len(standard.Rules)+1 {
		t.Errorf("version %d, title %v, %d fields, %d rules", extended.Version, extended.Title, len(extended.Fields), len(extended.Rules))
	}
	if f, _ := extended.Field("title"); f.Title.Zh != "任务事项" {
		t.Errorf("the field title is called %v", f.Title)
	}
	if f, _ := extended.Field("map_layer"); len(f.Rules) != 1 || f.Rules[0].Name != "map_layer.pattern" || f.Rules[0].Severity != schemas.SeverityError {
		t.Errorf("the field's rules are %+v", f.Rules)
	}
	kinds, _ := set.CodeList("task_kind")
	if c, ok := kinds.Find("数改"); !ok || c.Code != "digital" {
		t.Errorf("the code is %v, %v", c, ok)
	}
	if c, ok := kinds.Code("livelihood"); !ok || c.Title.Zh != "政府民生实事" {
		t.Errorf("a standard code is %v, %v", c, ok)
	}
	changes, breaking := schemas.Compare(standard, extended)
	added := 0
	for _, c := range changes {
		if c.Kind == schemas.ChangeAdd {
			added++
		}
	}
	if len(breaking) > 0 || added != 2 {
		t.Errorf("a table follows by %v, breaking %v", changes, breaking)
	}
	if _, err := extended.JSONSchema(); err != nil {
		t.Error(err)
	}
	if again, _ := schemas.Standard().Schema("task"); again.CreateTable("x") != before {
		t.Error("the standard schema itself has changed")
	}
	if kinds, _ := schemas.Standard().CodeList("task_kind"); len(kinds.Codes) != 5 {
		t.Errorf("the standard list itself has %d codes", len(kinds.Codes))
	}
}

func TestWhatAnExtensionBreaksIsToldWithItsPlace(t *testing.T) {
	t.Parallel()
	const begin = "extends: standard/task\nversion: 1\n"
	field := func(rest string) string {
		return begin + "fields:\n  - { title: { zh: 某, en: X }, description: d, " + rest + " }\n"
	}
	for name, c := range map[string]struct{ file, want string }{
		"no such schema":                  {"extends: standard/tsk\nversion: 1\n", `a.yaml:1:1: there is no standard schema "standard/tsk" (did you mean "standard/task"?)`},
		"without standard/":               {"extends: task\nversion: 1\n", `a.yaml:1:1: there is no standard schema "task" (write extends: standard/task)`},
		"a table of Headwater's own":      {"extends: standard/ledger\nversion: 1\n", "a.yaml:1:1: ledger is a table of Headwater's own"},
		"an unknown key":                  {begin + "feilds: []\n", `a.yaml:3:1: unknown field "feilds" (did you mean "fields"?)`},
		"no version":                      {"extends: standard/task\n", `a.yaml:1:1: "version" is missing`},
		"nothing":                         {begin, "a.yaml:1:1: the file extends nothing"},
		"another type":                    {field("name: title, type: int64"), "a.yaml:4:48: task has a field title already (任务名称) (an extension changes neither type, unit nor key of it"},
		"another key":                     {field("name: level_of, type: string, key: true"), "a.yaml:4:78: level_of would be part of the key"},
		"a required field":                {field("name: layer, type: string, required: true"), "a.yaml:4:75: layer would be required"},
		"a type that is none":             {field("name: layer, type: varchar"), `a.yaml:4:67: "varchar" is no type`},
		"a list that is not there":        {field("name: layer, type: code(colours)"), `a.yaml:4:61: there is no code list "colours"`},
		"two new fields of a name":        {field("name: layer, type: string") + "  - { name: layer, title: { zh: 某, en: X }, description: d, type: string }\n", `a.yaml:5:7: there are two fields "layer"`},
		"a title of a field not there":    {begin + "titles: { titel: { zh: 某, en: X } }\n", `a.yaml:3:11: task has no field "titel" (did you mean "title"?)`},
		"a code that is there":            {begin + "codes: { task_kind: [{ code: livelihood, title: { zh: 某, en: X } }] }\n", `a.yaml:3:24: code "livelihood" is there twice`},
		"a title that means another code": {begin + "codes: { task_kind: [{ code: y, title: { zh: 民生实事, en: X } }] }\n", `a.yaml:3:24: "民生实事" means "livelihood" already`},
		"a list that the schema has not":  {begin + "codes: { feed: [{ code: y, title: { zh: 某, en: X } }] }\n", `a.yaml:3:10: no field of task has the code list "feed"`},
		"a rule that cannot be read":      {begin + "rules: [{ name: r, expr: 'a ==' }]\n", "a.yaml:3:20: the expression cannot be read"},
		"a rule of a standard name":       {begin + "rules: [{ name: " + firstRule(t, "task") + ", expr: 'true' }]\n", "a.yaml:3:11: there are two rules"},
	} {
		set, problems := load(t, c.file)
		if !strings.Contains(problems.Error(), c.want) {
			t.Errorf("%s: got\n%v\nwant %q", name, problems, c.want)
		}
		standard, _ := schemas.Standard().Schema("task")
		if s, _ := set.Schema("task"); s.Version != standard.Version {
			t.Errorf("%s: the schema was extended all the same", name)
		}
	}
	_, problems := load(t, field("name: layer, type: string"), field("name: other, type: string"))
	if want := "b.yaml:1:1: schema task is extended in a.yaml already (put both into one file)"; !strings.Contains(problems.Error(), want) {
		t.Errorf("two extensions: got %v, want %s", problems, want)
	}
	standard, _ := schemas.Standard().Schema("task")
	whole := "schema: task\nversion: 2\ntitle: { zh: 某, en: X }\ndescription: d\ntime: " + standard.Time + "\nfields:\n" + fieldsOf(t, "task")
	if standard.Time == "" {
		whole = strings.Replace(whole, "time: \n", "", 1)
	}
	_, problems = load(t, whole, field("name: layer, type: string"))
	if want := "b.yaml:1:1: the project replaces schema task in a.yaml"; !strings.Contains(problems.Error(), want) {
		t.Errorf("replaced and extended: got %v, want %s", problems, want)
	}
}

// firstRule is the name of a rule that the standard schema has, on a field or on the record.
func firstRule(t *testing.T, name string) string {
	t.Helper()
	s, _ := schemas.Standard().Schema(name)
	for _, f := range s.Fields {
		for _, r := range f.Rules {
			return r.Name
		}
	}
	for _, r := range s.Rules {
		return r.Name
	}
	t.Fatalf("schema %s has no rule", name)
	return ""
}
