// Package project loads what people write: a folder with headwater.yaml, sources/*.yaml, and optionally schemas/*.yaml,
// indicators/*.yaml, indexes/*.yaml, reference/*.yaml (code lists), reference/regions.csv and the tables that mappings look up.
//
// Load reads and checks all of it, offline, and reports every problem with file, line, column and what to do. What comes out is
// complete: the rest of the program asks the Project for sources, schemas and servers and reads no configuration itself.
//
// Secrets stand in the files by reference only. Load checks that they are references; they are fetched when a source is
// opened or a server's settings are asked for, and never kept in errors.
package project

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/secret"
	"github.com/headwater-data/headwater/internal/yamlfile"
	"github.com/headwater-data/headwater/pipeline/transform"
	"github.com/headwater-data/headwater/schemas"
)

// File is the name of the file that makes a folder a project.
const File = "headwater.yaml"

// Project is a loaded project. It does not change after Load and is safe for concurrent use.
type Project struct {
	Dir    string // absolute
	Name   string
	Title  string
	Zone   *time.Location
	State  string // absolute folder of what Headwater keeps itself
	Log    LogConfig
	Limits LimitsConfig

	config   Config
	node     yamlfile.Node // headwater.yaml
	sources  []*Source
	set      *schemas.Set
	measures schemas.Measures
	shape    *transform.Shape

	faulty  map[string]bool // files of sources that have problems
	unsound bool            // something else has
	leftOut []*Source
}

// Source is one configured source.
type Source struct {
	Name, Title, Owner string
	Connector          string
	Topic              string // of its batches
	Schedule           Schedule
	ContinueOnGap      bool // on_gap: continue
	Streams            []Stream
	Sharing            *Sharing // its entry in the data-sharing list; nil when it states none
	File               string   // where it is configured, relative to the project

	definition connectors.Definition
	config     yamlfile.Node
}

// Stream is one stream of a source.
type Stream struct {
	Name       string
	Schema     string   // that its rows become records of
	Indicators []string // that its mapping names, sorted

	read yamlfile.Node
}

// Schedule says when the service reads a source.
type Schedule struct {
	Cron       string // five fields; "" when Every or Continuous say when, or nothing does
	Every      time.Duration
	Continuous bool
	Zone       *time.Location
	CatchUp    bool
	Retries    int
}

// IsZero reports whether the source is read by hand only.
func (s Schedule) IsZero() bool { return s.Cron == "" && s.Every == 0 && !s.Continuous }

// Find returns the folder of the project that dir is in: dir itself or its nearest parent with a headwater.yaml.
func Find(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find project: %w", err)
	}
	for at := abs; ; {
		_, err := os.Stat(filepath.Join(at, File))
		if err == nil {
			return at, nil
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return "", fault.Environment(fmt.Errorf("find project: %w", err))
		}
		parent := filepath.Dir(at)
		if parent == at {
			return "", fault.Usage(fmt.Errorf("no %s in %s or a folder above it: go into a project, name one with --project, or make one with headwater init", File, abs))
		}
		at = parent
	}
}

// Sources returns all sources in the order of their names.
func (p *Project) Sources() []*Source { return p.sources }

// Source returns the source of that name, or an error (of the usage kind) with a suggestion.
func (p *Project) Source(name string) (*Source, error) {
	names := make([]string, len(p.sources))
	for i, s := range p.sources {
		if s.Name == name {
			return s, nil
		}
		names[i] = s.Name
	}
	if s := yamlfile.Suggest(name, names); s != "" {
		return nil, fault.Usage(fmt.Errorf("no source %q in this project (did you mean %q?)", name, s))
	}
	return nil, fault.Usage(fmt.Errorf("no source %q in this project; it has: %s", name, strings.Join(names, ", ")))
}

// Sound returns the project without the sources whose own files have problems, so that one broken source does not stop the
// others. ok is false when the problems lie elsewhere, or when no source would be left: then the project must not be run.
func (p *Project) Sound() (sound *Project, ok bool) {
	if p.unsound {
		return nil, false
	}
	out := *p
	out.sources = nil
	var names []string
	for _, s := range p.sources {
		if p.faulty[s.File] {
			out.leftOut = append(out.leftOut, s)
			continue
		}
		out.sources = append(out.sources, s)
		names = append(names, s.Name)
	}
	out.shape = p.ShapeFor(names...)
	return &out, len(out.sources) > 0
}

// Faulty returns the files of sources that have problems, in the order of their names.
func (p *Project) Faulty() []string { return slices.Sorted(maps.Keys(p.faulty)) }

// LeftOut returns the sources that Sound has left out, as far as their files can be understood.
func (p *Project) LeftOut() []*Source { return p.leftOut }

// Set returns the standard schemas with the project's own, and its regions.
func (p *Project) Set() *schemas.Set { return p.set }

// Indicators returns the project's indicators in the order of their codes.
func (p *Project) Indicators() []schemas.Indicator { return p.measures.Indicators }

// Indexes returns the project's composite indexes, each after those that it is made of.
func (p *Project) Indexes() []schemas.Index { return p.measures.Indexes }

