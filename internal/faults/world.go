package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/headwater-data/headwater/internal/embedded"
	"github.com/headwater-data/headwater/internal/faultproxy"
	"github.com/headwater-data/headwater/internal/testkafka"
)

// world is everything that faults happen to: the servers, the proxies before them, the project's folder and the program's
// processes. Each process has a folder and a state folder of its own and reaches the servers by address, as several instances
// of the service do.
type world struct {
	dir    string
	binary string
	old    string // an older program, "" if there is none
	log    *slog.Logger

	broker    servers
	warehouse *server
	kafka     *faultproxy.Kafka
	http      *faultproxy.HTTP
	client    *http.Client

	session   time.Duration // of the program's group members
	flushRows int
	defaults  bool // session and limits are left as the program has them
	instances []*instance

	caseSchema string // of the cases, as the program has it
}

// servers are the processes of one kind under the campaign: the Kafka of it, embedded or Apache's, or the warehouse.
type servers interface {
	addresses() []string
	login() string // lines of headwater.yaml
	kill(n int)    // as kill -9 does
	restore(ctx context.Context) error
	pause(n int)
	resume(n int)
	count() int
	close() error
}

// server is an embedded server whose lease the campaign holds.
type server struct {
	kind  embedded.Kind
	state string
	log   *slog.Logger
	lease *embedded.Lease
	end   embedded.Endpoint
}

func acquire(ctx context.Context, state string, kind embedded.Kind, log *slog.Logger) (*server, error) {
	s := &server{kind: kind, state: state, log: log}
	return s, s.restore(ctx)
}

// restore starts the server again on its data and address if it died.
func (s *server) restore(ctx context.Context) error {
	if s.lease != nil {
		select {
		case <-s.lease.Lost():
			if err := s.lease.Close(); err != nil {
				s.log.Debug("closing a lost lease", "error", err)
			}
		default:
			return nil
		}
	}
	lease, err := embedded.Acquire(ctx, s.state, s.kind, embedded.Options{Logger: s.log})
	if err != nil {
		return err
	}
	if s.lease != nil && lease.Endpoint().Addr != s.end.Addr {
		return errors.Join(fmt.Errorf("the embedded %s came back on another address", s.kind), lease.Close())
	}
	s.lease, s.end = lease, lease.Endpoint()
	return nil
}

func (s *server) signal(sig syscall.Signal) {
	if err := syscall.Kill(s.end.PID, sig); err != nil {
		s.log.Warn("signal to an embedded server", "server", string(s.kind), "error", err)
	}
}

func (s *server) kill(int) {
	s.signal(syscall.SIGKILL)
	<-s.lease.Lost()
}

func (s *server) pause(int)  { s.signal(syscall.SIGSTOP) }
func (s *server) resume(int) { s.signal(syscall.SIGCONT) }
func (s *server) count() int { return 1 }

func (s *server) addresses() []string { return []string{s.end.Addr} }

func (s *server) login() string {
	return fmt.Sprintf("user: %s, password: \"${env:FAULTS_BROKER_PASSWORD}\", mechanism: scram-sha-256, ", s.end.User)
}

func (s *server) close() error {
	s.resume(0)
	return s.lease.Close()
}

// apache is a cluster of Apache Kafka.
type apache struct{ cluster *testkafka.Cluster }

func (a apache) addresses() []string { return a.cluster.Addresses() }
func (a apache) login() string       { return "" }
func (a apache) kill(n int)          { a.cluster.Brokers[n].Kill() }
func (a apache) pause(n int)         { a.cluster.Brokers[n].Pause() }
func (a apache) resume(n int)        { a.cluster.Brokers[n].Resume() }
func (a apache) count() int          { return len(a.cluster.Brokers) }
func (a apache) close() error        { return a.cluster.Close() }

