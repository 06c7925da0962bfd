package testdb

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/headwater-data/headwater/internal/testca"
)

// certificates makes an authority and the server's certificate for the loopback.
func (s *Server) certificates() error {
	authority, err := testca.New()
	if err != nil {
		return err
	}
	certificate, key, err := authority.Issue("localhost")
	if err != nil {
		return err
	}
	s.CA = filepath.Join(s.dir, "ca.pem")
	return errors.Join(
		os.WriteFile(s.CA, authority.Certificate(), 0o644),
		os.WriteFile(filepath.Join(s.dir, "server.pem"), certificate, 0o644),
		os.WriteFile(filepath.Join(s.dir, "server.key"), key, 0o600),
	)
}
