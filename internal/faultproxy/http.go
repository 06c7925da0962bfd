package faultproxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// Kind says what a statement does.
type Kind int

// The kinds of statements. Any stands for all of them.
const (
	Any Kind = iota
	Insert
	Select
	Other
)

// HTTP is a proxy before ClickHouse's HTTP interface.
type HTTP struct {
	conditions
	listener net.Listener
	server   *http.Server
	upstream *http.Transport
	target   string
	ctx      context.Context
	stop     context.CancelFunc
	wait     sync.WaitGroup
}

// NewHTTP listens on a loopback port and passes requests on to the address.
func NewHTTP(target string) (*HTTP, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &HTTP{listener: l, target: target, upstream: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 32}}
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.server = &http.Server{
		Handler: http.HandlerFunc(p.pass),
		ConnState: func(c net.Conn, s http.ConnState) {
			switch s {
			case http.StateNew:
				if !p.enter(c) {
					_ = c.Close() // nothing was written
				}
			case http.StateClosed, http.StateHijacked:
				p.leave(c)
			}
		},
	}
	p.wait.Go(func() { _ = p.server.Serve(l) }) // ends with Close
	return p, nil
}

// Addr is where clients find the server.
func (p *HTTP) Addr() string { return p.listener.Addr().String() }

// Close cuts everything and ends.
func (p *HTTP) Close() error {
	p.stop()
	p.end()
	err := p.server.Close()
	p.wait.Wait()
	p.upstream.CloseIdleConnections()
	return err
}

// Lose loses the answers to the next n statements of a kind, after the server has given them, and cuts the connections that
// they were for. Only statements whose text names the table are meant; "" is any.
func (p *HTTP) Lose(kind Kind, table string, n int) *Order {
	return p.order(&Order{act: lose}, of(kind, table), n)
}

// Answer answers the next n statements of a kind with an HTTP status, and with an exception of ClickHouse's if code is not 0,
// without passing them on. n below 0 is all, until the order is cancelled.
func (p *HTTP) Answer(kind Kind, table string, n, status, code int, text string) *Order {
	return p.order(&Order{act: answer, status: status, code: code, text: text}, of(kind, table), n)
}

// Amend passes the next n statements of a kind on with other settings, so that the server itself refuses what it otherwise
// would take: a memory limit that is too small, a user who may only read.
func (p *HTTP) Amend(kind Kind, table string, n int, settings map[string]string) *Order {
	return p.order(&Order{act: amend, settings: settings}, of(kind, table), n)
}

// Hold holds the next statement of a kind back until the order is released; others pass it. It reaches the server then even
// if its client has given up.
func (p *HTTP) Hold(kind Kind, table string) *Order {
	return p.order(&Order{act: hold}, of(kind, table), 1)
}

type statement struct {
	kind Kind
	text string
}

func of(kind Kind, table string) func(any) bool {
	return func(request any) bool {
		s := request.(statement)
		return (kind == Any || s.kind == kind) && strings.Contains(s.text, table)
	}
}

// statementOf reads what a request asks for, from its address or the beginning of its body, and returns the whole body.
func statementOf(r *http.Request) (statement, io.Reader, error) {
	text := r.URL.Query().Get("query")
	body := io.Reader(r.Body)
	if text == "" && r.Header.Get("Content-Encoding") == "" {
		head := make([]byte, 4096)
		n, err := io.ReadFull(r.Body, head)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return statement{}, nil, err
		}
		text = string(head[:n])
		body = io.MultiReader(bytes.NewReader(head[:n]), r.Body)
	}
	s := statement{kind: Other, text: text}
	switch word, _, _ := strings.Cut(strings.TrimSpace(text), " "); strings.ToUpper(word) {
	case "INSERT":
		s.kind = Insert
	case "SELECT", "WITH":
		s.kind = Select
	}
	return s, body, nil
}

// pass passes one request on, and its answer back.
func (p *HTTP) pass(w http.ResponseWriter, r *http.Request) {
	s, body, err := statementOf(r)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if o := p.met(s, answer); o != nil {
		// The server would have read the body first, too.
		if _, err := io.Copy(io.Discard, body); err != nil {
			panic(http.ErrAbortHandler)
		}
		if o.code != 0 {
			w.Header().Set("X-ClickHouse-Exception-Code", strconv.Itoa(o.code))
		}
		w.WriteHeader(o.status)
		_, _ = io.WriteString(w, o.text) // the client may be gone
		return
	}
	ctx := r.Context()
	length := r.ContentLength
	if o := p.met(s, hold); o != nil {
		all, err := io.ReadAll(body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		body, length, ctx = bytes.NewReader(all), int64(len(all)), p.ctx
		select {
		case <-o.released:
		case <-p.ctx.Done():
			panic(http.ErrAbortHandler)
		}
	}
	lost := p.met(s, lose)
	if lost != nil {
		ctx = p.ctx // the server is to finish whatever the client does
	}
	address := *r.URL
	if o := p.met(s, amend); o != nil {
		query := address.Query()
		for name, value := range o.settings {
			query.Set(name, value)
		}
		address.RawQuery = query.Encode()
	}
	out, err := http.NewRequestWithContext(ctx, r.Method, "http://"+p.target+address.RequestURI(), paced{body, ctx, &p.conditions})
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	out.Header, out.Host, out.ContentLength = r.Header, r.Host, length
	if length == 0 {
		out.Body = http.NoBody
	}
	answer, err := p.upstream.RoundTrip(out)
	if err != nil {
		panic(http.ErrAbortHandler) // the client sees its connection end
	}
	defer answer.Body.Close()
	if lost != nil {
		_, _ = io.Copy(io.Discard, answer.Body) // it is lost, whatever it is
		panic(http.ErrAbortHandler)
	}
	for name, values := range answer.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.StatusCode)
	if err := copyFlushing(w, paced{answer.Body, ctx, &p.conditions}); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// copyFlushing passes on what comes when it comes.
func copyFlushing(w http.ResponseWriter, r io.Reader) error {
	control := http.NewResponseController(w)
	buffer := make([]byte, 64<<10)
	for {
		n, err := r.Read(buffer)
		if n > 0 {
			if _, err := w.Write(buffer[:n]); err != nil {
				return err
			}
			if err := control.Flush(); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
