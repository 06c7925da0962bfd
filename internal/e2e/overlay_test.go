package e2e

import (
	"strings"
	"testing"
)

const issuesYAML = `source: issues
owner: inspection
connector: file
streams:
  - name: rows
    read: { path: "data/*.csv", on_change: replace }
    map:
      schema: issue
      fields:
        issue_id: 编号
        title: 问题
        region: { value: "330102" }
        source: 来源
        found_on: { from: 发现, parse: date }
        responsible: { value: 上城区城管局 }
        status: { value: assigned }
`

// TestAProvinceExtendsAStandardSchema: the table follows an extension that comes when there are rows already, its code and its
// rule hold, and what it may not do stops the run before anything is changed.
func TestAProvinceExtendsAStandardSchema(t *testing.T) {
	t.Parallel()
	p := newProject(t, map[string]string{
		"headwater.yaml": "project: overlay\n", "sources/issues.yaml": issuesYAML,
		"data/a.csv": "编号,问题,来源,发现,图层,星级\n1,路灯不亮,督查发现,2021-06-01,LIGHT,2\n",
	})
	p.must(t, "run")
	extension := `extends: standard/issue
version: 1
fields:
  - { name: layer, title: { zh: 地图图层, en: Map layer }, description: Layer of the map., type: string, rules: [{ pattern: "^[A-Z]+$" }] }
  - { name: stars, title: { zh: 星级, en: Stars }, description: How grave it is., type: int64, default: 1 }
titles:
  title: { zh: 问题事项, en: Matter }
codes:
  issue_source:
    - { code: satellite, title: { zh: 卫星遥感, en: Satellite } }
`
	p.write(t, "schemas/issue.yaml", strings.Replace(extension, "name: layer", "name: region", 1))
	if r := p.run(t, nil, "run"); r.code != 2 || !strings.Contains(r.err, "schemas/issue.yaml:4:7: issue has a field region already") {
		t.Fatalf("a field that is there: exit code %d\n%s", r.code, r.err)
	}
	p.write(t, "schemas/issue.yaml", extension)
	p.write(t, "sources/issues.yaml", issuesYAML+"        layer: 图层\n        stars: { from: 星级, parse: number }\n")
	p.write(t, "data/b.csv", "编号,问题,来源,发现,图层,星级\n2,工地扬尘,卫星遥感,2021-06-02,DUST,3\n3,占道,督查发现,2021-06-03,road,\n4,积水,督查发现,2021-06-04,,\n")
	p.must(t, "run")
	const rows = "SELECT arrayStringConcat(groupArray(concat(issue_id, ' ', ifNull(toString(source), '-'), ' ', ifNull(layer, '-'), ' ', toString(stars))), ', ') FROM (SELECT * FROM issue FINAL ORDER BY issue_id)"
	if got, want := p.one(t, rows), "1 inspection - 1, 2 satellite DUST 3, 4 inspection - 1"; got != want {
		t.Errorf("the table has %s, want %s", got, want)
	}
	if got, want := p.one(t, "SELECT arrayStringConcat(groupArray(concat(arrayStringConcat(rules, ' '), ' ', place)), ', ') FROM quarantine_open"), "layer.pattern data/b.csv"; got != want {
		t.Errorf("in quarantine is %s, want %s", got, want)
	}
	if got, want := p.one(t, "SELECT arrayStringConcat(groupArray(concat(name, '=', comment)), '; ') FROM (SELECT name, comment FROM system.columns WHERE database = 'headwater' AND table = 'issue' AND name IN ('title', 'layer') ORDER BY position)"),
		"title=问题事项 / Matter"; !strings.HasPrefix(got, want) || !strings.Contains(got, "layer=地图图层 / Map layer: Layer of the map.") {
		t.Errorf("the columns say %s", got)
	}
	p.balanced(t)
	// What is in the table stays readable: an extension that is taken back is refused, and nothing changes.
	p.write(t, "schemas/issue.yaml", strings.Replace(extension, "name: layer", "name: sheet", 1))
	p.write(t, "sources/issues.yaml", issuesYAML)
	if r := p.run(t, nil, "run"); r.code != 2 || !strings.Contains(r.err, "field layer (地图图层) would be gone") {
		t.Errorf("a field that is gone: exit code %d\n%s", r.code, r.err)
	}
}
