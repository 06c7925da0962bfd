package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/connectors/file"
	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/pipeline/verify"
	"github.com/headwater-data/headwater/warehouse"
)

// office is a project whose sources are files: figures in a table that keeps history, and cases in one that does not, with a
// personal field.
type office struct {
	t       *testing.T
	bench   *bench
	session *Session
	mem     *memory.CheckedAllocator
}

const figuresYAML = `source: %s
owner: test
connector: file
streams:
  - name: rows
    read: {path: data/%[1]s/*.csv, settle: 0s%s}
    filter:
      - {name: total, when: 'col["subject"] == "total"'}
    map:
      schema: observation
      fields:
        indicator: {value: T}
        region: {from: region, region: {within: "330000"}}
        subject: subject
        grain: {value: day}
        feed: {value: source}
        period: {from: day, parse: date}
        value: {from: value, parse: number}
`

const casesYAML = `source: cases
owner: test
connector: file
streams:
  - name: rows
    read: {path: data/cases/*.csv, settle: 0s}
    map:
      schema: hotline_case
      fields:
        case_id: id
        region: {from: region, region: {within: "330000"}}
        opened_at: {from: opened, parse: datetime}
        channel: {value: phone}
        status: {from: status}
        phone: {from: phone, mask: hash}
        content: {from: content, mask: name}
`

// revisedYAML has an order of its own and marks rows as gone.
const revisedYAML = `source: revised
owner: test
connector: file
streams:
  - name: rows
    read: {path: data/revised/*.csv, settle: 0s, on_change: merge}
    map:
      schema: hotline_case
      version: revision
      deleted: {from: gone, parse: bool}
      fields:
        case_id: id
        region: {from: region, region: {within: "330000"}}
        opened_at: {from: opened, parse: datetime}
        channel: {value: phone}
        status: {from: status}
`

// wideYAML makes several records of a row.
const wideYAML = `source: wide
owner: test
connector: file
streams:
  - name: rows
    read: {path: data/wide/*.csv, settle: 0s}
    map:
      schema: observation
      unpivot:
        columns:
          a: {indicator: T, subject: s00001}
          b: {indicator: T, subject: s00002}
      fields:
        region: {from: region, region: {within: "330000"}}
        grain: {value: day}
        feed: {value: source}
        period: {from: day, parse: date}
        value: {parse: number}
`

// assetsYAML fills a table whose rows have no day.
const assetsYAML = `source: assets
owner: test
connector: file
streams:
  - name: rows
    read: {path: data/assets/*.csv, settle: 0s}
    map:
      schema: asset
      fields:
        name: name
        cost: {from: cost, parse: number}
`

// peopleYAML has a personal key.
const peopleYAML = `source: people
owner: test
connector: file
streams:
  - name: rows
    read: {path: data/people/*.csv, settle: 0s}
    map:
      schema: person
      fields:
        phone: {from: phone, mask: hash}
        cost: {from: cost, parse: number}
`

const personSchema = `schema: person
version: 1
title: {zh: 人, en: Person}
description: A person.
fields:
  - {name: phone, title: {zh: 电话, en: Phone}, description: A number., type: string, key: true, sensitivity: personal}
  - {name: cost, title: {zh: 价格, en: Cost}, description: What it cost., type: int64}
`

const assetSchema = `schema: asset
version: 1
title: {zh: 资产, en: Asset}
description: A thing.
fields:
  - {name: name, title: {zh: 名称, en: Name}, description: Its name., type: string, key: true}
  - {name: cost, title: {zh: 价格, en: Cost}, description: What it cost., type: "decimal(18,2)"}
`

// openOffice makes the project; files are its data.
func openOffice(t *testing.T, files map[string]string) *office {
	t.Helper()
	b := newBench(t, "", nil)
	for _, name := range []string{"figures", "rival"} {
		b.write(t, "sources/"+name+".yaml", fmt.Sprintf(figuresYAML, name, ""))
	}
	b.write(t, "sources/merged.yaml", fmt.Sprintf(figuresYAML, "merged", ", on_change: merge"))
	for name, text := range map[string]string{"cases": casesYAML, "revised": revisedYAML, "wide": wideYAML, "assets": assetsYAML, "people": peopleYAML} {
		b.write(t, "sources/"+name+".yaml", text)
	}
	b.write(t, "schemas/asset.yaml", assetSchema)
	b.write(t, "schemas/person.yaml", personSchema)
	for name, text := range files {
		b.write(t, name, text)
	}
	o := &office{t: t, bench: b, mem: memory.NewCheckedAllocator(memory.DefaultAllocator)}
	r := &connectors.Registry{}
	r.Register(file.Definition())
	p, problems := project.Load(b.dir, r)
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), p, Options{Allocator: o.mem, Logger: slog.New(b.log)})
	if err != nil {
		t.Fatal(err)
	}
	o.session = s
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		o.mem.AssertSize(t, 0)
	})
	return o
}

