package http

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"unicode/utf8"

	"golang.org/x/time/rate"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/internal/fault"
)

// client asks one interface. It is used from several goroutines.
type client struct {
	c       *Config
	address *url.URL
	http    *http.Client
	pause   *rate.Limiter // nil for none
}

// errSentOn says that an answer leads to where nothing is asked.
var errSentOn = errors.New("it sends us on")

func newClient(env connectors.Environment, c *Config) (*client, error) {
	address, err := url.Parse(c.Address)
	if err != nil {
		return nil, fault.Usage(errors.New("config.address is not understood"))
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if c.TLS != nil {
		if transport.TLSClientConfig, err = c.TLS.config(env.Dir); err != nil {
			return nil, err
		}
	}
	k := &client{c: c, address: address}
	k.http = &http.Client{Transport: transport, Timeout: c.timeout(), CheckRedirect: func(to *http.Request, before []*http.Request) error {
		if !k.own(to.URL) {
			// The token may not go elsewhere, and neither may the program be led to servers inside by what an answer says.
			return fmt.Errorf("%w to %s, which is another server: if that is right, configure its address", errSentOn, to.URL.Host)
		}
		if len(before) >= 5 {
			return fmt.Errorf("%w in a circle", errSentOn)
		}
		return nil
	}}
	if c.Pause > 0 {
		k.pause = rate.NewLimiter(rate.Every(c.Pause), 1)
	}
	return k, nil
}

func (t *TLS) config(dir string) (*tls.Config, error) {
	path := func(name string) string {
		if filepath.IsAbs(name) {
			return name
		}
		return filepath.Join(dir, name)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		pem, err := os.ReadFile(path(t.CA))
		if err != nil {
			return nil, fault.Usage(fmt.Errorf("read the authorities' certificates %s: %w", t.CA, errors.Unwrap(err)))
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fault.Usage(fmt.Errorf("read the authorities' certificates %s: no certificate in PEM form", t.CA))
		}
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(path(t.Cert), path(t.Key))
		if err != nil {
			return nil, fault.Usage(fmt.Errorf("read the certificate %s with its key %s: %w", t.Cert, t.Key, err))
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// own reports whether an address is of the configured server.
func (k *client) own(u *url.URL) bool {
	return u.Scheme == k.address.Scheme && u.Host == k.address.Host
}

// first returns the address of a stream, with the parameters that every request has.
func (k *client) first(o *Options) *url.URL {
	u := k.address.JoinPath(o.Path)
	if o.Path == "" {
		u = k.address.JoinPath()
	}
	query := url.Values{}
	for name, value := range o.Query {
		query.Set(name, value)
	}
	u.RawQuery = query.Encode()
	return u
}

// place names a stream for people. Parameters may be secrets.
func (k *client) place(o *Options) string {
	u := k.first(o)
	u.RawQuery = ""
	return u.String()
}

// get asks and returns the answer as JSON values (numbers as json.Number), and its header. Its errors are sorted, name no parameter and
// no secret, and show nothing of what was answered.
func (k *client) get(ctx context.Context, u *url.URL) (answer any, header http.Header, err error) {
	if k.pause != nil {
		if err := k.pause.Wait(ctx); err != nil {
			return nil, nil, cmp.Or(ctx.Err(), err)
		}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, nil, fault.Usage(errors.New("the address is not understood"))
	}
	request.Header.Set("Accept", "application/json")
	switch {
	case k.c.Token.IsSet() && k.c.TokenHeader != "":
		request.Header.Set(k.c.TokenHeader, k.c.Token.Reveal())
	case k.c.Token.IsSet():
		request.Header.Set("Authorization", "Bearer "+k.c.Token.Reveal())
	case k.c.User != "":
		request.SetBasicAuth(k.c.User, k.c.Password.Reveal())
	}
	response, err := k.http.Do(request)
	if err != nil {
		return nil, nil, k.unanswered(ctx, err)
	}
	defer response.Body.Close()
	if err := k.refused(response); err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, k.c.maxAnswer()+1))
	switch {
	case ctx.Err() != nil:
		return nil, nil, ctx.Err()
	case err != nil:
		return nil, nil, connectors.Transient(fmt.Errorf("the answer broke off after %d bytes: %w", len(body), k.bare(err)))
	case int64(len(body)) > k.c.maxAnswer():
		return nil, nil, connectors.Permanent(fmt.Errorf("an answer of more than %d bytes: ask for smaller pages, or raise config.max_answer_bytes", k.c.maxAnswer()))
	}
	answer, err = decode(body)
	if err != nil {
		return nil, nil, connectors.Permanent(fmt.Errorf("the answer (%s) is not JSON: %w", cmp.Or(response.Header.Get("Content-Type"), "of no type"), err))
	}
	return answer, response.Header, nil
}

// unanswered sorts errors of requests that got no answer.
func (k *client) unanswered(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var verification *tls.CertificateVerificationError
	var alert tls.AlertError
	bare := k.bare(err)
	switch {
	case errors.As(err, &verification):
		return fault.Environment(fmt.Errorf("%w: give the certificate of the authority that signed the server's under config.tls.ca", bare))
	case errors.As(err, &alert):
		return fault.Environment(fmt.Errorf("the server refuses the encrypted connection: %w: see to config.tls", bare))
	case errors.Is(err, errSentOn):
		return connectors.Permanent(bare)
	}
	return connectors.Transient(bare)
}

// bare takes the address off an error: its parameters may be secrets, and the place is told anyway.
func (k *client) bare(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// refused sorts answers that are not what was asked for.
func (k *client) refused(r *http.Response) error {
	code := r.StatusCode
	err := fmt.Errorf("it answers %d %s", code, http.StatusText(code))
	switch {
	case code == http.StatusOK:
		return nil
	case code == http.StatusUnauthorized, code == http.StatusForbidden, code == http.StatusProxyAuthRequired:
		return fault.Environment(fmt.Errorf("%w: see to the login under config, and its rights", err))
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests, code >= 500:
		if after := r.Header.Get("Retry-After"); after != "" && len(after) < 40 {
			err = fmt.Errorf("%w, to be tried again after %q", err, after)
		}
		return connectors.Transient(err)
	}
	return connectors.Permanent(err)
}

// decode reads one JSON document.
func decode(body []byte) (answer any, err error) {
	body = bytes.TrimPrefix(body, []byte("\ufeff"))
	if !utf8.Valid(body) { // the decoder would write question marks over it
		return nil, errors.New("it is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber() // a float64 would lose digits
	if err := d.Decode(&answer); err != nil {
		if _, ok := errors.AsType[*json.SyntaxError](err); ok {
			return nil, fmt.Errorf("after %d bytes: %w", d.InputOffset(), err)
		}
		return nil, err
	}
	end := d.InputOffset()
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("more follows after %d bytes", end)
	}
	return answer, nil
}
