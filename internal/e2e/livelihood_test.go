package e2e

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/headwater-data/headwater/examples/livelihood"
)

// The demo project, run as a user does, leaves in the warehouse what its generator computes from its own rows, and nothing
// personal anywhere.
func TestTheDemoProjectComesOutAsItsGeneratorExpects(t *testing.T) {
	p := newProject(t, nil)
	if err := livelihood.Write(p.dir); err != nil {
		t.Fatal(err)
	}
	p.must(t, "check")
	p.must(t, "run")
	// A second run has nothing to read and changes nothing.
	p.must(t, "run")
	p.balanced(t)
	want := livelihood.Expected()
	compareStreams(t, p, want.Streams)
	compareRollup(t, p, want.Rollup)
	compareIndex(t, p, want.Rollup)
	compareFacts(t, p)
	compareDisagreements(t, p, want.Disagreements)
	compareStories(t, p, want)
	compareTrace(t, p)
	compareViewsDoc(t, p)
	nothingPersonal(t, p)
}

// compareViewsDoc asks what docs/views.md asks, and gets what it says. No view is missing in it.
func compareViewsDoc(t *testing.T, p *project) {
	t.Helper()
	text, err := os.ReadFile("../../docs/views.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```sql\n(.*?)\n```\n\n(?:```text\n(.*?)\n```)?").FindAllStringSubmatch(string(text), -1)
	if len(examples) < 20 {
		t.Errorf("only %d examples in docs/views.md", len(examples))
	}
	for _, e := range examples {
		answer := strings.TrimRight(p.must(t, "query", e[1]).out, "\n")
		if e[2] == "" && strings.Count(answer, "\n") > 1 {
			t.Errorf("%s: the demo has rows:\n%s", e[1], answer)
		} else if e[2] != "" && answer != e[2] {
			t.Errorf("%s (-docs +got):\n%s", e[1], cmp.Diff(e[2], answer))
		}
	}
	for _, r := range p.query(t, "SELECT name FROM system.tables WHERE database = 'headwater' AND engine = 'View'") {
		view := fmt.Sprint(r["name"])
		if !strings.Contains(string(text), "## "+view+"\n") && !strings.Contains(string(text), "`"+view+"`") {
			t.Errorf("docs/views.md does not tell of %s", view)
		}
	}
}

func compareStreams(t *testing.T, p *project, want []livelihood.StreamCount) {
	t.Helper()
	ledger := map[string]map[string]any{}
	for _, r := range p.query(t, `SELECT concat(source, '/', stream) AS name, sum(extracted) AS read, sum(loaded) AS loaded, sum(duplicate) AS duplicate, sum(quarantined) AS quarantined,
		sum(filtered) AS filtered, sum(held) AS held, sum(records) AS records, sum(warnings) AS flagged FROM ledger FINAL WHERE source != '' GROUP BY source, stream`) {
		ledger[fmt.Sprint(r["name"])] = r
	}
	rules := p.counts(t, `SELECT concat(source, '/', stream) AS stream, arrayStringConcat(rules, ',') AS what, count() AS rows FROM quarantine FINAL GROUP BY source, stream, rules`)
	flags := map[string]map[string]int{}
	for _, table := range []string{"observation", "target", "hotline_case", "air_reading"} {
		for stream, counts := range p.counts(t, `SELECT concat(_source, '/', _stream) AS stream, arrayJoin(_flags) AS what, count() AS rows FROM `+table+` FINAL GROUP BY _source, _stream, what`) {
			flags[stream] = counts
		}
	}
	for _, s := range want {
		name := s.Source + "/" + s.Stream
		got, ok := ledger[name]
		if !ok {
			t.Errorf("%s is not in the ledger", name)
			continue
		}
		delete(ledger, name)
		for what, n := range map[string]int{"read": s.Read, "loaded": s.Loaded, "duplicate": 0, "quarantined": total(s.Quarantined), "filtered": total(s.Filtered), "held": 0, "records": s.Records, "flagged": total(s.Flagged)} {
			if fmt.Sprint(got[what]) != strconv.Itoa(n) {
				t.Errorf("%s: %s %v, want %d", name, what, got[what], n)
			}
		}
		if len(rules[name])+len(s.Quarantined) > 0 && !maps.Equal(rules[name], s.Quarantined) {
			t.Errorf("%s: quarantined by %v, want %v", name, rules[name], s.Quarantined)
		}
		if len(flags[name])+len(s.Flagged) > 0 && !maps.Equal(flags[name], s.Flagged) {
			t.Errorf("%s: flagged by %v, want %v", name, flags[name], s.Flagged)
		}
	}
	for name := range ledger {
		t.Errorf("%s is in the ledger, but in no file", name)
	}
}

