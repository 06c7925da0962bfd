package sql

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/go-mysql-org/go-mysql/replication"
	"github.com/go-sql-driver/mysql"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/secret"
	"github.com/headwater-data/headwater/internal/testdb"
)

func mariadbOf(t *testing.T, db *testdb.Database) *mariadbDialect {
	t.Helper()
	config := &MariaDBConfig{ServerConfig: ServerConfig{Host: db.Host, Port: db.Port, Database: db.Name, User: db.User, Password: secret.New(db.Password), TLS: &TLS{CA: db.CA}}}
	source, err := MariaDB().Open(connectors.Environment{Dir: t.TempDir(), Allocator: memory.NewGoAllocator(), Logger: slog.New(slog.DiscardHandler), Now: time.Now}, config, map[string]any{})
	if err != nil {
		t.Fatal(err)
	}
	return source.(*Source).dialect.(*mariadbDialect)
}

// TestARowHasTheSameSumHereAndInTheServer: else a table that was read once would be read again though nothing has changed.
func TestARowHasTheSameSumHereAndInTheServer(t *testing.T) {
	t.Parallel()
	db := testdb.MariaDB(t).Database(t)
	const loose = "SET SESSION sql_mode = ''; "
	db.Do(t, loose+"CREATE TABLE t (id int PRIMARY KEY, a tinyint unsigned, b smallint, c mediumint, d bigint unsigned, e decimal(38,10), f float, g double, h double(12,3), i date, j datetime(6), k timestamp NULL, l time(3), m year, "+
		"n char(10), o varchar(200), p varchar(50) CHARACTER SET ascii, q enum('a','ü,'''), r set('x','y'), s text, u longtext CHARACTER SET utf8mb3, v binary(5), w varbinary(300), x blob, y datetime) CHARACTER SET utf8mb4",
		"INSERT INTO t (id) VALUES (1)",
		loose+"INSERT INTO t VALUES (2, 255, -32768, -8388608, 18446744073709551615, -1234567890123456789012345678.0123456789, 1.1, 1e300, 123.4567, '0001-01-01', '9999-12-31 23:59:59.999999', '2001-02-03 04:05:06', '-838:59:59.999', 0, '  blank  ', '', 'it''s', 'ü,''', 'x,y', '', '', '', '', '', '0000-00-00 00:00:00')",
		loose+`INSERT INTO t VALUES (3, 0, 0, 0, 0, 0, -0.0, -0.0, 0.1, '0000-00-00', '2024-01-01', NULL, '00:00:00', 2155, '𠮷', CONCAT('\\', '\'', '"', CHAR(0), CHAR(26), '\n,é🎉'), '', 'a', '', REPEAT('é', 2047), REPEAT('é', 2048), X'0001', X'00271a5c', X'00ff271a5c', '2024-01-01 01:02:03')`,
		"INSERT INTO t (id, s, u, x) VALUES (4, REPEAT('é', 2048), REPEAT('x', 4095), REPEAT('y', 60000)), (5, REPEAT('x', 4096), REPEAT('x', 1000000), REPEAT(X'00', 4095))",
		"INSERT INTO t (id, f, g, h) SELECT seq + 100, (RAND(seq) - 0.5) * POW(10, CAST(seq % 60 AS SIGNED) - 30), (RAND(seq) - 0.5) * POW(10, CAST(seq % 600 AS SIGNED) - 300), RAND(seq) * 1000 FROM seq_1_to_1000")
	s, err := mariadbOf(t, db).connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	session := s.(*mariadbSession)
	if err := session.learn(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	result, err := session.query(t.Context(), "SELECT * FROM t WHERE 1 = 0", nil)
	if err != nil {
		t.Fatal(err)
	}
	fields := result.fields()
	for result.next() { // nothing
	}
	if err := result.close(); err != nil {
		t.Fatal(err)
	}
	if !session.sums(fields) {
		t.Fatal("the rows are not summed here")
	}
	table := &table{s: &Source{dialect: session.d}, o: &Options{Table: "t"}, fields: fields}
	sum, base := session.rowSum(fields)
	want := map[string]uint64{}
	list, err := session.texts(t.Context(), "SELECT id, "+sum+" FROM t")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range list {
		if want[row[0]], err = strconv.ParseUint(row[1], base, 64); err != nil {
			t.Fatal(err)
		}
	}
	if result, err = session.query(t.Context(), table.selecting(table.list(session)).text.String(), nil); err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; result.next(); n++ {
		id, _ := result.value(0)
		if got := result.(summed).sum(); got != want[id.Text] {
			t.Errorf("row %s: %x here, %x in the server: %.300s", id.Text, got, want[id.Text], result.(*mariadbRows).summed)
		}
	}
	if err := result.close(); err != nil || n != len(want) || n < 1000 {
		t.Errorf("%d rows, want %d (%v)", n, len(want), err)
	}

	// What the server writes otherwise into the checksum is left to it.
	db.Do(t, "CREATE TABLE u (id int PRIMARY KEY, a varchar(10) CHARACTER SET latin1, b varchar(10) CHARACTER SET gbk, c bit(3), d inet6, e int zerofill, f point, g uuid)")
	if err := session.learn(t.Context(), "u"); err != nil {
		t.Fatal(err)
	}
	for name, c := range session.known {
		c.name = name
		if got, want := session.sums([]field{c.field}), name == "id"; got != want {
			t.Errorf("the column %s %s is summed here: %v, want %v", name, c.declared, got, want)
		}
	}
}

// TestPacketsComeInPieces has a row that is longer than a packet, and a connection that gives a few bytes at a time.
func TestPacketsComeInPieces(t *testing.T) {
	t.Parallel()
	long := bytes.Repeat([]byte("x"), longest+1000)
	row := binary.LittleEndian.AppendUint64([]byte{0xfe}, uint64(len(long)))
	row = append(append(row, long...), 3, 'a', 'b', 'c', 0xfb, 0)
	var sent []byte
	seq := byte(0)
	send := func(p []byte) {
		for {
			n := min(len(p), longest)
			sent = append(sent, byte(n), byte(n>>8), byte(n>>16), seq)
			sent = append(sent, p[:n]...)
			seq++
			if p = p[n:]; n < longest {
				return
			}
		}
	}
	send(row)
	send([]byte{1, 'y', 1, 'z', 0xfb, 0})
	send([]byte{0xfe, 0, 0, 2, 0})
	for name, r := range map[string]io.Reader{"whole": bytes.NewReader(sent), "in halves": iotest.HalfReader(bytes.NewReader(sent))} {
		w := &wire{conn: readConn{r}, buf: make([]byte, wireBuffer), begun: true}
		values := make([][]byte, 4)
		more, err := w.next(values)
		if err != nil || !more || !bytes.Equal(values[0], long) || string(values[1]) != "abc" || values[2] != nil || values[3] == nil || len(values[3]) > 0 {
			t.Fatalf("%s: the long row: %v, %v", name, more, err)
		}
		if more, err = w.next(values); err != nil || !more || string(values[0])+string(values[1]) != "yz" {
			t.Fatalf("%s: the short row: %v, %v, %q", name, more, err, values)
		}
		if more, err = w.next(values); err != nil || more || w.begun {
			t.Fatalf("%s: the end: %v, %v", name, more, err)
		}
	}
	for name, c := range map[string]struct {
		sent []byte
		says string
	}{
		"cut":                        {[]byte{9, 0, 0, 0, 1, 'y'}, "unexpected EOF"},
		"another number":             {[]byte{1, 0, 0, 7, 0xfb}, "in place of"},
		"a value beyond the row":     {[]byte{2, 0, 0, 0, 5, 'y'}, "too early"},
		"a length beyond the row":    {[]byte{2, 0, 0, 0, 0xfd, 'y'}, "too early"},
		"fewer values":               {[]byte{1, 0, 0, 0, 0xfb}, "too early"},
		"more values":                {[]byte{3, 0, 0, 0, 0xfb, 0xfb, 0xfb}, "more values"},
		"nothing":                    {[]byte{0, 0, 0, 0}, "empty"},
		"an error among the rows":    {append([]byte{18, 0, 0, 0, 0xff, 0x24, 4, '#', 'H', 'Y', '0', '0', '0'}, "took long"...), "took long"},
		"an error without its state": {append([]byte{12, 0, 0, 0, 0xff, 0x24, 4}, "took long"...), "took long"},
	} {
		w := &wire{conn: readConn{bytes.NewReader(c.sent)}, buf: make([]byte, wireBuffer), begun: true}
		more, err := w.next(make([][]byte, 2))
		if more || err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, %v", name, more, err)
		}
		var answered *mysql.MySQLError
		if errors.As(err, &answered) != strings.HasPrefix(name, "an error") || answered != nil && answered.Number != 1060 {
			t.Errorf("%s: %#v", name, err)
		}
	}
}

