package embedded_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/headwater-data/headwater/internal/embedded"
	"github.com/headwater-data/headwater/internal/embedded/broker"
)

const patience = time.Minute

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// acquire takes a lease on the folder's broker with a short grace, and gives it back with the test.
func acquire(t *testing.T, stateDir string) *embedded.Lease {
	t.Helper()
	lease, err := embedded.Acquire(testContext(t), stateDir, embedded.Broker, embedded.Options{Grace: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lease.Close(); err != nil {
			t.Error(err)
		}
	})
	return lease
}

// awaitEnd waits until no broker runs for the folder.
func awaitEnd(t *testing.T, stateDir string) {
	t.Helper()
	ctx := testContext(t)
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		endpoint, runs, err := embedded.Running(stateDir, embedded.Broker)
		if err != nil {
			t.Fatal(err)
		}
		if !runs {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the server (process %d) has not ended", endpoint.PID)
		case <-ticker.C:
		}
	}
}

// stateFolder is a folder whose server has ended when the test does, so that it can be removed.
func stateFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() { awaitEnd(t, dir) })
	return dir
}

func client(t *testing.T, e embedded.Endpoint) *kafka.Client {
	t.Helper()
	transport, err := broker.Transport(e.User, e.Password)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &kafka.Client{Addr: kafka.TCP(e.Addr), Transport: transport}
}

func produce(t *testing.T, c *kafka.Client, topic, value string) int64 {
	t.Helper()
	res, err := c.Produce(testContext(t), &kafka.ProduceRequest{Topic: topic, RequiredAcks: kafka.RequireAll,
		Records: kafka.NewRecordReader(kafka.Record{Value: kafka.NewBytes([]byte(value))})})
	if err == nil {
		err = res.Error
	}
	if err != nil {
		t.Fatal(err)
	}
	return res.BaseOffset
}

func fetchAll(t *testing.T, c *kafka.Client, topic string) []string {
	t.Helper()
	res, err := c.Fetch(testContext(t), &kafka.FetchRequest{Topic: topic, Offset: 0, MinBytes: 1, MaxBytes: 64 << 20, MaxWait: time.Second})
	if err == nil {
		err = res.Error
	}
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	for {
		r, err := res.Records.ReadRecord()
		if errors.Is(err, io.EOF) {
			return values
		}
		if err != nil {
			t.Fatal(err)
		}
		v, err := kafka.ReadAll(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, string(v))
	}
}

func createTopic(t *testing.T, c *kafka.Client, topic string, settings ...kafka.ConfigEntry) {
	t.Helper()
	res, err := c.CreateTopics(testContext(t), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: 1, ReplicationFactor: 1, ConfigEntries: settings}}})
	if err == nil {
		err = res.Errors[topic]
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestServerEndsWithItsLastUser(t *testing.T) {
	dir := stateFolder(t)
	first, second := acquire(t, dir), acquire(t, dir)
	if first.Endpoint().PID != second.Endpoint().PID || first.Endpoint().Addr != second.Endpoint().Addr {
		t.Fatalf("two users have two servers: %+v and %+v", first.Endpoint(), second.Endpoint())
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	createTopic(t, client(t, second.Endpoint()), "still-there")
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, dir)
	select {
	case <-first.Lost():
		t.Errorf("a lease that was given back says that it was lost: %v", first.Err())
	default:
	}
}

func TestServerEndsWhenItsUsersAreKilled(t *testing.T) {
	dir := stateFolder(t)
	starter, other := startUser(t, dir), startUser(t, dir)
	if starter.pid != other.pid {
		t.Fatalf("two processes have two servers: %d and %d", starter.pid, other.pid)
	}
	starter.kill(t)
	if _, runs, err := embedded.Running(dir, embedded.Broker); err != nil || !runs {
		t.Fatalf("the server ended with its starter although another process uses it (%v)", err)
	}
	createTopic(t, client(t, acquire(t, dir).Endpoint()), "still-there")
	other.kill(t)
}

func TestKilledServerIsLostAndStartsAgainOnTheSameData(t *testing.T) {
	dir := stateFolder(t)
	lease := acquire(t, dir)
	before := lease.Endpoint()
	c := client(t, before)
	createTopic(t, c, "kept")
	want := []string{"一", "二", "三"}
	for i, v := range want {
		if offset := produce(t, c, "kept", v); offset != int64(i) {
			t.Fatalf("got offset %d for record %d", offset, i)
		}
	}
	if err := lease.Err(); err != nil {
		t.Errorf("got %v from a lease on a server that lives", err)
	}
	if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case <-lease.Lost():
	case <-testContext(t).Done():
		t.Fatal("the lease does not notice that its server was killed")
	}
	lost, ok := errors.AsType[*embedded.LostError](lease.Err())
	if !ok || lost.PID != before.PID || !strings.Contains(lost.Error(), "embedded server answers") {
		t.Errorf("got %v, want a LostError that names process %d and quotes the log", lease.Err(), before.PID)
	}
	after := acquire(t, dir).Endpoint()
	if after.PID == before.PID || after.Addr != before.Addr || after.Password.Reveal() != before.Password.Reveal() {
		t.Errorf("got endpoint %+v after %+v, want another process at the same address", after, before)
	}
	if got := fetchAll(t, client(t, after), "kept"); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("got %q after the kill, want %q", got, want)
	}
	if offset := produce(t, client(t, after), "kept", "四"); offset != 3 {
		t.Errorf("got offset %d after the kill, want 3", offset)
	}
}

