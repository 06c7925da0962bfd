package file

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/headwater-data/headwater/connectors"
)

var _ connectors.Preflighter = (*Source)(nil)

// What a preflight looks into. To tell an encoding a file is read whole, and somebody waits.
const (
	lookedFiles = 20        // of a stream, the newest first
	lookedBytes = 256 << 20 // of a stream, unpacked
	lookedFirst = 2 << 30   // of the newest file, which is looked into even if nothing else is
	toldFaults  = 5         // of a stream, one by one; the others are counted
)

// Preflight looks at the files of every stream: whether folders can be read, what matches, what would be refused, and, in the newest
// files, encodings and columns. It reads no more than the beginning of the rows and moves no cursor.
func (s *Source) Preflight(ctx context.Context) ([]connectors.Finding, error) {
	var out []connectors.Finding
	for _, name := range slices.Sorted(maps.Keys(s.streams)) {
		l := &look{s: s, o: s.streams[name], left: lookedBytes}
		err := l.look(ctx)
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		if err != nil {
			l.say("files", connectors.LevelFault, err.Error(), "")
		}
		for _, f := range l.found {
			f.Stream = name
			out = append(out, f)
		}
	}
	return out, nil
}

// look is at the files of one stream.
type look struct {
	s     *Source
	o     *Options
	left  int64 // bytes that may still be looked into
	found []connectors.Finding

	faults    int
	encodings map[string][]string // files by encoding
	columns   []string            // of the first file
	of        string              // that file
}

func (l *look) say(what string, level connectors.Level, text, fix string) {
	l.found = append(l.found, connectors.Finding{What: what, Level: level, Text: text, Fix: fix})
}

// refuse tells of a file that reading would refuse.
func (l *look) refuse(err error) {
	if l.faults++; l.faults <= toldFaults {
		l.say("read", connectors.LevelFault, err.Error(), "")
	}
}

// candidate is an entry that can be looked into.
type candidate struct {
	entry
	mtime time.Time
}

func (l *look) look(ctx context.Context) error {
	entries, err := l.s.discover(ctx, l.o)
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		l.say("files", connectors.LevelNote, "no file matches "+strings.Join(l.o.Path, ", ")+" now", "nothing, if files are still to come; else correct read.path")
		return nil
	}
	files, zips, members := map[string]os.FileInfo{}, map[string]bool{}, 0
	var size int64
	var newest candidate
	var candidates []candidate
	for _, e := range entries {
		if e.member != nil {
			zips[e.path], members = true, members+1
		}
		info, err := os.Stat(e.path)
		if err == nil && files[e.path] == nil {
			files[e.path] = info
			size += info.Size()
		}
		if e.err == nil && err != nil {
			e.err = unreadable(e.shard, err)
		}
		if e.err == nil {
			e.err = l.o.fits(e)
		}
		if e.err != nil {
			l.refuse(e.err)
			continue
		}
		c := candidate{e, info.ModTime()}
		if newest.path == "" || c.mtime.After(newest.mtime) {
			newest = c
		}
		candidates = append(candidates, c)
	}
	if len(files) > 0 {
		text := fmt.Sprintf("%s, %s", counted(len(files), "file"), extent(size))
		if newest.path != "" {
			text += fmt.Sprintf("; the newest is %s of %s", newest.shard, newest.mtime.UTC().Format("2006-01-02 15:04 MST"))
		}
		l.say("files", connectors.LevelOK, text, "")
	}
	if len(zips) > 0 {
		l.say("archives", connectors.LevelOK, fmt.Sprintf("%s with %s to read", counted(len(zips), "zip"), counted(members, "member")), "")
	}
	slices.SortStableFunc(candidates, func(a, b candidate) int { return b.mtime.Compare(a.mtime) })
	if err := l.into(ctx, candidates); err != nil {
		return err
	}
	if more := l.faults - toldFaults; more > 0 {
		l.say("read", connectors.LevelFault, fmt.Sprintf("%s more cannot be read", counted(more, "file")), "see to the ones above first")
	}
	return nil
}

// errLeftOut says that a file was not looked into.
var errLeftOut = errors.New("there is no time for it")

// errUnsettled says that a file is too new to be read.
var errUnsettled = errors.New("it has just changed")