// readConn is a connection of which only reading is used.
type readConn struct{ io.Reader }

func (readConn) Write(b []byte) (int, error)      { return len(b), nil }
func (readConn) Close() error                     { return nil }
func (readConn) LocalAddr() net.Addr              { return nil }
func (readConn) RemoteAddr() net.Addr             { return nil }
func (readConn) SetDeadline(time.Time) error      { return nil }
func (readConn) SetReadDeadline(time.Time) error  { return nil }
func (readConn) SetWriteDeadline(time.Time) error { return nil }

// greeter stands in a server's place: it greets, without encryption, and asks for another way of logging in. What it hears is on the channel
// that it returns.
func greeter(t *testing.T, plugin string) (port int, heard <-chan []byte) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	told := make(chan []byte, 1)
	go func() {
		var all []byte
		defer func() { told <- all }()
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		greeting := append([]byte{10}, "10.11.0-MariaDB\x00\x01\x00\x00\x00saltsalt\x00"...)
		greeting = append(greeting, 0xff, 0xf7, 45, 2, 0, 0xff, 0x81, 21) // it can do everything but encryption
		greeting = append(greeting, make([]byte, 10)...)
		greeting = append(greeting, "saltsaltsalt\x00mysql_native_password\x00"...)
		for i, p := range [][]byte{greeting, append([]byte{0xfe}, plugin+"\x00"...)} {
			if _, err := conn.Write(append([]byte{byte(len(p)), 0, 0, byte(2 * i)}, p...)); err != nil {
				return
			}
			b := make([]byte, 4096)
			n, err := conn.Read(b)
			if all = append(all, b[:n]...); err != nil {
				return
			}
		}
	}()
	return l.Addr().(*net.TCPAddr).Port, told
}

