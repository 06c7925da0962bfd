package sql

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/secret"
)

// server is where a database is and how it is reached.
type server struct {
	host, database, user string
	port                 int
	password             secret.Value
	tls                  *tls.Config
	statementTimeout     time.Duration
	networkTimeout       time.Duration
}

func newServer(env connectors.Environment, c *ServerConfig, port int) (server, error) {
	s := server{
		host: c.Host, port: cmp.Or(c.Port, port), database: c.Database, user: c.User, password: c.Password,
		statementTimeout: cmp.Or(c.StatementTimeout, defaultStatementTimeout), networkTimeout: cmp.Or(c.NetworkTimeout, defaultNetworkTimeout),
	}
	if c.TLS == nil {
		return s, nil
	}
	path := func(name string) string {
		if filepath.IsAbs(name) {
			return name
		}
		return filepath.Join(env.Dir, name)
	}
	s.tls = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: cmp.Or(c.TLS.Name, c.Host)}
	if c.TLS.CA != "" {
		pem, err := os.ReadFile(path(c.TLS.CA))
		if err != nil {
			return s, fault.Usage(fmt.Errorf("read the authorities' certificates %s: %w", c.TLS.CA, errors.Unwrap(err)))
		}
		s.tls.RootCAs = x509.NewCertPool()
		if !s.tls.RootCAs.AppendCertsFromPEM(pem) {
			return s, fault.Usage(fmt.Errorf("read the authorities' certificates %s: no certificate in PEM form", c.TLS.CA))
		}
	}
	if c.TLS.Cert != "" || c.TLS.Key != "" {
		pair, err := tls.LoadX509KeyPair(path(c.TLS.Cert), path(c.TLS.Key))
		if err != nil {
			return s, fault.Usage(fmt.Errorf("read the certificate %s with its key %s: %w", c.TLS.Cert, c.TLS.Key, err))
		}
		s.tls.Certificates = []tls.Certificate{pair}
	}
	return s, nil
}

// address names the server and database for people.
func (s server) address() string {
	return fmt.Sprintf("%s at %s", s.database, net.JoinHostPort(s.host, fmt.Sprint(s.port)))
}

func (s server) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: s.networkTimeout, KeepAlive: 30 * time.Second}
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &watchedConn{Conn: c, timeout: s.networkTimeout}, nil
}

// watchedConn gives up a server that has been silent for too long while something is read from it. How long the other side of the
// pipeline takes between two reads does not count.
type watchedConn struct {
	net.Conn
	timeout time.Duration
	own     atomic.Bool // the driver has set a deadline of its own, with which it ends a read
}

func (c *watchedConn) Read(b []byte) (int, error) {
	if !c.own.Load() {
		if err := c.Conn.SetReadDeadline(time.Now().Add(c.timeout)); err != nil {
			return 0, err
		}
		if c.own.Load() { // it came in between
			if err := c.Conn.SetReadDeadline(time.Unix(1, 0)); err != nil {
				return 0, err
			}
		}
	}
	n, err := c.Conn.Read(b)
	if err != nil && !c.own.Load() && errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("the server has been silent for %v: %w", c.timeout, errSilent)
	}
	return n, err
}

func (c *watchedConn) SetDeadline(t time.Time) error {
	c.own.Store(!t.IsZero())
	return c.Conn.SetDeadline(t)
}

func (c *watchedConn) SetReadDeadline(t time.Time) error {
	c.own.Store(!t.IsZero())
	return c.Conn.SetReadDeadline(t)
}

var errSilent = errors.New("given up")

// lost reports whether an error is of the way to the server: another try may find it mended.
func lost(err error) bool {
	var network net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, errSilent) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.As(err, &network)
}

// untrusted reports whether the server's certificate was refused.
func untrusted(err error) bool {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verification *tls.CertificateVerificationError
	return errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &invalid) || errors.As(err, &verification)
}

// failed is an error of the server's with what should be done about it, and never with the password in it.
func (s server) failed(err error, mark func(error) error, advice string) error {
	text := err.Error()
	if p := s.password.Reveal(); p != "" {
		text = strings.ReplaceAll(text, p, "***")
	}
	if advice != "" {
		text += ": " + advice
	}
	return mark(&serverError{s.address() + ": " + text, err})
}

// serverError says only what it says: what it wraps is for errors.Is and errors.As.
type serverError struct {
	text string
	err  error
}

func (e *serverError) Error() string { return e.text }
func (e *serverError) Unwrap() error { return e.err }
