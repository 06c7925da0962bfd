package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// server is where one of a project's embedded servers is, as its state folder says.
type server struct{ address, user, password string }

func (p *project) server(t *testing.T, kind string) server {
	t.Helper()
	dir := filepath.Join(p.dir, ".headwater", kind)
	var endpoint struct {
		Addr string `json:"addr"`
	}
	raw, err := os.ReadFile(filepath.Join(dir, "endpoint.json"))
	if err == nil {
		err = json.Unmarshal(raw, &endpoint)
	}
	password, perr := os.ReadFile(filepath.Join(dir, "password"))
	if err := errors.Join(err, perr); err != nil {
		t.Fatal(err)
	}
	return server{address: endpoint.Addr, user: "headwater", password: strings.TrimSpace(string(password))}
}

// kafka is a client of the broker that knows nothing of Headwater.
func (s server) kafka(t *testing.T) *kafka.Client {
	t.Helper()
	mechanism, err := scram.Mechanism(scram.SHA256, s.user, s.password)
	if err != nil {
		t.Fatal(err)
	}
	transport := &kafka.Transport{SASL: mechanism}
	t.Cleanup(transport.CloseIdleConnections)
	return &kafka.Client{Addr: kafka.TCP(s.address), Transport: transport, Timeout: 30 * time.Second}
}

// partition reads what a partition holds.
func partition(t *testing.T, c *kafka.Client, topic string, number int) []kafka.Message {
	t.Helper()
	var out []kafka.Message
	for next := int64(0); ; {
		resp, err := c.Fetch(t.Context(), &kafka.FetchRequest{Topic: topic, Partition: number, Offset: next, MinBytes: 1, MaxBytes: 32 << 20, MaxWait: 100 * time.Millisecond})
		if err == nil {
			err = resp.Error
		}
		if err != nil {
			t.Fatal(err)
		}
		for {
			r, err := resp.Records.ReadRecord()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			m := kafka.Message{Offset: r.Offset, Headers: r.Headers}
			if r.Value != nil {
				if m.Value, err = io.ReadAll(r.Value); err != nil {
					t.Fatal(err)
				}
			}
			out, next = append(out, m), r.Offset+1
		}
		if next >= resp.HighWatermark {
			return out
		}
	}
}

func appendMessage(t *testing.T, c *kafka.Client, topic string, number int, value []byte, headers []kafka.Header) {
	t.Helper()
	resp, err := c.Produce(t.Context(), &kafka.ProduceRequest{Topic: topic, Partition: number, RequiredAcks: kafka.RequireAll,
		Records: kafka.NewRecordReader(kafka.Record{Value: kafka.NewBytes(value), Headers: headers})})
	if err == nil {
		err = resp.Error
	}
	if err != nil {
		t.Fatal(err)
	}
}

const rawTopic = "headwater.raw.test"

// served is a project with one source that headwater start serves, so that its broker and warehouse stay.
func served(t *testing.T) (*project, *process) {
	t.Helper()
	p := newProject(t, map[string]string{"headwater.yaml": strings.Replace(badYAML, "partitions: 2", "partitions: 1", 1), "indicators/t.yaml": indicatorYAML, "data/good.csv": figureHeader + lines("g", 3)})
	p.source(t, "good", "{path: data/good.csv}")
	service := p.start(t, nil, "start", "--log-format", "json")
	service.await(t, `"msg":"serving"`)
	return p, service
}

