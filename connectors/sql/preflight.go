package sql

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/headwater-data/headwater/connectors"
)

// examiner is a session that can say more of its server than reading needs.
type examiner interface {
	// server tells of the server and of this connection.
	server(ctx context.Context) (serverFacts, error)
	// extent is how many rows a table has, as the catalogue estimates, and how many bytes it takes; below 0 when that is not known.
	extent(ctx context.Context, table string) (rows, bytes int64, err error)
	// indexed reports whether an index begins with the column.
	indexed(ctx context.Context, table, column string) (bool, error)
}

type serverFacts struct {
	version   string
	encrypted bool
	replica   bool
	now       time.Time // zero when it has no clock of its own
}

// clockSkew is by how much clocks may differ before a watermark of times is in danger: the default lookback is ten minutes.
const clockSkew = 30 * time.Second

// Preflight looks at the server, and at every stream's columns, size, key and watermark. It reads no rows.
func (s *Source) Preflight(ctx context.Context) ([]connectors.Finding, error) {
	var out []connectors.Finding
	if err := s.connected(ctx, func(c session) error {
		e, ok := c.(examiner)
		if !ok {
			return nil
		}
		asked := s.env.Now()
		facts, err := e.server(ctx)
		if err != nil {
			return err
		}
		out = append(out, s.aboutServer(facts, asked.Add(s.env.Now().Sub(asked)/2))...)
		return nil
	}); err != nil {
		return nil, err
	}
	streams, err := s.Streams(ctx)
	if err != nil {
		return nil, err
	}
	for _, stream := range streams {
		var found []connectors.Finding
		// Each has a connection of its own: after an error some servers answer nothing more in the transaction.
		if err := s.connected(ctx, func(c session) (err error) {
			found, err = s.aboutStream(ctx, c, s.streams[stream.Name])
			return err
		}); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			found = append(found, connectors.Finding{What: "columns", Level: connectors.LevelFault, Text: err.Error()})
		} else if s.streams[stream.Name].Changes != nil {
			about, err := s.aboutChanges(ctx, stream)
			if err != nil {
				return nil, err
			}
			found = append(found, about)
		}
		for _, f := range found {
			f.Stream = stream.Name
			out = append(out, f)
		}
	}
	return out, nil
}

// aboutChanges goes as far as reading does before it makes or reads anything.
func (s *Source) aboutChanges(ctx context.Context, stream connectors.Stream) (connectors.Finding, error) {
	found := connectors.Finding{}
	d, ok := s.dialect.(follows)
	if !ok {
		return found, fmt.Errorf("%s has no log to follow", s.dialect.name())
	}
	release, err := s.two(ctx)
	if err == nil {
		defer release()
		var f logFollower
		if f, err = d.follower(follower{s: s, o: s.streams[stream.Name], shard: stream}, nil); err == nil {
			defer f.close()
			found, err = f.look(ctx)
			err = s.explained(ctx, err)
		}
	}
	if ctx.Err() != nil {
		return found, ctx.Err()
	}
	if err != nil {
		found = connectors.Finding{Level: connectors.LevelFault, Text: err.Error()}
	}
	found.What = "changes"
	return found, nil
}

func (s *Source) aboutServer(facts serverFacts, now time.Time) []connectors.Finding {
	found := []connectors.Finding{{What: "server", Level: connectors.LevelOK, Text: facts.version}}
	if facts.replica {
		found = append(found, connectors.Finding{What: "replica", Level: connectors.LevelNote, Text: "it is a replica, and may lag behind the primary: rows arrive as much later, and none is lost", Fix: "name one replica; behind an address of several, each lags by another time, and rows seem to come and go"})
	}
	if facts.now.IsZero() {
		return found // a file
	}
	if facts.encrypted {
		found = append(found, connectors.Finding{What: "encryption", Level: connectors.LevelOK, Text: "the connection is encrypted"})
	} else {
		found = append(found, connectors.Finding{What: "encryption", Level: connectors.LevelNote, Text: "the connection is not encrypted: rows and the login's answer can be read on the way", Fix: "set config.tls"})
	}
	clock := connectors.Finding{What: "clock", Level: connectors.LevelOK}
	skew := facts.now.Sub(now).Round(time.Second)
	switch {
	case skew > clockSkew:
		clock.Level, clock.Text, clock.Fix = connectors.LevelNote, fmt.Sprintf("its clock is %v ahead of this machine's", skew), "set both by NTP; a watermark goes by the server's clock and bears it"
	case skew < -clockSkew:
		clock.Level, clock.Text, clock.Fix = connectors.LevelNote, fmt.Sprintf("its clock is %v behind this machine's", -skew), "set both by NTP; a watermark goes by the server's clock and bears it"
	default:
		clock.Text = fmt.Sprintf("within %v of this machine's", clockSkew)
	}
	return append(found, clock)
}

