package testdb

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// pins are hashes of the server packages that these tests were written against. Debian replaces a version when it mends it and
// then no longer has the old one, so another version is taken as apt's signed lists give it, and its hash is noted; a package
// that says it is one of these versions and is not, is refused.
var pins = map[string]string{
	"mariadb-common_1%3a10.11.19-0+deb12u1_all.deb":        "8312a5cee61770295c48999d24ef7bb53214599eeb28db6c8c43943176be6e5b",
	"mariadb-server-core_1%3a10.11.19-0+deb12u1_amd64.deb": "bda81cb1c5b538e19eed27462fa8df577684b9cdc4fe40cee8d1da9cbc0fe76b",
	"postgresql-15_15.20-0+deb12u1_amd64.deb":              "8566850f295c2cb5034ff5dd5b40caf97eea81b75a841c8d1f691c05ab8815db",
}

// notUnpacked are packages that stand in the way of a machine's own (the C library), are for servers that do not run here
// (another init system), or are large and only needed for what the tests switch off (just-in-time compilation, procedures in Perl).
var notUnpacked = regexp.MustCompile(`^(libc6|libc-bin|libc-l10n|libelogind0|libllvm.*|libz3-4|libperl5.*|lib.*-perl|libpam-.*|libdebian-installer.*|libnewt.*|libslang.*|libtextwrap.*|libsemanage.*)$`)

// notKept is what unpacked packages hold and no test needs.
var notKept = []string{"usr/share/doc", "usr/share/man", "usr/share/locale", "usr/lib/postgresql/*/lib/bitcode", "usr/share/postgresql/*/man"}

// install is a server's unpacked packages.
type install struct {
	root      string // as if it were /
	libraries string // for LD_LIBRARY_PATH
}

// manifest is what is noted beside unpacked packages.
type manifest struct {
	Packages map[string]string `json:"packages"` // file name -> SHA-256
}

const manifestName = "packages.json"

// fetch returns the server's packages from the cache folder, and brings them there with apt-get download the first time. A fetch
// that is killed leaves nothing that a later one takes for whole; two at once wait for each other. Later ones need no network.
func fetch(ctx context.Context, k *kind) (install, error) {
	folder, err := cacheFolder(k)
	if err != nil {
		return install{}, err
	}
	if unpacked, err := stands(folder); unpacked || err != nil {
		return installed(folder), err
	}
	if err := os.MkdirAll(filepath.Dir(folder), 0o700); err != nil {
		return install{}, err
	}
	lock := flock.New(folder + ".lock")
	if _, err := lock.TryLockContext(ctx, 100*time.Millisecond); err != nil {
		return install{}, fmt.Errorf("wait for another fetch of %s: %w", k.name, err)
	}
	defer lock.Close()
	if unpacked, err := stands(folder); unpacked || err != nil {
		return installed(folder), err
	}
	if err := bring(ctx, k, folder); err != nil {
		return install{}, fmt.Errorf("fetch %s: %w", k.name, err)
	}
	return installed(folder), nil
}

// cacheFolder is beside the embedded engine's: $HEADWATER_CACHE or the user's cache folder.
func cacheFolder(k *kind) (string, error) {
	root := os.Getenv("HEADWATER_CACHE")
	if root == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("no cache folder (set HEADWATER_CACHE): %w", err)
		}
		root = filepath.Join(user, "headwater")
	}
	root, err := filepath.Abs(root)
	if err != nil {
		return "", err
	}
	return filepath.Join(root, "testdb", k.name+"-"+runtime.GOARCH), nil
}

// stands reports whether packages stand there whole: the folder appears by a rename, and the manifest is written last. What is
// pinned must have been fetched with the pinned hash, also by an earlier version of this program.
func stands(folder string) (bool, error) {
	text, err := os.ReadFile(filepath.Join(folder, manifestName))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var m manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return false, fmt.Errorf("%s is damaged: remove the folder %s: %w", manifestName, folder, err)
	}
	for name, hash := range m.Packages {
		if err := checkPin(name, hash); err != nil {
			return false, err
		}
	}
	return true, nil
}

func checkPin(name, hash string) error {
	if want, ok := pins[name]; ok && want != hash {
		return fmt.Errorf("the package %s has the hash %s, want %s", name, hash, want)
	}
	return nil
}

func installed(folder string) install {
	in := install{root: filepath.Join(folder, "root")}
	var libraries []string
	for _, pattern := range []string{"usr/lib/*-linux-gnu*", "lib/*-linux-gnu*"} {
		found, err := filepath.Glob(filepath.Join(in.root, pattern))
		if err != nil {
			panic(err) // the patterns are constants
		}
		libraries = append(libraries, found...)
	}
	in.libraries = strings.Join(libraries, ":")
	return in
}

