package sql

import (
	"bytes"
	"cmp"
	"compress/flate"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/internal/fault"
)

// binlogged is the cursor of a stream whose changes are followed in MariaDB's binlog.
type binlogged struct {
	progress

	// Server is the number of the server whose log it is.
	Server string `json:"server"`
	// GTID is the newest transaction of each domain that was given wholly. Of the one after them, Tx, Skip changes were given.
	GTID string `json:"gtid"`
	Tx   gtid   `json:"tx,omitzero"`

	// Before is the position before the newest of these transactions, and Mark a checksum of the event that begins it, where it is to be found
	// again there: else it is another log, which has come as far.
	Before string `json:"before,omitempty"`
	Mark   uint32 `json:"mark,omitempty"`

	// Print is the layout that the table had there. Layout is the layout itself, where it is not too long: MariaDB's binlog has neither
	// names nor labels of enums, and the catalogue only knows how the table is now.
	Print  string `json:"print"`
	Layout string `json:"layout,omitempty"`

	// File and Pos are where it is in the server's files, and When its time in seconds since 1970 by the server's clock: to tell how much log
	// is waiting.
	File string `json:"file,omitempty"`
	Pos  int64  `json:"pos,omitempty"`
	When int64  `json:"when,omitempty"`
}

func (b binlogged) encode() (connectors.Cursor, error) {
	b.Version = binlogVersion
	return marshalled(b)
}

func decodeBinlogged(b connectors.Cursor) (*binlogged, error) {
	if len(b) == 0 {
		return nil, nil
	}
	var f binlogged
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("cursor is not one of a database connector: %w", err)
	}
	if f.Version != binlogVersion {
		return nil, fmt.Errorf("cursor has version %d and is not one of changes of MariaDB: the stream was read in another way before; to begin anew: headwater cursor reset", f.Version)
	}
	if f.damaged() || f.Print == "" || f.Skip > 0 && f.Tx == (gtid{}) {
		return nil, errors.New("cursor is damaged: a position in it is out of range")
	}
	for _, position := range []string{f.GTID, f.Before} {
		if _, err := parseGTIDs(position); err != nil {
			return nil, fmt.Errorf("cursor is damaged: %w", err)
		}
	}
	return &f, nil
}

// layout is the table's columns at one moment.
type layout []layoutColumn

// maxLayout is how many bytes a layout may take in a cursor, which has to hold a key too.
const maxLayout = connectors.MaxCursorBytes / 2

// print tells layouts apart.
func (l layout) print() string {
	text, _ := json.Marshal([]layoutColumn(l)) // texts and booleans
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:12])
}

// packed is the layout as it travels in a cursor; "" when it is too long.
func (l layout) packed() (string, error) {
	text, err := json.Marshal([]layoutColumn(l))
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		return "", err
	}
	if _, err := w.Write(text); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	if base64.StdEncoding.EncodedLen(b.Len()) > maxLayout {
		return "", nil
	}
	return base64.StdEncoding.EncodeToString(b.Bytes()), nil
}

