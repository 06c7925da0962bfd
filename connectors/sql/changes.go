package sql

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/internal/fault"
)

// Changes says that a table is read once and its changes are followed from then on (`read.changes:`).
type Changes struct {
	Slot        string `yaml:"slot,omitempty" json:"slot,omitempty" desc:"PostgreSQL, and needed there: name of the replication slot: the server's own note of how far the changes were read. It is made when the stream is first read, and belongs to this stream alone. The server keeps its log from there on: drop the slot when the stream is no longer read."`
	Publication string `yaml:"publication,omitempty" json:"publication,omitempty" desc:"PostgreSQL, and needed there: name of the publication that the table is in. Its owner makes it: CREATE PUBLICATION name FOR TABLE table."`
	BacklogMB   int64  `yaml:"backlog_mb,omitempty" json:"backlog_mb,omitempty" desc:"How much log may wait to be read, in MB, before a warning is logged. Defaults to 1024, and in PostgreSQL never to more than half of the server's max_slot_wal_keep_size."`
}

const (
	defaultBacklog = 1024 // MB
	// movedOn is how much log of other tables may pass before the position is stored though nothing was read. Without that the server
	// would keep the log of a whole database for one table that nobody changes.
	movedOn = 16 << 20
	// slotPatience is how long a slot may still be held by a connection of ours that has just ended.
	slotPatience = 10 * time.Second
	// warnEvery is the least time between two warnings of one stream's backlog.
	warnEvery = 10 * time.Minute
)

// check finds faults of the options and of others that do not go with them.
func (c *Changes) check(o *Options, fault func(option, message, fix string)) {
	if c == nil {
		return
	}
	if c.BacklogMB < 0 {
		fault("changes", "backlog_mb: the number is negative", "")
	}
	if o.Table == "" {
		fault("changes", "only a table has changes that can be followed", "name a table, or use a watermark")
	}
	for option, set := range map[string]bool{
		"where": o.Where != "", "watermark": o.Watermark != "", "deleted": o.Deleted != "", "full_every": o.FullEvery != 0, "unchanged": o.Unchanged != "", "split": o.Split != nil,
	} {
		if set {
			fault(option, "does not go with changes", "leave it out; rows that are no data are left out by filter in the mapping")
		}
	}
}

// checkSlot finds faults of what only some servers have.
func (c *Changes) checkSlot(stream string, a about) (faults []connectors.OptionFault) {
	if c == nil {
		return nil
	}
	fault := func(message, fix string) {
		faults = append(faults, connectors.OptionFault{Stream: stream, Path: []string{"changes"}, Message: message, Fix: fix})
	}
	if !a.slots {
		for option, set := range map[string]bool{"slot": c.Slot != "", "publication": c.Publication != ""} {
			if set {
				fault(option+": only PostgreSQL has one", "leave it out")
			}
		}
		return faults
	}
	if c.Slot == "" || len(c.Slot) > 63 || strings.Trim(c.Slot, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
		fault(fmt.Sprintf("slot: %q is no name of a replication slot", c.Slot), "use at most 63 lower-case letters, digits and underscores")
	}
	if c.Publication == "" {
		fault("publication: it is missing", "name the publication that the table is in")
	}
	return faults
}

// Cursors of changes have versions apart from those of tables and watermarks, which count from 1.
const (
	changesVersion = 101 // PostgreSQL
	binlogVersion  = 102 // MariaDB
)

// progress is the part of a cursor that is the same whatever log is followed.
type progress struct {
	Version int `json:"v"`
	// At is the snapshot's ExtractedAt and the version of its rows, in microseconds since 1970.
	At int64 `json:"at"`
	// Last is the newest version that was given.
	Last int64 `json:"last"`
	// Snapshot says that rows of the snapshot are still to come: those after Key.
	Snapshot bool    `json:"snap,omitempty"`
	Key      []value `json:"key,omitempty"`
	// Skip counts the changes that were given of the transaction after the newest one that was given wholly.
	Skip int64 `json:"skip,omitempty"`
}