func (a apache) restore(ctx context.Context) error {
	for _, b := range a.cluster.Brokers {
		if err := b.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// newWorld starts the servers and writes the project.
func newWorld(ctx context.Context, dir, binary, old, kind string, log *slog.Logger) (_ *world, err error) {
	w := &world{dir: dir, binary: binary, old: old, log: log, client: &http.Client{Timeout: time.Minute}, session: time.Second, flushRows: 3000}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	switch kind {
	case "embedded":
		w.broker, err = acquire(ctx, filepath.Join(dir, "servers"), embedded.Broker, log)
	case "kafka", "kafka3":
		options := testkafka.Options{Brokers: 1, Dir: filepath.Join(dir, "kafka"), Settings: map[string]string{"group.min.session.timeout.ms": "500"}}
		if kind == "kafka3" {
			options.Brokers = 3
		}
		if err := os.MkdirAll(options.Dir, 0o700); err != nil {
			return nil, err
		}
		var cluster *testkafka.Cluster
		if cluster, err = testkafka.New(ctx, options); err == nil {
			w.broker = apache{cluster}
		}
	default:
		err = fmt.Errorf("there is no broker %q: embedded, kafka, kafka3 or both", kind)
	}
	if err != nil {
		return nil, err
	}
	if w.warehouse, err = acquire(ctx, filepath.Join(dir, "servers"), embedded.Warehouse, log); err != nil {
		return nil, err
	}
	if w.kafka, err = faultproxy.NewKafka(w.broker.addresses()); err != nil {
		return nil, err
	}
	if w.http, err = faultproxy.NewHTTP(w.warehouse.end.Addr); err != nil {
		return nil, err
	}
	for name, text := range projectFiles {
		path := filepath.Join(dir, "project", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(strings.ReplaceAll(text, "ROOT", filepath.Join(dir, "project"))), 0o644)); err != nil {
			return nil, err
		}
	}
	found, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", "github.com/headwater-data/headwater/schemas").Output()
	if err != nil {
		return nil, fmt.Errorf("find the standard schemas: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(found)), "standard", "hotline_case.yaml"))
	if err != nil {
		return nil, err
	}
	w.caseSchema = string(text)
	return w, errors.Join(os.MkdirAll(filepath.Join(dir, "project", "data"), 0o755), os.MkdirAll(filepath.Join(dir, "project", "schemas"), 0o755))
}

func (w *world) close() error {
	var errs []error
	for _, i := range w.instances {
		i.kill()
	}
	if w.kafka != nil {
		errs = append(errs, w.kafka.Close())
	}
	if w.http != nil {
		errs = append(errs, w.http.Close())
	}
	if w.broker != nil {
		errs = append(errs, w.broker.close())
	}
	if w.warehouse != nil && w.warehouse.lease != nil {
		errs = append(errs, w.warehouse.close())
	}
	w.client.CloseIdleConnections()
	return errors.Join(errs...)
}

// instance is one process of the program, started again and again.
type instance struct {
	world *world
	dir   string

	cmd   *exec.Cmd
	ended chan struct{}
	log   *os.File
	mu    sync.Mutex
	code  error
}

// instance returns the n-th instance, whose folder it makes.
func (w *world) instance(n int) (*instance, error) {
	for len(w.instances) <= n {
		i := &instance{world: w, dir: filepath.Join(w.dir, fmt.Sprintf("instance-%d", len(w.instances)))}
		if err := os.MkdirAll(i.dir, 0o755); err != nil {
			return nil, err
		}
		for _, name := range []string{"sources", "indicators", "schemas"} {
			if err := os.Symlink(filepath.Join(w.dir, "project", name), filepath.Join(i.dir, name)); err != nil {
				return nil, err
			}
		}
		w.instances = append(w.instances, i)
	}
	i := w.instances[n]
	return i, i.configure()
}

func (i *instance) configure() error {
	w := i.world
	var quoted []string
	for _, a := range w.kafka.Addresses() {
		quoted = append(quoted, fmt.Sprintf("%q", a))
	}
	text := fmt.Sprintf(`project: faults
broker: {addresses: [%s], %spartitions: 2, session: %s}
warehouse: {address: %q, user: %s, password: "${env:FAULTS_WAREHOUSE_PASSWORD}"}
limits: {flush_rows: %d, readers: 2, flush_wait: 100ms}
`, strings.Join(quoted, ", "), w.broker.login(), w.session, w.http.Addr(), w.warehouse.end.User, w.flushRows)
	if w.defaults {
		text = strings.Replace(text, fmt.Sprintf(", session: %s", w.session), "", 1)
		text = text[:strings.Index(text, "limits:")]
	}
	return os.WriteFile(filepath.Join(i.dir, "headwater.yaml"), []byte(text), 0o644)
}

func (i *instance) command(env []string, args ...string) *exec.Cmd {
	c := exec.Command(i.world.binary, append(args, "-p", i.dir, "--log-format", "json")...)
	c.Dir = i.dir
	c.Env = append(os.Environ(), "FAULTS_WAREHOUSE_PASSWORD="+i.world.warehouse.end.Password.Reveal(), "HEADWATER_MARKS="+filepath.Join(i.world.dir, "marks"))
	if s, ok := i.world.broker.(*server); ok {
		c.Env = append(c.Env, "FAULTS_BROKER_PASSWORD="+s.end.Password.Reveal())
	}
	c.Env = append(c.Env, env...)
	return c
}

// start starts `headwater start`. One that runs is left alone.
func (i *instance) start(env ...string) error {
	if i.alive() {
		return nil
	}
	log, err := os.OpenFile(filepath.Join(i.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	c := i.command(env, "start", "--grace", grace.String())
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		return errors.Join(err, log.Close())
	}
	ended := make(chan struct{})
	i.cmd, i.ended, i.log = c, ended, log
	go func() {
		err := c.Wait()
		i.mu.Lock()
		i.code = err
		i.mu.Unlock()
		_ = log.Close() // the child's own is closed with it
		close(ended)
	}()
	return nil
}

func (i *instance) alive() bool {
	if i.cmd == nil {
		return false
	}
	select {
	case <-i.ended:
		return false
	default:
		return true
	}
}

func (i *instance) signal(s syscall.Signal) {
	if i.alive() {
		_ = i.cmd.Process.Signal(s) // it may just have ended
	}
}

// kill ends the process as kill -9 does and reports whether there was one to kill.
func (i *instance) kill() bool {
	if !i.alive() {
		return false
	}
	i.signal(syscall.SIGCONT)
	i.signal(syscall.SIGKILL)
	<-i.ended
	return i.killed()
}

// killed reports whether the last process ended by SIGKILL.
func (i *instance) killed() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	exit, ok := errors.AsType[*exec.ExitError](i.code)
	if !ok {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// ended0 reports whether the last process served and came to its end in good order.
func (i *instance) ended0() bool {
	if i.cmd == nil || i.alive() {
		return false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.code == nil
}

// fell reports whether the last process ended by itself, with an error.
func (i *instance) fell() bool {
	if i.cmd == nil || i.alive() || i.killed() {
		return false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	exit, ok := errors.AsType[*exec.ExitError](i.code)
	return ok && exit.ExitCode() != 128+int(syscall.SIGTERM)
}

const (
	// grace is what an instance has to load what was read: long, because a machine that is busy with other things makes that slow.
	grace = 3 * time.Minute
	// within is when an instance that does not end hangs. When its grace is over it says so itself.
	within = grace + time.Minute
)

// stop ends the process in good order: it must end with code 0, everything loaded, or with the signal's when it
// had not begun to serve.
func (i *instance) stop() error {
	if !i.alive() {
		return nil
	}
	i.signal(syscall.SIGTERM)
	select {
	case <-i.ended:
	case <-time.After(within):
		tail := i.tail()
		i.signal(syscall.SIGQUIT) // what its goroutines do goes into its log
		<-i.ended
		return fmt.Errorf("%s does not end within %v after SIGTERM; its log tells what its goroutines did: %s", i.dir, within, tail)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if exit, ok := errors.AsType[*exec.ExitError](i.code); ok && exit.ExitCode() == 128+int(syscall.SIGTERM) {
		return nil // it had not come to serve yet
	}
	if i.code != nil {
		return fmt.Errorf("%s ended: %w: %s", i.dir, i.code, i.tail())
	}
	return nil
}

// await waits until the process ends by itself, as at a named point.
func (i *instance) await(within time.Duration) bool {
	select {
	case <-i.ended:
		return true
	case <-time.After(within):
		return false
	}
}

// run does one complete pass to its end: everything read and loaded.
func (i *instance) run(ctx context.Context, within time.Duration) error {
	ctx, stop := context.WithTimeout(ctx, within)
	defer stop()
	made := i.command(nil, "run", "--json")
	c := exec.CommandContext(ctx, made.Path, made.Args[1:]...)
	c.Dir, c.Env = made.Dir, made.Env
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Run(); err != nil {
		return fmt.Errorf("headwater run: %w (%v): %s\nlog: %s", err, ctx.Err(), last(out.String(), 12), i.tail())
	}
	return nil
}

func (i *instance) tail() string {
	text, err := os.ReadFile(filepath.Join(i.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return last(string(text), 6)
}

func last(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// query asks the warehouse itself, not through the proxy.
func (w *world) query(ctx context.Context, sql string) ([]map[string]any, error) {
	body, err := w.exec(ctx, sql)
	if err != nil {
		return nil, err
	}
	var rows []map[string]any
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	for {
		var row map[string]any
		if err := dec.Decode(&row); errors.Is(err, io.EOF) {
			return rows, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", sql, err)
		}
		rows = append(rows, row)
	}
}

func (w *world) exec(ctx context.Context, sql string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+w.warehouse.end.Addr+"/?database=headwater&default_format=JSONEachRow&output_format_json_quote_64bit_integers=0", strings.NewReader(sql))
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-ClickHouse-User", w.warehouse.end.User)
	req.Header.Set("X-ClickHouse-Key", w.warehouse.end.Password.Reveal())
	resp, err := w.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %s", sql, resp.Status, last(string(body), 3))
	}
	return body, nil
}

// state reads the end state.
func (w *world) state(ctx context.Context) (state, error) {
	s := state{figures: map[string]string{}, cases: map[string]string{}, quarantine: map[string]int{}}
	rows, err := w.query(ctx, "SELECT subject, toString(toInt64(value)) AS value FROM observation_current")
	if err != nil {
		return s, err
	}
	for _, r := range rows {
		key := fmt.Sprint(r["subject"])
		if _, twice := s.figures[key]; twice {
			key += again
		}
		s.figures[key] = fmt.Sprint(r["value"])
	}
	if rows, err = w.query(ctx, "SELECT case_id, formatDateTime(opened_at, '%Y-%m-%d %H:%i:%S', 'Asia/Shanghai') AS opened FROM hotline_case FINAL"); err != nil {
		return s, err
	}
	for _, r := range rows {
		key := fmt.Sprint(r["case_id"])
		if _, twice := s.cases[key]; twice {
			key += again
		}
		s.cases[key] = fmt.Sprint(r["opened"])
	}
	if rows, err = w.query(ctx, "SELECT source, columns, rules FROM quarantine FINAL WHERE status = 'open'"); err != nil {
		return s, err
	}
	for _, r := range rows {
		// The connector gives such a row up at its own bound; one that passes it and fits no message is kept by hash, size and place.
		if rules := fmt.Sprint(r["rules"]); strings.Contains(rules, "csv.size") || strings.Contains(rules, "row.too-large") {
			s.quarantine[fmt.Sprintf("%v oversized", r["source"])]++
			continue
		}
		var columns map[string]any
		if err := json.Unmarshal([]byte(fmt.Sprint(r["columns"])), &columns); err != nil {
			return s, fmt.Errorf("columns of a quarantined row: %w", err)
		}
		key := columns["subject"]
		if key == nil {
			key = columns["id"]
		}
		s.quarantine[fmt.Sprintf("%v %v", r["source"], key)]++
	}
	return s, nil
}

// books checks the ledger's balance and looks for rows that are there twice physically. Held rows are no fault while a fault
// lasts, and one afterwards.
func (w *world) books(ctx context.Context) (physical, unbalanced, held int64, err error) {
	for _, q := range []struct {
		into *int64
		sql  string
	}{
		{&physical, "SELECT (SELECT count() - uniqExact(_topic, _partition, _incarnation, _offset, _index) FROM observation) + (SELECT count() - uniqExact(_topic, _partition, _incarnation, _offset, _index) FROM hotline_case) AS n"},
		{&unbalanced, "SELECT count() AS n FROM ledger_balance WHERE NOT balanced OR difference != 0"},
		{&held, "SELECT toInt64(sum(held)) AS n FROM ledger FINAL"},
	} {
		rows, err := w.query(ctx, q.sql)
		if err != nil {
			return 0, 0, 0, err
		}
		if len(rows) != 1 {
			return 0, 0, 0, fmt.Errorf("%s: %d rows", q.sql, len(rows))
		}
		if _, err := fmt.Sscan(fmt.Sprint(rows[0]["n"]), q.into); err != nil {
			return 0, 0, 0, err
		}
	}
	return physical, unbalanced, held, nil
}
