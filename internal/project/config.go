package project

import (
	"time"

	"github.com/headwater-data/headwater/internal/secret"
	"github.com/headwater-data/headwater/internal/yamlfile"
	"github.com/headwater-data/headwater/pipeline/transform"
)

// Config is headwater.yaml.
type Config struct {
	Project   string                  `yaml:"project" required:"true" desc:"Name of the project: lower-case letters, digits and dashes."`
	Title     string                  `yaml:"title,omitempty" desc:"Name for people."`
	TimeZone  string                  `yaml:"time_zone,omitempty" desc:"Time zone of schedules, and of dates without one. Defaults to Asia/Shanghai."`
	Broker    BrokerConfig            `yaml:"broker,omitempty" desc:"The Kafka cluster. Without addresses, an embedded broker for first use and tests."`
	Warehouse WarehouseConfig         `yaml:"warehouse,omitempty" desc:"The ClickHouse server. Without an address, an embedded engine for first use and tests."`
	State     string                  `yaml:"state,omitempty" desc:"Folder for the embedded servers, generated keys and logs, relative to the project. Defaults to .headwater."`
	Keys      map[string]secret.Value `yaml:"keys,omitempty" desc:"Keys for hashing personal values, by name. Never remove a key whose hashes are in the warehouse. Without any, one is made and kept in the state folder."`
	Hashing   HashingConfig           `yaml:"hashing,omitempty" desc:"Which of the keys hashes personal values, and how."`
	Reference ReferenceConfig         `yaml:"reference,omitempty" desc:"Reference data that is kept elsewhere than in the folder reference."`
	Readers   map[string]ReaderConfig `yaml:"readers,omitempty" desc:"Who reads the warehouse for BI and sees a part of it, by name. headwater warehouse grants makes their users on a server."`
	Log       LogConfig               `yaml:"log,omitempty" desc:"What is logged, and how."`
	Limits    LimitsConfig            `yaml:"limits,omitempty" desc:"How much is done at once."`
}

// HashingConfig says which key hashes personal values, and how.
type HashingConfig struct {
	Key string   `yaml:"key,omitempty" desc:"Name of the key that hashes where a mapping names none: the newest one. Defaults to k1."`
	SM3 []string `yaml:"sm3,omitempty" desc:"Names of the keys under which values are hashed by HMAC-SM3; under all others by HMAC-SHA-256. A key keeps its algorithm: give a new one a new name."`
}

// ReferenceConfig names reference data outside the folder reference.
type ReferenceConfig struct {
	Regions string `yaml:"regions,omitempty" desc:"CSV list of all regions and their codes since 1981 (headwater reference import tells its forms). It adds to the regions that are built in. Defaults to reference/regions.csv, if it is there."`
}

// BrokerConfig says where Kafka is and how to log in.
type BrokerConfig struct {
	Addresses   []string       `yaml:"addresses,omitempty" desc:"Bootstrap addresses, host:port."`
	User        string         `yaml:"user,omitempty" desc:"User for SASL. Without one, no login."`
	Password    secret.Value   `yaml:"password,omitempty" desc:"Its password: ${env:NAME} or ${file:PATH}."`
	Mechanism   string         `yaml:"mechanism,omitempty" enum:"plain,scram-sha-256,scram-sha-512" desc:"SASL mechanism. Defaults to plain; use a scram mechanism where the cluster has one."`
	TLS         *TLSConfig     `yaml:"tls,omitempty" desc:"Encryption. An empty map {} is TLS with the system's authorities."`
	Partitions  int            `yaml:"partitions,omitempty" desc:"Partitions of a topic when Headwater creates it. Defaults to 4."`
	Replication int            `yaml:"replication,omitempty" desc:"Copies of a partition when Headwater creates a topic. Defaults to 3 with three or more addresses, else 1."`
	Session     time.Duration  `yaml:"session,omitempty" desc:"How long a process may be silent before its partitions go to others. Defaults to 6s, the least that Kafka allows by default."`
	Retention   *time.Duration `yaml:"retention,omitempty" desc:"How long raw batches are kept in Kafka, such as 30d. Defaults to 7d; 0 keeps them for ever."`
	TopicPrefix string         `yaml:"topic_prefix,omitempty" desc:"Beginning of all of the project's topics. Defaults to headwater."`
}