func (s *Source) aboutStream(ctx context.Context, c session, o *Options) ([]connectors.Finding, error) {
	t, err := s.inspect(ctx, c, o)
	if err != nil {
		return nil, err
	}
	var found []connectors.Finding
	say := func(what string, level connectors.Level, text, fix string) {
		found = append(found, connectors.Finding{What: what, Level: level, Text: text, Fix: fix})
	}
	say("columns", connectors.LevelOK, fmt.Sprintf("%s: %d columns can be read", t.place(), len(t.fields)), "")
	switch {
	case len(t.key) > 0 && t.position == nil && t.checked:
		say("key", connectors.LevelOK, strings.Join(t.key, ", "), "")
	case len(t.key) > 0 && t.position == nil:
		say("key", connectors.LevelNote, strings.Join(t.key, ", ")+", which no unique index guarantees", "rows that have one key are refused while reading")
	case t.position != nil:
		say("key", connectors.LevelNote, "none: rows are read by their physical position, and moving rows makes a reading begin anew", "let the owner add a primary key, or name a unique column under key")
	default:
		say("key", connectors.LevelNote, "none: everything is read in one pass, which cannot be resumed in its middle", "name the columns that tell rows apart under key")
	}
	e, ok := c.(examiner)
	if !ok || o.Table == "" {
		return found, nil
	}
	rows, size, err := e.extent(ctx, o.Table)
	if err != nil {
		return nil, err
	}
	if rows >= 0 || size >= 0 {
		say("size", connectors.LevelOK, extent(rows, size), "")
	}
	if o.Watermark != "" {
		there, err := e.indexed(ctx, o.Table, o.Watermark)
		switch {
		case err != nil:
			return nil, err
		case there:
			say("watermark", connectors.LevelOK, "an index begins with "+o.Watermark, "")
		default:
			columns := []string{s.dialect.quote(o.Watermark)}
			for _, k := range t.key {
				if k != o.Watermark {
					columns = append(columns, s.dialect.quote(k))
				}
			}
			var table []string
			for part := range strings.SplitSeq(o.Table, ".") {
				table = append(table, s.dialect.quote(part))
			}
			say("watermark", connectors.LevelNote, "no index begins with "+o.Watermark+": every run searches the whole table", fmt.Sprintf("let the owner run CREATE INDEX %s ON %s (%s)", s.dialect.quote(o.Table[strings.LastIndex(o.Table, ".")+1:]+"_"+o.Watermark), strings.Join(table, "."), strings.Join(columns, ", ")))
		}
	}
	return found, nil
}

func extent(rows, bytes int64) string {
	var parts []string
	if rows >= 0 {
		parts = append(parts, fmt.Sprintf("about %d rows", rows))
	}
	if bytes >= 0 {
		parts = append(parts, fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)))
	}
	return strings.Join(parts, ", ")
}

// seconds reads the time of a server as seconds since 1970.
func seconds(text string) (time.Time, error) {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the server's clock: %w", err)
	}
	whole, part := math.Modf(f)
	return time.Unix(int64(whole), int64(part*1e9)), nil
}

// single returns the only row of a small result.
func single(list [][]string, columns int, what string) ([]string, error) {
	if len(list) != 1 || len(list[0]) != columns {
		return nil, fmt.Errorf("ask for %s: got %d rows", what, len(list))
	}
	return list[0], nil
}

// count reads a number that may be missing.
func count(text string) (int64, error) {
	if text == "" {
		return -1, nil
	}
	return strconv.ParseInt(text, 10, 64)
}

func counts(texts []string) (a, b int64, err error) {
	if a, err = count(texts[0]); err == nil {
		b, err = count(texts[1])
	}
	return a, b, err
}

