// Package topic is the broker as Headwater uses it: topics that it creates and checks itself, partitions that are written one
// acknowledged record at a time and read by offset, and consumer groups whose offset commits carry metadata and are refused
// when their generation is past.
package topic

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/secret"
	"github.com/headwater-data/headwater/pipeline/message"
)

// Config says how the broker is reached and how topics are made.
type Config struct {
	Addresses []string // host:port, at least one
	User      string   // "" for no authentication
	Password  secret.Value
	Mechanism string      // plain, scram-sha-256, scram-sha-512; defaults to plain
	TLS       *tls.Config // nil for none
	ClientID  string
	// Instance names who joins groups: of one instance, one process at a time does, and Evict throws out the members that
	// processes before it have left behind. It becomes a part of the client's id. "" for who joins none.
	Instance string

	Partitions  int           // of new raw topics; defaults to 4
	Replication int           // of new topics; defaults to 1. 2 or more demand min.insync.replicas of at least 2
	Retention   time.Duration // of raw topics; defaults to 7 days; negative for ever

	// SessionTimeout is how long a member of a group may be silent before its partitions go to others. Defaults to 10 s.
	SessionTimeout time.Duration
	Logger         *slog.Logger
}

// Client talks to one cluster. It is safe for concurrent use.
type Client struct {
	cfg       Config
	kafka     *kafka.Client
	transport *kafka.Transport
	mechanism sasl.Mechanism
	stop      context.CancelFunc
	wasMember atomic.Bool // of any group
}

// Open makes a client; it does not connect yet.
func Open(cfg Config) (*Client, error) {
	if len(cfg.Addresses) == 0 {
		return nil, fault.Usage(errors.New("no broker address"))
	}
	if cfg.Partitions == 0 {
		cfg.Partitions = 4
	}
	if cfg.Replication == 0 {
		cfg.Replication = 1
	}
	if cfg.Retention == 0 {
		cfg.Retention = 7 * 24 * time.Hour
	}
	if cfg.SessionTimeout == 0 {
		cfg.SessionTimeout = 10 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Instance != "" {
		cfg.ClientID += "-" + cfg.Instance
	}
	var mechanism sasl.Mechanism
	if cfg.User != "" {
		var err error
		switch strings.ToLower(cfg.Mechanism) {
		case "", "plain":
			mechanism = plain.Mechanism{Username: cfg.User, Password: cfg.Password.Reveal()}
		case "scram-sha-256":
			mechanism, err = scram.Mechanism(scram.SHA256, cfg.User, cfg.Password.Reveal())
		case "scram-sha-512":
			mechanism, err = scram.Mechanism(scram.SHA512, cfg.User, cfg.Password.Reveal())
		default:
			err = fmt.Errorf("unknown SASL mechanism %q; known: plain, scram-sha-256, scram-sha-512", cfg.Mechanism)
		}
		if err != nil {
			return nil, fault.Usage(err)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	transport := &kafka.Transport{
		ClientID: cfg.ClientID, TLS: cfg.TLS, SASL: mechanism, Context: ctx,
		DialTimeout: 5 * time.Second, MetadataTTL: 5 * time.Second,
	}
	return &Client{
		cfg:       cfg,
		kafka:     &kafka.Client{Addr: kafka.TCP(cfg.Addresses...), Transport: transport, Timeout: 30 * time.Second},
		transport: transport,
		mechanism: mechanism,
		stop:      stop,
	}, nil
}

// Close releases the connections. Nothing else may be running.
func (c *Client) Close() error {
	c.stop()
	c.transport.CloseIdleConnections()
	return nil
}

// needs says which right a refusal is about, as the operator grants it.
func (c *Client) needs(err error, operation, kind, name string) error {
	if !errors.Is(err, kafka.TopicAuthorizationFailed) && !errors.Is(err, kafka.GroupAuthorizationFailed) && !errors.Is(err, kafka.ClusterAuthorizationFailed) {
		return err
	}
	user := "the user"
	if c.cfg.User != "" {
		user = "User:" + c.cfg.User
	}
	return fmt.Errorf("%s needs the right %s on %s %s: %w", user, operation, kind, name, err)
}

// Classify marks an error of the broker by what to do about it: what kafka-go calls temporary, and whatever befell the
// connection, is worth another try; a refused login or right is for the operator.
func Classify(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, kafka.SASLAuthenticationFailed):
		return fault.Environment(fmt.Errorf("the broker refused the login: check broker.user and broker.password: %w", err))
	case errors.Is(err, kafka.IllegalSASLState), errors.Is(err, kafka.UnsupportedSASLMechanism):
		return fault.Environment(fmt.Errorf("the broker does not take such a login at this address: check broker.mechanism and broker.addresses: %w", err))
	case errors.Is(err, kafka.TopicAuthorizationFailed), errors.Is(err, kafka.GroupAuthorizationFailed), errors.Is(err, kafka.ClusterAuthorizationFailed):
		return fault.Environment(fmt.Errorf("the broker refused a right: grant it to the user in broker.user: %w", err))
	}
	if why, ok := untrusted(err); ok {
		return fault.Environment(fmt.Errorf("%s: %w", why, err))
	}
	if k, ok := errors.AsType[kafka.Error](err); ok {
		if k.Temporary() || k.Timeout() || k == kafka.Unknown {
			return fault.Transient(err)
		}
		return err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		// Some brokers close the connection instead of saying that they refuse a login, or that they expect TLS.
		return fault.Transient(fmt.Errorf("the broker closed the connection; if it goes on doing so, check broker.user, password, mechanism and tls: %w", err))
	}
	// Whatever befell the connection may pass. kafka-go reports a lost one in several untyped ways, so that an unknown error is
	// tried again too; the bound on tries turns it into a failure if it stays.
	return fault.Transient(err)
}

// untrusted tells what is wrong with an encrypted connection that waiting will not mend.
func untrusted(err error) (why string, ok bool) {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "the broker's certificate is not trusted: check broker.tls.ca and the addresses that the certificate names", true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "the broker does not speak TLS at this address: check broker.addresses and broker.tls", true
	}
	// crypto/tls keeps the type of an alert to itself.
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		return "the broker refused the encrypted connection: check broker.tls.cert and broker.tls.key", true
	}
	return "", false
}

