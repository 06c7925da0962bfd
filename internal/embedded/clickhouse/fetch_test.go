package clickhouse

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/headwater-data/headwater/internal/fault"
)

type entry struct {
	name string
	kind byte
	text string
	size int64 // claimed; the text's when 0
}

// archive makes a package out of entries.
func archive(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	w := tar.NewWriter(zip)
	for _, e := range entries {
		size := int64(len(e.text))
		if e.size != 0 {
			size = e.size
		}
		if err := w.WriteHeader(&tar.Header{Name: e.name, Typeflag: e.kind, Size: size, Mode: 0o755, Linkname: "/etc/passwd"}); err != nil {
			t.Fatal(err)
		}
		if e.kind == tar.TypeReg {
			if _, err := w.Write([]byte(e.text)); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = w.Close() // an entry may be shorter than it claims
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const libraryText = "the library"

// fakeFetcher fetches from bytes instead of a registry.
func fakeFetcher(packed []byte) (fetcher, *atomic.Int64) {
	calls := new(atomic.Int64)
	sum := sha512.Sum512(packed)
	return fetcher{
		platform: "os/arch",
		packages: map[string]enginePackage{"os/arch": {
			name: "@fake/lib", version: "1.2.3", integrity: base64.StdEncoding.EncodeToString(sum[:]), packageBytes: int64(len(packed)),
			libraryName: "package/libfake.so", libraryBytes: int64(len(libraryText)),
		}},
		pack: func(_ context.Context, folder, _, _ string) (string, error) {
			calls.Add(1)
			path := filepath.Join(folder, "fake.tgz")
			return path, os.WriteFile(path, packed, 0o600)
		},
		progress: func(string, int64, int64) {},
	}, calls
}

func good(t *testing.T) []byte {
	return archive(t, entry{name: "package/index.js", kind: tar.TypeReg, text: "x"}, entry{name: "package/libfake.so", kind: tar.TypeReg, text: libraryText})
}

func TestAnEngineIsFetchedOnce(t *testing.T) {
	t.Setenv("HEADWATER_CACHE", t.TempDir())
	f, calls := fakeFetcher(good(t))
	var stages []string
	f.progress = func(stage string, done, total int64) {
		if done > total {
			t.Errorf("%s: %d of %d", stage, done, total)
		}
		stages = append(stages, stage)
	}
	var group sync.WaitGroup
	for range 4 {
		g := f
		g.progress = func(string, int64, int64) {}
		group.Go(func() {
			if _, err := g.fetch(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	engine, err := f.fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if calls.Load() != 1 {
		t.Errorf("got %d downloads, want 1", calls.Load())
	}
	if text, err := os.ReadFile(engine.Path); err != nil || string(text) != libraryText || engine.Version != "1.2.3" {
		t.Errorf("got %+v with %q: %v", engine, text, err)
	}
	if len(stages) != 0 {
		t.Errorf("a fetch from the cache told of %v", stages)
	}
	entries, err := os.ReadDir(filepath.Dir(filepath.Dir(engine.Path)))
	if err != nil || len(entries) != 2 { // the folder and the lock
		t.Errorf("got %v: %v", entries, err)
	}
}

func TestALibraryThatIsNotWholeIsFetchedAgain(t *testing.T) {
	t.Setenv("HEADWATER_CACHE", t.TempDir())
	f, calls := fakeFetcher(good(t))
	engine, err := f.fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(engine.Path, []byte("half"), 0o700); err != nil {
		t.Fatal(err)
	}
	// A killed fetch leaves a folder like this one.
	if err := os.Mkdir(filepath.Dir(engine.Path)+".partial-1", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := f.fetch(t.Context()); err != nil || calls.Load() != 2 {
		t.Errorf("got %d downloads, want 2: %v", calls.Load(), err)
	}
	if stale, err := filepath.Glob(filepath.Dir(engine.Path) + ".partial-*"); err != nil || len(stale) != 0 {
		t.Errorf("got %v left behind: %v", stale, err)
	}
}

func TestAPackageThatIsNotTheOneLeavesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		packed func(t *testing.T) []byte
		change func(f *fetcher)
		has    string
	}{
		"another hash": {packed: good, has: "the package's hash is", change: func(f *fetcher) {
			p := f.packages["os/arch"]
			p.integrity = "AAAA"
			f.packages["os/arch"] = p
		}},
		"no library":          {packed: func(t *testing.T) []byte { return archive(t, entry{name: "package/x", kind: tar.TypeReg}) }, has: "holds no package/libfake.so"},
		"a link in its place": {packed: func(t *testing.T) []byte { return archive(t, entry{name: "package/libfake.so", kind: tar.TypeSymlink}) }, has: "no regular file"},
		"a larger library": {packed: func(t *testing.T) []byte {
			return archive(t, entry{name: "package/libfake.so", kind: tar.TypeReg, text: libraryText + "!"})
		}, has: "no regular file"},
		"a library cut short": {packed: func(t *testing.T) []byte {
			return archive(t, entry{name: "package/libfake.so", kind: tar.TypeReg, text: "the", size: int64(len(libraryText))})
		}, has: "unpack"},
		"a path that escapes": {packed: func(t *testing.T) []byte {
			return archive(t, entry{name: "package/../../libfake.so", kind: tar.TypeReg, text: libraryText})
		}, has: "holds no"},
		"a bomb before it": {packed: func(t *testing.T) []byte {
			return archive(t, entry{name: "package/zeros", kind: tar.TypeReg, text: strings.Repeat("\x00", 4<<20)}, entry{name: "package/libfake.so", kind: tar.TypeReg, text: libraryText})
		}, has: "unpack"},
		"too many files": {packed: func(t *testing.T) []byte { return archive(t, make([]entry, maxArchiveEntries+1)...) }, has: "unpack"},
		"no archive":     {packed: func(*testing.T) []byte { return []byte("hello") }, has: "unpack"},
		"a client that fails": {packed: good, has: "boom", change: func(f *fetcher) {
			f.pack = func(context.Context, string, string, string) (string, error) { return "", errors.New("boom") }
		}},
		"another platform": {packed: good, has: "give the address of a ClickHouse server", change: func(f *fetcher) { f.platform = "plan9/amd64" }},
	} {
		t.Run(name, func(t *testing.T) {
			cache := t.TempDir()
			t.Setenv("HEADWATER_CACHE", cache)
			f, _ := fakeFetcher(c.packed(t))
			if c.change != nil {
				c.change(&f)
			}
			_, err := f.fetch(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.has) || fault.KindOf(err) != fault.KindEnvironment {
				t.Errorf("got %v (kind %d), want %q", err, fault.KindOf(err), c.has)
			}
			if left, err := filepath.Glob(filepath.Join(cache, "engine", "*1.2.3*")); err != nil || len(left) > 1 { // the lock
				t.Errorf("got %v left behind: %v", left, err)
			}
		})
	}
}

func TestAMissingNpmIsNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := npmPack(t.Context(), t.TempDir(), "x", "1"); err == nil || !strings.Contains(err.Error(), "install Node.js with npm") {
		t.Errorf("got %v", err)
	}
}

func TestAnEndedContextEndsAFetch(t *testing.T) {
	t.Setenv("HEADWATER_CACHE", t.TempDir())
	f, _ := fakeFetcher(good(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.fetch(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
