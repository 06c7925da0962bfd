package sql

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"

	"github.com/apache/arrow/go/v17/arrow/array"
	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
	"github.com/go-sql-driver/mysql"

	"github.com/headwater-data/headwater/connectors"
)

// binlogStream is the part of a Read that follows the binlog.
type binlogStream struct {
	*binlogFollower

	gathering[gtid]

	// The transaction that is being read.
	alone    bool  // it is one statement, and ends with it
	prepared bool  // it is the first half of a distributed one
	void     bool  // it only begins an alteration, or gives one up
	checking bool  // it was given before, and shows that the log is the one that was read
	size     int64 // bytes of its events
	mark     uint32

	layoutPending *layout // what the table has when the transaction ends that alters it
	relation      *binlogRelation
	converted     map[string][]byte // texts of other character sets, by set and text
	old, now      image

	bytes int64 // bytes of events that were read
}

// binlogRelation is the table as the events that follow describe it.
type binlogRelation struct {
	table  *table
	types  []byte
	meta   []uint16
	layout layout
	read   []unpack
	// labelled columns are enums and sets: their texts are the catalogue's, in UTF-8 whatever the column's character set is.
	labelled []bool
	places   []int // of the batch's columns among the table's
	key      []int // of the key's columns
	rows     *binlogRow
}

// binlogRow is a row of the binlog, in the order of the batch's columns. Whole numbers and floats are such, all else is bytes.
type binlogRow struct {
	columns []mariadbColumn
	list    []field
	values  []driver.Value
}

func (r *binlogRow) fields() []field { return r.list }
func (r *binlogRow) next() bool      { return false }
func (r *binlogRow) close() error    { return nil }

func (r *binlogRow) put(i int, to array.Builder) error {
	switch v := r.values[i].(type) {
	case nil:
		to.AppendNull()
		return nil
	case []byte:
		return r.columns[i].putText(v, to)
	default:
		return putNumber(v, to)
	}
}

func (r *binlogRow) value(i int) (value, bool) {
	switch v := r.values[i].(type) {
	case nil:
		return value{}, false
	case []byte:
		return value{r.columns[i].kind, r.columns[i].textOf(v)}, true
	default:
		return value{r.columns[i].kind, r.columns[i].textOf([]byte(numberText(v)))}, true
	}
}

func (r *binlogRow) size(i int) int {
	switch v := r.values[i].(type) {
	case nil:
		return 0
	case []byte:
		return len(v)
	}
	return 8
}

const (
	preparedXA  = 64 // flags of MariaDB's event of a GTID
	completedXA = 128
	// refreshed is how old a position may become, in seconds, before it is stored anew though nothing was read: the server removes old files.
	refreshed = 3600
	// recognised is how large a transaction may be that is read again at the next start to recognise the log.
	recognised = 1 << 20
	// remembered bounds how many converted texts are kept.
	remembered = 20_000
	// noTable is the number of a table in an event that only ends a statement.
	noTable = 0x00ffffff
)

// castagnoli is not the polynomial of the checksum that stands at the end of every event, with which all events would have the same.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// stream gives the changes after the position up to where the log ended when the catalogue was asked, or on from there.
func (f *binlogFollower) stream(ctx context.Context) error {
	if f.following != nil {
		return f.attend(ctx)
	}
	s := f.streaming()
	begin := f.at.When
	if !f.state.covers(f.end) {
		if err := s.read(ctx); err != nil {
			return err
		}
	}
	if s.skip > 0 {
		return s.damaged()
	}
	if f.columns.print() != f.present.print() {
		return f.lost("the columns of the table are others than they were, and the binlog does not tell when they were changed")
	}
	f.at.Tx, f.at.Skip = gtid{}, 0
	return s.finished(ctx, s.outdated(begin))
}

func (f *binlogFollower) streaming() *binlogStream {
	return &binlogStream{binlogFollower: f, gathering: gather(&f.follower, &f.at.Tx), converted: map[string][]byte{}}
}

