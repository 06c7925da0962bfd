// Package testkafka starts Apache Kafka for tests: real brokers in KRaft mode, each a Java process on loopback that is
// controller and broker in one. A broker can be stopped, killed, paused and started again on the same port and data.
//
// Nothing of it outlives the process that started it. Java must be installed, and Maven the first time, when the published
// artifacts are fetched into the cache folder; without them New fails and says what to install.
//
// A cluster answers on several listeners at once (Addresses, SecureAddresses). The plain one needs no login and is that of a
// super user; the others, which Options.Users turns on, log in and are bound by ACLs.
package testkafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/testca"
)

// Options for a cluster. The zero value is one broker without login.
type Options struct {
	Brokers int // 1 or 3; defaults to 1
	// Users may log in by SASL/PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512, with TLS and without, at the listeners that
	// SecureAddresses names. With any, who logs in there may do only what ACLs allow.
	Users []User
	// Settings are added to those of every broker, or replace them.
	Settings map[string]string
	// Dir holds the cluster's data and logs and is left there. Defaults to a temporary folder, which Close removes.
	Dir string
}

// User is a login.
type User struct{ Name, Password string }

// Cluster is a running cluster. Its methods may be called from any goroutine; those of one Broker not at the same time.
type Cluster struct {
	Brokers []*Broker
	CA      *testca.Authority // signs the listeners' certificates and those of clients; nil without Options.Users

	options   Options
	dir       string
	archives  string
	transport *kafka.Transport
	close     func() error
}

// Broker is one node of a cluster.
type Broker struct {
	ID      int
	cluster *Cluster
	ports   map[string]int // by listener
	dir     string
	jvm     *JVM // nil while stopped
}

// A listener's name tells what it asks of a client.
const (
	plainListener      = "PLAIN"  // nothing; also what brokers use among themselves
	controllerListener = "CTRL"   // no client's business
	tlsListener        = "TLS"    // that it trusts the authority
	mutualListener     = "MUTUAL" // a certificate of its own; the user is its common name
	saslListener       = "SASL"   // a login, unencrypted
	saslTLSListener    = "SASLTLS"
)

var protocols = map[string]string{
	plainListener: "PLAINTEXT", controllerListener: "PLAINTEXT", tlsListener: "SSL", mutualListener: "SSL",
	saslListener: "SASL_PLAINTEXT", saslTLSListener: "SASL_SSL",
}

// TB is what a test must be able to do; those of package testing can. That one is not imported, because programs start brokers, too,
// and would carry it with them.
type TB interface {
	Helper()
	Cleanup(func())
	Failed() bool
	Logf(format string, args ...any)
	Error(args ...any)
	Fatal(args ...any)
}

