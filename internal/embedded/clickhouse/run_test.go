package clickhouse_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headwater-data/headwater/internal/embedded/clickhouse/clickhousetest"
)

// start sends a request and gives its body to read; cancelling the context hangs up.
func start(ctx context.Context, t *testing.T, s clickhousetest.Server, parameters, sql string) (*http.Response, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.Addr+"/?"+parameters, strings.NewReader(sql))
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth(s.User, s.Password)
	return (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
}

func TestAStatementEndsWhenItsClientLeaves(t *testing.T) {
	t.Parallel()
	s := clickhousetest.Start(t)
	db := s.Database(t)
	s.Exec(t, "CREATE TABLE "+db+".t (a UInt64) ENGINE = MergeTree ORDER BY a")
	for name, sql := range map[string]string{
		"while it computes":      "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 3 AND 'c1' != ''",
		"while it writes":        "INSERT INTO " + db + ".t SELECT number FROM numbers(1000000000000) WHERE sipHash64(number) = 3 AND 'c2' != ''",
		"while it has a comment": "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 3 AND 'c3' != '' SETTINGS log_comment = 'mine'",
		"while it sends":         "SELECT number, 'c4' FROM numbers(1000000000000)",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, leave := context.WithCancel(context.Background())
			defer leave()
			gone := make(chan error, 1)
			go func() {
				response, err := start(ctx, t, s, "", sql)
				if err == nil {
					// Read a little, as a client does that shows a first page.
					_, err = io.CopyN(io.Discard, response.Body, 1<<20)
					leave()
					_ = response.Body.Close()
				}
				gone <- err
			}()
			mark := sql[strings.Index(sql, "'c")+1:][:2]
			running := "SELECT count() FROM system.processes WHERE query LIKE '%''" + mark + "''%' AND query NOT LIKE '%system.processes%'"
			if name != "while it sends" {
				for s.Exec(t, running) == "0\n" {
					select {
					case err := <-gone:
						t.Fatalf("ended early: %v", err)
					default:
					}
				}
				leave()
			}
			if err := <-gone; err != nil && !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			deadline := time.Now().Add(20 * time.Second)
			for s.Exec(t, running) != "0\n" {
				if time.Now().After(deadline) {
					t.Fatal("still running after 20 s")
				}
			}
		})
	}
}

func TestManyClientsAtOnceGetTheirOwnAnswers(t *testing.T) {
	t.Parallel()
	s := clickhousetest.Start(t)
	var group sync.WaitGroup
	for client := range 20 {
		group.Go(func() {
			for i := range 15 {
				var c call
				var want string
				switch n := client*1000 + i; i % 3 {
				case 0:
					c, want = call{body: fmt.Sprintf("SELECT %d FROM numbers(3)", n)}, strings.Repeat(fmt.Sprintf("%d\n", n), 3)
				case 1:
					c, want = call{body: fmt.Sprintf("SELECT throwIf(number = 3, 'e%d') FROM numbers(5)", n)}, fmt.Sprintf("e%d", n)
				case 2:
					c, want = call{parameters: fmt.Sprintf("max_block_size=%d", n+1), body: "SELECT getSetting('max_block_size') FORMAT CSV"}, fmt.Sprintf("%d\n", n+1)
				}
				if got := c.do(t, s); !strings.Contains(got.body, want) {
					t.Errorf("got %q, want %q", got.body, want)
				}
			}
		})
	}
	group.Wait()
}

// resident is a process's memory now and at its most, in bytes.
func resident(t *testing.T, pid int) (now, most int64) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	read := func(key string) int64 {
		_, rest, _ := strings.Cut(string(status), key)
		number, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return number << 10
	}
	return read("VmRSS:"), read("VmHWM:")
}

