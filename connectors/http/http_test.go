package http_test

import (
	"cmp"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"go.uber.org/goleak"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/connectors/connectortest"
	httpconnector "github.com/headwater-data/headwater/connectors/http"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/secret"
	"github.com/headwater-data/headwater/internal/testca"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// office is an interface over one table, in all ways of making pages that there are.
type office struct {
	mu      sync.Mutex
	token   string
	records []kept // in the order of their seq
	seq     int64
	state   state
	back    chan struct{}
}

// kept is a record, written once: what the server costs is no part of the test.
type kept struct {
	seq    int64
	values []any
	raw    []byte
}

type state int

const (
	well state = iota
	lost
	silent
)

func (o *office) put(table connectortest.Table) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	old := map[any]kept{}
	for _, r := range o.records {
		old[r.values[0]] = r
	}
	o.records = nil
	for _, values := range table.Rows {
		before, ok := old[values[0]]
		if ok && slices.Equal(before.values, values) {
			o.records = append(o.records, before)
			continue
		}
		r := kept{seq: before.seq, values: values}
		if !ok {
			o.seq++
			r.seq = o.seq
		}
		object := map[string]any{"seq": r.seq}
		for i, v := range values {
			object[table.Columns[i]] = v
		}
		var err error
		if r.raw, err = json.Marshal(object); err != nil {
			return err
		}
		o.records = append(o.records, r)
	}
	return nil
}

func (o *office) set(now state) (func() error, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.state, o.back = now, make(chan struct{})
	return func() error {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.state = well
		close(o.back)
		return nil
	}, nil
}

