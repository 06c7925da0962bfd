package sql

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/invopop/jsonschema"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/internal/secret"
)

// Limits keep reading from hurting the department's system (`config:`).
type Limits struct {
	Connections      int           `yaml:"connections,omitempty" json:"connections,omitempty" desc:"Most connections at a time. Defaults to 2."`
	StatementTimeout time.Duration `yaml:"statement_timeout,omitempty" json:"statement_timeout,omitempty" desc:"How long one statement may take; reading is cut into statements of at most 50000 rows. Defaults to 10m."`
	NetworkTimeout   time.Duration `yaml:"network_timeout,omitempty" json:"network_timeout,omitempty" desc:"How long the server may be silent while it owes an answer, before the connection is given up and reading is tried again. Defaults to 2m; statement_timeout is a good upper bound."`
	RowsPerSecond    int           `yaml:"rows_per_second,omitempty" json:"rows_per_second,omitempty" desc:"Most rows read in a second, over all streams together. Defaults to no limit."`
	Hours            string        `yaml:"hours,omitempty" json:"hours,omitempty" desc:"Time of day in which the system may be read, such as 22:00-06:00. Reading stops at its end and goes on from there in the next one. Defaults to all day."`
	Zone             string        `yaml:"zone,omitempty" json:"zone,omitempty" desc:"Time zone of hours. Defaults to Asia/Shanghai."`
}

// TLS names files of an encrypted connection, relative to the project. There is no switch to leave verification out: give the
// authority's certificate instead.
type TLS struct {
	CA   string `yaml:"ca,omitempty" json:"ca,omitempty" desc:"Certificates (PEM) of the authorities that are trusted. Defaults to the system's."`
	Cert string `yaml:"cert,omitempty" json:"cert,omitempty" desc:"Own certificate (PEM), where the server asks for one."`
	Key  string `yaml:"key,omitempty" json:"key,omitempty" desc:"Key (PEM) of the own certificate."`
	Name string `yaml:"name,omitempty" json:"name,omitempty" desc:"Name that the server's certificate must bear. Defaults to host."`
}

// ServerConfig says where a database server is and how to log in (`config:`).
type ServerConfig struct {
	Host     string       `yaml:"host" json:"host" required:"true" desc:"Name or address of the server."`
	Port     int          `yaml:"port,omitempty" json:"port,omitempty" desc:"Its port. Defaults to 5432 for PostgreSQL, 3306 for MariaDB and MySQL."`
	Database string       `yaml:"database" json:"database" required:"true" desc:"Name of the database."`
	User     string       `yaml:"user" json:"user" required:"true" desc:"User. It needs the right to SELECT and no other."`
	Password secret.Value `yaml:"password,omitempty" json:"password,omitempty" desc:"Its password: ${env:NAME} or ${file:PATH}."`
	TLS      *TLS         `yaml:"tls,omitempty" json:"tls,omitempty" desc:"Encryption. An empty map {} is TLS with the system's authorities. Without it the connection is not encrypted."`
	Limits   `yaml:",inline"`
}

// Options say what a stream is and how it is read (`read:`).
type Options struct {
	Table   string         `yaml:"table,omitempty" json:"table,omitempty" desc:"Table or view, with its schema where it is not found without (public.cases). Either table or query is needed."`
	Query   string         `yaml:"query,omitempty" json:"query,omitempty" desc:"One SELECT statement instead of a table. It runs as a subquery, so that key, watermark and where apply to its columns. :name stands for a value of params."`
	Params  map[string]any `yaml:"params,omitempty" json:"params,omitempty" desc:"Values of the placeholders :name in query and where: texts, numbers or booleans. They travel beside the statement, never in its text."`
	Columns Names          `yaml:"columns,omitempty" json:"columns,omitempty" desc:"Columns that are read. Defaults to all."`
	Where   string         `yaml:"where,omitempty" json:"where,omitempty" desc:"Condition that rows must meet, in the database's SQL. It is checked by the database. :name stands for a value of params."`

	Key       Names         `yaml:"key,omitempty" json:"key,omitempty" desc:"Columns that tell rows apart and by which reading is ordered and resumed. Defaults to the primary key, else a unique index without nulls. Without any, reading goes by physical position (tables) or in one sorted pass (views, queries), and starts over when it was interrupted and the table has changed."`
	Watermark string        `yaml:"watermark,omitempty" json:"watermark,omitempty" desc:"Column (a time or a number) that grows with every change of a row: only rows at or above what was read are read again. Defaults to none: every reading is of the whole table, and replaces what was read before."`
	Lookback  string        `yaml:"lookback,omitempty" json:"lookback,omitempty" desc:"How far below the watermark rows may still appear because their transaction committed late: a duration (10m) or a number. When the rows in that window have changed it is read again. Defaults to 10m for times, 0 for numbers."`
	Deleted   string        `yaml:"deleted,omitempty" json:"deleted,omitempty" desc:"Column that marks rows as deleted: true, a number other than 0, or any value of another type. Needs a watermark that changes when rows are marked."`
	FullEvery time.Duration `yaml:"full_every,omitempty" json:"full_every,omitempty" desc:"With watermark: how often the whole table is read, so that rows which are gone are noticed, such as 7d; defaults to never. Without: the least time between two readings; defaults to every time that anything has changed."`
	Unchanged string        `yaml:"unchanged,omitempty" json:"unchanged,omitempty" enum:"skip,read" desc:"What a reading of a whole table does that has not changed. skip lets the database compute a checksum over the rows first; read reads the table each time. Defaults to skip."`
	Split     *Split        `yaml:"split,omitempty" json:"split,omitempty" desc:"Cut the table into ranges of the first key column, which are read side by side and each resumed by itself."`
	Changes   *Changes      `yaml:"changes,omitempty" json:"changes,omitempty" desc:"Read the table once, and from then on every insert, update, delete and truncate from the server's log, in its order. PostgreSQL (logical replication) needs wal_level = logical, a publication and a user with REPLICATION; MariaDB a binlog with binlog_format = ROW and a user with REPLICATION SLAVE and BINLOG MONITOR. An empty map {} will do for MariaDB."`
}