// Start starts a cluster that ends with the test; it fails the test when it cannot.
func Start(t TB, options Options) *Cluster {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Minute)
	defer stop()
	c, err := New(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, b := range c.Brokers {
				t.Logf("log of broker %d: %s", b.ID, b.logged())
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

var shared struct {
	sync.Mutex
	cluster *Cluster
	err     error
}

// Shared returns the process's one broker without login, started by the first who asks. TestMain must hand its tests to
// EndShared. A test that hurts its broker takes one of its own with Start.
func Shared(t TB) *Cluster {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.cluster == nil && shared.err == nil {
		ctx, stop := context.WithTimeout(context.Background(), 10*time.Minute)
		defer stop()
		shared.cluster, shared.err = New(ctx, Options{})
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.cluster
}

// EndShared wraps a package's tests: what Shared started ends after the last of them, before goleak looks.
func EndShared(m interface{ Run() int }) interface{ Run() int } { return endShared{m} }

type endShared struct{ tests interface{ Run() int } }

func (e endShared) Run() int {
	code := e.tests.Run()
	shared.Lock()
	defer shared.Unlock()
	if shared.cluster != nil {
		if err := shared.cluster.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return cmp.Or(code, 1)
		}
	}
	return code
}

// New starts a cluster and returns when clients are being answered by all of its brokers. Whoever called it calls Close.
func New(ctx context.Context, options Options) (_ *Cluster, err error) {
	options.Brokers = cmp.Or(options.Brokers, 1)
	if options.Brokers != 1 && options.Brokers != 3 {
		return nil, fault.Usage(fmt.Errorf("start Apache Kafka: %d brokers; 1 or 3 can be had", options.Brokers))
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("start Apache Kafka: %w", err)
		}
	}()
	if _, err := findJava(); err != nil { // before a long fetch
		return nil, err
	}
	artifacts, err := ParseArtifacts(kafkaArtifacts)
	if err != nil {
		return nil, err
	}
	c := &Cluster{options: options, dir: options.Dir, transport: &kafka.Transport{ClientID: "testkafka", MetadataTTL: 100 * time.Millisecond, DialTimeout: time.Second}}
	if c.archives, err = FetchArtifacts(ctx, "kafka", artifacts); err != nil {
		return nil, err
	}
	if c.dir == "" {
		if c.dir, err = os.MkdirTemp("", "headwater-kafka-"); err != nil {
			return nil, err
		}
	}
	c.close = sync.OnceValue(c.end)
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	listeners := []string{plainListener, controllerListener}
	if len(options.Users) > 0 {
		listeners = append(listeners, tlsListener, mutualListener, saslListener, saslTLSListener)
		if c.CA, err = testca.New(); err != nil {
			return nil, err
		}
	}
	ports, err := freePorts(options.Brokers * len(listeners))
	if err != nil {
		return nil, err
	}
	for id := 1; id <= options.Brokers; id++ {
		b := &Broker{ID: id, cluster: c, ports: map[string]int{}, dir: filepath.Join(c.dir, fmt.Sprintf("broker-%d", id))}
		for _, l := range listeners {
			b.ports[l], ports = ports[0], ports[1:]
		}
		c.Brokers = append(c.Brokers, b)
	}
	prepared := make(chan error)
	for _, b := range c.Brokers { // a quorum needs two of them to answer anything
		go func() { prepared <- errors.Join(b.format(ctx), b.launch()) }()
	}
	for range c.Brokers {
		err = errors.Join(err, <-prepared)
	}
	if err != nil {
		return nil, err
	}
	return c, c.Ready(ctx)
}

// freePorts returns ports that nobody listens on, below those that the system gives to outgoing connections: a broker that is
// dead for a while finds its own free when it comes back.
func freePorts(n int) ([]int, error) {
	var out []int
	for range 100 * n {
		port := 20000 + rand.IntN(12000)
		if slices.Contains(out, port) {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			return nil, err
		}
		if out = append(out, port); len(out) == n {
			return out, nil
		}
	}
	return nil, errors.New("no free ports from 20000 to 32000")
}

// Close ends all brokers at once and removes their data. Closing twice returns the same.
func (c *Cluster) Close() error { return c.close() }

func (c *Cluster) end() error {
	c.transport.CloseIdleConnections()
	for _, b := range c.Brokers {
		b.Kill()
	}
	if c.options.Dir != "" {
		return nil
	}
	return os.RemoveAll(c.dir)
}

// Addresses are the listeners that ask for no login, one of each broker.
func (c *Cluster) Addresses() []string { return c.addresses(plainListener) }

// SecureAddresses are the listeners that encrypt, or ask for a login (PLAIN, SCRAM-SHA-256, SCRAM-SHA-512), or both. With mutual,
// which goes with tls and without login, they demand a client's certificate; its common name is the user.
func (c *Cluster) SecureAddresses(tls, login, mutual bool) []string {
	switch {
	case mutual:
		return c.addresses(mutualListener)
	case tls && login:
		return c.addresses(saslTLSListener)
	case login:
		return c.addresses(saslListener)
	}
	return c.addresses(tlsListener)
}

func (c *Cluster) addresses(listener string) []string {
	var out []string
	for _, b := range c.Brokers {
		out = append(out, b.address(listener))
	}
	return out
}

func (b *Broker) address(listener string) string {
	return fmt.Sprintf("127.0.0.1:%d", b.ports[listener])
}

// Client is an administrator's client of the whole cluster; its connections are closed with the cluster.
func (c *Cluster) Client() *kafka.Client {
	return &kafka.Client{Addr: kafka.TCP(c.Addresses()...), Transport: c.transport, Timeout: 30 * time.Second}
}

// CreateTopic creates a topic, with a copy on every broker and settings given as name, value, name, value.
func (c *Cluster) CreateTopic(ctx context.Context, topic string, partitions int, settings ...string) error {
	config := kafka.TopicConfig{Topic: topic, NumPartitions: partitions, ReplicationFactor: len(c.Brokers)}
	for i := 0; i+1 < len(settings); i += 2 {
		config.ConfigEntries = append(config.ConfigEntries, kafka.ConfigEntry{ConfigName: settings[i], ConfigValue: settings[i+1]})
	}
	answer, err := c.Client().CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{config}})
	if err == nil {
		err = answer.Errors[topic]
	}
	if err != nil {
		return fmt.Errorf("create topic %s: %w", topic, err)
	}
	return nil
}

