package sql

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/headwater-data/headwater/connectors"
)

// logStream is the part of a Read that follows the log.
type logStream struct {
	*walFollower
	gathering[lsn] // a transaction is named by the place of its end

	xid      uint32    // of the transaction that is being read
	relation *relation // of the table, as the log describes it; nil before it does
	domains  map[uint32]pgconn.FieldDescription
}

// relation is the table as it was when the changes that follow were made.
type relation struct {
	table   *table
	columns []logColumn // as many as the log has
	places  []int       // of the batch's columns among them
	key     []int       // places of the key among them
	rows    *logRow
}

// logColumn is how a value of the log becomes what the same column gives when the table is read.
type logColumn struct {
	postgresColumn
	raw   func(text, to []byte) ([]byte, error)
	array string // the type's name, where only the server can write its values
}

// logRow is a row of the log, in the order of the batch's columns.
type logRow struct {
	postgresRow
	buffer []byte
}

func (r *logRow) next() bool   { return false }
func (r *logRow) close() error { return nil }

// stream gives the changes after the position up to where the log ends now.
func (f *walFollower) stream(ctx context.Context) error {
	s := &logStream{walFollower: f, gathering: gather(&f.follower, &f.at.Tx), domains: map[uint32]pgconn.FieldDescription{}}
	target, settle, err := f.end(ctx)
	if err != nil {
		return err
	}
	_, _, flushed, err := f.wal.identify(ctx)
	if err != nil {
		return err
	}
	if err := f.wal.open(ctx, f.o.Changes.Slot, f.o.Changes.Publication, f.at.LSN); err != nil {
		return err
	}
	if f.following != nil {
		return s.attend(ctx)
	}
	start, reached := f.at.LSN, f.at.LSN
	var settled <-chan time.Time
	for late := false; reached < target && (!late || s.within); {
		if reached >= flushed && settled == nil {
			timer := time.NewTimer(settle)
			defer timer.Stop()
			settled = timer.C
		}
		var piece []walMessage
		var ok bool
		select {
		case piece, ok = <-f.wal.messages:
		case <-settled:
			late = len(f.wal.messages) == 0
			if !late { // whoever takes the batches is slow: what has come meanwhile is read first
				settled = nil
			}
			continue
		}
		if !ok {
			return fmt.Errorf("read the log: %w", f.wal.err)
		}
		// All of a piece is taken, also what lies behind the target: it is there.
		for _, m := range piece {
			if m.payload != nil {
				if err := s.message(ctx, m.payload); err != nil {
					return err
				}
				m.end = f.at.LSN
			}
			if !s.within {
				reached = max(reached, m.end)
			}
		}
	}
	if s.skip > 0 {
		return s.damaged()
	}
	// Everything before what was reached has been given: the next reading need not look at it again.
	f.at.LSN = reached
	s.note(s.seen) // a part of a later transaction may have come with the last piece, and is given too
	return s.finished(ctx, reached-start >= movedOn)
}

// end returns up to where the log is to be read. What was committed without waiting for the disk (synchronous_commit = off) can be
// seen in the table before it is in the log that is sent: settle is how long that takes at most. What else may be there then is of
// transactions that are not committed.
func (f *walFollower) end(ctx context.Context) (target lsn, settle time.Duration, err error) {
	rows, err := f.c.texts(ctx, "SELECT pg_current_wal_insert_lsn(), setting FROM pg_settings WHERE name = 'wal_writer_delay'")
	if err != nil {
		return 0, 0, err
	}
	if target, err = parseLSN(rows[0][0]); err != nil {
		return 0, 0, err
	}
	// Behind a page's end the position is one behind the next page's header, and nothing that is sent ends there.
	const page, header = 8192, 40
	if target%page <= header {
		target -= target % page
	}
	delay, err := strconv.Atoi(rows[0][1])
	if err != nil {
		return 0, 0, fmt.Errorf("wal_writer_delay is %q: %w", rows[0][1], err)
	}
	return target, 3*time.Duration(delay)*time.Millisecond + 200*time.Millisecond, nil
}