func unpackedLayout(packed string) (layout, error) {
	raw, err := base64.StdEncoding.DecodeString(packed)
	if err != nil {
		return nil, fmt.Errorf("cursor is damaged: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(raw)), 1<<20))
	if err != nil {
		return nil, fmt.Errorf("cursor is damaged: %w", err)
	}
	var l layout
	if err := json.Unmarshal(text, &l); err != nil {
		return nil, fmt.Errorf("cursor is damaged: %w", err)
	}
	return l, nil
}

// binlogFollower follows MariaDB's binlog.
type binlogFollower struct {
	follower
	d     *mariadbDialect
	c     *mariadbSession
	at    *binlogged
	state gtids // as at.GTID
	last  gtid  // the newest transaction of it; zero when that is not known
	prior gtid  // the one before that in its domain; zero without one
	name  tableName

	columns layout // that the rows behind the position have; nil when that is not known
	present layout // that the table has now
	// The catalogue was asked between these two positions of the log.
	asked, end gtids
	expire     int64 // seconds after which a file of the log may be removed; 0: never
}

func (d *mariadbDialect) follower(f follower, after connectors.Cursor) (logFollower, error) {
	at, err := decodeBinlogged(after)
	if err != nil {
		return nil, err
	}
	b := &binlogFollower{follower: f, d: d}
	b.encode = b.cursor
	b.stands(at)
	return b, nil
}

// stands sets where reading stands; nil is the beginning.
func (f *binlogFollower) stands(at *binlogged) {
	if f.at = at; at != nil {
		f.progress = &at.progress
	}
}

func (f *binlogFollower) cursor() (connectors.Cursor, error) {
	f.at.GTID = f.state.String()
	if f.last != (gtid{}) && f.at.Mark != 0 {
		before := maps.Clone(f.state)
		if delete(before, f.last.domain); f.prior != (gtid{}) {
			before[f.prior.domain] = f.prior
		}
		f.at.Before = before.String()
	}
	return f.at.encode()
}

func (f *binlogFollower) close() {
	f.release()
	if f.c != nil {
		f.c.close()
	}
}

func (f *binlogFollower) run(ctx context.Context) error {
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

func (f *binlogFollower) connect(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c, err := f.d.connect(ctx)
	if err != nil {
		return err
	}
	f.c = c.(*mariadbSession)
	f.pages = f.c
	return nil
}

// look finds out whether the stream can be followed, and reads nothing.
func (f *binlogFollower) look(ctx context.Context) (connectors.Finding, error) {
	if err := f.connect(ctx); err != nil {
		return connectors.Finding{}, err
	}
	seen, err := f.examine(ctx)
	if err == nil {
		err = f.allowed(ctx)
	}
	if err != nil {
		return connectors.Finding{}, err
	}
	found := connectors.Finding{Level: connectors.LevelOK, Text: "the server's log can be followed; it is kept until somebody removes it"}
	if seen.expire > 0 {
		found.Text = fmt.Sprintf("the server's log can be followed; files of it are removed after %v, whether they were read or not", time.Duration(seen.expire)*time.Second)
	}
	if seen.expire > 0 && seen.expire < shortLog {
		found.Level, found.Fix = connectors.LevelNote, "let an administrator run SET GLOBAL binlog_expire_logs_seconds = 864000, and write it into the server's configuration"
	}
	return found, nil
}

// allowed finds out whether the user may read the log, and whether the log has the table's database.
func (f *binlogFollower) allowed(ctx context.Context) error {
	if _, _, err := f.files(ctx); err != nil {
		return err
	}
	log, err := f.d.connectBinlog(ctx, f.end)
	if err != nil {
		return err
	}
	defer log.close()
	_, err = log.next()
	return f.d.refused(err, "REPLICATION SLAVE")
}

// shortLog is how many seconds a log should be kept, at least: a weekend.
const shortLog = 3 * 86_400

// binlogSeen is what the server says of itself and its log.
type binlogSeen struct {
	server string
	now    int64 // seconds since 1970
	expire int64 // after as many seconds a file of the log may be removed; 0: never
}

// begin makes sure that the position means what it meant, and where there is none makes one.
func (f *binlogFollower) begin(ctx context.Context) error {
	seen, err := f.examine(ctx)
	if err != nil {
		return err
	}
	if f.at != nil {
		return f.goesOn(ctx, seen)
	}
	// Now, and not when a table has been read for hours.
	if err := f.allowed(ctx); err != nil {
		return err
	}
	// Every transaction before this position is seen by this snapshot, and so by the pages that are read in later ones.
	if err := f.c.begin(ctx); err != nil {
		return err
	}
	file, pos, err := f.snapshotAt(ctx)
	if err != nil {
		return err
	}
	rows, err := f.c.texts(ctx, fmt.Sprintf("SELECT CONCAT('', BINLOG_GTID_POS(_utf8mb4 X'%s', %d))", hex.EncodeToString([]byte(file)), pos))
	if err != nil {
		return err
	}
	if f.state, err = parseGTIDs(rows[0][0]); err != nil {
		return err
	}
	if err := f.c.commit(ctx); err != nil {
		return err
	}
	was := f.present
	if f.present, err = f.catalogue(ctx); err != nil {
		return err
	}
	if was.print() != f.present.print() {
		return connectors.Transient(fmt.Errorf("the columns of %s were changed while it was begun to read", f.o.Table))
	}
	now := f.s.env.Now().UnixMicro()
	f.stands(&binlogged{progress: progress{At: now, Last: now, Snapshot: true}, Server: seen.server, File: file, Pos: pos, When: seen.now})
	return f.have(f.present)
}

// have notes the layout that the rows behind the position have.
func (f *binlogFollower) have(l layout) (err error) {
	f.columns, f.at.Print = l, l.print()
	f.at.Layout, err = l.packed()
	return err
}

// snapshotAt returns the position of the log that belongs to the snapshot of the transaction that has just begun.
func (f *binlogFollower) snapshotAt(ctx context.Context) (file string, pos int64, err error) {
	rows, err := f.c.texts(ctx, "SHOW STATUS LIKE 'binlog_snapshot_%'")
	if err != nil {
		return "", 0, err
	}
	for _, row := range rows {
		switch strings.ToLower(row[0]) {
		case "binlog_snapshot_file":
			file = row[1]
		case "binlog_snapshot_position":
			if pos, err = strconv.ParseInt(row[1], 10, 64); err != nil {
				return "", 0, fmt.Errorf("binlog_snapshot_position is %q: %w", row[1], err)
			}
		}
	}
	if file == "" || pos == 0 {
		return "", 0, errors.New("the server does not say where in its binlog a snapshot was made")
	}
	return file, pos, nil
}

// refuse is for what an operator can mend.
func (f *binlogFollower) refuse(problem, advice string) error {
	return f.d.server.failed(fmt.Errorf("changes: %s", problem), fault.Environment, advice)
}

const binlogSettings = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('log_bin', 'binlog_format', 'binlog_row_image', 'server_id', 'gtid_binlog_pos', 'binlog_expire_logs_seconds', 'expire_logs_days', 'lower_case_table_names', 'log_slave_updates', 'gtid_slave_pos')"

// examine asks the server and the catalogue, and refuses what cannot be followed.
func (f *binlogFollower) examine(ctx context.Context) (*binlogSeen, error) {
	if !f.c.mariadb {
		return nil, f.refuse("the server is a MySQL, whose binlog cannot be followed yet", "use a watermark")
	}
	settings, err := f.variables(ctx, binlogSettings)
	if err != nil {
		return nil, err
	}
	seen := &binlogSeen{server: settings["server_id"]}
	switch {
	case !strings.EqualFold(settings["log_bin"], "ON"):
		return nil, f.refuse("the server keeps no binlog", "let an administrator start it with log_bin, binlog_format = ROW and a server_id of its own")
	case !strings.EqualFold(settings["binlog_format"], "ROW"):
		return nil, f.refuse("binlog_format is "+settings["binlog_format"]+", and changes can only be read where it is ROW", "let an administrator run SET GLOBAL binlog_format = 'ROW', write it into the server's configuration, and let every program connect anew")
	case !strings.EqualFold(settings["binlog_row_image"], "FULL"):
		return nil, f.refuse("binlog_row_image is "+settings["binlog_row_image"]+", which leaves out columns", "let an administrator run SET GLOBAL binlog_row_image = 'FULL', write it into the server's configuration, and let every program connect anew")
	case !strings.EqualFold(settings["log_slave_updates"], "ON") && settings["gtid_slave_pos"] != "":
		return nil, f.refuse("the server is or was a replica, and does not log what it gets from its primary (log_slave_updates is OFF)", "follow the primary; or let an administrator start this one with log_slave_updates; or where it is a replica no longer, run SET GLOBAL gtid_slave_pos = ''")
	}
	if f.asked, err = parseGTIDs(settings["gtid_binlog_pos"]); err != nil {
		return nil, err
	}
	expire, err := strconv.ParseFloat(cmp.Or(settings["binlog_expire_logs_seconds"], "0"), 64)
	if err != nil {
		return nil, fmt.Errorf("binlog_expire_logs_seconds is %q: %w", settings["binlog_expire_logs_seconds"], err)
	}
	if expire == 0 {
		days, err := strconv.ParseFloat(cmp.Or(settings["expire_logs_days"], "0"), 64)
		if err != nil {
			return nil, fmt.Errorf("expire_logs_days is %q: %w", settings["expire_logs_days"], err)
		}
		expire = days * 86_400
	}
	seen.expire = int64(expire)
	f.expire = seen.expire
	f.name.folded = settings["lower_case_table_names"] != "0"
	if err := f.c.begin(ctx); err != nil {
		return nil, err
	}
	if f.table, err = f.s.inspect(ctx, f.c, f.o); err != nil {
		return nil, err
	}
	// Anything else may be asked for much later: no transaction is held open.
	if err := f.c.commit(ctx); err != nil {
		return nil, err
	}
	if err := f.followable(ctx); err != nil {
		return nil, err
	}
	if f.present, err = f.catalogue(ctx); err != nil {
		return nil, err
	}
	if err := f.present.readable(); err != nil {
		return nil, f.refuse(err.Error(), "use a watermark")
	}
	rows, err := f.c.texts(ctx, "SELECT CONCAT('', @@global.gtid_binlog_pos), CONCAT('', UNIX_TIMESTAMP())")
	if err != nil {
		return nil, err
	}
	if f.end, err = parseGTIDs(rows[0][0]); err != nil {
		return nil, err
	}
	seen.now, err = strconv.ParseInt(rows[0][1], 10, 64)
	return seen, err
}

func (f *binlogFollower) variables(ctx context.Context, statement string) (map[string]string, error) {
	rows, err := f.c.texts(ctx, statement)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, row := range rows {
		out[strings.ToLower(row[0])] = row[1]
	}
	return out, nil
}

// followable finds out whether all changes of the table arrive.
func (f *binlogFollower) followable(ctx context.Context) error {
	schema, name := f.c.named(f.o.Table)
	rows, err := f.c.texts(ctx, "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, ENGINE, CREATE_OPTIONS FROM information_schema.TABLES WHERE TABLE_SCHEMA = "+schema+" AND TABLE_NAME = "+name)
	if err != nil {
		return err
	}
	if len(rows) != 1 {
		return connectors.Permanent(fmt.Errorf("the catalogue has no table %s", f.o.Table))
	}
	row := rows[0]
	f.name.schema, f.name.name = row[0], row[1]
	switch {
	case row[2] != "BASE TABLE":
		return f.refuse(fmt.Sprintf("%s is a %s, not a table whose changes the server logs as they are", f.o.Table, strings.ToLower(row[2])), "use a watermark")
	case !strings.EqualFold(row[3], "InnoDB"):
		return f.refuse(fmt.Sprintf("%s is kept by %s, which knows no transactions", f.o.Table, row[3]), fmt.Sprintf("let its owner run ALTER TABLE %s ENGINE = InnoDB, or use a watermark", f.quoted()))
	case strings.Contains(strings.ToLower(row[4]), "partitioned"):
		return f.refuse(f.o.Table+" has partitions, whose rows can go without a trace in the binlog", "use a watermark")
	case len(f.table.key) == 0 || !f.table.checked:
		return f.refuse(f.o.Table+" has no key that the database vouches for", "give it a primary key, or name under key the columns of a unique index without nulls")
	}
	created, err := f.c.texts(ctx, "SHOW CREATE TABLE "+f.quoted())
	if err != nil {
		return err
	}
	if rule := cascades(created[0][1]); rule != "" {
		return f.refuse(fmt.Sprintf("a foreign key of %s says %s: what InnoDB does to rows by that rule is not in the binlog", f.o.Table, rule), "use a watermark, or let the owner make the key without the rule")
	}
	return nil
}

func (f *binlogFollower) quoted() string {
	return f.d.quote(f.name.schema) + "." + f.d.quote(f.name.name)
}

// cascades returns a rule of a foreign key by which rows are changed with those that they refer to; "" without one.
func cascades(create string) string {
	t := &tokens{rest: create}
	for {
		text, kind := t.next()
		if kind == 0 {
			return ""
		}
		if kind != 'w' || !strings.EqualFold(text, "ON") {
			continue
		}
		before := t.rest
		what, rule := t.word(), t.word()
		if (what == "DELETE" || what == "UPDATE") && (rule == "CASCADE" || rule == "SET") {
			if rule == "SET" {
				rule += " " + t.word()
			}
			return "ON " + what + " " + rule
		}
		t.rest = before
	}
}

// catalogue asks for the table's columns.
func (f *binlogFollower) catalogue(ctx context.Context) (layout, error) {
	schema, name := f.c.named(f.o.Table)
	rows, err := f.c.texts(ctx, "SELECT COLUMN_NAME, CONVERT(COLUMN_TYPE USING utf8mb4), CHARACTER_SET_NAME, IF(EXTRA LIKE '%INVISIBLE%', 'hidden', '') FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = "+schema+" AND TABLE_NAME = "+name+" ORDER BY ORDINAL_POSITION")
	if err != nil {
		return nil, err
	}
	var l layout
	for _, row := range rows {
		l = append(l, layoutColumn{Name: row[0], Type: row[1], Charset: row[2], Hidden: row[3] != ""})
	}
	if len(l) == 0 {
		return nil, connectors.Permanent(fmt.Errorf("the catalogue has no columns of %s", f.o.Table))
	}
	return l, nil
}

func (f *binlogFollower) lost(format string, args ...any) error {
	return connectors.Permanent(fmt.Errorf("%s: changes of %s after %s (rows read until %s) may be missing: to read the table again: headwater cursor reset",
		fmt.Sprintf(format, args...), f.o.Table, f.at.GTID, time.UnixMicro(f.at.Last).UTC().Format(time.RFC3339)))
}

// goesOn makes sure that the position is one of this server's, and finds the layout of the rows behind it. Whether the log still has
// all that follows is told by the server when the log is opened.
func (f *binlogFollower) goesOn(ctx context.Context, seen *binlogSeen) error {
	var err error
	if f.state, err = parseGTIDs(f.at.GTID); err != nil {
		return err
	}
	if seen.server != f.at.Server {
		return f.lost("this is another server, or it was given another number: its server_id is %s, and the position is one of %s", seen.server, f.at.Server)
	}
	if !f.end.covers(f.state) {
		return f.lost("the server's log ends at %q, before the position: it was restored from a backup, or its log was reset", f.end)
	}
	switch {
	case f.at.Print == f.present.print():
		f.columns = f.present
	case f.at.Layout != "":
		if f.columns, err = unpackedLayout(f.at.Layout); err != nil {
			return connectors.Permanent(err)
		}
	}
	return f.watch(ctx, seen, f.end)
}

// files lists the files of the log with their sizes.
func (f *binlogFollower) files(ctx context.Context) (names []string, sizes []int64, err error) {
	status, err := f.c.texts(ctx, "SHOW MASTER STATUS")
	if err != nil {
		return nil, nil, f.d.refused(err, "BINLOG MONITOR")
	}
	for _, row := range status {
		if len(row) < 4 {
			continue
		}
		only, but := strings.Split(row[2], ","), strings.Split(row[3], ",")
		if row[2] != "" && !slices.Contains(only, f.name.schema) || row[3] != "" && slices.Contains(but, f.name.schema) {
			return nil, nil, f.refuse(fmt.Sprintf("the server leaves the database %s out of its binlog (binlog_do_db, binlog_ignore_db)", f.name.schema), "let an administrator take that setting out of the server's configuration")
		}
	}
	rows, err := f.c.texts(ctx, "SHOW BINARY LOGS")
	if err != nil {
		return nil, nil, f.d.refused(err, "BINLOG MONITOR")
	}
	for _, row := range rows {
		size, err := strconv.ParseInt(row[1], 10, 64)
		if err != nil {
			return nil, nil, fmt.Errorf("size of the binlog %s: %w", row[0], err)
		}
		names, sizes = append(names, row[0]), append(sizes, size)
	}
	return names, sizes, nil
}

// watch warns before the server removes what has not been read of a log that ends there.
func (f *binlogFollower) watch(ctx context.Context, seen *binlogSeen, end gtids) error {
	names, sizes, err := f.files(ctx)
	if err != nil {
		return err
	}
	at := slices.Index(names, f.at.File)
	waiting := -f.at.Pos
	for i, size := range sizes {
		if i >= at {
			waiting += size
		}
	}
	limit := cmp.Or(f.o.Changes.BacklogMB, defaultBacklog) << 20
	age := seen.now - f.at.When
	old := seen.expire > 0 && age > seen.expire/2 && !f.state.covers(end)
	if at >= 0 && waiting < limit && !old || at < 0 && !old {
		return nil
	}
	args := []any{"stream", f.shard.String(), "waiting_mb", max(waiting, 0) >> 20, "warn_at_mb", limit >> 20, "behind", (time.Duration(age) * time.Second).String()}
	if seen.expire > 0 {
		args = append(args, "removed_after", (time.Duration(seen.expire) * time.Second).String())
	}
	if f.due() {
		f.s.env.Logger.Warn("much of the server's binlog has not been read, and the server removes old files of it whether they were read or not: read the stream more often", args...)
	}
	return nil
}

// unreadable sorts an error of the log: what the server no longer has, or never had, is lost.
func (f *binlogFollower) unreadable(err error) error {
	var answered *mysql.MySQLError
	if !errors.As(err, &answered) {
		return err
	}
	switch answered.Number {
	case 1236:
		return f.lost("the server does not have the log behind the position: %s", answered.Message)
	case 1227, 1045:
		return f.d.refused(err, "REPLICATION SLAVE")
	}
	return err
}