// WarehouseConfig says where ClickHouse is and how to log in.
type WarehouseConfig struct {
	Address  string       `yaml:"address,omitempty" desc:"HTTP interface: host:port (8123, or 8443 with TLS)."`
	Database string       `yaml:"database,omitempty" desc:"Database of the project's tables. Defaults to headwater."`
	User     string       `yaml:"user,omitempty" desc:"User. Defaults to default."`
	Password secret.Value `yaml:"password,omitempty" desc:"Its password: ${env:NAME} or ${file:PATH}."`
	TLS      *TLSConfig   `yaml:"tls,omitempty" desc:"Encryption. An empty map {} is TLS with the system's authorities."`
}

// TLSConfig names files of an encrypted connection, relative to the project. There is no switch to leave verification out:
// give the authority's certificate instead.
type TLSConfig struct {
	CA   string `yaml:"ca,omitempty" desc:"Certificates (PEM) of the authorities that are trusted. Defaults to the system's."`
	Cert string `yaml:"cert,omitempty" desc:"Own certificate (PEM), where the server asks for one."`
	Key  string `yaml:"key,omitempty" desc:"Key (PEM) of the own certificate."`
}

// ReaderConfig says what a reader sees.
type ReaderConfig struct {
	Title       string        `yaml:"title,omitempty" desc:"Name for people."`
	Region      string        `yaml:"region,omitempty" desc:"6-digit code of a region: the reader sees the rows of it and of what lies below it, by date. Without one, of all."`
	Sensitivity string        `yaml:"sensitivity,omitempty" enum:"public,internal,personal,sensitive-personal" desc:"Highest sensitivity of the fields that the reader sees. Defaults to internal."`
	Sources     []string      `yaml:"sources,omitempty" desc:"Sources whose account (ledger, runs, freshness, rows in quarantine by number) a reader of one region sees. A reader of all regions sees those of all sources."`
	MaxTime     time.Duration `yaml:"max_time,omitempty" desc:"How long one query may take. Defaults to 1m."`
	MaxMemory   int           `yaml:"max_memory_mib,omitempty" desc:"MiB of memory that one query may take. Defaults to 4096."`
	MaxRows     int           `yaml:"max_rows,omitempty" desc:"Rows that a result may have. Defaults to 10000000."`
	Queries     int           `yaml:"queries_per_hour,omitempty" desc:"Queries in an hour. Defaults to no bound."`
	QueryTime   time.Duration `yaml:"query_time_per_hour,omitempty" desc:"Time that all queries of an hour may take together. Defaults to no bound."`
}

// LogConfig says what is logged.
type LogConfig struct {
	Level  string `yaml:"level,omitempty" enum:"debug,info,warn,error" desc:"Least important level that is logged. Defaults to info."`
	Format string `yaml:"format,omitempty" enum:"text,json" desc:"text or json. Defaults to text on a terminal, else json."`
}

// LimitsConfig bounds what is done at once.
type LimitsConfig struct {
	Readers     int           `yaml:"readers,omitempty" desc:"Shards that are read side by side. Defaults to 2."`
	InFlightMiB int           `yaml:"in_flight_mib,omitempty" desc:"MiB of Arrow data in one flush; a flush ends with the batch that reaches it. Defaults to 40."`
	FlushRows   int           `yaml:"flush_rows,omitempty" desc:"Records that are loaded in one flush; a flush ends with the batch that reaches it. Defaults to 1000000."`
	FlushWait   time.Duration `yaml:"flush_wait,omitempty" desc:"How long a flush waits for more rows while the service runs. Defaults to 5s."`
}

