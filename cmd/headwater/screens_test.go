package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headwater-data/headwater/internal/embedded"
	"github.com/headwater-data/headwater/internal/embedded/embeddedtest"
	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/pipeline"
	"github.com/headwater-data/headwater/pipeline/topic"
)

// changing is what differs from run to run on the screens: ids, times, ages.
var changing = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`[a-z]+-[0-9]\.[0-9a-f]{6}@[0-9]+#[0-9]+ *`), "ID "},
	{regexp.MustCompile(`\b01[0-9a-z]{24}\b`), "RUN"},
	{regexp.MustCompile(`\b20(2[2-9]|[3-9][0-9])-[0-9]{2}-[0-9]{2}[ T][0-9:.+Z]+`), "TIME"},
	{regexp.MustCompile(`headwater\.raw\.([a-z]+)/[0-9], offset [0-9]+`), "headwater.raw.$1/P, offset N"},
	{regexp.MustCompile(` [0-9]+ (s|min) +`), " AGE  "},
	{regexp.MustCompile(`outcome  age +`), "outcome  age  "}, // the column is as wide as the ages
	{regexp.MustCompile(`─+`), "─"},
	{regexp.MustCompile(`"(bytes|partition|from_offset|to_offset)": [0-9]+`), `"$1": N`},
	{regexp.MustCompile(`by [a-z0-9._ ()-]+: a test$`), "by USER: a test"},
}

// golden compares what a command wrote with a file, without what changes from run to run.
func golden(t *testing.T, name, dir, text string) {
	t.Helper()
	text = strings.ReplaceAll(text, dir, "DIR")
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		for _, c := range changing {
			line = c.pattern.ReplaceAllString(line, c.with)
		}
		lines[i] = line
	}
	text = strings.Join(lines, "\n")
	file := filepath.Join("testdata", "screen", name+".txt")
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v: go test ./cmd/headwater -update writes it", err)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// The screens of the commands that look at what a run left, over the demo project.
func TestScreensOfTheDemo(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "demo")
	embeddedtest.Ended(t, filepath.Join(dir, ".headwater"))
	try := func(args ...string) (string, error) {
		var out bytes.Buffer
		a := &app{in: strings.NewReader(""), out: &out, err: io.Discard, registry: knownConnectors()}
		root := rootCommand(a)
		root.SetArgs(args)
		err := root.ExecuteContext(t.Context())
		return out.String(), err
	}
	must := func(args ...string) string {
		t.Helper()
		out, err := try(args...)
		if err != nil {
			t.Fatalf("headwater %s: %v", strings.Join(args, " "), err)
		}
		return out
	}
	golden(t, "status-before", dir, func() string {
		if err := os.CopyFS(dir, os.DirFS("testdata/screen/project")); err != nil {
			t.Fatal(err)
		}
		out := must("status", "--project", dir) + must("ledger", "--project", dir) + must("quarantine", "list", "--project", dir)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		return out
	}())
	golden(t, "demo", dir, must("demo", "--dir", dir))
	in := func(args ...string) []string { return append(args, "--project", dir) }
	testLag(t, dir, func() { golden(t, "status", dir, must(in("status")...)) }, func() int64 {
		var s projectStatus
		if err := json.Unmarshal([]byte(must(in("status", "targets", "--json", "--shards")...)), &s); err != nil || len(s.Streams) != 1 || s.Streams[0].Lag == nil {
			t.Fatalf("status --json: %+v, %v", s, err)
		}
		if len(s.Shards) != 1 || s.Shards[0].Shard != "data/targets/2021-目标分解.csv" || s.Shards[0].Extracted != 510 || !strings.Contains(string(s.Shards[0].Cursor), `"done"`) {
			t.Errorf("the shards are %+v", s.Shards)
		}
		return *s.Streams[0].Lag
	})
	golden(t, "ledger", dir, must(in("ledger")...))
	golden(t, "catalog", dir, must(in("catalog")...))
	golden(t, "quarantine-list", dir, must(in("quarantine", "list", "--source", "market-supervision", "--rule", "parse.number")...))

	id := regexp.MustCompile(`market-[0-9]\.[0-9a-f]{6}@[0-9]+#[0-9]+`).FindString(must(in("quarantine", "list", "--rule", "parse.number")...))
	if id == "" {
		t.Fatal("no row with parse.number is listed")
	}
	golden(t, "quarantine-show", dir, must(in("quarantine", "show", id)...))
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"a dismissal says why", in("quarantine", "dismiss", id), "say why"},
		{"a dismissal names rows that there are", in("quarantine", "dismiss", strings.Replace(id, "@", "@9", 1), "--why", "x"), "no row market-"},
		{"ids look like ids", in("quarantine", "show", "17"), `"17" is no quarantine id`},
		{"a status is one of the known", in("quarantine", "list", "--status", "close"), "--status must be one of"},
		{"status knows its sources", in("status", "hotline-12346"), `did you mean "hotline-12345"`},
		{"the demo takes no project", in("demo"), "demo writes a project of its own"},
		{"the demo knows two servers", []string{"demo", "--source", "oracle"}, `there is no "oracle"; there are postgres and mariadb`},
		{"the demo's database is a new one", []string{"demo", "--source", "postgres", "--dir", dir}, "is not empty: the demo's database is a new one each time"},
		{"the demo keeps away from other folders", []string{"demo", "--dir", "testdata"}, "testdata holds something else than a demo"},
	} {
		_, err := try(c.args...)
		if err == nil || !strings.Contains(err.Error(), c.want) || exitCode(err) != exitUsage {
			t.Errorf("%s: %v (exit code %d), want %q and exit code 2", c.name, err, exitCode(err), c.want)
		}
	}
	testReporting(t, dir, in, must, try)
	must(in("quarantine", "dismiss", id, "--why", "a test")...)
	if _, err := try(in("quarantine", "dismiss", id, "--why", "again")...); exitCode(err) != exitUsage {
		t.Errorf("dismissing twice: %v", err)
	}
	golden(t, "quarantine-dismissed", dir, must(in("quarantine", "show", id)...))
	golden(t, "ledger-json", dir, must(in("ledger", "--json", "--flushes", "--source", "targets")...))
}