// Shape returns everything that shapes rows. Do not change it; SourceColumns is empty.
func (p *Project) Shape() *transform.Shape { return p.shape }

// ShapeFor returns the shape with only the streams of the named sources.
func (p *Project) ShapeFor(sources ...string) *transform.Shape {
	only := *p.shape
	only.Streams = nil
	for _, s := range p.shape.Streams {
		if slices.Contains(sources, s.Source) {
			only.Streams = append(only.Streams, s)
		}
	}
	return &only
}

// OpenSource fetches the source's secrets and opens it. The caller closes it. Errors are of the usage kind when the
// configuration is at fault.
func (p *Project) OpenSource(ctx context.Context, name string, env connectors.Environment) (connectors.Source, error) {
	s, err := p.Source(name)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	references := p.references(true)
	config, streams, problems := s.options(references)
	if err := problems.Err(); err != nil {
		return nil, fault.Usage(fmt.Errorf("open source %q: %w", name, err))
	}
	if env.Dir == "" {
		env.Dir = p.Dir
	}
	opened, err := s.definition.Open(env, config, streams)
	if err != nil {
		return nil, fmt.Errorf("open source %q: %w", name, err)
	}
	return opened, nil
}

// references resolves environment variables in texts and, for opening, secrets.
func (p *Project) references(secrets bool) *yamlfile.References {
	r := &yamlfile.References{Env: os.LookupEnv}
	if secrets {
		r.Secret = p.fetch
	}
	return r
}

// maxSecretBytes bounds a file that holds a secret: a key or a password, not a document.
const maxSecretBytes = 64 << 10

// fetch returns what a reference to a secret stands for. Its errors name the reference only.
func (p *Project) fetch(r yamlfile.Reference) (string, error) {
	if r.Kind == "env" {
		text, ok := os.LookupEnv(r.Name)
		if !ok || text == "" {
			return "", fmt.Errorf("the environment variable %s is not set", r.Name)
		}
		return text, nil
	}
	name := r.Name
	if !filepath.IsAbs(name) {
		name = filepath.Join(p.Dir, name)
	}
	data, err := readBounded(name, maxSecretBytes)
	if err != nil {
		return "", fmt.Errorf("the secret's file %s: %w", r.Name, reason(err))
	}
	text := strings.TrimRight(string(data), "\r\n")
	if text == "" {
		return "", fmt.Errorf("the secret's file %s is empty", r.Name)
	}
	return text, nil
}

// Keys returns a keyed hash's key by its name. When headwater.yaml names no keys, transform.DefaultKey is one that is made at
// first use and kept in the state folder.
//
// The first use of a key leaves its fingerprint in the state folder. A key that is no longer what it was is refused: its hashes
// would stand under the same name as the old ones and match none of them.
func (p *Project) Keys(name string) (key secret.Value, err error) {
	if !p.config.hasKey(name) {
		return secret.Value{}, fault.Usage(fmt.Errorf("no key %q under keys: in %s", name, File))
	}
	dir := filepath.Join(p.State, "keys")
	if len(p.config.Keys) == 0 {
		if key, err = ownKey(dir, name); err != nil {
			return secret.Value{}, err
		}
	} else {
		resolved, err := p.resolved()
		if err != nil {
			return secret.Value{}, err
		}
		key = resolved.Keys[name]
		if len(key.Reveal()) < minKeyBytes {
			return secret.Value{}, fault.Usage(fmt.Errorf("the key %q is shorter than %d characters: a short key can be guessed", name, minKeyBytes))
		}
	}
	if err := sameKey(dir, name, p.Hashing().Fingerprint(name, key)); err != nil {
		return secret.Value{}, err
	}
	return key, nil
}

// Hashing says which key hashes personal values where a mapping names none, and how.
func (p *Project) Hashing() transform.Hashing {
	return transform.Hashing{Newest: p.config.Hashing.Key, SM3: p.config.Hashing.SM3}
}

// hasKey reports whether there is a key of that name. Without any in the file, there is one that the project makes itself.
func (c Config) hasKey(name string) bool {
	_, ok := c.Keys[name]
	return ok || len(c.Keys) == 0 && name == transform.DefaultKey
}

// resolved is headwater.yaml with its secrets fetched.
func (p *Project) resolved() (Config, error) {
	var c Config
	if problems := p.node.With(p.references(true)).Decode(&c); len(problems) > 0 {
		return c, fault.Usage(problems)
	}
	return c.withDefaults(), nil
}

func readBounded(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read from
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("more than %d bytes", limit)
	}
	return data, nil
}

// reason is an error without the path that it repeats.
func reason(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

// KeepsGone tells of each stream of a source whether rows stay in the warehouse when they go from the system, because its
// options say so.
func (p *Project) KeepsGone(s *Source) map[string]bool {
	out := map[string]bool{}
	_, streams, _ := s.options(p.references(false)) // problems were told when the project was loaded
	for name, options := range streams {
		if o, ok := options.(interface{ KeepsGone() bool }); ok && o.KeepsGone() {
			out[name] = true
		}
	}
	return out
}