// Ready waits until all brokers that are not stopped answer and know each other. One that is paused does neither.
func (c *Cluster) Ready(ctx context.Context) error {
	var running []*Broker
	for _, b := range c.Brokers {
		if b.jvm != nil {
			running = append(running, b)
		}
	}
	for _, b := range running {
		if err := b.knows(ctx, running); err != nil {
			return err
		}
	}
	return nil
}

// knows waits until the broker answers and names the others, and a controller.
func (b *Broker) knows(ctx context.Context, others []*Broker) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	client := &kafka.Client{Addr: kafka.TCP(b.address(plainListener)), Transport: b.cluster.transport, Timeout: 10 * time.Second}
	for {
		meta, err := client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{}})
		if err == nil && meta.Controller.Host != "" && !slices.ContainsFunc(others, func(other *Broker) bool {
			return !slices.ContainsFunc(meta.Brokers, func(m kafka.Broker) bool { return m.ID == other.ID })
		}) {
			return nil
		}
		select {
		case <-b.jvm.Done():
			return fmt.Errorf("broker %d ended (%v): %s", b.ID, b.jvm.err, b.logged())
		case <-ctx.Done():
			return fmt.Errorf("broker %d does not answer: %w (%v): %s", b.ID, ctx.Err(), err, b.logged())
		case <-tick.C:
		}
	}
}

func (b *Broker) logged() string {
	text, err := os.ReadFile(b.dir + ".log")
	if err != nil {
		return err.Error()
	}
	return tail(string(text), 40)
}

// format writes the broker's settings and makes its storage.
func (b *Broker) format(ctx context.Context) error {
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return err
	}
	settings, err := b.settings()
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&text, "%s=%s\n", key, strings.ReplaceAll(settings[key], "\n", "\\n"))
	}
	if err := os.WriteFile(b.dir+".properties", []byte(text.String()), 0o600); err != nil {
		return err
	}
	arguments := []string{"format", "--ignore-formatted", "--cluster-id", "aGVhZHdhdGVyLXRlc3RzIQ", "--config", b.dir + ".properties"}
	for _, u := range b.cluster.options.Users {
		for _, m := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
			arguments = append(arguments, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s,iterations=4096]", m, u.Name, u.Password))
		}
	}
	return RunJava(ctx, b.cluster.archives, b.dir+".log", append([]string{"-Xmx128m"}, quiet...), "kafka.tools.StorageTool", arguments...)
}

// quiet keeps the brokers' logs to what has gone wrong.
var quiet = []string{"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true", "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS"}

