package topic

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/secret"
	"github.com/headwater-data/headwater/internal/testca"
	"github.com/headwater-data/headwater/internal/testkafka"
)

// TestLoginsAndEncryptionOnApacheKafka: what is right comes in, and what is not is told at once, with what to check and without
// the secret.
func TestLoginsAndEncryptionOnApacheKafka(t *testing.T) {
	t.Parallel()
	alice := testkafka.User{Name: "alice", Password: rand.Text()}
	c := testkafka.Start(t, testkafka.Options{Users: []testkafka.User{alice}, Settings: map[string]string{"allow.everyone.if.no.acl.found": "true"}})
	trust := func(a *testca.Authority) *tls.Config {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(a.Certificate())
		return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	}
	certificate := func(a *testca.Authority) tls.Certificate {
		certificate, key, err := a.Issue("bob")
		if err != nil {
			t.Fatal(err)
		}
		pair, err := tls.X509KeyPair(certificate, key)
		if err != nil {
			t.Fatal(err)
		}
		return pair
	}
	stranger, err := testca.New()
	if err != nil {
		t.Fatal(err)
	}
	encrypted, mutual, misled, forged := trust(c.CA), trust(c.CA), trust(stranger), trust(c.CA)
	mutual.Certificates, forged.Certificates = []tls.Certificate{certificate(c.CA)}, []tls.Certificate{certificate(stranger)}
	wrong := rand.Text()
	for _, c := range []struct {
		name string
		cfg  Config
		want string // "" for all is well
	}{
		{"TLS", Config{Addresses: c.SecureAddresses(true, false, false), TLS: encrypted}, ""},
		{"mutual TLS", Config{Addresses: c.SecureAddresses(true, false, true), TLS: mutual}, ""},
		{"PLAIN", Config{Addresses: c.SecureAddresses(false, true, false), User: alice.Name, Password: secret.New(alice.Password)}, ""},
		{"PLAIN over TLS", Config{Addresses: c.SecureAddresses(true, true, false), User: alice.Name, Password: secret.New(alice.Password), Mechanism: "plain", TLS: encrypted}, ""},
		{"SCRAM-SHA-256", Config{Addresses: c.SecureAddresses(false, true, false), User: alice.Name, Password: secret.New(alice.Password), Mechanism: "scram-sha-256"}, ""},
		{"SCRAM-SHA-512 over TLS", Config{Addresses: c.SecureAddresses(true, true, false), User: alice.Name, Password: secret.New(alice.Password), Mechanism: "scram-sha-512", TLS: encrypted}, ""},
		{"a wrong password, PLAIN", Config{Addresses: c.SecureAddresses(true, true, false), User: alice.Name, Password: secret.New(wrong), TLS: encrypted}, "check broker.user and broker.password"},
		{"a wrong password, SCRAM-SHA-256", Config{Addresses: c.SecureAddresses(true, true, false), User: alice.Name, Password: secret.New(wrong), Mechanism: "scram-sha-256", TLS: encrypted}, "check broker.user and broker.password"},
		{"a wrong password, SCRAM-SHA-512", Config{Addresses: c.SecureAddresses(false, true, false), User: alice.Name, Password: secret.New(wrong), Mechanism: "scram-sha-512"}, "check broker.user and broker.password"},
		{"an unknown user", Config{Addresses: c.SecureAddresses(false, true, false), User: "nobody", Password: secret.New(wrong), Mechanism: "scram-sha-512"}, "check broker.user and broker.password"},
		{"an authority that is not ours", Config{Addresses: c.SecureAddresses(true, false, false), TLS: misled}, "check broker.tls.ca"},
		{"TLS where there is none", Config{Addresses: c.Addresses(), TLS: encrypted}, "tls"},
		{"no certificate of its own", Config{Addresses: c.SecureAddresses(true, false, true), TLS: encrypted}, "check broker.tls.cert"},
		{"a certificate of another authority", Config{Addresses: c.SecureAddresses(true, false, true), TLS: forged}, "check broker.tls.cert"},
		{"a login where none is asked for", Config{Addresses: c.SecureAddresses(true, false, false), User: alice.Name, Password: secret.New(wrong), TLS: encrypted}, "check broker.mechanism"},
		{"a mechanism that the broker does not have", Config{Addresses: c.Addresses(), User: alice.Name, Password: secret.New(wrong), Mechanism: "scram-sha-512"}, "check broker.mechanism"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, stop := context.WithTimeout(t.Context(), time.Minute)
			defer stop()
			c.cfg.Partitions, c.cfg.ClientID, c.cfg.Instance = 1, "test", "security"
			client, err := Open(c.cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			err = client.Ensure(ctx, Spec{Name: "secured"})
			if c.want != "" {
				kind := fault.KindEnvironment
				if c.want == "tls" { // the connection is closed without a word: it may be a broker that is just going
					kind = fault.KindTransient
				}
				if fault.KindOf(err) != kind || !strings.Contains(err.Error(), c.want) {
					t.Errorf("kind %d: %v", fault.KindOf(err), err)
				}
				for _, secret := range []string{wrong, alice.Password} {
					if strings.Contains(err.Error(), secret) {
						t.Error("the error has a password in it")
					}
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := client.Append(ctx, "secured", 0, Record{Value: []byte("x")}); err != nil {
				t.Error(err)
			}
			g, err := client.Join("secured", []string{"secured"})
			if err != nil {
				t.Fatal(err)
			}
			gen := await(t, ctx, g)
			if err := client.Commit(ctx, gen, "secured", 0, 1, ""); err != nil {
				t.Error(err)
			}
			if err := g.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
