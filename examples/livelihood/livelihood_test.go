package livelihood

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
	"github.com/xuri/excelize/v2"
	"go.uber.org/goleak"
	"golang.org/x/text/encoding/simplifiedchinese"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheTreeIsZhejiangOfToday(t *testing.T) {
	t.Parallel()
	counties := map[string]string{}
	for _, c := range cities {
		for _, county := range c.counties {
			if counties[county.code] != "" {
				t.Errorf("%s stands there twice", county.code)
			}
			if county.code[:4] != c.code[:4] {
				t.Errorf("%s is not of %s", county.code, c.code)
			}
			counties[county.code] = county.name
		}
	}
	if len(cities) != 11 || len(counties) != 90 {
		t.Errorf("%d cities and %d counties, want 11 and 90", len(cities), len(counties))
	}
	for code, want := range map[string]string{"330103": "", "330104": "", "330113": "临平区", "330114": "钱塘区"} {
		if counties[code] != want {
			t.Errorf("%s is %q, want %q", code, counties[code], want)
		}
	}
}

func TestTargetsAddUpToTheProvincesAndKeepWhatIsPublished(t *testing.T) {
	t.Parallel()
	all := targets()
	for indicator, want := range map[string]int{"LV-FACTORY": 1000, "LV-BANQUET": 1000, "LV-TRACE": 5000, "LV-PHARMACY": 300} {
		sum, counties := 0, 0
		for code, n := range all[indicator] {
			if n < 1 {
				t.Errorf("%s: %s has %d to do", indicator, code, n)
			}
			sum += n
			counties++
		}
		if sum != want || counties != 90 {
			t.Errorf("%s: the %d counties' targets add up to %d, want 90 and %d", indicator, counties, sum, want)
		}
	}
	for _, c := range []struct {
		what      string
		got, want int
	}{
		{"缙云县's sunny factories", all["LV-FACTORY"][jinyun], 6},
		{"缙云县's banquet kitchens", all["LV-BANQUET"][jinyun], 8},
		{"banquet kitchens of what was 余杭区", all["LV-BANQUET"][yuhang] + all["LV-BANQUET"][linping], 12},
		{"canteens of what was 余杭区", all["LV-CANTEEN"][yuhang] + all["LV-CANTEEN"][linping], 258},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, want %d", c.what, c.got, c.want)
		}
	}
}

func TestAllocationIsExactWhateverTheTotal(t *testing.T) {
	t.Parallel()
	codes := []string{"a", "b", "c", "d", "e", "f", "g"}
	for total := range 200 {
		shares := allocate("test", total, codes, map[string]int{"c": 3})
		sum := 0
		for _, n := range shares {
			sum += n
		}
		if total >= 3 && (sum != total || shares["c"] != 3) {
			t.Errorf("%d is allocated as %v, which is %d", total, shares, sum)
		}
	}
}

func TestEveryRowHasOneOutcome(t *testing.T) {
	t.Parallel()
	e := Expected()
	records := 0
	for _, s := range e.Streams {
		rest := s.Read - s.Loaded
		for _, n := range s.Quarantined {
			rest -= n
		}
		for _, n := range s.Filtered {
			rest -= n
		}
		if rest != 0 || s.Records < s.Loaded {
			t.Errorf("%s/%s: %d of %d rows have no outcome; %d records of %d rows", s.Source, s.Stream, rest, s.Read, s.Records, s.Loaded)
		}
		records += s.Records
	}
	if len(e.Streams) != 15 || records > 150_000 {
		t.Errorf("%d streams with %d records, want 15 with at most 150000", len(e.Streams), records)
	}
}