func (p progress) damaged() bool { return p.At <= 0 || p.Last < p.At || p.Skip < 0 }

// followed is the cursor of a stream whose changes are followed in PostgreSQL.
type followed struct {
	progress

	// What the position is a position of. When any of it is another, it means nothing.
	System      string `json:"system"`
	Timeline    string `json:"timeline"`
	Slot        string `json:"slot"`
	Table       uint32 `json:"table"`
	Publication string `json:"pub"`

	// LSN is the end of the newest transaction that was given wholly. Of the one after it, which ends at Tx, Skip changes were given.
	LSN lsn `json:"lsn"`
	Tx  lsn `json:"tx,omitempty"`
}

func (f followed) encode() (connectors.Cursor, error) {
	f.Version = changesVersion
	return marshalled(f)
}

func decodeFollowed(b connectors.Cursor) (*followed, error) {
	if len(b) == 0 {
		return nil, nil
	}
	var f followed
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("cursor is not one of a database connector: %w", err)
	}
	if f.Version != changesVersion {
		return nil, fmt.Errorf("cursor has version %d and is not one of changes: the stream was read in another way before; to begin anew: headwater cursor reset", f.Version)
	}
	if f.damaged() || f.LSN == 0 || f.Skip > 0 && f.Tx == 0 {
		return nil, errors.New("cursor is damaged: a position in it is out of range")
	}
	return &f, nil
}

// lsn is a position in the server's log.
type lsn uint64

func (l lsn) String() string { return fmt.Sprintf("%X/%X", uint32(l>>32), uint32(l)) }

func parseLSN(text string) (lsn, error) {
	high, low, ok := strings.Cut(text, "/")
	a, errA := strconv.ParseUint(high, 16, 32)
	b, errB := strconv.ParseUint(low, 16, 32)
	if !ok || errA != nil || errB != nil {
		return 0, fmt.Errorf("%q is no position in the server's log", text)
	}
	return lsn(a<<32 | b), nil
}

// follower is one Read of a stream whose changes are followed, as far as it is the same whatever log they come from.
type follower struct {
	s        *Source
	o        *Options
	shard    connectors.Stream
	yield    func(connectors.Batch) bool
	pages    pager
	table    *table
	progress *progress // of the cursor that encode writes
	encode   func() (connectors.Cursor, error)
	b        *changeBatch

	following *connectors.Following // unless nil, what comes in later is waited for
}

// pager is a session that can end a transaction and go on.
type pager interface {
	session
	commit(ctx context.Context) error
}

// logFollower follows one kind of log.
type logFollower interface {
	// run reads the table, when that is still to be done, and then the log.
	run(ctx context.Context) error
	// look finds out whether the stream can be followed, and leaves everything as it is. An error says what is in the way.
	look(ctx context.Context) (connectors.Finding, error)
	close()
}

// follows is a dialect whose server has a log of changes that can be followed.
type follows interface {
	// follower begins after the cursor, of which nothing but its own decoding has been looked at.
	follower(f follower, after connectors.Cursor) (logFollower, error)
}

// walFollower follows PostgreSQL's log.
type walFollower struct {
	follower
	d   *postgresDialect
	c   *postgresSession
	wal *walConn
	at  *followed

	keep int64 // bytes of log that a slot may hold; negative without a limit
}

func (d *postgresDialect) follower(f follower, after connectors.Cursor) (logFollower, error) {
	at, err := decodeFollowed(after)
	if err != nil {
		return nil, err
	}
	w := &walFollower{follower: f, d: d}
	w.encode = func() (connectors.Cursor, error) { return w.at.encode() }
	w.stands(at)
	return w, nil
}

// stands sets where reading stands; nil is the beginning.
func (f *walFollower) stands(at *followed) {
	if f.at = at; at != nil {
		f.progress = &at.progress
	}
}

