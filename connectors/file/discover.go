package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/internal/fault"
)

// entry is one shard: a file, or a member of a zip.
type entry struct {
	shard  string // slash path relative to the project (absolute outside of it), plus "!" and the member
	path   string // to open
	member *memberID
	name   string // whose extension tells the format: the member's, else the file's
	format string
	gzip   bool
	// err says why the shard cannot be read; it is told by Read, so that the other shards go on.
	err error
}

// kind is what a file name tells.
type kind struct {
	format    string
	gzip, zip bool
	refusal   string // why files of this extension cannot be read; "" for known and for unknown extensions
}

const saveAsXLSX = "save it as .xlsx and deliver that"

// kindOf tells by the extension what a file holds.
func kindOf(name string) kind {
	name = strings.ToLower(name)
	var k kind
	if ext := path.Ext(name); ext == ".gz" {
		k.gzip = true
		name = strings.TrimSuffix(name, ext)
	}
	switch path.Ext(name) {
	case ".csv", ".tsv":
		k.format = formatCSV
	case ".jsonl", ".ndjson":
		k.format = formatJSONL
	case ".json", ".geojson":
		k.format = formatJSON
	case ".xlsx", ".xlsm":
		k.format = formatXLSX
	case ".parquet":
		k.format = formatParquet
	case ".zip":
		if k.gzip {
			k.refusal = "a zip inside gzip is not read: deliver the zip itself"
		} else {
			k.zip = true
		}
	case ".xls", ".et", ".xlsb", ".ods":
		k.refusal = "spreadsheets of this kind are not read: " + saveAsXLSX
	case ".tgz", ".tar", ".rar", ".7z", ".bz2", ".xz", ".zst":
		k.refusal = "archives of this kind are not read: use zip or gzip"
	}
	return k
}

// unfinished reports names that programs give to what they are still writing, and lock and system files.
func unfinished(name string) bool {
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "~$") {
		return true
	}
	switch strings.ToLower(path.Ext(name)) {
	case ".part", ".tmp", ".partial", ".filepart", ".crdownload", ".swp":
		return true
	}
	return false
}

func slashes(p string) string { return filepath.ToSlash(p) }

// isPattern reports whether p is a glob rather than the name of a file or folder.
func isPattern(p string) bool { return strings.ContainsAny(p, "*?[{") }

// discover lists the shards that a stream has now, sorted by name.
func (s *Source) discover(ctx context.Context, o *Options) ([]entry, error) {
	seen := map[string]bool{}
	var entries []entry
	add := func(e entry) {
		if !seen[e.shard] {
			seen[e.shard] = true
			entries = append(entries, e)
		}
	}
	for _, configured := range o.Path {
		files, err := s.match(configured, o.Format != "")
		if err != nil {
			return nil, err
		}
		if len(files) == 0 {
			s.env.Logger.Warn("no file matches", "path", configured)
		}
		for _, f := range files {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if kindOf(f.path).zip && f.err == nil {
				for _, e := range s.members(f, o) {
					add(e)
				}
				continue
			}
			add(f.withFormat(o))
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.shard, b.shard) })
	return entries, nil
}

// withFormat settles how the entry is read, by the options or else by its name.
func (e entry) withFormat(o *Options) entry {
	k := kindOf(e.name)
	e.format, e.gzip = k.format, k.gzip
	if o.Format != "" {
		e.format = o.Format
	}
	switch {
	case e.err != nil:
	case k.refusal != "" && o.Format == "": // some ".xls" are CSV in truth: whoever sets a format knows
		e.err = connectors.Permanent(fmt.Errorf("%s: %s", e.shard, k.refusal))
	case k.zip:
		e.err = connectors.Permanent(fmt.Errorf("%s: a zip inside a zip is not read", e.shard))
	case e.format == "":
		e.err = fault.Usage(fmt.Errorf("%s: the format is not known by the extension: set format", e.shard))
	}
	return e
}