func TestTheClosingTableShowsAllKindsOfProgress(t *testing.T) {
	t.Parallel()
	rows := Expected().Closing("LV-FACTORY")
	if len(rows) != 12 || rows[0].Level != "province" || rows[0].Target != 1000 {
		t.Fatalf("the table has %d rows and begins with %+v, want the province and 11 cities", len(rows), rows[0])
	}
	var value, target float64
	status := map[string]int{}
	for _, r := range rows[1:] {
		value += r.Value
		target += r.Target
		status[r.Status]++
	}
	if value != rows[0].Value || target != rows[0].Target {
		t.Errorf("the cities add up to %g of %g, the province has %g of %g", value, target, rows[0].Value, rows[0].Target)
	}
	if status["ahead"] == 0 || status["on schedule"] == 0 || status["behind"] == 0 {
		t.Errorf("the cities' status is %v: a demo wants all three", status)
	}
	// At the end of October the plan is half way between the 80 % of September and the 100 % of November.
	if plan := rows[0].Plan; plan < 880 || plan > 910 {
		t.Errorf("the plan of the province is %g", plan)
	}
}

func TestDisagreementsAreThosePlantedAndThoseOfRowsLeftOut(t *testing.T) {
	t.Parallel()
	e := Expected()
	for _, want := range alterations {
		if !slices.ContainsFunc(e.Disagreements, func(d Disagreement) bool {
			return d.Region == want.city && d.Indicator == want.indicator && d.Month == want.month && d.Why == want.why
		}) {
			t.Errorf("%s %s in month %d is not found", want.city, want.indicator, want.month)
		}
	}
	for i, d := range e.Disagreements {
		if d.Reported == d.RolledUp || d.Why == "" {
			t.Errorf("%+v is none", d)
		}
		if i > 0 {
			before := e.Disagreements[i-1]
			if difference(before) < difference(d) {
				t.Errorf("%+v stands before %+v", before, d)
			}
		}
	}
}

// The control index shows all that such an index can: every colour among the counties, a change of version, components that are missing, and
// counties without a score because too much is.
func TestTheControlIndexShowsAllItsCases(t *testing.T) {
	t.Parallel()
	colours, versions, missing := map[string]int{}, map[string]bool{}, map[string]int{}
	counts := map[string]int{}
	e := Expected()
	for _, s := range e.Streams {
		if s.Source != "health-daily" {
			continue
		}
		if bad, ok := map[string]string{"cases": "expr.failed,parse.number", "contacts": "share.above-one"}[s.Stream]; ok && s.Quarantined[bad] != 1 {
			t.Errorf("%s: quarantined %v, want one %s", s.Stream, s.Quarantined, bad)
		}
		if s.Filtered["not-reported"] != silentTo-silentFrom+1 || s.Stream != "cases" && s.Filtered["nobody"] < 100 {
			t.Errorf("%s: filtered %v", s.Stream, s.Filtered)
		}
	}
	for _, s := range e.Scores {
		counts[s.Level]++
		versions[s.Index+" "+s.Version] = true
		for _, m := range s.Missing {
			missing[s.Index+" lacks "+m]++
		}
		if !s.There {
			missing[s.Index+" has no score"]++
		}
		if s.Level == "county" && s.Index == "EC-SMART" && s.Day == controlDays-1 {
			colours[s.Band]++
		}
		if s.There != (s.Band != "") || s.There && (s.Score < 0 || s.Score > 100) || s.Level != "county" && !s.There {
			t.Errorf("%+v", s)
		}
	}
	for _, colour := range []string{"green", "blue", "yellow", "orange", "red", ""} {
		if colours[colour] == 0 {
			t.Errorf("no county is %q on the last day: %v", colour, colours)
		}
	}
	if len(versions) != 6 || counts["province"] != 3*controlDays || counts["city"] != 3*11*controlDays {
		t.Errorf("%d versions, scores %v", len(versions), counts)
	}
	for _, what := range []string{"EC-FLOW lacks EC-TOLL", "EC-CONTROL lacks EC-TRACED", "EC-CONTROL lacks EC-MOVED", "EC-CONTROL lacks EC-NEW", "EC-CONTROL has no score", "EC-SMART lacks EC-CONTROL", "EC-SMART has no score"} {
		if missing[what] == 0 {
			t.Errorf("nowhere is it so that %s: %v", what, missing)
		}
	}
}