// message takes one message of the plugin pgoutput.
func (s *logStream) message(ctx context.Context, payload []byte) error {
	m := &walReader{rest: payload}
	kind := m.byte()
	switch kind {
	case 'B':
		s.begins(lsn(m.uint64()))
		m.uint64() // the time of the commit, by the server's clock
		s.xid = m.uint32()
	case 'C':
		m.byte()
		m.uint64()
		end := lsn(m.uint64())
		whole, err := s.ends()
		if err != nil {
			return err
		}
		if m.err == nil && whole {
			s.at.LSN, s.at.Tx, s.at.Skip = end, 0, 0
		}
	case 'R':
		return s.described(ctx, m)
	case 'I', 'U', 'D':
		if m.uint32() != s.at.Table {
			return m.err
		}
		if passed, err := s.passed(); passed || err != nil {
			return err
		}
		return s.change(ctx, kind, m)
	case 'T':
		n := m.uint32()
		m.byte()
		for range n {
			if m.err != nil {
				break
			}
			if m.uint32() != s.at.Table {
				continue
			}
			if passed, err := s.passed(); passed || err != nil {
				return err
			}
			return s.truncated(ctx)
		}
	case 'O', 'Y', 'M':
		return nil // an origin, a type, a message of somebody's
	default:
		return connectors.Permanent(fmt.Errorf("the log has a message %q, which is not understood", kind))
	}
	if m.err != nil {
		return fmt.Errorf("message %q of the log: %w", kind, m.err)
	}
	return nil
}

// described takes the table's columns as they were when the changes that follow were made.
func (s *logStream) described(ctx context.Context, m *walReader) error {
	oid := m.uint32()
	if oid != s.at.Table {
		return nil
	}
	m.text()
	m.text()
	identity := m.byte()
	n := int(m.uint16())
	var fields []pgconn.FieldDescription
	logged := map[string]bool{}
	for range n {
		if m.err != nil {
			break
		}
		flags := m.byte()
		f := pgconn.FieldDescription{Name: m.text(), DataTypeOID: m.uint32(), TypeModifier: int32(m.uint32())}
		logged[f.Name] = flags&1 == 1 || identity == 'f'
		fields = append(fields, f)
	}
	if m.err != nil {
		return fmt.Errorf("description of the table in the log: %w", m.err)
	}
	if err := s.based(ctx, fields); err != nil {
		return err
	}
	r := &relation{table: &table{s: s.s, o: s.o, key: s.table.key, deleted: -1}}
	row := &logRow{}
	var names []string
	for _, f := range fields {
		c, err := s.column(ctx, f)
		if err != nil {
			return err
		}
		r.columns, names = append(r.columns, c), append(names, c.name)
	}
	r.places = r.table.wanted(names, func(int) bool { return false })
	for _, place := range r.places {
		row.columns = append(row.columns, r.columns[place].postgresColumn)
		row.list = append(row.list, r.columns[place].field)
	}
	for _, name := range s.table.key {
		at := slices.IndexFunc(r.columns, func(c logColumn) bool { return c.name == name })
		if at < 0 || !logged[name] {
			return connectors.Permanent(fmt.Errorf("in the log rows of %s have no key column %s: the table's key or replica identity was changed: to read the table again: headwater cursor reset", s.o.Table, name))
		}
		r.key = append(r.key, at)
	}
	row.values = make([][]byte, len(row.columns))
	r.table.fields, r.table.names, r.rows = row.list, columnNames(row.list), row
	// The change that asked for the description comes after it.
	if err := s.shaped(ctx, r.table); err != nil {
		return err
	}
	s.relation = r
	return nil
}