func (s *postgresSession) server(ctx context.Context) (f serverFacts, err error) {
	list, err := s.texts(ctx, `SELECT 'PostgreSQL ' || current_setting('server_version'), coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false)::text, pg_is_in_recovery()::text, extract(epoch FROM clock_timestamp())::text`)
	if err != nil {
		return f, err
	}
	row, err := single(list, 4, "the server's version and clock")
	if err != nil {
		return f, err
	}
	f = serverFacts{version: row[0], encrypted: row[1] == "true", replica: row[2] == "true"}
	f.now, err = seconds(row[3])
	return f, err
}

func (s *postgresSession) extent(ctx context.Context, table string) (rows, bytes int64, err error) {
	list, err := s.texts(ctx, `SELECT CASE WHEN reltuples >= 0 THEN reltuples::int8 END::text, pg_total_relation_size(oid)::text FROM pg_class WHERE oid = $1::text::regclass AND relkind IN ('r', 'm', 'p')`, string(s.regclass(table)))
	if err != nil || len(list) == 0 { // a view has neither
		return -1, -1, err
	}
	return counts(list[0])
}

func (s *postgresSession) indexed(ctx context.Context, table, column string) (bool, error) {
	list, err := s.texts(ctx, `SELECT 1 FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] WHERE i.indrelid = $1::text::regclass AND a.attname = $2::text AND i.indisvalid AND i.indpred IS NULL`, string(s.regclass(table)), column)
	return len(list) > 0, err
}

func (s *mariadbSession) server(ctx context.Context) (f serverFacts, err error) {
	list, err := s.texts(ctx, `SELECT CONCAT('', VERSION()), CONCAT('', IF(@@global.read_only, 1, 0)), CONCAT('', UNIX_TIMESTAMP(NOW(6)))`)
	if err != nil {
		return f, err
	}
	row, err := single(list, 3, "the server's version and clock")
	if err != nil {
		return f, err
	}
	name := "MySQL "
	if strings.Contains(row[0], "MariaDB") {
		name = "MariaDB "
	}
	f = serverFacts{version: name + row[0], replica: row[1] == "1"}
	if f.now, err = seconds(row[2]); err != nil {
		return f, err
	}
	status, err := s.texts(ctx, `SHOW SESSION STATUS LIKE 'Ssl_cipher'`)
	f.encrypted = err == nil && len(status) == 1 && len(status[0]) == 2 && status[0][1] != ""
	return f, err
}

func (s *mariadbSession) extent(ctx context.Context, table string) (rows, bytes int64, err error) {
	schema, name := s.named(table)
	list, err := s.texts(ctx, "SELECT CONCAT('', TABLE_ROWS), CONCAT('', DATA_LENGTH + INDEX_LENGTH) FROM information_schema.TABLES WHERE TABLE_SCHEMA = "+schema+" AND TABLE_NAME = "+name)
	if err != nil || len(list) == 0 {
		return -1, -1, err
	}
	return counts(list[0])
}

func (s *mariadbSession) indexed(ctx context.Context, table, column string) (bool, error) {
	schema, name := s.named(table)
	list, err := s.texts(ctx, "SELECT COLUMN_NAME FROM information_schema.STATISTICS WHERE SEQ_IN_INDEX = 1 AND TABLE_SCHEMA = "+schema+" AND TABLE_NAME = "+name)
	return slices.ContainsFunc(list, func(row []string) bool { return row[0] == column }), err
}

func (s *sqliteSession) server(ctx context.Context) (f serverFacts, err error) {
	list, err := s.texts(ctx, "SELECT 'SQLite ' || sqlite_version()")
	if err != nil {
		return f, err
	}
	row, err := single(list, 1, "the version")
	if err != nil {
		return f, err
	}
	return serverFacts{version: row[0]}, nil
}

func (s *sqliteSession) extent(context.Context, string) (rows, bytes int64, err error) {
	return -1, -1, nil
}

func (s *sqliteSession) indexed(ctx context.Context, table, column string) (bool, error) {
	schema, name := s.split(table)
	list, err := s.texts(ctx, `SELECT 1 FROM pragma_index_list(?, ?) l JOIN pragma_index_info(l.name, ?) i ON i.seqno = 0 WHERE i.name = ? COLLATE NOCASE AND l.partial = 0`, name, schema, schema, column)
	return len(list) > 0, err
}