func TestManyAtOnceGetOneServer(t *testing.T) {
	dir := stateFolder(t)
	var users []*user
	for range 3 {
		users = append(users, launchUser(t, dir))
	}
	leases := make([]*embedded.Lease, 4)
	var wait sync.WaitGroup
	for i := range leases {
		wait.Go(func() {
			lease, err := embedded.Acquire(testContext(t), dir, embedded.Broker, embedded.Options{Grace: 50 * time.Millisecond})
			if err != nil {
				t.Error(err)
				return
			}
			leases[i] = lease
		})
	}
	wait.Wait()
	pids := make(map[int]bool)
	for _, lease := range leases {
		if lease != nil {
			pids[lease.Endpoint().PID] = true
		}
	}
	for _, u := range users {
		u.await(t)
		pids[u.pid] = true
	}
	if len(pids) != 1 {
		t.Errorf("got servers %v, want one", pids)
	}
	for _, lease := range leases {
		if lease != nil {
			if err := lease.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	for _, u := range users {
		u.kill(t)
	}
}

// A server that is just ending must neither take a new user with it nor be joined by a second server on the same data.
func TestComingAndGoingNeverMeetsAnEndingServer(t *testing.T) {
	dir := stateFolder(t)
	for i := range 30 {
		grace := time.Duration(i%3+1) * time.Millisecond
		lease, err := embedded.Acquire(testContext(t), dir, embedded.Broker, embedded.Options{Grace: grace})
		if err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		c := client(t, lease.Endpoint())
		if i == 0 {
			createTopic(t, c, "rounds")
		}
		if offset := produce(t, c, "rounds", "x"); offset != int64(i) {
			t.Fatalf("round %d: got offset %d", i, offset)
		}
		if err := lease.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// user is a process that holds a lease.
type user struct {
	cmd   *exec.Cmd
	lines *bufio.Reader
	pid   int // of the server
}

// beUser is what such a process does.
func beUser(stateDir string) error {
	lease, err := embedded.Acquire(context.Background(), stateDir, embedded.Broker, embedded.Options{Grace: 50 * time.Millisecond})
	if err != nil {
		return err
	}
	fmt.Println("server", lease.Endpoint().PID)
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return lease.Close()
}

func launchUser(t *testing.T, stateDir string) *user {
	t.Helper()
	u := &user{cmd: exec.Command(os.Args[0])}
	u.cmd.Env = append(os.Environ(), userEnv+"="+stateDir)
	u.cmd.Stderr = os.Stderr
	stdout, err := u.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	// Never written to, and closed by exec when the process has ended.
	if _, err := u.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := u.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	u.lines = bufio.NewReader(stdout)
	return u
}

// await waits until the process holds its lease.
func (u *user) await(t *testing.T) {
	t.Helper()
	line, err := u.lines.ReadString('\n')
	if err != nil {
		t.Fatalf("user process: %v", err)
	}
	pid, ok := strings.CutPrefix(strings.TrimSpace(line), "server ")
	if !ok {
		t.Fatalf("user process: %s", line)
	}
	if u.pid, err = strconv.Atoi(pid); err != nil {
		t.Fatal(err)
	}
}

func startUser(t *testing.T, stateDir string) *user {
	t.Helper()
	u := launchUser(t, stateDir)
	u.await(t)
	return u
}

// kill ends the process as kill -9 does.
func (u *user) kill(t *testing.T) {
	t.Helper()
	if err := u.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := u.cmd.Wait(); err == nil {
		t.Error("a killed process ended well")
	}
}

// A folder that is removed under its server and made again gets another server, and the end of the first one does not close the
// second one's door.
func TestAFolderThatIsMadeAgainKeepsItsNewServer(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	t.Cleanup(func() { awaitEnd(t, dir) })
	first := acquire(t, dir)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	second := acquire(t, dir)
	if second.Endpoint().PID == first.Endpoint().PID {
		t.Fatal("the new folder has the old server")
	}
	if err := syscall.Kill(first.Endpoint().PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-first.Lost()
	if third := acquire(t, dir); third.Endpoint().PID != second.Endpoint().PID {
		t.Error("the new server takes no leases any more")
	}
}