// SourceConfig is one file of sources/.
type SourceConfig struct {
	Source    string         `yaml:"source" required:"true" desc:"Name of the source: lower-case letters, digits and dashes."`
	Title     string         `yaml:"title,omitempty" desc:"Name for people."`
	Owner     string         `yaml:"owner" required:"true" desc:"Department that owns the source: lower-case letters, digits and dashes. Its batches go to the topic headwater.raw.OWNER."`
	Connector string         `yaml:"connector" required:"true" desc:"Kind of system; headwater connectors lists them."`
	Config    yamlfile.Node  `yaml:"config,omitempty" desc:"The connector's options for the source as a whole."`
	Schedule  ScheduleConfig `yaml:"schedule,omitempty" desc:"When headwater start reads the source. Without it, only headwater run does. A text is short for {cron: …}."`
	OnGap     string         `yaml:"on_gap,omitempty" enum:"stop,continue" desc:"What loading does when Kafka has dropped batches that were not yet loaded. Defaults to stop."`
	Topic     string         `yaml:"topic,omitempty" desc:"Topic for the source's batches, instead of its owner's."`
	Sharing   *SharingConfig `yaml:"sharing,omitempty" desc:"The source's entry in the data-sharing list (数据共享需求清单): who provides what, how, on what ground and by when. headwater catalog shows the list."`
	Streams   []StreamConfig `yaml:"streams" required:"true" desc:"What is read from the source."`
}

// StreamConfig is one stream of a source.
type StreamConfig struct {
	Name   string                 `yaml:"name" required:"true" desc:"Name of the stream, unique within the source: lower-case letters, digits, dashes and underscores."`
	Read   yamlfile.Node          `yaml:"read,omitempty" desc:"The connector's options for the stream."`
	Keep   []string               `yaml:"keep,omitempty" desc:"Columns that are kept for the quarantine beside those that the mapping names. Others never leave the process."`
	Filter []transform.FilterSpec `yaml:"filter,omitempty" desc:"Rows to leave out, each by a named rule."`
	Map    transform.Spec         `yaml:"map" required:"true" desc:"How rows become records of a standard schema."`
}

// ScheduleConfig says when a source is read by the service. Exactly one of Cron, Every and Continuous is set, or none.
type ScheduleConfig struct {
	Cron       string        `yaml:"cron,omitempty" desc:"Minute, hour, day, month and weekday, such as \"30 6 * * *\"."`
	Every      time.Duration `yaml:"every,omitempty" desc:"Time from the end of one run to the beginning of the next, such as 15m."`
	Continuous bool          `yaml:"continuous,omitempty" desc:"Read again as soon as a run has ended."`
	Zone       string        `yaml:"zone,omitempty" desc:"Time zone of cron. Defaults to the project's."`
	CatchUp    *bool         `yaml:"catch_up,omitempty" desc:"Run once after a downtime in which runs were missed. Defaults to true."`
	Retries    *int          `yaml:"retries,omitempty" desc:"Times that a failed run is tried again, with growing pauses. Defaults to 3."`
}

// UnmarshalShorthand takes a bare text as a cron expression.
func (s *ScheduleConfig) UnmarshalShorthand(text string) bool {
	s.Cron = text
	return true
}

// IsZero reports whether the source is read by hand only.
func (s ScheduleConfig) IsZero() bool { return s.Cron == "" && s.Every == 0 && !s.Continuous }

const (
	defaultZone     = "Asia/Shanghai"
	defaultState    = ".headwater"
	defaultDatabase = "headwater"
	defaultPrefix   = "headwater."
)

// withDefaults fills in what the file leaves out.
func (c Config) withDefaults() Config {
	fill(&c.TimeZone, defaultZone)
	fill(&c.State, defaultState)
	fill(&c.Warehouse.Database, defaultDatabase)
	fill(&c.Warehouse.User, "default")
	fill(&c.Broker.Mechanism, "plain")
	fill(&c.Broker.TopicPrefix, defaultPrefix)
	fill(&c.Broker.Partitions, 4)
	fill(&c.Broker.Replication, replication(len(c.Broker.Addresses)))
	if c.Broker.Retention == nil {
		week := 7 * 24 * time.Hour
		c.Broker.Retention = &week
	}
	fill(&c.Hashing.Key, transform.DefaultKey)
	fill(&c.Log.Level, "info")
	fill(&c.Limits.Readers, 2)
	fill(&c.Limits.InFlightMiB, 40)
	fill(&c.Limits.FlushRows, 1_000_000)
	fill(&c.Broker.Session, 6*time.Second)
	fill(&c.Limits.FlushWait, 5*time.Second)
	return c
}

func replication(brokers int) int {
	if brokers >= 3 {
		return 3
	}
	return 1
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