// The air has days that count and days that do not, good ones and others, at all three levels.
func TestTheAirHasGoodDaysAndOthers(t *testing.T) {
	t.Parallel()
	levels := map[string]int{}
	good, others, invalid := 0, 0, 0
	for _, m := range Expected().Air {
		levels[m.Level]++
		if m.Level == "province" {
			good += m.GoodDays
			others += m.ValidDays - m.GoodDays
			invalid += m.Stations*Month(m.Month+1).AddDate(0, 0, -1).Day() - m.ValidDays
		}
	}
	if levels["province"] != 2 || levels["city"] != 2*11 || levels["county"] != 2*22 || good < 500 || others < 50 || invalid == 0 {
		t.Errorf("%v months; %d good days, %d others, %d not valid", levels, good, others, invalid)
	}
	// Two lines of the standard's table 1 and one between them, by hand: PM2.5 of 75 is 100, of 76 is 100 + 50/40 rounded up, of 35 is 50.
	for c, want := range map[float64]int{35: 50, 75: 100, 76: 102, 115: 150, 0: 0} {
		if got := subIndex(pm25, c); got != want {
			t.Errorf("PM2.5 of %g has the sub-index %d, want %d", c, got, want)
		}
	}
}

// In February 2020 the province and its cities agree on the first six days alone. On the 7th the cities' figures are those of the day before.
func TestTheRealCasesDisagreeAsTheyWerePublished(t *testing.T) {
	t.Parallel()
	days := Expected().Real
	if len(days) != 23 || days[0] != (RealDay{"2020-02-07", 1048, 1006}) || days[22] != (RealDay{"2020-02-29", 1217, 1205}) {
		t.Errorf("%d days: %v", len(days), days)
	}
}

func difference(d Disagreement) float64 { return max(d.Reported-d.RolledUp, d.RolledUp-d.Reported) }

func TestTheSameProjectIsWrittenEveryTime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := Write(dir); err != nil {
		t.Fatal(err)
	}
	first := modified(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "sources", "mine.yaml"), []byte("# a file of the user's\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Write(dir); err != nil {
		t.Fatal(err)
	}
	second := modified(t, dir)
	if len(first) == 0 || len(second) != len(first)+1 {
		t.Fatalf("%d files, then %d", len(first), len(second))
	}
	for name, at := range first {
		if !second[name].Equal(at) {
			t.Errorf("%s was written again: it is not the same every time", name)
		}
	}
}