// Ping asks the broker for its version, as the cheapest sign of life.
func (c *Client) Ping(ctx context.Context) error {
	_, err := c.kafka.ApiVersions(ctx, &kafka.ApiVersionsRequest{})
	if err != nil {
		return Classify(fmt.Errorf("reach the broker at %s: %w", strings.Join(c.cfg.Addresses, ", "), err))
	}
	return nil
}

// Spec is a topic as Headwater wants it.
type Spec struct {
	Name       string
	Partitions int  // 0 for the configured number
	Compact    bool // keep the newest record of each key instead of a time
}

// Ensure creates the topics that are missing and checks those that are there: a topic that cannot hold our batches, or whose
// broker may lose what it acknowledged (rule W7), is refused with what to set.
func (c *Client) Ensure(ctx context.Context, specs ...Spec) error {
	meta, err := c.kafka.Metadata(ctx, &kafka.MetadataRequest{Topics: names(specs)})
	if err != nil {
		return Classify(fmt.Errorf("list topics: %w", err))
	}
	there := map[string]kafka.Topic{}
	for _, t := range meta.Topics {
		if t.Error == nil && len(t.Partitions) > 0 {
			there[t.Name] = t
		}
	}
	var create []kafka.TopicConfig
	for _, s := range specs {
		if _, ok := there[s.Name]; ok {
			continue
		}
		create = append(create, c.topicConfig(s))
	}
	if len(create) > 0 {
		resp, err := c.kafka.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: create})
		if err != nil {
			return Classify(fmt.Errorf("create topics: %w", err))
		}
		for name, err := range resp.Errors {
			if err != nil && !errors.Is(err, kafka.TopicAlreadyExists) {
				return Classify(c.needs(fmt.Errorf("create topic %s, which is not there or may not be seen: %w (docs/kafka.md says how an administrator creates it)", name, err), "Create", "topic", name))
			}
		}
		if err := c.awaitTopics(ctx, specs); err != nil {
			return err
		}
	}
	return c.checkTopics(ctx, specs)
}

func names(specs []Spec) []string {
	out := make([]string, len(specs))
	for i, s := range specs {
		out[i] = s.Name
	}
	return out
}

func (c *Client) topicConfig(s Spec) kafka.TopicConfig {
	partitions := s.Partitions
	if partitions == 0 {
		partitions = c.cfg.Partitions
	}
	entries := []kafka.ConfigEntry{
		{ConfigName: "max.message.bytes", ConfigValue: strconv.Itoa(message.MaxValueBytes)},
	}
	if s.Compact {
		entries = append(entries, kafka.ConfigEntry{ConfigName: "cleanup.policy", ConfigValue: "compact"})
	} else {
		ms := c.cfg.Retention.Milliseconds()
		if c.cfg.Retention < 0 {
			ms = -1
		}
		entries = append(entries,
			kafka.ConfigEntry{ConfigName: "cleanup.policy", ConfigValue: "delete"},
			kafka.ConfigEntry{ConfigName: "retention.ms", ConfigValue: strconv.FormatInt(ms, 10)},
			kafka.ConfigEntry{ConfigName: "retention.bytes", ConfigValue: "-1"})
	}
	if c.cfg.Replication > 1 {
		entries = append(entries,
			kafka.ConfigEntry{ConfigName: "min.insync.replicas", ConfigValue: "2"},
			kafka.ConfigEntry{ConfigName: "unclean.leader.election.enable", ConfigValue: "false"})
	}
	return kafka.TopicConfig{Topic: s.Name, NumPartitions: partitions, ReplicationFactor: c.cfg.Replication, ConfigEntries: entries}
}

// awaitTopics waits until every broker that answers knows the topics and their leaders: a created topic is not yet usable.
func (c *Client) awaitTopics(ctx context.Context, specs []Spec) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		missing, err := c.missing(ctx, specs)
		if err == nil && missing == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}

