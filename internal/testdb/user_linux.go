package testdb

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// nobody is the user that servers run as where the tests are run by root: PostgreSQL refuses root, and neither should have its rights.
const nobody = 65534

// command makes a command that runs a program of the server's without root's rights and dies with the thread that starts it.
func (s *Server) command(ctx context.Context, path string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, path, args...)
	c.Dir = s.dir
	c.WaitDelay = 5 * time.Second
	c.Env = []string{"LD_LIBRARY_PATH=" + s.in.libraries, "LC_ALL=C.UTF-8", "TZ=UTC", "PATH=/usr/bin:/bin", "HOME=" + s.dir}
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() == 0 {
		c.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	return c
}

// give makes the user that servers run as the owner of all that is in a folder.
func (s *Server) give(folder string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path == filepath.Join(folder, "root") {
			return filepath.SkipDir // links to the cache's files
		}
		return os.Lchown(path, nobody, nobody)
	})
}

// stage returns the packages where the user that servers run as can reach them: the cache folder may lie in root's home, where
// nobody else may look. Files are linked where that goes, and else copied.
func stage(in install, folder string) (install, error) {
	if os.Geteuid() != 0 {
		return in, nil
	}
	if err := os.Chmod(folder, 0o755); err != nil {
		return install{}, err
	}
	to := filepath.Join(folder, "root")
	err := filepath.WalkDir(in.root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := to + strings.TrimPrefix(path, in.root)
		switch {
		case entry.IsDir():
			return os.Mkdir(target, 0o755)
		case entry.Type() == fs.ModeSymlink:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		}
		if err := os.Link(path, target); err == nil {
			return nil
		}
		return copyFile(path, target)
	})
	return installed(folder), err
}
