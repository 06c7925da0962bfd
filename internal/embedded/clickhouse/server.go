package clickhouse

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gofrs/flock"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/secret"
)

// Reader is the name of the second user, whose sessions cannot write.
const Reader = "reader"

// Config says what to serve and to whom.
type Config struct {
	// Dir is the folder that holds everything: data, the engine's settings, bodies being received. It is made with mode 0700
	// and belongs to one process at a time. Required.
	Dir string
	// Engine is what Fetch returned. Required.
	Engine Engine
	// User is who may read and write. Defaults to "default"; it cannot be "reader".
	User string
	// Password is User's. Required: anything on this machine can reach a loopback port.
	Password secret.Value
	// ReaderPassword is the password of the user "reader". Unset, there is no such user.
	ReaderPassword secret.Value
	// Listener is where requests come in; it must be on a loopback address. Serve closes it. Required.
	Listener net.Listener
	// Logger hears of start, stop and what goes wrong, never of a query's text. Required.
	Logger *slog.Logger
	// MaxMemoryBytes bounds the engine's memory as a whole; one statement may use four fifths of it. Defaults to 2 GiB; the
	// least is 512 MiB.
	MaxMemoryBytes int64
	// Grants are the rights of whoever asks, each as GRANT says it without its first word and its TO: "SELECT ON db.*".
	// Defaults to everything on tables and nothing outside of the folder.
	Grants []string
	// Filters limit the rows that whoever asks sees, as a server's row policies do: the engine takes them from its users file only.
	// They count beside Grants.
	Filters []Filter
}

// Filter is the condition that the rows of a table or view meet for whoever asks.
type Filter struct {
	Database, Table, Condition string
}

const (
	defaultMemoryBytes = 2 << 30
	leastMemoryBytes   = 512 << 20

	// maxRunning bounds the statements that run at once: each keeps a thread and a share of the memory.
	maxRunning = 8
	// maxWaiting bounds the statements that wait for their turn.
	maxWaiting = 200
	// maxSessions bounds the named sessions, each of which keeps a connection.
	maxSessions = 64

	// drainTime bounds how long running statements may take to end when Serve is told to stop; then they are stopped.
	drainTime = 10 * time.Second
)

func (c *Config) check() error {
	var faults []error
	require := func(ok bool, message string) {
		if !ok {
			faults = append(faults, errors.New(message))
		}
	}
	require(c.Dir != "", "Dir is empty")
	require(c.Engine.Path != "", "Engine is empty: call Fetch first")
	require(c.Password.IsSet(), "Password is empty")
	require(c.User != Reader, `User cannot be "reader"`)
	require(c.Listener != nil, "Listener is nil")
	require(c.Logger != nil, "Logger is nil")
	require(c.MaxMemoryBytes == 0 || c.MaxMemoryBytes >= leastMemoryBytes, "MaxMemoryBytes is below 512 MiB, with which the engine does not start")
	if c.Listener != nil {
		address, ok := c.Listener.Addr().(*net.TCPAddr)
		require(ok && address.IP.IsLoopback(), "Listener is not on a loopback address")
	}
	if len(faults) > 0 {
		return fault.Usage(fmt.Errorf("serve embedded warehouse: %w", errors.Join(faults...)))
	}
	if c.User == "" {
		c.User = "default"
	}
	if c.MaxMemoryBytes == 0 {
		c.MaxMemoryBytes = defaultMemoryBytes
	}
	return nil
}

// server is one opened data folder and everything that requests share.
type server struct {
	config  Config
	library *library
	args    []string
	spools  string
	files   func(folder string, memoryBytes int64) map[string]string // the engine's settings; nil for fewRights

	version, timezone, displayName, defaultEnableCompression string

	running chan struct{} // a place per statement
	waiting atomic.Int64
	ids     atomic.Uint64

	root *connection // keeps the engine open

	asked asked

	control struct { // stops statements of other connections
		sync.Mutex
		connection *connection
	}

	sessions sessions
	users    []user
}