// into looks into files as long as there is time for it.
func (l *look) into(ctx context.Context, candidates []candidate) error {
	l.encodings = map[string][]string{}
	looked, leftOut, unsettled := 0, 0, 0
	for _, c := range candidates {
		err := errLeftOut
		if looked < lookedFiles {
			err = l.open(ctx, c.entry)
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errLeftOut):
			leftOut++
			continue
		case errors.Is(err, errUnsettled):
			unsettled++
			continue
		case err != nil:
			l.refuse(err)
		}
		looked++
	}
	if leftOut > 0 {
		l.say("files", connectors.LevelNote, fmt.Sprintf("%s not looked into, because there are many or large ones", counted(leftOut, "file")), "")
	}
	if unsettled > 0 {
		l.say("settle", connectors.LevelNote, fmt.Sprintf("%s changed within the last %v", counted(unsettled, "file"), l.o.Settle), "nothing: a later run reads them")
	}
	if l.of != "" {
		l.say("columns", connectors.LevelOK, fmt.Sprintf("%s has %s: %s", l.of, counted(len(l.columns), "column"), strings.Join(l.columns, ", ")), "")
	}
	var told []string
	for _, e := range slices.Sorted(maps.Keys(l.encodings)) {
		told = append(told, fmt.Sprintf("%s is %s", several(l.encodings[e]), e))
	}
	if len(told) > 0 {
		l.say("encoding", connectors.LevelOK, strings.Join(told, "; "), "")
	}
	return nil
}

// open looks into one file.
func (l *look) open(ctx context.Context, e entry) (err error) {
	c, err := openContent(e, l.o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if l.s.unsettled(c, l.o) {
		return errUnsettled
	}
	size := c.size
	switch {
	case c.member != nil:
		size = int64(min(c.member.UncompressedSize64, 1<<62))
	case c.gzip:
		size *= 10 // about
	}
	if size > l.left && (l.of != "" || size > lookedFirst) {
		return errLeftOut
	}
	l.left -= size
	d, err := openDecoder(ctx, c, e.format, l.o, l.s.env, position{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	p, err := d.next(ctx)
	if err != nil {
		return err
	}
	defer p.record.Release()
	l.text(e, d)
	if n := len(p.rejects); n > 0 {
		r := p.rejects[0]
		l.say("rows", connectors.LevelNote, fmt.Sprintf("%s: %d of the first %d rows would go to the quarantine; the first is row %d: %s", p.place, n, int64(n)+p.record.NumRows(), r.Row, r.Reason), "")
	}
	var columns []string
	for _, f := range p.record.Schema().Fields() {
		if f.Name != connectors.ColumnRow {
			columns = append(columns, f.Name)
		}
	}
	if l.of == "" {
		l.columns, l.of = columns, p.place
		return nil
	}
	if lacks, has := without(l.columns, columns), without(columns, l.columns); len(lacks)+len(has) > 0 {
		var differs []string
		if len(lacks) > 0 {
			differs = append(differs, "lacks "+strings.Join(lacks, ", "))
		}
		if len(has) > 0 {
			differs = append(differs, "has "+strings.Join(has, ", "))
		}
		l.say("columns", connectors.LevelNote, fmt.Sprintf("%s has other columns than %s: it %s", p.place, l.of, strings.Join(differs, " and ")), "map both names (coalesce), or make a stream of its own of such files")
	}
	return nil
}

// text notes what a text turned out to be.
func (l *look) text(e entry, d decoder) {
	var t *text
	switch d := d.(type) {
	case *csvReader:
		t = d.text
	case *jsonReader:
		t = d.text
	case *jsonlReader:
		t = d.text
	default:
		return
	}
	name := t.encoding
	switch {
	case name == encChecked, name == encUTF8 && t.bom > 0:
		name = "UTF-8"
	case name == encGB18030:
		name = "GB18030"
	case name == encASCII:
		name = "ASCII"
	case cmp.Or(l.o.Encoding, "auto") == "auto":
		l.say("encoding", connectors.LevelNote, e.shard+" is neither whole UTF-8 nor GB18030", "rows with such bytes go to the quarantine; let it be written as UTF-8")
		return
	default:
		name = "UTF-8, as configured"
	}
	l.encodings[name] = append(l.encodings[name], e.shard)
}

// without returns what the second list does not have.
func without(names, those []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(those, name) })
}

// several names the first and counts the others.
func several(names []string) string {
	if len(names) == 1 {
		return names[0]
	}
	return fmt.Sprintf("%s, as %d more,", names[0], len(names)-1)
}

func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// extent writes a number of bytes.
func extent(n int64) string {
	switch {
	case n < 1<<10:
		return counted(int(n), "byte")
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}