// TestMessagesThatAreNotOurs: somebody else writes into the topic, and a message of ours is damaged.
func TestMessagesThatAreNotOurs(t *testing.T) {
	t.Parallel()
	p, service := served(t)
	p.must(t, "run")
	broker := p.server(t, "broker").kafka(t)
	log := partition(t, broker, rawTopic, 0)
	ours := log[len(log)-1]

	appendMessage(t, broker, rawTopic, 0, []byte(`{"hello":"世界"}`), []kafka.Header{{Key: "hw", Value: []byte("1")}})
	appendMessage(t, broker, rawTopic, 0, nil, nil)
	appendMessage(t, broker, rawTopic, 0, []byte("x"), []kafka.Header{{Key: "hw-version", Value: []byte("one")}})
	// A batch that follows the last one, with one byte of its value changed.
	var headers []kafka.Header
	for _, h := range ours.Headers {
		if h.Key == "hw-sequence" {
			n, err := strconv.Atoi(string(h.Value))
			if err != nil {
				t.Fatal(err)
			}
			h.Value = []byte(strconv.Itoa(n + 1))
		}
		headers = append(headers, h)
	}
	damaged := append([]byte(nil), ours.Value...)
	damaged[len(damaged)/2] ^= 1
	appendMessage(t, broker, rawTopic, 0, damaged, headers)

	// The next content goes in behind them.
	p.write(t, "data/good.csv", figureHeader+lines("g", 5))
	r := p.run(t, nil, "run", "--json")
	code(t, r, 0)
	// The damaged batch has the number that the next one was to have: the rows went in twice, and count once.
	if got := summary(t, r)["good"]; fmt.Sprint(got["read"], got["extracted"], got["loaded"], got["duplicate"], got["balanced"]) != fmt.Sprint("5", "10", "5", "5", "yes") {
		t.Errorf("the summary says %v", got)
	}
	says(t, service.end(t, syscall.SIGTERM),
		`"msg":"a record that is not ours is in the topic; it is passed over","topic":"headwater.raw.test","partition":0,"offset":`+strconv.FormatInt(ours.Offset+1, 10),
		`"msg":"a record of ours has headers that make no sense; it is passed over","topic":"headwater.raw.test","partition":0,"offset":`+strconv.FormatInt(ours.Offset+3, 10),
	)
	// The new content of the file has settled what was damaged.
	want := fmt.Sprintf("message.corrupt superseded 3 rows in a message of %d bytes: corrupt record: the value's checksum does not hold: it is cut short or damaged", len(damaged))
	if got := p.one(t, "SELECT concat(rules[1], ' ', status, ' ', reasons[1]) FROM quarantine FINAL"); got != want {
		t.Errorf("quarantine holds %q, want %q", got, want)
	}
	// The bytes of what was ours are kept, whatever becomes of the topic.
	var kept []struct {
		ID, Part, Source, SHA256 string
		Offset, Size             int64
	}
	if err := json.Unmarshal([]byte(p.must(t, "quarantine", "undecodable", "--json").out), &kept); err != nil {
		t.Fatal(err)
	}
	bytesOf := map[int64][]byte{ours.Offset + 3: []byte("x"), ours.Offset + 4: damaged}
	for _, k := range kept {
		sum := sha256.Sum256(bytesOf[k.Offset])
		if k.Size != int64(len(bytesOf[k.Offset])) || k.SHA256 != hex.EncodeToString(sum[:]) || (k.Source == "good") != (k.Part == "value") {
			t.Errorf("kept: %+v", k)
		}
		file := filepath.Join(p.dir, fmt.Sprint(k.Offset))
		p.must(t, "quarantine", "show", k.ID, "--raw", file)
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, bytesOf[k.Offset]) {
			t.Errorf("%s: %d bytes, %v; want %d", k.ID, len(got), err, len(bytesOf[k.Offset]))
		}
		code(t, p.run(t, nil, "quarantine", "show", k.ID, "--raw", file), 2) // it is there already
	}
	if len(kept) != 2 {
		t.Errorf("%d messages are kept, want 2: %+v", len(kept), kept)
	}
	if got := p.loaded(t, "good"); got != "g1=1 g2=2 g3=3 g4=4 g5=5" {
		t.Errorf("current rows: %s", got)
	}
	if got := p.one(t, "SELECT concat(toString(sum(foreign_messages)), ' ', toString(sum(extracted)), ' ', toString(sum(loaded)), ' ', toString(sum(quarantined))) FROM ledger FINAL"); got != "3 16 8 3" {
		t.Errorf("foreign messages, extracted, loaded, quarantined: %s, want 3 16 8 3", got)
	}
	p.balanced(t)
}

