// Package file is the connector for files: CSV, JSON Lines, JSON, XLSX and Parquet, plain, in gzip or in a zip, alone, in a
// folder or matched by a glob.
//
// Each file, or member of a zip, is a shard. Its content is told apart from a later one by a hash of its stored bytes, so that
// a file that was only touched is not read again. Text formats and XLSX give utf8 columns in which numbers keep the digits
// that stand in the file; dates of XLSX are ISO text; Parquet keeps its Arrow types, with dictionaries decoded to plain values.
// Titles, headers and wholly empty rows are not rows; everything else is, subtotals and notes included: leaving them out is the
// mapping's business, where they are counted.
//
// Memory depends on the longest row and on the options, not on the size of a file.
package file

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/internal/fault"
)

var (
	_ connectors.Source  = (*Source)(nil)
	_ connectors.Sharder = (*Source)(nil)
	_ connectors.Counter = (*Source)(nil)
)

// Definition describes the file connector.
func Definition() connectors.Definition {
	return connectors.Definition{
		Name:   "file",
		Title:  "Files: CSV, JSON Lines, JSON, XLSX, Parquet; plain, gzip or zip",
		Modes:  []string{"whole", "each file a shard"},
		Tested: []string{"local files"}, TestedOn: "2026-11-27",
		Config: func() any { return &Config{} },
		Stream: func() any { return &Options{} },
		Check: func(_ any, streams map[string]any) []connectors.OptionFault {
			var faults []connectors.OptionFault
			for _, name := range slices.Sorted(maps.Keys(streams)) {
				o, ok := streams[name].(*Options)
				if !ok {
					faults = append(faults, connectors.OptionFault{Stream: name, Message: fmt.Sprintf("options are %T, not *file.Options", streams[name])})
					continue
				}
				faults = append(faults, o.check(name)...)
			}
			return faults
		},
		Open: func(env connectors.Environment, _ any, streams map[string]any) (connectors.Source, error) {
			return open(env, streams)
		},
	}
}

// Source reads the files of a configured source.
type Source struct {
	env     connectors.Environment
	realDir string // env.Dir without symbolic links
	streams map[string]*Options

	mu sync.Mutex
	// shards is what discover found last, by stream and shard.
	shards map[connectors.Stream]entry
	// touched remembers files that have a new time but the content that their cursor knows, so that they are hashed once.
	touched map[connectors.Stream]stamp
}

// stamp is what the file system says about a content without reading it.
type stamp struct {
	size, mtime int64
	hash        string
}

func open(env connectors.Environment, streams map[string]any) (*Source, error) {
	dir, err := filepath.Abs(env.Dir)
	if err != nil {
		return nil, fmt.Errorf("project folder: %w", err)
	}
	env.Dir = dir
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, fmt.Errorf("project folder: %w", err)
	}
	s := &Source{
		env: env, realDir: real, streams: map[string]*Options{},
		shards: map[connectors.Stream]entry{}, touched: map[connectors.Stream]stamp{},
	}
	for name, v := range streams {
		o, ok := v.(*Options)
		if !ok {
			return nil, fmt.Errorf("stream %q: options are %T, not *file.Options", name, v)
		}
		if faults := o.check(name); len(faults) > 0 {
			f := faults[0]
			return nil, fault.Usage(fmt.Errorf("stream %q: %s: %s", name, f.Path[0], f.Message))
		}
		s.streams[name] = o
	}
	return s, nil
}

// Streams lists the configured streams by name.
func (s *Source) Streams(context.Context) ([]connectors.Stream, error) {
	var streams []connectors.Stream
	for _, name := range slices.Sorted(maps.Keys(s.streams)) {
		streams = append(streams, connectors.Stream{Name: name})
	}
	return streams, nil
}

// Shards lists the files and members that a stream has now. A shard that cannot be read is listed too: reading it says why.
func (s *Source) Shards(ctx context.Context, stream string) ([]connectors.Stream, error) {
	o, ok := s.streams[stream]
	if !ok {
		return nil, fmt.Errorf("no stream %q", stream)
	}
	entries, err := s.discover(ctx, o)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.shards, func(shard connectors.Stream, _ entry) bool { return shard.Name == stream })
	var shards []connectors.Stream
	for _, e := range entries {
		shard := connectors.Stream{Name: stream, Shard: e.shard}
		s.shards[shard] = e
		shards = append(shards, shard)
	}
	return shards, nil
}

// Close does nothing: each Read closes what it opened.
func (s *Source) Close() error { return nil }

