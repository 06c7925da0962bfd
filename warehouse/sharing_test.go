package warehouse_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headwater-data/headwater/schemas"
	"github.com/headwater-data/headwater/warehouse"
)

func TestTheCatalogShowsHowFarEachDatasetHasCome(t *testing.T) {
	t.Parallel()
	b := analysis(t, indicator("I", "sum"))
	seconds, since := int64(5*86400), time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC)
	dataset := func(source string) warehouse.SharedDataset {
		return warehouse.SharedDataset{Source: source, Stream: "st", Title: source, Owner: "market", Connector: "file", Schema: "observation", Indicators: []string{"I"}}
	}
	stated := dataset("used")
	stated.Stated, stated.Provider, stated.Content, stated.Method, stated.Basis, stated.Type, stated.Frequency = true, "市场监管局", "农贸市场", "source", "浙政办发", "conditional", "month"
	stated.Condition, stated.Deadline, stated.DueIndicators, stated.DueWithin, stated.DueSince = "限督查", &seconds, []string{"I"}, "330000", &since
	list := []warehouse.SharedDataset{stated, dataset("standardized"), dataset("ingested"), dataset("connected"), dataset("reached"), dataset("planned"), dataset("gone")}
	if err := b.SyncSharing(b.ctx, list); err != nil {
		t.Fatal(err)
	}
	b.sql("INSERT INTO $db.ledger (source, stream, extracted, loaded, quarantined, loaded_at, _version) VALUES " +
		"('used', 'st', 1, 1, 0, '2022-01-01 00:00:00', 1), ('standardized', 'st', 3, 2, 1, '2022-01-01 00:00:00', 1), ('ingested', 'st', 3, 0, 3, '2022-01-01 00:00:00', 1), ('connected', 'st', 0, 0, 0, '2022-01-01 00:00:00', 1)")
	for source, outcome := range map[string]string{"reached": "done", "planned": "failed"} {
		if err := b.WriteRun(b.ctx, warehouse.Run{Run: "r", Source: source, Trigger: "command", StartedAt: since, Outcome: outcome}); err != nil {
			t.Fatal(err)
		}
	}
	// What no declared indicator is about is standardized and no more.
	b.load("t", observation{source: "used", indicator: "I", region: "330102", period: day(2021, 6, 1), value: 1},
		observation{source: "standardized", indicator: "UNDECLARED", region: "330102", period: day(2021, 6, 1), value: 1})
	if err := b.SyncSharing(b.ctx, list[:6]); err != nil {
		t.Fatal(err)
	}
	got := b.sql("SELECT source, stage, stage_zh, collection_stage FROM $db.data_catalog ORDER BY source FORMAT TSVRaw")
	want := []string{"connected\tconnected\t已接通\t0", "ingested\tingested\t已归集\t0", "planned\tplanned\t计划\t0", "reached\tconnected\t已接通\t0", "standardized\tstandardized\t已标准化\t0", "used\tused\t已用于指标\t3"}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	row := b.sql("SELECT provider, method_zh, sharing_type_zh, condition, frequency, deadline_seconds, used_indicators, newest_period FROM $db.data_catalog WHERE source = 'used' FORMAT TSVRaw")
	if want := "市场监管局\t源头采集\t有条件共享\t限督查\tmonth\t432000\t['I']\t2021-06-01 00:00:00.000"; !slices.Equal(row, []string{want}) {
		t.Errorf("got %q, want %q", row, want)
	}
	stages, err := b.CatalogStages(b.ctx)
	if err != nil || len(stages) != 6 || stages[0].Stage != warehouse.StageConnected || stages[0].NewestPeriod != nil || stages[5].Loaded != 1 || stages[5].LastLoadedAt == nil {
		t.Errorf("stages %+v, %v", stages, err)
	}
}

// What the view calls things is what the code lists call them.
func TestTheCatalogUsesTheWordsOfTheCodeLists(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	for column, name := range map[string]string{"method": "sharing_method", "sharing_type": "sharing_type"} {
		list, _ := schemas.Standard().CodeList(name)
		for _, c := range list.Codes {
			b.sql("INSERT INTO $db.data_sharing (source, stream, title, owner, connector, schema, stated, " + column + ", _version) VALUES ('" + name + "-" + c.Code + "', 's', 't', 'o', 'c', 'x', 1, '" + c.Code + "', 1)")
			if got := b.sql("SELECT " + column + "_zh FROM $db.data_catalog WHERE source = '" + name + "-" + c.Code + "' FORMAT TSVRaw"); len(got) != 1 || got[0] != c.Title.Zh {
				t.Errorf("%s %s is called %q, want %q", name, c.Code, got, c.Title.Zh)
			}
		}
	}
}