// counts reads rows of stream, what and rows.
func (p *project) counts(t *testing.T, sql string) map[string]map[string]int {
	t.Helper()
	out := map[string]map[string]int{}
	for _, r := range p.query(t, sql) {
		n, err := strconv.Atoi(fmt.Sprint(r["rows"]))
		if err != nil {
			t.Fatal(err)
		}
		stream := fmt.Sprint(r["stream"])
		if out[stream] == nil {
			out[stream] = map[string]int{}
		}
		out[stream][fmt.Sprint(r["what"])] = n
	}
	return out
}

func total(counts map[string]int) int {
	n := 0
	for _, c := range counts {
		n += c
	}
	return n
}

func compareRollup(t *testing.T, p *project, want []livelihood.Figure) {
	t.Helper()
	key := func(indicator, region any, month int) string { return fmt.Sprint(indicator, " ", region, " ", month) }
	figures := map[string]map[string]any{}
	for _, r := range p.query(t, `SELECT indicator, region, toMonth(period) AS month, region_name, level, value, year_to_date, target, completion_rate, plan_value, status
		FROM indicator_rollup WHERE grain = 'month' AND toYear(period) = 2021 AND level IN ('province', 'city') AND target IS NOT NULL`) {
		month, err := strconv.Atoi(fmt.Sprint(r["month"]))
		if err != nil {
			t.Fatal(err)
		}
		figures[key(r["indicator"], r["region"], month)] = r
	}
	for _, f := range want {
		k := key(f.Indicator, f.Region, f.Month)
		got, ok := figures[k]
		if !ok {
			t.Errorf("%s (%s) is not in the rollup", k, f.Name)
			continue
		}
		delete(figures, k)
		if fmt.Sprint(got["region_name"], got["level"], got["status"]) != f.Name+f.Level+f.Status {
			t.Errorf("%s is %v, %v, %v; want %s, %s, %s", k, got["region_name"], got["level"], got["status"], f.Name, f.Level, f.Status)
		}
		for column, n := range map[string]float64{"value": f.Value, "year_to_date": f.Value, "target": f.Target, "completion_rate": f.Completion, "plan_value": f.Plan} {
			if v, err := strconv.ParseFloat(fmt.Sprint(got[column]), 64); err != nil || math.Abs(v-n) > 1e-9*max(1, math.Abs(n)) {
				t.Errorf("%s: %s %v, want %g", k, column, got[column], n)
			}
		}
	}
	for k := range figures {
		t.Errorf("%s has a target in the rollup, but none in the files", k)
	}
}