// testLag keeps the demo's broker up while it looks at status, and then lets a message wait there.
func testLag(t *testing.T, dir string, without func(), ask func() int64) {
	t.Helper()
	lease, err := embedded.Acquire(t.Context(), filepath.Join(dir, ".headwater"), embedded.Broker, embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := lease.Close(); err != nil {
			t.Error(err)
		}
	}()
	without()
	if lag := ask(); lag != 0 {
		t.Errorf("after a run the lag is %d, want 0", lag)
	}
	at := lease.Endpoint()
	client, err := topic.Open(topic.Config{Addresses: []string{at.Addr}, User: at.User, Password: at.Password, Mechanism: "scram-sha-256", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}()
	for range 2 {
		if _, err := client.Append(t.Context(), "headwater.raw.office", 0, topic.Record{Value: []byte("not ours")}); err != nil {
			t.Fatal(err)
		}
	}
	if lag := ask(); lag != 2 {
		t.Errorf("with two messages that nobody loaded the lag is %d", lag)
	}
}

func TestALedgerThatDoesNotBalanceSaysSoAndFails(t *testing.T) {
	t.Parallel()
	wrong := ledgerLine{Source: "s", Run: "r", Extracted: 5, Loaded: 3, Difference: 2}
	l := &ledger{Total: &wrong, Runs: []ledgerLine{wrong}, Wrong: []ledgerLine{wrong}}
	var out bytes.Buffer
	if err := l.verdict(&app{out: &out}); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); !strings.Contains(text, "source s, run r: 2 rows without an outcome") || !strings.Contains(text, "NOT BALANCED") {
		t.Errorf("it says %q", text)
	}
	if code := exitCode(&reportedError{errUnbalanced}); code != exitFailed {
		t.Errorf("exit code %d, want 1", code)
	}
	if errors.Is(&reportedError{errUnbalanced}, errProject) {
		t.Error("it is taken for a fault of the configuration")
	}
}