// TestNobodyIsGivenThePasswordAsItIs has a server, or who stands in its place, that asks for it where nothing encrypts it; one that cannot
// encrypt; and one that asks for what nobody knows. Each is for somebody to mend.
func TestNobodyIsGivenThePasswordAsItIs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		plugin string
		tls    *tls.Config
		want   error
		says   string
	}{
		"as it is":           {"mysql_clear_password", nil, mysql.ErrCleartextPassword, "of the usual kind"},
		"without encryption": {"mysql_clear_password", &tls.Config{ServerName: "localhost"}, mysql.ErrNoTLS, "given a certificate"},
		"in an unknown way":  {"a_plugin_of_theirs", nil, mysql.ErrUnknownPlugin, "of the usual kind"},
	} {
		port, heard := greeter(t, c.plugin)
		d := &mariadbDialect{called: "mariadb", server: server{host: "127.0.0.1", port: port, user: "u", password: secret.New("s3cret"), database: "d", tls: c.tls, networkTimeout: time.Minute}}
		_, err := d.connect(t.Context())
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v", name, err)
		}
		if err := d.fail(err); fault.KindOf(err) != fault.KindEnvironment || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, said as %v", name, fault.KindOf(err), err)
		}
		if all := <-heard; bytes.Contains(all, []byte("mysql_native_password")) != (c.tls == nil) || bytes.Contains(all, []byte("s3cret")) {
			t.Errorf("%s: the server was told %q", name, all)
		}
	}
}

// TestAServerWithoutNewsSaysThatItIsThere: who follows its log would else take it for one that is silent.
func TestAServerWithoutNewsSaysThatItIsThere(t *testing.T) {
	t.Parallel()
	db := testdb.MariaDB(t).Database(t)
	var position string
	if err := db.QueryRowContext(t.Context(), "SELECT @@global.gtid_binlog_pos").Scan(&position); err != nil {
		t.Fatal(err)
	}
	at, err := parseGTIDs(position)
	if err != nil {
		t.Fatal(err)
	}
	log, err := mariadbOf(t, db).openBinlog(t.Context(), at, 50*time.Millisecond)
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