// based puts the type that a domain is made of in the place of the domain, as the server does when the table is read.
func (s *logStream) based(ctx context.Context, fields []pgconn.FieldDescription) error {
	var unknown []string
	for _, f := range fields {
		if _, ok := s.domains[f.DataTypeOID]; !ok && builtIn(f.DataTypeOID) == nil {
			unknown = append(unknown, strconv.FormatUint(uint64(f.DataTypeOID), 10))
		}
	}
	if len(unknown) > 0 {
		rows, err := s.c.texts(ctx, `WITH RECURSIVE d AS (SELECT oid AS at, oid, typtype, typbasetype, typtypmod FROM pg_type WHERE oid = ANY ($1::text::oid[])
			UNION ALL SELECT d.at, t.oid, t.typtype, t.typbasetype, CASE WHEN d.typtypmod >= 0 THEN d.typtypmod ELSE t.typtypmod END FROM d JOIN pg_type t ON t.oid = d.typbasetype WHERE d.typtype = 'd')
			SELECT at, oid, typtypmod FROM d WHERE typtype <> 'd'`, "{"+strings.Join(unknown, ",")+"}")
		if err != nil {
			return err
		}
		for _, row := range rows {
			var n [3]int64
			for i, text := range row {
				if n[i], err = strconv.ParseInt(text, 10, 64); err != nil {
					return fmt.Errorf("type of a column: %w", err)
				}
			}
			s.domains[uint32(n[0])] = pgconn.FieldDescription{DataTypeOID: uint32(n[1]), TypeModifier: int32(n[2])}
		}
	}
	for i, f := range fields {
		if base, ok := s.domains[f.DataTypeOID]; ok && base.DataTypeOID != f.DataTypeOID {
			fields[i].DataTypeOID, fields[i].TypeModifier = base.DataTypeOID, base.TypeModifier
		}
	}
	return s.c.learn(ctx, fields)
}

func (s *logStream) column(ctx context.Context, f pgconn.FieldDescription) (logColumn, error) {
	c := logColumn{postgresColumn: s.c.column(f), raw: rawOf(f.DataTypeOID)}
	if !s.c.types[f.DataTypeOID].array {
		return c, nil
	}
	rows, err := s.c.texts(ctx, "SELECT format_type($1::text::oid, NULL)", strconv.FormatUint(uint64(f.DataTypeOID), 10))
	if err != nil {
		return c, err
	}
	c.array = rows[0][0]
	return c, nil
}

// tuple is a row as the log writes it.
type tuple []datum

type datum struct {
	kind byte // 'n' null, 'u' unchanged and left out, 't' text
	text []byte
}

func (m *walReader) tuple() tuple {
	n := int(m.uint16())
	out := make(tuple, 0, n)
	for range n {
		d := datum{kind: m.byte()}
		switch d.kind {
		case 'n', 'u':
		case 't':
			d.text = m.bytes(int(m.uint32()))
		default:
			m.fail("a value of kind %q", d.kind)
		}
		if m.err != nil {
			return nil
		}
		out = append(out, d)
	}
	return out
}

// change takes an insert, update or delete.
func (s *logStream) change(ctx context.Context, kind byte, m *walReader) error {
	r := s.relation
	if r == nil {
		return connectors.Permanent(fmt.Errorf("the log has a change of %s before it describes the table", s.o.Table))
	}
	var old, now tuple
	part := m.byte()
	if part == 'K' || part == 'O' {
		old = m.tuple()
		if kind == 'U' {
			part = m.byte()
		}
	}
	if part == 'N' {
		now = m.tuple()
	}
	if m.err == nil && (kind == 'D') != (now == nil) || old != nil && len(old) != len(r.columns) || now != nil && len(now) != len(r.columns) {
		m.fail("it does not fit the table's %d columns", len(r.columns))
	}
	if m.err != nil {
		return fmt.Errorf("change of %s in the log: %w", s.o.Table, m.err)
	}
	for i := range now { // what the old row holds need not be asked for
		if now[i].kind == 'u' && old != nil && old[i].kind == 't' {
			now[i] = old[i]
		}
	}
	joined := false
	if now == nil || old != nil && s.moved(old, now) {
		if err := s.row(ctx, old, nil, true, false); err != nil {
			return err
		}
		joined = true
	}
	if now == nil {
		return nil
	}
	fetched, err := s.complete(ctx, now)
	if err != nil {
		return err
	}
	if fetched == nil && slices.ContainsFunc(r.places, func(place int) bool { return now[place].kind == 'u' }) {
		// The row is gone, or has another key by now. The log says so further on, and until then what was given of it stands.
		return nil
	}
	return s.row(ctx, now, fetched, false, joined)
}

