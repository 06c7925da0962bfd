package faultproxy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/headwater-data/headwater/internal/faultproxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// warehouse is a server that counts what reaches it.
type warehouse struct {
	*httptest.Server
	inserts, selects atomic.Int32
	bodies, settings chan string
}

func newWarehouse(t *testing.T) (*warehouse, *faultproxy.HTTP, *http.Client) {
	t.Helper()
	w := &warehouse{bodies: make(chan string, 16), settings: make(chan string, 16)}
	w.Server = httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if text := r.URL.Query().Get("query") + string(body); strings.HasPrefix(text, "INSERT") {
			w.inserts.Add(1)
		} else {
			w.selects.Add(1)
		}
		w.bodies <- string(body)
		w.settings <- r.URL.Query().Get("max_memory_usage")
		out.Header().Set("X-ClickHouse-Query-Id", "q")
		fmt.Fprint(out, "done")
	}))
	p, err := faultproxy.NewHTTP(strings.TrimPrefix(w.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		w.Close()
	})
	return w, p, client
}

// post sends a statement in the address and a body, as inserts do, and returns the answer.
func post(client *http.Client, p *faultproxy.HTTP, query, body string) (status int, text string, header http.Header, err error) {
	req, err := http.NewRequest(http.MethodPost, "http://"+p.Addr()+"/?query="+strings.ReplaceAll(query, " ", "+"), strings.NewReader(body))
	if err != nil {
		return 0, "", nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", nil, err
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(all), resp.Header, err
}

func TestStatementsPassUntouched(t *testing.T) {
	w, p, client := newWarehouse(t)
	body := strings.Repeat("x", 1<<20)
	status, text, header, err := post(client, p, "INSERT INTO a", body)
	if err != nil || status != http.StatusOK || text != "done" || header.Get("X-ClickHouse-Query-Id") != "q" {
		t.Fatal(status, text, header, err)
	}
	if got := <-w.bodies; got != body {
		t.Errorf("%d bytes came, want %d", len(got), len(body))
	}
	// A statement in the body is read for its kind and comes whole.
	if _, _, _, err := post(client, p, "", "SELECT 1"); err != nil {
		t.Fatal(err)
	}
	if got := <-w.bodies; got != "SELECT 1" {
		t.Errorf("the statement came as %q", got)
	}
}

func TestAnAnswerIsLostAfterTheServerHasGivenIt(t *testing.T) {
	w, p, client := newWarehouse(t)
	o := p.Lose(faultproxy.Insert, "observation", 1)
	for _, query := range []string{"SELECT 1", "INSERT INTO hotline_case"} {
		if _, _, _, err := post(client, p, query, ""); err != nil {
			t.Errorf("%s was met: %v", query, err)
		}
	}
	if _, _, _, err := post(client, p, "INSERT INTO observation", "rows"); err == nil {
		t.Error("an answer came that was to be lost")
	}
	<-o.Done()
	if n := w.inserts.Load(); n != 2 {
		t.Errorf("%d inserts reached the server, want 2", n)
	}
	if _, _, _, err := post(client, p, "INSERT INTO observation", "rows"); err != nil {
		t.Error("the order goes on after the request that it was for:", err)
	}
}

func TestAnExceptionIsAnsweredInTheServersPlace(t *testing.T) {
	w, p, client := newWarehouse(t)
	o := p.Answer(faultproxy.Insert, "", -1, http.StatusInternalServerError, 252, "Code: 252. Too many parts")
	for range 3 {
		status, text, header, err := post(client, p, "INSERT INTO a", "rows")
		if err != nil || status != 500 || text != "Code: 252. Too many parts" || header.Get("X-ClickHouse-Exception-Code") != "252" {
			t.Fatal(status, text, header, err)
		}
	}
	if o.Met() != 3 || w.inserts.Load() != 0 {
		t.Errorf("met %d, passed on %d", o.Met(), w.inserts.Load())
	}
	o.Cancel()
	if status, _, _, err := post(client, p, "INSERT INTO a", "rows"); err != nil || status != 200 {
		t.Error(status, err)
	}
}

func TestAnAmendedStatementHasOtherSettings(t *testing.T) {
	w, p, client := newWarehouse(t)
	o := p.Amend(faultproxy.Insert, "", 1, map[string]string{"max_memory_usage": "1"})
	for range 2 {
		if status, _, _, err := post(client, p, "INSERT INTO a", "rows"); err != nil || status != 200 {
			t.Fatal(status, err)
		}
	}
	if got := []string{<-w.settings, <-w.settings}; o.Met() != 1 || got[0] != "1" || got[1] != "" {
		t.Errorf("met %d, passed on with %q", o.Met(), got)
	}
}

// TestAHeldInsertLandsLate: its client has given up, others have passed it, and it reaches the server all the same.
func TestAHeldInsertLandsLate(t *testing.T) {
	w, p, client := newWarehouse(t)
	o := p.Hold(faultproxy.Insert, "")
	ctx, giveUp := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.Addr()+"/?query=INSERT+INTO+a", strings.NewReader("late"))
		if err == nil {
			var resp *http.Response
			if resp, err = client.Do(req); err == nil {
				err = errors.Join(resp.Body.Close(), errors.New("it was answered"))
			}
		}
		gone <- err
	}()
	<-o.Done()
	giveUp()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, _, _, err := post(client, p, "INSERT INTO a", "early"); err != nil {
		t.Fatal(err)
	}
	if got := <-w.bodies; got != "early" {
		t.Errorf("%q came first", got)
	}
	o.Release()
	if got := <-w.bodies; got != "late" {
		t.Errorf("%q came then", got)
	}
}