func (b *Broker) settings() (map[string]string, error) {
	c := b.cluster
	replicas := fmt.Sprint(len(c.Brokers))
	var listeners, voters, securities []string
	for _, l := range slices.Sorted(maps.Keys(b.ports)) {
		listeners = append(listeners, l+"://"+b.address(l))
		securities = append(securities, l+":"+protocols[l])
	}
	for _, other := range c.Brokers {
		voters = append(voters, fmt.Sprintf("%d@%s", other.ID, other.address(controllerListener)))
	}
	out := map[string]string{
		"process.roles": "broker,controller", "node.id": fmt.Sprint(b.ID), "controller.quorum.voters": strings.Join(voters, ","),
		"listeners": strings.Join(listeners, ","), "listener.security.protocol.map": strings.Join(securities, ","),
		"advertised.listeners": strings.Join(slices.DeleteFunc(slices.Clone(listeners), func(l string) bool {
			return strings.HasPrefix(l, controllerListener+":")
		}), ","),
		"controller.listener.names": controllerListener, "inter.broker.listener.name": plainListener,
		"log.dirs": b.dir,
		// A topic that nobody made must be missing, as on a well-kept cluster.
		"auto.create.topics.enable":        "false",
		"offsets.topic.num.partitions":     "1",
		"offsets.topic.replication.factor": replicas, "transaction.state.log.replication.factor": replicas,
		"transaction.state.log.num.partitions": "1", "share.coordinator.state.topic.num.partitions": "1",
		"share.coordinator.state.topic.replication.factor": replicas,
		"transaction.state.log.min.isr":                    fmt.Sprint(min(2, len(c.Brokers))), "share.coordinator.state.topic.min.isr": "1",
		// Tests are many and short.
		"group.initial.rebalance.delay.ms": "0", "group.min.session.timeout.ms": "500",
		// A dead broker is noticed after its session.
		"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500", "replica.lag.time.max.ms": "4000",
		"controller.quorum.election.timeout.ms": "500", "controller.quorum.fetch.timeout.ms": "1000",
		// Brokers are many and small.
		"num.network.threads": "2", "num.io.threads": "2", "background.threads": "2", "log.cleaner.dedupe.buffer.size": "2097152",
		"log.cleaner.threads": "1", "log.segment.bytes": "67108864", "log.index.size.max.bytes": "1048576",
		"metadata.log.segment.bytes": "8388608",
	}
	if len(c.options.Users) > 0 {
		if err := b.secure(out); err != nil {
			return nil, err
		}
	}
	maps.Copy(out, c.options.Settings)
	return out, nil
}

// secure adds logins, certificates and ACLs. Brokers and administrators come by the plain listener, where everybody is
// ANONYMOUS.
func (b *Broker) secure(settings map[string]string) error {
	chain, key, err := b.cluster.CA.Issue("127.0.0.1")
	if err != nil {
		return err
	}
	login := "org.apache.kafka.common.security.plain.PlainLoginModule required"
	for _, u := range b.cluster.options.Users {
		login += fmt.Sprintf(" user_%s=%q", u.Name, u.Password)
	}
	maps.Copy(settings, map[string]string{
		"authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer", "super.users": "User:ANONYMOUS",
		"ssl.keystore.type": "PEM", "ssl.keystore.certificate.chain": string(chain), "ssl.keystore.key": string(key),
		"ssl.truststore.type": "PEM", "ssl.truststore.certificates": string(b.cluster.CA.Certificate()),
		"ssl.principal.mapping.rules":                                           "RULE:^.*CN=([^,]+).*$/$1/,DEFAULT",
		"listener.name." + strings.ToLower(mutualListener) + ".ssl.client.auth": "required",
	})
	for _, l := range []string{saslListener, saslTLSListener} {
		prefix := "listener.name." + strings.ToLower(l) + "."
		settings[prefix+"sasl.enabled.mechanisms"] = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"
		settings[prefix+"plain.sasl.jaas.config"] = login + ";"
		for _, m := range []string{"scram-sha-256", "scram-sha-512"} {
			settings[prefix+m+".sasl.jaas.config"] = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
		}
	}
	return nil
}

func (b *Broker) launch() (err error) {
	b.jvm, err = StartJVM(b.cluster.archives, b.dir+".log", append([]string{"-Xmx320m"}, quiet...), "kafka.Kafka", b.dir+".properties")
	return err
}

// Start starts a broker that was stopped or killed, on its port and data, and returns when it answers.
func (b *Broker) Start(ctx context.Context) error {
	if b.jvm != nil {
		return nil
	}
	if err := b.launch(); err != nil {
		return err
	}
	return b.knows(ctx, []*Broker{b})
}

