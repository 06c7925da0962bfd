package warehouse

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/secret"
)

// Config says where the warehouse is and how to enter it.
type Config struct {
	// Addr is host:port of ClickHouse's HTTP interface (8123, or 8443 with TLS, on a stock server). Required.
	Addr string
	// Database holds all tables. Migrate creates it. Defaults to "headwater".
	Database string
	// User defaults to "default".
	User string
	// Password may be unset.
	Password secret.Value
	// TLS turns HTTPS on. Nil means plain HTTP.
	TLS *tls.Config
	// MaxOpenConns bounds how many requests run side by side. Defaults to 8.
	MaxOpenConns int
	// Logger gets what an operator acts on. Nil means no log.
	Logger *slog.Logger
	// Allocator is used for Arrow memory. Defaults to memory.DefaultAllocator.
	Allocator memory.Allocator
}

const (
	defaultDatabase = "headwater"
	// dialTimeout bounds both connecting and waiting for a free connection of the pool.
	dialTimeout = 30 * time.Second
	// readTimeout bounds the wait for the first byte of an answer. An INSERT answers when it is done, so this is also how
	// long one may take; after it the outcome is unknown and the caller repeats the insert under its token.
	readTimeout = 10 * time.Minute
)

// Warehouse is a connection to ClickHouse. It is safe for use from many goroutines.
type Warehouse struct {
	config Config
	// server has no current database: it works before the database is there. data has.
	server, data driver.Conn

	transportMutex sync.Mutex
	transport      *http.Transport // of all connections; nil until the first

	log *slog.Logger
	mem memory.Allocator

	scratchAge time.Duration // scratchAge; tests shorten it
	migrating  sync.Mutex    // one Migrate or Sync at a time in this process

	refreshing sync.Mutex // one Refresh at a time in this process
	instance   string     // see SetInstance

	ledgerMutex  sync.Mutex
	ledgerNewest map[logPartition]uint64 // version of the newest line that is known of a partition

	pinOnce  sync.Mutex
	pinned   bool
	optional clickhouse.Settings // pins that only newer servers know
}