// follow reads a table once and then what has changed since, as far as the server's log reaches now; or on from there, when following
// says so.
func (s *Source) follow(ctx context.Context, shard connectors.Stream, o *Options, after connectors.Cursor, following *connectors.Following, yield func(connectors.Batch) bool) error {
	d, ok := s.dialect.(follows)
	if !ok {
		return fault.Usage(fmt.Errorf("changes: %s cannot be followed yet: use a watermark", s.dialect.name()))
	}
	if shard.Shard != "" {
		return connectors.Permanent(fmt.Errorf("no shard %q: the stream is not split", shard.Shard))
	}
	f, err := d.follower(follower{s: s, o: o, shard: shard, yield: yield, following: following}, after)
	if err != nil {
		return connectors.Permanent(fmt.Errorf("%s: %w", shard, err))
	}
	s.counted(shard, -1)
	if !s.hours.open(s.env.Now()) {
		s.env.Logger.Info("the stream is left for later: it is not the time of day for it", "stream", shard.String(), "hours", s.limits.Hours)
		return nil
	}
	release, err := s.two(ctx)
	if err != nil {
		return err
	}
	defer release()
	defer f.close()
	return s.explained(ctx, f.run(ctx))
}

// two takes two of the connections that are allowed: following needs one for the log and one for everything else. Nobody waits for a
// second one while holding a first.
func (s *Source) two(ctx context.Context) (release func(), err error) {
	if cap(s.slots) < 2 {
		return nil, fault.Usage(errors.New("changes: following a table takes two connections: set config.connections to 2 or more"))
	}
	select {
	case s.pairs <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-s.pairs }()
	for n := range 2 {
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			for range n {
				<-s.slots
			}
			return nil, ctx.Err()
		}
	}
	return func() { <-s.slots; <-s.slots }, nil
}

func (f *follower) release() {
	if f.b != nil {
		f.b.release()
	}
}

func (f *walFollower) close() {
	f.release()
	if f.wal != nil {
		f.wal.close()
	}
	if f.c != nil {
		f.c.close()
	}
}

func (f *walFollower) connect(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c, err := f.d.connect(ctx)
	if err != nil {
		return err
	}
	f.c = c.(*postgresSession)
	f.pages = f.c
	f.wal, err = f.d.connectWAL(ctx)
	return err
}

func (f *walFollower) look(ctx context.Context) (connectors.Finding, error) {
	if err := f.connect(ctx); err != nil {
		return connectors.Finding{}, err
	}
	seen, err := f.examine(ctx)
	found := connectors.Finding{Level: connectors.LevelOK, Text: "the server's log can be followed"}
	if err == nil && seen.keep < 0 {
		found.Level, found.Text = connectors.LevelNote, found.Text+"; nothing bounds what it keeps for a slot, and a stream that nobody reads fills its disk"
		found.Fix = "let an administrator run ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'"
	}
	return found, err
}

func (f *walFollower) run(ctx context.Context) error {
	if err := f.connect(ctx); err != nil {
		return err
	}
	if err := f.begin(ctx); err != nil {
		return err
	}
	if f.at.Snapshot {
		if err := f.snapshot(ctx); err != nil {
			return err
		}
	}
	return f.stream(ctx)
}

// begin makes sure that the position means what it meant, and where there is none makes one.
func (f *walFollower) begin(ctx context.Context) error {
	seen, err := f.examine(ctx)
	if err != nil {
		return err
	}
	if f.at != nil {
		if err := f.unlost(seen); err != nil {
			return err
		}
		f.watch(seen)
		return nil
	}
	if seen.slot == nil {
		if err := f.wal.createSlot(ctx, f.o.Changes.Slot); err != nil {
			return fmt.Errorf("make the replication slot %s: %w", f.o.Changes.Slot, err)
		}
		f.s.env.Logger.Info("a replication slot was made; the server keeps its log for it until it is dropped", "stream", f.shard.String(), "slot", f.o.Changes.Slot)
		if seen, err = f.examine(ctx); err != nil {
			return err
		}
		if seen.slot == nil {
			return connectors.Transient(fmt.Errorf("the replication slot %s is gone right after it was made", f.o.Changes.Slot))
		}
	}
	// A slot that is there already is as good: its changes begin at its position, and the snapshot is read later than that.
	if err := f.usable(seen.slot); err != nil {
		return err
	}
	now := f.s.env.Now().UnixMicro()
	f.stands(&followed{
		progress: progress{At: now, Last: now, Snapshot: true}, System: seen.system, Timeline: seen.timeline, Slot: f.o.Changes.Slot, Table: seen.oid, Publication: seen.publication,
		LSN: seen.slot.confirmed,
	})
	f.watch(seen)
	return nil
}