// moved reports whether an update gave the row another key.
func (s *logStream) moved(old, now tuple) bool {
	for _, at := range s.relation.key {
		if now[at].kind != 'u' && !bytes.Equal(old[at].text, now[at].text) {
			return true
		}
	}
	return false
}

// row puts a row into the batch.
func (s *logStream) row(ctx context.Context, t tuple, fetched [][]byte, gone, joined bool) error {
	r := s.relation
	row := r.rows
	row.buffer = row.buffer[:0]
	var arrays []int
	var faults []error
	for i, place := range r.places {
		d := t[place]
		row.values[i] = nil
		switch {
		case d.kind == 'n' || d.kind == 'u' && gone:
			continue
		case d.kind == 'u':
			row.values[i] = fetched[place]
			continue
		case r.columns[place].array != "":
			arrays = append(arrays, i)
			continue
		}
		begin := len(row.buffer)
		buffer, err := r.columns[place].raw(d.text, row.buffer)
		if err != nil {
			faults = append(faults, fmt.Errorf("column %s of %s in the log: %w", r.columns[place].name, s.o.Table, err))
			continue
		}
		row.buffer = buffer
		// Later values may move the buffer; what was put into it before stays where it is.
		row.values[i] = buffer[begin:len(buffer):len(buffer)]
		if row.values[i] == nil {
			row.values[i] = []byte{}
		}
	}
	if len(faults) > 0 {
		return connectors.Permanent(errors.Join(faults...))
	}
	if len(arrays) > 0 {
		if err := s.arrays(ctx, t, arrays); err != nil {
			return err
		}
	}
	return s.put(ctx, row, gone, joined)
}

// arrays lets the server write arrays as it writes them when the table is read.
func (s *logStream) arrays(ctx context.Context, t tuple, which []int) error {
	r := s.relation
	var list, args []string
	for n, i := range which {
		list = append(list, fmt.Sprintf("to_json($%d::text::%s)::text", n+1, r.columns[r.places[i]].array))
		args = append(args, string(t[r.places[i]].text))
	}
	rows, err := s.c.texts(ctx, "SELECT "+strings.Join(list, ", "), args...)
	if err != nil {
		return err
	}
	for n, i := range which {
		r.rows.values[i] = []byte(rows[0][n])
	}
	return nil
}