// match lists the files that one configured path means. Members of zips are not looked for yet.
func (s *Source) match(configured string, anyExtension bool) ([]entry, error) {
	p := slashes(configured)
	if !isPattern(p) {
		full := s.absolute(p)
		info, err := os.Stat(full)
		if err != nil {
			shard := s.shardName(full, p)
			return []entry{{shard: shard, path: full, name: path.Base(p), err: unreadable(shard, err)}}, nil
		}
		if !info.IsDir() {
			return []entry{s.contained(full, full, p)}, nil
		}
		p = strings.TrimSuffix(escapeGlob(p), "/") + "/*"
	}
	base, pattern := doublestar.SplitPattern(p)
	root := s.absolute(base)
	if _, err := os.Stat(root); err != nil {
		return nil, unreadable(configured, err)
	}
	var files []entry
	// Links to folders are not followed: they may lead round in a circle, and then one file is many shards.
	err := doublestar.GlobWalk(os.DirFS(root), pattern, func(name string, d fs.DirEntry) error {
		if d.IsDir() || unfinished(path.Base(name)) {
			return nil
		}
		full := filepath.Join(root, filepath.FromSlash(name))
		if d.Type()&fs.ModeSymlink != 0 {
			if info, err := os.Stat(full); err == nil && info.IsDir() {
				return nil
			}
		}
		if k := kindOf(name); !anyExtension && k.format == "" && !k.zip && k.refusal == "" {
			return nil
		}
		files = append(files, s.contained(full, root, base))
		return nil
	}, doublestar.WithNoFollow(), doublestar.WithFailOnIOErrors())
	if err != nil {
		return nil, unreadable(configured, err)
	}
	return files, nil
}

// escapeGlob makes a folder's own name match itself.
func escapeGlob(p string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `{`, `\{`).Replace(p)
}

// contained makes the entry of a file, refusing it when a symbolic link leads out of the project and of the folder that was
// configured by a path of its own. root is what the configured path reached; base is how it was written.
func (s *Source) contained(full, root, base string) entry {
	e := entry{shard: s.shardName(full, base), path: full, name: filepath.Base(full)}
	target, err := filepath.EvalSymlinks(full)
	if err != nil {
		e.err = unreadable(e.shard, err)
		return e
	}
	if within(s.realDir, target) {
		return e
	}
	// Whoever writes an absolute path, or one that climbs out of the project, means what is there. A plain relative path
	// that ends up outside does so through a link that somebody put there.
	if explicit := filepath.IsAbs(filepath.FromSlash(base)) || !within(s.env.Dir, root); explicit {
		if real, err := filepath.EvalSymlinks(root); err == nil && within(real, target) {
			return e
		}
	}
	e.err = connectors.Permanent(fmt.Errorf("%s: is a symbolic link that leads out of the project: configure the absolute path of what it points to", e.shard))
	return e
}

// within reports whether p is dir or below it; both must be absolute and clean.
func within(dir, p string) bool {
	rel, err := filepath.Rel(dir, p)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

func (s *Source) absolute(p string) string {
	p = filepath.FromSlash(p)
	if !filepath.IsAbs(p) {
		p = filepath.Join(s.env.Dir, p)
	}
	return filepath.Clean(p)
}

// shardName is how people and cursors name a file: relative to the project, so that a project that is moved keeps its place;
// absolute only when the file lies outside and was configured so.
func (s *Source) shardName(full, configured string) string {
	if !within(s.env.Dir, full) && filepath.IsAbs(filepath.FromSlash(configured)) {
		return slashes(full)
	}
	rel, err := filepath.Rel(s.env.Dir, full)
	if err != nil { // another volume
		return slashes(full)
	}
	return slashes(rel)
}

// unreadable explains why the system would not give a file, without the absolute path that its own message holds.
func unreadable(name string, err error) error {
	var cause error = err
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		cause = pe.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return connectors.Permanent(fmt.Errorf("%s: no such file or folder", name))
	case errors.Is(err, fs.ErrPermission):
		return fault.Environment(fmt.Errorf("%s: %w: give the account that runs Headwater the right to read it", name, cause))
	}
	return fmt.Errorf("%s: %w", name, cause)
}