func (s *binlogStream) read(ctx context.Context) error {
	log, e, err := s.open(ctx, s.d.connectBinlog)
	if err != nil {
		return s.unreadable(err)
	}
	defer log.close()
	if !s.checking {
		if e, err = s.first(log); err != nil {
			return s.unreadable(err)
		}
	}
	for ; ; e, err = log.next() {
		if err != nil {
			return s.unreadable(fmt.Errorf("read the binlog: %w", err))
		}
		if e == nil {
			break
		}
		ended, err := s.event(ctx, e)
		if err != nil {
			return err
		}
		if ended && s.state.covers(s.end) {
			return nil
		}
	}
	if s.within || !s.state.covers(s.end) {
		return connectors.Transient(fmt.Errorf("the server sent its binlog up to %q, and has written it up to %q", s.state, s.end))
	}
	return nil
}

// open opens the log one transaction before the position, where that is known and still there, and returns that one's first event. It must
// be the one that was read: a server that was restored from a backup, or whose log was reset, may have come past the same number. Else
// nothing is checked: the log begins at the position, and nothing of it has been read yet.
func (s *binlogStream) open(ctx context.Context, connect func(ctx context.Context, after gtids) (*binlogConn, error)) (*binlogConn, *binlogEvent, error) {
	if s.at.Mark != 0 {
		before, err := parseGTIDs(s.at.Before)
		if err != nil {
			return nil, nil, err
		}
		log, err := connect(ctx, before)
		if err != nil {
			return nil, nil, err
		}
		s.checking = true
		e, err := s.first(log)
		if err == nil {
			return log, e, nil
		}
		log.close()
		var answered *mysql.MySQLError
		if !errors.As(err, &answered) || answered.Number != 1236 {
			return nil, nil, err
		}
		s.checking = false // the file with that transaction was removed; what follows may be there
	}
	log, err := connect(ctx, s.state)
	return log, nil, err
}

// first returns the first event of a transaction. The server may look for the position when it has sent the head of a file.
func (s *binlogStream) first(log *binlogConn) (*binlogEvent, error) {
	for {
		e, err := log.next()
		if err != nil {
			return nil, fmt.Errorf("read the binlog: %w", err)
		}
		if e == nil || !s.head(e) {
			return e, nil
		}
	}
}

// head takes an event that is none of a transaction's, and reports whether it is one.
func (s *binlogStream) head(e *binlogEvent) bool {
	switch e.Header.EventType {
	case replication.ROTATE_EVENT:
		if body, ok := e.Event.(*replication.RotateEvent); ok {
			s.at.File, s.at.Pos = string(body.NextLogName), int64(body.Position)
		}
		return true
	case replication.FORMAT_DESCRIPTION_EVENT, replication.STOP_EVENT, replication.HEARTBEAT_EVENT, replication.MARIADB_BINLOG_CHECKPOINT_EVENT, replication.MARIADB_GTID_LIST_EVENT, replication.MARIADB_START_ENCRYPTION_EVENT:
		return true
	}
	return false
}

// event takes one event of the binlog and reports whether a transaction ended with it.
func (s *binlogStream) event(ctx context.Context, e *binlogEvent) (ended bool, err error) {
	s.bytes += int64(e.Header.EventSize)
	s.size += int64(e.Header.EventSize)
	if s.head(e) {
		return false, nil
	}
	switch body := e.Event.(type) {
	case *replication.MariadbGTIDEvent:
		if s.within && s.seen > 0 {
			return false, connectors.Permanent(fmt.Errorf("the transaction %v has no end in the binlog", s.tx))
		}
		s.begins(gtid{body.GTID.DomainID, e.Header.ServerID, body.GTID.SequenceNumber})
		s.alone, s.prepared, s.void = body.IsStandalone(), body.Flags&preparedXA != 0, alteration(body, e.RawData)
		s.size, s.mark = int64(e.Header.EventSize), crc32.Checksum(e.RawData, castagnoli)
		if s.checking && (s.state[s.tx.domain] != s.tx || s.mark != s.at.Mark) {
			return false, s.lost("the server's log is another one than was read: its transaction %v is not the one of that number", s.tx)
		}
		return false, nil
	case *replication.XIDEvent:
		return true, s.ended(e)
	case *replication.QueryEvent:
		return s.query(ctx, e, body)
	case *replication.TableMapEvent:
		return false, nil // the rows that follow point to it
	case *replication.RowsEvent:
		if body.Table == nil || !s.name.is(string(body.Table.Schema), string(body.Table.Table)) {
			return false, nil
		}
		if s.checking {
			return false, nil
		}
		return false, s.changes(ctx, e.Header.EventType, body, e.images)
	}
	switch e.Header.EventType {
	case replication.XA_PREPARE_LOG_EVENT:
		return true, s.ended(e)
	case replication.INCIDENT_EVENT:
		return false, s.lost("the server says that events are missing from its binlog at %s %d", s.at.File, e.Header.LogPos)
	case replication.INTVAR_EVENT, replication.RAND_EVENT, replication.USER_VAR_EVENT, replication.MARIADB_ANNOTATE_ROWS_EVENT, replication.BEGIN_LOAD_QUERY_EVENT, replication.APPEND_BLOCK_EVENT, replication.DELETE_FILE_EVENT:
		return false, nil // of a statement
	case replication.EXECUTE_LOAD_QUERY_EVENT:
		return false, s.lost("a file was loaded by a statement that the binlog has in place of rows, at %s %d: somebody set binlog_format to another one than ROW", s.at.File, e.Header.LogPos)
	}
	if e.Header.Flags&replication.LOG_EVENT_IGNORABLE_F != 0 {
		return false, nil
	}
	return false, connectors.Permanent(fmt.Errorf("the binlog has an event of type %d (%v) at %s %d, which is not understood", e.Header.EventType, e.Header.EventType, s.at.File, e.Header.LogPos))
}