// testReporting drives period and variance over the demo's figures, as somebody who closes June does.
func testReporting(t *testing.T, dir string, in func(...string) []string, must func(...string) string, try func(...string) (string, error)) {
	t.Helper()
	// One that stays open spares each command the start of the embedded warehouse.
	p, problems := project.Load(dir, knownConnectors())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	held, err := pipeline.OpenWarehouse(t.Context(), p, pipeline.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := held.Close(); err != nil {
			t.Error(err)
		}
	}()
	const june = "2021-06"
	states := func(state string) map[string]int {
		t.Helper()
		var reports []reportLine
		if err := json.Unmarshal([]byte(must(in("period", "list", "--indicator", "LV-FACTORY", "--period", june, "--state", state, "--limit", "0", "--json")...)), &reports); err != nil {
			t.Fatal(err)
		}
		got := map[string]int{}
		for _, r := range reports {
			if r.Grain != "month" || r.Period != june || r.Expected && (len(r.Sources) != 1 || r.Sources[0] != "market-supervision" || r.DueAssumed || r.Due.Format("2006-01-02 15:04") != "2021-07-08 00:00") {
				t.Errorf("report %+v", r)
			}
			key := r.State
			if r.Expected {
				key += " expected"
			}
			got[key]++
		}
		return got
	}
	before := states("")
	if before["reported expected"]+before["restated expected"]+before["late expected"] != 90 {
		t.Errorf("of the 90 counties that owe a figure there are %v", before)
	}
	var found []varianceLine
	if err := json.Unmarshal([]byte(must(in("variance", "list", "--indicator", "LV-FACTORY", "--limit", "0", "--json")...)), &found); err != nil || len(found) == 0 {
		t.Fatalf("variances: %+v, %v", found, err)
	}
	v := found[0]
	if v.State != "open" || v.AgeSeconds == nil || v.Difference == nil || *v.Difference == 0 {
		t.Errorf("the oldest variance is %+v", v)
	}
	say := func(what, why string) []string {
		return in("variance", what, v.Indicator, v.Region, v.Period, "--why", why)
	}
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"signing off needs an explanation", say("sign-off", "seen"), "nobody has explained it"},
		{"an explanation says something", say("explain", " "), "say why"},
		{"figures that agree need none", in("variance", "explain", v.Indicator, "上城区", v.Period, "--why", "x"), "there is no such variance"},
		{"indicators are known", in("variance", "explain", "LV-FACTRY", v.Region, v.Period, "--why", "x"), `did you mean "LV-FACTORY"`},
		{"freezing says why", in("period", "freeze", "LV-FACTORY", "330000", june), "say why"},
		{"a region is known", in("period", "freeze", "LV-FACTORY", "某省", june, "--why", "x"), "there is no region 某省 in that period"},
		{"what is not frozen is not published", in("period", "publish", "LV-FACTORY", "浙江省", june, "--why", "x"), "is not frozen"},
		{"a state is one of the known", in("period", "list", "--state", "lat"), "--state must be one of"},
	} {
		if _, err := try(c.args...); err == nil || !strings.Contains(err.Error(), c.want) || exitCode(err) != exitUsage {
			t.Errorf("%s: %v (exit code %d), want %q and exit code 2", c.name, err, exitCode(err), c.want)
		}
	}
	must(say("explain", "the development zone reports to the city")...)
	if out := must(in("variance", "list", "--indicator", "LV-FACTORY", "--region", v.Region, "--period", v.Period)...); !strings.Contains(out, "explained") || !strings.Contains(out, "the development zone reports to the city") {
		t.Errorf("explained:\n%s", out)
	}
	must(say("sign-off", "seen")...)
	if out := must(in("variance", "list", "--indicator", "LV-FACTORY", "--region", v.Region, "--period", v.Period)...); !strings.Contains(out, "No figures disagree") {
		t.Errorf("signed off:\n%s", out)
	}
	if out := must(in("period", "freeze", "LV-FACTORY", "浙江省", june, "--why", "half-year report")...); !strings.Contains(out, "Froze LV-FACTORY of 2021-06: 102 figures of 330000 and below.") {
		t.Errorf("freezing says %q", out)
	}
	if _, err := try(in("period", "restate", "LV-FACTORY", "330000", june, "--why", "x")...); err == nil || !strings.Contains(err.Error(), "nothing to restate") {
		t.Errorf("restating what has not changed: %v", err)
	}
	must(in("period", "publish", "LV-FACTORY", "330000", june, "--why", "sent to the province", "--by", "王处长")...)
	if after := states("published"); after["published expected"] != 90 {
		t.Errorf("published are %v", after)
	}
	audit := must(in("audit", "--limit", "0")...)
	for _, want := range []string{"period freeze", "period publish", "variance explain", "variance sign-off", "half-year report", "王处长 (by "} {
		if !strings.Contains(audit, want) {
			t.Errorf("the audit lacks %q:\n%s", want, audit)
		}
	}
}