// seen is what the server says of itself, the table, its publication and the slot.
type seen struct {
	system, timeline string
	flushed          lsn
	oid              uint32
	publication      string // changes when the table leaves and joins it
	slot             *slot
	keep             int64 // bytes of log that a slot may hold; negative without a limit
}

// slot is a replication slot.
type slot struct {
	confirmed, restart lsn
	walStatus          string
	safe               int64 // bytes that may still be written before it is lost; negative when that is not known
	lost               string
}

const (
	tableFacts = `
SELECT c.oid, c.relkind, c.relpersistence, c.relhassubclass, c.relreplident, quote_ident(n.nspname) || '.' || quote_ident(c.relname), n.nspname, c.relname,
  (SELECT coalesce(string_agg(a.attname, E'\x1f'), '') FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[])
   WHERE i.indrelid = c.oid AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::text::regclass`
	// The rows of the catalogue that make a table part of a publication: whatever is changed there makes others of them.
	publicationFacts = `
SELECT p.pubname, p.oid || '/' || p.xmin::text || coalesce((SELECT '/' || r.oid || '/' || r.xmin::text FROM pg_publication_rel r WHERE r.prpubid = p.oid AND r.prrelid = $2::text::oid), ''),
  p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate,
  (SELECT to_jsonb(t) FROM pg_publication_tables t WHERE t.pubname = p.pubname AND t.schemaname = $3::text AND t.tablename = $4::text)
FROM pg_publication p WHERE p.pubname = $1::text`
	slotFacts = `
SELECT to_jsonb(s) FROM pg_replication_slots s WHERE s.slot_name = $1::text`
)

// examine asks the server, and refuses what cannot be followed.
func (f *walFollower) examine(ctx context.Context) (*seen, error) {
	s := &seen{keep: -1}
	var err error
	if s.system, s.timeline, s.flushed, err = f.wal.identify(ctx); err != nil {
		return nil, fmt.Errorf("ask the server who it is: %w", err)
	}
	if err := f.settings(ctx, s); err != nil {
		return nil, err
	}
	if err := f.c.begin(ctx); err != nil {
		return nil, err
	}
	if f.table, err = f.s.inspect(ctx, f.c, f.o); err != nil {
		return nil, err
	}
	if err := f.followable(ctx, s); err != nil {
		return nil, err
	}
	// Anything else may be asked for much later: no transaction is held open.
	if err := f.c.commit(ctx); err != nil {
		return nil, err
	}
	f.keep = s.keep
	s.slot, err = f.slot(ctx)
	return s, err
}

