package clickhouse

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/headwater-data/headwater/internal/fault"
)

// Engine is the fetched library on disk.
type Engine struct {
	Path    string // absolute path of the shared library
	Version string // version of the package that it came in
}

// enginePackage is one platform's package, pinned: the version alone would let the contents change under us.
type enginePackage struct {
	name         string
	version      string
	integrity    string // base64 of the package's sha512
	packageBytes int64
	libraryName  string // path inside the package
	libraryBytes int64
}

// enginePackages maps GOOS/GOARCH to packages. Packages for other platforms have been announced and do not exist at this
// version: a newer engine is a matter of adding lines here.
var enginePackages = map[string]enginePackage{
	"linux/amd64": {
		name:         "@chdb/lib-linux-x64-gnu",
		version:      "26.7.3-stable.1",
		integrity:    "XP97mMqnc5tZpKQywR8N7cLTsHNiTmHr30pC5mzo3jWmukjKn2IBa60c2B/gWUNcuFjOMjWoorQICCqBVj5wpw==",
		packageBytes: 177_817_999,
		libraryName:  "package/libchdb.so",
		libraryBytes: 566_330_096,
	},
}

// Fetch returns the engine from the cache, $HEADWATER_CACHE or the user's cache folder, and brings it there with `npm pack`
// the first time (178 MB, which unpack to 566 MB). The package must have the pinned hash. A fetch that is killed leaves
// nothing that a later one takes for the engine; two at once wait for each other. Once fetched, neither network nor npm is
// needed.
//
// Progress, which may be nil, is told the stage ("download", "unpack"), bytes done and bytes in all; the client that
// downloads says nothing while it works, so that stage has a beginning and an end only.
//
// Errors are environmental: they say what to install or which server address to give instead.
func Fetch(ctx context.Context, progress func(stage string, done, total int64)) (Engine, error) {
	if progress == nil {
		progress = func(string, int64, int64) {}
	}
	return fetcher{platform: runtime.GOOS + "/" + runtime.GOARCH, packages: enginePackages, pack: npmPack, progress: progress}.fetch(ctx)
}

type fetcher struct {
	platform string
	packages map[string]enginePackage
	// pack brings a package into a folder and returns the archive's path.
	pack     func(ctx context.Context, folder, name, version string) (string, error)
	progress func(stage string, done, total int64)
}

func (f fetcher) fetch(ctx context.Context) (Engine, error) {
	p, ok := f.packages[f.platform]
	if !ok {
		return Engine{}, fault.Environment(fmt.Errorf(
			"fetch embedded warehouse: there is no engine for %s; give the address of a ClickHouse server in the project's warehouse settings", f.platform))
	}
	folder, err := cacheFolder(p)
	if err != nil {
		return Engine{}, err
	}
	engine := Engine{Path: filepath.Join(folder, filepath.Base(p.libraryName)), Version: p.version}
	if complete(engine.Path, p) {
		return engine, nil
	}
	if err := os.MkdirAll(filepath.Dir(folder), 0o700); err != nil {
		return Engine{}, fault.Environment(fmt.Errorf("fetch embedded warehouse: %w", err))
	}
	lock := flock.New(folder + ".lock")
	if _, err := lock.TryLockContext(ctx, 100*time.Millisecond); err != nil {
		return Engine{}, fault.Environment(fmt.Errorf("fetch embedded warehouse: wait for another fetch: %w", err))
	}
	defer lock.Close()
	if complete(engine.Path, p) {
		return engine, nil
	}
	if err := f.install(ctx, p, folder); err != nil {
		return Engine{}, fault.Environment(fmt.Errorf("fetch embedded warehouse %s %s: %w", p.name, p.version, err))
	}
	return engine, nil
}

// cacheFolder is where a package's library lives. Its name has everything that tells two engines apart.
func cacheFolder(p enginePackage) (string, error) {
	root := os.Getenv("HEADWATER_CACHE")
	if root == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fault.Environment(fmt.Errorf("fetch embedded warehouse: no cache folder (set HEADWATER_CACHE): %w", err))
		}
		root = filepath.Join(user, "headwater")
	}
	root, err := filepath.Abs(root)
	if err != nil {
		return "", fault.Environment(fmt.Errorf("fetch embedded warehouse: %w", err))
	}
	return filepath.Join(root, "engine", strings.NewReplacer("/", "-", "@", "").Replace(p.name)+"-"+p.version), nil
}

// complete reports whether the library stands there whole. Its folder appears by a rename, after the contents were synced.
func complete(path string, p enginePackage) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Size() == p.libraryBytes
}

