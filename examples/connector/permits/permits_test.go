package permits_test

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/http/httptest"
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
	"github.com/headwater-data/headwater/examples/connector/permits"
	"github.com/headwater-data/headwater/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// system is the system of one of the kit's cases. It has one table, cases.
type system struct {
	mu      sync.Mutex
	token   string
	columns []column
	rows    []row // by change
	changes int64
	state   state
	back    chan struct{} // closed when a silent system goes on
}

type column struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

type row struct {
	Change int64 `json:"change"`
	Values []any `json:"values"`
}

// state says what is wrong with the system.
type state int

const (
	well   state = iota
	closed       // it takes nobody's token
	lost         // connections break
	silent       // it answers nothing
)

// put gives the system the table in place of what it had. Rows that are the same keep the number of their change.
func (s *system) put(table connectortest.Table) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := map[any]row{}
	for _, r := range s.rows {
		old[r.Values[0]] = r
	}
	s.columns, s.rows = nil, nil
	for _, name := range table.Columns {
		s.columns = append(s.columns, column{name, "text"})
	}
	for _, values := range table.Rows {
		if r, ok := old[values[0]]; ok && slices.Equal(r.Values, values) {
			s.rows = append(s.rows, r)
			continue
		}
		s.changes++
		s.rows = append(s.rows, row{s.changes, values})
	}
	slices.SortFunc(s.rows, func(a, b row) int { return cmp.Compare(a.Change, b.Change) })
	return nil
}

// set changes the system's state.
func (s *system) set(now state) (back func() error, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.back = now, make(chan struct{})
	return func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.state = well
		close(s.back)
		return nil
	}, nil
}

// ServeHTTP answers as the office does.
func (s *system) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	now, back, token, columns, rows := s.state, s.back, s.token, s.columns, s.rows
	s.mu.Unlock()
	switch now {
	case lost:
		panic(http.ErrAbortHandler)
	case silent:
		select {
		case <-back:
		case <-r.Context().Done():
		}
	}
	if now == closed || r.Header.Get("Authorization") != "Bearer "+token {
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	var answer any
	switch r.URL.Path {
	case "/tables/cases/columns":
		answer = map[string]any{"columns": columns}
	case "/tables/cases/rows":
		after, err := strconv.ParseInt(r.FormValue("after"), 10, 64)
		limit, err2 := strconv.Atoi(r.FormValue("limit"))
		if err != nil || err2 != nil || limit < 1 {
			http.Error(w, "after or limit is no number", http.StatusBadRequest)
			return
		}
		from, _ := slices.BinarySearchFunc(rows, after+1, func(r row, n int64) int { return cmp.Compare(r.Change, n) })
		to := min(from+limit, len(rows))
		answer = map[string]any{"rows": rows[from:to], "more": to < len(rows)}
	default:
		http.NotFound(w, r)
		return
	}
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		panic(http.ErrAbortHandler) // whoever asked has left
	}
}

// serve starts a server for all cases, which the kit does not take for something that a case left behind.
func serve(t *testing.T) (address string, use func(*system)) {
	var mu sync.Mutex
	var now *system
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		s := now
		mu.Unlock()
		s.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL, func(s *system) {
		mu.Lock()
		defer mu.Unlock()
		now = s
	}
}

func TestConformance(t *testing.T) {
	address, use := serve(t)
	connectortest.Run(t, func(t *testing.T, outside *connectortest.Outside) connectors.Source {
		s := &system{token: outside.Secret}
		use(s)
		outside.Store = s.put
		outside.Break = func() error { _, err := s.set(closed); return err }
		outside.Lose = func() (func() error, error) { return s.set(lost) }
		outside.Hang = func() (func() error, error) { return s.set(silent) }
		if err := s.put(outside.Table); err != nil {
			t.Fatal(err)
		}
		src, err := permits.Definition().Open(outside.Environment,
			&permits.Config{Address: address, Token: secret.New(outside.Secret), Timeout: 8 * time.Second},
			map[string]any{"cases": &permits.Options{Table: "cases"}})
		if err != nil {
			t.Fatal(err)
		}
		return src
	}, connectortest.Capabilities{Changes: true, Secrets: true, Breaks: true, Loses: true, Hangs: true})
}

func TestTypesKeepTheirValues(t *testing.T) {
	address, use := serve(t)
	use(&system{
		token:   "t",
		columns: []column{{"no", "integer"}, {"granted", "date"}, {"fee", "money"}, {"note", "text"}},
		rows: []row{
			{1, []any{json.Number("9007199254740993"), "2024-02-29", json.Number("1234567.10"), "𠀀"}},
			{2, []any{nil, nil, nil, nil}},
			{3, []any{json.Number("1"), "2024-02-30", nil, nil}}, // there is no such day
		},
	})
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	src, err := permits.Definition().Open(connectors.Environment{Allocator: mem, Now: time.Now},
		&permits.Config{Address: address, Token: secret.New("t")}, map[string]any{"cases": &permits.Options{Table: "cases"}})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	for b, err := range src.Read(t.Context(), connectors.Stream{Name: "cases"}, nil) {
		if err != nil {
			t.Fatal(err)
		}
		got, err := b.Record.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		want := `[{"fee":"1234567.1","granted":"2024-02-29","no":9007199254740993,"note":"𠀀"}
,{"fee":null,"granted":null,"no":null,"note":null}
]`
		if string(got) != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
		if len(b.Rejects) != 1 || !strings.Contains(b.Rejects[0].Reason, "granted") {
			t.Errorf("rejects: %+v", b.Rejects)
		}
	}
}