func TestALargeResultAndALargeBodyDoNotFillMemory(t *testing.T) {
	t.Parallel()
	p := clickhousetest.StartIn(t, t.TempDir())
	p.Exec(t, "CREATE TABLE t (a UInt64) ENGINE = Null")
	p.Exec(t, "SELECT count() FROM numbers(1000000) FORMAT JSON")
	before, _ := resident(t, p.Pid())
	for _, parameters := range []string{"", "default_format=Native&client_protocol_version=54460", "compress=1"} {
		response, err := start(context.Background(), t, p.Server, parameters, "SELECT number, toString(number) FROM numbers(4000000)")
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		if err != nil || n < 20_000_000 {
			t.Fatalf("%q: got %d bytes: %v", parameters, n, err)
		}
	}
	row := strings.Repeat("123456789\n", 100_000)
	reader, writer := io.Pipe()
	go func() {
		for range 100 {
			if _, err := io.WriteString(writer, row); err != nil {
				return
			}
		}
		_ = writer.Close()
	}()
	request, err := http.NewRequest(http.MethodPost, "http://"+p.Addr+"/?query="+esc("INSERT INTO t FORMAT TSV"), reader)
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth(p.User, p.Password)
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK || !strings.Contains(response.Header.Get("X-ClickHouse-Summary"), `"written_rows":"10000000"`) {
		t.Errorf("got %s %s", response.Status, response.Header.Get("X-ClickHouse-Summary"))
	}
	_, most := resident(t, p.Pid())
	if grown := most - before; grown > 400<<20 {
		t.Errorf("memory grew by %d MiB at most", grown>>20)
	}
	t.Logf("memory %d MiB, at most %d MiB", before>>20, most>>20)
}

func TestAQueryThatWantsTooMuchMemoryIsRefusedAndNothingElseSuffers(t *testing.T) {
	t.Parallel()
	s := clickhousetest.Start(t)
	got := call{body: "SELECT length(groupArray(number)) FROM numbers(2000000000)"}.do(t, s)
	if got.header.Get("X-ClickHouse-Exception-Code") != "241" {
		t.Errorf("got %d %.300s", got.status, got.body)
	}
	if got := s.Exec(t, "SELECT 1"); got != "1\n" {
		t.Errorf("got %q", got)
	}
}

// Whatever was acknowledged is there after kill -9, once and as a whole, and the folder opens again.
func TestAcknowledgedInsertsSurviveAKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const rowsPerInsert = 1000
	insert := func(p *clickhousetest.Process, token int) error {
		var rows strings.Builder
		for i := range rowsPerInsert {
			fmt.Fprintf(&rows, "%d,%d\n", token, i)
		}
		response, err := start(context.Background(), t, p.Server, fmt.Sprintf("insert_deduplication_token=t%d&query=%s", token, esc("INSERT INTO t FORMAT CSV")), rows.String())
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if body, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s %s %w", response.Status, body, err)
		}
		return nil
	}
	acknowledged := -1
	for round := range 4 {
		p := clickhousetest.StartIn(t, dir)
		if round == 0 {
			p.Exec(t, "CREATE TABLE t (token Int64, i Int64) ENGINE = MergeTree ORDER BY (token, i) SETTINGS non_replicated_deduplication_window = 10000")
		}
		// What was under way when the process died is there as a whole or not at all; sending it again makes it so, once.
		if acknowledged >= 0 {
			if err := insert(p, acknowledged+1); err != nil {
				t.Fatal(err)
			}
			acknowledged++
		}
		if got, want := p.Exec(t, "SELECT uniqExact(token), count(), uniqExact(token, i) FROM t"), fmt.Sprintf("%d\t%d\t%d\n", acknowledged+1, (acknowledged+1)*rowsPerInsert, (acknowledged+1)*rowsPerInsert); got != want {
			t.Fatalf("round %d: got %q, want %q", round, got, want)
		}
		goal := acknowledged + 20 + 7*round
		reached := make(chan struct{})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				if insert(p, acknowledged+1) != nil {
					return
				}
				acknowledged++
				if acknowledged == goal {
					close(reached)
				}
			}
		}()
		<-reached
		p.Kill(t)
		<-ended
	}
	p := clickhousetest.StartIn(t, dir)
	if got, least := p.Exec(t, "SELECT count() FROM t"), (acknowledged+1)*rowsPerInsert; got != fmt.Sprintf("%d\n", least) && got != fmt.Sprintf("%d\n", least+rowsPerInsert) {
		t.Errorf("got %q rows, want %d or one insert more", got, least)
	}
	p.Stop(t)
}