// compareIndex holds the demonstration index of the project against one computed from the generator's figures.
func compareIndex(t *testing.T, p *project, figures []livelihood.Figure) {
	t.Helper()
	type place struct {
		region string
		month  int
	}
	sums, weights := map[place]float64{}, map[place]float64{}
	for _, f := range figures {
		at := place{f.Region, f.Month}
		score := 100 * min(1, f.Completion)
		switch {
		case f.Indicator == "LV-CANTEEN" && f.Month < 7:
			continue // not a part of the first version
		case f.Indicator == "LV-CANTEEN" && f.Value < 0.5:
			score = 80 * f.Value
		case f.Indicator == "LV-CANTEEN":
			score = 40 + 120*(f.Value-0.5)
		}
		sums[at] += score
		weights[at]++ // all components weigh the same, in both versions
	}
	there := 0
	for _, r := range p.query(t, `SELECT region, toMonth(period) AS month, version, score, covered FROM index_score WHERE index = 'LV-PROGRESS' AND level IN ('province', 'city')`) {
		month, err := strconv.Atoi(fmt.Sprint(r["month"]))
		if err != nil {
			t.Fatal(err)
		}
		at := place{fmt.Sprint(r["region"]), month}
		version, all := "1.0", 4.0
		if month >= 7 {
			version, all = "2.0", 5
		}
		score, err := strconv.ParseFloat(fmt.Sprint(r["score"]), 64)
		if want := sums[at] / weights[at]; err != nil || math.Abs(score-want) > 1e-6 || r["version"] != version {
			t.Errorf("index of %v: %v by version %v, want %g by %s", at, r["score"], r["version"], want, version)
		}
		if covered, err := strconv.ParseFloat(fmt.Sprint(r["covered"]), 64); err != nil || math.Abs(covered-weights[at]/all) > 1e-6 {
			t.Errorf("index of %v: covered %v, want %g", at, r["covered"], weights[at]/all)
		}
		there++
	}
	if there != len(sums) || there < 12*5 {
		t.Errorf("%d scores of the index, want %d", there, len(sums))
	}
}

// compareFacts holds an indicator that is counted from records against the hotline's own view.
func compareFacts(t *testing.T, p *project) {
	t.Helper()
	const both = `(SELECT region, toDate(period, 'Asia/Shanghai') AS month, numerator AS good, denominator AS due FROM indicator_fact WHERE indicator = 'LV-HOTLINE') AS f
		FULL OUTER JOIN (SELECT region, toDate(month) AS month, toFloat64(closed_in_time) AS good, toFloat64(due) AS due FROM hotline_performance WHERE due > 0) AS h ON h.region = f.region AND h.month = f.month`
	for _, r := range p.query(t, "SELECT f.region AS region, h.region AS other, f.month AS month, f.good, f.due, h.good, h.due FROM "+both+" WHERE f.region != h.region OR f.good != h.good OR f.due != h.due") {
		t.Errorf("counted from records and by the hotline's view: %v", r)
	}
	if n := p.one(t, "SELECT count() > 50 FROM "+both); fmt.Sprint(n) != "1" {
		t.Errorf("hardly any region and month is compared: %v", n)
	}
}

func compareDisagreements(t *testing.T, p *project, want []livelihood.Disagreement) {
	t.Helper()
	found := map[string]string{}
	for _, r := range p.query(t, `SELECT indicator, region, toMonth(period) AS month, reported, rolled_up, difference FROM indicator_reconciliation WHERE agrees = 0 AND indicator LIKE 'LV-%'`) {
		found[fmt.Sprint(r["indicator"], " ", r["region"], " ", r["month"])] = fmt.Sprint(r["reported"], " against ", r["rolled_up"], ": ", r["difference"])
	}
	for _, d := range want {
		k := fmt.Sprint(d.Indicator, " ", d.Region, " ", d.Month)
		if text := fmt.Sprint(d.Reported, " against ", d.RolledUp, ": ", d.Reported-d.RolledUp); found[k] != text {
			t.Errorf("%s (%s, %s): %q, want %q", k, d.Name, d.Why, found[k], text)
		}
		delete(found, k)
	}
	for k, text := range found {
		t.Errorf("%s: %s, but they agree", k, text)
	}
}

// compareStories holds the control index, the air and the real epidemic against what the generator expects.
func compareStories(t *testing.T, p *project, want livelihood.Expectation) {
	t.Helper()
	compareScores(t, p, want.Scores)
	compareAir(t, p, want.Air)
	var real []string
	for _, r := range p.query(t, `SELECT region, toDate(period) AS day, reported, rolled_up FROM indicator_reconciliation WHERE agrees = 0 AND indicator NOT LIKE 'LV-%' ORDER BY day`) {
		real = append(real, fmt.Sprint(r["region"], " ", r["day"], " ", r["reported"], " ", r["rolled_up"]))
	}
	var days []string
	for _, d := range want.Real {
		days = append(days, fmt.Sprint("330000 ", d.Date, " ", d.Reported, " ", d.RolledUp))
	}
	if diff := cmp.Diff(days, real); diff != "" || len(days) == 0 {
		t.Errorf("days on which the real figures disagree (-want +got):\n%s", diff)
	}
}

