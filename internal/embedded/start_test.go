package embedded_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/headwater-data/headwater/internal/embedded"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/secret"
)

func TestFilesOfAServerBelongToItsOwnerAlone(t *testing.T) {
	dir := stateFolder(t)
	// As somebody with another idea of privacy may have left them.
	if err := os.Mkdir(filepath.Join(dir, "broker"), 0o755); err != nil {
		t.Fatal(err)
	}
	endpoint := acquire(t, dir).Endpoint()
	createTopic(t, client(t, endpoint), "topic")
	if n := len(endpoint.Password.Reveal()); n != 64 {
		t.Errorf("got a password of %d characters, want 64 hexadecimal ones", n)
	}
	seen := make(map[string]bool)
	if err := filepath.WalkDir(filepath.Join(dir, "broker"), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		seen[e.Name()] = true
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("others may use %s: %v", path, info.Mode())
		}
		if info.Mode().IsRegular() && e.Name() != "password" {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if strings.Contains(string(content), endpoint.Password.Reveal()) {
				t.Errorf("%s holds the password", path)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"lock", "start.lock", "endpoint.json", "password", "log", "data", "topics.json"} {
		if !seen[name] {
			t.Errorf("there is no %s", name)
		}
	}
}

func TestLongPathsWork(t *testing.T) {
	dir := filepath.Join(stateFolder(t), strings.Repeat("很长的路径", 8), "state")
	first, second := acquire(t, dir), acquire(t, dir)
	if second.Endpoint().PID != first.Endpoint().PID {
		t.Error("two users have two servers")
	}
	raw, err := os.ReadFile(filepath.Join(dir, "broker", "endpoint.json"))
	if err != nil {
		t.Fatal(err)
	}
	var published struct{ Socket string }
	if err := json.Unmarshal(raw, &published); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Dir(published.Socket))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the socket's folder: got %v, %v, want mode 0700", info, err)
	}
	for _, lease := range []*embedded.Lease{first, second} {
		if err := lease.Close(); err != nil {
			t.Error(err)
		}
	}
	awaitEnd(t, dir)
	if _, err := os.Stat(filepath.Dir(published.Socket)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket's folder is left behind (%v)", err)
	}
}

func TestATakenPortIsNotWaitedFor(t *testing.T) {
	dir := stateFolder(t)
	first := acquire(t, dir)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, dir)
	squatter, err := net.Listen("tcp", first.Endpoint().Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer squatter.Close()
	second := acquire(t, dir).Endpoint()
	if second.Addr == first.Endpoint().Addr {
		t.Errorf("both have %s", second.Addr)
	}
	createTopic(t, client(t, second), "topic")
}

func TestAServerThatCannotStartSaysWhy(t *testing.T) {
	dir := stateFolder(t)
	if err := os.MkdirAll(filepath.Join(dir, "broker"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "broker", "data"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := embedded.Acquire(testContext(t), dir, embedded.Broker, embedded.Options{})
	failed, ok := errors.AsType[*embedded.StartError](err)
	if !ok || fault.KindOf(err) != fault.KindEnvironment {
		t.Fatalf("got %v of kind %v, want a StartError that an operator must mend", err, fault.KindOf(err))
	}
	if failed.LogFile != filepath.Join(dir, "broker", "log") || !strings.Contains(failed.LogTail, "not a directory") {
		t.Errorf("got log %s, tail %q", failed.LogFile, failed.LogTail)
	}
	for _, want := range []string{"start embedded broker", "not a directory", failed.LogFile} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
	// And when the reason is gone, it starts.
	if err := os.Remove(filepath.Join(dir, "broker", "data")); err != nil {
		t.Fatal(err)
	}
	acquire(t, dir)
}

func TestAProgramThatForgetsToServeStartsNoFlood(t *testing.T) {
	dir := stateFolder(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), userEnv+"="+dir, forgetEnv+"=1")
	output, err := cmd.Output()
	if err == nil || !strings.Contains(string(output), "call embedded.MaybeServe first") {
		t.Errorf("got %v: %s", err, output)
	}
}

// holdLock holds a server's lock as a server does that hangs.
func holdLock(t *testing.T, dir string) *os.File {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "broker"), 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "broker", "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestAStartThatIsGivenUpLeavesNothingBehind(t *testing.T) {
	dir := stateFolder(t)
	hanging := holdLock(t, dir)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := embedded.Acquire(ctx, dir, embedded.Broker, embedded.Options{Grace: time.Millisecond}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want that the context ended", err)
	}
	if err := hanging.Close(); err != nil {
		t.Fatal(err)
	}
	acquire(t, dir)
}