func modified(t *testing.T, dir string) map[string]time.Time {
	t.Helper()
	all := map[string]time.Time{}
	if err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		all[path] = info.ModTime()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// The files must have the diseases that the README promises, as other readers than Headwater's see them.
func TestFilesAreAsAwkwardAsPromised(t *testing.T) {
	t.Parallel()
	files, err := contents()
	if err != nil {
		t.Fatal(err)
	}

	book, err := excelize.OpenReader(bytes.NewReader(files["data/market-supervision/进展表-2021-06.xlsx"]))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := book.Close(); err != nil {
			t.Error(err)
		}
	}()
	merged, err := book.GetMergeCells("进展表")
	if err != nil || len(merged) < 30 {
		t.Errorf("the workbook has %d merged cells (%v), want titles, headers and 11 cities", len(merged), err)
	}
	rows, err := book.GetRows("进展表")
	if err != nil {
		t.Fatal(err)
	}
	// Two titles, two headers, 90 counties and a scenic area, 11 subtotals, a total and a note.
	if len(rows) != 2+2+90+1+11+1+1 {
		t.Errorf("the workbook has %d rows", len(rows))
	}

	county := files["data/jinyun/缙云县进展.csv"]
	if utf8.Valid(county) {
		t.Error("the county's list is UTF-8")
	}
	text, err := simplifiedchinese.GB18030.NewDecoder().Bytes(county)
	if err != nil || !strings.Contains(string(text), "填报单位,项目名称") || !strings.Contains(string(text), `,000.00"`) {
		t.Errorf("the county's list is not GB18030 with thousands separators: %v", err)
	}

	if list := files["data/hangzhou/农贸市场检查.csv"]; !bytes.HasPrefix(list, []byte("\xef\xbb\xbf")) {
		t.Error("Hangzhou's list has no byte-order mark")
	}

	archive, err := zip.NewReader(bytes.NewReader(files["data/hotline/12345-2021-q2.zip"]), int64(len(files["data/hotline/12345-2021-q2.zip"])))
	if err != nil || len(archive.File) != 4 {
		t.Fatalf("the hotline's zip: %v", err)
	}

	parquet, err := file.NewParquetReader(bytes.NewReader(files["data/air-stations/2021-09.parquet"]))
	if err != nil {
		t.Fatal(err)
	}
	allocator := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer allocator.AssertSize(t, 0)
	reader, err := pqarrow.NewFileReader(parquet, pqarrow.ArrowReadProperties{}, allocator)
	if err != nil {
		t.Fatal(err)
	}
	table, err := reader.ReadTable(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer table.Release()
	if table.NumRows() != 11*stationsPerCity*30*24 || table.NumCols() != 11 {
		t.Errorf("September has %d readings of %d columns", table.NumRows(), table.NumCols())
	}

	health, err := excelize.OpenReader(bytes.NewReader(files["data/health/疫情防控日报-第2周.xlsx"]))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := health.Close(); err != nil {
			t.Error(err)
		}
	}()
	if names := health.GetSheetList(); len(names) != 7 || names[0] != "8月2日" {
		t.Errorf("the second week's sheets are %v", names)
	}
	rows, err = health.GetRows("8月2日")
	// Two titles, two headers, the province, 90 counties and a note; days as numbers.
	if err != nil || len(rows) != 2+2+1+90+1 || rows[5][2] != "44410" || rows[2][4] != "新增病例" || rows[3][4] != "本土" {
		t.Errorf("the sheet has %d rows (%v), such as %q", len(rows), err, rows[5])
	}
	merged, err = health.GetMergeCells("8月2日")
	if err != nil || len(merged) != 3+8+1+len(cities) {
		t.Errorf("the sheet has %d merged cells (%v)", len(merged), err)
	}

	flowing := files["data/transport/20210728.csv"]
	text, err = simplifiedchinese.GB18030.NewDecoder().Bytes(flowing)
	if err != nil || utf8.Valid(flowing) || !strings.Contains(string(text), "2021年7月28日,舟山市,嵊泗县,高速公路收费站开通数,—,—,") || !strings.Contains(string(text), developmentName) {
		t.Errorf("the transport department's list is not GB18030 with what is promised: %v", err)
	}

	var table2 struct{ Rows []json.RawMessage }
	if err := json.Unmarshal(files["data/province/汇总表.json"], &table2); err != nil || len(table2.Rows) != 8*12+1 {
		t.Errorf("the province's table has %d rows: %v", len(table2.Rows), err)
	}
}

// Nothing in the project may be anybody's: telephone numbers begin with a zero after the area code, and identity numbers are
// of a county that does not exist.
func TestPersonalDataBelongsToNobody(t *testing.T) {
	t.Parallel()
	for _, lines := range newDemo().cases {
		for _, line := range lines {
			var c hotlineCase
			if json.Unmarshal([]byte(line), &c) != nil {
				continue // a broken line, on purpose
			}
			if !strings.HasPrefix(c.Phone, "0571-0") || !slices.Contains(callerNames, c.Caller) || c.Identity != "" && !strings.HasPrefix(c.Identity, "330199") {
				t.Errorf("case %s names %s, %s, %s", c.Number, c.Caller, c.Phone, c.Identity)
			}
		}
	}
}