// compareScores compares every score of the control index and its halves: score, version, colour, what is missing and how much is there.
func compareScores(t *testing.T, p *project, want []livelihood.Score) {
	t.Helper()
	type found struct{ version, score, band, missing, covered, name, level string }
	got := map[string]found{}
	for _, r := range p.query(t, `SELECT index, region, toDate(period) AS day, version, ifNull(toString(score), '') AS score, band, arrayStringConcat(missing, ' ') AS missing, toString(covered) AS covered, region_name, level FROM index_score WHERE index LIKE 'EC-%' AND level != 'nation'`) {
		text := func(column string) string { return fmt.Sprint(r[column]) }
		got[text("index")+" "+text("region")+" "+text("day")] = found{text("version"), text("score"), text("band"), text("missing"), text("covered"), text("region_name"), text("level")}
	}
	wrong := 0
	for _, s := range want {
		k := s.Index + " " + s.Region + " " + livelihood.ControlDay(s.Day).Format("2006-01-02")
		g, ok := got[k]
		delete(got, k)
		score, err := strconv.ParseFloat(g.score, 64)
		covered, bad := strconv.ParseFloat(g.covered, 64)
		right := ok && bad == nil && s.There == (err == nil) && g.version == s.Version && g.band == s.Band && g.missing == strings.Join(s.Missing, " ") && g.name == s.Name && g.level == s.Level &&
			math.Abs(covered-s.Covered) < 1e-9 && (!s.There || math.Abs(score-s.Score) < 1e-6)
		if !right {
			if wrong++; wrong <= 10 {
				t.Errorf("%s is %+v, want %+v", k, g, s)
			}
		}
	}
	if wrong > 10 || len(got) > 0 {
		t.Errorf("%d scores are wrong, and %d are nobody's, such as %v", wrong, len(got), firstKey(got))
	}
	if len(want) < 3*100*14*9/10 {
		t.Errorf("only %d scores are expected", len(want))
	}
}

func firstKey[V any](m map[string]V) string {
	for k := range m {
		return k
	}
	return ""
}

// compareAir compares the good days at all levels.
func compareAir(t *testing.T, p *project, want []livelihood.AirMonth) {
	t.Helper()
	got := map[string]map[string]any{}
	for _, r := range p.query(t, `SELECT region, toMonth(month) AS month, region_name, level, stations, valid_days, good_days, toString(pm25) AS pm25 FROM environment_quality WHERE level != 'nation'`) {
		got[fmt.Sprint(r["region"], " ", r["month"])] = r
	}
	for _, m := range want {
		k := fmt.Sprint(m.Region, " ", m.Month)
		g := got[k]
		delete(got, k)
		dust, err := strconv.ParseFloat(fmt.Sprint(g["pm25"]), 64)
		if line := fmt.Sprint(g["region_name"], g["level"], g["stations"], g["valid_days"], g["good_days"]); err != nil || math.Abs(dust-m.FineDust) > 1e-6 || line != fmt.Sprint(m.Name, m.Level, strconv.Itoa(m.Stations), strconv.Itoa(m.ValidDays), strconv.Itoa(m.GoodDays)) {
			t.Errorf("the air of %s is %v, want %+v", k, g, m)
		}
	}
	if len(got) > 0 {
		t.Errorf("the air of %s is nobody's", firstKey(got))
	}
}

// personal is what the hotline's file holds of people: telephone and identity numbers, names, and what they said.
const personal = `0571-0[0-9]{7}|330199[0-9]{11}[0-9X]|甲子|乙丑|丙寅|丁卯|戊辰|己巳|庚午|辛未|壬申|癸酉|有关问题（演示数据）`