func TestARefusingProxyIsAwayAndComesBack(t *testing.T) {
	_, p, client := newWarehouse(t)
	if _, _, _, err := post(client, p, "SELECT 1", ""); err != nil {
		t.Fatal(err)
	}
	p.Refuse(true)
	if _, _, _, err := post(client, p, "SELECT 1", ""); err == nil {
		t.Error("a refusing proxy answered")
	}
	p.Refuse(false)
	if _, _, _, err := post(client, p, "SELECT 1", ""); err != nil {
		t.Error(err)
	}
}

func TestDelayAndThrottleTakeTheirTime(t *testing.T) {
	_, p, client := newWarehouse(t)
	p.Delay(30 * time.Millisecond)
	began := time.Now()
	if _, _, _, err := post(client, p, "INSERT INTO a", "x"); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 60*time.Millisecond { // there and back
		t.Errorf("it took %v", took)
	}
	p.Delay(0)
	p.Throttle(1 << 20)
	began = time.Now()
	if _, _, _, err := post(client, p, "INSERT INTO a", string(bytes.Repeat([]byte("x"), 100<<10))); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 95*time.Millisecond {
		t.Errorf("100 KiB at 1 MiB/s took %v", took)
	}
}

// newBroker is a cluster of two brokers behind a proxy, and a client that was only told the proxy's addresses.
func newBroker(t *testing.T) (*kfake.Cluster, *faultproxy.Kafka, *kgo.Client) {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(2), kfake.SeedTopics(2, "t"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := faultproxy.NewKafka(cluster.ListenAddrs())
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(p.Addresses()...), kgo.DisableIdempotentWrite(), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.RecordRetries(0), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.RequestRetries(3))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		cluster.Close()
	})
	return cluster, p, client
}

func produce(t *testing.T, client *kgo.Client, partition int32) error {
	t.Helper()
	return client.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Partition: partition, Value: []byte("v")}).FirstErr()
}

func TestClientsStayOnTheProxy(t *testing.T) {
	_, p, client := newBroker(t)
	resp, err := kmsg.NewPtrMetadataRequest().RequestWith(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	places := map[string]bool{}
	for _, a := range p.Addresses() {
		places[a] = true
	}
	if len(resp.Brokers) != 2 {
		t.Fatalf("%d brokers", len(resp.Brokers))
	}
	for _, b := range resp.Brokers {
		if !places[net.JoinHostPort(b.Host, fmt.Sprint(b.Port))] {
			t.Errorf("broker %d is said to be at %s:%d", b.NodeID, b.Host, b.Port)
		}
	}
	for partition := range int32(2) {
		if err := produce(t, client, partition); err != nil {
			t.Error(err)
		}
	}
	coordinator := kmsg.NewPtrFindCoordinatorRequest()
	coordinator.CoordinatorKey, coordinator.CoordinatorKeys = "g", []string{"g"}
	found, err := coordinator.RequestWith(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range found.Coordinators {
		if !places[net.JoinHostPort(c.Host, fmt.Sprint(c.Port))] {
			t.Errorf("the coordinator is said to be at %s:%d", c.Host, c.Port)
		}
	}
	if len(found.Coordinators) == 0 {
		t.Error("no coordinator was named")
	}
}

func TestAProduceWhoseAnswerIsLostWasApplied(t *testing.T) {
	cluster, p, client := newBroker(t)
	if err := produce(t, client, 0); err != nil {
		t.Fatal(err)
	}
	o := p.Lose(kmsg.Produce, 1)
	if err := produce(t, client, 0); err == nil {
		t.Error("an answer came that was to be lost")
	}
	<-o.Done()
	if got := cluster.PartitionInfo("t", 0).HighWatermark; got != 2 {
		t.Errorf("the log holds %d records, want 2", got)
	}
	if err := produce(t, client, 0); err != nil {
		t.Error(err)
	}
}

// TestAHeldProduceLandsLate: another connection's passes it, and it is applied after its client has gone.
func TestAHeldProduceLandsLate(t *testing.T) {
	cluster, p, client := newBroker(t)
	if err := produce(t, client, 0); err != nil {
		t.Fatal(err)
	}
	o := p.Hold(kmsg.Produce)
	held := make(chan error, 1)
	go func() {
		held <- client.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Partition: 0, Value: []byte("late")}).FirstErr()
	}()
	<-o.Done()
	p.Cut()
	if err := <-held; err == nil {
		t.Error("it was answered")
	}
	if err := produce(t, client, 0); err != nil {
		t.Fatal(err)
	}
	if got := cluster.PartitionInfo("t", 0).HighWatermark; got != 2 {
		t.Errorf("the log holds %d records before the late one, want 2", got)
	}
	o.Release()
	deadline := time.After(10 * time.Second)
	for cluster.PartitionInfo("t", 0).HighWatermark != 3 {
		select {
		case <-deadline:
			t.Fatal("the held request never came")
		case <-time.After(5 * time.Millisecond): // the broker tells nobody
		}
	}
}
