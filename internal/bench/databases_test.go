package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"
)

// A small run of everything: both servers, all sides, changes that wait and changes that come.
func TestDatabasesAreReadByAllSidesAndTheLastLineIsForScripts(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	if err := databases(context.Background(), []string{"-rows", "3000", "-times", "1", "-changes", "2500", "-rate", "1000", "-steady", "1s"}, &out, &errs); err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	line, ok := strings.CutPrefix(lines[len(lines)-1], "RESULT ")
	var got map[string]float64
	if err := json.Unmarshal([]byte(line), &got); err != nil || !ok {
		t.Fatalf("the last line is %q: %v", lines[len(lines)-1], err)
	}
	for _, key := range []string{"rows", "postgres_ratio", "mysql_ratio", "rows_per_cpu_s", "peak_mb", "cdc_changes_per_s", "cdc_lag_p99_ms", "mysql_cdc_changes_per_s", "mysql_cdc_lag_p99_ms"} {
		if got[key] <= 0 {
			t.Errorf("%s is %v in %s", key, got[key], line)
		}
	}
	if len(got) != 9 {
		t.Errorf("%d keys, want 9: %s", len(got), line)
	}
}

func TestFlagsOfDatabases(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args  []string
		rows  int
		fails string
	}{
		"none":                       {nil, fullRows, ""},
		"a table of a million":       {[]string{"-rows", "1000000", "-servers", "mariadb"}, 1_000_000, ""},
		"a server that there is not": {[]string{"-servers", "postgres,oracle"}, 0, `no server "oracle"`},
		"no rate":                    {[]string{"-rate", "0"}, 0, "at least 1"},
		"changes below none":         {[]string{"-changes", "-1"}, 0, "not negative"},
		"something that is no flag":  {[]string{"postgres"}, 0, "nothing follows"},
	} {
		o, err := parseDatabaseOptions(c.args, io.Discard)
		switch {
		case c.fails == "" && (err != nil || o.rows != c.rows):
			t.Errorf("%s: got %d rows, %v, want %d", name, o.rows, err, c.rows)
		case c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)):
			t.Errorf("%s: got %v, want an error with %q", name, err, c.fails)
		}
	}
}

func TestLagIsOfChangesAndNotOfBatches(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	at := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	// 90 changes at 0 ms, 10 at 100 ms; they arrive as 50 at 20 ms, 45 at 130 ms and 5 at 400 ms.
	l := &lags{commits: []mark{{at(0), 90}, {at(100), 100}}, arrives: []mark{{at(20), 50}, {at(130), 95}, {at(400), 100}}}
	for part, want := range map[float64]float64{0.5: 130, 0.9: 130, 0.91: 300, 1: 300} {
		if got := l.quantile(part); got != want {
			t.Errorf("the lag of %v of the changes is %v ms, want %v", part, got, want)
		}
	}
	if done := l.complete(100); !closed(done) {
		t.Error("all have arrived and nobody is told")
	}
	done := l.complete(101)
	if closed(done) {
		t.Error("the last one has not arrived and is said to have")
	}
	l.arrived(101)
	if !closed(done) {
		t.Error("the last one has arrived and nobody is told")
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestTheReportOfDatabasesComparesWithTheDatabasesOwn(t *testing.T) {
	t.Parallel()
	o := databaseOptions{rows: 1_000_000, times: 1, servers: []string{"postgres", "mariadb"}}
	one := func(m measurement) *side { m.Rows = 1_000_000; return &side{all: []measurement{m}} }
	sides := map[string]*side{
		"copy postgres":      one(measurement{Seconds: 1, CPU: 0.1, PeakMB: 900}),
		"select postgres":    one(measurement{Seconds: 2, CPU: 0.1, PeakMB: 900}),
		"connector postgres": one(measurement{Seconds: 4, CPU: 0.5, PeakMB: 90}),
		"backlog postgres":   one(measurement{Seconds: 10, CPU: 5, PeakMB: 100.06}),
	}
	var out bytes.Buffer
	reportDatabases(&out, o, sides)
	for _, want := range []string{"0.25 times as fast as COPY", "250,000", "1,000,000 rows"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, out.String())
		}
	}
	line, err := json.Marshal(summaryOfDatabases(o, sides))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(line), `{"rows":1000000,"postgres_ratio":0.25,"mysql_ratio":null,"rows_per_cpu_s":2000000,"peak_mb":100.1,"cdc_changes_per_s":100000,"cdc_lag_p99_ms":null,"mysql_cdc_changes_per_s":null,"mysql_cdc_lag_p99_ms":null}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