func TestAServerThatHangsIsNamed(t *testing.T) {
	dir := stateFolder(t)
	hanging := holdLock(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "broker", "endpoint.json"), []byte(`{"addr":"127.0.0.1:1","pid":4711,"socket":"/nonexistent/lease"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := embedded.Acquire(testContext(t), dir, embedded.Broker, embedded.Options{StartTimeout: 3 * time.Second})
	if err == nil || !strings.Contains(err.Error(), "process 4711") {
		t.Errorf("got %v, want the process that hangs", err)
	}
	if err := hanging.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestNothingRunsWhereNothingWasStarted(t *testing.T) {
	if e, runs, err := embedded.Running(t.TempDir(), embedded.Broker); err != nil || runs || e.Addr != "" {
		t.Errorf("got %+v, %v, %v", e, runs, err)
	}
	if _, err := embedded.Acquire(t.Context(), t.TempDir(), "database", embedded.Options{}); err == nil {
		t.Error("there is an embedded server of kind database")
	}
}

func query(t *testing.T, e embedded.Endpoint, user string, password secret.Value, sql string) (string, int) {
	t.Helper()
	request, err := http.NewRequestWithContext(testContext(t), http.MethodPost, "http://"+e.Addr+"/", strings.NewReader(sql))
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth(user, password.Reveal())
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(body)), response.StatusCode
}

func TestWarehouseServesAndKeepsItsTablesThroughAKill(t *testing.T) {
	dir := t.TempDir()
	var stages []string
	open := func() *embedded.Lease {
		t.Helper()
		// The first start on a machine brings the engine there.
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
		defer cancel()
		lease, err := embedded.Acquire(ctx, dir, embedded.Warehouse, embedded.Options{Grace: 10 * time.Millisecond,
			Progress: func(stage string, _, _ int64) { stages = append(stages, stage) }})
		if err != nil {
			t.Fatal(err)
		}
		return lease
	}
	lease := open()
	e := lease.Endpoint()
	if len(stages) == 0 {
		t.Error("the start told nothing of its progress")
	}
	for _, sql := range []string{"CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a", "INSERT INTO t SELECT number FROM numbers(1000)"} {
		if body, status := query(t, e, e.User, e.Password, sql); status != http.StatusOK {
			t.Fatalf("%s: %s", sql, body)
		}
	}
	if body, status := query(t, e, "reader", e.ReaderPassword, "SELECT sum(a) FROM t"); body != "499500" {
		t.Errorf("the reader got %d: %s", status, body)
	}
	if body, status := query(t, e, "reader", e.ReaderPassword, "DROP TABLE t"); status == http.StatusOK {
		t.Errorf("the reader may drop a table: %s", body)
	}
	if _, status := query(t, e, e.User, e.ReaderPassword, "SELECT 1"); status == http.StatusOK {
		t.Error("the reader's password lets the owner in")
	}
	if err := syscall.Kill(e.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-lease.Lost()
	if err := lease.Close(); err != nil {
		t.Error(err)
	}
	lease = open()
	if body, status := query(t, lease.Endpoint(), e.User, e.Password, "SELECT count() FROM t"); body != "1000" {
		t.Errorf("after the kill: got %d: %s", status, body)
	}
	if err := lease.Close(); err != nil {
		t.Error(err)
	}
	for runs := true; runs; {
		var err error
		if _, runs, err = embedded.Running(dir, embedded.Warehouse); err != nil {
			t.Fatal(err)
		}
	}
}