func TestRunningStatementsFinishWhenTheServerIsToldToStop(t *testing.T) {
	t.Parallel()
	p := clickhousetest.StartIn(t, t.TempDir())
	got := make(chan answer, 1)
	go func() {
		got <- call{body: "SELECT sleepEachRow(1), 'finishing' FROM numbers(3) SETTINGS max_block_size = 1"}.do(t, p.Server)
	}()
	for p.Exec(t, "SELECT count() FROM system.processes WHERE query LIKE '%finishing%' AND query NOT LIKE '%system.processes%'") == "0\n" {
	}
	p.Stop(t)
	if a := <-got; a.status != http.StatusOK || strings.Count(a.body, "finishing") != 3 || a.err != nil {
		t.Errorf("got %d %q %v", a.status, a.body, a.err)
	}
}

func TestAStatementWithoutEndIsStoppedWhenTheServerIs(t *testing.T) {
	t.Parallel()
	p := clickhousetest.StartIn(t, t.TempDir())
	ended := make(chan error, 1)
	go func() {
		response, err := start(context.Background(), t, p.Server, "", "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 3 AND 'endless' != ''")
		if err == nil {
			_, err = bufio.NewReader(response.Body).ReadString(0)
			_ = response.Body.Close()
		}
		ended <- err
	}()
	for p.Exec(t, "SELECT count() FROM system.processes WHERE query LIKE '%endless%' AND query NOT LIKE '%system.processes%'") == "0\n" {
	}
	p.Stop(t)
	if err := <-ended; err == nil {
		t.Error("the statement ended as if all were well")
	}
}

func TestAFolderIsOpenedByOneProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := clickhousetest.StartIn(t, dir)
	if err := clickhousetest.TryIn(dir); err == nil || !strings.Contains(err.Error(), "another process has it open") {
		t.Errorf("got %v", err)
	}
	p.Exec(t, "SELECT 1")
}

// Drivers cancel by KILL QUERY with the id that they gave a statement. A reader stops its own and nobody else's.
func TestAStatementIsStoppedByTheIDThatItsClientGaveIt(t *testing.T) {
	t.Parallel()
	s := clickhousetest.Start(t)
	for name, c := range map[string]struct {
		of, by  bool // of and by the reader
		how     string
		refused bool
	}{
		"a reader's own":          {of: true, by: true, how: " ASYNC"},
		"a reader's own, waiting": {of: true, by: true, how: " SYNC"},
		"anybody's by the owner":  {of: true},
		"the owner's by a reader": {by: true, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id := strings.NewReplacer(" ", "-", "'", "", ",", "").Replace(name)
			ended := make(chan answer, 1)
			go func() {
				ended <- call{reader: c.of, parameters: "query_id=" + id, body: "SELECT count() FROM numbers(100000000000) WHERE NOT ignore(sipHash64(number), '" + id + "')"}.do(t, s)
			}()
			for s.Exec(t, "SELECT count() FROM system.processes WHERE query LIKE '%''"+id+"''%' AND query NOT LIKE '%system.processes%'") == "0\n" {
			}
			kill := "KILL QUERY WHERE query_id = '" + id + "'" + c.how
			got := call{reader: c.by, body: kill}.do(t, s)
			if c.refused {
				if got.header.Get("X-ClickHouse-Exception-Code") != "497" {
					t.Errorf("got %d %s", got.status, got.body)
				}
				got = call{body: kill}.do(t, s)
			}
			if got.status != http.StatusOK {
				t.Fatalf("got %d %s", got.status, got.body)
			}
			if got := <-ended; got.header.Get("X-ClickHouse-Exception-Code") != "394" {
				t.Errorf("the statement was answered %d %s", got.status, got.body)
			}
		})
	}
	if got := (call{method: "GET", parameters: "query=" + esc("KILL QUERY WHERE query_id = 'x'")}).do(t, s); got.header.Get("X-ClickHouse-Exception-Code") != "164" {
		t.Errorf("by GET: %d %s", got.status, got.body)
	}
}
