package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
)

// damage runs statements in the warehouse as the user who may write.
func (p *project) damage(t *testing.T, statements ...string) {
	t.Helper()
	c := p.command("warehouse", "serve", "--json")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = c.Process.Signal(os.Interrupt)
		_ = c.Wait() // ends with 130, as it was interrupted
	}()
	var rows []struct{ What, Value string }
	if err := json.NewDecoder(out).Decode(&rows); err != nil {
		t.Fatal(err)
	}
	at := map[string]string{}
	for _, r := range rows {
		at[r.What] = r.Value
	}
	for _, s := range statements {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, at["address"]+"/?database=headwater&mutations_sync=2", strings.NewReader(s))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(at["user for everything"], at["password of that"])
		req.Close = true
		answer, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s: %s (%v)", s, answer.Status, text, err)
		}
	}
}

// TestARepairIsDoneOnceWhateverIsKilled: rows that were damaged by hand are found and mended, each written once.
func TestARepairIsDoneOnceWhateverIsKilled(t *testing.T) {
	for _, kill := range []string{"produced:1", "inserted:1", "before-final-commit:1"} {
		t.Run("killed at "+kill, func(t *testing.T) {
			t.Parallel()
			p := newProject(t, map[string]string{
				"headwater.yaml": killConfig(t, 30_000, embedded), "sources/figures.yaml": figuresYAML, "indicators/t.yaml": indicatorYAML,
				"data/figures.csv": figures(0, 5000),
			})
			p.must(t, "run")
			p.must(t, "verify", "figures")
			before := p.one(t, "SELECT toString(sum(cityHash64(subject, period, value))) FROM observation_current")
			subject := p.one(t, "SELECT arrayStringConcat(arraySlice(arraySort(groupArray(subject)), 1, 3), ''',''') FROM observation_current WHERE value = floor(value)")
			names := strings.Split("'"+subject+"'", ",")
			p.damage(t, "ALTER TABLE observation DELETE WHERE subject = "+names[0],
				"INSERT INTO observation SELECT * REPLACE(value + 1 AS value, _version + 1 AS _version) FROM observation WHERE subject = "+names[1],
				"INSERT INTO observation SELECT * REPLACE('made up' AS subject) FROM (SELECT * FROM observation WHERE subject = "+names[2]+")")
			found := p.run(t, nil, "verify", "figures")
			code(t, found, 1)
			for _, want := range []string{"missing ", "different ", "extra ", "made up", "DIFFERENT: 3 keys."} {
				if !strings.Contains(found.out, want) {
					t.Errorf("nothing says %q:\n%s", want, found.out)
				}
			}
			if r := p.run(t, []string{"HEADWATER_CRASH=" + kill}, "verify", "figures", "--repair"); r.signal != syscall.SIGKILL {
				t.Fatalf("not killed there: exit code %d\n%s\n%s", r.code, r.out, r.err)
			}
			p.must(t, "verify", "figures", "--repair")
			p.must(t, "verify", "figures")
			if after := p.one(t, "SELECT toString(sum(cityHash64(subject, period, value))) FROM observation_current"); after != before {
				t.Error("after the repair the figures are others than before the damage")
			}
			if got := p.one(t, "SELECT concat(toString(count()), ' ', toString(countIf(_deleted = 1))) FROM observation WHERE _run IN (SELECT run FROM ledger FINAL WHERE shard = '~repair')"); got != "3 1" {
				t.Errorf("rows and tombstones of the repair: %s, want 3 1", got)
			}
			p.balanced(t)
		})
	}
}

// A repair never writes beside a service, which is the only one that may; to look needs nobody's leave.
func TestARepairLeavesAServedProjectAlone(t *testing.T) {
	t.Parallel()
	p := newProject(t, map[string]string{
		"headwater.yaml": killConfig(t, 30_000, embedded), "sources/figures.yaml": figuresYAML, "indicators/t.yaml": indicatorYAML,
		"data/figures.csv": figures(0, 100),
	})
	p.must(t, "run")
	service := p.start(t, nil, "start")
	service.await(t, "serving")
	p.must(t, "verify", "figures")
	refused := p.run(t, nil, "verify", "figures", "--repair")
	code(t, refused, 3)
	says(t, refused, "headwater start serves this project")
	service.end(t, syscall.SIGTERM)
}