// forward passes connections on from an address where nothing has listened so far.
func forward(t *testing.T, from, to string) {
	t.Helper()
	listener, err := net.Listen("tcp", from)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close() // the client sees that nobody is there
				continue
			}
			context.AfterFunc(ctx, func() { _, _ = in.Close(), out.Close() })
			go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
			go func() { _, _ = io.Copy(in, out); _ = in.Close() }()
		}
	}()
	t.Cleanup(func() {
		stop()
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
}

// nobody returns an address where nothing listens.
func nobody(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// TestServersThatAreAway uses one project's embedded servers as others' real ones.
func TestServersThatAreAway(t *testing.T) {
	t.Parallel()
	host, _ := served(t)
	warehouse, broker := host.server(t, "warehouse"), host.server(t, "broker")
	host.query(t, "SELECT 1") // or the subtests would start serve beside each other
	passwords := []string{"WAREHOUSE_PASSWORD=" + warehouse.password, "BROKER_PASSWORD=" + broker.password, "WRONG_PASSWORD=wrong"}

	// client is a project that names its servers.
	client := func(t *testing.T, name, warehouseAddress, brokerAddress string) *project {
		p := newProject(t, map[string]string{"indicators/t.yaml": indicatorYAML, "data/good.csv": figureHeader + lines("g", 3), "headwater.yaml": fmt.Sprintf(`project: %s
broker: {addresses: ["%s"], user: headwater, password: "${env:BROKER_PASSWORD}", mechanism: scram-sha-256, partitions: 1, session: 1s, topic_prefix: %[1]s.}
warehouse: {address: "%[3]s", user: headwater, password: "${env:WAREHOUSE_PASSWORD}", database: %[1]s}
`, name, brokerAddress, warehouseAddress)})
		p.source(t, "good", "{path: data/good.csv}")
		p.env = passwords
		return p
	}
	loaded := func(t *testing.T, name string) {
		t.Helper()
		if got := host.one(t, "SELECT concat(toString(count()), ' ', toString(sum(value))) FROM "+name+".observation_current"); got != "3 6" {
			t.Errorf("rows, sum: %s, want 3 6", got)
		}
		if got := host.one(t, "SELECT count() FROM "+name+".ledger_balance WHERE NOT balanced"); got != "0" {
			t.Errorf("%s lines of the ledger do not balance", got)
		}
	}

	t.Run("a warehouse that is away is waited for", func(t *testing.T) {
		address := nobody(t)
		p := client(t, "depotaway", address, broker.address)
		c := p.start(t, nil, "run", "--log-format", "json")
		c.await(t, `"msg":"waiting for the warehouse","wait":"400ms","error":"reach warehouse at `+address+`: the warehouse is away: dial tcp `+address+`: connect: connection refused"`)
		forward(t, address, warehouse.address)
		code(t, c.wait(t), 0)
		loaded(t, "depotaway")
	})
	t.Run("a broker that is away is waited for", func(t *testing.T) {
		address := nobody(t)
		p := client(t, "brokeraway", warehouse.address, address)
		c := p.start(t, nil, "run", "--log-format", "json")
		c.await(t, `"msg":"waiting for the broker","wait":"400ms","error":"`)
		forward(t, address, broker.address)
		r := c.wait(t)
		code(t, r, 0)
		says(t, r, "dial tcp "+address+": connect: connection refused")
		loaded(t, "brokeraway")
	})
	t.Run("the waiting can be interrupted", func(t *testing.T) {
		p := client(t, "interrupted", nobody(t), nobody(t))
		c := p.start(t, nil, "run")
		c.await(t, "waiting for the warehouse")
		r := c.end(t, syscall.SIGINT)
		code(t, r, 130)
		says(t, r, "headwater: ended by signal: interrupt\n")
	})
	t.Run("a query does not wait", func(t *testing.T) {
		address := nobody(t)
		p := client(t, "asked", address, nobody(t))
		r := p.run(t, nil, "query", "SELECT 1")
		code(t, r, 3)
		says(t, r, "headwater: reach warehouse at "+address+": the warehouse is away: dial tcp "+address+": connect: connection refused\n")
	})
	t.Run("a wrong password for the warehouse is not waited for", func(t *testing.T) {
		p := client(t, "wrongdepot", warehouse.address, broker.address)
		r := p.run(t, []string{"WAREHOUSE_PASSWORD=wrong"}, "run")
		code(t, r, 3)
		says(t, r, "headwater: reach warehouse at "+warehouse.address+` as user "headwater": `, "Authentication failed: password is incorrect")
		if strings.Contains(r.err, "wrong\"") {
			t.Errorf("the password is shown: %s", r.err)
		}
	})
	t.Run("a wrong password for a broker that only closes the connection is hinted at", func(t *testing.T) {
		p := client(t, "wrongbroker", warehouse.address, broker.address)
		c := p.start(t, []string{"BROKER_PASSWORD=wrong"}, "run")
		c.await(t, "the broker closed the connection; if it goes on doing so, check broker.user, password, mechanism and tls")
		code(t, c.end(t, syscall.SIGINT), 130)
	})
	t.Run("a secret that is not there", func(t *testing.T) {
		p := client(t, "nosecret", warehouse.address, broker.address)
		r := p.run(t, []string{"WAREHOUSE_PASSWORD="}, "run")
		code(t, r, 2)
		says(t, r, "headwater: headwater.yaml:3:", ": the environment variable WAREHOUSE_PASSWORD is not set\n")
	})
	t.Run("a web page in a browser gets nothing from the warehouse", func(t *testing.T) {
		for _, test := range []struct {
			name, header, value string
			status              int
		}{
			{"nothing foreign", "", "", http.StatusOK},
			{"a foreign host: a name that was made to mean this machine", "Host", "evil.example.org:" + strings.SplitN(warehouse.address, ":", 2)[1], http.StatusForbidden},
			{"a foreign origin", "Origin", "https://evil.example.org", http.StatusForbidden},
			{"an origin without a name", "Origin", "null", http.StatusForbidden},
		} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+warehouse.address+"/", strings.NewReader("SELECT 1"))
			if err != nil {
				t.Fatal(err)
			}
			req.SetBasicAuth(warehouse.user, warehouse.password)
			switch test.header {
			case "Host":
				req.Host = test.value
			case "Origin":
				req.Header.Set("Origin", test.value)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if err := errors.Join(err, resp.Body.Close()); err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != test.status {
				t.Errorf("%s: %s %s, want %d", test.name, resp.Status, body, test.status)
			}
			if test.status != http.StatusOK && (strings.TrimSpace(string(body)) == "1" || resp.Header.Get("Access-Control-Allow-Origin") != "") {
				t.Errorf("%s: got %q, %v", test.name, body, resp.Header)
			}
		}
	})
}