// ended takes the end of a transaction.
func (s *binlogStream) ended(e *binlogEvent) error {
	if !s.within {
		return nil
	}
	if s.checking {
		s.within, s.checking = false, false
		return nil
	}
	whole, err := s.ends()
	if err != nil {
		return err
	}
	s.last, s.prior = s.tx, s.state[s.tx.domain]
	s.state[s.tx.domain] = s.tx
	// One that is large is not read again only to be recognised.
	if s.at.Mark, s.at.Before = s.mark, ""; s.size > recognised {
		s.at.Mark = 0
	}
	if whole {
		s.at.Tx, s.at.Skip = gtid{}, 0
	}
	if e.Header.Timestamp > 0 {
		s.at.When = int64(e.Header.Timestamp)
	}
	if e.Header.LogPos > 0 {
		s.at.Pos = int64(e.Header.LogPos)
	}
	if s.layoutPending == nil {
		return nil
	}
	l := *s.layoutPending
	s.layoutPending, s.relation = nil, nil
	if l == nil {
		s.columns = nil
		return nil
	}
	return s.have(l)
}

// query takes a statement: the beginning or end of a transaction, or one that the binlog has in place of rows.
func (s *binlogStream) query(ctx context.Context, e *binlogEvent, body *replication.QueryEvent) (ended bool, err error) {
	text := string(body.Query)
	if s.checking {
		if e := effectOn(text, string(body.Schema), s.name); s.alone || e == commits || e == rollsBack && !s.savepoint(text) {
			return true, s.ended(nil)
		}
		return false, nil
	}
	if text, err = s.statement(ctx, body); err != nil {
		return false, err
	}
	effect := effectOn(text, string(body.Schema), s.name)
	if s.void && effect == alters {
		effect = noEffect
	}
	switch effect {
	case begins:
		return false, nil
	case commits:
		return true, s.ended(e)
	case rollsBack:
		if s.seen > 0 {
			return false, s.lost("the transaction %v changed tables with and without transactions, and was rolled back after its changes were logged", s.tx)
		}
		if s.savepoint(text) {
			return false, nil
		}
		return true, s.ended(e)
	case truncates:
		passed, err := s.passed()
		if err == nil && !passed {
			err = s.truncated(ctx)
		}
		if err != nil {
			return false, err
		}
	case alters:
		if err := s.altered(ctx); err != nil {
			return false, err
		}
	case replaces:
		return false, s.lost("the table was dropped, renamed, made again or had rows taken out with their files, by %.200q in the transaction %v", text, s.tx)
	case writes:
		return false, s.lost("the transaction %v has a statement in place of rows, %.200q: somebody set binlog_format to another one than ROW", s.tx, text)
	}
	if s.alone {
		return true, s.ended(e)
	}
	return false, nil
}

