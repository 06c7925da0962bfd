package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/headwater-data/headwater/internal/embedded"
	"github.com/headwater-data/headwater/internal/embedded/embeddedtest"
)

func TestMain(m *testing.M) {
	embedded.MaybeServe()
	goleak.VerifyTestMain(m)
}

// A small run asks every question, and finds what the arithmetic of its rows says.
func TestASmallRun(t *testing.T) {
	var out, errs bytes.Buffer
	dir := t.TempDir()
	embeddedtest.Ended(t, dir)
	if err := bench(t.Context(), []string{"-rows", "1", "-indicators", "5", "-months", "24", "-times", "2", "-dir", dir}, &out, &errs); err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var result map[string]float64
	line, ok := strings.CutPrefix(lines[len(lines)-1], "RESULT ")
	if err := json.Unmarshal([]byte(line), &result); !ok || err != nil {
		t.Fatal(err, out.String())
	}
	if want := float64(5 * 24 * (90 + 12)); result["observations"] != want {
		t.Errorf("%v observations, want %v", result["observations"], want)
	}
	for _, key := range []string{"rollup_p95_ms", "ranking_p95_ms", "trend_p95_ms", "reconciliation_p95_ms", "month_all_s", "freshness_s"} {
		if result[key] <= 0 {
			t.Errorf("%s is %v", key, result[key])
		}
	}
	rows := map[string]string{}
	for _, line := range lines {
		if f := strings.Fields(line); len(f) == 5 {
			rows[f[0]] = f[1]
		}
	}
	// Of a year: the nation, the province, 11 cities and 90 counties in 12 months; 11 cities; 24 months of one city; what cities and province reported.
	for question, want := range map[string]string{"rollup": "1236", "ranking": "11", "trend": "24", "reconciliation": "144", "month_all": "515"} {
		if rows[question] != want {
			t.Errorf("%s has %s rows, want %s", question, rows[question], want)
		}
	}
	t.Log(out.String())
}