func (o *office) run(sources ...string) {
	o.t.Helper()
	if _, err := o.session.Run(o.t.Context(), RunOptions{Sources: sources}); err != nil {
		o.t.Fatal(err)
	}
}

// sql changes the warehouse by hand, as the user who may write.
func (o *office) sql(statements ...string) {
	o.t.Helper()
	for _, s := range statements {
		at := o.session.warehouse.Endpoint
		r, err := http.NewRequestWithContext(o.t.Context(), http.MethodPost, "http://"+at.Addr+"/?database=headwater&mutations_sync=2", strings.NewReader(s))
		if err != nil {
			o.t.Fatal(err)
		}
		r.SetBasicAuth(at.User, at.Password.Reveal())
		r.Close = true // no connection stays behind for a leak detector to find
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			o.t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		if err := errors.Join(err, answer.Body.Close()); err != nil || answer.StatusCode != http.StatusOK {
			o.t.Fatalf("%s: %s: %s (%v)", s, answer.Status, text, err)
		}
	}
}

func (o *office) verify(opts VerifyOptions) *VerifyReport {
	o.t.Helper()
	r, err := o.session.Verify(o.t.Context(), opts)
	if err != nil {
		o.t.Fatal(err)
	}
	return r
}

// keys gives differences as "kind key", sorted.
func keysOf(t *testing.T, r *VerifyReport, found []verify.Difference) []string {
	t.Helper()
	out := []string{}
	for _, d := range found {
		for _, table := range r.Tables {
			if table.Schema.Name != d.Table {
				continue
			}
			texts, err := table.Schema.KeyTexts(d.Key)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, string(d.Kind)+" "+strings.Join(texts, " "))
		}
	}
	slices.Sort(out)
	return out
}

func (o *office) found(opts VerifyOptions, want ...string) *VerifyReport {
	o.t.Helper()
	r := o.verify(opts)
	if got := keysOf(o.t, r, r.Keys); !slices.Equal(got, want) {
		o.t.Errorf("found %q, want %q", got, want)
	}
	if r.Equal() != (len(want) == 0 || opts.Repair) {
		o.t.Errorf("with %d differences, equal is %v", len(want), r.Equal())
	}
	return r
}

// figures makes a file of n figures of one day.
func figures(day string, from, to int) string {
	var b strings.Builder
	b.WriteString("region,subject,day,value\n")
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "上城区,s%05d,%s,%d\n", i, day, i)
	}
	return b.String()
}

