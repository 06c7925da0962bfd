package testkafka

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"go.uber.org/goleak"

	"github.com/headwater-data/headwater/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(EndShared(m)) }

func TestABrokerKeepsItsPortAndDataThroughAKill(t *testing.T) {
	c := Start(t, Options{})
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	client := c.Client()
	created, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: "t", NumPartitions: 1, ReplicationFactor: 1}}})
	if err != nil || created.Errors["t"] != nil {
		t.Fatal(err, created)
	}
	write := func() int64 {
		t.Helper()
		var last error
		for ctx.Err() == nil {
			answer, err := client.Produce(ctx, &kafka.ProduceRequest{Topic: "t", RequiredAcks: kafka.RequireAll, Records: kafka.NewRecordReader(kafka.Record{Value: kafka.NewBytes([]byte("x"))})})
			if err == nil && answer.Error == nil {
				return answer.BaseOffset
			}
			last = errors.Join(err)
		}
		t.Fatal(last)
		return 0
	}
	if at := write(); at != 0 {
		t.Fatalf("first record at %d", at)
	}
	before := c.Addresses()
	c.Brokers[0].Kill()
	if err := c.Brokers[0].Start(ctx); err != nil {
		t.Fatal(err)
	}
	if at := write(); at != 1 || c.Addresses()[0] != before[0] {
		t.Errorf("after a kill at %d, address %s, was %s", at, c.Addresses()[0], before[0])
	}
	if err := c.Brokers[0].Stop(ctx); err != nil {
		t.Error(err)
	}
}

func TestArtifactsAreFetchedOnceAndOnlyAsPinned(t *testing.T) {
	t.Setenv("HEADWATER_CACHE", t.TempDir())
	good := []Artifact{{Group: "g", Name: "a", Version: "1", SHA256: "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"}} // of "x"
	var calls atomic.Int64
	bring := func(files ...string) func(context.Context, string, []Artifact) error {
		return func(_ context.Context, folder string, _ []Artifact) error {
			calls.Add(1)
			for _, name := range files {
				if err := os.WriteFile(filepath.Join(folder, name), []byte("x"), 0o600); err != nil {
					return err
				}
			}
			return nil
		}
	}
	bad := []Artifact{{Group: "g", Name: "a", Version: "1", SHA256: strings.Repeat("0", 64)}}
	for name, c := range map[string]struct {
		artifacts []Artifact
		files     []string
		want      string
	}{
		"another hash":      {bad, []string{"a-1.jar"}, "want 0000"},
		"one is missing":    {good, nil, "a-1.jar"},
		"one more than all": {good, []string{"a-1.jar", "b-1.jar"}, "not in the list"},
	} {
		if _, err := fetchWith(t.Context(), "k", c.artifacts, bring(c.files...)); fault.KindOf(err) != fault.KindEnvironment || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	calls.Store(0)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			folder, err := fetchWith(t.Context(), "k", good, bring("a-1.jar", "pom.xml"))
			if err != nil {
				t.Error(err)
				return
			}
			if entries, err := os.ReadDir(folder); err != nil || len(entries) != 1 {
				t.Errorf("%v, %v", entries, err)
			}
		})
	}
	all.Wait()
	if n := calls.Load(); n != 1 {
		t.Errorf("fetched %d times", n)
	}
}

func TestWithoutJavaTheErrorSaysWhatToInstall(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("JAVA_HOME", "")
	if _, err := New(t.Context(), Options{}); fault.KindOf(err) != fault.KindEnvironment || !strings.Contains(err.Error(), "install") {
		t.Errorf("got %v", err)
	}
	if err := mavenCopy(t.Context(), t.TempDir(), nil); err == nil || !strings.Contains(err.Error(), "install Maven") {
		t.Errorf("got %v", err)
	}
}