func (c *Client) missing(ctx context.Context, specs []Spec) (string, error) {
	for _, s := range specs {
		partitions, err := c.Partitions(ctx, s.Name)
		if err != nil {
			return s.Name, err
		}
		for p := range partitions {
			if _, _, err := c.Bounds(ctx, s.Name, p); err != nil {
				return s.Name, err
			}
		}
	}
	return "", nil
}

func (c *Client) checkTopics(ctx context.Context, specs []Spec) error {
	req := &kafka.DescribeConfigsRequest{}
	for _, s := range specs {
		req.Resources = append(req.Resources, kafka.DescribeConfigRequestResource{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: s.Name,
			ConfigNames: []string{"max.message.bytes", "min.insync.replicas", "unclean.leader.election.enable", "cleanup.policy"},
		})
	}
	resp, err := c.kafka.DescribeConfigs(ctx, req)
	if err != nil {
		return Classify(fmt.Errorf("read topic settings: %w", err))
	}
	meta, err := c.kafka.Metadata(ctx, &kafka.MetadataRequest{Topics: names(specs)})
	if err != nil {
		return Classify(fmt.Errorf("list topics: %w", err))
	}
	replicated := map[string]bool{}
	for _, t := range meta.Topics {
		replicated[t.Name] = len(t.Partitions) > 0 && len(t.Partitions[0].Replicas) > 1
	}
	var faults []error
	for _, r := range resp.Resources {
		if r.Error != nil {
			return Classify(c.needs(fmt.Errorf("read settings of topic %s: %w", r.ResourceName, r.Error), "DescribeConfigs", "topic", r.ResourceName))
		}
		set := func(key, want string) {
			faults = append(faults, fmt.Errorf("topic %s: set %s to %s (kafka-configs.sh --alter --topic %s --add-config %s=%s)", r.ResourceName, key, want, r.ResourceName, key, want))
		}
		for _, e := range r.ConfigEntries {
			of := slices.IndexFunc(specs, func(s Spec) bool { return s.Name == r.ResourceName })
			if want := wanted(e.ConfigName, e.ConfigValue, replicated[r.ResourceName], of >= 0 && specs[of].Compact); want != "" {
				set(e.ConfigName, want)
			}
		}
	}
	if len(faults) > 0 {
		return fault.Environment(errors.Join(faults...))
	}
	return nil
}

// wanted says what a setting of a topic must be if it cannot stay as it is (W7), else "".
func wanted(name, value string, replicated, compact bool) string {
	n, err := strconv.Atoi(value)
	switch {
	case name == "max.message.bytes" && err == nil && n < message.MaxValueBytes:
		return strconv.Itoa(message.MaxValueBytes)
	case name == "min.insync.replicas" && err == nil && n < 2 && replicated:
		return "2"
	case name == "unclean.leader.election.enable" && strings.EqualFold(value, "true") && replicated:
		return "false"
	case name == "cleanup.policy" && !compact && strings.Contains(value, "compact"):
		return "delete"
	}
	return ""
}

// ErrUnknown says that the broker does not know the topic.
var ErrUnknown = errors.New("the broker does not know it")

// Partitions returns how many partitions the topic has; the error is ErrUnknown when there is no such topic.
func (c *Client) Partitions(ctx context.Context, name string) (int, error) {
	meta, err := c.kafka.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{name}})
	if err != nil {
		return 0, Classify(fmt.Errorf("look up topic %s: %w", name, err))
	}
	for _, t := range meta.Topics {
		if t.Name == name {
			if errors.Is(t.Error, kafka.UnknownTopicOrPartition) {
				return 0, fmt.Errorf("look up topic %s: %w (%w)", name, ErrUnknown, t.Error)
			}
			if t.Error != nil {
				return 0, Classify(fmt.Errorf("look up topic %s: %w", name, t.Error))
			}
			return len(t.Partitions), nil
		}
	}
	return 0, fmt.Errorf("look up topic %s: %w", name, ErrUnknown)
}

// Bounds returns the offset of the first record that the partition still has and that of the next one it will get.
func (c *Client) Bounds(ctx context.Context, name string, partition int) (first, next int64, err error) {
	resp, err := c.kafka.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{
		name: {kafka.FirstOffsetOf(partition), kafka.LastOffsetOf(partition)},
	}})
	if err != nil {
		return 0, 0, Classify(fmt.Errorf("ask for the bounds of %s/%d: %w", name, partition, err))
	}
	for _, p := range resp.Topics[name] {
		if p.Partition == partition {
			if p.Error != nil {
				return 0, 0, Classify(c.needs(fmt.Errorf("ask for the bounds of %s/%d: %w", name, partition, p.Error), "Describe (Read and Write imply it)", "topic", name))
			}
			return p.FirstOffset, p.LastOffset, nil
		}
	}
	return 0, 0, fault.Transient(fmt.Errorf("ask for the bounds of %s/%d: no answer for it", name, partition))
}
