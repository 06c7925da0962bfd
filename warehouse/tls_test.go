package warehouse_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/headwater-data/headwater/internal/embedded/clickhouse/clickhousetest"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/secret"
	"github.com/headwater-data/headwater/internal/testca"
	"github.com/headwater-data/headwater/schemas"
	"github.com/headwater-data/headwater/warehouse"
)

func newAuthority(t *testing.T) *testca.Authority {
	t.Helper()
	a, err := testca.New()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// issue gives a certificate for a loopback server and a client of that name.
func issue(t *testing.T, a *testca.Authority, name string) tls.Certificate {
	t.Helper()
	certificate, key, err := a.Issue(name)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// front stands before the embedded warehouse and speaks TLS. With clients it asks for a certificate and, as ClickHouse does,
// takes its common name for the login where the request says so; the name must be the one that the request gives.
type front struct {
	*httptest.Server
	mu        sync.Mutex
	passwords map[string]bool // that came in the clear through the front
	logins    map[string]int  // by certificate, by name
}

func newFront(t *testing.T, behind clickhousetest.Server, own tls.Certificate, clients *x509.CertPool) *front {
	t.Helper()
	f := &front{passwords: map[string]bool{}, logins: map[string]int{}}
	target := &url.URL{Scheme: "http", Host: behind.Addr}
	transport := &http.Transport{}
	proxy := &httputil.ReverseProxy{Transport: transport, ErrorLog: log.New(io.Discard, "", 0), Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		if r.In.Header.Get("X-ClickHouse-SSL-Certificate-Auth") == "on" {
			r.Out.Header.Set("X-ClickHouse-User", behind.User)
			r.Out.Header.Set("X-ClickHouse-Key", behind.Password)
		}
	}}
	f.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.passwords[r.Header.Get("X-ClickHouse-Key")] = true
		f.mu.Unlock()
		if r.Header.Get("X-ClickHouse-SSL-Certificate-Auth") == "on" {
			name := r.Header.Get("X-ClickHouse-User")
			if len(r.TLS.PeerCertificates) == 0 || r.TLS.PeerCertificates[0].Subject.CommonName != name {
				w.Header().Set("X-ClickHouse-Exception-Code", "516")
				w.WriteHeader(http.StatusForbidden)
				_, _ = io.WriteString(w, "Code: 516. DB::Exception: "+name+": Authentication failed: password is incorrect, or there is no user with such name. (AUTHENTICATION_FAILED) (version 25.1)\n")
				return
			}
			f.mu.Lock()
			f.logins[name]++
			f.mu.Unlock()
		}
		proxy.ServeHTTP(w, r)
	}))
	f.Config.ErrorLog = log.New(io.Discard, "", 0)
	f.TLS = &tls.Config{Certificates: []tls.Certificate{own}}
	if clients != nil {
		f.TLS.ClientAuth, f.TLS.ClientCAs = tls.RequireAndVerifyClientCert, clients
	}
	f.StartTLS()
	t.Cleanup(func() {
		f.Close()
		transport.CloseIdleConnections()
	})
	return f
}

func (f *front) address() string { return f.Listener.Addr().String() }

func TestTheWarehouseBehindTLS(t *testing.T) {
	t.Parallel()
	server := clickhousetest.Start(t)
	ours, foreign := newAuthority(t), newAuthority(t)
	plain := newFront(t, server, issue(t, ours, "warehouse"), nil)
	mutual := newFront(t, server, issue(t, ours, "warehouse"), ours.Pool())
	trust := func(a *testca.Authority, own ...tls.Certificate) *tls.Config {
		return &tls.Config{RootCAs: a.Pool(), Certificates: own, MinVersion: tls.VersionTLS12}
	}
	certificate := issue(t, ours, "headwater-loader")
	for _, c := range []struct {
		name   string
		config warehouse.Config
		want   string // in the error; "" for none
		kind   fault.Kind
	}{
		{name: "a trusted server and a password", config: warehouse.Config{Addr: plain.address(), User: server.User, Password: secret.New(server.Password), TLS: trust(ours)}},
		{name: "a server of another authority", config: warehouse.Config{Addr: plain.address(), User: server.User, Password: secret.New(server.Password), TLS: trust(foreign)},
			want: "warehouse.tls.ca", kind: fault.KindEnvironment},
		{name: "a server of another name", config: warehouse.Config{Addr: strings.Replace(plain.address(), "127.0.0.1", "localhost", 1), User: server.User, Password: secret.New(server.Password), TLS: trust(ours)},
			want: "its name must be in the certificate", kind: fault.KindEnvironment},
		{name: "a wrong password", config: warehouse.Config{Addr: plain.address(), User: server.User, Password: secret.New("wrong-" + server.Password), TLS: trust(ours)},
			want: "Authentication failed", kind: fault.KindEnvironment},
		{name: "TLS to a port without", config: warehouse.Config{Addr: server.Addr, User: server.User, Password: secret.New(server.Password), TLS: trust(ours)},
			want: "does not speak TLS", kind: fault.KindEnvironment},
		{name: "a client certificate and no password", config: warehouse.Config{Addr: mutual.address(), User: "headwater-loader", TLS: trust(ours, certificate)}},
		{name: "a client certificate and a password", config: warehouse.Config{Addr: mutual.address(), User: server.User, Password: secret.New(server.Password), TLS: trust(ours, certificate)}},
		{name: "no client certificate", config: warehouse.Config{Addr: mutual.address(), User: "headwater-loader", TLS: trust(ours)},
			want: "check warehouse.tls.cert", kind: fault.KindEnvironment},
		{name: "a client certificate of another authority", config: warehouse.Config{Addr: mutual.address(), User: "headwater-loader", TLS: trust(ours, issue(t, foreign, "headwater-loader"))},
			want: "check warehouse.tls.cert", kind: fault.KindEnvironment},
		{name: "somebody else's certificate", config: warehouse.Config{Addr: mutual.address(), User: "administrator", TLS: trust(ours, certificate)},
			want: "Authentication failed", kind: fault.KindEnvironment},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.config.Database = server.Database(t)
			w, err := warehouse.Open(t.Context(), c.config)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) || fault.KindOf(err) != c.kind {
					t.Errorf("got %v (%v), want one of kind %v that says %q", err, fault.KindOf(err), c.kind, c.want)
				}
				if err != nil && strings.Contains(err.Error(), server.Password) {
					t.Errorf("the error shows the password: %v", err)
				}
				if err == nil {
					_ = w.Close() // the test has failed
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			_, err = w.Migrate(t.Context(), schemas.Standard())
			if err == nil {
				err = w.WriteLedger(t.Context(), "t", []warehouse.LedgerRow{ledgerRow(0, 5, 0)})
			}
			if err != nil {
				t.Error(err)
			}
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	if mutual.logins["headwater-loader"] == 0 {
		t.Error("nobody logged in by certificate")
	}
	if !plain.passwords[server.Password] {
		t.Error("the password did not come through the front: it saw nothing")
	}
}
