package sql_test

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/connectors/sql"
	"github.com/headwater-data/headwater/internal/secret"
	"github.com/headwater-data/headwater/internal/testdb"
)

func BenchmarkBinlog(b *testing.B) {
	const changes = 500_000
	for _, size := range []int{1, 100, 10000} {
		b.Run(fmt.Sprintf("transactions of %d", size), func(b *testing.B) {
			db := testdb.MariaDB(b).Database(b)
			if _, err := db.Exec("CREATE TABLE t (id bigint PRIMARY KEY, a int, b int unsigned, c decimal(18,2), d varchar(40), e varchar(100), f datetime(6), g timestamp NULL, h double, i date, j text, k enum('x','y','z'))"); err != nil {
				b.Fatal(err)
			}
			config := &sql.MariaDBConfig{ServerConfig: sql.ServerConfig{Host: db.Host, Port: db.Port, Database: db.Name, User: db.User, Password: secretOf(db), TLS: &sql.TLS{CA: db.CA}}}
			src, err := sql.MariaDB().Open(benchEnvironment(b), config, map[string]any{"s": &sql.Options{Table: "t", Changes: &sql.Changes{}}})
			if err != nil {
				b.Fatal(err)
			}
			var cursor connectors.Cursor
			drain := func() (n int64) {
				for batch, err := range src.Read(b.Context(), connectors.Stream{Name: "s"}, cursor) {
					if err != nil {
						b.Fatal(err)
					}
					n += batch.Record.NumRows()
					cursor = append(connectors.Cursor{}, batch.Cursor...)
				}
				return n
			}
			drain()
			row := "seq, seq, seq, seq / 100, CONCAT('单位', seq), MD5(seq), NOW(6), NOW(), seq / 3, '2024-01-01', REPEAT('x', 50), 'y'"
			want := int64(changes)
			if size == 1 {
				want = 100_000
				if _, err := db.Exec(fmt.Sprintf("CREATE PROCEDURE fill() BEGIN FOR seq IN 1..%d DO INSERT INTO t VALUES (%s); END FOR; END", want, row)); err != nil {
					b.Fatal(err)
				}
				if _, err := db.Exec("CALL fill()"); err != nil {
					b.Fatal(err)
				}
			} else {
				for from := 0; from < changes; from += size {
					if _, err := db.Exec(fmt.Sprintf("INSERT INTO t SELECT %s FROM seq_%d_to_%d", row, from+1, from+size)); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ResetTimer()
			at := time.Now()
			if n := drain(); n != want {
				b.Fatalf("%d changes, want %d", n, want)
			}
			b.ReportMetric(float64(want)/time.Since(at).Seconds(), "changes/s")
		})
	}
}

func secretOf(db *testdb.Database) secret.Value { return secret.New(db.Password) }

func benchEnvironment(b *testing.B) connectors.Environment {
	return connectors.Environment{Dir: b.TempDir(), Allocator: memory.NewGoAllocator(), Logger: slog.New(slog.DiscardHandler), Now: time.Now}
}
