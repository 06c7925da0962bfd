package sql

import (
	"log/slog"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/internal/secret"
	"github.com/headwater-data/headwater/internal/testdb"
)

// TestAServerWithoutNewsSaysThatItIsThere: who follows its log would else take it for one that is silent.
func TestAServerWithoutNewsSaysThatItIsThere(t *testing.T) {
	t.Parallel()
	db := testdb.MariaDB(t).Database(t)
	config := &MariaDBConfig{ServerConfig: ServerConfig{Host: db.Host, Port: db.Port, Database: db.Name, User: db.User, Password: secret.New(db.Password), TLS: &TLS{CA: db.CA}}}
	source, err := MariaDB().Open(connectors.Environment{Dir: t.TempDir(), Allocator: memory.NewGoAllocator(), Logger: slog.New(slog.DiscardHandler), Now: time.Now}, config, map[string]any{})
	if err != nil {
		t.Fatal(err)
	}
	d := source.(*Source).dialect.(*mariadbDialect)
	var position string
	if err := db.QueryRowContext(t.Context(), "SELECT @@global.gtid_binlog_pos").Scan(&position); err != nil {
		t.Fatal(err)
	}
	at, err := parseGTIDs(position)
	if err != nil {
		t.Fatal(err)
	}
	log, err := d.openBinlog(t.Context(), at, 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer log.close()
	for heard := 0; heard < 3; {
		e, err := log.next()
		if err != nil || e == nil {
			t.Fatalf("the log ended after %d signs of life: %v", heard, err)
		}
		if e.Header.EventType == replication.HEARTBEAT_EVENT {
			heard++
		}
	}
}