func (o *office) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	token, records, now, back := o.token, o.records, o.state, o.back
	o.mu.Unlock()
	switch now {
	case lost:
		panic(http.ErrAbortHandler)
	case silent:
		select {
		case <-back:
		case <-r.Context().Done():
		}
	}
	if r.Header.Get("Authorization") != "Bearer "+token {
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	number := func(name string, otherwise int) int {
		n, err := strconv.Atoi(cmp.Or(r.FormValue(name), strconv.Itoa(otherwise)))
		if err != nil {
			return otherwise
		}
		return n
	}
	size := min(number("size", 100), 400) // it never sends more, whatever it is asked for
	list := func(those []kept) string {
		var b strings.Builder
		for i, r := range those {
			if i > 0 {
				b.WriteByte(',')
			}
			b.Write(r.raw)
		}
		return "[" + b.String() + "]"
	}
	cut := func(from int) string {
		from = min(from, len(records))
		return list(records[from:min(from+size, len(records))])
	}
	answer := ""
	switch strings.TrimPrefix(r.URL.Path, "/api/") {
	case "all":
		answer = `{"data": {"items": ` + list(records) + `}}`
	case "number":
		answer = fmt.Sprintf(`{"data": {"items": %s, "total": %d}}`, cut((number("page", 1)-1)*size), len(records))
	case "offset":
		answer = cut(number("from", 0))
	case "token":
		from, next := number("cursor", 0), "null"
		if from+size < len(records) {
			next = strconv.Itoa(from + size)
		}
		answer = fmt.Sprintf(`{"items": %s, "next": %s}`, cut(from), next)
	case "link":
		from := number("from", 0)
		if from+size < len(records) {
			w.Header().Add("Link", fmt.Sprintf(`<%s?from=0>; rel="first", </api/link?from=%d&size=%d>; rel="next"`, r.URL.Path, from+size, size))
		}
		answer = cut(from)
	case "after":
		since := int64(number("since", 0))
		from, _ := slices.BinarySearchFunc(records, since+1, func(r kept, n int64) int { return cmp.Compare(r.seq, n) })
		answer = `{"items": ` + cut(from) + `}`
	default:
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if _, err := io.WriteString(w, answer); err != nil {
		panic(http.ErrAbortHandler) // whoever asked has left
	}
}

// serve starts a server for all cases of a test; use says whose office answers.
func serve(t *testing.T) (server *httptest.Server, use func(http.Handler)) {
	var mu sync.Mutex
	var now http.Handler
	server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		h := now
		mu.Unlock()
		h.ServeHTTP(w, r)
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(server.Close)
	return server, func(h http.Handler) {
		mu.Lock()
		defer mu.Unlock()
		now = h
	}
}

var columns = []string{"id", "名称", "note"}

func open(t *testing.T, env connectors.Environment, c *httpconnector.Config, o *httpconnector.Options) connectors.Source {
	t.Helper()
	d, streams := httpconnector.Definition(), map[string]any{"s": o}
	if faults := d.Check(c, streams); len(faults) > 0 {
		t.Fatal(faults)
	}
	src, err := d.Open(env, c, streams)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// patience is how long an answer may take: less than the kit waits for the end of a silent system, and more than a busy machine takes
// for one.
const patience = 8 * time.Second

func TestConformance(t *testing.T) {
	server, use := serve(t)
	authority, err := testca.New()
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := authority.Issue("office")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.StartTLS()
	for _, c := range []struct {
		name string
		o    httpconnector.Options
		can  connectortest.Capabilities
	}{
		{"whole", httpconnector.Options{Path: "number", Columns: columns, Records: "data.items", Total: "data.total", Pages: &httpconnector.Pages{By: "number", Param: "page", Size: 400, SizeParam: "size"}}, connectortest.Capabilities{Replaces: true}},
		{"after", httpconnector.Options{Path: "after", Columns: append([]string{"seq"}, columns...), Records: "items", After: &httpconnector.After{Column: "seq", Param: "since", Size: 400, SizeParam: "size"}}, connectortest.Capabilities{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			can := c.can
			can.Changes, can.Secrets, can.Breaks, can.Loses, can.Hangs = true, true, true, true, true
			connectortest.Run(t, func(t *testing.T, outside *connectortest.Outside) connectors.Source {
				o := &office{token: outside.Secret}
				use(o)
				outside.Store = o.put
				outside.Break = func() error {
					o.mu.Lock()
					defer o.mu.Unlock()
					o.token = "changed"
					return nil
				}
				outside.Lose = func() (func() error, error) { return o.set(lost) }
				outside.Hang = func() (func() error, error) { return o.set(silent) }
				if err := o.put(outside.Table); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(outside.Dir, "ca.pem"), authority.Certificate(), 0o600); err != nil {
					t.Fatal(err)
				}
				options := c.o
				return open(t, outside.Environment, &httpconnector.Config{
					Address: server.URL + "/api", Token: secret.New(outside.Secret), Timeout: patience, TLS: &httpconnector.TLS{CA: "ca.pem"},
				}, &options)
			}, can)
		})
	}
}

// reading is what one Read gave.
type reading struct {
	rows    []string
	rejects []string
	cursor  connectors.Cursor
	err     error
}

func read(t *testing.T, c *httpconnector.Config, o *httpconnector.Options, after connectors.Cursor) (r reading) {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	src := open(t, connectors.Environment{Dir: t.TempDir(), Allocator: mem, Logger: slog.New(slog.DiscardHandler), Now: time.Now}, c, o)
	defer src.Close()
	r.cursor = after
	for b, err := range src.Read(t.Context(), connectors.Stream{Name: "s"}, after) {
		if err != nil {
			r.err = err
			return r
		}
		for row := range int(b.Record.NumRows()) {
			var values []string
			for _, column := range b.Record.Columns() {
				values = append(values, column.ValueStr(row))
			}
			r.rows = append(r.rows, strings.Join(values, "|"))
		}
		for _, reject := range b.Rejects {
			r.rejects = append(r.rejects, reject.Rule+": "+reject.Reason)
		}
		r.cursor = slices.Clone(b.Cursor)
	}
	return r
}

func TestEveryWayOfPagesBringsEveryRecordOnce(t *testing.T) {
	server, use := serve(t)
	server.Start()
	table := connectortest.Table{Columns: columns}
	for i := range 1003 {
		table.Rows = append(table.Rows, []any{fmt.Sprint(i), "x", nil})
	}
	o := &office{token: "t"}
	if err := o.put(table); err != nil {
		t.Fatal(err)
	}
	use(o)
	config := func() *httpconnector.Config {
		return &httpconnector.Config{Address: server.URL + "/api/", Token: secret.New("t")}
	}
	for _, c := range []struct {
		name string
		o    httpconnector.Options
	}{
		{"all in one answer", httpconnector.Options{Path: "all", Records: "data.items"}},
		{"by number", httpconnector.Options{Path: "/number", Records: "data.items", Pages: &httpconnector.Pages{By: "number", Param: "page"}}},
		{"by number, with a total", httpconnector.Options{Path: "number", Records: "data.items", Total: "data.total", Pages: &httpconnector.Pages{By: "number", Param: "page"}}},
		// The server sends 400 at most: a page that is smaller than what was asked for is not the end.
		{"by number, of a server that sends less than it is asked for", httpconnector.Options{Path: "number", Records: "data.items", Pages: &httpconnector.Pages{By: "number", Param: "page", Size: 700, SizeParam: "size"}}},
		{"by offset", httpconnector.Options{Path: "offset", Pages: &httpconnector.Pages{By: "offset", Param: "from", Size: 700, SizeParam: "size"}}},
		{"by token", httpconnector.Options{Path: "token", Records: "items", Pages: &httpconnector.Pages{By: "token", Param: "cursor", Next: "next"}}},
		{"by link", httpconnector.Options{Path: "link", Pages: &httpconnector.Pages{By: "link", Size: 50, SizeParam: "size"}}},
		{"after", httpconnector.Options{Path: "after", Records: "items", Query: map[string]string{"size": "170"}, After: &httpconnector.After{Column: "seq", Param: "since"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.Columns = []string{"id", "seq"}
			r := read(t, config(), &c.o, nil)
			if r.err != nil || len(r.rows) != len(table.Rows) {
				t.Fatalf("%d rows, error %v", len(r.rows), r.err)
			}
			for i, row := range r.rows {
				if want := fmt.Sprintf("%d|%d", i, i+1); row != want {
					t.Fatalf("row %d is %s, want %s", i, row, want)
				}
			}
			if again := read(t, config(), &c.o, r.cursor); again.err != nil || len(again.rows) > 0 {
				t.Errorf("nothing new: %d rows, error %v", len(again.rows), again.err)
			}
		})
	}
}

// answers is a server that gives these answers, one after another, and the last one for ever.
func answers(t *testing.T, list ...string) *httptest.Server {
	t.Helper()
	n := 0
	var mu sync.Mutex
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		answer := list[min(n, len(list)-1)]
		n++
		if code, text, ok := strings.Cut(answer, "!"); ok {
			status, err := strconv.Atoi(code)
			if err != nil {
				t.Errorf("%q: %v", answer, err)
			}
			if status/100 == 3 {
				w.Header().Set("Location", text)
			}
			w.Header().Set("Retry-After", "30")
			w.WriteHeader(status)
			return
		}
		if _, err := w.Write([]byte(answer)); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	return server
}

func TestValuesArriveAsTheyStand(t *testing.T) {
	server := answers(t, "\ufeff"+`{"a.b": [{"n": 1.10, "big": 12345678901234567890123, "yes": true, "none": null, "deep": {"er": {"est": "𠀀"}}, "list": [1, "<&>"], "with.dot": "d", "pair": ["x", "y"]}, 7, {"n": ""}]}`)
	r := read(t, &httpconnector.Config{Address: server.URL}, &httpconnector.Options{
		Records: "a.b", Columns: []string{"n", "big", "yes", "none", "deep.er.est", "deep.er", "list", "with.dot", "pair.1", "away"}, Optional: []string{"away"},
	}, nil)
	if r.err != nil {
		t.Fatal(r.err)
	}
	want := []string{`1.10|12345678901234567890123|true|(null)|𠀀|{"est":"𠀀"}|[1,"<&>"]|d|y|(null)`, `|(null)|(null)|(null)|(null)|(null)|(null)|(null)|(null)|(null)`}
	if !slices.Equal(r.rows, want) {
		t.Errorf("got  %q\nwant %q", r.rows, want)
	}
	if len(r.rejects) != 1 || r.rejects[0] != "http.record: the record is a number, not an object" {
		t.Errorf("rejects: %q", r.rejects)
	}
}

func TestWhatGoesWrongIsSortedAndSaysWhatToDo(t *testing.T) {
	elsewhere := httptest.NewServer(http.NotFoundHandler())
	defer elsewhere.Close()
	pages := func() *httpconnector.Options {
		return &httpconnector.Options{Columns: []string{"a"}, Pages: &httpconnector.Pages{By: "number", Param: "p"}}
	}
	after := func() *httpconnector.Options {
		return &httpconnector.Options{Columns: []string{"a"}, After: &httpconnector.After{Column: "a", Param: "since"}}
	}
	one := func() *httpconnector.Options { return &httpconnector.Options{Columns: []string{"a"}} }
	for _, c := range []struct {
		name    string
		o       *httpconnector.Options
		answers []string
		kind    fault.Kind
		says    string
	}{
		{"a login is refused", one(), []string{"401!"}, fault.KindEnvironment, "401 Unauthorized: see to the login"},
		{"too many requests", one(), []string{"429!"}, fault.KindTransient, `429 Too Many Requests, to be tried again after "30"`},
		{"the server has a fault", one(), []string{"500!"}, fault.KindTransient, "500"},
		{"nothing is there", one(), []string{"404!"}, fault.KindPermanent, "404 Not Found"},
		{"it leads to another server", one(), []string{"302!" + elsewhere.URL}, fault.KindPermanent, "which is another server"},
		{"it leads in a circle", one(), []string{"302!/x"}, fault.KindPermanent, "in a circle"},
		{"a page of HTML", one(), []string{"<html>"}, fault.KindPermanent, "(text/html; charset=utf-8) is not JSON"},
		{"an answer that is cut", one(), []string{`[{"a": 1}`}, fault.KindPermanent, "is not JSON: unexpected EOF"},
		{"something behind the answer", one(), []string{`[{"a": 1}] []`}, fault.KindPermanent, "more follows after 10 bytes"},
		{"bytes of another encoding", one(), []string{"[{\"a\": \"\xba\xbc\"}]"}, fault.KindPermanent, "it is not UTF-8"},
		{"no list", one(), []string{`{"error": "x"}`}, fault.KindPermanent, "has an object, not a list"},
		{"a column that is gone", one(), []string{`[{"b": 1}, {"b": 2}]`}, fault.KindPermanent, `none of the 2 records of an answer has the column "a"`},
		{"an answer that is too long", one(), []string{`[{"a": "` + strings.Repeat("x", 2000) + `"}]`}, fault.KindPermanent, "an answer of more than 1000 bytes"},
		{"the same page for ever", pages(), []string{`[{"a": 1}]`}, fault.KindPermanent, "two pages after one another are the same"},
		{"fewer than there are", &httpconnector.Options{Columns: []string{"a"}, Records: "i", Total: "n", Pages: &httpconnector.Pages{By: "number", Param: "p"}}, []string{`{"i": [{"a": 1}], "n": 3}`, `{"i": null, "n": 3}`}, fault.KindTransient, "1 records came, but there are 3"},
		{"no total", &httpconnector.Options{Columns: []string{"a"}, Records: "i", Total: "n"}, []string{`{"i": [{"a": 1}]}`}, fault.KindPermanent, "no number at total"},
		{"the next page on another server", &httpconnector.Options{Columns: []string{"a"}, Records: "i", Pages: &httpconnector.Pages{By: "link", Next: "n"}}, []string{`{"i": [{"a": 1}], "n": "` + elsewhere.URL + `/next"}`}, fault.KindPermanent, "nothing is asked of it"},
		{"the next page is this one", &httpconnector.Options{Columns: []string{"a"}, Records: "i", Pages: &httpconnector.Pages{By: "token", Param: "c", Next: "n"}}, []string{`{"i": [{"a": 1}], "n": "x"}`, `{"i": [{"a": 2}], "n": "x"}`}, fault.KindPermanent, "it would never end"},
		{"a content that is too large", &httpconnector.Options{Columns: []string{"a"}, MaxBytes: 20}, []string{`[{"a": 1}, {"a": 2}]`}, fault.KindPermanent, "raise max_bytes"},
		{"two with one value", after(), []string{`[{"a": 9}, {"a": 10}, {"a": 10}]`}, fault.KindPermanent, `after a record with a = "10" comes one with "10"`},
		{"no order", after(), []string{`[{"a": "2026-02"}, {"a": "2026-01"}]`}, fault.KindPermanent, "order by it"},
		{"nothing to go by", after(), []string{`[{"a": null}]`}, fault.KindPermanent, `a record has nothing in "a"`},
		{"no records for ever", after(), []string{`[{"a": 1}]`, `[7]`}, fault.KindPermanent, "nothing but what is no record"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := answers(t, c.answers...)
			config := &httpconnector.Config{Address: server.URL, Token: secret.New("s3cret-t0ken"), MaxAnswer: 1000}
			c.o.Query = map[string]string{"key": "s3cret-query"}
			r := read(t, config, c.o, nil)
			if r.err == nil || fault.KindOf(r.err) != c.kind || !strings.Contains(r.err.Error(), c.says) {
				t.Fatalf("error of kind %v: %v; want %v with %q", fault.KindOf(r.err), r.err, c.kind, c.says)
			}
			if text := fmt.Sprintf("%v %+v", r.err, r.err); strings.Contains(text, "s3cret") || strings.Contains(text, "2026-03") {
				t.Errorf("a secret stands in %q", text)
			}
		})
	}
	t.Run("nobody answers", func(t *testing.T) {
		gone := httptest.NewServer(http.NotFoundHandler())
		gone.Close()
		r := read(t, &httpconnector.Config{Address: gone.URL}, &httpconnector.Options{Columns: []string{"a"}, Query: map[string]string{"key": "s3cret"}}, nil)
		if !connectors.IsTransient(r.err) || strings.Contains(r.err.Error(), "s3cret") {
			t.Errorf("error %v, want a transient one without the query", r.err)
		}
	})
	t.Run("a certificate of nobody that is known", func(t *testing.T) {
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
		server.StartTLS()
		defer server.Close()
		r := read(t, &httpconnector.Config{Address: server.URL}, &httpconnector.Options{Columns: []string{"a"}}, nil)
		if fault.KindOf(r.err) != fault.KindEnvironment || !strings.Contains(r.err.Error(), "config.tls.ca") {
			t.Errorf("error %v, want one of the environment that names the option", r.err)
		}
	})
}

func TestPreflightAsksForTheFirstAnswerAlone(t *testing.T) {
	for _, c := range []struct {
		name, answer, want string
		o                  httpconnector.Options
	}{
		{"records", `{"i": [{"a": 1}, {"a": 2}], "n": 900}`, "ok: the first answer has 2 records of 900", httpconnector.Options{Records: "i", Total: "n", Columns: []string{"a"}, Pages: &httpconnector.Pages{By: "number", Param: "p"}}},
		{"none", `[]`, "note: the first answer has 0 records", httpconnector.Options{Columns: []string{"a"}}},
		{"a column that is not there", `[{"b": 1}]`, `fault: none of the 1 records`, httpconnector.Options{Columns: []string{"a"}}},
		{"a refusal", "403!", "fault: it answers 403", httpconnector.Options{Columns: []string{"a"}}},
		{"no total", `[]`, "fault: the answer has no number at total", httpconnector.Options{Columns: []string{"a"}, Total: "n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := answers(t, c.answer, "500!")
			src := open(t, connectors.Environment{Now: time.Now}, &httpconnector.Config{Address: server.URL}, &c.o)
			defer src.Close()
			found, err := src.(connectors.Preflighter).Preflight(t.Context())
			if err != nil || len(found) != 2 || found[0].What != "encryption" || found[1].Stream != "s" {
				t.Fatalf("found %+v, error %v", found, err)
			}
			if got := fmt.Sprintf("%s: %s", found[1].Level, found[1].Text); !strings.HasPrefix(got, c.want) {
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
}

func TestLoginsTravelAsConfigured(t *testing.T) {
	for _, c := range []struct {
		name         string
		config       httpconnector.Config
		header, want string
	}{
		{"a token", httpconnector.Config{Token: secret.New("t")}, "Authorization", "Bearer t"},
		{"a token in a header of its own", httpconnector.Config{Token: secret.New("t"), TokenHeader: "X-Api-Key"}, "X-Api-Key", "t"},
		{"user and password", httpconnector.Config{User: "u", Password: secret.New("p")}, "Authorization", "Basic dTpw"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got url.Values
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got = url.Values{"header": r.Header.Values(c.header), "query": {r.URL.RawQuery}, "path": {r.URL.Path}}
				if _, err := w.Write([]byte("[]")); err != nil {
					t.Error(err)
				}
			}))
			defer server.Close()
			c.config.Address = server.URL + "/base"
			if r := read(t, &c.config, &httpconnector.Options{Path: "许可/a b", Query: map[string]string{"q": "1&2"}, Columns: []string{"a"}}, nil); r.err != nil {
				t.Fatal(r.err)
			}
			want := url.Values{"header": {c.want}, "query": {"q=1%262"}, "path": {"/base/许可/a b"}}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	good := func() *httpconnector.Options { return &httpconnector.Options{Columns: []string{"a"}} }
	with := func(change func(*httpconnector.Options)) *httpconnector.Options {
		o := good()
		change(o)
		return o
	}
	config := &httpconnector.Config{Address: "https://office.example"}
	for _, c := range []struct {
		name   string
		config *httpconnector.Config
		o      *httpconnector.Options
		want   string // "" for none
	}{
		{"the least", config, good(), ""},
		{"no address", &httpconnector.Config{Address: "office"}, good(), "address"},
		{"a login in the address", &httpconnector.Config{Address: "https://u:p@office"}, good(), "address"},
		{"a query in the address", &httpconnector.Config{Address: "https://office?a=1"}, good(), "address"},
		{"certificates without encryption", &httpconnector.Config{Address: "http://office", TLS: &httpconnector.TLS{}}, good(), "tls"},
		{"a user without a password", &httpconnector.Config{Address: "http://office", User: "u"}, good(), "password"},
		{"a header that is none", &httpconnector.Config{Address: "http://office", TokenHeader: "a: b"}, good(), "token_header"},
		{"a path that climbs", config, with(func(o *httpconnector.Options) { o.Path = "a/../../b" }), "path"},
		{"a path that is an address", config, with(func(o *httpconnector.Options) { o.Path = "https://elsewhere/b" }), "path"},
		{"no columns", config, with(func(o *httpconnector.Options) { o.Columns = nil }), "columns"},
		{"a column twice", config, with(func(o *httpconnector.Options) { o.Columns = []string{"a", "a"} }), "columns"},
		{"an optional column that is not read", config, with(func(o *httpconnector.Options) { o.Optional = []string{"b"} }), "optional"},
		{"pages in an unknown way", config, with(func(o *httpconnector.Options) { o.Pages = &httpconnector.Pages{By: "magic", Param: "p"} }), "pages.by"},
		{"pages without a parameter", config, with(func(o *httpconnector.Options) { o.Pages = &httpconnector.Pages{By: "number"} }), "pages.param"},
		{"a token from nowhere", config, with(func(o *httpconnector.Options) { o.Pages = &httpconnector.Pages{By: "token", Param: "p"} }), "pages.next"},
		{"a size without a parameter", config, with(func(o *httpconnector.Options) { o.Pages = &httpconnector.Pages{By: "number", Param: "p", Size: 3} }), "pages.size"},
		{"after a column that is not read", config, with(func(o *httpconnector.Options) { o.After = &httpconnector.After{Column: "b", Param: "p"} }), "after.column"},
		{"after with pages", config, with(func(o *httpconnector.Options) {
			o.After, o.Pages = &httpconnector.After{Column: "a", Param: "p"}, &httpconnector.Pages{By: "number", Param: "p"}
		}), "pages"},
		{"after with a total", config, with(func(o *httpconnector.Options) {
			o.After, o.Total = &httpconnector.After{Column: "a", Param: "p"}, "n"
		}), "total"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, f := range httpconnector.Definition().Check(c.config, map[string]any{"s": c.o}) {
				got = append(got, strings.Join(f.Path, "."))
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("faults in %q, want %q", got, c.want)
			}
		})
	}
}
