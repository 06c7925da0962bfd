package e2e

import (
	"strings"
	"testing"
)

// TestAFrozenFigureOutlivesTheFileItCameFrom: a file that replaces the one from which a frozen figure came brings another value and takes a
// row away. All of it is loaded and accounted for, the figure that is quoted stays, and a restatement takes the new one over.
func TestAFrozenFigureOutlivesTheFileItCameFrom(t *testing.T) {
	t.Parallel()
	source := strings.Replace(strings.Replace(sourceYAML("figures", `{ path: "data/*.csv", on_change: replace }`), "{value: day}", "{value: month}", 1), "parse: date", "parse: month", 1)
	p := newProject(t, map[string]string{
		"headwater.yaml": "project: period\n", "sources/figures.yaml": source,
		"indicators/t.yaml": "indicator: T\ntitle: { zh: 数, en: T }\naggregation: sum\ngrain: month\n",
		"data/a.csv":        "region,subject,day,value\n上城区,,2021-06,10\n临平区,,2021-06,20\n",
	})
	p.must(t, "run")
	p.must(t, "period", "freeze", "T", "杭州市", "2021-06", "--why", "quoted in the half-year report")
	const figure = "SELECT concat(ifNull(toString(value), '-'), ' ', ifNull(toString(live_value), '-'), ' ', state, ' ', toString(held_aside)) FROM indicator_official WHERE indicator = 'T' AND region = '330100'"
	if got, want := p.one(t, figure), "30 30 frozen 0"; got != want {
		t.Errorf("frozen: %s, want %s", got, want)
	}
	p.write(t, "data/a.csv", "region,subject,day,value\n上城区,,2021-06,11\n")
	p.must(t, "run")
	if got, want := p.one(t, figure), "30 11 frozen 1"; got != want {
		t.Errorf("after another file: %s, want %s", got, want)
	}
	if got, want := p.one(t, "SELECT concat(toString(count()), ' ', toString(sum(value))) FROM observation_current"), "1 11"; got != want {
		t.Errorf("loaded are %s, want %s: freezing holds nothing back", got, want)
	}
	if got, want := p.one(t, "SELECT toString(count()) FROM quarantine_open"), "0"; got != want {
		t.Errorf("%s rows in quarantine, want %s", got, want)
	}
	p.balanced(t)
	r := p.must(t, "period", "restate", "T", "杭州市", "2021-06", "--why", "the district has corrected it")
	for _, want := range []string{"330100 杭州市: 11, was 30", "330102 上城区: 11, was 10", "330113 临平区: none, was 20"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("the restatement tells\n%swithout %q", r.out, want)
		}
	}
	if got, want := p.one(t, figure), "11 11 frozen 0"; got != want {
		t.Errorf("restated: %s, want %s", got, want)
	}
}