// find returns the entry of a shard, looking for it anew when it is not known.
func (s *Source) find(ctx context.Context, shard connectors.Stream) (entry, *Options, error) {
	o, ok := s.streams[shard.Name]
	if !ok {
		return entry{}, nil, fmt.Errorf("no stream %q", shard.Name)
	}
	if shard.Shard == "" {
		return entry{}, nil, fmt.Errorf("stream %q is split into shards, one for each file: read those", shard.Name)
	}
	for range 2 {
		s.mu.Lock()
		e, ok := s.shards[shard]
		s.mu.Unlock()
		if ok {
			return e, o, e.err
		}
		if _, err := s.Shards(ctx, shard.Name); err != nil {
			return entry{}, nil, err
		}
	}
	return entry{}, nil, connectors.Permanent(fmt.Errorf("%s: no such file", shard.Shard))
}

// decoder reads one content in pieces of at most a batch.
type decoder interface {
	// next returns the rows that follow. The last piece of a content is marked and may be empty; then next is not called again.
	next(ctx context.Context) (piece, error)
	Close() error
}

// piece is what becomes a batch. Whoever gets it releases the record.
type piece struct {
	record  arrow.Record
	rejects []connectors.Reject
	place   string
	pos     position
	last    bool
}

func openDecoder(ctx context.Context, c *content, format string, o *Options, env connectors.Environment, after position) (decoder, error) {
	switch format {
	case formatCSV:
		return openCSV(ctx, c, o, env, after)
	case formatJSONL:
		return openJSONL(ctx, c, o, env, after)
	case formatJSON:
		return openJSON(ctx, c, o, env, after)
	case formatXLSX:
		return openXLSX(ctx, c, o, env, after)
	case formatParquet:
		return openParquet(ctx, c, env, after)
	}
	return nil, fmt.Errorf("%s: no such format: %q", c.place, format)
}

// Read yields what follows the cursor, as the contract says.
func (s *Source) Read(ctx context.Context, shard connectors.Stream, after connectors.Cursor) iter.Seq2[connectors.Batch, error] {
	return func(yield func(connectors.Batch, error) bool) {
		if err := s.read(ctx, shard, after, func(b connectors.Batch) bool { return yield(b, nil) }); err != nil && !errors.Is(err, errStopped) {
			yield(connectors.Batch{}, err)
		}
	}
}

// errStopped says that the caller wants no more batches.
var errStopped = errors.New("stopped by the caller")

func (s *Source) read(ctx context.Context, shard connectors.Stream, after connectors.Cursor, yield func(connectors.Batch) bool) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	e, o, err := s.find(ctx, shard)
	if err != nil {
		return err
	}
	old, err := decodeCursor(after)
	if err != nil {
		return connectors.Permanent(fmt.Errorf("%s: %w", e.shard, err))
	}
	if err := o.fits(e); err != nil {
		return err
	}
	c, err := openContent(e, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()

	if s.unsettled(c, o) {
		s.env.Logger.Info("file is left for the next pass: it changed within the settle time", "stream", shard.Name, "shard", shard.Shard, "settle", o.Settle)
		return nil
	}
	todo, err := s.plan(ctx, shard, c, o, old)
	if err != nil || todo == nil {
		return err
	}

	d, err := openDecoder(ctx, c, e.format, o, s.env, todo.Pos)
	if err != nil {
		return c.blame(ctx, todo, err)
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		p, err := d.next(ctx)
		if err != nil {
			return c.blame(ctx, todo, err)
		}
		done, err := s.deliver(ctx, c, o, todo, p, yield)
		if err != nil || done {
			return err
		}
	}
}

// deliver yields one piece as a batch. The last one only goes out after the content has been found unchanged.
func (s *Source) deliver(ctx context.Context, c *content, o *Options, todo *cursor, p piece, yield func(connectors.Batch) bool) (done bool, err error) {
	defer p.record.Release()
	todo.Pos = p.pos
	todo.Done = p.last
	if p.last {
		if err := c.unchanged(ctx, todo); err != nil {
			return false, err
		}
	}
	encoded, err := todo.encode()
	if err != nil {
		return false, err
	}
	more := yield(connectors.Batch{
		Record: p.record, Place: p.place, Rejects: p.rejects, Cursor: encoded,
		ExtractedAt: time.UnixMicro(todo.At), Replaces: p.last && cmp.Or(o.OnChange, replaceOnChange) == replaceOnChange,
	})
	if !more {
		return false, errStopped
	}
	return p.last, nil
}

// fits refuses combinations that only the file itself shows.
func (o *Options) fits(e entry) error {
	if o.OnChange == appendOnChange && e.format != formatCSV && e.format != formatJSONL {
		return fault.Usage(fmt.Errorf("%s: on_change: append works with csv and jsonl only, not with %s", e.shard, e.format))
	}
	return nil
}

// unsettled reports that the file may still be being written. A time in the future by more than the settle time says nothing.
func (s *Source) unsettled(c *content, o *Options) bool {
	return o.Settle > 0 && s.env.Now().Sub(time.Unix(0, c.mtime)).Abs() < o.Settle
}