func (f *walFollower) settings(ctx context.Context, s *seen) error {
	rows, err := f.c.texts(ctx, `SELECT current_setting('wal_level'), pg_is_in_recovery(), coalesce((SELECT setting FROM pg_settings WHERE name = 'max_slot_wal_keep_size'), '-1'), (SELECT setting FROM pg_settings WHERE name = 'wal_sender_timeout')`)
	if err != nil {
		return err
	}
	if level := rows[0][0]; level != "logical" {
		return f.d.server.failed(fmt.Errorf("wal_level is %s, and changes can only be read from the log where it is logical", level), fault.Environment, "let an administrator run ALTER SYSTEM SET wal_level = logical and restart the server")
	}
	if rows[0][1] == "t" {
		return f.d.server.failed(errors.New("the server is a standby"), fault.Environment, "changes are followed on the primary: name that one under config.host")
	}
	mb, err := strconv.ParseInt(rows[0][2], 10, 64) // pg_settings has it in its unit, MB
	if err != nil {
		return fmt.Errorf("max_slot_wal_keep_size is %q: %w", rows[0][2], err)
	}
	if mb >= 0 {
		s.keep = mb << 20
	}
	// The server gives up who is silent for longer than that, also while the batches are waited for.
	ms, err := strconv.Atoi(rows[0][3])
	if err != nil {
		return fmt.Errorf("wal_sender_timeout is %q: %w", rows[0][3], err)
	}
	if ms > 0 {
		f.wal.tick = min(f.wal.tick, time.Duration(ms)*time.Millisecond/4)
	}
	return nil
}

// followable finds out whether all changes of the table arrive.
func (f *walFollower) followable(ctx context.Context, s *seen) error {
	rows, err := f.c.texts(ctx, tableFacts, string(f.c.regclass(f.o.Table)))
	if err != nil {
		return err
	}
	kind, persistence, parent, identity, name := rows[0][1], rows[0][2], rows[0][3] == "t", rows[0][4], rows[0][5]
	oid, err := strconv.ParseUint(rows[0][0], 10, 32)
	if err != nil {
		return fmt.Errorf("oid of %s: %w", name, err)
	}
	s.oid = uint32(oid)
	refuse := func(problem, advice string) error {
		return f.d.server.failed(fmt.Errorf("changes: %s", problem), fault.Environment, advice)
	}
	switch {
	case kind == "p" || parent:
		return refuse(name+" has partitions or tables that inherit from it, which cannot be followed yet", "follow each of them as a stream of its own, or use a watermark")
	case kind != "r" || persistence != "p":
		return refuse(name+" is not a table whose changes the server logs", "use a watermark")
	case len(f.table.key) == 0 || !f.table.checked || f.table.position != nil:
		return refuse(name+" has no key that the database vouches for", "give it a primary key, or name under key the columns of a unique index without nulls")
	case identity == "n", identity == "d" && rows[0][8] == "":
		return refuse("the log does not say which rows of "+name+" are changed", fmt.Sprintf("let its owner run ALTER TABLE %s REPLICA IDENTITY FULL", name))
	case identity != "f":
		logged := strings.Split(rows[0][8], "\x1f")
		for _, column := range f.table.key {
			if !slices.Contains(logged, column) {
				return refuse(fmt.Sprintf("the log does not hold the key column %s of rows of %s that are gone", column, name), fmt.Sprintf("let its owner run ALTER TABLE %s REPLICA IDENTITY FULL, or name other columns under key", name))
			}
		}
	}
	publication := f.o.Changes.Publication
	quoted := f.d.quote(publication)
	p, err := f.c.texts(ctx, publicationFacts, publication, rows[0][0], rows[0][6], rows[0][7])
	if err != nil {
		return err
	}
	if len(p) == 0 {
		return refuse("there is no publication "+publication, fmt.Sprintf("let the owner of the table run CREATE PUBLICATION %s FOR TABLE %s", quoted, name))
	}
	s.publication = p[0][1]
	if slices.Contains(p[0][2:6], "f") {
		return refuse("the publication "+publication+" leaves out some kinds of changes", fmt.Sprintf("let its owner run ALTER PUBLICATION %s SET (publish = 'insert, update, delete, truncate')", quoted))
	}
	if p[0][6] == "" {
		return refuse(fmt.Sprintf("%s is not in the publication %s", name, publication), fmt.Sprintf("let its owner run ALTER PUBLICATION %s ADD TABLE %s", quoted, name))
	}
	var member struct {
		Columns []string `json:"attnames"`
		Filter  *string  `json:"rowfilter"`
	}
	if err := json.Unmarshal([]byte(p[0][6]), &member); err != nil {
		return fmt.Errorf("read what the publication %s has: %w", publication, err)
	}
	if member.Filter != nil {
		return refuse(fmt.Sprintf("the publication %s leaves out rows of %s", publication, name), "publish the table without WHERE, and leave rows out by filter in the mapping")
	}
	for _, field := range f.table.fields {
		// Before PostgreSQL 15 a publication has all columns and does not list them. Generated columns are not in the log.
		if member.Columns != nil && !slices.Contains(member.Columns, field.name) {
			return refuse(fmt.Sprintf("the publication %s leaves out the column %s of %s", publication, field.name, name), "publish the table with all columns, or name those that are wanted under columns")
		}
	}
	generated, err := f.c.texts(ctx, `SELECT attname FROM pg_attribute WHERE attrelid = $1::text::oid AND attnum > 0 AND to_jsonb(pg_attribute) ->> 'attgenerated' <> ''`, rows[0][0])
	if err != nil {
		return err
	}
	for _, row := range generated {
		if slices.ContainsFunc(f.table.fields, func(field field) bool { return field.name == row[0] }) {
			return refuse(fmt.Sprintf("the column %s of %s is generated, and the log does not hold it", row[0], name), "name the columns that are wanted under columns, without it")
		}
	}
	return nil
}

