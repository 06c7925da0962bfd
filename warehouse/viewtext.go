package warehouse

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// DatedViews lists the views that show what was known on a day. They take the day as a parameter, as in
// indicator_rollup_as_of(day = '2024-05-01'), and are made from the text of the views that show what is known now.
var DatedViews = []string{"indicator_rollup_as_of", "lineage_as_of"}

// dated says how a dated view follows from another one: which views that it reads stand as text within it, each in the text of those
// before it, and its comment.
type dated struct {
	of      string
	through []string
	comment string
}

var datedViews = map[string]dated{
	"indicator_rollup_as_of": {"indicator_rollup", []string{"figure_live", "observation_cell", "target_current"},
		"按日回看的指标汇总 / Indicator rollup as known: indicator_rollup as it was known at the end of a day in Beijing time, indicator_rollup_as_of(day = ''2024-05-01'')"},
	"lineage_as_of": {"lineage", []string{"observation_placed", "observation_current"},
		"按日回看的数据溯源 / Lineage as known: lineage as it was known at the end of a day in Beijing time, lineage_as_of(day = ''2024-05-01'')"},
}

// knownThen keeps what had been read by the end of the day. What came later, a deletion too, was not known.
const knownThen = "WHERE _extracted_at < toDateTime64(addDays({day:Date32}, 1), 6, 'Asia/Shanghai')"

// reportedRead finds where a text reads what was reported, from the tables, from what is kept of them or from views of these.
var reportedRead = regexp.MustCompile(`(?:FROM|JOIN)\s+(?:observation|target|figure)(?:_\w+)?\b`)

// viewText gives the statement that makes a view.
func viewText(name string) (string, error) {
	how, ok := datedViews[name]
	if !ok {
		text, err := viewFiles.ReadFile("views/" + name + ".sql")
		if err != nil {
			return "", err
		}
		return expandView(name, string(text))
	}
	head, body, err := viewParts(how.of)
	if err != nil {
		return "", err
	}
	for _, read := range how.through {
		_, inner, err := viewParts(read)
		if err != nil {
			return "", err
		}
		from, in := "FROM "+read, "FROM ("+inner+")"
		if i := slices.IndexFunc(keptFigures, func(k keptFigure) bool { return k.view == read }); i >= 0 {
			from, in = "FROM "+keptFigures[i].table+" FINAL WHERE _deleted = 0", in+" WHERE 1"
		}
		if body, err = replaceAll(name, body, from, in); err != nil {
			return "", err
		}
	}
	// Every table of what was reported is read in one place of the text, and the condition stands with the reading.
	for _, table := range []string{"observation", "target"} {
		if table == "target" && !strings.Contains(body, "FROM target\n") {
			continue
		}
		if body, err = replaceAll(name, body, "FROM "+table+"\n", "FROM "+table+" "+knownThen+"\n"); err != nil {
			return "", err
		}
	}
	for _, at := range reportedRead.FindAllStringIndex(body, -1) {
		if !strings.HasPrefix(body[at[1]:], " "+knownThen) {
			return "", fmt.Errorf("view %s: its text reads what became known later: %s", name, body[at[0]:at[1]])
		}
	}
	_, columns, ok := strings.Cut(head, "\n(\n")
	if !ok {
		return "", fmt.Errorf("view %s does not declare its columns", how.of)
	}
	return "CREATE OR REPLACE VIEW " + name + "\n(\n" + columns + viewMiddle + body + "\nCOMMENT '" + how.comment + "'\n", nil
}

const viewMiddle = "\n)\nAS\n"

// viewParts are what stands before a view's AS and what stands between it and the comment.
func viewParts(name string) (head, body string, err error) {
	text, err := viewText(name)
	if err != nil {
		return "", "", err
	}
	head, body, ok := strings.Cut(text, viewMiddle)
	end := strings.LastIndex(body, "\nCOMMENT '")
	if !ok || end < 0 {
		return "", "", fmt.Errorf("view %s does not declare its columns and its comment", name)
	}
	return head, body[:end], nil
}

// countedMark stands in the text of a view for the figures that count and those that do not, as figure_live has them.
const countedMark = "    -- standing, counted: as in figure_live\n"

func expandView(name, text string) (string, error) {
	if !strings.Contains(text, countedMark) {
		return text, nil
	}
	_, live, err := viewParts("figure_live")
	if err != nil {
		return "", err
	}
	_, counted, ok := strings.Cut(live, "WITH\n")
	counted, _, ok2 := strings.Cut(counted, "    rolled AS\n")
	if !ok || !ok2 {
		return "", fmt.Errorf("view %s: figure_live has no figures that count", name)
	}
	return replaceAll(name, text, countedMark, counted)
}

func replaceAll(name, text, old, new string) (string, error) {
	if !strings.Contains(text, old) {
		return "", fmt.Errorf("view %s: its text has no %q", name, strings.TrimSpace(old))
	}
	return strings.ReplaceAll(text, old, new), nil
}