// Split says where a table is cut. The bounds are part of the shards' names, and stand as long as the option is not changed: a
// table that grows gets more shards, and no row ever moves from one to another.
type Split struct {
	Width int64  `yaml:"width,omitempty" json:"width,omitempty" desc:"For a key of whole numbers: each shard takes as many values of the key, from multiples of width."`
	At    []any  `yaml:"at,omitempty" json:"at,omitempty" desc:"For any key: the values at which a new shard begins, in the database's order."`
	By    string `yaml:"by,omitempty" json:"by,omitempty" desc:"Column that is cut. Defaults to the first column of the key, and only helps when an index begins with it."`
}

// Names is one name or a list of names in YAML.
type Names []string

// UnmarshalYAML accepts a text or a list of texts.
func (n *Names) UnmarshalYAML(decode func(any) error) error {
	var list []string
	if err := decode(&list); err == nil {
		*n = list
		return nil
	}
	var one string
	if err := decode(&one); err != nil {
		return fmt.Errorf("want a name or a list of names")
	}
	*n = Names{one}
	return nil
}

// JSONSchema describes both forms to editors.
func (Names) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{{Type: "string"}, {Type: "array", Items: &jsonschema.Schema{Type: "string"}}}}
}

const (
	defaultConnections      = 2
	defaultStatementTimeout = 10 * time.Minute
	defaultNetworkTimeout   = 2 * time.Minute
	defaultLookback         = 10 * time.Minute
	defaultZone             = "Asia/Shanghai"
	maxShards               = 1024
)

// ReplacesContent reports whether a reading replaces what was read before; whoever checks the mapping asks.
func (o *Options) ReplacesContent() bool { return o.Watermark == "" || o.FullEvery > 0 } // changes, too, have an order of their own

func (l *Limits) check() (faults []connectors.OptionFault) {
	fault := func(option, message, fix string) {
		faults = append(faults, connectors.OptionFault{Path: []string{option}, Message: message, Fix: fix})
	}
	if l.Connections < 0 || l.Connections > 64 {
		fault("connections", fmt.Sprintf("%d is out of range", l.Connections), "use 1 to 64")
	}
	for option, d := range map[string]time.Duration{"statement_timeout": l.StatementTimeout, "network_timeout": l.NetworkTimeout} {
		if d < 0 || d > 0 && d < time.Second {
			fault(option, "the time is negative or shorter than a second", "write it as 90s or 10m")
		}
	}
	if l.RowsPerSecond < 0 {
		fault("rows_per_second", "the number is negative", "")
	}
	if _, err := parseHours(l.Hours, l.Zone); err != nil {
		fault("hours", err.Error(), "write it as 22:00-06:00")
	}
	return faults
}