// Stop ends the broker in good order: it gives its partitions to others first. It kills it when ctx ends before that.
func (b *Broker) Stop(ctx context.Context) error {
	if b.jvm == nil {
		return nil
	}
	b.jvm.Signal(syscall.SIGTERM)
	select {
	case <-b.jvm.Done():
		b.jvm = nil
		return nil
	case <-ctx.Done():
		b.Kill()
		return ctx.Err()
	}
}

// Kill ends the broker as kill -9 does.
func (b *Broker) Kill() {
	if b.jvm != nil {
		b.jvm.Kill()
		b.jvm = nil
	}
}

// Pause stops the broker where it stands (SIGSTOP); Resume lets it go on.
func (b *Broker) Pause() { b.signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (b *Broker) Resume() { b.signal(syscall.SIGCONT) }

func (b *Broker) signal(s syscall.Signal) {
	if b.jvm != nil {
		b.jvm.Signal(s)
	}
}

// Right is what an ACL allows a user of Options.Users.
type Right struct {
	User      string
	Operation kafka.ACLOperationType
	Topic     string // this one or Group
	Group     string
	Prefix    bool // the name is the beginning of names
}

func (r Right) entry() kafka.ACLEntry {
	e := kafka.ACLEntry{
		ResourceType: kafka.ResourceTypeTopic, ResourceName: r.Topic, ResourcePatternType: kafka.PatternTypeLiteral,
		Principal: "User:" + r.User, Host: "*", Operation: r.Operation, PermissionType: kafka.ACLPermissionTypeAllow,
	}
	if r.Group != "" {
		e.ResourceType, e.ResourceName = kafka.ResourceTypeGroup, r.Group
	}
	if r.Prefix {
		e.ResourcePatternType = kafka.PatternTypePrefixed
	}
	return e
}

// Grant gives rights and returns when the brokers know it.
func (c *Cluster) Grant(ctx context.Context, rights ...Right) error {
	request := &kafka.CreateACLsRequest{}
	for _, r := range rights {
		request.ACLs = append(request.ACLs, r.entry())
	}
	answer, err := c.Client().CreateACLs(ctx, request)
	if err == nil {
		err = errors.Join(answer.Errors...)
	}
	if err != nil {
		return fmt.Errorf("grant: %w", err)
	}
	for _, r := range rights {
		if err := c.awaitRight(ctx, r, true); err != nil {
			return fmt.Errorf("grant: %w", err)
		}
	}
	return nil
}

// Revoke takes a right away and returns when the brokers know it.
func (c *Cluster) Revoke(ctx context.Context, r Right) error {
	e := r.entry()
	answer, err := c.Client().DeleteACLs(ctx, &kafka.DeleteACLsRequest{Filters: []kafka.DeleteACLsFilter{{
		ResourceTypeFilter: e.ResourceType, ResourceNameFilter: e.ResourceName, ResourcePatternTypeFilter: e.ResourcePatternType,
		PrincipalFilter: e.Principal, HostFilter: e.Host, Operation: e.Operation, PermissionType: e.PermissionType,
	}}})
	if err == nil {
		for _, result := range answer.Results {
			err = errors.Join(err, result.Error)
		}
	}
	if err == nil {
		err = c.awaitRight(ctx, r, false)
	}
	if err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	return nil
}

func (c *Cluster) awaitRight(ctx context.Context, r Right, want bool) error {
	e := r.entry()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for _, b := range c.Brokers {
		client := &kafka.Client{Addr: kafka.TCP(b.address(plainListener)), Transport: c.transport, Timeout: 10 * time.Second}
		for {
			answer, err := client.DescribeACLs(ctx, &kafka.DescribeACLsRequest{Filter: kafka.ACLFilter{
				ResourceTypeFilter: e.ResourceType, ResourceNameFilter: e.ResourceName, ResourcePatternTypeFilter: e.ResourcePatternType,
				PrincipalFilter: e.Principal, HostFilter: e.Host, Operation: e.Operation, PermissionType: e.PermissionType,
			}})
			if err == nil {
				err = answer.Error
			}
			if err == nil && len(answer.Resources) > 0 == want {
				break
			}
			select {
			case <-ctx.Done():
				return errors.Join(ctx.Err(), err)
			case <-tick.C:
			}
		}
	}
	return nil
}