func bring(ctx context.Context, k *kind, folder string) error {
	for _, tool := range []string{"apt-get", "apt-cache", "dpkg-deb", "dpkg-query", "ldd"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is not installed: these tests take their servers from Debian's packages and need a Debian or Ubuntu system; elsewhere put unpacked packages into %s", tool, folder)
		}
	}
	stale, err := filepath.Glob(folder + ".partial-*") // of killed fetches; the lock says that nobody works in them
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
	defer func() { _ = os.RemoveAll(partial) }() // gone already when all went well; the next fetch removes it otherwise
	packages, err := k.packages(ctx)
	if err != nil {
		return err
	}
	libraries, err := missingLibraries(ctx, packages)
	if err != nil {
		return err
	}
	if _, err := run(ctx, partial, "apt-get", append([]string{"download", "-q"}, slices.Concat(packages, libraries)...)...); err != nil {
		return fmt.Errorf("%w (are apt's package lists there? run apt-get update)", err)
	}
	archives, err := filepath.Glob(filepath.Join(partial, "*.deb"))
	if err != nil {
		return err
	}
	if len(archives) != len(packages)+len(libraries) {
		return fmt.Errorf("apt-get download brought %d packages of %d", len(archives), len(packages)+len(libraries))
	}
	m := manifest{Packages: map[string]string{}}
	root := filepath.Join(partial, "root")
	for _, archive := range archives {
		hash, err := hashFile(archive)
		if err != nil {
			return err
		}
		if err := checkPin(filepath.Base(archive), hash); err != nil {
			return err
		}
		m.Packages[filepath.Base(archive)] = hash
		if _, err := run(ctx, partial, "dpkg-deb", "-x", archive, root); err != nil {
			return err
		}
		if err := os.Remove(archive); err != nil {
			return err
		}
	}
	for _, pattern := range notKept {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return err
		}
		for _, path := range found {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	if err := loadable(ctx, partial, k); err != nil {
		return err
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(partial, manifestName), text, 0o600); err != nil {
		return err
	}
	return os.Rename(partial, folder)
}

// missingLibraries lists the library packages that the packages need, directly or not, and that the machine does not have.
func missingLibraries(ctx context.Context, packages []string) ([]string, error) {
	out, err := run(ctx, "", "apt-cache", append([]string{"depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances"}, packages...)...)
	if err != nil {
		return nil, err
	}
	var missing []string
	for line := range strings.Lines(out) {
		name := strings.TrimSpace(line)
		if strings.HasPrefix(line, " ") || !strings.HasPrefix(name, "lib") || notUnpacked.MatchString(name) || slices.Contains(packages, name) {
			continue
		}
		status, err := run(ctx, "", "dpkg-query", "-W", "-f", "${db:Status-Status}", name)
		if err != nil || strings.TrimSpace(status) != "installed" { // dpkg-query fails for a package that it has never heard of
			missing = append(missing, name)
		}
	}
	return missing, nil
}

// loadable returns an error that names the libraries which the server would not find.
func loadable(ctx context.Context, folder string, k *kind) error {
	in := installed(folder)
	path, err := k.program(in, k.server)
	if err != nil {
		return err
	}
	command := exec.CommandContext(ctx, "ldd", path)
	command.Env = append(os.Environ(), "LD_LIBRARY_PATH="+in.libraries)
	out, err := command.CombinedOutput()
	if err != nil {
		return fmt.Errorf("ldd %s: %w: %s", path, err, out)
	}
	var lacking []string
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "not found") {
			lacking = append(lacking, strings.Fields(line)[0])
		}
	}
	if len(lacking) > 0 {
		return fmt.Errorf("the machine lacks the libraries %s, and they are not among the packages' dependencies", strings.Join(lacking, ", "))
	}
	return nil
}

// newest returns the package that a metapackage stands for: postgresql depends on postgresql-15 in one release of Debian and on
// another version in the next.
func newest(ctx context.Context, metapackage string, pattern *regexp.Regexp) (string, error) {
	out, err := run(ctx, "", "apt-cache", "depends", metapackage)
	if err != nil {
		return "", err
	}
	if name := pattern.FindString(out); name != "" {
		return name, nil
	}
	return "", fmt.Errorf("apt's package lists do not say which version %s is: run apt-get update", metapackage)
}

func run(ctx context.Context, folder, name string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, name, args...)
	command.Dir = folder
	command.Env = append(os.Environ(), "LC_ALL=C")
	command.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", fmt.Errorf("%s %s: %w: %s", name, args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}

func hashFile(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