// check finds all faults of a stream's options without asking the database.
func (o *Options) check(stream string) (faults []connectors.OptionFault) {
	fault := func(option, message, fix string) {
		faults = append(faults, connectors.OptionFault{Stream: stream, Path: []string{option}, Message: message, Fix: fix})
	}
	switch {
	case o.Table == "" && o.Query == "":
		fault("table", "neither table nor query", "name a table")
	case o.Table != "" && o.Query != "":
		fault("query", "both table and query", "leave one out")
	}
	if o.Table != "" && slices.Contains(strings.Split(o.Table, "."), "") {
		fault("table", fmt.Sprintf("%q is not the name of a table", o.Table), "write it as table or schema.table")
	}
	used := map[string]bool{}
	for option, text := range map[string]string{"query": o.Query, "where": o.Where} {
		if text == "" {
			continue
		}
		parts, err := parseStatement(text)
		if err != nil {
			fault(option, err.Error(), "")
			continue
		}
		if option == "query" && !strings.EqualFold(parts.first, "select") && !strings.EqualFold(parts.first, "with") {
			fault(option, "the query does not begin with SELECT or WITH", "only reading is allowed")
		}
		for _, name := range parts.names {
			used[name] = true
			if _, ok := o.Params[name]; !ok {
				fault(option, fmt.Sprintf("the placeholder :%s has no value", name), "give it one under params")
			}
		}
	}
	for name, value := range o.Params {
		if !used[name] {
			fault("params", fmt.Sprintf("the value %s is used nowhere", name), "remove it, or write :"+name+" in query or where")
		}
		if _, err := paramText(value); err != nil {
			fault("params", fmt.Sprintf("%s: %v", name, err), "use a text, a number or a boolean")
		}
	}
	for option, names := range map[string][]string{"columns": o.Columns, "key": o.Key} {
		seen := map[string]bool{}
		for _, name := range names {
			if name == "" || seen[name] {
				fault(option, fmt.Sprintf("the column %q is empty or there twice", name), "")
			}
			seen[name] = true
		}
	}
	if _, _, err := parseLookback(o.Lookback); err != nil {
		fault("lookback", err.Error(), "write it as 10m or 1000")
	}
	if o.Watermark == "" {
		if o.Lookback != "" {
			fault("lookback", "there is no watermark to look back from", "name the watermark's column, or leave it out")
		}
		if o.Deleted != "" {
			fault("deleted", "without a watermark every reading is of the whole table, and rows that are gone from it are deleted", "name the watermark's column, or filter deleted rows with where")
		}
	} else if o.Unchanged != "" {
		fault("unchanged", "applies to readings of whole tables, and there is a watermark", "leave it out")
	}
	if o.FullEvery < 0 {
		fault("full_every", "the time is negative", "")
	}
	if s := o.Split; s != nil {
		if (s.Width == 0) == (len(s.At) == 0) {
			fault("split", "needs one of width and at", "")
		}
		if s.Width < 0 {
			fault("split", "the width is negative", "")
		}
		if len(s.At) >= maxShards {
			fault("split", fmt.Sprintf("%d bounds", len(s.At)), fmt.Sprintf("at most %d", maxShards-1))
		}
		for _, bound := range s.At {
			if text, err := paramText(bound); err != nil || len(text) > 200 {
				fault("split", "a bound is not a short text or a number", "")
			}
		}
		if o.Table == "" && s.By == "" && len(o.Key) == 0 {
			fault("split", "it is not known which column of the query is cut", "name it with by, or name the key")
		}
		if o.Watermark != "" {
			fault("split", "a table with a watermark is read in the watermark's order and is not split", "leave one out")
		}
	}
	o.Changes.check(o, fault)
	slices.SortStableFunc(faults, func(a, b connectors.OptionFault) int {
		return cmp.Or(strings.Compare(a.Path[0], b.Path[0]), strings.Compare(a.Message, b.Message))
	})
	return faults
}

// paramText is the text of a value of params; the database converts it to what its place needs.
func paramText(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case int:
		return strconv.Itoa(v), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return "", fmt.Errorf("not a number")
		}
		return strconv.FormatFloat(v, 'g', -1, 64), nil
	}
	return "", fmt.Errorf("%T cannot be a value", value)
}

// parseLookback reads a duration or a number. Neither is set for the empty text.
func parseLookback(text string) (d time.Duration, n float64, err error) {
	if text == "" {
		return 0, 0, nil
	}
	if n, err := strconv.ParseFloat(text, 64); err == nil {
		if n < 0 || math.IsInf(n, 0) || math.IsNaN(n) {
			return 0, 0, fmt.Errorf("%q is not a number of 0 or more", text)
		}
		return 0, n, nil
	}
	days := time.Duration(0)
	if before, rest, ok := strings.Cut(text, "d"); ok {
		n, err := strconv.Atoi(before)
		if err != nil || n < 0 || n > 36500 {
			return 0, 0, fmt.Errorf("%q is neither a duration nor a number", text)
		}
		days, text = time.Duration(n)*24*time.Hour, cmp.Or(rest, "0")
	}
	d, err = time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, 0, fmt.Errorf("%q is neither a duration nor a number", text)
	}
	return d + days, 0, nil
}

// hours is a time of day, from and to in minutes since midnight. The zero value is all day.
type hours struct {
	from, to int
	zone     *time.Location
}

func parseHours(text, zone string) (hours, error) {
	location, err := time.LoadLocation(cmp.Or(zone, defaultZone))
	if err != nil {
		return hours{}, fmt.Errorf("unknown time zone %q", zone)
	}
	if text == "" {
		return hours{zone: location}, nil
	}
	from, to, ok := strings.Cut(text, "-")
	a, errA := time.Parse("15:04", strings.TrimSpace(from))
	b, errB := time.Parse("15:04", strings.TrimSpace(to))
	if !ok || errA != nil || errB != nil || a.Equal(b) {
		return hours{}, fmt.Errorf("%q is no time of day", text)
	}
	return hours{from: a.Hour()*60 + a.Minute(), to: b.Hour()*60 + b.Minute(), zone: location}, nil
}

// open reports whether the time lies within.
func (h hours) open(at time.Time) bool {
	if h.from == h.to {
		return true
	}
	at = at.In(h.zone)
	minute := at.Hour()*60 + at.Minute()
	if h.from < h.to {
		return minute >= h.from && minute < h.to
	}
	return minute >= h.from || minute < h.to
}