func TestVerifyFindsWhatWasDamagedAndNothingElseAndMendsIt(t *testing.T) {
	t.Parallel()
	files := map[string]string{}
	for d := 1; d <= 6; d++ {
		day := fmt.Sprintf("2024-03-%02d", d)
		files["data/figures/"+day+".csv"] = figures(day, 0, 4000)
	}
	files["data/figures/bad.csv"] = "region,subject,day,value\n上城区,bad1,2024-03-01,many\nnowhere,bad2,2024-03-01,1\n上城区,total,2024-03-01,9\n"
	files["data/rival/a.csv"] = figures("2024-03-06", 3990, 4010)
	var cases strings.Builder
	cases.WriteString("id,region,opened,status,phone,content\n")
	for i := range 3000 {
		fmt.Fprintf(&cases, "c%04d,上城区,2024-03-%02d 08:30:00,open,1380000%04d,hole %d in the road\n", i, i%28+1, i, i)
	}
	files["data/cases/a.csv"] = cases.String()
	o := openOffice(t, files)
	o.run("figures")
	o.run("rival", "cases")

	clean := o.found(VerifyOptions{Source: "figures"})
	table := clean.Tables[0]
	if table.Source != 24_000 || table.Warehouse != 23_990 || table.Superseded != 10 || table.Quarantined != 2 || table.Filtered != 1 || table.Segments != 6 || table.Missing+table.Extra+table.Different != 0 {
		t.Errorf("the figures compare as %+v", table)
	}
	o.found(VerifyOptions{Source: "rival"})
	o.found(VerifyOptions{Source: "cases"})

	const key = "T 330102  %s day %s source"
	o.sql(
		// A row and all that it ever was are gone.
		"ALTER TABLE observation DELETE WHERE subject = 's00017' AND period = toDateTime64('2024-03-02 00:00:00', 3, 'Asia/Shanghai')",
		// A row that no source has.
		"INSERT INTO observation SELECT * REPLACE('made up' AS subject) FROM (SELECT * FROM observation WHERE subject = 's00018' AND period = toDateTime64('2024-03-03 00:00:00', 3, 'Asia/Shanghai'))",
		// A value that a later version changes, and one that a row of the same version does.
		"INSERT INTO observation SELECT * REPLACE(value + 1 AS value, _version + 5 AS _version) FROM observation WHERE subject = 's00019' AND period = toDateTime64('2024-03-04 00:00:00', 3, 'Asia/Shanghai')",
		"INSERT INTO observation SELECT * REPLACE('x' AS note) FROM observation WHERE subject = 's00020' AND period = toDateTime64('2024-03-04 00:00:00', 3, 'Asia/Shanghai')",
		// A tombstone.
		"INSERT INTO observation SELECT * REPLACE(1 AS _deleted, _version + 1 AS _version) FROM observation WHERE subject = 's00021' AND period = toDateTime64('2024-03-05 00:00:00', 3, 'Asia/Shanghai')",

		"ALTER TABLE hotline_case DELETE WHERE case_id = 'c0100'",
		"INSERT INTO hotline_case SELECT * REPLACE('c9999' AS case_id) FROM (SELECT * FROM hotline_case WHERE case_id = 'c0101')",
		"INSERT INTO hotline_case SELECT * REPLACE('closed' AS status, _version + 1 AS _version) FROM hotline_case WHERE case_id = 'c0102'",
		"INSERT INTO hotline_case SELECT * REPLACE(opened_at + 86400 AS opened_at) FROM hotline_case WHERE case_id = 'c0103'",
		"INSERT INTO hotline_case SELECT * REPLACE(1 AS _deleted, _version + 1 AS _version) FROM hotline_case WHERE case_id = 'c0104'",
	)
	figures := []string{
		"different " + fmt.Sprintf(key, "s00019", "2024-03-04"), "different " + fmt.Sprintf(key, "s00020", "2024-03-04"),
		"extra " + fmt.Sprintf(key, "made up", "2024-03-03"), "missing " + fmt.Sprintf(key, "s00017", "2024-03-02"), "missing " + fmt.Sprintf(key, "s00021", "2024-03-05"),
	}
	damaged := o.found(VerifyOptions{Source: "figures"}, figures...)
	if days := damaged.Tables[0].Differing; len(days) != 5 { // the 6th is the one on which the other source has newer rows
		t.Errorf("days that differ: %+v", days)
	}
	day := func(text string) time.Time {
		at, err := time.Parse(time.DateOnly, text)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	o.found(VerifyOptions{Source: "figures", From: day("2024-03-03"), To: day("2024-03-03")}, figures[2])
	o.found(VerifyOptions{Source: "figures", From: day("2024-03-05")}, figures[4])
	o.found(VerifyOptions{Source: "figures", To: day("2024-03-01")})
	o.found(VerifyOptions{Source: "rival"})
	wrong := []string{"different c0102", "different c0103", "extra c9999", "missing c0100", "missing c0104"}
	o.found(VerifyOptions{Source: "cases"}, wrong...)

	mended := o.found(VerifyOptions{Source: "figures", Repair: true, By: "me", Why: "by hand"}, figures...)
	if mended.Mended != 5 || len(mended.Still) != 0 || mended.Repair.Sources[0].Written != 5 || mended.Repair.Sources[0].Account.Loaded != 5 || mended.Repair.Sources[0].Account.Deleted != 1 {
		t.Errorf("mended %d, still %v, %+v", mended.Mended, mended.Still, mended.Repair.Sources)
	}
	if got := o.one("SELECT concat(arrayStringConcat(arraySort(groupArray(outcome)), ' '), ', ', any(who), ', ', any(why)) FROM audit FINAL WHERE command = 'verify --repair' AND target = 'figures'"); got != "asked done, me, by hand" {
		t.Errorf("the audit of the repair: %s, want asked done, me, by hand", got)
	}
	o.found(VerifyOptions{Source: "cases", Repair: true}, wrong...)
	if n := o.one("SELECT count() FROM observation WHERE _run = '" + mended.Repair.Run + "'"); n != "5" {
		t.Errorf("the repair wrote %s rows, want 5", n)
	}
	for _, source := range []string{"figures", "cases", "rival"} {
		o.found(VerifyOptions{Source: source})
	}
	again := o.found(VerifyOptions{Source: "figures", Repair: true})
	if again.Repair == nil || len(again.Repair.Sources) != 0 {
		t.Errorf("a repair of nothing wrote %+v", again.Repair)
	}
	o.balanced()
	if n := o.one("SELECT count() FROM hotline_case WHERE phone LIKE '%1380000%' OR content LIKE '%road%'"); n != "0" {
		t.Errorf("%s rows show personal values", n)
	}

	// What was mended is of its file still: a new content of that replaces it, and later words of the source win.
	o.bench.write(t, "data/figures/2024-03-02.csv", strings.Replace(figuresOf("2024-03-02", 4000), "s00017,2024-03-02,17\n", "s00017,2024-03-02,1717\n", 1))
	o.bench.write(t, "data/figures/2024-03-05.csv", strings.Replace(figuresOf("2024-03-05", 4000), "上城区,s00021,2024-03-05,21\n", "", 1))
	o.run("figures")
	o.found(VerifyOptions{Source: "figures"})
	if got := o.one("SELECT toString(sum(value)) FROM observation_current WHERE subject IN ('s00017', 's00021') AND period IN (toDateTime64('2024-03-02 00:00:00', 3, 'Asia/Shanghai'), toDateTime64('2024-03-05 00:00:00', 3, 'Asia/Shanghai'))"); got != fmt.Sprint(1717+21+17) {
		t.Errorf("after a new content the figures are %s", got)
	}
}

func figuresOf(day string, n int) string { return figures(day, 0, n) }

func (o *office) one(sql string) string {
	o.t.Helper()
	rows, err := o.session.warehouse.Query(o.t.Context(), sql, nil)
	if err != nil {
		o.t.Fatal(err)
	}
	defer rows.Close()
	out := ""
	for row, err := range rows.All() {
		if err != nil {
			o.t.Fatal(err)
		}
		out = row[0].Text()
	}
	return out
}

func (o *office) balanced() {
	o.t.Helper()
	lines, err := o.session.warehouse.Balance(o.t.Context(), warehouse.BalanceFilter{})
	if err != nil {
		o.t.Fatal(err)
	}
	for _, l := range lines {
		if l.Difference != 0 {
			o.t.Errorf("the ledger does not balance: %+v", l)
		}
	}
}

// Rows of a file that is gone stay, and so do those that a merged file no longer has; keys that a source has twice are one.
func TestVerifyKnowsWhatStaysAndWhatIsRepeated(t *testing.T) {
	t.Parallel()
	o := openOffice(t, map[string]string{
		"data/figures/a.csv": figuresOf("2024-03-01", 50), "data/figures/b.csv": figures("2024-03-01", 40, 60),
		"data/figures/c.csv": "region,subject,day,value\n上城区,twice,2024-03-02,1\n上城区,twice,2024-03-02,2\n",
		"data/merged/a.csv":  figures("2024-03-03", 0, 20),
	})
	o.run("figures", "merged")
	r := o.found(VerifyOptions{Source: "figures"})
	if table := r.Tables[0]; table.Repeated != 11 || table.Source != 72 || table.Warehouse != 61 {
		t.Errorf("repeated rows: %+v", table)
	}
	if err := os.Remove(filepath.Join(o.bench.dir, "data/figures/b.csv")); err != nil {
		t.Fatal(err)
	}
	o.bench.write(t, "data/merged/a.csv", figures("2024-03-03", 0, 15))
	o.run("figures", "merged")
	r = o.found(VerifyOptions{Source: "figures"})
	if table := r.Tables[0]; table.Kept != 10 {
		t.Errorf("rows of a file that is gone: %+v", table)
	}
	r = o.found(VerifyOptions{Source: "merged"})
	if table := r.Tables[0]; table.Kept != 5 {
		t.Errorf("rows that a merged file no longer has: %+v", table)
	}
}

// Whatever is damaged is found, whatever the sizes of buckets and of what is compared at a time, and nothing else is.
func TestVerifyFindsRandomDamage(t *testing.T) {
	t.Parallel()
	o := openOffice(t, map[string]string{"data/figures/a.csv": figuresOf("2024-03-01", 300), "data/figures/b.csv": figures("2024-03-02", 0, 300), "data/figures/c.csv": figures("2024-04-01", 0, 200)})
	o.run("figures")
	r := rand.New(rand.NewPCG(7, 7))
	for round := range 4 {
		want := []string{}
		var gone, changed []string
		for i := range 1 << r.IntN(6) {
			subject := fmt.Sprintf("s%05d", (i*97+r.IntN(90))%300)
			key := fmt.Sprintf("T 330102  %s day 2024-03-02 source", subject)
			if slices.ContainsFunc(want, func(w string) bool { return strings.HasSuffix(w, key) }) {
				continue
			}
			switch r.IntN(3) {
			case 0:
				gone = append(gone, "'"+subject+"'")
				want = append(want, "missing "+key)
			case 1:
				changed = append(changed, "'"+subject+"'")
				want = append(want, "different "+key)
			default:
				made := fmt.Sprintf("made %d-%d", round, i)
				o.sql("INSERT INTO observation SELECT * REPLACE('" + made + "' AS subject) FROM (SELECT * FROM observation WHERE subject = 's00000' AND period = toDateTime64('2024-04-01 00:00:00', 3, 'Asia/Shanghai') LIMIT 1)")
				want = append(want, fmt.Sprintf("extra T 330102  %s day 2024-04-01 source", made))
			}
		}
		const on = " AND period = toDateTime64('2024-03-02 00:00:00', 3, 'Asia/Shanghai')"
		if len(gone) > 0 {
			o.sql("ALTER TABLE observation DELETE WHERE subject IN (" + strings.Join(gone, ",") + ")" + on)
		}
		if len(changed) > 0 {
			o.sql("INSERT INTO observation SELECT * REPLACE(value + 0.5 AS value, _version + 1 AS _version) FROM (SELECT * FROM observation ORDER BY _version DESC LIMIT 1 BY subject, period) WHERE subject IN (" + strings.Join(changed, ",") + ")" + on)
		}
		slices.Sort(want)
		for _, size := range []struct {
			bits, finer uint
			budget      uint64
		}{{14, 8, 1 << 20}, {1, 1, 1}, {3, 1, 100}, {6, 8, 10}} {
			v, err := newVerifier(t.Context(), o.session.project, o.session.warehouse.Warehouse, VerifyOptions{Source: "figures"}, o.session.opts)
			if err != nil {
				t.Fatal(err)
			}
			v.verify.Bits, v.verify.Finer, v.verify.Budget, v.verify.Groups = size.bits, size.finer, size.budget, 10_000
			if err := v.compare(context.WithoutCancel(t.Context())); err != nil {
				t.Fatal(err)
			}
			if got := keysOf(t, v.report, v.report.Keys); !slices.Equal(got, want) {
				t.Errorf("round %d, %+v: found %q, want %q", round, size, got, want)
			}
			if err := v.reader.Close(); err != nil {
				t.Error(err)
			}
		}
		mended := o.verify(VerifyOptions{Source: "figures", Repair: true})
		if len(mended.Still) > 0 || mended.Mended != len(want) {
			t.Errorf("round %d: mended %d of %d, still %v", round, mended.Mended, len(want), mended.Still)
		}
	}
}

// A source with an order of its own says which of its records counts, and a repair keeps its place in that order.
func TestVerifyKeepsToTheSourcesOwnOrder(t *testing.T) {
	t.Parallel()
	const head = "id,region,opened,status,revision,gone\n"
	line := func(id, status string, revision int, gone bool) string {
		return fmt.Sprintf("%s,上城区,2024-03-01 08:00:00,%s,%d,%v\n", id, status, revision, gone)
	}
	rows := head + line("a", "closed", 3, false) + line("a", "open", 1, false) + line("b", "open", 1, false) + line("b", "open", 2, true) + line("c", "open", 5, false) + line("d", "open", 5, false)
	o := openOffice(t, map[string]string{"data/revised/a.csv": rows})
	o.run("revised")
	r := o.found(VerifyOptions{Source: "revised"})
	if table := r.Tables[0]; table.Repeated != 1 || table.Warehouse != 3 {
		t.Errorf("the source's own order: %+v", table)
	}
	o.sql("INSERT INTO hotline_case SELECT * REPLACE('closed' AS status) FROM hotline_case WHERE case_id = 'c'",
		"ALTER TABLE hotline_case DELETE WHERE case_id IN ('b', 'd')",
		"INSERT INTO hotline_case SELECT * REPLACE('b' AS case_id) FROM (SELECT * FROM hotline_case WHERE case_id = 'a')",
		// Another source's word of the same key stands below or above this one's.
		"INSERT INTO hotline_case SELECT * REPLACE('other' AS _source, 4 AS _version, 'd' AS case_id) FROM (SELECT * FROM hotline_case WHERE case_id = 'a')")
	o.found(VerifyOptions{Source: "revised", Repair: true}, "different c", "extra b", "missing d")
	o.found(VerifyOptions{Source: "revised"})
	if got := o.one("SELECT arrayStringConcat(arraySort(groupArray(concat(case_id, ' ', toString(_version)))), ', ') FROM hotline_case FINAL WHERE _source = 'revised'"); got != "a 3, c 6, d 5" {
		t.Errorf("after the repair the versions are %s", got)
	}
	o.sql("INSERT INTO hotline_case SELECT * REPLACE('other' AS _source, 9 AS _version) FROM (SELECT * FROM hotline_case FINAL WHERE case_id = 'd')")
	if table := o.found(VerifyOptions{Source: "revised"}).Tables[0]; table.Superseded != 1 {
		t.Errorf("another source's newer word: %+v", table)
	}
	o.bench.write(t, "data/revised/a.csv", rows+line("c", "closed", 7, false))
	o.run("revised")
	o.found(VerifyOptions{Source: "revised"})
	o.balanced()
}

// A row that makes several records is written again for those of its keys that differ, and takes no other from anybody.
func TestARepairTakesNothingFromOtherSources(t *testing.T) {
	t.Parallel()
	o := openOffice(t, map[string]string{"data/wide/a.csv": "region,day,a,b\n上城区,2024-03-01,5,6\n上城区,2024-03-02,7,8\n", "data/rival/a.csv": figures("2024-03-01", 2, 3)})
	o.run("wide")
	o.run("rival")
	if table := o.found(VerifyOptions{Source: "wide"}).Tables[0]; table.Superseded != 1 || table.Warehouse != 3 {
		t.Errorf("the wide table: %+v", table)
	}
	o.sql("ALTER TABLE observation DELETE WHERE subject = 's00001' AND toDate(period) = '2024-03-01'")
	o.found(VerifyOptions{Source: "wide", Repair: true}, "missing T 330102  s00001 day 2024-03-01 source")
	o.found(VerifyOptions{Source: "wide"})
	if table := o.found(VerifyOptions{Source: "rival"}).Tables[0]; table.Superseded != 0 || table.Warehouse != 1 {
		t.Errorf("the repair has taken a key from another source: %+v", table)
	}
	o.balanced()
}

func TestVerifyCutsTablesWithoutDaysByTheirKeys(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	text.WriteString("name,cost\n")
	for i := range 500 {
		fmt.Fprintf(&text, "物%03d,%d.5\n", i, i)
	}
	o := openOffice(t, map[string]string{"data/assets/a.csv": text.String()})
	o.run("assets")
	r := o.found(VerifyOptions{Source: "assets"})
	if table := r.Tables[0]; table.ByDay || table.Segments < 30 || len(table.Differing) != 0 {
		t.Errorf("ranges: %+v", table)
	}
	o.sql("INSERT INTO asset SELECT * REPLACE(cost + 0.01 AS cost, _version + 1 AS _version) FROM asset WHERE name = '物123'", "ALTER TABLE asset DELETE WHERE name = '物499'")
	o.found(VerifyOptions{Source: "assets", Repair: true}, "different 物123", "missing 物499")
	o.found(VerifyOptions{Source: "assets"})
	if _, err := o.session.Verify(t.Context(), VerifyOptions{Source: "assets", From: time.Now()}); err == nil || !strings.Contains(err.Error(), "have no day") {
		t.Errorf("days of what has none: %v", err)
	}
}

// What is bad in the source must be in quarantine, what was repaired there is not extra, and what was not looked into is said.
func TestVerifyAccountsForTheQuarantineAndForWhatItDidNotLookInto(t *testing.T) {
	t.Parallel()
	o := openOffice(t, map[string]string{"data/figures/a.csv": figuresOf("2024-03-01", 200) + "上城区,bad,2024-03-01,many\n上城区,worse,2024-03-01,much\n"})
	o.run("figures")
	if table := o.found(VerifyOptions{Source: "figures"}).Tables[0]; table.Quarantined != 2 || table.Unaccounted != 0 {
		t.Errorf("with all of it in quarantine: %+v", table)
	}
	// A row that was repaired in quarantine stands where the bad one is in its file: lines are numbered from 1, under a header.
	o.sql("INSERT INTO observation SELECT * REPLACE('bad' AS subject, 202 AS _row) FROM (SELECT * FROM observation WHERE subject = 's00000')")
	if table := o.found(VerifyOptions{Source: "figures"}).Tables[0]; table.Repaired != 1 || table.Extra != 0 {
		t.Errorf("with a row that was repaired in quarantine: %+v", table)
	}
	o.sql("ALTER TABLE quarantine DELETE WHERE has(rules, 'parse.number') AND row = 202")
	r := o.verify(VerifyOptions{Source: "figures"})
	if table := r.Tables[0]; table.Unaccounted != 1 || r.Equal() {
		t.Errorf("with a bad row that is nowhere: %+v", table)
	}

	o.sql("TRUNCATE TABLE observation")
	v, err := newVerifier(t.Context(), o.session.project, o.session.warehouse.Warehouse, VerifyOptions{Source: "figures", Limit: 3}, o.session.opts)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := v.reader.Close(); err != nil {
			t.Error(err)
		}
	}()
	v.verify.Bits, v.verify.Budget, v.verify.Groups = 4, 60, 2
	if err := v.compare(t.Context()); err != nil {
		t.Fatal(err)
	}
	table := v.report.Tables[0]
	if table.Missing == 0 || table.Missing > 120 || table.Missing+table.Unresolved != 200 || v.report.Equal() || len(v.report.Keys) != 3 || table.Passes != 4 {
		t.Errorf("with a budget of two times 60 rows: %+v, %d keys shown", table, len(v.report.Keys))
	}
}