// statement returns a statement's text in UTF-8. The binlog has it in the character set of who sent it, and in GBK a table's name has other
// bytes than in the catalogue.
func (s *binlogStream) statement(ctx context.Context, body *replication.QueryEvent) (string, error) {
	collation, known := clientCollation(body.StatusVars)
	if !known || !slices.ContainsFunc(body.Query, func(b byte) bool { return b >= 0x80 }) {
		return string(body.Query), nil
	}
	rows, err := s.c.texts(ctx, fmt.Sprintf("SELECT CHARACTER_SET_NAME FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY WHERE ID = %d", collation))
	if err != nil {
		return "", err
	}
	if len(rows) == 0 {
		return "", s.lost("a statement of the transaction %v is in a character set (collation %d) that the server does not know", s.tx, collation)
	}
	from := layoutColumn{Charset: rows[0][0]}.foreign(body.Query)
	if from == "" {
		return string(body.Query), nil
	}
	if rows, err = s.c.texts(ctx, converting([][]byte{body.Query}, []string{from})); err != nil {
		return "", err
	}
	return rows[0][0], nil
}

// clientCollation finds, in what goes with a statement, the collation of the connection that sent it. known is false where there is none.
func clientCollation(vars []byte) (collation int, known bool) {
	sizes := map[byte]int{0: 4, 1: 8, 3: 4} // flags, modes and increments stand before it, and a catalogue's name
	for len(vars) > 0 {
		code := vars[0]
		size, plain := sizes[code]
		switch {
		case code == 4 && len(vars) >= 3:
			return int(vars[1]) | int(vars[2])<<8, true
		case code == 6 && len(vars) >= 2:
			size = 1 + int(vars[1])
		case !plain:
			return 0, false
		}
		if len(vars) < 1+size {
			return 0, false
		}
		vars = vars[1+size:]
	}
	return 0, false
}

// alteration reports whether a transaction only says that an alteration began, or that it was given up (binlog_alter_two_phase): rows are
// written in their old form until another transaction says that it is done. The flags that tell it stand behind what the library reads.
func alteration(e *replication.MariadbGTIDEvent, raw []byte) bool {
	const begun, given = 2, 8
	if !e.IsDDL() || e.Flags&(preparedXA|completedXA) != 0 {
		return false
	}
	at := replication.EventHeaderSize + 13
	if e.IsGroupCommit() {
		at += 8
	}
	return at < len(raw) && raw[at]&(begun|given) != 0
}

// savepoint reports whether a transaction is only rolled back to a place in its middle.
func (s *binlogStream) savepoint(text string) bool {
	t := &tokens{rest: text}
	t.word()
	t.skip("WORK")
	return t.word() == "TO"
}

// altered takes a change of the table's columns. What they are from then on is in the catalogue, when it was the last one.
func (s *binlogStream) altered(ctx context.Context) error {
	// What was gathered is given with the layout before it: the cursor behind it has the new one.
	if err := s.cutBehind(ctx); err != nil {
		return err
	}
	if s.following != nil && s.asked[s.tx.domain].number < s.tx.number {
		return errAltered
	}
	last, err := s.lastAlteration(ctx)
	if err != nil {
		return err
	}
	l := layout(nil)
	if last {
		l = s.present
	}
	s.layoutPending = &l
	return nil
}

// lastAlteration reads ahead to find out whether the transaction at hand is the last one that alters the table.
func (s *binlogStream) lastAlteration(ctx context.Context) (bool, error) {
	if s.asked[s.tx.domain].number < s.tx.number {
		return false, s.alteredMeanwhile()
	}
	behind := maps.Clone(s.state)
	behind[s.tx.domain] = s.tx
	if behind.covers(s.end) {
		return true, nil
	}
	log, err := s.d.connectBinlog(ctx, behind)
	if err != nil {
		return false, s.unreadable(err)
	}
	defer log.close()
	for void := false; ; {
		e, err := log.next()
		if err != nil {
			return false, s.unreadable(fmt.Errorf("read ahead in the binlog: %w", err))
		}
		if e == nil {
			return true, nil
		}
		switch body := e.Event.(type) {
		case *replication.MariadbGTIDEvent:
			if behind.covers(s.end) {
				return true, nil
			}
			behind[body.GTID.DomainID] = gtid{body.GTID.DomainID, e.Header.ServerID, body.GTID.SequenceNumber}
			void = alteration(body, e.RawData)
		case *replication.QueryEvent:
			text, err := s.statement(ctx, body)
			if err != nil {
				return false, err
			}
			if void || effectOn(text, string(body.Schema), s.name) != alters {
				continue
			}
			if !s.asked.covers(behind) {
				return false, s.alteredMeanwhile()
			}
			return false, nil
		}
	}
}