func (f *walFollower) slot(ctx context.Context) (*slot, error) {
	rows, err := f.c.texts(ctx, slotFacts, f.o.Changes.Slot)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	var raw struct {
		Plugin       string  `json:"plugin"`
		Type         string  `json:"slot_type"`
		Database     string  `json:"database"`
		Restart      *string `json:"restart_lsn"`
		Confirmed    *string `json:"confirmed_flush_lsn"`
		Status       *string `json:"wal_status"`
		Safe         *int64  `json:"safe_wal_size"`
		Invalidation *string `json:"invalidation_reason"`
	}
	if err := json.Unmarshal([]byte(rows[0][0]), &raw); err != nil {
		return nil, fmt.Errorf("read the replication slot %s: %w", f.o.Changes.Slot, err)
	}
	if raw.Type != "logical" || raw.Plugin != "pgoutput" || raw.Database != f.d.server.database {
		return nil, f.d.server.failed(fmt.Errorf("the replication slot %s is %s with plugin %q of database %q, and not one of this stream", f.o.Changes.Slot, raw.Type, raw.Plugin, raw.Database), fault.Environment, "name another one under changes.slot")
	}
	s := &slot{safe: -1}
	if raw.Status != nil {
		s.walStatus = *raw.Status
	}
	if raw.Safe != nil {
		s.safe = *raw.Safe
	}
	switch {
	case raw.Invalidation != nil:
		s.lost = *raw.Invalidation
	case s.walStatus == "lost" || raw.Restart == nil || raw.Confirmed == nil:
		s.lost = "the server has removed log that it had kept for it"
	default:
		if s.restart, err = parseLSN(*raw.Restart); err != nil {
			return nil, err
		}
		if s.confirmed, err = parseLSN(*raw.Confirmed); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (f *walFollower) usable(s *slot) error {
	if s.lost == "" {
		return nil
	}
	name := f.o.Changes.Slot
	return connectors.Permanent(fmt.Errorf("the replication slot %s is of no use any more (%s): drop it (SELECT pg_drop_replication_slot('%s')), and it is made anew", name, s.lost, name))
}

// unlost makes sure that everything after the position is still to come. A position that means nothing any more is an error that says
// what was lost.
func (f *walFollower) unlost(s *seen) error {
	at, name := f.at, f.o.Changes.Slot
	missed := fmt.Sprintf("changes of %s after %v (rows read until %s) may be missing", f.o.Table, at.LSN, time.UnixMicro(at.Last).UTC().Format(time.RFC3339))
	lost := func(format string, args ...any) error {
		return connectors.Permanent(fmt.Errorf("%s: %s: to read the table again, drop the slot if it is there (SELECT pg_drop_replication_slot('%s')), and then: headwater cursor reset",
			fmt.Sprintf(format, args...), missed, name))
	}
	switch {
	case s.system != at.System:
		return lost("this is another server: its system identifier is %s, and the position is one of %s", s.system, at.System)
	case s.timeline != at.Timeline:
		return lost("the server was restored or failed over: its timeline is %s, and the position is one of timeline %s", s.timeline, at.Timeline)
	case name != at.Slot:
		return connectors.Permanent(fmt.Errorf("the position is one of the replication slot %s, and changes.slot says %s: set it back, or read the table again with: headwater cursor reset", at.Slot, name))
	case s.oid != at.Table:
		return lost("the table %s was dropped and made again, or another one has its name", f.o.Table)
	case s.publication != at.Publication:
		return lost("the publication %s was changed, or the table was taken out of it and put back", f.o.Changes.Publication)
	case s.flushed < at.LSN:
		return lost("the server's log ends at %v, before the position: it was restored from a backup", s.flushed)
	case s.slot == nil:
		return lost("the replication slot %s is gone", name)
	case s.slot.lost != "":
		return lost("the replication slot %s is of no use any more (%s)", name, s.slot.lost)
	case s.slot.confirmed > at.LSN:
		return lost("the replication slot %s stands at %v, after the position: somebody else reads from it, or it was made again", name, s.slot.confirmed)
	}
	return nil
}

// watch warns before the log that the server keeps for the slot fills its disk, or is thrown away.
func (f *walFollower) watch(s *seen) {
	kept := int64(s.flushed) - int64(s.slot.restart)
	limit := cmp.Or(f.o.Changes.BacklogMB, defaultBacklog) << 20
	if s.keep >= 0 {
		limit = min(limit, s.keep/2)
	}
	if kept < limit && s.slot.walStatus != "unreserved" {
		return
	}
	if !f.due() {
		return
	}
	args := []any{"stream", f.shard.String(), "slot", f.o.Changes.Slot, "kept_mb", kept >> 20, "warn_at_mb", limit >> 20}
	if s.keep >= 0 {
		args = append(args, "lost_at_mb", s.keep>>20)
	}
	f.s.env.Logger.Warn("the server keeps much of its log until the stream has been read: read it more often, or see what else holds it up", args...)
}

// due reports whether the stream's backlog may be warned of again, and takes it that it is.
func (f *follower) due() bool {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	now := f.s.env.Now()
	due := now.Sub(f.s.warned[f.shard.Name]) >= warnEvery
	if due {
		f.s.warned[f.shard.Name] = now
	}
	return due
}

// snapshot reads the rows that are there, in the order of the key and in transactions of a page each. Why that is right without a
// lock and without one snapshot for all pages stands in docs/decisions/0021.
func (f *follower) snapshot(ctx context.Context) error {
	t := f.table
	f.b = newChangeBatch(f.s.env.Allocator, t)
	version := func() int64 { return f.progress.At }
	for {
		if err := f.pages.begin(ctx); err != nil {
			return err
		}
		q := t.selecting(t.list(f.pages))
		if len(f.progress.Key) > 0 {
			if len(f.progress.Key) != len(t.key) {
				return connectors.Permanent(fmt.Errorf("the key of %s has %d columns, and the cursor is of a key with %d: the key was changed while the table was read: headwater cursor reset", f.o.Table, len(t.key), len(f.progress.Key)))
			}
			q.add(" AND ")
			q.after(t.key, f.progress.Key)
		}
		q.add(" ORDER BY ")
		q.names(t.key)
		q.add(" LIMIT " + strconv.Itoa(pageRows))
		n, err := f.page(ctx, q, version)
		if err != nil {
			return err
		}
		if err := f.pages.commit(ctx); err != nil {
			return err
		}
		if n < pageRows {
			break
		}
	}
	f.progress.Snapshot, f.progress.Key = false, nil
	return f.deliver(ctx, true)
}

func (f *follower) page(ctx context.Context, q *clause, version func() int64) (n int, err error) {
	rows, err := f.pages.query(ctx, q.text.String(), q.args)
	if err != nil {
		return 0, err
	}
	defer func() {
		if closed := rows.close(); err == nil {
			err = closed
		}
	}()
	var places []int
	for _, name := range f.table.key {
		places = append(places, slices.IndexFunc(rows.fields(), func(g field) bool { return g.name == name }))
	}
	var last []value
	for rows.next() {
		if f.b.full(rows) {
			f.progress.Key = slices.Clone(last)
			if err := f.deliver(ctx, false); err != nil {
				return n, err
			}
		}
		f.b.put(rows, version(), false)
		last = last[:0]
		for _, place := range places {
			v, ok := rows.value(place)
			if !ok {
				return n, connectors.Permanent(fmt.Errorf("a row of %s has null in its key (%s)", f.o.Table, f.table.key))
			}
			last = append(last, v)
		}
		if n++; n%4096 == 0 && ctx.Err() != nil {
			return n, ctx.Err()
		}
	}
	if n > 0 {
		f.progress.Key = slices.Clone(last)
	}
	return n, nil
}

// next gives the time of a batch that begins, later than all versions before it.
func (f *follower) next() int64 { return max(f.s.env.Now().UnixMicro(), f.progress.Last+1) }

// deliver yields what has been gathered. Rows of the snapshot carry its time; a batch of changes has one of its own.
func (f *follower) deliver(ctx context.Context, replaces bool) error {
	extracted := f.b.began
	if extracted == 0 {
		extracted = f.progress.At
	}
	encoded, err := f.encode()
	if err != nil {
		return err
	}
	record, rejects := f.b.take()
	n := int(record.NumRows()) + len(rejects)
	more := f.yield(connectors.Batch{Record: record, Place: f.o.Table, Rejects: rejects, Cursor: encoded, ExtractedAt: time.UnixMicro(extracted), Replaces: replaces})
	record.Release()
	if !more {
		return errStopped
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return f.s.paced(ctx, n)
}

// changeBatch is a batch whose rows have versions and may be gone.
type changeBatch struct {
	*batch
	began    int64 // time of the batch of changes; 0 in a snapshot
	versions []uint64
	gone     []bool
}

func newChangeBatch(alloc memory.Allocator, t *table) *changeBatch {
	return &changeBatch{batch: newBatch(alloc, t)}
}

func (b *changeBatch) put(r rows, version int64, gone bool) {
	b.add(r)
	b.versions, b.gone = append(b.versions, uint64(version)), append(b.gone, gone)
}

func (b *changeBatch) empty() bool { return b.rows == 0 }

// take makes a record with the reserved columns, and begins anew.
func (b *changeBatch) take() (arrow.Record, []connectors.Reject) {
	versions, gone := array.NewUint64Builder(b.alloc), array.NewBooleanBuilder(b.alloc)
	defer versions.Release()
	defer gone.Release()
	bad := b.bad // ascending
	for i, v := range b.versions {
		if len(bad) > 0 && bad[0] == i {
			bad = bad[1:]
			continue
		}
		versions.Append(v)
		gone.Append(b.gone[i])
	}
	b.versions, b.gone, b.began = b.versions[:0], b.gone[:0], 0
	plain, rejects := b.batch.take()
	defer plain.Release()
	fields := append(slices.Clone(plain.Schema().Fields()),
		arrow.Field{Name: connectors.ColumnVersion, Type: arrow.PrimitiveTypes.Uint64}, arrow.Field{Name: connectors.ColumnDeleted, Type: arrow.FixedWidthTypes.Boolean})
	more := []arrow.Array{versions.NewArray(), gone.NewArray()}
	defer more[0].Release()
	defer more[1].Release()
	return array.NewRecord(arrow.NewSchema(fields, nil), append(slices.Clone(plain.Columns()), more...), plain.NumRows()), rejects
}