// Serve opens the engine on a folder and answers requests on the listener until ctx ends. Then it lets running statements
// finish within a bound, stops those that do not, and closes the engine. It returns nil after an orderly end. One Serve at a
// time can run in a process, and the engine of one process stays what it was: see the package's comment.
//
// Serve makes the process ignore SIGPIPE: a client that hangs up must not end it.
func Serve(ctx context.Context, config Config) (err error) {
	if err := config.check(); err != nil {
		return err
	}
	defer config.Listener.Close()
	signal.Ignore(syscall.SIGPIPE)
	s := &server{config: config, running: make(chan struct{}, maxRunning)}
	s.users = append(s.users, newUser(config.User, config.Password, false))
	if config.ReaderPassword.IsSet() {
		s.users = append(s.users, newUser(Reader, config.ReaderPassword, true))
	}
	if err := errors.Join(os.MkdirAll(config.Dir, 0o700), os.Chmod(config.Dir, 0o700)); err != nil {
		return fault.Environment(fmt.Errorf("open embedded warehouse: %w", err))
	}
	lock := flock.New(filepath.Join(config.Dir, "lock"), flock.SetPermissions(0o600))
	if held, err := lock.TryLock(); err != nil || !held {
		return fault.Environment(fmt.Errorf("open embedded warehouse %s: another process has it open (%w)", config.Dir, errors.Join(err, syscall.EWOULDBLOCK)))
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := s.open(); err != nil {
		return fault.Environment(fmt.Errorf("open embedded warehouse %s: %w", config.Dir, err))
	}
	defer s.close()
	return s.serve(ctx)
}

// open writes the engine's settings and starts it.
func (s *server) open() error {
	dir, err := filepath.Abs(s.config.Dir)
	if err != nil {
		return err
	}
	settings := filepath.Join(dir, "settings")
	s.spools = filepath.Join(dir, "spool")
	if err := os.RemoveAll(s.spools); err != nil {
		return err
	}
	for _, folder := range []string{settings, s.spools, filepath.Join(dir, "data")} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return err
		}
	}
	files := s.files
	if files == nil {
		files = fewRights
	}
	if s.config.Grants != nil {
		files = func(folder string, memoryBytes int64) map[string]string {
			return map[string]string{
				"config.xml": engineConfig(filepath.Join(folder, "users.xml"), memoryBytes),
				"users.xml":  engineUsers(memoryBytes, s.config.Grants, s.config.Filters...),
			}
		}
	}
	for name, text := range files(settings, s.config.MaxMemoryBytes) {
		if err := os.WriteFile(filepath.Join(settings, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	if s.library, err = loadLibrary(s.config.Engine.Path); err != nil {
		return err
	}
	s.args = []string{"--path=" + filepath.Join(dir, "data"), "--config-file=" + filepath.Join(settings, "config.xml")}
	if s.root, err = s.library.connect(s.args...); err != nil {
		return err
	}
	if s.control.connection, err = s.library.connect(s.args...); err != nil {
		return err
	}
	facts, err := s.root.query("SELECT version(), timezone(), (SELECT value FROM system.settings WHERE name = 'enable_http_compression')", "TabSeparatedRaw")
	if err != nil {
		return err
	}
	defer facts.release()
	columns := strings.Split(strings.TrimSpace(string(facts.bytes)), "\t")
	if len(columns) != 3 {
		return fmt.Errorf("the engine describes itself as %q", facts.bytes)
	}
	s.version, s.timezone, s.defaultEnableCompression = columns[0], columns[1], columns[2]
	s.displayName = "headwater-embedded"
	s.sessions.open = make(map[string]*session)
	return nil
}

// close ends the engine. No statement runs any more.
func (s *server) close() {
	s.sessions.closeAll()
	for _, c := range []*connection{s.control.connection, s.root} {
		if c != nil {
			c.close()
		}
	}
}

func (s *server) serve(ctx context.Context) error {
	statements, stopStatements := context.WithCancel(context.WithoutCancel(ctx))
	defer stopStatements()
	web := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    1 << 20, // a query may stand in the address; ClickHouse's own bound
		ErrorLog:          slog.NewLogLogger(s.config.Logger.Handler(), slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return statements },
	}
	s.config.Logger.Info("embedded warehouse is open", slog.String("address", s.config.Listener.Addr().String()), slog.String("version", s.version))
	ended := make(chan error, 1)
	go func() { ended <- web.Serve(s.config.Listener) }()
	sweep := time.NewTicker(time.Second)
	defer sweep.Stop()
	yielding := false
	for {
		select {
		case <-sweep.C:
			s.sessions.closeIdle(time.Now())
			yielding = yielding || yieldMerges()
			continue
		case err := <-ended:
			return fault.Environment(fmt.Errorf("serve embedded warehouse: %w", err))
		case <-ctx.Done():
		}
		break
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if err := web.Shutdown(drain); err != nil {
		s.config.Logger.Warn("statements still running at the end are stopped")
		stopStatements()
		_ = web.Close() // its errors are those of connections that we mean to cut
	}
	<-ended
	// Handlers that Close cut off still hold connections of the engine until their statements have ended.
	for range maxRunning {
		s.running <- struct{}{}
	}
	s.config.Logger.Info("embedded warehouse is closed")
	return nil
}

// fewRights makes the settings files of an engine that others may ask.
func fewRights(folder string, memoryBytes int64) map[string]string {
	return map[string]string{
		"config.xml": engineConfig(filepath.Join(folder, "users.xml"), memoryBytes),
		"users.xml":  engineUsers(memoryBytes, []string{ownRights}),
	}
}

// ownRights are those of the engine's user without Config.Grants.
const ownRights = "SHOW, CHECK, SELECT, INSERT, ALTER, CREATE DATABASE, CREATE TABLE, CREATE VIEW, CREATE TEMPORARY TABLE, CREATE FUNCTION, DROP, TRUNCATE, OPTIMIZE, UNDROP TABLE, KILL QUERY, dictGet, SYSTEM VIEWS, SYSTEM MERGES, SYSTEM FLUSH LOGS, SYSTEM DROP CACHE ON *.*"

// engineConfig is the engine's server configuration: little memory, few threads, nothing that listens.
func engineConfig(usersPath string, memoryBytes int64) string {
	cache := memoryBytes / 32
	return fmt.Sprintf(`<clickhouse>
	<users_config>%s</users_config>
	<max_server_memory_usage>%d</max_server_memory_usage>
	<mark_cache_size>%d</mark_cache_size>
	<index_mark_cache_size>%d</index_mark_cache_size>
	<primary_index_cache_size>%d</primary_index_cache_size>
	<uncompressed_cache_size>0</uncompressed_cache_size>
	<index_uncompressed_cache_size>0</index_uncompressed_cache_size>
	<query_condition_cache_size>%d</query_condition_cache_size>
	<compiled_expression_cache_size>%d</compiled_expression_cache_size>
	<background_pool_size>2</background_pool_size>
	<background_merges_mutations_concurrency_ratio>2</background_merges_mutations_concurrency_ratio>
	<background_move_pool_size>1</background_move_pool_size>
	<background_fetches_pool_size>1</background_fetches_pool_size>
	<background_common_pool_size>2</background_common_pool_size>
	<background_schedule_pool_size>4</background_schedule_pool_size>
	<background_buffer_flush_schedule_pool_size>1</background_buffer_flush_schedule_pool_size>
	<background_message_broker_schedule_pool_size>1</background_message_broker_schedule_pool_size>
	<background_distributed_schedule_pool_size>1</background_distributed_schedule_pool_size>
	<tables_loader_foreground_pool_size>2</tables_loader_foreground_pool_size>
	<tables_loader_background_pool_size>2</tables_loader_background_pool_size>
	<max_thread_pool_size>500</max_thread_pool_size>
	<max_thread_pool_free_size>32</max_thread_pool_free_size>
	<max_io_thread_pool_size>16</max_io_thread_pool_size>
	<merge_tree>
		<number_of_free_entries_in_pool_to_execute_mutation>2</number_of_free_entries_in_pool_to_execute_mutation>
		<number_of_free_entries_in_pool_to_lower_max_size_of_merge>2</number_of_free_entries_in_pool_to_lower_max_size_of_merge>
		<number_of_free_entries_in_pool_to_execute_optimize_entire_partition>2</number_of_free_entries_in_pool_to_execute_optimize_entire_partition>
	</merge_tree>
</clickhouse>
`, escapeXML(usersPath), memoryBytes, cache, cache/4, cache, cache/8, cache/2)
}

// engineUsers gives the engine's one user rights on tables and none on what lies outside: without a source grant the table
// functions and engines file, url, remote, s3, mysql and their like are refused. Dictionaries are not granted at all,
// because a dictionary's source may be a command or an address and no grant tells those apart.
//
// The constraints shut settings that name files or addresses, and keep the memory's bound.
func engineUsers(memoryBytes int64, grants []string, filters ...Filter) string {
	constant := ""
	for _, name := range []string{
		"format_schema", "format_template_row", "format_template_resultset", "format_avro_schema_registry_url",
		"allow_introspection_functions", "allow_experimental_eval_table_function", "allow_experimental_ai_functions",
		"merge_tree_disk", "merge_tree_storage_policy",
	} {
		constant += fmt.Sprintf("<%s><const/></%s>", name, name)
	}
	queries := ""
	for _, grant := range grants {
		queries += "<query>GRANT " + escapeXML(grant) + "</query>"
	}
	rows := ""
	for _, f := range filters {
		rows += fmt.Sprintf(`<database name="%s"><table name="%s"><filter>%s</filter></table></database>`, escapeXML(f.Database), escapeXML(f.Table), escapeXML(f.Condition))
	}
	if rows != "" {
		rows = "<databases>" + rows + "</databases>"
	}
	statement := memoryBytes / 5 * 4
	return fmt.Sprintf(`<clickhouse>
	<profiles><default>
		<max_memory_usage>%d</max_memory_usage>
		<max_threads>2</max_threads>
		<max_insert_threads>1</max_insert_threads>
		<async_insert>0</async_insert>
		<implicit_select>0</implicit_select>
		<allow_introspection_functions>0</allow_introspection_functions>
		<constraints>
			<max_memory_usage><min>1</min><max>%d</max></max_memory_usage>
			%s
		</constraints>
	</default></profiles>
	<users><default>
		<password></password>
		<networks><ip>::/0</ip></networks>
		<profile>default</profile>
		<quota>default</quota>
		<grants>
			%s
		</grants>
		%s
	</default></users>
	<quotas><default></default></quotas>
</clickhouse>
`, statement, statement, constant, queries, rows)
}

func escapeXML(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder never fails
	return b.String()
}