// plan compares the content with what the cursor knows and returns from where to read it; nil when there is nothing to read.
func (s *Source) plan(ctx context.Context, shard connectors.Stream, c *content, o *Options, old *cursor) (*cursor, error) {
	if old != nil && old.Done && old.Size == c.size && old.ModTime == c.mtime {
		return nil, nil
	}
	s.mu.Lock()
	seen := s.touched[shard]
	s.mu.Unlock()
	if old != nil && old.Done && seen == (stamp{c.size, c.mtime, old.Hash}) {
		return nil, nil
	}
	hash, err := c.hash(ctx, c.size)
	if err != nil {
		return nil, err
	}
	next := &cursor{Hash: hash, Size: c.size, ModTime: c.mtime, At: s.env.Now().UnixMicro()}
	if old == nil {
		return next, nil
	}
	if old.Hash == hash {
		if !old.Done {
			next.At, next.Pos = old.At, old.Pos
			return next, nil
		}
		s.mu.Lock()
		s.touched[shard] = stamp{c.size, c.mtime, hash}
		s.mu.Unlock()
		return nil, nil
	}
	if cmp.Or(o.OnChange, replaceOnChange) == replaceOnChange && !o.AllowEmpty && old.Size > 0 {
		// A program that writes a file anew empties it first: taking that at its word would delete all that the file brought.
		blank, err := c.blank(ctx)
		if err != nil {
			return nil, c.blame(ctx, next, err)
		}
		if blank {
			return nil, connectors.Transient(fmt.Errorf("%s: the file is empty and was not before; its rows stay: deliver it again, or set allow_empty: true if an empty file means that they are gone", c.place))
		}
	}
	next.At = max(next.At, old.At+1) // the clock may have gone back
	if o.OnChange == appendOnChange {
		if err := c.appended(ctx, old); err != nil {
			return nil, err
		}
		next.Pos = old.Pos
		if next.Pos.Encoding == encASCII || next.Pos.Encoding == encChecked {
			next.Pos.Encoding = encUTF8 // what was added has not been looked at
		}
		if old.Pos.Encoding == encASCII {
			next.Pos.Encoding = "" // ASCII is also GB18030: what was added decides
		}
	}
	return next, nil
}

// appended returns an error unless the content that the cursor knows stands whole at the beginning of the present one.
func (c *content) appended(ctx context.Context, old *cursor) error {
	refuse := func(what string) error {
		return connectors.Permanent(fmt.Errorf("%s: %s, but on_change is append: set on_change: replace, or deliver the file with its old content first", c.place, what))
	}
	if c.size < old.Size {
		return refuse("the file became shorter")
	}
	if c.member != nil {
		return refuse("the member of the zip changed, and a packed member has no beginning to compare")
	}
	hash, err := c.hash(ctx, old.Size)
	if err != nil {
		return err
	}
	if hash != old.Hash {
		return refuse("the content that was read before changed")
	}
	if old.Done && !c.gzip && old.Size > 0 {
		edge := make([]byte, 2)
		if _, err := c.file.ReadAt(edge, old.Size-1); err != nil {
			return c.fail("read", err)
		}
		if edge[0] != '\n' && edge[1] != '\n' && edge[1] != '\r' {
			return refuse("the last line that was read before has become longer")
		}
	}
	return nil
}

// unchanged returns a transient error when the content is not the one that was planned to be read.
func (c *content) unchanged(ctx context.Context, planned *cursor) error {
	info, err := c.file.Stat()
	if err != nil {
		return unreadable(c.place, err)
	}
	hash, err := c.hash(ctx, c.size)
	if err != nil {
		return err
	}
	if hash != planned.Hash || c.member == nil && info.Size() != planned.Size {
		return connectors.Transient(fmt.Errorf("%s: changed while it was read; it is read again", c.place))
	}
	return nil
}

// blame returns the error of a failed read, or, when the content changed meanwhile, that: a file which is being written anew
// looks damaged.
func (c *content) blame(ctx context.Context, planned *cursor, err error) error {
	if ctx.Err() != nil {
		return err
	}
	if changed := c.unchanged(ctx, planned); connectors.IsTransient(changed) {
		return changed
	}
	return err
}

// Count returns how many rows a Parquet file says it has. For other formats, which do not say, the error is
// errors.ErrUnsupported.
func (s *Source) Count(ctx context.Context, shard connectors.Stream) (n int64, err error) {
	e, o, err := s.find(ctx, shard)
	if err != nil {
		return 0, err
	}
	if e.format != formatParquet {
		return 0, errors.ErrUnsupported
	}
	c, err := openContent(e, o)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	defer c.recoverDamage(&err)
	r, err := c.readerAt(ctx)
	if err != nil {
		return 0, err
	}
	f, _, err := c.parquetFile(r)
	if err != nil {
		return 0, err
	}
	return f.NumRows(), nil
}
