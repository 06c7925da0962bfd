package project

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/secret"
)

// Broker says where Kafka is. With Embedded set there is no address: the project's embedded broker is meant.
type Broker struct {
	Embedded    bool
	Addresses   []string
	User        string
	Password    secret.Value
	Mechanism   string
	TLS         *tls.Config // nil for none
	Partitions  int
	Replication int
	Session     time.Duration // of group members
	Retention   time.Duration // negative for ever
}

// Warehouse says where ClickHouse is. With Embedded set there is no address: the project's embedded engine is meant.
type Warehouse struct {
	Embedded bool
	Address  string
	Database string
	User     string
	Password secret.Value
	TLS      *tls.Config // nil for none
}

// TopicPrefix is the beginning of all of the project's topics.
func (p *Project) TopicPrefix() string { return p.config.Broker.TopicPrefix }

// Broker fetches the broker's secrets and returns its settings. Errors are of the usage kind.
func (p *Project) Broker() (Broker, error) {
	c, err := p.resolved()
	if err != nil {
		return Broker{}, err
	}
	b := c.Broker
	out := Broker{
		Embedded: len(b.Addresses) == 0, Addresses: b.Addresses, User: b.User, Password: b.Password, Mechanism: b.Mechanism,
		Partitions: b.Partitions, Replication: b.Replication, Session: b.Session, Retention: *b.Retention,
	}
	if out.Retention == 0 {
		out.Retention = -1
	}
	out.TLS, err = p.tls(b.TLS)
	return out, err
}

// Warehouse fetches the warehouse's secrets and returns its settings. Errors are of the usage kind.
func (p *Project) Warehouse() (Warehouse, error) {
	c, err := p.resolved()
	if err != nil {
		return Warehouse{}, err
	}
	w := c.Warehouse
	out := Warehouse{Embedded: w.Address == "", Address: w.Address, Database: w.Database, User: w.User, Password: w.Password}
	out.TLS, err = p.tls(w.TLS)
	return out, err
}

func (p *Project) tls(c *TLSConfig) (*tls.Config, error) {
	if c == nil {
		return nil, nil
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		pem, err := readBounded(p.path(c.CA), 4<<20)
		if err != nil {
			return nil, fault.Usage(fmt.Errorf("read the authorities' certificates %s: %w", c.CA, reason(err)))
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fault.Usage(fmt.Errorf("read the authorities' certificates %s: no certificate in PEM form", c.CA))
		}
	}
	if c.Cert != "" || c.Key != "" {
		pair, err := tls.LoadX509KeyPair(p.path(c.Cert), p.path(c.Key))
		if err != nil {
			return nil, fault.Usage(fmt.Errorf("read the certificate %s with its key %s: %w", c.Cert, c.Key, reason(err)))
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out, nil
}

// path makes a path of the configuration absolute.
func (p *Project) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(p.Dir, name)
}

// minKeyBytes is the least length of a key for hashing personal values: telephone numbers are few enough to be tried all
// against a weak key.
const minKeyBytes = 16

// ownKey returns the key in that file of the folder, making it once. Several processes may ask at the same time.
func ownKey(dir, name string) (secret.Value, error) {
	file := filepath.Join(dir, name)
	for range 2 {
		data, err := readBounded(file, maxSecretBytes)
		if err == nil {
			key := strings.TrimSpace(string(data))
			if len(key) < minKeyBytes {
				return secret.Value{}, fault.Usage(fmt.Errorf("the key file %s is damaged: restore it from a backup; hashes of personal values depend on it", file))
			}
			return secret.New(key), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return secret.Value{}, fault.Environment(fmt.Errorf("read key file %s: %w", file, reason(err)))
		}
		if err := makeKey(dir, name); err != nil && !errors.Is(err, fs.ErrExist) {
			return secret.Value{}, fault.Environment(fmt.Errorf("make key file %s: %w", file, reason(err)))
		}
	}
	return secret.Value{}, fault.Environment(fmt.Errorf("key file %s vanishes", file))
}

// sameKey compares a key's fingerprint with the one in the folder, and keeps it there at first use.
func sameKey(dir, name, fingerprint string) error {
	file := filepath.Join(dir, name+".fingerprint")
	for range 2 {
		data, err := readBounded(file, maxSecretBytes)
		if err == nil {
			if strings.TrimSpace(string(data)) != fingerprint {
				return fault.Usage(fmt.Errorf("the key %q, or its algorithm, is not what it was: hashes under it would match none of the earlier ones; "+
					"give a new key a new name and make it hashing.key (if no hash was ever made under the old one, delete %s)", name, file))
			}
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fault.Environment(fmt.Errorf("read the key's fingerprint %s: %w", file, reason(err)))
		}
		if err := makeFile(dir, name+".fingerprint", fingerprint+"\n"); err != nil && !errors.Is(err, fs.ErrExist) {
			return fault.Environment(fmt.Errorf("keep the key's fingerprint %s: %w", file, reason(err)))
		}
	}
	return fault.Environment(fmt.Errorf("the key's fingerprint %s vanishes", file))
}

// makeKey makes a file with a random key.
func makeKey(dir, name string) error {
	random := make([]byte, 32)
	if _, err := rand.Read(random); err != nil {
		return err
	}
	return makeFile(dir, name, hex.EncodeToString(random)+"\n")
}

// makeFile writes a file completely before it gets its name, so that nobody reads half of it, and never over another.
func makeFile(dir, name, text string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+name+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // it has its name by then, or is of no use
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return os.Link(f.Name(), filepath.Join(dir, name))
}