// Keys that are personal are shown as the warehouse has them.
func TestVerifyShowsPersonalKeysMasked(t *testing.T) {
	t.Parallel()
	o := openOffice(t, map[string]string{"data/people/a.csv": "phone,cost\n13800001111,1\n13800002222,2\n"})
	o.run("people")
	o.found(VerifyOptions{Source: "people"})
	o.sql("ALTER TABLE person DELETE WHERE cost = 2", "INSERT INTO person SELECT * REPLACE(7 AS cost, _version + 1 AS _version) FROM person")
	r := o.verify(VerifyOptions{Source: "people", Repair: true})
	keys := keysOf(t, r, r.Keys)
	if len(keys) != 2 || !strings.HasPrefix(keys[0], "different k1:") || !strings.HasPrefix(keys[1], "missing k1:") {
		t.Errorf("found %q", keys)
	}
	if text := fmt.Sprintf("%q %+v", keys, r.Keys); strings.Contains(text, "1380000") {
		t.Errorf("a number is shown: %s", text)
	}
	o.found(VerifyOptions{Source: "people"})
}

// The rate bounds how fast the source is read; who is told to stop stops.
func TestVerifyReadsNoFasterThanItMay(t *testing.T) {
	t.Parallel()
	o := openOffice(t, map[string]string{"data/figures/a.csv": figuresOf("2024-03-01", 100)})
	o.run("figures")
	began := time.Now()
	o.found(VerifyOptions{Source: "figures", Rate: 400})
	if took := time.Since(began); took < 240*time.Millisecond {
		t.Errorf("100 rows at 400 a second took %v", took)
	}
	ctx, stop := context.WithCancel(t.Context())
	asked := VerifyOptions{Source: "figures", Rate: 1, Progress: func(string, Counts) { stop() }}
	stopLater := time.AfterFunc(100*time.Millisecond, stop)
	defer stopLater.Stop()
	if _, err := o.session.Verify(ctx, asked); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped, it ends with %v", err)
	}
}
