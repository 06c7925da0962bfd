package e2e

import (
	"encoding/json"
	"fmt"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headwater-data/headwater/examples/livelihood"
)

// The demo with its departments' rows in a real server comes out as it does from files: each table is read once and then followed,
// while a writer changes it.
func TestTheDemoComesOutTheSameFromADatabase(t *testing.T) {
	want := livelihood.Expected()
	for _, server := range []string{"postgres", "mariadb"} {
		t.Run(server, func(t *testing.T) {
			p := newProject(t, nil)
			r := p.must(t, "demo", "--source", server, "--dir", ".", "--json")
			if again := p.run(t, nil, "demo", "--source", server, "--dir", "."); again.code != 2 {
				t.Errorf("a second demo in the folder ends with code %d, want 2: its server is gone\n%s", again.code, again.err)
			}
			var result struct {
				From struct {
					Tables  int
					Changes int64
				}
			}
			if err := json.Unmarshal([]byte(r.out), &result); err != nil {
				t.Fatalf("%v\n%s", err, r.out)
			}
			if result.From.Tables != 10 || result.From.Changes == 0 {
				t.Errorf("read from %+v, want 10 tables that are changed", result.From)
			}
			p.balanced(t)
			compareRecords(t, p, want.Streams)
			compareRollup(t, p, want.Rollup)
			compareDisagreements(t, p, want.Disagreements)
			compareStories(t, p, want)
			nothingPersonal(t, p)
		})
	}
}

// compareRecords compares how many records of each source readers see. How often each was read depends on the writer.
func compareRecords(t *testing.T, p *project, want []livelihood.StreamCount) {
	t.Helper()
	got := map[string]int{}
	for _, query := range []string{
		"SELECT source, count() AS records FROM observation_current GROUP BY source",
		"SELECT _source AS source, uniqExact(indicator, region, year) AS records FROM target FINAL WHERE _deleted = 0 GROUP BY source",
		"SELECT _source AS source, count() AS records FROM hotline_case FINAL WHERE _deleted = 0 GROUP BY source",
		"SELECT _source AS source, count() AS records FROM air_reading FINAL WHERE _deleted = 0 GROUP BY source",
	} {
		for _, r := range p.query(t, query) {
			n, err := strconv.Atoi(fmt.Sprint(r["records"]))
			if err != nil {
				t.Fatal(err)
			}
			got[fmt.Sprint(r["source"])] += n
		}
	}
	records := map[string]int{}
	for _, s := range want {
		records[s.Source] += s.Records
	}
	if diff := cmp.Diff(records, got); diff != "" {
		t.Errorf("records by source (-want +got):\n%s", diff)
	}
}
