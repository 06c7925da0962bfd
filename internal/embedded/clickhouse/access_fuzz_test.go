package clickhouse

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/headwater-data/headwater/internal/secret"
)

// FuzzRequest: whatever a request's address and headers say, nobody is let in without a password that is theirs, and a request of a
// foreign host or page is refused.
func FuzzRequest(f *testing.F) {
	f.Add("user=default&password=right", "", "", "", "127.0.0.1:8123")
	f.Add("user=reader", "reader", "read", "Basic ZGVmYXVsdDpyaWdodA==", "localhost")
	f.Add("%zz&user=a;b", "\x00", "", "Bearer right", "[::1]:1")
	f.Add("password=right&password=wrong", "", "", "Basic !", "127.0.0.1.evil.example")
	s := &server{users: []user{newUser("default", secret.New("right"), false), newUser(Reader, secret.New("read"), true)}}
	f.Fuzz(func(t *testing.T, query, name, key, authorization, host string) {
		r := &http.Request{Method: http.MethodPost, Host: host, URL: &url.URL{Path: "/", RawQuery: query}, Header: http.Header{}}
		r.Header.Set("X-ClickHouse-User", name)
		r.Header.Set("X-ClickHouse-Key", key)
		r.Header.Set("Authorization", authorization)
		if err := refuseForeign(r); err == nil {
			// Only what needs no name service: a name may be anybody's.
			plain := strings.ToLower(host)
			if end := strings.LastIndexByte(plain, ':'); end >= 0 && (strings.Count(plain, ":") == 1 || plain[end-1] == ']') {
				plain = plain[:end]
			}
			address, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(plain, "["), "]"))
			if plain != "localhost" && plain != "[localhost]" && plain != "[localhost" && plain != "localhost]" && (err != nil || !address.Unmap().IsLoopback()) {
				t.Errorf("host %q is let in", host)
			}
		}
		parameters, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		u, err := s.authenticate(r, parameters)
		if err != nil {
			return
		}
		_, password, _ := r.BasicAuth()
		given := []string{key, password, parameters.Get("password")}
		for _, want := range []string{"right", "read"} {
			for _, g := range given {
				if g == want && (u.name == "default") == (want == "right") {
					return
				}
			}
		}
		t.Errorf("%q %q %q %q is let in as %s", query, name, key, authorization, u.name)
	})
}