// alteredMeanwhile: the catalogue may or may not have shown it. The next reading asks again.
func (s *binlogStream) alteredMeanwhile() error {
	return connectors.Transient(fmt.Errorf("%s was altered while the catalogue was asked for its columns", s.o.Table))
}

// described takes the table's columns as the events that follow have them.
func (s *binlogStream) described(ctx context.Context, e *replication.TableMapEvent) error {
	if r := s.relation; r != nil && bytes.Equal(r.types, e.ColumnType) && slices.Equal(r.meta, e.ColumnMeta) {
		return nil
	}
	if s.columns == nil {
		return s.lost("the table was altered more than once since it was read, or has too many columns to remember them, and rows in between (transaction %v) cannot be told apart into columns", s.tx)
	}
	if len(s.columns) != len(e.ColumnType) {
		return s.lost("in the transaction %v the table has %d columns, and by the catalogue %d", s.tx, len(e.ColumnType), len(s.columns))
	}
	r := &binlogRelation{table: &table{s: s.s, o: s.o, key: s.table.key, deleted: -1}, types: e.ColumnType, meta: e.ColumnMeta, layout: s.columns, rows: &binlogRow{}}
	var problems []error
	for i, c := range s.columns {
		read, err := unpacker(newBinlogType(e.ColumnType[i], e.ColumnMeta[i]), c)
		if err != nil {
			problems = append(problems, err)
		}
		r.read, r.labelled = append(r.read, read), append(r.labelled, c.base() == "enum" || c.base() == "set")
	}
	if len(problems) > 0 {
		return s.lost("the transaction %v: %v", s.tx, errors.Join(problems...))
	}
	var names []string
	for _, c := range s.columns {
		names = append(names, c.Name)
	}
	r.places = r.table.wanted(names, func(i int) bool { return s.columns[i].Hidden })
	row := r.rows
	for _, place := range r.places {
		column := s.d.layoutColumn(s.columns[place])
		row.columns = append(row.columns, column)
		row.list = append(row.list, column.field)
	}
	row.values = make([]driver.Value, len(row.columns))
	for _, name := range s.table.key {
		at := slices.Index(names, name)
		if at < 0 {
			return connectors.Permanent(fmt.Errorf("in the binlog rows of %s have no key column %s: the table's key was changed: to read the table again: headwater cursor reset", s.o.Table, name))
		}
		r.key = append(r.key, at)
	}
	r.table.fields, r.table.names = row.list, columnNames(row.list)
	// The change that asked for the description comes after it.
	if err := s.shaped(ctx, r.table); err != nil {
		return err
	}
	s.relation = r
	return nil
}