// complete asks the table for values that the log leaves out because the update did not touch them; nil when there are none to ask
// for, or the row is not there any more. A value that a later change has made is as good: that change is still to come in the log.
func (s *logStream) complete(ctx context.Context, now tuple) ([][]byte, error) {
	r := s.relation
	var wanted []int
	for _, place := range r.places {
		if now[place].kind == 'u' {
			wanted = append(wanted, place)
		}
	}
	if len(wanted) == 0 {
		return nil, nil
	}
	q := &clause{d: s.d}
	q.add("SELECT txid_current_snapshot()::text, t.* FROM (SELECT 1) one LEFT JOIN (SELECT 1 AS there")
	for _, place := range wanted {
		c := r.columns[place]
		name := s.d.quote(c.name)
		if e, alias := s.c.selected(c.field); e != "" {
			name = e + " AS " + s.d.quote(alias)
		}
		q.add(", " + name)
	}
	q.add(" FROM ")
	if err := s.table.from(q); err != nil {
		return nil, err
	}
	for i, at := range r.key {
		q.add(map[bool]string{true: " WHERE ", false: " AND "}[i == 0] + s.d.quote(r.columns[at].name) + " = ")
		if now[at].kind != 't' {
			return nil, connectors.Permanent(fmt.Errorf("the log leaves out the key column %s of %s: let its owner run ALTER TABLE %s REPLICA IDENTITY FULL, and read the table again: headwater cursor reset", r.columns[at].name, s.o.Table, s.o.Table))
		}
		q.value(value{kindText, string(now[at].text)})
	}
	q.add(") t ON true")
	begin := time.Now()
	for {
		fetched, visible, err := s.fetch(ctx, q, wanted)
		if err != nil {
			var answered *pgconn.PgError
			if errors.As(err, &answered) && (answered.Code == "42703" || answered.Code == "42P01") {
				err = connectors.Permanent(fmt.Errorf("the log leaves out a value of %s that an update did not touch, and the table does not have the column any more: to read the table again: headwater cursor reset: %w", s.o.Table, err))
			}
			return nil, err
		}
		if visible {
			return fetched, nil
		}
		// The log has the commit, and others do not see it yet.
		if time.Since(begin) > s.d.server.networkTimeout {
			return nil, connectors.Transient(fmt.Errorf("transaction %d is in the log, and the server does not show what it did", s.xid))
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// fetch reads the row as it is now. visible says that the transaction that is being read counted when it did.
func (s *logStream) fetch(ctx context.Context, q *clause, wanted []int) (fetched [][]byte, visible bool, err error) {
	rows, err := s.c.query(ctx, q.text.String(), q.args)
	if err != nil {
		return nil, false, err
	}
	found := rows.(*postgresRows)
	for i, place := range wanted {
		if c := s.relation.columns[place]; c.array == "" && found.columns[i+2].oid != c.oid {
			return nil, false, errors.Join(found.close(), connectors.Permanent(fmt.Errorf("the log leaves out a value of %s.%s that an update did not touch, and the column was %s then and is %s now: to read the table again: headwater cursor reset",
				s.o.Table, c.name, c.declared, found.columns[i+2].declared)))
		}
	}
	if found.next() {
		visible, err = ended(string(found.values[0]), s.xid)
		if found.values[1] != nil { // the row is there
			fetched = make([][]byte, len(s.relation.columns))
			for i, place := range wanted {
				if found.values[i+2] != nil {
					fetched[place] = append([]byte{}, found.values[i+2]...)
				}
			}
		}
	}
	return fetched, visible, errors.Join(err, found.close())
}

// ended reports whether a transaction had ended when a snapshot was taken. Snapshots count transactions in 64 bits, the log in 32.
func ended(snapshot string, xid uint32) (bool, error) {
	parts := strings.Split(snapshot, ":")
	if len(parts) != 3 {
		return false, fmt.Errorf("%q is no snapshot", snapshot)
	}
	next, err := strconv.ParseUint(parts[1], 10, 64)
	if err != nil {
		return false, fmt.Errorf("%q is no snapshot: %w", snapshot, err)
	}
	if int32(xid-uint32(next)) >= 0 {
		return false, nil
	}
	for _, text := range strings.Split(parts[2], ",") {
		if text == "" {
			continue
		}
		running, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return false, fmt.Errorf("%q is no snapshot: %w", snapshot, err)
		}
		if uint32(running) == xid {
			return false, nil
		}
	}
	return true, nil
}

func (s *postgresSession) commit(ctx context.Context) error {
	_, err := s.conn.Exec(ctx, "COMMIT").ReadAll()
	return err
}

// texts runs a statement and returns its rows as texts; a null is empty.
func (s *postgresSession) texts(ctx context.Context, statement string, args ...string) ([][]string, error) {
	params := make([][]byte, len(args))
	for i, a := range args {
		params[i] = []byte(a)
	}
	result := s.conn.ExecParams(ctx, statement, params, nil, nil, nil).Read()
	var out [][]string
	for _, row := range result.Rows {
		texts := make([]string, len(row))
		for i, v := range row {
			texts[i] = string(v)
		}
		out = append(out, texts)
	}
	return out, result.Err
}
