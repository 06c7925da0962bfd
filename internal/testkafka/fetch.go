package testkafka

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/headwater-data/headwater/internal/fault"
)

// kafkaArtifacts is everything that a broker has on its class path. The versions alone would let the contents change under us.
//
//go:embed artifacts.txt
var kafkaArtifacts string

// Artifact is a published Java archive, pinned.
type Artifact struct {
	Group, Name, Version string
	SHA256               string // in hex
}

func (a Artifact) file() string { return a.Name + "-" + a.Version + ".jar" }

// ParseArtifacts reads a list of lines "group:name:version sha256".
func ParseArtifacts(list string) ([]Artifact, error) {
	var out []Artifact
	for line := range strings.Lines(list) {
		name, sum, ok := strings.Cut(strings.TrimSpace(line), " ")
		parts := strings.Split(name, ":")
		if !ok || len(parts) != 3 || len(sum) != 2*sha256.Size || slices.Contains(parts, "") {
			return nil, fmt.Errorf("list of Java artifacts: %q is not \"group:name:version sha256\"", strings.TrimSpace(line))
		}
		out = append(out, Artifact{Group: parts[0], Name: parts[1], Version: parts[2], SHA256: sum})
	}
	if len(out) == 0 {
		return nil, errors.New("list of Java artifacts: it is empty")
	}
	return out, nil
}

// FetchArtifacts returns a folder with the archives, below $HEADWATER_CACHE or the user's cache folder, and brings them there
// with Maven the first time. Each must have its pinned hash. A fetch that is killed leaves nothing that a later one takes for
// complete; two at once wait for each other. Once fetched, neither network nor Maven is needed.
func FetchArtifacts(ctx context.Context, name string, artifacts []Artifact) (string, error) {
	return fetchWith(ctx, name, artifacts, mavenCopy)
}

func fetchWith(ctx context.Context, name string, artifacts []Artifact, bring func(ctx context.Context, folder string, artifacts []Artifact) error) (_ string, err error) {
	defer func() {
		if err != nil {
			err = fault.Environment(fmt.Errorf("fetch %s: %w", name, err))
		}
	}()
	root := os.Getenv("HEADWATER_CACHE")
	if root == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("no cache folder (set HEADWATER_CACHE): %w", err)
		}
		root = filepath.Join(user, "headwater")
	}
	if root, err = filepath.Abs(root); err != nil {
		return "", err
	}
	// The folder's name has the list's hash in it: another list is another folder, and one that is there is whole.
	list := sha256.New()
	for _, a := range artifacts {
		fmt.Fprintln(list, a)
	}
	folder := filepath.Join(root, "java", name+"-"+hex.EncodeToString(list.Sum(nil)[:8]))
	if _, err := os.Stat(folder); err == nil {
		return folder, nil
	}
	if err := os.MkdirAll(filepath.Dir(folder), 0o700); err != nil {
		return "", err
	}
	lock := flock.New(folder + ".lock")
	if _, err := lock.TryLockContext(ctx, 100*time.Millisecond); err != nil {
		return "", fmt.Errorf("wait for another fetch: %w", err)
	}
	defer lock.Close()
	if _, err := os.Stat(folder); err == nil {
		return folder, nil
	}
	// Leftovers of killed fetches; the lock says that nobody works in them.
	stale, err := filepath.Glob(folder + ".partial-*")
	if err != nil {
		return "", err
	}
	for _, path := range stale {
		if err := os.RemoveAll(path); err != nil {
			return "", err
		}
	}
	partial, err := os.MkdirTemp(filepath.Dir(folder), filepath.Base(folder)+".partial-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(partial) }() // renamed by then; else the next fetch removes it
	if err := bring(ctx, partial, artifacts); err != nil {
		return "", err
	}
	if err := checkArtifacts(partial, artifacts); err != nil {
		return "", err
	}
	return folder, os.Rename(partial, folder)
}

// checkArtifacts sees to it that the folder holds exactly the archives, byte for byte, and that they are on the disk.
func checkArtifacts(folder string, artifacts []Artifact) error {
	wanted := map[string]bool{}
	for _, a := range artifacts {
		wanted[a.file()] = true
		file, err := os.Open(filepath.Join(folder, a.file()))
		if err != nil {
			return err
		}
		hash := sha256.New()
		_, err = io.Copy(hash, file)
		if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
			return fmt.Errorf("read %s: %w", a.file(), err)
		}
		if got := hex.EncodeToString(hash.Sum(nil)); got != a.SHA256 {
			return fmt.Errorf("the hash of %s is sha256 %s, want %s: the repository or something on the way changed it", a.file(), got, a.SHA256)
		}
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if wanted[e.Name()] {
			continue
		}
		if strings.HasSuffix(e.Name(), ".jar") {
			return fmt.Errorf("%s was fetched and is not in the list", e.Name())
		}
		if err := os.RemoveAll(filepath.Join(folder, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// mavenCopy lets Maven bring the archives, so that the user's mirror, proxy and certificates are honoured. Each is named, with
// what it depends on left out: the list is complete, and what is on it is not for Maven to choose.
func mavenCopy(ctx context.Context, folder string, artifacts []Artifact) error {
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return errors.New("mvn is not installed: install Maven (Debian: apt-get install maven); it downloads the Java artifacts, once")
	}
	var pom strings.Builder
	pom.WriteString(`<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>` +
		`<groupId>headwater</groupId><artifactId>fetch</artifactId><version>1</version><packaging>pom</packaging><dependencies>` + "\n")
	for _, a := range artifacts {
		fmt.Fprintf(&pom, "<dependency><groupId>%s</groupId><artifactId>%s</artifactId><version>%s</version>"+
			"<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions></dependency>\n", a.Group, a.Name, a.Version)
	}
	pom.WriteString("</dependencies></project>\n")
	if err := os.WriteFile(filepath.Join(folder, "pom.xml"), []byte(pom.String()), 0o600); err != nil {
		return err
	}
	command := exec.CommandContext(ctx, mvn, "-q", "-B", "-f", filepath.Join(folder, "pom.xml"), "dependency:copy-dependencies",
		"-DoutputDirectory="+folder, "-DincludeScope=runtime", "-Dmdep.useBaseVersion=true")
	command.Dir = folder
	command.WaitDelay = 5 * time.Second
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	if err := command.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("mvn dependency:copy-dependencies: %w: %s", err, tail(output.String(), 20))
	}
	return nil
}

// tail returns the last n lines.
func tail(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