// Open checks the configuration and that the server answers and lets the user in. The database need not be there yet: see
// Migrate. A server that is away is an environmental error here, since nobody tries again at start; in every later call it
// is a transient one. Both are ErrAway. The caller closes the Warehouse.
func Open(ctx context.Context, config Config) (*Warehouse, error) {
	if config.Database == "" {
		config.Database = defaultDatabase
	}
	if config.User == "" {
		config.User = "default"
	}
	if config.MaxOpenConns == 0 {
		config.MaxOpenConns = 8
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Allocator == nil {
		config.Allocator = memory.DefaultAllocator
	}
	if err := config.check(); err != nil {
		return nil, fault.Usage(fmt.Errorf("open warehouse: %w", err))
	}
	w := &Warehouse{config: config, log: config.Logger, mem: config.Allocator, scratchAge: scratchAge, ledgerNewest: map[logPartition]uint64{}}
	var err error
	if w.server, err = clickhouse.Open(w.options("")); err != nil {
		return nil, fault.Usage(fmt.Errorf("open warehouse %s: %w", config.Addr, err))
	}
	if w.data, err = clickhouse.Open(w.options(config.Database)); err != nil {
		return nil, errors.Join(fault.Usage(fmt.Errorf("open warehouse %s: %w", config.Addr, err)), w.server.Close())
	}
	if err := w.Ping(ctx); err != nil {
		if errors.Is(err, ErrAway) {
			err = fault.Environment(err)
		}
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

func (c Config) check() error {
	var problems []error
	host, port, err := net.SplitHostPort(c.Addr)
	if err != nil || host == "" {
		problems = append(problems, fmt.Errorf("address %q is not host:port, such as ch.example.org:8123", c.Addr))
	} else if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		problems = append(problems, fmt.Errorf("port %q of address %q is not a number from 1 to 65535", port, c.Addr))
	}
	if strings.ContainsAny(c.Database, "`\\\x00\n") {
		problems = append(problems, fmt.Errorf("database %q holds a character that no database should be named with", c.Database))
	}
	if c.MaxOpenConns < 1 {
		problems = append(problems, fmt.Errorf("max open connections is %d, at least 1 is needed", c.MaxOpenConns))
	}
	return errors.Join(problems...)
}

func (w *Warehouse) options(database string) *clickhouse.Options {
	c := w.config
	return &clickhouse.Options{
		Protocol:     clickhouse.HTTP,
		Addr:         []string{c.Addr},
		Auth:         clickhouse.Auth{Database: database, Username: c.User, Password: c.Password.Reveal()},
		TLS:          c.TLS,
		DialTimeout:  dialTimeout,
		ReadTimeout:  readTimeout,
		MaxOpenConns: c.MaxOpenConns,
		MaxIdleConns: c.MaxOpenConns,
		Settings:     pins(),
		// The driver makes a transport for each of its connections and forgets the one of a connection that the server
		// refused. One of ours serves all and can be closed.
		TransportFunc: func(theirs *http.Transport) (http.RoundTripper, error) {
			w.transportMutex.Lock()
			defer w.transportMutex.Unlock()
			if w.transport == nil {
				w.transport = theirs.Clone()
				w.transport.MaxIdleConns, w.transport.MaxIdleConnsPerHost = c.MaxOpenConns, c.MaxOpenConns
			}
			return w.transport, nil
		},
		ClientInfo: clickhouse.ClientInfo{Products: []struct{ Name, Version string }{
			{Name: "headwater"},
		}},
	}
}

// pins are the settings that change what a statement means. Servers and user profiles set them differently, so every
// request says them.
func pins() clickhouse.Settings {
	return clickhouse.Settings{
		// One insert stays one block, whole and as sent (PROTOCOL, "One insert is one block").
		"async_insert":                  0, // on by default in newer servers: blocks of several inserts would be joined
		"optimize_on_insert":            0, // on by default: rows of one key would collapse inside the insert
		"insert_deduplicate":            1,
		"input_format_parallel_parsing": 0,
		"max_insert_block_size":         oneBlockRows,
		"min_insert_block_size_rows":    oneBlockRows,
		"min_insert_block_size_bytes":   0, // off: only the number of rows could cut a block, and no insert has as many
		// How values are read and joined.
		"input_format_null_as_default":             1,
		"session_timezone":                         "",
		"join_use_nulls":                           0,
		"final":                                    0,
		"date_time_input_format":                   "basic",
		"output_format_json_quote_64bit_integers":  0,
		"output_format_json_quote_decimals":        0,
		"output_format_json_quote_denormals":       1,
		"max_partitions_per_insert_block":          100,
		"throw_on_max_partitions_per_insert_block": 1,
	}
}

// oneBlockRows is more than any insert has: neither the parser nor the squashing in front of the table cuts below it.
const oneBlockRows = 1 << 30

// optionalPins are pins that older servers refuse as unknown.
var optionalPins = map[string]any{
	"deduplicate_insert":             "enable", // newer servers: overrides insert_deduplicate
	"max_insert_block_size_bytes":    0,
	"use_strict_insert_block_limits": 0,
}

// Close ends all connections. Closing twice is harmless.
func (w *Warehouse) Close() error {
	err := errors.Join(w.server.Close(), w.data.Close())
	w.transportMutex.Lock()
	defer w.transportMutex.Unlock()
	if w.transport != nil {
		w.transport.CloseIdleConnections()
	}
	return err
}

// Database is the name of the database that holds the tables.
func (w *Warehouse) Database() string { return w.config.Database }

// Ping asks the server whether it answers and lets the user in.
func (w *Warehouse) Ping(ctx context.Context) error {
	var one uint8
	if err := w.server.QueryRow(ctx, "SELECT 1").Scan(&one); err != nil {
		return w.wrap(err, "reach warehouse")
	}
	return nil
}

// insertSettings returns the settings of one insert under a token.
func (w *Warehouse) insertSettings(ctx context.Context, token string) (clickhouse.Settings, error) {
	w.pinOnce.Lock()
	defer w.pinOnce.Unlock()
	if !w.pinned {
		var known []struct {
			Name string `ch:"name"`
		}
		names := make([]string, 0, len(optionalPins))
		for name := range optionalPins {
			names = append(names, name)
		}
		if err := w.server.Select(ctx, &known, "SELECT name FROM system.settings WHERE has({names:Array(String)}, name)",
			clickhouse.Named("names", names)); err != nil {
			return nil, w.wrap(err, "ask the warehouse for its settings")
		}
		w.optional = clickhouse.Settings{}
		for _, setting := range known {
			w.optional[setting.Name] = optionalPins[setting.Name]
		}
		w.pinned = true
	}
	settings := clickhouse.Settings{"insert_deduplication_token": token}
	for name, value := range w.optional {
		settings[name] = value
	}
	return settings, nil
}

// table quotes a table's full name.
func (w *Warehouse) table(name string) string {
	return quoteName(w.config.Database) + "." + quoteName(name)
}

func quoteName(name string) string {
	return "`" + strings.NewReplacer("\\", "\\\\", "`", "\\`").Replace(name) + "`"
}

func quoteNames(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = quoteName(name)
	}
	return strings.Join(quoted, ", ")
}

func quoteText(text string) string {
	return "'" + strings.NewReplacer("\\", "\\\\", "'", "\\'", "\n", "\\n").Replace(text) + "'"
}

// exec runs a statement without a result on the data connection.
func (w *Warehouse) exec(ctx context.Context, what, statement string, args ...any) error {
	return w.wrap(w.data.Exec(ctx, statement, args...), what)
}