func (f fetcher) install(ctx context.Context, p enginePackage, folder string) error {
	// Leftovers of killed fetches; the lock says that nobody works in them.
	stale, err := filepath.Glob(folder + ".partial-*")
	if err != nil {
		return err
	}
	for _, path := range append(stale, folder) {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	partial, err := os.MkdirTemp(filepath.Dir(folder), filepath.Base(folder)+".partial-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(partial) }() // gone already when all went well; next fetch removes it otherwise
	f.progress("download", 0, p.packageBytes)
	archive, err := f.pack(ctx, partial, p.name, p.version)
	if err != nil {
		return err
	}
	if err := checkIntegrity(ctx, archive, p); err != nil {
		return err
	}
	f.progress("download", p.packageBytes, p.packageBytes)
	if err := f.unpack(ctx, archive, p, filepath.Join(partial, filepath.Base(p.libraryName))); err != nil {
		return err
	}
	if err := os.Remove(archive); err != nil {
		return err
	}
	if err := os.Rename(partial, folder); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(folder))
}

func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

// npmPack lets npm bring the package, so that the user's registry, proxy and certificates are honoured.
func npmPack(ctx context.Context, folder, name, version string) (string, error) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return "", errors.New("npm is not installed: install Node.js with npm (it only downloads the engine, once), " +
			"or give the address of a ClickHouse server in the project's warehouse settings")
	}
	command := exec.CommandContext(ctx, npm, "pack", name+"@"+version, "--pack-destination", folder, "--ignore-scripts", "--prefer-offline", "--loglevel", "error")
	command.Dir = folder // no project's settings
	command.WaitDelay = 5 * time.Second
	var stderr bytes.Buffer
	command.Stderr = &stderr
	if err := command.Run(); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", fmt.Errorf("npm pack: %w: %s", err, firstLines(stderr.String(), 4))
	}
	archives, err := filepath.Glob(filepath.Join(folder, "*.tgz"))
	if err != nil {
		return "", err
	}
	if len(archives) != 1 {
		return "", fmt.Errorf("npm pack left %d archives, want 1", len(archives))
	}
	return archives[0], nil
}

func firstLines(s string, n int) string {
	lines := strings.SplitN(strings.TrimSpace(s), "\n", n+1)
	return strings.Join(lines[:min(n, len(lines))], "; ")
}

// checkIntegrity refuses an archive that is not, byte for byte, the pinned one.
func checkIntegrity(ctx context.Context, path string, p enginePackage) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	hash := sha512.New()
	if _, err := io.Copy(hash, io.LimitReader(contextReader{ctx, file}, p.packageBytes+1)); err != nil {
		return fmt.Errorf("read package: %w", err)
	}
	if got := base64.StdEncoding.EncodeToString(hash.Sum(nil)); got != p.integrity {
		return fmt.Errorf("the package's hash is sha512-%s, want sha512-%s: the registry or something on the way changed it", got, p.integrity)
	}
	return nil
}

type contextReader struct {
	ctx    context.Context
	reader io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.reader.Read(p)
}

// maxArchiveEntries bounds the walk through an archive; the real ones hold four files.
const maxArchiveEntries = 1000

// unpack writes the library, and nothing else of the archive, to a path that the archive has no say in.
func (f fetcher) unpack(ctx context.Context, archive string, p enginePackage, to string) error {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(contextReader{ctx, file})
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	// Twice the library covers the other files; a bomb ends here.
	entries := tar.NewReader(io.LimitReader(unzipped, 2*p.libraryBytes+1<<20))
	for range maxArchiveEntries {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("unpack: the package holds no %s", p.libraryName)
		}
		if err != nil {
			return fmt.Errorf("unpack: %w", err)
		}
		if header.Name != p.libraryName {
			continue
		}
		if header.Typeflag != tar.TypeReg || header.Size != p.libraryBytes {
			return fmt.Errorf("unpack: %s is no regular file of %d bytes", p.libraryName, p.libraryBytes)
		}
		return f.writeLibrary(entries, to, p.libraryBytes)
	}
	return fmt.Errorf("unpack: the package holds more than %d files", maxArchiveEntries)
}

func (f fetcher) writeLibrary(from io.Reader, to string, size int64) (err error) {
	file, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o700)
	if err != nil {
		return err
	}
	defer func() {
		if closed := file.Close(); err == nil {
			err = closed
		}
	}()
	const step = 8 << 20
	for done := int64(0); done < size; {
		n, err := io.CopyN(file, from, min(step, size-done))
		if err != nil {
			return fmt.Errorf("unpack: %w", err)
		}
		done += n
		f.progress("unpack", done, size)
	}
	if err := file.Sync(); err != nil && !errors.Is(err, fs.ErrInvalid) {
		return err
	}
	return nil
}
