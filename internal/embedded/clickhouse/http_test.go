package clickhouse_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	chcompress "github.com/ClickHouse/ch-go/compress"
	"github.com/andybalholm/brotli"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/headwater-data/headwater/internal/embedded/clickhouse/clickhousetest"
)

// call is one plain HTTP request, as curl would send it.
type call struct {
	method     string // POST when empty
	path       string
	parameters string // as in the address, without user and password
	body       string
	header     map[string]string
	host       string
	anonymous  bool // without the user who may write
	reader     bool // as the user who may not
}

type answer struct {
	status int
	header http.Header
	body   string
	err    error // of reading the body
}

func (c call) do(t *testing.T, s clickhousetest.Server) answer {
	t.Helper()
	method := c.method
	if method == "" {
		method = http.MethodPost
	}
	path := c.path
	if path == "" {
		path = "/"
	}
	request, err := http.NewRequest(method, "http://"+s.Addr+path+"?"+c.parameters, strings.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case c.reader:
		request.SetBasicAuth("reader", s.ReaderPassword)
	case !c.anonymous:
		request.SetBasicAuth(s.User, s.Password)
	}
	for name, value := range c.header {
		request.Header.Set(name, value)
	}
	if c.host != "" {
		request.Host = c.host
	}
	client := &http.Client{Transport: &http.Transport{DisableCompression: true, DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatalf("%+v: %v", c, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return answer{status: response.StatusCode, header: response.Header, body: string(body), err: err}
}

func esc(sql string) string { return url.QueryEscape(sql) }

func TestTheInterfaceAnswersAsClickHouseDoes(t *testing.T) {
	t.Parallel()
	s := clickhousetest.Start(t)
	db := s.Database(t)
	s.Exec(t, "CREATE TABLE "+db+".t (a UInt64, s String) ENGINE = MergeTree ORDER BY a")
	s.Exec(t, "INSERT INTO "+db+".t VALUES (1, 'x'), (2, 'y')")
	for name, c := range map[string]struct {
		call   call
		status int    // 200 when 0
		body   string // exactly
		has    string // within the body
		code   string // X-ClickHouse-Exception-Code
		header map[string]string
	}{
		"ping needs no password":                    {call: call{method: "GET", path: "/ping", anonymous: true}, body: "Ok.\n"},
		"replicas_status answers":                   {call: call{method: "GET", path: "/replicas_status", anonymous: true}, body: "Ok.\n"},
		"the bare address answers":                  {call: call{method: "GET", anonymous: true}, body: "Ok.\n"},
		"another page does not exist":               {call: call{method: "GET", path: "/play"}, status: 404, has: "no such page"},
		"the query stands in the body":              {call: call{body: "SELECT 1"}, body: "1\n"},
		"the query stands in the address":           {call: call{method: "GET", parameters: "query=" + esc("SELECT 1")}, body: "1\n"},
		"the query begins in the address":           {call: call{parameters: "query=" + esc("SELECT"), body: "7"}, body: "7\n"},
		"HEAD has no body":                          {call: call{method: "HEAD", parameters: "query=SELECT+1"}},
		"PUT is no method":                          {call: call{method: "PUT", body: "SELECT 1"}, status: 405, has: "understands"},
		"an empty query is an error":                {call: call{body: " ; "}, status: 400, code: "62", has: "Empty query"},
		"a comment after the query is no matter":    {call: call{body: "SELECT 1 -- ; FORMAT JSON"}, body: "1\n"},
		"a semicolon ends the query":                {call: call{body: "SELECT 1;\n"}, body: "1\n"},
		"two statements are refused":                {call: call{body: "SELECT 1; SELECT 2"}, status: 400, code: "62", has: "Multi-statements"},
		"default_format decides":                    {call: call{parameters: "default_format=JSONEachRow", body: "SELECT 1 AS a"}, body: "{\"a\":1}\n", header: map[string]string{"X-ClickHouse-Format": "JSONEachRow", "Content-Type": "application/x-ndjson; charset=UTF-8"}},
		"a header names the format":                 {call: call{header: map[string]string{"X-ClickHouse-Format": "CSV"}, body: "SELECT 'a'"}, body: "\"a\"\n"},
		"FORMAT in the query wins":                  {call: call{parameters: "default_format=JSON", body: "SELECT 'a' FORMAT CSV"}, body: "\"a\"\n", header: map[string]string{"X-ClickHouse-Format": "CSV"}},
		"SETTINGS may follow FORMAT":                {call: call{body: "SELECT true FORMAT TSV SETTINGS bool_true_representation = 'ja', max_threads = 1;"}, body: "ja\n"},
		"a column may be called format":             {call: call{body: "SELECT 3 AS format"}, body: "3\n"},
		"an unknown format is an error":             {call: call{parameters: "default_format=Nope", body: "SELECT 1"}, status: 404, code: "73"},
		"a bad format name is an error":             {call: call{parameters: "default_format=" + esc("TSV SETTINGS x=1"), body: "SELECT 1"}, status: 404, code: "73"},
		"database decides":                          {call: call{parameters: "database=" + db, body: "SELECT count() FROM t"}, body: "2\n"},
		"a header names the database":               {call: call{header: map[string]string{"X-ClickHouse-Database": db}, body: "SELECT count() FROM t"}, body: "2\n"},
		"an unknown database is an error":           {call: call{parameters: "database=nope", body: "SELECT 1"}, status: 404, code: "81"},
		"settings stand in the address":             {call: call{parameters: "max_block_size=77&bool_true_representation=ja", body: "SELECT getSetting('max_block_size'), true"}, body: "77\tja\n"},
		"an unknown setting is an error":            {call: call{parameters: "nopenope=1", body: "SELECT 1"}, status: 404, code: "115"},
		"a setting's name cannot carry SQL":         {call: call{parameters: esc("max_threads=1, readonly") + "=0", body: "SELECT 1"}, status: 404, code: "115"},
		"a setting's value cannot carry SQL":        {call: call{parameters: "bool_true_representation=" + esc(`x', readonly = '1`), body: "SELECT true"}, body: "x', readonly = '1\n"},
		"a setting of one request is not another's": {call: call{body: "SELECT getSetting('max_block_size')"}, body: "65409\n"},
		"memory has an upper bound":                 {call: call{parameters: "max_memory_usage=99999999999", body: "SELECT 1"}, status: 500, code: "452"},
		"parameters are bound":                      {call: call{parameters: "param_x=" + esc("it's \\\\ 值") + "&param_n=5", body: "SELECT {x:String}, {n:UInt8} + 1"}, body: "it\\'s \\\\ 值\t6\n"},
		"parameters are bound beside a backslash":   {call: call{parameters: "param_x=a", body: "SELECT concat({x:String}, '\\\\')"}, body: "a\\\\\n"},
		"a parameter may be an identifier":          {call: call{parameters: "param_t=t&database=" + db, body: "SELECT count() FROM {t:Identifier}"}, body: "2\n"},
		"a missing parameter is an error":           {call: call{body: "SELECT {x:String}"}, status: 500, code: "456"},
		"a syntax error has code and text":          {call: call{body: "SELEKT 1"}, status: 400, code: "62", has: "Code: 62. DB::Exception: Syntax error"},
		"an unknown table is not found":             {call: call{body: "SELECT * FROM nope"}, status: 404, code: "60", has: "UNKNOWN_TABLE"},
		"an error's text ends with the version":     {call: call{body: "SELECT throwIf(1)"}, status: 500, code: "395", has: "(version 26."},
		"the query's id comes back":                 {call: call{parameters: "query_id=my-id", body: "SELECT 1"}, body: "1\n", header: map[string]string{"X-ClickHouse-Query-Id": "my-id", "X-ClickHouse-Timezone": "Etc/UTC"}},
		"an error has the query's id too":           {call: call{parameters: "query_id=my-id", body: "SELECT nope"}, status: 404, code: "47", header: map[string]string{"X-ClickHouse-Query-Id": "my-id"}},
		"DDL answers with nothing":                  {call: call{body: "CREATE TABLE " + db + ".u (a Int8) ENGINE = Memory"}, body: "", header: map[string]string{"Content-Length": "0"}},
		"SHOW has a result":                         {call: call{body: "SHOW TABLES FROM " + db + " LIKE 't' FORMAT JSONEachRow"}, body: "{\"name\":\"t\"}\n"},
		"DESCRIBE has a result":                     {call: call{body: "DESCRIBE TABLE " + db + ".t FORMAT CSV"}, has: "\"a\",\"UInt64\""},
		"EXPLAIN has a result":                      {call: call{body: "EXPLAIN SELECT 1"}, has: "ReadFromSystemOne"},
		"EXISTS has a result":                       {call: call{body: "EXISTS TABLE " + db + ".t"}, body: "1\n"},
		"CHECK has a result":                        {call: call{body: "CHECK TABLE " + db + ".t"}, has: "all_1_1_"},
		"WITH begins a query":                       {call: call{body: "WITH 1 AS x SELECT x UNION ALL SELECT 1"}, body: "1\n1\n"},
		"OPTIMIZE works":                            {call: call{body: "OPTIMIZE TABLE " + db + ".t FINAL"}},
		"wait_end_of_query holds the answer":        {call: call{parameters: "wait_end_of_query=1&max_block_size=100", body: "SELECT throwIf(number = 1000000) FROM numbers(1000001)"}, status: 500, code: "395"},
		"the address must be readable":              {call: call{parameters: "query=%zz"}, status: 400, code: "36"},
		"a multipart body is refused":               {call: call{header: map[string]string{"Content-Type": "multipart/form-data; boundary=x"}, body: "--x--"}, status: 501, code: "48"},
		"a form's content type is no matter":        {call: call{header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, body: "SELECT 1"}, body: "1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := c.call.do(t, s)
			want := c.status
			if want == 0 {
				want = http.StatusOK
			}
			if got.status != want {
				t.Errorf("got status %d, want %d: %s", got.status, want, got.body)
			}
			if c.has == "" && c.code == "" && got.body != c.body {
				t.Errorf("got body %q, want %q", got.body, c.body)
			}
			if !strings.Contains(got.body, c.has) {
				t.Errorf("got body %q, want within it %q", got.body, c.has)
			}
			if code := got.header.Get("X-ClickHouse-Exception-Code"); code != c.code {
				t.Errorf("got code %q, want %q: %s", code, c.code, got.body)
			}
			for key, value := range c.header {
				if got.header.Get(key) != value {
					t.Errorf("got %s %q, want %q", key, got.header.Get(key), value)
				}
			}
			if got.err != nil {
				t.Error(got.err)
			}
		})
	}
}

func TestEveryFormatIsOneDocumentHoweverManyBlocks(t *testing.T) {
	t.Parallel()
	s := clickhousetest.Start(t)
	const rows = 200_000
	query := func(format string) string {
		got := call{parameters: "max_block_size=1000&max_threads=2", body: fmt.Sprintf("SELECT number AS n, toString(number) AS s FROM numbers_mt(%d) FORMAT %s", rows, format)}.do(t, s)
		if got.status != 200 || got.err != nil {
			t.Fatalf("%s: %d %v %.300s", format, got.status, got.err, got.body)
		}
		return got.body
	}
	lines := func(body string) int { return strings.Count(body, "\n") }
	for format, check := range map[string]func(body string) error{
		"JSON": func(body string) error {
			var document struct {
				Data []struct{ S string }
				Rows int
			}
			if err := json.Unmarshal([]byte(body), &document); err != nil {
				return err
			}
			if len(document.Data) != rows || document.Rows != rows {
				return fmt.Errorf("%d rows", len(document.Data))
			}
			return nil
		},
		"CSVWithNames": func(body string) error {
			if lines(body) != rows+1 || strings.Count(body, `"n"`) != 1 {
				return fmt.Errorf("%d lines", lines(body))
			}
			return nil
		},
		"TSVWithNamesAndTypes": func(body string) error {
			if lines(body) != rows+2 || strings.Count(body, "UInt64\tString") != 1 {
				return fmt.Errorf("%d lines", lines(body))
			}
			return nil
		},
		"ArrowStream": func(body string) error {
			mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
			defer mem.AssertSize(t, 0)
			reader, err := ipc.NewReader(strings.NewReader(body), ipc.WithAllocator(mem))
			if err != nil {
				return err
			}
			defer reader.Release()
			got := int64(0)
			for reader.Next() {
				got += reader.Record().NumRows()
			}
			if got != rows {
				return fmt.Errorf("%d rows", got)
			}
			return reader.Err()
		},
		"Parquet": func(body string) error {
			if strings.Count(body, "PAR1") < 2 || !strings.HasPrefix(body, "PAR1") || !strings.HasSuffix(body, "PAR1") {
				return fmt.Errorf("no Parquet file")
			}
			return nil
		},
		"RowBinaryWithNamesAndTypes": func(body string) error {
			if strings.Count(body, "\x06UInt64\x06String") != 1 {
				return fmt.Errorf("no head, or several")
			}
			return nil
		},
		"XML": func(body string) error {
			if strings.Count(body, "<?xml") != 1 || strings.Count(body, "<row>") != rows {
				return fmt.Errorf("%d rows", strings.Count(body, "<row>"))
			}
			return nil
		},
	} {
		t.Run(format, func(t *testing.T) {
			if err := check(query(format)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestASmallAnswerHasItsSummaryInTheHeaders(t *testing.T) {
	t.Parallel()
	s := clickhousetest.Start(t)
	db := s.Database(t)
	s.Exec(t, "CREATE TABLE "+db+".t (a UInt64) ENGINE = MergeTree ORDER BY a")
	summary := func(a answer) map[string]string {
		t.Helper()
		var m map[string]string
		if err := json.Unmarshal([]byte(a.header.Get("X-ClickHouse-Summary")), &m); err != nil {
			t.Fatalf("%d %s: %v", a.status, a.body, err)
		}
		return m
	}
	if got := summary(call{body: "INSERT INTO " + db + ".t FORMAT CSV\n1\n2\n3\n"}.do(t, s)); got["written_rows"] != "3" || got["written_bytes"] != "24" {
		t.Errorf("got %v of an INSERT of 3 rows", got)
	}
	if got := summary(call{body: "SELECT a FROM " + db + ".t"}.do(t, s)); got["read_rows"] != "3" || got["result_rows"] != "3" || got["elapsed_ns"] == "0" {
		t.Errorf("got %v of a SELECT of 3 rows", got)
	}
	if got := summary(call{body: "INSERT INTO " + db + ".t SELECT number FROM numbers(5)"}.do(t, s)); got["written_rows"] != "5" {
		t.Errorf("got %v of an INSERT SELECT of 5 rows", got)
	}
}

func gzipped(t *testing.T, to func(io.Writer) io.WriteCloser, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := to(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

var encodings = map[string]struct {
	write func(io.Writer) io.WriteCloser
	read  func(io.Reader) (io.Reader, error)
}{
	"gzip":    {func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }, func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
	"deflate": {func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }, func(r io.Reader) (io.Reader, error) { return zlib.NewReader(r) }},
	"br":      {func(w io.Writer) io.WriteCloser { return brotli.NewWriter(w) }, func(r io.Reader) (io.Reader, error) { return brotli.NewReader(r), nil }},
	"lz4":     {func(w io.Writer) io.WriteCloser { return lz4.NewWriter(w) }, func(r io.Reader) (io.Reader, error) { return lz4.NewReader(r), nil }},
	"zstd": {func(w io.Writer) io.WriteCloser {
		z, err := zstd.NewWriter(w)
		if err != nil {
			panic(err)
		}
		return z
	}, func(r io.Reader) (io.Reader, error) {
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		return z, err
	}},
}

func TestBodiesAreCompressedBothWays(t *testing.T) {
	t.Parallel()
	s := clickhousetest.Start(t)
	db := s.Database(t)
	s.Exec(t, "CREATE TABLE "+db+".t (e String, a UInt64) ENGINE = MergeTree ORDER BY a")
	const rows = 300_000 // more than is held back before the answer begins
	for name, encoding := range encodings {
		t.Run("answers in "+name, func(t *testing.T) {
			got := call{parameters: "enable_http_compression=1", header: map[string]string{"Accept-Encoding": name}, body: fmt.Sprintf("SELECT number FROM numbers(%d)", rows)}.do(t, s)
			if got.header.Get("Content-Encoding") != name {
				t.Fatalf("got Content-Encoding %q", got.header.Get("Content-Encoding"))
			}
			reader, err := encoding.read(strings.NewReader(got.body))
			if err != nil {
				t.Fatal(err)
			}
			plain, err := io.ReadAll(reader)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Count(plain, []byte("\n")) != rows || name != "lz4" && len(got.body) >= len(plain) {
				t.Errorf("got %d lines in %d bytes", bytes.Count(plain, []byte("\n")), len(got.body))
			}
		})
		t.Run("rows in "+name, func(t *testing.T) {
			var text strings.Builder
			for i := range 1000 {
				fmt.Fprintf(&text, "%s,%d\n", name, i)
			}
			got := call{
				parameters: "database=" + db + "&query=" + esc("INSERT INTO t FORMAT CSV"), header: map[string]string{"Content-Encoding": name},
				body: gzipped(t, encoding.write, text.String()),
			}.do(t, s)
			if got.status != 200 {
				t.Fatal(got.body)
			}
			if n := s.Exec(t, "SELECT count() FROM "+db+".t WHERE e = '"+name+"'"); n != "1000\n" {
				t.Errorf("got %s rows", n)
			}
		})
		t.Run("cut rows in "+name, func(t *testing.T) {
			body := gzipped(t, encoding.write, strings.Repeat("cut,1\n", 100_000))
			got := call{parameters: "database=" + db + "&query=" + esc("INSERT INTO t FORMAT CSV"), header: map[string]string{"Content-Encoding": name}, body: body[:len(body)-6]}.do(t, s)
			if got.status != 400 {
				t.Errorf("got status %d: %s", got.status, got.body)
			}
			if n := s.Exec(t, "SELECT count() FROM "+db+".t WHERE e = 'cut'"); n != "0\n" {
				t.Errorf("got %s rows", n)
			}
		})
	}
	t.Run("no answer is compressed unasked", func(t *testing.T) {
		got := call{body: "SELECT 1"}.do(t, s)
		if got.header.Get("Content-Encoding") != "" || got.body != "1\n" {
			t.Errorf("got %q %q", got.header.Get("Content-Encoding"), got.body)
		}
	})
	t.Run("enable_http_compression=0 wins", func(t *testing.T) {
		got := call{parameters: "enable_http_compression=0", header: map[string]string{"Accept-Encoding": "gzip"}, body: "SELECT 1"}.do(t, s)
		if got.header.Get("Content-Encoding") != "" || got.body != "1\n" {
			t.Errorf("got %q %q", got.header.Get("Content-Encoding"), got.body)
		}
	})
	t.Run("an unknown encoding is refused", func(t *testing.T) {
		if got := (call{header: map[string]string{"Content-Encoding": "rot13"}, body: "SELECT 1"}).do(t, s); got.status != 501 {
			t.Errorf("got %d %s", got.status, got.body)
		}
	})
	for _, method := range []string{"LZ4", "ZSTD"} {
		t.Run("native frames in "+method, func(t *testing.T) {
			got := call{parameters: "compress=1&network_compression_method=" + method, body: fmt.Sprintf("SELECT number FROM numbers(%d)", rows)}.do(t, s)
			plain, err := io.ReadAll(chcompress.NewReader(strings.NewReader(got.body)))
			if err != nil && !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			if bytes.Count(plain, []byte("\n")) != rows {
				t.Errorf("got %d lines", bytes.Count(plain, []byte("\n")))
			}
			method := map[string]chcompress.Method{"LZ4": chcompress.LZ4, "ZSTD": chcompress.ZSTD}[method]
			w := chcompress.NewWriter(0, method)
			if err := w.Compress([]byte("native,1\nnative,2\n")); err != nil {
				t.Fatal(err)
			}
			insert := call{parameters: "decompress=1&database=" + db + "&query=" + esc("INSERT INTO t FORMAT CSV"), body: string(w.Data)}
			if got := insert.do(t, s); got.status != 200 {
				t.Errorf("got %d %s", got.status, got.body)
			}
			for _, cut := range []int{1, 10, len(w.Data) - 25, len(w.Data) - 1} {
				insert.body = string(w.Data) + string(w.Data[:len(w.Data)-cut])
				if got := insert.do(t, s); got.status != 400 {
					t.Errorf("got %d %s of a body cut by %d bytes", got.status, got.body, cut)
				}
			}
		})
	}
	if n := s.Exec(t, "SELECT count() FROM "+db+".t WHERE e = 'native'"); n != "4\n" {
		t.Errorf("got %s native rows, want 4", n)
	}
}

func TestRowsComeInEveryForm(t *testing.T) {
	t.Parallel()
	s := clickhousetest.Start(t)
	db := s.Database(t)
	for name, c := range map[string]struct {
		query, body string
		rows        string // a and s, as TSV
		code        string
	}{
		"values in the body":                    {body: "INSERT INTO t VALUES (1, 'x'), (2, 'it\\'s')", rows: "1\tx\n2\tit\\'s\n"},
		"values after a lower-case word":        {body: "insert into t values(1,'x')", rows: "1\tx\n"},
		"values with a closing semicolon":       {body: "INSERT INTO t VALUES (1, 'x');", rows: "1\tx\n"},
		"values with an expression":             {body: "INSERT INTO t VALUES (1 + 1, upper('x'))", rows: "2\tX\n"},
		"values that only mention a file":       {body: "INSERT INTO t VALUES (1 + 1, 'a \\\\ file(') , (toUInt8('3'), 'it''s \\'file')", rows: "2\ta \\\\ file(\n3\tit\\'s \\'file\n"},
		"values with a name in quotes":          {body: "INSERT INTO t VALUES (1, \"upper\"('x'))", code: "344"},
		"a list of columns":                     {body: "INSERT INTO t (s) VALUES ('x')", rows: "0\tx\n"},
		"columns but one":                       {body: "INSERT INTO t (* EXCEPT(s)) VALUES (5)", rows: "5\t\n"},
		"the word TABLE":                        {body: "INSERT INTO TABLE t VALUES (1, 'x')", rows: "1\tx\n"},
		"comments before and within":            {body: "/* a */ INSERT -- b\nINTO t /* VALUES */ VALUES (1, 'x')", rows: "1\tx\n"},
		"a format in the body":                  {body: "INSERT INTO t FORMAT CSV\n1,x\n2,y\n", rows: "1\tx\n2\ty\n"},
		"a format with a carriage return":       {body: "INSERT INTO t FORMAT CSV\r\n1,x\r\n", rows: "1\tx\n"},
		"rows on the line of the format":        {body: `INSERT INTO t FORMAT JSONEachRow {"a":1,"s":"x"}`, rows: "1\tx\n"},
		"the statement in the address":          {query: "INSERT INTO t FORMAT TSV", body: "1\tx\n", rows: "1\tx\n"},
		"the statement closed by a semicolon":   {query: "INSERT INTO t FORMAT TSV;", body: "1\tx\n", rows: "1\tx\n"},
		"settings before the format":            {query: "INSERT INTO t SETTINGS input_format_skip_unknown_fields = 1 FORMAT JSONEachRow", body: `{"a":1,"s":"x","z":9}`, rows: "1\tx\n"},
		"settings after the format":             {query: "INSERT INTO t FORMAT JSONEachRow SETTINGS input_format_skip_unknown_fields = 1, max_insert_block_size=10", body: `{"a":1,"s":"x","z":9}`, rows: "1\tx\n"},
		"values in the address":                 {query: "INSERT INTO t VALUES (1, 'x')", rows: "1\tx\n"},
		"values begun in the address":           {query: "INSERT INTO t VALUES", body: "(1, 'x')", rows: "1\tx\n"},
		"no rows at all":                        {query: "INSERT INTO t FORMAT CSV", rows: ""},
		"a SELECT":                              {body: "INSERT INTO t SELECT 3, 'z'", rows: "3\tz\n"},
		"a SELECT in brackets":                  {body: "INSERT INTO t (SELECT 3, 'z')", rows: "3\tz\n"},
		"a SELECT WITH":                         {body: "INSERT INTO t (a, s) WITH 3 AS x SELECT x, 'z'", rows: "3\tz\n"},
		"a statement that is data":              {body: "INSERT INTO t FORMAT CSV\n1,\"DROP TABLE t; INSERT INTO t FROM INFILE 'x'\"\n", rows: "1\tDROP TABLE t; INSERT INTO t FROM INFILE \\'x\\'\n"},
		"bad rows":                              {body: "INSERT INTO t FORMAT CSV\n1,x\nzwei,y\n", code: "27"},
		"an unknown table":                      {body: "INSERT INTO nope FORMAT CSV\n1\n", code: "60"},
		"an unknown format":                     {body: "INSERT INTO t FORMAT Nope\n1\n", code: "73"},
		"an unknown column":                     {body: "INSERT INTO t (z) FORMAT CSV\n1\n", code: "16"},
		"a file on this machine":                {body: "INSERT INTO t FROM INFILE '/etc/passwd' FORMAT CSV", code: "497"},
		"a compressed file on this machine":     {body: "INSERT INTO t FROM /* */ INFILE '/etc/passwd' COMPRESSION 'none' FORMAT CSV", code: "497"},
		"a table function that reaches outside": {body: "INSERT INTO FUNCTION file('/tmp/headwater-must-not-exist.csv', 'CSV', 'a UInt64') VALUES (1)", code: "497"},
	} {
		t.Run(name, func(t *testing.T) {
			s.Exec(t, "CREATE OR REPLACE TABLE "+db+".t (a UInt64, s String) ENGINE = MergeTree ORDER BY a")
			got := call{parameters: "database=" + db + "&query=" + esc(c.query), body: c.body}.do(t, s)
			if code := got.header.Get("X-ClickHouse-Exception-Code"); code != c.code {
				t.Errorf("got code %q, want %q: %s", code, c.code, got.body)
			}
			if rows := s.Exec(t, "SELECT a, s FROM "+db+".t ORDER BY a"); rows != c.rows {
				t.Errorf("got rows %q, want %q", rows, c.rows)
			}
		})
	}
}

func TestAClientThatDiesHalfWayHasInsertedNothing(t *testing.T) {
	t.Parallel()
	s := clickhousetest.Start(t)
	db := s.Database(t)
	s.Exec(t, "CREATE TABLE "+db+".t (a UInt64) ENGINE = MergeTree ORDER BY a")
	row := "123456789\n"
	rows := strings.Repeat(row, 3_000_000) // several of the engine's blocks
	request := func(framing string) string {
		return fmt.Sprintf("POST /?database=%s&query=%s HTTP/1.1\r\nHost: localhost\r\nX-ClickHouse-User: %s\r\nX-ClickHouse-Key: %s\r\n%s\r\n\r\n",
			db, esc("INSERT INTO t FORMAT TSV"), s.User, s.Password, framing)
	}
	for name, text := range map[string]string{
		"with a length that never comes":  request(fmt.Sprintf("Content-Length: %d", len(rows)+1)) + rows,
		"in chunks without the last one":  request("Transfer-Encoding: chunked") + fmt.Sprintf("%x\r\n%s\r\n", len(rows), rows),
		"in the middle of a chunk":        request("Transfer-Encoding: chunked") + fmt.Sprintf("%x\r\n%s", len(rows)+5, rows),
		"after a chunk that is no number": request("Transfer-Encoding: chunked") + fmt.Sprintf("%x\r\n%s\r\nzz\r\n", len(rows), rows),
	} {
		t.Run(name, func(t *testing.T) {
			connection, err := net.Dial("tcp", s.Addr)
			if err != nil {
				t.Fatal(err)
			}
			defer connection.Close()
			if _, err := io.WriteString(connection, text); err != nil {
				t.Fatal(err)
			}
			// The server sees the end of the client's side and gives its verdict.
			if err := connection.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			verdict, err := io.ReadAll(connection)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(verdict, []byte(" 200 ")) {
				t.Errorf("got %s", verdict)
			}
			if n := s.Exec(t, "SELECT count() FROM "+db+".t"); n != "0\n" {
				t.Errorf("got %s rows, want none", n)
			}
		})
	}
}

func TestAnErrorInTheMiddleEndsTheAnswerBadly(t *testing.T) {
	t.Parallel()
	s := clickhousetest.Start(t)
	for _, parameters := range []string{"", "compress=1", "enable_http_compression=1"} {
		got := call{
			parameters: parameters + "&max_block_size=1000", header: map[string]string{"Accept-Encoding": "gzip"},
			body: "SELECT throwIf(number = 3000000) FROM numbers(3000001)",
		}.do(t, s)
		if got.status != 200 || got.err == nil {
			t.Errorf("%q: got status %d and the end %v, want 200 and a broken one", parameters, got.status, got.err)
		}
		body := got.body
		if got.header.Get("Content-Encoding") == "gzip" {
			reader, err := gzip.NewReader(strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			plain, _ := io.ReadAll(reader) // it ends early
			body = string(plain)
		}
		tag := got.header.Get("X-ClickHouse-Exception-Tag")
		if len(tag) != 16 || !strings.Contains(body, "\r\n__exception__\r\n"+tag+"\r\nCode: 395.") || !strings.HasSuffix(body, tag+"\r\n__exception__\r\n") {
			t.Errorf("%q: got an end of %q", parameters, body[max(0, len(body)-400):])
		}
	}
}
