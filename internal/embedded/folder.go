package embedded

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/headwater-data/headwater/internal/secret"
)

// The files of a server's folder; see the package comment.
const (
	lockName           = "lock"
	startLockName      = "start.lock"
	endpointName       = "endpoint.json"
	passwordName       = "password"
	readerPasswordName = "reader-password"
	logName            = "log"
	dataName           = "data"
	socketName         = "lease"
)

// lockPollInterval is how soon a waiter notices that a lock is free: flock cannot be waited for and given up.
const lockPollInterval = 10 * time.Millisecond

// prepareFolder makes the server's folder, private to its owner, and returns its absolute path.
func prepareFolder(stateDir string, kind Kind) (string, error) {
	dir, err := filepath.Abs(filepath.Join(stateDir, string(kind)))
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	// It may have been made by somebody with another idea of privacy.
	return dir, os.Chmod(dir, 0o700)
}

// published is what a server writes into endpoint.json.
type published struct {
	Addr string `json:"addr"`
	// Both are missing while no server runs.
	PID    int    `json:"pid,omitempty"`
	Socket string `json:"socket,omitempty"` // path of the unix-domain socket that leases connect to
}

func readPublished(dir string) (published, error) {
	var p published
	raw, err := os.ReadFile(filepath.Join(dir, endpointName))
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(raw, &p); err != nil {
		return p, fmt.Errorf("read %s: %w", filepath.Join(dir, endpointName), err)
	}
	return p, nil
}

func (p published) write(dir string) error {
	raw, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, endpointName), append(raw, '\n'))
}

// unpublish withdraws the server that was published last, if any. Its address stays, for the next one to take.
func unpublish(dir string) error {
	p, err := readPublished(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return os.Remove(filepath.Join(dir, endpointName)) // nobody can read it
	}
	removeSocket(p.Socket)
	return published{Addr: p.Addr}.write(dir)
}

// endpoint completes what was published with the passwords, which only files of mode 0600 hold.
func (p published) endpoint(dir string, kind Kind) (Endpoint, error) {
	e := Endpoint{Addr: p.Addr, User: user, PID: p.PID}
	var err error
	if e.Password, err = readPassword(dir, passwordName); err != nil {
		return Endpoint{}, err
	}
	if kind == Warehouse {
		if e.ReaderPassword, err = readPassword(dir, readerPasswordName); err != nil {
			return Endpoint{}, err
		}
	}
	return e, nil
}

func readPassword(dir, name string) (secret.Value, error) {
	raw, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return secret.Value{}, err
	}
	text := strings.TrimSpace(string(raw))
	if text == "" {
		return secret.Value{}, fmt.Errorf("%s is empty: delete it and start again", filepath.Join(dir, name))
	}
	return secret.New(text), nil
}

// ensurePassword returns the folder's password of that name, making a random one of 256 bits first when there is none. The
// caller holds the server's lock.
func ensurePassword(dir, name string) (secret.Value, error) {
	password, err := readPassword(dir, name)
	if err == nil {
		// A copied project may have lost the mode.
		return password, os.Chmod(filepath.Join(dir, name), 0o600)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return secret.Value{}, err
	}
	random := make([]byte, 32)
	if _, err := rand.Read(random); err != nil {
		return secret.Value{}, err
	}
	text := hex.EncodeToString(random)
	return secret.New(text), writeFile(filepath.Join(dir, name), []byte(text+"\n"))
}

// writeFile replaces a file of mode 0600 at once: readers see the old or the new one, whole.
func writeFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// lockFile opens the file and locks it, waiting until ctx ends. Closing the file releases the lock, unless a child process
// inherited it: then the lock stays until the child has closed it too.
func lockFile(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	ticker := time.NewTicker(lockPollInterval)
	defer ticker.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return f, nil
		case !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR):
			return nil, errors.Join(&fs.PathError{Op: "lock", Path: path, Err: err}, f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(&fs.PathError{Op: "lock", Path: path, Err: context.Cause(ctx)}, f.Close())
		case <-ticker.C:
		}
	}
}

// isLocked tells whether somebody holds the file's lock. A file that does not exist is not locked.
func isLocked(path string) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }() // only read from
	// A shared lock, so that two who ask do not see each other.
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}

// tail returns the last lines of a file, as far as they can be read: it decorates an error, and must not hide it.
func tail(path string, lines int) string {
	const maxBytes = 16 << 10
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // only read from
	if size, err := f.Seek(0, io.SeekEnd); err == nil && size > maxBytes {
		_, _ = f.Seek(-maxBytes, io.SeekEnd) // when it fails, the read below gives nothing
	} else {
		_, _ = f.Seek(0, io.SeekStart)
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxBytes))
	if err != nil {
		return ""
	}
	all := bytes.Split(bytes.TrimRight(raw, "\n"), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}
