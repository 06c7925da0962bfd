package clickhouse

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/headwater-data/headwater/internal/secret"
)

// user is somebody who may ask.
type user struct {
	name     string
	password [sha256.Size]byte
	readonly bool
}

func newUser(name string, password secret.Value, readonly bool) user {
	return user{name: name, password: sha256.Sum256([]byte(password.Reveal())), readonly: readonly}
}

// authenticate finds who asks, by header, basic authentication or parameters, in ClickHouse's order. It takes the same time
// whether name or password is wrong.
func (s *server) authenticate(r *http.Request, parameters url.Values) (user, error) {
	name, password := r.Header.Get("X-ClickHouse-User"), r.Header.Get("X-ClickHouse-Key")
	if name == "" && password == "" {
		var basic bool
		if name, password, basic = r.BasicAuth(); !basic {
			name, password = parameters.Get("user"), parameters.Get("password")
		}
	}
	if name == "" {
		name = "default"
	}
	given := sha256.Sum256([]byte(password))
	var found user
	match := 0
	for _, u := range s.users {
		same := subtle.ConstantTimeCompare(u.password[:], given[:]) & subtle.ConstantTimeCompare([]byte(u.name), []byte(name))
		if same == 1 {
			found = u
		}
		match |= same
	}
	if match != 1 {
		return user{}, exception(codeAuthenticationFailed, "%s: Authentication failed: password is incorrect, or there is no user with such name", name)
	}
	return found, nil
}

// refuseForeign keeps web pages out that a browser on this machine has open. A page may send requests to loopback addresses;
// it then carries an Origin or a foreign Sec-Fetch-Site, and one that had its own name point here carries that name as Host.
func refuseForeign(r *http.Request) error {
	if !isLoopbackHost(r.Host) {
		return exception(codeAccessDenied, "The embedded warehouse answers to loopback names only, not to the Host of this request")
	}
	if r.Header.Get("Origin") != "" {
		return exception(codeAccessDenied, "The embedded warehouse answers no web pages: the request has an Origin")
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none":
		// No browser, or somebody typed the address.
	default:
		return exception(codeAccessDenied, "The embedded warehouse answers no web pages: the request comes from one")
	}
	return nil
}

func isLoopbackHost(host string) bool {
	name := host
	if bare, _, err := net.SplitHostPort(host); err == nil {
		name = bare
	}
	name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	if strings.EqualFold(name, "localhost") {
		return true
	}
	ip := net.ParseIP(name)
	return ip != nil && ip.IsLoopback()
}