// changes takes an event of rows.
func (s *binlogStream) changes(ctx context.Context, kind replication.EventType, e *replication.RowsEvent, images []byte) error {
	if s.prepared {
		return s.lost("the transaction %v is one half of a distributed transaction (XA), which cannot be followed", s.tx)
	}
	if !s.within {
		return connectors.Permanent(fmt.Errorf("the binlog has rows of %s outside of a transaction at %s %d", s.o.Table, s.at.File, s.at.Pos))
	}
	if err := s.described(ctx, e.Table); err != nil {
		return err
	}
	whole := func(bitmap []byte) bool {
		for i := range s.relation.types {
			if bitmap[i/8]>>(i%8)&1 == 0 {
				return false
			}
		}
		return true
	}
	var update, deletion bool
	var err error
	switch kind {
	case replication.UPDATE_ROWS_EVENTv1, replication.UPDATE_ROWS_EVENTv2:
		update = true
	case replication.DELETE_ROWS_EVENTv1, replication.DELETE_ROWS_EVENTv2:
		deletion = true
	case replication.WRITE_ROWS_EVENTv1, replication.WRITE_ROWS_EVENTv2:
	case replication.MARIADB_WRITE_ROWS_COMPRESSED_EVENT_V1, replication.MARIADB_UPDATE_ROWS_COMPRESSED_EVENT_V1, replication.MARIADB_DELETE_ROWS_COMPRESSED_EVENT_V1:
		update, deletion = kind == replication.MARIADB_UPDATE_ROWS_COMPRESSED_EVENT_V1, kind == replication.MARIADB_DELETE_ROWS_COMPRESSED_EVENT_V1
		if images, err = gomysql.DecompressMariadbData(images); err != nil {
			return fmt.Errorf("rows of %s in the transaction %v: %w", s.o.Table, s.tx, err)
		}
	default:
		return connectors.Permanent(fmt.Errorf("the binlog has rows of %s in an event of type %v, which is not understood", s.o.Table, kind))
	}
	if !whole(e.ColumnBitmap1) || update && !whole(e.ColumnBitmap2) {
		return s.lost("rows of the transaction %v are not whole: somebody set binlog_row_image to another one than FULL", s.tx)
	}
	for len(images) > 0 {
		first := &s.now
		if update || deletion {
			first = &s.old
		}
		if images, err = s.image(first, images); err == nil && update {
			images, err = s.image(&s.now, images)
		}
		if err != nil {
			return fmt.Errorf("rows of %s in the transaction %v: %w", s.o.Table, s.tx, err)
		}
		passed, err := s.passed()
		if err != nil {
			return err
		}
		if passed {
			continue
		}
		moved := update && s.moved()
		if deletion || moved {
			if err := s.row(ctx, &s.old, true, false); err != nil {
				return err
			}
		}
		if !deletion {
			if err := s.row(ctx, &s.now, false, moved); err != nil {
				return err
			}
		}
	}
	return nil
}

// image is a row as the binlog has it.
type image struct {
	values []driver.Value
	raw    [][]byte // as they are packed; nil for null
	buffer []byte   // of texts that values were made into
}

// image takes a row from the beginning of images, and returns what follows it.
func (s *binlogStream) image(to *image, images []byte) (rest []byte, err error) {
	r := s.relation
	to.values, to.raw, to.buffer = to.values[:0], to.raw[:0], to.buffer[:0]
	size := (len(r.read) + 7) / 8
	if len(images) < size {
		return nil, errShort
	}
	nulls := images[:size]
	rest = images[size:]
	for i, read := range r.read {
		if nulls[i/8]>>(i%8)&1 == 1 {
			to.values, to.raw = append(to.values, nil), append(to.raw, nil)
			continue
		}
		v, n, err := read(rest, &to.buffer)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", r.layout[i].Name, err)
		}
		to.values, to.raw = append(to.values, v), append(to.raw, rest[:n])
		rest = rest[n:]
	}
	return rest, nil
}

// moved reports whether an update gave the row another key.
func (s *binlogStream) moved() bool {
	for _, at := range s.relation.key {
		if !bytes.Equal(s.old.raw[at], s.now.raw[at]) {
			return true
		}
	}
	return false
}

// row puts a row into the batch.
func (s *binlogStream) row(ctx context.Context, from *image, gone, joined bool) error {
	r := s.relation
	row := r.rows
	for i, place := range r.places {
		row.values[i] = from.values[place]
	}
	if err := s.convert(ctx, row); err != nil {
		return err
	}
	return s.put(ctx, row, gone, joined)
}

// convert lets the server make UTF-8 of texts of other character sets, as it does when the table is read.
func (s *binlogStream) convert(ctx context.Context, row *binlogRow) error {
	var texts [][]byte
	var from []string
	var places []int
	for i, place := range s.relation.places {
		c := s.relation.layout[place]
		text, ok := row.values[i].([]byte)
		if !ok || s.relation.labelled[place] {
			continue
		}
		set := c.foreign(text)
		if set == "" {
			continue
		}
		if known, ok := s.converted[set+" "+string(text)]; ok {
			row.values[i] = known
			continue
		}
		texts, from, places = append(texts, text), append(from, set), append(places, i)
	}
	if len(texts) == 0 {
		return nil
	}
	rows, err := s.c.texts(ctx, converting(texts, from))
	if err != nil {
		return err
	}
	if len(s.converted) > remembered {
		clear(s.converted)
	}
	for n, i := range places {
		row.values[i] = []byte(rows[0][n])
		if len(texts[n]) < 200 {
			s.converted[from[n]+" "+string(texts[n])] = []byte(rows[0][n])
		}
	}
	return nil
}
