package warehouse_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/schemas"
	"github.com/headwater-data/headwater/warehouse"
)

var update = flag.Bool("update", false, "write golden files anew")

// golden compares text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s differs from what the server has; review and run with -update:\n%s", path, got)
	}
}

// Tables of schemas have golden files where the schemas are.
func TestTheDatabaseIsAsTheGoldenFileSays(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	tables := b.sql("SELECT '# ' || name || ' (' || engine || if(sorting_key != '', ' ORDER BY ' || replaceAll(replaceAll(sorting_key, '(', ''), ')', ''), '') || if(partition_key != '', ' PARTITION BY ' || partition_key, '') || ')\n' || comment FROM system.tables WHERE database = '$db' AND (engine = 'View' OR name IN ('migration', 'region_path', 'region_today', 'figure', 'figure_report', 'figure_mark', 'figure_turn')) ORDER BY name FORMAT TSVRaw")
	columns := b.sql("SELECT table || '.' || name || ' ' || type || if(default_expression != '', ' = ' || default_expression, '') || ' | ' || comment FROM system.columns WHERE database = '$db' AND table IN (SELECT name FROM system.tables WHERE database = '$db' AND (engine = 'View' OR name IN ('migration', 'region_path', 'region_today', 'figure', 'figure_report', 'figure_mark', 'figure_turn'))) ORDER BY table, position FORMAT TSVRaw")
	golden(t, "database.txt", strings.Join(tables, "\n")+"\n\n"+strings.Join(columns, "\n")+"\n")
}

func TestEveryTableViewAndColumnHasAComment(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	if bare := b.sql("SELECT name FROM system.tables WHERE database = '$db' AND comment = ''"); len(bare) > 0 {
		t.Errorf("without a comment: %v", bare)
	}
	if bare := b.sql("SELECT table || '.' || name FROM system.columns WHERE database = '$db' AND comment = ''"); len(bare) > 0 {
		t.Errorf("without a comment: %v", bare)
	}
	if bare := b.sql("SELECT comment FROM system.databases WHERE name = '$db' AND comment = ''"); len(bare) > 0 && b.Database() == "headwater" {
		t.Error("the database has no comment")
	}
}

func TestEveryTableRemembersTokens(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	// Each mark and each word about a turn counts, also when it was said before.
	if off := b.sql("SELECT name FROM system.tables WHERE database = '$db' AND name NOT IN ('figure_mark', 'figure_turn') AND engine LIKE '%MergeTree' AND position(engine_full, 'non_replicated_deduplication_window = 10000') = 0"); len(off) > 0 {
		t.Errorf("tables whose window is off: %v", off)
	}
}

func TestEveryViewFileIsMadeAndCanBeRead(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("views/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(f), ".sql"))
	}
	listed := slices.Clone(warehouse.Views)
	slices.Sort(listed)
	if !slices.Equal(names, listed) {
		t.Errorf("files %v, list %v", names, listed)
	}
	b := migrated(t)
	for _, name := range warehouse.Views {
		for _, settings := range []string{"", " SETTINGS join_use_nulls = 1"} {
			b.sql("SELECT * FROM $db." + name + settings)
		}
	}
	for _, name := range warehouse.DatedViews {
		for _, settings := range []string{"", " SETTINGS join_use_nulls = 1"} {
			b.sql("SELECT * FROM $db." + name + "(day = '2024-05-01')" + settings)
		}
	}
}

func TestMigratingAgainChangesNothing(t *testing.T) {
	t.Parallel()
	b := open(t)
	first, err := b.Migrate(b.ctx, schemas.Standard())
	if err != nil || len(first) != len(schemas.Standard().Names())+len(warehouse.Views)+len(warehouse.DatedViews) {
		t.Fatalf("first: %v, %v", first, err)
	}
	second, err := b.Migrate(b.ctx, schemas.Standard())
	if err != nil || len(second) != 0 {
		t.Errorf("second: %v, %v, want no changes", second, err)
	}
}