// nothingPersonal looks for personal data in every column of every table, and in every file that Headwater keeps, inside
// compressed batches too.
func nothingPersonal(t *testing.T, p *project) {
	t.Helper()
	pattern := regexp.MustCompile(personal)
	if n := len(pattern.FindAll(hotlineLines(t, p), -1)); n < 7000 {
		t.Fatalf("the hotline's file has %d personal values: the test would find nothing", n)
	}
	tables := p.query(t, "SELECT name FROM system.tables WHERE database = 'headwater' AND engine LIKE '%MergeTree%'")
	if len(tables) < 8 {
		t.Fatalf("the warehouse has only the tables %v", tables)
	}
	for _, r := range tables {
		name := fmt.Sprint(r["name"])
		if n := p.one(t, "SELECT count() FROM `"+name+"` WHERE match(toString(tuple(*)), '"+personal+"')"); n != "0" {
			t.Errorf("table %s: %s rows with personal data in the clear, such as %v", name, n, p.query(t, "SELECT * FROM `"+name+"` WHERE match(toString(tuple(*)), '"+personal+"') LIMIT 1"))
		}
	}
	s := scanner{pattern: pattern, seen: map[string]bool{}}
	for part := range strings.SplitSeq(personal, "|") {
		beginning, _, _ := strings.Cut(part, "[")
		s.beginnings = append(s.beginnings, []byte(beginning))
	}
	if s.find(hotlineLines(t, p)) == "" {
		t.Fatal("the search does not find what the hotline's file holds")
	}
	var err error
	if s.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20)); err != nil {
		t.Fatal(err)
	}
	defer s.zstd.Close()
	if err := filepath.WalkDir(filepath.Join(p.dir, ".headwater"), func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && !entry.Type().IsRegular() {
			return nil // the warehouse puts parts together while we look
		}
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if found := s.scan(data); found != "" {
			t.Errorf("%s holds %s", path, found)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	// The scanner must have seen inside the batches: the hotline's case numbers are in them and personal to nobody.
	if !s.seen["HZ-20210"] {
		t.Error("no case number was found in any batch: the search did not look into them")
	}
}

// hotlineLines returns all that the hotline's zip holds.
func hotlineLines(t *testing.T, p *project) []byte {
	t.Helper()
	archive, err := zip.OpenReader(filepath.Join(p.dir, "data", "hotline", "12345-2021-q2.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	var all []byte
	for _, f := range archive.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
	}
	return all
}

// scanner looks for personal data in bytes and in the compressed frames among them, as Arrow keeps its buffers.
type scanner struct {
	pattern    *regexp.Regexp
	beginnings [][]byte // of whatever the pattern matches
	zstd       *zstd.Decoder
	seen       map[string]bool // what was seen in frames, of what must be there
}

var (
	zstdFrame = []byte{0x28, 0xb5, 0x2f, 0xfd}
	lz4Frame  = []byte{0x04, 0x22, 0x4d, 0x18}
)

// scan returns what it finds first, nothing when there is nothing.
func (s *scanner) scan(data []byte) string {
	if found := s.find(data); found != "" {
		return found
	}
	for _, magic := range [][]byte{zstdFrame, lz4Frame} {
		for at := 0; ; {
			i := bytes.Index(data[at:], magic)
			if i < 0 {
				break
			}
			at += i
			// What follows the frame is no frame, so that an error comes after the content; bytes that only look like one give none.
			content := s.frame(data[at:], magic)
			at += len(magic)
			if bytes.Contains(content, []byte("HZ-20210")) {
				s.seen["HZ-20210"] = true
			}
			if found := s.find(content); found != "" {
				return "compressed " + found
			}
		}
	}
	return ""
}

// find looks for the beginnings of personal data, which is many times faster than the pattern alone, and then for the whole.
func (s *scanner) find(data []byte) string {
	for _, beginning := range s.beginnings {
		for at := 0; ; at++ {
			i := bytes.Index(data[at:], beginning)
			if i < 0 {
				break
			}
			at += i
			if found := s.pattern.Find(data[at:min(len(data), at+40)]); found != nil {
				return string(found)
			}
		}
	}
	return ""
}

func (s *scanner) frame(data, magic []byte) []byte {
	var content bytes.Buffer
	var from io.Reader = lz4.NewReader(bytes.NewReader(data))
	if bytes.Equal(magic, zstdFrame) {
		if s.zstd.Reset(bytes.NewReader(data)) != nil {
			return nil
		}
		from = s.zstd
	}
	_, _ = io.Copy(&content, io.LimitReader(from, 64<<20))
	return content.Bytes()
}
