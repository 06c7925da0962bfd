package clickhouse

import (
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/secret"
)

func TestAConfigTellsOfAllItsFaultsAndOfNoSecret(t *testing.T) {
	t.Parallel()
	everywhere, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer everywhere.Close()
	config := Config{User: Reader, Listener: everywhere, MaxMemoryBytes: 1, ReaderPassword: secret.New("geheim")}
	err = Serve(t.Context(), config)
	if err == nil || fault.KindOf(err) != fault.KindUsage {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"Dir is empty", "Engine is empty", "Password is empty", `cannot be "reader"`, "not on a loopback address", "Logger is nil", "below 512 MiB"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want within it %q", err, want)
		}
	}
	if text := fmt.Sprintf("%v %+v %#v %v", config, config, config, err); strings.Contains(text, "geheim") {
		t.Errorf("the password is in %s", text)
	}
}

func TestAnEngineThatDoesNotLoadIsReported(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	err = Serve(t.Context(), Config{Dir: t.TempDir(), Engine: Engine{Path: "/nowhere/libchdb.so"}, Password: secret.New("x"), Listener: listener, Logger: slog.New(slog.DiscardHandler)})
	if err == nil || fault.KindOf(err) != fault.KindEnvironment || !strings.Contains(err.Error(), "load engine /nowhere/libchdb.so") {
		t.Errorf("got %v", err)
	}
	if _, err := net.Dial("tcp", listener.Addr().String()); err == nil {
		t.Error("the listener is still open")
	}
}