func TestSeveralMayMigrateAtOnce(t *testing.T) {
	t.Parallel()
	b := open(t)
	var group sync.WaitGroup
	for range 4 {
		w, err := warehouse.Open(b.ctx, warehouse.Config{Addr: b.server.Addr, User: b.server.User, Password: secretOf(b), Database: b.Database()})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		group.Go(func() {
			if _, err := w.Migrate(b.ctx, schemas.Standard()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	changes, err := b.Migrate(b.ctx, schemas.Standard())
	if err != nil || len(changes) != 0 {
		t.Errorf("afterwards: %v, %v, want nothing left to do", changes, err)
	}
}

func TestALostViewOrTableIsMadeAgain(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	b.sql("DROP VIEW $db.freshness")
	b.sql("DROP TABLE $db.hotline_case SYNC")
	changes, err := b.Migrate(b.ctx, schemas.Standard())
	if err != nil || len(changes) != 2 {
		t.Errorf("got %v, %v, want both made again", changes, err)
	}
}

// parcel is a schema of a project's own, changed by change.
func parcel(t testing.TB, change func(*schemas.Schema)) *schemas.Set {
	t.Helper()
	title := schemas.Title{Zh: "字段", En: "Field"}
	s := &schemas.Schema{
		Name: "parcel", Version: 1, Title: schemas.Title{Zh: "地块", En: "Parcel"}, Description: "A piece of land.", Lineage: true,
		Fields: []schemas.Field{
			{Name: "id", Title: title, Description: "Id.", Type: schemas.Type{Kind: schemas.KindString}, Key: true},
			{Name: "area", Title: title, Description: "Area.", Type: schemas.Type{Kind: schemas.KindInt64}, Required: true},
			{Name: "price", Title: title, Description: "Price.", Type: schemas.Type{Kind: schemas.KindDecimal, Precision: 9, Scale: 2}},
			{Name: "owner", Title: title, Description: "Owner.", Type: schemas.Type{Kind: schemas.KindString}, Required: true},
		},
	}
	if change != nil {
		change(s)
	}
	set, err := schemas.Standard().WithSchema(s)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestATableFollowsCompatibleChanges(t *testing.T) {
	t.Parallel()
	b := open(t)
	if _, err := b.Migrate(b.ctx, parcel(t, nil)); err != nil {
		t.Fatal(err)
	}
	b.sql("INSERT INTO $db.parcel (id, area, price, owner) VALUES ('a', 5, 1.25, 'li')")
	changes, err := b.Migrate(b.ctx, parcel(t, func(s *schemas.Schema) {
		s.Version = 2
		s.Title.En = "Parcel of land"
		s.Fields[2].Type.Precision = 18
		s.Fields[2].Type.Scale = 4
		s.Fields[3].Required = false
		s.Fields[1].Description = "Area by survey."
		s.Fields = append(s.Fields,
			schemas.Field{Name: "note", Title: s.Fields[0].Title, Description: "Note.", Type: schemas.Type{Kind: schemas.KindString}},
			schemas.Field{Name: "grade", Title: s.Fields[0].Title, Description: "Grade.", Type: schemas.Type{Kind: schemas.KindInt64}, Default: int64(3)})
	}))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range changes {
		t.Log(c)
	}
	if len(changes) != 6 {
		t.Errorf("%d changes, want 6", len(changes))
	}
	if got := b.sql("SELECT id, area, price, owner, note, grade FROM $db.parcel"); got[0] != "a\t5\t1.25\tli\t\\N\t3" {
		t.Errorf("row: got %q", got)
	}
	if got := b.sql("SELECT type FROM system.columns WHERE database = '$db' AND table = 'parcel' AND name IN ('price', 'owner', 'note') ORDER BY name"); !slices.Equal(got, []string{"Nullable(String)", "Nullable(String)", "Nullable(Decimal(18, 4))"}) {
		t.Errorf("types: got %v", got)
	}
}

func TestWhatIsIncompatibleIsRefusedAndNothingIsChanged(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*schemas.Schema)
		why    string
	}{
		"a narrower type":      {func(s *schemas.Schema) { s.Version = 2; s.Fields[2].Type.Precision = 5 }, "price"},
		"a field that is gone": {func(s *schemas.Schema) { s.Version = 2; s.Fields = s.Fields[:3] }, "owner"},
		"a new required field": {func(s *schemas.Schema) {
			s.Version = 2
			s.Fields = append(s.Fields, schemas.Field{Name: "must", Title: s.Title, Description: "Must.", Type: schemas.Type{Kind: schemas.KindString}, Required: true})
		}, "must"},
		"another key":         {func(s *schemas.Schema) { s.Version = 2; s.Fields[3].Key = true }, "key"},
		"the same version":    {func(s *schemas.Schema) { s.Fields[2].Type.Precision = 18 }, "version"},
		"history from now on": {func(s *schemas.Schema) { s.Version = 2; s.History = true }, "history"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t)
			if _, err := b.Migrate(b.ctx, parcel(t, nil)); err != nil {
				t.Fatal(err)
			}
			before := b.sql("SELECT name, type FROM system.columns WHERE database = '$db' AND table = 'parcel'")
			changes, err := b.Migrate(b.ctx, parcel(t, c.change))
			incompatible, ok := errors.AsType[*warehouse.IncompatibleError](err)
			if !ok || fault.KindOf(err) != fault.KindUsage || len(changes) != 0 {
				t.Fatalf("got %v, %v, want an IncompatibleError of the usage kind", changes, err)
			}
			if incompatible.Breaks[0].Table != "parcel" || !strings.Contains(err.Error(), c.why) {
				t.Errorf("the error does not speak of %q: %v", c.why, err)
			}
			if after := b.sql("SELECT name, type FROM system.columns WHERE database = '$db' AND table = 'parcel'"); !slices.Equal(before, after) {
				t.Errorf("the table changed: %v", after)
			}
		})
	}
}

func TestATableThatSomebodyAlteredIsPutRightOrRefused(t *testing.T) {
	t.Parallel()
	b := open(t)
	if _, err := b.Migrate(b.ctx, parcel(t, nil)); err != nil {
		t.Fatal(err)
	}
	b.sql("ALTER TABLE $db.parcel DROP COLUMN price")
	changes, err := b.Migrate(b.ctx, parcel(t, nil))
	if err != nil || len(changes) != 1 {
		t.Errorf("a dropped column: got %v, %v, want it added again", changes, err)
	}
	b.sql("ALTER TABLE $db.parcel ADD COLUMN extra String")
	if _, err := b.Migrate(b.ctx, parcel(t, nil)); err == nil || !strings.Contains(err.Error(), "extra") {
		t.Errorf("a column of somebody's own: got %v, want it named", err)
	}
}

func TestSyncFillsRegionsAndIndicatorsAndMarksWhatIsGone(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	indicators := []schemas.Indicator{
		{Code: "A", Title: schemas.Title{Zh: "甲", En: "A"}, Aggregation: "sum", TimeAggregation: "last", Levels: []string{"county"}},
		{Code: "B", Title: schemas.Title{Zh: "乙", En: "B"}, Aggregation: "mean"},
	}
	set := schemas.Standard()
	sync := func(indicators []schemas.Indicator) {
		t.Helper()
		if err := b.Sync(b.ctx, set, indicators); err != nil {
			t.Fatal(err)
		}
	}
	sync(indicators)
	if got := b.sql("SELECT count() FROM $db.region FINAL WHERE _deleted = 0"); got[0] == "0" {
		t.Error("no regions")
	}
	if got := b.sql("SELECT arrayStringConcat(path.code, ' ') FROM $db.region_path FINAL WHERE code = '330106' AND _deleted = 0 ORDER BY since DESC LIMIT 1"); len(got) != 1 || got[0] != "330106 330100 330000 100000" {
		t.Errorf("path of 西湖区: %q", got)
	}
	parts := b.sql("SELECT sum(rows) FROM system.parts WHERE database = '$db' AND table IN ('region', 'indicator', 'region_path') AND active")
	sync(indicators)
	if again := b.sql("SELECT sum(rows) FROM system.parts WHERE database = '$db' AND table IN ('region', 'indicator', 'region_path') AND active"); again[0] != parts[0] {
		t.Errorf("rows after the same again: %s, were %s", again[0], parts[0])
	}
	sync(indicators[1:])
	if got := b.sql("SELECT code, time_aggregation FROM $db.indicator FINAL WHERE _deleted = 0"); !slices.Equal(got, []string{"B\tmean"}) {
		t.Errorf("indicators after one is gone: %q", got)
	}
	sync(indicators)
	if got := b.sql("SELECT code FROM $db.indicator FINAL WHERE _deleted = 0 ORDER BY code"); !slices.Equal(got, []string{"A", "B"}) {
		t.Errorf("indicators after it came back: %q", got)
	}
}

func TestThePathFollowsTheTreeAsItWas(t *testing.T) {
	t.Parallel()
	on := func(year int) time.Time { return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC) }
	regions := []schemas.Region{
		{Code: "100000", Name: "国", Level: "nation"},
		{Code: "510000", Name: "川", Level: "province", Parent: "100000"},
		{Code: "500000", Name: "渝", Level: "province", Parent: "100000", From: on(1997)},
		{Code: "510200", Name: "重庆市", Level: "city", Parent: "510000", To: on(1997)},
		{Code: "510203", Name: "甲县", Level: "county", Parent: "510200", From: on(1983), To: on(1990)},
		{Code: "510203", Name: "甲区", Level: "county", Parent: "510200", From: on(1990), To: on(1997)},
		{Code: "510203", Name: "甲区", Level: "county", Parent: "500000", From: on(1997)},
	}
	type row struct {
		since string
		path  string
	}
	var got []row
	for _, r := range warehouse.PathRows(regions) {
		if r.Code == "510203" {
			var codes []string
			for _, p := range r.Path {
				codes = append(codes, p.Name)
			}
			got = append(got, row{r.Since.Format(time.DateOnly), strings.Join(codes, " ")})
		}
	}
	want := []row{{"1900-01-01", "甲县 重庆市 川 国"}, {"1990-01-01", "甲区 重庆市 川 国"}, {"1997-01-01", "甲区 渝 国"}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
