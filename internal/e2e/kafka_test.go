package e2e

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/headwater-data/headwater/internal/testkafka"
)

// TestLeastRightsOnApacheKafka: with exactly the rights of docs/kafka.md a run works, and with any one of them missing it ends
// with exit code 3 and a message that names it.
func TestLeastRightsOnApacheKafka(t *testing.T) {
	t.Parallel()
	user := testkafka.User{Name: "headwater", Password: rand.Text()}
	c := testkafka.Start(t, testkafka.Options{Users: []testkafka.User{user}})
	p := newProject(t, map[string]string{
		"headwater.yaml": fmt.Sprintf(`project: rights
broker:
  addresses: [%q]
  user: headwater
  password: "${env:BROKER_PASSWORD}"
  mechanism: scram-sha-512
  tls: {ca: ca.pem}
  partitions: 1
`, c.SecureAddresses(true, true, false)[0]),
		"sources/figures.yaml": figuresYAML, "indicators/t.yaml": indicatorYAML, "ca.pem": string(c.CA.Certificate()),
	})
	p.env = []string{"BROKER_PASSWORD=" + user.Password}
	p.serve(t) // or each run would start the warehouse
	grant := func(rights ...testkafka.Right) {
		t.Helper()
		if err := c.Grant(t.Context(), rights...); err != nil {
			t.Fatal(err)
		}
	}
	rows := 0
	// run brings something new in each time, and must say what it lacks, if anything.
	run := func(t *testing.T, lacks string) {
		t.Helper()
		rows += 100
		p.write(t, "data/figures.csv", figures(0, rows))
		r := p.run(t, nil, "run")
		if strings.Contains(r.err+r.out, user.Password) {
			t.Error("the password is shown")
		}
		if lacks == "" {
			code(t, r, 0)
			return
		}
		code(t, r, 3)
		says(t, r, "User:headwater needs the right "+lacks)
	}
	const raw, index, ingest, load = "headwater.raw.test", "headwater.cursors", "headwater.rights.ingest", "headwater.rights.load"
	least := []struct {
		testkafka.Right
		lacks string
	}{
		{testkafka.Right{Operation: kafka.ACLOperationTypeRead, Topic: raw}, "Read on topic " + raw},
		{testkafka.Right{Operation: kafka.ACLOperationTypeWrite, Topic: raw}, "Write on topic " + raw},
		{testkafka.Right{Operation: kafka.ACLOperationTypeDescribeConfigs, Topic: raw}, "DescribeConfigs on topic " + raw},
		{testkafka.Right{Operation: kafka.ACLOperationTypeRead, Topic: index}, "Read on topic " + index},
		{testkafka.Right{Operation: kafka.ACLOperationTypeWrite, Topic: index}, "Write on topic " + index},
		{testkafka.Right{Operation: kafka.ACLOperationTypeDescribeConfigs, Topic: index}, "DescribeConfigs on topic " + index},
		{testkafka.Right{Operation: kafka.ACLOperationTypeRead, Group: ingest}, "Read on group " + ingest},
		{testkafka.Right{Operation: kafka.ACLOperationTypeRead, Group: load}, "Read on group " + load},
	}
	run(t, "Create on topic headwater.") // what is there and may not be seen looks the same
	for i := range least {
		least[i].User = user.Name
		grant(least[i].Right)
	}
	t.Run("topics that are not there", func(t *testing.T) {
		run(t, "Create on topic headwater.")
		create := testkafka.Right{User: user.Name, Operation: kafka.ACLOperationTypeCreate, Topic: "headwater.", Prefix: true}
		grant(create)
		run(t, "")
		if err := c.Revoke(t.Context(), create); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("topics that are there need no right to create", func(t *testing.T) { run(t, "") })
	for _, l := range least {
		t.Run("without "+l.lacks, func(t *testing.T) {
			if err := c.Revoke(t.Context(), l.Right); err != nil {
				t.Fatal(err)
			}
			run(t, l.lacks)
			grant(l.Right)
		})
	}
	t.Run("with all of them again", func(t *testing.T) {
		run(t, "")
		e := expect(t, filepath.Join(p.dir, "data/figures.csv"))
		if got, want := p.one(t, "SELECT concat(toString(count()), ' ', toString(uniqExact(subject))) FROM observation_current"), fmt.Sprint(e.rows, e.rows); got != want {
			t.Errorf("rows, subjects: %s, want %s", got, want)
		}
		p.balanced(t)
	})
	t.Run("a wrong password", func(t *testing.T) {
		r := p.run(t, []string{"BROKER_PASSWORD=not-the-password"}, "run")
		code(t, r, 3)
		says(t, r, "check broker.user and broker.password")
		if strings.Contains(r.err, "not-the-password") {
			t.Errorf("the password is shown: %s", r.err)
		}
	})
	t.Run("a certificate instead of a password", func(t *testing.T) {
		certificate, key, err := c.CA.Issue(user.Name)
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string][]byte{"own.pem": certificate, "own.key": key} {
			if err := os.WriteFile(filepath.Join(p.dir, name), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		p.write(t, "headwater.yaml", fmt.Sprintf("project: rights\nbroker: {addresses: [%q], tls: {ca: ca.pem, cert: own.pem, key: own.key}, partitions: 1}\n", c.SecureAddresses(true, false, true)[0]))
		run(t, "")
	})
	t.Run("a certificate is asked for and there is none", func(t *testing.T) {
		p.write(t, "headwater.yaml", fmt.Sprintf("project: rights\nbroker: {addresses: [%q], tls: {ca: ca.pem}, partitions: 1}\n", c.SecureAddresses(true, false, true)[0]))
		r := p.run(t, nil, "run")
		code(t, r, 3)
		says(t, r, "check broker.tls.cert and broker.tls.key")
	})
}

// TestThreeBrokersOfApacheKafka: replicated topics that may lose batches are refused, and brokers die under a run.
func TestThreeBrokersOfApacheKafka(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{Brokers: 3})
	addresses := `"` + strings.Join(c.Addresses(), `", "`) + `"`
	three := func(prefix string) broker {
		return broker{prefix, func(*testing.T) string { return fmt.Sprintf(", addresses: [%s], topic_prefix: %s.", addresses, prefix) }}
	}
	t.Run("topics that may lose what was acknowledged are refused", func(t *testing.T) { // W7
		p := newProject(t, map[string]string{
			"headwater.yaml": killConfig(t, 30_000, three("unsafe")), "sources/figures.yaml": figuresYAML, "indicators/t.yaml": indicatorYAML,
			"data/figures.csv": figures(0, 100),
		})
		if err := c.CreateTopic(t.Context(), "unsafe.raw.test", 1, "max.message.bytes", "16777216", "min.insync.replicas", "1", "unclean.leader.election.enable", "true"); err != nil {
			t.Fatal(err)
		}
		r := p.run(t, nil, "run")
		code(t, r, 3)
		says(t, r, "topic unsafe.raw.test: set min.insync.replicas to 2 (kafka-configs.sh --alter --topic unsafe.raw.test --add-config min.insync.replicas=2)",
			"topic unsafe.raw.test: set unclean.leader.election.enable to false")
		mend := &kafka.IncrementalAlterConfigsRequest{Resources: []kafka.IncrementalAlterConfigsRequestResource{{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: "unsafe.raw.test", Configs: []kafka.IncrementalAlterConfigsRequestConfig{
				{Name: "min.insync.replicas", Value: "2", ConfigOperation: kafka.ConfigOperationSet},
				{Name: "unclean.leader.election.enable", Value: "false", ConfigOperation: kafka.ConfigOperationSet},
			}}}}
		answer, err := c.Client().IncrementalAlterConfigs(t.Context(), mend)
		if err != nil || answer.Resources[0].Error != nil {
			t.Fatal(err, answer)
		}
		p.must(t, "run")
	})
	leader := func(topic string) *testkafka.Broker {
		t.Helper()
		meta, err := c.Client().Metadata(t.Context(), &kafka.MetadataRequest{Topics: []string{topic}})
		if err == nil {
			err = meta.Topics[0].Error
		}
		if err != nil {
			t.Fatal(err)
		}
		return c.Brokers[meta.Topics[0].Partitions[0].Leader.ID-1]
	}
	const rows = 200_000
	p := killProject(t, 30_000, three("kills"))
	p.write(t, "data/figures.csv", figures(0, rows))
	p.killed(t, "HEADWATER_CRASH=claimed") // so that the topics are there
	p.serve(t)
	end := func() int64 {
		answer, err := c.Client().ListOffsets(t.Context(), &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{"kills.raw.test": {kafka.LastOffsetOf(0)}}})
		if err != nil || len(answer.Topics["kills.raw.test"]) == 0 || answer.Topics["kills.raw.test"][0].Error != nil {
			return -1 // it is just moving
		}
		return answer.Topics["kills.raw.test"][0].LastOffset
	}
	// disturbed runs the program and kills the broker that leads the topic once a few batches more are written.
	disturbed := func(t *testing.T, topic string) *testkafka.Broker {
		t.Helper()
		before := end()
		run := p.start(t, nil, "run", "--log-format", "json")
		for at := int64(-1); at < before+3; at = end() {
			select {
			case <-run.done:
				t.Fatalf("the run ended before it could be disturbed:\n%s", run.wait(t).err)
			case <-time.After(2 * time.Millisecond): // another process's log is polled: there is no event to wait for
			}
		}
		victim := leader(topic)
		victim.Kill()
		code(t, run.wait(t), 0)
		p.check(t)
		return victim
	}
	t.Run("the leader of the batches dies under a run", func(t *testing.T) {
		victim := disturbed(t, "kills.raw.test")
		if err := victim.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("the coordinator of the groups dies under a run, for good", func(t *testing.T) {
		p.write(t, "data/figures.csv", figures(5, rows))
		disturbed(t, "__consumer_offsets")
	})
	t.Run("with one broker lost, the next run is as any", func(t *testing.T) {
		p.write(t, "data/figures.csv", figures(9, rows))
		p.must(t, "run")
		p.check(t)
	})
}
